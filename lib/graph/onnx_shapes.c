/* ONNX operators that move values without computing: joins, reshapes, transposes. */
#include "graph/onnx_import.h"

#include <inttypes.h>

/* More inputs than a kerf node takes are joined in several nodes: first 32, then 31 at a time. */
int onnx_import_concat(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_CONCAT};
	const Onnx__AttributeProto *a = onnx_attr(n, "axis");
	int joined = ONNX_EMPTY;
	size_t left = 0;

	if (!a || !a->has_i)
		return onnx_fail(imp, n, "attribute axis is missing");
	for (size_t i = 0; i < n->n_input; i++)
		left += !onnx_is_empty(onnx_input_value(imp, n, (int)i));
	for (size_t i = 0; i < n->n_input; i++) {
		if (onnx_is_empty(onnx_input_value(imp, n, (int)i)))
			continue;
		int *id = &k.inputs[k.n_inputs++];
		if (onnx_input(imp, n, (int)i, id) < 0)
			return -EINVAL;
		if (*id == KERF_NONE)
			return onnx_fail(imp, n, "input %zu is left out", i);
		if (joined == ONNX_EMPTY && k.n_inputs == 1 && onnx_axis(imp, n, a->i, imp->g->tensors[*id].n_dims, &k.axis) < 0)
			return -EINVAL;
		bool last = --left == 0;
		if (!last && k.n_inputs < KERF_MAX_INPUTS)
			continue;
		joined = onnx_emit(imp, n, &k, last ? "" : "_part");
		if (joined < 0)
			return joined;
		k.inputs[0] = joined;
		k.n_inputs = 1;
	}
	return joined;
}

static int64_t product(const int64_t *dims, int from, int to)
{
	int64_t result = 1;

	for (int i = from; i < to; i++)
		result *= dims[i];
	return result;
}

int onnx_import_flatten(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int x, axis = 1;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "axis", &axis) < 0)
		return -EINVAL;
	const struct kerf_tensor *t = &imp->g->tensors[x];
	if (axis < -t->n_dims || axis > t->n_dims) /* n_dims itself is allowed: [all, 1] */
		return onnx_fail(
			imp, n, "axis %d is outside a tensor of %d dimensions", axis, t->n_dims);
	if (axis < 0)
		axis += t->n_dims;
	int64_t dims[2] = {product(t->dims, 0, axis), product(t->dims, axis, t->n_dims)};
	return onnx_emit_reshape(imp, n, x, 2, dims, "");
}

/* 0 copies the input's dimension, one -1 takes what is left. */
static int resolve_shape(struct onnx_import *imp, const Onnx__NodeProto *n,
	const struct kerf_tensor *x, int n_dims, int64_t *dims)
{
	int open = KERF_NONE;
	int64_t known = 1;

	for (int i = 0; i < n_dims; i++) {
		if (dims[i] == 0 && i < x->n_dims)
			dims[i] = x->dims[i];
		if (dims[i] == -1 && open == KERF_NONE)
			open = i;
		else if (dims[i] <= 0 || __builtin_mul_overflow(known, dims[i], &known))
			return onnx_fail(imp, n,
				"dimension %d of its shape, %" PRId64 ", is invalid", i, dims[i]);
	}
	if (open == KERF_NONE)
		return 0;
	dims[open] = kerf_tensor_elements(x) / known;
	return dims[open] > 0 ? 0 : onnx_fail(imp, n, "its shape asks for too many elements");
}

int onnx_import_reshape(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t dims[KERF_MAX_DIMS];
	int x, allow_zero = 0;
	bool given;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "allowzero", &allow_zero) < 0)
		return -EINVAL;
	int n_dims = onnx_ints_either(imp, n, 1, "shape", dims, KERF_MAX_DIMS, &given);
	if (n_dims < 0)
		return n_dims;
	if (!given)
		return onnx_fail(imp, n, "it has no shape");
	for (int i = 0; i < n_dims; i++)
		if (allow_zero && dims[i] == 0)
			return onnx_fail(
				imp, n, "allowzero with a dimension of 0: an empty tensor");
	if (resolve_shape(imp, n, &imp->g->tensors[x], n_dims, dims) < 0)
		return -EINVAL;
	return onnx_emit_reshape(imp, n, x, n_dims, dims, "");
}

/* The axes of a Squeeze or Unsqueeze as a bit mask over n_dims. */
static int read_axes(struct onnx_import *imp, const Onnx__NodeProto *n, const int64_t *axes,
	int count, int n_dims, unsigned *mask)
{
	*mask = 0;
	for (int i = 0; i < count; i++) {
		int axis;
		if (onnx_axis(imp, n, axes[i], n_dims, &axis) < 0)
			return -EINVAL;
		if (*mask >> axis & 1)
			return onnx_fail(imp, n, "axis %d is there twice", axis);
		*mask |= 1u << axis;
	}
	return 0;
}

int onnx_import_squeeze(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t axes[KERF_MAX_DIMS], dims[KERF_MAX_DIMS];
	int x, n_dims = 0;
	unsigned mask;
	bool given;

	if (onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	int count = onnx_ints_either(imp, n, 1, "axes", axes, KERF_MAX_DIMS, &given);
	const struct kerf_tensor *t = &imp->g->tensors[x];
	if (count < 0 || read_axes(imp, n, axes, count, t->n_dims, &mask) < 0)
		return -EINVAL;
	for (int i = 0; i < t->n_dims; i++) {
		bool drop = given ? mask >> i & 1 : t->dims[i] == 1;
		if (drop && t->dims[i] != 1)
			return onnx_fail(
				imp, n, "dimension %d is %" PRId64 ", expected 1", i, t->dims[i]);
		if (!drop)
			dims[n_dims++] = t->dims[i];
	}
	return onnx_emit_reshape(imp, n, x, n_dims, dims, "");
}

int onnx_import_unsqueeze(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t axes[KERF_MAX_DIMS], dims[KERF_MAX_DIMS];
	int x, next = 0;
	unsigned mask;
	bool given;

	if (onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	int count = onnx_ints_either(imp, n, 1, "axes", axes, KERF_MAX_DIMS, &given);
	if (count < 0)
		return count;
	const struct kerf_tensor *t = &imp->g->tensors[x];
	int n_dims = t->n_dims + count;
	if (!given || n_dims > KERF_MAX_DIMS)
		return onnx_fail(imp, n, "%d more dimensions than %d: expected 1 to %d in all",
			count, t->n_dims, KERF_MAX_DIMS);
	if (read_axes(imp, n, axes, count, n_dims, &mask) < 0)
		return -EINVAL;
	for (int i = 0; i < n_dims; i++)
		dims[i] = mask >> i & 1 ? 1 : t->dims[next++];
	return onnx_emit_reshape(imp, n, x, n_dims, dims, "");
}

int onnx_import_transpose(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct kerf_node k = {.op = KERF_OP_TRANSPOSE, .n_inputs = 1};

	if (onnx_input(imp, n, 0, &k.inputs[0]) < 0)
		return -EINVAL;
	int n_dims = imp->g->tensors[k.inputs[0]].n_dims;
	for (int i = 0; i < n_dims; i++)
		k.perm[i] = n_dims - 1 - i;
	if (onnx_attr_ints(imp, n, "perm", n_dims, k.perm) < 0)
		return -EINVAL;
	return onnx_emit(imp, n, &k, "");
}
