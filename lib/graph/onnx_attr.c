/* What an ONNX node says: attributes of the expected kind, inputs as tensors or as constants. */
#include "graph/onnx_import.h"

#include <limits.h>
#include <search.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

const char *onnx_node_name(const Onnx__NodeProto *n)
{
	if (n->name && n->name[0])
		return n->name;
	return n->n_output ? n->output[0] : "";
}

static int compare_text(const void *a, const void *b)
{
	return strcmp(a, b);
}

const char *onnx_unique_name(void **set, const char *stem, const char *suffix, int number)
{
	char *name = NULL;

	if (asprintf(&name, "%s%s", stem, suffix) < 0)
		return NULL;
	for (; tfind(name, set, compare_text); number++) {
		free(name);
		if (asprintf(&name, "%s%s_%d", stem, suffix, number) < 0)
			return NULL;
	}
	if (tsearch(name, set, compare_text))
		return name;
	free(name);
	return NULL;
}

int onnx_fail(const struct onnx_import *imp, const Onnx__NodeProto *n, const char *fmt, ...)
{
	char what[320];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return kerf_err_set(imp->err, -EINVAL, "node %.100s (%.40s): %s", onnx_node_name(n),
		n->op_type ? n->op_type : "", what);
}

const Onnx__AttributeProto *onnx_attr(const Onnx__NodeProto *n, const char *name)
{
	for (size_t i = 0; i < n->n_attribute; i++)
		if (n->attribute[i]->name && strcmp(n->attribute[i]->name, name) == 0)
			return n->attribute[i];
	return NULL;
}

int onnx_attr_int(
	const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name, int *value)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	if (!a)
		return 0;
	if (!a->has_i || a->i < INT_MIN || a->i > INT_MAX)
		return onnx_fail(imp, n, "attribute %s is not an integer of 32 bits", name);
	*value = (int)a->i;
	return 0;
}

int onnx_attr_float(
	const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name, float *value)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	if (!a)
		return 0;
	if (!a->has_f)
		return onnx_fail(imp, n, "attribute %s is not a float", name);
	*value = a->f;
	return 0;
}

int onnx_attr_ints(const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name,
	int count, int *values)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	if (!a)
		return 0;
	if (a->n_ints != (size_t)count)
		return onnx_fail(imp, n, "attribute %s has %zu integers, expected %d", name,
			a->n_ints, count);
	for (int i = 0; i < count; i++) {
		if (a->ints[i] < INT_MIN || a->ints[i] > INT_MAX)
			return onnx_fail(imp, n, "attribute %s holds %lld, which is out of range",
				name, (long long)a->ints[i]);
		values[i] = (int)a->ints[i];
	}
	return 0;
}

int onnx_attr_text(const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name,
	char *text, size_t len)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);

	if (!a)
		return 0;
	if (!a->has_s || a->s.len >= len)
		return onnx_fail(
			imp, n, "attribute %s is not a text of less than %zu bytes", name, len);
	if (a->s.len)
		memcpy(text, a->s.data, a->s.len);
	text[a->s.len] = '\0';
	return 0;
}

struct onnx_value *onnx_find_value(const struct onnx_import *imp, const char *name)
{
	int from = 0, to = imp->n_values;

	if (!name[0])
		return NULL;
	while (from < to) {
		int middle = from + (to - from) / 2;
		int order = strcmp(imp->values[middle].name, name);
		if (order == 0)
			return &imp->values[middle];
		if (order < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return NULL;
}

bool onnx_has_input(const Onnx__NodeProto *n, int i)
{
	return (size_t)i < n->n_input && n->input[i][0];
}

struct onnx_value *onnx_input_value(const struct onnx_import *imp, const Onnx__NodeProto *n, int i)
{
	struct onnx_value *v = onnx_has_input(n, i) ? onnx_find_value(imp, n->input[i]) : NULL;

	return v && v->alias ? v->alias : v;
}

static int import_constant(const struct onnx_import *imp, struct onnx_value *v)
{
	const bool real = onnx_is_float(v->constant->data_type);
	int64_t dims[KERF_MAX_DIMS], *integers = NULL;
	float *floats = NULL;
	int n_dims;

	int rc = real ? onnx_floats(v->constant, dims, &n_dims, &floats, imp->err)
		      : onnx_integers(v->constant, dims, &n_dims, &integers, imp->err);
	if (rc < 0)
		return rc;
	void *values = real ? (void *)floats : (void *)integers;
	v->tensor = kerf_graph_add_constant(imp->g, v->name, real ? KERF_F32 : KERF_I64, n_dims, dims, values);
	if (v->tensor >= 0)
		return 0;
	free(values);
	rc = v->tensor;
	v->tensor = KERF_NONE;
	return kerf_err_set(imp->err, rc, "constant %.100s: out of memory", v->name);
}

int onnx_value_tensor(const struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v, int *id)
{
	if (onnx_is_quantised(v) && strcmp(n->op_type, "DequantizeLinear") != 0)
		return onnx_fail(imp, n, "it reads the integers %.100s: only DequantizeLinear may", v->name);
	if (v->empty)
		return onnx_fail(imp, n, "it reads the empty list %.100s: only Concat may", v->name);
	if (v->tensor == KERF_NONE && v->constant) {
		int rc = import_constant(imp, v);
		if (rc < 0) {
			kerf_err_prefix(
				imp->err, "node %.100s (%.40s)", onnx_node_name(n), n->op_type);
			return rc;
		}
	}
	*id = v->tensor;
	return 0;
}

int onnx_input(const struct onnx_import *imp, const Onnx__NodeProto *n, int i, int *id)
{
	struct onnx_value *v = onnx_input_value(imp, n, i);

	*id = KERF_NONE;
	return v ? onnx_value_tensor(imp, n, v, id) : 0;
}

int onnx_constant_input(const struct onnx_import *imp, const Onnx__NodeProto *n, int i, int *id)
{
	int rc = onnx_input(imp, n, i, id);

	if (rc < 0 || *id == KERF_NONE || imp->g->tensors[*id].data)
		return rc;
	return onnx_fail(imp, n, "input %.100s is computed, expected a constant", n->input[i]);
}

/* The integers behind a value, which the file holds or the import found out. */
static int constant_ints(const struct onnx_import *imp, const Onnx__NodeProto *n, const struct onnx_value *v, const char *name,
	int64_t *values, int max)
{
	const struct kerf_tensor *t = v->tensor >= 0 ? &imp->g->tensors[v->tensor] : NULL;

	if (!v->constant && !(t && t->data && t->dtype == KERF_I64))
		return onnx_fail(imp, n, "%s (%.100s) is computed, expected a constant", name, v->name);
	if (v->constant) {
		const int count = onnx_ints(v->constant, values, max, imp->err);

		if (count < 0)
			kerf_err_prefix(imp->err, "node %.100s (%.40s): %s", onnx_node_name(n), n->op_type, name);
		return count;
	}
	const int64_t count = kerf_tensor_elements(t);
	if (count > max)
		return onnx_fail(imp, n, "%s has %lld values, expected at most %d", name, (long long)count, max);
	memcpy(values, t->data, (size_t)count * sizeof(*values));
	return (int)count;
}

int onnx_weights_input(const struct onnx_import *imp, const Onnx__NodeProto *n, int i, int *id)
{
	const int rc = onnx_constant_input(imp, n, i, id);

	if (rc < 0 || *id == KERF_NONE || imp->g->tensors[*id].dtype == KERF_F32)
		return rc;
	return onnx_fail(imp, n, "input %.100s holds integers, expected f32", n->input[i]);
}

int onnx_ints_either(const struct onnx_import *imp, const Onnx__NodeProto *n, int i,
	const char *name, int64_t *values, int max, bool *found)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);
	const struct onnx_value *v = onnx_input_value(imp, n, i);

	*found = v || a;
	if (v)
		return constant_ints(imp, n, v, name, values, max);
	if (!a)
		return 0;
	if (a->n_ints > (size_t)max)
		return onnx_fail(imp, n, "attribute %s has %zu integers, expected at most %d", name,
			a->n_ints, max);
	for (size_t j = 0; j < a->n_ints; j++)
		values[j] = a->ints[j];
	return (int)a->n_ints;
}

int onnx_float_either(const struct onnx_import *imp, const Onnx__NodeProto *n, int i,
	const char *name, float *value)
{
	int id, rc = onnx_constant_input(imp, n, i, &id);

	if (rc < 0)
		return rc;
	if (id == KERF_NONE)
		return onnx_attr_float(imp, n, name, value);
	const struct kerf_tensor *t = &imp->g->tensors[id];
	if (kerf_tensor_elements(t) != 1 || t->dtype != KERF_F32)
		return onnx_fail(imp, n, "%s has %lld values%s, expected 1 of f32", name,
			(long long)kerf_tensor_elements(t), t->dtype == KERF_F32 ? "" : " of integers");
	*value = *(const float *)t->data;
	return 0;
}

int onnx_check_inference(const struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int is_test = 0;

	if (imp->opset >= 7)
		return 0;
	if (onnx_attr_int(imp, n, "is_test", &is_test) < 0)
		return -EINVAL;
	return is_test ? 0 : onnx_fail(imp, n, "is_test is 0 (opset 6): it trains");
}

int onnx_axis(const struct onnx_import *imp, const Onnx__NodeProto *n, int64_t axis, int n_dims,
	int *result)
{
	if (axis < -n_dims || axis >= n_dims)
		return onnx_fail(imp, n, "axis %lld is outside a tensor of %d dimensions",
			(long long)axis, n_dims);
	*result = (int)(axis < 0 ? axis + n_dims : axis);
	return 0;
}
