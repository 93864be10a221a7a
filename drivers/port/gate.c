/*
 * Keeps EAL's interrupt thread and the pollers out of a PMD at the same time.
 *
 * memif handles its control socket on the interrupt thread. When the peer dies, that thread unmaps
 * the rings and frees what describes them without a lock, whatever a poller is doing in there (DPDK
 * 22.11 to 26.07, memif_disconnect); the link status falls first, but a poller that is past that check, or
 * preempted inside a burst, reads unmapped memory. No callback comes before the unmapping.
 *
 * So the gate registers an interrupt of its own that is always ready. Its handler is where the interrupt
 * thread spends its life: asleep, with the gate open for pollers. Once per REST_NS it shuts the gate,
 * waits until the pollers are out and returns, which lets the thread run every other handler that has
 * something to do; then epoll reports the gate's interrupt again and the handler opens it. Pollers never
 * wait: a burst that finds the gate shut takes no packets. All other interrupts and EAL alarms of the process
 * come up to REST_NS later.
 */
/* rte_intr_instance_alloc and its kin: experimental in 22.11, unchanged since. */
#define ALLOW_EXPERIMENTAL_API

#include "port/port_internal.h"

#include <rte_interrupts.h>
#include <rte_pause.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define REST_NS 1000000L

static struct {
	atomic_uint inside; /* pollers in the PMD */
	atomic_bool shut;   /* other handlers of the interrupt thread may be running */
	atomic_bool ending;
	unsigned users;     /* ports; opened and closed by one thread */
	int fd;
	struct rte_intr_handle *handle;
} gate = {.fd = -1};

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

static void let_others_run(void *unused)
{
	const struct timespec rest = {.tv_nsec = REST_NS};

	atomic_store(&gate.shut, false);
	if (atomic_load(&gate.ending))
		return;
	nanosleep(&rest, NULL);
	atomic_store(&gate.shut, true);
	while (atomic_load(&gate.inside))
		sched_yield(); /* a poller in there may be waiting for this very core */
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
	gate.fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* never read: always ready */
	if (gate.fd < 0)
		return kerf_err_set(err, -errno, "memif: eventfd: %s", strerror(errno));
	gate.handle = rte_intr_instance_alloc(RTE_INTR_INSTANCE_F_PRIVATE);
	if (!gate.handle || rte_intr_fd_set(gate.handle, gate.fd) < 0 ||
		rte_intr_type_set(gate.handle, RTE_INTR_HANDLE_EXT) < 0)
		goto out;
	atomic_store(&gate.ending, false);
	if (rte_intr_callback_register(gate.handle, let_others_run, NULL) < 0)
		goto out;
	gate.users = 1;
	return 0;
out:
	release();
	return kerf_err_set(err, -ENOMEM, "memif: EAL takes no interrupt handler");
}

void kerf_gate_close(void)
{
	if (!gate.users || --gate.users)
		return;
	atomic_store(&gate.ending, true);
	/* -EAGAIN while the handler runs, which with `ending` set is never for long. */
	while (rte_intr_callback_unregister(gate.handle, let_others_run, NULL) == -EAGAIN)
		rte_pause();
	atomic_store(&gate.shut, false);
	release();
}
