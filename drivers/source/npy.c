#include "source/npy.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "'<f4' is read and written as it lies");

/* "\x93NUMPY", version 1.0, then the header's length as u16: 10 bytes before the header. */
#define PREAMBLE_BYTES 10
#define ALIGN_BYTES 64
#define HEADER_MAX_BYTES 65535

static const char magic[8] = "\x93NUMPY\x01\x00";

/* ---- the header: a Python dictionary of three known keys ---- */

static void skip_blanks(const char **p)
{
	while (**p == ' ' || **p == '\n' || **p == '\t')
		(*p)++;
}

/* Moves behind the token if it comes next. */
static bool take(const char **p, const char *token)
{
	skip_blanks(p);
	size_t len = strlen(token);
	if (strncmp(*p, token, len))
		return false;
	*p += len;
	return true;
}

/* 'text' or "text" into buf. */
static bool take_string(const char **p, char *buf, size_t size)
{
	skip_blanks(p);
	char quote = **p;
	const char *end = quote == '\'' || quote == '"' ? strchr(*p + 1, quote) : NULL;
	if (!end || (size_t)(end - *p - 1) >= size)
		return false;
	snprintf(buf, size, "%.*s", (int)(end - *p - 1), *p + 1);
	*p = end + 1;
	return true;
}

/* A positive number; 0 would be an empty array, which is no tensor. */
static bool take_dim(const char **p, int64_t *dim)
{
	int64_t value = 0;

	skip_blanks(p);
	if (**p < '1' || **p > '9')
		return false;
	for (; **p >= '0' && **p <= '9'; (*p)++)
		if (__builtin_mul_overflow(value, 10, &value) ||
			__builtin_add_overflow(value, **p - '0', &value))
			return false;
	*dim = value;
	return true;
}

/* "()", "(3,)", "(1, 3)" */
static bool take_shape(const char **p, struct kerf_npy *npy)
{
	npy->n_dims = 0;
	if (!take(p, "("))
		return false;
	while (!take(p, ")")) {
		if (npy->n_dims == KERF_NPY_MAX_DIMS || !take_dim(p, &npy->dims[npy->n_dims]))
			return false;
		npy->n_dims++;
		bool comma = take(p, ",");
		skip_blanks(p);
		if (!comma && (**p != ')' || npy->n_dims == 1))
			return false;
	}
	return true;
}

static int parse_entry(const char **p, struct kerf_npy *npy, unsigned *seen, struct kerf_err *err)
{
	char key[16], descr[16];

	if (!take_string(p, key, sizeof(key)) || !take(p, ":"))
		return kerf_err_set(err, -EINVAL, "header is no dictionary");
	if (!strcmp(key, "descr")) {
		*seen |= 1;
		if (!take_string(p, descr, sizeof(descr)))
			return kerf_err_set(err, -EINVAL, "structured data, expected '<f4'");
		if (strcmp(descr, "<f4"))
			return kerf_err_set(err, -EINVAL,
				"data type '%s', expected '<f4' (little-endian float32)", descr);
	} else if (!strcmp(key, "fortran_order")) {
		*seen |= 2;
		if (!take(p, "False"))
			return kerf_err_set(err, -EINVAL,
				"Fortran order, expected C order (numpy.ascontiguousarray)");
	} else if (!strcmp(key, "shape")) {
		*seen |= 4;
		if (!take_shape(p, npy))
			return kerf_err_set(err, -EINVAL,
				"bad shape, expected up to %d positive numbers", KERF_NPY_MAX_DIMS);
	} else {
		return kerf_err_set(err, -EINVAL, "unknown header key '%s'", key);
	}
	return 0;
}

static int parse_header(const char *text, struct kerf_npy *npy, struct kerf_err *err)
{
	unsigned seen = 0;
	int rc;

	if (!take(&text, "{"))
		return kerf_err_set(err, -EINVAL, "header is no dictionary");
	while (!take(&text, "}")) {
		rc = parse_entry(&text, npy, &seen, err);
		if (rc < 0)
			return rc;
		bool comma = take(&text, ",");
		skip_blanks(&text);
		if (!comma && *text != '}')
			return kerf_err_set(err, -EINVAL, "header is no dictionary");
	}
	skip_blanks(&text);
	if (*text || seen != 7)
		return kerf_err_set(err, -EINVAL,
			"header lacks descr, fortran_order or shape, or has more behind it");
	return 0;
}

/* ---- reading ---- */

static int read_header(FILE *f, struct kerf_npy *npy, long *data_at, struct kerf_err *err)
{
	unsigned char preamble[PREAMBLE_BYTES];
	static const size_t version_at = 6;

	if (fread(preamble, 1, sizeof(preamble), f) != sizeof(preamble) ||
		memcmp(preamble, magic, version_at))
		return kerf_err_set(err, -EINVAL, "no NumPy file");
	if (memcmp(preamble + version_at, magic + version_at, 2))
		return kerf_err_set(err, -EINVAL, "format version %u.%u, expected 1.0",
			preamble[version_at], preamble[version_at + 1]);
	size_t len = preamble[8] | (size_t)preamble[9] << 8;
	char *header = calloc(1, len + 1);
	if (!header)
		return kerf_err_set(err, -ENOMEM, "out of memory");
	int rc = -EINVAL;
	if (fread(header, 1, len, f) != len)
		kerf_err_set(err, rc, "truncated header");
	else if (strlen(header) != len)
		kerf_err_set(err, rc, "binary data in the header");
	else
		rc = parse_header(header, npy, err);
	free(header);
	*data_at = (long)(PREAMBLE_BYTES + len);
	return rc;
}

/* The number of elements, held against what the file has. */
static int check_size(FILE *f, struct kerf_npy *npy, long data_at, struct kerf_err *err)
{
	struct stat st;
	int64_t elements = 1, bytes;

	if (fstat(fileno(f), &st) < 0)
		return kerf_err_set(err, -errno, "%s", strerror(errno));
	for (int i = 0; i < npy->n_dims; i++)
		if (__builtin_mul_overflow(elements, npy->dims[i], &elements))
			return kerf_err_set(err, -EINVAL, "shape is too large");
	if (__builtin_mul_overflow(elements, (int64_t)sizeof(float), &bytes))
		return kerf_err_set(err, -EINVAL, "shape is too large");
	if (st.st_size - data_at != bytes)
		return kerf_err_set(err, -EINVAL,
			"%lld bytes of data, expected %lld for its shape",
			(long long)(st.st_size - data_at), (long long)bytes);
	npy->elements = (size_t)elements;
	return 0;
}

static int read_file(FILE *f, struct kerf_npy *npy, struct kerf_err *err)
{
	long data_at = 0;
	int rc = read_header(f, npy, &data_at, err);

	if (rc == 0)
		rc = check_size(f, npy, data_at, err);
	if (rc < 0)
		return rc;
	npy->data = malloc(npy->elements * sizeof(float));
	if (!npy->data)
		return kerf_err_set(err, -ENOMEM, "out of memory for %zu values", npy->elements);
	if (fread(npy->data, sizeof(float), npy->elements, f) == npy->elements)
		return 0;
	free(npy->data);
	npy->data = NULL;
	return kerf_err_set(err, -EIO, "cannot be read to its end");
}

int kerf_npy_read(const char *path, struct kerf_npy *npy, struct kerf_err *err)
{
	*npy = (struct kerf_npy){0};
	FILE *f = fopen(path, "rb");
	if (!f)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	int rc = read_file(f, npy, err);
	fclose(f);
	if (rc < 0)
		kerf_err_prefix(err, "%s", path);
	return rc;
}

/* ---- writing ---- */

/* Preamble and header, padded with blanks so that the data starts at a multiple of 64. */
static size_t build_header(char *buf, size_t size, const int64_t *dims, int n_dims)
{
	size_t used = PREAMBLE_BYTES;

	memcpy(buf, magic, sizeof(magic));
	used += (size_t)snprintf(buf + used, size - used,
		"{'descr': '<f4', 'fortran_order': False, 'shape': (");
	for (int i = 0; i < n_dims; i++)
		used += (size_t)snprintf(buf + used, size - used, i + 1 < n_dims ? "%lld, " :
			n_dims == 1 ? "%lld," : "%lld", (long long)dims[i]);
	used += (size_t)snprintf(buf + used, size - used, "), }");
	while ((used + 1) % ALIGN_BYTES)
		buf[used++] = ' ';
	buf[used++] = '\n';
	assert(used <= size && used - PREAMBLE_BYTES <= HEADER_MAX_BYTES);
	buf[8] = (char)((used - PREAMBLE_BYTES) & 0xff);
	buf[9] = (char)((used - PREAMBLE_BYTES) >> 8);
	return used;
}

int kerf_npy_write(const char *path, const int64_t *dims, int n_dims, const float *data,
	struct kerf_err *err)
{
	char header[512];
	size_t elements = 1;

	assert(n_dims >= 0 && n_dims <= KERF_NPY_MAX_DIMS);
	for (int i = 0; i < n_dims; i++) {
		assert(dims[i] > 0);
		if (__builtin_mul_overflow(elements, (size_t)dims[i], &elements))
			return kerf_err_set(err, -EINVAL, "%s: shape is too large", path);
	}
	size_t len = build_header(header, sizeof(header), dims, n_dims);
	FILE *f = fopen(path, "wb");
	if (!f)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	bool written = fwrite(header, 1, len, f) == len &&
		fwrite(data, sizeof(float), elements, f) == elements;
	int cause = written ? 0 : errno;
	if (fclose(f) != 0 && !cause)
		cause = errno;
	if (!cause)
		return 0;
	return kerf_err_set(err, -cause, "%s: %s", path, strerror(cause));
}
