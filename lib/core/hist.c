#include "core/core.h"

#include <math.h>

/*
 * Values below 64 have a slot each. Above, every power of two is divided into 64 equal slots: the
 * seven leading bits of the value choose it (HdrHistogram's layout).
 */
#define SUB_BITS 6

static unsigned slot_of(uint64_t value)
{
	if (value < KERF_HIST_SUB)
		return (unsigned)value;
	unsigned shift = 63 - SUB_BITS - (unsigned)__builtin_clzll(value);
	return shift * KERF_HIST_SUB + (unsigned)(value >> shift);
}

/* The middle of a slot: at most half a slot, 1/128 of the value, from everything in it. */
static uint64_t slot_value(unsigned slot)
{
	if (slot < 2 * KERF_HIST_SUB)
		return slot;
	unsigned shift = slot / KERF_HIST_SUB - 1;
	uint64_t low = (uint64_t)(slot - shift * KERF_HIST_SUB) << shift;
	return low + ((1ull << shift) - 1) / 2;
}

static void add_saturating(uint32_t *slot, uint32_t n)
{
	if (__builtin_add_overflow(*slot, n, slot))
		*slot = UINT32_MAX;
}

void kerf_hist_add(struct kerf_hist *h, uint64_t value)
{
	h->min = h->count ? KERF_MIN(h->min, value) : value;
	h->max = KERF_MAX(h->max, value);
	h->sum += (double)value;
	h->count++;
	add_saturating(&h->slots[slot_of(value)], 1);
}

void kerf_hist_merge(struct kerf_hist *to, const struct kerf_hist *from)
{
	if (!from->count)
		return;
	to->min = to->count ? KERF_MIN(to->min, from->min) : from->min;
	to->max = KERF_MAX(to->max, from->max);
	to->sum += from->sum;
	to->count += from->count;
	for (unsigned i = 0; i < KERF_HIST_SLOTS; i++)
		add_saturating(&to->slots[i], from->slots[i]);
}

uint64_t kerf_hist_quantile(const struct kerf_hist *h, double q)
{
	uint64_t seen = 0;

	if (!h->count)
		return 0;
	double rank = ceil(q * (double)h->count);
	if (rank <= 1)
		return h->min;
	if (rank >= (double)h->count)
		return h->max;
	for (unsigned i = 0; i < KERF_HIST_SLOTS; i++) {
		seen += h->slots[i];
		if ((double)seen >= rank) {
			uint64_t value = slot_value(i);
			return KERF_MAX(h->min, KERF_MIN(h->max, value));
		}
	}
	return h->max; /* only after a slot has saturated */
}

double kerf_hist_mean(const struct kerf_hist *h)
{
	return h->count ? h->sum / (double)h->count : 0;
}

double kerf_hist_share(const struct kerf_hist *h, uint64_t value)
{
	uint64_t seen = 0;

	if (!h->count || value < h->min)
		return 0;
	if (value >= h->max)
		return 1;
	for (unsigned i = 0; i <= slot_of(value); i++)
		seen += h->slots[i];
	return (double)seen / (double)h->count;
}
