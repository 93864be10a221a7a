#include <jansson.h>
#include <string.h>

#include "model_inspect.h"

#define NAME_WIDTH 34
#define SHAPE_WIDTH 24

/* ---- the table for people ---- */

static void print_header(void)
{
	printf("%4s  %-*s %7s  %-*s %8s", "cut", NAME_WIDTH, "after", "tensors", SHAPE_WIDTH,
		"shape", "ratio");
	for (unsigned c = 0; model_codec(c); c++)
		printf("  %6s KB", model_codec(c)->name);
	printf("  %9s  %9s  %s\n", "head ms", "tail ms", "bottleneck");
}

/* Exporters write whole paths into names: the end tells more than the beginning. */
static void print_name(const char *name)
{
	size_t len = strlen(name);

	if (len > NAME_WIDTH)
		printf("..%s ", name + len - (NAME_WIDTH - 2));
	else
		printf("%-*s ", NAME_WIDTH, name);
}

/* All shapes that cross, joined by '+'; cut off at the column's width. */
static void print_shapes(const struct kerf_graph *g, const struct kerf_cut *cut)
{
	char text[256] = "-", shape[64];
	size_t used = 0;

	for (int i = 0; i < KERF_MIN(cut->n_tensors, KERF_MAX_CUT_TENSORS); i++) {
		const struct kerf_tensor *t = &g->tensors[cut->tensors[i]];
		int n = snprintf(text + used, sizeof(text) - used, "%s%s", i ? "+" : "",
			model_shape_text(t, shape, sizeof(shape)));

		used = KERF_MIN(used + (size_t)n, sizeof(text) - 1);
	}
	if (used > SHAPE_WIDTH)
		strcpy(text + SHAPE_WIDTH - 2, "..");
	printf("%-*s ", SHAPE_WIDTH, text);
}

static void print_bytes(const struct model *m, unsigned k)
{
	for (unsigned c = 0; model_codec(c); c++) {
		size_t bytes = model_cut_bytes(m, k, c);

		if (bytes)
			printf("  %9.1f", (double)bytes / 1e3);
		else
			printf("  %9s", "-");
	}
}

static void print_cut(const struct inspection *in, unsigned k)
{
	const struct model *m = in->m;
	const struct kerf_cut *cut = &m->base.cuts[k];
	unsigned n = in->times->n_nodes;

	printf("%4u  ", k);
	print_name(k == n ? "(all local)" : model_cut_name(m->graph, k));
	printf("%7d  ", cut->n_tensors);
	print_shapes(m->graph, cut);
	printf("%8.4f", cut->ratio);
	print_bytes(m, k);
	printf("  %9.3f  %9.3f%s\n", kerf_profile_range_ns(in->times, 0, k) / 1e6,
		kerf_profile_range_ns(in->times, k, n) / 1e6,
		cut->useful    ? "  natural, useful"
		: cut->natural ? "  natural"
			       : "");
}

/* "block7" -> "7"; other names ("block1_pool") stay whole. */
static const char *short_block(const char *block)
{
	size_t prefix = strlen("block");

	return block[prefix] && strspn(block + prefix, "0123456789") == strlen(block + prefix)
		       ? block + prefix
		       : block;
}

static void print_bottlenecks(const struct inspection *in)
{
	const char *sep = "";
	unsigned natural = inspect_natural(in);

	printf("%u natural bottleneck%s", natural, natural == 1 ? "" : "s");
	if (natural)
		printf(", useful after %s ", in->options->block ? "blocks" : "nodes");
	for (unsigned k = 0; k < in->m->base.n_cuts; k++) {
		const struct kerf_cut *cut = &in->m->base.cuts[k];

		if (!cut->useful)
			continue;
		printf("%s%s", sep,
			in->options->block ? short_block(cut->block)
					   : model_cut_name(in->m->graph, k));
		sep = ", ";
	}
	putchar('\n');
}

static void print_totals(const struct inspection *in)
{
	const struct model *m = in->m;
	char text[64];

	printf("weights %.2f MB, arena %.2f MB a frame, %.1f million multiply-adds, ",
		(double)kerf_engine_weight_bytes(m->engine) / 1e6,
		(double)kerf_engine_context_bytes(m->engine) / 1e6, in->macs / 1e6);
	printf("whole network %.3f ms\n",
		kerf_profile_range_ns(in->times, 0, in->times->n_nodes) / 1e6);
	printf("loaded in %.3f s, %.1f MB resident, %.1f MB of it programs and libraries\n", (double)m->load_ns * 1e-9,
		(double)in->resident / 1e6, (double)in->programs / 1e6);
	if (in->options->profile)
		printf("times: recorded on %s (%s)\n", in->times->machine, in->options->profile);
	else
		printf("times: median of %ju rounds, %ju thread%s\n",
			(uintmax_t)in->options->rounds, (uintmax_t)in->options->open.threads,
			in->options->open.threads == 1 ? "" : "s");
	printf("engine %s, fingerprint %016jx\n", kerf_engine_fingerprint_text(text, sizeof(text)),
		(uintmax_t)kerf_engine_fingerprint());
}

void inspect_print_table(const struct inspection *in)
{
	const struct kerf_graph *g = in->m->graph;
	char shape[64];

	printf("%s: input %s, %d nodes\n", g->name,
		model_shape_text(&g->tensors[g->input], shape, sizeof(shape)), g->n_nodes);
	print_header();
	for (unsigned k = 0; k < in->m->base.n_cuts; k++)
		if (inspect_shows(in, k))
			print_cut(in, k);
	print_bottlenecks(in);
	print_totals(in);
}

/* ---- the object for programs ---- */

static json_t *tensor_json(const struct kerf_tensor *t)
{
	static const int nhwc[] = {0, 2, 3, 1};
	json_t *shape = json_array();

	for (int i = 0; i < t->n_dims; i++)
		json_array_append_new(shape, json_integer(t->dims[t->n_dims == 4 && !t->plain ? nhwc[i] : i]));
	return json_pack("{s:s,s:o}", "name", t->name, "shape", shape);
}

static json_t *tensors_json(const struct kerf_graph *g, const struct kerf_cut *cut)
{
	json_t *list = json_array();

	for (int i = 0; i < KERF_MIN(cut->n_tensors, KERF_MAX_CUT_TENSORS); i++)
		json_array_append_new(list, tensor_json(&g->tensors[cut->tensors[i]]));
	return list;
}

static json_t *bytes_json(const struct model *m, unsigned k)
{
	json_t *bytes = json_object();

	for (unsigned c = 0; model_codec(c); c++)
		if (model_cut_bytes(m, k, c))
			json_object_set_new(bytes, model_codec(c)->name,
				json_integer((json_int_t)model_cut_bytes(m, k, c)));
	return bytes;
}

static json_t *cut_json(const struct inspection *in, unsigned k)
{
	const struct kerf_cut *cut = &in->m->base.cuts[k];
	unsigned n = in->times->n_nodes;

	return json_pack("{s:i,s:s,s:s?,s:i,s:o,s:I,s:f,s:o,s:b,s:b,s:b,s:f,s:f}", "cut", (int)k,
		"after", model_cut_name(in->m->graph, k), "block", cut->block, "n_tensors",
		cut->n_tensors, "tensors", tensors_json(in->m->graph, cut), "elements",
		(json_int_t)cut->elements, "ratio", cut->ratio, "bytes", bytes_json(in->m, k),
		"natural", cut->natural, "useful", cut->useful, "candidate", cut->candidate,
		"head_ms", kerf_profile_range_ns(in->times, 0, k) / 1e6, "tail_ms",
		kerf_profile_range_ns(in->times, k, n) / 1e6);
}

static json_t *cuts_json(const struct inspection *in)
{
	json_t *list = json_array();

	for (unsigned k = 0; k < in->m->base.n_cuts; k++)
		if (inspect_shows(in, k) && json_array_append_new(list, cut_json(in, k)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

/* Positions of the useful cuts. */
static json_t *useful_json(const struct inspection *in)
{
	json_t *list = json_array();

	for (unsigned k = 0; k < in->m->base.n_cuts; k++)
		if (in->m->base.cuts[k].useful)
			json_array_append_new(list, json_integer((json_int_t)k));
	return list;
}

static json_t *inspection_json(const struct inspection *in)
{
	const struct kerf_graph *g = in->m->graph;
	char digest[2 * KERF_DIGEST_LEN + 1], engine[64], fingerprint[17];

	for (unsigned i = 0; i < KERF_DIGEST_LEN; i++)
		snprintf(digest + 2 * i, 3, "%02x", g->digest[i]);
	snprintf(fingerprint, sizeof(fingerprint), "%016jx", (uintmax_t)kerf_engine_fingerprint());
	return json_pack(
		"{s:s,s:s,s:o,s:o,s:i,s:I,s:I,s:I,s:I,s:f,s:I,s:f,s:s,s:s,s:s,s:s?,s:I,s:I,s:b,s:i,s:o,s:o}",
		"model", g->name, "digest", digest, "input", tensor_json(&g->tensors[g->input]),
		"output", tensor_json(&g->tensors[g->output]), "nodes", g->n_nodes, "weight_bytes",
		(json_int_t)kerf_engine_weight_bytes(in->m->engine), "arena_bytes",
		(json_int_t)kerf_engine_context_bytes(in->m->engine), "resident_bytes",
		(json_int_t)in->resident, "program_bytes", (json_int_t)in->programs,
		"load_s", (double)in->m->load_ns * 1e-9, "macs", (json_int_t)in->macs,
		"whole_ms", kerf_profile_range_ns(in->times, 0, in->times->n_nodes) / 1e6, "engine",
		kerf_engine_fingerprint_text(engine, sizeof(engine)), "fingerprint", fingerprint,
		"times_of", in->times->machine, "profile", in->options->profile, "rounds",
		(json_int_t)(in->options->profile ? 0 : in->options->rounds), "threads",
		(json_int_t)in->options->open.threads, "by_block", in->options->block, "natural",
		(int)inspect_natural(in), "useful", useful_json(in), "cuts", cuts_json(in));
}

int inspect_print_json(const struct inspection *in, struct kerf_err *err)
{
	json_t *root = inspection_json(in);

	if (!root)
		return kerf_err_set(err, -EINVAL,
			"%s: a name in it is not UTF-8, JSON cannot "
			"hold it",
			in->m->graph->name);
	json_dumpf(root, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(root);
	return 0;
}
