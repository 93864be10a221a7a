/*
 * Networks that a training tool has quantised: QuantizeLinear and DequantizeLinear side by side, "QDQ"
 * (https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html).
 *
 * A pair around a computed tensor says which values that takes: it becomes the tensor's range, which the engine needs for int8,
 * and is no node; in f32 nothing is rounded. Around a constant both are arithmetic that is done here.
 */
#include "graph/onnx_import.h"

#include <math.h>

/* Parameters of a node: scales and zero points, one or as many as the constant's axis has places. */
struct quantiser {
	const float *scales;
	const int64_t *zeros; /* NULL = 0 */
	int64_t n, axis_stride; /* values before the axis moves on by one */
	double least, most;     /* of the integers */
};

#define ANY_INTEGER 0

/* Of integers of 8 or 16 bits. */
static bool limits(int32_t type, double *least, double *most)
{
	if (type == ANY_INTEGER) {
		*least = -INFINITY;
		*most = INFINITY;
		return true;
	}
	const bool is_signed = type == ONNX__TENSOR_PROTO__DATA_TYPE__INT8 || type == ONNX__TENSOR_PROTO__DATA_TYPE__INT16;
	int bits = 16;

	if (type == ONNX__TENSOR_PROTO__DATA_TYPE__INT8 || type == ONNX__TENSOR_PROTO__DATA_TYPE__UINT8)
		bits = 8;
	else if (type != ONNX__TENSOR_PROTO__DATA_TYPE__INT16 && type != ONNX__TENSOR_PROTO__DATA_TYPE__UINT16)
		return false;
	*least = is_signed ? -(double)(1 << (bits - 1)) : 0;
	*most = *least + (1 << bits) - 1;
	return true;
}

/* How many scales there are, and along which axis of x. */
static int place_scales(struct onnx_import *imp, const Onnx__NodeProto *n, const struct kerf_tensor *x, struct quantiser *q)
{
	int axis = 1, block = 0;

	q->axis_stride = 1;
	if (onnx_attr_int(imp, n, "axis", &axis) < 0 || onnx_attr_int(imp, n, "block_size", &block) < 0)
		return -EINVAL;
	if (block)
		return onnx_fail(imp, n, "block_size %d is not supported", block);
	if (q->n == 1)
		return 0;
	if (!x->data)
		return onnx_fail(imp, n, "%lld scales for a computed tensor: one is supported", (long long)q->n);
	if (onnx_axis(imp, n, axis, x->n_dims, &axis) < 0)
		return -EINVAL;
	if (x->dims[axis] != q->n)
		return onnx_fail(imp, n, "%lld scales for %lld places", (long long)q->n, (long long)x->dims[axis]);
	for (int d = axis + 1; d < x->n_dims; d++)
		q->axis_stride *= x->dims[d];
	return 0;
}

static int read_quantiser(struct onnx_import *imp, const Onnx__NodeProto *n, int x, int32_t type, struct quantiser *q)
{
	int scale, zero;

	*q = (struct quantiser){0};
	if (onnx_weights_input(imp, n, 1, &scale) < 0 || onnx_constant_input(imp, n, 2, &zero) < 0)
		return -EINVAL;
	const struct kerf_tensor *s = &imp->g->tensors[scale], *z = zero >= 0 ? &imp->g->tensors[zero] : NULL;
	q->scales = s->data;
	q->n = kerf_tensor_elements(s);
	if (z && (z->dtype != KERF_I64 || kerf_tensor_elements(z) != q->n))
		return onnx_fail(imp, n, "%lld zero points for %lld scales, or no integers", (long long)kerf_tensor_elements(z),
			(long long)q->n);
	q->zeros = z ? z->data : NULL;
	if (!limits(type, &q->least, &q->most))
		return onnx_fail(imp, n, "integers of type %d are not supported", type);
	for (int64_t i = 0; i < q->n; i++)
		if (!(q->scales[i] > 0) || !isfinite(q->scales[i]) ||
			(q->zeros && !((double)q->zeros[i] >= q->least && (double)q->zeros[i] <= q->most)))
			return onnx_fail(imp, n, "scale or zero point %lld is out of range", (long long)i);
	return place_scales(imp, n, &imp->g->tensors[x], q);
}

static int64_t zero_of(const struct quantiser *q, int64_t k)
{
	return q->zeros ? q->zeros[k] : 0;
}

static struct kerf_range range_of(const struct quantiser *q)
{
	const double scale = (double)q->scales[0], zero = (double)zero_of(q, 0);

	return (struct kerf_range){(float)(scale * (q->least - zero)), (float)(scale * (q->most - zero))};
}

#define NO_TYPE (-1)

/* The type of the zero point in the file; `otherwise` when there is none. What was computed has lost it. */
static int32_t zero_type(const struct onnx_import *imp, const Onnx__NodeProto *n, int32_t otherwise)
{
	const struct onnx_value *v = onnx_input_value(imp, n, 2);

	if (!v)
		return otherwise;
	return v->constant ? v->constant->data_type : NO_TYPE;
}

/* ---- constants ---- */

static int quantise_constant(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const struct quantiser *q)
{
	const struct kerf_tensor t = imp->g->tensors[x];
	void *values;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), KERF_I64, t.n_dims, t.dims, &values);

	for (int64_t i = 0; id >= 0 && i < kerf_tensor_elements(&t); i++) {
		const int64_t k = i / q->axis_stride % q->n;
		const double v = nearbyint((double)((const float *)t.data)[i] / (double)q->scales[k]) + (double)zero_of(q, k);

		((int64_t *)values)[i] = (int64_t)fmin(fmax(v, q->least), q->most); /* a NaN becomes the least */
	}
	return id;
}

static int dequantise_constant(struct onnx_import *imp, const Onnx__NodeProto *n, int x, const struct quantiser *q)
{
	const struct kerf_tensor t = imp->g->tensors[x];
	void *values;
	const int id = onnx_new_constant(imp, n, onnx_node_name(n), KERF_F32, t.n_dims, t.dims, &values);

	for (int64_t i = 0; id >= 0 && i < kerf_tensor_elements(&t); i++) {
		const int64_t k = i / q->axis_stride % q->n;

		/* In double, which holds all 32 bits and does not overflow with 64. */
		((float *)values)[i] = (float)((double)((const int64_t *)t.data)[i] - (double)zero_of(q, k)) * q->scales[k];
	}
	return id;
}

/* ---- the two operators ---- */

int onnx_import_quantise(struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v)
{
	int type = 0, x;
	struct quantiser q;

	if (onnx_attr_int(imp, n, "output_dtype", &type) < 0 || onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	type = zero_type(imp, n, type ? type : ONNX__TENSOR_PROTO__DATA_TYPE__UINT8);
	if (imp->g->tensors[x].dtype != KERF_F32)
		return onnx_fail(imp, n, "its input holds integers, expected f32");
	if (read_quantiser(imp, n, x, type, &q) < 0)
		return -EINVAL;
	if (imp->g->tensors[x].data) {
		v->tensor = quantise_constant(imp, n, x, &q);
		return KERF_MIN(v->tensor, 0);
	}
	v->tensor = x;
	v->integers = range_of(&q);
	v->integer_type = type;
	if (!onnx_is_quantised(v) || !isfinite(v->integers.lo) || !isfinite(v->integers.hi))
		return onnx_fail(imp, n, "its scale is out of range");
	imp->g->tensors[x].range = v->integers;
	return 0;
}

int onnx_import_dequantise(struct onnx_import *imp, const Onnx__NodeProto *n, struct onnx_value *v)
{
	const struct onnx_value *from = onnx_input_value(imp, n, 0);
	struct quantiser q;
	int x;

	if (!from || onnx_input(imp, n, 0, &x) < 0)
		return -EINVAL;
	const struct kerf_tensor *t = &imp->g->tensors[x];
	if (!onnx_is_quantised(from) && (!t->data || t->dtype != KERF_I64))
		return onnx_fail(imp, n, "its input is neither a constant of integers nor a QuantizeLinear's");
	if (read_quantiser(imp, n, x, onnx_is_quantised(from) ? from->integer_type : ANY_INTEGER, &q) < 0)
		return -EINVAL;
	if (!onnx_is_quantised(from)) {
		v->tensor = dequantise_constant(imp, n, x, &q);
		return KERF_MIN(v->tensor, 0);
	}
	const struct kerf_range r = range_of(&q);
	if (r.lo != from->integers.lo || r.hi != from->integers.hi)
		return onnx_fail(imp, n, "scale or zero point are not those of the QuantizeLinear before it");
	v->tensor = x;
	return 0;
}
