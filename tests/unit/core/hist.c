#include <math.h>
#include <string.h>

#include "core/core.h"
#include "unit.h"

#define VALUES 20000

static struct kerf_hist hist, other;
static uint64_t values[VALUES];

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void test_empty(void)
{
	memset(&hist, 0, sizeof(hist));
	CU_ASSERT_EQUAL(kerf_hist_quantile(&hist, 0.5), 0);
	CU_ASSERT_EQUAL(kerf_hist_mean(&hist), 0);
	kerf_hist_merge(&hist, &hist);
	CU_ASSERT_EQUAL(hist.count, 0);
}

static void test_small_values_are_exact(void)
{
	memset(&hist, 0, sizeof(hist));
	for (uint64_t v = 0; v < 128; v++)
		kerf_hist_add(&hist, v);
	/* Nearest rank: the quantile (v+1)/128 of 0..127 is v. */
	for (uint64_t v = 0; v < 128; v++)
		CU_ASSERT_EQUAL(kerf_hist_quantile(&hist, (double)(v + 1) / 128), v);
	CU_ASSERT_EQUAL(kerf_hist_mean(&hist), 63.5);
}

/* Every power of two and its neighbours, alone between two ends, to walk all slot borders. */
static void test_every_magnitude(void)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		for (int offset = -1; offset <= 1; offset++) {
			uint64_t v = (1ull << bit) + (uint64_t)(int64_t)offset;
			memset(&hist, 0, sizeof(hist));
			kerf_hist_add(&hist, 0);
			kerf_hist_add(&hist, v);
			kerf_hist_add(&hist, UINT64_MAX);
			double found = (double)kerf_hist_quantile(&hist, 0.5);
			CU_ASSERT(fabs(found - (double)v) <= (double)v / 128);
			CU_ASSERT_EQUAL(kerf_hist_quantile(&hist, 0), 0);
			CU_ASSERT_EQUAL(kerf_hist_quantile(&hist, 1), UINT64_MAX);
		}
	}
}

static void fill_random(struct kerf_hist *h, uint64_t seed)
{
	struct kerf_rng r = {.seed = seed};

	memset(h, 0, sizeof(*h));
	for (unsigned i = 0; i < VALUES; i++) {
		values[i] = (uint64_t)exp(kerf_rng_normal(&r) * 3 + 12); /* ns, heavy tail */
		kerf_hist_add(h, values[i]);
	}
}

static void test_quantile_error(void)
{
	fill_random(&hist, 7);
	qsort(values, VALUES, sizeof(values[0]), by_value);
	for (unsigned i = 0; i <= 1000; i++) {
		double q = i / 1000.0;
		double rank = fmax(1, ceil(q * VALUES));
		uint64_t exact = values[(unsigned)rank - 1];
		double found = (double)kerf_hist_quantile(&hist, q);
		CU_ASSERT(fabs(found - (double)exact) <= (double)exact / 128 + 1e-9);
	}
	CU_ASSERT_EQUAL(kerf_hist_quantile(&hist, 0), values[0]);
	CU_ASSERT_EQUAL(kerf_hist_quantile(&hist, 1), values[VALUES - 1]);
}

static void test_merge_is_adding(void)
{
	static struct kerf_hist both;

	fill_random(&hist, 1);
	memset(&both, 0, sizeof(both));
	kerf_hist_merge(&both, &hist);
	CU_ASSERT_EQUAL(memcmp(&both, &hist, sizeof(both)), 0);
	fill_random(&other, 2);
	for (unsigned i = 0; i < VALUES; i++)
		kerf_hist_add(&hist, values[i]);
	kerf_hist_merge(&both, &other);
	CU_ASSERT_EQUAL(both.count, hist.count);
	CU_ASSERT_EQUAL(both.min, hist.min);
	CU_ASSERT_EQUAL(both.max, hist.max);
	CU_ASSERT_EQUAL(memcmp(both.slots, hist.slots, sizeof(both.slots)), 0);
	CU_ASSERT_DOUBLE_EQUAL(kerf_hist_mean(&both), kerf_hist_mean(&hist), 1e-3);
}

static void test_full_slot_stays_full(void)
{
	memset(&hist, 0, sizeof(hist));
	hist.slots[5] = UINT32_MAX;
	hist.count = UINT32_MAX;
	hist.min = hist.max = 5;
	kerf_hist_add(&hist, 5);
	CU_ASSERT_EQUAL(hist.slots[5], UINT32_MAX);
	CU_ASSERT_EQUAL(kerf_hist_quantile(&hist, 0.5), 5);
}

UNIT_MAIN("core.hist", UNIT(test_empty), UNIT(test_small_values_are_exact),
	UNIT(test_every_magnitude), UNIT(test_quantile_error), UNIT(test_merge_is_adding),
	UNIT(test_full_slot_stays_full))
