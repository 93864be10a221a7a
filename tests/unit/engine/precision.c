/* bf16 and int8 against arithmetic in double on rounded values; cuts, ranges, refusals. */
#include "cutting.h"

#define RELU ((struct kerf_act){.kind = KERF_ACT_RELU})
#define RELU6 ((struct kerf_act){.kind = KERF_ACT_CLIP, .lo = 0, .hi = 6})

static struct kerf_range *empty_ranges(const struct kerf_graph *g)
{
	struct kerf_range *r = ref_alloc((size_t)g->n_tensors, sizeof(*r));

	for (int i = 0; i < g->n_tensors; i++)
		r[i] = (struct kerf_range){INFINITY, -INFINITY};
	return r;
}

/* From the engine in f32, on x in ONNX order. */
static struct kerf_range *observed_ranges(const struct kerf_graph *g, const float *x)
{
	struct kerf_err err = {0};
	struct kerf_range *r = empty_ranges(g);
	struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);

	ref_to_engine(&g->tensors[g->input], x, kerf_context_tensor(c, g->input));
	CU_ASSERT_EQUAL(kerf_engine_observe(c, g, r), 0);
	kerf_context_free(c);
	kerf_engine_free(e);
	return r;
}

/* ---- the reference: what a convolution reads is rounded first, and so are its weights ---- */

static double to_bf16(double v)
{
	const float f = (float)v;
	uint32_t bits;
	float rounded;

	memcpy(&bits, &f, sizeof(bits));
	bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000;
	memcpy(&rounded, &bits, sizeof(rounded));
	return (double)rounded;
}

static double to_grid(double v, double scale, double lo, double hi)
{
	return scale * fmin(fmax(nearbyint(v / scale), lo), hi);
}

static double round_value(double v, enum kerf_precision p, const struct kerf_range *r)
{
	if (p == KERF_PRECISION_BF16)
		return to_bf16(v);
	if (r->lo < 0)
		return to_grid(v, fmax(-(double)r->lo, (double)r->hi) / 127, -127, 127);
	return to_grid(v, (double)r->hi / 255, 0, 255);
}

static double *rounded(const double *v, int64_t n, enum kerf_precision p, const struct kerf_range *r)
{
	double *to = ref_alloc((size_t)n, sizeof(*to));

	for (int64_t i = 0; i < n; i++)
		to[i] = round_value(v[i], p, r);
	return to;
}

/* Each output channel has a range of its own. */
static double *rounded_weights(const struct kerf_tensor *w, const double *v, enum kerf_precision p)
{
	const int64_t row = kerf_tensor_elements(w) / w->dims[0];
	double *to = ref_alloc((size_t)kerf_tensor_elements(w), sizeof(*to));

	for (int64_t oc = 0; oc < w->dims[0]; oc++) {
		struct kerf_range r = {0, 0};

		for (int64_t i = oc * row; i < (oc + 1) * row; i++)
			r.lo = fminf(r.lo, -(float)fabs(v[i]));
		for (int64_t i = oc * row; i < (oc + 1) * row; i++)
			to[i] = round_value(v[i], p, &r);
	}
	return to;
}

static double **run_rounded(const struct kerf_graph *g, const float *x, enum kerf_precision p, const struct kerf_range *ranges)
{
	double **v = ref_run(g, x);
	const struct ref r = {.g = g, .v = v};

	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];

		free(v[n->output]);
		if (n->op != KERF_OP_CONV && n->op != KERF_OP_GEMM) {
			ref_node(&r, n);
			continue;
		}
		const int in = n->inputs[0], weights = n->inputs[1];
		double *full[2] = {v[in], v[weights]};
		v[in] = rounded(full[0], kerf_tensor_elements(&g->tensors[in]), p, &ranges[in]);
		v[weights] = rounded_weights(&g->tensors[weights], full[1], p);
		ref_node(&r, n);
		free(v[in]);
		free(v[weights]);
		v[in] = full[0];
		v[weights] = full[1];
	}
	return v;
}

/* ---- networks ---- */

/* Every way that a convolution's result can go: to convolutions alone, into a sum, to a pool, to an activation of ours. */
static struct ref_net build_net(void)
{
	struct ref_net net = ref_net_nchw(1, 3, 20, 18);
	struct kerf_node one = {.kernel = {1, 1}}, three = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}}, dw = three;

	dw.groups = 32;
	int x = ref_add_act(&net, ref_add_conv(&net, three, net.g->input, 32), RELU);
	int y = ref_add_act(&net, ref_add_conv(&net, dw, x, 32), RELU6);
	y = ref_add_conv(&net, one, y, 48);
	y = ref_add_act(&net, ref_add_conv(&net, one, y, 64), RELU);
	y = ref_add_binary(&net, KERF_OP_ADD, ref_add_conv(&net, three, y, 32), x);
	y = ref_add_act(&net, ref_add_conv(&net, one, y, 32), (struct kerf_act){.kind = KERF_ACT_SILU});
	y = ref_add(&net,
		(struct kerf_node){.op = KERF_OP_MAXPOOL, .kernel = {2, 2}, .strides = {2, 2}}, y);
	y = ref_add_act(&net, ref_add_conv(&net, three, y, 80), (struct kerf_act){.kind = KERF_ACT_LEAKY_RELU, .lo = 0.1f});
	y = ref_add_conv(&net, one, y, 16);
	y = ref_add(&net, (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL}, y);
	y = ref_add_reshape(&net, y, 2, (int64_t[]){1, 16});
	struct kerf_node fc = {.op = KERF_OP_GEMM, .n_inputs = 3};
	fc.inputs[1] = ref_constant(&net, 2, (int64_t[]){64, 16}, -1, 1);
	fc.inputs[2] = ref_constant(&net, 1, (int64_t[]){64}, -1, 1);
	ref_add(&net, fc, y);
	return net;
}

static float *random_input(struct ref_net *net)
{
	return ref_random_values(kerf_tensor_elements(&net->g->tensors[net->g->input]), -2, 2, &net->seed);
}

static unsigned count_steps(const struct kerf_engine *e, const char *name)
{
	unsigned n = 0;

	for (unsigned s = 0; s < kerf_engine_steps(e); s++)
		n += strncmp(kerf_engine_step_name(e, s), name, strlen(name)) == 0;
	return n;
}

/* The CPU has instructions for it. Without, bf16 is not used, and oneDNN multiplies integers with one bit less. */
static bool is_native(enum kerf_precision p)
{
	char isa[64];

	kerf_engine_fingerprint_text(isa, sizeof(isa));
	return (p == KERF_PRECISION_INT8 && strstr(isa, "core_vnni")) || strstr(isa, "core_bf16") || strstr(isa, "core_amx") ||
		strstr(isa, "core_fp16");
}

/* How far the engine's output is from the full and the rounded arithmetic, and how many of its steps have such names. */
struct outcome {
	double from_full, from_rounded;
	unsigned steps;
};

static struct outcome run_net(struct ref_net net, enum kerf_precision p, const char *name)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = net.g;
	float *x = random_input(&net);

	CU_ASSERT_EQUAL(kerf_graph_optimize(g, &err), 0);
	struct kerf_range *ranges = observed_ranges(g, x);
	double **full = ref_run(g, x), **want = run_rounded(g, x, p, ranges);
	struct kerf_engine *e = kerf_engine_compile(
		g, &(struct kerf_engine_options){.precision = p, .ranges = ranges, .threads = 2}, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);
	ref_to_engine(&g->tensors[g->input], x, kerf_context_tensor(c, g->input));
	CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
	const struct kerf_tensor *out = &g->tensors[g->output];
	const float *y = kerf_context_tensor(c, g->output);
	const struct outcome o = {
		ref_error(out, y, full[g->output]), ref_error(out, y, want[g->output]), count_steps(e, name)};
	kerf_context_free(c);
	kerf_engine_free(e);
	ref_free(g, full);
	ref_free(g, want);
	free(ranges);
	free(x);
	kerf_graph_free(g);
	return o;
}

/* Close to the rounded arithmetic; equal to the full one where the CPU has no fast code. */
static void check_arithmetic(enum kerf_precision p, const char *narrowing, unsigned narrowed)
{
	const struct outcome o = run_net(build_net(), p, narrowing);

	printf("%s: %.1e from f32, %.1e from rounded values, %u of them narrowed\n", kerf_precision_name(p), o.from_full,
		o.from_rounded, o.steps);
	if (is_native(p)) {
		CU_ASSERT_EQUAL(o.steps, narrowed);
		CU_ASSERT(o.from_full > 1e-4 && o.from_full < 0.1);
		CU_ASSERT(o.from_rounded < o.from_full / 4);
	} else {
		CU_ASSERT(o.from_full < (o.steps ? 0.1 : 1e-5));
	}
}

/* The input, both sides of the residual, the pool's and the averaged result are read in f32; the rest is not. */
static void test_bf16_arithmetic(void)
{
	check_arithmetic(KERF_PRECISION_BF16, "to_bf16", 5);
}

static void test_int8_arithmetic(void)
{
	check_arithmetic(KERF_PRECISION_INT8, "to_int8", 5);
}

#define NONE (struct kerf_act){.kind = KERF_ACT_NONE}
#define SILU (struct kerf_act){.kind = KERF_ACT_SILU}

#define LEAKY (struct kerf_act){.kind = KERF_ACT_LEAKY_RELU, .lo = 0.1f}

/*
 * With a sign or without, of more channels than a block has, on maps narrower and wider than a tile, into the same type or
 * into f32. An activation that only oneDNN takes along leaves the step to it.
 */
static void check_depthwise(enum kerf_precision p, const char *step)
{
	const struct {
		int64_t width;
		struct kerf_act before;
	} cases[] = {{21, RELU}, {21, NONE}, {16, RELU}, {5, RELU}};
	const struct kerf_act behind[] = {RELU6, NONE, SILU, LEAKY};

	for (int kernel = 3; kernel <= 5; kernel += 2)
		for (int stride = 1; stride <= 2; stride++)
			for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++)
				for (size_t k = 0; k < KERF_ARRAY_LEN(behind); k++) {
					struct ref_net net = ref_net_nchw(2, 3, 18, cases[i].width);
					const struct kerf_node one = {.kernel = {1, 1}},
						three = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}};
					const int pad = kernel / 2;
					const struct kerf_node dw = {.kernel = {kernel, kernel}, .strides = {stride, stride},
						.pads = {pad, pad - stride + 1, pad, pad}, .groups = 80};
					int y = ref_add_act(&net, ref_add_conv(&net, three, net.g->input, 80), cases[i].before);
					y = ref_add_act(&net, ref_add_conv(&net, dw, y, 80), behind[k]);
					ref_add_conv(&net, one, y, 24);
					const struct outcome o = run_net(net, p, step);

					if (is_native(p)) {
						CU_ASSERT_EQUAL(o.steps, behind[k].kind != KERF_ACT_LEAKY_RELU);
						CU_ASSERT(o.from_rounded < o.from_full / 4);
					}
					CU_ASSERT(o.from_full < 0.1);
				}
}

static void test_bf16_depthwise(void)
{
	check_depthwise(KERF_PRECISION_BF16, "conv bf16 depthwise");
}

static void test_int8_depthwise(void)
{
	check_depthwise(KERF_PRECISION_INT8, "conv int8 depthwise");
}

/* Few inputs, into bytes with a sign or without: channels that fill blocks or not, fewer pixels than a tile's too. */
static void test_int8_pointwise(void)
{
	static const struct {
		int64_t depth, channels, h, w;
	} shapes[] = {{16, 96, 12, 12}, {24, 144, 7, 7}, {128, 64, 5, 10}, {4, 52, 9, 11}, {100, 43, 1, 5}, {32, 200, 3, 2}};
	const struct kerf_act before[] = {RELU, NONE}, behind[] = {RELU, RELU6, NONE};

	for (size_t i = 0; i < KERF_ARRAY_LEN(shapes); i++)
		for (size_t j = 0; j < KERF_ARRAY_LEN(before); j++)
			for (size_t k = 0; k < KERF_ARRAY_LEN(behind); k++) {
				struct ref_net net = ref_net_nchw(2, 3, shapes[i].h, shapes[i].w);
				const struct kerf_node one = {.kernel = {1, 1}}, three = {.kernel = {3, 3}, .pads = {1, 1, 1, 1}};
				int y = ref_add_act(&net, ref_add_conv(&net, three, net.g->input, shapes[i].depth), before[j]);
				y = ref_add_act(&net, ref_add_conv(&net, one, y, shapes[i].channels), behind[k]);
				ref_add_conv(&net, three, y, 24);
				const struct outcome o = run_net(net, KERF_PRECISION_INT8, "conv int8 pointwise");

				if (is_native(KERF_PRECISION_INT8)) {
					CU_ASSERT_EQUAL(o.steps, 1);
					CU_ASSERT(o.from_rounded < o.from_full / 4);
				}
				CU_ASSERT(o.from_full < (is_native(KERF_PRECISION_INT8) ? 0.1 : 0.2)); /* 7 bits lose more */
			}
}

/* Large 3x3 and 5x5 convolutions are faster in f32 by Winograd's where a CPU has AVX2 and no VNNI, small ones are not. */
static void test_int8_beside_winograd(void)
{
	char isa[64];
	const bool beats = strstr(kerf_engine_fingerprint_text(isa, sizeof(isa)), "avx") && !strstr(isa, "avx ") &&
		!strstr(isa, "vnni") && !is_native(KERF_PRECISION_INT8);
	const struct {
		int size, kernel;
		bool winograd;
	} cases[] = {{24, 3, beats}, {16, 3, false}, {16, 5, beats}};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		const int k = cases[i].kernel, pad = k / 2;
		const struct kerf_node one = {.kernel = {1, 1}}, wide = {.kernel = {k, k}, .pads = {pad, pad, pad, pad}};
		struct ref_net net = ref_net_nchw(1, 3, cases[i].size, cases[i].size);
		int y = ref_add_act(&net, ref_add_conv(&net, one, net.g->input, 32), RELU);

		y = ref_add_act(&net, ref_add_conv(&net, wide, y, 48), RELU);
		ref_add_conv(&net, one, y, 16);
		const struct outcome o = run_net(net, KERF_PRECISION_INT8, "conv winograd");
		CU_ASSERT_EQUAL(o.steps, cases[i].winograd);
		CU_ASSERT(o.from_full < 0.1);
	}
}

static void test_every_cut(void)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = kerf_zoo_build("mobilenet-v2", NULL, &err);
	uint64_t seed = 3;

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(kerf_graph_optimize(g, &err), 0);
	float *x = ref_random_values(kerf_tensor_elements(&g->tensors[g->input]), -2, 2, &seed);
	struct kerf_range *ranges = observed_ranges(g, x);
	for (unsigned p = KERF_PRECISION_BF16; kerf_precision_name(p); p++)
		check_every_cut_with(
			g, x, 1, (struct kerf_engine_options){.precision = (enum kerf_precision)p, .ranges = ranges});
	free(ranges);
	free(x);
	kerf_graph_free(g);
}

static void test_ranges(void)
{
	struct ref_net net = build_net();
	struct kerf_graph *g = net.g;
	float *x = random_input(&net);
	double **v = ref_run(g, x);
	struct kerf_range *r = observed_ranges(g, x);

	for (int t = 0; t < g->n_tensors; t++) {
		double lo = INFINITY, hi = -INFINITY;

		if (g->tensors[t].data)
			continue;
		for (int64_t i = 0; i < kerf_tensor_elements(&g->tensors[t]); i++) {
			lo = fmin(lo, v[t][i]);
			hi = fmax(hi, v[t][i]);
		}
		CU_ASSERT_DOUBLE_EQUAL(r[t].lo, lo, 1e-4);
		CU_ASSERT_DOUBLE_EQUAL(r[t].hi, hi, 1e-4);
	}
	ref_free(g, v);
	free(r);
	free(x);
	kerf_graph_free(g);
}

/* Nothing is known, or nothing but zeros, what is no number, or hardly one: finite results all the same. */
static void test_useless_ranges(void)
{
	static const struct kerf_range useless[] = {
		{INFINITY, -INFINITY}, {0, 0}, {NAN, 1}, {-INFINITY, INFINITY}, {-1e-45f, 1e-45f}, {-3e38f, 3e38f}};
	struct ref_net net = build_net();
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	float *x = random_input(&net);
	struct kerf_range *r = empty_ranges(g);

	for (size_t k = 0; k < KERF_ARRAY_LEN(useless); k++) {
		for (int t = 0; t < g->n_tensors; t++)
			r[t] = useless[k];
		struct kerf_engine *e = kerf_engine_compile(
			g, &(struct kerf_engine_options){.precision = KERF_PRECISION_INT8, .ranges = r}, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		struct kerf_context *c = kerf_context_create(e, &err);
		ref_to_engine(&g->tensors[g->input], x, kerf_context_tensor(c, g->input));
		CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
		for (int64_t i = 0; i < kerf_tensor_elements(&g->tensors[g->output]); i++)
			CU_ASSERT(isfinite(kerf_context_tensor(c, g->output)[i]));
		kerf_context_free(c);
		kerf_engine_free(e);
	}
	free(r);
	free(x);
	kerf_graph_free(g);
}

/* What the file says does as well as what was observed. */
static void test_the_file_may_say_the_ranges(void)
{
	struct ref_net net = build_net();
	struct kerf_graph *g = net.g;
	struct kerf_err err = {0};
	float *x = random_input(&net);
	struct kerf_range *r = observed_ranges(g, x);
	float y[2][64];

	for (int said = 0; said < 2; said++) {
		for (int t = 0; t < g->n_tensors && said; t++)
			if (r[t].lo <= r[t].hi)
				g->tensors[t].range = r[t];
		struct kerf_engine *e = kerf_engine_compile(g,
			&(struct kerf_engine_options){.precision = KERF_PRECISION_INT8, .ranges = said ? NULL : r}, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(e);
		struct kerf_context *c = kerf_context_create(e, &err);
		ref_to_engine(&g->tensors[g->input], x, kerf_context_tensor(c, g->input));
		CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
		memcpy(y[said], kerf_context_tensor(c, g->output), sizeof(y[said]));
		kerf_context_free(c);
		kerf_engine_free(e);
	}
	CU_ASSERT_EQUAL(memcmp(y[0], y[1], sizeof(y[0])), 0);
	free(r);
	free(x);
	kerf_graph_free(g);
}

static void test_int8_needs_ranges(void)
{
	struct ref_net net = build_net();
	struct kerf_err err = {0};

	CU_ASSERT_PTR_NULL(
		kerf_engine_compile(net.g, &(struct kerf_engine_options){.precision = KERF_PRECISION_INT8}, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "ranges"));
	kerf_graph_free(net.g);
}

UNIT_MAIN("precision", UNIT(test_bf16_arithmetic), UNIT(test_int8_arithmetic), UNIT(test_bf16_depthwise), UNIT(test_int8_depthwise), UNIT(test_int8_pointwise),
	UNIT(test_int8_beside_winograd), UNIT(test_every_cut), UNIT(test_ranges), UNIT(test_useless_ranges), UNIT(test_the_file_may_say_the_ranges), UNIT(test_int8_needs_ranges))
