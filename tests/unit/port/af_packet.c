#include "unit.h"
#include "port/eal.h"
#include "port/peer.h"

#include <fcntl.h>
#include <stdarg.h>
#include <rte_mempool.h>
#include <sched.h>

#define N 10000

static char ns_a[32], ns_b[32];

/* Quietly; whether it worked. */
static bool run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool run(const char *fmt, ...)
{
	char command[512];
	va_list list;

	va_start(list, fmt);
	int n = vsnprintf(command, sizeof(command) - 16, fmt, list);
	va_end(list);
	strcpy(command + n, " >/dev/null 2>&1");
	return system(command) == 0;
}

/* Removing a namespace removes the end of the veth pair in it, and with that the pair. */
static void remove_namespaces(void)
{
	if (ns_a[0])
		run("ip netns del %s; ip netns del %s", ns_a, ns_b);
	ns_a[0] = '\0';
}

static void on_signal(int number)
{
	remove_namespaces();
	_exit(128 + number);
}

static void make_namespaces(void)
{
	if (geteuid() != 0)
		unit_skip("af_packet needs root: sudo ctest -R port.af_packet");
	if (!run("ip -V"))
		unit_skip("af_packet needs ip: sudo apt-get install iproute2");
	snprintf(ns_a, sizeof(ns_a), "kerf-test-%d-a", (int)getpid());
	snprintf(ns_b, sizeof(ns_b), "kerf-test-%d-b", (int)getpid());
	atexit(remove_namespaces);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	if (!run("ip netns add %s && ip netns add %s", ns_a, ns_b))
		unit_skip("no network namespaces can be made here");
	/* No IPv6, so that the kernel has nothing to say on its own. */
	for (unsigned i = 0; i < 2; i++)
		run("ip netns exec %s sysctl -w net.ipv6.conf.default.disable_ipv6=1",
			i ? ns_b : ns_a);
	if (!run("ip -n %s link add kerf0 type veth peer name kerf0 netns %s", ns_a, ns_b))
		unit_skip("no veth pair can be made here");
}

/* Both ends; "down" leaves them down. */
static bool set_links(const char *state, unsigned mtu)
{
	return run("ip -n %s link set kerf0 mtu %u %s && ip -n %s link set kerf0 mtu %u %s", ns_a,
		mtu, state, ns_b, mtu, state);
}

static bool enter(const char *ns)
{
	char path[64];

	snprintf(path, sizeof(path), "/var/run/netns/%s", ns);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && setns(fd, CLONE_NEWNET) == 0;
	if (fd >= 0)
		close(fd);
	return ok;
}

/* Sets the peer's interface down under a running port and up again. */
static bool follows_the_link(struct kerf_port *p)
{
	struct rte_mbuf *pkts[PEER_BURST];
	unsigned i;

	if (!run("ip link set kerf0 down"))
		return false;
	for (i = 0; i < 2000 && kerf_port_is_up(p); i++)
		usleep(1000);
	if (kerf_port_is_up(p))
		return false;
	for (i = 0; i < 4000; i++) { /* more than the ring: must not block */
		struct rte_mbuf *m = peer_packet(p, i);
		if (!m || kerf_port_tx(p, &m, 1) == 0)
			rte_pktmbuf_free(m);
		rte_pktmbuf_free_bulk(pkts, kerf_port_rx(p, pkts, PEER_BURST));
	}
	return run("ip link set kerf0 up") && peer_connect(p);
}

/* "<namespace> <exchange|echo|link|refused> <mtu>" */
static int play(const char *role)
{
	char ns[32], what[16];
	unsigned mtu;
	struct kerf_port p;
	struct kerf_err err = {0};

	if (sscanf(role, "%31s %15s %u", ns, what, &mtu) != 3 || !enter(ns))
		return 2;
	struct kerf_port_options o = {
		.kind = "af_packet", .iface = "kerf0", .mtu = mtu, .mbufs = 8192};
	unit_eal_init();
	int ret = kerf_port_open(&p, &o, &err);
	if (strcmp(what, "refused") == 0) {
		printf(" %s;", err.text);
		fflush(stdout);
		return ret < 0 && strstr(err.text, "ip link set dev kerf0") ? 0 : 3;
	}
	if (ret < 0) {
		printf("%s\n", err.text);
		return 4;
	}
	unsigned all = rte_mempool_avail_count(p.pool);
	if (!peer_connect(&p))
		return 5;
	if (strcmp(what, "exchange") == 0 && peer_exchange_lossy(&p, N, 64) < N / 10 * 9)
		return 6;
	if (strcmp(what, "echo") == 0 && peer_echo(&p, 0) < N / 10 * 9)
		return 7;
	if (strcmp(what, "link") == 0 && !follows_the_link(&p))
		return 8;
	if (rte_mempool_avail_count(p.pool) != all)
		return 9;
	kerf_port_close(&p);
	return 0;
}

static pid_t start_in(const char *ns, const char *what, unsigned mtu)
{
	char role[80];

	snprintf(role, sizeof(role), "%s %s %u", ns, what, mtu);
	return peer_start(role);
}

static void exchange(unsigned mtu)
{
	CU_ASSERT_FATAL(set_links("up", mtu));
	pid_t echo = start_in(ns_b, "echo", mtu), sender = start_in(ns_a, "exchange", mtu);
	CU_ASSERT_EQUAL(peer_wait(sender), 0);
	CU_ASSERT_EQUAL(peer_wait(echo), 0);
}

static void test_down_is_refused(void)
{
	CU_ASSERT_FATAL(set_links("down", 1500));
	CU_ASSERT_EQUAL(peer_wait(start_in(ns_a, "refused", 1500)), 0);
}

static void test_mtu_is_checked(void)
{
	CU_ASSERT_FATAL(set_links("up", 1500));
	CU_ASSERT_EQUAL(peer_wait(start_in(ns_a, "refused", 1501)), 0);
	CU_ASSERT_FATAL(set_links("up", 9000)); /* longer frames than mbufs would hold */
	CU_ASSERT_EQUAL(peer_wait(start_in(ns_a, "refused", 1500)), 0);
}

static void test_exchanges_over_veth(void)
{
	exchange(1500);
}

static void test_exchanges_jumbo_frames(void)
{
	exchange(4000); /* 8192 mbufs of that fit the test's memory */
}

static void test_follows_the_link(void)
{
	CU_ASSERT_FATAL(set_links("up", 1500));
	CU_ASSERT_EQUAL(peer_wait(start_in(ns_a, "link", 1500)), 0);
}

int main(void)
{
	static const struct unit_test tests[] = {UNIT(test_down_is_refused),
		UNIT(test_mtu_is_checked), UNIT(test_exchanges_over_veth),
		UNIT(test_exchanges_jumbo_frames), UNIT(test_follows_the_link)};

	if (peer_role())
		return play(peer_role());
	make_namespaces();
	return unit_run("port af_packet", tests, KERF_ARRAY_LEN(tests));
}
