/* The device of kerf-device and kerf-lab: what its plan may choose from, and its settings. */
#include <stdlib.h>

#include "app.h"

static uint64_t cut_wire_bytes(const struct app_model *m, const struct kerf_cut *cut,
	enum kerf_codec codec, uint32_t payload_bytes, uint32_t overhead)
{
	struct kerf_part parts[KERF_MAX_CUT_TENSORS] = {{0}};
	struct kerf_layout layout;

	for (int i = 0; i < cut->n_tensors; i++)
		parts[i].n = (size_t)kerf_tensor_elements(&m->graph->tensors[cut->tensors[i]]);
	if (kerf_layout_make(&layout, kerf_parts_blocks(parts, (unsigned)cut->n_tensors, codec),
		    kerf_codec_info(codec)->block_bytes, payload_bytes) < 0)
		return 0;
	return kerf_layout_wire_bytes(&layout,
		kerf_parts_bytes(parts, (unsigned)cut->n_tensors, codec), overhead);
}

static void add_candidate(const struct app_model *m, const struct app_settings *s, unsigned k,
	enum kerf_codec codec, uint32_t payload_bytes, struct kerf_plan_candidate *list,
	unsigned *n)
{
	const unsigned nodes = (unsigned)m->graph->n_nodes;
	const struct kerf_cut *cut = &m->model.cuts[k];
	struct kerf_plan_candidate c = {
		.cut = (int)k,
		.codec = codec,
		.local = k == nodes,
		.head_ns = kerf_profile_range_ns(&m->profile, 0, k) * s->device.slowdown,
		.tail_ns = kerf_profile_range_ns(&m->profile, k, nodes),
	};

	if (!c.local) {
		c.wire_bytes = cut_wire_bytes(m, cut, codec, payload_bytes,
			(uint32_t)s->port.overhead);
		if (!c.wire_bytes)
			return; /* more packets than a message may have */
	}
	list[(*n)++] = c;
}

static int candidates_of(const struct app_model *m, const struct app_settings *s, bool pixels,
	uint32_t payload_bytes, struct kerf_plan_candidate **candidates, unsigned *n,
	struct kerf_err *err)
{
	*n = 0;
	*candidates = calloc(m->model.n_cuts + 1, sizeof(**candidates));
	if (!*candidates)
		return kerf_err_set(err, -ENOMEM, "no memory for %u cuts", m->model.n_cuts);
	for (unsigned k = 0; k < m->model.n_cuts; k++) {
		const bool last = k + 1 == m->model.n_cuts;

		if (!last && (!m->model.cuts[k].candidate || !kerf_model_can_cut(&m->model, k)))
			continue;
		if (k == 0 && pixels)
			add_candidate(m, s, k, KERF_CODEC_U8, payload_bytes, *candidates, n);
		add_candidate(m, s, k, KERF_CODEC_F32, payload_bytes, *candidates, n);
	}
	return 0;
}

static bool offered(const struct kerf_plan_candidate *c, unsigned n, int cut, int codec)
{
	for (unsigned i = 0; i < n; i++)
		if (c[i].cut == cut && (c[i].local || codec < 0 || c[i].codec == codec))
			return true;
	return false;
}

static int policy_of(const struct app_settings *s, const struct kerf_plan_candidate *c, unsigned n,
	struct kerf_plan_options *policy, struct kerf_err *err)
{
	static const int codecs[] = {-1, KERF_CODEC_F32, KERF_CODEC_U8};

	*policy = (struct kerf_plan_options){
		.mode = (enum kerf_plan_mode)s->policy.mode,
		.fixed_cut = (int)s->policy.cut,
		.fixed_codec = codecs[s->policy.codec],
		.hysteresis = s->policy.hysteresis,
		.hedge_factor = s->policy.hedge_factor,
		.hedge_min_ns = s->policy.hedge_min_ns,
		.probe_every = (unsigned)s->policy.probe_every,
	};
	if (policy->mode == KERF_PLAN_FIXED &&
		!offered(c, n, policy->fixed_cut, policy->fixed_codec))
		return kerf_err_set(err, -EINVAL,
			"policy.cut = %d with codec %s is no cut of this network (0 to %d; "
			"kerf-model inspect lists them; u8 carries pixels, at cut 0 only)",
			policy->fixed_cut, policy->fixed_codec < 0 ? "auto"
				: kerf_codec_info((unsigned)policy->fixed_codec)->name,
			c[n - 1].cut);
	return 0;
}

struct kerf_device *app_make_device(struct kerf_device_options *o, const struct app_settings *s,
	const struct app_model *m, const struct kerf_source *source, struct kerf_err *err)
{
	struct kerf_plan_candidate *candidates = NULL;
	struct kerf_device *d = NULL;
	struct kerf_frame_input first;

	o->model = &m->model;
	o->fingerprint = app_fingerprint(s);
	o->whole_ns = m->whole_ns;
	o->in_flight = (unsigned)s->device.in_flight;
	o->period_ns = s->device.fps > 0 ? (uint64_t)(1e9 / s->device.fps) : 0;
	o->frames = s->device.frames;
	o->verify = s->device.verify;
	o->wait_for_server = s->device.wait_for_server;
	o->pace_gain = s->policy.pace_gain;
	app_source_input(source, 0, &first);
	if (candidates_of(m, s, first.pixels != NULL, o->net.payload_bytes, &candidates,
		    &o->n_candidates, err) == 0 &&
		policy_of(s, candidates, o->n_candidates, &o->policy, err) == 0) {
		o->candidates = candidates;
		d = kerf_device_create(o, err);
	}
	free(candidates);
	return d;
}
