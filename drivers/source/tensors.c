#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "source/frames.h"
#include "source/npy.h"

/* [C][H][W], as ONNX orders a picture, to [H][W][C]. */
static void chw_to_hwc(const float *chw, size_t n_pixels, size_t channels, float *hwc)
{
	for (size_t c = 0; c < channels; c++)
		for (size_t i = 0; i < n_pixels; i++)
			hwc[i * channels + c] = chw[c * n_pixels + i];
}

/* Adds frame number i of a file, which is given as it lies there. */
static int add_tensor(struct kerf_source *s, const float *chw, size_t i, const char *path,
	struct kerf_err *err)
{
	size_t n_pixels = (size_t)s->options.width * s->options.height;
	float *values = malloc(kerf_frames_elements(s) * sizeof(*values));

	if (!values)
		return kerf_err_set(err, -ENOMEM, "%s: out of memory", path);
	chw_to_hwc(chw, n_pixels, s->options.channels, values);
	return kerf_frames_add(s, NULL, values, kerf_path_base(path), (long)i, err);
}

/* ---- .npy ---- */

static void format_shape(const struct kerf_npy *npy, char *buf, size_t len)
{
	size_t used = 0;

	buf[0] = '\0';
	for (int i = 0; i < npy->n_dims && used < len; i++)
		used += (size_t)snprintf(buf + used, len - used, "%s%lld", i ? "," : "",
			(long long)npy->dims[i]);
}

/* [N,C,H,W] or [C,H,W] of the source's size. */
static int check_shape(const struct kerf_source *s, const struct kerf_npy *npy,
	const char *path, struct kerf_err *err)
{
	const int64_t *chw = npy->dims + (npy->n_dims == 4);
	char found[128];

	if ((npy->n_dims == 4 || npy->n_dims == 3) && chw[0] == s->options.channels &&
		chw[1] == s->options.height && chw[2] == s->options.width)
		return 0;
	format_shape(npy, found, sizeof(found));
	return kerf_err_set(err, -EINVAL, "%s: shape [%s], expected [N,%u,%u,%u] or [%u,%u,%u]",
		path, found, s->options.channels, s->options.height, s->options.width,
		s->options.channels, s->options.height, s->options.width);
}

int kerf_read_npy(struct kerf_source *s, const char *path, struct kerf_err *err)
{
	struct kerf_npy npy;
	int rc = kerf_npy_read(path, &npy, err);

	if (rc < 0)
		return rc;
	rc = check_shape(s, &npy, path, err);
	size_t elements = kerf_frames_elements(s), n_frames = npy.elements / elements;
	for (size_t i = 0; i < n_frames && rc == 0 && !kerf_frames_full(s); i++)
		rc = add_tensor(s, npy.data + i * elements, i, path, err);
	free(npy.data);
	return rc;
}

/* ---- .f32 ---- */

static int count_frames(const struct kerf_source *s, FILE *f, const char *path, size_t *n_frames,
	struct kerf_err *err)
{
	size_t frame_bytes = kerf_frames_elements(s) * sizeof(float);
	struct stat st;

	if (fstat(fileno(f), &st) < 0)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (st.st_size <= 0 || (uint64_t)st.st_size % frame_bytes)
		return kerf_err_set(err, -EINVAL,
			"%s: %lld bytes, expected a multiple of %zu (%ux%ux%u float32)", path,
			(long long)st.st_size, frame_bytes, s->options.channels,
			s->options.height, s->options.width);
	*n_frames = (size_t)st.st_size / frame_bytes;
	return 0;
}

static int read_frames(struct kerf_source *s, FILE *f, size_t n_frames, const char *path,
	struct kerf_err *err)
{
	size_t elements = kerf_frames_elements(s);
	float *chw = malloc(elements * sizeof(*chw));
	int rc = chw ? 0 : kerf_err_set(err, -ENOMEM, "%s: out of memory", path);

	for (size_t i = 0; i < n_frames && rc == 0 && !kerf_frames_full(s); i++) {
		if (fread(chw, sizeof(*chw), elements, f) == elements)
			rc = add_tensor(s, chw, i, path, err);
		else
			rc = kerf_err_set(err, -EIO, "%s: cannot be read to its end", path);
	}
	free(chw);
	return rc;
}

int kerf_read_raw(struct kerf_source *s, const char *path, struct kerf_err *err)
{
	size_t n_frames = 0;
	FILE *f = fopen(path, "rb");

	if (!f)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	int rc = count_frames(s, f, path, &n_frames, err);
	if (rc == 0)
		rc = read_frames(s, f, n_frames, path, err);
	fclose(f);
	return rc;
}
