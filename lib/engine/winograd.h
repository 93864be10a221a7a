/*
 * winograd: convolution of stride 1 by Winograd's minimal filtering, F(4x4, 3x3), F(2x2, 3x3) and F(2x2, 5x5). NHWC, one group.
 *
 * A patch of side^2 inputs gives size^2 outputs. Patches and weights are transformed so that each of their points is multiplied
 * on its own: 36 products for 16 outputs instead of 144, 16 for 4 instead of 36, 36 for 4 instead of 100. For each point
 * the products over all patches and channels are one matrix product, which is the tiles' of direct.h.
 * A value that is not finite makes all outputs of its patch so.
 * A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016 (arXiv:1509.09308).
 */
#pragma once

#include "engine/direct.h"

/*
 * 6x6 patches are evaluated at 0, +-P, +-Q and infinity. Of the pairs tried these give the smallest errors, a third of those
 * of the paper's 1 and 2 (perf/NOTES.md). Their powers below are exact in float.
 */
#define WINOGRAD_P 0.6875
#define WINOGRAD_Q 1.5
#define WINOGRAD_P2 (WINOGRAD_P * WINOGRAD_P)
#define WINOGRAD_Q2 (WINOGRAD_Q * WINOGRAD_Q)

#define WINOGRAD_MAX_SIZE 4
#define WINOGRAD_MAX_TAPS 5
#define WINOGRAD_MAX_SIDE 6

/*
 * F(size x size, taps x taps), of patches of side x side, size + taps - 1; all 0 for none. Late: weights take no more memory than
 * in the file, and each run transforms them; 3 taps only.
 */
struct kerf_winograd_form {
	int size, taps, side;
	bool late;
};

struct kerf_winograd;

/* The transforms of one instruction set. */
struct kerf_winograd_code {
	/* A patch of all input channels, `row` floats from line to line, into its row of each point's matrix. */
	void (*input)(const struct kerf_winograd *w, const float *x, int64_t row, float *to);
	/* Its row of each point's products, with bias, residual and limits, into the rows x columns of y that exist. */
	void (*output)(const struct kerf_winograd *w, const float *from, const float *bias, int rows, int columns, float *y);
	/* The windows of one input channel for DIRECT_PACK outputs, `tap` floats from place to place, into the lanes of each point. */
	void (*weights)(struct kerf_winograd_form f, const float *window, int64_t tap, int64_t n_lanes, int64_t plane, float *to);
	/* Late ones of one group of outputs: [ic][3 * 3][width] into [point][ic][width], whole vectors wide. */
	void (*late)(struct kerf_winograd_form f, const float *from, int64_t ic, int64_t width, float *to);
};

extern const struct kerf_winograd_code kerf_winograd_avx512, kerf_winograd_avx2;

struct kerf_winograd {
	const struct kerf_winograd_code *code;
	struct kerf_winograd_form form;
	struct kerf_direct conv;        /* its sizes, pads, output and limits */
	struct kerf_direct product;     /* of one point: its places are patches, an output row has whole vectors */
	int64_t down, across;           /* patches of an image */
	int64_t parts;                  /* of all patches, about equal */
	int64_t x_point, y_point; /* floats: a point's matrix of inputs, of products; */
	int64_t late, room;       /* late weights of the widest group; what a thread needs */
};
