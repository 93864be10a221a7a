/*
 * The parts of kerf-model run: inputs in, a split run, results out.
 *
 * A network takes batches of B frames; frame i of a run is row i % B of batch i / B. A batch that
 * is not full repeats the last frame, whose results are then not shown.
 */
#pragma once

#include "model_common.h"
#include "source/source.h"

#define RUN_MAX_INPUTS 256
#define RUN_MAX_CHANNELS 4

struct run_options {
	struct model_options open;
	const char *inputs[RUN_MAX_INPUTS];
	unsigned n_inputs;
	const char *output, *labels;
	bool split;
	uint64_t cut;
	int codec;
	uint64_t top;
	float mean[RUN_MAX_CHANNELS], std[RUN_MAX_CHANNELS];
	unsigned n_mean, n_std; /* numbers given; 0 = ImageNet's */
	bool bgr;
	enum kerf_resize resize;
	double crop;
};

/* How pixels become inputs: options of every subcommand that reads pictures. */
enum { RUN_OPT_MEAN = 512, RUN_OPT_STD, RUN_OPT_CHANNELS, RUN_OPT_RESIZE };

#define RUN_PIXEL_OPTIONS                                                                          \
	{"mean", required_argument, NULL, RUN_OPT_MEAN},                                           \
		{"std", required_argument, NULL, RUN_OPT_STD},                                     \
		{"channels", required_argument, NULL, RUN_OPT_CHANNELS},                           \
		{"resize", required_argument, NULL, RUN_OPT_RESIZE}

#define RUN_PIXEL_HELP                                                                             \
	"      --mean A[,B,C]     value = (pixel - mean) / std, each per channel in the order\n"    \
	"      --std A[,B,C]      that the network gets them (ImageNet's)\n"                        \
	"      --channels ORDER   rgb or bgr (rgb)\n"                                               \
	"      --resize HOW       crop, crop:F (a centred square of F of the shorter side, then\n"  \
	"                         scaled) or stretch (crop:0.875)\n"

/* Takes one of them, or prints a usage line and is false. */
bool run_pixel_option(const char *command, int c, const char *value, struct run_options *o);

/* ---- inputs ---- */

struct run_inputs {
	struct kerf_source *sources[RUN_MAX_INPUTS];
	unsigned n_sources;
	const struct kerf_frame_data **frames;
	unsigned n_frames;
	unsigned batch;
	size_t frame_values; /* of one frame */
	struct kerf_pixel_format pixels;
};

/* Reads everything. Prints warnings of damaged files to stderr. 0 or -errno. */
int run_inputs_open(struct run_inputs *in, const struct run_options *o, const struct kerf_graph *g,
	struct kerf_err *err);
void run_inputs_close(struct run_inputs *in);
unsigned run_inputs_batches(const struct run_inputs *in);
/* Frame in row `row` of a batch. */
const struct kerf_frame_data *run_inputs_frame(
	const struct run_inputs *in, unsigned batch, unsigned row);
/* Writes a batch, [B,H,W,C]. */
void run_inputs_fill(const struct run_inputs *in, unsigned batch, float *values);

/* ---- head here, tail there ---- */

struct run_split {
	const struct model *m;
	unsigned cut;
	enum kerf_codec codec;
	struct kerf_context *head, *tail;
	uint8_t *wire;
	size_t wire_bytes; /* payload of one batch */
};

int run_split_create(struct run_split *s, const struct model *m, const struct run_options *o,
	const struct run_inputs *in, struct kerf_err *err);
void run_split_destroy(struct run_split *s);
/* Runs a batch; *output lies in a context and is valid until the next call. */
int run_split_batch(struct run_split *s, const struct run_inputs *in, unsigned batch,
	const float **output, struct kerf_err *err);

/* ---- results ---- */

struct run_labels {
	char *text;   /* the file, newlines replaced by ends */
	char **lines; /* NULL: no labels */
	unsigned n;
};

int run_labels_read(struct run_labels *l, const char *path, struct kerf_err *err);
void run_labels_free(struct run_labels *l);

/* The top classes of one frame, or size and range of its values when they are no classes. */
int run_print_top(const char *name, const float *values, size_t n, bool classes, unsigned top,
	const struct run_labels *labels, struct kerf_err *err);

/* Largest difference, relative to the largest value of b; infinite when either has a NaN. */
double run_max_relative_error(const float *a, const float *b, size_t n);

/* Values in memory order (NHWC for four dimensions) to ONNX order. */
void run_to_onnx_order(const struct kerf_tensor *t, const float *src, float *dst);
