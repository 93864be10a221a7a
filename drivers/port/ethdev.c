/*
 * Any port that EAL made from a person's arguments, for programs that stand between two ports. What
 * a PMD needs beyond ethdev's rules is known here by its driver's name.
 */
#include "port/port_internal.h"

#include <rte_errno.h>
#include <string.h>

static unsigned room_bytes(const struct kerf_port_options *o)
{
	/* af_packet copies what the kernel left in its ring frame, of 2 KiB unless told otherwise. */
	return RTE_MAX(RTE_ALIGN_CEIL(o->mtu + KERF_PORT_L2_BYTES, 64u), 2048u);
}

/* Everything on the wire passes, whomever it is for. PMDs without the mode pass it anyway. */
static int started(struct kerf_port *p, const struct kerf_port_options *o, struct kerf_err *err)
{
	int ret = rte_eth_promiscuous_enable(p->id);

	if (ret < 0 && ret != -ENOTSUP)
		return kerf_err_set(err, ret, "port %u: promiscuous mode: %s", p->id,
			rte_strerror(-ret));
	return 0;
}

static const struct kerf_port_kind plain = {
	.name = "ethdev",
	.room_bytes = room_bytes,
	.started = started,
};

static const struct kerf_port_kind memif = {
	.name = "memif",
	.room_bytes = room_bytes,
	.gated = true,
	.before_start = kerf_memif_survive_hangups,
	.started = started,
};

const struct kerf_port_kind *kerf_port_ethdev_kind(uint16_t id)
{
	struct rte_eth_dev_info info;

	if (rte_eth_dev_info_get(id, &info) < 0 || strcmp(info.driver_name, "net_memif"))
		return &plain;
	return &memif;
}
