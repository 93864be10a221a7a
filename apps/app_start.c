#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>

#include "app.h"

#define MAX_EAL_ARGS 64
#define MEGABYTES 256 /* of packets and rings */

volatile bool app_stop;
static bool eal_runs;

static void on_signal(int sig)
{
	if (app_stop)
		_exit(128 + sig);
	app_stop = true;
}

/* Where standard input, output or error is closed, the next file or socket would take its number, and
 * our messages would go into it. */
static void fill_standard_files(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

void app_begin(void)
{
	struct sigaction a = {.sa_handler = on_signal};

	fill_standard_files();
	sigaction(SIGINT, &a, NULL);
	sigaction(SIGTERM, &a, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static uint64_t read_clock(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * KERF_NS_PER_S + (uint64_t)t.tv_nsec;
}

uint64_t app_clock_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t app_cpu_clock_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

unsigned app_cpu(int i)
{
	cpu_set_t set;
	int n, seen = 0;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return 0;
	n = CPU_COUNT(&set);
	i = ((i % n) + n) % n;
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set) && seen++ == i)
			return cpu;
	return 0;
}

static bool huge_pages_free(unsigned megabytes)
{
	static const char file[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
	unsigned long pages = 0;
	FILE *f = fopen(file, "r");

	if (!f)
		return false;
	if (fscanf(f, "%lu", &pages) != 1)
		pages = 0;
	fclose(f);
	return pages >= megabytes / 2;
}

static int huge_args(int huge, unsigned megabytes, char args[][256], unsigned *n, struct kerf_err *err)
{
	const bool present = huge_pages_free(megabytes);

	if (huge == APP_HUGE_YES && !present)
		return kerf_err_set(err, -ENOMEM,
			"port.huge = yes, but there are not %u MB of free 2 MB huge pages; "
			"sysctl -w vm.nr_hugepages=%u makes them, port.huge = no does without",
			megabytes, megabytes);
	if (huge == APP_HUGE_NO || !present) {
		/* Not --in-memory, which EAL refuses beside --no-huge. */
		snprintf(args[(*n)++], 256, "--no-huge");
		snprintf(args[(*n)++], 256, "--no-shconf");
		snprintf(args[(*n)++], 256, "-m%u", megabytes);
	} else {
		snprintf(args[(*n)++], 256, "--in-memory");
	}
	return 0;
}

/* memif calls it an error that its server is not there yet. For a PMD, which registers its log type
 * when EAL loads it, the first of these patterns that fits counts. */
static const char *const quiet[] = {
	"--no-pci", "--log-level=pmd.net.memif:critical", "--log-level=*:error"};

/* EAL takes only one of -c, -l and --lcores; the person's counts. */
static bool picks_cores(const struct app_options *o)
{
	for (int i = 0; i < o->n_eal; i++)
		if (!strncmp(o->eal[i], "-l", 2) || !strncmp(o->eal[i], "-c", 2) ||
			!strncmp(o->eal[i], "--lcores", 8))
			return true;
	return false;
}

int app_eal_init(const char *program, const struct app_options *o, char args[][256],
	unsigned n_args, struct kerf_err *err)
{
	/* EAL keeps pointers into its arguments. */
	static char copies[MAX_EAL_ARGS][256];
	char *argv[KERF_ARRAY_LEN(quiet) + 2 * MAX_EAL_ARGS + 2];
	int argc = 0;

	argv[argc++] = (char *)(uintptr_t)program;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(quiet); i++)
		argv[argc++] = (char *)(uintptr_t)quiet[i];
	for (unsigned i = 0; i < n_args && i < MAX_EAL_ARGS; i++) {
		if (picks_cores(o) && !strncmp(args[i], "--lcores", 8))
			continue;
		memcpy(copies[i], args[i], sizeof(copies[i]));
		argv[argc++] = copies[i];
	}
	for (int i = 0; i < o->n_eal && i < MAX_EAL_ARGS; i++)
		argv[argc++] = o->eal[i];
	argv[argc] = NULL;
	if (rte_eal_init(argc, argv) < 0)
		return kerf_err_set(err, -EIO, "DPDK's EAL did not start: %s",
			rte_strerror(rte_errno));
	eal_runs = true;
	return 0;
}

static int check_cpu(uint64_t cpu, const char *key, struct kerf_err *err)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return kerf_err_set(err, -errno, "CPU affinity: %s", strerror(errno));
	if (cpu < CPU_SETSIZE && CPU_ISSET(cpu, &set))
		return 0;
	return kerf_err_set(err, -EINVAL, "%s = %lu: this process may not use that CPU", key, cpu);
}

int app_open_port(struct kerf_port *port, const char *program, const struct app_options *o,
	const struct app_settings *s, bool server, struct kerf_err *err)
{
	const struct kerf_port_options p = {
		.kind = s->port.kind,
		.socket = s->port.socket,
		.server = server,
		.iface = s->port.iface,
		.mtu = (unsigned)s->port.mtu,
		.mbufs = (unsigned)s->port.mbufs,
	};
	const uint64_t cpu = server ? s->server.cpu : s->device.cpu;
	char args[8 + KERF_PORT_MAX_EAL_ARGS][256];
	unsigned n = 0, extra = 0;
	int rc = 0;

	snprintf(args[n++], 256, "--lcores=0@%lu",
		cpu == APP_CPU_AUTO ? (unsigned long)app_cpu(server ? -1 : 0) : cpu);
	if (cpu != APP_CPU_AUTO)
		rc = check_cpu(cpu, server ? "server.cpu" : "device.cpu", err);
	if (rc == 0)
		rc = huge_args(s->port.huge, MEGABYTES, args, &n, err);
	if (rc == 0)
		rc = kerf_port_eal_args(&p, args + n, &extra, err);
	if (rc == 0)
		rc = app_eal_init(program, o, args, n + extra, err);
	return rc < 0 ? rc : kerf_port_open(port, &p, err);
}

struct kerf_net app_net(const struct kerf_port *port, const struct app_settings *s)
{
	struct kerf_net net = {
		.self = {.ip = s->port.ip, .port = (uint16_t)s->port.udp_port},
		.pool = port->pool,
		.payload_bytes = port->mtu + 14 - (uint32_t)sizeof(struct kerf_wire_packet),
		.overhead_bytes = (uint32_t)s->port.overhead,
		.timestamp_offset = -1,
	};

	memcpy(net.self.mac, port->mac, sizeof(net.self.mac));
	return net;
}

void app_eal_cleanup(void)
{
	if (eal_runs)
		rte_eal_cleanup();
}
