/*
 * zoo_internal: the layers that known architectures are built from.
 *
 *	struct zoo_value x = zoo_input(z);
 *	struct zoo_conv_spec spec = {.out = 32, .kernel = 3, .stride = 2, .pad = 1};
 *	x = zoo_conv(z, "stem/conv", x, &spec);
 *	x = zoo_batchnorm(z, "stem/conv/bn", x, 1.0);
 *	x = zoo_act(z, "stem/conv", x, ZOO_RELU6); // stem/conv/relu6
 *
 * The first error stays in the builder; later calls do nothing, so an architecture reads as a list
 * of layers. With every value travels the mean square that its elements are expected to have; the
 * next layer's weights are drawn so that its output has mean square 1 (He et al. 2015, with the
 * activation's own gain in place of 2), whatever came before. Where no BatchNorm follows, every
 * filter on rectified values sums to 0: else what all pictures have in common, the mean, grows from
 * layer to layer until every picture gives the same answer.
 */
#pragma once

#include "graph/graph.h"

struct zoo {
	struct kerf_graph *g;
	struct kerf_err *err;
	uint64_t seed;
	unsigned batch, size; /* input is [batch, 3, size, size] */
	int rc;               /* 0 or the first -errno */
};

struct zoo_value {
	int id;
	double mean_square; /* expected, over elements and weights */
	bool rectified;     /* comes from ReLU or SiLU: the mean is far above 0 */
};

/* Square kernels unless `across` is set; zero fields: stride 1, pad 0, groups 1, mean_square 1, no bias. */
struct zoo_conv_spec {
	int out, kernel, stride, pad, groups;
	int across, pad_across; /* kernel and pad along a row, where they differ */
	double mean_square; /* that the output shall have */
	bool bias;
};

enum zoo_act_kind { ZOO_RELU, ZOO_RELU6, ZOO_SILU, ZOO_SIGMOID, ZOO_HARD_SWISH, ZOO_HARD_SIGMOID };

struct zoo_value zoo_input(struct zoo *z);
struct zoo_value zoo_conv(struct zoo *z, const char *name, struct zoo_value x,
	const struct zoo_conv_spec *spec);
/* gain: root mean square of the scale; the node undoes what zoo_conv's mean_square asked for. */
struct zoo_value zoo_batchnorm(struct zoo *z, const char *name, struct zoo_value x, double gain);
/* The node is NAME/relu, NAME/sigmoid, NAME/hardswish, ...; SiLU is x * sigmoid(x), as files have it. */
struct zoo_value zoo_act(struct zoo *z, const char *name, struct zoo_value x,
	enum zoo_act_kind kind);
struct zoo_value zoo_add(struct zoo *z, const char *name, struct zoo_value a, struct zoo_value b);
struct zoo_value zoo_mul(struct zoo *z, const char *name, struct zoo_value a, struct zoo_value b);
struct zoo_value zoo_concat(struct zoo *z, const char *name, int n, const struct zoo_value *x);
struct zoo_value zoo_maxpool(struct zoo *z, const char *name, struct zoo_value x, int kernel,
	int stride, int pad);
/* Windows that do not fit count as well (ceil_mode). */
struct zoo_value zoo_maxpool_ceil(struct zoo *z, const char *name, struct zoo_value x, int kernel, int stride);
/* What is padded counts. */
struct zoo_value zoo_avgpool(struct zoo *z, const char *name, struct zoo_value x, int kernel, int stride, int pad);
struct zoo_value zoo_global_avgpool(struct zoo *z, const char *name, struct zoo_value x);
struct zoo_value zoo_flatten(struct zoo *z, const char *name, struct zoo_value x);
struct zoo_value zoo_gemm(struct zoo *z, const char *name, struct zoo_value x, int out,
	double mean_square);
struct zoo_value zoo_softmax(struct zoo *z, const char *name, struct zoo_value x);

int64_t zoo_channels(const struct zoo *z, struct zoo_value x);

/* Convolution, BatchNorm and activation: NAME, NAME/bn, NAME/<act>. */
struct zoo_value zoo_conv_bn(struct zoo *z, const char *name, struct zoo_value x,
	const struct zoo_conv_spec *spec, double gain);
struct zoo_value zoo_conv_bn_act(struct zoo *z, const char *name, struct zoo_value x,
	const struct zoo_conv_spec *spec, enum zoo_act_kind kind);
/* x * gate(W2 act(W1 average(x))): block<i>/se/pool, reduce, expand, scale. */
struct zoo_value zoo_squeeze_excite(struct zoo *z, int block, struct zoo_value x, int squeezed, enum zoo_act_kind act,
	enum zoo_act_kind gate);
/* GEMM to 1000 classes, softmax: classifier, classifier/softmax. */
struct zoo_value zoo_logits(struct zoo *z, struct zoo_value x);
/* The same behind a global average: head/pool, head/flatten. */
struct zoo_value zoo_classifier(struct zoo *z, struct zoo_value x);

/* "block<i>/<layer>", in a buffer of the caller's. */
#define ZOO_NAME_LEN 64
const char *zoo_block_name(char *buf, int block, const char *layer);

/* variant: which of the family, from the smallest; of no meaning where there is one. */
struct zoo_value zoo_mobilenet_v1(struct zoo *z, int variant);
struct zoo_value zoo_mobilenet_v2(struct zoo *z, int variant);
struct zoo_value zoo_mobilenet_v3(struct zoo *z, int variant);
struct zoo_value zoo_efficientnet_v1(struct zoo *z, int variant);
struct zoo_value zoo_efficientnet_v2_b(struct zoo *z, int variant);
struct zoo_value zoo_efficientnet_v2(struct zoo *z, int variant);
struct zoo_value zoo_resnet(struct zoo *z, int variant);
struct zoo_value zoo_regnet_y_400mf(struct zoo *z, int variant);
struct zoo_value zoo_densenet_121(struct zoo *z, int variant);
struct zoo_value zoo_googlenet(struct zoo *z, int variant);
struct zoo_value zoo_inception_v3(struct zoo *z, int variant);
struct zoo_value zoo_squeezenet_1_1(struct zoo *z, int variant);
struct zoo_value zoo_vgg(struct zoo *z, int variant);

/* Measures mean and variance of every BatchNorm on seeded side x side pictures. 0 or -ENOMEM. */
int zoo_calibrate(struct zoo *z, unsigned side);

/* kerf_zoo_build at another picture size, 0 = its own: the same layers, so small pictures make fast tests. */
struct kerf_graph *zoo_build_sized(const char *name, const struct kerf_zoo_options *options,
	unsigned size, struct kerf_err *err);
