/*
 * Up to three devices, one server, links that do everything links do, and a server that is killed
 * and started again: random worlds in virtual time. The seed is printed; KERF_TEST_SEED sets it.
 */
#include <inttypes.h>

#include "node/world.h"

#define ROUNDS 40
#define SPAN_MS 4000 /* within which links change and servers die */
#define MAX_STEPS 8

struct soak {
	struct world_options o;
	struct kerf_linkem_step steps[MAX_STEPS], down_steps[MAX_STEPS];
	uint64_t restarts[8]; /* the server dies and comes back in turn at these times */
	unsigned n_restarts;
	uint64_t drain_ns, stop_ns; /* 0 = never */
	uint64_t slowest_ns, bound_ns;
	unsigned n_late;
};

/* Over all worlds: that they do what they are to do. */
static struct kerf_device_stats total;
static uint64_t retransmits;

static struct soak soak;

static uint32_t below(struct kerf_rng *rng, uint32_t n)
{
	return kerf_rng_u32(rng) % n;
}

static bool chance(struct kerf_rng *rng, double p)
{
	return kerf_rng_uniform(rng) < p;
}

/* The last rate is above 0, or packets could stay in the link for ever. */
static unsigned any_steps(struct kerf_rng *rng, struct kerf_linkem_step *steps)
{
	static const uint64_t rates[] = {
		1000000, 5000000, 20000000, 100000000, 200000000, 1000000000};
	const unsigned n = 1 + below(rng, MAX_STEPS);
	uint64_t at_ms = 0;

	for (unsigned i = 0; i < n; i++) {
		const bool outage = i + 1 < n && chance(rng, .3);

		steps[i] = (struct kerf_linkem_step){
			at_ms * 1000000000, outage ? 0 : rates[below(rng, KERF_ARRAY_LEN(rates))]};
		at_ms += 1 + below(rng, SPAN_MS / n);
	}
	return n;
}

static void any_link(struct kerf_rng *rng)
{
	struct world_options *o = &soak.o;

	o->steps = soak.steps;
	o->n_steps = any_steps(rng, soak.steps);
	if (chance(rng, .4)) {
		o->down_steps = soak.down_steps;
		o->n_down_steps = any_steps(rng, soak.down_steps);
	}
	o->delay_ns = chance(rng, .2) ? 0 : below(rng, 20 * MS);
	o->queue_bytes = chance(rng, .2) ? 0 : 20000 + below(rng, 400000);
	o->loss = chance(rng, .5) ? .1 * kerf_rng_uniform(rng) : 0;
	o->duplication = chance(rng, .5) ? .1 * kerf_rng_uniform(rng) : 0;
	o->reordering = chance(rng, .5) ? .1 * kerf_rng_uniform(rng) : 0;
	o->reorder_ns = 1 + below(rng, chance(rng, .2) ? 300 * MS : 5 * MS);
}

static void any_world(struct kerf_rng *rng)
{
	struct world_options *o = &soak.o;

	soak = (struct soak){.o = {.inputs_differ = true}};
	any_link(rng);
	o->seed = kerf_rng_u64(rng);
	o->devices = 1 + below(rng, WORLD_DEVICES);
	o->in_flight = 1 + (chance(rng, .4) ? below(rng, 3) : 0);
	o->contexts = 1 + below(rng, 4);
	o->frames = 20 + below(rng, chance(rng, .2) ? 300 : 60);
	o->slowdown = 1 + 8 * kerf_rng_uniform(rng);
	o->period_ns = chance(rng, .4) ? 0 : (1 + below(rng, 150)) * MS;
	if (chance(rng, .2))
		o->server_payload_bytes = 256 + below(rng, 1194);
	if (chance(rng, .2)) {
		o->policy.mode = KERF_PLAN_OFFLOAD;
		o->policy.fixed_codec = -1;
		o->policy.hedge_factor = .2 + 3 * kerf_rng_uniform(rng);
	}
	soak.n_restarts = chance(rng, .4) ? 2 * (1 + below(rng, 4)) : 0;
	for (unsigned i = 0; i < soak.n_restarts; i++)
		soak.restarts[i] = (i ? soak.restarts[i - 1] : 0) +
			(chance(rng, .2) ? 1 : below(rng, SPAN_MS / 4) * MS);
	soak.drain_ns = chance(rng, .15) ? below(rng, SPAN_MS) * MS : 0;
	soak.stop_ns = chance(rng, .15) ? below(rng, SPAN_MS) * MS : 0;
}

static void check_frame(struct world *w, unsigned device, const struct kerf_frame_record *r)
{
	(void)w;
	(void)device;
	soak.slowest_ns = KERF_MAX(soak.slowest_ns, r->latency_ns);
	soak.n_late += r->latency_ns > soak.bound_ns;
}

/*
 * With k frames in flight and L the time of a frame computed here:
 * - a cut is chosen only if it is predicted to be hardly later than L, so its result counts as late
 *   after at most 1.5 L / (1 - hysteresis) = 1.58 L;
 * - the core computes hedges first, then the oldest: a frame's head is done after at most k L (no
 *   younger head goes before it), and its tail waits for the range on the core (L) and for the
 *   hedges of the k-1 others;
 * - so it is done max(1.58 L, k L) + [k > 1] k L + L after it began, which is at most (2k + 1) L;
 * - it began at most skip_backlog + 1 periods after it was due.
 * Only a dynamic policy chooses by predictions.
 */
static uint64_t latency_bound(const struct world *w)
{
	const double local = w->o.slowdown *
		kerf_profile_range_ns(&w->profile, 0, (unsigned)w->graph->n_nodes);

	if (w->o.policy.mode != KERF_PLAN_DYNAMIC)
		return UINT64_MAX;
	return (uint64_t)((2 * w->o.in_flight + 1) * local) + 3 * w->o.period_ns +
		w->o.policy.hedge_min_ns;
}

/* In the middle of a run: every frame is under way or has ended, as exactly one thing. */
static void check_server(const struct world *w, bool all_over)
{
	const struct kerf_server_stats *s = kerf_server_stats(w->server);
	const uint64_t over = s->results + s->cancelled + s->abandoned;

	CU_ASSERT(over <= s->frames);
	CU_ASSERT(s->frames - over <= (all_over ? 0 : w->o.contexts));
}

static void restart_server(struct world *w)
{
	if (w->server) {
		check_server(w, false);
		world_kill_server(w);
	} else {
		world_make_server(w);
	}
}

static void check_devices(const struct world *w)
{
	for (unsigned i = 0; i < w->o.devices; i++) {
		const struct kerf_device_stats *s = kerf_device_stats(w->ends[i].device);

		CU_ASSERT_EQUAL(s->completed, s->frames);
		CU_ASSERT(soak.drain_ns || s->frames + s->skipped == w->o.frames);
		CU_ASSERT_EQUAL(s->local + s->remote + s->hedge_won, s->completed);
		CU_ASSERT_EQUAL(s->mismatches, 0);
		CU_ASSERT_EQUAL(s->verified, s->remote);
		total.completed += s->completed;
		total.remote += s->remote;
		total.hedge_won += s->hedge_won;
		total.sessions_lost += s->sessions_lost;
		retransmits += kerf_device_net(w->ends[i].device)->retransmits;
	}
}

/* Runs to a time, with what happens on the way. */
static bool run_to(struct world *w, uint64_t until_ns)
{
	if (soak.stop_ns && soak.stop_ns <= until_ns) {
		world_run(w, soak.stop_ns);
		return false;
	}
	if (soak.drain_ns && soak.drain_ns <= until_ns) {
		world_run(w, soak.drain_ns);
		for (unsigned i = 0; i < w->o.devices; i++)
			kerf_device_drain(w->ends[i].device);
	}
	world_run(w, until_ns);
	return true;
}

static void finish(struct world *w)
{
	/* Far more than frames one after the other take. */
	CU_ASSERT_TRUE_FATAL(world_run(w, w->now + 600 * KERF_NS_PER_S));
	check_devices(w);
	CU_ASSERT_EQUAL(soak.n_late, 0);
	if (!w->server)
		world_make_server(w);
	/* Longer than a server waits for a frame or for its result to be taken. */
	world_pass(w, w->now + 10 * KERF_NS_PER_S);
	check_server(w, true);
}

static unsigned failures(void)
{
	return CU_get_number_of_failure_records();
}

static void run_world(unsigned round)
{
	struct world *w = world_create(soak.o);
	const unsigned before = failures();
	bool on = true;

	soak.bound_ns = latency_bound(w);
	w->done = check_frame;
	for (unsigned i = 0; on && i < soak.n_restarts; i++) {
		on = run_to(w, soak.restarts[i]);
		if (on)
			restart_server(w);
	}
	if (on && run_to(w, SPAN_MS * MS))
		finish(w);
	world_destroy(w);
	if (failures() != before)
		printf("round %u: %u devices, %u in flight, %u contexts, slowest %.1f ms of %.1f, "
		       "%u late\n",
			round, soak.o.devices, soak.o.in_flight, soak.o.contexts,
			(double)soak.slowest_ns * 1e-6, (double)soak.bound_ns * 1e-6, soak.n_late);
}

static void test_soak(void)
{
	const char *text = getenv("KERF_TEST_SEED"), *only = getenv("KERF_TEST_ROUND");
	const uint64_t seed = text ? strtoull(text, NULL, 0) : 1;

	printf("KERF_TEST_SEED=%" PRIu64 " ", seed);
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct kerf_rng rng = {.seed = seed, .stream = i};

		if (only && strtoul(only, NULL, 0) != i)
			continue;
		any_world(&rng);
		run_world(i);
	}
	printf("%" PRIu64 " frames, %" PRIu64 " remote, %" PRIu64 " hedged, %" PRIu64
	       " sessions lost, %" PRIu64 " packets repeated ",
		total.completed, total.remote, total.hedge_won, total.sessions_lost, retransmits);
}

UNIT_MAIN("node soak", UNIT(test_soak))
