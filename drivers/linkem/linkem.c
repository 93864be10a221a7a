#include "linkem/linkem_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <rte_common.h>
#include <rte_errno.h>
#include <rte_mbuf_dyn.h>
#include <stdlib.h>

#define DEFAULT_PACKETS 65536
#define MAX_PACKETS (1u << 24)

int kerf_linkem_timestamp_field(int *offset, uint64_t *flag)
{
	return rte_mbuf_dyn_rx_timestamp_register(offset, flag) < 0 ? -rte_errno : 0;
}

const char *kerf_linkem_end_name(enum kerf_linkem_end end)
{
	static const char *const names[KERF_LINKEM_END_COUNT] = {
		[KERF_LINKEM_DELIVERED] = "delivered",
		[KERF_LINKEM_LOST] = "lost",
		[KERF_LINKEM_DROPPED_QUEUE] = "queue",
		[KERF_LINKEM_DROPPED_ROOM] = "room",
		[KERF_LINKEM_DROPPED_CODEL] = "codel",
	};

	return (unsigned)end < KERF_LINKEM_END_COUNT ? names[end] : "unknown";
}

static void set_release(struct linkem_release *r, const struct kerf_linkem_config *c)
{
	r->slot_ps = c->slot_ps;
	r->delay_ps = c->delay_ps;
	r->late_ps = c->late_ps;
	r->clamped = c->jitter_ps && !c->jitter_reorders;
	r->in_order = !(c->late > 0) && !(c->jitter_ps && c->jitter_reorders);
}

static int init_room(struct kerf_linkem *e, unsigned max_packets, struct kerf_err *err)
{
	e->room = max_packets ? max_packets : DEFAULT_PACKETS;
	if (e->room > MAX_PACKETS)
		return kerf_err_set(err, -EINVAL,
			"linkem: room for %u packets: expected at most %u", e->room, MAX_PACKETS);
	e->mask = rte_align32pow2(e->room) - 1;
	e->packets = calloc((size_t)e->mask + 1, sizeof(*e->packets));
	e->release.held = calloc((size_t)e->mask + 1, sizeof(*e->release.held));
	if (!e->packets || !e->release.held)
		return kerf_err_set(err, -ENOMEM, "linkem: no memory for %u packets", e->room);
	return 0;
}

static int init(struct kerf_linkem *e, const struct kerf_linkem_config *c, struct kerf_err *err)
{
	int ret;

	if ((ret = linkem_rate_init(&e->rate, c, err)) < 0 ||
		(ret = linkem_chance_init(&e->chance, c, err)) < 0 ||
		(ret = linkem_codel_init(&e->codel, c, err)) < 0 ||
		(ret = linkem_cross_init(&e->cross, c, err)) < 0 ||
		(ret = init_room(e, c->max_packets, err)) < 0)
		return ret;
	set_release(&e->release, c);
	e->queue_bytes = c->queue_bytes;
	e->queue_packets = c->queue_packets;
	e->overhead_bytes = c->overhead_bytes;
	e->pool = c->pool;
	e->truth = c->truth;
	e->truth_user = c->truth_user;
	ret = kerf_linkem_timestamp_field(&e->timestamp_offset, &e->timestamp_flag);
	if (ret < 0)
		return kerf_err_set(err, ret,
			"linkem: no timestamp field in mbufs: %s (is EAL initialised?)",
			rte_strerror(-ret));
	return 0;
}

struct kerf_linkem *kerf_linkem_create(const struct kerf_linkem_config *c, struct kerf_err *err)
{
	struct kerf_linkem *e = calloc(1, sizeof(*e));

	if (!e) {
		kerf_err_set(err, -ENOMEM, "linkem: no memory for an emulator");
		return NULL;
	}
	if (init(e, c, err) == 0)
		return e;
	kerf_linkem_destroy(e);
	return NULL;
}

void kerf_linkem_destroy(struct kerf_linkem *e)
{
	const struct linkem_held *h;

	if (!e)
		return;
	kerf_linkem_detach(e);
	for (; (h = linkem_release_first(&e->release, e->mask)); linkem_release_pop(&e->release))
		rte_pktmbuf_free(h->mbuf);
	for (; e->served != e->in; e->served++)
		rte_pktmbuf_free(e->packets[e->served & e->mask].mbuf);
	free(e->release.held);
	free(e->packets);
	free(e->rate.steps);
	free(e);
}

/* Those that have left the queue by then. */
static void retire(struct kerf_linkem *e, uint64_t arrival)
{
	for (; e->waiting != e->served; e->waiting++) {
		const struct linkem_packet *p = &e->packets[e->waiting & e->mask];
		if (p->finish_ps > arrival)
			return;
		e->waiting_bytes -= p->len;
	}
}

/* What keeps a packet out; DELIVERED = it may enter. */
static enum kerf_linkem_end refusal(const struct kerf_linkem *e, uint32_t len)
{
	uint64_t waiting = e->in - e->waiting;

	if ((e->queue_bytes && e->waiting_bytes + len > e->queue_bytes) ||
		(e->queue_packets && waiting >= e->queue_packets))
		return KERF_LINKEM_DROPPED_QUEUE;
	if (KERF_MAX(waiting, linkem_inside(e)) >= e->room)
		return KERF_LINKEM_DROPPED_ROOM;
	return KERF_LINKEM_DELIVERED;
}

static void refuse(struct kerf_linkem *e, const struct linkem_packet *p, enum kerf_linkem_end end)
{
	if (!p->mbuf) {
		e->stats.cross_dropped++;
		return;
	}
	*(end == KERF_LINKEM_DROPPED_QUEUE ? &e->stats.dropped_queue : &e->stats.dropped_room) += 1;
	rte_pktmbuf_free(p->mbuf);
	linkem_tell(e, &(struct kerf_linkem_truth){.number = p->number,
		.arrival_ps = p->arrival_ps, .bytes = p->len, .end = end});
}

static void enter(struct kerf_linkem *e, const struct linkem_packet *new)
{
	struct linkem_packet *p = &e->packets[e->in & e->mask];
	enum kerf_linkem_end end;

	retire(e, new->arrival_ps);
	end = refusal(e, new->len);
	if (end != KERF_LINKEM_DELIVERED) {
		refuse(e, new, end);
		return;
	}
	*p = *new;
	e->in++;
	e->waiting_bytes += p->len;
	if (e->codel.on) {
		e->codel.max_packet = KERF_MAX(e->codel.max_packet, p->len);
		e->codel.backlog_bytes += p->len;
		e->codel.backlog_own += p->mbuf != NULL;
	} else {
		e->served++;
		linkem_transmit(e, p);
	}
}

static void enter_cross(struct kerf_linkem *e)
{
	e->stats.cross++;
	e->entered_ps = e->cross.next_ps;
	enter(e, &(struct linkem_packet){.arrival_ps = e->cross.next_ps, .len = e->cross.len});
	linkem_cross_next(&e->cross);
}

/* Cross traffic and CoDel up to and including then, in the order of their times; a packet is judged
 * before what arrives at that very time. */
static void advance(struct kerf_linkem *e, uint64_t until)
{
	for (;;) {
		uint64_t start = e->codel.on ? linkem_codel_next(e) : LINKEM_NEVER;
		uint64_t now = KERF_MIN(start, e->cross.next_ps);

		if (now == LINKEM_NEVER || now > until)
			return;
		if (start <= e->cross.next_ps)
			linkem_codel_start(e, start);
		else
			enter_cross(e);
	}
}

/* The same, but no further than packets of ours are waiting to be judged. */
static void advance_own(struct kerf_linkem *e, uint64_t until)
{
	while (e->codel.backlog_own) {
		uint64_t start = linkem_codel_next(e);

		if (start == LINKEM_NEVER || start > until)
			return;
		advance(e, start);
	}
}

void kerf_linkem_push(struct kerf_linkem *e, uint64_t arrival_ps, struct rte_mbuf **pkts,
	unsigned n)
{
	uint64_t at = KERF_MAX(arrival_ps, e->entered_ps);

	assert(arrival_ps >= e->last_arrival_ps);
	e->last_arrival_ps = arrival_ps;
	for (unsigned i = 0; i < n; i++) {
		struct linkem_packet p = {.mbuf = pkts[i], .number = e->stats.arrived++,
			.arrival_ps = at, .len = rte_pktmbuf_pkt_len(pkts[i])};
		linkem_chance_draw(&e->chance, p.number, &p.fate);
		advance(e, at);
		enter(e, &p);
	}
	/* What finds the link idle starts at once. */
	advance_own(e, at);
}

static void stamp(const struct kerf_linkem *e, struct rte_mbuf *m, uint64_t deliver_ps)
{
	*RTE_MBUF_DYNFIELD(m, e->timestamp_offset, rte_mbuf_timestamp_t *) = e->epoch_ns +
		deliver_ps / KERF_PS_PER_NS;
	m->ol_flags |= e->timestamp_flag;
}

unsigned kerf_linkem_pull(struct kerf_linkem *e, uint64_t now_ps, struct rte_mbuf **pkts,
	unsigned max)
{
	unsigned n = 0;

	advance_own(e, now_ps);
	for (; n < max; n++) {
		const struct linkem_held *h = linkem_release_first(&e->release, e->mask);
		if (!h || h->deliver_ps == LINKEM_NEVER || h->deliver_ps > now_ps)
			break;
		stamp(e, h->mbuf, h->deliver_ps);
		kerf_hist_add(&e->stats.lateness_ns, (now_ps - h->deliver_ps) / KERF_PS_PER_NS);
		e->stats.bytes += h->len;
		pkts[n] = h->mbuf;
		linkem_release_pop(&e->release);
	}
	e->stats.delivered += n;
	return n;
}

uint64_t kerf_linkem_next(const struct kerf_linkem *e)
{
	const struct linkem_held *h = linkem_release_first(&e->release, e->mask);
	uint64_t deliver_ps = h ? h->deliver_ps : LINKEM_NEVER;

	return e->codel.backlog_own ? KERF_MIN(deliver_ps, linkem_codel_next(e)) : deliver_ps;
}

const struct kerf_linkem_stats *kerf_linkem_stats(const struct kerf_linkem *e)
{
	return &e->stats;
}
