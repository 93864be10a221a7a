/*
 * codec: activation values <-> bytes on the wire, in one pass, block by block.
 *
 *	const struct kerf_codec_info *q = kerf_codec_info(KERF_CODEC_F32);
 *	kerf_codec_encode(KERF_CODEC_F32, values, 16, payload);   // one block
 *
 * A block is the smallest unit that decodes alone. A tensor of n values is ceil(n/block_values)
 * blocks; the last one may carry fewer values and is then cut short. No allocation, no state; every
 * function may run on any thread, and gives the same bytes and values on every machine.
 *
 * bf16: each value rounded to nearest, ties to even; NaN stays NaN.
 *
 * q8, q4: symmetric levels of a scale s that is the block's own: value = level x s, rounded to
 * nearest, levels -127 to 127 and -7 to 7. s is the largest finite magnitude / 127 (an f32), or / 7
 * rounded up to a bf16. So a value is off by at most s/2 (q4: of its rounded s). Infinities become
 * the largest level, NaN becomes 0, magnitudes above 2^127 saturate, and a block whose magnitudes
 * are all below 2^-119 is zeros. A scale that no encoder sends counts as 0: whatever bytes arrive,
 * q8 and q4 decode to finite values. Layout: s, then a signed byte a value; or s, then values i and
 * i + 16 plus 8 in the low and the high half of byte i (a short block of up to 16 values leaves the
 * high halves 8).
 */
#pragma once

#include "core/core.h"

/* Numbers are the wire's. */
enum kerf_codec {
	KERF_CODEC_F32 = 0, /* IEEE binary32, little endian: 16 values a block */
	KERF_CODEC_U8 = 1,  /* raw pixels, cut 0 only: 64 values a block */
	KERF_CODEC_BF16 = 2, /* the upper half of an f32: 32 values a block of 64 bytes */
	KERF_CODEC_Q8 = 3,   /* 64 values a block of 68 bytes */
	KERF_CODEC_Q4 = 4,   /* 32 values a block of 18 bytes */
	KERF_CODEC_JPEG = 5, /* the file that a picture comes from, cut 0 only: 64 bytes a block */
	KERF_CODEC_COUNT
};

struct kerf_codec_info {
	const char *name;
	unsigned block_values;
	unsigned block_bytes;
	bool lossless; /* decode(encode(x)) == x for every x that may be sent with it */
	bool is_bytes; /* what it carries are bytes as they are, of a picture: at cut 0 only */
	bool own_length; /* and the message says how many, not the tensor */
};

/* NULL for a number that is no codec. */
const struct kerf_codec_info *kerf_codec_info(unsigned codec);
/* Codec of a name, or -EINVAL. */
int kerf_codec_by_name(const char *name);

/* Bytes that n values take on the wire. */
size_t kerf_codec_bytes(enum kerf_codec codec, size_t n);

/*
 * How pixels become network inputs: value = pixel * scale[channel] + bias[channel]; channels are
 * innermost (NHWC). Both ends must hold the same numbers (they travel in HELLO).
 */
struct kerf_pixel_format {
	uint32_t channels; /* 1 to 4; 0 = no pixel input */
	float scale[4], bias[4];
};

/*
 * u8 pixels -> f32 inputs for values [first, first + n) of a picture; dst is the place of value
 * `first`. Every path (local, remote) uses this one function, so inputs are bit-equal.
 */
void kerf_pixels_to_f32(const struct kerf_pixel_format *f, const uint8_t *src, size_t first,
	size_t n, float *dst);

/* f32 values -> blocks. n is a multiple of block_values except at a tensor's end. */
void kerf_codec_encode(enum kerf_codec codec, const float *src, size_t n, void *dst);
void kerf_codec_decode(enum kerf_codec codec, const void *src, size_t n, float *dst);
/* values = decode(encode(values)): what arrives when they are sent. */
void kerf_codec_round_trip(enum kerf_codec codec, float *values, size_t n);
