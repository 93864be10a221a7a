#include "unit.h"
#include "port/port.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char dir[64];

static const char *in_dir(const char *name)
{
	static char path[128];

	if (!dir[0]) {
		strcpy(dir, "/tmp/kerf-options-XXXXXX");
		if (!mkdtemp(dir))
			exit(1);
	}
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void refused(const struct kerf_port_options *o, const char *expected)
{
	char args[KERF_PORT_MAX_EAL_ARGS][256];
	struct kerf_err err = {0};
	unsigned n;

	CU_ASSERT(kerf_port_eal_args(o, args, &n, &err) < 0);
	CU_ASSERT_EQUAL(n, 0);
	if (!strstr(err.text, expected))
		printf("\"%s\" lacks \"%s\"\n", err.text, expected);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, expected));
}

static void accepted(const struct kerf_port_options *o, unsigned expected_n, const char *expected)
{
	char args[KERF_PORT_MAX_EAL_ARGS][256];
	struct kerf_err err = {0};
	unsigned n;

	int ret = kerf_port_eal_args(o, args, &n, &err);
	if (ret < 0)
		printf("%s\n", err.text);
	CU_ASSERT_EQUAL_FATAL(ret, 0);
	CU_ASSERT_EQUAL(n, expected_n);
	for (unsigned i = 0; i < n; i++)
		CU_ASSERT_PTR_NOT_NULL(strstr(args[i], expected));
}

static void test_common(void)
{
	refused(&(struct kerf_port_options){.kind = "memfi"}, "'memfi': expected ring, memif or");
	refused(&(struct kerf_port_options){0}, "expected ring, memif");
	refused(&(struct kerf_port_options){.kind = "ring", .mtu = 67}, "mtu 67");
	refused(&(struct kerf_port_options){.kind = "ring", .mtu = 65001}, "mtu 65001");
	refused(&(struct kerf_port_options){.kind = "ring", .rx_ring = 1000}, "rx_ring 1000");
	refused(&(struct kerf_port_options){.kind = "ring", .tx_ring = 32768}, "tx_ring 32768");
	refused(&(struct kerf_port_options){.kind = "ring", .mbufs = 1000}, "mbufs 1000");
	accepted(&(struct kerf_port_options){.kind = "ring"}, 0, "");
}

static void test_memif_paths(void)
{
	struct kerf_port_options o = {.kind = "memif"};
	char text[200], long_path[200];

	refused(&o, "absolute path");
	o.socket = "kerf.sock";
	refused(&o, "'kerf.sock': expected an absolute path");
	o.socket = "/nowhere/at/all/s";
	refused(&o, "mkdir -p /nowhere/at/all");
	o.socket = in_dir("a,b");
	refused(&o, "a,b");
	memset(long_path, 'x', sizeof(long_path));
	memcpy(long_path, "/tmp/", 5);
	long_path[108] = '\0';
	o.socket = long_path;
	refused(&o, "108 characters");
	long_path[107] = '\0';
	accepted(&o, 1, long_path);

	o.socket = in_dir("s");
	snprintf(text, sizeof(text), "role=client,bsize=1536,rsize=10,socket-abstract=no,socket=%s",
		o.socket);
	accepted(&o, 1, text);
	o.mtu = 9000;
	o.tx_ring = 4096;
	o.mac = (const uint8_t[]){2, 0, 0, 0, 0, 0xab};
	accepted(&o, 1, "bsize=9024,rsize=12,mac=02:00:00:00:00:ab,");
}

static int listen_on(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(fd, 1) < 0)
		exit(1);
	return fd;
}

static void test_memif_socket_in_the_way(void)
{
	struct kerf_port_options o = {.kind = "memif", .server = true, .socket = in_dir("t")};

	accepted(&o, 1, "role=server");
	int fd = listen_on(o.socket);
	refused(&o, "another server listens");
	close(fd); /* as when it is killed: the file stays */
	CU_ASSERT_EQUAL(access(o.socket, F_OK), 0);
	o.server = false;
	accepted(&o, 1, "role=client");
	CU_ASSERT_EQUAL(access(o.socket, F_OK), 0);
	o.server = true;
	accepted(&o, 1, "role=server");
	CU_ASSERT(access(o.socket, F_OK) < 0);

	FILE *f = fopen(o.socket, "w");
	CU_ASSERT_PTR_NOT_NULL_FATAL(f);
	fclose(f);
	refused(&o, "is not a socket");
	CU_ASSERT_EQUAL(unlink(o.socket), 0);
}

static void test_af_packet_interface(void)
{
	struct kerf_port_options o = {.kind = "af_packet"};

	refused(&o, "expected the name of a kernel interface");
	o.iface = "a-name-that-is-too-long";
	refused(&o, "a-name-that-is-too-long");
	if (geteuid() != 0)
		return;
	o.iface = "kerf-none";
	refused(&o, "no interface kerf-none");
}

static void test_clean_up(void)
{
	CU_ASSERT(!dir[0] || rmdir(dir) == 0);
}

UNIT_MAIN("port options", UNIT(test_common), UNIT(test_memif_paths),
	UNIT(test_memif_socket_in_the_way), UNIT(test_af_packet_interface), UNIT(test_clean_up))
