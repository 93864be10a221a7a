/*
 * depthwise: depthwise convolutions of f32, of bf16 and of bytes by our own loops, for AVX-512. NHWC, square
 * windows of 3 or 5.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "graph/graph.h"

enum kerf_depthwise_type {
	KERF_DEPTHWISE_F32,
	KERF_DEPTHWISE_BF16,
	KERF_DEPTHWISE_U8,
	KERF_DEPTHWISE_S8
};

/* y = limited(sum * scale + bias), rounded to even where y is narrower than f32. pads: top, left. */
struct kerf_depthwise {
	int64_t n, h, w, c, out_h, out_w;
	int width;          /* channels of a group, read and written: 1, with f32 also 2, 4, 8 or 16 */
	int kernel, stride; /* 3 or 5; 1 or 2; both ways */
	int pads[2];
	enum kerf_depthwise_type from, to; /* f32 to f32, bf16 to bf16 or f32, bytes to bytes or f32 */
	float lo, hi;                      /* limits of f32 and bf16, */
	enum kerf_act_kind act;            /* and what f32 takes along beside them (kerf_direct_takes_along) */
	int least, most;                   /* of bytes */
};

/*
 * depthwise.inc for f32 and bf16, sums are f32. 16 channels are a block, the last one with zeros: biases, then weights, of bf16
 * too as f32.
 */
#define KERF_DEPTHWISE_BLOCK 16
#define KERF_DEPTHWISE_ROWS 2 /* of a tile, */
#define KERF_DEPTHWISE_PLACES 7 /* and beside each other: maps are mostly multiples of 7 wide */
int64_t kerf_depthwise_block_floats(const struct kerf_depthwise *d);
size_t kerf_depthwise_bytes(const struct kerf_depthwise *d);
/* [c, width, kernel, kernel], rounded where they are multiplied with bf16, and c biases or NULL, into zeros of so many bytes */
void kerf_depthwise_pack(const struct kerf_depthwise *d, const float *weights, const float *bias, float *to);
/* With more constants than a third of the first cache, some channels of all places come before the next ones. */
#define KERF_DEPTHWISE_CONSTANTS (16 << 10)
/* Whether its tiles of several places go with this map. */
bool kerf_depthwise_is_wide(const struct kerf_depthwise *d);
/* Whether they are faster than oneDNN. */
bool kerf_depthwise_f32_suits(const struct kerf_depthwise *d);
bool kerf_depthwise_bf16_supported(void);

/* grouped.c: whether it is better at a convolution of groups for which kerf_depthwise_f32_suits holds; as many bytes. */
bool kerf_grouped_suits(const struct kerf_depthwise *d);
void kerf_grouped_pack(const struct kerf_depthwise *d, const float *weights, const float *bias, float *to);

/*
 * depthwise_int8.c, with VNNI. So many channels are a block, the last one with zeros: weights of so
 * many bytes, then as many scales, and as many biases.
 */
#define KERF_DEPTHWISE_INT8_BLOCK 64
size_t kerf_depthwise_int8_blocks(int64_t channels);
size_t kerf_depthwise_int8_weight_bytes(int kernel);
/* [c, kernel, kernel] into blocks of zeros */
void kerf_depthwise_int8_pack(const struct kerf_depthwise *d, const int8_t *from, int8_t *to);
/* Scales and biases in units of the result. */
void kerf_depthwise_int8_pack_vectors(const struct kerf_depthwise *d, const int8_t *weights,
	const float *scales, const float *bias, float *to);
