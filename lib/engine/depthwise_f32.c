/* depthwise.inc for f32. */
#include "engine/depthwise.h"

#include <immintrin.h>

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

#include "engine/depthwise.inc"

void kerf_step_depthwise_f32(const struct step *s, float *const *data, unsigned team)
{
	run_depthwise(s, data, team);
}
