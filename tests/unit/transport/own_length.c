/* Messages that say themselves how long they are: files, of which only the number of packets is known at first. */
#include "harness.h"

#define PAYLOAD 1450
#define ROOM 20000
#define FIRST ((PAYLOAD - 64) / 64 * 64) /* bytes in packet 0 */
#define OTHERS (PAYLOAD / 64 * 64)

struct file {
	uint8_t bytes[ROOM + 1], arrived[ROOM];
	struct kerf_part part;
	struct kerf_layout layout;
	struct kerf_receiver r;
};

static struct kerf_header header_of(const struct file *f, uint32_t index)
{
	return (struct kerf_header){.type = KERF_MSG_DATA, .session = 1, .frame = 2, .index = (uint16_t)index,
		.count = (uint16_t)f->layout.n_packets, .codec = KERF_CODEC_JPEG};
}

static struct file *make(size_t n)
{
	struct file *f = calloc(1, sizeof(*f));
	const struct kerf_part room = {.pixels = f->arrived, .n = ROOM};

	for (size_t i = 0; i < n; i++)
		f->bytes[i] = (uint8_t)(1 + i * 31 % 255);
	f->part = (struct kerf_part){.pixels = f->bytes, .n = n};
	CU_ASSERT_EQUAL_FATAL(kerf_layout_make(&f->layout, kerf_parts_blocks(&f->part, 1, KERF_CODEC_JPEG), 64,
				      PAYLOAD), 0);
	const struct kerf_header h = header_of(f, 0);
	CU_ASSERT_EQUAL_FATAL(kerf_receiver_create(&f->r, 64), 0);
	CU_ASSERT_EQUAL_FATAL(kerf_receiver_start(&f->r, &h, &room, 1, PAYLOAD, 0), 0);
	return f;
}

static void destroy(struct file *f)
{
	kerf_receiver_destroy(&f->r);
	free(f);
}

static size_t payload_of(const struct file *f, uint32_t index, uint8_t *buf)
{
	const struct kerf_descriptor d = {.values = f->part.n, .bytes = f->part.n, .payload_bytes = PAYLOAD,
		.dims = {1, 1, 1, 1}, .codec = KERF_CODEC_JPEG, .n_tensors = 1};
	uint32_t first, n, offset;

	kerf_layout_packet(&f->layout, index, &first, &n, &offset);
	if (index == 0)
		kerf_wire_put_descriptor(buf, &d);
	return offset + kerf_parts_encode(&f->part, 1, KERF_CODEC_JPEG, first, n, buf + offset);
}

static int give_bytes(struct file *f, uint32_t index, const uint8_t *buf, size_t len)
{
	const struct kerf_header h = header_of(f, index);
	uint8_t *exact = malloc(len + !len); /* so that a sanitizer sees who reads beyond */
	int rc;

	memcpy(exact, buf, len);
	rc = kerf_receiver_packet(&f->r, &h, exact, len, 1500, 1);
	free(exact);
	return rc;
}

static int give(struct file *f, uint32_t index)
{
	uint8_t buf[PAYLOAD];
	const size_t len = payload_of(f, index, buf);

	return give_bytes(f, index, buf, len);
}

/* Lengths on and about every boundary, forwards, backwards and from the middle. */
static void test_any_length_in_any_order(void)
{
	static const size_t around[] = {1, 63, 64, 65, FIRST, FIRST + OTHERS, FIRST + 3 * OTHERS, ROOM - 1, ROOM};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(around); i++)
		for (size_t n = around[i] > 2 ? around[i] - 2 : 1; n <= KERF_MIN(around[i] + 2, (size_t)ROOM); n++)
			for (unsigned order = 0; order < 3; order++) {
				struct file *f = make(n);
				const uint32_t packets = f->layout.n_packets;

				for (uint32_t k = 0; k < packets; k++) {
					const uint32_t at = (order == 2 ? k + packets / 2 : k) % packets;

					CU_ASSERT_FALSE(f->r.complete);
					CU_ASSERT_EQUAL(give(f, order == 1 ? packets - 1 - at : at), 0);
				}
				CU_ASSERT_TRUE(f->r.complete);
				CU_ASSERT_EQUAL(f->r.parts[0].n, n);
				CU_ASSERT_EQUAL(memcmp(f->arrived, f->bytes, n), 0);
				CU_ASSERT(n == ROOM || f->arrived[n] == 0);
				destroy(f);
			}
}

/* The second to tell the length must agree with the first. */
static void test_two_lengths(void)
{
	uint8_t buf[PAYLOAD];
	struct file *f = make(FIRST + 2 * OTHERS);
	size_t len;

	CU_ASSERT_EQUAL(give(f, 0), 0);
	len = payload_of(f, 2, buf);
	CU_ASSERT_EQUAL(give_bytes(f, 2, buf, len - 1), -EBADMSG);
	CU_ASSERT_EQUAL(give_bytes(f, 2, buf, 0), -EBADMSG);
	CU_ASSERT_EQUAL(give_bytes(f, 2, buf, len), 0);
	destroy(f);

	f = make(FIRST + 2 * OTHERS - 100);
	CU_ASSERT_EQUAL(give(f, 2), 0);
	len = payload_of(f, 0, buf);
	((struct kerf_wire_descriptor *)(void *)buf)->bytes = ((struct kerf_wire_descriptor *)(void *)buf)->values =
		htole64(FIRST + 2 * OTHERS - 101);
	CU_ASSERT_EQUAL(give_bytes(f, 0, buf, len), -EBADMSG);
	CU_ASSERT_EQUAL(give(f, 0), 0);
	destroy(f);
}

/* Lengths that belong to another number of packets, that there is no room for, or that are none. */
static void test_lengths_that_cannot_be(void)
{
	static const uint64_t bad[] = {0, 1, FIRST, FIRST + OTHERS, FIRST + 2 * OTHERS + 1, ROOM + 1, UINT32_MAX, UINT64_MAX};
	uint8_t buf[PAYLOAD + 64] = {0};
	struct file *f = make(FIRST + 2 * OTHERS - 7);
	const size_t len = payload_of(f, 0, buf);

	for (unsigned i = 0; i < KERF_ARRAY_LEN(bad); i++) {
		((struct kerf_wire_descriptor *)(void *)buf)->bytes =
			((struct kerf_wire_descriptor *)(void *)buf)->values = htole64(bad[i]);
		CU_ASSERT_EQUAL(give_bytes(f, 0, buf, len), -EBADMSG);
	}
	for (size_t n = OTHERS + 1; n <= PAYLOAD; n++)
		CU_ASSERT_EQUAL(give_bytes(f, 2, buf, n), -EBADMSG);
	CU_ASSERT_EQUAL(give_bytes(f, 2, buf, 0), -EBADMSG);
	for (size_t n = 0; n < OTHERS; n++)
		CU_ASSERT_EQUAL(give_bytes(f, 1, buf, n), -EBADMSG);
	CU_ASSERT_EQUAL(f->r.received, 0);
	CU_ASSERT_FALSE(f->r.sized);
	for (uint32_t i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(give(f, i), 0);
	CU_ASSERT_EQUAL(memcmp(f->arrived, f->bytes, f->part.n), 0);
	destroy(f);
}

/* More packets than the room holds are refused at once. */
static void test_no_room(void)
{
	struct file *f = make(ROOM);
	const struct kerf_part room = {.pixels = f->arrived, .n = ROOM};
	struct kerf_header h = header_of(f, 0);

	kerf_receiver_finish(&f->r);
	h.count++;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f->r, &h, &room, 1, PAYLOAD, 0), -EBADMSG);
	h.count = UINT16_MAX;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f->r, &h, &room, 1, PAYLOAD, 0), -EBADMSG);
	destroy(f);
}

UNIT_MAIN("transport.own_length", UNIT(test_any_length_in_any_order), UNIT(test_two_lengths),
	UNIT(test_lengths_that_cannot_be), UNIT(test_no_room))
