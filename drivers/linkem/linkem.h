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
 * Order of effects, each of them off while its setting is 0: queue limit; CoDel; serialisation at
 * the link's rate; loss; corruption; slots; propagation delay; jitter; packets held back;
 * duplication. Departures are computed from arrival stamps alone, in integer picoseconds, exactly
 * across changes of the rate, stretches of rate 0 included; when anybody polled has no influence
 * (CoDel: see below).
 *
 * Rate. W(t) is the integral of the rate from 0 to t. A packet occupies b = 8 x (L2 bytes +
 * overhead) bits. Packet i starts at work s_i = max(W(arrival_i), e_(i-1)) and ends at
 * e_i = s_i + b_i; it finishes at the smallest integer ps t with W(t) >= e_i. Only reported times
 * are rounded: what is left of a bit or a picosecond at the end of a packet goes to the next one,
 * so the rate has no error that adds up. W is kept as an integer, in 1e-12 bit, in 128 bits.
 *
 * Queue: a packet waits from its arrival until it has finished (the one being sent included). An
 * arriving packet is dropped when its L2 bytes and those of the packets that wait at its arrival
 * are more than queue_bytes together, or when it and they are more than queue_packets. A queue
 * smaller than a packet never lets that packet in. Packets with the same stamp arrive in the order
 * given.
 *
 * CoDel (RFC 8289, section 5) judges a packet when its service would start, at the time
 * max(arrival, finish of the packet before) by the packets that have arrived until then. So that
 * all of these are known, no packet may be pushed with a stamp before the now_ps of an earlier
 * pull. One that is (attached, with stamps of a sender that lags) is missing from what was judged
 * already, and arrives no earlier than the cross traffic that came in until then.
 *
 * Cross traffic: packets of cross_bytes L2 bytes that share queue, CoDel and link with ours, count
 * against their limits, but come from nowhere and go nowhere. Number k (from 0) arrives at
 * k x 8 x (cross_bytes + overhead) / cross_bps, rounded down to ps, before those of ours that have
 * the same stamp. They are computed when one of ours needs them: a push costs some 20 ns for each
 * that came since the last one.
 *
 * Chance. Packet number n (from 0, every packet pushed counts, dropped ones too) draws eight
 * 32-bit words u: kerf_rng_block(seed, 2 x direction, n) and (seed, 2 x direction + 1, n). What has
 * probability p happens when u < round(p x 2^32). Words 0 to 3: loss, change of state,
 * duplication, holding back; 4 to 7: corruption, the bit to flip, low and high half of the jitter.
 * So the fate of packet n depends on nothing but (seed, direction, n) and the settings.
 *
 * Loss: Gilbert-Elliott, starting in the good state. A packet draws its loss with the probability
 * of the state, then the state changes for the next one. Lost packets have taken their place in
 * the queue and their time on the link; nothing else happens to them.
 *
 * Corruption flips one bit of the L2 data, each with the same chance, in a copy that takes the
 * packet's place. A duplicate is a copy that is delivered with the packet, right after it. When
 * the pool or the room has no place for a copy, the packet goes on as it is and `uncopied` counts.
 *
 * Slots: what finishes is released at the next whole multiple of slot_ps, as WiFi and LTE
 * aggregate. Delay: delay_ps is added.
 *
 * Jitter is added: J x v / 2^64 rounded down, v the 64 bits drawn, so evenly in [0, J). With a
 * half-life of h packets it is an exponential moving average c_n = a c_(n-1) + (1 - a) x_n over the
 * even draws x_n in [-1/2, 1/2), a = 2^(-1/h), c_-1 = 0, brought back to the deviation of one draw,
 * J/sqrt(12): jitter = J (1/2 + min(max(c_n sqrt((1 + a)/(1 - a)), -1/2), 1/2)). Unless
 * jitter_reorders, a packet is delivered no earlier than the one before it (that was not held
 * back): first in, first out.
 *
 * Holding back: with probability `late` a packet is delivered late_ps later than that, overtaken
 * by what comes within late_ps. (Not netem's meaning, where the chosen packet skips the delay: it
 * would feign a shorter path.)
 *
 * Packets that will never leave (rate 0 to the end) stay in the queue until it is destroyed.
 * Packets pushed are never written to; their timestamp dynfield and its flag are (the ring port
 * hands over the very mbuf of which its sender keeps a reference). After create nothing is
 * allocated but mbufs of the pool. One thread at a time uses an emulator.
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

/* How a packet that was pushed ends. */
enum kerf_linkem_end {
	KERF_LINKEM_DELIVERED,
	KERF_LINKEM_LOST,
	KERF_LINKEM_DROPPED_QUEUE, /* by queue_bytes or queue_packets */
	KERF_LINKEM_DROPPED_ROOM,
	KERF_LINKEM_DROPPED_CODEL,
	KERF_LINKEM_END_COUNT
};

const char *kerf_linkem_end_name(enum kerf_linkem_end end); /* "delivered", "lost", ... */

/* What became of one packet, ps after the epoch. Cross traffic has none. */
struct kerf_linkem_truth {
	uint64_t number; /* of the packet, as chance counts them */
	uint64_t arrival_ps;
	/* On the link from start (when it could begin: arrival, or the finish of the packet before)
	 * to finish; equal to the time of the drop for what CoDel drops, 0 for what the queue
	 * refused. UINT64_MAX = never. */
	uint64_t start_ps, finish_ps;
	uint64_t deliver_ps; /* of what is delivered, else 0; UINT64_MAX = never */
	uint32_t bytes; /* L2 */
	enum kerf_linkem_end end;
	bool corrupted, duplicated, late;
};

struct kerf_linkem_config {
	/* Strictly ascending, first at 0; copied. None = infinitely fast: nothing ever waits. */
	const struct kerf_linkem_step *steps;
	unsigned n_steps;
	uint64_t loop_ps;        /* after the last step: 0 = it stays; else they repeat so often */
	uint64_t delay_ps;       /* propagation */
	uint64_t queue_bytes;    /* most L2 bytes that may wait, newcomer included; 0 = no limit */
	uint64_t queue_packets;  /* most packets that may wait, likewise */
	uint32_t overhead_bytes; /* per packet: Ethernet 24 */
	/* Room for packets held at once, up to 2^24; 0 = 65536. A full room drops as well; that
	 * alone depends on when packets were pulled. */
	unsigned max_packets;

	bool codel;
	uint64_t codel_target_ps, codel_interval_ps; /* 0 = 5 ms, 100 ms */

	uint64_t cross_bps;   /* on the wire, overhead included; up to 400 Gbit/s */
	uint32_t cross_bytes; /* L2; 0 = 1514 */

	uint64_t seed;
	uint32_t direction; /* tells emulators of one seed apart */
	/* Per packet. `loss` alone is independent, good_to_bad makes Gilbert-Elliott. */
	double loss; /* in the good state */
	double loss_bad, good_to_bad, bad_to_good;
	double corruption, duplication;
	double late; /* held back */
	uint64_t late_ps;
	uint64_t jitter_ps; /* up to 2^63 */
	double jitter_half_life; /* packets, up to 1e6; 0 = each packet for itself */
	bool jitter_reorders;
	uint64_t slot_ps;
	/* Corruption and duplication copy packets into its mbufs; only they need it. */
	struct rte_mempool *pool;
	/* Called by push and pull (NULL = not) for every packet pushed, once its end is computed,
	 * which is ahead of its delivery. */
	void (*truth)(void *user, const struct kerf_linkem_truth *t);
	void *truth_user;
};

/* Link rates read from a file; steps and end_ps fit a config's steps and loop_ps. */
struct kerf_linkem_trace {
	struct kerf_linkem_step *steps;
	unsigned n_steps;
	uint64_t end_ps;
};

struct kerf_linkem_stats {
	uint64_t arrived, delivered;
	uint64_t dropped_queue, dropped_room, dropped_codel;
	/* Counted when the packet gets its place on the link, ahead of its delivery. */
	uint64_t lost, corrupted, duplicated, late;
	uint64_t cross, cross_dropped; /* by any limit or CoDel */
	uint64_t uncopied; /* to be corrupted or duplicated, but there was no mbuf or no room */
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
/* Delivery time of the next packet in ps; UINT64_MAX when there is none or it never leaves. With
 * CoDel also the time at which it judges the next packet, if that is earlier: pull then. */
uint64_t kerf_linkem_next(const struct kerf_linkem *e);
/* Rate in force at a time, bit/s. */
uint64_t kerf_linkem_rate_at(const struct kerf_linkem *e, uint64_t at_ps);
const struct kerf_linkem_stats *kerf_linkem_stats(const struct kerf_linkem *e);

/* Registers (or finds) the RX timestamp dynfield and flag; the same as ethdev's. 0 or -errno. */
int kerf_linkem_timestamp_field(int *offset, uint64_t *flag);

/*
 * Reads a trace. Lines that are blank or begin with # are skipped, CR LF line ends are taken, times
 * may not need more than 2^63 ps (106 days).
 *
 * CSV (the first line has a comma): lines `t_us,rate_bps` in whole numbers, times strictly
 * ascending from 0; a rate holds until the next line's time and the last line, whose rate counts
 * for nothing, is the end. A first line "t_us,rate_bps" is taken as a heading.
 *
 * mahimahi (else): one whole number of ms a line, not descending, the last not 0; each is the
 * opportunity to deliver 1504 bytes at that time and the last one is the end. k opportunities at n
 * ms become the rate k x 12032000 bit/s from n - 1 to n ms (those at 0 count as at 1), so that by
 * the end of each ms exactly as many bits could leave; slot_ps = 1 ms restores the ticks.
 * Opportunities are in bytes of the wire: overhead_bytes counts against them.
 *
 * Equal rates in a row become one step. Unless `loop`, a step of rate 0 at the end is added: the
 * link stops for good. 0, or -errno with one line that names file and line.
 */
int kerf_linkem_trace_load(const char *path, bool loop, struct kerf_linkem_trace *t,
	struct kerf_err *err);
void kerf_linkem_trace_free(struct kerf_linkem_trace *t);

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
