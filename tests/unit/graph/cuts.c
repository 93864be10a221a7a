#include "sketch.h"
#include "unit.h"

/* Whether tensor t crosses cut k, straight from the definition. */
static bool crosses(const struct kerf_graph *g, int t, int k)
{
	const struct kerf_tensor *x = &g->tensors[t];
	bool computed = t == g->input || (!x->data && x->producer >= 0 && x->producer < k);
	bool needed = t == g->output;

	for (int i = k; i < g->n_nodes; i++) {
		for (int j = 0; j < g->nodes[i].n_inputs; j++)
			needed |= g->nodes[i].inputs[j] == t;
		needed |= g->nodes[i].residual == t;
	}
	return computed && needed && k < g->n_nodes;
}

/* Every cut against the definition. */
static void check_cuts(const struct kerf_graph *g)
{
	struct kerf_err err = {0};
	struct kerf_cut *cuts;
	unsigned n;

	CU_ASSERT_EQUAL_FATAL(kerf_graph_find_cuts(g, &cuts, &n, &err), 0);
	CU_ASSERT_EQUAL_FATAL(n, (unsigned)g->n_nodes + 1);
	for (unsigned k = 0; k < n; k++) {
		int count = 0;
		int64_t elements = 0;
		for (int t = 0; t < g->n_tensors; t++) {
			if (!crosses(g, t, (int)k))
				continue;
			if (count < KERF_MAX_CUT_TENSORS)
				CU_ASSERT_EQUAL(cuts[k].tensors[count], t);
			count++;
			elements += kerf_tensor_elements(&g->tensors[t]);
		}
		CU_ASSERT_EQUAL(cuts[k].position, (int)k);
		CU_ASSERT_EQUAL(cuts[k].n_tensors, count);
		CU_ASSERT_EQUAL(cuts[k].elements, elements);
	}
	free(cuts);
}

static struct kerf_cut *find(const struct kerf_graph *g, unsigned *n)
{
	struct kerf_err err = {0};
	struct kerf_cut *cuts;

	CU_ASSERT_EQUAL_FATAL(kerf_graph_find_cuts(g, &cuts, n, &err), 0);
	return cuts;
}

/* input 64 -> conv 128 -> pool 32 -> conv 32 -> conv 64 -> pool 16 */
static void test_chain_ratios(void)
{
	struct sketch s = sketch_begin(1, 1, 8, 8);
	int x = sketch_conv(&s, "c0", s.g->input, 2, 3);
	x = sketch_maxpool(&s, "p0", x, 2, 2);
	x = sketch_conv(&s, "c1", x, 2, 1);
	x = sketch_conv(&s, "c2", x, 4, 1);
	x = sketch_maxpool(&s, "p1", x, 2, 2);
	s.g->output = sketch_relu(&s, "out", x);
	static const double ratios[] = {1, 2, .5, .5, 1, .25, 0};
	static const bool natural[] = {false, false, true, true, false, true, false};
	static const bool useful[] = {false, false, true, false, false, true, false};
	unsigned n;
	struct kerf_cut *cuts = find(s.g, &n);

	CU_ASSERT_EQUAL_FATAL(n, KERF_ARRAY_LEN(ratios));
	for (unsigned k = 0; k < n; k++) {
		CU_ASSERT_EQUAL(cuts[k].ratio, ratios[k]);
		CU_ASSERT_EQUAL(cuts[k].natural, natural[k]);
		CU_ASSERT_EQUAL(cuts[k].useful, useful[k]);
		CU_ASSERT_TRUE(cuts[k].candidate);
		CU_ASSERT_PTR_NULL(cuts[k].block);
	}
	CU_ASSERT_EQUAL(cuts[0].tensors[0], s.g->input);
	CU_ASSERT_EQUAL(cuts[n - 1].n_tensors, 0);
	free(cuts);
	check_cuts(s.g);
	kerf_graph_free(s.g);
}

/* Two tensors cross inside a residual block, whether the sum is a node or fused. */
static void test_residual_crosses(void)
{
	for (int fused = 0; fused < 2; fused++) {
		struct kerf_err err = {0};
		struct sketch s = sketch_begin(1, 4, 4, 4);
		int x = sketch_conv(&s, "stem", s.g->input, 4, 1);
		int y = sketch_conv(&s, "a", x, 8, 1);
		y = sketch_conv(&s, "b", y, 4, 1);
		y = sketch_add(&s, "sum", x, y);
		s.g->output = sketch_conv(&s, "end", y, 4, 1);
		if (fused)
			CU_ASSERT_EQUAL_FATAL(kerf_graph_optimize(s.g, &err), 0);
		CU_ASSERT_EQUAL(s.g->n_nodes, fused ? 4 : 5);
		unsigned n;
		struct kerf_cut *cuts = find(s.g, &n);
		CU_ASSERT_EQUAL(cuts[1].n_tensors, 1);
		CU_ASSERT_EQUAL(cuts[2].n_tensors, 2);
		CU_ASSERT_EQUAL(cuts[2].elements, 16 * (4 + 8));
		CU_ASSERT_FALSE(cuts[2].natural);
		CU_ASSERT_FALSE(cuts[2].candidate);
		CU_ASSERT_EQUAL(cuts[n - 2].n_tensors, 1);
		free(cuts);
		check_cuts(s.g);
		kerf_graph_free(s.g);
	}
}

/* Two tensors, but together fewer elements than at both neighbours: worth considering. */
static void test_two_tensor_dip_is_candidate(void)
{
	struct sketch s = sketch_begin(1, 4, 8, 8);
	int wide = sketch_conv(&s, "wide", s.g->input, 16, 1);
	int a = sketch_maxpool(&s, "a", wide, 4, 4);
	int b = sketch_maxpool(&s, "b", wide, 2, 2);
	int c = sketch_conv(&s, "c", a, 64, 1);
	c = sketch_average(&s, "average", c);
	b = sketch_average(&s, "average_b", b);
	s.g->output = sketch_concat(&s, "join", c, b);
	unsigned n;
	struct kerf_cut *cuts = find(s.g, &n);

	/* wide 1024; wide + a; a + b 64 + 256; c + b 256 + 256 */
	CU_ASSERT_EQUAL(cuts[2].elements, 1024 + 64);
	CU_ASSERT_FALSE(cuts[2].candidate);
	CU_ASSERT_EQUAL(cuts[3].elements, 64 + 256);
	CU_ASSERT_EQUAL(cuts[3].n_tensors, 2);
	CU_ASSERT_TRUE(cuts[3].candidate);
	CU_ASSERT_FALSE(cuts[3].natural);
	CU_ASSERT_FALSE(cuts[4].candidate);
	free(cuts);
	check_cuts(s.g);
	kerf_graph_free(s.g);
}

/* Fewer elements than at one neighbour only is no dip, whichever neighbour that is. */
static void test_slopes_are_no_candidates(void)
{
	struct sketch s = sketch_begin(1, 4, 4, 4);
	int x = sketch_conv(&s, "stem", s.g->input, 4, 1);
	int y = sketch_conv(&s, "a", x, 1, 1);
	y = sketch_conv(&s, "b", y, 16, 1);
	y = sketch_conv(&s, "c", y, 8, 1);
	y = sketch_conv(&s, "d", y, 4, 1);
	s.g->output = sketch_relu(&s, "relu", sketch_add(&s, "sum", x, y));
	static const int64_t elements[] = {64, 64, 64 + 16, 64 + 256, 64 + 128, 64 + 64, 64, 0};
	unsigned n;
	struct kerf_cut *cuts = find(s.g, &n);

	CU_ASSERT_EQUAL_FATAL(n, KERF_ARRAY_LEN(elements));
	for (unsigned k = 0; k < n; k++) {
		CU_ASSERT_EQUAL(cuts[k].elements, elements[k]);
		CU_ASSERT_EQUAL(cuts[k].candidate, k < 2 || k > 5);
	}
	free(cuts);
	check_cuts(s.g);
	kerf_graph_free(s.g);
}

/* Ten branches are more than a cut may carry; the count and the sum are still right. */
static void test_too_many_tensors(void)
{
	enum { BRANCHES = 10 };
	struct sketch s = sketch_begin(1, 2, 4, 4);
	struct kerf_node join = {.op = KERF_OP_CONCAT, .n_inputs = BRANCHES, .axis = 1};
	char name[16];
	int branch[BRANCHES];

	for (int i = 0; i < BRANCHES; i++) {
		snprintf(name, sizeof(name), "branch%d", i);
		branch[i] = sketch_conv(&s, name, s.g->input, 1, 1);
		join.inputs[i] = branch[i];
	}
	s.g->output = sketch_node(&s, "join", join, branch[0], branch[1]);
	unsigned n;
	struct kerf_cut *cuts = find(s.g, &n);
	CU_ASSERT_EQUAL(cuts[BRANCHES].n_tensors, BRANCHES);
	CU_ASSERT_EQUAL(cuts[BRANCHES].elements, BRANCHES * 16);
	CU_ASSERT_FALSE(cuts[BRANCHES].candidate);
	free(cuts);
	check_cuts(s.g);
	kerf_graph_free(s.g);
}

/* What the network returns stays alive to the end although nothing reads it. */
static void test_early_output_crosses(void)
{
	struct sketch s = sketch_begin(1, 1, 2, 2);
	s.g->output = sketch_relu(&s, "early", s.g->input);
	sketch_relu(&s, "late", sketch_relu(&s, "other", s.g->input));
	unsigned n;
	struct kerf_cut *cuts = find(s.g, &n);

	CU_ASSERT_EQUAL(cuts[1].n_tensors, 2);
	CU_ASSERT_EQUAL(cuts[2].n_tensors, 2);
	CU_ASSERT_EQUAL(cuts[2].tensors[0], s.g->output);
	CU_ASSERT_EQUAL(cuts[3].n_tensors, 0);
	free(cuts);
	check_cuts(s.g);
	kerf_graph_free(s.g);
}

static void test_block_names(void)
{
	static const char *const nodes[] = {"stem/conv", "block0/a", "block0/b", "block1_conv",
		"block1_conv/relu", "block10", "block1/x", "head/block9"};
	static const char *const ends[] = {NULL, NULL, NULL, "block0", NULL, "block1_conv",
		"block10", "block1", NULL};
	struct sketch s = sketch_begin(1, 1, 2, 2);
	int x = s.g->input;

	for (size_t i = 0; i < KERF_ARRAY_LEN(nodes); i++)
		x = sketch_relu(&s, nodes[i], x);
	s.g->output = x;
	unsigned n;
	struct kerf_cut *cuts = find(s.g, &n);
	CU_ASSERT_EQUAL_FATAL(n, KERF_ARRAY_LEN(ends));
	for (unsigned k = 0; k < n; k++) {
		CU_ASSERT_EQUAL(cuts[k].block == NULL, ends[k] == NULL);
		if (cuts[k].block && ends[k])
			CU_ASSERT_STRING_EQUAL(cuts[k].block, ends[k]);
	}
	free(cuts);
	kerf_graph_free(s.g);
}

/* Counted over blocks only, a cut inside a block is no bottleneck and hides no later one. */
static void test_by_block_recounts(void)
{
	struct sketch s = sketch_begin(1, 4, 8, 8);
	int x = sketch_conv(&s, "block0/squeeze", s.g->input, 1, 1); /* .25, inside */
	x = sketch_conv(&s, "block0/expand", x, 3, 1);              /* .75, ends block0 */
	x = sketch_conv(&s, "block1/conv", x, 2, 1);                /* .5, ends block1 */
	x = sketch_conv(&s, "block2/conv", x, 2, 1);                /* .5 again */
	s.g->output = sketch_relu(&s, "head", x);
	unsigned n;
	struct kerf_cut *cuts = find(s.g, &n);

	CU_ASSERT_TRUE(cuts[1].useful);
	CU_ASSERT_FALSE(cuts[2].useful);
	CU_ASSERT_FALSE(cuts[3].useful);
	kerf_cuts_by_block(cuts, n);
	CU_ASSERT_FALSE(cuts[1].natural);
	CU_ASSERT_FALSE(cuts[1].useful);
	CU_ASSERT_TRUE(cuts[2].natural && cuts[2].useful);
	CU_ASSERT_TRUE(cuts[3].natural && cuts[3].useful);
	CU_ASSERT_TRUE(cuts[4].natural);
	CU_ASSERT_FALSE(cuts[4].useful);
	CU_ASSERT_TRUE(cuts[1].candidate);
	free(cuts);
	kerf_graph_free(s.g);
}

UNIT_MAIN("cuts", UNIT(test_chain_ratios), UNIT(test_residual_crosses),
	UNIT(test_two_tensor_dip_is_candidate), UNIT(test_slopes_are_no_candidates),
	UNIT(test_too_many_tensors),
	UNIT(test_early_output_crosses), UNIT(test_block_names), UNIT(test_by_block_recounts))
