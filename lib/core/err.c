#include "core/core.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

/* Names from files end up in these lines; a control character must not break a line in two. */
static void keep_on_one_line(char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;
		if (c < 0x20 || c == 0x7f)
			*text = '?';
	}
}

int kerf_err_set(struct kerf_err *err, int code, const char *fmt, ...)
{
	char line[sizeof(err->text)]; /* the arguments may point into err->text */
	va_list args;

	assert(code < 0);
	if (!err)
		return code;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	keep_on_one_line(line);
	memcpy(err->text, line, sizeof(line));
	return code;
}

void kerf_err_prefix(struct kerf_err *err, const char *fmt, ...)
{
	const size_t limit = sizeof(err->text);
	char line[2 * sizeof(err->text) + 2];
	va_list args;

	if (!err || !err->text[0])
		return;
	va_start(args, fmt);
	vsnprintf(line, limit, fmt, args);
	va_end(args);
	size_t used = strlen(line);
	snprintf(line + used, sizeof(line) - used, ": %s", err->text);
	line[limit - 1] = '\0';
	keep_on_one_line(line);
	memcpy(err->text, line, limit);
}
