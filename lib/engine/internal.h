/*
 * internal: how a compiled graph looks inside lib/engine.
 *
 * A graph becomes steps. A step reads and writes operands; an operand is a place in a context's
 * arena or a range of the engine's weight block. Places are what the arena is packed from: the
 * tensors that share memory (an alias reshape, a residual that a convolution adds onto) share a
 * place. Lowering (lower_*.c) fills a struct builder; compile.c packs, fills weights and freezes
 * it.
 */
#pragma once

#include "engine/depthwise.h"
#include "engine/direct.h"
#include "engine/engine.h"
#include "engine/onednn.h"
#include "engine/pointwise.h"
#include "engine/rows.h"
#include "engine/winograd.h"

#define KERF_ALIGN 64
#define KERF_DNN_ARGS 6 /* src, weights, bias, dst, scratchpad, scales */

static inline size_t kerf_align_up(size_t bytes)
{
	return (bytes + KERF_ALIGN - 1) / KERF_ALIGN * KERF_ALIGN;
}

/* ---- operands ---- */

enum operand_in { IN_ARENA, IN_WEIGHTS, IN_SCRATCHPAD };

struct operand {
	enum operand_in in;
	int index; /* of a place or a weight */
};

/* Memory of one or more tensors; alive from before step `first` to behind step `last`. */
struct place {
	size_t bytes, offset;
	int first, last;
	int last_node; /* while lowering: the last node that reads any of its tensors */
};

/* [outputs][inputs][area] of elements of so many bytes that oneDNN is to be given as [area][inputs][outputs]; area 0 = as they are. */
struct turn {
	int64_t outputs, inputs, area;
	size_t size;
};

/*
 * What is to fill a range of the weight block. It comes from `source` by a oneDNN reorder when `reorder` is
 * set, by direct.c or winograd.c for their tiles, else copied. `owned` is a temporary that lowering made and filling frees.
 */
struct weight {
	size_t bytes;
	const void *source;
	void *owned;
	bool reorder;
	struct dnn_md from, to;
	struct turn turn;
	struct kerf_direct tiles;           /* packed for these when they have code, */
	struct kerf_winograd_form winograd; /* transformed when that has a size and is not late */
};

/*
 * A tensor whose `rows` of `length` floats are written into a larger one, the output of a concatenation or of one further
 * along that it lies in (join.c).
 */
struct join {
	int producer, concat; /* nodes; the latter is the last one to read the tensor */
	int whole;            /* tensor */
	int dense, within;    /* places of this tensor and of the whole */
	int64_t rows, length, first, row; /* floats in front of it in a row of the whole, and from row to row */
};

/* ---- steps of our own ---- */

/*
 * Nested loops over up to KERF_MAX_DIMS dimensions, outermost first, with the distance in floats
 * that each operand moves per turn: 0 = output, 1 and 2 = inputs. A distance of 0 broadcasts.
 */
struct nest {
	int n_dims;
	int64_t extent[KERF_MAX_DIMS];
	int64_t stride[3][KERF_MAX_DIMS];
	int64_t start[3];
};

/* Pooling over NHWC: sizes in elements; an average counts places in the pads if asked to. */
struct pool {
	int64_t n, h, w, c, out_h, out_w;
	int kernel[2], strides[2], dilations[2], pads[4];
	bool count_include_pad, max;
};

struct concat {
	int64_t outer, out_first, out_row; /* rows; floats in front of the first in what it writes to, and from row to row */
	int64_t row[KERF_MAX_INPUTS];      /* floats each input gives to a row */
	int64_t first[KERF_MAX_INPUTS];    /* where in it */
	int n_inputs;                      /* that are not there already */
};

/* [batches, rows, inner] times [batches, inner, columns]; a batch of 0 floats is the same for all. */
struct matmul {
	int64_t batches, rows, inner, columns;
	int64_t a_batch, b_batch, room; /* floats from batch to batch; what a thread needs */
	struct kerf_direct product;     /* of a batch */
};

struct softmax {
	int64_t outer, axis, inner;
};

/* Memory order: outer x n_in x inner becomes outer x n_out x inner; operand 2 holds int32 indices. */
struct gather {
	int64_t outer, n_in, n_out, inner;
	int taps;
	float value;
};

/* The first n_kept dimensions of the nest are the output's, the others are walked for each of its values. */
struct reduce {
	struct nest nest;
	int n_kept;
	enum kerf_reduce kind;
	int top; /* more than 1: so many along the last dimension */
};

struct layernorm {
	int64_t rows, len;
	float epsilon;
	bool has_scale, has_bias;
};

/* f32 into bf16, or into limit(x * inverse) as bytes. */
struct narrow {
	bool bf16;
	float inverse, lo, hi;
};

struct channels {
	int64_t outer, c, inner; /* memory order: outer x c x inner */
	float lo;                /* no result is smaller */
	int64_t x_first, x_row;  /* of the input, floats in front of the first turn of `outer`, and from one to the next */
};

struct step;
/* data[0] is the output, then the inputs; team is the number of threads to use at most. */
typedef void (*step_run)(const struct step *s, float *const *data, unsigned team);

struct step {
	int node;
	char name[64];

	/* oneDNN */
	dnnl_primitive_t primitive;
	size_t scratchpad_bytes;
	int dnn_arg[KERF_DNN_ARGS];

	/* our own, when primitive is NULL */
	step_run run;
	int64_t elements; /* of the output, or as much work: decides whether a team is worth it */
	union {
		struct kerf_act act;
		struct {
			struct nest nest;
			enum kerf_op op; /* of two operands */
		};
		struct pool pool;
		struct concat concat;
		struct softmax softmax;
		struct channels channels;
		struct gather gather;
		struct reduce reduce;
		struct layernorm layernorm;
		struct matmul matmul;
		struct kerf_depthwise depthwise;
		struct kerf_pointwise pointwise;
		struct kerf_direct direct;
		struct kerf_winograd winograd;
		struct narrow narrow;
	};

	int n_operands; /* in the order of dnn_arg, or of data */
	struct operand operands[KERF_MAX_INPUTS + 1];
};

/* Runs of steps.c, steps_reduce.c, direct.c, matmul.c, winograd.c, depthwise_*.c, grouped.c and pointwise_int8.c */
void kerf_step_act(const struct step *s, float *const *data, unsigned team);
void kerf_step_binary(const struct step *s, float *const *data, unsigned team);
void kerf_step_copy(const struct step *s, float *const *data, unsigned team);
void kerf_step_pad(const struct step *s, float *const *data, unsigned team);
void kerf_step_pool(const struct step *s, float *const *data, unsigned team);
void kerf_step_pool_rows(const struct step *s, float *const *data, unsigned team);
void kerf_step_concat(const struct step *s, float *const *data, unsigned team);
void kerf_step_softmax(const struct step *s, float *const *data, unsigned team);
void kerf_step_scale_shift(const struct step *s, float *const *data, unsigned team);
void kerf_step_gather(const struct step *s, float *const *data, unsigned team);
void kerf_step_reduce(const struct step *s, float *const *data, unsigned team);
void kerf_step_depthwise_f32(const struct step *s, float *const *data, unsigned team);
void kerf_step_depthwise_int8(const struct step *s, float *const *data, unsigned team);
void kerf_step_depthwise_bf16(const struct step *s, float *const *data, unsigned team);
void kerf_step_grouped(const struct step *s, float *const *data, unsigned team);
void kerf_step_pointwise(const struct step *s, float *const *data, unsigned team);
void kerf_step_direct(const struct step *s, float *const *data, unsigned team);
void kerf_step_winograd(const struct step *s, float *const *data, unsigned team);
void kerf_step_matmul(const struct step *s, float *const *data, unsigned team);
void kerf_step_layernorm(const struct step *s, float *const *data, unsigned team);
void kerf_step_narrow(const struct step *s, float *const *data, unsigned team);

/* ---- the compiled engine ---- */

struct team {
	unsigned threads;
	int *cpus; /* NULL = not bound */
	uint64_t id;
};

/* How a tensor lies: a value is scale times what is stored. */
struct storage {
	dnnl_data_type_t type;
	float scale; /* 1 but for integers */
};

struct kerf_engine {
	dnnl_engine_t dnn;
	struct kerf_allocator allocator;
	struct kerf_numa *numa; /* behind the default allocator */
	struct team team;

	struct step *steps;
	int n_steps;
	int *first_step; /* n_nodes + 1 */
	int n_nodes;
	struct place *places;
	int n_places;
	int *tensor_place; /* n_tensors; KERF_NONE for what has no place */
	struct storage *storage; /* n_tensors */
	int n_tensors;
	size_t *weight_offsets; /* per weight, in weight_block */
	struct join *joins;
	int n_joins;

	void *weight_block;
	size_t weight_bytes, arena_bytes, scratchpad_bytes;
};

/* Calls part() for [0, n) split into one range per thread when the step is large enough for that. */
typedef void (*part_fn)(const struct step *s, float *const *data, int64_t from, int64_t to);
void kerf_step_split(const struct step *s, float *const *data, unsigned team, int64_t n, part_fn part);

/* ---- lowering ---- */

struct builder {
	const struct kerf_graph *g;
	struct kerf_engine *e;
	struct kerf_err *err;
	int node;      /* being lowered */
	int *last_use; /* per tensor: node index, n_nodes for the graph's output */
	enum kerf_precision precision;
	const struct kerf_range *ranges;
	bool *narrow; /* per node: multiplies in that precision */
	struct kerf_winograd_form *winograd; /* per node */
	struct join *joins;                  /* per tensor: row 0 = it cannot be one, within NONE = it is not one */
	struct weight *weights;
	int n_weights;
	int capacity_steps, capacity_places, capacity_weights, capacity_joins;
};

int kerf_lower_graph(struct builder *b);

/* One line "node NAME (op): ..." */
int kerf_lower_fail(struct builder *b, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

struct step *kerf_lower_step(struct builder *b, const char *name, step_run run);
void kerf_lower_operand(struct step *s, struct operand o);
int kerf_lower_new_place(struct builder *b, size_t bytes);
int kerf_lower_new_weight(struct builder *b, size_t bytes);
int kerf_lower_add_join(struct builder *b, const struct join *j);
/* A weight of zeros for the caller to fill; NULL without memory. */
float *kerf_lower_own_weight(struct builder *b, size_t bytes, struct operand *o);
/* A step that reads input 0 and writes a fresh output, which is its operand 0. NULL after an error. */
struct step *kerf_lower_unary(struct builder *b, const struct kerf_node *n, const char *name, step_run run);
/*
 * Where a convolution (of x) that adds to a residual writes: onto it when nothing reads that later,
 * else onto a copy of it.
 */
int kerf_lower_residual_output(struct builder *b, int residual, int x, struct operand *y);
/* Where input tensor `id` is read: its place, or a weight in memory order when it is constant. */
int kerf_lower_input(struct builder *b, int id, struct operand *o);
/* The same for a residual, which has to be as large as the output. */
int kerf_lower_residual_input(struct builder *b, int id, struct operand *o);
/* A fresh place for this node's output, */
int kerf_lower_output(struct builder *b, struct operand *o);
/* or the place of `id`, when nothing reads that later; false when it cannot be shared. */
bool kerf_lower_output_onto(struct builder *b, int id, struct operand *o);
/* Residual and activation that the node's main step did not take along. */
int kerf_lower_tail(struct builder *b, struct operand output, int residual, struct kerf_act act);
int kerf_lower_copy(struct builder *b, struct operand to, struct operand from, int64_t elements);
bool kerf_tail_eltwise(struct kerf_act act, struct dnn_tail *tail);

/* precision.c */
/* What 1 stands for in an integer when the largest value is `most`: 1 for what has no scale. */
float kerf_precision_scale(float largest, int most);
/* Which nodes multiply in the builder's precision, and how each tensor is stored. */
int kerf_precision_decide(struct builder *b);
/* How a narrow node reads tensor `id`; it has a place in f32, or lies so already. */
struct storage kerf_precision_read_as(const struct builder *b, int id);
int kerf_precision_input(struct builder *b, int id, struct operand *o);

/* What 1 stands for in the 8-bit weights of output channel oc: symmetric, so that the largest is 127. */
float kerf_precision_weight_scale(const struct kerf_tensor *w, int64_t oc);
void kerf_precision_quantise(const struct kerf_tensor *w, int8_t *to);

/* lower_loops.c: a depthwise or a narrow convolution by loops that are not tiles. */
bool kerf_loops_suit(const struct builder *b, const struct kerf_node *n);
int kerf_lower_loops(struct builder *b, const struct kerf_node *n);

/* lower_dnn.c */
/* Whether oneDNN has fast code for the node in that precision, with a result in f32 and in dst. */
bool kerf_dnn_suits(struct builder *b, const struct kerf_node *n, struct storage src, struct storage dst);
/* Where the node's input is read in the precision that it multiplies in. */
int kerf_lower_source(struct builder *b, const struct kerf_node *n, struct operand *x);
int kerf_lower_conv(struct builder *b, const struct kerf_node *n);
int kerf_lower_gemm(struct builder *b, const struct kerf_node *n);
int kerf_lower_softmax(struct builder *b, const struct kerf_node *n);
int kerf_lower_matmul(struct builder *b, const struct kerf_node *n);
#define OWN_ELEMENT_PRODUCTS 32 /* multiply-adds that take as long as an elementwise step's work on one element */

/* lower_direct.c: what convolutions by our own loops have in common. */
struct own_conv {
	struct kerf_direct conv;    /* sizes, where the output lies, limits */
	struct operand operands[4]; /* output, input, weights, bias */
	struct kerf_act left;       /* activation that is to be a step of its own */
};
/* All but the weights, */
int kerf_lower_own_conv(struct builder *b, const struct kerf_node *n, int residual, struct own_conv *own);
/* those, to be packed for such tiles (NULL without memory), */
struct weight *kerf_lower_own_weights(
	struct builder *b, const struct kerf_node *n, struct own_conv *own, const struct kerf_direct *tiles, size_t bytes);
/* and the step, with so many floats of room for each thread as operand 4. */
struct step *kerf_lower_own_step(
	struct builder *b, const char *name, step_run run, const struct own_conv *own, int64_t room);
int kerf_lower_direct(struct builder *b, const struct kerf_node *n, int residual);
/* Whether that one would write into a concatenation: nothing is to be done to its values afterwards. */
bool kerf_direct_joins(const struct builder *b, const struct kerf_node *n, int residual);
/* direct.c: how many groups of output channels there are to be, so that a team has as much to do each; */
int64_t kerf_direct_divide(const struct kerf_direct *d, unsigned team);
/* where one begins. */
int64_t kerf_direct_first(const struct kerf_direct *d, int64_t group);
/* direct.c: so many output channels from `lane` on, at most DIRECT_PACK, of nc input channels from `first` on, as
 * [kh][kw][nc] rows of `width`. */
void kerf_direct_pack_lanes(const struct kerf_direct *d, const float *from, int64_t lane, int64_t n_lanes, int64_t first,
	int64_t nc, int64_t width, float *to);
/* direct.c: [O, I, kh, kw] as [group][I / block][kh][kw][block][channels of the group], zeros up to whole vectors. */
void kerf_direct_pack(const struct kerf_direct *d, const float *from, float *to);
/*
 * direct.c: so many places, row by row from the first of x and y on, which is at the beginning of this output row, in tiles that
 * are about as large, for one block of input channels; what `next` points to is fetched by the way.
 */
void kerf_direct_run(const struct kerf_direct *d, struct kerf_direct_tile *t, const float *x, int64_t row, float *y,
	int64_t count, const char *next, int64_t next_bytes);
/* direct.c: whether that is faster than oneDNN for this convolution on this machine, which saves copying when it joins. */
bool kerf_direct_suits(const struct kerf_node *n, const struct kerf_tensor *x, const struct kerf_tensor *y, bool joins);
/* direct.c: likewise for inner products; of a few rows always, as oneDNN's sums depend on the number of threads there. */
bool kerf_direct_suits_gemm(const struct kerf_tensor *x, const struct kerf_tensor *y);
/* lower_winograd.c: whether a node is faster so, in f32, than in the builder's precision; */
bool kerf_winograd_beats_narrow(const struct builder *b, int node);
/* which nodes are convolved so, and in which form; */
int kerf_winograd_decide(struct builder *b);
/* one of them. */
int kerf_lower_winograd(struct builder *b, const struct kerf_node *n, int residual);
/* direct.c: a product of matrices as a convolution whose places are rows; its output rows have whole vectors. */
struct kerf_direct kerf_direct_product(int64_t ic, int64_t oc);
/* winograd.c: the transforms that go with these tiles; */
const struct kerf_winograd_code *kerf_winograd_code(const struct kerf_direct *d);
/* bytes of its weights, more than in the file unless they are late; */
size_t kerf_winograd_bytes(struct kerf_winograd_form f, const struct kerf_direct *product);
/* how late ones are packed by direct.c: [group][I][taps * taps][channels of the group]. */
struct kerf_direct kerf_winograd_late_tiles(struct kerf_winograd_form f, const struct kerf_direct *product);
/* [O, I, taps, taps] as [point][group][I][channels of the group], for such tiles. */
void kerf_winograd_pack(struct kerf_winograd_form f, const struct kerf_direct *product, const float *from, float *to);
/* join.c: which tensors can be written into a concatenation of channels, and where; */
int kerf_join_decide(struct builder *b);
/* whether the output of the node being lowered can, NULL if not; */
const struct join *kerf_join_find(const struct builder *b, const struct kerf_node *n);
/* where it is written then. */
int kerf_join_output(struct builder *b, const struct kerf_node *n, struct operand *o);
/* How a tensor that was written so lies, NULL for others. */
const struct join *kerf_join_of(const struct builder *b, int tensor);
/* Those that cross this cut: into their dense places, or back. */
void kerf_join_move(const struct kerf_engine *e, char *arena, int cut, bool gather);
/* lower_own.c */
int kerf_lower_act(struct builder *b, const struct kerf_node *n);
int kerf_lower_binary(struct builder *b, const struct kerf_node *n);
int kerf_lower_batchnorm(struct builder *b, const struct kerf_node *n);
/* Averages and maxima: oneDNN's maxima take up to six times as long. */
int kerf_lower_pool(struct builder *b, const struct kerf_node *n);
int kerf_lower_reduce(struct builder *b, const struct kerf_node *n);
int kerf_lower_layernorm(struct builder *b, const struct kerf_node *n);
/* lower_move.c */
int kerf_lower_concat(struct builder *b, const struct kerf_node *n);
int kerf_lower_reshape(struct builder *b, const struct kerf_node *n);
int kerf_lower_transpose(struct builder *b, const struct kerf_node *n);
int kerf_lower_pad(struct builder *b, const struct kerf_node *n);
int kerf_lower_slice(struct builder *b, const struct kerf_node *n);
int kerf_lower_gather(struct builder *b, const struct kerf_node *n);
int kerf_lower_depth_to_space(struct builder *b, const struct kerf_node *n);

/* ---- how tensors lie (layout.c) ---- */

/* Dimensions of t from outermost to innermost in memory: NHWC for four that are not plain, else as they are. */
int kerf_memory_order(const struct kerf_tensor *t, int order[KERF_MAX_DIMS]);
/* Distance in floats between neighbours along each ONNX dimension. */
void kerf_memory_strides(const struct kerf_tensor *t, int64_t stride[KERF_MAX_DIMS]);
/* The same for the ONNX element order (row major). */
void kerf_onnx_strides(const struct kerf_tensor *t, int64_t stride[KERF_MAX_DIMS]);
/* Whether walking memory visits the elements of a and b in the same ONNX order. */
bool kerf_same_element_order(const struct kerf_tensor *a, const struct kerf_tensor *b);
/* Drops dimensions of extent 1 and joins those that every operand walks as one. */
void kerf_nest_collapse(struct nest *nest);
/* Copies a constant from ONNX order into memory order. */
void kerf_to_memory_order(const struct kerf_tensor *t, const float *from, float *to);

/* ---- arena.c, memory.c, team.c ---- */

/* Lifetimes from the steps' operands, then an offset for each place; returns the arena's size. */
void kerf_arena_lifetimes(struct kerf_engine *e, int input, int output);
int kerf_arena_pack(struct kerf_engine *e, size_t *bytes);

struct kerf_numa *kerf_numa_create(
	int node_plus1, struct kerf_allocator *allocator, struct kerf_err *err);
void kerf_numa_free(struct kerf_numa *numa);

int kerf_team_init(struct team *t, const struct kerf_engine_options *o, struct kerf_err *err);
/* Denormals slow some CPUs down (a network that fades out was 6 times slower): in the calling thread they are 0 from now
 * on, and as before with what that returned. Workers flush for good. */
unsigned kerf_flush_denormals(void);
void kerf_restore_denormals(unsigned before);
/* Makes the calling thread's OpenMP team this one. 0 or -errno. */
int kerf_team_enter(const struct team *t);
