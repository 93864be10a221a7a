/*
 * The sending half of a message: its packets, encoded on demand and kept until the peer has
 * confirmed them. When they leave is in pacer.c, what reports make of them in repair.c.
 */
#include <stdlib.h>
#include <string.h>

#include "transport/sender_internal.h"

#define DEFAULT_RTO_NS 100000000ull
#define DEFAULT_TRIES 8

/* Slower than this no link is: kerf_link_update refuses such samples too. */
#define MAX_TAU 10.0

int kerf_sender_create(struct kerf_sender *s, struct kerf_net *net, uint32_t max_packets)
{
	*s = (struct kerf_sender){.net = net, .capacity = max_packets};
	s->held = calloc(max_packets, sizeof(*s->held));
	s->pending = calloc(max_packets / 64 + 1, sizeof(*s->pending));
	s->sent_ns = calloc(max_packets, sizeof(*s->sent_ns));
	s->sends = calloc(max_packets, sizeof(*s->sends));
	if (s->held && s->pending && s->sent_ns && s->sends)
		return 0;
	kerf_sender_destroy(s);
	return -ENOMEM;
}

void kerf_sender_destroy(struct kerf_sender *s)
{
	if (s->held)
		kerf_sender_finish(s, KERF_SENDER_IDLE, 0);
	free(s->held);
	free(s->pending);
	free(s->sent_ns);
	free(s->sends);
	*s = (struct kerf_sender){0};
}

void kerf_sender_release(struct kerf_sender *s, uint32_t index)
{
	rte_pktmbuf_free(s->held[index]);
	s->held[index] = NULL;
	s->n_held--;
	if (bit_is_set(s->pending, index)) {
		bit_clear(s->pending, index);
		s->n_pending--;
	}
}

void kerf_sender_finish(struct kerf_sender *s, enum kerf_sender_state state, uint64_t now)
{
	for (uint32_t i = 0; i < s->encoded; i++)
		if (s->held[i])
			kerf_sender_release(s, i);
	s->encoded = 0;
	s->n_pending = 0;
	s->state = state;
	s->finished_ns = now;
}

bool kerf_sender_is_active(const struct kerf_sender *s)
{
	return s->state == KERF_SENDER_SENDING || s->state == KERF_SENDER_WAITING;
}

/* ---- start ---- */

static int make_layout(struct kerf_layout *l, const struct kerf_message *msg)
{
	if (msg->type == KERF_MSG_PROBE) {
		if (msg->probe_packets == 0 || msg->probe_packets > UINT16_MAX)
			return -EMSGSIZE;
		*l = (struct kerf_layout){.n_packets = msg->probe_packets};
		return 0;
	}
	if ((msg->type != KERF_MSG_DATA && msg->type != KERF_MSG_RESULT) ||
		msg->n_parts > KERF_MAX_PARTS || kerf_parts_values(msg->parts, msg->n_parts) == 0 ||
		!kerf_parts_fit_codec(msg->parts, msg->n_parts, msg->codec))
		return -EINVAL;
	return kerf_layout_make(l, kerf_parts_blocks(msg->parts, msg->n_parts, msg->codec),
		kerf_codec_info(msg->codec)->block_bytes, msg->payload_bytes);
}

static void fill_message(struct kerf_message *m, uint32_t net_payload_bytes)
{
	if (m->payload_bytes == 0 || m->payload_bytes > net_payload_bytes)
		m->payload_bytes = net_payload_bytes;
	if (m->rto_ns == 0)
		m->rto_ns = DEFAULT_RTO_NS;
	if (m->max_tries == 0)
		m->max_tries = DEFAULT_TRIES;
	if (m->type == KERF_MSG_PROBE || !(m->tau > 0))
		m->tau = 0; /* a probe train leaves back to back */
	m->tau = KERF_MIN(m->tau, MAX_TAU);
}

static void fill_descriptor(struct kerf_message *m)
{
	m->descriptor.values = kerf_parts_values(m->parts, m->n_parts);
	m->descriptor.bytes = kerf_parts_bytes(m->parts, m->n_parts, m->codec);
	m->descriptor.payload_bytes = m->payload_bytes;
	m->descriptor.cut = m->cut;
	m->descriptor.codec = (uint8_t)m->codec;
	m->descriptor.n_tensors = (uint8_t)m->n_parts;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(m->descriptor.dims); i++)
		m->descriptor.dims[i] += m->descriptor.dims[i] == 0;
}

void kerf_sender_schedule_all(struct kerf_sender *s)
{
	uint32_t n = s->layout.n_packets;

	memset(s->pending, 0xff, n / 64 * sizeof(*s->pending));
	s->pending[n / 64] = (1ull << (n % 64)) - 1;
	s->n_pending = n;
	s->cursor = 0;
	s->state = KERF_SENDER_SENDING;
}

int kerf_sender_start(struct kerf_sender *s, const struct kerf_message *msg, uint64_t now)
{
	struct kerf_message m = *msg;
	struct kerf_layout layout;

	fill_message(&m, s->net->payload_bytes);
	if (m.payload_bytes < MIN_PAYLOAD_BYTES)
		return -EMSGSIZE;
	int rc = make_layout(&layout, &m);
	if (rc < 0)
		return rc;
	if (layout.n_packets > s->capacity)
		return -EMSGSIZE;

	kerf_sender_finish(s, KERF_SENDER_IDLE, now);
	if (m.type != KERF_MSG_PROBE)
		fill_descriptor(&m);
	s->msg = m;
	s->layout = layout;
	memset(s->sends, 0, layout.n_packets * sizeof(*s->sends));
	s->n_unsent = layout.n_packets;
	s->next_tx_ns = s->quiet_ns = s->started_ns = s->heard_ns = now;
	s->last_stamp_ns = 0;
	s->pace_rest_ns = 0;
	s->finished_ns = s->restarted_ns = s->wire_bytes = 0;
	s->blocked = s->ask = false;
	s->tries = s->repeats = 0;
	kerf_sender_schedule_all(s);
	return 0;
}

/* ---- encoding ---- */

static size_t packet_bytes(const struct kerf_sender *s, uint32_t index)
{
	const struct kerf_message *m = &s->msg;
	uint32_t first, n, offset;

	if (m->type == KERF_MSG_PROBE)
		return m->payload_bytes;
	kerf_layout_packet(&s->layout, index, &first, &n, &offset);
	return offset + kerf_parts_range_bytes(m->parts, m->n_parts, m->codec, first, n);
}

static void fill_payload(const struct kerf_sender *s, uint32_t index, uint8_t *payload)
{
	const struct kerf_message *m = &s->msg;
	uint32_t first, n, offset;

	if (m->type == KERF_MSG_PROBE) {
		/* Whatever the mbuf held before is nobody's business on the other side. */
		memset(payload, 0, m->payload_bytes);
		return;
	}
	kerf_layout_packet(&s->layout, index, &first, &n, &offset);
	if (index == 0)
		kerf_wire_put_descriptor(payload, &m->descriptor);
	kerf_parts_encode(m->parts, m->n_parts, m->codec, first, n, payload + offset);
}

bool kerf_sender_encode_next(struct kerf_sender *s)
{
	const struct kerf_message *m = &s->msg;
	uint32_t index = s->encoded;
	const struct kerf_header h = {
		.type = m->type,
		.session = m->session,
		.frame = m->frame,
		.index = (uint16_t)index,
		.count = (uint16_t)s->layout.n_packets,
		.cut = m->cut,
		.codec = (uint8_t)m->codec,
	};
	void *payload;
	struct rte_mbuf *packet =
		kerf_net_build(s->net, &m->to, &h, packet_bytes(s, index), &payload);

	if (!packet)
		return false;
	fill_payload(s, index, payload);
	s->held[index] = packet;
	s->n_held++;
	s->encoded++;
	return true;
}

int kerf_sender_encode_all(struct kerf_sender *s)
{
	if (!kerf_sender_is_active(s))
		return 0;
	while (s->encoded < s->layout.n_packets)
		if (!kerf_sender_encode_next(s))
			return -ENOMEM;
	return 0;
}
