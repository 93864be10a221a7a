/* Lowering of arithmetic that our own kernels run: two operands, norms, pools, reductions. */
#include "engine/internal.h"

#include <math.h>

/*
 * Both operands as walks through the output's memory order. b's dimensions are aligned with the
 * output's from the right (numpy); one of extent 1 stands still.
 */
static struct nest binary_nest(
	const struct kerf_tensor *y, const struct kerf_tensor *a, const struct kerf_tensor *b)
{
	const struct kerf_tensor *t[3] = {y, a, b};
	int order[KERF_MAX_DIMS];
	struct nest nest = {.n_dims = kerf_memory_order(y, order)};

	for (int k = 0; k < 3; k++) {
		int64_t stride[KERF_MAX_DIMS];
		int missing = y->n_dims - t[k]->n_dims;
		kerf_memory_strides(t[k], stride);
		for (int i = 0; i < nest.n_dims; i++) {
			int d = order[i] - missing;
			nest.stride[k][i] = d >= 0 && t[k]->dims[d] > 1 ? stride[d] : 0;
		}
	}
	for (int i = 0; i < nest.n_dims; i++)
		nest.extent[i] = y->dims[order[i]];
	kerf_nest_collapse(&nest);
	return nest;
}

static bool same_shape(const struct kerf_tensor *a, const struct kerf_tensor *b)
{
	if (a->n_dims != b->n_dims)
		return false;
	for (int i = 0; i < a->n_dims; i++)
		if (a->dims[i] != b->dims[i])
			return false;
	return true;
}

/* In place over an operand of the same shape, unless the residual still needs what lies there. */
static int binary_output(struct builder *b, const struct kerf_node *n, struct operand *y)
{
	const struct kerf_tensor *out = &b->g->tensors[n->output];

	for (int i = 0; i < 2 && n->residual < 0; i++)
		if (same_shape(&b->g->tensors[n->inputs[i]], out) &&
			kerf_lower_output_onto(b, n->inputs[i], y))
			return 0;
	return kerf_lower_output(b, y);
}

int kerf_lower_binary(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *t = b->g->tensors;
	struct operand x[2], y;
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++)
		rc = kerf_lower_input(b, n->inputs[i], &x[i]);
	if (rc == 0)
		rc = binary_output(b, n, &y);
	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, kerf_op_name(n->op), kerf_step_binary);
	if (!s)
		return -ENOMEM;
	s->op = n->op;
	s->nest = binary_nest(&t[n->output], &t[n->inputs[0]], &t[n->inputs[1]]);
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, x[0]);
	kerf_lower_operand(s, x[1]);
	return kerf_lower_tail(b, y, n->residual, n->act);
}

/* ---- batch norm: y = x*scale + shift per channel ---- */

static int batchnorm_weights(struct builder *b, const struct kerf_node *n, struct operand o[2])
{
	const float *p[4];
	int64_t channels = b->g->tensors[n->inputs[0]].dims[1];

	for (int i = 0; i < 4; i++) {
		p[i] = b->g->tensors[n->inputs[1 + i]].data;
		if (!p[i])
			return kerf_lower_fail(b, -EINVAL, "%s is computed, expected a constant",
				b->g->tensors[n->inputs[1 + i]].name);
	}
	for (int k = 0; k < 2; k++) {
		float *to = kerf_lower_own_weight(b, (size_t)channels * sizeof(float), &o[k]);
		if (!to)
			return -ENOMEM;
		for (int64_t c = 0; c < channels; c++) {
			double scale = p[0][c] / sqrt((double)p[3][c] + (double)n->epsilon);
			to[c] = (float)(k ? p[1][c] - p[2][c] * scale : scale);
		}
	}
	return 0;
}

int kerf_lower_batchnorm(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *t = &b->g->tensors[n->inputs[0]];
	const struct join *j = kerf_join_of(b, n->inputs[0]);
	struct operand x, y, scale_shift[2];
	int rc = kerf_lower_input(b, n->inputs[0], &x);

	if (rc == 0)
		rc = batchnorm_weights(b, n, scale_shift);
	if (rc == 0 && (n->residual >= 0 || !kerf_lower_output_onto(b, n->inputs[0], &y)))
		rc = kerf_lower_output(b, &y);
	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, "batchnorm", kerf_step_scale_shift);
	if (!s)
		return -ENOMEM;
	const bool rectified = n->act.kind == KERF_ACT_RELU && n->residual < 0;
	s->channels = (struct channels){
		.outer = t->dims[0], .c = t->dims[1], .inner = 1, .lo = rectified ? 0 : -INFINITY};
	for (int i = 2; i < t->n_dims; i++)
		*(t->n_dims == 4 ? &s->channels.outer : &s->channels.inner) *= t->dims[i];
	s->channels.x_row = s->channels.c * s->channels.inner;
	if (j) {
		x = (struct operand){IN_ARENA, j->within};
		s->channels.x_first = j->first;
		s->channels.x_row = j->row;
	}
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, x);
	kerf_lower_operand(s, scale_shift[0]);
	kerf_lower_operand(s, scale_shift[1]);
	return kerf_lower_tail(b, y, n->residual, rectified ? (struct kerf_act){0} : n->act);
}

/* ---- pooling, global or by window ---- */

static const char *pool_name(enum kerf_op op)
{
	if (op == KERF_OP_MAXPOOL)
		return "maxpool";
	return op == KERF_OP_AVGPOOL ? "avgpool" : "global_avgpool";
}

int kerf_lower_pool(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]],
				 *ty = &b->g->tensors[n->output];
	bool global = n->op == KERF_OP_GLOBAL_AVGPOOL;
	struct step *s = kerf_lower_unary(b, n, pool_name(n->op), kerf_step_pool);

	if (!s)
		return -EINVAL;
	struct pool *a = &s->pool;
	*a = (struct pool){.n = tx->dims[0],
		.c = tx->dims[1],
		.h = tx->dims[2],
		.w = tx->dims[3],
		.out_h = ty->dims[2],
		.out_w = ty->dims[3],
		.count_include_pad = n->count_include_pad && !global,
		.max = n->op == KERF_OP_MAXPOOL};
	for (int i = 0; i < 2; i++) {
		a->kernel[i] = global ? (int)tx->dims[2 + i] : n->kernel[i];
		a->strides[i] = global ? 1 : n->strides[i];
		a->dilations[i] = global ? 1 : n->dilations[i];
		a->pads[i] = global ? 0 : n->pads[i];
		a->pads[i + 2] = global ? 0 : n->pads[i + 2];
	}
	s->elements = kerf_tensor_elements(tx); /* the work is in reading */
	if (global && b->e->team.threads > 1) {
		s->run = kerf_step_pool_rows;
		s->scratchpad_bytes = (size_t)(a->n * a->h * a->c) * sizeof(float);
		kerf_lower_operand(s, (struct operand){IN_SCRATCHPAD, 0});
	}
	return kerf_lower_tail(b, s->operands[0], n->residual, n->act);
}

/* ---- reductions ---- */

/* Kept dimensions first, each group as memory has it. */
static struct reduce reduce_walk(const struct kerf_node *n, const struct kerf_tensor *tx, const struct kerf_tensor *ty)
{
	int64_t from[KERF_MAX_DIMS], to[KERF_MAX_DIMS];
	int order[KERF_MAX_DIMS];
	struct reduce r = {.kind = n->reduce, .top = n->top};

	kerf_memory_strides(tx, from);
	kerf_memory_strides(ty, to);
	kerf_memory_order(tx, order);
	for (int reduced = 0; reduced < 2; reduced++)
		for (int i = 0; i < tx->n_dims; i++) {
			const int d = order[i];

			if ((int)(n->axes >> d & 1) != reduced)
				continue;
			r.nest.extent[r.nest.n_dims] = tx->dims[d];
			r.nest.stride[0][r.nest.n_dims] = to[d];
			r.nest.stride[1][r.nest.n_dims++] = from[d];
			r.n_kept += !reduced;
		}
	return r;
}

int kerf_lower_reduce(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *t = b->g->tensors;
	struct step *s = kerf_lower_unary(b, n, "reduce", kerf_step_reduce);

	if (!s)
		return -EINVAL;
	s->reduce = reduce_walk(n, &t[n->inputs[0]], &t[n->output]);
	s->elements = kerf_tensor_elements(&t[n->inputs[0]]); /* the work is in reading */
	return kerf_lower_tail(b, s->operands[0], n->residual, n->act);
}

int kerf_lower_layernorm(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *t = &b->g->tensors[n->inputs[0]];
	struct operand o[3], y;
	int n_operands = 0, rc = 0;

	for (int i = 0; i < n->n_inputs && rc == 0; i++)
		if (n->inputs[i] >= 0)
			rc = kerf_lower_input(b, n->inputs[i], &o[n_operands++]);
	if (rc == 0)
		rc = kerf_lower_output(b, &y);
	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, "layernorm", kerf_step_layernorm);
	if (!s)
		return -ENOMEM;
	s->layernorm = (struct layernorm){.rows = t->dims[0],
		.len = t->dims[1],
		.epsilon = n->epsilon,
		.has_scale = n->inputs[1] >= 0,
		.has_bias = n->inputs[2] >= 0};
	kerf_lower_operand(s, y);
	for (int i = 0; i < n_operands; i++)
		kerf_lower_operand(s, o[i]);
	return kerf_lower_tail(b, y, n->residual, n->act);
}
