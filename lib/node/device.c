#include <stdlib.h>
#include <string.h>

#include "node/device_internal.h"

#define WAIT_FOR_SERVER_NS (2 * KERF_NS_PER_S)
#define TX_TIME_MASK ((1ull << 48) - 1)

/* ---- life ---- */

static uint32_t largest_message(const struct kerf_device_options *o)
{
	uint64_t largest = DEVICE_PROBE_PACKETS;

	for (unsigned i = 0; i < o->n_candidates; i++) {
		const struct kerf_plan_candidate *c = &o->candidates[i];

		/* A session may agree on payloads of 256 bytes, of which a block leaves at most
		 * half unused. */
		if (!c->local)
			largest = KERF_MAX(largest, (c->own_bytes ? KERF_JPEG_MAX : c->wire_bytes) / 128 + 2);
	}
	return (uint32_t)KERF_MIN(largest, UINT16_MAX);
}

static int create_frames(struct kerf_device *d)
{
	const uint32_t room = largest_message(&d->o);
	const uint32_t result_room = (uint32_t)KERF_MIN(UINT16_MAX,
		d->output_values * sizeof(float) / 128 + 2);

	d->frames = calloc(d->o.in_flight, sizeof(d->frames[0]));
	if (!d->frames)
		return -ENOMEM;
	for (unsigned i = 0; i < d->o.in_flight; i++) {
		struct frame *f = &d->frames[i];

		f->slot = i;
		f->output = calloc(d->output_values, sizeof(float));
		if (!f->output || kerf_sender_create(&f->sender, &d->net, room) < 0 ||
			kerf_receiver_create(&f->receiver, result_room) < 0)
			return -ENOMEM;
	}
	return kerf_sender_create(&d->probe, &d->net, DEVICE_PROBE_PACKETS);
}

static int create_verify(struct kerf_device *d)
{
	d->verify.slot = d->o.in_flight;
	for (unsigned i = 0; d->o.verify && i < DEVICE_VERIFY_QUEUE; i++) {
		d->verify.entries[i].output = calloc(d->output_values, sizeof(float));
		if (!d->verify.entries[i].output)
			return -ENOMEM;
	}
	return 0;
}

struct kerf_device *kerf_device_create(const struct kerf_device_options *o, struct kerf_err *err)
{
	const struct kerf_graph *g = o->model->graph;
	struct kerf_device *d = calloc(1, sizeof(*d));

	if (!d) {
		kerf_err_set(err, -ENOMEM, "no memory for the device");
		return NULL;
	}
	d->o = *o;
	d->net = o->net;
	d->o.fingerprint = o->fingerprint ? o->fingerprint : kerf_engine_fingerprint();
	d->o.in_flight = o->in_flight ? o->in_flight : 1;
	d->o.skip_backlog = o->skip_backlog ? o->skip_backlog : 2;
	d->o.pace_gain = o->pace_gain > 0 ? o->pace_gain : 3;
	d->pace_gain = d->pace_bound = d->o.pace_gain;
	d->o.race_share = o->race_share > 0 ? o->race_share : 0.2;
	d->output_values = kerf_tensor_elements(&g->tensors[g->output]);
	if (o->compute->n_slots < d->o.in_flight + o->verify) {
		kerf_err_set(err, -EINVAL, "%u contexts are too few for %u frames in flight%s",
			o->compute->n_slots, d->o.in_flight, o->verify ? " and verifying" : "");
		goto fail;
	}
	if (o->verify && d->o.in_flight > DEVICE_VERIFY_QUEUE) {
		kerf_err_set(err, -EINVAL, "%u frames in flight are too many to verify, at most %u",
			d->o.in_flight, DEVICE_VERIFY_QUEUE);
		goto fail;
	}
	if (kerf_plan_create(&d->plan, &o->policy, o->candidates, o->n_candidates, err) < 0)
		goto fail;
	for (unsigned i = 0; i < o->n_candidates; i++)
		if (!o->candidates[i].local)
			d->codecs |= 1u << o->candidates[i].codec;
	if (create_frames(d) < 0 || create_verify(d) < 0) {
		kerf_err_set(err, -ENOMEM, "no memory for %u frames in flight", d->o.in_flight);
		goto fail;
	}
	d->o.candidates = NULL; /* the plan has a copy */
	session_begin(d);
	return d;

fail:
	kerf_device_destroy(d);
	return NULL;
}

void kerf_device_destroy(struct kerf_device *d)
{
	if (!d)
		return;
	for (unsigned i = 0; d->frames && i < d->o.in_flight; i++) {
		kerf_sender_destroy(&d->frames[i].sender);
		kerf_receiver_destroy(&d->frames[i].receiver);
		free(d->frames[i].output);
	}
	for (unsigned i = 0; i < DEVICE_VERIFY_QUEUE; i++)
		free(d->verify.entries[i].output);
	kerf_sender_destroy(&d->probe);
	outbox_clear(&d->out);
	kerf_plan_destroy(&d->plan);
	free(d->frames);
	free(d);
}

/* ---- packets in ---- */

static struct frame *frame_of(struct kerf_device *d, uint32_t number)
{
	for (unsigned i = 0; i < d->o.in_flight; i++)
		if (d->frames[i].remote_open && d->frames[i].number == number &&
			(d->frames[i].state == FRAME_REMOTE || d->frames[i].state == FRAME_HEDGE))
			return &d->frames[i];
	return NULL;
}

/*
 * Round trip of the packet that a report echoes, without the time that the train queued behind itself: by that much
 * its reception lasted longer than its transmission. Stamps tell repeats apart, but a repeat is not part of the train:
 * after one, the queue is left in.
 */
static void learn_rtt(struct kerf_device *d, const struct kerf_sender *s,
	const struct kerf_report *r, uint64_t now)
{
	const uint64_t rtt = ((now - r->echo_tx_ns) & TX_TIME_MASK) - r->hold_ns;
	const uint64_t sent = (r->echo_tx_ns - s->started_ns) & TX_TIME_MASK;
	const uint64_t queued = s->repeats == 0 && r->duration_ns > sent ? r->duration_ns - sent : 0;

	if (rtt < 60 * KERF_NS_PER_S && queued < rtt)
		kerf_link_update_rtt(&d->up, rtt - queued, now);
}

struct kerf_sample report_sample(const struct kerf_report *r)
{
	return (struct kerf_sample){
		.label = r->label, .tau = r->tau, .error = r->tau_error, .packets = r->received};
}

/*
 * A train that a single poll took in tells nothing about the link by its own times, but it was here
 * before its report was: the link is at least that fast.
 */
static struct kerf_sample sample_of(const struct kerf_sender *s, const struct kerf_report *r,
	uint64_t now)
{
	struct kerf_sample sample = report_sample(r);

	if (sample.label == KERF_LABEL_NONE && (r->flags & KERF_REPORT_COMPLETE) && s->wire_bytes &&
		now > s->started_ns) {
		sample.label = KERF_LABEL_RECEIVER;
		sample.tau = 1e-9 * (double)(now - s->started_ns) / (double)s->wire_bytes;
		sample.error = 1;
	}
	return sample;
}

void device_learn(struct kerf_device *d, const struct kerf_sender *s, const struct kerf_report *r,
	uint64_t now)
{
	const struct kerf_sample sample = sample_of(s, r, now);
	const double tau = kerf_link_tau(&d->up);
	uint64_t refused;

	d->stats.reports++;
	/* Links keep the order: what left before has gone through, or is lost. */
	if (s->started_ns >= d->backlog.sent_ns)
		d->backlog.bytes = 0;
	d->server_work_ns = 1000ull * r->work_us;
	d->server_work_at_ns = now;
	kerf_plan_server_slowdown(&d->plan, (double)r->slowdown);
	learn_rtt(d, s, r, now);
	if (r->wire_bytes) /* else it tells of no arrival */
		kerf_delay_update(&d->up.delay, r->first_delay_ns, s->started_ns);
	/* A probe is not repaired: what arrived of it is all there is. */
	if (!(r->flags & KERF_REPORT_COMPLETE) && r->of_type != KERF_MSG_PROBE)
		return;
	refused = d->up.refused;
	kerf_link_update(&d->up, &sample, now);
	/* How far the estimate was off, by a sample that the link believes. */
	if (sample.label == KERF_LABEL_BOTTLENECK && tau > 0 && d->up.refused == refused) {
		kerf_plan_observe_rate(&d->plan, sample.tau / tau);
		kerf_cross_update(&d->up.cross, s->msg.tau, sample.tau);
	}
	kerf_link_update_loss(&d->up, s->layout.n_packets,
		KERF_MIN(s->repeats, s->layout.n_packets));
	if (sample.label != KERF_LABEL_NONE && sample.label != KERF_LABEL_INVALID)
		kerf_plan_sampled(&d->plan);
}

static void take_report(struct kerf_device *d, const struct kerf_header *h, const uint8_t *body,
	size_t len, uint64_t now)
{
	struct kerf_report r;
	struct frame *f;

	if (kerf_wire_get_report(body, len, &r) < 0) {
		d->net.drops[KERF_DROP_MALFORMED]++;
		d->stats.reports_refused++;
		return;
	}
	if (r.of_type == KERF_MSG_PROBE && d->probe.msg.frame == h->frame &&
		(d->probe.state == KERF_SENDER_SENDING || d->probe.state == KERF_SENDER_WAITING)) {
		device_learn(d, &d->probe, &r, now);
		kerf_sender_report(&d->probe, &r, now);
	} else if (r.of_type == KERF_MSG_DATA && (f = frame_of(d, h->frame))) {
		frame_report(d, f, &r, now);
	} else {
		/* The frame is over, but how its packets arrived is still news of the link. */
		const struct kerf_sample sample = report_sample(&r);

		d->net.drops[KERF_DROP_STALE]++;
		if (r.of_type == KERF_MSG_DATA && r.flags & KERF_REPORT_COMPLETE) {
			kerf_link_update(&d->up, &sample, now);
			if (h->frame == d->backlog.frame)
				d->backlog.bytes = 0;
		}
	}
}

/* A RESULT that nobody waits for any more: tell the server that it can forget it. */
static void refuse_result(struct kerf_device *d, const struct kerf_header *h, uint64_t now)
{
	const struct kerf_report r = {.of_type = KERF_MSG_RESULT,
		.flags = KERF_REPORT_COMPLETE,
		.received = h->count,
		.echo_tx_ns = h->tx_ns};

	d->net.drops[KERF_DROP_STALE]++;
	if (h->index + 1 == h->count || h->flags & KERF_FLAG_REPORT_NOW)
		outbox_put(&d->out, kerf_report_packet(&d->net, &d->session.peer, d->session.id,
			h->frame, &r, now));
}

static void take_session_packet(struct kerf_device *d, const struct rte_mbuf *m,
	const struct kerf_header *h, const uint8_t *payload, size_t len, uint64_t now)
{
	struct frame *f;

	if (d->session.state != KERF_SESSION_READY || h->session != d->session.id) {
		d->net.drops[KERF_DROP_SESSION]++;
		return;
	}
	d->session.heard_ns = now;
	switch (h->type) {
	case KERF_MSG_REPORT:
		take_report(d, h, payload, len, now);
		break;
	case KERF_MSG_RESULT:
		f = frame_of(d, h->frame);
		if (f)
			frame_result(d, f, h, payload, len,
				rte_pktmbuf_pkt_len(m) + d->net.overhead_bytes,
				kerf_net_rx_time(&d->net, m, now), now);
		else
			refuse_result(d, h, now);
		break;
	case KERF_MSG_BYE:
		session_lost(d, now);
		break;
	default:
		d->net.drops[KERF_DROP_UNEXPECTED]++;
	}
}

static void take_packet(struct kerf_device *d, struct rte_mbuf *m, uint64_t now)
{
	struct rte_mbuf *answer = NULL;
	struct kerf_header h;
	const uint8_t *payload;
	size_t len;
	int rc;

	if (session_learn_mac(d, rte_pktmbuf_mtod(m, const uint8_t *), rte_pktmbuf_data_len(m)))
		return;
	rc = kerf_net_receive(&d->net, m, &h, &payload, &len, &answer);
	outbox_put(&d->out, answer);
	if (rc < 0)
		return;
	if (h.type == KERF_MSG_HELLO_ACK)
		session_acked(d, &h, payload, len, now);
	else if (h.type == KERF_MSG_ERROR)
		session_error(d, &h, payload, len, now);
	else
		take_session_packet(d, m, &h, payload, len, now);
}

void kerf_device_receive(struct kerf_device *d, struct rte_mbuf **pkts, unsigned n, uint64_t now)
{
	for (unsigned i = 0; i < n; i++) {
		take_packet(d, pkts[i], now);
		rte_pktmbuf_free(pkts[i]);
	}
}

/* ---- work and packets out ---- */

static bool may_start(const struct kerf_device *d, uint64_t now)
{
	return !d->o.wait_for_server || d->session.state == KERF_SESSION_READY ||
		d->session.state == KERF_SESSION_REFUSED || now >= d->start_ns + WAIT_FOR_SERVER_NS;
}

static void start_run(struct kerf_device *d, uint64_t now)
{
	if (!d->start_ns)
		d->start_ns = now;
	if (d->started || !may_start(d, now))
		return;
	d->started = true;
	d->start_ns = now;
}

static void poll_probe(struct kerf_device *d, uint64_t now)
{
	if (d->probe.state != KERF_SENDER_FAILED)
		return;
	kerf_sender_finish(&d->probe, KERF_SENDER_IDLE, now);
	d->stats.probes_lost++;
	session_lost(d, now);
}

static unsigned send_due(struct kerf_device *d, uint64_t now, struct rte_mbuf **pkts, unsigned max)
{
	unsigned n = outbox_take(&d->out, pkts, max);

	for (unsigned i = 0; i < d->o.in_flight; i++)
		if (frame_may_send(d, &d->frames[i]))
			n += kerf_sender_poll(&d->frames[i].sender, now, pkts + n, max - n);
	return n + kerf_sender_poll(&d->probe, now, pkts + n, max - n);
}

unsigned kerf_device_poll(struct kerf_device *d, uint64_t now, struct rte_mbuf **pkts, unsigned max)
{
	unsigned n;

	session_poll(d, now);
	start_run(d, now);
	for (unsigned i = 0; i < d->o.in_flight; i++)
		frame_poll(d, &d->frames[i], now);
	poll_probe(d, now);
	while (frame_start_due(d, now))
		;
	n = send_due(d, now, pkts, max);
	/* What is due goes out before a long step begins, unless nothing can go out. */
	if (n < max || max == 0)
		frame_compute(d, now);
	return n;
}

uint64_t kerf_device_next(const struct kerf_device *d)
{
	uint64_t t = KERF_MIN(session_next(d), frame_start_next(d));

	if (d->out.n)
		return 0;
	if (!d->started)
		t = KERF_MIN(t, !d->start_ns || may_start(d, 0) ? 0
				: d->start_ns + WAIT_FOR_SERVER_NS);
	for (unsigned i = 0; i < d->o.in_flight; i++)
		t = KERF_MIN(t, frame_next(d, &d->frames[i]));
	t = KERF_MIN(t, d->probe.state == KERF_SENDER_FAILED ? 0 : kerf_sender_next(&d->probe));
	return KERF_MIN(t, frame_compute_next(d));
}

/* ---- its end, and what others may see ---- */

void kerf_device_drain(struct kerf_device *d)
{
	d->draining = true;
}

bool kerf_device_finished(const struct kerf_device *d)
{
	if (!d->draining && (!d->o.frames || d->next_frame < d->o.frames))
		return false;
	for (unsigned i = 0; i < d->o.in_flight; i++)
		if (d->frames[i].state != FRAME_FREE || d->frames[i].receiver.active)
			return false;
	return d->verify.count == 0;
}

void kerf_device_bye(struct kerf_device *d, uint64_t now)
{
	session_bye(d, now);
}

enum kerf_session_state kerf_device_session(const struct kerf_device *d)
{
	return d->session.state;
}

const char *kerf_device_refusal(const struct kerf_device *d)
{
	return d->session.refusal;
}

uint64_t kerf_device_start_ns(const struct kerf_device *d)
{
	return d->start_ns;
}

const struct kerf_device_stats *kerf_device_stats(const struct kerf_device *d)
{
	return &d->stats;
}

const struct kerf_net *kerf_device_net(const struct kerf_device *d)
{
	return &d->net;
}

const struct kerf_plan *kerf_device_plan(const struct kerf_device *d)
{
	return &d->plan;
}

const struct kerf_link *kerf_device_link(const struct kerf_device *d)
{
	return &d->up;
}
