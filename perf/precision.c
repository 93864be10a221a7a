/*
 * What a lower precision gains: bf16 and int8 against f32, in alternating runs on one thread, for the ranges of noise as
 * input. What it costs in accuracy is kerf-model calibrate's to measure, on pictures.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "perf.h"

static const char usage[] = "  --network NAME  only this one; kerf-model make lists them\n";

static const char *const networks[] = {"mobilenet-v2", "resnet-50"};
static const double targets[] = {[KERF_PRECISION_BF16] = 1.5, [KERF_PRECISION_INT8] = 2};

struct subject {
	const struct kerf_graph *g;
	const float *input;
	struct kerf_engine *engine;
	struct kerf_context *context;
};

static void set_input(const struct subject *s)
{
	memcpy(kerf_context_tensor(s->context, s->g->input), s->input, kerf_tensor_bytes(&s->g->tensors[s->g->input]));
}

static void run(void *self)
{
	const struct subject *s = self;

	set_input(s); /* later layers may have taken its place */
	if (kerf_engine_run(s->context, 0, (unsigned)s->g->n_nodes) < 0)
		abort();
}

static void open_subject(struct perf *p, struct subject *s, enum kerf_precision precision, const struct kerf_range *ranges)
{
	struct kerf_err err = {0};

	s->engine =
		kerf_engine_compile(s->g, &(struct kerf_engine_options){.precision = precision, .ranges = ranges}, &err);
	s->context = s->engine ? kerf_context_create(s->engine, &err) : NULL;
	if (!s->context)
		perf_fail(p, "%s", err.text);
}

static void close_subject(struct subject *s)
{
	kerf_context_free(s->context);
	kerf_engine_free(s->engine);
}

static void measure(struct perf *p, const char *name)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = kerf_zoo_build(name, NULL, &err);

	if (!g || kerf_graph_optimize(g, &err) < 0)
		perf_fail(p, "%s", err.text);
	const size_t n = (size_t)kerf_tensor_elements(&g->tensors[g->input]);
	float *input = malloc(n * sizeof(*input));
	struct kerf_range *ranges = malloc((size_t)g->n_tensors * sizeof(*ranges));
	if (!input || !ranges)
		perf_fail(p, "%s: no memory", name);
	perf_fill(input, n);
	for (int i = 0; i < g->n_tensors; i++)
		ranges[i] = (struct kerf_range){INFINITY, -INFINITY};
	struct subject f32 = {.g = g, .input = input};
	open_subject(p, &f32, KERF_PRECISION_F32, NULL);
	set_input(&f32);
	kerf_engine_observe(f32.context, g, ranges);
	for (unsigned i = KERF_PRECISION_BF16; kerf_precision_name(i); i++) {
		struct subject low = {.g = g, .input = input};
		struct perf_pair r;
		char text[128];

		open_subject(p, &low, (enum kerf_precision)i, ranges);
		perf_pair_run(run, &f32, run, &low, p->quick ? 11 : 61, &r);
		snprintf(text, sizeof(text), "%s, f32's time / %s's", name, kerf_precision_name(i));
		perf_add(p, &(struct perf_figure){.name = text, .value = r.b_ns * 1e-6, .unit = "ms", .n = r.n,
				    .spread = r.spread, .peer = "f32", .ratio = r.ratio, .bound = PERF_AT_LEAST,
				    .target = targets[i]});
		close_subject(&low);
	}
	close_subject(&f32);
	free(ranges);
	free(input);
	kerf_graph_free(g);
}

int main(int argc, char **argv)
{
	static struct perf p;
	const char *only = NULL;

	perf_begin(&p, "precision", usage, &argc, argv);
	perf_take_option(&p, &argc, argv, "--network", &only);
	perf_no_more_options(&p, argc, argv);
	for (unsigned i = 0; only ? i == 0 : i < KERF_ARRAY_LEN(networks); i++)
		measure(&p, only ? only : networks[i]);
	return perf_end(&p);
}
