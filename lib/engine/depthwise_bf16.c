/*
 * Depthwise convolution of bf16 for AVX-512, 32 channels at once.
 *
 * A dword is two channels: the even one's f32 is the dword shifted, the odd one's is its upper half.
 * So a vector of 32 channels becomes one of the even and one of the odd by an instruction each, and
 * biases, weights and sums lie likewise.
 */
#include "engine/depthwise.h"

#include <immintrin.h>
#include <string.h>

#include "engine/internal.h"

#define KERNEL                                                                                     \
	__attribute__((target("avx512f,avx512bw,avx512vl,avx512bf16"),                             \
		no_sanitize("address", "undefined")))
#define INLINE KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32") /* more than the columns of any tile */

#define CHANNELS KERF_DEPTHWISE_BF16_BLOCK
#define HALVES 2 /* of 16 even or odd channels */
#define PLACES 7 /* of a tile, beside each other: maps are mostly multiples of 7 wide */

/* What a tile of 32 channels reads. A row or column outside the image is zeros. */
struct tile {
	const struct kerf_depthwise *d;
	const uint16_t *x; /* the image, from the first of the channels on */
	int64_t iy, ix; /* of the window's first place, which may be outside */
	__mmask32 channels;
	const float *biases, *weights;
};

INLINE void load(const uint16_t *from, __mmask32 channels, __m512 to[HALVES])
{
	const __m512i both = _mm512_maskz_loadu_epi16(channels, from);

	to[0] = _mm512_castsi512_ps(_mm512_slli_epi32(both, 16));
	to[1] = _mm512_castsi512_ps(_mm512_and_si512(both, _mm512_set1_epi32((int)0xffff0000)));
}

/* Sums of `places` windows beside each other. */
INLINE void sum_tile(const struct tile *t, const int kernel, const int stride, const int places,
	const bool inside, __m512 sum[PLACES][HALVES])
{
	const int64_t c = t->d->c, row = t->d->w * c;
	const int columns = (places - 1) * stride + kernel;

	UNROLL for (int p = 0; p < places; p++)
		UNROLL for (int v = 0; v < HALVES; v++) sum[p][v] = _mm512_loadu_ps(t->biases + 16 * v);
	for (int ky = 0; ky < kernel; ky++) {
		const float *w = t->weights + ky * kernel * CHANNELS;
		int64_t at = (t->iy + ky) * row + t->ix * c;

		if (!inside && (t->iy + ky < 0 || t->iy + ky >= t->d->h))
			continue;
		UNROLL for (int column = 0; column < columns; column++, at += c)
		{
			__m512 x[HALVES];

			if (!inside && (t->ix + column < 0 || t->ix + column >= t->d->w))
				continue;
			load(t->x + at, t->channels, x);
			UNROLL for (int p = 0; p < places; p++)
			{
				const int kx = column - p * stride;

				if (kx < 0 || kx >= kernel)
					continue;
				UNROLL for (int v = 0; v < HALVES; v++)
				{
					const __m512 weights = _mm512_loadu_ps(w + kx * CHANNELS + 16 * v);

					sum[p][v] = _mm512_fmadd_ps(x[v], weights, sum[p][v]);
				}
			}
		}
	}
}

INLINE void store_bf16(const struct tile *t, const __m512 y[HALVES], uint16_t *to)
{
	/* words 0 to 15 are the even channels, 16 to 31 the odd ones */
	const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh(y[1], y[0]);
	const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25,
		9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);

	_mm512_mask_storeu_epi16(to, t->channels, _mm512_permutexvar_epi16(order, halves));
}

INLINE void store_floats(const struct tile *t, const __m512 y[HALVES], float *to)
{
	const __m512i first = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16,
		0);
	const __m512i second = _mm512_add_epi32(first, _mm512_set1_epi32(8));

	_mm512_mask_storeu_ps(to, (__mmask16)t->channels,
		_mm512_permutex2var_ps(y[0], first, y[1]));
	_mm512_mask_storeu_ps(to + 16, (__mmask16)(t->channels >> 16),
		_mm512_permutex2var_ps(y[0], second, y[1]));
}

INLINE void run_tile(const struct tile *t, void *y, const int kernel, const int stride,
	const int places, const bool inside)
{
	const struct kerf_depthwise *d = t->d;
	const __m512 lo = _mm512_set1_ps(d->lo), hi = _mm512_set1_ps(d->hi);
	__m512 sum[PLACES][HALVES];

	sum_tile(t, kernel, stride, places, inside, sum);
	UNROLL for (int p = 0; p < places; p++)
	{
		UNROLL for (int v = 0; v < HALVES; v++)
			sum[p][v] = _mm512_min_ps(hi, _mm512_max_ps(lo, sum[p][v]));
		if (d->to == KERF_DEPTHWISE_F32)
			store_floats(t, sum[p], (float *)y + p * d->c);
		else
			store_bf16(t, sum[p], (uint16_t *)y + p * d->c);
	}
}

typedef void (*tile_fn)(const struct tile *t, void *y, bool inside);

#define TILE(kernel, stride, places)                                                               \
	KERNEL static void tile_##kernel##_##stride##_##places(const struct tile *t, void *y,      \
		bool inside)                                                                       \
	{                                                                                          \
		if (inside)                                                                        \
			run_tile(t, y, kernel, stride, places, true);                              \
		else                                                                               \
			run_tile(t, y, kernel, stride, places, false);                             \
	}
TILE(3, 1, 1)
TILE(3, 2, 1)
TILE(5, 1, 1)
TILE(5, 2, 1)
TILE(3, 1, 7)
TILE(3, 2, 7)
TILE(5, 1, 7)
TILE(5, 2, 7)

static tile_fn choose_tile(const struct kerf_depthwise *d, bool one)
{
	static const tile_fn tiles[2][2][2] = {{{tile_3_1_7, tile_3_1_1}, {tile_3_2_7, tile_3_2_1}},
		{{tile_5_1_7, tile_5_1_1}, {tile_5_2_7, tile_5_2_1}}};

	return tiles[d->kernel == 5][d->stride == 2][one];
}

/* One row of the output. The last tile computes some places again where the tiles do not fit. */
static void run_row(const struct kerf_depthwise *d, const uint16_t *x, const float *constants,
	int64_t oy, void *y)
{
	const size_t width = d->to == KERF_DEPTHWISE_F32 ? sizeof(float) : sizeof(uint16_t);
	const int64_t places = d->out_w < PLACES ? 1 : PLACES;
	const tile_fn run = choose_tile(d, places == 1);
	struct tile t = {.d = d, .iy = oy * d->stride - d->pads[0]};
	const bool rows_inside = t.iy >= 0 && t.iy + d->kernel <= d->h;

	for (int64_t from = 0; from < d->out_w; from += places) {
		const int64_t ox = KERF_MIN(from, d->out_w - places);

		t.ix = ox * d->stride - d->pads[1];
		t.biases = constants;
		const bool inside = rows_inside && t.ix >= 0 &&
			t.ix + (places - 1) * d->stride + d->kernel <= d->w;
		for (int64_t c = 0; c < d->c; c += CHANNELS) {
			t.x = x + c;
			t.channels = d->c - c >= CHANNELS ? ~(__mmask32)0
							  : ((__mmask32)1 << (d->c - c)) - 1;
			t.weights = t.biases + CHANNELS;
			run(&t, (uint8_t *)y + (size_t)(ox * d->c + c) * width, inside);
			t.biases = t.weights + d->kernel * d->kernel * CHANNELS;
		}
	}
}

static void depthwise_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_depthwise *d = &s->depthwise;
	const size_t width = d->to == KERF_DEPTHWISE_F32 ? sizeof(float) : sizeof(uint16_t);
	const void *x = data[1];

	for (int64_t i = from; i < to; i++)
		run_row(d, (const uint16_t *)x + i / d->out_h * d->h * d->w * d->c, data[2],
			i % d->out_h, (uint8_t *)data[0] + (size_t)(i * d->out_w * d->c) * width);
}

void kerf_step_depthwise_bf16(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->depthwise.n * s->depthwise.out_h, depthwise_part);
}

/* ---- constants ---- */

static size_t block_floats(const struct kerf_depthwise *d)
{
	return (size_t)(1 + d->kernel * d->kernel) * CHANNELS;
}

size_t kerf_depthwise_bf16_bytes(const struct kerf_depthwise *d)
{
	return (size_t)((d->c + CHANNELS - 1) / CHANNELS) * block_floats(d) * sizeof(float);
}

static float rounded(float v)
{
	uint16_t bf16;
	float back;

	kerf_rows()->to_bf16(&v, &bf16, 1);
	const uint32_t bits = (uint32_t)bf16 << 16;
	memcpy(&back, &bits, sizeof(back));
	return back;
}

void kerf_depthwise_bf16_pack(const struct kerf_depthwise *d, const float *weights,
	const float *bias, float *to)
{
	const int taps = d->kernel * d->kernel;

	for (int64_t c = 0; c < d->c; c++) {
		const int64_t lane = c % CHANNELS;
		float *at = to + (size_t)(c / CHANNELS) * block_floats(d) + lane % 2 * 16 +
			lane / 2;

		at[0] = bias ? bias[c] : 0;
		for (int i = 0; i < taps; i++)
			at[(1 + i) * CHANNELS] = rounded(weights[c * taps + i]);
	}
}

bool kerf_depthwise_bf16_supported(void)
{
	return dnn_isa_has(dnnl_cpu_isa_avx512_core_bf16) && __builtin_cpu_supports("avx512bf16") &&
		__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
