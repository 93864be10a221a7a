/* Lowering of what oneDNN runs: convolution, inner product, matrix product, softmax. */
#include "engine/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

/*
 * `ref` and `simple` are plain loops and `gemm` unrolls the image into a matrix: each is several
 * times slower than the kernels made for the shape. Names look like "brgconv:avx512_core" and
 * "x64:gemm:jit", so words are looked at, not substrings ("brgemm" is a fast one).
 */
static bool is_fast(const char *impl)
{
	static const char *const slow[] = {"ref", "simple", "gemm"};
	const char *word = impl;

	while (word) {
		for (size_t i = 0; i < KERF_ARRAY_LEN(slow); i++)
			if (strncmp(word, slow[i], strlen(slow[i])) == 0)
				return false;
		word = strchr(word, ':');
		word = word ? word + 1 : NULL;
	}
	return true;
}

/* A product of matrices is what `gemm` is for; see choose() for convolutions. */
static bool is_product(const char *impl)
{
	return strncmp(impl, "ref", 3) != 0;
}

static bool accept_any(const char *impl)
{
	return true;
}

/* Below AVX2 oneDNN has little else than its reference code. */
static dnn_accept acceptance(void)
{
	return dnn_isa_has(dnnl_cpu_isa_avx2) ? is_fast : accept_any;
}

static int dnn_fail(struct builder *b, dnnl_status_t status, const char *what)
{
	return kerf_lower_fail(b, status == dnnl_out_of_memory ? -ENOMEM : -EINVAL, "oneDNN %s: %s",
		what, dnn_status_name(status));
}

/* Operand slots of a oneDNN step, in the order that add_arg() is called. */
static void add_arg(struct step *s, int arg, struct operand o)
{
	assert(s->n_operands < KERF_DNN_ARGS);
	s->dnn_arg[s->n_operands] = arg;
	kerf_lower_operand(s, o);
}

/* Turns a chosen descriptor into a step with its scratchpad; src and dst are the caller's. */
static struct step *make_step(struct builder *b, const char *what, dnnl_primitive_desc_t pd)
{
	struct dnn_md scratchpad = {0};
	char name[64];

	snprintf(name, sizeof(name), "%s %s", what, dnn_impl_name(pd));
	struct step *s = kerf_lower_step(b, name, NULL);
	if (!s)
		return NULL;
	dnnl_status_t status = dnnl_primitive_create(&s->primitive, pd);
	if (status == dnnl_success)
		status = dnn_pd_query_md(pd, dnnl_query_scratchpad_md, &scratchpad);
	if (status != dnnl_success) {
		dnn_fail(b, status, "primitive");
		return NULL;
	}
	s->scratchpad_bytes = dnn_md_bytes(&scratchpad);
	if (s->scratchpad_bytes)
		add_arg(s, DNNL_ARG_SCRATCHPAD, (struct operand){IN_SCRATCHPAD, 0});
	dnn_md_free(&scratchpad);
	return s;
}

/* The weights of a convolution or inner product: read once, laid out as the primitive likes. */
static int add_weights(struct builder *b, struct step *s, dnnl_primitive_desc_t pd, int tensor,
	const struct dnn_md *plain, struct turn turn)
{
	struct dnn_md packed;
	dnnl_status_t status = dnn_pd_query_md(pd, dnnl_query_weights_md, &packed);

	if (status != dnnl_success)
		return dnn_fail(b, status, "weights");
	int index = kerf_lower_new_weight(b, dnn_md_bytes(&packed));
	if (index < 0) {
		dnn_md_free(&packed);
		return index;
	}
	struct weight *w = &b->weights[index];
	w->source = b->g->tensors[tensor].data;
	w->reorder = true;
	w->turn = turn;
	w->to = packed;
	status = dnn_md_copy(&w->from, plain);
	if (status != dnnl_success)
		return dnn_fail(b, status, "weights");
	add_arg(s, DNNL_ARG_WEIGHTS, (struct operand){IN_WEIGHTS, index});
	return 0;
}

static int add_bias(struct builder *b, struct step *s, int tensor)
{
	const struct kerf_tensor *t = &b->g->tensors[tensor];
	int index = kerf_lower_new_weight(b, kerf_tensor_bytes(t));

	if (index < 0)
		return index;
	b->weights[index].source = t->data;
	add_arg(s, DNNL_ARG_BIAS, (struct operand){IN_WEIGHTS, index});
	return 0;
}

static int input_or_none(const struct kerf_node *n, int i)
{
	return i < n->n_inputs ? n->inputs[i] : KERF_NONE;
}

static int require_constant(struct builder *b, int id, const char *what)
{
	const struct kerf_tensor *t = &b->g->tensors[id];

	if (t->data && t->dtype == KERF_F32)
		return 0;
	return kerf_lower_fail(b, -EINVAL, "%s %s are computed, expected constants", what, t->name);
}

static bool is_integer(struct storage s)
{
	return s.type == dnnl_s8 || s.type == dnnl_u8;
}

/* ---- convolution ---- */

static dnnl_status_t nhwc_md(const struct kerf_tensor *t, dnnl_data_type_t type, struct dnn_md *md)
{
	const dnnl_dims_t dims = {t->dims[0], t->dims[1], t->dims[2], t->dims[3]};

	return dnn_md_make_as(md, 4, dims, type, dnnl_acdb);
}

/* What weights are multiplied in with a source of that type; biases stay f32. */
static dnnl_data_type_t weights_type(struct storage src)
{
	return src.type == dnnl_u8 ? dnnl_s8 : src.type;
}

/* What they are before oneDNN packs them: integers are rounded here (kerf_precision_quantise), bf16 by oneDNN. */
static dnnl_data_type_t plain_type(struct storage src)
{
	return is_integer(src) ? dnnl_s8 : dnnl_f32;
}

/* What the primitive takes along, and what is left for steps of our own. */
struct fusion {
	struct storage src, dst;
	struct dnn_op op;
	struct dnn_md plain; /* how ONNX has the weights, */
	struct turn turn;    /* or has them after this */
	float *scales;       /* of op, integers only */
	dnnl_primitive_desc_t pd;
	int residual; /* left over */
	struct kerf_act act;
};

static void drop_fusion(struct fusion *f)
{
	free(f->scales);
	dnn_op_free(&f->op);
	dnn_md_free(&f->plain);
	if (f->pd)
		dnnl_primitive_desc_destroy(f->pd);
}

#define BLOCK 16 /* channels of one in oneDNN's layouts, or a divisor of these */

static struct turn turn_of(const struct kerf_tensor *w, int64_t groups, struct storage src)
{
	const int64_t area = w->dims[2] * w->dims[3];

	if (!DNN_TURNS_WEIGHTS || (w->dims[0] / groups % BLOCK == 0 && w->dims[1] % BLOCK == 0) ||
		(src.type == dnnl_bf16 && w->dims[1] % 2))
		return (struct turn){0};
	return (struct turn){w->dims[0], w->dims[1], area, is_integer(src) ? sizeof(int8_t) : sizeof(float)};
}

/* Sizes, strides and memory descriptors. */
static dnnl_status_t describe_conv(const struct kerf_graph *g, const struct kerf_node *n,
	struct fusion *f)
{
	struct dnn_op *op = &f->op;
	const struct kerf_tensor *w = &g->tensors[n->inputs[1]];
	const dnnl_dim_t groups = n->groups;
	const dnnl_dims_t oihw = {w->dims[0], w->dims[1], w->dims[2], w->dims[3]};
	const dnnl_dims_t goihw = {groups, w->dims[0] / groups, w->dims[1], w->dims[2], w->dims[3]};
	const dnnl_dims_t bias = {w->dims[0]};
	const dnnl_dim_t *dims = groups > 1 ? goihw : oihw;
	int n_dims = groups > 1 ? 5 : 4;

	f->turn = turn_of(w, groups, f->src);
	const dnnl_format_tag_t plain = groups > 1 ? (f->turn.area ? dnnl_decab : dnnl_abcde) : f->turn.area ? dnnl_cdba : dnnl_abcd;
	op->kind = DNN_CONV;
	for (int i = 0; i < 2; i++) {
		op->strides[i] = n->strides[i];
		op->dilates[i] = n->dilations[i] - 1;
		op->pad_begin[i] = n->pads[i];
		op->pad_end[i] = n->pads[i + 2];
	}
	op->grouped = groups > 1;
	dnnl_status_t status = nhwc_md(&g->tensors[n->inputs[0]], f->src.type, &op->src);
	if (status == dnnl_success)
		status = nhwc_md(&g->tensors[n->output], f->dst.type, &op->dst);
	if (status == dnnl_success)
		status = dnn_md_make_as(&op->weights, n_dims, dims, weights_type(f->src), dnnl_format_tag_any);
	if (status == dnnl_success)
		status = dnn_md_make_as(&f->plain, n_dims, dims, plain_type(f->src), plain);
	op->has_bias = input_or_none(n, 2) >= 0;
	if (status == dnnl_success && op->has_bias)
		status = dnn_md_make(&op->bias, 1, bias, dnnl_a);
	return status;
}

/*
 * The best fast implementation with everything fused; without, if only slow code can fuse. The
 * sum comes before the activation, so leaving out the sum leaves out both. Last comes `gemm`, which
 * all shapes have: slower, and the step's name says so.
 */
static int choose(struct builder *b, struct fusion *f, int residual, struct kerf_act act)
{
	struct dnn_impl first;
	struct dnn_tail tail = {.sum = residual >= 0};
	bool act_fused = kerf_tail_eltwise(act, &tail);

	if (tail.alg == dnnl_eltwise_clip) {
		tail.alpha /= f->dst.scale;
		tail.beta /= f->dst.scale;
	}
	f->op.tail = tail;
	f->residual = KERF_NONE;
	f->act = act_fused ? (struct kerf_act){0} : act;
	dnnl_status_t status = dnn_op_choose(&f->op, b->e->dnn, acceptance(), &f->pd, &first);
	if (status == dnnl_unimplemented && (tail.sum || tail.eltwise)) {
		f->op.tail = (struct dnn_tail){0};
		f->residual = residual;
		f->act = act;
		status = dnn_op_choose(&f->op, b->e->dnn, acceptance(), &f->pd, &first);
	}
	if (status == dnnl_unimplemented && f->op.kind == DNN_CONV)
		status = dnn_op_choose(&f->op, b->e->dnn, is_product, &f->pd, &first);
	if (status == dnnl_unimplemented)
		return kerf_lower_fail(b, -ENOTSUP,
			"oneDNN has only %s for it, expected a jit or brg kernel",
			first.name[0] ? first.name : "nothing");
	return status == dnnl_success ? 0 : dnn_fail(b, status, "primitive descriptor");
}

/* ---- products in lower precision ---- */

static struct fusion plain_fusion(const struct builder *b, const struct kerf_node *n)
{
	const struct storage f32 = {dnnl_f32, 1};

	return (struct fusion){
		.src = b->narrow[b->node] ? kerf_precision_read_as(b, n->inputs[0]) : f32,
		.dst = b->e->storage[n->output],
	};
}

int kerf_lower_source(struct builder *b, const struct kerf_node *n, struct operand *x)
{
	return b->narrow[b->node] ? kerf_precision_input(b, n->inputs[0], x) : kerf_lower_input(b, n->inputs[0], x);
}

/* Of each output channel: what a product of integers is in units of the result. */
static int find_scales(struct builder *b, const struct kerf_node *n, struct fusion *f)
{
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]];

	if (!is_integer(f->src))
		return 0;
	f->scales = malloc((size_t)w->dims[0] * sizeof(*f->scales));
	if (!f->scales)
		return kerf_lower_fail(b, -ENOMEM, "out of memory");
	for (int64_t i = 0; i < w->dims[0]; i++)
		f->scales[i] = f->src.scale * kerf_precision_weight_scale(w, i) / f->dst.scale;
	f->op.scales = f->scales;
	f->op.n_scales = (int)w->dims[0];
	return 0;
}

/* NULL without memory. */
static float *add_vector(struct builder *b, struct step *s, int arg, int64_t n)
{
	struct operand o;
	float *to = kerf_lower_own_weight(b, (size_t)n * sizeof(*to), &o);

	if (to)
		add_arg(s, arg, o);
	return to;
}

/* Weights of 8 bits, and the bias and the scales that go with them. */
static int add_quantised(struct builder *b, struct step *s, const struct kerf_node *n, struct fusion *f)
{
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]];
	const int64_t channels = w->dims[0];
	float *to;
	int rc = add_weights(b, s, f->pd, n->inputs[1], &f->plain, f->turn);

	if (rc < 0)
		return rc;
	struct weight *packed = &b->weights[b->n_weights - 1];
	packed->source = packed->owned = malloc((size_t)kerf_tensor_elements(w));
	if (!packed->owned)
		return kerf_lower_fail(b, -ENOMEM, "out of memory");
	kerf_precision_quantise(w, packed->owned);
	if (f->op.has_bias) {
		const float *bias = b->g->tensors[n->inputs[2]].data;

		to = add_vector(b, s, DNNL_ARG_BIAS, channels);
		if (!to)
			return -ENOMEM;
		for (int64_t i = 0; i < channels; i++)
			to[i] = dnn_bias(bias[i], f->scales[i] * f->dst.scale, f->dst.scale);
	}
	if (DNN_SCALES_ARE_ARGS) {
		to = add_vector(b, s, DNN_ARG_SCALES, channels);
		if (!to)
			return -ENOMEM;
		memcpy(to, f->scales, (size_t)channels * sizeof(*to));
	}
	return 0;
}

static int choose_conv(struct builder *b, const struct kerf_node *n, int residual, struct fusion *f)
{
	const dnnl_status_t status = describe_conv(b->g, n, f);
	const int rc = status == dnnl_success ? choose(b, f, residual, n->act) : dnn_fail(b, status, "convolution");

	/* Steps of our own could not read it. */
	if (rc == 0 && f->dst.type != dnnl_f32 && (f->residual >= 0 || f->act.kind != KERF_ACT_NONE))
		return kerf_lower_fail(b, -ENOTSUP, "oneDNN does not fuse what follows it in this precision");
	return rc;
}

static int emit_fused(struct builder *b, const char *what, const struct kerf_node *n,
	struct fusion *f, struct operand x, struct operand y)
{
	struct step *s = make_step(b, what, f->pd);

	if (!s)
		return -ENOMEM;
	add_arg(s, DNNL_ARG_SRC, x);
	add_arg(s, DNNL_ARG_DST, y);
	int rc = is_integer(f->src) ? add_quantised(b, s, n, f) : add_weights(b, s, f->pd, n->inputs[1], &f->plain, f->turn);
	if (rc == 0 && f->op.has_bias && !is_integer(f->src))
		rc = add_bias(b, s, n->inputs[2]);
	return rc < 0 ? rc : kerf_lower_tail(b, y, f->residual, f->act);
}

int kerf_lower_conv(struct builder *b, const struct kerf_node *n)
{
	struct fusion f = plain_fusion(b, n);
	struct operand x, y;
	int residual = n->residual >= 0 ? n->residual : input_or_none(n, 3);
	int rc = require_constant(b, n->inputs[1], "weights");

	if (rc == 0 && input_or_none(n, 2) >= 0)
		rc = require_constant(b, n->inputs[2], "bias values");
	if (rc == 0 && b->winograd[b->node].size)
		return kerf_lower_winograd(b, n, residual);
	if (rc == 0 && !b->narrow[b->node] &&
		kerf_direct_suits(n, &b->g->tensors[n->inputs[0]], &b->g->tensors[n->output],
			kerf_direct_joins(b, n, residual)))
		return kerf_lower_direct(b, n, residual);
	if (rc == 0 && kerf_loops_suit(b, n))
		return kerf_lower_loops(b, n);
	if (rc == 0)
		rc = kerf_lower_source(b, n, &x);
	if (rc == 0)
		rc = find_scales(b, n, &f);
	if (rc == 0)
		rc = choose_conv(b, n, residual, &f);
	if (rc == 0)
		rc = f.op.tail.sum ? kerf_lower_residual_output(b, residual, n->inputs[0], &y)
				   : kerf_lower_output(b, &y);
	if (rc == 0)
		rc = emit_fused(b, "conv", n, &f, x, y);
	drop_fusion(&f);
	return rc;
}

/* ---- inner product ---- */

static dnnl_status_t describe_gemm(const struct kerf_graph *g, const struct kerf_node *n,
	struct fusion *f)
{
	struct dnn_op *op = &f->op;
	const struct kerf_tensor *x = &g->tensors[n->inputs[0]], *w = &g->tensors[n->inputs[1]];
	const dnnl_dims_t src = {x->dims[0], x->dims[1]}, dst = {x->dims[0], w->dims[0]};
	const dnnl_dims_t weights = {w->dims[0], w->dims[1]}, bias = {w->dims[0]};

	op->kind = DNN_INNER_PRODUCT;
	op->has_bias = input_or_none(n, 2) >= 0;
	dnnl_status_t status = dnn_md_make_as(&op->src, 2, src, f->src.type, dnnl_ab);
	if (status == dnnl_success)
		status = dnn_md_make(&op->dst, 2, dst, dnnl_ab);
	if (status == dnnl_success)
		status = dnn_md_make_as(&op->weights, 2, weights, weights_type(f->src), dnnl_format_tag_any);
	if (status == dnnl_success)
		status = dnn_md_make_as(&f->plain, 2, weights, plain_type(f->src), dnnl_ab);
	if (status == dnnl_success && op->has_bias)
		status = dnn_md_make(&op->bias, 1, bias, dnnl_a);
	return status;
}

/* The same product as a 1x1 convolution: on AVX2 and for tiny shapes that one is not `gemm`. */
static dnnl_status_t describe_gemm_as_conv(const struct kerf_graph *g, const struct kerf_node *n,
	struct fusion *f)
{
	struct dnn_op *op = &f->op;
	const struct kerf_tensor *x = &g->tensors[n->inputs[0]], *w = &g->tensors[n->inputs[1]];
	const dnnl_dims_t src = {x->dims[0], x->dims[1], 1, 1},
			  dst = {x->dims[0], w->dims[0], 1, 1};
	const dnnl_dims_t weights = {w->dims[0], w->dims[1], 1, 1}, bias = {w->dims[0]};

	op->kind = DNN_CONV;
	op->has_bias = input_or_none(n, 2) >= 0;
	op->strides[0] = op->strides[1] = 1;
	dnnl_status_t status = dnn_md_make(&op->src, 4, src, dnnl_acdb);
	if (status == dnnl_success)
		status = dnn_md_make(&op->dst, 4, dst, dnnl_acdb);
	if (status == dnnl_success)
		status = dnn_md_make(&op->weights, 4, weights, dnnl_format_tag_any);
	if (status == dnnl_success)
		status = dnn_md_make(&f->plain, 4, weights, dnnl_abcd);
	if (status == dnnl_success && op->has_bias)
		status = dnn_md_make(&op->bias, 1, bias, dnnl_a);
	return status;
}

/* A residual stays a step of its own: inner products give a few thousand values. */
static int choose_gemm(struct builder *b, const struct kerf_node *n, struct fusion *f)
{
	struct kerf_act act = n->residual >= 0 ? (struct kerf_act){0} : n->act;
	struct kerf_err first = {0}, *err = b->err;
	dnnl_status_t status = describe_gemm(b->g, n, f);

	if (status != dnnl_success)
		return dnn_fail(b, status, "inner product");
	b->err = &first;
	int rc = choose(b, f, KERF_NONE, act);
	b->err = err;
	if (rc == -ENOTSUP && !b->narrow[b->node]) {
		drop_fusion(f);
		*f = plain_fusion(b, n);
		status = describe_gemm_as_conv(b->g, n, f);
		rc = status == dnnl_success ? choose(b, f, KERF_NONE, act)
					    : dnn_fail(b, status, "inner product");
	} else if (rc < 0) {
		kerf_err_set(err, rc, "%s", first.text);
	}
	if (rc == 0 && n->residual >= 0) {
		f->residual = n->residual;
		f->act = n->act;
	}
	return rc;
}

int kerf_lower_gemm(struct builder *b, const struct kerf_node *n)
{
	struct fusion f = plain_fusion(b, n);
	struct operand x, y;
	int rc = require_constant(b, n->inputs[1], "weights");

	if (rc == 0 && input_or_none(n, 2) >= 0)
		rc = require_constant(b, n->inputs[2], "bias values");
	if (rc == 0 && !b->narrow[b->node] && kerf_direct_suits_gemm(&b->g->tensors[n->inputs[0]], &b->g->tensors[n->output]))
		return kerf_lower_direct(b, n, n->residual);
	if (rc == 0)
		rc = kerf_lower_source(b, n, &x);
	if (rc == 0)
		rc = kerf_lower_output(b, &y);
	if (rc == 0)
		rc = find_scales(b, n, &f);
	if (rc == 0)
		rc = choose_gemm(b, n, &f);
	if (rc == 0)
		rc = emit_fused(b, "gemm", n, &f, x, y);
	drop_fusion(&f);
	return rc;
}

bool kerf_dnn_suits(struct builder *b, const struct kerf_node *n, struct storage src, struct storage dst)
{
	struct kerf_err unused = {0}, *err = b->err;
	struct fusion f = {.src = src, .dst = dst};
	const dnnl_status_t status = n->op == KERF_OP_CONV ? describe_conv(b->g, n, &f) : describe_gemm(b->g, n, &f);
	struct dnn_impl first;

	b->err = &unused;
	bool suits = status == dnnl_success && find_scales(b, n, &f) == 0;
	if (suits && n->op == KERF_OP_CONV)
		suits = choose(b, &f, n->residual >= 0 ? n->residual : input_or_none(n, 3), n->act) == 0 &&
			is_fast(dnn_impl_name(f.pd));
	else if (suits)
		suits = dnn_op_choose(&f.op, b->e->dnn, is_fast, &f.pd, &first) == dnnl_success;
	b->err = err;
	drop_fusion(&f);
	return suits;
}

/* ---- softmax ---- */

static int emit_unary(struct builder *b, const char *what, const struct kerf_node *n,
	const struct dnn_op *op)
{
	struct dnn_impl first;
	struct operand x, y;
	dnnl_primitive_desc_t pd;
	int rc = kerf_lower_input(b, n->inputs[0], &x);

	if (rc == 0)
		rc = kerf_lower_output(b, &y);
	if (rc < 0)
		return rc;
	dnnl_status_t status = dnn_op_choose(op, b->e->dnn, acceptance(), &pd, &first);
	if (status != dnnl_success)
		return kerf_lower_fail(b, -ENOTSUP, "oneDNN has only %s for it (%s)",
			first.name[0] ? first.name : "nothing", dnn_status_name(status));
	struct step *s = make_step(b, what, pd);
	dnnl_primitive_desc_destroy(pd);
	if (!s)
		return -ENOMEM;
	add_arg(s, DNNL_ARG_SRC, x);
	add_arg(s, DNNL_ARG_DST, y);
	return kerf_lower_tail(b, y, n->residual, n->act);
}

/* outer x axis x inner as memory has them */
static struct softmax softmax_shape(const struct kerf_tensor *t, int axis)
{
	struct softmax m = {.outer = 1, .axis = t->dims[axis], .inner = 1};
	int order[KERF_MAX_DIMS];
	bool behind = false;

	for (int i = 0; i < kerf_memory_order(t, order); i++) {
		if (order[i] == axis)
			behind = true;
		else
			*(behind ? &m.inner : &m.outer) *= t->dims[order[i]];
	}
	return m;
}

static int lower_strided_softmax(struct builder *b, const struct kerf_node *n, struct softmax m)
{
	struct step *s = kerf_lower_unary(b, n, "softmax", kerf_step_softmax);

	if (!s)
		return -EINVAL;
	s->softmax = m;
	return kerf_lower_tail(b, s->operands[0], n->residual, n->act);
}

int kerf_lower_softmax(struct builder *b, const struct kerf_node *n)
{
	struct softmax m = softmax_shape(&b->g->tensors[n->output], n->axis);
	struct dnn_op op = {.kind = DNN_SOFTMAX, .axis = 1};
	const dnnl_dims_t dims = {m.outer, m.axis};

	if (m.inner != 1)
		return lower_strided_softmax(b, n, m);
	dnnl_status_t status = dnn_md_make(&op.src, 2, dims, dnnl_ab);
	if (status == dnnl_success)
		status = dnn_md_make(&op.dst, 2, dims, dnnl_ab);
	int rc = status == dnnl_success ? emit_unary(b, "softmax", n, &op)
					: dnn_fail(b, status, "softmax");
	dnn_op_free(&op);
	return rc;
}

/* ---- matrix product of two computed values ---- */

static dnnl_status_t describe_matmul(const struct kerf_graph *g, const struct kerf_node *n, struct dnn_op *op)
{
	const int ids[3] = {n->inputs[0], n->inputs[1], n->output};
	struct dnn_md *const mds[3] = {&op->src, &op->weights, &op->dst};
	dnnl_status_t status = dnnl_success;

	op->kind = DNN_MATMUL;
	for (int i = 0; i < 3 && status == dnnl_success; i++) {
		const int64_t *d = g->tensors[ids[i]].dims;

		status = dnn_md_make(mds[i], 3, (const dnnl_dims_t){d[0], d[1], d[2]}, dnnl_abc);
	}
	return status;
}

static int emit_matmul(struct builder *b, const struct dnn_op *op, struct operand a, struct operand w, struct operand y)
{
	struct dnn_impl first;
	dnnl_primitive_desc_t pd;
	const dnn_accept accept = acceptance() == is_fast ? is_product : accept_any;
	dnnl_status_t status = dnn_op_choose(op, b->e->dnn, accept, &pd, &first);

	if (status != dnnl_success)
		return kerf_lower_fail(b, -ENOTSUP, "oneDNN has only %s for it (%s)",
			first.name[0] ? first.name : "nothing", dnn_status_name(status));
	struct step *s = make_step(b, "matmul", pd);
	dnnl_primitive_desc_destroy(pd);
	if (!s)
		return -ENOMEM;
	add_arg(s, DNNL_ARG_SRC, a);
	add_arg(s, DNNL_ARG_WEIGHTS, w);
	add_arg(s, DNNL_ARG_DST, y);
	return 0;
}

/* By our own tiles (matmul.c). */
static int emit_own_matmul(struct builder *b, const struct kerf_node *n, const struct operand x[2], struct operand y)
{
	const struct kerf_tensor *a = &b->g->tensors[n->inputs[0]], *w = &b->g->tensors[n->inputs[1]];
	struct matmul m = {
		.batches = b->g->tensors[n->output].dims[0],
		.rows = a->dims[1],
		.inner = a->dims[2],
		.columns = w->dims[2],
		.a_batch = a->dims[0] > 1 ? a->dims[1] * a->dims[2] : 0,
		.b_batch = w->dims[0] > 1 ? w->dims[1] * w->dims[2] : 0,
		.product = kerf_direct_product(a->dims[2], w->dims[2]),
	};
	struct step *s = kerf_lower_step(b, "matmul", kerf_step_matmul);

	if (!s)
		return -ENOMEM;
	m.product.y_row = m.columns;
	m.room = m.inner * m.product.code->vectors * m.product.code->lanes;
	s->matmul = m;
	s->elements = s->elements * m.inner / OWN_ELEMENT_PRODUCTS;
	s->scratchpad_bytes = (size_t)m.room * sizeof(float) * b->e->team.threads;
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, x[0]);
	kerf_lower_operand(s, x[1]);
	kerf_lower_operand(s, (struct operand){IN_SCRATCHPAD, 0});
	return 0;
}

int kerf_lower_matmul(struct builder *b, const struct kerf_node *n)
{
	struct dnn_op op = {0};
	struct operand x[2], y;
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++)
		rc = kerf_lower_input(b, n->inputs[i], &x[i]);
	if (rc == 0)
		rc = kerf_lower_output(b, &y);
	if (rc < 0)
		return rc;
	if (kerf_direct_code() == &kerf_direct_avx2) {
		rc = emit_own_matmul(b, n, x, y);
		return rc < 0 ? rc : kerf_lower_tail(b, y, n->residual, n->act);
	}
	dnnl_status_t status = describe_matmul(b->g, n, &op);
	rc = status == dnnl_success ? emit_matmul(b, &op, x[0], x[1], y) : dnn_fail(b, status, "matrix product");
	dnn_op_free(&op);
	return rc < 0 ? rc : kerf_lower_tail(b, y, n->residual, n->act);
}
