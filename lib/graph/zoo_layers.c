/*
 * The layers of the zoo: one node each, with seeded constants.
 *
 * Weights are uniform, not normal: 24 random bits times a bound are exact in double, and with one
 * rounding to float the same seed gives the same bits on every machine, without any libm.
 */
#include "graph/zoo_internal.h"

#include <math.h>
#include <stdlib.h>

#define CLASSES 1000

/* BatchNorm constants lie in 1 +- SPREAD times their centre, shifts in +- SHIFT. */
#define SCALE_SPREAD 0.2
#define VARIANCE_SPREAD 0.25
#define SHIFT 0.2
#define BN_BIAS 0.6 /* what does not grow with the picture's contrast keeps SiLU networks stable */
#define BN_EPSILON 1e-5f

/*
 * SiLU bends around 0: for x of deviation 1 its mean square grows as that of x to the power 1.17,
 * which 49 layers raise to a disaster for a picture with more contrast than others. Further out it
 * is straight: 1.08 at deviation 2.5.
 */
#define SILU_DEVIATION 2.5

/* Mean square of act(x) over that of x, for normal x (ReLU: exact; others: integrated). */
#define RELU_MEAN_SQUARE 0.5
#define SILU_MEAN_SQUARE 0.4589 /* at SILU_DEVIATION */
#define SIGMOID_MEAN_SQUARE 0.2934
#define HARD_SWISH_MEAN_SQUARE 0.4658 /* at SILU_DEVIATION */
#define HARD_SIGMOID_MEAN_SQUARE 0.2776

/* Share of a rectified value's mean square that is variance: 1 - 1/pi for ReLU. */
#define RECTIFIED_VARIANCE 0.682

#define SE_MEAN_SQUARE 0.1

/* Logits' mean square before what averaging takes away: softmax neither flat nor one spike. */
#define LOGIT_MEAN_SQUARE 9.0

static struct zoo_value fail(struct zoo *z, int rc)
{
	if (z->rc == 0)
		z->rc = rc < 0 ? rc : -EINVAL;
	return (struct zoo_value){.id = KERF_NONE};
}

static int out_of_memory(struct zoo *z, const char *name)
{
	return kerf_err_set(z->err, -ENOMEM, "%s: no memory for %s", z->g->name, name);
}

/* Uniform in (-1,1), 2^24 values, symmetric. */
static double unit(uint32_t bits)
{
	return ((double)(bits >> 8) - 8388607.5) / 8388608.0;
}

static void fill(float *to, int64_t n, uint64_t seed, uint64_t stream, double centre, double reach)
{
	uint32_t bits[4];

	for (int64_t i = 0; i < n; i++) {
		if (i % 4 == 0)
			kerf_rng_block(seed, stream, (uint64_t)i / 4, bits);
		to[i] = (float)(centre + reach * unit(bits[i % 4]));
	}
}

/* NAME/SUFFIX, uniform in centre +- reach. Every constant has its own stream: its tensor id. */
static int add_constant(struct zoo *z, const char *name, const char *suffix, int n_dims,
	const int64_t *dims, double centre, double reach)
{
	char full[ZOO_NAME_LEN + 16];
	int64_t n = 1;

	for (int d = 0; d < n_dims; d++)
		n *= dims[d];
	float *data = malloc((size_t)n * sizeof(*data));
	if (!data)
		return out_of_memory(z, name);
	fill(data, n, z->seed, (uint64_t)z->g->n_tensors, centre, reach);
	snprintf(full, sizeof(full), "%s/%s", name, suffix);
	int id = kerf_graph_add_constant(z->g, full, KERF_F32, n_dims, dims, data);
	if (id < 0) {
		free(data);
		return out_of_memory(z, full);
	}
	return id;
}

/* Makes every row of a weight matrix sum to 0. */
static void centre_rows(float *weights, int64_t rows, int64_t row)
{
	for (int64_t r = 0; r < rows; r++, weights += row) {
		double sum = 0;
		for (int64_t i = 0; i < row; i++)
			sum += weights[i];
		for (int64_t i = 0; i < row; i++)
			weights[i] = (float)(weights[i] - sum / (double)row);
	}
}

/* Weights [out, ...] whose product with x has the mean square; dims[1..] are the fan-in. */
static int add_weights(struct zoo *z, const char *name, struct zoo_value x, int n_dims,
	const int64_t *dims, double mean_square, bool centred)
{
	double share = centred ? RECTIFIED_VARIANCE : 1.0;
	int64_t fan_in = 1;

	for (int d = 1; d < n_dims; d++)
		fan_in *= dims[d];
	/* A uniform distribution of reach a has variance a^2 / 3. */
	double reach = sqrt(3.0 * mean_square / ((double)fan_in * share * x.mean_square));
	int id = add_constant(z, name, "weight", n_dims, dims, 0, reach);
	if (id >= 0 && centred)
		centre_rows(z->g->tensors[id].data, dims[0], fan_in);
	return id;
}

/* Adds the node unless something failed before or one of its inputs is missing. */
static struct zoo_value add_node(struct zoo *z, const char *name, struct kerf_node *n,
	double mean_square)
{
	if (z->rc < 0)
		return fail(z, z->rc);
	n->name = (char *)name; /* kerf_graph_add_node copies it */
	int id = kerf_graph_add_node(z->g, n, z->err);
	if (id < 0)
		return fail(z, id);
	return (struct zoo_value){.id = id, .mean_square = mean_square};
}

int64_t zoo_channels(const struct zoo *z, struct zoo_value x)
{
	return z->rc < 0 ? 1 : z->g->tensors[x.id].dims[1];
}

struct zoo_value zoo_input(struct zoo *z)
{
	int64_t dims[4] = {z->batch, 3, z->size, z->size};
	int id = kerf_graph_add_tensor(z->g, "input", KERF_F32, 4, dims);

	if (id < 0) {
		kerf_err_set(z->err, id, "%s: no input of %u x 3 x %u x %u", z->g->name, z->batch,
			z->size, z->size);
		return fail(z, id);
	}
	z->g->input = id;
	return (struct zoo_value){.id = id, .mean_square = 1.0};
}

struct zoo_value zoo_conv(struct zoo *z, const char *name, struct zoo_value x,
	const struct zoo_conv_spec *spec)
{
	double mean_square = spec->mean_square > 0 ? spec->mean_square : 1.0;
	int groups = KERF_MAX(spec->groups, 1), stride = KERF_MAX(spec->stride, 1), p = spec->pad;
	const int across = spec->across ? spec->across : spec->kernel, pa = spec->across ? spec->pad_across : p;
	int64_t dims[4] = {spec->out, zoo_channels(z, x) / groups, spec->kernel, across};
	struct kerf_node n = {.op = KERF_OP_CONV, .n_inputs = 2, .groups = groups,
		.kernel = {spec->kernel, across}, .strides = {stride, stride},
		.pads = {p, pa, p, pa}};

	if (z->rc < 0)
		return fail(z, z->rc);
	n.inputs[0] = x.id;
	n.inputs[1] =
		add_weights(z, name, x, 4, dims, mean_square, x.rectified && spec->bias);
	if (n.inputs[1] < 0)
		return fail(z, n.inputs[1]);
	if (spec->bias) {
		n.inputs[n.n_inputs++] = add_constant(z, name, "bias", 1, dims, 0, SHIFT);
		if (n.inputs[2] < 0)
			return fail(z, n.inputs[2]);
		mean_square += SHIFT * SHIFT / 3;
	}
	return add_node(z, name, &n, mean_square);
}

struct zoo_value zoo_batchnorm(struct zoo *z, const char *name, struct zoo_value x, double gain)
{
	int64_t c = zoo_channels(z, x);
	double scale = gain / sqrt(1 + SCALE_SPREAD * SCALE_SPREAD / 3), var = x.mean_square;
	const struct {
		const char *suffix;
		double centre, reach;
	} constants[] = {
		{"scale", scale, scale * SCALE_SPREAD},
		{"bias", 0, BN_BIAS * gain},
		{"mean", 0, SHIFT * sqrt(var)},
		{"variance", var, var * VARIANCE_SPREAD},
	};
	struct kerf_node n = {.op = KERF_OP_BATCHNORM, .n_inputs = 5, .epsilon = BN_EPSILON};

	if (z->rc < 0)
		return fail(z, z->rc);
	n.inputs[0] = x.id;
	for (int i = 0; i < 4; i++) {
		n.inputs[i + 1] = add_constant(z, name, constants[i].suffix, 1, &c,
			constants[i].centre, constants[i].reach);
		if (n.inputs[i + 1] < 0)
			return fail(z, n.inputs[i + 1]);
	}
	return add_node(z, name, &n, gain * gain * (1 + BN_BIAS * BN_BIAS / 3));
}

/* What a kind is called, what it is, and its mean square out for 1 in. SiLU is two nodes. */
static const struct {
	const char *suffix;
	struct kerf_act act;
	double gain;
} acts[] = {
	[ZOO_RELU] = {"relu", {KERF_ACT_RELU}, RELU_MEAN_SQUARE},
	[ZOO_RELU6] = {"relu6", {KERF_ACT_CLIP, 0, 6}, RELU_MEAN_SQUARE},
	[ZOO_SILU] = {"sigmoid", {KERF_ACT_SIGMOID}, SILU_MEAN_SQUARE},
	[ZOO_SIGMOID] = {"sigmoid", {KERF_ACT_SIGMOID}, SIGMOID_MEAN_SQUARE},
	[ZOO_HARD_SWISH] = {"hardswish", {KERF_ACT_HARD_SWISH}, HARD_SWISH_MEAN_SQUARE},
	[ZOO_HARD_SIGMOID] = {"hardsigmoid", {KERF_ACT_HARD_SIGMOID, 1.f / 6, .5f}, HARD_SIGMOID_MEAN_SQUARE},
};

struct zoo_value zoo_act(struct zoo *z, const char *name, struct zoo_value x,
	enum zoo_act_kind kind)
{
	struct kerf_node n = {.op = KERF_OP_ACT, .n_inputs = 1, .act = acts[kind].act};
	/* A sigmoid's range is fixed; the others grow with their input. */
	const bool gate = kind == ZOO_SIGMOID || kind == ZOO_HARD_SIGMOID;
	double mean_square = acts[kind].gain * (gate ? 1.0 : x.mean_square);
	char full[ZOO_NAME_LEN];

	n.inputs[0] = x.id;
	snprintf(full, sizeof(full), "%s/%s", name, acts[kind].suffix);
	struct zoo_value y = add_node(z, full, &n, mean_square);
	if (kind == ZOO_SILU) {
		snprintf(full, sizeof(full), "%s/silu", name);
		y = zoo_mul(z, full, x, y);
		y.mean_square = mean_square;
	}
	y.rectified = !gate;
	return y;
}

static struct zoo_value binary(struct zoo *z, enum kerf_op op, const char *name,
	struct zoo_value a, struct zoo_value b, double mean_square)
{
	struct kerf_node n = {.op = op, .n_inputs = 2, .axis = 1};

	n.inputs[0] = a.id;
	n.inputs[1] = b.id;
	return add_node(z, name, &n, mean_square);
}

struct zoo_value zoo_add(struct zoo *z, const char *name, struct zoo_value a, struct zoo_value b)
{
	return binary(z, KERF_OP_ADD, name, a, b, a.mean_square + b.mean_square);
}

struct zoo_value zoo_mul(struct zoo *z, const char *name, struct zoo_value a, struct zoo_value b)
{
	return binary(z, KERF_OP_MUL, name, a, b, a.mean_square * b.mean_square);
}

struct zoo_value zoo_concat(struct zoo *z, const char *name, int n_inputs, const struct zoo_value *x)
{
	struct kerf_node n = {.op = KERF_OP_CONCAT, .n_inputs = n_inputs, .axis = 1};
	double sum = 0, channels = 0;
	bool rectified = true;

	for (int i = 0; i < n_inputs; i++) {
		n.inputs[i] = x[i].id;
		sum += (double)zoo_channels(z, x[i]) * x[i].mean_square;
		channels += (double)zoo_channels(z, x[i]);
		rectified = rectified && x[i].rectified;
	}
	struct zoo_value y = add_node(z, name, &n, sum / channels);
	y.rectified = rectified;
	return y;
}

/* A node that keeps what is known of its only input. */
static struct zoo_value keeping(struct zoo *z, const char *name, struct zoo_value x,
	struct kerf_node *n)
{
	n->n_inputs = 1;
	n->inputs[0] = x.id;
	struct zoo_value y = add_node(z, name, n, x.mean_square);
	y.rectified = x.rectified;
	return y;
}

struct zoo_value zoo_maxpool(struct zoo *z, const char *name, struct zoo_value x, int kernel,
	int stride, int pad)
{
	struct kerf_node n = {.op = KERF_OP_MAXPOOL, .kernel = {kernel, kernel},
		.strides = {stride, stride}, .pads = {pad, pad, pad, pad}};

	return keeping(z, name, x, &n);
}

struct zoo_value zoo_maxpool_ceil(struct zoo *z, const char *name, struct zoo_value x, int kernel, int stride)
{
	struct kerf_node n = {.op = KERF_OP_MAXPOOL, .kernel = {kernel, kernel}, .strides = {stride, stride}};

	for (int i = 0; i < 2 && z->rc == 0; i++)
		n.pads[i + 2] = (int)((stride - (z->g->tensors[x.id].dims[i + 2] - kernel) % stride) % stride);
	return keeping(z, name, x, &n);
}

struct zoo_value zoo_avgpool(struct zoo *z, const char *name, struct zoo_value x, int kernel, int stride, int pad)
{
	struct kerf_node n = {.op = KERF_OP_AVGPOOL, .kernel = {kernel, kernel}, .strides = {stride, stride},
		.pads = {pad, pad, pad, pad}, .count_include_pad = true};

	return keeping(z, name, x, &n);
}

struct zoo_value zoo_global_avgpool(struct zoo *z, const char *name, struct zoo_value x)
{
	struct kerf_node n = {.op = KERF_OP_GLOBAL_AVGPOOL};

	return keeping(z, name, x, &n);
}

/* [N, rest] */
struct zoo_value zoo_flatten(struct zoo *z, const char *name, struct zoo_value x)
{
	struct kerf_node n = {.op = KERF_OP_RESHAPE, .output = KERF_NONE};

	return keeping(z, name, x, &n);
}

struct zoo_value zoo_gemm(struct zoo *z, const char *name, struct zoo_value x, int out,
	double mean_square)
{
	int64_t dims[2] = {out, zoo_channels(z, x)};
	struct kerf_node n = {.op = KERF_OP_GEMM, .n_inputs = 3};

	if (z->rc < 0)
		return fail(z, z->rc);
	n.inputs[0] = x.id;
	n.inputs[1] = add_weights(z, name, x, 2, dims, mean_square, x.rectified);
	if (n.inputs[1] < 0)
		return fail(z, n.inputs[1]);
	n.inputs[2] = add_constant(z, name, "bias", 1, dims, 0, SHIFT);
	if (n.inputs[2] < 0)
		return fail(z, n.inputs[2]);
	return add_node(z, name, &n, mean_square);
}

struct zoo_value zoo_softmax(struct zoo *z, const char *name, struct zoo_value x)
{
	struct kerf_node n = {.op = KERF_OP_SOFTMAX, .n_inputs = 1, .axis = 1};

	n.inputs[0] = x.id;
	return add_node(z, name, &n, 1.0 / (CLASSES * (double)CLASSES));
}

/* ---- groups of layers ---- */

const char *zoo_block_name(char *buf, int block, const char *layer)
{
	snprintf(buf, ZOO_NAME_LEN, "block%d/%s", block, layer);
	return buf;
}

struct zoo_value zoo_conv_bn(struct zoo *z, const char *name, struct zoo_value x,
	const struct zoo_conv_spec *spec, double gain)
{
	char bn[ZOO_NAME_LEN];

	snprintf(bn, sizeof(bn), "%s/bn", name);
	return zoo_batchnorm(z, bn, zoo_conv(z, name, x, spec), gain);
}

struct zoo_value zoo_conv_bn_act(struct zoo *z, const char *name, struct zoo_value x,
	const struct zoo_conv_spec *spec, enum zoo_act_kind kind)
{
	double gain = kind == ZOO_SILU || kind == ZOO_HARD_SWISH ? SILU_DEVIATION : 1.0;

	return zoo_act(z, name, zoo_conv_bn(z, name, x, spec, gain), kind);
}

struct zoo_value zoo_squeeze_excite(struct zoo *z, int block, struct zoo_value x, int squeezed, enum zoo_act_kind act,
	enum zoo_act_kind gate)
{
	char name[ZOO_NAME_LEN];
	struct zoo_value s = zoo_global_avgpool(z, zoo_block_name(name, block, "se/pool"), x);

	zoo_block_name(name, block, "se/reduce");
	s = zoo_conv(z, name, s, &(struct zoo_conv_spec){.out = squeezed, .kernel = 1, .bias = true});
	s = zoo_act(z, name, s, act);
	zoo_block_name(name, block, "se/expand");
	s = zoo_conv(z, name, s,
		&(struct zoo_conv_spec){
			.out = (int)zoo_channels(z, x), .kernel = 1, .bias = true, .mean_square = SE_MEAN_SQUARE});
	s = zoo_act(z, name, s, gate);
	return zoo_mul(z, zoo_block_name(name, block, "se/scale"), x, s);
}

struct zoo_value zoo_logits(struct zoo *z, struct zoo_value x)
{
	x = zoo_gemm(z, "classifier", x, CLASSES, LOGIT_MEAN_SQUARE);
	return zoo_softmax(z, "classifier/softmax", x);
}

struct zoo_value zoo_classifier(struct zoo *z, struct zoo_value x)
{
	x = zoo_global_avgpool(z, "head/pool", x);
	return zoo_logits(z, zoo_flatten(z, "head/flatten", x));
}
