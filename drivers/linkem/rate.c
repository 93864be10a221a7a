/*
 * The link's rate: the running integral W of its steps, repeated or not, solved for the times at
 * which packets start and finish.
 */
#include "linkem/linkem_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#define WORK_PER_BIT 1000000000000ull

static int check_steps(const struct kerf_linkem_step *steps, unsigned n, struct kerf_err *err)
{
	if (n && !steps)
		return kerf_err_set(err, -EINVAL, "linkem: %u steps at address 0", n);
	if (n && steps[0].at_ps != 0)
		return kerf_err_set(err, -EINVAL,
			"linkem: first step at %" PRIu64 " ps: expected 0", steps[0].at_ps);
	for (unsigned i = 0; i < n; i++) {
		if (i && steps[i].at_ps <= steps[i - 1].at_ps)
			return kerf_err_set(err, -EINVAL,
				"linkem: step %u at %" PRIu64 " ps: expected later than %" PRIu64,
				i, steps[i].at_ps, steps[i - 1].at_ps);
		if (steps[i].bps > KERF_LINKEM_MAX_BPS)
			return kerf_err_set(err, -EINVAL,
				"linkem: step %u: %" PRIu64 " bit/s: expected at most %llu", i,
				steps[i].bps, KERF_LINKEM_MAX_BPS);
	}
	return 0;
}

static int check_loop(const struct kerf_linkem_config *c, struct kerf_err *err)
{
	if (!c->loop_ps)
		return 0;
	if (!c->n_steps)
		return kerf_err_set(err, -EINVAL,
			"linkem: loop of %" PRIu64 " ps: expected steps to repeat", c->loop_ps);
	if (c->loop_ps <= c->steps[c->n_steps - 1].at_ps)
		return kerf_err_set(err, -EINVAL,
			"linkem: loop of %" PRIu64 " ps: expected more than %" PRIu64
			", the last step's time",
			c->loop_ps, c->steps[c->n_steps - 1].at_ps);
	return 0;
}

static kerf_work work_in(const struct linkem_step *s, uint64_t t)
{
	return s->work + (kerf_work)(t - s->at_ps) * s->bps;
}

int linkem_rate_init(struct linkem_rate *r, const struct kerf_linkem_config *c,
	struct kerf_err *err)
{
	int ret = check_steps(c->steps, c->n_steps, err);

	if (ret == 0)
		ret = check_loop(c, err);
	if (ret < 0 || !c->n_steps)
		return ret;
	r->steps = calloc(c->n_steps, sizeof(*r->steps));
	if (!r->steps)
		return kerf_err_set(err, -ENOMEM, "linkem: no memory for %u steps", c->n_steps);
	r->n_steps = c->n_steps;
	for (unsigned i = 0; i < r->n_steps; i++) {
		r->steps[i].at_ps = c->steps[i].at_ps;
		r->steps[i].bps = c->steps[i].bps;
		r->steps[i].work = i ? work_in(&r->steps[i - 1], c->steps[i].at_ps) : 0;
	}
	if (c->loop_ps)
		r->loop_work = work_in(&r->steps[r->n_steps - 1], c->loop_ps);
	/* What never moves need not be repeated, and every repetition below does some work. */
	r->loop_ps = r->loop_work ? c->loop_ps : 0;
	return 0;
}

static void skip_repetitions(const struct linkem_rate *r, struct linkem_cursor *c, uint64_t n)
{
	c->base_ps += n * r->loop_ps;
	c->base_work += n * r->loop_work;
	c->step = 0;
}

/* W(t). Arrivals do not go back, so each step is passed once. */
static kerf_work work_at_arrival(struct linkem_rate *r, uint64_t t)
{
	struct linkem_cursor *c = &r->arrival;

	if (r->loop_ps && t - c->base_ps >= r->loop_ps)
		skip_repetitions(r, c, (t - c->base_ps) / r->loop_ps);
	t -= c->base_ps;
	while (c->step + 1 < r->n_steps && r->steps[c->step + 1].at_ps <= t)
		c->step++;
	return c->base_work + work_in(&r->steps[c->step], t);
}

/* Goes to the repetition in which `end` is reached; false when that is later than time reaches. */
static bool find_repetition(struct linkem_rate *r, kerf_work end)
{
	struct linkem_cursor *c = &r->finish;

	if (!r->loop_ps || end - c->base_work <= r->loop_work)
		return true;
	kerf_work n = (end - c->base_work - 1) / r->loop_work;
	if (n > (LINKEM_NEVER - c->base_ps) / r->loop_ps)
		return false;
	skip_repetitions(r, c, (uint64_t)n);
	return true;
}

/* Smallest t with W(t) >= end; `end` does not go back either. */
static uint64_t time_of_work(struct linkem_rate *r, kerf_work end)
{
	struct linkem_cursor *c = &r->finish;

	if (!find_repetition(r, end))
		return LINKEM_NEVER;
	end -= c->base_work;
	while (c->step + 1 < r->n_steps && r->steps[c->step + 1].work < end)
		c->step++;
	const struct linkem_step *s = &r->steps[c->step];
	if (end <= s->work) /* only at the very start, or with no bits to send */
		return linkem_later(c->base_ps, s->at_ps);
	if (s->bps == 0)
		return LINKEM_NEVER; /* the last step: the loop passes earlier ones of rate 0 */
	kerf_work left = end - s->work;
	/* Most packets end soon after a step began: the short division is several times faster. */
	kerf_work ps = left <= UINT64_MAX - s->bps ? ((uint64_t)left + s->bps - 1) / s->bps
						   : (left + s->bps - 1) / s->bps;
	ps += (kerf_work)c->base_ps + s->at_ps;
	return ps < LINKEM_NEVER ? (uint64_t)ps : LINKEM_NEVER;
}

uint64_t linkem_rate_serialise(struct linkem_rate *r, uint64_t arrival_ps, uint64_t bits)
{
	uint64_t t = arrival_ps;

	if (r->steps) {
		kerf_work start = work_at_arrival(r, arrival_ps);
		r->busy_until = KERF_MAX(start, r->busy_until) + (kerf_work)bits * WORK_PER_BIT;
		t = time_of_work(r, r->busy_until);
	}
	/* A packet without a bit ends where its work begins, which W may have reached before. */
	r->last_finish_ps = KERF_MAX(KERF_MAX(t, arrival_ps), r->last_finish_ps);
	return r->last_finish_ps;
}

uint64_t kerf_linkem_rate_at(const struct kerf_linkem *e, uint64_t at_ps)
{
	const struct linkem_rate *r = &e->rate;
	unsigned low = 0, high = r->n_steps; /* the step sought is in [low, high) */

	if (!r->steps)
		return UINT64_MAX;
	if (r->loop_ps)
		at_ps %= r->loop_ps;
	while (high - low > 1) {
		unsigned mid = low + (high - low) / 2;
		if (r->steps[mid].at_ps <= at_ps)
			low = mid;
		else
			high = mid;
	}
	return r->steps[low].bps;
}
