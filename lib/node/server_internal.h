/* The server's state, shared by its files: server.c (packets, the poll, sessions) and
 * server_frame.c (a frame's way through the server). */
#pragma once

#include "node/node.h"
#include "node/outbox.h"

#define SERVER_RECENT 64 /* finished frames remembered per session */

struct client {
	bool open;
	uint16_t id;
	uint32_t nonce;
	bool jpeg; /* it makes the same pixels of one */
	struct kerf_address peer;
	uint32_t payload_bytes;
	uint64_t heard_ns;
	struct kerf_link down;
	struct kerf_receiver probe;
	uint64_t recent[SERVER_RECENT]; /* frames that get no context any more, +1; 0 = none */
	unsigned n_recent;
};

enum job_state {
	JOB_FREE,
	JOB_RECEIVING, /* tensors arrive */
	JOB_QUEUED,    /* complete, waits for the core */
	JOB_RUNNING,
	JOB_RESULT,    /* the result is on its way */
};

struct job {
	enum job_state state;
	unsigned slot;
	struct client *client;
	uint32_t frame;
	uint16_t cut;
	enum kerf_codec codec;
	uint64_t queued_ns, order;
	uint64_t queue_ns;
	uint8_t *pixels; /* cut 0 with codec u8 or jpeg */
	uint8_t *jpeg;   /* KERF_JPEG_MAX bytes; NULL = none is taken */
	size_t jpeg_bytes;
	uint64_t last_tx_ns; /* of the packet that made it complete, by its sender's clock */
	uint64_t duration_ns; /* from its first packet to that one */
	struct kerf_receiver receiver;
	struct kerf_sender sender;
};

struct kerf_server {
	struct kerf_server_options o;
	struct kerf_net net;
	struct client *clients;
	struct job *jobs;
	struct job *running;
	uint64_t order;
	uint16_t next_session;
	double *tail_ns; /* by cut: as measured last */
	double slowdown; /* of tails against whole_ns, EWMA; 0 = none was measured */
	uint64_t slowdown_at_ns; /* when one was last */
	size_t output_values;
	struct outbox out;
	struct kerf_server_stats stats;
};

bool client_finished_frame(const struct client *c, uint32_t frame);
void client_finish_frame(struct client *c, uint32_t frame);

/* server_frame.c */
void job_data(struct kerf_server *s, struct client *c, const struct rte_mbuf *m,
	const struct kerf_header *h, const uint8_t *payload, size_t len, uint64_t now);
void job_report(struct kerf_server *s, struct client *c, const struct kerf_header *h,
	const struct kerf_report *r, uint64_t now);
void job_cancel(struct kerf_server *s, struct client *c, uint32_t frame, uint64_t now);
void job_end(struct kerf_server *s, struct job *j, uint64_t now);
void job_poll(struct kerf_server *s, struct job *j, uint64_t now);
uint64_t job_next(const struct job *j);
void job_compute(struct kerf_server *s, uint64_t now);
uint64_t job_compute_next(const struct kerf_server *s);
/* What a report says of the server's load. */
void job_load(const struct kerf_server *s, struct kerf_report *r, uint64_t now);
