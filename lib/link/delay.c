/*
 * One-way delays, whose absolute values mean nothing: the two clocks differ by an offset that drifts. What a train
 * waited on its way is how far its first packet's delay lies above the line that the least delays of late follow.
 */
#include <math.h>
#include <string.h>

#include "link/link.h"

#define SLOT_NS (500 * 1000000ull)
#define SKEW_AFTER_NS (10 * KERF_NS_PER_S) /* over less, jitter looks like skew */
#define SKEW_MAX 500e-6 /* no two crystals differ by more */
#define JUMP_NS (60.0 * KERF_NS_PER_S) /* a clock that was set, or 48 bits that wrapped */
#define JITTER_WEIGHT (1.0 / 16)

/* Does b lie on or above the line from a to c? Then it is no corner of the lower hull. */
static bool is_above(const struct kerf_delay_point *a, const struct kerf_delay_point *b,
	const struct kerf_delay_point *c)
{
	return (b->ns - a->ns) * (c->at_ns - a->at_ns) >= (c->ns - a->ns) * (b->at_ns - a->at_ns);
}

/*
 * The lower convex hull's edge above the mean time: of all lines that no point lies below, it is the nearest to the
 * points (Zhang, Liu, Xia, "Clock synchronization algorithms for network measurements", INFOCOM 2002).
 */
static void fit_base(struct kerf_delay *d)
{
	struct kerf_delay_point hull[KERF_DELAY_SLOTS];
	unsigned n = 1, edge = 0;
	double mean_ns = d->slots[0].at_ns / d->n;

	hull[0] = d->slots[0];
	for (unsigned i = 1; i < d->n; i++) {
		mean_ns += d->slots[i].at_ns / d->n;
		while (n >= 2 && is_above(&hull[n - 2], &hull[n - 1], &d->slots[i]))
			n--;
		hull[n++] = d->slots[i];
	}
	d->skew = 0;
	d->base = hull[0];
	for (unsigned i = 1; i < n; i++)
		if (hull[i].ns < d->base.ns)
			d->base = hull[i];
	if (n < 2 || hull[n - 1].at_ns - hull[0].at_ns < (double)SKEW_AFTER_NS)
		return;
	while (edge + 2 < n && hull[edge + 1].at_ns < mean_ns)
		edge++;
	d->base = hull[edge];
	d->skew = (hull[edge + 1].ns - hull[edge].ns) / (hull[edge + 1].at_ns - hull[edge].at_ns);
	d->skew = fmin(fmax(d->skew, -SKEW_MAX), SKEW_MAX);
}

static void note_least(struct kerf_delay *d, double at_ns, double ns)
{
	struct kerf_delay_point *last = d->n ? &d->slots[d->n - 1] : NULL;

	if (!last || at_ns - d->slot_begin_ns >= (double)SLOT_NS) {
		if (d->n == KERF_DELAY_SLOTS)
			memmove(&d->slots[0], &d->slots[1], --d->n * sizeof(d->slots[0]));
		d->slots[d->n++] = (struct kerf_delay_point){at_ns, ns};
		d->slot_begin_ns = at_ns;
	} else if (ns < last->ns) {
		*last = (struct kerf_delay_point){at_ns, ns};
	}
}

void kerf_delay_update(struct kerf_delay *d, int64_t delay_ns, uint64_t sent_ns)
{
	double at_ns, ns;

	if (d->n && sent_ns <= d->sent_ns)
		return; /* another report on the same train */
	if (d->n == 0 || fabs((double)delay_ns - (double)d->first_delay_ns) > JUMP_NS)
		*d = (struct kerf_delay){.first_sent_ns = sent_ns, .first_delay_ns = delay_ns};
	d->sent_ns = sent_ns;
	/* Small numbers, so that no digits are lost. */
	at_ns = (double)(sent_ns - d->first_sent_ns);
	ns = (double)delay_ns - (double)d->first_delay_ns;
	if (d->n)
		d->jitter_ns += JITTER_WEIGHT * (fabs(ns - d->last_ns) - d->jitter_ns);
	d->last_ns = ns;
	note_least(d, at_ns, ns);
	fit_base(d);
	d->queue_ns = fmax(0, ns - d->base.ns - d->skew * (at_ns - d->base.at_ns));
}
