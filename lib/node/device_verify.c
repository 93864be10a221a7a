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
	e->cut = (unsigned)f->choice.cut;
	e->codec = (enum kerf_codec)f->choice.codec;
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

static bool loses(const struct verify_entry *e)
{
	return !kerf_codec_info(e->codec)->lossless;
}

/* What the cut's tensors are once they have been sent. */
static void lose(struct kerf_device *d, const struct verify_entry *e)
{
	const struct kerf_model *m = d->o.model;
	const struct kerf_cut *cut = &m->cuts[e->cut];

	for (int i = 0; i < cut->n_tensors; i++)
		kerf_codec_round_trip(e->codec,
			d->o.compute->ops->tensor(
				d->o.compute->self, d->verify.slot, cut->tensors[i]),
			(size_t)kerf_tensor_elements(&m->graph->tensors[cut->tensors[i]]));
}

/* The unsplit run, or, when the codec lost something, the same loss between head and tail. True when
 * the output is there. */
static bool run_here(struct kerf_device *d, const struct verify_entry *e, uint64_t now)
{
	struct kerf_compute *c = d->o.compute;
	const unsigned slot = d->verify.slot, end = (unsigned)d->o.model->graph->n_nodes;

	if (d->verify.stage == VERIFY_WAITS) {
		device_load(d, slot, &e->input);
		d->verify.stage = loses(e) ? VERIFY_HEAD : VERIFY_TAIL;
		c->ops->begin(c->self, slot, 0, loses(e) ? e->cut : end, now, false);
	}
	if (!c->ops->advance(c->self, slot, now))
		return false;
	if (d->verify.stage == VERIFY_TAIL)
		return true;
	lose(d, e);
	c->ops->begin(c->self, slot, e->cut, end, now, false);
	d->verify.stage = VERIFY_TAIL;
	return false;
}

/* Works on the oldest entry for as long as no frame wants the core. */
void verify_advance(struct kerf_device *d, uint64_t now)
{
	const struct kerf_graph *g = d->o.model->graph;
	struct kerf_compute *c = d->o.compute;
	struct verify_entry *e = &d->verify.entries[d->verify.head];

	if (!d->verify.count || !run_here(d, e, now))
		return;
	if (same(e->output, c->ops->tensor(c->self, d->verify.slot, g->output), d->output_values,
		    e->exact))
		d->stats.verified++;
	else
		d->stats.mismatches++;
	d->verify.stage = VERIFY_WAITS;
	d->verify.head = (d->verify.head + 1) % DEVICE_VERIFY_QUEUE;
	d->verify.count--;
}
