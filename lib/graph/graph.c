/* Building a graph: tensors, constants, nodes; who owns them; how they are named in messages. */
#include "graph/graph_internal.h"

#include <assert.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

/* 8 GiB of f32. No network comes near, and below it element counts fit an int32_t everywhere. */
#define MAX_ELEMENTS INT32_MAX

struct kerf_graph *kerf_graph_create(const char *name)
{
	struct kerf_graph *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->name = strdup(name);
	if (!g->name) {
		free(g);
		return NULL;
	}
	g->input = KERF_NONE;
	g->output = KERF_NONE;
	return g;
}

void kerf_graph_free(struct kerf_graph *g)
{
	if (!g)
		return;
	for (int i = 0; i < g->n_tensors; i++) {
		free(g->tensors[i].name);
		free(g->tensors[i].data);
	}
	for (int i = 0; i < g->n_nodes; i++)
		free(g->nodes[i].name);
	free(g->tensors);
	free(g->nodes);
	free(g->name);
	free(g);
}

static int check_dims(int n_dims, const int64_t *dims)
{
	int64_t elements = 1;

	if (n_dims < 0 || n_dims > KERF_MAX_DIMS)
		return -EINVAL;
	for (int i = 0; i < n_dims; i++) {
		if (dims[i] <= 0 || dims[i] > MAX_ELEMENTS / elements)
			return -EINVAL;
		elements *= dims[i];
	}
	return 0;
}

/* Room for one more element of `size` bytes in a growing array. */
static int reserve_one(void **array, int *capacity, int used, size_t size)
{
	if (used < *capacity)
		return 0;
	if (*capacity > INT_MAX / 2)
		return -ENOMEM;
	int wanted = *capacity ? *capacity * 2 : 64;
	void *grown = realloc(*array, (size_t)wanted * size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*capacity = wanted;
	return 0;
}

int kerf_graph_add_tensor(struct kerf_graph *g, const char *name, enum kerf_dtype dtype, int n_dims,
	const int64_t *dims)
{
	int rc = check_dims(n_dims, dims);

	if (rc < 0)
		return rc;
	rc = reserve_one(
		(void **)&g->tensors, &g->capacity_tensors, g->n_tensors, sizeof(*g->tensors));
	if (rc < 0)
		return rc;
	char *copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	struct kerf_tensor *t = &g->tensors[g->n_tensors];
	*t = (struct kerf_tensor){
		.name = copy, .dtype = dtype, .n_dims = n_dims, .producer = KERF_NONE};
	for (int i = 0; i < n_dims; i++)
		t->dims[i] = dims[i];
	return g->n_tensors++;
}

int kerf_graph_add_constant(struct kerf_graph *g, const char *name, enum kerf_dtype dtype,
	int n_dims, const int64_t *dims, void *data)
{
	int id = data ? kerf_graph_add_tensor(g, name, dtype, n_dims, dims) : -ENOMEM;

	if (id >= 0)
		g->tensors[id].data = data;
	return id;
}

/* A RESHAPE may bring its output tensor along: that is where its target shape stands. */
static int check_reshape_output(
	const struct kerf_graph *g, const struct kerf_node *n, struct kerf_err *err)
{
	const struct kerf_tensor *t = n->output < g->n_tensors ? &g->tensors[n->output] : NULL;

	if (!t || t->producer != KERF_NONE || t->data || n->output == g->input ||
		n->output == n->inputs[0])
		return kerf_err_set(err, -EINVAL,
			"node %s: output tensor %d is not a fresh tensor of the target shape",
			n->name, n->output);
	return 0;
}

int kerf_graph_add_node(struct kerf_graph *g, const struct kerf_node *n, struct kerf_err *err)
{
	int64_t dims[KERF_MAX_DIMS];
	int n_dims;
	struct kerf_node copy = *n;

	if (copy.op != KERF_OP_RESHAPE)
		copy.output = KERF_NONE;
	copy.residual = KERF_NONE;
	kerf_node_set_defaults(g, &copy);
	if (copy.output >= 0 && check_reshape_output(g, &copy, err) < 0)
		return -EINVAL;
	int rc = kerf_graph_infer_shape(g, &copy, dims, &n_dims, err);
	if (rc < 0)
		return rc;
	rc = reserve_one((void **)&g->nodes, &g->capacity_nodes, g->n_nodes, sizeof(*g->nodes));
	if (rc < 0)
		return kerf_err_set(err, rc, "node %s: out of memory", n->name);
	if (copy.output < 0)
		copy.output = kerf_graph_add_tensor(g, n->name, KERF_F32, n_dims, dims);
	if (copy.output < 0)
		return kerf_err_set(err, copy.output, "node %s: output %s", n->name,
			copy.output == -ENOMEM ? "out of memory" : "has too many elements");
	copy.name = strdup(n->name);
	if (!copy.name)
		return kerf_err_set(err, -ENOMEM, "node %s: out of memory", n->name);
	g->tensors[copy.output].producer = g->n_nodes;
	g->nodes[g->n_nodes++] = copy;
	return copy.output;
}

int64_t kerf_tensor_elements(const struct kerf_tensor *t)
{
	int64_t elements = 1;

	for (int i = 0; i < t->n_dims; i++)
		elements *= t->dims[i];
	return elements;
}

size_t kerf_tensor_bytes(const struct kerf_tensor *t)
{
	return (size_t)kerf_tensor_elements(t) * (t->dtype == KERF_I64 ? 8 : 4);
}

const char *kerf_op_name(enum kerf_op op)
{
	static const char *const names[KERF_OP_COUNT] = {
		[KERF_OP_CONV] = "conv",
		[KERF_OP_GEMM] = "gemm",
		[KERF_OP_BATCHNORM] = "batchnorm",
		[KERF_OP_ACT] = "act",
		[KERF_OP_ADD] = "add",
		[KERF_OP_MUL] = "mul",
		[KERF_OP_MAXPOOL] = "maxpool",
		[KERF_OP_AVGPOOL] = "avgpool",
		[KERF_OP_GLOBAL_AVGPOOL] = "global_avgpool",
		[KERF_OP_CONCAT] = "concat",
		[KERF_OP_RESHAPE] = "reshape",
		[KERF_OP_SOFTMAX] = "softmax",
		[KERF_OP_TRANSPOSE] = "transpose",
		[KERF_OP_PAD] = "pad",
		[KERF_OP_SLICE] = "slice",
		[KERF_OP_DIV] = "div",
		[KERF_OP_MIN] = "min",
		[KERF_OP_MAX] = "max",
		[KERF_OP_POW] = "pow",
		[KERF_OP_PRELU] = "prelu",
		[KERF_OP_MATMUL] = "matmul",
		[KERF_OP_GATHER] = "gather",
		[KERF_OP_REDUCE] = "reduce",
		[KERF_OP_LAYERNORM] = "layernorm",
		[KERF_OP_DEPTH_TO_SPACE] = "depth_to_space",
		[KERF_OP_EQUAL] = "equal",
		[KERF_OP_LESS] = "less",
		[KERF_OP_LESS_EQUAL] = "less_equal",
		[KERF_OP_MASK] = "mask",
	};

	assert(op >= 0 && op < KERF_OP_COUNT);
	return names[op];
}

void kerf_graph_drop_weights(struct kerf_graph *g)
{
	for (int i = 0; i < g->n_tensors; i++) {
		free(g->tensors[i].data);
		g->tensors[i].data = NULL;
	}
	malloc_trim(0); /* else much of it stays with the process */
}

bool kerf_graph_is_quantised(const struct kerf_graph *g)
{
	for (int i = 0; i < g->n_tensors; i++)
		if (g->tensors[i].range.lo < g->tensors[i].range.hi)
			return true;
	return false;
}
