/*
 * Order: which tensors of four dimensions lie as ONNX has them. Channels last is what convolutions want; but where a file goes
 * to channels last itself (ConvNeXt), or splits heads off (attention), four dimensions come from a TRANSPOSE or RESHAPE and go
 * into one, and in ONNX's own order most of these move nothing.
 */
#include "graph/rewrite.h"

/* Those that read and write either order: element by element, or by strides. */
static bool is_indifferent(enum kerf_op op)
{
	return op == KERF_OP_TRANSPOSE || op == KERF_OP_RESHAPE || op == KERF_OP_SLICE || op == KERF_OP_SOFTMAX ||
		op == KERF_OP_ACT || op == KERF_OP_ADD || op == KERF_OP_MUL;
}

static void start_with_all(struct kerf_graph *g)
{
	for (int t = 0; t < g->n_tensors; t++) {
		struct kerf_tensor *x = &g->tensors[t];

		x->plain = x->n_dims == 4 && !x->data && t != g->input && t != g->output && x->producer != KERF_NONE &&
			is_indifferent(g->nodes[x->producer].op) && g->nodes[x->producer].residual < 0;
	}
	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];

		for (int j = 0; j < n->n_inputs; j++)
			if (n->inputs[j] >= 0 && !is_indifferent(n->op))
				g->tensors[n->inputs[j]].plain = false;
		if (n->residual >= 0)
			g->tensors[n->residual].plain = false;
	}
}

/* What is computed of four dimensions, and has to lie as the node's output does. */
static bool has_to_agree(const struct kerf_graph *g, int id)
{
	return id >= 0 && g->tensors[id].n_dims == 4 && !g->tensors[id].data;
}

/* Element by element all operands lie alike: one that cannot be plain takes it from the others. */
static bool make_node_agree(struct kerf_graph *g, const struct kerf_node *n)
{
	bool plain = g->tensors[n->output].plain, changed = false;

	if (n->op == KERF_OP_TRANSPOSE || n->op == KERF_OP_RESHAPE || n->op == KERF_OP_SLICE || !is_indifferent(n->op) ||
		!has_to_agree(g, n->output))
		return false;
	for (int j = 0; j < n->n_inputs; j++)
		if (has_to_agree(g, n->inputs[j]))
			plain = plain && g->tensors[n->inputs[j]].plain;
	for (int j = -1; !plain && j < n->n_inputs; j++) {
		const int id = j < 0 ? n->output : n->inputs[j];

		if (has_to_agree(g, id) && g->tensors[id].plain) {
			g->tensors[id].plain = false;
			changed = true;
		}
	}
	return changed;
}

int rewrite_choose_order(struct rewrite *r)
{
	bool changed = true;

	start_with_all(r->g);
	while (changed) {
		changed = false;
		for (int i = 0; i < r->g->n_nodes; i++)
			changed = make_node_agree(r->g, &r->g->nodes[i]) || changed;
	}
	return 0;
}
