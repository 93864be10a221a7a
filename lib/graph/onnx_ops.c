/* The table of ONNX operators, and what their importers share: new nodes and constants. */
#include "graph/onnx_import.h"

#include <stdlib.h>
#include <string.h>

/* What depends on constants alone is one: weights that the file transposes before it uses them. */
static int emit_constant(struct onnx_import *imp, const Onnx__NodeProto *n, const struct kerf_node *k)
{
	struct kerf_tensor out = {.dtype = imp->g->tensors[k->inputs[0]].dtype};
	void *values;

	if (kerf_graph_infer_shape(imp->g, k, out.dims, &out.n_dims, imp->err) < 0)
		return -EINVAL;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), out.dtype, out.n_dims, out.dims, &values);
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
	enum kerf_dtype dtype, int n_dims, const int64_t *dims, void **values)
{
	int id = kerf_graph_add_tensor(imp->g, name, dtype, n_dims, dims);

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
	void *values;
	int id = onnx_new_constant(imp, n, imp->g->tensors[x].name, imp->g->tensors[x].dtype, n_dims, dims, &values);

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

static int compare_operator(const void *name, const void *op)
{
	return strcmp(name, ((const struct onnx_operator *)op)->name);
}

/*
 * Cast, Identity, Dropout, Constant and the two of quantisation have no importer here: onnx_import.c resolves them. Sorted by
 * name. An input count of INT32_MAX means any number.
 */
const struct onnx_operator *onnx_find_operator(const Onnx__NodeProto *n)
{
	static const struct onnx_operator table[] = {
		{"Abs", 1, 1, onnx_import_act},
		{"Add", 2, 2, onnx_import_binary},
		{"And", 2, 2, onnx_import_condition},
		{"ArgMax", 1, 1, onnx_import_arg},
		{"ArgMin", 1, 1, onnx_import_arg},
		{"AveragePool", 1, 1, onnx_import_pool},
		{"BatchNormalization", 5, 5, onnx_import_batchnorm},
		{"Cast", 1, 1, NULL},
		{"Ceil", 1, 1, onnx_import_act},
		{"Clip", 1, 3, onnx_import_clip},
		{"Concat", 1, INT32_MAX, onnx_import_concat},
		{"Constant", 0, 0, NULL},
		{"ConstantOfShape", 1, 1, onnx_import_constant_of_shape},
		{"Conv", 2, 3, onnx_import_conv},
		{"ConvTranspose", 2, 3, onnx_import_conv_transpose},
		{"Cos", 1, 1, onnx_import_act},
		{"DepthToSpace", 1, 1, onnx_import_depth_to_space},
		{"DequantizeLinear", 2, 3, NULL},
		{"Div", 2, 2, onnx_import_div},
		{"Dropout", 1, 3, NULL},
		{"Einsum", 1, 2, onnx_import_einsum},
		{"Elu", 1, 1, onnx_import_act},
		{"Equal", 2, 2, onnx_import_condition},
		{"Erf", 1, 1, onnx_import_act},
		{"Exp", 1, 1, onnx_import_act},
		{"Expand", 2, 2, onnx_import_expand},
		{"Flatten", 1, 1, onnx_import_flatten},
		{"Floor", 1, 1, onnx_import_act},
		{"Gather", 2, 2, onnx_import_gather},
		{"Gelu", 1, 1, onnx_import_gelu},
		{"Gemm", 2, 3, onnx_import_gemm},
		{"GlobalAveragePool", 1, 1, onnx_import_global_pool},
		{"GlobalMaxPool", 1, 1, onnx_import_global_pool},
		{"Greater", 2, 2, onnx_import_condition},
		{"GreaterOrEqual", 2, 2, onnx_import_condition},
		{"HardSigmoid", 1, 1, onnx_import_act},
		{"HardSwish", 1, 1, onnx_import_act},
		{"Identity", 1, 1, NULL},
		{"InstanceNormalization", 3, 3, onnx_import_instancenorm},
		{"LRN", 1, 1, onnx_import_lrn},
		{"LayerNormalization", 2, 3, onnx_import_layernorm, true},
		{"LeakyRelu", 1, 1, onnx_import_act},
		{"Less", 2, 2, onnx_import_condition},
		{"LessOrEqual", 2, 2, onnx_import_condition},
		{"Log", 1, 1, onnx_import_act},
		{"LogSoftmax", 1, 1, onnx_import_softmax},
		{"MatMul", 2, 2, onnx_import_matmul},
		{"Max", 1, INT32_MAX, onnx_import_variadic},
		{"MaxPool", 1, 1, onnx_import_pool},
		{"Mean", 1, INT32_MAX, onnx_import_variadic},
		{"Min", 1, INT32_MAX, onnx_import_variadic},
		{"Mish", 1, 1, onnx_import_mish},
		{"Mod", 2, 2, onnx_import_condition},
		{"Mul", 2, 2, onnx_import_binary},
		{"Neg", 1, 1, onnx_import_neg},
		{"Not", 1, 1, onnx_import_condition},
		{"Or", 2, 2, onnx_import_condition},
		{"PRelu", 2, 2, onnx_import_binary},
		{"Pad", 1, 4, onnx_import_pad},
		{"Pow", 2, 2, onnx_import_pow},
		{"QuantizeLinear", 2, 3, NULL},
		{"Range", 3, 3, onnx_import_range},
		{"Reciprocal", 1, 1, onnx_import_act},
		{"ReduceL1", 1, 2, onnx_import_reduce},
		{"ReduceL2", 1, 2, onnx_import_reduce},
		{"ReduceLogSum", 1, 2, onnx_import_reduce},
		{"ReduceLogSumExp", 1, 2, onnx_import_reduce},
		{"ReduceMax", 1, 2, onnx_import_reduce},
		{"ReduceMean", 1, 2, onnx_import_reduce},
		{"ReduceMin", 1, 2, onnx_import_reduce},
		{"ReduceProd", 1, 2, onnx_import_reduce},
		{"ReduceSum", 1, 2, onnx_import_reduce},
		{"ReduceSumSquare", 1, 2, onnx_import_reduce},
		{"Relu", 1, 1, onnx_import_act},
		{"Reshape", 1, 2, onnx_import_reshape},
		{"Resize", 1, 4, onnx_import_resize},
		{"Round", 1, 1, onnx_import_act},
		{"ScatterND", 3, 3, onnx_import_scatter_nd},
		{"Selu", 1, 1, onnx_import_act},
		{"Shape", 1, 1, onnx_import_shape},
		{"Sigmoid", 1, 1, onnx_import_act},
		{"Sin", 1, 1, onnx_import_act},
		{"Size", 1, 1, onnx_import_shape},
		{"Slice", 1, 5, onnx_import_slice},
		{"Softmax", 1, 1, onnx_import_softmax},
		{"Softplus", 1, 1, onnx_import_act},
		{"Softsign", 1, 1, onnx_import_act},
		{"SpaceToDepth", 1, 1, onnx_import_depth_to_space},
		{"Split", 1, 2, onnx_import_split, true},
		{"Sqrt", 1, 1, onnx_import_act},
		{"Squeeze", 1, 2, onnx_import_squeeze},
		{"Sub", 2, 2, onnx_import_sub},
		{"Sum", 1, INT32_MAX, onnx_import_variadic},
		{"Tanh", 1, 1, onnx_import_act},
		{"Tile", 2, 2, onnx_import_tile},
		{"TopK", 1, 2, onnx_import_top_k, true},
		{"Transpose", 1, 1, onnx_import_transpose},
		{"Unsqueeze", 1, 2, onnx_import_unsqueeze},
		{"Upsample", 1, 2, onnx_import_resize},
		{"Where", 3, 3, onnx_import_where},
		{"Xor", 2, 2, onnx_import_condition},
	};
	bool standard = !n->domain || !n->domain[0] || strcmp(n->domain, "ai.onnx") == 0;

	if (!standard || !n->op_type)
		return NULL;
	return bsearch(
		n->op_type, table, KERF_ARRAY_LEN(table), sizeof(table[0]), compare_operator);
}
