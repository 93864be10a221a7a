/* rows.inc in 16 lanes. */
#include "engine/rows.h"

#include <math.h>
#include <string.h>

#include "engine/words_avx512.h"

/* 2^n from the low bits of n + 1.5*2^23 */
static inline VFN V v_exp2i(V z)
{
	__m512i bits = _mm512_add_epi32(_mm512_castps_si512(z), _mm512_set1_epi32(127));

	return _mm512_castsi512_ps(_mm512_slli_epi32(bits, 23));
}

/* Rounding adds half of what falls away, a little less to an even number; a NaN stays one. */
static inline VFN void v_store_bf16(uint16_t *p, V v)
{
	const __m512i x = _mm512_castps_si512(v), odd = _mm512_and_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(1));
	__m512i y = _mm512_add_epi32(x, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));

	y = _mm512_mask_or_epi32(y, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), x, _mm512_set1_epi32(0x400000));
	_mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(_mm512_srli_epi32(y, 16)));
}

static inline VFN void v_store_bytes(uint8_t *p, V v)
{
	_mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}

static bool is_supported(void)
{
	return __builtin_cpu_supports("avx512f");
}

#include "engine/rows.inc"

const struct kerf_rows kerf_rows_avx512 = ROWS_TABLE("avx512", is_supported);
