/*
 * Calibration: what a codec costs in accuracy at a cut, on pictures. kerf-model calibrate writes it, the
 * plan of kerf-device and kerf-lab obeys it.
 *
 *	{"model", "digest", "images", "cuts": [{"cut", "codec", "agreement", "error"}]}
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
};

int app_calibration_add(struct app_calibration *c, unsigned cut, int codec);
/* NULL when the file says nothing about them. */
const struct app_calibration_entry *app_calibration_find(const struct app_calibration *c,
	unsigned cut, int codec);
int app_calibration_save(const struct app_calibration *c, const struct kerf_graph *g,
	const char *path, struct kerf_err *err);
/* Refuses a file made for another network. */
int app_calibration_load(struct app_calibration *c, const struct kerf_graph *g, const char *path,
	struct kerf_err *err);
void app_calibration_free(struct app_calibration *c);
