/*
 * kerf_graph_optimize: runs the passes and then closes the gaps that they left.
 */
#include "graph/rewrite.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A fold gives a node at most new weights and a new bias of its own, cropping new weights again. */
#define NEW_TENSORS_PER_NODE 3

static bool alive(const struct rewrite *r, int node)
{
	return node >= 0 && !r->dead[node];
}

struct kerf_node *rewrite_producer(const struct rewrite *r, int id)
{
	if (id < 0 || !alive(r, r->g->tensors[id].producer))
		return NULL;
	return &r->g->nodes[r->g->tensors[id].producer];
}

bool rewrite_is_constant(const struct rewrite *r, int id)
{
	return id >= 0 && r->g->tensors[id].data != NULL;
}

bool rewrite_same_shape(const struct rewrite *r, int a, int b)
{
	const struct kerf_tensor *x = &r->g->tensors[a], *y = &r->g->tensors[b];

	return x->n_dims == y->n_dims &&
		memcmp(x->dims, y->dims, (size_t)x->n_dims * sizeof(x->dims[0])) == 0;
}

bool rewrite_enter_node(struct rewrite *r, int i)
{
	struct kerf_node *n = &r->g->nodes[i];

	if (r->dead[i])
		return false;
	for (int j = 0; j < n->n_inputs; j++)
		if (n->inputs[j] >= 0)
			n->inputs[j] = r->alias[n->inputs[j]];
	if (n->residual >= 0)
		n->residual = r->alias[n->residual];
	return true;
}

static void kill_node(struct rewrite *r, const struct kerf_node *n)
{
	r->dead[n - r->g->nodes] = true;
}

/* Only one level deep: counts further up stay too high, which is safe; sweep_dead ends it. */
void rewrite_drop_use(struct rewrite *r, int id)
{
	struct kerf_node *n = rewrite_producer(r, id);

	assert(r->uses[id] > 0);
	if (--r->uses[id] > 0 || !n)
		return;
	for (int j = 0; j < n->n_inputs; j++)
		if (n->inputs[j] >= 0)
			r->uses[n->inputs[j]]--;
	if (n->residual >= 0)
		r->uses[n->residual]--;
	kill_node(r, n);
}

void rewrite_set_input(struct rewrite *r, struct kerf_node *n, int j, int to)
{
	int from = n->inputs[j];

	r->uses[to]++;
	n->inputs[j] = to;
	rewrite_drop_use(r, from);
}

void rewrite_bypass(struct rewrite *r, struct kerf_node *n, int to)
{
	r->uses[to] += r->uses[n->output];
	r->uses[n->output] = 0;
	r->alias[n->output] = to;
	if (r->g->output == n->output)
		r->g->output = to;
	kill_node(r, n);
	for (int j = 0; j < n->n_inputs; j++)
		if (n->inputs[j] >= 0)
			r->uses[n->inputs[j]]--;
}

void rewrite_absorb(struct rewrite *r, struct kerf_node *by, struct kerf_node *n)
{
	assert(r->uses[by->output] == 1);
	r->uses[by->output] = 0;
	by->output = n->output;
	r->g->tensors[n->output].producer = (int)(by - r->g->nodes);
	kill_node(r, n);
}

int rewrite_add_constant(struct rewrite *r, const char *name, enum kerf_dtype dtype, int n_dims, const int64_t *dims,
	void *data)
{
	int id = kerf_graph_add_constant(r->g, name, dtype, n_dims, dims, data);

	if (id < 0) {
		free(data);
		return kerf_err_set(r->err, id, "%s: no memory for %s", r->g->name, name);
	}
	r->uses[id] = 1;
	r->alias[id] = id;
	return id;
}

/* Backwards from the output: what is not needed is dead. Fills needed[] per tensor. */
static void sweep_dead(struct rewrite *r, bool *needed)
{
	struct kerf_graph *g = r->g;

	needed[g->input] = true;
	needed[g->output] = true;
	for (int i = g->n_nodes - 1; i >= 0; i--) {
		const struct kerf_node *n = &g->nodes[i];
		if (!rewrite_enter_node(r, i))
			continue;
		if (!needed[n->output]) {
			r->dead[i] = true;
			continue;
		}
		for (int j = 0; j < n->n_inputs; j++)
			if (n->inputs[j] >= 0)
				needed[n->inputs[j]] = true;
		if (n->residual >= 0)
			needed[n->residual] = true;
	}
}

static void count_uses(struct rewrite *r)
{
	const struct kerf_graph *g = r->g;

	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		if (r->dead[i])
			continue;
		for (int j = 0; j < n->n_inputs; j++)
			if (n->inputs[j] >= 0)
				r->uses[n->inputs[j]]++;
		if (n->residual >= 0)
			r->uses[n->residual]++;
	}
	r->uses[g->output]++;
}

/* What nobody needs must not count as a reader: it would prevent folds. */
static int start(struct rewrite *r)
{
	bool *needed = calloc((size_t)r->g->n_tensors, sizeof(*needed));

	if (!needed)
		return kerf_err_set(r->err, -ENOMEM, "%s: no memory", r->g->name);
	sweep_dead(r, needed);
	count_uses(r);
	free(needed);
	return 0;
}

static void compact_nodes(struct rewrite *r)
{
	struct kerf_graph *g = r->g;
	int kept = 0;

	for (int i = 0; i < g->n_nodes; i++) {
		if (r->dead[i]) {
			free(g->nodes[i].name);
			continue;
		}
		if (kept != i)
			g->nodes[kept] = g->nodes[i];
		g->tensors[g->nodes[kept].output].producer = kept;
		kept++;
	}
	g->n_nodes = kept;
}

static int renumber(const int *new_id, int id)
{
	return id < 0 ? id : new_id[id];
}

/* alias[] is done with by now and serves as the table of new ids. */
static void compact_tensors(struct rewrite *r, const bool *needed)
{
	struct kerf_graph *g = r->g;
	int kept = 0;

	for (int t = 0; t < g->n_tensors; t++) {
		r->alias[t] = KERF_NONE;
		if (!needed[t]) {
			free(g->tensors[t].name);
			free(g->tensors[t].data);
			continue;
		}
		if (kept != t)
			g->tensors[kept] = g->tensors[t];
		r->alias[t] = kept++;
	}
	g->n_tensors = kept;
	for (int i = 0; i < g->n_nodes; i++) {
		struct kerf_node *n = &g->nodes[i];
		for (int j = 0; j < n->n_inputs; j++)
			n->inputs[j] = renumber(r->alias, n->inputs[j]);
		n->output = renumber(r->alias, n->output);
		n->residual = renumber(r->alias, n->residual);
	}
	g->input = r->alias[g->input];
	g->output = r->alias[g->output];
}

static int compact(struct rewrite *r)
{
	bool *needed = calloc((size_t)r->g->n_tensors, sizeof(*needed));

	if (!needed)
		return kerf_err_set(r->err, -ENOMEM, "%s: no memory", r->g->name);
	sweep_dead(r, needed);
	compact_nodes(r);
	compact_tensors(r, needed);
	free(needed);
	return 0;
}

static int run_passes(struct rewrite *r)
{
	static int (*const passes[])(struct rewrite * r) = {
		start,
		rewrite_fold_constants,
		rewrite_remove_identities,
		rewrite_fold_shuffles,
		rewrite_fold_affine,
		rewrite_crop_windows,
		rewrite_fuse,
		rewrite_chain_concats,
		compact,
		rewrite_choose_order,
	};
	int rc = 0;

	for (size_t i = 0; i < KERF_ARRAY_LEN(passes) && rc == 0; i++)
		rc = passes[i](r);
	return rc;
}

int kerf_graph_optimize(struct kerf_graph *g, struct kerf_err *err)
{
	size_t n_tensors = (size_t)g->n_tensors + NEW_TENSORS_PER_NODE * (size_t)g->n_nodes;
	struct rewrite r = {.g = g, .err = err};
	int rc;

	r.dead = calloc((size_t)g->n_nodes + 1, sizeof(*r.dead));
	r.uses = calloc(n_tensors, sizeof(*r.uses));
	r.alias = malloc(n_tensors * sizeof(*r.alias));
	if (!r.dead || !r.uses || !r.alias) {
		rc = kerf_err_set(err, -ENOMEM, "%s: no memory to optimise it", g->name);
		goto out;
	}
	for (size_t t = 0; t < n_tensors; t++)
		r.alias[t] = (int)t;
	rc = run_passes(&r);
out:
	free(r.dead);
	free(r.uses);
	free(r.alias);
	return rc;
}
