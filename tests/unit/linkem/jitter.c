#include "linkem/packets.h"

/* Jitter of each of n packets, in parts of J. */
static double *jitters(double half_life, unsigned n)
{
	const struct kerf_linkem_config c = {.seed = 8,
		.delay_ps = 1000,
		.jitter_ps = MS,
		.jitter_half_life = half_life,
		.jitter_reorders = true};
	struct kerf_linkem *e = create(&c);
	double *x = calloc(n, sizeof(*x));

	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = packet(i, 1);
		kerf_linkem_push(e, i, &m, 1);
		uint64_t late = kerf_linkem_next(e) - i - 1000;
		CU_ASSERT(late < MS);
		x[i] = (double)late / (double)MS;
		CU_ASSERT_EQUAL_FATAL(kerf_linkem_pull(e, UINT64_MAX, &m, 1), 1);
		rte_pktmbuf_free(m);
	}
	kerf_linkem_destroy(e);
	return x;
}

/* Mean, deviation, and correlation of values `lag` apart. */
static void moments(const double *x, unsigned n, unsigned lag, double m[3])
{
	double sum = 0, squares = 0, products = 0;

	for (unsigned i = 0; i < n; i++)
		sum += x[i];
	for (unsigned i = 0; i < n; i++)
		squares += (x[i] - sum / n) * (x[i] - sum / n);
	for (unsigned i = lag; i < n; i++)
		products += (x[i] - sum / n) * (x[i - lag] - sum / n);
	m[0] = sum / n;
	m[1] = sqrt(squares / n);
	m[2] = products / squares;
}

static void test_jitter_is_even(void)
{
	enum { N = 200000 };
	unsigned tenths[10] = {0};
	double m[3];

	set_up();
	double *x = jitters(0, N);
	moments(x, N, 1, m);
	CU_ASSERT(fabs(m[0] - .5) < 3 / sqrt(12. * N));
	CU_ASSERT(fabs(m[1] - sqrt(1 / 12.)) < .002);
	CU_ASSERT(fabs(m[2]) < 3 / sqrt(N));
	for (unsigned i = 0; i < N; i++)
		tenths[(unsigned)(x[i] * 10)]++;
	for (unsigned i = 0; i < 10; i++)
		within_3_sigma("tenth", tenths[i], N, .1);
	free(x);
}

/* Against the definition in floating point, and for what it is there: half after h packets. */
static void test_jitter_half_life(void)
{
	enum { N = 400000 };
	const double half_lives[] = {1, 8, 50};

	set_up();
	for (unsigned k = 0; k < KERF_ARRAY_LEN(half_lives); k++) {
		double a = exp2(-1 / half_lives[k]), c = 0, worst = 0, m[3];
		double *x = jitters(half_lives[k], N);
		for (unsigned i = 0; i < N; i++) {
			uint32_t u[4];
			kerf_rng_block(8, 1, i, u);
			c = a * c + (1 - a) * (fraction(u[3]) + fraction(u[2]) / 0x1p32 - .5);
			double y = .5 + fmin(fmax(c * sqrt((1 + a) / (1 - a)), -.5), .5);
			worst = fmax(worst, fabs(y - x[i]));
		}
		CU_ASSERT(worst < 2e-6);
		moments(x, N, (unsigned)half_lives[k], m);
		CU_ASSERT(fabs(m[0] - .5) < .02);
		CU_ASSERT(m[1] > .25 && m[1] < .29);
		CU_ASSERT(fabs(m[2] - .5) < .03);
		free(x);
	}
}

static void test_jitter_keeps_or_breaks_order(void)
{
	struct kerf_linkem_config c = {.seed = 6, .delay_ps = 50 * US, .jitter_ps = 100 * US};
	struct arrival a[1000];

	set_up();
	for (unsigned i = 0; i < 1000; i++)
		a[i] = (struct arrival){i * US, 60};
	for (unsigned reorders = 0; reorders < 2; reorders++) {
		unsigned overtaken = 0;
		c.jitter_reorders = reorders;
		struct outcome o = run(&c, a, 1000, RARE);
		CU_ASSERT_EQUAL(o.n, 1000);
		for (unsigned i = 1; i < o.n; i++) {
			overtaken += o.taken[i].index < o.taken[i - 1].index;
			CU_ASSERT(o.taken[i].deliver_ps >= o.taken[i - 1].deliver_ps);
		}
		CU_ASSERT_EQUAL(overtaken > 300, reorders);
		CU_ASSERT(reorders || overtaken == 0);
		free(o.taken);
	}
}

UNIT_MAIN("linkem jitter", UNIT(test_jitter_is_even), UNIT(test_jitter_half_life),
	UNIT(test_jitter_keeps_or_breaks_order))
