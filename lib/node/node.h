/*
 * node: the device and the server, state machines that join engine, plan, link and transport.
 *
 * Packets and `now` go in, packets come out; nobody in here reads a clock or touches a port:
 *
 *	struct kerf_device *d = kerf_device_create(&options, &err);
 *	for (;;) {
 *		n = rx(pkts);  kerf_device_receive(d, pkts, n, now);   // consumes the packets
 *		n = kerf_device_poll(d, now, pkts, 32);  tx(pkts, n);  // works as well
 *	}
 *
 * In real time a program calls poll in a loop. In virtual time the lab steps `now` to the smallest
 * of kerf_device_next, kerf_server_next and the emulators' next delivery, and every run is exact.
 * All times are ns of one clock per node; the two nodes' clocks need not agree.
 */
#pragma once

#include "engine/engine.h"
#include "plan/plan.h"
#include "transport/transport.h"

/* ---- the model as both ends see it ---- */

struct kerf_model {
	const struct kerf_graph *graph; /* optimised; borrowed */
	struct kerf_cut *cuts;          /* [n_nodes + 1] */
	unsigned n_cuts;
	struct kerf_pixel_format pixels; /* channels 0: inputs are not pictures */
};

int kerf_model_create(struct kerf_model *m, const struct kerf_graph *graph,
	const struct kerf_pixel_format *pixels, struct kerf_err *err);
void kerf_model_destroy(struct kerf_model *m);
/* Takes away the cuts that an engine cannot stop at: it does not keep all that crosses in f32. */
void kerf_model_restrict(struct kerf_model *m, const struct kerf_engine *e);
/* Cut k may be sent: one to KERF_MAX_CUT_TENSORS tensors cross, and it is not closed. */
bool kerf_model_can_cut(const struct kerf_model *m, unsigned k);

/* ---- recorded times of a network on a machine (kerf-model profile) ---- */

struct kerf_profile {
	uint8_t digest[KERF_DIGEST_LEN];
	char machine[64]; /* fingerprint text */
	unsigned n_nodes;
	double *node_ns; /* owned */
};

/* JSON: {"model","digest","machine","nodes":[{"name","ns"}],"cuts":[{"cut","head_ns","tail_ns"}]}.
 * */
int kerf_profile_save(const struct kerf_profile *p, const struct kerf_graph *g, const char *path,
	struct kerf_err *err);
/* Refuses a file made for another network. */
int kerf_profile_load(struct kerf_profile *p, const struct kerf_graph *g, const char *path,
	struct kerf_err *err);
/* Measures it: the median of `rounds` runs on context c. */
int kerf_profile_measure(struct kerf_profile *p, const struct kerf_graph *g, struct kerf_context *c,
	unsigned rounds, uint64_t (*clock_ns)(void), struct kerf_err *err);
/*
 * From arithmetic alone. flops: multiply-adds per second. A convolution or GEMM takes its
 * multiply-adds / flops, any other node the bytes that it reads and writes / bytes_per_s.
 */
int kerf_profile_analytic(struct kerf_profile *p, const struct kerf_graph *g, double flops,
	double bytes_per_s, struct kerf_err *err);
void kerf_profile_free(struct kerf_profile *p);
double kerf_profile_range_ns(const struct kerf_profile *p, unsigned from, unsigned to);
/* Multiply-adds of a convolution or GEMM; 0 for every other node. */
double kerf_profile_node_macs(const struct kerf_graph *g, unsigned node);

/* ---- computing: the engine in real time, a profile in virtual time ---- */

/*
 * One core with n_slots contexts. begin sets a range of nodes on a slot, advance does a piece of it
 * (one step of the engine) and tells whether the range is finished; which slot advances is the
 * node's decision, so a range is paused by not advancing it.
 */
struct kerf_compute {
	unsigned n_slots;
	void *self;
	const struct kerf_compute_ops *ops;
};

struct kerf_compute_ops {
	/* Where tensor `id` lies; the input's place may be written before begin(.., 0, ..). */
	float *(*tensor)(void *self, unsigned slot, int id);
	/* emulated: the slow-down applies. Otherwise as fast as possible (in virtual time: at
	 * once). */
	void (*begin)(void *self, unsigned slot, unsigned from, unsigned to, uint64_t now,
		bool emulated);
	bool (*advance)(void *self, unsigned slot, uint64_t now);
	/*
	 * Behind begin: work(arg) runs now and is a part of the range, ahead of its first node. ns is what it takes
	 * where no time is measured.
	 */
	void (*before)(void *self, unsigned slot, void (*work)(void *), void *arg, double ns, uint64_t now);
	/* When advance has something to do: now or earlier = at once. */
	uint64_t (*next)(const void *self, unsigned slot);
	/* Time that the slot's last range took, emulated slow-down included. */
	uint64_t (*elapsed_ns)(const void *self, unsigned slot);
	void (*destroy)(void *self);
};

struct kerf_compute_options {
	unsigned slots;
	double slowdown; /* every step takes this many times as long; 0 = 1 */
	/* The same for a machine whose load changes: it counts where it is set. */
	double (*slowdown_at)(void *user, uint64_t now);
	void *user;
	/* The engine's: the clock that `now` comes from, and the calling thread's CPU time. */
	uint64_t (*clock_ns)(void);
	uint64_t (*cpu_clock_ns)(void);
};

static inline double kerf_compute_slowdown(const struct kerf_compute_options *o, uint64_t now)
{
	const double s = o->slowdown_at ? o->slowdown_at(o->user, now) : o->slowdown;

	return s > 0 ? s : 1;
}

/*
 * The engine, one step a call. The slow-down stretches a step's CPU time: what the machine spent
 * elsewhere meanwhile is in the step's duration once, not `slowdown` times.
 */
struct kerf_compute *kerf_compute_engine(struct kerf_engine *e, const struct kerf_model *m,
	const struct kerf_compute_options *o, struct kerf_err *err);
/*
 * A profile: a range takes the profile's time. Tensors hold a pattern that depends on the input,
 * the tail checks every value of it, and the output depends on the input alone, so that a
 * comparison with the unsplit run tells whether the tensors arrived as they were sent.
 */
struct kerf_compute *kerf_compute_profile(const struct kerf_profile *p, const struct kerf_model *m,
	const struct kerf_compute_options *o, struct kerf_err *err);
void kerf_compute_free(struct kerf_compute *c);

/* ---- what happened to a frame ---- */

enum kerf_where { KERF_WHERE_LOCAL, KERF_WHERE_REMOTE, KERF_WHERE_HEDGED };

/* One line of --frames. Times in ns; 0 = did not happen. */
struct kerf_frame_record {
	uint32_t frame;
	uint64_t due_ns;   /* when the frame was there to be processed, from the run's start */
	unsigned cut;
	int codec;         /* negative: local */
	uint64_t bytes;    /* sent up on the link for this frame, repeats included */
	uint64_t predicted_ns, latency_ns, head_ns, net_ns, queue_ns, tail_ns;
	/* Parts of the prediction; what is missing to the whole waits for the core. */
	uint64_t predicted_head_ns, predicted_net_ns, predicted_queue_ns, predicted_tail_ns;
	double rate_bps;   /* estimate when the cut was chosen; 0 = none yet */
	uint64_t rtt_ns;
	double loss;
	uint64_t link_queue_ns; /* that the train before found on the link */
	bool hedged;       /* the device began to finish it itself */
	enum kerf_where where; /* who finished first; HEDGED = the device, after a hedge */
	bool probed;
};

struct kerf_device_stats {
	uint64_t frames, completed,
		skipped; /* skipped: the device was busy past the next frame's time */
	uint64_t local, remote, hedged, hedge_won; /* hedged: begun; hedge_won: finished first */
	uint64_t verified, mismatches;
	uint64_t sessions, sessions_lost;
	uint64_t reports, reports_refused;
	uint64_t probes, probes_lost;
};

/* ---- device ---- */

/* The largest JPEG that travels, in bytes; a frame with a larger one goes another way. */
#define KERF_JPEG_MAX (1u << 20)

/* A frame's input: pixels (NHWC u8) or values (NHWC f32); must stay valid until the frame is done
 * and, with .verify, for 64 frames more. */
struct kerf_frame_input {
	const uint8_t *pixels;
	const float *values;
	const uint8_t *jpeg; /* the file that the pixels were decoded from; NULL = there is none */
	size_t jpeg_bytes;
};

struct kerf_device_options {
	const struct kerf_model *model;
	struct kerf_compute *compute; /* in_flight slots, one more to verify; borrowed */
	struct kerf_net net;          /* self, pool, payload_bytes, timestamps filled in */
	struct kerf_address server;   /* mac all zero = ask by ARP */
	struct kerf_plan_options policy;
	const struct kerf_plan_candidate *candidates;
	unsigned n_candidates;
	uint64_t fingerprint; /* what decides an output's bits; 0 = kerf_engine_fingerprint */
	uint64_t picture;     /* what decides a JPEG's pixels; 0 = none is sent */
	double whole_ns;              /* whole network here, without emulated slow-down */
	unsigned in_flight;           /* frames at a time; 0 = 1; with .verify at most 64 */
	uint64_t period_ns;           /* between frames; 0 = the next begins when one is done */
	uint64_t frames;              /* to run; 0 = until stopped */
	bool verify;                  /* compare every remote frame with the unsplit run */
	bool wait_for_server;         /* the first frame waits up to 2 s for a session */
	unsigned skip_backlog;        /* frames that may wait before the oldest is skipped; 0 = 2 */
	double pace_gain;             /* of the estimated rate, at most; 0 = 3 */
	bool pace_dither; /* every other frame goes nearer to that rate: kerf_cross_available_bps needs paces that differ */
	/* When a larger share of the remote frames of late had late results, the device goes on computing as soon as a
	 * frame is sent and whoever is first wins; 0 = 0.2, 1 = never. */
	double race_share;
	uint32_t nonce;               /* of this incarnation */
	void (*input)(void *user, uint32_t frame, struct kerf_frame_input *in);
	/* A frame was planned, from this; NULL = nobody looks. kerf_plan_predict tells of the other candidates. */
	void (*planned)(void *user, uint32_t frame, const struct kerf_plan *plan,
		const struct kerf_plan_input *in, const struct kerf_plan_choice *choice);
	void (*done)(void *user, const struct kerf_frame_record *r, const float *output);
	void *user;
};

enum kerf_session_state {
	KERF_SESSION_RESOLVING, /* the server's MAC is asked for */
	KERF_SESSION_HELLO,     /* HELLO is sent again and again */
	KERF_SESSION_READY,     /* frames may be sent */
	KERF_SESSION_REFUSED,   /* the server said no, see kerf_device_refusal */
};

struct kerf_device;

struct kerf_device *kerf_device_create(const struct kerf_device_options *o, struct kerf_err *err);
/* Frees everything; packets it still holds are dropped. */
void kerf_device_destroy(struct kerf_device *d);

/* Consumes the packets. */
void kerf_device_receive(struct kerf_device *d, struct rte_mbuf **pkts, unsigned n, uint64_t now);
/* Does what is due, one step of computing at most, and returns packets to transmit. */
unsigned kerf_device_poll(struct kerf_device *d, uint64_t now, struct rte_mbuf **pkts,
	unsigned max);
uint64_t kerf_device_next(const struct kerf_device *d);

/* No new frames; those under way are finished. */
void kerf_device_drain(struct kerf_device *d);
/* All frames are done (or drained), and compared. */
bool kerf_device_finished(const struct kerf_device *d);
/* Ends the session: the next poll returns the BYE. */
void kerf_device_bye(struct kerf_device *d, uint64_t now);

/* When frame 0 was due, on the caller's clock; records count from it. */
uint64_t kerf_device_start_ns(const struct kerf_device *d);
enum kerf_session_state kerf_device_session(const struct kerf_device *d);
const char *kerf_device_refusal(const struct kerf_device *d); /* the server's words, or "" */
const struct kerf_device_stats *kerf_device_stats(const struct kerf_device *d);
const struct kerf_net *kerf_device_net(const struct kerf_device *d);
const struct kerf_plan *kerf_device_plan(const struct kerf_device *d);
const struct kerf_link *kerf_device_link(const struct kerf_device *d);

/* ---- server ---- */

struct kerf_server_options {
	const struct kerf_model *model;
	struct kerf_compute *compute; /* its slots are the frames held at once; borrowed */
	struct kerf_net net;
	uint64_t fingerprint;         /* as for the device */
	double whole_ns;
	/* What each node's share of whole_ns is, for reports to tell how much slower than that the server is of late;
	 * NULL = they do not. Borrowed. */
	const struct kerf_profile *profile;
	/* JPEG bytes -> the input's pixels: 0, or negative for what is no such picture. picture: what decides the pixels;
	 * devices that have another number send none. decode_byte_ns: what it takes in virtual time, a byte of the file. */
	int (*decode)(void *user, const uint8_t *jpeg, size_t n, uint8_t *pixels);
	void *user;
	uint64_t picture;
	double decode_byte_ns;
	unsigned max_sessions;        /* 0 = 16 */
	uint64_t idle_ns;             /* a session without packets ends; 0 = 30 s */
};

struct kerf_server_stats {
	uint64_t sessions, refused;
	/* Every frame ends as one of: its result was taken, the device cancelled it, or it was
	 * abandoned (never complete, result never taken, session over). */
	uint64_t frames, results, cancelled, abandoned;
	uint64_t busy; /* frames turned away, no context free */
};

struct kerf_server;

struct kerf_server *kerf_server_create(const struct kerf_server_options *o, struct kerf_err *err);
void kerf_server_destroy(struct kerf_server *s);
void kerf_server_receive(struct kerf_server *s, struct rte_mbuf **pkts, unsigned n, uint64_t now);
unsigned kerf_server_poll(struct kerf_server *s, uint64_t now, struct rte_mbuf **pkts,
	unsigned max);
uint64_t kerf_server_next(const struct kerf_server *s);
/* Says BYE to every session; take the packets with poll. */
void kerf_server_drain(struct kerf_server *s);
const struct kerf_server_stats *kerf_server_stats(const struct kerf_server *s);
const struct kerf_net *kerf_server_net(const struct kerf_server *s);
