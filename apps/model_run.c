#include "model_run.h"

#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "source/npy.h"

#define COMMAND "run"
#define MAX_TOP 100000

static const char help[] =
	"usage: kerf-model run F|NAME -i INPUT [-i INPUT]... [--cut K [--codec C]] [-o OUT.npy]\n"
	"\n"
	"Runs pictures or tensors through a network and prints the top classes of each. With "
	"--cut\n"
	"the head runs in one context, what crosses is encoded to bytes and decoded again, the "
	"tail\n"
	"runs in another context, and the outputs are compared with an unsplit run.\n"
	"\n"
	"  -i, --input INPUT      picture, video, .npy, .f32 or a directory of pictures\n"
	"      --cut K            split before node K (kerf-model inspect shows the cuts)\n"
	"      --codec C          of what crosses: f32, bf16, q8, q4, or u8 (pixels, cut 0) (f32)\n"
	"  -o, --output OUT.npy   write all outputs, in ONNX order\n"
	"      --top N            classes to show (5)\n"
	"      --labels FILE      class names, one a line\n"
	RUN_PIXEL_HELP MODEL_ENGINE_HELP MODEL_CALIBRATION_HELP
	"      --help             this text\n";

enum {
	OPT_CUT = 256,
	OPT_CODEC,
	OPT_TOP,
	OPT_LABELS
};

static const struct option long_options[] = {
	{"input", required_argument, NULL, 'i'},
	{"output", required_argument, NULL, 'o'},
	{"cut", required_argument, NULL, OPT_CUT},
	{"codec", required_argument, NULL, OPT_CODEC},
	{"top", required_argument, NULL, OPT_TOP},
	{"labels", required_argument, NULL, OPT_LABELS},
	RUN_PIXEL_OPTIONS,
	MODEL_ENGINE_OPTIONS,
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* ---- options ---- */

static bool parse_codec(const char *text, struct run_options *o)
{
	char known[64] = "";

	o->codec = kerf_codec_by_name(text);
	if (o->codec >= 0 && model_codec((unsigned)o->codec))
		return true;
	for (unsigned c = 0; model_codec(c); c++) {
		size_t used = strlen(known);

		snprintf(known + used, sizeof(known) - used, "%s%s", c ? ", " : "",
			model_codec(c)->name);
	}
	model_usage(COMMAND, "--codec %s: unknown, one of %s expected", text, known);
	return false;
}

static bool add_input(const char *path, struct run_options *o)
{
	if (o->n_inputs == RUN_MAX_INPUTS) {
		model_usage(COMMAND, "more than %d inputs, give a directory", RUN_MAX_INPUTS);
		return false;
	}
	o->inputs[o->n_inputs++] = path;
	return true;
}

static bool parse_option(int c, const char *value, struct run_options *o)
{
	switch (c) {
	case 'i': return add_input(value, o);
	case 'o': o->output = value; return true;
	case OPT_CUT:
		o->split = true;
		return model_option_number(COMMAND, "--cut", value, 0, UINT64_MAX, &o->cut);
	case OPT_CODEC: return parse_codec(value, o);
	case OPT_TOP: return model_option_number(COMMAND, "--top", value, 1, MAX_TOP, &o->top);
	case OPT_LABELS: o->labels = value; return true;
	default:
		return c >= MODEL_OPT_INPUT_SHAPE ? model_engine_option(COMMAND, c, value, &o->open)
						  : run_pixel_option(COMMAND, c, value, o);
	}
}

static int parse(int argc, char **argv, struct run_options *o, bool *done)
{
	bool codec_given = false;
	int c;

	while ((c = getopt_long(argc, argv, "i:o:h", long_options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			*done = true;
			return MODEL_OK;
		}
		codec_given = codec_given || c == OPT_CODEC;
		if (!parse_option(c, optarg, o))
			return MODEL_USAGE;
	}
	if (argc - optind != 1)
		return model_usage(COMMAND, "one model expected, %d given", argc - optind);
	if (o->n_inputs == 0)
		return model_usage(COMMAND, "-i INPUT is missing");
	if (codec_given && !o->split)
		return model_usage(COMMAND, "--codec needs --cut");
	o->open.model = argv[optind];
	return MODEL_OK;
}

/* ---- running ---- */

struct run {
	const struct run_options *o;
	struct model m;
	struct run_inputs in;
	struct run_split split;
	struct run_labels labels;
	struct kerf_context *whole;
	size_t output_values; /* of one frame */
	bool classes;         /* a frame's output is a list of classes */
	float *outputs;       /* all batches in ONNX order, with -o */
	bool differs;         /* some bit of some batch, split against unsplit */
	double error;         /* the largest */
};

/* What one frame's output is: the batch is the first dimension, classes the only other one. */
static int describe_output(struct run *r, struct kerf_err *err)
{
	const struct kerf_graph *g = r->m.graph;
	const struct kerf_tensor *t = &g->tensors[g->output];
	unsigned wide = 0;
	bool batched = t->n_dims > 0 && t->dims[0] == (int64_t)r->in.batch;
	char shape[128];

	if (!batched && r->in.batch > 1)
		return kerf_err_set(err, -EINVAL,
			"%s: output %s is %s, the batch of %u is not its first dimension", g->name,
			t->name, model_shape_text(t, shape, sizeof(shape)), r->in.batch);
	for (int i = batched ? 1 : 0; i < t->n_dims; i++)
		wide += t->dims[i] > 1;
	r->classes = wide == 1;
	r->output_values = (size_t)kerf_tensor_elements(t) / r->in.batch;
	return 0;
}

static int open_run(struct run *r, struct kerf_err *err)
{
	size_t frames;
	int rc = model_open(&r->m, &r->o->open, err);

	if (rc == 0)
		rc = run_inputs_open(&r->in, r->o, r->m.graph, err);
	if (rc == 0)
		rc = describe_output(r, err);
	if (rc == 0 && r->o->labels)
		rc = run_labels_read(&r->labels, r->o->labels, err);
	if (rc == 0 && r->o->split)
		rc = run_split_create(&r->split, &r->m, r->o, &r->in, err);
	if (rc < 0)
		return rc;
	r->whole = kerf_context_create(r->m.engine, err);
	if (!r->whole)
		return -ENOMEM;
	frames = (size_t)run_inputs_batches(&r->in) * r->in.batch;
	r->outputs = r->o->output ? calloc(frames, r->output_values * sizeof(float)) : NULL;
	if (r->o->output && !r->outputs)
		return kerf_err_set(
			err, -ENOMEM, "no memory for the outputs of %zu frames", frames);
	return 0;
}

static void close_run(struct run *r)
{
	free(r->outputs);
	if (r->whole)
		kerf_context_free(r->whole);
	run_split_destroy(&r->split);
	run_labels_free(&r->labels);
	run_inputs_close(&r->in);
	model_close(&r->m);
}

static int run_whole(struct run *r, unsigned batch, const float **output, struct kerf_err *err)
{
	const struct kerf_graph *g = r->m.graph;

	run_inputs_fill(&r->in, batch, kerf_context_tensor(r->whole, g->input));
	if (kerf_engine_run(r->whole, 0, (unsigned)g->n_nodes) < 0)
		return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
	*output = kerf_context_tensor(r->whole, g->output);
	return 0;
}

/* Bits, not values: -0 and 0 differ, equal NaNs do not. */
static void compare(struct run *r, const float *split, const float *whole)
{
	size_t n = r->output_values * r->in.batch;

	if (memcmp(split, whole, n * sizeof(*split)) == 0)
		return;
	r->differs = true;
	r->error = fmax(r->error, run_max_relative_error(split, whole, n));
}

static int print_batch(struct run *r, unsigned batch, const float *output, struct kerf_err *err)
{
	unsigned first = batch * r->in.batch;
	unsigned n = KERF_MIN(r->in.batch, r->in.n_frames - first);
	int rc = 0;

	for (unsigned row = 0; row < n && rc == 0; row++)
		rc = run_print_top(run_inputs_frame(&r->in, batch, row)->name,
			output + row * r->output_values, r->output_values, r->classes,
			(unsigned)r->o->top, &r->labels, err);
	return rc;
}

static int run_batch(struct run *r, unsigned batch, struct kerf_err *err)
{
	const struct kerf_graph *g = r->m.graph;
	const float *whole = NULL, *output;
	int rc = run_whole(r, batch, &whole, err);

	if (rc < 0)
		return rc;
	output = whole;
	if (r->o->split) {
		rc = run_split_batch(&r->split, &r->in, batch, &output, err);
		if (rc < 0)
			return rc;
		compare(r, output, whole);
	}
	if (r->outputs)
		run_to_onnx_order(&g->tensors[g->output], output,
			r->outputs + (size_t)batch * r->in.batch * r->output_values);
	return print_batch(r, batch, output, err);
}

/* A mismatch where the codec loses nothing is a defect of kerf or of the machine. */
static int print_split(const struct run *r, struct kerf_err *err)
{
	const struct kerf_codec_info *codec = kerf_codec_info((unsigned)r->split.codec);
	const struct model *m = &r->m;
	unsigned k = r->split.cut;

	if (k == (unsigned)m->graph->n_nodes)
		printf("cut %u, all local: 0 bytes sent\n", k);
	else
		printf("cut %u after %s, codec %s: %d tensor%s, %zu bytes sent%s\n", k,
			model_cut_name(m->graph, k), codec->name, m->base.cuts[k].n_tensors,
			m->base.cuts[k].n_tensors == 1 ? "" : "s", r->split.wire_bytes,
			r->in.batch > 1      ? " a batch"
			: r->in.n_frames > 1 ? " a frame"
					     : "");
	if (!r->differs) {
		puts("outputs identical to the unsplit run");
		return 0;
	}
	printf("outputs differ from the unsplit run, max relative error %.3g\n", r->error);
	if (codec->lossless)
		return kerf_err_set(err, -EIO,
			"%s: split and unsplit outputs differ at cut %u with codec %s",
			m->graph->name, k, codec->name);
	return 0;
}

/* One file with all frames: the batch dimension counts them. */
static int write_outputs(const struct run *r, struct model_output *out, struct kerf_err *err)
{
	const struct kerf_tensor *t = &r->m.graph->tensors[r->m.graph->output];
	bool batched = t->n_dims > 0 && t->dims[0] == (int64_t)r->in.batch;
	int64_t dims[KERF_MAX_DIMS + 1] = {r->in.n_frames};
	int n = 1;

	for (int i = batched ? 1 : 0; i < t->n_dims; i++)
		dims[n++] = t->dims[i];
	return kerf_npy_write(out->writing, dims, n, r->outputs, err);
}

static int run_all(struct run *r, struct kerf_err *err)
{
	struct model_output out;
	int rc = r->o->output ? model_output_begin(&out, r->o->output, err) : 0;

	if (rc < 0)
		return rc;
	if (r->o->labels && r->labels.n != r->output_values)
		fprintf(stderr,
			"kerf-model run: warning: %s has %u lines, the network %zu classes\n",
			r->o->labels, r->labels.n, r->output_values);
	for (unsigned b = 0; b < run_inputs_batches(&r->in) && rc == 0; b++)
		rc = run_batch(r, b, err);
	if (rc == 0 && r->o->split)
		rc = print_split(r, err);
	if (!r->o->output)
		return rc;
	if (rc == 0)
		rc = write_outputs(r, &out, err);
	return model_output_end(&out, rc, err);
}

int model_run(int argc, char **argv)
{
	struct run_options o = {
		.codec = KERF_CODEC_F32, .top = 5, .open.threads = 1, .resize = KERF_RESIZE_CROP};
	struct run r = {.o = &o};
	struct kerf_err err = {0};
	bool done = false;
	int code = parse(argc, argv, &o, &done);

	if (code != MODEL_OK || done)
		return code;
	if (open_run(&r, &err) < 0 || run_all(&r, &err) < 0)
		code = model_fail(COMMAND, &err);
	close_run(&r);
	return code;
}
