#include "core/ini_scan.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* rte_cfgfile's line buffer is CFG_NAME_LEN + CFG_VALUE_LEN + 4, with '\n' and '\0' in it. */
#define LINE_MAX_CHARS (CFG_NAME_LEN + CFG_VALUE_LEN + 2)

int kerf_ini_scan_open(struct ini_scan *s, const char *path, struct kerf_err *err)
{
	struct stat st;

	*s = (struct ini_scan){.path = path};
	if (stat(path, &st) < 0)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode)) /* rte_cfgfile opens it again: a pipe would be empty by then */
		return kerf_err_set(err, -EINVAL, "%s: found a %s, expected an ini file", path,
			S_ISDIR(st.st_mode) ? "directory" : "special file");
	s->file = fopen(path, "r");
	if (!s->file)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	return 0;
}

void kerf_ini_scan_close(struct ini_scan *s)
{
	if (s->file)
		fclose(s->file);
	free(s->text);
	*s = (struct ini_scan){0};
}

static char *strip(char *text)
{
	while (isspace((unsigned char)*text))
		text++;
	size_t len = strlen(text);
	while (len && isspace((unsigned char)text[len - 1]))
		text[--len] = '\0';
	return text;
}

/* Only the first comment character counts, and not after a backslash: rte_cfgfile's rule. */
static void cut_comment(char *text)
{
	char *comment = strchr(text, INI_COMMENT);

	if (comment && (comment == text || comment[-1] != '\\'))
		*comment = '\0';
}

static int refuse(const struct ini_scan *s, struct kerf_err *err, const char *what)
{
	return kerf_err_set(err, -EINVAL, "%s:%u: %s", s->path, s->line, what);
}

static int scan_section(struct ini_scan *s, char *text, struct kerf_err *err)
{
	char *end = strchr(text, ']');

	if (!end)
		return refuse(s, err, "'[' without ']', expected [section]");
	if (end[1])
		return refuse(s, err, "text after ']', expected [section] alone on its line");
	*end = '\0';
	text = strip(text + 1);
	if (!*text)
		return refuse(s, err, "empty section name");
	if (strlen(text) >= sizeof(s->section))
		return refuse(s, err, "section name is longer than 63 characters");
	strcpy(s->section, text);
	return INI_SECTION;
}

static int scan_entry(struct ini_scan *s, char *text, struct kerf_err *err)
{
	char *equals = strchr(text, '=');

	if (!equals)
		return kerf_err_set(err, -EINVAL,
			"%s:%u: found \"%.60s\", expected [section] or key = value", s->path,
			s->line, text);
	*equals = '\0';
	char *name = strip(text), *value = strip(equals + 1);
	if (!*name)
		return refuse(s, err, "no key before '='");
	if (strlen(name) >= sizeof(s->name))
		return refuse(s, err, "key is longer than 63 characters");
	if (strlen(value) >= sizeof(s->value))
		return refuse(s, err, "value is longer than 255 characters");
	if (!s->section[0])
		return refuse(s, err, "key = value before the first [section]");
	strcpy(s->name, name);
	strcpy(s->value, value);
	return INI_ENTRY;
}

int kerf_ini_scan_next(struct ini_scan *s, struct kerf_err *err)
{
	ssize_t len;

	while ((len = getline(&s->text, &s->text_size, s->file)) >= 0) {
		s->line++;
		if (strlen(s->text) != (size_t)len)
			return refuse(s, err, "binary data, expected an ini file");
		if (len - (s->text[len - 1] == '\n') > LINE_MAX_CHARS)
			return refuse(s, err, "line is longer than 322 characters");
		cut_comment(s->text);
		char *text = strip(s->text);
		if (*text)
			return *text == '[' ? scan_section(s, text, err)
					    : scan_entry(s, text, err);
	}
	if (ferror(s->file))
		return kerf_err_set(err, -EIO, "%s: %s", s->path, strerror(errno));
	return INI_END;
}
