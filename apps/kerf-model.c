/*
 * kerf-model: makes, inspects, runs and measures networks. Needs no EAL, no port and no root.
 */
#include <stdlib.h>
#include <string.h>

#include "model_common.h"

static const char help[] =
	"usage: kerf-model COMMAND ...\n"
	"\n"
	"  make NAME -o F.onnx      build a known architecture with seeded weights\n"
	"  inspect F|NAME           cuts, sizes per codec, natural bottlenecks, head and tail "
	"times\n"
	"  run F|NAME -i INPUT      run pictures or tensors through it, whole or split at a cut\n"
	"  profile F|NAME -o P.json record head and tail times of every cut\n"
	"  calibrate F|NAME --images DIR -o C.json\n"
	"                           measure what each codec costs in accuracy at each cut\n"
	"\n"
	"F is an ONNX file, NAME a known architecture (kerf-model make lists them).\n"
	"kerf-model COMMAND --help tells more; --version prints the version.\n"
	"Exit code: 0 done, 1 failed, 2 wrong usage.\n";

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
	{"make", model_make},
	{"inspect", model_inspect},
	{"run", model_run},
	{"profile", model_profile},
	{"calibrate", model_calibrate},
};

static int dispatch(int argc, char **argv)
{
	static char name[64];

	for (size_t i = 0; i < KERF_ARRAY_LEN(commands); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		snprintf(name, sizeof(name), "kerf-model %s", commands[i].name);
		argv[1] = name;
		return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "kerf-model: %s: make, inspect, run, profile or calibrate expected, see --help\n",
		argv[1]);
	return MODEL_USAGE;
}

int main(int argc, char **argv)
{
	int code;

	if (argc < 2) {
		fputs(help, stderr);
		return MODEL_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		fputs(help, stdout);
		code = MODEL_OK;
	} else if (strcmp(argv[1], "--version") == 0) {
		puts("kerf-model " KERF_VERSION);
		code = MODEL_OK;
	} else {
		code = dispatch(argc, argv);
	}
	/* What a full disk swallowed must not look like success. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		fprintf(stderr, "kerf-model: cannot write to standard output: %s\n",
			strerror(errno));
		return code == MODEL_OK ? MODEL_FAILED : code;
	}
	return code;
}
