#include "linkem/packets.h"
#include "linkem/oracle.h"

/* ---- a second way to compute every packet's fate and delivery ---- */

struct expected {
	uint64_t deliver_ps;
	uint32_t index, order;
	int bit;
};

struct fate {
	bool lost, duplicate, late, corrupt;
	uint32_t bit;
	uint64_t jitter; /* 1/2^64 */
};

static struct fate fate_of(const struct kerf_linkem_config *c, uint64_t n, bool *bad)
{
	uint32_t u[8];

	kerf_rng_block(c->seed, 2 * c->direction, n, u);
	kerf_rng_block(c->seed, 2 * c->direction + 1, n, u + 4);
	struct fate f = {
		.lost = fraction(u[0]) < (*bad ? c->loss_bad : c->loss),
		.duplicate = fraction(u[2]) < c->duplication,
		.late = fraction(u[3]) < c->late,
		.corrupt = fraction(u[4]) < c->corruption,
		.bit = u[5],
		.jitter = u[6] + ((uint64_t)u[7] << 32),
	};
	if (fraction(u[1]) < (*bad ? c->bad_to_good : c->good_to_bad))
		*bad = !*bad;
	return f;
}

static int by_delivery(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;

	if (x->deliver_ps != y->deliver_ps)
		return x->deliver_ps < y->deliver_ps ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

/* All that comes out, in order. Everything is delivered: the rate never ends. */
static unsigned expect(const struct kerf_linkem_config *c, const struct arrival *a, unsigned n,
	struct expected *out)
{
	struct oracle o = {.c = c, .packets = calloc(n, sizeof(struct oracle_packet))};
	uint64_t last = 0;
	bool bad = false;
	uint32_t k = 0;

	for (unsigned i = 0; i < n; i++) {
		struct fate f = fate_of(c, i, &bad);
		oracle_push(&o, a[i].at_ps, a[i].len);
		if (o.packets[i].dropped || f.lost)
			continue;
		uint64_t t = o.packets[i].finish_ps;
		while (c->slot_ps && t % c->slot_ps)
			t += c->slot_ps - t % c->slot_ps;
		t += c->delay_ps + (uint64_t)((unsigned __int128)f.jitter * c->jitter_ps >> 64);
		if (!c->jitter_reorders && t < last)
			t = last;
		last = t;
		t += f.late ? c->late_ps : 0;
		int bit = f.corrupt ? (int)floor(fraction(f.bit) * (double)a[i].len * 8) : -1;
		for (int copies = f.duplicate ? 2 : 1; copies; copies--, k++)
			out[k] = (struct expected){t, i, k, bit};
	}
	free(o.packets);
	qsort(out, k, sizeof(*out), by_delivery);
	return k;
}

/* Whoever polls ahead of the stamps may see an order of his own, but the same times. */
static int by_index(const void *a, const void *b)
{
	const struct taken *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

static int expected_by_index(const void *a, const void *b)
{
	const struct expected *x = a, *y = b;

	return (x->index > y->index) - (x->index < y->index);
}

static unsigned differences(const struct expected *e, const struct taken *t, unsigned n)
{
	unsigned wrong = 0;

	for (unsigned i = 0; i < n; i++) {
		bool same = e[i].index == t[i].index && e[i].bit == t[i].bit &&
			e[i].deliver_ps / 1000 == t[i].deliver_ps / 1000;
		if (!same && wrong++ == 0)
			printf("place %u: expected %u at %" PRIu64 " ps bit %d, got %u at %" PRIu64
			       " bit %d\n",
				i, e[i].index, e[i].deliver_ps, e[i].bit, t[i].index,
				t[i].deliver_ps, t[i].bit);
	}
	return wrong;
}

static struct arrival *random_arrivals(unsigned n, uint64_t gap_ps, uint64_t seed)
{
	struct kerf_rng rng = {.seed = seed, .stream = 5};
	struct arrival *a = calloc(n, sizeof(*a));
	uint64_t at = 0;

	for (unsigned i = 0; i < n; i++) {
		if (kerf_rng_u32(&rng) % 4 == 0)
			at += kerf_rng_u64(&rng) % (8 * gap_ps);
		a[i] = (struct arrival){at, 1 + kerf_rng_u32(&rng) % DATA_BYTES};
	}
	return a;
}

static void check_conservation(const struct outcome *o)
{
	const struct kerf_linkem_stats *s = &o->stats;

	CU_ASSERT_EQUAL(s->delivered, o->n);
	CU_ASSERT_EQUAL(s->arrived + s->duplicated,
		s->delivered + s->lost + s->dropped_queue + s->dropped_room + s->dropped_codel);
}

static void matches(struct kerf_linkem_config c, uint64_t seed)
{
	enum { N = 6000 };
	struct arrival *a = random_arrivals(N, 2 * US, seed);
	struct expected *e = calloc(2 * N, sizeof(*e));

	c.seed = seed;
	c.pool = pool;
	unsigned n = expect(&c, a, N, e);
	for (enum polling p = EVERY; p <= AHEAD; p++) {
		struct outcome got = run(&c, a, N, p);
		CU_ASSERT_EQUAL(got.n, n);
		CU_ASSERT_EQUAL(got.stats.uncopied + got.stats.dropped_room, 0);
		check_conservation(&got);
		if (p == AHEAD) {
			qsort(got.taken, got.n, sizeof(*got.taken), by_index);
			qsort(e, n, sizeof(*e), expected_by_index);
		}
		CU_ASSERT_EQUAL(differences(e, got.taken, KERF_MIN(n, got.n)), 0);
		free(got.taken);
	}
	free(e);
	free(a);
}

static void test_matches_oracle(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}, {3 * MS, 0},
		{3 * MS + 77, 399999999989ull}, {4 * MS, 500000000ull}};
	const struct kerf_linkem_config base = {
		.steps = steps, .n_steps = 4, .delay_ps = 50 * US, .overhead_bytes = 24};
	struct kerf_linkem_config c = base;

	set_up();
	for (uint64_t seed = 1; seed < 5; seed++) {
		c = base;
		c.loss = .1;
		c.direction = (uint32_t)seed;
		matches(c, seed);
		c.loss_bad = .7;
		c.good_to_bad = .02;
		c.bad_to_good = .1;
		c.corruption = .2;
		c.duplication = .15;
		matches(c, seed);
		c.jitter_ps = 20 * US + 1;
		c.queue_bytes = 3000;
		matches(c, seed);
		c.jitter_reorders = true;
		c.queue_packets = 10;
		matches(c, seed);
		c.late = .1;
		c.late_ps = 33 * US;
		matches(c, seed);
		c.slot_ps = 500 * US;
		c.jitter_reorders = false;
		matches(c, seed);
		c.n_steps = 0;
		c.steps = NULL;
		matches(c, seed);
	}
}

/* ---- how often ---- */

#define MANY 1000000u

static void push_many(struct kerf_linkem *e, unsigned n)
{
	struct rte_mbuf *m[32];

	for (unsigned i = 0; i < n; i += 32) {
		unsigned burst = KERF_MIN(32, n - i);

		for (unsigned k = 0; k < burst; k++)
			m[k] = packet(i + k, 4);
		kerf_linkem_push(e, i, m, burst);
		while ((burst = kerf_linkem_pull(e, i, m, 32)))
			rte_pktmbuf_free_bulk(m, burst);
	}
	while ((n = kerf_linkem_pull(e, UINT64_MAX, m, 32)))
		rte_pktmbuf_free_bulk(m, n);
}

static void test_fractions(void)
{
	const struct kerf_linkem_config c = {.seed = 2024,
		.loss = .02,
		.corruption = .003,
		.duplication = .01,
		.late = .005,
		.late_ps = 100,
		.pool = NULL};
	struct kerf_linkem_config with_pool = c;

	set_up();
	with_pool.pool = pool;
	struct kerf_linkem *e = create(&with_pool);
	push_many(e, MANY);
	const struct kerf_linkem_stats *s = kerf_linkem_stats(e);
	uint64_t there = MANY - s->lost;
	within_3_sigma("lost", s->lost, MANY, c.loss);
	within_3_sigma("corrupted", s->corrupted, there, c.corruption);
	within_3_sigma("duplicated", s->duplicated, there, c.duplication);
	within_3_sigma("late", s->late, there, c.late);
	/* This seed's, for good: experiments are quoted by their seed. */
	printf(" lost %" PRIu64 " corrupted %" PRIu64 " duplicated %" PRIu64 " late %" PRIu64,
		s->lost, s->corrupted, s->duplicated, s->late);
	CU_ASSERT_EQUAL(s->lost, 19890);
	CU_ASSERT_EQUAL(s->corrupted, 2947);
	CU_ASSERT_EQUAL(s->duplicated, 9676);
	CU_ASSERT_EQUAL(s->late, 4907);
	CU_ASSERT_EQUAL(s->delivered, there + s->duplicated);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

/* Everything, nothing, and each of two directions for itself. */
static void test_certainties(void)
{
	struct kerf_linkem_config c = {.seed = 3, .loss = 1};
	struct kerf_linkem *e;
	uint64_t lost[2];

	set_up();
	e = create(&c);
	push_many(e, 5000);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->lost, 5000);
	kerf_linkem_destroy(e);
	c = (struct kerf_linkem_config){.seed = 3, .loss_bad = 1, .bad_to_good = 1, .jitter_ps = 5};
	e = create(&c);
	push_many(e, 5000); /* never gets into the bad state */
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->lost, 0);
	kerf_linkem_destroy(e);
	c = (struct kerf_linkem_config){.loss_bad = 1, .good_to_bad = 1, .bad_to_good = 1};
	e = create(&c);
	push_many(e, 5000); /* every second one, from the second on */
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->lost, 2500);
	kerf_linkem_destroy(e);
	for (unsigned d = 0; d < 2; d++) {
		c = (struct kerf_linkem_config){.seed = 3, .direction = d, .loss = .5};
		e = create(&c);
		push_many(e, 5000);
		lost[d] = kerf_linkem_stats(e)->lost;
		kerf_linkem_destroy(e);
	}
	CU_ASSERT_NOT_EQUAL(lost[0], lost[1]);
}

/* Bursts of loss: how many, how long, and the share of packets (a chain's variance is larger than
 * that of independent draws by (1 + r)/(1 - r), r = 1 - both probabilities). */
static void test_gilbert_elliott(void)
{
	const double g = .01, b = .2, p = g / (g + b), r = 1 - g - b;
	struct kerf_linkem_config c = {
		.seed = 12, .loss_bad = 1, .good_to_bad = g, .bad_to_good = b};
	struct kerf_linkem *e;
	uint64_t lost = 0, bursts = 0, before = 0;
	bool in_burst = false;

	set_up();
	e = create(&c);
	for (unsigned i = 0; i < MANY; i++) {
		struct rte_mbuf *m = packet(i, 1);
		kerf_linkem_push(e, i, &m, 1);
		lost = kerf_linkem_stats(e)->lost;
		bursts += lost > before && !in_burst;
		in_burst = lost > before;
		before = lost;
		if (kerf_linkem_pull(e, i, &m, 1))
			rte_pktmbuf_free(m);
	}
	double sigma = sqrt(p * (1 - p) * MANY * (1 + r) / (1 - r));
	CU_ASSERT(fabs((double)lost - p * MANY) <= 3 * sigma);
	double length = (double)lost / (double)bursts;
	CU_ASSERT(fabs(length - 1 / b) <= 3 * sqrt(1 - b) / b / sqrt((double)bursts));
	kerf_linkem_destroy(e);
}

/* ---- corruption ---- */

/* Sends a packet of which we keep a reference, of two segments if asked for. */
static struct rte_mbuf *send_held(struct kerf_linkem *e, uint32_t index, bool chained)
{
	struct rte_mbuf *m = packet(index, 2);

	if (chained) {
		struct rte_mbuf *tail = rte_pktmbuf_alloc(pool);
		uint8_t *data = (uint8_t *)rte_pktmbuf_append(tail, 2);
		data[0] = pattern(index, 2);
		data[1] = pattern(index, 3);
		CU_ASSERT_EQUAL_FATAL(rte_pktmbuf_chain(m, tail), 0);
	}
	rte_mbuf_refcnt_update(m, 1);
	if (chained)
		rte_mbuf_refcnt_update(m->next, 1);
	kerf_linkem_push(e, index, &m, 1);
	return m;
}

static void test_corruption_flips_a_bit_of_a_copy(void)
{
	struct kerf_linkem_config c = {.seed = 5, .corruption = 1, .pool = NULL};
	unsigned hits[32] = {0};

	set_up();
	c.pool = pool;
	struct kerf_linkem *e = create(&c);
	for (unsigned i = 0; i < 2000; i++) {
		struct rte_mbuf *out, *held = send_held(e, i, i % 2);
		CU_ASSERT_EQUAL_FATAL(kerf_linkem_pull(e, i, &out, 1), 1);
		CU_ASSERT_PTR_NOT_EQUAL(out, held);
		CU_ASSERT_EQUAL(flipped_bit(held), -1);
		CU_ASSERT_EQUAL(rte_mbuf_refcnt_read(held), 1);
		int bit = flipped_bit(out);
		CU_ASSERT_FATAL(bit >= 0 && (unsigned)bit < out->pkt_len * 8);
		hits[bit]++;
		rte_pktmbuf_free(out);
		rte_pktmbuf_free(held);
	}
	for (unsigned i = 0; i < 32; i++) /* 31.25 more in the first 16: 93.75 */
		CU_ASSERT(hits[i] > (i < 16 ? 60 : 10) && hits[i] < (i < 16 ? 130 : 60));
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->corrupted, 2000);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

static void test_no_mbuf_no_copy(void)
{
	struct kerf_linkem_config c = {.corruption = 1, .duplication = 1};
	struct rte_mempool *small = rte_pktmbuf_pool_create("small", 3, 0, 0,
		RTE_PKTMBUF_HEADROOM + DATA_BYTES, SOCKET_ID_ANY);
	struct rte_mbuf *m[8], *out[8];

	set_up();
	CU_ASSERT_PTR_NOT_NULL_FATAL(small);
	c.pool = small;
	struct kerf_linkem *e = create(&c);
	for (unsigned i = 0; i < 3; i++)
		m[i] = packet(i, 20);
	kerf_linkem_push(e, 0, m, 3); /* copy, copy; copy, none; none, none */
	const struct kerf_linkem_stats *s = kerf_linkem_stats(e);
	CU_ASSERT_EQUAL(s->corrupted, 2);
	CU_ASSERT_EQUAL(s->duplicated, 1);
	CU_ASSERT_EQUAL(s->uncopied, 3);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, 0, out, 8), 4);
	CU_ASSERT_PTR_EQUAL(out[3], m[2]);
	CU_ASSERT_EQUAL(flipped_bit(out[3]), -1);
	CU_ASSERT(flipped_bit(out[1]) >= 0);
	CU_ASSERT_EQUAL(flipped_bit(out[0]), flipped_bit(out[1]));
	rte_pktmbuf_free_bulk(out, 4);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(small), 3);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
	rte_mempool_free(small);
}

static void test_no_room_no_duplicate(void)
{
	struct kerf_linkem_config c = {.duplication = 1, .delay_ps = 10, .max_packets = 3};
	struct rte_mbuf *m[3], *out[8];

	set_up();
	c.pool = pool;
	struct kerf_linkem *e = create(&c);
	for (unsigned i = 0; i < 3; i++)
		m[i] = packet(i, 20);
	kerf_linkem_push(e, 0, m, 3);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->duplicated, 1);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->uncopied, 1);
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->dropped_room, 1);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, 10, out, 8), 3);
	CU_ASSERT_EQUAL(out[0]->hash.usr + out[1]->hash.usr, 0);
	CU_ASSERT_EQUAL(out[2]->hash.usr, 1);
	rte_pktmbuf_free_bulk(out, 3);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

/* ---- scripts ---- */

static void test_late_packets_are_overtaken(void)
{
	/* Seed and probability chosen so that some are late and some are not. */
	const struct kerf_linkem_config c = {
		.seed = 1, .delay_ps = 100, .late = .25, .late_ps = 35};
	struct arrival a[400];
	unsigned late = 0;

	set_up();
	for (unsigned i = 0; i < 400; i++)
		a[i] = (struct arrival){i * 10000, 60};
	for (unsigned i = 0; i < 400; i += 2)
		a[i + 1].at_ps = a[i].at_ps + 20;
	struct outcome o = run(&c, a, 400, EVERY);
	CU_ASSERT_EQUAL_FATAL(o.n, 400);
	for (unsigned i = 0; i < 400; i += 2) {
		bool swapped = o.taken[i].index == i + 1;
		CU_ASSERT_EQUAL(o.taken[i].index + o.taken[i + 1].index, 2 * i + 1);
		late += swapped;
	}
	CU_ASSERT(o.stats.late > late && late > 20 && late < 60);
	free(o.taken);
}

static void test_slots_are_exact(void)
{
	/* 125 bytes take 1 us. */
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}};
	const struct kerf_linkem_config c = {
		.steps = steps, .n_steps = 1, .slot_ps = 3 * US, .delay_ps = 7};
	const uint64_t expected[] = {3, 3, 3, 6, 12, 15};
	const struct arrival a[] = {
		{0, 125}, {0, 125}, {0, 125}, {0, 125}, {11 * US, 125}, {11 * US + 1, 125}};

	set_up();
	struct outcome o = run(&c, a, 6, RARE);
	CU_ASSERT_EQUAL_FATAL(o.n, 6);
	for (unsigned i = 0; i < 6; i++)
		CU_ASSERT_EQUAL(o.taken[i].deliver_ps, expected[i] * US + 7);
	free(o.taken);
}

static void test_packet_limit_is_exact(void)
{
	/* 125 bytes take 1 us. */
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}};
	const struct kerf_linkem_config c = {.steps = steps, .n_steps = 1, .queue_packets = 2};
	const struct arrival a[] = {
		{0, 125}, {0, 125}, {0, 125}, {US - 1, 125}, {US, 125}, {US, 125}, {2 * US, 125}};
	const uint32_t expected[] = {0, 1, 4, 6};

	set_up();
	struct outcome o = run(&c, a, 7, EVERY);
	CU_ASSERT_EQUAL_FATAL(o.n, 4);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(o.taken[i].index, expected[i]);
	CU_ASSERT_EQUAL(o.stats.dropped_queue, 3);
	free(o.taken);
}

static void test_lost_packets_took_their_time(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}};
	const struct kerf_linkem_config c = {
		.steps = steps, .n_steps = 1, .loss_bad = 1, .good_to_bad = 1, .bad_to_good = 1};
	struct arrival a[10];

	set_up();
	for (unsigned i = 0; i < 10; i++)
		a[i] = (struct arrival){0, 125};
	struct outcome o = run(&c, a, 10, RARE); /* the odd ones are lost */
	CU_ASSERT_EQUAL_FATAL(o.n, 5);
	for (unsigned i = 0; i < 5; i++)
		CU_ASSERT_EQUAL(o.taken[i].deliver_ps, (2 * i + 1) * US);
	free(o.taken);
}

static void test_held_packets_are_freed(void)
{
	struct kerf_linkem_config c = {
		.delay_ps = MS, .jitter_ps = MS, .jitter_reorders = true, .duplication = .5};
	struct rte_mbuf *m;

	set_up();
	c.pool = pool;
	struct kerf_linkem *e = create(&c);
	for (unsigned i = 0; i < 100; i++) {
		m = packet(i, 10);
		kerf_linkem_push(e, i, &m, 1);
	}
	CU_ASSERT(rte_mempool_avail_count(pool) < POOL_MBUFS - 120);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
}

static void test_invalid_is_refused(void)
{
	set_up();
	refused(&(struct kerf_linkem_config){.loss = 1.0001}, "loss 1.0001");
	refused(&(struct kerf_linkem_config){.loss = NAN}, "loss");
	refused(&(struct kerf_linkem_config){.bad_to_good = -.1}, "bad_to_good -0.1");
	refused(&(struct kerf_linkem_config){.corruption = .1}, "pool");
	refused(&(struct kerf_linkem_config){.duplication = .1}, "pool");
	refused(&(struct kerf_linkem_config){.late = .1}, "late 0.1 by 0 ps");
	refused(&(struct kerf_linkem_config){.jitter_ps = (1ull << 63) + 1}, "jitter");
	refused(&(struct kerf_linkem_config){.jitter_half_life = 2e6}, "half-life");
	refused(&(struct kerf_linkem_config){.jitter_half_life = NAN}, "half-life");
}

UNIT_MAIN("linkem chance", UNIT(test_matches_oracle), UNIT(test_fractions), UNIT(test_certainties),
	UNIT(test_gilbert_elliott), UNIT(test_corruption_flips_a_bit_of_a_copy),
	UNIT(test_no_mbuf_no_copy), UNIT(test_no_room_no_duplicate),
	UNIT(test_late_packets_are_overtaken), UNIT(test_slots_are_exact),
	UNIT(test_packet_limit_is_exact), UNIT(test_lost_packets_took_their_time),
	UNIT(test_held_packets_are_freed), UNIT(test_invalid_is_refused))
