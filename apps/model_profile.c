#include <getopt.h>

#include "model_common.h"

#define COMMAND "profile"

static const char help[] =
	"usage: kerf-model profile F|NAME -o P.json [--rounds N] [--threads N] [--precision P]\n"
	"\n"
	"Measures every node of a network and writes the times, and head and tail time of every "
	"cut,\n"
	"as JSON: what the plan starts from and what the lab computes with in virtual time.\n"
	"\n"
	"  -o, --output FILE      where to write it\n"
	"      --rounds N         runs of which the median counts, 1 to 10000 (20)\n" MODEL_ENGINE_HELP MODEL_CALIBRATION_HELP
	"      --help             this text\n";

static const struct option long_options[] = {
	{"output", required_argument, NULL, 'o'},
	{"rounds", required_argument, NULL, 'r'},
	MODEL_ENGINE_OPTIONS,
	{"help", no_argument, NULL, 'h'},
	{0},
};

struct profile_options {
	struct model_options open;
	const char *output;
	uint64_t rounds;
};

static int parse(int argc, char **argv, struct profile_options *o, bool *done)
{
	int c;

	while ((c = getopt_long(argc, argv, "o:h", long_options, NULL)) != -1) {
		bool good = true;

		switch (c) {
		case 'o': o->output = optarg; break;
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
	if (!o->output)
		return model_usage(COMMAND, "-o FILE is missing");
	o->open.model = argv[optind];
	return MODEL_OK;
}

static int measure_and_save(const struct profile_options *o, const struct model *m,
	const char *path, struct kerf_err *err)
{
	struct kerf_profile p;
	char text[32];
	int rc = model_measure(m, (unsigned)o->rounds, &p, err);

	if (rc < 0)
		return rc;
	rc = kerf_profile_save(&p, m->graph, path, err);
	if (rc == 0)
		printf("%s: %s on %s, median of %ju rounds, whole network %s\n", o->output,
			m->graph->name, p.machine, (uintmax_t)o->rounds,
			kerf_format_time(
				kerf_profile_range_ns(&p, 0, p.n_nodes), text, sizeof(text)));
	kerf_profile_free(&p);
	return rc;
}

static int profile(const struct profile_options *o, struct kerf_err *err)
{
	struct model_output out;
	struct model m;
	int rc = model_open(&m, &o->open, err);

	if (rc < 0)
		return rc;
	rc = model_output_begin(&out, o->output, err);
	if (rc == 0)
		rc = model_output_end(&out, measure_and_save(o, &m, out.writing, err), err);
	model_close(&m);
	return rc;
}

int model_profile(int argc, char **argv)
{
	struct profile_options o = {.rounds = MODEL_DEFAULT_ROUNDS, .open.threads = 1};
	struct kerf_err err = {0};
	bool done = false;
	int code = parse(argc, argv, &o, &done);

	if (code != MODEL_OK || done)
		return code;
	return profile(&o, &err) < 0 ? model_fail(COMMAND, &err) : MODEL_OK;
}
