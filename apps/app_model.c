#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

/* The analytic profile: a core of 50 GFLOP/s and 10 GB/s, for experiments that must not depend on a
 * machine. */
#define ANALYTIC_FLOPS 50e9
#define ANALYTIC_BYTES_PER_S 10e9

static bool is_zoo_name(const char *name)
{
	for (unsigned i = 0; kerf_zoo_name(i); i++)
		if (!strcmp(kerf_zoo_name(i), name))
			return true;
	return false;
}

static int load_graph(struct app_model *m, const struct app_settings *s, struct kerf_err *err)
{
	const struct kerf_zoo_options zoo = {.batch = 1, .seed = s->model.seed};

	m->graph = is_zoo_name(s->model.file) ? kerf_zoo_build(s->model.file, &zoo, err)
					      : kerf_graph_load(s->model.file, s->model.input_shape[0] ? s->model.input_shape : NULL, err);
	if (!m->graph)
		return -EIO;
	return kerf_graph_optimize(m->graph, err);
}

/* One number for all channels, or one each. */
static int parse_channels(const char *text, const char *key, unsigned channels, float out[4],
	struct kerf_err *err)
{
	char copy[KERF_INI_TEXT_LEN], *save = NULL;
	unsigned n = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *t = strtok_r(copy, " ,", &save); t; t = strtok_r(NULL, " ,", &save)) {
		double v;

		if (n == 4 || kerf_parse_double(t, &v) < 0 || !isfinite((float)v))
			return kerf_err_set(err, -EINVAL,
				"input.%s = %s: expected one number, or one for each channel", key,
				text);
		out[n++] = (float)v;
	}
	if (n == 0)
		return kerf_err_set(err, -EINVAL, "input.%s is empty", key);
	if (n > 1 && n != channels)
		return kerf_err_set(err, -EINVAL, "input.%s = %s: %u numbers, expected 1 or %u",
			key, text, n, channels);
	for (unsigned i = n; i < 4; i++)
		out[i] = out[n - 1];
	return 0;
}

int app_pixel_format(const struct app_settings *s, const struct kerf_graph *g,
	struct kerf_pixel_format *f, struct kerf_err *err)
{
	const struct kerf_tensor *in = &g->tensors[g->input];
	float mean[4], std[4];

	*f = (struct kerf_pixel_format){0};
	if (in->n_dims != 4 || (in->dims[1] != 1 && in->dims[1] != 3 && in->dims[1] != 4))
		return 0;
	f->channels = (uint32_t)in->dims[1];
	if (parse_channels(s->input.mean, "mean", f->channels, mean, err) < 0 ||
		parse_channels(s->input.std, "std", f->channels, std, err) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < 4; i++) {
		if (!(std[i] > 0))
			return kerf_err_set(err, -EINVAL, "input.std = %s: must be above 0",
				s->input.std);
		f->scale[i] = 1 / std[i];
		f->bias[i] = -mean[i] / std[i];
		if (!isfinite(f->scale[i]) || !isfinite(f->bias[i]))
			return kerf_err_set(err, -EINVAL,
				"input.mean = %s, std = %s: too large a mean or too small a std",
				s->input.mean, s->input.std);
	}
	return 0;
}

static int measure(struct app_model *m, const struct app_settings *s, struct kerf_err *err)
{
	struct kerf_context *c = kerf_context_create(m->engine, err);
	int rc;

	if (!c)
		return -ENOMEM;
	rc = kerf_profile_measure(&m->profile, m->graph, c, (unsigned)s->model.rounds, app_clock_ns,
		err);
	kerf_context_free(c);
	return rc;
}

static int open_profile(struct app_model *m, const struct app_settings *s, struct kerf_err *err)
{
	if (s->model.profile[0])
		return kerf_profile_load(&m->profile, m->graph, s->model.profile, err);
	if (s->lab.analytic)
		return kerf_profile_analytic(&m->profile, m->graph, ANALYTIC_FLOPS,
			ANALYTIC_BYTES_PER_S, err);
	return measure(m, s, err);
}

static int compile_engine(struct app_model *m, const struct app_settings *s, struct kerf_err *err)
{
	const struct kerf_engine_options options = {
		.threads = (unsigned)s->model.threads,
		.precision = (enum kerf_precision)s->model.precision,
		.ranges = m->calibration.ranges,
	};

	m->engine = kerf_engine_compile(m->graph, &options, err);
	if (!m->engine)
		return -EIO;
	kerf_model_restrict(&m->model, m->engine);
	kerf_graph_drop_weights(m->graph);
	return 0;
}

int app_model_open(struct app_model *m, const struct app_settings *s, bool compile,
	struct kerf_err *err)
{
	struct kerf_pixel_format pixels;
	int rc;

	*m = (struct app_model){0};
	rc = load_graph(m, s, err);
	if (rc == 0)
		rc = app_calibration_open(&m->calibration, m->graph, s->model.calibration,
			(enum kerf_precision)s->model.precision, err);
	if (rc == 0)
		rc = app_pixel_format(s, m->graph, &pixels, err);
	if (rc == 0)
		rc = kerf_model_create(&m->model, m->graph, &pixels, err);
	if (rc == 0 && m->model.n_cuts > APP_MAX_CUTS)
		rc = kerf_err_set(err, -E2BIG, "%s: %u cuts are more than %u", m->graph->name,
			m->model.n_cuts, APP_MAX_CUTS);
	/* Which cuts there are below f32, the engine alone knows. */
	if (rc == 0 && (compile || s->model.precision != KERF_PRECISION_F32))
		rc = compile_engine(m, s, err);
	if (rc == 0)
		rc = open_profile(m, s, err);
	if (rc == 0)
		m->whole_ns = kerf_profile_range_ns(&m->profile, 0, (unsigned)m->graph->n_nodes);
	else
		app_model_close(m);
	return rc;
}

void app_model_close(struct app_model *m)
{
	kerf_profile_free(&m->profile);
	if (m->engine)
		kerf_engine_free(m->engine);
	kerf_model_destroy(&m->model);
	app_calibration_free(&m->calibration);
	if (m->graph)
		kerf_graph_free(m->graph);
	*m = (struct app_model){0};
}

uint64_t app_fingerprint(const struct app_settings *s)
{
	return kerf_engine_fingerprint() + (s->model.threads - 1) * 0x9e3779b97f4a7c15ull;
}

/* ---- frames ---- */

static struct kerf_source_options source_options(const struct app_settings *s, const struct kerf_graph *g)
{
	const struct kerf_tensor *in = &g->tensors[g->input];

	return (struct kerf_source_options){
		.path = s->input.path,
		.height = in->n_dims == 4 ? (unsigned)in->dims[2] : 1,
		.width = in->n_dims == 4 ? (unsigned)in->dims[3] : 1,
		.channels = in->n_dims == 4 ? (unsigned)in->dims[1] : 1,
		.resize = s->input.resize ? KERF_RESIZE_CROP : KERF_RESIZE_STRETCH,
		.crop = s->input.crop,
		.bgr = s->input.channels == 1,
		.seed = s->input.seed,
		.limit = (unsigned)s->input.limit,
	};
}

int app_source_open(struct kerf_source **source, const struct app_settings *s,
	const struct kerf_graph *g, struct kerf_err *err)
{
	const struct kerf_tensor *in = &g->tensors[g->input];
	const struct kerf_source_options o = source_options(s, g);

	if (in->n_dims != 4 || in->dims[0] != 1)
		return kerf_err_set(err, -EINVAL,
			"%s: input %s is not one picture [1,C,H,W]; batches are not fed from a "
			"source",
			g->name, in->name);
	*source = kerf_source_open(&o, err);
	return *source ? 0 : -EIO;
}

void app_source_input(const struct kerf_source *s, uint32_t frame, struct kerf_frame_input *in)
{
	const struct kerf_frame_data *f = kerf_source_frame(s, frame % kerf_source_count(s));

	*in = (struct kerf_frame_input){
		.pixels = f->pixels, .values = f->values, .jpeg = f->jpeg, .jpeg_bytes = f->jpeg_bytes};
}

/* ---- JPEGs ---- */

#define DECODE_RUNS 9
#define DECODE_FILES 8
#define ANALYTIC_JPEG_NS 100 /* a byte of the file */

int app_jpeg_open(struct app_jpeg *j, const struct app_settings *s, const struct app_model *m, struct kerf_err *err)
{
	const struct kerf_source_options o = source_options(s, m->graph);

	*j = (struct app_jpeg){0};
	if (!m->model.pixels.channels)
		return 0;
	j->decoder = kerf_jpeg_open(&o, err);
	j->key = kerf_jpeg_key(&o);
	return j->decoder ? 0 : -ENOMEM;
}

void app_jpeg_close(struct app_jpeg *j)
{
	kerf_jpeg_close(j->decoder);
	*j = (struct app_jpeg){0};
}

int app_jpeg_decode(void *user, const uint8_t *jpeg, size_t n, uint8_t *pixels)
{
	return kerf_jpeg_decode(((struct app_jpeg *)user)->decoder, jpeg, n, pixels);
}

/* The fastest of some runs. */
static double decoding_ns(const struct app_jpeg *j, const struct kerf_frame_data *f,
	uint8_t *pixels)
{
	uint64_t best_ns = UINT64_MAX;

	for (unsigned i = 0; i < DECODE_RUNS; i++) {
		const uint64_t begin_ns = app_clock_ns();

		kerf_jpeg_decode(j->decoder, f->jpeg, f->jpeg_bytes, pixels);
		best_ns = KERF_MIN(best_ns, app_clock_ns() - begin_ns);
	}
	return (double)best_ns;
}

static bool may_travel(const struct kerf_frame_data *f)
{
	return f->jpeg && f->jpeg_bytes <= KERF_JPEG_MAX;
}

/* A byte of the first few files. */
static double measured_byte_ns(const struct kerf_source *source, const struct app_settings *s,
	const struct app_model *m)
{
	const struct kerf_tensor *in = &m->graph->tensors[m->graph->input];
	uint8_t *pixels = malloc((size_t)kerf_tensor_elements(in));
	double ns = 0, bytes = 0;
	struct app_jpeg j;

	if (pixels && app_jpeg_open(&j, s, m, NULL) == 0) {
		for (unsigned i = 0, n = 0; i < kerf_source_count(source) && n < DECODE_FILES;
			i++) {
			const struct kerf_frame_data *f = kerf_source_frame(source, i);

			if (!may_travel(f))
				continue;
			ns += decoding_ns(&j, f, pixels);
			bytes += (double)f->jpeg_bytes;
			n++;
		}
		app_jpeg_close(&j);
	}
	free(pixels);
	return bytes > 0 ? ns / bytes : 0;
}

uint64_t app_source_jpegs(const struct kerf_source *source, const struct app_settings *s,
	const struct app_model *m, size_t *mean_bytes, double *byte_ns)
{
	const struct kerf_source_options o = source_options(s, m->graph);
	size_t n = 0, bytes = 0;

	*mean_bytes = 0;
	*byte_ns = 0;
	for (unsigned i = 0; i < kerf_source_count(source); i++) {
		const struct kerf_frame_data *f = kerf_source_frame(source, i);

		if (!may_travel(f))
			continue;
		bytes += f->jpeg_bytes;
		n++;
	}
	if (!n)
		return 0;
	*mean_bytes = bytes / n;
	if (s->input.jpeg_decode_ns)
		*byte_ns = (double)s->input.jpeg_decode_ns / (double)*mean_bytes;
	else
		*byte_ns = s->lab.analytic ? ANALYTIC_JPEG_NS : measured_byte_ns(source, s, m);
	return kerf_jpeg_key(&o);
}
