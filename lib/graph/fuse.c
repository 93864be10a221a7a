/*
 * Fusing: nodes that a convolution, GEMM, ADD, MUL or BATCHNORM can do on its way out.
 */
#include "graph/rewrite.h"

#include <math.h>

/* Files write 1/6 with as few as six digits. */
#define NEAR 1e-6f

static bool is_near(float a, float b)
{
	return fabsf(a - b) <= NEAR;
}

/* What x * gate(x) is, or KERF_ACT_NONE. */
static enum kerf_act_kind self_gated(const struct kerf_act *gate)
{
	if (gate->kind == KERF_ACT_SIGMOID)
		return KERF_ACT_SILU;
	if (gate->kind == KERF_ACT_HARD_SIGMOID && is_near(gate->lo, 1.0f / 6) &&
		is_near(gate->hi, 0.5f))
		return KERF_ACT_HARD_SWISH;
	return KERF_ACT_NONE;
}

/* MUL of x and gate(x), either way round, becomes one ACT. */
static void recognise_self_gating(struct rewrite *r, struct kerf_node *n)
{
	for (int j = 0; j < 2; j++) {
		int x = n->inputs[j], gated = n->inputs[1 - j];
		const struct kerf_node *gate = rewrite_producer(r, gated);
		if (!gate || gate->op != KERF_OP_ACT || gate->inputs[0] != x)
			continue;
		enum kerf_act_kind kind = self_gated(&gate->act);
		if (kind == KERF_ACT_NONE)
			continue;
		n->op = KERF_OP_ACT;
		n->act = (struct kerf_act){.kind = kind};
		n->inputs[0] = x;
		n->inputs[1] = KERF_NONE;
		n->n_inputs = 1;
		rewrite_drop_use(r, gated);
		return;
	}
}

/* The number that x is added to or multiplied by in n; NAN when n does something else. */
static float other_number(const struct rewrite *r, const struct kerf_node *n, enum kerf_op op, int x)
{
	for (int j = 0; n && n->op == op && n->residual < 0 && j < 2; j++) {
		const struct kerf_tensor *t = &r->g->tensors[n->inputs[1 - j]];

		if (n->inputs[j] == x && t->data && t->dtype == KERF_F32 && kerf_tensor_elements(t) == 1)
			return *(const float *)t->data;
	}
	return NAN;
}

/* What x * gate is, times a factor that *scale takes away again. */
static enum kerf_act_kind gated_by_sum(const struct rewrite *r, const struct kerf_node *gate, int x, float *scale)
{
	if (!gate || gate->op != KERF_OP_ADD || gate->residual >= 0)
		return KERF_ACT_NONE;
	if (gate->act.kind == KERF_ACT_CLIP && gate->act.lo == 0 && gate->act.hi == 6 &&
		other_number(r, gate, KERF_OP_ADD, x) == 3) {
		*scale = 1.0f / 6;
		return KERF_ACT_HARD_SWISH;
	}
	for (int j = 0; gate->act.kind == KERF_ACT_NONE && j < 2; j++) {
		const int y = gate->inputs[j];
		const struct kerf_node *erf = rewrite_producer(r, y);

		if (erf && erf->act.kind == KERF_ACT_ERF && other_number(r, gate, KERF_OP_ADD, y) == 1 &&
			is_near(other_number(r, erf, KERF_OP_MUL, x), 0.70710678f)) {
			*scale = 0.5f;
			return KERF_ACT_GELU;
		}
	}
	return KERF_ACT_NONE;
}

/*
 * Exporters without a word for them write hard-swish as x * clip(x + 3, 0, 6) / 6 and GELU as
 * x * (1 + erf(x / sqrt 2)) / 2. n is the last product; it becomes one ACT.
 */
static void recognise_scaled_gating(struct rewrite *r, struct kerf_node *n)
{
	for (int j = 0; j < 2; j++) {
		const int product = n->inputs[j];
		struct kerf_node *p = rewrite_producer(r, product);
		const float factor = other_number(r, n, KERF_OP_MUL, product);

		if (!p || p->op != KERF_OP_MUL || p->act.kind != KERF_ACT_NONE || p->residual >= 0 || r->uses[product] != 1)
			continue;
		for (int k = 0; k < 2; k++) {
			const int x = p->inputs[k], gate = p->inputs[1 - k];
			float scale = 0;
			const enum kerf_act_kind kind = gated_by_sum(r, rewrite_producer(r, gate), x, &scale);

			if (kind == KERF_ACT_NONE || !is_near(factor, scale) || !rewrite_same_shape(r, x, n->output))
				continue;
			struct kerf_node *sum = rewrite_producer(r, gate);
			r->uses[n->inputs[1 - j]]--;
			/* From the inside out, so that x loses its readers: the error function, the gate, the product. */
			for (int i = 0; i < 2 && r->uses[gate] == 1; i++)
				if (sum->inputs[i] != x && !rewrite_is_constant(r, sum->inputs[i]))
					rewrite_set_input(r, sum, i, x);
			rewrite_set_input(r, p, 1 - k, x);
			n->op = KERF_OP_ACT;
			n->act = (struct kerf_act){.kind = kind};
			n->inputs[0] = product;
			n->inputs[1] = KERF_NONE;
			n->n_inputs = 1;
			rewrite_set_input(r, n, 0, x);
			return;
		}
	}
}

/*
 * The sum goes into the convolution that computes its later operand: the earlier one exists by
 * then. Not when that is the convolution's own input, which an in-place sum would overwrite while
 * it is read, and not a constant, which it would destroy.
 */
static void fuse_residual(struct rewrite *r, struct kerf_node *add)
{
	int a = add->inputs[0], b = add->inputs[1];
	const struct kerf_tensor *t = r->g->tensors;

	if (!rewrite_same_shape(r, a, b) || !rewrite_same_shape(r, a, add->output))
		return;
	int later = t[a].producer > t[b].producer ? a : b;
	int earlier = later == a ? b : a;
	struct kerf_node *conv = rewrite_producer(r, later);
	if (!conv || conv->op != KERF_OP_CONV || r->uses[later] != 1)
		return;
	if (conv->act.kind != KERF_ACT_NONE || conv->residual >= 0)
		return;
	if (earlier == conv->inputs[0] || rewrite_is_constant(r, earlier))
		return;
	conv->residual = earlier;
	rewrite_absorb(r, conv, add);
}

static void fuse_activation(struct rewrite *r, struct kerf_node *act)
{
	struct kerf_node *p = rewrite_producer(r, act->inputs[0]);

	if (!p || r->uses[act->inputs[0]] != 1 || p->act.kind != KERF_ACT_NONE)
		return;
	if (p->op != KERF_OP_CONV && p->op != KERF_OP_GEMM && p->op != KERF_OP_ADD &&
		p->op != KERF_OP_MUL && p->op != KERF_OP_BATCHNORM)
		return;
	p->act = act->act;
	rewrite_absorb(r, p, act);
}

/*
 * One walk does all: what stands before a node is final when the walk comes to it. A sum precedes
 * its activation, so out = act(op(...) + residual) comes about in the right order.
 */
int rewrite_fuse(struct rewrite *r)
{
	for (int i = 0; i < r->g->n_nodes; i++) {
		struct kerf_node *n = &r->g->nodes[i];
		/* On anything but an ACT, .act means that something is fused already. */
		bool plain = n->op == KERF_OP_ACT || n->act.kind == KERF_ACT_NONE;
		if (!rewrite_enter_node(r, i) || !plain || n->residual >= 0)
			continue;
		if (n->op == KERF_OP_MUL)
			recognise_self_gating(r, n);
		if (n->op == KERF_OP_MUL)
			recognise_scaled_gating(r, n);
		if (n->op == KERF_OP_ADD)
			fuse_residual(r, n);
		else if (n->op == KERF_OP_ACT)
			fuse_activation(r, n);
	}
	return 0;
}
