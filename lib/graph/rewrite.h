/*
 * rewrite: what the passes of kerf_graph_optimize share.
 *
 * Node indices stay as they are until the last step (rewrite_compact): a pass marks nodes dead,
 * redirects tensors and keeps the use counts. Every pass is one walk in topological order that
 * starts each node with rewrite_enter_node, so chains of any length need no search and the whole
 * is linear in the size of the graph.
 */
#pragma once

#include "graph/graph.h"

struct rewrite {
	struct kerf_graph *g;
	bool *dead;   /* per node */
	int *uses;    /* per tensor: inputs and residuals that read it, plus 1 for the output */
	int *alias;   /* per tensor: itself, or the tensor that stands for it */
	struct kerf_err *err;
};

/* Resolves what node i reads; false when the node is dead. */
bool rewrite_enter_node(struct rewrite *r, int i);

/* The node that computes tensor id and lives, or NULL (input, constant, KERF_NONE). */
struct kerf_node *rewrite_producer(const struct rewrite *r, int id);
bool rewrite_is_constant(const struct rewrite *r, int id);
bool rewrite_same_shape(const struct rewrite *r, int a, int b);

/* One reader less; the producer of a tensor that nobody reads dies. */
void rewrite_drop_use(struct rewrite *r, int id);
/* Input j of n becomes tensor `to`. */
void rewrite_set_input(struct rewrite *r, struct kerf_node *n, int j, int to);
/* Node n goes away: readers of its output read tensor `to` from now on. */
void rewrite_bypass(struct rewrite *r, struct kerf_node *n, int to);
/* Node `by` computes the output of n, its only reader, from now on; n goes away. */
void rewrite_absorb(struct rewrite *r, struct kerf_node *by, struct kerf_node *n);
/* Adds a constant with one use; takes data (also when it fails). The id or -errno. */
int rewrite_add_constant(struct rewrite *r, const char *name, enum kerf_dtype dtype, int n_dims, const int64_t *dims,
	void *data);

/* The passes, in the order in which they run. All return 0 or -errno. */
int rewrite_fold_constants(struct rewrite *r);
int rewrite_remove_identities(struct rewrite *r);
int rewrite_fold_shuffles(struct rewrite *r);
int rewrite_fold_affine(struct rewrite *r);
int rewrite_crop_windows(struct rewrite *r);
int rewrite_fuse(struct rewrite *r);
int rewrite_chain_concats(struct rewrite *r);
/* Behind all that changes nodes. */
int rewrite_choose_order(struct rewrite *r);
