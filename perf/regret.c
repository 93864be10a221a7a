/*
 * How far kerf is from clairvoyance: over bandwidth traces, in virtual time.
 *
 * Each trace is scaled to a median rate, given noise of its own per 33 ms, and run by kerf-lab. What every other
 * choice would have cost each of the frames that ran follows from the same rates by arithmetic: first byte on the link
 * when the head is done, then the rate integrated over the bytes. That this arithmetic is right is measured too, on
 * the frames whose choice was the one that ran. Everything that kerf adds is in its latencies and bytes: probes,
 * reports, hedges, pacing.
 *
 *	O1 oracle    each frame's cheapest choice, known beforehand
 *	O2           the cheapest by the trace without the noise
 *	O3 static    the best single choice in hindsight, finished on the device when late, as kerf's are
 *	O4           the cheapest at the true rate of the last frame, likewise
 *
 * O5 of the method (switching cost, overlapping frames) is not needed: frames come one after another, and a switch
 * costs nothing.
 */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "linkem/linkem.h"
#include "node/node.h"
#include "perf.h"

#define MAX_TRACES 256
#define MAX_FRAMES 4000
#define RUN_FRAMES 3000 /* more than a minute holds */
#define MAX_CANDIDATES 512
#define MAX_SETTINGS 16
#define LENGTH_NS (60 * KERF_NS_PER_S)
#define NOISE_NS 33000000ull
#define SIGMA 0.2
#define MEDIAN_BPS 17e6 /* between the rates where raw, middle and local change places (24 and 12 Mbit/s) */
#define DEVICE_SLOWDOWN 10
#define DELAY_MS 5.0 /* each way */
#define RESULT_BPS 1e9
#define RESULT_BYTES 4328.0 /* 1000 values, in 3 packets */
#define HEDGE_FACTOR 1.3
#define HEDGE_MIN_MS 2.0
#define RACE_SHARE 0.2
#define LATE_WEIGHT (1.0 / 16)
#define PROBE_BYTES (16 * 1538.0)
#define NEVER_MS 3600e3
#define RESAMPLES 10000

static const char usage[] =
	"  --lab FILE     kerf-lab (default: build/apps/kerf-lab)\n"
	"  --conf FILE    its scenario (default: conf/lab/default.ini)\n"
	"  --traces DIR   CSV files of t_us,rate_bps (default: $KERF_TEST_DATA/traces)\n"
	"  --odd          the odd-numbered traces, on which constants were tuned; else the even ones\n"
	"  --seed N       of the noise and the lab (default: 1)\n"
	"  --set KEY=VAL  a setting of the lab, as its -s; up to 16 times\n"
	"  --plot F.svg   the first trace: rate, estimate, cut and latency over time (gnuplot)\n";

struct options {
	const char *lab, *conf, *traces, *plot, *seed;
	const char *settings[MAX_SETTINGS];
	unsigned n_settings;
	bool odd;
};

/* ---- rates over time, looped ---- */

struct rates {
	unsigned n;
	uint64_t *begin_ns; /* begin_ns[0] = 0; the last step ends at LENGTH_NS */
	double *bps;
};

static void add_rate(struct rates *r, uint64_t begin_ns, double bps)
{
	r->begin_ns = realloc(r->begin_ns, (r->n + 1) * sizeof(r->begin_ns[0]));
	r->bps = realloc(r->bps, (r->n + 1) * sizeof(r->bps[0]));
	if (!r->begin_ns || !r->bps)
		abort();
	r->begin_ns[r->n] = begin_ns;
	r->bps[r->n++] = bps;
}

static void free_rates(struct rates *r)
{
	free(r->begin_ns);
	free(r->bps);
	*r = (struct rates){0};
}

static unsigned step_at(const struct rates *r, uint64_t ns)
{
	unsigned low = 0, high = r->n;

	while (high - low > 1) {
		const unsigned middle = (low + high) / 2;

		if (r->begin_ns[middle] <= ns)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* ms until `bytes` that start at `at_ms` have left. */
static double transfer_ms(const struct rates *r, double at_ms, double bytes)
{
	const double length_ms = LENGTH_NS * 1e-6;
	double t = fmod(at_ms, length_ms), left = 8 * bytes, took = 0;
	unsigned i = step_at(r, (uint64_t)(t * 1e6));

	while (took < NEVER_MS) {
		const double end = i + 1 < r->n ? (double)r->begin_ns[i + 1] * 1e-6 : length_ms;
		const double bits = fmax(0, end - t) * 1e-3 * r->bps[i];

		if (bits >= left)
			return took + 1e3 * left / r->bps[i];
		left -= bits;
		took += fmax(0, end - t);
		i = (i + 1) % r->n;
		t = i ? end : 0;
	}
	return NEVER_MS;
}

/* The first minute of a trace, over and over when it is shorter; steps as linkem reads them. */
static void unroll(const struct kerf_linkem_trace *t, struct rates *r)
{
	for (uint64_t begin_ps = 0; begin_ps < LENGTH_NS * KERF_PS_PER_NS; begin_ps += t->end_ps)
		for (unsigned i = 0; i < t->n_steps; i++) {
			const uint64_t ns = (begin_ps + t->steps[i].at_ps) / KERF_PS_PER_NS;

			if (ns < LENGTH_NS)
				add_rate(r, ns, (double)t->steps[i].bps);
		}
}

static double median_bps(const struct rates *r)
{
	enum { N = 6000 };
	static double at[N];

	for (unsigned i = 0; i < N; i++)
		at[i] = r->bps[step_at(r, i * (LENGTH_NS / N))];
	return perf_quantile(at, N, 0.5);
}

/* `plain` scaled, and `noisy` of it: each 33 ms times a lognormal factor of mean 1. */
static void add_noise(struct rates *plain, double scale, uint64_t seed, uint64_t stream, struct rates *noisy)
{
	struct kerf_rng rng = {.seed = seed, .stream = stream};
	unsigned i = 0;

	for (unsigned k = 0; k < plain->n; k++)
		plain->bps[k] *= scale;
	for (uint64_t slot_ns = 0; slot_ns < LENGTH_NS; slot_ns += NOISE_NS) {
		const double factor = exp(SIGMA * kerf_rng_normal(&rng) - SIGMA * SIGMA / 2);

		add_rate(noisy, slot_ns, factor * plain->bps[step_at(plain, slot_ns)]);
		while (i < plain->n && plain->begin_ns[i] <= slot_ns)
			i++;
		for (; i < plain->n && plain->begin_ns[i] < slot_ns + NOISE_NS; i++)
			add_rate(noisy, plain->begin_ns[i], factor * plain->bps[i]);
	}
	for (unsigned k = 0; k < noisy->n; k++)
		noisy->bps[k] = floor(noisy->bps[k]);
}

static void write_rates(const struct perf *p, const struct rates *r, const char *path)
{
	FILE *f = fopen(path, "w");

	if (!f)
		perf_fail(p, "%s: cannot be written", path);
	fprintf(f, "t_us,rate_bps\n");
	for (unsigned i = 0; i < r->n; i++)
		if (i == 0 || r->begin_ns[i] / 1000 > r->begin_ns[i - 1] / 1000)
			fprintf(f, "%lu,%.0f\n", r->begin_ns[i] / 1000, r->bps[i]);
	fprintf(f, "%llu,0\n", LENGTH_NS / 1000);
	if (fclose(f))
		perf_fail(p, "%s: cannot be written", path);
}

/* ---- one run ---- */

struct candidate {
	int cut;
	char codec[8];
	bool local;
	double bytes, head_ms, tail_ms;
};

struct frame {
	double at_ms; /* since the links began */
	double latency_ms, estimate_bps;
	unsigned choice;
	bool hedged, remote, clean; /* clean: sent once, not hedged */
};

struct run {
	char name[128];
	struct candidate candidates[MAX_CANDIDATES];
	unsigned n_candidates, local;
	struct frame frames[MAX_FRAMES];
	unsigned n;
	double start_ms, bytes_up, probe_bytes, switches;
	struct rates plain, noisy;
};

static void run_lab(const struct perf *p, const struct options *o, char *const *argv, const char *log)
{
	const pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (!freopen(log, "w", stdout) || dup2(STDOUT_FILENO, STDERR_FILENO) < 0)
			_exit(126);
		execv(o->lab, argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		perf_fail(p, "%s does not run; what it said: %s", o->lab, log);
}

static void start_lab(const struct perf *p, const struct options *o, const char *dir)
{
	static char set[12][300];
	char *argv[2 * (KERF_ARRAY_LEN(set) + MAX_SETTINGS) + 16], json[256], csv[256], log[256];
	unsigned n = 0, k = 0;

	snprintf(json, sizeof(json), "%s/out.json", dir);
	snprintf(csv, sizeof(csv), "%s/out.csv", dir);
	snprintf(log, sizeof(log), "%s/log", dir);
	snprintf(set[k++], sizeof(set[0]), "lab.time=virtual");
	snprintf(set[k++], sizeof(set[0]), "lab.analytic=yes");
	snprintf(set[k++], sizeof(set[0]), "lab.seed=%s", o->seed);
	snprintf(set[k++], sizeof(set[0]), "device.slowdown=%d", DEVICE_SLOWDOWN);
	snprintf(set[k++], sizeof(set[0]), "device.frames=%d", RUN_FRAMES);
	snprintf(set[k++], sizeof(set[0]), "device.verify=no");
	snprintf(set[k++], sizeof(set[0]), "link.up.trace=%s/trace.csv", dir);
	snprintf(set[k++], sizeof(set[0]), "link.up.delay=%gms", DELAY_MS);
	snprintf(set[k++], sizeof(set[0]), "link.down.delay=%gms", DELAY_MS);
	argv[n++] = (char *)(uintptr_t)o->lab;
	argv[n++] = "-c";
	argv[n++] = (char *)(uintptr_t)o->conf;
	for (unsigned i = 0; i < k + o->n_settings; i++) {
		argv[n++] = "-s";
		argv[n++] = i < k ? set[i] : (char *)(uintptr_t)o->settings[i - k];
	}
	argv[n++] = "--json";
	argv[n++] = json;
	argv[n++] = "--frames";
	argv[n++] = csv;
	argv[n] = NULL;
	run_lab(p, o, argv, log);
}

static void read_candidates(const struct perf *p, struct run *r, json_t *list)
{
	size_t i;
	json_t *e;

	json_array_foreach(list, i, e) {
		struct candidate *c = &r->candidates[r->n_candidates];
		const char *codec;
		int local;

		if (r->n_candidates == MAX_CANDIDATES ||
			json_unpack(e, "{s:i, s:s, s:b, s:F, s:F, s:F}", "cut", &c->cut, "codec", &codec,
				"local", &local, "wire_bytes", &c->bytes, "head_ms", &c->head_ms,
				"tail_ms", &c->tail_ms) < 0)
			perf_fail(p, "%s: candidate %zu cannot be read", r->name, i);
		snprintf(c->codec, sizeof(c->codec), "%s", codec);
		c->local = local;
		if (local)
			r->local = r->n_candidates;
		r->n_candidates++;
	}
}

static void read_json(const struct perf *p, struct run *r, const char *dir)
{
	char path[256];
	json_error_t e;
	json_t *root, *list;

	snprintf(path, sizeof(path), "%s/out.json", dir);
	root = json_load_file(path, 0, &e);
	if (!root || json_unpack(root, "{s:F, s:F, s:F, s:F, s:o}", "start_ms", &r->start_ms, "bytes_up",
			     &r->bytes_up, "probe_bytes", &r->probe_bytes, "switches", &r->switches,
			     "candidates", &list) < 0)
		perf_fail(p, "%s: not what kerf-lab writes", path);
	read_candidates(p, r, list);
	json_decref(root);
}

static unsigned find_candidate(const struct run *r, int cut, const char *codec)
{
	for (unsigned i = 0; i < r->n_candidates; i++)
		if (r->candidates[i].cut == cut && strcmp(r->candidates[i].codec, codec) == 0)
			return i;
	return r->local;
}

static void read_frames(const struct perf *p, struct run *r, const char *dir)
{
	char path[256], line[512], codec[8], where[16];
	FILE *f;

	snprintf(path, sizeof(path), "%s/out.csv", dir);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		struct frame *x = &r->frames[r->n];
		double t_ns, bytes;
		int cut, hedged;

		if (sscanf(line, "%*u,%lf,%d,%7[^,],%lf,%*f,%lf,%*f,%*f,%*f,%*f,%lf,%*f,%*f,%d,%15[a-z]",
			    &t_ns, &cut, codec, &bytes, &x->latency_ms, &x->estimate_bps, &hedged, where) != 8)
			continue;
		x->at_ms = r->start_ms + t_ns * 1e-6;
		if (x->at_ms > LENGTH_NS * 1e-6 || r->n == MAX_FRAMES)
			break;
		x->choice = find_candidate(r, cut, codec);
		x->hedged = hedged;
		x->remote = strcmp(where, "remote") == 0;
		x->clean = x->remote && !hedged && bytes == r->candidates[x->choice].bytes;
		r->n++;
	}
	if (f)
		fclose(f);
	if (r->n < 10)
		perf_fail(p, "%s: %u frames in a minute", r->name, r->n);
}

/* ---- what a choice costs ---- */

static double rest_ms(const struct candidate *c)
{
	return 2 * DELAY_MS + c->tail_ms + 8e3 * RESULT_BYTES / RESULT_BPS;
}

static double cost_ms(const struct run *r, const struct rates *rates, unsigned k, double at_ms)
{
	const struct candidate *c = &r->candidates[k];

	return c->local ? c->head_ms
			: c->head_ms + transfer_ms(rates, at_ms + c->head_ms, c->bytes) + rest_ms(c);
}

/* The device finishes it itself when it is later than predicted from `tau` (ms a byte), or goes on at once where
 * results have often been late: the rules that kerf has. */
static double hedged_ms(const struct run *r, unsigned k, double cost, double tau, double *late_share)
{
	const struct candidate *c = &r->candidates[k];
	const double predicted = c->head_ms + tau * c->bytes + rest_ms(c);
	const double late = fmax(HEDGE_FACTOR * predicted, HEDGE_MIN_MS);
	const double begin = *late_share > RACE_SHARE ? c->head_ms : fmax(c->head_ms, late);
	const double rest = r->candidates[r->local].head_ms - c->head_ms;
	double took = cost;

	if (c->local)
		return cost;
	if (cost > begin)
		took = fmin(cost, begin + rest);
	*late_share += LATE_WEIGHT * ((took > late) - *late_share);
	return took;
}

struct score {
	double oracle, ours, o2, o3, o4, o3_plain; /* ms in all */
	unsigned best_static;
	double p95, within, error_p50, error_p95, hedged;
	unsigned n_compared;
};

static unsigned cheapest(const double *costs, unsigned n)
{
	unsigned best = 0;

	for (unsigned k = 1; k < n; k++)
		if (costs[k] < costs[best])
			best = k;
	return best;
}

/* tau of a train that a frame's candidate would have seen; of a local one, its probe's. */
static double true_tau(const struct run *r, unsigned k, double at_ms)
{
	const struct candidate *c = &r->candidates[k];
	const double bytes = c->local ? PROBE_BYTES : c->bytes;

	return transfer_ms(&r->noisy, at_ms + (c->local ? 0 : c->head_ms), bytes) / bytes;
}

static void score_run(const struct run *r, struct score *s)
{
	static double costs[MAX_CANDIDATES], plain[MAX_CANDIDATES], statics[MAX_CANDIDATES],
		statics_plain[MAX_CANDIDATES], last[MAX_CANDIDATES], ratio[MAX_FRAMES], error[MAX_FRAMES];
	static double shares[MAX_CANDIDATES];
	double o4_share = 0;
	unsigned o4_choice = r->local;

	*s = (struct score){0};
	memset(statics, 0, sizeof(statics));
	memset(shares, 0, sizeof(shares));
	memset(statics_plain, 0, sizeof(statics_plain));
	for (unsigned i = 0; i < r->n; i++) {
		const struct frame *f = &r->frames[i];
		const double before_ms = i ? r->frames[i - 1].at_ms : f->at_ms;
		const double o4_tau = true_tau(r, o4_choice, before_ms);

		for (unsigned k = 0; k < r->n_candidates; k++) {
			const struct candidate *c = &r->candidates[k];

			costs[k] = cost_ms(r, &r->noisy, k, f->at_ms);
			plain[k] = cost_ms(r, &r->plain, k, f->at_ms);
			statics[k] += hedged_ms(r, k, costs[k], true_tau(r, k, before_ms), &shares[k]);
			statics_plain[k] += costs[k];
			last[k] = c->local ? c->head_ms : c->head_ms + o4_tau * c->bytes + rest_ms(c);
		}
		const double best = costs[cheapest(costs, r->n_candidates)];
		s->oracle += best;
		s->ours += f->latency_ms;
		s->o2 += costs[cheapest(plain, r->n_candidates)];
		o4_choice = cheapest(last, r->n_candidates);
		s->o4 += hedged_ms(r, o4_choice, costs[o4_choice], o4_tau, &o4_share);
		s->within += f->latency_ms <= 1.05 * best;
		s->hedged += f->hedged;
		ratio[i] = f->latency_ms / best;
		if (f->clean)
			error[s->n_compared++] = fabs(f->latency_ms / costs[f->choice] - 1);
	}
	s->best_static = cheapest(statics, r->n_candidates);
	s->o3 = statics[s->best_static];
	s->o3_plain = statics_plain[cheapest(statics_plain, r->n_candidates)];
	s->p95 = perf_quantile(ratio, r->n, 0.95);
	s->within /= r->n;
	s->hedged /= r->n;
	if (s->n_compared) {
		s->error_p50 = perf_quantile(error, s->n_compared, 0.5);
		s->error_p95 = perf_quantile(error, s->n_compared, 0.95);
	}
}

/* ---- a plot of one run ---- */

static void plot(const struct perf *p, const struct run *r, const char *path)
{
	FILE *g = popen("gnuplot", "w");

	if (!g)
		perf_fail(p, "gnuplot does not run");
	fprintf(g, "$rate << EOD\n");
	for (unsigned i = 0; i < r->noisy.n; i++)
		fprintf(g, "%g %g\n", (double)r->noisy.begin_ns[i] * 1e-9, r->noisy.bps[i] * 1e-6);
	fprintf(g, "EOD\n$frames << EOD\n");
	for (unsigned i = 0; i < r->n; i++) {
		const struct frame *f = &r->frames[i];

		fprintf(g, "%g %g %d %g %s\n", f->at_ms * 1e-3, f->estimate_bps * 1e-6,
			r->candidates[f->choice].cut, f->latency_ms, f->hedged ? "1" : "NaN");
	}
	fprintf(g, "EOD\nset terminal svg size 1200,900 background rgb 'white'\nset output '%s'\n"
		   "set multiplot layout 3,1 title '%s' noenhanced\nset xrange [0:%g]\nset grid\n"
		   "set ylabel 'Mbit/s'\nset logscale y\n"
		   "plot $rate using 1:2 with steps lc rgb '#bbbbbb' title 'rate', "
		   "$frames using 1:2 with lines lw 2 title 'estimate'\n"
		   "unset logscale y\nset ylabel 'cut'\n"
		   "plot $frames using 1:3 with points pt 7 ps 0.3 title 'cut'\n"
		   "set ylabel 'latency, ms'\nset xlabel 's'\n"
		   "plot $frames using 1:4 with points pt 7 ps 0.3 title 'latency', "
		   "$frames using 1:($4*$5) with points pt 6 ps 0.6 title 'hedged'\nunset multiplot\n",
		path, r->name, LENGTH_NS * 1e-9);
	if (pclose(g))
		perf_fail(p, "%s: gnuplot failed", path);
}

/* ---- all traces ---- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static unsigned list_traces(const struct perf *p, const char *dir, char **names)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	unsigned n = 0;

	if (!d)
		perf_fail(p, "%s: no such directory; --traces or KERF_TEST_DATA tell where traces are", dir);
	while ((e = readdir(d)) && n < MAX_TRACES) {
		const char *dot = strrchr(e->d_name, '.');

		if (dot && strcmp(dot, ".csv") == 0)
			names[n++] = strdup(e->d_name);
	}
	closedir(d);
	qsort(names, n, sizeof(names[0]), by_name);
	return n;
}

/* False when nothing moves for half of the time: no scale makes a median of it. */
static bool prepare(const struct perf *p, const struct options *o, struct run *r, const char *name, unsigned number,
	const char *dir)
{
	struct kerf_linkem_trace t;
	struct kerf_err err = {0};
	char path[512];
	double median;

	free_rates(&r->plain);
	free_rates(&r->noisy);
	memset(r, 0, sizeof(*r));
	snprintf(r->name, sizeof(r->name), "%.*s", (int)strcspn(name, "."), name);
	snprintf(path, sizeof(path), "%s/%s", o->traces, name);
	if (kerf_linkem_trace_load(path, true, &t, &err) < 0)
		perf_fail(p, "%s", err.text);
	unroll(&t, &r->plain);
	kerf_linkem_trace_free(&t);
	median = median_bps(&r->plain);
	if (!(median > 0))
		return false;
	add_noise(&r->plain, MEDIAN_BPS / median, strtoull(o->seed, NULL, 10), number, &r->noisy);
	snprintf(path, sizeof(path), "%s/trace.csv", dir);
	write_rates(p, &r->noisy, path);
	return true;
}

static double growth(double a, double b)
{
	return 100 * (a / b - 1);
}

static void add_for_trace(struct perf *p, const char *trace, const char *what, double value, const char *unit,
	unsigned n)
{
	char name[192];

	snprintf(name, sizeof(name), "%s: %s", trace, what);
	perf_add(p, &(struct perf_figure){.name = name, .value = value, .unit = unit, .n = n, .quiet = true});
}

static void print_trace(struct perf *p, const struct run *r, const struct score *s)
{
	const struct candidate *c = &r->candidates[s->best_static];
	char best[32];

	snprintf(best, sizeof(best), c->local ? "local" : "#%d %s", c->cut, c->codec);
	printf("%-40s %6u %7.2f %6.3f %6.1f%% %6.2f %6.2f %8.2f %-9s %6.1f %6.1f%% %7.3f\n", r->name, r->n,
		growth(s->ours, s->oracle), s->p95, 100 * s->within, growth(s->o2, s->oracle),
		growth(s->o4, s->oracle), growth(s->o3, s->ours), best, 100 * r->switches / RUN_FRAMES,
		100 * s->hedged, 100 * s->error_p95);
	add_for_trace(p, r->name, "regret", growth(s->ours, s->oracle), "%", r->n);
	add_for_trace(p, r->name, "p95 of frame / oracle", s->p95, "", r->n);
	add_for_trace(p, r->name, "best static slower by", growth(s->o3, s->ours), "%", r->n);
	add_for_trace(p, r->name, "frames hedged", 100 * s->hedged, "%", r->n);
}

/* Geometric mean of values 1 + x/100, given as logarithms, as % again. */
static double mean_growth(const double *logs, unsigned n)
{
	double sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += logs[i];
	return 100 * (exp(sum / n) - 1);
}

/* 95% interval of the geometric mean, over traces drawn with replacement. */
static void bootstrap(const double *logs, unsigned n, double *low, double *high)
{
	static double means[RESAMPLES];
	double drawn[MAX_TRACES];
	struct kerf_rng rng = {.seed = 1};

	for (unsigned i = 0; i < RESAMPLES; i++) {
		for (unsigned k = 0; k < n; k++)
			drawn[k] = logs[(unsigned)(kerf_rng_uniform(&rng) * n)];
		means[i] = mean_growth(drawn, n);
	}
	*low = perf_quantile(means, RESAMPLES, 0.025);
	*high = perf_quantile(means, RESAMPLES, 0.975);
}

struct totals {
	double regret[MAX_TRACES], p95[MAX_TRACES], o2[MAX_TRACES], o3[MAX_TRACES], o3_plain[MAX_TRACES],
		o4[MAX_TRACES];
	double error_p50[MAX_TRACES], error_p95[MAX_TRACES];
	double bytes_up, probe_bytes;
	unsigned n;
};

static void add_total(struct totals *t, const struct run *r, const struct score *s)
{
	const unsigned i = t->n++;

	t->regret[i] = log(s->ours / s->oracle);
	t->p95[i] = log(s->p95);
	t->o2[i] = log(s->o2 / s->oracle);
	t->o3[i] = log(s->o3 / s->ours);
	t->o3_plain[i] = log(s->o3_plain / s->ours);
	t->o4[i] = log(s->o4 / s->oracle);
	t->error_p50[i] = 100 * s->error_p50;
	t->error_p95[i] = 100 * s->error_p95;
	t->bytes_up += r->bytes_up;
	t->probe_bytes += r->probe_bytes;
}

static void add(struct perf *p, const char *name, double value, const char *unit, unsigned n, enum perf_bound bound,
	double target)
{
	perf_add(p, &(struct perf_figure){.name = name, .value = value, .unit = unit, .n = n, .bound = bound,
			    .target = target});
}

static void summarise(struct perf *p, struct totals *t)
{
	double low, high;

	bootstrap(t->regret, t->n, &low, &high);
	add(p, "regret against the oracle (O1)", mean_growth(t->regret, t->n), "%", t->n, PERF_AT_MOST, 4);
	add(p, "  95% interval over traces, from", low, "%", t->n, PERF_NO_BOUND, 0);
	add(p, "  to", high, "%", t->n, PERF_NO_BOUND, 0);
	add(p, "p95 of frame / oracle", 1 + mean_growth(t->p95, t->n) / 100, "", t->n, PERF_AT_MOST, 1.25);
	add(p, "best static choice with hedge (O3) slower", mean_growth(t->o3, t->n), "%", t->n, PERF_AT_LEAST, 8);
	add(p, "best static choice without slower", mean_growth(t->o3_plain, t->n), "%", t->n, PERF_NO_BOUND, 0);
	add(p, "knows the trace, not the noise (O2): regret", mean_growth(t->o2, t->n), "%", t->n, PERF_NO_BOUND, 0);
	add(p, "last true rate with hedge (O4): regret", mean_growth(t->o4, t->n), "%", t->n, PERF_NO_BOUND, 0);
	add(p, "bytes up that are probes", 100 * t->probe_bytes / t->bytes_up, "%", t->n, PERF_AT_MOST, 5);
	add(p, "arithmetic against measured, p50", perf_quantile(t->error_p50, t->n, 1), "%", t->n, PERF_AT_MOST, 3);
	add(p, "arithmetic against measured, p95", perf_quantile(t->error_p95, t->n, 1), "%", t->n, PERF_AT_MOST, 10);
}

static void run_all(struct perf *p, const struct options *o, const char *dir, struct totals *t)
{
	static struct run r;
	char *names[MAX_TRACES];
	const unsigned n = list_traces(p, o->traces, names);

	printf("%-40s %6s %7s %6s %7s %6s %6s %8s %-9s %6s %7s %7s\n", "trace", "frames", "regret%", "p95",
		"in 5%", "O2", "O4", "O3 slower", "O3", "sw/100", "hedged", "err p95");
	for (unsigned i = o->odd ? 0 : 1; i < n; i += 2) {
		struct score s;

		if (p->quick && t->n == 3)
			break;
		if (!prepare(p, o, &r, names[i], i, dir)) {
			printf("%-40s left out: half of its time has no rate\n", r.name);
			continue;
		}
		start_lab(p, o, dir);
		read_json(p, &r, dir);
		read_frames(p, &r, dir);
		score_run(&r, &s);
		print_trace(p, &r, &s);
		if (o->plot && t->n == 0)
			plot(p, &r, o->plot);
		add_total(t, &r, &s);
	}
	free_rates(&r.plain);
	free_rates(&r.noisy);
	for (unsigned i = 0; i < n; i++)
		free(names[i]);
	if (!t->n)
		perf_fail(p, "%s: no trace", o->traces);
}

static void take_options(const struct perf *p, struct options *o, int *argc, char **argv)
{
	static char traces[512];
	const char *data = getenv("KERF_TEST_DATA"), *set;

	snprintf(traces, sizeof(traces), "%s/traces", data ? data : "../shared");
	*o = (struct options){.lab = "build/apps/kerf-lab", .conf = "conf/lab/default.ini", .traces = traces,
		.seed = "1"};
	perf_take_option(p, argc, argv, "--lab", &o->lab);
	perf_take_option(p, argc, argv, "--conf", &o->conf);
	perf_take_option(p, argc, argv, "--traces", &o->traces);
	perf_take_option(p, argc, argv, "--plot", &o->plot);
	perf_take_option(p, argc, argv, "--seed", &o->seed);
	while (o->n_settings < MAX_SETTINGS && perf_take_option(p, argc, argv, "--set", &set))
		o->settings[o->n_settings++] = set;
	o->odd = perf_take_flag(argc, argv, "--odd");
	perf_no_more_options(p, *argc, argv);
}

static void remove_files(const char *dir)
{
	static const char *const names[] = {"trace.csv", "out.json", "out.csv", "log"};
	char path[256];

	for (unsigned i = 0; i < KERF_ARRAY_LEN(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

int main(int argc, char **argv)
{
	static struct perf p;
	static struct totals t;
	struct options o;
	char dir[] = "/tmp/kerf-regret-XXXXXX";

	perf_begin(&p, "regret", usage, &argc, argv);
	take_options(&p, &o, &argc, argv);
	if (!mkdtemp(dir))
		perf_fail(&p, "%s: cannot be made", dir);
	run_all(&p, &o, dir, &t);
	remove_files(dir);
	summarise(&p, &t);
	return perf_end(&p);
}
