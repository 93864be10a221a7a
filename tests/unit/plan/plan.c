#include "plan/plan.h"
#include "unit.h"

#include <math.h>
#include <string.h>

#define MS 1e6

/*
 * Offload 500 KB, a middle cut of 50 KB, and local. With rtt 2 ms and no wait, in ms:
 *	offload 0 + 2 + 5e8 tau + 10, middle 20 + 2 + 5e7 tau + 5, local 100.
 * Offload meets the middle cut at 4.5e8 tau = 15, the middle cut meets local at 5e7 tau = 73.
 */
static const struct kerf_plan_candidate three[] = {
	{.cut = 0, .codec = 1, .wire_bytes = 500000, .head_ns = 0, .tail_ns = 10 * MS},
	{.cut = 3, .codec = 0, .wire_bytes = 50000, .head_ns = 20 * MS, .tail_ns = 5 * MS},
	{.cut = 9, .local = true, .head_ns = 100 * MS, .tail_ns = 7 * MS}, /* no tail: ignored */
};

#define TAU_OFFLOAD_MIDDLE (15.0 / 4.5e8)
#define TAU_MIDDLE_LOCAL (73.0 / 5e7)

static const struct kerf_plan_options dynamic = {
	.mode = KERF_PLAN_DYNAMIC,
	.fixed_codec = -1,
	.hedge_factor = 1.5,
	.hedge_min_ns = 2000000,
	.probe_every = 3,
};

static const struct kerf_plan_choice *ran(unsigned candidate)
{
	static struct kerf_plan_choice c;

	c = (struct kerf_plan_choice){.candidate = candidate};
	return &c;
}

static struct kerf_plan make(struct kerf_plan_options o)
{
	struct kerf_plan p;

	CU_ASSERT_EQUAL_FATAL(kerf_plan_create(&p, &o, three, 3, NULL), 0);
	return p;
}

static struct kerf_plan_input link_at(double tau)
{
	return (struct kerf_plan_input){.reachable = true, .tau = tau, .rtt_ns = 2000000};
}

static struct kerf_plan_choice choose(struct kerf_plan *p, struct kerf_plan_input in)
{
	struct kerf_plan_choice c;

	kerf_plan_choose(p, &in, &c);
	return c;
}

static void test_parts_of_a_prediction(void)
{
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_input in = {true, 1e-7, 2000000, 300000, 4000000};
	struct kerf_plan_choice c, queued;

	kerf_plan_predict(&p, 1, &in, &c);
	CU_ASSERT(c.candidate == 1 && c.cut == 3 && c.codec == 0 && !c.local && !c.probe);
	CU_ASSERT_DOUBLE_EQUAL(c.head_ns, 20 * MS, 1);
	CU_ASSERT_DOUBLE_EQUAL(c.net_ns, 2 * MS + 0.3 * MS + 5 * MS, 1);
	CU_ASSERT_DOUBLE_EQUAL(c.wait_ns, 4 * MS, 1);
	CU_ASSERT_DOUBLE_EQUAL(c.tail_ns, 5 * MS, 1);
	CU_ASSERT_DOUBLE_EQUAL(c.total_ns, 36.3 * MS, 1);
	CU_ASSERT_DOUBLE_EQUAL((double)c.hedge_ns, 1.5 * 36.3 * MS, 1);
	in.queue_ns = 29 * MS; /* the head takes 20 of them */
	kerf_plan_predict(&p, 1, &in, &queued);
	CU_ASSERT_DOUBLE_EQUAL(queued.net_ns, c.net_ns + 9 * MS, 1);
	kerf_plan_predict(&p, 2, &in, &c);
	CU_ASSERT(c.local && c.hedge_ns == 0);
	CU_ASSERT(c.total_ns == 100 * MS && c.net_ns == 0 && c.wait_ns == 0 && c.tail_ns == 0);
	kerf_plan_destroy(&p);
}

static void test_crossovers(void)
{
	static const struct { double tau; int cut; } cases[] = {
		{1e-9, 0}, {0.99 * TAU_OFFLOAD_MIDDLE, 0}, {1.01 * TAU_OFFLOAD_MIDDLE, 3},
		{0.99 * TAU_MIDDLE_LOCAL, 3}, {1.01 * TAU_MIDDLE_LOCAL, 9}, {10, 9},
		{0.99 * TAU_MIDDLE_LOCAL, 3}, {1e-9, 0},
	};
	struct kerf_plan p = make(dynamic);

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++)
		CU_ASSERT_EQUAL(choose(&p, link_at(cases[i].tau)).cut, cases[i].cut);
	CU_ASSERT_EQUAL(p.switches, 4);
	kerf_plan_destroy(&p);
}

/* The rate swings by 4% around the point where two cuts cost the same. */
static void test_no_ping_pong(void)
{
	struct kerf_plan_options with = dynamic;
	with.hysteresis = 0.05;
	struct kerf_plan steady = make(with), nervous = make(dynamic);

	for (unsigned i = 0; i < 100; i++) {
		double tau = TAU_OFFLOAD_MIDDLE * (i % 2 ? 1.04 : 0.96);
		choose(&steady, link_at(tau));
		choose(&nervous, link_at(tau));
	}
	CU_ASSERT(steady.switches <= 1);
	CU_ASSERT_EQUAL(nervous.switches, 99); /* the swing does cross over */
	kerf_plan_destroy(&steady);
	kerf_plan_destroy(&nervous);
}

static void test_hysteresis_yields_to_a_real_gain(void)
{
	struct kerf_plan_options o = dynamic;
	o.hysteresis = 0.05;
	struct kerf_plan p = make(o);

	CU_ASSERT_EQUAL(choose(&p, link_at(1e-9)).cut, 0);
	/* Offload costs 12 + 5e8 tau, the middle cut 27 + 5e7 tau: 5% of gain is passed where
	 * 0.95 (12 + 5e8 tau) = 27 + 5e7 tau. */
	double edge = (27 - 0.95 * 12) / (0.95 * 5e8 - 5e7);
	CU_ASSERT_EQUAL(choose(&p, link_at(0.999 * edge)).cut, 0);
	CU_ASSERT_EQUAL(choose(&p, link_at(1.001 * edge)).cut, 3);
	CU_ASSERT_EQUAL(choose(&p, link_at(0.999 * edge)).cut, 3);
	kerf_plan_destroy(&p);
}

static double plain_cost(const struct kerf_plan_candidate *c, const struct kerf_plan_input *in)
{
	if (c->local)
		return c->head_ns;
	return c->head_ns + (double)in->rtt_ns + (double)in->result_ns + (double)in->wait_ns +
		1e9 * in->tau * (double)c->wire_bytes + c->tail_ns;
}

static void fill_random(struct kerf_rng *rng, struct kerf_plan_candidate *c, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		c[i] = (struct kerf_plan_candidate){
			.cut = (int)(i / 2),
			.codec = (int)(i % 2),
			.wire_bytes = kerf_rng_u32(rng) % 2000000,
			.head_ns = 100 * MS * kerf_rng_uniform(rng),
			.tail_ns = 100 * MS * kerf_rng_uniform(rng),
		};
		if (kerf_rng_u32(rng) % 8 == 0)
			c[i].tail_ns = NAN;
		if (kerf_rng_u32(rng) % 8 == 0)
			c[i].head_ns = INFINITY;
	}
	unsigned local = kerf_rng_u32(rng) % n;
	c[local].local = true;
	c[local].head_ns = 150 * MS * kerf_rng_uniform(rng);
	c[local].tail_ns = 0;
}

static void test_argmin_against_brute_force(void)
{
	struct kerf_rng rng = {.seed = 31};
	unsigned remote = 0;

	for (unsigned k = 0; k < 5000; k++) {
		struct kerf_plan_candidate c[24];
		unsigned n = 1 + kerf_rng_u32(&rng) % 24, best = n;
		struct kerf_plan_input in = {
			.reachable = true,
			.tau = exp(-20 * kerf_rng_uniform(&rng)) * 1e-5,
			.rtt_ns = kerf_rng_u32(&rng) % 20000000,
			.result_ns = kerf_rng_u32(&rng) % 1000000,
			.wait_ns = kerf_rng_u32(&rng) % 20000000,
		};
		struct kerf_plan p;

		fill_random(&rng, c, n);
		CU_ASSERT_EQUAL_FATAL(kerf_plan_create(&p, &dynamic, c, n, NULL), 0);
		for (unsigned i = 0; i < n; i++) {
			double cost = plain_cost(&c[i], &in);
			if (isfinite(cost) && (best == n || cost < plain_cost(&c[best], &in)))
				best = i;
		}
		struct kerf_plan_choice got = choose(&p, in);
		CU_ASSERT_EQUAL(got.candidate, best);
		CU_ASSERT_DOUBLE_EQUAL(got.total_ns, plain_cost(&c[best], &in), 1);
		remote += !got.local;
		kerf_plan_destroy(&p);
	}
	CU_ASSERT(remote > 1000 && remote < 4900);
}

static void test_ties_go_to_the_earlier(void)
{
	struct kerf_plan_candidate c[3] = {three[1], three[1], three[2]};
	struct kerf_plan p;

	c[0].cut = 2;
	CU_ASSERT_EQUAL_FATAL(kerf_plan_create(&p, &dynamic, c, 3, NULL), 0);
	CU_ASSERT_EQUAL(choose(&p, link_at(1e-9)).candidate, 0);
	kerf_plan_destroy(&p);
}

static void test_unreachable_is_local_in_every_mode(void)
{
	static const enum kerf_plan_mode modes[] = {
		KERF_PLAN_DYNAMIC, KERF_PLAN_FIXED, KERF_PLAN_LOCAL, KERF_PLAN_OFFLOAD};

	for (size_t i = 0; i < KERF_ARRAY_LEN(modes); i++) {
		struct kerf_plan_options o = dynamic;
		o.mode = modes[i];
		o.fixed_cut = 3;
		struct kerf_plan p = make(o);
		struct kerf_plan_input in = link_at(1e-9);
		for (unsigned k = 0; k < 10; k++) {
			in.reachable = false;
			struct kerf_plan_choice c = choose(&p, in);
			CU_ASSERT(c.local && c.cut == 9 && !c.probe && c.hedge_ns == 0);
		}
		in.reachable = true;
		CU_ASSERT_EQUAL(choose(&p, in).local, modes[i] == KERF_PLAN_LOCAL);
		kerf_plan_destroy(&p);
	}
}

static void test_no_sample_is_local_with_a_probe(void)
{
	const double unknown[] = {0, NAN, INFINITY, -INFINITY, -1e-9};
	struct kerf_plan p = make(dynamic);

	for (size_t i = 0; i < KERF_ARRAY_LEN(unknown); i++) {
		struct kerf_plan_choice c = choose(&p, link_at(unknown[i]));
		CU_ASSERT(c.local && c.probe);
		CU_ASSERT_EQUAL(c.total_ns, 100 * MS);
	}
	kerf_plan_destroy(&p);
}

static void test_probe_every_third_local_frame(void)
{
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_input slow = link_at(10), fast = link_at(1e-9);

	for (unsigned i = 1; i <= 12; i++)
		CU_ASSERT_EQUAL(choose(&p, slow).probe, i % 3 == 0);
	CU_ASSERT_FALSE(choose(&p, slow).probe);
	CU_ASSERT_FALSE(choose(&p, slow).probe);
	kerf_plan_sampled(&p); /* news of the link: the count starts again */
	CU_ASSERT_FALSE(choose(&p, slow).probe);
	CU_ASSERT_FALSE(choose(&p, slow).probe);
	CU_ASSERT_FALSE(choose(&p, fast).probe); /* crosses the link, which samples it */
	CU_ASSERT_FALSE(choose(&p, slow).probe);
	CU_ASSERT_FALSE(choose(&p, slow).probe);
	CU_ASSERT(choose(&p, slow).probe);
	kerf_plan_destroy(&p);

	struct kerf_plan_options o = dynamic;
	o.probe_every = 0;
	p = make(o);
	for (unsigned i = 0; i < 20; i++)
		CU_ASSERT_FALSE(choose(&p, i < 10 ? slow : link_at(0)).probe);
	kerf_plan_destroy(&p);
}

static void test_local_mode_never_probes(void)
{
	struct kerf_plan_options o = dynamic;
	o.mode = KERF_PLAN_LOCAL;
	struct kerf_plan p = make(o);

	for (unsigned i = 0; i < 10; i++) {
		struct kerf_plan_choice c = choose(&p, link_at(i % 2 ? 1e-9 : 0));
		CU_ASSERT(c.local && !c.probe);
	}
	CU_ASSERT_EQUAL(p.switches, 0);
	kerf_plan_destroy(&p);
}

static void test_fixed_and_offload_need_no_sample(void)
{
	struct kerf_plan_options o = dynamic;
	o.mode = KERF_PLAN_FIXED;
	o.fixed_cut = 3;
	struct kerf_plan p = make(o);
	static const double taus[] = {0, NAN, 10, 1e-9};

	for (size_t i = 0; i < KERF_ARRAY_LEN(taus); i++) {
		struct kerf_plan_choice c = choose(&p, link_at(taus[i]));
		CU_ASSERT(c.cut == 3 && !c.local && !c.probe && isfinite(c.total_ns));
	}
	kerf_plan_destroy(&p);

	o.fixed_cut = 9; /* the last cut sends nothing */
	p = make(o);
	CU_ASSERT(choose(&p, link_at(1e-9)).local);
	kerf_plan_destroy(&p);

	o.mode = KERF_PLAN_OFFLOAD;
	p = make(o);
	for (size_t i = 0; i < KERF_ARRAY_LEN(taus); i++)
		CU_ASSERT_EQUAL(choose(&p, link_at(taus[i])).candidate, 0);
	kerf_plan_destroy(&p);
}

static void test_codec_of_a_fixed_cut(void)
{
	/* Codec 0: many bytes, quickly encoded. Codec 1: few bytes, slowly. */
	const struct kerf_plan_candidate c[] = {
		{.cut = 3, .codec = 0, .wire_bytes = 400000, .head_ns = 20 * MS, .tail_ns = MS},
		{.cut = 3, .codec = 1, .wire_bytes = 100000, .head_ns = 25 * MS, .tail_ns = MS},
		three[2],
	};
	struct kerf_plan_options o = dynamic;
	struct kerf_plan p;

	o.mode = KERF_PLAN_FIXED;
	o.fixed_cut = 3;
	CU_ASSERT_EQUAL_FATAL(kerf_plan_create(&p, &o, c, 3, NULL), 0);
	CU_ASSERT_EQUAL(choose(&p, link_at(0)).codec, 1); /* unknown link: fewest bytes */
	CU_ASSERT_EQUAL(choose(&p, link_at(1e-9)).codec, 0);
	CU_ASSERT_EQUAL(choose(&p, link_at(1e-6)).codec, 1);
	kerf_plan_destroy(&p);
	o.fixed_codec = 0;
	CU_ASSERT_EQUAL_FATAL(kerf_plan_create(&p, &o, c, 3, NULL), 0);
	CU_ASSERT_EQUAL(choose(&p, link_at(1e-6)).codec, 0);
	kerf_plan_destroy(&p);
}

static void test_hedge(void)
{
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_input in = link_at(1e-9);
	struct kerf_plan_choice c = choose(&p, in);

	CU_ASSERT_EQUAL(c.cut, 0);
	CU_ASSERT_DOUBLE_EQUAL((double)c.hedge_ns, 1.5 * 12.5 * MS, 1);
	kerf_plan_destroy(&p);

	struct kerf_plan_options o = dynamic;
	o.hedge_min_ns = 50 * 1000000;
	p = make(o);
	CU_ASSERT_EQUAL(choose(&p, in).hedge_ns, o.hedge_min_ns);
	kerf_plan_destroy(&p);

	/* However late: start + hedge_ns must not overflow. */
	o.mode = KERF_PLAN_OFFLOAD;
	p = make(o);
	in.tau = 1e30;
	CU_ASSERT_EQUAL(choose(&p, in).hedge_ns, 3600 * KERF_NS_PER_S);
	kerf_plan_destroy(&p);
	o.hedge_min_ns = UINT64_MAX;
	p = make(o);
	CU_ASSERT_EQUAL(choose(&p, in).hedge_ns, 3600 * KERF_NS_PER_S);
	kerf_plan_destroy(&p);
}

static void test_hostile_inputs_are_local(void)
{
	const struct kerf_plan_input hostile[] = {
		{true, NAN, 0, 0, 0},
		{true, 1e300, 0, 0, 0},
		{true, 1e-9, UINT64_MAX, 0, 0},
		{true, 1e-9, 0, UINT64_MAX, 0},
		{true, 1e-9, 0, 0, UINT64_MAX},
		{true, 1e-9, UINT64_MAX, UINT64_MAX, UINT64_MAX},
	};
	struct kerf_plan_options o = dynamic;
	o.hysteresis = 0.05;
	struct kerf_plan p = make(o);

	for (size_t i = 0; i < KERF_ARRAY_LEN(hostile); i++) {
		CU_ASSERT_EQUAL(choose(&p, link_at(1e-9)).cut, 0);
		struct kerf_plan_choice c = choose(&p, hostile[i]);
		CU_ASSERT(c.local && c.total_ns == 100 * MS);
	}
	kerf_plan_destroy(&p);
}

static void test_theta_moves_every_prediction(void)
{
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_choice c;
	struct kerf_plan_input in = link_at(1e-9);

	kerf_plan_observe(&p, ran(1), 40 * MS, 0); /* twice its profile; tail not measured */
	CU_ASSERT_DOUBLE_EQUAL(p.theta_head, 1 + 1.0 / 16, 1e-12);
	CU_ASSERT_EQUAL(p.theta_tail, 1);
	for (unsigned i = 0; i < 300; i++)
		kerf_plan_observe(&p, ran(1), 40 * MS, 15 * MS);
	kerf_plan_predict(&p, 1, &in, &c);
	CU_ASSERT_DOUBLE_EQUAL(c.head_ns, 40 * MS, 10);
	CU_ASSERT_DOUBLE_EQUAL(c.tail_ns, 15 * MS, 10);
	kerf_plan_predict(&p, 2, &in, &c); /* a cut that was not run */
	CU_ASSERT_DOUBLE_EQUAL(c.head_ns, 200 * MS, 10);
	kerf_plan_observe(&p, ran(2), 100 * MS, 1); /* local has no tail */
	CU_ASSERT_DOUBLE_EQUAL(p.theta_tail, 3, 1e-6);
	kerf_plan_destroy(&p);
}

static void test_junk_observations(void)
{
	const double junk[] = {0, -0.0, -1, NAN, INFINITY, -INFINITY};
	struct kerf_plan p = make(dynamic);

	for (size_t i = 0; i < KERF_ARRAY_LEN(junk); i++)
		for (unsigned c = 0; c < 5; c++)
			kerf_plan_observe(&p, ran(c), junk[i], junk[i]);
	kerf_plan_observe(&p, ran(0), 5 * MS, 0); /* a profile of 0 has no ratio */
	kerf_plan_observe(&p, ran(3), 5 * MS, 5 * MS);
	kerf_plan_observe(&p, ran(UINT32_MAX), 5 * MS, 5 * MS);
	CU_ASSERT(p.theta_head == 1 && p.theta_tail == 1);
	for (unsigned i = 0; i < 1000; i++)
		kerf_plan_observe(&p, ran(1), 1e300, 1e-300);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_head, 64, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_tail, 1.0 / 64, 1e-9);
	kerf_plan_destroy(&p);
}

static int refusal(const struct kerf_plan_options *o, const struct kerf_plan_candidate *c,
	unsigned n)
{
	struct kerf_plan p;
	struct kerf_err err = {0};
	int rc = kerf_plan_create(&p, o, c, n, &err);

	CU_ASSERT_EQUAL(rc < 0, err.text[0] != 0);
	CU_ASSERT(rc == 0 || p.candidates == NULL);
	kerf_plan_destroy(&p);
	return rc;
}

static void test_create_refuses(void)
{
	struct kerf_plan_candidate c[3];
	struct kerf_plan_options o = dynamic;

	CU_ASSERT_EQUAL(refusal(&o, three, 3), 0);
	o.objective = KERF_PLAN_DEADLINE; /* of 0 */
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o.objective = (enum kerf_plan_objective)3;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o.objective = KERF_PLAN_LATENCY;
	CU_ASSERT_EQUAL(refusal(&o, three, 0), -EINVAL);
	CU_ASSERT_EQUAL(refusal(&o, three, 2), -EINVAL); /* none is local */
	memcpy(c, three, sizeof(c));
	c[0].local = true;
	CU_ASSERT_EQUAL(refusal(&o, c, 3), -EINVAL); /* two are */
	memcpy(c, three, sizeof(c));
	c[1].head_ns = -1;
	CU_ASSERT_EQUAL(refusal(&o, c, 3), -EINVAL);
	memcpy(c, three, sizeof(c));
	c[1].cut = -1;
	CU_ASSERT_EQUAL(refusal(&o, c, 3), -EINVAL);

	o.hysteresis = NAN;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o.hysteresis = 1;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o = dynamic;
	o.hedge_factor = -1;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o = dynamic;
	o.mode = KERF_PLAN_FIXED;
	o.fixed_cut = 4;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o.fixed_cut = 3;
	o.fixed_codec = 1;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o.fixed_codec = 0;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), 0);
	o.mode = KERF_PLAN_OFFLOAD; /* cut 0 has codec 1 only */
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
	o.fixed_codec = -1;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), 0);
	CU_ASSERT_EQUAL(refusal(&o, three + 1, 2), -EINVAL); /* nothing to offload */
	o.mode = (enum kerf_plan_mode)7;
	CU_ASSERT_EQUAL(refusal(&o, three, 3), -EINVAL);
}

/* A link that has just changed: what is cheapest now, however little. */
static void test_alarm_skips_hysteresis(void)
{
	struct kerf_plan_options o = dynamic;
	o.hysteresis = 0.3;
	struct kerf_plan p = make(o);
	struct kerf_plan_input in = link_at(0.8 * TAU_OFFLOAD_MIDDLE);

	CU_ASSERT_EQUAL(choose(&p, in).cut, 0);
	in.tau = 1.1 * TAU_OFFLOAD_MIDDLE;
	CU_ASSERT_EQUAL(choose(&p, in).cut, 0);
	in.alarm = true;
	CU_ASSERT_EQUAL(choose(&p, in).cut, 3);
	kerf_plan_destroy(&p);
}

/* Uncertain: each local frame probes. A train of few packets samples the link as little as none. */
static void test_probes_when_there_is_too_little_to_go_by(void)
{
	const struct kerf_plan_candidate few[] = {
		{.cut = 2, .wire_bytes = 9000, .head_ns = 5 * MS, .tail_ns = 1 * MS},
		{.cut = 9, .local = true, .head_ns = 100 * MS}};
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_input in = link_at(2 * TAU_MIDDLE_LOCAL);

	CU_ASSERT_FALSE(choose(&p, in).probe);
	in.uncertain = true;
	CU_ASSERT_TRUE(choose(&p, in).probe);
	CU_ASSERT_TRUE(choose(&p, in).probe);
	kerf_plan_destroy(&p);

	CU_ASSERT_EQUAL_FATAL(kerf_plan_create(&p, &dynamic, few, 2, NULL), 0);
	unsigned probes = 0, cheap = 0;
	for (unsigned i = 0; i < 30; i++) {
		struct kerf_plan_choice c = choose(&p, link_at(5e-7)); /* 12 ms a probe, of 100 ms */
		CU_ASSERT_EQUAL(c.cut, 2);
		probes += c.probe;
	}
	for (unsigned i = 0; i < 30; i++)
		cheap += choose(&p, link_at(3e-7)).probe; /* 7 ms */
	CU_ASSERT_EQUAL(probes, 10);
	CU_ASSERT_EQUAL(cheap, 30);
	kerf_plan_destroy(&p);
}

/* What waits on the core, on the link and at the server counts for those that it keeps waiting. */
static void test_work_ahead(void)
{
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_input in = link_at(1e-7);
	struct kerf_plan_choice alone, behind;

	in.core_ns = 30 * MS;
	in.own_ns = 200 * MS;
	for (unsigned i = 0; i < 3; i++) {
		const struct kerf_plan_input idle = link_at(1e-7);

		kerf_plan_predict(&p, i, &idle, &alone);
		kerf_plan_predict(&p, i, &in, &behind);
		/* Offload has no head; the server's 200 ms go by while the tensors are under way. */
		CU_ASSERT_DOUBLE_EQUAL(behind.core_ns, i == 0 ? 0 : 30 * MS, 1);
		CU_ASSERT_DOUBLE_EQUAL(behind.wait_ns,
			i == 2 ? 0 : 200 * MS - behind.core_ns - alone.head_ns - alone.net_ns, 1);
		CU_ASSERT_DOUBLE_EQUAL(behind.total_ns,
			alone.total_ns + behind.core_ns + behind.wait_ns, 1);
	}
	/* The choice adds it up as the prediction does. */
	kerf_plan_choose(&p, &in, &behind);
	for (unsigned i = 0; i < 3; i++) {
		kerf_plan_predict(&p, i, &in, &alone);
		CU_ASSERT(alone.total_ns >= behind.total_ns);
	}
	kerf_plan_destroy(&p);
}

/* Stages in ms: offload 5e8 tau and tail 10, the middle cut head 20 and 5e7 tau and tail 5, local 100. */
static void test_throughput_is_the_slowest_stage(void)
{
	struct kerf_plan_options o = dynamic;

	o.objective = KERF_PLAN_THROUGHPUT;
	o.hysteresis = 0;
	struct kerf_plan p = make(o);
	CU_ASSERT_EQUAL(choose(&p, link_at(1.9e-8 * 2)).cut, 0); /* 19 ms on the link */
	CU_ASSERT_EQUAL(choose(&p, link_at(2.1e-8 * 2)).cut, 3); /* 21 against a head of 20 */
	CU_ASSERT_EQUAL(choose(&p, link_at(1.9e-6)).cut, 3);     /* 95 against 100 */
	CU_ASSERT_EQUAL(choose(&p, link_at(2.1e-6)).cut, 9);
	kerf_plan_destroy(&p);
}

static void test_deadline_by_how_late_trains_were(void)
{
	struct kerf_plan_options o = dynamic;
	struct kerf_plan_input in = link_at(2e-8); /* offload 22 ms, 10 on the link; middle 28, 1 on the link */
	struct kerf_plan_choice c;

	o.objective = KERF_PLAN_DEADLINE;
	o.deadline_ns = 50 * MS;
	o.hysteresis = 0;
	struct kerf_plan p = make(o);
	CU_ASSERT_EQUAL(choose(&p, in).cut, 0);
	CU_ASSERT_EQUAL(choose(&p, in).miss, 0);
	/* Half of the trains take 5 times as long: offload then takes 62 ms, the middle cut 32. */
	for (unsigned i = 0; i < 3 * KERF_PLAN_RESIDUALS; i++)
		kerf_plan_observe_rate(&p, i % 2 ? 5 : .9);
	CU_ASSERT_EQUAL(p.residuals.n, KERF_PLAN_RESIDUALS);
	kerf_plan_predict(&p, 0, &in, &c);
	CU_ASSERT_DOUBLE_EQUAL(c.miss, .5, 1e-9);
	c = choose(&p, in);
	CU_ASSERT_EQUAL(c.cut, 3);
	CU_ASSERT_EQUAL(c.miss, 0);
	/* It is forgotten as new trains come; what cannot be is not looked at. */
	kerf_plan_observe_rate(&p, NAN);
	kerf_plan_observe_rate(&p, -1);
	for (unsigned i = 0; i < KERF_PLAN_RESIDUALS; i++)
		kerf_plan_observe_rate(&p, 1 + .001 * (i % 7));
	CU_ASSERT_EQUAL(choose(&p, in).cut, 0);
	kerf_plan_destroy(&p);

	/* The device can still meet 110 ms when it goes on 110 - 80 ms after the start. */
	o.deadline_ns = 110 * MS;
	o.mode = KERF_PLAN_FIXED;
	o.fixed_cut = 3;
	o.fixed_codec = -1;
	p = make(o);
	CU_ASSERT_EQUAL(choose(&p, in).hedge_ns, 30 * MS);
	kerf_plan_destroy(&p);
}

/* N packets at loss p: another round with the chance that one is missing, and what is missing again. */
static void test_repair_is_in_the_prediction(void)
{
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_input in = link_at(1e-7);
	struct kerf_plan_choice clean, lossy;
	const double packets = ceil(50000 / 1538.0);

	kerf_plan_predict(&p, 1, &in, &clean);
	in.loss = 0.05;
	kerf_plan_predict(&p, 1, &in, &lossy);
	CU_ASSERT_DOUBLE_EQUAL(lossy.net_ns - clean.net_ns,
		(1 - pow(0.95, packets)) * (2e6 + 0.05 * packets * 1538 * 100), 1);
	in.loss = NAN;
	kerf_plan_predict(&p, 1, &in, &lossy);
	CU_ASSERT_EQUAL(lossy.net_ns, clean.net_ns);
	kerf_plan_destroy(&p);
}

/* Late is 1.5 times the prediction, or three deviations of the wire time behind it. */
static void test_hedge_waits_for_three_deviations(void)
{
	struct kerf_plan p = make(dynamic);
	struct kerf_plan_input in = link_at(1e-7);
	struct kerf_plan_choice c;

	in.sigma = 0.1;
	kerf_plan_predict(&p, 0, &in, &c);
	CU_ASSERT_DOUBLE_EQUAL((double)c.hedge_ns, 1.5 * c.total_ns, 2);
	in.sigma = 0.4;
	kerf_plan_predict(&p, 0, &in, &c);
	CU_ASSERT_DOUBLE_EQUAL((double)c.hedge_ns, c.total_ns + 3 * 0.4 * 500000 * 100, 2);
	kerf_plan_destroy(&p);
}

/* A server that is found slow is left at once; while nothing is sent, it is forgotten bit by bit. */
static void test_slow_server(void)
{
	struct kerf_plan p = make(dynamic);
	const struct kerf_plan_input in = link_at(0.5 * TAU_OFFLOAD_MIDDLE);
	unsigned frames = 0;

	kerf_plan_server_speed(&p, 1);
	CU_ASSERT_EQUAL(choose(&p, in).cut, 0);
	kerf_plan_observe_late(&p, ran(0), 5 * MS); /* less than the profile says: no news */
	CU_ASSERT_EQUAL(p.theta_tail, 1);
	kerf_plan_observe_late(&p, ran(0), 400 * MS);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_tail, 40, 1e-9);
	CU_ASSERT_TRUE(choose(&p, in).local);
	while (choose(&p, in).local && frames < 1000)
		frames++;
	CU_ASSERT(frames > 20 && frames < 200);
	kerf_plan_observe_late(&p, ran(0), NAN);
	kerf_plan_observe_late(&p, ran(2), 1e18);
	kerf_plan_observe_late(&p, ran(99), 1e18);
	CU_ASSERT(p.theta_tail < 40);
	CU_ASSERT_DOUBLE_EQUAL(kerf_plan_rest_ns(&p, 1), 80 * MS, 1);
	kerf_plan_destroy(&p);
}

/* What the server says of its load counts at once where nothing is sent, and is the base otherwise. */
static void test_a_server_that_says_it_is_slow(void)
{
	struct kerf_plan p = make((struct kerf_plan_options){0});
	const struct kerf_plan_input in = link_at(0.5 * TAU_OFFLOAD_MIDDLE);

	kerf_plan_server_speed(&p, 0.5);
	kerf_plan_server_slowdown(&p, 80);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_tail, 40, 1e-9);
	CU_ASSERT_TRUE(choose(&p, in).local);
	kerf_plan_server_slowdown(&p, 2);
	CU_ASSERT_TRUE(choose(&p, in).local);
	for (unsigned i = 0; i < 200 && choose(&p, in).local; i++)
		;
	CU_ASSERT_FALSE(choose(&p, in).local);
	const double before = p.theta_tail;
	/* Now its own frames tell more. */
	kerf_plan_server_slowdown(&p, 80);
	CU_ASSERT_EQUAL(p.theta_tail, before);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_base, 40, 1e-9);
	kerf_plan_server_slowdown(&p, 0);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_base, 0.5, 1e-9);
	kerf_plan_server_slowdown(&p, NAN);
	kerf_plan_server_slowdown(&p, -1);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_base, 0.5, 1e-9);
	kerf_plan_server_slowdown(&p, 1e30);
	CU_ASSERT(p.theta_base <= 64);
	kerf_plan_destroy(&p);
}

/* A file of its own size each time, which costs time by its size on the link and on the server. */
static void test_bytes_of_the_frame_s_own(void)
{
	struct kerf_plan_candidate c[4] = {three[0], three[1], three[2],
		{.codec = 5, .own_bytes = true, .wire_bytes = 1, .tail_ns = 10 * MS, .tail_byte_ns = 100}};
	struct kerf_plan p;

	CU_ASSERT_EQUAL_FATAL(kerf_plan_create(&p, &dynamic, c, 4, NULL), 0);
	struct kerf_plan_input in = link_at(1e-8);
	CU_ASSERT_EQUAL(choose(&p, in).codec, 1); /* this one has none */
	in.own_bytes = 20000;
	const struct kerf_plan_choice small = choose(&p, in);
	CU_ASSERT_EQUAL(small.codec, 5);
	CU_ASSERT_DOUBLE_EQUAL(small.tail_ns, 12 * MS, 1);
	in.own_bytes = 100000; /* fewer bytes than the pixels, but 9 ms more of decoding than 4 ms of link */
	CU_ASSERT_EQUAL(choose(&p, in).codec, 1);
	CU_ASSERT_DOUBLE_EQUAL(p.terms.tail[3], 20 * MS, 1);
	/* The small one comes back, as predicted, after a larger one was weighed. */
	kerf_plan_observe(&p, &small, 0, 12 * MS);
	kerf_plan_observe_late(&p, &small, 12 * MS);
	CU_ASSERT_DOUBLE_EQUAL(p.theta_tail, 1, 1e-9);
	kerf_plan_destroy(&p);
	c[3].tail_byte_ns = NAN;
	CU_ASSERT_EQUAL(kerf_plan_create(&p, &dynamic, c, 4, NULL), -EINVAL);
}

UNIT_MAIN("plan.plan", UNIT(test_bytes_of_the_frame_s_own), UNIT(test_a_server_that_says_it_is_slow), UNIT(test_parts_of_a_prediction), UNIT(test_crossovers),
	UNIT(test_no_ping_pong), UNIT(test_hysteresis_yields_to_a_real_gain),
	UNIT(test_argmin_against_brute_force), UNIT(test_ties_go_to_the_earlier),
	UNIT(test_unreachable_is_local_in_every_mode), UNIT(test_no_sample_is_local_with_a_probe),
	UNIT(test_probe_every_third_local_frame), UNIT(test_local_mode_never_probes),
	UNIT(test_fixed_and_offload_need_no_sample), UNIT(test_codec_of_a_fixed_cut),
	UNIT(test_hedge), UNIT(test_hostile_inputs_are_local),
	UNIT(test_theta_moves_every_prediction), UNIT(test_junk_observations),
	UNIT(test_create_refuses),
	UNIT(test_alarm_skips_hysteresis), UNIT(test_work_ahead),
	UNIT(test_throughput_is_the_slowest_stage), UNIT(test_deadline_by_how_late_trains_were), UNIT(test_probes_when_there_is_too_little_to_go_by),
	UNIT(test_repair_is_in_the_prediction), UNIT(test_hedge_waits_for_three_deviations),
	UNIT(test_slow_server))
