#include "link/link.h"

#include <math.h>
#include <string.h>

#define TAU_MIN 1e-13 /* 80 Tbit/s */
#define TAU_MAX 10.0  /* 0.8 bit/s */
#define RTT_MAX_NS (60 * KERF_NS_PER_S)
#define LOSS_WEIGHT (1.0 / 256)

const char *kerf_link_label_name(enum kerf_link_label label)
{
	static const char *const names[KERF_LABEL_COUNT] = {
		[KERF_LABEL_NONE] = "none",
		[KERF_LABEL_BOTTLENECK] = "bottleneck",
		[KERF_LABEL_SENDER] = "sender",
		[KERF_LABEL_RECEIVER] = "receiver",
		[KERF_LABEL_TIMED_OUT] = "timed_out",
		[KERF_LABEL_INVALID] = "invalid",
	};

	return (unsigned)label < KERF_LABEL_COUNT ? names[label] : "unknown";
}

static void take(struct kerf_link *l, double tau)
{
	memmove(&l->taus[1], &l->taus[0], sizeof(l->taus) - sizeof(l->taus[0]));
	l->taus[0] = tau;
	l->n_taus = KERF_MIN(l->n_taus + 1, KERF_LINK_SAMPLES);
}

/* The link is at least this fast: no kept sample may say that it is slower. */
static void bound_above(struct kerf_link *l, double tau)
{
	if (l->n_taus == 0)
		take(l, tau);
	for (unsigned i = 0; i < l->n_taus; i++)
		l->taus[i] = fmin(l->taus[i], tau);
}

static void bound_below(struct kerf_link *l, double tau)
{
	for (unsigned i = 0; i < l->n_taus; i++)
		l->taus[i] = fmax(l->taus[i], tau);
}

void kerf_link_update(struct kerf_link *l, const struct kerf_sample *s, uint64_t now_ns)
{
	bool tells = s->label != KERF_LABEL_NONE && s->label != KERF_LABEL_INVALID;

	if ((unsigned)s->label >= KERF_LABEL_COUNT ||
		(tells && !(s->tau >= TAU_MIN && s->tau <= TAU_MAX))) {
		l->refused++;
		return;
	}
	l->samples[s->label]++;
	if (!tells)
		return;
	if (s->label == KERF_LABEL_BOTTLENECK)
		take(l, s->tau);
	else if (s->label == KERF_LABEL_TIMED_OUT)
		bound_below(l, s->tau);
	else
		bound_above(l, s->tau);
	if (l->n_taus)
		l->sampled_ns = now_ns;
}

void kerf_link_update_rtt(struct kerf_link *l, uint64_t rtt_ns)
{
	if (rtt_ns == 0 || rtt_ns > RTT_MAX_NS) {
		l->refused++;
		return;
	}
	memmove(&l->rtt_ns[1], &l->rtt_ns[0], sizeof(l->rtt_ns) - sizeof(l->rtt_ns[0]));
	l->rtt_ns[0] = rtt_ns;
	l->n_rtts = KERF_MIN(l->n_rtts + 1, KERF_LINK_RTT_SAMPLES);
}

void kerf_link_update_loss(struct kerf_link *l, uint32_t packets, uint32_t lost)
{
	if (lost > packets) {
		l->refused++;
		return;
	}
	if (packets == 0)
		return;
	/* As if every packet had been counted alone, each lost to the same degree. */
	double keep = pow(1 - LOSS_WEIGHT, packets);
	l->loss = keep * l->loss + (1 - keep) * lost / packets;
}

bool kerf_link_known(const struct kerf_link *l)
{
	return l->n_taus > 0;
}

/* The harmonic mean of rates is the arithmetic mean of seconds per byte. */
double kerf_link_tau(const struct kerf_link *l)
{
	double sum = 0;

	for (unsigned i = 0; i < l->n_taus; i++)
		sum += l->taus[i];
	return l->n_taus ? sum / l->n_taus : 0;
}

double kerf_link_rate_bps(const struct kerf_link *l)
{
	return kerf_link_known(l) ? 8 / kerf_link_tau(l) : 0;
}

uint64_t kerf_link_base_rtt_ns(const struct kerf_link *l)
{
	uint64_t base = l->n_rtts ? UINT64_MAX : 0;

	for (unsigned i = 0; i < l->n_rtts; i++)
		base = KERF_MIN(base, l->rtt_ns[i]);
	return base;
}

void kerf_link_reset(struct kerf_link *l)
{
	memset(l->taus, 0, sizeof(l->taus));
	memset(l->rtt_ns, 0, sizeof(l->rtt_ns));
	l->n_taus = l->n_rtts = 0;
	l->sampled_ns = 0;
	l->loss = 0;
}
