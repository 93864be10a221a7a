/* What the emulator tells of each packet, against the oracle and against what came out. */
#include "linkem/packets.h"
#include "linkem/oracle.h"

#define N 20000

struct log {
	struct kerf_linkem_truth by_number[N];
	unsigned told[N];
};

static void note(void *user, const struct kerf_linkem_truth *t)
{
	struct log *log = user;

	CU_ASSERT_FATAL(t->number < N);
	log->by_number[t->number] = *t;
	log->told[t->number]++;
}

static struct arrival *make_arrivals(uint64_t gap_ps)
{
	struct kerf_rng rng = {.seed = 11, .stream = 3};
	struct arrival *a = calloc(N, sizeof(*a));
	uint64_t at = 0;

	for (unsigned i = 0; i < N; i++) {
		if (kerf_rng_u32(&rng) % 3 == 0)
			at += kerf_rng_u64(&rng) % (6 * gap_ps);
		a[i] = (struct arrival){at, 60 + kerf_rng_u32(&rng) % 190};
	}
	return a;
}

static struct outcome logged_run(struct kerf_linkem_config *c, const struct arrival *a,
	struct log *log)
{
	c->truth = note;
	c->truth_user = log;
	struct outcome out = run(c, a, N, RANDOM);
	for (unsigned i = 0; i < N; i++)
		CU_ASSERT_EQUAL(log->told[i], 1);
	return out;
}

static unsigned count(const struct log *log, enum kerf_linkem_end end)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N; i++)
		n += log->by_number[i].end == end;
	return n;
}

static const struct kerf_linkem_step steps[] = {{0, 40000000}, {30 * MS, 0}, {45 * MS, 90000000},
	{200 * MS, 10000001}};

/* Start, finish and delivery of each packet to the picosecond. */
static void test_matches_oracle(void)
{
	struct kerf_linkem_config c = {.steps = steps, .n_steps = KERF_ARRAY_LEN(steps),
		.delay_ps = 3 * MS + 7, .queue_bytes = 20000, .overhead_bytes = 24};
	struct log *log = calloc(1, sizeof(*log));
	struct arrival *a = make_arrivals(30 * US);
	struct oracle o = {.c = &c, .packets = calloc(N, sizeof(struct oracle_packet))};
	uint64_t free_ps = 0;
	unsigned wrong = 0;

	set_up();
	struct outcome out = logged_run(&c, a, log);
	for (unsigned i = 0; i < N; i++) {
		const struct kerf_linkem_truth *t = &log->by_number[i];
		oracle_push(&o, a[i].at_ps, a[i].len);
		const struct oracle_packet *p = &o.packets[i];
		bool same = t->arrival_ps == a[i].at_ps && t->bytes == a[i].len;
		if (p->dropped)
			same = same && t->end == KERF_LINKEM_DROPPED_QUEUE && !t->finish_ps;
		else
			same = same && t->end == KERF_LINKEM_DELIVERED &&
				t->start_ps == KERF_MAX(a[i].at_ps, free_ps) &&
				t->finish_ps == p->finish_ps && t->deliver_ps == p->deliver_ps;
		wrong += !same;
		free_ps = p->dropped ? free_ps : p->finish_ps;
	}
	printf(" %u of %u dropped;", count(log, KERF_LINKEM_DROPPED_QUEUE), N);
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(count(log, KERF_LINKEM_DROPPED_QUEUE) > N / 100);
	CU_ASSERT_EQUAL(count(log, KERF_LINKEM_DROPPED_QUEUE), out.stats.dropped_queue);
	free(out.taken);
	free(o.packets);
	free(a);
	free(log);
}

/* Every packet that came out has its delivery time in the log, and the counts are the statistics'. */
static void test_matches_what_came_out(void)
{
	struct kerf_linkem_config c = {.steps = steps, .n_steps = KERF_ARRAY_LEN(steps),
		.delay_ps = 2 * MS, .queue_packets = 200, .loss = 0.1, .duplication = 0.05,
		.corruption = 0.03, .late = 0.02, .late_ps = 4 * MS, .jitter_ps = MS, .seed = 5,
		.pool = pool};
	struct log *log = calloc(1, sizeof(*log));
	struct arrival *a = make_arrivals(40 * US);
	unsigned wrong = 0, corrupted = 0, duplicated = 0, late = 0;

	set_up();
	c.pool = pool;
	struct outcome out = logged_run(&c, a, log);
	for (unsigned i = 0; i < out.n; i++) {
		const struct kerf_linkem_truth *t = &log->by_number[out.taken[i].index];
		wrong += t->end != KERF_LINKEM_DELIVERED ||
			t->deliver_ps / 1000 != out.taken[i].deliver_ps / 1000 ||
			t->corrupted != (out.taken[i].bit != -1);
	}
	for (unsigned i = 0; i < N; i++) {
		corrupted += log->by_number[i].corrupted;
		duplicated += log->by_number[i].duplicated;
		late += log->by_number[i].late;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(count(log, KERF_LINKEM_LOST), out.stats.lost);
	CU_ASSERT_EQUAL(count(log, KERF_LINKEM_DROPPED_QUEUE), out.stats.dropped_queue);
	CU_ASSERT_EQUAL(corrupted, out.stats.corrupted);
	CU_ASSERT_EQUAL(duplicated, out.stats.duplicated);
	CU_ASSERT_EQUAL(late, out.stats.late);
	CU_ASSERT(out.stats.lost && corrupted && duplicated && late);
	CU_ASSERT_EQUAL(out.n, count(log, KERF_LINKEM_DELIVERED) + duplicated);
	free(out.taken);
	free(a);
	free(log);
}

/* What CoDel drops is told with the time of the drop; the rest as it went on the link. */
static void test_codel_drops_are_told(void)
{
	const struct kerf_linkem_step slow = {0, 8000000};
	struct kerf_linkem_config c = {.steps = &slow, .n_steps = 1, .codel = true,
		.overhead_bytes = 24, .max_packets = N};
	struct log *log = calloc(1, sizeof(*log));
	struct arrival *a = make_arrivals(160 * US);
	unsigned wrong = 0;

	set_up();
	struct outcome out = logged_run(&c, a, log);
	for (unsigned i = 0; i < N; i++) {
		const struct kerf_linkem_truth *t = &log->by_number[i];
		if (t->end == KERF_LINKEM_DROPPED_CODEL)
			wrong += t->start_ps < t->arrival_ps || t->finish_ps != t->start_ps ||
				t->deliver_ps;
		else
			wrong += t->start_ps < t->arrival_ps || t->finish_ps <= t->start_ps;
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT(out.stats.dropped_codel > 0);
	CU_ASSERT_EQUAL(count(log, KERF_LINKEM_DROPPED_CODEL), out.stats.dropped_codel);
	free(out.taken);
	free(a);
	free(log);
}

/* A link that stops for good: what waits then has no end. */
static void test_never_is_told(void)
{
	const struct kerf_linkem_step stops[] = {{0, 100000000}, {MS, 0}};
	struct kerf_linkem_config c = {.steps = stops, .n_steps = 2};
	struct log *log = calloc(1, sizeof(*log));
	struct arrival *a = make_arrivals(10 * US);

	set_up();
	struct outcome out = logged_run(&c, a, log);
	CU_ASSERT_EQUAL(log->by_number[N - 1].finish_ps, UINT64_MAX);
	CU_ASSERT_EQUAL(log->by_number[N - 1].deliver_ps, UINT64_MAX);
	CU_ASSERT(out.n < N);
	free(out.taken);
	free(a);
	free(log);
}

UNIT_MAIN("linkem.truth", UNIT(test_matches_oracle), UNIT(test_matches_what_came_out),
	UNIT(test_codel_drops_are_told), UNIT(test_never_is_told))
