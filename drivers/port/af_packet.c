/*
 * A kernel interface through AF_PACKET rings (PMD net_af_packet): works on every Linux, needs
 * CAP_NET_RAW, copies each packet twice. Mostly for veth between network namespaces.
 *
 * The queueing discipline is bypassed: a packet then goes straight to the driver, so that the ring
 * is never held up by a full qdisc, on which this PMD would block in poll() without a time limit.
 * The price: a tc qdisc on this very interface is not seen (put it on the other end, or emulate the
 * link).
 */
#include "port/port_internal.h"

#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* 64 frames of a multiple of 64 bytes are whole pages, as the kernel wants blocks to be. */
#define FRAMES_PER_BLOCK 64
#define FRAME_GRAIN 64

/* The kernel puts the frame behind its header, 16-byte aligned at the network layer. */
static unsigned frame_bytes(const struct kerf_port_options *o)
{
	unsigned header = TPACKET_ALIGN(TPACKET2_HDRLEN + 16);

	return RTE_ALIGN_CEIL(header + o->mtu + KERF_PORT_L2_BYTES, FRAME_GRAIN);
}

/* The PMD copies whatever the kernel left in a ring frame: one mbuf must hold all of it. */
static unsigned room_bytes(const struct kerf_port_options *o)
{
	return frame_bytes(o);
}

/* Largest L2 frame that the ring takes whole; longer ones come truncated. */
static unsigned largest_frame(const struct kerf_port_options *o)
{
	return frame_bytes(o) - TPACKET_ALIGN(TPACKET2_HDRLEN + 16);
}

static int ask(int fd, const char *iface, unsigned long what, struct ifreq *ifr)
{
	memset(ifr, 0, sizeof(*ifr));
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", iface);
	return ioctl(fd, what, ifr) < 0 ? -errno : 0;
}

static int check_mtu(const struct kerf_port_options *o, unsigned kernel, struct kerf_err *err)
{
	if (kernel < o->mtu)
		return kerf_err_set(err, -EMSGSIZE,
			"af_packet: the kernel's MTU of %s is %u, the port's %u: ip link set dev "
			"%s mtu %u, or lower the port's mtu",
			o->iface, kernel, o->mtu, o->iface, o->mtu);
	if (kernel + KERF_PORT_L2_BYTES > largest_frame(o))
		return kerf_err_set(err, -EMSGSIZE,
			"af_packet: the kernel's MTU of %s is %u, packet buffers hold %u: ip link "
			"set dev %s mtu %u, or raise the port's mtu",
			o->iface, kernel, largest_frame(o) - KERF_PORT_L2_BYTES, o->iface, o->mtu);
	return 0;
}

static int check_state(const struct kerf_port_options *o, int fd, struct kerf_err *err)
{
	struct ifreq ifr;

	int ret = ask(fd, o->iface, SIOCGIFFLAGS, &ifr);
	if (ret == -ENODEV)
		return kerf_err_set(err, ret,
			"af_packet: no interface %s here: 'ip link' lists them; for one in a "
			"namespace run under ip netns exec NAME",
			o->iface);
	if (ret == 0 && !(ifr.ifr_flags & IFF_UP))
		return kerf_err_set(err, -ENETDOWN, "af_packet: %s is down: ip link set dev %s up",
			o->iface, o->iface);
	if (ret == 0)
		ret = ask(fd, o->iface, SIOCGIFMTU, &ifr);
	if (ret < 0)
		return kerf_err_set(err, ret, "af_packet: %s: %s", o->iface, strerror(-ret));
	return check_mtu(o, (unsigned)ifr.ifr_mtu, err);
}

static int check_name(const char *iface, struct kerf_err *err)
{
	if (iface && iface[0] && strlen(iface) < IFNAMSIZ && !strpbrk(iface, ",=[]\"' "))
		return 0;
	return kerf_err_set(err, -EINVAL,
		"af_packet: iface '%s': expected the name of a kernel interface, as veth0",
		iface ? iface : "");
}

static int check(const struct kerf_port_options *o, struct kerf_err *err)
{
	int ret = check_name(o->iface, err);

	if (ret < 0)
		return ret;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0); /* protocol 0: takes no packets */
	if (fd < 0 && errno == EPERM)
		return kerf_err_set(err, -EPERM,
			"af_packet: %s: no permission for packet sockets (CAP_NET_RAW): run it "
			"with sudo",
			o->iface);
	if (fd < 0)
		return kerf_err_set(
			err, -errno, "af_packet: %s: packet socket: %s", o->iface, strerror(errno));
	ret = check_state(o, fd, err);
	close(fd);
	return ret;
}

static int device(
	const struct kerf_port_options *o, char name[64], char args[192], struct kerf_err *err)
{
	unsigned frame = frame_bytes(o);

	int ret = check_name(o->iface, err);
	if (ret < 0)
		return ret;
	snprintf(name, 64, "net_af_packet_%s", o->iface);
	snprintf(args, 192, "iface=%s,blocksz=%u,framesz=%u,framecnt=%u,qdisc_bypass=1", o->iface,
		FRAMES_PER_BLOCK * frame, frame, KERF_MAX(o->rx_ring, o->tx_ring));
	return 0;
}

/* The kernel delivers packets for another address than the interface's only in promiscuous mode. */
static int started(struct kerf_port *p, const struct kerf_port_options *o, struct kerf_err *err)
{
	struct rte_ether_addr own;

	snprintf(p->iface, sizeof(p->iface), "%s", o->iface);
	p->control_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (p->control_fd < 0)
		return kerf_err_set(err, -errno, "af_packet: socket: %s", strerror(errno));
	if (rte_eth_macaddr_get(p->id, &own) < 0 || memcmp(own.addr_bytes, p->mac, 6) == 0)
		return 0;
	int ret = rte_eth_promiscuous_enable(p->id);
	if (ret < 0)
		return kerf_err_set(err, ret,
			"af_packet: %s: promiscuous mode: %s: run it with sudo", o->iface,
			strerror(-ret));
	return 0;
}

static void closing(struct kerf_port *p)
{
	if (p->control_fd >= 0)
		close(p->control_fd);
	p->control_fd = -1;
}

/* The PMD of 22.11 says "up" for ever. */
static bool is_linked(struct kerf_port *p)
{
	struct ifreq ifr;
	const int wanted = IFF_UP | IFF_RUNNING;

	return ask(p->control_fd, p->iface, SIOCGIFFLAGS, &ifr) == 0 &&
	       (ifr.ifr_flags & wanted) == wanted;
}

const struct kerf_port_kind kerf_port_af_packet = {
	.name = "af_packet",
	.check = check,
	.device = device,
	.room_bytes = room_bytes,
	.started = started,
	.closing = closing,
	.link = is_linked,
};
