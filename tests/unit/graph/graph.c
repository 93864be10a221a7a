/* Building graphs, and the shape of every operator. */
#include "graph/graph.h"
#include "unit.h"

#include <limits.h>
#include <stdarg.h>
#include <string.h>

#define DIMS(...)                                                                                  \
	(const int64_t[])                                                                          \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static int add(struct kerf_graph *g, int n_dims, const int64_t *dims)
{
	int id = kerf_graph_add_tensor(g, "t", KERF_F32, n_dims, dims);

	CU_ASSERT_FATAL(id >= 0);
	return id;
}

/* Infers n's shape and compares; expected == NULL: it must be refused, and say the node's name. */
static void expect_shape(
	const struct kerf_graph *g, struct kerf_node n, int n_expected, const int64_t *expected)
{
	int64_t dims[KERF_MAX_DIMS];
	int n_dims = -1;
	struct kerf_err err = {0};

	n.name = (char *)"the-node";
	int rc = kerf_graph_infer_shape(g, &n, dims, &n_dims, &err);
	if (!expected) {
		CU_ASSERT_EQUAL(rc, -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "the-node"));
		return;
	}
	CU_ASSERT_EQUAL_FATAL(rc, 0);
	CU_ASSERT_EQUAL_FATAL(n_dims, n_expected);
	for (int i = 0; i < n_dims; i++)
		CU_ASSERT_EQUAL(dims[i], expected[i]);
}

static void test_tensors(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	const int64_t huge[] = {1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20};

	CU_ASSERT_STRING_EQUAL(g->name, "net");
	CU_ASSERT_EQUAL(g->input, KERF_NONE);
	CU_ASSERT_TRUE(kerf_graph_add_tensor(g, "a", KERF_F32, 6, huge) < 0);
	CU_ASSERT_TRUE(kerf_graph_add_tensor(g, "a", KERF_F32, 2, DIMS(3, 0)) < 0);
	CU_ASSERT_TRUE(kerf_graph_add_tensor(g, "a", KERF_F32, 2, DIMS(-3, -4)) < 0);
	CU_ASSERT_TRUE(kerf_graph_add_tensor(g, "a", KERF_F32, 2, DIMS(INT64_MAX, 2)) < 0);
	CU_ASSERT_TRUE(kerf_graph_add_tensor(g, "a", KERF_F32, 7, DIMS(1, 1, 1, 1, 1, 1, 1)) < 0);
	CU_ASSERT_EQUAL(g->n_tensors, 0);
	char name[] = "first";
	int id = kerf_graph_add_tensor(g, name, KERF_I64, 2, DIMS(3, 5));
	name[0] = 'X';
	CU_ASSERT_EQUAL(id, 0);
	CU_ASSERT_STRING_EQUAL(g->tensors[0].name, "first");
	CU_ASSERT_EQUAL(g->tensors[0].producer, KERF_NONE);
	CU_ASSERT_EQUAL(kerf_tensor_elements(&g->tensors[0]), 15);
	CU_ASSERT_EQUAL(kerf_tensor_bytes(&g->tensors[0]), 120);
	id = kerf_graph_add_tensor(g, "scalar", KERF_F32, 0, NULL);
	CU_ASSERT_EQUAL(kerf_tensor_elements(&g->tensors[id]), 1);
	CU_ASSERT_EQUAL(kerf_tensor_bytes(&g->tensors[id]), 4);
	float *values = malloc(8);
	id = kerf_graph_add_constant(g, "c", KERF_F32, 1, DIMS(2), values);
	CU_ASSERT_PTR_EQUAL(g->tensors[id].data, values);
	kerf_graph_free(g);
	kerf_graph_free(NULL);
}

static void test_add_node(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	struct kerf_err err = {0};
	char name[] = "block1/conv";

	g->input = add(g, 4, DIMS(1, 3, 9, 9));
	int w = add(g, 4, DIMS(8, 3, 3, 3));
	struct kerf_node n = {.name = name, .op = KERF_OP_CONV, .n_inputs = 2, .inputs = {0, w}};
	int y = kerf_graph_add_node(g, &n, &err);
	name[0] = 'X';
	CU_ASSERT_EQUAL_FATAL(g->n_nodes, 1);
	const struct kerf_node *k = &g->nodes[0];
	CU_ASSERT_STRING_EQUAL(k->name, "block1/conv");
	CU_ASSERT_STRING_EQUAL(g->tensors[y].name, "block1/conv");
	CU_ASSERT_EQUAL(k->output, y);
	CU_ASSERT_EQUAL(g->tensors[y].producer, 0);
	CU_ASSERT_EQUAL(g->tensors[y].dims[2], 7);
	/* What a zero-initialised node leaves open. */
	CU_ASSERT_EQUAL(k->residual, KERF_NONE);
	CU_ASSERT_EQUAL(k->inputs[2], KERF_NONE);
	CU_ASSERT_EQUAL(k->groups, 1);
	CU_ASSERT_EQUAL(k->kernel[0] * 10 + k->kernel[1], 33);
	CU_ASSERT_EQUAL(k->strides[0] * 10 + k->dilations[1], 11);
	int before = g->n_tensors;
	n.inputs[1] = 77;
	CU_ASSERT_TRUE(kerf_graph_add_node(g, &n, &err) < 0);
	CU_ASSERT_EQUAL(g->n_tensors, before);
	CU_ASSERT_EQUAL(g->n_nodes, 1);
	kerf_graph_free(g);
}

static void test_many_nodes(void)
{
	struct kerf_graph *g = kerf_graph_create("long");
	int x = g->input = add(g, 2, DIMS(1, 4));

	for (int i = 0; i < 1000; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n%d", i);
		struct kerf_node n = {
			.name = name, .op = KERF_OP_ACT, .n_inputs = 1, .inputs = {x}};
		x = kerf_graph_add_node(g, &n, NULL);
	}
	CU_ASSERT_EQUAL(g->n_nodes, 1000);
	CU_ASSERT_STRING_EQUAL(g->tensors[g->nodes[517].inputs[0]].name, "n516");
	CU_ASSERT_STRING_EQUAL(g->nodes[999].name, "n999");
	kerf_graph_free(g);
}

static void test_reshape(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	struct kerf_err err = {0};

	g->input = add(g, 4, DIMS(2, 3, 4, 5));
	struct kerf_node n = {
		.name = (char *)"r", .op = KERF_OP_RESHAPE, .n_inputs = 1, .output = KERF_NONE};
	int y = kerf_graph_add_node(g, &n, &err);
	CU_ASSERT_TRUE_FATAL(y >= 0);
	CU_ASSERT_EQUAL(g->tensors[y].n_dims, 2);
	CU_ASSERT_EQUAL(g->tensors[y].dims[1], 60);
	n.output = add(g, 3, DIMS(6, 4, 5));
	CU_ASSERT_EQUAL(kerf_graph_add_node(g, &n, &err), n.output);
	CU_ASSERT_EQUAL(g->tensors[n.output].producer, 1);
	/* An output that another node has, the input, a shape that does not fit. */
	CU_ASSERT_EQUAL(kerf_graph_add_node(g, &n, &err), -EINVAL);
	n.output = g->input;
	CU_ASSERT_EQUAL(kerf_graph_add_node(g, &n, &err), -EINVAL);
	n.output = add(g, 2, DIMS(6, 21));
	CU_ASSERT_EQUAL(kerf_graph_add_node(g, &n, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "[2,3,4,5]"));
	CU_ASSERT_EQUAL(g->n_nodes, 2);
	kerf_graph_free(g);
}

static void test_conv_shapes(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	int x = add(g, 4, DIMS(2, 6, 11, 8)), w = add(g, 4, DIMS(9, 2, 3, 5)),
	    b = add(g, 1, DIMS(9));
	struct kerf_node n = {.op = KERF_OP_CONV, .n_inputs = 3, .inputs = {x, w, b}, .groups = 3};

	expect_shape(g, n, 4, DIMS(2, 9, 9, 4));
	n.pads[0] = 1;
	n.pads[3] = 4;
	expect_shape(g, n, 4, DIMS(2, 9, 10, 8));
	n.strides[0] = 2;
	n.strides[1] = 3;
	expect_shape(g, n, 4, DIMS(2, 9, 5, 3));
	n.dilations[0] = 5;
	expect_shape(g, n, 4, DIMS(2, 9, 1, 3));
	n.dilations[0] = 6; /* reaches over 13 of 12 */
	expect_shape(g, n, 0, NULL);
	n.dilations[0] = INT_MAX;
	expect_shape(g, n, 0, NULL);
	n.dilations[0] = 1;
	n.groups = 2;
	expect_shape(g, n, 0, NULL);
	n.groups = 3;
	n.kernel[0] = 4;
	expect_shape(g, n, 0, NULL);
	n.kernel[0] = 3;
	n.inputs[2] = KERF_NONE;
	expect_shape(g, n, 4, DIMS(2, 9, 5, 3));
	n.inputs[2] = x;
	expect_shape(g, n, 0, NULL);
	n.inputs[2] = b;
	n.strides[0] = -1;
	expect_shape(g, n, 0, NULL);
	n.strides[0] = 1;
	n.pads[2] = -1;
	expect_shape(g, n, 0, NULL);
	kerf_graph_free(g);
}

static void test_pool_shapes(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	int x = add(g, 4, DIMS(1, 5, 7, 6)), flat = add(g, 2, DIMS(1, 5));
	struct kerf_node n = {.op = KERF_OP_MAXPOOL,
		.n_inputs = 1,
		.inputs = {x},
		.kernel = {3, 2},
		.strides = {2, 2}};

	expect_shape(g, n, 4, DIMS(1, 5, 3, 3));
	n.pads[2] = 2;
	expect_shape(g, n, 4, DIMS(1, 5, 4, 3));
	n.pads[2] = 3; /* a window that sees only padding */
	expect_shape(g, n, 0, NULL);
	n.pads[2] = 0;
	n.kernel[0] = 0;
	expect_shape(g, n, 0, NULL);
	n.kernel[0] = 8;
	expect_shape(g, n, 0, NULL);
	n = (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL, .n_inputs = 1, .inputs = {x}};
	expect_shape(g, n, 4, DIMS(1, 5, 1, 1));
	n.inputs[0] = flat;
	expect_shape(g, n, 0, NULL);
	n = (struct kerf_node){
		.op = KERF_OP_PAD, .n_inputs = 1, .inputs = {x}, .pads = {1, 2, 3, 4}};
	expect_shape(g, n, 4, DIMS(1, 5, 11, 12));
	n.pads[0] = -1;
	expect_shape(g, n, 0, NULL);
	kerf_graph_free(g);
}

static void test_dense_shapes(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	int x = add(g, 2, DIMS(2, 6)), w = add(g, 2, DIMS(10, 6)), b = add(g, 1, DIMS(10));
	int image = add(g, 4, DIMS(2, 6, 3, 3)), c = add(g, 1, DIMS(6)), wrong = add(g, 1, DIMS(7));
	struct kerf_node n = {.op = KERF_OP_GEMM, .n_inputs = 3, .inputs = {x, w, b}};

	expect_shape(g, n, 2, DIMS(2, 10));
	n.n_inputs = 2;
	expect_shape(g, n, 2, DIMS(2, 10));
	n.inputs[0] = w;
	expect_shape(g, n, 2, DIMS(10, 10));
	n.inputs[0] = image;
	expect_shape(g, n, 0, NULL);
	n.inputs[0] = KERF_NONE;
	expect_shape(g, n, 0, NULL);
	n = (struct kerf_node){
		.op = KERF_OP_BATCHNORM, .n_inputs = 5, .inputs = {image, c, c, c, c}};
	expect_shape(g, n, 4, DIMS(2, 6, 3, 3));
	n.inputs[4] = wrong;
	expect_shape(g, n, 0, NULL);
	n.inputs[4] = c;
	n.n_inputs = 4;
	expect_shape(g, n, 0, NULL);
	kerf_graph_free(g);
}

static void test_elementwise_shapes(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	int x = add(g, 4, DIMS(2, 6, 3, 5)), gate = add(g, 4, DIMS(2, 6, 1, 1));
	int channels = add(g, 3, DIMS(6, 1, 1)), scalar = add(g, 0, NULL),
	    last = add(g, 1, DIMS(5));
	int wrong = add(g, 1, DIMS(6)), deep = add(g, 5, DIMS(1, 2, 6, 3, 5));
	const int fits[] = {x, gate, channels, scalar, last}, fails[] = {wrong, add(g, 4, DIMS(3, 6, 3, 5))};
	struct kerf_node n = {.op = KERF_OP_MUL, .n_inputs = 2, .inputs = {x}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(fits); i++) {
		n.inputs[1] = fits[i];
		expect_shape(g, n, 4, DIMS(2, 6, 3, 5));
	}
	n.op = KERF_OP_ADD;
	for (size_t i = 0; i < KERF_ARRAY_LEN(fails); i++) {
		n.inputs[1] = fails[i];
		expect_shape(g, n, 0, NULL);
	}
	n.inputs[0] = gate; /* either operand stretches, or both */
	n.inputs[1] = x;
	expect_shape(g, n, 4, DIMS(2, 6, 3, 5));
	n.inputs[1] = add(g, 4, DIMS(1, 1, 3, 5));
	expect_shape(g, n, 4, DIMS(2, 6, 3, 5));
	n.inputs[0] = deep;
	expect_shape(g, n, 5, DIMS(1, 2, 6, 3, 5));
	n = (struct kerf_node){.op = KERF_OP_ACT, .n_inputs = 1, .inputs = {x}};
	expect_shape(g, n, 4, DIMS(2, 6, 3, 5));
	kerf_graph_free(g);
}

static void test_moving_shapes(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	int a = add(g, 4, DIMS(2, 6, 3, 5)), b = add(g, 4, DIMS(2, 1, 3, 5));
	struct kerf_node n = {.op = KERF_OP_CONCAT, .n_inputs = 3, .inputs = {a, b, a}, .axis = 1};

	expect_shape(g, n, 4, DIMS(2, 13, 3, 5));
	n.axis = 2;
	expect_shape(g, n, 0, NULL);
	n.axis = 4;
	expect_shape(g, n, 0, NULL);
	n.axis = -1;
	expect_shape(g, n, 0, NULL);
	n = (struct kerf_node){.op = KERF_OP_SOFTMAX, .n_inputs = 1, .inputs = {a}, .axis = 3};
	expect_shape(g, n, 4, DIMS(2, 6, 3, 5));
	n.axis = 4;
	expect_shape(g, n, 0, NULL);
	n = (struct kerf_node){
		.op = KERF_OP_TRANSPOSE, .n_inputs = 1, .inputs = {a}, .perm = {0, 2, 3, 1}};
	expect_shape(g, n, 4, DIMS(2, 3, 5, 6));
	n.perm[1] = 0;
	expect_shape(g, n, 0, NULL);
	n.perm[1] = 40;
	expect_shape(g, n, 0, NULL);
	kerf_graph_free(g);
}

static void test_op_names(void)
{
	for (int i = 0; i < KERF_OP_COUNT; i++)
		for (int j = 0; j <= i; j++) {
			const char *a = kerf_op_name((enum kerf_op)i);
			CU_ASSERT_EQUAL(strcmp(a, kerf_op_name((enum kerf_op)j)) == 0, i == j);
		}
}

static void test_integers_are_refused(void)
{
	struct kerf_graph *g = kerf_graph_create("net");
	struct kerf_node n = {.op = KERF_OP_ACT, .n_inputs = 1};

	kerf_graph_add_tensor(g, "ints", KERF_I64, 1, DIMS(4));
	expect_shape(g, n, 0, NULL);
	kerf_graph_free(g);
}

UNIT_MAIN("graph", UNIT(test_tensors), UNIT(test_add_node), UNIT(test_many_nodes),
	UNIT(test_reshape), UNIT(test_conv_shapes), UNIT(test_pool_shapes), UNIT(test_dense_shapes),
	UNIT(test_elementwise_shapes), UNIT(test_moving_shapes), UNIT(test_op_names),
	UNIT(test_integers_are_refused))
