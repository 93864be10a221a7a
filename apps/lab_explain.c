/* --explain: what one frame's choice was made from, what every candidate would have cost, and what became of it. */
#include <stdlib.h>

#include "lab.h"

#define MS 1e-6

struct line {
	unsigned candidate;
	struct kerf_plan_choice c;
};

static int by_total(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->c.total_ns != y->c.total_ns)
		return x->c.total_ns > y->c.total_ns ? 1 : -1;
	return (x->candidate > y->candidate) - (x->candidate < y->candidate);
}

static void print_inputs(const struct lab *lab, uint32_t frame, const struct kerf_plan *plan,
	const struct kerf_plan_input *in)
{
	char rate[32];

	printf("\nframe %u\n", frame);
	if (in->tau > 0)
		printf("link: %s, deviation %.1f%%, round trip %.3f ms, loss %.2f%%, result down %.3f ms%s%s\n",
			kerf_format_rate(8 / in->tau, rate, sizeof(rate)), 100 * in->sigma,
			(double)in->rtt_ns * MS, 100 * in->loss, (double)in->result_ns * MS,
			in->alarm ? "; it has just changed" : "", in->uncertain ? "; more samples are wanted" : "");
	else
		printf("link: not known\n");
	printf("ahead of it: %.3f ms on the core, %.3f ms on the link, %.3f ms of others and %.3f ms of its own at "
	       "the server\n",
		(double)in->core_ns * MS, (double)in->queue_ns * MS, (double)in->wait_ns * MS,
		(double)in->own_ns * MS);
	printf("heads take %.3f, tails %.3f times the profile's time; hysteresis %.1f%%\n", plan->theta_head,
		plan->theta_tail, 100 * lab->settings.policy.hysteresis);
}

static void print_line(const struct lab *lab, const struct line *l, const struct kerf_plan *plan,
	const struct kerf_plan_choice *choice)
{
	const struct kerf_plan_candidate *k = &plan->candidates[l->candidate];
	char cut[64];

	printf("%c %-28s %9lu %9.3f %9.3f %9.3f %9.3f %9.3f", l->candidate == choice->candidate ? '*' : ' ',
		app_cut_text(&lab->model.model, (unsigned)l->c.cut, l->c.local ? -1 : l->c.codec, cut,
			sizeof(cut)),
		k->wire_bytes, (l->c.core_ns + l->c.head_ns) * MS, l->c.net_ns * MS, l->c.wait_ns * MS,
		l->c.tail_ns * MS, l->c.total_ns * MS);
	if (plan->options.objective == KERF_PLAN_DEADLINE)
		printf(" %6.1f%%", 100 * l->c.miss);
	printf("\n");
}

void lab_explain_plan(const struct lab *lab, uint32_t frame, const struct kerf_plan *plan,
	const struct kerf_plan_input *in, const struct kerf_plan_choice *choice)
{
	struct line *lines = calloc(plan->n, sizeof(*lines));
	char cut[64];

	if (!lines)
		return;
	for (unsigned i = 0; i < plan->n; i++) {
		lines[i].candidate = i;
		kerf_plan_predict(plan, i, in, &lines[i].c);
	}
	qsort(lines, plan->n, sizeof(*lines), by_total);
	print_inputs(lab, frame, plan, in);
	printf("  %-28s %9s %9s %9s %9s %9s %9s%s\n", "candidate", "bytes", "head ms", "link ms", "wait ms",
		"tail ms", "total ms", plan->options.objective == KERF_PLAN_DEADLINE ? "  missed" : "");
	for (unsigned i = 0; i < plan->n; i++)
		print_line(lab, &lines[i], plan, choice);
	free(lines);
	printf("chosen: %s, because %s\n",
		app_cut_text(&lab->model.model, (unsigned)choice->cut, choice->local ? -1 : choice->codec, cut,
			sizeof(cut)),
		kerf_plan_reason_text(choice->reason));
	if (!choice->local)
		printf("late after %.3f ms\n", (double)choice->hedge_ns * MS);
	if (choice->probe)
		printf("a probe train goes beside it\n");
}

void lab_explain_end(const struct kerf_frame_record *r)
{
	static const char *const where[] = {"computed here", "computed remotely",
		"late, and finished here before its result came"};

	printf("frame %u took %.3f ms (predicted %.3f): head %.3f, link %.3f, wait %.3f, tail %.3f; %s%s\n", r->frame,
		(double)r->latency_ns * MS, (double)r->predicted_ns * MS, (double)r->head_ns * MS,
		(double)r->net_ns * MS, (double)r->queue_ns * MS, (double)r->tail_ns * MS, where[r->where],
		r->hedged && r->where == KERF_WHERE_REMOTE ? ", late: it was begun here too" : "");
}
