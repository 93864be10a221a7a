/* ONNX operators that compute: functions of one value and of two, reductions, normalisations, softmax. */
#include "graph/onnx_import.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- functions of one value ---- */

static int emit_act(struct onnx_import *imp, const Onnx__NodeProto *n, int x, struct kerf_act act, const char *suffix)
{
	struct kerf_node k = {.op = KERF_OP_ACT, .n_inputs = 1, .inputs = {x}, .act = act};

	return onnx_emit(imp, n, &k, suffix);
}

static int emit_plain_act(
	struct onnx_import *imp, const Onnx__NodeProto *n, int x, enum kerf_act_kind kind, const char *suffix)
{
	return emit_act(imp, n, x, (struct kerf_act){.kind = kind}, suffix);
}

static int compare_name(const void *name, const void *entry)
{
	return strcmp(name, *(const char *const *)entry);
}

/* Functions whose numbers, if any, are attributes; sorted by name. */
int onnx_import_act(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	static const struct {
		const char *name;
		struct kerf_act act; /* with ONNX's defaults */
		const char *lo, *hi; /* their attributes */
	} table[] = {
		{"Abs", {KERF_ACT_ABS, 0, 0}, NULL, NULL},
		{"Ceil", {KERF_ACT_CEIL, 0, 0}, NULL, NULL},
		{"Cos", {KERF_ACT_COS, 0, 0}, NULL, NULL},
		{"Elu", {KERF_ACT_ELU, 1, 0}, "alpha", NULL},
		{"Erf", {KERF_ACT_ERF, 0, 0}, NULL, NULL},
		{"Exp", {KERF_ACT_EXP, 0, 0}, NULL, NULL},
		{"Floor", {KERF_ACT_FLOOR, 0, 0}, NULL, NULL},
		{"HardSigmoid", {KERF_ACT_HARD_SIGMOID, 0.2f, 0.5f}, "alpha", "beta"},
		{"HardSwish", {KERF_ACT_HARD_SWISH, 0, 0}, NULL, NULL},
		{"LeakyRelu", {KERF_ACT_LEAKY_RELU, 0.01f, 0}, "alpha", NULL},
		{"Log", {KERF_ACT_LOG, 0, 0}, NULL, NULL},
		{"Reciprocal", {KERF_ACT_RECIPROCAL, 0, 0}, NULL, NULL},
		{"Relu", {KERF_ACT_RELU, 0, 0}, NULL, NULL},
		{"Round", {KERF_ACT_ROUND, 0, 0}, NULL, NULL},
		{"Selu", {KERF_ACT_SELU, 1.6732632423543772f, 1.0507009873554804f}, "alpha", "gamma"},
		{"Sigmoid", {KERF_ACT_SIGMOID, 0, 0}, NULL, NULL},
		{"Sin", {KERF_ACT_SIN, 0, 0}, NULL, NULL},
		{"Softplus", {KERF_ACT_SOFTPLUS, 0, 0}, NULL, NULL},
		{"Softsign", {KERF_ACT_SOFTSIGN, 0, 0}, NULL, NULL},
		{"Sqrt", {KERF_ACT_SQRT, 0, 0}, NULL, NULL},
		{"Tanh", {KERF_ACT_TANH, 0, 0}, NULL, NULL},
	};
	const size_t i = (size_t)((const char *)bsearch(n->op_type, table, KERF_ARRAY_LEN(table), sizeof(table[0]),
					  compare_name) -
				 (const char *)table) / sizeof(table[0]);
	struct kerf_act act = table[i].act;
	int x;

	if (onnx_input(imp, n, 0, &x) < 0 || (table[i].lo && onnx_attr_float(imp, n, table[i].lo, &act.lo) < 0) ||
		(table[i].hi && onnx_attr_float(imp, n, table[i].hi, &act.hi) < 0))
		return -EINVAL;
	return emit_act(imp, n, x, act, "");
}

int onnx_import_clip(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_act act = {KERF_ACT_CLIP, -FLT_MAX, FLT_MAX};
	int x;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_float_either(imp, n, 1, "min", &act.lo) < 0 ||
		onnx_float_either(imp, n, 2, "max", &act.hi) < 0)
		return -EINVAL;
	if (!(act.lo <= act.hi))
		return onnx_fail(imp, n, "min %g is not below max %g", (double)act.lo, (double)act.hi);
	return emit_act(imp, n, x, act, "");
}

int onnx_import_gelu(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	char how[16] = "none";
	int x;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_text(imp, n, "approximate", how, sizeof(how)) < 0)
		return -EINVAL;
	if (strcmp(how, "none") != 0)
		return onnx_fail(imp, n, "approximate %s is not supported", how);
	return emit_plain_act(imp, n, x, KERF_ACT_GELU, "");
}

/* x * tanh(softplus(x)) */
int onnx_import_mish(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int x, gate;

	if (onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	gate = emit_plain_act(imp, n, x, KERF_ACT_SOFTPLUS, "_softplus");
	if (gate >= 0)
		gate = emit_plain_act(imp, n, gate, KERF_ACT_TANH, "_gate");
	return gate < 0 ? gate : onnx_emit_binary(imp, n, KERF_OP_MUL, x, gate, "");
}

/* ---- of two ---- */

/* Whether b stretches to a's shape and a need not stretch. */
static bool broadcasts_to(const struct kerf_tensor *b, const struct kerf_tensor *a)
{
	int skipped = a->n_dims - b->n_dims;

	for (int i = 0; skipped >= 0 && i < b->n_dims; i++)
		if (b->dims[i] != 1 && b->dims[i] != a->dims[skipped + i])
			return false;
	return skipped >= 0;
}

/* Of sums and products the activation goes first, or of two activations the one with the result's shape. */
int onnx_emit_binary(struct onnx_import *imp, const Onnx__NodeProto *n, enum kerf_op op, int first, int second,
	const char *suffix)
{
	const struct kerf_tensor *a = &imp->g->tensors[first], *b = &imp->g->tensors[second];
	const bool commutes = op == KERF_OP_ADD || op == KERF_OP_MUL, alike = !a->data == !b->data;
	const bool swap = commutes && (alike ? !broadcasts_to(b, a) && broadcasts_to(a, b) : a->data != NULL);
	struct kerf_node k = {.op = op, .n_inputs = 2, .inputs = {swap ? second : first, swap ? first : second}};

	return onnx_emit(imp, n, &k, suffix);
}

/* One number of the kind that tensor x holds. */
static int new_scalar(struct onnx_import *imp, const Onnx__NodeProto *n, int x, float value)
{
	const enum kerf_dtype dtype = imp->g->tensors[x].dtype;
	void *to;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), dtype, 0, NULL, &to);

	if (id >= 0 && dtype == KERF_F32)
		*(float *)to = value;
	else if (id >= 0)
		*(int64_t *)to = (int64_t)value;
	return id;
}

static int emit_with_scalar(struct onnx_import *imp, const Onnx__NodeProto *n, enum kerf_op op, int x, float value,
	const char *suffix)
{
	const int id = new_scalar(imp, n, x, value);

	return id < 0 ? id : onnx_emit_binary(imp, n, op, x, id, suffix);
}

/* a + -b, which is the same in every bit. */
static int emit_sub(struct onnx_import *imp, const Onnx__NodeProto *n, int a, int b, const char *suffix)
{
	const int negated = emit_with_scalar(imp, n, KERF_OP_MUL, b, -1, "_negated");

	return negated < 0 ? negated : onnx_emit_binary(imp, n, KERF_OP_ADD, a, negated, suffix);
}

/* Opset 6 let the second operand begin at any axis of the first; since then they end together. */
static int begin_at_axis(struct onnx_import *imp, const Onnx__NodeProto *n, const int id[2], int axis)
{
	const struct kerf_tensor *a = &imp->g->tensors[id[0]], *b = &imp->g->tensors[id[1]];
	int64_t dims[KERF_MAX_DIMS];

	if (onnx_attr_int(imp, n, "axis", &axis) < 0 || onnx_axis(imp, n, axis, a->n_dims, &axis) < 0)
		return -EINVAL;
	if (axis + b->n_dims > a->n_dims)
		return onnx_fail(imp, n, "axis %d leaves no room for %d dimensions", axis, b->n_dims);
	for (int i = 0; i < a->n_dims - axis; i++)
		dims[i] = i < b->n_dims ? b->dims[i] : 1;
	return onnx_emit_reshape(imp, n, id[1], a->n_dims - axis, dims, "_aligned");
}

static int two_inputs(struct onnx_import *imp, const Onnx__NodeProto *n, int id[2])
{
	if (onnx_input(imp, n, 0, &id[0]) < 0 || onnx_input(imp, n, 1, &id[1]) < 0)
		return -EINVAL;
	if (imp->opset < 7 && onnx_attr(n, "axis"))
		id[1] = begin_at_axis(imp, n, id, 0);
	return KERF_MIN(id[1], 0);
}

int onnx_import_binary(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const enum kerf_op op = strcmp(n->op_type, "Add") == 0 ? KERF_OP_ADD
		: strcmp(n->op_type, "PRelu") == 0             ? KERF_OP_PRELU
							       : KERF_OP_MUL;
	int id[2];

	if (two_inputs(imp, n, id) < 0)
		return -EINVAL;
	/* its slopes were always those of channels then */
	if (op == KERF_OP_PRELU && imp->opset < 7 && imp->g->tensors[id[1]].n_dims == 1 &&
		imp->g->tensors[id[0]].n_dims > 1 && kerf_tensor_elements(&imp->g->tensors[id[1]]) > 1)
		id[1] = begin_at_axis(imp, n, id, 1);
	return id[1] < 0 ? id[1] : onnx_emit_binary(imp, n, op, id[0], id[1], "");
}

int onnx_import_sub(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int id[2];

	return two_inputs(imp, n, id) < 0 ? -EINVAL : emit_sub(imp, n, id[0], id[1], "");
}

int onnx_import_neg(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int x;

	return onnx_input(imp, n, 0, &x) < 0 ? -EINVAL : emit_with_scalar(imp, n, KERF_OP_MUL, x, -1, "");
}

static bool has_inverses(const struct kerf_tensor *t)
{
	if (!t->data || t->dtype != KERF_F32)
		return false;
	for (int64_t i = 0; i < kerf_tensor_elements(t); i++)
		if (!isnormal(1 / ((const float *)t->data)[i]))
			return false;
	return true;
}

/*
 * By a constant: a product with its inverse, which is off by one unit in the last place at most and
 * can become part of a convolution.
 */
int onnx_import_div(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int id[2];
	void *to;

	if (two_inputs(imp, n, id) < 0)
		return -EINVAL;
	const struct kerf_tensor t = imp->g->tensors[id[1]]; /* by value: adding a tensor moves the array */
	if (!has_inverses(&t) || imp->g->tensors[id[0]].data)
		return onnx_emit_binary(imp, n, KERF_OP_DIV, id[0], id[1], "");
	const int inverse = onnx_new_constant(imp, n, t.name, KERF_F32, t.n_dims, t.dims, &to);
	for (int64_t i = 0; inverse >= 0 && i < kerf_tensor_elements(&t); i++)
		((float *)to)[i] = 1 / ((const float *)t.data)[i];
	return inverse < 0 ? inverse : onnx_emit_binary(imp, n, KERF_OP_MUL, id[0], inverse, "");
}

/* Exponents of integers: constants of integers, or of floats that are whole. */
static int whole_exponents(struct onnx_import *imp, const Onnx__NodeProto *n, int id)
{
	const struct kerf_tensor t = imp->g->tensors[id]; /* by value: adding a tensor moves the array */
	const int64_t count = kerf_tensor_elements(&t);
	const float *from = t.data;
	void *to;

	if (t.dtype != KERF_F32)
		return id;
	for (int64_t i = 0; i < count; i++)
		if (!t.data || rintf(from[i]) != from[i] || fabsf(from[i]) > INT32_MAX)
			return onnx_fail(imp, n, "exponent %.100s of integers is not constant and whole", t.name);
	const int whole = onnx_new_constant(imp, n, t.name, KERF_I64, t.n_dims, t.dims, &to);
	for (int64_t i = 0; whole >= 0 && i < count; i++)
		((int64_t *)to)[i] = (int64_t)from[i];
	return whole;
}

/* Squares and roots are what nearly all powers are. */
int onnx_import_pow(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int id[2];

	if (two_inputs(imp, n, id) < 0)
		return -EINVAL;
	const bool integers = imp->g->tensors[id[0]].dtype != KERF_F32;
	id[1] = integers ? whole_exponents(imp, n, id[1]) : onnx_as_floats(imp, n, id[1]);
	if (id[1] < 0 || integers)
		return id[1] < 0 ? id[1] : onnx_emit_binary(imp, n, KERF_OP_POW, id[0], id[1], "");
	const struct kerf_tensor *t = &imp->g->tensors[id[1]];
	const float exponent = t->data && kerf_tensor_elements(t) == 1 && t->n_dims <= 1 ? *(const float *)t->data : NAN;
	if (exponent == 2)
		return onnx_emit_binary(imp, n, KERF_OP_MUL, id[0], id[0], "");
	if (exponent == 0.5f)
		return emit_plain_act(imp, n, id[0], KERF_ACT_SQRT, "");
	return onnx_emit_binary(imp, n, KERF_OP_POW, id[0], id[1], "");
}

/* Sum, Mean, Min and Max of any number. */
int onnx_import_variadic(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const bool mean = strcmp(n->op_type, "Mean") == 0;
	const enum kerf_op op = strcmp(n->op_type, "Min") == 0 ? KERF_OP_MIN
		: strcmp(n->op_type, "Max") == 0               ? KERF_OP_MAX
							       : KERF_OP_ADD;
	int sum, next;

	if (onnx_input(imp, n, 0, &sum) < 0)
		return -EINVAL;
	for (size_t i = 1; i < n->n_input; i++) {
		const bool last = i + 1 == n->n_input && !mean;

		if (onnx_input(imp, n, (int)i, &next) < 0)
			return -EINVAL;
		if (next == KERF_NONE)
			return onnx_fail(imp, n, "input %zu is left out", i);
		sum = onnx_emit_binary(imp, n, op, sum, next, last ? "" : "_sum");
		if (sum < 0)
			return sum;
	}
	if (n->n_input > 1)
		return mean ? emit_with_scalar(imp, n, KERF_OP_MUL, sum, 1.0f / (float)n->n_input, "") : sum;
	const struct kerf_tensor t = imp->g->tensors[sum]; /* of one: the same, under another name */
	return onnx_emit_reshape(imp, n, sum, t.n_dims, t.dims, "");
}

/* ---- reductions ---- */

static int emit_reduce(struct onnx_import *imp, const Onnx__NodeProto *n, int x, enum kerf_reduce kind, unsigned axes,
	const char *suffix)
{
	const struct kerf_tensor *t = &imp->g->tensors[x];
	struct kerf_node k = {.op = KERF_OP_REDUCE, .n_inputs = 1, .inputs = {x}, .reduce = kind, .axes = axes};

	if (kind == KERF_REDUCE_MEAN && t->n_dims == 4 && axes == (1u << 2 | 1u << 3))
		k = (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL, .n_inputs = 1, .inputs = {x}};
	return onnx_emit(imp, n, &k, suffix);
}

int onnx_drop_axes(struct onnx_import *imp, const Onnx__NodeProto *n, int x, unsigned axes)
{
	const struct kerf_tensor *t = &imp->g->tensors[x];
	int64_t dims[KERF_MAX_DIMS];
	int n_dims = 0;

	for (int i = 0; i < t->n_dims; i++)
		if (!(axes >> i & 1))
			dims[n_dims++] = t->dims[i];
	return onnx_emit_reshape(imp, n, x, n_dims, dims, "");
}

/* exp of x minus its maximum along `axes`; *top is that maximum. */
static int emit_exp_below(struct onnx_import *imp, const Onnx__NodeProto *n, int x, unsigned axes, int *top, int *below)
{
	*top = emit_reduce(imp, n, x, KERF_REDUCE_MAX, axes, "_max");
	if (*top < 0)
		return *top;
	*below = emit_sub(imp, n, x, *top, "_below");
	return *below < 0 ? *below : emit_plain_act(imp, n, *below, KERF_ACT_EXP, "_exp");
}

/* log(sum(exp(x))) without overflow */
static int emit_log_sum_exp(struct onnx_import *imp, const Onnx__NodeProto *n, int x, unsigned axes, const char *suffix)
{
	int top, below, sum = emit_exp_below(imp, n, x, axes, &top, &below);

	if (sum >= 0)
		sum = emit_reduce(imp, n, sum, KERF_REDUCE_SUM, axes, "_sum");
	if (sum >= 0)
		sum = emit_plain_act(imp, n, sum, KERF_ACT_LOG, "_log");
	return sum < 0 ? sum : onnx_emit_binary(imp, n, KERF_OP_ADD, sum, top, suffix);
}

/* What is done to a value before its sum, the sum, and what is done to the sum. */
static int emit_named_reduce(struct onnx_import *imp, const Onnx__NodeProto *n, int x, unsigned axes, const char *suffix)
{
	static const struct {
		const char *name;
		enum kerf_reduce kind;
		bool square;
		enum kerf_act_kind before, after;
	} table[] = {
		{"Mean", KERF_REDUCE_MEAN, false, KERF_ACT_NONE, KERF_ACT_NONE},
		{"Sum", KERF_REDUCE_SUM, false, KERF_ACT_NONE, KERF_ACT_NONE},
		{"Max", KERF_REDUCE_MAX, false, KERF_ACT_NONE, KERF_ACT_NONE},
		{"Min", KERF_REDUCE_MIN, false, KERF_ACT_NONE, KERF_ACT_NONE},
		{"Prod", KERF_REDUCE_PROD, false, KERF_ACT_NONE, KERF_ACT_NONE},
		{"L1", KERF_REDUCE_SUM, false, KERF_ACT_ABS, KERF_ACT_NONE},
		{"L2", KERF_REDUCE_SUM, true, KERF_ACT_NONE, KERF_ACT_SQRT},
		{"SumSquare", KERF_REDUCE_SUM, true, KERF_ACT_NONE, KERF_ACT_NONE},
		{"LogSum", KERF_REDUCE_SUM, false, KERF_ACT_NONE, KERF_ACT_LOG},
	};
	unsigned i = 0;

	while (i < KERF_ARRAY_LEN(table) && strcmp(n->op_type + strlen("Reduce"), table[i].name) != 0)
		i++;
	if (i == KERF_ARRAY_LEN(table))
		return emit_log_sum_exp(imp, n, x, axes, suffix);
	if (table[i].square)
		x = onnx_emit_binary(imp, n, KERF_OP_MUL, x, x, "_square");
	else if (table[i].before)
		x = emit_plain_act(imp, n, x, table[i].before, "_before");
	if (x >= 0)
		x = emit_reduce(imp, n, x, table[i].kind, axes, table[i].after ? "_sum" : suffix);
	return x < 0 || !table[i].after ? x : emit_plain_act(imp, n, x, table[i].after, suffix);
}

int onnx_import_reduce(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t list[KERF_MAX_DIMS];
	int x, keepdims = 1, noop = 0;
	unsigned axes = 0;
	bool given;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "keepdims", &keepdims) < 0 ||
		onnx_attr_int(imp, n, "noop_with_empty_axes", &noop) < 0)
		return -EINVAL;
	const int n_dims = imp->g->tensors[x].n_dims;
	const int count = onnx_ints_either(imp, n, 1, "axes", list, KERF_MAX_DIMS, &given);
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		int axis;
		if (onnx_axis(imp, n, list[i], n_dims, &axis) < 0)
			return -EINVAL;
		axes |= 1u << axis;
	}
	if (count == 0 && !noop)
		axes = (1u << n_dims) - 1;
	const int y = emit_named_reduce(imp, n, x, axes, keepdims ? "" : "_kept");
	return y < 0 || keepdims ? y : onnx_drop_axes(imp, n, y, axes);
}

/* The index as a number of f32, which is exact up to 2^24. */
int onnx_import_arg(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const bool max = strcmp(n->op_type, "ArgMax") == 0;
	int x, axis = 0, keepdims = 1, last = 0;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "axis", &axis) < 0 ||
		onnx_attr_int(imp, n, "keepdims", &keepdims) < 0 ||
		onnx_attr_int(imp, n, "select_last_index", &last) < 0 ||
		onnx_axis(imp, n, axis, imp->g->tensors[x].n_dims, &axis) < 0)
		return -EINVAL;
	const float size = (float)imp->g->tensors[x].dims[axis];
	if (last && (x = onnx_emit_reversed(imp, n, x, axis)) < 0)
		return x;
	int y = emit_reduce(imp, n, x, max ? KERF_REDUCE_ARGMAX : KERF_REDUCE_ARGMIN, 1u << axis,
		keepdims && !last ? "" : "_kept");
	if (last && y >= 0) /* the first from the end: size - 1 - y */
		y = emit_with_scalar(imp, n, KERF_OP_MUL, y, -1, "_negated");
	if (last && y >= 0)
		y = emit_with_scalar(imp, n, KERF_OP_ADD, y, size - 1, keepdims ? "" : "_counted");
	return y < 0 || keepdims ? y : onnx_drop_axes(imp, n, y, 1u << axis);
}

/* Largest or smallest values along an axis, best first, and where they were, as numbers of f32. */
int onnx_import_top_k(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int x, axis = -1, largest = 1;
	int64_t count = 0;
	bool found = false;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "axis", &axis) < 0 ||
		onnx_attr_int(imp, n, "largest", &largest) < 0 || onnx_ints_either(imp, n, 1, "k", &count, 1, &found) < 0 ||
		onnx_axis(imp, n, axis, imp->g->tensors[x].n_dims, &axis) < 0)
		return -EINVAL;
	if (!found || count < 1 || count > imp->g->tensors[x].dims[axis])
		return onnx_fail(imp, n, "K is %" PRId64 ", expected 1 to %" PRId64, count, imp->g->tensors[x].dims[axis]);
	struct kerf_node k = {.op = KERF_OP_REDUCE, .n_inputs = 1, .inputs = {x}, .axes = 1u << axis, .top = (int)count,
		.reduce = largest ? KERF_REDUCE_MAX : KERF_REDUCE_MIN};
	struct kerf_node where = k;
	where.reduce = largest ? KERF_REDUCE_ARGMAX : KERF_REDUCE_ARGMIN;
	const int values = onnx_emit(imp, n, &k, "");
	if (values < 0 || n->n_output < 2)
		return values;
	const int indices = onnx_emit(imp, n, &where, "_where"), rc = indices < 0 ? indices : onnx_set_output(imp, n, 1, indices);
	return rc < 0 ? rc : values;
}

/* ---- softmax ---- */

/* Before opset 13 all dimensions from the axis on form one; *flat tells when x became two dimensions for that. */
static int softmax_input(struct onnx_import *imp, const Onnx__NodeProto *n, int *axis, bool *flat)
{
	int64_t rows[2] = {1, 1};
	int x, last = KERF_NONE;

	*axis = imp->opset < 13 ? 1 : -1;
	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "axis", axis) < 0)
		return -EINVAL;
	const struct kerf_tensor *t = &imp->g->tensors[x];
	if (onnx_axis(imp, n, *axis, t->n_dims, axis) < 0)
		return -EINVAL;
	*flat = false;
	for (int i = *axis, wide = 0; i < t->n_dims && imp->opset < 13; i++) {
		if (t->dims[i] == 1)
			continue;
		*flat = wide++ > 0;
		last = i;
	}
	if (!*flat) { /* of several dimensions that are 1 but for one, that one */
		*axis = imp->opset < 13 && last != KERF_NONE ? last : *axis;
		return x;
	}
	for (int i = 0; i < t->n_dims; i++)
		rows[i >= *axis] *= t->dims[i];
	*axis = 1;
	return onnx_emit_reshape(imp, n, x, 2, rows, "_rows");
}

static int emit_log_softmax(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, const char *suffix)
{
	int top, below, sum = emit_exp_below(imp, n, x, 1u << axis, &top, &below);

	if (sum >= 0)
		sum = emit_reduce(imp, n, sum, KERF_REDUCE_SUM, 1u << axis, "_sum");
	if (sum >= 0)
		sum = emit_plain_act(imp, n, sum, KERF_ACT_LOG, "_log");
	return sum < 0 ? sum : emit_sub(imp, n, below, sum, suffix);
}

int onnx_import_softmax(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_SOFTMAX, .n_inputs = 1};
	struct kerf_tensor shape = {0};
	bool flat;

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0)
		return -EINVAL;
	shape = imp->g->tensors[k.inputs[0]];
	k.inputs[0] = softmax_input(imp, n, &k.axis, &flat);
	if (k.inputs[0] < 0)
		return k.inputs[0];
	const int y = strcmp(n->op_type, "LogSoftmax") == 0
		? emit_log_softmax(imp, n, k.inputs[0], k.axis, flat ? "_softmax" : "")
		: onnx_emit(imp, n, &k, flat ? "_softmax" : "");
	return y < 0 || !flat ? y : onnx_emit_reshape(imp, n, y, shape.n_dims, shape.dims, "");
}

/* ---- normalisations ---- */

int onnx_import_batchnorm(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_BATCHNORM, .n_inputs = 5, .epsilon = 1e-5f};
	int training = 0, spatial = 1;

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0)
		return -EINVAL;
	for (int i = 1; i < 5; i++)
		if (onnx_constant_input(imp, n, i, &k.inputs[i]) < 0)
			return -EINVAL;
	if (onnx_attr_float(imp, n, "epsilon", &k.epsilon) < 0 ||
		onnx_attr_int(imp, n, "training_mode", &training) < 0 ||
		onnx_attr_int(imp, n, "spatial", &spatial) < 0)
		return -EINVAL;
	if (onnx_check_inference(imp, n) < 0)
		return -EINVAL;
	if (training || !spatial)
		return onnx_fail(imp, n, "training_mode %d, spatial %d: expected 0 and 1", training,
			spatial);
	return onnx_emit(imp, n, &k, "");
}

/* [dims before `axis` as one, the others as one] */
static void rows_of(const struct kerf_tensor *t, int axis, int64_t rows[2])
{
	rows[0] = rows[1] = 1;
	for (int i = 0; i < t->n_dims; i++)
		rows[i >= axis] *= t->dims[i];
}

/* The mean and one over the standard deviation, for whoever asks for these outputs. */
static int set_statistics(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, float epsilon)
{
	const unsigned axes = (1u << imp->g->tensors[x].n_dims) - (1u << axis);
	const int mean = emit_reduce(imp, n, x, KERF_REDUCE_MEAN, axes, "_mean");
	int y = mean < 0 ? mean : emit_sub(imp, n, x, mean, "_centred");

	if (y >= 0)
		y = onnx_emit_binary(imp, n, KERF_OP_MUL, y, y, "_square");
	if (y >= 0)
		y = emit_reduce(imp, n, y, KERF_REDUCE_MEAN, axes, "_variance");
	if (y >= 0)
		y = emit_with_scalar(imp, n, KERF_OP_ADD, y, epsilon, "_epsilon");
	if (y >= 0)
		y = emit_plain_act(imp, n, y, KERF_ACT_SQRT, "_deviation");
	if (y >= 0)
		y = emit_plain_act(imp, n, y, KERF_ACT_RECIPROCAL, "_inverse");
	if (y < 0)
		return y;
	int rc = onnx_set_output(imp, n, 1, mean);
	return rc < 0 || n->n_output < 3 ? rc : onnx_set_output(imp, n, 2, y);
}

int onnx_import_layernorm(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_LAYERNORM, .n_inputs = 3, .epsilon = 1e-5f};
	int64_t rows[2];
	int x, axis = -1;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "axis", &axis) < 0 ||
		onnx_attr_float(imp, n, "epsilon", &k.epsilon) < 0 ||
		onnx_axis(imp, n, axis, imp->g->tensors[x].n_dims, &axis) < 0)
		return -EINVAL;
	const struct kerf_tensor shape = imp->g->tensors[x];
	rows_of(&shape, axis, rows);
	for (int i = 1; i < 3; i++) {
		if (onnx_input(imp, n, i, &k.inputs[i]) < 0)
			return -EINVAL;
		if (k.inputs[i] >= 0)
			k.inputs[i] = onnx_emit_reshape(imp, n, k.inputs[i], 1, &rows[1], "_flat");
		if (k.inputs[i] < KERF_NONE)
			return k.inputs[i];
	}
	k.inputs[0] = onnx_emit_reshape(imp, n, x, 2, rows, "_rows");
	if (k.inputs[0] < 0)
		return k.inputs[0];
	const int rc = n->n_output > 1 ? set_statistics(imp, n, x, axis, k.epsilon) : 0;
	const int y = rc < 0 ? rc : onnx_emit(imp, n, &k, "_norm");
	return y < 0 ? y : onnx_emit_reshape(imp, n, y, shape.n_dims, shape.dims, "");
}

/* One value for each channel as [C, 1, 1, ...], to go with a tensor of n_dims dimensions. */
static int per_channel(struct onnx_import *imp, const Onnx__NodeProto *n, int i, int64_t channels, int n_dims)
{
	int64_t dims[KERF_MAX_DIMS] = {channels, 1, 1, 1, 1, 1};
	int id;

	if (onnx_input(imp, n, i, &id) < 0)
		return -EINVAL;
	return onnx_emit_reshape(imp, n, id, n_dims - 1, dims, "_channels");
}

/* A layer norm over each channel of each picture, then scale and bias by channel. */
int onnx_import_instancenorm(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_LAYERNORM, .n_inputs = 1, .epsilon = 1e-5f};
	int64_t rows[2];
	int x;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_float(imp, n, "epsilon", &k.epsilon) < 0)
		return -EINVAL;
	const struct kerf_tensor shape = imp->g->tensors[x];
	if (shape.n_dims < 3)
		return onnx_fail(imp, n, "input has %d dimensions, expected at least 3", shape.n_dims);
	rows_of(&shape, 2, rows);
	k.inputs[0] = onnx_emit_reshape(imp, n, x, 2, rows, "_rows");
	const int scale = per_channel(imp, n, 1, shape.dims[1], shape.n_dims);
	const int bias = per_channel(imp, n, 2, shape.dims[1], shape.n_dims);
	if (k.inputs[0] < 0 || scale < 0 || bias < 0)
		return -EINVAL;
	int y = onnx_emit(imp, n, &k, "_norm");
	if (y >= 0)
		y = onnx_emit_reshape(imp, n, y, shape.n_dims, shape.dims, "_shaped");
	if (y >= 0)
		y = onnx_emit_binary(imp, n, KERF_OP_MUL, y, scale, "_scaled");
	return y < 0 ? y : onnx_emit_binary(imp, n, KERF_OP_ADD, y, bias, "");
}

/* Local response normalisation: x / (bias + alpha/size * sum of squares over `size` channels)^beta. */
int onnx_import_lrn(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	float alpha = 1e-4f, beta = 0.75f, bias = 1;
	int x, size = 0;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_float(imp, n, "alpha", &alpha) < 0 ||
		onnx_attr_float(imp, n, "beta", &beta) < 0 || onnx_attr_float(imp, n, "bias", &bias) < 0 ||
		onnx_attr_int(imp, n, "size", &size) < 0)
		return -EINVAL;
	const struct kerf_tensor *t = &imp->g->tensors[x];
	if (t->n_dims < 2 || size < 1 || size > 2 * t->dims[1] + 1)
		return onnx_fail(imp, n, "size %d of a tensor of %d dimensions", size, t->n_dims);
	const int64_t channels = t->dims[1];
	struct onnx_taps taps;
	int sum = onnx_emit_binary(imp, n, KERF_OP_MUL, x, x, "_square");
	int rc = sum < 0 ? sum : onnx_new_taps(imp, n, channels, size, true, &taps);
	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < channels * size; i++) {
		const int64_t from = i / size + i % size - (size - 1) / 2;

		taps.indices[i] = from < 0 || from >= channels ? -1 : from;
		taps.weights[i] = alpha / (float)size;
	}
	sum = onnx_emit_taps(imp, n, sum, 1, &taps, 0, "_window");
	if (sum >= 0)
		sum = emit_with_scalar(imp, n, KERF_OP_ADD, sum, bias, "_bias");
	if (sum >= 0)
		sum = emit_with_scalar(imp, n, KERF_OP_POW, sum, beta, "_power");
	return sum < 0 ? sum : onnx_emit_binary(imp, n, KERF_OP_DIV, x, sum, "");
}
