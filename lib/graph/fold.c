/*
 * Folding: what depends on constants alone is computed now, and a per-channel scale and shift
 * behind a convolution goes into its weights.
 *
 * All arithmetic is +, *, / and sqrt in IEEE double, rounded once to float: the same bits on every
 * machine, so both ends of a split run the same weights.
 */
#include "graph/graph_internal.h"
#include "graph/rewrite.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int no_memory(struct rewrite *r, const char *node)
{
	return kerf_err_set(r->err, -ENOMEM, "%s: no memory to fold node %s", r->g->name, node);
}

/* ---- constants ---- */

/* An odometer over a shape; strides[] are those of a second tensor that is read along the way. */
struct walk {
	int n_dims;
	int64_t dims[KERF_MAX_DIMS], at[KERF_MAX_DIMS], strides[KERF_MAX_DIMS];
	int64_t offset; /* in the second tensor, elements */
};

static void walk_next(struct walk *w)
{
	for (int d = w->n_dims - 1; d >= 0; d--) {
		w->offset += w->strides[d];
		if (++w->at[d] < w->dims[d])
			return;
		w->offset -= w->strides[d] * w->dims[d];
		w->at[d] = 0;
	}
}

static void dense_strides(const struct kerf_tensor *t, int64_t *strides)
{
	int64_t step = 1;

	for (int d = t->n_dims - 1; d >= 0; d--) {
		strides[d] = step;
		step *= t->dims[d];
	}
}

static struct walk walk_over(const struct kerf_tensor *shape)
{
	struct walk w = {.n_dims = shape->n_dims};

	memcpy(w.dims, shape->dims, sizeof(w.dims));
	return w;
}

/* Reads `in` along `out` by numpy's rules: aligned at the last dimension, size 1 repeats. */
static struct walk walk_broadcast(const struct kerf_tensor *out, const struct kerf_tensor *in)
{
	struct walk w = walk_over(out);
	int64_t strides[KERF_MAX_DIMS];
	int shift = out->n_dims - in->n_dims;

	dense_strides(in, strides);
	for (int d = 0; d < in->n_dims; d++)
		if (in->dims[d] != 1)
			w.strides[d + shift] = strides[d];
	return w;
}

static struct walk walk_permuted(const struct kerf_tensor *out, const struct kerf_tensor *in,
	const int *perm)
{
	struct walk w = walk_over(out);
	int64_t strides[KERF_MAX_DIMS];

	dense_strides(in, strides);
	for (int d = 0; d < out->n_dims; d++)
		w.strides[d] = strides[perm[d]];
	return w;
}

static struct walk walk_sliced(const struct kerf_tensor *out, const struct kerf_tensor *in, const struct kerf_node *n)
{
	struct walk w = walk_over(out);
	int64_t strides[KERF_MAX_DIMS];

	dense_strides(in, strides);
	for (int d = 0; d < out->n_dims; d++) {
		w.strides[d] = strides[d] * n->steps[d];
		w.offset += strides[d] * n->starts[d];
	}
	return w;
}

static size_t element_bytes(const struct kerf_tensor *t)
{
	return t->dtype == KERF_F32 ? sizeof(float) : sizeof(int64_t);
}

static void copy_constant(const struct kerf_tensor *in, const struct kerf_tensor *out, struct walk w, void *to)
{
	size_t bytes = element_bytes(in);
	int64_t n = kerf_tensor_elements(out);

	for (int64_t i = 0; i < n; i++, walk_next(&w))
		memcpy((char *)to + (size_t)i * bytes,
			(const char *)in->data + (size_t)w.offset * bytes, bytes);
}

/* The operators of two values that are the same in every bit on every machine. */
static bool combines(enum kerf_op op, enum kerf_dtype dtype)
{
	if (op == KERF_OP_POW)
		return dtype == KERF_I64;
	return op == KERF_OP_ADD || op == KERF_OP_MUL || op == KERF_OP_DIV || op == KERF_OP_MIN || op == KERF_OP_MAX;
}

static float combine_floats(enum kerf_op op, float a, float b)
{
	switch (op) {
	case KERF_OP_ADD: return a + b;
	case KERF_OP_MUL: return a * b;
	case KERF_OP_DIV: return a / b;
	case KERF_OP_MIN: return a < b || isnan(a) ? a : b;
	default: return a > b || isnan(a) ? a : b;
	}
}

/* By squaring. Rounds to 0 as a division does when b is negative. */
static int64_t power(int64_t a, int64_t b)
{
	uint64_t result = 1, square = (uint64_t)a;

	if (b < 0)
		return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
	for (; b > 0; b /= 2, square *= square)
		result *= b % 2 ? square : 1;
	return (int64_t)result;
}

/* Sizes and axes: what overflows or divides by zero is nonsense anyway, but defined. */
static int64_t combine_integers(enum kerf_op op, int64_t a, int64_t b)
{
	switch (op) {
	case KERF_OP_ADD: return (int64_t)((uint64_t)a + (uint64_t)b);
	case KERF_OP_MUL: return (int64_t)((uint64_t)a * (uint64_t)b);
	case KERF_OP_DIV: return b == 0 ? 0 : b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
	case KERF_OP_MIN: return KERF_MIN(a, b);
	case KERF_OP_POW: return power(a, b);
	default: return KERF_MAX(a, b);
	}
}

static void combine_constants(enum kerf_op op, const struct kerf_tensor *a,
	const struct kerf_tensor *b, const struct kerf_tensor *out, void *to)
{
	struct walk wa = walk_broadcast(out, a), wb = walk_broadcast(out, b);
	int64_t n = kerf_tensor_elements(out);

	for (int64_t i = 0; i < n; i++, walk_next(&wa), walk_next(&wb))
		if (a->dtype == KERF_F32)
			((float *)to)[i] = combine_floats(
				op, ((const float *)a->data)[wa.offset], ((const float *)b->data)[wb.offset]);
		else
			((int64_t *)to)[i] = combine_integers(
				op, ((const int64_t *)a->data)[wa.offset], ((const int64_t *)b->data)[wb.offset]);
}

/* So are these functions of one. */
static bool is_exact(enum kerf_act_kind kind)
{
	return kind == KERF_ACT_NONE || kind == KERF_ACT_RELU || kind == KERF_ACT_ABS || kind == KERF_ACT_SQRT ||
		kind == KERF_ACT_RECIPROCAL || kind == KERF_ACT_FLOOR || kind == KERF_ACT_CEIL || kind == KERF_ACT_ROUND;
}

static float apply_exact(enum kerf_act_kind kind, float x)
{
	switch (kind) {
	case KERF_ACT_RELU: return x < 0 ? 0 : x;
	case KERF_ACT_ABS: return fabsf(x);
	case KERF_ACT_SQRT: return sqrtf(x);
	case KERF_ACT_RECIPROCAL: return 1 / x;
	case KERF_ACT_FLOOR: return floorf(x);
	case KERF_ACT_CEIL: return ceilf(x);
	case KERF_ACT_ROUND: return rintf(x);
	default: return x;
	}
}

static void join_constants(const struct kerf_graph *g, const struct kerf_node *n, const struct kerf_tensor *out, void *to)
{
	const size_t bytes = element_bytes(&g->tensors[n->inputs[0]]);
	size_t outer = 1, inner = bytes;
	char *at = to;

	for (int d = 0; d < out->n_dims; d++)
		*(d < n->axis ? &outer : &inner) *= d == n->axis ? 1 : (size_t)out->dims[d];
	for (size_t o = 0; o < outer; o++)
		for (int j = 0; j < n->n_inputs; j++) {
			const struct kerf_tensor *t = &g->tensors[n->inputs[j]];
			const size_t part = (size_t)t->dims[n->axis] * inner;

			memcpy(at, (const char *)t->data + o * part, part);
			at += part;
		}
}

/* Only without weights. */
static void gather_constant(
	const struct kerf_node *n, const struct kerf_tensor *x, const struct kerf_tensor *table, char *to)
{
	const int64_t *indices = table->data;
	size_t outer = 1, inner = element_bytes(x), n_out = (size_t)table->dims[0];

	for (int d = 0; d < x->n_dims; d++)
		*(d < n->axis ? &outer : &inner) *= d == n->axis ? 1 : (size_t)x->dims[d];
	for (size_t i = 0; i < outer * n_out; i++, to += inner) {
		const char *from = (const char *)x->data + i / n_out * (size_t)x->dims[n->axis] * inner;
		const int64_t integer = (int64_t)n->value;

		if (indices[i % n_out] >= 0)
			memcpy(to, from + (size_t)indices[i % n_out] * inner, inner);
		else
			for (size_t k = 0; k < inner; k += element_bytes(x))
				memcpy(to + k, x->dtype == KERF_F32 ? (const void *)&n->value : &integer, element_bytes(x));
	}
}

bool kerf_node_is_constant(const struct kerf_graph *g, const struct kerf_node *n)
{
	for (int j = 0; j < n->n_inputs; j++)
		if (n->inputs[j] < 0 || !g->tensors[n->inputs[j]].data)
			return false;
	switch (n->op) {
	case KERF_OP_RESHAPE:
	case KERF_OP_TRANSPOSE:
	case KERF_OP_SLICE: return true;
	case KERF_OP_GATHER: return n->n_inputs < 3;
	case KERF_OP_ACT: return g->tensors[n->inputs[0]].dtype == KERF_F32 && is_exact(n->act.kind);
	case KERF_OP_CONCAT:
		for (int j = 1; j < n->n_inputs; j++)
			if (g->tensors[n->inputs[j]].dtype != g->tensors[n->inputs[0]].dtype)
				return false;
		return true;
	default: return combines(n->op, g->tensors[n->inputs[0]].dtype) && g->tensors[n->inputs[0]].dtype == g->tensors[n->inputs[1]].dtype;
	}
}

void kerf_node_constant(const struct kerf_graph *g, const struct kerf_node *n, const struct kerf_tensor *out, void *to)
{
	const struct kerf_tensor *a = &g->tensors[n->inputs[0]];

	switch (n->op) {
	case KERF_OP_RESHAPE: memcpy(to, a->data, kerf_tensor_bytes(a)); break;
	case KERF_OP_TRANSPOSE: copy_constant(a, out, walk_permuted(out, a, n->perm), to); break;
	case KERF_OP_SLICE: copy_constant(a, out, walk_sliced(out, a, n), to); break;
	case KERF_OP_CONCAT: join_constants(g, n, out, to); break;
	case KERF_OP_GATHER: gather_constant(n, a, &g->tensors[n->inputs[1]], to); break;
	case KERF_OP_ACT:
		for (int64_t i = 0; i < kerf_tensor_elements(out); i++)
			((float *)to)[i] = apply_exact(n->act.kind, ((const float *)a->data)[i]);
		break;
	default: combine_constants(n->op, a, &g->tensors[n->inputs[1]], out, to);
	}
}

static bool foldable(const struct rewrite *r, const struct kerf_node *n)
{
	return n->output != r->g->output && (n->op == KERF_OP_ACT || n->act.kind == KERF_ACT_NONE) && n->residual < 0 &&
		kerf_node_is_constant(r->g, n) && r->g->tensors[n->inputs[0]].dtype == r->g->tensors[n->output].dtype;
}

int rewrite_fold_constants(struct rewrite *r)
{
	struct kerf_graph *g = r->g;

	for (int i = 0; i < g->n_nodes; i++) {
		struct kerf_node *n = &g->nodes[i];
		if (!rewrite_enter_node(r, i) || !foldable(r, n))
			continue;
		void *data = malloc(kerf_tensor_bytes(&g->tensors[n->output]));
		if (!data)
			return no_memory(r, n->name);
		kerf_node_constant(g, n, &g->tensors[n->output], data);
		g->tensors[n->output].data = data;
		g->tensors[n->output].producer = KERF_NONE;
		r->dead[i] = true;
		for (int j = 0; j < n->n_inputs; j++)
			r->uses[n->inputs[j]]--;
	}
	return 0;
}

/* ---- y = scale[c] * x + shift[c] behind a convolution ---- */

struct affine {
	int64_t channels;
	double *scale, *shift; /* one allocation, at scale */
};

static int affine_create(struct affine *a, int64_t channels)
{
	a->channels = channels;
	a->scale = malloc((size_t)channels * 2 * sizeof(double));
	a->shift = a->scale ? a->scale + channels : NULL;
	return a->scale ? 0 : -ENOMEM;
}

static bool constant_f32(const struct rewrite *r, int id)
{
	return rewrite_is_constant(r, id) && r->g->tensors[id].dtype == KERF_F32;
}

/*
 * A constant that numpy's rules repeat over everything but the channels of x (dimension 1):
 * one value, or C of them. Returns the step from channel to channel (0 or 1), or -1.
 */
static int channel_step(const struct rewrite *r, int constant, int x)
{
	const struct kerf_tensor *c = &r->g->tensors[constant], *t = &r->g->tensors[x];
	int channel_dim = 1 - (t->n_dims - c->n_dims);
	int64_t n = kerf_tensor_elements(c);

	if (t->n_dims < 2 || c->n_dims > t->n_dims)
		return -1;
	if (n == 1)
		return 0;
	return n == t->dims[1] && channel_dim >= 0 && c->dims[channel_dim] == n ? 1 : -1;
}

static bool batchnorm_is_constant(const struct rewrite *r, const struct kerf_node *n)
{
	for (int j = 1; j < n->n_inputs; j++)
		if (!constant_f32(r, n->inputs[j]))
			return false;
	return n->n_inputs == 5;
}

static int batchnorm_affine(const struct rewrite *r, const struct kerf_node *n, struct affine *a)
{
	const struct kerf_tensor *t = r->g->tensors;
	const float *scale = t[n->inputs[1]].data, *bias = t[n->inputs[2]].data;
	const float *mean = t[n->inputs[3]].data, *variance = t[n->inputs[4]].data;

	if (affine_create(a, t[n->output].dims[1]) < 0)
		return -ENOMEM;
	for (int64_t c = 0; c < a->channels; c++) {
		a->scale[c] = scale[c] / sqrt((double)variance[c] + (double)n->epsilon);
		a->shift[c] = bias[c] - mean[c] * a->scale[c];
	}
	return 0;
}

static int binary_affine(const struct rewrite *r, const struct kerf_node *n, int constant,
	int step, struct affine *a)
{
	const struct kerf_tensor *t = r->g->tensors;
	const float *v = t[constant].data;
	bool is_mul = n->op == KERF_OP_MUL;

	if (affine_create(a, t[n->output].dims[1]) < 0)
		return -ENOMEM;
	for (int64_t c = 0; c < a->channels; c++) {
		a->scale[c] = is_mul ? (double)v[c * step] : 1.0;
		a->shift[c] = is_mul ? 0.0 : (double)v[c * step];
	}
	return 0;
}

/*
 * If n is such an operation with constant factors, returns which input it works on and fills *a;
 * -1 if it is not, -ENOMEM.
 */
static int match_affine(const struct rewrite *r, const struct kerf_node *n, struct affine *a)
{
	if (n->op == KERF_OP_BATCHNORM && batchnorm_is_constant(r, n))
		return batchnorm_affine(r, n, a) < 0 ? -ENOMEM : 0;
	if (n->op != KERF_OP_ADD && n->op != KERF_OP_MUL)
		return -1;
	for (int j = 0; j < 2; j++) {
		int x = n->inputs[j], constant = n->inputs[1 - j];
		if (!constant_f32(r, constant) || !rewrite_same_shape(r, x, n->output))
			continue;
		int step = channel_step(r, constant, x);
		if (step >= 0)
			return binary_affine(r, n, constant, step, a) < 0 ? -ENOMEM : j;
	}
	return -1;
}

/* The convolution or GEMM that only n reads and whose weights are there to be scaled. */
static struct kerf_node *scalable(const struct rewrite *r, int x)
{
	struct kerf_node *p = rewrite_producer(r, x);

	if (!p || (p->op != KERF_OP_CONV && p->op != KERF_OP_GEMM))
		return NULL;
	if (r->uses[x] != 1 || p->act.kind != KERF_ACT_NONE || p->residual >= 0)
		return NULL;
	if (!constant_f32(r, p->inputs[1]))
		return NULL;
	if (p->n_inputs > 2 && p->inputs[2] >= 0 && !constant_f32(r, p->inputs[2]))
		return NULL;
	return p;
}

/* Weights or bias of `node` that nobody else reads: the constant itself, or a copy of it. */
static int own_constant(struct rewrite *r, const struct kerf_node *node, int id, const char *what)
{
	/* By value: adding a tensor moves the array. */
	const struct kerf_tensor t = r->g->tensors[id];
	size_t bytes = kerf_tensor_bytes(&t);
	char name[256];

	if (r->uses[id] == 1)
		return id;
	void *data = malloc(bytes);
	if (!data)
		return no_memory(r, node->name);
	memcpy(data, t.data, bytes);
	snprintf(name, sizeof(name), "%.200s/folded_%s", node->name, what);
	r->uses[id]--;
	return rewrite_add_constant(r, name, KERF_F32, t.n_dims, t.dims, data);
}

/* The bias of `node` as its own constant; zeros if it had none. */
static int own_bias(struct rewrite *r, struct kerf_node *node, int64_t channels)
{
	char name[256];

	if (node->n_inputs > 2 && node->inputs[2] >= 0)
		return own_constant(r, node, node->inputs[2], "bias");
	float *zeros = calloc((size_t)channels, sizeof(*zeros));
	if (!zeros)
		return no_memory(r, node->name);
	snprintf(name, sizeof(name), "%.200s/folded_bias", node->name);
	return rewrite_add_constant(r, name, KERF_F32, 1, &channels, zeros);
}

static void scale_weights(const struct affine *a, float *weights, int64_t row, float *bias)
{
	for (int64_t c = 0; c < a->channels; c++) {
		for (int64_t k = 0; k < row; k++)
			weights[c * row + k] = (float)(weights[c * row + k] * a->scale[c]);
		bias[c] = (float)(bias[c] * a->scale[c] + a->shift[c]);
	}
}

static int apply_affine(struct rewrite *r, struct kerf_node *p, const struct affine *a)
{
	int weights = own_constant(r, p, p->inputs[1], "weight");
	int bias;

	if (weights < 0)
		return weights;
	p->inputs[1] = weights;
	bias = own_bias(r, p, a->channels);
	if (bias < 0)
		return bias;
	p->inputs[2] = bias;
	p->n_inputs = 3;
	const struct kerf_tensor *w = &r->g->tensors[weights];
	scale_weights(a, w->data, kerf_tensor_elements(w) / a->channels,
		r->g->tensors[bias].data);
	return 0;
}

/* A bias that is not one value a channel (GEMM may have a scalar) stays as it is. */
static bool bias_is_per_channel(const struct rewrite *r, const struct kerf_node *p,
	int64_t channels)
{
	if (p->n_inputs < 3 || p->inputs[2] < 0)
		return true;
	return kerf_tensor_elements(&r->g->tensors[p->inputs[2]]) == channels;
}

int rewrite_fold_affine(struct rewrite *r)
{
	struct kerf_graph *g = r->g;
	int rc = 0;

	for (int i = 0; i < g->n_nodes && rc == 0; i++) {
		struct kerf_node *n = &g->nodes[i];
		struct affine a = {0};
		if (!rewrite_enter_node(r, i) || n->act.kind != KERF_ACT_NONE || n->residual >= 0)
			continue;
		int x = match_affine(r, n, &a);
		if (x == -ENOMEM)
			return no_memory(r, n->name);
		struct kerf_node *p = x < 0 ? NULL : scalable(r, n->inputs[x]);
		if (p && bias_is_per_channel(r, p, a.channels)) {
			rc = apply_affine(r, p, &a);
			for (int j = 0; j < n->n_inputs; j++)
				r->uses[n->inputs[j]] -= j != x;
			rewrite_absorb(r, p, n);
		}
		free(a.scale);
	}
	return rc;
}
