/*
 * Convolutions of groups of 4 or 8 channels, windows of 3, f32, for AVX-512, without spreading an input channel over the lanes
 * of its group: a vector of 16 input channels is multiplied as it is, once for each output channel of a group. Sum r of a
 * lane is for the output channel whose number within the group is the lane's own with the bits of r turned over, so that
 * shuffles by constants bring them together at the end. Spreading costs a permutation for an input of each tile, on a unit
 * that also multiplies on Intel's cores.
 */
#include "engine/internal.h"

#include <immintrin.h>

#include "engine/words_avx512.h"

#include "engine/swish.inc"

/* oneDNN's code is not instrumented either. */
#define KERNEL VFN __attribute__((no_sanitize("address", "undefined")))
#define INLINE KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")

#define CHANNELS KERF_DEPTHWISE_BLOCK
#define TAPS 3 /* each way */
#define SUMS 24 /* in registers beside inputs and a vector of weights */
#define FEWER_SUMS 16 /* where a row does not end with a whole tile */
#define MAX_WIDTH 8
#define MAX_PLACES (SUMS / 4)

bool kerf_grouped_suits(const struct kerf_depthwise *d)
{
	/* AMD's cores permute beside multiplying: there it is faster where a tile has many inputs for its products */
	return (d->width == 4 || d->width == 8) && (d->stride == 2 || !kerf_direct_is_amd());
}

void kerf_grouped_pack(const struct kerf_depthwise *d, const float *weights, const float *bias, float *to)
{
	for (int64_t c = 0; c < d->c; c++) {
		float *block = to + c / CHANNELS * kerf_depthwise_block_floats(d);
		const int64_t lane = c % CHANNELS, group = lane / d->width * d->width;

		block[lane] = bias ? bias[c] : 0;
		for (int64_t i = 0; i < d->width; i++)
			for (int tap = 0; tap < TAPS * TAPS; tap++, weights++)
				block[(1 + tap * d->width + ((lane - group) ^ i)) * CHANNELS + group + i] = *weights;
	}
}

/* A tile of places beside each other of one row. */
struct tile {
	const struct kerf_depthwise *d;
	const float *x, *constants; /* the image and the biases, then weights, from the first of the channels on */
	float *y;                   /* its first place */
	int64_t iy, ix;             /* of the first window, which may be outside */
	int64_t channels;           /* as many as there are, or more */
};

/* Lanes whose numbers differ in that bit. */
#define SWAP_1(v) _mm512_permute_ps(v, 0xb1)
#define SWAP_2(v) _mm512_permute_ps(v, 0x4e)
#define SWAP_4(v) _mm512_shuffle_f32x4(v, v, 0xb1)

INLINE V bring_together(const V sum[MAX_WIDTH], const int width)
{
	const V a = v_add(sum[0], SWAP_1(sum[1])), b = v_add(sum[2], SWAP_1(sum[3])), low = v_add(a, SWAP_2(b));

	if (width == 4)
		return low;
	const V c = v_add(sum[4], SWAP_1(sum[5])), d = v_add(sum[6], SWAP_1(sum[7])), high = v_add(c, SWAP_2(d));
	return v_add(low, SWAP_4(high));
}

/* `checked`: columns may be outside. */
INLINE void run_tile(const struct tile *t, const int width, const int places, const int stride, const bool checked)
{
	const struct kerf_depthwise *d = t->d;
	const int64_t c = d->c;
	const V lo = v_set1(d->lo), hi = v_set1(d->hi);
	const bool whole = t->channels >= CHANNELS;
	const __mmask16 channels = whole ? 0xffff : lanes((size_t)t->channels);
	const float *w = t->constants + CHANNELS;
	V sum[MAX_PLACES][MAX_WIDTH];

	UNROLL for (int p = 0; p < places; p++)
	{
		sum[p][0] = v_load(t->constants);
		UNROLL for (int r = 1; r < width; r++) sum[p][r] = v_set1(0);
	}
	for (int64_t row = t->iy; row < t->iy + TAPS; row++) {
		if (row < 0 || row >= d->h) {
			w += TAPS * width * CHANNELS;
			continue;
		}
		const float *x = t->x + (row * d->w + t->ix) * c;

		for (int kx = 0; kx < TAPS; kx++, x += c) {
			V in[MAX_PLACES];

			UNROLL for (int p = 0; p < places; p++)
			{
				const int64_t column = t->ix + p * stride + kx;
				const bool inside = !checked || (column >= 0 && column < d->w);

				in[p] = inside ? _mm512_maskz_loadu_ps(channels, x + p * stride * c) : v_set1(0);
			}
			UNROLL for (int r = 0; r < width; r++, w += CHANNELS)
			{
				V weights = v_load(w);

				__asm__("" : "+v"(weights)); /* once for all places, not as an operand of each */
				UNROLL for (int p = 0; p < places; p++) sum[p][r] = v_fma(in[p], weights, sum[p][r]);
			}
		}
	}
	float *y = t->y;
	UNROLL for (int p = 0; p < places; p++, y += c)
	{
		const V all = bring_together(sum[p], width);
		const V result = d->act == KERF_ACT_HARD_SWISH ? v_hard_swish(all)
			       : d->act == KERF_ACT_SILU       ? v_silu(all)
							       : v_clip(all, lo, hi);

		if (whole)
			v_store(y, result);
		else
			_mm512_mask_storeu_ps(y, channels, result);
	}
}

typedef void (*tile_fn)(const struct tile *t);

#define TILE(name, width, sums, stride, checked)                                                   \
	KERNEL static void name(const struct tile *t)                                              \
	{                                                                                          \
		run_tile(t, width, (sums) / (width), stride, checked);                             \
	}
#define TILES(name, width, stride)                                                                 \
	TILE(name##_inside, width, SUMS, stride, false) TILE(name##_edge, width, SUMS, stride, true)         \
	TILE(name##_fewer_inside, width, FEWER_SUMS, stride, false) TILE(name##_fewer_edge, width, FEWER_SUMS, stride, true)
#define TABLE(name)                                                                                \
	{                                                                                          \
		{name##_inside, name##_edge}, {name##_fewer_inside, name##_fewer_edge}             \
	}
TILES(tile_4_1, 4, 1)
TILES(tile_4_2, 4, 2)
TILES(tile_8_1, 8, 1)
TILES(tile_8_2, 8, 2)
static const tile_fn tiles[2][2][2][2] = {{TABLE(tile_4_1), TABLE(tile_4_2)}, {TABLE(tile_8_1), TABLE(tile_8_2)}}; /* width, stride */

/* Some channels of an output row. Where tiles do not fit, the last one computes some places again. */
static void run_row(const struct kerf_depthwise *d, struct tile *t, const float *x, const float *constants, float *y, int64_t from,
	int64_t to)
{
	const int64_t most = SUMS / d->width, fewer = FEWER_SUMS / d->width, floats = kerf_depthwise_block_floats(d);
	int64_t places;

	for (int64_t place = 0; place < d->out_w; place += places) {
		const int64_t left = d->out_w - place;
		const bool is_end = left % most != 0 && left <= 2 * fewer;

		places = is_end ? fewer : most;
		const int64_t ox = KERF_MIN(place, d->out_w - places);
		t->ix = ox * d->stride - d->pads[1];
		const bool checked = t->ix < 0 || t->ix + (places - 1) * d->stride + TAPS > d->w;
		const tile_fn run = tiles[d->width == 8][d->stride == 2][is_end][checked];
		for (int64_t c = from; c < to; c += CHANNELS) {
			t->x = x + c;
			t->constants = constants + c / CHANNELS * floats;
			t->y = y + ox * d->c + c;
			t->channels = d->c - c;
			run(t);
		}
	}
}

/* Rows of one image, from below as in depthwise.inc; channels whose constants stay in the first cache before the next ones. */
static void run_band(const struct kerf_depthwise *d, const float *x, const float *constants, float *y, int64_t from, int64_t to)
{
	const int64_t span = KERF_DEPTHWISE_CONSTANTS / (kerf_depthwise_block_floats(d) * (int64_t)sizeof(float)) * CHANNELS;

	for (int64_t c = 0; c < d->c; c += span)
		for (int64_t oy = to - 1; oy >= from; oy--) {
			struct tile t = {.d = d, .iy = oy * d->stride - d->pads[0]};

			run_row(d, &t, x, constants, y + oy * d->out_w * d->c, c, KERF_MIN(c + span, d->c));
		}
}

static void grouped_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_depthwise *d = &s->depthwise;

	for (int64_t i = from, end; i < to; i = end) {
		const int64_t image = i / d->out_h, first = image * d->out_h;

		end = KERF_MIN(first + d->out_h, to);
		run_band(d, data[1] + image * d->h * d->w * d->c, data[2], data[0] + first * d->out_w * d->c, i - first, end - first);
	}
}

void kerf_step_grouped(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->depthwise.n * s->depthwise.out_h, grouped_part);
}
