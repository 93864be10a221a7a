/*
 * Products of two computed matrices by the tiles of direct.h: for each batch and group of columns the second operand's columns are
 * laid out as weights first. A sum is taken in the same order by any team; oneDNN's gemm for AVX2 divides it.
 */
#include "engine/internal.h"

#include <omp.h>

/* [K, N] from column `first` on, as K rows of `width`, zeros behind the last column. */
static void lay_out(const struct matmul *m, const float *from, int64_t first, int64_t width, float *to)
{
	const int64_t n = KERF_MIN(width, m->columns - first);

	for (int64_t k = 0; k < m->inner; k++, from += m->columns, to += width) {
		memcpy(to, from + first, (size_t)n * sizeof(*to));
		memset(to + n, 0, (size_t)(width - n) * sizeof(*to));
	}
}

static void matmul_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct matmul *m = &s->matmul;
	const struct kerf_direct *d = &m->product;
	float *room = data[3] + omp_get_thread_num() * m->room;

	for (int64_t i = from; i < to; i++) {
		const int64_t batch = i / d->groups, group = i % d->groups;
		const int64_t first = kerf_direct_first(d, group), width = kerf_direct_first(d, group + 1) - first;
		struct kerf_direct_tile t = {
			.weights = room,
			.channels = (int)KERF_MIN(width, m->columns - first),
			.n_inputs = (int)m->inner,
			.first = true,
			.last = true,
		};

		lay_out(m, data[2] + batch * m->b_batch, first, width, room);
		kerf_direct_run(d, &t, data[1] + batch * m->a_batch, 0, data[0] + batch * m->rows * m->columns + first, m->rows,
			(const char *)room, 0);
	}
}

void kerf_step_matmul(const struct step *s, float *const *data, unsigned team)
{
	kerf_step_split(s, data, team, s->matmul.batches * s->matmul.product.groups, matmul_part);
}
