/*
 * Networks of inverted residual blocks (expand 1x1, depthwise, project 1x1):
 * MobileNetV2 (Sandler et al. 2018, table 2) and EfficientNet-B0 (Tan & Le 2019, table 1).
 */
#include "graph/zoo_internal.h"

/* What a branch adds to its residual sum: the mean square grows by GAIN^2 a block. */
#define BRANCH_GAIN 0.7

#define SE_DIVISOR 4 /* of the block's input channels */
/* Logits of the gates stay small: a gate that follows its input closely makes the network's output
 * grow faster than its input, block after block. */
#define SE_MEAN_SQUARE 0.1

struct stage {
	int expand, kernel, stride, out, repeat;
};

struct family {
	enum zoo_act_kind act;
	bool squeeze_excite;
	int head; /* channels before the classifier */
	const struct stage *stages;
	int n_stages;
};

/* x * sigmoid(W2 silu(W1 average(x))) */
static struct zoo_value squeeze_excite(struct zoo *z, int block, struct zoo_value x, int squeezed)
{
	char name[ZOO_NAME_LEN];
	struct zoo_value s = zoo_global_avgpool(z, zoo_block_name(name, block, "se/pool"), x);

	zoo_block_name(name, block, "se/reduce");
	s = zoo_conv(z, name, s,
		&(struct zoo_conv_spec){.out = squeezed, .kernel = 1, .bias = true});
	s = zoo_act(z, name, s, ZOO_SILU);
	zoo_block_name(name, block, "se/expand");
	s = zoo_conv(z, name, s,
		&(struct zoo_conv_spec){
			.out = (int)zoo_channels(z, x), .kernel = 1, .bias = true,
			.mean_square = SE_MEAN_SQUARE});
	s = zoo_act(z, name, s, ZOO_SIGMOID);
	return zoo_mul(z, zoo_block_name(name, block, "se/scale"), x, s);
}

static struct zoo_value inverted_residual(struct zoo *z, const struct family *f, int block,
	struct zoo_value in, const struct stage *s, int stride)
{
	char name[ZOO_NAME_LEN];
	int in_channels = (int)zoo_channels(z, in), wide = in_channels * s->expand;
	bool adds = stride == 1 && in_channels == s->out;
	struct zoo_value x = in;

	if (s->expand != 1)
		x = zoo_conv_bn_act(z, zoo_block_name(name, block, "expand"), x,
			&(struct zoo_conv_spec){.out = wide, .kernel = 1}, f->act);
	x = zoo_conv_bn_act(z, zoo_block_name(name, block, "dw"), x,
		&(struct zoo_conv_spec){.out = wide, .kernel = s->kernel, .stride = stride,
			.pad = s->kernel / 2, .groups = wide},
		f->act);
	if (f->squeeze_excite)
		x = squeeze_excite(z, block, x, KERF_MAX(in_channels / SE_DIVISOR, 1));
	x = zoo_conv_bn(z, zoo_block_name(name, block, "project"), x,
		&(struct zoo_conv_spec){.out = s->out, .kernel = 1}, adds ? BRANCH_GAIN : 1.0);
	return adds ? zoo_add(z, zoo_block_name(name, block, "add"), in, x) : x;
}

static struct zoo_value build(struct zoo *z, const struct family *f)
{
	int block = 0;
	struct zoo_value x = zoo_conv_bn_act(z, "stem/conv", zoo_input(z),
		&(struct zoo_conv_spec){.out = 32, .kernel = 3, .stride = 2, .pad = 1}, f->act);

	for (int i = 0; i < f->n_stages; i++)
		for (int j = 0; j < f->stages[i].repeat; j++)
			x = inverted_residual(z, f, block++, x, &f->stages[i],
				j == 0 ? f->stages[i].stride : 1);
	x = zoo_conv_bn_act(z, "head/conv", x,
		&(struct zoo_conv_spec){.out = f->head, .kernel = 1}, f->act);
	return zoo_classifier(z, x);
}

struct zoo_value zoo_mobilenet_v2(struct zoo *z)
{
	static const struct stage stages[] = {
		{1, 3, 1, 16, 1},
		{6, 3, 2, 24, 2},
		{6, 3, 2, 32, 3},
		{6, 3, 2, 64, 4},
		{6, 3, 1, 96, 3},
		{6, 3, 2, 160, 3},
		{6, 3, 1, 320, 1},
	};
	static const struct family family = {
		ZOO_RELU6, false, 1280, stages, KERF_ARRAY_LEN(stages)};

	return build(z, &family);
}

struct zoo_value zoo_efficientnet_b0(struct zoo *z)
{
	static const struct stage stages[] = {
		{1, 3, 1, 16, 1},
		{6, 3, 2, 24, 2},
		{6, 5, 2, 40, 2},
		{6, 3, 2, 80, 3},
		{6, 5, 1, 112, 3},
		{6, 5, 2, 192, 4},
		{6, 3, 1, 320, 1},
	};
	static const struct family family = {
		ZOO_SILU, true, 1280, stages, KERF_ARRAY_LEN(stages)};

	return build(z, &family);
}
