#include "unit.h"

#include <math.h>
#include <string.h>

#include <jansson.h>

#include "perf.h"

static void quantiles(void)
{
	double v[] = {5, 1, 4, 2, 3}, four[] = {4, 3, 2, 1};

	CU_ASSERT_EQUAL(perf_quantile(v, 5, 0.5), 3);
	CU_ASSERT_EQUAL(perf_quantile(v, 5, 0), 1);
	CU_ASSERT_EQUAL(perf_quantile(v, 5, 1), 5);
	CU_ASSERT_EQUAL(perf_quantile(four, 4, 0.75), 3);
	CU_ASSERT_DOUBLE_EQUAL(perf_spread(v, 5), 2.0 / 3, 1e-12);
}

/* One figure with a peer, judged by its ratio, and one without, judged by its value. */
static void figures_and_targets(void)
{
	char *argv[] = {"perf", "--json", "perf_test.json", "--own", "--quick", NULL};
	int argc = 5;
	struct perf p;
	json_t *root, *f;

	perf_begin(&p, "test", NULL, &argc, argv);
	CU_ASSERT_EQUAL(argc, 2);
	CU_ASSERT_STRING_EQUAL(argv[1], "--own");
	CU_ASSERT_TRUE(p.quick);
	perf_add(&p,
		&(struct perf_figure){.name = "a",
			.value = 5,
			.unit = "ns",
			.n = 3,
			.peer = "b",
			.ratio = 0.9,
			.bound = PERF_AT_MOST,
			.target = 1});
	CU_ASSERT_FALSE(p.missed);
	perf_add(&p,
		&(struct perf_figure){.name = "c",
			.value = NAN,
			.unit = "ns",
			.bound = PERF_AT_MOST,
			.target = 1});
	CU_ASSERT_TRUE(p.missed);
	CU_ASSERT_EQUAL(perf_end(&p), 1);

	root = json_load_file("perf_test.json", 0, NULL);
	CU_ASSERT_PTR_NOT_NULL_FATAL(root);
	CU_ASSERT_EQUAL(json_array_size(json_object_get(root, "figures")), 2);
	f = json_array_get(json_object_get(root, "figures"), 0);
	CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(f, "peer")), "b");
	CU_ASSERT_TRUE(json_is_true(json_object_get(f, "pass")));
	f = json_array_get(json_object_get(root, "figures"), 1);
	CU_ASSERT_TRUE(json_is_null(json_object_get(f, "value")));
	CU_ASSERT_TRUE(json_is_false(json_object_get(f, "pass")));
	json_decref(root);
	remove("perf_test.json");
}

static void count(void *n)
{
	++*(unsigned *)n;
}

static void pairs_alternate(void)
{
	unsigned a = 0, b = 0;
	struct perf_pair r;

	perf_pair_run(count, &a, count, &b, 10, &r);
	CU_ASSERT_EQUAL(r.n, 10);
	CU_ASSERT_EQUAL(a, 11);
	CU_ASSERT_EQUAL(b, 11);
}

UNIT_MAIN("perf.perf", UNIT(quantiles), UNIT(figures_and_targets), UNIT(pairs_alternate))
