/*
 * When a sender's packets leave: paced, each with a stamp and a reference of its own, repeats only
 * when nobody else holds them; and what happens when the peer is silent.
 */
#include <assert.h>
#include <stdatomic.h>

#include "transport/sender_internal.h"

#define MAX_RTO_SHIFT 3 /* silence doubles up to 8 times rto_ns */

/* A poll looks at no more packets that are still in flight than this. */
#define MAX_SKIPPED 64

/* When nothing can be sent, mbufs come back with the next poll of a port: soon, but not now. */
#define BLOCKED_RETRY_NS 50000

/*
 * How far a late poll may lag behind the schedule and still catch up. The packets that make up for
 * the lag leave back to back, which asks for that much buffer on the way: 32 packets are one burst
 * of the port, 48 KB at 1500 bytes, which every queue takes. Where that is less than 1 ms (above
 * 400 Mbit/s) it is 1 ms, or else every step of the engine between two polls would lower the rate.
 */
#define CATCH_UP_PACKETS 32
#define CATCH_UP_NS 1000000

static double packet_ns(const struct kerf_sender *s, uint32_t l2_bytes)
{
	return (l2_bytes + s->net->overhead_bytes) * s->msg.tau * 1e9;
}

static void advance_pace(struct kerf_sender *s, uint32_t l2_bytes)
{
	double ns = packet_ns(s, l2_bytes) + s->pace_rest_ns;
	uint64_t whole = (uint64_t)ns;

	s->pace_rest_ns = ns - (double)whole;
	s->next_tx_ns += whole;
}

static void count_sent(struct kerf_sender *s, uint32_t index, const struct rte_mbuf *m)
{
	uint32_t l2_bytes = rte_pktmbuf_pkt_len(m);

	kerf_net_count_tx(s->net, m);
	s->wire_bytes += l2_bytes + s->net->overhead_bytes;
	if (s->msg.type == KERF_MSG_PROBE)
		s->net->probe_bytes += l2_bytes;
	if (s->sends[index] == 0) {
		s->n_unsent--;
	} else {
		s->net->retransmits++;
		s->repeats++;
	}
	s->sends[index] += s->sends[index] < UINT8_MAX;
}

/* A repeat that closes a round asks at once how the round went: otherwise the peer's silence would
 * have to tell. After a first round the last packet does the same by itself. */
static uint8_t flags_of(struct kerf_sender *s, uint32_t index)
{
	if (s->sends[index] == 0 || (s->n_pending > 0 && !s->ask))
		return 0;
	s->ask = false;
	return KERF_FLAG_REPORT_NOW;
}

/* Takes a pending packet out, stamped and with a reference for the caller. Nobody else holds it. */
static struct rte_mbuf *send_packet(struct kerf_sender *s, uint32_t index, uint64_t now)
{
	struct rte_mbuf *m = s->held[index];

	bit_clear(s->pending, index);
	s->n_pending--;
	/* No two packets of a message have the same stamp, so that the one that a report echoes
	 * tells which packets left before it; off by some ns within a burst. */
	if (s->last_stamp_ns == 0)
		s->started_ns = now; /* it may have waited for its turn */
	s->last_stamp_ns = KERF_MAX(now, s->last_stamp_ns + 1);
	kerf_wire_restamp(rte_pktmbuf_mtod(m, struct kerf_wire_packet *), s->last_stamp_ns,
		flags_of(s, index), s->sends[index]);
	s->sent_ns[index] = s->last_stamp_ns;
	count_sent(s, index, m);
	advance_pace(s, rte_pktmbuf_pkt_len(m));
	s->quiet_ns = KERF_MAX(now, KERF_MAX(s->quiet_ns, s->next_tx_ns));
	rte_mbuf_refcnt_update(m, 1);
	return m;
}

/* Pairs with the release in whoever drops the last other reference: its reads of the header come
 * before our writes. */
static bool is_ours_alone(const struct rte_mbuf *m)
{
	bool alone = rte_mbuf_refcnt_read(m) == 1;

	atomic_thread_fence(memory_order_acquire);
	return alone;
}

static uint32_t next_pending(struct kerf_sender *s)
{
	uint32_t n = s->layout.n_packets;
	uint32_t index = bit_find(s->pending, s->cursor, n, true);

	if (index == n)
		index = bit_find(s->pending, 0, n, true);
	s->cursor = index + 1;
	return index;
}

static struct rte_mbuf *take_due(struct kerf_sender *s, uint64_t now)
{
	bool pool_empty = false;

	/* New packets go first (their spacing is a sample of the link), then repeats. */
	for (uint32_t left = KERF_MIN(s->n_pending, MAX_SKIPPED); left > 0; left--) {
		uint32_t index = next_pending(s);

		if (index >= s->encoded) {
			/* All behind the last encoded packet are pending: they come in order. */
			assert(index == s->encoded);
			if (pool_empty || !kerf_sender_encode_next(s)) {
				pool_empty = true;
				s->cursor = 0;
				continue;
			}
		}
		if (is_ours_alone(s->held[index]))
			return send_packet(s, index, now);
	}
	return NULL;
}

static void limit_catch_up(struct kerf_sender *s, uint64_t now)
{
	uint32_t full = (uint32_t)sizeof(struct kerf_wire_packet) + s->msg.payload_bytes;
	double burst_ns = CATCH_UP_PACKETS * packet_ns(s, full);
	uint64_t lag_ns = (uint64_t)KERF_MAX(burst_ns, (double)CATCH_UP_NS);

	if (now > lag_ns && s->next_tx_ns < now - lag_ns)
		s->next_tx_ns = now - lag_ns;
}

/* ---- silence ---- */

static uint64_t silence_end(const struct kerf_sender *s)
{
	return s->quiet_ns + (s->msg.rto_ns << KERF_MIN(s->tries, MAX_RTO_SHIFT));
}

/* The last packet that may be lost. In a message that is sent there is one, or it would be done. */
static void repeat_last(struct kerf_sender *s, uint64_t now)
{
	for (uint32_t i = s->encoded; i-- > 0;)
		if (s->held[i] && s->sends[i] > 0) {
			kerf_sender_make_pending(s, i, now);
			s->cursor = i;
			break;
		}
	s->ask = true;
}

static void check_silence(struct kerf_sender *s, uint64_t now)
{
	if ((s->state != KERF_SENDER_WAITING && !s->blocked) || now < silence_end(s))
		return;
	if (s->tries >= s->msg.max_tries) {
		kerf_sender_finish(s, KERF_SENDER_FAILED, now);
		return;
	}
	s->tries++;
	s->quiet_ns = now;
	repeat_last(s, now);
}

void kerf_sender_make_pending(struct kerf_sender *s, uint32_t index, uint64_t now)
{
	if (s->state == KERF_SENDER_WAITING) {
		/* Waiting was not lateness: there is nothing to catch up with. */
		s->next_tx_ns = KERF_MAX(s->next_tx_ns, now);
		s->state = KERF_SENDER_SENDING;
	}
	if (bit_is_set(s->pending, index))
		return;
	bit_set(s->pending, index);
	s->n_pending++;
}

unsigned kerf_sender_poll(struct kerf_sender *s, uint64_t now, struct rte_mbuf **pkts, unsigned max)
{
	unsigned n = 0;

	if (!kerf_sender_is_active(s))
		return 0;
	check_silence(s, now);
	if (s->state != KERF_SENDER_SENDING || s->next_tx_ns > now)
		return 0;
	limit_catch_up(s, now);
	while (n < max && s->n_pending > 0 && s->next_tx_ns <= now) {
		struct rte_mbuf *m = take_due(s, now);

		s->blocked = !m;
		if (!m) {
			s->next_tx_ns = now + BLOCKED_RETRY_NS;
			break;
		}
		pkts[n++] = m;
	}
	if (s->n_pending == 0)
		s->state = KERF_SENDER_WAITING;
	return n;
}

uint64_t kerf_sender_next(const struct kerf_sender *s)
{
	switch (s->state) {
	case KERF_SENDER_SENDING:
		return s->blocked ? KERF_MIN(s->next_tx_ns, silence_end(s)) : s->next_tx_ns;
	case KERF_SENDER_WAITING: return silence_end(s);
	default: return UINT64_MAX;
	}
}
