/*
 * Calibration: what a precision and a codec at a cut cost in accuracy, on pictures, and the values that int8 has to cover.
 * kerf-model calibrate writes it, the plan of kerf-device and kerf-lab obeys it.
 *
 *	{"model", "digest", "images", "precision", "agreement", "error", "speedup",
 *	 "cuts": [{"cut", "codec", "agreement", "error"}], "ranges": [{"tensor", "lo", "hi"}]}
 *
 * Agreement and error compare with the unsplit run in f32. Without "precision": f32.
 */
#pragma once

#include "node/node.h"

struct app_calibration_entry {
	unsigned cut;
	int codec;
	double agreement; /* share of pictures whose top class stays the same */
	double error; /* largest difference of an output, relative to the largest output */
};

struct app_calibration {
	struct app_calibration_entry *entries; /* ascending cuts */
	unsigned n, capacity;
	unsigned images;
	enum kerf_precision precision;
	double agreement, error, speedup; /* of the unsplit run in that precision; speedup: f32's time / its time */
	struct kerf_range *ranges; /* of the graph's tensors; NULL = none */
	int n_ranges;
};

/* Ranges of n tensors, all empty. -ENOMEM. */
int app_calibration_add_ranges(struct app_calibration *c, int n);

int app_calibration_add(struct app_calibration *c, unsigned cut, int codec);
/* NULL when the file says nothing about them. */
const struct app_calibration_entry *app_calibration_find(const struct app_calibration *c,
	unsigned cut, int codec);
int app_calibration_save(const struct app_calibration *c, const struct kerf_graph *g,
	const char *path, struct kerf_err *err);
/* Refuses a file made for another network. */
int app_calibration_load(struct app_calibration *c, const struct kerf_graph *g, const char *path,
	struct kerf_err *err);
/*
 * What a network needs to compute in a precision: loads the file, if there is one (NULL or ""), and refuses a precision that
 * it was not made for. int8 can do without when the network itself says how it is quantised. Two ends have to multiply alike:
 * another precision, or other ranges, make g another network, "NAME in int8".
 */
int app_calibration_open(struct app_calibration *c, struct kerf_graph *g, const char *path, enum kerf_precision precision,
	struct kerf_err *err);
void app_calibration_free(struct app_calibration *c);
