#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "node/node.h"

#define DIGEST_TEXT_LEN (2 * KERF_DIGEST_LEN + 1)

/* Largest difference between a cut's times and the sum of its nodes: rounding of long sums. */
#define SUM_TOLERANCE 1e-6

static const char *digest_text(const uint8_t *digest, char *text)
{
	for (unsigned i = 0; i < KERF_DIGEST_LEN; i++)
		snprintf(text + 2 * i, 3, "%02x", digest[i]);
	return text;
}

static int allocate(struct kerf_profile *p, const struct kerf_graph *g, struct kerf_err *err)
{
	*p = (struct kerf_profile){.n_nodes = (unsigned)g->n_nodes};
	memcpy(p->digest, g->digest, sizeof(p->digest));
	p->node_ns = calloc((size_t)g->n_nodes + 1, sizeof(p->node_ns[0]));
	if (!p->node_ns)
		return kerf_err_set(err, -ENOMEM, "%s: no memory for the times of %d nodes",
			g->name, g->n_nodes);
	return 0;
}

void kerf_profile_free(struct kerf_profile *p)
{
	free(p->node_ns);
	*p = (struct kerf_profile){0};
}

double kerf_profile_range_ns(const struct kerf_profile *p, unsigned from, unsigned to)
{
	double ns = 0;

	for (unsigned i = from; i < to && i < p->n_nodes; i++)
		ns += p->node_ns[i];
	return ns;
}

/* ---- measured and calculated ---- */

int kerf_profile_measure(struct kerf_profile *p, const struct kerf_graph *g, struct kerf_context *c,
	unsigned rounds, uint64_t (*clock_ns)(void), struct kerf_err *err)
{
	int rc = allocate(p, g, err);

	if (rc < 0)
		return rc;
	kerf_engine_fingerprint_text(p->machine, sizeof(p->machine));
	rc = kerf_engine_profile(c, rounds, clock_ns, p->node_ns, err);
	if (rc < 0)
		kerf_profile_free(p);
	return rc;
}

double kerf_profile_node_macs(const struct kerf_graph *g, unsigned node)
{
	const struct kerf_node *n = &g->nodes[node];
	const struct kerf_tensor *weights;

	if (n->op != KERF_OP_CONV && n->op != KERF_OP_GEMM)
		return 0;
	/* Every output value takes one row of the weights: [O, I/g * kh * kw] or [M, K]. */
	weights = &g->tensors[n->inputs[1]];
	return (double)kerf_tensor_elements(&g->tensors[n->output]) *
	       ((double)kerf_tensor_elements(weights) / (double)weights->dims[0]);
}

static double node_bytes(const struct kerf_graph *g, const struct kerf_node *n)
{
	double bytes = (double)kerf_tensor_bytes(&g->tensors[n->output]);

	if (n->op == KERF_OP_RESHAPE)
		return 0; /* the same bytes under another shape */
	for (int i = 0; i < n->n_inputs; i++)
		if (n->inputs[i] >= 0)
			bytes += (double)kerf_tensor_bytes(&g->tensors[n->inputs[i]]);
	return bytes;
}

int kerf_profile_analytic(struct kerf_profile *p, const struct kerf_graph *g, double flops,
	double bytes_per_s, struct kerf_err *err)
{
	int rc;

	if (!isfinite(flops) || flops <= 0 || !isfinite(bytes_per_s) || bytes_per_s <= 0)
		return kerf_err_set(err, -EINVAL,
			"%s: a machine of %g multiply-adds/s and %g bytes/s: both must be positive",
			g->name, flops, bytes_per_s);
	rc = allocate(p, g, err);
	if (rc < 0)
		return rc;
	snprintf(
		p->machine, sizeof(p->machine), "analytic %.3g MAC/s %.3g B/s", flops, bytes_per_s);
	for (unsigned i = 0; i < p->n_nodes; i++) {
		double macs = kerf_profile_node_macs(g, i);

		p->node_ns[i] =
			1e9 * (macs > 0 ? macs / flops : node_bytes(g, &g->nodes[i]) / bytes_per_s);
	}
	return 0;
}

/* ---- to a file ---- */

/* NULL when a name is no UTF-8: appending NULL fails. */
static json_t *nodes_json(const struct kerf_profile *p, const struct kerf_graph *g)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < p->n_nodes; i++) {
		json_t *node =
			json_pack("{s:s,s:f}", "name", g->nodes[i].name, "ns", p->node_ns[i]);

		if (json_array_append_new(list, node) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *cuts_json(const struct kerf_profile *p)
{
	json_t *list = json_array();
	double head_ns = 0, whole_ns = kerf_profile_range_ns(p, 0, p->n_nodes);

	for (unsigned k = 0; k <= p->n_nodes; k++) {
		double tail_ns = k < p->n_nodes ? KERF_MAX(whole_ns - head_ns, 0) : 0;

		json_array_append_new(list, json_pack("{s:i,s:f,s:f}", "cut", (int)k, "head_ns",
						    head_ns, "tail_ns", tail_ns));
		if (k < p->n_nodes)
			head_ns += p->node_ns[k];
	}
	return list;
}

int kerf_profile_save(const struct kerf_profile *p, const struct kerf_graph *g, const char *path,
	struct kerf_err *err)
{
	char digest[DIGEST_TEXT_LEN];
	json_t *root;
	int rc = 0;

	if (p->n_nodes != (unsigned)g->n_nodes ||
		memcmp(p->digest, g->digest, sizeof(p->digest)) != 0)
		return kerf_err_set(err, -EINVAL, "%s: the profile is of another network than %s",
			path, g->name);
	root = json_pack("{s:s,s:s,s:s,s:o,s:o}", "model", g->name, "digest",
		digest_text(p->digest, digest), "machine", p->machine, "nodes", nodes_json(p, g),
		"cuts", cuts_json(p));
	if (!root)
		return kerf_err_set(err, -EINVAL,
			"%s: a name in %s is not UTF-8, JSON cannot hold it", path, g->name);
	/* 17 digits: every double comes back as it was. */
	errno = 0;
	if (json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(17)) < 0) {
		int code = errno ? errno : EIO;
		rc = kerf_err_set(err, -code, "%s: cannot write: %s", path, strerror(code));
	}
	json_decref(root);
	return rc;
}

/* ---- from a file ---- */

/* A file as it is read: everything that the checks have in common. */
struct reading {
	const char *path;
	const struct kerf_graph *g;
	struct kerf_err *err;
};

static int get_text(const struct reading *r, const json_t *root, const char *key, const char **text)
{
	const json_t *value = json_object_get(root, key);

	if (!json_is_string(value))
		return kerf_err_set(
			r->err, -EINVAL, "%s: \"%s\" is not there or not a text", r->path, key);
	*text = json_string_value(value);
	return 0;
}

static int get_list(const struct reading *r, const json_t *root, const char *key, size_t len,
	const json_t **list)
{
	*list = json_object_get(root, key);
	if (!json_is_array(*list))
		return kerf_err_set(
			r->err, -EINVAL, "%s: \"%s\" is not there or not a list", r->path, key);
	if (json_array_size(*list) != len)
		return kerf_err_set(r->err, -EINVAL,
			"%s: \"%s\" has %zu entries, %zu expected for %s", r->path, key,
			json_array_size(*list), len, r->g->name);
	return 0;
}

/* A time in ns: finite, not negative. where: "nodes" or "cuts". */
static int get_ns(const struct reading *r, const json_t *entry, const char *where, size_t i,
	const char *key, double *ns)
{
	const json_t *value = json_object_get(entry, key);

	if (!json_is_number(value))
		return kerf_err_set(r->err, -EINVAL, "%s: %s[%zu].%s is not there or not a number",
			r->path, where, i, key);
	*ns = json_number_value(value);
	if (!isfinite(*ns) || *ns < 0)
		return kerf_err_set(r->err, -EINVAL,
			"%s: %s[%zu].%s is %g, a time of 0 or more expected", r->path, where, i,
			key, *ns);
	return 0;
}

static int check_identity(const struct reading *r, const json_t *root, struct kerf_profile *p)
{
	char expected[DIGEST_TEXT_LEN];
	const char *model = "", *digest = "", *machine = "";

	if (get_text(r, root, "model", &model) < 0 || get_text(r, root, "digest", &digest) < 0 ||
		get_text(r, root, "machine", &machine) < 0)
		return -EINVAL;
	if (strcmp(digest, digest_text(r->g->digest, expected)) != 0)
		return kerf_err_set(r->err, -EINVAL,
			"%s: made for another network: %s with digest %.16s..., not %s with "
			"%.16s...",
			r->path, model, digest, r->g->name, expected);
	if (strlen(machine) >= sizeof(p->machine))
		return kerf_err_set(r->err, -EINVAL,
			"%s: \"machine\" is %zu characters long, at most %zu expected", r->path,
			strlen(machine), sizeof(p->machine) - 1);
	snprintf(p->machine, sizeof(p->machine), "%s", machine);
	return 0;
}

static int read_nodes(const struct reading *r, const json_t *root, struct kerf_profile *p)
{
	const json_t *list;

	if (get_list(r, root, "nodes", p->n_nodes, &list) < 0)
		return -EINVAL;
	for (unsigned i = 0; i < p->n_nodes; i++) {
		const json_t *entry = json_array_get(list, i);
		const char *name = json_string_value(json_object_get(entry, "name"));

		if (!name || strcmp(name, r->g->nodes[i].name) != 0)
			return kerf_err_set(r->err, -EINVAL,
				"%s: nodes[%u].name is %s, \"%s\" expected", r->path, i,
				name ? name : "not there", r->g->nodes[i].name);
		if (get_ns(r, entry, "nodes", i, "ns", &p->node_ns[i]) < 0)
			return -EINVAL;
	}
	if (!(kerf_profile_range_ns(p, 0, p->n_nodes) > 0))
		return kerf_err_set(r->err, -EINVAL, "%s: every node takes no time", r->path);
	return 0;
}

static bool same_time(double a, double b, double whole_ns)
{
	return fabs(a - b) <= SUM_TOLERANCE * whole_ns;
}

/* The cuts say the same as the nodes once more, for people and other programs. */
static int check_cuts(const struct reading *r, const json_t *root, const struct kerf_profile *p)
{
	double whole_ns = kerf_profile_range_ns(p, 0, p->n_nodes), sum_ns = 0;
	const json_t *list;

	if (get_list(r, root, "cuts", (size_t)p->n_nodes + 1, &list) < 0)
		return -EINVAL;
	for (unsigned k = 0; k <= p->n_nodes; k++) {
		const json_t *entry = json_array_get(list, k), *cut = json_object_get(entry, "cut");
		double head_ns, tail_ns;

		if (!json_is_integer(cut) || json_integer_value(cut) != (json_int_t)k)
			return kerf_err_set(
				r->err, -EINVAL, "%s: cuts[%u].cut is not %u", r->path, k, k);
		if (get_ns(r, entry, "cuts", k, "head_ns", &head_ns) < 0 ||
			get_ns(r, entry, "cuts", k, "tail_ns", &tail_ns) < 0)
			return -EINVAL;
		if (!same_time(head_ns, sum_ns, whole_ns) ||
			!same_time(tail_ns, whole_ns - sum_ns, whole_ns))
			return kerf_err_set(r->err, -EINVAL,
				"%s: cuts[%u] takes %g + %g ns, its nodes take %g + %g ns", r->path,
				k, head_ns, tail_ns, sum_ns, whole_ns - sum_ns);
		if (k < p->n_nodes)
			sum_ns += p->node_ns[k];
	}
	return 0;
}

int kerf_profile_load(
	struct kerf_profile *p, const struct kerf_graph *g, const char *path, struct kerf_err *err)
{
	const struct reading r = {.path = path, .g = g, .err = err};
	json_error_t where;
	json_t *root;
	int rc;

	*p = (struct kerf_profile){0};
	root = json_load_file(path, JSON_REJECT_DUPLICATES, &where);
	if (!root)
		return where.line > 0 ? kerf_err_set(err, -EINVAL, "%s:%d: %s", path, where.line,
						where.text)
				      : kerf_err_set(err, -EIO, "%s", where.text);
	rc = json_is_object(root) ? allocate(p, g, err)
				  : kerf_err_set(err, -EINVAL, "%s: not a JSON object", path);
	if (rc < 0)
		goto out;
	rc = check_identity(&r, root, p);
	if (rc == 0)
		rc = read_nodes(&r, root, p);
	if (rc == 0)
		rc = check_cuts(&r, root, p);
out:
	if (rc < 0)
		kerf_profile_free(p);
	json_decref(root);
	return rc;
}
