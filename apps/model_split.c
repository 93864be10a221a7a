#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "model_run.h"

static int check_cut(const struct model *m, const struct run_options *o, struct kerf_err *err)
{
	const struct kerf_graph *g = m->graph;
	unsigned last = (unsigned)g->n_nodes;

	if (o->cut > last)
		return kerf_err_set(err, -ERANGE,
			"%s: --cut %ju is out of range, 0 to %u expected (0: the input is sent, "
			"%u: all local)",
			g->name, (uintmax_t)o->cut, last, last);
	if (o->cut < last && !kerf_model_can_cut(&m->base, (unsigned)o->cut))
		return kerf_err_set(err, -EINVAL,
			"%s: --cut %ju: %d tensors cross there, at most %d can be sent", g->name,
			(uintmax_t)o->cut, m->base.cuts[o->cut].n_tensors, KERF_MAX_CUT_TENSORS);
	return 0;
}

/* Only pixels can be sent as pixels. */
static int check_codec(const struct model *m, const struct run_options *o,
	const struct run_inputs *in, struct kerf_err *err)
{
	if (o->codec != KERF_CODEC_U8)
		return 0;
	if (o->cut > 0)
		return kerf_err_set(err, -EINVAL,
			"%s: --codec u8 sends pixels, which cross at cut 0 only, not at %ju",
			m->graph->name, (uintmax_t)o->cut);
	for (unsigned i = 0; i < in->n_frames; i++)
		if (!in->frames[i]->pixels)
			return kerf_err_set(err, -EINVAL,
				"%s: --codec u8 sends pixels, but this input has values",
				in->frames[i]->name);
	return 0;
}

int run_split_create(struct run_split *s, const struct model *m, const struct run_options *o,
	const struct run_inputs *in, struct kerf_err *err)
{
	int rc;

	*s = (struct run_split){.m = m, .cut = (unsigned)o->cut, .codec = o->codec};
	rc = check_cut(m, o, err);
	if (rc == 0)
		rc = check_codec(m, o, in, err);
	if (rc < 0)
		return rc;
	s->wire_bytes = model_cut_bytes(m, s->cut, s->codec);
	s->wire = malloc(s->wire_bytes + 1);
	s->head = kerf_context_create(m->engine, err);
	s->tail = s->head ? kerf_context_create(m->engine, err) : NULL;
	if (!s->wire)
		kerf_err_set(err, -ENOMEM, "no memory for %zu bytes of payload", s->wire_bytes);
	if (!s->wire || !s->tail) {
		run_split_destroy(s);
		return -ENOMEM;
	}
	return 0;
}

void run_split_destroy(struct run_split *s)
{
	if (s->tail)
		kerf_context_free(s->tail);
	if (s->head)
		kerf_context_free(s->head);
	free(s->wire);
	*s = (struct run_split){0};
}

/* The bytes are the pixels; the receiver makes the same inputs of them as a local run would. */
static void send_pixels(struct run_split *s, const struct run_inputs *in, unsigned batch)
{
	float *input = kerf_context_tensor(s->tail, s->m->graph->input);
	size_t n = in->frame_values;

	for (unsigned row = 0; row < in->batch; row++)
		memcpy(s->wire + row * n, run_inputs_frame(in, batch, row)->pixels, n);
	kerf_pixels_to_f32(&in->pixels, s->wire, 0, n * in->batch, input);
}

/* Head's tensors -> bytes -> tail's tensors, one behind the other. */
static void send_tensors(struct run_split *s)
{
	const struct kerf_cut *cut = &s->m->base.cuts[s->cut];
	uint8_t *at = s->wire;

	for (int i = 0; i < cut->n_tensors; i++) {
		int id = cut->tensors[i];
		size_t n = (size_t)kerf_tensor_elements(&s->m->graph->tensors[id]);
		const float *from = kerf_context_tensor(s->head, id);
		float *to = kerf_context_tensor(s->tail, id);

		assert(from && to);
		kerf_codec_encode(s->codec, from, n, at);
		kerf_codec_decode(s->codec, at, n, to);
		at += kerf_codec_bytes(s->codec, n);
	}
	assert(at == s->wire + s->wire_bytes);
}

int run_split_batch(struct run_split *s, const struct run_inputs *in, unsigned batch,
	const float **output, struct kerf_err *err)
{
	const struct kerf_graph *g = s->m->graph;
	unsigned end = (unsigned)g->n_nodes;
	struct kerf_context *last = s->cut < end ? s->tail : s->head;

	run_inputs_fill(in, batch, kerf_context_tensor(s->head, g->input));
	if (kerf_engine_run(s->head, 0, s->cut) < 0)
		return kerf_err_set(err, -EIO, "%s: oneDNN failed in the head", g->name);
	if (s->codec == KERF_CODEC_U8)
		send_pixels(s, in, batch);
	else if (s->cut < end)
		send_tensors(s);
	if (kerf_engine_run(last, s->cut, end) < 0)
		return kerf_err_set(err, -EIO, "%s: oneDNN failed in the tail", g->name);
	*output = kerf_context_tensor(last, g->output);
	return 0;
}
