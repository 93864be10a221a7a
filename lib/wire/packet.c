#include "wire/wire.h"

#include <endian.h>
#include <string.h>

#define ETHERTYPE_IPV4 0x0800
#define IPV4_VERSION_IHL 0x45 /* version 4, header of 5 words: no options */
#define IPV4_DONT_FRAGMENT 0x4000
#define IPV4_FRAGMENT_MASK 0x3fff /* more fragments, offset */
#define IPV4_TTL 64
#define IPPROTO_NUMBER_UDP 17
#define TX_MASK ((1ull << 48) - 1)

#define UDP_BYTES (sizeof(struct kerf_wire_udp) + sizeof(struct kerf_wire_header))

/* One's complement sums do not care about byte order (RFC 1071, 2B): native words in, native out.
 * */
uint16_t kerf_wire_checksum(const void *data, size_t len)
{
	const uint8_t *bytes = data;
	uint64_t sum = 0;

	for (; len >= 4; len -= 4, bytes += 4) {
		uint32_t words;
		memcpy(&words, bytes, sizeof(words));
		sum += words;
	}
	uint16_t rest[2] = {0};
	memcpy(rest, bytes, len);
	sum += (uint32_t)rest[0] + rest[1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

void kerf_wire_restamp(struct kerf_wire_packet *p, uint64_t tx_ns, uint8_t flags, uint8_t try_no)
{
	p->kerf.flags_try = (uint8_t)((flags & 0xf) << 4 | KERF_MIN(try_no, 15));
	p->kerf.tx_high = htole16((uint16_t)((tx_ns & TX_MASK) >> 32));
	p->kerf.tx_low = htole32((uint32_t)tx_ns);
}

static void build_kerf(struct kerf_wire_packet *p, const struct kerf_header *h)
{
	assert(h->type >= KERF_MSG_HELLO && h->type <= KERF_MSG_ERROR && h->index < h->count);
	p->kerf = (struct kerf_wire_header){
		.version_type = (uint8_t)(KERF_WIRE_VERSION << 4 | h->type),
		.session = htole16(h->session),
		.frame = htole32(h->frame),
		.index = htole16(h->index),
		.count = htole16(h->count),
		.cut = htole16(h->cut),
		.codec = h->codec,
	};
	kerf_wire_restamp(p, h->tx_ns, h->flags, h->try_no);
}

void kerf_wire_build(struct kerf_wire_packet *p, const struct kerf_address *from,
	const struct kerf_address *to, const struct kerf_header *h, size_t payload_len)
{
	assert(payload_len <= KERF_PAYLOAD_MAX);
	size_t udp_len = UDP_BYTES + payload_len;

	memcpy(p->ethernet.dst, to->mac, sizeof(p->ethernet.dst));
	memcpy(p->ethernet.src, from->mac, sizeof(p->ethernet.src));
	p->ethernet.ethertype = htobe16(ETHERTYPE_IPV4);
	/* Identification 0 is allowed because the datagram cannot be fragmented (RFC 6864). */
	p->ipv4 = (struct kerf_wire_ipv4){
		.version_ihl = IPV4_VERSION_IHL,
		.length = htobe16((uint16_t)(sizeof(p->ipv4) + udp_len)),
		.fragment = htobe16(IPV4_DONT_FRAGMENT),
		.ttl = IPV4_TTL,
		.protocol = IPPROTO_NUMBER_UDP,
		.src = htobe32(from->ip),
		.dst = htobe32(to->ip),
	};
	p->ipv4.checksum = kerf_wire_checksum(&p->ipv4, sizeof(p->ipv4));
	p->udp = (struct kerf_wire_udp){
		.src = htobe16(from->port),
		.dst = htobe16(to->port),
		.length = htobe16((uint16_t)udp_len),
	};
	build_kerf(p, h);
}

/*
 * Everything below kerf. *datagram is the length of UDP and what it carries. A UDP checksum is not
 * looked at: kerf sends none, and offloading stacks leave it unfinished on virtual links.
 */
static int parse_udp(const struct kerf_wire_packet *p, size_t len, size_t *datagram)
{
	const size_t ethernet = sizeof(p->ethernet), ip_header = sizeof(p->ipv4);

	if (len < ethernet)
		return -EBADMSG;
	if (p->ethernet.ethertype != htobe16(ETHERTYPE_IPV4))
		return -EPROTO;
	if (len < ethernet + ip_header || p->ipv4.version_ihl >> 4 != 4 ||
		(p->ipv4.version_ihl & 0xf) < 5)
		return -EBADMSG;
	if (p->ipv4.version_ihl != IPV4_VERSION_IHL || p->ipv4.protocol != IPPROTO_NUMBER_UDP ||
		be16toh(p->ipv4.fragment) & IPV4_FRAGMENT_MASK)
		return -EPROTO;

	size_t ip_len = be16toh(p->ipv4.length);
	if (ip_len > len - ethernet || ip_len < ip_header + sizeof(p->udp) ||
		kerf_wire_checksum(&p->ipv4, ip_header) != 0)
		return -EBADMSG;
	*datagram = be16toh(p->udp.length);
	return *datagram == ip_len - ip_header ? 0 : -EBADMSG;
}

static int parse_kerf(const struct kerf_wire_header *w, struct kerf_header *h)
{
	*h = (struct kerf_header){
		.type = w->version_type & 0xf,
		.session = le16toh(w->session),
	};
	if (w->version_type >> 4 != KERF_WIRE_VERSION)
		return -EPROTONOSUPPORT;
	h->flags = w->flags_try >> 4;
	h->try_no = w->flags_try & 0xf;
	h->frame = le32toh(w->frame);
	h->index = le16toh(w->index);
	h->count = le16toh(w->count);
	h->tx_ns = (uint64_t)le16toh(w->tx_high) << 32 | le32toh(w->tx_low);
	h->cut = le16toh(w->cut);
	h->codec = w->codec;
	if (h->type < KERF_MSG_HELLO || h->type > KERF_MSG_ERROR || h->flags & ~KERF_FLAG_ALL ||
		h->index >= h->count || w->reserved != 0)
		return -EBADMSG;
	return 0;
}

int kerf_wire_parse(const void *packet, size_t len, struct kerf_header *h, size_t *payload_len)
{
	const struct kerf_wire_packet *p = packet;
	size_t datagram;
	int rc = parse_udp(p, len, &datagram);

	if (rc < 0)
		return rc;
	if (datagram < UDP_BYTES)
		return -EBADMSG;
	*payload_len = datagram - UDP_BYTES;
	return parse_kerf(&p->kerf, h);
}

void kerf_wire_source(const void *packet, struct kerf_address *from)
{
	const struct kerf_wire_packet *p = packet;

	memcpy(from->mac, p->ethernet.src, sizeof(from->mac));
	from->ip = be32toh(p->ipv4.src);
	from->port = be16toh(p->udp.src);
}

int kerf_wire_destination(const void *packet, size_t len, struct kerf_address *to)
{
	const struct kerf_wire_packet *p = packet;
	size_t datagram;
	int rc = parse_udp(p, len, &datagram);

	if (rc < 0)
		return rc;
	memcpy(to->mac, p->ethernet.dst, sizeof(to->mac));
	to->ip = be32toh(p->ipv4.dst);
	to->port = be16toh(p->udp.dst);
	return 0;
}
