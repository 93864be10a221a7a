/* Steps that make one value out of many: reductions over any dimensions, layer normalisation. Sums are in double. */
#include "engine/internal.h"

#include <math.h>

/* ---- reductions ---- */

struct total {
	double value;
	int64_t n, at; /* values seen; where the extreme one was */
};

static void take(struct total *t, enum kerf_reduce kind, double x)
{
	const bool first = t->n == 0;

	switch (kind) {
	case KERF_REDUCE_MEAN:
	case KERF_REDUCE_SUM: t->value += x; break;
	case KERF_REDUCE_PROD: t->value = first ? x : t->value * x; break;
	case KERF_REDUCE_MAX:
	case KERF_REDUCE_ARGMAX:
		if (first || x > t->value || isnan(x)) {
			t->value = x;
			t->at = t->n;
		}
		break;
	default:
		if (first || x < t->value || isnan(x)) {
			t->value = x;
			t->at = t->n;
		}
	}
	t->n++;
}

/* Dimensions [first, n_dims) of the nest, from x on. */
static void take_all(const struct reduce *r, int d, const float *x, struct total *t)
{
	for (int64_t i = 0; i < r->nest.extent[d]; i++, x += r->nest.stride[1][d])
		if (d + 1 == r->nest.n_dims)
			take(t, r->kind, (double)*x);
		else
			take_all(r, d + 1, x, t);
}

/* Whether a value comes before the one at index `of`: of equal ones the first does. */
static bool is_before(const struct reduce *r, const float *x, int64_t i, int64_t of)
{
	const int64_t step = r->nest.stride[1][r->n_kept];
	const bool largest = r->kind == KERF_REDUCE_MAX || r->kind == KERF_REDUCE_ARGMAX;

	return largest ? x[i * step] > x[of * step] : x[i * step] < x[of * step];
}

/* The best indices, kept in order in y while x is gone through; an index is exact up to 2^24. */
static void take_top(const struct reduce *r, const float *x, float *y)
{
	const int d = r->n_kept;
	const int64_t to = r->nest.stride[0][d];
	int64_t found = 0;

	for (int64_t i = 0; i < r->nest.extent[d]; i++) {
		int64_t at = found;

		while (at > 0 && is_before(r, x, i, (int64_t)y[(at - 1) * to]))
			at--;
		if (at == r->top)
			continue;
		found += found < r->top;
		for (int64_t k = found - 1; k > at; k--)
			y[k * to] = y[(k - 1) * to];
		y[at * to] = (float)i;
	}
	for (int64_t k = 0; k < r->top && (r->kind == KERF_REDUCE_MAX || r->kind == KERF_REDUCE_MIN); k++)
		y[k * to] = x[(int64_t)y[k * to] * r->nest.stride[1][d]];
}

static void reduce_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct reduce *r = &s->reduce;

	for (int64_t i = from; i < to; i++) {
		struct total t = {0};
		const float *x = data[1];
		float *y = data[0];
		int64_t rest = i;

		for (int d = r->n_kept - 1; d >= 0; d--) {
			x += rest % r->nest.extent[d] * r->nest.stride[1][d];
			y += rest % r->nest.extent[d] * r->nest.stride[0][d];
			rest /= r->nest.extent[d];
		}
		if (r->top > 1) {
			take_top(r, x, y);
			continue;
		}
		if (r->n_kept == r->nest.n_dims)
			take(&t, r->kind, (double)*x);
		else
			take_all(r, r->n_kept, x, &t);
		if (r->kind == KERF_REDUCE_MEAN)
			t.value /= (double)t.n;
		*y = r->kind == KERF_REDUCE_ARGMAX || r->kind == KERF_REDUCE_ARGMIN ? (float)t.at : (float)t.value;
	}
}

void kerf_step_reduce(const struct step *s, float *const *data, unsigned team)
{
	int64_t n = 1;

	for (int d = 0; d < s->reduce.n_kept; d++)
		n *= s->reduce.nest.extent[d];
	kerf_step_split(s, data, team, n, reduce_part);
}

/* ---- layer normalisation ---- */

static void layernorm_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_rows *rows = kerf_rows();
	const struct layernorm *l = &s->layernorm;
	const float *scale = l->has_scale ? data[2] : NULL;
	const float *bias = l->has_bias ? data[2 + l->has_scale] : NULL;

	for (int64_t i = from; i < to; i++)
		rows->normalise(data[1] + i * l->len, scale, bias, l->epsilon, data[0] + i * l->len, (size_t)l->len);
}

void kerf_step_layernorm(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->layernorm.rows, layernorm_part);
}
