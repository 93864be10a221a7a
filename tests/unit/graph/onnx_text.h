/*
 * onnx_text: ONNX files for tests, written down in one line and encoded by hand, byte by byte, so
 * that reader and writer are checked against something that is not protobuf-c.
 *
 *	in x N,3,8,8; f32 w 4,3,3,3; node Conv c x,w y strides=[2,2] group=1; out y
 *
 * Statements: "opset 13", "ir 8", "in NAME DIMS", "in16" (float16), "in8" (uint8), "out NAME",
 * "f32|f16|i64|i32|i8|u8|f64|short NAME DIMS[=V,V,...]" (an initializer; values count up in hundredths
 * when none are given; short lacks a value), "ext NAME DIMS=FILE[:OFFSET[:LENGTH]]" (f32 that lie in
 * another file), "node OP NAME INPUTS
 * OUTPUTS [ATTR=VALUE...]". Letters in DIMS are symbolic, "?" is missing, "-" means no dimensions.
 * "-" also stands for an empty list or name. Attribute values: [1,2] integers, 1 an integer, 1.5
 * a float, f32:DIMS=V,... a tensor, else text. A domain goes before the operator: "my.dom:Op".
 */
#pragma once

#include <assert.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bytes {
	uint8_t *data;
	size_t len, capacity;
};

static inline void put(struct bytes *b, const void *data, size_t len)
{
	if (b->len + len > b->capacity) {
		b->capacity = 2 * (b->len + len) + 64;
		b->data = realloc(b->data, b->capacity);
		assert(b->data);
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

static inline void put_varint(struct bytes *b, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		put(b, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
	put(b, &(uint8_t){(uint8_t)value}, 1);
}

static inline void put_int(struct bytes *b, unsigned field, int64_t value)
{
	put_varint(b, field << 3);
	put_varint(b, (uint64_t)value);
}

static inline void put_float(struct bytes *b, unsigned field, float value)
{
	put_varint(b, field << 3 | 5);
	put(b, &value, sizeof(value));
}

static inline void put_block(struct bytes *b, unsigned field, const void *data, size_t len)
{
	put_varint(b, field << 3 | 2);
	put_varint(b, len);
	put(b, data, len);
}

static inline void put_text(struct bytes *b, unsigned field, const char *text)
{
	put_block(b, field, text, strlen(text));
}

/* Takes the child's memory. */
static inline void put_message(struct bytes *b, unsigned field, struct bytes *child)
{
	put_block(b, field, child->data, child->len);
	free(child->data);
	*child = (struct bytes){0};
}

/* Comma separated integers; returns how many. */
static inline int text_ints(const char *text, int64_t *values, int max)
{
	int n = 0;

	while (n < max && (isdigit((unsigned char)*text) || *text == '-')) {
		char *end;
		values[n++] = strtoll(text, &end, 10);
		text = *end == ',' ? end + 1 : end;
	}
	return n;
}

/* One value of a constant in the format of its kind. */
static inline void put_value(struct bytes *b, const char *kind, double value)
{
	float single = (float)value;
	int64_t whole = (int64_t)value;
	uint32_t bits;

	memcpy(&bits, &single, sizeof(bits));
	if (strcmp(kind, "i8") == 0 || strcmp(kind, "u8") == 0) {
		put(b, &(uint8_t){(uint8_t)whole}, 1);
	} else if (strcmp(kind, "i32") == 0) {
		put(b, &(int32_t){(int32_t)whole}, 4);
	} else if (strcmp(kind, "i64") == 0) {
		put(b, &whole, sizeof(whole));
	} else if (strcmp(kind, "f64") == 0) {
		put(b, &value, sizeof(value));
	} else if (strcmp(kind, "f16") == 0) { /* of small normal numbers, truncated */
		uint32_t half = value == 0 ? 0
					   : (bits >> 16 & 0x8000) |
						     (((bits >> 23 & 0xff) - 112) << 10) |
						     (bits >> 13 & 0x3ff);
		put(b, &half, 2);
	} else {
		put(b, &single, sizeof(single));
	}
}

/* "FILE", "FILE:OFFSET" or "FILE:OFFSET:LENGTH" as external_data. */
static inline void text_external(struct bytes *t, const char *spec)
{
	static const char *const keys[] = {"location", "offset", "length"};
	char copy[300], *save, *value;

	snprintf(copy, sizeof(copy), "%s", spec);
	value = strtok_r(copy, ":", &save);
	for (int i = 0; i < 3 && value; i++, value = strtok_r(NULL, ":", &save)) {
		struct bytes pair = {0};
		put_text(&pair, 1, keys[i]);
		put_text(&pair, 2, value);
		put_message(t, 13, &pair);
	}
	put_int(t, 14, 1);
}

/* A TensorProto: kind, "DIMS" or "DIMS=V,V,...". */
static inline struct bytes text_tensor(const char *kind, const char *name, const char *spec)
{
	struct bytes t = {0}, raw = {0};
	int64_t dims[16];
	const char *values = strchr(spec, '=');
	int n_dims =
		spec[0] == '-' && !isdigit((unsigned char)spec[1]) ? 0 : text_ints(spec, dims, 16);
	int64_t count = 1;
	int type = strcmp(kind, "i64") == 0   ? 7
		   : strcmp(kind, "f16") == 0 ? 10
		   : strcmp(kind, "f64") == 0 ? 11
		   : strcmp(kind, "i8") == 0  ? 3
		   : strcmp(kind, "u8") == 0  ? 2
		   : strcmp(kind, "i32") == 0 ? 6
					      : 1;

	for (int i = 0; i < n_dims; i++) {
		put_int(&t, 1, dims[i]);
		if (__builtin_mul_overflow(count, dims[i], &count))
			count = 1 << 20; /* more than anybody writes */
	}
	put_int(&t, 2, type);
	put_text(&t, 8, name);
	if (strcmp(kind, "ext") == 0)
		text_external(&t, values ? values + 1 : "");
	else if (values)
		for (values++; *values; values += *values == ',') {
			char *end;
			put_value(&raw, kind, strtod(values, &end));
			values = end;
		}
	else
		for (int64_t i = 0; i < count && count < 1 << 20; i++)
			put_value(&raw, kind, 0.01 * (double)(i + 1));
	if (strcmp(kind, "short") == 0)
		raw.len -= 4;
	if (strcmp(kind, "ext") != 0)
		put_block(&t, 9, raw.data, raw.len);
	free(raw.data);
	return t;
}

/* A ValueInfoProto. */
static inline struct bytes text_io(const char *name, int type, const char *dims)
{
	struct bytes info = {0}, outer = {0}, tensor = {0}, shape = {0};
	char copy[256], *save;

	snprintf(copy, sizeof(copy), "%s", strcmp(dims, "-") == 0 ? "" : dims);
	for (char *d = strtok_r(copy, ",", &save); d; d = strtok_r(NULL, ",", &save)) {
		struct bytes dim = {0};
		if (isalpha((unsigned char)d[0]))
			put_text(&dim, 2, d);
		else if (d[0] != '?')
			put_int(&dim, 1, strtoll(d, NULL, 10));
		put_message(&shape, 1, &dim);
	}
	put_int(&tensor, 1, type);
	put_message(&tensor, 2, &shape);
	put_message(&outer, 1, &tensor);
	put_text(&info, 1, name);
	put_message(&info, 2, &outer);
	return info;
}

/* An AttributeProto from "name=value". */
static inline struct bytes text_attr(char *text)
{
	struct bytes a = {0};
	char *value = strchr(text, '=');
	char *end;

	assert(value);
	*value++ = '\0';
	put_text(&a, 1, text);
	if (value[0] == '[') {
		int64_t ints[32];
		int n = text_ints(value + 1, ints, 32);
		for (int i = 0; i < n; i++)
			put_int(&a, 8, ints[i]);
		put_int(&a, 20, 7);
	} else if (strncmp(value, "f32:", 4) == 0 || strncmp(value, "i64:", 4) == 0) {
		value[3] = '\0';
		struct bytes t = text_tensor(value, "", value + 4);
		put_message(&a, 5, &t);
		put_int(&a, 20, 4);
	} else if (strtod(value, &end), *end) {
		put_text(&a, 4, value);
		put_int(&a, 20, 3);
	} else if (strchr(value, '.')) {
		put_float(&a, 2, strtof(value, NULL));
		put_int(&a, 20, 1);
	} else {
		put_int(&a, 3, strtoll(value, NULL, 10));
		put_int(&a, 20, 2);
	}
	return a;
}

static inline void put_names(struct bytes *n, unsigned field, char *list)
{
	if (strcmp(list, "-") == 0)
		return;
	for (char *name = list; name;) {
		char *comma = strchr(name, ',');
		if (comma)
			*comma++ = '\0';
		put_text(n, field, strcmp(name, "-") == 0 ? "" : name);
		name = comma;
	}
}

/* A NodeProto from the words after "node". */
static inline struct bytes text_node(char *save)
{
	struct bytes n = {0};
	char *op = strtok_r(NULL, " ", &save), *name = strtok_r(NULL, " ", &save);
	char *inputs = strtok_r(NULL, " ", &save), *outputs = strtok_r(NULL, " ", &save), *attr;

	assert(op && name && inputs && outputs);
	put_names(&n, 1, inputs);
	put_names(&n, 2, outputs);
	put_text(&n, 3, strcmp(name, "-") == 0 ? "" : name);
	char *colon = strchr(op, ':');
	if (colon) {
		*colon = '\0';
		put_text(&n, 7, op);
		op = colon + 1;
	}
	put_text(&n, 4, op);
	while ((attr = strtok_r(NULL, " ", &save))) {
		struct bytes a = text_attr(attr);
		put_message(&n, 5, &a);
	}
	return n;
}

struct text_model {
	struct bytes graph;
	int64_t opset, ir;
};

static inline void text_statement(struct text_model *m, char *statement)
{
	char *save, *kind = strtok_r(statement, " ", &save);

	if (!kind)
		return;
	if (strcmp(kind, "node") == 0) {
		struct bytes n = text_node(save);
		put_message(&m->graph, 1, &n);
		return;
	}
	char *name = strtok_r(NULL, " ", &save), *spec = strtok_r(NULL, " ", &save);
	assert(name);
	if (strcmp(kind, "opset") == 0) {
		m->opset = atoi(name);
	} else if (strcmp(kind, "ir") == 0) {
		m->ir = atoi(name);
	} else if (strncmp(kind, "in", 2) == 0) {
		struct bytes io = text_io(name, kind[2] == '1' ? 10 : kind[2] == '8' ? 2 : 1, spec);
		put_message(&m->graph, 11, &io);
	} else if (strcmp(kind, "out") == 0) {
		struct bytes io = text_io(name, 1, "-");
		put_message(&m->graph, 12, &io);
	} else {
		struct bytes t = text_tensor(kind, name, spec);
		put_message(&m->graph, 5, &t);
	}
}

/* The bytes of a whole file; the caller frees .data. */
static inline struct bytes text_model(const char *text)
{
	struct text_model m = {.opset = 13, .ir = 8};
	struct bytes model = {0}, opset = {0};
	char *copy = strdup(text), *save;

	for (char *s = strtok_r(copy, ";", &save); s; s = strtok_r(NULL, ";", &save))
		text_statement(&m, s);
	free(copy);
	put_int(&model, 1, m.ir);
	put_message(&model, 7, &m.graph);
	put_text(&opset, 1, "");
	put_int(&opset, 2, m.opset);
	put_message(&model, 8, &opset);
	return model;
}

/* A private file name; the same one all through a program. */
static inline const char *text_path(void)
{
	static char path[256];
	const char *dir = getenv("TMPDIR");

	if (!path[0])
		snprintf(path, sizeof(path), "%s/kerf-onnx-test-%d.onnx", dir ? dir : "/tmp",
			(int)getpid());
	return path;
}

static inline void write_bytes(const char *path, const void *data, size_t len)
{
	FILE *f = fopen(path, "wb");

	assert(f);
	assert(fwrite(data, 1, len, f) == len);
	assert(fclose(f) == 0);
}

static inline struct kerf_graph *load_bytes(const void *data, size_t len, struct kerf_err *err)
{
	write_bytes(text_path(), data, len);
	struct kerf_graph *g = kerf_graph_load(text_path(), NULL, err);
	remove(text_path());
	return g;
}

static inline struct kerf_graph *load_text(const char *text, struct kerf_err *err)
{
	struct bytes model = text_model(text);
	struct kerf_graph *g = load_bytes(model.data, model.len, err);

	free(model.data);
	return g;
}
