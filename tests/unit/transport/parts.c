/* Blocks <-> values, against a model that lays every block out one by one. */
#include "harness.h"

#define MAX_VALUES 4000
#define GUARD 0x5a

/* The whole message as bytes, and where each block begins in it. */
struct model {
	uint8_t bytes[4 * MAX_VALUES];
	size_t start[MAX_VALUES + 1];
	uint64_t blocks;
};

static void lay_out(struct model *m, const struct kerf_part *parts, unsigned n_parts,
	enum kerf_codec codec)
{
	const size_t block = kerf_codec_info(codec)->block_values;
	size_t at = 0;

	m->blocks = 0;
	for (unsigned i = 0; i < n_parts; i++)
		for (size_t v = 0; v < parts[i].n; v += block) {
			const size_t n = KERF_MIN(block, parts[i].n - v);

			m->start[m->blocks++] = at;
			if (kerf_codec_info(codec)->is_bytes)
				memcpy(&m->bytes[at], parts[i].pixels + v, n);
			else
				kerf_codec_encode(codec, parts[i].values + v, n, &m->bytes[at]);
			at += kerf_codec_bytes(codec, n);
		}
	m->start[m->blocks] = at;
}

static void check_range(const struct model *m, const struct kerf_part *parts,
	const struct kerf_part *copies, unsigned n_parts, enum kerf_codec codec, uint64_t first,
	uint64_t n)
{
	size_t len = m->start[first + n] - m->start[first];
	uint8_t *buf = malloc(len + 1);

	buf[len] = GUARD;
	CU_ASSERT_EQUAL(kerf_parts_encode(parts, n_parts, codec, first, n, buf), len);
	CU_ASSERT_EQUAL(memcmp(buf, &m->bytes[m->start[first]], len), 0);
	CU_ASSERT_EQUAL(buf[len], GUARD);
	CU_ASSERT_EQUAL(kerf_parts_decode(copies, n_parts, codec, first, n, buf, len + 1),
		-EBADMSG);
	if (len)
		CU_ASSERT_EQUAL(kerf_parts_decode(copies, n_parts, codec, first, n, buf, len - 1),
			-EBADMSG);
	CU_ASSERT_EQUAL(kerf_parts_decode(copies, n_parts, codec, first, n, buf, len), 0);
	free(buf);
}

/* Decodes the message in ranges of `step` blocks, last range first, into arrays of exact size. */
static void check_parts(const size_t *sizes, unsigned n_parts, enum kerf_codec codec, uint64_t step)
{
	static struct model m;
	struct kerf_part parts[KERF_MAX_PARTS] = {0}, copies[KERF_MAX_PARTS] = {0};
	const size_t value_bytes = kerf_codec_info(codec)->is_bytes ? 1 : 4;

	for (unsigned i = 0; i < n_parts; i++) {
		float *from = bench_values(sizes[i]), *to = bench_values(sizes[i]);

		bench_fill(from, sizes[i], i);
		parts[i].n = copies[i].n = sizes[i];
		if (kerf_codec_info(codec)->is_bytes) {
			parts[i].pixels = (uint8_t *)from;
			copies[i].pixels = (uint8_t *)to;
		} else {
			parts[i].values = from;
			copies[i].values = to;
		}
	}
	lay_out(&m, parts, n_parts, codec);
	CU_ASSERT_EQUAL(kerf_parts_blocks(parts, n_parts, codec), m.blocks);
	CU_ASSERT_EQUAL(kerf_parts_bytes(parts, n_parts, codec), m.start[m.blocks]);
	for (uint64_t end = m.blocks; end > 0;) {
		uint64_t n = KERF_MIN(step, end);

		end -= n;
		check_range(&m, parts, copies, n_parts, codec, end, n);
	}
	for (unsigned i = 0; i < n_parts; i++) {
		void *from = kerf_codec_info(codec)->is_bytes ? (void *)parts[i].pixels : parts[i].values;
		void *to = kerf_codec_info(codec)->is_bytes ? (void *)copies[i].pixels : copies[i].values;

		if (!kerf_codec_info(codec)->is_bytes)
			kerf_codec_round_trip(codec, from, sizes[i]);
		CU_ASSERT_EQUAL(memcmp(from, to, sizes[i] * value_bytes), 0);
		free(from);
		free(to);
	}
}

static void test_ranges_match_the_model(void)
{
	static const struct {
		size_t sizes[4];
		unsigned n;
	} all[] = {{{1}, 1}, {{16}, 1}, {{17}, 1}, {{64}, 1}, {{65}, 1}, {{1, 1, 1, 1}, 4},
		{{63, 64, 65, 0}, 4}, {{0, 5, 0, 7}, 4}, {{1000, 3, 999, 128}, 4}};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(all); i++)
		for (uint64_t step = 1; step < 30; step++)
			for (unsigned codec = 0; codec < KERF_CODEC_COUNT; codec++)
				check_parts(all[i].sizes, all[i].n, codec, step);
}

static void test_blocks_that_are_not_there(void)
{
	float values[20] = {0};
	const struct kerf_part part = {.values = values, .n = 20};
	uint8_t buf[4096] = {0};

	const enum kerf_codec f32 = KERF_CODEC_F32;

	for (size_t len = 0; len < sizeof(buf); len++) {
		CU_ASSERT_EQUAL(kerf_parts_decode(&part, 1, f32, 1, 2, buf, len), -EBADMSG);
		CU_ASSERT_EQUAL(kerf_parts_decode(&part, 1, f32, 2, 1, buf, len), -EBADMSG);
	}
	CU_ASSERT_EQUAL(kerf_parts_decode(&part, 1, f32, UINT64_MAX, 1, buf, 64), -EBADMSG);
	CU_ASSERT_EQUAL(kerf_parts_decode(&part, 1, f32, 0, UINT64_MAX, buf, 80), -EBADMSG);
	CU_ASSERT_EQUAL(kerf_parts_decode(&part, 1, KERF_CODEC_COUNT, 0, 1, buf, 64), -EBADMSG);
}

static void test_empty_range(void)
{
	float values[20] = {0};
	const struct kerf_part part = {.values = values, .n = 20};

	CU_ASSERT_EQUAL(kerf_parts_encode(&part, 1, KERF_CODEC_F32, 0, 0, NULL), 0);
	CU_ASSERT_EQUAL(kerf_parts_decode(&part, 1, KERF_CODEC_F32, 0, 0, NULL, 0), 0);
}

UNIT_MAIN("transport.parts", UNIT(test_ranges_match_the_model),
	UNIT(test_blocks_that_are_not_there), UNIT(test_empty_range))
