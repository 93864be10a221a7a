/* ResNet-18 and ResNet-50 (He et al. 2016), the latter in version 1.5: a stage's stride is in its 3x3 convolution. */
#include "graph/zoo_internal.h"

#define EXPANSION 4

/* What a branch adds to its residual sum: the mean square grows by GAIN^2 a block. */
#define BRANCH_GAIN 0.7

static struct zoo_value bottleneck(struct zoo *z, int block, struct zoo_value in, int width,
	int stride)
{
	char name[ZOO_NAME_LEN];
	int out = width * EXPANSION;
	struct zoo_value shortcut = in;
	struct zoo_value x = zoo_conv_bn_act(z, zoo_block_name(name, block, "conv1"), in,
		&(struct zoo_conv_spec){.out = width, .kernel = 1}, ZOO_RELU);

	x = zoo_conv_bn_act(z, zoo_block_name(name, block, "conv2"), x,
		&(struct zoo_conv_spec){.out = width, .kernel = 3, .stride = stride, .pad = 1},
		ZOO_RELU);
	x = zoo_conv_bn(z, zoo_block_name(name, block, "conv3"), x,
		&(struct zoo_conv_spec){.out = out, .kernel = 1}, BRANCH_GAIN);
	if (stride != 1 || zoo_channels(z, in) != out)
		shortcut = zoo_conv_bn(z, zoo_block_name(name, block, "downsample"), in,
			&(struct zoo_conv_spec){.out = out, .kernel = 1, .stride = stride}, 1.0);
	zoo_block_name(name, block, "add");
	return zoo_act(z, name, zoo_add(z, name, x, shortcut), ZOO_RELU);
}

/* Two 3x3 convolutions. */
static struct zoo_value basic(struct zoo *z, int block, struct zoo_value in, int width, int stride)
{
	char name[ZOO_NAME_LEN];
	struct zoo_value shortcut = in;
	struct zoo_value x = zoo_conv_bn_act(z, zoo_block_name(name, block, "conv1"), in,
		&(struct zoo_conv_spec){.out = width, .kernel = 3, .stride = stride, .pad = 1}, ZOO_RELU);

	x = zoo_conv_bn(z, zoo_block_name(name, block, "conv2"), x,
		&(struct zoo_conv_spec){.out = width, .kernel = 3, .pad = 1}, BRANCH_GAIN);
	if (stride != 1 || zoo_channels(z, in) != width)
		shortcut = zoo_conv_bn(z, zoo_block_name(name, block, "downsample"), in,
			&(struct zoo_conv_spec){.out = width, .kernel = 1, .stride = stride}, 1.0);
	zoo_block_name(name, block, "add");
	return zoo_act(z, name, zoo_add(z, name, x, shortcut), ZOO_RELU);
}

/* Variant 0: 18 layers, 1: 50. */
struct zoo_value zoo_resnet(struct zoo *z, int variant)
{
	static const struct {
		int width, stride, repeat[2];
	} stages[] = {{64, 1, {2, 3}}, {128, 2, {2, 4}}, {256, 2, {2, 6}}, {512, 2, {2, 3}}};
	int block = 0;
	struct zoo_value x = zoo_conv_bn_act(z, "stem/conv", zoo_input(z),
		&(struct zoo_conv_spec){.out = 64, .kernel = 7, .stride = 2, .pad = 3}, ZOO_RELU);

	x = zoo_maxpool(z, "stem/pool", x, 3, 2, 1);
	for (size_t i = 0; i < KERF_ARRAY_LEN(stages); i++)
		for (int j = 0; j < stages[i].repeat[variant]; j++)
			x = (variant ? bottleneck : basic)(
				z, block++, x, stages[i].width, j == 0 ? stages[i].stride : 1);
	return zoo_classifier(z, x);
}
