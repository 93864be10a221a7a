/*
 * rows: the elementwise kernels that oneDNN does badly or not at all, over rows of f32.
 *
 * One source (rows.inc) is compiled for each instruction set through a small set of vector words.
 * The order of operations is the same everywhere and every multiply-add is an explicit fused one,
 * so all variants give the same bits: the scalar one is the twin that tests compare with.
 *
 * x and y may be the same row; otherwise rows do not overlap. No alignment is asked for.
 */
#pragma once

#include "graph/graph.h"

/* A pooling window: `rows` x `columns` places in steps of so many floats. */
struct kerf_window {
	size_t rows, columns, row_step, column_step;
	float scale; /* average: 1 / number of places that count */
};

struct kerf_rows {
	const char *isa;
	bool (*is_supported)(void);
	void (*act)(const struct kerf_act *act, const float *x, float *y, size_t n);
	void (*add)(const float *a, const float *b, float *y, size_t n);
	void (*mul)(const float *a, const float *b, float *y, size_t n);
	/* so many rows of n, each times the same b: squeeze-and-excite's, of few channels */
	void (*mul_rows)(const float *a, const float *b, float *y, size_t rows, size_t n);
	void (*add_one)(const float *a, float b, float *y, size_t n); /* the same b for all */
	void (*mul_one)(const float *a, float b, float *y, size_t n);
	/* y = the larger of x * scale + shift and lo, which may be -INFINITY */
	void (*scale_shift)(const float *x, const float *scale, const float *shift, float lo, float *y, size_t n);
	/* Nearest, ties to even. */
	void (*to_bf16)(const float *x, uint16_t *y, size_t n);
	/* x * inverse within lo and hi, whole numbers of 8 bits; nearest, ties to even; a NaN becomes lo. */
	void (*to_int8)(const float *x, float inverse, float lo, float hi, uint8_t *y, size_t n);
	/* Mean 0 and variance 1 (with epsilon added to the variance), then times scale, plus bias; either may be NULL. */
	void (*normalise)(const float *x, const float *scale, const float *bias, float epsilon, float *y, size_t n);
	/* y[c] = the sum over t of weights[t] * x[indices[t] * n + c]; an index of -1 stands for n times this value. */
	void (*blend)(const float *x, const int32_t *indices, const float *weights, size_t taps, float value, float *y, size_t n);
	/* y[c] = scale * sum over the window of x[c]; row sums first, then their sum. */
	void (*average)(const struct kerf_window *w, const float *x, float *y, size_t n);
	/* y[c] = the largest x[c] in the window */
	void (*maximum)(const struct kerf_window *w, const float *x, float *y, size_t n);
};

/* Activations from KERF_ACT_ABS on, which few networks use: the C library's functions, in every variant. */
void kerf_rows_library(const struct kerf_act *act, const float *x, float *y, size_t n);

extern const struct kerf_rows kerf_rows_avx512, kerf_rows_avx2, kerf_rows_scalar;

/* The i-th variant that this CPU runs, best first; NULL past the end. */
const struct kerf_rows *kerf_rows_variant(unsigned i);
/* The best, chosen once. */
const struct kerf_rows *kerf_rows(void);
