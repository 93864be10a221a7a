/*
 * graph: a neural network as a list of nodes in topological order, and the places to cut it.
 *
 *	struct kerf_graph *g = kerf_graph_load("model.onnx", NULL, &err); // or kerf_zoo_build()
 *	kerf_graph_optimize(g, &err);                                    // fold, fuse
 *	struct kerf_cut *cuts; unsigned n;
 *	kerf_graph_find_cuts(g, &cuts, &n, &err);                        // n == g->n_nodes + 1
 *
 * Invariants: nodes are in topological order; every tensor has one producer (a node, the input,
 * or a constant); all dimensions are known and positive. Shapes are in ONNX order (NCHW); how
 * values lie in memory is the engine's business. A graph owns everything it points to.
 * Optimising is the same on every machine, so node indices and cuts mean the same on both ends.
 */
#pragma once

#include "core/core.h"

#define KERF_MAX_DIMS 6
#define KERF_MAX_INPUTS 32     /* Concat is the only wide one */
#define KERF_MAX_CUT_TENSORS 8 /* a cut that more tensors cross is not usable */
#define KERF_NONE (-1)

enum kerf_dtype { KERF_F32, KERF_I64 };

/* The values that a tensor takes; lo > hi = none yet. */
struct kerf_range {
	float lo, hi;
};

struct kerf_tensor {
	char *name;
	enum kerf_dtype dtype;
	int n_dims;
	int64_t dims[KERF_MAX_DIMS];
	void *data;   /* constant: dense, in ONNX order; NULL for what is computed */
	int producer; /* node index; KERF_NONE for graph inputs and constants */
	struct kerf_range range; /* that the file quantises it to; both 0 = it does not say */
	bool plain; /* four dimensions that lie as ONNX has them instead of channels last: kerf_graph_optimize */
};

/* One operator each; attributes that ONNX passes as constant inputs are resolved into fields. New ones go to the end:
 * the digests of the zoo's networks hold these numbers. */
enum kerf_op {
	KERF_OP_CONV, /* x, weights [O,I/g,kh,kw], bias [O] or NONE, residual or NONE */
	KERF_OP_GEMM, /* x [N,K], weights [M,K] (ONNX transB=1), bias [M] or NONE */
	KERF_OP_BATCHNORM, /* x, scale, bias, mean, variance: all [C] */
	KERF_OP_ACT, /* x */
	KERF_OP_ADD, /* a, b: one shape, or stretched to one by numpy's rules */
	KERF_OP_MUL, /* likewise; squeeze-excite is [N,C,H,W] x [N,C,1,1] */
	KERF_OP_MAXPOOL, /* x */
	KERF_OP_AVGPOOL, /* x */
	KERF_OP_GLOBAL_AVGPOOL, /* x [N,C,H,W] -> [N,C,1,1] */
	KERF_OP_CONCAT, /* 2.. tensors along .axis */
	KERF_OP_RESHAPE, /* x; the target shape is the output's (Flatten, Squeeze, Reshape, ...) */
	KERF_OP_SOFTMAX, /* x along .axis */
	KERF_OP_TRANSPOSE, /* x by .perm */
	KERF_OP_PAD, /* x, zeros by .pads on H and W */
	KERF_OP_SLICE, /* x: .counts values of each dimension, from .starts on in steps of .steps */
	KERF_OP_GATHER, /* x along .axis by a table of indices; see kerf_node.value */
	KERF_OP_REDUCE, /* x over the dimensions in .axes, which become 1, by .reduce */
	KERF_OP_LAYERNORM, /* x [R,L], scale [L], bias [L] or NONE: rows of mean 0, variance 1 */
	KERF_OP_DIV, /* a, b: as ADD */
	KERF_OP_MIN, /* a, b: as ADD */
	KERF_OP_MAX, /* a, b: as ADD */
	KERF_OP_POW, /* a, b: as ADD; a to the power of b */
	KERF_OP_PRELU, /* a, b: as ADD; a, or a * b where a < 0 */
	KERF_OP_MATMUL, /* a [B,M,K], b [B,K,N] -> [B,M,N]; B of one of them may be 1 */
	KERF_OP_DEPTH_TO_SPACE, /* x [N, kh*kw*C, H, W] -> [N, C, kh*H, kw*W] by .kernel: channel (y*kw + x)*C + c goes to (y, x) */
	KERF_OP_EQUAL, /* a, b: as ADD; 1 where a is b, else 0 */
	KERF_OP_LESS, /* likewise, where a < b */
	KERF_OP_LESS_EQUAL, /* likewise, where a <= b */
	KERF_OP_MASK, /* a, b: as ADD; a where b is not 0, else 0 */
	KERF_OP_COUNT
};

/* Activations; KERF_ACT_NONE as a fused field means there is none. */
enum kerf_act_kind {
	KERF_ACT_NONE,
	KERF_ACT_RELU,
	KERF_ACT_CLIP, /* min(max(x, lo), hi) */
	KERF_ACT_SIGMOID,
	KERF_ACT_SILU,         /* x * sigmoid(x) */
	KERF_ACT_HARD_SIGMOID, /* clip(lo*x + hi, 0, 1): ONNX alpha in lo, beta in hi */
	KERF_ACT_HARD_SWISH,   /* x * clip(x/6 + 1/2, 0, 1) */
	KERF_ACT_TANH,
	KERF_ACT_LEAKY_RELU, /* slope in lo */
	KERF_ACT_ERF,
	KERF_ACT_GELU, /* x/2 * (1 + erf(x / sqrt 2)) */
	/* From here on by the C library, one value at a time. */
	KERF_ACT_ABS,
	KERF_ACT_SQRT,
	KERF_ACT_RECIPROCAL,
	KERF_ACT_EXP,
	KERF_ACT_LOG,
	KERF_ACT_ELU, /* x, or lo * (exp(x) - 1) below 0 */
	KERF_ACT_SELU, /* hi * ELU */
	KERF_ACT_SOFTPLUS, /* log(1 + exp(x)) */
	KERF_ACT_SOFTSIGN, /* x / (1 + |x|) */
	KERF_ACT_FLOOR,
	KERF_ACT_CEIL,
	KERF_ACT_ROUND, /* halves to even */
	KERF_ACT_SIN,
	KERF_ACT_COS,
	KERF_ACT_COUNT
};

enum kerf_reduce {
	KERF_REDUCE_MEAN,
	KERF_REDUCE_SUM,
	KERF_REDUCE_MAX,
	KERF_REDUCE_MIN,
	KERF_REDUCE_PROD,
	KERF_REDUCE_ARGMAX, /* the index of the first; over one dimension */
	KERF_REDUCE_ARGMIN,
	KERF_REDUCE_COUNT
};

struct kerf_act {
	enum kerf_act_kind kind;
	float lo, hi;
};

struct kerf_node {
	char *name;  /* "block3/dw"; unique in the graph */
	enum kerf_op op;
	int n_inputs;
	int inputs[KERF_MAX_INPUTS]; /* tensor ids, in the order given at enum kerf_op */
	int output;                  /* tensor id; every operator here has one output */

	/* Conv and pools: [0] is height, [1] is width. pads: top, left, bottom, right. */
	int kernel[2], strides[2], dilations[2], pads[4];
	int groups;
	bool count_include_pad; /* AVGPOOL */
	float epsilon;          /* BATCHNORM, LAYERNORM */
	int axis;
	int perm[KERF_MAX_DIMS];
	int starts[KERF_MAX_DIMS], steps[KERF_MAX_DIMS], counts[KERF_MAX_DIMS]; /* SLICE; steps may be negative */
	unsigned axes;           /* REDUCE: bit d for dimension d */
	enum kerf_reduce reduce; /* REDUCE */
	int top;                 /* REDUCE of MAX to ARGMIN over one dimension: so many, best first; 0 = 1 */
	/*
	 * GATHER: inputs are x, indices [n, taps] of integers, and weights [n, taps] or NONE. Along the
	 * axis out[i] is the sum of x[indices[i][t]] * weights[i][t] over t; without weights taps is 1.
	 * An index of -1 stands for this value. So it is ONNX's Gather, Pad, Tile, Expand, Resize.
	 */
	float value;

	/* Set by kerf_graph_optimize on CONV, GEMM, ADD, MUL and BATCHNORM: out = act(op(...) + residual).
	 * */
	struct kerf_act act;
	int residual; /* tensor id or KERF_NONE; same shape as the output */
};

struct kerf_graph {
	char *name; /* zoo name or file name without directory */
	uint8_t digest
		[KERF_DIGEST_LEN]; /* of the model file or the zoo weights: both ends compare it */
	struct kerf_tensor *tensors;
	int n_tensors;
	struct kerf_node *nodes;
	int n_nodes;
	int input, output; /* tensor ids; kerf runs networks with one input and one output */
	int capacity_tensors, capacity_nodes;
};

/* ---- building ---- */

struct kerf_graph *kerf_graph_create(const char *name);
void kerf_graph_free(struct kerf_graph *g);

/* Adds a tensor and returns its id; copies name and dims. dims may be NULL when n_dims is 0. */
int kerf_graph_add_tensor(struct kerf_graph *g, const char *name, enum kerf_dtype dtype, int n_dims,
	const int64_t *dims);
/* Adds a constant; takes ownership of data (malloc), which stays the caller's when this fails. */
int kerf_graph_add_constant(struct kerf_graph *g, const char *name, enum kerf_dtype dtype,
	int n_dims, const int64_t *dims, void *data);
/*
 * Appends a copy of *n with its name copied, adds its output tensor (named like the node) with the
 * shape that kerf_graph_infer_shape gives, and returns the output's tensor id, or -EINVAL. Open
 * fields get their defaults: strides, dilations and groups 1, a convolution's kernel from its
 * weights, inputs past n_inputs and residual KERF_NONE; output is ignored. Only a RESHAPE brings
 * its output along, a tensor added before with the target shape; with output KERF_NONE it flattens
 * to [N, rest].
 */
int kerf_graph_add_node(struct kerf_graph *g, const struct kerf_node *n, struct kerf_err *err);

/* Elements and bytes of a tensor; sizes are checked against overflow when it is added. */
int64_t kerf_tensor_elements(const struct kerf_tensor *t);
size_t kerf_tensor_bytes(const struct kerf_tensor *t);

/* Shape of n's output from its inputs' shapes (ONNX operator semantics). 0 or -EINVAL; the error
 * names the node. RESHAPE and n->output >= 0: checks that the element counts agree. */
int kerf_graph_infer_shape(const struct kerf_graph *g, const struct kerf_node *n, int64_t *dims,
	int *n_dims, struct kerf_err *err);

const char *kerf_op_name(enum kerf_op op);

/* ---- files ---- */

/*
 * Reads an ONNX file (opset 1 to 22). input_shape, "1,3,224,224" or NULL, fills in the dimensions of
 * the input that the file leaves open; without it only the batch may be open, and is 1. Several
 * outputs become one: each flattened to [N, rest], side by side.
 * Everything about the file that kerf cannot run is refused
 * here with one line that names the operator and the node. Sizes and nesting are checked before
 * protobuf-c unpacks (its recursion has no limit of its own). NULL on error.
 */
struct kerf_graph *kerf_graph_load(const char *path, const char *input_shape, struct kerf_err *err);

/* Writes an unoptimised graph as ONNX opset 13 (IR 8): what ONNX Runtime loads. 0 or -errno. Some operators that no
 * architecture below has (GATHER, REDUCE, LAYERNORM) are refused. */
int kerf_graph_save(const struct kerf_graph *g, const char *path, struct kerf_err *err);

/* ---- known architectures ---- */

struct kerf_zoo_options {
	unsigned batch; /* 0 = 1 */
	uint64_t seed;
};

/* Name of the i-th architecture, NULL past the end. */
const char *kerf_zoo_name(unsigned i);
/*
 * Builds an architecture with seeded weights, scaled so that activations keep their variance from
 * layer to layer (He et al. 2015), BatchNorm as its own node. An unknown name lists the known ones.
 */
struct kerf_graph *kerf_zoo_build(const char *name, const struct kerf_zoo_options *options,
	struct kerf_err *err);

/* ---- rewriting ---- */

/*
 * Folds constants, removes identities, folds BatchNorm into the convolution before it, recognises
 * SiLU and hard-swish, fuses activations and residual adds, drops what nobody uses. Changes node
 * indices; node names stay. Deterministic and independent of the machine.
 */
int kerf_graph_optimize(struct kerf_graph *g, struct kerf_err *err);
/*
 * Frees the values of constants, of which an engine has its own. What is left describes the network (sizes, cuts, digest)
 * and can no longer be compiled, optimised or saved.
 */
void kerf_graph_drop_weights(struct kerf_graph *g);
/* The file says how some of its tensors are quantised. */
bool kerf_graph_is_quantised(const struct kerf_graph *g);

/* ---- cuts ---- */

/*
 * Cut k lies before node k: nodes [0,k) are the head, [k,n_nodes) the tail. Cut 0 sends the input,
 * cut n_nodes sends nothing (all local).
 */
struct kerf_cut {
	int position;
	int n_tensors; /* that cross; 0 at the last cut; > KERF_MAX_CUT_TENSORS = not usable */
	int tensors[KERF_MAX_CUT_TENSORS]; /* ids, ascending */
	int64_t elements; /* sum over tensors */
	double ratio;     /* elements / elements of the input (Bakhtiarnia et al.: c_l) */
	bool natural;     /* one tensor crosses and ratio < 1: a natural bottleneck */
	bool useful;      /* natural, and a smaller ratio than at every natural cut before it */
	bool candidate; /* for the plan: cut 0, the last, each that one tensor crosses, and cuts
	                   * that several cross when they send fewer elements than both neighbours
	                   * */
	bool closed;       /* nobody can stop there: kerf_model_restrict */
	const char *block; /* set on the last cut of a block ("block3"), NULL elsewhere */
};

/*
 * All n_nodes + 1 cuts, in order; the caller frees *cuts. A block is the run of nodes whose names
 * start with the same "block..." component (up to '/'); a node "block4_pool" without '/' is a
 * block of its own.
 */
int kerf_graph_find_cuts(const struct kerf_graph *g, struct kerf_cut **cuts, unsigned *n_cuts,
	struct kerf_err *err);
/* natural and useful again, counted over block outputs only (the paper's granularity). */
void kerf_cuts_by_block(struct kerf_cut *cuts, unsigned n_cuts);
