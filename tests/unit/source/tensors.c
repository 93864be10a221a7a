#include <math.h>

#include "files.h"
#include "source/npy.h"
#include "source/source.h"

static struct kerf_err err;

static const struct kerf_source_options shape_3x2x4 = {.width = 4, .height = 2, .channels = 3};

static struct kerf_source *open_path(const char *path, struct kerf_source_options o)
{
	o.path = path;
	err.text[0] = '\0';
	return kerf_source_open(&o, &err);
}

static void expect_refused(const char *path, struct kerf_source_options o, const char *says)
{
	struct kerf_source *s = open_path(path, o);

	CU_ASSERT_PTR_NULL(s);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, says));
	if (!strstr(err.text, says))
		printf("\n  says %s\n", err.text);
	kerf_source_close(s);
}

/* n frames of [C][H][W]; the value tells where it lies: frame, c, y, x as decimal digits. */
static void fill_chw(float *data, unsigned n)
{
	for (unsigned f = 0; f < n; f++)
		for (unsigned c = 0; c < 3; c++)
			for (unsigned y = 0; y < 2; y++)
				for (unsigned x = 0; x < 4; x++)
					*data++ = (float)(f * 1000 + c * 100 + y * 10 + x);
}

static void expect_hwc(const struct kerf_source *s, unsigned n, const char *name)
{
	char full[64];

	CU_ASSERT_EQUAL_FATAL(kerf_source_count(s), n);
	CU_ASSERT_PTR_NULL(kerf_source_warning(s));
	for (unsigned f = 0; f < n; f++) {
		const struct kerf_frame_data *d = kerf_source_frame(s, f);
		CU_ASSERT_PTR_NULL(d->pixels);
		snprintf(full, sizeof(full), "%s#%u", name, f);
		CU_ASSERT_STRING_EQUAL(d->name, full);
		for (unsigned y = 0; y < 2; y++)
			for (unsigned x = 0; x < 4; x++)
				for (unsigned c = 0; c < 3; c++)
					CU_ASSERT_EQUAL(d->values[(y * 4 + x) * 3 + c],
						f * 1000 + c * 100 + y * 10 + x);
	}
}

static void test_npy(void)
{
	static const int64_t four[] = {2, 3, 2, 4}, three[] = {3, 2, 4};
	float data[48];

	fill_chw(data, 2);
	CU_ASSERT_EQUAL(kerf_npy_write(files_path("t.npy"), four, 4, data, &err), 0);
	struct kerf_source *s = open_path(files_path("t.npy"), shape_3x2x4);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	expect_hwc(s, 2, "t.npy");
	kerf_source_close(s);
	CU_ASSERT_EQUAL(kerf_npy_write(files_path("u.NPY"), three, 3, data, &err), 0);
	s = open_path(files_path("u.NPY"), shape_3x2x4);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	expect_hwc(s, 1, "u.NPY");
	kerf_source_close(s);
}

static void test_npy_of_another_shape(void)
{
	static const int64_t hwc[] = {1, 2, 4, 3}, flat[] = {24};
	float data[24];

	fill_chw(data, 1);
	kerf_npy_write(files_path("t.npy"), hwc, 4, data, &err);
	expect_refused(files_path("t.npy"), shape_3x2x4,
		"t.npy: shape [1,2,4,3], expected [N,3,2,4] or [3,2,4]");
	kerf_npy_write(files_path("t.npy"), flat, 1, data, &err);
	expect_refused(files_path("t.npy"), shape_3x2x4, "shape [24], expected [N,3,2,4]");
	expect_refused(files_write("t.npy", "not numpy", 9), shape_3x2x4, "t.npy: no NumPy file");
}

static void test_raw(void)
{
	float data[72];
	struct kerf_source_options two = shape_3x2x4;

	fill_chw(data, 3);
	struct kerf_source *s = open_path(files_write("r.f32", data, sizeof(data)), shape_3x2x4);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	expect_hwc(s, 3, "r.f32");
	kerf_source_close(s);
	two.limit = 2;
	s = open_path(files_path("r.f32"), two);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	expect_hwc(s, 2, "r.f32");
	kerf_source_close(s);
	expect_refused(files_write("r.f32", data, sizeof(data) - 1), shape_3x2x4,
		"r.f32: 287 bytes, expected a multiple of 96 (3x2x4 float32)");
}

static void test_synthetic(void)
{
	struct kerf_source_options o = {.width = 33, .height = 7, .channels = 3, .seed = 5};
	struct kerf_source *a = open_path("synthetic", o), *b, *c;
	uint64_t histogram[256] = {0};
	size_t n = 33 * 7 * 3;

	CU_ASSERT_PTR_NOT_NULL_FATAL(a);
	CU_ASSERT_EQUAL(kerf_source_count(a), KERF_SOURCE_SYNTHETIC_FRAMES);
	o.limit = 3;
	b = open_path("synthetic", o);
	o.seed = 6;
	c = open_path("synthetic", o);
	CU_ASSERT_FATAL(b && c);
	CU_ASSERT_EQUAL(kerf_source_count(b), 3);
	for (unsigned i = 0; i < 3; i++) {
		const uint8_t *pixels = kerf_source_frame(a, i)->pixels;
		CU_ASSERT_EQUAL(memcmp(pixels, kerf_source_frame(b, i)->pixels, n), 0);
		CU_ASSERT_NOT_EQUAL(memcmp(pixels, kerf_source_frame(c, i)->pixels, n), 0);
		CU_ASSERT_NOT_EQUAL(memcmp(pixels, kerf_source_frame(a, i + 3)->pixels, n), 0);
	}
	for (unsigned i = 0; i < kerf_source_count(a); i++)
		for (size_t p = 0; p < n; p++)
			histogram[kerf_source_frame(a, i)->pixels[p]]++;
	for (unsigned level = 0; level < 256; level++) /* 43 expected each: 5.5 deviations */
		CU_ASSERT(histogram[level] > 7 && histogram[level] < 80);
	CU_ASSERT_STRING_EQUAL(kerf_source_frame(a, 2)->name, "synthetic#2");
	kerf_source_close(a);
	kerf_source_close(b);
	kerf_source_close(c);
}

static void test_bad_options(void)
{
	const struct kerf_source_options no_side = {.height = 2, .channels = 3};
	const struct kerf_source_options huge = {
		.width = 16384, .height = 16384, .channels = 65536};
	struct kerf_source_options crop = shape_3x2x4;

	expect_refused(NULL, shape_3x2x4, "no path");
	expect_refused("", shape_3x2x4, "no path");
	expect_refused("synthetic", no_side, "frames of 0x2x3");
	expect_refused("synthetic", huge, "larger than 2 GiB");
	crop.crop = 1.01;
	expect_refused("synthetic", crop, "expected 0 < crop <= 1");
	crop.crop = -0.5;
	expect_refused("synthetic", crop, "expected 0 < crop <= 1");
	crop.crop = NAN;
	expect_refused("synthetic", crop, "expected 0 < crop <= 1");
}

static void test_bad_paths(void)
{
	expect_refused("/nonexistent.png", shape_3x2x4,
		"/nonexistent.png: No such file or directory");
	expect_refused("/dev/zero", shape_3x2x4, "/dev/zero: found a special file");
	expect_refused(files_write("empty.png", "", 0), shape_3x2x4, "empty.png: empty file");
	expect_refused(files_write("empty.f32", "", 0), shape_3x2x4, "empty.f32: empty file");
	CU_ASSERT_EQUAL(mkdir(files_path("nothing"), 0700), 0);
	expect_refused(files_path("nothing"), shape_3x2x4, "nothing: directory has no picture");
}

UNIT_MAIN("source.tensors", UNIT(test_npy), UNIT(test_npy_of_another_shape), UNIT(test_raw),
	UNIT(test_synthetic), UNIT(test_bad_options), UNIT(test_bad_paths))
