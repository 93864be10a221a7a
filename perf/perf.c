#include "perf.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <rte_version.h>

#define MAX_ROUNDS 1001

uint64_t perf_clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * KERF_NS_PER_S + (uint64_t)t.tv_nsec;
}

/* ---- options ---- */

void perf_usage(const struct perf *p, const char *arg, const char *what)
{
	fprintf(stderr, "kerf-perf-%s: %s: %s; --help tells the options\n", p->name, arg, what);
	exit(2);
}

static void print_help(const struct perf *p, const char *usage)
{
	printf("usage: kerf-perf-%s [--quick] [--json FILE]%s\n", p->name,
		usage ? " [options]" : "");
	printf("  --quick      fewer runs: less than 30 s\n"
	       "  --json FILE  write the figures as JSON\n%s%s",
		usage ? usage : "", usage ? "\n" : "");
	exit(0);
}

void perf_begin(struct perf *p, const char *name, const char *usage, int *argc, char **argv)
{
	int kept = 1;

	memset(p, 0, sizeof(*p));
	p->name = name;
	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], "--help") == 0) {
			print_help(p, usage);
		} else if (strcmp(argv[i], "--quick") == 0) {
			p->quick = true;
		} else if (strcmp(argv[i], "--json") == 0) {
			if (++i == *argc)
				perf_usage(p, "--json", "needs a file name");
			p->json = argv[i];
		} else {
			argv[kept++] = argv[i];
		}
	}
	*argc = kept;
	argv[kept] = NULL;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("kerf-perf-%s%s\n%-44s %12s %-10s %6s %5s  %-18s %7s  %s\n", name,
		p->quick ? " (quick)" : "", "figure", "value", "unit", "spread", "n", "peer",
		"ratio", "target");
}

static void take_away(int *argc, char **argv, int at, int n)
{
	memmove(&argv[at], &argv[at + n], (size_t)(*argc - at - n + 1) * sizeof(argv[0]));
	*argc -= n;
}

bool perf_take_option(const struct perf *p, int *argc, char **argv, const char *name, const char **value)
{
	for (int i = 1; i < *argc; i++) {
		if (strcmp(argv[i], name))
			continue;
		if (i + 1 == *argc)
			perf_usage(p, name, "needs a value");
		*value = argv[i + 1];
		take_away(argc, argv, i, 2);
		return true;
	}
	return false;
}

bool perf_take_flag(int *argc, char **argv, const char *name)
{
	for (int i = 1; i < *argc; i++)
		if (strcmp(argv[i], name) == 0) {
			take_away(argc, argv, i, 1);
			return true;
		}
	return false;
}

void perf_no_more_options(const struct perf *p, int argc, char **argv)
{
	if (argc > 1)
		perf_usage(p, argv[1], "not an option");
}

void perf_fail(const struct perf *p, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "kerf-perf-%s: ", p->name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

/* ---- figures ---- */

static double bounded(const struct perf_figure *f)
{
	return f->peer ? f->ratio : f->value;
}

static bool passes(const struct perf_figure *f)
{
	if (f->bound == PERF_AT_MOST)
		return bounded(f) <= f->target;
	if (f->bound == PERF_AT_LEAST)
		return bounded(f) >= f->target && isfinite(bounded(f));
	return true;
}

static void print_row(const struct perf_figure *f)
{
	char ratio[16] = "", spread[16] = "", target[48] = "";

	if (f->peer)
		snprintf(ratio, sizeof(ratio), "%.3f", f->ratio);
	if (f->spread > 0)
		snprintf(spread, sizeof(spread), "%.1f%%", 100 * f->spread);
	if (f->bound != PERF_NO_BOUND)
		snprintf(target, sizeof(target), "%s %.4g  %s",
			f->bound == PERF_AT_MOST ? "<=" : ">=", f->target,
			passes(f) ? "pass" : "MISS");
	printf("%-44s %12.4g %-10s %6s %5u  %-18s %7s  %s\n", f->name, f->value, f->unit, spread,
		f->n, f->peer ? f->peer : "", ratio, target);
}

void perf_add(struct perf *p, const struct perf_figure *f)
{
	struct perf_figure *to = &p->figures[p->n];

	if (p->n == PERF_MAX_FIGURES)
		perf_fail(p, "more than %d figures", PERF_MAX_FIGURES);
	p->n++;
	*to = *f;
	to->name = strdup(f->name);
	to->unit = strdup(f->unit ? f->unit : "");
	to->peer = f->peer ? strdup(f->peer) : NULL;
	p->missed |= !passes(to);
	if (!to->quiet)
		print_row(to);
}

/* ---- JSON ---- */

static void cpu_name(char *name, size_t len)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[256];

	snprintf(name, len, "unknown");
	while (f && fgets(line, sizeof(line), f)) {
		const char *colon = strchr(line, ':');

		if (strncmp(line, "model name", 10) || !colon)
			continue;
		snprintf(name, len, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
		break;
	}
	if (f)
		fclose(f);
}

static json_t *machine(void)
{
	struct utsname u;
	char cpu[128];

	cpu_name(cpu, sizeof(cpu));
	uname(&u);
	return json_pack("{s:s,s:i,s:s,s:s,s:s}", "cpu", cpu, "cpus",
		(int)sysconf(_SC_NPROCESSORS_ONLN), "kernel", u.release, "dpdk", rte_version(),
		"compiler", __VERSION__);
}

/* JSON has no infinities: what is not finite is null. */
static json_t *number(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *figure(const struct perf_figure *f)
{
	const bool bound = f->bound != PERF_NO_BOUND;

	return json_pack("{s:s,s:o,s:s,s:o,s:i,s:s?,s:o,s:o,s:s?,s:o}", "name", f->name, "value",
		number(f->value), "unit", f->unit, "spread", number(f->spread), "n", (int)f->n,
		"peer", f->peer, "ratio", f->peer ? number(f->ratio) : json_null(), "target",
		bound ? number(f->target) : json_null(), "bound",
		!bound                             ? NULL
			: f->bound == PERF_AT_MOST ? "at_most"
						   : "at_least",
		"pass", bound ? json_boolean(passes(f)) : json_null());
}

static void write_json(const struct perf *p)
{
	json_t *figures = json_array(), *root;

	for (unsigned i = 0; i < p->n; i++)
		json_array_append_new(figures, figure(&p->figures[i]));
	root = json_pack("{s:s,s:b,s:o,s:o}", "benchmark", p->name, "quick", p->quick, "machine",
		machine(), "figures", figures);
	if (!root || json_dump_file(root, p->json, JSON_INDENT(1)) < 0)
		perf_fail(p, "%s: cannot be written", p->json);
	json_decref(root);
}

int perf_end(struct perf *p)
{
	if (p->json)
		write_json(p);
	for (unsigned i = 0; i < p->n; i++) {
		free((char *)(uintptr_t)p->figures[i].name);
		free((char *)(uintptr_t)p->figures[i].unit);
		free((char *)(uintptr_t)p->figures[i].peer);
	}
	return p->missed;
}

void perf_fill(float *values, int64_t n)
{
	struct kerf_rng rng = {.seed = 1};

	for (int64_t i = 0; i < n; i++)
		values[i] = (float)(4 * kerf_rng_uniform(&rng) - 2);
}

/* ---- statistics ---- */

static int ascending(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double perf_quantile(double *values, unsigned n, double q)
{
	const double rank = ceil(q * n);

	qsort(values, n, sizeof(*values), ascending);
	return values[rank < 1 ? 0 : (unsigned)rank - 1];
}

double perf_spread(double *values, unsigned n)
{
	const double median = perf_quantile(values, n, 0.5);

	return (perf_quantile(values, n, 0.75) - perf_quantile(values, n, 0.25)) / median;
}

static double timed(void (*f)(void *), void *arg)
{
	const uint64_t start = perf_clock_ns();

	f(arg);
	return (double)(perf_clock_ns() - start);
}

void perf_pair_run(void (*a)(void *), void *a_arg, void (*b)(void *), void *b_arg, unsigned rounds,
	struct perf_pair *out)
{
	double a_ns[MAX_ROUNDS], b_ns[MAX_ROUNDS], ratio[MAX_ROUNDS];
	const unsigned n = KERF_MIN(KERF_MAX(rounds, 1u), (unsigned)MAX_ROUNDS);

	a(a_arg);
	b(b_arg);
	for (unsigned i = 0; i < n; i++) {
		if (i % 2)
			b_ns[i] = timed(b, b_arg);
		a_ns[i] = timed(a, a_arg);
		if (i % 2 == 0)
			b_ns[i] = timed(b, b_arg);
		ratio[i] = a_ns[i] / b_ns[i];
	}
	*out = (struct perf_pair){
		.a_ns = perf_quantile(a_ns, n, 0.5),
		.b_ns = perf_quantile(b_ns, n, 0.5),
		.ratio = perf_quantile(ratio, n, 0.5),
		.spread = perf_spread(ratio, n),
		.n = n,
	};
}
