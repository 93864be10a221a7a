/* RegNet-Y-400MF (Radosavovic et al. 2020): bottlenecks of one width with groups of 8 channels and squeeze-and-excite. */
#include "graph/zoo_internal.h"

#define GROUP 8

/* What a branch adds to its residual sum: the mean square grows by GAIN^2 a block. */
#define BRANCH_GAIN 0.7

/* The squeeze is a quarter of the block's input. */
static struct zoo_value bottleneck(struct zoo *z, int block, struct zoo_value in, int width, int stride)
{
	char name[ZOO_NAME_LEN];
	const int in_channels = (int)zoo_channels(z, in);
	struct zoo_value shortcut = in;
	struct zoo_value x = zoo_conv_bn_act(z, zoo_block_name(name, block, "conv1"), in,
		&(struct zoo_conv_spec){.out = width, .kernel = 1}, ZOO_RELU);

	x = zoo_conv_bn_act(z, zoo_block_name(name, block, "conv2"), x,
		&(struct zoo_conv_spec){
			.out = width, .kernel = 3, .stride = stride, .pad = 1, .groups = width / GROUP},
		ZOO_RELU);
	x = zoo_squeeze_excite(z, block, x, in_channels / 4, ZOO_RELU, ZOO_SIGMOID);
	x = zoo_conv_bn(z, zoo_block_name(name, block, "conv3"), x,
		&(struct zoo_conv_spec){.out = width, .kernel = 1}, BRANCH_GAIN);
	if (stride != 1 || in_channels != width)
		shortcut = zoo_conv_bn(z, zoo_block_name(name, block, "downsample"), in,
			&(struct zoo_conv_spec){.out = width, .kernel = 1, .stride = stride}, 1.0);
	zoo_block_name(name, block, "add");
	return zoo_act(z, name, zoo_add(z, name, x, shortcut), ZOO_RELU);
}

struct zoo_value zoo_regnet_y_400mf(struct zoo *z, int variant)
{
	(void)variant;
	static const struct {
		int width, repeat;
	} stages[] = {{48, 1}, {104, 3}, {208, 6}, {440, 6}};
	int block = 0;
	struct zoo_value x = zoo_conv_bn_act(z, "stem/conv", zoo_input(z),
		&(struct zoo_conv_spec){.out = 32, .kernel = 3, .stride = 2, .pad = 1}, ZOO_RELU);

	for (size_t i = 0; i < KERF_ARRAY_LEN(stages); i++)
		for (int j = 0; j < stages[i].repeat; j++)
			x = bottleneck(z, block++, x, stages[i].width, j == 0 ? 2 : 1);
	return zoo_classifier(z, x);
}
