/* Known architectures: the list of names, building one, and the digest that identifies it. */
#include "graph/zoo_internal.h"

#include <assert.h>
#include <string.h>

#define MAX_BATCH 1024

static const struct {
	const char *name;
	struct zoo_value (*build)(struct zoo *z, int variant);
	int variant;
	unsigned size;
	unsigned calibration_side; /* where there is BatchNorm; the larger, the truer and slower */
} architectures[] = {
	{"mobilenet-v1", zoo_mobilenet_v1, 0, 224, 160},
	{"mobilenet-v2", zoo_mobilenet_v2, 0, 224, 160},
	{"mobilenet-v3-small", zoo_mobilenet_v3, 0, 224, 160},
	{"mobilenet-v3-large", zoo_mobilenet_v3, 1, 224, 160},
	{"efficientnet-b0", zoo_efficientnet_v1, 0, 224, 160},
	{"efficientnet-b1", zoo_efficientnet_v1, 1, 240, 96},
	{"efficientnet-b2", zoo_efficientnet_v1, 2, 260, 96},
	{"efficientnet-b3", zoo_efficientnet_v1, 3, 300, 96},
	{"efficientnet-b4", zoo_efficientnet_v1, 4, 380, 96},
	{"efficientnet-b5", zoo_efficientnet_v1, 5, 456, 64},
	{"efficientnet-b6", zoo_efficientnet_v1, 6, 528, 64},
	{"efficientnet-b7", zoo_efficientnet_v1, 7, 600, 64},
	{"efficientnet-v2-b0", zoo_efficientnet_v2_b, 0, 224, 96},
	{"efficientnet-v2-b1", zoo_efficientnet_v2_b, 1, 240, 96},
	{"efficientnet-v2-b2", zoo_efficientnet_v2_b, 2, 260, 96},
	{"efficientnet-v2-b3", zoo_efficientnet_v2_b, 3, 300, 96},
	{"efficientnet-v2-s", zoo_efficientnet_v2, 0, 384, 128},
	{"efficientnet-v2-m", zoo_efficientnet_v2, 1, 480, 64},
	{"efficientnet-v2-l", zoo_efficientnet_v2, 2, 480, 64},
	{"resnet-18", zoo_resnet, 0, 224, 96},
	{"resnet-50", zoo_resnet, 1, 224, 96},
	{"regnet-y-400mf", zoo_regnet_y_400mf, 0, 224, 96},
	{"densenet-121", zoo_densenet_121, 0, 224, 96},
	{"googlenet", zoo_googlenet, 0, 224, 128},
	{"inception-v3", zoo_inception_v3, 0, 299, 128},
	{"squeezenet-1.1", zoo_squeezenet_1_1, 0, 224, 0},
	{"vgg-16", zoo_vgg, 0, 224, 0},
	{"vgg-19", zoo_vgg, 1, 224, 0},
};

const char *kerf_zoo_name(unsigned i)
{
	return i < KERF_ARRAY_LEN(architectures) ? architectures[i].name : NULL;
}

/* ---- digest: every field that changes what the network computes, in a fixed byte order ---- */

static void add_int(struct kerf_digest_state *s, int64_t value)
{
	uint8_t bytes[8];

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t)((uint64_t)value >> (8 * i));
	kerf_digest_add(s, bytes, sizeof(bytes));
}

static void add_ints(struct kerf_digest_state *s, const int *values, int n)
{
	for (int i = 0; i < n; i++)
		add_int(s, values[i]);
}

static void add_float(struct kerf_digest_state *s, float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	add_int(s, bits);
}

static void add_text(struct kerf_digest_state *s, const char *text)
{
	size_t len = strlen(text);

	add_int(s, (int64_t)len);
	kerf_digest_add(s, text, len);
}

static void add_tensor(struct kerf_digest_state *s, const struct kerf_tensor *t)
{
	static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "weights are hashed as they lie");
	add_text(s, t->name);
	add_int(s, t->dtype);
	add_int(s, t->n_dims);
	for (int d = 0; d < t->n_dims; d++)
		add_int(s, t->dims[d]);
	add_int(s, t->producer);
	add_int(s, t->data != NULL);
	if (t->data)
		kerf_digest_add(s, t->data, kerf_tensor_bytes(t));
}

static void add_node(struct kerf_digest_state *s, const struct kerf_node *n)
{
	add_text(s, n->name);
	add_int(s, n->op);
	add_int(s, n->n_inputs);
	add_ints(s, n->inputs, n->n_inputs);
	add_int(s, n->output);
	add_ints(s, n->kernel, 2);
	add_ints(s, n->strides, 2);
	add_ints(s, n->dilations, 2);
	add_ints(s, n->pads, 4);
	add_int(s, n->groups);
	add_int(s, n->count_include_pad);
	add_float(s, n->epsilon);
	add_int(s, n->axis);
	add_ints(s, n->perm, KERF_MAX_DIMS);
	add_int(s, n->act.kind);
	add_float(s, n->act.lo);
	add_float(s, n->act.hi);
}

static void set_digest(struct kerf_graph *g)
{
	struct kerf_digest_state s;

	kerf_digest_begin(&s);
	add_text(&s, g->name);
	add_int(&s, g->n_tensors);
	for (int t = 0; t < g->n_tensors; t++)
		add_tensor(&s, &g->tensors[t]);
	add_int(&s, g->n_nodes);
	for (int i = 0; i < g->n_nodes; i++)
		add_node(&s, &g->nodes[i]);
	add_int(&s, g->input);
	add_int(&s, g->output);
	kerf_digest_end(&s, g->digest);
}

/* ---- building ---- */

static int find_architecture(const char *name, struct kerf_err *err)
{
	char known[512] = "";
	size_t len = 0;

	for (size_t i = 0; i < KERF_ARRAY_LEN(architectures); i++) {
		if (strcmp(name, architectures[i].name) == 0)
			return (int)i;
		len += (size_t)snprintf(
			known + len, sizeof(known) - len, " %s", architectures[i].name);
		assert(len < sizeof(known));
	}
	return kerf_err_set(err, -ENOENT, "%.64s: no such network; known are:%s", name, known);
}

struct kerf_graph *zoo_build_sized(const char *name, const struct kerf_zoo_options *options,
	unsigned size, struct kerf_err *err)
{
	struct zoo z = {.err = err, .seed = options->seed, .batch = KERF_MAX(options->batch, 1u)};
	int i = find_architecture(name, err);

	if (i < 0)
		return NULL;
	z.size = size ? size : architectures[i].size;
	if (z.batch > MAX_BATCH) {
		kerf_err_set(err, -EINVAL, "%s: batch %u is too large, expected 1 to %d", name,
			z.batch, MAX_BATCH);
		return NULL;
	}
	z.g = kerf_graph_create(name);
	if (!z.g) {
		kerf_err_set(err, -ENOMEM, "%s: no memory", name);
		return NULL;
	}
	struct zoo_value y = architectures[i].build(&z, architectures[i].variant);
	if (z.rc < 0 || zoo_calibrate(&z, architectures[i].calibration_side) < 0) {
		kerf_graph_free(z.g);
		return NULL;
	}
	z.g->output = y.id;
	set_digest(z.g);
	return z.g;
}

struct kerf_graph *kerf_zoo_build(const char *name, const struct kerf_zoo_options *options,
	struct kerf_err *err)
{
	static const struct kerf_zoo_options defaults = {0};

	return zoo_build_sized(name, options ? options : &defaults, 0, err);
}
