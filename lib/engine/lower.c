/* Lowering: from nodes to steps. Here is what every operator shares. */
#include "engine/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

int kerf_lower_fail(struct builder *b, int code, const char *fmt, ...)
{
	const struct kerf_node *n = &b->g->nodes[b->node];
	char what[320];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	return kerf_err_set(b->err, code, "node %s (%s): %s", n->name, kerf_op_name(n->op), what);
}

/* A zeroed element at the end of a growing array, or NULL. */
static void *append(void **array, int *n, int *capacity, size_t size)
{
	if (*n == *capacity) {
		int wanted = *capacity ? 2 * *capacity : 64;
		void *grown = realloc(*array, (size_t)wanted * size);
		if (!grown)
			return NULL;
		*array = grown;
		*capacity = wanted;
	}
	void *element = (char *)*array + (size_t)(*n)++ * size;
	return memset(element, 0, size);
}

/* Lasts until the next step is added. */
struct step *kerf_lower_step(struct builder *b, const char *name, step_run run)
{
	struct kerf_engine *e = b->e;
	const struct kerf_tensor *out = &b->g->tensors[b->g->nodes[b->node].output];
	struct step *s = append((void **)&e->steps, &e->n_steps, &b->capacity_steps, sizeof(*s));

	if (!s) {
		kerf_lower_fail(b, -ENOMEM, "out of memory");
		return NULL;
	}
	s->node = b->node;
	s->run = run;
	s->elements = kerf_tensor_elements(out);
	snprintf(s->name, sizeof(s->name), "%s%s%s", name, run ? " " : "",
		run ? kerf_rows()->isa : "");
	return s;
}

void kerf_lower_operand(struct step *s, struct operand o)
{
	assert(s->n_operands < (int)KERF_ARRAY_LEN(s->operands));
	s->operands[s->n_operands++] = o;
}

int kerf_lower_new_place(struct builder *b, size_t bytes)
{
	struct kerf_engine *e = b->e;
	struct place *p =
		append((void **)&e->places, &e->n_places, &b->capacity_places, sizeof(*p));

	if (!p)
		return kerf_lower_fail(b, -ENOMEM, "out of memory");
	p->bytes = kerf_align_up(bytes);
	p->last_node = b->node;
	return e->n_places - 1;
}

int kerf_lower_new_weight(struct builder *b, size_t bytes)
{
	struct weight *w = append((void **)&b->weights, &b->n_weights, &b->capacity_weights, sizeof(*w));

	if (!w)
		return kerf_lower_fail(b, -ENOMEM, "out of memory");
	w->bytes = bytes;
	return b->n_weights - 1;
}

int kerf_lower_add_join(struct builder *b, const struct join *j)
{
	struct kerf_engine *e = b->e;
	struct join *kept = append((void **)&e->joins, &e->n_joins, &b->capacity_joins, sizeof(*kept));

	if (!kept)
		return kerf_lower_fail(b, -ENOMEM, "out of memory");
	*kept = *j;
	return 0;
}

float *kerf_lower_own_weight(struct builder *b, size_t bytes, struct operand *o)
{
	const int index = kerf_lower_new_weight(b, bytes);

	if (index < 0)
		return NULL;
	struct weight *w = &b->weights[index];
	w->source = w->owned = calloc(1, bytes);
	if (!w->owned)
		kerf_lower_fail(b, -ENOMEM, "out of memory");
	*o = (struct operand){IN_WEIGHTS, index};
	return w->owned;
}

static int lower_constant(struct builder *b, int id, struct operand *o)
{
	const struct kerf_tensor *t = &b->g->tensors[id];
	float *to = kerf_lower_own_weight(b, kerf_tensor_bytes(t), o);

	if (!to)
		return -ENOMEM;
	kerf_to_memory_order(t, t->data, to);
	return 0;
}

int kerf_lower_input(struct builder *b, int id, struct operand *o)
{
	const struct kerf_tensor *t = &b->g->tensors[id];

	if (t->dtype != KERF_F32)
		return kerf_lower_fail(
			b, -EINVAL, "input %s holds integers, expected f32", t->name);
	if (t->data)
		return lower_constant(b, id, o);
	if (b->e->tensor_place[id] < 0)
		return kerf_lower_fail(b, -EINVAL, "input %s is not computed before it", t->name);
	assert(b->e->storage[id].type == dnnl_f32);
	*o = (struct operand){IN_ARENA, b->e->tensor_place[id]};
	return 0;
}

int kerf_lower_residual_input(struct builder *b, int id, struct operand *o)
{
	const struct kerf_tensor *t = &b->g->tensors[id];
	const struct kerf_tensor *out = &b->g->tensors[b->g->nodes[b->node].output];

	if (kerf_tensor_elements(t) != kerf_tensor_elements(out))
		return kerf_lower_fail(b, -EINVAL,
			"residual %s has %" PRId64 " elements, the output has %" PRId64, t->name,
			kerf_tensor_elements(t), kerf_tensor_elements(out));
	return kerf_lower_input(b, id, o);
}

static void settle_output(struct builder *b, int place, struct operand *o)
{
	int id = b->g->nodes[b->node].output;

	b->e->tensor_place[id] = place;
	b->e->places[place].last_node = KERF_MAX(b->node, b->last_use[id]);
	*o = (struct operand){IN_ARENA, place};
}

int kerf_lower_output(struct builder *b, struct operand *o)
{
	const struct kerf_tensor *t = &b->g->tensors[b->g->nodes[b->node].output];
	const size_t width = dnnl_data_type_size(b->e->storage[b->g->nodes[b->node].output].type);
	int place = kerf_lower_new_place(b, (size_t)kerf_tensor_elements(t) * width);

	if (place < 0)
		return place;
	settle_output(b, place, o);
	return 0;
}

bool kerf_lower_output_onto(struct builder *b, int id, struct operand *o)
{
	const struct kerf_tensor *out = &b->g->tensors[b->g->nodes[b->node].output];
	int place = id >= 0 ? b->e->tensor_place[id] : KERF_NONE;

	if (place < 0 || b->e->places[place].last_node > b->node ||
		kerf_tensor_bytes(&b->g->tensors[id]) != kerf_tensor_bytes(out))
		return false;
	settle_output(b, place, o);
	return true;
}

struct step *kerf_lower_unary(struct builder *b, const struct kerf_node *n, const char *name, step_run run)
{
	struct operand x, y;

	if (kerf_lower_input(b, n->inputs[0], &x) < 0 || kerf_lower_output(b, &y) < 0)
		return NULL;
	struct step *s = kerf_lower_step(b, name, run);
	if (!s)
		return NULL;
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, x);
	return s;
}

int kerf_lower_residual_output(struct builder *b, int residual, int x, struct operand *y)
{
	struct operand r;
	const struct kerf_tensor *t = &b->g->tensors[residual];
	int rc = kerf_lower_residual_input(b, residual, &r);

	if (rc < 0)
		return rc;
	bool is_also_x = !b->g->tensors[x].data &&
		b->e->tensor_place[x] == b->e->tensor_place[residual];
	if (!is_also_x && kerf_lower_output_onto(b, residual, y))
		return 0;
	rc = kerf_lower_output(b, y);
	return rc < 0 ? rc : kerf_lower_copy(b, *y, r, kerf_tensor_elements(t));
}

int kerf_lower_copy(struct builder *b, struct operand to, struct operand from, int64_t elements)
{
	struct step *s = kerf_lower_step(b, "copy", kerf_step_copy);

	if (!s)
		return -ENOMEM;
	s->nest = (struct nest){.n_dims = 1, .extent = {elements}, .stride = {{1}, {1}, {0}}};
	kerf_lower_operand(s, to);
	kerf_lower_operand(s, from);
	return 0;
}

/* Activations that oneDNN's post-ops do fast; the others are a pass of our own. */
bool kerf_tail_eltwise(struct kerf_act act, struct dnn_tail *tail)
{
	switch (act.kind) {
	case KERF_ACT_RELU: tail->alg = dnnl_eltwise_relu; break;
	case KERF_ACT_LEAKY_RELU:
		tail->alg = dnnl_eltwise_relu;
		tail->alpha = act.lo;
		break;
	case KERF_ACT_CLIP:
		tail->alg = dnnl_eltwise_clip;
		tail->alpha = act.lo;
		tail->beta = act.hi;
		break;
	default: return false;
	}
	tail->eltwise = true;
	return true;
}

static const char *act_name(enum kerf_act_kind kind)
{
	static const char *const names[KERF_ACT_COUNT] = {
		[KERF_ACT_NONE] = "identity",
		[KERF_ACT_RELU] = "relu",
		[KERF_ACT_CLIP] = "clip",
		[KERF_ACT_SIGMOID] = "sigmoid",
		[KERF_ACT_SILU] = "silu",
		[KERF_ACT_HARD_SIGMOID] = "hard_sigmoid",
		[KERF_ACT_HARD_SWISH] = "hard_swish",
		[KERF_ACT_TANH] = "tanh",
		[KERF_ACT_LEAKY_RELU] = "leaky_relu",
		[KERF_ACT_ERF] = "erf",
		[KERF_ACT_GELU] = "gelu",
		[KERF_ACT_ABS] = "abs",
		[KERF_ACT_SQRT] = "sqrt",
		[KERF_ACT_RECIPROCAL] = "reciprocal",
		[KERF_ACT_EXP] = "exp",
		[KERF_ACT_LOG] = "log",
		[KERF_ACT_ELU] = "elu",
		[KERF_ACT_SELU] = "selu",
		[KERF_ACT_SOFTPLUS] = "softplus",
		[KERF_ACT_SOFTSIGN] = "softsign",
		[KERF_ACT_FLOOR] = "floor",
		[KERF_ACT_CEIL] = "ceil",
		[KERF_ACT_ROUND] = "round",
		[KERF_ACT_SIN] = "sin",
		[KERF_ACT_COS] = "cos",
	};

	return names[kind];
}

static int lower_act_step(
	struct builder *b, struct operand y, struct operand x, struct kerf_act act)
{
	if ((unsigned)act.kind >= KERF_ACT_COUNT)
		return kerf_lower_fail(b, -EINVAL, "activation %d is not known", (int)act.kind);
	struct step *s = kerf_lower_step(b, act_name(act.kind), kerf_step_act);
	if (!s)
		return -ENOMEM;
	s->act = act;
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, x);
	return 0;
}

static int lower_residual(struct builder *b, struct operand y, int residual)
{
	struct operand r;
	int rc = kerf_lower_residual_input(b, residual, &r);

	if (rc < 0)
		return rc;
	struct step *s = kerf_lower_step(b, "add", kerf_step_binary);
	if (!s)
		return -ENOMEM;
	s->op = KERF_OP_ADD;
	s->nest = (struct nest){.n_dims = 1, .extent = {s->elements}, .stride = {{1}, {1}, {1}}};
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, y);
	kerf_lower_operand(s, r);
	return 0;
}

int kerf_lower_tail(struct builder *b, struct operand output, int residual, struct kerf_act act)
{
	if (residual >= 0) {
		int rc = lower_residual(b, output, residual);
		if (rc < 0)
			return rc;
	}
	return act.kind == KERF_ACT_NONE ? 0 : lower_act_step(b, output, output, act);
}

int kerf_lower_act(struct builder *b, const struct kerf_node *n)
{
	struct operand x, y;
	int rc = kerf_lower_input(b, n->inputs[0], &x);

	if (rc == 0 && !kerf_lower_output_onto(b, n->inputs[0], &y))
		rc = kerf_lower_output(b, &y);
	return rc < 0 ? rc : lower_act_step(b, y, x, n->act);
}

/* ---- the whole graph ---- */

static int (*const lower[KERF_OP_COUNT])(struct builder *, const struct kerf_node *) = {
	[KERF_OP_CONV] = kerf_lower_conv,
	[KERF_OP_GEMM] = kerf_lower_gemm,
	[KERF_OP_BATCHNORM] = kerf_lower_batchnorm,
	[KERF_OP_ACT] = kerf_lower_act,
	[KERF_OP_ADD] = kerf_lower_binary,
	[KERF_OP_MUL] = kerf_lower_binary,
	[KERF_OP_DIV] = kerf_lower_binary,
	[KERF_OP_MIN] = kerf_lower_binary,
	[KERF_OP_MAX] = kerf_lower_binary,
	[KERF_OP_POW] = kerf_lower_binary,
	[KERF_OP_PRELU] = kerf_lower_binary,
	[KERF_OP_MATMUL] = kerf_lower_matmul,
	[KERF_OP_MAXPOOL] = kerf_lower_pool,
	[KERF_OP_AVGPOOL] = kerf_lower_pool,
	[KERF_OP_GLOBAL_AVGPOOL] = kerf_lower_pool,
	[KERF_OP_CONCAT] = kerf_lower_concat,
	[KERF_OP_RESHAPE] = kerf_lower_reshape,
	[KERF_OP_SOFTMAX] = kerf_lower_softmax,
	[KERF_OP_TRANSPOSE] = kerf_lower_transpose,
	[KERF_OP_PAD] = kerf_lower_pad,
	[KERF_OP_SLICE] = kerf_lower_slice,
	[KERF_OP_GATHER] = kerf_lower_gather,
	[KERF_OP_REDUCE] = kerf_lower_reduce,
	[KERF_OP_LAYERNORM] = kerf_lower_layernorm,
	[KERF_OP_DEPTH_TO_SPACE] = kerf_lower_depth_to_space,
	[KERF_OP_EQUAL] = kerf_lower_binary,
	[KERF_OP_LESS] = kerf_lower_binary,
	[KERF_OP_LESS_EQUAL] = kerf_lower_binary,
	[KERF_OP_MASK] = kerf_lower_binary,
};

static void find_last_uses(struct builder *b)
{
	const struct kerf_graph *g = b->g;

	for (int t = 0; t < g->n_tensors; t++)
		b->last_use[t] = KERF_NONE;
	for (int i = 0; i < g->n_nodes; i++) {
		const struct kerf_node *n = &g->nodes[i];
		for (int k = 0; k < n->n_inputs; k++)
			if (n->inputs[k] >= 0)
				b->last_use[n->inputs[k]] = i;
		if (n->residual >= 0)
			b->last_use[n->residual] = i;
	}
	b->last_use[g->output] = g->n_nodes;
}

static int lower_node(struct builder *b)
{
	const struct kerf_node *n = &b->g->nodes[b->node];

	if ((unsigned)n->op >= KERF_OP_COUNT)
		return kerf_err_set(
			b->err, -EINVAL, "node %s: operator %d is not known", n->name, (int)n->op);
	return lower[n->op](b, n);
}

int kerf_lower_graph(struct builder *b)
{
	const struct kerf_graph *g = b->g;
	int place;

	find_last_uses(b);
	if (kerf_precision_decide(b) < 0 || kerf_winograd_decide(b) < 0 || kerf_join_decide(b) < 0)
		return -ENOMEM;
	place = kerf_lower_new_place(b, kerf_tensor_bytes(&g->tensors[g->input]));
	if (place < 0)
		return place;
	b->e->tensor_place[g->input] = place;
	b->e->places[place].last_node = b->last_use[g->input];
	for (b->node = 0; b->node < g->n_nodes; b->node++) {
		b->e->first_step[b->node] = b->e->n_steps;
		int rc = lower_node(b);
		if (rc < 0)
			return rc;
	}
	b->e->first_step[g->n_nodes] = b->e->n_steps;
	if (b->e->tensor_place[g->output] < 0)
		return kerf_err_set(b->err, -EINVAL, "no node computes the output %s",
			g->tensors[g->output].name);
	return 0;
}
