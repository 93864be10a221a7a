#include "unit.h"
#include "port/eal.h"
#include "port/peer.h"

#include <rte_mempool.h>

#define N 10000

static void test_packets_pass_in_order_without_a_copy(void)
{
	struct kerf_port a, b;
	struct kerf_err err = {0};
	struct rte_mbuf *sent[PEER_BURST], *got[PEER_BURST];
	const struct kerf_port_options o = {.kind = "ring"};
	uint32_t number = 0, wrong = 0;

	unit_eal_init();
	CU_ASSERT_EQUAL_FATAL(kerf_port_open_ring_pair(&a, &b, &o, &err), 0);
	CU_ASSERT_PTR_EQUAL(a.pool, b.pool);
	CU_ASSERT(memcmp(a.mac, b.mac, 6) != 0);
	CU_ASSERT(kerf_port_is_up(&a));
	CU_ASSERT(a.multi_segment);
	unsigned all = rte_mempool_avail_count(a.pool);
	while (number < N) {
		unsigned n = 1 + number % PEER_BURST;
		struct kerf_port *from = number % 3 ? &a : &b, *to = number % 3 ? &b : &a;
		for (unsigned i = 0; i < n; i++)
			sent[i] = peer_packet(from, number + i);
		CU_ASSERT_EQUAL_FATAL(kerf_port_tx(from, sent, n), n);
		CU_ASSERT_EQUAL(kerf_port_rx(from, got, PEER_BURST), 0);
		CU_ASSERT_EQUAL_FATAL(kerf_port_rx(to, got, PEER_BURST), n);
		for (unsigned i = 0; i < n; i++, number++) {
			wrong += got[i] != sent[i] || peer_check(got[i], number, to->mtu) != 1;
			rte_pktmbuf_free(got[i]);
		}
	}
	CU_ASSERT_EQUAL(wrong, 0);
	CU_ASSERT_EQUAL(a.rx_packets + b.rx_packets, number);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(a.pool), all);
	kerf_port_close(&a);
	kerf_port_close(&b);
}

/* A ring that is full takes what fits and leaves the rest; closing frees what lies in it. */
static void test_full_ring(void)
{
	struct kerf_port a, b;
	struct kerf_err err = {0};
	const struct kerf_port_options o = {.kind = "ring", .rx_ring = 64, .tx_ring = 64};
	struct rte_mbuf *m[100];

	unit_eal_init();
	CU_ASSERT_EQUAL_FATAL(kerf_port_open_ring_pair(&a, &b, &o, &err), 0);
	for (unsigned i = 0; i < 100; i++)
		m[i] = peer_packet(&a, i);
	CU_ASSERT_EQUAL(kerf_port_tx(&a, m, 100), 64);
	CU_ASSERT_EQUAL(a.tx_full, 36);
	CU_ASSERT_EQUAL(a.tx_packets, 64);
	rte_pktmbuf_free_bulk(m + 64, 36);
	CU_ASSERT_EQUAL(kerf_port_rx(&b, m, 10), 10);
	rte_pktmbuf_free_bulk(m, 10);
	kerf_port_close(&b);
	kerf_port_close(&a);
	kerf_port_close(&a); /* harmless */
	CU_ASSERT_EQUAL(rte_eth_dev_count_avail(), 0);
}

/* Opened and closed again and again, in either order: nothing is used up. */
static void test_reopens(void)
{
	const uint8_t mac[6] = {2, 1, 2, 3, 4, 5};
	const struct kerf_port_options o = {.kind = "ring", .mac = mac, .mtu = 9000, .mbufs = 4096};
	struct kerf_err err = {0};
	struct kerf_port a, b;

	unit_eal_init();
	for (unsigned i = 0; i < 40; i++) {
		int ret = kerf_port_open_ring_pair(&a, &b, &o, &err);
		if (ret < 0)
			printf("%s\n", err.text);
		CU_ASSERT_EQUAL_FATAL(ret, 0);
		CU_ASSERT_EQUAL(memcmp(a.mac, mac, 6), 0);
		CU_ASSERT(rte_pktmbuf_data_room_size(a.pool) >= RTE_PKTMBUF_HEADROOM + 9014);
		struct rte_mbuf *m = peer_packet(&a, i);
		CU_ASSERT_EQUAL(kerf_port_tx(&a, &m, 1), 1);
		kerf_port_close(i % 2 ? &a : &b);
		kerf_port_close(i % 2 ? &b : &a);
	}
}

static void test_too_little_memory_is_one_line(void)
{
	const struct kerf_port_options o = {.kind = "ring", .mbufs = 1000000};
	struct kerf_err err = {0};
	struct kerf_port a, b;

	unit_eal_init();
	CU_ASSERT(kerf_port_open_ring_pair(&a, &b, &o, &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "vm.nr_hugepages"));
	kerf_port_close(&a);
}

UNIT_MAIN("port ring", UNIT(test_packets_pass_in_order_without_a_copy), UNIT(test_full_ring),
	UNIT(test_reopens), UNIT(test_too_little_memory_is_one_line))
