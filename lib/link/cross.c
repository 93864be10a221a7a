/*
 * What others leave of a link, from trains at different paces. While a train overloads a FIFO bottleneck of capacity C
 * that others use at rate l, its packets come out n_r = a n_s + b apart (seconds per byte, at n_s going in) with a = l/C
 * and b = 1/C; what is available is C - l = (1 - a)/b. (TOPP: Melander, Bjorkman, Gunningberg, GLOBECOM 2000.)
 */
#include <math.h>

#include "link/link.h"

#define POINTS_MIN 16
#define SPREAD_MIN 0.05 /* of the paces: deviation over mean; at one pace there is no slope */

void kerf_cross_update(struct kerf_cross *c, double sent_tau, double tau)
{
	if (!(isfinite(sent_tau) && sent_tau > 0 && isfinite(tau) && tau > 0))
		return;
	c->sent[c->next] = sent_tau;
	c->arrived[c->next] = tau;
	c->next = (c->next + 1) % KERF_CROSS_POINTS;
	c->n = KERF_MIN(c->n + 1, KERF_CROSS_POINTS);
}

double kerf_cross_available_bps(const struct kerf_cross *c)
{
	double mean_s = 0, mean_r = 0, ss = 0, sr = 0, slope, intercept;

	if (c->n < POINTS_MIN)
		return 0;
	for (unsigned i = 0; i < c->n; i++) {
		mean_s += c->sent[i] / c->n;
		mean_r += c->arrived[i] / c->n;
	}
	for (unsigned i = 0; i < c->n; i++) {
		ss += (c->sent[i] - mean_s) * (c->sent[i] - mean_s);
		sr += (c->sent[i] - mean_s) * (c->arrived[i] - mean_r);
	}
	if (!(ss > 0) || sqrt(ss / c->n) < SPREAD_MIN * mean_s)
		return 0;
	slope = fmax(0, sr / ss);
	intercept = mean_r - slope * mean_s;
	return slope < 1 && intercept > 0 ? 8 * (1 - slope) / intercept : 0;
}
