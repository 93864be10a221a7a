#include "model_inspect.h"

#include <getopt.h>

#define COMMAND "inspect"

static const char help[] =
	"usage: kerf-model inspect F|NAME [--block | --all] [--json] [--profile P.json] [--plot F.svg]\n"
	"\n"
	"Shows where a network can be cut: what crosses (memory order, NHWC), its elements "
	"relative\n"
	"to the input's, its size with every codec, and the times of both sides on this machine.\n"
	"natural: one tensor crosses and it is smaller than the input (a natural bottleneck).\n"
	"useful: natural, and smaller than at every natural cut before it.\n"
	"\n"
	"      --block            cuts at the ends of blocks only, and bottlenecks counted over these\n"
	"      --all              every cut, also those that nobody would choose\n"
	"      --json             the same for programs, one object\n"
	"      --profile P        recorded times (kerf-model profile) instead of measuring\n"
	"      --plot F.svg       draw bytes, head and tail time along the network (gnuplot)\n"
	"      --rounds N         runs of which the median counts, 1 to 10000 (20)\n" MODEL_ENGINE_HELP MODEL_CALIBRATION_HELP
	"      --help             this text\n";

static const struct option long_options[] = {
	{"block", no_argument, NULL, 'b'},
	{"all", no_argument, NULL, 'a'},
	{"json", no_argument, NULL, 'j'},
	{"profile", required_argument, NULL, 'p'},
	{"plot", required_argument, NULL, 'P'},
	{"rounds", required_argument, NULL, 'r'},
	MODEL_ENGINE_OPTIONS,
	{"help", no_argument, NULL, 'h'},
	{0},
};

static int parse(int argc, char **argv, struct inspect_options *o, bool *done)
{
	int c;

	while ((c = getopt_long(argc, argv, "h", long_options, NULL)) != -1) {
		bool good = true;

		switch (c) {
		case 'b': o->block = true; break;
		case 'a': o->all = true; break;
		case 'j': o->json = true; break;
		case 'p': o->profile = optarg; break;
		case 'P': o->plot = optarg; break;
		case 'r':
			good = model_option_number(
				COMMAND, "--rounds", optarg, 1, MODEL_MAX_ROUNDS, &o->rounds);
			break;
		case 'h':
			fputs(help, stdout);
			*done = true;
			return MODEL_OK;
		default: good = model_engine_option(COMMAND, c, optarg, &o->open); break;
		}
		if (!good)
			return MODEL_USAGE;
	}
	if (argc - optind != 1)
		return model_usage(COMMAND, "one model expected, %d given", argc - optind);
	if (o->block && o->all)
		return model_usage(COMMAND, "--block and --all exclude each other");
	o->open.model = argv[optind];
	return MODEL_OK;
}

bool inspect_shows(const struct inspection *in, unsigned k)
{
	const struct kerf_cut *cut = &in->m->base.cuts[k];

	if (in->options->block)
		return cut->block != NULL;
	return in->options->all || cut->candidate;
}

unsigned inspect_natural(const struct inspection *in)
{
	unsigned n = 0;

	for (unsigned k = 0; k < in->m->base.n_cuts; k++)
		n += in->m->base.cuts[k].natural;
	return n;
}

static int count_by_block(struct model *m, struct kerf_err *err)
{
	unsigned blocks = 0;

	for (unsigned k = 0; k < m->base.n_cuts; k++)
		blocks += m->base.cuts[k].block != NULL;
	if (blocks == 0)
		return kerf_err_set(err, -EINVAL,
			"%s: --block: no node's name starts with \"block\", it has no blocks",
			m->graph->name);
	kerf_cuts_by_block(m->base.cuts, m->base.n_cuts);
	return 0;
}

static int get_times(const struct inspect_options *o, const struct model *m,
	struct kerf_profile *times, struct kerf_err *err)
{
	if (o->profile)
		return kerf_profile_load(times, m->graph, o->profile, err);
	return model_measure(m, (unsigned)o->rounds, times, err);
}

static int inspect(const struct inspect_options *o, struct kerf_err *err)
{
	struct model m;
	struct kerf_profile times;
	struct inspection in = {.options = o, .m = &m, .times = &times};
	const struct model_memory before = model_memory();
	int rc = model_open(&m, &o->open, err);

	if (rc < 0)
		return rc;
	const struct model_memory loaded = model_memory();
	in.resident = loaded.resident;
	in.programs = loaded.files + before.resident - before.files;
	if (o->block)
		rc = count_by_block(&m, err);
	if (rc == 0)
		rc = get_times(o, &m, &times, err);
	if (rc < 0)
		goto out;
	for (int i = 0; i < m.graph->n_nodes; i++)
		in.macs += kerf_profile_node_macs(m.graph, (unsigned)i);
	if (o->json)
		rc = inspect_print_json(&in, err);
	else
		inspect_print_table(&in);
	if (rc == 0 && o->plot)
		rc = inspect_plot(&in, o->plot, err);
	kerf_profile_free(&times);
out:
	model_close(&m);
	return rc;
}

int model_inspect(int argc, char **argv)
{
	struct inspect_options o = {.rounds = MODEL_DEFAULT_ROUNDS, .open.threads = 1};
	struct kerf_err err = {0};
	bool done = false;
	int code = parse(argc, argv, &o, &done);

	if (code != MODEL_OK || done)
		return code;
	return inspect(&o, &err) < 0 ? model_fail(COMMAND, &err) : MODEL_OK;
}
