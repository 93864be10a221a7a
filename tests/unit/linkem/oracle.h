/*
 * A second way to compute what the emulator promises: walks from step to step with the bits still
 * to send, instead of solving the running integral; keeps every packet; searches the queue by
 * looking back.
 */
#pragma once

#include "linkem/linkem.h"

struct oracle_packet {
	uint64_t finish_ps, deliver_ps; /* UINT64_MAX = never */
	uint32_t len;
	bool dropped;
};

struct oracle {
	const struct kerf_linkem_config *c;
	struct oracle_packet *packets;
	unsigned n;
	uint64_t free_ps;       /* the last packet's finish */
	unsigned __int128 lead; /* 1e-12 bit that the last picosecond served beyond its end */
};

static inline unsigned oracle_step(const struct kerf_linkem_config *c, uint64_t t)
{
	unsigned low = 0;

	for (unsigned width = c->n_steps / 2; width; width /= 2)
		while (low + width < c->n_steps && c->steps[low + width].at_ps <= t)
			low += width;
	while (low + 1 < c->n_steps && c->steps[low + 1].at_ps <= t)
		low++;
	return low;
}

static inline uint64_t oracle_send(struct oracle *o, uint64_t arrival, uint32_t len)
{
	unsigned __int128 need =
		(unsigned __int128)(len + o->c->overhead_bytes) * 8 * 1000000000000ull;
	uint64_t t = o->free_ps;

	if (!o->c->n_steps)
		return arrival;
	if (t == UINT64_MAX)
		return t;
	if (arrival >= t)
		t = arrival;
	else
		need -= o->lead < need ? o->lead : need;
	for (unsigned i = oracle_step(o->c, t);; i++) {
		uint64_t bps = o->c->steps[i].bps;
		bool last = i + 1 == o->c->n_steps;
		unsigned __int128 fits =
			last ? 0 : (unsigned __int128)bps * (o->c->steps[i + 1].at_ps - t);

		if (last && !bps)
			return o->free_ps = UINT64_MAX;
		if (last || fits >= need) {
			unsigned __int128 ps = need / bps + (need % bps != 0);
			if (ps >= UINT64_MAX - t)
				return o->free_ps = UINT64_MAX;
			o->lead = ps * bps - need;
			return o->free_ps = t + (uint64_t)ps;
		}
		need -= fits;
		t = o->c->steps[i + 1].at_ps;
	}
}

static inline void oracle_push(struct oracle *o, uint64_t arrival, uint32_t len)
{
	struct oracle_packet *p = &o->packets[o->n];
	uint64_t waiting = 0, packets = 0;

	for (unsigned i = o->n; i-- > 0;) {
		if (o->packets[i].dropped)
			continue;
		if (o->packets[i].finish_ps <= arrival)
			break;
		waiting += o->packets[i].len;
		packets++;
	}
	p->len = len;
	p->dropped = (o->c->queue_bytes && waiting + len > o->c->queue_bytes) ||
		     (o->c->queue_packets && packets + 1 > o->c->queue_packets);
	o->n++;
	if (p->dropped)
		return;
	p->finish_ps = oracle_send(o, arrival, len);
	p->deliver_ps = p->finish_ps == UINT64_MAX || p->finish_ps >= UINT64_MAX - o->c->delay_ps
				? UINT64_MAX
				: p->finish_ps + o->c->delay_ps;
}
