/* depthwise.inc for bf16, into bf16 or f32. */
#include "engine/depthwise.h"

#include <immintrin.h>

#define VALUE uint16_t
#define GROUPS 0
#define KERNEL                                                                                     \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"),                             \
		no_sanitize("address", "undefined")))

KERNEL static inline __m512 load(const uint16_t *from, __mmask16 channels)
{
	const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(channels, from));

	return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

KERNEL static inline void store(
	const struct kerf_depthwise *d, void *y, int64_t at, __mmask16 channels, bool whole, __m512 sum)
{
	if (d->to == KERF_DEPTHWISE_F32)
		_mm512_mask_storeu_ps((float *)y + at, channels, sum);
	else
		_mm256_mask_storeu_epi16((uint16_t *)y + at, channels, (__m256i)_mm512_cvtneps_pbh(sum));
}

/* Other activations are steps of their own. */
KERNEL static inline __m512 limit(const struct kerf_depthwise *d, __m512 lo, __m512 hi, __m512 sum)
{
	return _mm512_min_ps(hi, _mm512_max_ps(lo, sum));
}

KERNEL static inline void finish(const struct kerf_depthwise *d, void *y, int64_t at, int places, __mmask16 channels)
{
}

#include "engine/depthwise.inc"

void kerf_step_depthwise_bf16(const struct step *s, float *const *data, unsigned team)
{
	run_depthwise(s, data, team);
}
