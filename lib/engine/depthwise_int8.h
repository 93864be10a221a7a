/* depthwise_int8: depthwise convolution of bytes by our own loops, for AVX-512 with VNNI. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kerf_depthwise_to { KERF_DEPTHWISE_F32, KERF_DEPTHWISE_U8, KERF_DEPTHWISE_S8 };

/* y = limited(sum * scale + bias), rounded to even where y is bytes. pads: top, left. */
struct kerf_depthwise {
	int64_t n, h, w, c, out_h, out_w;
	int kernel, stride; /* 3 or 5; 1 or 2; both ways */
	int pads[2];
	bool is_signed; /* x: s8 rather than u8 */
	enum kerf_depthwise_to to;
	float lo, hi;    /* limits of f32 */
	int least, most; /* of bytes */
};

bool kerf_depthwise_supported(void);

/* So many channels are a block, the last one with zeros: weights of so many bytes, then as many scales, and as many biases. */
#define KERF_DEPTHWISE_BLOCK 64
size_t kerf_depthwise_blocks(int64_t channels);
size_t kerf_depthwise_weight_bytes(int kernel);
/* [c, kernel, kernel] into blocks of zeros */
void kerf_depthwise_pack(const struct kerf_depthwise *d, const int8_t *from, int8_t *to);
/* Scales and biases in units of the result. */
void kerf_depthwise_pack_vectors(
	const struct kerf_depthwise *d, const int8_t *weights, const float *scales, const float *bias, float *to);
