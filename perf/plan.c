/* What deciding costs: the monitor a packet and a frame, the plan a frame. */
#include <math.h>
#include <stdlib.h>

#include "link/link.h"
#include "perf.h"
#include "plan/plan.h"

#define PACKETS 1024
#define BURST 8 /* packets that one poll returns */
#define WIRE_BYTES 1538
#define CUTS 50
#define CODECS 4
#define PLANS 1000

struct monitor {
	struct kerf_train train;
	struct kerf_link link;
	uint64_t now_ns;
	double sink;
};

static void add_packets(void *self)
{
	struct monitor *m = self;

	m->train = (struct kerf_train){0};
	for (unsigned i = 0; i < PACKETS; i++) {
		const uint64_t sent_ns = m->now_ns + i * 1000;

		kerf_train_add(&m->train, m->now_ns + i / BURST * BURST * 1230, sent_ns, WIRE_BYTES);
	}
	m->now_ns += PACKETS * 1230;
}

/* All that a frame's last packet and its report lead to, but for the plan. */
static void sample_and_update(void *self)
{
	struct monitor *m = self;
	struct kerf_sample s;

	for (unsigned i = 0; i < PLANS; i++) {
		kerf_train_sample(&m->train, PACKETS, &s);
		s.tau *= 1 + .1 * (i % 3);
		m->now_ns += 33000000;
		kerf_link_update_rtt(&m->link, 1000000 + i % 5, m->now_ns);
		kerf_link_update(&m->link, &s, m->now_ns);
		kerf_delay_update(&m->link.delay, 1000000 + 1000 * (i % 7), m->now_ns);
		kerf_link_update_loss(&m->link, PACKETS, i % 2);
		m->sink += kerf_link_tau(&m->link);
	}
}

struct planner {
	struct kerf_plan plan;
	double loss;
	unsigned sink;
};

/* Each time at another rate, so that the choice moves. */
static void choose(void *self)
{
	struct planner *p = self;
	struct kerf_plan_choice c;

	for (unsigned i = 0; i < PLANS; i++) {
		const struct kerf_plan_input in = {.reachable = true, .tau = 1e-9 * (1 + i % 500),
			.rtt_ns = 1000000, .result_ns = 30000, .wait_ns = 100000, .loss = p->loss,
			.sigma = .1};

		kerf_plan_choose(&p->plan, &in, &c);
		kerf_plan_observe(&p->plan, &c, c.head_ns, c.tail_ns);
		p->sink += c.candidate;
	}
}

static void nothing(void *self)
{
	(void)self;
}

static void measure(struct perf *p, const char *name, void (*f)(void *), void *self, double per_run, double target)
{
	struct perf_pair r;

	perf_pair_run(f, self, nothing, self, p->quick ? 31 : 301, &r);
	perf_add(p, &(struct perf_figure){.name = name, .value = r.a_ns / per_run, .unit = "ns", .n = r.n,
			    .bound = PERF_AT_MOST, .target = target});
}

static void create_plan(struct perf *p, struct planner *self)
{
	const struct kerf_plan_options o = {.mode = KERF_PLAN_DYNAMIC, .fixed_codec = -1, .hysteresis = .05,
		.hedge_factor = 1.3, .hedge_min_ns = 2000000, .probe_every = 2};
	struct kerf_plan_candidate list[CUTS * CODECS + 1];
	struct kerf_err err = {0};
	unsigned n = 0;

	for (unsigned cut = 0; cut < CUTS; cut++)
		for (unsigned codec = 0; codec < CODECS; codec++)
			list[n++] = (struct kerf_plan_candidate){.cut = (int)cut, .codec = (int)codec,
				.wire_bytes = 600000 / (1 + cut) / (1 + codec), .head_ns = 1e6 * cut,
				.tail_ns = 1e5 * (CUTS - cut)};
	list[n++] = (struct kerf_plan_candidate){.cut = CUTS, .local = true, .head_ns = 1e6 * CUTS};
	if (kerf_plan_create(&self->plan, &o, list, n, &err) < 0)
		perf_fail(p, "%s", err.text);
}

int main(int argc, char **argv)
{
	static struct perf p;
	static struct monitor m = {.now_ns = 1};
	struct planner plan = {.loss = 0};

	perf_begin(&p, "plan", NULL, &argc, argv);
	perf_no_more_options(&p, argc, argv);
	measure(&p, "monitor, a packet", add_packets, &m, PACKETS, 30);
	measure(&p, "monitor, a frame of 1024 packets", sample_and_update, &m, PLANS, 2000);
	create_plan(&p, &plan);
	measure(&p, "plan, 50 cuts x 4 codecs", choose, &plan, PLANS, 1000);
	plan.loss = .01;
	measure(&p, "plan, the same with loss", choose, &plan, PLANS, 1000);
	kerf_plan_destroy(&plan.plan);
	return perf_end(&p);
}
