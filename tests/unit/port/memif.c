#include "unit.h"
#include "port/eal.h"
#include "port/peer.h"

#include <rte_cycles.h>
#include <rte_mempool.h>
#include <sys/socket.h>
#include <sys/un.h>

#define N 10000
#define MTU 1500

static char path[64];

static struct kerf_port_options options(bool server)
{
	return (struct kerf_port_options){
		.kind = "memif", .socket = path, .server = server, .mtu = MTU};
}

static int open_port(struct kerf_port *p, bool server)
{
	struct kerf_port_options o = options(server);
	struct kerf_err err = {0};
	int ret = kerf_port_open(p, &o, &err);

	if (ret < 0)
		printf("%s\n", err.text);
	return ret;
}

/* The other process: "<server|client> <exchange|echo|flood>" over the socket KERF_PEER_SOCKET. */
static int play(const char *role)
{
	struct kerf_port p;
	bool server = strncmp(role, "server", 6) == 0;
	const char *what = role + 7;

	snprintf(path, sizeof(path), "%s", getenv("KERF_PEER_SOCKET"));
	unit_eal_init();
	if (open_port(&p, server) < 0)
		return 2;
	if (!peer_connect(&p))
		return 3;
	if (strcmp(what, "exchange") == 0 && peer_exchange(&p, N, 512) != N)
		return 4;
	if (strcmp(what, "echo") == 0 && peer_echo(&p, N) != N)
		return 5;
	if (strcmp(what, "flood") == 0)
		peer_echo(&p, 0);
	usleep(100000); /* what lies in the ring is the other's to take */
	kerf_port_close(&p);
	return 0;
}

static void set_up(void)
{
	snprintf(path, sizeof(path), "/tmp/kerf-memif-%d.sock", (int)getpid());
	setenv("KERF_PEER_SOCKET", path, 1);
	unit_eal_init();
}

static void exchange_with_peer(bool server)
{
	struct kerf_port p;

	CU_ASSERT_EQUAL_FATAL(open_port(&p, server), 0);
	CU_ASSERT(!kerf_port_is_up(&p));
	unsigned all = rte_mempool_avail_count(p.pool);
	pid_t pid = peer_start(server ? "client echo" : "server echo");
	CU_ASSERT(peer_connect(&p));
	CU_ASSERT_EQUAL(peer_exchange(&p, N, 512), N);
	CU_ASSERT_EQUAL(peer_wait(pid), 0);
	CU_ASSERT_EQUAL(p.rx_packets, N);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(p.pool), all);
	kerf_port_close(&p);
	CU_ASSERT_EQUAL(access(path, F_OK), -1);
}

static void test_server_exchanges_with_client(void)
{
	set_up();
	exchange_with_peer(true);
}

static void test_client_exchanges_with_server(void)
{
	set_up();
	exchange_with_peer(false);
}

/* Programs that connect to the control socket and go away at once. */
static void test_clients_that_hang_up(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct kerf_port p;

	set_up();
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	CU_ASSERT_EQUAL_FATAL(open_port(&p, true), 0);
	for (unsigned i = 0; i < 300; i++) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		CU_ASSERT_EQUAL(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
		close(fd);
		CU_ASSERT(!kerf_port_is_up(&p));
		if (i % 3 == 0)
			usleep(1000);
	}
	pid_t pid = peer_start("client echo");
	CU_ASSERT(peer_connect(&p));
	CU_ASSERT_EQUAL(peer_exchange(&p, N, 512), N);
	CU_ASSERT_EQUAL(peer_wait(pid), 0);
	kerf_port_close(&p);
}

/* Keeps the rings as busy as they get, without looking at what comes back. */
static void flood(struct kerf_port *p, unsigned ms)
{
	struct rte_mbuf *pkts[PEER_BURST];
	uint64_t until = rte_get_timer_cycles() + rte_get_timer_hz() / 1000 * ms;

	while (rte_get_timer_cycles() < until) {
		if (rte_pktmbuf_alloc_bulk(p->pool, pkts, PEER_BURST) == 0) {
			for (unsigned i = 0; i < PEER_BURST; i++) {
				struct rte_ether_hdr *eth =
					(void *)rte_pktmbuf_append(pkts[i], 1000);
				eth->ether_type = rte_cpu_to_be_16(PEER_ETHERTYPE);
			}
			unsigned sent = kerf_port_tx(p, pkts, PEER_BURST);
			rte_pktmbuf_free_bulk(pkts + sent, PEER_BURST - sent);
		}
		unsigned got = kerf_port_rx(p, pkts, PEER_BURST);
		rte_pktmbuf_free_bulk(pkts, got);
	}
}

/* Floods until the link is down; false when it stays up. */
static bool flood_until_down(struct kerf_port *p)
{
	for (unsigned i = 0; i < 500 && kerf_port_is_up(p); i++)
		flood(p, 10);
	return !kerf_port_is_up(p);
}

/*
 * The peer is killed in the middle of traffic, comes back and is used again. KERF_TEST_ROUNDS asks
 * for more rounds than the few that fit a test run.
 */
static void survive_killed_peer(bool server)
{
	const char *text = getenv("KERF_TEST_ROUNDS");
	unsigned rounds = text ? (unsigned)atoi(text) : 4, survived = 0;
	struct kerf_port p;
	uint64_t before = 0;

	set_up();
	CU_ASSERT_EQUAL_FATAL(open_port(&p, server), 0);
	unsigned all = rte_mempool_avail_count(p.pool);
	for (unsigned i = 0; i < rounds; i++, survived++) {
		pid_t pid = peer_start(server ? "client flood" : "server flood");
		bool connected = peer_connect(&p);
		flood(&p, 20 + i % 7);
		kill(pid, SIGKILL);
		bool went_down = flood_until_down(&p);
		CU_ASSERT_EQUAL(peer_wait(pid), 128 + SIGKILL);
		CU_ASSERT(connected && went_down && p.rx_packets > before);
		before = p.rx_packets;
	}
	printf(" survived %u kills, %lu packets;", survived, (unsigned long)p.rx_packets);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(p.pool), all);
	kerf_port_close(&p);
}

static void test_server_survives_killed_client(void)
{
	survive_killed_peer(true);
}

static void test_client_survives_killed_server(void)
{
	survive_killed_peer(false);
	unlink(path); /* the last server's */
}

int main(void)
{
	static const struct unit_test tests[] = {UNIT(test_server_exchanges_with_client),
		UNIT(test_client_exchanges_with_server),
	UNIT(test_clients_that_hang_up), UNIT(test_server_survives_killed_client),
		UNIT(test_client_survives_killed_server)};

	if (peer_role())
		return play(peer_role());
	return unit_run("port memif", tests, KERF_ARRAY_LEN(tests));
}
