/* One-way delays between clocks that differ: offset, skew, and the queue that a train found. */
#include <math.h>
#include <string.h>

#include "link/link.h"
#include "unit.h"

#define FRAME 33333333ull
#define HOUR (3600 * KERF_NS_PER_S)
#define MINUTES_10 18000 /* frames */

/* By the receiver's clock, which gains ppm on ours and is an hour ahead, 2 ms and a queue behind sent_ns. */
static int64_t delay_of(uint64_t sent_ns, double queue_ns, double ppm)
{
	return (int64_t)HOUR + 2000000 + (int64_t)(queue_ns + 1e-6 * ppm * (double)sent_ns);
}

/* Half of the trains find a queue of up to 5 ms: whatever the skew, it is told to 20 us for ten minutes. */
static void test_queue_beside_skew(void)
{
	static const double ppm[] = {0, 50, -50};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(ppm); i++) {
		struct kerf_rng rng = {.seed = 3 + i};
		struct kerf_delay d = {0};
		double worst_ns = 0;

		for (unsigned f = 0; f < MINUTES_10; f++) {
			const uint64_t sent_ns = HOUR / 2 + f * FRAME;
			const double queue_ns = fmax(0, 1e7 * (kerf_rng_uniform(&rng) - .5));

			kerf_delay_update(&d, delay_of(sent_ns, queue_ns, ppm[i]), sent_ns);
			if (f > 600)
				worst_ns = fmax(worst_ns, fabs(d.queue_ns - queue_ns));
		}
		CU_ASSERT(worst_ns < 20000);
		CU_ASSERT_DOUBLE_EQUAL(1e6 * d.skew, ppm[i], .5);
	}
}

/* For the first seconds jitter would look like skew: none is claimed. */
static void test_no_skew_too_soon(void)
{
	struct kerf_rng rng = {.seed = 2};
	struct kerf_delay d = {0};

	for (unsigned f = 0; f < 250; f++) {
		kerf_delay_update(&d, delay_of(f * FRAME, 1e6 * kerf_rng_uniform(&rng), 0), f * FRAME + 1);
		CU_ASSERT_EQUAL(d.skew, 0);
		CU_ASSERT(d.queue_ns >= 0 && d.queue_ns <= 1e6);
	}
	/* Successive uniform delays differ by a third of their range. */
	CU_ASSERT_DOUBLE_EQUAL(d.jitter_ns, 1e6 / 3, 2e5);
}

static void test_a_train_counts_once(void)
{
	struct kerf_delay d = {0}, before;

	kerf_delay_update(&d, 1000, 50);
	kerf_delay_update(&d, 4000, 60);
	CU_ASSERT_EQUAL(d.queue_ns, 3000);
	before = d;
	kerf_delay_update(&d, 9000, 60);
	kerf_delay_update(&d, 9000, 55);
	CU_ASSERT_EQUAL(memcmp(&d, &before, sizeof(d)), 0);
}

/* A route that became shorter or longer is the base after a window at most. */
static void test_a_new_route(void)
{
	struct kerf_delay d = {0};
	uint64_t at_ns = 0;

	for (unsigned f = 0; f < 900; f++)
		kerf_delay_update(&d, 5000000, at_ns += FRAME);
	kerf_delay_update(&d, 2000000, at_ns += FRAME);
	CU_ASSERT_EQUAL(d.queue_ns, 0);
	for (unsigned f = 0; f < 1200; f++)
		kerf_delay_update(&d, 2000000, at_ns += FRAME);
	for (unsigned f = 0; f < 1200; f++)
		kerf_delay_update(&d, 7000000, at_ns += FRAME);
	CU_ASSERT(d.queue_ns < 1000);
	CU_ASSERT(fabs(d.skew) < 1e-9);
}

/* Clocks that are set, and reports that lie. */
static void test_jumps_and_lies(void)
{
	static const int64_t lies[] = {INT64_MAX, INT64_MIN, 0, -1, 1ll << 47, -(1ll << 47)};
	struct kerf_rng rng = {.seed = 7};
	struct kerf_delay d = {0};
	uint64_t at_ns = 0;

	for (unsigned f = 0; f < 100; f++)
		kerf_delay_update(&d, 1000000, at_ns += FRAME);
	kerf_delay_update(&d, (int64_t)HOUR, at_ns += FRAME);
	CU_ASSERT_EQUAL(d.n, 1);
	CU_ASSERT_EQUAL(d.queue_ns, 0);
	for (unsigned f = 0; f < 100000; f++) {
		const int64_t delay_ns = f % 3 ? lies[f % KERF_ARRAY_LEN(lies)]
					       : (int64_t)(kerf_rng_u64(&rng) >> kerf_rng_u32(&rng) % 60);

		kerf_delay_update(&d, delay_ns, at_ns += kerf_rng_u64(&rng) >> 32);
		CU_ASSERT(isfinite(d.queue_ns) && d.queue_ns >= 0 && d.queue_ns < 300e9);
		CU_ASSERT(isfinite(d.jitter_ns) && fabs(d.skew) <= 500e-6);
	}
}

UNIT_MAIN("link.delay", UNIT(test_queue_beside_skew), UNIT(test_no_skew_too_soon), UNIT(test_a_train_counts_once),
	UNIT(test_a_new_route), UNIT(test_jumps_and_lies))
