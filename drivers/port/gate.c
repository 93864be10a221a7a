/*
 * Keeps EAL's interrupt thread and the pollers out of a PMD at the same time.
 *
 * memif handles its control socket on the interrupt thread. When the peer dies, that thread
 * unmaps the rings and frees what describes them without a lock, whatever a poller is doing in
 * there (memif_disconnect, DPDK 22.11 to 26.07); the link status falls first, but a poller that is
 * past that check, or preempted inside a burst, reads unmapped memory. No callback comes before.
 *
 * So the gate registers an interrupt of its own, and in its handler the interrupt thread spends
 * its life: asleep in poll() on EAL's epoll instance instead of in epoll_wait(), with the gate open
 * for pollers. When any interrupt is pending, the handler shuts the gate, waits until the pollers
 * are out, makes its own interrupt pending and returns. EAL then runs all handlers that have
 * something to do, and this one among them, which opens the gate again. Should it run first, it
 * finds the others still pending and returns at once: whatever the order, the other handlers run
 * only while the gate is shut. Pollers never wait: a burst that finds it shut takes no packets.
 *
 * Shutting it at fixed intervals instead needs nothing of EAL's, but with pollers on every core of
 * a machine it is shut half of the time, since the thread has to wait for a core before it opens.
 */
/* rte_intr_instance_alloc and its kin: experimental in 22.11, unchanged since. */
#define ALLOW_EXPERIMENTAL_API

#include "port/port_internal.h"

#include <assert.h>
#include <dirent.h>
#include <poll.h>
#include <rte_interrupts.h>
#include <rte_pause.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BLIND_REST_MS 10

static struct {
	atomic_uint inside; /* pollers in the PMD */
	atomic_bool shut;   /* other handlers of the interrupt thread may be running */
	atomic_bool ending;
	unsigned users; /* ports; opened and closed by one thread */
	int fd;         /* eventfd behind the handler; readable = handler pending */
	int epoll_fd;   /* EAL's, as last seen */
	struct rte_intr_handle *handle;
} gate = {.fd = -1, .epoll_fd = -1};

bool kerf_gate_enter(void)
{
	/* Sequentially consistent, as is the store of `shut` before the load of `inside` in
	 * let_others_run: one of the two sides sees the other (Dekker). */
	atomic_fetch_add(&gate.inside, 1);
	if (!atomic_load(&gate.shut))
		return true;
	kerf_gate_leave();
	return false;
}

void kerf_gate_enter_wait(void)
{
	while (!kerf_gate_enter())
		sched_yield();
}

void kerf_gate_leave(void)
{
	/* Release: pairs with the load of `inside` in let_others_run. */
	atomic_fetch_sub_explicit(&gate.inside, 1, memory_order_release);
}

/* Whether fd is an epoll instance that watches the gate's eventfd. See proc(5), fdinfo. */
static bool is_eals_epoll(int fd)
{
	char path[64], line[128];
	bool found = false;
	int watched;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	FILE *f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "tfd: %d", &watched) == 1 && watched == gate.fd;
	if (f)
		fclose(f);
	return found;
}

/* EAL makes a new epoll instance whenever a handler comes or goes, and has no call that tells. */
static int find_epoll(void)
{
	if (gate.epoll_fd >= 0 && is_eals_epoll(gate.epoll_fd))
		return gate.epoll_fd;
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	gate.epoll_fd = -1;
	while (dir && gate.epoll_fd < 0 && (entry = readdir(dir))) {
		int fd =
			atoi(entry->d_name); /* 0 for . and .., which is no epoll instance either */
		if (is_eals_epoll(fd))
			gate.epoll_fd = fd;
	}
	if (dir)
		closedir(dir);
	return gate.epoll_fd;
}

static void set_pending(bool pending)
{
	uint64_t count = 1;
	ssize_t n = pending ? write(gate.fd, &count, sizeof(count))
			    : read(gate.fd, &count, sizeof(count));

	assert(n == sizeof(count) || errno == EAGAIN);
}

/* The handler. Only the interrupt thread is ever in here. */
static void let_others_run(void *unused)
{
	/* In this order: kerf_gate_close sets `ending` first and makes it pending then, so that
	 * either `ending` is seen here or poll() returns at once. */
	set_pending(false);
	bool ending = atomic_load(&gate.ending);
	/* /proc may take its time, so look before the gate opens. */
	struct pollfd pending = {.fd = ending ? -1 : find_epoll(), .events = POLLIN};
	atomic_store(&gate.shut, false);
	if (ending)
		return;
	/* Without /proc there is nothing to sleep on (poll skips fd -1), so look at intervals. */
	while (poll(&pending, 1, pending.fd < 0 ? BLIND_REST_MS : -1) < 0 && errno == EINTR)
		;
	atomic_store(&gate.shut, true);
	while (atomic_load(&gate.inside))
		sched_yield(); /* a poller in there may be waiting for this very core */
	set_pending(true);
}

static void release(void)
{
	rte_intr_instance_free(gate.handle);
	gate.handle = NULL;
	close(gate.fd);
	gate.fd = -1;
}

int kerf_gate_open(struct kerf_err *err)
{
	if (gate.users) {
		gate.users++;
		return 0;
	}
	gate.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
	if (gate.fd < 0)
		return kerf_err_set(err, -errno, "memif: eventfd: %s", strerror(errno));
	gate.handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
	if (!gate.handle || rte_intr_fd_set(gate.handle, gate.fd) < 0 ||
		rte_intr_type_set(gate.handle, RTE_INTR_HANDLE_EXT) < 0)
		goto out;
	atomic_store(&gate.ending, false);
	atomic_store(&gate.shut, true); /* until the interrupt thread is in our hands */
	if (rte_intr_callback_register(gate.handle, let_others_run, NULL) < 0)
		goto out;
	gate.users = 1;
	return 0;
out:
	atomic_store(&gate.shut, false);
	release();
	return kerf_err_set(err, -ENOMEM, "memif: EAL takes no interrupt handler");
}

void kerf_gate_close(void)
{
	if (!gate.users || --gate.users)
		return;
	atomic_store(&gate.ending, true);
	set_pending(true);
	/* -EAGAIN while the handler runs; it ends at the latest when it comes the next time. */
	while (rte_intr_callback_unregister(gate.handle, let_others_run, NULL) == -EAGAIN)
		rte_pause();
	atomic_store(&gate.shut, false);
	release();
}
