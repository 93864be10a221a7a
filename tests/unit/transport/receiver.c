/* The receiver by itself: what it takes, when it reports and what the report says. */
#include "harness.h"

#define MAX_N (16 + 22 * 16 * 4000)
#define MS 1000000ull

/* A message of one f32 tensor, cut into packets by hand. */
struct fixture {
	struct kerf_receiver r;
	struct kerf_layout layout;
	float *from, *to;
	struct kerf_part part, copy;
	uint32_t payload_bytes;
};

static void prepare(struct fixture *f, uint32_t packets, uint32_t payload_bytes)
{
	size_t first = (payload_bytes - 64) / 64 * 16, others = payload_bytes / 64 * 16;
	size_t n = first + (packets - 1) * others - 3; /* the last block is short */

	*f = (struct fixture){.payload_bytes = payload_bytes};
	f->from = bench_values(n);
	f->to = bench_values(n);
	bench_fill(f->from, n, 5);
	f->part = (struct kerf_part){.values = f->from, .n = n};
	f->copy = (struct kerf_part){.values = f->to, .n = n};
	CU_ASSERT_EQUAL_FATAL(kerf_layout_make(&f->layout,
				      kerf_parts_blocks(&f->part, 1, KERF_CODEC_F32), 64,
				      payload_bytes), 0);
	CU_ASSERT_EQUAL_FATAL(f->layout.n_packets, packets);
	CU_ASSERT_EQUAL_FATAL(kerf_receiver_create(&f->r, packets), 0);
}

static struct kerf_header header_of(const struct fixture *f, uint32_t index, uint64_t tx_ns)
{
	return (struct kerf_header){
		.type = KERF_MSG_DATA,
		.session = 7,
		.frame = 42,
		.index = (uint16_t)index,
		.count = (uint16_t)f->layout.n_packets,
		.tx_ns = tx_ns,
		.cut = 3,
		.codec = KERF_CODEC_F32,
	};
}

static void begin(struct fixture *f, uint32_t packets, uint32_t payload_bytes)
{
	prepare(f, packets, payload_bytes);
	struct kerf_header h = header_of(f, packets / 2, 0);
	CU_ASSERT_EQUAL_FATAL(kerf_receiver_start(&f->r, &h, &f->copy, 1, payload_bytes, 0), 0);
}

static void end(struct fixture *f)
{
	kerf_receiver_destroy(&f->r);
	free(f->from);
	free(f->to);
}

static size_t payload_of(const struct fixture *f, uint32_t index, uint8_t *buf)
{
	uint32_t first, n, offset;
	const struct kerf_descriptor d = {
		.values = f->part.n,
		.bytes = f->part.n * 4,
		.payload_bytes = f->payload_bytes,
		.dims = {1, 1, 1, (uint32_t)f->part.n},
		.cut = 3,
		.codec = KERF_CODEC_F32,
		.n_tensors = 1,
		.deadline_ns = 99,
	};

	kerf_layout_packet(&f->layout, index, &first, &n, &offset);
	if (index == 0)
		kerf_wire_put_descriptor(buf, &d);
	return offset + kerf_parts_encode(&f->part, 1, KERF_CODEC_F32, first, n, buf + offset);
}

static int give_header(struct fixture *f, const struct kerf_header *h, uint64_t rx_ns)
{
	uint8_t buf[2048];
	size_t len = payload_of(f, h->index, buf);
	uint8_t *exact = malloc(len); /* so that a sanitizer sees any byte read beyond */

	memcpy(exact, buf, len);
	int rc = kerf_receiver_packet(&f->r, h, exact, len, (uint32_t)len + 88, rx_ns);
	free(exact);
	return rc;
}

static int give(struct fixture *f, uint32_t index, uint64_t rx_ns)
{
	struct kerf_header h = header_of(f, index, rx_ns - 5);

	return give_header(f, &h, rx_ns);
}

static struct kerf_report report_at(struct fixture *f, uint64_t now)
{
	struct kerf_report r;

	CU_ASSERT(kerf_receiver_report_due(&f->r, now));
	kerf_receiver_report(&f->r, &r, now);
	return r;
}

/* ---- taking packets ---- */

static void test_any_order_gives_the_tensor(void)
{
	struct fixture f;
	const uint32_t n = 50;

	begin(&f, n, 1450);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t index = (i * 17 + 5) % n;

		CU_ASSERT(!f.r.complete);
		CU_ASSERT_EQUAL(give(&f, index, 1000 + i), 0);
		CU_ASSERT_EQUAL(give(&f, index, 1000 + i), -EALREADY);
		CU_ASSERT_EQUAL(f.r.received, i + 1);
	}
	CU_ASSERT(f.r.complete && f.r.have_descriptor);
	CU_ASSERT_EQUAL(f.r.completed_ns, 1000 + n - 1);
	CU_ASSERT_EQUAL(f.r.descriptor.deadline_ns, 99);
	CU_ASSERT_EQUAL(memcmp(f.from, f.to, f.part.n * sizeof(float)), 0);
	end(&f);
}

static bool untouched(const struct fixture *f)
{
	for (size_t i = 0; i < f->copy.n; i++)
		if (f->to[i] != 0)
			return false;
	return f->r.received == 0 && !f->r.have_descriptor && f->r.wire_bytes == 0;
}

static void test_packets_of_other_messages(void)
{
	struct fixture f;

	begin(&f, 8, 1450);
	const struct kerf_header good = header_of(&f, 3, 0);
	struct kerf_header h;

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		h = good;                                                                          \
		change;                                                                            \
		CU_ASSERT_EQUAL(give_header(&f, &h, 1000), -EBADMSG);                              \
		CU_ASSERT(untouched(&f));                                                          \
	} while (0)
	REFUSED(h.type = KERF_MSG_RESULT);
	REFUSED(h.session++);
	REFUSED(h.frame++);
	REFUSED(h.cut++);
	REFUSED(h.codec = KERF_CODEC_U8);
	REFUSED(h.codec = 255);
	REFUSED(h.count++);
	REFUSED(h.count--);
#undef REFUSED
	uint8_t buf[2048] = {0};
	h = good;
	h.index = 8;
	CU_ASSERT_EQUAL(kerf_receiver_packet(&f.r, &h, buf, 1408, 1500, 0), -EBADMSG);
	h.index = h.count = UINT16_MAX;
	CU_ASSERT_EQUAL(kerf_receiver_packet(&f.r, &h, buf, 1408, 1500, 0), -EBADMSG);
	CU_ASSERT(untouched(&f));
	kerf_receiver_finish(&f.r);
	CU_ASSERT_EQUAL(give_header(&f, &good, 1000), -EBADMSG);
	end(&f);
}

static void test_wrong_lengths(void)
{
	struct fixture f;
	static const uint32_t indices[] = {0, 3, 7};
	uint8_t buf[4096] = {0};

	begin(&f, 8, 1450);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(indices); i++) {
		struct kerf_header h = header_of(&f, indices[i], 0);
		size_t right = payload_of(&f, indices[i], buf);

		for (size_t len = 0; len < 2000; len++)
			if (len != right)
				CU_ASSERT_EQUAL(kerf_receiver_packet(&f.r, &h, buf, len, 1500, 0),
					-EBADMSG);
		CU_ASSERT(untouched(&f));
	}
	end(&f);
}

/* Every field of the descriptor that fixes where values go must agree. */
static void test_descriptor_that_disagrees(void)
{
	struct fixture f;
	uint8_t buf[2048];
	struct kerf_wire_descriptor *d = (void *)buf;

	begin(&f, 8, 1450);
	struct kerf_header h = header_of(&f, 0, 0);
	size_t len = payload_of(&f, 0, buf);
	const struct kerf_wire_descriptor good = *d;

#define REFUSED(change)                                                                            \
	do {                                                                                       \
		*d = good;                                                                         \
		change;                                                                            \
		CU_ASSERT_EQUAL(kerf_receiver_packet(&f.r, &h, buf, len, 1500, 0), -EBADMSG);      \
		CU_ASSERT(untouched(&f));                                                          \
	} while (0)
	REFUSED(d->values++);
	REFUSED(d->bytes--);
	REFUSED(d->payload_bytes--);
	REFUSED(d->cut++);
	REFUSED(d->codec = KERF_CODEC_U8);
	REFUSED(d->n_tensors = 2);
#undef REFUSED
	*d = good;
	CU_ASSERT_EQUAL(kerf_receiver_packet(&f.r, &h, buf, len, 1500, 0), 0);
	end(&f);
}

static void test_start_refuses(void)
{
	struct fixture f;

	prepare(&f, 8, 1450);
	const struct kerf_header good = header_of(&f, 0, 0);
	struct kerf_header h = good;
	struct kerf_part pixels = {.pixels = (uint8_t *)f.to, .n = f.copy.n};

	h.count = 9;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &h, &f.copy, 1, 1450, 0), -EBADMSG);
	h.count = 7;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &h, &f.copy, 1, 1450, 0), -EBADMSG);
	h = good;
	h.codec = KERF_CODEC_U8;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &h, &f.copy, 1, 1450, 0), -EBADMSG);
	h.codec = 200;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &h, &f.copy, 1, 1450, 0), -EBADMSG);
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &good, &pixels, 1, 1450, 0), -EBADMSG);
	h = good;
	h.type = KERF_MSG_HELLO;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &h, &f.copy, 1, 1450, 0), -EBADMSG);
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &good, &f.copy, 1, 100, 0), -EMSGSIZE);
	/* Smaller packets: more of them than there is room for. */
	h.type = KERF_MSG_PROBE;
	h.count = 9;
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &h, NULL, 0, 1450, 0), -EMSGSIZE);
	CU_ASSERT_EQUAL(kerf_receiver_start(&f.r, &good, &f.copy, 1, 1450, 0), 0);
	end(&f);
}

/* ---- when a report is due ---- */

static void test_complete_is_reported_at_once(void)
{
	struct fixture f;

	begin(&f, 3, 1450);
	CU_ASSERT_EQUAL(give(&f, 2, MS), 0);
	report_at(&f, MS); /* behind the last packet nothing comes by itself */
	give(&f, 0, MS);
	CU_ASSERT(!kerf_receiver_report_due(&f.r, MS));
	give(&f, 1, MS);
	struct kerf_report r = report_at(&f, MS);
	CU_ASSERT_EQUAL(r.flags, KERF_REPORT_COMPLETE);
	CU_ASSERT_EQUAL(r.received, 3);
	CU_ASSERT_EQUAL(r.n_ranges, 0);
	CU_ASSERT_EQUAL(kerf_receiver_next(&f.r), UINT64_MAX);
	CU_ASSERT(!kerf_receiver_report_due(&f.r, 3600 * KERF_NS_PER_S));

	/* That report was lost: the sender asks. */
	struct kerf_header h = header_of(&f, 2, MS);
	h.try_no = 1;
	CU_ASSERT_EQUAL(give_header(&f, &h, 50 * MS), -EALREADY);
	CU_ASSERT(!kerf_receiver_report_due(&f.r, 50 * MS));
	h.flags = KERF_FLAG_REPORT_NOW;
	CU_ASSERT_EQUAL(give_header(&f, &h, 51 * MS), -EALREADY);
	CU_ASSERT_EQUAL(report_at(&f, 51 * MS).flags, KERF_REPORT_COMPLETE);
	end(&f);
}

/* One report every `step` packets, of all that is missing. */
static void progress(uint32_t packets, uint32_t step)
{
	struct fixture f;

	begin(&f, packets, 1450);
	for (uint32_t i = 0; i + 1 < packets; i++) {
		const bool due = (i + 1) % step == 0;

		give(&f, i, MS + i);
		CU_ASSERT_EQUAL(kerf_receiver_report_due(&f.r, MS + i), due);
		if (due) {
			struct kerf_report r = report_at(&f, MS + i);

			CU_ASSERT_EQUAL(r.received, i + 1);
			CU_ASSERT_EQUAL(r.flags, 0);
			CU_ASSERT_EQUAL(r.n_ranges, 1);
			CU_ASSERT_EQUAL(r.ranges[0].first, i + 1);
			CU_ASSERT_EQUAL(r.ranges[0].count, packets - i - 1);
		}
	}
	end(&f);
}

static void test_progress_is_reported(void)
{
	progress(40, 16);
	progress(64, 16);
	progress(400, 100);
}

/* Six packets that take three times as long to arrive as to leave: the sender learns of it at once, and once. */
static void test_a_slow_train_is_reported_early(void)
{
	struct fixture f;

	for (unsigned slower = 1; slower <= 3; slower += 2) {
		begin(&f, 100, 1450);
		for (uint32_t i = 0; i < 15; i++) {
			struct kerf_header h = header_of(&f, i, MS + i * MS);

			CU_ASSERT_EQUAL(give_header(&f, &h, 2 * MS + slower * i * MS), 0);
			const bool due = kerf_receiver_report_due(&f.r, 2 * MS + slower * i * MS);
			CU_ASSERT_EQUAL(due, slower == 3 && i == 5);
			if (due)
				report_at(&f, 2 * MS + slower * i * MS);
		}
		end(&f);
	}
}

static void test_results_have_no_progress_reports(void)
{
	struct fixture f;

	prepare(&f, 40, 1450);
	struct kerf_header h = header_of(&f, 0, 0);
	h.type = KERF_MSG_RESULT;
	CU_ASSERT_EQUAL_FATAL(kerf_receiver_start(&f.r, &h, &f.copy, 1, 1450, 0), 0);
	for (h.index = 0; h.index < 39; h.index++) {
		CU_ASSERT_EQUAL(give_header(&f, &h, MS), 0);
		CU_ASSERT(!kerf_receiver_report_due(&f.r, MS));
	}
	end(&f);
}

static void test_silence_doubles(void)
{
	struct fixture f;
	static const unsigned waits[] = {20, 40, 80, 160, 160, 160};
	uint64_t now = 10 * MS;

	begin(&f, 10, 1450);
	give(&f, 0, now);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(waits); i++) {
		uint64_t due_ns = kerf_receiver_next(&f.r);

		CU_ASSERT_EQUAL(due_ns, now + waits[i] * MS);
		CU_ASSERT(!kerf_receiver_report_due(&f.r, due_ns - 1));
		CU_ASSERT_EQUAL(report_at(&f, due_ns).received, 1);
		now = due_ns;
	}
	give(&f, 1, now); /* and from the start again; two bursts 620 ms apart now */
	CU_ASSERT_EQUAL(f.r.silence_ns, 4 * (now - 10 * MS));
	CU_ASSERT_EQUAL(kerf_receiver_next(&f.r), now + f.r.silence_ns);
	end(&f);
}

/* A slow link is not silent: four times the usual gap. Repeats do not stretch it. */
static void test_silence_follows_the_bursts(void)
{
	struct fixture f;
	uint64_t now = 10 * MS;

	begin(&f, 100, 1450);
	for (uint32_t i = 0; i < 10; i++, now += 5 * MS)
		give(&f, i, now);
	now -= 5 * MS;
	CU_ASSERT_EQUAL(kerf_receiver_next(&f.r), now + 20 * MS);
	struct kerf_header h = header_of(&f, 20, now);
	h.try_no = 2;
	now += 1000 * MS;
	give_header(&f, &h, now);
	CU_ASSERT_EQUAL(kerf_receiver_next(&f.r), now + 20 * MS);
	CU_ASSERT_EQUAL(f.r.train.packets, 10);
	end(&f);
}

/* ---- what a report says ---- */

static void test_times_and_bytes(void)
{
	struct fixture f;
	struct kerf_report r;

	begin(&f, 20, 1450);
	struct kerf_header h = header_of(&f, 0, 900 * MS);
	give_header(&f, &h, 10 * MS);
	h = header_of(&f, 2, 902 * MS);
	give_header(&f, &h, 12 * MS);
	h = header_of(&f, 1, 901 * MS); /* came late, left earlier: not the newest */
	give_header(&f, &h, 13 * MS);
	r = report_at(&f, 20 * MS);
	CU_ASSERT_EQUAL(r.of_type, KERF_MSG_DATA);
	CU_ASSERT_EQUAL(r.first_delay_ns, -890 * (int64_t)MS);
	CU_ASSERT_EQUAL(r.duration_ns, 3 * MS);
	CU_ASSERT_EQUAL(r.echo_tx_ns, 902 * MS);
	CU_ASSERT_EQUAL(r.hold_ns, 8 * MS);
	CU_ASSERT_EQUAL(r.wire_bytes, 64 + f.layout.first_blocks * 64 + 2 * 1408 + 3 * 88);
	CU_ASSERT_EQUAL(r.received, 3);
	CU_ASSERT_EQUAL(r.work_us, 0);
	end(&f);
}

static void test_rate_of_the_train(void)
{
	struct fixture f;

	begin(&f, 200, 1450);
	for (uint32_t i = 0; i < 200; i++) {
		struct kerf_header h = header_of(&f, i, i);

		give_header(&f, &h, MS + i * 119680ull); /* 1496 bytes at 100 Mbit/s */
	}
	struct kerf_report r = report_at(&f, 30 * MS);
	CU_ASSERT_EQUAL(r.label, KERF_LABEL_BOTTLENECK);
	CU_ASSERT_DOUBLE_EQUAL(r.tau, 8e-8, 8e-10);
	CU_ASSERT(r.tau_error > 0 && r.tau_error < 0.5f);
	end(&f);
}

/* Stamps have 48 bits: the packet behind the wrap is the newer one. */
static void test_newest_across_the_wrap(void)
{
	struct fixture f;
	const uint64_t wrap = 1ull << 48;

	begin(&f, 20, 1450);
	struct kerf_header h = header_of(&f, 0, wrap - 10);
	give_header(&f, &h, wrap + MS);
	h = header_of(&f, 1, 5);
	give_header(&f, &h, wrap + MS + 15);
	struct kerf_report r = report_at(&f, wrap + 10 * MS);
	CU_ASSERT_EQUAL(r.echo_tx_ns, 5);
	CU_ASSERT_EQUAL(r.first_delay_ns, (int64_t)MS + 10);
	end(&f);
}

/* Gaps against a model, packets here or not by chance. */
static void check_ranges(uint32_t packets, uint32_t payload_bytes, double loss, unsigned max_ranges)
{
	struct fixture f;
	struct kerf_rng rng = {.seed = bench_seed(), .stream = packets + payload_bytes};
	uint8_t *here = calloc(packets, 1), *missing = calloc(packets, 1);
	struct kerf_report r;
	uint32_t gaps = 0, sum = 0;

	begin(&f, packets, payload_bytes);
	for (uint32_t i = 0; i < packets; i++) {
		here[i] = i == 1 || (i != 2 && kerf_rng_uniform(&rng) >= loss);
		gaps += !here[i] && (i == 0 || here[i - 1]);
		if (here[i])
			give(&f, i, MS);
	}
	kerf_receiver_report(&f.r, &r, 2 * MS);
	for (unsigned i = 0; i < r.n_ranges; i++) {
		sum += r.ranges[i].count;
		CU_ASSERT(i == 0 ||
			r.ranges[i].first > r.ranges[i - 1].first + r.ranges[i - 1].count);
		CU_ASSERT(!here[r.ranges[i].first]);
		CU_ASSERT_FATAL(r.ranges[i].first + r.ranges[i].count <= (int)packets);
		memset(&missing[r.ranges[i].first], 1, r.ranges[i].count);
	}
	for (uint32_t i = 0; i < packets; i++)
		CU_ASSERT(here[i] || missing[i]); /* never confirmed what is not here */
	CU_ASSERT_EQUAL(r.n_ranges, KERF_MIN(gaps, max_ranges));
	if (gaps <= max_ranges)
		CU_ASSERT_EQUAL(sum + r.received, packets);
	if (gaps > max_ranges) {
		CU_ASSERT(sum + r.received > packets); /* how the sender can tell */
		CU_ASSERT_EQUAL(missing[packets - 1], 1);
	}
	uint8_t body[64 + 4 * KERF_REPORT_MAX_RANGES];
	CU_ASSERT(kerf_wire_put_report(body, &r) <= payload_bytes);
	end(&f);
	free(here);
	free(missing);
}

static void test_ranges(void)
{
	static const uint32_t packets[] = {3, 63, 64, 65, 128, 500, 3000};
	static const double losses[] = {0.02, 0.3, 0.97};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(packets); i++)
		for (unsigned j = 0; j < KERF_ARRAY_LEN(losses); j++) {
			check_ranges(packets[i], 1450, losses[j], 256);
			check_ranges(packets[i], 132, losses[j], 17);
		}
}

static void test_report_packet(void)
{
	struct fixture f;
	struct bench b;
	struct kerf_report r, back;
	struct kerf_header h;
	const uint8_t *payload;
	size_t len;
	struct rte_mbuf *answer;

	bench_open(&b, 4, 1450);
	begin(&f, 20, 1450);
	give(&f, 1, MS);
	give(&f, 5, MS);
	kerf_receiver_report(&f.r, &r, 3 * MS);
	r.work_us = 77;
	struct rte_mbuf *m = kerf_report_packet(&b.peer_net, &bench_self, 7, 42, &r, 4 * MS);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	CU_ASSERT_EQUAL(kerf_net_receive(&b.net, m, &h, &payload, &len, &answer), 0);
	CU_ASSERT_EQUAL(h.type, KERF_MSG_REPORT);
	CU_ASSERT_EQUAL(h.session, 7);
	CU_ASSERT_EQUAL(h.frame, 42);
	CU_ASSERT_EQUAL(h.tx_ns, 4 * MS);
	CU_ASSERT_EQUAL(kerf_wire_get_report(payload, len, &back), 0);
	CU_ASSERT_EQUAL(back.received, 2);
	CU_ASSERT_EQUAL(back.work_us, 77);
	CU_ASSERT_EQUAL(back.n_ranges, 3);
	CU_ASSERT_EQUAL(back.ranges[2].first, 6);
	CU_ASSERT_EQUAL(back.ranges[2].count, 14);
	CU_ASSERT_EQUAL(b.peer_net.tx_packets, 1);
	rte_pktmbuf_free(m);
	end(&f);
	bench_close(&b);
}

UNIT_MAIN("transport.receiver", UNIT(test_any_order_gives_the_tensor),
	UNIT(test_packets_of_other_messages), UNIT(test_wrong_lengths),
	UNIT(test_descriptor_that_disagrees), UNIT(test_start_refuses),
	UNIT(test_complete_is_reported_at_once), UNIT(test_progress_is_reported),
	UNIT(test_a_slow_train_is_reported_early),
	UNIT(test_results_have_no_progress_reports), UNIT(test_silence_doubles),
	UNIT(test_silence_follows_the_bursts), UNIT(test_times_and_bytes),
	UNIT(test_rate_of_the_train), UNIT(test_newest_across_the_wrap), UNIT(test_ranges),
	UNIT(test_report_packet))
