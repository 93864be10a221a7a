#include <assert.h>
#include <math.h>
#include <string.h>

#include "node/device_internal.h"

#define RTO_MIN_NS (20 * 1000000ull)
#define RTO_UNKNOWN_NS KERF_NS_PER_S /* as long as no round trip was measured (RFC 6298) */
#define LARGE_RESULT (64 << 10) /* bytes; smaller ones are there at once */
#define RESULT_GAIN 0.125 /* of the newest span */

static unsigned nodes(const struct kerf_device *d)
{
	return d->o.model->graph->n_nodes;
}

void device_load(struct kerf_device *d, unsigned slot, const struct kerf_frame_input *in)
{
	const struct kerf_graph *g = d->o.model->graph;
	const size_t n = kerf_tensor_elements(&g->tensors[g->input]);
	float *to = d->o.compute->ops->tensor(d->o.compute->self, slot, g->input);

	if (in->pixels)
		kerf_pixels_to_f32(&d->o.model->pixels, in->pixels, 0, n, to);
	else
		memcpy(to, in->values, n * sizeof(float));
}

/* ---- a frame begins ---- */

static struct frame *free_frame(const struct kerf_device *d)
{
	for (unsigned i = 0; i < d->o.in_flight; i++)
		if (d->frames[i].state == FRAME_FREE)
			return &d->frames[i];
	return NULL;
}

static bool frames_left(const struct kerf_device *d)
{
	return !d->draining && (!d->o.frames || d->next_frame < d->o.frames);
}

static uint64_t due_time(const struct kerf_device *d, uint64_t now)
{
	return d->o.period_ns ? d->start_ns + d->next_frame * d->o.period_ns : now;
}

/* A camera does not wait: when the device falls behind, the oldest frames are skipped. */
static void skip_late(struct kerf_device *d, uint64_t now)
{
	while (d->o.period_ns && frames_left(d) &&
		now > due_time(d, now) + d->o.period_ns * d->o.skip_backlog) {
		d->next_frame++;
		d->stats.skipped++;
	}
}

/* What the link would carry of the frame's JPEG; 0 = it cannot be sent. */
static uint64_t jpeg_wire_bytes(const struct kerf_device *d, const struct kerf_frame_input *in)
{
	const struct kerf_part part = {.n = in->jpeg_bytes};
	struct kerf_layout l;

	if (!in->jpeg || in->jpeg_bytes == 0 || in->jpeg_bytes > KERF_JPEG_MAX ||
		!(d->session.codecs & 1u << KERF_CODEC_JPEG) ||
		kerf_layout_make(&l, kerf_parts_blocks(&part, 1, KERF_CODEC_JPEG),
			kerf_codec_info(KERF_CODEC_JPEG)->block_bytes, d->net.payload_bytes) < 0)
		return 0;
	return kerf_layout_wire_bytes(&l, in->jpeg_bytes, d->net.overhead_bytes);
}

static void read_state(struct kerf_device *d, const struct kerf_frame_input *frame, struct kerf_plan_input *in,
	uint64_t now)
{
	const uint64_t age = now - d->server_work_at_ns, own_ns = wait_server_ns(d);
	const uint64_t reported_ns = d->server_work_ns > age ? d->server_work_ns - age : 0;

	*in = (struct kerf_plan_input){
		.reachable = d->session.state == KERF_SESSION_READY,
		.tau = kerf_link_tau(&d->up),
		.rtt_ns = kerf_link_base_rtt_ns(&d->up),
		.wait_ns = reported_ns > own_ns ? reported_ns - own_ns : 0,
		.own_ns = own_ns,
		.core_ns = wait_core_ns(d),
		.queue_ns = wait_link_ns(d, NULL, now),
		.own_bytes = jpeg_wire_bytes(d, frame),
		.loss = d->up.loss,
		.sigma = kerf_link_sigma(&d->up),
		.alarm = kerf_link_take_alarm(&d->up),
		.uncertain = kerf_link_uncertain(&d->up),
	};
	if (kerf_link_known(&d->down))
		in->result_ns = (uint64_t)(1e9 * kerf_link_tau(&d->down) *
			(double)(d->output_values * sizeof(float)));
	in->result_ns = KERF_MAX(in->result_ns, (uint64_t)d->result_span_ns);
}

static void start_probe(struct kerf_device *d, uint64_t now)
{
	const uint64_t train_ns = (uint64_t)(1e9 * kerf_link_tau(&d->up) * DEVICE_PROBE_PACKETS *
		(d->net.payload_bytes + sizeof(struct kerf_wire_packet) + d->net.overhead_bytes));
	const struct kerf_message msg = {
		.type = KERF_MSG_PROBE,
		.to = d->session.peer,
		.session = d->session.id,
		.frame = d->probe_number,
		.probe_packets = DEVICE_PROBE_PACKETS,
		/* Four of these without an answer, each twice the last, end the session. */
		.rto_ns = 2 * RTO_MIN_NS + 2 * kerf_link_base_rtt_ns(&d->up) + 2 * train_ns,
		.max_tries = 3,
	};

	if (d->probe.state == KERF_SENDER_SENDING || d->probe.state == KERF_SENDER_WAITING)
		return;
	if (kerf_sender_start(&d->probe, &msg, now) == 0) {
		d->probe_number++;
		d->stats.probes++;
	}
}

static void start_frame(struct kerf_device *d, struct frame *f, uint64_t now)
{
	struct kerf_plan_input in;

	f->number = (uint32_t)d->next_frame;
	f->due_ns = due_time(d, now);
	f->started_ns = now;
	f->remote_open = false;
	f->early = (struct kerf_sample){0};
	f->arrived_ns = f->told_ns = f->told_bytes = 0;
	f->sender.wire_bytes = 0;
	d->next_frame++;
	d->stats.frames++;
	d->o.input(d->o.user, f->number, &f->input);

	read_state(d, &f->input, &in, now);
	kerf_plan_choose(&d->plan, &in, &f->choice);
	f->record = (struct kerf_frame_record){
		.frame = f->number,
		.due_ns = f->due_ns - d->start_ns,
		.cut = f->choice.cut,
		.codec = f->choice.local ? -1 : f->choice.codec,
		.predicted_ns = (uint64_t)f->choice.total_ns,
		.predicted_head_ns = (uint64_t)f->choice.head_ns,
		.predicted_net_ns = (uint64_t)f->choice.net_ns,
		.predicted_queue_ns = (uint64_t)f->choice.wait_ns,
		.predicted_tail_ns = (uint64_t)f->choice.tail_ns,
		.rate_bps = kerf_link_rate_bps(&d->up),
		.rtt_ns = in.rtt_ns,
		.loss = d->up.loss,
		.link_queue_ns = (uint64_t)d->up.delay.queue_ns,
		.probed = f->choice.probe,
	};
	if (d->o.planned)
		d->o.planned(d->o.user, f->number, &d->plan, &in, &f->choice);
	f->hedge_at_ns = f->late_at_ns = f->choice.local ? UINT64_MAX : now + f->choice.hedge_ns;
	if (f->choice.probe)
		start_probe(d, now);
	device_load(d, f->slot, &f->input);
	f->state = FRAME_HEAD;
}

/* Frames under way may all end at the server, and each must then find room to be compared, as long
 * as its input is still there: frames that keep the core busy must not put comparing off for ever.
 */
static bool verify_room(const struct kerf_device *d)
{
	const struct verify_entry *oldest = &d->verify.entries[d->verify.head];

	return d->verify.count == 0 ||
		(d->verify.count + d->o.in_flight <= DEVICE_VERIFY_QUEUE &&
			(uint32_t)d->next_frame - oldest->number < DEVICE_VERIFY_QUEUE);
}

/* False when no frame could be started: none is due, no context is free, or nobody is there yet. */
bool frame_start_due(struct kerf_device *d, uint64_t now)
{
	struct frame *f = free_frame(d);

	if (!f || !d->started)
		return false;
	skip_late(d, now);
	if (!frames_left(d) || now < due_time(d, now) || !verify_room(d))
		return false;
	start_frame(d, f, now);
	return true;
}

uint64_t frame_start_next(const struct kerf_device *d)
{
	if (!d->started || !frames_left(d) || !free_frame(d) || !verify_room(d))
		return UINT64_MAX;
	return due_time(d, 0);
}

/* ---- it is sent ---- */

static unsigned make_parts(struct kerf_device *d, struct frame *f, struct kerf_part *parts)
{
	const struct kerf_model *m = d->o.model;
	const struct kerf_cut *cut = &m->cuts[f->choice.cut];

	for (int i = 0; i < cut->n_tensors; i++)
		parts[i] = (struct kerf_part){
			.values = d->o.compute->ops->tensor(d->o.compute->self, f->slot,
				cut->tensors[i]),
			.n = kerf_tensor_elements(&m->graph->tensors[cut->tensors[i]]),
		};
	if (f->choice.codec == KERF_CODEC_U8)
		parts[0] = (struct kerf_part){
			.pixels = (uint8_t *)(uintptr_t)f->input.pixels, .n = parts[0].n};
	else if (f->choice.codec == KERF_CODEC_JPEG)
		parts[0] = (struct kerf_part){
			.pixels = (uint8_t *)(uintptr_t)f->input.jpeg, .n = f->input.jpeg_bytes};
	return cut->n_tensors;
}

static void describe(const struct kerf_device *d, const struct frame *f,
	struct kerf_descriptor *desc)
{
	const struct kerf_graph *g = d->o.model->graph;
	const struct kerf_tensor *t = &g->tensors[d->o.model->cuts[f->choice.cut].tensors[0]];
	const bool image = t->n_dims == 4 && !t->plain;
	const int n = f->choice.codec == KERF_CODEC_JPEG ? 0 : t->n_dims; /* a file has no shape */

	for (int i = 0; i < 4; i++)
		desc->dims[i] = i < n ? (uint32_t)t->dims[image && i ? i % 3 + 1 : i] : 1;
	desc->n_tensors = (uint8_t)d->o.model->cuts[f->choice.cut].n_tensors;
	desc->deadline_ns = f->choice.hedge_ns;
}

#define DITHERED_GAIN 1.3 /* still more than others leave */

static double pace_gain(const struct kerf_device *d, const struct frame *f)
{
	return d->o.pace_dither && f->number % 2 ? fmin(DITHERED_GAIN, d->pace_gain) : d->pace_gain;
}

static void send_tensors(struct kerf_device *d, struct frame *f, uint64_t now)
{
	const double tau = kerf_link_tau(&d->up);
	const uint64_t base_ns = kerf_link_base_rtt_ns(&d->up);
	struct kerf_message msg = {
		.type = KERF_MSG_DATA,
		.to = d->session.peer,
		.session = d->session.id,
		.frame = f->number,
		.cut = (uint16_t)f->choice.cut,
		.codec = f->choice.codec,
		.tau = kerf_link_pace_tau(&d->up) / pace_gain(d, f),
	};

	msg.n_parts = make_parts(d, f, msg.parts);
	describe(d, f, &msg.descriptor);
	msg.rto_ns = RTO_MIN_NS + (base_ns ? 2 * base_ns : RTO_UNKNOWN_NS) +
		(uint64_t)(1e9 * tau * (double)f->choice.wire_bytes);
	f->sent_ns = now;
	f->state = FRAME_REMOTE;
	f->remote_open = true;
	if (d->session.state != KERF_SESSION_READY ||
		kerf_sender_start(&f->sender, &msg, now) < 0) {
		f->remote_open = false;
		frame_hedge(d, f, now);
		return;
	}
	wait_begin(d, f, now);
}

/* ---- it ends ---- */

static void cancel_remote(struct kerf_device *d, struct frame *f, uint64_t now)
{
	struct kerf_header h = {
		.type = KERF_MSG_CANCEL,
		.session = d->session.id,
		.frame = f->number,
		.count = 1,
		.tx_ns = now,
	};
	void *body;

	if (d->session.state == KERF_SESSION_READY)
		outbox_put(&d->out, kerf_net_packet(&d->net, &d->session.peer, &h, 0, &body));
	f->remote_open = false;
}

static void count_frame(struct kerf_device *d, const struct frame *f, enum kerf_where where)
{
	d->stats.completed++;
	d->stats.local += where == KERF_WHERE_LOCAL;
	d->stats.remote += where == KERF_WHERE_REMOTE;
	d->stats.hedge_won += where == KERF_WHERE_HEDGED;
	d->stats.hedged += f->record.hedged;
}

/*
 * What a large result takes to come down: the server's pace counts as much as the link, of which a train that the
 * sender limits tells little. Of one that came too late, what is there tells of the rest.
 */
static void learn_result_span(struct kerf_device *d, const struct frame *f, uint64_t now)
{
	const struct kerf_receiver *r = &f->receiver;

	/* A slot's receiver holds the last result that it took until the next one begins. */
	if (d->output_values * sizeof(float) < LARGE_RESULT || !r->active || r->frame != f->number || r->received < 2)
		return;
	const double span_ns = (double)(now - r->started_ns) * (r->layout.n_packets - 1) / (r->received - 1);
	d->result_span_ns += (d->result_span_ns > 0 ? RESULT_GAIN : 1) * (span_ns - d->result_span_ns);
}

static void complete(struct kerf_device *d, struct frame *f, enum kerf_where where, uint64_t now)
{
	struct kerf_frame_record *r = &f->record;
	const float *output = f->output;

	learn_result_span(d, f, now);
	if (d->running == f)
		d->running = NULL;
	r->where = where;
	r->latency_ns = now - f->due_ns;
	if (where == KERF_WHERE_REMOTE) {
		const uint64_t away = now - f->sent_ns, server = r->queue_ns + r->tail_ns;

		r->net_ns = away > server ? away - server : 0;
		kerf_plan_observe(&d->plan, &f->choice, (double)r->head_ns,
			(double)r->tail_ns);
	} else {
		output = d->o.compute->ops->tensor(d->o.compute->self, f->slot,
			d->o.model->graph->output);
	}
	if (f->remote_open && where != KERF_WHERE_REMOTE) {
		wait_given_up(d, f, now);
		if (f->remote_open) /* the session may have ended by that */
			cancel_remote(d, f, now);
	}
	if (where != KERF_WHERE_LOCAL)
		wait_over(d, f, now);
	f->remote_open = false;
	if (f->receiver.active && !f->receiver.complete)
		kerf_receiver_finish(&f->receiver);
	r->bytes = f->sender.wire_bytes;
	kerf_sender_finish(&f->sender, KERF_SENDER_DONE, now);
	count_frame(d, f, where);
	if (d->o.done)
		d->o.done(d->o.user, r, output);
	if (where == KERF_WHERE_REMOTE && d->o.verify)
		verify_push(d, f);
	f->state = FRAME_FREE;
}

/* ---- the core ---- */

static unsigned range_start(const struct frame *f)
{
	return f->state == FRAME_HEDGE ? (unsigned)f->choice.cut : 0;
}

static unsigned range_end(const struct kerf_device *d, const struct frame *f)
{
	return f->state == FRAME_HEDGE || f->choice.local ? nodes(d) : (unsigned)f->choice.cut;
}

/*
 * Whose turn it is on the core, the lowest first. Hedges come before heads; for throughput behind them, because a head
 * keeps link and server busy, but not for longer than two rounds of frames: new heads come without end.
 */
static int turn(const struct kerf_device *d, const struct frame *f)
{
	const bool waits = d->plan.options.objective == KERF_PLAN_THROUGHPUT &&
		(uint32_t)d->next_frame - f->number < 2 * d->o.in_flight;

	if (f->state == FRAME_HEAD)
		return 1;
	return waits ? 2 : 0;
}

/* Of equal turns the oldest frame. */
static struct frame *next_to_compute(struct kerf_device *d)
{
	struct frame *best = NULL;

	for (unsigned i = 0; i < d->o.in_flight; i++) {
		struct frame *f = &d->frames[i];

		if (f->state != FRAME_HEAD && f->state != FRAME_HEDGE)
			continue;
		if (!best || turn(d, f) < turn(d, best) ||
			(turn(d, f) == turn(d, best) && (int32_t)(f->number - best->number) < 0))
			best = f;
	}
	return best;
}

static void computed(struct kerf_device *d, struct frame *f, uint64_t now)
{
	const uint64_t took = d->o.compute->ops->elapsed_ns(d->o.compute->self, f->slot);

	if (f->state == FRAME_HEDGE) {
		complete(d, f, KERF_WHERE_HEDGED, now);
		return;
	}
	f->record.head_ns = took;
	if (f->choice.local) {
		kerf_plan_observe(&d->plan, &f->choice, (double)took, 0);
		complete(d, f, KERF_WHERE_LOCAL, now);
	} else {
		send_tensors(d, f, now);
	}
}

void frame_compute(struct kerf_device *d, uint64_t now)
{
	struct kerf_compute *c = d->o.compute;
	struct frame *f = d->running;

	if (!f) {
		f = next_to_compute(d);
		if (!f) {
			verify_advance(d, now);
			return;
		}
		c->ops->begin(c->self, f->slot, range_start(f), range_end(d, f), now, true);
		d->running = f;
	}
	if (c->ops->advance(c->self, f->slot, now)) {
		d->running = NULL;
		computed(d, f, now);
	}
}

uint64_t frame_compute_next(const struct kerf_device *d)
{
	const struct kerf_compute *c = d->o.compute;

	if (d->running)
		return c->ops->next(c->self, d->running->slot);
	if (next_to_compute((struct kerf_device *)(uintptr_t)d) || d->verify.count)
		return 0;
	return UINT64_MAX;
}

/* ---- while it is away ---- */

/* The result is late, or will not come: finish the frame here, from its own activations. */
void frame_hedge(struct kerf_device *d, struct frame *f, uint64_t now)
{
	assert(f->state == FRAME_REMOTE);
	/* Computing on overwrites the tensors, so what is still to be sent must be in packets. */
	if (f->sender.state == KERF_SENDER_SENDING && kerf_sender_encode_all(&f->sender) < 0) {
		kerf_sender_finish(&f->sender, KERF_SENDER_FAILED, now);
		cancel_remote(d, f, now);
	}
	f->state = FRAME_HEDGE;
	f->record.hedged = true;
	wait_is_late(d, f, now);
}

/* No result will come for this frame any more. */
void frame_abandon(struct kerf_device *d, struct frame *f, uint64_t now)
{
	if (!f->remote_open)
		return;
	f->remote_open = false;
	kerf_sender_finish(&f->sender, KERF_SENDER_FAILED, now);
	if (f->state == FRAME_REMOTE)
		frame_hedge(d, f, now);
}

void frame_poll(struct kerf_device *d, struct frame *f, uint64_t now)
{
	if (f->sender.state == KERF_SENDER_FAILED)
		frame_abandon(d, f, now);
	if (f->state == FRAME_REMOTE && now >= wait_end(f))
		frame_hedge(d, f, now);
	if (f->receiver.active && kerf_receiver_report_due(&f->receiver, now)) {
		struct kerf_report r;

		kerf_receiver_report(&f->receiver, &r, now);
		outbox_put(&d->out,
			kerf_report_packet(&d->net, &d->session.peer, d->session.id, f->number, &r,
				now));
		if (f->receiver.complete)
			kerf_receiver_finish(&f->receiver);
	}
}

bool frame_may_send(const struct kerf_device *d, const struct frame *f)
{
	if (!f->remote_open)
		return false;
	if (f->sender.n_unsent == 0)
		return true;
	for (unsigned i = 0; i < d->o.in_flight; i++) {
		const struct frame *other = &d->frames[i];

		if (other->remote_open && other->sender.state == KERF_SENDER_SENDING &&
			(int32_t)(other->number - f->number) < 0)
			return false;
	}
	return true;
}

uint64_t frame_next(const struct kerf_device *d, const struct frame *f)
{
	uint64_t t = UINT64_MAX;

	if (f->receiver.active)
		t = kerf_receiver_next(&f->receiver);
	if (f->state == FRAME_REMOTE)
		t = KERF_MIN(t, wait_end(f));
	if (f->remote_open && f->sender.state == KERF_SENDER_FAILED)
		t = 0;
	else if (frame_may_send(d, f))
		t = KERF_MIN(t, kerf_sender_next(&f->sender));
	return t;
}

void frame_report(struct kerf_device *d, struct frame *f, const struct kerf_report *r, uint64_t now)
{
	device_learn(d, &f->sender, r, now);
	wait_report(d, f, r, now);
	kerf_sender_report(&f->sender, r, now);
	/* Dropped, perhaps after all of it had arrived: no result will come. */
	if (r->flags & KERF_REPORT_BUSY)
		frame_abandon(d, f, now);
}

static void take_result(struct kerf_device *d, struct frame *f, uint64_t now)
{
	struct kerf_sample s;


	f->record.queue_ns = f->receiver.descriptor.queue_ns;
	f->record.tail_ns = f->receiver.descriptor.tail_ns;
	if (kerf_train_sample(&f->receiver.train, f->receiver.layout.n_packets, &s))
		kerf_link_update(&d->down, &s, now);
	complete(d, f, KERF_WHERE_REMOTE, now);
}

void frame_result(struct kerf_device *d, struct frame *f, const struct kerf_header *h,
	const uint8_t *payload, size_t len, uint32_t wire_len, uint64_t rx_ns, uint64_t now)
{
	struct kerf_part part = {.values = f->output, .n = d->output_values};
	int rc = 0;

	if (h->cut != f->choice.cut) {
		d->net.drops[KERF_DROP_UNEXPECTED]++;
		return;
	}
	if (!f->receiver.active || f->receiver.frame != h->frame) {
		if (f->receiver.active)
			kerf_receiver_finish(&f->receiver);
		rc = kerf_receiver_start(&f->receiver, h, &part, 1, d->net.payload_bytes, now);
	}
	if (rc == 0)
		rc = kerf_receiver_packet(&f->receiver, h, payload, len, wire_len, rx_ns);
	kerf_receiver_taken(&f->receiver, now);
	f->arrived_ns = f->arrived_ns ? f->arrived_ns : now; /* or there would be no result */
	if (rc < 0)
		d->net.drops[rc == -EALREADY ? KERF_DROP_DUPLICATE : KERF_DROP_UNEXPECTED]++;
	else if (f->receiver.complete)
		take_result(d, f, now);
}
