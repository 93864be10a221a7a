/*
 * source: frames for the device: pictures, videos, raw tensors or seeded noise.
 *
 *	struct kerf_source_options o = {.path = "cockatoo.mp4", .width = 224, .height = 224,
 *		.channels = 3, .resize = KERF_RESIZE_CROP};
 *	struct kerf_source *s = kerf_source_open(&o, &err);
 *	const struct kerf_frame_data *f = kerf_source_frame(s, i % kerf_source_count(s));
 *	kerf_pixels_to_f32(&format, f->pixels, 0, 224 * 224 * 3, input);
 *	kerf_source_close(s);
 *
 * Invariants: everything is read, decoded and scaled in kerf_source_open, so reading a frame
 * costs nothing and never blocks. A source has at least one frame; its frames are all
 * pixels or all values, of the size that the options give, dense in NHWC (N is 1). Frames are
 * read-only: any number of threads may read them. The source owns them until it is closed.
 */
#pragma once

#include "core/core.h"

/* Frames of "synthetic" when no limit is given. */
#define KERF_SOURCE_SYNTHETIC_FRAMES 16
#define KERF_SOURCE_DEFAULT_CROP 0.875

enum kerf_resize {
	KERF_RESIZE_STRETCH, /* the whole picture, whatever its shape */
	KERF_RESIZE_CROP,    /* a centred square first: .crop of the shorter side */
};

struct kerf_source_options {
	/*
	 * What to read:
	 *	synthetic	uniform random pixels; frame i depends on the seed and i only
	 *	a directory	its pictures in the byte order of their names
	 *	*.npy		float32 of shape [N,C,H,W] or [C,H,W]: N frames of values
	 *	*.f32		raw little-endian float32 in the same order, any number of frames
	 *	any other file	a picture or a video, by its content (FFmpeg)
	 */
	const char *path;
	unsigned width, height, channels; /* of every frame; pictures have 1 (grey), 3 or 4 */
	enum kerf_resize resize;
	double crop;    /* 0 < crop <= 1; 0 = KERF_SOURCE_DEFAULT_CROP */
	bool bgr;       /* pictures: blue first, as networks trained with Caffe want it */
	uint64_t seed;  /* synthetic */
	unsigned limit; /* frames kept; 0 = all */
};

/* One frame; exactly one of pixels and values is set. */
struct kerf_frame_data {
	const uint8_t *pixels; /* [height][width][channels] */
	const float *values;   /* likewise */
	/* Pixels of a JPEG, or of a frame of Motion JPEG: the bytes that kerf_jpeg_decode makes just these pixels of. */
	const uint8_t *jpeg; /* NULL = there are none */
	size_t jpeg_bytes;
	const char *name;      /* "cat.bmp", "cockatoo.mp4#12", "x.npy#0", "synthetic#3" */
};

struct kerf_source;

/*
 * Reads all frames. Pictures are scaled with an antialiased triangle filter (bilinear that widens
 * when it shrinks); alpha, rotation and colour profiles are ignored. NULL on error: the line
 * names the file and what is wrong with it.
 */
struct kerf_source *kerf_source_open(const struct kerf_source_options *options,
	struct kerf_err *err);
void kerf_source_close(struct kerf_source *s); /* NULL is allowed */

unsigned kerf_source_count(const struct kerf_source *s);
/* i < kerf_source_count(s). */
const struct kerf_frame_data *kerf_source_frame(const struct kerf_source *s, unsigned i);

/*
 * One line to show when the source is not all that its file promised: a video that breaks off
 * gives the frames before that. NULL when all is well.
 */
const char *kerf_source_warning(const struct kerf_source *s);

/* ---- JPEG by itself: for who receives a picture as the file it comes from ---- */

struct kerf_jpeg;

/* Width, height, channels, resize, crop and bgr of the options count. NULL on error. */
struct kerf_jpeg *kerf_jpeg_open(const struct kerf_source_options *options, struct kerf_err *err);
void kerf_jpeg_close(struct kerf_jpeg *j); /* NULL is allowed */
/* pixels: height * width * channels bytes. 0, or -EBADMSG for what is no whole JPEG. One thread at a time. */
int kerf_jpeg_decode(struct kerf_jpeg *j, const uint8_t *jpeg, size_t n, uint8_t *pixels);
/* Two machines with the same key make the same pixels of a JPEG: FFmpeg's versions and the options are in it. Never 0. */
uint64_t kerf_jpeg_key(const struct kerf_source_options *options);
