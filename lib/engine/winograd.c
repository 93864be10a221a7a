/* Winograd's convolution (winograd.h): weights, patches with their pads, and what a part goes through. */
#include "engine/internal.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>

static int64_t points(int size)
{
	return (int64_t)(size + 2) * (size + 2);
}

struct kerf_direct kerf_winograd_product(int64_t ic, int64_t oc)
{
	struct kerf_direct d = {
		.code = kerf_direct_code(),
		.n = 1,
		.h = 1,
		.w = 1,
		.ic = ic,
		.out_h = 1,
		.out_w = INT64_MAX,
		.oc = oc,
		.block = ic,
		.band = 1,
		.kernel = {1, 1},
		.strides = {1, 1},
		.dilations = {1, 1},
		.lo = -INFINITY,
		.hi = INFINITY,
	};

	d.groups = kerf_direct_divide(&d, 1);
	d.y_row = kerf_direct_first(&d, d.groups);
	return d;
}

/* ---- weights ---- */

size_t kerf_winograd_bytes(int size, const struct kerf_direct *product)
{
	return (size_t)(points(size) * product->y_row * product->ic) * sizeof(float);
}

#define PACK 16 /* output channels at once: a cache line */

/* Three weights of each lane into the points of a line. */
static void spread(int size, double g[3][PACK], double u[WINOGRAD_MAX_SIDE][PACK])
{
	const double of_p = 1 / (2 * WINOGRAD_P2 * (WINOGRAD_P2 - WINOGRAD_Q2));
	const double of_q = 1 / (2 * WINOGRAD_Q2 * (WINOGRAD_Q2 - WINOGRAD_P2));

	for (int l = 0; l < PACK; l++) {
		const double a = g[0][l], b = g[1][l], c = g[2][l];

		if (size == 2) {
			u[0][l] = a;
			u[1][l] = (a + c + b) / 2;
			u[2][l] = (a + c - b) / 2;
			u[3][l] = c;
			continue;
		}
		u[0][l] = a * (1 / (WINOGRAD_P2 * WINOGRAD_Q2));
		u[1][l] = (a + WINOGRAD_P2 * c + WINOGRAD_P * b) * of_p;
		u[2][l] = (a + WINOGRAD_P2 * c - WINOGRAD_P * b) * of_p;
		u[3][l] = (a + WINOGRAD_Q2 * c + WINOGRAD_Q * b) * of_q;
		u[4][l] = (a + WINOGRAD_Q2 * c - WINOGRAD_Q * b) * of_q;
		u[5][l] = c;
	}
}

/* Up to PACK output channels from `lane` on, for input channel c: each point's lanes into its plane. */
static void pack_channel(int size, const struct kerf_direct *d, const float *from, int64_t lane, int64_t n_lanes, int64_t c,
	int64_t plane, float *to)
{
	const int side = size + 2;
	double g[3][3][PACK] = {0}, half[WINOGRAD_MAX_SIDE][3][PACK], line[WINOGRAD_MAX_SIDE][PACK];

	for (int64_t l = 0; l < n_lanes && lane + l < d->oc; l++)
		for (int k = 0; k < 9; k++)
			g[k % 3][k / 3][l] = (double)from[((lane + l) * d->ic + c) * 9 + k];
	for (int x = 0; x < 3; x++) {
		spread(size, g[x], line);
		for (int i = 0; i < side; i++)
			memcpy(half[i][x], line[i], sizeof(line[i]));
	}
	for (int i = 0; i < side; i++) {
		spread(size, half[i], line);
		for (int j = 0; j < side; j++, to += plane)
			for (int64_t l = 0; l < n_lanes; l++)
				to[l] = (float)line[j][l];
	}
}

void kerf_winograd_pack(int size, const struct kerf_direct *d, const float *from, float *to)
{
	const int64_t plane = d->y_row * d->ic;

	for (int64_t group = 0; group < d->groups; group++) {
		const int64_t start = kerf_direct_first(d, group), width = kerf_direct_first(d, group + 1) - start;

		for (int64_t c = 0; c < d->ic; c++, to += width)
			for (int64_t at = 0; at < width; at += PACK)
				pack_channel(size, d, from, start + at, KERF_MIN(width - at, PACK), c, plane, to + at);
	}
}

/* ---- which convolutions ---- */

/* From 20 rows and columns on 6x6 points waste little of their last patches; below, their weights would be most of the traffic. */
#define LARGE_IMAGE 20
#define SMALL_IMAGE 12

/* Transformed weights may make a network larger by a quarter, or by what is small beside the process. */
#define SPARE_BYTES ((size_t)4 << 20)

/* A node with these tiles rather than the next smaller ones. */
struct step_up {
	int node, size;
	size_t bytes;   /* that its weights grow by */
	double saved;   /* products for each of them */
};

static bool suits(const struct builder *b, int node)
{
	const struct kerf_node *n = &b->g->nodes[node];

	if (n->op != KERF_OP_CONV || n->groups > 1 || b->narrow[node])
		return false;
	for (int i = 0; i < 2; i++)
		if (n->kernel[i] != 3 || n->strides[i] != 1 || n->dilations[i] != 1)
			return false;
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]], *y = &b->g->tensors[n->output];
	return w->data && w->dims[0] >= 16 && w->dims[1] >= 16 && KERF_MIN(y->dims[2], y->dims[3]) >= SMALL_IMAGE;
}

static double products(const struct kerf_tensor *y, int size)
{
	const int64_t side = size + 2;

	if (size == 0)
		return 9 * (double)(y->dims[2] * y->dims[3]);
	return (double)(side * side * ((y->dims[2] + size - 1) / size) * ((y->dims[3] + size - 1) / size));
}

/* From `before` to `size`, 0 being no tiles. */
static struct step_up consider(const struct builder *b, int node, int before, int size)
{
	const struct kerf_node *n = &b->g->nodes[node];
	const struct kerf_tensor *w = &b->g->tensors[n->inputs[1]], *y = &b->g->tensors[n->output];
	const struct kerf_direct product = kerf_winograd_product(w->dims[1], w->dims[0]);
	const size_t small = before ? kerf_winograd_bytes(before, &product) : kerf_tensor_bytes(w);
	const size_t bytes = kerf_winograd_bytes(size, &product) - small;
	const double saved = (products(y, before) - products(y, size)) * (double)(y->dims[0] * w->dims[0] * w->dims[1]);

	return (struct step_up){.node = node, .size = size, .bytes = bytes, .saved = saved / (double)bytes};
}

static int by_saving(const void *a, const void *b)
{
	const struct step_up *x = a, *y = b;

	if (x->saved != y->saved)
		return x->saved < y->saved ? 1 : -1;
	return x->node != y->node ? x->node - y->node : x->size - y->size;
}

static size_t spare_bytes(const struct kerf_graph *g)
{
	size_t bytes = 0;

	for (int i = 0; i < g->n_tensors; i++)
		bytes += g->tensors[i].data ? kerf_tensor_bytes(&g->tensors[i]) : 0;
	return KERF_MAX(bytes / 4, SPARE_BYTES);
}

int kerf_winograd_decide(struct builder *b)
{
	const struct kerf_graph *g = b->g;
	size_t spare = spare_bytes(g), n = 0;
	struct step_up *steps;

	if (!kerf_direct_code())
		return 0;
	steps = calloc(2 * (size_t)g->n_nodes, sizeof(*steps));
	if (!steps)
		return kerf_err_set(b->err, -ENOMEM, "out of memory");
	for (int node = 0; node < g->n_nodes; node++) {
		if (!suits(b, node))
			continue;
		const struct kerf_tensor *y = &g->tensors[g->nodes[node].output];
		steps[n++] = consider(b, node, 0, 2);
		if (KERF_MIN(y->dims[2], y->dims[3]) >= LARGE_IMAGE)
			steps[n++] = consider(b, node, 2, 4);
	}
	qsort(steps, n, sizeof(*steps), by_saving);
	for (size_t i = 0; i < n; i++) {
		const struct step_up *u = &steps[i];

		if (u->bytes > spare || b->winograd[u->node] != u->size - 2)
			continue;
		spare -= u->bytes;
		b->winograd[u->node] = u->size;
	}
	free(steps);
	return 0;
}

/* ---- running ---- */

/* A patch: of which image, and the first of its outputs. */
struct patch {
	int64_t image, y, x;
};

static struct patch find_patch(const struct kerf_winograd *w, int64_t i)
{
	return (struct patch){
		.image = i / (w->down * w->across),
		.y = i / w->across % w->down * w->size,
		.x = i % w->across * w->size,
	};
}

/* A patch that reaches beyond its image, with zeros there. */
static void pad_patch(const struct kerf_winograd *w, const float *image, int64_t top, int64_t left, float *to)
{
	const int side = w->size + 2;
	const int64_t from = KERF_MAX(0, -left), end = KERF_MIN(side, w->conv.w - left);

	for (int64_t y = top; y < top + side; y++, to += side * w->conv.ic) {
		if (y < 0 || y >= w->conv.h || from >= end) {
			memset(to, 0, (size_t)(side * w->conv.ic) * sizeof(*to));
			continue;
		}
		memset(to, 0, (size_t)(from * w->conv.ic) * sizeof(*to));
		memcpy(to + from * w->conv.ic, image + (y * w->conv.w + left + from) * w->conv.ic, (size_t)((end - from) * w->conv.ic) * sizeof(*to));
		memset(to + end * w->conv.ic, 0, (size_t)((side - end) * w->conv.ic) * sizeof(*to));
	}
}

static void read_patch(const struct kerf_winograd *w, const float *x, int64_t i, float *room, float *to)
{
	const struct patch p = find_patch(w, i);
	const int side = w->size + 2;
	const int64_t top = p.y - w->conv.pads[0], left = p.x - w->conv.pads[1];
	const float *image = x + p.image * w->conv.h * w->conv.w * w->conv.ic;

	if (top >= 0 && left >= 0 && top + side <= w->conv.h && left + side <= w->conv.w) {
		w->code->input(w, image + (top * w->conv.w + left) * w->conv.ic, w->conv.w * w->conv.ic, to);
		return;
	}
	pad_patch(w, image, top, left, room);
	w->code->input(w, room, side * w->conv.ic, to);
}

static void write_patch(const struct kerf_winograd *w, const float *from, const float *bias, int64_t i, float *y)
{
	const struct patch p = find_patch(w, i);

	y += ((p.image * w->conv.out_h + p.y) * w->conv.out_w + p.x) * w->conv.y_row + w->conv.y_first;
	w->code->output(w, from, bias, (int)KERF_MIN(w->size, w->conv.out_h - p.y), (int)KERF_MIN(w->size, w->conv.out_w - p.x), y);
}

/* The matrix product of each point, for so many patches. */
static void multiply(const struct kerf_winograd *w, const float *weights, const float *x, float *y, int64_t count)
{
	const struct kerf_direct *d = &w->product;

	for (int64_t point = 0; point < points(w->size); point++, x += w->x_point, y += w->y_point) {
		for (int64_t group = 0; group < d->groups; group++) {
			const int64_t channel = kerf_direct_first(d, group);
			const int64_t width = kerf_direct_first(d, group + 1) - channel;
			struct kerf_direct_tile t = {
				.weights = weights,
				.channels = (int)width,
				.n_inputs = (int)d->ic,
				.first = true,
				.last = true,
			};

			weights += width * d->ic;
			kerf_direct_run(d, &t, x, y + channel, count, (const char *)weights,
				width * d->ic * (int64_t)sizeof(float));
		}
	}
}

static void winograd_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_winograd *w = &s->winograd;
	const int64_t patches = w->conv.n * w->down * w->across;
	float *x = data[4] + omp_get_thread_num() * w->room, *y = x + points(w->size) * w->x_point;
	float *room = y + points(w->size) * w->y_point;

	for (int64_t part = from; part < to; part++) {
		const int64_t first = patches * part / w->parts, end = patches * (part + 1) / w->parts;

		for (int64_t i = first; i < end; i++)
			read_patch(w, data[1], i, room, x + (i - first) * w->conv.ic);
		multiply(w, data[2], x, y, end - first);
		for (int64_t i = first; i < end; i++)
			write_patch(w, y + (i - first) * w->product.y_row, data[3], i, data[0]);
	}
}

void kerf_step_winograd(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->winograd.parts, winograd_part);
}
