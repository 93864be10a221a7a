/* Shared by plan.c (the choice) and cost.c (what each candidate would cost). */
#pragma once

#include <math.h>

#include "plan/plan.h"

#define PLAN_PACKET_BYTES 1538 /* of the link, for counting packets */

/* Of a frame with so many bytes on the wire, by the profile. */
double plan_tail_ns(const struct kerf_plan_candidate *c, uint64_t wire_bytes);

static inline bool plan_is_sampled(const struct kerf_plan_input *in)
{
	return isfinite(in->tau) && in->tau > 0;
}

/* The allowed candidate that costs least by the objective, the earliest of equals; the link must be sampled. *cost: not
 * finite when none can be predicted. */
unsigned plan_best(const struct kerf_plan *p, const struct kerf_plan_input *in, double *cost);
/* What one costs, after plan_best. */
double plan_cost(const struct kerf_plan *p, unsigned candidate, const struct kerf_plan_input *in);
