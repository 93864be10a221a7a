/* Device and server together, in virtual time. */
#include "node/world.h"

static const struct kerf_linkem_step fast[] = {{0, 200000000}};

static const struct kerf_frame_record *slowest(const struct world *w)
{
	const struct kerf_frame_record *r = &w->records[0];

	for (unsigned i = 1; i < w->n_records; i++)
		if (w->records[i].latency_ns > r->latency_ns)
			r = &w->records[i];
	return r;
}

static void check_all_done(struct world *w)
{
	const struct kerf_device_stats *s = kerf_device_stats(w->device);

	CU_ASSERT_EQUAL(s->frames, s->completed);
	CU_ASSERT_EQUAL(s->frames + s->skipped, w->o.frames);
	CU_ASSERT_EQUAL(s->completed, w->n_records);
	CU_ASSERT_EQUAL(s->local + s->remote + s->hedge_won, s->completed);
	CU_ASSERT_EQUAL(s->mismatches, 0);
	CU_ASSERT_EQUAL(s->verified, s->remote);
}

static void test_frames_are_computed_remotely(void)
{
	struct world *w = world_create((struct world_options){.frames = 50, .period_ns = 100 * MS,
		.steps = fast, .n_steps = 1, .delay_ns = 500000});

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT(kerf_device_stats(w->device)->remote >= 49);
	/* What was predicted is what happens on a link that does not change. */
	for (unsigned i = 5; i < w->n_records; i++)
		CU_ASSERT_DOUBLE_EQUAL((double)w->records[i].latency_ns,
			(double)w->records[i].predicted_ns, .03 * (double)w->records[i].latency_ns);
	world_destroy(w);
}

/* The four phases of the demonstration: offload, a middle cut, local, offload. */
static void test_the_cut_follows_the_link(void)
{
	static const struct kerf_linkem_step steps[] = {{0, 200000000}, {5000000000000, 40000000},
		{10000000000000, 1000000}, {15000000000000, 1000000000}};
	struct world *w = world_create((struct world_options){.frames = 200, .period_ns = 100 * MS,
		.steps = steps, .n_steps = 4, .delay_ns = 500000});
	const int last = w->graph->n_nodes;

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT_EQUAL(w->records[40].cut, 0);
	CU_ASSERT(w->records[90].cut > 0 && (int)w->records[90].cut < last);
	CU_ASSERT_EQUAL((int)w->records[140].cut, last);
	CU_ASSERT_EQUAL(w->records[190].cut, 0);
	CU_ASSERT((double)slowest(w)->latency_ns * 1e-6 <= 2.5 * LOCAL_MS(w));
	world_destroy(w);
}

static void test_every_cut_arrives_intact(void)
{
	struct world *probe = world_create((struct world_options){.frames = 1, .steps = fast,
		.n_steps = 1});
	const unsigned n = probe->n_candidates;
	struct kerf_plan_candidate *list = malloc(n * sizeof(list[0]));

	memcpy(list, probe->candidates, n * sizeof(list[0]));
	world_run(probe, UINT64_MAX);
	world_destroy(probe);
	for (unsigned i = 0; i < n; i++) {
		struct world *w = world_create((struct world_options){.frames = 2, .steps = fast,
			.n_steps = 1, .policy = {.mode = KERF_PLAN_FIXED, .fixed_cut = list[i].cut,
				.fixed_codec = list[i].local ? -1 : list[i].codec,
				.hedge_factor = 100}});

		CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
		check_all_done(w);
		CU_ASSERT_EQUAL(kerf_device_stats(w->device)->remote, list[i].local ? 0 : 2);
		world_destroy(w);
	}
	free(list);
}

static bool lose_tenth(struct world *w, const struct rte_mbuf *m)
{
	uint32_t bits[4];

	(void)m;
	kerf_rng_block(42, 0, w->counter, bits);
	return bits[0] < UINT32_MAX / 10;
}

static void test_lost_packets_are_repeated(void)
{
	struct world *w = world_create((struct world_options){.frames = 100,
		.period_ns = 100 * MS, .steps = fast, .n_steps = 1, .delay_ns = 500000,
		.policy = {.mode = KERF_PLAN_OFFLOAD, .fixed_codec = -1, .hedge_factor = 100}});

	w->lose = lose_tenth;
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->remote, 100);
	CU_ASSERT(kerf_device_net(w->device)->retransmits > 500);
	world_destroy(w);
}

static void test_a_queue_smaller_than_a_frame(void)
{
	static const struct kerf_linkem_step slow[] = {{0, 50000000}};
	struct world *w = world_create((struct world_options){.frames = 60, .period_ns = 100 * MS,
		.steps = slow, .n_steps = 1, .delay_ns = 500000, .queue_bytes = 30000});

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT(kerf_device_stats(w->device)->remote > 40);
	world_destroy(w);
}

static void test_an_outage_delays_but_loses_nothing(void)
{
	static const struct kerf_linkem_step steps[] = {{0, 200000000}, {2000000000000, 0},
		{4000000000000, 200000000}};
	struct world *w = world_create((struct world_options){.frames = 80, .period_ns = 100 * MS,
		.steps = steps, .n_steps = 3, .delay_ns = 500000});

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT((double)slowest(w)->latency_ns * 1e-6 <= 2.5 * LOCAL_MS(w));
	/* Back at the server within a second. */
	for (unsigned i = 52; i < w->n_records; i++)
		CU_ASSERT_EQUAL(w->records[i].where, KERF_WHERE_REMOTE);
	world_destroy(w);
}

static void test_a_dead_server_is_replaced(void)
{
	struct world *w = world_create((struct world_options){.frames = 100,
		.period_ns = 100 * MS, .steps = fast, .n_steps = 1, .delay_ns = 500000});

	world_run(w, 3010 * MS);
	CU_ASSERT(kerf_device_stats(w->device)->remote > 20);
	world_kill_server(w);
	world_run(w, 6000 * MS);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->sessions_lost, 1);
	CU_ASSERT_EQUAL(w->records[w->n_records - 1].where, KERF_WHERE_LOCAL);
	world_make_server(w);
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->sessions, 2);
	CU_ASSERT_EQUAL(w->records[w->n_records - 1].where, KERF_WHERE_REMOTE);
	world_destroy(w);
}

/* A device that computes beside every frame finishes each before the server's silence on it says anything. */
static void test_a_dead_server_of_a_fast_device(void)
{
	static const struct kerf_linkem_step slow[] = {{0, 10000000}};
	struct world *w = world_create((struct world_options){.frames = 60, .period_ns = 100 * MS,
		.slowdown = 1, .race_share = 1e-9, .steps = slow, .n_steps = 1, .delay_ns = 500000,
		.policy = {.mode = KERF_PLAN_OFFLOAD, .fixed_codec = -1, .hedge_factor = 2}});

	world_run(w, 2050 * MS);
	CU_ASSERT_EQUAL(kerf_device_session(w->device), KERF_SESSION_READY);
	world_kill_server(w);
	world_run(w, 4000 * MS);
	CU_ASSERT_NOT_EQUAL(kerf_device_session(w->device), KERF_SESSION_READY);
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	world_destroy(w);
}

/* A restarted server does not know the session; nothing else tells the device so. */
static void test_a_server_restarted_at_once(void)
{
	struct world *w = world_create((struct world_options){.frames = 60, .period_ns = 100 * MS,
		.steps = fast, .n_steps = 1, .delay_ns = 500000});

	world_run(w, 2050 * MS);
	world_kill_server(w);
	world_make_server(w);
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->sessions, 2);
	CU_ASSERT(kerf_device_stats(w->device)->remote >= 55);
	world_destroy(w);
}

static void test_another_model_is_refused_by_name(void)
{
	struct world *w = world_create((struct world_options){.frames = 5, .period_ns = 100 * MS,
		.steps = fast, .n_steps = 1, .other_model = true});

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	CU_ASSERT_EQUAL(kerf_device_session(w->device), KERF_SESSION_REFUSED);
	CU_ASSERT_PTR_NOT_NULL(strstr(kerf_device_refusal(w->device), "model mismatch"));
	CU_ASSERT_PTR_NOT_NULL(strstr(kerf_device_refusal(w->device), "squeezenet-1.1"));
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->local, 5);
	world_destroy(w);
}

/* Frames that end on the device leave nothing behind at the server. */
static void test_cancelled_frames_free_the_server(void)
{
	static const struct kerf_linkem_step slow[] = {{0, 3000000}};
	struct world *w = world_create((struct world_options){.frames = 30, .contexts = 2,
		.steps = slow, .n_steps = 1, .delay_ns = 500000,
		.policy = {.mode = KERF_PLAN_OFFLOAD, .fixed_codec = -1, .hedge_factor = 1}});
	const struct kerf_server_stats *s;

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT(kerf_device_stats(w->device)->hedge_won > 0);
	/* CANCELs that are still on their way. */
	for (const uint64_t end = w->now + 5000 * MS; w->now < end; w->now += MS)
		world_turn(w);
	s = kerf_server_stats(w->server);
	CU_ASSERT_EQUAL(s->frames, s->results + s->cancelled + s->abandoned);
	world_destroy(w);
}

static void test_several_frames_in_flight(void)
{
	struct world *w = world_create((struct world_options){.frames = 100, .in_flight = 3,
		.steps = fast, .n_steps = 1, .delay_ns = 10 * MS});

	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	check_all_done(w);
	CU_ASSERT(kerf_device_stats(w->device)->remote > 50);
	world_destroy(w);
}

static void test_the_same_run_twice(void)
{
	static struct kerf_frame_record first[200];
	static const struct kerf_linkem_step steps[] = {{0, 200000000}, {5000000000000, 20000000}};

	for (int round = 0; round < 2; round++) {
		struct world *w = world_create((struct world_options){.frames = 100,
			.period_ns = 100 * MS, .steps = steps, .n_steps = 2, .delay_ns = 500000});

		w->lose = lose_tenth;
		CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
		CU_ASSERT_EQUAL_FATAL(w->n_records, 100);
		if (round == 0)
			memcpy(first, w->records, 100 * sizeof(first[0]));
		else
			CU_ASSERT_EQUAL(memcmp(first, w->records, 100 * sizeof(first[0])), 0);
		world_destroy(w);
	}
}

/* Packets that were damaged on the way, in ways that Ethernet's checksum would catch, and the two
 * nodes' own packets sent back to them. */
static void test_damaged_packets_do_no_harm(void)
{
	struct world *w = world_create((struct world_options){.frames = 200, .steps = fast,
		.n_steps = 1, .delay_ns = 100000});
	struct kerf_rng rng = {.seed = 99};

	printf("seed %lu ", rng.seed);
	for (unsigned i = 0; i < 20000 && !kerf_device_finished(w->device); i++) {
		struct rte_mbuf *pkts[WORLD_BURST], *copy;
		unsigned n = kerf_linkem_pull(w->up, w->now * 1000, pkts, WORLD_BURST);

		for (unsigned p = 0; p < n; p++) {
			copy = rte_pktmbuf_copy(pkts[p], world_pool, 0, UINT32_MAX);
			for (unsigned b = 0; copy && b < 4; b++)
				rte_pktmbuf_mtod(copy, uint8_t *)[kerf_rng_u32(&rng) %
					KERF_MIN(rte_pktmbuf_data_len(copy), 140)] =
					(uint8_t)kerf_rng_u32(&rng);
			if (copy && kerf_rng_u32(&rng) % 2)
				kerf_server_receive(w->server, &copy, 1, w->now);
			else if (copy)
				kerf_device_receive(w->device, &copy, 1, w->now);
		}
		if (n)
			kerf_server_receive(w->server, pkts, n, w->now);
		world_turn(w);
		w->now = KERF_MAX(w->now + 1, KERF_MIN(world_next(w), w->now + MS));
	}
	CU_ASSERT(kerf_device_stats(w->device)->completed > 50);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->frames,
		kerf_device_stats(w->device)->completed + !kerf_device_finished(w->device));
	world_destroy(w);
}

UNIT_MAIN("node", UNIT(test_frames_are_computed_remotely), UNIT(test_the_cut_follows_the_link),
	UNIT(test_every_cut_arrives_intact), UNIT(test_lost_packets_are_repeated),
	UNIT(test_a_queue_smaller_than_a_frame), UNIT(test_an_outage_delays_but_loses_nothing),
	UNIT(test_a_dead_server_is_replaced), UNIT(test_a_dead_server_of_a_fast_device),
	UNIT(test_a_server_restarted_at_once),
	UNIT(test_another_model_is_refused_by_name), UNIT(test_cancelled_frames_free_the_server),
	UNIT(test_several_frames_in_flight), UNIT(test_the_same_run_twice),
	UNIT(test_damaged_packets_do_no_harm))
