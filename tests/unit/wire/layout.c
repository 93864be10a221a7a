#include "unit.h"
#include "wire/wire.h"

/* Every block in exactly one packet, in order, and no packet over its payload or without need. */
static void check_layout(uint64_t n_blocks, uint32_t block_bytes, uint32_t payload_bytes)
{
	struct kerf_layout l;
	uint32_t next = 0;
	unsigned bad = 0;

	CU_ASSERT_EQUAL_FATAL(kerf_layout_make(&l, n_blocks, block_bytes, payload_bytes), 0);
	for (uint32_t i = 0; i < l.n_packets; i++) {
		uint32_t first, n, offset;

		kerf_layout_packet(&l, i, &first, &n, &offset);
		uint64_t used = offset + (uint64_t)n * block_bytes;
		bool last = i + 1 == l.n_packets;
		bad += offset != (i == 0 ? 64u : 0) || first != next || used > payload_bytes;
		bad += i > 0 && n == 0;
		bad += !last && used + block_bytes <= payload_bytes; /* another would have fitted */
		next = first + n;
	}
	CU_ASSERT_EQUAL(bad, 0);
	CU_ASSERT_EQUAL(next, n_blocks);
}

static void test_every_block_is_in_one_packet(void)
{
	static const uint32_t blocks[] = {1, 2, 20, 36, 64, 68, 1000, 1408};
	static const uint32_t payloads[] = {1408, 1436, 1472, 8936, KERF_PAYLOAD_MAX};

	for (size_t b = 0; b < KERF_ARRAY_LEN(blocks); b++)
		for (size_t p = 0; p < KERF_ARRAY_LEN(payloads); p++)
			for (uint64_t n = 0; n < 3000; n = n < 100 ? n + 1 : n * 9 / 8)
				check_layout(n, blocks[b], payloads[p]);
}

static void test_random_layouts(void)
{
	struct kerf_rng rng = {.seed = 1, .stream = 7};

	for (unsigned i = 0; i < 2000; i++) {
		uint32_t payload = 64 + kerf_rng_u32(&rng) % (KERF_PAYLOAD_MAX - 63);
		uint32_t block = 1 + kerf_rng_u32(&rng) % payload;
		uint64_t most = (payload - 64) / block + 65534ull * (payload / block);
		uint64_t n = kerf_rng_u64(&rng) % (KERF_MIN(most, 300000) + 1);

		check_layout(n, block, payload);
	}
}

static void test_known_layout(void)
{
	/* 224 x 224 x 3 values in f32: 9408 blocks of 64 bytes; 21 beside the descriptor. */
	struct kerf_layout l;

	CU_ASSERT_EQUAL(kerf_layout_make(&l, 9408, 64, 1408), 0);
	CU_ASSERT_EQUAL(l.first_blocks, 21);
	CU_ASSERT_EQUAL(l.per_packet, 22);
	CU_ASSERT_EQUAL(l.n_packets, 1 + 427);
	CU_ASSERT_EQUAL(kerf_layout_wire_bytes(&l, 602112, 24), 602112 + 64 + 428 * (64 + 24));
}

static void test_limits(void)
{
	struct kerf_layout l;

	/* Full: 65535 packets, the first with 21 blocks. */
	CU_ASSERT_EQUAL(kerf_layout_make(&l, 21 + 65534ull * 22, 64, 1408), 0);
	CU_ASSERT_EQUAL(l.n_packets, 65535);
	CU_ASSERT_EQUAL(kerf_layout_make(&l, 22 + 65534ull * 22, 64, 1408), -EMSGSIZE);
	CU_ASSERT_EQUAL(kerf_layout_make(&l, UINT64_MAX, 1, KERF_PAYLOAD_MAX), -EMSGSIZE);
	/* The largest message of all: one-byte blocks; 32 bits hold their number. */
	uint64_t most = KERF_PAYLOAD_MAX - 64 + 65534ull * KERF_PAYLOAD_MAX;
	CU_ASSERT_EQUAL(kerf_layout_make(&l, most, 1, KERF_PAYLOAD_MAX), 0);
	uint32_t first, n, offset;
	kerf_layout_packet(&l, 65534, &first, &n, &offset);
	CU_ASSERT_EQUAL((uint64_t)first + n, most);
	CU_ASSERT_EQUAL(kerf_layout_make(&l, most + 1, 1, KERF_PAYLOAD_MAX), -EMSGSIZE);

	CU_ASSERT_EQUAL(kerf_layout_make(&l, 1, 65, 64), -EMSGSIZE); /* no packet holds a block */
	CU_ASSERT_EQUAL(kerf_layout_make(&l, 1, 8, 63), -EMSGSIZE);  /* nor the descriptor */
	CU_ASSERT_EQUAL(kerf_layout_make(&l, 1, 8, KERF_PAYLOAD_MAX + 1), -EMSGSIZE);
	CU_ASSERT_EQUAL(kerf_layout_make(&l, 1, 0, 1408), -EINVAL);
	CU_ASSERT_EQUAL(kerf_layout_make(&l, 3, 64, 64), 0); /* the descriptor fills packet 0 */
	CU_ASSERT(l.first_blocks == 0 && l.n_packets == 4);
}

UNIT_MAIN("wire.layout", UNIT(test_every_block_is_in_one_packet), UNIT(test_random_layouts),
	UNIT(test_known_layout), UNIT(test_limits))
