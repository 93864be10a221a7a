#include <assert.h>
#include <stdlib.h>

#include "node/node.h"

/* A range of steps on one context. */
struct engine_range {
	unsigned from, to; /* nodes */
	unsigned step, end;
	bool entered, emulated;
	uint64_t spent_ns;  /* slow-down included */
	uint64_t resume_ns; /* the emulated core is busy until then */
};

struct engine_compute {
	struct kerf_compute base;
	struct kerf_engine *engine;
	struct kerf_compute_options o;
	struct kerf_context **contexts;
	struct engine_range *ranges;
};

static float *engine_tensor(void *self, unsigned slot, int id)
{
	struct engine_compute *c = self;

	return kerf_context_tensor(c->contexts[slot], id);
}

static void engine_begin(void *self, unsigned slot, unsigned from, unsigned to, uint64_t now,
	bool emulated)
{
	struct engine_compute *c = self;

	c->ranges[slot] = (struct engine_range){
		.from = from,
		.to = to,
		.step = kerf_engine_first_step(c->engine, from),
		.end = kerf_engine_first_step(c->engine, to),
		.emulated = emulated,
		.resume_ns = now,
	};
}

/* Times a piece of a range, which with a slow-down takes longer than it took. */
struct stopwatch { uint64_t begin, cpu; };

static struct stopwatch start_watch(const struct engine_compute *c, double slowdown)
{
	return (struct stopwatch){c->o.clock_ns(), slowdown > 1 ? c->o.cpu_clock_ns() : 0};
}

static void stop_watch(const struct engine_compute *c, struct engine_range *r, struct stopwatch w, double slowdown,
	uint64_t now)
{
	uint64_t took = c->o.clock_ns() - w.begin;

	if (slowdown > 1)
		took += (uint64_t)((double)(c->o.cpu_clock_ns() - w.cpu) * (slowdown - 1));
	r->spent_ns += took;
	r->resume_ns = now + took;
}

/* The next step, and what belongs to the cuts at both ends. */
static void run_step(struct kerf_context *context, struct engine_range *r)
{
	if (!r->entered)
		kerf_engine_enter(context, r->from);
	r->entered = true;
	if (r->step < r->end) {
		const int rc = kerf_engine_step(context, r->step++);

		assert(rc == 0);
	}
	if (r->step == r->end)
		kerf_engine_leave(context, r->to);
}

static bool engine_advance(void *self, unsigned slot, uint64_t now)
{
	struct engine_compute *c = self;
	struct engine_range *r = &c->ranges[slot];

	if (now < r->resume_ns)
		return false;
	if (r->step < r->end || !r->entered) {
		const double slowdown = r->emulated ? kerf_compute_slowdown(&c->o, now) : 1;
		const struct stopwatch w = start_watch(c, slowdown);

		run_step(c->contexts[slot], r);
		stop_watch(c, r, w, slowdown, now);
		if (slowdown > 1)
			return false;
	}
	return r->step == r->end;
}

static void engine_before(void *self, unsigned slot, void (*work)(void *), void *arg, double ns, uint64_t now)
{
	struct engine_compute *c = self;
	struct engine_range *r = &c->ranges[slot];
	const double slowdown = r->emulated ? kerf_compute_slowdown(&c->o, now) : 1;
	const struct stopwatch w = start_watch(c, slowdown);

	(void)ns;
	work(arg);
	stop_watch(c, r, w, slowdown, now);
}

static uint64_t engine_next(const void *self, unsigned slot)
{
	const struct engine_compute *c = self;

	return c->ranges[slot].resume_ns;
}

static uint64_t engine_elapsed(const void *self, unsigned slot)
{
	const struct engine_compute *c = self;

	return c->ranges[slot].spent_ns;
}

static void engine_destroy(void *self)
{
	struct engine_compute *c = self;

	for (unsigned i = 0; c->contexts && i < c->base.n_slots; i++)
		kerf_context_free(c->contexts[i]);
	free(c->contexts);
	free(c->ranges);
	free(c);
}

static const struct kerf_compute_ops engine_ops = {
	.tensor = engine_tensor,
	.begin = engine_begin,
	.before = engine_before,
	.advance = engine_advance,
	.next = engine_next,
	.elapsed_ns = engine_elapsed,
	.destroy = engine_destroy,
};

struct kerf_compute *kerf_compute_engine(struct kerf_engine *e, const struct kerf_model *m,
	const struct kerf_compute_options *o, struct kerf_err *err)
{
	struct engine_compute *c = calloc(1, sizeof(*c));

	if (!c)
		goto no_memory;
	c->base = (struct kerf_compute){.n_slots = o->slots, .self = c, .ops = &engine_ops};
	c->engine = e;
	c->o = *o;
	c->contexts = calloc(o->slots, sizeof(c->contexts[0]));
	c->ranges = calloc(o->slots, sizeof(c->ranges[0]));
	if (!c->contexts || !c->ranges)
		goto no_memory;
	for (unsigned i = 0; i < o->slots; i++) {
		c->contexts[i] = kerf_context_create(e, err);
		if (!c->contexts[i]) {
			engine_destroy(c);
			return NULL;
		}
	}
	return &c->base;

no_memory:
	kerf_err_set(err, -ENOMEM, "%s: no memory for %u contexts", m->graph->name, o->slots);
	if (c)
		engine_destroy(c);
	return NULL;
}

void kerf_compute_free(struct kerf_compute *c)
{
	if (c)
		c->ops->destroy(c->self);
}
