#include "codec/quant.h"

#include <assert.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the wire is little endian, and copied");

#define MAX_BLOCK 68 /* bytes: q8's */

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

/* ---- bf16, q8, q4: whole blocks by the best twin, the rest of a tensor by the scalar one ---- */

static const struct quant_kernel *quant = &kerf_quant_scalar;

/* Runs before main, when there is one thread: the pointer needs no synchronisation after that. */
__attribute__((constructor)) static void choose_quant(void)
{
	__builtin_cpu_init();
	for (unsigned i = kerf_quant_n_kernels; i-- > 0;)
		if (kerf_quant_kernels[i]->supported())
			quant = kerf_quant_kernels[i];
}

static size_t bf16_bytes(size_t n)
{
	return n * 2;
}

static size_t q8_bytes(size_t n)
{
	const size_t rest = n % Q8_VALUES;

	return n / Q8_VALUES * Q8_BYTES + (rest ? Q8_BYTES - Q8_VALUES + rest : 0);
}

static size_t q4_bytes(size_t n)
{
	const size_t rest = n % Q4_VALUES;

	return n / Q4_VALUES * Q4_BYTES + (rest ? 2 + KERF_MIN(rest, Q4_VALUES / 2) : 0);
}

#define BLOCK_CODEC(name, NAME, BYTES)                                                             \
	static void name##_encode(const float *src, size_t n, void *dst)                           \
	{                                                                                          \
		const size_t blocks = n / NAME##_VALUES, done = blocks * NAME##_VALUES;            \
                                                                                                   \
		quant->name##_encode(src, blocks, dst);                                            \
		if (done < n)                                                                      \
			kerf_quant_tail_##name##_encode(                                           \
				src + done, n - done, (uint8_t *)dst + blocks * (BYTES));          \
	}                                                                                          \
                                                                                                   \
	static void name##_decode(const void *src, size_t n, float *dst)                           \
	{                                                                                          \
		const size_t blocks = n / NAME##_VALUES, done = blocks * NAME##_VALUES;            \
                                                                                                   \
		quant->name##_decode(src, blocks, dst);                                            \
		if (done < n)                                                                      \
			kerf_quant_tail_##name##_decode(                                           \
				(const uint8_t *)src + blocks * (BYTES), n - done, dst + done);    \
	}

BLOCK_CODEC(bf16, BF16, 2 * BF16_VALUES)
BLOCK_CODEC(q8, Q8, Q8_BYTES)
BLOCK_CODEC(q4, Q4, Q4_BYTES)

/* ---- the table ---- */

struct codec {
	struct kerf_codec_info info;
	size_t (*bytes)(size_t n);
	void (*encode)(const float *src, size_t n, void *dst);
	void (*decode)(const void *src, size_t n, float *dst);
};

static const struct codec codecs[KERF_CODEC_COUNT] = {
	[KERF_CODEC_F32] = {{"f32", 16, 64, true}, f32_bytes, f32_encode, f32_decode},
	[KERF_CODEC_U8] = {{"u8", 64, 64, true, .is_bytes = true}, u8_bytes, u8_encode, u8_decode},
	[KERF_CODEC_BF16] = {{"bf16", BF16_VALUES, 2 * BF16_VALUES, false}, bf16_bytes, bf16_encode,
		bf16_decode},
	[KERF_CODEC_Q8] = {{"q8", Q8_VALUES, Q8_BYTES, false}, q8_bytes, q8_encode, q8_decode},
	[KERF_CODEC_Q4] = {{"q4", Q4_VALUES, Q4_BYTES, false}, q4_bytes, q4_encode, q4_decode},
	[KERF_CODEC_JPEG] = {{"jpeg", 64, 64, true, .is_bytes = true, .own_length = true}, u8_bytes,
		u8_encode, u8_decode},
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

void kerf_codec_round_trip(enum kerf_codec codec, float *values, size_t n)
{
	const struct codec *c = find(codec);
	uint8_t block[MAX_BLOCK];

	for (size_t i = 0; i < n; i += c->info.block_values) {
		const size_t now = KERF_MIN(n - i, c->info.block_values);
		c->encode(values + i, now, block);
		c->decode(block, now, values + i);
	}
}
