/* The device of kerf-device and kerf-lab: what its plan may choose from, and its settings. */
#include <stdlib.h>
#include <string.h>

#include "app.h"

/* Encoding and decoding a value takes about as long with every codec: kerf-perf-codec. */
#define CODEC_NS_PER_VALUE 0.1

/* policy.codec's choices; negative = the cheapest. */
static const int fixed_codecs[] = {
	-1, KERF_CODEC_F32, KERF_CODEC_U8, KERF_CODEC_BF16, KERF_CODEC_Q8, KERF_CODEC_Q4,
	KERF_CODEC_JPEG};

/* What is known of the source's. */
struct jpegs {
	uint64_t key; /* 0 = it has none */
	size_t mean_bytes;
	double byte_ns;
};

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
		for (int i = 0; codec != KERF_CODEC_U8 && i < cut->n_tensors; i++) {
			const double ns = CODEC_NS_PER_VALUE *
				(double)kerf_tensor_elements(&m->graph->tensors[cut->tensors[i]]);
			c.head_ns += ns * s->device.slowdown;
			c.tail_ns += ns;
		}
		c.wire_bytes = cut_wire_bytes(m, cut, codec, payload_bytes,
			(uint32_t)s->port.overhead);
		if (!c.wire_bytes)
			return; /* more packets than a message may have */
	}
	list[(*n)++] = c;
}

/* The picture as its file: the bytes are a typical one's, each frame has its own. */
static void add_jpeg(const struct app_model *m, const struct app_settings *s, const struct jpegs *jpegs,
	uint32_t payload_bytes, struct kerf_plan_candidate *list, unsigned *n)
{
	const struct kerf_part part = {.n = jpegs->mean_bytes};
	struct kerf_layout layout;

	if (kerf_layout_make(&layout, kerf_parts_blocks(&part, 1, KERF_CODEC_JPEG),
		    kerf_codec_info(KERF_CODEC_JPEG)->block_bytes, payload_bytes) < 0)
		return;
	const uint64_t wire_bytes = kerf_layout_wire_bytes(&layout, part.n, (uint32_t)s->port.overhead);
	list[(*n)++] = (struct kerf_plan_candidate){
		.codec = KERF_CODEC_JPEG,
		.own_bytes = true,
		.wire_bytes = wire_bytes,
		.tail_ns = kerf_profile_range_ns(&m->profile, 0, (unsigned)m->graph->n_nodes),
		.tail_byte_ns = jpegs->byte_ns * (double)part.n / (double)wire_bytes,
	};
}

/* Codecs that the plan may use at all, a bit each. */
static int codecs_of(const struct app_settings *s, uint32_t *codecs, struct kerf_err *err)
{
	char copy[KERF_INI_TEXT_LEN], *save = NULL;

	*codecs = 0;
	if (s->policy.mode != KERF_PLAN_DYNAMIC && s->policy.codec > 0)
		*codecs = 1u << fixed_codecs[s->policy.codec];
	snprintf(copy, sizeof(copy), "%s", s->policy.codecs);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		const int codec = kerf_codec_by_name(w);

		if (codec < 0)
			return kerf_err_set(err, -EINVAL,
				"policy.codecs = %s: '%s' is none of f32, u8, bf16, q8, q4, jpeg",
				s->policy.codecs, w);
		*codecs |= 1u << codec;
	}
	return *codecs ? 0 : kerf_err_set(err, -EINVAL, "policy.codecs is empty");
}

/* A codec that loses something needs a measurement that it is good enough, or nobody who asks. */
static bool is_accurate(const struct app_settings *s, const struct app_calibration *calibration,
	unsigned cut, enum kerf_codec codec)
{
	const struct app_calibration_entry *e;

	if (kerf_codec_info(codec)->lossless || s->policy.min_agreement == 0 ||
		s->policy.mode != KERF_PLAN_DYNAMIC)
		return true;
	e = app_calibration_find(calibration, cut, codec);
	return e && e->agreement >= s->policy.min_agreement;
}

static int check_codecs(const struct app_settings *s, uint32_t codecs, struct kerf_err *err)
{
	static const struct app_calibration none;

	if (s->model.calibration[0])
		return 0;
	for (unsigned i = 0; kerf_codec_info(i); i++)
		if ((codecs & 1u << i) && !is_accurate(s, &none, 0, i))
			return kerf_err_set(err, -EINVAL,
				"policy.codecs has %s, which loses accuracy: give "
				"model.calibration (kerf-model calibrate makes it), or "
				"policy.min_agreement = 0",
				kerf_codec_info(i)->name);
	return 0;
}

/* The plan's candidates, or any cut when just that one is asked for. */
static bool is_wanted(const struct app_model *m, const struct app_settings *s, unsigned k)
{
	const bool asked = s->policy.mode == KERF_PLAN_FIXED && (uint64_t)s->policy.cut == k;

	return (m->model.cuts[k].candidate || asked) && kerf_model_can_cut(&m->model, k);
}

static int candidates_of(const struct app_model *m, const struct app_settings *s, bool pixels,
	const struct jpegs *jpegs, uint32_t payload_bytes, struct kerf_plan_candidate **candidates, unsigned *n,
	struct kerf_err *err)
{
	uint32_t codecs;
	int rc = codecs_of(s, &codecs, err);

	*n = 0;
	*candidates = NULL;
	if (rc == 0)
		rc = check_codecs(s, codecs, err);
	if (rc < 0)
		return rc;
	*candidates = calloc((size_t)m->model.n_cuts * KERF_CODEC_COUNT, sizeof(**candidates));
	if (!*candidates)
		return kerf_err_set(err, -ENOMEM, "no memory for %u cuts", m->model.n_cuts);
	for (unsigned k = 0; k < m->model.n_cuts; k++) {
		const bool last = k + 1 == m->model.n_cuts;

		if (!last && !is_wanted(m, s, k))
			continue;
		if (k == 0 && jpegs->key && codecs & 1u << KERF_CODEC_JPEG)
			add_jpeg(m, s, jpegs, payload_bytes, *candidates, n);
		for (unsigned codec = 0; codec < KERF_CODEC_JPEG; codec++) {
			const bool local = last && codec == KERF_CODEC_F32;
			const bool fits = codec != KERF_CODEC_U8 || (k == 0 && pixels);

			if (local ||
				(!last && fits && (codecs & 1u << codec) &&
					is_accurate(s, &m->calibration, k, codec)))
				add_candidate(m, s, k, codec, payload_bytes, *candidates, n);
		}
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

static int check_fixed_cut(
	const struct app_model *m, const struct kerf_plan_options *policy, const struct kerf_plan_candidate *c, unsigned n,
	struct kerf_err *err)
{
	const int cut = policy->fixed_cut;
	const char *codec = policy->fixed_codec < 0 ? "auto" : kerf_codec_info((unsigned)policy->fixed_codec)->name;

	if (offered(c, n, cut, policy->fixed_codec))
		return 0;
	if (cut >= 0 && cut + 1 < (int)m->model.n_cuts && m->model.cuts[cut].closed)
		return kerf_err_set(err, -EINVAL, "policy.cut = %d: what crosses it is not kept in f32 with this model.precision", cut);
	if (cut >= 0 && cut + 1 < (int)m->model.n_cuts && m->model.cuts[cut].n_tensors > KERF_MAX_CUT_TENSORS)
		return kerf_err_set(err, -EINVAL, "policy.cut = %d: %d tensors cross it, at most %d can be sent", cut,
			m->model.cuts[cut].n_tensors, KERF_MAX_CUT_TENSORS);
	return kerf_err_set(err, -EINVAL,
		"policy.cut = %d with codec %s is no cut of this network (0 to %d; kerf-model inspect --all lists them; u8 carries "
		"pixels and jpeg the file they come from, if it is one, at cut 0 only)",
		cut, codec, c[n - 1].cut);
}

static int policy_of(const struct app_model *m, const struct app_settings *s, const struct kerf_plan_candidate *c, unsigned n,
	struct kerf_plan_options *policy, struct kerf_err *err)
{
	*policy = (struct kerf_plan_options){
		.mode = (enum kerf_plan_mode)s->policy.mode,
		.objective = (enum kerf_plan_objective)s->policy.objective,
		.deadline_ns = s->policy.deadline_ns,
		.fixed_cut = (int)s->policy.cut,
		.fixed_codec = fixed_codecs[s->policy.codec],
		.hysteresis = s->policy.hysteresis,
		.hedge_factor = s->policy.hedge_factor,
		.hedge_min_ns = s->policy.hedge_min_ns,
		.probe_every = (unsigned)s->policy.probe_every,
	};
	if (policy->objective == KERF_PLAN_THROUGHPUT && s->device.in_flight < 2)
		return kerf_err_set(err, -EINVAL,
			"policy.objective = throughput needs frames that overlap: device.in_flight = 1, expected 2 or "
			"more");
	if (policy->mode == KERF_PLAN_FIXED && check_fixed_cut(m, policy, c, n, err) < 0)
		return -EINVAL;
	if (policy->mode == KERF_PLAN_OFFLOAD && !offered(c, n, 0, policy->fixed_codec))
		return kerf_err_set(err, -EINVAL,
			"policy.mode = offload with policy.codec = %s: the frames of this source cannot be sent so",
			policy->fixed_codec < 0 ? "auto" : kerf_codec_info((unsigned)policy->fixed_codec)->name);
	return 0;
}

struct kerf_device *app_make_device(struct kerf_device_options *o, const struct app_settings *s,
	const struct app_model *m, const struct kerf_source *source, struct kerf_err *err)
{
	struct kerf_plan_candidate *candidates = NULL;
	struct kerf_device *d = NULL;
	struct kerf_frame_input first;
	struct jpegs jpegs = {0};

	o->model = &m->model;
	o->fingerprint = app_fingerprint(s);
	o->whole_ns = m->whole_ns;
	o->in_flight = (unsigned)s->device.in_flight;
	o->period_ns = s->device.fps > 0 ? (uint64_t)(1e9 / s->device.fps) : 0;
	o->frames = s->device.frames;
	o->verify = s->device.verify;
	o->wait_for_server = s->device.wait_for_server;
	o->pace_gain = s->policy.pace_gain;
	o->pace_dither = s->policy.pace_dither;
	o->race_share = s->policy.race_share;
	app_source_input(source, 0, &first);
	if (first.pixels && m->model.pixels.channels)
		jpegs.key = app_source_jpegs(source, s, m, &jpegs.mean_bytes, &jpegs.byte_ns);
	o->picture = jpegs.key;
	if (candidates_of(m, s, first.pixels != NULL, &jpegs, o->net.payload_bytes, &candidates,
		    &o->n_candidates, err) == 0 &&
		policy_of(m, s, candidates, o->n_candidates, &o->policy, err) == 0) {
		o->candidates = candidates;
		d = kerf_device_create(o, err);
	}
	free(candidates);
	return d;
}
