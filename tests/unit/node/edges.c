/* What peers, packets and numbers may do that a quiet link never shows. */
#include <math.h>

#include "node/device_internal.h"
#include "node/server_internal.h"
#include "node/world.h"

#define LAST_FRAME UINT32_MAX

static const struct kerf_linkem_step fast[] = {{0, 200000000}};

static struct world_options offload(void)
{
	return (struct world_options){.steps = fast,
		.n_steps = 1,
		.delay_ns = 500000,
		.policy = {.mode = KERF_PLAN_OFFLOAD, .fixed_codec = -1, .hedge_factor = 100}};
}

static void check_all_remote(const struct world *w)
{
	for (unsigned i = 0; i < w->o.devices; i++) {
		const struct kerf_device_stats *s = kerf_device_stats(w->ends[i].device);

		CU_ASSERT_EQUAL(s->remote, w->o.frames);
		CU_ASSERT_EQUAL(s->verified, w->o.frames);
		CU_ASSERT_EQUAL(s->mismatches, 0);
		CU_ASSERT_EQUAL(s->sessions, 1);
	}
}

static void test_frame_numbers_wrap(void)
{
	struct world_options o = offload();
	struct world *w;

	o.in_flight = 3;
	o.frames = LAST_FRAME + 20ull;
	w = world_create(o);
	w->device->next_frame = LAST_FRAME - 20;
	CU_ASSERT_TRUE(world_run(w, 20 * KERF_NS_PER_S));
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->frames, 40);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->remote, 40);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->verified, 40);
	world_destroy(w);
}

static void test_clocks_wrap(void)
{
	struct world_options o = offload();
	struct world *w;

	o.frames = 20;
	w = world_create(o);
	/* The transmit times of the wire have 48 bits. */
	w->now = (1ull << 48) - 200 * MS;
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_remote(w);
	CU_ASSERT(kerf_link_base_rtt_ns(kerf_device_link(w->device)) < 3 * MS);
	world_destroy(w);
}

/* A large one, whose packets fit the pool. */
static int large_cut(void)
{
	struct world *w = world_create(offload());
	const struct kerf_plan_candidate *largest = &w->candidates[0];
	int cut;

	for (unsigned i = 1; i < w->n_candidates; i++)
		if (w->candidates[i].wire_bytes > largest->wire_bytes &&
			w->candidates[i].wire_bytes < 3000000)
			largest = &w->candidates[i];
	cut = largest->cut;
	world_destroy(w);
	return cut;
}

/* Packets as small as the smaller end wants them. */
static void test_ends_differ_in_packet_size(void)
{
	const int cut = large_cut();

	for (unsigned round = 0; round < 2; round++) {
		struct world_options o = offload();
		struct world *w;

		o.frames = 3;
		o.policy.mode = KERF_PLAN_FIXED;
		o.policy.fixed_cut = cut;
		o.payload_bytes = round ? 1450 : 256;
		o.server_payload_bytes = round ? 256 : 1450;
		w = world_create(o);
		CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
		check_all_remote(w);
		world_destroy(w);
	}
}

/* Input buffers are used again after 64 frames: comparing must not wait for an idle core. */
static void test_inputs_are_compared_in_time(void)
{
	static const struct kerf_linkem_step steps[] = {{0, 200000000}, {3000000000000, 1000000}};
	struct world *w = world_create((struct world_options){.frames = 400,
		.steps = steps,
		.n_steps = 2,
		.delay_ns = 500000,
		.inputs_differ = true,
		.policy = {.hedge_factor = 100}});

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	CU_ASSERT(kerf_device_stats(w->device)->remote > 50);
	CU_ASSERT(kerf_device_stats(w->device)->local > 100);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->mismatches, 0);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->verified,
		kerf_device_stats(w->device)->remote);
	world_destroy(w);
}

/* ---- one context, two devices ---- */

static unsigned receiving(const struct world *w)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->o.contexts; i++)
		n += w->server->jobs[i].state == JOB_RECEIVING;
	return n;
}

/* A frame that was turned away must not take the context that comes free in its middle. */
static void test_a_frame_turned_away_stays_away(void)
{
	struct world_options o = offload();
	struct world *w;

	o.frames = 60;
	o.contexts = 1;
	o.devices = 2;
	o.delay_ns = 5 * MS;
	w = world_create(o);
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	CU_ASSERT(kerf_server_stats(w->server)->busy > 10);
	for (unsigned i = 0; i < 2; i++) {
		const struct kerf_device_stats *s = kerf_device_stats(w->ends[i].device);

		CU_ASSERT_EQUAL(s->completed, 60);
		CU_ASSERT_EQUAL(s->verified, s->remote);
		CU_ASSERT(s->remote > 10);
	}
	/* Nothing is left but what was on its way. */
	world_pass(w, w->now + 100 * MS);
	CU_ASSERT_EQUAL(receiving(w), 0);
	CU_ASSERT_EQUAL(kerf_server_stats(w->server)->abandoned, 0);
	world_destroy(w);
}

/* ---- packets by hand ---- */

static struct kerf_header header_of(const struct rte_mbuf *m)
{
	struct kerf_header h = {0};
	size_t len;

	kerf_wire_parse(rte_pktmbuf_mtod(m, const void *), rte_pktmbuf_data_len(m), &h, &len);
	return h;
}

/* A short frame of session 1 to the server: the first n packets of a cut-0 message. */
static void send_frame(struct world *w, uint32_t frame, unsigned first, unsigned n, uint8_t flags)
{
	const size_t values = w->inputs;
	struct kerf_net net = world_net(0x0a000101, 0x11, 1450);
	struct kerf_sender s;
	struct rte_mbuf *m;

	CU_ASSERT_FATAL(kerf_sender_create(&s, &net, 2000) == 0);
	CU_ASSERT_FATAL(kerf_sender_start(&s,
				&(struct kerf_message){.type = KERF_MSG_DATA,
					.to = w->server->net.self,
					.session = w->device->session.id,
					.frame = frame,
					.codec = KERF_CODEC_U8,
					.parts = {{.pixels = w->pixels, .n = values}},
					.n_parts = 1},
				w->now) == 0);
	for (unsigned i = 0; i < first + n; i++) {
		CU_ASSERT_FATAL(kerf_sender_poll(&s, w->now, &m, 1) == 1);
		if (flags)
			kerf_wire_restamp(rte_pktmbuf_mtod(m, struct kerf_wire_packet *), w->now,
				flags, 1);
		if (i >= first)
			kerf_server_receive(w->server, &m, 1, w->now);
		else
			rte_pktmbuf_free(m);
	}
	kerf_sender_destroy(&s);
}

/* Reports that the server gives now, of a type. */
static unsigned reports_of(struct world *w, enum kerf_msg_type type, uint8_t *flags)
{
	struct rte_mbuf *pkts[WORLD_BURST];
	unsigned n = kerf_server_poll(w->server, w->now, pkts, WORLD_BURST), found = 0;

	for (unsigned i = 0; i < n; i++) {
		struct kerf_report r;

		if (header_of(pkts[i]).type == KERF_MSG_REPORT &&
			kerf_wire_get_report(rte_pktmbuf_mtod(pkts[i], const uint8_t *) + 64,
				rte_pktmbuf_data_len(pkts[i]) - 64, &r) == 0 &&
			r.of_type == type) {
			found++;
			*flags |= r.flags;
		}
		rte_pktmbuf_free(pkts[i]);
	}
	return found;
}

static struct world *connected(unsigned contexts)
{
	struct world *w = world_create((struct world_options){
		.frames = 1, .contexts = contexts, .policy = {.mode = KERF_PLAN_LOCAL}});

	world_run(w, UINT64_MAX);
	world_pass(w, w->now + 10 * MS);
	CU_ASSERT_EQUAL_FATAL(kerf_device_session(w->device), KERF_SESSION_READY);
	return w;
}

static void test_the_highest_frame_number_is_served(void)
{
	struct world *w = connected(1);

	send_frame(w, LAST_FRAME, 0, 1, 0);
	CU_ASSERT_EQUAL(kerf_server_stats(w->server)->frames, 1);
	world_destroy(w);
}

static void test_who_asks_for_a_frame_turned_away_hears_so(void)
{
	struct world *w = connected(1);
	uint8_t flags = 0;

	send_frame(w, 1, 0, 1, 0);
	/* Packet 0 was lost; a repeat asks. */
	send_frame(w, 2, 5, 1, KERF_FLAG_REPORT_NOW);
	CU_ASSERT_EQUAL(reports_of(w, KERF_MSG_DATA, &flags), 1);
	CU_ASSERT_EQUAL(flags, KERF_REPORT_BUSY);
	/* The context is free again and the rest of the frame comes. */
	world_pass(w, w->now + 3 * KERF_NS_PER_S);
	CU_ASSERT_EQUAL(kerf_server_stats(w->server)->abandoned, 1);
	send_frame(w, 2, 6, 5, 0);
	CU_ASSERT_EQUAL(kerf_server_stats(w->server)->frames, 1);
	send_frame(w, 2, 5, 1, KERF_FLAG_REPORT_NOW);
	CU_ASSERT_EQUAL(reports_of(w, KERF_MSG_DATA, &flags), 1);
	CU_ASSERT_EQUAL(flags, KERF_REPORT_BUSY);
	CU_ASSERT_EQUAL(kerf_server_stats(w->server)->busy, 1);
	world_destroy(w);
}

/* The rest of a probe train never comes; its silence is reported some times, not for ever. */
static void test_a_torn_probe_is_not_reported_for_ever(void)
{
	struct world *w = connected(1);
	struct kerf_net net = world_net(0x0a000101, 0x11, 1450);
	const struct kerf_header h = {.type = KERF_MSG_PROBE,
		.session = w->device->session.id,
		.frame = 77,
		.index = 3,
		.count = 16};
	void *payload;
	struct rte_mbuf *m = kerf_net_packet(&net, &w->server->net.self, &h, 1450, &payload);
	unsigned n = 0;
	uint8_t flags = 0;

	kerf_server_receive(w->server, &m, 1, w->now);
	for (unsigned i = 0; i < 5000; i++, w->now += MS)
		n += reports_of(w, KERF_MSG_PROBE, &flags);
	CU_ASSERT(n > 0 && n <= 16);
	world_destroy(w);
}

/* ---- results ---- */

static bool is_report_of_result(const struct rte_mbuf *m)
{
	return header_of(m).type == KERF_MSG_REPORT;
}

static bool lose_first_reports(struct world *w, const struct rte_mbuf *m)
{
	/* The first says what is missing; the second and third that all is here. */
	return is_report_of_result(m) && w->user++ > 0 && w->user < 4;
}

static void drop_down(struct world *w, unsigned index)
{
	struct rte_mbuf *pkts[WORLD_BURST], *keep[WORLD_BURST];
	unsigned n = kerf_linkem_pull(w->down, w->now * 1000, pkts, WORLD_BURST), kept = 0;

	for (unsigned i = 0; i < n; i++) {
		const struct kerf_header h = header_of(pkts[i]);

		if (h.type == KERF_MSG_RESULT && h.index == index && h.try_no == 0)
			rte_pktmbuf_free(pkts[i]);
		else
			keep[kept++] = pkts[i];
	}
	if (kept)
		kerf_device_receive(w->device, keep, kept, w->now);
}

/* The device has the result, its report was lost, and of the result only packet 0 is still held by
 * the server: the device answers that repeat too. */
static void test_a_result_taken_is_forgotten_soon(void)
{
	struct world_options o = offload();
	struct world *w;

	o.frames = 1;
	w = world_create(o);
	w->lose = lose_first_reports;
	for (unsigned i = 0; i < 3000; i++, w->now += MS / 10) {
		drop_down(w, 0);
		world_turn(w);
	}
	CU_ASSERT_TRUE(kerf_device_finished(w->device));
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->remote, 1);
	CU_ASSERT_EQUAL(kerf_server_stats(w->server)->results, 1);
	world_destroy(w);
}

/* A peer whose RESULT names another cut, count or codec cannot end a frame. */
static void test_a_wrong_result_is_refused(void)
{
	struct world_options o = offload();
	struct world *w;
	struct kerf_net net = world_net(0x0a000002, 2, 1450);
	struct kerf_header h = {.type = KERF_MSG_RESULT, .count = 3, .codec = KERF_CODEC_F32};
	static const struct kerf_header wrong[] = {{.cut = 9, .count = 3}, {.count = 2},
		{.count = 60000}, {.count = 3, .codec = 200}, {.count = 3, .codec = KERF_CODEC_U8}};
	uint64_t before;

	o.frames = 1;
	w = world_create(o);
	while (w->device->frames[0].state != FRAME_REMOTE && w->now < KERF_NS_PER_S) {
		world_turn(w);
		w->now += MS / 10;
	}
	CU_ASSERT_EQUAL_FATAL(w->device->frames[0].state, FRAME_REMOTE);
	before = kerf_device_net(w->device)->drops[KERF_DROP_UNEXPECTED];
	h.session = w->device->session.id;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(wrong); i++) {
		struct rte_mbuf *m;
		void *payload;

		h.cut = wrong[i].cut;
		h.count = wrong[i].count;
		h.codec = wrong[i].codec ? wrong[i].codec : KERF_CODEC_F32;
		h.index = 1;
		m = kerf_net_packet(&net, &w->device->net.self, &h, 1448, &payload);
		memset(payload, 0, 1448);
		kerf_device_receive(w->device, &m, 1, w->now);
	}
	CU_ASSERT_EQUAL(kerf_device_net(w->device)->drops[KERF_DROP_UNEXPECTED] - before +
			kerf_device_net(w->device)->drops[KERF_DROP_MALFORMED],
		KERF_ARRAY_LEN(wrong));
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_remote(w);
	world_destroy(w);
}

/* A server's sender that gives up is looked at then, not when something else happens. */
static void test_a_result_nobody_takes_frees_its_context(void)
{
	struct world_options o = offload();
	struct world *w;
	uint64_t next;

	o.frames = 1;
	w = world_create(o);
	while (w->server->jobs[0].state != JOB_RESULT && w->now < KERF_NS_PER_S)
		if (!world_turn(w))
			w->now = KERF_MAX(world_next(w), w->now + 1);
	CU_ASSERT_EQUAL_FATAL(w->server->jobs[0].state, JOB_RESULT);
	/* The device is gone. */
	while ((next = kerf_server_next(w->server)) < w->now + 3 * KERF_NS_PER_S) {
		struct rte_mbuf *pkts[WORLD_BURST];

		w->now = KERF_MAX(w->now, next);
		rte_pktmbuf_free_bulk(pkts, kerf_server_poll(w->server, w->now, pkts, WORLD_BURST));
	}
	CU_ASSERT_EQUAL(w->server->jobs[0].state, JOB_FREE);
	CU_ASSERT_EQUAL(kerf_server_stats(w->server)->abandoned, 1);
	world_destroy(w);
}

static double lie_about_tau(struct kerf_rng *rng)
{
	static const double lies[] = {0, -1, 1e-14, 1e-13, 1e30, 11, 10, 1e-300, NAN, INFINITY};
	const unsigned i = kerf_rng_u32(rng) % (2 * KERF_ARRAY_LEN(lies));

	return i < KERF_ARRAY_LEN(lies) ? lies[i] : exp(-30 * kerf_rng_uniform(rng));
}

/* A report with each field true, or anything. */
static struct rte_mbuf *a_lie(struct world *w, struct kerf_rng *rng)
{
	const uint32_t frame = (uint32_t)w->device->next_frame - kerf_rng_u32(rng) % 3;
	struct kerf_net net = world_net(0x0a000002, 2, 1450);
	struct kerf_report r = {
		.of_type = kerf_rng_u32(rng) % 8 ? KERF_MSG_DATA : KERF_MSG_PROBE,
		.label = (uint8_t)(kerf_rng_u32(rng) % (KERF_LABEL_COUNT + 1)),
		.flags = (uint8_t)(kerf_rng_u32(rng) % 4 ? 0 : kerf_rng_u32(rng) % 8),
		.received = (uint16_t)kerf_rng_u32(rng),
		.first_delay_ns = (int64_t)kerf_rng_u64(rng),
		.duration_ns = kerf_rng_u64(rng) >> kerf_rng_u32(rng) % 64,
		/* now, or another time; bit 48 must not be there */
		.echo_tx_ns = (w->now - kerf_rng_u64(rng) % (200 * MS)) & ((1ull << 48) - 1),
		.hold_ns = kerf_rng_u32(rng) >> kerf_rng_u32(rng) % 32,
		.wire_bytes = kerf_rng_u32(rng),
		.tau_error = kerf_rng_u32(rng) % 4 ? .01f : 1e30f,
		.work_us = kerf_rng_u32(rng) >> kerf_rng_u32(rng) % 32,
		.slowdown = (float)ldexp(kerf_rng_uniform(rng), (int)(kerf_rng_u32(rng) % 200) - 100),
	};

	if (kerf_rng_u32(rng) % 2)
		r.echo_tx_ns = kerf_rng_u64(rng) & ((1ull << 48) - 1);
	r.tau = lie_about_tau(rng);
	if (kerf_rng_u32(rng) % 2) {
		r.ranges[0].first = (uint16_t)(kerf_rng_u32(rng) % 200);
		r.ranges[0].count = (uint16_t)(kerf_rng_u32(rng) % 200);
		r.n_ranges = r.ranges[0].count != 0;
	}
	return kerf_report_packet(&net, &w->device->net.self, w->device->session.id, frame, &r, w->now);
}

/* A server whose reports are about nothing: no frame is lost, and what the device believes stays finite. */
static void test_reports_that_lie(void)
{
	struct kerf_rng rng = {.seed = 4};

	for (unsigned round = 0; round < 20; round++) {
		struct world *w = world_create((struct world_options){
			.frames = 60, .period_ns = 50 * MS, .delay_ns = 500000, .seed = round});
		struct rte_mbuf *m;

		rng.stream = round;
		while (!kerf_device_finished(w->device)) {
			if (w->device->session.state == KERF_SESSION_READY && (m = a_lie(w, &rng)))
				kerf_device_receive(w->device, &m, 1, w->now);
			world_run(w, w->now + 1 + kerf_rng_u64(&rng) % (10 * MS));
			CU_ASSERT_FATAL(isfinite(kerf_link_tau(&w->device->up)));
			CU_ASSERT_FATAL(isfinite(kerf_link_sigma(&w->device->up)));
			CU_ASSERT_FATAL(kerf_link_base_rtt_ns(&w->device->up) <= 60 * KERF_NS_PER_S);
			CU_ASSERT_FATAL(isfinite(w->device->backlog.bytes));
		}
		CU_ASSERT_EQUAL(w->n_records, 60);
		CU_ASSERT_EQUAL(kerf_device_stats(w->device)->mismatches, 0);
		CU_ASSERT(kerf_device_stats(w->device)->reports_refused > 0);
		CU_ASSERT(w->device->up.refused > 0);
		for (unsigned i = 0; i < w->n_records; i++)
			CU_ASSERT((double)w->records[i].latency_ns <= 2.5e6 * LOCAL_MS(w));
		world_destroy(w);
	}
}

/* More time between frames than the server keeps an idle session for: it says so, and is asked again. */
static void test_an_idle_session_is_asked_for_again(void)
{
	struct world_options o = offload();
	struct world *w;

	o.frames = 3;
	o.period_ns = 40 * KERF_NS_PER_S;
	w = world_create(o);
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->remote, 3);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->sessions, 3);
	world_destroy(w);
}

UNIT_MAIN("node edges", UNIT(test_an_idle_session_is_asked_for_again), UNIT(test_reports_that_lie), UNIT(test_frame_numbers_wrap), UNIT(test_clocks_wrap),
	UNIT(test_ends_differ_in_packet_size), UNIT(test_inputs_are_compared_in_time),
	UNIT(test_a_frame_turned_away_stays_away), UNIT(test_the_highest_frame_number_is_served),
	UNIT(test_who_asks_for_a_frame_turned_away_hears_so),
	UNIT(test_a_torn_probe_is_not_reported_for_ever),
	UNIT(test_a_result_taken_is_forgotten_soon), UNIT(test_a_wrong_result_is_refused),
	UNIT(test_a_result_nobody_takes_frees_its_context))
