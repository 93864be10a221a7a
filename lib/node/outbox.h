/* A short queue of control packets between receiving and the next poll. */
#pragma once

#include <rte_mbuf.h>

#define OUTBOX_ROOM 64

struct outbox {
	struct rte_mbuf *pkts[OUTBOX_ROOM];
	unsigned n;
};

/* Takes the packet; NULL is allowed (the pool was empty and that is counted elsewhere). When the
 * queue is full the packet is dropped: every control packet is repeated by its protocol. */
static inline void outbox_put(struct outbox *o, struct rte_mbuf *m)
{
	if (!m)
		return;
	if (o->n == OUTBOX_ROOM)
		rte_pktmbuf_free(m);
	else
		o->pkts[o->n++] = m;
}

static inline unsigned outbox_take(struct outbox *o, struct rte_mbuf **pkts, unsigned max)
{
	unsigned n = o->n < max ? o->n : max;

	for (unsigned i = 0; i < n; i++)
		pkts[i] = o->pkts[i];
	for (unsigned i = n; i < o->n; i++)
		o->pkts[i - n] = o->pkts[i];
	o->n -= n;
	return n;
}

static inline void outbox_clear(struct outbox *o)
{
	for (unsigned i = 0; i < o->n; i++)
		rte_pktmbuf_free(o->pkts[i]);
	o->n = 0;
}
