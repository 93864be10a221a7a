/* What the engine does not run is refused in one line, and nothing leaks on the way. */
#include "cutting.h"

/* Compiles, expects a refusal that contains every word, and all memory back. */
static void check_refused(const struct kerf_graph *g, struct kerf_engine_options options,
	const char *word, const char *other_word)
{
	struct counted count = {0};
	struct kerf_err err = {0};

	if (!options.numa_node_plus1)
		options.allocator = (struct kerf_allocator){counted_alloc, counted_release, &count};
	CU_ASSERT_PTR_NULL(kerf_engine_compile(g, &options, &err));
	if (!strstr(err.text, word) || !strstr(err.text, other_word))
		printf("\"%s\" does not name %s and %s\n", err.text, word, other_word);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, word));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, other_word));
	CU_ASSERT_PTR_NULL(strchr(err.text, '\n'));
	CU_ASSERT_EQUAL(count.blocks, 0);
}

static const struct kerf_engine_options presets;

static void test_empty_graph(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 4, 4);

	check_refused(net.g, presets, "test", "no nodes");
	kerf_graph_free(net.g);
}

static void test_computed_weights(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 3, 3);
	int w = ref_add_act(&net, net.g->input, (struct kerf_act){.kind = KERF_ACT_RELU});

	ref_add(&net,
		(struct kerf_node){.op = KERF_OP_CONV,
			.name = "late",
			.n_inputs = 2,
			.inputs = {0, w},
			.kernel = {3, 3},
			.strides = {1, 1},
			.dilations = {1, 1},
			.groups = 1},
		net.g->input);
	check_refused(net.g, presets, "node late (conv)", "weights");
	kerf_graph_free(net.g);
}

static void test_computed_batchnorm(void)
{
	struct ref_net net = ref_net_create(2, (const int64_t[]){1, 5});
	int flat = ref_add_reshape(&net, net.g->input, 1, (const int64_t[]){5});
	struct kerf_node n = {.op = KERF_OP_BATCHNORM, .name = "norm", .n_inputs = 5};

	for (int k = 1; k < 5; k++)
		n.inputs[k] = k == 3 ? flat : ref_constant(&net, 1, (int64_t[]){5}, 0, 1);
	ref_add(&net, n, net.g->input);
	check_refused(net.g, presets, "node norm (batchnorm)", "expected a constant");
	kerf_graph_free(net.g);
}

static void test_residual_of_another_size(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 6, 6);
	struct kerf_node like = {.kernel = {3, 3}, .name = "sum"};
	int x = ref_add_act(&net, net.g->input, (struct kerf_act){.kind = KERF_ACT_RELU});

	like.residual = x;
	ref_add_conv(&net, like, net.g->input, 3);
	check_refused(net.g, presets, "node sum (conv)", "48");
	kerf_graph_free(net.g);
}

static void test_input_that_nobody_computes(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 6, 6);
	int64_t dims[4] = {1, 3, 6, 6};
	int stray = kerf_graph_add_tensor(net.g, "stray", KERF_F32, 4, dims);

	ref_add(&net,
		(struct kerf_node){
			.op = KERF_OP_ADD, .name = "sum", .n_inputs = 2, .inputs = {0, stray}},
		net.g->input);
	check_refused(net.g, presets, "node sum (add)", "stray");
	kerf_graph_free(net.g);
}

static void test_bad_options(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 6, 6);
	static const int cpus[1] = {99999};
	struct kerf_engine_options options = {.threads = 1, .cpus = cpus};

	ref_add_act(&net, net.g->input, (struct kerf_act){.kind = KERF_ACT_RELU});
	check_refused(net.g, options, "CPU 99999", "this machine has");
	options = (struct kerf_engine_options){.threads = 100000};
	check_refused(net.g, options, "100000", "threads");
	options = (struct kerf_engine_options){.numa_node_plus1 = 1000};
	check_refused(net.g, options, "NUMA node 999", "this machine has");
	kerf_graph_free(net.g);
}

/* An allocator that gives out only the first `user` blocks. */
static void *stingy_alloc(void *user, size_t bytes)
{
	int *left = user;

	return (*left)-- > 0 ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
}

static void stingy_release(void *user, void *memory, size_t bytes)
{
	free(memory);
}

static void test_no_memory(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 6, 6);
	struct kerf_err err = {0};
	int blocks = 0;
	struct kerf_engine_options options = {.allocator = {stingy_alloc, stingy_release, &blocks}};

	ref_add_conv(&net, (struct kerf_node){.kernel = {3, 3}}, net.g->input, 5);
	CU_ASSERT_PTR_NULL(kerf_engine_compile(net.g, &options, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "weights"));
	blocks = 1;
	struct kerf_engine *e = kerf_engine_compile(net.g, &options, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_PTR_NULL(kerf_context_create(e, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "activations"));
	kerf_engine_free(e);
	kerf_graph_free(net.g);
}

/* Weights are copies: the graph's own values may change or go. */
static void test_weights_are_copied(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 6, 6);
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	float want[180];

	ref_add_conv(&net, (struct kerf_node){.kernel = {1, 1}}, g->input, 5);
	struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);
	float *x = ref_random_values(108, -1, 1, &net.seed);
	set_input(c, g, x);
	CU_ASSERT_EQUAL(kerf_engine_run(c, 0, 1), 0);
	memcpy(want, kerf_context_tensor(c, g->output), sizeof(want));
	for (int t = 0; t < g->n_tensors; t++)
		if (g->tensors[t].data)
			memset(g->tensors[t].data, 0xff, kerf_tensor_bytes(&g->tensors[t]));
	set_input(c, g, x);
	CU_ASSERT_EQUAL(kerf_engine_run(c, 0, 1), 0);
	CU_ASSERT(output_equals(c, g, want));
	kerf_context_free(c);
	kerf_engine_free(e);
	free(x);
	kerf_graph_free(g);
}

UNIT_MAIN("engine.refusals", UNIT(test_empty_graph), UNIT(test_computed_weights),
	UNIT(test_computed_batchnorm), UNIT(test_residual_of_another_size),
	UNIT(test_input_that_nobody_computes), UNIT(test_bad_options), UNIT(test_no_memory),
	UNIT(test_weights_are_copied))
