/* The device's state, shared by its files: device.c (packets and the poll), device_session.c (who
 * the server is), device_frame.c (a frame's way), device_wait.c (while it is away), device_verify.c (comparison with
 * the unsplit run). */
#pragma once

#include "node/node.h"
#include "node/outbox.h"

#define DEVICE_PROBE_PACKETS 16
#define DEVICE_VERIFY_QUEUE 64
/* This many frames in a row without a sign of life end the session. */
#define UNHEARD_FRAMES 2

enum frame_state {
	FRAME_FREE,
	FRAME_HEAD,   /* the head (or, local, everything) waits for the core or is computed */
	FRAME_REMOTE, /* the tensors are on their way, or the server computes */
	FRAME_HEDGE,  /* the result is late: the tail waits for the core or is computed here */
};

struct frame {
	enum frame_state state;
	unsigned slot; /* of the compute */
	uint32_t number;
	bool remote_open; /* a result may still come */
	struct kerf_frame_input input;
	struct kerf_plan_choice choice;
	struct kerf_frame_record record;
	uint64_t due_ns, started_ns, sent_ns, hedge_at_ns;
	uint64_t late_at_ns; /* what hedge_at_ns was before anything was heard */
	uint64_t sign_due_ns; /* without a sign of the frame by then its result will be late */
	uint64_t queued_ns;  /* of older packets, ahead of it on the link when it was sent */
	uint64_t told_ns, told_bytes; /* the last report on it: when, and what had arrived; 0 = none */
	uint64_t arrived_ns; /* when a report said that all tensors are there; 0 = none has */
	struct kerf_sender sender;
	struct kerf_receiver receiver;
	struct kerf_sample early; /* from a report before the last packet, not used yet */
	float *output; /* where the RESULT is decoded to */
};

/* A finished remote frame that is still to be compared. */
struct verify_entry {
	uint32_t number;
	struct kerf_frame_input input;
	bool exact; /* the server that made it promised the same bits */
	unsigned cut;
	enum kerf_codec codec;
	float *output;
};

struct session {
	enum kerf_session_state state;
	struct kerf_address peer;
	bool mac_given;
	bool same_fingerprint;
	uint32_t codecs; /* that the server speaks, a bit each */
	uint16_t id;
	uint64_t retry_ns;  /* when to ask again */
	uint64_t asked_ns;  /* when it was asked last */
	unsigned asks;      /* in this state */
	uint64_t heard_ns;
	unsigned unheard;         /* silences in a row that were long enough to tell */
	uint64_t silence_ns;      /* the one since, while frames were away */
	uint64_t silent_until_ns; /* it counts up to here */
	bool bye_due;
	char refusal[126];
};

struct kerf_device {
	struct kerf_device_options o;
	struct kerf_net net;
	struct kerf_plan plan;
	uint32_t codecs; /* of its candidates, a bit each */
	struct kerf_link up, down;
	struct session session;
	struct frame *frames;
	struct frame *running; /* whose range is on the core */
	struct kerf_sender probe;
	uint32_t probe_number;
	bool started, draining;
	uint64_t start_ns;
	uint64_t next_frame; /* the wire and the records have its lower 32 bits */
	size_t output_values;
	double result_span_ns; /* from a large result's first packet to its last, EWMA; 0 = not known yet */
	uint64_t server_work_ns, server_work_at_ns; /* as reported, and when */
	/* Sent for frames that were given up and not known to have arrived: bytes as of a time, which the link
	 * still has to carry; `frame` is the youngest of them and left at sent_ns. */
	struct { double bytes; uint64_t at_ns, sent_ns; uint32_t frame; } backlog;
	double late_share; /* of the remote frames, EWMA */
	/* Now, and what it tends to: less than asked for when queues on the way have overflowed. */
	double pace_gain, pace_bound;
	struct {
		struct verify_entry entries[DEVICE_VERIFY_QUEUE];
		unsigned head, count;
		/* Of the oldest entry: nothing, the part before a cut that lost something, the rest. */
		enum { VERIFY_WAITS, VERIFY_HEAD, VERIFY_TAIL } stage;
		unsigned slot;
	} verify;
	struct outbox out;
	struct kerf_device_stats stats;
};

/* device_session.c */
void session_begin(struct kerf_device *d);
void session_poll(struct kerf_device *d, uint64_t now);
uint64_t session_next(const struct kerf_device *d);
void session_lost(struct kerf_device *d, uint64_t now);
void session_bye(struct kerf_device *d, uint64_t now);
bool session_learn_mac(struct kerf_device *d, const uint8_t *packet, size_t len);
void session_acked(struct kerf_device *d, const struct kerf_header *h, const uint8_t *body,
	size_t len, uint64_t now);
void session_error(struct kerf_device *d, const struct kerf_header *h, const uint8_t *body,
	size_t len, uint64_t now);

/* device_frame.c */
bool frame_start_due(struct kerf_device *d, uint64_t now);
uint64_t frame_start_next(const struct kerf_device *d);
void frame_report(struct kerf_device *d, struct frame *f, const struct kerf_report *r,
	uint64_t now);
void frame_result(struct kerf_device *d, struct frame *f, const struct kerf_header *h,
	const uint8_t *payload, size_t len, uint32_t wire_len, uint64_t rx_ns, uint64_t now);
void frame_poll(struct kerf_device *d, struct frame *f, uint64_t now);
uint64_t frame_next(const struct kerf_device *d, const struct frame *f);
/* Frames go one after another: two trains at once would each see a part of the link's rate. */
bool frame_may_send(const struct kerf_device *d, const struct frame *f);
void frame_compute(struct kerf_device *d, uint64_t now);
uint64_t frame_compute_next(const struct kerf_device *d);
void frame_hedge(struct kerf_device *d, struct frame *f, uint64_t now);
void frame_abandon(struct kerf_device *d, struct frame *f, uint64_t now);

/* device_wait.c */
/* The frame has been sent. */
void wait_begin(struct kerf_device *d, struct frame *f, uint64_t now);
void wait_report(struct kerf_device *d, struct frame *f, const struct kerf_report *r, uint64_t now);
/* When the device goes on by itself, if no more is heard. */
uint64_t wait_end(const struct frame *f);
/* The device goes on by itself: what that tells of the link. */
void wait_is_late(struct kerf_device *d, struct frame *f, uint64_t now);
/* It was faster, and has cancelled the frame. */
void wait_given_up(struct kerf_device *d, struct frame *f, uint64_t now);
/* The frame is done, wherever. */
void wait_over(struct kerf_device *d, const struct frame *f, uint64_t now);
/* ns of work on the core that frames have been given. */
uint64_t wait_core_ns(const struct kerf_device *d);
/* ns of tails that frames under way will ask of the server. */
uint64_t wait_server_ns(const struct kerf_device *d);
/* ns for which the link still carries packets of given-up frames and of others than f (NULL = of all). */
uint64_t wait_link_ns(const struct kerf_device *d, const struct frame *f, uint64_t now);

/* The input to its place in a compute slot: pixels through the one conversion that the server uses.
 * */
void device_load(struct kerf_device *d, unsigned slot, const struct kerf_frame_input *in);

/* device_verify.c */
bool verify_push(struct kerf_device *d, const struct frame *f);
void verify_advance(struct kerf_device *d, uint64_t now);

struct kerf_sample report_sample(const struct kerf_report *r);
/* What a report says about the link up, whichever message it was for. */
void device_learn(struct kerf_device *d, const struct kerf_sender *s, const struct kerf_report *r,
	uint64_t now);
