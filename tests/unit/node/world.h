/* Devices and a server in virtual time, joined by emulated links, for the tests of node. */
#pragma once

#include <stdlib.h>
#include <string.h>

#define WORLD_JPEG_BYTE_NS (1.0 * MS / 15000) /* of decoding */

#include <rte_eal.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>

#include "linkem/linkem.h"
#include "node/node.h"
#include "unit.h"

#define MS 1000000ull
#define WORLD_BURST 32
#define WORLD_RECORDS 4096
#define WORLD_DEVICES 3
#define WORLD_HELD 512
#define WORLD_INPUTS 80

struct world_options {
	const char *network;   /* NULL = efficientnet-b0 */
	double slowdown;       /* of the device; 0 = 4 */
	uint64_t frames, period_ns;
	unsigned in_flight, contexts;
	struct kerf_plan_options policy;
	const struct kerf_linkem_step *steps; /* link up */
	unsigned n_steps;
	const struct kerf_linkem_step *down_steps; /* NULL = infinitely fast */
	unsigned n_down_steps;
	uint64_t delay_ns, queue_bytes;
	void (*shape)(struct kerf_linkem_config *up); /* changes what the rest says of the link up */
	double race_share; /* 0 = the default */
	bool pace_dither;
	bool no_verify;    /* comparing holds new frames back while the core is busy */
	double server_ppm;         /* so much faster goes the server's clock */
	uint64_t server_offset_ns; /* so far ahead it is */
	double (*server_slowdown)(void *user, uint64_t now); /* by the server's clock; NULL = none */
	unsigned jpeg_bytes; /* about so many have the frames' JPEGs; 0 = there are none */
	unsigned jpeg_every; /* only every so many frames have one; 0 = 1 */
	bool other_pictures; /* the server makes other pixels of one */
	bool bad_jpegs;      /* it makes nothing of them */
	bool other_model; /* the server runs another network */
	unsigned devices; /* 0 = 1 */
	bool inputs_differ; /* from frame to frame, as pictures do */
	uint32_t payload_bytes, server_payload_bytes; /* 0 = 1450 */
	uint64_t seed;
	double loss, duplication, reordering; /* of packets, on every link, both ways */
	uint64_t reorder_ns; /* a packet that falls behind comes up to this much later */
};

struct world;

/* One direction of a device's link, and the packets that fell behind. */
struct world_path {
	struct kerf_linkem *link;
	struct {
		uint64_t due_ns;
		struct rte_mbuf *m;
	} held[WORLD_HELD];
	unsigned n_held;
};

struct world_end {
	struct world *world;
	struct kerf_device *device;
	struct kerf_compute *compute;
	struct world_path up, down;
	uint8_t *inputs[WORLD_INPUTS];
	unsigned n_inputs;
};

struct world {
	struct world_options o;
	struct kerf_graph *graph, *server_graph;
	struct kerf_model model, server_model;
	struct kerf_profile profile, server_profile;
	struct kerf_compute *server_compute;
	struct world_end ends[WORLD_DEVICES];
	struct kerf_server *server; /* NULL = it is dead */
	struct kerf_device *device;     /* the first end's, as are up and down */
	struct kerf_linkem *up, *down;
	struct kerf_plan_candidate *candidates;
	unsigned n_candidates;
	uint8_t *pixels;
	size_t inputs;
	uint64_t now;
	struct kerf_frame_record records[WORLD_RECORDS];
	unsigned n_records;
	/* Called for every packet that goes up; true = it is lost. */
	bool (*lose)(struct world *w, const struct rte_mbuf *m);
	/* Called for every frame that is done, with the number of its device. */
	void (*done)(struct world *w, unsigned device, const struct kerf_frame_record *r);
	struct kerf_rng rng;
	uint64_t counter;
	unsigned user; /* the test's own */
};

/* A frame that the device computes alone. */
#define LOCAL_MS(w)                                                                                \
	(w->o.slowdown * kerf_profile_range_ns(&w->profile, 0, (unsigned)w->graph->n_nodes) * 1e-6)

static struct rte_mempool *world_pool;

/* Of the server's clock, when it is `now`. */
static inline uint64_t world_server_ns(const struct world *w, uint64_t now)
{
	return now + w->o.server_offset_ns + (uint64_t)((double)now * w->o.server_ppm * 1e-6);
}

/* Now, when the server's clock shows t: a moment late rather than early. */
static inline uint64_t world_from_server_ns(const struct world *w, uint64_t t)
{
	uint64_t now;

	if (t == UINT64_MAX || (w->o.server_ppm == 0 && w->o.server_offset_ns == 0))
		return t;
	if (t <= w->o.server_offset_ns)
		return 0;
	now = (uint64_t)((double)(t - w->o.server_offset_ns) / (1 + w->o.server_ppm * 1e-6));
	while (world_server_ns(w, now) < t)
		now++;
	return now;
}

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

/* What stands for JPEG here: its bytes again and again. */
static inline int world_decode(void *user, const uint8_t *jpeg, size_t n, uint8_t *pixels)
{
	const struct world *w = user;

	for (size_t i = 0; i < w->inputs; i++)
		pixels[i] = jpeg[i % n];
	return w->o.bad_jpegs ? -EBADMSG : 0;
}

static inline void world_input(void *user, uint32_t frame, struct kerf_frame_input *in)
{
	struct world_end *e = user;
	struct world *w = e->world;
	/* An input is valid until its frame is done and for 64 frames more, and no longer. */
	uint8_t **place = &e->inputs[e->n_inputs++ % (w->o.in_flight + 64)];

	*in = (struct kerf_frame_input){.pixels = w->pixels};
	if (w->o.jpeg_bytes && frame % w->o.jpeg_every == 0) {
		in->jpeg = w->pixels + frame % 64;
		in->jpeg_bytes = w->o.jpeg_bytes + frame * 37 % 1000;
		if (!*place)
			*place = malloc(w->inputs);
		world_decode(w, in->jpeg, in->jpeg_bytes, *place);
		in->pixels = *place;
	}
	if (!w->o.inputs_differ)
		return;
	if (!*place)
		*place = malloc(w->inputs);
	for (size_t i = 0; i < w->inputs; i++)
		(*place)[i] = (uint8_t)(w->pixels[i] + frame * 31 + (unsigned)(e - w->ends));
	in->pixels = *place;
}

static inline void world_done(void *user, const struct kerf_frame_record *r, const float *output)
{
	struct world_end *e = user;
	struct world *w = e->world;

	(void)output;
	if (w->done)
		w->done(w, (unsigned)(e - w->ends), r);
	if (e == w->ends && w->n_records < WORLD_RECORDS)
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

static inline struct kerf_net world_net(uint32_t ip, uint8_t last, uint32_t payload_bytes)
{
	struct kerf_net net = {.self = {.mac = {2, 0, 0, 0, 0, last}, .ip = ip, .port = 4747},
		.pool = world_pool, .payload_bytes = payload_bytes, .overhead_bytes = 24};

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
			kerf_codec_info(codec)->block_bytes, w->o.payload_bytes);
		c.wire_bytes = kerf_layout_wire_bytes(&l,
			kerf_parts_bytes(parts, (unsigned)cut->n_tensors, codec), 24);
	}
	if (codec == KERF_CODEC_JPEG) {
		c.own_bytes = true;
		c.tail_byte_ns = WORLD_JPEG_BYTE_NS;
	}
	w->candidates[w->n_candidates++] = c;
}

static inline void world_make_candidates(struct world *w)
{
	w->candidates = calloc(w->model.n_cuts + 2, sizeof(w->candidates[0]));
	for (unsigned k = 0; k < w->model.n_cuts; k++) {
		if (k + 1 < w->model.n_cuts &&
			(!w->model.cuts[k].candidate || !kerf_model_can_cut(&w->model, k)))
			continue;
		if (k == 0)
			world_add_candidate(w, k, KERF_CODEC_U8);
		if (k == 0 && w->o.jpeg_bytes)
			world_add_candidate(w, k, KERF_CODEC_JPEG);
		world_add_candidate(w, k, KERF_CODEC_F32);
	}
}

static inline void world_make_server(struct world *w)
{
	struct kerf_err err = {0};
	const struct kerf_compute_options c = {.slots = w->o.contexts, .slowdown_at = w->o.server_slowdown};
	struct kerf_server_options o = {.model = &w->server_model,
		.net = world_net(0x0a000002, 2, w->o.server_payload_bytes)};

	w->server_compute = kerf_compute_profile(&w->server_profile, &w->server_model, &c, &err);
	o.compute = w->server_compute;
	o.profile = &w->server_profile;
	if (w->o.jpeg_bytes) {
		o.decode = world_decode;
		o.user = w;
		o.picture = w->o.other_pictures ? 2 : 1;
		o.decode_byte_ns = WORLD_JPEG_BYTE_NS;
	}
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

static inline void world_make_device(struct world *w, unsigned i)
{
	struct world_end *e = &w->ends[i];
	struct kerf_err err = {0};
	const struct kerf_compute_options c = {
		.slots = w->o.in_flight + 1, .slowdown = w->o.slowdown};
	struct kerf_device_options o = {
		.model = &w->model,
		.net = world_net(0x0a000101 + i, (uint8_t)(0x11 + i), w->o.payload_bytes),
		.server = {.ip = 0x0a000002, .port = 4747},
		.policy = w->o.policy,
		.candidates = w->candidates,
		.n_candidates = w->n_candidates,
		.whole_ns = kerf_profile_range_ns(&w->profile, 0, (unsigned)w->graph->n_nodes),
		.picture = w->o.jpeg_bytes ? 1 : 0,
		.in_flight = w->o.in_flight,
		.period_ns = w->o.period_ns,
		.frames = w->o.frames,
		.verify = !w->o.no_verify,
		.wait_for_server = true,
		.race_share = w->o.race_share,
		.pace_dither = w->o.pace_dither,
		.nonce = 7 + i,
		.input = world_input,
		.done = world_done,
		.user = e,
	};

	e->world = w;
	e->compute = kerf_compute_profile(&w->profile, &w->model, &c, &err);
	o.compute = e->compute;
	e->device = kerf_device_create(&o, &err);
	if (!e->device)
		printf("%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->device);
}

static inline void world_make_links(struct world *w, struct world_end *e)
{
	struct kerf_linkem_config up = {.steps = w->o.steps, .n_steps = w->o.n_steps,
		.delay_ps = w->o.delay_ns * 1000, .queue_bytes = w->o.queue_bytes,
		.overhead_bytes = 24};
	const struct kerf_linkem_config down = {.steps = w->o.down_steps,
		.n_steps = w->o.n_down_steps, .delay_ps = w->o.delay_ns * 1000,
		.overhead_bytes = 24};
	struct kerf_err err = {0};

	if (w->o.shape)
		w->o.shape(&up);
	e->up.link = kerf_linkem_create(&up, &err);
	e->down.link = kerf_linkem_create(&down, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->up.link);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e->down.link);
}

static inline struct world *world_create(struct world_options o)
{
	static const struct kerf_pixel_format pixels = {.channels = 3,
		.scale = {.017f, .0175f, .0174f}, .bias = {-2.1f, -2.03f, -1.8f}};
	struct world *w = calloc(1, sizeof(*w));
	struct kerf_err err = {0};

	world_start_eal();
	o.network = o.network ? o.network : "efficientnet-b0";
	o.slowdown = o.slowdown > 0 ? o.slowdown : 4;
	o.in_flight = o.in_flight ? o.in_flight : 1;
	o.contexts = o.contexts ? o.contexts : 4;
	o.devices = o.devices ? o.devices : 1;
	o.jpeg_every = o.jpeg_every ? o.jpeg_every : 1;
	o.payload_bytes = o.payload_bytes ? o.payload_bytes : 1450;
	o.server_payload_bytes = o.server_payload_bytes ? o.server_payload_bytes : 1450;
	o.reorder_ns = o.reorder_ns ? o.reorder_ns : MS;
	o.policy.hysteresis = o.policy.hysteresis > 0 ? o.policy.hysteresis : .05;
	o.policy.hedge_factor = o.policy.hedge_factor > 0 ? o.policy.hedge_factor : 1.5;
	o.policy.hedge_min_ns = 2 * MS;
	o.policy.probe_every = 3;
	w->o = o;
	w->rng = (struct kerf_rng){.seed = o.seed};
	w->graph = world_graph(o.network);
	w->server_graph = o.other_model ? world_graph("squeezenet-1.1") : w->graph;
	CU_ASSERT_FATAL(kerf_model_create(&w->model, w->graph, &pixels, &err) == 0);
	CU_ASSERT_FATAL(kerf_model_create(&w->server_model, w->server_graph, &pixels, &err) == 0);
	CU_ASSERT_FATAL(kerf_profile_analytic(&w->profile, w->graph, 50e9, 10e9, &err) == 0);
	CU_ASSERT_FATAL(
		kerf_profile_analytic(&w->server_profile, w->server_graph, 50e9, 10e9, &err) == 0);
	w->inputs = (size_t)kerf_tensor_elements(&w->graph->tensors[w->graph->input]);
	w->pixels = malloc(w->inputs);
	for (size_t i = 0; i < w->inputs; i++)
		w->pixels[i] = (uint8_t)(i * 2654435761u >> 13);
	world_make_candidates(w);
	world_make_server(w);
	for (unsigned i = 0; i < o.devices; i++) {
		world_make_links(w, &w->ends[i]);
		world_make_device(w, i);
	}
	w->device = w->ends[0].device;
	w->up = w->ends[0].up.link;
	w->down = w->ends[0].down.link;
	w->now = 1;
	return w;
}

static inline void world_close_path(struct world_path *p)
{
	for (unsigned i = 0; i < p->n_held; i++)
		rte_pktmbuf_free(p->held[i].m);
	kerf_linkem_destroy(p->link);
}

static inline void world_destroy(struct world *w)
{
	for (unsigned i = 0; i < w->o.devices; i++) {
		struct world_end *e = &w->ends[i];

		kerf_device_destroy(e->device);
		kerf_compute_free(e->compute);
		world_close_path(&e->up);
		world_close_path(&e->down);
		for (unsigned k = 0; k < WORLD_INPUTS; k++)
			free(e->inputs[k]);
	}
	if (w->server)
		world_kill_server(w);
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

static inline unsigned world_send(struct world *w, struct world_end *e, struct rte_mbuf **pkts,
	unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		w->counter++;
		if (w->lose && w->lose(w, pkts[i]))
			rte_pktmbuf_free(pkts[i]);
		else
			pkts[kept++] = pkts[i];
	}
	kerf_linkem_push(e->up.link, w->now * 1000, pkts, kept);
	return n;
}

static inline bool world_chance(struct world *w, double p)
{
	return p > 0 && kerf_rng_uniform(&w->rng) < p;
}

static inline void world_hold(struct world *w, struct world_path *p, struct rte_mbuf *m)
{
	if (!m || p->n_held == WORLD_HELD) {
		rte_pktmbuf_free(m);
		return;
	}
	p->held[p->n_held].m = m;
	p->held[p->n_held++].due_ns = w->now + 1 + kerf_rng_u64(&w->rng) % w->o.reorder_ns;
}

/* What comes out of the link may be lost, fall behind, or be followed by a copy. */
static inline unsigned world_spoil(struct world *w, struct world_path *p, struct rte_mbuf **pkts,
	unsigned n)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < n; i++) {
		if (world_chance(w, w->o.duplication))
			world_hold(w, p, rte_pktmbuf_copy(pkts[i], world_pool, 0, UINT32_MAX));
		if (world_chance(w, w->o.loss))
			rte_pktmbuf_free(pkts[i]);
		else if (world_chance(w, w->o.reordering))
			world_hold(w, p, pkts[i]);
		else
			pkts[kept++] = pkts[i];
	}
	return kept;
}

/* Packets that fell behind and are here now. */
static inline unsigned world_late(struct world *w, struct world_path *p, struct rte_mbuf **pkts,
	unsigned max)
{
	const struct kerf_net net = world_net(0, 0, 0);
	unsigned n = 0;

	for (unsigned i = 0; i < p->n_held && n < max;) {
		if (p->held[i].due_ns > w->now) {
			i++;
			continue;
		}
		*RTE_MBUF_DYNFIELD(p->held[i].m, net.timestamp_offset, rte_mbuf_timestamp_t *) =
			w->now;
		pkts[n++] = p->held[i].m;
		p->held[i] = p->held[--p->n_held];
	}
	return n;
}

/* Packets that arrive now; *moved when any came off the link. */
static inline unsigned world_arrive(struct world *w, struct world_path *p, struct rte_mbuf **pkts,
	bool *moved)
{
	unsigned late = world_late(w, p, pkts, WORLD_BURST / 2);
	unsigned n = kerf_linkem_pull(p->link, w->now * 1000, pkts + late, WORLD_BURST - late);

	*moved |= n + late > 0;
	return late + world_spoil(w, p, pkts + late, n);
}

static inline void world_deliver_up(struct world *w, struct rte_mbuf **pkts, unsigned n)
{
	const struct kerf_net net = world_net(0, 0, 0);

	/* The NIC's clock is the server's. */
	for (unsigned i = 0; i < n && (w->o.server_ppm != 0 || w->o.server_offset_ns); i++) {
		rte_mbuf_timestamp_t *t =
			RTE_MBUF_DYNFIELD(pkts[i], net.timestamp_offset, rte_mbuf_timestamp_t *);

		*t = world_server_ns(w, *t);
	}
	if (w->server)
		kerf_server_receive(w->server, pkts, n, world_server_ns(w, w->now));
	else
		rte_pktmbuf_free_bulk(pkts, n);
}

/* To the link of the device whose address it bears. */
static inline void world_send_down(struct world *w, struct rte_mbuf *m)
{
	const struct rte_ether_hdr *h = rte_pktmbuf_mtod(m, const struct rte_ether_hdr *);
	const unsigned i = h->dst_addr.addr_bytes[5] - 0x11u;

	if (i < w->o.devices)
		kerf_linkem_push(w->ends[i].down.link, w->now * 1000, &m, 1);
	else
		rte_pktmbuf_free(m);
}

/* Everything that is due now; true when a packet moved. */
static inline bool world_turn(struct world *w)
{
	struct rte_mbuf *pkts[WORLD_BURST];
	bool moved = false;
	unsigned n;

	for (unsigned i = 0; i < w->o.devices; i++) {
		struct world_end *e = &w->ends[i];

		n = world_arrive(w, &e->up, pkts, &moved);
		if (n)
			world_deliver_up(w, pkts, n);
		n = world_arrive(w, &e->down, pkts, &moved);
		if (n)
			kerf_device_receive(e->device, pkts, n, w->now);
		n = kerf_device_poll(e->device, w->now, pkts, WORLD_BURST);
		moved |= world_send(w, e, pkts, n) > 0;
	}
	if (w->server) {
		n = kerf_server_poll(w->server, world_server_ns(w, w->now), pkts, WORLD_BURST);
		for (unsigned i = 0; i < n; i++)
			world_send_down(w, pkts[i]);
		moved |= n > 0;
	}
	return moved;
}

static inline uint64_t world_path_next(const struct world_path *p)
{
	const uint64_t ps = kerf_linkem_next(p->link);
	uint64_t t = ps == UINT64_MAX ? UINT64_MAX : (ps + 999) / 1000;

	for (unsigned i = 0; i < p->n_held; i++)
		t = KERF_MIN(t, p->held[i].due_ns);
	return t;
}

static inline uint64_t world_next(const struct world *w)
{
	uint64_t t = w->server ? world_from_server_ns(w, kerf_server_next(w->server)) : UINT64_MAX;

	for (unsigned i = 0; i < w->o.devices; i++) {
		t = KERF_MIN(t, kerf_device_next(w->ends[i].device));
		t = KERF_MIN(t, world_path_next(&w->ends[i].up));
		t = KERF_MIN(t, world_path_next(&w->ends[i].down));
	}
	return t;
}

static inline bool world_finished(const struct world *w)
{
	for (unsigned i = 0; i < w->o.devices; i++)
		if (!kerf_device_finished(w->ends[i].device))
			return false;
	return true;
}

/* On to the next event, at most to until_ns, if nothing more is due now. */
static inline void world_step(struct world *w, bool moved, uint64_t until_ns, unsigned *still)
{
	const uint64_t next = world_next(w);

	CU_ASSERT_FATAL(next != UINT64_MAX || until_ns != UINT64_MAX);
	if (moved || next <= w->now) {
		CU_ASSERT_FATAL(++*still < 1000000);
		return;
	}
	*still = 0;
	w->now = KERF_MIN(next, until_ns);
}

/* Until all frames are done or the time has come. False when a device is not finished. */
static inline bool world_run(struct world *w, uint64_t until_ns)
{
	unsigned still = 0;

	while (!world_finished(w) && w->now < until_ns) {
		const bool moved = world_turn(w);

		if (!world_finished(w))
			world_step(w, moved, until_ns, &still);
	}
	return world_finished(w);
}

/* Also when all frames are done: what is still under way arrives. */
static inline void world_pass(struct world *w, uint64_t until_ns)
{
	unsigned still = 0;

	while (w->now < until_ns)
		world_step(w, world_turn(w), until_ns, &still);
}
