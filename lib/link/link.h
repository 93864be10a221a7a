/*
 * link: packet times -> a sample of the link for every train -> the estimate that the plan uses.
 *
 * The receiver keeps a kerf_train for each message:
 *
 *	kerf_train_add(&t, rx_ns, tx_ns, wire_bytes);   // every packet; equal rx_ns = one burst
 *	kerf_train_sample(&t, &s);                      // seconds per byte, error bound, label
 *
 * and reports the sample; the sender of the train feeds it to a kerf_link (one a direction):
 *
 *	kerf_link_update(&link, &s, now);
 *	cost = bytes * kerf_link_tau(&link);
 *
 * Everything is in seconds per byte (tau), because cost is bytes * tau and the mean of 1/rate is
 * what a cost needs. No clock is read here; transmit and receive times may come from different
 * clocks, only differences within one clock are used.
 */
#pragma once

#include "core/core.h"

/* Bytes that a frame occupies on Ethernet beside its L2 length: preamble 8, FCS 4, gap 12. */
#define KERF_LINK_OVERHEAD 24

enum kerf_link_label {
	KERF_LABEL_NONE,       /* no sample: too few bursts, no time passed */
	KERF_LABEL_BOTTLENECK, /* the link limited the train: tau is the link's */
	KERF_LABEL_SENDER,     /* the sender limited it: the link is at least this fast */
	KERF_LABEL_RECEIVER,   /* the receiver's polling limited it: likewise */
	KERF_LABEL_TIMED_OUT,  /* it never completed: the link is at most this fast */
	KERF_LABEL_INVALID,    /* loss or reordering make it worthless */
	KERF_LABEL_COUNT
};

const char *kerf_link_label_name(enum kerf_link_label label);

struct kerf_sample {
	enum kerf_link_label label;
	double tau;   /* s per byte, > 0 unless label is NONE or INVALID */
	double error; /* relative bound of tau */
	uint32_t packets;
};

#define KERF_TRAIN_POINTS 128

/* One train as its receiver sees it. Zero-initialise. Points are kept at burst granularity; when
 * there are more than fit, every second one is dropped and the spacing doubles. */
struct kerf_train {
	uint32_t packets, bursts;
	uint64_t bytes;         /* all packets */
	uint64_t first_rx_ns, last_rx_ns;
	uint64_t first_tx_ns, last_tx_ns;
	uint64_t newest_tx_ns;    /* latest transmit time seen, whichever packet came last */
	uint64_t newest_tx_bytes; /* of all packets that carry it */
	uint32_t full_bursts; /* that a full poll returned: kerf_train_burst */
	bool reordered;       /* a packet sent before the first to arrive came later */
	uint32_t n_points, stride;
	struct { uint64_t rx_ns; uint64_t bytes; } points[KERF_TRAIN_POINTS];
};

/* A packet arrived. rx_ns: its timestamp or the time of the poll that returned it; wire_bytes: L2
 * length + overhead. tx_ns: its header's transmit time (48 bits, may wrap). Repeated packets and
 * duplicates are no part of the train: the caller leaves them out. */
void kerf_train_add(struct kerf_train *t, uint64_t rx_ns, uint64_t tx_ns, uint32_t wire_bytes);
/* The poll that returned the packets just added was full: more may have been waiting. Once a poll,
 * and not when packets carry timestamps of their own. */
void kerf_train_burst(struct kerf_train *t);
/* Makes the sample of what arrived. expected = packets of the message. True unless label is
 * NONE. */
bool kerf_train_sample(const struct kerf_train *t, uint32_t expected, struct kerf_sample *s);

/* ---- what the sender of trains knows about its direction ---- */

#define KERF_DELAY_SLOTS 64 /* of half a second */

struct kerf_delay_point { double at_ns, ns; };

/* One-way delays, less those of the first train. Zero-initialise. */
struct kerf_delay {
	struct kerf_delay_point slots[KERF_DELAY_SLOTS]; /* the least of each, in order of time */
	unsigned n;
	double slot_begin_ns; /* of the newest */
	struct kerf_delay_point base; /* a point of the line that undelayed trains follow */
	double skew; /* its slope: the receiver's clock gains so much a second */
	uint64_t first_sent_ns, sent_ns;
	int64_t first_delay_ns;
	double last_ns;
	double queue_ns;  /* what the newest train's first packet waited for on its way */
	double jitter_ns; /* mean deviation between successive trains, RFC 3550 6.4.1 */
};

/* The first packet of a train that left at sent_ns arrived delay_ns later by the receiver's clock, which may be any
 * other. A train is counted once, by its first report; a delay that jumps by more than a minute begins anew. */
void kerf_delay_update(struct kerf_delay *d, int64_t delay_ns, uint64_t sent_ns);

#define KERF_CROSS_POINTS 64

/* At what pace the last trains that the link limited went in, and came out. Zero-initialise. */
struct kerf_cross {
	double sent[KERF_CROSS_POINTS], arrived[KERF_CROSS_POINTS]; /* s per byte */
	unsigned n, next;
};

/* Values that are not positive and finite are not looked at. */
void kerf_cross_update(struct kerf_cross *c, double sent_tau, double tau);
/* The rate that others leave, in bit/s; 0 = not known: fewer than 16 trains, or all at one pace. */
double kerf_cross_available_bps(const struct kerf_cross *c);

#define KERF_LINK_BASE_NS (10 * KERF_NS_PER_S) /* the base RTT is the smallest of so long */
#define KERF_LINK_BASE_SLOTS 20 /* in so many steps */
#define KERF_LINK_SHORT_PACKETS 64 /* a shorter train is short */

/*
 * Zero-initialise. A Kalman filter tracks x = ln(rate in byte/s) with variance v: between samples v
 * grows by the drift q (1/s), a sample's own noise is at least its error bound. Drift and noise are
 * told apart by the autocorrelation of successive differences: noise makes them alternate, drift
 * does not. Two CUSUMs of the normalised innovation (k = 0.5, h = 4 down and 5 up) and an outlier
 * rule raise an alarm: then v opens, and the next sample counts almost alone. Short trains may see
 * another rate than long ones: their mean difference, in ln, is learnt and taken off.
 */
struct kerf_link {
	bool known;
	double x, v;
	double y_before;   /* the sample before, of its own size class */
	bool have_before;
	double dy_before, c0, c1; /* of successive differences: last, variance, covariance */
	double interval_s; /* between samples, EWMA */
	double down, up;   /* CUSUM */
	double short_bias;
	bool alarm;        /* raised, and not taken yet */
	bool doubt;        /* the last sample raised it, or there is too little to go by */
	uint64_t alarms;
	uint64_t sampled_ns, long_ns; /* when the last one was, and the last of a long train */
	struct { uint64_t begin_ns, least; } rtt[KERF_LINK_BASE_SLOTS]; /* newest first */
	unsigned n_rtts;
	double srtt, rttvar; /* ns, RFC 6298 */
	double loss; /* EWMA over packets, weight 1/256 */
	struct kerf_delay delay;
	struct kerf_cross cross;
	uint64_t samples[KERF_LABEL_COUNT]; /* counted by label */
	uint64_t refused;                   /* values out of any sense: counted, not used */
};

/*
 * Takes a sample. SENDER and RECEIVER may only make the estimate faster, TIMED_OUT only slower, with
 * less weight: they are bounds. The first SENDER or RECEIVER is taken as it is (a link at least this
 * fast is better than none); a first TIMED_OUT tells nothing. NONE and INVALID change nothing. tau
 * outside [1e-13, 10] s/byte and a time before the last one are refused and counted.
 */
void kerf_link_update(struct kerf_link *l, const struct kerf_sample *s, uint64_t now_ns);
/* 0 and more than a minute are refused. */
void kerf_link_update_rtt(struct kerf_link *l, uint64_t rtt_ns, uint64_t now_ns);
/* More lost than sent is refused. */
void kerf_link_update_loss(struct kerf_link *l, uint32_t packets, uint32_t lost);

bool kerf_link_known(const struct kerf_link *l);          /* at least one sample */
/* E[1/rate] in s per byte, which is what a cost needs: exp(-x + v/2); 0 when not known. */
double kerf_link_tau(const struct kerf_link *l);
/* The same for a train of so many packets. */
double kerf_link_tau_for(const struct kerf_link *l, uint32_t packets);
/* s per byte at a rate that the link hardly exceeds, exp(-x - sigma): who paces slower than that sees only himself. */
double kerf_link_pace_tau(const struct kerf_link *l);
double kerf_link_rate_bps(const struct kerf_link *l);     /* 8 exp(x); 0 when not known */
double kerf_link_sigma(const struct kerf_link *l);        /* of ln(rate) */
/* Whether an alarm was raised since the last call. */
bool kerf_link_take_alarm(struct kerf_link *l);
/* More samples are wanted soon: after an alarm, or sigma is above 0.5. */
bool kerf_link_uncertain(const struct kerf_link *l);
uint64_t kerf_link_base_rtt_ns(const struct kerf_link *l); /* 0 = none */
uint64_t kerf_link_rto_ns(const struct kerf_link *l);      /* RFC 6298 without its floor; 0 = none */
/* Forgets everything that a lost peer makes stale. */
void kerf_link_reset(struct kerf_link *l);
