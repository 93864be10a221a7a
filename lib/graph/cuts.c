/*
 * Where a graph can be cut and what crosses there.
 *
 * One sweep over the nodes keeps the list of live tensors (computed, and still needed), so the
 * cost is nodes x live tensors. Constants never cross: both ends have the model.
 */
#include "graph/graph.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_PREFIX "block"

struct sweep {
	const struct kerf_graph *g;
	int *last_use; /* per tensor: the last node that reads it, -1 = none */
	int *live;     /* ids, ascending */
	int n_live;
};

/* The output is needed behind the last node; the input counts as needed at node 0 at least. */
static void find_last_uses(struct sweep *s)
{
	const struct kerf_graph *g = s->g;

	for (int t = 0; t < g->n_tensors; t++)
		s->last_use[t] = -1;
	s->last_use[g->input] = 0;
	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		for (int j = 0; j < n->n_inputs; j++)
			if (n->inputs[j] >= 0)
				s->last_use[n->inputs[j]] = i;
		if (n->residual >= 0)
			s->last_use[n->residual] = i;
	}
	s->last_use[g->output] = g->n_nodes;
}

static void insert_live(struct sweep *s, int id)
{
	int at = s->n_live++;

	for (; at > 0 && s->live[at - 1] > id; at--)
		s->live[at] = s->live[at - 1];
	s->live[at] = id;
}

/* From the live tensors of cut k-1 to those of cut k. */
static void advance(struct sweep *s, int k)
{
	int kept = 0;

	for (int i = 0; i < s->n_live; i++)
		if (s->last_use[s->live[i]] >= k)
			s->live[kept++] = s->live[i];
	s->n_live = kept;
	if (k > 0 && s->last_use[s->g->nodes[k - 1].output] >= k)
		insert_live(s, s->g->nodes[k - 1].output);
}

static void fill_cut(const struct sweep *s, int k, struct kerf_cut *cut)
{
	*cut = (struct kerf_cut){.position = k};
	if (k == s->g->n_nodes)
		return; /* all local: the result needs no sending */
	cut->n_tensors = s->n_live;
	for (int i = 0; i < s->n_live; i++) {
		if (i < KERF_MAX_CUT_TENSORS)
			cut->tensors[i] = s->live[i];
		cut->elements += kerf_tensor_elements(&s->g->tensors[s->live[i]]);
	}
}

/* Marks useful again, over the cuts that are natural: a running minimum. */
static void mark_useful(struct kerf_cut *cuts, unsigned n_cuts)
{
	int64_t least = INT64_MAX;

	for (unsigned k = 0; k < n_cuts; k++) {
		cuts[k].useful = cuts[k].natural && cuts[k].elements < least;
		if (cuts[k].useful)
			least = cuts[k].elements;
	}
}

static void classify(const struct kerf_graph *g, struct kerf_cut *cuts, unsigned n_cuts)
{
	int64_t input = kerf_tensor_elements(&g->tensors[g->input]);

	for (unsigned k = 0; k < n_cuts; k++) {
		struct kerf_cut *c = &cuts[k];
		bool single = c->n_tensors == 1;
		bool several = c->n_tensors > 1 && c->n_tensors <= KERF_MAX_CUT_TENSORS;
		bool end = k == 0 || k + 1 == n_cuts;

		c->ratio = (double)c->elements / (double)input;
		c->natural = single && c->elements < input;
		c->candidate = end || single ||
			(several && c->elements < c[-1].elements && c->elements < c[1].elements);
	}
	mark_useful(cuts, n_cuts);
}

/* Length of the block's name at the start of a node's name; 0 = the node is in no block. */
static size_t block_len(const char *name)
{
	if (strncmp(name, BLOCK_PREFIX, strlen(BLOCK_PREFIX)) != 0)
		return 0;
	return strcspn(name, "/");
}

/* Length of the block that ends with node i, 0 if none ends there. */
static size_t ending_block_len(const struct kerf_graph *g, int i)
{
	const char *name = g->nodes[i].name;
	size_t len = block_len(name);

	if (len > 0 && i + 1 < g->n_nodes) {
		const char *next = g->nodes[i + 1].name;
		if (block_len(next) == len && memcmp(name, next, len) == 0)
			return 0;
	}
	return len;
}

/* Names are copied behind the cuts, into the same allocation: the caller frees one pointer. */
static void name_blocks(const struct kerf_graph *g, struct kerf_cut *cuts, char *names)
{
	for (int i = 0; i < g->n_nodes; i++) {
		size_t len = ending_block_len(g, i);
		if (len == 0)
			continue;
		memcpy(names, g->nodes[i].name, len);
		names[len] = '\0';
		cuts[i + 1].block = names;
		names += len + 1;
	}
}

static struct kerf_cut *allocate_cuts(const struct kerf_graph *g)
{
	size_t bytes = ((size_t)g->n_nodes + 1) * sizeof(struct kerf_cut);

	for (int i = 0; i < g->n_nodes; i++)
		bytes += ending_block_len(g, i) + 1;
	return malloc(bytes);
}

int kerf_graph_find_cuts(const struct kerf_graph *g, struct kerf_cut **cuts, unsigned *n_cuts,
	struct kerf_err *err)
{
	struct sweep s = {.g = g};
	unsigned n = (unsigned)g->n_nodes + 1;
	struct kerf_cut *found = allocate_cuts(g);
	int rc = 0;

	assert(g->input >= 0 && g->output >= 0);
	s.last_use = malloc((size_t)g->n_tensors * sizeof(*s.last_use));
	s.live = malloc((size_t)g->n_tensors * sizeof(*s.live));
	if (!found || !s.last_use || !s.live) {
		rc = kerf_err_set(err, -ENOMEM, "%s: no memory for %u cuts", g->name, n);
		goto out;
	}
	find_last_uses(&s);
	insert_live(&s, g->input);
	for (int k = 0; k <= g->n_nodes; k++) {
		advance(&s, k);
		fill_cut(&s, k, &found[k]);
	}
	classify(g, found, n);
	name_blocks(g, found, (char *)(found + n));
	*cuts = found;
	*n_cuts = n;
	found = NULL;
out:
	free(found);
	free(s.last_use);
	free(s.live);
	return rc;
}

void kerf_cuts_by_block(struct kerf_cut *cuts, unsigned n_cuts)
{
	for (unsigned k = 0; k < n_cuts; k++)
		cuts[k].natural = cuts[k].natural && cuts[k].block;
	mark_useful(cuts, n_cuts);
}
