/*
 * harness: an EAL, two ends and a link between them in virtual time.
 *
 *	struct bench b;
 *	bench_open(&b, 8192, 1450);
 *	b.up = (struct lane){.delay_ns = 5000000, .tau = 8e-8, .loss = 0.1};
 *	bench_run(&b, &msg, parts, n_parts);      // until the sender is done or has failed
 *	bench_close(&b);                          // checks that every mbuf came back
 *
 * A packet under way is the sender's own mbuf: if anybody writes to it before it arrives, its
 * checksum tells.
 */
#pragma once

#include <string.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "transport/transport.h"
#include "unit.h"

#define LANE_ROOM 65536
#define BENCH_PACKETS 8192
#define BENCH_PAYLOAD 1450
#define BENCH_END_NS (3600ull * KERF_NS_PER_S)

static inline uint64_t bench_seed(void)
{
	static uint64_t seed;

	if (seed == 0) {
		const char *text = getenv("KERF_TEST_SEED");

		seed = text ? strtoull(text, NULL, 0) : 20221;
		seed += seed == 0;
		printf("seed %llu ", (unsigned long long)seed);
	}
	return seed;
}

static inline void bench_eal(void)
{
	static char *args[] = {"test", "--no-huge", "--no-pci", "--no-shconf", "-m", "256",
		"--no-telemetry", "--log-level=error", NULL};
	static bool running;

	if (running)
		return;
	if (rte_eal_init((int)KERF_ARRAY_LEN(args) - 1, args) < 0) {
		fprintf(stderr, "rte_eal_init: %s\n", rte_strerror(rte_errno));
		exit(1);
	}
	running = true;
}

static inline struct rte_mempool *bench_pool(const char *name, unsigned n)
{
	bench_eal();
	/* No per-core cache: counts are exact. */
	struct rte_mempool *pool =
		rte_pktmbuf_pool_create(name, n, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);

	if (!pool) {
		fprintf(stderr, "%s: %s\n", name, rte_strerror(rte_errno));
		exit(1);
	}
	return pool;
}

/* ---- one direction of a link ---- */

struct flight {
	uint64_t at_ns, order;
	struct rte_mbuf *m;
	uint64_t checksum;
};

struct lane {
	uint64_t delay_ns;
	double tau;        /* s per wire byte of a FIFO in front; 0 = no limit */
	double loss, duplicate;
	double reorder;    /* share of packets that take 2 ms longer */
	uint64_t lost, delivered;
	uint64_t order, free_ns;
	struct kerf_rng rng;
	struct flight *heap; /* by (at, order) */
	unsigned n;
};

static inline uint64_t lane_checksum(const struct rte_mbuf *m)
{
	const uint8_t *p = rte_pktmbuf_mtod(m, const uint8_t *);
	uint64_t sum = 14695981039346656037ull; /* FNV-1a */

	for (unsigned i = 0; i < rte_pktmbuf_data_len(m); i++)
		sum = (sum ^ p[i]) * 1099511628211ull;
	return sum;
}

static inline bool flight_before(const struct flight *a, const struct flight *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static inline void lane_add(struct lane *l, struct rte_mbuf *m, uint64_t at_ns)
{
	struct flight f = {at_ns, l->order++, m, lane_checksum(m)};
	unsigned i = l->n++;

	if (l->n > LANE_ROOM)
		abort();
	for (; i > 0 && flight_before(&f, &l->heap[(i - 1) / 2]); i = (i - 1) / 2)
		l->heap[i] = l->heap[(i - 1) / 2];
	l->heap[i] = f;
}

static inline struct rte_mbuf *lane_take(struct lane *l, uint64_t now)
{
	if (l->n == 0 || l->heap[0].at_ns > now)
		return NULL;
	struct flight top = l->heap[0], last = l->heap[--l->n];
	unsigned i = 0;

	for (unsigned child = 1; child < l->n; child = 2 * i + 1) {
		child += child + 1 < l->n && flight_before(&l->heap[child + 1], &l->heap[child]);
		if (!flight_before(&l->heap[child], &last))
			break;
		l->heap[i] = l->heap[child];
		i = child;
	}
	l->heap[i] = last;
	CU_ASSERT_EQUAL(lane_checksum(top.m), top.checksum);
	l->delivered++;
	return top.m;
}

/* Consumes the packet's reference. */
static inline void lane_send(struct lane *l, struct rte_mbuf *m, uint64_t now)
{
	double bytes = rte_pktmbuf_pkt_len(m) + (double)KERF_LINK_OVERHEAD;

	l->free_ns = KERF_MAX(l->free_ns, now) + (uint64_t)(bytes * l->tau * 1e9);
	if (kerf_rng_uniform(&l->rng) < l->loss) {
		l->lost++;
		rte_pktmbuf_free(m);
		return;
	}
	uint64_t at_ns = l->free_ns + l->delay_ns;
	if (kerf_rng_uniform(&l->rng) < l->duplicate) {
		rte_mbuf_refcnt_update(m, 1);
		lane_add(l, m, at_ns + 1000);
	}
	if (kerf_rng_uniform(&l->rng) < l->reorder)
		at_ns += 2000000;
	lane_add(l, m, at_ns);
}

static inline void lane_open(struct lane *l, uint64_t stream)
{
	l->rng.seed = bench_seed();
	l->rng.stream = stream;
	l->heap = calloc(LANE_ROOM + 1, sizeof(*l->heap));
	if (!l->heap)
		abort();
}

static inline void lane_close(struct lane *l)
{
	while (l->n > 0)
		rte_pktmbuf_free(lane_take(l, UINT64_MAX));
	free(l->heap);
}

static inline uint64_t lane_next(const struct lane *l)
{
	return l->n ? l->heap[0].at_ns : UINT64_MAX;
}

/* ---- two ends ---- */

struct bench {
	struct rte_mempool *pool, *peer_pool;
	unsigned available, peer_available;
	struct kerf_net net, peer_net;
	struct kerf_sender sender;
	struct kerf_receiver receiver;
	struct lane up, down;
	uint64_t now, poll_ns; /* polls come at multiples of poll_ns; 0 = at once */
	uint64_t reports, refused, duplicates;
};

static const struct kerf_address bench_self = {{2, 0, 0, 0, 0, 1}, 0x0a000001, KERF_UDP_PORT};
static const struct kerf_address bench_peer = {{2, 0, 0, 0, 0, 2}, 0x0a000002, KERF_UDP_PORT};

static inline struct kerf_net bench_net(const struct kerf_address *self, struct rte_mempool *pool,
	uint32_t payload_bytes)
{
	return (struct kerf_net){
		.self = *self,
		.pool = pool,
		.payload_bytes = payload_bytes,
		.overhead_bytes = KERF_LINK_OVERHEAD,
		.timestamp_offset = -1,
	};
}

static inline void bench_open(struct bench *b, unsigned pool_packets, uint32_t payload_bytes)
{
	*b = (struct bench){.now = 1000};
	b->pool = bench_pool("pool", pool_packets);
	b->peer_pool = bench_pool("peer", 64);
	b->available = rte_mempool_avail_count(b->pool);
	b->peer_available = rte_mempool_avail_count(b->peer_pool);
	b->net = bench_net(&bench_self, b->pool, payload_bytes);
	b->peer_net = bench_net(&bench_peer, b->peer_pool, payload_bytes);
	if (kerf_sender_create(&b->sender, &b->net, BENCH_PACKETS) < 0 ||
		kerf_receiver_create(&b->receiver, BENCH_PACKETS) < 0)
		abort();
}

static inline void bench_close(struct bench *b)
{
	kerf_sender_destroy(&b->sender);
	kerf_receiver_destroy(&b->receiver);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(b->pool), b->available);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(b->peer_pool), b->peer_available);
	rte_mempool_free(b->pool);
	rte_mempool_free(b->peer_pool);
}

/* What a server does with a packet of a message. */
static inline void bench_data(struct bench *b, const struct kerf_header *h, const uint8_t *payload,
	size_t len, uint32_t l2_bytes, const struct kerf_part *parts, unsigned n_parts)
{
	struct kerf_receiver *r = &b->receiver;

	if (!r->active)
		CU_ASSERT_EQUAL_FATAL(kerf_receiver_start(r, h, parts, n_parts,
					      b->peer_net.payload_bytes, b->now), 0);
	int rc = kerf_receiver_packet(r, h, payload, len, l2_bytes + KERF_LINK_OVERHEAD, b->now);
	CU_ASSERT(rc == 0 || rc == -EALREADY);
	b->duplicates += rc == -EALREADY;
}

static inline void bench_deliver_up(struct bench *b, const struct kerf_part *parts,
	unsigned n_parts)
{
	struct rte_mbuf *m, *answer;

	while ((m = lane_take(&b->up, b->now))) {
		struct kerf_header h;
		const uint8_t *payload;
		size_t len;

		CU_ASSERT_EQUAL(kerf_net_receive(&b->peer_net, m, &h, &payload, &len, &answer), 0);
		bench_data(b, &h, payload, len, rte_pktmbuf_pkt_len(m), parts, n_parts);
		rte_pktmbuf_free(m);
	}
}

static inline void bench_deliver_down(struct bench *b)
{
	struct rte_mbuf *m, *answer;

	while ((m = lane_take(&b->down, b->now))) {
		struct kerf_report report;
		struct kerf_header h;
		const uint8_t *payload;
		size_t len;

		CU_ASSERT_EQUAL(kerf_net_receive(&b->net, m, &h, &payload, &len, &answer), 0);
		CU_ASSERT_EQUAL(h.type, KERF_MSG_REPORT);
		CU_ASSERT_EQUAL(kerf_wire_get_report(payload, len, &report), 0);
		kerf_sender_report(&b->sender, &report, b->now);
		rte_pktmbuf_free(m);
	}
}

static inline void bench_send_reports(struct bench *b)
{
	struct kerf_report report;

	if (!kerf_receiver_report_due(&b->receiver, b->now))
		return;
	kerf_receiver_report(&b->receiver, &report, b->now);
	struct rte_mbuf *m = kerf_report_packet(&b->peer_net, &bench_self, b->receiver.session,
		b->receiver.frame, &report, b->now);
	CU_ASSERT_PTR_NOT_NULL_FATAL(m);
	b->reports++;
	lane_send(&b->down, m, b->now);
}

static inline void bench_send_packets(struct bench *b)
{
	struct rte_mbuf *pkts[32];
	unsigned n = kerf_sender_poll(&b->sender, b->now, pkts, 32);

	for (unsigned i = 0; i < n; i++)
		lane_send(&b->up, pkts[i], b->now);
}

static inline void bench_step(struct bench *b, const struct kerf_part *parts, unsigned n_parts)
{
	uint64_t next = KERF_MIN(kerf_sender_next(&b->sender), kerf_receiver_next(&b->receiver));

	next = KERF_MIN(next, KERF_MIN(lane_next(&b->up), lane_next(&b->down)));
	b->now = KERF_MAX(b->now, next);
	if (b->poll_ns)
		b->now = (b->now + b->poll_ns - 1) / b->poll_ns * b->poll_ns;
	bench_deliver_up(b, parts, n_parts);
	bench_send_reports(b);
	bench_deliver_down(b);
	bench_send_packets(b);
}

static inline bool bench_is_over(const struct bench *b)
{
	return b->sender.state == KERF_SENDER_DONE || b->sender.state == KERF_SENDER_FAILED;
}

/* Sends msg from `from` parts (in msg) to `parts`; lanes are emptied afterwards. */
static inline void bench_run(struct bench *b, const struct kerf_message *msg,
	const struct kerf_part *parts, unsigned n_parts)
{
	unsigned long steps = 0;

	lane_open(&b->up, 1);
	lane_open(&b->down, 2);
	CU_ASSERT_EQUAL_FATAL(kerf_sender_start(&b->sender, msg, b->now), 0);
	while (!bench_is_over(b) && b->now < BENCH_END_NS && ++steps < 10000000)
		bench_step(b, parts, n_parts);
	CU_ASSERT(bench_is_over(b));
	lane_close(&b->up);
	lane_close(&b->down);
}

static inline void bench_fill(float *values, size_t n, uint64_t stream)
{
	struct kerf_rng rng = {.seed = bench_seed(), .stream = stream};

	/* Any bits, NaNs too: what travels is compared as bytes. */
	for (size_t i = 0; i < n; i++) {
		uint32_t bits = kerf_rng_u32(&rng);
		memcpy(&values[i], &bits, sizeof(bits));
	}
}

static inline struct kerf_message bench_message(enum kerf_msg_type type)
{
	return (struct kerf_message){
		.type = type,
		.to = bench_peer,
		.session = 7,
		.frame = 42,
		.cut = 3,
		.codec = KERF_CODEC_F32,
		.rto_ns = 30000000,
		.max_tries = 40,
	};
}

static inline float *bench_values(size_t n)
{
	float *v = calloc(n ? n : 1, sizeof(*v));

	if (!v)
		abort();
	return v;
}
