#include <math.h>

#include "node/server_internal.h"

#define RTO_NS (20 * 1000000ull)

static struct job *find(struct kerf_server *s, const struct client *c, uint32_t frame)
{
	for (unsigned i = 0; i < s->o.compute->n_slots; i++)
		if (s->jobs[i].state != JOB_FREE && s->jobs[i].client == c &&
			s->jobs[i].frame == frame)
			return &s->jobs[i];
	return NULL;
}

static struct job *find_free(struct kerf_server *s)
{
	for (unsigned i = 0; i < s->o.compute->n_slots; i++)
		if (s->jobs[i].state == JOB_FREE)
			return &s->jobs[i];
	return NULL;
}

void job_end(struct kerf_server *s, struct job *j, uint64_t now)
{
	struct client *c = j->client;

	if (s->running == j)
		s->running = NULL;
	if (j->receiver.active)
		kerf_receiver_finish(&j->receiver);
	kerf_sender_finish(&j->sender, KERF_SENDER_DONE, now);
	client_finish_frame(c, j->frame);
	j->state = JOB_FREE;
}

/* ---- the load ---- */

#define SLOWDOWN_WEIGHT (1.0 / 4)
#define SLOWDOWN_AGE_NS KERF_NS_PER_S /* an older one says nothing of now */

static uint64_t begun_ns(const struct job *j)
{
	return j->queued_ns + j->queue_ns;
}

/* Computing that lies before a frame which would be complete now. */
static uint64_t work_ns(const struct kerf_server *s, uint64_t now)
{
	double work = 0;

	for (unsigned i = 0; i < s->o.compute->n_slots; i++) {
		const struct job *j = &s->jobs[i];

		if (j->state == JOB_QUEUED)
			work += s->tail_ns[j->cut];
		else if (j->state == JOB_RUNNING && s->tail_ns[j->cut] > (double)(now - begun_ns(j)))
			work += s->tail_ns[j->cut] - (double)(now - begun_ns(j));
	}
	return (uint64_t)work;
}

/* The tail took so long, or, not done, takes at least so long. */
static void learn_slowdown(struct kerf_server *s, const struct job *j, uint64_t took_ns, bool done, uint64_t now)
{
	const unsigned nodes = (unsigned)s->o.model->graph->n_nodes;
	const bool first = s->slowdown == 0 || now - s->slowdown_at_ns > SLOWDOWN_AGE_NS;
	double promised_ns, ratio;

	if (!s->o.profile || j->codec == KERF_CODEC_JPEG) /* decoding is not in the profile */
		return;
	promised_ns = s->o.whole_ns * kerf_profile_range_ns(s->o.profile, j->cut, nodes) /
		kerf_profile_range_ns(s->o.profile, 0, nodes);
	if (!(promised_ns > 0)) /* NaN too */
		return;
	ratio = (double)took_ns / promised_ns;
	if (!done && ratio <= fmax(1, s->slowdown))
		return;
	s->slowdown += (done && !first ? SLOWDOWN_WEIGHT : 1) * (ratio - s->slowdown);
	s->slowdown_at_ns = now;
}

void job_load(const struct kerf_server *s, struct kerf_report *r, uint64_t now)
{
	r->work_us = (uint32_t)KERF_MIN(work_ns(s, now) / 1000, UINT32_MAX);
	r->slowdown = now - s->slowdown_at_ns <= SLOWDOWN_AGE_NS ? (float)s->slowdown : 0;
}

/* ---- answers ---- */

static void answer(struct kerf_server *s, const struct client *c, uint32_t frame,
	struct kerf_report *r, uint64_t now)
{
	job_load(s, r, now);
	outbox_put(&s->out, kerf_report_packet(&s->net, &c->peer, c->id, frame, r, now));
}

/* ---- tensors arrive ---- */

static unsigned make_parts(const struct kerf_server *s, const struct job *j,
	struct kerf_part *parts)
{
	const struct kerf_model *m = s->o.model;
	const struct kerf_cut *cut = &m->cuts[j->cut];

	for (int i = 0; i < cut->n_tensors; i++)
		parts[i] = (struct kerf_part){
			.values = s->o.compute->ops->tensor(s->o.compute->self, j->slot,
				cut->tensors[i]),
			.n = kerf_tensor_elements(&m->graph->tensors[cut->tensors[i]]),
		};
	if (j->codec == KERF_CODEC_U8)
		parts[0] = (struct kerf_part){.pixels = j->pixels, .n = parts[0].n};
	else if (j->codec == KERF_CODEC_JPEG)
		parts[0] = (struct kerf_part){.pixels = j->jpeg, .n = KERF_JPEG_MAX};
	return cut->n_tensors;
}

static int start(struct kerf_server *s, struct job *j, struct client *c,
	const struct kerf_header *h, uint64_t now)
{
	struct kerf_part parts[KERF_MAX_CUT_TENSORS];
	int rc;

	j->client = c;
	j->frame = h->frame;
	j->cut = h->cut;
	j->codec = h->codec;
	rc = kerf_receiver_start(&j->receiver, h, parts, make_parts(s, j, parts),
		c->payload_bytes, now);
	if (rc < 0)
		return rc;
	j->state = JOB_RECEIVING;
	j->order = s->order++;
	s->stats.frames++;
	return 0;
}

static bool acceptable(const struct kerf_server *s, const struct client *c, const struct kerf_header *h)
{
	const struct kerf_codec_info *info = kerf_codec_info(h->codec);

	if (!kerf_model_can_cut(s->o.model, h->cut) || !info || (h->codec == KERF_CODEC_JPEG && !c->jpeg))
		return false;
	return !info->is_bytes || (h->cut == 0 && s->o.model->pixels.channels);
}

/* The frame is dropped, and stays so: a context that comes free now must not be taken by the rest
 * of it, which its device has given up. */
static void turn_away(struct kerf_server *s, struct client *c, const struct kerf_header *h,
	uint64_t now)
{
	struct kerf_report busy = {.of_type = KERF_MSG_DATA,
		.flags = KERF_REPORT_BUSY,
		.echo_tx_ns = h->tx_ns};

	if (!client_finished_frame(c, h->frame)) {
		client_finish_frame(c, h->frame);
		s->stats.busy++;
	}
	answer(s, c, h->frame, &busy, now);
}

/* The frame that this packet belongs to, begun if it is the first one; NULL with the reason
 * counted. */
static struct job *job_of(struct kerf_server *s, struct client *c, const struct kerf_header *h,
	uint64_t now)
{
	const bool asks = h->flags & KERF_FLAG_REPORT_NOW;
	struct job *j = find(s, c, h->frame);

	if (j)
		return j;
	if (!acceptable(s, c, h)) {
		s->net.drops[KERF_DROP_UNEXPECTED]++;
	} else if (client_finished_frame(c, h->frame)) {
		s->net.drops[KERF_DROP_STALE]++;
		/* Its sender has not heard that it is over. */
		if (asks)
			turn_away(s, c, h, now);
	} else if (!(j = find_free(s))) {
		s->net.drops[KERF_DROP_NO_CONTEXT]++;
		if (h->index == 0 || asks)
			turn_away(s, c, h, now);
	} else if (start(s, j, c, h, now) < 0) {
		s->net.drops[KERF_DROP_UNEXPECTED]++;
		return NULL;
	}
	return j;
}

void job_data(struct kerf_server *s, struct client *c, const struct rte_mbuf *m,
	const struct kerf_header *h, const uint8_t *payload, size_t len, uint64_t now)
{
	struct job *j = job_of(s, c, h, now);
	int rc;

	if (!j)
		return;
	if (!j->receiver.active) {
		s->net.drops[KERF_DROP_DUPLICATE]++;
		/* The sender asks because it heard nothing: its report or our result was lost. */
		if (h->flags & KERF_FLAG_REPORT_NOW) {
			struct kerf_report done = {.of_type = KERF_MSG_DATA,
				.flags = KERF_REPORT_COMPLETE,
				.received = h->count,
				.echo_tx_ns = h->tx_ns};

			answer(s, c, h->frame, &done, now);
		}
		return;
	}
	rc = kerf_receiver_packet(&j->receiver, h, payload, len,
		rte_pktmbuf_pkt_len(m) + s->net.overhead_bytes, kerf_net_rx_time(&s->net, m, now));
	kerf_receiver_taken(&j->receiver, now);
	if (rc < 0) {
		s->net.drops[rc == -EALREADY ? KERF_DROP_DUPLICATE : KERF_DROP_UNEXPECTED]++;
	} else if (j->receiver.complete && j->state == JOB_RECEIVING) {
		j->state = JOB_QUEUED;
		j->queued_ns = now;
		j->last_tx_ns = h->tx_ns;
		j->duration_ns = j->receiver.completed_ns - j->receiver.train.first_rx_ns;
		j->jpeg_bytes = j->receiver.parts[0].n;
	}
}

/* ---- computing ---- */

static struct job *oldest_queued(const struct kerf_server *s)
{
	struct job *best = NULL;

	for (unsigned i = 0; i < s->o.compute->n_slots; i++)
		if (s->jobs[i].state == JOB_QUEUED && (!best || s->jobs[i].order < best->order))
			best = &s->jobs[i];
	return best;
}

/* From pixels, or a JPEG, to the network's input. */
struct picture {
	struct kerf_server *s;
	struct job *j;
	bool good;
};

static void load_picture(void *arg)
{
	struct picture *p = arg;
	const struct kerf_graph *g = p->s->o.model->graph;
	struct kerf_compute *c = p->s->o.compute;

	p->good = p->j->codec != KERF_CODEC_JPEG ||
		p->s->o.decode(p->s->o.user, p->j->jpeg, p->j->jpeg_bytes, p->j->pixels) == 0;
	if (p->good)
		kerf_pixels_to_f32(&p->s->o.model->pixels, p->j->pixels, 0,
			kerf_tensor_elements(&g->tensors[g->input]), c->ops->tensor(c->self, p->j->slot, g->input));
}

/* False when there was nothing to compute from: the frame is dropped, and its device told. */
static bool begin(struct kerf_server *s, struct job *j, uint64_t now)
{
	struct kerf_compute *c = s->o.compute;
	struct picture p = {.s = s, .j = j, .good = true};

	c->ops->begin(c->self, j->slot, j->cut, s->o.model->graph->n_nodes, now, true);
	if (kerf_codec_info(j->codec)->is_bytes)
		c->ops->before(c->self, j->slot, load_picture, &p,
			j->codec == KERF_CODEC_JPEG ? s->o.decode_byte_ns * (double)j->jpeg_bytes : 0, now);
	if (!p.good) {
		struct kerf_report r = {.of_type = KERF_MSG_DATA,
			.flags = KERF_REPORT_BUSY,
			.echo_tx_ns = j->last_tx_ns,
			.duration_ns = j->duration_ns,
			.hold_ns = (uint32_t)KERF_MIN(now - j->queued_ns, UINT32_MAX)};

		answer(s, j->client, j->frame, &r, now);
		s->stats.abandoned++;
		job_end(s, j, now);
		return false;
	}
	j->state = JOB_RUNNING;
	j->queue_ns = now - j->queued_ns;
	s->running = j;
	return true;
}

static void send_result(struct kerf_server *s, struct job *j, uint64_t now)
{
	struct kerf_compute *c = s->o.compute;
	const uint64_t took = c->ops->elapsed_ns(c->self, j->slot);
	const double tau = kerf_link_tau(&j->client->down);
	const struct kerf_message msg = {
		.type = KERF_MSG_RESULT,
		.to = j->client->peer,
		.session = j->client->id,
		.frame = j->frame,
		.cut = j->cut,
		.codec = KERF_CODEC_F32,
		.parts = {{.values = c->ops->tensor(c->self, j->slot, s->o.model->graph->output),
			.n = s->output_values}},
		.n_parts = 1,
		.descriptor = {.queue_ns = j->queue_ns, .tail_ns = took, .n_tensors = 1},
		.payload_bytes = j->client->payload_bytes,
		.tau = kerf_link_pace_tau(&j->client->down) / 1.25,
		.rto_ns = RTO_NS + 2 * kerf_link_base_rtt_ns(&j->client->down) +
			(uint64_t)(1e9 * tau * 4 * (double)s->output_values),
	};

	s->tail_ns[j->cut] = (double)took;
	learn_slowdown(s, j, took, true, now);
	j->state = JOB_RESULT;
	if (kerf_sender_start(&j->sender, &msg, now) < 0) {
		s->stats.abandoned++;
		job_end(s, j, now);
	}
}

void job_compute(struct kerf_server *s, uint64_t now)
{
	struct kerf_compute *c = s->o.compute;
	struct job *j = s->running;

	if (!j) {
		j = oldest_queued(s);
		if (!j || !begin(s, j, now))
			return;
	}
	if (c->ops->advance(c->self, j->slot, now)) {
		s->running = NULL;
		send_result(s, j, now);
	}
}

uint64_t job_compute_next(const struct kerf_server *s)
{
	const struct kerf_compute *c = s->o.compute;

	if (s->running)
		return c->ops->next(c->self, s->running->slot);
	return oldest_queued(s) ? 0 : UINT64_MAX;
}

/* ---- what the device says of it ---- */

void job_report(struct kerf_server *s, struct client *c, const struct kerf_header *h,
	const struct kerf_report *r, uint64_t now)
{
	const struct kerf_sample sample = {
		.label = r->label, .tau = r->tau, .error = r->tau_error, .packets = r->received};
	struct job *j = find(s, c, h->frame);

	if (!j || j->state != JOB_RESULT) {
		s->net.drops[KERF_DROP_STALE]++;
		return;
	}
	if (r->flags & KERF_REPORT_COMPLETE)
		kerf_link_update(&c->down, &sample, now);
	kerf_sender_report(&j->sender, r, now);
}

void job_cancel(struct kerf_server *s, struct client *c, uint32_t frame, uint64_t now)
{
	struct job *j = find(s, c, frame);

	if (!j) {
		/* It may have overtaken the frame's packets. */
		if (!client_finished_frame(c, frame))
			client_finish_frame(c, frame);
		return;
	}
	if (j->state == JOB_RUNNING)
		learn_slowdown(s, j, now - begun_ns(j), false, now);
	s->stats.cancelled++;
	job_end(s, j, now);
}

/* ---- time passes ---- */

void job_poll(struct kerf_server *s, struct job *j, uint64_t now)
{
	if (j->state == JOB_FREE)
		return;
	if (j->receiver.active && kerf_receiver_report_due(&j->receiver, now)) {
		struct kerf_report r;

		kerf_receiver_report(&j->receiver, &r, now);
		answer(s, j->client, j->frame, &r, now);
		if (j->receiver.complete)
			kerf_receiver_finish(&j->receiver);
	}
	if (j->state == JOB_RESULT && j->sender.state == KERF_SENDER_DONE) {
		s->stats.results++;
		job_end(s, j, now);
	} else if (j->state == JOB_RESULT && j->sender.state == KERF_SENDER_FAILED) {
		s->stats.abandoned++;
		job_end(s, j, now);
	}
}

/* A sender that came to its end is still to be looked at. */
static uint64_t sender_next(const struct kerf_sender *s)
{
	return s->state == KERF_SENDER_DONE || s->state == KERF_SENDER_FAILED ? 0
									      : kerf_sender_next(s);
}

uint64_t job_next(const struct job *j)
{
	uint64_t t = UINT64_MAX;

	if (j->state == JOB_FREE)
		return t;
	if (j->receiver.active)
		t = kerf_receiver_next(&j->receiver);
	if (j->state == JOB_RESULT)
		t = KERF_MIN(t, sender_next(&j->sender));
	return t;
}
