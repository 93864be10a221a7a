#include "wire/wire.h"

#include <endian.h>
#include <string.h>

#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ARP_HARDWARE_ETHERNET 1
#define ARP_REQUEST 1
#define ARP_REPLY 2
#define IPPROTO_NUMBER_ICMP 1
#define ICMP_ECHO_REQUEST 8
#define ICMP_ECHO_REPLY 0
#define FIRST_MULTICAST_IP 0xe0000000u /* 224.0.0.0; what follows is no host's address */

struct arp_packet {
	struct kerf_wire_ethernet ethernet;
	struct kerf_wire_arp arp;
} __attribute__((packed));

struct echo_packet {
	struct kerf_wire_ethernet ethernet;
	struct kerf_wire_ipv4 ipv4;
	struct kerf_wire_icmp icmp;
} __attribute__((packed));

static_assert(sizeof(struct arp_packet) == 42 && sizeof(struct echo_packet) == 42, "layout");

/* A multicast or zero source would make an answer go to everybody, or nobody. */
static bool is_unicast(const uint8_t mac[6])
{
	static const uint8_t zero[6];

	return !(mac[0] & 1) && memcmp(mac, zero, sizeof(zero)) != 0;
}

static bool is_arp(const struct arp_packet *p, size_t len)
{
	return len >= sizeof(*p) && p->ethernet.ethertype == htobe16(ETHERTYPE_ARP) &&
		p->arp.hardware == htobe16(ARP_HARDWARE_ETHERNET) &&
		p->arp.protocol == htobe16(ETHERTYPE_IPV4) && p->arp.hardware_len == 6 &&
		p->arp.protocol_len == 4 && is_unicast(p->arp.sender_mac);
}

static size_t answer_arp(struct arp_packet *p, size_t len, const struct kerf_address *self)
{
	if (!is_arp(p, len) || p->arp.operation != htobe16(ARP_REQUEST) ||
		be32toh(p->arp.target_ip) != self->ip)
		return 0;
	p->arp.operation = htobe16(ARP_REPLY);
	memcpy(p->arp.target_mac, p->arp.sender_mac, 6);
	p->arp.target_ip = p->arp.sender_ip;
	memcpy(p->arp.sender_mac, self->mac, 6);
	p->arp.sender_ip = htobe32(self->ip);
	memcpy(p->ethernet.dst, p->arp.target_mac, 6);
	memcpy(p->ethernet.src, self->mac, 6);
	return sizeof(*p);
}

/* Length of the ICMP message if the packet is an intact echo request for self, else 0. */
static size_t echo_len(const struct echo_packet *p, size_t len, const struct kerf_address *self)
{
	if (len < sizeof(*p) || p->ethernet.ethertype != htobe16(ETHERTYPE_IPV4) ||
		p->ipv4.version_ihl != 0x45 || be16toh(p->ipv4.fragment) & 0x3fff ||
		p->ipv4.protocol != IPPROTO_NUMBER_ICMP || be32toh(p->ipv4.dst) != self->ip)
		return 0;

	uint32_t src = be32toh(p->ipv4.src);
	size_t ip_len = be16toh(p->ipv4.length);
	if (src == 0 || src >= FIRST_MULTICAST_IP || !is_unicast(p->ethernet.src) ||
		ip_len < sizeof(p->ipv4) + sizeof(p->icmp) || ip_len > len - sizeof(p->ethernet) ||
		kerf_wire_checksum(&p->ipv4, sizeof(p->ipv4)) != 0)
		return 0;

	size_t icmp_len = ip_len - sizeof(p->ipv4);
	if (p->icmp.type != ICMP_ECHO_REQUEST || p->icmp.code != 0 ||
		kerf_wire_checksum(&p->icmp, icmp_len) != 0)
		return 0;
	return icmp_len;
}

static size_t answer_echo(struct echo_packet *p, size_t len, const struct kerf_address *self)
{
	size_t icmp_len = echo_len(p, len, self);

	if (icmp_len == 0)
		return 0;
	memcpy(p->ethernet.dst, p->ethernet.src, 6);
	memcpy(p->ethernet.src, self->mac, 6);
	p->ipv4.dst = p->ipv4.src;
	p->ipv4.src = htobe32(self->ip);
	p->ipv4.ttl = 64;
	p->ipv4.checksum = 0;
	p->ipv4.checksum = kerf_wire_checksum(&p->ipv4, sizeof(p->ipv4));
	p->icmp.type = ICMP_ECHO_REPLY;
	p->icmp.checksum = 0;
	p->icmp.checksum = kerf_wire_checksum(&p->icmp, icmp_len);
	return sizeof(p->ethernet) + sizeof(p->ipv4) + icmp_len;
}

size_t kerf_wire_answer(void *packet, size_t len, const struct kerf_address *self)
{
	size_t n = answer_arp(packet, len, self);

	return n ? n : answer_echo(packet, len, self);
}

size_t kerf_wire_arp_request(void *packet, const struct kerf_address *self, uint32_t ip)
{
	struct arp_packet *p = packet;

	*p = (struct arp_packet){
		.ethernet.ethertype = htobe16(ETHERTYPE_ARP),
		.arp.hardware = htobe16(ARP_HARDWARE_ETHERNET),
		.arp.protocol = htobe16(ETHERTYPE_IPV4),
		.arp.hardware_len = 6,
		.arp.protocol_len = 4,
		.arp.operation = htobe16(ARP_REQUEST),
		.arp.sender_ip = htobe32(self->ip),
		.arp.target_ip = htobe32(ip),
	};
	memset(p->ethernet.dst, 0xff, 6);
	memcpy(p->ethernet.src, self->mac, 6);
	memcpy(p->arp.sender_mac, self->mac, 6);
	return sizeof(*p);
}

bool kerf_wire_arp_learn(const void *packet, size_t len, uint32_t ip, uint8_t mac[6])
{
	const struct arp_packet *p = packet;

	if (!is_arp(p, len) || be32toh(p->arp.sender_ip) != ip)
		return false;
	if (p->arp.operation != htobe16(ARP_REQUEST) && p->arp.operation != htobe16(ARP_REPLY))
		return false;
	memcpy(mac, p->arp.sender_mac, 6);
	return true;
}
