/*
 * onnxruntime: runs a network in ONNX Runtime, to compare with. The library is opened at run time; npm's onnxruntime-node
 * brings one (https://onnxruntime.ai/docs/api/c/struct_ort_api.html).
 *
 *	struct ort *o = ort_open("libonnxruntime.so.1", &err);
 *	struct ort_network *n = ort_load(o, "model.onnx", threads, n_dims, dims, input, &err);
 *	ort_run(n, &err);                           // input's values as they are now
 *	for (unsigned i = 0; i < ort_outputs(n); i++)
 *		values = ort_output(n, i, &elements);  // until the next run
 */
#pragma once

#include "core/core.h"

struct ort;
struct ort_network;

/* NULL on error. */
struct ort *ort_open(const char *library, struct kerf_err *err);
void ort_close(struct ort *o);
const char *ort_version(const struct ort *o);

/* All optimisations, operators one after another, so many threads in each. input is f32 in ONNX order, borrowed. */
struct ort_network *ort_load(struct ort *o, const char *path, unsigned threads, int n_dims, const int64_t *dims,
	float *input, struct kerf_err *err);
void ort_unload(struct ort_network *n);
/* 0 or -EIO. */
int ort_run(struct ort_network *n, struct kerf_err *err);
unsigned ort_outputs(const struct ort_network *n);
/* f32 in ONNX order; NULL when that output is of another kind. */
const float *ort_output(const struct ort_network *n, unsigned i, size_t *elements);
