/*
 * wire: every struct that travels, and nothing else.
 *
 * Ethernet + IPv4 + UDP + the 22-byte kerf header are 64 bytes, so that the payload behind them is
 * 64-byte aligned. kerf's own fields are little endian. A message is all packets with the same
 * (session, type, frame); packet 0 of a DATA or RESULT message starts with a descriptor, and what
 * fits beside it rides along. Every packet names cut and codec in its header, so each decodes
 * alone, in any order, even when packet 0 is lost.
 *
 *	struct kerf_header h;
 *	if (kerf_wire_parse(packet, len, &h) == 0 && h.type == KERF_MSG_DATA) ...
 *
 * Parsing trusts nothing: a value outside its range is -EBADMSG, never undefined behaviour.
 */
#pragma once

#include <assert.h>

#include "core/core.h"

#define KERF_WIRE_VERSION 3
#define KERF_UDP_PORT 4747

enum kerf_msg_type {
	KERF_MSG_HELLO = 1,     /* device -> server: who I am, what I run; asks for a session */
	KERF_MSG_HELLO_ACK = 2, /* server -> device: session granted (header.session) */
	KERF_MSG_DATA = 3,      /* device -> server: the tensors that cross the cut */
	KERF_MSG_REPORT = 4,    /* receiver -> sender of DATA, RESULT or PROBE */
	KERF_MSG_RESULT = 5,    /* server -> device: the network's output */
	KERF_MSG_PROBE = 6,     /* device -> server: a packet train, payload means nothing */
	KERF_MSG_CANCEL = 7,    /* device -> server: drop this frame */
	KERF_MSG_BYE = 8,       /* either way: the session ends */
	KERF_MSG_ERROR = 9,     /* refusal, with a reason for people */
};

/* Flags of the header (4 bits). */
#define KERF_FLAG_REPORT_NOW 0x1 /* sender has heard nothing: answer with a REPORT at once */
#define KERF_FLAG_ALL KERF_FLAG_REPORT_NOW

struct kerf_wire_ethernet {
	uint8_t dst[6], src[6];
	uint16_t ethertype; /* big endian */
} __attribute__((packed));

struct kerf_wire_ipv4 {
	uint8_t version_ihl, tos;
	uint16_t length, id, fragment; /* big endian, as all of this struct */
	uint8_t ttl, protocol;
	uint16_t checksum;
	uint32_t src, dst;
} __attribute__((packed));

struct kerf_wire_udp {
	uint16_t src, dst, length, checksum; /* big endian; checksum 0 = none (RFC 768) */
} __attribute__((packed));

struct kerf_wire_header {
	uint8_t version_type; /* version << 4 | enum kerf_msg_type */
	uint8_t flags_try;    /* KERF_FLAG_* << 4 | times sent before, up to 15 */
	uint16_t session;
	uint32_t frame;
	uint16_t index, count; /* packet of message; index < count */
	uint16_t tx_high;      /* transmit time in ns of the sender's clock, 48 bits: upper 16 */
	uint32_t tx_low;
	uint16_t cut;
	uint8_t codec;
	uint8_t reserved; /* 0 */
} __attribute__((packed));

struct kerf_wire_packet {
	struct kerf_wire_ethernet ethernet;
	struct kerf_wire_ipv4 ipv4;
	struct kerf_wire_udp udp;
	struct kerf_wire_header kerf;
} __attribute__((packed));

static_assert(sizeof(struct kerf_wire_header) == 22, "kerf header");
static_assert(sizeof(struct kerf_wire_packet) == 64, "payload must be 64-byte aligned");

/* What one IPv4 datagram can carry behind the kerf header. */
#define KERF_PAYLOAD_MAX (UINT16_MAX - 20 - 8 - 22)

/* ARP for IPv4 over Ethernet (RFC 826), behind the Ethernet header. Big endian. */
struct kerf_wire_arp {
	uint16_t hardware, protocol;
	uint8_t hardware_len, protocol_len;
	uint16_t operation; /* 1 request, 2 reply */
	uint8_t sender_mac[6];
	uint32_t sender_ip;
	uint8_t target_mac[6];
	uint32_t target_ip;
} __attribute__((packed));

/* ICMP echo (RFC 792), behind the IPv4 header. Big endian. */
struct kerf_wire_icmp {
	uint8_t type, code; /* 8 request, 0 reply */
	uint16_t checksum, id, sequence;
} __attribute__((packed));

static_assert(sizeof(struct kerf_wire_arp) == 28 && sizeof(struct kerf_wire_icmp) == 8, "layout");

/* Start of packet 0's payload in DATA and RESULT. */
struct kerf_wire_descriptor {
	uint64_t values;        /* f32 or u8 values in all tensors of the message */
	uint64_t bytes;         /* of encoded tensors, descriptor not counted */
	uint32_t payload_bytes; /* what a packet may carry behind its header: fixes the layout */
	uint16_t cut;
	uint8_t codec;
	uint8_t n_tensors;
	uint32_t dims[4];     /* of the first tensor, NHWC, missing ones 1, product <= values */
	uint64_t deadline_ns; /* after the first packet; 0 = none */
	uint64_t queue_ns;    /* RESULT: the frame waited this long for the engine */
	uint64_t tail_ns;     /* RESULT: computing took this long */
} __attribute__((packed));

static_assert(sizeof(struct kerf_wire_descriptor) == 64, "descriptor");

/* Body of HELLO and HELLO_ACK. */
struct kerf_wire_hello {
	uint8_t digest[KERF_DIGEST_LEN]; /* of the model */
	uint64_t fingerprint;            /* of the engine: equal = bit-equal results */
	uint64_t whole_ns;               /* the whole network on this machine, 0 = unknown */
	uint32_t nonce;                  /* of the device's incarnation; echoed in the ACK */
	uint32_t codecs;                 /* bit i = codec i is spoken */
	uint32_t payload_bytes;          /* largest behind the header; the ACK has the minimum */
	uint32_t pixel_channels;         /* struct kerf_pixel_format; 0 = no pixel input */
	uint32_t pixel_scale[4], pixel_bias[4]; /* f32 bits */
	char fingerprint_text[64];       /* padded with zeros */
	uint64_t picture;                /* how a JPEG becomes pixels: equal = equal pixels; 0 = not spoken */
} __attribute__((packed));

static_assert(sizeof(struct kerf_wire_hello) == 152, "hello");

/* Codes of ERROR. */
enum kerf_wire_error_code {
	KERF_ERROR_VERSION = 1, /* protocol version differs */
	KERF_ERROR_MODEL = 2,   /* model digest differs */
	KERF_ERROR_CODEC = 3,   /* no codec in common */
	KERF_ERROR_FULL = 4,    /* no more sessions */
	KERF_ERROR_SESSION = 5, /* session unknown: the server was restarted; say HELLO again */
};

struct kerf_wire_error {
	uint16_t code;
	char text[126]; /* for people, zero-terminated */
} __attribute__((packed));

static_assert(sizeof(struct kerf_wire_error) == 128, "error");

#define KERF_REPORT_COMPLETE 0x1 /* every packet of the message is here */
#define KERF_REPORT_BUSY 0x2     /* the frame is dropped: no context is free for it, or it is no picture */
#define KERF_REPORT_UNKNOWN 0x4  /* nothing is known of this frame (any more) */
#define KERF_REPORT_ALL (KERF_REPORT_COMPLETE | KERF_REPORT_BUSY | KERF_REPORT_UNKNOWN)

/* Body of REPORT; header.frame is the frame reported on. n_ranges missing ranges follow: none
 * empty, ascending, disjoint. */
struct kerf_wire_report {
	uint8_t of_type; /* KERF_MSG_DATA, RESULT or PROBE */
	uint8_t label;   /* enum kerf_link_label */
	uint8_t flags;   /* KERF_REPORT_* */
	uint8_t reserved;
	uint16_t received; /* distinct packets */
	uint16_t n_ranges;
	uint64_t first_delay_ns; /* rx minus tx time of the first packet (signed) */
	uint64_t duration_ns;    /* first to last receive time */
	uint64_t echo_tx_ns;     /* transmit time in the header of the newest packet */
	uint32_t hold_ns;        /* from that packet's arrival to this report */
	uint32_t wire_bytes;     /* received, with link overhead */
	uint64_t tau;            /* f64 bits: seconds per byte of the link, 0 = no sample */
	uint32_t tau_error;      /* f32 bits: relative bound */
	uint32_t work_us;        /* computing queued at the receiver */
	uint32_t slowdown;       /* f32 bits: how many times as long as HELLO_ACK's whole_ns promises its tails
				  * take of late, 0 = it has computed none */
	uint32_t reserved2;
} __attribute__((packed));

static_assert(sizeof(struct kerf_wire_report) == 64, "report");

struct kerf_wire_range {
	uint16_t first, count;
} __attribute__((packed));

#define KERF_REPORT_MAX_RANGES 256

/* ---- host form ---- */

struct kerf_header {
	enum kerf_msg_type type;
	uint8_t flags, try_no;
	uint16_t session;
	uint32_t frame;
	uint16_t index, count;
	uint64_t tx_ns; /* 48 bits */
	uint16_t cut;
	uint8_t codec;
};

struct kerf_hello {
	uint8_t digest[KERF_DIGEST_LEN];
	uint64_t fingerprint, whole_ns;
	uint32_t nonce, codecs, payload_bytes, pixel_channels;
	float pixel_scale[4], pixel_bias[4];
	char fingerprint_text[64];
	uint64_t picture;
};

struct kerf_report {
	enum kerf_msg_type of_type;
	uint8_t label, flags;
	uint16_t received, n_ranges;
	int64_t first_delay_ns;
	uint64_t duration_ns, echo_tx_ns;
	uint32_t hold_ns, wire_bytes;
	double tau;
	float tau_error;
	uint32_t work_us;
	float slowdown;
	struct { uint16_t first, count; } ranges[KERF_REPORT_MAX_RANGES];
};

struct kerf_descriptor {
	uint64_t values, bytes, deadline_ns, queue_ns, tail_ns;
	uint32_t payload_bytes, dims[4];
	uint16_t cut;
	uint8_t codec, n_tensors;
};

/* Addresses of one end; ip and port in host order. */
struct kerf_address {
	uint8_t mac[6];
	uint32_t ip;
	uint16_t port;
};

/*
 * Writes the 64 bytes of headers for a payload of payload_len bytes: IPv4 checksum set, no
 * fragments, UDP checksum 0.
 */
void kerf_wire_build(struct kerf_wire_packet *p, const struct kerf_address *from,
	const struct kerf_address *to, const struct kerf_header *h, size_t payload_len);
/* Rewrites only transmit time, flags and try of a packet built before. */
void kerf_wire_restamp(struct kerf_wire_packet *p, uint64_t tx_ns, uint8_t flags, uint8_t try_no);

/*
 * Reads a received packet of len bytes that starts at Ethernet. 0 and *h, or -EPROTO: not a kerf
 * packet (other ethertype, protocol, fragment), -EPROTONOSUPPORT: other kerf version (h->type and
 * h->session are set), -EBADMSG: malformed. *payload_len is UDP's, not the frame's (which may be
 * padded to 60 bytes).
 */
int kerf_wire_parse(const void *packet, size_t len, struct kerf_header *h, size_t *payload_len);
/* Source of a packet that parsed. */
void kerf_wire_source(const void *packet, struct kerf_address *from);
/* Whom a UDP packet is for, kerf or not: 0 and *to, or -EPROTO and -EBADMSG as above. Tells other
 * people's UDP from a kerf packet gone bad. */
int kerf_wire_destination(const void *packet, size_t len, struct kerf_address *to);
/* Internet checksum (RFC 1071) as it is stored; 0 over data that contains a correct one. */
uint16_t kerf_wire_checksum(const void *data, size_t len);

/* Bodies: build returns bytes written (dst is large enough by contract), parse 0 or -EBADMSG. */
size_t kerf_wire_put_hello(void *dst, const struct kerf_hello *h);
int kerf_wire_get_hello(const void *src, size_t len, struct kerf_hello *h);
size_t kerf_wire_put_error(void *dst, enum kerf_wire_error_code code, const char *text);
int kerf_wire_get_error(const void *src, size_t len, uint16_t *code, char text[126]);
size_t kerf_wire_put_report(void *dst, const struct kerf_report *r);
int kerf_wire_get_report(const void *src, size_t len, struct kerf_report *r);
size_t kerf_wire_put_descriptor(void *dst, const struct kerf_descriptor *d);
int kerf_wire_get_descriptor(const void *src, size_t len, struct kerf_descriptor *d);

/* Answers to ARP requests and ICMP echo requests for `self`: turns the packet around in place.
 * Returns the length to send, or 0 when it is no such request. */
size_t kerf_wire_answer(void *packet, size_t len, const struct kerf_address *self);
/* Builds an ARP request for ip; returns its length (42). */
size_t kerf_wire_arp_request(void *packet, const struct kerf_address *self, uint32_t ip);
/* MAC of `ip` if the packet is an ARP reply (or request) that tells it; true and mac. */
bool kerf_wire_arp_learn(const void *packet, size_t len, uint32_t ip, uint8_t mac[6]);

/* ---- how blocks lie in packets ---- */

/*
 * A message of n_blocks codec blocks: packet 0 carries the descriptor and then as many whole blocks
 * as fit, every other packet as many as fit.
 */
struct kerf_layout {
	uint32_t n_blocks;
	uint32_t block_bytes;
	uint32_t first_blocks; /* in packet 0 */
	uint32_t per_packet;   /* in the others */
	uint32_t n_packets;    /* 1 .. 65535 */
};

/* 0, or -EMSGSIZE when it takes more than 65535 packets or a payload cannot hold a block; -EINVAL
 * for blocks of no bytes. No blocks at all are one packet, the descriptor's. */
int kerf_layout_make(struct kerf_layout *l, uint64_t n_blocks, uint32_t block_bytes,
	uint32_t payload_bytes);
/* Blocks [*first, *first + *n) ride in packet `index`, behind *offset bytes of payload. */
void kerf_layout_packet(const struct kerf_layout *l, uint32_t index, uint32_t *first, uint32_t *n,
	uint32_t *offset);

/* Bytes a message takes on the link: payloads, descriptor, 64 bytes of headers and `overhead`
 * bytes a packet (Ethernet: preamble 8, FCS 4, gap 12). */
uint64_t kerf_layout_wire_bytes(const struct kerf_layout *l, uint64_t data_bytes,
	uint32_t overhead);
