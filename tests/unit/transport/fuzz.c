/* Random and mutated reports and packets: nothing breaks, whatever they say, and nothing leaks. */
#include "harness.h"

#define PACKETS 70
#define ROUNDS 3000
#define GUARD 0x7f

static uint32_t below(struct kerf_rng *rng, uint32_t n)
{
	return n ? kerf_rng_u32(rng) % n : 0;
}

static size_t values_of(uint32_t packets)
{
	return (BENCH_PAYLOAD - 64) / 64 * 16 + (packets - 1) * (size_t)(BENCH_PAYLOAD / 64 * 16);
}

/* Ranges from anything to nearly right, so that some pass the first check. */
static struct kerf_report any_report(struct kerf_rng *rng)
{
	struct kerf_report r = {
		.of_type = KERF_MSG_DATA,
		.received = (uint16_t)below(rng, PACKETS + 2),
		.echo_tx_ns = below(rng, 2) ? kerf_rng_u64(rng) : 1000 + below(rng, 1000000),
		.hold_ns = below(rng, 4) ? below(rng, 1000) : kerf_rng_u32(rng),
	};
	uint32_t first = below(rng, 8);

	if (below(rng, 16) == 0)
		r.flags = (uint8_t)below(rng, 16);
	if (below(rng, 16) == 0)
		r.of_type = below(rng, 16);
	r.n_ranges = (uint16_t)(below(rng, 32) ? below(rng, 6) : below(rng, UINT16_MAX));
	for (unsigned i = 0; i < KERF_MIN(r.n_ranges, KERF_REPORT_MAX_RANGES); i++) {
		r.ranges[i].first = (uint16_t)(below(rng, 50) ? first : kerf_rng_u32(rng));
		r.ranges[i].count = (uint16_t)(below(rng, 50) ? 1 + below(rng, 20)
							     : kerf_rng_u32(rng));
		first += r.ranges[i].count + below(rng, 10);
	}
	return r;
}

/* Until a message ends: polls, and reports that nobody honest would send. */
static void torment(struct bench *b, const struct kerf_message *msg, struct kerf_rng *rng)
{
	struct rte_mbuf *pkts[32], *kept = NULL;
	uint64_t now = 1000;

	CU_ASSERT_EQUAL_FATAL(kerf_sender_start(&b->sender, msg, now), 0);
	for (unsigned i = 0; i < 300 && !bench_is_over(b); i++) {
		unsigned n = kerf_sender_poll(&b->sender, now, pkts, below(rng, 33));

		if (n > 0 && !kept)
			kept = pkts[--n]; /* one stays in the hands of the port */
		rte_pktmbuf_free_bulk(pkts, n);
		struct kerf_report r = any_report(rng);
		kerf_sender_report(&b->sender, &r, now);
		now += below(rng, 8) ? below(rng, 100000) : below(rng, 100000000);
	}
	if (!bench_is_over(b))
		kerf_sender_finish(&b->sender, KERF_SENDER_DONE, now);
	rte_pktmbuf_free(kept);
	CU_ASSERT_EQUAL(b->sender.n_pending, 0);
	CU_ASSERT_EQUAL(b->sender.n_held, 0);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(b->pool), b->available);
}

static void test_hostile_reports(void)
{
	struct kerf_rng rng = {.seed = bench_seed(), .stream = 77};
	size_t n = values_of(PACKETS);
	float *values = bench_values(n);
	struct kerf_message msg = bench_message(KERF_MSG_DATA);
	unsigned done = 0, failed = 0;
	struct bench b;

	bench_open(&b, 64, BENCH_PAYLOAD); /* fewer than the message needs */
	msg.parts[0] = (struct kerf_part){.values = values, .n = n};
	msg.n_parts = 1;
	msg.max_tries = 3;
	for (unsigned i = 0; i < ROUNDS; i++) {
		torment(&b, &msg, &rng);
		done += b.sender.state == KERF_SENDER_DONE;
		failed += b.sender.state == KERF_SENDER_FAILED;
	}
	/* All ends were reached, and the checks did not refuse everything. */
	CU_ASSERT(done > 0 && failed > 0);
	CU_ASSERT(b.net.drops[KERF_DROP_UNEXPECTED] > 0);
	CU_ASSERT(b.net.retransmits > 0);
	bench_close(&b);
	free(values);
}

/* ---- packets ---- */

struct target {
	struct bench b;
	float *values, *copy, *guarded;
	size_t n;
	struct rte_mbuf *packets[PACKETS];
};

static void aim(struct target *t)
{
	struct kerf_message msg = bench_message(KERF_MSG_DATA);

	t->n = values_of(PACKETS);
	t->values = bench_values(t->n);
	t->guarded = bench_values(t->n + 32);
	t->copy = t->guarded + 16;
	memset(t->guarded, GUARD, (t->n + 32) * sizeof(float));
	bench_fill(t->values, t->n, 8);
	bench_open(&t->b, 256, BENCH_PAYLOAD);
	msg.parts[0] = (struct kerf_part){.values = t->values, .n = t->n};
	msg.n_parts = 1;
	CU_ASSERT_EQUAL_FATAL(kerf_sender_start(&t->b.sender, &msg, 1000), 0);
	CU_ASSERT_EQUAL_FATAL(kerf_sender_poll(&t->b.sender, 1000, t->packets, PACKETS), PACKETS);
}

/* A copy of a good packet with some bytes changed, mostly in the headers and the descriptor. */
static struct rte_mbuf *mutate(struct target *t, struct kerf_rng *rng, uint32_t index)
{
	struct rte_mbuf *m = rte_pktmbuf_copy(t->packets[index], t->b.pool, 0, UINT32_MAX);
	uint8_t *data = rte_pktmbuf_mtod(m, uint8_t *);

	for (uint32_t i = below(rng, 4); i > 0; i--) {
		uint32_t at = below(rng, 4) ? 42 + below(rng, 86) : below(rng, 128);

		data[at] = (uint8_t)(below(rng, 2) ? data[at] ^ 1u << below(rng, 8)
						   : kerf_rng_u32(rng));
	}
	if (below(rng, 8) == 0)
		rte_pktmbuf_trim(m, (uint16_t)below(rng, rte_pktmbuf_data_len(m)));
	return m;
}

static void offer(struct target *t, struct rte_mbuf *m, uint64_t now)
{
	const struct kerf_part part = {.values = t->copy, .n = t->n};
	struct kerf_receiver *r = &t->b.receiver;
	struct kerf_header h;
	const uint8_t *payload;
	size_t len;
	struct rte_mbuf *answer;
	struct kerf_report report;

	if (kerf_net_receive(&t->b.peer_net, m, &h, &payload, &len, &answer) == 0) {
		if (r->active || kerf_receiver_start(r, &h, &part, 1, BENCH_PAYLOAD, now) == 0)
			kerf_receiver_packet(r, &h, payload, len, rte_pktmbuf_pkt_len(m), now);
		if (kerf_receiver_report_due(r, now))
			kerf_receiver_report(r, &report, now);
	}
	rte_pktmbuf_free(answer);
	rte_pktmbuf_free(m);
}

static bool guards_hold(const struct target *t)
{
	const uint8_t *before = (const uint8_t *)t->guarded;
	const uint8_t *behind = (const uint8_t *)(t->copy + t->n);

	for (unsigned i = 0; i < 16 * sizeof(float); i++)
		if (before[i] != GUARD || behind[i] != GUARD)
			return false;
	return true;
}

/* The next message finds the receiver as good as new. */
static void offer_good(struct target *t, uint64_t now)
{
	memset(t->copy, 0, t->n * sizeof(float));
	for (uint32_t i = 0; i < PACKETS; i++)
		offer(t, rte_pktmbuf_copy(t->packets[i], t->b.pool, 0, UINT32_MAX), now);
	CU_ASSERT(t->b.receiver.complete);
	CU_ASSERT_EQUAL(memcmp(t->copy, t->values, t->n * sizeof(float)), 0);
	kerf_receiver_finish(&t->b.receiver);
}

static void test_hostile_packets(void)
{
	struct kerf_rng rng = {.seed = bench_seed(), .stream = 78};
	unsigned received = 0;
	struct target t;

	aim(&t);
	for (unsigned round = 0; round < 300; round++) {
		uint64_t now = 1000 + round * 100000000ull;

		for (unsigned i = 0; i < 4 * PACKETS; i++) {
			now += below(&rng, 10000);
			offer(&t, mutate(&t, &rng, below(&rng, PACKETS)), now);
		}
		received += t.b.receiver.received;
		kerf_receiver_finish(&t.b.receiver);
		offer_good(&t, now);
	}
	CU_ASSERT(guards_hold(&t));
	CU_ASSERT(received > PACKETS); /* by far not everything was refused */
	CU_ASSERT(t.b.peer_net.drops[KERF_DROP_MALFORMED] > 0);
	CU_ASSERT(t.b.peer_net.drops[KERF_DROP_VERSION] > 0);
	CU_ASSERT(t.b.peer_net.drops[KERF_DROP_NOT_FOR_US] > 0);
	rte_pktmbuf_free_bulk(t.packets, PACKETS);
	bench_close(&t.b);
	free(t.values);
	free(t.guarded);
}

UNIT_MAIN("transport.fuzz", UNIT(test_hostile_reports), UNIT(test_hostile_packets))
