/*
 * 1x1 convolution of bytes. A tile is 6 pixels by 64 channels: VPDPBUSD adds four products of bytes
 * that lie side by side along the depth. It multiplies unsigned by signed bytes: 128 is added to
 * signed inputs, for some pixels at once, and 128 times the weights is part of the bias.
 */
#include "engine/pointwise.h"

#include <immintrin.h>
#include <string.h>

#include "engine/internal.h"
#include "engine/vnni.h"

#define KERNEL                                                                                     \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"),                             \
		no_sanitize("address", "undefined")))
#define INLINE KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

#define QUAD 4 /* products that one instruction adds */
#define LANES 16
#define CHANNELS KERF_POINTWISE_BLOCK /* the last block has as few vectors as will do */
#define VECTORS (CHANNELS / LANES)
#define PIXELS 6
#define CHUNK 48 /* pixels whose inputs stay in L1 while all weights pass */

struct tile {
	const struct kerf_pointwise *d;
	const uint8_t *x; /* the first pixel's */
	__mmask64 channels;
	const int8_t *weights;
	const float *scales, *biases;
};

INLINE __m512i dword(const uint8_t *from)
{
	int32_t four;

	memcpy(&four, from, sizeof(four));
	return _mm512_set1_epi32(four);
}

INLINE __m512i requantise(const struct tile *t, __m512i sum, int v)
{
	return _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(sum),
		_mm512_loadu_ps(t->scales + LANES * v), _mm512_loadu_ps(t->biases + LANES * v)));
}

INLINE void store(const struct tile *t, const __m512i whole[VECTORS], uint8_t *y)
{
	/* Packing leaves dword 4 * lane + v where v * 4 + lane is to be. */
	const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4,
		0);
	const struct kerf_pointwise *d = t->d;
	const __m512i least = _mm512_set1_epi8((char)d->least),
		      most = _mm512_set1_epi8((char)d->most);
	const __m512i low = _mm512_packs_epi32(whole[0], whole[1]),
		      high = _mm512_packs_epi32(whole[2], whole[3]);
	const __m512i bytes = d->to_signed
		? _mm512_min_epi8(most, _mm512_max_epi8(least, _mm512_packs_epi16(low, high)))
		: _mm512_min_epu8(most, _mm512_max_epu8(least, _mm512_packus_epi16(low, high)));

	_mm512_mask_storeu_epi8(y, t->channels, _mm512_permutexvar_epi32(order, bytes));
}

INLINE void run_tile(const struct tile *t, uint8_t *y, const int pixels, const int vectors)
{
	const int64_t depth = t->d->depth;
	const uint8_t *x = t->x;
	const int8_t *w = t->weights, *const end = w + depth * vectors * LANES;
	__m512i sum[PIXELS][VECTORS], weights[VECTORS];

	UNROLL for (int p = 0; p < pixels; p++) UNROLL for (int v = 0; v < vectors; v++)
		sum[p][v] = _mm512_setzero_si512();
	for (; w < end; w += vectors * LANES * QUAD, x += QUAD) {
		UNROLL for (int v = 0; v < vectors; v++)
			weights[v] = _mm512_loadu_si512(w + v * LANES * QUAD);
		UNROLL for (int p = 0; p < pixels; p++)
		{
			const __m512i four = dword(x + p * depth);

			UNROLL for (int v = 0; v < vectors; v++)
				sum[p][v] = vnni_add(sum[p][v], four, weights[v]);
		}
	}
	UNROLL for (int p = 0; p < pixels; p++)
	{
		__m512i whole[VECTORS];

		UNROLL for (int v = 0; v < VECTORS; v++) whole[v] = v < vectors
			? requantise(t, sum[p][v], v)
			: _mm512_setzero_si512();
		store(t, whole, y + p * t->d->channels);
	}
}

typedef void (*tile_fn)(const struct tile *t, uint8_t *y);

#define TILE(pixels, vectors)                                                                      \
	KERNEL static void tile_##pixels##_##vectors(const struct tile *t, uint8_t *y)             \
	{                                                                                          \
		run_tile(t, y, pixels, vectors);                                                   \
	}
TILE(1, 1)
TILE(1, 2)
TILE(1, 3)
TILE(1, 4)
TILE(6, 1)
TILE(6, 2)
TILE(6, 3)
TILE(6, 4)

/* of one pixel or of all of a tile's, and of so many vectors */
static const tile_fn tiles[2][VECTORS] = {{tile_1_1, tile_1_2, tile_1_3, tile_1_4},
	{tile_6_1, tile_6_2, tile_6_3, tile_6_4}};

static size_t block_bytes(const struct kerf_pointwise *d, int64_t vectors)
{
	return (size_t)(d->depth * vectors * LANES);
}

/* Some pixels, all channels. The last tile computes some again where the tiles do not fit. */
static void run_chunk(const struct kerf_pointwise *d, const uint8_t *x, const int8_t *weights,
	const float *vectors, int64_t pixels, uint8_t *y)
{
	const int64_t step = pixels < PIXELS ? 1 : PIXELS;
	struct tile t = {.d = d, .weights = weights, .scales = vectors};

	for (int64_t c = 0, left = d->channels; left > 0; c += CHANNELS, left -= CHANNELS) {
		const int n = (int)((KERF_MIN(left, CHANNELS) + LANES - 1) / LANES);
		const tile_fn run = tiles[step == PIXELS][n - 1];

		t.channels = left >= CHANNELS ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
		t.biases = t.scales + CHANNELS;
		for (int64_t from = 0; from < pixels; from += step) {
			const int64_t p = KERF_MIN(from, pixels - step);

			t.x = x + p * d->depth;
			run(&t, y + p * d->channels + c);
		}
		t.weights += block_bytes(d, n);
		t.scales = t.biases + CHANNELS;
	}
}

KERNEL static void add_128(const uint8_t *x, int64_t n, uint8_t *to)
{
	for (int64_t i = 0; i < n; i += 64) {
		const __mmask64 mask = n - i >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (n - i)) - 1;

		_mm512_storeu_si512(to + i,
			_mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, x + i),
				_mm512_set1_epi8(-128)));
	}
}

static void pointwise_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_pointwise *d = &s->pointwise;
	const int64_t chunks = (to - from + CHUNK - 1) / CHUNK;
	const void *x = data[1], *weights = data[2];
	void *y = data[0];
	uint8_t shifted[CHUNK * KERF_POINTWISE_DEPTH] __attribute__((aligned(64)));

	for (int64_t i = 0; i < chunks; i++) {
		const int64_t first = from + (to - from) * i / chunks,
			      n = from + (to - from) * (i + 1) / chunks - first;
		const uint8_t *in = (const uint8_t *)x + first * d->depth;

		if (d->from_signed) {
			add_128(in, n * d->depth, shifted);
			in = shifted;
		}
		run_chunk(d, in, weights, data[3], n, (uint8_t *)y + first * d->channels);
	}
}

void kerf_step_pointwise(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->pointwise.pixels, pointwise_part);
}

/* ---- constants ---- */

size_t kerf_pointwise_weight_bytes(const struct kerf_pointwise *d)
{
	return block_bytes(d, (d->channels + LANES - 1) / LANES);
}

size_t kerf_pointwise_vector_floats(const struct kerf_pointwise *d)
{
	return (size_t)((d->channels + CHANNELS - 1) / CHANNELS) * 2 * CHANNELS;
}

void kerf_pointwise_pack(const struct kerf_pointwise *d, const int8_t *weights, const float *scales,
	const float *bias, int8_t *to_weights, float *to_vectors)
{
	for (int64_t c = 0; c < d->channels; c++) {
		const int64_t first = c / CHANNELS * CHANNELS, lane = c - first;
		const int64_t row = KERF_MIN(CHANNELS,
			(d->channels - first + LANES - 1) / LANES * LANES); /* of the block */
		int8_t *block = to_weights + first * d->depth;
		float *vectors = to_vectors + 2 * first + lane;
		int sum = 0;

		for (int64_t k = 0; k < d->depth; k++) {
			const int8_t w = weights[c * d->depth + k];

			block[(k / QUAD * row + lane) * QUAD + k % QUAD] = w;
			sum += w;
		}
		vectors[0] = scales[c];
		vectors[CHANNELS] = bias[c] -
			(d->from_signed ? 128.0f * (float)sum * scales[c] : 0);
	}
}
