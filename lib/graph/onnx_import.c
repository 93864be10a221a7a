/*
 * From an unpacked ONNX graph to a kerf graph. The names that the file defines are kept in one
 * sorted array; constants become tensors when a node first asks for them as such, so that shapes
 * and axes (integers) never do.
 */
#include "graph/onnx_import.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 4096 /* one ONNX node may become many kerf nodes, each with a copy */

/* ---- values ---- */

static int compare_values(const void *a, const void *b)
{
	const struct onnx_value *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	/* An initializer goes before the graph input of the same name (IR 3 asks for both). */
	return order ? order : (y->constant != NULL) - (x->constant != NULL);
}

static void add_value(struct onnx_import *imp, const char *name, Onnx__TensorProto *constant,
	int node, int position)
{
	if (!name || !name[0])
		return;
	imp->values[imp->n_values++] = (struct onnx_value){.name = name,
		.constant = constant,
		.node = node,
		.position = position,
		.tensor = KERF_NONE};
}

/* Drops inputs that are initializers too; any other name may be defined once only. */
static int merge_values(struct onnx_import *imp)
{
	int kept = 0;

	for (int i = 0; i < imp->n_values; i++) {
		const struct onnx_value *v = &imp->values[i];
		const struct onnx_value *last = kept ? &imp->values[kept - 1] : NULL;
		if (!last || strcmp(last->name, v->name) != 0)
			imp->values[kept++] = *v;
		else if (!last->constant || v->constant || v->node != KERF_NONE)
			return kerf_err_set(
				imp->err, -EINVAL, "the name %.200s is defined twice", v->name);
	}
	imp->n_values = kept;
	return 0;
}

static int collect_values(struct onnx_import *imp)
{
	const Onnx__GraphProto *p = imp->proto;
	size_t count = p->n_initializer + p->n_input;

	for (size_t i = 0; i < p->n_node; i++)
		count += p->node[i]->n_output;
	imp->values = calloc(count, sizeof(*imp->values));
	if (!imp->values)
		return kerf_err_set(imp->err, -ENOMEM, "no memory for %zu names", count);
	for (size_t i = 0; i < p->n_initializer; i++)
		add_value(imp, p->initializer[i]->name, p->initializer[i], KERF_NONE, 0);
	for (size_t i = 0; i < p->n_input; i++)
		add_value(imp, p->input[i]->name, NULL, KERF_NONE, 0);
	for (size_t i = 0; i < p->n_node; i++)
		for (size_t j = 0; j < p->node[i]->n_output; j++)
			add_value(imp, p->node[i]->output[j], NULL, (int)i, (int)j);
	qsort(imp->values, (size_t)imp->n_values, sizeof(*imp->values), compare_values);
	return merge_values(imp);
}

/* ---- input ---- */

static int read_input_dim(
	const struct onnx_import *imp, const Onnx__ValueInfoProto *in, size_t i, int64_t *dim)
{
	const Onnx__TensorShapeProto__Dimension *d = in->type->tensor_type->shape->dim[i];
	const bool fixed = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value > 0;

	if (imp->n_input_dims) {
		*dim = imp->input_dims[i];
		if (!fixed || *dim == d->dim_value)
			return 0;
		return kerf_err_set(imp->err, -EINVAL,
			"input %.100s: dimension %zu is %" PRId64 " in the file, %" PRId64 " was asked for", in->name, i,
			d->dim_value, *dim);
	}
	if (d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE) {
		*dim = d->dim_value;
		if (*dim > 0 && *dim <= INT32_MAX)
			return 0;
		return kerf_err_set(imp->err, -EINVAL,
			"input %.100s: dimension %zu is %" PRId64 ", which is out of range",
			in->name, i, *dim);
	}
	*dim = 1; /* an open batch */
	if (i == 0)
		return 0;
	return kerf_err_set(imp->err, -EINVAL,
		"input %.100s: dimension %zu (%.40s) is open: give the input's shape",
		in->name, i,
		d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM ? d->dim_param
										      : "?");
}

static int import_input(struct onnx_import *imp, const Onnx__ValueInfoProto *in)
{
	const Onnx__TypeProto *type = in->type;
	int64_t dims[KERF_MAX_DIMS];

	if (!type || type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
		!type->tensor_type->shape)
		return kerf_err_set(
			imp->err, -EINVAL, "input %.100s has no tensor shape", in->name);
	int elem = type->tensor_type->elem_type;
	if (elem != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT &&
		elem != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16)
		return kerf_err_set(imp->err, -EINVAL,
			"input %.100s has element type %d, expected float or float16", in->name,
			elem);
	size_t n_dims = type->tensor_type->shape->n_dim;
	if (n_dims == 0 || n_dims > KERF_MAX_DIMS)
		return kerf_err_set(imp->err, -EINVAL,
			"input %.100s has %zu dimensions, expected 1 to %d", in->name, n_dims,
			KERF_MAX_DIMS);
	if (imp->n_input_dims && (size_t)imp->n_input_dims != n_dims)
		return kerf_err_set(imp->err, -EINVAL, "input %.100s has %zu dimensions, %d were given", in->name, n_dims,
			imp->n_input_dims);
	for (size_t i = 0; i < n_dims; i++)
		if (read_input_dim(imp, in, i, &dims[i]) < 0)
			return -EINVAL;
	int id = kerf_graph_add_tensor(imp->g, in->name, KERF_F32, (int)n_dims, dims);
	if (id < 0)
		return kerf_err_set(imp->err, id, "input %.100s: %s", in->name,
			id == -ENOMEM ? "out of memory" : "too many elements");
	onnx_find_value(imp, in->name)->tensor = id;
	imp->g->input = id;
	return 0;
}

static int find_input(struct onnx_import *imp)
{
	const Onnx__ValueInfoProto *found = NULL;

	for (size_t i = 0; i < imp->proto->n_input; i++) {
		const Onnx__ValueInfoProto *in = imp->proto->input[i];
		if (!in->name || !in->name[0])
			return kerf_err_set(imp->err, -EINVAL, "input %zu has no name", i);
		if (onnx_find_value(imp, in->name)->constant)
			continue;
		if (found)
			return kerf_err_set(imp->err, -EINVAL,
				"two inputs, %.100s and %.100s: kerf runs networks with one",
				found->name, in->name);
		found = in;
	}
	if (!found)
		return kerf_err_set(imp->err, -EINVAL, "the model has no input");
	return import_input(imp, found);
}

/* ---- nodes ---- */

/* Constant's attribute as a tensor; value_float and its like become one that points to them. */
static int import_constant_node(
	struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v)
{
	const Onnx__AttributeProto *a = n->n_attribute ? n->attribute[0] : NULL;
	const char *kind = a && a->name && n->n_attribute == 1 ? a->name : "";
	Onnx__TensorProto *t = &v->scalars;

	onnx__tensor_proto__init(t);
	v->constant = t;
	t->name = (char *)v->name;
	t->has_data_type = true;
	t->data_type = strncmp(kind, "value_int", 9) == 0 ? ONNX__TENSOR_PROTO__DATA_TYPE__INT64
							  : ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
	t->dims = &v->scalars_dim;
	if (strcmp(kind, "value") == 0 && a->t) {
		v->constant = a->t;
	} else if (strcmp(kind, "value_float") == 0 && a->has_f) {
		t->float_data = (float *)&a->f;
		t->n_float_data = 1;
	} else if (strcmp(kind, "value_int") == 0 && a->has_i) {
		t->int64_data = (int64_t *)&a->i;
		t->n_int64_data = 1;
	} else if (strcmp(kind, "value_floats") == 0) {
		t->float_data = a->floats;
		t->n_float_data = a->n_floats;
		t->n_dims = 1;
	} else if (strcmp(kind, "value_ints") == 0) {
		t->int64_data = a->ints;
		t->n_int64_data = a->n_ints;
		t->n_dims = 1;
	} else {
		return onnx_fail(imp, n,
			"expected one attribute: value, value_float, value_int, "
			"value_floats or value_ints");
	}
	v->scalars_dim = (int64_t)(t->n_float_data + t->n_int64_data);
	return 0;
}

/* From float to float there is nothing to do: everything is f32 here. */
static int import_cast(struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v)
{
	int x, to = 0;

	if (onnx_attr_int(imp, n, "to", &to) < 0 || onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	if (onnx_is_float(to) && imp->g->tensors[x].dtype == KERF_F32) {
		v->alias = onnx_input_value(imp, n, 0);
		return 0;
	}
	if (to == ONNX__TENSOR_PROTO__DATA_TYPE__STRING || to <= 0)
		return onnx_fail(imp, n, "to type %d is not supported", to);
	v->tensor = onnx_emit_cast(imp, n, x, onnx_is_float(to) ? KERF_F32 : KERF_I64,
		to == ONNX__TENSOR_PROTO__DATA_TYPE__BOOL);
	return KERF_MIN(v->tensor, 0);
}

static int check_dropout(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const struct onnx_value *mode = onnx_input_value(imp, n, 2);

	if (onnx_check_inference(imp, n) < 0)
		return -EINVAL;
	if (!mode)
		return 0;
	const Onnx__TensorProto *t = mode->constant;
	bool is_false =
		t && (t->n_int32_data == 1 ? t->int32_data[0] == 0
					   : t->raw_data.len == 1 && t->raw_data.data[0] == 0);
	return is_false ? 0 : onnx_fail(imp, n, "training_mode is not a constant false");
}

static int import_alias(struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v)
{
	if (strcmp(n->op_type, "Dropout") == 0 && check_dropout(imp, n) < 0)
		return -EINVAL;
	v->alias = onnx_input_value(imp, n, 0);
	return 0;
}

/* What a node computes goes by the name that the file gives it. */
static int rename_tensor(struct onnx_import *imp, int id, const char *name)
{
	char *copy = strdup(name);

	if (!copy)
		return kerf_err_set(imp->err, -ENOMEM, "no memory for the name %.100s", name);
	free(imp->g->tensors[id].name);
	imp->g->tensors[id].name = copy;
	return 0;
}

int onnx_set_output(struct onnx_import *imp, const Onnx__NodeProto *n, size_t i, int id)
{
	struct onnx_value *v = onnx_find_value(imp, n->output[i]);

	if (!v)
		return 0;
	v->tensor = id;
	return rename_tensor(imp, id, v->name);
}

static int import_node(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	const struct onnx_operator *op = onnx_find_operator(n);
	struct onnx_value *v = n->n_output ? onnx_find_value(imp, n->output[0]) : NULL;

	if (!v)
		return onnx_fail(imp, n, "it has no output");
	if (strlen(onnx_node_name(n)) > MAX_NAME)
		return onnx_fail(imp, n, "its name is longer than %d bytes", MAX_NAME);
	if (n->n_input > (size_t)op->max_inputs)
		return onnx_fail(
			imp, n, "%zu inputs, expected at most %d", n->n_input, op->max_inputs);
	for (int i = 0; i < op->min_inputs; i++)
		if (!onnx_has_input(n, i))
			return onnx_fail(imp, n, "input %d is missing", i);
	if (strcmp(op->name, "Constant") == 0)
		return import_constant_node(imp, n, v);
	if (strcmp(op->name, "Cast") == 0)
		return import_cast(imp, n, v);
	if (strcmp(op->name, "QuantizeLinear") == 0)
		return onnx_import_quantise(imp, n, v);
	if (strcmp(op->name, "DequantizeLinear") == 0)
		return onnx_import_dequantise(imp, n, v);
	if (!op->import)
		return import_alias(imp, n, v);
	int id = op->import(imp, n);
	v->empty = id == ONNX_EMPTY;
	if (id < 0)
		return v->empty ? 0 : id;
	v->tensor = id;
	return rename_tensor(imp, id, v->name);
}

/* ---- output ---- */

/* A node that no ONNX node stands for. */
static int emit_own(struct onnx_import *imp, struct kerf_node *k, const char *stem)
{
	k->name = (char *)onnx_unique_name(&imp->node_names, stem, "", 1); /* add_node copies it */
	if (!k->name)
		return kerf_err_set(imp->err, -ENOMEM, "out of memory");
	return kerf_graph_add_node(imp->g, k, imp->err);
}

/* The i-th declared output as something that a node computes: the input or a constant passes through one that does nothing. */
static int output_tensor(struct onnx_import *imp, size_t i)
{
	const char *name = imp->proto->output[i]->name ? imp->proto->output[i]->name : "";
	const struct onnx_value *v = onnx_find_value(imp, name), *source = v && v->alias ? v->alias : v;
	struct kerf_node same = {.op = KERF_OP_ACT, .n_inputs = 1};

	if (!v || v->node == KERF_NONE)
		return kerf_err_set(imp->err, -EINVAL, "output %.100s is computed by no node", name);
	const Onnx__NodeProto *n = imp->proto->node[v->node];
	if (onnx_is_quantised(source))
		return onnx_fail(imp, n, "its integers are the output %.100s: only DequantizeLinear may read them", name);
	if (source->tensor == KERF_NONE && !source->constant)
		return onnx_fail(imp, n, "its output %d, %.100s, is not supported", v->position, name);
	if (source->tensor >= 0 && imp->g->tensors[source->tensor].producer != KERF_NONE)
		return source->tensor;
	if (onnx_value_tensor(imp, n, onnx_find_value(imp, source->name), &same.inputs[0]) < 0)
		return -EINVAL;
	same.inputs[0] = onnx_as_floats(imp, n, same.inputs[0]);
	return same.inputs[0] < 0 ? same.inputs[0] : emit_own(imp, &same, onnx_node_name(n));
}

/* As rows of `batch` lists. */
static int add_to_join(struct onnx_import *imp, struct kerf_node *join, int id, int64_t batch)
{
	struct kerf_node flat = {.op = KERF_OP_RESHAPE, .n_inputs = 1, .inputs = {id}};
	const char *name = imp->g->tensors[id].name;
	const int64_t rows[2] = {batch, kerf_tensor_elements(&imp->g->tensors[id]) / batch};

	flat.output = kerf_graph_add_tensor(imp->g, name, KERF_F32, 2, rows);
	const int row = flat.output < 0 ? flat.output : emit_own(imp, &flat, imp->g->tensors[id].name);
	if (row < 0)
		return kerf_err_set(imp->err, row, "output %.100s: out of memory", imp->g->tensors[id].name);
	join->inputs[join->n_inputs++] = row;
	return 0;
}

/*
 * Several outputs become one: each as [N, rest], or [1, all] where their first dimensions differ, side by side in the
 * order in which the file lists them.
 */
static int join_outputs(struct onnx_import *imp, const int *ids, int count)
{
	struct kerf_node join = {.op = KERF_OP_CONCAT, .axis = 1};
	int64_t batch = 0;

	for (int i = 0; i < count; i++) {
		const struct kerf_tensor *t = &imp->g->tensors[ids[i]];
		const int64_t mine = t->n_dims ? t->dims[0] : 1;

		batch = i == 0 || mine == batch ? mine : 1;
	}
	for (int i = 0; i < count; i++)
		if (add_to_join(imp, &join, ids[i], batch) < 0)
			return -EINVAL;
	return emit_own(imp, &join, "outputs");
}

static int find_output(struct onnx_import *imp)
{
	const size_t count = imp->proto->n_output;
	int ids[KERF_MAX_INPUTS];

	if (count == 0 || count > KERF_MAX_INPUTS)
		return count ? kerf_err_set(imp->err, -EINVAL, "%zu outputs, expected at most %d", count, KERF_MAX_INPUTS)
			     : kerf_err_set(imp->err, -EINVAL, "the model has no output");
	for (size_t i = 0; i < count; i++)
		if ((ids[i] = output_tensor(imp, i)) < 0)
			return ids[i];
	imp->g->output = count == 1 ? ids[0] : join_outputs(imp, ids, (int)count);
	return KERF_MIN(imp->g->output, 0);
}

int onnx_import_graph(struct onnx_import *imp)
{
	int rc;

	if ((rc = collect_values(imp)) < 0 || (rc = find_input(imp)) < 0 ||
		(rc = onnx_order(imp)) < 0)
		return rc;
	for (size_t i = 0; i < imp->proto->n_node; i++) {
		rc = import_node(imp, imp->proto->node[imp->order[i]]);
		if (rc < 0)
			return rc;
	}
	return find_output(imp);
}
