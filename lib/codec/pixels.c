#include "codec/pixels.h"

#include <assert.h>
#include <immintrin.h>

/* The build turns contraction off (-ffp-contract=off): product and sum round one by one. */
static void pixels_scalar(const float *scale, const float *bias, const uint8_t *src, size_t n,
	float *dst)
{
	for (size_t i = 0; i < n; i++) {
		size_t lane = i % PIXEL_PATTERN;
		float product = (float)src[i] * scale[lane];
		dst[i] = product + bias[lane];
	}
}

__attribute__((target("avx2"))) static void pixels_avx2(const float *scale, const float *bias,
	const uint8_t *src, size_t n, float *dst)
{
	size_t i = 0;

	for (; i + PIXEL_PATTERN <= n; i += PIXEL_PATTERN) {
		for (unsigned lane = 0; lane < PIXEL_PATTERN; lane += 8) {
			__m128i bytes = _mm_loadl_epi64((const __m128i *)(src + i + lane));
			__m256 pixel = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
			__m256 product = _mm256_mul_ps(pixel, _mm256_loadu_ps(scale + lane));
			_mm256_storeu_ps(dst + i + lane,
				_mm256_add_ps(product, _mm256_loadu_ps(bias + lane)));
		}
	}
	pixels_scalar(scale, bias, src + i, n - i, dst + i);
}

__attribute__((target("avx512f"))) static void pixels_avx512(const float *scale, const float *bias,
	const uint8_t *src, size_t n, float *dst)
{
	size_t i = 0;

	for (; i + PIXEL_PATTERN <= n; i += PIXEL_PATTERN) {
		for (unsigned lane = 0; lane < PIXEL_PATTERN; lane += 16) {
			__m128i bytes = _mm_loadu_si128((const __m128i *)(src + i + lane));
			__m512 pixel = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
			__m512 product = _mm512_mul_ps(pixel, _mm512_loadu_ps(scale + lane));
			_mm512_storeu_ps(dst + i + lane,
				_mm512_add_ps(product, _mm512_loadu_ps(bias + lane)));
		}
	}
	pixels_scalar(scale, bias, src + i, n - i, dst + i);
}

static bool has_avx512(void)
{
	return __builtin_cpu_supports("avx512f");
}

static bool has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

static bool always(void)
{
	return true;
}

const struct pixels_kernel kerf_pixels_kernels[] = {
	{"avx512", pixels_avx512, has_avx512},
	{"avx2", pixels_avx2, has_avx2},
	{"scalar", pixels_scalar, always},
};
const unsigned kerf_pixels_n_kernels = KERF_ARRAY_LEN(kerf_pixels_kernels);

static pixels_fn pixels_best = pixels_scalar;

/* Runs before main, when there is one thread: the pointer needs no synchronisation after that. */
__attribute__((constructor)) static void choose_kernel(void)
{
	__builtin_cpu_init();
	for (unsigned i = kerf_pixels_n_kernels; i-- > 0;)
		if (kerf_pixels_kernels[i].supported())
			pixels_best = kerf_pixels_kernels[i].run;
}

void kerf_pixels_to_f32(const struct kerf_pixel_format *f, const uint8_t *src, size_t first,
	size_t n, float *dst)
{
	float scale[PIXEL_PATTERN], bias[PIXEL_PATTERN];

	assert(f->channels >= 1 && f->channels <= 4);
	size_t channel = first % f->channels;
	for (unsigned lane = 0; lane < PIXEL_PATTERN; lane++) {
		scale[lane] = f->scale[channel];
		bias[lane] = f->bias[channel];
		channel = channel + 1 == f->channels ? 0 : channel + 1;
	}
	pixels_best(scale, bias, src, n, dst);
}
