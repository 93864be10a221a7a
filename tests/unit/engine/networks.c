/* Whole networks: pre-trained ones against ONNX Runtime, known architectures at every cut. */
#include "cutting.h"

/* Raw little-endian f32; NULL when it is not exactly `n` values. */
static float *read_values(const char *path, int64_t n)
{
	float *v = ref_alloc((size_t)n + 1, sizeof(*v));
	FILE *f = fopen(path, "rb");
	size_t got = f ? fread(v, sizeof(*v), (size_t)n + 1, f) : 0;

	if (f)
		fclose(f);
	if (got == (size_t)n)
		return v;
	free(v);
	return NULL;
}

static float *read_expected(const char *name, const char *which, const struct kerf_tensor *t)
{
	char path[4352];

	snprintf(path, sizeof(path), "%s/models/expected/%s.kitten.%s.f32", unit_test_data(), name,
		which);
	return read_values(path, kerf_tensor_elements(t));
}

static double *widen(const float *v, int64_t n)
{
	double *d = ref_alloc((size_t)n, sizeof(*d));

	for (int64_t i = 0; i < n; i++)
		d[i] = (double)v[i];
	return d;
}

/* Loads, optimises if asked to, runs the photo of a kitten. */
static void check_pretrained(const char *name, bool optimise)
{
	char path[4352];
	struct kerf_err err = {0};

	snprintf(path, sizeof(path), "%s/models/models/%s.onnx", unit_test_data(), name);
	struct kerf_graph *g = kerf_graph_load(path, NULL, &err);
	if (!g || (optimise && kerf_graph_optimize(g, &err) < 0))
		printf("%s: %s\n", name, err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	const struct kerf_tensor *in = &g->tensors[g->input], *out = &g->tensors[g->output];
	float *x = read_expected(name, "input", in), *y = read_expected(name, "output", out);
	CU_ASSERT_PTR_NOT_NULL_FATAL(x);
	CU_ASSERT_PTR_NOT_NULL_FATAL(y);
	double *want = widen(y, kerf_tensor_elements(out));
	struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
	if (!e)
		printf("%s: %s\n", name, err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *c = kerf_context_create(e, &err);
	ref_to_engine(in, x, kerf_context_tensor(c, g->input));
	CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
	double error = ref_error(out, kerf_context_tensor(c, g->output), want);
	printf("%s%s: relative error %.1e\n", name, optimise ? "" : " as it is", error);
	CU_ASSERT(error <= 1e-4);
	kerf_context_free(c);
	kerf_engine_free(e);
	kerf_graph_free(g);
	free(want);
	free(x);
	free(y);
}

static void test_pretrained_networks(void)
{
	static const char *const names[] = {"mobilenet_v2_1.0_224_imagenet",
		"mobilenet_v1_0.25_128_imagenet", "mobilenet_v1_0.5_160_imagenet",
		"mobilenet_v1_0.75_192_imagenet", "squeezenet1.1_imagenet_fp32"};

	if (!unit_test_data()) {
		printf("SKIP no test data: set KERF_TEST_DATA\n");
		return;
	}
	for (size_t i = 0; i < KERF_ARRAY_LEN(names); i++) {
		check_pretrained(names[i], true);
		check_pretrained(names[i], false);
	}
}

static struct kerf_graph *build(const char *name, bool optimise)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = kerf_zoo_build(name, &(struct kerf_zoo_options){.seed = 3}, &err);

	if (!g || (optimise && kerf_graph_optimize(g, &err) < 0))
		printf("%s: %s\n", name, err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	return g;
}

static float *random_picture(const struct kerf_graph *g)
{
	uint64_t seed = 11;

	return ref_random_values(kerf_tensor_elements(&g->tensors[g->input]), -2, 2, &seed);
}

static void check_cuts(const char *name, unsigned stride)
{
	struct kerf_graph *g = build(name, true);
	float *x = random_picture(g);

	check_every_cut(g, x, stride);
	free(x);
	kerf_graph_free(g);
}

static void test_every_cut_of_mobilenet_v2(void)
{
	check_cuts("mobilenet-v2", 1);
}

static void test_every_cut_of_efficientnet_b0(void)
{
	check_cuts("efficientnet-b0", 1);
}

/* Slow networks: places at every cut, bits at some. */
static void test_some_cuts_of_the_others(void)
{
	check_cuts("squeezenet-1.1", 3);
	check_cuts("resnet-50", 13);
}

/* The unfused network computes the same as the fused one but for rounding. */
static void test_optimising_keeps_networks(void)
{
	static const char *const names[] = {"mobilenet-v2", "efficientnet-b0"};

	for (size_t i = 0; i < KERF_ARRAY_LEN(names); i++) {
		double *want = NULL;
		for (int optimise = 0; optimise < 2; optimise++) {
			struct kerf_err err = {0};
			struct kerf_graph *g = build(names[i], optimise);
			const struct kerf_tensor *out = &g->tensors[g->output];
			float *x = random_picture(g);
			struct kerf_engine *e = kerf_engine_compile(g, NULL, &err);
			CU_ASSERT_PTR_NOT_NULL_FATAL(e);
			struct kerf_context *c = kerf_context_create(e, &err);
			set_input(c, g, x);
			CU_ASSERT_EQUAL(kerf_engine_run(c, 0, (unsigned)g->n_nodes), 0);
			const float *y = kerf_context_tensor(c, g->output);
			if (optimise) {
				CU_ASSERT(ref_error(out, y, want) <= 1e-4);
			} else {
				want = widen(y, kerf_tensor_elements(out));
			}
			kerf_context_free(c);
			kerf_engine_free(e);
			kerf_graph_free(g);
			free(x);
		}
		free(want);
	}
}

UNIT_MAIN("engine.networks", UNIT(test_pretrained_networks), UNIT(test_every_cut_of_mobilenet_v2),
	UNIT(test_every_cut_of_efficientnet_b0), UNIT(test_some_cuts_of_the_others),
	UNIT(test_optimising_keeps_networks))
