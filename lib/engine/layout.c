/* How tensors lie in memory: four dimensions in NHWC unless they are plain, others as ONNX has them. */
#include "engine/internal.h"

int kerf_memory_order(const struct kerf_tensor *t, int order[KERF_MAX_DIMS])
{
	static const int nhwc[4] = {0, 2, 3, 1};

	for (int i = 0; i < t->n_dims; i++)
		order[i] = t->n_dims == 4 && !t->plain ? nhwc[i] : i;
	return t->n_dims;
}

void kerf_memory_strides(const struct kerf_tensor *t, int64_t stride[KERF_MAX_DIMS])
{
	int order[KERF_MAX_DIMS];
	int64_t step = 1;

	for (int i = kerf_memory_order(t, order) - 1; i >= 0; i--) {
		stride[order[i]] = step;
		step *= t->dims[order[i]];
	}
}

void kerf_onnx_strides(const struct kerf_tensor *t, int64_t stride[KERF_MAX_DIMS])
{
	int64_t step = 1;

	for (int i = t->n_dims - 1; i >= 0; i--) {
		stride[i] = step;
		step *= t->dims[i];
	}
}

static bool joins(const struct nest *nest, int outer, int inner)
{
	for (int k = 0; k < 3; k++)
		if (nest->stride[k][outer] != nest->stride[k][inner] * nest->extent[inner])
			return false;
	return true;
}

void kerf_nest_collapse(struct nest *nest)
{
	int kept = 0;

	for (int i = 0; i < nest->n_dims; i++) {
		if (nest->extent[i] == 1)
			continue;
		bool joined = kept > 0 && joins(nest, kept - 1, i);
		int at = joined ? kept - 1 : kept;
		nest->extent[at] = joined ? nest->extent[at] * nest->extent[i] : nest->extent[i];
		for (int k = 0; k < 3; k++)
			nest->stride[k][at] = nest->stride[k][i];
		kept = at + 1;
	}
	if (kept == 0) {
		nest->extent[0] = 1;
		for (int k = 0; k < 3; k++)
			nest->stride[k][0] = k < 2;
		kept = 1;
	}
	nest->n_dims = kept;
}

/* Walks memory and notes how the ONNX index moves. */
static void element_order(const struct kerf_tensor *t, struct nest *nest)
{
	int order[KERF_MAX_DIMS];
	int64_t onnx[KERF_MAX_DIMS];

	*nest = (struct nest){.n_dims = kerf_memory_order(t, order)};
	kerf_onnx_strides(t, onnx);
	for (int i = 0; i < nest->n_dims; i++) {
		nest->extent[i] = t->dims[order[i]];
		nest->stride[0][i] = onnx[order[i]];
	}
	kerf_nest_collapse(nest);
}

bool kerf_same_element_order(const struct kerf_tensor *a, const struct kerf_tensor *b)
{
	struct nest na, nb;

	element_order(a, &na);
	element_order(b, &nb);
	if (na.n_dims != nb.n_dims)
		return false;
	for (int i = 0; i < na.n_dims; i++)
		if (na.extent[i] != nb.extent[i] || na.stride[0][i] != nb.stride[0][i])
			return false;
	return true;
}

void kerf_to_memory_order(const struct kerf_tensor *t, const float *from, float *to)
{
	int64_t plane, image;

	if (t->n_dims != 4) {
		memcpy(to, from, kerf_tensor_bytes(t));
		return;
	}
	plane = t->dims[2] * t->dims[3];
	image = t->dims[1] * plane;
	for (int64_t n = 0; n < t->dims[0]; n++)
		for (int64_t p = 0; p < plane; p++)
			for (int64_t c = 0; c < t->dims[1]; c++)
				*to++ = from[n * image + c * plane + p];
}
