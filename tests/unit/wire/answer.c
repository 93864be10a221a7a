#include "golden.h"
#include "unit.h"
#include "wire/wire.h"

#include <string.h>

static const struct kerf_address asker = {{2, 0, 0, 0, 0, 1}, 0x0a000001, 0};
static const struct kerf_address self = {{2, 0, 0, 0, 0, 2}, 0x0a000002, 0};

#define PING_LEN sizeof(golden_ping)

static void test_arp_request_bytes(void)
{
	uint8_t packet[64];

	memset(packet, 0xee, sizeof(packet));
	CU_ASSERT_EQUAL(kerf_wire_arp_request(packet, &asker, self.ip), 42);
	CU_ASSERT_EQUAL(memcmp(packet, golden_arp, sizeof(golden_arp)), 0);
}

static void test_arp_is_answered_and_learnt(void)
{
	uint8_t packet[60] = {0}, mac[6];

	memcpy(packet, golden_arp, sizeof(golden_arp));
	CU_ASSERT(kerf_wire_arp_learn(packet, sizeof(packet), asker.ip, mac));
	CU_ASSERT_EQUAL(memcmp(mac, asker.mac, 6), 0);
	CU_ASSERT_EQUAL(kerf_wire_answer(packet, sizeof(packet), &self), 42);
	CU_ASSERT_EQUAL(memcmp(packet, "\2\0\0\0\0\1\2\0\0\0\0\2\x8\x6\0\1\x8\0\6\4\0\2", 22), 0);
	CU_ASSERT_EQUAL(memcmp(packet + 22, "\2\0\0\0\0\2\xa\0\0\2\2\0\0\0\0\1\xa\0\0\1", 20), 0);
	CU_ASSERT(kerf_wire_arp_learn(packet, 42, self.ip, mac));
	CU_ASSERT_EQUAL(memcmp(mac, self.mac, 6), 0);
	CU_ASSERT_FALSE(kerf_wire_arp_learn(packet, 42, asker.ip, mac)); /* not the sender's */
	CU_ASSERT_EQUAL(kerf_wire_answer(packet, 42, &asker), 0); /* a reply is not answered */
}

static size_t arp_with(size_t offset, uint8_t value)
{
	uint8_t packet[42];

	memcpy(packet, golden_arp, sizeof(packet));
	packet[offset] = value;
	return kerf_wire_answer(packet, sizeof(packet), &self);
}

static void test_arp_for_others(void)
{
	uint8_t packet[42], mac[6];

	CU_ASSERT_EQUAL(arp_with(41, 3), 0);  /* another address */
	CU_ASSERT_EQUAL(arp_with(15, 6), 0);  /* token ring */
	CU_ASSERT_EQUAL(arp_with(18, 8), 0);  /* longer hardware addresses */
	CU_ASSERT_EQUAL(arp_with(19, 16), 0); /* IPv6-sized protocol addresses */
	CU_ASSERT_EQUAL(arp_with(21, 2), 0);  /* a reply */
	CU_ASSERT_EQUAL(arp_with(22, 3), 0);  /* sender claims a multicast MAC */
	CU_ASSERT_EQUAL(arp_with(0, 0xff), 42);
	memcpy(packet, golden_arp, sizeof(packet));
	CU_ASSERT_EQUAL(kerf_wire_answer(packet, 41, &self), 0);
	CU_ASSERT_FALSE(kerf_wire_arp_learn(packet, 41, asker.ip, mac));
	packet[21] = 3; /* RARP */
	CU_ASSERT_FALSE(kerf_wire_arp_learn(packet, 42, asker.ip, mac));
}

static void test_ping_is_answered(void)
{
	uint8_t packet[PING_LEN + 13];

	memset(packet, 0xee, sizeof(packet)); /* padding, which is not sent back */
	memcpy(packet, golden_ping, PING_LEN);
	CU_ASSERT_EQUAL(kerf_wire_answer(packet, sizeof(packet), &self), PING_LEN);
	CU_ASSERT_EQUAL(memcmp(packet, golden_pong, PING_LEN), 0);
	CU_ASSERT_EQUAL(kerf_wire_answer(packet, PING_LEN, &asker), 0); /* no answer to an answer */
}

/* Changes a byte of the ping, makes both checksums right again if asked, and answers. */
static size_t ping_with(size_t offset, uint8_t value, bool repair)
{
	uint8_t packet[PING_LEN];
	struct kerf_wire_ipv4 *ip = (void *)(packet + 14);
	struct kerf_wire_icmp *icmp = (void *)(packet + 34);

	memcpy(packet, golden_ping, PING_LEN);
	packet[offset] = value;
	if (repair) {
		ip->checksum = icmp->checksum = 0;
		ip->checksum = kerf_wire_checksum(ip, sizeof(*ip));
		icmp->checksum = kerf_wire_checksum(icmp, PING_LEN - 34);
	}
	return kerf_wire_answer(packet, PING_LEN, &self);
}

static void test_pings_that_are_not_answered(void)
{
	CU_ASSERT_EQUAL(ping_with(38, 0x99, true), PING_LEN); /* the repair works: another id */
	CU_ASSERT_EQUAL(ping_with(38, 0x99, false), 0);       /* ICMP checksum */
	CU_ASSERT_EQUAL(ping_with(22, 9, false), 0);          /* IPv4 checksum */
	CU_ASSERT_EQUAL(ping_with(33, 3, true), 0);           /* for another address */
	CU_ASSERT_EQUAL(ping_with(14, 0x46, true), 0);        /* options */
	CU_ASSERT_EQUAL(ping_with(20, 0x20, true), 0);        /* fragment */
	CU_ASSERT_EQUAL(ping_with(23, 17, true), 0);          /* UDP */
	CU_ASSERT_EQUAL(ping_with(34, 13, true), 0);          /* timestamp request */
	CU_ASSERT_EQUAL(ping_with(35, 1, true), 0);           /* code */
	CU_ASSERT_EQUAL(ping_with(26, 0xe0, true), 0);        /* from a multicast address */
	CU_ASSERT_EQUAL(ping_with(17, 0x22, true), 0);        /* longer than the frame */
	CU_ASSERT_EQUAL(ping_with(17, 0x1b, true), 0);        /* no room for ICMP */
	CU_ASSERT_EQUAL(ping_with(6, 0x03, true), 0);         /* from a multicast MAC */
	for (size_t len = 0; len < PING_LEN; len++) {
		uint8_t *exact = malloc(len ? len : 1);
		memcpy(exact, golden_ping, len);
		CU_ASSERT_EQUAL(kerf_wire_answer(exact, len, &self), 0);
		free(exact);
	}
}

UNIT_MAIN("wire.answer", UNIT(test_arp_request_bytes), UNIT(test_arp_is_answered_and_learnt),
	UNIT(test_arp_for_others), UNIT(test_ping_is_answered),
	UNIT(test_pings_that_are_not_answered))
