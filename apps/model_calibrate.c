/* kerf-model calibrate: what each codec costs in accuracy at each cut. */
#include <getopt.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app_calibration.h"
#include "model_run.h"

#define COMMAND "calibrate"
#define SHOW_AFTER_NS KERF_NS_PER_S

static const char help[] =
	"usage: kerf-model calibrate F|NAME --images DIR [--images DIR]... -o C.json\n"
	"\n"
	"Runs pictures split at every cut that the plan may choose, with every codec that loses\n"
	"something, and writes how often the top class stays the same and how far the outputs are\n"
	"off, relative to the largest one. policy.calibration and policy.min_agreement make the\n"
	"plan obey it.\n"
	"\n"
	"      --images DIR       pictures: a directory, a file, or whatever kerf-model run takes\n"
	"  -o, --output FILE      where to write it\n" RUN_PIXEL_HELP
	"      --input-shape S    of an input that the file leaves open, as 1,3,224,224\n"
	"      --threads N        compute threads for one frame (1)\n"
	"      --help             this text\n";

enum { OPT_IMAGES = 256, OPT_INPUT_SHAPE, OPT_THREADS };

static const struct option long_options[] = {
	{"images", required_argument, NULL, OPT_IMAGES},
	{"output", required_argument, NULL, 'o'},
	RUN_PIXEL_OPTIONS,
	{"input-shape", required_argument, NULL, OPT_INPUT_SHAPE},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"help", no_argument, NULL, 'h'},
	{0},
};

static bool parse_option(int c, const char *value, struct run_options *o)
{
	switch (c) {
	case OPT_IMAGES:
		if (o->n_inputs < RUN_MAX_INPUTS) {
			o->inputs[o->n_inputs++] = value;
			return true;
		}
		model_usage(COMMAND, "more than %d inputs, give a directory", RUN_MAX_INPUTS);
		return false;
	case 'o': o->output = value; return true;
	case OPT_INPUT_SHAPE: o->input_shape = value; return true;
	case OPT_THREADS:
		return model_option_number(COMMAND, "--threads", value, 1, MODEL_MAX_THREADS,
			&o->threads);
	default: return run_pixel_option(COMMAND, c, value, o);
	}
}

static int parse(int argc, char **argv, struct run_options *o, bool *done)
{
	int c;

	while ((c = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1) {
		if (c == 'h') {
			fputs(help, stdout);
			*done = true;
			return MODEL_OK;
		}
		if (!parse_option(c, optarg, o))
			return MODEL_USAGE;
	}
	if (argc - optind != 1)
		return model_usage(COMMAND, "one model expected, %d given", argc - optind);
	if (o->n_inputs == 0)
		return model_usage(COMMAND, "--images DIR is missing");
	if (!o->output)
		return model_usage(COMMAND, "-o FILE is missing");
	o->model = argv[optind];
	return MODEL_OK;
}

/* ---- measuring ---- */

struct calibrate {
	struct model m;
	struct run_inputs in;
	struct kerf_context *head, *tail;
	float *whole; /* output of the unsplit run of a batch */
	size_t output_values; /* of one frame */
	struct app_calibration c;
	uint64_t begin_ns, shown_ns;
};

static size_t top(const float *values, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (values[i] > values[best])
			best = i;
	return best;
}

static int add_entries(struct calibrate *cal, struct kerf_err *err)
{
	const unsigned last = (unsigned)cal->m.graph->n_nodes;

	for (unsigned k = 0; k < last; k++)
		for (unsigned codec = 0; kerf_codec_info(codec); codec++) {
			if (!cal->m.base.cuts[k].candidate ||
				!kerf_model_can_cut(&cal->m.base, k) ||
				kerf_codec_info(codec)->lossless)
				continue;
			if (app_calibration_add(&cal->c, k, (int)codec) < 0)
				return kerf_err_set(err, -ENOMEM, "%s: no memory for its cuts",
					cal->m.graph->name);
		}
	return 0;
}

/* The tail on what arrives of the head's tensors, against the unsplit run. */
static int measure_entry(struct calibrate *cal, struct app_calibration_entry *e, unsigned frames,
	struct kerf_err *err)
{
	const struct kerf_graph *g = cal->m.graph;
	const struct kerf_cut *cut = &cal->m.base.cuts[e->cut];
	const float *out = kerf_context_tensor(cal->tail, g->output);

	for (int i = 0; i < cut->n_tensors; i++) {
		const int id = cut->tensors[i];
		const size_t n = (size_t)kerf_tensor_elements(&g->tensors[id]);
		float *to = kerf_context_tensor(cal->tail, id);

		memcpy(to, kerf_context_tensor(cal->head, id), n * sizeof(*to));
		kerf_codec_round_trip((enum kerf_codec)e->codec, to, n);
	}
	if (kerf_engine_run(cal->tail, e->cut, (unsigned)g->n_nodes) < 0)
		return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
	for (unsigned f = 0; f < frames; f++) {
		const float *a = out + f * cal->output_values,
			    *b = cal->whole + f * cal->output_values;

		e->agreement += top(a, cal->output_values) == top(b, cal->output_values);
		e->error = fmax(e->error, run_max_relative_error(a, b, cal->output_values));
	}
	return 0;
}

/* The head goes on from cut to cut; each of them is tried before it does. */
static int measure_batch(struct calibrate *cal, unsigned batch, struct kerf_err *err)
{
	const struct kerf_graph *g = cal->m.graph;
	const unsigned frames = KERF_MIN(cal->in.batch, cal->in.n_frames - batch * cal->in.batch);
	unsigned done = 0;

	run_inputs_fill(&cal->in, batch, kerf_context_tensor(cal->tail, g->input));
	if (kerf_engine_run(cal->tail, 0, (unsigned)g->n_nodes) < 0)
		return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
	memcpy(cal->whole, kerf_context_tensor(cal->tail, g->output),
		cal->output_values * cal->in.batch * sizeof(float));
	run_inputs_fill(&cal->in, batch, kerf_context_tensor(cal->head, g->input));
	for (unsigned i = 0; i < cal->c.n; i++) {
		struct app_calibration_entry *e = &cal->c.entries[i];
		int rc = 0;

		if (e->cut > done && kerf_engine_run(cal->head, done, e->cut) < 0)
			return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
		done = e->cut;
		rc = measure_entry(cal, e, frames, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static void show_progress(struct calibrate *cal, unsigned done, unsigned of)
{
	const uint64_t now = model_clock_ns();

	if (now - cal->begin_ns < SHOW_AFTER_NS || now - cal->shown_ns < SHOW_AFTER_NS / 5 ||
		!isatty(STDERR_FILENO))
		return;
	cal->shown_ns = now;
	fprintf(stderr, "\r\033[K%u of %u pictures", done, of);
}

static int measure(struct calibrate *cal, struct kerf_err *err)
{
	const unsigned batches = run_inputs_batches(&cal->in);
	int rc = 0;

	for (unsigned b = 0; b < batches && rc == 0; b++) {
		rc = measure_batch(cal, b, err);
		show_progress(cal, (b + 1) * cal->in.batch, cal->in.n_frames);
	}
	if (cal->shown_ns)
		fprintf(stderr, "\r\033[K");
	for (unsigned i = 0; i < cal->c.n; i++)
		cal->c.entries[i].agreement /= cal->in.n_frames;
	cal->c.images = cal->in.n_frames;
	return rc;
}

static void print_table(const struct calibrate *cal)
{
	printf("%-6s %-28s %-5s %10s %10s\n", "cut", "after", "codec", "agreement", "error");
	for (unsigned i = 0; i < cal->c.n; i++) {
		const struct app_calibration_entry *e = &cal->c.entries[i];

		printf("%-6u %-28.28s %-5s %10.4f %10.2e\n", e->cut,
			model_cut_name(cal->m.graph, e->cut),
			kerf_codec_info((unsigned)e->codec)->name, e->agreement, e->error);
	}
}

static int open_all(struct calibrate *cal, const struct run_options *o, struct kerf_err *err)
{
	const struct kerf_graph *g;
	int rc = model_open(&cal->m, o->model, o->input_shape, (unsigned)o->threads, err);

	if (rc == 0)
		rc = run_inputs_open(&cal->in, o, cal->m.graph, err);
	if (rc == 0)
		rc = add_entries(cal, err);
	if (rc < 0)
		return rc;
	g = cal->m.graph;
	cal->output_values = (size_t)kerf_tensor_elements(&g->tensors[g->output]) / cal->in.batch;
	cal->head = kerf_context_create(cal->m.engine, err);
	cal->tail = cal->head ? kerf_context_create(cal->m.engine, err) : NULL;
	cal->whole = malloc(cal->output_values * cal->in.batch * sizeof(float));
	if (cal->tail && !cal->whole)
		kerf_err_set(err, -ENOMEM, "%s: no memory for its output", g->name);
	cal->begin_ns = model_clock_ns();
	return cal->tail && cal->whole ? 0 : -ENOMEM;
}

static void close_all(struct calibrate *cal)
{
	if (cal->head)
		kerf_context_free(cal->head);
	if (cal->tail)
		kerf_context_free(cal->tail);
	free(cal->whole);
	app_calibration_free(&cal->c);
	run_inputs_close(&cal->in);
	model_close(&cal->m);
}

static int calibrate(const struct run_options *o, struct kerf_err *err)
{
	struct calibrate cal = {0};
	struct model_output out;
	int rc = model_output_begin(&out, o->output, err);

	if (rc < 0)
		return rc;
	rc = open_all(&cal, o, err);
	if (rc == 0)
		rc = measure(&cal, err);
	if (rc == 0)
		rc = app_calibration_save(&cal.c, cal.m.graph, out.writing, err);
	rc = model_output_end(&out, rc, err);
	if (rc == 0) {
		print_table(&cal);
		printf("%s: %s, %u pictures\n", o->output, cal.m.graph->name, cal.c.images);
	}
	close_all(&cal);
	return rc;
}

int model_calibrate(int argc, char **argv)
{
	struct run_options o = {.threads = 1, .resize = KERF_RESIZE_CROP};
	struct kerf_err err = {0};
	bool done = false;
	int code = parse(argc, argv, &o, &done);

	if (code != MODEL_OK || done)
		return code;
	return calibrate(&o, &err) < 0 ? model_fail(COMMAND, &err) : MODEL_OK;
}
