/*
 * engine: a graph compiled once into steps; any range of nodes can be run, stopped and continued.
 *
 *	struct kerf_engine *e = kerf_engine_compile(graph, &(struct kerf_engine_options){0}, &err);
 *	struct kerf_context *c = kerf_context_create(e, &err);
 *	memcpy(kerf_context_tensor(c, graph->input), x, bytes);
 *	kerf_engine_run(c, 0, cut);              // head
 *	kerf_engine_run(c, cut, graph->n_nodes); // tail: the same steps, bit for bit
 *
 * Invariants: tensors are f32 (see kerf_precision); four-dimensional ones lie dense in NHWC unless they are plain, others dense
 * as they are.
 * A tensor's place in a context never changes and holds its value from its producer to its last
 * use; places of tensors that are not alive together overlap. Weights belong to the engine and are
 * shared by its contexts; contexts may run in different threads at once. The graph must outlive
 * the engine only as a description: weights are copied (prepacked) and may be dropped (kerf_graph_drop_weights).
 */
#pragma once

#include "graph/graph.h"

struct kerf_engine;
struct kerf_context;

/* What convolutions and inner products multiply; everything else, sums included, is f32. */
enum kerf_precision { KERF_PRECISION_F32, KERF_PRECISION_BF16, KERF_PRECISION_INT8 };

/* "f32", "bf16", "int8"; NULL past the end. */
const char *kerf_precision_name(unsigned precision);

/* Where arenas and weights come from; memory is aligned to 64 bytes at least, and best has its pages: frames do not touch it
 * first. */
struct kerf_allocator {
	void *(*alloc)(void *user, size_t bytes);
	void (*release)(void *user, void *memory, size_t bytes);
	void *user;
};

struct kerf_engine_options {
	unsigned threads;   /* team for one frame; 0 = 1 */
	const int *cpus;    /* CPU of each team member, NULL = where the scheduler likes */
	int numa_node_plus1; /* weights and arenas on node - 1; 0 = the calling thread's node */
	struct kerf_allocator allocator; /* zero = libnuma memory advised to huge pages */
	/* Below f32, what a convolution gives to convolutions alone is kept in that precision, except at natural bottlenecks
	 * (kerf_cut.natural) that are no larger than all before. What this CPU has no fast code for, or is faster at in f32, stays
	 * f32. */
	enum kerf_precision precision;
	/* For INT8, of all tensors (kerf_engine_observe); needed while compiling. NULL = what the file says. What reads a
	 * tensor of which nothing is known stays f32. */
	const struct kerf_range *ranges;
};

/*
 * Compiles an optimised graph. An operator or shape that it cannot run is one line naming the
 * node. A primitive that falls back to a reference implementation is an error as well when the
 * CPU has AVX2 or better; a convolution that oneDNN has only its `gemm` for runs, more slowly, and
 * the step's name says so. NULL on error.
 */
struct kerf_engine *kerf_engine_compile(const struct kerf_graph *g,
	const struct kerf_engine_options *options, struct kerf_err *err);
void kerf_engine_free(struct kerf_engine *e);

struct kerf_context *kerf_context_create(struct kerf_engine *e, struct kerf_err *err);
void kerf_context_free(struct kerf_context *c);

/* Where tensor `id` lies in this context; NULL for constants, tensors fused away and those that are not kept in f32. */
float *kerf_context_tensor(struct kerf_context *c, int id);
/* Whether contexts have it in f32, as a cut needs. */
bool kerf_engine_has_tensor(const struct kerf_engine *e, int id);

/*
 * The unit of work: step indices run from 0 to kerf_engine_steps; node k starts at
 * kerf_engine_first_step(e, k), and first_step(n_nodes) == steps. A caller that wants to do
 * something between steps runs them one at a time, after kerf_engine_enter and before
 * kerf_engine_leave. 0, or -EIO when oneDNN reports a failure.
 */
unsigned kerf_engine_steps(const struct kerf_engine *e);
unsigned kerf_engine_first_step(const struct kerf_engine *e, unsigned node);
int kerf_engine_step(struct kerf_context *c, unsigned step);
/* Some tensors are parts of larger ones. Before the steps behind a cut: takes those that cross it from where
 * kerf_context_tensor says that they lie; */
void kerf_engine_enter(struct kerf_context *c, unsigned cut);
/* behind the steps in front of a cut: puts them there. Each costs a copy of them, nothing at most cuts. */
void kerf_engine_leave(struct kerf_context *c, unsigned cut);
/* Runs the nodes [from, to), with both. */
int kerf_engine_run(struct kerf_context *c, unsigned from, unsigned to);

/* Description of a step for inspection: "conv brgconv:avx512_core", node index. */
const char *kerf_engine_step_name(const struct kerf_engine *e, unsigned step);
int kerf_engine_step_node(const struct kerf_engine *e, unsigned step);

size_t kerf_engine_weight_bytes(const struct kerf_engine *e);
size_t kerf_engine_context_bytes(const struct kerf_engine *e);

/*
 * 64-bit hash of ISA, oneDNN version and build, L2 cache and whether the CPU is AMD's: equal fingerprints promise bit-equal
 * results of teams of one size. Other sizes mostly give the same bits too, but oneDNN may divide sums among threads.
 */
uint64_t kerf_engine_fingerprint(void);
/* The same for people: "avx512_core_bf16 oneDNN 2.6.3 L2 1024K AMD". */
const char *kerf_engine_fingerprint_text(char *buf, size_t len);

/*
 * Median time of every node in ns over `rounds` whole runs (after one warm-up run);
 * node_ns has graph->n_nodes entries. clock_ns is the caller's monotonic clock.
 */
int kerf_engine_profile(struct kerf_context *c, unsigned rounds, uint64_t (*clock_ns)(void),
	double *node_ns, struct kerf_err *err);

/*
 * Runs the whole network, g as it was compiled, on the input that is in the context and widens ranges[] (n_tensors) to
 * what every tensor's values are. Of an engine in f32. 0, or -EIO when oneDNN reports a failure.
 */
int kerf_engine_observe(struct kerf_context *c, const struct kerf_graph *g, struct kerf_range *ranges);
