#include <string.h>

#include "core/core.h"
#include "unit.h"

static void test_set_returns_code(void)
{
	struct kerf_err err = {0};

	CU_ASSERT_EQUAL(kerf_err_set(&err, -ENOENT, "%s: no such %s", "a", "file"), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err.text, "a: no such file");
	CU_ASSERT_EQUAL(kerf_err_set(NULL, -EINVAL, "nobody listens"), -EINVAL);
}

static void test_arguments_may_be_the_old_line(void)
{
	struct kerf_err err = {0};

	kerf_err_set(&err, -EINVAL, "inner");
	kerf_err_set(&err, -EINVAL, "outer (%s)", err.text);
	CU_ASSERT_STRING_EQUAL(err.text, "outer (inner)");
	kerf_err_prefix(&err, "%s", err.text);
	CU_ASSERT_STRING_EQUAL(err.text, "outer (inner): outer (inner)");
}

static void test_stays_one_line(void)
{
	struct kerf_err err = {0};

	kerf_err_set(&err, -EINVAL, "name \"%s\"", "a\nb\x1b[1m\x7f");
	CU_ASSERT_STRING_EQUAL(err.text, "name \"a?b?[1m?\"");
	kerf_err_prefix(&err, "x\ty");
	CU_ASSERT_PTR_NULL(strpbrk(err.text, "\t\n"));
}

static void test_prefix(void)
{
	struct kerf_err err = {0};

	kerf_err_prefix(&err, "file");
	CU_ASSERT_STRING_EQUAL(err.text, ""); /* no error stays none */
	kerf_err_set(&err, -EINVAL, "bad");
	kerf_err_prefix(&err, "line %d", 3);
	kerf_err_prefix(&err, "file");
	CU_ASSERT_STRING_EQUAL(err.text, "file: line 3: bad");
	kerf_err_prefix(NULL, "file");
}

static void test_long_lines_are_cut(void)
{
	struct kerf_err err = {0};
	char big[2000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	kerf_err_set(&err, -EINVAL, "%s", big);
	CU_ASSERT_EQUAL(strlen(err.text), sizeof(err.text) - 1);
	kerf_err_prefix(&err, "head");
	CU_ASSERT_EQUAL(strlen(err.text), sizeof(err.text) - 1);
	CU_ASSERT_EQUAL(strncmp(err.text, "head: xxx", 9), 0);
	kerf_err_prefix(&err, "%s", big);
	CU_ASSERT_EQUAL(strlen(err.text), sizeof(err.text) - 1);
	CU_ASSERT_EQUAL(strncmp(err.text, "xxx", 3), 0);
}

UNIT_MAIN("core.err", UNIT(test_set_returns_code), UNIT(test_arguments_may_be_the_old_line),
	UNIT(test_stays_one_line), UNIT(test_prefix), UNIT(test_long_lines_are_cut))
