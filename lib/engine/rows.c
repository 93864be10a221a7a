/* Which variant of the row kernels runs here. */
#include "engine/rows.h"

#include <stdatomic.h>

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
