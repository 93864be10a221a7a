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

void app_calibration_free(struct app_calibration *c)
{
	free(c->entries);
	*c = (struct app_calibration){0};
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
	root = json_pack("{s:s,s:s,s:i,s:o}", "model", g->name, "digest", digest, "images",
		(int)c->images, "cuts", cuts);
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

static int read_root(struct app_calibration *c, json_t *root, const struct kerf_graph *g,
	const char *path, struct kerf_err *err)
{
	char expected[2 * KERF_DIGEST_LEN + 1];
	const char *model = "", *digest = "";
	json_t *cuts = NULL;
	int images = 0, rc = 0;

	digest_text(g, expected);
	if (json_unpack(root, "{s:s,s:s,s:i,s:o}", "model", &model, "digest", &digest, "images",
		    &images, "cuts", &cuts) < 0 ||
		!json_is_array(cuts) || images < 0)
		return kerf_err_set(err, -EINVAL,
			"%s: no calibration: model, digest, images or cuts are missing", path);
	if (strcmp(digest, expected) != 0)
		return kerf_err_set(err, -EINVAL,
			"%s: made for another network: %s with digest %.16s..., not %s with "
			"%.16s...",
			path, model, digest, g->name, expected);
	c->images = (unsigned)images;
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
