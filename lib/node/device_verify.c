#include <math.h>
#include <string.h>

#include "node/device_internal.h"

/* Engines of different kinds round differently: the largest error relative to the largest output.
 * */
#define TOLERANCE 1e-3

bool verify_push(struct kerf_device *d, const struct frame *f)
{
	struct verify_entry *e;

	if (d->verify.count == DEVICE_VERIFY_QUEUE)
		return false;
	e = &d->verify.entries[(d->verify.head + d->verify.count++) % DEVICE_VERIFY_QUEUE];
	e->number = f->number;
	e->input = f->input;
	e->exact = d->session.same_fingerprint;
	memcpy(e->output, f->output, d->output_values * sizeof(float));
	return true;
}

static bool same(const float *a, const float *b, size_t n, bool exact)
{
	double worst = 0, largest = 0;

	if (exact)
		return memcmp(a, b, n * sizeof(float)) == 0;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(a[i]))
			return false;
		worst = fmax(worst, fabs((double)a[i] - b[i]));
		largest = fmax(largest, fabs((double)b[i]));
	}
	return worst <= TOLERANCE * largest;
}

/* Works on the oldest entry for as long as no frame wants the core. */
void verify_advance(struct kerf_device *d, uint64_t now)
{
	const struct kerf_graph *g = d->o.model->graph;
	struct kerf_compute *c = d->o.compute;
	struct verify_entry *e = &d->verify.entries[d->verify.head];

	if (!d->verify.count)
		return;
	if (!d->verify.begun) {
		device_load(d, d->verify.slot, &e->input);
		c->ops->begin(c->self, d->verify.slot, 0, g->n_nodes, now, false);
		d->verify.begun = true;
	}
	if (!c->ops->advance(c->self, d->verify.slot, now))
		return;
	if (same(e->output, c->ops->tensor(c->self, d->verify.slot, g->output), d->output_values,
		    e->exact))
		d->stats.verified++;
	else
		d->stats.mismatches++;
	d->verify.begun = false;
	d->verify.head = (d->verify.head + 1) % DEVICE_VERIFY_QUEUE;
	d->verify.count--;
}
