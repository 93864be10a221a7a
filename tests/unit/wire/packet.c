#include "golden.h"
#include "unit.h"
#include "wire/wire.h"

#include <string.h>

#define GOLDEN_PAYLOAD 96

static const struct kerf_address device = {{2, 0, 0, 0, 0, 1}, 0x0a000001, 4747};
static const struct kerf_address server = {{2, 0, 0, 0, 0, 2}, 0x0a000002, 4748};
static const struct kerf_header golden_header = {
	.type = KERF_MSG_DATA,
	.flags = KERF_FLAG_REPORT_NOW,
	.try_no = 2,
	.session = 0x1234,
	.frame = 0x89abcdef,
	.index = 0x0102,
	.count = 0x0304,
	.tx_ns = 0xabcdef012345,
	.cut = 0x0506,
	.codec = 7,
};

/* A whole valid packet: golden headers and a payload. */
struct frame {
	struct kerf_wire_packet p;
	uint8_t payload[GOLDEN_PAYLOAD + 64];
};

static struct frame valid(void)
{
	struct frame f = {0};

	memcpy(&f.p, golden_packet, sizeof(f.p));
	return f;
}

#define VALID_LEN (sizeof(struct kerf_wire_packet) + GOLDEN_PAYLOAD)

static int parse(const struct frame *f, size_t len)
{
	struct kerf_header h;
	size_t payload_len;

	return kerf_wire_parse(f, len, &h, &payload_len);
}

/* Sets the IPv4 checksum right again after a change that is meant to get past it. */
static void refresh(struct frame *f)
{
	f->p.ipv4.checksum = 0;
	f->p.ipv4.checksum = kerf_wire_checksum(&f->p.ipv4, sizeof(f->p.ipv4));
}

static void test_checksum_known_answers(void)
{
	/* RFC 1071, section 3: the sum is ddf2. */
	const uint8_t rfc1071[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	const uint8_t ipv4[] = {0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0xb8,
		0x61, 0xc0, 0xa8, 0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7};
	uint16_t sum = kerf_wire_checksum(rfc1071, sizeof(rfc1071));

	CU_ASSERT_EQUAL(memcmp(&sum, "\x22\x0d", 2), 0);
	CU_ASSERT_EQUAL(kerf_wire_checksum(ipv4, sizeof(ipv4)), 0);
	sum = kerf_wire_checksum("\x01", 1); /* odd: padded with a zero behind */
	CU_ASSERT_EQUAL(memcmp(&sum, "\xfe\xff", 2), 0);
	CU_ASSERT_EQUAL(kerf_wire_checksum("", 0), 0xffff);
}

static void test_builds_golden_bytes(void)
{
	struct kerf_wire_packet p;

	memset(&p, 0xee, sizeof(p));
	kerf_wire_build(&p, &device, &server, &golden_header, GOLDEN_PAYLOAD);
	CU_ASSERT_EQUAL(memcmp(&p, golden_packet, sizeof(p)), 0);
}

static void test_parses_golden_bytes(void)
{
	struct frame f = valid();
	struct kerf_header h;
	struct kerf_address a;
	size_t payload_len;

	CU_ASSERT_EQUAL(kerf_wire_parse(&f, VALID_LEN, &h, &payload_len), 0);
	CU_ASSERT_EQUAL(payload_len, GOLDEN_PAYLOAD);
	CU_ASSERT_EQUAL(h.type, golden_header.type);
	CU_ASSERT_EQUAL(h.flags, golden_header.flags);
	CU_ASSERT_EQUAL(h.try_no, golden_header.try_no);
	CU_ASSERT_EQUAL(h.session, golden_header.session);
	CU_ASSERT_EQUAL(h.frame, golden_header.frame);
	CU_ASSERT_EQUAL(h.index, golden_header.index);
	CU_ASSERT_EQUAL(h.count, golden_header.count);
	CU_ASSERT_EQUAL(h.tx_ns, golden_header.tx_ns);
	CU_ASSERT_EQUAL(h.cut, golden_header.cut);
	CU_ASSERT_EQUAL(h.codec, golden_header.codec);

	kerf_wire_source(&f, &a);
	CU_ASSERT_EQUAL(memcmp(a.mac, device.mac, 6), 0);
	CU_ASSERT(a.ip == device.ip && a.port == device.port);
	CU_ASSERT_EQUAL(kerf_wire_destination(&f, VALID_LEN, &a), 0);
	CU_ASSERT_EQUAL(memcmp(a.mac, server.mac, 6), 0);
	CU_ASSERT(a.ip == server.ip && a.port == server.port);
}

static void test_restamp_changes_three_fields_only(void)
{
	struct kerf_wire_packet p;

	memcpy(&p, golden_packet, sizeof(p));
	kerf_wire_restamp(&p, 0x123456789abcdef0, 0, 200);
	uint8_t expected[sizeof(p)];
	memcpy(expected, golden_packet, sizeof(p));
	expected[42 + 1] = 0x0f; /* no flags, tries saturate at 15 */
	memcpy(&expected[42 + 12], "\x78\x56\xf0\xde\xbc\x9a", 6);
	CU_ASSERT_EQUAL(memcmp(&p, expected, sizeof(p)), 0);
}

static void test_padding_is_no_payload(void)
{
	struct kerf_header h = golden_header;
	struct frame f = {0};
	size_t payload_len = 99;

	/* Nothing behind the header, and bytes that some port added. */
	kerf_wire_build(&f.p, &device, &server, &h, 0);
	memset(f.payload, 0xaa, sizeof(f.payload));
	for (size_t pad = 0; pad < 20; pad++) {
		CU_ASSERT_EQUAL(kerf_wire_parse(&f, sizeof(f.p) + pad, &h, &payload_len), 0);
		CU_ASSERT_EQUAL(payload_len, 0);
	}
}

static void test_every_truncation_is_refused(void)
{
	struct frame f = valid();

	for (size_t len = 0; len < VALID_LEN; len++) {
		/* Exact size on the heap: AddressSanitizer sees a read beyond. */
		uint8_t *exact = malloc(len ? len : 1);
		struct kerf_header h;
		size_t payload_len;

		memcpy(exact, &f, len);
		CU_ASSERT_EQUAL(kerf_wire_parse(exact, len, &h, &payload_len), -EBADMSG);
		free(exact);
	}
}

static void test_other_protocols(void)
{
	struct frame f = valid();
	f.p.ethernet.ethertype = 0xdd86; /* IPv6 */
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EPROTO);

	f = valid();
	f.p.ipv4.protocol = 6; /* TCP */
	refresh(&f);
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EPROTO);

	f = valid();
	f.p.ipv4.version_ihl = 0x46; /* four bytes of options */
	refresh(&f);
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EPROTO);

	/* More to come; offset 1; the last offset. As they lie in memory. */
	static const uint16_t fragments[] = {0x0020, 0x0100, 0xff1f};
	for (size_t i = 0; i < KERF_ARRAY_LEN(fragments); i++) {
		f = valid();
		f.p.ipv4.fragment = fragments[i];
		refresh(&f);
		CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EPROTO);
	}
	f = valid();
	f.p.ipv4.fragment = 0; /* "may be fragmented" is not a fragment */
	refresh(&f);
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), 0);
}

static void test_broken_ipv4_and_udp(void)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} broken[] = {
		{14, 0x65},                       /* version 6 behind an IPv4 ethertype */
		{14, 0x44},                       /* header of 16 bytes */
		{16, 0x10},                       /* total length beyond the frame */
		{17, 0x1b},                       /* total length without a UDP header */
		{17, 0x91},                       /* UDP longer than its datagram */
		{38, 0x01}, {39, 0x7d}, {39, 29}, /* UDP length wrong */
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(broken); i++) {
		struct frame f = valid();
		((uint8_t *)&f)[broken[i].offset] = broken[i].value;
		refresh(&f);
		CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EBADMSG);
	}
	/* UDP and IPv4 agree, but there is no room for kerf's header. */
	struct frame f = valid();
	f.p.udp.length = 0x1d00;  /* 29 */
	f.p.ipv4.length = 0x3100; /* 49 */
	refresh(&f);
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EBADMSG);
	struct kerf_address to;
	CU_ASSERT_EQUAL(kerf_wire_destination(&f, VALID_LEN, &to), 0); /* yet it is UDP */
	CU_ASSERT_EQUAL(to.port, server.port);

	f = valid();
	f.p.ipv4.checksum ^= 1;
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EBADMSG);
}

static void test_other_version_tells_type_and_session(void)
{
	struct frame f = valid();
	struct kerf_header h;
	size_t payload_len;

	f.p.kerf.version_type = 0x11;
	CU_ASSERT_EQUAL(kerf_wire_parse(&f, VALID_LEN, &h, &payload_len), -EPROTONOSUPPORT);
	CU_ASSERT(h.type == KERF_MSG_HELLO && h.session == 0x1234);
}

static void test_header_values_out_of_range(void)
{
	static const struct {
		size_t offset;
		uint8_t value;
	} broken[] = {
		{42 + 0, 0x30}, {42 + 0, 0x3a}, {42 + 0, 0x3f}, /* no such type */
		{42 + 1, 0x22}, {42 + 1, 0x92},                 /* unknown flags */
		{42 + 9, 0x04}, {42 + 9, 0xff},                 /* index >= count */
		{42 + 21, 0x01},                                /* reserved */
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(broken); i++) {
		struct frame f = valid();
		((uint8_t *)&f)[broken[i].offset] = broken[i].value;
		CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EBADMSG);
	}
	struct frame f = valid();
	f.p.kerf.index = f.p.kerf.count; /* one beyond the last */
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EBADMSG);
	f.p.kerf.index = f.p.kerf.count = 0;
	CU_ASSERT_EQUAL(parse(&f, VALID_LEN), -EBADMSG);
}

UNIT_MAIN("wire.packet", UNIT(test_checksum_known_answers), UNIT(test_builds_golden_bytes),
	UNIT(test_parses_golden_bytes), UNIT(test_restamp_changes_three_fields_only),
	UNIT(test_padding_is_no_payload), UNIT(test_every_truncation_is_refused),
	UNIT(test_other_protocols), UNIT(test_broken_ipv4_and_udp),
	UNIT(test_other_version_tells_type_and_session), UNIT(test_header_values_out_of_range))
