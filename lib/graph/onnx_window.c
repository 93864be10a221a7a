/* ONNX operators with a window or weights: convolutions, pools, pads, matrix products. */
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

int onnx_import_conv(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_CONV, .n_inputs = 3, .groups = 1};

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0 ||
		onnx_constant_input(imp, n, 1, &k.inputs[1]) < 0 ||
		onnx_constant_input(imp, n, 2, &k.inputs[2]) < 0 ||
		onnx_attr_int(imp, n, "group", &k.groups) < 0)
		return -EINVAL;
	if (k.groups <= 0)
		return onnx_fail(imp, n, "group is %d, expected at least 1", k.groups);
	const bool sequence = is_sequence(imp, k.inputs[0]) && is_sequence(imp, k.inputs[1]);
	for (int i = 0; i < 2 && sequence; i++)
		if ((k.inputs[i] = to_picture(imp, n, k.inputs[i])) < 0)
			return k.inputs[i];
	const struct kerf_tensor *weights = &imp->g->tensors[k.inputs[1]];
	for (int i = 0; i < 2 && weights->n_dims == 4; i++)
		k.kernel[i] = (int)weights->dims[2 + i];
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

/* Only the mean over H and W, which is a global pool. */
int onnx_import_reduce_mean(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_GLOBAL_AVGPOOL, .n_inputs = 1};
	int64_t axes[KERF_MAX_DIMS];
	int keepdims = 1;
	unsigned mask = 0;
	bool given;

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0 ||
		onnx_attr_int(imp, n, "keepdims", &keepdims) < 0)
		return -EINVAL;
	int n_dims = imp->g->tensors[k.inputs[0]].n_dims;
	int count = onnx_ints_either(imp, n, 1, "axes", axes, KERF_MAX_DIMS, &given);
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		int axis;
		if (onnx_axis(imp, n, axes[i], n_dims, &axis) < 0)
			return -EINVAL;
		mask |= 1u << axis;
	}
	if (n_dims != 4 || mask != (1u << 2 | 1u << 3))
		return onnx_fail(imp, n, "only the mean over axes 2 and 3 of 4 is supported");
	int pooled = onnx_emit(imp, n, &k, keepdims ? "" : "_pool");
	if (pooled < 0 || keepdims)
		return pooled;
	int64_t dims[2] = {imp->g->tensors[pooled].dims[0], imp->g->tensors[pooled].dims[1]};
	return onnx_emit_reshape(imp, n, pooled, 2, dims, "");
}

/* ONNX pads: the beginning of every dimension, then the end of every dimension. */
int onnx_import_pad(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_PAD, .n_inputs = 1};
	char mode[32] = "constant";
	int64_t pads[2 * KERF_MAX_DIMS];
	float value = 0;
	bool given;

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0 ||
		onnx_attr_text(imp, n, "mode", mode, sizeof(mode)) < 0 ||
		onnx_float_either(imp, n, 2, "value", &value) < 0)
		return -EINVAL;
	int count = onnx_ints_either(imp, n, 1, "pads", pads, KERF_ARRAY_LEN(pads), &given);
	if (count < 0)
		return count;
	if (strcmp(mode, "constant") != 0 || value != 0)
		return onnx_fail(imp, n, "mode %s with value %g: only zeros are supported", mode,
			(double)value);
	if (onnx_has_input(n, 3))
		return onnx_fail(imp, n, "axes as an input are not supported");
	if (count != 8 || imp->g->tensors[k.inputs[0]].n_dims != 4)
		return onnx_fail(imp, n, "%d pads for %d dimensions, expected 8 for 4", count,
			imp->g->tensors[k.inputs[0]].n_dims);
	if (pads[0] || pads[1] || pads[4] || pads[5])
		return onnx_fail(imp, n, "pads on batch or channels are not supported");
	const int64_t edges[4] = {pads[2], pads[3], pads[6], pads[7]};
	for (int i = 0; i < 4; i++) {
		if (edges[i] < 0 || edges[i] > INT_MAX)
			return onnx_fail(imp, n, "pad %" PRId64 " is out of range", edges[i]);
		k.pads[i] = (int)edges[i];
	}
	return onnx_emit(imp, n, &k, "");
}

/* A new constant: w [rows, columns] times `scale`, transposed on demand. */
static int add_weights(
	struct onnx_import *imp, const Onnx__NodeProto *n, int id, bool transpose, float scale)
{
	int64_t rows = imp->g->tensors[id].dims[0], columns = imp->g->tensors[id].dims[1];
	const float *from = imp->g->tensors[id].data;
	const int64_t dims[2] = {transpose ? columns : rows, transpose ? rows : columns};
	float *to;
	int added = onnx_new_constant(imp, n, imp->g->tensors[id].name, 2, dims, &to);

	if (added < 0)
		return added;
	for (int64_t i = 0; i < rows; i++)
		for (int64_t j = 0; j < columns; j++)
			to[transpose ? j * rows + i : i * columns + j] =
				scale * from[i * columns + j];
	return added;
}

/* ONNX lets the bias broadcast to [N,M]: one value, [M] or [1,M] are the same for every row. */
static int add_bias(
	struct onnx_import *imp, const Onnx__NodeProto *n, int id, int64_t len, float scale)
{
	const struct kerf_tensor *t = &imp->g->tensors[id];
	int64_t given = kerf_tensor_elements(t);
	char text[96];
	bool row = given == len && (t->n_dims == 0 || t->dims[t->n_dims - 1] == len);

	if (row && t->n_dims == 1 && scale == 1)
		return id;
	if (!row && given != 1)
		return onnx_fail(imp, n, "bias is %s, expected [%" PRId64 "]",
			kerf_dims_text(t->n_dims, t->dims, text, sizeof(text)), len);
	const float *from = t->data;
	float *to;
	int added = onnx_new_constant(imp, n, t->name, 1, &len, &to);
	for (int64_t i = 0; added >= 0 && i < len; i++)
		to[i] = scale * from[row ? i : 0];
	return added;
}

int onnx_import_gemm(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_GEMM, .n_inputs = 3};
	int trans_a = 0, trans_b = 0;
	float alpha = 1, beta = 1;

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0 ||
		onnx_constant_input(imp, n, 1, &k.inputs[1]) < 0 ||
		onnx_constant_input(imp, n, 2, &k.inputs[2]) < 0 ||
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
	if (k.inputs[2] != KERF_NONE) {
		k.inputs[2] =
			add_bias(imp, n, k.inputs[2], imp->g->tensors[k.inputs[1]].dims[0], beta);
		if (k.inputs[2] < 0)
			return k.inputs[2];
	}
	return onnx_emit(imp, n, &k, "");
}

/* x [..., K] times a constant [K, M]: all but the last dimension of x are rows. */
int onnx_import_matmul(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_GEMM, .n_inputs = 2};
	int x;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_constant_input(imp, n, 1, &k.inputs[1]) < 0)
		return -EINVAL;
	int n_dims = imp->g->tensors[x].n_dims;
	if (imp->g->tensors[k.inputs[1]].n_dims != 2 || n_dims < 2)
		return onnx_fail(imp, n,
			"operands have %d and %d dimensions, expected at least 2 and 2", n_dims,
			imp->g->tensors[k.inputs[1]].n_dims);
	int64_t dims[KERF_MAX_DIMS];
	memcpy(dims, imp->g->tensors[x].dims, sizeof(dims));
	int64_t rows = kerf_tensor_elements(&imp->g->tensors[x]) / dims[n_dims - 1];
	const int64_t flat[2] = {rows, dims[n_dims - 1]};
	k.inputs[0] = n_dims == 2 ? x : onnx_emit_reshape(imp, n, x, 2, flat, "_rows");
	if (k.inputs[0] < 0)
		return k.inputs[0];
	k.inputs[1] = add_weights(imp, n, k.inputs[1], true, 1);
	if (k.inputs[1] < 0)
		return k.inputs[1];
	int product = onnx_emit(imp, n, &k, n_dims == 2 ? "" : "_product");
	if (product < 0 || n_dims == 2)
		return product;
	dims[n_dims - 1] = imp->g->tensors[product].dims[1];
	return onnx_emit_reshape(imp, n, product, n_dims, dims, "");
}
