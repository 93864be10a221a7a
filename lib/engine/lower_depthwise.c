/* Lowering of depthwise convolutions that depthwise_int8.c and depthwise_bf16.c run. */
#include "engine/internal.h"

#include <math.h>
#include <stdlib.h>

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

bool kerf_depthwise_suits(const struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *x = &b->g->tensors[n->inputs[0]], *w = &b->g->tensors[n->inputs[1]];
	const bool bf16 = b->precision == KERF_PRECISION_BF16;

	return b->narrow[b->node] && (bf16 ? kerf_depthwise_bf16_supported() : kerf_depthwise_int8_supported()) &&
		n->groups > 1 && n->groups == x->dims[1] && w->dims[0] == x->dims[1] && n->kernel[0] == n->kernel[1] &&
		(n->kernel[0] == 3 || n->kernel[0] == 5) && n->strides[0] == n->strides[1] && n->strides[0] <= 2 &&
		n->dilations[0] == 1 && n->dilations[1] == 1 && n->residual < 0 && n->n_inputs < 4 &&
		/* another activation's step reads f32 */
		(is_limit(n->act) || b->e->storage[n->output].type == dnnl_f32) &&
		fills_blocks(x->dims[1], bf16 ? KERF_DEPTHWISE_BF16_BLOCK : KERF_DEPTHWISE_INT8_BLOCK);
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

static struct kerf_depthwise describe(
	const struct builder *b, const struct kerf_node *n, struct storage src, struct storage dst)
{
	const struct kerf_tensor *x = &b->g->tensors[n->inputs[0]], *y = &b->g->tensors[n->output];
	const bool is_unsigned = dst.type == dnnl_u8;
	struct kerf_depthwise d = {.n = x->dims[0],
		.h = x->dims[2],
		.w = x->dims[3],
		.c = x->dims[1],
		.out_h = y->dims[2],
		.out_w = y->dims[3],
		.kernel = n->kernel[0],
		.stride = n->strides[0],
		.pads = {n->pads[0], n->pads[1]},
		.from = type_of(src),
		.to = type_of(dst),
		.lo = n->act.kind == KERF_ACT_RELU ? 0 : n->act.kind == KERF_ACT_CLIP ? n->act.lo : -INFINITY,
		.hi = n->act.kind == KERF_ACT_CLIP ? n->act.hi : INFINITY};

	d.least = to_byte(d.lo / dst.scale, is_unsigned);
	d.most = to_byte(d.hi / dst.scale, is_unsigned);
	return d;
}

static const float *bias_of(const struct builder *b, const struct kerf_node *n)
{
	return n->n_inputs > 2 && n->inputs[2] >= 0 ? b->g->tensors[n->inputs[2]].data : NULL;
}

static int add_bf16(struct builder *b, const struct kerf_node *n, const struct kerf_depthwise *d, struct operand *constants)
{
	float *packed = kerf_lower_own_weight(b, kerf_depthwise_bf16_bytes(d), constants);

	if (!packed)
		return -ENOMEM;
	kerf_depthwise_bf16_pack(d, b->g->tensors[n->inputs[1]].data, bias_of(b, n), packed);
	return 0;
}

static int add_int8(struct builder *b, const struct kerf_node *n, const struct kerf_depthwise *d, float src_scale,
	float dst_scale, struct operand *weights, struct operand *vectors)
{
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]];
	const float *bias = bias_of(b, n);
	const size_t blocks = kerf_depthwise_int8_blocks(d->c);
	void *packed = kerf_lower_own_weight(b, blocks * kerf_depthwise_int8_weight_bytes(d->kernel), weights);
	float *both = packed ? kerf_lower_own_weight(b, blocks * 2 * KERF_DEPTHWISE_INT8_BLOCK * sizeof(float), vectors) : NULL;
	int8_t *whole = malloc((size_t)kerf_tensor_elements(w));
	float *scales = malloc((size_t)d->c * sizeof(*scales)), *shifts = malloc((size_t)d->c * sizeof(*shifts));
	const bool complete = both && whole && scales && shifts;

	for (int64_t c = 0; complete && c < d->c; c++) {
		scales[c] = src_scale * kerf_precision_weight_scale(w, c) / dst_scale;
		shifts[c] = bias ? bias[c] / dst_scale : 0;
	}
	if (complete) {
		kerf_precision_quantise(w, whole);
		kerf_depthwise_int8_pack(d, whole, packed);
		kerf_depthwise_int8_pack_vectors(d, whole, scales, shifts, both);
	}
	free(whole);
	free(scales);
	free(shifts);
	return complete ? 0 : kerf_lower_fail(b, -ENOMEM, "out of memory");
}

int kerf_lower_depthwise(struct builder *b, const struct kerf_node *n)
{
	const struct storage src = kerf_precision_read_as(b, n->inputs[0]), dst = b->e->storage[n->output];
	const struct kerf_depthwise d = describe(b, n, src, dst);
	const bool bf16 = d.from == KERF_DEPTHWISE_BF16;
	const int n_operands = bf16 ? 3 : 4;
	struct operand o[4]; /* y, x, and constants together, or weights and vectors */
	int rc = kerf_precision_input(b, n->inputs[0], &o[1]);

	if (rc == 0)
		rc = bf16 ? add_bf16(b, n, &d, &o[2]) : add_int8(b, n, &d, src.scale, dst.scale, &o[2], &o[3]);
	if (rc == 0)
		rc = kerf_lower_output(b, &o[0]);
	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, bf16 ? "conv bf16 depthwise" : "conv int8 depthwise",
		bf16 ? kerf_step_depthwise_bf16 : kerf_step_depthwise_int8);
	if (!s)
		return -ENOMEM;
	s->depthwise = d;
	for (int i = 0; i < n_operands; i++)
		kerf_lower_operand(s, o[i]);
	return kerf_lower_tail(b, o[0], KERF_NONE, is_limit(n->act) ? (struct kerf_act){0} : n->act);
}
