/*
 * Convolution by our own loops for AVX2, where oneDNN's (jit:avx2) leaves a third of the multiply-adds unused once an
 * image or a kernel outgrows the first cache. NHWC, one group, windows larger than one place.
 *
 * A tile is 6 output places of 16 channels: 12 vectors of sums, which is how many multiply-adds two units with a latency
 * of 4 to 5 need under way, 6 broadcast inputs and 2 vectors of weights for each of them. Tiles run over the places of
 * a band of rows as over one list, so that a row's length need not be a multiple of 6. Weights lie in the order in
 * which they are read, [channels out / 16][channels in / 64][ky][kx][64][16]: 64 channels of a 3x3 window, 36 KB, serve
 * all tiles of a band. Sums go to memory between such blocks.
 *
 * A sum is taken in the same order by any number of threads: same bits.
 */
#include "engine/internal.h"

#include <immintrin.h>
#include <math.h>
#include <omp.h>

/* oneDNN's code is not instrumented either: a network under the sanitizers has to keep up with its tests' clocks. */
#define KERNEL __attribute__((target("avx2,fma"), no_sanitize("address", "undefined")))
#define PLACES 6
#define UNROLL _Pragma("GCC unroll 6")

/* One tile's way through a block of input channels. */
struct tile {
	const float *x[PLACES];
	float *y[PLACES];
	const float *weights, *bias;
	int n_channels;
	bool first, last; /* of the blocks */
	bool half;        /* the output has only 8 channels more; weights and bias are zeros for the others */
};

/*
 * Always a constant number of places after inlining, so that the sums live in registers.
 */
KERNEL static inline __attribute__((always_inline)) void run_tile(
	const struct direct *d, const struct tile *t, const int places)
{
	const int64_t across = d->ic * d->dilations[1], down = d->row * d->dilations[0] - d->kernel[1] * across;
	const float *x[PLACES], *w = t->weights;
	__m256 sum[PLACES][2];

	UNROLL for (int p = 0; p < places; p++)
	{
		x[p] = t->x[p];
		for (int v = 0; v < 2; v++) {
			const __m256 start = t->first ? _mm256_loadu_ps(t->bias + 8 * v) : _mm256_setzero_ps();
			const bool reads = (!t->first || d->accumulate) && !(v && t->half);

			sum[p][v] = reads ? _mm256_add_ps(start, _mm256_loadu_ps(t->y[p] + 8 * v)) : start;
		}
	}
	for (int ky = 0; ky < d->kernel[0]; ky++) {
		for (int kx = 0; kx < d->kernel[1]; kx++) {
			for (int64_t c = 0; c < t->n_channels; c++, w += DIRECT_OUT) {
				const __m256 w0 = _mm256_loadu_ps(w), w1 = _mm256_loadu_ps(w + 8);

				UNROLL for (int p = 0; p < places; p++)
				{
					const __m256 b = _mm256_broadcast_ss(x[p] + c);

					sum[p][0] = _mm256_fmadd_ps(b, w0, sum[p][0]);
					sum[p][1] = _mm256_fmadd_ps(b, w1, sum[p][1]);
				}
			}
			UNROLL for (int p = 0; p < places; p++) x[p] += across;
		}
		UNROLL for (int p = 0; p < places; p++) x[p] += down;
	}
	const __m256 lo = _mm256_set1_ps(t->last ? d->lo : -INFINITY), hi = _mm256_set1_ps(t->last ? d->hi : INFINITY);
	UNROLL for (int p = 0; p < places; p++)
	{
		/* the limit first: x86 gives the second operand when one is a NaN */
		_mm256_storeu_ps(t->y[p], _mm256_min_ps(hi, _mm256_max_ps(lo, sum[p][0])));
		if (!t->half)
			_mm256_storeu_ps(t->y[p] + 8, _mm256_min_ps(hi, _mm256_max_ps(lo, sum[p][1])));
	}
}

KERNEL static void run_places(const struct direct *d, const struct tile *t, int places)
{
	switch (places) {
	case 1: run_tile(d, t, 1); break;
	case 2: run_tile(d, t, 2); break;
	case 3: run_tile(d, t, 3); break;
	case 4: run_tile(d, t, 4); break;
	case 5: run_tile(d, t, 5); break;
	default: run_tile(d, t, 6); break;
	}
}

/* So many places, row by row from the first of x and y on, for 16 output channels and one block of input channels. */
static void run_block(const struct direct *d, struct tile *t, const float *x, float *y, int64_t left)
{
	int64_t ox = 0;

	while (left > 0) {
		const int places = (int)KERF_MIN(left, PLACES);

		for (int p = 0; p < places; p++, y += d->oc) {
			t->x[p] = x + ox * d->strides[1] * d->ic;
			t->y[p] = y;
			if (++ox == d->out_w) {
				ox = 0;
				x += d->strides[0] * d->row;
			}
		}
		run_places(d, t, places);
		left -= places;
	}
}

/* Input rows that output rows [from, to) of an image read, with zeros around them, into the thread's own room. */
static void pad_band(const struct direct *d, const float *x, int64_t from, int64_t to, float *room)
{
	const int64_t left = d->pads[1] * d->ic, middle = d->w * d->ic, right = d->row - left - middle;
	const int64_t first = from * d->strides[0] - d->pads[0];
	const int64_t count = (to - from - 1) * d->strides[0] + (d->kernel[0] - 1) * d->dilations[0] + 1;

	for (int64_t y = first; y < first + count; y++, room += d->row) {
		if (y < 0 || y >= d->h) {
			memset(room, 0, (size_t)d->row * sizeof(*room));
			continue;
		}
		memset(room, 0, (size_t)left * sizeof(*room));
		memcpy(room + left, x + y * middle, (size_t)middle * sizeof(*room));
		memset(room + left + middle, 0, (size_t)right * sizeof(*room));
	}
}

/* A part is a band of rows of one image, for 16 output channels; a thread has all those of a band one after another. */
static void direct_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct direct *d = &s->direct;
	const int64_t groups = kerf_direct_groups(d->oc), bands = (d->out_h + d->band - 1) / d->band;
	float *room = d->padded ? data[4] + omp_get_thread_num() * d->room : NULL;
	int64_t there = -1; /* the band that lies in room */

	for (int64_t i = from; i < to; i++) {
		const int64_t group = i % groups, band = i / groups % bands, image = i / (groups * bands);
		const int64_t top = band * d->band, end = KERF_MIN(top + d->band, d->out_h);
		const float *x = data[1] + image * d->h * d->w * d->ic;
		float *y = data[0] + image * d->out_h * d->out_w * d->oc + group * DIRECT_OUT;
		struct tile t = {
			.weights = data[2] + group * DIRECT_OUT * d->ic * d->kernel[0] * d->kernel[1],
			.bias = data[3] + group * DIRECT_OUT,
			.half = (group + 1) * DIRECT_OUT > d->oc,
		};

		if (room && there != i / groups)
			pad_band(d, x, top, end, room);
		there = i / groups;
		x = room ? room : x + top * d->strides[0] * d->row;
		for (int64_t c = 0; c < d->ic; c += DIRECT_IN) {
			t.n_channels = (int)KERF_MIN(d->ic - c, DIRECT_IN);
			t.first = c == 0;
			t.last = c + t.n_channels == d->ic;
			run_block(d, &t, x + c, y + top * d->out_w * d->oc, (end - top) * d->out_w);
			t.weights += (int64_t)t.n_channels * DIRECT_OUT * d->kernel[0] * d->kernel[1];
		}
	}
}

void kerf_step_direct(const struct step *s, float *const *data, unsigned team)
{
	const struct direct *d = &s->direct;
	const int64_t bands = (d->out_h + d->band - 1) / d->band;

	kerf_step_split(s, data, team, d->n * bands * kerf_direct_groups(d->oc), direct_part);
}

bool kerf_direct_suits(const struct kerf_node *n, const struct kerf_tensor *x, const struct kerf_tensor *y)
{
	return dnnl_get_effective_cpu_isa() == dnnl_cpu_isa_avx2 && __builtin_cpu_supports("fma") && n->groups == 1 &&
		n->kernel[0] * n->kernel[1] > 1 && x->dims[1] >= 16 && y->dims[1] >= DIRECT_OUT && y->dims[1] % 8 == 0;
}
