/*
 * transport: messages over mbufs. A message is one frame's tensors (DATA), one frame's output
 * (RESULT) or a probe train; a sender paces it out and repeats what was lost, a receiver decodes
 * each packet the moment it arrives and reports. Both are state machines: packets and `now` in,
 * packets out. Nothing here blocks, logs, allocates from the heap after creation, or reads a clock.
 *
 *	kerf_sender_start(&s, &net, &msg, now);
 *	n = kerf_sender_poll(&s, now, pkts, 32);          // what is due; the caller transmits it
 *	kerf_sender_report(&s, &report, now);             // the peer told what is missing
 *	if (s.state == KERF_SENDER_DONE) ...
 *
 *	kerf_receiver_start(&r, &first_header, parts, n_parts, now);
 *	kerf_receiver_packet(&r, &h, payload, len, rx_ns);
 *	if (kerf_receiver_report_due(&r, now)) ...
 *
 * Ownership: a packet is encoded once, into an mbuf that the sender keeps by reference until the
 * peer has it; kerf_sender_poll hands out an extra reference, which transmitting consumes. A repeat
 * is the same mbuf, restamped, and only when nobody else holds it (refcnt 1): a header that may
 * still be in flight is never rewritten.
 */
#pragma once

#include <rte_mbuf.h>

#include "codec/codec.h"
#include "link/link.h"
#include "wire/wire.h"

/* ---- one end of the wire ---- */

/* Why a packet went nowhere. Every packet that is not used is counted under exactly one reason. */
enum kerf_drop {
	KERF_DROP_NOT_KERF,     /* other protocols on the same wire, not answered either */
	KERF_DROP_NOT_FOR_US,   /* other IP address or UDP port */
	KERF_DROP_VERSION,      /* other protocol version */
	KERF_DROP_MALFORMED,    /* failed to parse */
	KERF_DROP_SESSION,      /* unknown or old session */
	KERF_DROP_STALE,        /* frame already finished or cancelled */
	KERF_DROP_DUPLICATE,    /* packet was here before */
	KERF_DROP_NO_CONTEXT,   /* server: every context is busy */
	KERF_DROP_NO_MBUF,      /* pool empty when a packet was to be built */
	KERF_DROP_UNEXPECTED,   /* a type that this end does not take, or contents that disagree */
	KERF_DROP_COUNT
};

const char *kerf_drop_name(enum kerf_drop reason); /* "not_kerf", ... as in JSON */

struct kerf_net {
	struct kerf_address self;
	struct rte_mempool
		*pool; /* packets are built from it: single segment, room >= 64 + payload */
	uint32_t payload_bytes;    /* largest payload behind the 64 bytes of headers */
	uint32_t overhead_bytes;   /* a packet occupies this on the link beside its L2 length */
	int timestamp_offset;      /* of the RX timestamp dynfield in mbufs, ns; negative = none */
	uint64_t timestamp_flag;   /* ol_flags bit that says it is valid */
	uint64_t drops[KERF_DROP_COUNT];
	uint64_t tx_packets, tx_bytes, rx_packets, rx_bytes; /* bytes: L2 length */
	uint64_t retransmits, probe_bytes;
};

/* A packet with headers built and payload_len bytes of room behind them (*payload), or NULL and
 * NO_MBUF counted. It is counted as sent: the caller transmits it. */
struct rte_mbuf *kerf_net_packet(struct kerf_net *net, const struct kerf_address *to,
	const struct kerf_header *h, size_t payload_len, void **payload);

/* When a received packet arrived: its RX timestamp if it has one, else poll_ns. */
uint64_t kerf_net_rx_time(const struct kerf_net *net, const struct rte_mbuf *m, uint64_t poll_ns);

/*
 * First look at a received packet. Returns 0 with *h, *payload (contiguous) and *payload_len when
 * it is a kerf packet for this end. Otherwise a negative errno with the reason counted, except when
 * it is an ARP or ICMP echo request that is answered: *answer is a new packet to transmit (else
 * NULL). The caller frees m in every case. Chained mbufs: -EBADMSG (every kerf packet fits one
 * segment).
 */
int kerf_net_receive(struct kerf_net *net, struct rte_mbuf *m, struct kerf_header *h,
	const uint8_t **payload, size_t *payload_len, struct rte_mbuf **answer);

/* ---- tensors of a message ---- */

/* One tensor that crosses. Exactly one of values and pixels is set. Sending: where to read.
 * Receiving: values is where to decode to; pixels where raw bytes go. With a codec of own length n is how many
 * bytes there are, or, receiving, how many there is room for. */
struct kerf_part {
	float *values;
	uint8_t *pixels;
	size_t n;
};

/* Blocks of all parts together, each part starting on a block of its own. */
uint64_t kerf_parts_blocks(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec);
uint64_t kerf_parts_bytes(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec);

/* Blocks [first, first+n) of the parts <-> bytes; returns bytes. */
size_t kerf_parts_encode(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec,
	uint64_t first, uint64_t n, void *dst);
/* -EBADMSG when len is not exactly what those blocks take. */
int kerf_parts_decode(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec,
	uint64_t first, uint64_t n, const void *src, size_t len);

/* ---- sender ---- */

#define KERF_MAX_PARTS 8

enum kerf_sender_state {
	KERF_SENDER_IDLE,    /* no message */
	KERF_SENDER_SENDING, /* packets are due or will be */
	KERF_SENDER_WAITING, /* all were sent once; reports decide */
	KERF_SENDER_DONE,    /* the peer has everything */
	KERF_SENDER_FAILED,  /* heard nothing for too long */
};

struct kerf_message {
	enum kerf_msg_type type; /* DATA, RESULT or PROBE */
	struct kerf_address to;
	uint16_t session;
	uint32_t frame;
	uint16_t cut;
	enum kerf_codec codec;
	struct kerf_part parts[KERF_MAX_PARTS];
	unsigned n_parts;
	struct kerf_descriptor descriptor; /* values, bytes, payload, cut, codec, n_tensors
					    * are filled in, a dimension of 0 becomes 1 */
	uint32_t probe_packets;            /* PROBE: train length; no parts */
	uint32_t payload_bytes;            /* of the session; 0 = the net's */
	double tau;                        /* pace: s per wire byte; 0 = as fast as asked */
	uint64_t rto_ns;                   /* silence after which the last packet is repeated;
					    * 0 = 100 ms */
	unsigned max_tries;                /* of that before FAILED; 0 = 8 */
};

struct kerf_sender {
	enum kerf_sender_state state;
	struct kerf_net *net;
	struct kerf_message msg;
	struct kerf_layout layout;
	struct rte_mbuf **held;  /* by packet index, NULL = not encoded yet or acknowledged */
	uint64_t *pending;       /* bitmap: to be sent (again) */
	uint64_t *sent_ns;       /* by packet index: the stamp it was last sent with */
	uint8_t *sends;          /* by packet index: how often it was sent */
	uint32_t capacity;       /* packets that the four arrays have room for */
	uint32_t encoded;        /* packets [0, encoded) are encoded */
	uint32_t cursor;         /* where to look for the next pending packet */
	uint32_t n_pending, n_held;
	uint32_t n_unsent;       /* packets that were never sent */
	uint64_t next_tx_ns;     /* pacing: not before */
	double pace_rest_ns;     /* fraction of a ns that next_tx_ns leaves out */
	uint64_t last_stamp_ns;  /* transmit time written last; no two packets have the same */
	uint64_t quiet_ns;       /* silence counts from here */
	uint64_t started_ns, heard_ns, finished_ns; /* started: with its first packet */
	uint64_t restarted_ns;   /* when all was sent anew because the peer knew nothing, or 0 */
	bool blocked;            /* due, but the pool is empty or every packet due is in flight */
	bool ask;                /* the next repeat asks for a report */
	unsigned tries;          /* silent timeouts in a row */
	uint64_t wire_bytes;     /* sent, repeats included */
	uint32_t repeats;
};

/* Room for messages of up to max_packets packets. 0 or -ENOMEM. */
int kerf_sender_create(struct kerf_sender *s, struct kerf_net *net, uint32_t max_packets);
void kerf_sender_destroy(struct kerf_sender *s);

/* Begins a message; the parts must stay as they are until every packet is encoded. 0, -EMSGSIZE
 * when it has more packets than the sender has room for or payload_bytes is below 128, -EINVAL when
 * the parts do not suit type and codec or are empty. */
int kerf_sender_start(struct kerf_sender *s, const struct kerf_message *msg, uint64_t now);
/* Packets due at `now`, at most max; encodes as it goes. */
unsigned kerf_sender_poll(struct kerf_sender *s, uint64_t now, struct rte_mbuf **pkts,
	unsigned max);
/* Encodes all that is not encoded yet, so that the parts may change. 0 or -ENOMEM: pool empty. */
int kerf_sender_encode_all(struct kerf_sender *s);
/*
 * The peer's report on this message. One that cannot be true (ranges out of order or bounds, more
 * received than there is, COMPLETE before everything was sent) is counted UNEXPECTED and changes
 * nothing.
 */
void kerf_sender_report(struct kerf_sender *s, const struct kerf_report *report, uint64_t now);
/* The peer has it all (its RESULT says so) or nobody wants it any more: drops every reference. */
void kerf_sender_finish(struct kerf_sender *s, enum kerf_sender_state state, uint64_t now);
/* When kerf_sender_poll has something to do next; UINT64_MAX = only a report can change anything.
 * */
uint64_t kerf_sender_next(const struct kerf_sender *s);

/* ---- receiver ---- */

/* Tensors on their way are reported every so many packets, or every this part of them if that is more. */
#define KERF_RECEIVER_PROGRESS_PACKETS 16
#define KERF_RECEIVER_PROGRESS_PARTS 4

struct kerf_receiver {
	bool active, complete, have_descriptor;
	bool sized; /* own length: it is known, and parts[0].n is it */
	enum kerf_msg_type type;
	uint16_t session, cut;
	uint32_t frame;
	enum kerf_codec codec;
	struct kerf_part parts[KERF_MAX_PARTS];
	unsigned n_parts;
	struct kerf_layout layout;
	struct kerf_descriptor descriptor;
	uint64_t *bitmap;      /* packets that are here */
	uint32_t capacity;
	uint32_t received;
	struct kerf_train train;
	uint64_t started_ns, last_rx_ns, taken_ns, completed_ns;
	uint64_t newest_tx_ns, newest_rx_ns; /* of the packet that left last; tx has 48 bits */
	uint64_t wire_bytes;   /* received, duplicates included, with link overhead */
	int64_t first_delay_ns;
	uint32_t payload_bytes;
	uint32_t train_end;    /* 1 + highest index that came at its first try */
	unsigned max_ranges;   /* that fit a report of the session's payload */
	unsigned silent_reports; /* since a packet came last */
	bool report_asked;     /* the sender asked, or the last packet came */
	uint32_t progress_due; /* packets received at which progress is reported next */
	uint64_t reported_ns;  /* when the last report went out; 0 = never */
	uint32_t reported_received;
	uint64_t silence_ns;   /* report what is missing after this much silence */
};

int kerf_receiver_create(struct kerf_receiver *r, uint32_t max_packets);
void kerf_receiver_destroy(struct kerf_receiver *r);

/*
 * Begins the message that the packet with header h belongs to, whichever packet of it came first.
 * payload_bytes is the session's, from which the layout follows. -EBADMSG when h->count does not
 * fit the parts, -EMSGSIZE when there is no room for it or payload_bytes is below 128.
 */
int kerf_receiver_start(struct kerf_receiver *r, const struct kerf_header *h,
	const struct kerf_part *parts, unsigned n_parts, uint32_t payload_bytes, uint64_t now);
/* A packet of this message; wire_len is its L2 length + overhead. Decodes it to its place. 0,
 * -EALREADY for a duplicate, -EBADMSG. PROBE: parts are none and payloads are ignored. */
int kerf_receiver_packet(struct kerf_receiver *r, const struct kerf_header *h,
	const uint8_t *payload, size_t payload_len, uint32_t wire_len, uint64_t rx_ns);
/*
 * The caller took in packets of this message at `now`. After a stall they may all have arrived long
 * before, with more of them still in the port's queue: that is no silence.
 */
void kerf_receiver_taken(struct kerf_receiver *r, uint64_t now);
/* A report should go out now: complete, asked for, progress (the first of these sooner when packets come in more than
 * twice the time in which they left), or silence with packets missing. */
bool kerf_receiver_report_due(const struct kerf_receiver *r, uint64_t now);
/* Fills the report as of now and remembers that it was sent; work_us is the caller's to set. */
void kerf_receiver_report(struct kerf_receiver *r, struct kerf_report *report, uint64_t now);
/* When kerf_receiver_report_due may become true by itself; UINT64_MAX = never. */
uint64_t kerf_receiver_next(const struct kerf_receiver *r);
/* Ends the message; the arrays stay for the next one. */
void kerf_receiver_finish(struct kerf_receiver *r);

/* A REPORT packet for a message of `peer`; NULL when the pool is empty. */
struct rte_mbuf *kerf_report_packet(struct kerf_net *net, const struct kerf_address *to,
	uint16_t session, uint32_t frame, const struct kerf_report *report, uint64_t now);
