/*
 * Trains over a synthetic link whose rate is known: a FIFO that serialises each packet exactly, and
 * a receiver that stamps packets exactly, by polling, or by polling with stalls.
 */
#include "link/link.h"
#include "unit.h"

#include <math.h>
#include <string.h>

#define WIRE 1538 /* a full Ethernet frame with preamble, FCS and gap */
#define DELAY_NS 250000
#define TX_MASK ((1ull << 48) - 1)

struct path {
	double link_bps;
	double send_bps; /* 0 = all packets at once */
	uint64_t start_tx_ns;
	uint64_t poll_ns;    /* 0 = exact stamps */
	double stall_share;  /* of polls that are followed by 5 to 100 us of nothing */
	uint32_t lose_every; /* packets that never reach the link; 0 = none */
};

/* First poll at or after `ns`; polls come every poll_ns, but late after a stall. */
static uint64_t polled(const struct path *p, struct kerf_rng *rng, uint64_t *poll, double ns)
{
	if (p->stall_share == 0 && (double)*poll < ns)
		*poll += (uint64_t)ceil((ns - (double)*poll) / p->poll_ns) * p->poll_ns;
	while ((double)*poll < ns) {
		*poll += p->poll_ns;
		if (kerf_rng_uniform(rng) < p->stall_share)
			*poll += 5000 + (uint64_t)(95000 * kerf_rng_uniform(rng));
	}
	return *poll;
}

static struct kerf_train run(const struct path *p, uint32_t n, struct kerf_rng *rng)
{
	struct kerf_train t = {0};
	double wire_ns = WIRE * 8e9 / p->link_bps, free_ns = 0;
	uint64_t poll = p->poll_ns ? kerf_rng_u64(rng) % p->poll_ns : 0;

	for (uint32_t i = 0; i < n; i++) {
		double sent = p->send_bps > 0 ? i * (WIRE * 8e9 / p->send_bps) : 0;
		if (p->lose_every && i % p->lose_every == 1)
			continue;
		free_ns = fmax(free_ns, sent) + wire_ns;
		double arrived = free_ns + DELAY_NS;
		uint64_t rx = p->poll_ns ? polled(p, rng, &poll, arrived) :
					   (uint64_t)llrint(arrived);
		kerf_train_add(&t, rx, (p->start_tx_ns + (uint64_t)sent) & TX_MASK, WIRE);
	}
	return t;
}

static double error_of(const struct kerf_sample *s, double bps)
{
	return fabs(s->tau * bps / 8 - 1);
}

static const double rates[] = {1e6, 10e6, 100e6, 1e9, 10e9, 25e9, 100e9};
static const uint32_t lengths[] = {10, 64, 256, 1024, 5000};

static void test_exact_times_at_every_rate(void)
{
	for (size_t r = 0; r < KERF_ARRAY_LEN(rates); r++)
		for (size_t l = 0; l < KERF_ARRAY_LEN(lengths); l++) {
			struct path p = {.link_bps = rates[r]};
			struct kerf_train t = run(&p, lengths[l], NULL);
			struct kerf_sample s;

			CU_ASSERT(kerf_train_sample(&t, lengths[l], &s));
			CU_ASSERT_EQUAL(s.label, KERF_LABEL_BOTTLENECK);
			CU_ASSERT_EQUAL(s.packets, lengths[l]);
			CU_ASSERT(error_of(&s, rates[r]) < (lengths[l] < 64 ? 0.02 : 0.005));
			CU_ASSERT(error_of(&s, rates[r]) <= s.error);
			CU_ASSERT(t.n_points <= KERF_TRAIN_POINTS && t.bursts == lengths[l]);
		}
}

/* Polled, quiet host: below 1% once the train lasts 100 us, within its own bound in any case. */
static void test_polled_times(void)
{
	struct kerf_rng rng = {.seed = 11};
	unsigned runs = 0, outside = 0;

	for (size_t r = 0; r < KERF_ARRAY_LEN(rates); r++)
		for (size_t l = 0; l < KERF_ARRAY_LEN(lengths); l++)
			for (unsigned k = 0; k < 20; k++) {
				struct path p = {.link_bps = rates[r], .poll_ns = 400 + 10 * k};
				struct kerf_train t = run(&p, lengths[l], &rng);
				struct kerf_sample s;

				if (!kerf_train_sample(&t, lengths[l], &s))
					continue;
				runs++;
				outside += error_of(&s, rates[r]) > s.error;
				if (t.last_rx_ns - t.first_rx_ns >= 100000)
					CU_ASSERT(error_of(&s, rates[r]) < 0.01);
			}
	CU_ASSERT(runs > 650);
	CU_ASSERT(outside * 20 <= runs); /* the bound covers 95% */
}

/* A poll every 1 us, one in 200 followed by a stall: the median slope shrugs, first-to-last
 * would not. */
static void test_stalls(void)
{
	static const struct { double bps; uint32_t n; } cases[] = {
		{1e9, 64}, {1e9, 256}, {10e9, 256}, {10e9, 1024}, {25e9, 5000},
	};
	struct kerf_rng rng = {.seed = 12};

	for (size_t c = 0; c < KERF_ARRAY_LEN(cases); c++) {
		unsigned runs = 0, bad = 0;

		for (unsigned k = 0; k < 400; k++) {
			struct path p = {
				.link_bps = cases[c].bps, .poll_ns = 1000, .stall_share = 0.005};
			struct kerf_train t = run(&p, cases[c].n, &rng);
			struct kerf_sample s;

			if (!kerf_train_sample(&t, cases[c].n, &s) || t.bursts < 16)
				continue;
			runs++;
			bad += error_of(&s, cases[c].bps) > 0.03;
		}
		if (bad * 20 > runs)
			printf("%g bit/s, %u packets: %u of %u beyond 3%%\n", cases[c].bps,
				cases[c].n, bad, runs);
		CU_ASSERT(runs >= 300);
		CU_ASSERT(bad * 20 <= runs);
	}
}

static void test_first_burst_bytes_do_not_count(void)
{
	/* Ten packets in the first poll, three in the second, 9 us later: 3 us a packet. */
	struct kerf_train t = {0};
	struct kerf_sample s;

	for (unsigned i = 0; i < 10; i++)
		kerf_train_add(&t, 1000, 0, 1000);
	CU_ASSERT_FALSE(kerf_train_sample(&t, 10, &s)); /* one burst tells nothing */
	CU_ASSERT_EQUAL(s.label, KERF_LABEL_NONE);
	for (unsigned i = 0; i < 3; i++)
		kerf_train_add(&t, 10000, 0, 1000);
	CU_ASSERT(kerf_train_sample(&t, 13, &s));
	CU_ASSERT_DOUBLE_EQUAL(s.tau, 3e-9, 1e-15);
	CU_ASSERT_EQUAL(t.bursts, 2);
	/* A third burst of one large packet: edges, still without the first burst. */
	kerf_train_add(&t, 20000, 0, 2000);
	CU_ASSERT(kerf_train_sample(&t, 14, &s));
	CU_ASSERT_DOUBLE_EQUAL(s.tau, 19e-6 / 5000, 1e-15);
}

static void test_no_packets(void)
{
	struct kerf_train t = {0};
	struct kerf_sample s;

	CU_ASSERT_FALSE(kerf_train_sample(&t, 0, &s));
	CU_ASSERT_FALSE(kerf_train_sample(&t, 10, &s));
	CU_ASSERT(s.label == KERF_LABEL_NONE && s.packets == 0);
}

static void test_half_split_needs_eight_bursts(void)
{
	/* Packets 1 us apart, one stall of 100 us before the last: with seven bursts it is all
	 * in the edges; with eight the median leaves it out. */
	for (unsigned n = 7; n <= 8; n++) {
		struct kerf_train t = {0};
		struct kerf_sample s;

		for (unsigned i = 0; i < n; i++)
			kerf_train_add(&t, 1000 * (i + 1) + (i + 1 == n ? 100000 : 0), 0, 1000);
		CU_ASSERT(kerf_train_sample(&t, n, &s));
		double expected = n == 7 ? 106e-6 / 6000 : 1e-9;
		CU_ASSERT_DOUBLE_EQUAL(s.tau, expected, 1e-15);
		CU_ASSERT(s.error > 0.9); /* the stall is in the bound */
	}
}

static enum kerf_link_label label_at(double link_bps, double send_bps, uint64_t start_tx_ns)
{
	struct path p = {.link_bps = link_bps, .send_bps = send_bps, .start_tx_ns = start_tx_ns};
	struct kerf_train t = run(&p, 200, NULL);
	struct kerf_sample s;

	kerf_train_sample(&t, 200, &s);
	return s.label;
}

static void test_sender_or_bottleneck(void)
{
	CU_ASSERT_EQUAL(label_at(1e9, 100e6, 0), KERF_LABEL_SENDER);
	CU_ASSERT_EQUAL(label_at(93e6, 100e6, 0), KERF_LABEL_SENDER);
	CU_ASSERT_EQUAL(label_at(87e6, 100e6, 0), KERF_LABEL_BOTTLENECK);
	CU_ASSERT_EQUAL(label_at(100e6, 125e6, 0), KERF_LABEL_BOTTLENECK); /* pacing at gain 1.25 */
	CU_ASSERT_EQUAL(label_at(100e6, 0, 0), KERF_LABEL_BOTTLENECK);
}

static void test_transmit_times_wrap(void)
{
	/* 200 packets at 100 Mbit/s take 24.5 ms: the wrap comes early, midway and late. */
	static const uint64_t before_wrap_ns[] = {1, 1000, 12000000, 24400000};

	for (size_t i = 0; i < KERF_ARRAY_LEN(before_wrap_ns); i++) {
		uint64_t start = (1ull << 48) - before_wrap_ns[i];
		CU_ASSERT_EQUAL(label_at(1e9, 100e6, start), KERF_LABEL_SENDER);
		CU_ASSERT_EQUAL(label_at(80e6, 100e6, start), KERF_LABEL_BOTTLENECK);
	}
}

/* A sender that stamps 32 packets with one time: the last 32 took no time of the stamps. */
static void test_sender_that_stamps_bursts(void)
{
	struct kerf_train t = {0};
	struct kerf_sample s;

	for (unsigned i = 0; i < 64; i++) {
		uint64_t sent = i / 32 * 400000;
		kerf_train_add(&t, 5000 + sent + i % 32 * 12304, sent, WIRE);
	}
	CU_ASSERT(kerf_train_sample(&t, 64, &s));
	CU_ASSERT_EQUAL(s.label, KERF_LABEL_SENDER); /* 32 packets in 400 us, both ways */
}

static void test_receiver_limit(void)
{
	struct kerf_train t = {0};
	struct kerf_sample s;

	for (unsigned poll = 0; poll < 10; poll++) {
		for (unsigned i = 0; i < 32; i++)
			kerf_train_add(&t, 1000 + poll * 4000, 0, WIRE);
		if (poll < 5)
			kerf_train_burst(&t);
	}
	CU_ASSERT(kerf_train_sample(&t, 320, &s));
	CU_ASSERT_EQUAL(s.label, KERF_LABEL_BOTTLENECK); /* half is not more than half */
	kerf_train_burst(&t);
	CU_ASSERT(kerf_train_sample(&t, 320, &s));
	CU_ASSERT_EQUAL(s.label, KERF_LABEL_RECEIVER);
	CU_ASSERT_DOUBLE_EQUAL(s.tau, 4e-6 / (32 * WIRE), 1e-15);
}

static void test_loss(void)
{
	/* Every 10th lost in front of the link: what arrives still tells its rate. */
	struct path p = {.link_bps = 1e9, .lose_every = 10};
	struct kerf_train t = run(&p, 200, NULL);
	struct kerf_sample s;

	CU_ASSERT(kerf_train_sample(&t, 200, &s));
	CU_ASSERT_EQUAL(s.label, KERF_LABEL_BOTTLENECK);
	CU_ASSERT_EQUAL(s.packets, 180);
	CU_ASSERT(error_of(&s, 1e9) < 0.005);
	/* 80% is enough, less is not. */
	CU_ASSERT(kerf_train_sample(&t, 225, &s) && s.label == KERF_LABEL_BOTTLENECK);
	CU_ASSERT(kerf_train_sample(&t, 226, &s) && s.label == KERF_LABEL_INVALID);
	CU_ASSERT_EQUAL(s.tau, 0);
}

/* Arrival order of packets sent 1 us apart and arriving 2 us apart. */
static enum kerf_link_label label_of_order(const unsigned *order, unsigned n)
{
	struct kerf_train t = {0};
	struct kerf_sample s;

	for (unsigned i = 0; i < n; i++)
		kerf_train_add(&t, 9000 + 2000 * i, (1ull << 48) - 3000 + 1000 * order[i], 1000);
	kerf_train_sample(&t, n, &s);
	return s.label;
}

static void test_reordering_matters_at_the_ends_only(void)
{
	CU_ASSERT_EQUAL(label_of_order((unsigned[]){0, 1, 2, 3, 4, 5, 6, 7}, 8),
		KERF_LABEL_BOTTLENECK);
	CU_ASSERT_EQUAL(label_of_order((unsigned[]){0, 1, 4, 3, 2, 5, 6, 7}, 8),
		KERF_LABEL_BOTTLENECK);
	CU_ASSERT_EQUAL(label_of_order((unsigned[]){1, 0, 2, 3, 4, 5, 6, 7}, 8),
		KERF_LABEL_INVALID);
	CU_ASSERT_EQUAL(label_of_order((unsigned[]){0, 1, 2, 3, 4, 5, 7, 6}, 8),
		KERF_LABEL_INVALID);
}

/* Held up and released together: received at more than twice the rate of sending. */
static void test_compressed_train(void)
{
	for (unsigned ratio = 1; ratio <= 3; ratio += 2) {
		struct kerf_train t = {0};
		struct kerf_sample s;

		for (unsigned i = 0; i < 20; i++)
			kerf_train_add(&t, 1000000 + 3000 * i, 3000 * i * ratio, 1000);
		CU_ASSERT(kerf_train_sample(&t, 20, &s));
		CU_ASSERT_EQUAL(s.label, ratio == 1 ? KERF_LABEL_SENDER : KERF_LABEL_INVALID);
	}
}

static void test_points_thin_out_evenly(void)
{
	struct kerf_train t = {0};

	for (uint32_t i = 0; i < 100000; i++) {
		kerf_train_add(&t, 7 + 10ull * i, 0, 100);
		if (t.n_points > KERF_TRAIN_POINTS || t.points[0].rx_ns != 7)
			CU_FAIL_FATAL("points out of bounds");
	}
	CU_ASSERT_EQUAL(t.stride, 1024);
	CU_ASSERT_EQUAL(t.n_points, 98);
	for (uint32_t i = 0; i < t.n_points; i++) {
		CU_ASSERT_EQUAL(t.points[i].rx_ns, 7 + 10ull * 1024 * i);
		CU_ASSERT_EQUAL(t.points[i].bytes, 100ull * (1024 * i + 1));
	}
}

/* Whatever a peer stamps: no crash, and a sample is a positive number or none. */
static void test_hostile_times(void)
{
	struct kerf_rng rng = {.seed = 13};

	for (unsigned k = 0; k < 3000; k++) {
		struct kerf_train t = {0};
		struct kerf_sample s;
		uint32_t n = kerf_rng_u32(&rng) % 400;
		unsigned rx_bits = kerf_rng_u32(&rng) % 64, tx_bits = kerf_rng_u32(&rng) % 64;

		for (uint32_t i = 0; i < n; i++)
			kerf_train_add(&t, kerf_rng_u64(&rng) >> rx_bits,
				kerf_rng_u64(&rng) >> tx_bits, kerf_rng_u32(&rng) % 3 * 1000);
		bool is_sample = kerf_train_sample(&t, n, &s);
		CU_ASSERT_EQUAL(is_sample, s.label != KERF_LABEL_NONE);
		bool tells = is_sample && s.label != KERF_LABEL_INVALID;
		CU_ASSERT_EQUAL(tells, s.tau > 0);
		CU_ASSERT(isfinite(s.tau) && isfinite(s.error) && s.error >= 0);
	}
}

static void test_packets_without_bytes(void)
{
	struct kerf_train t = {0};
	struct kerf_sample s;

	for (unsigned i = 0; i < 20; i++)
		kerf_train_add(&t, 1000 * i, 0, 0);
	CU_ASSERT_FALSE(kerf_train_sample(&t, 20, &s));
}

UNIT_MAIN("link.train", UNIT(test_exact_times_at_every_rate), UNIT(test_polled_times),
	UNIT(test_stalls), UNIT(test_first_burst_bytes_do_not_count), UNIT(test_no_packets),
	UNIT(test_half_split_needs_eight_bursts), UNIT(test_sender_or_bottleneck),
	UNIT(test_transmit_times_wrap), UNIT(test_sender_that_stamps_bursts),
	UNIT(test_receiver_limit), UNIT(test_loss),
	UNIT(test_reordering_matters_at_the_ends_only), UNIT(test_compressed_train),
	UNIT(test_points_thin_out_evenly), UNIT(test_hostile_times),
	UNIT(test_packets_without_bytes))
