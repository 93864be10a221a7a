/*
 * ONNX operators that compute with shapes and conditions. Everything they work on is known once the
 * input's shape is, so that they give constants, and one that asks for a computed value is refused.
 */
#include "graph/onnx_import.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_RANGE (1 << 24)

static int new_integers(
	struct onnx_import *imp, const Onnx__NodeProto *n, int n_dims, const int64_t *dims, int64_t **values)
{
	void *to = NULL;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), KERF_I64, n_dims, dims, &to);

	*values = to;
	return id;
}

/* The shape of input 0, which may be computed. */
int onnx_import_shape(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int x, start = 0, end = KERF_MAX_DIMS;
	int64_t *to;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "start", &start) < 0 ||
		onnx_attr_int(imp, n, "end", &end) < 0)
		return -EINVAL;
	const struct kerf_tensor t = imp->g->tensors[x];
	start += start < 0 ? t.n_dims : 0;
	end += end < 0 ? t.n_dims : 0;
	start = KERF_MAX(start, 0);
	end = KERF_MIN(end, t.n_dims);
	if (strcmp(n->op_type, "Size") == 0) {
		const int id = new_integers(imp, n, 0, NULL, &to);

		if (id >= 0)
			*to = kerf_tensor_elements(&t);
		return id;
	}
	if (start >= end)
		return onnx_fail(imp, n, "the shape from %d to %d of %d dimensions is empty", start, end, t.n_dims);
	const int id = new_integers(imp, n, 1, &(int64_t){end - start}, &to);
	for (int i = start; id >= 0 && i < end; i++)
		to[i - start] = t.dims[i];
	return id;
}

int onnx_import_constant_of_shape(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const Onnx__AttributeProto *a = onnx_attr(n, "value");
	int64_t dims[KERF_MAX_DIMS], value = 0;
	float *real = NULL;
	bool given, integers = false;
	void *to;
	int n_dims = 0;
	const int count = onnx_ints_either(imp, n, 0, "shape", dims, KERF_MAX_DIMS, &given);

	if (count < 0)
		return count;
	if (a && a->t) {
		int64_t one[KERF_MAX_DIMS];

		integers = !onnx_is_float(a->t->data_type);
		if (integers ? onnx_ints(a->t, &value, 1, imp->err) != 1
			     : onnx_floats(a->t, one, &n_dims, &real, imp->err) < 0)
			return onnx_fail(imp, n, "its value is not one number");
	}
	const float fill = real ? *real : 0;
	free(real);
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), integers ? KERF_I64 : KERF_F32, count, dims, &to);
	if (id < 0)
		return id;
	for (int64_t i = 0; i < kerf_tensor_elements(&imp->g->tensors[id]); i++)
		if (integers)
			((int64_t *)to)[i] = value;
		else
			((float *)to)[i] = fill;
	return id;
}

/* ---- constants of any kind as double, which holds every size exactly ---- */

static int constant_inputs(struct onnx_import *imp, const Onnx__NodeProto *n, int count, int *ids)
{
	for (int i = 0; i < count; i++)
		if (onnx_constant_input(imp, n, i, &ids[i]) < 0)
			return -EINVAL;
	return 0;
}

static double value_at(const struct kerf_tensor *t, int64_t i)
{
	return t->dtype == KERF_F32 ? (double)((const float *)t->data)[i] : (double)((const int64_t *)t->data)[i];
}

static void store(enum kerf_dtype dtype, void *to, int64_t i, double value)
{
	if (dtype == KERF_F32)
		((float *)to)[i] = (float)value;
	else /* what no integer holds becomes the largest or smallest */
		((int64_t *)to)[i] = !(value > -0x1p63) ? INT64_MIN : value < 0x1p63 ? (int64_t)value : INT64_MAX;
}

int onnx_import_range(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int ids[3];
	double v[3];
	void *to;

	if (constant_inputs(imp, n, 3, ids) < 0)
		return -EINVAL;
	for (int i = 0; i < 3; i++) {
		if (kerf_tensor_elements(&imp->g->tensors[ids[i]]) != 1)
			return onnx_fail(imp, n, "input %d is not one number", i);
		v[i] = value_at(&imp->g->tensors[ids[i]], 0);
	}
	const double count = ceil((v[1] - v[0]) / v[2]);
	if (!(count >= 1 && count <= MAX_RANGE))
		return onnx_fail(imp, n, "from %g to %g in steps of %g", v[0], v[1], v[2]);
	const enum kerf_dtype dtype = imp->g->tensors[ids[0]].dtype;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), dtype, 1, &(int64_t){(int64_t)count}, &to);
	for (int64_t i = 0; id >= 0 && i < (int64_t)count; i++)
		store(dtype, to, i, v[0] + (double)i * v[2]);
	return id;
}

/* Between floats and integers; between floats there is nothing to do. */
int onnx_emit_cast(struct onnx_import *imp, const Onnx__NodeProto *n, int x, enum kerf_dtype dtype, bool truth)
{
	const struct kerf_tensor t = imp->g->tensors[x];
	void *to;

	if (!t.data)
		return onnx_fail(imp, n, "input %.100s is computed: only constants become integers", t.name);
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), dtype, t.n_dims, t.dims, &to);
	for (int64_t i = 0; id >= 0 && i < kerf_tensor_elements(&t); i++)
		if (dtype == KERF_I64 && t.dtype == KERF_I64)
			((int64_t *)to)[i] = truth ? ((const int64_t *)t.data)[i] != 0 : ((const int64_t *)t.data)[i];
		else
			store(dtype, to, i, truth ? value_at(&t, i) != 0 : value_at(&t, i));
	return id;
}

int onnx_as_floats(struct onnx_import *imp, const Onnx__NodeProto *n, int x)
{
	return imp->g->tensors[x].dtype == KERF_F32 ? x : onnx_emit_cast(imp, n, x, KERF_F32, false);
}

/* ---- conditions ---- */

/* The shape that numpy's rules give several constants, and where each of them is read. */
struct broadcast {
	int n_dims;
	int64_t dims[KERF_MAX_DIMS];
};

static int broadcast_shape(struct onnx_import *imp, const Onnx__NodeProto *n, const int *ids, int count, struct broadcast *s)
{
	*s = (struct broadcast){0};
	for (int i = 0; i < count; i++)
		s->n_dims = KERF_MAX(s->n_dims, imp->g->tensors[ids[i]].n_dims);
	for (int d = 0; d < s->n_dims; d++)
		s->dims[d] = 1;
	for (int i = 0; i < count; i++) {
		const struct kerf_tensor *t = &imp->g->tensors[ids[i]];

		for (int d = 0; d < t->n_dims; d++) {
			int64_t *to = &s->dims[s->n_dims - t->n_dims + d];

			if (*to != 1 && t->dims[d] != 1 && *to != t->dims[d])
				return onnx_fail(imp, n, "the shapes of its inputs do not go together");
			*to = KERF_MAX(*to, t->dims[d]);
		}
	}
	return 0;
}

static int64_t offset_in(const struct kerf_tensor *t, const struct broadcast *s, int64_t i)
{
	int64_t offset = 0, step = 1;

	for (int d = s->n_dims - 1; d >= 0; d--) {
		const int mine = d - (s->n_dims - t->n_dims);

		if (mine >= 0) {
			offset += t->dims[mine] == 1 ? 0 : i % s->dims[d] * step;
			step *= t->dims[mine];
		}
		i /= s->dims[d];
	}
	return offset;
}

static double condition(char kind, double a, double b)
{
	switch (kind) {
	case '=': return a == b;
	case '>': return a > b;
	case '<': return a < b;
	case 'G': return a >= b;
	case 'L': return a <= b;
	case '&': return a != 0 && b != 0;
	case '|': return a != 0 || b != 0;
	case '^': return (a != 0) != (b != 0);
	case '!': return a == 0;
	case 'f': return fmod(a, b);
	default: return a - b * floor(a / b); /* of the divisor's sign */
	}
}

/* A computed condition is 1 or 0 in f32; a constant one beside it becomes so. */
static int condition_input(struct onnx_import *imp, const Onnx__NodeProto *n, int i, int *id)
{
	if (onnx_input(imp, n, i, id) < 0)
		return -EINVAL;
	if (imp->g->tensors[*id].dtype != KERF_F32)
		*id = onnx_emit_cast(imp, n, *id, KERF_F32, false);
	return KERF_MIN(*id, 0);
}

static int emit_not(struct onnx_import *imp, const Onnx__NodeProto *n, int condition, const char *suffix)
{
	void *zero;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), KERF_F32, 0, NULL, &zero);

	if (id < 0)
		return id;
	*(float *)zero = 0;
	return onnx_emit_binary(imp, n, KERF_OP_EQUAL, condition, id, suffix);
}

static int compute_condition(struct onnx_import *imp, const Onnx__NodeProto *n, char kind, int count)
{
	int a, b = KERF_NONE;

	if (condition_input(imp, n, 0, &a) < 0 || (count > 1 && condition_input(imp, n, 1, &b) < 0))
		return -EINVAL;
	switch (kind) {
	case '=': return onnx_emit_binary(imp, n, KERF_OP_EQUAL, a, b, "");
	case '<': return onnx_emit_binary(imp, n, KERF_OP_LESS, a, b, "");
	case '>': return onnx_emit_binary(imp, n, KERF_OP_LESS, b, a, "");
	case 'L': return onnx_emit_binary(imp, n, KERF_OP_LESS_EQUAL, a, b, "");
	case 'G': return onnx_emit_binary(imp, n, KERF_OP_LESS_EQUAL, b, a, "");
	case '&': return onnx_emit_binary(imp, n, KERF_OP_MUL, a, b, "");
	case '|': return onnx_emit_binary(imp, n, KERF_OP_MAX, a, b, "");
	default: break;
	}
	if (kind == '^')
		a = onnx_emit_binary(imp, n, KERF_OP_EQUAL, a, b, "_same");
	return a < 0 ? a : emit_not(imp, n, a, "");
}

/* Whether a node has to work it out for each frame. */
static bool is_computed(const struct onnx_import *imp, const Onnx__NodeProto *n, int i)
{
	int id;

	return onnx_input(imp, n, i, &id) == 0 && id >= 0 && !imp->g->tensors[id].data;
}

int onnx_import_condition(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	static const struct {
		const char *name;
		char kind;
	} kinds[] = {{"Equal", '='}, {"Greater", '>'}, {"Less", '<'}, {"GreaterOrEqual", 'G'}, {"LessOrEqual", 'L'},
		{"And", '&'}, {"Or", '|'}, {"Xor", '^'}, {"Not", '!'}};
	const int count = strcmp(n->op_type, "Not") == 0 ? 1 : 2;
	char kind = '%';
	int ids[2], like_c = 0;
	struct broadcast s;
	void *to;

	for (unsigned i = 0; i < KERF_ARRAY_LEN(kinds); i++)
		if (strcmp(n->op_type, kinds[i].name) == 0)
			kind = kinds[i].kind;
	if (kind != '%' && (is_computed(imp, n, 0) || (count > 1 && is_computed(imp, n, 1))))
		return compute_condition(imp, n, kind, count);
	if (constant_inputs(imp, n, count, ids) < 0 || onnx_attr_int(imp, n, "fmod", &like_c) < 0 ||
		broadcast_shape(imp, n, ids, count, &s) < 0)
		return -EINVAL;
	if (kind == '%' && like_c)
		kind = 'f';
	const enum kerf_dtype dtype = kind == '%' || kind == 'f' ? imp->g->tensors[ids[0]].dtype : KERF_I64;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), dtype, s.n_dims, s.dims, &to);
	if (id < 0)
		return id;
	const struct kerf_tensor *a = &imp->g->tensors[ids[0]], *b = &imp->g->tensors[ids[count - 1]];
	for (int64_t i = 0; i < kerf_tensor_elements(&imp->g->tensors[id]); i++) {
		const double divisor = value_at(b, offset_in(b, &s, i));

		if ((kind == '%' || kind == 'f') && divisor == 0 && dtype == KERF_I64)
			return onnx_fail(imp, n, "a remainder of a division by 0");
		store(dtype, to, i, condition(kind, value_at(a, offset_in(a, &s, i)), divisor));
	}
	return id;
}

/* Each of the two where it counts and 0 elsewhere, and their sum: what is not finite stays on its side. */
static int compute_where(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int condition, yes, no;

	if (condition_input(imp, n, 0, &condition) < 0 || condition_input(imp, n, 1, &yes) < 0 ||
		condition_input(imp, n, 2, &no) < 0)
		return -EINVAL;
	const int otherwise = emit_not(imp, n, condition, "_not");
	if (otherwise < 0)
		return otherwise;
	yes = onnx_emit_binary(imp, n, KERF_OP_MASK, yes, condition, "_then");
	no = yes < 0 ? yes : onnx_emit_binary(imp, n, KERF_OP_MASK, no, otherwise, "_else");
	return no < 0 ? no : onnx_emit_binary(imp, n, KERF_OP_ADD, yes, no, "");
}

int onnx_import_where(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int ids[3];
	struct broadcast s;
	void *to;

	if (is_computed(imp, n, 0) || is_computed(imp, n, 1) || is_computed(imp, n, 2))
		return compute_where(imp, n);

	if (constant_inputs(imp, n, 3, ids) < 0 || broadcast_shape(imp, n, ids, 3, &s) < 0)
		return -EINVAL;
	const enum kerf_dtype dtype = imp->g->tensors[ids[1]].dtype;
	if (imp->g->tensors[ids[2]].dtype != dtype)
		return onnx_fail(imp, n, "integers or floats, depending on the condition");
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), dtype, s.n_dims, s.dims, &to);
	if (id < 0)
		return id;
	const struct kerf_tensor *t = imp->g->tensors;
	for (int64_t i = 0; i < kerf_tensor_elements(&t[id]); i++) {
		const bool yes = value_at(&t[ids[0]], offset_in(&t[ids[0]], &s, i)) != 0;
		const struct kerf_tensor *from = &t[ids[yes ? 1 : 2]];
		const int64_t at = offset_in(from, &s, i);

		if (dtype == KERF_I64)
			((int64_t *)to)[i] = ((const int64_t *)from->data)[at];
		else
			((float *)to)[i] = ((const float *)from->data)[at];
	}
	return id;
}

/* Where element `row` of the index list points into t, or -1; *len values lie there. */
static int64_t scatter_place(const struct kerf_tensor *t, const struct kerf_tensor *indices, int64_t row, int64_t *len)
{
	const int64_t depth = indices->dims[indices->n_dims - 1];
	const int64_t *at = (const int64_t *)indices->data + row * depth;
	int64_t place = 0;

	*len = 1;
	for (int d = (int)depth; d < t->n_dims; d++)
		*len *= t->dims[d];
	for (int64_t d = 0; d < depth; d++) {
		const int64_t i = at[d] < 0 ? at[d] + t->dims[d] : at[d];

		if (i < 0 || i >= t->dims[d])
			return -1;
		place = place * t->dims[d] + i;
	}
	return place * *len;
}

/* Swin's masks, which follow from sizes alone: data with slices of it replaced. */
int onnx_import_scatter_nd(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int ids[3];
	char reduction[16] = "none";
	void *to;

	if (constant_inputs(imp, n, 3, ids) < 0 || onnx_attr_text(imp, n, "reduction", reduction, sizeof(reduction)) < 0)
		return -EINVAL;
	if (strcmp(reduction, "none") != 0)
		return onnx_fail(imp, n, "reduction %s is not supported", reduction);
	const struct kerf_tensor data = imp->g->tensors[ids[0]], indices = imp->g->tensors[ids[1]],
				 updates = imp->g->tensors[ids[2]];
	const int64_t depth = indices.n_dims ? indices.dims[indices.n_dims - 1] : 0;
	if (indices.dtype != KERF_I64 || updates.dtype != data.dtype || depth < 1 || depth > data.n_dims)
		return onnx_fail(imp, n, "indices, data and updates do not go together");
	const int64_t rows = kerf_tensor_elements(&indices) / depth;
	int64_t len;
	scatter_place(&data, &indices, 0, &len);
	if (kerf_tensor_elements(&updates) != rows * len)
		return onnx_fail(imp, n, "%" PRId64 " updates, the indices ask for %" PRId64, kerf_tensor_elements(&updates),
			rows * len);
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), data.dtype, data.n_dims, data.dims, &to);
	if (id < 0)
		return id;
	const size_t width = kerf_tensor_bytes(&data) / (size_t)kerf_tensor_elements(&data);
	memcpy(to, data.data, kerf_tensor_bytes(&data));
	for (int64_t row = 0; row < rows; row++) {
		const int64_t place = scatter_place(&data, &indices, row, &len);

		if (place < 0)
			return onnx_fail(imp, n, "indices %" PRId64 " are out of range", row);
		memcpy((char *)to + (size_t)place * width, (const char *)updates.data + (size_t)(row * len) * width,
			(size_t)len * width);
	}
	return id;
}
