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

bool kerf_model_can_cut(const struct kerf_model *m, unsigned k)
{
	return k + 1 < m->n_cuts && m->cuts[k].n_tensors >= 1 &&
		m->cuts[k].n_tensors <= KERF_MAX_CUT_TENSORS;
}
