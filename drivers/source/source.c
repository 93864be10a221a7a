#include <assert.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "source/frames.h"

/* Frames of one network input; more is a mistake in the shape. */
#define MAX_SIDE 16384
#define MAX_CHANNELS 65536

/* ---- the list of frames ---- */

size_t kerf_frames_elements(const struct kerf_source *s)
{
	return (size_t)s->options.width * s->options.height * s->options.channels;
}

bool kerf_frames_full(struct kerf_source *s)
{
	size_t frame_bytes = kerf_frames_elements(s);

	if (s->options.limit && s->count >= s->options.limit)
		return true;
	if (s->count && s->frames[0].values)
		frame_bytes *= sizeof(float);
	if ((s->count + 1ull) * frame_bytes + s->jpeg_bytes <= KERF_SOURCE_MAX_BYTES)
		return false;
	snprintf(s->warning, sizeof(s->warning),
		"kept the first %u frames only: a source holds up to 2 GiB", s->count);
	return true;
}

static int reserve(struct kerf_source *s)
{
	if (s->count < s->capacity)
		return 0;
	unsigned capacity = s->capacity ? 2 * s->capacity : 16;
	struct kerf_frame_data *frames = realloc(s->frames, capacity * sizeof(*frames));
	if (!frames)
		return -ENOMEM;
	s->frames = frames;
	s->capacity = capacity;
	return 0;
}

int kerf_frames_add(struct kerf_source *s, uint8_t *pixels, float *values, const char *base,
	long number, struct kerf_err *err)
{
	char *name = NULL;
	int printed = number < 0 ? asprintf(&name, "%s", base)
				 : asprintf(&name, "%s#%ld", base, number);

	assert(!pixels != !values);
	if (printed < 0 || reserve(s) < 0) {
		free(printed < 0 ? NULL : name);
		free(pixels);
		free(values);
		return kerf_err_set(err, -ENOMEM, "%s: out of memory", base);
	}
	s->frames[s->count++] =
		(struct kerf_frame_data){.pixels = pixels, .values = values, .name = name};
	return 0;
}

/* ---- kinds ---- */

const char *kerf_path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool kerf_path_has_extension(const char *path, const char *ext)
{
	const char *dot = strrchr(kerf_path_base(path), '.');

	return dot && !strcasecmp(dot + 1, ext);
}

int kerf_read_synthetic(struct kerf_source *s, struct kerf_err *err)
{
	size_t n = kerf_frames_elements(s);

	if (!s->options.limit)
		s->options.limit = KERF_SOURCE_SYNTHETIC_FRAMES;
	while (!kerf_frames_full(s)) {
		uint8_t *pixels = malloc(n);
		if (!pixels)
			return kerf_err_set(err, -ENOMEM, "synthetic: out of memory");
		for (size_t at = 0; at < n; at += 16) {
			uint32_t block[4];
			kerf_rng_block(s->options.seed, s->count, at / 16, block);
			memcpy(pixels + at, block, KERF_MIN(n - at, sizeof(block)));
		}
		int rc = kerf_frames_add(s, pixels, NULL, "synthetic", (long)s->count, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int is_picture(const struct dirent *entry)
{
	static const char *const extensions[] = {"bmp", "png", "jpg", "jpeg", "ppm", "pgm", "webp",
		"tif", "tiff"};

	if (entry->d_name[0] == '.')
		return 0;
	for (size_t i = 0; i < KERF_ARRAY_LEN(extensions); i++)
		if (kerf_path_has_extension(entry->d_name, extensions[i]))
			return 1;
	return 0;
}

/* Not alphasort, whose order depends on the locale. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_directory_entry(struct kerf_source *s, const char *directory, const char *name,
	struct kerf_err *err)
{
	char *path;

	if (asprintf(&path, "%s/%s", directory, name) < 0)
		return kerf_err_set(err, -ENOMEM, "%s: out of memory", directory);
	int rc = kerf_read_media(s, path, err);
	free(path);
	return rc;
}

int kerf_read_directory(struct kerf_source *s, const char *path, struct kerf_err *err)
{
	struct dirent **entries;
	int n = scandir(path, &entries, is_picture, by_name), rc = 0;

	if (n < 0)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	for (int i = 0; i < n && rc == 0 && !kerf_frames_full(s); i++)
		rc = read_directory_entry(s, path, entries[i]->d_name, err);
	for (int i = 0; i < n; i++)
		free(entries[i]);
	free(entries);
	if (rc == 0 && !n)
		return kerf_err_set(err, -ENOENT,
			"%s: directory has no picture (bmp png jpg ppm pgm webp tif)", path);
	return rc;
}

static int read_path(struct kerf_source *s, const char *path, struct kerf_err *err)
{
	struct stat st;

	if (!strcmp(path, "synthetic"))
		return kerf_read_synthetic(s, err);
	if (stat(path, &st) < 0)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (S_ISDIR(st.st_mode))
		return kerf_read_directory(s, path, err);
	if (!S_ISREG(st.st_mode))
		return kerf_err_set(err, -EINVAL, "%s: found a special file, expected a picture, "
			"a video, *.npy, *.f32 or a directory", path);
	if (!st.st_size)
		return kerf_err_set(err, -EINVAL, "%s: empty file", path);
	if (kerf_path_has_extension(path, "npy"))
		return kerf_read_npy(s, path, err);
	if (kerf_path_has_extension(path, "f32"))
		return kerf_read_raw(s, path, err);
	return kerf_read_media(s, path, err);
}

/* ---- the public face ---- */

static int check_options(const struct kerf_source_options *o, struct kerf_err *err)
{
	if (!o->path || !o->path[0])
		return kerf_err_set(err, -EINVAL,
			"input: no path, expected a file, a directory or \"synthetic\"");
	if (!o->width || !o->height || !o->channels || o->width > MAX_SIDE ||
		o->height > MAX_SIDE || o->channels > MAX_CHANNELS)
		return kerf_err_set(err, -EINVAL,
			"%s: frames of %ux%ux%u, expected sides of 1 to %d", o->path, o->width,
			o->height, o->channels, MAX_SIDE);
	/* Not "crop <= 0 || crop > 1", which a NaN would pass. */
	if (o->crop != 0 && !(o->crop > 0 && o->crop <= 1))
		return kerf_err_set(err, -EINVAL, "%s: crop %g, expected 0 < crop <= 1", o->path,
			o->crop);
	if ((uint64_t)o->width * o->height * o->channels * sizeof(float) > KERF_SOURCE_MAX_BYTES)
		return kerf_err_set(err, -EINVAL, "%s: a frame of %ux%ux%u is larger than 2 GiB",
			o->path, o->width, o->height, o->channels);
	return 0;
}

struct kerf_source *kerf_source_open(const struct kerf_source_options *options,
	struct kerf_err *err)
{
	if (check_options(options, err) < 0)
		return NULL;
	struct kerf_source *s = calloc(1, sizeof(*s));
	if (!s) {
		kerf_err_set(err, -ENOMEM, "%s: out of memory", options->path);
		return NULL;
	}
	s->options = *options;
	s->options.path = NULL;
	if (s->options.crop == 0)
		s->options.crop = KERF_SOURCE_DEFAULT_CROP;
	if (read_path(s, options->path, err) < 0) {
		kerf_source_close(s);
		return NULL;
	}
	assert(s->count);
	return s;
}

void kerf_source_close(struct kerf_source *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->count; i++) {
		free((void *)s->frames[i].pixels);
		free((void *)s->frames[i].values);
		free((void *)s->frames[i].jpeg);
		free((void *)s->frames[i].name);
	}
	free(s->frames);
	free(s);
}

unsigned kerf_source_count(const struct kerf_source *s)
{
	return s->count;
}

const struct kerf_frame_data *kerf_source_frame(const struct kerf_source *s, unsigned i)
{
	assert(i < s->count);
	return &s->frames[i];
}

const char *kerf_source_warning(const struct kerf_source *s)
{
	return s->warning[0] ? s->warning : NULL;
}
