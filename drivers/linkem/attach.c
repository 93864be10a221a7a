/*
 * The emulator on an ethdev port in real time: an RX callback that takes what the PMD received and
 * gives back what is due, and a TX callback that stamps.
 */
#include "linkem/linkem_internal.h"

#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_mbuf_dyn.h>
#include <string.h>

/* Of the process, as the dynfield is. */
static int stamp_offset;
static uint64_t stamp_flag;

static uint64_t to_ps(const struct kerf_linkem *e, uint64_t ns)
{
	uint64_t since = ns > e->epoch_ns ? ns - e->epoch_ns : 0;

	return since < UINT64_MAX / KERF_PS_PER_NS ? since * KERF_PS_PER_NS : UINT64_MAX - 1;
}

static uint64_t arrival_of(const struct kerf_linkem *e, struct rte_mbuf *m, uint64_t now_ps)
{
	uint64_t at = now_ps;

	if (m->ol_flags & e->timestamp_flag)
		at = to_ps(e, *RTE_MBUF_DYNFIELD(m, e->timestamp_offset, rte_mbuf_timestamp_t *));
	return KERF_MAX(KERF_MIN(at, now_ps), e->last_arrival_ps);
}

/* ethdev calls this on every poll, packets or not, so what is due always gets out. */
static uint16_t hold_and_release(uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n,
	uint16_t capacity, void *self)
{
	struct kerf_linkem *e = self;
	uint64_t now_ps = to_ps(e, e->clock_ns());

	for (uint16_t i = 0; i < n; i++)
		kerf_linkem_push(e, arrival_of(e, pkts[i], now_ps), &pkts[i], 1);
	return (uint16_t)kerf_linkem_pull(e, now_ps, pkts, capacity);
}

int kerf_linkem_attach(struct kerf_linkem *e, uint16_t port, uint16_t queue,
	uint64_t (*clock_ns)(void), uint64_t epoch_ns, struct kerf_err *err)
{
	if (e->callback)
		return kerf_err_set(err, -EBUSY, "linkem: attached to port %u already", e->port);
	e->port = port;
	e->queue = queue;
	e->clock_ns = clock_ns;
	e->epoch_ns = epoch_ns;
	e->callback = rte_eth_add_rx_callback(port, queue, hold_and_release, e);
	if (e->callback)
		return 0;
	e->epoch_ns = 0;
	return kerf_err_set(err, -rte_errno, "linkem: port %u takes no RX callback on queue %u: %s",
		port, queue, rte_strerror(rte_errno));
}

void kerf_linkem_detach(struct kerf_linkem *e)
{
	if (!e->callback)
		return;
	/* ethdev only unlinks it; the memory is ours to free once nobody polls. */
	if (rte_eth_remove_rx_callback(e->port, e->queue, e->callback) == 0)
		rte_free((void *)(uintptr_t)e->callback);
	e->callback = NULL;
	e->epoch_ns = 0;
}

static uint16_t stamp(
	uint16_t port, uint16_t queue, struct rte_mbuf **pkts, uint16_t n, void *clock)
{
	uint64_t (*clock_ns)(void) = (uint64_t(*)(void))(uintptr_t)clock;
	uint64_t now = clock_ns();

	for (uint16_t i = 0; i < n; i++) {
		*RTE_MBUF_DYNFIELD(pkts[i], stamp_offset, rte_mbuf_timestamp_t *) = now;
		pkts[i]->ol_flags |= stamp_flag;
	}
	return n;
}

int kerf_linkem_stamp_tx(
	uint16_t port, uint16_t queue, uint64_t (*clock_ns)(void), struct kerf_err *err)
{
	int ret = kerf_linkem_timestamp_field(&stamp_offset, &stamp_flag);

	if (ret < 0)
		return kerf_err_set(
			err, ret, "linkem: no timestamp field in mbufs: %s", rte_strerror(-ret));
	if (rte_eth_add_tx_callback(port, queue, stamp, (void *)(uintptr_t)clock_ns))
		return 0;
	return kerf_err_set(err, -rte_errno, "linkem: port %u takes no TX callback on queue %u: %s",
		port, queue, rte_strerror(rte_errno));
}
