/*
 * A frame's tensors are away: what reports and silence tell of them, when waiting for the result is over, and what
 * the device learns for the next frame from how it went.
 */
#include <math.h>

#include "node/device_internal.h"

static double wire_bytes(const struct frame *f)
{
	return (double)f->choice.wire_bytes;
}

/* The latency from which a result that is foreseen is late; what foresees it is no estimate, so it needs no margin of
 * deviations. */
static double late_ns(const struct kerf_device *d, const struct frame *f)
{
	const double waited_ns = (double)(f->sent_ns - f->started_ns) - f->choice.core_ns - f->choice.head_ns;

	return d->plan.options.hedge_factor * f->choice.total_ns + fmax(0, waited_ns) + (double)f->queued_ns;
}

/* Bytes between two reports of the server on a frame. */
static double report_step_bytes(const struct frame *f)
{
	const double n = f->sender.layout.n_packets;
	const double step = fmax(floor(n / KERF_RECEIVER_PROGRESS_PARTS), KERF_RECEIVER_PROGRESS_PACKETS);

	return wire_bytes(f) * fmin(1, step / n);
}

/* When the next report would come if the link took no time at all. */
static uint64_t soonest_sign(const struct kerf_device *d, const struct frame *f)
{
	const uint64_t jitter_ns = (uint64_t)(4 * d->up.rttvar);

	if (f->told_ns)
		return f->told_ns + jitter_ns;
	return f->sent_ns + (uint64_t)d->up.srtt + jitter_ns + f->queued_ns;
}

/*
 * With no report by `now`, a byte takes at least (now - soonest) / step, and the result will be there no sooner than
 * after so long for each byte that is left. When that is late, waiting is over. (The device may find that it would not
 * have been faster: the race costs it nothing but work.)
 */
static uint64_t sign_due(const struct kerf_device *d, const struct frame *f)
{
	const double left = fmax(0, wire_bytes(f) - (double)f->told_bytes);
	const double steps = fmax(1, left / report_step_bytes(f));
	const uint64_t soonest_ns = soonest_sign(d, f);
	const double rest_ns = f->choice.wait_ns + f->choice.tail_ns;
	const double wait_ns = (late_ns(d, f) - (double)(soonest_ns - f->started_ns) - rest_ns) / steps;

	return soonest_ns + (uint64_t)fmin(fmax(0, wait_ns), 3600e9);
}

uint64_t wait_core_ns(const struct kerf_device *d)
{
	double ns = 0;

	for (unsigned i = 0; i < d->o.in_flight; i++) {
		const struct frame *f = &d->frames[i];

		if (f->state == FRAME_HEAD)
			ns += f->choice.head_ns;
		else if (f->state == FRAME_HEDGE)
			ns += kerf_plan_rest_ns(&d->plan, f->choice.candidate);
	}
	return (uint64_t)ns;
}

uint64_t wait_server_ns(const struct kerf_device *d)
{
	double ns = 0;

	for (unsigned i = 0; i < d->o.in_flight; i++)
		if (d->frames[i].remote_open ||
			(d->frames[i].state == FRAME_HEAD && !d->frames[i].choice.local))
			ns += d->frames[i].choice.tail_ns;
	return (uint64_t)ns;
}

void wait_begin(struct kerf_device *d, struct frame *f, uint64_t now)
{
	const double left_ns = (double)f->choice.hedge_ns - f->choice.core_ns - f->choice.head_ns;

	/* The prediction knew neither how long the head would wait for the core nor what the link has to carry by now.
	 * For others' packets on the link nobody waits longer than computing the rest here would take: on a dead link
	 * they never end. */
	f->queued_ns = wait_link_ns(d, f, now);
	const double queued_ns = fmin((double)f->queued_ns, kerf_plan_rest_ns(&d->plan, f->choice.candidate));
	f->late_at_ns = f->hedge_at_ns =
		KERF_MAX(f->hedge_at_ns, now + (uint64_t)(fmax(0, queued_ns) + fmax(0, left_ns)));
	f->sign_due_ns = sign_due(d, f);
	if (d->late_share > d->o.race_share && wait_core_ns(d) == 0)
		f->hedge_at_ns = now;
}

uint64_t wait_end(const struct frame *f)
{
	return f->arrived_ns ? f->hedge_at_ns : KERF_MIN(f->hedge_at_ns, f->sign_due_ns);
}

/*
 * An early report tells how fast the frame itself goes: when its result would come later than predicted
 * and than the device could have finished, it does not wait to see that.
 */
static void judge_early(struct kerf_device *d, struct frame *f, uint64_t now)
{
	const struct kerf_sample *s = &f->early;
	const struct kerf_plan_choice *c = &f->choice;
	const double wire_ns = 1e9 * s->tau * wire_bytes(f);
	const double result_ns = (double)(f->sent_ns - f->started_ns) + wire_ns +
		(double)kerf_link_base_rtt_ns(&d->up) + c->wait_ns + c->tail_ns;
	const double here_ns = (double)(now - f->started_ns) +
		kerf_plan_rest_ns(&d->plan, c->candidate);

	if (f->state == FRAME_REMOTE && s->label == KERF_LABEL_BOTTLENECK && result_ns > here_ns &&
		result_ns > late_ns(d, f))
		f->hedge_at_ns = KERF_MIN(f->hedge_at_ns, now);
}

void wait_report(struct kerf_device *d, struct frame *f, const struct kerf_report *r, uint64_t now)
{
	f->told_ns = now;
	f->told_bytes = r->wire_bytes;
	if (r->flags & KERF_REPORT_COMPLETE && !f->arrived_ns)
		f->arrived_ns = now;
	f->early = r->flags & KERF_REPORT_COMPLETE ? (struct kerf_sample){0} : report_sample(r);
	f->sign_due_ns = sign_due(d, f);
	judge_early(d, f, now);
}

/* ---- it took too long ---- */

static uint64_t backlog_ns(const struct kerf_device *d, uint64_t now)
{
	const double ns = 1e9 * kerf_link_tau(&d->up) * d->backlog.bytes -
		(double)(now - KERF_MIN(now, d->backlog.at_ns));

	return ns > 0 ? (uint64_t)ns : 0;
}

uint64_t wait_link_ns(const struct kerf_device *d, const struct frame *f, uint64_t now)
{
	double bytes = 0;

	for (unsigned i = 0; i < d->o.in_flight; i++) {
		const struct frame *other = &d->frames[i];

		if (other != f && other->remote_open && !other->arrived_ns)
			bytes += fmax(0, wire_bytes(other) - (double)other->told_bytes);
	}
	return backlog_ns(d, now) + (uint64_t)(1e9 * kerf_link_tau(&d->up) * bytes);
}

/* The packets of a frame that is given up: those that have not arrived are ahead of the next frame's. */
static void add_backlog(struct kerf_device *d, const struct frame *f)
{
	const double sent = (double)f->sender.wire_bytes, tau_ns = 1e9 * kerf_link_tau(&d->up);
	const uint64_t at_ns = f->told_ns ? f->told_ns : f->sent_ns;
	double before = d->backlog.bytes;

	if (f->arrived_ns || sent <= (double)f->told_bytes)
		return;
	if (at_ns > d->backlog.at_ns && tau_ns > 0)
		before = fmax(0, before - (double)(at_ns - d->backlog.at_ns) / tau_ns);
	d->backlog.bytes = before + sent - (double)f->told_bytes;
	d->backlog.at_ns = at_ns;
	d->backlog.sent_ns = f->sent_ns + 1;
	d->backlog.frame = f->number;
}

#define PACE_GAIN_MIN 1.05
#define PACE_LOSSES 3     /* so many repeats say nothing of a queue */
#define PACE_LOSS 0.01    /* nor does so small a share of the packets */
#define PACE_LESS 0.6
#define PACE_BELOW 0.8    /* of the gain that overflowed: as far as it comes back soon */
#define PACE_MORE (1.0 / 32)
#define PACE_BOUND_MORE (1.0 / 512)

/* A frame that lost packets has overflowed a queue on the way: the next ones are paced nearer to the rate, and for
 * long not as before. */
static void learn_gain(struct kerf_device *d, const struct kerf_sender *s)
{
	if (s->repeats > PACE_LOSSES && s->repeats > PACE_LOSS * s->layout.n_packets) {
		d->pace_bound = fmax(PACE_GAIN_MIN, PACE_BELOW * d->pace_gain);
		d->pace_gain = fmax(PACE_GAIN_MIN, PACE_LESS * d->pace_gain);
		return;
	}
	d->pace_bound += PACE_BOUND_MORE * (d->o.pace_gain - d->pace_bound);
	d->pace_gain += PACE_MORE * (d->pace_bound - d->pace_gain);
}

#define LATE_WEIGHT (1.0 / 16)

/* Where results are late again and again, the device will not wait for them: see race_share. */
static void learn_late_share(struct kerf_device *d, const struct frame *f, uint64_t now)
{
	const bool late = (double)(now - f->started_ns) > late_ns(d, f);

	d->late_share += LATE_WEIGHT * (late - d->late_share);
}

/* The device was faster. When all tensors had arrived, the server has worked on them since, the result's
 * way back aside. */
static void learn_from_server(struct kerf_device *d, const struct frame *f, uint64_t now)
{
	const uint64_t way_ns = kerf_link_base_rtt_ns(&d->up);

	if (f->arrived_ns && now - f->arrived_ns > way_ns)
		kerf_plan_observe_late(&d->plan, &f->choice,
			(double)(now - f->arrived_ns - way_ns));
}

/*
 * The frame is over. Twice no sign at all, for as long as makes a result late or for twice as long as a sign may take,
 * ends the session. Frames that the device finishes sooner add up their silence; frames that were away together met
 * the same one, which counts once.
 */
static void count_silence(struct kerf_device *d, const struct frame *f, uint64_t now)
{
	struct session *s = &d->session;
	const uint64_t enough_ns = KERF_MIN(f->late_at_ns - f->sent_ns, 2 * (f->sign_due_ns - f->sent_ns));

	if (s->state != KERF_SESSION_READY)
		return;
	if (s->heard_ns >= f->sent_ns) {
		s->unheard = 0;
		s->silence_ns = 0;
		return;
	}
	s->silence_ns += now - KERF_MAX(f->sent_ns, s->silent_until_ns);
	s->silent_until_ns = now;
	if (s->silence_ns < enough_ns)
		return;
	s->silence_ns = 0;
	if (++s->unheard >= UNHEARD_FRAMES)
		session_lost(d, now);
}

void wait_is_late(struct kerf_device *d, struct frame *f, uint64_t now)
{
	const uint64_t soonest_ns = soonest_sign(d, f);
	struct kerf_sample silence = {.label = KERF_LABEL_TIMED_OUT, .error = 1};

	if (d->session.state != KERF_SESSION_READY || !f->remote_open || f->arrived_ns)
		return;
	kerf_link_update(&d->up, &f->early, now);
	f->early = (struct kerf_sample){0};
	if (now > soonest_ns) {
		/* Not one sign since: that bounds the rate of the link from above. */
		silence.tau = 1e-9 * (double)(now - soonest_ns) /
			fmin(report_step_bytes(f), fmax(1, wire_bytes(f) - (double)f->told_bytes));
		kerf_link_update(&d->up, &silence, now);
	}
}

void wait_given_up(struct kerf_device *d, struct frame *f, uint64_t now)
{
	wait_is_late(d, f, now);
	learn_from_server(d, f, now);
	add_backlog(d, f);
	count_silence(d, f, now);
}

void wait_over(struct kerf_device *d, const struct frame *f, uint64_t now)
{
	learn_gain(d, &f->sender);
	learn_late_share(d, f, now);
}
