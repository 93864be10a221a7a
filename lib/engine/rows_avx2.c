/* rows.inc in 8 lanes. */
#include "engine/rows.h"

#include <math.h>
#include <string.h>

#include "engine/words_avx2.h"

/* 2^n from the low bits of n + 1.5*2^23 */
static inline VFN V v_exp2i(V z)
{
	__m256i bits = _mm256_add_epi32(_mm256_castps_si256(z), _mm256_set1_epi32(127));

	return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
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
