/* Slice, Split, Gather: parts of a tensor. */
#include "graph/onnx_import.h"

#include <inttypes.h>

/* So many parts of a Split, so many indices of a Gather. */
#define MAX_PARTS 1024
#define MAX_INDICES 16384

/* All of x; importers change one dimension after another. */
static struct kerf_node whole(const struct onnx_import *imp, int x)
{
	const struct kerf_tensor *t = &imp->g->tensors[x];
	struct kerf_node k = {.op = KERF_OP_SLICE, .n_inputs = 1, .inputs = {x}};

	for (int i = 0; i < t->n_dims; i++) {
		k.steps[i] = 1;
		k.counts[i] = (int)t->dims[i];
	}
	return k;
}

int onnx_emit_reversed(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int axis)
{
	struct kerf_node k = whole(imp, x);

	k.starts[axis] = k.counts[axis] - 1;
	k.steps[axis] = -1;
	return onnx_emit(imp, n, &k, "_reversed");
}

static int64_t clamp(int64_t v, int64_t lo, int64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* numpy's start:end:step, out of bounds on purpose often: INT64_MAX is "to the end". ONNX_EMPTY when nothing is left. */
static int slice_axis(const struct onnx_import *imp, const Onnx__NodeProto *n, struct kerf_node *k, int axis,
	int64_t start, int64_t end, int64_t step)
{
	const int64_t size = k->counts[axis], lowest = step < 0 ? -1 : 0;

	if (step == 0)
		return onnx_fail(imp, n, "a step of 0");
	step = clamp(step, -INT32_MAX, INT32_MAX);
	start = clamp(start < 0 ? start + size : start, 0, step < 0 ? size - 1 : size);
	end = clamp(end < 0 ? end + size : end, lowest, step < 0 ? size - 1 : size);
	const int64_t count = (end - start + step - (step > 0 ? 1 : -1)) / step;
	if (count <= 0)
		return ONNX_EMPTY;
	k->starts[axis] = (int)start;
	k->steps[axis] = (int)step;
	k->counts[axis] = (int)count;
	return 0;
}

struct slices {
	int64_t starts[KERF_MAX_DIMS], ends[KERF_MAX_DIMS], axes[KERF_MAX_DIMS], steps[KERF_MAX_DIMS];
	int n;
};

/* Attributes before opset 10, inputs since. */
static int read_slices(const struct onnx_import *imp, const Onnx__NodeProto *n, struct slices *s)
{
	static const char *const names[] = {"starts", "ends", "axes", "steps"};
	int64_t *const values[] = {s->starts, s->ends, s->axes, s->steps};

	for (int i = 0; i < 4; i++) {
		bool found;
		int count = onnx_ints_either(imp, n, i + 1, names[i], values[i], KERF_MAX_DIMS, &found);

		if (count < 0)
			return count;
		if (i == 0)
			s->n = count;
		if (i < 2 ? !found || count != s->n : found && count != s->n)
			return onnx_fail(imp, n, "%d %s for %d starts", count, names[i], s->n);
		for (int j = 0; !found && j < s->n; j++)
			values[i][j] = i == 2 ? j : 1;
	}
	return 0;
}

int onnx_import_slice(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	struct slices s;
	unsigned seen = 0;
	int x, axis;

	if (onnx_input(imp, n, 0, &x) < 0 || read_slices(imp, n, &s) < 0)
		return -EINVAL;
	struct kerf_node k = whole(imp, x);
	for (int i = 0; i < s.n; i++) {
		if (onnx_axis(imp, n, s.axes[i], imp->g->tensors[x].n_dims, &axis) < 0)
			return -EINVAL;
		if (seen >> axis & 1)
			return onnx_fail(imp, n, "axis %d is there twice", axis);
		seen |= 1u << axis;
		const int rc = slice_axis(imp, n, &k, axis, s.starts[i], s.ends[i], s.steps[i]);
		const struct kerf_tensor *t = &imp->g->tensors[x];
		if (rc == ONNX_EMPTY && !(t->data && t->n_dims == 1))
			return onnx_fail(imp, n, "nothing is left of axis %d, which is %" PRId64, axis, t->dims[axis]);
		if (rc < 0)
			return rc;
	}
	return onnx_emit(imp, n, &k, "");
}

/* Equal parts, the last one smaller if need be, when nothing says their sizes. */
static int part_sizes(const struct onnx_import *imp, const Onnx__NodeProto *n, int64_t size, int64_t *parts)
{
	bool given;
	int count = onnx_ints_either(imp, n, 1, "split", parts, MAX_PARTS, &given);
	int64_t sum = 0;

	if (count < 0)
		return count;
	if (!given) {
		count = (int)n->n_output;
		const int64_t each = (size + count - 1) / count;

		for (int i = 0; i < count; i++)
			parts[i] = KERF_MIN(each, size - i * each);
	}
	for (int i = 0; i < count; i++) {
		if (parts[i] < 1 || parts[i] > size)
			return onnx_fail(imp, n, "part %d has %" PRId64 " of %" PRId64, i, parts[i], size);
		sum += parts[i];
	}
	if (sum != size || (size_t)count != n->n_output)
		return onnx_fail(imp, n, "%d parts of %" PRId64 " in all for %zu outputs and %" PRId64, count, sum,
			n->n_output, size);
	return 0;
}

int onnx_import_split(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t parts[MAX_PARTS];
	int x, axis = 0, first = KERF_NONE, start = 0;

	if (n->n_output > MAX_PARTS)
		return onnx_fail(imp, n, "%zu outputs, expected at most %d", n->n_output, MAX_PARTS);
	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "axis", &axis) < 0 ||
		onnx_axis(imp, n, axis, imp->g->tensors[x].n_dims, &axis) < 0 ||
		part_sizes(imp, n, imp->g->tensors[x].dims[axis], parts) < 0)
		return -EINVAL;
	for (size_t i = 0; i < n->n_output; i++) {
		struct kerf_node k = whole(imp, x);
		char suffix[24];

		k.starts[axis] = start;
		k.counts[axis] = (int)parts[i];
		start += (int)parts[i];
		snprintf(suffix, sizeof(suffix), "_%zu", i);
		int id = onnx_emit(imp, n, &k, i ? suffix : "");
		if (id < 0)
			return id;
		int rc = i ? onnx_set_output(imp, n, i, id) : 0;
		if (rc < 0)
			return rc;
		first = i ? first : id;
	}
	return first;
}

/* Constant indices; in even steps they are a slice. */
int onnx_import_gather(struct onnx_import *imp, const Onnx__NodeProto *n)
{
	int64_t at[MAX_INDICES];
	int x, id, axis = 0;
	bool even = true;

	if (onnx_input(imp, n, 0, &x) < 0 || onnx_attr_int(imp, n, "axis", &axis) < 0 ||
		onnx_axis(imp, n, axis, imp->g->tensors[x].n_dims, &axis) < 0 || onnx_constant_input(imp, n, 1, &id) < 0)
		return -EINVAL;
	const struct kerf_tensor list = imp->g->tensors[id];
	const int64_t count = kerf_tensor_elements(&list);
	if (list.dtype != KERF_I64 || count > MAX_INDICES)
		return onnx_fail(imp, n, "indices are %" PRId64 " %s, expected at most %d integers", count,
			list.dtype == KERF_I64 ? "integers" : "floats", MAX_INDICES);
	struct kerf_node k = whole(imp, x);
	const int64_t size = k.counts[axis];
	for (int i = 0; i < count; i++) {
		at[i] = ((const int64_t *)list.data)[i];
		if (at[i] < -size || at[i] >= size)
			return onnx_fail(imp, n, "index %" PRId64 " is outside axis %d, which is %" PRId64, at[i], axis, size);
		at[i] += at[i] < 0 ? size : 0;
		even &= i <= 1 || at[i] - at[i - 1] == at[1] - at[0];
	}
	if (!even || list.n_dims > 1 || (count > 1 && at[0] == at[1]))
		return onnx_emit_gather(imp, n, x, axis, at, count, list.n_dims, list.dims);
	k.starts[axis] = (int)at[0];
	k.steps[axis] = count > 1 ? (int)(at[1] - at[0]) : 1;
	k.counts[axis] = (int)count;
	const int part = onnx_emit(imp, n, &k, list.n_dims ? "" : "_part");
	return part < 0 || list.n_dims ? part : onnx_drop_axes(imp, n, part, 1u << axis);
}
