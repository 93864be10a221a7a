/*
 * pixels: the twins behind kerf_pixels_to_f32, for the tests that compare them.
 *
 * Each computes float(src[i]) * scale[i % 48] + bias[i % 48], a rounded product and then a rounded
 * sum, so all of them give the same bits. 48 is the least common multiple of 1 to 4 channels
 * and of a vector of 16: one pattern serves every channel count and every register width.
 */
#pragma once

#include "codec/codec.h"

#define PIXEL_PATTERN 48

typedef void (*pixels_fn)(const float *scale, const float *bias, const uint8_t *src, size_t n,
	float *dst);

struct pixels_kernel {
	const char *name;
	pixels_fn run;
	bool (*supported)(void);
};

/* Best first; the last one, "scalar", always runs. */
extern const struct pixels_kernel kerf_pixels_kernels[];
extern const unsigned kerf_pixels_n_kernels;
