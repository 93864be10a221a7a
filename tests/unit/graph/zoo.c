#include "graph/zoo_internal.h"
#include "reference.h"
#include "sketch.h"
#include "unit.h"

#define MAX_USEFUL 4

/*
 * What is known of each network. Parameters and multiply-adds (billions, two decimals) are those of
 * torchvision's model pages. Bottlenecks at 224x224 are counted in the paper's way (Bakhtiarnia et
 * al. 2022); efficientnet-b0 and vgg-16 as the paper's own code counts them. numeric_size: a side
 * at which the reference takes a second or two.
 */
static const struct known {
	const char *name;
	int64_t parameters;
	double giga_macs;
	int natural;
	struct {
		const char *block;
		double ratio;
	} useful[MAX_USEFUL];
	unsigned numeric_size;
	const char *digest; /* first bytes, at numeric_size, seed 1 */
} known[] = {
	{"mobilenet-v1", 4231976, 0.57, 8,
		{{"block5", .6667}, {"block11", .3333}}, 96,
		"a02359b29ac8343f"},
	{"mobilenet-v2", 3504872, 0.3, 16,
		{{"block1", 0.5}, {"block3", 0.1667}, {"block6", 0.0833}, {"block13", 0.0521}}, 96,
		"b367c27e0c56ab7a"},
	{"mobilenet-v3-small", 2542856, 0.06, 11,
		{{"block0", .3333}, {"block1", .125}, {"block3", .0521}, {"block8", .0312}}, 96,
		"3f0771462267e7ba"},
	{"mobilenet-v3-large", 5483032, 0.22, 14,
		{{"block1", .5}, {"block3", .2083}, {"block6", .1042}, {"block12", .0521}}, 96,
		"c842c84dc64e2ae6"},
	{"efficientnet-b0", 5288548, 0.39, 15,
		{{"block1", 0.5}, {"block3", 0.2083}, {"block5", 0.1042}, {"block11", 0.0625}}, 96,
		"e2d63d25a9093f8e"},
	{"efficientnet-b1", 7794184, 0.69, 21,
		{{"block2", 0.5}, {"block5", 0.2083}, {"block8", 0.1042}, {"block16", 0.0711}}, 0,
		""},
	{"efficientnet-b2", 9109994, 0, 21,
		{{"block2", 0.5}, {"block5", 0.2578}, {"block8", 0.1254}, {"block16", 0.0831}}, 0,
		""},
	{"efficientnet-b3", 12233232, 1.83, 24,
		{{"block2", 0.6667}, {"block5", 0.2567}, {"block8", 0.1284}, {"block18", 0.0859}}, 0,
		""},
	{"efficientnet-b4", 19341616, 4.39, 30,
		{{"block2", 0.6667}, {"block6", 0.2978}, {"block10", 0.1489}, {"block22", 0.0904}}, 0,
		""},
	{"efficientnet-b5", 30389784, 10.27, 36,
		{{"block3", 0.8333}, {"block8", 0.3333}, {"block13", 0.1726}, {"block27", 0.1096}}, 0,
		""},
	{"efficientnet-b6", 43040704, 19.07, 42,
		{{"block3", 0.8333}, {"block9", 0.375}, {"block15", 0.1875}, {"block31", 0.1189}}, 0,
		""},
	{"efficientnet-b7", 66347960, 37.75, 44,
		{{"block11", 0.4167}, {"block18", 0.2139}, {"block38", 0.1284}}, 0,
		""},
	{"efficientnet-v2-b0", 7139704, 0, 20,
		{{"block1", 0.6667}, {"block3", 0.25}, {"block5", 0.125}, {"block13", 0.0625}}, 0,
		""},
	{"efficientnet-v2-b1", 8141052, 0, 25,
		{{"block2", 0.6667}, {"block5", 0.25}, {"block8", 0.125}, {"block18", 0.0711}}, 0,
		""},
	{"efficientnet-v2-b2", 10096086, 0, 26,
		{{"block2", 0.6667}, {"block5", 0.3007}, {"block8", 0.1482}, {"block18", 0.0831}}, 0,
		""},
	{"efficientnet-v2-b3", 14358406, 0, 30,
		{{"block2", 0.8333}, {"block5", 0.2995}, {"block8", 0.1497}, {"block20", 0.0859}}, 0,
		""},
	{"efficientnet-v2-s", 21458488, 8.37, 34,
		{{"block6", 0.3333}, {"block10", 0.1667}, {"block25", 0.0833}}, 0,
		""},
	{"efficientnet-v2-m", 54139356, 24.58, 49,
		{{"block8", 0.4167}, {"block13", 0.2083}, {"block34", 0.099}}, 0,
		""},
	{"efficientnet-v2-l", 118515272, 56.08, 68,
		{{"block11", 0.5}, {"block18", 0.25}, {"block47", 0.125}}, 0,
		""},
	{"resnet-18", 11689512, 1.81, 6,
		{{"block2", 0.6667}, {"block4", 0.3333}, {"block6", 0.1667}}, 64,
		"0185c1e070905d5a"},
	{"resnet-50", 25557032, 4.09, 3,
		{{"block13", 0.6667}}, 64,
		"20beec517f2e765b"},
	{"regnet-y-400mf", 4344144, 0.4, 15,
		{{"block1", 0.5417}, {"block4", 0.2708}, {"block10", 0.1432}}, 96,
		"5da64761757a104f"},
	{"densenet-121", 7978856, 2.83, 4,
		{{"block0", .6667}, {"block1", .3333}, {"block2", .1667}}, 32,
		"75ca9c072dec5706"},
	{"googlenet", 6624904, 1.5, 8,
		{{"block1", .625}, {"block6", .2708}}, 64,
		"42516076bc88569f"},
	{"inception-v3", 23834568, 5.71, 8,
		{{"block3", .8276}, {"block8", .3054}}, 128,
		"e183298987859693"},
	{"squeezenet-1.1", 1235496, 0.35, 6,
		{{"block1", 0.6199}, {"block3", 0.2874}}, 96,
		"a5d471591fa90300"},
	{"vgg-16", 138357544, 15.47, 5,
		{{"block4_pool", 0.6667}, {"block5_pool", 0.1667}}, 32,
		"d41d4faafe06c3e4"},
	{"vgg-19", 143667240, 19.63, 6,
		{{"block4_pool", 0.6667}, {"block5_pool", 0.1667}}, 0,
		""},
};

static const struct known *find_known(const char *name)
{
	for (size_t i = 0; i < KERF_ARRAY_LEN(known); i++)
		if (strcmp(known[i].name, name) == 0)
			return &known[i];
	return NULL;
}

static struct kerf_graph *build(const char *name, unsigned size, uint64_t seed)
{
	struct kerf_err err = {0};
	struct kerf_graph *g =
		zoo_build_sized(name, &(struct kerf_zoo_options){.seed = seed}, size, &err);

	if (!g)
		fprintf(stderr, "%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	return g;
}

/* Learnt parameters: running means and variances are not counted, as in the model pages. */
static int64_t count_parameters(const struct kerf_graph *g)
{
	int64_t n = 0;

	for (int t = 0; t < g->n_tensors; t++) {
		const char *last = strrchr(g->tensors[t].name, '/');
		bool statistic = last && (!strcmp(last, "/mean") || !strcmp(last, "/variance"));
		if (g->tensors[t].data && !statistic)
			n += kerf_tensor_elements(&g->tensors[t]);
	}
	return n;
}

static double count_giga_macs(const struct kerf_graph *g)
{
	double macs = 0;

	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		if (n->op != KERF_OP_CONV && n->op != KERF_OP_GEMM)
			continue;
		const struct kerf_tensor *w = &g->tensors[n->inputs[1]];
		macs += (double)kerf_tensor_elements(&g->tensors[n->output]) *
			(double)(kerf_tensor_elements(w) / w->dims[0]);
	}
	return macs / 1e9;
}

static void check_bottlenecks(const struct kerf_graph *g, const struct known *k)
{
	struct kerf_err err = {0};
	struct kerf_cut *cuts;
	unsigned n;
	int natural = 0, useful = 0;

	CU_ASSERT_EQUAL_FATAL(kerf_graph_find_cuts(g, &cuts, &n, &err), 0);
	kerf_cuts_by_block(cuts, n);
	for (unsigned i = 0; i < n; i++) {
		natural += cuts[i].natural;
		if (!cuts[i].useful)
			continue;
		CU_ASSERT_FATAL(useful < MAX_USEFUL && k->useful[useful].block != NULL);
		CU_ASSERT_STRING_EQUAL(cuts[i].block, k->useful[useful].block);
		if (fabs(cuts[i].ratio - k->useful[useful].ratio) > 6e-5)
			fprintf(stderr, "%s %s: ratio %.6f\n", k->name, cuts[i].block, cuts[i].ratio);
		CU_ASSERT_DOUBLE_EQUAL(cuts[i].ratio, k->useful[useful].ratio, 6e-5);
		useful++;
	}
	if (natural != k->natural)
		fprintf(stderr, "%s: %d natural bottlenecks\n", k->name, natural);
	CU_ASSERT_EQUAL(natural, k->natural);
	CU_ASSERT_TRUE(useful == MAX_USEFUL || k->useful[useful].block == NULL);
	free(cuts);
}

/* Nothing is left that the engine would have to run on its own. */
static void check_fully_fused(const struct kerf_graph *g)
{
	for (int i = 0; i < g->n_nodes; i++) {
		/* DenseNet's BatchNorms come behind a concatenation. */
		if (strncmp(g->name, "densenet", 8))
			CU_ASSERT_NOT_EQUAL(g->nodes[i].op, KERF_OP_BATCHNORM);
		CU_ASSERT_NOT_EQUAL(g->nodes[i].op, KERF_OP_ACT);
		/* In EfficientNetV2's fused blocks the sum comes behind the activation. */
		if (strncmp(g->name, "efficientnet-v2", 15))
			CU_ASSERT_NOT_EQUAL(g->nodes[i].op, KERF_OP_ADD);
	}
}

/* At full size: structure, before and after optimising. */
static void test_architectures(void)
{
	for (size_t i = 0; i < KERF_ARRAY_LEN(known); i++) {
		struct kerf_err err = {0};
		struct kerf_graph *g = kerf_zoo_build(known[i].name, NULL, &err);
		CU_ASSERT_PTR_NOT_NULL_FATAL(g);
		const struct kerf_tensor *out = &g->tensors[g->output];
		CU_ASSERT_EQUAL(count_parameters(g), known[i].parameters);
		if (known[i].giga_macs > 0)
			CU_ASSERT_DOUBLE_EQUAL(count_giga_macs(g), known[i].giga_macs, 0.006);
		CU_ASSERT_TRUE(out->n_dims == 2 && out->dims[0] == 1 && out->dims[1] == 1000);
		CU_ASSERT_EQUAL(g->nodes[out->producer].op, KERF_OP_SOFTMAX);
		check_bottlenecks(g, &known[i]);
		CU_ASSERT_EQUAL_FATAL(kerf_graph_optimize(g, &err), 0);
		check_fully_fused(g);
		check_bottlenecks(g, &known[i]);
		kerf_graph_free(g);
	}
	CU_ASSERT_PTR_NULL(kerf_zoo_name(KERF_ARRAY_LEN(known)));
}

static void test_names(void)
{
	struct kerf_err err = {0};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(known); i++)
		CU_ASSERT_STRING_EQUAL(kerf_zoo_name(i), known[i].name);
	CU_ASSERT_PTR_NULL(kerf_zoo_build("resnet-51", NULL, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "resnet-51"));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "efficientnet-b0"));
	struct kerf_zoo_options huge = {.batch = 1u << 30};
	CU_ASSERT_PTR_NULL(kerf_zoo_build("squeezenet-1.1", &huge, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "batch"));
}

static void test_batch(void)
{
	struct kerf_err err = {0};
	struct kerf_graph *g =
		kerf_zoo_build("squeezenet-1.1", &(struct kerf_zoo_options){.batch = 3}, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(g);
	CU_ASSERT_EQUAL(g->tensors[g->input].dims[0], 3);
	CU_ASSERT_EQUAL(g->tensors[g->output].dims[0], 3);
	CU_ASSERT_EQUAL(g->tensors[g->output].dims[1], 1000);
	check_bottlenecks(g, find_known("squeezenet-1.1"));
	kerf_graph_free(g);
}

static void test_unique_names(void)
{
	struct kerf_graph *g = build("efficientnet-b0", 32, 0);

	for (int i = 0; i < g->n_tensors; i++)
		for (int j = 0; j < i; j++)
			CU_ASSERT_STRING_NOT_EQUAL(g->tensors[i].name, g->tensors[j].name);
	kerf_graph_free(g);
}

/* The same seed gives the same bits whatever the compiler and machine: figures are pinned. */
static void check_digest(const struct kerf_graph *g, const struct known *k)
{
	char hex[17];

	for (int b = 0; b < 8; b++)
		snprintf(hex + 2 * b, 3, "%02x", g->digest[b]);
	if (strcmp(hex, k->digest) != 0)
		fprintf(stderr, "%s: digest %s, pinned %s\n", g->name, hex, k->digest);
	CU_ASSERT_STRING_EQUAL(hex, k->digest);
}

static void test_seed_and_batch_change_digest(void)
{
	struct kerf_err err = {0};
	struct kerf_graph *a = build("squeezenet-1.1", 64, 1), *b = build("squeezenet-1.1", 64, 2);
	struct kerf_graph *c = zoo_build_sized(
		"squeezenet-1.1", &(struct kerf_zoo_options){.batch = 2, .seed = 1}, 64, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	CU_ASSERT_NOT_EQUAL(memcmp(a->digest, b->digest, KERF_DIGEST_LEN), 0);
	CU_ASSERT_NOT_EQUAL(memcmp(a->digest, c->digest, KERF_DIGEST_LEN), 0);
	/* Every bit of the seed counts. */
	kerf_graph_free(b);
	b = build("squeezenet-1.1", 64, 1 | 1ull << 63);
	CU_ASSERT_NOT_EQUAL(memcmp(a->digest, b->digest, KERF_DIGEST_LEN), 0);
	kerf_graph_free(a);
	kerf_graph_free(b);
	kerf_graph_free(c);
}

/* ---- numbers that flow ---- */

/* A picture of coarse blocks and fine noise, variance 1; not what BatchNorm was calibrated on. */
static float *draw_picture(unsigned size, uint64_t seed)
{
	struct kerf_rng rng = {.seed = seed};
	float *x = malloc((size_t)3 * size * size * sizeof(*x)), blocks[3 * 64];

	for (size_t i = 0; i < KERF_ARRAY_LEN(blocks); i++)
		blocks[i] = (float)kerf_rng_normal(&rng);
	for (unsigned i = 0; i < 3 * size * size; i++) {
		unsigned column = i % size * 8 / size, row = i / size % size * 8 / size;
		x[i] = 0.9f * blocks[i / (size * size) * 64 + row * 8 + column] +
			0.436f * (float)kerf_rng_normal(&rng);
	}
	return x;
}

static double root_mean_square(const float *v, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += (double)v[i] * v[i];
	return sqrt(sum / (double)n);
}

/* Pearson's correlation. */
static double correlation(const float *a, const float *b, int64_t n)
{
	double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;

	for (int64_t i = 0; i < n; i++) {
		ma += a[i] / (double)n;
		mb += b[i] / (double)n;
	}
	for (int64_t i = 0; i < n; i++) {
		aa += (a[i] - ma) * (a[i] - ma);
		bb += (b[i] - mb) * (b[i] - mb);
		ab += (a[i] - ma) * (b[i] - mb);
	}
	return ab / sqrt(aa * bb);
}

/* What every layer puts out is of the order of 1, from the first to the last. */
static void check_scale(const struct kerf_graph *g, float **v)
{
	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		if (n->op == KERF_OP_SOFTMAX)
			continue;
		int64_t count = kerf_tensor_elements(&g->tensors[n->output]);
		double rms = root_mean_square(v[n->output], count);
		if (!(rms > 0.1 && rms < 15))
			fprintf(stderr, "%s %s: root mean square %g\n", g->name, n->name, rms);
		CU_ASSERT_TRUE(rms > 0.1 && rms < 15);
	}
}

/* A distribution over the classes that favours some, and not one alone. */
static void check_probabilities(const float *p)
{
	double sum = 0, largest = 0;

	for (int i = 0; i < 1000; i++) {
		CU_ASSERT_TRUE(p[i] >= 0);
		sum += p[i];
		largest = fmax(largest, p[i]);
	}
	CU_ASSERT_DOUBLE_EQUAL(sum, 1, 1e-4);
	CU_ASSERT_TRUE(largest > 0.003 && largest < 0.95);
}

/* Activations neither vanish nor explode, different pictures differ, optimising changes nothing. */
static void check_numbers(const struct known *k)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = build(k->name, k->numeric_size, 1);
	float *pictures[2] = {
		draw_picture(k->numeric_size, 1), draw_picture(k->numeric_size, 2)};
	float **a = reference_run(g, pictures[0]), **b = reference_run(g, pictures[1]);
	float plain[1000];
	double worst = 0;

	check_digest(g, k);
	check_scale(g, a);
	memcpy(plain, a[g->output], sizeof(plain));
	check_probabilities(plain);
	CU_ASSERT_TRUE(correlation(a[g->output], b[g->output], 1000) < 0.9);
	reference_free(g, a);
	reference_free(g, b);
	CU_ASSERT_EQUAL_FATAL(kerf_graph_optimize(g, &err), 0);
	a = reference_run(g, pictures[0]);
	for (int i = 0; i < 1000; i++)
		worst = fmax(worst, fabs((double)a[g->output][i] - plain[i]) / plain[i]);
	CU_ASSERT_TRUE(worst < 1e-3);
	reference_free(g, a);
	kerf_graph_free(g);
	free(pictures[0]);
	free(pictures[1]);
}

static void test_numbers_and_digests(void)
{
	for (size_t i = 0; i < KERF_ARRAY_LEN(known); i++)
		if (known[i].numeric_size)
			check_numbers(&known[i]);
}

/* Calibrated: what a BatchNorm puts out has its own scale and bias, near enough. */
static void test_batchnorm_is_calibrated(void)
{
	struct kerf_graph *g = build("mobilenet-v2", 160, 3);
	float *x = draw_picture(160, 5);
	float **v = reference_run(g, x);

	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		if (n->op != KERF_OP_BATCHNORM)
			continue;
		const struct kerf_tensor *t = &g->tensors[n->output];
		double wanted = root_mean_square(g->tensors[n->inputs[1]].data, t->dims[1]);
		double found = root_mean_square(v[n->output], kerf_tensor_elements(t));
		CU_ASSERT_TRUE(found > wanted * 0.6 && found < wanted * 2);
	}
	reference_free(g, v);
	free(x);
	kerf_graph_free(g);
}

UNIT_MAIN("zoo", UNIT(test_architectures), UNIT(test_names), UNIT(test_batch),
	UNIT(test_unique_names), UNIT(test_seed_and_batch_change_digest),
	UNIT(test_numbers_and_digests), UNIT(test_batchnorm_is_calibrated))
