#include "unit.h"
#include "linkem/linkem.h"
#include "port/eal.h"

#include <rte_dev.h>
#include <rte_ethdev.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <string.h>

#define MBUFS 1023
#define EPOCH_NS 5000000000ull
#define BYTES 1000 /* 8 us at 1 Gbit/s */
#define DELAY_NS 10000

static struct rte_mempool *pool;
static uint16_t port;
static uint64_t now_ns;
static int ts_offset;
static uint64_t ts_flag;

static uint64_t clock_ns(void)
{
	return now_ns;
}

/* A net_ring device without arguments sends to itself: the very mbufs come back. */
static void set_up(void)
{
	struct rte_eth_conf conf = {0};

	unit_eal_init();
	if (pool)
		return;
	pool = rte_pktmbuf_pool_create(
		"attach", MBUFS, 0, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
	if (!pool || rte_eal_hotplug_add("vdev", "net_ring0", "") < 0 ||
		rte_eth_dev_get_port_by_name("net_ring0", &port) < 0 ||
		rte_eth_dev_configure(port, 1, 1, &conf) < 0 ||
		rte_eth_rx_queue_setup(port, 0, 256, SOCKET_ID_ANY, NULL, pool) < 0 ||
		rte_eth_tx_queue_setup(port, 0, 256, SOCKET_ID_ANY, NULL) < 0 ||
		rte_eth_dev_start(port) < 0 ||
		kerf_linkem_timestamp_field(&ts_offset, &ts_flag) < 0) {
		printf("no ring port\n");
		exit(1);
	}
}

static struct kerf_linkem *gigabit(void)
{
	static const struct kerf_linkem_step steps[] = {{0, 1000000000ull}};
	struct kerf_linkem_config c = {
		.steps = steps, .n_steps = 1, .delay_ps = DELAY_NS * 1000ull};
	struct kerf_err err = {0};
	struct kerf_linkem *e = kerf_linkem_create(&c, &err);

	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT_EQUAL_FATAL(kerf_linkem_attach(e, port, 0, clock_ns, EPOCH_NS, &err), 0);
	return e;
}

static void fill(struct rte_mbuf *m, unsigned index)
{
	m->data_len = 0;
	m->pkt_len = 0;
	m->ol_flags = 0;
	memset(rte_pktmbuf_append(m, BYTES), (int)index, BYTES);
}

/* Sends n packets, keeping a reference to each as a sender does that may have to repeat them. */
static void send_held(struct rte_mbuf **held, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		held[i] = rte_pktmbuf_alloc(pool);
		fill(held[i], i);
		rte_mbuf_refcnt_update(held[i], 1);
	}
	CU_ASSERT_EQUAL_FATAL(rte_eth_tx_burst(port, 0, held, (uint16_t)n), n);
}

static uint64_t stamp_of(const struct rte_mbuf *m)
{
	CU_ASSERT(m->ol_flags & ts_flag);
	return *RTE_MBUF_DYNFIELD(m, ts_offset, const uint64_t *);
}

static void check_data(const struct rte_mbuf *m, unsigned index)
{
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);
	unsigned wrong = 0;

	for (unsigned i = 0; i < BYTES; i++)
		wrong += data[i] != (uint8_t)index;
	CU_ASSERT_EQUAL(wrong, 0);
}

/* Without a TX stamp a packet arrives when it is polled. */
static void test_holds_from_the_poll(void)
{
	struct rte_mbuf *held[10], *out[32];

	set_up();
	struct kerf_linkem *e = gigabit();
	now_ns = EPOCH_NS + 1000;
	send_held(held, 10);
	now_ns += 500;
	CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, 32), 0);
	const uint64_t start = now_ns;
	for (unsigned i = 0; i < 10; i++) {
		uint64_t due = start + 8000 * (i + 1) + DELAY_NS;
		now_ns = due - 1;
		CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, 32), 0);
		now_ns = due;
		CU_ASSERT_EQUAL_FATAL(rte_eth_rx_burst(port, 0, out, 32), 1);
		CU_ASSERT_PTR_EQUAL(out[0], held[i]);
		CU_ASSERT_EQUAL(rte_mbuf_refcnt_read(out[0]), 2);
		CU_ASSERT_EQUAL(stamp_of(out[0]), due);
		check_data(out[0], i);
		rte_pktmbuf_free(out[0]);
	}
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->lateness_ns.max, 0);
	kerf_linkem_destroy(e);
	rte_pktmbuf_free_bulk(held, 10);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), MBUFS);
}

static void test_never_returns_more_than_asked(void)
{
	struct rte_mbuf *held[20], *out[32];
	const unsigned asked[] = {1, 7, 7, 7, 7}, expected[] = {1, 7, 7, 5, 0};
	unsigned next = 0;

	set_up();
	struct kerf_linkem *e = gigabit();
	now_ns = EPOCH_NS;
	send_held(held, 20);
	CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, 32), 0);
	now_ns += 1000000; /* all are due */
	for (unsigned i = 0; i < 5; i++) {
		out[asked[i]] = (struct rte_mbuf *)&out; /* must stay */
		CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, (uint16_t)asked[i]), expected[i]);
		CU_ASSERT_PTR_EQUAL(out[asked[i]], &out);
		for (unsigned k = 0; k < expected[i]; k++) {
			CU_ASSERT_PTR_EQUAL(out[k], held[next]);
			next++;
			rte_pktmbuf_free(out[k]);
		}
	}
	/* The first left at 18 us after the epoch and was taken 982 us later. */
	CU_ASSERT_EQUAL(kerf_linkem_stats(e)->lateness_ns.max, 1000000 - 18000);
	kerf_linkem_destroy(e);
	rte_pktmbuf_free_bulk(held, 20);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), MBUFS);
}

/* A poll that brings one packet in gives out all that are due, that one not. */
static void test_new_packets_do_not_hold_up_due_ones(void)
{
	struct rte_mbuf *held[6], *out[32];

	set_up();
	struct kerf_linkem *e = gigabit();
	now_ns = EPOCH_NS;
	send_held(held, 5);
	CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, 32), 0);
	now_ns += 1000000;
	send_held(held + 5, 1);
	CU_ASSERT_EQUAL_FATAL(rte_eth_rx_burst(port, 0, out, 32), 5);
	rte_pktmbuf_free_bulk(out, 5);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), (1000000 + 18000) * 1000ull);
	kerf_linkem_destroy(e);
	rte_pktmbuf_free_bulk(held, 6);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), MBUFS);
}

/* A stamp ahead of the clock counts as now, one behind its predecessor as that one. */
static void test_impossible_stamps(void)
{
	struct rte_mbuf *held[2], *out[32];

	set_up();
	struct kerf_linkem *e = gigabit();
	now_ns = EPOCH_NS + 50000;
	for (unsigned i = 0; i < 2; i++) {
		held[i] = rte_pktmbuf_alloc(pool);
		fill(held[i], i);
		held[i]->ol_flags |= ts_flag;
		*RTE_MBUF_DYNFIELD(held[i], ts_offset, uint64_t *) = i ? 7 : now_ns + 1;
	}
	CU_ASSERT_EQUAL_FATAL(rte_eth_tx_burst(port, 0, held, 2), 2);
	CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, 32), 0);
	CU_ASSERT_EQUAL(kerf_linkem_next(e), (50000 + 18000) * 1000ull);
	now_ns += 26000;
	CU_ASSERT_EQUAL_FATAL(rte_eth_rx_burst(port, 0, out, 32), 2);
	CU_ASSERT_EQUAL(stamp_of(out[1]), EPOCH_NS + 76000);
	rte_pktmbuf_free_bulk(out, 2);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), MBUFS);
}

static void test_detached_port_passes_through(void)
{
	struct rte_mbuf *held[4], *out[32];

	set_up();
	struct kerf_linkem *e = gigabit();
	struct kerf_err err = {0};
	CU_ASSERT_EQUAL(kerf_linkem_attach(e, port, 0, clock_ns, 0, &err), -EBUSY);
	kerf_linkem_detach(e);
	send_held(held, 4);
	CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, 32), 4);
	rte_pktmbuf_free_bulk(out, 4);
	rte_pktmbuf_free_bulk(held, 4);
	kerf_linkem_destroy(e);
	e = kerf_linkem_create(&(struct kerf_linkem_config){0}, &err);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	CU_ASSERT(kerf_linkem_attach(e, 31, 0, clock_ns, 0, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "31"));
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), MBUFS);
}

/* Last, because the stamping stays on the port. */
static void test_stamped_packets_ignore_when_polled(void)
{
	struct rte_mbuf *held[3], *again, *out[32];
	struct kerf_err err = {0};

	set_up();
	CU_ASSERT_EQUAL_FATAL(kerf_linkem_stamp_tx(port, 0, clock_ns, &err), 0);
	struct kerf_linkem *e = gigabit();
	now_ns = EPOCH_NS + 7000;
	send_held(held, 3);
	now_ns += 777777; /* first poll: all are out long since */
	CU_ASSERT_EQUAL_FATAL(rte_eth_rx_burst(port, 0, out, 32), 3);
	for (unsigned i = 0; i < 3; i++)
		CU_ASSERT_EQUAL(stamp_of(out[i]), EPOCH_NS + 7000 + 8000 * (i + 1) + DELAY_NS);
	rte_pktmbuf_free_bulk(out, 3);

	/* A repeat is the same mbuf with the stamp of its delivery still in it. */
	again = held[1];
	now_ns = EPOCH_NS + 1000000;
	rte_mbuf_refcnt_update(again, 1);
	CU_ASSERT_EQUAL(rte_eth_tx_burst(port, 0, &again, 1), 1);
	now_ns += 17999;
	CU_ASSERT_EQUAL(rte_eth_rx_burst(port, 0, out, 32), 0);
	now_ns += 1;
	CU_ASSERT_EQUAL_FATAL(rte_eth_rx_burst(port, 0, out, 32), 1);
	CU_ASSERT_EQUAL(stamp_of(out[0]), EPOCH_NS + 1018000);
	check_data(out[0], 1);
	rte_pktmbuf_free(out[0]);
	kerf_linkem_destroy(e);
	rte_pktmbuf_free_bulk(held, 3);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), MBUFS);
}

UNIT_MAIN("linkem attach", UNIT(test_holds_from_the_poll), UNIT(test_never_returns_more_than_asked),
	UNIT(test_new_packets_do_not_hold_up_due_ones), UNIT(test_impossible_stamps),
	UNIT(test_detached_port_passes_through), UNIT(test_stamped_packets_ignore_when_polled))
