/*
 * Joins: convolutions that write their channels straight into the output of a concatenation, which then has nothing to
 * copy. Such a tensor has a dense place of its own as well, for whoever stops or begins between the two: its rows are
 * gathered there where a run ends, and scattered from there where one begins.
 */
#include "engine/internal.h"

static bool lies_by_channels(const struct kerf_tensor *t)
{
	int order[KERF_MAX_DIMS];

	kerf_memory_order(t, order);
	return t->n_dims == 4 && order[3] == 1;
}

/* How often the nodes behind `node`, up to `last`, read tensor `id`. */
static int count_uses(const struct kerf_graph *g, int id, int node, int last)
{
	int uses = 0;

	for (int k = node + 1; k <= last; k++) {
		for (int i = 0; i < g->nodes[k].n_inputs; i++)
			uses += g->nodes[k].inputs[i] == id;
		uses += g->nodes[k].residual == id;
	}
	return uses;
}

bool kerf_join_find(const struct builder *b, const struct kerf_node *n, struct join *j)
{
	const struct kerf_graph *g = b->g;
	const struct kerf_tensor *t = &g->tensors[n->output];
	const int last = b->last_use[n->output];

	if (b->precision != KERF_PRECISION_F32 || last < 0 || last >= g->n_nodes)
		return false;
	const struct kerf_node *c = &g->nodes[last];
	const struct kerf_tensor *out = &g->tensors[c->output];
	if (c->op != KERF_OP_CONCAT || c->axis != 1 || !lies_by_channels(t) || !lies_by_channels(out) ||
		count_uses(g, n->output, b->node, last) != 1)
		return false;
	*j = (struct join){.tensor = n->output,
		.producer = b->node,
		.concat = last,
		.rows = t->dims[0] * t->dims[2] * t->dims[3],
		.length = t->dims[1],
		.row = out->dims[1]};
	for (int i = 0; c->inputs[i] != n->output; i++)
		j->first += g->tensors[c->inputs[i]].dims[1];
	return true;
}

int kerf_join_output(struct builder *b, struct join *j, struct operand *o)
{
	struct kerf_engine *e = b->e;
	const int whole = b->g->nodes[j->concat].output;
	struct operand dense;
	int rc = kerf_lower_output(b, &dense);

	if (rc == 0 && e->tensor_place[whole] < 0) {
		rc = kerf_lower_new_place(b, kerf_tensor_bytes(&b->g->tensors[whole]));
		if (rc >= 0) {
			e->tensor_place[whole] = rc;
			e->places[rc].last_node = KERF_MAX(j->concat, b->last_use[whole]);
		}
	}
	if (rc < 0)
		return rc;
	j->dense = dense.index;
	j->within = e->tensor_place[whole];
	*o = (struct operand){IN_ARENA, j->within};
	return kerf_lower_add_join(b, j);
}

bool kerf_join_has(const struct kerf_engine *e, int tensor)
{
	for (int i = 0; i < e->n_joins; i++)
		if (e->joins[i].tensor == tensor)
			return true;
	return false;
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
