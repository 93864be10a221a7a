#include "codec/codec.h"

#include <assert.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little endian, and copied");

/* ---- f32 ---- */

static size_t f32_bytes(size_t n)
{
	assert(n <= SIZE_MAX / sizeof(float));
	return n * sizeof(float);
}

static void f32_encode(const float *src, size_t n, void *dst)
{
	memcpy(dst, src, f32_bytes(n));
}

static void f32_decode(const void *src, size_t n, float *dst)
{
	memcpy(dst, src, f32_bytes(n));
}

/* ---- u8: values are pixels, 0 to 255 ---- */

static size_t u8_bytes(size_t n)
{
	return n;
}

/* Anything else saturates; ties round away from zero, a NaN becomes 0. */
static uint8_t pixel_of(float value)
{
	if (!(value > 0))
		return 0;
	return value >= 255 ? 255 : (uint8_t)(value + 0.5f);
}

static void u8_encode(const float *src, size_t n, void *dst)
{
	uint8_t *pixels = dst;

	for (size_t i = 0; i < n; i++)
		pixels[i] = pixel_of(src[i]);
}

static void u8_decode(const void *src, size_t n, float *dst)
{
	const uint8_t *pixels = src;

	for (size_t i = 0; i < n; i++)
		dst[i] = pixels[i];
}

/* ---- the table ---- */

struct codec {
	struct kerf_codec_info info;
	size_t (*bytes)(size_t n);
	void (*encode)(const float *src, size_t n, void *dst);
	void (*decode)(const void *src, size_t n, float *dst);
};

static const struct codec codecs[KERF_CODEC_COUNT] = {
	[KERF_CODEC_F32] = {{"f32", 16, 64, true}, f32_bytes, f32_encode, f32_decode},
	[KERF_CODEC_U8] = {{"u8", 64, 64, true}, u8_bytes, u8_encode, u8_decode},
};

static const struct codec *find(enum kerf_codec codec)
{
	assert((unsigned)codec < KERF_CODEC_COUNT);
	return &codecs[codec];
}

const struct kerf_codec_info *kerf_codec_info(unsigned codec)
{
	return codec < KERF_CODEC_COUNT ? &codecs[codec].info : NULL;
}

int kerf_codec_by_name(const char *name)
{
	for (int i = 0; i < KERF_CODEC_COUNT; i++)
		if (!strcmp(codecs[i].info.name, name))
			return i;
	return -EINVAL;
}

size_t kerf_codec_bytes(enum kerf_codec codec, size_t n)
{
	return find(codec)->bytes(n);
}

void kerf_codec_encode(enum kerf_codec codec, const float *src, size_t n, void *dst)
{
	if (n)
		find(codec)->encode(src, n, dst);
}

void kerf_codec_decode(enum kerf_codec codec, const void *src, size_t n, float *dst)
{
	if (n)
		find(codec)->decode(src, n, dst);
}
