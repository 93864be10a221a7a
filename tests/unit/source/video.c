#include "core/core.h"
#include "files.h"
#include "media.h"
#include "source/source.h"

#define COCKATOO "/usr/lib/python3/dist-packages/imageio/resources/images/cockatoo.mp4"
#define FRAMES 10

static struct kerf_err err;
static const struct kerf_source_options small = {.width = 16, .height = 16, .channels = 3};

static struct kerf_source *open_path(const char *path, unsigned limit)
{
	struct kerf_source_options o = small;

	o.path = path;
	o.limit = limit;
	struct kerf_source *s = kerf_source_open(&o, &err);
	if (!s)
		printf("\n  %s\n", err.text);
	return s;
}

/* Motion JPEG whose frame i is grey of level 20 * i. */
static const char *write_video(void)
{
	FILE *f = fopen(files_path("grey.mjpeg"), "wb");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	for (unsigned i = 0; i < FRAMES; i++)
		media_put_jpeg(f, media_flat(64, 48, (uint8_t)(20 * i), 128, 128));
	CU_ASSERT_EQUAL_FATAL(fclose(f), 0);
	return files_path("grey.mjpeg");
}

static void expect_grey(const struct kerf_source *s, unsigned n)
{
	char name[32];

	CU_ASSERT_EQUAL_FATAL(kerf_source_count(s), n);
	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "grey.mjpeg#%u", i);
		CU_ASSERT_STRING_EQUAL(kerf_source_frame(s, i)->name, name);
		for (unsigned p = 0; p < 16 * 16 * 3; p++)
			CU_ASSERT(
				abs(kerf_source_frame(s, i)->pixels[p] - (int)(20 * i)) <= 2);
	}
}

static void test_all_frames_in_order(void)
{
	struct kerf_source *s = open_path(write_video(), 0);

	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	expect_grey(s, FRAMES);
	CU_ASSERT_PTR_NULL(kerf_source_warning(s));
	kerf_source_close(s);
}

static void test_limit(void)
{
	struct kerf_source *s = open_path(write_video(), 3);

	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	expect_grey(s, 3);
	CU_ASSERT_PTR_NULL(kerf_source_warning(s));
	kerf_source_close(s);
}

/* Opens a changed cockatoo.mp4; false when Debian's python3-imageio is not there. */
static bool load_cockatoo(uint8_t **data, size_t *len)
{
	*data = files_read(COCKATOO, len);
	if (!*data)
		printf("SKIP: no " COCKATOO "\n");
	return *data;
}

static void test_h264(void)
{
	uint8_t *data;
	size_t len, n = 16 * 16 * 3;

	if (!load_cockatoo(&data, &len))
		return;
	free(data);
	struct kerf_source *s = open_path(COCKATOO, 0), *first = open_path(COCKATOO, 2);
	CU_ASSERT_FATAL(s && first);
	CU_ASSERT_EQUAL(kerf_source_count(s), 280);
	CU_ASSERT_PTR_NULL(kerf_source_warning(s));
	CU_ASSERT_STRING_EQUAL(kerf_source_frame(s, 279)->name, "cockatoo.mp4#279");
	CU_ASSERT_EQUAL(kerf_source_count(first), 2);
	CU_ASSERT_EQUAL(
		memcmp(kerf_source_frame(s, 1)->pixels, kerf_source_frame(first, 1)->pixels, n), 0);
	CU_ASSERT_NOT_EQUAL(
		memcmp(kerf_source_frame(s, 0)->pixels, kerf_source_frame(s, 279)->pixels, n), 0);
	kerf_source_close(s);
	kerf_source_close(first);
}

/* Zeros in the middle of the film: the frames before are kept, and the source says so. */
static void test_broken_in_the_middle(void)
{
	uint8_t *data;
	size_t len;

	if (!load_cockatoo(&data, &len))
		return;
	memset(data + len / 2, 0, len / 4);
	struct kerf_source *s = open_path(files_write("broken.mp4", data, len), 0);
	struct kerf_source *whole = open_path(COCKATOO, 20);
	free(data);
	CU_ASSERT_FATAL(s && whole);
	CU_ASSERT(kerf_source_count(s) > 100 && kerf_source_count(s) < 280);
	CU_ASSERT_PTR_NOT_NULL_FATAL(kerf_source_warning(s));
	char says[64];
	snprintf(says, sizeof(says), "broken.mp4: breaks off after %u frames",
		kerf_source_count(s));
	CU_ASSERT_PTR_NOT_NULL(strstr(kerf_source_warning(s), says));
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_EQUAL(memcmp(kerf_source_frame(s, i)->pixels,
			kerf_source_frame(whole, i)->pixels, 16 * 16 * 3), 0);
	kerf_source_close(s);
	kerf_source_close(whole);
}

/* Its index is at the end: cut short, nothing of it can be read. */
static void test_cut_short(void)
{
	struct kerf_source_options o = small;
	uint8_t *data;
	size_t len;

	if (!load_cockatoo(&data, &len))
		return;
	for (unsigned percent = 10; percent < 100; percent += 20) {
		o.path = files_write("cut.mp4", data, len * percent / 100);
		CU_ASSERT_PTR_NULL(kerf_source_open(&o, &err));
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cut.mp4: unknown format, damaged"));
	}
	free(data);
}

UNIT_MAIN("source.video", UNIT(test_all_frames_in_order), UNIT(test_limit), UNIT(test_h264),
	UNIT(test_broken_in_the_middle), UNIT(test_cut_short))
