/*
 * pointwise: 1x1 convolution of bytes into bytes by our own loops, for AVX-512 with VNNI, where sums
 * are so short that turning them into bytes is much of the work.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* y = limited(sum * scale + bias), rounded to even. x: [pixels, depth], y: [pixels, channels]. */
struct kerf_pointwise {
	int64_t pixels, depth, channels;
	bool from_signed, to_signed; /* s8 rather than u8 */
	int least, most;
};

#define KERF_POINTWISE_BLOCK 64 /* channels */
/* depth is a multiple of 4 and no more than this */
#define KERF_POINTWISE_DEPTH 128

size_t kerf_pointwise_weight_bytes(const struct kerf_pointwise *p);
/* floats of both vectors */
size_t kerf_pointwise_vector_floats(const struct kerf_pointwise *p);
/* [channels, depth], and scales and biases in units of the result, into zeros */
void kerf_pointwise_pack(const struct kerf_pointwise *p, const int8_t *weights, const float *scales,
	const float *bias, int8_t *to_weights, float *to_vectors);
