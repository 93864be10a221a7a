#include <math.h>
#include <string.h>

#include "codec/codec.h"
#include "unit.h"

#define GUARD 0xa5

static void test_table(void)
{
	for (unsigned i = 0; i < KERF_CODEC_COUNT; i++) {
		const struct kerf_codec_info *info = kerf_codec_info(i);
		CU_ASSERT_PTR_NOT_NULL_FATAL(info);
		CU_ASSERT_EQUAL(kerf_codec_by_name(info->name), (int)i);
		CU_ASSERT_EQUAL(kerf_codec_bytes(i, info->block_values), info->block_bytes);
		CU_ASSERT_EQUAL(kerf_codec_bytes(i, 1000ul * info->block_values),
			1000ul * info->block_bytes);
		CU_ASSERT_EQUAL(kerf_codec_bytes(i, 0), 0);
	}
	CU_ASSERT_PTR_NULL(kerf_codec_info(KERF_CODEC_COUNT));
	CU_ASSERT_PTR_NULL(kerf_codec_info(UINT32_MAX));
	CU_ASSERT_EQUAL(kerf_codec_by_name("f33"), -EINVAL);
	CU_ASSERT_EQUAL(kerf_codec_by_name("f3"), -EINVAL);
	CU_ASSERT_EQUAL(kerf_codec_by_name(""), -EINVAL);
	/* Numbers are the wire's. */
	CU_ASSERT_EQUAL(kerf_codec_by_name("f32"), 0);
	CU_ASSERT_EQUAL(kerf_codec_by_name("u8"), 1);
	CU_ASSERT_EQUAL(kerf_codec_by_name("bf16"), 2);
	CU_ASSERT_EQUAL(kerf_codec_by_name("q8"), 3);
	CU_ASSERT_EQUAL(kerf_codec_by_name("q4"), 4);
	CU_ASSERT_EQUAL(kerf_codec_by_name("jpeg"), 5);
}

static void test_f32_is_little_endian_bits(void)
{
	static const float in[3] = {1.0f, -2.0f, 0x1p-149f};
	static const uint8_t wire[12] = {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 1, 0, 0, 0};
	uint8_t out[12];

	kerf_codec_encode(KERF_CODEC_F32, in, 3, out);
	CU_ASSERT_EQUAL(memcmp(out, wire, sizeof(wire)), 0);
}

static void test_f32_keeps_every_bit(void)
{
	uint32_t bits[5] = {0x80000000, 0x7fc12345, 0xff800000, 0x00000001, 0x7fa00001};
	float in[5], out[5];
	uint8_t wire[21];

	memcpy(in, bits, sizeof(bits));
	memset(wire, GUARD, sizeof(wire));
	kerf_codec_encode(KERF_CODEC_F32, in, 5, wire + 1); /* payloads need no alignment */
	kerf_codec_decode(KERF_CODEC_F32, wire + 1, 5, out);
	CU_ASSERT_EQUAL(memcmp(out, bits, sizeof(bits)), 0);
	CU_ASSERT_EQUAL(wire[0], GUARD);
}

static void test_u8_is_lossless_on_pixels(void)
{
	float in[256], out[256];
	uint8_t wire[257];

	for (unsigned i = 0; i < 256; i++)
		in[i] = (float)i;
	wire[256] = GUARD;
	kerf_codec_encode(KERF_CODEC_U8, in, 256, wire);
	for (unsigned i = 0; i < 256; i++)
		CU_ASSERT_EQUAL(wire[i], i);
	CU_ASSERT_EQUAL(wire[256], GUARD);
	kerf_codec_decode(KERF_CODEC_U8, wire, 256, out);
	CU_ASSERT_EQUAL(memcmp(in, out, sizeof(in)), 0);
}

static void test_u8_saturates(void)
{
	const float in[9] = {-1, 255.4f, 256, 1e30f, -INFINITY, NAN, 0.49f, 0.5f, 254.5f};
	static const uint8_t expected[9] = {0, 255, 255, 255, 0, 0, 0, 1, 255};
	uint8_t wire[9];

	kerf_codec_encode(KERF_CODEC_U8, in, 9, wire);
	CU_ASSERT_EQUAL(memcmp(wire, expected, sizeof(wire)), 0);
}

/* A tensor sent block by block, in any order, is the tensor sent whole; without loss it is the tensor. */
static void test_blocks_stand_alone(void)
{
	enum { VALUES = 1000 };
	float in[VALUES], out[VALUES], decoded[VALUES];
	uint8_t whole[VALUES * 4], pieces[VALUES * 4];

	for (unsigned i = 0; i < VALUES; i++)
		in[i] = (float)(i * 31 % 256);
	for (unsigned c = 0; c < KERF_CODEC_COUNT; c++) {
		const struct kerf_codec_info *info = kerf_codec_info(c);
		unsigned blocks = (VALUES + info->block_values - 1) / info->block_values;
		memset(pieces, GUARD, sizeof(pieces));
		memset(whole, GUARD, sizeof(whole));
		kerf_codec_encode(c, in, VALUES, whole);
		for (unsigned b = blocks; b-- > 0;) {
			unsigned first = b * info->block_values;
			unsigned n = KERF_MIN(info->block_values, VALUES - first);
			kerf_codec_encode(c, in + first, n, pieces + b * info->block_bytes);
			kerf_codec_decode(c, whole + b * info->block_bytes, n, out + first);
		}
		CU_ASSERT_EQUAL(memcmp(whole, pieces, sizeof(whole)), 0);
		kerf_codec_decode(c, whole, VALUES, decoded);
		CU_ASSERT_EQUAL(memcmp(decoded, out, sizeof(out)), 0);
		CU_ASSERT(!info->lossless || memcmp(in, out, sizeof(in)) == 0);
		size_t bytes = kerf_codec_bytes(c, VALUES);
		CU_ASSERT(bytes == sizeof(whole) || whole[bytes] == GUARD);
	}
}

UNIT_MAIN("codec", UNIT(test_table), UNIT(test_f32_is_little_endian_bits),
	UNIT(test_f32_keeps_every_bit), UNIT(test_u8_is_lossless_on_pixels),
	UNIT(test_u8_saturates), UNIT(test_blocks_stand_alone))
