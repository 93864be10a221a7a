#include "link/link.h"

#include <math.h>
#include <string.h>

#define TAU_MIN 1e-13 /* 80 Tbit/s */
#define TAU_MAX 10.0 /* 0.8 bit/s */
#define RTT_MAX_NS (60 * KERF_NS_PER_S)
#define LOSS_WEIGHT (1.0 / 256)

/* The filter: steps from 1/20 to 4 times the rate are followed within 1 to 3 frames, at 2 to 20%
 * noise, with less than 1 false alarm in 1000 (tests/unit/link/link.c). */
#define DRIFT_MIN 0.04 /* 1/s */
#define DRIFT_MAX 9.0
#define DRIFT_DT_MAX 1.0 /* s */
#define VARIANCE_MAX 1.0 /* by drift; a change may be larger */
#define NOISE_MIN 1e-3
#define NOISE_MAX 0.25
#define ERROR_MAX 0.5 /* a sample with a larger bound proves nothing */
#define FIRST_BOUND_VARIANCE 1.0
#define SPLIT_WEIGHT 0.05
#define SPLIT_CLIP 0.7
#define INTERVAL_WEIGHT 0.1
#define CUSUM_SLACK 0.5
#define CUSUM_DOWN 4.0
#define CUSUM_UP 5.0
#define OUTLIER -3.5
#define BOUND_BELOW_NOISE 4.0 /* times the noise of a sample that timed out */
#define BIAS_WEIGHT (1.0 / 32)
#define BIAS_STEP 0.5 /* what differs by more is a change of the rate */
#define BIAS_MAX 1.0
#define BIAS_AGE_NS (2 * KERF_NS_PER_S)
#define SIGMA_DOUBT 0.5

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

static double clip(double v, double low, double high)
{
	return fmin(fmax(v, low), high);
}

/* Noise and drift from how successive samples differ. */
static void split_noise(struct kerf_link *l, double y, double dt_s)
{
	const double before = l->y_before;
	const bool first = !l->have_before;
	double dy;

	l->y_before = y;
	l->have_before = true;
	if (first)
		return;
	dy = clip(y - before, -SPLIT_CLIP, SPLIT_CLIP);
	l->c1 += SPLIT_WEIGHT * (dy * l->dy_before - l->c1);
	l->c0 += SPLIT_WEIGHT * (dy * dy - l->c0);
	l->dy_before = dy;
	l->interval_s += l->interval_s > 0 ? INTERVAL_WEIGHT * (dt_s - l->interval_s) : dt_s;
}

static double noise_of(const struct kerf_link *l, double error)
{
	return fmax(error * error, clip(-l->c1, NOISE_MIN, NOISE_MAX));
}

static double drift_of(const struct kerf_link *l, double noise)
{
	if (l->interval_s <= 0)
		return DRIFT_MAX / 9; /* 1/s: nothing is known yet */
	return clip((l->c0 - 2 * noise) / l->interval_s, DRIFT_MIN, DRIFT_MAX);
}

/* Page's test both ways on the innovation, in its standard deviations. */
static bool is_change(struct kerf_link *l, double zn)
{
	l->down = fmax(0, l->down - zn - CUSUM_SLACK);
	l->up = fmax(0, l->up + zn - CUSUM_SLACK);
	if (l->down <= CUSUM_DOWN && l->up <= CUSUM_UP && zn >= OUTLIER)
		return false;
	l->down = l->up = 0;
	l->alarm = true;
	l->alarms++;
	return true;
}

static void correct(struct kerf_link *l, double y, double noise)
{
	const double z = y - l->x;

	l->doubt = is_change(l, z / sqrt(l->v + noise));
	if (l->doubt)
		l->v = fmax(l->v, z * z);
	const double gain = l->v / (l->v + noise);
	l->x += gain * z;
	l->v *= 1 - gain;
}

static void begin(struct kerf_link *l, enum kerf_link_label label, double y, double noise)
{
	if (label == KERF_LABEL_TIMED_OUT)
		return;
	l->known = true;
	l->x = y;
	l->v = label == KERF_LABEL_BOTTLENECK ? noise : FIRST_BOUND_VARIANCE;
}

/* A short train's sample less what short trains see differently; learnt beside long ones only. */
static double unbiased(struct kerf_link *l, const struct kerf_sample *s, double y, uint64_t now)
{
	if (s->packets >= KERF_LINK_SHORT_PACKETS) {
		l->long_ns = now;
		return y;
	}
	if (l->known && l->long_ns && now - l->long_ns < BIAS_AGE_NS &&
		s->label == KERF_LABEL_BOTTLENECK && fabs(y - l->short_bias - l->x) < BIAS_STEP)
		l->short_bias = clip(l->short_bias + BIAS_WEIGHT * (y - l->short_bias - l->x),
			-BIAS_MAX, BIAS_MAX);
	return y - l->short_bias;
}

static void take(struct kerf_link *l, const struct kerf_sample *s, uint64_t now)
{
	const double dt_s = l->known ? fmin(1e-9 * (double)(now - l->sampled_ns), DRIFT_DT_MAX) : 0;
	const double y = unbiased(l, s, -log(s->tau), now);
	double noise = noise_of(l, s->error);

	if (!l->known) {
		begin(l, s->label, y, noise);
		return;
	}
	l->v = fmin(l->v + drift_of(l, noise) * dt_s, VARIANCE_MAX);
	if (s->label == KERF_LABEL_BOTTLENECK) {
		split_noise(l, y, dt_s);
		correct(l, y, noise);
	} else if (s->label == KERF_LABEL_TIMED_OUT ? y < l->x : y > l->x) {
		correct(l, y, s->label == KERF_LABEL_TIMED_OUT ? BOUND_BELOW_NOISE * noise : noise);
	}
}

void kerf_link_update(struct kerf_link *l, const struct kerf_sample *s, uint64_t now_ns)
{
	const bool tells = s->label != KERF_LABEL_NONE && s->label != KERF_LABEL_INVALID;

	if ((unsigned)s->label >= KERF_LABEL_COUNT || now_ns < l->sampled_ns ||
		(tells && !(s->tau >= TAU_MIN && s->tau <= TAU_MAX && s->error >= 0))) {
		l->refused++;
		return;
	}
	l->samples[s->label]++;
	if (!tells || (s->label == KERF_LABEL_BOTTLENECK && s->error > ERROR_MAX))
		return;
	take(l, s, now_ns);
	if (l->known)
		l->sampled_ns = now_ns;
}

/* ---- round trips ---- */

#define BASE_SLOT_NS (KERF_LINK_BASE_NS / KERF_LINK_BASE_SLOTS)

static void note_base(struct kerf_link *l, uint64_t rtt_ns, uint64_t now)
{
	if (l->n_rtts && now - l->rtt[0].begin_ns < BASE_SLOT_NS) {
		l->rtt[0].least = KERF_MIN(l->rtt[0].least, rtt_ns);
		return;
	}
	l->n_rtts = KERF_MIN(l->n_rtts + 1, KERF_LINK_BASE_SLOTS);
	memmove(&l->rtt[1], &l->rtt[0], (l->n_rtts - 1) * sizeof(l->rtt[0]));
	l->rtt[0].begin_ns = now;
	l->rtt[0].least = rtt_ns;
	/* Slots that are older than the window, but for the newest. */
	while (l->n_rtts > 1 && now - l->rtt[l->n_rtts - 1].begin_ns > KERF_LINK_BASE_NS)
		l->n_rtts--;
}

void kerf_link_update_rtt(struct kerf_link *l, uint64_t rtt_ns, uint64_t now_ns)
{
	if (rtt_ns == 0 || rtt_ns > RTT_MAX_NS || (l->n_rtts && now_ns < l->rtt[0].begin_ns)) {
		l->refused++;
		return;
	}
	note_base(l, rtt_ns, now_ns);
	if (l->srtt == 0) {
		l->srtt = (double)rtt_ns;
		l->rttvar = l->srtt / 2;
		return;
	}
	l->rttvar += (fabs(l->srtt - (double)rtt_ns) - l->rttvar) / 4;
	l->srtt += ((double)rtt_ns - l->srtt) / 8;
}

uint64_t kerf_link_rto_ns(const struct kerf_link *l)
{
	return (uint64_t)(l->srtt + 4 * l->rttvar);
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
	return l->known;
}

static double tau_of(double x, double v)
{
	return clip(exp(-x + v / 2), TAU_MIN, TAU_MAX);
}

double kerf_link_tau(const struct kerf_link *l)
{
	return l->known ? tau_of(l->x, l->v) : 0;
}

double kerf_link_tau_for(const struct kerf_link *l, uint32_t packets)
{
	const double bias = packets < KERF_LINK_SHORT_PACKETS ? l->short_bias : 0;

	return l->known ? tau_of(l->x + bias, l->v) : 0;
}

double kerf_link_pace_tau(const struct kerf_link *l)
{
	return l->known ? clip(exp(-l->x - sqrt(l->v)), TAU_MIN, TAU_MAX) : 0;
}

double kerf_link_rate_bps(const struct kerf_link *l)
{
	return l->known ? 8 * exp(l->x) : 0;
}

double kerf_link_sigma(const struct kerf_link *l)
{
	return sqrt(l->v);
}

bool kerf_link_take_alarm(struct kerf_link *l)
{
	const bool alarm = l->alarm;

	l->alarm = false;
	return alarm;
}

bool kerf_link_uncertain(const struct kerf_link *l)
{
	return !l->known || l->doubt || kerf_link_sigma(l) > SIGMA_DOUBT;
}

uint64_t kerf_link_base_rtt_ns(const struct kerf_link *l)
{
	uint64_t base = l->n_rtts ? UINT64_MAX : 0;

	for (unsigned i = 0; i < l->n_rtts; i++)
		base = KERF_MIN(base, l->rtt[i].least);
	return base;
}

void kerf_link_reset(struct kerf_link *l)
{
	struct kerf_link fresh = {.refused = l->refused, .alarms = l->alarms};

	memcpy(fresh.samples, l->samples, sizeof(fresh.samples));
	*l = fresh;
}
