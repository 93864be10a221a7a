/*
 * Shared memory between two processes (PMD net_memif), no root and no huge pages needed. Each
 * packet is copied twice: into a shared buffer by the sender, out of it by the receiver.
 *
 * The client makes the memory and connects; the server listens. The PMD connects when it is
 * started, which fails while nobody listens, and never again; so port.c stops and starts a client
 * whose link is down, and either end may come first, go and come back.
 */
#include "port/port_internal.h"

#include <rte_log.h>
#include <rte_version.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/*
 * Size of a shared buffer: never smaller than the largest frame, because a frame that spans two
 * sets a flag in the ring that releases before 24.11.5 and 25.11.1 never clear.
 */
static unsigned buffer_bytes(const struct kerf_port_options *o)
{
	return RTE_ALIGN_CEIL(o->mtu + KERF_PORT_L2_BYTES, 64);
}

/* 1 a live server, 0 a file that nobody listens on, or -errno. */
static int probe(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	int ret = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 ? 1 : -errno;
	close(fd);
	if (ret == -EAGAIN) /* its backlog is full, so it is alive */
		return 1;
	return ret == -ECONNREFUSED ? 0 : ret;
}

/* A server that was killed leaves its socket file, and bind() fails on it. */
static int clear_stale_socket(const char *path, struct kerf_err *err)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return kerf_err_set(err, -EEXIST,
			"memif: %s exists and is not a socket: choose another path", path);
	int ret = probe(path);
	if (ret == 1)
		return kerf_err_set(err, -EADDRINUSE,
			"memif: another server listens on %s: stop it or choose another path",
			path);
	if (ret < 0 || unlink(path) < 0)
		return kerf_err_set(err, ret < 0 ? ret : -errno,
			"memif: %s is left over from a server that died and cannot be removed: "
			"sudo rm %s",
			path, path);
	return 0;
}

static int check_directory(const char *path, struct kerf_err *err)
{
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)];
	const char *slash = strrchr(path, '/');

	snprintf(dir, sizeof(dir), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	if (access(dir, F_OK) < 0)
		return kerf_err_set(err, -ENOENT,
			"memif: no directory %s for socket %s: mkdir -p %s", dir, path, dir);
	if (access(dir, R_OK | W_OK) < 0) /* the PMD wants both, of a client too */
		return kerf_err_set(err, -EACCES,
			"memif: no permission in %s for socket %s: use sudo or a path such as "
			"/tmp/kerf.sock",
			dir, path);
	return 0;
}

static int check(const struct kerf_port_options *o, struct kerf_err *err)
{
	const char *path = o->socket;
	const size_t limit = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (!path || path[0] != '/')
		return kerf_err_set(err, -EINVAL,
			"memif: socket '%s': expected an absolute path such as /run/kerf.sock",
			path ? path : "");
	if (strlen(path) > limit)
		return kerf_err_set(err, -ENAMETOOLONG,
			"memif: socket path of %zu characters: expected at most %zu", strlen(path),
			limit);
	if (strpbrk(path, ",=[]\"' "))
		return kerf_err_set(err, -EINVAL,
			"memif: socket '%s': none of , = [ ] quotes and blanks may be in it, EAL "
			"would split it there",
			path);
	int ret = check_directory(path, err);
	if (ret == 0 && access(path, F_OK) == 0 && access(path, W_OK) < 0)
		return kerf_err_set(err, -EACCES,
			"memif: no permission for socket %s: run both ends as one user, or use "
			"sudo",
			path);
	return ret == 0 && o->server ? clear_stale_socket(path, err) : ret;
}

/* FNV-1a: tells apart the devices of one process that have different sockets. */
static uint32_t hash(const char *text)
{
	uint32_t h = 2166136261u;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 16777619u;
	return h;
}

static int device(
	const struct kerf_port_options *o, char name[64], char args[192], struct kerf_err *err)
{
	const char *role = o->server ? "server" : "client";
	unsigned log2_ring = (unsigned)__builtin_ctz(KERF_MAX(o->rx_ring, o->tx_ring));
	char mac[24] = "";

	if (!o->socket)
		return check(o, err);
	snprintf(name, 64, "net_memif_%s_%08x", role, hash(o->socket));
	if (o->mac)
		snprintf(mac, sizeof(mac), ",mac=%02x:%02x:%02x:%02x:%02x:%02x", o->mac[0],
			o->mac[1], o->mac[2], o->mac[3], o->mac[4], o->mac[5]);
	/* The socket is abstract by default, which would ignore the path's permissions. */
	int n = snprintf(args, 192, "role=%s,bsize=%u,rsize=%u%s,socket-abstract=no,socket=%s",
		role, buffer_bytes(o), log2_ring, mac, o->socket);
	if (n < 0 || n >= 192)
		return kerf_err_set(
			err, -ENAMETOOLONG, "memif: socket path is too long: %s", o->socket);
	return 0;
}

/*
 * Each attempt of a client to connect while nobody listens is an error in the PMD's log, a
 * hundred a second. Silence it unless somebody chose a level for it.
 */
static void quieten(void)
{
	int type = rte_log_register("pmd.net.memif");

	kerf_memif_survive_hangups();
	if (type >= 0 && rte_log_get_level((uint32_t)type) == RTE_LOG_NOTICE)
		rte_log_set_level((uint32_t)type, RTE_LOG_CRIT);
}

static bool is_client(const struct kerf_port_options *o)
{
	return !o->server;
}

/* 23.03 brought a fast path that mixes up chained and single packets (fixed in 25.11.1). */
static bool multi_segment(void)
{
	return RTE_VERSION < RTE_VERSION_NUM(23, 3, 0, 0) ||
	       RTE_VERSION >= RTE_VERSION_NUM(25, 11, 1, 0);
}

const struct kerf_port_kind kerf_port_memif = {
	.name = "memif",
	.check = check,
	.device = device,
	.room_bytes = buffer_bytes, /* a received buffer fits one mbuf */
	.gated = true,
	.start_connects = is_client,
	.before_start = quieten,
	.multi_segment = multi_segment,
};
