/*
 * What the files of the ONNX reader and writer offer each other: above all, one import under way.
 *
 * A file is checked as bytes (onnx_guard.c), unpacked by protobuf-c, completed by the files that it names
 * (onnx_external.c), and then imported: the values
 * of the ONNX graph are collected and sorted by name (onnx_import.c), its nodes put in topological
 * order (onnx_order.c), and each node turned into kerf nodes (onnx_ops.c has the table of operators;
 * onnx_arith.c, onnx_resample.c, onnx_shapes.c, onnx_sizes.c, onnx_slice.c, onnx_volume.c, onnx_window.c). What
 * follows from constants becomes one, so that no arithmetic with shapes is left.
 */
#pragma once

#include "graph/graph_internal.h"

#include <onnx.pb-c.h>

/* A name that the ONNX graph defines, and what became of it. */
struct onnx_value {
	const char *name;
	Onnx__TensorProto *constant; /* initializers and Constant nodes, else NULL */
	Onnx__TensorProto scalars; /* what .constant points to for Constant's value_floats etc. */
	int64_t scalars_dim;
	int node;                 /* that computes it; KERF_NONE for inputs and initializers */
	int position;             /* among the node's outputs */
	int tensor;               /* id in the kerf graph; KERF_NONE until needed */
	struct onnx_value *alias; /* of an Identity: the value it repeats, never an alias itself */
	struct kerf_range integers; /* of a QuantizeLinear: what its integers stand for; .tensor is what it read */
	int32_t integer_type;
	bool empty; /* a list without elements, which only a Concat may read */
};

struct onnx_import {
	const Onnx__GraphProto *proto;
	int64_t opset;
	struct kerf_graph *g;
	struct onnx_value *values; /* by name */
	int n_values;
	int *order;       /* of proto->node, topological */
	void *node_names; /* a set for onnx_unique_name */
	int n_input_dims; /* the input's shape as the caller wants it; 0 when that is up to the file */
	int64_t input_dims[KERF_MAX_DIMS];
	int64_t budget;   /* bytes of constants that may still be made out of others */
	struct kerf_err *err;
};

/* ---- onnx_guard.c ---- */

/* Walks the bytes of a ModelProto without recursion: wire format, lengths, nesting, counts. */
int onnx_guard(const uint8_t *bytes, size_t len, struct kerf_err *err);

/* ---- onnx_external.c ---- */

/*
 * Reads what lies in other files into the constants of g and adds it to the digest; *bytes is how much that was. One
 * line names the constant: its file is not there, too short, or outside the directory of the model.
 */
int onnx_load_external(Onnx__GraphProto *g, const char *model_path, uint8_t digest[KERF_DIGEST_LEN], size_t *bytes,
	struct kerf_err *err);

/* ---- onnx_tensor.c ---- */

/*
 * A constant's values as f32 into *values (the caller frees). Refuses types that are not floats. Many of them that are f32
 * already are taken out of t, which is then without.
 */
int onnx_floats(Onnx__TensorProto *t, int64_t *dims, int *n_dims, float **values,
	struct kerf_err *err);
bool onnx_is_float(int data_type);
/* A constant's integers or truth values as int64, likewise. */
int onnx_integers(const Onnx__TensorProto *t, int64_t *dims, int *n_dims, int64_t **values, struct kerf_err *err);
/* At most max of them, into values[]; returns how many, or -EINVAL. There may be none. */
int onnx_ints(const Onnx__TensorProto *t, int64_t *values, int max, struct kerf_err *err);

float onnx_half_to_float(uint16_t half);

/* ---- onnx_order.c ---- */

/* Fills imp->order (allocated) or names a node of the cycle. */
int onnx_order(struct onnx_import *imp);

/* ---- onnx_import.c ---- */

/* Fills imp->g from imp->proto, whose operators are all known. */
int onnx_import_graph(struct onnx_import *imp);

/* ---- onnx_attr.c: names, and what a node says ---- */

/* One line that starts with the node's name and operator; returns -EINVAL. */
int onnx_fail(const struct onnx_import *imp, const Onnx__NodeProto *n, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
const char *onnx_node_name(const Onnx__NodeProto *n);
/*
 * "<stem><suffix>", with "_<number>" counted up from `number` when a name like that is taken. The
 * set, a tsearch(3) tree, owns the text until tdestroy(set, free). NULL without memory.
 */
const char *onnx_unique_name(void **set, const char *stem, const char *suffix, int number);

const Onnx__AttributeProto *onnx_attr(const Onnx__NodeProto *n, const char *name);
/* Each leaves *value alone when the attribute is absent, and refuses one of another type. */
int onnx_attr_int(
	const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name, int *value);
int onnx_attr_float(
	const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name, float *value);
/* Exactly `count` integers that fit an int. */
int onnx_attr_ints(const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name,
	int count, int *values);
/* Copies into text[len]; refuses what does not fit. */
int onnx_attr_text(const struct onnx_import *imp, const Onnx__NodeProto *n, const char *name,
	char *text, size_t len);

static inline bool onnx_is_empty(const struct onnx_value *v)
{
	return v && (v->empty || (v->constant && v->constant->n_dims == 1 && v->constant->dims[0] == 0));
}

struct onnx_value *onnx_find_value(const struct onnx_import *imp, const char *name);
bool onnx_has_input(const Onnx__NodeProto *n, int i);
/* The value behind input i, aliases resolved; NULL for an unknown name (cannot happen after
 * onnx_order) or an input left out. */
struct onnx_value *onnx_input_value(const struct onnx_import *imp, const Onnx__NodeProto *n, int i);
/* Tensor id of a value that the file holds or a node before n computes. 0 or -errno. */
int onnx_value_tensor(const struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v, int *id);
/* Tensor id of input i, a constant made one of f32 or int64 on its first use; KERF_NONE when left out; -EINVAL. */
int onnx_input(const struct onnx_import *imp, const Onnx__NodeProto *n, int i, int *id);
/* The same, and refuses what is not a constant. */
int onnx_constant_input(const struct onnx_import *imp, const Onnx__NodeProto *n, int i, int *id);
/* The same, and refuses integers. */
int onnx_weights_input(const struct onnx_import *imp, const Onnx__NodeProto *n, int i, int *id);
/* Constant integers of input i or, when absent, of the attribute `name`: axes, shape, pads moved
 * from attributes to inputs over the opsets. Returns how many, 0 when neither is there. */
int onnx_ints_either(const struct onnx_import *imp, const Onnx__NodeProto *n, int i,
	const char *name, int64_t *values, int max, bool *found);
/* One constant float likewise. */
int onnx_float_either(const struct onnx_import *imp, const Onnx__NodeProto *n, int i,
	const char *name, float *value);
/* Until opset 6 an attribute of Dropout and BatchNormalization said that it does not train. */
int onnx_check_inference(const struct onnx_import *imp, const Onnx__NodeProto *n);
/* Makes an axis that counts from the end count from the start. */
int onnx_axis(const struct onnx_import *imp, const Onnx__NodeProto *n, int64_t axis, int n_dims,
	int *result);

/* What the node computes as its output i > 0, if anybody reads that. */
int onnx_set_output(struct onnx_import *imp, const Onnx__NodeProto *n, size_t i, int id);

/* ---- onnx_quantise.c: QuantizeLinear and DequantizeLinear set v->tensor ---- */

int onnx_import_quantise(struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v);
int onnx_import_dequantise(struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v);
static inline bool onnx_is_quantised(const struct onnx_value *v)
{
	return v->integers.lo < v->integers.hi;
}

/* ---- operators: onnx_ops.c has the table, onnx_arith.c to onnx_window.c the importers ---- */

/* Appends k under a unique name made of the ONNX node's name and `suffix` ("" for the only one). */
int onnx_emit(
	struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k, const char *suffix);
/* Appends a RESHAPE of tensor x; of a constant it makes another constant instead. */
int onnx_emit_reshape(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int n_dims,
	const int64_t *dims, const char *suffix);

/*
 * Adds a constant made out of others and points *values at its memory, which the caller fills.
 * Returns its tensor id. What a small file can ask for is bounded: many nodes may transpose the
 * same large weights.
 */
int onnx_new_constant(struct onnx_import *imp, const Onnx__NodeProto *n, const char *name, enum kerf_dtype dtype,
	int n_dims, const int64_t *dims, void **values);

/* Parts of a shape may have no elements, as what is behind its last dimension. */
#define ONNX_EMPTY (-ENODATA)

/* An operator's importer returns the tensor id of the node's first output, ONNX_EMPTY, or another -errno. */
struct onnx_operator {
	const char *name;
	int min_inputs, max_inputs;
	int (*import)(struct onnx_import *imp, const Onnx__NodeProto *n);
	bool many_outputs; /* it sets those after the first with onnx_set_output */
};

const struct onnx_operator *onnx_find_operator(const Onnx__NodeProto *n);

int onnx_import_act(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_arg(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_batchnorm(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_binary(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_cast(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_clip(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_concat(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_condition(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_constant_of_shape(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_conv(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_conv_transpose(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_depth_to_space(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_div(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_einsum(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_expand(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_flatten(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_gather(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_gelu(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_gemm(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_global_pool(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_instancenorm(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_layernorm(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_lrn(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_matmul(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_mish(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_neg(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_pad(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_pool(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_pow(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_range(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_reduce(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_reshape(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_resize(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_scatter_nd(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_shape(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_slice(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_softmax(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_split(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_squeeze(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_sub(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_tile(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_top_k(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_transpose(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_unsqueeze(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_variadic(struct onnx_import *imp, const Onnx__NodeProto *n);
int onnx_import_where(struct onnx_import *imp, const Onnx__NodeProto *n);

/* ---- what importers of one file use of another ---- */

/* onnx_window.c: x with stride - 1 zeros between neighbours along an axis. */
int onnx_spread(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, int stride);
/* onnx_window.c: constant [C, M/g, ...] as [M, C/g, ...], back to front along every side of the window. */
int onnx_turn_weights(struct onnx_import *imp, const Onnx__NodeProto *n, int id, int groups);
/* onnx_volume.c: windows over tensors of five dimensions. bias may be KERF_NONE. */
bool onnx_is_volume(const struct onnx_import *imp, int x);
int onnx_import_conv_volume(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int weights, int bias, int groups);
int onnx_import_conv_transpose_volume(
	struct onnx_import *imp, const Onnx__NodeProto *n, int x, int weights, int bias, int groups);
int onnx_import_pool_volume(struct onnx_import *imp, const Onnx__NodeProto *n, int x, bool is_max, bool include_pad);

int onnx_emit_binary(struct onnx_import *imp, const Onnx__NodeProto *n, enum kerf_op op, int first, int second,
	const char *suffix);
/* A constant of integers as one of f32; a tensor of f32 as it is. */
int onnx_as_floats(struct onnx_import *imp, const Onnx__NodeProto *n, int x);
/* A constant as one of another kind; `truth` makes everything but 0 a 1. */
int onnx_emit_cast(struct onnx_import *imp, const Onnx__NodeProto *n, int x, enum kerf_dtype dtype, bool truth);
/* x stretched by numpy's rules where its dimensions are 1. */
int onnx_emit_expand(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int n_dims, const int64_t *dims);
/* x without the dimensions in the mask `axes`, which are 1. */
int onnx_drop_axes(struct onnx_import *imp, const Onnx__NodeProto *n, int x, unsigned axes);
/* x backwards along an axis. */
int onnx_emit_reversed(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis);
/* count indices >= 0 along an axis, which becomes the dimensions of the list. */
int onnx_emit_gather(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, const int64_t *at, int64_t count,
	int n_index_dims, const int64_t *index_dims);

/* The table of a GATHER, which its maker fills: [count, each] indices and, if asked for, weights. */
struct onnx_taps {
	int indices_id, weights_id;
	int64_t *indices;
	float *weights;
};

/* 0 or more, or -errno. */
int onnx_new_taps(struct onnx_import *imp, const Onnx__NodeProto *n, int64_t count, int64_t each, bool weighted,
	struct onnx_taps *taps);
int onnx_emit_taps(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, const struct onnx_taps *taps,
	float value, const char *suffix);

/* ---- onnx_write.c ---- */

/* The bytes of an ONNX file (the caller frees them). 0 or -errno. */
int onnx_pack_graph(const struct kerf_graph *g, uint8_t **bytes, size_t *len, struct kerf_err *err);
