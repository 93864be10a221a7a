/*
 * linkem: makes any port behave like a given link. One emulator is one direction.
 *
 *	struct kerf_linkem *e = kerf_linkem_create(&config, &err);
 *	kerf_linkem_push(e, arrival_ps, pkts, n);            // packets enter the link
 *	n = kerf_linkem_pull(e, now_ps, pkts, 32);           // those that are out by now
 *
 * or, on an ethdev port in real time: kerf_linkem_attach(e, port, queue, clock_ns, epoch_ns, &err),
 * an RX callback: packets are held and released when they would have arrived.
 *
 * Order of effects: queue limit, serialisation at the link's rate, propagation delay. First in,
 * first out. Departures are computed from arrival stamps alone, in integer picoseconds, exactly
 * across changes of the rate, stretches of rate 0 included; when anybody polled has no influence.
 *
 * Precisely. W(t) is the integral of the rate from 0 to t. A packet occupies b = 8 x (L2 bytes +
 * overhead) bits. Packet i starts at work s_i = max(W(arrival_i), e_(i-1)) and ends at
 * e_i = s_i + b_i; it finishes at the smallest integer ps t with W(t) >= e_i and is delivered at
 * t + delay. Only reported times are rounded: what is left of a bit or a picosecond at the end of
 * a packet goes to the next one, so the rate has no error that adds up. W is kept as an integer,
 * in 1e-12 bit, in 128 bits.
 *
 * Queue: a packet waits from its arrival until it has finished (the one being sent included). An
 * arriving packet is dropped when its L2 bytes and those of the packets that wait at its arrival
 * are more than queue_bytes together. Packets with the same stamp arrive in the order given.
 *
 * Packets that will never leave (rate 0 to the end) stay in the queue until it is destroyed.
 * Packet data are never written; timestamp dynfield and its flag are (the ring port hands over the
 * very mbuf of which its sender keeps a reference). After create nothing is allocated. One thread
 * at a time uses an emulator.
 */
#pragma once

#include <rte_mbuf.h>

#include "core/core.h"

#define KERF_LINKEM_MAX_BPS 400000000000ull

/* From `at` on (ps after the emulator's epoch) the rate is `bps`, until the next step. */
struct kerf_linkem_step {
	uint64_t at_ps;
	uint64_t bps; /* bit/s, up to 400 Gbit/s; 0 = nothing moves */
};

struct kerf_linkem_config {
	/* Strictly ascending, first at 0; copied. None = infinitely fast: nothing ever waits. */
	const struct kerf_linkem_step *steps;
	unsigned n_steps;
	uint64_t delay_ps;       /* propagation */
	uint64_t queue_bytes;    /* most L2 bytes that may wait, newcomer included; 0 = no limit */
	uint32_t overhead_bytes; /* per packet: Ethernet 24 */
	/* Room for packets held at once, up to 2^24; 0 = 65536. A full room drops as well; that
	 * alone depends on when packets were pulled. */
	unsigned max_packets;
};

struct kerf_linkem_stats {
	uint64_t arrived, delivered;
	uint64_t dropped_queue, dropped_room;
	uint64_t bytes; /* delivered, L2 */
	struct kerf_hist lateness_ns; /* real time: handed out after the computed delivery time */
};

struct kerf_linkem;

/* After rte_eal_init. Epoch: arrival and now stamps count from 0 = the start of step 0. NULL on
 * error. */
struct kerf_linkem *kerf_linkem_create(const struct kerf_linkem_config *config,
	struct kerf_err *err);
/* Frees what it still holds. */
void kerf_linkem_destroy(struct kerf_linkem *e);

/* Takes ownership of all n packets; arrival stamps must not decrease (asserted). */
void kerf_linkem_push(struct kerf_linkem *e, uint64_t arrival_ps, struct rte_mbuf **pkts,
	unsigned n);
/* Packets delivered by now_ps, oldest first, each with its exact delivery time (ns, rounded
 * down; of the attached clock, else since the epoch) in the RX timestamp dynfield. The caller owns
 * them. */
unsigned kerf_linkem_pull(struct kerf_linkem *e, uint64_t now_ps, struct rte_mbuf **pkts,
	unsigned max);
/* Delivery time of the next packet in ps; UINT64_MAX when there is none or it never leaves. */
uint64_t kerf_linkem_next(const struct kerf_linkem *e);
/* Rate in force at a time, bit/s. */
uint64_t kerf_linkem_rate_at(const struct kerf_linkem *e, uint64_t at_ps);
const struct kerf_linkem_stats *kerf_linkem_stats(const struct kerf_linkem *e);

/* Registers (or finds) the RX timestamp dynfield and flag; the same as ethdev's. 0 or -errno. */
int kerf_linkem_timestamp_field(int *offset, uint64_t *flag);

/*
 * Hangs the emulator into (port, rx queue): packets arrive at the stamp that the sending side left
 * in the timestamp dynfield (kerf_linkem_stamp_tx) or, without one, at the time of the poll; a
 * stamp that goes back or lies in the future counts as the previous one or as now. clock_ns is the
 * program's monotonic clock, epoch_ns its value at time 0 of the steps. On a ring port the sending
 * side must stamp: its repeats are mbufs that still carry the stamp of their last delivery.
 */
int kerf_linkem_attach(struct kerf_linkem *e, uint16_t port, uint16_t queue,
	uint64_t (*clock_ns)(void), uint64_t epoch_ns, struct kerf_err *err);
/* Nobody may be polling the port. Destroying detaches as well and frees what is still held. */
void kerf_linkem_detach(struct kerf_linkem *e);

/* Adds a TX callback that leaves the transmit time (one reading per burst) in each packet's
 * timestamp dynfield, for a port whose packets reach an emulator in the same process (ring). It
 * goes with the port. */
int kerf_linkem_stamp_tx(uint16_t port, uint16_t queue, uint64_t (*clock_ns)(void),
	struct kerf_err *err);
