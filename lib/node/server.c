#include <stdlib.h>
#include <string.h>

#include "node/server_internal.h"

#define IDLE_NS (30 * KERF_NS_PER_S)
#define FRAME_IDLE_NS (2 * KERF_NS_PER_S)
#define PROBE_MAX_PACKETS 1024

/* ---- life ---- */

static int create_jobs(struct kerf_server *s)
{
	const struct kerf_graph *g = s->o.model->graph;
	const uint32_t result_room = (uint32_t)KERF_MIN(UINT16_MAX, s->output_values * 4 / 128 + 2);

	s->jobs = calloc(s->o.compute->n_slots, sizeof(s->jobs[0]));
	if (!s->jobs)
		return -ENOMEM;
	for (unsigned i = 0; i < s->o.compute->n_slots; i++) {
		struct job *j = &s->jobs[i];

		j->slot = i;
		j->pixels = calloc(1, kerf_tensor_elements(&g->tensors[g->input]));
		if (s->o.decode && s->o.picture)
			j->jpeg = malloc(KERF_JPEG_MAX);
		if (s->o.decode && s->o.picture && !j->jpeg)
			return -ENOMEM;
		/* How large the packets are is each session's affair; a packet takes one bit. */
		if (!j->pixels || kerf_receiver_create(&j->receiver, UINT16_MAX) < 0 ||
			kerf_sender_create(&j->sender, &s->net, result_room) < 0)
			return -ENOMEM;
	}
	return 0;
}

static int create_clients(struct kerf_server *s)
{
	s->clients = calloc(s->o.max_sessions, sizeof(s->clients[0]));
	if (!s->clients)
		return -ENOMEM;
	for (unsigned i = 0; i < s->o.max_sessions; i++)
		if (kerf_receiver_create(&s->clients[i].probe, PROBE_MAX_PACKETS) < 0)
			return -ENOMEM;
	return 0;
}

struct kerf_server *kerf_server_create(const struct kerf_server_options *o, struct kerf_err *err)
{
	const struct kerf_graph *g = o->model->graph;
	struct kerf_server *s = calloc(1, sizeof(*s));

	if (!s)
		goto no_memory;
	s->o = *o;
	s->net = o->net;
	s->o.max_sessions = o->max_sessions ? o->max_sessions : 16;
	s->o.idle_ns = o->idle_ns ? o->idle_ns : IDLE_NS;
	s->o.fingerprint = o->fingerprint ? o->fingerprint : kerf_engine_fingerprint();
	s->next_session = 1;
	s->output_values = kerf_tensor_elements(&g->tensors[g->output]);
	s->tail_ns = calloc(o->model->n_cuts, sizeof(s->tail_ns[0]));
	if (!s->tail_ns || create_jobs(s) < 0 || create_clients(s) < 0)
		goto no_memory;
	/* Until a tail was measured: its share of the nodes. */
	for (unsigned k = 0; k < o->model->n_cuts; k++)
		s->tail_ns[k] = o->whole_ns * (g->n_nodes - (int)k) / g->n_nodes;
	return s;

no_memory:
	kerf_err_set(err, -ENOMEM, "no memory for %u contexts", o->compute->n_slots);
	kerf_server_destroy(s);
	return NULL;
}

void kerf_server_destroy(struct kerf_server *s)
{
	if (!s)
		return;
	for (unsigned i = 0; s->jobs && i < s->o.compute->n_slots; i++) {
		kerf_receiver_destroy(&s->jobs[i].receiver);
		kerf_sender_destroy(&s->jobs[i].sender);
		free(s->jobs[i].pixels);
		free(s->jobs[i].jpeg);
	}
	for (unsigned i = 0; s->clients && i < s->o.max_sessions; i++)
		kerf_receiver_destroy(&s->clients[i].probe);
	outbox_clear(&s->out);
	free(s->jobs);
	free(s->clients);
	free(s->tail_ns);
	free(s);
}

/* ---- sessions ---- */

bool client_finished_frame(const struct client *c, uint32_t frame)
{
	for (unsigned i = 0; i < SERVER_RECENT; i++)
		if (c->recent[i] == frame + 1ull)
			return true;
	return false;
}

void client_finish_frame(struct client *c, uint32_t frame)
{
	c->recent[c->n_recent++ % SERVER_RECENT] = frame + 1ull;
}

static void close_client(struct kerf_server *s, struct client *c, uint64_t now)
{
	for (unsigned i = 0; i < s->o.compute->n_slots; i++) {
		struct job *j = &s->jobs[i];

		if (j->state == JOB_FREE || j->client != c)
			continue;
		s->stats.abandoned++;
		job_end(s, j, now);
	}
	if (c->probe.active)
		kerf_receiver_finish(&c->probe);
	c->open = false;
}

static bool same_end(const struct kerf_address *a, const struct kerf_address *b)
{
	return a->ip == b->ip && a->port == b->port;
}

static struct client *client_of(struct kerf_server *s, const struct kerf_header *h,
	const struct kerf_address *from)
{
	for (unsigned i = 0; i < s->o.max_sessions; i++)
		if (s->clients[i].open && s->clients[i].id == h->session &&
			same_end(&s->clients[i].peer, from))
			return &s->clients[i];
	return NULL;
}

/* The session of this incarnation of a device, or a new one in place of its last incarnation's. */
static struct client *open_client(struct kerf_server *s, const struct kerf_address *from,
	const struct kerf_hello *hello, uint64_t now)
{
	struct client *room = NULL;

	for (unsigned i = 0; i < s->o.max_sessions; i++) {
		struct client *c = &s->clients[i];

		if (c->open && same_end(&c->peer, from)) {
			if (c->nonce == hello->nonce)
				return c;
			close_client(s, c, now);
		}
		if (!c->open && !room)
			room = c;
	}
	if (!room)
		return NULL;
	*room = (struct client){.probe = room->probe,
		.open = true,
		.id = s->next_session,
		.nonce = hello->nonce,
		.jpeg = s->o.decode && s->o.picture && s->o.picture == hello->picture,
		.payload_bytes = KERF_MIN(hello->payload_bytes, s->o.net.payload_bytes)};
	s->next_session = s->next_session == UINT16_MAX ? 1 : s->next_session + 1;
	s->stats.sessions++;
	return room;
}

static void refuse(struct kerf_server *s, const struct kerf_address *to, uint16_t session,
	enum kerf_wire_error_code code, const char *text, uint64_t now)
{
	const struct kerf_header h = {
		.type = KERF_MSG_ERROR, .session = session, .count = 1, .tx_ns = now};
	void *body;
	struct rte_mbuf *m =
		kerf_net_packet(&s->net, to, &h, sizeof(struct kerf_wire_error), &body);

	if (m)
		kerf_wire_put_error(body, code, text);
	outbox_put(&s->out, m);
}

static void acknowledge(struct kerf_server *s, const struct client *c, uint64_t now)
{
	const struct kerf_header h = {
		.type = KERF_MSG_HELLO_ACK, .session = c->id, .count = 1, .tx_ns = now};
	struct kerf_hello ack = {
		.fingerprint = s->o.fingerprint,
		.whole_ns = (uint64_t)s->o.whole_ns,
		.nonce = c->nonce,
		.codecs = ((1u << KERF_CODEC_COUNT) - 1) & ~(c->jpeg ? 0 : 1u << KERF_CODEC_JPEG),
		.payload_bytes = c->payload_bytes,
		.picture = s->o.picture,
	};
	struct rte_mbuf *m;
	void *body;

	memcpy(ack.digest, s->o.model->graph->digest, sizeof(ack.digest));
	kerf_engine_fingerprint_text(ack.fingerprint_text, sizeof(ack.fingerprint_text));
	m = kerf_net_packet(&s->net, &c->peer, &h, sizeof(struct kerf_wire_hello), &body);
	if (m)
		kerf_wire_put_hello(body, &ack);
	outbox_put(&s->out, m);
}

static bool same_pixels(const struct kerf_pixel_format *p, const struct kerf_hello *h)
{
	return p->channels == h->pixel_channels &&
		!memcmp(p->scale, h->pixel_scale, sizeof(p->scale)) &&
		!memcmp(p->bias, h->pixel_bias, sizeof(p->bias));
}

/* Why this device cannot be served, or 0; *text says it. */
static enum kerf_wire_error_code objection(const struct kerf_server *s, const struct kerf_hello *h,
	char *text, size_t len)
{
	const uint8_t *ours = s->o.model->graph->digest;

	if (memcmp(h->digest, ours, KERF_DIGEST_LEN)) {
		snprintf(text, len,
			"model mismatch: server runs %s (%02x%02x%02x%02x), device "
			"%02x%02x%02x%02x",
			s->o.model->graph->name, ours[0], ours[1], ours[2], ours[3], h->digest[0],
			h->digest[1], h->digest[2], h->digest[3]);
		return KERF_ERROR_MODEL;
	}
	if (!same_pixels(&s->o.model->pixels, h)) {
		snprintf(text, len, "model mismatch: mean, std or channels of the pictures differ");
		return KERF_ERROR_MODEL;
	}
	if (!(h->codecs & (1u << KERF_CODEC_F32)) || h->payload_bytes < 256) {
		snprintf(text, len, "no codec in common, or packets smaller than 256 bytes");
		return KERF_ERROR_CODEC;
	}
	return 0;
}

static void take_hello(struct kerf_server *s, const struct kerf_address *from, const uint8_t *body,
	size_t len, uint64_t now)
{
	struct kerf_hello hello;
	char text[126];
	enum kerf_wire_error_code code;
	struct client *c;

	if (kerf_wire_get_hello(body, len, &hello) < 0) {
		s->net.drops[KERF_DROP_MALFORMED]++;
		return;
	}
	code = objection(s, &hello, text, sizeof(text));
	if (code) {
		s->stats.refused++;
		refuse(s, from, 0, code, text, now);
		return;
	}
	c = open_client(s, from, &hello, now);
	if (!c) {
		s->stats.refused++;
		refuse(s, from, 0, KERF_ERROR_FULL, "the server has no room for more sessions",
			now);
		return;
	}
	c->peer = *from;
	c->heard_ns = now;
	acknowledge(s, c, now);
}

/* ---- packets in ---- */

static void take_probe(struct kerf_server *s, struct client *c, const struct rte_mbuf *m,
	const struct kerf_header *h, const uint8_t *payload, size_t len, uint64_t now)
{
	int rc = 0;

	if (c->probe.active && c->probe.frame != h->frame)
		kerf_receiver_finish(&c->probe);
	if (!c->probe.active)
		rc = kerf_receiver_start(&c->probe, h, NULL, 0, c->payload_bytes, now);
	if (rc == 0)
		rc = kerf_receiver_packet(&c->probe, h, payload, len,
			rte_pktmbuf_pkt_len(m) + s->net.overhead_bytes,
			kerf_net_rx_time(&s->net, m, now));
	kerf_receiver_taken(&c->probe, now);
	if (rc < 0)
		s->net.drops[rc == -EALREADY ? KERF_DROP_DUPLICATE : KERF_DROP_UNEXPECTED]++;
}

static void take_session_packet(struct kerf_server *s, struct client *c, const struct rte_mbuf *m,
	const struct kerf_header *h, const uint8_t *payload, size_t len, uint64_t now)
{
	struct kerf_report r;

	c->heard_ns = now;
	switch (h->type) {
	case KERF_MSG_DATA:
		job_data(s, c, m, h, payload, len, now);
		break;
	case KERF_MSG_PROBE:
		take_probe(s, c, m, h, payload, len, now);
		break;
	case KERF_MSG_REPORT:
		if (kerf_wire_get_report(payload, len, &r) < 0)
			s->net.drops[KERF_DROP_MALFORMED]++;
		else if (r.of_type == KERF_MSG_RESULT)
			job_report(s, c, h, &r, now);
		else
			s->net.drops[KERF_DROP_UNEXPECTED]++;
		break;
	case KERF_MSG_CANCEL:
		job_cancel(s, c, h->frame, now);
		break;
	case KERF_MSG_BYE:
		close_client(s, c, now);
		break;
	default:
		s->net.drops[KERF_DROP_UNEXPECTED]++;
	}
}

static void take_packet(struct kerf_server *s, struct rte_mbuf *m, uint64_t now)
{
	struct rte_mbuf *reply = NULL;
	struct kerf_address from;
	struct kerf_header h;
	const uint8_t *payload;
	struct client *c;
	size_t len;
	int rc;

	rc = kerf_net_receive(&s->net, m, &h, &payload, &len, &reply);
	outbox_put(&s->out, reply);
	if (rc < 0 && rc != -EPROTONOSUPPORT)
		return;
	kerf_wire_source(rte_pktmbuf_mtod(m, const void *), &from);
	if (rc == -EPROTONOSUPPORT) {
		refuse(s, &from, h.session, KERF_ERROR_VERSION,
			"the server speaks protocol version 1 only", now);
		return;
	}
	if (h.type == KERF_MSG_HELLO) {
		take_hello(s, &from, payload, len, now);
		return;
	}
	c = client_of(s, &h, &from);
	if (c) {
		take_session_packet(s, c, m, &h, payload, len, now);
		return;
	}
	s->net.drops[KERF_DROP_SESSION]++;
	/* One answer a message: the device then asks for a new session. */
	if ((h.type == KERF_MSG_DATA || h.type == KERF_MSG_PROBE) && h.index == 0)
		refuse(s, &from, h.session, KERF_ERROR_SESSION, "unknown session", now);
}

void kerf_server_receive(struct kerf_server *s, struct rte_mbuf **pkts, unsigned n, uint64_t now)
{
	for (unsigned i = 0; i < n; i++) {
		take_packet(s, pkts[i], now);
		rte_pktmbuf_free(pkts[i]);
	}
}

/* ---- work and packets out ---- */

static void say_bye(struct kerf_server *s, const struct client *c, uint64_t now)
{
	const struct kerf_header h = {
		.type = KERF_MSG_BYE, .session = c->id, .count = 1, .tx_ns = now};
	void *body;

	outbox_put(&s->out, kerf_net_packet(&s->net, &c->peer, &h, 0, &body));
}

static void poll_client(struct kerf_server *s, struct client *c, uint64_t now)
{
	struct kerf_report r;

	if (!c->open)
		return;
	if (c->probe.active && kerf_receiver_report_due(&c->probe, now)) {
		kerf_receiver_report(&c->probe, &r, now);
		job_load(s, &r, now);
		outbox_put(&s->out, kerf_report_packet(&s->net, &c->peer, c->id, c->probe.frame, &r,
			now));
	}
	if (now - c->heard_ns > s->o.idle_ns) {
		say_bye(s, c, now);
		close_client(s, c, now);
	}
}

/* A frame whose sender fell silent must not keep its context for ever. */
static void drop_silent(struct kerf_server *s, struct job *j, uint64_t now)
{
	if (j->state != JOB_RECEIVING || now - j->receiver.taken_ns < FRAME_IDLE_NS)
		return;
	s->stats.abandoned++;
	job_end(s, j, now);
}

unsigned kerf_server_poll(struct kerf_server *s, uint64_t now, struct rte_mbuf **pkts, unsigned max)
{
	unsigned n;

	for (unsigned i = 0; i < s->o.max_sessions; i++)
		poll_client(s, &s->clients[i], now);
	for (unsigned i = 0; i < s->o.compute->n_slots; i++) {
		job_poll(s, &s->jobs[i], now);
		drop_silent(s, &s->jobs[i], now);
	}
	n = outbox_take(&s->out, pkts, max);
	for (unsigned i = 0; i < s->o.compute->n_slots; i++)
		if (s->jobs[i].state == JOB_RESULT)
			n += kerf_sender_poll(&s->jobs[i].sender, now, pkts + n, max - n);
	/* What is due goes out before a long step begins, unless nothing can go out. */
	if (n < max || max == 0)
		job_compute(s, now);
	return n;
}

uint64_t kerf_server_next(const struct kerf_server *s)
{
	uint64_t t = job_compute_next(s);

	if (s->out.n)
		return 0;
	for (unsigned i = 0; i < s->o.max_sessions; i++) {
		const struct client *c = &s->clients[i];

		if (!c->open)
			continue;
		t = KERF_MIN(t, c->heard_ns + s->o.idle_ns + 1);
		if (c->probe.active)
			t = KERF_MIN(t, kerf_receiver_next(&c->probe));
	}
	for (unsigned i = 0; i < s->o.compute->n_slots; i++) {
		t = KERF_MIN(t, job_next(&s->jobs[i]));
		if (s->jobs[i].state == JOB_RECEIVING)
			t = KERF_MIN(t, s->jobs[i].receiver.taken_ns + FRAME_IDLE_NS);
	}
	return t;
}

void kerf_server_drain(struct kerf_server *s)
{
	for (unsigned i = 0; i < s->o.max_sessions; i++) {
		struct client *c = &s->clients[i];

		if (!c->open)
			continue;
		say_bye(s, c, c->heard_ns);
		close_client(s, c, c->heard_ns);
	}
}

const struct kerf_server_stats *kerf_server_stats(const struct kerf_server *s)
{
	return &s->stats;
}

const struct kerf_net *kerf_server_net(const struct kerf_server *s)
{
	return &s->net;
}
