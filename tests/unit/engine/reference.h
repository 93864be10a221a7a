/*
 * reference: every operator as plainly as it can be written, in double and in ONNX order, to
 * compare the engine with. Runs optimised and unoptimised graphs.
 */
#pragma once

#include "engine/engine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static inline void *ref_alloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size);

	if (!p)
		abort();
	return p;
}

static inline double ref_act(struct kerf_act a, double x)
{
	double lo = (double)a.lo, hi = (double)a.hi;

	switch (a.kind) {
	case KERF_ACT_NONE: return x;
	case KERF_ACT_RELU: return x > 0 ? x : 0;
	case KERF_ACT_CLIP: return fmin(fmax(x, lo), hi);
	case KERF_ACT_SIGMOID: return 1 / (1 + exp(-x));
	case KERF_ACT_SILU: return x / (1 + exp(-x));
	case KERF_ACT_HARD_SIGMOID: return fmin(fmax(lo * x + hi, 0), 1);
	case KERF_ACT_HARD_SWISH: return x * fmin(fmax(x / 6 + 0.5, 0), 1);
	case KERF_ACT_TANH: return tanh(x);
	case KERF_ACT_LEAKY_RELU: return x > 0 ? x : lo * x;
	case KERF_ACT_ERF: return erf(x);
	case KERF_ACT_GELU: return x / 2 * erfc(-x / sqrt(2.0));
	case KERF_ACT_ABS: return fabs(x);
	case KERF_ACT_SQRT: return sqrt(x);
	case KERF_ACT_RECIPROCAL: return 1 / x;
	case KERF_ACT_EXP: return exp(x);
	case KERF_ACT_LOG: return log(x);
	case KERF_ACT_ELU: return x < 0 ? lo * expm1(x) : x;
	case KERF_ACT_SELU: return hi * (x < 0 ? lo * expm1(x) : x);
	case KERF_ACT_SOFTPLUS: return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
	case KERF_ACT_SOFTSIGN: return x / (1 + fabs(x));
	case KERF_ACT_FLOOR: return floor(x);
	case KERF_ACT_CEIL: return ceil(x);
	case KERF_ACT_ROUND: return nearbyint(x);
	case KERF_ACT_SIN: return sin(x);
	case KERF_ACT_COS: return cos(x);
	case KERF_ACT_COUNT: break;
	}
	abort();
}

/* Splits an ONNX index into coordinates. */
static inline void ref_unravel(
	const struct kerf_tensor *t, int64_t index, int64_t at[KERF_MAX_DIMS])
{
	for (int i = t->n_dims - 1; i >= 0; i--) {
		at[i] = index % t->dims[i];
		index /= t->dims[i];
	}
}

static inline int64_t ref_ravel(const struct kerf_tensor *t, const int64_t at[KERF_MAX_DIMS])
{
	int64_t index = 0;

	for (int i = 0; i < t->n_dims; i++)
		index = index * t->dims[i] + at[i];
	return index;
}

struct ref {
	const struct kerf_graph *g;
	double **v; /* per tensor, NULL until it is known */
};

static inline const struct kerf_tensor *ref_tensor(const struct ref *r, int id)
{
	return &r->g->tensors[id];
}

static inline void ref_conv(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *tx = ref_tensor(r, n->inputs[0]),
				 *tw = ref_tensor(r, n->inputs[1]);
	const struct kerf_tensor *ty = ref_tensor(r, n->output);
	const double *x = r->v[n->inputs[0]], *w = r->v[n->inputs[1]];
	const double *bias = n->n_inputs > 2 && n->inputs[2] >= 0 ? r->v[n->inputs[2]] : NULL;
	int64_t out_per_group = ty->dims[1] / n->groups, in_per_group = tw->dims[1];
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		ref_unravel(ty, i, at);
		double sum = bias ? bias[at[1]] : 0;
		for (int64_t c = 0; c < in_per_group; c++)
			for (int64_t ky = 0; ky < n->kernel[0]; ky++)
				for (int64_t kx = 0; kx < n->kernel[1]; kx++) {
					int64_t p[KERF_MAX_DIMS] = {at[0],
						at[1] / out_per_group * in_per_group + c,
						at[2] * n->strides[0] - n->pads[0] +
							ky * n->dilations[0],
						at[3] * n->strides[1] - n->pads[1] +
							kx * n->dilations[1]};
					int64_t k[KERF_MAX_DIMS] = {at[1], c, ky, kx};
					if (p[2] < 0 || p[2] >= tx->dims[2] || p[3] < 0 ||
						p[3] >= tx->dims[3])
						continue;
					sum += x[ref_ravel(tx, p)] * w[ref_ravel(tw, k)];
				}
		y[i] = sum;
	}
}

static inline void ref_gemm(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *ty = ref_tensor(r, n->output);
	const double *x = r->v[n->inputs[0]], *w = r->v[n->inputs[1]];
	const double *bias = n->n_inputs > 2 && n->inputs[2] >= 0 ? r->v[n->inputs[2]] : NULL;
	int64_t m = ty->dims[1], depth = ref_tensor(r, n->inputs[0])->dims[1];

	for (int64_t i = 0; i < ty->dims[0] * m; i++) {
		y[i] = bias ? bias[i % m] : 0;
		for (int64_t k = 0; k < depth; k++)
			y[i] += x[i / m * depth + k] * w[i % m * depth + k];
	}
}

static inline void ref_batchnorm(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *ty = ref_tensor(r, n->output);
	const double *x = r->v[n->inputs[0]];
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		ref_unravel(ty, i, at);
		int64_t c = at[1];
		y[i] = (x[i] - r->v[n->inputs[3]][c]) /
			       sqrt(r->v[n->inputs[4]][c] + (double)n->epsilon) *
			       r->v[n->inputs[1]][c] +
		       r->v[n->inputs[2]][c];
	}
}

static inline double ref_combine(enum kerf_op op, double a, double b)
{
	switch (op) {
	case KERF_OP_ADD: return a + b;
	case KERF_OP_MUL: return a * b;
	case KERF_OP_DIV: return a / b;
	case KERF_OP_MIN: return fmin(a, b);
	case KERF_OP_MAX: return fmax(a, b);
	case KERF_OP_POW: return pow(a, b);
	case KERF_OP_PRELU: return a < 0 ? a * b : a;
	case KERF_OP_EQUAL: return a == b;
	case KERF_OP_LESS: return a < b;
	case KERF_OP_LESS_EQUAL: return a <= b;
	case KERF_OP_MASK: return b != 0 ? a : 0;
	default: abort();
	}
}

static inline void ref_binary(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *ty = ref_tensor(r, n->output);
	int64_t at[KERF_MAX_DIMS], p[KERF_MAX_DIMS];
	double v[2];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		ref_unravel(ty, i, at);
		for (int k = 0; k < 2; k++) {
			const struct kerf_tensor *t = ref_tensor(r, n->inputs[k]);
			for (int d = 0; d < t->n_dims; d++)
				p[d] = t->dims[d] == 1 ? 0 : at[ty->n_dims - t->n_dims + d];
			v[k] = r->v[n->inputs[k]][ref_ravel(t, p)];
		}
		y[i] = ref_combine(n->op, v[0], v[1]);
	}
}

static inline void ref_pool(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *tx = ref_tensor(r, n->inputs[0]), *ty = ref_tensor(r, n->output);
	const double *x = r->v[n->inputs[0]];
	bool global = n->op == KERF_OP_GLOBAL_AVGPOOL, max = n->op == KERF_OP_MAXPOOL;
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		double sum = 0, top = -INFINITY;
		int64_t count = 0;
		ref_unravel(ty, i, at);
		for (int64_t ky = 0; ky < (global ? tx->dims[2] : n->kernel[0]); ky++)
			for (int64_t kx = 0; kx < (global ? tx->dims[3] : n->kernel[1]); kx++) {
				int64_t p[KERF_MAX_DIMS] = {at[0], at[1], ky, kx};
				if (!global) {
					p[2] = at[2] * n->strides[0] - n->pads[0] +
					       ky * n->dilations[0];
					p[3] = at[3] * n->strides[1] - n->pads[1] +
					       kx * n->dilations[1];
				}
				bool inside = p[2] >= 0 && p[2] < tx->dims[2] && p[3] >= 0 &&
					      p[3] < tx->dims[3];
				count += inside || n->count_include_pad;
				if (!inside)
					continue;
				sum += x[ref_ravel(tx, p)];
				top = fmax(top, x[ref_ravel(tx, p)]);
			}
		y[i] = max ? top : sum / (double)count;
	}
}

static inline void ref_concat(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *ty = ref_tensor(r, n->output);
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		int k = 0;
		ref_unravel(ty, i, at);
		while (at[n->axis] >= ref_tensor(r, n->inputs[k])->dims[n->axis])
			at[n->axis] -= ref_tensor(r, n->inputs[k++])->dims[n->axis];
		y[i] = r->v[n->inputs[k]][ref_ravel(ref_tensor(r, n->inputs[k]), at)];
	}
}

static inline void ref_softmax(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *t = ref_tensor(r, n->output);
	const double *x = r->v[n->inputs[0]];
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(t); i++) {
		double sum = 0;
		ref_unravel(t, i, at);
		for (at[n->axis] = 0; at[n->axis] < t->dims[n->axis]; at[n->axis]++)
			sum += exp(x[ref_ravel(t, at)] - x[i]);
		y[i] = 1 / sum;
	}
}

static inline void ref_move(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *tx = ref_tensor(r, n->inputs[0]), *ty = ref_tensor(r, n->output);
	const double *x = r->v[n->inputs[0]];
	int64_t at[KERF_MAX_DIMS], p[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		bool inside = true;
		ref_unravel(ty, i, at);
		memcpy(p, at, sizeof(p));
		for (int d = 0; n->op == KERF_OP_TRANSPOSE && d < ty->n_dims; d++)
			p[n->perm[d]] = at[d];
		for (int d = 0; n->op == KERF_OP_PAD && d < 2; d++) {
			p[2 + d] -= n->pads[d];
			inside = inside && p[2 + d] >= 0 && p[2 + d] < tx->dims[2 + d];
		}
		for (int d = 0; n->op == KERF_OP_SLICE && d < ty->n_dims; d++)
			p[d] = n->starts[d] + at[d] * n->steps[d];
		y[i] = inside ? x[ref_ravel(tx, p)] : 0;
	}
}

static inline void ref_matmul(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *ta = ref_tensor(r, n->inputs[0]), *tb = ref_tensor(r, n->inputs[1]);
	const struct kerf_tensor *ty = ref_tensor(r, n->output);
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		ref_unravel(ty, i, at);
		for (int64_t k = 0; k < ta->dims[2]; k++) {
			const int64_t a[KERF_MAX_DIMS] = {ta->dims[0] > 1 ? at[0] : 0, at[1], k};
			const int64_t b[KERF_MAX_DIMS] = {tb->dims[0] > 1 ? at[0] : 0, k, at[2]};
			y[i] += r->v[n->inputs[0]][ref_ravel(ta, a)] * r->v[n->inputs[1]][ref_ravel(tb, b)];
		}
	}
}

static inline void ref_gather(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *tx = ref_tensor(r, n->inputs[0]), *ty = ref_tensor(r, n->output);
	const struct kerf_tensor *table = ref_tensor(r, n->inputs[1]);
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		ref_unravel(ty, i, at);
		const int64_t first = at[n->axis] * table->dims[1];
		for (int64_t t = 0; t < table->dims[1]; t++) {
			const double weight = n->inputs[2] >= 0 ? r->v[n->inputs[2]][first + t] : 1;
			at[n->axis] = ((const int64_t *)table->data)[first + t];
			y[i] += weight * (at[n->axis] < 0 ? (double)n->value : r->v[n->inputs[0]][ref_ravel(tx, at)]);
		}
	}
}

static inline void ref_depth_to_space(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *tx = ref_tensor(r, n->inputs[0]), *ty = ref_tensor(r, n->output);
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < kerf_tensor_elements(ty); i++) {
		ref_unravel(ty, i, at);
		const int64_t block = at[2] % n->kernel[0] * n->kernel[1] + at[3] % n->kernel[1];
		const int64_t from[KERF_MAX_DIMS] = {
			at[0], block * ty->dims[1] + at[1], at[2] / n->kernel[0], at[3] / n->kernel[1]};
		y[i] = r->v[n->inputs[0]][ref_ravel(tx, from)];
	}
}

/* Along the one axis, the value that has k others before it comes at place k: larger or smaller ones, or as large and earlier. */
static inline void ref_top(const struct ref *r, const struct kerf_node *n, double *y)
{
	const struct kerf_tensor *tx = ref_tensor(r, n->inputs[0]), *ty = ref_tensor(r, n->output);
	const int axis = __builtin_ctz(n->axes);
	const bool largest = n->reduce == KERF_REDUCE_MAX || n->reduce == KERF_REDUCE_ARGMAX;
	const bool index = n->reduce == KERF_REDUCE_ARGMAX || n->reduce == KERF_REDUCE_ARGMIN;
	const double *v = r->v[n->inputs[0]];

	for (int64_t i = 0; i < kerf_tensor_elements(tx); i++) {
		int64_t at[KERF_MAX_DIMS], before = 0;

		ref_unravel(tx, i, at);
		const int64_t mine = at[axis];
		for (at[axis] = 0; at[axis] < tx->dims[axis]; at[axis]++) {
			const double other = v[ref_ravel(tx, at)];

			before += (largest ? other > v[i] : other < v[i]) || (other == v[i] && at[axis] < mine);
		}
		at[axis] = before;
		if (before < n->top)
			y[ref_ravel(ty, at)] = index ? (double)mine : v[i];
	}
}

static inline void ref_reduce(const struct ref *r, const struct kerf_node *n, double *y)
{
	if (n->top > 1) {
		ref_top(r, n, y);
		return;
	}
	const struct kerf_tensor *tx = ref_tensor(r, n->inputs[0]), *ty = ref_tensor(r, n->output);
	const int64_t elements = kerf_tensor_elements(tx), each = elements / kerf_tensor_elements(ty);
	double *best = ref_alloc((size_t)kerf_tensor_elements(ty), sizeof(*best));
	int64_t *seen = ref_alloc((size_t)kerf_tensor_elements(ty), sizeof(*seen));
	int64_t at[KERF_MAX_DIMS];

	for (int64_t i = 0; i < elements; i++) {
		const double x = r->v[n->inputs[0]][i];
		ref_unravel(tx, i, at);
		for (int d = 0; d < tx->n_dims; d++)
			at[d] = n->axes >> d & 1 ? 0 : at[d];
		const int64_t o = ref_ravel(ty, at);
		const bool first = seen[o]++ == 0;
		switch (n->reduce) {
		case KERF_REDUCE_MEAN: y[o] += x / (double)each; break;
		case KERF_REDUCE_SUM: y[o] += x; break;
		case KERF_REDUCE_PROD: y[o] = first ? x : y[o] * x; break;
		case KERF_REDUCE_MAX: y[o] = first ? x : fmax(y[o], x); break;
		case KERF_REDUCE_MIN: y[o] = first ? x : fmin(y[o], x); break;
		default:
			if (first || (n->reduce == KERF_REDUCE_ARGMAX ? x > best[o] : x < best[o])) {
				best[o] = x;
				y[o] = (double)(seen[o] - 1);
			}
		}
	}
	free(best);
	free(seen);
}

static inline void ref_layernorm(const struct ref *r, const struct kerf_node *n, double *y)
{
	const int64_t rows = ref_tensor(r, n->output)->dims[0], len = ref_tensor(r, n->output)->dims[1];

	for (int64_t i = 0; i < rows; i++) {
		const double *x = r->v[n->inputs[0]] + i * len;
		double mean = 0, variance = 0;
		for (int64_t k = 0; k < len; k++)
			mean += x[k] / (double)len;
		for (int64_t k = 0; k < len; k++)
			variance += (x[k] - mean) * (x[k] - mean) / (double)len;
		for (int64_t k = 0; k < len; k++)
			y[i * len + k] = (x[k] - mean) / sqrt(variance + (double)n->epsilon) *
					(n->inputs[1] >= 0 ? r->v[n->inputs[1]][k] : 1) +
				(n->inputs[2] >= 0 ? r->v[n->inputs[2]][k] : 0);
	}
}

static inline void ref_node(const struct ref *r, const struct kerf_node *n)
{
	int64_t elements = kerf_tensor_elements(ref_tensor(r, n->output));
	double *y = ref_alloc((size_t)elements, sizeof(*y));

	switch (n->op) {
	case KERF_OP_CONV: ref_conv(r, n, y); break;
	case KERF_OP_GEMM: ref_gemm(r, n, y); break;
	case KERF_OP_BATCHNORM: ref_batchnorm(r, n, y); break;
	case KERF_OP_ADD:
	case KERF_OP_MUL:
	case KERF_OP_DIV:
	case KERF_OP_MIN:
	case KERF_OP_MAX:
	case KERF_OP_POW:
	case KERF_OP_EQUAL:
	case KERF_OP_LESS:
	case KERF_OP_LESS_EQUAL:
	case KERF_OP_MASK:
	case KERF_OP_PRELU: ref_binary(r, n, y); break;
	case KERF_OP_MATMUL: ref_matmul(r, n, y); break;
	case KERF_OP_GATHER: ref_gather(r, n, y); break;
	case KERF_OP_REDUCE: ref_reduce(r, n, y); break;
	case KERF_OP_DEPTH_TO_SPACE: ref_depth_to_space(r, n, y); break;
	case KERF_OP_LAYERNORM: ref_layernorm(r, n, y); break;
	case KERF_OP_MAXPOOL:
	case KERF_OP_AVGPOOL:
	case KERF_OP_GLOBAL_AVGPOOL: ref_pool(r, n, y); break;
	case KERF_OP_CONCAT: ref_concat(r, n, y); break;
	case KERF_OP_SOFTMAX: ref_softmax(r, n, y); break;
	case KERF_OP_TRANSPOSE:
	case KERF_OP_SLICE:
	case KERF_OP_PAD: ref_move(r, n, y); break;
	case KERF_OP_ACT:
	case KERF_OP_RESHAPE: memcpy(y, r->v[n->inputs[0]], (size_t)elements * sizeof(*y)); break;
	default: abort();
	}
	for (int64_t i = 0; i < elements; i++)
		y[i] = ref_act(n->act, y[i] + (n->residual >= 0 ? r->v[n->residual][i] : 0));
	r->v[n->output] = y;
}

/* Values of every tensor for one input in ONNX order; ref_free() gives them back. */
static inline double **ref_run(const struct kerf_graph *g, const float *input)
{
	struct ref r = {.g = g, .v = ref_alloc((size_t)g->n_tensors, sizeof(*r.v))};

	for (int t = 0; t < g->n_tensors; t++) {
		const struct kerf_tensor *tensor = &g->tensors[t];
		const float *from = t == g->input ? input : tensor->data;
		if (!from || tensor->dtype != KERF_F32)
			continue;
		r.v[t] = ref_alloc((size_t)kerf_tensor_elements(tensor), sizeof(double));
		for (int64_t i = 0; i < kerf_tensor_elements(tensor); i++)
			r.v[t][i] = (double)from[i];
	}
	for (int i = 0; i < g->n_nodes; i++)
		ref_node(&r, &g->nodes[i]);
	return r.v;
}

static inline void ref_free(const struct kerf_graph *g, double **v)
{
	for (int t = 0; t < g->n_tensors; t++)
		free(v[t]);
	free(v);
}

/* ---- between ONNX order and the engine's NHWC ---- */

static inline int64_t ref_nhwc_index(const struct kerf_tensor *t, int64_t onnx)
{
	int64_t at[KERF_MAX_DIMS];

	if (t->n_dims != 4)
		return onnx;
	ref_unravel(t, onnx, at);
	return ((at[0] * t->dims[2] + at[2]) * t->dims[3] + at[3]) * t->dims[1] + at[1];
}

static inline void ref_to_engine(const struct kerf_tensor *t, const float *onnx, float *engine)
{
	for (int64_t i = 0; i < kerf_tensor_elements(t); i++)
		engine[ref_nhwc_index(t, i)] = onnx[i];
}

/* max |a - b| / max |b| of an engine tensor against ONNX-ordered expectation; NaN gives NaN. */
static inline double ref_error(const struct kerf_tensor *t, const float *engine, const double *b)
{
	double worst = 0, largest = 0;

	for (int64_t i = 0; i < kerf_tensor_elements(t); i++) {
		double d = fabs((double)engine[ref_nhwc_index(t, i)] - b[i]);
		if (!(d <= worst))
			worst = d;
		largest = fmax(largest, fabs(b[i]));
	}
	return worst / fmax(largest, 1e-30);
}

/* ---- small graphs ---- */

/* Seeded values in [-1, 1) */
static inline float ref_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (float)(int32_t)(*seed >> 32) / 2147483648.0f;
}

static inline float *ref_random_values(int64_t n, float low, float high, uint64_t *seed)
{
	float *v = ref_alloc((size_t)n, sizeof(*v));

	for (int64_t i = 0; i < n; i++)
		v[i] = low + (high - low) * 0.5f * (ref_random(seed) + 1);
	return v;
}

struct ref_net {
	struct kerf_graph *g;
	uint64_t seed;
	int n_names;
	char name[32];
};

static inline struct ref_net ref_net_create(int n_dims, const int64_t *dims)
{
	struct ref_net net = {.g = kerf_graph_create("test"), .seed = 1};

	if (!net.g)
		abort();
	net.g->input = kerf_graph_add_tensor(net.g, "input", KERF_F32, n_dims, dims);
	if (net.g->input < 0)
		abort();
	return net;
}

static inline struct ref_net ref_net_nchw(int64_t n, int64_t c, int64_t h, int64_t w)
{
	return ref_net_create(4, (const int64_t[]){n, c, h, w});
}

static inline const char *ref_new_name(struct ref_net *net, const char *kind)
{
	snprintf(net->name, sizeof(net->name), "%s%d", kind, net->n_names++);
	return net->name;
}

static inline int ref_constant(
	struct ref_net *net, int n_dims, const int64_t *dims, float low, float high)
{
	int64_t n = 1;

	for (int i = 0; i < n_dims; i++)
		n *= dims[i];
	return kerf_graph_add_constant(net->g, ref_new_name(net, "constant"), KERF_F32, n_dims,
		dims, ref_random_values(n, low, high, &net->seed));
}

/* Adds n with `x` as first input and makes its output the graph's; a refusal is a bug in the test.
 */
static inline int ref_add(struct ref_net *net, struct kerf_node n, int x)
{
	struct kerf_err err = {0};
	int residual = n.residual > 0 ? n.residual : KERF_NONE; /* tensor 0 is the graph's input */

	n.inputs[0] = x;
	if (n.n_inputs == 0)
		n.n_inputs = 1;
	if (!n.name)
		n.name = (char *)ref_new_name(net, kerf_op_name(n.op));
	int out = kerf_graph_add_node(net->g, &n, &err);
	if (out < 0) {
		fprintf(stderr, "%s\n", err.text);
		abort();
	}
	net->g->nodes[net->g->n_nodes - 1].residual = residual;
	net->g->output = out;
	return out;
}

/* A convolution with random weights and bias; kernel, strides, ... as in `like`. */
static inline int ref_add_conv(struct ref_net *net, struct kerf_node like, int x, int64_t out)
{
	int64_t groups = like.groups ? like.groups : 1;
	int64_t dims[4] = {
		out, net->g->tensors[x].dims[1] / groups, like.kernel[0], like.kernel[1]};
	float scale = sqrtf(3.0f / (float)(dims[1] * dims[2] * dims[3]));

	like.op = KERF_OP_CONV;
	like.inputs[1] = ref_constant(net, 4, dims, -scale, scale);
	like.inputs[2] = ref_constant(net, 1, dims, -0.5f, 0.5f);
	like.n_inputs = 3;
	return ref_add(net, like, x);
}

static inline int ref_add_act(struct ref_net *net, int x, struct kerf_act act)
{
	return ref_add(net, (struct kerf_node){.op = KERF_OP_ACT, .act = act}, x);
}

static inline int ref_add_binary(struct ref_net *net, enum kerf_op op, int a, int b)
{
	return ref_add(net, (struct kerf_node){.op = op, .n_inputs = 2, .inputs = {a, b}}, a);
}

/* A fresh tensor of the target shape, then the node. */
static inline int ref_add_reshape(struct ref_net *net, int x, int n_dims, const int64_t *dims)
{
	int out = kerf_graph_add_tensor(net->g, ref_new_name(net, "shape"), KERF_F32, n_dims, dims);

	return ref_add(net, (struct kerf_node){.op = KERF_OP_RESHAPE, .output = out}, x);
}
