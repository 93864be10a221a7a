/*
 * Shape inference: ONNX operator semantics (onnx/docs/Operators.md), one function an operator.
 * Every number may come from a hostile file, so it is checked before it is used.
 */
#include "graph/graph_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>

/* One inference under way. */
struct inference {
	const struct kerf_graph *graph;
	const struct kerf_node *node; /* with its defaults filled in */
	int64_t *dims;
	int n_dims;
	struct kerf_err *err;
};

void kerf_node_set_defaults(const struct kerf_graph *g, struct kerf_node *n)
{
	for (int i = n->n_inputs < 0 ? 0 : n->n_inputs; i < KERF_MAX_INPUTS; i++)
		n->inputs[i] = KERF_NONE;
	for (int i = 0; i < 2; i++) {
		if (n->strides[i] == 0)
			n->strides[i] = 1;
		if (n->dilations[i] == 0)
			n->dilations[i] = 1;
	}
	if (n->groups == 0)
		n->groups = 1;
	if (n->op != KERF_OP_CONV || n->inputs[1] < 0 || n->inputs[1] >= g->n_tensors)
		return;
	const struct kerf_tensor *weights = &g->tensors[n->inputs[1]];
	for (int i = 0; i < 2; i++)
		if (n->kernel[i] == 0 && weights->n_dims == 4 && weights->dims[2 + i] <= INT_MAX)
			n->kernel[i] = (int)weights->dims[2 + i];
}

static __attribute__((format(printf, 2, 3))) int fail(
	const struct inference *inf, const char *fmt, ...)
{
	char what[320];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return kerf_err_set(inf->err, -EINVAL, "node %s (%s): %s",
		inf->node->name ? inf->node->name : "", kerf_op_name(inf->node->op), what);
}

/* The i-th input, or NULL when it is left out. */
static const struct kerf_tensor *input(const struct inference *inf, int i)
{
	int id = i < inf->node->n_inputs ? inf->node->inputs[i] : KERF_NONE;

	return id >= 0 ? &inf->graph->tensors[id] : NULL;
}

static void same_as(struct inference *inf, const struct kerf_tensor *t)
{
	inf->n_dims = t->n_dims;
	memcpy(inf->dims, t->dims, (size_t)t->n_dims * sizeof(t->dims[0]));
}

const char *kerf_dims_text(int n_dims, const int64_t *dims, char *buf, size_t len)
{
	size_t used = (size_t)snprintf(buf, len, "[");

	for (int i = 0; i < n_dims && used < len; i++)
		used += (size_t)snprintf(
			buf + used, len - used, "%s%" PRId64, i ? "," : "", dims[i]);
	if (used < len)
		snprintf(buf + used, len - used, "]");
	return buf;
}

static int expect_rank(const struct inference *inf, int i, int rank)
{
	char text[96];
	const struct kerf_tensor *t = input(inf, i);

	if (t->n_dims == rank)
		return 0;
	return fail(inf, "input %s is %s, expected %d dimensions", t->name,
		kerf_dims_text(t->n_dims, t->dims, text, sizeof(text)), rank);
}

/* An optional vector of one value per channel. */
static int expect_vector(const struct inference *inf, int i, int64_t len)
{
	char text[96];
	const struct kerf_tensor *t = input(inf, i);

	if (!t || (t->n_dims == 1 && t->dims[0] == len))
		return 0;
	return fail(inf, "input %s is %s, expected [%" PRId64 "]", t->name,
		kerf_dims_text(t->n_dims, t->dims, text, sizeof(text)), len);
}

/* H and W under a sliding window; the sums cannot overflow: dims < 2^31, the rest are ints. */
static int slide_window(struct inference *inf, const struct kerf_tensor *x)
{
	const struct kerf_node *n = inf->node;

	for (int i = 0; i < 2; i++) {
		if (n->kernel[i] <= 0 || n->strides[i] <= 0 || n->dilations[i] <= 0 ||
			n->pads[i] < 0 || n->pads[i + 2] < 0)
			return fail(inf,
				"kernel %d, stride %d, dilation %d, pads %d and %d: expected "
				"positive numbers, and pads not below 0",
				n->kernel[i], n->strides[i], n->dilations[i], n->pads[i],
				n->pads[i + 2]);
		int64_t reach = (int64_t)(n->kernel[i] - 1) * n->dilations[i] + 1;
		int64_t padded = x->dims[2 + i] + n->pads[i] + n->pads[i + 2];
		if (reach > padded)
			return fail(inf,
				"a window of %" PRId64 " does not fit the %s of %" PRId64
				" with its pads",
				reach, i ? "width" : "height", x->dims[2 + i]);
		inf->dims[2 + i] = (padded - reach) / n->strides[i] + 1;
	}
	return 0;
}

static int infer_conv(struct inference *inf)
{
	const struct kerf_node *n = inf->node;
	const struct kerf_tensor *x = input(inf, 0), *w = input(inf, 1);

	if (expect_rank(inf, 0, 4) < 0 || expect_rank(inf, 1, 4) < 0)
		return -EINVAL;
	if (n->groups <= 0 || x->dims[1] % n->groups != 0 || w->dims[0] % n->groups != 0)
		return fail(inf,
			"%d groups do not divide %" PRId64 " input and %" PRId64 " output channels",
			n->groups, x->dims[1], w->dims[0]);
	if (w->dims[1] != x->dims[1] / n->groups)
		return fail(inf,
			"weights take %" PRId64 " channels a group, the input has %" PRId64,
			w->dims[1], x->dims[1] / n->groups);
	if (w->dims[2] != n->kernel[0] || w->dims[3] != n->kernel[1])
		return fail(inf, "kernel_shape is %dx%d, the weights are %" PRId64 "x%" PRId64,
			n->kernel[0], n->kernel[1], w->dims[2], w->dims[3]);
	if (expect_vector(inf, 2, w->dims[0]) < 0)
		return -EINVAL;
	inf->n_dims = 4;
	inf->dims[0] = x->dims[0];
	inf->dims[1] = w->dims[0];
	return slide_window(inf, x);
}

static int infer_gemm(struct inference *inf)
{
	const struct kerf_tensor *x = input(inf, 0), *w = input(inf, 1);

	if (expect_rank(inf, 0, 2) < 0 || expect_rank(inf, 1, 2) < 0)
		return -EINVAL;
	if (w->dims[1] != x->dims[1])
		return fail(inf, "weights take %" PRId64 " values, the input has %" PRId64,
			w->dims[1], x->dims[1]);
	inf->n_dims = 2;
	inf->dims[0] = x->dims[0];
	inf->dims[1] = w->dims[0];
	return expect_vector(inf, 2, w->dims[0]);
}

static int infer_batchnorm(struct inference *inf)
{
	const struct kerf_tensor *x = input(inf, 0);

	if (x->n_dims < 2)
		return fail(inf, "input %s has no channel dimension", x->name);
	for (int i = 1; i < 5; i++)
		if (expect_vector(inf, i, x->dims[1]) < 0)
			return -EINVAL;
	same_as(inf, x);
	return 0;
}

static int infer_same(struct inference *inf)
{
	same_as(inf, input(inf, 0));
	return 0;
}

/* numpy rules: dimensions are aligned at the last one, and either operand stretches where it is 1. */
static int infer_binary(struct inference *inf)
{
	char text[2][96];
	const struct kerf_tensor *a = input(inf, 0), *b = input(inf, 1);

	inf->n_dims = KERF_MAX(a->n_dims, b->n_dims);
	for (int i = 1; i <= inf->n_dims; i++) {
		const int64_t da = i <= a->n_dims ? a->dims[a->n_dims - i] : 1;
		const int64_t db = i <= b->n_dims ? b->dims[b->n_dims - i] : 1;

		if (da != db && da != 1 && db != 1)
			return fail(inf, "%s %s does not broadcast to %s %s", b->name,
				kerf_dims_text(b->n_dims, b->dims, text[0], sizeof(text[0])), a->name,
				kerf_dims_text(a->n_dims, a->dims, text[1], sizeof(text[1])));
		inf->dims[inf->n_dims - i] = KERF_MAX(da, db);
	}
	return 0;
}

static int infer_matmul(struct inference *inf)
{
	char text[2][96];
	const struct kerf_tensor *a = input(inf, 0), *b = input(inf, 1);

	if (expect_rank(inf, 0, 3) < 0 || expect_rank(inf, 1, 3) < 0)
		return -EINVAL;
	if (a->dims[2] != b->dims[1] || (a->dims[0] != b->dims[0] && a->dims[0] != 1 && b->dims[0] != 1))
		return fail(inf, "%s %s times %s %s has no product", a->name,
			kerf_dims_text(3, a->dims, text[0], sizeof(text[0])), b->name,
			kerf_dims_text(3, b->dims, text[1], sizeof(text[1])));
	inf->n_dims = 3;
	inf->dims[0] = KERF_MAX(a->dims[0], b->dims[0]);
	inf->dims[1] = a->dims[1];
	inf->dims[2] = b->dims[2];
	return 0;
}

/* A window that sees only padding has no maximum and no mean. */
static int infer_pool(struct inference *inf)
{
	const struct kerf_node *n = inf->node;

	if (expect_rank(inf, 0, 4) < 0)
		return -EINVAL;
	same_as(inf, input(inf, 0));
	if (slide_window(inf, input(inf, 0)) < 0)
		return -EINVAL;
	for (int i = 0; i < 4; i++) {
		int64_t reach = (int64_t)(n->kernel[i % 2] - 1) * n->dilations[i % 2] + 1;
		if (n->pads[i] >= reach)
			return fail(inf, "a pad of %d is not smaller than the window of %" PRId64,
				n->pads[i], reach);
	}
	return 0;
}

static int infer_global_pool(struct inference *inf)
{
	if (expect_rank(inf, 0, 4) < 0)
		return -EINVAL;
	same_as(inf, input(inf, 0));
	inf->dims[2] = inf->dims[3] = 1;
	return 0;
}

static int check_axis(const struct inference *inf)
{
	int n_dims = input(inf, 0)->n_dims, axis = inf->node->axis;

	if (axis >= 0 && axis < n_dims)
		return 0;
	return fail(inf, "axis %d is outside a tensor of %d dimensions", axis, n_dims);
}

static int infer_concat(struct inference *inf)
{
	char text[2][96];
	int axis = inf->node->axis;
	const struct kerf_tensor *first = input(inf, 0);

	if (check_axis(inf) < 0)
		return -EINVAL;
	same_as(inf, first);
	for (int i = 1; i < inf->node->n_inputs; i++) {
		const struct kerf_tensor *t = input(inf, i);
		bool fits = t->n_dims == first->n_dims;
		for (int d = 0; fits && d < t->n_dims; d++)
			fits = d == axis || t->dims[d] == first->dims[d];
		if (!fits)
			return fail(inf, "%s %s does not join %s %s along axis %d", t->name,
				kerf_dims_text(t->n_dims, t->dims, text[0], sizeof(text[0])),
				first->name,
				kerf_dims_text(
					first->n_dims, first->dims, text[1], sizeof(text[1])),
				axis);
		inf->dims[axis] += t->dims[axis];
	}
	return 0;
}

static int infer_reshape(struct inference *inf)
{
	char text[2][96];
	const struct kerf_tensor *x = input(inf, 0);

	if (inf->node->output < 0) {
		inf->n_dims = 2;
		inf->dims[0] = x->n_dims ? x->dims[0] : 1;
		inf->dims[1] = kerf_tensor_elements(x) / inf->dims[0];
		return 0;
	}
	const struct kerf_tensor *y = &inf->graph->tensors[inf->node->output];
	if (kerf_tensor_elements(x) != kerf_tensor_elements(y))
		return fail(inf, "%s cannot become %s: the element counts differ",
			kerf_dims_text(x->n_dims, x->dims, text[0], sizeof(text[0])),
			kerf_dims_text(y->n_dims, y->dims, text[1], sizeof(text[1])));
	same_as(inf, y);
	return 0;
}

static int infer_softmax(struct inference *inf)
{
	same_as(inf, input(inf, 0));
	return check_axis(inf);
}

static int infer_transpose(struct inference *inf)
{
	const struct kerf_tensor *x = input(inf, 0);
	unsigned seen = 0;

	inf->n_dims = x->n_dims;
	for (int i = 0; i < x->n_dims; i++) {
		int from = inf->node->perm[i];
		if (from < 0 || from >= x->n_dims || seen >> from & 1)
			return fail(inf, "perm is not a permutation of %d dimensions", x->n_dims);
		seen |= 1u << from;
		inf->dims[i] = x->dims[from];
	}
	return 0;
}

static int infer_pad(struct inference *inf)
{
	const int *pads = inf->node->pads;

	if (expect_rank(inf, 0, 4) < 0)
		return -EINVAL;
	same_as(inf, input(inf, 0));
	for (int i = 0; i < 2; i++) {
		if (pads[i] < 0 || pads[i + 2] < 0)
			return fail(inf, "pads %d and %d: negative pads are not supported", pads[i],
				pads[i + 2]);
		inf->dims[2 + i] += (int64_t)pads[i] + pads[i + 2];
	}
	return 0;
}

static int infer_slice(struct inference *inf)
{
	const struct kerf_node *n = inf->node;
	const struct kerf_tensor *x = input(inf, 0);

	same_as(inf, x);
	for (int i = 0; i < x->n_dims; i++) {
		const int64_t last = n->starts[i] + (int64_t)n->steps[i] * ((int64_t)n->counts[i] - 1);

		if (n->counts[i] < 1 || (n->steps[i] == 0 && n->counts[i] > 1) || n->starts[i] < 0 ||
			n->starts[i] >= x->dims[i] || last < 0 || last >= x->dims[i])
			return fail(inf, "%d values from %d in steps of %d: dimension %d is %" PRId64,
				n->counts[i], n->starts[i], n->steps[i], i, x->dims[i]);
		inf->dims[i] = n->counts[i];
	}
	return 0;
}

static int infer_gather(struct inference *inf)
{
	const struct kerf_node *n = inf->node;
	const struct kerf_tensor *x = input(inf, 0), *indices = input(inf, 1), *weights = input(inf, 2);

	if (check_axis(inf) < 0)
		return -EINVAL;
	if (!indices->data || indices->dtype != KERF_I64 || indices->n_dims != 2)
		return fail(inf, "%s is no constant table of integers", indices->name);
	if (!weights ? indices->dims[1] != 1
		     : !weights->data || weights->n_dims != 2 ||
				memcmp(weights->dims, indices->dims, 2 * sizeof(weights->dims[0])) != 0)
		return fail(inf, "%" PRId64 " indices a value without as many weights", indices->dims[1]);
	for (int64_t i = 0; i < kerf_tensor_elements(indices); i++) {
		const int64_t at = ((const int64_t *)indices->data)[i];

		if (at < -1 || at >= x->dims[n->axis])
			return fail(inf, "index %" PRId64 " is outside axis %d, which is %" PRId64, at, n->axis,
				x->dims[n->axis]);
	}
	same_as(inf, x);
	inf->dims[n->axis] = indices->dims[0];
	return 0;
}

static int infer_reduce(struct inference *inf)
{
	const struct kerf_node *n = inf->node;
	const struct kerf_tensor *x = input(inf, 0);
	const bool arg = n->reduce == KERF_REDUCE_ARGMAX || n->reduce == KERF_REDUCE_ARGMIN;

	if ((unsigned)n->reduce >= KERF_REDUCE_COUNT || n->axes >> x->n_dims)
		return fail(inf, "axes 0x%x of %d dimensions, kind %d", n->axes, x->n_dims, (int)n->reduce);
	if (arg && __builtin_popcount(n->axes) != 1)
		return fail(inf, "an index over %d dimensions, expected 1", __builtin_popcount(n->axes));
	const bool orders = arg || n->reduce == KERF_REDUCE_MAX || n->reduce == KERF_REDUCE_MIN;
	if (n->top > 1 && (__builtin_popcount(n->axes) != 1 || !orders))
		return fail(inf, "the first %d of %d dimensions, kind %d", n->top, __builtin_popcount(n->axes), (int)n->reduce);
	same_as(inf, x);
	for (int i = 0; i < x->n_dims; i++)
		if (n->axes >> i & 1) {
			if (n->top < 0 || n->top > x->dims[i])
				return fail(inf, "the first %d of %" PRId64, n->top, x->dims[i]);
			inf->dims[i] = KERF_MAX(n->top, 1);
		}
	return 0;
}

static int infer_depth_to_space(struct inference *inf)
{
	const struct kerf_tensor *x = input(inf, 0);
	const int64_t area = (int64_t)inf->node->kernel[0] * inf->node->kernel[1];

	if (expect_rank(inf, 0, 4) < 0)
		return -EINVAL;
	if (inf->node->kernel[0] < 1 || inf->node->kernel[1] < 1 || x->dims[1] % area != 0)
		return fail(inf, "blocks of %d x %d do not divide %" PRId64 " channels", inf->node->kernel[0],
			inf->node->kernel[1], x->dims[1]);
	same_as(inf, x);
	inf->dims[1] /= area;
	inf->dims[2] *= inf->node->kernel[0];
	inf->dims[3] *= inf->node->kernel[1];
	return 0;
}

static int infer_layernorm(struct inference *inf)
{
	if (expect_rank(inf, 0, 2) < 0 || expect_vector(inf, 1, input(inf, 0)->dims[1]) < 0 ||
		expect_vector(inf, 2, input(inf, 0)->dims[1]) < 0)
		return -EINVAL;
	same_as(inf, input(inf, 0));
	return 0;
}

/* How many inputs an operator has at least and at most, and how its shape follows from them. */
static const struct {
	int min_inputs, max_inputs;
	int (*infer)(struct inference *inf);
} rules[KERF_OP_COUNT] = {
	[KERF_OP_CONV] = {2, 4, infer_conv},
	[KERF_OP_GEMM] = {2, 3, infer_gemm},
	[KERF_OP_BATCHNORM] = {5, 5, infer_batchnorm},
	[KERF_OP_ACT] = {1, 1, infer_same},
	[KERF_OP_ADD] = {2, 2, infer_binary},
	[KERF_OP_MUL] = {2, 2, infer_binary},
	[KERF_OP_DIV] = {2, 2, infer_binary},
	[KERF_OP_MIN] = {2, 2, infer_binary},
	[KERF_OP_MAX] = {2, 2, infer_binary},
	[KERF_OP_POW] = {2, 2, infer_binary},
	[KERF_OP_PRELU] = {2, 2, infer_binary},
	[KERF_OP_MATMUL] = {2, 2, infer_matmul},
	[KERF_OP_MAXPOOL] = {1, 1, infer_pool},
	[KERF_OP_AVGPOOL] = {1, 1, infer_pool},
	[KERF_OP_GLOBAL_AVGPOOL] = {1, 1, infer_global_pool},
	[KERF_OP_CONCAT] = {1, KERF_MAX_INPUTS, infer_concat},
	[KERF_OP_RESHAPE] = {1, 1, infer_reshape},
	[KERF_OP_SOFTMAX] = {1, 1, infer_softmax},
	[KERF_OP_TRANSPOSE] = {1, 1, infer_transpose},
	[KERF_OP_PAD] = {1, 1, infer_pad},
	[KERF_OP_SLICE] = {1, 1, infer_slice},
	[KERF_OP_GATHER] = {2, 3, infer_gather},
	[KERF_OP_REDUCE] = {1, 1, infer_reduce},
	[KERF_OP_LAYERNORM] = {1, 3, infer_layernorm},
	[KERF_OP_DEPTH_TO_SPACE] = {1, 1, infer_depth_to_space},
	[KERF_OP_EQUAL] = {2, 2, infer_binary},
	[KERF_OP_LESS] = {2, 2, infer_binary},
	[KERF_OP_LESS_EQUAL] = {2, 2, infer_binary},
	[KERF_OP_MASK] = {2, 2, infer_binary},
};

static bool is_optional(enum kerf_op op, int i)
{
	return op == KERF_OP_LAYERNORM ? i >= 1
	                               : i >= 2 && (op == KERF_OP_CONV || op == KERF_OP_GEMM || op == KERF_OP_GATHER);
}

static int check_inputs(const struct inference *inf)
{
	const struct kerf_node *n = inf->node;

	if (n->n_inputs < rules[n->op].min_inputs || n->n_inputs > rules[n->op].max_inputs)
		return fail(inf, "%d inputs, expected %d to %d", n->n_inputs,
			rules[n->op].min_inputs, rules[n->op].max_inputs);
	for (int i = 0; i < n->n_inputs; i++) {
		if (n->inputs[i] == KERF_NONE && is_optional(n->op, i))
			continue;
		if (n->inputs[i] < 0 || n->inputs[i] >= inf->graph->n_tensors)
			return fail(inf, "input %d is missing", i);
		const bool integers = n->op == KERF_OP_GATHER && i == 1;
		if (inf->graph->tensors[n->inputs[i]].dtype != KERF_F32 && !integers &&
			!kerf_node_is_constant(inf->graph, n))
			return fail(inf, "input %s holds integers, expected f32",
				inf->graph->tensors[n->inputs[i]].name);
	}
	return 0;
}

int kerf_graph_infer_shape(const struct kerf_graph *g, const struct kerf_node *n, int64_t *dims,
	int *n_dims, struct kerf_err *err)
{
	struct kerf_node full = *n;
	struct inference inf = {.graph = g, .node = &full, .dims = dims, .err = err};

	assert(n->op >= 0 && n->op < KERF_OP_COUNT);
	kerf_node_set_defaults(g, &full);
	if (check_inputs(&inf) < 0)
		return -EINVAL;
	int rc = rules[n->op].infer(&inf);
	*n_dims = inf.n_dims;
	return rc;
}
