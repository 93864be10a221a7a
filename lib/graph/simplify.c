/*
 * Identities: nodes that do not change their input go away, and chains of the same kind of
 * reordering become one node.
 */
#include "graph/rewrite.h"

#include <limits.h>
#include <string.h>

static bool all_equal(const int *values, int n, int wanted)
{
	for (int i = 0; i < n; i++)
		if (values[i] != wanted)
			return false;
	return true;
}

static bool perm_is_identity(const int *perm, int n_dims)
{
	for (int d = 0; d < n_dims; d++)
		if (perm[d] != d)
			return false;
	return true;
}

/* Dimensions of size 1 may go anywhere: the order of the others decides. */
static bool perm_keeps_order(const struct kerf_tensor *in, const int *perm)
{
	int last = -1;

	for (int d = 0; d < in->n_dims; d++) {
		if (in->dims[perm[d]] == 1)
			continue;
		if (perm[d] < last)
			return false;
		last = perm[d];
	}
	return true;
}

/* A constant operand that leaves every value as it is: 0 for ADD, 1 for MUL. */
static bool is_neutral(const struct rewrite *r, int id, float neutral)
{
	const struct kerf_tensor *t = &r->g->tensors[id];
	const float *v = t->data;
	int64_t n = kerf_tensor_elements(t);

	if (!v || t->dtype != KERF_F32)
		return false;
	for (int64_t i = 0; i < n; i++)
		if (v[i] != neutral)
			return false;
	return true;
}

/* The input that ADD or MUL passes on unchanged, or KERF_NONE. */
static int neutral_passes(const struct rewrite *r, const struct kerf_node *n)
{
	float neutral = n->op == KERF_OP_ADD ? 0.0f : 1.0f;

	for (int j = 0; j < 2; j++)
		if (rewrite_same_shape(r, n->inputs[j], n->output) &&
			is_neutral(r, n->inputs[1 - j], neutral))
			return n->inputs[j];
	return KERF_NONE;
}

/* A slice of the whole that runs backwards somewhere. */
static bool reverses(const struct kerf_node *n, int n_dims)
{
	for (int i = 0; i < n_dims; i++)
		if (n->steps[i] < 0 && n->counts[i] > 1)
			return true;
	return false;
}

/* The tensor that n's output equals, or KERF_NONE. */
static int passes_on(const struct rewrite *r, const struct kerf_node *n)
{
	const struct kerf_tensor *x = &r->g->tensors[n->inputs[0]];
	bool same_shape = rewrite_same_shape(r, n->inputs[0], n->output);
	bool identity = false;

	switch (n->op) {
	case KERF_OP_RESHAPE: identity = same_shape; break;
	case KERF_OP_TRANSPOSE: identity = perm_is_identity(n->perm, x->n_dims); break;
	case KERF_OP_CONCAT: identity = n->n_inputs == 1; break;
	case KERF_OP_PAD: identity = all_equal(n->pads, 4, 0); break;
	case KERF_OP_SLICE: identity = same_shape && !reverses(n, x->n_dims); break;
	/* Without pads only a 1x1 window keeps the shape, and then no stride skips anything. */
	case KERF_OP_MAXPOOL:
	case KERF_OP_AVGPOOL: identity = all_equal(n->pads, 4, 0) && same_shape; break;
	case KERF_OP_GLOBAL_AVGPOOL: identity = same_shape; break;
	case KERF_OP_ADD:
	case KERF_OP_MUL: return neutral_passes(r, n);
	default: break;
	}
	return identity ? n->inputs[0] : KERF_NONE;
}

/* A TRANSPOSE that moves nothing in memory is a RESHAPE. */
static void transpose_to_reshape(const struct rewrite *r, struct kerf_node *n)
{
	const struct kerf_tensor *x = &r->g->tensors[n->inputs[0]];

	if (perm_is_identity(n->perm, x->n_dims) || !perm_keeps_order(x, n->perm))
		return;
	n->op = KERF_OP_RESHAPE;
	memset(n->perm, 0, sizeof(n->perm));
}

/* n works on the input of the node of the same kind before it. */
static void merge_with_producer(struct rewrite *r, struct kerf_node *n)
{
	const struct kerf_node *p = rewrite_producer(r, n->inputs[0]);
	int merged[KERF_MAX_DIMS];

	if (!p || p->op != n->op)
		return;
	if (n->op == KERF_OP_TRANSPOSE) {
		int n_dims = r->g->tensors[n->output].n_dims;
		for (int d = 0; d < n_dims; d++)
			merged[d] = p->perm[n->perm[d]];
		memcpy(n->perm, merged, (size_t)n_dims * sizeof(merged[0]));
	}
	rewrite_set_input(r, n, 0, p->inputs[0]);
}

/* Zeros around a convolution's input are what its own pads mean. */
static void merge_pad(struct rewrite *r, struct kerf_node *conv)
{
	const struct kerf_node *pad = rewrite_producer(r, conv->inputs[0]);

	if (!pad || pad->op != KERF_OP_PAD)
		return;
	for (int side = 0; side < 4; side++)
		if (pad->pads[side] < 0 || conv->pads[side] > INT_MAX - pad->pads[side])
			return;
	for (int side = 0; side < 4; side++)
		conv->pads[side] += pad->pads[side];
	rewrite_set_input(r, conv, 0, pad->inputs[0]);
}

/* A network that is nothing but an identity keeps one node: something has to be run. */
static bool may_bypass(const struct rewrite *r, const struct kerf_node *n, int to)
{
	return n->output != r->g->output || rewrite_producer(r, to) != NULL;
}

int rewrite_remove_identities(struct rewrite *r)
{
	for (int i = 0; i < r->g->n_nodes; i++) {
		struct kerf_node *n = &r->g->nodes[i];
		if (!rewrite_enter_node(r, i) || n->act.kind != KERF_ACT_NONE || n->residual >= 0)
			continue;
		if (n->op == KERF_OP_TRANSPOSE || n->op == KERF_OP_RESHAPE)
			merge_with_producer(r, n);
		if (n->op == KERF_OP_TRANSPOSE)
			transpose_to_reshape(r, n);
		if (n->op == KERF_OP_RESHAPE)
			merge_with_producer(r, n);
		if (n->op == KERF_OP_CONV)
			merge_pad(r, n);
		int to = passes_on(r, n);
		if (to >= 0 && may_bypass(r, n, to))
			rewrite_bypass(r, n, to);
	}
	return 0;
}
