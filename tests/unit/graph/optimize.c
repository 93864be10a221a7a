#include "reference.h"
#include "sketch.h"
#include "unit.h"

#define TOLERANCE 1e-4 /* relative to the largest output: float sums in another order */

static const struct kerf_act sigmoid = {KERF_ACT_SIGMOID, 0, 0};
static const struct kerf_act hard_sigmoid = {KERF_ACT_HARD_SIGMOID, 1.0f / 6, 0.5f};

/* The graph's output for seeded noise; the caller frees it. */
static float *evaluate(const struct kerf_graph *g)
{
	struct kerf_rng rng = {.seed = 99};
	int64_t n = kerf_tensor_elements(&g->tensors[g->input]);
	float *x = malloc((size_t)n * sizeof(*x));

	for (int64_t i = 0; i < n; i++)
		x[i] = (float)(4 * kerf_rng_uniform(&rng) - 2);
	float **v = reference_run(g, x);
	size_t bytes = kerf_tensor_bytes(&g->tensors[g->output]);
	float *y = malloc(bytes);
	memcpy(y, v[g->output], bytes);
	reference_free(g, v);
	free(x);
	return y;
}

/* What graph.h promises of any graph, and that nothing unused is left. */
static void check_invariants(const struct kerf_graph *g)
{
	int *reads = calloc((size_t)g->n_tensors, sizeof(*reads));

	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		for (int j = -1; j < n->n_inputs; j++) {
			int id = j < 0 ? n->residual : n->inputs[j];
			if (id < 0)
				continue;
			CU_ASSERT_FATAL(id < g->n_tensors);
			CU_ASSERT_TRUE(g->tensors[id].data || g->tensors[id].producer < i);
			CU_ASSERT_TRUE(g->tensors[id].data || id == g->input ||
				g->tensors[id].producer >= 0);
			reads[id]++;
		}
		CU_ASSERT_EQUAL(g->tensors[n->output].producer, i);
		CU_ASSERT_PTR_NULL(g->tensors[n->output].data);
		if (n->residual >= 0) {
			CU_ASSERT_NOT_EQUAL(n->residual, n->inputs[0]);
			CU_ASSERT_PTR_NULL(g->tensors[n->residual].data);
		}
		for (int k = 0; k < i; k++)
			CU_ASSERT_STRING_NOT_EQUAL(g->nodes[k].name, n->name);
	}
	for (int t = 0; t < g->n_tensors; t++)
		CU_ASSERT_TRUE(reads[t] > 0 || t == g->input || t == g->output);
	free(reads);
}

/* Optimises, and checks that the same comes out and that once is enough. Returns the nodes left. */
static int optimise(struct kerf_graph *g)
{
	struct kerf_err err = {0};
	int64_t n = kerf_tensor_elements(&g->tensors[g->output]);
	float *before = evaluate(g);
	double worst = 0, largest = 0;

	CU_ASSERT_EQUAL_FATAL(kerf_graph_optimize(g, &err), 0);
	check_invariants(g);
	float *after = evaluate(g);
	CU_ASSERT_EQUAL_FATAL(kerf_tensor_elements(&g->tensors[g->output]), n);
	for (int64_t i = 0; i < n; i++) {
		worst = fmax(worst, fabs((double)before[i] - after[i]));
		largest = fmax(largest, fabs(before[i]));
		CU_ASSERT_TRUE(isfinite(after[i]));
	}
	if (!(worst <= TOLERANCE * largest))
		fprintf(stderr, "outputs up to %g differ by %g\n", largest, worst);
	CU_ASSERT_TRUE(worst <= TOLERANCE * largest);
	int nodes = g->n_nodes;
	CU_ASSERT_EQUAL(kerf_graph_optimize(g, &err), 0);
	CU_ASSERT_EQUAL(g->n_nodes, nodes);
	free(before);
	free(after);
	return nodes;
}

static void test_conv_bn_relu_is_one_node(void)
{
	struct sketch s = sketch_begin(2, 3, 6, 5);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 3);
	x = sketch_batchnorm(&s, "bn", x);
	s.g->output = sketch_relu(&s, "relu", x);

	CU_ASSERT_EQUAL_FATAL(optimise(s.g), 1);
	const struct kerf_node *n = &s.g->nodes[0];
	CU_ASSERT_STRING_EQUAL(n->name, "conv");
	CU_ASSERT_EQUAL(n->act.kind, KERF_ACT_RELU);
	CU_ASSERT_EQUAL(n->residual, KERF_NONE);
	CU_ASSERT_EQUAL(n->n_inputs, 3);
	CU_ASSERT_EQUAL(s.g->tensors[n->inputs[2]].dims[0], 4);
	kerf_graph_free(s.g);
}

/* The convolution's own result is read elsewhere: folding would change it. */
static void test_bn_is_kept_when_conv_is_shared(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	int x = sketch_conv(&s, "conv", s.g->input, 3, 3);
	int y = sketch_batchnorm(&s, "bn", x);
	s.g->output = sketch_mul(&s, "mul", x, y);

	CU_ASSERT_EQUAL(optimise(s.g), 3);
	kerf_graph_free(s.g);
}

static void test_lone_bn_is_kept(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	int x = sketch_batchnorm(&s, "bn", s.g->input);
	s.g->output = sketch_relu(&s, "relu", x);

	CU_ASSERT_EQUAL(optimise(s.g), 1);
	CU_ASSERT_EQUAL(s.g->nodes[0].op, KERF_OP_BATCHNORM);
	CU_ASSERT_EQUAL(s.g->nodes[0].act.kind, KERF_ACT_RELU);
	kerf_graph_free(s.g);
}

/* Two convolutions with the same weights, a BatchNorm behind one: the other keeps its weights. */
static void test_shared_weights_are_copied(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	int w = sketch_constant(&s, 4, (int64_t[]){3, 3, 3, 3}, 0, 0.5f);
	int a = sketch_conv_with(&s, "a", s.g->input, w, 1);
	int b = sketch_batchnorm(&s, "bn", sketch_conv_with(&s, "b", s.g->input, w, 1));
	s.g->output = sketch_concat(&s, "join", a, b);

	CU_ASSERT_EQUAL(optimise(s.g), 3);
	CU_ASSERT_NOT_EQUAL(sketch_find(s.g, "a")->inputs[1], sketch_find(s.g, "b")->inputs[1]);
	kerf_graph_free(s.g);
}

/* MatMul + Add + scale, as exporters write a dense layer. */
static void test_gemm_takes_bias_and_scale(void)
{
	struct sketch s = sketch_begin(2, 3, 2, 2);
	int x = sketch_reshape(&s, "flat", s.g->input, 2, (int64_t[]){2, 12});
	int w = sketch_constant(&s, 2, (int64_t[]){5, 12}, 0, 1);
	x = sketch_node(&s, "gemm", (struct kerf_node){.op = KERF_OP_GEMM}, x, w);
	x = sketch_add(&s, "bias", x, sketch_constant(&s, 1, (int64_t[]){5}, 0, 1));
	x = sketch_mul(&s, "scale", x, sketch_constant(&s, 2, (int64_t[]){1, 1}, 2, 0));
	s.g->output = sketch_act(&s, "act", x, sigmoid);

	CU_ASSERT_EQUAL(optimise(s.g), 2);
	CU_ASSERT_EQUAL(sketch_find(s.g, "gemm")->act.kind, KERF_ACT_SIGMOID);
	kerf_graph_free(s.g);
}

/* [1,C,1,1] and [C,1,1] are one value a channel; [1,1,1,W] is not, although W == C. */
static void test_per_channel_constants(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 1);
	x = sketch_mul(&s, "scale", x, sketch_constant(&s, 4, (int64_t[]){1, 4, 1, 1}, 1, 0.5f));
	x = sketch_add(&s, "shift", x, sketch_constant(&s, 3, (int64_t[]){4, 1, 1}, 0, 1));
	s.g->output =
		sketch_add(&s, "column", x, sketch_constant(&s, 4, (int64_t[]){1, 1, 1, 4}, 0, 1));

	CU_ASSERT_EQUAL(optimise(s.g), 2);
	CU_ASSERT_PTR_NOT_NULL(sketch_find(s.g, "column"));
	kerf_graph_free(s.g);
}

/* relu(conv + shortcut), as in ResNet: the sum goes to the later operand. */
static void test_residual_sum(void)
{
	struct sketch s = sketch_begin(1, 4, 6, 6);
	int in = sketch_conv(&s, "stem", s.g->input, 4, 1);
	int x = sketch_relu(&s, "relu1", sketch_conv(&s, "conv1", in, 8, 3));
	x = sketch_batchnorm(&s, "bn2", sketch_conv(&s, "conv2", x, 6, 1));
	int shortcut = sketch_batchnorm(&s, "bn3", sketch_conv(&s, "conv3", in, 6, 1));
	s.g->output = sketch_relu(&s, "relu", sketch_add(&s, "sum", x, shortcut));

	CU_ASSERT_EQUAL(optimise(s.g), 4);
	const struct kerf_node *last = sketch_find(s.g, "conv3");
	CU_ASSERT_PTR_NOT_NULL_FATAL(last);
	CU_ASSERT_EQUAL(last->residual, sketch_find(s.g, "conv2")->output);
	CU_ASSERT_EQUAL(last->act.kind, KERF_ACT_RELU);
	CU_ASSERT_EQUAL(last->output, s.g->output);
	kerf_graph_free(s.g);
}

/* An activation before the sum is not one behind it. */
static void test_no_sum_behind_activation(void)
{
	struct sketch s = sketch_begin(1, 4, 6, 6);
	int in = sketch_relu(&s, "stem", s.g->input);
	int x = sketch_relu(&s, "relu", sketch_conv(&s, "conv", in, 4, 3));
	s.g->output = sketch_relu(&s, "end", sketch_add(&s, "sum", x, in));

	CU_ASSERT_EQUAL(optimise(s.g), 3);
	CU_ASSERT_EQUAL(sketch_find(s.g, "conv")->residual, KERF_NONE);
	CU_ASSERT_EQUAL(sketch_find(s.g, "sum")->act.kind, KERF_ACT_RELU);
	kerf_graph_free(s.g);
}

/* x + conv(x): summing in place would overwrite what the convolution still reads. */
static void test_own_input_is_no_residual(void)
{
	struct sketch s = sketch_begin(1, 4, 6, 6);
	int x = sketch_relu(&s, "stem", s.g->input);
	s.g->output = sketch_add(&s, "sum", x, sketch_conv(&s, "conv", x, 4, 3));

	CU_ASSERT_EQUAL(optimise(s.g), 3);
	CU_ASSERT_EQUAL(sketch_find(s.g, "conv")->residual, KERF_NONE);
	kerf_graph_free(s.g);
}

/* An in-place sum would destroy a constant, which the next frame needs. */
static void test_constant_is_no_residual(void)
{
	struct sketch s = sketch_begin(1, 4, 6, 6);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 3);
	int map = sketch_constant(&s, 4, (int64_t[]){1, 4, 6, 6}, 0, 1);
	s.g->output = sketch_add(&s, "sum", x, map);

	CU_ASSERT_EQUAL(optimise(s.g), 2);
	CU_ASSERT_EQUAL(sketch_find(s.g, "conv")->residual, KERF_NONE);
	kerf_graph_free(s.g);
}

/* A sum whose operand stretches, or whose convolution is read twice, stays a node. */
static void test_sums_that_stay(void)
{
	struct sketch s = sketch_begin(1, 4, 6, 6);
	int a = sketch_conv(&s, "a", s.g->input, 4, 3);
	int gate = sketch_conv(&s, "gate", sketch_average(&s, "average", a), 4, 1);
	int x = sketch_add(&s, "stretch", a, gate);
	int b = sketch_conv(&s, "b", x, 4, 1);
	int c = sketch_conv(&s, "c", sketch_relu(&s, "relu", b), 4, 1);
	x = sketch_add(&s, "twice", b, c);
	s.g->output = sketch_mul(&s, "mul", x, c);

	CU_ASSERT_EQUAL(optimise(s.g), 9);
	kerf_graph_free(s.g);
}

static void test_silu_and_hard_swish(void)
{
	static const struct {
		struct kerf_act gate;
		enum kerf_act_kind found;
	} cases[] = {
		{{KERF_ACT_SIGMOID, 0, 0}, KERF_ACT_SILU},
		{{KERF_ACT_HARD_SIGMOID, 1.0f / 6, 0.5f}, KERF_ACT_HARD_SWISH},
		{{KERF_ACT_HARD_SIGMOID, 0.166667f, 0.5f}, KERF_ACT_HARD_SWISH},
		{{KERF_ACT_HARD_SIGMOID, 0.2f, 0.5f}, KERF_ACT_NONE},
		{{KERF_ACT_TANH, 0, 0}, KERF_ACT_NONE},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases) * 2; i++) {
		struct sketch s = sketch_begin(1, 3, 4, 4);
		int x = sketch_conv(&s, "conv", s.g->input, 4, 1);
		int gate = sketch_act(&s, "gate", x, cases[i / 2].gate);
		s.g->output = sketch_mul(&s, "mul", i % 2 ? gate : x, i % 2 ? x : gate);
		enum kerf_act_kind found = cases[i / 2].found;
		CU_ASSERT_EQUAL(optimise(s.g), found == KERF_ACT_NONE ? 3 : 1);
		CU_ASSERT_EQUAL(s.g->nodes[0].act.kind, found);
		kerf_graph_free(s.g);
	}
}

static int sketch_number(struct sketch *s, float value)
{
	return sketch_constant(s, 0, NULL, value, 0);
}

/* As exporters without a word for them write hard-swish and GELU; with another number it is something else. */
static void test_hard_swish_and_gelu_in_pieces(void)
{
	static const struct {
		bool gelu;
		float inside, last;
		enum kerf_act_kind found;
	} cases[] = {
		{false, 3, 1.0f / 6, KERF_ACT_HARD_SWISH},
		{false, 3, 0.2f, KERF_ACT_NONE},
		{false, 2, 1.0f / 6, KERF_ACT_NONE},
		{true, 0.70710678f, 0.5f, KERF_ACT_GELU},
		{true, 0.70710678f, 1, KERF_ACT_NONE},
		{true, 0.5f, 0.5f, KERF_ACT_NONE},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases) * 2; i++) {
		struct sketch s = sketch_begin(1, 3, 4, 4);
		int x = sketch_conv(&s, "conv", s.g->input, 4, 1), gate;

		if (cases[i / 2].gelu) {
			gate = sketch_mul(&s, "inside", x, sketch_number(&s, cases[i / 2].inside));
			gate = sketch_act(&s, "erf", gate, (struct kerf_act){.kind = KERF_ACT_ERF});
			gate = sketch_add(&s, "gate", gate, sketch_number(&s, 1));
		} else {
			gate = sketch_add(&s, "inside", x, sketch_number(&s, cases[i / 2].inside));
			gate = sketch_act(&s, "gate", gate, (struct kerf_act){KERF_ACT_CLIP, 0, 6});
		}
		x = sketch_mul(&s, "product", i % 2 ? gate : x, i % 2 ? x : gate);
		s.g->output = sketch_mul(&s, "last", x, sketch_number(&s, cases[i / 2].last));
		const int nodes = optimise(s.g);
		CU_ASSERT_EQUAL(nodes == 1, cases[i / 2].found != KERF_ACT_NONE);
		CU_ASSERT_EQUAL(s.g->nodes[0].act.kind, cases[i / 2].found);
		kerf_graph_free(s.g);
	}
}

/* The gate of another tensor is no SiLU: squeeze-excite looks just like it. */
static void test_squeeze_excite_stays(void)
{
	struct sketch s = sketch_begin(2, 3, 4, 4);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 1);
	int gate = sketch_conv(&s, "excite", sketch_average(&s, "squeeze", x), 4, 1);
	gate = sketch_act(&s, "gate", gate, hard_sigmoid);
	s.g->output = sketch_relu(&s, "relu", sketch_mul(&s, "scale", x, gate));

	CU_ASSERT_EQUAL(optimise(s.g), 4);
	CU_ASSERT_EQUAL(sketch_find(s.g, "excite")->act.kind, KERF_ACT_HARD_SIGMOID);
	CU_ASSERT_EQUAL(sketch_find(s.g, "scale")->act.kind, KERF_ACT_RELU);
	kerf_graph_free(s.g);
}

/* Even of the same shape: x * sigmoid(y). */
static void test_gate_of_another_tensor_stays(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int x = sketch_conv(&s, "x", s.g->input, 4, 1);
	s.g->output = sketch_mul(&s, "mul", x, sketch_act(&s, "gate", s.g->input, sigmoid));

	CU_ASSERT_EQUAL(optimise(s.g), 3);
	CU_ASSERT_EQUAL(sketch_find(s.g, "mul")->op, KERF_OP_MUL);
	kerf_graph_free(s.g);
}

/* The gate is read elsewhere too: SiLU and the sigmoid are both computed. */
static void test_silu_with_shared_gate(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 1);
	int gate = sketch_act(&s, "gate", x, sigmoid);
	s.g->output = sketch_concat(&s, "join", sketch_mul(&s, "mul", x, gate), gate);

	CU_ASSERT_EQUAL(optimise(s.g), 4);
	CU_ASSERT_EQUAL(sketch_find(s.g, "mul")->act.kind, KERF_ACT_SILU);
	kerf_graph_free(s.g);
}

static void test_two_activations(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	int x = sketch_relu(&s, "first", sketch_conv(&s, "conv", s.g->input, 4, 1));
	s.g->output = sketch_act(&s, "second", x, (struct kerf_act){KERF_ACT_TANH, 0, 0});

	CU_ASSERT_EQUAL(optimise(s.g), 2);
	kerf_graph_free(s.g);
}

/* An activation does not go into a node whose plain output is the network's. */
static void test_output_is_a_reader(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	s.g->output = sketch_conv(&s, "conv", s.g->input, 4, 1);
	sketch_relu(&s, "relu", s.g->output);

	CU_ASSERT_EQUAL(optimise(s.g), 1);
	CU_ASSERT_EQUAL(s.g->nodes[0].act.kind, KERF_ACT_NONE);
	kerf_graph_free(s.g);
}

static void test_pad_becomes_conv_pads(void)
{
	struct sketch s = sketch_begin(1, 3, 5, 7);
	int x = sketch_pad(&s, "pad", s.g->input, (int[]){0, 1, 2, 3});
	s.g->output = sketch_conv(&s, "conv", x, 4, 3);

	CU_ASSERT_EQUAL(optimise(s.g), 1);
	static const int pads[4] = {1, 2, 3, 4};
	for (int i = 0; i < 4; i++)
		CU_ASSERT_EQUAL(s.g->nodes[0].pads[i], pads[i]);
	kerf_graph_free(s.g);
}

/* Rows from far outside are left out, columns that reach the last two places stay. */
static void test_taps_that_see_pads_are_cropped(void)
{
	struct sketch s = sketch_begin(2, 3, 5, 7);
	struct kerf_node conv = {.op = KERF_OP_CONV, .dilations = {6, 5}, .pads = {6, 5, 6, 5}};
	int w = sketch_constant(&s, 4, (int64_t[]){4, 3, 3, 3}, 0, 0.5f);
	int x = sketch_node(&s, "far", conv, s.g->input, w);

	conv.pads[0] = 3; /* the first row of the window stays: its pads would become negative */
	conv.pads[2] = 8;
	w = sketch_constant(&s, 4, (int64_t[]){2, 4, 3, 3}, 0, 0.5f);
	s.g->output = sketch_node(&s, "uneven", conv, x, w);
	CU_ASSERT_EQUAL(optimise(s.g), 2);
	const struct kerf_node *n = &s.g->nodes[0];
	CU_ASSERT(n->kernel[0] == 1 && n->kernel[1] == 3);
	CU_ASSERT(n->pads[0] == 0 && n->pads[2] == 0 && n->pads[1] == 5 && n->pads[3] == 5);
	CU_ASSERT_EQUAL(s.g->tensors[n->inputs[1]].dims[2], 1);
	n = &s.g->nodes[1];
	CU_ASSERT(n->kernel[0] == 2 && n->kernel[1] == 3 && n->pads[0] == 3 && n->pads[2] == 2);
	kerf_graph_free(s.g);
}

/* Two groups of three channels; one half goes on backwards, the other as it is. */
static void test_channel_shuffle_is_a_gather(void)
{
	struct sketch s = sketch_begin(2, 6, 3, 4);
	struct kerf_node half = {.op = KERF_OP_SLICE, .steps = {1, 1, 1, 1}, .counts = {2, 3, 3, 4}};
	int x = sketch_reshape(&s, "split", s.g->input, 5, (int64_t[]){2, 2, 3, 3, 4});
	x = sketch_transpose(&s, "swap", x, (int[]){0, 2, 1, 3, 4});
	x = sketch_reshape(&s, "back", x, 4, (int64_t[]){2, 6, 3, 4});
	int first = sketch_node(&s, "first", half, x, -1);
	half.starts[1] = 5;
	half.steps[1] = -1;
	s.g->output = sketch_add(&s, "sum", first, sketch_node(&s, "second", half, x, -1));
	CU_ASSERT_EQUAL(optimise(s.g), 3);
	CU_ASSERT(s.g->nodes[0].op == KERF_OP_GATHER && s.g->nodes[1].op == KERF_OP_GATHER);
	kerf_graph_free(s.g);

	/* Another order of the five dimensions is no shuffle. */
	s = sketch_begin(2, 6, 3, 4);
	x = sketch_reshape(&s, "split", s.g->input, 5, (int64_t[]){2, 3, 2, 3, 4});
	x = sketch_transpose(&s, "swap", x, (int[]){0, 2, 1, 4, 3});
	s.g->output = sketch_reshape(&s, "back", x, 4, (int64_t[]){2, 6, 3, 4});
	CU_ASSERT_EQUAL(optimise(s.g), 3);
	kerf_graph_free(s.g);
}

/* The constant's way into the weights: reshape, transpose, scale, shift. */
static void test_constants_are_folded(void)
{
	struct sketch s = sketch_begin(1, 3, 4, 4);
	int w = sketch_constant(&s, 2, (int64_t[]){6, 6}, 0, 1);
	w = sketch_reshape(&s, "w1", w, 4, (int64_t[]){2, 3, 1, 6});
	w = sketch_transpose(&s, "w2", w, (int[]){3, 1, 0, 2});
	w = sketch_mul(&s, "w3", w, sketch_constant(&s, 3, (int64_t[]){3, 1, 1}, 1, 0.5f));
	w = sketch_add(&s, "w4", w, sketch_constant(&s, 0, NULL, 0.25f, 0));
	struct kerf_node conv = {.op = KERF_OP_CONV};
	s.g->output = sketch_node(&s, "conv", conv, s.g->input, w);

	CU_ASSERT_EQUAL(optimise(s.g), 1);
	CU_ASSERT_EQUAL(s.g->n_tensors, 3);
	kerf_graph_free(s.g);
}

static void test_identities_are_removed(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 1);
	x = sketch_reshape(&s, "same", x, 4, (int64_t[]){1, 4, 4, 4});
	x = sketch_transpose(&s, "there", x, (int[]){0, 2, 3, 1});
	x = sketch_transpose(&s, "back", x, (int[]){0, 3, 1, 2});
	x = sketch_maxpool(&s, "pool", x, 1, 1);
	x = sketch_pad(&s, "pad", x, (int[]){0, 0, 0, 0});
	x = sketch_add(&s, "zero", x, sketch_constant(&s, 1, (int64_t[]){4}, 0, 0));
	x = sketch_mul(&s, "one", x, sketch_constant(&s, 1, (int64_t[]){1}, 1, 0));
	x = sketch_reshape(&s, "rows", x, 3, (int64_t[]){1, 4, 16});
	x = sketch_reshape(&s, "flat", x, 2, (int64_t[]){1, 64});
	s.g->output = sketch_relu(&s, "relu", x);

	CU_ASSERT_EQUAL(optimise(s.g), 3);
	CU_ASSERT_EQUAL(sketch_find(s.g, "flat")->inputs[0], sketch_find(s.g, "conv")->output);
	kerf_graph_free(s.g);
}

/* Two permutations that do not commute become the right one. */
static void test_transposes_merge_in_order(void)
{
	struct sketch s = sketch_begin(2, 3, 4, 5);
	int x = sketch_transpose(&s, "t1", s.g->input, (int[]){1, 0, 2, 3});
	x = sketch_transpose(&s, "t2", x, (int[]){0, 3, 1, 2});
	s.g->output = sketch_relu(&s, "relu", x);
	static const int perm[4] = {1, 3, 0, 2};

	CU_ASSERT_EQUAL(optimise(s.g), 2);
	for (int d = 0; d < 4; d++)
		CU_ASSERT_EQUAL(sketch_find(s.g, "t2")->perm[d], perm[d]);
	kerf_graph_free(s.g);
}

/* An identity of the input goes too, where something else follows. */
static void test_identity_at_the_start(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int x = sketch_maxpool(&s, "pool", s.g->input, 1, 1);
	s.g->output = sketch_conv(&s, "conv", x, 4, 1);

	CU_ASSERT_EQUAL(optimise(s.g), 1);
	CU_ASSERT_EQUAL(s.g->nodes[0].inputs[0], s.g->input);
	kerf_graph_free(s.g);
}

/* A strided 1x1 window, a padded 3x3 one and a transpose that moves data are no identities. */
static void test_near_identities_stay(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	struct kerf_node padded = {
		.op = KERF_OP_MAXPOOL, .kernel = {3, 3}, .pads = {1, 1, 1, 1}};
	int x = sketch_maxpool(&s, "stride", s.g->input, 1, 2);
	x = sketch_node(&s, "padded", padded, x, -1);
	x = sketch_transpose(&s, "move", x, (int[]){0, 2, 3, 1});
	s.g->output = sketch_relu(&s, "relu", x);

	CU_ASSERT_EQUAL(optimise(s.g), 4);
	kerf_graph_free(s.g);
}

/* [1,C,1,1] -> [1,1,1,C] moves nothing: it merges with the reshape behind it. */
static void test_transpose_of_vector_is_reshape(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int x = sketch_average(&s, "average", s.g->input);
	x = sketch_transpose(&s, "nhwc", x, (int[]){0, 2, 3, 1});
	s.g->output = sketch_reshape(&s, "flat", x, 2, (int64_t[]){1, 4});

	CU_ASSERT_EQUAL(optimise(s.g), 2);
	kerf_graph_free(s.g);
}

static void test_identity_at_the_end(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 1);
	s.g->output = sketch_maxpool(&s, "pool", x, 1, 1);
	CU_ASSERT_EQUAL(optimise(s.g), 1);
	kerf_graph_free(s.g);

	s = sketch_begin(1, 4, 4, 4);
	s.g->output = sketch_maxpool(&s, "only", s.g->input, 1, 1);
	CU_ASSERT_EQUAL(optimise(s.g), 1);
	kerf_graph_free(s.g);
}

static void test_dead_nodes_go(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int x = sketch_conv(&s, "conv", s.g->input, 4, 1);
	int dead = sketch_conv(&s, "dead", x, 4, 1);
	sketch_relu(&s, "dead2", dead);
	s.g->output = sketch_relu(&s, "relu", sketch_conv(&s, "last", x, 2, 1));

	CU_ASSERT_EQUAL(optimise(s.g), 2);
	CU_ASSERT_EQUAL(s.g->n_tensors, 5);
	kerf_graph_free(s.g);
}

static int join_all(struct sketch *s, const char *name, int axis, int n, const int *x)
{
	struct kerf_node join = {.op = KERF_OP_CONCAT, .n_inputs = n, .axis = axis};

	memcpy(join.inputs, x, (size_t)n * sizeof(*x));
	return sketch_node(s, name, join, x[0], -1);
}

/* As in a dense block: each takes the one before it and what is new, in the order of the file. */
static void test_concats_are_chained(void)
{
	struct sketch s = sketch_begin(1, 4, 3, 4);
	int x[4] = {s.g->input}, y = s.g->input;
	static const char *const convs[] = {"", "conv1", "conv2", "conv3"}, *const joins[] = {"", "join1", "join2", "join3"};

	for (int i = 1; i < 4; i++) {
		x[i] = sketch_conv(&s, convs[i], sketch_relu(&s, joins[i] + 4, y), 3, 1);
		y = join_all(&s, joins[i], 1, i + 1, x);
	}
	s.g->output = sketch_relu(&s, "last", y);
	CU_ASSERT_EQUAL(optimise(s.g), 10);
	for (int i = 2; i < 4; i++) {
		const struct kerf_node *n = sketch_find(s.g, joins[i]);

		CU_ASSERT_EQUAL(n->n_inputs, 2);
		CU_ASSERT_EQUAL(n->inputs[0], sketch_find(s.g, joins[i - 1])->output);
		CU_ASSERT_EQUAL(n->inputs[1], sketch_find(s.g, convs[i])->output);
	}
	kerf_graph_free(s.g);
}

/* The same tensors in another order, along another axis, or one of them only. */
static void test_concats_of_other_tensors_stay(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int a = sketch_conv(&s, "a", s.g->input, 4, 1), b = sketch_conv(&s, "b", s.g->input, 4, 1);
	int ab = join_all(&s, "ab", 1, 2, (int[]){a, b}), aba = join_all(&s, "down", 2, 3, (int[]){a, b, a});
	int bab = join_all(&s, "bab", 1, 3, (int[]){b, a, b}), aab = join_all(&s, "aab", 1, 3, (int[]){a, a, b});
	int parts[] = {sketch_conv(&s, "c", ab, 2, 1), sketch_conv(&s, "d", bab, 2, 1), sketch_conv(&s, "e", aab, 2, 1)};

	parts[0] = join_all(&s, "all", 1, 3, parts);
	parts[1] = sketch_average(&s, "mean", aba);
	s.g->output = sketch_concat(&s, "end", sketch_average(&s, "mean2", parts[0]), parts[1]);
	CU_ASSERT_EQUAL(optimise(s.g), 13);
	CU_ASSERT_EQUAL(sketch_find(s.g, "bab")->n_inputs, 3);
	CU_ASSERT_EQUAL(sketch_find(s.g, "aab")->n_inputs, 3);
	CU_ASSERT_EQUAL(sketch_find(s.g, "down")->n_inputs, 3);
	kerf_graph_free(s.g);
}

/* ---- random graphs ---- */

static uint32_t pick(struct sketch *s, uint32_t n)
{
	return kerf_rng_u32(&s->rng) % n;
}

static int add_random_node(struct sketch *s, const char *name, int x, int other)
{
	static const enum kerf_act_kind gates[] = {KERF_ACT_SIGMOID, KERF_ACT_HARD_SIGMOID};
	const int64_t dims[4] = {s->g->tensors[x].dims[0], s->g->tensors[x].dims[1],
		s->g->tensors[x].dims[2], s->g->tensors[x].dims[3]};
	int64_t c = dims[1];
	char extra[32];
	int y;

	snprintf(extra, sizeof(extra), "%s/first", name);
	switch (pick(s, 18)) {
	case 0: return sketch_conv(s, name, x, (int)c, 3);
	case 1: return sketch_conv(s, name, x, 1 + (int)pick(s, 6), 1);
	case 2:
		return sketch_conv_with(s, name, x,
			sketch_constant(s, 4, (int64_t[]){c, 1, 3, 3}, 0, 0.5f), (int)c);
	case 3:
	case 4: return sketch_batchnorm(s, name, x);
	case 5:
	case 6: return sketch_relu(s, name, x);
	case 7:
		y = sketch_act(s, extra, x,
			(struct kerf_act){gates[pick(s, 2)], 1.0f / 6, 0.5f});
		return sketch_mul(s, name, x, y);
	case 8: return sketch_act(s, name, x, (struct kerf_act){KERF_ACT_CLIP, -1, 2});
	case 9:
	case 10:
	case 11:
		if (memcmp(dims, s->g->tensors[other].dims, sizeof(dims)) != 0)
			return sketch_conv(s, name, x, (int)c, 1);
		return sketch_add(s, name, x, other);
	case 12:
		return sketch_mul(s, name, x,
			sketch_constant(s, 3, (int64_t[]){c, 1, 1}, 1, 0.5f));
	case 13: return sketch_mul(s, name, x, sketch_average(s, extra, x));
	case 14:
		y = sketch_reshape(s, extra, x, 3, (int64_t[]){dims[0], c, dims[2] * dims[3]});
		return sketch_reshape(s, name, y, 4, dims);
	case 15:
		y = sketch_transpose(s, extra, x, (int[]){0, 2, 3, 1});
		return sketch_transpose(s, name, y, (int[]){0, 3, 1, 2});
	case 16:
		y = sketch_pad(s, extra, x, (int[]){0, 1, 1, 0});
		return sketch_conv(s, name, y, (int)c, 3);
	default: return sketch_concat(s, name, x, x);
	}
}

static struct kerf_graph *random_graph(uint64_t seed)
{
	struct sketch s = sketch_begin(1 + (int64_t)(seed % 2), 4, 5, 6);
	char name[16];
	int made[32] = {s.g->input}, n = 1;

	s.rng.seed = seed;
	for (uint32_t nodes = 4 + pick(&s, 20); nodes > 0; nodes--, n++) {
		int x = made[n - 1 - (int)pick(&s, (uint32_t)KERF_MIN(n, 3))];
		int other = made[pick(&s, (uint32_t)n)];
		snprintf(name, sizeof(name), "n%d", n);
		if (sketch_channels(&s, x) > 16)
			made[n] = sketch_conv(&s, name, x, 4, 1);
		else
			made[n] = add_random_node(&s, name, x, other);
	}
	int head = sketch_conv(&s, "head", sketch_average(&s, "average", made[n - 1]), 7, 1);
	struct kerf_node softmax = {.op = KERF_OP_SOFTMAX, .axis = 1};
	s.g->output = sketch_node(&s, "softmax", softmax, head, -1);
	return s.g;
}

static void test_random_graphs_compute_the_same(void)
{
	int shrunk = 0, residuals = 0;

	for (uint64_t seed = 1; seed <= 400; seed++) {
		struct kerf_graph *g = random_graph(seed);
		int before = g->n_nodes;
		unsigned failures = CU_get_number_of_failures();
		shrunk += optimise(g) < before;
		for (int i = 0; i < g->n_nodes; i++)
			residuals += g->nodes[i].residual >= 0;
		if (CU_get_number_of_failures() != failures)
			fprintf(stderr, "random graph of seed %d failed\n", (int)seed);
		kerf_graph_free(g);
	}
	/* The generator must reach what is to be tested. */
	CU_ASSERT_TRUE(shrunk > 300);
	CU_ASSERT_TRUE(residuals > 30);
}

/* ---- real networks, beside the project ---- */

/* A file of n raw f32, or NULL. */
static float *read_f32(const char *dir, const char *name, const char *suffix, int64_t n)
{
	char path[4200];
	float *v = malloc((size_t)n * sizeof(*v));

	snprintf(path, sizeof(path), "%s/models/expected/%s.kitten.%s.f32", dir, name, suffix);
	FILE *f = fopen(path, "rb");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	CU_ASSERT_EQUAL_FATAL(fread(v, sizeof(*v), (size_t)n, f), (size_t)n);
	fclose(f);
	return v;
}

/* Loaded, optimised and run plainly: what ONNX Runtime says of the same picture. */
static void check_real_network(const char *dir, const char *name, int nodes)
{
	struct kerf_err err = {0};
	char path[4200];

	snprintf(path, sizeof(path), "%s/models/models/%s.onnx", dir, name);
	struct kerf_graph *g = kerf_graph_load(path, NULL, &err);
	if (!g)
		fprintf(stderr, "%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL_FATAL(kerf_graph_optimize(g, &err), 0);
	check_invariants(g);
	CU_ASSERT_EQUAL(g->n_nodes, nodes);
	int64_t n = kerf_tensor_elements(&g->tensors[g->output]);
	float *x = read_f32(dir, name, "input", kerf_tensor_elements(&g->tensors[g->input]));
	float *wanted = read_f32(dir, name, "output", n);
	float **v = reference_run(g, x);
	double worst = 0, largest = 0;
	for (int64_t i = 0; i < n; i++) {
		worst = fmax(worst, fabs((double)v[g->output][i] - wanted[i]));
		largest = fmax(largest, wanted[i]);
	}
	CU_ASSERT_TRUE(worst <= TOLERANCE * largest);
	reference_free(g, v);
	free(wanted);
	free(x);
	kerf_graph_free(g);
}

static void test_real_networks(void)
{
	const char *dir = unit_test_data();

	if (!dir) {
		printf("SKIP real networks: no KERF_TEST_DATA\n");
		return;
	}
	/* 27 convolutions, the classifier as a convolution, average, reshape, softmax */
	check_real_network(dir, "mobilenet_v1_0.25_128_imagenet", 31);
	check_real_network(dir, "squeezenet1.1_imagenet_fp32", 39);
}

UNIT_MAIN("optimize", UNIT(test_conv_bn_relu_is_one_node),
	UNIT(test_bn_is_kept_when_conv_is_shared), UNIT(test_lone_bn_is_kept),
	UNIT(test_shared_weights_are_copied),
	UNIT(test_gemm_takes_bias_and_scale), UNIT(test_per_channel_constants),
	UNIT(test_residual_sum), UNIT(test_no_sum_behind_activation),
	UNIT(test_own_input_is_no_residual), UNIT(test_constant_is_no_residual),
	UNIT(test_sums_that_stay),
	UNIT(test_silu_and_hard_swish), UNIT(test_hard_swish_and_gelu_in_pieces), UNIT(test_squeeze_excite_stays),
	UNIT(test_gate_of_another_tensor_stays),
	UNIT(test_transposes_merge_in_order), UNIT(test_identity_at_the_start),
	UNIT(test_silu_with_shared_gate), UNIT(test_two_activations), UNIT(test_output_is_a_reader),
	UNIT(test_pad_becomes_conv_pads), UNIT(test_taps_that_see_pads_are_cropped), UNIT(test_channel_shuffle_is_a_gather), UNIT(test_constants_are_folded),
	UNIT(test_identities_are_removed), UNIT(test_near_identities_stay),
	UNIT(test_transpose_of_vector_is_reshape), UNIT(test_identity_at_the_end),
	UNIT(test_dead_nodes_go), UNIT(test_concats_are_chained), UNIT(test_concats_of_other_tensors_stay),
	UNIT(test_random_graphs_compute_the_same),
	UNIT(test_real_networks))
