#include <math.h>
#include <string.h>
#include <unistd.h>

#include "node/node.h"
#include "unit.h"

#define WEIGHTS_CONV (8 * 3 * 3 * 3)
#define WEIGHTS_GEMM (10 * 8)

static char path[] = "profile-XXXXXX";

static float *some_values(size_t n)
{
	float *v = malloc(n * sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = (float)(i % 7) * 0.1f - 0.3f;
	return v;
}

/* [1,3,8,8] -> conv 3x3 to [1,8,8,8] -> global average -> flatten -> GEMM to [1,10]. */
static struct kerf_graph *build(void)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = kerf_graph_create("small");
	int x = kerf_graph_add_tensor(g, "x", KERF_F32, 4, (int64_t[]){1, 3, 8, 8});
	int w = kerf_graph_add_constant(
		g, "w", KERF_F32, 4, (int64_t[]){8, 3, 3, 3}, some_values(WEIGHTS_CONV));
	int v = kerf_graph_add_constant(
		g, "v", KERF_F32, 2, (int64_t[]){10, 8}, some_values(WEIGHTS_GEMM));

	g->input = x;
	x = kerf_graph_add_node(g,
		&(struct kerf_node){.name = "conv",
			.op = KERF_OP_CONV,
			.n_inputs = 2,
			.inputs = {x, w},
			.pads = {1, 1, 1, 1}},
		&err);
	x = kerf_graph_add_node(g,
		&(struct kerf_node){
			.name = "pool", .op = KERF_OP_GLOBAL_AVGPOOL, .n_inputs = 1, .inputs = {x}},
		&err);
	x = kerf_graph_add_node(g,
		&(struct kerf_node){.name = "flat",
			.op = KERF_OP_RESHAPE,
			.n_inputs = 1,
			.inputs = {x},
			.output = KERF_NONE},
		&err);
	x = kerf_graph_add_node(g,
		&(struct kerf_node){
			.name = "gemm", .op = KERF_OP_GEMM, .n_inputs = 2, .inputs = {x, v}},
		&err);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	g->output = x;
	memset(g->digest, 0xab, sizeof(g->digest));
	return g;
}

static void test_multiply_adds(void)
{
	struct kerf_graph *g = build();

	/* Every one of 8*8*8 values takes 3*3*3; each of 10 takes 8. */
	CU_ASSERT_EQUAL(kerf_profile_node_macs(g, 0), 512 * 27);
	CU_ASSERT_EQUAL(kerf_profile_node_macs(g, 1), 0);
	CU_ASSERT_EQUAL(kerf_profile_node_macs(g, 2), 0);
	CU_ASSERT_EQUAL(kerf_profile_node_macs(g, 3), 80);
	kerf_graph_free(g);
}

static void test_analytic_is_arithmetic(void)
{
	struct kerf_graph *g = build();
	struct kerf_profile p;
	struct kerf_err err = {0};

	CU_ASSERT_EQUAL(kerf_profile_analytic(&p, g, 1e9, 4e9, &err), 0);
	CU_ASSERT_EQUAL(p.n_nodes, 4);
	CU_ASSERT_DOUBLE_EQUAL(p.node_ns[0], 512 * 27, 1e-6);
	CU_ASSERT_DOUBLE_EQUAL(p.node_ns[1], 512 + 8, 1e-6); /* 4 bytes a value, 4 bytes a ns */
	CU_ASSERT_EQUAL(p.node_ns[2], 0);
	CU_ASSERT_DOUBLE_EQUAL(p.node_ns[3], 80, 1e-6);
	CU_ASSERT_EQUAL(memcmp(p.digest, g->digest, sizeof(p.digest)), 0);
	CU_ASSERT_DOUBLE_EQUAL(kerf_profile_range_ns(&p, 1, 4), 600, 1e-6);
	CU_ASSERT_EQUAL(kerf_profile_range_ns(&p, 2, 2), 0);
	CU_ASSERT_DOUBLE_EQUAL(kerf_profile_range_ns(&p, 0, 4), 512 * 27 + 600, 1e-6);
	kerf_profile_free(&p);
	CU_ASSERT_PTR_NULL(p.node_ns);
	CU_ASSERT_EQUAL(kerf_profile_analytic(&p, g, 0, 4e9, &err), -EINVAL);
	CU_ASSERT_EQUAL(kerf_profile_analytic(&p, g, 1e9, NAN, &err), -EINVAL);
	CU_ASSERT_EQUAL(kerf_profile_analytic(&p, g, INFINITY, 1e9, &err), -EINVAL);
	kerf_graph_free(g);
}

/* 10 ns pass from one reading to the next: what is measured is exact. */
static uint64_t ticking_clock(void)
{
	static uint64_t now;

	return now += 10;
}

static void test_measure_runs_every_node(void)
{
	struct kerf_graph *g = build();
	struct kerf_profile p;
	struct kerf_err err = {0};
	struct kerf_engine *e = kerf_engine_compile(g, &(struct kerf_engine_options){0}, &err);
	struct kerf_context *c = e ? kerf_context_create(e, &err) : NULL;

	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_PTR_NOT_NULL_FATAL(c);
	memset(kerf_context_tensor(c, g->input), 0, 3 * 8 * 8 * sizeof(float));
	CU_ASSERT_EQUAL_FATAL(kerf_profile_measure(&p, g, c, 5, ticking_clock, &err), 0);
	CU_ASSERT_EQUAL(p.n_nodes, 4);
	CU_ASSERT(p.node_ns[0] >= 10 && p.node_ns[1] >= 10 && p.node_ns[3] >= 10);
	CU_ASSERT(kerf_profile_range_ns(&p, 0, 4) <= 10 * 4 * kerf_engine_steps(e));
	CU_ASSERT(strlen(p.machine) > 0);
	CU_ASSERT_EQUAL(memcmp(p.digest, g->digest, sizeof(p.digest)), 0);
	kerf_profile_free(&p);
	kerf_context_free(c);
	kerf_engine_free(e);
	kerf_graph_free(g);
}

/* Times that no short decimal number holds. */
static void fill(struct kerf_profile *p, const struct kerf_graph *g)
{
	struct kerf_err err = {0};

	CU_ASSERT_EQUAL_FATAL(kerf_profile_analytic(p, g, 3e9, 7e9, &err), 0);
	p->node_ns[0] = 1e6 / 3;
	p->node_ns[3] = 0.1 + 0.2;
}

static void test_save_and_load_are_exact(void)
{
	struct kerf_graph *g = build();
	struct kerf_profile p, q;
	struct kerf_err err = {0};

	fill(&p, g);
	CU_ASSERT_EQUAL_FATAL(kerf_profile_save(&p, g, path, &err), 0);
	CU_ASSERT_EQUAL_FATAL(kerf_profile_load(&q, g, path, &err), 0);
	CU_ASSERT_EQUAL(q.n_nodes, p.n_nodes);
	CU_ASSERT_EQUAL(memcmp(q.node_ns, p.node_ns, p.n_nodes * sizeof(double)), 0);
	CU_ASSERT_EQUAL(memcmp(q.digest, p.digest, sizeof(p.digest)), 0);
	CU_ASSERT_STRING_EQUAL(q.machine, p.machine);
	kerf_profile_free(&q);
	kerf_profile_free(&p);
	kerf_graph_free(g);
}

static void test_refuses_other_networks(void)
{
	struct kerf_graph *g = build();
	struct kerf_profile p, q;
	struct kerf_err err = {0};

	fill(&p, g);
	CU_ASSERT_EQUAL_FATAL(kerf_profile_save(&p, g, path, &err), 0);
	g->digest[KERF_DIGEST_LEN - 1] ^= 1;
	CU_ASSERT_EQUAL(kerf_profile_load(&q, g, path, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "another network"));
	CU_ASSERT_EQUAL(kerf_profile_save(&p, g, path, &err), -EINVAL);
	g->digest[KERF_DIGEST_LEN - 1] ^= 1;
	CU_ASSERT_EQUAL(kerf_profile_save(&p, g, "no/such/place.json", &err), -ENOENT);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no/such/place.json"));
	CU_ASSERT(kerf_profile_load(&q, g, "no/such/file.json", &err) < 0);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "no/such/file.json"));
	CU_ASSERT(kerf_profile_load(&q, g, ".", &err) < 0);
	kerf_profile_free(&p);
	kerf_graph_free(g);
}

/* ---- files that somebody edited ---- */

static const char good[] =
	"{\"model\":\"small\",\"digest\":\"DIGEST\",\"machine\":\"m\",\"nodes\":["
	"{\"name\":\"conv\",\"ns\":1000},{\"name\":\"pool\",\"ns\":20.5},"
	"{\"name\":\"flat\",\"ns\":0},{\"name\":\"gemm\",\"ns\":30}],\"cuts\":["
	"{\"cut\":0,\"head_ns\":0,\"tail_ns\":1050.5},"
	"{\"cut\":1,\"head_ns\":1000,\"tail_ns\":50.5},"
	"{\"cut\":2,\"head_ns\":1020.5,\"tail_ns\":30},"
	"{\"cut\":3,\"head_ns\":1020.5,\"tail_ns\":30},"
	"{\"cut\":4,\"head_ns\":1050.5,\"tail_ns\":0}]}";

/* Writes `good` with the digest of g, and with the first `from` replaced by `to`. */
static void write_edited(const struct kerf_graph *g, const char *from, const char *to)
{
	const char *digest = strstr(good, "DIGEST"), *at = strstr(good, from);
	FILE *f = fopen(path, "w");

	CU_ASSERT_PTR_NOT_NULL_FATAL(at);
	for (const char *c = good; *c; c++) {
		if (c == at) {
			fputs(to, f);
			c += strlen(from) - 1;
		} else if (c == digest) {
			for (int i = 0; i < KERF_DIGEST_LEN; i++)
				fprintf(f, "%02x", g->digest[i]);
			c += strlen("DIGEST") - 1;
		} else {
			fputc(*c, f);
		}
	}
	fclose(f);
}

struct edit {
	const char *from, *to, *says;
};

static void test_refuses_damage(void)
{
	static const struct edit edits[] = {
		{"\"model\"", "\"muddle\"", "\"model\" is not there"},
		{"DIGEST", "abab", "another network"},
		{"\"DIGEST\"", "7", "\"digest\" is not there or not a text"},
		{"\"machine\":\"m\"", "\"machine\":null", "\"machine\""},
		{"\"machine\":\"m\"",
			"\"machine\":"
			"\"0123456789012345678901234567890123456789012345678901234567890123\"",
			"64 characters"},
		{"{\"name\":\"conv\",\"ns\":1000},", "", "\"nodes\" has 3 entries, 4 expected"},
		{"\"name\":\"pool\"", "\"name\":\"loop\"", "nodes[1].name is loop"},
		{"\"name\":\"pool\"", "\"name\":1", "nodes[1].name"},
		{"\"ns\":1000", "\"ns\":-1000", "nodes[0].ns is -1000"},
		{"\"ns\":1000", "\"ns\":\"1000\"", "nodes[0].ns is not there or not a number"},
		{"\"ns\":1000", "\"ns\":1e999", ":1:"},
		{"\"ns\":1000", "\"ns\":NaN", ":1:"},
		{"\"ns\":1000", "\"ns\":1001", "cuts[0] takes"},
		{"\"ns\":30", "\"ns\":30,\"ns\":30", ":1:"},
		{"\"cut\":2", "\"cut\":3", "cuts[2].cut is not 2"},
		{"\"head_ns\":1020.5", "\"head_ns\":1019", "cuts[2] takes"},
		{"\"tail_ns\":0}", "\"tail_ns\":1}", "cuts[4] takes"},
		{"\"tail_ns\":0}", "\"tail\":0}", "cuts[4].tail_ns"},
		{"\"cuts\":[", "\"cut\":[", "\"cuts\" is not there"},
		{"\"nodes\":[", "\"nodes\":7,\"more\":[", "\"nodes\" is not there or not a list"},
		{"\"cuts\":[", "\"cuts\":[[],", "\"cuts\" has 6 entries, 5 expected"},
		{"]}", "]", ":1:"},
		{"{\"model\"", "[{\"model\"", ":1:"},
	};
	struct kerf_graph *g = build();

	for (size_t i = 0; i < KERF_ARRAY_LEN(edits); i++) {
		struct kerf_profile p;
		struct kerf_err err = {0};
		int rc;

		write_edited(g, edits[i].from, edits[i].to);
		rc = kerf_profile_load(&p, g, path, &err);
		CU_ASSERT_EQUAL(rc, -EINVAL);
		CU_ASSERT_PTR_NULL(p.node_ns);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, path));
		if (!strstr(err.text, edits[i].says)) {
			printf("edit %zu says: %s\n", i, err.text);
			CU_FAIL("another line expected");
		}
	}
	kerf_graph_free(g);
}

static void test_takes_what_people_write(void)
{
	struct kerf_graph *g = build();
	struct kerf_profile p;
	struct kerf_err err = {0};

	write_edited(g, "\"model\":\"small\"", "\"model\":\"renamed\",\"more\":[1,2]");
	CU_ASSERT_EQUAL(kerf_profile_load(&p, g, path, &err), 0);
	CU_ASSERT_STRING_EQUAL(err.text, "");
	CU_ASSERT_EQUAL(kerf_profile_range_ns(&p, 0, 4), 1050.5);
	CU_ASSERT_STRING_EQUAL(p.machine, "m");
	kerf_profile_free(&p);
	kerf_graph_free(g);
}

static const struct unit_test tests[] = {
	UNIT(test_multiply_adds),
	UNIT(test_analytic_is_arithmetic),
	UNIT(test_measure_runs_every_node),
	UNIT(test_save_and_load_are_exact),
	UNIT(test_refuses_other_networks),
	UNIT(test_refuses_damage),
	UNIT(test_takes_what_people_write),
};

int main(void)
{
	int fd = mkstemp(path), failed;

	if (fd < 0)
		return 1;
	close(fd);
	failed = unit_run("profile", tests, KERF_ARRAY_LEN(tests));
	unlink(path);
	return failed;
}
