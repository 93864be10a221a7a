/*
 * The emulator as its own files see it. A packet's way: push (linkem.c) draws its fate (chance.c),
 * lets it into the queue; it starts at once, or when CoDel lets it (codel.c), on the link (rate.c),
 * and is put among those held until their delivery (release.c), from where pull takes it.
 */
#pragma once

#include "linkem/linkem.h"

#include <rte_ethdev.h>

#define LINKEM_NEVER UINT64_MAX

/* Work of the link in 1e-12 bit: rate in bit/s times time in ps. 2^64 ps at 400 Gbit/s are 7.4e30,
 * far below 2^128 = 3.4e38; a packet adds at most 7e22, however late the link is. */
typedef unsigned __int128 kerf_work;

struct linkem_step {
	uint64_t at_ps, bps;
	kerf_work work; /* W(at_ps) */
};

/* A place in the steps, whose current repetition began at base_ps = W^-1(base_work). */
struct linkem_cursor {
	unsigned step;
	uint64_t base_ps;
	kerf_work base_work;
};

/* The link's rate over time and how far it is committed. */
struct linkem_rate {
	struct linkem_step *steps; /* NULL = infinitely fast */
	unsigned n_steps;
	uint64_t loop_ps; /* 0 = the last step stays */
	kerf_work loop_work; /* W(loop_ps) */
	struct linkem_cursor arrival, finish; /* where the last of them fell */
	kerf_work busy_until; /* e_i of the last packet taken */
	uint64_t last_finish_ps;
};

/* What chance decided for one packet. */
struct linkem_fate {
	uint64_t jitter_ps;
	uint32_t bit; /* to flip, as a fraction of all in 1/2^32 */
	bool lost, corrupt, duplicate, late;
};

/* A probability is kept as the bound that a 32-bit draw must stay below: 2^32 = always. */
struct linkem_chance {
	uint64_t seed, stream;
	uint64_t loss[2], leave[2]; /* by state: good, bad */
	uint64_t corruption, duplication, late;
	uint64_t jitter_ps;
	uint64_t pull; /* 1 - a in 1/2^32; 2^32 = no memory */
	uint64_t gain; /* sqrt((1 + a)/(1 - a)) in 1/2^20 */
	int64_t average; /* c_n in 1/2^64 */
	bool bad;
	bool draws_first, draws_second; /* whether any word of the block is used */
};

/* RFC 8289 section 5, names as there. */
struct linkem_codel {
	bool on, dropping;
	uint32_t count, last_count, max_packet;
	uint64_t target_ps, interval_ps;
	uint64_t first_above_ps; /* 0 = below target */
	uint64_t drop_next_ps;
	uint64_t backlog_bytes; /* of the packets not yet judged */
	uint64_t backlog_own; /* how many of them are not cross traffic */
};

/* Virtual packets, evenly spaced: the next one's time is next_ps + ahead / bps. */
struct linkem_cross {
	uint64_t bps, next_ps; /* NEVER = none (any more) */
	uint64_t gap_ps, gap_rest, ahead; /* the gap's and the next time's fractions in 1/bps ps */
	uint32_t len;
};

struct linkem_packet {
	struct rte_mbuf *mbuf; /* until it is on the link; NULL = cross traffic */
	uint64_t number;
	uint64_t arrival_ps;
	uint64_t finish_ps; /* when it left the queue, finished or dropped; NEVER = does not */
	uint32_t len; /* L2 */
	struct linkem_fate fate;
};

struct linkem_held {
	uint64_t deliver_ps, order; /* order among equals */
	struct rte_mbuf *mbuf;
	uint32_t len;
};

/* Packets on their way: a ring when they leave in order, else a 4-ary heap. */
struct linkem_release {
	struct linkem_held *held; /* ring [out, in); heap [0, in - out) */
	uint64_t out, in;
	uint64_t last_deliver_ps;
	bool in_order; /* nobody overtakes */
	bool clamped; /* jitter must not reorder */
	uint64_t slot_ps, delay_ps, late_ps;
};

struct kerf_linkem {
	struct linkem_rate rate;
	struct linkem_chance chance;
	struct linkem_codel codel;
	struct linkem_cross cross;
	struct linkem_release release;
	uint64_t last_arrival_ps;
	uint64_t entered_ps; /* the last of the cross traffic, maybe ahead of what is pushed next */
	uint64_t queue_bytes, queue_packets;
	uint32_t overhead_bytes;
	struct rte_mempool *pool;

	/* Ring by running number: [waiting, in) had not left the queue at the last arrival, of
	 * which [served, in) are not on the link yet. In real time packets may be delivered while
	 * they wait still: pulled at a time later than the next arrival stamp. */
	struct linkem_packet *packets;
	uint32_t mask, room; /* of held too */
	uint64_t waiting, served, in;
	uint64_t waiting_bytes;

	struct kerf_linkem_stats stats;
	void (*truth)(void *user, const struct kerf_linkem_truth *t);
	void *truth_user;
	int timestamp_offset;
	uint64_t timestamp_flag;

	/* attached */
	const struct rte_eth_rxtx_callback *callback;
	uint16_t port, queue;
	uint64_t (*clock_ns)(void);
	uint64_t epoch_ns;
};

static inline uint64_t linkem_later(uint64_t t, uint64_t by)
{
	return t < LINKEM_NEVER - by ? t + by : LINKEM_NEVER;
}

/* Packets in the emulator, on the link or before it. */
static inline uint64_t linkem_inside(const struct kerf_linkem *e)
{
	return e->release.in - e->release.out + (e->in - e->served);
}

/* Checks and copies; 0 or -errno. */
int linkem_rate_init(struct linkem_rate *r, const struct kerf_linkem_config *c,
	struct kerf_err *err);
/* Commits the link to a packet of so many bits; returns when its last one has left. Arrivals do
 * not go back. */
uint64_t linkem_rate_serialise(struct linkem_rate *r, uint64_t arrival_ps, uint64_t bits);

int linkem_chance_init(struct linkem_chance *c, const struct kerf_linkem_config *config,
	struct kerf_err *err);
/* To be called for every packet, in order of their numbers: state and average go on. */
void linkem_chance_draw(struct linkem_chance *c, uint64_t number, struct linkem_fate *fate);

int linkem_codel_init(struct linkem_codel *c, const struct kerf_linkem_config *config,
	struct kerf_err *err);
/* When CoDel judges the next packet. */
uint64_t linkem_codel_next(const struct kerf_linkem *e);
/* Judges the next packet at that time, and those behind it until one may go on the link. */
void linkem_codel_start(struct kerf_linkem *e, uint64_t now_ps);

int linkem_cross_init(struct linkem_cross *c, const struct kerf_linkem_config *config,
	struct kerf_err *err);
void linkem_cross_next(struct linkem_cross *c);

/* Tells the caller of a packet that is none of cross traffic. */
static inline void linkem_tell(const struct kerf_linkem *e, const struct kerf_linkem_truth *t)
{
	if (e->truth)
		e->truth(e->truth_user, t);
}

/* Puts the packet on the link and, unless lost, among those held. */
void linkem_transmit(struct kerf_linkem *e, struct linkem_packet *p);
void linkem_release_pop(struct linkem_release *r);
static inline const struct linkem_held *linkem_release_first(const struct linkem_release *r,
	uint32_t mask)
{
	return r->out == r->in ? NULL : &r->held[r->in_order ? r->out & mask : 0];
}
