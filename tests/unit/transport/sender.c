/* The sender by itself: pace, references, repeats, silence, reports true and false. */
#include "harness.h"

#define PER_PACKET (BENCH_PAYLOAD / 64 * 16)
#define TAU 8e-9 /* 1 Gbit/s */
#define WIRE_BYTES (64 + BENCH_PAYLOAD / 64 * 64 + KERF_LINK_OVERHEAD)

struct fixture {
	struct bench b;
	float *values;
	struct kerf_message msg;
};

/* A message of `packets` packets, the last one full. */
static void begin(struct fixture *f, uint32_t packets, unsigned pool_packets, double tau)
{
	size_t n = (BENCH_PAYLOAD - 64) / 64 * 16 + (size_t)(packets - 1) * PER_PACKET;

	bench_open(&f->b, pool_packets, BENCH_PAYLOAD);
	f->values = bench_values(n);
	f->msg = bench_message(KERF_MSG_DATA);
	f->msg.parts[0] = (struct kerf_part){.values = f->values, .n = n};
	f->msg.n_parts = 1;
	f->msg.tau = tau;
	f->msg.max_tries = 3;
	CU_ASSERT_EQUAL_FATAL(kerf_sender_start(&f->b.sender, &f->msg, f->b.now), 0);
	CU_ASSERT_EQUAL_FATAL(f->b.sender.layout.n_packets, packets);
}

static void end(struct fixture *f)
{
	bench_close(&f->b);
	free(f->values);
}

static struct kerf_header header_of(const struct rte_mbuf *m)
{
	struct kerf_header h;
	size_t len;

	CU_ASSERT_EQUAL(kerf_wire_parse(rte_pktmbuf_mtod(m, void *), rte_pktmbuf_data_len(m), &h,
				&len), 0);
	return h;
}

/* Polls at `now` until nothing more comes, frees what came; returns how many. */
static unsigned drain(struct fixture *f, uint64_t now)
{
	struct rte_mbuf *pkts[32];
	unsigned total = 0, n;

	while ((n = kerf_sender_poll(&f->b.sender, now, pkts, 32)) > 0) {
		rte_pktmbuf_free_bulk(pkts, n);
		total += n;
	}
	return total;
}

/* The headers of what one poll returns. */
static unsigned take(struct fixture *f, uint64_t now, struct kerf_header *h, unsigned max)
{
	struct rte_mbuf *pkts[32];
	unsigned n = kerf_sender_poll(&f->b.sender, now, pkts, max);

	for (unsigned i = 0; i < n; i++)
		h[i] = header_of(pkts[i]);
	rte_pktmbuf_free_bulk(pkts, n);
	return n;
}

static struct kerf_report report_of(uint16_t received, uint64_t echo_ns)
{
	return (struct kerf_report){
		.of_type = KERF_MSG_DATA, .received = received, .echo_tx_ns = echo_ns};
}

static void add_range(struct kerf_report *r, uint16_t first, uint16_t count)
{
	r->ranges[r->n_ranges].first = first;
	r->ranges[r->n_ranges++].count = count;
}

/* ---- pace ---- */

static void pace(double tau, uint64_t poll_ns)
{
	struct fixture f;
	struct kerf_header h[32];
	uint64_t first_ns = 0, last_ns = 0, now;
	unsigned sent = 0;

	begin(&f, 1000, 1024, tau);
	for (now = f.b.now; sent < 1000 && now < KERF_NS_PER_S; now += poll_ns) {
		unsigned n = take(&f, now, h, 32);

		if (n > 0) {
			first_ns = sent ? first_ns : now;
			last_ns = now;
		}
		sent += n;
	}
	CU_ASSERT_EQUAL(sent, 1000);
	/* A packet short of a whole one in the first. */
	double expected_ns = 999 * WIRE_BYTES * tau * 1e9;
	CU_ASSERT_DOUBLE_EQUAL((double)(last_ns - first_ns), expected_ns, 0.01 * expected_ns);
	end(&f);
}

static void test_pace_is_exact(void)
{
	pace(TAU, 100);      /* polls more often than packets leave */
	pace(TAU, 100000);   /* 8 packets a poll */
	pace(TAU / 1000, 1); /* 1 Tbit/s: a fraction of a ns a packet counts */
	pace(TAU * 20, 1000);
}

static void test_next_is_when_a_packet_is_due(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 100, 128, TAU);
	CU_ASSERT(kerf_sender_next(&f.b.sender) <= f.b.now);
	for (unsigned i = 0; i < 100; i++) {
		uint64_t due_ns = kerf_sender_next(&f.b.sender);

		if (i > 0)
			CU_ASSERT_EQUAL(take(&f, due_ns - 1, h, 32), 0);
		CU_ASSERT_EQUAL(take(&f, due_ns, h, 32), 1);
		CU_ASSERT_EQUAL(h[0].index, i);
		CU_ASSERT_EQUAL(h[0].tx_ns, due_ns);
		CU_ASSERT_EQUAL(h[0].try_no, 0);
	}
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_WAITING);
	end(&f);
}

/* A poll that comes late makes up for 32 packets or 1 ms, not for more. */
static void test_catching_up_is_limited(void)
{
	struct fixture f;
	const double packet_ns = WIRE_BYTES * TAU * 1e9;

	begin(&f, 2000, 2048, TAU);
	drain(&f, f.b.now);
	unsigned n = drain(&f, f.b.now + 500000);
	CU_ASSERT_DOUBLE_EQUAL(n, 500000 / packet_ns, 1.5);
	n = drain(&f, f.b.now + KERF_NS_PER_S);
	CU_ASSERT_DOUBLE_EQUAL(n, 1000000 / packet_ns, 1.5);
	end(&f);

	begin(&f, 2000, 2048, TAU * 1000);
	drain(&f, f.b.now);
	n = drain(&f, f.b.now + 100 * KERF_NS_PER_S);
	CU_ASSERT(n >= 32 && n <= 33);
	end(&f);
}

static void test_stamps_differ_and_rise(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 32, 64, 0);
	CU_ASSERT_EQUAL(take(&f, f.b.now, h, 32), 32);
	for (unsigned i = 1; i < 32; i++)
		CU_ASSERT(h[i].tx_ns > h[i - 1].tx_ns);
	CU_ASSERT(h[31].tx_ns < f.b.now + 32);
	end(&f);
}

/* ---- references and repeats ---- */

static void test_repeat_waits_for_its_mbuf(void)
{
	struct fixture f;
	struct rte_mbuf *pkts[32], *again[32];
	struct kerf_header h;

	begin(&f, 3, 16, 0);
	CU_ASSERT_EQUAL(kerf_sender_poll(&f.b.sender, 1000, pkts, 32), 3);
	uint64_t before = lane_checksum(pkts[0]);

	/* 0 and 1 are lost; both are still in the hands of the port, then only 0 is. */
	struct kerf_report r = report_of(1, header_of(pkts[2]).tx_ns);
	add_range(&r, 0, 2);
	kerf_sender_report(&f.b.sender, &r, 1000000);
	CU_ASSERT_EQUAL(kerf_sender_poll(&f.b.sender, 1000000, again, 32), 0);
	uint64_t retry_ns = kerf_sender_next(&f.b.sender);
	CU_ASSERT(retry_ns > 1000000 && retry_ns < 2000000);
	CU_ASSERT_EQUAL(lane_checksum(pkts[0]), before);

	rte_pktmbuf_free(pkts[1]);
	CU_ASSERT_EQUAL_FATAL(kerf_sender_poll(&f.b.sender, retry_ns, again, 32), 1);
	h = header_of(again[0]);
	CU_ASSERT_EQUAL(h.index, 1);
	CU_ASSERT_EQUAL(h.try_no, 1);
	CU_ASSERT_EQUAL(h.tx_ns, retry_ns);
	CU_ASSERT_PTR_EQUAL(again[0], pkts[1]); /* the same mbuf: nothing is copied */
	CU_ASSERT_EQUAL(lane_checksum(pkts[0]), before);
	rte_pktmbuf_free(again[0]);

	rte_pktmbuf_free(pkts[0]);
	retry_ns = KERF_MAX(retry_ns, kerf_sender_next(&f.b.sender));
	CU_ASSERT_EQUAL_FATAL(kerf_sender_poll(&f.b.sender, retry_ns, again, 32), 1);
	h = header_of(again[0]);
	CU_ASSERT_EQUAL(h.index, 0);
	CU_ASSERT_EQUAL(h.flags, KERF_FLAG_REPORT_NOW); /* the round is over */
	rte_pktmbuf_free(again[0]);
	rte_pktmbuf_free(pkts[2]);
	end(&f);
}

static void test_confirmed_packets_are_freed(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 32, 64, 0);
	take(&f, 1000, h, 32);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(f.b.pool), 64 - 32);
	struct kerf_report r = report_of(30, h[31].tx_ns);
	add_range(&r, 4, 1);
	add_range(&r, 9, 1);
	kerf_sender_report(&f.b.sender, &r, 1000000);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(f.b.pool), 64 - 2);
	CU_ASSERT_EQUAL(take(&f, 1000000, h, 32), 2);
	CU_ASSERT_EQUAL(h[0].index, 4);
	CU_ASSERT_EQUAL(h[1].index, 9);
	CU_ASSERT_EQUAL(f.b.net.retransmits, 2);

	/* The same report once more: both repeats are under way, nothing is to be done. */
	kerf_sender_report(&f.b.sender, &r, 1000100);
	CU_ASSERT_EQUAL(take(&f, 1000100, h, 32), 0);
	r = report_of(32, h[1].tx_ns);
	r.flags = KERF_REPORT_COMPLETE;
	kerf_sender_report(&f.b.sender, &r, 2000000);
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_DONE);
	CU_ASSERT_EQUAL(f.b.sender.finished_ns, 2000000);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(f.b.pool), 64);
	CU_ASSERT_EQUAL(kerf_sender_next(&f.b.sender), UINT64_MAX);
	end(&f);
}

/* An early report calls everything missing that has not even been sent. */
static void test_unsent_is_not_lost(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 64, 128, 0);
	take(&f, 1000, h, 32);
	struct kerf_report r = report_of(17, h[17].tx_ns);
	add_range(&r, 3, 1);
	add_range(&r, 18, 46);
	kerf_sender_report(&f.b.sender, &r, 10000000);
	/* 3 was overtaken; 18 to 31 left after the newest that arrived, as long ago as that one. */
	CU_ASSERT_EQUAL(f.b.sender.n_pending, 32 + 1);
	CU_ASSERT_EQUAL(f.b.sender.n_held, 1 + 14);
	CU_ASSERT_EQUAL(drain(&f, 10000000), 33);
	CU_ASSERT_EQUAL(f.b.sender.repeats, 1);
	end(&f);
}

/* No packet came after the lost tail, but it has been away for longer than a round trip: its last packet asks. */
static void test_lost_tail_is_asked_for_after_a_round_trip(void)
{
	struct fixture f;
	struct kerf_header h[32];
	const uint64_t sent_ns = 1000, rtt_ns = 4000000;

	begin(&f, 20, 64, 0);
	take(&f, sent_ns, h, 32);
	struct kerf_report r = report_of(10, h[9].tx_ns);
	add_range(&r, 10, 10);
	r.hold_ns = 500000;
	kerf_sender_report(&f.b.sender, &r, sent_ns + rtt_ns + r.hold_ns);
	CU_ASSERT_EQUAL(f.b.sender.n_pending, 0);
	r.hold_ns = 2000000;
	kerf_sender_report(&f.b.sender, &r, sent_ns + rtt_ns + r.hold_ns);
	CU_ASSERT_EQUAL(f.b.sender.n_pending, 1);
	CU_ASSERT_EQUAL_FATAL(take(&f, sent_ns + rtt_ns + r.hold_ns, h, 32), 1);
	CU_ASSERT_EQUAL(h[0].index, 19);
	CU_ASSERT_EQUAL(h[0].flags, KERF_FLAG_REPORT_NOW);

	/* It arrives: all others before it are lost for sure. */
	r = report_of(11, h[0].tx_ns);
	add_range(&r, 10, 9);
	kerf_sender_report(&f.b.sender, &r, sent_ns + 3 * rtt_ns);
	CU_ASSERT_EQUAL(f.b.sender.n_pending, 9);
	end(&f);
}

static void test_encode_all_lets_the_parts_go(void)
{
	struct fixture f;
	struct rte_mbuf *pkts[32];
	unsigned n, values = 0;

	begin(&f, 40, 64, 0);
	for (size_t i = 0; i < f.msg.parts[0].n; i++)
		f.values[i] = 1;
	CU_ASSERT_EQUAL(kerf_sender_encode_all(&f.b.sender), 0);
	CU_ASSERT_EQUAL(f.b.net.tx_packets, 0);
	memset(f.values, 0, f.msg.parts[0].n * sizeof(*f.values));
	while ((n = kerf_sender_poll(&f.b.sender, 1000, pkts, 32)) > 0) {
		for (unsigned i = 0; i < n; i++) {
			unsigned skip = header_of(pkts[i]).index == 0 ? 128 : 64;
			const float *v = rte_pktmbuf_mtod_offset(pkts[i], float *, skip);

			for (unsigned j = 0; j < (rte_pktmbuf_data_len(pkts[i]) - skip) / 4; j++)
				values += v[j] == 1;
		}
		rte_pktmbuf_free_bulk(pkts, n);
	}
	CU_ASSERT_EQUAL(values, f.msg.parts[0].n);
	end(&f);

	begin(&f, 40, 30, 0);
	CU_ASSERT_EQUAL(kerf_sender_encode_all(&f.b.sender), -ENOMEM);
	CU_ASSERT_EQUAL(drain(&f, 1000), 30);
	end(&f);
}

/* ---- silence ---- */

static void test_silence_repeats_the_last_packet(void)
{
	struct fixture f;
	struct kerf_header h[32];
	static const unsigned waits[] = {1, 2, 4};

	begin(&f, 5, 16, 0);
	take(&f, 1000, h, 32);
	uint64_t now = 1000;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(waits); i++) {
		CU_ASSERT_EQUAL(kerf_sender_next(&f.b.sender), now + waits[i] * f.msg.rto_ns);
		now = kerf_sender_next(&f.b.sender);
		CU_ASSERT_EQUAL(take(&f, now - 1, h, 32), 0);
		CU_ASSERT_EQUAL(take(&f, now, h, 32), 1);
		CU_ASSERT_EQUAL(h[0].index, 4);
		CU_ASSERT_EQUAL(h[0].try_no, i + 1);
		CU_ASSERT_EQUAL(h[0].flags, KERF_FLAG_REPORT_NOW);
	}
	now = kerf_sender_next(&f.b.sender);
	CU_ASSERT_EQUAL(take(&f, now, h, 32), 0);
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_FAILED);
	end(&f);
}

static void test_a_report_ends_the_silence(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 2, 16, 0);
	take(&f, 1000, h, 32);
	uint64_t now = kerf_sender_next(&f.b.sender);
	take(&f, now, h, 32);
	CU_ASSERT_EQUAL(f.b.sender.tries, 1);
	struct kerf_report r = report_of(1, h[0].tx_ns);
	add_range(&r, 0, 1);
	kerf_sender_report(&f.b.sender, &r, now + 1000);
	CU_ASSERT_EQUAL(f.b.sender.tries, 0);
	CU_ASSERT_EQUAL(take(&f, now + 1000, h, 32), 1);
	CU_ASSERT_EQUAL(h[0].index, 0);
	CU_ASSERT_EQUAL(kerf_sender_next(&f.b.sender), now + 1000 + f.msg.rto_ns);
	end(&f);
}

/* Waiting for a report is not lateness: repeats do not leave in one burst at link speed. */
static void test_repeats_are_paced(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 32, 64, TAU);
	while (f.b.sender.state == KERF_SENDER_SENDING)
		take(&f, kerf_sender_next(&f.b.sender), h, 32);
	struct kerf_report r = report_of(1, h[0].tx_ns); /* of the last packet */
	add_range(&r, 0, 31);
	kerf_sender_report(&f.b.sender, &r, KERF_NS_PER_S);
	CU_ASSERT_EQUAL(f.b.sender.n_pending, 31);
	CU_ASSERT_EQUAL(take(&f, KERF_NS_PER_S, h, 32), 1);
	end(&f);
}

/* ---- what a peer may say ---- */

static void test_busy_and_unknown(void)
{
	struct fixture f;
	struct kerf_report r = report_of(0, 0);

	begin(&f, 5, 16, 0);
	drain(&f, 1000);
	r.flags = KERF_REPORT_BUSY;
	kerf_sender_report(&f.b.sender, &r, 2000);
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_FAILED);
	end(&f);

	begin(&f, 5, 16, 0);
	drain(&f, 1000);
	r.flags = KERF_REPORT_UNKNOWN;
	kerf_sender_report(&f.b.sender, &r, 2000);
	CU_ASSERT_EQUAL(drain(&f, 2000), 5);
	kerf_sender_report(&f.b.sender, &r, 3000); /* of the same loss: too early to be another */
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_WAITING);
	kerf_sender_report(&f.b.sender, &r, 2000 + f.msg.rto_ns);
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_FAILED);
	end(&f);
}

/* What was confirmed is gone, so it cannot be sent once more. */
static void test_unknown_after_a_confirmation(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 5, 16, 0);
	take(&f, 1000, h, 32);
	struct kerf_report r = report_of(4, h[4].tx_ns);
	add_range(&r, 2, 1);
	kerf_sender_report(&f.b.sender, &r, 1000000);
	r = report_of(0, 0);
	r.flags = KERF_REPORT_UNKNOWN;
	kerf_sender_report(&f.b.sender, &r, 1100000);
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_FAILED);
	end(&f);
}

static void refuse(struct fixture *f, const struct kerf_report *r)
{
	uint64_t refused = f->b.net.drops[KERF_DROP_UNEXPECTED];
	uint32_t held = f->b.sender.n_held, pending = f->b.sender.n_pending;
	enum kerf_sender_state state = f->b.sender.state;
	uint64_t heard_ns = f->b.sender.heard_ns;

	kerf_sender_report(&f->b.sender, r, 5000000);
	CU_ASSERT_EQUAL(f->b.net.drops[KERF_DROP_UNEXPECTED], refused + 1);
	CU_ASSERT_EQUAL(f->b.sender.n_held, held);
	CU_ASSERT_EQUAL(f->b.sender.n_pending, pending);
	CU_ASSERT_EQUAL(f->b.sender.state, state);
	CU_ASSERT_EQUAL(f->b.sender.heard_ns, heard_ns);
}

static void test_lies_are_refused(void)
{
	struct fixture f;
	struct kerf_header h[32];
	struct kerf_report r;

	begin(&f, 40, 64, 0);
	take(&f, 1000, h, 32); /* 8 are not sent yet */

	r = report_of(39, 0);
	add_range(&r, 40, 1);
	refuse(&f, &r); /* out of bounds */
	r = report_of(1, 0);
	add_range(&r, 1, 40);
	refuse(&f, &r);
	r = report_of(30, 0);
	add_range(&r, 20, 10);
	add_range(&r, 10, 10);
	refuse(&f, &r); /* out of order */
	r = report_of(26, 0);
	add_range(&r, 10, 10);
	add_range(&r, 19, 5);
	refuse(&f, &r); /* overlapping */
	r = report_of(30, 0);
	add_range(&r, 10, 0);
	add_range(&r, 20, 10);
	refuse(&f, &r); /* empty */
	r = report_of(41, 0);
	add_range(&r, 10, 10);
	refuse(&f, &r); /* more than there are */
	r = report_of(40, 0);
	refuse(&f, &r); /* nothing missing and not complete */
	r = report_of(5, 0);
	add_range(&r, 10, 10);
	refuse(&f, &r); /* 25 packets neither here nor missing */
	r = report_of(40, 0);
	r.flags = KERF_REPORT_COMPLETE;
	refuse(&f, &r); /* complete before all was sent */
	r.of_type = KERF_MSG_RESULT;
	refuse(&f, &r);
	r = report_of(39, 0);
	add_range(&r, 0, 1);
	r.n_ranges = KERF_REPORT_MAX_RANGES + 1;
	refuse(&f, &r);
	end(&f);
}

/* A report that confirms packets which never left: they are sent all the same. */
static void test_unsent_cannot_be_confirmed(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 40, 64, 0);
	CU_ASSERT_EQUAL(kerf_sender_encode_all(&f.b.sender), 0);
	take(&f, 1000, h, 32);
	struct kerf_report r = report_of(39, h[31].tx_ns);
	add_range(&r, 31, 1);
	kerf_sender_report(&f.b.sender, &r, 2000);
	CU_ASSERT_EQUAL(f.b.sender.n_held, 8 + 1);
	CU_ASSERT(drain(&f, 2000) >= 8);
	CU_ASSERT_EQUAL(f.b.sender.n_unsent, 0);
	end(&f);
}

/* A peer that confirms everything but never says so in one report. */
static void test_all_confirmed_is_done(void)
{
	struct fixture f;
	struct kerf_header h[32];

	begin(&f, 4, 16, 0);
	take(&f, 1000, h, 32);
	struct kerf_report r = report_of(2, h[3].tx_ns);
	add_range(&r, 0, 2);
	kerf_sender_report(&f.b.sender, &r, 2000);
	r = report_of(2, h[3].tx_ns);
	add_range(&r, 2, 2);
	kerf_sender_report(&f.b.sender, &r, 3000);
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_DONE);
	end(&f);
}

/* A peer that asks for the same packet for ever. */
static void test_endless_requests_fail(void)
{
	struct fixture f;
	struct kerf_header h[32];
	uint64_t now = 1000;

	begin(&f, 2, 16, 0);
	take(&f, now, h, 32);
	for (unsigned i = 0; i < 1000 && f.b.sender.state != KERF_SENDER_FAILED; i++) {
		now += KERF_NS_PER_S;
		struct kerf_report r = report_of(1, now - 1);
		add_range(&r, 0, 1);
		kerf_sender_report(&f.b.sender, &r, now);
		take(&f, now, h, 32);
	}
	CU_ASSERT_EQUAL(f.b.sender.state, KERF_SENDER_FAILED);
	end(&f);
}

/* Transmit times wrap after 78 hours; a message may lie across. */
static void test_stamp_wraps(void)
{
	struct fixture f;
	struct kerf_header h[32];
	const uint64_t wrap = 1ull << 48;

	begin(&f, 3, 16, 0);
	f.b.sender.next_tx_ns = wrap - 1;
	take(&f, wrap - 1, h, 32);
	CU_ASSERT_EQUAL(h[0].tx_ns, wrap - 1);
	CU_ASSERT_EQUAL(h[2].tx_ns, 1);
	struct kerf_report r = report_of(2, h[1].tx_ns);
	add_range(&r, 2, 1);
	kerf_sender_report(&f.b.sender, &r, wrap + 1000);
	CU_ASSERT_EQUAL(f.b.sender.n_pending, 0); /* 2 left last and may be on its way */
	end(&f);

	begin(&f, 3, 16, 0);
	f.b.sender.next_tx_ns = wrap - 1;
	take(&f, wrap - 1, h, 32);
	r = report_of(1, h[2].tx_ns);
	add_range(&r, 0, 2);
	kerf_sender_report(&f.b.sender, &r, wrap + 1000);
	CU_ASSERT_EQUAL(f.b.sender.n_pending, 2);
	end(&f);
}

/* What an mbuf held before stays here. */
static void test_probes_carry_zeros(void)
{
	struct fixture f;
	struct rte_mbuf *pkts[16];
	struct kerf_message msg = bench_message(KERF_MSG_PROBE);
	unsigned other = 0;

	begin(&f, 1, 16, 0);
	kerf_sender_finish(&f.b.sender, KERF_SENDER_IDLE, 0);
	for (unsigned i = 0; i < 16; i++) {
		pkts[i] = rte_pktmbuf_alloc(f.b.pool);
		memset(rte_pktmbuf_mtod(pkts[i], void *), 0xee, 64 + BENCH_PAYLOAD);
	}
	rte_pktmbuf_free_bulk(pkts, 16);
	msg.probe_packets = 16;
	CU_ASSERT_EQUAL(kerf_sender_start(&f.b.sender, &msg, 1000), 0);
	CU_ASSERT_EQUAL_FATAL(kerf_sender_poll(&f.b.sender, 1000, pkts, 16), 16);
	for (unsigned i = 0; i < 16; i++) {
		CU_ASSERT_EQUAL(rte_pktmbuf_data_len(pkts[i]), 64 + BENCH_PAYLOAD);
		for (unsigned j = 64; j < 64 + BENCH_PAYLOAD; j++)
			other += *rte_pktmbuf_mtod_offset(pkts[i], uint8_t *, j) != 0;
	}
	CU_ASSERT_EQUAL(other, 0);
	rte_pktmbuf_free_bulk(pkts, 16);
	end(&f);
}

static void test_bad_messages_are_refused(void)
{
	struct fixture f;
	struct kerf_message m;

	begin(&f, 3, 16, 0);
	struct kerf_sender *s = &f.b.sender;
	m = f.msg;
	m.parts[0].n = (size_t)BENCH_PACKETS * PER_PACKET + 1;
	CU_ASSERT_EQUAL(kerf_sender_start(s, &m, 0), -EMSGSIZE);
	m.parts[0].n = SIZE_MAX / 8;
	CU_ASSERT_EQUAL(kerf_sender_start(s, &m, 0), -EMSGSIZE);
	m = f.msg;
	m.codec = KERF_CODEC_U8;
	CU_ASSERT_EQUAL(kerf_sender_start(s, &m, 0), -EINVAL);
	m = f.msg;
	m.n_parts = KERF_MAX_PARTS + 1;
	CU_ASSERT_EQUAL(kerf_sender_start(s, &m, 0), -EINVAL);
	m = f.msg;
	m.type = KERF_MSG_HELLO;
	CU_ASSERT_EQUAL(kerf_sender_start(s, &m, 0), -EINVAL);
	m = f.msg;
	m.payload_bytes = 100;
	CU_ASSERT_EQUAL(kerf_sender_start(s, &m, 0), -EMSGSIZE);
	m = bench_message(KERF_MSG_PROBE);
	CU_ASSERT_EQUAL(kerf_sender_start(s, &m, 0), -EMSGSIZE);
	CU_ASSERT_EQUAL(drain(&f, 1000), 3); /* the message before is untouched */
	end(&f);
}

UNIT_MAIN("transport.sender", UNIT(test_pace_is_exact), UNIT(test_next_is_when_a_packet_is_due),
	UNIT(test_catching_up_is_limited), UNIT(test_stamps_differ_and_rise),
	UNIT(test_repeat_waits_for_its_mbuf), UNIT(test_confirmed_packets_are_freed),
	UNIT(test_unsent_is_not_lost), UNIT(test_lost_tail_is_asked_for_after_a_round_trip),
	UNIT(test_encode_all_lets_the_parts_go), UNIT(test_silence_repeats_the_last_packet),
	UNIT(test_a_report_ends_the_silence), UNIT(test_repeats_are_paced),
	UNIT(test_busy_and_unknown), UNIT(test_unknown_after_a_confirmation),
	UNIT(test_lies_are_refused), UNIT(test_unsent_cannot_be_confirmed),
	UNIT(test_all_confirmed_is_done), UNIT(test_endless_requests_fail), UNIT(test_stamp_wraps),
	UNIT(test_probes_carry_zeros), UNIT(test_bad_messages_are_refused))
