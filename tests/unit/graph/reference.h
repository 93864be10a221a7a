/*
 * reference: a graph run by the plainest loops that can be right, for comparing with.
 *
 *	float **v = reference_run(g, x); // v[id]: every tensor's values, dense, in ONNX order
 *	reference_free(g, v);
 *
 * Every sum is in double, so that two orders of the same sum agree to float rounding.
 */
#pragma once

#include "graph/graph.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline float reference_act(const struct kerf_act *a, float x)
{
	switch (a->kind) {
	case KERF_ACT_NONE: return x;
	case KERF_ACT_RELU: return x > 0 ? x : 0;
	case KERF_ACT_CLIP: return fminf(fmaxf(x, a->lo), a->hi);
	case KERF_ACT_SIGMOID: return (float)(1 / (1 + exp(-(double)x)));
	case KERF_ACT_SILU: return (float)(x / (1 + exp(-(double)x)));
	case KERF_ACT_HARD_SIGMOID: return fminf(fmaxf(a->lo * x + a->hi, 0), 1);
	case KERF_ACT_HARD_SWISH: return x * fminf(fmaxf(x / 6 + 0.5f, 0), 1);
	case KERF_ACT_TANH: return tanhf(x);
	case KERF_ACT_LEAKY_RELU: return x > 0 ? x : a->lo * x;
	case KERF_ACT_ERF: return (float)(erf((double)x));
	case KERF_ACT_GELU: return (float)((double)x / 2 * erfc(-(double)x / sqrt(2.0)));
	case KERF_ACT_ABS: return (float)(fabs((double)x));
	case KERF_ACT_SQRT: return (float)(sqrt((double)x));
	case KERF_ACT_RECIPROCAL: return (float)(1 / (double)x);
	case KERF_ACT_EXP: return (float)(exp((double)x));
	case KERF_ACT_LOG: return (float)(log((double)x));
	case KERF_ACT_ELU: return (float)((double)x < 0 ? (double)a->lo * expm1((double)x) : (double)x);
	case KERF_ACT_SELU: return (float)((double)a->hi * ((double)x < 0 ? (double)a->lo * expm1((double)x) : (double)x));
	case KERF_ACT_SOFTPLUS: return (float)((double)x > 0 ? (double)x + log1p(exp(-(double)x)) : log1p(exp((double)x)));
	case KERF_ACT_SOFTSIGN: return (float)((double)x / (1 + fabs((double)x)));
	case KERF_ACT_FLOOR: return (float)(floor((double)x));
	case KERF_ACT_CEIL: return (float)(ceil((double)x));
	case KERF_ACT_ROUND: return (float)(nearbyint((double)x));
	case KERF_ACT_SIN: return (float)(sin((double)x));
	case KERF_ACT_COS: return (float)(cos((double)x));
	case KERF_ACT_COUNT: break;
	}
	abort();
}

struct reference {
	const struct kerf_graph *g;
	const struct kerf_node *n;
	float **v;
};

static inline const int64_t *reference_dims(const struct reference *r, int id)
{
	return r->g->tensors[id].dims;
}

/* One output plane of one output channel: taps outermost, so that the inner loop is a row. */
static inline void reference_conv_plane(const struct reference *r, int64_t image, int64_t o,
	double *sum)
{
	const struct kerf_node *n = r->n;
	const int64_t *in = reference_dims(r, n->inputs[0]), *out = reference_dims(r, n->output);
	const int64_t *k = reference_dims(r, n->inputs[1]);
	int64_t first = o / (out[1] / n->groups) * k[1];

	for (int64_t c = 0; c < k[1]; c++)
		for (int64_t tap = 0; tap < k[2] * k[3]; tap++) {
			double w = r->v[n->inputs[1]][(o * k[1] + c) * k[2] * k[3] + tap];
			int64_t dy = tap / k[3] * n->dilations[0] - n->pads[0];
			int64_t dx = tap % k[3] * n->dilations[1] - n->pads[1];
			const float *plane =
				r->v[n->inputs[0]] + (image * in[1] + first + c) * in[2] * in[3];
			for (int64_t y = 0; y < out[2]; y++) {
				int64_t iy = y * n->strides[0] + dy;
				if (iy < 0 || iy >= in[2])
					continue;
				for (int64_t x = 0; x < out[3]; x++) {
					int64_t ix = x * n->strides[1] + dx;
					if (ix >= 0 && ix < in[3])
						sum[y * out[3] + x] += w * plane[iy * in[3] + ix];
				}
			}
		}
}

static inline void reference_conv(const struct reference *r, float *to)
{
	const int64_t *out = reference_dims(r, r->n->output);
	const float *bias = r->n->inputs[2] >= 0 ? r->v[r->n->inputs[2]] : NULL;
	int64_t area = out[2] * out[3];
	double *sum = malloc((size_t)area * sizeof(*sum));

	for (int64_t plane = 0; plane < out[0] * out[1]; plane++) {
		int64_t o = plane % out[1];
		for (int64_t i = 0; i < area; i++)
			sum[i] = bias ? bias[o] : 0;
		reference_conv_plane(r, plane / out[1], o, sum);
		for (int64_t i = 0; i < area; i++)
			to[plane * area + i] = (float)sum[i];
	}
	free(sum);
}

static inline void reference_gemm(const struct reference *r, float *to)
{
	const struct kerf_node *n = r->n;
	int64_t rows = reference_dims(r, n->output)[0], columns = reference_dims(r, n->output)[1];
	int64_t depth = reference_dims(r, n->inputs[1])[1];

	for (int64_t i = 0; i < rows * columns; i++) {
		const float *x = r->v[n->inputs[0]] + i / columns * depth;
		const float *w = r->v[n->inputs[1]] + i % columns * depth;
		double sum = n->inputs[2] >= 0 ? r->v[n->inputs[2]][i % columns] : 0;
		for (int64_t k = 0; k < depth; k++)
			sum += (double)x[k] * w[k];
		to[i] = (float)sum;
	}
}

static inline void reference_pool(const struct reference *r, float *to)
{
	const struct kerf_node *n = r->n;
	const int64_t *in = reference_dims(r, n->inputs[0]), *out = reference_dims(r, n->output);

	for (int64_t i = 0; i < out[0] * out[1] * out[2] * out[3]; i++) {
		const float *plane = r->v[n->inputs[0]] + i / (out[2] * out[3]) * in[2] * in[3];
		int64_t y = i / out[3] % out[2], x = i % out[3], count = 0;
		double sum = 0, max = -INFINITY;
		for (int64_t tap = 0; tap < n->kernel[0] * n->kernel[1]; tap++) {
			int64_t iy = y * n->strides[0] - n->pads[0] +
				tap / n->kernel[1] * n->dilations[0];
			int64_t ix = x * n->strides[1] - n->pads[1] +
				tap % n->kernel[1] * n->dilations[1];
			if (iy < 0 || iy >= in[2] || ix < 0 || ix >= in[3])
				continue;
			sum += plane[iy * in[3] + ix];
			max = fmax(max, plane[iy * in[3] + ix]);
			count++;
		}
		if (n->count_include_pad)
			count = n->kernel[0] * n->kernel[1];
		to[i] = (float)(n->op == KERF_OP_MAXPOOL ? max : sum / (double)count);
	}
}

static inline void reference_global_pool(const struct reference *r, float *to)
{
	const int64_t *in = reference_dims(r, r->n->inputs[0]);
	int64_t area = in[2] * in[3];

	for (int64_t c = 0; c < in[0] * in[1]; c++) {
		double sum = 0;
		for (int64_t i = 0; i < area; i++)
			sum += r->v[r->n->inputs[0]][c * area + i];
		to[c] = (float)(sum / (double)area);
	}
}

static inline void reference_batchnorm(const struct reference *r, float *to)
{
	const struct kerf_node *n = r->n;
	const struct kerf_tensor *t = &r->g->tensors[n->output];
	int64_t elements = kerf_tensor_elements(t);
	int64_t area = elements / t->dims[0] / t->dims[1];

	for (int64_t i = 0; i < elements; i++) {
		int64_t c = i / area % t->dims[1];
		double x = r->v[n->inputs[0]][i] - r->v[n->inputs[3]][c];
		x /= sqrt((double)r->v[n->inputs[4]][c] + n->epsilon);
		to[i] = (float)(x * r->v[n->inputs[1]][c] + r->v[n->inputs[2]][c]);
	}
}

/* Index into tensor `in` of the element that numpy pairs with element i of `out`. */
static inline int64_t reference_broadcast(const struct kerf_tensor *out,
	const struct kerf_tensor *in, int64_t i)
{
	int64_t index = 0, step = 1;

	for (int d = in->n_dims - 1; d >= 0; d--) {
		int64_t size = out->dims[d + out->n_dims - in->n_dims];
		index += in->dims[d] == 1 ? 0 : i % size * step;
		step *= in->dims[d];
		i /= size;
	}
	return index;
}

static inline float reference_combine(enum kerf_op op, float x, float y)
{
	switch (op) {
	case KERF_OP_ADD: return x + y;
	case KERF_OP_PRELU: return x >= 0 ? x : x * y;
	case KERF_OP_MIN: return x < y ? x : y;
	case KERF_OP_MAX: return x > y ? x : y;
	case KERF_OP_EQUAL: return x == y;
	case KERF_OP_LESS: return x < y;
	case KERF_OP_LESS_EQUAL: return x <= y;
	case KERF_OP_MASK: return y != 0 ? x : 0;
	default: return x * y;
	}
}

static inline void reference_matmul(const struct reference *r, float *to)
{
	const struct kerf_tensor *a = &r->g->tensors[r->n->inputs[0]], *b = &r->g->tensors[r->n->inputs[1]];
	const int64_t batches = a->dims[0], rows = a->dims[1], inner = a->dims[2], columns = b->dims[2];

	for (int64_t i = 0; i < batches * rows * columns; i++) {
		const float *x = r->v[r->n->inputs[0]] + i / columns * inner;
		const float *y = r->v[r->n->inputs[1]] + i / (rows * columns) * inner * columns + i % columns;

		to[i] = 0;
		for (int64_t k = 0; k < inner; k++)
			to[i] += x[k] * y[k * columns];
	}
}

static inline void reference_binary(const struct reference *r, float *to)
{
	const struct kerf_tensor *t = r->g->tensors, *out = &t[r->n->output];
	int a = r->n->inputs[0], b = r->n->inputs[1];
	int64_t elements = kerf_tensor_elements(out);

	for (int64_t i = 0; i < elements; i++) {
		float x = r->v[a][reference_broadcast(out, &t[a], i)];
		float y = r->v[b][reference_broadcast(out, &t[b], i)];
		to[i] = reference_combine(r->n->op, x, y);
	}
}

static inline void reference_concat(const struct reference *r, float *to)
{
	const struct kerf_tensor *out = &r->g->tensors[r->n->output];
	int64_t outer = 1, row = 1, at = 0;

	for (int d = 0; d < out->n_dims; d++)
		*(d < r->n->axis ? &outer : &row) *= out->dims[d];
	for (int j = 0; j < r->n->n_inputs; j++) {
		int id = r->n->inputs[j];
		int64_t part = kerf_tensor_elements(&r->g->tensors[id]) / outer;
		for (int64_t o = 0; o < outer; o++)
			memcpy(to + o * row + at, r->v[id] + o * part,
				(size_t)part * sizeof(float));
		at += part;
	}
}

static inline void reference_softmax(const struct reference *r, float *to)
{
	const struct kerf_tensor *t = &r->g->tensors[r->n->output];
	const float *x = r->v[r->n->inputs[0]];
	int64_t len = t->dims[r->n->axis], inner = 1, elements = kerf_tensor_elements(t);

	for (int d = r->n->axis + 1; d < t->n_dims; d++)
		inner *= t->dims[d];
	for (int64_t i = 0; i < elements / len; i++) {
		int64_t base = i / inner * inner * len + i % inner;
		double sum = 0, max = -INFINITY;
		for (int64_t k = 0; k < len; k++)
			max = fmax(max, x[base + k * inner]);
		for (int64_t k = 0; k < len; k++)
			sum += exp(x[base + k * inner] - max);
		for (int64_t k = 0; k < len; k++)
			to[base + k * inner] = (float)(exp(x[base + k * inner] - max) / sum);
	}
}

static inline void reference_transpose(const struct reference *r, float *to)
{
	const struct kerf_tensor *in = &r->g->tensors[r->n->inputs[0]];
	const struct kerf_tensor *out = &r->g->tensors[r->n->output];
	int64_t elements = kerf_tensor_elements(out);

	for (int64_t i = 0; i < elements; i++) {
		int64_t at[KERF_MAX_DIMS] = {0}, rest = i, from = 0;
		for (int d = out->n_dims - 1; d >= 0; d--) {
			at[r->n->perm[d]] = rest % out->dims[d];
			rest /= out->dims[d];
		}
		for (int d = 0; d < in->n_dims; d++)
			from = from * in->dims[d] + at[d];
		to[i] = r->v[r->n->inputs[0]][from];
	}
}

static inline void reference_pad(const struct reference *r, float *to)
{
	const int64_t *in = reference_dims(r, r->n->inputs[0]);
	const int64_t *out = reference_dims(r, r->n->output);

	for (int64_t i = 0; i < out[0] * out[1] * out[2] * out[3]; i++) {
		int64_t y = i / out[3] % out[2] - r->n->pads[0], x = i % out[3] - r->n->pads[1];
		bool inside = y >= 0 && y < in[2] && x >= 0 && x < in[3];
		int64_t plane = i / (out[2] * out[3]);
		to[i] = inside ? r->v[r->n->inputs[0]][(plane * in[2] + y) * in[3] + x] : 0;
	}
}

static inline void reference_slice(const struct reference *r, float *to)
{
	const struct kerf_tensor *in = &r->g->tensors[r->n->inputs[0]];
	const struct kerf_tensor *out = &r->g->tensors[r->n->output];

	for (int64_t i = 0; i < kerf_tensor_elements(out); i++) {
		int64_t rest = i, from = 0, step = 1;

		for (int d = out->n_dims - 1; d >= 0; d--) {
			from += step * (r->n->starts[d] + rest % out->dims[d] * r->n->steps[d]);
			rest /= out->dims[d];
			step *= in->dims[d];
		}
		to[i] = r->v[r->n->inputs[0]][from];
	}
}

/* Without weights and without indices of -1. */
static inline void reference_gather(const struct reference *r, float *to)
{
	const struct kerf_tensor *in = &r->g->tensors[r->n->inputs[0]], *out = &r->g->tensors[r->n->output];
	const int64_t *table = r->g->tensors[r->n->inputs[1]].data;
	int64_t inner = 1, i = 0;

	for (int d = r->n->axis + 1; d < out->n_dims; d++)
		inner *= out->dims[d];
	const int64_t n_in = in->dims[r->n->axis], n_out = out->dims[r->n->axis];
	for (int64_t row = 0; row < kerf_tensor_elements(out) / (n_out * inner); row++)
		for (int64_t k = 0; k < n_out; k++)
			for (int64_t c = 0; c < inner; c++)
				to[i++] = r->v[r->n->inputs[0]][(row * n_in + table[k]) * inner + c];
}

static inline void reference_node(const struct reference *r, float *to)
{
	const struct kerf_node *n = r->n;
	int64_t elements = kerf_tensor_elements(&r->g->tensors[n->output]);

	switch (n->op) {
	case KERF_OP_CONV: reference_conv(r, to); break;
	case KERF_OP_GEMM: reference_gemm(r, to); break;
	case KERF_OP_BATCHNORM: reference_batchnorm(r, to); break;
	case KERF_OP_ADD:
	case KERF_OP_PRELU:
	case KERF_OP_MIN:
	case KERF_OP_MAX:
	case KERF_OP_EQUAL:
	case KERF_OP_LESS:
	case KERF_OP_LESS_EQUAL:
	case KERF_OP_MASK:
	case KERF_OP_MUL: reference_binary(r, to); break;
	case KERF_OP_MATMUL: reference_matmul(r, to); break;
	case KERF_OP_MAXPOOL:
	case KERF_OP_AVGPOOL: reference_pool(r, to); break;
	case KERF_OP_GLOBAL_AVGPOOL: reference_global_pool(r, to); break;
	case KERF_OP_CONCAT: reference_concat(r, to); break;
	case KERF_OP_ACT:
	case KERF_OP_RESHAPE:
		memcpy(to, r->v[n->inputs[0]], (size_t)elements * sizeof(float));
		break;
	case KERF_OP_SOFTMAX: reference_softmax(r, to); break;
	case KERF_OP_TRANSPOSE: reference_transpose(r, to); break;
	case KERF_OP_PAD: reference_pad(r, to); break;
	case KERF_OP_SLICE: reference_slice(r, to); break;
	case KERF_OP_GATHER: reference_gather(r, to); break;
	default: abort(); /* no graph of these tests has one */
	}
	const float *residual = n->residual >= 0 ? r->v[n->residual] : NULL;
	for (int64_t i = 0; i < elements; i++)
		to[i] = reference_act(&n->act, residual ? to[i] + residual[i] : to[i]);
}

/* Values of all tensors for input x; those of constants and of the input are not copied. */
static inline float **reference_run(const struct kerf_graph *g, float *x)
{
	float **v = calloc((size_t)g->n_tensors, sizeof(*v));

	for (int t = 0; t < g->n_tensors; t++)
		v[t] = g->tensors[t].data;
	v[g->input] = x;
	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		struct reference r = {.g = g, .n = n, .v = v};
		assert(!v[n->output]);
		for (int j = 0; j < n->n_inputs; j++)
			assert(n->inputs[j] < 0 || v[n->inputs[j]]);
		assert(n->residual < 0 || v[n->residual]);
		v[n->output] = malloc(kerf_tensor_bytes(&g->tensors[n->output]));
		reference_node(&r, v[n->output]);
	}
	return v;
}

static inline void reference_free(const struct kerf_graph *g, float **v)
{
	for (int i = 0; i < g->n_nodes; i++)
		free(v[g->nodes[i].output]);
	free(v);
}
