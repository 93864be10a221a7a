/*
 * Two ports over two rte_rings (PMD net_ring): the receiver gets the very mbufs that were sent, so
 * nothing is copied and a packet may have more holders than its receiver. Whoever reads a packet
 * here must not write to its data.
 */
#include "port/port_internal.h"

#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_malloc.h>
#include <rte_ring.h>
#include <string.h>

/* Shared by the two ends; the last to close frees it. */
struct kerf_port_pair {
	struct rte_ring *rings[2]; /* a to b, b to a */
	struct rte_mempool *pool;
	unsigned users;
};

static unsigned room_bytes(const struct kerf_port_options *o)
{
	return o->mtu + KERF_PORT_L2_BYTES;
}

const struct kerf_port_kind kerf_port_ring = {
	.name = "ring",
	.room_bytes = room_bytes,
};

static void free_pair(struct kerf_port_pair *pair)
{
	void *m;

	for (unsigned i = 0; i < 2; i++) {
		while (pair->rings[i] && rte_ring_dequeue(pair->rings[i], &m) == 0)
			rte_pktmbuf_free(m);
		rte_ring_free(pair->rings[i]);
	}
	kerf_port_free_pool(pair->pool);
	rte_free(pair);
}

void kerf_port_pair_close(struct kerf_port *p)
{
	if (--p->pair->users == 0)
		free_pair(p->pair);
}

/* One producer and one consumer: each end is used by one thread at a time. */
static struct kerf_port_pair *create_pair(
	const struct kerf_port_options *o, unsigned serial, struct kerf_err *err)
{
	struct kerf_port_pair *pair = rte_zmalloc("kerf_port_pair", sizeof(*pair), 0);
	unsigned entries = KERF_MAX(o->rx_ring, o->tx_ring);
	char name[32];

	for (unsigned i = 0; pair && i < 2; i++) {
		snprintf(name, sizeof(name), "kerf_ring_%u_%u", serial, i);
		pair->rings[i] = rte_ring_create(name, entries, SOCKET_ID_ANY,
			RING_F_SP_ENQ | RING_F_SC_DEQ | RING_F_EXACT_SZ);
		if (!pair->rings[i]) {
			free_pair(pair);
			pair = NULL;
		}
	}
	if (!pair) {
		kerf_err_set(err, -ENOMEM,
			"port ring: no memory for two rings of %u: give EAL more, "
			"as --no-huge -m 256",
			entries);
		return NULL;
	}
	pair->pool = kerf_port_create_pool(o, &kerf_port_ring, err);
	if (pair->pool)
		return pair;
	free_pair(pair);
	return NULL;
}

static int open_end(struct kerf_port *p, struct kerf_port_pair *pair, unsigned serial, unsigned end,
	const struct kerf_port_options *o, struct kerf_err *err)
{
	struct rte_ring *tx[1] = {pair->rings[end]}, *rx[1] = {pair->rings[!end]};
	char name[32];

	snprintf(name, sizeof(name), "kerf_%u_%u", serial, end);
	int id = rte_eth_from_rings(name, rx, 1, tx, 1, 0);
	if (id < 0)
		return kerf_err_set(err, -ENODEV, "port ring: EAL makes no device of rings: %s",
			rte_strerror(rte_errno));
	p->id = (uint16_t)id;
	p->pool = pair->pool;
	p->pair = pair;
	pair->users++;
	p->ops = &kerf_port_ring; /* from here on kerf_port_close undoes it */
	return kerf_port_start(p, o, &kerf_port_ring, err);
}

int kerf_port_open_ring_pair(struct kerf_port *a, struct kerf_port *b,
	const struct kerf_port_options *o, struct kerf_err *err)
{
	static unsigned serials; /* ports are opened by one thread */
	const struct kerf_port_kind *kind;
	struct kerf_port_options full;

	memset(a, 0, sizeof(*a));
	memset(b, 0, sizeof(*b));
	int ret = kerf_port_resolve(o, &full, &kind, err);
	if (ret < 0)
		return ret;
	if (kind != &kerf_port_ring)
		return kerf_err_set(
			err, -EINVAL, "port %s: only ports of kind ring come in pairs", kind->name);
	unsigned serial = serials++;
	struct kerf_port_pair *pair = create_pair(&full, serial, err);
	if (!pair)
		return -ENOMEM;
	pair->users = 1; /* our own, so that a failure below frees it once */
	ret = open_end(a, pair, serial, 0, &full, err);
	full.mac = NULL;
	if (ret == 0)
		ret = open_end(b, pair, serial, 1, &full, err);
	if (ret < 0) {
		kerf_port_close(b);
		kerf_port_close(a);
	}
	if (--pair->users == 0)
		free_pair(pair);
	return ret;
}
