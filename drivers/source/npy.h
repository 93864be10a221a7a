/*
 * npy: float32 tensors in NumPy's file format.
 *
 *	const int64_t dims[] = {1, 1000};
 *	kerf_npy_write("out.npy", dims, 2, probabilities, &err);
 *
 * Version 1.0 of the format (numpy.lib.format), '<f4' in C order, which is what numpy.save
 * writes for a float32 array. Everything else is refused with a line that says what was found.
 */
#pragma once

#include "core/core.h"

#define KERF_NPY_MAX_DIMS 8

struct kerf_npy {
	int n_dims; /* 0 = a single value */
	int64_t dims[KERF_NPY_MAX_DIMS];
	size_t elements;
	float *data;
};

/* The caller frees npy->data. 0 or -errno. */
int kerf_npy_read(const char *path, struct kerf_npy *npy, struct kerf_err *err);

/* 0 or -errno; what an error leaves behind is too short for its header and is refused above. */
int kerf_npy_write(const char *path, const int64_t *dims, int n_dims, const float *data,
	struct kerf_err *err);
