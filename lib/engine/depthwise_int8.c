/*
 * Depthwise convolution of bytes for AVX-512 with VNNI, where oneDNN uses a third of what f32 could. NHWC, square windows
 * of 3 or 5, of 64 channels at once.
 *
 * VPDPBUSD adds four products of bytes that lie side by side. Four rows of a window are interleaved so that they do, once
 * for all places of the output that the column serves; missing rows have weights of 0. Interleaving leaves the channels in
 * another order (element j of vector v is channel 16 * (j / 4) + 4 * v + j % 4), in which the weights, scales and
 * biases lie as well; narrowing the sums to bytes undoes it.
 *
 * It multiplies unsigned by signed bytes: 128 is added to signed inputs, and 128 times the weights is part of the bias.
 */
#include "engine/depthwise.h"

#include <immintrin.h>
#include <string.h>

#include "engine/internal.h"
#include "engine/vnni.h"

#define KERNEL                                                                                     \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"), no_sanitize("address", "undefined")))
#define INLINE KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#define CHANNELS KERF_DEPTHWISE_INT8_BLOCK
#define VECTORS 4 /* of 16 sums */
#define PLACES 4  /* of a tile, beside each other */
#define ROWS 4    /* whose products one instruction adds */

/* What a tile of 64 channels reads. A row or column outside the image is zeros. */
struct tile {
	const struct kerf_depthwise *d;
	const uint8_t *x; /* the image, from the first of the channels on */
	int64_t iy, ix;   /* of the window's first place, which may be outside */
	__mmask64 channels;
	const int8_t *weights;
	const float *scales, *biases;
};

INLINE __m512i load(const struct tile *t, int64_t y, int64_t x, bool inside, __m512i flip)
{
	const struct kerf_depthwise *d = t->d;

	if (!inside && (y < 0 || y >= d->h || x < 0 || x >= d->w))
		return flip;
	return _mm512_xor_si512(_mm512_maskz_loadu_epi8(t->channels, t->x + (y * d->w + x) * d->c), flip);
}

/* Rows a to d of a column as dwords of a byte each. */
INLINE void interleave(__m512i a, __m512i b, __m512i c, __m512i d, __m512i to[VECTORS])
{
	const __m512i ab_lo = _mm512_unpacklo_epi8(a, b), ab_hi = _mm512_unpackhi_epi8(a, b);
	const __m512i cd_lo = _mm512_unpacklo_epi8(c, d), cd_hi = _mm512_unpackhi_epi8(c, d);

	to[0] = _mm512_unpacklo_epi16(ab_lo, cd_lo);
	to[1] = _mm512_unpackhi_epi16(ab_lo, cd_lo);
	to[2] = _mm512_unpacklo_epi16(ab_hi, cd_hi);
	to[3] = _mm512_unpackhi_epi16(ab_hi, cd_hi);
}

/* Sums of `places` windows beside each other. */
INLINE void sum_tile(const struct tile *t, const int kernel, const int stride, const int places, const bool inside,
	__m512i sum[PLACES][VECTORS])
{
	const __m512i flip = _mm512_set1_epi8(t->d->from == KERF_DEPTHWISE_S8 ? -128 : 0);
	const int quads = (kernel + ROWS - 1) / ROWS;

	UNROLL for (int p = 0; p < places; p++)
		UNROLL for (int v = 0; v < VECTORS; v++) sum[p][v] = _mm512_setzero_si512();
	UNROLL for (int q = 0; q < quads; q++)
	{
		UNROLL for (int column = 0; column < (places - 1) * stride + kernel; column++)
		{
			__m512i x[ROWS], mixed[VECTORS];

			UNROLL for (int r = 0; r < ROWS; r++) x[r] = q * ROWS + r < kernel
				? load(t, t->iy + q * ROWS + r, t->ix + column, inside, flip)
				: _mm512_setzero_si512();
			interleave(x[0], x[1], x[2], x[3], mixed);
			UNROLL for (int p = 0; p < places; p++)
			{
				const int kx = column - p * stride;

				if (kx < 0 || kx >= kernel)
					continue;
				const int8_t *w = t->weights + (q * kernel + kx) * VECTORS * 64;
				UNROLL for (int v = 0; v < VECTORS; v++)
					sum[p][v] = vnni_add(sum[p][v], mixed[v], _mm512_loadu_si512(w + v * 64));
			}
		}
	}
}

INLINE __m512 scaled(const struct tile *t, __m512i sum, int v)
{
	return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(t->scales + 16 * v), _mm512_loadu_ps(t->biases + 16 * v));
}

INLINE void store_bytes(const struct tile *t, const __m512i sum[VECTORS], uint8_t *y)
{
	const struct kerf_depthwise *d = t->d;
	__m512i word[2], whole[VECTORS], bytes;

	UNROLL for (int v = 0; v < VECTORS; v++) whole[v] = _mm512_cvtps_epi32(scaled(t, sum[v], v));
	UNROLL for (int v = 0; v < 2; v++) word[v] = _mm512_packs_epi32(whole[2 * v], whole[2 * v + 1]);
	if (d->to == KERF_DEPTHWISE_U8) {
		bytes = _mm512_packus_epi16(word[0], word[1]);
		bytes = _mm512_min_epu8(_mm512_set1_epi8((char)d->most), _mm512_max_epu8(_mm512_set1_epi8((char)d->least), bytes));
	} else {
		bytes = _mm512_packs_epi16(word[0], word[1]);
		bytes = _mm512_min_epi8(_mm512_set1_epi8((char)d->most), _mm512_max_epi8(_mm512_set1_epi8((char)d->least), bytes));
	}
	_mm512_mask_storeu_epi8(y, t->channels, bytes);
}

INLINE void store_floats(const struct tile *t, const __m512i sum[VECTORS], float *y)
{
	const struct kerf_depthwise *d = t->d;
	const __m512 lo = _mm512_set1_ps(d->lo), hi = _mm512_set1_ps(d->hi);
	__m512 a[VECTORS], b[VECTORS];

	UNROLL for (int v = 0; v < VECTORS; v++) a[v] = _mm512_min_ps(hi, _mm512_max_ps(lo, scaled(t, sum[v], v)));
	/* a 4 x 4 matrix of 128 bits each is transposed */
	b[0] = _mm512_shuffle_f32x4(a[0], a[1], 0x44);
	b[1] = _mm512_shuffle_f32x4(a[0], a[1], 0xee);
	b[2] = _mm512_shuffle_f32x4(a[2], a[3], 0x44);
	b[3] = _mm512_shuffle_f32x4(a[2], a[3], 0xee);
	a[0] = _mm512_shuffle_f32x4(b[0], b[2], 0x88);
	a[1] = _mm512_shuffle_f32x4(b[0], b[2], 0xdd);
	a[2] = _mm512_shuffle_f32x4(b[1], b[3], 0x88);
	a[3] = _mm512_shuffle_f32x4(b[1], b[3], 0xdd);
	UNROLL for (int v = 0; v < VECTORS; v++) _mm512_mask_storeu_ps(y + 16 * v, (__mmask16)(t->channels >> (16 * v)), a[v]);
}

INLINE void run_tile(const struct tile *t, void *y, const int kernel, const int stride, const int places, const bool inside)
{
	__m512i sum[PLACES][VECTORS];

	sum_tile(t, kernel, stride, places, inside, sum);
	UNROLL for (int p = 0; p < places; p++)
	{
		if (t->d->to == KERF_DEPTHWISE_F32)
			store_floats(t, sum[p], (float *)y + p * t->d->c);
		else
			store_bytes(t, sum[p], (uint8_t *)y + p * t->d->c);
	}
}

#define TILE(kernel, stride)                                                                       \
	KERNEL static void tile_##kernel##_##stride(const struct tile *t, void *y, int places, bool inside) \
	{                                                                                          \
		switch (places + (inside ? PLACES : 0)) {                                          \
		case 1: run_tile(t, y, kernel, stride, 1, false); break;                           \
		case 2: run_tile(t, y, kernel, stride, 2, false); break;                           \
		case 3: run_tile(t, y, kernel, stride, 3, false); break;                           \
		case PLACES: run_tile(t, y, kernel, stride, PLACES, false); break;                 \
		case 2 * PLACES: run_tile(t, y, kernel, stride, PLACES, true); break;              \
		}                                                                                  \
	}
TILE(3, 1)
TILE(3, 2)
TILE(5, 1)
TILE(5, 2)

typedef void (*tile_fn)(const struct tile *t, void *y, int places, bool inside);

static tile_fn choose_tile(const struct kerf_depthwise *d)
{
	if (d->kernel == 3)
		return d->stride == 1 ? tile_3_1 : tile_3_2;
	return d->stride == 1 ? tile_5_1 : tile_5_2;
}

/* One row of the output. */
static void run_row(const struct kerf_depthwise *d, const uint8_t *x, const int8_t *weights, const float *vectors, int64_t oy,
	uint8_t *y)
{
	const size_t width = d->to == KERF_DEPTHWISE_F32 ? sizeof(float) : 1;
	const tile_fn run = choose_tile(d);
	struct tile t = {.d = d, .iy = oy * d->stride - d->pads[0]};
	const bool rows_inside = t.iy >= 0 && t.iy + d->kernel <= d->h;

	for (int64_t ox = 0, places; ox < d->out_w; ox += places) {
		places = KERF_MIN(d->out_w - ox, PLACES);
		t.ix = ox * d->stride - d->pads[1];
		const bool inside = places == PLACES && rows_inside && t.ix >= 0 && t.ix + (places - 1) * d->stride + d->kernel <= d->w;

		for (int64_t c = 0, block = 0; c < d->c; c += CHANNELS, block++) {
			t.x = x + c;
			t.channels = d->c - c >= CHANNELS ? ~(__mmask64)0 : ((__mmask64)1 << (d->c - c)) - 1;
			t.weights = weights + block * (int64_t)kerf_depthwise_int8_weight_bytes(d->kernel);
			t.scales = vectors + block * 2 * CHANNELS;
			t.biases = t.scales + CHANNELS;
			run(&t, y + (size_t)(ox * d->c + c) * width, (int)places, inside);
		}
	}
}

static void depthwise_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_depthwise *d = &s->depthwise;
	const size_t width = d->to == KERF_DEPTHWISE_F32 ? sizeof(float) : 1;
	const void *x = data[1], *weights = data[2];
	void *y = data[0];

	for (int64_t i = from; i < to; i++)
		run_row(d, (const uint8_t *)x + i / d->out_h * d->h * d->w * d->c, weights, data[3], i % d->out_h,
			(uint8_t *)y + (size_t)(i * d->out_w * d->c) * width);
}

void kerf_step_depthwise_int8(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->depthwise.n * s->depthwise.out_h, depthwise_part);
}

/* ---- constants ---- */

size_t kerf_depthwise_int8_weight_bytes(int kernel)
{
	return (size_t)((kernel + ROWS - 1) / ROWS * kernel * VECTORS * 64);
}

size_t kerf_depthwise_int8_blocks(int64_t channels)
{
	return (size_t)((channels + CHANNELS - 1) / CHANNELS);
}

/* Where channel c lies among the 64 of its block. */
static int64_t place_of(int64_t c)
{
	const int64_t lane = c % 16;

	return lane / 4 * 16 + c / 16 * 4 + lane % 4;
}

void kerf_depthwise_int8_pack(const struct kerf_depthwise *d, const int8_t *from, int8_t *to)
{
	const int k = d->kernel;

	for (int64_t c = 0; c < d->c; c++) {
		int8_t *block = to + c / CHANNELS * (int64_t)kerf_depthwise_int8_weight_bytes(k);

		for (int ky = 0; ky < k; ky++)
			for (int kx = 0; kx < k; kx++)
				block[((ky / ROWS * k + kx) * CHANNELS + place_of(c % CHANNELS)) * ROWS + ky % ROWS] =
					from[(c * k + ky) * k + kx];
	}
}

void kerf_depthwise_int8_pack_vectors(
	const struct kerf_depthwise *d, const int8_t *weights, const float *scales, const float *bias, float *to)
{
	const int area = d->kernel * d->kernel;

	for (int64_t c = 0; c < d->c; c++) {
		float *at = to + c / CHANNELS * 2 * CHANNELS + place_of(c % CHANNELS);
		int sum = 0;

		for (int i = 0; i < area; i++)
			sum += weights[c * area + i];
		at[0] = scales[c];
		at[CHANNELS] = bias[c] - (d->from == KERF_DEPTHWISE_S8 ? 128.0f * (float)sum * scales[c] : 0);
	}
}
