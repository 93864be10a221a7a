#include <math.h>

#include "core/core.h"
#include "files.h"
#include "media.h"
#include "source/source.h"

#define WIDTH 40
#define HEIGHT 30

static struct kerf_err err;
static uint8_t noise[HEIGHT * WIDTH * 3];

static void fill_noise(void)
{
	struct kerf_rng r = {.seed = 21};

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (uint8_t)kerf_rng_u32(&r);
}

static struct kerf_source *open_path(const char *path, struct kerf_source_options o)
{
	o.path = path;
	err.text[0] = '\0';
	struct kerf_source *s = kerf_source_open(&o, &err);
	if (!s)
		printf("\n  %s\n", err.text);
	return s;
}

static const struct kerf_source_options same_size = {
	.width = WIDTH, .height = HEIGHT, .channels = 3};

/* Lossless formats, unscaled: every pixel as written. */
static void test_exact_pixels(void)
{
	struct kerf_source_options bgr = same_size;

	fill_noise();
	files_write_ppm("a.ppm", noise, WIDTH, HEIGHT);
	files_write_bmp("a.bmp", noise, WIDTH, HEIGHT);
	bgr.bgr = true;
	for (unsigned i = 0; i < 2; i++) {
		const char *name = i ? "a.ppm" : "a.bmp";
		struct kerf_source *s = open_path(files_path(name), same_size);
		struct kerf_source *r = open_path(files_path(name), bgr);
		CU_ASSERT_FATAL(s && r);
		CU_ASSERT_EQUAL(kerf_source_count(s), 1);
		CU_ASSERT_PTR_NULL(kerf_source_warning(s));
		const struct kerf_frame_data *f = kerf_source_frame(s, 0);
		CU_ASSERT_STRING_EQUAL(f->name, name);
		CU_ASSERT_PTR_NULL(f->values);
		CU_ASSERT_EQUAL(memcmp(f->pixels, noise, sizeof(noise)), 0);
		const uint8_t *reversed = kerf_source_frame(r, 0)->pixels;
		for (size_t p = 0; p < sizeof(noise); p++)
			CU_ASSERT_EQUAL(reversed[p], f->pixels[p / 3 * 3 + 2 - p % 3]);
		kerf_source_close(s);
		kerf_source_close(r);
	}
}

static void test_channels(void)
{
	struct kerf_source_options o = same_size;

	fill_noise();
	files_write_bmp("a.bmp", noise, WIDTH, HEIGHT);
	o.channels = 1;
	struct kerf_source *grey = open_path(files_path("a.bmp"), o);
	o.channels = 4;
	struct kerf_source *alpha = open_path(files_path("a.bmp"), o);
	CU_ASSERT_FATAL(grey && alpha);
	for (size_t i = 0; i < WIDTH * HEIGHT; i++) {
		const uint8_t *rgb = noise + 3 * i;
		/* ITU-R BT.601 luma, full range */
		double luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
		CU_ASSERT(fabs(kerf_source_frame(grey, 0)->pixels[i] - luma) < 1.6);
		CU_ASSERT_EQUAL(memcmp(kerf_source_frame(alpha, 0)->pixels + 4 * i, rgb, 3), 0);
		CU_ASSERT_EQUAL(kerf_source_frame(alpha, 0)->pixels[4 * i + 3], 255);
	}
	kerf_source_close(grey);
	kerf_source_close(alpha);
	o.channels = 2;
	o.path = files_path("a.bmp");
	CU_ASSERT_PTR_NULL(kerf_source_open(&o, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "1, 3 or 4 channels, the network wants 2"));
}

/* A centred square of 0.5 x 30 pixels lies at columns 12.5 to 27.5 and rows 7.5 to 22.5. */
static void test_crop(void)
{
	struct kerf_source_options o = {.width = 15, .height = 15, .channels = 3,
		.resize = KERF_RESIZE_CROP, .crop = 0.5};

	for (unsigned y = 0; y < HEIGHT; y++)
		for (unsigned x = 0; x < WIDTH; x++)
			memset(noise + (y * WIDTH + x) * 3, (int)(4 * x + 2 * y), 3);
	files_write_bmp("ramp.bmp", noise, WIDTH, HEIGHT);
	struct kerf_source *s = open_path(files_path("ramp.bmp"), o);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	/* A linear ramp stays itself: output x is input 12.5 + x, as the ramp goes on between. */
	for (unsigned y = 0; y < 15; y++)
		for (unsigned x = 0; x < 15; x++)
			CU_ASSERT_EQUAL(kerf_source_frame(s, 0)->pixels[(y * 15 + x) * 3],
				4 * x + 2 * y + 4 * 12 + 2 * 7 + 3);
	kerf_source_close(s);
}

static void test_crop_default_and_stretch(void)
{
	struct kerf_source_options o = {.width = 9, .height = 9, .channels = 3,
		.resize = KERF_RESIZE_CROP}, explicit = o, stretch = o;

	fill_noise();
	files_write_bmp("a.bmp", noise, WIDTH, HEIGHT);
	explicit.crop = KERF_SOURCE_DEFAULT_CROP;
	stretch.resize = KERF_RESIZE_STRETCH;
	struct kerf_source *a = open_path(files_path("a.bmp"), o);
	struct kerf_source *b = open_path(files_path("a.bmp"), explicit);
	struct kerf_source *c = open_path(files_path("a.bmp"), stretch);
	CU_ASSERT_FATAL(a && b && c);
	CU_ASSERT_EQUAL(
		memcmp(kerf_source_frame(a, 0)->pixels, kerf_source_frame(b, 0)->pixels, 243), 0);
	CU_ASSERT_NOT_EQUAL(
		memcmp(kerf_source_frame(a, 0)->pixels, kerf_source_frame(c, 0)->pixels, 243), 0);
	kerf_source_close(a);
	kerf_source_close(b);
	kerf_source_close(c);
}

/* JPEG is full range with BT.601 chroma (JFIF): read as video range, 16 would become 0. */
static void test_jpeg_levels(void)
{
	static const struct {
		uint8_t yuv[3];
		int rgb[3];
	} cases[] = {
		{{16, 128, 128}, {16, 16, 16}}, {{235, 128, 128}, {235, 235, 235}},
		{{255, 128, 128}, {255, 255, 255}}, {{76, 85, 255}, {254, 0, 0}},
		{{150, 44, 21}, {0, 255, 1}}, {{29, 255, 107}, {0, 0, 254}},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		FILE *f = fopen(files_path("flat.jpg"), "wb");
		CU_ASSERT_PTR_NOT_NULL_FATAL(f);
		const uint8_t *yuv = cases[i].yuv;
		media_put_jpeg(f, media_flat(33, 17, yuv[0], yuv[1], yuv[2])); /* odd on purpose */
		fclose(f);
		struct kerf_source *s = open_path(files_path("flat.jpg"), same_size);
		CU_ASSERT_PTR_NOT_NULL_FATAL(s);
		for (size_t p = 0; p < WIDTH * HEIGHT * 3; p++)
			CU_ASSERT(abs(kerf_source_frame(s, 0)->pixels[p] - cases[i].rgb[p % 3]) <=
				3);
		kerf_source_close(s);
	}
}

static void test_directory(void)
{
	static const char *const names[] = {"B.bmp", "a.bmp", "b.BMP"}; /* in byte order */
	struct kerf_source_options o = same_size;

	CU_ASSERT_EQUAL(mkdir(files_path("dir"), 0700), 0);
	for (unsigned i = 0; i < 3; i++) {
		char name[32];
		memset(noise, 10 * (int)i, sizeof(noise));
		snprintf(name, sizeof(name), "dir/%s", names[i]);
		files_write_bmp(name, noise, WIDTH, HEIGHT);
	}
	files_write("dir/README.txt", "no picture\n", 11);
	files_write("dir/.hidden.bmp", "no picture\n", 11);
	struct kerf_source *s = open_path(files_path("dir"), o);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_EQUAL_FATAL(kerf_source_count(s), 3);
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_STRING_EQUAL(kerf_source_frame(s, i)->name, names[i]);
		CU_ASSERT_EQUAL(kerf_source_frame(s, i)->pixels[100], 10 * i);
	}
	kerf_source_close(s);
	o.limit = 2;
	s = open_path(files_path("dir"), o);
	CU_ASSERT_PTR_NOT_NULL_FATAL(s);
	CU_ASSERT_EQUAL(kerf_source_count(s), 2);
	kerf_source_close(s);
	files_write("dir/aa.png", "no picture\n", 11);
	o.limit = 0;
	o.path = files_path("dir");
	CU_ASSERT_PTR_NULL(kerf_source_open(&o, &err));
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "dir/aa.png: unknown format, damaged"));
}

/* Names that FFmpeg would read as a sequence, a protocol or an option are names. */
static void test_names_are_names(void)
{
	static const char *const names[] = {"a%03d.bmp", "concat:a|b.bmp", "x#1.bmp", "a b.bmp"};

	fill_noise();
	for (size_t i = 0; i < KERF_ARRAY_LEN(names); i++) {
		files_write_bmp(names[i], noise, WIDTH, HEIGHT);
		struct kerf_source *s = open_path(files_path(names[i]), same_size);
		CU_ASSERT_PTR_NOT_NULL_FATAL(s);
		CU_ASSERT_STRING_EQUAL(kerf_source_frame(s, 0)->name, names[i]);
		kerf_source_close(s);
	}
}

static void expect_damaged(const char *path)
{
	struct kerf_source_options o = same_size;

	o.path = path;
	err.text[0] = '\0';
	struct kerf_source *s = kerf_source_open(&o, &err);
	CU_ASSERT_PTR_NULL(s);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "damaged or cut short"));
	kerf_source_close(s);
}

static void expect_damaged_when_cut(const char *path, const char *cut_name)
{
	size_t len = 0;
	uint8_t *data = files_read(path, &len);

	CU_ASSERT_PTR_NOT_NULL_FATAL(data);
	for (unsigned percent = 5; percent < 95; percent += 10)
		expect_damaged(files_write(cut_name, data, len * percent / 100));
	free(data);
}

/* Also pixels outside a crop must be there: half a picture is refused whatever is used of it. */
static void test_truncated(void)
{
	fill_noise();
	expect_damaged_when_cut(files_write_bmp("whole.bmp", noise, WIDTH, HEIGHT),
		"cut.bmp");
	expect_damaged(files_write("text.jpg", "neither JPEG nor anything\n", 26));
	const char *data = unit_test_data();
	if (!data) {
		printf("SKIP truncated photos: no test data\n");
		return;
	}
	char path[4200];
	snprintf(path, sizeof(path), "%s/models/images/hot_dog.jpg", data);
	expect_damaged_when_cut(path, "cut.jpg");
	snprintf(path, sizeof(path), "%s/models/images/fish.png", data);
	expect_damaged_when_cut(path, "cut.png");
}

/* Values that were made from kitten_224.png by another implementation of the same crop. */
static void expect_input(const char *data, const char *file, unsigned side, bool bgr)
{
	static const float caffe_mean[3] = {104, 117, 123};
	char photo[4200], expected[4200];
	struct kerf_source_options o = {.width = side, .height = side, .channels = 3,
		.resize = KERF_RESIZE_CROP, .crop = 0.9, .bgr = bgr};
	struct kerf_source_options raw = {.width = side, .height = side, .channels = 3};

	snprintf(photo, sizeof(photo), "%s/models/images/kitten_224.png", data);
	snprintf(expected, sizeof(expected), "%s/models/expected/%s.kitten.input.f32", data, file);
	struct kerf_source *s = open_path(photo, o), *e = open_path(expected, raw);
	CU_ASSERT_FATAL(s && e);
	const uint8_t *pixels = kerf_source_frame(s, 0)->pixels;
	const float *values = kerf_source_frame(e, 0)->values;
	double worst = 0, sum = 0;
	for (size_t i = 0; i < (size_t)side * side * 3; i++) {
		double wanted = bgr ? values[i] + caffe_mean[i % 3] : (values[i] + 1) * 127.5;
		double off = fabs(pixels[i] - wanted);
		worst = fmax(worst, off);
		sum += off;
	}
	printf("\n    %s: mean %.3f, worst %.3f levels ", file, sum / side / side / 3, worst);
	CU_ASSERT(worst < 0.501); /* rounding to whole levels, and nothing else */
	kerf_source_close(s);
	kerf_source_close(e);
}

static void test_expected_inputs(void)
{
	const char *data = unit_test_data();

	if (!data) {
		printf("SKIP expected inputs: no test data\n");
		return;
	}
	expect_input(data, "mobilenet_v2_1.0_224_imagenet", 224, false);
	expect_input(data, "mobilenet_v1_0.75_192_imagenet", 192, false);
	expect_input(data, "mobilenet_v1_0.25_128_imagenet", 128, false);
	expect_input(data, "squeezenet1.1_imagenet_fp32", 224, true);
}

/* A noisy picture of 4:2:0. */
static AVFrame *noisy_frame(int width, int height, uint64_t seed)
{
	struct kerf_rng r = {.seed = seed};
	AVFrame *frame = media_flat(width, height, 0, 0, 0);

	for (int p = 0; p < 3; p++)
		for (int y = 0; y < (p ? (height + 1) / 2 : height); y++)
			for (int x = 0; x < (p ? (width + 1) / 2 : width); x++)
				frame->data[p][y * frame->linesize[p] + x] = (uint8_t)(kerf_rng_u32(&r) % 64 + 96);
	return frame;
}

static size_t read_whole(const char *path, uint8_t *buf, size_t size)
{
	FILE *f = fopen(path, "rb");
	size_t n;

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	n = fread(buf, 1, size, f);
	fclose(f);
	return n;
}

/* The source keeps the file beside the pixels, and the file alone gives them: whatever is cut and scaled. */
static void test_jpeg_beside_its_pixels(void)
{
	static const struct kerf_source_options all[] = {
		{.width = WIDTH, .height = HEIGHT, .channels = 3},
		{.width = 17, .height = 23, .channels = 3, .resize = KERF_RESIZE_CROP, .bgr = true},
		{.width = 8, .height = 8, .channels = 1, .resize = KERF_RESIZE_CROP, .crop = 0.5},
	};
	static uint8_t file[1 << 16], pixels[WIDTH * HEIGHT * 3];
	FILE *out = fopen(files_path("n.jpg"), "wb");

	media_put_jpeg(out, noisy_frame(97, 61, 3));
	fclose(out);
	const size_t n = read_whole(files_path("n.jpg"), file, sizeof(file));

	for (unsigned i = 0; i < KERF_ARRAY_LEN(all); i++) {
		struct kerf_source *s = open_path(files_path("n.jpg"), all[i]);
		struct kerf_jpeg *j = kerf_jpeg_open(&all[i], &err);

		CU_ASSERT_FATAL(s && j);
		const struct kerf_frame_data *f = kerf_source_frame(s, 0);
		CU_ASSERT_EQUAL(f->jpeg_bytes, n);
		CU_ASSERT_FATAL(f->jpeg && memcmp(f->jpeg, file, n) == 0);
		for (unsigned again = 0; again < 3; again++) {
			memset(pixels, 0, sizeof(pixels));
			CU_ASSERT_EQUAL(kerf_jpeg_decode(j, f->jpeg, n, pixels), 0);
			CU_ASSERT_EQUAL(memcmp(pixels, f->pixels,
				(size_t)all[i].width * all[i].height * all[i].channels), 0);
			/* What is damaged in between is refused and leaves nothing behind. */
			CU_ASSERT_EQUAL(kerf_jpeg_decode(j, f->jpeg, n / 2, pixels), -EBADMSG);
			CU_ASSERT_EQUAL(kerf_jpeg_decode(j, f->jpeg, 0, pixels), -EBADMSG);
			CU_ASSERT_EQUAL(kerf_jpeg_decode(j, noise, sizeof(noise), pixels), -EBADMSG);
		}
		kerf_jpeg_close(j);
		kerf_source_close(s);
	}
	files_write_ppm("n.ppm", noise, WIDTH, HEIGHT);
	struct kerf_source *s = open_path(files_path("n.ppm"), same_size);
	CU_ASSERT_PTR_NULL(kerf_source_frame(s, 0)->jpeg);
	kerf_source_close(s);
}

/* 10,000 damaged files: refused or decoded to something, never worse. */
static void test_jpegs_that_are_damaged(void)
{
	static uint8_t file[1 << 16], damaged[1 << 16], pixels[WIDTH * HEIGHT * 3];
	struct kerf_jpeg *j = kerf_jpeg_open(&same_size, &err);
	struct kerf_rng r = {.seed = 5};
	FILE *out = fopen(files_path("d.jpg"), "wb");
	unsigned refused = 0;

	media_put_jpeg(out, noisy_frame(WIDTH, HEIGHT, 4));
	fclose(out);
	const size_t n = read_whole(files_path("d.jpg"), file, sizeof(file));
	CU_ASSERT_PTR_NOT_NULL_FATAL(j);
	for (unsigned i = 0; i < 10000; i++) {
		const size_t keep = i % 4 ? n : kerf_rng_u32(&r) % n;

		memcpy(damaged, file, n);
		for (unsigned k = 0; k <= i % 8; k++)
			damaged[kerf_rng_u32(&r) % n] ^= (uint8_t)(1u << kerf_rng_u32(&r) % 8);
		refused += kerf_jpeg_decode(j, damaged, keep, pixels) == -EBADMSG;
	}
	CU_ASSERT(refused > 2000);
	CU_ASSERT_EQUAL(kerf_jpeg_decode(j, file, n, pixels), 0);
	kerf_jpeg_close(j);
}

static void test_jpeg_keys(void)
{
	struct kerf_source_options o = same_size, other = same_size;

	CU_ASSERT_EQUAL(kerf_jpeg_key(&o), kerf_jpeg_key(&other));
	CU_ASSERT_NOT_EQUAL(kerf_jpeg_key(&o), 0);
	other.bgr = true;
	CU_ASSERT_NOT_EQUAL(kerf_jpeg_key(&o), kerf_jpeg_key(&other));
	other = o;
	other.width++;
	CU_ASSERT_NOT_EQUAL(kerf_jpeg_key(&o), kerf_jpeg_key(&other));
	other = o;
	other.resize = KERF_RESIZE_CROP;
	const uint64_t cropped = kerf_jpeg_key(&other);
	CU_ASSERT_NOT_EQUAL(kerf_jpeg_key(&o), cropped);
	other.crop = KERF_SOURCE_DEFAULT_CROP;
	CU_ASSERT_EQUAL(kerf_jpeg_key(&other), cropped);
	other.crop = 0.5;
	CU_ASSERT_NOT_EQUAL(kerf_jpeg_key(&other), cropped);
	/* The path, the seed and the limit do not matter. */
	o.path = "x";
	o.seed = o.limit = 3;
	CU_ASSERT_EQUAL(kerf_jpeg_key(&o), kerf_jpeg_key(&same_size));
}

UNIT_MAIN("source.pictures", UNIT(test_jpeg_beside_its_pixels), UNIT(test_jpegs_that_are_damaged),
	UNIT(test_jpeg_keys), UNIT(test_exact_pixels), UNIT(test_channels), UNIT(test_crop),
	UNIT(test_crop_default_and_stretch), UNIT(test_jpeg_levels), UNIT(test_directory),
	UNIT(test_names_are_names), UNIT(test_truncated), UNIT(test_expected_inputs))
