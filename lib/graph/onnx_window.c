/* ONNX operators with a window or weights: convolutions, pools, matrix products. */
#include "graph/onnx_import.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

enum auto_pad { AUTO_NOTSET, AUTO_SAME_UPPER, AUTO_SAME_LOWER, AUTO_VALID };

static int read_auto_pad(
	const struct onnx_import *imp, const Onnx__NodeProto *n, enum auto_pad *kind)
{
	static const char *const names[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
	char text[32] = "NOTSET";

	if (onnx_attr_text(imp, n, "auto_pad", text, sizeof(text)) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(names); i++)
		if (strcmp(text, names[i]) == 0) {
			*kind = (enum auto_pad)i;
			return 0;
		}
	return onnx_fail(imp, n, "auto_pad %s is unknown", text);
}

static int64_t window_reach(const struct kerf_node *k, int i)
{
	return (int64_t)(k->kernel[i] - 1) * k->dilations[i] + 1;
}

/* SAME: as many outputs as strides begin inside the input; an odd pad goes where the name says. */
static int pad_same(const struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k,
	const struct kerf_tensor *x, enum auto_pad kind)
{
	for (int i = 0; i < 2; i++) {
		int64_t in = x->dims[2 + i], stride = k->strides[i];
		int64_t out = (in + stride - 1) / stride;
		int64_t total = KERF_MAX((out - 1) * stride + window_reach(k, i) - in, 0);
		if (total > INT_MAX)
			return onnx_fail(imp, n, "its pads are out of range");
		int less = (int)total / 2, more = (int)total - less;
		k->pads[i] = kind == AUTO_SAME_UPPER ? less : more;
		k->pads[i + 2] = kind == AUTO_SAME_UPPER ? more : less;
	}
	return 0;
}

/*
 * ceil_mode: the last window may hang over the far edge but has to begin inside the input or its
 * first pad. Said in explicit pads, so that nobody else needs to know.
 */
static int pad_ceil(const struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k,
	const struct kerf_tensor *x, enum auto_pad kind)
{
	for (int i = 0; i < 2; i++) {
		int64_t stride = k->strides[i], reach = window_reach(k, i);
		int64_t begin = x->dims[2 + i] + k->pads[i], padded = begin + k->pads[i + 2];
		if (reach > padded)
			continue; /* shape inference refuses it */
		int64_t last = (padded - reach + stride - 1) / stride * stride;
		if (last >= begin)
			last -= stride;
		int64_t extra = last + reach - padded;
		if (extra <= 0)
			continue;
		if (k->count_include_pad || kind == AUTO_VALID)
			return onnx_fail(imp, n, "ceil_mode with %s is not supported here",
				k->count_include_pad ? "count_include_pad" : "auto_pad VALID");
		if (k->pads[i + 2] + extra > INT_MAX)
			return onnx_fail(imp, n, "its pads are out of range");
		k->pads[i + 2] += (int)extra;
	}
	return 0;
}

static int check_window(const struct onnx_import *imp, const Onnx__NodeProto *n,
	const struct kerf_node *k, const struct kerf_tensor *x)
{
	char text[96];

	if (x->n_dims != 4)
		return onnx_fail(imp, n, "input is %s, expected 4 dimensions (N, C, H, W)",
			kerf_dims_text(x->n_dims, x->dims, text, sizeof(text)));
	for (int i = 0; i < 4; i++)
		if (k->kernel[i % 2] <= 0 || k->strides[i % 2] <= 0 || k->dilations[i % 2] <= 0 ||
			k->pads[i] < 0)
			return onnx_fail(imp, n,
				"kernel %dx%d, strides %d %d, dilations %d %d, pads %d %d %d %d: "
				"expected positive numbers, and pads not below 0",
				k->kernel[0], k->kernel[1], k->strides[0], k->strides[1],
				k->dilations[0], k->dilations[1], k->pads[0], k->pads[1],
				k->pads[2], k->pads[3]);
	return 0;
}

/* An attribute with `each` integers a dimension; of a sequence [N, C, W] they go where width has its own. */
static int read_per_dim(const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name, bool sequence,
	int each, int *values)
{
	int width[2] = {values[1], values[2 * each - 1]};

	if (!sequence)
		return onnx_attr_ints(imp, n, name, 2 * each, values);
	if (onnx_attr_ints(imp, n, name, each, width) < 0)
		return -EINVAL;
	values[1] = width[0];
	values[2 * each - 1] = width[each - 1];
	return 0;
}

/* Kernel (unless k has it), strides, dilations, pads of a node over the tensor k->inputs[0]. */
static int read_window(const struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k, bool sequence)
{
	const struct kerf_tensor *x = &imp->g->tensors[k->inputs[0]];
	enum auto_pad kind = AUTO_NOTSET;
	int ceil_mode = 0;

	for (int i = 0; i < 2; i++)
		k->strides[i] = k->dilations[i] = 1;
	if (read_auto_pad(imp, n, &kind) < 0 ||
		read_per_dim(imp, n, "kernel_shape", sequence, 1, k->kernel) < 0 ||
		read_per_dim(imp, n, "strides", sequence, 1, k->strides) < 0 ||
		read_per_dim(imp, n, "dilations", sequence, 1, k->dilations) < 0 ||
		onnx_attr_int(imp, n, "ceil_mode", &ceil_mode) < 0)
		return -EINVAL;
	if (kind == AUTO_NOTSET && read_per_dim(imp, n, "pads", sequence, 2, k->pads) < 0)
		return -EINVAL;
	if (check_window(imp, n, k, x) < 0)
		return -EINVAL;
	if (kind == AUTO_SAME_UPPER || kind == AUTO_SAME_LOWER)
		return pad_same(imp, n, k, x, kind);
	return ceil_mode ? pad_ceil(imp, n, k, x, kind) : 0;
}

/* Sequences [N, C, W] are pictures of height 1, and so are the weights of their convolutions. */
static bool is_sequence(const struct onnx_import *imp, int x)
{
	return imp->g->tensors[x].n_dims == 3;
}

static int to_picture(struct onnx_import *imp, const Onnx__NodeProto *n, int x)
{
	const int64_t *d = imp->g->tensors[x].dims;

	return onnx_emit_reshape(imp, n, x, 4, (const int64_t[]){d[0], d[1], 1, d[2]}, "_picture");
}

/* Emits the node that reads k's window; the result is a sequence again. */
static int emit_window(struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k, bool sequence)
{
	const int y = onnx_emit(imp, n, k, sequence ? "_window" : "");

	if (y < 0 || !sequence)
		return y;
	const int64_t *d = imp->g->tensors[y].dims;
	return onnx_emit_reshape(imp, n, y, 3, (const int64_t[]){d[0], d[1], d[3]}, "");
}

/* Input, constant weights and bias, groups; a sequence becomes a picture. */
static int conv_inputs(struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k, bool *sequence)
{
	if (onnx_input(imp, n, 0, &k->inputs[0]) < 0 ||
		onnx_weights_input(imp, n, 1, &k->inputs[1]) < 0 ||
		onnx_weights_input(imp, n, 2, &k->inputs[2]) < 0 ||
		onnx_attr_int(imp, n, "group", &k->groups) < 0)
		return -EINVAL;
	if (k->groups <= 0)
		return onnx_fail(imp, n, "group is %d, expected at least 1", k->groups);
	if (onnx_is_volume(imp, k->inputs[0]))
		return 0;
	*sequence = is_sequence(imp, k->inputs[0]) && is_sequence(imp, k->inputs[1]);
	for (int i = 0; i < 2 && *sequence; i++)
		if ((k->inputs[i] = to_picture(imp, n, k->inputs[i])) < 0)
			return k->inputs[i];
	const struct kerf_tensor *weights = &imp->g->tensors[k->inputs[1]];
	for (int i = 0; i < 2 && weights->n_dims == 4; i++)
		k->kernel[i] = (int)weights->dims[2 + i];
	return 0;
}

int onnx_import_conv(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_CONV, .n_inputs = 3, .groups = 1};
	bool sequence = false;

	if (conv_inputs(imp, n, &k, &sequence) < 0)
		return -EINVAL;
	if (onnx_is_volume(imp, k.inputs[0]))
		return onnx_import_conv_volume(imp, n, k.inputs[0], k.inputs[1], k.inputs[2], k.groups);
	if (read_window(imp, n, &k, sequence) < 0)
		return -EINVAL;
	return emit_window(imp, n, &k, sequence);
}

int onnx_import_pool(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	bool is_max = strcmp(n->op_type, "MaxPool") == 0;
	struct kerf_node k = {.op = is_max ? KERF_OP_MAXPOOL : KERF_OP_AVGPOOL, .n_inputs = 1};
	int include_pad = 0;

	if (!onnx_attr(n, "kernel_shape"))
		return onnx_fail(imp, n, "attribute kernel_shape is missing");
	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0 ||
		onnx_attr_int(imp, n, "count_include_pad", &include_pad) < 0)
		return -EINVAL;
	k.count_include_pad = !is_max && include_pad != 0;
	if (onnx_is_volume(imp, k.inputs[0]))
		return onnx_import_pool_volume(imp, n, k.inputs[0], is_max, k.count_include_pad);
	const bool sequence = is_sequence(imp, k.inputs[0]);
	if (sequence && (k.inputs[0] = to_picture(imp, n, k.inputs[0])) < 0)
		return k.inputs[0];
	k.kernel[0] = 1;
	if (read_window(imp, n, &k, sequence) < 0)
		return -EINVAL;
	return emit_window(imp, n, &k, sequence);
}

int onnx_import_global_pool(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_GLOBAL_AVGPOOL, .n_inputs = 1};

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0)
		return -EINVAL;
	const struct kerf_tensor *x = &imp->g->tensors[k.inputs[0]];
	if (strcmp(n->op_type, "GlobalMaxPool") == 0) {
		k.op = KERF_OP_MAXPOOL; /* whose window is all */
		for (int i = 0; i < 2 && x->n_dims == 4; i++)
			k.kernel[i] = (int)x->dims[2 + i];
	}
	return onnx_emit(imp, n, &k, "");
}

/* A new constant: w [rows, columns] times `scale`, transposed on demand. */
#define TRANSPOSE_BLOCK 32 /* rows and columns whose cache lines are all at hand */

/* to[columns][rows] = scale * from[rows][columns] */
static void transpose_scaled(float *to, const float *from, int64_t rows, int64_t columns, float scale)
{
	for (int64_t i0 = 0; i0 < rows; i0 += TRANSPOSE_BLOCK)
		for (int64_t j0 = 0; j0 < columns; j0 += TRANSPOSE_BLOCK)
			for (int64_t j = j0; j < KERF_MIN(j0 + TRANSPOSE_BLOCK, columns); j++)
				for (int64_t i = i0; i < KERF_MIN(i0 + TRANSPOSE_BLOCK, rows); i++)
					to[j * rows + i] = scale * from[i * columns + j];
}

static int add_weights(
	struct onnx_import *imp, const Onnx__NodeProto *n, int id, bool transpose, float scale)
{
	int64_t rows = imp->g->tensors[id].dims[0], columns = imp->g->tensors[id].dims[1];
	const float *from = imp->g->tensors[id].data;
	const int64_t dims[2] = {transpose ? columns : rows, transpose ? rows : columns};
	void *values;
	int added = onnx_new_constant(imp, n, imp->g->tensors[id].name, KERF_F32, 2, dims, &values);

	if (added < 0)
		return added;
	float *to = values;
	if (transpose)
		transpose_scaled(to, from, rows, columns, scale);
	for (int64_t i = 0; !transpose && i < rows * columns; i++)
		to[i] = scale * from[i];
	return added;
}

/* ONNX lets the bias broadcast to [N,M]: one value, [M] or [1,M] are the same for every row. */
static bool is_row(const struct kerf_tensor *t, int64_t len)
{
	const int64_t given = kerf_tensor_elements(t);

	return t->data && (given == 1 || (given == len && t->dims[t->n_dims - 1] == len));
}

/* The others are a sum of their own. */
static int emit_matrix_bias(struct onnx_import *imp, const Onnx__NodeProto *n, int product, int bias, float scale)
{
	if (scale != 1) {
		void *to;
		const int factor = onnx_new_constant(imp, n, onnx_node_name(n), KERF_F32, 0, NULL, &to);

		if (factor < 0)
			return factor;
		*(float *)to = scale;
		bias = onnx_emit_binary(imp, n, KERF_OP_MUL, bias, factor, "_bias");
	}
	const int sum = bias < 0 ? bias : onnx_emit_binary(imp, n, KERF_OP_ADD, product, bias, "");
	const struct kerf_tensor *t = imp->g->tensors;
	char text[96];
	if (sum >= 0 && (t[sum].n_dims != 2 || kerf_tensor_elements(&t[sum]) != kerf_tensor_elements(&t[product])))
		return onnx_fail(imp, n, "bias is %s, for a product of %" PRId64 " rows and %" PRId64 " columns",
			kerf_dims_text(t[bias].n_dims, t[bias].dims, text, sizeof(text)), t[product].dims[0], t[product].dims[1]);
	return sum;
}

/* A row as a constant [len]. */
static int add_bias(
	struct onnx_import *imp, const Onnx__NodeProto *n, int id, int64_t len, float scale)
{
	const struct kerf_tensor *t = &imp->g->tensors[id];
	int64_t given = kerf_tensor_elements(t);

	if (given == len && t->n_dims == 1 && scale == 1)
		return id;
	const float *from = t->data;
	void *to;
	int added = onnx_new_constant(imp, n, t->name, KERF_F32, 1, &len, &to);
	for (int64_t i = 0; added >= 0 && i < len; i++)
		((float *)to)[i] = scale * from[given == len ? i : 0];
	return added;
}

int onnx_import_gemm(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_GEMM, .n_inputs = 3};
	int trans_a = 0, trans_b = 0, bias;
	float alpha = 1, beta = 1;

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0 ||
		onnx_weights_input(imp, n, 1, &k.inputs[1]) < 0 ||
		onnx_input(imp, n, 2, &bias) < 0 ||
		onnx_attr_int(imp, n, "transA", &trans_a) < 0 ||
		onnx_attr_int(imp, n, "transB", &trans_b) < 0 ||
		onnx_attr_float(imp, n, "alpha", &alpha) < 0 ||
		onnx_attr_float(imp, n, "beta", &beta) < 0)
		return -EINVAL;
	if (trans_a && imp->g->tensors[k.inputs[0]].n_dims == 2) {
		struct kerf_node t = {.op = KERF_OP_TRANSPOSE, .n_inputs = 1, .inputs = {k.inputs[0]}, .perm = {1, 0}};
		if ((k.inputs[0] = onnx_emit(imp, n, &t, "_transposed")) < 0)
			return k.inputs[0];
	}
	if (imp->g->tensors[k.inputs[1]].n_dims != 2)
		return onnx_fail(imp, n, "weights have %d dimensions, expected 2",
			imp->g->tensors[k.inputs[1]].n_dims);
	if (!trans_b || alpha != 1)
		k.inputs[1] = add_weights(imp, n, k.inputs[1], !trans_b, alpha);
	if (k.inputs[1] < 0)
		return k.inputs[1];
	const int64_t columns = imp->g->tensors[k.inputs[1]].dims[0];
	k.inputs[2] = KERF_NONE;
	if (bias >= 0 && !is_row(&imp->g->tensors[bias], columns)) {
		const int product = onnx_emit(imp, n, &k, "_product");

		return product < 0 ? product : emit_matrix_bias(imp, n, product, bias, beta);
	}
	if (bias >= 0 && onnx_weights_input(imp, n, 2, &bias) < 0)
		return -EINVAL;
	if (bias >= 0 && (k.inputs[2] = add_bias(imp, n, bias, columns, beta)) < 0)
		return k.inputs[2];
	return onnx_emit(imp, n, &k, "");
}

/* x [..., K] times a constant [K, M]: all but the last dimension of x are rows. */
static int emit_weighted(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int weights)
{
	struct kerf_node k = {.op = KERF_OP_GEMM, .n_inputs = 2};
	const int n_dims = imp->g->tensors[x].n_dims;
	int64_t dims[KERF_MAX_DIMS];

	memcpy(dims, imp->g->tensors[x].dims, sizeof(dims));
	int64_t rows = kerf_tensor_elements(&imp->g->tensors[x]) / dims[n_dims - 1];
	const int64_t flat[2] = {rows, dims[n_dims - 1]};
	k.inputs[0] = n_dims == 2 ? x : onnx_emit_reshape(imp, n, x, 2, flat, "_rows");
	if (k.inputs[0] < 0)
		return k.inputs[0];
	k.inputs[1] = add_weights(imp, n, weights, true, 1);
	if (k.inputs[1] < 0)
		return k.inputs[1];
	int product = onnx_emit(imp, n, &k, n_dims == 2 ? "" : "_product");
	if (product < 0 || n_dims == 2)
		return product;
	dims[n_dims - 1] = imp->g->tensors[product].dims[1];
	return onnx_emit_reshape(imp, n, product, n_dims, dims, "");
}

/* The shape of a matrix operand with at least two dimensions: a vector is a row on the left, a column on the right. */
static int matrix_dims(const struct kerf_tensor *t, bool left, int64_t dims[KERF_MAX_DIMS])
{
	memcpy(dims, t->dims, sizeof(t->dims));
	if (t->n_dims != 1)
		return t->n_dims;
	dims[left ? 1 : 0] = t->dims[0];
	dims[left ? 0 : 1] = 1;
	return 2;
}

/* x as [batches, rows, columns], where `batch` are the dimensions that all operands' batches stretch to. */
static int to_batches(struct onnx_import *imp, const Onnx__NodeProto *n, int x, bool left, int n_batch, const int64_t *batch)
{
	int64_t dims[KERF_MAX_DIMS], wide[KERF_MAX_DIMS], count = 1;
	const int n_dims = matrix_dims(&imp->g->tensors[x], left, dims);
	int64_t flat[3] = {1, dims[n_dims - 2], dims[n_dims - 1]};
	bool single = true;

	for (int i = 0; i < n_dims - 2; i++)
		single &= dims[i] == 1;
	for (int i = 0; i < n_batch; i++)
		count *= wide[i] = batch[i];
	if (!single) {
		wide[n_batch] = flat[1];
		wide[n_batch + 1] = flat[2];
		x = onnx_emit_expand(imp, n, x, n_batch + 2, wide);
		flat[0] = count;
	}
	return x < 0 ? x : onnx_emit_reshape(imp, n, x, 3, flat, "_batches");
}

/* Two values of any dimensions by numpy's rules. */
static int emit_product(struct onnx_import *imp, const Onnx__NodeProto *n, const int id[2])
{
	struct kerf_node k = {.op = KERF_OP_MATMUL, .n_inputs = 2};
	int64_t dims[2][KERF_MAX_DIMS], result[KERF_MAX_DIMS];
	int n_dims[2], n_batch = 0, n_result;

	for (int i = 0; i < 2; i++) {
		n_dims[i] = matrix_dims(&imp->g->tensors[id[i]], i == 0, dims[i]);
		n_batch = KERF_MAX(n_batch, n_dims[i] - 2);
	}
	for (int d = 0; d < n_batch; d++) {
		result[d] = 1;
		for (int i = 0; i < 2; i++) {
			const int at = d - (n_batch + 2 - n_dims[i]);
			const int64_t size = at < 0 ? 1 : dims[i][at];

			if (size != 1 && result[d] != 1 && size != result[d])
				return onnx_fail(imp, n, "batches of %" PRId64 " and %" PRId64, result[d], size);
			result[d] = KERF_MAX(result[d], size);
		}
	}
	for (int i = 0; i < 2; i++)
		if ((k.inputs[i] = to_batches(imp, n, id[i], i == 0, n_batch, result)) < 0)
			return k.inputs[i];
	const int y = onnx_emit(imp, n, &k, "_product");
	if (y < 0)
		return y;
	n_result = n_batch;
	if (imp->g->tensors[id[0]].n_dims > 1)
		result[n_result++] = dims[0][n_dims[0] - 2];
	if (imp->g->tensors[id[1]].n_dims > 1)
		result[n_result++] = dims[1][n_dims[1] - 1];
	return onnx_emit_reshape(imp, n, y, n_result, result, "");
}

int onnx_import_matmul(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int id[2];

	for (int i = 0; i < 2; i++) {
		if (onnx_input(imp, n, i, &id[i]) < 0)
			return -EINVAL;
		if (imp->g->tensors[id[i]].n_dims == 0)
			return onnx_fail(imp, n, "operand %d is a single number", i);
	}
	const struct kerf_tensor *b = &imp->g->tensors[id[1]];
	if (b->data && b->dtype == KERF_F32 && b->n_dims == 2 && imp->g->tensors[id[0]].n_dims >= 2)
		return emit_weighted(imp, n, id[0], id[1]);
	return emit_product(imp, n, id);
}

/* ---- transposed convolution: one of the values with zeros between them, by the weights turned around ---- */

int onnx_spread(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, int stride)
{
	const int64_t count = (imp->g->tensors[x].dims[axis] - 1) * stride + 1;
	struct onnx_taps taps;

	if (count > INT_MAX)
		return onnx_fail(imp, n, "stride %d is out of range", stride);
	const int rc = onnx_new_taps(imp, n, count, 1, false, &taps);
	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < count; i++)
		taps.indices[i] = i % stride ? -1 : i / stride;
	return onnx_emit_taps(imp, n, x, axis, &taps, 0, "_spread");
}

int onnx_turn_weights(struct onnx_import *imp, const Onnx__NodeProto *n, int id, int groups)
{
	const struct kerf_tensor t = imp->g->tensors[id];
	const int64_t each = t.dims[0] / groups, out = t.dims[1], area = kerf_tensor_elements(&t) / (t.dims[0] * out);
	int64_t dims[KERF_MAX_DIMS];
	void *values;

	memcpy(dims, t.dims, sizeof(dims));
	dims[0] = out * groups;
	dims[1] = each;
	const int turned = onnx_new_constant(imp, n, t.name, KERF_F32, t.n_dims, dims, &values);

	if (turned < 0)
		return turned;
	const float *from = t.data;
	for (int64_t m = 0; m < out * groups; m++)
		for (int64_t c = 0; c < each; c++)
			for (int64_t k = 0; k < area; k++)
				((float *)values)[(m * each + c) * area + k] =
					from[((m / out * each + c) * out + m % out) * area + area - 1 - k];
	return turned;
}

/* Pads that make the output as large as asked for. */
static int transposed_pads(const struct onnx_import *imp, const Onnx__NodeProto *n, const struct kerf_node *k, bool sequence,
	enum auto_pad kind, int64_t pads[4])
{
	const struct kerf_tensor *x = &imp->g->tensors[k->inputs[0]];
	int extra[2] = {0, 0}, size[2] = {0, 0};

	if (read_per_dim(imp, n, "output_padding", sequence, 1, extra) < 0 ||
		read_per_dim(imp, n, "output_shape", sequence, 1, size) < 0)
		return -EINVAL;
	for (int i = 0; i < 2; i++) {
		const int64_t full = (x->dims[2 + i] - 1) * k->strides[i] + window_reach(k, i) + extra[i];
		const bool same = kind == AUTO_SAME_UPPER || kind == AUTO_SAME_LOWER;
		const int64_t wanted = size[i] ? size[i] : same ? x->dims[2 + i] * k->strides[i] : full - k->pads[i] - k->pads[i + 2];

		if (extra[i] < 0 || size[i] < 0 || wanted < 1)
			return onnx_fail(imp, n, "output_padding %d, output_shape %d", extra[i], size[i]);
		const int64_t cut = KERF_MAX(full - wanted, 0);
		pads[i] = k->pads[i];
		if (size[i] || same)
			pads[i] = kind == AUTO_SAME_UPPER ? cut / 2 : cut - cut / 2;
		/* From cutting the full result to padding what a convolution reads. */
		pads[i + 2] = window_reach(k, i) - 1 + extra[i] - (full - wanted - pads[i]);
		pads[i] = window_reach(k, i) - 1 - pads[i];
		if (pads[i] > INT_MAX || pads[i + 2] > INT_MAX)
			return onnx_fail(imp, n, "its pads are out of range");
	}
	return 0;
}

/* A pad below 0 is cut off the input, which is what a convolution would not have read. */
static int crop(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int64_t pads[4])
{
	const struct kerf_tensor t = imp->g->tensors[x];
	struct kerf_node k = {.op = KERF_OP_SLICE, .n_inputs = 1, .inputs = {x}};

	if (pads[0] >= 0 && pads[1] >= 0 && pads[2] >= 0 && pads[3] >= 0)
		return x;
	for (int d = 0; d < 4; d++) {
		const int64_t begin = d < 2 ? 0 : KERF_MAX(-pads[d - 2], 0), end = d < 2 ? 0 : KERF_MAX(-pads[d], 0);

		if (begin + end >= t.dims[d])
			return onnx_fail(imp, n, "its pads leave nothing");
		k.starts[d] = (int)begin;
		k.steps[d] = 1;
		k.counts[d] = (int)(t.dims[d] - begin - end);
	}
	for (int i = 0; i < 4; i++)
		pads[i] = KERF_MAX(pads[i], 0);
	return onnx_emit(imp, n, &k, "_cut");
}

/* Windows that do not overlap: each input place becomes a block of outputs, which is a 1x1 convolution. */
static int emit_blocks(struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k, bool sequence)
{
	const struct kerf_tensor w = imp->g->tensors[k->inputs[1]];
	const int64_t in = w.dims[0], out = w.dims[1], area = w.dims[2] * w.dims[3];
	struct kerf_node shuffle = {.op = KERF_OP_DEPTH_TO_SPACE, .n_inputs = 1, .kernel = {k->kernel[0], k->kernel[1]}};
	void *to;

	k->inputs[1] = onnx_new_constant(imp, n, w.name, KERF_F32, 4, (const int64_t[]){area * out, in, 1, 1}, &to);
	for (int64_t i = 0; k->inputs[1] >= 0 && i < in * out * area; i++)
		((float *)to)[(i % area * out + i / area % out) * in + i / (area * out)] = ((const float *)w.data)[i];
	if (k->inputs[1] >= 0 && k->inputs[2] >= 0) {
		const struct kerf_tensor bias = imp->g->tensors[k->inputs[2]];

		if (kerf_tensor_elements(&bias) != out)
			return onnx_fail(imp, n, "bias has %" PRId64 " values, expected %" PRId64, kerf_tensor_elements(&bias), out);
		k->inputs[2] = onnx_new_constant(imp, n, bias.name, KERF_F32, 1, &(int64_t){area * out}, &to);
		for (int64_t i = 0; k->inputs[2] >= 0 && i < area * out; i++)
			((float *)to)[i] = ((const float *)bias.data)[i % out];
	}
	if (k->inputs[1] < 0 || k->inputs[2] < KERF_NONE)
		return -EINVAL;
	for (int i = 0; i < 2; i++)
		k->kernel[i] = k->strides[i] = 1;
	shuffle.inputs[0] = onnx_emit(imp, n, k, "_blocks");
	return shuffle.inputs[0] < 0 ? shuffle.inputs[0] : emit_window(imp, n, &shuffle, sequence);
}

static bool is_blocks(const Onnx__NodeProto *n, const struct kerf_node *k)
{
	for (int i = 0; i < 2; i++)
		if (k->kernel[i] != k->strides[i] || k->dilations[i] != 1 || k->pads[i] || k->pads[i + 2])
			return false;
	return k->groups == 1 && !onnx_attr(n, "output_padding") && !onnx_attr(n, "output_shape") && !onnx_attr(n, "auto_pad");
}

int onnx_import_conv_transpose(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_CONV, .n_inputs = 3, .groups = 1};
	enum auto_pad kind = AUTO_NOTSET;
	int64_t pads[4];
	bool sequence = false;

	if (conv_inputs(imp, n, &k, &sequence) < 0 || read_auto_pad(imp, n, &kind) < 0)
		return -EINVAL;
	if (onnx_is_volume(imp, k.inputs[0]))
		return onnx_import_conv_transpose_volume(imp, n, k.inputs[0], k.inputs[1], k.inputs[2], k.groups);
	const struct kerf_tensor *w = &imp->g->tensors[k.inputs[1]];
	if (w->n_dims != 4 || w->dims[0] % k.groups != 0)
		return onnx_fail(imp, n, "weights of %d dimensions in %d groups", w->n_dims, k.groups);
	if (read_window(imp, n, &k, sequence) < 0)
		return -EINVAL;
	if (is_blocks(n, &k))
		return emit_blocks(imp, n, &k, sequence);
	if (transposed_pads(imp, n, &k, sequence, kind, pads) < 0)
		return -EINVAL;
	for (int i = 0; i < 2; i++) {
		if (k.strides[i] > 1 && (k.inputs[0] = onnx_spread(imp, n, k.inputs[0], 2 + i, k.strides[i])) < 0)
			return k.inputs[0];
		k.strides[i] = 1;
	}
	if ((k.inputs[1] = onnx_turn_weights(imp, n, k.inputs[1], k.groups)) < 0 ||
		(k.inputs[0] = crop(imp, n, k.inputs[0], pads)) < 0)
		return -EINVAL;
	for (int i = 0; i < 4; i++)
		k.pads[i] = (int)pads[i];
	return emit_window(imp, n, &k, sequence);
}
