/*
 * The byte-level check before protobuf-c unpacks a file. protobuf-c recurses once per nested
 * message without a limit, so a 54 KB file can overflow the stack, and a byte or two of an empty
 * element become about a hundred bytes of memory. This walk follows the same descriptors with a
 * stack of its own. Wire format: protobuf.dev/programming-guides/encoding.
 */
#include "graph/onnx_import.h"

#include <assert.h>
#include <inttypes.h>

/* Nesting inside an If or a Loop costs 3 levels each; protobuf for C++ stops at 100 as well. */
#define MAX_DEPTH 100
/* A large network has some ten thousand nodes with a few attributes each. */
#define MAX_MESSAGES (1u << 20)
/* Each may cost protobuf-c some 70 bytes; packed numbers are one field together. */
#define MAX_FIELDS (1u << 23)

enum wire_type { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_LENGTH = 2, WIRE_32BIT = 5 };

struct level {
	const ProtobufCMessageDescriptor *type;
	size_t end;
	uint64_t seen; /* bit per field: messages that must not come twice */
};

struct guard {
	const uint8_t *bytes;
	size_t at;
	struct level levels[MAX_DEPTH];
	int depth;
	unsigned messages, fields;
	struct kerf_err *err;
};

static int refuse(const struct guard *s, const char *what)
{
	return kerf_err_set(s->err, -EINVAL, "not a valid ONNX file: byte %zu: %s", s->at, what);
}

static int read_varint(struct guard *s, size_t end, uint64_t *value)
{
	*value = 0;
	for (int shift = 0; shift < 64; shift += 7) {
		if (s->at >= end)
			return refuse(s, "a number is cut off");
		uint8_t byte = s->bytes[s->at++];
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return 0;
	}
	return refuse(s, "a number has more than 10 bytes");
}

static int skip_bytes(struct guard *s, uint64_t len)
{
	if (len > s->levels[s->depth - 1].end - s->at)
		return refuse(s, "a field is longer than what holds it");
	s->at += (size_t)len;
	return 0;
}

static int enter_message(struct guard *s, const ProtobufCMessageDescriptor *type, size_t len)
{
	if (s->depth == MAX_DEPTH)
		return refuse(s, "messages are nested more than 100 deep");
	if (++s->messages > MAX_MESSAGES)
		return refuse(s, "more than 1048576 messages");
	s->levels[s->depth++] = (struct level){.type = type, .end = s->at + len};
	return 0;
}

/* Repeating a single message means merging the copies; no ONNX writer does that. */
static int check_repeated(struct guard *s, const ProtobufCFieldDescriptor *field)
{
	struct level *top = &s->levels[s->depth - 1];
	size_t index = (size_t)(field - top->type->fields);

	assert(index < 64);
	if (field->label == PROTOBUF_C_LABEL_REPEATED)
		return 0;
	if (top->seen >> index & 1)
		return refuse(s, "a field that may occur once occurs twice");
	top->seen |= 1ull << index;
	return 0;
}

static int enter_field(struct guard *s, const ProtobufCFieldDescriptor *field)
{
	uint64_t len;
	size_t end = s->levels[s->depth - 1].end;

	if (read_varint(s, end, &len) < 0)
		return -EINVAL;
	if (!field || field->type != PROTOBUF_C_TYPE_MESSAGE)
		return skip_bytes(s, len);
	if (len > end - s->at)
		return refuse(s, "a message is longer than what holds it");
	if (check_repeated(s, field) < 0)
		return -EINVAL;
	return enter_message(s, field->descriptor, (size_t)len);
}

static int walk_field(struct guard *s)
{
	uint64_t key, ignored;
	const struct level *top = &s->levels[s->depth - 1];

	if (++s->fields > MAX_FIELDS)
		return refuse(s, "more than 8388608 fields");
	if (read_varint(s, top->end, &key) < 0)
		return -EINVAL;
	if (key >> 3 == 0 || key >> 3 >= 1u << 29)
		return refuse(s, "a field number is out of range");
	switch (key & 7) {
	case WIRE_VARINT: return read_varint(s, top->end, &ignored);
	case WIRE_64BIT: return skip_bytes(s, 8);
	case WIRE_32BIT: return skip_bytes(s, 4);
	case WIRE_LENGTH:
		return enter_field(s,
			protobuf_c_message_descriptor_get_field(top->type, (unsigned)(key >> 3)));
	default: return refuse(s, "a field of unknown wire type");
	}
}

int onnx_guard(const uint8_t *bytes, size_t len, struct kerf_err *err)
{
	struct guard s = {.bytes = bytes, .err = err};

	if (enter_message(&s, &onnx__model_proto__descriptor, len) < 0)
		return -EINVAL;
	while (s.depth > 0) {
		if (s.at == s.levels[s.depth - 1].end)
			s.depth--;
		else if (walk_field(&s) < 0)
			return -EINVAL;
	}
	return 0;
}
