/*
 * direct: convolution by our own loops, where oneDNN leaves multiply-adds unused. NHWC.
 *
 * A tile is a few output places of a few vectors of channels, whose sums stay in registers while an input channel after
 * the other is broadcast and multiplied with weights. One source (direct.inc) is compiled for each instruction set.
 * Weights lie in the order in which they are read, and what the next tiles need is fetched by the way: in late layers
 * the weights are all of the memory traffic, and oneDNN waits for them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "graph/graph.h"

#define DIRECT_MAX_PLACES 7
#define DIRECT_PACK 16 /* lanes at once: a cache line of what is read, and of what is written with AVX-512 */

struct kerf_direct;
struct kerf_direct_tile;

/* The tiles of one instruction set. */
struct kerf_direct_code {
	int lanes;           /* of a vector */
	int vectors, places; /* of a tile at most */
	void (*run)(const struct kerf_direct *d, const struct kerf_direct_tile *t);
	/* n of them one behind the other from x[0] and y[0] on, x_row and y_row from place to place; windows of one place. */
	void (*run_line)(const struct kerf_direct *d, const struct kerf_direct_tile *t, int64_t n);
};

extern const struct kerf_direct_code kerf_direct_avx512, kerf_direct_avx2;

/* The one for this CPU, or NULL. */
const struct kerf_direct_code *kerf_direct_code(void);
/* Which nodes are worth tiles differs between AMD's cores and the others, and so do the bits of a network (fingerprint.c). */
bool kerf_direct_is_amd(void);

/* Activations that tiles do to their results, beside limits. */
bool kerf_direct_takes_along(enum kerf_act_kind act);

/* Sizes in elements. pads: top, left; what lies below and to the right follows from the sizes. */
struct kerf_direct {
	const struct kerf_direct_code *code;
	int64_t n, h, w, out_h, out_w, oc;
	int64_t ic;     /* input channels that an output channel is a sum of: all, or a group of them */
	int64_t in_row; /* floats from place to place of the input, */
	int64_t x_row;  /* and where tiles read: with groups the padded rows hold what one tile reads */
	int64_t y_row, y_first; /* floats from place to place of the output, and in front of the first */
	int64_t row;    /* floats in a padded row */
	int64_t band;   /* output rows that one part works through */
	int64_t room;   /* floats of the padded rows that a band reads */
	int64_t groups; /* of whole vectors of output channels: one is a tile's width */
	int64_t block;  /* input channels that all tiles of a band go through before the next ones */
	int64_t ahead;  /* bytes behind the weights that later steps wait for: to be fetched as well */
	int kernel[2], strides[2], dilations[2], pads[2];
	bool apart;      /* each vector of output channels reads a vector of input channels of its own */
	bool padded;     /* operand 4 is such room for each thread */
	bool accumulate; /* onto what lies in the output */
	float lo, hi;    /* limits of the result, */
	enum kerf_act_kind act; /* and what is done to it: KERF_ACT_NONE, or one that kerf_direct_takes_along */
};

/* One tile's way through a block of input channels. */
struct kerf_direct_tile {
	const float *x[DIRECT_MAX_PLACES];
	float *y[DIRECT_MAX_PLACES];
	int places;
	int channels; /* of the output; weights and bias go on with zeros up to the next whole vector */
	int n_inputs;
	const float *weights, *bias; /* no bias: zeros */
	bool first, last;  /* of the blocks */
	uint64_t skip;     /* taps of the window that see only pads: bit ky * kernel[1] + kx */
	const char *fetch; /* memory to fetch ahead, so many bytes for each input channel and place of the window */
	int64_t fetch_step;
};
