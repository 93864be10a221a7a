/*
 * perf: what every benchmark shares: options, a clock, medians, paired runs, a table and JSON.
 *
 *	int main(int argc, char **argv)
 *	{
 *		struct perf p;
 *		struct perf_pair r;
 *
 *		perf_begin(&p, "codec", NULL, &argc, argv); // takes --json F, --quick, --help
 *		perf_pair_run(encode, &e, copy, &c, p.quick ? 11 : 51, &r);
 *		perf_add(&p, &(struct perf_figure){.name = "q8 encode", .value = bytes / r.a_ns,
 *			.unit = "GB/s", .spread = r.spread, .n = r.n, .peer = "memcpy",
 *			.ratio = r.b_ns / r.a_ns, .bound = PERF_AT_LEAST, .target = 0.7});
 *		return perf_end(&p);
 *	}
 *
 * Two things are compared only within one run, in alternating order, because the machine changes
 * between runs. Exit codes: 0, 1 = a figure misses its target, 2 = wrong usage.
 */
#pragma once

#include "core/core.h"

#define PERF_MAX_FIGURES 512

enum perf_bound {
	PERF_NO_BOUND,
	PERF_AT_MOST,
	PERF_AT_LEAST,
};

struct perf_figure {
	const char *name;
	double value;
	const char *unit; /* of value: "ns/packet", "GB/s", "" */
	double spread; /* of the runs behind it: (p75 - p25) / median; 0 = not known */
	unsigned n; /* runs behind it */
	const char *peer; /* what it is compared with; NULL = nothing */
	double ratio; /* kerf against the peer; of no meaning without one */
	/* The bound is on ratio where there is a peer, else on value. */
	enum perf_bound bound;
	double target;
	bool quiet; /* in the JSON only: the benchmark prints a table of its own */
};

struct perf {
	const char *name;
	const char *json; /* path, NULL = none */
	bool quick; /* the whole benchmark in less than 30 s */
	struct perf_figure figures[PERF_MAX_FIGURES]; /* texts are copies, owned */
	unsigned n;
	bool missed;
};

/* Takes the common options out of argv; wrong ones that start like them end the program with 2.
 * Options of the benchmark's own stay, in order. usage: one line each for --help, or NULL. */
void perf_begin(struct perf *p, const char *name, const char *usage, int *argc, char **argv);
/* One line on what is wrong with an option, exit 2. */
void perf_usage(const struct perf *p, const char *option, const char *what) __attribute__((noreturn));
/* Takes "name value" out of argv, once; false when it is not there, exit 2 when the value is not. */
bool perf_take_option(const struct perf *p, int *argc, char **argv, const char *name, const char **value);
bool perf_take_flag(int *argc, char **argv, const char *name);
/* What argv still holds beyond argv[0] is wrong usage: one line, exit 2. */
void perf_no_more_options(const struct perf *p, int argc, char **argv);
/* Adds a figure and prints its row. A value that is not finite misses every target. */
void perf_add(struct perf *p, const struct perf_figure *f);
/* Writes the JSON; returns the exit code. */
int perf_end(struct perf *p);
/* One line on stderr, exit 1: the benchmark cannot run. */
void perf_fail(const struct perf *p, const char *fmt, ...)
	__attribute__((format(printf, 2, 3), noreturn));

/* Values as pictures have them after preprocessing: zeros would flatter nobody but the cache. */
void perf_fill(float *values, int64_t n);

uint64_t perf_clock_ns(void); /* CLOCK_MONOTONIC */

/* Quantile q in [0,1] by nearest rank, 0.5 = median; sorts values. n >= 1. */
double perf_quantile(double *values, unsigned n, double q);
/* (p75 - p25) / median; sorts values. */
double perf_spread(double *values, unsigned n);

struct perf_pair {
	double a_ns, b_ns; /* medians */
	double ratio; /* median over rounds of a / b */
	double spread; /* of those ratios */
	unsigned n;
};

/* Times a and b once each a round, whichever went first last time going second, after one round
 * that does not count. At most 1001 rounds. */
void perf_pair_run(void (*a)(void *), void *a_arg, void (*b)(void *), void *b_arg, unsigned rounds,
	struct perf_pair *out);
