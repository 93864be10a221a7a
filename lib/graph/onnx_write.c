/*
 * A graph as the bytes of an ONNX file, opset 13, IR 8. Every kerf node becomes one ONNX node, SiLU
 * and hard-swish two (Sigmoid or HardSigmoid, then Mul: HardSwish itself came with opset 14). The
 * protobuf-c messages are built around the graph's own memory and packed in one go.
 */
#include "graph/onnx_import.h"

#include <assert.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#define OPSET 13
#define IR_VERSION 8
#define MAX_ATTRS 5 /* of one node: kernel, strides, pads, dilations, group */
#define MAX_INTS (2 * KERF_MAX_DIMS)

/* One attribute with room for the integers it points to. */
struct attr_out {
	Onnx__AttributeProto proto;
	int64_t ints[4 > KERF_MAX_DIMS ? 4 : KERF_MAX_DIMS];
};

struct node_out {
	Onnx__NodeProto proto;
	char *inputs[KERF_MAX_INPUTS];
	char *output;
	struct attr_out attrs[MAX_ATTRS];
	Onnx__AttributeProto *attr_list[MAX_ATTRS];
};

struct constant_out {
	Onnx__TensorProto proto;
	int64_t dims[KERF_MAX_DIMS];
	int64_t ints[MAX_INTS]; /* values of constants that the graph keeps as attributes */
	float value;
};

/* The graph's input or output. */
struct io_out {
	Onnx__ValueInfoProto proto, *list;
	Onnx__TypeProto type;
	Onnx__TypeProto__Tensor tensor;
	Onnx__TensorShapeProto shape;
	Onnx__TensorShapeProto__Dimension dims[KERF_MAX_DIMS], *dim_list[KERF_MAX_DIMS];
};

struct writer {
	const struct kerf_graph *g;
	struct kerf_err *err;
	char **names; /* of each tensor, unique; NULL for a tensor that nobody uses */
	void *value_names, *node_names;
	struct node_out *nodes; /* two for each kerf node */
	int n_nodes;
	struct constant_out *constants; /* the graph's own, and four for each kerf node */
	int n_constants;
	bool out_of_memory;
	Onnx__NodeProto **node_list;
	Onnx__TensorProto **constant_list;
};

/* ---- pieces of messages ---- */

static char *value_name(struct writer *w, const char *stem, const char *suffix)
{
	const char *name = onnx_unique_name(&w->value_names, stem, suffix, 1);

	w->out_of_memory |= !name;
	return (char *)name;
}

static struct node_out *add_node(
	struct writer *w, const char *op, const struct kerf_node *k, const char *suffix)
{
	struct node_out *n = &w->nodes[w->n_nodes++];

	assert(w->n_nodes <= 2 * w->g->n_nodes);
	onnx__node_proto__init(&n->proto);
	n->proto.op_type = (char *)op;
	n->proto.name = (char *)onnx_unique_name(&w->node_names, k->name, suffix, 1);
	w->out_of_memory |= !n->proto.name;
	n->proto.input = n->inputs;
	n->proto.output = &n->output;
	n->proto.n_output = 1;
	n->proto.attribute = n->attr_list;
	return n;
}

static void add_input(struct node_out *n, char *name)
{
	assert(n->proto.n_input < KERF_ARRAY_LEN(n->inputs));
	n->inputs[n->proto.n_input++] = name;
}

static struct attr_out *add_attr(struct node_out *n, const char *name, int type)
{
	size_t i = n->proto.n_attribute++;
	struct attr_out *a = &n->attrs[i];

	assert(i < MAX_ATTRS);
	onnx__attribute_proto__init(&a->proto);
	a->proto.name = (char *)name;
	a->proto.has_type = true;
	a->proto.type = type;
	n->attr_list[i] = &a->proto;
	return a;
}

static void add_int(struct node_out *n, const char *name, int64_t value)
{
	struct attr_out *a = add_attr(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);

	a->proto.has_i = true;
	a->proto.i = value;
}

static void add_float(struct node_out *n, const char *name, float value)
{
	struct attr_out *a = add_attr(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);

	a->proto.has_f = true;
	a->proto.f = value;
}

static void add_ints(struct node_out *n, const char *name, const int *values, int count)
{
	struct attr_out *a = add_attr(n, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);

	for (int i = 0; i < count; i++)
		a->ints[i] = values[i];
	a->proto.ints = a->ints;
	a->proto.n_ints = (size_t)count;
}

static struct constant_out *add_constant(
	struct writer *w, char *name, int type, int n_dims, const int64_t *dims)
{
	struct constant_out *c = &w->constants[w->n_constants++];

	onnx__tensor_proto__init(&c->proto);
	c->proto.name = name;
	c->proto.has_data_type = true;
	c->proto.data_type = type;
	for (int i = 0; i < n_dims; i++)
		c->dims[i] = dims[i];
	c->proto.dims = c->dims;
	c->proto.n_dims = (size_t)n_dims;
	c->proto.has_raw_data = true;
	return c;
}

/* What a kerf node keeps as a field and ONNX takes as a constant input. */
static void add_ints_input(struct writer *w, struct node_out *n, const struct kerf_node *k,
	const char *suffix, const int64_t *values, int count)
{
	int64_t len = count;
	struct constant_out *c = add_constant(
		w, value_name(w, k->name, suffix), ONNX__TENSOR_PROTO__DATA_TYPE__INT64, 1, &len);

	assert(count <= MAX_INTS);
	memcpy(c->ints, values, (size_t)count * sizeof(*values));
	c->proto.raw_data.data = (uint8_t *)c->ints;
	c->proto.raw_data.len = (size_t)count * sizeof(*values);
	add_input(n, c->proto.name);
}

static void add_float_input(struct writer *w, struct node_out *n, const struct kerf_node *k,
	const char *suffix, float value)
{
	struct constant_out *c = add_constant(
		w, value_name(w, k->name, suffix), ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT, 0, NULL);

	c->value = value;
	c->proto.raw_data.data = (uint8_t *)&c->value;
	c->proto.raw_data.len = sizeof(c->value);
	add_input(n, c->proto.name);
}

/* ---- operators ---- */

static void write_window(struct node_out *n, const struct kerf_node *k, bool dilations)
{
	add_ints(n, "kernel_shape", k->kernel, 2);
	add_ints(n, "strides", k->strides, 2);
	add_ints(n, "pads", k->pads, 4);
	if (dilations)
		add_ints(n, "dilations", k->dilations, 2);
}

/* x * gate(x), where gate is the node just begun. */
static struct node_out *write_gated(
	struct writer *w, const struct kerf_node *k, struct node_out *gate)
{
	char *x = w->names[k->inputs[0]];

	gate->output = value_name(w, k->name, "_gate");
	add_input(gate, x);
	struct node_out *n = add_node(w, "Mul", k, "");
	add_input(n, x);
	add_input(n, gate->output);
	return n;
}

/* NULL: what nothing in kerf writes */
static const char *const act_names[KERF_ACT_COUNT] = {
	[KERF_ACT_NONE] = "Identity",
	[KERF_ACT_RELU] = "Relu",
	[KERF_ACT_CLIP] = "Clip",
	[KERF_ACT_SIGMOID] = "Sigmoid",
	[KERF_ACT_SILU] = "Sigmoid",
	[KERF_ACT_HARD_SIGMOID] = "HardSigmoid",
	[KERF_ACT_HARD_SWISH] = "HardSigmoid",
	[KERF_ACT_TANH] = "Tanh",
	[KERF_ACT_LEAKY_RELU] = "LeakyRelu",
	[KERF_ACT_ERF] = "Erf",
	[KERF_ACT_ABS] = "Abs",
	[KERF_ACT_SQRT] = "Sqrt",
	[KERF_ACT_RECIPROCAL] = "Reciprocal",
	[KERF_ACT_EXP] = "Exp",
	[KERF_ACT_LOG] = "Log",
	[KERF_ACT_SOFTPLUS] = "Softplus",
	[KERF_ACT_SOFTSIGN] = "Softsign",
	[KERF_ACT_FLOOR] = "Floor",
	[KERF_ACT_CEIL] = "Ceil",
	[KERF_ACT_ROUND] = "Round",
	[KERF_ACT_SIN] = "Sin",
	[KERF_ACT_COS] = "Cos",
};

static struct node_out *write_act(struct writer *w, const struct kerf_node *k)
{
	enum kerf_act_kind kind = k->act.kind;
	bool gated = kind == KERF_ACT_SILU || kind == KERF_ACT_HARD_SWISH;
	struct node_out *n = add_node(w, act_names[kind], k, gated ? "_gate" : "");

	if (kind == KERF_ACT_HARD_SIGMOID || kind == KERF_ACT_HARD_SWISH) {
		add_float(n, "alpha", gated ? 1.0f / 6 : k->act.lo);
		add_float(n, "beta", gated ? 0.5f : k->act.hi);
	}
	if (gated)
		return write_gated(w, k, n);
	if (kind == KERF_ACT_LEAKY_RELU)
		add_float(n, "alpha", k->act.lo);
	add_input(n, w->names[k->inputs[0]]);
	if (kind == KERF_ACT_CLIP) {
		add_float_input(w, n, k, "_min", k->act.lo);
		add_float_input(w, n, k, "_max", k->act.hi);
	}
	return n;
}

/* An end before the first value is far below zero: -1 would be the last one. */
static void write_slice(struct writer *w, struct node_out *n, const struct kerf_node *k, int n_dims)
{
	int64_t starts[KERF_MAX_DIMS], ends[KERF_MAX_DIMS], axes[KERF_MAX_DIMS], steps[KERF_MAX_DIMS];

	for (int i = 0; i < n_dims; i++) {
		axes[i] = i;
		starts[i] = k->starts[i];
		steps[i] = k->counts[i] == 1 ? 1 : k->steps[i]; /* of one value any will do */
		ends[i] = starts[i] + steps[i] * k->counts[i];
		if (ends[i] < 0)
			ends[i] = INT32_MIN;
	}
	add_ints_input(w, n, k, "_starts", starts, n_dims);
	add_ints_input(w, n, k, "_ends", ends, n_dims);
	add_ints_input(w, n, k, "_axes", axes, n_dims);
	add_ints_input(w, n, k, "_steps", steps, n_dims);
}

static void write_attributes(struct writer *w, struct node_out *n, const struct kerf_node *k)
{
	const struct kerf_tensor *y = &w->g->tensors[k->output];
	const int64_t pads[8] = {0, 0, k->pads[0], k->pads[1], 0, 0, k->pads[2], k->pads[3]};

	switch (k->op) {
	case KERF_OP_CONV:
		write_window(n, k, true);
		add_int(n, "group", k->groups);
		break;
	case KERF_OP_MAXPOOL: write_window(n, k, true); break;
	case KERF_OP_AVGPOOL:
		write_window(n, k, false);
		add_int(n, "count_include_pad", k->count_include_pad);
		break;
	case KERF_OP_GEMM: add_int(n, "transB", 1); break;
	case KERF_OP_BATCHNORM: add_float(n, "epsilon", k->epsilon); break;
	case KERF_OP_CONCAT:
	case KERF_OP_SOFTMAX: add_int(n, "axis", k->axis); break;
	case KERF_OP_TRANSPOSE: add_ints(n, "perm", k->perm, y->n_dims); break;
	case KERF_OP_RESHAPE: add_ints_input(w, n, k, "_shape", y->dims, y->n_dims); break;
	case KERF_OP_PAD: add_ints_input(w, n, k, "_pads", pads, 8); break;
	case KERF_OP_SLICE: write_slice(w, n, k, y->n_dims); break;
	default: break;
	}
}

static const char *const op_names[KERF_OP_COUNT] = {
	[KERF_OP_CONV] = "Conv",
	[KERF_OP_GEMM] = "Gemm",
	[KERF_OP_BATCHNORM] = "BatchNormalization",
	[KERF_OP_ADD] = "Add",
	[KERF_OP_MUL] = "Mul",
	[KERF_OP_MAXPOOL] = "MaxPool",
	[KERF_OP_AVGPOOL] = "AveragePool",
	[KERF_OP_GLOBAL_AVGPOOL] = "GlobalAveragePool",
	[KERF_OP_CONCAT] = "Concat",
	[KERF_OP_RESHAPE] = "Reshape",
	[KERF_OP_SOFTMAX] = "Softmax",
	[KERF_OP_TRANSPOSE] = "Transpose",
	[KERF_OP_PAD] = "Pad",
	[KERF_OP_SLICE] = "Slice",
	[KERF_OP_DIV] = "Div",
	[KERF_OP_MIN] = "Min",
	[KERF_OP_MAX] = "Max",
	[KERF_OP_POW] = "Pow",
	[KERF_OP_PRELU] = "PRelu",
	[KERF_OP_MATMUL] = "MatMul",
};

static struct node_out *write_plain(struct writer *w, const struct kerf_node *k)
{
	struct node_out *n = add_node(w, op_names[k->op], k, "");

	for (int i = 0; i < k->n_inputs; i++)
		if (k->inputs[i] != KERF_NONE)
			add_input(n, w->names[k->inputs[i]]);
	write_attributes(w, n, k);
	return n;
}

/* ONNX of opset 13 has no words for these. */
static int check_node(const struct writer *w, const struct kerf_node *k)
{
	if (k->residual != KERF_NONE || (k->op != KERF_OP_ACT && k->act.kind != KERF_ACT_NONE) ||
		(k->op == KERF_OP_CONV && k->n_inputs > 3 && k->inputs[3] != KERF_NONE))
		return kerf_err_set(w->err, -EINVAL,
			"node %s (%s) has fused operators: only a graph that is not optimised can "
			"be saved",
			k->name, kerf_op_name(k->op));
	if (k->op == KERF_OP_ACT ? !act_names[k->act.kind] : !op_names[k->op])
		return kerf_err_set(w->err, -EINVAL, "node %s (%s) cannot be saved", k->name, kerf_op_name(k->op));
	if (k->op == KERF_OP_AVGPOOL && (k->dilations[0] != 1 || k->dilations[1] != 1))
		return kerf_err_set(w->err, -EINVAL,
			"node %s (%s): dilations cannot be saved in opset %d", k->name,
			kerf_op_name(k->op), OPSET);
	return 0;
}

static int write_nodes(struct writer *w)
{
	for (int i = 0; i < w->g->n_nodes; i++) {
		const struct kerf_node *k = &w->g->nodes[i];
		if (check_node(w, k) < 0)
			return -EINVAL;
		struct node_out *n = k->op == KERF_OP_ACT ? write_act(w, k) : write_plain(w, k);
		n->output = w->names[k->output];
	}
	return 0;
}

/* ---- the graph ---- */

static void name_tensor(struct writer *w, int id)
{
	if (id != KERF_NONE && !w->names[id])
		w->names[id] = value_name(w, w->g->tensors[id].name, "");
}

/* Input and output first: whoever has to give way in a clash of names, they keep theirs. */
static void name_tensors(struct writer *w)
{
	const struct kerf_graph *g = w->g;

	name_tensor(w, g->input);
	name_tensor(w, g->output);
	for (int i = 0; i < g->n_nodes; i++) {
		for (int j = 0; j < g->nodes[i].n_inputs; j++)
			name_tensor(w, g->nodes[i].inputs[j]);
		name_tensor(w, g->nodes[i].output);
	}
}

static void write_constants(struct writer *w)
{
	for (int i = 0; i < w->g->n_tensors; i++) {
		const struct kerf_tensor *t = &w->g->tensors[i];
		if (!t->data || !w->names[i])
			continue;
		struct constant_out *c = add_constant(w, w->names[i],
			t->dtype == KERF_F32 ? ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT
					     : ONNX__TENSOR_PROTO__DATA_TYPE__INT64,
			t->n_dims, t->dims);
		c->proto.raw_data.data = t->data;
		c->proto.raw_data.len = kerf_tensor_bytes(t);
	}
}

static void write_io(const struct writer *w, struct io_out *io, int id)
{
	const struct kerf_tensor *t = &w->g->tensors[id];

	onnx__value_info_proto__init(&io->proto);
	onnx__type_proto__init(&io->type);
	onnx__type_proto__tensor__init(&io->tensor);
	onnx__tensor_shape_proto__init(&io->shape);
	for (int i = 0; i < t->n_dims; i++) {
		onnx__tensor_shape_proto__dimension__init(&io->dims[i]);
		io->dims[i].value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
		io->dims[i].dim_value = t->dims[i];
		io->dim_list[i] = &io->dims[i];
	}
	io->shape.dim = io->dim_list;
	io->shape.n_dim = (size_t)t->n_dims;
	io->tensor.shape = &io->shape;
	io->tensor.has_elem_type = true;
	io->tensor.elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
	io->type.value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	io->type.tensor_type = &io->tensor;
	io->proto.type = &io->type;
	io->proto.name = w->names[id];
	io->list = &io->proto;
}

static int write_graph(struct writer *w, Onnx__GraphProto *graph)
{
	name_tensors(w);
	write_constants(w);
	if (write_nodes(w) < 0)
		return -EINVAL;
	if (w->out_of_memory)
		return kerf_err_set(w->err, -ENOMEM, "out of memory");
	for (int i = 0; i < w->n_nodes; i++)
		w->node_list[i] = &w->nodes[i].proto;
	for (int i = 0; i < w->n_constants; i++)
		w->constant_list[i] = &w->constants[i].proto;
	graph->name = w->g->name;
	graph->node = w->node_list;
	graph->n_node = (size_t)w->n_nodes;
	graph->initializer = w->constant_list;
	graph->n_initializer = (size_t)w->n_constants;
	return 0;
}

static int pack_model(struct writer *w, Onnx__GraphProto *graph, uint8_t **bytes, size_t *len)
{
	struct io_out in, out;
	Onnx__OperatorSetIdProto opset = ONNX__OPERATOR_SET_ID_PROTO__INIT;
	Onnx__OperatorSetIdProto *opsets[1] = {&opset};
	Onnx__ModelProto model = ONNX__MODEL_PROTO__INIT;

	write_io(w, &in, w->g->input);
	write_io(w, &out, w->g->output);
	graph->input = &in.list;
	graph->output = &out.list;
	graph->n_input = graph->n_output = 1;
	opset.domain = (char *)"";
	opset.has_version = model.has_ir_version = true;
	opset.version = OPSET;
	model.ir_version = IR_VERSION;
	model.producer_name = (char *)"kerf";
	model.producer_version = (char *)KERF_VERSION;
	model.opset_import = opsets;
	model.n_opset_import = 1;
	model.graph = graph;
	*len = onnx__model_proto__get_packed_size(&model);
	if (*len > INT32_MAX)
		return kerf_err_set(w->err, -EFBIG,
			"the model would be %zu bytes, protobuf allows 2147483647", *len);
	*bytes = malloc(*len);
	if (!*bytes)
		return kerf_err_set(w->err, -ENOMEM, "no memory for %zu bytes", *len);
	onnx__model_proto__pack(&model, *bytes);
	return 0;
}

int onnx_pack_graph(const struct kerf_graph *g, uint8_t **bytes, size_t *len, struct kerf_err *err)
{
	size_t n_nodes = (size_t)g->n_nodes * 2, n_constants = (size_t)g->n_tensors + (size_t)g->n_nodes * 4;
	Onnx__GraphProto graph = ONNX__GRAPH_PROTO__INIT;
	struct writer w = {
		.g = g,
		.err = err,
		.names = calloc((size_t)g->n_tensors, sizeof(*w.names)),
		.nodes = calloc(n_nodes, sizeof(*w.nodes)),
		.constants = calloc(n_constants, sizeof(*w.constants)),
		.node_list = calloc(n_nodes, sizeof(*w.node_list)),
		.constant_list = calloc(n_constants, sizeof(*w.constant_list)),
	};
	int rc = -ENOMEM;

	if (!w.names || !w.nodes || !w.constants || !w.node_list || !w.constant_list)
		kerf_err_set(err, rc, "out of memory");
	else
		rc = write_graph(&w, &graph);
	if (rc == 0)
		rc = pack_model(&w, &graph, bytes, len);
	tdestroy(w.value_names, free);
	tdestroy(w.node_names, free);
	free(w.names);
	free(w.nodes);
	free(w.constants);
	free(w.node_list);
	free(w.constant_list);
	return rc;
}
