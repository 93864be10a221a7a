/* rows.inc in 8 lanes. */
#include "engine/rows.h"

#include <immintrin.h>
#include <string.h>

#define VFN __attribute__((target("avx2,fma")))
#define VW 8
typedef __m256 V;

#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, v) _mm256_storeu_ps(p, v)
#define v_load_part(p, n) _mm256_maskload_ps(p, lanes(n))
#define v_store_part(p, v, n) _mm256_maskstore_ps(p, lanes(n), v)
#define v_set1(a) _mm256_set1_ps(a)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_div(a, b) _mm256_div_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_max(a, b) _mm256_max_ps(a, b)

/* A window of this table is the mask of the first n lanes. */
static const int32_t lane_masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

static inline VFN __m256i lanes(size_t n)
{
	return _mm256_loadu_si256((const __m256i *)(lane_masks + VW - n));
}

/* 2^n from the low bits of n + 1.5*2^23 */
static inline VFN V v_exp2i(V z)
{
	__m256i bits = _mm256_add_epi32(_mm256_castps_si256(z), _mm256_set1_epi32(127));

	return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}

/* p * 2^n for the same z, when p and that are normal numbers: n goes onto the exponent. */
static inline VFN V v_raise(V p, V z)
{
	return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), _mm256_slli_epi32(_mm256_castps_si256(z), 23)));
}

/* Rounding adds half of what falls away, a little less to an even number; a NaN stays one. */
static inline VFN void v_store_bf16(uint16_t *p, V v)
{
	const __m256i x = _mm256_castps_si256(v), odd = _mm256_and_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(1));
	const __m256i quiet = _mm256_or_si256(x, _mm256_set1_epi32(0x400000));
	__m256i y = _mm256_add_epi32(x, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));

	y = _mm256_blendv_epi8(y, quiet, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
	y = _mm256_srli_epi32(y, 16);
	_mm_storeu_si128((__m128i *)p, _mm_packus_epi32(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1)));
}

static inline VFN void v_store_bytes(uint8_t *p, V v)
{
	const __m256i low = _mm256_set1_epi32(255), x = _mm256_and_si256(_mm256_cvtps_epi32(v), low);
	const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));

	_mm_storel_epi64((__m128i *)p, _mm_packus_epi16(words, words));
}

static bool is_supported(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#include "engine/rows.inc"

const struct kerf_rows kerf_rows_avx2 = ROWS_TABLE("avx2", is_supported);
