/*
 * Topological order of an ONNX graph's nodes. The standard asks for it, some writers forget. A
 * file in order keeps its order; another one is sorted with Kahn's algorithm (CACM 5(11), 1962).
 */
#include "graph/onnx_import.h"

#include <stdlib.h>

/* The node that computes input i of n, or KERF_NONE. */
static int source_of(const struct onnx_import *imp, const Onnx__NodeProto *n, size_t i)
{
	const struct onnx_value *v = onnx_find_value(imp, n->input[i]);

	return v ? v->node : KERF_NONE;
}

static int check_names(const struct onnx_import *imp)
{
	for (size_t i = 0; i < imp->proto->n_node; i++) {
		const Onnx__NodeProto *n = imp->proto->node[i];
		for (size_t j = 0; j < n->n_input; j++) {
			const struct onnx_value *v = onnx_find_value(imp, n->input[j]);
			if (!n->input[j][0])
				continue;
			if (!v)
				return onnx_fail(
					imp, n, "input %.100s is defined nowhere", n->input[j]);
			if (v->position > 0 && !onnx_find_operator(imp->proto->node[v->node])->many_outputs)
				return onnx_fail(imp, n,
					"input %.100s is output %d of a node: only first outputs "
					"are supported",
					n->input[j], v->position);
		}
	}
	return 0;
}

static bool is_ordered(const struct onnx_import *imp)
{
	for (size_t i = 0; i < imp->proto->n_node; i++) {
		const Onnx__NodeProto *n = imp->proto->node[i];
		for (size_t j = 0; j < n->n_input; j++)
			if (source_of(imp, n, j) >= (int)i)
				return false;
	}
	return true;
}

/* Nodes that wait for another, as one array: those that node i releases lie from first[i] on. */
struct waiting {
	int *missing; /* inputs of each node that are not computed yet */
	int *first;   /* n + 1 */
	int *nodes;
};

static size_t count_edges(const struct onnx_import *imp)
{
	size_t edges = 0;

	for (size_t i = 0; i < imp->proto->n_node; i++)
		edges += imp->proto->node[i]->n_input;
	return edges;
}

static void fill_waiting(const struct onnx_import *imp, struct waiting *w)
{
	int n_nodes = (int)imp->proto->n_node;

	for (int i = 0; i < n_nodes; i++)
		for (size_t j = 0; j < imp->proto->node[i]->n_input; j++) {
			int from = source_of(imp, imp->proto->node[i], j);
			if (from == KERF_NONE)
				continue;
			w->first[from + 1]++;
			w->missing[i]++;
		}
	for (int i = 0; i < n_nodes; i++)
		w->first[i + 1] += w->first[i];
	/* Backwards, so that each node's list can shrink towards its start while it fills. */
	for (int i = n_nodes - 1; i >= 0; i--)
		for (size_t j = 0; j < imp->proto->node[i]->n_input; j++) {
			int from = source_of(imp, imp->proto->node[i], j);
			if (from != KERF_NONE)
				w->nodes[--w->first[from + 1]] = i;
		}
	/* Now first[i + 1] is where list i starts: the array has moved by one. */
}

static int sort_nodes(struct onnx_import *imp, struct waiting *w, int n_edges)
{
	int n_nodes = (int)imp->proto->n_node, done = 0;

	for (int i = 0; i < n_nodes; i++)
		if (w->missing[i] == 0)
			imp->order[done++] = i;
	for (int next = 0; next < done; next++) {
		int i = imp->order[next];
		int end = i + 1 < n_nodes ? w->first[i + 2] : n_edges;
		for (int e = w->first[i + 1]; e < end; e++)
			if (--w->missing[w->nodes[e]] == 0)
				imp->order[done++] = w->nodes[e];
	}
	return done;
}

static int stuck_source(const struct onnx_import *imp, const struct waiting *w, int i)
{
	const Onnx__NodeProto *n = imp->proto->node[i];

	for (size_t j = 0; j < n->n_input; j++) {
		int from = source_of(imp, n, j);
		if (from != KERF_NONE && w->missing[from] > 0)
			return from;
	}
	return KERF_NONE;
}

/* Walking from a stuck node to a stuck source again and again ends inside the cycle. */
static int name_cycle(struct onnx_import *imp, const struct waiting *w)
{
	int n_nodes = (int)imp->proto->n_node, at = KERF_NONE;
	int *sources = imp->order; /* nobody needs the order any more */

	for (int i = 0; i < n_nodes; i++) {
		sources[i] = w->missing[i] ? stuck_source(imp, w, i) : KERF_NONE;
		if (w->missing[i])
			at = i;
	}
	for (int steps = 0; steps < n_nodes; steps++)
		at = sources[at];
	return onnx_fail(imp, imp->proto->node[at], "it waits for its own output (a cycle)");
}

static int sort_unordered(struct onnx_import *imp)
{
	size_t n_nodes = imp->proto->n_node, edges = count_edges(imp);
	struct waiting w = {
		.missing = calloc(n_nodes, sizeof(int)),
		.first = calloc(n_nodes + 2, sizeof(int)),
		.nodes = calloc(edges, sizeof(int)),
	};
	int rc = 0;

	if (!w.missing || !w.first || !w.nodes) {
		rc = kerf_err_set(imp->err, -ENOMEM, "no memory to sort %zu nodes", n_nodes);
		goto out;
	}
	fill_waiting(imp, &w);
	int n_edges = 0;
	for (size_t i = 0; i < n_nodes; i++)
		n_edges += w.missing[i];
	if (sort_nodes(imp, &w, n_edges) < (int)n_nodes)
		rc = name_cycle(imp, &w);
out:
	free(w.missing);
	free(w.first);
	free(w.nodes);
	return rc;
}

int onnx_order(struct onnx_import *imp)
{
	if (check_names(imp) < 0)
		return -EINVAL;
	imp->order = calloc(imp->proto->n_node, sizeof(*imp->order));
	if (!imp->order)
		return kerf_err_set(imp->err, -ENOMEM, "no memory for the order of the nodes");
	if (!is_ordered(imp))
		return sort_unordered(imp);
	for (size_t i = 0; i < imp->proto->n_node; i++)
		imp->order[i] = (int)i;
	return 0;
}
