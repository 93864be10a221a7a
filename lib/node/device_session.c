#include <string.h>

#include "node/device_internal.h"

#define ASK_EVERY_NS (200 * 1000000ull)

static bool mac_known(const struct kerf_address *a)
{
	static const uint8_t none[6];

	return memcmp(a->mac, none, sizeof(none)) != 0;
}

static void enter(struct session *s, enum kerf_session_state state)
{
	s->state = state;
	s->retry_ns = 0;
	s->unheard = s->asks = 0;
	s->silence_ns = 0;
}

void session_begin(struct kerf_device *d)
{
	struct session *s = &d->session;

	s->peer = d->o.server;
	s->mac_given = mac_known(&s->peer);
	enter(s, s->mac_given ? KERF_SESSION_HELLO : KERF_SESSION_RESOLVING);
}

static void ask_mac(struct kerf_device *d)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(d->net.pool);
	size_t len;

	if (!m) {
		d->net.drops[KERF_DROP_NO_MBUF]++;
		return;
	}
	len = kerf_wire_arp_request(rte_pktmbuf_mtod(m, void *), &d->net.self, d->session.peer.ip);
	rte_pktmbuf_append(m, (uint16_t)len);
	outbox_put(&d->out, m);
}

static void say_hello(struct kerf_device *d, uint64_t now)
{
	const struct kerf_pixel_format *p = &d->o.model->pixels;
	struct kerf_header h = {.type = KERF_MSG_HELLO, .count = 1, .tx_ns = now};
	struct kerf_hello hello = {
		.fingerprint = d->o.fingerprint,
		.whole_ns = (uint64_t)d->o.whole_ns,
		.nonce = d->o.nonce,
		.codecs = ((1u << KERF_CODEC_COUNT) - 1) & ~(d->o.picture ? 0 : 1u << KERF_CODEC_JPEG),
		.picture = d->o.picture,
		.payload_bytes = d->o.net.payload_bytes,
		.pixel_channels = p->channels,
	};
	struct rte_mbuf *m;
	void *body;

	memcpy(hello.digest, d->o.model->graph->digest, sizeof(hello.digest));
	memcpy(hello.pixel_scale, p->scale, sizeof(hello.pixel_scale));
	memcpy(hello.pixel_bias, p->bias, sizeof(hello.pixel_bias));
	kerf_engine_fingerprint_text(hello.fingerprint_text, sizeof(hello.fingerprint_text));
	m = kerf_net_packet(&d->net, &d->session.peer, &h, sizeof(struct kerf_wire_hello), &body);
	if (m)
		kerf_wire_put_hello(body, &hello);
	outbox_put(&d->out, m);
}

void session_poll(struct kerf_device *d, uint64_t now)
{
	struct session *s = &d->session;

	if (s->state == KERF_SESSION_READY || s->state == KERF_SESSION_REFUSED || now < s->retry_ns)
		return;
	if (s->state == KERF_SESSION_RESOLVING)
		ask_mac(d);
	else
		say_hello(d, now);
	s->asked_ns = now;
	s->asks++;
	s->retry_ns = now + ASK_EVERY_NS;
}

uint64_t session_next(const struct kerf_device *d)
{
	const struct session *s = &d->session;

	return s->state == KERF_SESSION_READY || s->state == KERF_SESSION_REFUSED ? UINT64_MAX
										   : s->retry_ns;
}

/* The server is gone, or no longer knows us: forget the link, finish frames here, ask again. */
void session_lost(struct kerf_device *d, uint64_t now)
{
	struct session *s = &d->session;

	if (s->state != KERF_SESSION_READY)
		return;
	d->stats.sessions_lost++;
	enter(s, s->mac_given ? KERF_SESSION_HELLO : KERF_SESSION_RESOLVING);
	s->retry_ns = now + ASK_EVERY_NS / 10;
	kerf_link_reset(&d->up);
	kerf_link_reset(&d->down);
	d->result_span_ns = 0;
	d->server_work_ns = 0;
	d->backlog.bytes = 0;
	d->pace_gain = d->pace_bound = d->o.pace_gain;
	if (d->probe.state == KERF_SENDER_SENDING || d->probe.state == KERF_SENDER_WAITING)
		kerf_sender_finish(&d->probe, KERF_SENDER_FAILED, now);
	for (unsigned i = 0; i < d->o.in_flight; i++)
		frame_abandon(d, &d->frames[i], now);
}

void session_bye(struct kerf_device *d, uint64_t now)
{
	struct kerf_header h = {
		.type = KERF_MSG_BYE, .session = d->session.id, .count = 1, .tx_ns = now};
	void *body;

	if (d->session.state == KERF_SESSION_READY)
		outbox_put(&d->out, kerf_net_packet(&d->net, &d->session.peer, &h, 0, &body));
}

bool session_learn_mac(struct kerf_device *d, const uint8_t *packet, size_t len)
{
	struct session *s = &d->session;

	if (s->state != KERF_SESSION_RESOLVING ||
		!kerf_wire_arp_learn(packet, len, s->peer.ip, s->peer.mac))
		return false;
	enter(s, KERF_SESSION_HELLO);
	return true;
}

void session_acked(struct kerf_device *d, const struct kerf_header *h, const uint8_t *body,
	size_t len, uint64_t now)
{
	struct session *s = &d->session;
	struct kerf_hello ack;
	bool asked_once;

	if (s->state == KERF_SESSION_READY && h->session == s->id) {
		d->net.drops[KERF_DROP_DUPLICATE]++;
		return;
	}
	if (s->state != KERF_SESSION_HELLO || kerf_wire_get_hello(body, len, &ack) < 0 ||
		ack.nonce != d->o.nonce || ack.payload_bytes < 256 ||
		ack.payload_bytes > d->o.net.payload_bytes) {
		d->net.drops[KERF_DROP_UNEXPECTED]++;
		return;
	}
	s->codecs = ack.codecs;
	/* A plan that may choose goes without JPEG where the server makes other pixels of one. */
	if (d->codecs & ~ack.codecs &
		~(d->plan.options.mode == KERF_PLAN_DYNAMIC ? 1u << KERF_CODEC_JPEG : 0)) {
		snprintf(s->refusal, sizeof(s->refusal),
			"the server does not speak all codecs of the plan (it has %#x, needed are "
			"%#x)", ack.codecs, d->codecs);
		enter(s, KERF_SESSION_REFUSED);
		return;
	}
	asked_once = s->asks == 1;
	enter(s, KERF_SESSION_READY);
	s->id = h->session;
	s->heard_ns = now;
	s->same_fingerprint = ack.fingerprint == d->o.fingerprint;
	d->net.payload_bytes = ack.payload_bytes;
	d->stats.sessions++;
	if (asked_once) /* else nobody knows which HELLO this answers */
		kerf_link_update_rtt(&d->up, now - s->asked_ns, now);
	if (ack.whole_ns && d->o.whole_ns > 0)
		kerf_plan_server_speed(&d->plan, (double)ack.whole_ns / d->o.whole_ns);
}

void session_error(struct kerf_device *d, const struct kerf_header *h, const uint8_t *body,
	size_t len, uint64_t now)
{
	struct session *s = &d->session;
	uint16_t code;
	char text[126];

	if (kerf_wire_get_error(body, len, &code, text) < 0) {
		d->net.drops[KERF_DROP_MALFORMED]++;
	} else if (code == KERF_ERROR_SESSION) {
		if (h->session == s->id)
			session_lost(d, now);
	} else if (s->state == KERF_SESSION_HELLO) {
		memcpy(s->refusal, text, sizeof(s->refusal));
		/* A full server may have room later; any other refusal stays. */
		if (code != KERF_ERROR_FULL)
			enter(s, KERF_SESSION_REFUSED);
	}
}
