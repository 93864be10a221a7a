#include <stdlib.h>
#include <string.h>

#include "node/node.h"

struct profile_range {
	unsigned from, to;
	bool emulated;
	uint64_t finish_ns, spent_ns;
};

struct profile_compute {
	struct kerf_compute base;
	const struct kerf_model *model;
	const struct kerf_profile *profile;
	struct kerf_compute_options o;
	size_t *offsets; /* by tensor id, in values; SIZE_MAX = never crosses a cut */
	size_t values;   /* a slot */
	float **memory;
	struct profile_range *ranges;
};

static float *profile_tensor(void *self, unsigned slot, int id)
{
	struct profile_compute *c = self;

	return c->offsets[id] == SIZE_MAX ? NULL : c->memory[slot] + c->offsets[id];
}

static void profile_begin(void *self, unsigned slot, unsigned from, unsigned to, uint64_t now,
	bool emulated)
{
	struct profile_compute *c = self;
	double ns = 0;

	if (emulated)
		ns = kerf_compute_slowdown(&c->o, now) *
			kerf_profile_range_ns(c->profile, from, to);
	c->ranges[slot] = (struct profile_range){
		.from = from, .to = to, .emulated = emulated, .finish_ns = now + (uint64_t)ns, .spent_ns = (uint64_t)ns};
}

static void profile_before(void *self, unsigned slot, void (*work)(void *), void *arg, double ns, uint64_t now)
{
	struct profile_compute *c = self;
	struct profile_range *r = &c->ranges[slot];
	const uint64_t took = r->emulated ? (uint64_t)(kerf_compute_slowdown(&c->o, now) * ns) : 0;

	work(arg);
	r->finish_ns += took;
	r->spent_ns += took;
}

/* Four sums side by side: a frame's input is hashed three times, and one sum would wait for its
 * own multiplications. */
static uint32_t hash_values(const float *v, size_t n)
{
	const uint64_t odd = 0xff51afd7ed558ccdull;
	uint64_t h[4] = {0x9e3779b97f4a7c15ull ^ n, 1, 2, 3}, sum = 0, w[4];
	size_t i = 0;

	for (; i + 8 <= n; i += 8) {
		memcpy(w, &v[i], sizeof(w));
		for (unsigned k = 0; k < 4; k++)
			h[k] = (h[k] ^ w[k]) * odd;
	}
	memset(w, 0, sizeof(w));
	memcpy(w, &v[i], (n - i) * sizeof(v[0]));
	for (unsigned k = 0; k < 4; k++) {
		h[k] = (h[k] ^ w[k]) * odd;
		sum = (sum ^ h[k] ^ h[k] >> 32) * odd;
	}
	return (uint32_t)(sum >> 32);
}

/* Value i of tensor `id` in a frame whose input hashes to seed: whole numbers that no float rounds,
 * in order, so that a compiler makes and compares them by vectors. Value 0 is the seed itself, so
 * that a tail can tell which frame it holds. */
static uint32_t first_pattern(uint32_t seed, int id)
{
	return (seed ^ (uint32_t)id) * 2654435761u;
}

static float pattern(uint32_t first, size_t i)
{
	return (float)(int32_t)((first + (uint32_t)i) & 0xffffff);
}

static void fill(float *v, size_t n, uint32_t seed, int id)
{
	const uint32_t first = first_pattern(seed, id);

	for (size_t i = 1; i < n; i++)
		v[i] = pattern(first, i);
	memcpy(v, &seed, sizeof(seed));
}

static bool intact(const float *v, size_t n, uint32_t seed, int id)
{
	const uint32_t first = first_pattern(seed, id);
	int wrong = memcmp(v, &seed, sizeof(seed)) != 0;

	for (size_t i = 1; i < n; i++)
		wrong |= v[i] != pattern(first, i);
	return !wrong;
}

/* Seed of the frame in a slot, from what a range that starts at node `from` reads. Tensors that are
 * not as a head wrote them, because something was lost or damaged, have one of their own: two ends
 * agree about the output only when they hold the same values. */
static uint32_t range_seed(struct profile_compute *c, unsigned slot, unsigned from)
{
	const struct kerf_graph *g = c->model->graph;
	const struct kerf_cut *cut = &c->model->cuts[from];
	uint32_t seed, damaged = 0;
	bool whole = true;

	if (cut->tensors[0] == g->input)
		return hash_values(profile_tensor(c, slot, g->input),
			(size_t)kerf_tensor_elements(&g->tensors[g->input]));
	memcpy(&seed, profile_tensor(c, slot, cut->tensors[0]), sizeof(seed));
	for (int i = 0; i < cut->n_tensors; i++) {
		int id = cut->tensors[i];
		const float *v = profile_tensor(c, slot, id);
		const size_t n = (size_t)kerf_tensor_elements(&g->tensors[id]);

		if (id == g->input)
			continue;
		whole = whole && intact(v, n, seed, id);
		if (!whole)
			damaged = damaged * 31 + hash_values(v, n);
	}
	return whole ? seed : damaged;
}

static void range_write(struct profile_compute *c, unsigned slot, unsigned to, uint32_t seed)
{
	const struct kerf_graph *g = c->model->graph;
	const struct kerf_cut *cut = &c->model->cuts[to];

	if (to + 1 == c->model->n_cuts)
		fill(profile_tensor(c, slot, g->output),
			kerf_tensor_elements(&g->tensors[g->output]), seed, g->output);
	else
		for (int i = 0; i < cut->n_tensors; i++)
			if (cut->tensors[i] != g->input)
				fill(profile_tensor(c, slot, cut->tensors[i]),
					kerf_tensor_elements(&g->tensors[cut->tensors[i]]), seed,
					cut->tensors[i]);
}

static bool profile_advance(void *self, unsigned slot, uint64_t now)
{
	struct profile_compute *c = self;
	const struct profile_range *r = &c->ranges[slot];

	if (now < r->finish_ns)
		return false;
	if (r->from < r->to)
		range_write(c, slot, r->to, range_seed(c, slot, r->from));
	return true;
}

static uint64_t profile_next(const void *self, unsigned slot)
{
	const struct profile_compute *c = self;

	return c->ranges[slot].finish_ns;
}

static uint64_t profile_elapsed(const void *self, unsigned slot)
{
	const struct profile_compute *c = self;

	return c->ranges[slot].spent_ns;
}

static void profile_destroy(void *self)
{
	struct profile_compute *c = self;

	for (unsigned i = 0; c->memory && i < c->base.n_slots; i++)
		free(c->memory[i]);
	free(c->memory);
	free(c->offsets);
	free(c->ranges);
	free(c);
}

static const struct kerf_compute_ops profile_ops = {
	.tensor = profile_tensor,
	.begin = profile_begin,
	.before = profile_before,
	.advance = profile_advance,
	.next = profile_next,
	.elapsed_ns = profile_elapsed,
	.destroy = profile_destroy,
};

static void place(struct profile_compute *c, int id)
{
	if (c->offsets[id] != SIZE_MAX)
		return;
	c->offsets[id] = c->values;
	c->values += kerf_tensor_elements(&c->model->graph->tensors[id]);
}

/* Gives a place to every tensor that may cross a cut, and to the output. */
static int place_tensors(struct profile_compute *c)
{
	const struct kerf_graph *g = c->model->graph;

	c->offsets = malloc(g->n_tensors * sizeof(c->offsets[0]));
	if (!c->offsets)
		return -ENOMEM;
	for (int i = 0; i < g->n_tensors; i++)
		c->offsets[i] = SIZE_MAX;
	place(c, g->input);
	place(c, g->output);
	for (unsigned k = 0; k < c->model->n_cuts; k++)
		for (int i = 0; kerf_model_can_cut(c->model, k) && i < c->model->cuts[k].n_tensors;
			i++)
			place(c, c->model->cuts[k].tensors[i]);
	return 0;
}

struct kerf_compute *kerf_compute_profile(const struct kerf_profile *p, const struct kerf_model *m,
	const struct kerf_compute_options *o, struct kerf_err *err)
{
	struct profile_compute *c = calloc(1, sizeof(*c));

	if (!c)
		goto no_memory;
	c->base = (struct kerf_compute){.n_slots = o->slots, .self = c, .ops = &profile_ops};
	c->model = m;
	c->profile = p;
	c->o = *o;
	c->ranges = calloc(o->slots, sizeof(c->ranges[0]));
	c->memory = calloc(o->slots, sizeof(c->memory[0]));
	if (!c->ranges || !c->memory || place_tensors(c) < 0)
		goto no_memory;
	for (unsigned i = 0; i < o->slots; i++) {
		c->memory[i] = calloc(c->values, sizeof(float));
		if (!c->memory[i])
			goto no_memory;
	}
	return &c->base;

no_memory:
	kerf_err_set(err, -ENOMEM, "%s: no memory for %u contexts", m->graph->name, o->slots);
	if (c)
		profile_destroy(c);
	return NULL;
}
