/*
 * Joins: convolutions that write their channels straight into the output of a concatenation, which then has nothing to
 * copy, and concatenations that are part of a further one likewise, as in a dense block. Such a tensor has a dense place of
 * its own as well, for whoever stops or begins before it was read for the last time: its rows are gathered there where a run
 * ends, and scattered from there where one begins.
 */
#include "engine/internal.h"

#include <stdlib.h>

static bool lies_by_channels(const struct kerf_tensor *t)
{
	int order[KERF_MAX_DIMS];

	kerf_memory_order(t, order);
	return t->n_dims == 4 && order[3] == 1;
}

/* BatchNorms read rows with gaps; other readers, which do not, are counted. */
static void count_readers(const struct kerf_graph *g, int *readers)
{
	for (int k = 0; k < g->n_nodes; k++) {
		const struct kerf_node *n = &g->nodes[k];

		for (int i = n->op == KERF_OP_BATCHNORM; i < n->n_inputs; i++)
			if (n->inputs[i] >= 0)
				readers[n->inputs[i]]++;
		if (n->residual >= 0)
			readers[n->residual]++;
	}
}

/* Whether the output of a node can be written into the concatenation that reads it last, where that one's output lies. */
static void decide(struct builder *b, int node, const int *readers)
{
	const struct kerf_graph *g = b->g;
	const struct kerf_node *n = &g->nodes[node];
	const struct kerf_tensor *t = &g->tensors[n->output];
	const int last = b->last_use[n->output];

	if (last < 0 || last >= g->n_nodes || readers[n->output] != 1)
		return;
	if (n->op == KERF_OP_CONCAT && (n->residual >= 0 || n->act.kind != KERF_ACT_NONE)) /* steps of their own on dense rows */
		return;
	const struct kerf_node *c = &g->nodes[last];
	const struct kerf_tensor *out = &g->tensors[c->output];
	if (c->op != KERF_OP_CONCAT || c->axis != 1 || c->residual == n->output || !lies_by_channels(t) || !lies_by_channels(out))
		return;
	const struct join *further = &b->joins[c->output];
	struct join j = {.producer = node,
		.concat = last,
		.whole = c->output,
		.within = KERF_NONE,
		.rows = t->dims[0] * t->dims[2] * t->dims[3],
		.length = t->dims[1],
		.row = out->dims[1]};
	if (further->row > 0) {
		j.whole = further->whole;
		j.first = further->first;
		j.row = further->row;
	}
	for (int i = 0; c->inputs[i] != n->output; i++)
		j.first += g->tensors[c->inputs[i]].dims[1];
	b->joins[n->output] = j;
}

int kerf_join_decide(struct builder *b)
{
	const struct kerf_graph *g = b->g;
	int *readers = calloc((size_t)g->n_tensors, sizeof(*readers));

	if (!readers)
		return -ENOMEM;
	count_readers(g, readers);
	/* from behind: a concatenation's output has its place before what it joins */
	for (int k = g->n_nodes - 1; k >= 0 && b->precision == KERF_PRECISION_F32; k--)
		decide(b, k, readers);
	free(readers);
	return 0;
}

const struct join *kerf_join_find(const struct builder *b, const struct kerf_node *n)
{
	const struct join *j = &b->joins[n->output];

	return j->row > 0 ? j : NULL;
}

int kerf_join_output(struct builder *b, const struct kerf_node *n, struct operand *o)
{
	struct kerf_engine *e = b->e;
	struct join *j = &b->joins[n->output];
	struct operand dense;
	int rc = kerf_lower_output(b, &dense);

	if (rc == 0 && e->tensor_place[j->whole] < 0) {
		rc = kerf_lower_new_place(b, kerf_tensor_bytes(&b->g->tensors[j->whole]));
		if (rc >= 0) {
			e->tensor_place[j->whole] = rc;
			e->places[rc].last_node = KERF_MAX(j->concat, b->last_use[j->whole]);
		}
	}
	if (rc < 0)
		return rc;
	j->dense = dense.index;
	j->within = e->tensor_place[j->whole];
	*o = (struct operand){IN_ARENA, j->within};
	return kerf_lower_add_join(b, j);
}

const struct join *kerf_join_of(const struct builder *b, int tensor)
{
	return b->joins[tensor].row > 0 && b->joins[tensor].within >= 0 ? &b->joins[tensor] : NULL;
}

void kerf_join_move(const struct kerf_engine *e, char *arena, int cut, bool gather)
{
	for (int i = 0; i < e->n_joins; i++) {
		const struct join *j = &e->joins[i];
		float *dense = (float *)(void *)(arena + e->places[j->dense].offset);
		float *within = (float *)(void *)(arena + e->places[j->within].offset) + j->first;

		if (j->producer >= cut || j->concat < cut)
			continue;
		for (int64_t r = 0; r < j->rows; r++, dense += j->length, within += j->row)
			memcpy(gather ? dense : within, gather ? within : dense, (size_t)j->length * sizeof(float));
	}
}
