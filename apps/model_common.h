/*
 * What the subcommands of kerf-model share: networks, measuring, messages, output files.
 *
 *	struct model m;
 *	if (model_open(&m, &(struct model_options){.model = "efficientnet-b0", .threads = 1}, &err) < 0)
 *		return model_fail("inspect", &err);
 *	... m.graph, m.base.cuts, m.engine ...
 *	model_close(&m);
 *
 * A subcommand gets its own argc and argv (argv[0] is "kerf-model NAME", for getopt's messages)
 * and returns an exit code.
 */
#pragma once

#include <limits.h>

#include "node/node.h"

enum { MODEL_OK = 0, MODEL_FAILED = 1, MODEL_USAGE = 2 };

#define MODEL_DEFAULT_ROUNDS 20
#define MODEL_MAX_ROUNDS 10000
#define MODEL_MAX_THREADS 1024

int model_make(int argc, char **argv);
int model_inspect(int argc, char **argv);
int model_run(int argc, char **argv);
int model_profile(int argc, char **argv);
int model_calibrate(int argc, char **argv);

/* Prints "kerf-model COMMAND: text" to stderr and returns MODEL_FAILED. */
int model_fail(const char *command, const struct kerf_err *err);
/* Prints "kerf-model COMMAND: ..., see kerf-model COMMAND --help" and returns MODEL_USAGE. */
int model_usage(const char *command, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A whole number in [min, max] for option `name`; otherwise prints a usage line and is false. */
bool model_option_number(const char *command, const char *name, const char *text, uint64_t min,
	uint64_t max, uint64_t *value);

/* What is opened, and how it computes. */
struct model_options {
	const char *model;       /* a zoo name, otherwise an ONNX file, */
	const char *input_shape; /* whose input's shape may be given as text; NULL */
	uint64_t threads;
	enum kerf_precision precision;
	const char *calibration; /* the file with the ranges for int8; NULL */
	bool keep_weights;       /* the graph's, for model_compile */
};

/* How it computes: options of every subcommand that runs a network. */
enum { MODEL_OPT_INPUT_SHAPE = 768, MODEL_OPT_THREADS, MODEL_OPT_PRECISION, MODEL_OPT_CALIBRATION };

#define MODEL_ENGINE_OPTIONS                                                                       \
	{"input-shape", required_argument, NULL, MODEL_OPT_INPUT_SHAPE},                           \
		{"threads", required_argument, NULL, MODEL_OPT_THREADS},                           \
		{"precision", required_argument, NULL, MODEL_OPT_PRECISION},                       \
		{"calibration", required_argument, NULL, MODEL_OPT_CALIBRATION}

#define MODEL_ENGINE_HELP                                                                          \
	"      --input-shape S    of an input that the file leaves open, as 1,3,224,224\n"           \
	"      --threads N        compute threads for one frame (1)\n"                               \
	"      --precision P      f32, bf16 or int8: what convolutions multiply (f32)\n"

#define MODEL_CALIBRATION_HELP "      --calibration C    what kerf-model calibrate wrote, for int8\n"

/* Takes one of them, or prints a usage line and is false. */
bool model_engine_option(const char *command, int c, const char *value, struct model_options *o);

struct model {
	struct kerf_graph *graph; /* optimised */
	struct kerf_model base;   /* graph and cuts */
	struct kerf_engine *engine;
	uint64_t load_ns; /* from the file to the engine */
};

/* name is an architecture that kerf_zoo_build knows. */
bool model_in_zoo(const char *name);
/* All of them, "a, b, c". Returns buf. */
const char *model_zoo_names(char *buf, size_t len);

/* After an error there is nothing to close. */
int model_open(struct model *m, const struct model_options *o, struct kerf_err *err);
/* Another engine in place of the model's, whose weights were kept: ranges for int8, else NULL. */
int model_compile(struct model *m, const struct model_options *o, const struct kerf_range *ranges, struct kerf_err *err);
void model_close(struct model *m);

/* Medians of `rounds` runs on random input. The caller frees the profile. */
int model_measure(
	const struct model *m, unsigned rounds, struct kerf_profile *p, struct kerf_err *err);

/* What the command is at, shown on a terminal when it takes over a second; NULL = it is done. The text has to last. */
void model_progress(const char *what);
/* Monotonic. */
uint64_t model_clock_ns(void);
/* Memory of this process that is in RAM, and what of it belongs to files (proc(5), smaps); 0 = /proc does not tell. */
struct model_memory {
	size_t resident, files;
};
struct model_memory model_memory(void);

/* "1x112x112x16": as the values lie in memory, NHWC for four dimensions. Returns buf. */
const char *model_shape_text(const struct kerf_tensor *t, char *buf, size_t len);
/* Names cut k by the node before it: "(input)", "block0/project". */
const char *model_cut_name(const struct kerf_graph *g, unsigned k);
/* kerf_codec_info of those that tensors travel with; NULL for jpeg and for what is none. */
const struct kerf_codec_info *model_codec(unsigned codec);
/* Bytes that a cut's tensors take with a codec; 0 when the codec cannot be used at this cut. */
size_t model_cut_bytes(const struct model *m, unsigned k, enum kerf_codec codec);

/*
 * A file that appears whole or not at all: written beside its place, then renamed. A device or a
 * pipe cannot be replaced that way and is refused.
 */
struct model_output {
	const char *path;       /* where it shall be; borrowed */
	char writing[PATH_MAX]; /* what to write to */
};

/* Creates it; after success model_output_end must follow. */
int model_output_begin(struct model_output *o, const char *path, struct kerf_err *err);
/* rc < 0 (the writing failed): removes what is there. Returns rc or its own error. */
int model_output_end(struct model_output *o, int rc, struct kerf_err *err);
