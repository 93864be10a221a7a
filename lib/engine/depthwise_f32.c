/*
 * Depthwise convolution of f32 for AVX-512: sums of two rows of 7 places, 16 channels at once. Groups of 2 to 16 channels
 * are as many of these, one after the other on the same sums: an input channel of each group is spread over its lanes.
 */
#include "engine/depthwise.h"

#include <immintrin.h>

#include "engine/internal.h"

#define KERNEL __attribute__((target("avx512f"), no_sanitize("address", "undefined")))
#define INLINE KERNEL static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 32") /* more than the columns of any tile */

#define CHANNELS 16
#define ROWS 2
#define PLACES 7 /* of a tile, beside each other: maps are mostly multiples of 7 wide */
#define MAX_KERNEL 5
#define MAX_PAD 2

/* With more constants than a third of the first cache, some channels of all places come before the next ones. */
#define CONSTANT_BYTES (16 << 10)
#define CHANNEL_SPAN 64 /* at most so many then */

/* Every other place of an image that the second cache does not hold: reading it row by row, as oneDNN does, is faster. */
#define LARGE_IMAGE (512 << 10)

/* What a tile of 16 channels reads and writes. */
struct tile {
	const struct kerf_depthwise *d;
	const float *x;         /* the image, from the first of the channels on */
	const float *constants; /* biases, then weights */
	float *y;               /* the first place of its first row */
	int64_t iy, ix;         /* of the first window's first place, which may be outside */
	int top, bottom;        /* rows from iy on that are inside: from, to */
	int first_row;          /* of its output that is wanted */
	int64_t channels;       /* as many as there are, or more */
};

/*
 * Adds one input channel of each group. The first `left` and the last `right` of the tile's columns are outside the image;
 * `spread`, if any, says which lane each takes its input from.
 */
INLINE void add_channel(const struct tile *t, const float *constants, const int kernel, const int stride, const int left,
	const int right, const __mmask16 channels, const __m512i *spread, __m512 sum[ROWS][PLACES])
{
	const int rows = (ROWS - 1) * stride + kernel, columns = (PLACES - 1) * stride + kernel;
	const int64_t c = t->d->c;

	UNROLL for (int row = 0; row < rows; row++)
	{
		__m512 weights[ROWS][MAX_KERNEL];

		if (row < t->top || row >= t->bottom)
			continue;
		const float *x = t->x + ((t->iy + row) * t->d->w + t->ix + left) * c;
		UNROLL for (int r = 0; r < ROWS; r++)
		{
			const int ky = row - r * stride;

			if (ky >= 0 && ky < kernel)
				UNROLL for (int kx = 0; kx < kernel; kx++)
					weights[r][kx] = _mm512_loadu_ps(constants + (ky * kernel + kx) * CHANNELS);
		}
		UNROLL for (int column = left; column < columns - right; column++, x += c)
		{
			__m512 in = _mm512_maskz_loadu_ps(channels, x);

			if (spread)
				in = _mm512_permutexvar_ps(*spread, in);
			UNROLL for (int r = 0; r < ROWS; r++)
			{
				if (row < r * stride || row >= r * stride + kernel)
					continue;
				UNROLL for (int p = 0; p < PLACES; p++)
				{
					const int kx = column - p * stride;

					if (kx >= 0 && kx < kernel)
						sum[r][p] = _mm512_fmadd_ps(in, weights[r][kx], sum[r][p]);
				}
			}
		}
	}
}

INLINE void sum_tile(const struct tile *t, const int kernel, const int stride, const int left, const int right,
	const bool grouped, const __mmask16 channels, __m512 sum[ROWS][PLACES])
{
	const int width = t->d->width;
	const float *constants = t->constants + CHANNELS;

	UNROLL for (int r = 0; r < ROWS; r++)
		UNROLL for (int p = 0; p < PLACES; p++) sum[r][p] = _mm512_loadu_ps(t->constants);
	if (!grouped) {
		add_channel(t, constants, kernel, stride, left, right, channels, NULL, sum);
		return;
	}
	const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
	__m512i spread = _mm512_and_si512(lane, _mm512_set1_epi32(-width)); /* the first of its group */

	for (int i = 0; i < width; i++, constants += kernel * kernel * CHANNELS) {
		add_channel(t, constants, kernel, stride, left, right, channels, &spread, sum);
		spread = _mm512_add_epi32(spread, _mm512_set1_epi32(1));
	}
}

INLINE void run_tile(const struct tile *t, const int kernel, const int stride, const int left, const int right, const bool grouped)
{
	const struct kerf_depthwise *d = t->d;
	const __m512 lo = _mm512_set1_ps(d->lo), hi = _mm512_set1_ps(d->hi);
	const bool whole = t->channels >= CHANNELS;
	const __mmask16 channels = whole ? 0xffff : (__mmask16)((1u << t->channels) - 1);
	__m512 sum[ROWS][PLACES];

	sum_tile(t, kernel, stride, left, right, grouped, channels, sum);
	UNROLL for (int r = 0; r < ROWS; r++)
	{
		float *y = t->y + r * d->out_w * d->c;

		if (r < t->first_row)
			continue;
		UNROLL for (int p = 0; p < PLACES; p++, y += d->c)
		{
			const __m512 limited = _mm512_min_ps(hi, _mm512_max_ps(lo, sum[r][p]));

			if (whole)
				_mm512_storeu_ps(y, limited);
			else
				_mm512_mask_storeu_ps(y, channels, limited);
		}
	}
}

typedef void (*tile_fn)(const struct tile *t);

#define TILE(name, kernel, stride, left, right, grouped)                                           \
	KERNEL static void name##_##stride##_##left##_##right(const struct tile *t)                \
	{                                                                                          \
		run_tile(t, kernel, stride, left, right, grouped);                                 \
	}
#define TILES_3(name, stride, grouped)                                                             \
	TILE(name, 3, stride, 0, 0, grouped) TILE(name, 3, stride, 0, 1, grouped)                  \
	TILE(name, 3, stride, 1, 0, grouped) TILE(name, 3, stride, 1, 1, grouped)
#define TILES_5(name, stride)                                                                      \
	TILE(name, 5, stride, 0, 0, false) TILE(name, 5, stride, 0, 1, false) TILE(name, 5, stride, 0, 2, false) \
	TILE(name, 5, stride, 1, 0, false) TILE(name, 5, stride, 1, 1, false) TILE(name, 5, stride, 1, 2, false) \
	TILE(name, 5, stride, 2, 0, false) TILE(name, 5, stride, 2, 1, false) TILE(name, 5, stride, 2, 2, false)
TILES_3(tile_3, 1, false)
TILES_3(tile_3, 2, false)
TILES_3(groups_3, 1, true)
TILES_3(groups_3, 2, true)
TILES_5(tile_5, 1)
TILES_5(tile_5, 2)

/* By columns on the left and on the right that are outside. */
#define TABLE_3(name, stride)                                                                      \
	{                                                                                          \
		{name##_##stride##_0_0, name##_##stride##_0_1}, {name##_##stride##_1_0, name##_##stride##_1_1} \
	}
#define TABLE_5(name, stride)                                                                      \
	{                                                                                          \
		{name##_##stride##_0_0, name##_##stride##_0_1, name##_##stride##_0_2},             \
			{name##_##stride##_1_0, name##_##stride##_1_1, name##_##stride##_1_2},     \
			{name##_##stride##_2_0, name##_##stride##_2_1, name##_##stride##_2_2},     \
	}
typedef const tile_fn tile_table[2][MAX_PAD + 1][MAX_PAD + 1]; /* strides first */
static tile_table windows_of_3 = {TABLE_3(tile_3, 1), TABLE_3(tile_3, 2)}, windows_of_5 = {TABLE_5(tile_5, 1), TABLE_5(tile_5, 2)},
	groups_of_3 = {TABLE_3(groups_3, 1), TABLE_3(groups_3, 2)};

static int64_t block_floats(const struct kerf_depthwise *d)
{
	return (int64_t)(1 + d->width * d->kernel * d->kernel) * CHANNELS;
}

/* Some channels of a row of tiles. The last tile computes some places again where the tiles do not fit. */
static void run_row(struct tile *t, float *y, const float *x, const float *constants, int64_t from, int64_t to)
{
	const struct kerf_depthwise *d = t->d;
	const int64_t columns = (PLACES - 1) * d->stride + d->kernel, floats = block_floats(d);
	const tile_table *tiles = d->width > 1 ? &groups_of_3 : d->kernel == 5 ? &windows_of_5 : &windows_of_3;

	for (int64_t place = 0; place < d->out_w; place += PLACES) {
		const int64_t ox = KERF_MIN(place, d->out_w - PLACES);

		t->ix = ox * d->stride - d->pads[1];
		const int64_t left = KERF_MAX(0, -t->ix), right = KERF_MAX(0, t->ix + columns - d->w);
		const tile_fn run = (*tiles)[d->stride == 2][left][right];
		t->constants = constants + from / CHANNELS * floats;
		for (int64_t c = from; c < to; c += CHANNELS, t->constants += floats) {
			t->x = x + c;
			t->y = y + ox * d->c + c;
			t->channels = d->c - c;
			run(t);
		}
	}
}

/*
 * Pairs of rows of one image, from below: what was written last is still in the cache, and the step behind this one begins
 * above. The last pair computes a row again where their number is odd, and leaves it as it is.
 */
static void run_band(const struct kerf_depthwise *d, const float *x, const float *constants, float *y, int64_t from, int64_t to)
{
	const int64_t rows = (ROWS - 1) * d->stride + d->kernel;
	const int64_t fit = CONSTANT_BYTES / (block_floats(d) * (int64_t)sizeof(float)) * CHANNELS;
	const int64_t span = d->c <= fit ? d->c : KERF_MAX(CHANNELS, KERF_MIN(fit, CHANNEL_SPAN));

	for (int64_t c = 0; c < d->c; c += span) {
		for (int64_t pair = to - 1; pair >= from; pair--) {
			const int64_t oy = KERF_MIN(pair * ROWS, d->out_h - ROWS);
			struct tile t = {.d = d, .iy = oy * d->stride - d->pads[0], .first_row = (int)(pair * ROWS - oy)};

			t.top = (int)KERF_MAX(0, -t.iy);
			t.bottom = (int)KERF_MIN(rows, d->h - t.iy);
			run_row(&t, y + oy * d->out_w * d->c, x, constants, c, KERF_MIN(c + span, d->c));
		}
	}
}

static int64_t pairs(const struct kerf_depthwise *d)
{
	return (d->out_h + ROWS - 1) / ROWS;
}

static void depthwise_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_depthwise *d = &s->depthwise;
	const int64_t n = pairs(d);

	for (int64_t i = from, end; i < to; i = end) {
		const int64_t image = i / n;

		end = KERF_MIN((image + 1) * n, to);
		run_band(d, data[1] + image * d->h * d->w * d->c, data[2], data[0] + image * d->out_h * d->out_w * d->c,
			i - image * n, end - image * n);
	}
}

void kerf_step_depthwise_f32(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->depthwise.n * pairs(&s->depthwise), depthwise_part);
}

bool kerf_depthwise_f32_suits(const struct kerf_depthwise *d)
{
	const int64_t pad = d->kernel / 2, right = (d->out_w - 1) * d->stride + d->kernel - d->pads[1] - d->w;
	const int64_t computed = (d->out_w + PLACES - 1) / PLACES * PLACES;

	return kerf_direct_code() == &kerf_direct_avx512 && d->pads[1] <= pad && right <= pad && d->out_h >= ROWS &&
		d->out_w >= PLACES && computed * 5 <= d->out_w * 6 && (d->width > 1 ? d->kernel == 3 : d->stride == 1 || d->h * d->w * d->c <= LARGE_IMAGE);
}

/* ---- constants ---- */

size_t kerf_depthwise_f32_bytes(const struct kerf_depthwise *d)
{
	return (size_t)((d->c + CHANNELS - 1) / CHANNELS * block_floats(d)) * sizeof(float);
}

void kerf_depthwise_f32_pack(const struct kerf_depthwise *d, const float *weights, const float *bias, float *to)
{
	const int products = d->width * d->kernel * d->kernel;

	for (int64_t c = 0; c < d->c; c++) {
		float *at = to + c / CHANNELS * block_floats(d) + c % CHANNELS;

		at[0] = bias ? bias[c] : 0;
		for (int i = 0; i < products; i++)
			at[(1 + i) * CHANNELS] = weights[c * products + i];
	}
}
