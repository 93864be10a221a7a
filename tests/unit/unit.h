/*
 * unit: the frame of every CUnit program under tests/unit.
 *
 *	static void test_adds(void) { CU_ASSERT_EQUAL(1 + 1, 2); }
 *	UNIT_MAIN("module", UNIT(test_adds))
 *
 * A failed assertion makes the program exit 1. A test that cannot run here calls unit_skip(why).
 */
#pragma once

#include <CUnit/Basic.h>
#include <stdio.h>
#include <stdlib.h>

struct unit_test {
	const char *name;
	void (*run)(void);
};

#define UNIT(f) {#f, f}

#define UNIT_MAIN(suite, ...)                                                                      \
	int main(void)                                                                             \
	{                                                                                          \
		static const struct unit_test tests[] = {__VA_ARGS__};                             \
		return unit_run(suite, tests, sizeof(tests) / sizeof(tests[0]));                   \
	}

/* Ends the program as skipped (ctest's SKIP_RETURN_CODE). */
static inline void unit_skip(const char *why)
{
	printf("SKIP %s\n", why);
	exit(77);
}

/* Directory of real networks, photos and traces; NULL when it is not there. */
static inline const char *unit_test_data(void)
{
	static char path[4096];
	const char *dir = getenv("KERF_TEST_DATA");

	snprintf(path, sizeof(path), "%s", dir ? dir : "../shared");
	FILE *probe = fopen(path, "r");
	if (!probe)
		return NULL;
	fclose(probe);
	return path;
}

static inline int unit_run(const char *suite, const struct unit_test *tests, size_t n)
{
	if (CU_initialize_registry() != CUE_SUCCESS)
		return 1;
	CU_pSuite s = CU_add_suite(suite, NULL, NULL);
	for (size_t i = 0; i < n; i++)
		CU_add_test(s, tests[i].name, tests[i].run);
	CU_basic_set_mode(CU_BRM_NORMAL);
	CU_basic_run_tests();
	unsigned failed = CU_get_number_of_failures();
	CU_cleanup_registry();
	return failed ? 1 : 0;
}
