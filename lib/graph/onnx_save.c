/* kerf_graph_save: packed as ONNX, written beside the target, renamed over it. */
#include "graph/onnx_import.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, bytes + done, len - done);
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			done += (size_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/* A new file beside the target, so that the rename stays within one file system. */
static int open_beside(const char *path, char **name)
{
	for (int try = 0; try < 100; try++) {
		if (asprintf(name, "%s.%d.%d.tmp", path, (int)getpid(), try) < 0)
			return -ENOMEM;
		int fd = open(*name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (fd >= 0)
			return fd;
		int rc = -errno;
		free(*name);
		if (rc != -EEXIST)
			return rc;
	}
	return -EEXIST;
}

/* A reader sees the old file or the whole new one, whenever this stops. */
static int replace_file(const char *path, const uint8_t *bytes, size_t len, struct kerf_err *err)
{
	char *name;
	int fd = open_beside(path, &name), rc;

	if (fd < 0)
		return kerf_err_set(err, fd, "cannot create it: %s", strerror(-fd));
	rc = write_all(fd, bytes, len);
	if (close(fd) < 0 && rc == 0)
		rc = -errno;
	if (rc == 0 && rename(name, path) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(name);
		kerf_err_set(err, rc, "cannot write it: %s", strerror(-rc));
	}
	free(name);
	return rc;
}

int kerf_graph_save(const struct kerf_graph *g, const char *path, struct kerf_err *err)
{
	uint8_t *bytes = NULL;
	size_t len = 0;
	int rc = 0;

	if (g->input == KERF_NONE || g->output == KERF_NONE || g->n_nodes == 0)
		rc = kerf_err_set(err, -EINVAL, "the graph has no input, no output or no nodes");
	if (rc == 0)
		rc = onnx_pack_graph(g, &bytes, &len, err);
	if (rc == 0)
		rc = replace_file(path, bytes, len, err);
	if (rc < 0)
		kerf_err_prefix(err, "%s", path);
	free(bytes);
	return rc;
}
