/*
 * GoogLeNet (Szegedy et al. 2015) and Inception-v3 (Szegedy et al. 2016) as torchvision has them: every convolution with
 * BatchNorm and ReLU, GoogLeNet's 5x5 convolutions as 3x3, no auxiliary classifiers.
 */
#include "graph/zoo_internal.h"

/* One convolution of a branch, along the branch; the fields of zoo_conv_spec. */
struct link {
	int out, kernel, across, stride, pad, pad_across;
};

enum branch_pool { NO_POOL, MAX_POOL, AVERAGE_POOL };

#define MAX_LINKS 5

struct branch {
	enum branch_pool pool; /* 3x3, before the first convolution */
	int pool_stride;       /* 2 = without pads */
	struct link links[MAX_LINKS];
	int ends[2]; /* convolutions side by side at the end: 1x3 and 3x1 with so many channels each */
};

static struct zoo_value conv(struct zoo *z, int block, int branch, const char *layer, struct zoo_value x, const struct link *l)
{
	char name[ZOO_NAME_LEN], full[ZOO_NAME_LEN];

	snprintf(full, sizeof(full), "branch%d/%s", branch, layer);
	return zoo_conv_bn_act(z, zoo_block_name(name, block, full), x,
		&(struct zoo_conv_spec){.out = l->out, .kernel = l->kernel, .across = l->across, .stride = l->stride,
			.pad = l->pad, .pad_across = l->pad_across},
		ZOO_RELU);
}

/* Adds the branch's values to `to`; returns how many. */
static int run_branch(struct zoo *z, int block, int branch, struct zoo_value x, const struct branch *b, struct zoo_value *to)
{
	char name[ZOO_NAME_LEN], layer[32];

	snprintf(layer, sizeof(layer), "branch%d/pool", branch);
	zoo_block_name(name, block, layer);
	if (b->pool == MAX_POOL)
		x = zoo_maxpool(z, name, x, 3, b->pool_stride, b->pool_stride == 1);
	else if (b->pool == AVERAGE_POOL)
		x = zoo_avgpool(z, name, x, 3, 1, 1);
	for (int i = 0; i < MAX_LINKS && b->links[i].out; i++) {
		snprintf(layer, sizeof(layer), "conv%d", i);
		x = conv(z, block, branch, layer, x, &b->links[i]);
	}
	if (!b->ends[0]) {
		to[0] = x;
		return 1;
	}
	to[0] = conv(z, block, branch, "row", x, &(struct link){b->ends[0], 1, 3, 1, 0, 1});
	to[1] = conv(z, block, branch, "column", x, &(struct link){b->ends[1], 3, 1, 1, 1, 0});
	return 2;
}

static struct zoo_value mix(struct zoo *z, int block, struct zoo_value x, int n_branches, const struct branch *branches)
{
	struct zoo_value parts[KERF_MAX_INPUTS];
	char name[ZOO_NAME_LEN];
	int n = 0;

	for (int i = 0; i < n_branches; i++)
		n += run_branch(z, block, i, x, &branches[i], &parts[n]);
	return zoo_concat(z, zoo_block_name(name, block, "concat"), n, parts);
}

/* ---- GoogLeNet ---- */

struct zoo_value zoo_googlenet(struct zoo *z, int variant)
{
	(void)variant;
	static const struct {
		int one, squeeze3, three, squeeze5, five, pool;
		int pool_after; /* kernel of a maximum with stride 2 */
	} blocks[] = {{64, 96, 128, 16, 32, 32, 0}, {128, 128, 192, 32, 96, 64, 3}, {192, 96, 208, 16, 48, 64, 0},
		{160, 112, 224, 24, 64, 64, 0}, {128, 128, 256, 24, 64, 64, 0}, {112, 144, 288, 32, 64, 64, 0},
		{256, 160, 320, 32, 128, 128, 2}, {256, 160, 320, 32, 128, 128, 0}, {384, 192, 384, 48, 128, 128, 0}};
	char name[ZOO_NAME_LEN];
	struct zoo_value x = zoo_conv_bn_act(z, "stem/conv1", zoo_input(z),
		&(struct zoo_conv_spec){.out = 64, .kernel = 7, .stride = 2, .pad = 3}, ZOO_RELU);

	x = zoo_maxpool_ceil(z, "stem/pool1", x, 3, 2);
	x = zoo_conv_bn_act(z, "stem/conv2", x, &(struct zoo_conv_spec){.out = 64, .kernel = 1}, ZOO_RELU);
	x = zoo_conv_bn_act(z, "stem/conv3", x, &(struct zoo_conv_spec){.out = 192, .kernel = 3, .pad = 1}, ZOO_RELU);
	x = zoo_maxpool_ceil(z, "stem/pool2", x, 3, 2);
	for (int i = 0; i < (int)KERF_ARRAY_LEN(blocks); i++) {
		const struct branch branches[] = {
			{.links = {{blocks[i].one, 1}}},
			{.links = {{blocks[i].squeeze3, 1}, {blocks[i].three, 3, .pad = 1}}},
			{.links = {{blocks[i].squeeze5, 1}, {blocks[i].five, 3, .pad = 1}}},
			{MAX_POOL, 1, {{blocks[i].pool, 1}}, {0}},
		};

		x = mix(z, i, x, KERF_ARRAY_LEN(branches), branches);
		if (blocks[i].pool_after)
			x = zoo_maxpool_ceil(z, zoo_block_name(name, i, "pool"), x, blocks[i].pool_after, 2);
	}
	return zoo_classifier(z, x);
}

/* ---- Inception-v3 ---- */

#define ROW(out) {out, 1, 7, 1, 0, 3}
#define COLUMN(out) {out, 7, 1, 1, 3, 0}

static struct zoo_value inception_a(struct zoo *z, int block, struct zoo_value x, int pooled)
{
	return mix(z, block, x, 4,
		(const struct branch[]){
			{.links = {{64, 1}}},
			{.links = {{48, 1}, {64, 5, .pad = 2}}},
			{.links = {{64, 1}, {96, 3, .pad = 1}, {96, 3, .pad = 1}}},
			{AVERAGE_POOL, 1, {{pooled, 1}}, {0}},
		});
}

static struct zoo_value inception_b(struct zoo *z, int block, struct zoo_value x)
{
	return mix(z, block, x, 3,
		(const struct branch[]){
			{.links = {{384, 3, .stride = 2}}},
			{.links = {{64, 1}, {96, 3, .pad = 1}, {96, 3, .stride = 2}}},
			{.pool = MAX_POOL, .pool_stride = 2},
		});
}

static struct zoo_value inception_c(struct zoo *z, int block, struct zoo_value x, int width)
{
	return mix(z, block, x, 4,
		(const struct branch[]){
			{.links = {{192, 1}}},
			{.links = {{width, 1}, ROW(width), COLUMN(192)}},
			{.links = {{width, 1}, COLUMN(width), ROW(width), COLUMN(width), ROW(192)}},
			{AVERAGE_POOL, 1, {{192, 1}}, {0}},
		});
}

static struct zoo_value inception_d(struct zoo *z, int block, struct zoo_value x)
{
	return mix(z, block, x, 3,
		(const struct branch[]){
			{.links = {{192, 1}, {320, 3, .stride = 2}}},
			{.links = {{192, 1}, ROW(192), COLUMN(192), {192, 3, .stride = 2}}},
			{.pool = MAX_POOL, .pool_stride = 2},
		});
}

static struct zoo_value inception_e(struct zoo *z, int block, struct zoo_value x)
{
	return mix(z, block, x, 4,
		(const struct branch[]){
			{.links = {{320, 1}}},
			{.links = {{384, 1}}, .ends = {384, 384}},
			{.links = {{448, 1}, {384, 3, .pad = 1}}, .ends = {384, 384}},
			{AVERAGE_POOL, 1, {{192, 1}}, {0}},
		});
}

struct zoo_value zoo_inception_v3(struct zoo *z, int variant)
{
	(void)variant;
	static const int pooled[] = {32, 64, 64}, widths[] = {128, 160, 160, 192};
	static const struct zoo_conv_spec stem[] = {{.out = 32, .kernel = 3, .stride = 2}, {.out = 32, .kernel = 3},
		{.out = 64, .kernel = 3, .pad = 1}, {.out = 80, .kernel = 1}, {.out = 192, .kernel = 3}};
	char name[ZOO_NAME_LEN];
	int block = 0;
	struct zoo_value x = zoo_input(z);

	for (int i = 0; i < (int)KERF_ARRAY_LEN(stem); i++) {
		snprintf(name, sizeof(name), "stem/conv%d", i + 1);
		x = zoo_conv_bn_act(z, name, x, &stem[i], ZOO_RELU);
		snprintf(name, sizeof(name), "stem/pool%d", i + 1);
		if (i == 2 || i == 4)
			x = zoo_maxpool(z, name, x, 3, 2, 0);
	}
	for (size_t i = 0; i < KERF_ARRAY_LEN(pooled); i++)
		x = inception_a(z, block++, x, pooled[i]);
	x = inception_b(z, block++, x);
	for (size_t i = 0; i < KERF_ARRAY_LEN(widths); i++)
		x = inception_c(z, block++, x, widths[i]);
	x = inception_d(z, block++, x);
	x = inception_e(z, block++, x);
	x = inception_e(z, block++, x);
	return zoo_classifier(z, x);
}
