/* Lowering of convolutions and inner products that direct.c runs, and what winograd.c's have in common with them. */
#include "engine/internal.h"

#include <math.h>

/* What a band reads should stay in the second cache, unless it is so small that it would only wait for weights. */
#define BAND_BYTES (384 << 10)
#define BAND_PLACES 98
#define GROUP_BAND_BYTES (20 << 10) /* of groups, whose weights are few, in the first */

/* A team divides rows down to so many places for each before it divides channels: a tile has as many as it takes then. */
#define TEAM_PLACES 64

/* Weights of a block of input channels and one group: they stay in the second cache beside the next one's. */
#define BLOCK_TAPS 576

/* Zeros when the node has none. */
static int add_bias(struct builder *b, const struct kerf_direct *d, const struct kerf_node *n, struct operand *o)
{
	const int id = n->n_inputs > 2 ? n->inputs[2] : KERF_NONE;
	float *to = kerf_lower_own_weight(b, (size_t)kerf_direct_first(d, d->groups) * sizeof(float), o);

	if (!to)
		return -ENOMEM;
	if (id >= 0)
		memcpy(to, b->g->tensors[id].data, (size_t)d->oc * sizeof(float));
	for (int64_t c = 0; c < d->oc; c++)
		to[c] += 0.0f; /* -0 would tell whether products with pads were added or left out */
	return 0;
}

/* Activations that are limits go along; the others are a step of their own. */
static bool fuse_limits(struct kerf_direct *d, struct kerf_act act)
{
	d->lo = act.kind == KERF_ACT_RELU ? 0 : act.kind == KERF_ACT_CLIP ? act.lo : -INFINITY;
	d->hi = act.kind == KERF_ACT_CLIP ? act.hi : INFINITY;
	return act.kind == KERF_ACT_RELU || act.kind == KERF_ACT_CLIP;
}

/* n in parts of about `most`, all alike: how large they are. */
static int64_t even_part(int64_t n, int64_t most)
{
	const int64_t parts = (n + KERF_MAX(most, 1) - 1) / KERF_MAX(most, 1);

	return (n + parts - 1) / parts;
}

static void describe_conv(
	struct kerf_direct *d, const struct kerf_node *n, const struct kerf_tensor *x, const struct kerf_tensor *y)
{
	d->n = x->dims[0];
	d->h = x->dims[2];
	d->w = x->dims[3];
	d->out_h = y->dims[2];
	d->out_w = y->dims[3];
	for (int i = 0; i < 2; i++) {
		d->kernel[i] = n->kernel[i];
		d->strides[i] = n->strides[i];
		d->dilations[i] = n->dilations[i];
		d->pads[i] = n->pads[i];
		d->padded |= n->pads[i] > 0 || n->pads[i + 2] > 0;
	}
	d->row = (d->w + n->pads[1] + n->pads[3]) * d->x_row;
}

/* An inner product is the convolution of a picture one pixel wide. */
static void describe_gemm(struct kerf_direct *d, const struct kerf_tensor *x)
{
	d->n = d->w = d->out_w = 1;
	d->h = d->out_h = x->dims[0];
	for (int i = 0; i < 2; i++)
		d->kernel[i] = d->strides[i] = d->dilations[i] = 1;
	d->row = d->x_row;
}

/* All of them go through rows that hold what a tile reads: one group's inputs, or those of each of its vectors. */
static void describe_groups(struct kerf_direct *d, int64_t groups)
{
	const int64_t width = d->row / d->in_row;

	d->ic = d->in_row / groups;
	d->apart = d->ic == d->code->lanes && d->oc == d->in_row;
	d->x_row = d->ic * (d->apart ? d->code->vectors : 1);
	d->row = width * d->x_row;
	d->padded = true;
}

static struct kerf_direct describe(
	const struct kerf_node *n, const struct kerf_tensor *x, const struct kerf_tensor *y, unsigned team)
{
	const int64_t ic = x->dims[1], oc = y->dims[1];
	struct kerf_direct d = {
		.code = kerf_direct_code(), .ic = ic, .in_row = ic, .x_row = ic, .oc = oc, .y_row = oc};

	if (n->op == KERF_OP_GEMM)
		describe_gemm(&d, x);
	else
		describe_conv(&d, n, x, y);
	if (n->groups > 1)
		describe_groups(&d, n->groups);
	const int64_t parts = KERF_MAX(1, KERF_MIN((int64_t)team, d.out_h * d.out_w / TEAM_PLACES));
	/* tiles apart go through all of their few inputs */
	d.block = d.apart ? d.ic : even_part(d.ic, BLOCK_TAPS / ((int64_t)d.kernel[0] * d.kernel[1]));
	const int64_t bytes = n->groups > 1 ? GROUP_BAND_BYTES : BAND_BYTES;
	d.band = even_part(d.out_h, KERF_MAX(bytes / (d.row * d.strides[0] * (int64_t)sizeof(float)),
					    (BAND_PLACES + d.out_w - 1) / d.out_w));
	d.band = KERF_MIN(d.band, (d.out_h + parts - 1) / parts);
	d.groups = kerf_direct_divide(&d, team);
	d.room = (int64_t)(kerf_align_up((size_t)(((d.band - 1) * d.strides[0] + (d.kernel[0] - 1) * d.dilations[0] + 1) * d.row) *
			 sizeof(float)) / sizeof(float));
	return d;
}

bool kerf_direct_joins(const struct builder *b, const struct kerf_node *n, int residual)
{
	struct kerf_direct d;

	return residual < 0 && (n->act.kind == KERF_ACT_NONE || fuse_limits(&d, n->act)) && kerf_join_find(b, n);
}

int kerf_lower_own_conv(struct builder *b, const struct kerf_node *n, int residual, struct own_conv *own)
{
	const struct kerf_tensor *t = b->g->tensors;
	struct operand *o = own->operands;
	struct kerf_direct *d = &own->conv;
	const bool joins = kerf_direct_joins(b, n, residual);

	*d = describe(n, &t[n->inputs[0]], &t[n->output], b->e->team.threads);
	own->left = fuse_limits(d, n->act) ? (struct kerf_act){0} : n->act;
	d->accumulate = residual >= 0;
	if (joins) {
		d->y_row = kerf_join_find(b, n)->row;
		d->y_first = kerf_join_find(b, n)->first;
	}
	int rc = kerf_lower_input(b, n->inputs[0], &o[1]);
	if (rc == 0)
		rc = add_bias(b, d, n, &o[3]);
	if (rc == 0)
		rc = residual >= 0 ? kerf_lower_residual_output(b, residual, n->inputs[0], &o[0])
		     : joins       ? kerf_join_output(b, n, &o[0])
				   : kerf_lower_output(b, &o[0]);
	return rc;
}

struct weight *kerf_lower_own_weights(
	struct builder *b, const struct kerf_node *n, struct own_conv *own, const struct kerf_direct *tiles, size_t bytes)
{
	const int index = kerf_lower_new_weight(b, bytes);

	if (index < 0)
		return NULL;
	struct weight *w = &b->weights[index];
	w->source = b->g->tensors[n->inputs[1]].data;
	w->tiles = *tiles;
	own->operands[2] = (struct operand){IN_WEIGHTS, index};
	return w;
}

struct step *kerf_lower_own_step(
	struct builder *b, const char *name, step_run run, const struct own_conv *own, int64_t room)
{
	const struct kerf_direct *d = &own->conv;
	struct step *s = kerf_lower_step(b, name, run);

	if (!s)
		return NULL;
	s->elements = s->elements * d->ic * d->kernel[0] * d->kernel[1] / OWN_ELEMENT_PRODUCTS;
	for (int i = 0; i < 4; i++)
		kerf_lower_operand(s, own->operands[i]);
	if (room) {
		s->scratchpad_bytes = (size_t)room * sizeof(float) * b->e->team.threads;
		kerf_lower_operand(s, (struct operand){IN_SCRATCHPAD, 0});
	}
	return s;
}

int kerf_lower_direct(struct builder *b, const struct kerf_node *n, int residual)
{
	struct own_conv own;
	struct kerf_direct *d = &own.conv;
	const int rc = kerf_lower_own_conv(b, n, residual, &own);

	if (rc < 0)
		return rc;
	if (kerf_direct_takes_along(own.left.kind)) {
		d->act = own.left.kind;
		own.left = (struct kerf_act){0};
	}
	const int64_t floats = kerf_direct_first(d, d->groups) * d->ic * d->kernel[0] * d->kernel[1];
	if (!kerf_lower_own_weights(b, n, &own, d, (size_t)floats * sizeof(float)))
		return -ENOMEM;
	struct step *s = kerf_lower_own_step(b, kerf_op_name(n->op), kerf_step_direct, &own, d->padded ? d->room : 0);
	if (!s)
		return -ENOMEM;
	s->direct = *d;
	return kerf_lower_tail(b, own.operands[0], KERF_NONE, own.left);
}
