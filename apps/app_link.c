#include <string.h>

#include "app_link.h"

#define NS_MAX (UINT64_MAX / KERF_PS_PER_NS)

int app_parse_rate(const char *text, const char *key, struct app_steps *s, struct kerf_err *err)
{
	const struct app_steps_type type = {.parse = kerf_parse_rate, .max = KERF_LINKEM_MAX_BPS,
		.expected = "a rate up to 400G", .example = "0s:200M 5s:30M"};
	int rc = app_parse_steps(text, key, &type, s, err);

	if (rc == 0 && s->at_ns[s->n - 1] > NS_MAX)
		return kerf_err_set(err, -EINVAL, "%s = %s: no step may begin after 213 days", key,
			text);
	return rc;
}

struct kerf_linkem *app_make_link(const struct app_link *l, const struct app_steps *rate,
	const struct kerf_linkem_config *common, struct kerf_err *err)
{
	struct kerf_linkem_step steps[APP_MAX_STEPS];
	struct kerf_linkem_trace trace = {0};
	struct kerf_linkem_config c = *common;
	struct kerf_linkem *e;

	for (unsigned i = 0; i < rate->n; i++)
		steps[i] = (struct kerf_linkem_step){
			rate->at_ns[i] * KERF_PS_PER_NS, (uint64_t)rate->value[i]};
	c.steps = steps;
	c.n_steps = rate->n;
	c.delay_ps = l->delay_ns * KERF_PS_PER_NS;
	c.queue_bytes = l->queue_bytes;
	c.queue_packets = l->queue_packets;
	c.codel = l->codel;
	c.cross_bps = (uint64_t)l->cross_bps;
	c.cross_bytes = (uint32_t)l->cross_bytes;
	c.loss = l->loss;
	c.loss_bad = l->loss_bad;
	c.good_to_bad = l->good_to_bad;
	c.bad_to_good = l->bad_to_good;
	c.corruption = l->corruption;
	c.duplication = l->duplication;
	c.late = l->late;
	c.late_ps = l->late_ns * KERF_PS_PER_NS;
	c.jitter_ps = l->jitter_ns * KERF_PS_PER_NS;
	c.jitter_half_life = l->jitter_half_life;
	c.jitter_reorders = l->jitter_reorders;
	c.slot_ps = l->slot_ns * KERF_PS_PER_NS;
	if (l->trace[0]) {
		if (kerf_linkem_trace_load(l->trace, l->trace_loop, &trace, err) < 0)
			return NULL;
		c.steps = trace.steps;
		c.n_steps = trace.n_steps;
		c.loop_ps = l->trace_loop ? trace.end_ps : 0;
	}
	e = kerf_linkem_create(&c, err);
	kerf_linkem_trace_free(&trace);
	return e;
}
