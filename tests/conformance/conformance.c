/*
 * Runs ONNX's backend test cases (https://github.com/onnx/onnx/blob/main/docs/OnnxBackendTest.md): DIR holds suites, a
 * suite holds cases, a case holds model.onnx and test_data_set_0/input_*.pb, output_*.pb. kerf runs networks of one
 * input with constant weights, so that the first input of floats stays one and all others become constants. Where there
 * is none, a number that nothing reads takes its place, and the outputs are constants that the import has found.
 *
 *	conformance DIR [-v] [-n LEAST] [CASE...]
 *
 * Prints operator -> passed / unsupported / failed. A case that kerf refuses is unsupported, one that it computes
 * otherwise is failed. Exit code 1 when any failed or fewer than LEAST passed; 77 when DIR is not there.
 */
#include <dirent.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <onnx.pb-c.h>

#include "engine/engine.h"

/* As the reference's own runner takes them. */
#define RELATIVE 1e-3
#define ABSOLUTE 1e-7

#define MAX_OPERATORS 256
#define MAX_CONSTANTS 64

enum result { PASSED, UNSUPPORTED, FAILED, N_RESULTS };

struct row {
	char name[48];
	unsigned n[N_RESULTS];
};

static struct {
	bool verbose;
	char model[512]; /* where a case's model with its constants is written */
	struct row rows[MAX_OPERATORS];
	unsigned n_rows;
	unsigned all[N_RESULTS], cnn[N_RESULTS]; /* cnn: those of cnn_operators alone */
} run;

/* What convolutional networks are made of, with their heads and what exporters write around them. */
static const char *const cnn_operators[] = {"Abs", "Add", "ArgMax", "AveragePool", "BatchNormalization", "Cast", "Ceil",
	"Clip", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "DepthToSpace", "DequantizeLinear", "Div",
	"Dropout", "Elu", "Equal", "Erf", "Exp", "Expand", "Flatten", "Floor", "Gather", "Gemm", "GlobalAveragePool",
	"GlobalMaxPool", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization", "LRN", "LayerNormalization",
	"LeakyRelu", "Log", "LogSoftmax", "MatMul", "Max", "MaxPool", "Min", "Mul", "Neg", "NonMaxSuppression", "PRelu",
	"Pad", "Pow", "QLinearConv", "QuantizeLinear", "Reciprocal", "ReduceMax", "ReduceMean", "ReduceSum", "Relu",
	"Reshape", "Resize", "Selu", "Shape", "Sigmoid", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth",
	"Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "TopK", "Transpose", "Unsqueeze", "Upsample", "Where"};

/* ---- files ---- */

struct bytes {
	uint8_t *data;
	size_t len;
};

static bool read_bytes(const char *path, struct bytes *b)
{
	FILE *f = fopen(path, "rb");
	long size = -1;

	*b = (struct bytes){0};
	if (!f)
		return false;
	if (fseek(f, 0, SEEK_END) == 0)
		size = ftell(f);
	rewind(f);
	if (size >= 0 && (b->data = malloc((size_t)size + 1)) != NULL)
		b->len = fread(b->data, 1, (size_t)size, f);
	fclose(f);
	return b->data && (long)b->len == size;
}

static Onnx__TensorProto *read_tensor(const char *dir, const char *kind, size_t i)
{
	char path[PATH_MAX + 64];
	struct bytes b;
	Onnx__TensorProto *t = NULL;

	snprintf(path, sizeof(path), "%s/test_data_set_0/%s_%zu.pb", dir, kind, i);
	if (read_bytes(path, &b))
		t = onnx__tensor_proto__unpack(NULL, b.len, b.data);
	free(b.data);
	return t;
}

static Onnx__ModelProto *read_model(const char *dir)
{
	char path[PATH_MAX + 64];
	struct bytes b;
	Onnx__ModelProto *m = NULL;

	snprintf(path, sizeof(path), "%s/model.onnx", dir);
	if (read_bytes(path, &b))
		m = onnx__model_proto__unpack(NULL, b.len, b.data);
	free(b.data);
	return m;
}

static bool write_model(const Onnx__ModelProto *m, const char *path)
{
	const size_t len = onnx__model_proto__get_packed_size(m);
	uint8_t *data = malloc(len + 1);
	FILE *f = data ? fopen(path, "wb") : NULL;
	bool good = false;

	if (f) {
		onnx__model_proto__pack(m, data);
		good = fwrite(data, 1, len, f) == len;
		good = fclose(f) == 0 && good;
	}
	free(data);
	return good;
}

/* ---- tensors ---- */

static const float *floats_of(const Onnx__TensorProto *t, size_t *n)
{
	if (!t || t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT)
		return NULL;
	*n = t->has_raw_data ? t->raw_data.len / sizeof(float) : t->n_float_data;
	return t->has_raw_data ? (const float *)(const void *)t->raw_data.data : t->float_data;
}

/* Where element i of ONNX's order lies in kerf's memory: NHWC for four dimensions. */
static size_t place(const struct kerf_tensor *t, size_t i)
{
	if (t->n_dims != 4)
		return i;
	const size_t c = (size_t)t->dims[1], h = (size_t)t->dims[2], w = (size_t)t->dims[3];
	const size_t x = i % w, y = i / w % h, channel = i / (w * h) % c, n = i / (w * h * c);

	return ((n * h + y) * w + x) * c + channel;
}

static bool same_dims(const struct kerf_tensor *t, const Onnx__TensorProto *expected)
{
	if (t->n_dims != (int)expected->n_dims)
		return false;
	for (int i = 0; i < t->n_dims; i++)
		if (t->dims[i] != expected->dims[i])
			return false;
	return true;
}

static bool is_close(float is, float expected)
{
	if (isnan(expected) || isinf(expected))
		return isnan(expected) ? isnan(is) : is == expected;
	return fabs((double)is - expected) <= ABSOLUTE + RELATIVE * fabs((double)expected);
}

/* ---- a case ---- */

struct trial {
	const char *dir;
	Onnx__ModelProto *model;
	Onnx__TensorProto *input, *output;
	Onnx__TensorProto *constants[MAX_CONSTANTS]; /* lent to the model's initializers */
	size_t n_constants;
	char why[sizeof(((struct kerf_err *)0)->text)];
};

static int32_t type_of(const Onnx__ValueInfoProto *v)
{
	return v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? v->type->tensor_type->elem_type : 0;
}

static bool is_initializer(const Onnx__GraphProto *g, const char *name)
{
	for (size_t i = 0; i < g->n_initializer; i++)
		if (strcmp(g->initializer[i]->name, name) == 0)
			return true;
	return false;
}

/* Inputs come in the order of those that no initializer gives. */
static bool bind_inputs(struct trial *t)
{
	Onnx__GraphProto *g = t->model->graph;
	Onnx__TensorProto **all;
	size_t file = 0, n;

	for (size_t i = 0; i < g->n_input; i++) {
		if (is_initializer(g, g->input[i]->name))
			continue;
		Onnx__TensorProto *in = read_tensor(t->dir, "input", file++);

		if (!in)
			continue; /* a sequence, an optional value: the importer says no */
		/* the files of 1.12 have no word for it */
		if (type_of(g->input[i]) == ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16 &&
			in->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__UINT16)
			in->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
		if (!t->input && floats_of(in, &n)) {
			t->input = in;
			continue;
		}
		if (t->n_constants == MAX_CONSTANTS) {
			onnx__tensor_proto__free_unpacked(in, NULL);
			return false;
		}
		free(in->name);
		in->name = strdup(g->input[i]->name);
		t->constants[t->n_constants++] = in;
	}
	all = calloc(g->n_initializer + t->n_constants + 1, sizeof(all[0]));
	if (!all)
		return false;
	if (g->n_initializer)
		memcpy(all, g->initializer, g->n_initializer * sizeof(all[0]));
	if (t->n_constants)
		memcpy(all + g->n_initializer, t->constants, t->n_constants * sizeof(all[0]));
	free(g->initializer);
	g->initializer = all;
	g->n_initializer += t->n_constants;
	return true;
}

/* The graph's input is a float that nobody reads. */
static bool add_unused_input(struct trial *t)
{
	static const uint8_t bytes[] = {0x0a, 1, 'k', 0x12, 8, 0x0a, 6, 0x08, 1, 0x12, 2, 0x0a, 0}; /* k: float [?] */
	Onnx__GraphProto *g = t->model->graph;
	Onnx__ValueInfoProto *in = onnx__value_info_proto__unpack(NULL, sizeof(bytes), bytes);
	Onnx__ValueInfoProto **all = calloc(g->n_input + 1, sizeof(all[0]));
	float *value = calloc(1, sizeof(*value));

	t->input = calloc(1, sizeof(*t->input));
	if (!in || !all || !value || !t->input)
		return false;
	if (g->n_input)
		memcpy(all, g->input, g->n_input * sizeof(all[0]));
	all[g->n_input++] = in;
	free(g->input);
	g->input = all;
	onnx__tensor_proto__init(t->input);
	t->input->data_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
	t->input->float_data = value;
	t->input->n_float_data = 1;
	return true;
}

/* The values as double (the caller frees them): floats, int64, int32 and truth values. */
static double *numbers_of(const Onnx__TensorProto *t, size_t *n)
{
	const float *floats = floats_of(t, n);
	const bool wide = t && t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
	const bool truth = t && t->data_type == ONNX__TENSOR_PROTO__DATA_TYPE__BOOL;
	const size_t raw = wide ? 8 : truth ? 1 : 4;

	if (!t || (!floats && *n == 0 && !wide && !truth && t->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__INT32))
		return NULL;
	if (!floats)
		*n = t->has_raw_data ? t->raw_data.len / raw : wide ? t->n_int64_data : t->n_int32_data;
	double *v = malloc((*n + 1) * sizeof(*v));
	for (size_t i = 0; v && i < *n; i++) {
		int64_t integer = 0;
		int32_t narrow = 0;

		if (t->has_raw_data)
			memcpy(raw == 8 ? (void *)&integer : (void *)&narrow, t->raw_data.data + i * raw, raw);
		else if (!floats && !wide)
			narrow = t->int32_data[i];
		else if (wide)
			integer = t->int64_data[i];
		v[i] = floats ? (double)floats[i] : (double)(wide ? integer : narrow);
	}
	return v;
}

static enum result compare(struct trial *t, const struct kerf_tensor *out, const float *values)
{
	size_t n = 0;
	double *expected = numbers_of(t->output, &n);
	const bool exact = t->output && t->output->data_type != ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
	enum result result = FAILED;

	if (!expected) {
		snprintf(t->why, sizeof(t->why), "the expected output is of type %d",
			t->output ? t->output->data_type : -1);
		return UNSUPPORTED;
	}
	if (!same_dims(out, t->output) || n != (size_t)kerf_tensor_elements(out)) {
		snprintf(t->why, sizeof(t->why), "the output has other dimensions than expected");
		goto out;
	}
	for (size_t i = 0; i < n; i++) {
		const float is = values[place(out, i)];

		if (exact ? is != (float)expected[i] : !is_close(is, (float)expected[i])) {
			snprintf(t->why, sizeof(t->why), "value %zu of %zu is %.9g, expected %.9g", i, n, (double)is,
				expected[i]);
			goto out;
		}
	}
	result = PASSED;
out:
	free(expected);
	return result;
}

static enum result execute(struct trial *t, const struct kerf_graph *g, struct kerf_engine *e, struct kerf_err *err)
{
	struct kerf_context *c = kerf_context_create(e, err);
	const struct kerf_tensor *in = &g->tensors[g->input];
	size_t n = 0;
	const float *values = floats_of(t->input, &n);
	enum result result = FAILED;

	if (!c || n != (size_t)kerf_tensor_elements(in)) {
		snprintf(t->why, sizeof(t->why), "%s", c ? "the case's files disagree on the input's dimensions" : err->text);
		result = c ? UNSUPPORTED : FAILED;
	} else {
		float *to = kerf_context_tensor(c, g->input);

		for (size_t i = 0; i < n; i++)
			to[place(in, i)] = values[i];
		if (kerf_engine_run(c, 0, (unsigned)g->n_nodes) < 0)
			snprintf(t->why, sizeof(t->why), "oneDNN reports a failure");
		else
			result = compare(t, &g->tensors[g->output], kerf_context_tensor(c, g->output));
	}
	kerf_context_free(c);
	return result;
}

/* A line that says why is owed. */
static enum result refused(struct trial *t, const struct kerf_err *err)
{
	snprintf(t->why, sizeof(t->why), "%s", err->text[0] ? err->text : "refused without a reason");
	return err->text[0] ? UNSUPPORTED : FAILED;
}

static enum result try_model(struct trial *t)
{
	struct kerf_err err = {0};
	struct kerf_engine *e = NULL;
	enum result result;
	struct kerf_graph *g = kerf_graph_load(run.model, NULL, &err);

	if (!g)
		return refused(t, &err);
	if (kerf_graph_optimize(g, &err) < 0)
		result = refused(t, &err);
	else if (!(e = kerf_engine_compile(g, &(struct kerf_engine_options){0}, &err)))
		result = refused(t, &err);
	else
		result = execute(t, g, e, &err);
	kerf_engine_free(e);
	kerf_graph_free(g);
	return result;
}

/* kerf runs networks of one output: each in turn, and the case is as good as the worst. */
static enum result try_outputs(struct trial *t)
{
	Onnx__GraphProto *g = t->model->graph;
	Onnx__ValueInfoProto **const outputs = g->output;
	const size_t n = g->n_output;
	enum result worst = n ? PASSED : UNSUPPORTED;

	for (size_t i = 0; i < n && worst == PASSED; i++) {
		g->output = &outputs[i];
		g->n_output = 1;
		t->output = read_tensor(t->dir, "output", i);
		if (!write_model(t->model, run.model)) {
			snprintf(t->why, sizeof(t->why), "no room for the model in the directory of temporary files");
			worst = FAILED;
		} else {
			worst = try_model(t);
		}
		if (t->output)
			onnx__tensor_proto__free_unpacked(t->output, NULL);
	}
	g->output = outputs;
	g->n_output = n;
	return worst;
}

static enum result try_case(struct trial *t)
{
	if (!bind_inputs(t)) {
		snprintf(t->why, sizeof(t->why), "the inputs cannot be read");
		return FAILED;
	}
	if (!t->input && !add_unused_input(t)) {
		snprintf(t->why, sizeof(t->why), "out of memory");
		return FAILED;
	}
	return try_outputs(t);
}

/* ---- the table ---- */

static bool is_cnn_operator(const char *type)
{
	for (unsigned i = 0; i < KERF_ARRAY_LEN(cnn_operators); i++)
		if (strcmp(cnn_operators[i], type) == 0)
			return true;
	return false;
}

static bool is_number(const Onnx__ValueInfoProto *v)
{
	const int32_t type = type_of(v);

	return type == ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT || type == ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
}

/* Of CNN operators only, with inputs and outputs of float or int64. */
static bool is_cnn(const Onnx__GraphProto *g)
{
	for (size_t i = 0; i < g->n_node; i++)
		if (!is_cnn_operator(g->node[i]->op_type))
			return false;
	for (size_t i = 0; i < g->n_input; i++)
		if (!is_number(g->input[i]))
			return false;
	for (size_t i = 0; i < g->n_output; i++)
		if (!is_number(g->output[i]))
			return false;
	return true;
}

/* The one operator that a case is about. */
static const char *operator_of(const Onnx__GraphProto *g)
{
	const char *type = NULL;

	for (size_t i = 0; i < g->n_node; i++) {
		if (strcmp(g->node[i]->op_type, "Constant") == 0 && g->n_node > 1)
			continue;
		if (type && strcmp(type, g->node[i]->op_type) != 0)
			return "(several)";
		type = g->node[i]->op_type;
	}
	return type ? type : "(none)";
}

static struct row *row_of(const char *name)
{
	unsigned i;

	for (i = 0; i < run.n_rows; i++)
		if (strcmp(run.rows[i].name, name) == 0)
			return &run.rows[i];
	if (i == MAX_OPERATORS)
		return &run.rows[i - 1];
	snprintf(run.rows[i].name, sizeof(run.rows[i].name), "%s", name);
	run.n_rows++;
	return &run.rows[i];
}

static void count(const char *name, const struct trial *t, enum result result)
{
	static const char *const words[] = {"passed", "unsupported", "FAILED"};

	row_of(operator_of(t->model->graph))->n[result]++;
	run.all[result]++;
	if (is_cnn(t->model->graph))
		run.cnn[result]++;
	if (run.verbose || result == FAILED)
		printf("%s: %s%s%s\n", name, words[result], t->why[0] ? ": " : "", t->why);
}

static void run_case(const char *dir, const char *name)
{
	struct trial t = {.dir = dir, .model = read_model(dir)};

	if (!t.model || !t.model->graph)
		return; /* cases of real/ are addresses only */
	count(name, &t, try_case(&t));
	onnx__model_proto__free_unpacked(t.model, NULL); /* with the constants, which are among its initializers */
	if (t.input)
		onnx__tensor_proto__free_unpacked(t.input, NULL);
}

static bool is_wanted(const char *name, char *const *wanted, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(wanted[i], name) == 0)
			return true;
	return n == 0;
}

static bool run_suite(const char *root, const char *suite, char *const *wanted, int n_wanted)
{
	char dir[PATH_MAX / 2], path[PATH_MAX];
	struct dirent **entries;

	snprintf(dir, sizeof(dir), "%s/%s", root, suite);
	const int n = scandir(dir, &entries, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		if (entries[i]->d_name[0] != '.' && is_wanted(entries[i]->d_name, wanted, n_wanted)) {
			snprintf(path, sizeof(path), "%s/%s", dir, entries[i]->d_name);
			run_case(path, entries[i]->d_name);
		}
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return n >= 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static void print_row(const char *name, const unsigned n[N_RESULTS])
{
	printf("%-28s %7u %12u %7u\n", name, n[PASSED], n[UNSUPPORTED], n[FAILED]);
}

static void print_table(void)
{
	printf("%-28s %7s %12s %7s\n", "operator", "passed", "unsupported", "failed");
	qsort(run.rows, run.n_rows, sizeof(run.rows[0]), by_name);
	for (unsigned i = 0; i < run.n_rows; i++)
		print_row(run.rows[i].name, run.rows[i].n);
	print_row("CNN operators, float, int64", run.cnn);
	print_row("all", run.all);
}

int main(int argc, char **argv)
{
	static const char *const suites[] = {"node", "pytorch-converted", "pytorch-operator", "simple"};
	int i = 2, fd;
	unsigned long least = 0;
	bool found = false;

	if (argc < 2) {
		fprintf(stderr, "usage: conformance DIR [-v] [-n LEAST] [CASE...]\n");
		return 2;
	}
	if (i < argc && strcmp(argv[i], "-v") == 0) {
		run.verbose = true;
		i++;
	}
	if (i + 1 < argc && strcmp(argv[i], "-n") == 0) {
		least = strtoul(argv[i + 1], NULL, 10);
		i += 2;
	}
	snprintf(run.model, sizeof(run.model), "%s/kerf-conformance-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if ((fd = mkstemp(run.model)) < 0) {
		perror(run.model);
		return 2;
	}
	close(fd);
	for (unsigned s = 0; s < KERF_ARRAY_LEN(suites); s++)
		found |= run_suite(argv[1], suites[s], argv + i, argc - i);
	unlink(run.model);
	if (!found) {
		printf("skipped: %s is not there (package libonnx-testdata)\n", argv[1]);
		return 77;
	}
	print_table();
	if (run.all[PASSED] < least)
		printf("only %u passed, expected at least %lu\n", run.all[PASSED], least);
	return run.all[FAILED] > 0 || run.all[PASSED] < least;
}
