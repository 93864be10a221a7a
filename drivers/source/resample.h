/*
 * resample: any rectangle of a packed 8-bit picture, to any size, by a triangle filter.
 *
 *	struct kerf_resample_axis x = {0}, y = {0};
 *	kerf_resample_plan(&x, 1280, 224, 325, 955);    // columns 325..955 to 224
 *	kerf_resample_plan(&y, 720, 224, 45, 675);
 *	kerf_resample(&x, &y, pixels, stride, 3, scratch, out);
 *
 * The filter is bilinear when it enlarges and widens by the ratio when it shrinks, so that every
 * pixel counts ("antialias" in Pillow and torchvision). Edges of the rectangle need not be whole
 * numbers: swscale, which takes whole pixels only, put a 90 % crop of 224 pixels (201.6) up to 0.6
 * pixels away, where expected network inputs differ by one to five levels. The order of the
 * operations is fixed: every machine gets the same pixels.
 */
#pragma once

#include "core/core.h"

/* Which inputs make each output, and how much of each. */
struct kerf_resample_axis {
	unsigned n_in, n_out;
	double from, to;
	unsigned taps;   /* weights of an output; unused ones are 0 */
	unsigned *first; /* [n_out] input of the first weight; first + taps <= n_in */
	float *weights;  /* [n_out][taps], the sum over taps is 1 */
};

/*
 * Inputs are unit intervals [i, i+1) of [0, n_in]; [from, to) of it becomes n_out outputs. Keeps
 * the plan that the axis holds if it is this one. 0 <= from < to <= n_in. 0 or -ENOMEM.
 */
int kerf_resample_plan(struct kerf_resample_axis *a, unsigned n_in, unsigned n_out, double from,
	double to);
void kerf_resample_release(struct kerf_resample_axis *a);

/* Floats that kerf_resample needs as scratch. */
size_t kerf_resample_scratch(const struct kerf_resample_axis *x,
	const struct kerf_resample_axis *y, unsigned channels);

/* src: y->n_in rows, stride bytes apart, of x->n_in pixels; dst is dense. channels: 1, 3 or 4. */
void kerf_resample(const struct kerf_resample_axis *x, const struct kerf_resample_axis *y,
	const uint8_t *src, ptrdiff_t stride, unsigned channels, float *scratch, uint8_t *dst);
