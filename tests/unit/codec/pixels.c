#include <string.h>

#include "codec/pixels.h"
#include "unit.h"

#define VALUES 4000

static uint8_t src[VALUES + 1];
static float out[VALUES], expected[VALUES];

/* Numbers whose products and sums need rounding, so that a fused multiply-add would differ. */
static struct kerf_pixel_format odd_format(uint32_t channels)
{
	return (struct kerf_pixel_format){
		.channels = channels,
		.scale = {1 / 58.395f, 1 / 57.12f, 1 / 57.375f, 0.1f},
		.bias = {-2.1179f, -2.0357f, -1.8044f, 1 / 3.0f},
	};
}

static void fill_pixels(void)
{
	struct kerf_rng r = {.seed = 3};

	for (unsigned i = 0; i < sizeof(src); i++)
		src[i] = (uint8_t)kerf_rng_u32(&r);
}

static void test_meaning(void)
{
	const struct kerf_pixel_format f = {3, {1, 2, 1 / 127.5f}, {0, 10, -1}};
	static const uint8_t pixels[6] = {5, 6, 255, 0, 100, 0};
	static const float values[6] = {5, 22, 1, 0, 210, -1};

	kerf_pixels_to_f32(&f, pixels, 0, 6, out);
	CU_ASSERT_EQUAL(memcmp(out, values, sizeof(values)), 0);
	kerf_pixels_to_f32(&f, pixels + 2, 2, 3, out); /* starts at the third channel */
	CU_ASSERT_EQUAL(memcmp(out, values + 2, 3 * sizeof(float)), 0);
}

/* Every twin that this CPU runs, at every length up to a few patterns and unaligned. */
static void test_twins_agree(void)
{
	float scale[PIXEL_PATTERN], bias[PIXEL_PATTERN];
	const pixels_fn scalar = kerf_pixels_kernels[kerf_pixels_n_kernels - 1].run;
	struct kerf_rng r = {.seed = 4};

	fill_pixels();
	for (unsigned i = 0; i < PIXEL_PATTERN; i++) {
		scale[i] = (float)kerf_rng_normal(&r);
		bias[i] = (float)kerf_rng_normal(&r) * 100;
	}
	for (unsigned k = 0; k < kerf_pixels_n_kernels; k++) {
		if (!kerf_pixels_kernels[k].supported()) {
			printf("SKIP %s: not on this CPU\n", kerf_pixels_kernels[k].name);
			continue;
		}
		for (size_t n = 0; n < 5 * PIXEL_PATTERN; n++) {
			memset(out, 0xa5, sizeof(out));
			memset(expected, 0xa5, sizeof(expected));
			scalar(scale, bias, src + 1, n, expected + 1);
			kerf_pixels_kernels[k].run(scale, bias, src + 1, n, out + 1);
			CU_ASSERT_EQUAL(memcmp(out, expected, sizeof(out)), 0);
		}
	}
}

/* The scalar twin is what the contract says: a rounded product, then a rounded sum. */
static void test_product_rounds_before_sum(void)
{
	for (uint32_t channels = 1; channels <= 4; channels++) {
		const struct kerf_pixel_format f = odd_format(channels);
		kerf_pixels_to_f32(&f, src, 0, VALUES, out);
		for (unsigned i = 0; i < VALUES; i++) {
			volatile float product = (float)src[i] * f.scale[i % channels];
			expected[i] = product + f.bias[i % channels];
		}
		CU_ASSERT_EQUAL(memcmp(out, expected, sizeof(out)), 0);
	}
}

/* Packets of any size, starting anywhere in a pixel, give the bits of one call. */
static void test_pieces_equal_the_whole(void)
{
	for (uint32_t channels = 1; channels <= 4; channels++) {
		const struct kerf_pixel_format f = odd_format(channels);
		kerf_pixels_to_f32(&f, src, 0, VALUES, expected);
		memset(out, 0, sizeof(out));
		for (size_t at = 0, step = 1; at < VALUES; at += step, step += 7) {
			step = KERF_MIN(step, VALUES - at);
			kerf_pixels_to_f32(&f, src + at, at, step, out + at);
		}
		CU_ASSERT_EQUAL(memcmp(out, expected, sizeof(out)), 0);
	}
}

UNIT_MAIN("codec.pixels", UNIT(test_meaning), UNIT(test_twins_agree),
	UNIT(test_product_rounds_before_sum), UNIT(test_pieces_equal_the_whole))
