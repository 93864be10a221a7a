/*
 * Arena: places get offsets so that any two alive at the same time lie apart.
 *
 * Largest first, each at the lowest offset that is free over its lifetime ("greedy by size",
 * Pisarchyk and Lee 2020, arXiv:2001.03288). Networks have a few hundred places: n^2 is nothing.
 */
#include "engine/internal.h"

#include <limits.h>
#include <stdlib.h>

static void extend(struct place *p, int step)
{
	p->first = KERF_MIN(p->first, step);
	p->last = KERF_MAX(p->last, step);
}

void kerf_arena_lifetimes(struct kerf_engine *e, int input, int output)
{
	for (int i = 0; i < e->n_places; i++) {
		e->places[i].first = INT_MAX;
		e->places[i].last = -1;
	}
	for (int s = 0; s < e->n_steps; s++)
		for (int k = 0; k < e->steps[s].n_operands; k++)
			if (e->steps[s].operands[k].in == IN_ARENA)
				extend(&e->places[e->steps[s].operands[k].index], s);
	for (int i = 0; i < e->n_joins; i++) {
		extend(&e->places[e->joins[i].dense], e->first_step[e->joins[i].producer]);
		extend(&e->places[e->joins[i].dense], e->first_step[e->joins[i].concat]);
	}
	/* The caller writes the input before all steps and reads the output behind them. */
	extend(&e->places[e->tensor_place[input]], -1);
	extend(&e->places[e->tensor_place[output]], e->n_steps);
}

static bool alive_together(const struct place *a, const struct place *b)
{
	return a->first <= b->last && b->first <= a->last;
}

static int by_offset(const void *a, const void *b)
{
	const struct place *x = *(const struct place *const *)a;
	const struct place *y = *(const struct place *const *)b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Ties by lifetime, then by address (creation order): the packing is the same on every machine. */
static int by_size(const void *a, const void *b)
{
	const struct place *x = *(const struct place *const *)a;
	const struct place *y = *(const struct place *const *)b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return (x > y) - (x < y);
}

/* Lowest gap between the places that are already put and alive together with p. */
static void put(struct place *p, struct place **placed, int n_placed, struct place **around)
{
	int n = 0;
	size_t at = 0;

	for (int i = 0; i < n_placed; i++)
		if (alive_together(p, placed[i]))
			around[n++] = placed[i];
	qsort(around, (size_t)n, sizeof(*around), by_offset);
	for (int i = 0; i < n && around[i]->offset < at + p->bytes; i++)
		at = KERF_MAX(at, around[i]->offset + around[i]->bytes);
	p->offset = at;
}

int kerf_arena_pack(struct kerf_engine *e, size_t *bytes)
{
	size_t n = (size_t)e->n_places;
	struct place **sorted = calloc(2 * n + 1, sizeof(*sorted));

	*bytes = 0;
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		sorted[i] = &e->places[i];
	qsort(sorted, n, sizeof(*sorted), by_size);
	for (size_t i = 0; i < n; i++) {
		put(sorted[i], sorted, (int)i, sorted + n);
		*bytes = KERF_MAX(*bytes, sorted[i]->offset + sorted[i]->bytes);
	}
	free(sorted);
	return 0;
}
