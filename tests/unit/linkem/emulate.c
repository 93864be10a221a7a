#include "unit.h"
#include "linkem/oracle.h"
#include "port/eal.h"

#include <inttypes.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <string.h>

#define N_PACKETS 100000
#define POOL_MBUFS 131071
#define US 1000000ull /* ps */

static struct rte_mempool *pool;
static int ts_offset;
static uint64_t ts_flag;

static void set_up(void)
{
	unit_eal_init();
	if (pool)
		return;
	pool = rte_pktmbuf_pool_create(
		"linkem", POOL_MBUFS, 0, 0, RTE_PKTMBUF_HEADROOM, SOCKET_ID_ANY);
	if (!pool || kerf_linkem_timestamp_field(&ts_offset, &ts_flag) < 0) {
		printf("no pool of %u mbufs\n", POOL_MBUFS);
		exit(1);
	}
}

/* The emulator looks at lengths only, so the packets have no data; the index tells them apart. */
static struct rte_mbuf *packet(uint32_t index, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	if (!m)
		abort();
	m->pkt_len = len;
	m->hash.usr = index;
	return m;
}

struct arrival {
	uint64_t at_ps;
	uint32_t len;
};

struct world {
	struct kerf_linkem_config config;
	struct kerf_linkem_step *steps;
	struct arrival *arrivals;
	unsigned n;
};

/* Steps of 1 ps to 1 ms (mostly short), every kind of rate; the last one moves. */
static void random_steps(struct world *w, unsigned n, struct kerf_rng *rng)
{
	const uint64_t special[] = {0, 1, 400000000000ull, 3, 999999937ull, 10000000000ull};
	uint64_t at = 0;

	w->steps = calloc(n, sizeof(*w->steps));
	for (unsigned i = 0; i < n; i++) {
		w->steps[i].at_ps = at;
		unsigned log2_ps = kerf_rng_u32(rng) % 31;
		w->steps[i].bps = kerf_rng_u32(rng) % 2 ? special[kerf_rng_u32(rng) % 6]
							: kerf_rng_u64(rng) % 400000000001ull;
		at += 1 + kerf_rng_u64(rng) % (1ull << log2_ps);
	}
	w->steps[n - 1].bps = 333333333ull;
	w->config.steps = w->steps;
	w->config.n_steps = n;
}

static void random_arrivals(struct world *w, unsigned n, uint64_t span_ps, struct kerf_rng *rng)
{
	uint64_t at = 0;

	w->arrivals = calloc(n, sizeof(*w->arrivals));
	w->n = n;
	for (unsigned i = 0; i < n; i++) {
		if (kerf_rng_u32(rng) % 4 == 0) /* bursts of 4 with one stamp, on average */
			at += kerf_rng_u64(rng) % (8 * span_ps / n);
		w->arrivals[i] = (struct arrival){at, 60 + kerf_rng_u32(rng) % 1455};
	}
}

static void free_world(struct world *w)
{
	free(w->steps);
	free(w->arrivals);
}

static struct oracle run_oracle(const struct world *w)
{
	struct oracle o = {.c = &w->config, .packets = calloc(w->n, sizeof(struct oracle_packet))};

	for (unsigned i = 0; i < w->n; i++)
		oracle_push(&o, w->arrivals[i].at_ps, w->arrivals[i].len);
	return o;
}

/* What came out of the emulator, in order. */
struct outcome {
	uint32_t *index;
	uint64_t *deliver_ps, *stamp_ns;
	unsigned n;
};

static void pull_one_by_one(struct kerf_linkem *e, uint64_t now, unsigned most, struct outcome *out)
{
	struct rte_mbuf *m;

	while (most--) {
		uint64_t next = kerf_linkem_next(e);
		if (kerf_linkem_pull(e, now, &m, 1) == 0)
			return;
		out->index[out->n] = m->hash.usr;
		out->deliver_ps[out->n] = next;
		out->stamp_ns[out->n] = *RTE_MBUF_DYNFIELD(m, ts_offset, uint64_t *);
		if (!(m->ol_flags & ts_flag))
			out->stamp_ns[out->n] = UINT64_MAX;
		out->n++;
		rte_pktmbuf_free(m);
	}
}

/* How to poll between arrivals: at every one, hardly ever, at random, or ahead of the next stamp.
 */
enum polling { EVERY, RARE, RANDOM, AHEAD };

static struct outcome run_emulator(const struct world *w, enum polling polling, uint64_t seed)
{
	struct kerf_rng rng = {.seed = seed, .stream = 9};
	struct kerf_err err = {0};
	struct outcome out = {calloc(w->n, 4), calloc(w->n, 8), calloc(w->n, 8), 0};
	struct kerf_linkem *e = kerf_linkem_create(&w->config, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	for (unsigned i = 0; i < w->n; i++) {
		struct rte_mbuf *m = packet(i, w->arrivals[i].len);
		uint64_t at = w->arrivals[i].at_ps;
		kerf_linkem_push(e, at, &m, 1);
		if (polling == EVERY || (polling == RANDOM && kerf_rng_u32(&rng) % 8 == 0))
			pull_one_by_one(e, at, 1 + kerf_rng_u32(&rng) % 64, &out);
		if (polling == AHEAD && i % 5 == 0)
			pull_one_by_one(e, at + kerf_rng_u64(&rng) % (50 * US), w->n, &out);
	}
	pull_one_by_one(e, UINT64_MAX, w->n, &out);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->arrived, w->n);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->delivered, out.n);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->dropped_room, 0);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
	return out;
}

static void free_outcome(struct outcome *o)
{
	free(o->index);
	free(o->deliver_ps);
	free(o->stamp_ns);
}

/* Every packet of the oracle that gets out, in order, at its time to the picosecond. */
static void compare(const struct oracle *o, const struct outcome *got, const char *what)
{
	unsigned k = 0, wrong = 0;

	for (unsigned i = 0; i < o->n; i++) {
		const struct oracle_packet *p = &o->packets[i];
		if (p->dropped || p->deliver_ps == UINT64_MAX)
			continue;
		bool same = k < got->n && got->index[k] == i &&
			    got->deliver_ps[k] == p->deliver_ps &&
			    got->stamp_ns[k] == p->deliver_ps / 1000;
		if (!same && wrong++ == 0)
			printf("%s: packet %u: expected %" PRIu64 " ps, got %u at %" PRIu64 " ps\n",
				what, i, p->deliver_ps, k < got->n ? got->index[k] : 0,
				k < got->n ? got->deliver_ps[k] : 0);
		k++;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(k, got->n);
}

static unsigned count_drops(const struct oracle *o)
{
	unsigned n = 0;

	for (unsigned i = 0; i < o->n; i++)
		n += o->packets[i].dropped;
	return n;
}

static void run_random(uint64_t seed, uint64_t queue_bytes, unsigned n)
{
	struct kerf_rng rng = {.seed = seed};
	struct world w = {.config = {.delay_ps = 5 * US + 123,
				  .overhead_bytes = 24,
				  .queue_bytes = queue_bytes,
				  .max_packets = N_PACKETS}};
	const enum polling ways[] = {EVERY, RARE, RANDOM, AHEAD};

	random_steps(&w, 4000, &rng);
	random_arrivals(&w, n, w.steps[3999].at_ps, &rng);
	struct oracle o = run_oracle(&w);
	unsigned drops = count_drops(&o);
	printf(" seed %" PRIu64 ": %u packets, %u dropped;", seed, n, drops);
	if (queue_bytes)
		CU_ASSERT(drops > n / 100 && drops < n);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(ways); i++) {
		struct outcome got = run_emulator(&w, ways[i], seed);
		compare(&o, &got,
			i == EVERY    ? "every"
			: i == RARE   ? "rare"
			: i == RANDOM ? "random"
				      : "ahead");
		free_outcome(&got);
	}
	free(o.packets);
	free_world(&w);
}

static void test_matches_oracle(void)
{
	set_up();
	run_random(1, 0, N_PACKETS);
	for (uint64_t seed = 2; seed < 12; seed++)
		run_random(seed, 0, 5000);
}

static void test_queue_limit_matches_oracle(void)
{
	set_up();
	run_random(100, 20000, N_PACKETS);
	for (uint64_t seed = 101; seed < 111; seed++)
		run_random(seed, 1514 + seed % 3 * 10000, 5000);
}

/* The definition itself, one picosecond after the other. */
static void test_matches_picosecond_by_picosecond(void)
{
	const struct kerf_linkem_step steps[] = {{0, 399999999989ull}, {2500, 0}, {2600, 1},
		{9001, 100000000003ull}, {40000, 7}, {70000, 333333333333ull}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 6};
	struct kerf_err err = {0};
	unsigned __int128 work = 0, end = 0;
	uint64_t arrivals[64], t = 0;

	set_up();
	struct kerf_linkem *e = kerf_linkem_create(&c, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	for (unsigned i = 0; i < 64; i++) {
		struct rte_mbuf *m = packet(i, 1 + i * 37 % 200);
		arrivals[i] = i * 1500 / 4 * 4;
		kerf_linkem_push(e, arrivals[i], &m, 1);
	}
	for (unsigned i = 0, step = 0; i < 64; i++) {
		struct rte_mbuf *m;
		bool begun = false;
		for (;; t++) { /* work = W(t) */
			while (step + 1 < 6 && steps[step + 1].at_ps <= t)
				step++;
			if (!begun && t >= arrivals[i]) {
				/* The link was idle on arrival, or goes on where the last one
				 * ended. */
				if (t == arrivals[i] && work > end)
					end = work;
				end += (unsigned __int128)(1 + i * 37 % 200) * 8 * 1000000000000ull;
				begun = true;
			}
			if (begun && work >= end)
				break;
			work += steps[step].bps;
		}
		CU_ASSERT_EQUAL(kerf_linkem_next(e), t);
		CU_ASSERT_EQUAL_FATAL(kerf_linkem_pull(e, t, &m, 1), 1);
		rte_pktmbuf_free(m);
	}
	kerf_linkem_destroy(e);
}

/* 64-byte packets at a rate that no picosecond divides: rounding must not add up. */
static void test_rate_error_does_not_add_up(void)
{
	const struct kerf_linkem_step steps[] = {{0, 399999000001ull}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 1, .overhead_bytes = 24};
	struct kerf_linkem *e;
	struct rte_mbuf *m;
	uint64_t last = 0;
	const uint64_t n = 1000000;

	set_up();
	e = kerf_linkem_create(&c, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	for (uint64_t i = 0; i < n; i++) {
		m = packet(0, 64);
		kerf_linkem_push(e, last ? last - 1 : 0, &m, 1); /* never idle */
		last = kerf_linkem_next(e);
		CU_ASSERT_EQUAL_FATAL(kerf_linkem_pull(e, UINT64_MAX, &m, 1), 1);
		rte_pktmbuf_free(m);
	}
	unsigned __int128 work = (unsigned __int128)n * 88 * 8 * 1000000000000ull;
	CU_ASSERT_EQUAL(last, (uint64_t)((work + steps[0].bps - 1) / steps[0].bps));
	kerf_linkem_destroy(e);
}

static void test_queue_limit_is_exact(void)
{
	/* 1000 bytes take 8 us; the second finishes at 16 us. */
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 1, .queue_bytes = 2500};
	struct rte_mbuf *m, *out[8];

	set_up();
	struct kerf_linkem *e = kerf_linkem_create(&c, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	const struct kerf_linkem_stats *s = kerf_linkem_stats(e);
	const struct {
		uint64_t at;
		uint32_t len;
		unsigned dropped;
	} script[] = {
		{0, 1000, 0},
		{0, 1000, 0},
		{0, 501, 1},
		{0, 500, 1}, /* 2500 fit, 2501 do not */
		{8 * US - 1, 1, 2},
		{8 * US, 1000, 2}, /* the first has left by 8 us */
		{8 * US, 1, 3},
	};
	for (unsigned i = 0; i < KERF_ARRAY_LEN(script); i++) {
		m = packet(i, script[i].len);
		kerf_linkem_push(e, script[i].at, &m, 1);
		CU_ASSERT_EQUAL(s->dropped_queue, script[i].dropped);
	}
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, 28 * US, out, 8), 4);
	CU_ASSERT_EQUAL(out[3]->hash.usr, 5);
	CU_ASSERT_EQUAL(s->bytes, 3500);
	rte_pktmbuf_free_bulk(out, 4);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

static void test_room_drops_and_recovers(void)
{
	struct kerf_linkem_config c = {.delay_ps = 10, .max_packets = 3};
	struct rte_mbuf *in[5], *out[5];

	set_up();
	struct kerf_linkem *e = kerf_linkem_create(&c, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < 5; i++)
			in[i] = packet(i, 100);
		kerf_linkem_push(e, round * 100, in, 5);
		CU_ASSERT_EQUAL(kerf_linkem_stats(e)->dropped_room, 2 * (round + 1));
		CU_ASSERT_EQUAL(kerf_linkem_pull(e, round * 100 + 9, out, 5), 0);
		CU_ASSERT_EQUAL(kerf_linkem_pull(e, round * 100 + 10, out, 5), 3);
		CU_ASSERT_EQUAL(out[2]->hash.usr, 2);
		rte_pktmbuf_free_bulk(out, 3);
	}
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

static void test_zero_rate_tail_never_leaves(void)
{
	/* 1000 bits are done when the link stops for good. */
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}, {1 * US, 0}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 2};
	struct rte_mbuf *m;

	set_up();
	struct kerf_linkem *e = kerf_linkem_create(&c, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	m = packet(0, 125);
	kerf_linkem_push(e, 0, &m, 1); /* exactly the 1000 bits */
	m = packet(1, 1);
	kerf_linkem_push(e, 0, &m, 1);
	m = packet(2, 1);
	kerf_linkem_push(e, 5 * US, &m, 1);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), 1 * US);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, 1 * US, &m, 1), 1);
	rte_pktmbuf_free(m);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), UINT64_MAX);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, UINT64_MAX, &m, 1), 0);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS - 2);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

/* Done with the last bit before the link pauses: the pause is not waited for. */
static void test_ends_when_a_pause_begins(void)
{
	const struct kerf_linkem_step steps[] = {
		{0, 1000000000ull}, {1 * US, 0}, {2 * US, 0}, {3 * US, 1000000000ull}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 4};
	struct rte_mbuf *m[2];

	set_up();
	struct kerf_linkem *e = kerf_linkem_create(&c, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	m[0] = packet(0, 125); /* 1000 bits: 1 us */
	m[1] = packet(1, 125);
	kerf_linkem_push(e, 0, m, 2);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), 1 * US);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, 3 * US, m, 1), 1);
	rte_pktmbuf_free(m[0]);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), 4 * US);
	kerf_linkem_destroy(e);
}

/* In real time a packet may be out of the emulator before a stamp at which it still waited comes
 * in. */
static void test_pulled_packets_still_wait_for_earlier_stamps(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}}; /* 1000 bytes: 8 us */
	struct kerf_linkem_config c = {
		.steps = steps, .n_steps = 1, .queue_bytes = 3000, .max_packets = 2};
	struct rte_mbuf *m[2];

	set_up();
	struct kerf_linkem *e = kerf_linkem_create(&c, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	const struct kerf_linkem_stats *s = kerf_linkem_stats(e);
	m[0] = packet(0, 1000);
	m[1] = packet(1, 1000);
	kerf_linkem_push(e, 0, m, 2);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, 100 * US, m, 2), 2);
	rte_pktmbuf_free_bulk(m, 2);
	m[0] = packet(2, 1001);
	m[1] = packet(3, 1000);
	kerf_linkem_push(e, 1 * US, m, 2);
	CU_ASSERT_EQUAL(s->dropped_queue, 1); /* 2000 waited at 1 us */
	CU_ASSERT_EQUAL(s->dropped_room, 1);  /* and both places were taken */
	m[0] = packet(4, 1000);
	kerf_linkem_push(e, 8 * US, m, 1);
	CU_ASSERT_EQUAL(s->dropped_queue + s->dropped_room, 2);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), 24 * US);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

static void test_rate_at(void)
{
	struct kerf_linkem_step steps[7];
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 7};

	set_up();
	for (unsigned i = 0; i < 7; i++)
		steps[i] = (struct kerf_linkem_step){i * 100, 1000 + i};
	struct kerf_linkem *e = kerf_linkem_create(&c, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	for (uint64_t t = 0; t < 1000; t++)
		CU_ASSERT_EQUAL(kerf_linkem_rate_at(e, t), 1000 + KERF_MIN(t / 100, 6));
	kerf_linkem_destroy(e);
}

static void refused(const struct kerf_linkem_config *c, const char *expected)
{
	struct kerf_err err = {0};

	CU_ASSERT_PTR_NULL(kerf_linkem_create(c, &err));
	if (!strstr(err.text, expected))
		printf("\"%s\" lacks \"%s\"\n", err.text, expected);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, expected));
}

static void test_invalid_is_refused(void)
{
	const struct kerf_linkem_step late[] = {{1, 5}}, same[] = {{0, 5}, {9, 5}, {9, 6}},
				      back[] = {{0, 5}, {9, 5}, {8, 6}},
				      fast[] = {{0, 400000000001ull}};

	set_up();
	refused(&(struct kerf_linkem_config){.steps = late, .n_steps = 1}, "expected 0");
	refused(&(struct kerf_linkem_config){.steps = same, .n_steps = 3}, "step 2 at 9 ps");
	refused(&(struct kerf_linkem_config){.steps = back, .n_steps = 3}, "step 2 at 8 ps");
	refused(&(struct kerf_linkem_config){.steps = fast, .n_steps = 1}, "400000000001 bit/s");
	refused(&(struct kerf_linkem_config){.n_steps = 1}, "address 0");
	refused(&(struct kerf_linkem_config){.max_packets = (1u << 24) + 1}, "room");
}

UNIT_MAIN("linkem", UNIT(test_matches_oracle), UNIT(test_queue_limit_matches_oracle),
	UNIT(test_matches_picosecond_by_picosecond), UNIT(test_rate_error_does_not_add_up),
	UNIT(test_queue_limit_is_exact), UNIT(test_room_drops_and_recovers),
	UNIT(test_zero_rate_tail_never_leaves), UNIT(test_ends_when_a_pause_begins),
	UNIT(test_pulled_packets_still_wait_for_earlier_stamps), UNIT(test_rate_at),
	UNIT(test_invalid_is_refused))
