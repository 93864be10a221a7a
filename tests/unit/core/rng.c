#include <math.h>
#include <string.h>

#include "core/core.h"
#include "unit.h"

/* Known answers of Random123 (philox4x32 10), the authors' library. */
static void test_known_answers(void)
{
	static const struct {
		uint64_t seed, stream, counter;
		uint32_t out[4];
	} vectors[] = {
		{0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{UINT64_MAX, UINT64_MAX, UINT64_MAX,
			{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88,
			{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(vectors); i++) {
		uint32_t out[4];
		kerf_rng_block(vectors[i].seed, vectors[i].stream, vectors[i].counter, out);
		CU_ASSERT_EQUAL(memcmp(out, vectors[i].out, sizeof(out)), 0);
	}
}

static void test_sequence_is_the_blocks(void)
{
	struct kerf_rng r = {.seed = 5, .stream = 9};

	for (uint64_t counter = 0; counter < 4; counter++) {
		uint32_t block[4];
		kerf_rng_block(5, 9, counter, block);
		for (unsigned i = 0; i < 4; i++)
			CU_ASSERT_EQUAL(kerf_rng_u32(&r), block[i]);
	}
}

static void test_copies_go_on_alike(void)
{
	struct kerf_rng a = {.seed = 1, .stream = 2}, b;

	kerf_rng_u32(&a);
	kerf_rng_normal(&a);
	b = a;
	for (unsigned i = 0; i < 10; i++)
		CU_ASSERT_EQUAL(kerf_rng_normal(&a), kerf_rng_normal(&b));
	b.stream++;
	b.left = a.left = 0;
	CU_ASSERT_NOT_EQUAL(kerf_rng_u64(&a), kerf_rng_u64(&b));
}

#define DRAWS 200000

/* Bounds are five standard errors: seeds are fixed, so this cannot fail by chance. */
static void test_uniform(void)
{
	struct kerf_rng r = {.seed = 42};
	double sum = 0, low = 1, high = 0;
	unsigned bins[16] = {0};

	for (unsigned i = 0; i < DRAWS; i++) {
		double u = kerf_rng_uniform(&r);
		low = fmin(low, u);
		high = fmax(high, u);
		sum += u;
		if (u >= 0 && u < 1)
			bins[(unsigned)(u * 16)]++;
	}
	CU_ASSERT(low >= 0 && low < 1e-3 && high < 1 && high > 1 - 1e-3);
	CU_ASSERT_DOUBLE_EQUAL(sum / DRAWS, 0.5, 5 * sqrt(1.0 / 12 / DRAWS));
	for (unsigned i = 0; i < 16; i++)
		CU_ASSERT_DOUBLE_EQUAL(bins[i], DRAWS / 16.0, 5 * sqrt(DRAWS / 16.0));
}

static void test_normal(void)
{
	struct kerf_rng r = {.seed = 43};
	double sum = 0, square = 0, cube = 0;
	unsigned within_1 = 0, beyond_3 = 0;

	for (unsigned i = 0; i < DRAWS; i++) {
		double x = kerf_rng_normal(&r);
		CU_ASSERT_FATAL(isfinite(x));
		sum += x;
		square += x * x;
		cube += x * x * x;
		within_1 += fabs(x) < 1;
		beyond_3 += fabs(x) > 3;
	}
	CU_ASSERT_DOUBLE_EQUAL(sum / DRAWS, 0, 5 / sqrt(DRAWS));
	CU_ASSERT_DOUBLE_EQUAL(square / DRAWS, 1, 5 * sqrt(2.0 / DRAWS));
	CU_ASSERT_DOUBLE_EQUAL(cube / DRAWS, 0, 5 * sqrt(15.0 / DRAWS));
	CU_ASSERT_DOUBLE_EQUAL(within_1 / (double)DRAWS, 0.682689, 0.006);
	CU_ASSERT_DOUBLE_EQUAL(beyond_3 / (double)DRAWS, 0.0027, 0.0006);
}

UNIT_MAIN("core.rng", UNIT(test_known_answers), UNIT(test_sequence_is_the_blocks),
	UNIT(test_copies_go_on_alike), UNIT(test_uniform), UNIT(test_normal))
