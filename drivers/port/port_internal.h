/*
 * What port.c and the files of the kinds share.
 */
#pragma once

#include "port/port.h"

#define KERF_PORT_MIN_MTU 68    /* RFC 791 */
#define KERF_PORT_MAX_MTU 65000 /* an mbuf's 16-bit buffer holds headroom + frame */
#define KERF_PORT_L2_BYTES 18   /* Ethernet header and one VLAN tag */
#define KERF_PORT_BURST 32      /* memif allocates that many mbufs in each RX call */

/* One kind of port. Options reach these functions with every default filled in. */
struct kerf_port_kind {
	const char *name;
	/* What a person can fix, before the device exists. */
	int (*check)(const struct kerf_port_options *o, struct kerf_err *err);
	/* Name and arguments of the vdev; NULL = made without one. */
	int (*device)(const struct kerf_port_options *o, char name[64], char args[192],
		struct kerf_err *err);
	/* Data bytes that each mbuf must have behind its headroom. */
	unsigned (*room_bytes)(const struct kerf_port_options *o);
	bool gated; /* only between kerf_gate_enter and kerf_gate_leave may the PMD be called */
	/* Starting connects: it may fail for now, and a lost link needs it again. NULL = no. */
	bool (*start_connects)(const struct kerf_port_options *o);
	void (*before_start)(void);
	int (*started)(
		struct kerf_port *p, const struct kerf_port_options *o, struct kerf_err *err);
	void (*closing)(struct kerf_port *p);
	bool (*link)(struct kerf_port *p); /* NULL = ask ethdev */
	bool (*multi_segment)(void);       /* NULL = ask ethdev */
};

extern const struct kerf_port_kind kerf_port_ring, kerf_port_memif, kerf_port_af_packet;
/* Of ports that a person made: ethdev.c. */
const struct kerf_port_kind *kerf_port_ethdev_kind(uint16_t id);

/* The same options with defaults filled in; those that every kind has are checked. */
int kerf_port_fill(const struct kerf_port_options *o, struct kerf_port_options *full,
	struct kerf_err *err);
/* Beside that finds the kind that they name. */
int kerf_port_resolve(const struct kerf_port_options *o, struct kerf_port_options *full,
	const struct kerf_port_kind **kind, struct kerf_err *err);
struct rte_mempool *kerf_port_create_pool(
	const struct kerf_port_options *o, const struct kerf_port_kind *kind, struct kerf_err *err);
/* Configures and starts ethdev port p->id on p->pool. */
int kerf_port_start(struct kerf_port *p, const struct kerf_port_options *o,
	const struct kerf_port_kind *kind, struct kerf_err *err);
void kerf_port_free_pool(struct rte_mempool *pool);
void kerf_port_pair_close(struct kerf_port *p);

/* ---- gate.c ---- */

int kerf_gate_open(struct kerf_err *err);
void kerf_gate_close(void);
bool kerf_gate_enter(void);
void kerf_gate_enter_wait(void);
void kerf_gate_leave(void);

/* hangup.c */
void kerf_memif_survive_hangups(void);
