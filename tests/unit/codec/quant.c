/* bf16, q8, q4: twins that give the same bits, error bounds, hostile values and bytes. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "codec/quant.h"
#include "unit.h"

#define BLOCKS 512
#define VALUES (BLOCKS * Q8_VALUES)

static float values[VALUES], out[VALUES], expected[VALUES];
static uint8_t wire[VALUES * 4], wire_expected[VALUES * 4];

/* Ordinary activations; all magnitudes there are; any bits at all; blocks of one kind. */
enum kind { NORMAL, WIDE, BITS, SPARSE, KINDS };

static void fill(enum kind kind, uint64_t seed)
{
	static const uint32_t special[] = {0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000,
		0x7f800001, 1, 0x80000001, 0x7f7fffff, 0xff7fffff, 0x00800000, 0x7effffff};
	struct kerf_rng rng = {.seed = seed, .stream = kind};

	for (unsigned i = 0; i < VALUES; i++) {
		uint32_t u = kerf_rng_u32(&rng);

		if (kind == NORMAL)
			values[i] = ((float)(int32_t)u) * 0x1p-29f;
		else if (kind == WIDE)
			values[i] = ldexpf((float)(int32_t)u, (int)(kerf_rng_u32(&rng) % 240) - 150);
		else if (kind == BITS)
			values[i] = quant_float(u);
		else
			values[i] = quant_float(u % 8 ? (i / Q8_VALUES) % 3 == 0 ? 0 : u % 4096
						      : special[(u >> 8) % 12]);
	}
}

struct way {
	const char *name;
	unsigned values, bytes;
	size_t encode, decode; /* of struct quant_kernel */
};

#define WAY(n, v, b)                                                                               \
	{                                                                                          \
		#n, v, b, offsetof(struct quant_kernel, n##_encode),                               \
			offsetof(struct quant_kernel, n##_decode)                                  \
	}

static const struct way ways[] = {WAY(bf16, BF16_VALUES, 2 * BF16_VALUES),
	WAY(q8, Q8_VALUES, Q8_BYTES), WAY(q4, Q4_VALUES, Q4_BYTES)};

static void encode(const struct quant_kernel *k, const struct way *w, uint8_t *to)
{
	void (*f)(const float *, size_t, uint8_t *);

	memcpy(&f, (const char *)k + w->encode, sizeof(f));
	f(values, VALUES / w->values, to);
}

static void decode(const struct quant_kernel *k, const struct way *w, const uint8_t *from, float *to)
{
	void (*f)(const uint8_t *, size_t, float *);

	memcpy(&f, (const char *)k + w->decode, sizeof(f));
	f(from, VALUES / w->values, to);
}

static void test_twins_are_equal(void)
{
	for (unsigned kind = 0; kind < KINDS; kind++)
		for (unsigned i = 0; i < KERF_ARRAY_LEN(ways); i++)
			for (unsigned k = 0; k + 1 < kerf_quant_n_kernels; k++) {
				const struct quant_kernel *twin = kerf_quant_kernels[k];
				const struct way *w = &ways[i];
				const size_t bytes = VALUES / w->values * w->bytes;

				if (!twin->supported())
					continue;
				fill(kind, 40 + k);
				memset(wire, 0xa5, sizeof(wire));
				memset(wire_expected, 0xa5, sizeof(wire));
				encode(&kerf_quant_scalar, w, wire_expected);
				encode(twin, w, wire);
				CU_ASSERT_EQUAL(memcmp(wire, wire_expected, sizeof(wire)), 0);
				decode(&kerf_quant_scalar, w, wire, expected);
				decode(twin, w, wire, out);
				CU_ASSERT_EQUAL(memcmp(out, expected, sizeof(out)), 0);
				/* Bytes that nobody encoded. */
				fill(BITS, 90 + k);
				memcpy(wire, values, bytes < sizeof(values) ? bytes : sizeof(values));
				decode(&kerf_quant_scalar, w, wire, expected);
				decode(twin, w, wire, out);
				CU_ASSERT_EQUAL(memcmp(out, expected, sizeof(out)), 0);
			}
}

/* Every bf16 comes back as it is, and every f32 goes to one of its two neighbours, the nearer one. */
static void test_bf16_rounds_to_nearest(void)
{
	struct kerf_rng rng = {.seed = 3};

	for (uint32_t b = 0; b < 65536; b++) {
		const float f = quant_float(b << 16);
		uint16_t got = quant_bf16(quant_bits(f));
		CU_ASSERT(isnan(f) ? isnan(quant_float((uint32_t)got << 16)) : got == b);
	}
	for (int i = 0; i < 1000000; i++) {
		const uint32_t u = kerf_rng_u32(&rng);
		const float f = quant_float(u), got = quant_float((uint32_t)quant_bf16(u) << 16);
		const float down = quant_float(u & 0xffff0000u);
		const float up = quant_float((u & 0xffff0000u) + 0x10000u);

		if (isnan(f))
			CU_ASSERT_FATAL(isnan(got));
		if (!isfinite(f) || !isfinite(up))
			continue;
		CU_ASSERT_FATAL(fabs((double)got - f) ==
			fmin(fabs((double)down - f), fabs((double)up - f)));
	}
}

/* Off by half a level of the block's scale at most, which the largest magnitude / 127 or / 7 is. */
static void test_error_is_bounded(void)
{
	const struct {
		enum kerf_codec codec;
		unsigned block;
		double levels, slack;
	} all[] = {{KERF_CODEC_Q8, Q8_VALUES, 127, 1.00001}, {KERF_CODEC_Q4, Q4_VALUES, 7, 1.008}};

	for (unsigned c = 0; c < KERF_ARRAY_LEN(all); c++) {
		fill(NORMAL, 7);
		kerf_codec_encode(all[c].codec, values, VALUES, wire);
		kerf_codec_decode(all[c].codec, wire, VALUES, out);
		for (unsigned b = 0; b < VALUES; b += all[c].block) {
			double top = 0;

			for (unsigned i = b; i < b + all[c].block; i++)
				top = fmax(top, fabs((double)values[i]));
			for (unsigned i = b; i < b + all[c].block; i++)
				CU_ASSERT_FATAL(fabs((double)out[i] - values[i]) <=
					all[c].slack * top / all[c].levels / 2);
		}
	}
}

/* A second trip changes nothing in q8: what was decoded is what is encoded again, to the last bits. */
static void test_second_trip_keeps_levels(void)
{
	fill(NORMAL, 8);
	kerf_codec_encode(KERF_CODEC_Q8, values, VALUES, wire);
	kerf_codec_decode(KERF_CODEC_Q8, wire, VALUES, out);
	kerf_codec_encode(KERF_CODEC_Q8, out, VALUES, wire_expected);
	for (unsigned i = 0; i < BLOCKS; i++)
		CU_ASSERT_FATAL(memcmp(wire + i * Q8_BYTES + 4, wire_expected + i * Q8_BYTES + 4,
					Q8_VALUES) == 0);
}

/* Any bytes decode to finite values in q8 and q4, and any values encode to such bytes. */
static void test_hostile_is_finite(void)
{
	for (unsigned kind = 0; kind < KINDS; kind++) {
		fill(kind, 11);
		for (unsigned codec = KERF_CODEC_Q8; codec <= KERF_CODEC_Q4; codec++) {
			kerf_codec_decode(codec, values, VALUES, out);
			for (unsigned i = 0; i < VALUES; i++)
				CU_ASSERT_FATAL(isfinite(out[i]));
			kerf_codec_encode(codec, values, VALUES, wire);
			kerf_codec_decode(codec, wire, VALUES, out);
			for (unsigned i = 0; i < VALUES; i++)
				CU_ASSERT_FATAL(isfinite(out[i]) &&
					(isnan(values[i]) ? out[i] == 0 : 1));
		}
	}
}

/* Infinities are the largest level of the finite ones; alone they are zeros. */
static void test_infinities_saturate(void)
{
	float in[Q8_VALUES] = {1, INFINITY, -INFINITY, NAN, -0.5f};

	kerf_codec_encode(KERF_CODEC_Q8, in, Q8_VALUES, wire);
	kerf_codec_decode(KERF_CODEC_Q8, wire, Q8_VALUES, out);
	CU_ASSERT_DOUBLE_EQUAL(out[0], 1, 1e-6);
	CU_ASSERT_EQUAL(out[1], out[0]);
	CU_ASSERT_EQUAL(out[2], -out[0]);
	CU_ASSERT_EQUAL(out[3], 0);
	in[0] = in[4] = 0;
	kerf_codec_encode(KERF_CODEC_Q8, in, Q8_VALUES, wire);
	kerf_codec_decode(KERF_CODEC_Q8, wire, Q8_VALUES, out);
	for (unsigned i = 0; i < Q8_VALUES; i++)
		CU_ASSERT_EQUAL(out[i], 0);
}

/* Short tensors: as many bytes as kerf_codec_bytes says and no more, values as in a whole block. */
static void test_short_blocks(void)
{
	for (unsigned codec = KERF_CODEC_BF16; codec <= KERF_CODEC_Q4; codec++)
		for (unsigned n = 1; n <= 200; n++) {
			const size_t bytes = kerf_codec_bytes(codec, n);

			fill(NORMAL, n);
			memset(wire, 0xa5, sizeof(wire));
			kerf_codec_encode(codec, values, n, wire);
			CU_ASSERT_EQUAL(wire[bytes], 0xa5);
			memset(out, 0, sizeof(out));
			kerf_codec_decode(codec, wire, n, out);
			CU_ASSERT_EQUAL(out[n], 0);
			/* The same values with zeros behind them up to whole blocks. */
			memset(values + n, 0, 256 * sizeof(values[0]));
			kerf_codec_encode(codec, values, 256, wire);
			kerf_codec_decode(codec, wire, 256, expected);
			CU_ASSERT_EQUAL(memcmp(out, expected, n * sizeof(out[0])), 0);
		}
}

UNIT_MAIN("codec.quant", UNIT(test_twins_are_equal), UNIT(test_bf16_rounds_to_nearest),
	UNIT(test_error_is_bounded), UNIT(test_second_trip_keeps_levels),
	UNIT(test_hostile_is_finite), UNIT(test_infinities_saturate), UNIT(test_short_blocks))
