/* depthwise.inc for f32. */
#include "engine/depthwise.h"

#include "engine/words_avx512.h"

#include "engine/swish.inc"

#define VALUE float
#define GROUPS 1
#define KERNEL __attribute__((target("avx512f"), no_sanitize("address", "undefined")))

KERNEL static inline __m512 load(const float *from, __mmask16 channels)
{
	return _mm512_maskz_loadu_ps(channels, from);
}

KERNEL static inline void store(
	const struct kerf_depthwise *d, void *y, int64_t at, __mmask16 channels, bool whole, __m512 sum)
{
	float *to = (float *)y + at;

	if (whole) /* mostly: no mask is needed */
		_mm512_storeu_ps(to, sum);
	else
		_mm512_mask_storeu_ps(to, channels, sum);
}

KERNEL static inline __m512 limit(const struct kerf_depthwise *d, __m512 lo, __m512 hi, __m512 sum)
{
	return d->act == KERF_ACT_HARD_SWISH ? v_hard_swish(sum) : v_clip(sum, lo, hi);
}

KERNEL __attribute__((noinline)) static void finish(
	const struct kerf_depthwise *d, void *y, int64_t at, int places, __mmask16 channels)
{
	float *to = (float *)y + at;

	for (int p = 0; p < places; p++, to += d->c)
		_mm512_mask_storeu_ps(to, channels, v_silu(_mm512_maskz_loadu_ps(channels, to)));
}

#include "engine/depthwise.inc"

void kerf_step_depthwise_f32(const struct step *s, float *const *data, unsigned team)
{
	run_depthwise(s, data, team);
}
