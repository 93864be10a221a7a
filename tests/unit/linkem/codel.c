#include "linkem/packets.h"
#include "linkem/oracle.h"

#include <math.h>

#define NONE UINT32_MAX

/*
 * RFC 8289 section 5 written down a second time, as the RFC has it: an object with a clock that is
 * called whenever the link gets free. `next` is what has not arrived by the clock.
 */
struct rfc {
	const struct arrival *a;
	unsigned n, next;
	uint32_t *queue; /* [first, last) */
	unsigned first, last;
	uint64_t bytes, first_above_time, drop_next, target, interval;
	uint32_t count, lastcount, maxpacket;
	bool dropping, ok_to_drop;
	unsigned drops;
};

static uint32_t dodequeue(struct rfc *q, uint64_t now)
{
	q->ok_to_drop = false;
	if (q->first == q->last) {
		q->first_above_time = 0;
		return NONE;
	}
	uint32_t p = q->queue[q->first++];
	q->bytes -= q->a[p].len;
	uint64_t sojourn_time = now - q->a[p].at_ps;
	if (sojourn_time < q->target || q->bytes <= q->maxpacket) {
		q->first_above_time = 0;
	} else if (q->first_above_time == 0) {
		q->first_above_time = now + q->interval;
	} else if (now >= q->first_above_time) {
		q->ok_to_drop = true;
	}
	return p;
}

static uint64_t control_law(const struct rfc *q, uint64_t t)
{
	return t + (uint64_t)((double)q->interval / sqrt(q->count));
}

static uint32_t dequeue(struct rfc *q, uint64_t now)
{
	uint32_t p = dodequeue(q, now);

	if (q->dropping) {
		if (!q->ok_to_drop)
			q->dropping = false;
		while (now >= q->drop_next && q->dropping) {
			q->drops++;
			q->count++;
			p = dodequeue(q, now);
			if (!q->ok_to_drop)
				q->dropping = false;
			else
				q->drop_next = control_law(q, q->drop_next);
		}
	} else if (q->ok_to_drop) {
		q->drops++;
		p = dodequeue(q, now);
		q->dropping = true;
		uint32_t delta = q->count - q->lastcount;
		q->count = 1;
		if (delta > 1 && (now < q->drop_next || now - q->drop_next < 16 * q->interval))
			q->count = delta;
		q->drop_next = control_law(q, now);
		q->lastcount = q->count;
	}
	return p;
}

/* Those that arrive before `until`, which is when the link gets free. */
static void arrive(struct rfc *q, uint64_t until)
{
	for (; q->next < q->n && q->a[q->next].at_ps < until; q->next++) {
		q->queue[q->last++] = q->next;
		q->bytes += q->a[q->next].len;
		q->maxpacket = KERF_MAX(q->maxpacket, q->a[q->next].len);
	}
}

/* Delivery of every packet; 0 = dropped. Returns the number of drops. */
static unsigned run_rfc(const struct kerf_linkem_config *c, const struct arrival *a, unsigned n,
	uint64_t *deliver)
{
	struct rfc q = {.a = a,
		.n = n,
		.queue = calloc(n, sizeof(uint32_t)),
		.target = c->codel_target_ps ? c->codel_target_ps : 5 * MS,
		.interval = c->codel_interval_ps ? c->codel_interval_ps : 100 * MS};
	struct oracle link = {.c = c};
	uint64_t now = 0;

	memset(deliver, 0, n * sizeof(*deliver));
	for (;;) {
		arrive(&q, now);
		if (q.first == q.last) { /* idle: the next one starts as it comes */
			if (q.next == n)
				break;
			now = KERF_MAX(now, a[q.next].at_ps);
			q.queue[q.last++] = q.next;
			q.bytes += a[q.next].len;
			q.maxpacket = KERF_MAX(q.maxpacket, a[q.next].len);
			q.next++;
		}
		uint32_t p = dequeue(&q, now);
		if (p == NONE)
			continue;
		now = oracle_send(&link, a[p].at_ps, a[p].len);
		deliver[p] = now + c->delay_ps;
	}
	free(q.queue);
	return q.drops;
}

static void compare(const struct kerf_linkem_config *c, const struct arrival *a, unsigned n,
	const uint64_t *deliver, unsigned drops)
{
	for (enum polling p = EVERY; p <= RANDOM; p++) {
		struct outcome o = run(c, a, n, p);
		unsigned k = 0, wrong = 0;
		CU_ASSERT_EQUAL(o.stats.dropped_codel, drops);
		CU_ASSERT_EQUAL_FATAL(o.n, n - drops);
		for (unsigned i = 0; i < n; i++) {
			if (!deliver[i])
				continue;
			wrong += o.taken[k].index != i ||
				o.taken[k].deliver_ps / 1000 != deliver[i] / 1000;
			k++;
		}
		CU_ASSERT_EQUAL(wrong, 0);
		free(o.taken);
	}
}

/* Load that swings around the link's rate, so that the queue fills and runs empty. */
static struct arrival *swinging_load(unsigned n, uint64_t gap_ps, struct kerf_rng *rng)
{
	struct arrival *a = calloc(n, sizeof(*a));
	uint64_t at = 0, gap = gap_ps;

	for (unsigned i = 0; i < n; i++) {
		if (kerf_rng_u32(rng) % 300 == 0)
			gap = gap_ps / 4 + kerf_rng_u64(rng) % (2 * gap_ps);
		if (kerf_rng_u32(rng) % 3)
			at += kerf_rng_u64(rng) % (3 * gap);
		a[i] = (struct arrival){at, 100 + kerf_rng_u32(rng) % 150};
	}
	return a;
}

static void test_matches_rfc(void)
{
	enum { N = 20000 };
	/* 175 bytes a packet on average: 140 us. */
	const struct kerf_linkem_step steps[] = {
		{0, 10000000}, {200 * MS, 0}, {230 * MS, 10000000}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 3, .delay_ps = 3, .codel = true};
	uint64_t *deliver = calloc(N, sizeof(*deliver));

	set_up();
	for (uint64_t seed = 1; seed <= 8; seed++) {
		struct kerf_rng rng = {.seed = seed};
		struct arrival *a = swinging_load(N, 140 * US, &rng);
		if (seed > 3) {
			c.codel_target_ps = 1 * MS;
			c.codel_interval_ps = 10 * MS;
		}
		if (seed > 6) { /* two packets wait too long: the end of the queue matters */
			c.codel_target_ps = 150 * US;
			c.codel_interval_ps = 1 * MS;
		}
		unsigned drops = run_rfc(&c, a, N, deliver);
		printf(" %u dropped;", drops);
		CU_ASSERT(drops > 10);
		compare(&c, a, N, deliver, drops);
		free(a);
	}
	free(deliver);
}

/* Twice the rate for good: first dropped is what starts 100 ms after the queue first was 5 ms. */
static void test_first_drop(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000000}}; /* 125 bytes: 1 ms */
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 1, .codel = true};
	struct arrival a[300];

	set_up();
	for (unsigned i = 0; i < 300; i++)
		a[i] = (struct arrival){i * MS / 2, 125};
	struct outcome o = run(&c, a, 300, EVERY);
	/* Packet i starts at i ms, has waited i/2 ms: 10 is the first above, 110 is dropped at 110
	 * ms, the next at 210 ms, 281 ms, ... */
	for (unsigned i = 0; i < 111; i++)
		CU_ASSERT_EQUAL(o.taken[i].index, i + (i >= 110));
	CU_ASSERT_EQUAL(o.taken[110].deliver_ps, 111 * MS);
	unsigned gap[2], k = 0;
	for (unsigned i = 112; i < o.n && k < 2; i++)
		if (o.taken[i].index != o.taken[i - 1].index + 1)
			gap[k++] = o.taken[i].index;
	CU_ASSERT_EQUAL_FATAL(k, 2);
	CU_ASSERT_EQUAL(gap[0], 212); /* 211 dropped at 210 ms */
	CU_ASSERT_EQUAL(gap[1], 284); /* 283 dropped at 281 ms: 210 + 100/sqrt(2) = 280.7 */
	free(o.taken);
}

/* Cross traffic waits in the same queue and is judged like ours. */
static void compare_with_cross(const struct kerf_linkem_config *c, const struct arrival *own,
	unsigned n_own)
{
	struct arrival *all;
	uint32_t *index;
	unsigned n = merge(c, own, n_own, &all, &index), cross_drops = 0;
	uint64_t *deliver = calloc(n, sizeof(*deliver));
	unsigned drops = run_rfc(c, all, n, deliver);

	for (unsigned i = 0; i < n; i++)
		cross_drops += !deliver[i] && index[i] == NONE;
	CU_ASSERT(cross_drops > 20 && drops - cross_drops > 20);
	for (enum polling p = EVERY; p <= RANDOM; p++) {
		struct outcome o = run(c, own, n_own, p);
		unsigned k = 0, wrong = 0;
		CU_ASSERT_EQUAL(o.stats.cross_dropped, cross_drops);
		CU_ASSERT_EQUAL(o.stats.dropped_codel, drops - cross_drops);
		CU_ASSERT_EQUAL_FATAL(o.n, n_own - (drops - cross_drops));
		for (unsigned i = 0; i < n; i++) {
			if (!deliver[i] || index[i] == NONE)
				continue;
			wrong += o.taken[k].index != index[i] ||
				o.taken[k].deliver_ps / 1000 != deliver[i] / 1000;
			k++;
		}
		CU_ASSERT_EQUAL(wrong, 0);
		free(o.taken);
	}
	free(deliver);
	free(all);
	free(index);
}

static void test_cross_traffic_matches_rfc(void)
{
	enum { N = 8000 };
	const struct kerf_linkem_step steps[] = {{0, 10000000}};
	struct kerf_linkem_config c = {.steps = steps,
		.n_steps = 1,
		.codel = true,
		.codel_target_ps = 1 * MS,
		.codel_interval_ps = 10 * MS,
		.cross_bps = 6000011,
		.cross_bytes = 500};
	struct kerf_rng rng = {.seed = 4};
	struct arrival *own = swinging_load(N, 280 * US, &rng);

	set_up();
	own[N - 1].at_ps += 3000 * MS; /* the queue is empty, so that all fates are known */
	compare_with_cross(&c, own, N);
	free(own);
}

/* Everything in steps of 50 us: packets arrive just when others are judged. */
static void test_cross_traffic_at_the_same_time(void)
{
	enum { N = 8000 };
	const struct kerf_linkem_step steps[] = {{0, 10000000}}; /* 125 bytes: 100 us */
	struct kerf_linkem_config c = {.steps = steps,
		.n_steps = 1,
		.codel = true,
		.codel_target_ps = 150 * US,
		.codel_interval_ps = 1 * MS,
		.cross_bps = 5000000,
		.cross_bytes = 125};
	struct kerf_rng rng = {.seed = 5};
	struct arrival *own = swinging_load(N, 180 * US, &rng);

	set_up();
	for (unsigned i = 0; i < N; i++)
		own[i] = (struct arrival){own[i].at_ps / (50 * US) * (50 * US), 125};
	own[N - 1].at_ps += 3000 * MS;
	compare_with_cross(&c, own, N);
	free(own);
}

/* Stamps that lag behind the polls, as an attached emulator may get them: no promise but sanity. */
static void test_lagging_stamps(void)
{
	enum { N = 5000 };
	const struct kerf_linkem_step steps[] = {{0, 10000000}, {3 * US, 0}, {9 * US, 50000000}};
	const struct kerf_linkem_config c = {.steps = steps,
		.n_steps = 3,
		.loop_ps = 20 * US,
		.codel = true,
		.codel_target_ps = 100 * US,
		.codel_interval_ps = 1 * MS,
		.cross_bps = 15000000,
		.cross_bytes = 100};
	struct kerf_rng rng = {.seed = 9};
	struct arrival *a = swinging_load(N, 50 * US, &rng);

	set_up();
	struct outcome o = run(&c, a, N, AHEAD);
	CU_ASSERT_EQUAL(o.n + o.stats.dropped_codel, N);
	CU_ASSERT(o.stats.dropped_codel > 100);
	CU_ASSERT(o.stats.cross > N / 2);
	for (unsigned i = 0; i < o.n; i++) {
		CU_ASSERT(o.taken[i].deliver_ps >= a[o.taken[i].index].at_ps);
		CU_ASSERT(i == 0 || o.taken[i].deliver_ps > o.taken[i - 1].deliver_ps);
	}
	free(o.taken);
	free(a);
}

/* The last packets of a burst, with nothing behind them, are never dropped. */
static void test_spares_the_end_of_a_burst(void)
{
	const struct kerf_linkem_step steps[] = {{0, 100000}}; /* 125 bytes: 10 ms */
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 1, .codel = true};
	struct arrival a[40];

	set_up();
	for (unsigned i = 0; i < 40; i++)
		a[i] = (struct arrival){0, 125};
	struct outcome o = run(&c, a, 40, RARE);
	CU_ASSERT(o.stats.dropped_codel > 2);
	CU_ASSERT_EQUAL(o.taken[o.n - 1].index, 39);
	CU_ASSERT_EQUAL(o.taken[o.n - 2].index, 38);
	free(o.taken);
}

/* What the lab relies on: pulling at `next` until there is none gets everything out on time. */
static void test_next_leads_through(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000000}};
	struct kerf_linkem_config c = {.steps = steps,
		.n_steps = 1,
		.codel = true,
		.delay_ps = 7 * MS,
		.queue_packets = 5};
	struct rte_mbuf *m;
	uint64_t next;
	unsigned n = 0;

	set_up();
	struct kerf_linkem *e = create(&c);
	for (unsigned i = 0; i < 6; i++) {
		m = packet(i, 125);
		kerf_linkem_push(e, 1000, &m, 1);
	}
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->dropped_queue, 1);
	while ((next = kerf_linkem_next(e)) != UINT64_MAX) {
		CU_ASSERT_FATAL(next > 1000);
		if (!kerf_linkem_pull(e, next, &m, 1))
			continue;
		n++;
		CU_ASSERT_EQUAL(next, 1000 + n * MS + 7 * MS);
		rte_pktmbuf_free(m);
	}
	CU_ASSERT_EQUAL(n, 5);
	kerf_linkem_destroy(e);
}

static void test_waiting_packets_are_freed(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000}, {US, 0}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 2, .codel = true, .loss = .5};
	struct rte_mbuf *m;

	set_up();
	struct kerf_linkem *e = create(&c);
	for (unsigned i = 0; i < 50; i++) {
		m = packet(i, 125);
		kerf_linkem_push(e, i, &m, 1);
	}
	CU_ASSERT_EQUAL(kerf_linkem_next(e), UINT64_MAX);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, UINT64_MAX, &m, 1), 0);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
	refused(&(struct kerf_linkem_config){.codel = true, .codel_target_ps = UINT64_MAX},
		"CoDel");
}

UNIT_MAIN("linkem codel", UNIT(test_matches_rfc), UNIT(test_first_drop),
	UNIT(test_cross_traffic_matches_rfc), UNIT(test_cross_traffic_at_the_same_time),
	UNIT(test_lagging_stamps), UNIT(test_spares_the_end_of_a_burst),
	UNIT(test_next_leads_through), UNIT(test_waiting_packets_are_freed))
