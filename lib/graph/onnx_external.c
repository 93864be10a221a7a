/*
 * Constants whose bytes lie in files beside the model (ONNX external data): read into the unpacked model, so that
 * nobody after this sees a difference. A location is a path below the model's directory, and the kernel sees to it
 * that it stays there.
 */
#include "graph/onnx_import.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Many constants may lie in one file, but all together are not much more than the files. */
#define SHARE_FACTOR 2

struct external {
	int dir; /* the model's; -1 until it is needed */
	const char *model_path;
	ino_t *seen; /* files that count towards `available` */
	size_t n_seen;
	uint64_t available, used;
	uint8_t *digest;
	struct kerf_err *err;
};

static int fail(const struct external *x, const Onnx__TensorProto *t, const char *what, const char *detail)
{
	return kerf_err_set(x->err, -EINVAL, "constant %.100s: external data %.100s %.100s", t->name ? t->name : "",
		detail ? detail : "", what);
}

static const char *entry(const Onnx__TensorProto *t, const char *key)
{
	for (size_t i = 0; i < t->n_external_data; i++)
		if (t->external_data[i]->key && strcmp(t->external_data[i]->key, key) == 0)
			return t->external_data[i]->value;
	return NULL;
}

static int open_dir(struct external *x)
{
	const char *slash = strrchr(x->model_path, '/');
	char path[PATH_MAX];

	if (x->dir >= 0)
		return 0;
	if (slash && (size_t)(slash - x->model_path) + 2 > sizeof(path))
		return kerf_err_set(x->err, -ENAMETOOLONG, "its path is too long");
	snprintf(path, sizeof(path), "%.*s", slash ? (int)(slash - x->model_path + 1) : 1, slash ? x->model_path : ".");
	x->dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return x->dir < 0 ? kerf_err_set(x->err, -errno, "%.200s: %s", path, strerror(errno)) : 0;
}

/* A file below the model's directory. */
static int open_location(struct external *x, const Onnx__TensorProto *t, const char *location)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	const int fd = (int)syscall(SYS_openat2, x->dir, location, &how, sizeof(how));

	if (fd < 0 && errno == EXDEV)
		return fail(x, t, "is outside the model's directory", location);
	return fd < 0 ? fail(x, t, strerror(errno), location) : fd;
}

static int count_file(struct external *x, const struct stat *st)
{
	for (size_t i = 0; i < x->n_seen; i++)
		if (x->seen[i] == st->st_ino)
			return 0;
	ino_t *grown = realloc(x->seen, (x->n_seen + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	x->seen = grown;
	x->seen[x->n_seen++] = st->st_ino;
	x->available += (uint64_t)st->st_size;
	return 0;
}

/* offset and length as the entries say, or to the end. */
static int find_range(struct external *x, const Onnx__TensorProto *t, const struct stat *st, uint64_t *offset, uint64_t *length)
{
	const char *from = entry(t, "offset"), *count = entry(t, "length"), *location = entry(t, "location");
	const uint64_t size = (uint64_t)st->st_size;

	*offset = 0;
	if ((from && kerf_parse_u64(from, offset) < 0) || *offset > size)
		return fail(x, t, "does not reach that offset", location);
	*length = size - *offset;
	if (count && (kerf_parse_u64(count, length) < 0 || *length > size - *offset))
		return fail(x, t, "is shorter than that", location);
	if (count_file(x, st) < 0)
		return kerf_err_set(x->err, -ENOMEM, "out of memory");
	x->used += *length;
	return x->used > SHARE_FACTOR * x->available ? fail(x, t, "is used over and over", location) : 0;
}

static int read_range(struct external *x, Onnx__TensorProto *t, int fd)
{
	const char *location = entry(t, "location");
	uint64_t offset, length, done = 0;
	uint8_t both[2 * KERF_DIGEST_LEN];
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return fail(x, t, "is not a regular file", location);
	int rc = find_range(x, t, &st, &offset, &length);
	if (rc < 0)
		return rc;
	uint8_t *bytes = malloc(length + 1);
	if (!bytes)
		return fail(x, t, "does not fit into memory", location);
	while (done < length) {
		const ssize_t n = pread(fd, bytes + done, length - done, (off_t)(offset + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(bytes);
			return fail(x, t, "cannot be read", location);
		}
		done += (uint64_t)n;
	}
	/* protobuf-c frees it with the model */
	free(t->raw_data.data);
	t->raw_data.data = bytes;
	t->raw_data.len = length;
	t->has_raw_data = true;
	t->has_data_location = false;
	t->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__DEFAULT;
	memcpy(both, x->digest, KERF_DIGEST_LEN);
	kerf_digest(bytes, length, both + KERF_DIGEST_LEN);
	kerf_digest(both, sizeof(both), x->digest);
	return 0;
}

static int load_tensor(struct external *x, Onnx__TensorProto *t)
{
	const char *location = entry(t, "location");

	if (t->data_location != ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL)
		return 0;
	if (!location || !location[0])
		return fail(x, t, "names no file", NULL);
	int rc = open_dir(x);
	const int fd = rc < 0 ? rc : open_location(x, t, location);
	if (fd < 0)
		return fd;
	rc = read_range(x, t, fd);
	close(fd);
	return rc;
}

int onnx_load_external(Onnx__GraphProto *g, const char *model_path, uint8_t digest[KERF_DIGEST_LEN], size_t *bytes,
	struct kerf_err *err)
{
	struct external x = {.dir = -1, .model_path = model_path, .digest = digest, .err = err};
	int rc = 0;

	for (size_t i = 0; i < g->n_initializer && rc == 0; i++)
		rc = load_tensor(&x, g->initializer[i]);
	for (size_t i = 0; i < g->n_node && rc == 0; i++)
		for (size_t j = 0; j < g->node[i]->n_attribute && rc == 0; j++)
			if (g->node[i]->attribute[j]->t)
				rc = load_tensor(&x, g->node[i]->attribute[j]->t);
	if (x.dir >= 0)
		close(x.dir);
	free(x.seen);
	*bytes = x.used;
	return rc;
}
