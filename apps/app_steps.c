#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

static int parse_step(char *word, int (*parse)(const char *, double *), uint64_t *at_ns,
	double *value)
{
	char *colon = strchr(word, ':');

	*at_ns = 0;
	if (colon) {
		*colon = '\0';
		if (kerf_parse_time(word, at_ns) < 0)
			return -EINVAL;
	}
	return parse(colon ? colon + 1 : word, value);
}

int app_parse_steps(const char *text, const char *key, const struct app_steps_type *t,
	struct app_steps *s, struct kerf_err *err)
{
	char copy[KERF_INI_TEXT_LEN], *save = NULL;

	s->n = 0;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
		uint64_t at;
		double value;

		if (s->n == APP_MAX_STEPS)
			return kerf_err_set(err, -EINVAL, "%s: more than %d steps", key,
				APP_MAX_STEPS);
		if (parse_step(w, t->parse, &at, &value) < 0 || !(value >= t->min) ||
			!(value <= t->max) || (s->n ? at <= s->at_ns[s->n - 1] : at != 0))
			return kerf_err_set(err, -EINVAL,
				"%s = %s: expected %s, or steps like \"%s\" that begin at 0s and "
				"ascend",
				key, text, t->expected, t->example);
		s->at_ns[s->n] = at;
		s->value[s->n++] = value;
	}
	return s->n ? 0 : kerf_err_set(err, -EINVAL, "%s is empty", key);
}

unsigned app_step_at(const struct app_steps *s, uint64_t ns)
{
	unsigned i = 0;

	while (i + 1 < s->n && s->at_ns[i + 1] <= ns)
		i++;
	return i;
}

static int parse_number(const char *text, double *value)
{
	char *end;

	*value = strtod(text, &end);
	return end == text || *end ? -EINVAL : 0;
}

int app_parse_slowdown(const char *text, const char *key, struct app_steps *s,
	struct kerf_err *err)
{
	const struct app_steps_type type = {.parse = parse_number, .min = 1, .max = 1e6,
		.expected = "a factor from 1 to 1e6", .example = "0s:1 10s:4"};

	return app_parse_steps(text, key, &type, s, err);
}
