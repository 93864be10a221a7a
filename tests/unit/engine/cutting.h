/* cutting: what every network has to hold at every cut. */
#pragma once

#include "reference.h"
#include "unit.h"

/* Plain memory with a count of what is out. */
struct counted {
	size_t blocks, bytes;
};

static inline void *counted_alloc(void *user, size_t bytes)
{
	struct counted *count = user;

	count->blocks++;
	count->bytes += bytes;
	return aligned_alloc(64, (bytes + 63) / 64 * 64);
}

static inline void counted_release(void *user, void *memory, size_t bytes)
{
	struct counted *count = user;

	count->blocks--;
	count->bytes -= bytes;
	free(memory);
}

/* Every place of a context becomes NaN: what a tail reads without having been sent shows. */
static inline void fill_with_nan(struct kerf_context *c, const struct kerf_graph *g)
{
	for (int t = 0; t < g->n_tensors; t++) {
		float *place = g->tensors[t].data ? NULL : kerf_context_tensor(c, t);
		for (int64_t i = 0; place && i < kerf_tensor_elements(&g->tensors[t]); i++)
			place[i] = NAN;
	}
}

static inline void set_input(struct kerf_context *c, const struct kerf_graph *g, const float *x)
{
	memcpy(kerf_context_tensor(c, g->input), x, kerf_tensor_bytes(&g->tensors[g->input]));
}

static inline bool output_equals(
	struct kerf_context *c, const struct kerf_graph *g, const float *want)
{
	return memcmp(kerf_context_tensor(c, g->output), want,
		       kerf_tensor_bytes(&g->tensors[g->output])) == 0;
}

static inline bool overlap(struct kerf_context *c, const struct kerf_graph *g, int a, int b)
{
	const char *pa = (const char *)kerf_context_tensor(c, a);
	const char *pb = (const char *)kerf_context_tensor(c, b);

	return pa < pb + kerf_tensor_bytes(&g->tensors[b]) &&
	       pb < pa + kerf_tensor_bytes(&g->tensors[a]);
}

/* All that crosses is kept in f32, as it always is unless a lower precision is asked for. */
static inline bool can_cut(struct kerf_context *c, const struct kerf_cut *cut)
{
	for (int i = 0; i < cut->n_tensors && i < KERF_MAX_CUT_TENSORS; i++)
		if (!kerf_context_tensor(c, cut->tensors[i]))
			return false;
	return true;
}

/* Two tensors that cross one cut lie apart. */
static inline void check_apart(
	struct kerf_context *c, const struct kerf_graph *g, const struct kerf_cut *cut)
{
	int n = cut->n_tensors < KERF_MAX_CUT_TENSORS ? cut->n_tensors : KERF_MAX_CUT_TENSORS;

	for (int i = 0; i < n; i++) {
		CU_ASSERT_PTR_NOT_NULL(kerf_context_tensor(c, cut->tensors[i]));
		for (int k = 0; k < i; k++)
			CU_ASSERT_FALSE(overlap(c, g, cut->tensors[i], cut->tensors[k]));
	}
}

/* Runs the head in one context, sends what crosses to another full of NaN, runs the tail there. */
static inline void check_cut(struct kerf_context *head, struct kerf_context *tail,
	const struct kerf_graph *g, const struct kerf_cut *cut, const float *x, const float *want)
{
	if (cut->n_tensors > KERF_MAX_CUT_TENSORS || cut->position == g->n_nodes)
		return;
	fill_with_nan(head, g);
	fill_with_nan(tail, g);
	set_input(head, g, x);
	CU_ASSERT_EQUAL(kerf_engine_run(head, 0, (unsigned)cut->position), 0);
	for (int i = 0; i < cut->n_tensors; i++)
		memcpy(kerf_context_tensor(tail, cut->tensors[i]),
			kerf_context_tensor(head, cut->tensors[i]),
			kerf_tensor_bytes(&g->tensors[cut->tensors[i]]));
	CU_ASSERT_EQUAL(kerf_engine_run(tail, (unsigned)cut->position, (unsigned)g->n_nodes), 0);
	bool same = output_equals(tail, g, want);
	if (!same)
		printf("%s: cut %d before %s\n", g->name, cut->position,
			g->nodes[cut->position].name);
	CU_ASSERT(same);
	/* The head's context still holds all it needs to go on by itself: the local fallback. */
	CU_ASSERT_EQUAL(kerf_engine_run(head, (unsigned)cut->position, (unsigned)g->n_nodes), 0);
	CU_ASSERT(output_equals(head, g, want));
}

/* Every `stride`-th cut, the first and the last among them. x is NHWC. options: precision and ranges. */
static inline void check_every_cut_with(
	const struct kerf_graph *g, const float *x, unsigned stride, struct kerf_engine_options options)
{
	struct counted count = {0};
	struct kerf_err err = {0};
	struct kerf_cut *cuts;
	unsigned n_cuts;

	options.allocator = (struct kerf_allocator){counted_alloc, counted_release, &count};
	size_t out_bytes = kerf_tensor_bytes(&g->tensors[g->output]);
	struct kerf_engine *e = kerf_engine_compile(g, &options, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	struct kerf_context *head = kerf_context_create(e, &err);
	struct kerf_context *tail = kerf_context_create(e, &err);
	float *want = ref_alloc(out_bytes, 1);
	CU_ASSERT_EQUAL(
		count.bytes, kerf_engine_weight_bytes(e) + 2 * kerf_engine_context_bytes(e));
	set_input(head, g, x);
	CU_ASSERT_EQUAL(kerf_engine_run(head, 0, (unsigned)g->n_nodes), 0);
	memcpy(want, kerf_context_tensor(head, g->output), out_bytes);
	for (size_t i = 0; i < out_bytes / sizeof(float); i++)
		CU_ASSERT(isfinite(want[i]));
	CU_ASSERT_EQUAL(kerf_graph_find_cuts(g, &cuts, &n_cuts, &err), 0);
	CU_ASSERT_EQUAL(n_cuts, (unsigned)g->n_nodes + 1);
	for (unsigned k = 0; k < n_cuts; k++) {
		CU_ASSERT(can_cut(head, &cuts[k]) || (options.precision != KERF_PRECISION_F32 && !cuts[k].useful));
		if (!can_cut(head, &cuts[k]))
			continue;
		check_apart(head, g, &cuts[k]);
		if (k % stride == 0 || k == n_cuts - 2)
			check_cut(head, tail, g, &cuts[k], x, want);
	}
	free(cuts);
	free(want);
	kerf_context_free(head);
	kerf_context_free(tail);
	kerf_engine_free(e);
	CU_ASSERT_EQUAL(count.blocks, 0);
	CU_ASSERT_EQUAL(count.bytes, 0);
}

static inline void check_every_cut(const struct kerf_graph *g, const float *x, unsigned stride)
{
	check_every_cut_with(g, x, stride, (struct kerf_engine_options){0});
}
