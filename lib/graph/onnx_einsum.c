/*
 * Einsum of one or two operands: what only one operand has and the result has not is summed up first, and what is left of two
 * is one product of matrices - [batch, left, summed] times [batch, summed, right] - in another order of dimensions.
 */
#include "graph/onnx_import.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TERMS 3 /* two operands and the result */
#define MAX_EQUATION 128

/* The letters of each operand and, behind them, of the result, one for each dimension. */
struct equation {
	char terms[MAX_TERMS][KERF_MAX_DIMS + 1];
	int n_operands;
};

static bool has(const char *term, char letter)
{
	return letter && strchr(term, letter);
}

static int equation_failed(struct onnx_import *imp, const Onnx__NodeProto *n, const char *text, const char *why)
{
	return onnx_fail(imp, n, "equation %.80s: %s", text, why);
}

/* Without an arrow the result has what occurs once, in alphabetical order. */
static int implied_result(struct onnx_import *imp, const Onnx__NodeProto *n, const char *text, struct equation *e)
{
	char *to = e->terms[e->n_operands];
	int count = 0;

	for (int letter = 'A'; letter <= 'z'; letter++) {
		int seen = 0;

		for (int i = 0; i < e->n_operands; i++)
			seen += has(e->terms[i], (char)letter);
		if (seen != 1)
			continue;
		if (count == KERF_MAX_DIMS)
			return equation_failed(imp, n, text, "too many dimensions");
		to[count++] = (char)letter;
	}
	return 0;
}

static int parse(struct onnx_import *imp, const Onnx__NodeProto *n, const char *text, struct equation *e)
{
	bool arrow = false;
	int term = 0, count = 0;

	*e = (struct equation){.n_operands = 1};
	for (const char *p = text; *p; p++) {
		if (*p == ' ')
			continue;
		if (p[0] == '-' && p[1] == '>' && !arrow) {
			arrow = true;
			p++;
		}
		else if (isalpha((unsigned char)*p)) {
			if (has(e->terms[term], *p))
				return equation_failed(imp, n, text, "a letter twice in one operand");
			if (count == KERF_MAX_DIMS)
				return equation_failed(imp, n, text, "too many dimensions");
			e->terms[term][count++] = *p;
			continue;
		}
		else if (*p == ',' && !arrow)
			e->n_operands++;
		else
			return equation_failed(imp, n, text, "expected letters, commas and one arrow");
		count = 0;
		if (++term == MAX_TERMS || e->n_operands == MAX_TERMS)
			return equation_failed(imp, n, text, "more than two operands");
	}
	return arrow ? 0 : implied_result(imp, n, text, e);
}

/* Every letter has one size, and the result none of its own. */
static int check_sizes(struct onnx_import *imp, const Onnx__NodeProto *n, const char *text, const struct equation *e, const int *id)
{
	for (int i = 0; i < e->n_operands; i++) {
		const struct kerf_tensor *t = &imp->g->tensors[id[i]];

		if (t->dtype != KERF_F32 || t->n_dims != (int)strlen(e->terms[i]))
			return equation_failed(imp, n, text, "an operand is not of so many dimensions of floats");
	}
	for (int d = 0; e->n_operands == 2 && e->terms[0][d]; d++) {
		const char *other = strchr(e->terms[1], e->terms[0][d]);

		if (other && imp->g->tensors[id[0]].dims[d] != imp->g->tensors[id[1]].dims[other - e->terms[1]])
			return equation_failed(imp, n, text, "a letter stands for two sizes");
	}
	for (const char *p = e->terms[e->n_operands]; *p; p++)
		if (!has(e->terms[0], *p) && !(e->n_operands == 2 && has(e->terms[1], *p)))
			return equation_failed(imp, n, text, "the result has a letter of its own");
	return 0;
}

/* Sums x over the letters of its term that neither the result nor the other operand has, and strikes them out. */
static int sum_up(struct onnx_import *imp, const Onnx__NodeProto *n, int x, char *term, const char *other, const char *result)
{
	struct kerf_node k = {.op = KERF_OP_REDUCE, .n_inputs = 1, .inputs = {x}, .reduce = KERF_REDUCE_SUM};
	int kept = 0;

	for (int d = 0; term[d]; d++) {
		if (has(other, term[d]) || has(result, term[d]))
			term[kept++] = term[d];
		else
			k.axes |= 1u << d;
	}
	term[kept] = 0;
	if (!k.axes)
		return x;
	x = onnx_emit(imp, n, &k, "_sum");
	return x < 0 ? x : onnx_drop_axes(imp, n, x, k.axes);
}

/* x, whose letters are those of `from`, in the order of `to`. */
static int reorder(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const char *from, const char *to, const char *suffix)
{
	struct kerf_node k = {.op = KERF_OP_TRANSPOSE, .n_inputs = 1, .inputs = {x}};

	if (strcmp(from, to) == 0)
		return x;
	for (int d = 0; to[d]; d++)
		k.perm[d] = (int)(strchr(from, to[d]) - from);
	return onnx_emit(imp, n, &k, suffix);
}

/* Appends the letters of `term` that are in a and in b, as wanted. */
static void select_letters(char *to, const char *term, const char *a, bool in_a, const char *b, bool in_b)
{
	size_t n = strlen(to);

	for (; *term; term++)
		if (has(a, *term) == in_a && has(b, *term) == in_b)
			to[n++] = *term;
	to[n] = 0;
}

/* How many values the letters stand for. */
static int64_t count_values(const struct kerf_tensor *t, const char *term, const char *letters)
{
	int64_t count = 1;

	for (; *letters; letters++)
		count *= t->dims[strchr(term, *letters) - term];
	return count;
}

static int emit_product(struct onnx_import *imp, const Onnx__NodeProto *n, const char *text, const struct equation *e, const int *id)
{
	const char *a = e->terms[0], *b = e->terms[1], *result = e->terms[2];
	const struct kerf_tensor ta = imp->g->tensors[id[0]], tb = imp->g->tensors[id[1]];
	char batch[KERF_MAX_DIMS + 1] = "", summed[KERF_MAX_DIMS + 1] = "", left[KERF_MAX_DIMS + 1] = "",
	     right[KERF_MAX_DIMS + 1] = "", order[3 * KERF_MAX_DIMS + 1];
	struct kerf_node k = {.op = KERF_OP_MATMUL, .n_inputs = 2};
	int64_t dims[3 * KERF_MAX_DIMS];

	select_letters(batch, a, b, true, result, true);
	select_letters(summed, a, b, true, result, false);
	select_letters(left, a, b, false, result, true);
	select_letters(right, b, a, false, result, true);
	const int64_t n_batch = count_values(&ta, a, batch), n_summed = count_values(&ta, a, summed);
	const int64_t n_left = count_values(&ta, a, left), n_right = count_values(&tb, b, right);

	snprintf(order, sizeof(order), "%s%s%s", batch, left, summed);
	k.inputs[0] = reorder(imp, n, id[0], a, order, "_left");
	snprintf(order, sizeof(order), "%s%s%s", batch, summed, right);
	k.inputs[1] = k.inputs[0] < 0 ? k.inputs[0] : reorder(imp, n, id[1], b, order, "_right");
	if (k.inputs[1] < 0)
		return k.inputs[1];
	k.inputs[0] = onnx_emit_reshape(imp, n, k.inputs[0], 3, (const int64_t[]){n_batch, n_left, n_summed}, "_rows");
	if (k.inputs[0] < 0)
		return k.inputs[0];
	k.inputs[1] = onnx_emit_reshape(imp, n, k.inputs[1], 3, (const int64_t[]){n_batch, n_summed, n_right}, "_columns");
	if (k.inputs[1] < 0)
		return k.inputs[1];
	int y = onnx_emit(imp, n, &k, "_product");
	snprintf(order, sizeof(order), "%s%s%s", batch, left, right);
	const int n_dims = (int)strlen(order);
	if (n_dims > KERF_MAX_DIMS)
		return equation_failed(imp, n, text, "too many dimensions");
	for (int d = 0; d < n_dims; d++)
		dims[d] = has(a, order[d]) ? count_values(&ta, a, (const char[]){order[d], 0})
					   : count_values(&tb, b, (const char[]){order[d], 0});
	if (y >= 0)
		y = onnx_emit_reshape(imp, n, y, n_dims, dims, "_split");
	return y < 0 ? y : reorder(imp, n, y, order, result, "");
}

int onnx_import_einsum(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	char text[MAX_EQUATION] = "";
	struct equation e;
	int id[2] = {KERF_NONE, KERF_NONE};

	if (onnx_attr_text(imp, n, "equation", text, sizeof(text)) < 0 || parse(imp, n, text, &e) < 0)
		return -EINVAL;
	if ((int)n->n_input != e.n_operands)
		return equation_failed(imp, n, text, "another number of operands");
	for (int i = 0; i < e.n_operands; i++) {
		if (onnx_input(imp, n, i, &id[i]) < 0)
			return -EINVAL;
		if (id[i] < 0)
			return onnx_fail(imp, n, "operand %d is missing", i);
	}
	if (check_sizes(imp, n, text, &e, id) < 0)
		return -EINVAL;
	for (int i = 0; i < e.n_operands; i++)
		if ((id[i] = sum_up(imp, n, id[i], e.terms[i], e.n_operands == 2 ? e.terms[1 - i] : "", e.terms[e.n_operands])) < 0)
			return id[i];
	return e.n_operands == 2 ? emit_product(imp, n, text, &e, id) : reorder(imp, n, id[0], e.terms[0], e.terms[1], "");
}
