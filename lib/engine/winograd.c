/* Winograd's convolution (winograd.h): weights, patches with their pads, and what a part goes through. */
#include "engine/internal.h"

#include <omp.h>

static int64_t points(struct kerf_winograd_form f)
{
	return (int64_t)f.side * f.side;
}

const struct kerf_winograd_code *kerf_winograd_code(const struct kerf_direct *d)
{
	return d->code == &kerf_direct_avx512 ? &kerf_winograd_avx512 : &kerf_winograd_avx2;
}

/* ---- weights ---- */

size_t kerf_winograd_bytes(struct kerf_winograd_form f, const struct kerf_direct *product)
{
	return (size_t)((f.late ? f.taps * f.taps : points(f)) * product->y_row * product->ic) * sizeof(float);
}

struct kerf_direct kerf_winograd_late_tiles(struct kerf_winograd_form f, const struct kerf_direct *product)
{
	struct kerf_direct windows = *product;

	windows.kernel[0] = windows.kernel[1] = f.taps;
	windows.block = 1;
	return windows;
}

#define CHANNELS 16 /* input channels at once: their weights stay in the first cache */

void kerf_winograd_pack(struct kerf_winograd_form f, const struct kerf_direct *d, const float *from, float *to)
{
	const struct kerf_winograd_code *code = kerf_winograd_code(d);
	const int64_t plane = d->y_row * d->ic;
	struct kerf_direct window = *d;
	float block[WINOGRAD_MAX_TAPS * WINOGRAD_MAX_TAPS * CHANNELS * DIRECT_PACK];

	window.kernel[0] = window.kernel[1] = f.taps;
	for (int64_t group = 0; group < d->groups; group++) {
		const int64_t start = kerf_direct_first(d, group), width = kerf_direct_first(d, group + 1) - start;

		for (int64_t at = 0; at < width; at += DIRECT_PACK) {
			const int64_t n_lanes = KERF_MIN(width - at, DIRECT_PACK);

			for (int64_t first = 0; first < d->ic; first += CHANNELS) {
				const int64_t nc = KERF_MIN(d->ic - first, CHANNELS);

				kerf_direct_pack_lanes(&window, from, start + at, DIRECT_PACK, first, nc, DIRECT_PACK, block);
				for (int64_t c = 0; c < nc; c++)
					code->weights(f, block + c * DIRECT_PACK, nc * DIRECT_PACK, n_lanes, plane,
						to + (first + c) * width + at);
			}
		}
		to += d->ic * width;
	}
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
		.y = i / w->across % w->down * w->form.size,
		.x = i % w->across * w->form.size,
	};
}

/* A patch that reaches beyond its image, with zeros there. */
static void pad_patch(const struct kerf_winograd *w, const float *image, int64_t top, int64_t left, float *to)
{
	const int side = w->form.side;
	const int64_t from = KERF_MAX(0, -left), end = KERF_MIN(side, w->conv.w - left);

	for (int64_t y = top; y < top + side; y++, to += side * w->conv.ic) {
		if (y < 0 || y >= w->conv.h || from >= end) {
			memset(to, 0, (size_t)(side * w->conv.ic) * sizeof(*to));
			continue;
		}
		memset(to, 0, (size_t)(from * w->conv.ic) * sizeof(*to));
		memcpy(to + from * w->conv.ic, image + (y * w->conv.w + left + from) * w->conv.ic,
			(size_t)((end - from) * w->conv.ic) * sizeof(*to));
		memset(to + end * w->conv.ic, 0, (size_t)((side - end) * w->conv.ic) * sizeof(*to));
	}
}

static void read_patch(const struct kerf_winograd *w, const float *x, int64_t i, float *room, float *to)
{
	const struct patch p = find_patch(w, i);
	const int side = w->form.side;
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
	const struct kerf_direct *c = &w->conv;
	const struct patch p = find_patch(w, i);
	const int rows = (int)KERF_MIN(w->form.size, c->out_h - p.y), columns = (int)KERF_MIN(w->form.size, c->out_w - p.x);

	y += ((p.image * c->out_h + p.y) * c->out_w + p.x) * c->y_row + c->y_first;
	w->code->output(w, from, bias, rows, columns, y);
}

/* The product of one point and one group of outputs, for so many patches. */
static void multiply_group(
	const struct kerf_winograd *w, const float *weights, const float *x, float *y, int64_t group, int64_t count)
{
	const struct kerf_direct *d = &w->product;
	const int64_t channel = kerf_direct_first(d, group), width = kerf_direct_first(d, group + 1) - channel;
	struct kerf_direct_tile t = {
		.weights = weights,
		.channels = (int)width,
		.n_inputs = (int)d->ic,
		.first = true,
		.last = true,
	};
	const float *next = weights + width * d->ic;

	kerf_direct_run(d, &t, x, 0, y + channel, count, (const char *)next, width * d->ic * (int64_t)sizeof(float));
}

static void multiply(const struct kerf_winograd *w, const float *weights, const float *x, float *y, int64_t count)
{
	const struct kerf_direct *d = &w->product;

	for (int64_t point = 0; point < points(w->form); point++, x += w->x_point, y += w->y_point)
		for (int64_t group = 0; group < d->groups; group++)
			multiply_group(w, weights + (point * d->y_row + kerf_direct_first(d, group)) * d->ic, x, y, group, count);
}

/* The same a group at a time, whose weights are transformed into `room`: they stay in the second cache. */
static void multiply_late(
	const struct kerf_winograd *w, const float *weights, const float *x, float *y, int64_t count, float *room)
{
	const struct kerf_direct *d = &w->product;

	for (int64_t group = 0; group < d->groups; group++) {
		const int64_t width = kerf_direct_first(d, group + 1) - kerf_direct_first(d, group);

		w->code->late(w->form, weights, d->ic, width, room);
		for (int64_t point = 0; point < points(w->form); point++)
			multiply_group(
				w, room + point * d->ic * width, x + point * w->x_point, y + point * w->y_point, group, count);
		weights += w->form.taps * w->form.taps * d->ic * width;
	}
}

static void winograd_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_winograd *w = &s->winograd;
	const int64_t patches = w->conv.n * w->down * w->across;
	float *x = data[4] + omp_get_thread_num() * w->room, *y = x + points(w->form) * w->x_point;
	float *late = y + points(w->form) * w->y_point, *room = late + w->late;

	for (int64_t part = from; part < to; part++) {
		const int64_t first = patches * part / w->parts, end = patches * (part + 1) / w->parts;

		for (int64_t i = first; i < end; i++)
			read_patch(w, data[1], i, room, x + (i - first) * w->conv.ic);
		if (w->form.late)
			multiply_late(w, data[2], x, y, end - first, late);
		else
			multiply(w, data[2], x, y, end - first);
		for (int64_t i = first; i < end; i++)
			write_patch(w, y + (i - first) * w->product.y_row, data[3], i, data[0]);
	}
}

void kerf_step_winograd(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->winograd.parts, winograd_part);
}
