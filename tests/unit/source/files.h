/*
 * files: scratch files for the source tests, in a directory of its own that goes with the program.
 *
 * Pictures are written as BMP and PPM by hand, so that what is expected owes nothing to FFmpeg.
 */
#pragma once

#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"

static char files_dir[64];

static void files_remove(void)
{
	char command[96];

	snprintf(command, sizeof(command), "rm -rf %s", files_dir);
	if (system(command) != 0)
		fprintf(stderr, "%s stays behind\n", files_dir);
}

/* Path of a scratch file; the string is good until the eighth call after. */
static const char *files_path(const char *name)
{
	static char paths[8][512];
	static unsigned next;
	char *path = paths[next++ % 8];

	if (!files_dir[0]) {
		snprintf(files_dir, sizeof(files_dir), "/tmp/kerf-source-XXXXXX");
		CU_ASSERT_FATAL(mkdtemp(files_dir) != NULL);
		atexit(files_remove);
	}
	snprintf(path, sizeof(paths[0]), "%s/%s", files_dir, name);
	return path;
}

static inline const char *files_write(const char *name, const void *data, size_t len)
{
	const char *path = files_path(name);
	FILE *f = fopen(path, "wb");

	CU_ASSERT_FATAL(f != NULL);
	CU_ASSERT_FATAL(fwrite(data, 1, len, f) == len);
	CU_ASSERT_FATAL(fclose(f) == 0);
	return path;
}

/* Whole file in memory; the caller frees it. */
static inline uint8_t *files_read(const char *path, size_t *len)
{
	FILE *f = fopen(path, "rb");
	struct stat st;

	if (!f)
		return NULL;
	CU_ASSERT_FATAL(fstat(fileno(f), &st) == 0);
	uint8_t *data = malloc((size_t)st.st_size + 1);
	CU_ASSERT_FATAL(data != NULL);
	*len = fread(data, 1, (size_t)st.st_size, f);
	fclose(f);
	return data;
}

/* rgb: [height][width][3]. */
static inline const char *files_write_ppm(const char *name, const uint8_t *rgb, unsigned width,
	unsigned height)
{
	size_t len = (size_t)width * height * 3;
	uint8_t *file = malloc(len + 64);

	CU_ASSERT_FATAL(file != NULL);
	int head = sprintf((char *)file, "P6\n%u %u\n255\n", width, height);
	memcpy(file + head, rgb, len);
	const char *path = files_write(name, file, (size_t)head + len);
	free(file);
	return path;
}

static inline void files_put_u32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* 24-bit BMP: rows bottom up, blue first, padded to 4 bytes. */
static inline const char *files_write_bmp(const char *name, const uint8_t *rgb, unsigned width,
	unsigned height)
{
	size_t stride = ((size_t)width * 3 + 3) / 4 * 4, len = 54 + stride * height;
	uint8_t *file = calloc(1, len);

	CU_ASSERT_FATAL(file != NULL);
	memcpy(file, "BM", 2);
	files_put_u32(file + 2, (uint32_t)len);
	files_put_u32(file + 10, 54);
	files_put_u32(file + 14, 40);
	files_put_u32(file + 18, width);
	files_put_u32(file + 22, height);
	file[26] = 1;
	file[28] = 24;
	for (unsigned y = 0; y < height; y++)
		for (unsigned x = 0; x < width; x++)
			for (unsigned c = 0; c < 3; c++)
				file[54 + (height - 1 - y) * stride + x * 3 + 2 - c] =
					rgb[((size_t)y * width + x) * 3 + c];
	const char *path = files_write(name, file, len);
	free(file);
	return path;
}
