#include "linkem/packets.h"
#include "linkem/oracle.h"

/* The oracle gets the cross traffic as packets like any others. */
static void matches(struct kerf_linkem_config c, uint64_t seed)
{
	enum { N = 4000 };
	struct kerf_rng rng = {.seed = seed, .stream = 6};
	struct arrival own[N], *all;
	uint64_t at = 0, drops = 0, cross = 0, cross_drops = 0;
	uint32_t *index;

	for (unsigned i = 0; i < N; i++) {
		if (kerf_rng_u32(&rng) % 4 == 0)
			at += kerf_rng_u64(&rng) % (32 * US);
		own[i] = (struct arrival){at, 1 + kerf_rng_u32(&rng) % DATA_BYTES};
	}
	unsigned n = merge(&c, own, N, &all, &index);
	struct oracle o = {.c = &c, .packets = calloc(n, sizeof(struct oracle_packet))};
	for (unsigned i = 0; i < n; i++) {
		oracle_push(&o, all[i].at_ps, all[i].len);
		*(index[i] == UINT32_MAX ? &cross_drops : &drops) += o.packets[i].dropped;
		cross += index[i] == UINT32_MAX;
	}
	for (enum polling p = EVERY; p <= AHEAD; p++) {
		struct outcome got = run(&c, own, N, p);
		unsigned k = 0, wrong = 0;
		CU_ASSERT_EQUAL_FATAL(got.n, N - drops);
		CU_ASSERT_EQUAL(got.stats.cross, cross);
		CU_ASSERT_EQUAL(got.stats.cross_dropped, cross_drops);
		CU_ASSERT_EQUAL(got.stats.dropped_queue, drops);
		CU_ASSERT_EQUAL(got.stats.arrived, N);
		for (unsigned i = 0; i < n; i++) {
			if (index[i] == UINT32_MAX || o.packets[i].dropped)
				continue;
			wrong += got.taken[k].index != index[i] ||
				got.taken[k].deliver_ps / 1000 != o.packets[i].deliver_ps / 1000;
			k++;
		}
		CU_ASSERT_EQUAL(wrong, 0);
		free(got.taken);
	}
	printf(" %" PRIu64 " cross, %" PRIu64 " + %" PRIu64 " dropped;", cross, drops, cross_drops);
	CU_ASSERT(cross > N / 10);
	CU_ASSERT(!c.queue_bytes || (drops > 10 && cross_drops > 10));
	free(o.packets);
	free(all);
	free(index);
}

static void test_matches_oracle(void)
{
	/* Ours are 300 Mbit/s on average. */
	const struct kerf_linkem_step steps[] = {
		{0, 1000000000ull}, {3 * MS, 0}, {4 * MS, 400000000ull}, {9 * MS, 800000000ull}};
	struct kerf_linkem_config c = {.steps = steps,
		.n_steps = 4,
		.overhead_bytes = 24,
		.delay_ps = 9,
		.cross_bytes = 1000};

	set_up();
	c.cross_bps = 600000007;
	matches(c, 1);
	c.cross_bps = 399999999989ull / 100;
	c.queue_bytes = 5000;
	matches(c, 2);
	c.queue_packets = 4;
	c.cross_bytes = 60;
	c.cross_bps = 500000000;
	matches(c, 3);
	c.queue_bytes = 0;
	c.queue_packets = 0;
	c.n_steps = 0;
	matches(c, 4);
}

/* Half the link: what comes back to back leaves at half the rate. */
static void test_takes_its_share(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}};
	const struct kerf_linkem_config c = {.steps = steps,
		.n_steps = 1,
		.cross_bps = 500000000,
		.cross_bytes = 125}; /* 1 us each, every 2 us */
	struct arrival a[1000];

	set_up();
	for (unsigned i = 0; i < 1000; i++)
		a[i] = (struct arrival){i * 2 * US, 125};
	struct outcome o = run(&c, a, 1000, RARE);
	for (unsigned i = 0; i < 1000; i++) /* that of the same stamp goes first */
		CU_ASSERT_EQUAL(o.taken[i].deliver_ps, (2 * i + 2) * US);
	free(o.taken);
}

/* 2^64 ps hold less than one packet at 1 bit/s. */
static void test_slowest_and_fastest(void)
{
	struct kerf_linkem_config c = {.cross_bps = 1, .cross_bytes = UINT32_MAX};
	struct rte_mbuf *m;

	set_up();
	struct kerf_linkem *e = create(&c);
	m = packet(0, 1);
	kerf_linkem_push(e, UINT64_MAX - 1, &m, 1);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->cross, 1);
	kerf_linkem_destroy(e);
	c.cross_bps = KERF_LINKEM_MAX_BPS;
	c.cross_bytes = 0; /* 1514: 30.28 ns */
	e = create(&c);
	m = packet(0, 1);
	kerf_linkem_push(e, 30280 * 1000, &m, 1);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->cross, 1001);
	kerf_linkem_destroy(e);
	refused(&(struct kerf_linkem_config){.cross_bps = 400000000001ull}, "cross traffic");
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

UNIT_MAIN("linkem cross", UNIT(test_matches_oracle), UNIT(test_takes_its_share),
	UNIT(test_slowest_and_fastest))
