/* What inspect has found out, and its two ways to show it. */
#pragma once

#include "model_common.h"

struct inspect_options {
	struct model_options open;
	const char *profile; /* recorded times, NULL = measure */
	const char *plot; /* path of an SVG, NULL = none */
	uint64_t rounds;
	bool json, block, all;
};

struct inspection {
	const struct inspect_options *options;
	const struct model *m; /* natural and useful are by block with .block */
	const struct kerf_profile *times;
	double macs;
	/* Bytes in RAM when it was loaded; of programs and libraries: files, and what libraries took at the start. */
	size_t resident, programs;
};

/* The cut is to be shown. */
bool inspect_shows(const struct inspection *in, unsigned k);
unsigned inspect_natural(const struct inspection *in); /* how many */

void inspect_print_table(const struct inspection *in);
/* Writes the SVG; -EIO when that or gnuplot fails. */
int inspect_plot(const struct inspection *in, const char *path, struct kerf_err *err);
int inspect_print_json(const struct inspection *in, struct kerf_err *err);
