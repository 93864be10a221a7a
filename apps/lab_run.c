#include <stdatomic.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>

#include "lab.h"

/* An event that does not let time pass may lead to others; so many in a row are a fault of ours. */
#define MAX_EVENTS_AT_ONCE 1000000

unsigned lab_phase(const struct lab *lab, uint64_t now_ns)
{
	return app_step_at(&lab->up_rate, now_ns - lab->epoch_ns);
}

/* ---- virtual time ---- */

static bool deliver(struct lab *lab, uint64_t now)
{
	struct rte_mbuf *pkts[APP_BURST];
	unsigned up = kerf_linkem_pull(lab->up, now * KERF_PS_PER_NS, pkts, APP_BURST), down;

	if (up)
		kerf_server_receive(lab->server, pkts, up, now);
	down = kerf_linkem_pull(lab->down, now * KERF_PS_PER_NS, pkts, APP_BURST);
	if (down)
		kerf_device_receive(lab->device, pkts, down, now);
	return up || down;
}

static bool work(struct lab *lab, uint64_t now)
{
	struct rte_mbuf *pkts[APP_BURST];
	unsigned up = kerf_device_poll(lab->device, now, pkts, APP_BURST), down;

	if (up)
		kerf_linkem_push(lab->up, now * KERF_PS_PER_NS, pkts, up);
	down = kerf_server_poll(lab->server, now, pkts, APP_BURST);
	if (down)
		kerf_linkem_push(lab->down, now * KERF_PS_PER_NS, pkts, down);
	return up || down;
}

static uint64_t next_delivery(const struct kerf_linkem *e)
{
	const uint64_t ps = kerf_linkem_next(e);

	return ps == UINT64_MAX ? UINT64_MAX : (ps + KERF_PS_PER_NS - 1) / KERF_PS_PER_NS;
}

static uint64_t next_event(const struct lab *lab)
{
	const uint64_t nodes =
		KERF_MIN(kerf_device_next(lab->device), kerf_server_next(lab->server));
	const uint64_t links = KERF_MIN(next_delivery(lab->up), next_delivery(lab->down));

	return KERF_MIN(nodes, links);
}

int lab_run_virtual(struct lab *lab, struct kerf_err *err)
{
	/* 0 stands for "never" in the nodes, so the run begins a moment after the links do. */
	const uint64_t begin_ns = app_clock_ns();
	uint64_t now = 1;
	unsigned events = 0;

	while (!kerf_device_finished(lab->device)) {
		lab->virtual_ns = now;
		const bool moved = deliver(lab, now) | work(lab, now);
		const uint64_t next = next_event(lab);

		if (app_stop)
			kerf_device_drain(lab->device);
		if (moved || next <= now) {
			if (++events > MAX_EVENTS_AT_ONCE)
				return kerf_err_set(err, -EDEADLK,
					"virtual time stands still at %lu ns", now);
			continue;
		}
		if (next == UINT64_MAX && !kerf_device_finished(lab->device))
			return kerf_err_set(err, -EDEADLK, "nothing is left to happen at %lu ns",
				now);
		events = 0;
		now = next;
	}
	lab->took_ns = app_clock_ns() - begin_ns;
	return 0;
}

/* ---- real time ---- */

static int serve(void *arg)
{
	struct lab *lab = arg;
	struct app_unsent out = {0};

	/* Relaxed: a flag that nothing else depends on; the launch and the join order all memory.
	 * */
	while (!__atomic_load_n(&lab->server_stop, __ATOMIC_RELAXED)) {
		struct rte_mbuf *pkts[APP_BURST];
		unsigned n = kerf_port_rx(&lab->server_port, pkts, APP_BURST);

		if (n)
			kerf_server_receive(lab->server, pkts, n, app_clock_ns());
		out.n += kerf_server_poll(lab->server, app_clock_ns(), out.pkts + out.n,
			APP_BURST - out.n);
		app_transmit(&lab->server_port, &out);
	}
	app_drop_unsent(&out);
	return 0;
}

static void drive(struct lab *lab)
{
	struct app_unsent out = {0};

	while (!kerf_device_finished(lab->device)) {
		struct rte_mbuf *pkts[APP_BURST];
		unsigned n = kerf_port_rx(&lab->device_port, pkts, APP_BURST);

		if (app_stop)
			kerf_device_drain(lab->device);
		if (n)
			kerf_device_receive(lab->device, pkts, n, app_clock_ns());
		out.n += kerf_device_poll(lab->device, app_clock_ns(), out.pkts + out.n,
			APP_BURST - out.n);
		app_transmit(&lab->device_port, &out);
	}
	app_drop_unsent(&out);
}

static int attach(struct lab *lab, struct kerf_err *err)
{
	int rc = kerf_linkem_stamp_tx(lab->device_port.id, 0, app_clock_ns, err);

	if (rc == 0)
		rc = kerf_linkem_stamp_tx(lab->server_port.id, 0, app_clock_ns, err);
	lab->epoch_ns = app_clock_ns();
	if (rc == 0)
		rc = kerf_linkem_attach(lab->up, lab->server_port.id, 0, app_clock_ns,
			lab->epoch_ns, err);
	if (rc == 0)
		rc = kerf_linkem_attach(lab->down, lab->device_port.id, 0, app_clock_ns,
			lab->epoch_ns, err);
	return rc;
}

int lab_run_real(struct lab *lab, struct kerf_err *err)
{
	const unsigned worker = rte_get_next_lcore(-1, 1, 0);
	int rc = attach(lab, err);

	if (rc == 0 && worker == RTE_MAX_LCORE)
		rc = kerf_err_set(err, -ENODEV, "no second lcore for the server");
	if (rc == 0 && rte_eal_remote_launch(serve, lab, worker) < 0)
		rc = kerf_err_set(err, -EBUSY, "the server's lcore does not start");
	if (rc == 0) {
		drive(lab);
		__atomic_store_n(&lab->server_stop, true, __ATOMIC_RELAXED);
		rte_eal_wait_lcore(worker);
	}
	kerf_linkem_detach(lab->up);
	kerf_linkem_detach(lab->down);
	return rc;
}
