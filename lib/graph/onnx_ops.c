/* ONNX operators without a window: activations, arithmetic, shapes; and the table of them all. */
#include "graph/onnx_import.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What depends on constants alone is one: weights that the file transposes before it uses them. */
static int emit_constant(struct onnx_import *imp, const Onnx__NodeProto *n, const struct kerf_node *k)
{
	struct kerf_tensor out = {.dtype = KERF_F32};
	float *values;

	if (kerf_graph_infer_shape(imp->g, k, out.dims, &out.n_dims, imp->err) < 0)
		return -EINVAL;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), out.n_dims, out.dims, &values);
	if (id >= 0)
		kerf_node_constant(imp->g, k, &out, values);
	return id;
}

int onnx_emit(
	struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k, const char *suffix)
{
	const char *name =
		onnx_unique_name(&imp->node_names, onnx_node_name(n), suffix, imp->g->n_nodes);

	if (!name)
		return kerf_err_set(
			imp->err, -ENOMEM, "node %.100s: out of memory", onnx_node_name(n));
	k->name = (char *)name; /* add_node copies it */
	if (k->op != KERF_OP_RESHAPE && kerf_node_is_constant(imp->g, k))
		return emit_constant(imp, n, k);
	return kerf_graph_add_node(imp->g, k, imp->err);
}

int onnx_new_constant(struct onnx_import *imp, const Onnx__NodeProto *n, const char *name,
	int n_dims, const int64_t *dims, float **values)
{
	int id = kerf_graph_add_tensor(imp->g, name, KERF_F32, n_dims, dims);

	if (id < 0)
		return kerf_err_set(
			imp->err, id, "node %.100s: no room for its constants", onnx_node_name(n));
	size_t bytes = kerf_tensor_bytes(&imp->g->tensors[id]);
	imp->budget -= (int64_t)bytes;
	if (imp->budget < 0)
		return onnx_fail(imp, n, "the constants of such nodes take far more than the file");
	*values = malloc(bytes);
	if (!*values)
		return kerf_err_set(imp->err, -ENOMEM, "node %.100s: no memory for its constants",
			onnx_node_name(n));
	imp->g->tensors[id].data = *values;
	return id;
}

static int reshape_constant(
	struct onnx_import *imp, const Onnx__NodeProto *n, int x, int n_dims, const int64_t *dims)
{
	float *values;
	int id = onnx_new_constant(imp, n, imp->g->tensors[x].name, n_dims, dims, &values);

	if (id >= 0)
		memcpy(values, imp->g->tensors[x].data, kerf_tensor_bytes(&imp->g->tensors[x]));
	return id;
}

int onnx_emit_reshape(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int n_dims,
	const int64_t *dims, const char *suffix)
{
	struct kerf_node k = {.op = KERF_OP_RESHAPE, .n_inputs = 1, .inputs = {x}};
	const struct kerf_tensor *t = &imp->g->tensors[x];
	char text[2][96];
	int64_t elements = 1;

	for (int i = 0; i < n_dims; i++)
		if (dims[i] <= 0 || __builtin_mul_overflow(elements, dims[i], &elements))
			elements = -1;
	if (elements != kerf_tensor_elements(t))
		return onnx_fail(imp, n, "%s cannot become %s",
			kerf_dims_text(t->n_dims, t->dims, text[0], sizeof(text[0])),
			kerf_dims_text(n_dims, dims, text[1], sizeof(text[1])));
	if (t->data)
		return reshape_constant(imp, n, x, n_dims, dims);
	k.output = kerf_graph_add_tensor(imp->g, onnx_node_name(n), KERF_F32, n_dims, dims);
	if (k.output < 0)
		return kerf_err_set(
			imp->err, k.output, "node %.100s: out of memory", onnx_node_name(n));
	return onnx_emit(imp, n, &k, suffix);
}

/* ---- activations ---- */

static int emit_act(struct onnx_import *imp, const Onnx__NodeProto *n, enum kerf_act_kind kind,
	float lo, float hi)
{
	struct kerf_node k = {
		.op = KERF_OP_ACT, .n_inputs = 1, .act = {.kind = kind, .lo = lo, .hi = hi}};

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0)
		return -EINVAL;
	return onnx_emit(imp, n, &k, "");
}

static int import_relu(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	return emit_act(imp, n, KERF_ACT_RELU, 0, 0);
}

static int import_sigmoid(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	return emit_act(imp, n, KERF_ACT_SIGMOID, 0, 0);
}

static int import_tanh(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	return emit_act(imp, n, KERF_ACT_TANH, 0, 0);
}

static int import_hard_swish(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	return emit_act(imp, n, KERF_ACT_HARD_SWISH, 0, 0);
}

static int import_clip(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	float lo = -FLT_MAX, hi = FLT_MAX;

	if (onnx_float_either(imp, n, 1, "min", &lo) < 0 ||
		onnx_float_either(imp, n, 2, "max", &hi) < 0)
		return -EINVAL;
	if (!(lo <= hi))
		return onnx_fail(imp, n, "min %g is not below max %g", (double)lo, (double)hi);
	return emit_act(imp, n, KERF_ACT_CLIP, lo, hi);
}

static int import_hard_sigmoid(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	float alpha = 0.2f, beta = 0.5f;

	if (onnx_attr_float(imp, n, "alpha", &alpha) < 0 ||
		onnx_attr_float(imp, n, "beta", &beta) < 0)
		return -EINVAL;
	return emit_act(imp, n, KERF_ACT_HARD_SIGMOID, alpha, beta);
}

static int import_leaky_relu(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	float alpha = 0.01f;

	if (onnx_attr_float(imp, n, "alpha", &alpha) < 0)
		return -EINVAL;
	return emit_act(imp, n, KERF_ACT_LEAKY_RELU, alpha, 0);
}

/* ---- arithmetic ---- */

static int import_batchnorm(struct onnx_import *imp, const Onnx__NodeProto *n)
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

/* Whether b stretches to a's shape and a need not stretch. */
static bool broadcasts_to(const struct kerf_tensor *b, const struct kerf_tensor *a)
{
	int skipped = a->n_dims - b->n_dims;

	for (int i = 0; skipped >= 0 && i < b->n_dims; i++)
		if (b->dims[i] != 1 && b->dims[i] != a->dims[skipped + i])
			return false;
	return skipped >= 0;
}

/* The activation goes first, or of two activations the one with the result's shape. */
static int emit_binary(
	struct onnx_import *imp, const Onnx__NodeProto *n, enum kerf_op op, int first, int second, const char *suffix)
{
	const struct kerf_tensor *a = &imp->g->tensors[first], *b = &imp->g->tensors[second];
	const bool swap = !a->data == !b->data ? !broadcasts_to(b, a) && broadcasts_to(a, b) : a->data != NULL;
	struct kerf_node k = {
		.op = op, .n_inputs = 2, .inputs = {swap ? second : first, swap ? first : second}};

	return onnx_emit(imp, n, &k, suffix);
}

static int emit_scaled(struct onnx_import *imp, const Onnx__NodeProto *n, int x, float factor, const char *suffix)
{
	float *value;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), 0, NULL, &value);

	if (id < 0)
		return id;
	*value = factor;
	return emit_binary(imp, n, KERF_OP_MUL, x, id, suffix);
}

/* Opset 6 let the second operand begin at any axis; since then it ends with the first. */
static int two_inputs(struct onnx_import *imp, const Onnx__NodeProto *n, int id[2])
{
	if (imp->opset < 7 && onnx_attr(n, "axis"))
		return onnx_fail(imp, n, "attribute axis (opset 6) is not supported");
	return onnx_input(imp, n, 0, &id[0]) < 0 || onnx_input(imp, n, 1, &id[1]) < 0 ? -EINVAL : 0;
}

static int import_binary(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const enum kerf_op op = strcmp(n->op_type, "Add") == 0 ? KERF_OP_ADD : KERF_OP_MUL;
	int id[2];

	return two_inputs(imp, n, id) < 0 ? -EINVAL : emit_binary(imp, n, op, id[0], id[1], "");
}

/* a + -b, which is the same in every bit. */
static int import_sub(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int id[2];

	if (two_inputs(imp, n, id) < 0)
		return -EINVAL;
	const int negated = emit_scaled(imp, n, id[1], -1, "_negated");
	return negated < 0 ? negated : emit_binary(imp, n, KERF_OP_ADD, id[0], negated, "");
}

static int import_neg(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int x;

	return onnx_input(imp, n, 0, &x) < 0 ? -EINVAL : emit_scaled(imp, n, x, -1, "");
}

/* By a constant: a product with its inverse, which is off by one unit in the last place at most. */
static int import_div(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int id[2];
	float *to;

	if (two_inputs(imp, n, id) < 0 || onnx_constant_input(imp, n, 1, &id[1]) < 0)
		return -EINVAL;
	const struct kerf_tensor t = imp->g->tensors[id[1]]; /* by value: adding a tensor moves the array */
	const float *from = t.data;
	const int inverse = onnx_new_constant(imp, n, t.name, t.n_dims, t.dims, &to);
	for (int64_t i = 0; inverse >= 0 && i < kerf_tensor_elements(&t); i++) {
		to[i] = 1 / from[i];
		if (!isnormal(to[i]))
			return onnx_fail(imp, n, "division by %g is not supported", (double)from[i]);
	}
	return inverse < 0 ? inverse : emit_binary(imp, n, KERF_OP_MUL, id[0], inverse, "");
}

/* Sum and Mean of any number. */
static int import_sum(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const bool mean = strcmp(n->op_type, "Mean") == 0;
	int sum, next;

	if (onnx_input(imp, n, 0, &sum) < 0)
		return -EINVAL;
	for (size_t i = 1; i < n->n_input; i++) {
		const bool last = i + 1 == n->n_input && !mean;

		if (onnx_input(imp, n, (int)i, &next) < 0)
			return -EINVAL;
		if (next == KERF_NONE)
			return onnx_fail(imp, n, "input %zu is left out", i);
		sum = emit_binary(imp, n, KERF_OP_ADD, sum, next, last ? "" : "_sum");
		if (sum < 0)
			return sum;
	}
	if (n->n_input > 1)
		return mean ? emit_scaled(imp, n, sum, 1.0f / (float)n->n_input, "") : sum;
	const struct kerf_tensor t = imp->g->tensors[sum]; /* of one: the same, under another name */
	return onnx_emit_reshape(imp, n, sum, t.n_dims, t.dims, "");
}

/* Before opset 13 all dimensions from the axis on form one: the same if only one is not 1. */
static int flattened_axis(
	struct onnx_import *imp, const Onnx__NodeProto *n, const struct kerf_tensor *x, int *axis)
{
	int wide = *axis;

	for (int i = *axis, seen = 0; i < x->n_dims; i++) {
		if (x->dims[i] == 1)
			continue;
		if (seen++)
			return onnx_fail(imp, n,
				"softmax over several dimensions at once (opset %" PRId64
				", axis %d) is not supported",
				imp->opset, *axis);
		wide = i;
	}
	*axis = wide;
	return 0;
}

static int import_softmax(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_SOFTMAX, .n_inputs = 1};
	int axis = imp->opset < 13 ? 1 : -1;

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0 || onnx_attr_int(imp, n, "axis", &axis) < 0)
		return -EINVAL;
	const struct kerf_tensor *x = &imp->g->tensors[k.inputs[0]];
	if (onnx_axis(imp, n, axis, x->n_dims, &k.axis) < 0)
		return -EINVAL;
	if (imp->opset < 13 && flattened_axis(imp, n, x, &k.axis) < 0)
		return -EINVAL;
	return onnx_emit(imp, n, &k, "");
}

static int compare_operator(const void *name, const void *op)
{
	return strcmp(name, ((const struct onnx_operator *)op)->name);
}

/*
 * Identity, Dropout, Cast and Constant have no importer here: onnx_import.c resolves them. Sorted
 * by name. An input count of INT32_MAX means any number.
 */
const struct onnx_operator *onnx_find_operator(const Onnx__NodeProto *n)
{
	static const struct onnx_operator table[] = {
		{"Add", 2, 2, import_binary},
		{"AveragePool", 1, 1, onnx_import_pool},
		{"BatchNormalization", 5, 5, import_batchnorm},
		{"Cast", 1, 1, NULL},
		{"Clip", 1, 3, import_clip},
		{"Concat", 1, INT32_MAX, onnx_import_concat},
		{"Constant", 0, 0, NULL},
		{"Conv", 2, 3, onnx_import_conv},
		{"Div", 2, 2, import_div},
		{"Dropout", 1, 3, NULL},
		{"Flatten", 1, 1, onnx_import_flatten},
		{"Gather", 2, 2, onnx_import_gather},
		{"Gemm", 2, 3, onnx_import_gemm},
		{"GlobalAveragePool", 1, 1, onnx_import_global_pool},
		{"GlobalMaxPool", 1, 1, onnx_import_global_pool},
		{"HardSigmoid", 1, 1, import_hard_sigmoid},
		{"HardSwish", 1, 1, import_hard_swish},
		{"Identity", 1, 1, NULL},
		{"LeakyRelu", 1, 1, import_leaky_relu},
		{"MatMul", 2, 2, onnx_import_matmul},
		{"MaxPool", 1, 1, onnx_import_pool},
		{"Mean", 1, INT32_MAX, import_sum},
		{"Mul", 2, 2, import_binary},
		{"Neg", 1, 1, import_neg},
		{"Pad", 1, 4, onnx_import_pad},
		{"ReduceMean", 1, 2, onnx_import_reduce_mean},
		{"Relu", 1, 1, import_relu},
		{"Reshape", 1, 2, onnx_import_reshape},
		{"Sigmoid", 1, 1, import_sigmoid},
		{"Slice", 1, 5, onnx_import_slice},
		{"Softmax", 1, 1, import_softmax},
		{"Split", 1, 2, onnx_import_split, true},
		{"Squeeze", 1, 2, onnx_import_squeeze},
		{"Sub", 2, 2, import_sub},
		{"Sum", 1, INT32_MAX, import_sum},
		{"Tanh", 1, 1, import_tanh},
		{"Transpose", 1, 1, onnx_import_transpose},
		{"Unsqueeze", 1, 2, onnx_import_unsqueeze},
	};
	bool standard = !n->domain || !n->domain[0] || strcmp(n->domain, "ai.onnx") == 0;

	if (!standard || !n->op_type)
		return NULL;
	return bsearch(
		n->op_type, table, KERF_ARRAY_LEN(table), sizeof(table[0]), compare_operator);
}
