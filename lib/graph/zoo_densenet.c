/* DenseNet-121 (Huang et al. 2017): every layer reads all that came before it in its block; BatchNorm and ReLU come first. */
#include "graph/zoo_internal.h"

#define GROWTH 32
#define SQUEEZE 4 /* a layer's 1x1 convolution has so many times GROWTH channels */

static struct zoo_value bn_relu(struct zoo *z, const char *name, struct zoo_value x)
{
	return zoo_act(z, name, zoo_batchnorm(z, name, x, 1.0), ZOO_RELU);
}

static const char *layer_name(char *buf, int block, int layer, const char *what)
{
	snprintf(buf, ZOO_NAME_LEN, "block%d/layer%d/%s", block, layer, what);
	return buf;
}

static struct zoo_value dense_layer(struct zoo *z, int block, int layer, struct zoo_value x)
{
	char name[ZOO_NAME_LEN];

	x = bn_relu(z, layer_name(name, block, layer, "norm1"), x);
	x = zoo_conv_bn_act(z, layer_name(name, block, layer, "conv1"), x,
		&(struct zoo_conv_spec){.out = SQUEEZE * GROWTH, .kernel = 1}, ZOO_RELU);
	return zoo_conv(z, layer_name(name, block, layer, "conv2"), x,
		&(struct zoo_conv_spec){.out = GROWTH, .kernel = 3, .pad = 1});
}

static struct zoo_value dense_block(struct zoo *z, int block, struct zoo_value x, int layers)
{
	struct zoo_value features[KERF_MAX_INPUTS] = {x};
	char name[ZOO_NAME_LEN];

	for (int i = 0; i < layers; i++) {
		if (i > 0)
			x = zoo_concat(z, layer_name(name, block, i, "concat"), i + 1, features);
		features[i + 1] = dense_layer(z, block, i, x);
	}
	return zoo_concat(z, zoo_block_name(name, block, "concat"), layers + 1, features);
}

struct zoo_value zoo_densenet_121(struct zoo *z, int variant)
{
	(void)variant;
	static const int layers[] = {6, 12, 24, 16};
	const int last = (int)KERF_ARRAY_LEN(layers) - 1;
	char name[ZOO_NAME_LEN];
	struct zoo_value x = zoo_conv_bn_act(z, "stem/conv", zoo_input(z),
		&(struct zoo_conv_spec){.out = 64, .kernel = 7, .stride = 2, .pad = 3}, ZOO_RELU);

	x = zoo_maxpool(z, "stem/pool", x, 3, 2, 1);
	for (int i = 0; i <= last; i++) {
		x = dense_block(z, i, x, layers[i]);
		if (i == last)
			break;
		x = bn_relu(z, zoo_block_name(name, i, "transition/norm"), x);
		x = zoo_conv(z, zoo_block_name(name, i, "transition/conv"), x,
			&(struct zoo_conv_spec){.out = (int)zoo_channels(z, x) / 2, .kernel = 1});
		x = zoo_avgpool(z, zoo_block_name(name, i, "transition/pool"), x, 2, 2, 0);
	}
	return zoo_classifier(z, bn_relu(z, "head/norm", x));
}
