#include "app_calibration.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void digest_text(const struct kerf_graph *g, char text[2 * KERF_DIGEST_LEN + 1])
{
	for (unsigned i = 0; i < KERF_DIGEST_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", g->digest[i]);
}

int app_calibration_add(struct app_calibration *c, unsigned cut, int codec)
{
	if (c->n == c->capacity) {
		const unsigned capacity = c->capacity ? 2 * c->capacity : 64;
		void *more = realloc(c->entries, capacity * sizeof(*c->entries));

		if (!more)
			return -ENOMEM;
		c->entries = more;
		c->capacity = capacity;
	}
	c->entries[c->n++] = (struct app_calibration_entry){.cut = cut, .codec = codec};
	return 0;
}

const struct app_calibration_entry *app_calibration_find(const struct app_calibration *c,
	unsigned cut, int codec)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->entries[i].cut == cut && c->entries[i].codec == codec)
			return &c->entries[i];
	return NULL;
}

int app_calibration_add_ranges(struct app_calibration *c, int n)
{
	c->ranges = malloc((size_t)n * sizeof(*c->ranges));
	if (!c->ranges)
		return -ENOMEM;
	c->n_ranges = n;
	for (int i = 0; i < n; i++)
		c->ranges[i] = (struct kerf_range){INFINITY, -INFINITY};
	return 0;
}

void app_calibration_free(struct app_calibration *c)
{
	free(c->entries);
	free(c->ranges);
	*c = (struct app_calibration){0};
}

static bool is_known(const struct kerf_range *r)
{
	return r->lo <= r->hi && isfinite(r->lo) && isfinite(r->hi);
}

static json_t *ranges_json(const struct app_calibration *c, const struct kerf_graph *g)
{
	json_t *ranges = json_array();

	for (int i = 0; c->precision == KERF_PRECISION_INT8 && i < c->n_ranges; i++)
		if (is_known(&c->ranges[i]))
			json_array_append_new(ranges,
				json_pack("{s:s,s:f,s:f}", "tensor", g->tensors[i].name, "lo", (double)c->ranges[i].lo,
					"hi", (double)c->ranges[i].hi));
	return ranges;
}

int app_calibration_save(const struct app_calibration *c, const struct kerf_graph *g,
	const char *path, struct kerf_err *err)
{
	char digest[2 * KERF_DIGEST_LEN + 1];
	json_t *cuts = json_array(), *root;
	int rc;

	digest_text(g, digest);
	for (unsigned i = 0; i < c->n; i++) {
		const struct app_calibration_entry *e = &c->entries[i];

		json_array_append_new(cuts,
			json_pack("{s:i,s:s,s:f,s:f}", "cut", (int)e->cut, "codec",
				kerf_codec_info((unsigned)e->codec)->name, "agreement",
				e->agreement, "error", isfinite(e->error) ? e->error : 1e300));
	}
	root = json_pack("{s:s,s:s,s:i,s:s,s:f,s:f,s:f,s:o,s:o}", "model", g->name, "digest", digest, "images",
		(int)c->images, "precision", kerf_precision_name(c->precision), "agreement", c->agreement, "error",
		isfinite(c->error) ? c->error : 1e300, "speedup", c->speedup, "cuts", cuts, "ranges", ranges_json(c, g));
	if (!root)
		return kerf_err_set(err, -ENOMEM, "%s: no memory, or a name is no UTF-8", path);
	rc = json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	json_decref(root);
	return rc < 0 ? kerf_err_set(err, -EIO, "%s: cannot be written", path) : 0;
}

static int read_entry(struct app_calibration *c, json_t *item, size_t i, const struct kerf_graph *g,
	const char *path, struct kerf_err *err)
{
	const char *codec = "";
	json_int_t cut = -1;
	double agreement = -1, error = -1;
	int number;

	if (json_unpack(item, "{s:I,s:s,s:F,s:F}", "cut", &cut, "codec", &codec, "agreement",
		    &agreement, "error", &error) < 0)
		return kerf_err_set(err, -EINVAL,
			"%s: cuts[%zu] lacks one of cut, codec, agreement, error", path, i);
	number = kerf_codec_by_name(codec);
	if (cut < 0 || cut > g->n_nodes || number < 0 || !(agreement >= 0 && agreement <= 1) ||
		!(error >= 0))
		return kerf_err_set(err, -EINVAL,
			"%s: cuts[%zu]: cut %lld, codec %s, agreement %g, error %g: no such cut or "
			"codec, or no such numbers",
			path, i, (long long)cut, codec, agreement, error);
	if (app_calibration_add(c, (unsigned)cut, number) < 0)
		return kerf_err_set(err, -ENOMEM, "%s: no memory", path);
	c->entries[c->n - 1].agreement = agreement;
	c->entries[c->n - 1].error = error;
	return 0;
}

static int find_tensor(const struct kerf_graph *g, const char *name)
{
	for (int i = 0; i < g->n_tensors; i++)
		if (strcmp(g->tensors[i].name, name) == 0)
			return i;
	return KERF_NONE;
}

static int read_ranges(struct app_calibration *c, json_t *ranges, const struct kerf_graph *g, const char *path,
	struct kerf_err *err)
{
	if (app_calibration_add_ranges(c, g->n_tensors) < 0)
		return kerf_err_set(err, -ENOMEM, "%s: no memory", path);
	for (size_t i = 0; i < json_array_size(ranges); i++) {
		const char *name = "";
		double lo = 1, hi = 0;
		int id = KERF_NONE;

		if (json_unpack(json_array_get(ranges, i), "{s:s,s:F,s:F}", "tensor", &name, "lo", &lo, "hi", &hi) == 0)
			id = find_tensor(g, name);
		const struct kerf_range r = {(float)lo, (float)hi};
		if (id < 0 || !is_known(&r))
			return kerf_err_set(err, -EINVAL, "%s: ranges[%zu]: tensor %.64s, lo %g, hi %g: no such tensor, or no such numbers",
				path, i, name, lo, hi);
		c->ranges[id] = r;
	}
	return 0;
}

static int read_precision(struct app_calibration *c, json_t *root, const char *path, struct kerf_err *err)
{
	const char *name = kerf_precision_name(KERF_PRECISION_F32);

	if (json_unpack(root, "{s?s,s?F,s?F,s?F}", "precision", &name, "agreement", &c->agreement, "error", &c->error,
		    "speedup", &c->speedup) < 0)
		return kerf_err_set(err, -EINVAL, "%s: precision, agreement, error or speedup is of another type", path);
	for (unsigned p = 0; kerf_precision_name(p); p++)
		if (strcmp(name, kerf_precision_name(p)) == 0) {
			c->precision = (enum kerf_precision)p;
			return 0;
		}
	return kerf_err_set(err, -EINVAL, "%s: precision %.16s is not known", path, name);
}

static int read_root(struct app_calibration *c, json_t *root, const struct kerf_graph *g,
	const char *path, struct kerf_err *err)
{
	char expected[2 * KERF_DIGEST_LEN + 1];
	const char *model = "", *digest = "";
	json_t *cuts = NULL, *ranges = NULL;
	int images = 0, rc = 0;

	digest_text(g, expected);
	if (json_unpack(root, "{s:s,s:s,s:i,s:o,s?o}", "model", &model, "digest", &digest, "images",
		    &images, "cuts", &cuts, "ranges", &ranges) < 0 ||
		!json_is_array(cuts) || (ranges && !json_is_array(ranges)) || images < 0)
		return kerf_err_set(err, -EINVAL,
			"%s: no calibration: model, digest, images or cuts are missing", path);
	if (strcmp(digest, expected) != 0)
		return kerf_err_set(err, -EINVAL,
			"%s: made for another network: %s with digest %.16s..., not %s with "
			"%.16s...",
			path, model, digest, g->name, expected);
	c->images = (unsigned)images;
	rc = read_precision(c, root, path, err);
	if (rc == 0 && json_array_size(ranges) > 0)
		rc = read_ranges(c, ranges, g, path, err);
	for (size_t i = 0; i < json_array_size(cuts) && rc == 0; i++)
		rc = read_entry(c, json_array_get(cuts, i), i, g, path, err);
	return rc;
}

int app_calibration_load(struct app_calibration *c, const struct kerf_graph *g, const char *path,
	struct kerf_err *err)
{
	json_error_t error;
	json_t *root;
	int rc;

	*c = (struct app_calibration){0};
	root = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
	if (!root)
		return kerf_err_set(err, -EINVAL, "%s:%d: %s", path, error.line, error.text);
	rc = read_root(c, root, g, path, err);
	json_decref(root);
	if (rc < 0)
		app_calibration_free(c);
	return rc;
}

static int check_precision(const struct app_calibration *c, const struct kerf_graph *g, enum kerf_precision precision,
	const char *path, struct kerf_err *err)
{
	if (precision == KERF_PRECISION_INT8 && !c->ranges && !kerf_graph_is_quantised(g))
		return kerf_err_set(err, -EINVAL,
			"precision int8 needs a calibration: kerf-model calibrate --precision int8 makes it");
	if (path && path[0] && c->precision != precision)
		return kerf_err_set(err, -EINVAL, "%s: made for precision %s, not %s", path, kerf_precision_name(c->precision),
			kerf_precision_name(precision));
	return 0;
}

static int name_precision(struct kerf_graph *g, enum kerf_precision precision, const struct kerf_range *ranges, struct kerf_err *err)
{
	struct kerf_digest_state s;
	char *name;

	if (precision == KERF_PRECISION_F32)
		return 0;
	if (asprintf(&name, "%s in %s", g->name, kerf_precision_name(precision)) < 0)
		return kerf_err_set(err, -ENOMEM, "%s: no memory", g->name);
	free(g->name);
	g->name = name;
	kerf_digest_begin(&s);
	kerf_digest_add(&s, g->digest, sizeof(g->digest));
	kerf_digest_add(&s, kerf_precision_name(precision), strlen(kerf_precision_name(precision)));
	if (precision == KERF_PRECISION_INT8 && ranges)
		kerf_digest_add(&s, ranges, (size_t)g->n_tensors * sizeof(*ranges));
	kerf_digest_end(&s, g->digest);
	return 0;
}

int app_calibration_open(struct app_calibration *c, struct kerf_graph *g, const char *path, enum kerf_precision precision,
	struct kerf_err *err)
{
	int rc = 0;

	*c = (struct app_calibration){0};
	if (path && path[0])
		rc = app_calibration_load(c, g, path, err);
	if (rc == 0)
		rc = check_precision(c, g, precision, path, err);
	if (rc == 0)
		rc = name_precision(g, precision, c->ranges, err);
	if (rc < 0)
		app_calibration_free(c);
	return rc;
}
