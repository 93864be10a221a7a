/*
 * The emulator as linkem.c and attach.c see it.
 */
#pragma once

#include "linkem/linkem.h"

#include <rte_ethdev.h>

/* Work of the link in 1e-12 bit: rate in bit/s times time in ps. 2^64 ps at 400 Gbit/s are 7.4e30,
 * far below 2^128 = 3.4e38; a packet adds at most 7e22, however late the link is. */
typedef unsigned __int128 kerf_work;

struct linkem_step {
	uint64_t at_ps, bps;
	kerf_work work; /* W(at_ps) */
};

struct linkem_packet {
	struct rte_mbuf *mbuf;
	uint64_t finish_ps, deliver_ps; /* UINT64_MAX = never */
	uint32_t len;                   /* L2 */
};

struct kerf_linkem {
	struct linkem_step *steps; /* NULL = infinitely fast */
	unsigned n_steps;
	unsigned arrival_step, finish_step; /* where the last arrival and the last finish fell */
	kerf_work busy_until;               /* e_i of the last packet taken */
	uint64_t last_arrival_ps, last_finish_ps;
	uint64_t delay_ps, queue_bytes;
	uint32_t overhead_bytes;

	/*
	 * Ring of packets by running number: [out, in) are held, [waiting, in) have not finished at
	 * the last arrival. waiting may lie before out, when a packet was pulled at a time later
	 * than the next arrival stamp.
	 */
	struct linkem_packet *packets;
	uint32_t mask, room;
	uint64_t out, waiting, in;
	uint64_t waiting_bytes;

	struct kerf_linkem_stats stats;
	int timestamp_offset;
	uint64_t timestamp_flag;

	/* attached */
	const struct rte_eth_rxtx_callback *callback;
	uint16_t port, queue;
	uint64_t (*clock_ns)(void);
	uint64_t epoch_ns;
};
