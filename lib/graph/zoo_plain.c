/*
 * Networks without BatchNorm and sums: SqueezeNet 1.1 (Iandola et al. 2016, the authors' later
 * version) and VGG-16 and VGG-19 (Simonyan & Zisserman 2015, configurations D and E, with Keras' layer names).
 */
#include "graph/zoo_internal.h"

#define CLASSES 1000
#define LOGIT_MEAN_SQUARE 4.0
#define MAP_LOGIT_MEAN_SQUARE 64.0 /* averaged over a whole map afterwards, deviation is near 1 */

static struct zoo_value conv_relu(struct zoo *z, const char *name, struct zoo_value x,
	const struct zoo_conv_spec *spec)
{
	return zoo_act(z, name, zoo_conv(z, name, x, spec), ZOO_RELU);
}

/* Squeeze 1x1, then expand by 1x1 and by 3x3 side by side. */
static struct zoo_value fire(struct zoo *z, int block, struct zoo_value x, int squeezed,
	int expanded)
{
	char name[ZOO_NAME_LEN];

	x = conv_relu(z, zoo_block_name(name, block, "squeeze"), x,
		&(struct zoo_conv_spec){.out = squeezed, .kernel = 1, .bias = true});
	struct zoo_value sides[2];
	sides[0] = conv_relu(z, zoo_block_name(name, block, "expand1x1"), x,
		&(struct zoo_conv_spec){.out = expanded, .kernel = 1, .bias = true});
	sides[1] = conv_relu(z, zoo_block_name(name, block, "expand3x3"), x,
		&(struct zoo_conv_spec){.out = expanded, .kernel = 3, .pad = 1, .bias = true});
	return zoo_concat(z, zoo_block_name(name, block, "concat"), 2, sides);
}

struct zoo_value zoo_squeezenet_1_1(struct zoo *z, int variant)
{
	(void)variant;
	static const struct {
		int squeezed, expanded;
		bool pool; /* 3x3, stride 2, closes the block */
	} fires[] = {{16, 64, false}, {16, 64, true}, {32, 128, false}, {32, 128, true},
		{48, 192, false}, {48, 192, false}, {64, 256, false}, {64, 256, false}};
	char name[ZOO_NAME_LEN];
	struct zoo_value x = conv_relu(z, "stem/conv", zoo_input(z),
		&(struct zoo_conv_spec){.out = 64, .kernel = 3, .stride = 2, .bias = true});

	x = zoo_maxpool(z, "stem/pool", x, 3, 2, 0);
	for (int i = 0; i < (int)KERF_ARRAY_LEN(fires); i++) {
		x = fire(z, i, x, fires[i].squeezed, fires[i].expanded);
		if (fires[i].pool)
			x = zoo_maxpool(z, zoo_block_name(name, i, "pool"), x, 3, 2, 0);
	}
	x = conv_relu(z, "classifier", x,
		&(struct zoo_conv_spec){.out = CLASSES, .kernel = 1, .bias = true,
			.mean_square = MAP_LOGIT_MEAN_SQUARE});
	x = zoo_global_avgpool(z, "classifier/pool", x);
	x = zoo_flatten(z, "classifier/flatten", x);
	return zoo_softmax(z, "classifier/softmax", x);
}

/* Variant 0: 16 layers, 1: 19. */
struct zoo_value zoo_vgg(struct zoo *z, int variant)
{
	static const struct {
		int convs, out;
	} blocks[][5] = {{{2, 64}, {2, 128}, {3, 256}, {3, 512}, {3, 512}},
		{{2, 64}, {2, 128}, {4, 256}, {4, 512}, {4, 512}}};
	char name[ZOO_NAME_LEN];
	struct zoo_value x = zoo_input(z);

	for (int i = 0; i < (int)KERF_ARRAY_LEN(blocks[0]); i++) {
		for (int j = 0; j < blocks[variant][i].convs; j++) {
			snprintf(name, sizeof(name), "block%d_conv%d", i + 1, j + 1);
			x = conv_relu(z, name, x,
				&(struct zoo_conv_spec){.out = blocks[variant][i].out, .kernel = 3, .pad = 1,
					.bias = true});
		}
		snprintf(name, sizeof(name), "block%d_pool", i + 1);
		x = zoo_maxpool(z, name, x, 2, 2, 0);
	}
	x = zoo_flatten(z, "flatten", x);
	x = zoo_act(z, "fc1", zoo_gemm(z, "fc1", x, 4096, 1.0), ZOO_RELU);
	x = zoo_act(z, "fc2", zoo_gemm(z, "fc2", x, 4096, 1.0), ZOO_RELU);
	x = zoo_gemm(z, "predictions", x, CLASSES, LOGIT_MEAN_SQUARE);
	return zoo_softmax(z, "predictions/softmax", x);
}
