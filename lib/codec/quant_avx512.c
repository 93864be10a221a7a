#include "codec/quant.h"

#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq")))

static bool supported(void)
{
	return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/* ---- bf16 ---- */

TARGET static __m512i round_bf16(__m512i bits)
{
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
	__m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
	__mmask16 nan = _mm512_cmpgt_epu32_mask(
		_mm512_and_si512(bits, _mm512_set1_epi32(0x7fffffff)),
		_mm512_set1_epi32((int)QUANT_INF));
	__m512i quiet = _mm512_or_si512(bits, _mm512_set1_epi32(0x400000));

	return _mm512_srli_epi32(_mm512_mask_mov_epi32(rounded, nan, quiet), 16);
}

TARGET static void bf16_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	for (size_t i = 0; i < n_blocks * BF16_VALUES; i += 16) {
		__m256i half = _mm512_cvtepi32_epi16(round_bf16(_mm512_loadu_si512(src + i)));
		_mm256_storeu_si256((__m256i *)(dst + 2 * i), half);
	}
}

TARGET static void bf16_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	for (size_t i = 0; i < n_blocks * BF16_VALUES; i += 16) {
		__m256i half = _mm256_loadu_si256((const __m256i *)(src + 2 * i));
		_mm512_storeu_si512(dst + i, _mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
	}
}

/* ---- q8 and q4 ---- */

/* Bits of the finite magnitudes, 0 for what is not finite. */
TARGET static __m512i magnitudes(__m512 x)
{
	__m512i bits = _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
	__mmask16 finite = _mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32((int)QUANT_INF));

	return _mm512_maskz_mov_epi32(finite, bits);
}

/* x / scale to nearest, within +-most; a NaN is 0. The inverse is not 0. */
TARGET static __m512i levels(__m512 x, __m512 inverse, __m512 most)
{
	__mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
	__m512 v = _mm512_maskz_mul_ps(number, x, inverse);

	v = _mm512_min_ps(_mm512_max_ps(v, _mm512_sub_ps(_mm512_setzero_ps(), most)), most);
	return _mm512_cvtps_epi32(v);
}

TARGET static __m512i max_of_vectors(const float *src, unsigned n)
{
	const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
	__m512i m = _mm512_and_si512(_mm512_loadu_si512(src), magnitude);

	for (unsigned i = 1; i < n; i++)
		m = _mm512_max_epu32(
			m, _mm512_and_si512(_mm512_loadu_si512(src + 16 * i), magnitude));
	return m;
}

/* The maxima of four vectors side by side, in each 128-bit lane those of the lane; then of all lanes. */
TARGET static __m128i max_of_four(const __m512i m[4])
{
	__m512i a = _mm512_max_epu32(
		_mm512_unpacklo_epi32(m[0], m[1]), _mm512_unpackhi_epi32(m[0], m[1]));
	__m512i b = _mm512_max_epu32(
		_mm512_unpacklo_epi32(m[2], m[3]), _mm512_unpackhi_epi32(m[2], m[3]));
	__m512i c = _mm512_max_epu32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
	__m256i d = _mm256_max_epu32(
		_mm512_castsi512_si256(c), _mm512_extracti64x4_epi64(c, 1));

	return _mm_max_epu32(_mm256_castsi256_si128(d), _mm256_extracti128_si256(d, 1));
}

/* Largest magnitude of each block; false when the group needs more care. */
TARGET static bool largest_of_group(const float *src, unsigned vectors, __m256 *top)
{
	__m512i m[QUANT_GROUP];

	for (unsigned b = 0; b < QUANT_GROUP; b++)
		m[b] = max_of_vectors(src + b * 16 * vectors, vectors);
	*top = _mm256_castsi256_ps(_mm256_set_m128i(max_of_four(m + 4), max_of_four(m)));
	/* A NaN is not. */
	return _mm256_cmp_ps_mask(*top, _mm256_set1_ps(QUANT_LARGEST), _CMP_LE_OQ) == 0xff;
}

/* quant_scale_q8 of each; |x| x inverse is then at most 127 when rounded. */
TARGET static bool q8_scales(const float *src, struct quant_scales *s)
{
	__m256 top;
	const bool good = largest_of_group(src, Q8_VALUES / 16, &top);
	const __m256 steps = _mm256_set1_ps(127);
	const __mmask8 some = _mm256_cmp_ps_mask(top, _mm256_set1_ps(QUANT_SMALLEST), _CMP_GE_OQ);

	_mm256_storeu_si256(
		(__m256i *)s->scale, _mm256_castps_si256(_mm256_maskz_div_ps(some, top, steps)));
	_mm256_storeu_ps(s->inverse, _mm256_maskz_div_ps(some, steps, top));
	return good;
}

TARGET static void levels_q8(const float *src, float inverse, uint8_t *dst)
{
	const __m512i order = _mm512_setr_epi32(
		0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
	const __m512 f = _mm512_set1_ps(inverse);
	__m512i q[4];

	for (int i = 0; i < 4; i++)
		q[i] = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(src + 16 * i), f));
	/* Packing works within lanes of 128 bits; the permutation puts fours of bytes in order. */
	__m512i bytes = _mm512_packs_epi16(
		_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
	_mm512_storeu_si512(dst, _mm512_permutexvar_epi32(order, bytes));
}

TARGET static void q8_write(const float *src, const struct quant_scales *s, uint8_t *dst)
{
	for (unsigned b = 0; b < QUANT_GROUP; b++, src += Q8_VALUES, dst += Q8_BYTES) {
		memcpy(dst, &s->scale[b], sizeof(s->scale[b]));
		levels_q8(src, s->inverse[b], dst + sizeof(s->scale[b]));
	}
}

TARGET static void q8_blocks(const float *src, size_t n_blocks, uint8_t *dst)
{
	const __m512 most = _mm512_set1_ps(127);

	for (; n_blocks; n_blocks--, src += Q8_VALUES, dst += Q8_BYTES) {
		__m512 x[4];
		float scale, inverse;

		for (int i = 0; i < 4; i++)
			x[i] = _mm512_loadu_ps(src + 16 * i);
		__m512i top = _mm512_max_epi32(
			_mm512_max_epi32(magnitudes(x[0]), magnitudes(x[1])),
			_mm512_max_epi32(magnitudes(x[2]), magnitudes(x[3])));
		quant_scale_q8((uint32_t)_mm512_reduce_max_epi32(top), &scale, &inverse);
		memcpy(dst, &scale, sizeof(scale));
		if (inverse == 0) {
			memset(dst + sizeof(scale), 0, Q8_VALUES);
			continue;
		}
		for (int i = 0; i < 4; i++) {
			__m512i q = levels(x[i], _mm512_set1_ps(inverse), most);
			_mm_storeu_si128((__m128i *)(dst + sizeof(scale) + 16 * i),
				_mm512_cvtepi32_epi8(q));
		}
	}
}

TARGET static void q8_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	quant_encode_groups((struct quant_groups){Q8_VALUES, Q8_BYTES, q8_scales, q8_write, q8_blocks}, src, n_blocks, dst);
}

TARGET static void q8_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	for (; n_blocks; n_blocks--, src += Q8_BYTES, dst += Q8_VALUES) {
		float scale;

		memcpy(&scale, src, sizeof(scale));
		__m512 s = _mm512_set1_ps(quant_check(scale, QUANT_SCALE_MAX));
		for (int i = 0; i < 4; i++) {
			__m128i q = _mm_loadu_si128(
				(const __m128i *)(src + sizeof(scale) + 16 * i));
			_mm512_storeu_ps(dst + 16 * i,
				_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)), s));
		}
	}
}

/* quant_scale_q4 of each. */
TARGET static bool q4_scales(const float *src, struct quant_scales *s)
{
	__m256 top;
	const bool good = largest_of_group(src, Q4_VALUES / 16, &top);
	const __mmask8 some = _mm256_cmp_ps_mask(top, _mm256_set1_ps(QUANT_SMALLEST), _CMP_GE_OQ);
	__m256i bits = _mm256_castps_si256(_mm256_div_ps(top, _mm256_set1_ps(7)));

	bits = _mm256_maskz_and_epi32(some, _mm256_add_epi32(bits, _mm256_set1_epi32(0xffff)),
		_mm256_set1_epi32((int)0xffff0000u));
	_mm256_storeu_si256((__m256i *)s->scale, bits);
	_mm256_storeu_ps(s->inverse,
		_mm256_maskz_div_ps(some, _mm256_set1_ps(1), _mm256_castsi256_ps(bits)));
	return good;
}

TARGET static void q4_write(const float *src, const struct quant_scales *s, uint8_t *dst)
{
	const __m512i eights = _mm512_set1_epi32(8 | 8 << 4);

	for (unsigned b = 0; b < QUANT_GROUP; b++, src += Q4_VALUES, dst += Q4_BYTES) {
		const __m512 f = _mm512_set1_ps(s->inverse[b]);
		const uint16_t upper = (uint16_t)(s->scale[b] >> 16);
		__m512i low = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(src), f));
		__m512i high = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(src + 16), f));
		/* (low + 8) + 16 (high + 8), from levels that are at most 7 either way. */
		__m512i both = _mm512_add_epi32(
			_mm512_add_epi32(low, _mm512_slli_epi32(high, 4)), eights);
		memcpy(dst, &upper, sizeof(upper));
		_mm_storeu_si128((__m128i *)(dst + sizeof(upper)), _mm512_cvtepi32_epi8(both));
	}
}

TARGET static void q4_blocks(const float *src, size_t n_blocks, uint8_t *dst)
{
	const __m512 most = _mm512_set1_ps(7);
	const __m512i eight = _mm512_set1_epi32(8);

	for (; n_blocks; n_blocks--, src += Q4_VALUES, dst += Q4_BYTES) {
		__m512 low = _mm512_loadu_ps(src), high = _mm512_loadu_ps(src + 16);
		__m512i top = _mm512_max_epi32(magnitudes(low), magnitudes(high));
		__m512i a = eight, b = eight;
		float inverse;
		uint16_t scale =
			quant_scale_q4((uint32_t)_mm512_reduce_max_epi32(top), &inverse);

		memcpy(dst, &scale, sizeof(scale));
		if (inverse != 0) {
			a = _mm512_add_epi32(levels(low, _mm512_set1_ps(inverse), most), eight);
			b = _mm512_add_epi32(levels(high, _mm512_set1_ps(inverse), most), eight);
		}
		__m512i both = _mm512_or_si512(a, _mm512_slli_epi32(b, 4));
		_mm_storeu_si128((__m128i *)(dst + sizeof(scale)), _mm512_cvtepi32_epi8(both));
	}
}

TARGET static void q4_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	quant_encode_groups((struct quant_groups){Q4_VALUES, Q4_BYTES, q4_scales, q4_write, q4_blocks}, src, n_blocks, dst);
}

TARGET static void q4_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	const __m512i eight = _mm512_set1_epi32(8), nibble = _mm512_set1_epi32(15);

	for (; n_blocks; n_blocks--, src += Q4_BYTES, dst += Q4_VALUES) {
		uint16_t bits;

		memcpy(&bits, src, sizeof(bits));
		__m512 s = _mm512_set1_ps(
			quant_check(quant_float((uint32_t)bits << 16), QUANT_Q4_SCALE_MAX));
		__m512i both = _mm512_cvtepu8_epi32(
			_mm_loadu_si128((const __m128i *)(src + sizeof(bits))));
		__m512i a = _mm512_sub_epi32(_mm512_and_si512(both, nibble), eight);
		__m512i b = _mm512_sub_epi32(_mm512_srli_epi32(both, 4), eight);
		_mm512_storeu_ps(dst, _mm512_mul_ps(_mm512_cvtepi32_ps(a), s));
		_mm512_storeu_ps(dst + 16, _mm512_mul_ps(_mm512_cvtepi32_ps(b), s));
	}
}

const struct quant_kernel kerf_quant_avx512 = {"avx512", supported, bf16_encode, bf16_decode,
	q8_encode, q8_decode, q4_encode, q4_decode};
