/* One end's first look at packets, and what it answers. */
#include <arpa/inet.h>

#include <rte_mbuf_dyn.h>

#include "harness.h"

struct fixture {
	struct rte_mempool *pool;
	unsigned available;
	struct kerf_net net, peer;
};

static void open_nets(struct fixture *f, unsigned n)
{
	f->pool = bench_pool("pool", n);
	f->available = rte_mempool_avail_count(f->pool);
	f->net = bench_net(&bench_self, f->pool, BENCH_PAYLOAD);
	f->peer = bench_net(&bench_peer, f->pool, BENCH_PAYLOAD);
}

static void close_nets(struct fixture *f)
{
	CU_ASSERT_EQUAL(rte_mempool_avail_count(f->pool), f->available);
	rte_mempool_free(f->pool);
}

static uint64_t all_drops(const struct kerf_net *net)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < KERF_DROP_COUNT; i++)
		sum += net->drops[i];
	return sum;
}

/* Hands m to net and frees it; the answer, if there is one, is returned. */
static struct rte_mbuf *receive(struct kerf_net *net, struct rte_mbuf *m, int expected)
{
	struct kerf_header h;
	const uint8_t *payload;
	size_t len;
	struct rte_mbuf *answer;

	CU_ASSERT_EQUAL(kerf_net_receive(net, m, &h, &payload, &len, &answer), expected);
	rte_pktmbuf_free(m);
	return answer;
}

static struct rte_mbuf *raw_packet(struct fixture *f, const void *data, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(f->pool);

	memcpy(rte_pktmbuf_append(m, len), data, len);
	return m;
}

static const struct kerf_header header = {
	.type = KERF_MSG_DATA, .session = 7, .frame = 42, .index = 3, .count = 9, .tx_ns = 12345};

static struct rte_mbuf *kerf_packet(struct fixture *f, size_t len)
{
	void *payload;
	struct rte_mbuf *m = kerf_net_packet(&f->peer, &bench_self, &header, len, &payload);

	memset(payload, 0x5a, len);
	return m;
}

static void test_packet_comes_back(void)
{
	struct fixture f;
	struct kerf_header h;
	const uint8_t *payload;
	size_t len;
	struct rte_mbuf *answer;

	open_nets(&f, 8);
	struct rte_mbuf *m = kerf_packet(&f, 100);
	CU_ASSERT_EQUAL(rte_pktmbuf_pkt_len(m), 164);
	CU_ASSERT_EQUAL(f.peer.tx_packets, 1);
	CU_ASSERT_EQUAL(f.peer.tx_bytes, 164);
	CU_ASSERT_EQUAL(kerf_net_receive(&f.net, m, &h, &payload, &len, &answer), 0);
	CU_ASSERT_PTR_NULL(answer);
	CU_ASSERT_EQUAL(len, 100);
	CU_ASSERT_EQUAL((uintptr_t)payload % 64, 0);
	for (size_t i = 0; i < len; i++)
		CU_ASSERT_EQUAL(payload[i], 0x5a);
	CU_ASSERT_EQUAL(h.type, KERF_MSG_DATA);
	CU_ASSERT_EQUAL(h.frame, 42);
	CU_ASSERT_EQUAL(h.index, 3);
	CU_ASSERT_EQUAL(h.tx_ns, 12345);
	CU_ASSERT_EQUAL(f.net.rx_packets, 1);
	CU_ASSERT_EQUAL(f.net.rx_bytes, 164);
	CU_ASSERT_EQUAL(all_drops(&f.net), 0);
	rte_pktmbuf_free(m);
	close_nets(&f);
}

static struct kerf_wire_packet *headers(struct rte_mbuf *m)
{
	return rte_pktmbuf_mtod(m, struct kerf_wire_packet *);
}

static void test_others_packets(void)
{
	struct fixture f;
	struct rte_mbuf *m;
	struct kerf_net other;

	open_nets(&f, 8);
	other = f.net;
	other.self.ip++;
	m = kerf_packet(&f, 0);
	headers(m)->udp.dst = htons(53);
	receive(&f.net, m, -EADDRNOTAVAIL);

	/* To another address, and not even kerf behind UDP. */
	m = kerf_packet(&f, 0);
	headers(m)->kerf.version_type = 0xff;
	receive(&other, m, -EADDRNOTAVAIL);
	CU_ASSERT_EQUAL(f.net.drops[KERF_DROP_NOT_FOR_US], 1);
	CU_ASSERT_EQUAL(other.drops[KERF_DROP_NOT_FOR_US], 1);

	m = kerf_packet(&f, 0);
	headers(m)->ethernet.ethertype = htons(0x86dd);
	receive(&f.net, m, -EPROTO);
	CU_ASSERT_EQUAL(f.net.drops[KERF_DROP_NOT_KERF], 1);
	CU_ASSERT_EQUAL(all_drops(&f.net), 2);
	close_nets(&f);
}

static void test_bad_packets(void)
{
	struct fixture f;
	struct rte_mbuf *m;

	open_nets(&f, 8);
	m = kerf_packet(&f, 0);
	headers(m)->kerf.version_type = 1 << 4 | KERF_MSG_DATA;
	receive(&f.net, m, -EPROTONOSUPPORT);
	CU_ASSERT_EQUAL(f.net.drops[KERF_DROP_VERSION], 1);

	m = kerf_packet(&f, 0);
	headers(m)->kerf.count = headers(m)->kerf.index;
	receive(&f.net, m, -EBADMSG);
	m = kerf_packet(&f, 100);
	rte_pktmbuf_trim(m, 1);
	receive(&f.net, m, -EBADMSG);

	/* A good packet with another segment behind it. */
	m = kerf_packet(&f, 100);
	struct rte_mbuf *second = rte_pktmbuf_alloc(f.pool);
	rte_pktmbuf_append(second, 50);
	CU_ASSERT_EQUAL(rte_pktmbuf_chain(m, second), 0);
	receive(&f.net, m, -EBADMSG);
	CU_ASSERT_EQUAL(f.net.drops[KERF_DROP_MALFORMED], 3);
	CU_ASSERT_EQUAL(all_drops(&f.net), 4);
	close_nets(&f);
}

static void test_arp_is_answered(void)
{
	struct fixture f;
	uint8_t request[60] = {0}; /* padded, as Ethernet does */
	uint8_t mac[6];

	open_nets(&f, 8);
	kerf_wire_arp_request(request, &bench_peer, bench_self.ip);
	struct rte_mbuf *m = raw_packet(&f, request, sizeof(request));
	rte_mbuf_refcnt_update(m, 1); /* somebody else reads it too: it must stay as it is */
	struct rte_mbuf *answer = receive(&f.net, m, -EPROTO);

	CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
	CU_ASSERT_EQUAL(memcmp(rte_pktmbuf_mtod(m, void *), request, sizeof(request)), 0);
	CU_ASSERT(kerf_wire_arp_learn(rte_pktmbuf_mtod(answer, void *),
		rte_pktmbuf_data_len(answer), bench_self.ip, mac));
	CU_ASSERT_EQUAL(memcmp(mac, bench_self.mac, 6), 0);
	CU_ASSERT_EQUAL(all_drops(&f.net), 0);
	CU_ASSERT_EQUAL(f.net.tx_packets, 1);
	CU_ASSERT_EQUAL(f.net.tx_bytes, rte_pktmbuf_pkt_len(answer));
	rte_pktmbuf_free(answer);
	rte_pktmbuf_free(m);

	kerf_wire_arp_request(request, &bench_peer, bench_self.ip + 1);
	CU_ASSERT_PTR_NULL(receive(&f.net, raw_packet(&f, request, sizeof(request)), -EPROTO));
	CU_ASSERT_EQUAL(f.net.drops[KERF_DROP_NOT_KERF], 1);
	close_nets(&f);
}

static uint16_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static size_t make_ping(uint8_t *packet, size_t data_len)
{
	struct kerf_wire_ethernet *e = (void *)packet;
	struct kerf_wire_ipv4 *ip = (void *)(e + 1);
	struct kerf_wire_icmp *icmp = (void *)(ip + 1);
	size_t icmp_len = sizeof(*icmp) + data_len;

	memcpy(e->dst, bench_self.mac, 6);
	memcpy(e->src, bench_peer.mac, 6);
	e->ethertype = htons(0x0800);
	*ip = (struct kerf_wire_ipv4){.version_ihl = 0x45, .ttl = 64, .protocol = 1,
		.length = htons((uint16_t)(sizeof(*ip) + icmp_len)),
		.src = htonl(bench_peer.ip), .dst = htonl(bench_self.ip)};
	ip->checksum = checksum(ip, sizeof(*ip));
	*icmp = (struct kerf_wire_icmp){.type = 8, .id = htons(5), .sequence = htons(6)};
	memset(icmp + 1, 0xa5, data_len);
	icmp->checksum = checksum(icmp, icmp_len);
	return sizeof(*e) + sizeof(*ip) + icmp_len;
}

static void test_ping_is_answered(void)
{
	struct fixture f;
	uint8_t request[256];

	open_nets(&f, 8);
	size_t len = make_ping(request, 56);
	struct rte_mbuf *answer =
		receive(&f.net, raw_packet(&f, request, (uint16_t)len), -EPROTO);
	CU_ASSERT_PTR_NOT_NULL_FATAL(answer);
	CU_ASSERT_EQUAL(rte_pktmbuf_pkt_len(answer), len);
	const struct kerf_wire_ethernet *e = rte_pktmbuf_mtod(answer, const void *);
	const struct kerf_wire_ipv4 *ip = (const void *)(e + 1);
	const struct kerf_wire_icmp *icmp = (const void *)(ip + 1);
	CU_ASSERT_EQUAL(memcmp(e->dst, bench_peer.mac, 6), 0);
	CU_ASSERT_EQUAL(ip->dst, htonl(bench_peer.ip));
	CU_ASSERT_EQUAL(icmp->type, 0);
	CU_ASSERT_EQUAL(icmp->sequence, htons(6));
	CU_ASSERT_EQUAL(checksum(icmp, len - 34), 0);
	rte_pktmbuf_free(answer);
	close_nets(&f);
}

static void test_empty_pool_is_counted(void)
{
	struct fixture f;
	uint8_t request[60] = {0};
	struct rte_mbuf *kept[8];
	void *payload;

	open_nets(&f, KERF_ARRAY_LEN(kept));
	kerf_wire_arp_request(request, &bench_peer, bench_self.ip);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(kept); i++)
		kept[i] = raw_packet(&f, request, sizeof(request));
	CU_ASSERT_PTR_NULL(kerf_net_packet(&f.net, &bench_peer, &header, 10, &payload));
	CU_ASSERT_EQUAL(f.net.drops[KERF_DROP_NO_MBUF], 1);
	CU_ASSERT_EQUAL(f.net.tx_packets, 0);
	CU_ASSERT_PTR_NULL(receive(&f.net, kept[0], -EPROTO));
	CU_ASSERT_EQUAL(f.net.drops[KERF_DROP_NO_MBUF], 2);
	CU_ASSERT_EQUAL(all_drops(&f.net), 2);
	rte_pktmbuf_free_bulk(kept + 1, KERF_ARRAY_LEN(kept) - 1);
	close_nets(&f);
}

static void test_rx_time(void)
{
	struct fixture f;

	open_nets(&f, 8);
	struct rte_mbuf *m = kerf_packet(&f, 0);
	CU_ASSERT_EQUAL(kerf_net_rx_time(&f.net, m, 77), 77);
	CU_ASSERT_EQUAL(rte_mbuf_dyn_rx_timestamp_register(&f.net.timestamp_offset,
				&f.net.timestamp_flag), 0);
	CU_ASSERT_EQUAL(kerf_net_rx_time(&f.net, m, 77), 77);
	*RTE_MBUF_DYNFIELD(m, f.net.timestamp_offset, rte_mbuf_timestamp_t *) = 55;
	m->ol_flags |= f.net.timestamp_flag;
	CU_ASSERT_EQUAL(kerf_net_rx_time(&f.net, m, 77), 55);
	rte_pktmbuf_free(m);
	close_nets(&f);
}

static void test_every_reason_has_its_name(void)
{
	for (unsigned i = 0; i < KERF_DROP_COUNT; i++)
		for (unsigned j = 0; j < i; j++)
			CU_ASSERT_STRING_NOT_EQUAL(kerf_drop_name(i), kerf_drop_name(j));
	CU_ASSERT_STRING_EQUAL(kerf_drop_name(KERF_DROP_NOT_FOR_US), "not_for_us");
}

UNIT_MAIN("transport.net", UNIT(test_packet_comes_back), UNIT(test_others_packets),
	UNIT(test_bad_packets), UNIT(test_arp_is_answered), UNIT(test_ping_is_answered),
	UNIT(test_empty_pool_is_counted), UNIT(test_rx_time), UNIT(test_every_reason_has_its_name))
