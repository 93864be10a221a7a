#include "plan/plan_internal.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define THETA_WEIGHT (1.0 / 16)
#define THETA_FAR 1.2
#define THETA_MIN (1.0 / 64)
#define THETA_MAX 64.0
#define PROBE_PACKETS 16
#define SAMPLE_PACKETS 6 /* a shorter train tells too little */
#define PROBE_SHARE 0.1 /* of a local frame's time: a probe that takes less costs nothing that counts */
#define FORGET (1.0 / 64) /* a frame that sends nothing */

static int check_options(const struct kerf_plan_options *o, struct kerf_err *err)
{
	if (o->mode < KERF_PLAN_DYNAMIC || o->mode > KERF_PLAN_OFFLOAD)
		return kerf_err_set(err, -EINVAL, "plan: mode %d is none", (int)o->mode);
	if (o->objective < KERF_PLAN_LATENCY || o->objective > KERF_PLAN_THROUGHPUT)
		return kerf_err_set(err, -EINVAL, "plan: objective %d is none", (int)o->objective);
	if (o->objective == KERF_PLAN_DEADLINE && o->deadline_ns == 0)
		return kerf_err_set(err, -EINVAL, "plan: a deadline of 0, expected more");
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
	unsigned n_local = 0, n_own = 0;

	p->own = p->n;
	for (unsigned i = 0; i < p->n; i++) {
		const struct kerf_plan_candidate *c = &p->candidates[i];

		if (c->cut < 0 || c->head_ns < 0 || c->tail_ns < 0 || !(c->tail_byte_ns >= 0))
			return kerf_err_set(err, -EINVAL,
				"plan: candidate %u: cut %d, head %g ns, tail %g ns and %g ns a byte, expected "
				"none negative",
				i, c->cut, c->head_ns, c->tail_ns, c->tail_byte_ns);
		if (c->local) {
			p->local = i;
			n_local++;
		} else if (c->own_bytes) {
			p->own = i;
			n_own++;
		}
	}
	if (n_local != 1)
		return kerf_err_set(err, -EINVAL,
			"plan: %u of %u candidates are local, expected exactly one", n_local, p->n);
	if (n_own > 1)
		return kerf_err_set(err, -EINVAL,
			"plan: %u candidates have bytes of each frame's own, expected at most one", n_own);
	return 0;
}

double plan_tail_ns(const struct kerf_plan_candidate *c, uint64_t wire_bytes)
{
	return c->tail_ns + (c->own_bytes ? c->tail_byte_ns * (double)wire_bytes : 0);
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

	if (i == p->own && c->wire_bytes == 0)
		return false;
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

static void set_terms(struct kerf_plan *p, unsigned i)
{
	const struct kerf_plan_candidate *c = &p->candidates[i];

	/* NaN would compare as neither less nor more. */
	p->terms.head[i] = is_allowed(p, i) && is_finite(c) ? c->head_ns : INFINITY;
	p->terms.tail[i] = c->local || !is_finite(c) ? 0 : plan_tail_ns(c, c->wire_bytes);
	p->terms.bytes[i] = c->local ? 0 : (double)c->wire_bytes;
	p->terms.away[i] = !c->local;
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
	for (unsigned i = 0; i < p->n; i++)
		set_terms(p, i);
	return 0;
}

int kerf_plan_create(struct kerf_plan *p, const struct kerf_plan_options *options,
	const struct kerf_plan_candidate *candidates, unsigned n, struct kerf_err *err)
{
	int rc;

	*p = (struct kerf_plan){
		.options = *options, .n = n, .theta_head = 1, .theta_tail = 1,
		.theta_server = 1, .theta_base = 1};
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
static unsigned cheapest(const struct kerf_plan *p, const struct kerf_plan_input *in, enum kerf_plan_reason *why)
{
	double best_cost, current_cost;
	unsigned best;

	*why = p->options.mode == KERF_PLAN_DYNAMIC ? KERF_REASON_CHEAPEST : KERF_REASON_MODE;
	if (!plan_is_sampled(in))
		return fewest_bytes(p);
	best = plan_best(p, in, &best_cost);
	/* Times that cannot be predicted are no reason against what a mode demands. */
	if (!isfinite(best_cost))
		return fewest_bytes(p);
	if (in->alarm || best == p->current || !is_allowed(p, p->current))
		return best;
	current_cost = plan_cost(p, p->current, in);
	if (!isfinite(current_cost) || current_cost - best_cost > p->options.hysteresis * current_cost)
		return best;
	*why = KERF_REASON_KEPT;
	return p->current;
}

static unsigned pick(const struct kerf_plan *p, const struct kerf_plan_input *in, enum kerf_plan_reason *why)
{
	if (!in->reachable) {
		*why = KERF_REASON_NO_SESSION;
		return p->local;
	}
	if (p->options.mode == KERF_PLAN_DYNAMIC && !plan_is_sampled(in)) {
		*why = KERF_REASON_NO_SAMPLE;
		return p->local;
	}
	return cheapest(p, in, why);
}

const char *kerf_plan_reason_text(enum kerf_plan_reason reason)
{
	static const char *const texts[] = {
		[KERF_REASON_CHEAPEST] = "it costs least",
		[KERF_REASON_KEPT] = "it was chosen before, and what costs least does not gain more than the hysteresis",
		[KERF_REASON_MODE] = "the mode demands it",
		[KERF_REASON_NO_SESSION] = "there is no session with a server",
		[KERF_REASON_NO_SAMPLE] = "the link is not known yet",
	};

	return (unsigned)reason < KERF_ARRAY_LEN(texts) ? texts[reason] : "unknown";
}

static bool probe_is_cheap(const struct kerf_plan *p, const struct kerf_plan_input *in)
{
	const double ns = PROBE_PACKETS * PLAN_PACKET_BYTES * in->tau * (double)KERF_NS_PER_S;

	return ns < PROBE_SHARE * p->theta_head * p->candidates[p->local].head_ns;
}

/* A frame that crosses the link samples it; one that does not, or hardly, may need a probe train beside
 * it. */
static bool probe_is_due(struct kerf_plan *p, const struct kerf_plan_input *in)
{
	const struct kerf_plan_options *o = &p->options;

	if (p->candidates[p->current].wire_bytes >= SAMPLE_PACKETS * PLAN_PACKET_BYTES) {
		p->local_run = 0;
		return false;
	}
	if (p->local_run < UINT32_MAX)
		p->local_run++;
	if (o->mode != KERF_PLAN_DYNAMIC || !in->reachable || o->probe_every == 0)
		return false;
	if (plan_is_sampled(in) && !in->uncertain && p->local_run < o->probe_every &&
		!probe_is_cheap(p, in))
		return false;
	p->local_run = 0;
	return true;
}

void kerf_plan_choose(struct kerf_plan *p, const struct kerf_plan_input *in,
	struct kerf_plan_choice *out)
{
	enum kerf_plan_reason why;
	unsigned next;

	if (p->own < p->n) {
		p->candidates[p->own].wire_bytes = in->own_bytes;
		set_terms(p, p->own);
	}
	next = pick(p, in, &why);

	if (next == p->local)
		p->theta_tail += FORGET * (p->theta_base - p->theta_tail);

	/* The first choice is a switch from nothing. */
	if (next != p->current && p->chosen)
		p->switches++;
	p->chosen = true;
	p->current = next;
	kerf_plan_predict(p, next, in, out);
	out->reason = why;
	out->probe = probe_is_due(p, in);
}

static double bounded(double theta)
{
	return fmin(fmax(theta, THETA_MIN), THETA_MAX);
}

/*
 * theta follows measured / profile; times that cannot be are not looked at. One that is far off may be an accident,
 * the second in a row on the same side is how it is now. `side` of the last one: 0 when it was not far off.
 */
static void learn(double *theta, int *side, double measured_ns, double profile_ns)
{
	if (!isfinite(measured_ns) || measured_ns <= 0 || !isfinite(profile_ns) || profile_ns <= 0)
		return;
	double ratio = bounded(measured_ns / profile_ns);
	const int before = *side;

	*side = ratio > THETA_FAR * *theta ? 1 : ratio < *theta / THETA_FAR ? -1 : 0;
	if (*side && *side == before)
		*theta = ratio;
	else
		*theta += THETA_WEIGHT * (ratio - *theta);
}

void kerf_plan_observe(struct kerf_plan *p, const struct kerf_plan_choice *chosen, double head_ns, double tail_ns)
{
	if (chosen->candidate >= p->n)
		return;
	const struct kerf_plan_candidate *c = &p->candidates[chosen->candidate];

	learn(&p->theta_head, &p->head_side, head_ns, c->head_ns);
	if (!c->local)
		learn(&p->theta_tail, &p->tail_side, tail_ns, plan_tail_ns(c, chosen->wire_bytes));
}

void kerf_plan_server_speed(struct kerf_plan *p, double theta)
{
	if (isfinite(theta) && theta > 0)
		p->theta_server = p->theta_base = p->theta_tail = bounded(theta);
}

void kerf_plan_server_slowdown(struct kerf_plan *p, double factor)
{
	if (!(isfinite(factor) && factor >= 0))
		return;
	p->theta_base = factor > 0 ? bounded(p->theta_server * factor) : p->theta_server;
	if (p->current == p->local)
		p->theta_tail = fmax(p->theta_tail, p->theta_base);
}

void kerf_plan_observe_late(struct kerf_plan *p, const struct kerf_plan_choice *chosen, double tail_ns)
{
	if (chosen->candidate >= p->n || p->candidates[chosen->candidate].local)
		return;
	const double profile_ns = plan_tail_ns(&p->candidates[chosen->candidate], chosen->wire_bytes);

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

void kerf_plan_observe_rate(struct kerf_plan *p, double factor)
{
	struct kerf_plan_residuals *r = &p->residuals;
	unsigned i = 0;

	if (!(isfinite(factor) && factor > 0))
		return;
	if (r->n == KERF_PLAN_RESIDUALS) {
		while (r->sorted[i] != r->ring[r->next])
			i++;
		r->n--;
		memmove(&r->sorted[i], &r->sorted[i + 1], (r->n - i) * sizeof(r->sorted[0]));
	}
	for (i = r->n; i > 0 && r->sorted[i - 1] > factor; i--)
		r->sorted[i] = r->sorted[i - 1];
	r->sorted[i] = factor;
	r->n++;
	r->ring[r->next] = factor;
	r->next = (r->next + 1) % KERF_PLAN_RESIDUALS;
}
