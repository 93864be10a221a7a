/* A device and a server in virtual time, joined by emulated links, for the tests of node. */
#pragma once

#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "linkem/linkem.h"
#include "node/node.h"
#include "unit.h"

#define MS 1000000ull
#define WORLD_BURST 32
#define WORLD_RECORDS 4096

struct world_options {
	const char *network;   /* NULL = efficientnet-b0 */
	double slowdown;       /* of the device; 0 = 4 */
	uint64_t frames, period_ns;
	unsigned in_flight, contexts;
	struct kerf_plan_options policy;
	const struct kerf_linkem_step *steps; /* link up */
	unsigned n_steps;
	uint64_t delay_ns, queue_bytes;
	bool other_model; /* the server runs another network */
};

struct world {
	struct world_options o;
	struct kerf_graph *graph, *server_graph;
	struct kerf_model model, server_model;
	struct kerf_profile profile, server_profile;
	struct kerf_compute *device_compute, *server_compute;
	struct kerf_device *device;
	struct kerf_server *server; /* NULL = it is dead */
	struct kerf_linkem *up, *down;
	struct kerf_plan_candidate *candidates;
	unsigned n_candidates;
	uint8_t *pixels;
	uint64_t now;
	struct kerf_frame_record records[WORLD_RECORDS];
	unsigned n_records;
	/* Called for every packet that goes up; true = it is lost. */
	bool (*lose)(struct world *w, const struct rte_mbuf *m);
	uint64_t counter;
};

static struct rte_mempool *world_pool;

static inline void world_start_eal(void)
{
	char *argv[] = {"test", "--no-huge", "-m256", "--no-pci", "--no-shconf", "--no-telemetry",
		"--lcores=0", "--log-level=error", NULL};

	if (world_pool)
		return;
	if (rte_eal_init((int)KERF_ARRAY_LEN(argv) - 1, argv) < 0)
		exit(1);
	world_pool = rte_pktmbuf_pool_create("world", 16384, 0, 0, 2048 + RTE_PKTMBUF_HEADROOM,
		SOCKET_ID_ANY);
	if (!world_pool)
		exit(1);
}

static inline void world_input(void *user, uint32_t frame, struct kerf_frame_input *in)
{
	struct world *w = user;

	(void)frame;
	in->pixels = w->pixels;
	in->values = NULL;
}

static inline void world_done(void *user, const struct kerf_frame_record *r, const float *output)
{
	struct world *w = user;

	(void)output;
	if (w->n_records < WORLD_RECORDS)
		w->records[w->n_records++] = *r;
}

/* Built once for all tests of a program: it takes longer than most of them. */
static inline struct kerf_graph *world_graph(const char *name)
{
	static struct kerf_graph *graphs[8];
	struct kerf_err err = {0};
	unsigned i = 0;

	while (graphs[i] && strcmp(graphs[i]->name, name))
		i++;
	if (graphs[i])
		return graphs[i];
	graphs[i] = kerf_zoo_build(name, &(struct kerf_zoo_options){.seed = 1}, &err);
	if (!graphs[i] || kerf_graph_optimize(graphs[i], &err) < 0) {
		printf("%s\n", err.text);
		exit(1);
	}
	return graphs[i];
}

static inline struct kerf_net world_net(uint32_t ip, uint8_t last)
{
	struct kerf_net net = {.self = {.mac = {2, 0, 0, 0, 0, last}, .ip = ip, .port = 4747},
		.pool = world_pool, .payload_bytes = 1450, .overhead_bytes = 24};

	kerf_linkem_timestamp_field(&net.timestamp_offset, &net.timestamp_flag);
	return net;
}

static inline void world_add_candidate(struct world *w, unsigned k, enum kerf_codec codec)
{
	const unsigned nodes = (unsigned)w->graph->n_nodes;
	const struct kerf_cut *cut = &w->model.cuts[k];
	struct kerf_part parts[KERF_MAX_CUT_TENSORS] = {{0}};
	struct kerf_plan_candidate c = {.cut = (int)k, .codec = codec, .local = k == nodes,
		.head_ns = w->o.slowdown * kerf_profile_range_ns(&w->profile, 0, k),
		.tail_ns = kerf_profile_range_ns(&w->profile, k, nodes)};
	struct kerf_layout l;

	for (int i = 0; i < cut->n_tensors; i++)
		parts[i].n = (size_t)kerf_tensor_elements(&w->graph->tensors[cut->tensors[i]]);
	if (!c.local) {
		kerf_layout_make(&l, kerf_parts_blocks(parts, (unsigned)cut->n_tensors, codec),
			kerf_codec_info(codec)->block_bytes, 1450);
		c.wire_bytes = kerf_layout_wire_bytes(&l,
			kerf_parts_bytes(parts, (unsigned)cut->n_tensors, codec), 24);
	}
	w->candidates[w->n_candidates++] = c;
}

static inline void world_make_candidates(struct world *w)
{
	w->candidates = calloc(w->model.n_cuts + 1, sizeof(w->candidates[0]));
	for (unsigned k = 0; k < w->model.n_cuts; k++) {
		if (k + 1 < w->model.n_cuts &&
			(!w->model.cuts[k].candidate || !kerf_model_can_cut(&w->model, k)))
			continue;
		if (k == 0)
			world_add_candidate(w, k, KERF_CODEC_U8);
		world_add_candidate(w, k, KERF_CODEC_F32);
	}
}

static inline void world_make_server(struct world *w)
{
	struct kerf_err err = {0};
	const struct kerf_compute_options c = {.slots = w->o.contexts};
	struct kerf_server_options o = {.model = &w->server_model, .net = world_net(0x0a000002, 2)};

	w->server_compute = kerf_compute_profile(&w->server_profile, &w->server_model, &c, &err);
	o.compute = w->server_compute;
	o.whole_ns = kerf_profile_range_ns(&w->server_profile, 0,
		(unsigned)w->server_graph->n_nodes);
	w->server = kerf_server_create(&o, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->server);
}

static inline void world_kill_server(struct world *w)
{
	kerf_server_destroy(w->server);
	kerf_compute_free(w->server_compute);
	w->server = NULL;
	w->server_compute = NULL;
}

static inline void world_make_device(struct world *w)
{
	struct kerf_err err = {0};
	const struct kerf_compute_options c = {
		.slots = w->o.in_flight + 1, .slowdown = w->o.slowdown};
	struct kerf_device_options o = {
		.model = &w->model,
		.net = world_net(0x0a000001, 1),
		.server = {.ip = 0x0a000002, .port = 4747},
		.policy = w->o.policy,
		.candidates = w->candidates,
		.n_candidates = w->n_candidates,
		.whole_ns = kerf_profile_range_ns(&w->profile, 0, (unsigned)w->graph->n_nodes),
		.in_flight = w->o.in_flight,
		.period_ns = w->o.period_ns,
		.frames = w->o.frames,
		.verify = true,
		.wait_for_server = true,
		.nonce = 7,
		.input = world_input,
		.done = world_done,
		.user = w,
	};

	w->device_compute = kerf_compute_profile(&w->profile, &w->model, &c, &err);
	o.compute = w->device_compute;
	w->device = kerf_device_create(&o, &err);
	if (!w->device)
		printf("%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->device);
}

static inline void world_make_links(struct world *w)
{
	const struct kerf_linkem_config up = {.steps = w->o.steps, .n_steps = w->o.n_steps,
		.delay_ps = w->o.delay_ns * 1000, .queue_bytes = w->o.queue_bytes,
		.overhead_bytes = 24};
	const struct kerf_linkem_config down = {.delay_ps = w->o.delay_ns * 1000};
	struct kerf_err err = {0};

	w->up = kerf_linkem_create(&up, &err);
	w->down = kerf_linkem_create(&down, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->up);
	CU_ASSERT_PTR_NOT_NULL_FATAL(w->down);
}

static inline struct world *world_create(struct world_options o)
{
	static const struct kerf_pixel_format pixels = {.channels = 3,
		.scale = {.017f, .0175f, .0174f}, .bias = {-2.1f, -2.03f, -1.8f}};
	struct world *w = calloc(1, sizeof(*w));
	struct kerf_err err = {0};
	size_t inputs;

	world_start_eal();
	o.network = o.network ? o.network : "efficientnet-b0";
	o.slowdown = o.slowdown > 0 ? o.slowdown : 4;
	o.in_flight = o.in_flight ? o.in_flight : 1;
	o.contexts = o.contexts ? o.contexts : 4;
	o.policy.hysteresis = o.policy.hysteresis > 0 ? o.policy.hysteresis : .05;
	o.policy.hedge_factor = o.policy.hedge_factor > 0 ? o.policy.hedge_factor : 1.5;
	o.policy.hedge_min_ns = 2 * MS;
	o.policy.probe_every = 3;
	w->o = o;
	w->graph = world_graph(o.network);
	w->server_graph = o.other_model ? world_graph("squeezenet-1.1") : w->graph;
	CU_ASSERT_FATAL(kerf_model_create(&w->model, w->graph, &pixels, &err) == 0);
	CU_ASSERT_FATAL(kerf_model_create(&w->server_model, w->server_graph, &pixels, &err) == 0);
	CU_ASSERT_FATAL(kerf_profile_analytic(&w->profile, w->graph, 50e9, 10e9, &err) == 0);
	CU_ASSERT_FATAL(
		kerf_profile_analytic(&w->server_profile, w->server_graph, 50e9, 10e9, &err) == 0);
	inputs = (size_t)kerf_tensor_elements(&w->graph->tensors[w->graph->input]);
	w->pixels = malloc(inputs);
	for (size_t i = 0; i < inputs; i++)
		w->pixels[i] = (uint8_t)(i * 2654435761u >> 13);
	world_make_candidates(w);
	world_make_links(w);
	world_make_server(w);
	world_make_device(w);
	w->now = 1;
	return w;
}

static inline void world_destroy(struct world *w)
{
	kerf_device_destroy(w->device);
	kerf_compute_free(w->device_compute);
	if (w->server)
		world_kill_server(w);
	kerf_linkem_destroy(w->up);
	kerf_linkem_destroy(w->down);
	kerf_profile_free(&w->profile);
	kerf_profile_free(&w->server_profile);
	kerf_model_destroy(&w->model);
	kerf_model_destroy(&w->server_model);
	free(w->candidates);
	free(w->pixels);
	free(w);
	/* Nothing may keep a packet. */
	CU_ASSERT_EQUAL(rte_mempool_in_use_count(world_pool), 0);
}

static inline unsigned world_send(struct world *w, struct rte_mbuf **pkts, unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		w->counter++;
		if (w->lose && w->lose(w, pkts[i]))
			rte_pktmbuf_free(pkts[i]);
		else
			pkts[kept++] = pkts[i];
	}
	kerf_linkem_push(w->up, w->now * 1000, pkts, kept);
	return n;
}

static inline void world_deliver_up(struct world *w, struct rte_mbuf **pkts, unsigned n)
{
	if (w->server)
		kerf_server_receive(w->server, pkts, n, w->now);
	else
		rte_pktmbuf_free_bulk(pkts, n);
}

/* Everything that is due now; true when a packet moved. */
static inline bool world_turn(struct world *w)
{
	struct rte_mbuf *pkts[WORLD_BURST];
	unsigned n, moved = 0;

	n = kerf_linkem_pull(w->up, w->now * 1000, pkts, WORLD_BURST);
	moved += n;
	if (n)
		world_deliver_up(w, pkts, n);
	n = kerf_linkem_pull(w->down, w->now * 1000, pkts, WORLD_BURST);
	moved += n;
	if (n)
		kerf_device_receive(w->device, pkts, n, w->now);
	n = kerf_device_poll(w->device, w->now, pkts, WORLD_BURST);
	moved += world_send(w, pkts, n);
	if (w->server) {
		n = kerf_server_poll(w->server, w->now, pkts, WORLD_BURST);
		kerf_linkem_push(w->down, w->now * 1000, pkts, n);
		moved += n;
	}
	return moved;
}

static inline uint64_t world_next(const struct world *w)
{
	const uint64_t up = kerf_linkem_next(w->up), down = kerf_linkem_next(w->down);
	uint64_t t = kerf_device_next(w->device);

	if (w->server)
		t = KERF_MIN(t, kerf_server_next(w->server));
	if (up != UINT64_MAX)
		t = KERF_MIN(t, (up + 999) / 1000);
	if (down != UINT64_MAX)
		t = KERF_MIN(t, (down + 999) / 1000);
	return t;
}

/* Until all frames are done or the time has come. False when the device is not finished. */
static inline bool world_run(struct world *w, uint64_t until_ns)
{
	unsigned still = 0;

	while (!kerf_device_finished(w->device) && w->now <= until_ns) {
		const bool moved = world_turn(w);
		const uint64_t next = world_next(w);

		if (moved || next <= w->now) {
			CU_ASSERT_FATAL(++still < 1000000);
			continue;
		}
		if (kerf_device_finished(w->device))
			break;
		CU_ASSERT_FATAL(next != UINT64_MAX);
		still = 0;
		w->now = next;
	}
	return kerf_device_finished(w->device);
}
