/* What each candidate would cost, by each objective. */
#include <assert.h>

#include "plan/plan_internal.h"

#define HEDGE_DEVIATIONS 3
#define LOSS_MAX 0.9 /* beyond, a repair would never end */
#define HEDGE_MAX_NS (3600 * KERF_NS_PER_S) /* so that start + hedge_ns never overflows */
#define MISS_COST 100.0 /* deadlines: nothing that is saved makes up for a miss */
#define TOTAL_SHARE 1e-3 /* of the latency, in a throughput's cost */

/* The rounds of repair that are to be expected, one of them at most being counted. */
static double repair_ns(const struct kerf_plan_candidate *c, const struct kerf_plan_input *in,
	double tau_ns)
{
	const double packets = ceil((double)c->wire_bytes / PLAN_PACKET_BYTES);
	const double loss = fmin(in->loss, LOSS_MAX);

	if (!(in->loss > 0)) /* NaN too */
		return 0;
	return (1 - pow(1 - loss, packets)) *
		((double)in->rtt_ns + fmax(1, loss * packets) * PLAN_PACKET_BYTES * tau_ns);
}

/* Late is what is far beyond the prediction; with a deadline, what leaves no more time to meet it here. */
static uint64_t hedge_ns(const struct kerf_plan *p, unsigned candidate, const struct kerf_plan_choice *c,
	double deviation_ns)
{
	const struct kerf_plan_options *o = &p->options;
	double late = fmax(o->hedge_factor * c->total_ns, c->total_ns + HEDGE_DEVIATIONS * deviation_ns);

	if (!isfinite(late))
		late = 0;
	late = fmax(late, (double)o->hedge_min_ns);
	if (o->objective == KERF_PLAN_DEADLINE) {
		const double last = (double)o->deadline_ns - kerf_plan_rest_ns(p, candidate);

		if (last >= c->head_ns)
			late = fmin(late, last);
	}
	return late < (double)HEDGE_MAX_NS ? (uint64_t)late : HEDGE_MAX_NS;
}

/* The share of late trains that took more than `factor` times as long as predicted; without any, as predicted. */
static double chance_above(const struct kerf_plan_residuals *r, double factor)
{
	unsigned low = 0, high = r->n;

	if (r->n == 0)
		return factor < 1;
	while (low < high) {
		const unsigned middle = (low + high) / 2;

		if (r->sorted[middle] > factor)
			high = middle;
		else
			low = middle + 1;
	}
	return (double)(r->n - low) / r->n;
}

/* total_ns of a candidate, of which wire_ns varies as the link does. */
static double miss_chance(const struct kerf_plan *p, double total_ns, double wire_ns)
{
	const double left_ns = (double)p->options.deadline_ns - (total_ns - wire_ns);

	if (!(left_ns > 0))
		return 1;
	return wire_ns > 0 ? chance_above(&p->residuals, left_ns / wire_ns) : 0;
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
		.wire_bytes = c->local ? 0 : c->wire_bytes,
		.head_ns = p->theta_head * c->head_ns,
	};
	if (out->head_ns > 0)
		out->core_ns = (double)in->core_ns;
	if (!c->local) {
		double tau_ns = plan_is_sampled(in) ? in->tau * (double)KERF_NS_PER_S : 0;

		wire_ns = (double)c->wire_bytes * tau_ns;
		out->net_ns = (double)in->rtt_ns + wire_ns + repair_ns(c, in, tau_ns) +
			(double)in->result_ns + fmax(0, (double)in->queue_ns - out->core_ns - out->head_ns);
		const double there_ns = out->core_ns + out->head_ns + out->net_ns - (double)in->result_ns;
		out->wait_ns = (double)in->wait_ns + fmax(0, (double)in->own_ns - there_ns);
		out->tail_ns = p->theta_tail * plan_tail_ns(c, c->wire_bytes);
	}
	out->total_ns = out->core_ns + out->head_ns + out->net_ns + out->wait_ns + out->tail_ns;
	out->wire_ns = wire_ns;
	if (p->options.objective == KERF_PLAN_DEADLINE)
		out->miss = miss_chance(p, out->total_ns, wire_ns);
	if (!c->local)
		out->hedge_ns = hedge_ns(p, candidate, out,
			isfinite(in->sigma) ? in->sigma * wire_ns : 0);
}

/* Predicted total of every candidate, repairs aside. */
static void predict_all(const struct kerf_plan *p, const struct kerf_plan_input *in, double tau_ns)
{
	const struct kerf_plan_terms *t = &p->terms;
	const double fixed_ns = (double)in->rtt_ns + (double)in->result_ns + (double)in->wait_ns;
	const double own_ns = (double)in->own_ns;
	const double queue_ns = (double)in->queue_ns, core_ns = (double)in->core_ns;

	for (unsigned i = 0; i < p->n; i++) {
		const double bare_ns = p->theta_head * t->head[i];
		const double head_ns = bare_ns > 0 ? bare_ns + core_ns : 0;
		const double queued_ns = queue_ns > head_ns ? queue_ns - head_ns : 0;
		const double there_ns = head_ns + queued_ns + (double)in->rtt_ns + tau_ns * t->bytes[i];
		const double wait_ns = own_ns > there_ns ? own_ns - there_ns : 0;

		t->cost[i] = head_ns + t->away[i] * (fixed_ns + queued_ns + wait_ns) + tau_ns * t->bytes[i] +
			p->theta_tail * t->tail[i];
	}
}

/* ---- objectives ---- */

static double with_repair(const struct kerf_plan *p, unsigned i, const struct kerf_plan_input *in, double tau_ns)
{
	const double ns = p->terms.cost[i] +
		(p->candidates[i].local ? 0 : repair_ns(&p->candidates[i], in, tau_ns));

	return isfinite(ns) ? ns : INFINITY;
}

static unsigned least(const double *cost, unsigned n)
{
	unsigned best = 0;

	for (unsigned i = 1; i < n; i++)
		if (cost[i] < cost[best])
			best = i;
	return best;
}

/* Repairs are worked out only where they can matter. */
static unsigned soonest(const struct kerf_plan *p, const struct kerf_plan_input *in, double tau_ns, double *ns)
{
	const double *cost = p->terms.cost;
	unsigned best = least(cost, p->n);

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

/* Least chance first; of equals the soonest. */
static double deadline_cost(const struct kerf_plan *p, unsigned i, const struct kerf_plan_input *in, double tau_ns)
{
	const double total_ns = with_repair(p, i, in, tau_ns);
	const double chance = miss_chance(p, total_ns, p->terms.bytes[i] * tau_ns);

	return total_ns + MISS_COST * chance * (double)p->options.deadline_ns;
}

/* A pipeline is as slow as its slowest stage; of equals the soonest. */
static double stage_cost(const struct kerf_plan *p, unsigned i, const struct kerf_plan_input *in, double tau_ns)
{
	const struct kerf_plan_terms *t = &p->terms;
	const double again = in->loss > 0 ? 1 / (1 - fmin(in->loss, LOSS_MAX)) : 1;
	const double stage_ns = fmax(p->theta_head * t->head[i],
		fmax(again * tau_ns * t->bytes[i], p->theta_tail * t->tail[i]));

	return stage_ns + TOTAL_SHARE * t->cost[i];
}

double plan_cost(const struct kerf_plan *p, unsigned candidate, const struct kerf_plan_input *in)
{
	const double tau_ns = in->tau * (double)KERF_NS_PER_S;

	switch (p->options.objective) {
	case KERF_PLAN_DEADLINE:
	case KERF_PLAN_THROUGHPUT: return p->terms.cost[candidate];
	default: return with_repair(p, candidate, in, tau_ns);
	}
}

unsigned plan_best(const struct kerf_plan *p, const struct kerf_plan_input *in, double *cost)
{
	double (*const objective)(const struct kerf_plan *, unsigned, const struct kerf_plan_input *, double) =
		p->options.objective == KERF_PLAN_DEADLINE ? deadline_cost : stage_cost;
	const double tau_ns = in->tau * (double)KERF_NS_PER_S;
	unsigned best;

	predict_all(p, in, tau_ns);
	if (p->options.objective == KERF_PLAN_LATENCY)
		return soonest(p, in, tau_ns, cost);
	for (unsigned i = 0; i < p->n; i++)
		p->terms.cost[i] = objective(p, i, in, tau_ns);
	best = least(p->terms.cost, p->n);
	*cost = p->terms.cost[best];
	return best;
}
