#include "codec/quant.h"

#include <immintrin.h>
#include <string.h>

#define TARGET __attribute__((target("avx2")))

static bool supported(void)
{
	return __builtin_cpu_supports("avx2");
}

/* ---- bf16 ---- */

TARGET static __m256i round_bf16(__m256i bits)
{
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
	__m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
	/* Magnitudes are positive as signed numbers. */
	__m256i nan = _mm256_cmpgt_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff)),
		_mm256_set1_epi32((int)QUANT_INF));
	__m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));

	return _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
}

TARGET static void bf16_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	for (size_t i = 0; i < n_blocks * BF16_VALUES; i += 16) {
		__m256i a = round_bf16(_mm256_loadu_si256((const __m256i *)(src + i)));
		__m256i b = round_bf16(_mm256_loadu_si256((const __m256i *)(src + i + 8)));
		/* packus works within lanes: 0 2 1 3 brings the quarters in order. */
		__m256i half = _mm256_permute4x64_epi64(_mm256_packus_epi32(a, b), 0xd8);
		_mm256_storeu_si256((__m256i *)(dst + 2 * i), half);
	}
}

TARGET static void bf16_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	for (size_t i = 0; i < n_blocks * BF16_VALUES; i += 8) {
		__m128i half = _mm_loadu_si128((const __m128i *)(src + 2 * i));
		_mm256_storeu_si256((__m256i *)(dst + i),
			_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
	}
}

/* ---- q8 and q4 ---- */

/* Bits of the finite magnitudes, 0 for what is not finite. */
TARGET static __m256i magnitudes(__m256 x)
{
	__m256i bits = _mm256_and_si256(_mm256_castps_si256(x), _mm256_set1_epi32(0x7fffffff));
	__m256i finite = _mm256_cmpgt_epi32(_mm256_set1_epi32((int)QUANT_INF), bits);

	return _mm256_and_si256(finite, bits);
}

TARGET static uint32_t largest(__m256i v)
{
	__m128i m = _mm_max_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
	return (uint32_t)_mm_cvtsi128_si32(m);
}

TARGET static __m256i levels(__m256 x, __m256 inverse, __m256 most)
{
	__m256 number = _mm256_cmp_ps(x, x, _CMP_ORD_Q);
	__m256 v = _mm256_mul_ps(_mm256_and_ps(x, number), inverse);

	v = _mm256_min_ps(_mm256_max_ps(v, _mm256_sub_ps(_mm256_setzero_ps(), most)), most);
	return _mm256_cvtps_epi32(v);
}

/* 32 whole numbers as bytes, in order. */
TARGET static __m256i pack(__m256i a, __m256i b, __m256i c, __m256i d)
{
	__m256i bytes = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));

	return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

TARGET static __m256i max_of_vectors(const float *src, unsigned n)
{
	const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
	__m256i m = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)src), magnitude);

	for (unsigned i = 1; i < n; i++)
		m = _mm256_max_epi32(m,
			_mm256_and_si256(_mm256_loadu_si256((const __m256i *)(src + 8 * i)),
				magnitude));
	return m;
}

/* The maxima of four vectors side by side, in each 128-bit lane those of the lane. */
TARGET static __m256i max_of_four(const __m256i m[4])
{
	__m256i a = _mm256_max_epi32(_mm256_unpacklo_epi32(m[0], m[1]),
		_mm256_unpackhi_epi32(m[0], m[1]));
	__m256i b = _mm256_max_epi32(_mm256_unpacklo_epi32(m[2], m[3]),
		_mm256_unpackhi_epi32(m[2], m[3]));

	return _mm256_max_epi32(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b));
}

/* Largest magnitude of each block; false when the group needs more care. */
TARGET static bool largest_of_group(const float *src, unsigned vectors, __m256 *top)
{
	__m256i m[QUANT_GROUP];

	for (unsigned b = 0; b < QUANT_GROUP; b++)
		m[b] = max_of_vectors(src + b * 8 * vectors, vectors);
	__m256i low = max_of_four(m), high = max_of_four(m + 4);
	*top = _mm256_castsi256_ps(_mm256_max_epi32(_mm256_permute2x128_si256(low, high, 0x20),
		_mm256_permute2x128_si256(low, high, 0x31)));
	/* A NaN is not. */
	return _mm256_movemask_ps(_mm256_cmp_ps(*top, _mm256_set1_ps(QUANT_LARGEST), _CMP_LE_OQ)) ==
		0xff;
}

/* quant_scale_q8 of each; |x| x inverse is then at most 127 when rounded. */
TARGET static bool q8_scales(const float *src, struct quant_scales *s)
{
	__m256 top;
	const bool good = largest_of_group(src, Q8_VALUES / 8, &top);
	const __m256 steps = _mm256_set1_ps(127);
	const __m256 some = _mm256_cmp_ps(top, _mm256_set1_ps(QUANT_SMALLEST), _CMP_GE_OQ);

	_mm256_storeu_si256((__m256i *)s->scale,
		_mm256_castps_si256(_mm256_and_ps(some, _mm256_div_ps(top, steps))));
	_mm256_storeu_ps(s->inverse, _mm256_and_ps(some, _mm256_div_ps(steps, top)));
	return good;
}

TARGET static __m256i rounded(const float *src, __m256 inverse)
{
	return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(src), inverse));
}

TARGET static void q8_write(const float *src, const struct quant_scales *s, uint8_t *dst)
{
	for (unsigned b = 0; b < QUANT_GROUP; b++, src += Q8_VALUES, dst += Q8_BYTES) {
		const __m256 f = _mm256_set1_ps(s->inverse[b]);

		memcpy(dst, &s->scale[b], sizeof(s->scale[b]));
		for (int i = 0; i < Q8_VALUES; i += 32)
			_mm256_storeu_si256((__m256i *)(dst + sizeof(s->scale[b]) + i),
				pack(rounded(src + i, f), rounded(src + i + 8, f),
					rounded(src + i + 16, f), rounded(src + i + 24, f)));
	}
}

TARGET static void q8_blocks(const float *src, size_t n_blocks, uint8_t *dst)
{
	const __m256 most = _mm256_set1_ps(127);

	for (; n_blocks; n_blocks--, src += Q8_VALUES, dst += Q8_BYTES) {
		__m256i top = _mm256_setzero_si256(), q[8];
		float scale, inverse;

		for (int i = 0; i < 8; i++)
			top = _mm256_max_epi32(top, magnitudes(_mm256_loadu_ps(src + 8 * i)));
		quant_scale_q8(largest(top), &scale, &inverse);
		memcpy(dst, &scale, sizeof(scale));
		if (inverse == 0) {
			memset(dst + sizeof(scale), 0, Q8_VALUES);
			continue;
		}
		for (int i = 0; i < 8; i++)
			q[i] = levels(_mm256_loadu_ps(src + 8 * i), _mm256_set1_ps(inverse), most);
		for (int i = 0; i < 2; i++)
			_mm256_storeu_si256((__m256i *)(dst + sizeof(scale) + 32 * i),
				pack(q[4 * i], q[4 * i + 1], q[4 * i + 2], q[4 * i + 3]));
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
		__m256 s = _mm256_set1_ps(quant_check(scale, QUANT_SCALE_MAX));
		for (int i = 0; i < 8; i++) {
			__m128i q = _mm_loadl_epi64((const __m128i *)(src + sizeof(scale) + 8 * i));
			_mm256_storeu_ps(dst + 8 * i,
				_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)), s));
		}
	}
}

/* quant_scale_q4 of each. */
TARGET static bool q4_scales(const float *src, struct quant_scales *s)
{
	__m256 top;
	const bool good = largest_of_group(src, Q4_VALUES / 8, &top);
	const __m256 some = _mm256_cmp_ps(top, _mm256_set1_ps(QUANT_SMALLEST), _CMP_GE_OQ);
	__m256i bits = _mm256_castps_si256(_mm256_div_ps(top, _mm256_set1_ps(7)));

	bits = _mm256_and_si256(_mm256_add_epi32(bits, _mm256_set1_epi32(0xffff)),
		_mm256_and_si256(_mm256_castps_si256(some), _mm256_set1_epi32((int)0xffff0000u)));
	_mm256_storeu_si256((__m256i *)s->scale, bits);
	_mm256_storeu_ps(s->inverse,
		_mm256_and_ps(some, _mm256_div_ps(_mm256_set1_ps(1), _mm256_castsi256_ps(bits))));
	return good;
}

/* 16 whole numbers from 0 to 255 as bytes. */
TARGET static __m128i pack_bytes(__m256i a, __m256i b)
{
	/* Saturating to signed words and then to unsigned bytes keeps them. */
	__m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8);

	return _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

TARGET static void q4_write(const float *src, const struct quant_scales *s, uint8_t *dst)
{
	const __m256i eights = _mm256_set1_epi32(8 | 8 << 4);

	for (unsigned b = 0; b < QUANT_GROUP; b++, src += Q4_VALUES, dst += Q4_BYTES) {
		const __m256 f = _mm256_set1_ps(s->inverse[b]);
		const uint16_t upper = (uint16_t)(s->scale[b] >> 16);
		__m256i both[2];

		/* (low + 8) + 16 (high + 8), from levels that are at most 7 either way. */
		for (int i = 0; i < 2; i++)
			both[i] = _mm256_add_epi32(eights,
				_mm256_add_epi32(rounded(src + 8 * i, f),
					_mm256_slli_epi32(rounded(src + 16 + 8 * i, f), 4)));
		memcpy(dst, &upper, sizeof(upper));
		_mm_storeu_si128((__m128i *)(dst + sizeof(upper)), pack_bytes(both[0], both[1]));
	}
}

TARGET static void q4_blocks(const float *src, size_t n_blocks, uint8_t *dst)
{
	const __m256 most = _mm256_set1_ps(7);
	const __m256i eight = _mm256_set1_epi32(8);

	for (; n_blocks; n_blocks--, src += Q4_VALUES, dst += Q4_BYTES) {
		__m256i top = _mm256_setzero_si256(), q[4];
		float inverse;

		for (int i = 0; i < 4; i++)
			top = _mm256_max_epi32(top, magnitudes(_mm256_loadu_ps(src + 8 * i)));
		uint16_t scale = quant_scale_q4(largest(top), &inverse);
		memcpy(dst, &scale, sizeof(scale));
		for (int i = 0; i < 4; i++) {
			q[i] = eight;
			if (inverse != 0)
				q[i] = _mm256_add_epi32(eight,
					levels(_mm256_loadu_ps(src + 8 * i),
						_mm256_set1_ps(inverse), most));
		}
		for (int i = 0; i < 2; i++)
			q[i] = _mm256_or_si256(q[i], _mm256_slli_epi32(q[i + 2], 4));
		_mm_storeu_si128((__m128i *)(dst + sizeof(scale)), pack_bytes(q[0], q[1]));
	}
}

TARGET static void q4_encode(const float *src, size_t n_blocks, uint8_t *dst)
{
	quant_encode_groups((struct quant_groups){Q4_VALUES, Q4_BYTES, q4_scales, q4_write, q4_blocks}, src, n_blocks, dst);
}

TARGET static void q4_decode(const uint8_t *src, size_t n_blocks, float *dst)
{
	const __m256i eight = _mm256_set1_epi32(8), nibble = _mm256_set1_epi32(15);

	for (; n_blocks; n_blocks--, src += Q4_BYTES, dst += Q4_VALUES) {
		uint16_t bits;

		memcpy(&bits, src, sizeof(bits));
		__m256 s = _mm256_set1_ps(quant_check(quant_float((uint32_t)bits << 16),
			QUANT_Q4_SCALE_MAX));
		for (int i = 0; i < 2; i++) {
			__m256i both = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(src +
				sizeof(bits) + 8 * i)));
			__m256i a = _mm256_sub_epi32(_mm256_and_si256(both, nibble), eight);
			__m256i b = _mm256_sub_epi32(_mm256_srli_epi32(both, 4), eight);
			_mm256_storeu_ps(dst + 8 * i, _mm256_mul_ps(_mm256_cvtepi32_ps(a), s));
			_mm256_storeu_ps(dst + 16 + 8 * i, _mm256_mul_ps(_mm256_cvtepi32_ps(b), s));
		}
	}
}

const struct quant_kernel kerf_quant_avx2 = {
	"avx2", supported, bf16_encode, bf16_decode, q8_encode, q8_decode, q4_encode, q4_decode};
