/*
 * top5 EXPECTED.json MODEL < output of kerf-model run: every picture in EXPECTED is there, with at
 * least four of its five classes, and the first one where it leads by more than MARGIN.
 *
 * The expected lists come from another resizer and another runtime, hence the slack.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TOP 5
#define COMMON 4
#define MARGIN 0.1

struct result {
	char name[256];
	unsigned n;
	unsigned classes[TOP];
};

static struct result results[64];
static unsigned n_results;

/* "cat.bmp: top 5 of 1001 classes, ..." begins a picture, "   1   286   0.6972 ..." is a rank. */
static void read_results(FILE *f)
{
	char line[1024];

	while (fgets(line, sizeof(line), f)) {
		struct result *r = n_results ? &results[n_results - 1] : NULL;
		char *mark = strstr(line, ": top ");
		unsigned rank, class;
		double p;

		if (mark && n_results < sizeof(results) / sizeof(results[0])) {
			*mark = '\0';
			snprintf(
				results[n_results++].name, sizeof(results[0].name), "%.255s", line);
		} else if (r && r->n < TOP && sscanf(line, "%u %u %lf", &rank, &class, &p) == 3) {
			r->classes[r->n++] = class;
		}
	}
}

static const struct result *find_result(const char *name)
{
	for (unsigned i = 0; i < n_results; i++)
		if (strcmp(results[i].name, name) == 0)
			return &results[i];
	return NULL;
}

static unsigned class_at(const json_t *list, size_t i)
{
	return (unsigned)json_integer_value(json_object_get(json_array_get(list, i), "class"));
}

static double p_at(const json_t *list, size_t i)
{
	return json_number_value(json_object_get(json_array_get(list, i), "p"));
}

static bool has_class(const struct result *r, unsigned class)
{
	for (unsigned i = 0; i < r->n; i++)
		if (r->classes[i] == class)
			return true;
	return false;
}

static bool agrees(const char *name, const json_t *expected, const struct result *r)
{
	unsigned common = 0;
	bool first = r->n > 0 && r->classes[0] == class_at(expected, 0);
	bool clear = p_at(expected, 0) - p_at(expected, 1) > MARGIN;

	for (size_t i = 0; i < json_array_size(expected); i++)
		common += has_class(r, class_at(expected, i));
	printf("%-16s first %s%s, %u of %zu classes\n", name, first ? "agrees" : "differs",
		clear ? "" : " (not clear)", common, json_array_size(expected));
	return (first || !clear) && common >= COMMON;
}

int main(int argc, char **argv)
{
	json_error_t error;
	json_t *root, *images, *expected;
	const char *name;
	unsigned wrong = 0, checked = 0;

	if (argc != 3)
		return 2;
	root = json_load_file(argv[1], 0, &error);
	images = json_object_get(
		json_object_get(json_object_get(root, "models"), argv[2]), "images");
	if (!json_is_object(images)) {
		fprintf(stderr, "%s: nothing about %s\n", argv[1], argv[2]);
		return 2;
	}
	read_results(stdin);
	json_object_foreach(images, name, expected)
	{
		const struct result *r = find_result(name);

		if (!r)
			printf("%s is not there\n", name);
		wrong += !r || !agrees(name, expected, r);
		checked++;
	}
	json_decref(root);
	return wrong || !checked;
}
