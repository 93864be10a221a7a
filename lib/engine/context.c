/* One frame's memory, and running steps in it. */
#include "engine/internal.h"

#include <assert.h>
#include <stdlib.h>

/* What a step needs at run time, all made beforehand: running allocates nothing. */
struct bound_step {
	int n_args;
	dnnl_exec_arg_t args[KERF_DNN_ARGS];
	float **data; /* of our own steps */
};

struct kerf_context {
	struct kerf_engine *e;
	char *arena;
	dnnl_stream_t stream;
	struct bound_step *steps;
	float **data; /* of all steps together */
};

static void *operand_memory(const struct kerf_context *c, struct operand o)
{
	const struct kerf_engine *e = c->e;

	switch (o.in) {
	case IN_ARENA: return c->arena + e->places[o.index].offset;
	case IN_WEIGHTS: return (char *)e->weight_block + e->weight_offsets[o.index];
	case IN_SCRATCHPAD: return c->arena + e->arena_bytes;
	}
	return NULL;
}

static int bind_primitive(struct kerf_context *c, const struct step *s, struct bound_step *bound)
{
	for (int k = 0; k < s->n_operands; k++) {
		dnnl_exec_arg_t *arg = &bound->args[k];
		arg->arg = s->dnn_arg[k];
		if (dnn_arg_memory_create(&arg->memory, s->primitive, arg->arg, c->e->dnn,
			    operand_memory(c, s->operands[k])) != dnnl_success)
			return -ENOMEM;
		bound->n_args = k + 1;
	}
	return 0;
}

static int bind_steps(struct kerf_context *c)
{
	const struct kerf_engine *e = c->e;
	size_t n_data = 0;

	for (int i = 0; i < e->n_steps; i++)
		n_data += (size_t)e->steps[i].n_operands;
	c->steps = calloc((size_t)e->n_steps + 1, sizeof(*c->steps));
	c->data = calloc(n_data + 1, sizeof(*c->data));
	if (!c->steps || !c->data)
		return -ENOMEM;
	float **data = c->data;
	for (int i = 0; i < e->n_steps; i++) {
		const struct step *s = &e->steps[i];
		c->steps[i].data = data;
		for (int k = 0; k < s->n_operands; k++)
			*data++ = operand_memory(c, s->operands[k]);
		if (s->primitive && bind_primitive(c, s, &c->steps[i]) < 0)
			return -ENOMEM;
	}
	return 0;
}

struct kerf_context *kerf_context_create(struct kerf_engine *e, struct kerf_err *err)
{
	size_t bytes = kerf_engine_context_bytes(e);
	struct kerf_context *c = calloc(1, sizeof(*c));

	if (!c) {
		kerf_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	c->e = e;
	c->arena = e->allocator.alloc(e->allocator.user, bytes);
	if (!c->arena) {
		kerf_err_set(err, -ENOMEM, "no memory for %zu bytes of activations", bytes);
		goto fail;
	}
	assert((uintptr_t)c->arena % KERF_ALIGN == 0);
	if (dnnl_stream_create(&c->stream, e->dnn, dnnl_stream_default_flags) != dnnl_success ||
		bind_steps(c) < 0) {
		kerf_err_set(err, -ENOMEM, "out of memory");
		goto fail;
	}
	return c;

fail:
	kerf_context_free(c);
	return NULL;
}

void kerf_context_free(struct kerf_context *c)
{
	if (!c)
		return;
	for (int i = 0; c->steps && i < c->e->n_steps; i++)
		for (int k = 0; k < c->steps[i].n_args; k++)
			dnnl_memory_destroy(c->steps[i].args[k].memory);
	if (c->stream)
		dnnl_stream_destroy(c->stream);
	if (c->arena)
		c->e->allocator.release(
			c->e->allocator.user, c->arena, kerf_engine_context_bytes(c->e));
	free(c->steps);
	free(c->data);
	free(c);
}

float *kerf_context_tensor(struct kerf_context *c, int id)
{
	assert(id >= 0 && id < c->e->n_tensors);
	if (!kerf_engine_has_tensor(c->e, id))
		return NULL;
	return (float *)(c->arena + c->e->places[c->e->tensor_place[id]].offset);
}

/* ---- running ---- */

static int run_step(struct kerf_context *c, unsigned step)
{
	const struct step *s = &c->e->steps[step];
	const struct bound_step *bound = &c->steps[step];

	if (!s->primitive) {
		s->run(s, bound->data, c->e->team.threads);
		return 0;
	}
	dnnl_status_t rc =
		dnnl_primitive_execute(s->primitive, c->stream, bound->n_args, bound->args);
	/* A CPU stream is done when execute returns: no wait needed. */
	return rc == dnnl_success ? 0 : -EIO;
}

static int run_steps(struct kerf_context *c, unsigned from, unsigned to)
{
	const unsigned before = kerf_flush_denormals();
	int rc = kerf_team_enter(&c->e->team);

	for (unsigned s = from; s < to && rc == 0; s++)
		rc = run_step(c, s);
	kerf_restore_denormals(before);
	return rc;
}

int kerf_engine_step(struct kerf_context *c, unsigned step)
{
	assert(step < (unsigned)c->e->n_steps);
	return run_steps(c, step, step + 1);
}

static int run_nodes(struct kerf_context *c, unsigned from, unsigned to)
{
	assert(from <= to && to <= (unsigned)c->e->n_nodes);
	return run_steps(c, kerf_engine_first_step(c->e, from), kerf_engine_first_step(c->e, to));
}

void kerf_engine_enter(struct kerf_context *c, unsigned cut)
{
	kerf_join_move(c->e, c->arena, (int)cut, false);
}

void kerf_engine_leave(struct kerf_context *c, unsigned cut)
{
	kerf_join_move(c->e, c->arena, (int)cut, true);
}

int kerf_engine_run(struct kerf_context *c, unsigned from, unsigned to)
{
	kerf_engine_enter(c, from);
	const int rc = run_nodes(c, from, to);
	kerf_engine_leave(c, to);
	return rc;
}

/* ---- profile ---- */

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
	qsort(values, n, sizeof(*values), by_value);
	return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* times[node * rounds + round] */
static int time_round(struct kerf_context *c, unsigned round, unsigned rounds,
	uint64_t (*clock_ns)(void), double *times)
{
	unsigned n = (unsigned)c->e->n_nodes;
	uint64_t before = clock_ns();

	for (unsigned k = 0; k < n; k++) {
		int rc = run_nodes(c, k, k + 1);
		if (rc < 0)
			return rc;
		uint64_t now = clock_ns();
		times[(size_t)k * rounds + round] = (double)(now - before);
		before = now;
	}
	return 0;
}

int kerf_engine_profile(struct kerf_context *c, unsigned rounds, uint64_t (*clock_ns)(void),
	double *node_ns, struct kerf_err *err)
{
	unsigned n = (unsigned)c->e->n_nodes;
	double *times;
	int rc;

	if (rounds == 0 || rounds > 100000)
		return kerf_err_set(err, -EINVAL, "%u rounds, expected 1 to 100000", rounds);
	times = malloc((size_t)n * rounds * sizeof(*times));
	if (!times)
		return kerf_err_set(err, -ENOMEM, "out of memory");
	rc = kerf_engine_run(c, 0, n); /* warm-up */
	for (unsigned r = 0; r < rounds && rc == 0; r++)
		rc = time_round(c, r, rounds, clock_ns, times);
	for (unsigned k = 0; k < n && rc == 0; k++)
		node_ns[k] = median(times + (size_t)k * rounds, rounds);
	if (rc < 0)
		kerf_err_set(err, rc, "a step failed while it was timed");
	free(times);
	return rc;
}

/* ---- ranges ---- */

static void widen(struct kerf_range *r, const float *v, int64_t n)
{
	for (int64_t i = 0; i < n; i++) {
		r->lo = KERF_MIN(r->lo, v[i]);
		r->hi = KERF_MAX(r->hi, v[i]);
	}
}

int kerf_engine_observe(struct kerf_context *c, const struct kerf_graph *g, struct kerf_range *ranges)
{
	int rc = 0;

	assert(g->n_nodes == c->e->n_nodes && g->n_tensors == c->e->n_tensors);
	widen(&ranges[g->input], kerf_context_tensor(c, g->input), kerf_tensor_elements(&g->tensors[g->input]));
	for (int k = 0; k < g->n_nodes && rc == 0; k++) {
		const int id = g->nodes[k].output;

		rc = kerf_engine_run(c, (unsigned)k, (unsigned)k + 1);
		if (rc == 0 && kerf_engine_has_tensor(c->e, id))
			widen(&ranges[id], kerf_context_tensor(c, id), kerf_tensor_elements(&g->tensors[id]));
	}
	return rc;
}
