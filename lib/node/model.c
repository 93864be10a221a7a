#include "node/node.h"

#include <stdlib.h>

int kerf_model_create(struct kerf_model *m, const struct kerf_graph *graph,
	const struct kerf_pixel_format *pixels, struct kerf_err *err)
{
	const struct kerf_tensor *in = &graph->tensors[graph->input];

	*m = (struct kerf_model){.graph = graph};
	if (pixels)
		m->pixels = *pixels;
	if (m->pixels.channels &&
		(in->n_dims != 4 || in->dims[1] != (int64_t)m->pixels.channels))
		return kerf_err_set(err, -EINVAL,
			"%s: input %s has no %u channels, pictures cannot be its input",
			graph->name, in->name, m->pixels.channels);
	return kerf_graph_find_cuts(graph, &m->cuts, &m->n_cuts, err);
}

void kerf_model_destroy(struct kerf_model *m)
{
	free(m->cuts);
	*m = (struct kerf_model){0};
}

void kerf_model_restrict(struct kerf_model *m, const struct kerf_engine *e)
{
	for (unsigned k = 0; k + 1 < m->n_cuts; k++) {
		struct kerf_cut *c = &m->cuts[k];
		bool whole = true;

		for (int i = 0; i < KERF_MIN(c->n_tensors, KERF_MAX_CUT_TENSORS); i++)
			whole = whole && kerf_engine_has_tensor(e, c->tensors[i]);
		if (!whole) {
			c->closed = true;
			c->natural = c->useful = c->candidate = false;
		}
	}
}

bool kerf_model_can_cut(const struct kerf_model *m, unsigned k)
{
	return k + 1 < m->n_cuts && !m->cuts[k].closed && m->cuts[k].n_tensors >= 1 &&
		m->cuts[k].n_tensors <= KERF_MAX_CUT_TENSORS;
}
