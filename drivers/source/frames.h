/*
 * frames: inside of a source, shared by the readers of its kinds.
 *
 * A reader is handed a growing source and adds frames until it has all of them or kerf_frames_full
 * says stop. Memory that it adds belongs to the source from then on.
 */
#pragma once

#include "source/source.h"

/* What a source may hold at most; without a limit a long video would fill the memory. */
#define KERF_SOURCE_MAX_BYTES (2ull << 30)

struct kerf_source {
	struct kerf_source_options options; /* defaults filled in; .path is not kept */
	struct kerf_frame_data *frames;
	unsigned count, capacity;
	size_t jpeg_bytes; /* of all frames */
	char warning[256];
};

/* Values of a frame. */
size_t kerf_frames_elements(const struct kerf_source *s);

/* True when the limit is reached; at KERF_SOURCE_MAX_BYTES it leaves a warning, too. */
bool kerf_frames_full(struct kerf_source *s);

/*
 * Adds a frame that owns pixels or values (malloc; the other is NULL), also when it fails. The
 * name is "base", or "base#number" for number >= 0. 0 or -ENOMEM.
 */
int kerf_frames_add(struct kerf_source *s, uint8_t *pixels, float *values, const char *base,
	long number, struct kerf_err *err);

/* Readers; each names the path in its errors. 0 or -errno; count may stay 0. */
int kerf_read_synthetic(struct kerf_source *s, struct kerf_err *err);
int kerf_read_npy(struct kerf_source *s, const char *path, struct kerf_err *err);
int kerf_read_raw(struct kerf_source *s, const char *path, struct kerf_err *err);
/* A picture or a video; an error comes only when there is no good frame at all. */
int kerf_read_media(struct kerf_source *s, const char *path, struct kerf_err *err);
int kerf_read_directory(struct kerf_source *s, const char *path, struct kerf_err *err);

/* The part of a path behind its last '/'. */
const char *kerf_path_base(const char *path);
/* Is ".ext" how the path ends, in small or capital letters? */
bool kerf_path_has_extension(const char *path, const char *ext);
