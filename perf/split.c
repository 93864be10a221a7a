/*
 * Splitting is free: head and tail one after another against the whole network, at every natural bottleneck between
 * blocks, in alternating runs on one context.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "perf.h"

static const char usage[] = "  --network NAME  only this one; kerf-model make lists them\n"
			    "  --all           all of those: over two hours\n";

/* The worst of 20 medians is as far off as their noise is large, so a cut is given time rather than rounds. */
#define CUT_NS 5e9
#define MIN_ROUNDS 21
#define MAX_ROUNDS 401

/* Whoever is above the target is measured again, in so many times the rounds, and that counts: what a cut costs stays. */
#define TARGET 1.01
#define AGAIN 4

static const char *const networks[] = {
	"mobilenet-v2", "mobilenet-v3-large", "efficientnet-b0", "resnet-50", "squeezenet-1.1", "vgg-16"};

struct work {
	struct kerf_context *context;
	unsigned cut, nodes;
};

static void split(void *self)
{
	const struct work *w = self;

	if (kerf_engine_run(w->context, 0, w->cut) < 0 || kerf_engine_run(w->context, w->cut, w->nodes) < 0)
		abort();
}

static void whole(void *self)
{
	const struct work *w = self;

	if (kerf_engine_run(w->context, 0, w->nodes) < 0)
		abort();
}

static unsigned count_rounds(const struct perf *p, struct work *w)
{
	if (p->quick)
		return 11;
	whole(w);
	const uint64_t begin = perf_clock_ns();
	whole(w);
	const double rounds = CUT_NS / (2 * (double)(perf_clock_ns() - begin));
	return (unsigned)KERF_MIN(KERF_MAX(rounds, MIN_ROUNDS), MAX_ROUNDS);
}

/* The worst cut of a network is what counts; the others are in the JSON. */
static void measure(struct perf *p, const char *name)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = kerf_zoo_build(name, NULL, &err);
	struct kerf_engine *e = NULL;
	struct kerf_cut *cuts = NULL;
	struct work w = {0};
	struct perf_pair worst = {0};
	unsigned n_cuts, n_natural = 0, at = 0, rounds;
	char text[128];

	if (!g || kerf_graph_optimize(g, &err) < 0 || kerf_graph_find_cuts(g, &cuts, &n_cuts, &err) < 0)
		perf_fail(p, "%s", err.text);
	kerf_cuts_by_block(cuts, n_cuts);
	e = kerf_engine_compile(g, &(struct kerf_engine_options){0}, &err);
	w.context = e ? kerf_context_create(e, &err) : NULL;
	if (!w.context)
		perf_fail(p, "%s", err.text);
	w.nodes = (unsigned)g->n_nodes;
	perf_fill(kerf_context_tensor(w.context, g->input), kerf_tensor_elements(&g->tensors[g->input]));
	rounds = count_rounds(p, &w);
	for (unsigned k = 0; k < n_cuts; k++) {
		struct perf_pair r;

		if (!cuts[k].natural)
			continue;
		w.cut = k;
		perf_pair_run(split, &w, whole, &w, rounds, &r);
		if (r.ratio > TARGET && !p->quick)
			perf_pair_run(split, &w, whole, &w, AGAIN * rounds, &r);
		snprintf(text, sizeof(text), "%s, cut %u after %s", name, k, cuts[k].block);
		perf_add(p, &(struct perf_figure){.name = text, .value = r.a_ns * 1e-6, .unit = "ms", .n = r.n,
				    .spread = r.spread, .peer = "whole", .ratio = r.ratio, .quiet = true});
		if (r.ratio > worst.ratio) {
			worst = r;
			at = k;
		}
		n_natural++;
	}
	snprintf(text, sizeof(text), "%s: worst of %u, at %u", name, n_natural, at);
	perf_add(p, &(struct perf_figure){.name = text, .value = worst.a_ns * 1e-6, .unit = "ms", .n = worst.n,
			    .spread = worst.spread, .peer = "whole", .ratio = worst.ratio, .bound = PERF_AT_MOST,
			    .target = TARGET});
	kerf_context_free(w.context);
	kerf_engine_free(e);
	free(cuts);
	kerf_graph_free(g);
}

int main(int argc, char **argv)
{
	static struct perf p;
	const char *only = NULL;

	perf_begin(&p, "split", usage, &argc, argv);
	perf_take_option(&p, &argc, argv, "--network", &only);
	const bool all = perf_take_flag(&argc, argv, "--all");
	perf_no_more_options(&p, argc, argv);
	if (only && all)
		perf_usage(&p, "--all", "does not go with --network");
	if (only)
		measure(&p, only);
	for (unsigned i = 0; all && kerf_zoo_name(i); i++)
		measure(&p, kerf_zoo_name(i));
	for (unsigned i = 0; !only && !all && i < KERF_ARRAY_LEN(networks); i++)
		measure(&p, networks[i]);
	return perf_end(&p);
}
