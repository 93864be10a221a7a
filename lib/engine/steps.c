/*
 * The steps that are our own. Work is split over the team along the outermost dimension, and only
 * when there is enough of it: a barrier costs 1 to 2 us. Splitting never changes what is added to
 * what, so any number of threads gives the same bits.
 */
#include "engine/internal.h"

#include <assert.h>
#include <math.h>

/* Below this many output elements one thread is faster than a team. */
#define TEAM_ELEMENTS 16384

void kerf_step_split(const struct step *s, float *const *data, unsigned team, int64_t n, part_fn part)
{
	if (team < 2 || n < 2 || s->elements < TEAM_ELEMENTS) {
		part(s, data, 0, n);
		return;
	}
	int64_t parts = KERF_MIN(n, (int64_t)team);
#pragma omp parallel for num_threads(team) schedule(static, 1)
	for (int64_t i = 0; i < parts; i++)
		part(s, data, n * i / parts, n * (i + 1) / parts);
}

/* ---- elementwise ---- */

#define LINE 16 /* floats of a cache line: no two threads write to one */

static void act_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	int64_t at = from * LINE, end = KERF_MIN(to * LINE, s->elements);

	kerf_rows()->act(&s->act, data[1] + at, data[0] + at, (size_t)(end - at));
}

void kerf_step_act(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, (s->elements + LINE - 1) / LINE, act_part);
}

static void narrow_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct narrow *w = &s->narrow;
	const int64_t at = from * LINE, end = KERF_MIN(to * LINE, s->elements);
	void *y = data[0];

	if (w->bf16)
		kerf_rows()->to_bf16(data[1] + at, (uint16_t *)y + at, (size_t)(end - at));
	else
		kerf_rows()->to_int8(data[1] + at, w->inverse, w->lo, w->hi, (uint8_t *)y + at, (size_t)(end - at));
}

void kerf_step_narrow(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, (s->elements + LINE - 1) / LINE, narrow_part);
}

/* Position in all but the innermost dimension of a nest, and where that is in each operand. */
struct cursor {
	int64_t index[KERF_MAX_DIMS];
	int64_t at[3];
};

static void cursor_start(const struct nest *nest, int64_t outer, struct cursor *c)
{
	*c = (struct cursor){.index[0] = nest->n_dims > 1 ? outer : 0};
	for (int k = 0; k < 3; k++)
		c->at[k] = nest->start[k] + c->index[0] * nest->stride[k][0];
}

/* On to the next row; false behind the last one. */
static bool cursor_next(const struct nest *nest, struct cursor *c)
{
	for (int d = nest->n_dims - 2; d >= 0; d--) {
		for (int k = 0; k < 3; k++)
			c->at[k] += nest->stride[k][d];
		if (++c->index[d] < nest->extent[d])
			return true;
		for (int k = 0; k < 3; k++)
			c->at[k] -= nest->stride[k][d] * nest->extent[d];
		c->index[d] = 0;
	}
	return false;
}

typedef void (*row_fn)(
	const struct step *s, float *const *data, const int64_t at[3], int64_t from, int64_t n);

/* Runs row() over turns [from, to) of the outermost dimension. */
static void walk(const struct step *s, float *const *data, int64_t from, int64_t to, row_fn row)
{
	const struct nest *nest = &s->nest;
	struct cursor c;

	if (nest->n_dims == 1) {
		cursor_start(nest, 0, &c);
		row(s, data, c.at, from, to - from);
		return;
	}
	cursor_start(nest, from, &c);
	while (c.index[0] < to) {
		row(s, data, c.at, 0, nest->extent[nest->n_dims - 1]);
		if (!cursor_next(nest, &c))
			break;
	}
}

/* Any two operands, one value at a time; min and max pass a NaN on. */
static void combine(enum kerf_op op, const float *pa, int64_t sa, const float *pb, int64_t sb, float *y, int64_t n)
{
#define EACH(f)                                                                                    \
	for (int64_t i = 0; i < n; i++) {                                                          \
		const float a = pa[i * sa], b = pb[i * sb];                                        \
		y[i] = (f);                                                                        \
	}                                                                                          \
	break
	switch (op) {
	case KERF_OP_ADD: EACH(a + b);
	case KERF_OP_MUL: EACH(a * b);
	case KERF_OP_DIV: EACH(a / b);
	case KERF_OP_MIN: EACH(a < b || a != a ? a : b);
	case KERF_OP_MAX: EACH(a > b || a != a ? a : b);
	case KERF_OP_POW: EACH(powf(a, b));
	case KERF_OP_PRELU: EACH(a < 0 ? a * b : a);
	case KERF_OP_EQUAL: EACH(a == b);
	case KERF_OP_LESS: EACH(a < b);
	case KERF_OP_LESS_EQUAL: EACH(a <= b);
	case KERF_OP_MASK: EACH(b != 0 ? a : 0);
	default: assert(!"not an operator of two operands");
	}
#undef EACH
}

/*
 * A row of a binary operation. The operands of sums and products walk densely or stand still in
 * nearly every network; anything else (a broadcast that crosses NHWC in an odd way) and the other
 * operators go one value at a time.
 */
static void binary_row(
	const struct step *s, float *const *data, const int64_t at[3], int64_t from, int64_t n)
{
	const struct kerf_rows *rows = kerf_rows();
	const struct nest *nest = &s->nest;
	int d = nest->n_dims - 1;
	int64_t sa = nest->stride[1][d], sb = nest->stride[2][d];
	float *y = data[0] + at[0] + from;
	const float *a = data[1] + at[1] + from * sa, *b = data[2] + at[2] + from * sb;
	const bool adds = s->op == KERF_OP_ADD, fast = adds || s->op == KERF_OP_MUL;

	if (fast && sa == 1 && sb == 1)
		(adds ? rows->add : rows->mul)(a, b, y, (size_t)n);
	else if (fast && sa == 1 && sb == 0)
		(adds ? rows->add_one : rows->mul_one)(a, *b, y, (size_t)n);
	else if (fast && sa == 0 && sb == 1)
		(adds ? rows->add_one : rows->mul_one)(b, *a, y, (size_t)n);
	else
		combine(s->op, a, sa, b, sb, y, n);
}

/* Whether operand k is dense rows, as the output is, and the other one the same for each of them. */
static bool is_rows_by_one(const struct nest *nest, int k)
{
	const int64_t n = nest->extent[1];

	return nest->n_dims == 2 && nest->stride[0][0] == n && nest->stride[k][0] == n && nest->stride[3 - k][0] == 0 &&
		nest->stride[0][1] == 1 && nest->stride[k][1] == 1 && nest->stride[3 - k][1] == 1;
}

static void binary_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct nest *nest = &s->nest;
	const int64_t skipped = from * nest->extent[nest->n_dims - 1];

	for (int k = 1; k <= 2 && s->op == KERF_OP_MUL; k++)
		if (is_rows_by_one(nest, k)) {
			kerf_rows()->mul_rows(data[k] + nest->start[k] + skipped, data[3 - k] + nest->start[3 - k],
				data[0] + nest->start[0] + skipped, (size_t)(to - from), (size_t)nest->extent[1]);
			return;
		}
	walk(s, data, from, to, binary_row);
}

void kerf_step_binary(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->nest.extent[0], binary_part);
}

static void scale_shift_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_rows *rows = kerf_rows();
	const struct channels *ch = &s->channels;
	const float *scale = data[2], *shift = data[3];
	float *y = data[0] + from * ch->c * ch->inner;

	for (int64_t o = from; o < to; o++) {
		const float *x = data[1] + ch->x_first + o * ch->x_row;

		if (ch->inner == 1) {
			rows->scale_shift(x, scale, shift, ch->lo, y, (size_t)ch->c);
			y += ch->c;
			continue;
		}
		for (int64_t c = 0; c < ch->c; c++)
			for (int64_t i = 0; i < ch->inner; i++) {
				const float v = fmaf(*x++, scale[c], shift[c]);
				*y++ = v < ch->lo ? ch->lo : v;
			}
	}
}

void kerf_step_scale_shift(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->channels.outer, scale_shift_part);
}

/* ---- pooling ---- */

/* The places of one output position along one side: the first inside the input, and how many. */
struct side {
	int64_t first, n_inside, n_counted;
};

static struct side clip_side(const struct pool *a, int axis, int64_t out)
{
	int64_t size = axis ? a->w : a->h;
	int64_t begin = out * a->strides[axis] - a->pads[axis];
	int64_t padded_end = size + a->pads[axis + 2];
	struct side r = {.first = begin};

	for (int k = 0; k < a->kernel[axis]; k++) {
		int64_t at = begin + (int64_t)k * a->dilations[axis];
		bool inside = at >= 0 && at < size;
		if (inside && r.n_inside++ == 0)
			r.first = at;
		r.n_counted += a->count_include_pad ? at < padded_end : inside;
	}
	return r;
}

/* One part is a block of channels at one output position. */
#define CHANNEL_BLOCK 64

/* The window of an output position: from its first place inside the input on, which *at is. */
static struct kerf_window window_at(const struct pool *a, int64_t position, int64_t *at)
{
	const int64_t ox = position % a->out_w, oy = position / a->out_w % a->out_h;
	const int64_t image = position / (a->out_w * a->out_h);
	const struct side y = clip_side(a, 0, oy), x = clip_side(a, 1, ox);

	*at = ((image * a->h + y.first) * a->w + x.first) * a->c;
	return (struct kerf_window){
		.rows = (size_t)y.n_inside,
		.columns = (size_t)x.n_inside,
		.row_step = (size_t)(a->dilations[0] * a->w * a->c),
		.column_step = (size_t)(a->dilations[1] * a->c),
		.scale = 1.0f / (float)(y.n_counted * x.n_counted),
	};
}

static void pool_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct pool *a = &s->pool;
	const struct kerf_rows *rows = kerf_rows();
	const int64_t blocks = (a->c + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;
	void (*pool)(const struct kerf_window *, const float *, float *, size_t) =
		a->max ? rows->maximum : rows->average;
	int64_t i = from;

	while (i < to) {
		const int64_t position = i / blocks, end = KERF_MIN(to, (position + 1) * blocks);
		int64_t at;
		const struct kerf_window w = window_at(a, position, &at);

		for (; i < end; i++) {
			const int64_t c = (i - position * blocks) * CHANNEL_BLOCK;
			pool(&w, data[1] + at + c, data[0] + position * a->c + c, (size_t)KERF_MIN(a->c - c, CHANNEL_BLOCK));
		}
	}
}

void kerf_step_pool(const struct step *s, float *const *data, unsigned team)
{
	const struct pool *a = &s->pool;
	int64_t blocks = (a->c + CHANNEL_BLOCK - 1) / CHANNEL_BLOCK;

	kerf_step_split(s, data, team, a->n * a->out_h * a->out_w * blocks, pool_part);
}

/* Sums of image rows [from, to), one after another into data[2]. */
static void row_sums_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct pool *a = &s->pool;
	const struct kerf_window w = {.rows = 1, .columns = (size_t)a->w, .column_step = (size_t)a->c, .scale = 1};

	for (int64_t i = from; i < to; i++)
		kerf_rows()->average(&w, data[1] + i * a->w * a->c, data[2] + i * a->c, (size_t)a->c);
}

/*
 * The average of whole images by a team, with the bits of kerf_step_pool. Rows are divided, not channels: whoever wrote
 * a row or will write it reads it, and cores do not fetch each other's cache lines.
 */
void kerf_step_pool_rows(const struct step *s, float *const *data, unsigned team)
{
	const struct pool *a = &s->pool;
	const struct kerf_window w = {.rows = (size_t)a->h, .columns = 1, .row_step = (size_t)a->c, .scale = 1.0f / (float)(a->h * a->w)};

	kerf_step_split(s, data, team, a->n * a->h, row_sums_part);
	for (int64_t i = 0; i < a->n; i++)
		kerf_rows()->average(&w, data[2] + i * a->h * a->c, data[0] + i * a->c, (size_t)a->c);
}

/* ---- softmax along any axis that is not the innermost (oneDNN takes that one) ---- */

static void softmax_column(const float *x, float *y, int64_t n, int64_t step)
{
	float top = x[0], sum = 0.0f;

	for (int64_t i = 1; i < n; i++)
		top = KERF_MAX(top, x[i * step]);
	for (int64_t i = 0; i < n; i++) {
		y[i * step] = expf(x[i * step] - top);
		sum += y[i * step];
	}
	for (int64_t i = 0; i < n; i++)
		y[i * step] /= sum;
}

static void softmax_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct softmax *m = &s->softmax;

	for (int64_t i = from; i < to; i++) {
		int64_t at = i / m->inner * m->axis * m->inner + i % m->inner;
		softmax_column(data[1] + at, data[0] + at, m->axis, m->inner);
	}
}

void kerf_step_softmax(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->softmax.outer * s->softmax.inner, softmax_part);
}

/* ---- moving values ---- */

static void copy_row(
	const struct step *s, float *const *data, const int64_t at[3], int64_t from, int64_t n)
{
	const struct nest *nest = &s->nest;
	int d = nest->n_dims - 1;
	int64_t sy = nest->stride[0][d], sx = nest->stride[1][d];
	float *y = data[0] + at[0] + from * sy;
	const float *x = data[1] + at[1] + from * sx;

	if (sy == 1 && sx == 1) {
		memcpy(y, x, (size_t)n * sizeof(*y));
		return;
	}
	for (int64_t i = 0; i < n; i++)
		y[i * sy] = x[i * sx];
}

static void copy_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	walk(s, data, from, to, copy_row);
}

void kerf_step_copy(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->nest.extent[0], copy_part);
}

/* The input into the middle of zeros. */
void kerf_step_pad(const struct step *s, float *const *data, unsigned team)
{
	memset(data[0], 0, (size_t)s->elements * sizeof(float));
	kerf_step_split(s, data, team, s->nest.extent[0], copy_part);
}

/* Single values, row by row. */
static void gather_values(
	const struct gather *g, const int32_t *indices, const float *x, float *y, int64_t from, int64_t to)
{
	while (from < to) {
		const int64_t row = from / g->n_out, k = from % g->n_out, end = KERF_MIN(g->n_out, k + to - from);
		const float *in = x + row * g->n_in;

		for (int64_t i = k; i < end; i++)
			y[row * g->n_out + i] = indices[i] < 0 ? g->value : in[indices[i]];
		from += end - k;
	}
}

static void gather_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct gather *g = &s->gather;
	const struct kerf_rows *rows = kerf_rows();
	const int32_t *indices = (const int32_t *)(const void *)data[2];
	const float *weights = s->n_operands > 3 ? data[3] : NULL;

	if (g->inner == 1 && !weights) {
		gather_values(g, indices, data[1], data[0], from, to);
		return;
	}
	for (int64_t i = from; i < to; i++) {
		const int64_t at = i % g->n_out * g->taps;
		const float *x = data[1] + i / g->n_out * g->n_in * g->inner;
		float *y = data[0] + i * g->inner;

		if (weights)
			rows->blend(x, indices + at, weights + at, (size_t)g->taps, g->value, y, (size_t)g->inner);
		else if (indices[at] >= 0)
			memcpy(y, x + indices[at] * g->inner, (size_t)g->inner * sizeof(*y));
		else
			for (int64_t k = 0; k < g->inner; k++)
				y[k] = g->value;
	}
}

void kerf_step_gather(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->gather.outer * s->gather.n_out, gather_part);
}

static void concat_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct concat *c = &s->concat;

	for (int64_t o = from; o < to; o++) {
		float *y = data[0] + o * c->out_row;
		for (int i = 0; i < c->n_inputs; i++)
			memcpy(y + c->first[i], data[1 + i] + o * c->row[i], (size_t)c->row[i] * sizeof(*y));
	}
}

void kerf_step_concat(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->concat.outer, concat_part);
}
