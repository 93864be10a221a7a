/*
 * Concatenations in a chain: one that begins with all that an earlier one joins takes that one's output instead. Dense
 * blocks (DenseNet) are such: every layer joins the outputs of all layers before it. Then one tensor crosses between two
 * layers instead of all of them, and the engine need not copy what lies beside each other already.
 */
#include "graph/rewrite.h"

#include <stdlib.h>
#include <string.h>

static bool begins_with(const struct kerf_node *n, const struct kerf_node *first)
{
	return first->n_inputs > 1 && first->n_inputs < n->n_inputs && first->axis == n->axis &&
		memcmp(first->inputs, n->inputs, (size_t)first->n_inputs * sizeof(n->inputs[0])) == 0;
}

static void take_output(struct rewrite *r, struct kerf_node *n, const struct kerf_node *first)
{
	const int taken = first->n_inputs;

	for (int j = 0; j < taken; j++)
		rewrite_drop_use(r, n->inputs[j]);
	r->uses[first->output]++;
	n->inputs[0] = first->output;
	n->n_inputs -= taken - 1;
	memmove(n->inputs + 1, n->inputs + taken, (size_t)(n->n_inputs - 1) * sizeof(n->inputs[0]));
}

int rewrite_chain_concats(struct rewrite *r)
{
	struct kerf_graph *g = r->g;
	int *before = malloc((size_t)g->n_nodes * sizeof(*before)); /* the last concatenation with the same first input */
	int *latest = malloc((size_t)g->n_tensors * sizeof(*latest));

	if (!before || !latest) {
		free(before);
		free(latest);
		return kerf_err_set(r->err, -ENOMEM, "%s: no memory", g->name);
	}
	for (int t = 0; t < g->n_tensors; t++)
		latest[t] = KERF_NONE;
	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];

		before[i] = KERF_NONE;
		if (!rewrite_enter_node(r, i) || n->op != KERF_OP_CONCAT)
			continue;
		before[i] = latest[n->inputs[0]];
		latest[n->inputs[0]] = i;
	}
	/* From behind: those in front still have all of their inputs. */
	for (int i = g->n_nodes - 1; i >= 0; i--)
		if (before[i] >= 0 && begins_with(&g->nodes[i], &g->nodes[before[i]]))
			take_output(r, &g->nodes[i], &g->nodes[before[i]]);
	free(before);
	free(latest);
	return 0;
}
