/*
 * Networks of inverted residual blocks (expand 1x1, depthwise, project 1x1): MobileNetV2 (Sandler et al. 2018, table 2),
 * MobileNetV3 (Howard et al. 2019, tables 1 and 2), EfficientNet V1 (Tan & Le 2019, table 1, and the compound scaling of
 * its authors' code) and V2 (Tan & Le 2021, table 4, whose first stages are fused); and MobileNetV1 (Howard et al. 2017,
 * table 1), which has no residual.
 */
#include "graph/zoo_internal.h"

#include <math.h>

/* What a branch adds to its residual sum: the mean square grows by GAIN^2 a block. */
#define BRANCH_GAIN 0.7

#define SE_DIVISOR 4 /* of the block's input channels, or in MobileNetV3 of its wide ones */
/* Logits of the gates stay small: a gate that follows its input closely makes the network's output
 * grow faster than its input, block after block. */

#define CHANNEL_STEP 8
#define MAX_STAGES 7

/* One block. fused: one dense convolution does what expand and depthwise do. */
struct block {
	int kernel, stride, wide, out;
	int squeezed; /* channels within squeeze-and-excite; 0 = none */
	bool fused, hard;  /* hard: squeeze-and-excite with ReLU and hard sigmoid */
	enum zoo_act_kind act;
};

static struct zoo_value inverted_residual(struct zoo *z, int n, struct zoo_value in, const struct block *b)
{
	char name[ZOO_NAME_LEN];
	const int in_channels = (int)zoo_channels(z, in);
	const bool adds = b->stride == 1 && in_channels == b->out, one = b->fused && b->wide == in_channels;
	const struct zoo_conv_spec dense = {.out = one ? b->out : b->wide, .kernel = b->kernel, .stride = b->stride,
		.pad = b->kernel / 2};
	struct zoo_value x = in;

	if (b->fused) {
		x = zoo_conv_bn_act(z, zoo_block_name(name, n, one ? "conv" : "expand"), x, &dense, b->act);
	} else {
		if (b->wide != in_channels)
			x = zoo_conv_bn_act(z, zoo_block_name(name, n, "expand"), x,
				&(struct zoo_conv_spec){.out = b->wide, .kernel = 1}, b->act);
		x = zoo_conv_bn_act(z, zoo_block_name(name, n, "dw"), x,
			&(struct zoo_conv_spec){.out = b->wide, .kernel = b->kernel, .stride = b->stride,
				.pad = b->kernel / 2, .groups = b->wide},
			b->act);
	}
	if (b->squeezed)
		x = zoo_squeeze_excite(z, n, x, b->squeezed, b->hard ? ZOO_RELU : ZOO_SILU, b->hard ? ZOO_HARD_SIGMOID : ZOO_SIGMOID);
	if (!one)
		x = zoo_conv_bn(z, zoo_block_name(name, n, "project"), x,
			&(struct zoo_conv_spec){.out = b->out, .kernel = 1}, adds ? BRANCH_GAIN : 1.0);
	return adds ? zoo_add(z, zoo_block_name(name, n, "add"), in, x) : x;
}

static struct zoo_value stem(struct zoo *z, int channels, enum zoo_act_kind act)
{
	return zoo_conv_bn_act(z, "stem/conv", zoo_input(z),
		&(struct zoo_conv_spec){.out = channels, .kernel = 3, .stride = 2, .pad = 1}, act);
}

static struct zoo_value head(struct zoo *z, struct zoo_value x, int channels, enum zoo_act_kind act)
{
	return zoo_conv_bn_act(z, "head/conv", x, &(struct zoo_conv_spec){.out = channels, .kernel = 1}, act);
}

/* ---- stages of equal blocks ---- */

struct stage {
	int expand, kernel, stride, out, repeat;
	bool fused, squeeze_excite;
};

struct family {
	enum zoo_act_kind act;
	int stem, head; /* channels at either end */
	struct stage stages[MAX_STAGES];
};

static struct zoo_value build(struct zoo *z, const struct family *f)
{
	struct zoo_value x = stem(z, f->stem, f->act);
	int n = 0;

	for (int i = 0; i < MAX_STAGES && f->stages[i].repeat; i++)
		for (int j = 0; j < f->stages[i].repeat; j++) {
			const struct stage *s = &f->stages[i];
			const int in = (int)zoo_channels(z, x);

			x = inverted_residual(z, n++, x,
				&(struct block){.kernel = s->kernel,
					.stride = j == 0 ? s->stride : 1,
					.wide = in * s->expand,
					.out = s->out,
					.squeezed = s->squeeze_excite ? KERF_MAX(in / SE_DIVISOR, 1) : 0,
					.fused = s->fused,
					.act = f->act});
		}
	return zoo_classifier(z, head(z, x, f->head, f->act));
}

struct zoo_value zoo_mobilenet_v2(struct zoo *z, int variant)
{
	static const struct family family = {ZOO_RELU6, 32, 1280,
		{{1, 3, 1, 16, 1}, {6, 3, 2, 24, 2}, {6, 3, 2, 32, 3}, {6, 3, 2, 64, 4}, {6, 3, 1, 96, 3},
			{6, 3, 2, 160, 3}, {6, 3, 1, 320, 1}}};

	(void)variant;
	return build(z, &family);
}

/* ---- EfficientNet: one family scaled by width and depth ---- */

/* To a multiple of 8. */
static int nearest_channels(double wanted)
{
	return KERF_MAX((int)(wanted + CHANNEL_STEP / 2.) / CHANNEL_STEP * CHANNEL_STEP, CHANNEL_STEP);
}

/* Likewise, but never more than a tenth less. */
static int enough_channels(double wanted)
{
	const int n = nearest_channels(wanted);

	return n < 0.9 * wanted ? n + CHANNEL_STEP : n;
}

static struct zoo_value build_scaled(struct zoo *z, const struct family *base, double width, double depth,
	int (*channels)(double wanted))
{
	struct family f = *base;

	f.stem = channels(width * f.stem);
	f.head = channels(width * f.head);
	for (int i = 0; i < MAX_STAGES; i++) {
		f.stages[i].out = channels(width * f.stages[i].out);
		f.stages[i].repeat = (int)ceil(depth * f.stages[i].repeat - 1e-9);
	}
	return build(z, &f);
}

struct zoo_value zoo_efficientnet_v1(struct zoo *z, int variant)
{
	static const struct { double width, depth; } scales[] = {{1, 1}, {1, 1.1}, {1.1, 1.2}, {1.2, 1.4}, {1.4, 1.8},
		{1.6, 2.2}, {1.8, 2.6}, {2, 3.1}};
	static const struct family b0 = {ZOO_SILU, 32, 1280,
		{{1, 3, 1, 16, 1, false, true}, {6, 3, 2, 24, 2, false, true}, {6, 5, 2, 40, 2, false, true},
			{6, 3, 2, 80, 3, false, true}, {6, 5, 1, 112, 3, false, true},
			{6, 5, 2, 192, 4, false, true}, {6, 3, 1, 320, 1, false, true}}};

	return build_scaled(z, &b0, scales[variant].width, scales[variant].depth, enough_channels);
}

struct zoo_value zoo_efficientnet_v2_b(struct zoo *z, int variant)
{
	static const struct { double width, depth; } scales[] = {{1, 1}, {1, 1.1}, {1.1, 1.2}, {1.2, 1.4}};
	static const struct family b0 = {ZOO_SILU, 32, 1280,
		{{1, 3, 1, 16, 1, true, false}, {4, 3, 2, 32, 2, true, false}, {4, 3, 2, 48, 2, true, false},
			{4, 3, 2, 96, 3, false, true}, {6, 3, 1, 112, 5, false, true},
			{6, 3, 2, 192, 8, false, true}}};

	return build_scaled(z, &b0, scales[variant].width, scales[variant].depth, nearest_channels);
}

struct zoo_value zoo_efficientnet_v2(struct zoo *z, int variant)
{
	static const struct family sizes[] = {
		{ZOO_SILU, 24, 1280,
			{{1, 3, 1, 24, 2, true, false}, {4, 3, 2, 48, 4, true, false}, {4, 3, 2, 64, 4, true, false},
				{4, 3, 2, 128, 6, false, true}, {6, 3, 1, 160, 9, false, true},
				{6, 3, 2, 256, 15, false, true}}},
		{ZOO_SILU, 24, 1280,
			{{1, 3, 1, 24, 3, true, false}, {4, 3, 2, 48, 5, true, false}, {4, 3, 2, 80, 5, true, false},
				{4, 3, 2, 160, 7, false, true}, {6, 3, 1, 176, 14, false, true},
				{6, 3, 2, 304, 18, false, true}, {6, 3, 1, 512, 5, false, true}}},
		{ZOO_SILU, 32, 1280,
			{{1, 3, 1, 32, 4, true, false}, {4, 3, 2, 64, 7, true, false}, {4, 3, 2, 96, 7, true, false},
				{4, 3, 2, 192, 10, false, true}, {6, 3, 1, 224, 19, false, true},
				{6, 3, 2, 384, 25, false, true}, {6, 3, 1, 640, 7, false, true}}},
	};

	return build(z, &sizes[variant]);
}

/* ---- MobileNetV3: block by block ---- */

#define R ZOO_RELU
#define H ZOO_HARD_SWISH

struct v3 {
	int kernel, wide, out;
	bool squeeze_excite;
	enum zoo_act_kind act;
	int stride;
};

static struct zoo_value build_v3(struct zoo *z, const struct v3 *blocks, int n_blocks, int last, int features)
{
	struct zoo_value x = stem(z, 16, H);

	for (int i = 0; i < n_blocks; i++)
		x = inverted_residual(z, i, x,
			&(struct block){.kernel = blocks[i].kernel, .stride = blocks[i].stride,
				.wide = blocks[i].wide, .out = blocks[i].out, .hard = true,
				.squeezed = blocks[i].squeeze_excite
					? enough_channels((double)blocks[i].wide / SE_DIVISOR) : 0,
				.act = blocks[i].act});
	x = head(z, x, last, H);
	x = zoo_flatten(z, "head/flatten", zoo_global_avgpool(z, "head/pool", x));
	x = zoo_act(z, "head/features", zoo_gemm(z, "head/features", x, features, 1.0), H);
	return zoo_logits(z, x);
}

struct zoo_value zoo_mobilenet_v3(struct zoo *z, int variant)
{
	static const struct v3 small[] = {{3, 16, 16, true, R, 2}, {3, 72, 24, false, R, 2}, {3, 88, 24, false, R, 1},
		{5, 96, 40, true, H, 2}, {5, 240, 40, true, H, 1}, {5, 240, 40, true, H, 1}, {5, 120, 48, true, H, 1},
		{5, 144, 48, true, H, 1}, {5, 288, 96, true, H, 2}, {5, 576, 96, true, H, 1}, {5, 576, 96, true, H, 1}};
	static const struct v3 large[] = {{3, 16, 16, false, R, 1}, {3, 64, 24, false, R, 2}, {3, 72, 24, false, R, 1},
		{5, 72, 40, true, R, 2}, {5, 120, 40, true, R, 1}, {5, 120, 40, true, R, 1}, {3, 240, 80, false, H, 2},
		{3, 200, 80, false, H, 1}, {3, 184, 80, false, H, 1}, {3, 184, 80, false, H, 1}, {3, 480, 112, true, H, 1},
		{3, 672, 112, true, H, 1}, {5, 672, 160, true, H, 2}, {5, 960, 160, true, H, 1}, {5, 960, 160, true, H, 1}};

	return variant ? build_v3(z, large, KERF_ARRAY_LEN(large), 960, 1280)
		       : build_v3(z, small, KERF_ARRAY_LEN(small), 576, 1024);
}

/* ---- MobileNetV1: depthwise and 1x1 in turn ---- */

struct zoo_value zoo_mobilenet_v1(struct zoo *z, int variant)
{
	static const struct { int out, stride; } blocks[] = {{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {512, 2},
		{512, 1}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}};
	struct zoo_value x = stem(z, 32, ZOO_RELU6);
	char name[ZOO_NAME_LEN];

	(void)variant;
	for (int i = 0; i < (int)KERF_ARRAY_LEN(blocks); i++) {
		const int in = (int)zoo_channels(z, x);

		x = zoo_conv_bn_act(z, zoo_block_name(name, i, "dw"), x,
			&(struct zoo_conv_spec){.out = in, .kernel = 3, .stride = blocks[i].stride, .pad = 1,
				.groups = in},
			ZOO_RELU6);
		x = zoo_conv_bn_act(z, zoo_block_name(name, i, "project"), x,
			&(struct zoo_conv_spec){.out = blocks[i].out, .kernel = 1}, ZOO_RELU6);
	}
	return zoo_classifier(z, x);
}
