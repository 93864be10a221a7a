#include "codec/quant.h"

#include <math.h>
#include <string.h>

static bool always(void)
{
	return true;
}

static uint32_t largest_of(const float *src, size_t n)
{
	uint32_t largest = 0;

	for (size_t i = 0; i < n; i++) {
		uint32_t magnitude = quant_bits(src[i]) & 0x7fffffffu;
		if (magnitude < QUANT_INF && magnitude > largest)
			largest = magnitude;
	}
	return largest;
}

/* x / scale rounded to nearest, ties to even, within +-most; a NaN is 0. */
static int level(float x, float inverse, float most)
{
	float v = x * inverse;

	if (inverse == 0 || isnan(x))
		return 0;
	return (int)nearbyintf(fminf(fmaxf(v, -most), most));
}

/* ---- bf16 ---- */

void kerf_quant_tail_bf16_encode(const float *src, size_t n, uint8_t *dst)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t v = quant_bf16(quant_bits(src[i]));
		memcpy(dst + 2 * i, &v, sizeof(v));
	}
}

void kerf_quant_tail_bf16_decode(const uint8_t *src, size_t n, float *dst)
{
	for (size_t i = 0; i < n; i++) {
		uint16_t v;
		memcpy(&v, src + 2 * i, sizeof(v));
		dst[i] = quant_float((uint32_t)v << 16);
	}
}

static void bf16_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	kerf_quant_tail_bf16_encode(src, n_blocks * BF16_VALUES, dst);
}

static void bf16_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	kerf_quant_tail_bf16_decode(src, n_blocks * BF16_VALUES, dst);
}

/* ---- q8: scale, then a signed byte a value ---- */

void kerf_quant_tail_q8_encode(const float *src, size_t n, uint8_t *dst)
{
	float scale, inverse;

	quant_scale_q8(largest_of(src, n), &scale, &inverse);
	memcpy(dst, &scale, sizeof(scale));
	for (size_t i = 0; i < n; i++)
		dst[sizeof(scale) + i] = (uint8_t)level(src[i], inverse, 127);
}

void kerf_quant_tail_q8_decode(const uint8_t *src, size_t n, float *dst)
{
	float scale;

	memcpy(&scale, src, sizeof(scale));
	scale = quant_check(scale, QUANT_SCALE_MAX);
	for (size_t i = 0; i < n; i++)
		dst[i] = (float)(int8_t)src[sizeof(scale) + i] * scale;
}

static void q8_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	for (size_t i = 0; i < n_blocks; i++)
		kerf_quant_tail_q8_encode(src + i * Q8_VALUES, Q8_VALUES, dst + i * Q8_BYTES);
}

static void q8_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	for (size_t i = 0; i < n_blocks; i++)
		kerf_quant_tail_q8_decode(src + i * Q8_BYTES, Q8_VALUES, dst + i * Q8_VALUES);
}

/* ---- q4: scale, then value i and value i + 16 in the low and high half of byte i ---- */

#define HALF (Q4_VALUES / 2)

void kerf_quant_tail_q4_encode(const float *src, size_t n, uint8_t *dst)
{
	float inverse;
	uint16_t scale = quant_scale_q4(largest_of(src, n), &inverse);

	memcpy(dst, &scale, sizeof(scale));
	dst += sizeof(scale);
	for (size_t i = 0; i < n; i++) {
		unsigned v = (unsigned)(level(src[i], inverse, 7) + 8);
		if (i < HALF)
			dst[i] = (uint8_t)(v | 8 << 4); /* a missing partner is 0 */
		else
			dst[i - HALF] = (uint8_t)((dst[i - HALF] & 15) | v << 4);
	}
}

void kerf_quant_tail_q4_decode(const uint8_t *src, size_t n, float *dst)
{
	uint16_t bits;

	memcpy(&bits, src, sizeof(bits));
	src += sizeof(bits);
	float scale = quant_check(quant_float((uint32_t)bits << 16), QUANT_Q4_SCALE_MAX);
	for (size_t i = 0; i < n; i++) {
		unsigned v = i < HALF ? src[i] & 15 : src[i - HALF] >> 4;
		dst[i] = (float)((int)v - 8) * scale;
	}
}

static void q4_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	for (size_t i = 0; i < n_blocks; i++)
		kerf_quant_tail_q4_encode(src + i * Q4_VALUES, Q4_VALUES, dst + i * Q4_BYTES);
}

static void q4_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	for (size_t i = 0; i < n_blocks; i++)
		kerf_quant_tail_q4_decode(src + i * Q4_BYTES, Q4_VALUES, dst + i * Q4_VALUES);
}

const struct quant_kernel kerf_quant_scalar = {"scalar", always, bf16_encode, bf16_decode,
	q8_encode, q8_decode, q4_encode, q4_decode};

/* ---- which twin runs ---- */

const struct quant_kernel *const kerf_quant_kernels[] = {
	&kerf_quant_avx512, &kerf_quant_avx2, &kerf_quant_scalar};
const unsigned kerf_quant_n_kernels = KERF_ARRAY_LEN(kerf_quant_kernels);
