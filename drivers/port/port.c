#include "port/port_internal.h"

#include <rte_bus_vdev.h>
#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <rte_ether.h>
#include <rte_version.h>
#include <string.h>

#define DEFAULT_MTU 1500
#define DEFAULT_MBUFS 16384
#define DEFAULT_RING 1024
#define MAX_RING 16384 /* memif's log2 is at most 14 */
#define POOL_CACHE 256
#define LINK_CHECKS_PER_S 100
#define HANDSHAKES_PER_S 2 /* memif's takes some 10 ms */

static const struct kerf_port_kind *const kinds[] = {
	&kerf_port_ring, &kerf_port_memif, &kerf_port_af_packet};

static const struct kerf_port_kind *find_kind(const char *name)
{
	for (unsigned i = 0; i < KERF_ARRAY_LEN(kinds); i++)
		if (name && strcmp(kinds[i]->name, name) == 0)
			return kinds[i];
	return NULL;
}

static int check_ring(const char *what, unsigned n, struct kerf_err *err)
{
	if (n >= 64 && n <= MAX_RING && (n & (n - 1)) == 0)
		return 0;
	return kerf_err_set(err, -EINVAL, "port: %s %u: expected a power of two from 64 to %u",
		what, n, MAX_RING);
}

/*
 * Packets that can be out at once without anybody sending: a full ring of each direction (kind
 * ring: they are mbufs; the others copy, but a sender holds as many by reference until they are
 * acknowledged), one burst that RX allocates ahead, and the caches of two threads (1.5 times each).
 */
static unsigned min_mbufs(const struct kerf_port_options *o)
{
	return o->rx_ring + o->tx_ring + KERF_PORT_BURST + 3 * POOL_CACHE;
}

int kerf_port_fill(const struct kerf_port_options *o, struct kerf_port_options *full,
	struct kerf_err *err)
{
	int ret;

	*full = *o;
	full->mtu = o->mtu ? o->mtu : DEFAULT_MTU;
	full->mbufs = o->mbufs ? o->mbufs : DEFAULT_MBUFS;
	full->rx_ring = o->rx_ring ? o->rx_ring : DEFAULT_RING;
	full->tx_ring = o->tx_ring ? o->tx_ring : DEFAULT_RING;
	if (full->mtu < KERF_PORT_MIN_MTU || full->mtu > KERF_PORT_MAX_MTU)
		return kerf_err_set(err, -EINVAL, "port: mtu %u: expected %u to %u", full->mtu,
			KERF_PORT_MIN_MTU, KERF_PORT_MAX_MTU);
	ret = check_ring("rx_ring", full->rx_ring, err);
	if (ret == 0)
		ret = check_ring("tx_ring", full->tx_ring, err);
	if (ret < 0)
		return ret;
	if (!o->mbufs) /* long rings raise the default */
		full->mbufs = KERF_MAX(full->mbufs, 2 * min_mbufs(full));
	if (full->mbufs < min_mbufs(full))
		return kerf_err_set(err, -EINVAL,
			"port: mbufs %u: expected at least %u with rings of %u and %u", full->mbufs,
			min_mbufs(full), full->rx_ring, full->tx_ring);
	return 0;
}

int kerf_port_resolve(const struct kerf_port_options *o, struct kerf_port_options *full,
	const struct kerf_port_kind **kind, struct kerf_err *err)
{
	*kind = find_kind(o->kind);
	if (!*kind)
		return kerf_err_set(err, -EINVAL,
			"port: kind '%s': expected ring, memif or af_packet",
			o->kind ? o->kind : "");
	return kerf_port_fill(o, full, err);
}

int kerf_port_eal_args(
	const struct kerf_port_options *o, char args[][256], unsigned *n, struct kerf_err *err)
{
	const struct kerf_port_kind *kind;
	struct kerf_port_options full;
	char name[64], values[192];

	*n = 0;
	int ret = kerf_port_resolve(o, &full, &kind, err);
	if (ret < 0 || !kind->device)
		return ret;
	ret = kind->check(&full, err);
	if (ret == 0)
		ret = kind->device(&full, name, values, err);
	if (ret < 0)
		return ret;
	snprintf(args[0], sizeof(args[0]), "--vdev=%.54s,%s", name, values);
	*n = 1;
	return 0;
}

/* What the pool takes, about. Without huge pages no mbuf may cross the edge of a 4 KiB page. */
static unsigned pool_megabytes(unsigned mbufs, unsigned room)
{
	const uint64_t page = 4096;
	uint64_t each = sizeof(struct rte_mbuf) + RTE_PKTMBUF_HEADROOM + room + 64;

	if (!rte_eal_has_hugepages())
		each = each <= page ? page / (page / each) : RTE_ALIGN_CEIL(each, page);
	return (unsigned)(mbufs * each >> 20) + 1;
}

struct rte_mempool *kerf_port_create_pool(
	const struct kerf_port_options *o, const struct kerf_port_kind *kind, struct kerf_err *err)
{
	static unsigned created; /* names must differ; ports are opened by one thread */
	unsigned room = RTE_ALIGN_CEIL(kind->room_bytes(o), 64);
	char name[32];

	snprintf(name, sizeof(name), "kerf_pool_%u", created++);
	struct rte_mempool *pool = rte_pktmbuf_pool_create(name, o->mbufs, POOL_CACHE, 0,
		(uint16_t)(RTE_PKTMBUF_HEADROOM + room), SOCKET_ID_ANY);
	if (!pool)
		kerf_err_set(err, -ENOMEM,
			"port %s: no memory for %u mbufs of %u bytes (about %u MB): give EAL more, "
			"as --no-huge -m %u or sudo sysctl -w vm.nr_hugepages=%u, or ask for fewer "
			"mbufs",
			kind->name, o->mbufs, room, pool_megabytes(o->mbufs, room),
			2 * pool_megabytes(o->mbufs, room), pool_megabytes(o->mbufs, room));
	return pool;
}

void kerf_port_free_pool(struct rte_mempool *pool)
{
	/* Somebody may still hold packets by reference: their memory must stay. */
	if (pool && rte_mempool_full(pool))
		rte_mempool_free(pool);
}

static int failed(const struct kerf_port *p, const char *what, int ret, struct kerf_err *err)
{
	return kerf_err_set(
		err, ret, "port %s (%u): %s: %s", p->kind, p->id, what, rte_strerror(-ret));
}

/* One queue each way. The MTU is left at ethdev's default: memif and af_packet report a
 * max_rx_pktlen of 1518 whatever they carry, and ethdev would refuse a true one. */
static int configure(struct kerf_port *p, const struct kerf_port_options *o, struct kerf_err *err)
{
	struct rte_eth_conf conf = {0};
	struct rte_eth_dev_info info;
	uint16_t rx_ring = (uint16_t)o->rx_ring, tx_ring = (uint16_t)o->tx_ring;

	int ret = rte_eth_dev_info_get(p->id, &info);
	if (ret < 0)
		return failed(p, "device information", ret, err);
	conf.txmode.offloads = info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
	p->multi_segment = conf.txmode.offloads != 0;
	if (p->ops->multi_segment)
		p->multi_segment = p->multi_segment && p->ops->multi_segment();
	ret = rte_eth_dev_configure(p->id, 1, 1, &conf);
	if (ret < 0)
		return failed(p, "configure", ret, err);
	ret = rte_eth_dev_adjust_nb_rx_tx_desc(p->id, &rx_ring, &tx_ring);
	if (ret < 0)
		return failed(p, "ring sizes", ret, err);
	ret = rte_eth_rx_queue_setup(p->id, 0, rx_ring, SOCKET_ID_ANY, NULL, p->pool);
	if (ret < 0)
		return failed(p, "RX queue", ret, err);
	/* The default TX configuration, and never MBUF_FAST_FREE: senders keep references. */
	struct rte_eth_txconf tx = info.default_txconf;
	tx.offloads = conf.txmode.offloads;
	ret = rte_eth_tx_queue_setup(p->id, 0, tx_ring, SOCKET_ID_ANY, &tx);
	return ret < 0 ? failed(p, "TX queue", ret, err) : 0;
}

/* A port without an address of its own (ring) gets a locally administered one. */
static void choose_mac(struct kerf_port *p, const uint8_t *wanted)
{
	struct rte_ether_addr own = {0};

	if (rte_eth_macaddr_get(p->id, &own) < 0 || rte_is_zero_ether_addr(&own)) {
		const uint8_t made[6] = {
			0x02, 'k', 'e', 'r', (uint8_t)(p->id >> 8), (uint8_t)p->id};
		memcpy(own.addr_bytes, made, sizeof(made));
	}
	memcpy(p->mac, wanted ? wanted : own.addr_bytes, sizeof(p->mac));
}

static int start_device(struct kerf_port *p, uint64_t tsc)
{
	int ret = rte_eth_dev_start(p->id);

	p->running = ret == 0;
	p->reconnect_due_tsc = tsc + rte_get_tsc_hz() / HANDSHAKES_PER_S;
	return ret;
}

int kerf_port_start(struct kerf_port *p, const struct kerf_port_options *o,
	const struct kerf_port_kind *kind, struct kerf_err *err)
{
	p->ops = kind;
	p->mtu = o->mtu;
	p->control_fd = -1;
	snprintf(p->kind, sizeof(p->kind), "%s", kind->name);
	int ret = configure(p, o, err);
	if (ret < 0)
		return ret;
	p->reconnects = kind->start_connects && kind->start_connects(o);
	if (kind->before_start)
		kind->before_start();
	ret = start_device(p, rte_get_tsc_cycles());
	if (ret < 0 && !p->reconnects)
		return failed(p, "start", ret, err);
	choose_mac(p, o->mac);
	return kind->started ? kind->started(p, o, err) : 0;
}

/* Stops, closes and unplugs: the device's name may be used again. */
static void remove_device(uint16_t id)
{
	struct rte_eth_dev_info info;
	bool known = rte_eth_dev_info_get(id, &info) == 0;

	rte_eth_dev_stop(id);
	if (!known || rte_dev_remove(info.device) < 0)
		rte_eth_dev_close(id);
}

/* The device EAL made from our arguments, or else a hot-plugged one. */
static int find_device(struct kerf_port *p, const struct kerf_port_options *o,
	const struct kerf_port_kind *kind, struct kerf_err *err)
{
	char name[64], values[192];

	int ret = kind->device(o, name, values, err);
	if (ret < 0)
		return ret;
	if (rte_eth_dev_get_port_by_name(name, &p->id) == 0)
		return 0;
	ret = kind->check(o, err);
	if (ret < 0)
		return ret;
	ret = rte_eal_hotplug_add("vdev", name, values);
	if (ret == 0)
		ret = rte_eth_dev_get_port_by_name(name, &p->id);
	if (ret < 0)
		return kerf_err_set(err, ret,
			"port %s: EAL makes no device %s,%s (%s): is the PMD installed? apt-get "
			"install librte-net-%s%u",
			kind->name, name, values, rte_strerror(-ret),
			strcmp(kind->name, "memif") ? "af-packet" : "memif",
			RTE_VER_YEAR + (RTE_VER_MONTH >= 11)); /* the ABI's number */
	return 0;
}

static int enter_gate(const struct kerf_port_kind *kind, struct kerf_err *err)
{
	int ret = kind->gated ? kerf_gate_open(err) : 0;

	if (kind->gated && ret == 0)
		kerf_gate_enter_wait();
	return ret;
}

static void leave_gate(const struct kerf_port_kind *kind, bool for_good)
{
	if (!kind->gated)
		return;
	kerf_gate_leave();
	if (for_good)
		kerf_gate_close();
}

/* Makes the pool and starts the device that p->id is. */
static int open_device(struct kerf_port *p, const struct kerf_port_options *full,
	const struct kerf_port_kind *kind, struct kerf_err *err)
{
	p->pool = kerf_port_create_pool(full, kind, err);
	int ret = p->pool ? kerf_port_start(p, full, kind, err) : -ENOMEM;
	if (ret == 0)
		return 0;
	if (kind->closing && p->ops)
		kind->closing(p);
	remove_device(p->id);
	kerf_port_free_pool(p->pool);
	return ret;
}

int kerf_port_open(struct kerf_port *p, const struct kerf_port_options *o, struct kerf_err *err)
{
	const struct kerf_port_kind *kind;
	struct kerf_port_options full;

	memset(p, 0, sizeof(*p));
	int ret = kerf_port_resolve(o, &full, &kind, err);
	if (ret < 0)
		return ret;
	if (!kind->device)
		return kerf_err_set(err, -EINVAL,
			"port %s: a single one has no peer; kinds for one end: memif, af_packet",
			kind->name);
	ret = enter_gate(kind, err);
	if (ret < 0)
		return ret;
	ret = find_device(p, &full, kind, err);
	if (ret == 0)
		ret = open_device(p, &full, kind, err);
	leave_gate(kind, ret < 0);
	if (ret < 0)
		memset(p, 0, sizeof(*p));
	return ret;
}

int kerf_port_open_ethdev(
	struct kerf_port *p, uint16_t id, const struct kerf_port_options *o, struct kerf_err *err)
{
	const struct kerf_port_kind *kind;
	struct kerf_port_options full;

	memset(p, 0, sizeof(*p));
	int ret = kerf_port_fill(o, &full, err);
	if (ret < 0)
		return ret;
	if (!rte_eth_dev_is_valid_port(id))
		return kerf_err_set(err, -EINVAL,
			"port %u: EAL has %u ports: give it a NIC (-a) or --vdev=... before the --",
			id, rte_eth_dev_count_avail());
	kind = kerf_port_ethdev_kind(id);
	ret = enter_gate(kind, err);
	if (ret < 0)
		return ret;
	p->id = id;
	ret = open_device(p, &full, kind, err);
	leave_gate(kind, ret < 0);
	if (ret < 0)
		memset(p, 0, sizeof(*p));
	return ret;
}

void kerf_port_close(struct kerf_port *p)
{
	const struct kerf_port_kind *kind = p->ops;

	if (!kind)
		return;
	if (kind->gated)
		kerf_gate_enter_wait();
	if (kind->closing)
		kind->closing(p);
	remove_device(p->id);
	leave_gate(kind, true);
	if (p->pair)
		kerf_port_pair_close(p);
	else
		kerf_port_free_pool(p->pool);
	memset(p, 0, sizeof(*p));
}

static bool ask_link(struct kerf_port *p)
{
	struct rte_eth_link link;

	if (!p->running)
		return false;
	if (p->ops->link)
		return p->ops->link(p);
	return rte_eth_link_get_nowait(p->id, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

/* Inside the gate. */
static void check_link(struct kerf_port *p)
{
	uint64_t tsc = rte_get_tsc_cycles();

	if (tsc < p->link_due_tsc)
		return;
	p->link_due_tsc = tsc + rte_get_tsc_hz() / LINK_CHECKS_PER_S;
	bool was_up = p->up;
	p->up = ask_link(p);
	if (p->up || !p->reconnects)
		return;
	if (p->running && (was_up || tsc >= p->reconnect_due_tsc)) {
		rte_eth_dev_stop(p->id);
		p->running = false;
	}
	if (!p->running)
		start_device(p, tsc);
}

bool kerf_port_is_up(struct kerf_port *p)
{
	if (p->ops->gated && !kerf_gate_enter())
		return p->up;
	check_link(p);
	if (p->ops->gated)
		kerf_gate_leave();
	return p->up;
}

unsigned kerf_port_rx(struct kerf_port *p, struct rte_mbuf **pkts, unsigned n)
{
	unsigned got = 0;

	if (p->ops->gated && !kerf_gate_enter())
		return 0;
	check_link(p);
	if (p->running)
		got = rte_eth_rx_burst(p->id, 0, pkts, (uint16_t)KERF_MIN(n, UINT16_MAX));
	if (p->ops->gated)
		kerf_gate_leave();
	p->rx_packets += got;
	return got;
}

unsigned kerf_port_tx(struct kerf_port *p, struct rte_mbuf **pkts, unsigned n)
{
	if (n == 0 || !p->running || (p->ops->gated && !kerf_gate_enter()))
		return 0;
	unsigned sent = rte_eth_tx_burst(p->id, 0, pkts, (uint16_t)KERF_MIN(n, UINT16_MAX));
	if (p->ops->gated)
		kerf_gate_leave();
	p->tx_packets += sent;
	p->tx_full += n - sent;
	return sent;
}
