/* Cuts, contexts, arenas and everything else about running a network in parts. */
#include "cutting.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>

/* Every allocation of the process is counted, where no sanitizer has the allocator already. */
#if defined(__SANITIZE_ADDRESS__)
#define COUNTS_ALLOCATIONS false
static unsigned long allocations;
#else
#define COUNTS_ALLOCATIONS true
static unsigned long allocations;

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t alignment, size_t n);

void *malloc(size_t n)
{
	__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	return __libc_realloc(p, n);
}

void *aligned_alloc(size_t alignment, size_t n)
{
	__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	return __libc_memalign(alignment, n);
}

int posix_memalign(void **p, size_t alignment, size_t n)
{
	__atomic_add_fetch(&allocations, 1, __ATOMIC_RELAXED);
	*p = __libc_memalign(alignment, n);
	return *p ? 0 : ENOMEM;
}
#endif

#define CONV(k, p)                                                                                 \
	{                                                                                          \
		.kernel = {k, k}, .pads = { p, p, p, p }                                           \
	}

static int add_norm(struct ref_net *net, int x)
{
	struct kerf_node norm = {.op = KERF_OP_BATCHNORM, .n_inputs = 5, .epsilon = 1e-5f};
	const int64_t channels = net->g->tensors[x].dims[1];

	for (int k = 1; k < 5; k++)
		norm.inputs[k] = ref_constant(net, 1, &channels, 0.5f, 1.5f);
	return ref_add_act(net, ref_add(net, norm, x), (struct kerf_act){.kind = KERF_ACT_RELU});
}

/*
 * A bit of everything that makes cuts hard: residuals, squeeze-excite, concat of branches, aliased
 * reshapes, batch norm, one tensor that is read far away.
 */
static struct ref_net build_net(void)
{
	static const struct kerf_act silu = {.kind = KERF_ACT_SILU};
	static const struct kerf_act sigmoid = {.kind = KERF_ACT_SIGMOID};
	static const struct kerf_act relu = {.kind = KERF_ACT_RELU};
	struct ref_net net = ref_net_nchw(1, 3, 21, 19);
	struct kerf_node dw = CONV(3, 1), plain = CONV(1, 0), wide = CONV(3, 1);

	int stem = ref_add_conv(&net, wide, net.g->input, 24);
	int x = ref_add_act(&net, stem, silu);
	/* squeeze-excite around a depthwise convolution, with a residual over it all */
	dw.groups = 24;
	int y = ref_add_act(&net, ref_add_conv(&net, dw, x, 24), silu);
	int s = ref_add(&net, (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL}, y);
	s = ref_add_act(&net, ref_add_conv(&net, plain, s, 5), relu);
	s = ref_add_act(&net, ref_add_conv(&net, plain, s, 24), sigmoid);
	y = ref_add_binary(&net, KERF_OP_MUL, y, s);
	y = ref_add_conv(&net, plain, y, 24);
	y = ref_add_binary(&net, KERF_OP_ADD, y, x);
	/* a fire module: two branches joined */
	int squeezed = ref_add_act(&net, ref_add_conv(&net, plain, y, 7), relu);
	int a = ref_add_act(&net, ref_add_conv(&net, plain, squeezed, 17), relu);
	int b = ref_add_act(&net, ref_add_conv(&net, wide, squeezed, 7), relu);
	y = ref_add(&net,
		(struct kerf_node){
			.op = KERF_OP_CONCAT, .n_inputs = 2, .inputs = {0, b}, .axis = 1},
		a);
	y = ref_add_binary(&net, KERF_OP_ADD, y, stem);
	y = ref_add(&net,
		(struct kerf_node){.op = KERF_OP_MAXPOOL,
			.kernel = {3, 3},
			.strides = {2, 2},
			.pads = {1, 1, 1, 1}},
		y);
	y = add_norm(&net, y);
	y = ref_add(&net, (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL}, y);
	y = ref_add_reshape(&net, y, 2, (int64_t[]){1, 24});
	struct kerf_node fc = {.op = KERF_OP_GEMM, .n_inputs = 3};
	fc.inputs[1] = ref_constant(&net, 2, (int64_t[]){10, 24}, -1, 1);
	fc.inputs[2] = ref_constant(&net, 1, (int64_t[]){10}, -1, 1);
	y = ref_add(&net, fc, y);
	ref_add(&net, (struct kerf_node){.op = KERF_OP_SOFTMAX, .axis = 1}, y);
	return net;
}

static float *random_input(struct ref_net *net)
{
	return ref_random_values(
		kerf_tensor_elements(&net->g->tensors[net->g->input]), -2, 2, &net->seed);
}

static void test_every_cut_of_the_plain_graph(void)
{
	struct ref_net net = build_net();
	float *x = random_input(&net);

	check_every_cut(net.g, x, 1);
	free(x);
	kerf_graph_free(net.g);
}

static void test_every_cut_of_the_optimised_graph(void)
{
	struct ref_net net = build_net();
	struct kerf_err err = {0};
	float *x = random_input(&net);
	int before = net.g->n_nodes;

	CU_ASSERT_EQUAL(kerf_graph_optimize(net.g, &err), 0);
	CU_ASSERT(net.g->n_nodes < before);
	check_every_cut(net.g, x, 1);
	free(x);
	kerf_graph_free(net.g);
}

/*
 * As ConvNeXt's files have it: a block goes to channels last, works on rows, and comes back. Behind that a list of heads, as
 * attention has it.
 */
static struct ref_net build_channels_last(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 10, 6);
	struct kerf_node wide = CONV(3, 1), to_last = {.op = KERF_OP_TRANSPOSE, .perm = {0, 2, 3, 1}},
			 to_first = {.op = KERF_OP_TRANSPOSE, .perm = {0, 3, 1, 2}},
			 heads = {.op = KERF_OP_TRANSPOSE, .perm = {0, 2, 1, 3}},
			 fc = {.op = KERF_OP_GEMM, .n_inputs = 2};
	int x = ref_add_conv(&net, wide, net.g->input, 8);
	int y = ref_add(&net, to_last, ref_add_conv(&net, wide, x, 8));

	y = ref_add_reshape(&net, y, 2, (int64_t[]){60, 8});
	fc.inputs[1] = ref_constant(&net, 2, (int64_t[]){16, 8}, -1, 1);
	y = ref_add_reshape(&net, ref_add(&net, fc, y), 4, (int64_t[]){1, 10, 6, 16});
	y = ref_add_act(&net, y, (struct kerf_act){.kind = KERF_ACT_GELU});
	y = ref_add_reshape(&net, y, 2, (int64_t[]){60, 16});
	fc.inputs[1] = ref_constant(&net, 2, (int64_t[]){8, 16}, -1, 1);
	y = ref_add_reshape(&net, ref_add(&net, fc, y), 4, (int64_t[]){1, 10, 6, 8});
	y = ref_add_binary(&net, KERF_OP_ADD, ref_add(&net, to_first, y), x);
	y = ref_add_conv(&net, wide, y, 8);
	y = ref_add_reshape(&net, y, 4, (int64_t[]){1, 8, 12, 5});
	y = ref_add(&net, heads, y);
	y = ref_add_reshape(&net, y, 3, (int64_t[]){12, 8, 5});
	ref_add_act(&net, y, (struct kerf_act){.kind = KERF_ACT_TANH});
	return net;
}

static unsigned count_moves(const struct kerf_engine *e)
{
	static const char *const moves[] = {"copy", "reshape", "transpose"};
	unsigned n = 0;

	for (unsigned s = 0; s < kerf_engine_steps(e); s++)
		for (size_t i = 0; i < KERF_ARRAY_LEN(moves); i++)
			n += strncmp(kerf_engine_step_name(e, s), moves[i], strlen(moves[i])) == 0;
	return n;
}

/* How far a whole run on x, which is in ONNX order, is from double arithmetic. */
static double error_of_run(struct kerf_engine *e, const struct kerf_graph *g, const float *x, const double *want)
{
	struct kerf_err err = {0};
	struct kerf_context *c = kerf_context_create(e, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	ref_to_engine(&g->tensors[g->input], x, kerf_context_tensor(c, g->input));
	CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
	const double error = ref_error(&g->tensors[g->output], kerf_context_tensor(c, g->output), want);
	kerf_context_free(c);
	return error;
}

/* The block moves nothing; the convolution's result behind it has to, once into ONNX's order and once to the heads. */
static void test_channels_last_in_the_file(void)
{
	struct ref_net net = build_channels_last();
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	float *x = random_input(&net);
	const int n_tensors = g->n_tensors, last = g->output;
	double **want = ref_run(g, x);

	for (int optimised = 0; optimised < 2; optimised++) {
		if (optimised)
			CU_ASSERT_EQUAL(kerf_graph_optimize(g, &err), 0);
		struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		CU_ASSERT(error_of_run(e, g, x, want[last]) < 1e-5);
		printf("%u moves%s\n", count_moves(e), optimised ? " when optimised" : "");
		CU_ASSERT(!optimised || count_moves(e) == 2);
		kerf_engine_free(e);
	}
	check_every_cut(g, x, 1);
	for (int t = 0; t < n_tensors; t++)
		free(want[t]);
	free(want);
	free(x);
	kerf_graph_free(g);
}

/* Branches of which some write into the concatenation themselves, where this CPU has code for that, and some do not. */
static struct ref_net build_branches(void)
{
	static const struct kerf_act silu = {.kind = KERF_ACT_SILU}, relu = {.kind = KERF_ACT_RELU},
				     clip = {.kind = KERF_ACT_CLIP, .lo = -1, .hi = 2};
	struct ref_net net = ref_net_nchw(2, 3, 13, 12);
	struct kerf_node plain = CONV(1, 0), wide = CONV(3, 1), concat = {.op = KERF_OP_CONCAT, .n_inputs = 4, .axis = 1},
			 pool = {.op = KERF_OP_MAXPOOL, .kernel = {3, 3}, .strides = {1, 1}, .pads = {1, 1, 1, 1}};
	int x = ref_add_act(&net, ref_add_conv(&net, wide, net.g->input, 16), relu);
	int first = ref_add_act(&net, ref_add_conv(&net, plain, x, 32), relu);

	concat.inputs[1] = ref_add(&net, pool, x);
	concat.inputs[2] = ref_add_act(&net, ref_add_conv(&net, wide, x, 40), clip);
	concat.inputs[3] = ref_add_act(&net, ref_add_conv(&net, wide, x, 48), silu);
	x = ref_add(&net, concat, first);
	/* and one whose concatenation has nothing left to copy */
	first = ref_add_act(&net, ref_add_conv(&net, wide, x, 64), relu);
	concat.n_inputs = 2;
	concat.inputs[1] = ref_add_act(&net, ref_add_conv(&net, plain, x, 32), relu);
	ref_add_conv(&net, plain, ref_add(&net, concat, first), 8);
	return net;
}

/* The nodes of a graph in two contexts, step by step, as a node of the pipeline does it. */
static void check_steps_with_cut(struct kerf_engine *e, const struct kerf_graph *g, const struct kerf_cut *cut, const float *x)
{
	struct kerf_err err = {0};
	struct kerf_context *c[2] = {kerf_context_create(e, &err), kerf_context_create(e, &err)};
	const unsigned at = (unsigned)cut->position, steps = kerf_engine_steps(e);
	unsigned s = 0;

	set_input(c[1], g, x);
	CU_ASSERT_EQUAL(kerf_engine_run(c[1], 0, (unsigned)g->n_nodes), 0);
	float *want = ref_alloc(kerf_tensor_bytes(&g->tensors[g->output]), 1);
	memcpy(want, kerf_context_tensor(c[1], g->output), kerf_tensor_bytes(&g->tensors[g->output]));
	fill_with_nan(c[0], g);
	fill_with_nan(c[1], g);
	set_input(c[0], g, x);
	while (s < kerf_engine_first_step(e, at))
		CU_ASSERT_EQUAL(kerf_engine_step(c[0], s++), 0);
	kerf_engine_leave(c[0], at);
	for (int i = 0; i < cut->n_tensors; i++)
		memcpy(kerf_context_tensor(c[1], cut->tensors[i]), kerf_context_tensor(c[0], cut->tensors[i]),
			kerf_tensor_bytes(&g->tensors[cut->tensors[i]]));
	kerf_engine_enter(c[1], at);
	while (s < steps)
		CU_ASSERT_EQUAL(kerf_engine_step(c[1], s++), 0);
	CU_ASSERT(output_equals(c[1], g, want));
	free(want);
	kerf_context_free(c[0]);
	kerf_context_free(c[1]);
}

/* Each layer reads all before it. The third lies in no further concatenation if something reads it that needs dense rows. */
static int add_dense_block(struct ref_net *net, int x, bool gap)
{
	struct kerf_node plain = CONV(1, 0), wide = CONV(3, 1);
	struct kerf_node concat = {.op = KERF_OP_CONCAT, .n_inputs = 1, .axis = 1};
	int extra = KERF_NONE;

	concat.inputs[0] = x;
	for (int layer = 0; layer < 5; layer++) {
		const int narrow = ref_add_conv(net, plain, add_norm(net, x), 40);

		concat.inputs[concat.n_inputs++] = ref_add_conv(net, wide, add_norm(net, narrow), layer == 3 ? 20 : 32);
		x = ref_add(net, concat, concat.inputs[0]);
		if (layer == 2 && gap)
			extra = ref_add_conv(net, plain, x, 17);
	}
	if (gap) /* and the others lie behind something */
		x = ref_add(net, (struct kerf_node){.op = KERF_OP_CONCAT, .axis = 1, .n_inputs = 2, .inputs = {0, x}}, extra);
	return add_norm(net, x);
}

static struct ref_net build_dense_blocks(void)
{
	struct ref_net net = ref_net_nchw(2, 3, 13, 12);
	struct kerf_node plain = CONV(1, 0), wide = CONV(3, 1),
			 pool = {.op = KERF_OP_AVGPOOL, .kernel = {2, 2}, .strides = {2, 2}};
	int x = ref_add_conv(&net, wide, net.g->input, 24);

	x = ref_add(&net, pool, ref_add_conv(&net, plain, add_dense_block(&net, x, false), 30));
	x = add_dense_block(&net, x, true);
	/* a concatenation that reads a tensor as its residual joins it to nothing */
	struct kerf_node concat = {.op = KERF_OP_CONCAT, .axis = 1, .n_inputs = 2, .inputs = {0, ref_add_conv(&net, plain, x, 32)}};
	concat.residual = ref_add_conv(&net, plain, x, net.g->tensors[x].dims[1] + 32);
	ref_add(&net, concat, x);
	return net;
}

static void check_joins(struct ref_net net)
{
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	float *x = random_input(&net);
	const int n_tensors = g->n_tensors, last = g->output;
	double **want = ref_run(g, x);
	struct kerf_cut *cuts;
	unsigned n_cuts;

	for (int round = 0; round < 4; round++) {
		const struct kerf_engine_options options = {.threads = 1 + (unsigned)round % 2};

		if (round == 2)
			CU_ASSERT_EQUAL(kerf_graph_optimize(g, &err), 0);
		struct kerf_engine *e = kerf_engine_compile(g, &options, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		CU_ASSERT(error_of_run(e, g, x, want[last]) < 1e-5);
		check_every_cut_with(g, x, 1, options);
		CU_ASSERT_EQUAL_FATAL(kerf_graph_find_cuts(g, &cuts, &n_cuts, &err), 0);
		for (unsigned k = 0; k + 1 < n_cuts; k++)
			check_steps_with_cut(e, g, &cuts[k], x);
		free(cuts);
		kerf_engine_free(e);
	}
	for (int t = 0; t < n_tensors; t++)
		free(want[t]);
	free(want);
	free(x);
	kerf_graph_free(g);
}

static void test_branches_that_are_joined(void)
{
	check_joins(build_branches());
}

static void test_dense_blocks(void)
{
	check_joins(build_dense_blocks());
}

/* Both against double arithmetic: fusing changes rounding only. */
static void test_optimising_keeps_the_result(void)
{
	struct kerf_err err = {0};

	for (int optimise = 0; optimise < 2; optimise++) {
		struct ref_net net = build_net();
		const struct kerf_tensor *in = &net.g->tensors[net.g->input];
		float *x = random_input(&net);
		double **want = ref_run(net.g, x);
		struct kerf_graph *g = net.g;
		int output = g->output;
		double top[10];
		memcpy(top, want[output], sizeof(top));
		ref_free(g, want);
		if (optimise)
			CU_ASSERT_EQUAL(kerf_graph_optimize(g, &err), 0);
		in = &g->tensors[g->input];
		struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		struct kerf_context *c = kerf_context_create(e, &err);
		ref_to_engine(in, x, kerf_context_tensor(c, g->input));
		CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
		CU_ASSERT(ref_error(&g->tensors[g->output], kerf_context_tensor(c, g->output),
				  top) < 1e-5);
		kerf_context_free(c);
		kerf_engine_free(e);
		free(x);
		kerf_graph_free(g);
	}
}

/* Steps one at a time are the same run; the map from nodes to steps is in order and complete. */
static void test_steps(void)
{
	struct ref_net net = build_net();
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	float *x = random_input(&net), want[10];
	struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);

	CU_ASSERT_EQUAL(kerf_engine_first_step(e, 0), 0);
	CU_ASSERT_EQUAL(kerf_engine_first_step(e, (unsigned)g->n_nodes), kerf_engine_steps(e));
	for (unsigned k = 0; k < (unsigned)g->n_nodes; k++) {
		unsigned from = kerf_engine_first_step(e, k), to = kerf_engine_first_step(e, k + 1);
		CU_ASSERT(from <= to);
		CU_ASSERT((from == to) == (g->nodes[k].op == KERF_OP_RESHAPE)); /* an alias */
		for (unsigned s = from; s < to; s++) {
			CU_ASSERT_EQUAL(kerf_engine_step_node(e, s), (int)k);
			CU_ASSERT(strlen(kerf_engine_step_name(e, s)) > 0);
		}
	}
	set_input(c, g, x);
	CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
	memcpy(want, kerf_context_tensor(c, g->output), sizeof(want));
	fill_with_nan(c, g);
	set_input(c, g, x);
	for (unsigned s = 0; s < kerf_engine_steps(e); s++)
		CU_ASSERT_EQUAL(kerf_engine_step(c, s), 0);
	CU_ASSERT(output_equals(c, g, want));
	kerf_context_free(c);
	kerf_engine_free(e);
	free(x);
	kerf_graph_free(g);
}

/* The arena is shared over time: far smaller than all tensors side by side. */
static void test_arena_reuses_memory(void)
{
	struct ref_net net = build_net();
	struct kerf_err err = {0};
	size_t all = 0;
	struct kerf_engine *e = kerf_engine_compile(net.g, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);

	for (int t = 0; t < net.g->n_tensors; t++)
		if (!net.g->tensors[t].data)
			all += kerf_tensor_bytes(&net.g->tensors[t]);
	CU_ASSERT(kerf_engine_context_bytes(e) < all / 2);
	kerf_engine_free(e);
	kerf_graph_free(net.g);
}

static void test_constants_have_no_place(void)
{
	struct ref_net net = build_net();
	struct kerf_err err = {0};
	struct kerf_engine *e = kerf_engine_compile(net.g, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);

	for (int t = 0; t < net.g->n_tensors; t++)
		CU_ASSERT((kerf_context_tensor(c, t) == NULL) == (net.g->tensors[t].data != NULL));
	kerf_context_free(c);
	kerf_engine_free(e);
	kerf_graph_free(net.g);
}

/* ---- threads ---- */

struct runner {
	struct kerf_context *c;
	const struct kerf_graph *g;
	const float *x, *want;
	int rounds, wrong;
};

static void *run_many(void *arg)
{
	struct runner *r = arg;

	for (int i = 0; i < r->rounds; i++) {
		set_input(r->c, r->g, r->x);
		if (kerf_engine_run(r->c, 0, (unsigned)r->g->n_nodes) < 0 ||
			!output_equals(r->c, r->g, r->want))
			r->wrong++;
	}
	return NULL;
}

/* Two contexts of one engine in two threads do not disturb each other. */
static void test_contexts_in_parallel(void)
{
	struct ref_net net = build_net();
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct runner r[2] = {0};
	float *x[2], want[2][10];
	pthread_t thread[2];

	for (int i = 0; i < 2; i++) {
		x[i] = random_input(&net);
		r[i] = (struct runner){.c = kerf_context_create(e, &err),
			.g = g,
			.x = x[i],
			.want = want[i],
			.rounds = 50};
		set_input(r[i].c, g, x[i]);
		CU_ASSERT_EQUAL(kerf_engine_run(r[i].c, 0, (unsigned)g->n_nodes), 0);
		memcpy(want[i], kerf_context_tensor(r[i].c, g->output), sizeof(want[i]));
	}
	CU_ASSERT(memcmp(want[0], want[1], sizeof(want[0])) != 0);
	for (int i = 0; i < 2; i++)
		CU_ASSERT_EQUAL(pthread_create(&thread[i], NULL, run_many, &r[i]), 0);
	for (int i = 0; i < 2; i++) {
		pthread_join(thread[i], NULL);
		CU_ASSERT_EQUAL(r[i].wrong, 0);
		kerf_context_free(r[i].c);
		free(x[i]);
	}
	kerf_engine_free(e);
	kerf_graph_free(g);
}

/* The one CPU that a thread may run on; -1 when it may choose. 0 = the calling thread. */
static int only_cpu(pid_t thread)
{
	cpu_set_t mask;

	CPU_ZERO(&mask);
	if (sched_getaffinity(thread, sizeof(mask), &mask) < 0 || CPU_COUNT(&mask) != 1)
		return -1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &mask))
			return cpu;
	return -1;
}

/* How many threads of this process are bound to `cpu`. */
static int count_bound(int cpu)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int n = 0;

	while (tasks && (entry = readdir(tasks)) != NULL)
		n += atoi(entry->d_name) > 0 && only_cpu(atoi(entry->d_name)) == cpu;
	if (tasks)
		closedir(tasks);
	return n;
}

/* cpus[] puts each team member where it says, in whatever thread runs the engine. */
static void *run_bound(void *arg)
{
	struct runner *r = arg;

	run_many(r);
	if (only_cpu(0) != 1 || count_bound(0) != 1)
		r->wrong++;
	return NULL;
}

static void test_team_is_bound(void)
{
	static const int cpus[2] = {1, 0};
	struct ref_net net = build_net();
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	float *x = random_input(&net), want[10];
	pthread_t thread;
	cpu_set_t allowed;

	sched_getaffinity(0, sizeof(allowed), &allowed);
	if (!CPU_ISSET(0, &allowed) || !CPU_ISSET(1, &allowed)) {
		printf("SKIP CPUs 0 and 1 are not both allowed here\n");
		return;
	}
	struct kerf_engine_options two = {.threads = 2};
	struct kerf_engine_options bound = {.threads = 2, .cpus = cpus};
	struct kerf_engine *e = kerf_engine_compile(g, &two, &err);
	struct kerf_engine *pinned = kerf_engine_compile(g, &bound, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_PTR_NOT_NULL_FATAL(pinned);
	struct kerf_context *c = kerf_context_create(e, &err);
	set_input(c, g, x);
	CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
	memcpy(want, kerf_context_tensor(c, g->output), sizeof(want));
	struct runner r = {
		.c = kerf_context_create(pinned, &err), .g = g, .x = x, .want = want, .rounds = 3};
	CU_ASSERT_EQUAL(pthread_create(&thread, NULL, run_bound, &r), 0);
	pthread_join(thread, NULL);
	CU_ASSERT_EQUAL(r.wrong, 0);
	kerf_context_free(r.c);
	kerf_context_free(c);
	kerf_engine_free(pinned);
	kerf_engine_free(e);
	free(x);
	kerf_graph_free(g);
}

/* Consumes the net. */
static void check_teams(struct ref_net *net)
{
	const struct kerf_graph *g = net->g;
	const struct kerf_tensor *out = &g->tensors[g->output];
	float *values = random_input(net), *want = ref_alloc(kerf_tensor_bytes(out), 1);
	double **exact = ref_run(g, values);
	struct kerf_err err = {0};

	for (unsigned threads = 1; threads <= 7; threads++) {
		struct kerf_engine *e = kerf_engine_compile(g, &(struct kerf_engine_options){.threads = threads}, &err);

		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		struct kerf_context *c = kerf_context_create(e, &err);
		ref_to_engine(&g->tensors[g->input], values, kerf_context_tensor(c, g->input));
		CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
		CU_ASSERT(ref_error(out, kerf_context_tensor(c, g->output), exact[g->output]) < 1e-5);
		if (threads == 1)
			memcpy(want, kerf_context_tensor(c, g->output), kerf_tensor_bytes(out));
		CU_ASSERT(output_equals(c, g, want));
		kerf_context_free(c);
		kerf_engine_free(e);
	}
	ref_free(g, exact);
	free(values);
	free(want);
	kerf_graph_free(net->g);
}

static void add_inner_product(struct ref_net *net, int x, int64_t outputs)
{
	struct kerf_node fc = {.op = KERF_OP_GEMM, .n_inputs = 3};

	fc.inputs[1] = ref_constant(net, 2, (int64_t[]){outputs, net->g->tensors[x].dims[1]}, -1, 1);
	fc.inputs[2] = ref_constant(net, 1, (int64_t[]){outputs}, -1, 1);
	ref_add(net, fc, x);
}

/* A device and a server with different teams give the same bits: also where few outputs are sums of many products. */
static void test_any_team_gives_the_same_bits(void)
{
	struct ref_net net = ref_net_nchw(1, 32, 25, 24);
	struct kerf_node wide = CONV(3, 1), pool = {.op = KERF_OP_MAXPOOL, .kernel = {2, 2}, .strides = {2, 2}};
	int x = ref_add_conv(&net, wide, net.g->input, 40);

	x = ref_add_conv(&net, wide, ref_add(&net, pool, x), 48);
	x = ref_add_conv(&net, wide, ref_add(&net, pool, x), 48);
	add_inner_product(&net, ref_add_reshape(&net, x, 2, (int64_t[]){1, 48 * 6 * 6}), 1000);
	check_teams(&net);

	net = ref_net_create(2, (int64_t[]){310, 1536});
	add_inner_product(&net, net.g->input, 40);
	check_teams(&net);
	net = ref_net_create(2, (int64_t[]){3, 1536});
	add_inner_product(&net, net.g->input, 4);
	check_teams(&net);

	net = ref_net_create(3, (int64_t[]){2, 33, 70});
	x = ref_add_reshape(&net, net.g->input, 3, (int64_t[]){2, 70, 33});
	ref_add_binary(&net, KERF_OP_MATMUL, net.g->input, x);
	check_teams(&net);
}

/* ---- profile and fingerprint ---- */

static uint64_t ticks;

static uint64_t tick_clock(void)
{
	return ticks += 10;
}

/* Times come from the caller's clock: with one that steps by 10 every node took 10. */
static void test_profile(void)
{
	struct ref_net net = build_net();
	struct kerf_err err = {0};
	double *ns = ref_alloc((size_t)net.g->n_nodes, sizeof(*ns));
	struct kerf_engine *e = kerf_engine_compile(net.g, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);

	CU_ASSERT_EQUAL(kerf_engine_profile(c, 4, tick_clock, ns, &err), 0);
	for (int k = 0; k < net.g->n_nodes; k++)
		CU_ASSERT_EQUAL(ns[k], 10);
	CU_ASSERT_EQUAL(ticks, 4 * 10 * (uint64_t)(net.g->n_nodes + 1));
	CU_ASSERT_EQUAL(kerf_engine_profile(c, 0, tick_clock, ns, &err), -EINVAL);
	kerf_context_free(c);
	kerf_engine_free(e);
	free(ns);
	kerf_graph_free(net.g);
}

static unsigned long count_allocations(struct kerf_context *c, unsigned cut, unsigned n)
{
	const unsigned long before = __atomic_load_n(&allocations, __ATOMIC_RELAXED);

	if (kerf_engine_run(c, 0, cut) || kerf_engine_run(c, cut, n))
		CU_FAIL("a part does not run");
	return __atomic_load_n(&allocations, __ATOMIC_RELAXED) - before;
}

/* Another cut for every frame: nothing is allocated or built for it. oneDNN keeps the arguments of each primitive that it
 * executes in maps of its own, as many with a cut as without. */
static void test_changing_the_cut_allocates_nothing(void)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = kerf_zoo_build("mobilenet-v2", NULL, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL_FATAL(kerf_graph_optimize(g, &err), 0);
	struct kerf_engine *e = kerf_engine_compile(g, &(struct kerf_engine_options){0}, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	const unsigned n = (unsigned)g->n_nodes;

	memset(kerf_context_tensor(c, g->input), 0, kerf_tensor_bytes(&g->tensors[g->input]));
	count_allocations(c, 0, n); /* what is made once is made */
	CU_ASSERT(!COUNTS_ALLOCATIONS || allocations > 0);
	const unsigned long whole = count_allocations(c, 0, n);
	for (unsigned cut = 0; cut <= n; cut++)
		CU_ASSERT_EQUAL(count_allocations(c, cut, n), whole);
	kerf_context_free(c);
	kerf_engine_free(e);
	kerf_graph_free(g);
}

static void test_fingerprint(void)
{
	char a[128], b[128];

	CU_ASSERT_EQUAL(kerf_engine_fingerprint(), kerf_engine_fingerprint());
	CU_ASSERT_NOT_EQUAL(kerf_engine_fingerprint(), 0);
	kerf_engine_fingerprint_text(a, sizeof(a));
	CU_ASSERT_PTR_NOT_NULL(strstr(a, "oneDNN"));
	CU_ASSERT_PTR_EQUAL(kerf_engine_fingerprint_text(b, sizeof(b)), b);
	CU_ASSERT_STRING_EQUAL(a, b);
}

UNIT_MAIN("engine.split", UNIT(test_every_cut_of_the_plain_graph),
	UNIT(test_every_cut_of_the_optimised_graph), UNIT(test_channels_last_in_the_file), UNIT(test_branches_that_are_joined), UNIT(test_dense_blocks), UNIT(test_optimising_keeps_the_result),
	UNIT(test_steps), UNIT(test_arena_reuses_memory), UNIT(test_constants_have_no_place),
	UNIT(test_contexts_in_parallel), UNIT(test_any_team_gives_the_same_bits), UNIT(test_team_is_bound), UNIT(test_profile),
	UNIT(test_changing_the_cut_allocates_nothing), UNIT(test_fingerprint))
