/*
 * Windows over volumes [N, C, D, H, W]: what kerf has for pictures, slice by slice. A convolution is the sum of one
 * convolution of pictures for each place of its window along the depth; pools go over pictures first and over the depth
 * then.
 */
#include "graph/onnx_import.h"

#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#define MAX_SLICES 64 /* of a convolution's window: each is a node */

/* Depth, height, width. */
struct volume_window {
	int kernel[3], strides[3], dilations[3], pads[6];
	int64_t out_depth;
};

bool onnx_is_volume(const struct onnx_import *imp, int x)
{
	return imp->g->tensors[x].n_dims == 5;
}

static int read_window(const struct onnx_import *imp, const Onnx__NodeProto *n, struct volume_window *w)
{
	char auto_pad[32] = "NOTSET";
	int ceil_mode = 0;

	for (int i = 0; i < 3; i++)
		w->strides[i] = w->dilations[i] = 1;
	if (onnx_attr_ints(imp, n, "kernel_shape", 3, w->kernel) < 0 || onnx_attr_ints(imp, n, "strides", 3, w->strides) < 0 ||
		onnx_attr_ints(imp, n, "dilations", 3, w->dilations) < 0 || onnx_attr_ints(imp, n, "pads", 6, w->pads) < 0 ||
		onnx_attr_int(imp, n, "ceil_mode", &ceil_mode) < 0 ||
		onnx_attr_text(imp, n, "auto_pad", auto_pad, sizeof(auto_pad)) < 0)
		return -EINVAL;
	if (ceil_mode || (strcmp(auto_pad, "NOTSET") != 0 && strcmp(auto_pad, "VALID") != 0))
		return onnx_fail(imp, n, "ceil_mode %d, auto_pad %s are not supported over volumes", ceil_mode, auto_pad);
	for (int i = 0; i < 3; i++)
		if (w->kernel[i] <= 0 || w->strides[i] <= 0 || w->dilations[i] <= 0 || w->pads[i] < 0 || w->pads[i + 3] < 0)
			return onnx_fail(imp, n, "kernel %d, stride %d, dilation %d, pads %d %d in dimension %d are out of range",
				w->kernel[i], w->strides[i], w->dilations[i], w->pads[i], w->pads[i + 3], i);
	return 0;
}

static int64_t window_reach(const struct volume_window *w, int axis)
{
	return (int64_t)(w->kernel[axis] - 1) * w->dilations[axis] + 1;
}

/* How many windows there are along the depth of [N, C, D, H, W]. */
static int count_depth(const struct onnx_import *imp, const Onnx__NodeProto *n, int x, struct volume_window *w)
{
	const int64_t padded = imp->g->tensors[x].dims[2] + w->pads[0] + w->pads[3], reach = window_reach(w, 0);

	if (reach > padded)
		return onnx_fail(imp, n, "a window of %" PRId64 " slices over %" PRId64, reach, padded);
	w->out_depth = (padded - reach) / w->strides[0] + 1;
	return 0;
}

/* How the window lies in each picture. */
static struct kerf_node picture_node(enum kerf_op op, const struct volume_window *w)
{
	struct kerf_node k = {.op = op, .n_inputs = 1, .groups = 1};

	for (int i = 0; i < 2; i++) {
		k.kernel[i] = w->kernel[i + 1];
		k.strides[i] = w->strides[i + 1];
		k.dilations[i] = w->dilations[i + 1];
		k.pads[i] = w->pads[i + 1];
		k.pads[i + 2] = w->pads[i + 4];
	}
	return k;
}

/* [N, C, D, H, W] as [N, D, C, H, W], or back */
static int swap_depth(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const char *suffix)
{
	struct kerf_node k = {.op = KERF_OP_TRANSPOSE, .n_inputs = 1, .inputs = {x}, .perm = {0, 2, 1, 3, 4}};

	return onnx_emit(imp, n, &k, suffix);
}

/* [N, D, C, H, W] as pictures */
static int to_pictures(struct onnx_import *imp, const Onnx__NodeProto *n, int x)
{
	const int64_t *d = imp->g->tensors[x].dims;

	return onnx_emit_reshape(imp, n, x, 4, (const int64_t[]){d[0] * d[1], d[2], d[3], d[4]}, "_pictures");
}

/* [N * D, C, H, W] as [N, D, C, H, W] */
static int to_slices(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int64_t images)
{
	const int64_t *d = imp->g->tensors[x].dims;

	return onnx_emit_reshape(imp, n, x, 5, (const int64_t[]){images, d[0] / images, d[1], d[2], d[3]}, "_slices");
}

/* Which slice the window at `out` has at place k; -1 outside. */
static int64_t slice_at(const struct volume_window *w, int64_t depth, int64_t out, int k)
{
	const int64_t at = out * w->strides[0] - w->pads[0] + (int64_t)k * w->dilations[0];

	return at >= 0 && at < depth ? at : -1;
}

/* Of [N, D, C, H, W], the slices that the windows have at place k, zeros for those that are not there. */
static int gather_slices(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const struct volume_window *w, int k)
{
	const int64_t depth = imp->g->tensors[x].dims[1];
	struct onnx_taps taps;
	const int rc = onnx_new_taps(imp, n, w->out_depth, 1, false, &taps);

	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < w->out_depth; i++)
		taps.indices[i] = slice_at(w, depth, i, k);
	return onnx_emit_taps(imp, n, x, 1, &taps, 0, "_slice");
}

/* [M, C, kd, kh, kw] at place k: [M, C, kh, kw] */
static int weights_at(struct onnx_import *imp, const Onnx__NodeProto *n, int id, int k)
{
	const struct kerf_tensor t = imp->g->tensors[id];
	const int64_t area = t.dims[3] * t.dims[4];
	void *values;
	const int slice = onnx_new_constant(
		imp, n, t.name, KERF_F32, 4, (const int64_t[]){t.dims[0], t.dims[1], t.dims[3], t.dims[4]}, &values);

	for (int64_t i = 0; slice >= 0 && i < t.dims[0] * t.dims[1]; i++)
		memcpy((float *)values + i * area, (const float *)t.data + (i * t.dims[2] + k) * area, (size_t)area * sizeof(float));
	return slice;
}

/* The window of a convolution, whose weights end with its sizes. */
static int read_conv_window(const struct onnx_import *imp, const Onnx__NodeProto *n, int weights, struct volume_window *window)
{
	const struct kerf_tensor *w = &imp->g->tensors[weights];

	*window = (struct volume_window){0};
	if (w->n_dims != 5)
		return onnx_fail(imp, n, "weights have %d dimensions, expected 5", w->n_dims);
	if (w->dims[2] > MAX_SLICES)
		return onnx_fail(imp, n, "a window of %" PRId64 " slices, expected at most %d", w->dims[2], MAX_SLICES);
	for (int i = 0; i < 3; i++)
		window->kernel[i] = (int)w->dims[2 + i];
	if (read_window(imp, n, window) < 0)
		return -EINVAL;
	for (int i = 0; i < 3; i++)
		if (window->kernel[i] != w->dims[2 + i])
			return onnx_fail(imp, n, "kernel_shape is not that of the weights");
	return 0;
}

static int emit_conv(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int weights, int bias, int groups,
	struct volume_window *window)
{
	const int64_t images = imp->g->tensors[x].dims[0];
	int sum = KERF_NONE;

	if (count_depth(imp, n, x, window) < 0)
		return -EINVAL;
	const int slices = swap_depth(imp, n, x, "_depth");
	if (slices < 0)
		return slices;
	for (int i = 0; i < window->kernel[0]; i++) {
		struct kerf_node k = picture_node(KERF_OP_CONV, window);

		k.n_inputs = 3;
		k.groups = groups;
		k.inputs[2] = i == 0 ? bias : KERF_NONE;
		if ((k.inputs[0] = gather_slices(imp, n, slices, window, i)) < 0 ||
			(k.inputs[0] = to_pictures(imp, n, k.inputs[0])) < 0 || (k.inputs[1] = weights_at(imp, n, weights, i)) < 0)
			return -EINVAL;
		const int y = onnx_emit(imp, n, &k, "_at");
		if (y < 0)
			return y;
		sum = i == 0 ? y : onnx_emit_binary(imp, n, KERF_OP_ADD, y, sum, "_sum");
		if (sum < 0)
			return sum;
	}
	const int y = to_slices(imp, n, sum, images);
	return y < 0 ? y : swap_depth(imp, n, y, "");
}

int onnx_import_conv_volume(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int weights, int bias, int groups)
{
	struct volume_window window;

	return read_conv_window(imp, n, weights, &window) < 0 ? -EINVAL : emit_conv(imp, n, x, weights, bias, groups, &window);
}

/* The same as for pictures: zeros between the values, weights back to front. Only with pads of the file's own. */
int onnx_import_conv_transpose_volume(
	struct onnx_import *imp, const Onnx__NodeProto *n, int x, int weights, int bias, int groups)
{
	struct volume_window window;
	int extra[3] = {0};

	if (read_conv_window(imp, n, weights, &window) < 0 || onnx_attr_ints(imp, n, "output_padding", 3, extra) < 0)
		return -EINVAL;
	if (onnx_attr(n, "output_shape"))
		return onnx_fail(imp, n, "output_shape is not supported over volumes");
	if (imp->g->tensors[weights].dims[0] % groups != 0)
		return onnx_fail(imp, n, "%" PRId64 " channels in %d groups", imp->g->tensors[weights].dims[0], groups);
	for (int i = 0; i < 3; i++) {
		const int64_t around = window_reach(&window, i) - 1, end = around - window.pads[i + 3] + extra[i];

		if (extra[i] < 0 || window.pads[i] > around || around > INT_MAX || end < 0 || end > INT_MAX)
			return onnx_fail(imp, n, "pads %d %d, output_padding %d in dimension %d are out of range", window.pads[i],
				window.pads[i + 3], extra[i], i);
		window.pads[i] = (int)around - window.pads[i];
		window.pads[i + 3] = (int)end;
		if (window.strides[i] > 1 && (x = onnx_spread(imp, n, x, 2 + i, window.strides[i])) < 0)
			return x;
		window.strides[i] = 1;
	}
	weights = onnx_turn_weights(imp, n, weights, groups);
	return weights < 0 ? weights : emit_conv(imp, n, x, weights, bias, groups, &window);
}

/* The largest of each window's slices. */
static int largest_of_slices(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const struct volume_window *w)
{
	struct kerf_node k = {.op = KERF_OP_REDUCE, .n_inputs = 1, .axes = 1u << 2, .reduce = KERF_REDUCE_MAX};
	const struct kerf_tensor t = imp->g->tensors[x];
	struct onnx_taps taps;
	const int rc = onnx_new_taps(imp, n, w->out_depth * w->kernel[0], 1, false, &taps);

	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < w->out_depth * w->kernel[0]; i++)
		taps.indices[i] = slice_at(w, t.dims[1], i / w->kernel[0], (int)(i % w->kernel[0]));
	const int all = onnx_emit_taps(imp, n, x, 1, &taps, -INFINITY, "_slices");
	if (all < 0)
		return all;
	k.inputs[0] = onnx_emit_reshape(imp, n, all, 6,
		(const int64_t[]){t.dims[0], w->out_depth, w->kernel[0], t.dims[2], t.dims[3], t.dims[4]}, "_windows");
	const int y = k.inputs[0] < 0 ? k.inputs[0] : onnx_emit(imp, n, &k, "_largest");
	return y < 0 ? y : onnx_drop_axes(imp, n, y, 1u << 2);
}

/* The mean of the averages of a window's slices: of those that are there, or of all. */
static int mean_of_slices(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const struct volume_window *w, bool include_pad)
{
	const int64_t depth = imp->g->tensors[x].dims[1];
	struct onnx_taps taps;
	const int rc = onnx_new_taps(imp, n, w->out_depth, w->kernel[0], true, &taps);

	if (rc < 0)
		return rc;
	for (int64_t i = 0; i < w->out_depth; i++) {
		int there = 0;

		for (int k = 0; k < w->kernel[0]; k++)
			there += slice_at(w, depth, i, k) >= 0;
		for (int k = 0; k < w->kernel[0]; k++) {
			const int64_t at = slice_at(w, depth, i, k);

			taps.indices[i * w->kernel[0] + k] = KERF_MAX(at, 0);
			taps.weights[i * w->kernel[0] + k] = at < 0 ? 0 : 1.0f / (float)(include_pad ? w->kernel[0] : there);
		}
	}
	return onnx_emit_taps(imp, n, x, 1, &taps, 0, "_mean");
}

int onnx_import_pool_volume(struct onnx_import *imp, const Onnx__NodeProto *n, int x, bool is_max, bool include_pad)
{
	const int64_t images = imp->g->tensors[x].dims[0];
	struct volume_window window = {0};

	if (read_window(imp, n, &window) < 0 || count_depth(imp, n, x, &window) < 0)
		return -EINVAL;
	struct kerf_node k = picture_node(is_max ? KERF_OP_MAXPOOL : KERF_OP_AVGPOOL, &window);
	k.count_include_pad = include_pad;
	int y = swap_depth(imp, n, x, "_depth");
	if (y < 0 || (k.inputs[0] = to_pictures(imp, n, y)) < 0)
		return -EINVAL;
	y = onnx_emit(imp, n, &k, "_at");
	if (y >= 0)
		y = to_slices(imp, n, y, images);
	if (y >= 0)
		y = is_max ? largest_of_slices(imp, n, y, &window) : mean_of_slices(imp, n, y, &window, include_pad);
	return y < 0 ? y : swap_depth(imp, n, y, "");
}
