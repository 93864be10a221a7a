/* ONNX operators that read along an axis by a table: Gather, Pad, Tile, Expand, Resize; and what blocks of pixels do. */
#include "graph/onnx_import.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

int onnx_new_taps(struct onnx_import *imp, const Onnx__NodeProto *n, int64_t count, int64_t each, bool weighted,
	struct onnx_taps *taps)
{
	const int64_t dims[2] = {count, each};
	void *to = NULL;

	*taps = (struct onnx_taps){.weights_id = KERF_NONE};
	taps->indices_id = onnx_new_constant(imp, n, onnx_node_name(n), KERF_I64, 2, dims, &to);
	taps->indices = to;
	if (taps->indices_id < 0 || !weighted)
		return taps->indices_id;
	taps->weights_id = onnx_new_constant(imp, n, onnx_node_name(n), KERF_F32, 2, dims, &to);
	taps->weights = to;
	return taps->weights_id;
}

int onnx_emit_taps(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, const struct onnx_taps *taps,
	float value, const char *suffix)
{
	struct kerf_node k = {.op = KERF_OP_GATHER,
		.n_inputs = taps->weights_id >= 0 ? 3 : 2,
		.inputs = {x, taps->indices_id, taps->weights_id},
		.axis = axis,
		.value = value};

	return onnx_emit(imp, n, &k, suffix);
}

/* Indices of any shape: the axis becomes their dimensions. */
int onnx_emit_gather(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, const int64_t *at, int64_t count,
	int n_index_dims, const int64_t *index_dims)
{
	const struct kerf_tensor t = imp->g->tensors[x];
	int64_t dims[KERF_MAX_DIMS];
	int n_dims = 0;
	struct onnx_taps taps;
	int y = onnx_new_taps(imp, n, count, 1, false, &taps);

	if (y < 0)
		return y;
	if (t.n_dims - 1 + n_index_dims > KERF_MAX_DIMS)
		return onnx_fail(imp, n, "more than %d dimensions", KERF_MAX_DIMS);
	memcpy(taps.indices, at, (size_t)count * sizeof(*at));
	y = onnx_emit_taps(imp, n, x, axis, &taps, 0, n_index_dims == 1 ? "" : "_list");
	if (y < 0 || n_index_dims == 1)
		return y;
	for (int i = 0; i < axis; i++)
		dims[n_dims++] = t.dims[i];
	for (int i = 0; i < n_index_dims; i++)
		dims[n_dims++] = index_dims[i];
	for (int i = axis + 1; i < t.n_dims; i++)
		dims[n_dims++] = t.dims[i];
	return onnx_emit_reshape(imp, n, y, n_dims, dims, "");
}

/* ---- repeating ---- */

/* Dimension `axis` becomes `count` long, over and over. */
static int repeat(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, int64_t count)
{
	const int64_t size = imp->g->tensors[x].dims[axis];
	struct onnx_taps taps;
	const int rc = onnx_new_taps(imp, n, count, 1, false, &taps);

	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < count; i++)
		taps.indices[i] = i % size;
	return onnx_emit_taps(imp, n, x, axis, &taps, 0, "_repeated");
}

/* Ends with a node of the operator's own name, whatever there was to do. */
static int under_own_name(struct onnx_import *imp, const Onnx__NodeProto *n, int x)
{
	const struct kerf_tensor t = imp->g->tensors[x];

	return onnx_emit_reshape(imp, n, x, t.n_dims, t.dims, "");
}

int onnx_emit_expand(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int n_dims, const int64_t *dims)
{
	const struct kerf_tensor t = imp->g->tensors[x];
	int64_t shape[KERF_MAX_DIMS];
	const int missing = KERF_MAX(n_dims - t.n_dims, 0), more = KERF_MAX(t.n_dims - n_dims, 0);

	for (int i = 0; i < missing + t.n_dims; i++)
		shape[i] = i < missing ? 1 : t.dims[i - missing];
	x = onnx_emit_reshape(imp, n, x, missing + t.n_dims, shape, "_wide");
	for (int i = 0; i < n_dims && x >= 0; i++) {
		const int64_t size = shape[more + i];

		if (dims[i] < 1 || (dims[i] != size && dims[i] != 1 && size != 1))
			return onnx_fail(imp, n, "dimension %d is %" PRId64 " and does not become %" PRId64, i, size, dims[i]);
		if (size == 1 && dims[i] > 1)
			x = repeat(imp, n, x, more + i, dims[i]);
	}
	return x;
}

int onnx_import_expand(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t dims[KERF_MAX_DIMS];
	bool given;
	int x;

	if (onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	const int n_dims = onnx_ints_either(imp, n, 1, "shape", dims, KERF_MAX_DIMS, &given);
	x = n_dims < 0 ? n_dims : onnx_emit_expand(imp, n, x, n_dims, dims);
	return x < 0 ? x : under_own_name(imp, n, x);
}

int onnx_import_tile(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t times[KERF_MAX_DIMS];
	bool given;
	int x;

	if (onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	const int count = onnx_ints_either(imp, n, 1, "repeats", times, KERF_MAX_DIMS, &given);
	if (count < 0)
		return count;
	if (count != imp->g->tensors[x].n_dims)
		return onnx_fail(imp, n, "%d repeats for %d dimensions", count, imp->g->tensors[x].n_dims);
	for (int i = 0; i < count && x >= 0; i++) {
		const int64_t size = imp->g->tensors[x].dims[i];

		if (times[i] < 1 || times[i] > INT_MAX / size)
			return onnx_fail(imp, n, "%" PRId64 " repeats of dimension %d are out of range", times[i], i);
		if (times[i] > 1)
			x = repeat(imp, n, x, i, times[i] * size);
	}
	return x < 0 ? x : under_own_name(imp, n, x);
}

/* ---- pads ---- */

enum pad_mode { PAD_CONSTANT, PAD_REFLECT, PAD_EDGE, PAD_WRAP };

/* Where place i, counted from the first value, gets its value; -1 is the constant. */
static int64_t padded_index(enum pad_mode mode, int64_t i, int64_t size)
{
	const int64_t period = 2 * size - 2;

	if (i >= 0 && i < size)
		return i;
	switch (mode) {
	case PAD_EDGE: return i < 0 ? 0 : size - 1;
	case PAD_WRAP: return (i % size + size) % size;
	case PAD_REFLECT:
		i = period ? (i % period + period) % period : 0;
		return i < size ? i : period - i;
	default: return -1;
	}
}

/* Pads below 0 crop. */
static int pad_axis(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, int64_t begin, int64_t end,
	enum pad_mode mode, float value)
{
	const int64_t size = imp->g->tensors[x].dims[axis];
	struct onnx_taps taps;

	if (begin > INT_MAX || end > INT_MAX || begin < -size || end < -size || begin + size + end < 1)
		return onnx_fail(imp, n, "pads %" PRId64 " and %" PRId64 " of dimension %d, which is %" PRId64, begin, end,
			axis, size);
	const int rc = onnx_new_taps(imp, n, begin + size + end, 1, false, &taps);
	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < begin + size + end; i++)
		taps.indices[i] = padded_index(mode, i - begin, size);
	return onnx_emit_taps(imp, n, x, axis, &taps, value, "_padded");
}

/* pads[axis] and pads[n_dims + axis], from attributes or inputs, of all axes or of those listed. */
static int read_pads(const struct onnx_import *imp, const Onnx__NodeProto *n, int n_dims, int64_t *pads)
{
	const char *name = imp->opset < 2 ? "paddings" : "pads";
	int64_t given[2 * KERF_MAX_DIMS], axes[KERF_MAX_DIMS];
	bool found, listed;
	const int count = onnx_ints_either(imp, n, 1, name, given, 2 * KERF_MAX_DIMS, &found);
	const int n_axes = onnx_ints_either(imp, n, 3, "axes", axes, KERF_MAX_DIMS, &listed);

	if (count < 0 || n_axes < 0)
		return -EINVAL;
	if (count != 2 * (listed ? n_axes : n_dims))
		return onnx_fail(imp, n, "%d pads for %d dimensions", count, listed ? n_axes : n_dims);
	memset(pads, 0, 2 * KERF_MAX_DIMS * sizeof(*pads));
	for (int i = 0; i < count / 2; i++) {
		int axis = i;
		if (listed && onnx_axis(imp, n, axes[i], n_dims, &axis) < 0)
			return -EINVAL;
		pads[axis] = given[i];
		pads[n_dims + axis] = given[count / 2 + i];
	}
	return 0;
}

/* Zeros around pictures, which a convolution behind them takes along. */
static bool pads_pictures(const struct kerf_tensor *t, const int64_t *pads, enum pad_mode mode, float value)
{
	for (int i = 0; i < 8 && t->n_dims == 4; i++)
		if (i % 4 < 2 ? pads[i] != 0 : pads[i] < 0 || pads[i] > INT_MAX)
			return false;
	return t->n_dims == 4 && mode == PAD_CONSTANT && value == 0;
}

int onnx_import_pad(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
	char text[32] = "constant";
	int64_t pads[2 * KERF_MAX_DIMS];
	float value = 0;
	unsigned mode = 0;
	int x;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_text(imp, n, "mode", text, sizeof(text)) < 0 ||
		onnx_float_either(imp, n, 2, "value", &value) < 0)
		return -EINVAL;
	const int n_dims = imp->g->tensors[x].n_dims;
	while (mode < KERF_ARRAY_LEN(modes) && strcmp(text, modes[mode]) != 0)
		mode++;
	if (mode == KERF_ARRAY_LEN(modes))
		return onnx_fail(imp, n, "mode %s is unknown", text);
	if (read_pads(imp, n, n_dims, pads) < 0)
		return -EINVAL;
	if (pads_pictures(&imp->g->tensors[x], pads, (enum pad_mode)mode, value)) {
		struct kerf_node k = {.op = KERF_OP_PAD,
			.n_inputs = 1,
			.inputs = {x},
			.pads = {(int)pads[2], (int)pads[3], (int)pads[6], (int)pads[7]}};

		return onnx_emit(imp, n, &k, "");
	}
	for (int i = 0; i < n_dims && x >= 0; i++)
		if (pads[i] || pads[n_dims + i])
			x = pad_axis(imp, n, x, i, pads[i], pads[n_dims + i], (enum pad_mode)mode, value);
	return x < 0 ? x : under_own_name(imp, n, x);
}

/* ---- Resize and Upsample ---- */

enum interpolation { NEAREST, LINEAR, CUBIC };

struct resize {
	enum interpolation mode;
	char coordinates[32], nearest[32];
	float cubic_a, outside;
	int exclude_outside;
	int64_t sizes[KERF_MAX_DIMS];
	double scales[KERF_MAX_DIMS], lengths[KERF_MAX_DIMS]; /* lengths: sizes before they are rounded down */
	float roi[2 * KERF_MAX_DIMS];
};

/* Where output place i of one axis lies in the input. */
static double source_of(const struct resize *r, int axis, int n_dims, int64_t i, int64_t in)
{
	const char *how = r->coordinates;
	const double out = r->lengths[axis], scale = r->scales[axis], x = (double)i, size = (double)in;

	if (strcmp(how, "asymmetric") == 0)
		return x / scale;
	if (strcmp(how, "tf_half_pixel_for_nn") == 0) /* until opset 12 */
		return (x + 0.5) / scale;
	if (strcmp(how, "align_corners") == 0)
		return out > 1 ? x * (size - 1) / (out - 1) : 0;
	if (strcmp(how, "pytorch_half_pixel") == 0 && out <= 1)
		return 0;
	if (strcmp(how, "half_pixel_symmetric") == 0)
		return size / 2 * (1 - (double)r->sizes[axis] / out) + (x + 0.5) / scale - 0.5;
	if (strcmp(how, "tf_crop_and_resize") == 0) {
		const double start = (double)r->roi[axis], end = (double)r->roi[n_dims + axis];

		return out > 1 ? start * (size - 1) + x * (end - start) * (size - 1) / (out - 1)
			       : 0.5 * (start + end) * (size - 1);
	}
	return (x + 0.5) / scale - 0.5;
}

static int64_t nearest(const struct resize *r, double x)
{
	if (strcmp(r->nearest, "floor") == 0)
		return (int64_t)floor(x);
	if (strcmp(r->nearest, "ceil") == 0)
		return (int64_t)ceil(x);
	return (int64_t)(strcmp(r->nearest, "round_prefer_ceil") == 0 ? floor(x + 0.5) : ceil(x - 0.5));
}

/* Keys' cubic convolution (IEEE TASSP 29(6), 1981) for the taps at -1, 0, 1 and 2 of a place at t in [0, 1). */
static void cubic_weights(double a, double t, double w[4])
{
	const double d[4] = {1 + t, t, 1 - t, 2 - t};

	for (int i = 0; i < 4; i++)
		w[i] = d[i] <= 1 ? ((a + 2) * d[i] - (a + 3)) * d[i] * d[i] + 1
				 : ((a * d[i] - 5 * a) * d[i] + 8 * a) * d[i] - 4 * a;
}

/* The taps of one output place: which values, and how much of each. */
static void place_taps(const struct resize *r, double x, int64_t in, int n_taps, int64_t *indices, float *weights)
{
	const int64_t first = (int64_t)floor(x) - (r->mode == CUBIC);
	const double t = x - floor(x);
	double w[4] = {1 - t, t}, sum = 0;

	if (r->mode == CUBIC)
		cubic_weights((double)r->cubic_a, t, w);
	for (int k = 0; k < n_taps; k++) {
		const int64_t at = first + k;

		if (r->exclude_outside && (at < 0 || at >= in))
			w[k] = 0;
		indices[k] = KERF_MIN(KERF_MAX(at, 0), in - 1);
		sum += w[k];
	}
	for (int k = 0; k < n_taps; k++)
		weights[k] = (float)(r->exclude_outside ? w[k] / sum : w[k]);
}

static int resize_axis(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis, const struct resize *r)
{
	const int n_dims = imp->g->tensors[x].n_dims;
	const int64_t in = imp->g->tensors[x].dims[axis], out = r->sizes[axis];
	const int n_taps = r->mode == NEAREST ? 1 : r->mode == LINEAR ? 2 : 4;
	const bool crops = strcmp(r->coordinates, "tf_crop_and_resize") == 0;
	struct onnx_taps taps;
	const int rc = onnx_new_taps(imp, n, out, n_taps, r->mode != NEAREST, &taps);

	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < out; i++) {
		const double from = source_of(r, axis, n_dims, i, in);
		int64_t *indices = taps.indices + i * n_taps;

		if (!isfinite(from) || fabs(from) > INT_MAX)
			return onnx_fail(imp, n, "dimension %d: scale %g", axis, r->scales[axis]);
		if (r->mode == NEAREST)
			*indices = KERF_MIN(KERF_MAX(nearest(r, from), 0), in - 1);
		else
			place_taps(r, from, in, n_taps, indices, taps.weights + i * n_taps);
		for (int k = 0; k < n_taps && crops && (from < 0 || from > (double)(in - 1)); k++)
			indices[k] = -1;
	}
	return onnx_emit_taps(imp, n, x, axis, &taps, r->outside, "_resized");
}

/* A list of floats as input i or attribute; *count stays 0 when neither is there. */
static int read_floats(struct onnx_import *imp, const Onnx__NodeProto *n, int i, const char *name, float *values, int max,
	int *count)
{
	const Onnx__AttributeProto *a = onnx_attr(n, name);
	const struct onnx_value *v = i < 0 ? NULL : onnx_input_value(imp, n, i);
	const float *from = a ? a->floats : NULL;
	int id;

	*count = a ? (int)KERF_MIN(a->n_floats, (size_t)INT_MAX) : 0;
	if (v && v->constant && v->constant->n_dims == 1 && v->constant->dims[0] == 0)
		return 0; /* given, and empty */
	if (v) {
		if (onnx_constant_input(imp, n, i, &id) < 0)
			return -EINVAL;
		const struct kerf_tensor *t = &imp->g->tensors[id];
		if (t->dtype != KERF_F32)
			return onnx_fail(imp, n, "%s are integers, expected floats", name);
		*count = (int)kerf_tensor_elements(t);
		from = t->data;
	}
	if (*count > max)
		return onnx_fail(imp, n, "%d %s, expected at most %d", *count, name, max);
	if (*count)
		memcpy(values, from, (size_t)*count * sizeof(*values));
	return 0;
}

static int read_resize_mode(const struct onnx_import *imp, const Onnx__NodeProto *n, struct resize *r)
{
	static const char *const coordinates[] = {"half_pixel", "pytorch_half_pixel", "half_pixel_symmetric",
		"align_corners", "asymmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn"};
	static const char *const roundings[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"};
	const bool old = imp->opset < 11; /* and Upsample ends with opset 9 */
	char mode[16] = "nearest", policy[16] = "stretch";
	int antialias = 0;
	bool known = false, rounds = false;

	snprintf(r->coordinates, sizeof(r->coordinates), "%s", old ? "asymmetric" : "half_pixel");
	snprintf(r->nearest, sizeof(r->nearest), "%s", old ? "floor" : "round_prefer_floor");
	r->cubic_a = -0.75f;
	if (onnx_attr_text(imp, n, "mode", mode, sizeof(mode)) < 0 ||
		onnx_attr_text(imp, n, "coordinate_transformation_mode", r->coordinates, sizeof(r->coordinates)) < 0 ||
		onnx_attr_text(imp, n, "nearest_mode", r->nearest, sizeof(r->nearest)) < 0 ||
		onnx_attr_text(imp, n, "keep_aspect_ratio_policy", policy, sizeof(policy)) < 0 ||
		onnx_attr_float(imp, n, "cubic_coeff_a", &r->cubic_a) < 0 ||
		onnx_attr_float(imp, n, "extrapolation_value", &r->outside) < 0 ||
		onnx_attr_int(imp, n, "exclude_outside", &r->exclude_outside) < 0 ||
		onnx_attr_int(imp, n, "antialias", &antialias) < 0)
		return -EINVAL;
	r->mode = strcmp(mode, "cubic") == 0 ? CUBIC : strcmp(mode, "nearest") == 0 ? NEAREST : LINEAR;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(coordinates); i++)
		known |= strcmp(r->coordinates, coordinates[i]) == 0;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(roundings); i++)
		rounds |= strcmp(r->nearest, roundings[i]) == 0;
	if (!known || !rounds || antialias || strcmp(policy, "stretch") != 0 ||
		(r->mode == LINEAR && strcmp(mode, "linear") != 0 && strcmp(mode, "bilinear") != 0))
		return onnx_fail(imp, n, "mode %s, coordinates %s, nearest %s, antialias %d, aspect ratio %s are not supported",
			mode, r->coordinates, r->nearest, antialias, policy);
	return 0;
}

/* Sizes or scales of all dimensions or of those in `axes`. */
static int read_resize(struct onnx_import *imp, const Onnx__NodeProto *n, const struct kerf_tensor *t, struct resize *r)
{
	const bool sized = imp->opset >= 11 && strcmp(n->op_type, "Resize") == 0;
	int64_t axes[KERF_MAX_DIMS], sizes[KERF_MAX_DIMS];
	float scales[KERF_MAX_DIMS], roi[2 * KERF_MAX_DIMS];
	int n_scales, n_sizes = 0, n_roi = 0;
	bool given = false, listed;
	const int n_axes = onnx_ints_either(imp, n, -1, "axes", axes, KERF_MAX_DIMS, &listed);

	if (n_axes < 0 || read_resize_mode(imp, n, r) < 0 ||
		read_floats(imp, n, sized ? 2 : 1, "scales", scales, KERF_MAX_DIMS, &n_scales) < 0 ||
		(sized && read_floats(imp, n, 1, "roi", roi, 2 * KERF_MAX_DIMS, &n_roi) < 0))
		return -EINVAL;
	if (sized && onnx_has_input(n, 3))
		n_sizes = onnx_ints_either(imp, n, 3, "sizes", sizes, KERF_MAX_DIMS, &given);
	const int expected = listed ? n_axes : t->n_dims;
	if (n_sizes < 0)
		return -EINVAL;
	if ((n_sizes ? n_sizes : n_scales) != expected || (n_roi && n_roi != 2 * expected))
		return onnx_fail(imp, n, "%d scales, %d sizes, %d corners for %d dimensions", n_scales, n_sizes, n_roi, expected);
	for (int i = 0; i < t->n_dims; i++) {
		r->sizes[i] = t->dims[i];
		r->lengths[i] = (double)t->dims[i];
		r->scales[i] = 1;
		r->roi[t->n_dims + i] = 1;
	}
	for (int i = 0; i < expected; i++) {
		int axis = i;
		if (listed && onnx_axis(imp, n, axes[i], t->n_dims, &axis) < 0)
			return -EINVAL;
		const double size = (double)t->dims[axis];
		r->scales[axis] = n_sizes ? (double)sizes[i] / size : (double)scales[i];
		r->lengths[axis] = n_sizes ? (double)sizes[i] : size * r->scales[axis];
		if (!(r->lengths[axis] >= 1 && r->lengths[axis] <= INT_MAX))
			return onnx_fail(imp, n, "dimension %d becomes %g", axis, r->lengths[axis]);
		r->sizes[axis] = (int64_t)r->lengths[axis];
		if (n_roi) {
			r->roi[axis] = roi[i];
			r->roi[t->n_dims + axis] = roi[expected + i];
		}
	}
	return 0;
}

int onnx_import_resize(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct resize r = {0};
	int x;

	if (onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	const struct kerf_tensor t = imp->g->tensors[x];
	if (read_resize(imp, n, &t, &r) < 0)
		return -EINVAL;
	const bool crops = strcmp(r.coordinates, "tf_crop_and_resize") == 0;
	for (int i = 0; i < t.n_dims && x >= 0; i++)
		if (r.sizes[i] != t.dims[i] || r.scales[i] != 1 || (crops && (r.roi[i] != 0 || r.roi[t.n_dims + i] != 1)))
			x = resize_axis(imp, n, x, i, &r);
	return x < 0 ? x : under_own_name(imp, n, x);
}

/* ---- blocks of pixels ---- */

static int rearrange(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const int64_t dims[6], const int perm[6],
	const int64_t result[4])
{
	struct kerf_node k = {.op = KERF_OP_TRANSPOSE, .n_inputs = 1};

	memcpy(k.perm, perm, 6 * sizeof(*perm));
	k.inputs[0] = onnx_emit_reshape(imp, n, x, 6, dims, "_blocks");
	if (k.inputs[0] < 0)
		return k.inputs[0];
	const int y = onnx_emit(imp, n, &k, "_moved");
	return y < 0 ? y : onnx_emit_reshape(imp, n, y, 4, result, "");
}

int onnx_import_depth_to_space(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	static const int column_first[6] = {0, 1, 4, 2, 5, 3};
	static const int to_depth[6] = {0, 3, 5, 1, 2, 4};
	const bool to_space = strcmp(n->op_type, "DepthToSpace") == 0;
	char mode[8] = "DCR";
	int x, block = 0;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "blocksize", &block) < 0 ||
		onnx_attr_text(imp, n, "mode", mode, sizeof(mode)) < 0)
		return -EINVAL;
	const struct kerf_tensor *t = &imp->g->tensors[x];
	const int64_t b = block, *d = t->dims;
	if (t->n_dims != 4 || b < 1 || b > 4096 || (to_space ? d[1] % (b * b) != 0 : d[2] % b != 0 || d[3] % b != 0))
		return onnx_fail(imp, n, "blocks of %d do not divide it", block);
	if (!to_space)
		return rearrange(imp, n, x, (const int64_t[]){d[0], d[1], d[2] / b, b, d[3] / b, b}, to_depth,
			(const int64_t[]){d[0], d[1] * b * b, d[2] / b, d[3] / b});
	const int64_t c = d[1] / (b * b), result[4] = {d[0], c, d[2] * b, d[3] * b};
	if (strcmp(mode, "CRD") == 0)
		return rearrange(imp, n, x, (const int64_t[]){d[0], c, b, b, d[2], d[3]}, column_first, result);
	struct kerf_node k = {.op = KERF_OP_DEPTH_TO_SPACE, .n_inputs = 1, .inputs = {x}, .kernel = {block, block}};
	return onnx_emit(imp, n, &k, "");
}
