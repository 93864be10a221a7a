/* Lowering of convolutions that direct.c runs. */
#include "engine/internal.h"

#include <math.h>

/* What a band reads should stay in the second cache. */
#define BAND_BYTES (384 << 10)

/* [O, I, kh, kw] as [O / 16][I / 64][kh][kw][64][16] */
static int pack_weights(struct builder *b, const struct kerf_tensor *t, struct operand *o)
{
	const int64_t oc = t->dims[0], ic = t->dims[1], area = t->dims[2] * t->dims[3];
	const float *from = t->data;
	float *to = kerf_lower_own_weight(
		b, (size_t)(kerf_direct_groups(oc) * DIRECT_OUT * ic * area) * sizeof(float), o);

	if (!to)
		return -ENOMEM;
	for (int64_t group = 0; group < oc; group += DIRECT_OUT)
		for (int64_t first = 0; first < ic; first += DIRECT_IN)
			for (int64_t k = 0; k < area; k++)
				for (int64_t c = first; c < KERF_MIN(first + DIRECT_IN, ic); c++)
					for (int64_t lane = group; lane < group + DIRECT_OUT; lane++, to++)
						if (lane < oc) /* zeros behind the last */
							*to = from[(lane * ic + c) * area + k];
	return 0;
}

/* Zeros when the node has none. */
static int add_bias(struct builder *b, const struct kerf_node *n, int64_t oc, struct operand *o)
{
	const int id = n->n_inputs > 2 ? n->inputs[2] : KERF_NONE;
	float *to = kerf_lower_own_weight(b, (size_t)(kerf_direct_groups(oc) * DIRECT_OUT) * sizeof(float), o);

	if (!to)
		return -ENOMEM;
	if (id >= 0)
		memcpy(to, b->g->tensors[id].data, (size_t)oc * sizeof(float));
	return 0;
}

/* Activations that are limits go along; the others are a step of their own. */
static bool fuse_limits(struct direct *d, struct kerf_act act)
{
	d->lo = act.kind == KERF_ACT_RELU ? 0 : act.kind == KERF_ACT_CLIP ? act.lo : -INFINITY;
	d->hi = act.kind == KERF_ACT_CLIP ? act.hi : INFINITY;
	return act.kind == KERF_ACT_RELU || act.kind == KERF_ACT_CLIP;
}

/* About so many rows, and all bands alike: threads share them. */
static int64_t even_band(int64_t rows, int64_t out_h)
{
	const int64_t bands = (out_h + KERF_MAX(rows, 1) - 1) / KERF_MAX(rows, 1);

	return (out_h + bands - 1) / bands;
}

static struct direct describe(const struct kerf_node *n, const struct kerf_tensor *x, const struct kerf_tensor *y)
{
	struct direct d = {.n = x->dims[0],
		.h = x->dims[2],
		.w = x->dims[3],
		.ic = x->dims[1],
		.out_h = y->dims[2],
		.out_w = y->dims[3],
		.oc = y->dims[1]};

	for (int i = 0; i < 2; i++) {
		d.kernel[i] = n->kernel[i];
		d.strides[i] = n->strides[i];
		d.dilations[i] = n->dilations[i];
		d.pads[i] = n->pads[i];
		d.padded |= n->pads[i] > 0 || n->pads[i + 2] > 0;
	}
	d.row = (d.w + n->pads[1] + n->pads[3]) * d.ic;
	d.band = even_band(BAND_BYTES / (d.row * d.strides[0] * (int64_t)sizeof(float)), d.out_h);
	d.room = (int64_t)(kerf_align_up((size_t)(((d.band - 1) * d.strides[0] + (d.kernel[0] - 1) * d.dilations[0] + 1) * d.row) *
			 sizeof(float)) / sizeof(float));
	return d;
}

int kerf_lower_direct(struct builder *b, const struct kerf_node *n, int residual)
{
	const struct kerf_tensor *t = b->g->tensors;
	struct direct d = describe(n, &t[n->inputs[0]], &t[n->output]);
	const bool fused = fuse_limits(&d, n->act);
	struct operand o[4]; /* y, x, weights, bias */
	int rc = kerf_lower_input(b, n->inputs[0], &o[1]);

	d.accumulate = residual >= 0;
	if (rc == 0)
		rc = pack_weights(b, &t[n->inputs[1]], &o[2]);
	if (rc == 0)
		rc = add_bias(b, n, d.oc, &o[3]);
	if (rc == 0)
		rc = residual >= 0 ? kerf_lower_residual_output(b, residual, n->inputs[0], &o[0])
				   : kerf_lower_output(b, &o[0]);
	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, "conv", kerf_step_direct);
	if (!s)
		return -ENOMEM;
	s->direct = d;
	for (int i = 0; i < 4; i++)
		kerf_lower_operand(s, o[i]);
	if (d.padded) {
		s->scratchpad_bytes = (size_t)d.room * sizeof(float) * b->e->team.threads;
		kerf_lower_operand(s, (struct operand){IN_SCRATCHPAD, 0});
	}
	return kerf_lower_tail(b, o[0], KERF_NONE, fused ? (struct kerf_act){0} : n->act);
}
