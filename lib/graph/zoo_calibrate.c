/*
 * BatchNorm statistics of a network with random weights, measured as training would: seeded
 * pictures run through the convolutional part, and every BatchNorm takes the mean and variance of
 * what reaches it. Without that, errors of estimated statistics multiply through 50 layers
 * (SiLU and squeeze-excite do not scale with their input), and what all pictures have in common
 * grows until every picture gives the same answer.
 *
 * The pictures are small, so that this takes a fraction of a second. Values of one pixel in all
 * pictures lie side by side: a map is [C][H][W][PICTURES], and every loop ends in PICTURES lanes.
 * Only + - * / in a fixed order: the same bits on every machine.
 */
#include "graph/zoo_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PICTURES 4
#define OCTAVES 7 /* block sizes 64, 32, ... 1 */

/* Streams of pictures lie behind those of constants, which are tensor ids. */
#define PICTURE_STREAM (1ull << 32)

/* A channel's own variance counts this much, the layer's average the rest: samples are few. */
#define OWN_VARIANCE 0.75

struct map {
	int64_t channels, h, w;
	float *v;
};

struct calibration {
	struct zoo *z;
	int64_t side; /* of the pictures, pixels */
	struct map *maps; /* per tensor */
};

static int64_t area_of(const struct map *m)
{
	return m->h * m->w;
}

static int create_map(struct calibration *c, int id, int64_t channels, int64_t h, int64_t w)
{
	struct map *m = &c->maps[id];

	*m = (struct map){.channels = channels, .h = h, .w = w};
	m->v = calloc((size_t)(channels * h * w * PICTURES), sizeof(*m->v));
	return m->v ? 0 : -ENOMEM;
}

/* Noise with as much of every size: closer to photographs than white noise. Variance 1. */
static void draw_pictures(struct calibration *c, struct map *m)
{
	const float amplitude = 0.65465367f; /* sqrt(3 / OCTAVES): uniform noise has variance 1/3 */
	int64_t side = c->side;
	uint32_t bits[4];

	for (int64_t i = 0; i < 3 * side * side * PICTURES; i++) {
		int64_t lane = i % PICTURES, pixel = i / PICTURES;
		int64_t x = pixel % side, y = pixel / side % side, plane = pixel / (side * side);
		for (int octave = 0; octave < OCTAVES; octave++) {
			int64_t block = (y >> octave) * side + (x >> octave);
			uint64_t stream = PICTURE_STREAM +
				(uint64_t)((octave * 3 + plane) * PICTURES + lane);
			kerf_rng_block(c->z->seed, stream, (uint64_t)block, bits);
			m->v[i] += amplitude * ((float)(bits[0] >> 8) / 8388608.0f - 1.0f);
		}
	}
}

/* to[] += w * from[] for n pixels; step pixels apart in from[]. */
static void add_scaled(float *restrict to, const float *restrict from, float w, int64_t n,
	int64_t step)
{
	for (int64_t i = 0; i < n; i++, to += PICTURES, from += step * PICTURES)
		for (int lane = 0; lane < PICTURES; lane++)
			to[lane] += w * from[lane];
}

/* Outputs whose tap lies inside the input: from <= i < to of `out` outputs. */
static void valid_range(int64_t in, int64_t out, int stride, int64_t offset, int64_t range[2])
{
	range[0] = offset < 0 ? (-offset + stride - 1) / stride : 0;
	range[1] = KERF_MIN(out, in - offset <= 0 ? 0 : (in - offset - 1) / stride + 1);
}

static void add_tap(const struct kerf_node *n, const struct map *in, const float *plane, int ky,
	int kx, float w, const struct map *out, float *sum)
{
	int64_t dy = ky - n->pads[0], dx = kx - n->pads[1], ys[2], xs[2];

	valid_range(in->h, out->h, n->strides[0], dy, ys);
	valid_range(in->w, out->w, n->strides[1], dx, xs);
	for (int64_t y = ys[0]; y < ys[1] && xs[0] < xs[1]; y++) {
		int64_t from = (y * n->strides[0] + dy) * in->w + xs[0] * n->strides[1] + dx;
		add_scaled(sum + (y * out->w + xs[0]) * PICTURES, plane + from * PICTURES, w,
			xs[1] - xs[0], n->strides[1]);
	}
}

/* What a window makes of a side of `in` pixels. axis: 0 down, 1 across. */
static int64_t slide(int64_t in, const struct kerf_node *n, int axis)
{
	return (in + n->pads[axis] + n->pads[axis + 2] - n->kernel[axis]) / n->strides[axis] + 1;
}

static int create_slid_map(struct calibration *c, const struct kerf_node *n, int64_t channels)
{
	const struct map *in = &c->maps[n->inputs[0]];

	return create_map(c, n->output, channels, slide(in->h, n, 0), slide(in->w, n, 1));
}

static int run_conv(struct calibration *c, const struct kerf_node *n)
{
	const struct kerf_tensor *weights = &c->z->g->tensors[n->inputs[1]];
	const float *bias = n->inputs[2] >= 0 ? c->z->g->tensors[n->inputs[2]].data : NULL;
	const struct map *in = &c->maps[n->inputs[0]];
	int64_t depth = weights->dims[1], per_group = weights->dims[0] / n->groups;
	const float *w = weights->data;

	if (create_slid_map(c, n, weights->dims[0]) < 0)
		return -ENOMEM;
	const struct map *out = &c->maps[n->output];
	for (int64_t o = 0; o < out->channels; o++) {
		float *sum = out->v + o * area_of(out) * PICTURES;
		for (int64_t i = 0; bias && i < area_of(out) * PICTURES; i++)
			sum[i] = bias[o];
		for (int64_t d = 0; d < depth; d++) {
			const float *plane = in->v +
				(o / per_group * depth + d) * area_of(in) * PICTURES;
			for (int k = 0; k < n->kernel[0] * n->kernel[1]; k++)
				add_tap(n, in, plane, k / n->kernel[1], k % n->kernel[1], *w++, out,
					sum);
		}
	}
	return 0;
}

static void measure(const float *v, int64_t n, double *mean, double *variance)
{
	double sum = 0, square = 0;

	for (int64_t i = 0; i < n; i++)
		sum += v[i];
	*mean = sum / (double)n;
	for (int64_t i = 0; i < n; i++)
		square += (v[i] - *mean) * (v[i] - *mean);
	*variance = square / (double)n;
}

/* Sets the node's mean and variance. */
static void set_statistics(struct calibration *c, const struct kerf_node *n)
{
	const struct map *in = &c->maps[n->inputs[0]];
	float *means = c->z->g->tensors[n->inputs[3]].data;
	float *variances = c->z->g->tensors[n->inputs[4]].data;
	int64_t samples = area_of(in) * PICTURES;
	double average = 0;

	for (int64_t i = 0; i < in->channels; i++) {
		double mean, variance;
		measure(in->v + i * samples, samples, &mean, &variance);
		means[i] = (float)mean;
		variances[i] = (float)variance;
		average += variance / (double)in->channels;
	}
	for (int64_t i = 0; i < in->channels; i++)
		variances[i] = (float)(OWN_VARIANCE * variances[i] + (1 - OWN_VARIANCE) * average);
}

static void run_batchnorm(struct calibration *c, const struct kerf_node *n)
{
	const struct kerf_tensor *t = c->z->g->tensors;
	const float *scale = t[n->inputs[1]].data, *bias = t[n->inputs[2]].data;
	const float *mean = t[n->inputs[3]].data, *variance = t[n->inputs[4]].data;
	const struct map *in = &c->maps[n->inputs[0]], *out = &c->maps[n->output];
	int64_t samples = area_of(in) * PICTURES;

	for (int64_t ch = 0; ch < in->channels; ch++) {
		float factor = scale[ch] / sqrtf(variance[ch] + n->epsilon);
		for (int64_t i = ch * samples; i < (ch + 1) * samples; i++)
			out->v[i] = (in->v[i] - mean[ch]) * factor + bias[ch];
	}
}

/* (1 - x/1024)^1024 is e^-x within 2% for |x| < 6: enough here, and the same everywhere. */
static float sigmoid(float x)
{
	float base = 1.0f - KERF_MIN(KERF_MAX(x, -20.0f), 20.0f) / 1024.0f;

	for (int i = 0; i < 10; i++)
		base *= base;
	return 1.0f / (1.0f + base);
}

static float activate(const struct kerf_act *a, float x)
{
	switch (a->kind) {
	case KERF_ACT_SIGMOID: return sigmoid(x);
	case KERF_ACT_RELU: return KERF_MAX(x, 0.0f);
	case KERF_ACT_HARD_SIGMOID: return KERF_MIN(KERF_MAX(a->lo * x + a->hi, 0.0f), 1.0f);
	case KERF_ACT_HARD_SWISH: return x * KERF_MIN(KERF_MAX(x * (1.0f / 6) + 0.5f, 0.0f), 1.0f);
	default: return KERF_MIN(KERF_MAX(x, a->lo), a->hi); /* KERF_ACT_CLIP */
	}
}

static void run_activation(struct calibration *c, const struct kerf_node *n)
{
	const struct map *in = &c->maps[n->inputs[0]], *out = &c->maps[n->output];

	for (int64_t i = 0; i < in->channels * area_of(in) * PICTURES; i++)
		out->v[i] = activate(&n->act, in->v[i]);
}

/* ADD and MUL; the second may be a gate of squeeze-excite, with one pixel a channel. */
static void run_binary(struct calibration *c, const struct kerf_node *n)
{
	const struct map *a = &c->maps[n->inputs[0]], *b = &c->maps[n->inputs[1]];
	int64_t area = area_of(a), step = area_of(b) == area ? PICTURES : 0;
	float *to = c->maps[n->output].v;
	const float *x = a->v, *y = b->v;

	for (int64_t ch = 0; ch < a->channels; ch++, y += step ? 0 : PICTURES)
		for (int64_t i = 0; i < area; i++, x += PICTURES, y += step, to += PICTURES)
			for (int lane = 0; lane < PICTURES; lane++)
				to[lane] = n->op == KERF_OP_ADD ? x[lane] + y[lane]
								: x[lane] * y[lane];
}

static int run_global_avgpool(struct calibration *c, const struct kerf_node *n)
{
	const struct map *in = &c->maps[n->inputs[0]];

	if (create_map(c, n->output, in->channels, 1, 1) < 0)
		return -ENOMEM;
	float *to = c->maps[n->output].v;
	const float *from = in->v;
	for (int64_t ch = 0; ch < in->channels; ch++, to += PICTURES)
		for (int64_t i = 0; i < area_of(in); i++, from += PICTURES)
			for (int lane = 0; lane < PICTURES; lane++)
				to[lane] += from[lane] / (float)area_of(in);
	return 0;
}

/* Zero stands for what lies outside: it counts in an average, and maxima come behind a ReLU. */
static int run_pool(struct calibration *c, const struct kerf_node *n)
{
	const struct map *in = &c->maps[n->inputs[0]];
	const int taps = n->kernel[0] * n->kernel[1];

	if (create_slid_map(c, n, in->channels) < 0)
		return -ENOMEM;
	const struct map *out = &c->maps[n->output];
	for (int64_t i = 0; i < out->channels * area_of(out); i++) {
		int64_t ch = i / area_of(out), y = i / out->w % out->h, x = i % out->w;
		float *to = out->v + i * PICTURES;
		for (int k = 0; k < taps; k++) {
			int64_t iy = y * n->strides[0] - n->pads[0] + k / n->kernel[1];
			int64_t ix = x * n->strides[1] - n->pads[1] + k % n->kernel[1];
			if (iy < 0 || iy >= in->h || ix < 0 || ix >= in->w)
				continue;
			const float *from = in->v + ((ch * in->h + iy) * in->w + ix) * PICTURES;
			for (int lane = 0; lane < PICTURES; lane++)
				to[lane] = n->op == KERF_OP_MAXPOOL ? KERF_MAX(to[lane], from[lane])
								    : to[lane] + from[lane] / (float)taps;
		}
	}
	return 0;
}

static int run_concat(struct calibration *c, const struct kerf_node *n)
{
	const struct map *first = &c->maps[n->inputs[0]];

	if (create_map(c, n->output, c->z->g->tensors[n->output].dims[1], first->h, first->w) < 0)
		return -ENOMEM;
	float *to = c->maps[n->output].v;
	for (int i = 0; i < n->n_inputs; i++) {
		const struct map *in = &c->maps[n->inputs[i]];
		const size_t values = (size_t)(in->channels * area_of(in) * PICTURES);

		memcpy(to, in->v, values * sizeof(*to));
		to += values;
	}
	return 0;
}

static int run_node(struct calibration *c, const struct kerf_node *n)
{
	const struct map *in = &c->maps[n->inputs[0]];

	switch (n->op) {
	case KERF_OP_CONV: return run_conv(c, n);
	case KERF_OP_MAXPOOL:
	case KERF_OP_AVGPOOL: return run_pool(c, n);
	case KERF_OP_CONCAT: return run_concat(c, n);
	case KERF_OP_GLOBAL_AVGPOOL: return run_global_avgpool(c, n);
	default: break;
	}
	if (create_map(c, n->output, in->channels, in->h, in->w) < 0)
		return -ENOMEM;
	if (n->op == KERF_OP_ACT) {
		run_activation(c, n);
	} else if (n->op == KERF_OP_BATCHNORM) {
		set_statistics(c, n);
		run_batchnorm(c, n);
	} else {
		run_binary(c, n);
	}
	return 0;
}

/* Behind the last BatchNorm nothing is left to be set. */
static int last_batchnorm(const struct kerf_graph *g)
{
	int last = -1;

	for (int i = 0; i < g->n_nodes; i++)
		if (g->nodes[i].op == KERF_OP_BATCHNORM)
			last = i;
	return last;
}

int zoo_calibrate(struct zoo *z, unsigned side)
{
	struct calibration c = {.z = z, .side = side};
	int last = last_batchnorm(z->g), rc = -ENOMEM;

	if (last < 0)
		return 0;
	c.maps = calloc((size_t)z->g->n_tensors, sizeof(*c.maps));
	if (!c.maps || create_map(&c, z->g->input, 3, side, side) < 0)
		goto out;
	draw_pictures(&c, &c.maps[z->g->input]);
	rc = 0;
	for (int i = 0; i <= last && rc == 0; i++)
		rc = run_node(&c, &z->g->nodes[i]);
out:
	for (int t = 0; c.maps && t < z->g->n_tensors; t++)
		free(c.maps[t].v);
	free(c.maps);
	return rc < 0 ? kerf_err_set(z->err, rc, "%s: no memory to calibrate it", z->g->name) : 0;
}
