/* From a graph to a frozen engine: lower, pack the arena, prepack the weights. */
#include "engine/internal.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- weights ---- */

/* NULL without memory. */
static void *turn(const struct turn *t, const char *from)
{
	char *turned = malloc((size_t)(t->outputs * t->inputs * t->area) * t->size), *to = turned;

	for (int64_t k = 0; turned && k < t->area; k++)
		for (int64_t i = 0; i < t->inputs; i++)
			for (int64_t o = 0; o < t->outputs; o++, to += t->size)
				memcpy(to, from + (size_t)((o * t->inputs + i) * t->area + k) * t->size, t->size);
	return turned;
}

static int reorder(struct kerf_engine *e, const struct weight *w, const void *source, void *to)
{
	dnnl_primitive_t primitive = NULL;
	dnnl_memory_t from = NULL, packed = NULL;
	dnnl_stream_t stream = NULL;
	dnnl_status_t rc = dnn_reorder_create(&primitive, &w->from, &w->to, e->dnn);

	if (rc == dnnl_success) /* oneDNN only reads through this handle */
		rc = dnn_memory_create(&from, &w->from, e->dnn, (void *)(uintptr_t)source);
	if (rc == dnnl_success)
		rc = dnn_memory_create(&packed, &w->to, e->dnn, to);
	if (rc == dnnl_success)
		rc = dnnl_stream_create(&stream, e->dnn, dnnl_stream_default_flags);
	if (rc == dnnl_success) {
		const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, packed}};
		rc = dnnl_primitive_execute(primitive, stream, 2, args);
	}
	if (rc == dnnl_success)
		rc = dnnl_stream_wait(stream);
	if (stream)
		dnnl_stream_destroy(stream);
	if (packed)
		dnnl_memory_destroy(packed);
	if (from)
		dnnl_memory_destroy(from);
	if (primitive)
		dnnl_primitive_destroy(primitive);
	return rc == dnnl_success ? 0 : -EIO;
}

static int run_reorder(struct kerf_engine *e, const struct weight *w, void *to)
{
	if (w->turn.area == 0)
		return reorder(e, w, w->source, to);
	void *turned = turn(&w->turn, w->source);
	const int rc = turned ? reorder(e, w, turned, to) : -ENOMEM;
	free(turned);
	return rc;
}

static void drop_weight(struct weight *w)
{
	free(w->owned);
	dnn_md_free(&w->from);
	dnn_md_free(&w->to);
	*w = (struct weight){0};
}

static void drop_weights(struct builder *b)
{
	for (int i = 0; i < b->n_weights; i++)
		drop_weight(&b->weights[i]);
	free(b->weights);
}

static int fill_weights(struct builder *b)
{
	struct kerf_engine *e = b->e;

	e->weight_offsets = malloc(((size_t)b->n_weights + 1) * sizeof(*e->weight_offsets));
	if (!e->weight_offsets)
		return kerf_err_set(b->err, -ENOMEM, "out of memory");
	for (int i = 0; i < b->n_weights; i++) {
		e->weight_offsets[i] = e->weight_bytes;
		e->weight_bytes += kerf_align_up(b->weights[i].bytes);
	}
	if (e->weight_bytes == 0)
		return 0;
	e->weight_block = e->allocator.alloc(e->allocator.user, e->weight_bytes);
	if (!e->weight_block)
		return kerf_err_set(
			b->err, -ENOMEM, "no memory for %zu bytes of weights", e->weight_bytes);
	for (int i = 0; i < b->n_weights; i++) {
		struct weight *w = &b->weights[i];
		char *to = (char *)e->weight_block + e->weight_offsets[i];
		int rc = 0;
		if (w->reorder)
			rc = run_reorder(e, w, to);
		else if (w->winograd.size && !w->winograd.late)
			kerf_winograd_pack(w->winograd, &w->tiles, w->source, (float *)(void *)to);
		else if (w->tiles.code)
			kerf_direct_pack(&w->tiles, w->source, (float *)(void *)to);
		else
			memcpy(to, w->source, w->bytes);
		drop_weight(w);
		if (rc < 0)
			return kerf_err_set(b->err, rc, rc == -ENOMEM ? "out of memory" : "oneDNN could not lay out weights");
	}
	return 0;
}

/* ---- weights ahead ---- */

/* With fewer places a step of tiles waits for its weights. */
#define FETCHING_PLACES 32

static size_t end_of_weight(const struct builder *b, int index)
{
	const struct kerf_engine *e = b->e;

	return index + 1 < b->n_weights ? e->weight_offsets[index + 1] : e->weight_bytes;
}

static bool fetches(const struct step *s)
{
	return s->run == kerf_step_direct && s->direct.n * s->direct.out_h * s->direct.out_w >= FETCHING_PLACES;
}

/* Where the weights end that are used from step `i` on before one that multiplies for long, and what that one begins with. */
static size_t end_of_waiting(const struct builder *b, int i)
{
	const struct kerf_engine *e = b->e;
	size_t end = 0;

	for (; i < e->n_steps; i++) {
		const struct step *s = &e->steps[i];

		if (s->primitive || s->run == kerf_step_winograd)
			break;
		if (fetches(s)) {
			const struct kerf_direct *d = &s->direct;
			const int64_t floats = kerf_direct_first(d, 1) * d->ic * d->kernel[0] * d->kernel[1];

			return KERF_MAX(end, e->weight_offsets[s->operands[2].index] + (size_t)floats * sizeof(float));
		}
		for (int k = 0; k < s->n_operands; k++)
			if (s->operands[k].in == IN_WEIGHTS)
				end = KERF_MAX(end, end_of_weight(b, s->operands[k].index));
	}
	return end;
}

/*
 * Squeeze-and-excite and classifiers read their weights as fast as the third cache gives them, while it is idle beside the
 * convolution before: that one fetches as much as half the second cache holds.
 */
static void plan_fetching(const struct builder *b)
{
	const long l2_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
	const size_t most = l2_bytes > 0 ? (size_t)l2_bytes / 2 : 256 << 10;

	for (int i = 0; i < b->e->n_steps; i++) {
		struct step *s = &b->e->steps[i];

		if (!fetches(s))
			continue;
		const size_t own = end_of_weight(b, s->operands[2].index), end = end_of_waiting(b, i + 1);
		s->direct.ahead = end > own ? (int64_t)KERF_MIN(end - own, most) : 0;
	}
}

/* ---- compile ---- */

static int check_graph(const struct kerf_graph *g, struct kerf_err *err)
{
	if (g->n_nodes <= 0)
		return kerf_err_set(err, -EINVAL, "graph %s has no nodes", g->name);
	if (g->input < 0 || g->input >= g->n_tensors || g->output < 0 || g->output >= g->n_tensors)
		return kerf_err_set(err, -EINVAL, "graph %s has no input or no output", g->name);
	if (g->tensors[g->input].data || g->tensors[g->input].dtype != KERF_F32)
		return kerf_err_set(
			err, -EINVAL, "input %s is not an f32 tensor", g->tensors[g->input].name);
	return 0;
}

static int alloc_tables(struct builder *b)
{
	struct kerf_engine *e = b->e;

	e->n_nodes = b->g->n_nodes;
	e->n_tensors = b->g->n_tensors;
	e->first_step = calloc((size_t)e->n_nodes + 1, sizeof(*e->first_step));
	e->tensor_place = malloc((size_t)e->n_tensors * sizeof(*e->tensor_place));
	e->storage = malloc((size_t)e->n_tensors * sizeof(*e->storage));
	b->last_use = malloc((size_t)e->n_tensors * sizeof(*b->last_use));
	b->narrow = calloc((size_t)e->n_nodes, sizeof(*b->narrow));
	b->winograd = calloc((size_t)e->n_nodes, sizeof(*b->winograd));
	b->joins = calloc((size_t)e->n_tensors, sizeof(*b->joins));
	if (!e->first_step || !e->tensor_place || !e->storage || !b->last_use || !b->narrow || !b->winograd || !b->joins)
		return kerf_err_set(b->err, -ENOMEM, "out of memory");
	for (int i = 0; i < e->n_tensors; i++) {
		e->tensor_place[i] = KERF_NONE;
		e->storage[i] = (struct storage){dnnl_f32, 1};
	}
	return 0;
}

static int build(struct builder *b)
{
	struct kerf_engine *e = b->e;
	int rc = alloc_tables(b);

	if (rc == 0)
		rc = kerf_lower_graph(b);
	if (rc < 0)
		return rc;
	kerf_arena_lifetimes(e, b->g->input, b->g->output);
	if (kerf_arena_pack(e, &e->arena_bytes) < 0)
		return kerf_err_set(b->err, -ENOMEM, "out of memory");
	for (int i = 0; i < e->n_steps; i++)
		e->scratchpad_bytes =
			KERF_MAX(e->scratchpad_bytes, kerf_align_up(e->steps[i].scratchpad_bytes));
	rc = fill_weights(b);
	if (rc == 0)
		plan_fetching(b);
	return rc;
}

static int prepare(struct kerf_engine *e, const struct kerf_engine_options *o, struct kerf_err *err)
{
	int rc = kerf_team_init(&e->team, o, err);

	if (rc < 0)
		return rc;
	e->allocator = o->allocator;
	if (!e->allocator.alloc) {
		e->numa = kerf_numa_create(o->numa_node_plus1, &e->allocator, err);
		if (!e->numa)
			return -EINVAL;
	}
	dnnl_status_t status = dnnl_engine_create(&e->dnn, dnnl_cpu, 0);
	if (status != dnnl_success)
		return kerf_err_set(
			err, -EIO, "oneDNN has no CPU engine: %s", dnn_status_name(status));
	return 0;
}

struct kerf_engine *kerf_engine_compile(
	const struct kerf_graph *g, const struct kerf_engine_options *options, struct kerf_err *err)
{
	static const struct kerf_engine_options presets;
	const struct kerf_engine_options *o = options ? options : &presets;
	int outer_threads = omp_get_max_threads();

	if (check_graph(g, err) < 0)
		return NULL;
	if (o->precision == KERF_PRECISION_INT8 && !o->ranges && !kerf_graph_is_quantised(g)) {
		kerf_err_set(err, -EINVAL, "graph %s: int8 needs the ranges of a calibration", g->name);
		return NULL;
	}
	struct kerf_engine *e = calloc(1, sizeof(*e));
	if (!e) {
		kerf_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	int rc = prepare(e, o, err);
	if (rc == 0) {
		struct builder b = {.g = g, .e = e, .err = err, .precision = o->precision, .ranges = o->ranges};
		/* Before the first primitive: oneDNN plans each for this many threads. */
		omp_set_num_threads((int)e->team.threads);
		rc = build(&b);
		omp_set_num_threads(outer_threads);
		free(b.last_use);
		free(b.narrow);
		free(b.winograd);
		free(b.joins);
		drop_weights(&b);
		dnn_cache_clear();
	}
	if (rc < 0) {
		kerf_engine_free(e);
		return NULL;
	}
	return e;
}

void kerf_engine_free(struct kerf_engine *e)
{
	if (!e)
		return;
	for (int i = 0; i < e->n_steps; i++)
		if (e->steps[i].primitive)
			dnnl_primitive_destroy(e->steps[i].primitive);
	if (e->weight_block)
		e->allocator.release(e->allocator.user, e->weight_block, e->weight_bytes);
	if (e->dnn)
		dnnl_engine_destroy(e->dnn);
	kerf_numa_free(e->numa);
	free(e->team.cpus);
	free(e->weight_offsets);
	free(e->places);
	free(e->joins);
	free(e->steps);
	free(e->first_step);
	free(e->tensor_place);
	free(e->storage);
	free(e);
}

/* ---- looking at it ---- */

unsigned kerf_engine_steps(const struct kerf_engine *e)
{
	return (unsigned)e->n_steps;
}

unsigned kerf_engine_first_step(const struct kerf_engine *e, unsigned node)
{
	assert(node <= (unsigned)e->n_nodes);
	return (unsigned)e->first_step[node];
}

const char *kerf_engine_step_name(const struct kerf_engine *e, unsigned step)
{
	assert(step < (unsigned)e->n_steps);
	return e->steps[step].name;
}

int kerf_engine_step_node(const struct kerf_engine *e, unsigned step)
{
	assert(step < (unsigned)e->n_steps);
	return e->steps[step].node;
}

bool kerf_engine_has_tensor(const struct kerf_engine *e, int id)
{
	assert(id >= 0 && id < e->n_tensors);
	return e->tensor_place[id] >= 0 && e->storage[id].type == dnnl_f32;
}

size_t kerf_engine_weight_bytes(const struct kerf_engine *e)
{
	return e->weight_bytes;
}

size_t kerf_engine_context_bytes(const struct kerf_engine *e)
{
	return e->arena_bytes + e->scratchpad_bytes;
}
