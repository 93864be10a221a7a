#include "linkem/packets.h"
#include "linkem/oracle.h"

#include <dirent.h>
#include <unistd.h>

static char path[64];

static const char *write_file(const char *data, size_t len)
{
	snprintf(path, sizeof(path), "/tmp/kerf-trace-%d", (int)getpid());
	FILE *f = fopen(path, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL_FATAL(fwrite(data, 1, len, f), len);
	fclose(f);
	return path;
}

static struct kerf_linkem_trace load(const char *text, bool loop)
{
	struct kerf_linkem_trace t;
	struct kerf_err err = {0};

	if (kerf_linkem_trace_load(write_file(text, strlen(text)), loop, &t, &err) < 0)
		printf("%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.steps);
	unlink(path);
	return t;
}

static void loads(const char *text, bool loop, const struct kerf_linkem_step *steps, unsigned n,
	uint64_t end_ps)
{
	struct kerf_linkem_trace t = load(text, loop);

	CU_ASSERT_EQUAL(t.end_ps, end_ps);
	CU_ASSERT_EQUAL_FATAL(t.n_steps, n);
	for (unsigned i = 0; i < n; i++) {
		CU_ASSERT_EQUAL(t.steps[i].at_ps, steps[i].at_ps);
		CU_ASSERT_EQUAL(t.steps[i].bps, steps[i].bps);
	}
	kerf_linkem_trace_free(&t);
	CU_ASSERT_PTR_NULL(t.steps);
}

static void test_csv(void)
{
	const struct kerf_linkem_step steps[] = {
		{0, 1000}, {5 * US, 0}, {9 * US, 400000000000ull}, {20 * US, 0}};
	const char text[] = "# source: nowhere\n0,1000\n2,1000\n\n5,0\n7,0\n# so\n9,400000000000\n"
			    "20,400000000000\n";

	loads(text, true, steps, 3, 20 * US);
	loads(text, false, steps, 4, 20 * US);
	/* The same with a heading, CR LF, blanks, and no end of line at the end. */
	loads("t_us,rate_bps\r\n0 ,\t1000\r\n \r\n5,0\r\n9,400000000000\r\n20,7", false, steps, 4,
		20 * US);
	/* Rate 0 all along. */
	loads("0,0\n1,1\n", false, (struct kerf_linkem_step[]){{0, 0}}, 1, 1 * US);
}

static void test_mahimahi(void)
{
	const uint64_t one = 12032000;
	const struct kerf_linkem_step steps[] = {{0, 3 * one}, {1 * MS, 0}, {4 * MS, one},
		{5 * MS, 2 * one}, {6 * MS, one}, {8 * MS, 0}, {9 * MS, one}, {10 * MS, 0}};

	loads("0\n0\n1\n5\n6\n6\n7\n8\n10\n", true, steps, 7, 10 * MS);
	loads("# ms\r\n0\r\n0\r\n1\r\n5\r\n6\r\n6\r\n7\r\n8\r\n10", false, steps, 8, 10 * MS);
	loads("3\n", true, (struct kerf_linkem_step[]){{0, 0}, {2 * MS, one}}, 2, 3 * MS);
}

/* What mahimahi would deliver by each millisecond leaves by then, not a picosecond later. */
static void test_mahimahi_opportunities_are_exact(void)
{
	struct kerf_linkem_trace t = load("1\n1\n4\n6\n6\n6\n", true);
	const uint64_t ms[] = {1, 1, 4, 6, 6, 6, 7, 7, 10, 12, 12, 12, 13, 13};
	const struct kerf_linkem_config c = {.steps = t.steps,
		.n_steps = t.n_steps,
		.loop_ps = t.end_ps,
		.slot_ps = MS,
		.overhead_bytes = 1504 - 100};
	struct arrival a[14];

	set_up();
	for (unsigned i = 0; i < 14; i++)
		a[i] = (struct arrival){0, 100};
	struct outcome o = run(&c, a, 14, RARE);
	CU_ASSERT_EQUAL_FATAL(o.n, 14);
	for (unsigned i = 0; i < 14; i++)
		CU_ASSERT_EQUAL(o.taken[i].deliver_ps, ms[i] * MS);
	free(o.taken);
	kerf_linkem_trace_free(&t);
}

static void refuses_bytes(const char *text, size_t len, const char *expected)
{
	struct kerf_linkem_trace t = {.n_steps = 9};
	struct kerf_err err = {0};

	CU_ASSERT(kerf_linkem_trace_load(write_file(text, len), true, &t, &err) < 0);
	CU_ASSERT_PTR_NULL(t.steps);
	CU_ASSERT_EQUAL(t.n_steps, 0);
	if (!strstr(err.text, expected) || !strstr(err.text, path))
		printf("\"%s\" lacks \"%s\"\n", err.text, expected);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, expected));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
	CU_ASSERT_PTR_NULL(strchr(err.text, '\n'));
	unlink(path);
}

static void refuses(const char *text, const char *expected)
{
	refuses_bytes(text, strlen(text), expected);
}

static void test_bad_traces_are_refused(void)
{
	char longer[6000];

	refuses("", "empty");
	refuses("# only\n\n", "empty");
	refuses("t_us,rate_bps\n", "no end");
	refuses("0,1\n", "no end");
	refuses("1,1\n2,1\n", ":1: first time 1 us: expected 0");
	refuses("0,1\n5,1\n5,1\n", ":3: time 5 us: expected more than 5");
	refuses("0,1\n5,1\n4,1\n", ":3: time 4 us: expected more than 5");
	refuses("0,1\n-5,1\n", ":2: time \"-5\"");
	refuses("0,-1\n5,1\n", ":1: rate \"-1\"");
	refuses("0,1.5\n5,1\n", "rate \"1.5\"");
	refuses("0,1e6\n5,1\n", "rate \"1e6\"");
	refuses("0,400000000001\n5,1\n", "at most 400000000000");
	refuses("0,99999999999999999999999\n5,1\n", "rate");
	refuses("0,1\n9223372036855,1\n", "time 9223372036855: expected at most 9223372036854");
	refuses("0,1\n99999999999999999999999,1\n", ":2: time");
	refuses("0,1\n7\n", ":2: \"7\": expected t_us,rate_bps");
	refuses("0,1,2\n7,1,2\n", "rate \"1,2\"");
	refuses("0,\n7,1\n", "rate \"\"");
	refuses(",1\n7,1\n", "time \"\"");
	refuses("0,1\r7,1\r", "rate");
	refuses("0\n0\n", "no end");
	refuses("5\n4\n", ":2: time 4 ms: expected at least 5");
	refuses("-5\n", "time \"-5\": expected a whole number of ms");
	refuses("5\n6,1\n", "time \"6,1\"");
	refuses("9223372037\n", "at most 9223372036");
	refuses_bytes("0,1\n5\0,1\n", 9, "byte 0");
	refuses_bytes("0,1\n5,1\n\0", 9, "byte 0");
	memset(longer, '9', sizeof(longer));
	refuses_bytes(longer, sizeof(longer), ":1: time");
	struct kerf_linkem_trace t;
	struct kerf_err err = {0};
	CU_ASSERT_EQUAL(kerf_linkem_trace_load("/nonexistent/x", true, &t, &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "/nonexistent/x"));
	CU_ASSERT_EQUAL(kerf_linkem_trace_load("/tmp", true, &t, &err), -EISDIR);
}

static void test_too_many_opportunities_are_refused(void)
{
	char *text = calloc(33245 + 1, 2), *p = text;

	for (unsigned i = 0; i < 33245; i++, p += 2)
		memcpy(p, "1\n", 2);
	refuses_bytes(text, 2 * 33245, "33245 packets in 1 ms: expected at most 33244");
	text[2 * 33244] = '2';
	struct kerf_linkem_trace t = load(text, true);
	CU_ASSERT_EQUAL(t.steps[0].bps, 33244 * 12032000ull);
	kerf_linkem_trace_free(&t);
	free(text);
}

/* ---- loops ---- */

/* The same steps written out many times, for the oracle; a constant rate needs no repetition. */
static struct kerf_linkem_step *unroll(const struct kerf_linkem_config *c, uint64_t times,
	unsigned *n)
{
	times = c->n_steps == 1 ? 1 : times;
	struct kerf_linkem_step *s = calloc(times * c->n_steps, sizeof(*s));

	*n = (unsigned)times * c->n_steps;
	for (unsigned i = 0; i < *n; i++) {
		s[i] = c->steps[i % c->n_steps];
		s[i].at_ps += i / c->n_steps * c->loop_ps;
	}
	return s;
}

static void compare_with_unrolled(const struct kerf_linkem_config *c, uint64_t times,
	uint64_t gap_ps, uint64_t seed)
{
	enum { N = 5000 };
	struct kerf_rng rng = {.seed = seed, .stream = 3};
	struct kerf_linkem_config flat = *c;
	struct arrival a[N];
	uint64_t at = 0;
	unsigned wrong = 0;
	struct kerf_linkem_step *s = unroll(c, times, &flat.n_steps);

	flat.steps = s;
	flat.loop_ps = 0;
	struct oracle o = {.c = &flat, .packets = calloc(N, sizeof(struct oracle_packet))};
	for (unsigned i = 0; i < N; i++) {
		if (kerf_rng_u32(&rng) % 4 == 0)
			at += kerf_rng_u64(&rng) % (8 * gap_ps);
		a[i] = (struct arrival){at, 1 + kerf_rng_u32(&rng) % DATA_BYTES};
		oracle_push(&o, a[i].at_ps, a[i].len);
	}
	CU_ASSERT_FATAL(o.packets[N - 1].finish_ps < times * c->loop_ps);
	for (enum polling p = EVERY; p <= AHEAD; p++) {
		struct outcome got = run(c, a, N, p);
		CU_ASSERT_EQUAL_FATAL(got.n, N);
		for (unsigned i = 0; i < N; i++)
			wrong += got.taken[i].deliver_ps / 1000 != o.packets[i].deliver_ps / 1000;
		free(got.taken);
	}
	struct kerf_linkem *e = create(c);
	for (unsigned i = 0; i < N; i++) { /* to the picosecond */
		struct rte_mbuf *m = packet(i, a[i].len);
		kerf_linkem_push(e, a[i].at_ps, &m, 1);
		wrong += kerf_linkem_next(e) != o.packets[i].deliver_ps;
		CU_ASSERT_EQUAL_FATAL(kerf_linkem_pull(e, UINT64_MAX, &m, 1), 1);
		rte_pktmbuf_free(m);
	}
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t t = kerf_rng_u64(&rng) % (times * c->loop_ps);
		wrong += kerf_linkem_rate_at(e, t) != flat.steps[oracle_step(&flat, t)].bps;
	}
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(wrong, 0);
	free(o.packets);
	free(s);
}

static void test_loop_matches_unrolled(void)
{
	const struct kerf_linkem_step steps[] = {
		{0, 0}, {3, 100000000007ull}, {1000, 1}, {7 * US, 300000000ull}, {20 * US, 0}};
	struct kerf_linkem_config c = {.steps = steps,
		.n_steps = 5,
		.loop_ps = 31 * US + 17,
		.overhead_bytes = 24,
		.delay_ps = 5};

	set_up();
	compare_with_unrolled(&c, 4000, 1 * US, 1); /* several repetitions a packet */
	compare_with_unrolled(&c, 4000, 11 * US, 2);
	c.n_steps = 4; /* ends with its rate */
	compare_with_unrolled(&c, 4000, 10 * US, 3);
	c.steps = (struct kerf_linkem_step[]){{0, 999999937ull}};
	c.n_steps = 1;
	c.loop_ps = 1;
	compare_with_unrolled(&c, 100000000000, 1 * US, 4);
}

/* Done with the last bit before the pause at the end of a repetition: it is not waited for. */
static void test_loop_ends_in_a_pause(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1000000000ull}, {1 * US, 0}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 2, .loop_ps = 3 * US};
	/* Each repetition carries 125 bytes. */
	const struct arrival a[] = {{0, 250}, {0, 125}, {3 * US, 125}, {9 * US, 16}};
	const uint64_t expected[] = {4 * US, 7 * US, 10 * US, 12 * US + 128000};

	set_up();
	struct outcome o = run(&c, a, 4, RARE);
	CU_ASSERT_EQUAL_FATAL(o.n, 4);
	for (unsigned i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(o.taken[i].deliver_ps, expected[i]);
	free(o.taken);
}

/* Far behind and far ahead: repetitions are skipped, not walked through. */
static void test_loop_reaches_the_end_of_time(void)
{
	const struct kerf_linkem_step steps[] = {{0, 1}};
	struct kerf_linkem_config c = {.steps = steps, .n_steps = 1, .loop_ps = 1};
	const struct kerf_linkem_step still[] = {{0, 0}, {5, 0}};
	struct rte_mbuf *m;

	set_up();
	struct kerf_linkem *e = create(&c);
	m = packet(0, 250);
	kerf_linkem_push(e, 0, &m, 1);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), 2000 * 1000000000000ull); /* 2000 bits, 1 bit/s */
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, UINT64_MAX - 1, &m, 1), 1);
	rte_pktmbuf_free(m);
	m = packet(1, 1);
	kerf_linkem_push(e, UINT64_MAX - 9 * 1000000000000ull, &m, 1);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), UINT64_MAX - 1000000000000ull);
	m = packet(2, 1); /* would be out later than time reaches */
	kerf_linkem_push(e, UINT64_MAX - 5, &m, 1);
	CU_ASSERT_EQUAL(kerf_linkem_pull(e, UINT64_MAX, &m, 1), 1);
	rte_pktmbuf_free(m);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), UINT64_MAX);
	kerf_linkem_destroy(e);

	c = (struct kerf_linkem_config){.steps = still, .n_steps = 2, .loop_ps = 9};
	e = create(&c);
	m = packet(0, 1);
	kerf_linkem_push(e, 0, &m, 1);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), UINT64_MAX); /* and returns */
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), POOL_MBUFS);
	refused(&(struct kerf_linkem_config){.steps = still, .n_steps = 2, .loop_ps = 5}, "loop");
	refused(&(struct kerf_linkem_config){.loop_ps = 5}, "steps to repeat");
}

/* ---- real ones ---- */

/* Read once more by other means: sums of rate x time. */
static double bits_of_file(const char *name)
{
	FILE *f = fopen(name, "r");
	char line[1024];
	double t, rate, last_t = 0, last_rate = 0, bits = 0;

	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lf,%lf", &t, &rate) != 2)
			continue;
		bits += (t - last_t) * 1e-6 * last_rate;
		last_t = t;
		last_rate = rate;
	}
	fclose(f);
	return bits;
}

static void check_real(const char *name)
{
	struct kerf_linkem_trace t;
	struct kerf_err err = {0};
	double bits = 0;

	if (kerf_linkem_trace_load(name, true, &t, &err) < 0)
		printf("%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(t.steps);
	for (unsigned i = 0; i < t.n_steps; i++) {
		uint64_t end = i + 1 < t.n_steps ? t.steps[i + 1].at_ps : t.end_ps;
		bits += (double)(end - t.steps[i].at_ps) * 1e-12 * (double)t.steps[i].bps;
	}
	double expected = bits_of_file(name);
	CU_ASSERT(expected > 0 && bits > expected * (1 - 1e-9) && bits < expected * (1 + 1e-9));
	struct kerf_linkem_config c = {.steps = t.steps, .n_steps = t.n_steps, .loop_ps = t.end_ps};
	kerf_linkem_destroy(create(&c));
	kerf_linkem_trace_free(&t);
}

static void test_real_traces(void)
{
	const char *data = unit_test_data();
	char name[8192];
	unsigned n = 0;

	snprintf(name, sizeof(name), "%s/traces", data ? data : "");
	DIR *dir = data ? opendir(name) : NULL;
	if (!dir) {
		printf(" skipped: no %s\n", data ? name : "test data");
		return;
	}
	set_up();
	for (struct dirent *d; (d = readdir(dir));) {
		const char *dot = strrchr(d->d_name, '.');
		if (!dot || strcmp(dot, ".csv"))
			continue;
		snprintf(name, sizeof(name), "%s/traces/%s", data, d->d_name);
		check_real(name);
		n++;
	}
	closedir(dir);
	printf(" %u traces", n);
	CU_ASSERT(n > 0);
}

UNIT_MAIN("linkem trace", UNIT(test_csv), UNIT(test_mahimahi),
	UNIT(test_mahimahi_opportunities_are_exact), UNIT(test_bad_traces_are_refused),
	UNIT(test_too_many_opportunities_are_refused), UNIT(test_loop_matches_unrolled),
	UNIT(test_loop_ends_in_a_pause), UNIT(test_loop_reaches_the_end_of_time),
	UNIT(test_real_traces))
