#include "files.h"
#include "source/npy.h"

static struct kerf_err err;
static struct kerf_npy npy;

static void test_round_trip(void)
{
	static const struct {
		int64_t dims[4];
		int n_dims;
		size_t elements;
	} shapes[] = {{{0}, 0, 1}, {{5}, 1, 5}, {{2, 3}, 2, 6}, {{1, 3, 2, 4}, 4, 24}};
	float data[24];

	for (unsigned i = 0; i < 24; i++)
		data[i] = (float)i * -1.25f;
	for (size_t i = 0; i < KERF_ARRAY_LEN(shapes); i++) {
		const char *path = files_path("a.npy");
		CU_ASSERT_EQUAL(
			kerf_npy_write(path, shapes[i].dims, shapes[i].n_dims, data, &err), 0);
		CU_ASSERT_EQUAL_FATAL(kerf_npy_read(path, &npy, &err), 0);
		CU_ASSERT_EQUAL(npy.n_dims, shapes[i].n_dims);
		CU_ASSERT_EQUAL(npy.elements, shapes[i].elements);
		for (int d = 0; d < npy.n_dims; d++)
			CU_ASSERT_EQUAL(npy.dims[d], shapes[i].dims[d]);
		CU_ASSERT_EQUAL(memcmp(npy.data, data, npy.elements * sizeof(float)), 0);
		free(npy.data);
	}
}

/* The format's own words (numpy/lib/format.py, version 1.0), byte for byte. */
static void test_written_bytes(void)
{
	static const char expected[] = "\x93NUMPY\x01\x00\x76\x00"
				       "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
	const float data[2] = {1, 2};
	const int64_t dims[1] = {2};
	size_t len = 0;

	CU_ASSERT_EQUAL(kerf_npy_write(files_path("b.npy"), dims, 1, data, &err), 0);
	uint8_t *bytes = files_read(files_path("b.npy"), &len);
	CU_ASSERT_EQUAL_FATAL(len, 128 + 8);
	CU_ASSERT_EQUAL(memcmp(bytes, expected, sizeof(expected) - 1), 0);
	for (size_t i = sizeof(expected) - 1; i < 127; i++)
		CU_ASSERT_EQUAL(bytes[i], ' ');
	CU_ASSERT_EQUAL(bytes[127], '\n');
	CU_ASSERT_EQUAL(memcmp(bytes + 128, data, 8), 0);
	free(bytes);
}

/* A file with this header and n_values zeros. */
static int read_header(const char *header, size_t n_values)
{
	static uint8_t file[4096];
	size_t len = strlen(header);

	memset(file, 0, sizeof(file));
	memcpy(file, "\x93NUMPY\x01\x00", 8);
	file[8] = (uint8_t)len;
	file[9] = (uint8_t)(len >> 8);
	memcpy(file + 10, header, len);
	const char *path = files_write("h.npy", file, 10 + len + 4 * n_values);
	err.text[0] = '\0';
	int rc = kerf_npy_read(path, &npy, &err);
	free(npy.data);
	/* Every refusal names the file. */
	CU_ASSERT(rc == 0 || !strncmp(err.text, path, strlen(path)));
	return rc;
}

static void test_other_writers(void)
{
	/* Any order of keys, quotes, blanks; the last comma may be missing. */
	CU_ASSERT_EQUAL(
		read_header("{\"shape\":(2,3),'descr' : '<f4','fortran_order':False}\n", 6), 0);
	CU_ASSERT_EQUAL(npy.elements, 6);
	CU_ASSERT_EQUAL(
		read_header("{'descr': '<f4', 'fortran_order': False, 'shape': (), }", 1), 0);
	CU_ASSERT_EQUAL(npy.n_dims, 0);
}

#define HEAD "{'descr': '<f4', 'fortran_order': False, 'shape': "

static void test_refused_headers(void)
{
	static const struct {
		const char *header, *says;
	} cases[] = {
		{"{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", "data type '<f8'"},
		{"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", "data type '>f4'"},
		{"{'descr': [('a','<f4')], 'fortran_order': False, 'shape': (1,), }", "structured"},
		{"{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }", "Fortran order"},
		{"{'descr': '<f4', 'shape': (1,), }", "lacks"},
		{"{}", "lacks"},
		{"", "no dictionary"},
		{"{'descr': '<f4'", "no dictionary"},
		{"{'descr", "no dictionary"},
		{"{'x': 1}", "unknown header key 'x'"},
		{HEAD "(1,), } more", "more behind"},
		{HEAD "(1), }", "bad shape"},
		{HEAD "(-1,), }", "bad shape"},
		{HEAD "(0,), }", "bad shape"},
		{HEAD "(1,,), }", "bad shape"},
		{HEAD "(1 1), }", "bad shape"},
		{HEAD "(1,1,1,1,1,1,1,1,1), }", "bad shape"},
		{HEAD "(99999999999999999999,), }", "bad shape"},
		{HEAD "(4294967296, 4294967296), }", "too large"},
		{HEAD "(4611686018427387904,), }", "too large"},
		{HEAD "(2,), }", "4 bytes of data, expected 8"},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		CU_ASSERT_EQUAL(read_header(cases[i].header, 1), -EINVAL);
		CU_ASSERT_PTR_NOT_NULL(strstr(err.text, cases[i].says));
		if (!strstr(err.text, cases[i].says))
			printf("\n  %s\n  gives %s\n", cases[i].header, err.text);
	}
}

/* Cut short anywhere, a good file is refused. */
static void test_truncation(void)
{
	const int64_t dims[2] = {2, 2};
	const float data[4] = {1, 2, 3, 4};
	size_t len = 0;

	CU_ASSERT_EQUAL(kerf_npy_write(files_path("c.npy"), dims, 2, data, &err), 0);
	uint8_t *bytes = files_read(files_path("c.npy"), &len);
	for (size_t n = 0; n < len; n++) {
		const char *path = files_write("cut.npy", bytes, n);
		CU_ASSERT_EQUAL(kerf_npy_read(path, &npy, &err), -EINVAL);
	}
	bytes[6] = 2; /* format version 2.0 */
	CU_ASSERT_EQUAL(kerf_npy_read(files_write("cut.npy", bytes, len), &npy, &err), -EINVAL);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "version 2.0"));
	free(bytes);
}

static void test_no_file(void)
{
	const int64_t dims[1] = {1};
	const float one = 1;

	CU_ASSERT_EQUAL(kerf_npy_read("/nonexistent/x.npy", &npy, &err), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err.text, "/nonexistent/x.npy: No such file or directory");
	CU_ASSERT_EQUAL(kerf_npy_write("/nonexistent/x.npy", dims, 1, &one, &err), -ENOENT);
	CU_ASSERT_EQUAL(kerf_npy_write("/dev/full", dims, 1, &one, &err), -ENOSPC);
	CU_ASSERT_STRING_EQUAL(err.text, "/dev/full: No space left on device");
}

UNIT_MAIN("source.npy", UNIT(test_round_trip), UNIT(test_written_bytes), UNIT(test_other_writers),
	UNIT(test_refused_headers), UNIT(test_truncation), UNIT(test_no_file))
