/*
 * quant: the twins behind bf16, q8 and q4, for the tests that compare them. All twins give the same
 * bytes and the same values for every input, whatever its bits.
 */
#pragma once

#include "codec/codec.h"

#define Q8_VALUES 64
#define Q8_BYTES (4 + Q8_VALUES)
#define Q4_VALUES 32
#define Q4_BYTES (2 + Q4_VALUES / 2)
#define BF16_VALUES 32

/* Whole blocks only; what is left at a tensor's end is the scalar twin's (kerf_quant_tail_*). */
struct quant_kernel {
	const char *name;
	bool (*supported)(void);
	void (*bf16_encode)(const float *src, size_t n_blocks, uint8_t *dst);
	void (*bf16_decode)(const uint8_t *src, size_t n_blocks, float *dst);
	void (*q8_encode)(const float *src, size_t n_blocks, uint8_t *dst);
	void (*q8_decode)(const uint8_t *src, size_t n_blocks, float *dst);
	void (*q4_encode)(const float *src, size_t n_blocks, uint8_t *dst);
	void (*q4_decode)(const uint8_t *src, size_t n_blocks, float *dst);
};

/* Best first; the last one, "scalar", always runs. */
extern const struct quant_kernel *const kerf_quant_kernels[];
extern const unsigned kerf_quant_n_kernels;
extern const struct quant_kernel kerf_quant_avx512, kerf_quant_avx2, kerf_quant_scalar;

/*
 * Blocks in groups of 8, whose scales are found together: one block alone would wait for its maximum and
 * then for a division. A group with a value that saturates or is no number is refused and goes block by block.
 */
#define QUANT_GROUP 8

struct quant_scales {
	uint32_t scale[QUANT_GROUP]; /* bits of the float */
	float inverse[QUANT_GROUP];
};

struct quant_groups {
	size_t values, bytes; /* of a block */
	bool (*find)(const float *src, struct quant_scales *s);
	void (*write)(const float *src, const struct quant_scales *s, uint8_t *dst);
	void (*blocks)(const float *src, size_t n_blocks, uint8_t *dst);
};

/* Always part of its caller, whose instruction set it gets. The next group's scales are found before this one is
 * written, so that waiting for them costs nothing. */
static inline __attribute__((always_inline)) void quant_encode_groups(
	struct quant_groups g, const float *src, size_t n_blocks, uint8_t *dst)
{
	struct quant_scales s[2];
	bool good = n_blocks >= QUANT_GROUP && g.find(src, &s[0]);

	for (unsigned i = 0; n_blocks >= QUANT_GROUP; n_blocks -= QUANT_GROUP, i ^= 1) {
		const float *next = src + QUANT_GROUP * g.values;
		const bool next_good = n_blocks >= 2 * QUANT_GROUP && g.find(next, &s[i ^ 1]);

		if (good)
			g.write(src, &s[i], dst);
		else
			g.blocks(src, QUANT_GROUP, dst);
		good = next_good;
		src = next;
		dst += QUANT_GROUP * g.bytes;
	}
	g.blocks(src, n_blocks, dst);
}

/* A short block of n values, below the codec's. */
void kerf_quant_tail_q8_encode(const float *src, size_t n, uint8_t *dst);
void kerf_quant_tail_q8_decode(const uint8_t *src, size_t n, float *dst);
void kerf_quant_tail_q4_encode(const float *src, size_t n, uint8_t *dst);
void kerf_quant_tail_q4_decode(const uint8_t *src, size_t n, float *dst);
void kerf_quant_tail_bf16_encode(const float *src, size_t n, uint8_t *dst);
void kerf_quant_tail_bf16_decode(const uint8_t *src, size_t n, float *dst);

/* ---- a block's scale, the same in every twin ---- */

#define QUANT_INF 0x7f800000u /* bits of |x| from here on: infinite or NaN */
#define QUANT_SMALLEST 0x1p-119f /* a block of smaller magnitudes is all zeros */
#define QUANT_LARGEST 0x1p127f /* larger magnitudes saturate */
#define QUANT_SCALE_MAX 0x1.04p120f /* no larger scale is ever sent: 128 of it are finite */
#define QUANT_Q4_SCALE_MAX 0x1.28p124f

static inline uint32_t quant_bits(float v)
{
	union {
		float f;
		uint32_t u;
	} x = {.f = v};

	return x.u;
}

static inline float quant_float(uint32_t u)
{
	union {
		uint32_t u;
		float f;
	} x = {.u = u};

	return x.f;
}

/* Scale and its inverse from the bits of the largest finite magnitude; both 0 for a block of zeros. */
static inline void quant_scale_q8(uint32_t largest, float *scale, float *inverse)
{
	float top = quant_float(largest);

	*scale = *inverse = 0;
	if (top < QUANT_SMALLEST)
		return;
	top = top < QUANT_LARGEST ? top : QUANT_LARGEST;
	*scale = top / 127;
	*inverse = 127 / top;
}

/* The same with 7 steps; the scale is a bf16, rounded up so that the largest value fits. */
static inline uint16_t quant_scale_q4(uint32_t largest, float *inverse)
{
	float top = quant_float(largest);

	*inverse = 0;
	if (top < QUANT_SMALLEST)
		return 0;
	top = top < QUANT_LARGEST ? top : QUANT_LARGEST;
	uint32_t bits = quant_bits(top / 7) + 0xffff;
	*inverse = 1 / quant_float(bits & 0xffff0000u);
	return (uint16_t)(bits >> 16);
}

/* What a receiver makes of a scale: none that an encoder sends is changed, every other one is 0. */
static inline float quant_check(float scale, float most)
{
	return scale >= 0 && scale <= most ? scale : 0;
}

/* Round to nearest, ties to even; a NaN stays one. */
static inline uint16_t quant_bf16(uint32_t bits)
{
	if ((bits & 0x7fffffffu) > QUANT_INF)
		return (uint16_t)(bits >> 16 | 0x40);
	return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
