#include "linkem/linkem_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <rte_common.h>
#include <rte_errno.h>
#include <rte_mbuf_dyn.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX
#define WORK_PER_BIT 1000000000000ull
#define DEFAULT_PACKETS 65536
#define MAX_PACKETS (1u << 24)

int kerf_linkem_timestamp_field(int *offset, uint64_t *flag)
{
	return rte_mbuf_dyn_rx_timestamp_register(offset, flag) < 0 ? -rte_errno : 0;
}

static int check_steps(const struct kerf_linkem_step *steps, unsigned n, struct kerf_err *err)
{
	if (n && !steps)
		return kerf_err_set(err, -EINVAL, "linkem: %u steps at address 0", n);
	if (n && steps[0].at_ps != 0)
		return kerf_err_set(err, -EINVAL,
			"linkem: first step at %" PRIu64 " ps: expected 0", steps[0].at_ps);
	for (unsigned i = 0; i < n; i++) {
		if (i && steps[i].at_ps <= steps[i - 1].at_ps)
			return kerf_err_set(err, -EINVAL,
				"linkem: step %u at %" PRIu64 " ps: expected later than %" PRIu64,
				i, steps[i].at_ps, steps[i - 1].at_ps);
		if (steps[i].bps > KERF_LINKEM_MAX_BPS)
			return kerf_err_set(err, -EINVAL,
				"linkem: step %u: %" PRIu64 " bit/s: expected at most %llu", i,
				steps[i].bps, KERF_LINKEM_MAX_BPS);
	}
	return 0;
}

static kerf_work work_in(const struct linkem_step *s, uint64_t t)
{
	return s->work + (kerf_work)(t - s->at_ps) * s->bps;
}

static int copy_steps(struct kerf_linkem *e, const struct kerf_linkem_config *c)
{
	if (!c->n_steps)
		return 0;
	e->steps = calloc(c->n_steps, sizeof(*e->steps));
	if (!e->steps)
		return -ENOMEM;
	e->n_steps = c->n_steps;
	for (unsigned i = 0; i < e->n_steps; i++) {
		e->steps[i].at_ps = c->steps[i].at_ps;
		e->steps[i].bps = c->steps[i].bps;
		e->steps[i].work = i ? work_in(&e->steps[i - 1], c->steps[i].at_ps) : 0;
	}
	return 0;
}

struct kerf_linkem *kerf_linkem_create(const struct kerf_linkem_config *c, struct kerf_err *err)
{
	uint32_t room = c->max_packets ? c->max_packets : DEFAULT_PACKETS;

	if (check_steps(c->steps, c->n_steps, err) < 0)
		return NULL;
	if (room > MAX_PACKETS) {
		kerf_err_set(err, -EINVAL, "linkem: room for %u packets: expected at most %u", room,
			MAX_PACKETS);
		return NULL;
	}
	struct kerf_linkem *e = calloc(1, sizeof(*e));
	if (!e)
		goto no_memory;
	e->room = room;
	e->mask = rte_align32pow2(room) - 1;
	e->packets = calloc((size_t)e->mask + 1, sizeof(*e->packets));
	if (!e->packets || copy_steps(e, c) < 0)
		goto no_memory;
	e->delay_ps = c->delay_ps;
	e->queue_bytes = c->queue_bytes;
	e->overhead_bytes = c->overhead_bytes;
	int ret = kerf_linkem_timestamp_field(&e->timestamp_offset, &e->timestamp_flag);
	if (ret == 0)
		return e;
	kerf_err_set(err, ret, "linkem: no timestamp field in mbufs: %s (is EAL initialised?)",
		rte_strerror(-ret));
	kerf_linkem_destroy(e);
	return NULL;

no_memory:
	kerf_err_set(
		err, -ENOMEM, "linkem: no memory for %u packets and %u steps", room, c->n_steps);
	kerf_linkem_destroy(e);
	return NULL;
}

void kerf_linkem_destroy(struct kerf_linkem *e)
{
	if (!e)
		return;
	kerf_linkem_detach(e);
	for (; e->out != e->in; e->out++)
		rte_pktmbuf_free(e->packets[e->out & e->mask].mbuf);
	free(e->packets);
	free(e->steps);
	free(e);
}

/* W(t). Arrivals do not go back, so each step is passed once. */
static kerf_work work_at_arrival(struct kerf_linkem *e, uint64_t t)
{
	while (e->arrival_step + 1 < e->n_steps && e->steps[e->arrival_step + 1].at_ps <= t)
		e->arrival_step++;
	return work_in(&e->steps[e->arrival_step], t);
}

/* Smallest t with W(t) >= end; `end` does not go back either. */
static uint64_t time_of_work(struct kerf_linkem *e, kerf_work end)
{
	while (e->finish_step + 1 < e->n_steps && e->steps[e->finish_step + 1].work < end)
		e->finish_step++;
	const struct linkem_step *s = &e->steps[e->finish_step];
	if (end <= s->work) /* only at the very start, or with no bits to send */
		return s->at_ps;
	if (s->bps == 0)
		return NEVER; /* the last step: an earlier one of rate 0 does not stop the loop */
	kerf_work left = end - s->work;
	/* Most packets end soon after a step began: the short division is several times faster. */
	kerf_work ps = left <= UINT64_MAX - s->bps ? ((uint64_t)left + s->bps - 1) / s->bps
						   : (left + s->bps - 1) / s->bps;
	return ps < NEVER - s->at_ps ? s->at_ps + (uint64_t)ps : NEVER;
}

/* Commits the link to the packet; returns when its last bit has left. */
static uint64_t serialise(struct kerf_linkem *e, uint64_t arrival, uint32_t len)
{
	uint64_t bits = ((uint64_t)len + e->overhead_bytes) * 8;

	if (!e->steps)
		return arrival;
	kerf_work start = work_at_arrival(e, arrival);
	e->busy_until = KERF_MAX(start, e->busy_until) + (kerf_work)bits * WORK_PER_BIT;
	uint64_t t = time_of_work(e, e->busy_until);
	/* A packet without a bit ends where its work begins, which W may have reached before. */
	e->last_finish_ps = KERF_MAX(KERF_MAX(t, arrival), e->last_finish_ps);
	return e->last_finish_ps;
}

static void retire_finished(struct kerf_linkem *e, uint64_t arrival)
{
	for (; e->waiting != e->in; e->waiting++) {
		const struct linkem_packet *p = &e->packets[e->waiting & e->mask];
		if (p->finish_ps > arrival)
			return;
		e->waiting_bytes -= p->len;
	}
}

/* Whether the packet may enter; a refusal is counted. */
static bool admit(struct kerf_linkem *e, uint32_t len)
{
	if (e->queue_bytes && e->waiting_bytes + len > e->queue_bytes) {
		e->stats.dropped_queue++;
		return false;
	}
	if (e->in - KERF_MIN(e->out, e->waiting) >= e->room) {
		e->stats.dropped_room++;
		return false;
	}
	return true;
}

void kerf_linkem_push(
	struct kerf_linkem *e, uint64_t arrival_ps, struct rte_mbuf **pkts, unsigned n)
{
	assert(arrival_ps >= e->last_arrival_ps);
	e->last_arrival_ps = arrival_ps;
	e->stats.arrived += n;
	for (unsigned i = 0; i < n; i++) {
		uint32_t len = rte_pktmbuf_pkt_len(pkts[i]);

		retire_finished(e, arrival_ps);
		if (!admit(e, len)) {
			rte_pktmbuf_free(pkts[i]);
			continue;
		}
		uint64_t finish = serialise(e, arrival_ps, len);
		struct linkem_packet *p = &e->packets[e->in++ & e->mask];
		p->mbuf = pkts[i];
		p->len = len;
		p->finish_ps = finish;
		p->deliver_ps = finish < NEVER - e->delay_ps ? finish + e->delay_ps : NEVER;
		e->waiting_bytes += len;
	}
}

unsigned kerf_linkem_pull(
	struct kerf_linkem *e, uint64_t now_ps, struct rte_mbuf **pkts, unsigned max)
{
	unsigned n = 0;

	for (; n < max && e->out != e->in; n++, e->out++) {
		const struct linkem_packet *p = &e->packets[e->out & e->mask];
		if (p->deliver_ps == NEVER || p->deliver_ps > now_ps)
			break;
		struct rte_mbuf *m = p->mbuf;
		*RTE_MBUF_DYNFIELD(m, e->timestamp_offset, rte_mbuf_timestamp_t *) =
			e->epoch_ns + p->deliver_ps / KERF_PS_PER_NS;
		m->ol_flags |= e->timestamp_flag;
		kerf_hist_add(&e->stats.lateness_ns, (now_ps - p->deliver_ps) / KERF_PS_PER_NS);
		e->stats.bytes += p->len;
		pkts[n] = m;
	}
	e->stats.delivered += n;
	return n;
}

uint64_t kerf_linkem_next(const struct kerf_linkem *e)
{
	return e->out == e->in ? NEVER : e->packets[e->out & e->mask].deliver_ps;
}

uint64_t kerf_linkem_rate_at(const struct kerf_linkem *e, uint64_t at_ps)
{
	unsigned low = 0, high = e->n_steps; /* the step sought is in [low, high) */

	if (!e->steps)
		return UINT64_MAX;
	while (high - low > 1) {
		unsigned mid = low + (high - low) / 2;
		if (e->steps[mid].at_ps <= at_ps)
			low = mid;
		else
			high = mid;
	}
	return e->steps[low].bps;
}

const struct kerf_linkem_stats *kerf_linkem_stats(const struct kerf_linkem *e)
{
	return &e->stats;
}
