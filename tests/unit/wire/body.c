#include "golden.h"
#include "unit.h"
#include "wire/wire.h"

#include <math.h>
#include <string.h>

static struct kerf_hello a_hello(void)
{
	struct kerf_hello h = {
		.fingerprint = 0x1122334455667788,
		.whole_ns = 123456789,
		.nonce = 0xdeadbeef,
		.codecs = 3,
		.payload_bytes = 1408,
		.pixel_channels = 3,
		.picture = 0xa4e701cb1,
		.pixel_scale = {0.5f, 1, -2, 0},
		.pixel_bias = {0.25f, -0.125f, 3, 0},
		.fingerprint_text = "avx512_core oneDNN 2.6.3",
	};

	for (unsigned i = 0; i < KERF_DIGEST_LEN; i++)
		h.digest[i] = (uint8_t)i;
	return h;
}

static void test_hello(void)
{
	struct kerf_hello h = a_hello(), back;
	uint8_t bytes[sizeof(struct kerf_wire_hello)];

	memset(bytes, 0xee, sizeof(bytes));
	CU_ASSERT_EQUAL(kerf_wire_put_hello(bytes, &h), sizeof(golden_hello));
	CU_ASSERT_EQUAL(memcmp(bytes, golden_hello, sizeof(golden_hello)), 0);
	memset(&back, 0xee, sizeof(back));
	CU_ASSERT_EQUAL(kerf_wire_get_hello(golden_hello, sizeof(golden_hello), &back), 0);
	CU_ASSERT_EQUAL(memcmp(&back, &h, sizeof(h)), 0);
	CU_ASSERT_EQUAL(kerf_wire_get_hello(golden_hello, 151, &back), -EBADMSG);
}

static int get_built(const struct kerf_hello *h)
{
	struct kerf_hello back;
	uint8_t bytes[sizeof(struct kerf_wire_hello)];

	kerf_wire_put_hello(bytes, h);
	return kerf_wire_get_hello(bytes, sizeof(bytes), &back);
}

static void test_hello_out_of_range(void)
{
	struct kerf_hello h = a_hello();
	h.pixel_scale[3] = NAN;
	CU_ASSERT_EQUAL(get_built(&h), -EBADMSG);
	h = a_hello();
	h.pixel_bias[0] = -INFINITY;
	CU_ASSERT_EQUAL(get_built(&h), -EBADMSG);
	h = a_hello();
	h.pixel_channels = 4;
	CU_ASSERT_EQUAL(get_built(&h), 0);
	h.pixel_channels = 5;
	CU_ASSERT_EQUAL(get_built(&h), -EBADMSG);
	h = a_hello();
	h.payload_bytes = KERF_PAYLOAD_MAX;
	CU_ASSERT_EQUAL(get_built(&h), 0);
	h.payload_bytes = KERF_PAYLOAD_MAX + 1;
	CU_ASSERT_EQUAL(get_built(&h), -EBADMSG);
	h.payload_bytes = 63; /* no room for a descriptor */
	CU_ASSERT_EQUAL(get_built(&h), -EBADMSG);
}

static void test_text_is_cut_ended_and_made_printable(void)
{
	struct kerf_hello h = a_hello(), back;
	uint8_t bytes[sizeof(struct kerf_wire_hello)];

	memset(h.fingerprint_text, 'x', sizeof(h.fingerprint_text)); /* no end */
	h.fingerprint_text[3] = '\x1b';
	h.fingerprint_text[4] = '\xff';
	kerf_wire_put_hello(bytes, &h);
	CU_ASSERT_EQUAL(kerf_wire_get_hello(bytes, sizeof(bytes), &back), 0);
	CU_ASSERT_EQUAL(strlen(back.fingerprint_text), 63);
	CU_ASSERT_EQUAL(memcmp(back.fingerprint_text, "xxx??x", 6), 0);
	bytes[offsetof(struct kerf_wire_hello, picture) - 1] = 'x';
	CU_ASSERT_EQUAL(kerf_wire_get_hello(bytes, sizeof(bytes), &back), -EBADMSG);
}

static void test_error(void)
{
	uint8_t bytes[sizeof(struct kerf_wire_error)];
	char text[126], longest[300];
	uint16_t code = 0;

	memset(bytes, 0xee, sizeof(bytes));
	CU_ASSERT_EQUAL(kerf_wire_put_error(bytes, KERF_ERROR_MODEL, "model differs"), 128);
	CU_ASSERT_EQUAL(memcmp(bytes, golden_error, sizeof(bytes)), 0);
	CU_ASSERT_EQUAL(kerf_wire_get_error(golden_error, sizeof(golden_error), &code, text), 0);
	CU_ASSERT_EQUAL(code, KERF_ERROR_MODEL);
	CU_ASSERT_STRING_EQUAL(text, "model differs");
	CU_ASSERT_EQUAL(kerf_wire_get_error(bytes, 127, &code, text), -EBADMSG);

	memset(longest, 'y', sizeof(longest));
	longest[sizeof(longest) - 1] = 0;
	kerf_wire_put_error(bytes, KERF_ERROR_FULL, longest);
	CU_ASSERT_EQUAL(kerf_wire_get_error(bytes, sizeof(bytes), &code, text), 0);
	CU_ASSERT_EQUAL(strlen(text), 125);
	bytes[127] = 'y';
	CU_ASSERT_EQUAL(kerf_wire_get_error(bytes, sizeof(bytes), &code, text), -EBADMSG);
	bytes[127] = bytes[0] = 0;
	CU_ASSERT_EQUAL(kerf_wire_get_error(bytes, sizeof(bytes), &code, text), -EBADMSG);
}

static struct kerf_report a_report(void)
{
	struct kerf_report r = {
		.of_type = KERF_MSG_DATA,
		.label = 1,
		.flags = KERF_REPORT_COMPLETE,
		.received = 300,
		.n_ranges = 2,
		.first_delay_ns = -5000,
		.duration_ns = 8000000,
		.echo_tx_ns = 0xfedcba987654,
		.hold_ns = 1500,
		.wire_bytes = 460000,
		.tau = 8e-9,
		.tau_error = 0.0625f,
		.work_us = 2500,
		.slowdown = 1.5f,
		.ranges = {{5, 2}, {100, 1}},
	};

	return r;
}

static bool same_report(const struct kerf_report *a, const struct kerf_report *b)
{
	return a->of_type == b->of_type && a->label == b->label && a->flags == b->flags &&
		a->received == b->received && a->n_ranges == b->n_ranges &&
		a->first_delay_ns == b->first_delay_ns && a->duration_ns == b->duration_ns &&
		a->echo_tx_ns == b->echo_tx_ns && a->hold_ns == b->hold_ns &&
		a->wire_bytes == b->wire_bytes && a->tau == b->tau &&
		a->tau_error == b->tau_error && a->work_us == b->work_us && a->slowdown == b->slowdown &&
		memcmp(a->ranges, b->ranges, a->n_ranges * sizeof(a->ranges[0])) == 0;
}

#define REPORT_MAX (sizeof(struct kerf_wire_report) + \
	KERF_REPORT_MAX_RANGES * sizeof(struct kerf_wire_range))

static void test_report(void)
{
	struct kerf_report r = a_report(), back;
	uint8_t bytes[REPORT_MAX];

	memset(bytes, 0xee, sizeof(bytes));
	CU_ASSERT_EQUAL(kerf_wire_put_report(bytes, &r), sizeof(golden_report));
	CU_ASSERT_EQUAL(memcmp(bytes, golden_report, sizeof(golden_report)), 0);
	CU_ASSERT_EQUAL(kerf_wire_get_report(golden_report, sizeof(golden_report), &back), 0);
	CU_ASSERT(same_report(&back, &r));
	/* One byte or one range too few or too many. */
	CU_ASSERT_EQUAL(kerf_wire_get_report(golden_report, 71, &back), -EBADMSG);
	CU_ASSERT_EQUAL(kerf_wire_get_report(golden_report, 68, &back), -EBADMSG);
	CU_ASSERT_EQUAL(kerf_wire_get_report(golden_report, 63, &back), -EBADMSG);
	CU_ASSERT_EQUAL(kerf_wire_get_report(bytes, 76, &back), -EBADMSG);
}

static void test_report_with_most_ranges(void)
{
	struct kerf_report r = a_report(), back;
	uint8_t bytes[REPORT_MAX];

	r.n_ranges = KERF_REPORT_MAX_RANGES;
	for (unsigned i = 0; i < r.n_ranges; i++) {
		r.ranges[i].first = (uint16_t)(255 * i);
		r.ranges[i].count = i == 255 ? 510 : 100; /* the last ends at 65535 */
	}
	size_t len = kerf_wire_put_report(bytes, &r);
	CU_ASSERT_EQUAL(len, REPORT_MAX);
	CU_ASSERT_EQUAL(kerf_wire_get_report(bytes, len, &back), 0);
	CU_ASSERT(same_report(&back, &r));
	r.ranges[255].count = 511;
	kerf_wire_put_report(bytes, &r);
	CU_ASSERT_EQUAL(kerf_wire_get_report(bytes, len, &back), -EBADMSG);
	bytes[6] = 0x01; /* 257 ranges */
	CU_ASSERT_EQUAL(kerf_wire_get_report(bytes, len, &back), -EBADMSG);
}

static int report_bytes(size_t offset, const void *value, size_t n)
{
	struct kerf_report back;
	uint8_t bytes[sizeof(golden_report)];

	memcpy(bytes, golden_report, sizeof(bytes));
	memcpy(bytes + offset, value, n);
	return kerf_wire_get_report(bytes, sizeof(bytes), &back);
}

static void test_report_out_of_range(void)
{
	const double taus[] = {NAN, INFINITY, -1e-9};
	const float errors[] = {NAN, INFINITY, -0.5f};
	double zero = 0;

	CU_ASSERT_EQUAL(report_bytes(0, "\x04", 1), -EBADMSG);         /* a report on a report */
	CU_ASSERT_EQUAL(report_bytes(2, "\x08", 1), -EBADMSG);         /* unknown flag */
	CU_ASSERT_EQUAL(report_bytes(3, "\x01", 1), -EBADMSG);         /* reserved */
	CU_ASSERT_EQUAL(report_bytes(30, "\x01", 1), -EBADMSG);        /* 49-bit time */
	CU_ASSERT_EQUAL(report_bytes(60, "\x01", 1), -EBADMSG);        /* reserved2 */
	CU_ASSERT_EQUAL(report_bytes(56, "\0\0\xc0\x7f", 4), -EBADMSG); /* slowdown: a NaN */
	CU_ASSERT_EQUAL(report_bytes(56, "\0\0\x80\xbf", 4), -EBADMSG); /* -1 */
	CU_ASSERT_EQUAL(report_bytes(66, "\0\0", 2), -EBADMSG);        /* empty range */
	CU_ASSERT_EQUAL(report_bytes(68, "\x06\0", 2), -EBADMSG);      /* overlap */
	CU_ASSERT_EQUAL(report_bytes(68, "\x04\0", 2), -EBADMSG);      /* backwards */
	CU_ASSERT_EQUAL(report_bytes(68, "\x07\0", 2), 0);             /* adjacent */
	CU_ASSERT_EQUAL(report_bytes(40, &zero, sizeof(zero)), 0);     /* no sample */
	for (unsigned i = 0; i < 3; i++) {
		CU_ASSERT_EQUAL(report_bytes(40, &taus[i], sizeof(taus[i])), -EBADMSG);
		CU_ASSERT_EQUAL(report_bytes(48, &errors[i], sizeof(errors[i])), -EBADMSG);
	}
}

static void test_descriptor(void)
{
	struct kerf_descriptor d = {
		.values = 150528,
		.bytes = 602112,
		.deadline_ns = 33000000,
		.queue_ns = 1000000,
		.tail_ns = 2000000,
		.payload_bytes = 1408,
		.dims = {1, 224, 224, 3},
		.cut = 0x0203,
		.n_tensors = 1,
	};
	struct kerf_descriptor back;
	uint8_t bytes[sizeof(struct kerf_wire_descriptor)];

	memset(bytes, 0xee, sizeof(bytes));
	CU_ASSERT_EQUAL(kerf_wire_put_descriptor(bytes, &d), sizeof(golden_descriptor));
	CU_ASSERT_EQUAL(memcmp(bytes, golden_descriptor, sizeof(bytes)), 0);
	memset(&back, 0, sizeof(back));
	/* What rides behind the descriptor is no concern of it. */
	CU_ASSERT_EQUAL(kerf_wire_get_descriptor(bytes, 1408, &back), 0);
	CU_ASSERT_EQUAL(memcmp(&back, &d, sizeof(d)), 0);
	CU_ASSERT_EQUAL(kerf_wire_get_descriptor(bytes, 63, &back), -EBADMSG);
}

static int descriptor_bytes(size_t offset, const void *value, size_t n)
{
	struct kerf_descriptor back;
	uint8_t bytes[sizeof(golden_descriptor)];

	memcpy(bytes, golden_descriptor, sizeof(bytes));
	memcpy(bytes + offset, value, n);
	return kerf_wire_get_descriptor(bytes, sizeof(bytes), &back);
}

static void test_descriptor_out_of_range(void)
{
	CU_ASSERT_EQUAL(descriptor_bytes(0, "\0\0\0\0\0\0\0", 8), -EBADMSG); /* no values */
	CU_ASSERT_EQUAL(descriptor_bytes(0, "\xff\x4b\x02", 3), -EBADMSG); /* one too few */
	CU_ASSERT_EQUAL(descriptor_bytes(7, "\x01", 1), -EBADMSG); /* too many */
	CU_ASSERT_EQUAL(descriptor_bytes(8, "\0\0\0\0\0\0\0", 8), -EBADMSG); /* no bytes */
	CU_ASSERT_EQUAL(descriptor_bytes(12, "\x02", 1), -EBADMSG); /* 8 GiB */
	CU_ASSERT_EQUAL(descriptor_bytes(16, "\x3f\0\0\0", 4), -EBADMSG); /* payload 63 */
	CU_ASSERT_EQUAL(descriptor_bytes(16, "\xff\xff\xff\xff", 4), -EBADMSG);
	CU_ASSERT_EQUAL(descriptor_bytes(23, "\0", 1), -EBADMSG); /* no tensor */
	CU_ASSERT_EQUAL(descriptor_bytes(24, "\0\0\0\0", 4), -EBADMSG); /* dims 0 */
	/* 65536 * 65536 * 65536 * 65536: the product overflows to 0. */
	CU_ASSERT_EQUAL(descriptor_bytes(24, "\0\0\1\0\0\0\1\0\0\0\1\0\0\0\1", 16), -EBADMSG);
}

UNIT_MAIN("wire.body", UNIT(test_hello), UNIT(test_hello_out_of_range),
	UNIT(test_text_is_cut_ended_and_made_printable), UNIT(test_error), UNIT(test_report),
	UNIT(test_report_with_most_ranges), UNIT(test_report_out_of_range), UNIT(test_descriptor),
	UNIT(test_descriptor_out_of_range))
