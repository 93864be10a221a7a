/*
 * scale: one decoded picture of any pixel format to the pixels of a frame.
 *
 * swscale converts it to packed RGB at full size, with chroma interpolated, so that a crop may
 * start at any pixel; resample.h cuts and scales.
 */
#pragma once

#include <libavutil/frame.h>
#include <libswscale/swscale.h>

#include "source/resample.h"
#include "source/source.h"

struct scaler {
	const struct kerf_source_options *options;
	struct SwsContext *to_packed;
	AVFrame *packed; /* the whole picture: RGB24, BGR24, RGBA, BGRA or GRAY8 */
	struct kerf_resample_axis x, y;
	float *scratch;
	size_t scratch_len; /* floats */
};

/* Zero-initialise, set options. Plans are kept from picture to picture while the size stays. */
void kerf_scaler_release(struct scaler *z);

/* pixels: height * width * channels bytes. 0, or a negative AVERROR (an errno is one). */
int kerf_scaler_run(struct scaler *z, const AVFrame *picture, uint8_t *pixels);
