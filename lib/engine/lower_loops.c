/*
 * Lowering of convolutions by loops of our own that are not tiles of direct.h: depthwise.inc, grouped.c,
 * depthwise_int8.c, pointwise_int8.c.
 */
#include "engine/internal.h"

#include <math.h>
#include <stdlib.h>

#include "engine/vnni.h"

/* Channels beside which a block has so many zeros that oneDNN is faster. */
static bool fills_blocks(int64_t channels, int64_t block)
{
	const int64_t rounded = (channels + block - 1) / block * block;

	return channels * 5 >= rounded * 3;
}

static bool is_limit(struct kerf_act act)
{
	return act.kind == KERF_ACT_NONE || act.kind == KERF_ACT_RELU || act.kind == KERF_ACT_CLIP;
}

static enum kerf_depthwise_type type_of(struct storage s)
{
	switch (s.type) {
	case dnnl_bf16: return KERF_DEPTHWISE_BF16;
	case dnnl_u8: return KERF_DEPTHWISE_U8;
	case dnnl_s8: return KERF_DEPTHWISE_S8;
	default: return KERF_DEPTHWISE_F32;
	}
}

/* A byte nearest to v within what the type holds. */
static int to_byte(float v, bool is_unsigned)
{
	return (int)lrintf(fminf(fmaxf(v, is_unsigned ? 0 : -128), is_unsigned ? 255 : 127));
}

/* An activation's limits, in f32 and as bytes. */
struct limits {
	float lo, hi;
	int least, most;
};

static struct limits limits_of(struct kerf_act act, struct storage dst)
{
	const bool is_unsigned = dst.type == dnnl_u8;
	struct limits m = {.lo = -INFINITY, .hi = INFINITY};

	if (act.kind == KERF_ACT_RELU)
		m.lo = 0;
	if (act.kind == KERF_ACT_CLIP) {
		m.lo = act.lo;
		m.hi = act.hi;
	}
	m.least = to_byte(m.lo / dst.scale, is_unsigned);
	m.most = to_byte(m.hi / dst.scale, is_unsigned);
	return m;
}

/* What int8's sums are turned into results with: sum * scales[c] + shifts[c]. */
struct requantisation {
	int8_t *weights;
	float *scales, *shifts;
};

static const float *bias_of(const struct builder *b, const struct kerf_node *n)
{
	return n->n_inputs > 2 && n->inputs[2] >= 0 ? b->g->tensors[n->inputs[2]].data : NULL;
}

static void drop_requantisation(struct requantisation *r)
{
	free(r->weights);
	free(r->scales);
	free(r->shifts);
}

/* To be dropped, if it fails as well. */
static int make_requantisation(struct builder *b, const struct kerf_node *n, float src_scale,
	float dst_scale, struct requantisation *r)
{
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]];
	const float *bias = bias_of(b, n);
	const size_t channels = (size_t)w->dims[0];

	*r = (struct requantisation){malloc((size_t)kerf_tensor_elements(w)),
		malloc(channels * sizeof(*r->scales)), malloc(channels * sizeof(*r->shifts))};
	if (!r->weights || !r->scales || !r->shifts)
		return kerf_lower_fail(b, -ENOMEM, "out of memory");
	for (size_t c = 0; c < channels; c++) {
		r->scales[c] = src_scale * kerf_precision_weight_scale(w, (int64_t)c) / dst_scale;
		r->shifts[c] = bias ? bias[c] / dst_scale : 0;
	}
	kerf_precision_quantise(w, r->weights);
	return 0;
}

/* A step of y, x and constants, and the activation behind it that it did not take along. */
static int emit(struct builder *b, struct step *s, const struct operand *o, int n_operands,
	struct kerf_act left)
{
	for (int i = 0; i < n_operands; i++)
		kerf_lower_operand(s, o[i]);
	return kerf_lower_tail(b, o[0], KERF_NONE, left);
}

/* What is not a matter of limits. */
static struct kerf_act beyond_limits(struct kerf_act act)
{
	return is_limit(act) ? (struct kerf_act){0} : act;
}

/* ---- depthwise ---- */

/* How it reads its input. */
static struct storage source_of(const struct builder *b, const struct kerf_node *n)
{
	return b->narrow[b->node] ? kerf_precision_read_as(b, n->inputs[0]) : (struct storage){dnnl_f32, 1};
}

static struct kerf_depthwise describe_depthwise(const struct builder *b, const struct kerf_node *n)
{
	const struct storage src = source_of(b, n), dst = b->e->storage[n->output];
	const struct kerf_tensor *x = &b->g->tensors[n->inputs[0]], *y = &b->g->tensors[n->output];
	const struct limits m = limits_of(n->act, dst);

	return (struct kerf_depthwise){.n = x->dims[0],
		.h = x->dims[2],
		.w = x->dims[3],
		.c = x->dims[1],
		.out_h = y->dims[2],
		.out_w = y->dims[3],
		.width = (int)(x->dims[1] / n->groups),
		.kernel = n->kernel[0],
		.stride = n->strides[0],
		.pads = {n->pads[0], n->pads[1]},
		.from = type_of(src),
		.to = type_of(dst),
		.lo = m.lo,
		.hi = m.hi,
		.act = !b->narrow[b->node] && kerf_direct_takes_along(n->act.kind) ? n->act.kind : KERF_ACT_NONE,
		.least = m.least,
		.most = m.most};
}

/* Groups of so many channels that a vector holds whole ones. */
static bool is_group(int64_t width)
{
	return width == 2 || width == 4 || width == 8 || width == 16;
}

/* Windows that depthwise_*.c have loops for; groups of more than one channel only in f32. */
static bool is_depthwise(const struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *x = &b->g->tensors[n->inputs[0]],
				 *w = &b->g->tensors[n->inputs[1]];

	return n->groups > 1 && w->dims[0] == x->dims[1] && (w->dims[1] == 1 || is_group(w->dims[1])) &&
		n->kernel[0] == n->kernel[1] && (n->kernel[0] == 3 || n->kernel[0] == 5) &&
		n->strides[0] == n->strides[1] && n->strides[0] <= 2 && n->dilations[0] == 1 &&
		n->dilations[1] == 1;
}

static bool depthwise_suits(const struct builder *b, const struct kerf_node *n)
{
	const struct storage dst = b->e->storage[n->output];

	if (!is_depthwise(b, n))
		return false;
	if (!b->narrow[b->node]) {
		const struct kerf_depthwise d = describe_depthwise(b, n);

		return dst.type == dnnl_f32 && kerf_depthwise_f32_suits(&d);
	}
	const bool bf16 = b->precision == KERF_PRECISION_BF16;
	return n->groups == b->g->tensors[n->inputs[0]].dims[1] &&
		(bf16 ? kerf_depthwise_bf16_supported() : vnni_supported()) &&
		/* another activation's step reads f32 */
		(is_limit(n->act) || dst.type == dnnl_f32) &&
		fills_blocks(b->g->tensors[n->inputs[0]].dims[1],
			bf16 ? KERF_DEPTHWISE_BLOCK : KERF_DEPTHWISE_INT8_BLOCK);
}

static int add_floats(struct builder *b, const struct kerf_node *n, const struct kerf_depthwise *d,
	struct operand *constants)
{
	float *packed = kerf_lower_own_weight(b, kerf_depthwise_bytes(d), constants);

	if (!packed)
		return -ENOMEM;
	(kerf_grouped_suits(d) ? kerf_grouped_pack : kerf_depthwise_pack)(d, b->g->tensors[n->inputs[1]].data, bias_of(b, n), packed);
	return 0;
}

static int add_int8(struct builder *b, const struct kerf_depthwise *d,
	const struct requantisation *r, struct operand o[2])
{
	const size_t blocks = kerf_depthwise_int8_blocks(d->c);
	void *weights = kerf_lower_own_weight(b,
		blocks * kerf_depthwise_int8_weight_bytes(d->kernel), &o[0]);
	float *both = weights
		? kerf_lower_own_weight(b, blocks * 2 * KERF_DEPTHWISE_INT8_BLOCK * sizeof(float),
			  &o[1])
		: NULL;

	if (!both)
		return -ENOMEM;
	kerf_depthwise_int8_pack(d, r->weights, weights);
	kerf_depthwise_int8_pack_vectors(d, r->weights, r->scales, r->shifts, both);
	return 0;
}

static int lower_depthwise(struct builder *b, const struct kerf_node *n)
{
	static const struct {
		const char *name;
		step_run run;
	} loops[] = {
		[KERF_DEPTHWISE_F32] = {"conv depthwise", kerf_step_depthwise_f32},
		[KERF_DEPTHWISE_BF16] = {"conv bf16 depthwise", kerf_step_depthwise_bf16},
		[KERF_DEPTHWISE_U8] = {"conv int8 depthwise", kerf_step_depthwise_int8},
		[KERF_DEPTHWISE_S8] = {"conv int8 depthwise", kerf_step_depthwise_int8},
	};
	const struct kerf_depthwise d = describe_depthwise(b, n);
	const bool integer = d.from == KERF_DEPTHWISE_U8 || d.from == KERF_DEPTHWISE_S8;
	struct requantisation r = {0};
	struct operand o[4]; /* y, x, and constants together, or weights and vectors */
	int rc = kerf_lower_source(b, n, &o[1]);

	if (rc == 0 && integer)
		rc = make_requantisation(b, n, source_of(b, n).scale, b->e->storage[n->output].scale, &r);
	if (rc == 0)
		rc = integer ? add_int8(b, &d, &r, &o[2]) : add_floats(b, n, &d, &o[2]);
	drop_requantisation(&r);
	if (rc == 0)
		rc = kerf_lower_output(b, &o[0]);
	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, d.width > 1 ? "conv grouped" : loops[d.from].name,
		kerf_grouped_suits(&d) ? kerf_step_grouped : loops[d.from].run);
	if (!s)
		return -ENOMEM;
	s->depthwise = d;
	return emit(b, s, o, integer ? 4 : 3, d.act == KERF_ACT_NONE ? beyond_limits(n->act) : (struct kerf_act){0});
}

/* ---- pointwise ---- */

static bool pointwise_suits(const struct builder *b, const struct kerf_node *n)
{
	const int64_t depth = b->g->tensors[n->inputs[0]].dims[1],
		      channels = b->g->tensors[n->output].dims[1];

	return b->narrow[b->node] && b->precision == KERF_PRECISION_INT8 && vnni_supported() &&
		b->e->storage[n->output].type != dnnl_f32 && is_limit(n->act) && n->groups == 1 &&
		n->kernel[0] == 1 && n->kernel[1] == 1 && n->strides[0] == 1 &&
		n->strides[1] == 1 && !n->pads[0] && !n->pads[1] && !n->pads[2] && !n->pads[3] &&
		depth % 4 == 0 && depth <= KERF_POINTWISE_DEPTH &&
		fills_blocks(channels, KERF_POINTWISE_BLOCK);
}

static int add_pointwise(struct builder *b, const struct kerf_pointwise *p,
	const struct requantisation *r, struct operand o[2])
{
	void *weights = kerf_lower_own_weight(b, kerf_pointwise_weight_bytes(p), &o[0]);
	float *both = weights
		? kerf_lower_own_weight(b, kerf_pointwise_vector_floats(p) * sizeof(float), &o[1])
		: NULL;

	if (!both)
		return -ENOMEM;
	kerf_pointwise_pack(p, r->weights, r->scales, r->shifts, weights, both);
	return 0;
}

static int lower_pointwise(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *x = &b->g->tensors[n->inputs[0]],
				 *w = &b->g->tensors[n->inputs[1]];
	const struct storage src = kerf_precision_read_as(b, n->inputs[0]),
			     dst = b->e->storage[n->output];
	const struct limits m = limits_of(n->act, dst);
	const struct kerf_pointwise p = {.pixels = x->dims[0] * x->dims[2] * x->dims[3],
		.depth = x->dims[1],
		.channels = w->dims[0],
		.from_signed = src.type == dnnl_s8,
		.to_signed = dst.type == dnnl_s8,
		.least = m.least,
		.most = m.most};
	struct requantisation r = {0};
	struct operand o[4]; /* y, x, weights, vectors */
	int rc = kerf_precision_input(b, n->inputs[0], &o[1]);

	if (rc == 0)
		rc = make_requantisation(b, n, src.scale, dst.scale, &r);
	if (rc == 0)
		rc = add_pointwise(b, &p, &r, &o[2]);
	drop_requantisation(&r);
	if (rc == 0)
		rc = kerf_lower_output(b, &o[0]);
	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, "conv int8 pointwise", kerf_step_pointwise);
	if (!s)
		return -ENOMEM;
	s->pointwise = p;
	return emit(b, s, o, 4, beyond_limits(n->act));
}

bool kerf_loops_suit(const struct builder *b, const struct kerf_node *n)
{
	return n->residual < 0 && n->n_inputs < 4 && (depthwise_suits(b, n) || pointwise_suits(b, n));
}

int kerf_lower_loops(struct builder *b, const struct kerf_node *n)
{
	return n->groups > 1 ? lower_depthwise(b, n) : lower_pointwise(b, n);
}
