/*
 * CoDel, RFC 8289 section 5, at the head of the queue: a packet is judged when its service would
 * start, by the packets that have arrived until then.
 */
#include "linkem/linkem_internal.h"

#include <inttypes.h>
#include <math.h>

#define DEFAULT_TARGET_PS 5000000000ull
#define DEFAULT_INTERVAL_PS 100000000000ull
#define MAX_INTERVAL_PS 1000000000000000ull /* 1000 s */

int linkem_codel_init(struct linkem_codel *c, const struct kerf_linkem_config *config,
	struct kerf_err *err)
{
	c->on = config->codel;
	c->target_ps = config->codel_target_ps ? config->codel_target_ps : DEFAULT_TARGET_PS;
	c->interval_ps = config->codel_interval_ps ? config->codel_interval_ps
						   : DEFAULT_INTERVAL_PS;
	if (KERF_MAX(c->target_ps, c->interval_ps) > MAX_INTERVAL_PS)
		return kerf_err_set(err, -EINVAL,
			"linkem: CoDel's target %" PRIu64 " and interval %" PRIu64
			" ps: expected at most %llu",
			c->target_ps, c->interval_ps, MAX_INTERVAL_PS);
	return 0;
}

static struct linkem_packet *head(const struct kerf_linkem *e)
{
	return e->served == e->in ? NULL : &e->packets[e->served & e->mask];
}

/* The RFC's dodequeue: whether the packet may be dropped. Leaves first_above_time behind. */
static bool ok_to_drop(struct kerf_linkem *e, const struct linkem_packet *p, uint64_t now)
{
	struct linkem_codel *c = &e->codel;

	if (!p || now - p->arrival_ps < c->target_ps ||
		c->backlog_bytes - p->len <= c->max_packet) {
		c->first_above_ps = 0;
		return false;
	}
	if (!c->first_above_ps) {
		c->first_above_ps = linkem_later(now, c->interval_ps);
		return false;
	}
	return now >= c->first_above_ps;
}

/* The square root and the division of doubles are exactly rounded on every machine (IEEE 754). */
static uint64_t control_law(const struct linkem_codel *c, uint64_t t)
{
	return linkem_later(t, (uint64_t)((double)c->interval_ps / sqrt(c->count)));
}

static struct linkem_packet *leave_queue(struct kerf_linkem *e)
{
	struct linkem_packet *p = head(e);

	e->codel.backlog_bytes -= p->len;
	e->codel.backlog_own -= p->mbuf != NULL;
	e->served++;
	return p;
}

static void drop(struct kerf_linkem *e, uint64_t now)
{
	struct linkem_packet *p = leave_queue(e);

	p->finish_ps = now;
	if (!p->mbuf) {
		e->stats.cross_dropped++;
		return;
	}
	e->stats.dropped_codel++;
	rte_pktmbuf_free(p->mbuf);
	linkem_tell(e, &(struct kerf_linkem_truth){.number = p->number,
		.arrival_ps = p->arrival_ps, .start_ps = now, .finish_ps = now, .bytes = p->len,
		.end = KERF_LINKEM_DROPPED_CODEL});
}

static void start_dropping(struct linkem_codel *c, uint64_t now)
{
	/* Above the target again soon after the last time: the drop rate that controlled it then
	 * is a good start. */
	uint32_t delta = c->count - c->last_count;
	bool soon = now < linkem_later(c->drop_next_ps, 16 * c->interval_ps);

	c->dropping = true;
	c->count = delta > 1 && soon ? delta : 1;
	c->drop_next_ps = control_law(c, now);
	c->last_count = c->count;
}

/* Drops what CoDel drops before it lets the next packet start. */
static void judge(struct kerf_linkem *e, uint64_t now)
{
	struct linkem_codel *c = &e->codel;
	bool ok = ok_to_drop(e, head(e), now);

	if (!c->dropping && ok) {
		drop(e, now);
		ok_to_drop(e, head(e), now);
		start_dropping(c, now);
		return;
	}
	c->dropping = c->dropping && ok;
	while (c->dropping && now >= c->drop_next_ps) {
		drop(e, now);
		c->count++;
		c->dropping = ok_to_drop(e, head(e), now);
		if (c->dropping)
			c->drop_next_ps = control_law(c, c->drop_next_ps);
	}
}

uint64_t linkem_codel_next(const struct kerf_linkem *e)
{
	const struct linkem_packet *p = head(e);

	return p ? KERF_MAX(p->arrival_ps, e->rate.last_finish_ps) : LINKEM_NEVER;
}

void linkem_codel_start(struct kerf_linkem *e, uint64_t now_ps)
{
	judge(e, now_ps);
	if (head(e))
		linkem_transmit(e, leave_queue(e));
}
