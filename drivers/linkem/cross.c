/*
 * Cross traffic: when its packets arrive.
 */
#include "linkem/linkem_internal.h"

#include <inttypes.h>

#define DEFAULT_BYTES 1514
#define PS_PER_S 1000000000000ull

int linkem_cross_init(struct linkem_cross *c, const struct kerf_linkem_config *config,
	struct kerf_err *err)
{
	c->bps = config->cross_bps;
	c->len = config->cross_bytes ? config->cross_bytes : DEFAULT_BYTES;
	c->next_ps = c->bps ? 0 : LINKEM_NEVER;
	if (!c->bps)
		return 0;
	if (c->bps > KERF_LINKEM_MAX_BPS)
		return kerf_err_set(err, -EINVAL,
			"linkem: cross traffic of %" PRIu64 " bit/s: expected at most %llu", c->bps,
			KERF_LINKEM_MAX_BPS);
	/* Up to 7e22: 1 bit/s of the longest packet never comes a second time. */
	kerf_work gap = (kerf_work)8 * ((uint64_t)c->len + config->overhead_bytes) * PS_PER_S;
	c->gap_rest = (uint64_t)(gap % c->bps);
	c->gap_ps = (uint64_t)KERF_MIN(gap / c->bps, LINKEM_NEVER);
	return 0;
}

void linkem_cross_next(struct linkem_cross *c)
{
	uint64_t carry;

	c->ahead += c->gap_rest;
	carry = c->ahead >= c->bps;
	c->ahead -= carry ? c->bps : 0;
	c->next_ps = linkem_later(linkem_later(c->next_ps, c->gap_ps), carry);
}
