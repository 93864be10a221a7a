/*
 * Channel shuffles: a RESHAPE that splits the channels in groups, a TRANSPOSE of groups and channels and a RESHAPE back
 * (ShuffleNet) are one GATHER of channels; with channels last they would be three passes. A SLICE of a GATHER is a GATHER of
 * fewer.
 */
#include "graph/rewrite.h"

#include <stdlib.h>
#include <string.h>

static int shuffle_failed(struct rewrite *r, const struct kerf_node *n)
{
	return kerf_err_set(r->err, -ENOMEM, "node %s: out of memory", n->name);
}

/* n becomes a GATHER of x along an axis; takes the table. */
static int become_gather(struct rewrite *r, struct kerf_node *n, int x, int axis, int64_t *table, int64_t count)
{
	char name[256];

	if (!table)
		return shuffle_failed(r, n);
	snprintf(name, sizeof(name), "%.200s/indices", n->name);
	const int id = rewrite_add_constant(r, name, KERF_I64, 2, (const int64_t[]){count, 1}, table);
	if (id < 0)
		return id;
	n->op = KERF_OP_GATHER;
	n->axis = axis;
	n->n_inputs = 2;
	n->inputs[1] = id;
	n->inputs[2] = KERF_NONE;
	n->value = 0;
	rewrite_set_input(r, n, 0, x);
	return 0;
}

/* The RESHAPE that n, the last of the three, undoes; NULL when it does not. */
static const struct kerf_node *find_split(const struct rewrite *r, const struct kerf_node *n)
{
	static const int perm[5] = {0, 2, 1, 3, 4};
	const struct kerf_node *t = rewrite_producer(r, n->inputs[0]);

	if (!t || t->op != KERF_OP_TRANSPOSE || r->g->tensors[t->output].n_dims != 5 || memcmp(t->perm, perm, sizeof(perm)) != 0)
		return NULL;
	const struct kerf_node *split = rewrite_producer(r, t->inputs[0]);
	if (!split || split->op != KERF_OP_RESHAPE || !rewrite_same_shape(r, split->inputs[0], n->output))
		return NULL;
	const struct kerf_tensor *x = &r->g->tensors[split->inputs[0]], *y = &r->g->tensors[split->output];
	return x->n_dims == 4 && y->dims[0] == x->dims[0] && y->dims[1] * y->dims[2] == x->dims[1] && y->dims[3] == x->dims[2]
		? split
		: NULL;
}

static int fold_shuffle(struct rewrite *r, struct kerf_node *n)
{
	const struct kerf_node *split = find_split(r, n);

	if (!split)
		return 0;
	const int64_t groups = r->g->tensors[split->output].dims[1], each = r->g->tensors[split->output].dims[2];
	int64_t *table = malloc((size_t)(groups * each) * sizeof(*table));
	for (int64_t c = 0; table && c < groups * each; c++)
		table[c] = c % groups * each + c / groups;
	return become_gather(r, n, split->inputs[0], 1, table, groups * each);
}

static int fold_slice(struct rewrite *r, struct kerf_node *n)
{
	const struct kerf_node *g = rewrite_producer(r, n->inputs[0]);
	const struct kerf_tensor *x = &r->g->tensors[n->inputs[0]];

	if (!g || g->op != KERF_OP_GATHER || (g->n_inputs > 2 && g->inputs[2] >= 0) || g->value != 0)
		return 0;
	for (int d = 0; d < x->n_dims; d++)
		if (d != g->axis && (n->starts[d] != 0 || n->steps[d] != 1 || n->counts[d] != x->dims[d]))
			return 0;
	const int axis = g->axis, start = n->starts[axis], step = n->steps[axis], count = n->counts[axis];
	const int64_t *from = r->g->tensors[g->inputs[1]].data;
	int64_t *table = malloc((size_t)count * sizeof(*table));
	for (int64_t i = 0; table && i < count; i++)
		table[i] = from[start + i * step];
	return become_gather(r, n, g->inputs[0], axis, table, count);
}

int rewrite_fold_shuffles(struct rewrite *r)
{
	int rc = 0;

	for (int i = 0; i < r->g->n_nodes && rc == 0; i++) {
		struct kerf_node *n = &r->g->nodes[i];

		if (!rewrite_enter_node(r, i) || n->act.kind != KERF_ACT_NONE || n->residual >= 0)
			continue;
		if (n->op == KERF_OP_RESHAPE)
			rc = fold_shuffle(r, n);
		else if (n->op == KERF_OP_SLICE)
			rc = fold_slice(r, n);
	}
	return rc;
}
