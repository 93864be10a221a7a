/*
 * eal: EAL for unit tests, without root, huge pages or PCI, private to the process.
 */
#pragma once

#include <rte_eal.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

/* EAL pins its thread: a peer process (peer.h) goes to the other end of the CPUs we may use. */
static inline int unit_eal_cpu(void)
{
	cpu_set_t set;
	int found = 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 0;
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &set))
			continue;
		found = i;
		if (!getenv("KERF_PEER"))
			break;
	}
	return found;
}

static inline void unit_eal_init(void)
{
	static int done;
	static char lcore[32];
	static char *args[] = {"unit", "--no-huge", "--no-pci", "--no-shconf", "--no-telemetry",
		"-m", "64", "--log-level=error", "--lcores", lcore, NULL};

	if (done++)
		return;
	snprintf(lcore, sizeof(lcore), "0@%d", unit_eal_cpu());
	if (rte_eal_init((int)(sizeof(args) / sizeof(args[0])) - 1, args) < 0) {
		printf("EAL does not start\n");
		exit(1);
	}
}
