/*
 * plan: what every (cut, codec) would cost this frame, and the choice.
 *
 *	kerf_plan_choose(&plan, &(struct kerf_plan_input){.tau = .., .rtt_ns = ..}, &choice);
 *	... the frame runs ...
 *	kerf_plan_observe(&plan, choice.candidate, head_ns, tail_ns);
 *
 *	T(k) = core + head(k) + encode(k) + queue + rtt + bytes(k) * tau + repair(k) + result + wait + decode(k) + tail(k)
 *	T(local) = core + head(K)
 *
 * core: work ahead of this frame's on the device, which a candidate without a head does not wait for. queue: what is
 * left of it when the head is done.
 * repair: with loss p, a train of N packets needs another round of rtt + (p N packets) * tau with the
 * chance 1 - (1 - p)^N.
 *
 * Pure arithmetic: no clock, no allocation after kerf_plan_create.
 */
#pragma once

#include "core/core.h"

/* One way to run a frame. */
struct kerf_plan_candidate {
	int cut;
	int codec;           /* enum kerf_codec; of no meaning when local */
	bool local;          /* the whole network on the device */
	uint64_t wire_bytes; /* up, with all headers and link overhead */
	bool own_bytes;      /* which differ from frame to frame: kerf_plan_input says them; one candidate at most */
	double head_ns;      /* on the device, encoding included */
	double tail_ns;      /* on the server, decoding included */
	double tail_byte_ns; /* more of it for each of the frame's own bytes */
};

enum kerf_plan_mode { KERF_PLAN_DYNAMIC, KERF_PLAN_FIXED, KERF_PLAN_LOCAL, KERF_PLAN_OFFLOAD };

/* What DYNAMIC makes least. */
enum kerf_plan_objective {
	KERF_PLAN_LATENCY,
	KERF_PLAN_DEADLINE,   /* the chance that a frame takes longer than deadline_ns, by how far the link was from its
			       * estimate of late; of equal chances the latency */
	KERF_PLAN_THROUGHPUT, /* the slowest of head, link and tail, for frames that overlap */
};

struct kerf_plan_options {
	enum kerf_plan_mode mode;
	enum kerf_plan_objective objective;
	uint64_t deadline_ns;
	int fixed_cut;       /* KERF_PLAN_FIXED; must be a candidate */
	int fixed_codec;     /* KERF_PLAN_FIXED and OFFLOAD (cut 0); negative = cheapest */
	double hysteresis;   /* keep the current cut unless the gain exceeds this share */
	double hedge_factor; /* the result is late after this many times the predicted latency */
	uint64_t hedge_min_ns;
	unsigned probe_every; /* frames run locally between probe trains; 0 = never probe */
};

#define KERF_PLAN_RESIDUALS 64

/* By what factor the last trains took longer than predicted, in order of time and of size. */
struct kerf_plan_residuals {
	double ring[KERF_PLAN_RESIDUALS], sorted[KERF_PLAN_RESIDUALS];
	unsigned n, next;
};

struct kerf_plan {
	struct kerf_plan_options options;
	struct kerf_plan_candidate *candidates; /* owned */
	/* The same for choosing fast: infinite head = not allowed; a local one has no bytes and no tail. Owned, as is
	 * cost, where a frame's are worked out. */
	struct kerf_plan_terms { double *head, *tail, *bytes, *away, *cost; } terms;
	unsigned n;
	unsigned local;      /* index of the local candidate */
	unsigned own;        /* of that with own_bytes; n = none */
	unsigned current;    /* index of the last choice, at first the local one */
	bool chosen;         /* there was one */
	double theta_head, theta_tail; /* measured / profile, EWMA 1/16; a lasting change is followed at once */
	int head_side, tail_side;
	double theta_server; /* of the tail, as the server said at the start */
	double theta_base; /* likewise, as it says of late: what theta_tail returns to while nothing is sent */
	unsigned local_run;  /* local frames since the last sample or probe of the link */
	uint64_t switches;
	struct kerf_plan_residuals residuals;
};

/* What is known when a frame begins. */
struct kerf_plan_input {
	bool reachable; /* there is a session */
	double tau;     /* s per byte up; 0 = not known yet */
	uint64_t rtt_ns;
	uint64_t result_ns; /* time for the result to come down */
	uint64_t wait_ns;   /* work queued at the server ahead of this frame, by others than this device */
	uint64_t own_ns;    /* tails of this device's frames that are under way: done or not when this one arrives */
	uint64_t core_ns;   /* work ahead of this frame on the device's core */
	uint64_t queue_ns;  /* until the link has carried what was sent before and nobody waits for */
	uint64_t own_bytes; /* of this frame, for the candidate with own_bytes; 0 = it is not possible */
	double loss;        /* share of packets */
	double sigma;       /* of ln(tau) */
	bool alarm;         /* the link has just changed: no hysteresis for this choice */
	bool uncertain;     /* more samples of the link are wanted */
};

enum kerf_plan_reason {
	KERF_REASON_CHEAPEST,
	KERF_REASON_KEPT,       /* the current one is within the hysteresis */
	KERF_REASON_MODE,       /* any but DYNAMIC */
	KERF_REASON_NO_SESSION,
	KERF_REASON_NO_SAMPLE,  /* of the link */
};

/* Completes "because". */
const char *kerf_plan_reason_text(enum kerf_plan_reason reason);

struct kerf_plan_choice {
	unsigned candidate;
	enum kerf_plan_reason reason;
	int cut, codec;
	bool local;
	bool probe; /* send a probe train beside this frame */
	double core_ns, head_ns, net_ns, wait_ns, tail_ns, total_ns; /* predicted */
	double wire_ns; /* of net_ns: its bytes on the link */
	uint64_t wire_bytes;
	double miss;    /* DEADLINE: the chance */
	uint64_t hedge_ns; /* after the frame's start: the result is late */
};

/*
 * Copies the candidates; exactly one must be local. A time that is not finite means "cannot be
 * predicted": DYNAMIC never chooses such a candidate. 0, -ENOMEM, or -EINVAL for negative cuts or
 * times, options out of any sense, and a fixed cut or codec that no candidate has.
 */
int kerf_plan_create(struct kerf_plan *p, const struct kerf_plan_options *options,
	const struct kerf_plan_candidate *candidates, unsigned n, struct kerf_err *err);
void kerf_plan_destroy(struct kerf_plan *p);

/* Predicted parts of one candidate. */
void kerf_plan_predict(const struct kerf_plan *p, unsigned candidate,
	const struct kerf_plan_input *in, struct kerf_plan_choice *out);

/*
 * Chooses for the next frame and remembers it. Not reachable, or no sample of the link yet (tau
 * not a positive number): local. FIXED and OFFLOAD need none: cheapest is then fewest bytes.
 * Equal costs: the earlier candidate. Only DYNAMIC probes: when reachable, with every local frame
 * until there is a sample, while it is uncertain and when a probe takes the link for less than a tenth of the frame,
 * else with every probe_every-th. A frame that is sent in fewer
 * than 6 packets samples the link too little and counts as a local one. hedge_ns is 0 for a local choice,
 * else the largest of hedge_factor times the prediction, the prediction and 3 deviations, and hedge_min_ns; with
 * DEADLINE no later than the device can still meet it.
 */
void kerf_plan_choose(struct kerf_plan *p, const struct kerf_plan_input *in,
	struct kerf_plan_choice *out);

/* The server's whole-network time, relative to the profile's, as it says itself: where theta_tail
 * starts. */
void kerf_plan_server_speed(struct kerf_plan *p, double theta);
/*
 * By what factor the server says that it is slower of late than it said at the start; 0 = it does not know. While frames
 * run locally a slower one counts at once; a faster one little by little, because what was measured here may be newer.
 */
void kerf_plan_server_slowdown(struct kerf_plan *p, double factor);
/* The tail has taken at least so long and is not done: the server is slower than thought. */
void kerf_plan_observe_late(struct kerf_plan *p, const struct kerf_plan_choice *chosen, double tail_ns);
/* Time that the whole network still needs on the device behind a candidate's head. */
double kerf_plan_rest_ns(const struct kerf_plan *p, unsigned candidate);
/* Measured times of a frame that ran as it was chosen to; 0 = not measured. */
void kerf_plan_observe(struct kerf_plan *p, const struct kerf_plan_choice *chosen, double head_ns, double tail_ns);
/* A train took `factor` times as long as the link's estimate had said. */
void kerf_plan_observe_rate(struct kerf_plan *p, double factor);
/* A link sample arrived: the probe counter starts again. */
void kerf_plan_sampled(struct kerf_plan *p);
