/*
 * From the link to the delivery: what happens to a packet once its last bit is out, and the packets
 * on their way, first to be delivered first.
 */
#include "linkem/linkem_internal.h"

#include <string.h>

#define HEAP_WAYS 4

static bool before(const struct linkem_held *a, const struct linkem_held *b)
{
	return a->deliver_ps != b->deliver_ps ? a->deliver_ps < b->deliver_ps : a->order < b->order;
}

static void heap_put(struct linkem_held *heap, uint64_t place, const struct linkem_held *new)
{
	while (place > 0) {
		uint64_t parent = (place - 1) / HEAP_WAYS;

		if (!before(new, &heap[parent]))
			break;
		heap[place] = heap[parent];
		place = parent;
	}
	heap[place] = *new;
}

/* Takes the first out of n; the last one looks for its place from there. */
static void heap_pop(struct linkem_held *heap, uint64_t n)
{
	const struct linkem_held last = heap[n - 1];
	uint64_t place = 0;

	n--;
	for (;;) {
		uint64_t child = place * HEAP_WAYS + 1, least = child;

		if (child >= n)
			break;
		for (uint64_t i = child + 1; i < child + HEAP_WAYS && i < n; i++)
			if (before(&heap[i], &heap[least]))
				least = i;
		if (!before(&heap[least], &last))
			break;
		heap[place] = heap[least];
		place = least;
	}
	heap[place] = last;
}

static void put(struct linkem_release *r, uint32_t mask, struct rte_mbuf *m, uint32_t len,
	uint64_t deliver_ps)
{
	const struct linkem_held new = {deliver_ps, r->in, m, len};

	if (r->in_order)
		r->held[r->in & mask] = new;
	else
		heap_put(r->held, r->in - r->out, &new);
	r->in++;
}

void linkem_release_pop(struct linkem_release *r)
{
	if (!r->in_order)
		heap_pop(r->held, r->in - r->out);
	r->out++;
}

static struct rte_mbuf *copy(struct kerf_linkem *e, const struct rte_mbuf *m)
{
	struct rte_mbuf *c = rte_pktmbuf_copy(m, e->pool, 0, UINT32_MAX);

	if (!c)
		e->stats.uncopied++;
	return c;
}

/* Only our copy is written: others may hold a reference to the packet itself. */
static struct rte_mbuf *corrupt(struct kerf_linkem *e, struct rte_mbuf *m, uint32_t len,
	uint32_t at)
{
	uint64_t bit = (uint64_t)len * 8 * at >> 32;
	uint32_t offset = (uint32_t)(bit / 8);
	struct rte_mbuf *c = copy(e, m), *segment = c;

	if (!c)
		return m;
	for (; offset >= segment->data_len; segment = segment->next)
		offset -= segment->data_len;
	*rte_pktmbuf_mtod_offset(segment, uint8_t *, offset) ^= (uint8_t)(1u << bit % 8);
	rte_pktmbuf_free(m);
	e->stats.corrupted++;
	return c;
}

/* Whether there was room for it. */
static bool duplicate(struct kerf_linkem *e, const struct rte_mbuf *m, uint32_t len,
	uint64_t deliver_ps)
{
	struct rte_mbuf *c;

	if (linkem_inside(e) >= e->room) {
		e->stats.uncopied++;
		return false;
	}
	c = copy(e, m);
	if (!c)
		return false;
	e->stats.duplicated++;
	put(&e->release, e->mask, c, len, deliver_ps);
	return true;
}

static uint64_t delivery(struct kerf_linkem *e, const struct linkem_packet *p)
{
	struct linkem_release *r = &e->release;
	uint64_t t = p->finish_ps;

	if (r->slot_ps && t != LINKEM_NEVER && t % r->slot_ps)
		t = linkem_later(t, r->slot_ps - t % r->slot_ps);
	t = linkem_later(linkem_later(t, r->delay_ps), p->fate.jitter_ps);
	if (r->clamped)
		r->last_deliver_ps = t = KERF_MAX(t, r->last_deliver_ps);
	return p->fate.late ? linkem_later(t, r->late_ps) : t;
}

/* From the link to those held. */
static void hand_over(struct kerf_linkem *e, struct linkem_packet *p, struct kerf_linkem_truth *t)
{
	struct rte_mbuf *m = p->mbuf;

	if (p->fate.corrupt && p->len)
		m = corrupt(e, m, p->len, p->fate.bit);
	t->corrupted = m != p->mbuf;
	t->deliver_ps = delivery(e, p);
	t->late = p->fate.late;
	e->stats.late += p->fate.late;
	put(&e->release, e->mask, m, p->len, t->deliver_ps);
	if (p->fate.duplicate)
		t->duplicated = duplicate(e, m, p->len, t->deliver_ps);
}

void linkem_transmit(struct kerf_linkem *e, struct linkem_packet *p)
{
	struct kerf_linkem_truth t = {.number = p->number, .arrival_ps = p->arrival_ps,
		.start_ps = KERF_MAX(p->arrival_ps, e->rate.last_finish_ps), .bytes = p->len};

	p->finish_ps = linkem_rate_serialise(&e->rate, p->arrival_ps,
		((uint64_t)p->len + e->overhead_bytes) * 8);
	if (!p->mbuf)
		return;
	t.finish_ps = p->finish_ps;
	if (p->fate.lost) {
		t.end = KERF_LINKEM_LOST;
		rte_pktmbuf_free(p->mbuf);
		e->stats.lost++;
	} else {
		hand_over(e, p, &t);
	}
	linkem_tell(e, &t);
}
