#include "plan/plan.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define THETA_WEIGHT (1.0 / 16)
#define THETA_MIN (1.0 / 64)
#define THETA_MAX 64.0
#define HEDGE_DEVIATIONS 3
#define PACKET_BYTES 1538 /* of the link, for counting packets */
#define PROBE_PACKETS 16 /* a shorter train tells too little */
#define PROBE_SHARE 0.1 /* of a local frame's time: a probe that takes less costs nothing that counts */
#define LOSS_MAX 0.9 /* beyond, a repair would never end */
#define FORGET (1.0 / 32) /* a frame that sends nothing */
#define HEDGE_MAX_NS (3600 * KERF_NS_PER_S) /* so that start + hedge_ns never overflows */

static int check_options(const struct kerf_plan_options *o, struct kerf_err *err)
{
	if (o->mode < KERF_PLAN_DYNAMIC || o->mode > KERF_PLAN_OFFLOAD)
		return kerf_err_set(err, -EINVAL, "plan: mode %d is none", (int)o->mode);
	if (!(o->hysteresis >= 0 && o->hysteresis < 1))
		return kerf_err_set(err, -EINVAL, "plan: hysteresis %g, expected 0 to below 1",
			o->hysteresis);
	if (!(o->hedge_factor >= 0 && isfinite(o->hedge_factor)))
		return kerf_err_set(err, -EINVAL, "plan: hedge factor %g, expected 0 or more",
			o->hedge_factor);
	return 0;
}

static int check_candidates(struct kerf_plan *p, struct kerf_err *err)
{
	unsigned n_local = 0;

	for (unsigned i = 0; i < p->n; i++) {
		const struct kerf_plan_candidate *c = &p->candidates[i];

		if (c->cut < 0 || c->head_ns < 0 || c->tail_ns < 0)
			return kerf_err_set(err, -EINVAL,
				"plan: candidate %u: cut %d, head %g ns, tail %g ns, expected none "
				"negative",
				i, c->cut, c->head_ns, c->tail_ns);
		if (c->local) {
			p->local = i;
			n_local++;
		}
	}
	if (n_local != 1)
		return kerf_err_set(err, -EINVAL,
			"plan: %u of %u candidates are local, expected exactly one", n_local, p->n);
	return 0;
}

static bool is_finite(const struct kerf_plan_candidate *c)
{
	return isfinite(c->head_ns) && (c->local || isfinite(c->tail_ns));
}

/* What the mode leaves to choose from once the server is reachable and known well enough. */
static bool is_allowed(const struct kerf_plan *p, unsigned i)
{
	const struct kerf_plan_candidate *c = &p->candidates[i];
	const struct kerf_plan_options *o = &p->options;
	bool codec_fits = o->fixed_codec < 0 || c->codec == o->fixed_codec;

	switch (o->mode) {
	case KERF_PLAN_DYNAMIC: return is_finite(c);
	case KERF_PLAN_FIXED: return c->cut == o->fixed_cut && (c->local || codec_fits);
	case KERF_PLAN_OFFLOAD: return c->cut == 0 && !c->local && codec_fits;
	case KERF_PLAN_LOCAL: return c->local;
	}
	return false;
}

static int check_mode(const struct kerf_plan *p, struct kerf_err *err)
{
	const struct kerf_plan_options *o = &p->options;

	if (o->mode != KERF_PLAN_FIXED && o->mode != KERF_PLAN_OFFLOAD)
		return 0;
	for (unsigned i = 0; i < p->n; i++)
		if (is_allowed(p, i))
			return 0;
	return kerf_err_set(err, -EINVAL,
		"plan: no candidate has cut %d with codec %d (negative: any), expected one of %u",
		o->mode == KERF_PLAN_FIXED ? o->fixed_cut : 0, o->fixed_codec, p->n);
}

static int make_terms(struct kerf_plan *p)
{
	struct kerf_plan_terms *t = &p->terms;
	double **const arrays[] = {&t->head, &t->tail, &t->bytes, &t->away, &t->cost};

	t->head = calloc((size_t)p->n * KERF_ARRAY_LEN(arrays), sizeof(double));
	if (!t->head)
		return -ENOMEM;
	for (unsigned k = 0; k < KERF_ARRAY_LEN(arrays); k++)
		*arrays[k] = t->head + (size_t)k * p->n;
	for (unsigned i = 0; i < p->n; i++) {
		const struct kerf_plan_candidate *c = &p->candidates[i];

		/* NaN would compare as neither less nor more. */
		t->head[i] = is_allowed(p, i) && is_finite(c) ? c->head_ns : INFINITY;
		t->tail[i] = c->local || !is_finite(c) ? 0 : c->tail_ns;
		t->bytes[i] = c->local ? 0 : (double)c->wire_bytes;
		t->away[i] = !c->local;
	}
	return 0;
}

int kerf_plan_create(struct kerf_plan *p, const struct kerf_plan_options *options,
	const struct kerf_plan_candidate *candidates, unsigned n, struct kerf_err *err)
{
	int rc;

	*p = (struct kerf_plan){
		.options = *options, .n = n, .theta_head = 1, .theta_tail = 1, .theta_base = 1};
	if (n == 0)
		return kerf_err_set(err, -EINVAL, "plan: no candidates, expected a local one");
	p->candidates = calloc(n, sizeof(*p->candidates));
	if (!p->candidates)
		return kerf_err_set(err, -ENOMEM, "plan: no memory for %u candidates", n);
	memcpy(p->candidates, candidates, n * sizeof(*candidates));
	if ((rc = check_options(options, err)) < 0 || (rc = check_candidates(p, err)) < 0 ||
		(rc = check_mode(p, err)) < 0)
		goto out;
	rc = make_terms(p);
	if (rc < 0) {
		kerf_err_set(err, rc, "plan: no memory for %u candidates", n);
		goto out;
	}
	p->current = p->local;
	return 0;
out:
	kerf_plan_destroy(p);
	return rc;
}

void kerf_plan_destroy(struct kerf_plan *p)
{
	free(p->candidates);
	free(p->terms.head);
	*p = (struct kerf_plan){0};
}

static bool is_sampled(const struct kerf_plan_input *in)
{
	return isfinite(in->tau) && in->tau > 0;
}

static uint64_t hedge_ns(const struct kerf_plan_options *o, double total_ns, double deviation_ns)
{
	double late = fmax(o->hedge_factor * total_ns, total_ns + HEDGE_DEVIATIONS * deviation_ns);

	if (!isfinite(late))
		late = 0;
	late = fmax(late, (double)o->hedge_min_ns);
	return late < (double)HEDGE_MAX_NS ? (uint64_t)late : HEDGE_MAX_NS;
}

/* The rounds of repair that are to be expected, one of them at most being counted. */
static double repair_ns(const struct kerf_plan_candidate *c, const struct kerf_plan_input *in,
	double tau_ns)
{
	const double packets = ceil((double)c->wire_bytes / PACKET_BYTES);
	const double loss = fmin(in->loss, LOSS_MAX);

	if (!(in->loss > 0)) /* NaN too */
		return 0;
	return (1 - pow(1 - loss, packets)) *
		((double)in->rtt_ns + fmax(1, loss * packets) * PACKET_BYTES * tau_ns);
}

void kerf_plan_predict(const struct kerf_plan *p, unsigned candidate,
	const struct kerf_plan_input *in, struct kerf_plan_choice *out)
{
	assert(candidate < p->n);
	const struct kerf_plan_candidate *c = &p->candidates[candidate];
	double wire_ns = 0;

	*out = (struct kerf_plan_choice){
		.candidate = candidate,
		.cut = c->cut,
		.codec = c->codec,
		.local = c->local,
		.head_ns = p->theta_head * c->head_ns,
	};
	if (!c->local) {
		double tau_ns = is_sampled(in) ? in->tau * (double)KERF_NS_PER_S : 0;

		wire_ns = (double)c->wire_bytes * tau_ns;
		out->net_ns = (double)in->rtt_ns + wire_ns + repair_ns(c, in, tau_ns) +
			(double)in->result_ns + fmax(0, (double)in->queue_ns - out->head_ns);
		out->wait_ns = (double)in->wait_ns;
		out->tail_ns = p->theta_tail * c->tail_ns;
	}
	out->total_ns = out->head_ns + out->net_ns + out->wait_ns + out->tail_ns;
	if (!c->local)
		out->hedge_ns = hedge_ns(&p->options, out->total_ns,
			isfinite(in->sigma) ? in->sigma * wire_ns : 0);
}

/* Predicted total of every candidate, repairs aside. */
static void predict_all(const struct kerf_plan *p, const struct kerf_plan_input *in, double tau_ns)
{
	const struct kerf_plan_terms *t = &p->terms;
	const double fixed_ns = (double)in->rtt_ns + (double)in->result_ns + (double)in->wait_ns;
	const double queue_ns = (double)in->queue_ns;

	for (unsigned i = 0; i < p->n; i++) {
		const double head_ns = p->theta_head * t->head[i];
		const double queued_ns = queue_ns > head_ns ? queue_ns - head_ns : 0;

		t->cost[i] = head_ns + t->away[i] * (fixed_ns + queued_ns) + tau_ns * t->bytes[i] +
			p->theta_tail * t->tail[i];
	}
}

static double with_repair(const struct kerf_plan *p, unsigned i, const struct kerf_plan_input *in, double tau_ns)
{
	const double ns = p->terms.cost[i] +
		(p->candidates[i].local ? 0 : repair_ns(&p->candidates[i], in, tau_ns));

	return isfinite(ns) ? ns : INFINITY;
}

/* The cheapest by time; repairs are worked out only where they can matter. *ns: what it costs. */
static unsigned soonest(const struct kerf_plan *p, const struct kerf_plan_input *in, double tau_ns, double *ns)
{
	const double *cost = p->terms.cost;
	unsigned best = 0;

	for (unsigned i = 1; i < p->n; i++)
		if (cost[i] < cost[best])
			best = i;
	*ns = with_repair(p, best, in, tau_ns);
	if (!(in->loss > 0))
		return best;
	for (unsigned i = 0; i < p->n; i++) {
		if (cost[i] > *ns || i == best)
			continue;
		const double full = with_repair(p, i, in, tau_ns);

		if (full < *ns || (full == *ns && i < best)) {
			best = i;
			*ns = full;
		}
	}
	return best;
}

/* As long as nobody knows what a byte costs: the fewest of those that are allowed. */
static unsigned fewest_bytes(const struct kerf_plan *p)
{
	unsigned best = p->local;
	bool found = false;

	for (unsigned i = 0; i < p->n; i++)
		if (is_allowed(p, i) &&
			(!found || p->candidates[i].wire_bytes < p->candidates[best].wire_bytes)) {
			best = i;
			found = true;
		}
	return best;
}

/* The cheapest allowed candidate, or the current one when that is hardly worse. */
static unsigned cheapest(const struct kerf_plan *p, const struct kerf_plan_input *in)
{
	const double tau_ns = in->tau * (double)KERF_NS_PER_S;
	double best_ns;

	if (!is_sampled(in))
		return fewest_bytes(p);
	predict_all(p, in, tau_ns);
	const unsigned best = soonest(p, in, tau_ns, &best_ns);
	/* Times that cannot be predicted are no reason against what a mode demands. */
	if (!isfinite(best_ns))
		return fewest_bytes(p);
	if (in->alarm || !is_allowed(p, p->current))
		return best;
	const double now_ns = with_repair(p, p->current, in, tau_ns);
	return now_ns - best_ns <= p->options.hysteresis * now_ns ? p->current : best;
}

static unsigned pick(const struct kerf_plan *p, const struct kerf_plan_input *in)
{
	if (!in->reachable || (p->options.mode == KERF_PLAN_DYNAMIC && !is_sampled(in)))
		return p->local;
	return cheapest(p, in);
}

static bool probe_is_cheap(const struct kerf_plan *p, const struct kerf_plan_input *in)
{
	const double ns = PROBE_PACKETS * PACKET_BYTES * in->tau * (double)KERF_NS_PER_S;

	return ns < PROBE_SHARE * p->theta_head * p->candidates[p->local].head_ns;
}

/* A frame that crosses the link samples it; one that does not, or hardly, may need a probe train beside
 * it. */
static bool probe_is_due(struct kerf_plan *p, const struct kerf_plan_input *in)
{
	const struct kerf_plan_options *o = &p->options;

	if (p->candidates[p->current].wire_bytes >= PROBE_PACKETS * PACKET_BYTES) {
		p->local_run = 0;
		return false;
	}
	if (p->local_run < UINT32_MAX)
		p->local_run++;
	if (o->mode != KERF_PLAN_DYNAMIC || !in->reachable || o->probe_every == 0)
		return false;
	if (is_sampled(in) && !in->uncertain && p->local_run < o->probe_every &&
		!probe_is_cheap(p, in))
		return false;
	p->local_run = 0;
	return true;
}

void kerf_plan_choose(struct kerf_plan *p, const struct kerf_plan_input *in,
	struct kerf_plan_choice *out)
{
	unsigned next = pick(p, in);

	if (next == p->local)
		p->theta_tail += FORGET * (p->theta_base - p->theta_tail);

	/* The first choice is a switch from nothing. */
	if (next != p->current && p->chosen)
		p->switches++;
	p->chosen = true;
	p->current = next;
	kerf_plan_predict(p, next, in, out);
	out->probe = probe_is_due(p, in);
}

/* theta follows measured / profile; times that cannot be are not looked at. */
static void learn(double *theta, double measured_ns, double profile_ns)
{
	if (!isfinite(measured_ns) || measured_ns <= 0 || !isfinite(profile_ns) || profile_ns <= 0)
		return;
	double ratio = fmin(fmax(measured_ns / profile_ns, THETA_MIN), THETA_MAX);
	*theta += THETA_WEIGHT * (ratio - *theta);
}

void kerf_plan_observe(struct kerf_plan *p, unsigned candidate, double head_ns, double tail_ns)
{
	if (candidate >= p->n)
		return;
	const struct kerf_plan_candidate *c = &p->candidates[candidate];

	learn(&p->theta_head, head_ns, c->head_ns);
	if (!c->local)
		learn(&p->theta_tail, tail_ns, c->tail_ns);
}

void kerf_plan_server_speed(struct kerf_plan *p, double theta)
{
	if (isfinite(theta) && theta > 0)
		p->theta_base = p->theta_tail = fmin(fmax(theta, THETA_MIN), THETA_MAX);
}

void kerf_plan_observe_late(struct kerf_plan *p, unsigned candidate, double tail_ns)
{
	if (candidate >= p->n || p->candidates[candidate].local)
		return;
	const double profile_ns = p->candidates[candidate].tail_ns;

	if (isfinite(tail_ns) && isfinite(profile_ns) && profile_ns > 0)
		p->theta_tail = fmax(p->theta_tail, fmin(tail_ns / profile_ns, THETA_MAX));
}

double kerf_plan_rest_ns(const struct kerf_plan *p, unsigned candidate)
{
	assert(candidate < p->n);
	return p->theta_head * (p->candidates[p->local].head_ns - p->candidates[candidate].head_ns);
}

void kerf_plan_sampled(struct kerf_plan *p)
{
	p->local_run = 0;
}
