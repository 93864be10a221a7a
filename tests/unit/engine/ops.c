/* Every operator of the engine against a plain double reference, at odd shapes. */
#include "reference.h"
#include "unit.h"

/*
 * Runs the graph through the engine and the reference; the relative error of its output. Also
 * fails when the arena holds less than input and output need.
 */
static double engine_error(struct ref_net *net, unsigned threads)
{
	const struct kerf_graph *g = net->g;
	const struct kerf_tensor *in = &g->tensors[g->input];
	struct kerf_err err = {0};
	struct kerf_engine *e =
		kerf_engine_compile(g, &(struct kerf_engine_options){.threads = threads}, &err);
	double error = INFINITY;

	if (!e) {
		printf("%s\n", err.text);
		return error;
	}
	struct kerf_context *c = kerf_context_create(e, &err);
	float *x = ref_random_values(kerf_tensor_elements(in), -2, 2, &net->seed);
	double **want = ref_run(g, x);
	/* Twice, from garbage: a result must not depend on what lay in the arena. */
	for (int round = 0; round < 2; round++) {
		ref_to_engine(in, x, kerf_context_tensor(c, g->input));
		if (kerf_engine_run(c, 0, (unsigned)g->n_nodes) == 0)
			error = ref_error(&g->tensors[g->output], kerf_context_tensor(c, g->output),
				want[g->output]);
	}
	ref_free(g, want);
	free(x);
	kerf_context_free(c);
	kerf_engine_free(e);
	return error;
}

/* Consumes the net. */
static void check_within(struct ref_net *net, const char *what, double bound)
{
	for (unsigned threads = 1; threads <= 2; threads++) {
		double error = engine_error(net, threads);
		if (!(error < bound))
			printf("%s, %u threads: error %g\n", what, threads, error);
		CU_ASSERT(error < bound);
	}
	kerf_graph_free(net->g);
}

static void check(struct ref_net *net, const char *what)
{
	check_within(net, what, 5e-6);
}

/* ---- convolution ---- */

struct conv_case {
	const char *what;
	int64_t n, c, h, w, out;
	struct kerf_node like;
};

#define WINDOW(kh, kw, s, d) .kernel = {kh, kw}, .strides = {s, s}, .dilations = {d, d}

static const struct conv_case convs[] = {
	{"3x3", 2, 3, 9, 11, 5, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}}},
	{"3x3 stride 2, pads at the end only", 2, 3, 15, 16, 17,
		{WINDOW(3, 3, 2, 1), .pads = {0, 0, 1, 1}}},
	{"one channel in", 2, 1, 9, 7, 24, {WINDOW(3, 3, 1, 1)}},
	{"one channel out", 1, 24, 9, 7, 1, {WINDOW(1, 1, 1, 1)}},
	{"1x1", 2, 17, 5, 3, 24, {WINDOW(1, 1, 1, 1)}},
	{"1x1 stride 2", 1, 24, 14, 14, 40, {WINDOW(1, 1, 2, 1)}},
	{"1x1 of one pixel", 2, 96, 1, 1, 5, {WINDOW(1, 1, 1, 1)}},
	{"1x1 with pads", 1, 5, 6, 6, 7, {WINDOW(1, 1, 1, 1), .pads = {1, 1, 1, 1}}},
	{"1x7", 1, 17, 9, 9, 24, {WINDOW(1, 7, 1, 1), .pads = {0, 3, 0, 3}}},
	{"7x7 stride 2", 1, 3, 23, 21, 24, {WINDOW(7, 7, 2, 1), .pads = {3, 3, 3, 3}}},
	{"2x2 stride 2", 2, 5, 8, 8, 7, {WINDOW(2, 2, 2, 1)}},
	{"all four pads differ", 1, 5, 9, 8, 17, {WINDOW(5, 5, 1, 1), .pads = {0, 1, 2, 3}}},
	{"24 of 48 in bands", 1, 48, 60, 61, 24, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}}},
	{"40 of 70 stride 2, pads at the end only", 2, 70, 15, 16, 40,
		{WINDOW(3, 3, 2, 1), .pads = {0, 0, 1, 1}}},
	{"32 of 130, no pads", 2, 130, 9, 8, 32, {WINDOW(2, 3, 1, 1)}},
	{"1x1, 83 of 650", 2, 650, 7, 7, 83, {WINDOW(1, 1, 1, 1)}},
	{"1x1 stride 2, 200 of 96", 1, 96, 15, 16, 200, {WINDOW(1, 1, 2, 1)}},
	{"1x1, 33 of 250", 1, 250, 16, 17, 33, {WINDOW(1, 1, 1, 1)}},
	{"3x3, 72 of 100", 1, 100, 14, 13, 72, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}}},
	{"dilations differ, 65 of 96", 1, 96, 12, 13, 65,
		{.kernel = {3, 3}, .dilations = {2, 3}, .pads = {2, 3, 2, 3}}},
	{"windows wider than the image, 32 of 96", 1, 96, 7, 9, 32,
		{.kernel = {3, 3}, .dilations = {8, 5}, .pads = {8, 5, 8, 5}}},
	{"5x3 far outside, 40 of 64", 2, 64, 6, 5, 40,
		{.kernel = {5, 3}, .strides = {2, 1}, .dilations = {3, 4}, .pads = {6, 4, 6, 4}}},
	{"strides differ, 32 of 17", 1, 17, 12, 13, 32,
		{.kernel = {3, 3}, .strides = {2, 1}, .pads = {1, 1, 1, 1}}},
	{"strides differ", 1, 5, 12, 13, 17,
		{.kernel = {3, 3}, .strides = {2, 1}, .pads = {1, 1, 1, 1}}},
	{"dilation 2", 2, 5, 15, 13, 17, {WINDOW(3, 3, 1, 2), .pads = {2, 2, 2, 2}}},
	{"dilations differ", 1, 24, 15, 13, 17,
		{.kernel = {3, 3}, .dilations = {2, 3}, .pads = {2, 3, 2, 3}}},
	{"2 groups", 2, 6, 9, 8, 10, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = 2}},
	{"3 groups of 8", 2, 24, 9, 8, 24, {WINDOW(3, 3, 2, 1), .pads = {1, 1, 1, 1}, .groups = 3}},
	{"7 groups of 8, pads differ", 2, 56, 23, 40, 56, {WINDOW(3, 3, 1, 1), .pads = {0, 1, 2, 0}, .groups = 7}},
	{"4 groups of 8, strides differ", 1, 32, 31, 29, 32,
		{.kernel = {5, 3}, .strides = {2, 1}, .dilations = {1, 2}, .pads = {2, 2, 2, 2}, .groups = 4}},
	{"3 groups of 8, 9x9", 1, 24, 12, 11, 24, {WINDOW(9, 9, 1, 1), .pads = {4, 4, 4, 4}, .groups = 3}},
	{"5 groups of 24, no pads", 2, 120, 9, 8, 120, {WINDOW(3, 3, 1, 1), .groups = 5}},
	{"3 groups of 16 to 24", 1, 48, 17, 16, 72, {WINDOW(3, 3, 2, 1), .pads = {1, 1, 1, 1}, .groups = 3}},
	{"2 groups of 72 to 8", 1, 144, 8, 9, 16, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = 2}},
	{"2 groups 1x1 of 17", 1, 34, 5, 5, 34, {WINDOW(1, 1, 1, 1), .groups = 2}},
	{"dw3x3 of 3", 2, 3, 9, 8, 3, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = 3}},
	{"dw3x3 of 17", 2, 17, 9, 8, 17, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = 17}},
	{"dw3x3 of 24 stride 2", 2, 24, 9, 8, 24,
		{WINDOW(3, 3, 2, 1), .pads = {0, 0, 1, 1}, .groups = 24}},
	{"dw5x5 of 5", 2, 5, 9, 8, 5, {WINDOW(5, 5, 1, 1), .pads = {2, 2, 2, 2}, .groups = 5}},
	{"dw5x5 of 40 stride 2", 1, 40, 15, 15, 40,
		{WINDOW(5, 5, 2, 1), .pads = {1, 1, 2, 2}, .groups = 40}},
	{"dw3x3 dilation 2", 2, 17, 9, 8, 17,
		{WINDOW(3, 3, 1, 2), .pads = {2, 2, 2, 2}, .groups = 17}},
	{"dw with two outputs a channel", 1, 24, 9, 8, 48,
		{WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = 24}},
};

static void test_conv(void)
{
	for (size_t i = 0; i < KERF_ARRAY_LEN(convs); i++) {
		const struct conv_case *k = &convs[i];
		struct ref_net net = ref_net_nchw(k->n, k->c, k->h, k->w);
		ref_add_conv(&net, k->like, net.g->input, k->out);
		check(&net, k->what);
	}
}

/* Whether a CPU with AVX2 or better runs a step so named. */
static bool has_step(const struct kerf_graph *g, const char *name)
{
	struct kerf_err err = {0};
	struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
	bool found = !__builtin_cpu_supports("avx2");

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	for (unsigned s = 0; s < kerf_engine_steps(e); s++)
		found |= strncmp(kerf_engine_step_name(e, s), name, strlen(name)) == 0;
	kerf_engine_free(e);
	return found;
}

/* Patches of both sizes that fill the image or reach beyond it, with every kind of pad. */
static void test_winograd(void)
{
	static const struct {
		struct conv_case conv;
		const char *step;
	} cases[] = {
		{{"whole patches of 2x2", 1, 16, 14, 12, 32, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}}}, "conv winograd F(2,3)"},
		{{"24 to 40, 2x2", 2, 24, 13, 15, 40, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}}}, "conv winograd F(2,3)"},
		{{"37 to 83, no pads, 2x2", 2, 37, 15, 16, 83, {WINDOW(3, 3, 1, 1)}}, "conv winograd F(2,3)"},
		{{"whole patches of 4x4", 1, 32, 24, 20, 16, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}}}, "conv winograd F(4,3)"},
		{{"17 to 33, 4x4", 2, 17, 21, 27, 33, {WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}}}, "conv winograd F(4,3)"},
		{{"50 to 72, no pads, 4x4", 1, 50, 24, 25, 72, {WINDOW(3, 3, 1, 1)}}, "conv winograd F(4,3)"},
		{{"all four pads differ, 4x4", 1, 16, 23, 22, 65, {WINDOW(3, 3, 1, 1), .pads = {0, 1, 2, 3}}}, "conv winograd F(4,3)"},
		{{"5x5, 24 to 40", 2, 24, 15, 14, 40, {WINDOW(5, 5, 1, 1), .pads = {2, 2, 2, 2}}}, "conv winograd F(2,5)"},
		{{"5x5, 17 to 65, no pads", 1, 17, 16, 21, 65, {WINDOW(5, 5, 1, 1)}}, "conv winograd F(2,5)"},
		{{"5x5, pads differ", 1, 32, 16, 13, 16, {WINDOW(5, 5, 1, 1), .pads = {4, 0, 1, 3}}}, "conv winograd F(2,5)"},
		{{"pads wider than a patch", 1, 16, 13, 11, 16, {WINDOW(3, 3, 1, 1), .pads = {7, 8, 9, 6}}}, "conv winograd F(4,3)"},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		const struct conv_case *k = &cases[i].conv;
		struct ref_net net = ref_net_nchw(k->n, k->c, k->h, k->w);

		ref_add_conv(&net, k->like, net.g->input, k->out);
		CU_ASSERT(has_step(net.g, cases[i].step));
		check(&net, k->what);
	}
}

/* Whether the engine may use AVX-512 (tests run with a lesser one as well). */
static bool has_avx512(void)
{
	return !getenv("ONEDNN_MAX_CPU_ISA") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
		__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

/*
 * Both windows and strides, maps of whole tiles and not, every pad on every side, channels and groups of channels that fill
 * blocks or not.
 */
static void check_depthwise(int width, int max_kernel, const char *step)
{
	static const enum kerf_act_kind kinds[] = {KERF_ACT_SILU, KERF_ACT_RELU, KERF_ACT_HARD_SWISH, KERF_ACT_TANH};
	const struct {
		int64_t n, c, h, w;
	} maps[] = {{1, width > 8 ? 32 : 16, 14, 14}, {2, 3 * width + width % 2 * 21, 9, 13}, {1, 40 / width * width, 7, 7}, {1, 9 * width, 22, 27},
		{1, width > 1 ? 80 : 304, 8, 14}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(maps); i++)
		for (int kernel = 3; kernel <= max_kernel; kernel += 2)
			for (int stride = 1; stride <= 2; stride++)
				for (int sides = 0; sides < 9; sides++) {
					const int pad = kernel / 2, left = pad - sides % 3 * pad / 2, right = pad - sides / 3 * pad / 2;
					const struct kerf_node like = {WINDOW(kernel, kernel, stride, 1), .pads = {right, left, left, right},
						.groups = (int)maps[i].c / width, .act = {.kind = kinds[(sides + stride) % 4]}};
					struct ref_net net = ref_net_nchw(maps[i].n, maps[i].c, maps[i].h, maps[i].w);
					char what[64];

					ref_add_conv(&net, like, net.g->input, maps[i].c);
					const int64_t out_w = net.g->tensors[net.g->output].dims[3];
					if (has_avx512() && out_w >= 7)
						CU_ASSERT(has_step(net.g, step));
					snprintf(what, sizeof(what), "map %zu, groups of %d, %dx%d stride %d, pads %d", i, width, kernel, kernel, stride, sides);
					check(&net, what);
				}
}

static void test_depthwise(void)
{
	check_depthwise(1, 5, "conv depthwise");
}

static void test_groups(void)
{
	for (int width = 2; width <= 16; width *= 2)
		check_depthwise(width, 3, "conv grouped");
}

static const struct kerf_act acts[] = {
	{.kind = KERF_ACT_RELU},
	{.kind = KERF_ACT_CLIP, .lo = -0.25f, .hi = 0.75f},
	{.kind = KERF_ACT_SIGMOID},
	{.kind = KERF_ACT_SILU},
	{.kind = KERF_ACT_HARD_SIGMOID, .lo = 0.2f, .hi = 0.5f},
	{.kind = KERF_ACT_HARD_SWISH},
	{.kind = KERF_ACT_TANH},
	{.kind = KERF_ACT_LEAKY_RELU, .lo = 0.1f},
	{.kind = KERF_ACT_GELU},
	{.kind = KERF_ACT_ELU, .lo = 0.7f},
};

/* Fused into 3x3, 1x1, depthwise, grouped; with and without a residual sum before it. */
static void check_fused_tail(struct kerf_node like, int channels, int height, struct kerf_act act, bool residual)
{
	const struct kerf_node plain = {WINDOW(1, 1, 1, 1)};
	struct ref_net net = ref_net_nchw(2, channels, height, height - 2);
	int x = ref_add_conv(&net, plain, net.g->input, channels);
	int y = ref_add_conv(&net, plain, x, channels);
	char what[96];

	snprintf(what, sizeof(what), "act %d, %dx%d, %d groups, %d channels, %d high, residual %d", (int)act.kind,
		like.kernel[0], like.kernel[1], like.groups, channels, height, residual);
	like.act = act;
	like.residual = residual ? x : 0;
	ref_add_conv(&net, like, y, channels);
	/* errors are compared with the largest result, which these make smaller than the sums (4 to 8) that the errors come from */
	const bool limits = act.kind == KERF_ACT_CLIP || act.kind == KERF_ACT_TANH;
	check_within(&net, what, height > 7 && limits ? 1e-5 : 5e-6);
}

static void test_conv_with_fused_tail(void)
{
	static const int channels[] = {24, 72};

	for (size_t a = 0; a < KERF_ARRAY_LEN(acts); a++)
		for (size_t c = 0; c < KERF_ARRAY_LEN(channels); c++) {
			const struct kerf_node likes[] = {
				{WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}},
				{WINDOW(1, 1, 1, 1)},
				{WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = channels[c]},
				{WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = 2},
				{WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}, .groups = channels[c] / 8},
			};

			for (size_t i = 0; i < KERF_ARRAY_LEN(likes); i++)
				for (int residual = 0; residual < 2; residual++)
					check_fused_tail(likes[i], channels[c], 7, acts[a], residual);
			for (int residual = 0; residual < 2; residual++) /* Winograd's */
				check_fused_tail(likes[0], 24, c ? 15 : 23, acts[a], residual);
		}
}

/* A residual that is read again later, that is the convolution's own input, or the graph's. */
static void test_residual_that_must_survive(void)
{
	const struct kerf_node plain = {WINDOW(1, 1, 1, 1)};

	for (int which = 0; which < 3; which++) {
		struct ref_net net = ref_net_nchw(1, 24, 6, 5);
		struct kerf_node like = plain;
		int x = ref_add_conv(&net, plain, net.g->input, 24);
		int y = ref_add_conv(&net, plain, x, 24);
		like.residual = x;
		int z = ref_add_conv(&net, like, which == 1 ? x : y, 24);
		if (which == 0)
			z = ref_add_binary(&net, KERF_OP_MUL, z, x);
		if (which == 2)
			z = ref_add_binary(&net, KERF_OP_ADD, z, net.g->input);
		check(&net, "residual that must survive");
	}
}

/* ---- the others ---- */

static void test_gemm(void)
{
	static const int64_t shapes[][3] = {
		{1, 1, 1}, {2, 17, 5}, {1, 1280, 100}, {3, 24, 17}, {2, 5, 1}, {1, 1, 3}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(shapes); i++)
		for (int variant = 0; variant < 3; variant++) {
			const int64_t *s = shapes[i];
			struct ref_net net = ref_net_create(2, s);
			struct kerf_node n = {.op = KERF_OP_GEMM, .n_inputs = 3};
			n.inputs[1] = ref_constant(&net, 2, (int64_t[]){s[2], s[1]}, -1, 1);
			n.inputs[2] = variant ? ref_constant(&net, 1, &s[2], -1, 1) : KERF_NONE;
			n.act.kind = variant == 2 ? KERF_ACT_SILU : KERF_ACT_RELU;
			int y = ref_add(&net, n, net.g->input);
			if (variant == 2 &&
				s[1] != s[2]) { /* a residual sum before the activation */
				n.residual = y;
				n.name = "second";
				ref_add(&net, n, net.g->input);
			}
			check(&net, "gemm");
		}
}

static void test_batchnorm(void)
{
	static const int64_t shapes[][5] = {{2, 17, 3, 5}, {2, 5, 7}, {3, 24}, {1, 3, 2, 2, 4}};
	static const int ranks[] = {4, 3, 2, 5};

	for (size_t i = 0; i < KERF_ARRAY_LEN(shapes); i++) {
		struct ref_net net = ref_net_create(ranks[i], shapes[i]);
		struct kerf_node n = {.op = KERF_OP_BATCHNORM, .n_inputs = 5, .epsilon = 1e-3f};
		for (int k = 1; k < 5; k++)
			n.inputs[k] =
				ref_constant(&net, 1, &shapes[i][1], k == 4 ? 0.5f : -1, 1.5f);
		ref_add(&net, n, net.g->input);
		check(&net, "batchnorm");
	}
}

static void test_act(void)
{
	for (size_t a = 0; a < KERF_ARRAY_LEN(acts); a++) {
		struct ref_net net = ref_net_nchw(2, 5, 3, 7);
		ref_add_act(&net, net.g->input, acts[a]);
		check(&net, "act");
	}
}

/* b computed and constant, of every shape that broadcasts. */
static const enum kerf_op binaries[] = {KERF_OP_ADD, KERF_OP_MUL, KERF_OP_DIV, KERF_OP_MIN, KERF_OP_MAX, KERF_OP_POW,
	KERF_OP_PRELU, KERF_OP_LESS, KERF_OP_LESS_EQUAL, KERF_OP_MASK};

static void test_binary(void)
{
	static const struct {
		int n_dims;
		int64_t dims[4];
	} b[] = {{4, {2, 17, 3, 5}}, {4, {2, 17, 1, 1}}, {4, {1, 17, 1, 1}}, {3, {17, 1, 1}},
		{4, {2, 1, 3, 5}}, {4, {1, 1, 1, 5}}, {1, {5}}, {1, {1}}, {0, {0}}, {2, {3, 5}},
		{4, {2, 17, 3, 1}}, {3, {17, 3, 5}}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(b); i++)
		for (size_t k = 0; k < KERF_ARRAY_LEN(binaries); k++)
			for (int swap = 0; swap < 2; swap++) {
				const bool power = binaries[k] == KERF_OP_POW;
				struct ref_net net = ref_net_nchw(2, 17, 3, 5);
				int constant = ref_constant(&net, b[i].n_dims, b[i].dims, power ? 0.5f : 1, 2);
				int x = ref_add_act(&net, net.g->input, acts[power || swap ? 2 : 8]);
				ref_add_binary(&net, binaries[k], swap ? constant : x, swap ? x : constant);
				check(&net, kerf_op_name(binaries[k]));
			}
	for (int mul = 0; mul < 2; mul++) {
		struct ref_net net = ref_net_nchw(2, 17, 3, 5);
		enum kerf_op op = mul ? KERF_OP_MUL : KERF_OP_ADD;
		int x = ref_add_act(&net, net.g->input, acts[2]);
		int s = ref_add(&net, (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL}, x);
		int y = ref_add_binary(&net, op, x, s);
		y = ref_add_binary(&net, op, y, x); /* same shape */
		ref_add_binary(&net, op, y, y);     /* with itself */
		check(&net, "binary of computed tensors");
	}
}

/* The peaks of a map: 1 where a value is the largest around it. */
static void test_equal(void)
{
	struct ref_net net = ref_net_nchw(2, 17, 13, 11);
	struct kerf_node pool = {.op = KERF_OP_MAXPOOL, WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}};
	int x = ref_add_act(&net, net.g->input, acts[0]);
	int peaks = ref_add_binary(&net, KERF_OP_EQUAL, x, ref_add(&net, pool, x));

	ref_add_binary(&net, KERF_OP_MUL, x, peaks);
	check(&net, "values that are the largest around them");
}

/* Neither operand has the shape of the result. */
static void test_binary_stretches_both(void)
{
	for (size_t k = 0; k < KERF_ARRAY_LEN(binaries); k++) {
		struct ref_net net = ref_net_nchw(1, 17, 3, 1);
		int constant = ref_constant(&net, 4, (const int64_t[]){2, 1, 3, 5}, 1, 2);
		int x = ref_add_act(&net, net.g->input, acts[2]);

		ref_add_binary(&net, binaries[k], x, constant);
		check(&net, kerf_op_name(binaries[k]));
	}
}

static void test_library_acts(void)
{
	for (int kind = KERF_ACT_ERF; kind < KERF_ACT_COUNT; kind++) {
		struct ref_net net = ref_net_nchw(2, 5, 4, 3);
		const struct kerf_act act = {.kind = (enum kerf_act_kind)kind, .lo = 1.5f, .hi = 1.1f};
		int x = ref_add_act(&net, net.g->input, acts[2]); /* logarithms and roots need it */

		ref_add_act(&net, x, act);
		check(&net, "activation of the C library");
	}
}

static void test_matmul(void)
{
	static const struct {
		int64_t a[3], b[3];
	} cases[] = {{{1, 3, 5}, {1, 5, 7}}, {{3, 9, 17}, {3, 17, 4}}, {{1, 9, 17}, {3, 17, 4}}, {{3, 9, 17}, {1, 17, 4}},
		{{12, 50, 64}, {12, 64, 50}}, {{2, 1, 1}, {2, 1, 1}}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++)
		for (int second = 0; second < 2; second++) {
			struct ref_net net = ref_net_create(3, second ? cases[i].b : cases[i].a);
			int constant = ref_constant(&net, 3, second ? cases[i].a : cases[i].b, -1, 1);
			int other = ref_add_act(&net, constant, acts[2]); /* computed, too */
			int x = ref_add_act(&net, net.g->input, acts[2]);

			ref_add_binary(&net, KERF_OP_MATMUL, second ? other : x, second ? x : other);
			check(&net, "matmul");
		}
}

static int ref_table(struct ref_net *net, int64_t n, int64_t taps, const int64_t *values)
{
	const size_t bytes = (size_t)(n * taps) * sizeof(*values);

	return kerf_graph_add_constant(net->g, ref_new_name(net, "table"), KERF_I64, 2, (const int64_t[]){n, taps},
		memcpy(ref_alloc(1, bytes), values, bytes));
}

/* Every axis: repeated, backwards, beyond the edge; one index a value, or two with weights. */
static void test_gather(void)
{
	static const int64_t single[] = {1, -1, 0, 2, 2, -1, 1}, pairs[] = {0, 1, 1, 2, 2, -1, -1, 0, 2, 0};

	for (int axis = 0; axis < 4; axis++)
		for (int weighted = 0; weighted < 2; weighted++) {
			struct ref_net net = ref_net_nchw(3, 5, 4, 3);
			struct kerf_node n = {.op = KERF_OP_GATHER, .axis = axis, .value = 0.5f, .n_inputs = 2 + weighted};

			n.inputs[1] = weighted ? ref_table(&net, 5, 2, pairs) : ref_table(&net, 7, 1, single);
			if (weighted)
				n.inputs[2] = ref_constant(&net, 2, (const int64_t[]){5, 2}, -1, 1);
			ref_add(&net, n, ref_add_act(&net, net.g->input, acts[2]));
			check(&net, "gather");
		}
}

static void test_depth_to_space(void)
{
	static const int blocks[][2] = {{1, 1}, {2, 2}, {3, 1}, {1, 2}, {2, 3}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(blocks); i++) {
		struct ref_net net = ref_net_nchw(2, 5 * blocks[i][0] * blocks[i][1], 4, 3);
		struct kerf_node n = {.op = KERF_OP_DEPTH_TO_SPACE, .kernel = {blocks[i][0], blocks[i][1]}};

		ref_add(&net, n, ref_add_act(&net, net.g->input, acts[2]));
		check(&net, "depth to space");
	}
}

static void test_reduce(void)
{
	for (int kind = 0; kind < KERF_REDUCE_COUNT; kind++)
		for (unsigned axes = 0; axes < 16; axes++) {
			const bool arg = kind >= KERF_REDUCE_ARGMAX;
			struct ref_net net = ref_net_nchw(2, 5, 4, 3);
			struct ref_net flat = ref_net_create(3, (const int64_t[]){4, 3, 6});
			struct kerf_node n = {.op = KERF_OP_REDUCE, .reduce = (enum kerf_reduce)kind, .axes = axes};

			if (!arg || __builtin_popcount(axes) == 1) {
				ref_add(&net, n, net.g->input);
				check(&net, "reduce of four dimensions");
			} else {
				kerf_graph_free(net.g);
			}
			if (axes < 8 && (!arg || __builtin_popcount(axes) == 1)) {
				ref_add(&flat, n, flat.g->input);
				check(&flat, "reduce of three dimensions");
			} else {
				kerf_graph_free(flat.g);
			}
		}
}

/* The first few, all, and among equal ones. */
static void test_top(void)
{
	static const enum kerf_reduce kinds[] = {KERF_REDUCE_MAX, KERF_REDUCE_MIN, KERF_REDUCE_ARGMAX, KERF_REDUCE_ARGMIN};

	for (size_t i = 0; i < KERF_ARRAY_LEN(kinds); i++)
		for (int axis = 0; axis < 4; axis++)
			for (int equal = 0; equal < 2; equal++) {
				static const int64_t dims[] = {3, 5, 4, 7};
				struct ref_net net = ref_net_nchw(3, 5, 4, 7);
				const struct kerf_act flat = {.kind = KERF_ACT_CLIP, .lo = -0.1f, .hi = 0.1f};
				const int x = equal ? ref_add_act(&net, net.g->input, flat) : net.g->input;

				ref_add(&net, (struct kerf_node){.op = KERF_OP_REDUCE, .reduce = kinds[i], .axes = 1u << axis,
					.top = axis % 2 ? 3 : (int)dims[axis]}, x);
				check(&net, "the first along an axis");
			}
}

static void test_layernorm(void)
{
	for (int given = 0; given < 4; given++) {
		struct ref_net net = ref_net_create(2, (const int64_t[]){7, 33});
		struct kerf_node n = {.op = KERF_OP_LAYERNORM, .epsilon = 1e-5f, .n_inputs = 3};

		for (int i = 0; i < 2; i++)
			n.inputs[1 + i] =
				given >> i & 1 ? ref_constant(&net, 1, (const int64_t[]){33}, -1, 1) : KERF_NONE;
		ref_add(&net, n, ref_add_act(&net, net.g->input, acts[2]));
		check(&net, "layernorm");
	}
}

/* A fused activation and residual on an ADD: out = act((a + b) + residual). */
static void test_binary_with_tail(void)
{
	struct ref_net net = ref_net_nchw(2, 5, 4, 3);
	int x = ref_add_act(&net, net.g->input, acts[3]);
	int y = ref_add_act(&net, x, acts[6]);

	ref_add(&net,
		(struct kerf_node){.op = KERF_OP_MUL,
			.n_inputs = 2,
			.inputs = {0, y},
			.residual = x,
			.act = acts[0]},
		x);
	check(&net, "mul with residual and relu");
}

static void test_pools(void)
{
	static const struct kerf_node likes[] = {
		{WINDOW(2, 2, 2, 1)},
		{WINDOW(3, 3, 2, 1), .pads = {1, 1, 1, 1}},
		{WINDOW(3, 3, 2, 1), .pads = {0, 0, 1, 2}},
		{.kernel = {2, 3}, .strides = {1, 2}, .pads = {0, 1, 1, 0}},
	};
	static const enum kerf_op ops[] = {
		KERF_OP_MAXPOOL, KERF_OP_AVGPOOL, KERF_OP_GLOBAL_AVGPOOL};
	static const int64_t channels[] = {1, 3, 17, 24, 70};

	for (size_t op = 0; op < KERF_ARRAY_LEN(ops); op++)
		for (size_t i = 0; i < KERF_ARRAY_LEN(likes); i++)
			for (size_t c = 0; c < KERF_ARRAY_LEN(channels); c++)
				for (int include = 0; include < (op == 1 ? 2 : 1); include++) {
					struct kerf_node n = likes[i];
					struct ref_net net = ref_net_nchw(2, channels[c], 9, 8);
					n.op = ops[op];
					n.count_include_pad = include;
					ref_add(&net, n, net.g->input);
					check(&net, kerf_op_name(n.op));
				}
}

static void test_dilated_pools(void)
{
	for (int max = 0; max < 2; max++) {
		struct ref_net net = ref_net_nchw(1, 5, 9, 9);
		ref_add(&net,
			(struct kerf_node){.op = max ? KERF_OP_MAXPOOL : KERF_OP_AVGPOOL,
				WINDOW(3, 3, 1, 2),
				.pads = {1, 1, 1, 1}},
			net.g->input);
		check(&net, "dilated pool");
	}
}

/* Where oneDNN 3.7 ends the process with AVX2 on some CPUs. */
static void test_many_channels_compile(void)
{
	static const int shapes[][3] = {{256, 1024, 14}, {512, 2048, 14}, {1024, 512, 14}};

	for (size_t i = 0; i < sizeof(shapes) / sizeof(*shapes); i++) {
		struct kerf_err err = {0};
		struct ref_net net = ref_net_nchw(1, shapes[i][0], shapes[i][2], shapes[i][2]);

		ref_add_conv(&net, (struct kerf_node){.kernel = {1, 1}}, net.g->input, shapes[i][1]);
		struct kerf_engine *e = kerf_engine_compile(net.g, NULL, &err);
		CU_ASSERT_PTR_NOT_NULL(e);
		kerf_engine_free(e);
		kerf_graph_free(net.g);
	}
}

static void test_concat(void)
{
	for (int axis = 0; axis < 4; axis++) {
		struct ref_net net = ref_net_nchw(2, 5, 3, 4);
		int64_t dims[4] = {2, 5, 3, 4};
		int x = ref_add_act(&net, net.g->input, acts[0]);
		dims[axis] = 3;
		int constant = ref_constant(&net, 4, dims, -1, 1);
		ref_add(&net,
			(struct kerf_node){.op = KERF_OP_CONCAT,
				.n_inputs = 4,
				.inputs = {0, net.g->input, constant, x},
				.axis = axis},
			x);
		check(&net, "concat of four dimensions");
	}
	for (int axis = 0; axis < 2; axis++) {
		struct ref_net net = ref_net_create(2, (int64_t[]){3, 5});
		int x = ref_add_act(&net, net.g->input, acts[0]);
		ref_add(&net,
			(struct kerf_node){.op = KERF_OP_CONCAT,
				.n_inputs = 2,
				.inputs = {0, net.g->input},
				.axis = axis},
			x);
		check(&net, "concat of two dimensions");
	}
}

/* Between every pair of shapes of 60 elements: each that is out of order in NHWC must move. */
static void test_reshape(void)
{
	static const struct {
		int n_dims;
		int64_t dims[5];
	} s[] = {{4, {1, 3, 4, 5}}, {4, {1, 60, 1, 1}}, {4, {1, 1, 6, 10}}, {4, {2, 5, 3, 2}},
		{2, {1, 60}}, {2, {2, 30}}, {3, {2, 5, 6}}, {5, {1, 2, 3, 5, 2}}, {1, {60}},
		{4, {2, 30, 1, 1}}, {4, {60, 1, 1, 1}}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(s); i++)
		for (size_t k = 0; k < KERF_ARRAY_LEN(s); k++)
			for (int kept = 0; kept < 2; kept++) {
				struct ref_net net = ref_net_create(s[i].n_dims, s[i].dims);
				int x = ref_add_act(&net, net.g->input, acts[6]);
				int y = ref_add_reshape(&net, x, s[k].n_dims, s[k].dims);
				y = ref_add_act(&net, y, acts[3]);
				y = ref_add_reshape(&net, y, s[i].n_dims, s[i].dims);
				if (kept) /* x is read again behind both */
					ref_add_binary(&net, KERF_OP_ADD, y, x);
				check(&net, "reshape");
			}
}

static void test_softmax(void)
{
	for (int axis = 0; axis < 4; axis++) {
		struct ref_net net = ref_net_nchw(2, 5, 3, 4);
		ref_add(&net, (struct kerf_node){.op = KERF_OP_SOFTMAX, .axis = axis},
			net.g->input);
		check(&net, "softmax of four dimensions");
	}
	for (int axis = 0; axis < 2; axis++) {
		struct ref_net net = ref_net_create(2, (int64_t[]){3, 1001});
		ref_add(&net, (struct kerf_node){.op = KERF_OP_SOFTMAX, .axis = axis},
			net.g->input);
		check(&net, "softmax of two dimensions");
	}
}

static void test_transpose(void)
{
	static const int perms[][4] = {
		{0, 2, 3, 1}, {0, 3, 1, 2}, {1, 0, 2, 3}, {3, 2, 1, 0}, {0, 1, 2, 3}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(perms); i++) {
		struct ref_net net = ref_net_nchw(2, 5, 3, 4);
		struct kerf_node n = {.op = KERF_OP_TRANSPOSE};
		memcpy(n.perm, perms[i], sizeof(perms[i]));
		ref_add(&net, n, net.g->input);
		check(&net, "transpose of four dimensions");
	}
	/* ShuffleNet's channel shuffle: five dimensions in between */
	struct ref_net net = ref_net_nchw(1, 6, 3, 4);
	int x = ref_add_reshape(&net, net.g->input, 5, (int64_t[]){1, 2, 3, 3, 4});
	x = ref_add(&net, (struct kerf_node){.op = KERF_OP_TRANSPOSE, .perm = {0, 2, 1, 3, 4}}, x);
	ref_add_reshape(&net, x, 4, (int64_t[]){1, 6, 3, 4});
	check(&net, "channel shuffle");
}

static void test_pad(void)
{
	struct ref_net net = ref_net_nchw(2, 5, 3, 4);

	ref_add(&net, (struct kerf_node){.op = KERF_OP_PAD, .pads = {1, 2, 3, 0}}, net.g->input);
	check(&net, "pad");
}

static void test_slice(void)
{
	static const struct kerf_node parts[] = {
		{.op = KERF_OP_SLICE, .starts = {0, 2, 0, 0}, .steps = {1, 1, 1, 1}, .counts = {2, 4, 7, 5}},
		{.op = KERF_OP_SLICE, .starts = {1, 0, 1, 0}, .steps = {1, 3, 2, 4}, .counts = {1, 3, 3, 2}},
		{.op = KERF_OP_SLICE, .starts = {1, 7, 6, 4}, .steps = {-1, -1, -1, -1}, .counts = {2, 8, 7, 5}},
		{.op = KERF_OP_SLICE, .starts = {0, 6, 3, 2}, .steps = {0, -2, 1, 0}, .counts = {1, 4, 4, 1}},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(parts); i++) {
		struct ref_net net = ref_net_nchw(2, 8, 7, 5);
		ref_add(&net, parts[i], net.g->input);
		check(&net, "slice");
	}
	/* Of three dimensions, and with something behind it. */
	struct ref_net net = ref_net_nchw(1, 6, 4, 5);
	int x = ref_add_reshape(&net, net.g->input, 3, (int64_t[]){4, 6, 5});
	x = ref_add(&net,
		(struct kerf_node){.op = KERF_OP_SLICE, .starts = {3, 1, 0}, .steps = {-2, 1, 2}, .counts = {2, 5, 3}}, x);
	ref_add_act(&net, x, acts[3]);
	check(&net, "slice of three dimensions");
}

/* A result that is there early stays where it is until the end. */
static void test_output_before_the_last_node(void)
{
	static const struct kerf_node plain = {WINDOW(1, 1, 1, 1)};
	struct ref_net net = ref_net_nchw(1, 17, 6, 5);
	int result = ref_add_conv(&net, plain, net.g->input, 24);
	int y = ref_add_conv(&net, plain, net.g->input, 24);

	for (int i = 0; i < 4; i++)
		y = ref_add_conv(&net, plain, y, 24);
	net.g->output = result;
	check(&net, "output before the last node");
}

/* Large enough that a team of two splits every step of our own. */
static void test_large_own_steps(void)
{
	struct ref_net net = ref_net_nchw(1, 40, 33, 31);
	int x = ref_add_act(&net, net.g->input, acts[3]);
	int s = ref_add(&net, (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL}, x);
	int y = ref_add_binary(&net, KERF_OP_MUL, x, s);

	y = ref_add_binary(&net, KERF_OP_ADD, y, x);
	y = ref_add(&net,
		(struct kerf_node){
			.op = KERF_OP_CONCAT, .n_inputs = 2, .inputs = {0, x}, .axis = 1},
		y);
	y = ref_add(&net, (struct kerf_node){.op = KERF_OP_PAD, .pads = {1, 0, 0, 1}}, y);
	y = ref_add(&net,
		(struct kerf_node){.op = KERF_OP_AVGPOOL, WINDOW(3, 3, 1, 1), .pads = {1, 1, 1, 1}},
		y);
	y = ref_add(&net, (struct kerf_node){.op = KERF_OP_TRANSPOSE, .perm = {0, 2, 3, 1}}, y);
	ref_add(&net, (struct kerf_node){.op = KERF_OP_SOFTMAX, .axis = 2}, y);
	check(&net, "large steps");
}

UNIT_MAIN("engine.ops", UNIT(test_conv), UNIT(test_winograd), UNIT(test_depthwise), UNIT(test_groups), UNIT(test_conv_with_fused_tail),
	UNIT(test_residual_that_must_survive), UNIT(test_gemm), UNIT(test_batchnorm),
	UNIT(test_act), UNIT(test_library_acts), UNIT(test_binary), UNIT(test_equal), UNIT(test_binary_stretches_both),
	UNIT(test_matmul), UNIT(test_gather), UNIT(test_depth_to_space), UNIT(test_reduce), UNIT(test_top), UNIT(test_layernorm), UNIT(test_binary_with_tail), UNIT(test_pools),
	UNIT(test_dilated_pools), UNIT(test_concat), UNIT(test_many_channels_compile), UNIT(test_reshape), UNIT(test_softmax),
	UNIT(test_transpose), UNIT(test_pad), UNIT(test_slice), UNIT(test_output_before_the_last_node),
	UNIT(test_large_own_steps))
