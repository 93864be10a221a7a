/* kerf_graph_load: the bytes of an ONNX file -> checked -> unpacked -> imported. */
#include "graph/onnx_import.h"

#include <fcntl.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MIN_OPSET 1
#define MAX_OPSET 22
#define MIN_IR 3
/* Constants made out of others (transposed, reshaped, tables of indices): bytes per byte of the file, and for any file. */
#define BUDGET_FACTOR 16
#define BUDGET_FLOOR (16 << 20)

/* ---- the file ---- */

/* protobuf lengths are 31 bits; a larger file cannot be one message. */
static int check_file(int fd, size_t *len, struct kerf_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return kerf_err_set(err, -errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return kerf_err_set(err, -EINVAL, "not a regular file");
	if (st.st_size == 0 || st.st_size > INT32_MAX)
		return kerf_err_set(err, -EINVAL, "%lld bytes, expected 1 to 2147483647",
			(long long)st.st_size);
	*len = (size_t)st.st_size;
	return 0;
}

#define HUGE_PAGE ((size_t)2 << 20)

/* Large ones in huge pages, all at once, which spares a fault for every 4 KB. */
static void *file_memory(size_t len)
{
	if (len < 2 * HUGE_PAGE)
		return malloc(len);
	void *memory = aligned_alloc(HUGE_PAGE, (len + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE);
	if (memory) {
		madvise(memory, len, MADV_HUGEPAGE); /* advice: small pages work as well */
		madvise(memory, len, MADV_POPULATE_WRITE);
	}
	return memory;
}

/* Digested a part at a time, while it is in the second cache. */
#define PART_BYTES ((size_t)256 << 10)

/* Read, not mapped: a file that somebody truncates meanwhile must not kill the process. */
static int read_file(
	const char *path, uint8_t **bytes, size_t *len, uint8_t digest[KERF_DIGEST_LEN], struct kerf_err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct kerf_digest_state state;
	uint8_t *buf = NULL;
	size_t done = 0;

	if (fd < 0)
		return kerf_err_set(err, -errno, "%s", strerror(errno));
	kerf_digest_begin(&state);
	int rc = check_file(fd, len, err);
	if (rc < 0)
		goto out;
	buf = file_memory(*len);
	if (!buf) {
		rc = kerf_err_set(err, -ENOMEM, "no memory for %zu bytes", *len);
		goto out;
	}
	while (done < *len) {
		ssize_t n = read(fd, buf + done, KERF_MIN(*len - done, PART_BYTES));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			rc = kerf_err_set(err, -EIO, "read %zu of %zu bytes: %s", done, *len,
				n < 0 ? strerror(errno) : "the file became shorter");
			goto out;
		}
		kerf_digest_add(&state, buf + done, (size_t)n);
		done += (size_t)n;
	}
	*bytes = buf;
	buf = NULL;
out:
	kerf_digest_end(&state, digest);
	free(buf);
	close(fd);
	return rc;
}

/* ---- the model ---- */

static int check_model(struct onnx_import *imp, const Onnx__ModelProto *m)
{
	if (m->ir_version < MIN_IR)
		return kerf_err_set(imp->err, -EINVAL,
			"ONNX IR version %" PRId64 ", expected at least %d", m->ir_version, MIN_IR);
	for (size_t i = 0; i < m->n_opset_import; i++) {
		const char *domain = m->opset_import[i]->domain;
		if (!domain || !domain[0] || strcmp(domain, "ai.onnx") == 0)
			imp->opset = m->opset_import[i]->version;
	}
	if (imp->opset < MIN_OPSET || imp->opset > MAX_OPSET)
		return kerf_err_set(imp->err, -EINVAL, "ONNX opset %" PRId64 ", expected %d to %d",
			imp->opset, MIN_OPSET, MAX_OPSET);
	if (!m->graph || m->graph->n_node == 0)
		return kerf_err_set(imp->err, -EINVAL, "the model has no nodes");
	if (m->graph->n_sparse_initializer)
		return kerf_err_set(imp->err, -EINVAL,
			"sparse constants (sparse_initializer) are not supported");
	imp->proto = m->graph;
	return 0;
}

/* The first operator that kerf does not have, and the types of all others. */
static int check_operators(const struct onnx_import *imp)
{
	const Onnx__NodeProto *first = NULL;
	const char *others[16];
	unsigned n_others = 0;
	char text[256] = "";
	size_t used = 0;

	for (size_t i = 0; i < imp->proto->n_node && n_others < KERF_ARRAY_LEN(others); i++) {
		const Onnx__NodeProto *n = imp->proto->node[i];
		const char *type = n->op_type ? n->op_type : "";
		bool known = onnx_find_operator(n) || (first && strcmp(type, first->op_type) == 0);
		for (unsigned j = 0; j < n_others; j++)
			known |= strcmp(type, others[j]) == 0;
		if (known)
			continue;
		if (!first && n->op_type)
			first = n;
		else if (!first)
			return onnx_fail(imp, n, "it names no operator");
		else
			others[n_others++] = type;
	}
	if (!first)
		return 0;
	for (unsigned j = 0; j < n_others && used < sizeof(text); j++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.40s",
			j ? ", " : "; also: ", others[j]);
	return kerf_err_set(imp->err, -EINVAL, "node %.100s: operator %s%s%.40s is not supported%s",
		onnx_node_name(first), first->domain ? first->domain : "",
		first->domain && first->domain[0] ? "." : "", first->op_type, text);
}

/* "1,3,224,224" */
static int parse_shape(struct onnx_import *imp, const char *text)
{
	char copy[128], *save = NULL;

	if (!text)
		return 0;
	snprintf(copy, sizeof(copy), "%s", text);
	for (char *t = strtok_r(copy, ",", &save); t; t = strtok_r(NULL, ",", &save)) {
		uint64_t size;

		if (imp->n_input_dims == KERF_MAX_DIMS || kerf_parse_u64(t, &size) < 0 || size < 1 || size > INT32_MAX)
			return kerf_err_set(imp->err, -EINVAL, "input shape %.100s: expected 1 to %d sizes, as 1,3,224,224", text,
				KERF_MAX_DIMS);
		imp->input_dims[imp->n_input_dims++] = (int64_t)size;
	}
	if (strlen(text) >= sizeof(copy) || imp->n_input_dims == 0)
		return kerf_err_set(imp->err, -EINVAL, "input shape %.100s: expected sizes, as 1,3,224,224", text);
	return 0;
}

/* Both ends have to agree on the shape as well as on the file. */
static void digest_shape(const struct onnx_import *imp, uint8_t digest[KERF_DIGEST_LEN])
{
	uint8_t both[KERF_DIGEST_LEN + sizeof(imp->input_dims)];

	if (imp->n_input_dims == 0)
		return;
	memcpy(both, digest, KERF_DIGEST_LEN);
	memcpy(both + KERF_DIGEST_LEN, imp->input_dims, sizeof(imp->input_dims));
	kerf_digest(both, sizeof(both), digest);
}

static int import_model(const Onnx__ModelProto *model, size_t file_bytes, const char *input_shape, struct kerf_graph *g,
	struct kerf_err *err)
{
	struct onnx_import imp = {
		.g = g, .err = err, .budget = (int64_t)file_bytes * BUDGET_FACTOR + BUDGET_FLOOR};
	int rc = check_model(&imp, model);

	if (rc == 0)
		rc = parse_shape(&imp, input_shape);
	digest_shape(&imp, g->digest);
	if (rc == 0)
		rc = check_operators(&imp);
	if (rc == 0)
		rc = onnx_import_graph(&imp);
	tdestroy(imp.node_names, free);
	free(imp.order);
	free(imp.values);
	return rc;
}

static void *unpack_alloc(void *failed, size_t len)
{
	void *memory = malloc(len);

	if (!memory)
		*(bool *)failed = true;
	return memory;
}

static void unpack_free(void *failed, void *memory)
{
	(void)failed;
	free(memory);
}

static int unpack(const uint8_t *bytes, size_t len, Onnx__ModelProto **model, struct kerf_err *err)
{
	bool failed = false;
	/* What it gives free() takes, so that constants can be kept and the rest freed without it. */
	ProtobufCAllocator allocator = {.alloc = unpack_alloc, .free = unpack_free, .allocator_data = &failed};

	*model = onnx__model_proto__unpack(&allocator, len, bytes);
	if (*model)
		return 0;
	return failed ? kerf_err_set(err, -ENOMEM, "no memory to unpack %zu bytes", len)
		      : kerf_err_set(err, -EINVAL, "not a valid ONNX file (protobuf)");
}

static int load(const char *path, const char *input_shape, struct kerf_graph *g, struct kerf_err *err)
{
	uint8_t *bytes = NULL;
	size_t len = 0, external = 0;
	int rc = read_file(path, &bytes, &len, g->digest, err);

	if (rc < 0)
		return rc;
	Onnx__ModelProto *model = NULL;
	rc = onnx_guard(bytes, len, err);
	if (rc == 0)
		rc = unpack(bytes, len, &model, err);
	free(bytes);
	if (rc == 0 && model->graph)
		rc = onnx_load_external(model->graph, path, g->digest, &external, err);
	if (rc == 0)
		rc = import_model(model, len + external, input_shape, g, err);
	if (model)
		onnx__model_proto__free_unpacked(model, NULL);
	return rc;
}

struct kerf_graph *kerf_graph_load(const char *path, const char *input_shape, struct kerf_err *err)
{
	const char *slash = strrchr(path, '/');
	struct kerf_graph *g = kerf_graph_create(slash ? slash + 1 : path);

	if (!g) {
		kerf_err_set(err, -ENOMEM, "%s: out of memory", path);
		return NULL;
	}
	if (load(path, input_shape, g, err) == 0)
		return g;
	kerf_err_prefix(err, "%s", path);
	kerf_graph_free(g);
	return NULL;
}
