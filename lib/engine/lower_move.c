/* Lowering of operators that only move values: concat, reshape, transpose, pad, slice, gather, depth to space. */
#include "engine/internal.h"

/* A copy step over a nest that is already set up. */
static int emit_copy(struct builder *b, const char *name, step_run run, struct operand y,
	struct operand x, struct nest nest)
{
	struct step *s = kerf_lower_step(b, name, run);

	if (!s)
		return -ENOMEM;
	kerf_nest_collapse(&nest);
	s->nest = nest;
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, x);
	return 0;
}

static int input_and_output(
	struct builder *b, const struct kerf_node *n, struct operand *x, struct operand *y)
{
	int rc = kerf_lower_input(b, n->inputs[0], x);

	return rc < 0 ? rc : kerf_lower_output(b, y);
}

/* Where a concatenation writes: within a further one, where what it joins was written already, or a fresh place. */
static int concat_output(struct builder *b, const struct kerf_node *n, struct concat *c, struct operand *y)
{
	const struct join *j = kerf_join_find(b, n);

	*y = (struct operand){IN_ARENA, b->e->tensor_place[n->output]};
	if (!j)
		return y->index < 0 ? kerf_lower_output(b, y) : 0;
	c->out_first = j->first;
	c->out_row = j->row;
	return kerf_join_output(b, n, y);
}

/* In memory order a tensor is rows of everything from the axis inwards. Inputs that were joined are there already. */
int kerf_lower_concat(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *out = &b->g->tensors[n->output];
	struct operand x[KERF_MAX_INPUTS], y;
	struct concat c = {.outer = 1};
	int order[KERF_MAX_DIMS];
	int64_t at = 0;

	kerf_memory_order(out, order);
	for (int i = 0; order[i] != n->axis; i++)
		c.outer *= out->dims[order[i]];
	c.out_row = kerf_tensor_elements(out) / c.outer;
	int rc = concat_output(b, n, &c, &y);
	for (int i = 0; i < n->n_inputs && rc == 0; i++) {
		const int64_t row = kerf_tensor_elements(&b->g->tensors[n->inputs[i]]) / c.outer;

		if (!kerf_join_of(b, n->inputs[i])) {
			rc = kerf_lower_input(b, n->inputs[i], &x[c.n_inputs]);
			c.first[c.n_inputs] = c.out_first + at;
			c.row[c.n_inputs++] = row;
		}
		at += row;
	}
	if (rc < 0)
		return rc;
	if (c.n_inputs > 0) {
		struct step *s = kerf_lower_step(b, "concat", kerf_step_concat);
		if (!s)
			return -ENOMEM;
		s->concat = c;
		kerf_lower_operand(s, y);
		for (int i = 0; i < c.n_inputs; i++)
			kerf_lower_operand(s, x[i]);
	}
	return kerf_lower_tail(b, y, n->residual, n->act);
}

/* Between memory order and ONNX order: `to_onnx` says which side is which. */
static struct nest reorder_nest(const struct kerf_tensor *t, bool to_onnx)
{
	struct nest nest = {.n_dims = t->n_dims};
	int64_t memory[KERF_MAX_DIMS], onnx[KERF_MAX_DIMS];
	int order[KERF_MAX_DIMS];

	kerf_memory_strides(t, memory);
	kerf_onnx_strides(t, onnx);
	kerf_memory_order(t, order);
	for (int i = 0; i < t->n_dims; i++) {
		int d = to_onnx ? i : order[i]; /* write densely */
		nest.extent[i] = t->dims[d];
		nest.stride[0][i] = to_onnx ? onnx[d] : memory[d];
		nest.stride[1][i] = to_onnx ? memory[d] : onnx[d];
	}
	return nest;
}

static bool is_in_onnx_order(const struct kerf_tensor *t)
{
	struct kerf_tensor flat = {.n_dims = 1, .dims = {kerf_tensor_elements(t)}};

	return kerf_same_element_order(t, &flat);
}

/*
 * ONNX reshapes a row-major list. In NHWC that list is out of order, so the values move: into ONNX
 * order, out of it, or both with the list between.
 */
static int reshape_by_copy(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]],
				 *ty = &b->g->tensors[n->output];
	struct operand x, y, list;
	bool from_nhwc = !is_in_onnx_order(tx), to_nhwc = !is_in_onnx_order(ty);
	int rc = input_and_output(b, n, &x, &y);

	if (rc < 0)
		return rc;
	list = from_nhwc ? y : x;
	if (from_nhwc && to_nhwc) {
		int place = kerf_lower_new_place(b, kerf_tensor_bytes(tx));
		if (place < 0)
			return place;
		list = (struct operand){IN_ARENA, place};
	}
	if (from_nhwc)
		rc = emit_copy(b, "reshape", kerf_step_copy, list, x, reorder_nest(tx, true));
	if (rc == 0 && to_nhwc)
		rc = emit_copy(b, "reshape", kerf_step_copy, y, list, reorder_nest(ty, false));
	return rc;
}

/* No step at all when the order agrees and nothing reads the input later. */
int kerf_lower_reshape(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]],
				 *ty = &b->g->tensors[n->output];
	struct operand x, y;
	int rc = kerf_lower_input(b, n->inputs[0], &x);

	if (rc < 0)
		return rc;
	if (!kerf_same_element_order(tx, ty))
		rc = reshape_by_copy(b, n);
	else if (!kerf_lower_output_onto(b, n->inputs[0], &y)) {
		rc = kerf_lower_output(b, &y);
		if (rc == 0)
			rc = kerf_lower_copy(b, y, x, kerf_tensor_elements(ty));
	}
	if (rc < 0 || (n->act.kind == KERF_ACT_NONE && n->residual < 0))
		return rc;
	y = (struct operand){IN_ARENA, b->e->tensor_place[n->output]};
	return kerf_lower_tail(b, y, n->residual, n->act);
}

static bool moves_something(struct nest nest)
{
	kerf_nest_collapse(&nest);
	return nest.n_dims > 1 || nest.stride[0][0] != 1 || nest.stride[1][0] != 1 || nest.start[1] != 0;
}

/* Writes the output densely; along its dimension d the input goes on by stride[d], from `start` on. */
static int lower_strided(
	struct builder *b, const struct kerf_node *n, const char *name, const int64_t *stride, int64_t start)
{
	const struct kerf_tensor *ty = &b->g->tensors[n->output];
	int64_t to[KERF_MAX_DIMS];
	int order[KERF_MAX_DIMS];
	struct nest nest = {.n_dims = ty->n_dims, .start = {0, start, 0}};
	struct operand x, y;
	int rc = kerf_lower_input(b, n->inputs[0], &x);

	if (rc < 0)
		return rc;
	kerf_memory_strides(ty, to);
	kerf_memory_order(ty, order);
	for (int i = 0; i < ty->n_dims; i++) {
		nest.extent[i] = ty->dims[order[i]];
		nest.stride[0][i] = to[order[i]];
		nest.stride[1][i] = stride[order[i]];
	}
	/* What only changes its name stays where it is, when nothing reads it as it was. */
	if (!moves_something(nest) && kerf_lower_output_onto(b, n->inputs[0], &y))
		return kerf_lower_tail(b, y, n->residual, n->act);
	rc = kerf_lower_output(b, &y);
	if (rc == 0)
		rc = emit_copy(b, name, kerf_step_copy, y, x, nest);
	return rc < 0 ? rc : kerf_lower_tail(b, y, n->residual, n->act);
}

int kerf_lower_transpose(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]];
	int64_t from[KERF_MAX_DIMS], stride[KERF_MAX_DIMS];

	kerf_memory_strides(tx, from);
	for (int d = 0; d < tx->n_dims; d++)
		stride[d] = from[n->perm[d]];
	return lower_strided(b, n, "transpose", stride, 0);
}

int kerf_lower_slice(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]];
	int64_t stride[KERF_MAX_DIMS], start = 0;

	kerf_memory_strides(tx, stride);
	for (int d = 0; d < tx->n_dims; d++) {
		start += stride[d] * n->starts[d];
		stride[d] *= n->steps[d];
	}
	return lower_strided(b, n, "slice", stride, start);
}

int kerf_lower_pad(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]],
				 *ty = &b->g->tensors[n->output];
	int64_t from[KERF_MAX_DIMS], to[KERF_MAX_DIMS];
	int order[KERF_MAX_DIMS];
	struct nest nest = {.n_dims = tx->n_dims};
	struct operand x, y;
	int rc = input_and_output(b, n, &x, &y);

	if (rc < 0)
		return rc;
	kerf_memory_strides(tx, from);
	kerf_memory_strides(ty, to);
	kerf_memory_order(tx, order);
	for (int i = 0; i < tx->n_dims; i++) {
		nest.extent[i] = tx->dims[order[i]];
		nest.stride[0][i] = to[order[i]];
		nest.stride[1][i] = from[order[i]];
	}
	nest.start[0] = n->pads[0] * to[2] + n->pads[1] * to[3];
	rc = emit_copy(b, "pad", kerf_step_pad, y, x, nest);
	return rc < 0 ? rc : kerf_lower_tail(b, y, n->residual, n->act);
}

/* Indices lie among the weights as int32: no dimension is larger. */
static int gather_indices(struct builder *b, const struct kerf_tensor *t, struct operand *o)
{
	const int64_t n = kerf_tensor_elements(t);
	int32_t *to = (int32_t *)(void *)kerf_lower_own_weight(b, (size_t)n * sizeof(int32_t), o);

	if (!to)
		return -ENOMEM;
	for (int64_t i = 0; i < n; i++)
		to[i] = (int32_t)((const int64_t *)t->data)[i];
	return 0;
}

int kerf_lower_gather(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]], *table = &b->g->tensors[n->inputs[1]];
	struct gather g = {.outer = 1,
		.n_in = tx->dims[n->axis],
		.n_out = table->dims[0],
		.inner = 1,
		.taps = (int)table->dims[1],
		.value = n->value};
	struct operand x, y, indices, weights;
	int order[KERF_MAX_DIMS], i = 0;
	int rc = input_and_output(b, n, &x, &y);

	if (rc == 0)
		rc = gather_indices(b, table, &indices);
	if (rc == 0 && n->inputs[2] >= 0)
		rc = kerf_lower_input(b, n->inputs[2], &weights);
	if (rc < 0)
		return rc;
	kerf_memory_order(tx, order);
	for (; order[i] != n->axis; i++)
		g.outer *= tx->dims[order[i]];
	for (i++; i < tx->n_dims; i++)
		g.inner *= tx->dims[order[i]];
	struct step *s = kerf_lower_step(b, n->inputs[2] >= 0 ? "resample" : "gather", kerf_step_gather);
	if (!s)
		return -ENOMEM;
	s->gather = g;
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, x);
	kerf_lower_operand(s, indices);
	if (n->inputs[2] >= 0)
		kerf_lower_operand(s, weights);
	return kerf_lower_tail(b, y, n->residual, n->act);
}

/* In NHWC [n][y][x][by][bx][c] becomes [n][y][by][x][bx][c]. */
int kerf_lower_depth_to_space(struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *tx = &b->g->tensors[n->inputs[0]];
	const int64_t h = tx->dims[2], w = tx->dims[3], bh = n->kernel[0], bw = n->kernel[1], c = tx->dims[1] / (bh * bw);
	const int64_t line = w * bw * c; /* floats of an output row */
	struct operand x, y;
	int rc = input_and_output(b, n, &x, &y);

	if (rc == 0)
		rc = emit_copy(b, "depth_to_space", kerf_step_copy, y, x,
			(struct nest){.n_dims = 4,
				.extent = {tx->dims[0] * h, bh, w, bw * c},
				.stride = {{bh * line, line, bw * c, 1}, {bh * line, bw * c, bh * bw * c, 1}}});
	return rc < 0 ? rc : kerf_lower_tail(b, y, n->residual, n->act);
}
