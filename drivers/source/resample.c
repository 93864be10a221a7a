#include "source/resample.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void kerf_resample_release(struct kerf_resample_axis *a)
{
	free(a->first);
	free(a->weights);
	*a = (struct kerf_resample_axis){0};
}

/* Weights of one output around `center`; the filter reaches `support` to either side. */
static void plan_output(struct kerf_resample_axis *a, unsigned out, double center, double support)
{
	float *weights = a->weights + (size_t)out * a->taps;
	double sum = 0, first = floor(center - support);

	first = fmax(0, fmin(first, (double)a->n_in - a->taps));
	a->first[out] = (unsigned)first;
	for (unsigned t = 0; t < a->taps; t++)
		sum += fmax(0, 1 - fabs((first + t + 0.5 - center) / support));
	for (unsigned t = 0; t < a->taps; t++) {
		double weight = fmax(0, 1 - fabs((first + t + 0.5 - center) / support));
		weights[t] = (float)(weight / sum);
	}
}

int kerf_resample_plan(struct kerf_resample_axis *a, unsigned n_in, unsigned n_out, double from,
	double to)
{
	assert(n_in && n_out && from >= 0 && from < to && to <= n_in);
	if (a->first && a->n_in == n_in && a->n_out == n_out && a->from == from && a->to == to)
		return 0;
	kerf_resample_release(a);
	double step = (to - from) / n_out, support = fmax(step, 1);
	double reach = fmin(2 * ceil(support) + 1, n_in);
	*a = (struct kerf_resample_axis){n_in, n_out, from, to, .taps = (unsigned)reach};
	a->first = calloc(n_out, sizeof(*a->first));
	a->weights = calloc((size_t)n_out * a->taps, sizeof(*a->weights));
	if (!a->first || !a->weights) {
		kerf_resample_release(a);
		return -ENOMEM;
	}
	for (unsigned out = 0; out < n_out; out++)
		plan_output(a, out, from + (out + 0.5) * step, support);
	return 0;
}

/* Rows that any output needs are [*first, *end). */
static void needed_rows(const struct kerf_resample_axis *y, unsigned *first, unsigned *end)
{
	*first = y->first[0];
	*end = y->first[y->n_out - 1] + y->taps;
}

size_t kerf_resample_scratch(const struct kerf_resample_axis *x,
	const struct kerf_resample_axis *y, unsigned channels)
{
	unsigned first, end;

	needed_rows(y, &first, &end);
	/* One more row: the sum that becomes a row of the output. */
	return (size_t)(end - first + 1) * x->n_out * channels;
}

/* Inlined with a constant number of channels, which lets the inner loop unroll. */
static inline __attribute__((always_inline)) void resample_packed(
	const struct kerf_resample_axis *x, const uint8_t *src, unsigned channels, float *row)
{
	for (unsigned out = 0; out < x->n_out; out++) {
		const float *weights = x->weights + (size_t)out * x->taps;
		const uint8_t *pixel = src + (size_t)x->first[out] * channels;
		float sum[4] = {0};
		for (unsigned t = 0; t < x->taps; t++)
			for (unsigned c = 0; c < channels; c++)
				sum[c] += weights[t] * (float)*pixel++;
		for (unsigned c = 0; c < channels; c++)
			*row++ = sum[c];
	}
}

static void resample_row(const struct kerf_resample_axis *x, const uint8_t *src, unsigned channels,
	float *row)
{
	switch (channels) {
	case 1: resample_packed(x, src, 1, row); break;
	case 3: resample_packed(x, src, 3, row); break;
	case 4: resample_packed(x, src, 4, row); break;
	default: assert(!"channels are 1, 3 or 4");
	}
}

/* Weights are positive with sum 1, so a sum leaves 0..255 by rounding errors only. */
static void round_row(const float *sum, size_t n, uint8_t *dst)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = (uint8_t)(KERF_MIN(sum[i], 255.0f) + 0.5f);
}

void kerf_resample(const struct kerf_resample_axis *x, const struct kerf_resample_axis *y,
	const uint8_t *src, ptrdiff_t stride, unsigned channels, float *scratch, uint8_t *dst)
{
	size_t width = (size_t)x->n_out * channels;
	float *sum = scratch, *rows = scratch + width;
	unsigned first, end;

	needed_rows(y, &first, &end);
	for (unsigned i = first; i < end; i++)
		resample_row(x, src + (ptrdiff_t)i * stride, channels, rows + (i - first) * width);
	for (unsigned out = 0; out < y->n_out; out++, dst += width) {
		memset(sum, 0, width * sizeof(*sum));
		for (unsigned t = 0; t < y->taps; t++) {
			float weight = y->weights[(size_t)out * y->taps + t];
			const float *row = rows + (y->first[out] - first + t) * width;
			for (size_t i = 0; i < width; i++)
				sum[i] += weight * row[i];
		}
		round_row(sum, width, dst);
	}
}
