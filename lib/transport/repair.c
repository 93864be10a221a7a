/*
 * What a report does to a sender. Reports come from outside: they are checked as a whole first, and
 * whatever they say about a packet that was never sent is ignored.
 */
#include <assert.h>

#include "transport/sender_internal.h"

#define MAX_RTT_RTOS 8 /* no report makes a sender wait longer for a packet that is in flight */

/* Missing packets that a report names, or UINT32_MAX when its ranges are not in order or bounds. */
static uint32_t count_missing(const struct kerf_report *r, uint32_t n_packets)
{
	uint32_t sum = 0, end = 0;

	if (r->n_ranges > KERF_REPORT_MAX_RANGES)
		return UINT32_MAX;
	for (unsigned i = 0; i < r->n_ranges; i++) {
		uint32_t first = r->ranges[i].first, count = r->ranges[i].count;

		if (count == 0 || first < end || first + count > n_packets)
			return UINT32_MAX;
		sum += count;
		end = first + count;
	}
	return sum;
}

static bool is_plausible(const struct kerf_sender *s, const struct kerf_report *r)
{
	uint32_t n = s->layout.n_packets;
	uint32_t missing = count_missing(r, n);

	if (r->of_type != s->msg.type || r->received > n || missing == UINT32_MAX)
		return false;
	if (r->flags & (KERF_REPORT_BUSY | KERF_REPORT_UNKNOWN))
		return true;
	if (r->flags & KERF_REPORT_COMPLETE)
		return s->n_unsent == 0;
	/* More than n in all: the ranges were too many and the last one stands for the rest. */
	return missing > 0 && missing + r->received >= n;
}

/*
 * The peer knows nothing of the message. If it was restarted, everything once more may help, as
 * long as all of it is still here; a second time, or when a part was confirmed before, it is lost.
 */
static void start_again(struct kerf_sender *s, uint64_t now)
{
	if (s->restarted_ns && now - s->restarted_ns < s->msg.rto_ns)
		return; /* an answer to what was sent before */
	if (s->restarted_ns || s->n_held < s->encoded) {
		kerf_sender_finish(s, KERF_SENDER_FAILED, now);
		return;
	}
	s->restarted_ns = KERF_MAX(now, 1);
	s->next_tx_ns = KERF_MAX(s->next_tx_ns, now);
	kerf_sender_schedule_all(s);
}

/* When the packet that the report echoes was sent, and what a round trip took then. */
struct echo {
	uint64_t sent_ns, rtt_ns;
};

static struct echo read_echo(const struct kerf_sender *s, const struct kerf_report *r, uint64_t now)
{
	uint64_t age_ns = (now - r->echo_tx_ns) & TX_TIME_MASK;
	if (age_ns > TX_TIME_MASK / 2)
		age_ns = 0; /* stamps within a burst run ahead of `now` by some ns */
	uint64_t rtt_ns = age_ns > r->hold_ns ? age_ns - r->hold_ns : 0;

	return (struct echo){
		.sent_ns = age_ns < now ? now - age_ns : 0,
		.rtt_ns = KERF_MIN(rtt_ns, MAX_RTT_RTOS * s->msg.rto_ns),
	};
}

/* A missing packet is lost when a packet sent after it has arrived. */
static bool is_overtaken(const struct kerf_sender *s, uint32_t i, const struct echo *e)
{
	return s->sent_ns[i] < e->sent_ns;
}

/* It has been under way for clearly longer than the packet that arrived last (a quarter, as RFC 8985 allows for
 * reordering): lost, or waiting in a queue that has become slower. */
static bool is_late(const struct kerf_sender *s, uint32_t i, const struct echo *e, uint64_t now)
{
	return now > s->sent_ns[i] && now - s->sent_ns[i] >= e->rtt_ns + e->rtt_ns / 4;
}

/* What a report says of packets, asked in rising order of index. */
struct missing {
	const struct kerf_report *report;
	unsigned range;
	bool cut_short; /* of the last range only the first packet is sure to be missing */
};

enum fate { ARRIVED, MISSING, NOT_TOLD };

static enum fate fate_of(struct missing *m, uint32_t index)
{
	const struct kerf_report *r = m->report;

	while (m->range < r->n_ranges &&
		index >= (uint32_t)r->ranges[m->range].first + r->ranges[m->range].count)
		m->range++;
	if (m->range == r->n_ranges || index < r->ranges[m->range].first)
		return ARRIVED;
	if (m->cut_short && m->range == r->n_ranges - 1u && index > r->ranges[m->range].first)
		return NOT_TOLD;
	return MISSING;
}

/*
 * Only packets that were overtaken go again. Behind the last to arrive all may be lost or all may wait in a queue:
 * repeating them would double what waits there, so that only the last one goes again, and the report that it
 * asks for tells of the others (as RFC 8985's tail loss probe). False when a packet was asked for so often that
 * the peer cannot mean it.
 */
static bool repair(struct kerf_sender *s, const struct kerf_report *r, uint64_t now)
{
	uint32_t n = s->layout.n_packets;
	const struct echo e = read_echo(s, r, now);
	struct missing m = {.report = r, .cut_short = count_missing(r, n) + r->received > n};
	uint32_t tail = n; /* the last that is late */

	for (uint32_t i = 0; i < s->encoded; i++) {
		if (!s->held[i] || s->sends[i] == 0)
			continue;
		enum fate fate = fate_of(&m, i);

		if (fate == ARRIVED)
			kerf_sender_release(s, i);
		else if (fate == MISSING && s->sends[i] == UINT8_MAX)
			return false;
		else if (fate == MISSING && is_overtaken(s, i, &e))
			kerf_sender_make_pending(s, i, now);
		else if (fate == MISSING && is_late(s, i, &e, now))
			tail = i;
	}
	if (tail < n && s->n_pending == 0) {
		kerf_sender_make_pending(s, tail, now);
		s->ask = true;
	}
	return true;
}

static void settle(struct kerf_sender *s, uint64_t now)
{
	if (s->n_held == 0 && s->encoded == s->layout.n_packets)
		kerf_sender_finish(s, KERF_SENDER_DONE, now); /* each was confirmed some time */
	else if (s->n_pending == 0)
		s->state = KERF_SENDER_WAITING; /* what was pending has arrived after all */
}

void kerf_sender_report(struct kerf_sender *s, const struct kerf_report *report, uint64_t now)
{
	if (!kerf_sender_is_active(s))
		return;
	if (!is_plausible(s, report)) {
		s->net->drops[KERF_DROP_UNEXPECTED]++;
		return;
	}
	s->heard_ns = now;
	s->quiet_ns = KERF_MAX(s->quiet_ns, now);
	s->tries = 0;
	s->ask = false;

	if (report->flags & KERF_REPORT_BUSY)
		kerf_sender_finish(s, KERF_SENDER_FAILED, now);
	else if (report->flags & KERF_REPORT_UNKNOWN)
		start_again(s, now);
	else if (report->flags & KERF_REPORT_COMPLETE || s->msg.type == KERF_MSG_PROBE)
		kerf_sender_finish(s, KERF_SENDER_DONE, now); /* a probe is not repaired */
	else if (repair(s, report, now))
		settle(s, now);
	else
		kerf_sender_finish(s, KERF_SENDER_FAILED, now);
}
