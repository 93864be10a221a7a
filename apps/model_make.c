#include <getopt.h>

#include "model_common.h"

#define COMMAND "make"
#define MAX_BATCH 1024

static const char help[] =
	"usage: kerf-model make NAME -o F.onnx [--batch N] [--seed S]\n"
	"\n"
	"Builds a known architecture with seeded random weights, scaled so that activations keep\n"
	"their variance from layer to layer, and writes it as ONNX (opset 13).\n"
	"\n"
	"  -o, --output FILE  where to write it\n"
	"      --batch N      pictures per run, 1 to 1024 (1)\n"
	"      --seed S       of the weights: the same seed gives the same file (0)\n"
	"      --help         this text\n"
	"\n"
	"NAME is one of:\n";

static const struct option long_options[] = {
	{"output", required_argument, NULL, 'o'},
	{"batch", required_argument, NULL, 'b'},
	{"seed", required_argument, NULL, 's'},
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct make_options {
	const char *name, *output;
	uint64_t batch, seed;
};

/* MODEL_OK to go on; otherwise, or with *done, the exit code. */
static int parse(int argc, char **argv, struct make_options *o, bool *done)
{
	int c;

	while ((c = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1) {
		bool good = true;

		switch (c) {
		case 'o': o->output = optarg; break;
		case 'b':
			good = model_option_number(
				COMMAND, "--batch", optarg, 1, MAX_BATCH, &o->batch);
			break;
		case 's':
			good = model_option_number(
				COMMAND, "--seed", optarg, 0, UINT64_MAX, &o->seed);
			break;
		case 'h':
			fputs(help, stdout);
			for (unsigned i = 0; kerf_zoo_name(i); i++)
				printf("  %s\n", kerf_zoo_name(i));
			*done = true;
			return MODEL_OK;
		default: return MODEL_USAGE;
		}
		if (!good)
			return MODEL_USAGE;
	}
	if (argc - optind > 1)
		return model_usage(COMMAND, "%s: one NAME expected", argv[optind + 1]);
	o->name = argv[optind];
	return MODEL_OK;
}

static int check(const struct make_options *o)
{
	char names[512];

	model_zoo_names(names, sizeof(names));
	if (!o->name)
		return model_usage(COMMAND, "NAME is missing, one of %s expected", names);
	if (!model_in_zoo(o->name))
		return model_usage(COMMAND, "%s: unknown, one of %s expected", o->name, names);
	if (!o->output)
		return model_usage(COMMAND, "-o FILE is missing");
	return MODEL_OK;
}

static int64_t count_parameters(const struct kerf_graph *g)
{
	int64_t n = 0;

	for (int i = 0; i < g->n_tensors; i++)
		if (g->tensors[i].data && g->tensors[i].dtype == KERF_F32)
			n += kerf_tensor_elements(&g->tensors[i]);
	return n;
}

static int make(const struct make_options *o, struct kerf_err *err)
{
	const struct kerf_zoo_options zoo = {.batch = (unsigned)o->batch, .seed = o->seed};
	struct model_output out;
	struct kerf_graph *g;
	int rc = model_output_begin(&out, o->output, err);

	if (rc < 0)
		return rc;
	model_progress("building the network");
	g = kerf_zoo_build(o->name, &zoo, err);
	rc = model_output_end(&out, g ? kerf_graph_save(g, out.writing, err) : -EINVAL, err);
	model_progress(NULL);
	if (rc == 0)
		printf("%s: %s, batch %ju, seed %ju: %d nodes, %.2f million parameters\n",
			o->output, o->name, (uintmax_t)o->batch, (uintmax_t)o->seed, g->n_nodes,
			(double)count_parameters(g) / 1e6);
	kerf_graph_free(g);
	return rc;
}

int model_make(int argc, char **argv)
{
	struct make_options o = {.batch = 1};
	struct kerf_err err = {0};
	bool done = false;
	int code = parse(argc, argv, &o, &done);

	if (code == MODEL_OK && !done)
		code = check(&o);
	if (code != MODEL_OK || done)
		return code;
	return make(&o, &err) < 0 ? model_fail(COMMAND, &err) : MODEL_OK;
}
