/* Which variant of the row kernels runs here, and the functions that they share. */
#include "engine/rows.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>

static float call(const struct kerf_act *act, float x)
{
	switch (act->kind) {
	case KERF_ACT_ABS: return fabsf(x);
	case KERF_ACT_SQRT: return sqrtf(x);
	case KERF_ACT_RECIPROCAL: return 1 / x;
	case KERF_ACT_EXP: return expf(x);
	case KERF_ACT_LOG: return logf(x);
	case KERF_ACT_ELU: return x < 0 ? act->lo * expm1f(x) : x;
	case KERF_ACT_SELU: return act->hi * (x < 0 ? act->lo * expm1f(x) : x);
	case KERF_ACT_SOFTPLUS: return x > 0 ? x + log1pf(expf(-x)) : log1pf(expf(x));
	case KERF_ACT_SOFTSIGN: return x / (1 + fabsf(x));
	case KERF_ACT_FLOOR: return floorf(x);
	case KERF_ACT_CEIL: return ceilf(x);
	case KERF_ACT_ROUND: return rintf(x);
	case KERF_ACT_SIN: return sinf(x);
	case KERF_ACT_COS: return cosf(x);
	default: assert(!"an activation of the row kernels"); return x;
	}
}

void kerf_rows_library(const struct kerf_act *act, const float *x, float *y, size_t n)
{
	for (size_t i = 0; i < n; i++)
		y[i] = call(act, x[i]);
}

const struct kerf_rows *kerf_rows_variant(unsigned i)
{
	static const struct kerf_rows *const variants[] = {
		&kerf_rows_avx512, &kerf_rows_avx2, &kerf_rows_scalar};
	unsigned seen = 0;

	for (size_t v = 0; v < KERF_ARRAY_LEN(variants); v++)
		if (variants[v]->is_supported() && seen++ == i)
			return variants[v];
	return NULL;
}

const struct kerf_rows *kerf_rows(void)
{
	static const struct kerf_rows *_Atomic chosen;
	/* Relaxed: whoever comes first stores what everybody else would store. */
	const struct kerf_rows *rows = atomic_load_explicit(&chosen, memory_order_relaxed);

	if (!rows) {
		rows = kerf_rows_variant(0);
		atomic_store_explicit(&chosen, rows, memory_order_relaxed);
	}
	return rows;
}
