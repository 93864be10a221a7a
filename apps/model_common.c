#include "app_calibration.h"
#include "model_common.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

int model_fail(const char *command, const struct kerf_err *err)
{
	fprintf(stderr, "kerf-model %s: %s\n", command, err->text);
	return MODEL_FAILED;
}

int model_usage(const char *command, const char *fmt, ...)
{
	char text[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	fprintf(stderr, "kerf-model %s: %s, see kerf-model %s --help\n", command, text, command);
	return MODEL_USAGE;
}

bool model_option_number(const char *command, const char *name, const char *text, uint64_t min,
	uint64_t max, uint64_t *value)
{
	if (kerf_parse_u64(text, value) == 0 && *value >= min && *value <= max)
		return true;
	model_usage(command, "%s %s: a whole number from %ju to %ju expected", name, text,
		(uintmax_t)min, (uintmax_t)max);
	return false;
}

/* ---- the network ---- */

bool model_in_zoo(const char *name)
{
	for (unsigned i = 0; kerf_zoo_name(i); i++)
		if (strcmp(kerf_zoo_name(i), name) == 0)
			return true;
	return false;
}

const char *model_zoo_names(char *buf, size_t len)
{
	buf[0] = '\0';
	for (unsigned i = 0; kerf_zoo_name(i); i++) {
		size_t used = strlen(buf);

		snprintf(buf + used, len - used, "%s%s", i ? ", " : "", kerf_zoo_name(i));
	}
	return buf;
}

static struct kerf_graph *build_or_load(const char *what, const char *input_shape, struct kerf_err *err)
{
	char names[512];
	struct kerf_graph *g;

	if (model_in_zoo(what) && input_shape) {
		kerf_err_set(err, -EINVAL, "%s has an input of its own: --input-shape is for files", what);
		return NULL;
	}
	if (model_in_zoo(what))
		return kerf_zoo_build(what, &(struct kerf_zoo_options){0}, err);
	g = kerf_graph_load(what, input_shape, err);
	/* A bare word that is no file was probably meant as the name of an architecture. */
	if (!g && !strpbrk(what, "./") && access(what, F_OK) != 0)
		kerf_err_set(err, -ENOENT, "%s: no such file and no known network (%s)", what,
			model_zoo_names(names, sizeof(names)));
	return g;
}

static bool parse_precision(const char *command, const char *text, struct model_options *o)
{
	for (unsigned p = 0; kerf_precision_name(p); p++)
		if (strcmp(text, kerf_precision_name(p)) == 0) {
			o->precision = (enum kerf_precision)p;
			return true;
		}
	model_usage(command, "--precision %s: f32, bf16 or int8 expected", text);
	return false;
}

bool model_engine_option(const char *command, int c, const char *value, struct model_options *o)
{
	switch (c) {
	case MODEL_OPT_INPUT_SHAPE: o->input_shape = value; return true;
	case MODEL_OPT_THREADS:
		return model_option_number(command, "--threads", value, 1, MODEL_MAX_THREADS, &o->threads);
	case MODEL_OPT_PRECISION: return parse_precision(command, value, o);
	case MODEL_OPT_CALIBRATION: o->calibration = value; return true;
	default: return false;
	}
}

int model_compile(struct model *m, const struct model_options *o, const struct kerf_range *ranges, struct kerf_err *err)
{
	const struct kerf_engine_options options = {
		.threads = (unsigned)o->threads, .precision = o->precision, .ranges = ranges};

	if (m->engine)
		kerf_engine_free(m->engine);
	m->engine = kerf_engine_compile(m->graph, &options, err);
	if (!m->engine)
		return -EINVAL;
	kerf_model_restrict(&m->base, m->engine);
	return 0;
}

/* The ranges, and a digest for what they make of the network. */
static int compile(struct model *m, const struct model_options *o, struct kerf_err *err)
{
	struct app_calibration c;
	int rc = app_calibration_open(&c, m->graph, o->calibration, o->precision, err);

	if (rc == 0)
		rc = model_compile(m, o, c.ranges, err);
	app_calibration_free(&c);
	return rc;
}

int model_open(struct model *m, const struct model_options *o, struct kerf_err *err)
{
	const uint64_t begin_ns = model_clock_ns();
	int rc;

	*m = (struct model){0};
	model_progress("reading the network");
	m->graph = build_or_load(o->model, o->input_shape, err);
	rc = m->graph ? 0 : -EINVAL;
	model_progress("compiling the network");
	if (rc == 0)
		rc = kerf_graph_optimize(m->graph, err);
	if (rc == 0)
		rc = kerf_model_create(&m->base, m->graph, NULL, err);
	if (rc == 0)
		rc = compile(m, o, err);
	model_progress(NULL);
	if (rc < 0) {
		model_close(m);
		return rc;
	}
	if (!o->keep_weights)
		kerf_graph_drop_weights(m->graph);
	m->load_ns = model_clock_ns() - begin_ns;
	return 0;
}

void model_close(struct model *m)
{
	if (m->engine)
		kerf_engine_free(m->engine);
	kerf_model_destroy(&m->base);
	kerf_graph_free(m->graph);
	*m = (struct model){0};
}

/* Pictures after preprocessing are about as large; zeros would flatter nobody but the cache. */
static void fill_random(float *values, int64_t n)
{
	struct kerf_rng rng = {.seed = 1};

	for (int64_t i = 0; i < n; i++)
		values[i] = (float)(4 * kerf_rng_uniform(&rng) - 2);
}

int model_measure(
	const struct model *m, unsigned rounds, struct kerf_profile *p, struct kerf_err *err)
{
	const struct kerf_graph *g = m->graph;
	struct kerf_context *c = kerf_context_create(m->engine, err);
	int rc;

	if (!c)
		return -ENOMEM;
	fill_random(kerf_context_tensor(c, g->input), kerf_tensor_elements(&g->tensors[g->input]));
	model_progress("measuring the network");
	rc = kerf_profile_measure(p, g, c, rounds, model_clock_ns, err);
	model_progress(NULL);
	kerf_context_free(c);
	return rc;
}

struct model_memory model_memory(void)
{
	struct model_memory m = {0};
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[4096], path[2];
	unsigned long from, to;
	size_t kilobytes;
	bool is_file = false;

	if (!f)
		return m;
	while (fgets(line, sizeof(line), f)) {
		/* "from-to rights offset device inode path"; memory of the process itself has none, or "[heap]" */
		const int fields = sscanf(line, "%lx-%lx %*s %*s %*s %*s %1s", &from, &to, path);

		if (fields >= 2)
			is_file = fields == 3 && path[0] == '/';
		if (sscanf(line, "Rss: %zu kB", &kilobytes) == 1) {
			m.resident += kilobytes * 1024;
			m.files += is_file ? kilobytes * 1024 : 0;
		}
	}
	fclose(f);
	return m;
}

uint64_t model_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * KERF_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- tensors and cuts ---- */

const char *model_shape_text(const struct kerf_tensor *t, char *buf, size_t len)
{
	static const int nhwc[] = {0, 2, 3, 1};
	size_t used = 0;

	snprintf(buf, len, "%s", t->n_dims ? "" : "scalar");
	for (int i = 0; i < t->n_dims && used < len; i++) {
		int64_t dim = t->dims[t->n_dims == 4 && !t->plain ? nhwc[i] : i];
		int n = snprintf(buf + used, len - used, "%s%jd", i ? "x" : "", (intmax_t)dim);

		used += (size_t)n;
	}
	return buf;
}

const char *model_cut_name(const struct kerf_graph *g, unsigned k)
{
	return k == 0 ? "(input)" : g->nodes[k - 1].name;
}

/* u8 carries pixels, which only the input can be. */
static bool has_pixels(const struct kerf_tensor *t)
{
	return t->n_dims == 4 && t->dims[1] >= 1 && t->dims[1] <= 4;
}

const struct kerf_codec_info *model_codec(unsigned codec)
{
	const struct kerf_codec_info *info = kerf_codec_info(codec);

	return info && !info->own_length ? info : NULL;
}

size_t model_cut_bytes(const struct model *m, unsigned k, enum kerf_codec codec)
{
	const struct kerf_cut *cut = &m->base.cuts[k];
	size_t bytes = 0;

	if (!kerf_model_can_cut(&m->base, k))
		return 0;
	if (!model_codec(codec))
		return 0;
	if (codec == KERF_CODEC_U8 && (k > 0 || !has_pixels(&m->graph->tensors[m->graph->input])))
		return 0;
	for (int i = 0; i < cut->n_tensors; i++) {
		int64_t n = kerf_tensor_elements(&m->graph->tensors[cut->tensors[i]]);

		bytes += kerf_codec_bytes(codec, (size_t)n);
	}
	return bytes;
}

/* ---- output files ---- */

/* The unfinished file, for a signal that ends the program; kerf-model writes one at a time. */
static char unfinished[PATH_MAX];

static void on_signal(int sig)
{
	unlink(unfinished);
	_exit(128 + sig);
}

/* A signal that the shell ignores for a background job stays ignored. */
static void remove_on(int sig)
{
	if (signal(sig, on_signal) == SIG_IGN)
		signal(sig, SIG_IGN);
}

int model_output_begin(struct model_output *o, const char *path, struct kerf_err *err)
{
	struct stat st;
	int n, fd;

	o->path = path;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return kerf_err_set(err, -EINVAL,
			"%s: is %s, a regular file or a new name expected", path,
			S_ISDIR(st.st_mode) ? "a directory" : "a device or a pipe");
	n = snprintf(o->writing, sizeof(o->writing), "%s.%ld.tmp", path, (long)getpid());
	if (n < 0 || (size_t)n >= sizeof(o->writing))
		return kerf_err_set(err, -ENAMETOOLONG, "%.200s...: path too long", path);
	/* At once, so that minutes of computing do not end in a file that cannot be written. */
	fd = open(o->writing, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return kerf_err_set(err, -errno, "%s: cannot write: %s", path, strerror(errno));
	close(fd);
	snprintf(unfinished, sizeof(unfinished), "%s", o->writing);
	remove_on(SIGINT);
	remove_on(SIGTERM);
	return 0;
}

int model_output_end(struct model_output *o, int rc, struct kerf_err *err)
{
	if (rc == 0 && rename(o->writing, o->path) < 0)
		rc = kerf_err_set(err, -errno, "%s: cannot write: %s", o->path, strerror(errno));
	if (rc < 0)
		unlink(o->writing);
	return rc;
}
