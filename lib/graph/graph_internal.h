/* What the files of lib/graph share and nobody else sees. */
#pragma once

#include "graph/graph.h"

/*
 * Fills the fields that a zero-initialised node leaves open: strides, dilations and groups of 1,
 * a convolution's kernel from its weights' shape, inputs that the operator can have and the node
 * does not list as KERF_NONE.
 */
void kerf_node_set_defaults(const struct kerf_graph *g, struct kerf_node *n);

/* "[1,3,224,224]" into buf; returns buf. */
const char *kerf_dims_text(int n_dims, const int64_t *dims, char *buf, size_t len);

/*
 * Whether the values of n follow from constants by moving them or by arithmetic that is the same in every bit on
 * every machine. Integers are constants only: what computes with them has to be one of these.
 */
bool kerf_node_is_constant(const struct kerf_graph *g, const struct kerf_node *n);
/* Those values, in `out`'s shape, into `to`. */
void kerf_node_constant(const struct kerf_graph *g, const struct kerf_node *n, const struct kerf_tensor *out, void *to);
