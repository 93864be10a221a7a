#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/ini_scan.h"

/* What a load works on; lines are those of the file, 0 = not there. */
struct table {
	const struct kerf_ini_key *keys;
	unsigned n_keys;
	char *settings;
	unsigned *key_lines;     /* by key */
	unsigned *section_lines; /* by the first key of a section */
};

/* Where a value came from, for the message about it. */
struct origin {
	const char *path; /* NULL = an override */
	unsigned line;
};

/* ---- finding keys, and what a mistyped one may have meant ---- */

/* Index of the first key of a section, or -ENOENT. */
static int find_section(const struct table *t, const char *section)
{
	for (unsigned i = 0; i < t->n_keys; i++)
		if (!strcmp(t->keys[i].section, section))
			return (int)i;
	return -ENOENT;
}

static int find_key(const struct table *t, const char *section, const char *name)
{
	for (unsigned i = 0; i < t->n_keys; i++)
		if (!strcmp(t->keys[i].section, section) && !strcmp(t->keys[i].name, name))
			return (int)i;
	return -ENOENT;
}

/* Levenshtein distance; names are shorter than CFG_NAME_LEN. */
static unsigned edit_distance(const char *a, const char *b)
{
	unsigned row[CFG_NAME_LEN + 1];
	size_t n = strnlen(b, CFG_NAME_LEN);

	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (; *a; a++) {
		unsigned diagonal = row[0]++;
		for (size_t j = 0; j < n; j++) {
			unsigned replaced = diagonal + (*a != b[j]);
			diagonal = row[j + 1];
			row[j + 1] = KERF_MIN(replaced, KERF_MIN(row[j], diagonal) + 1);
		}
	}
	return row[n];
}

/* Sections of the table (section NULL), or the keys of one section, one after the other. */
static const char *next_name(const struct table *t, const char *section, unsigned *i)
{
	while (*i < t->n_keys) {
		const struct kerf_ini_key *key = &t->keys[(*i)++];
		if (section ? !strcmp(key->section, section)
			    : find_section(t, key->section) == (int)*i - 1)
			return section ? key->name : key->section;
	}
	return NULL;
}

/* "did you mean x?" for a typing mistake or two, otherwise the list of what there is. */
static void suggest(const struct table *t, const char *section, const char *wrong, char *text,
	size_t len)
{
	const char *name, *nearest = NULL;
	unsigned least = 1 + (unsigned)KERF_MIN(strlen(wrong) / 3, 2), i = 0;
	size_t used = (size_t)snprintf(text, len, "known are");

	while ((name = next_name(t, section, &i))) {
		unsigned distance = edit_distance(wrong, name);
		if (distance < least || (distance == least && !nearest)) {
			least = distance;
			nearest = name;
		}
		if (used < len)
			used += (size_t)snprintf(text + used, len - used, " %s", name);
	}
	if (nearest)
		snprintf(text, len, "did you mean %s?", nearest);
}

/* ---- values ---- */

static const char *expectation(const struct kerf_ini_key *key)
{
	switch (key->type) {
	case KERF_INI_TEXT: return "at most 255 characters";
	case KERF_INI_SIZE: return "a size in bytes such as 1500, 64K or 2Mi";
	case KERF_INI_RATE: return "a rate in bit/s such as 9600, 50M or 1.5G";
	case KERF_INI_TIME: return "a time with its unit such as 100ns, 2us, 10ms or 1.5s";
	case KERF_INI_COUNT: return "a whole number";
	case KERF_INI_REAL: return "a number";
	case KERF_INI_BOOL: return "yes or no";
	case KERF_INI_IPV4: return "an IPv4 address such as 10.0.0.1";
	case KERF_INI_ENUM: return key->choices;
	}
	return "?";
}

/* Place of text in "a|b|c", or -EINVAL. */
static int find_choice(const char *choices, const char *text)
{
	size_t len = strlen(text);

	for (int i = 0;; i++) {
		size_t width = strcspn(choices, "|");
		if (width == len && len && !strncmp(choices, text, len))
			return i;
		if (!choices[width])
			return -EINVAL;
		choices += width + 1;
	}
}

/* Writes the value to *at and, where it is a number, to *number. 0, -EINVAL or -ERANGE. */
static int parse_value(const struct kerf_ini_key *key, const char *text, void *at, double *number)
{
	int rc;

	switch (key->type) {
	case KERF_INI_TEXT:
		if (strlen(text) >= KERF_INI_TEXT_LEN)
			return -ERANGE;
		strcpy(at, text);
		return 0;
	case KERF_INI_SIZE:
	case KERF_INI_TIME:
	case KERF_INI_COUNT: {
		uint64_t whole = 0;
		rc = key->type == KERF_INI_SIZE   ? kerf_parse_size(text, &whole)
			: key->type == KERF_INI_TIME ? kerf_parse_time(text, &whole)
						     : kerf_parse_u64(text, &whole);
		*(uint64_t *)at = whole;
		*number = (double)whole;
		return rc;
	}
	case KERF_INI_RATE:
	case KERF_INI_REAL:
		rc = key->type == KERF_INI_RATE ? kerf_parse_rate(text, number)
						: kerf_parse_double(text, number);
		*(double *)at = *number;
		return rc;
	case KERF_INI_BOOL: return kerf_parse_bool(text, at);
	case KERF_INI_IPV4: return kerf_parse_ipv4(text, at);
	case KERF_INI_ENUM:
		rc = find_choice(key->choices, text);
		*(int *)at = rc;
		return rc < 0 ? rc : 0;
	}
	return -EINVAL;
}

/* A bound as a person would write it; sizes stay in bytes, which rounding would falsify. */
static const char *format_bound(const struct kerf_ini_key *key, double bound, char *buf, size_t len)
{
	switch (key->type) {
	case KERF_INI_RATE: return kerf_format_rate(bound, buf, len);
	case KERF_INI_TIME: return kerf_format_time(bound, buf, len);
	default: snprintf(buf, len, "%.12g", bound); return buf;
	}
}

static int refuse_value(const struct kerf_ini_key *key, const char *text, struct origin from,
	int rc, struct kerf_err *err)
{
	char low[32], high[32], range[96] = "";

	if (key->max > key->min)
		snprintf(range, sizeof(range), ", from %s to %s",
			format_bound(key, key->min, low, sizeof(low)),
			format_bound(key, key->max, high, sizeof(high)));
	if (!from.path)
		return kerf_err_set(err, rc, "-s %s.%s=%.80s: expected %s%s", key->section,
			key->name, text, expectation(key), range);
	return kerf_err_set(err, rc, "%s:%u: [%s] %s = \"%.80s\": expected %s%s", from.path,
		from.line, key->section, key->name, text, expectation(key), range);
}

static int set_value(const struct table *t, unsigned k, const char *text, struct origin from,
	struct kerf_err *err)
{
	const struct kerf_ini_key *key = &t->keys[k];
	double number = key->min;
	int rc = parse_value(key, text, t->settings + key->offset, &number);

	if (rc == 0 && key->max > key->min && (number < key->min || number > key->max))
		rc = -ERANGE;
	return rc < 0 ? refuse_value(key, text, from, rc, err) : 0;
}

static void set_presets(const struct table *t)
{
	struct kerf_err err = {0};

	for (unsigned k = 0; k < t->n_keys; k++) {
		if (!t->keys[k].preset)
			continue;
		int rc = set_value(t, k, t->keys[k].preset, (struct origin){0}, &err);
		assert(rc == 0 && "a program's own default must be a good value");
	}
}

/* ---- the file ---- */

static int check_section(struct table *t, const struct ini_scan *s, struct kerf_err *err)
{
	char hint[256];
	int k = find_section(t, s->section);

	if (k < 0) {
		suggest(t, NULL, s->section, hint, sizeof(hint));
		return kerf_err_set(err, -EINVAL, "%s:%u: unknown section [%s]; %s", s->path,
			s->line, s->section, hint);
	}
	if (t->section_lines[k]) /* rte_cfgfile would look at the first one only */
		return kerf_err_set(err, -EINVAL, "%s:%u: section [%s] again, first in line %u",
			s->path, s->line, s->section, t->section_lines[k]);
	t->section_lines[k] = s->line;
	return 0;
}

static int check_entry(struct table *t, const struct ini_scan *s, struct kerf_err *err)
{
	char hint[256];
	int k = find_key(t, s->section, s->name);

	if (k < 0) {
		suggest(t, s->section, s->name, hint, sizeof(hint));
		return kerf_err_set(err, -EINVAL, "%s:%u: unknown key %s in [%s]; %s", s->path,
			s->line, s->name, s->section, hint);
	}
	if (t->key_lines[k])
		return kerf_err_set(err, -EINVAL, "%s:%u: [%s] %s again, first in line %u", s->path,
			s->line, s->section, s->name, t->key_lines[k]);
	t->key_lines[k] = s->line;
	return 0;
}

/* Everything in the file is known, once each, and has the form that rte_cfgfile understands. */
static int check_file(struct table *t, const char *path, struct kerf_err *err)
{
	struct ini_scan s;
	int rc = kerf_ini_scan_open(&s, path, err);

	while (rc == 0) {
		int line = kerf_ini_scan_next(&s, err);
		if (line == INI_END)
			break;
		rc = line < 0              ? line
			: line == INI_SECTION ? check_section(t, &s, err)
					      : check_entry(t, &s, err);
	}
	kerf_ini_scan_close(&s);
	return rc;
}

static int read_file(struct table *t, const char *path, struct kerf_err *err)
{
	const struct rte_cfgfile_parameters parameters = {.comment_character = INI_COMMENT};
	int rc = check_file(t, path, err);

	if (rc < 0)
		return rc;
	struct rte_cfgfile *file =
		rte_cfgfile_load_with_params(path, CFG_FLAG_EMPTY_VALUES, &parameters);
	if (!file)
		return kerf_err_set(err, -EIO, "%s: rte_cfgfile cannot read it", path);
	for (unsigned k = 0; k < t->n_keys && rc == 0; k++) {
		if (!t->key_lines[k])
			continue;
		const struct origin from = {path, t->key_lines[k]};
		const char *text =
			rte_cfgfile_get_entry(file, t->keys[k].section, t->keys[k].name);
		rc = text ? set_value(t, k, text, from, err)
			  : kerf_err_set(err, -EIO, "%s:%u: rte_cfgfile does not see [%s] %s", path,
				    from.line, t->keys[k].section, t->keys[k].name);
	}
	rte_cfgfile_close(file);
	return rc;
}

/* ---- overrides ---- */

static int apply_override(const struct table *t, const char *text, struct kerf_err *err)
{
	char section[CFG_NAME_LEN], name[CFG_NAME_LEN], hint[256];
	size_t end = strcspn(text, "="), n_section = end;

	/* A section's name may hold dots, a key's does not. */
	while (n_section > 0 && text[n_section] != '.')
		n_section--;
	if (!text[end] || n_section == 0 || n_section >= sizeof(section) ||
		end - n_section - 1 >= sizeof(name))
		return kerf_err_set(err, -EINVAL, "-s %.80s: expected section.key=value", text);
	snprintf(section, sizeof(section), "%.*s", (int)n_section, text);
	snprintf(name, sizeof(name), "%.*s", (int)(end - n_section - 1), text + n_section + 1);
	int k = find_key(t, section, name);
	if (k >= 0)
		return set_value(t, (unsigned)k, text + end + 1, (struct origin){0}, err);
	if (find_section(t, section) < 0) {
		suggest(t, NULL, section, hint, sizeof(hint));
		return kerf_err_set(err, -EINVAL, "-s %.80s: unknown section %s; %s", text, section,
			hint);
	}
	suggest(t, section, name, hint, sizeof(hint));
	return kerf_err_set(err, -EINVAL, "-s %.80s: unknown key %s in [%s]; %s", text, name,
		section, hint);
}

int kerf_ini_load(const char *path, const char *const *overrides, unsigned n_overrides,
	const struct kerf_ini_key *keys, unsigned n_keys, void *settings, struct kerf_err *err)
{
	struct table t = {.keys = keys, .n_keys = n_keys, .settings = settings};
	int rc = 0;

	t.key_lines = calloc(n_keys + 1, sizeof(*t.key_lines));
	t.section_lines = calloc(n_keys + 1, sizeof(*t.section_lines));
	if (!t.key_lines || !t.section_lines) {
		rc = kerf_err_set(err, -ENOMEM, "settings: out of memory");
		goto out;
	}
	set_presets(&t);
	if (path)
		rc = read_file(&t, path, err);
	for (unsigned i = 0; i < n_overrides && rc == 0; i++)
		rc = apply_override(&t, overrides[i], err);
out:
	free(t.key_lines);
	free(t.section_lines);
	return rc;
}
