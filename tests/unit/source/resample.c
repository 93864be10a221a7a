#include <math.h>
#include <string.h>

#include "source/resample.h"
#include "unit.h"

#define SIDE 37
#define MAX_OUT 80

static uint8_t src[SIDE][SIDE * 4], dst[MAX_OUT * MAX_OUT * 4];
static float scratch[(SIDE + 1) * MAX_OUT * 4];

static void run(unsigned n_out, double from, double to, unsigned channels)
{
	struct kerf_resample_axis x = {0}, y = {0};

	CU_ASSERT_EQUAL_FATAL(kerf_resample_plan(&x, SIDE, n_out, from, to), 0);
	CU_ASSERT_EQUAL_FATAL(kerf_resample_plan(&y, SIDE, n_out, from, to), 0);
	CU_ASSERT_FATAL(kerf_resample_scratch(&x, &y, channels) <= KERF_ARRAY_LEN(scratch));
	kerf_resample(&x, &y, src[0], sizeof(src[0]), channels, scratch, dst);
	kerf_resample_release(&x);
	kerf_resample_release(&y);
}

static void fill_noise(void)
{
	struct kerf_rng r = {.seed = 11};

	for (unsigned i = 0; i < sizeof(src); i++)
		src[i / sizeof(src[0])][i % sizeof(src[0])] = (uint8_t)kerf_rng_u32(&r);
}

static void test_same_size_is_a_copy(void)
{
	fill_noise();
	run(SIDE, 0, SIDE, 3);
	for (unsigned y = 0; y < SIDE; y++)
		CU_ASSERT_EQUAL(memcmp(dst + (size_t)y * SIDE * 3, src[y], SIDE * 3), 0);
	run(10, 5, 15, 1); /* a crop of whole pixels, too */
	for (unsigned y = 0; y < 10; y++)
		CU_ASSERT_EQUAL(memcmp(dst + (size_t)y * 10, src[y + 5] + 5, 10), 0);
}

static void test_flat_stays_flat(void)
{
	static const uint8_t levels[] = {0, 1, 127, 128, 254, 255};
	static const unsigned sizes[] = {1, 2, 7, SIDE, 80};

	for (size_t l = 0; l < KERF_ARRAY_LEN(levels); l++) {
		memset(src, levels[l], sizeof(src));
		for (size_t s = 0; s < KERF_ARRAY_LEN(sizes); s++) {
			run(sizes[s], 0.3, SIDE - 0.7, 4);
			for (size_t i = 0; i < (size_t)sizes[s] * sizes[s] * 4; i++)
				CU_ASSERT_EQUAL_FATAL(dst[i], levels[l]);
		}
	}
}

/* What each output must be, straight from the definition, in double and pixel by pixel. */
static double triangle_sum(unsigned out_x, unsigned out_y, unsigned n_out, double from, double to,
	unsigned channels, unsigned c)
{
	double step = (to - from) / n_out, support = fmax(1, step), sum = 0, total = 0;

	for (int y = 0; y < SIDE; y++) {
		double wy = fmax(0, 1 - fabs(y + 0.5 - from - (out_y + 0.5) * step) / support);
		for (int x = 0; x < SIDE; x++) {
			double wx = fmax(0,
				1 - fabs(x + 0.5 - from - (out_x + 0.5) * step) / support);
			sum += wx * wy * src[y][(unsigned)x * channels + c];
			total += wx * wy;
		}
	}
	return sum / total;
}

static void expect_definition(unsigned n_out, double from, double to, unsigned channels)
{
	run(n_out, from, to, channels);
	for (unsigned y = 0; y < n_out; y++)
		for (unsigned x = 0; x < n_out; x++)
			for (unsigned c = 0; c < channels; c++) {
				double exact = triangle_sum(x, y, n_out, from, to, channels, c);
				uint8_t found = dst[((size_t)y * n_out + x) * channels + c];
				CU_ASSERT(fabs(found - exact) < 0.5001);
			}
}

static void test_definition(void)
{
	fill_noise();
	expect_definition(9, 0, SIDE, 3);        /* shrink */
	expect_definition(64, 0, SIDE, 1);       /* enlarge */
	expect_definition(20, 3.7, 33.3, 4);     /* fractional crop */
	expect_definition(1, 0, SIDE, 1);        /* everything in one */
	expect_definition(33, 18.25, 18.5, 3);   /* inside one pixel */
	expect_definition(12, 0, 1.5, 1);        /* at the border */
	expect_definition(36, 0.5, SIDE, 3);
}

/* Stripes finer than an output vanish: plain bilinear would show them as moire. */
static void test_antialiasing(void)
{
	for (unsigned y = 0; y < SIDE; y++)
		for (unsigned x = 0; x < SIDE; x++)
			src[y][x] = x % 2 ? 255 : 0;
	run(6, 0, 36, 1);
	for (unsigned i = 0; i < 36; i++)
		CU_ASSERT(abs(dst[i] - 128) <= 12);
}

static void test_plan_is_kept(void)
{
	struct kerf_resample_axis a = {0};

	CU_ASSERT_EQUAL(kerf_resample_plan(&a, 100, 10, 0, 100), 0);
	unsigned *first = a.first;
	CU_ASSERT_EQUAL(kerf_resample_plan(&a, 100, 10, 0, 100), 0);
	CU_ASSERT_PTR_EQUAL(a.first, first);
	CU_ASSERT_EQUAL(kerf_resample_plan(&a, 100, 10, 50, 100), 0);
	CU_ASSERT(a.first[0] >= 44);
	for (unsigned out = 0; out < a.n_out; out++) {
		double sum = 0;
		CU_ASSERT(a.first[out] + a.taps <= a.n_in);
		for (unsigned t = 0; t < a.taps; t++)
			sum += a.weights[out * a.taps + t];
		CU_ASSERT_DOUBLE_EQUAL(sum, 1, 1e-6);
	}
	kerf_resample_release(&a);
}

UNIT_MAIN("source.resample", UNIT(test_same_size_is_a_copy), UNIT(test_flat_stays_flat),
	UNIT(test_definition), UNIT(test_antialiasing), UNIT(test_plan_is_kept))
