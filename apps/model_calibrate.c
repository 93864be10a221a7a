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
	"something, and writes how often the top class stays the same as unsplit in f32 and how far\n"
	"the outputs are off, relative to the largest one. model.calibration and\n"
	"policy.min_agreement make the plan obey it. With --precision all that is in that precision,\n"
	"and what the precision itself costs and gains is written as well; for int8 the pictures\n"
	"also tell which values each tensor takes.\n"
	"\n"
	"      --images DIR       pictures: a directory, a file, or whatever kerf-model run takes\n"
	"  -o, --output FILE      where to write it\n" RUN_PIXEL_HELP MODEL_ENGINE_HELP
	"      --help             this text\n";

enum { OPT_IMAGES = 256 };

static const struct option long_options[] = {
	{"images", required_argument, NULL, OPT_IMAGES},
	{"output", required_argument, NULL, 'o'},
	RUN_PIXEL_OPTIONS,
	MODEL_ENGINE_OPTIONS,
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
	case MODEL_OPT_CALIBRATION: model_usage(COMMAND, "--calibration: this makes one"); return false;
	default:
		return c >= MODEL_OPT_INPUT_SHAPE ? model_engine_option(COMMAND, c, value, &o->open)
						  : run_pixel_option(COMMAND, c, value, o);
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
	o->open.model = argv[optind];
	return MODEL_OK;
}

/* ---- measuring ---- */

struct calibrate {
	struct model m;
	struct run_inputs in;
	struct kerf_context *head, *tail;
	float *whole; /* outputs of the unsplit run in f32, of all batches */
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

static float *whole_of(const struct calibrate *cal, unsigned batch)
{
	return cal->whole + (size_t)batch * cal->in.batch * cal->output_values;
}

static unsigned frames_of(const struct calibrate *cal, unsigned batch)
{
	return KERF_MIN(cal->in.batch, cal->in.n_frames - batch * cal->in.batch);
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
static void compare(const struct calibrate *cal, unsigned batch, const float *out, double *agreement, double *error)
{
	for (unsigned f = 0; f < frames_of(cal, batch); f++) {
		const float *a = out + f * cal->output_values, *b = whole_of(cal, batch) + f * cal->output_values;

		*agreement += top(a, cal->output_values) == top(b, cal->output_values);
		*error = fmax(*error, run_max_relative_error(a, b, cal->output_values));
	}
}

static int measure_entry(struct calibrate *cal, struct app_calibration_entry *e, unsigned batch, struct kerf_err *err)
{
	const struct kerf_graph *g = cal->m.graph;
	const struct kerf_cut *cut = &cal->m.base.cuts[e->cut];

	for (int i = 0; i < cut->n_tensors; i++) {
		const int id = cut->tensors[i];
		const size_t n = (size_t)kerf_tensor_elements(&g->tensors[id]);
		float *to = kerf_context_tensor(cal->tail, id);

		memcpy(to, kerf_context_tensor(cal->head, id), n * sizeof(*to));
		kerf_codec_round_trip((enum kerf_codec)e->codec, to, n);
	}
	if (kerf_engine_run(cal->tail, e->cut, (unsigned)g->n_nodes) < 0)
		return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
	compare(cal, batch, kerf_context_tensor(cal->tail, g->output), &e->agreement, &e->error);
	return 0;
}

/* The head goes on from cut to cut; each of them is tried before it does. */
static int measure_batch(struct calibrate *cal, unsigned batch, struct kerf_err *err)
{
	const struct kerf_graph *g = cal->m.graph;
	unsigned done = 0;

	run_inputs_fill(&cal->in, batch, kerf_context_tensor(cal->head, g->input));
	for (unsigned i = 0; i < cal->c.n; i++) {
		struct app_calibration_entry *e = &cal->c.entries[i];
		int rc = 0;

		if (e->cut > done && kerf_engine_run(cal->head, done, e->cut) < 0)
			return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
		done = e->cut;
		rc = measure_entry(cal, e, batch, err);
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

/* ---- unsplit: in f32 for what all else is compared with, then in the precision that is asked for ---- */

static int run_whole(struct calibrate *cal, struct kerf_context *c, unsigned batch, struct kerf_err *err)
{
	const struct kerf_graph *g = cal->m.graph;

	run_inputs_fill(&cal->in, batch, kerf_context_tensor(c, g->input));
	if (kerf_engine_run(c, 0, (unsigned)g->n_nodes) < 0)
		return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
	return 0;
}

static int measure_whole(struct calibrate *cal, struct kerf_context *c, struct kerf_err *err)
{
	const struct kerf_graph *g = cal->m.graph;

	if (app_calibration_add_ranges(&cal->c, g->n_tensors) < 0)
		return kerf_err_set(err, -ENOMEM, "%s: no memory for ranges", g->name);
	for (unsigned b = 0; b < run_inputs_batches(&cal->in); b++) {
		run_inputs_fill(&cal->in, b, kerf_context_tensor(c, g->input));
		if (kerf_engine_observe(c, g, cal->c.ranges) < 0)
			return kerf_err_set(err, -EIO, "%s: oneDNN failed", g->name);
		memcpy(whole_of(cal, b), kerf_context_tensor(c, g->output),
			cal->output_values * cal->in.batch * sizeof(float));
	}
	return 0;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

#define TIMED_RUNS 21

/* Pictures in turn, f32 and the precision one after the other; the median ratio is the gain. */
static int measure_precision(struct calibrate *cal, struct kerf_context *f32, struct kerf_err *err)
{
	const unsigned batches = run_inputs_batches(&cal->in);
	double gain[TIMED_RUNS];
	int rc = 0;

	for (unsigned i = 0; i < TIMED_RUNS && rc == 0; i++) {
		const uint64_t begin = model_clock_ns();
		rc = run_whole(cal, f32, i % batches, err);
		const uint64_t middle = model_clock_ns();
		if (rc == 0)
			rc = run_whole(cal, cal->tail, i % batches, err);
		gain[i] = (double)(middle - begin) / (double)(model_clock_ns() - middle);
	}
	for (unsigned b = 0; b < batches && rc == 0; b++) {
		rc = run_whole(cal, cal->tail, b, err);
		compare(cal, b, kerf_context_tensor(cal->tail, cal->m.graph->output), &cal->c.agreement, &cal->c.error);
	}
	if (rc == 0)
		qsort(gain, TIMED_RUNS, sizeof(gain[0]), by_value);
	cal->c.agreement /= cal->in.n_frames;
	cal->c.speedup = rc == 0 ? gain[TIMED_RUNS / 2] : 0;
	return rc;
}

/* The f32 engine stays beside the other for as long as both are timed. */
static int lower_precision(struct calibrate *cal, const struct run_options *o, struct kerf_engine *f32,
	struct kerf_context *c, struct kerf_err *err)
{
	int rc;

	cal->m.engine = NULL;
	rc = model_compile(&cal->m, &o->open, cal->c.ranges, err);
	if (rc == 0) {
		cal->tail = kerf_context_create(cal->m.engine, err);
		rc = cal->tail ? measure_precision(cal, c, err) : -ENOMEM;
	}
	kerf_context_free(c);
	kerf_engine_free(f32);
	return rc;
}

static int open_network(struct calibrate *cal, const struct run_options *o, struct kerf_err *err)
{
	struct model_options f32 = o->open;
	int rc;

	f32.precision = KERF_PRECISION_F32;
	f32.keep_weights = true;
	rc = model_open(&cal->m, &f32, err);
	if (rc == 0)
		rc = run_inputs_open(&cal->in, o, cal->m.graph, err);
	if (rc < 0)
		return rc;
	const struct kerf_graph *g = cal->m.graph;
	cal->output_values = (size_t)kerf_tensor_elements(&g->tensors[g->output]) / cal->in.batch;
	cal->whole = malloc(cal->output_values * cal->in.batch * run_inputs_batches(&cal->in) * sizeof(float));
	return cal->whole ? 0 : kerf_err_set(err, -ENOMEM, "%s: no memory for its outputs", g->name);
}

static int open_all(struct calibrate *cal, const struct run_options *o, struct kerf_err *err)
{
	int rc = open_network(cal, o, err);

	if (rc < 0)
		return rc;
	cal->begin_ns = model_clock_ns();
	cal->c.precision = o->open.precision;
	cal->c.agreement = cal->c.speedup = 1;
	struct kerf_context *c = kerf_context_create(cal->m.engine, err);
	if (!c)
		return -ENOMEM;
	model_progress("running the pictures in f32");
	rc = measure_whole(cal, c, err);
	model_progress("measuring the precision");
	if (rc == 0 && o->open.precision != KERF_PRECISION_F32) {
		cal->c.agreement = 0;
		rc = lower_precision(cal, o, cal->m.engine, c, err);
	} else {
		cal->tail = c;
	}
	model_progress(NULL);
	if (rc == 0)
		rc = add_entries(cal, err);
	cal->head = rc == 0 ? kerf_context_create(cal->m.engine, err) : NULL;
	return rc < 0 || cal->head ? rc : -ENOMEM;
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
		if (o->open.precision != KERF_PRECISION_F32)
			printf("%s: agreement %.4f, error %.2e, %.2f times as fast as f32\n",
				kerf_precision_name(o->open.precision), cal.c.agreement, cal.c.error, cal.c.speedup);
		printf("%s: %s, %u pictures\n", o->output, cal.m.graph->name, cal.c.images);
	}
	close_all(&cal);
	return rc;
}

int model_calibrate(int argc, char **argv)
{
	struct run_options o = {.open.threads = 1, .resize = KERF_RESIZE_CROP};
	struct kerf_err err = {0};
	bool done = false;
	int code = parse(argc, argv, &o, &done);

	if (code != MODEL_OK || done)
		return code;
	return calibrate(&o, &err) < 0 ? model_fail(COMMAND, &err) : MODEL_OK;
}
