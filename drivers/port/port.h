/*
 * port: bring-up of an ethdev port and all that kerf must know of its PMD.
 *
 *	struct kerf_port_options o = {.kind = "memif", .socket = "/run/kerf.sock", .server = true};
 *	kerf_port_eal_args(&o, args, &n);           // EAL arguments this kind needs (--vdev=...)
 *	... rte_eal_init ...
 *	kerf_port_open(&port, &o, &err);
 *	kerf_port_rx(&port, pkts, 32); kerf_port_tx(&port, pkts, n);
 *
 * One file per kind knows that kind's PMD: its arguments, real MTU limit, pool sizes, known bugs.
 *
 * What a person can get wrong (interface, socket, permission, MTU) is checked by
 * kerf_port_eal_args, before EAL probes the device, because EAL itself only logs that a probe
 * failed. A port whose device EAL did not create is hot-plugged by kerf_port_open. One thread at a
 * time uses a port; different ports may be used by different threads. One RX and one TX queue, both
 * number 0; MBUF_FAST_FREE is never on, so packets may carry extra references.
 */
#pragma once

#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include "core/core.h"

#define KERF_PORT_MAX_EAL_ARGS 4

/* Zero fields are defaults. */
struct kerf_port_options {
	const char *kind;   /* "ring", "memif", "af_packet" */
	const char *socket; /* memif: absolute path of the control socket */
	bool server;        /* memif: this end listens */
	const char *iface;  /* af_packet: kernel interface */
	unsigned mtu;       /* largest IP packet; 0 = 1500 */
	unsigned mbufs;     /* in the pool, those that senders hold included; 0 = 16384 */
	unsigned rx_ring, tx_ring; /* descriptors, powers of two up to 16384; 0 = 1024 */
	const uint8_t *mac; /* NULL = the port's own. Ring pair: only a's, b gets its own */
};

struct kerf_port {
	uint16_t id;
	struct rte_mempool *pool; /* RX and TX packets; room for mtu + Ethernet */
	uint8_t mac[6];
	unsigned mtu;
	bool multi_segment; /* the PMD takes chained mbufs on TX */
	char kind[16];
	uint64_t tx_full;   /* packets that a full TX ring did not take at once */
	uint64_t rx_packets, tx_packets;
	/* private to drivers/port */
	const struct kerf_port_kind *ops;
	struct kerf_port_pair *pair; /* ring: what the two ends share */
	bool reconnects;             /* memif client: by starting again */
	bool running, up;            /* started; link */
	uint64_t link_due_tsc;       /* when to ask for the link again */
	uint64_t reconnect_due_tsc;  /* when to give up on the handshake and start again */
	int control_fd;              /* af_packet: for ioctl */
	char iface[16];
};

/*
 * EAL arguments for this kind, in KERF_PORT_MAX_EAL_ARGS caller-provided buffers of 256 bytes each;
 * *n is how many (ring: none). memif server: removes a socket file that a killed server left.
 */
int kerf_port_eal_args(const struct kerf_port_options *o, char args[][256], unsigned *n,
	struct kerf_err *err);

/* Configures and starts the port. Errors say which command fixes it where one does. */
int kerf_port_open(struct kerf_port *p, const struct kerf_port_options *o, struct kerf_err *err);
/*
 * Configures and starts ethdev port `id`, which EAL made from a person's own arguments (a NIC, or
 * --vdev=...), with promiscuous mode on where there is one. Of the options only mtu, mbufs, rx_ring
 * and tx_ring count. A memif port must have role=server.
 */
int kerf_port_open_ethdev(struct kerf_port *p, uint16_t id, const struct kerf_port_options *o,
	struct kerf_err *err);
/* Two ring ports of this process, each other's peer, with one pool: packets pass by pointer. */
int kerf_port_open_ring_pair(struct kerf_port *a, struct kerf_port *b,
	const struct kerf_port_options *o, struct kerf_err *err);
/* The pool goes when all its packets are back; with packets still held elsewhere it stays. Harmless
 * on a port that is not open. */
void kerf_port_close(struct kerf_port *p);

/* The link is up (memif: the peer is connected), as of at most 10 ms ago. Never blocks. Makes a
 * memif client connect again, as kerf_port_rx does. */
bool kerf_port_is_up(struct kerf_port *p);

/* memif: while EAL's interrupt thread has something to do, neither moves packets (see gate.c). */
unsigned kerf_port_rx(struct kerf_port *p, struct rte_mbuf **pkts, unsigned n);
/* Returns how many were taken; the others stay the caller's. */
unsigned kerf_port_tx(struct kerf_port *p, struct rte_mbuf **pkts, unsigned n);
