/* conf/ documents every key with its default: loading such a file changes nothing. */
#include <string.h>

#include "app.h"
#include "unit.h"

static void expect_defaults(const char *file, enum app_kind kind)
{
	static struct app_settings presets, loaded;
	const struct app_options none = {0}, some = {.config = file};
	struct kerf_err err = {0};

	CU_ASSERT_EQUAL(app_load_settings(&presets, &none, kind, &err), 0);
	CU_ASSERT_EQUAL(app_load_settings(&loaded, &some, kind, &err), 0);
	if (err.text[0])
		printf("%s\n", err.text);
	CU_ASSERT_EQUAL(memcmp(&presets, &loaded, sizeof(presets)), 0);
}

static void test_files_hold_the_defaults(void)
{
	expect_defaults(KERF_CONF "/device.ini", APP_DEVICE);
	expect_defaults(KERF_CONF "/server.ini", APP_SERVER);
	expect_defaults(KERF_CONF "/lab/default.ini", APP_LAB);
	expect_defaults(KERF_CONF "/links/default.ini", APP_LINKEM);
}

static bool mentions(const char *text, const char *section, const char *key)
{
	char head[80], line[80], commented[80];
	const char *at, *end;

	snprintf(head, sizeof(head), "\n[%s]\n", section);
	snprintf(line, sizeof(line), "\n%s =", key);
	snprintf(commented, sizeof(commented), "\n# %s =", key);
	at = strstr(text, head);
	if (!at)
		return false;
	end = strstr(at + 2, "\n[");
	for (int i = 0; i < 2; i++) {
		const char *found = strstr(at, i ? commented : line);

		if (found && (!end || found < end))
			return true;
	}
	return false;
}

static void expect_documented(const char *file, enum app_kind kind)
{
	static char text[65536];
	struct kerf_ini_key keys[APP_MAX_KEYS];
	const unsigned n = app_keys(kind, keys);
	FILE *f = fopen(file, "r");

	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	CU_ASSERT(n > 10);
	for (unsigned i = 0; i < n; i++) {
		if (!mentions(text, keys[i].section, keys[i].name))
			printf("%s: %s.%s is missing\n", file, keys[i].section, keys[i].name);
		CU_ASSERT_TRUE(mentions(text, keys[i].section, keys[i].name));
	}
}

static void test_files_name_every_key(void)
{
	expect_documented(KERF_CONF "/device.ini", APP_DEVICE);
	expect_documented(KERF_CONF "/server.ini", APP_SERVER);
	expect_documented(KERF_CONF "/lab/default.ini", APP_LAB);
	expect_documented(KERF_CONF "/links/default.ini", APP_LINKEM);
}

UNIT_MAIN("app.settings", UNIT(test_files_hold_the_defaults), UNIT(test_files_name_every_key))
