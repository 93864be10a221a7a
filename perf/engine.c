/*
 * The engine against ONNX Runtime: batch 1, f32, the same ONNX file, in alternating turns with a pause before each, so
 * that neither runs while the other's threads still spin. Each gets its input in the layout that it wants, before the
 * clock starts. The outputs have to agree, too.
 *
 * A network's share of the machine's peak counts multiply-adds (kerf_profile_node_macs) against independent fused
 * multiply-adds of vectors on as many threads, timed in every round as well: what the machine gives changes with the hour.
 */
#include <immintrin.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/engine.h"
#include "node/node.h"
#include "onnxruntime.h"
#include "perf.h"

static const char usage[] =
	"  --onnxruntime F.so  its library, which npm install --ignore-scripts onnxruntime-node brings\n"
	"  --network NAME      only this one, which may be a file; kerf-model make lists the known ones\n"
	"  --input-shape S     of a file that leaves it open, as 1,3,224,224\n"
	"  --input F           raw f32 in ONNX order instead of noise\n"
	"  --threads N         of each (1)\n"
	"  --check             only whether the outputs agree\n";

static const char *const networks[] = {"mobilenet-v1", "mobilenet-v2", "mobilenet-v3-small", "mobilenet-v3-large",
	"efficientnet-b0", "efficientnet-v2-s", "resnet-18", "resnet-50", "regnet-y-400mf", "densenet-121",
	"googlenet", "inception-v3", "squeezenet-1.1", "vgg-16"};

#define PAUSE_NS 3000000
#define WARM_RUNS 3
#define MAX_ERROR 1e-4
#define MAX_ROUNDS 101

struct options {
	const char *runtime, *network, *input_shape, *input;
	unsigned threads;
	bool check;
};

/* ---- the machine ---- */

#define CHAINS 12 /* multiply-adds that do not wait for each other; more than latency times units */

/* One chain step for each of CHAINS vectors, n times; the sum keeps the compiler from leaving it out. */
#define MULTIPLY_ADD(name, isa, vector, set1, fma, lane0)                                          \
	__attribute__((target(isa))) static float name(long n)                                     \
	{                                                                                          \
		vector a[CHAINS], x = set1(0.5f);                                                  \
		float sum = 0;                                                                     \
                                                                                                   \
		for (int k = 0; k < CHAINS; k++)                                                   \
			a[k] = set1((float)k);                                                     \
		for (long i = 0; i < n; i++)                                                       \
			_Pragma("GCC unroll 12") for (int k = 0; k < CHAINS; k++) a[k] = fma(a[k], x, x); \
		for (int k = 0; k < CHAINS; k++)                                                   \
			sum += lane0(a[k]);                                                        \
		return sum;                                                                        \
	}
MULTIPLY_ADD(multiply_add_avx512, "avx512f", __m512, _mm512_set1_ps, _mm512_fmadd_ps, _mm512_cvtss_f32)
MULTIPLY_ADD(multiply_add_avx2, "avx2,fma", __m256, _mm256_set1_ps, _mm256_fmadd_ps, _mm256_cvtss_f32)

/* Multiply-adds per second, for about 2 ms. */
static double multiply_add_rate(unsigned threads)
{
	const bool wide = __builtin_cpu_supports("avx512f");
	const long n = 1000000;
	volatile float sink;
	uint64_t start = 0;

	for (int try = 0; try < 2; try++) { /* the clock of the core and the team wake up in the first */
		start = perf_clock_ns();
#pragma omp parallel num_threads(threads)
		sink = wide ? multiply_add_avx512(n) : multiply_add_avx2(n);
	}
	(void)sink;
	return (double)n * CHAINS * (wide ? 16 : 8) * threads / ((double)(perf_clock_ns() - start) * 1e-9);
}

/* ---- one network ---- */

struct subject {
	struct perf *p;
	char path[64]; /* what ONNX Runtime loads */
	bool made;     /* and what we wrote there */
	struct kerf_graph *g;
	struct kerf_engine *e;
	struct kerf_context *c;
	struct ort_network *n;
	float *input; /* in ONNX order */
	double kerf_load_ns, ort_load_ns; /* from the file to what runs */
};

static void unload(struct subject *s)
{
	ort_unload(s->n);
	kerf_context_free(s->c);
	kerf_engine_free(s->e);
	kerf_graph_free(s->g);
	s->n = NULL;
	s->c = NULL;
	s->e = NULL;
	s->g = NULL;
}

static void close_subject(struct subject *s)
{
	unload(s);
	free(s->input);
	if (s->made)
		unlink(s->path);
}

static bool is_known(const char *name)
{
	for (unsigned i = 0; kerf_zoo_name(i); i++)
		if (strcmp(kerf_zoo_name(i), name) == 0)
			return true;
	return false;
}

/* A known architecture is written to a file, so that both run the same. */
static int make_file(struct subject *s, const char *name, struct kerf_err *err)
{
	struct kerf_graph *g = kerf_zoo_build(name, NULL, err);

	if (!g)
		return -EINVAL;
	snprintf(s->path, sizeof(s->path), "/tmp/kerf-perf-engine-XXXXXX");
	const int fd = mkstemp(s->path);
	s->made = fd >= 0;
	if (s->made)
		close(fd);
	/* Seeded weights make classes so sure that nothing could be told apart behind the softmax. */
	const struct kerf_node *last = &g->nodes[g->n_nodes - 1];
	if (last->op == KERF_OP_SOFTMAX)
		g->output = last->inputs[0];
	const int rc = s->made ? kerf_graph_save(g, s->path, err)
			       : kerf_err_set(err, -errno, "%s: %s", s->path, strerror(errno));
	kerf_graph_free(g);
	return rc;
}

static int load_kerf(struct subject *s, const char *path, const struct options *opt, struct kerf_err *err)
{
	const uint64_t begin = perf_clock_ns();

	s->g = kerf_graph_load(path, opt->input_shape, err);
	if (!s->g || kerf_graph_optimize(s->g, err) < 0)
		return -EINVAL;
	s->e = kerf_engine_compile(s->g, &(struct kerf_engine_options){.threads = opt->threads}, err);
	s->c = s->e ? kerf_context_create(s->e, err) : NULL;
	s->kerf_load_ns = (double)(perf_clock_ns() - begin);
	return s->c ? 0 : -EINVAL;
}

static int load_ort(struct subject *s, struct ort *o, const char *path, const struct options *opt, struct kerf_err *err)
{
	const struct kerf_tensor *in = &s->g->tensors[s->g->input];
	const uint64_t begin = perf_clock_ns();

	s->n = ort_load(o, path, opt->threads, in->n_dims, in->dims, s->input, err);
	s->ort_load_ns = (double)(perf_clock_ns() - begin);
	return s->n ? 0 : -EINVAL;
}

#define LOADS 5 /* the first of either is not counted: it finds no memory that the machine has given before */

static int load_in_turn(struct subject *s, struct ort *o, const char *path, const struct options *opt, struct kerf_err *err)
{
	double kerf[LOADS - 1], ort[LOADS - 1];

	for (unsigned i = 0; i < LOADS; i++) {
		unload(s);
		if (load_kerf(s, path, opt, err) < 0 || load_ort(s, o, path, opt, err) < 0)
			return -EINVAL;
		if (i > 0) {
			kerf[i - 1] = s->kerf_load_ns;
			ort[i - 1] = s->ort_load_ns;
		}
	}
	s->kerf_load_ns = perf_quantile(kerf, LOADS - 1, 0.5);
	s->ort_load_ns = perf_quantile(ort, LOADS - 1, 0.5);
	return 0;
}

/* Noise with as much of every size, which is closer to photographs than white noise: in ONNX order, about -2 to 2. */
static void draw(float *to, const struct kerf_tensor *t)
{
	const int64_t w = t->dims[t->n_dims - 1], h = t->n_dims > 1 ? t->dims[t->n_dims - 2] : 1;
	float noise[64 * 64];

	perf_fill(noise, KERF_ARRAY_LEN(noise));
	for (int64_t i = 0; i < kerf_tensor_elements(t); i++) {
		const int64_t x = i % w, y = i / w % h, plane = i / (w * h);

		to[i] = 0;
		for (int octave = 0; octave < 7; octave++)
			to[i] += 0.3f * noise[(((y >> octave) + 7 * plane) * 64 + (x >> octave) + 13 * octave) % 4096];
	}
}

static int read_input(const char *path, float *to, size_t n, struct kerf_err *err)
{
	FILE *f = fopen(path, "rb");

	if (!f)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	const size_t found = fread(to, sizeof(*to), n, f);
	const bool whole = found == n && fgetc(f) == EOF;
	fclose(f);
	return whole ? 0 : kerf_err_set(err, -EINVAL, "%s: expected %zu values of f32", path, n);
}

/* From ONNX order into the engine's: four dimensions are NHWC. */
static void set_input(const struct subject *s)
{
	const struct kerf_tensor *t = &s->g->tensors[s->g->input];
	float *to = kerf_context_tensor(s->c, s->g->input);
	const int64_t c = t->n_dims == 4 ? t->dims[1] : 1, area = t->n_dims == 4 ? t->dims[2] * t->dims[3] : 1;

	for (int64_t i = 0; i < kerf_tensor_elements(t); i++) {
		const int64_t image = i / (c * area), channel = i / area % c, at = i % area;

		to[(image * area + at) * c + channel] = s->input[i];
	}
}

static int open_subject(struct subject *s, struct ort *o, const char *name, const struct options *opt, struct kerf_err *err)
{
	if (is_known(name) && make_file(s, name, err) < 0)
		return -EINVAL;
	const char *path = s->made ? s->path : name;
	if (load_kerf(s, path, opt, err) < 0)
		return -EINVAL;
	const struct kerf_tensor in = s->g->tensors[s->g->input];
	s->input = calloc((size_t)kerf_tensor_elements(&in), sizeof(float));
	if (!s->input)
		return kerf_err_set(err, -ENOMEM, "out of memory");
	draw(s->input, &in);
	if (opt->input && read_input(opt->input, s->input, (size_t)kerf_tensor_elements(&in), err) < 0)
		return -EINVAL;
	return opt->check ? load_ort(s, o, path, opt, err) : load_in_turn(s, o, path, opt, err);
}

/* ---- agreement ---- */

/* Element i of ONNX's order of an engine tensor. */
static float engine_value(const struct kerf_tensor *t, const float *values, size_t i)
{
	if (t->n_dims != 4)
		return values[i];
	const size_t c = (size_t)t->dims[1], area = (size_t)(t->dims[2] * t->dims[3]);

	return values[(i / (c * area) * area + i % area) * c + i / area % c];
}

/* The largest difference relative to the largest value, over all outputs, which kerf has side by side. */
static double disagreement(const struct subject *s)
{
	const struct kerf_tensor *out = &s->g->tensors[s->g->output];
	const float *mine = kerf_context_tensor(s->c, s->g->output);
	double worst = 0, largest = 0;
	size_t at = 0;

	for (unsigned k = 0; k < ort_outputs(s->n); k++) {
		size_t n = 0;
		const float *theirs = ort_output(s->n, k, &n);

		if (!theirs || at + n > (size_t)kerf_tensor_elements(out))
			return INFINITY;
		for (size_t i = 0; i < n; i++) {
			const double difference = fabs((double)engine_value(out, mine, at + i) - (double)theirs[i]);

			worst = difference <= worst ? worst : difference; /* a NaN stays */
			largest = fmax(largest, fabs((double)theirs[i]));
		}
		at += n;
	}
	return at == (size_t)kerf_tensor_elements(out) ? worst / fmax(largest, 1e-30) : INFINITY;
}

/* ---- speed ---- */

static double run_once(const struct subject *s, bool kerf)
{
	struct kerf_err err = {0};

	if (kerf)
		set_input(s); /* later layers may have taken its place */
	const uint64_t start = perf_clock_ns();
	if (kerf ? kerf_engine_run(s->c, 0, (unsigned)s->g->n_nodes) < 0 : ort_run(s->n, &err) < 0)
		perf_fail(s->p, "%s", kerf ? "a step failed" : err.text);
	return (double)(perf_clock_ns() - start);
}

/* Frames follow one another, and find in the caches what the last one left: the first few in a turn do not count. */
static double timed(const struct subject *s, bool kerf)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};

	nanosleep(&pause, NULL);
	for (int i = 0; i < WARM_RUNS; i++)
		run_once(s, kerf);
	return run_once(s, kerf);
}

static double total_macs(const struct kerf_graph *g)
{
	double macs = 0;

	for (unsigned i = 0; i < (unsigned)g->n_nodes; i++)
		macs += kerf_profile_node_macs(g, i);
	return macs;
}

struct means {
	double ratio, share, best_share, peak; /* sums of logarithms; best_share of the fastest rounds */
	unsigned n;
};

static void measure(struct subject *s, const char *name, const struct options *opt, struct means *m)
{
	static double kerf[MAX_ROUNDS], ort[MAX_ROUNDS], ratio[MAX_ROUNDS], peaks[MAX_ROUNDS];
	const unsigned rounds = s->p->quick ? 5 : 31;
	char text[128];

	for (unsigned i = 0; i < rounds; i++) {
		const bool first = i % 2 == 0;
		const double a = timed(s, first), b = timed(s, !first);

		kerf[i] = first ? a : b;
		ort[i] = first ? b : a;
		ratio[i] = kerf[i] / ort[i];
		peaks[i] = multiply_add_rate(opt->threads);
	}
	const double peak = perf_quantile(peaks, rounds, 0.5);
	const double share = total_macs(s->g) / (perf_quantile(kerf, rounds, 0.5) * 1e-9) / peak;
	const double fastest = perf_quantile(kerf, rounds, 0);
	const double middle = perf_quantile(ratio, rounds, 0.5);
	const double best_share = total_macs(s->g) / (fastest * 1e-9) / perf_quantile(peaks, rounds, 1);
	snprintf(text, sizeof(text), "%s, %u thread%s, %.0f%% of peak (fastest run: %.0f%%, %.2f x)", name, opt->threads,
		opt->threads == 1 ? "" : "s", 100 * share, 100 * best_share, fastest / perf_quantile(ort, rounds, 0));
	perf_add(s->p, &(struct perf_figure){.name = text, .value = perf_quantile(kerf, rounds, 0.5) * 1e-6, .unit = "ms",
			       .spread = perf_spread(ratio, rounds), .n = rounds, .peer = "ONNX Runtime", .ratio = middle,
			       .bound = PERF_AT_MOST, .target = 1.0});
	m->ratio += log(middle);
	m->share += log(share);
	m->best_share += log(best_share);
	m->peak += log(peak);
	m->n++;
}

static void compare(struct perf *p, struct ort *o, const char *name, const struct options *opt, struct means *m)
{
	struct subject s = {.p = p};
	struct kerf_err err = {0};
	char text[128];

	if (open_subject(&s, o, name, opt, &err) < 0) {
		close_subject(&s);
		perf_fail(p, "%s", err.text);
	}
	timed(&s, true);
	timed(&s, false);
	const char *slash = strrchr(name, '/');
	snprintf(text, sizeof(text), "%s, error", slash ? slash + 1 : name);
	perf_add(p, &(struct perf_figure){.name = text, .value = disagreement(&s), .unit = "of the largest", .n = 1,
			    .bound = PERF_AT_MOST, .target = MAX_ERROR});
	snprintf(text, sizeof(text), "%s, loading", slash ? slash + 1 : name);
	perf_add(p, &(struct perf_figure){.name = text, .value = s.kerf_load_ns * 1e-6, .unit = "ms",
			    .n = opt->check ? 1 : LOADS - 1, .peer = "ONNX Runtime", .ratio = s.kerf_load_ns / s.ort_load_ns,
			    .bound = opt->check ? PERF_NO_BOUND : PERF_AT_MOST, .target = 1.5});
	if (!opt->check)
		measure(&s, slash ? slash + 1 : name, opt, m);
	close_subject(&s);
}

int main(int argc, char **argv)
{
	static struct perf p;
	struct options opt = {.threads = 1};
	struct means m = {0};
	struct kerf_err err = {0};
	const char *threads = "1";
	uint64_t n;

	perf_begin(&p, "engine", usage, &argc, argv);
	perf_take_option(&p, &argc, argv, "--onnxruntime", &opt.runtime);
	perf_take_option(&p, &argc, argv, "--network", &opt.network);
	perf_take_option(&p, &argc, argv, "--input-shape", &opt.input_shape);
	perf_take_option(&p, &argc, argv, "--input", &opt.input);
	perf_take_option(&p, &argc, argv, "--threads", &threads);
	opt.check = perf_take_flag(&argc, argv, "--check");
	perf_no_more_options(&p, argc, argv);
	if (!opt.runtime)
		perf_usage(&p, "--onnxruntime", "is missing");
	if (kerf_parse_u64(threads, &n) < 0 || n < 1 || n > 256)
		perf_usage(&p, "--threads", "1 to 256 expected");
	opt.threads = (unsigned)n;
	struct ort *o = ort_open(opt.runtime, &err);
	if (!o)
		perf_fail(&p, "%s", err.text);
	printf("ONNX Runtime %s\n", ort_version(o));
	for (unsigned i = 0; opt.network ? i == 0 : i < KERF_ARRAY_LEN(networks); i++)
		compare(&p, o, opt.network ? opt.network : networks[i], &opt, &m);
	if (m.n > 0)
		perf_add(&p, &(struct perf_figure){.name = "peak", .value = 2e-9 * exp(m.peak / m.n), .unit = "GFLOP/s", .n = m.n});
	if (m.n > 1) {
		perf_add(&p, &(struct perf_figure){.name = "geometric mean of the ratios", .value = exp(m.ratio / m.n), .n = m.n,
				     .unit = "", .bound = PERF_AT_MOST, .target = 0.9});
		perf_add(&p, &(struct perf_figure){.name = "geometric mean of the shares of peak", .value = exp(m.share / m.n),
				     .n = m.n, .unit = "", .bound = opt.threads == 1 ? PERF_AT_LEAST : PERF_NO_BOUND,
				     .target = 0.85});
		perf_add(&p, &(struct perf_figure){.name = "the same of the fastest rounds", .value = exp(m.best_share / m.n),
				     .n = m.n, .unit = ""});
	}
	ort_close(o);
	return perf_end(&p);
}
