/*
 * Keeps memif's server alive when a client hangs up before it was greeted.
 *
 * On a new connection the PMD registers a handler for its file descriptor, sends the greeting, and when
 * that fails closes the descriptor without taking the handler back (memif_listener_handler, DPDK
 * 22.11). EAL then ends the process: it cannot watch a descriptor that is closed. Any program that
 * connects to the socket and goes away, a device that was refused or killed, does that.
 *
 * The PMD handles a hang-up well when it learns of it by receiving. So for sockets of memif's kind,
 * a message to a peer that is gone counts as sent; the hang-up is the next thing received.
 * This sendmsg stands before libc's for the whole process, and hands on to it.
 */
#include "port/port_internal.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/socket.h>

typedef ssize_t (*sendmsg_function)(int fd, const struct msghdr *m, int flags);

static bool is_control_socket(int fd)
{
	int domain = 0, type = 0;
	socklen_t len = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
		getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_SEQPACKET;
}

static ssize_t length(const struct msghdr *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->msg_iovlen; i++)
		n += m->msg_iov[i].iov_len;
	return (ssize_t)n;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
	/* Relaxed: every thread that looks it up finds the same. */
	static _Atomic(sendmsg_function) next;
	sendmsg_function send = atomic_load_explicit(&next, memory_order_relaxed);

	if (!send) {
		*(void **)&send = dlsym(RTLD_NEXT, "sendmsg");
		atomic_store_explicit(&next, send, memory_order_relaxed);
	}
	if (!is_control_socket(fd))
		return send(fd, m, flags);
	ssize_t n = send(fd, m, flags | MSG_NOSIGNAL);
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN))
		return length(m);
	return n;
}

/* Called by memif.c, so that the linker takes this file in. */
void kerf_memif_survive_hangups(void)
{
}
