/*
 * Every tile of direct.h that this CPU can run against sums of whole numbers, which f32 holds exactly. Networks reach some
 * tiles on some vendors' cores only.
 */
#include "engine/direct.h"
#include "reference.h"
#include "unit.h"

#define MOST_INPUTS 9 /* two turns of the loop and a rest */
#define MOST_WIDTH 64 /* floats in the vectors of a tile */
#define KERNEL_H 3
#define KERNEL_W 2
#define X_ROW (MOST_WIDTH + 3) /* a tile apart reads as many inputs as it has outputs */
#define PLACE_STRIDE 2
#define ROW (X_ROW * (KERNEL_W + PLACE_STRIDE * DIRECT_MAX_PLACES))
#define Y_ROW (MOST_WIDTH + 1)
#define LINE 3 /* tiles behind each other */
#define UNTOUCHED 12345.0f

static float x[KERNEL_H * ROW], weights[KERNEL_H * KERNEL_W * MOST_WIDTH * MOST_WIDTH],
	bias[MOST_WIDTH];
static float before[LINE * DIRECT_MAX_PLACES * Y_ROW], got[LINE * DIRECT_MAX_PLACES * Y_ROW];

static const struct kerf_direct_code *const codes[] = {&kerf_direct_avx512, &kerf_direct_avx2};

static bool runs_here(const struct kerf_direct_code *code)
{
	return code == &kerf_direct_avx512
		? __builtin_cpu_supports("avx512f")
		: __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static void fill(float *p, size_t n, uint64_t *seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = rintf(3 * ref_random(seed));
}

/* The place whose window begins there. */
static float expect(const struct kerf_direct *d, const struct kerf_direct_tile *t, const float *window,
	int place, int channel)
{
	const int width = (t->channels + d->code->lanes - 1) / d->code->lanes * d->code->lanes;
	const int first = d->apart ? channel / d->code->lanes * d->code->lanes : 0;
	float sum = t->bias ? t->bias[channel] : 0;

	if (!t->first || d->accumulate)
		sum += before[place * Y_ROW + channel];
	for (int tap = 0; tap < d->kernel[0] * d->kernel[1]; tap++) {
		const float *at = window + tap / d->kernel[1] * d->dilations[0] * d->row +
			tap % d->kernel[1] * d->dilations[1] * d->x_row + first;

		for (int c = 0; c < t->n_inputs && !(t->skip >> tap & 1); c++)
			sum += at[c] * t->weights[(tap * t->n_inputs + c) * width + channel];
	}
	if (t->last && d->act != KERF_ACT_NONE)
		return (float)ref_act((struct kerf_act){.kind = d->act}, (double)sum);
	return t->last ? fminf(d->hi, fmaxf(d->lo, sum)) : sum;
}

/* Activations are rounded, and small near zero; the rest is whole numbers. */
static bool differs(const struct kerf_direct *d, float a, float b)
{
	return d->act == KERF_ACT_NONE ? a != b : !(fabsf(a - b) <= 1e-6f * fabsf(b) + 2e-7f);
}

/* Whether every output of places so far apart is what it should be, and nothing else was written. */
static bool right(const struct kerf_direct *d, const struct kerf_direct_tile *t, int places, int x_step)
{
	for (int p = 0; p < LINE * DIRECT_MAX_PLACES; p++)
		for (int c = 0; c < Y_ROW; c++) {
			const float is = got[p * Y_ROW + c], was = before[p * Y_ROW + c];
			const bool is_output = p < places && c < t->channels;

			if (is_output ? differs(d, is, expect(d, t, x + p * x_step, p, c)) : is != was) {
				printf("%d lanes, %d places in tiles of %d, %d channels, %d inputs: place "
				       "%d, channel %d is %g\n",
					d->code->lanes, places, t->places, t->channels, t->n_inputs, p, c,
					(double)is);
				return false;
			}
		}
	return true;
}

static bool tile_is_right(const struct kerf_direct *d, struct kerf_direct_tile *t)
{
	for (int p = 0; p < t->places; p++) {
		t->x[p] = x + p * PLACE_STRIDE * X_ROW;
		t->y[p] = got + p * Y_ROW;
	}
	memcpy(got, before, sizeof(got));
	d->code->run(d, t);
	return right(d, t, t->places, PLACE_STRIDE * X_ROW);
}

static bool line_is_right(const struct kerf_direct *d, struct kerf_direct_tile *t)
{
	t->x[0] = x;
	t->y[0] = got;
	memcpy(got, before, sizeof(got));
	d->code->run_line(d, t, LINE);
	return right(d, t, LINE * t->places, X_ROW);
}

/* All numbers of places and of vectors, the last of them whole, with one channel and with all but one. */
static void check_all_tiles(const struct kerf_direct *d, struct kerf_direct_tile t)
{
	const int lanes = d->code->lanes;

	for (t.places = 1; t.places <= d->code->places; t.places++)
		for (int vectors = 1; vectors <= d->code->vectors; vectors++) {
			const int last[] = {lanes, 1, lanes - 1};

			for (int i = 0; i < (d->apart ? 1 : 3); i++) {
				t.channels = (vectors - 1) * lanes + last[i];
				CU_ASSERT(tile_is_right(d, &t));
				if (!d->apart && d->kernel[0] == 1 && d->kernel[1] == 1)
					CU_ASSERT(line_is_right(d, &t));
			}
		}
}

static struct kerf_direct describe(const struct kerf_direct_code *code)
{
	return (struct kerf_direct){.code = code,
		.x_row = X_ROW,
		.y_row = Y_ROW,
		.row = ROW,
		.kernel = {1, 1},
		.dilations = {1, 1},
		.lo = -20,
		.hi = 30};
}

static struct kerf_direct_tile describe_tile(int n_inputs)
{
	return (struct kerf_direct_tile){.n_inputs = n_inputs,
		.weights = weights,
		.bias = bias,
		.first = true,
		.last = true,
		.fetch = (const char *)weights};
}

static void fill_all(void)
{
	uint64_t seed = 11;

	fill(x, sizeof(x) / sizeof(*x), &seed);
	fill(weights, sizeof(weights) / sizeof(*weights), &seed);
	fill(bias, MOST_WIDTH, &seed);
	fill(before, sizeof(before) / sizeof(*before), &seed);
	for (int p = 0; p < LINE * DIRECT_MAX_PLACES; p++)
		before[p * Y_ROW + MOST_WIDTH] = UNTOUCHED;
}

static void test_inputs(void)
{
	fill_all();
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		for (int n_inputs = 1; runs_here(codes[i]) && n_inputs <= MOST_INPUTS; n_inputs++) {
			const struct kerf_direct d = describe(codes[i]);
			struct kerf_direct_tile t = describe_tile(n_inputs);

			check_all_tiles(&d, t);
			/* bytes for each channel: no longer one prefetch for a turn */
			t.fetch_step = 64;
			check_all_tiles(&d, t);
		}
}

/* The first block of inputs brings the bias and nothing is limited before the last. */
static void test_blocks(void)
{
	fill_all();
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		struct kerf_direct d = describe(codes[i]);
		struct kerf_direct_tile t = describe_tile(MOST_INPUTS);

		if (!runs_here(codes[i]))
			continue;
		t.last = false;
		check_all_tiles(&d, t);
		t.first = false;
		t.bias = NULL;
		check_all_tiles(&d, t);
		t.last = true;
		check_all_tiles(&d, t);
		d.accumulate = true;
		t.first = true;
		t.bias = bias;
		check_all_tiles(&d, t);
	}
}

static void test_windows(void)
{
	fill_all();
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		for (uint64_t skip = 0; runs_here(codes[i]) && skip < 1 << KERNEL_H * KERNEL_W;
			skip += 7) {
			struct kerf_direct d = describe(codes[i]);
			struct kerf_direct_tile t = describe_tile(5);

			d.kernel[0] = KERNEL_H;
			d.kernel[1] = KERNEL_W;
			t.skip = skip;
			check_all_tiles(&d, t);
			d.kernel[0] = 2;
			d.dilations[0] = 2;
			check_all_tiles(&d, t);
			d.kernel[1] = 1;
			check_all_tiles(&d, t);
		}
}

/* What a tile does to its results, once the last inputs are in them. */
static void test_acts(void)
{
	const enum kerf_act_kind acts[] = {KERF_ACT_SILU, KERF_ACT_HARD_SWISH};

	fill_all();
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++)
		for (int k = 0; runs_here(codes[i]) && k < 2; k++) {
			struct kerf_direct d = describe(codes[i]);
			struct kerf_direct_tile t = describe_tile(3);

			d.lo = -INFINITY;
			d.hi = INFINITY;
			d.act = acts[k];
			check_all_tiles(&d, t);
			t.last = false;
			check_all_tiles(&d, t);
			t.last = true;
			d.kernel[0] = KERNEL_H;
			check_all_tiles(&d, t);
		}
}

/* Vectors of inputs of their own: groups as wide as a vector. */
static void test_apart(void)
{
	fill_all();
	for (size_t i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		struct kerf_direct d = describe(codes[i]);

		d.kernel[0] = KERNEL_H;
		d.kernel[1] = KERNEL_W;
		d.apart = true;
		/* AVX-512 has no such tiles */
		if (runs_here(codes[i]) && codes[i] == &kerf_direct_avx2)
			check_all_tiles(&d, describe_tile(codes[i]->lanes));
	}
}

UNIT_MAIN("engine.tiles", UNIT(test_inputs), UNIT(test_blocks), UNIT(test_windows),
	UNIT(test_acts), UNIT(test_apart))
