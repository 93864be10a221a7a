/* Packets in and out of one end: headers, first checks, answers to ARP and ping, counters. */
#include <assert.h>
#include <netinet/in.h>
#include <string.h>

#include <rte_byteorder.h>
#include <rte_ether.h>
#include <rte_mbuf_dyn.h>

#include "transport/transport_internal.h"

const char *kerf_drop_name(enum kerf_drop reason)
{
	static const char *const names[KERF_DROP_COUNT] = {
		[KERF_DROP_NOT_KERF] = "not_kerf",
		[KERF_DROP_NOT_FOR_US] = "not_for_us",
		[KERF_DROP_VERSION] = "version",
		[KERF_DROP_MALFORMED] = "malformed",
		[KERF_DROP_SESSION] = "session",
		[KERF_DROP_STALE] = "stale",
		[KERF_DROP_DUPLICATE] = "duplicate",
		[KERF_DROP_NO_CONTEXT] = "no_context",
		[KERF_DROP_NO_MBUF] = "no_mbuf",
		[KERF_DROP_UNEXPECTED] = "unexpected",
	};

	return (unsigned)reason < KERF_DROP_COUNT ? names[reason] : "?";
}

static struct rte_mbuf *alloc_packet(struct kerf_net *net)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(net->pool);

	if (!m)
		net->drops[KERF_DROP_NO_MBUF]++;
	return m;
}

void kerf_net_count_tx(struct kerf_net *net, const struct rte_mbuf *m)
{
	net->tx_packets++;
	net->tx_bytes += rte_pktmbuf_pkt_len(m);
}

struct rte_mbuf *kerf_net_build(struct kerf_net *net, const struct kerf_address *to,
	const struct kerf_header *h, size_t payload_len, void **payload)
{
	struct rte_mbuf *m = alloc_packet(net);

	if (!m)
		return NULL;

	/* The pool's room is the contract of struct kerf_net; data_len has 16 bits. */
	assert(payload_len <= UINT16_MAX - sizeof(struct kerf_wire_packet));
	struct kerf_wire_packet *p =
		(void *)rte_pktmbuf_append(m, (uint16_t)(sizeof(*p) + payload_len));
	assert(p);

	kerf_wire_build(p, &net->self, to, h, payload_len);
	*payload = p + 1;
	return m;
}

struct rte_mbuf *kerf_net_packet(struct kerf_net *net, const struct kerf_address *to,
	const struct kerf_header *h, size_t payload_len, void **payload)
{
	struct rte_mbuf *m = kerf_net_build(net, to, h, payload_len, payload);

	if (m)
		kerf_net_count_tx(net, m);
	return m;
}

uint64_t kerf_net_rx_time(const struct kerf_net *net, const struct rte_mbuf *m, uint64_t poll_ns)
{
	if (net->timestamp_offset < 0 || !(m->ol_flags & net->timestamp_flag))
		return poll_ns;
	return *RTE_MBUF_DYNFIELD(m, net->timestamp_offset, const rte_mbuf_timestamp_t *);
}

/* UDP to another address or port is a neighbour's, whatever its payload looks like. */
static bool is_for_other(const struct kerf_net *net, const uint8_t *data, size_t len)
{
	struct kerf_address to;

	return kerf_wire_destination(data, len, &to) == 0 &&
	       (to.ip != net->self.ip || to.port != net->self.port);
}

static bool may_be_answered(const uint8_t *data, size_t len)
{
	const struct kerf_wire_packet *p = (const void *)data;

	if (len < sizeof(p->ethernet) + sizeof(p->ipv4))
		return false;
	if (p->ethernet.ethertype == rte_cpu_to_be_16(RTE_ETHER_TYPE_ARP))
		return true;
	return p->ethernet.ethertype == rte_cpu_to_be_16(RTE_ETHER_TYPE_IPV4) &&
	       p->ipv4.protocol == IPPROTO_ICMP;
}

/* Not in place: over a ring port the sender may still hold the very mbuf that arrived. */
static struct rte_mbuf *answer_to(struct kerf_net *net, const uint8_t *data, size_t len)
{
	struct rte_mbuf *m = alloc_packet(net);

	if (!m)
		return NULL;

	uint8_t *copy = len <= UINT16_MAX ? (void *)rte_pktmbuf_append(m, (uint16_t)len) : NULL;
	size_t answer_len = 0;
	if (copy) {
		memcpy(copy, data, len);
		answer_len = kerf_wire_answer(copy, len, &net->self);
	}
	if (answer_len == 0 || answer_len > len) {
		net->drops[KERF_DROP_NOT_KERF]++;
		rte_pktmbuf_free(m);
		return NULL;
	}
	rte_pktmbuf_trim(m, (uint16_t)(len - answer_len));
	kerf_net_count_tx(net, m);
	return m;
}

static int drop(struct kerf_net *net, enum kerf_drop reason, int code)
{
	net->drops[reason]++;
	return code;
}

int kerf_net_receive(struct kerf_net *net, struct rte_mbuf *m, struct kerf_header *h,
	const uint8_t **payload, size_t *payload_len, struct rte_mbuf **answer)
{
	const uint8_t *data = rte_pktmbuf_mtod(m, const uint8_t *);
	size_t len = rte_pktmbuf_data_len(m);

	*answer = NULL;
	net->rx_packets++;
	net->rx_bytes += rte_pktmbuf_pkt_len(m);
	if (m->nb_segs != 1)
		return drop(net, KERF_DROP_MALFORMED, -EBADMSG);
	if (is_for_other(net, data, len))
		return drop(net, KERF_DROP_NOT_FOR_US, -EADDRNOTAVAIL);

	int rc = kerf_wire_parse(data, len, h, payload_len);
	switch (rc) {
	case 0:
		*payload = data + sizeof(struct kerf_wire_packet);
		return 0;
	case -EPROTO:
		if (!may_be_answered(data, len))
			return drop(net, KERF_DROP_NOT_KERF, rc);
		*answer = answer_to(net, data, len);
		return rc;
	case -EPROTONOSUPPORT: return drop(net, KERF_DROP_VERSION, rc);
	default: return drop(net, KERF_DROP_MALFORMED, rc);
	}
}
