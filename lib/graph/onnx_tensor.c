/* Constants of an ONNX file: raw bytes or typed fields, several number formats, one result. */
#include "graph/onnx_import.h"

#include <stdlib.h>
#include <string.h>

static const char *tensor_name(const Onnx__TensorProto *t)
{
	return t->name && t->name[0] ? t->name : "(unnamed)";
}

/* IEEE 754 binary16; an infinity and a NaN keep their kind. */
float onnx_half_to_float(uint16_t half)
{
	uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f;
	uint32_t fraction = half & 0x3ff, bits;
	float value;

	if (exponent == 0) { /* zero or subnormal: fraction x 2^-24 */
		value = (float)fraction * 0x1p-24f;
		memcpy(&bits, &value, sizeof(bits));
		bits |= sign;
	} else if (exponent == 0x1f) {
		bits = sign | 0x7f800000 | fraction << 13;
	} else {
		bits = sign | (exponent + 127 - 15) << 23 | fraction << 13;
	}
	memcpy(&value, &bits, sizeof(value));
	return value;
}

static float bfloat_to_float(uint16_t half)
{
	uint32_t bits = (uint32_t)half << 16;
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static int check_stored_here(const Onnx__TensorProto *t, struct kerf_err *err)
{
	if (!t->segment)
		return 0;
	return kerf_err_set(err, -EINVAL, "constant %s is split into segments", tensor_name(t));
}

/* dims, and how many elements they make; 0 elements only where `empty` is allowed. */
static int read_dims(const Onnx__TensorProto *t, int64_t *dims, int *n_dims, bool empty,
	size_t *elements, struct kerf_err *err)
{
	int64_t product = 1;

	if (t->n_dims > KERF_MAX_DIMS)
		return kerf_err_set(err, -EINVAL,
			"constant %s has %zu dimensions, expected at most %d", tensor_name(t),
			t->n_dims, KERF_MAX_DIMS);
	*n_dims = (int)t->n_dims;
	for (int i = 0; i < *n_dims; i++) {
		if (t->dims[i] < (empty ? 0 : 1) || (product && t->dims[i] > INT32_MAX / product))
			return kerf_err_set(err, -EINVAL,
				"constant %s: dimension %d is %lld, which is out of range",
				tensor_name(t), i, (long long)t->dims[i]);
		product *= t->dims[i];
		dims[i] = t->dims[i];
	}
	*elements = (size_t)product;
	return 0;
}

/*
 * Where the values lie: raw_data (little endian, as on every machine kerf runs on) or the typed
 * field, of which `typed_size` bytes an element. Checks the size against the dims.
 */
struct payload {
	const uint8_t *bytes;
	size_t stride; /* from one value to the next */
};

static int find_payload(const Onnx__TensorProto *t, size_t elements, size_t raw_size,
	const void *typed, size_t n_typed, size_t typed_size, struct payload *p,
	struct kerf_err *err)
{
	bool raw = t->has_raw_data && (t->raw_data.len > 0 || n_typed == 0);
	size_t found = raw ? t->raw_data.len : n_typed * typed_size;
	size_t expected = elements * (raw ? raw_size : typed_size);

	if (found != expected)
		return kerf_err_set(err, -EINVAL,
			"constant %s has %zu bytes of values, its dimensions ask for %zu",
			tensor_name(t), found, expected);
	p->bytes = raw ? t->raw_data.data : typed;
	p->stride = raw ? raw_size : typed_size;
	return 0;
}

static int locate_floats(
	const Onnx__TensorProto *t, size_t elements, struct payload *p, struct kerf_err *err)
{
	switch (t->data_type) {
	case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT:
		return find_payload(t, elements, 4, t->float_data, t->n_float_data, 4, p, err);
	case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE:
		return find_payload(t, elements, 8, t->double_data, t->n_double_data, 8, p, err);
	case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16:
	case ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16:
		return find_payload(t, elements, 2, t->int32_data, t->n_int32_data, 4, p, err);
	default:
		return kerf_err_set(err, -EINVAL,
			"constant %s has data type %d, expected float, float16, bfloat16 or double",
			tensor_name(t), t->data_type);
	}
}

/* f32 from double or one of the 16-bit formats. */
static float decode_float(int32_t type, const uint8_t *from)
{
	double wide;
	uint16_t half;

	if (type == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE) {
		memcpy(&wide, from, sizeof(wide));
		return (float)wide;
	}
	memcpy(&half, from, sizeof(half));
	return type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 ? onnx_half_to_float(half)
							      : bfloat_to_float(half);
}

#define WORTH_TAKING 4096 /* values; smaller constants may be read again as something else */

/* protobuf-c has it from malloc. */
static float *take_raw(Onnx__TensorProto *t, const struct payload *p, size_t elements)
{
	uint8_t *data = t->raw_data.data;

	if (t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT || elements < WORTH_TAKING || p->bytes != data)
		return NULL;
	t->raw_data = (ProtobufCBinaryData){0};
	return (float *)(void *)data;
}

int onnx_floats(Onnx__TensorProto *t, int64_t *dims, int *n_dims, float **values,
	struct kerf_err *err)
{
	size_t elements;
	struct payload p;

	if (check_stored_here(t, err) < 0 ||
		read_dims(t, dims, n_dims, false, &elements, err) < 0 ||
		locate_floats(t, elements, &p, err) < 0)
		return -EINVAL;
	*values = take_raw(t, &p, elements);
	if (*values)
		return 0;
	float *out = malloc(elements * sizeof(*out));
	if (!out)
		return kerf_err_set(err, -ENOMEM, "constant %s: no memory for %zu values",
			tensor_name(t), elements);
	*values = out;
	if (t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT) {
		memcpy(out, p.bytes, elements * sizeof(*out));
		return 0;
	}
	for (size_t i = 0; i < elements; i++)
		out[i] = decode_float(t->data_type, p.bytes + i * p.stride);
	return 0;
}

bool onnx_is_float(int type)
{
	return type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT || type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16 ||
		type == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16 || type == ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
}

/* Bytes of one in raw_data and whether it has a sign; 0 bytes for what is no integer. */
static size_t integer_size(int type, bool *is_signed)
{
	*is_signed = true;
	switch (type) {
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT64: return 8;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT32: return 4;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT16: return 2;
	case ONNX__TENSOR_PROTO__DATA_TYPE__INT8: return 1;
	default: *is_signed = false;
	}
	switch (type) {
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT16: return 2;
	case ONNX__TENSOR_PROTO__DATA_TYPE__UINT8:
	case ONNX__TENSOR_PROTO__DATA_TYPE__BOOL: return 1;
	default: return 0;
	}
}

static int64_t decode_integer(const uint8_t *from, size_t size, bool is_signed)
{
	uint64_t bits = 0;

	memcpy(&bits, from, size);
	if (is_signed && size < 8 && bits >> (8 * size - 1))
		bits |= ~0ull << 8 * size;
	return (int64_t)bits;
}

/* dims, their number of elements and where those lie. */
static int locate_integers(const Onnx__TensorProto *t, int64_t *dims, int *n_dims, size_t *elements, struct payload *p,
	size_t *size, bool *is_signed, struct kerf_err *err)
{
	*size = integer_size(t->data_type, is_signed);
	if (check_stored_here(t, err) < 0 || read_dims(t, dims, n_dims, true, elements, err) < 0)
		return -EINVAL;
	if (*size == 0)
		return kerf_err_set(err, -EINVAL, "constant %s has data type %d, expected integers", tensor_name(t),
			t->data_type);
	if (*size == 8)
		return find_payload(t, *elements, 8, t->int64_data, t->n_int64_data, 8, p, err);
	const int rc = find_payload(t, *elements, *size, t->int32_data, t->n_int32_data, 4, p, err);
	*size = KERF_MIN(*size, p->stride); /* the low bytes of an int32, if that is where it lies */
	return rc;
}

int onnx_integers(const Onnx__TensorProto *t, int64_t *dims, int *n_dims, int64_t **values, struct kerf_err *err)
{
	size_t elements, size;
	struct payload p = {0};
	bool is_signed;

	if (locate_integers(t, dims, n_dims, &elements, &p, &size, &is_signed, err) < 0)
		return -EINVAL;
	if (elements == 0)
		return kerf_err_set(err, -EINVAL, "constant %s is empty", tensor_name(t));
	int64_t *out = malloc(elements * sizeof(*out));
	if (!out)
		return kerf_err_set(err, -ENOMEM, "constant %s: no memory for %zu values", tensor_name(t), elements);
	for (size_t i = 0; i < elements; i++)
		out[i] = decode_integer(p.bytes + i * p.stride, size, is_signed);
	*values = out;
	return 0;
}

int onnx_ints(const Onnx__TensorProto *t, int64_t *values, int max, struct kerf_err *err)
{
	int64_t dims[KERF_MAX_DIMS];
	int n_dims;
	size_t elements, size;
	struct payload p = {0};
	bool is_signed;

	if (locate_integers(t, dims, &n_dims, &elements, &p, &size, &is_signed, err) < 0)
		return -EINVAL;
	if (elements > (size_t)max)
		return kerf_err_set(err, -EINVAL, "constant %s has %zu values, expected at most %d",
			tensor_name(t), elements, max);
	for (size_t i = 0; i < elements; i++)
		values[i] = decode_integer(p.bytes + i * p.stride, size, is_signed);
	return (int)elements;
}
