/*
 * sketch: small graphs for tests, one short call a node. Weights are seeded; a node that the graph
 * refuses ends the program, because then the test itself is wrong.
 *
 *	struct sketch s = sketch_begin(1, 4, 8, 8); // input [1,4,8,8]
 *	int x = sketch_conv(&s, "c", s.g->input, 4, 3);
 *	s.g->output = sketch_act(&s, "r", x, (struct kerf_act){KERF_ACT_RELU});
 */
#pragma once

#include "graph/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sketch {
	struct kerf_graph *g;
	struct kerf_rng rng;
};

static inline struct sketch sketch_begin(int64_t n, int64_t c, int64_t h, int64_t w)
{
	struct sketch s = {.g = kerf_graph_create("sketch"), .rng = {.seed = 1}};

	s.g->input = kerf_graph_add_tensor(s.g, "input", KERF_F32, 4, (int64_t[]){n, c, h, w});
	return s;
}

static inline int sketch_node(struct sketch *s, const char *name, struct kerf_node n, int x, int y)
{
	struct kerf_err err = {0};

	n.name = (char *)name;
	n.inputs[0] = x;
	if (n.n_inputs == 0)
		n.n_inputs = y >= 0 ? 2 : 1;
	if (y >= 0)
		n.inputs[1] = y;
	int id = kerf_graph_add_node(s->g, &n, &err);
	if (id < 0) {
		fprintf(stderr, "sketch: %s\n", err.text);
		abort();
	}
	return id;
}

/* A constant with values in centre +- reach. */
static inline int sketch_constant(struct sketch *s, int n_dims, const int64_t *dims, float centre,
	float reach)
{
	char name[32];
	int64_t n = 1;

	for (int d = 0; d < n_dims; d++)
		n *= dims[d];
	float *v = malloc((size_t)n * sizeof(*v));
	for (int64_t i = 0; i < n; i++)
		v[i] = centre + reach * (float)(2 * kerf_rng_uniform(&s->rng) - 1);
	snprintf(name, sizeof(name), "constant%d", s->g->n_tensors);
	return kerf_graph_add_constant(s->g, name, KERF_F32, n_dims, dims, v);
}

static inline int64_t sketch_channels(const struct sketch *s, int x)
{
	return s->g->tensors[x].dims[1];
}

/* Convolution with given weights; "same" padding. */
static inline int sketch_conv_with(struct sketch *s, const char *name, int x, int weights,
	int groups)
{
	int pad = (int)s->g->tensors[weights].dims[2] / 2;
	struct kerf_node n = {
		.op = KERF_OP_CONV, .groups = groups, .pads = {pad, pad, pad, pad}};

	return sketch_node(s, name, n, x, weights);
}

static inline int sketch_conv(struct sketch *s, const char *name, int x, int out, int kernel)
{
	int64_t dims[4] = {out, sketch_channels(s, x), kernel, kernel};

	return sketch_conv_with(s, name, x, sketch_constant(s, 4, dims, 0, 0.5f), 1);
}

static inline int sketch_batchnorm(struct sketch *s, const char *name, int x)
{
	int64_t c = sketch_channels(s, x);
	struct kerf_node n = {.op = KERF_OP_BATCHNORM, .n_inputs = 5, .epsilon = 1e-3f};

	n.inputs[2] = sketch_constant(s, 1, &c, 0, 0.5f);
	n.inputs[3] = sketch_constant(s, 1, &c, 0, 0.5f);
	n.inputs[4] = sketch_constant(s, 1, &c, 1, 0.5f);
	return sketch_node(s, name, n, x, sketch_constant(s, 1, &c, 1, 0.5f));
}

static inline int sketch_act(struct sketch *s, const char *name, int x, struct kerf_act act)
{
	return sketch_node(s, name, (struct kerf_node){.op = KERF_OP_ACT, .act = act}, x, -1);
}

static inline int sketch_relu(struct sketch *s, const char *name, int x)
{
	return sketch_act(s, name, x, (struct kerf_act){KERF_ACT_RELU, 0, 0});
}

static inline int sketch_add(struct sketch *s, const char *name, int x, int y)
{
	return sketch_node(s, name, (struct kerf_node){.op = KERF_OP_ADD}, x, y);
}

static inline int sketch_mul(struct sketch *s, const char *name, int x, int y)
{
	return sketch_node(s, name, (struct kerf_node){.op = KERF_OP_MUL}, x, y);
}

static inline int sketch_concat(struct sketch *s, const char *name, int x, int y)
{
	return sketch_node(s, name, (struct kerf_node){.op = KERF_OP_CONCAT, .axis = 1}, x, y);
}

static inline int sketch_average(struct sketch *s, const char *name, int x)
{
	return sketch_node(s, name, (struct kerf_node){.op = KERF_OP_GLOBAL_AVGPOOL}, x, -1);
}

static inline int sketch_maxpool(struct sketch *s, const char *name, int x, int kernel, int stride)
{
	struct kerf_node n = {.op = KERF_OP_MAXPOOL, .kernel = {kernel, kernel},
		.strides = {stride, stride}};

	return sketch_node(s, name, n, x, -1);
}

static inline int sketch_reshape(struct sketch *s, const char *name, int x, int n_dims,
	const int64_t *dims)
{
	struct kerf_node n = {.op = KERF_OP_RESHAPE};

	n.output = kerf_graph_add_tensor(s->g, name, KERF_F32, n_dims, dims);
	return sketch_node(s, name, n, x, -1);
}

static inline int sketch_transpose(struct sketch *s, const char *name, int x, const int *perm)
{
	struct kerf_node n = {.op = KERF_OP_TRANSPOSE};

	memcpy(n.perm, perm, (size_t)s->g->tensors[x].n_dims * sizeof(*perm));
	return sketch_node(s, name, n, x, -1);
}

static inline int sketch_pad(struct sketch *s, const char *name, int x, const int pads[4])
{
	struct kerf_node n = {.op = KERF_OP_PAD};

	memcpy(n.pads, pads, sizeof(n.pads));
	return sketch_node(s, name, n, x, -1);
}

/* The node of that name, NULL when it is gone. */
static inline const struct kerf_node *sketch_find(const struct kerf_graph *g, const char *name)
{
	for (int i = 0; i < g->n_nodes; i++)
		if (strcmp(g->nodes[i].name, name) == 0)
			return &g->nodes[i];
	return NULL;
}
