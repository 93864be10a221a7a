#include <string.h>

#include "lab.h"

#define MAX_BPS 400e9

static int parse_step(char *word, struct kerf_linkem_step *step)
{
	char *colon = strchr(word, ':');
	uint64_t at_ns = 0;
	double bps;

	if (colon)
		*colon = '\0';
	if (colon && kerf_parse_time(word, &at_ns) < 0)
		return -EINVAL;
	if (kerf_parse_rate(colon ? colon + 1 : word, &bps) < 0 || bps < 0 || bps > MAX_BPS ||
		at_ns > UINT64_MAX / KERF_PS_PER_NS)
		return -EINVAL;
	*step = (struct kerf_linkem_step){.at_ps = at_ns * KERF_PS_PER_NS, .bps = (uint64_t)bps};
	return 0;
}

int lab_parse_rate(const char *text, const char *key, struct kerf_linkem_step *steps, unsigned *n,
	struct kerf_err *err)
{
	char copy[KERF_INI_TEXT_LEN], *save = NULL;

	*n = 0;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		if (*n == LAB_MAX_STEPS)
			return kerf_err_set(err, -EINVAL, "%s: more than %d steps", key,
				LAB_MAX_STEPS);
		if (parse_step(w, &steps[*n]) < 0 ||
			(*n ? steps[*n].at_ps <= steps[*n - 1].at_ps : steps[0].at_ps != 0))
			return kerf_err_set(err, -EINVAL,
				"%s = %s: expected a rate up to 400G, or steps like "
				"\"0s:200M 5s:30M\" that begin at 0s and ascend",
				key, text);
		(*n)++;
	}
	if (*n == 0)
		return kerf_err_set(err, -EINVAL, "%s is empty", key);
	return 0;
}

struct kerf_linkem *lab_make_link(const struct lab *lab, const struct app_link *l,
	uint32_t direction, const struct kerf_linkem_step *steps, unsigned n, struct kerf_err *err)
{
	struct kerf_linkem_trace trace = {0};
	struct kerf_linkem_config c = {
		.steps = steps,
		.n_steps = n,
		.delay_ps = l->delay_ns * KERF_PS_PER_NS,
		.queue_bytes = l->queue_bytes,
		.queue_packets = l->queue_packets,
		.overhead_bytes = (uint32_t)lab->settings.port.overhead,
		.codel = l->codel,
		.cross_bps = (uint64_t)l->cross_bps,
		.cross_bytes = (uint32_t)l->cross_bytes,
		.seed = lab->settings.lab.seed,
		.direction = direction,
		.loss = l->loss,
		.loss_bad = l->loss_bad,
		.good_to_bad = l->good_to_bad,
		.bad_to_good = l->bad_to_good,
		.corruption = l->corruption,
		.duplication = l->duplication,
		.late = l->late,
		.late_ps = l->late_ns * KERF_PS_PER_NS,
		.jitter_ps = l->jitter_ns * KERF_PS_PER_NS,
		.jitter_half_life = l->jitter_half_life,
		.jitter_reorders = l->jitter_reorders,
		.slot_ps = l->slot_ns * KERF_PS_PER_NS,
		.pool = lab->pool,
	};
	struct kerf_linkem *e;

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

unsigned lab_phase(const struct lab *lab, uint64_t now_ns)
{
	const uint64_t at_ps = (now_ns - lab->epoch_ns) * KERF_PS_PER_NS;
	unsigned phase = 0;

	for (unsigned i = 1; i < lab->n_up_steps && lab->up_steps[i].at_ps <= at_ps; i++)
		phase = i;
	return phase;
}
