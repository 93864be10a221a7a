/* Which convolutions Winograd's is for, and their lowering. */
#include "engine/internal.h"

#include <math.h>
#include <stdlib.h>

/* From 20 rows and columns on 6x6 points waste little of their last patches; below, their weights would be most of the traffic. */
#define LARGE_IMAGE 20
#define SMALL_IMAGE 12

/*
 * A loaded network is to take at most 1.3 times its weights: what the steps and their primitives leave of that is spare.
 * Small networks may have as much as is small beside the process.
 */
#define MOST(bytes) ((bytes) / 10 * 13)
#define STEP_BYTES ((size_t)18 << 10)
#define LEAST_SPARE ((size_t)640 << 10)

/* Late weights of a pair of channels take as long to transform as so many products for each point; a group's should stay in
 * the second cache. */
#define LATE_PRODUCTS 3.5
#define LATE_BYTES (1280 << 10)

/* Transformed inputs and products of a part should stay in the second cache, unless it would only wait for weights then. */
#define PART_BYTES (768 << 10)
#define PART_PATCHES 49

#define MOST_STEPS 2 /* of a node */

/* A node in this form rather than in the one before. */
struct step_up {
	int node;
	struct kerf_winograd_form before, form;
	size_t bytes; /* that its weights grow by */
	double saved; /* products for each of them */
};

static bool suits(const struct builder *b, int node)
{
	const struct kerf_node *n = &b->g->nodes[node];

	if (n->op != KERF_OP_CONV || n->groups > 1 || b->narrow[node])
		return false;
	for (int i = 0; i < 2; i++)
		if (n->kernel[i] != n->kernel[0] || n->strides[i] != 1 || n->dilations[i] != 1)
			return false;
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]], *y = &b->g->tensors[n->output];
	return (n->kernel[0] == 3 || n->kernel[0] == 5) && w->data && w->dims[0] >= 16 && w->dims[1] >= 16 &&
		KERF_MIN(y->dims[2], y->dims[3]) >= SMALL_IMAGE;
}

static bool takes_large_patches(const struct builder *b, int node)
{
	const struct kerf_node *n = &b->g->nodes[node];
	const struct kerf_tensor *y = &b->g->tensors[n->output];

	return n->kernel[0] == 3 && KERF_MIN(y->dims[2], y->dims[3]) >= LARGE_IMAGE;
}

/*
 * Bytes without VNNI and bf16 without AMX are multiplied twice as fast as f32 at most. These forms leave a quarter or 36% of
 * the products.
 */
bool kerf_winograd_beats_narrow(const struct builder *b, int node)
{
	const bool vnni = dnn_isa_has(dnnl_cpu_isa_avx512_core_vnni) || dnn_isa_has(dnnl_cpu_isa_avx2_vnni);
	const bool amx = dnn_isa_has(dnnl_cpu_isa_avx512_core_amx);
	const bool is_slow = (b->precision == KERF_PRECISION_INT8 && !vnni) || (b->precision == KERF_PRECISION_BF16 && !amx);

	return is_slow && kerf_direct_code() && suits(b, node) &&
		(takes_large_patches(b, node) || b->g->nodes[node].kernel[0] == 5);
}

static int64_t count_patches(const struct kerf_tensor *y, struct kerf_winograd_form f)
{
	return (y->dims[2] + f.size - 1) / f.size * ((y->dims[3] + f.size - 1) / f.size);
}

/* Of an image, for each pair of channels. */
static double products(const struct kerf_tensor *y, struct kerf_winograd_form f, int taps)
{
	if (f.size == 0)
		return (double)(taps * taps * y->dims[2] * y->dims[3]);
	return (double)(f.side * f.side) * ((double)count_patches(y, f) + (f.late ? LATE_PRODUCTS : 0));
}

static int64_t late_floats(struct kerf_winograd_form f, const struct kerf_direct *product)
{
	return (int64_t)f.side * f.side * product->ic * product->code->lanes * product->code->vectors;
}

/* The patches are to be one part, as each transforms the weights for itself. */
static bool may_be_late(const struct builder *b, int node, struct kerf_winograd_form f)
{
	const struct kerf_tensor *t = b->g->tensors, *y = &t[b->g->nodes[node].output];
	const struct kerf_direct product = kerf_direct_product(t[b->g->nodes[node].inputs[0]].dims[1], y->dims[1]);

	return f.taps == 3 && y->dims[0] * count_patches(y, f) <= PART_PATCHES &&
		late_floats(f, &product) * (int64_t)sizeof(float) <= LATE_BYTES;
}

/* Late forms cost no memory and come first. */
static struct step_up consider(
	const struct builder *b, int node, struct kerf_winograd_form before, struct kerf_winograd_form form)
{
	const struct kerf_node *n = &b->g->nodes[node];
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]], *y = &b->g->tensors[n->output];
	const struct kerf_direct product = kerf_direct_product(w->dims[1], w->dims[0]);
	const size_t small = before.size && !before.late ? kerf_winograd_bytes(before, &product) : kerf_tensor_bytes(w);
	const size_t bytes = form.late ? 0 : kerf_winograd_bytes(form, &product) - small;
	const double saved = products(y, before, form.taps) - products(y, form, form.taps);

	return (struct step_up){.node = node,
		.before = before,
		.form = form,
		.bytes = bytes,
		.saved = form.late ? INFINITY : saved * (double)(y->dims[0] * w->dims[0] * w->dims[1]) / (double)bytes};
}

static int by_saving(const void *a, const void *b)
{
	const struct step_up *x = a, *y = b;

	if (x->saved != y->saved)
		return x->saved < y->saved ? 1 : -1;
	return x->node != y->node ? x->node - y->node : x->form.size - y->form.size;
}

static bool is_same(struct kerf_winograd_form a, struct kerf_winograd_form b)
{
	return a.size == b.size && a.late == b.late;
}

static size_t spare_bytes(const struct kerf_graph *g)
{
	const size_t steps = (size_t)g->n_nodes * STEP_BYTES;
	size_t bytes = 0;

	for (int i = 0; i < g->n_tensors; i++)
		bytes += g->tensors[i].data ? kerf_tensor_bytes(&g->tensors[i]) : 0;
	return KERF_MAX(MOST(bytes), bytes + steps + LEAST_SPARE) - bytes - steps;
}

/* The forms that a node goes through as there is memory for them: late ones need none. Returns how many. */
static size_t consider_node(const struct builder *b, int node, struct step_up steps[MOST_STEPS])
{
	static const struct kerf_winograd_form none, small = {2, 3, 4}, large = {4, 3, 6}, wide = {2, 5, 6};
	const bool is_large = takes_large_patches(b, node);
	struct kerf_winograd_form at = none, late = is_large ? large : small;
	size_t n = 0;

	if (b->g->nodes[node].kernel[0] == wide.taps) {
		steps[n++] = consider(b, node, at, wide);
		return n;
	}
	late.late = true;
	if (may_be_late(b, node, late)) {
		steps[n++] = consider(b, node, at, late);
		at = late;
	}
	if (at.size != large.size) {
		steps[n++] = consider(b, node, at, small);
		at = small;
	}
	if (is_large)
		steps[n++] = consider(b, node, at, large);
	return n;
}

int kerf_winograd_decide(struct builder *b)
{
	const struct kerf_graph *g = b->g;
	size_t spare = spare_bytes(g), n = 0;
	struct step_up *steps;

	if (!kerf_direct_code())
		return 0;
	steps = calloc(MOST_STEPS * (size_t)g->n_nodes, sizeof(*steps));
	if (!steps)
		return kerf_err_set(b->err, -ENOMEM, "out of memory");
	for (int node = 0; node < g->n_nodes; node++)
		if (suits(b, node))
			n += consider_node(b, node, steps + n);
	qsort(steps, n, sizeof(*steps), by_saving);
	for (size_t i = 0; i < n; i++) {
		const struct step_up *u = &steps[i];

		if (u->bytes > spare || !is_same(b->winograd[u->node], u->before))
			continue;
		spare -= u->bytes;
		b->winograd[u->node] = u->form;
	}
	free(steps);
	return 0;
}

/* ---- lowering ---- */

/* Floats up to the next odd number of cache lines: the same place in each of many matrices is not in the same set then. */
static int64_t odd_lines(int64_t floats)
{
	return (int64_t)((kerf_align_up((size_t)floats * sizeof(float)) / KERF_ALIGN) | 1) * KERF_ALIGN / (int64_t)sizeof(float);
}

static struct kerf_winograd describe(const struct kerf_direct *conv, struct kerf_winograd_form f, unsigned team)
{
	struct kerf_winograd w = {
		.code = kerf_winograd_code(conv),
		.form = f,
		.conv = *conv,
		.product = kerf_direct_product(conv->ic, conv->oc),
		.down = (conv->out_h + f.size - 1) / f.size,
		.across = (conv->out_w + f.size - 1) / f.size,
	};
	const int64_t points = f.side * f.side, patches = conv->n * w.down * w.across;
	const int64_t bytes = points * (conv->ic + w.product.y_row) * (int64_t)sizeof(float);
	const int64_t most = KERF_MAX(PART_PATCHES, PART_BYTES / bytes);

	w.parts = (patches + most - 1) / most;
	w.parts = KERF_MIN((w.parts + team - 1) / team * team, patches);

	const int64_t largest = (patches + w.parts - 1) / w.parts;
	w.x_point = odd_lines(largest * conv->ic);
	w.y_point = odd_lines(largest * w.product.y_row);
	w.late = f.late ? late_floats(f, &w.product) : 0;
	w.room = odd_lines(points * (w.x_point + w.y_point + conv->ic) + w.late);
	return w;
}

int kerf_lower_winograd(struct builder *b, const struct kerf_node *n, int residual)
{
	const struct kerf_winograd_form f = b->winograd[b->node];
	struct own_conv own;
	char name[32];
	const int rc = kerf_lower_own_conv(b, n, residual, &own);

	if (rc < 0)
		return rc;
	const struct kerf_winograd w = describe(&own.conv, f, b->e->team.threads);
	const struct kerf_direct tiles = f.late ? kerf_winograd_late_tiles(f, &w.product) : w.product;
	struct weight *weights = kerf_lower_own_weights(b, n, &own, &tiles, kerf_winograd_bytes(f, &w.product));
	if (!weights)
		return -ENOMEM;
	weights->winograd = f;
	snprintf(name, sizeof(name), "conv winograd F(%d,%d)%s", f.size, f.taps, f.late ? " late" : "");
	struct step *s = kerf_lower_own_step(b, name, kerf_step_winograd, &own, w.room);
	if (!s)
		return -ENOMEM;
	s->winograd = w;
	return kerf_lower_tail(b, own.operands[0], KERF_NONE, own.left);
}
