/*
 * What chance does to packets: probabilities as bounds of 32-bit draws, the Gilbert-Elliott state,
 * correlated jitter. All in integers, so that every machine decides alike.
 */
#include "linkem/linkem_internal.h"

#include <math.h>

#define ONE (1ull << 32)
#define GAIN_BITS 20
#define MAX_HALF_LIFE 1e6
#define MAX_JITTER_PS (1ull << 63)

typedef __int128 wide;

/* Words that packet number n draws, as the header numbers them. */
enum first_word { DRAW_LOSS, DRAW_STATE, DRAW_DUPLICATION, DRAW_LATE };
enum second_word { DRAW_CORRUPTION, DRAW_BIT, DRAW_JITTER_LOW, DRAW_JITTER_HIGH };

static int probability(uint64_t *bound, const char *what, double p, struct kerf_err *err)
{
	if (!(p >= 0 && p <= 1)) /* NaN too */
		return kerf_err_set(err, -EINVAL, "linkem: %s %g: expected a probability, 0 to 1",
			what, p);
	*bound = (uint64_t)(p * (double)ONE + .5);
	return 0;
}

static int check(const struct kerf_linkem_config *c, struct kerf_err *err)
{
	if ((c->corruption > 0 || c->duplication > 0) && !c->pool)
		return kerf_err_set(err, -EINVAL,
			"linkem: corruption or duplication without a pool: expected one");
	if (c->late > 0 && !c->late_ps)
		return kerf_err_set(err, -EINVAL,
			"linkem: late %g by 0 ps: expected a time to hold packets back", c->late);
	if (c->jitter_ps > MAX_JITTER_PS)
		return kerf_err_set(err, -EINVAL,
			"linkem: jitter of %llu ps: expected at most %llu",
			(unsigned long long)c->jitter_ps, MAX_JITTER_PS);
	if (!(c->jitter_half_life >= 0 && c->jitter_half_life <= MAX_HALF_LIFE))
		return kerf_err_set(err, -EINVAL,
			"linkem: jitter's half-life %g packets: expected 0 to %g",
			c->jitter_half_life, MAX_HALF_LIFE);
	return 0;
}

static void set_correlation(struct linkem_chance *c, double half_life)
{
	double keep = half_life > 0 ? exp2(-1 / half_life) : 0;

	c->pull = (uint64_t)((1 - keep) * (double)ONE + .5);
	keep = 1 - (double)c->pull / (double)ONE; /* as it is applied */
	c->gain = (uint64_t)(sqrt((1 + keep) / (1 - keep)) * (double)(1u << GAIN_BITS) + .5);
}

int linkem_chance_init(struct linkem_chance *c, const struct kerf_linkem_config *config,
	struct kerf_err *err)
{
	const struct {
		uint64_t *bound;
		const char *what;
		double p;
	} all[] = {
		{&c->loss[0], "loss", config->loss},
		{&c->loss[1], "loss_bad", config->loss_bad},
		{&c->leave[0], "good_to_bad", config->good_to_bad},
		{&c->leave[1], "bad_to_good", config->bad_to_good},
		{&c->corruption, "corruption", config->corruption},
		{&c->duplication, "duplication", config->duplication},
		{&c->late, "late", config->late},
	};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(all); i++) {
		int ret = probability(all[i].bound, all[i].what, all[i].p, err);
		if (ret < 0)
			return ret;
	}
	c->seed = config->seed;
	c->stream = 2 * (uint64_t)config->direction;
	c->jitter_ps = config->jitter_ps;
	c->draws_first = c->loss[0] || c->leave[0] || c->duplication || c->late;
	c->draws_second = c->corruption || c->jitter_ps;
	set_correlation(c, config->jitter_half_life);
	return check(config, err);
}

/* The fraction `part` / 2^64 of the whole. */
static uint64_t share(uint64_t whole, uint64_t part)
{
	return (uint64_t)((unsigned __int128)whole * part >> 64);
}

/* Even draws in, correlated values of the same deviation out; both in 1/2^64 of [0, 1). */
static uint64_t correlate(struct linkem_chance *c, uint64_t draw)
{
	wide centred = (wide)draw - ((wide)1 << 63);

	c->average = (int64_t)(c->average + ((centred - c->average) * (wide)c->pull >> 32));
	wide spread = c->average * (wide)c->gain >> GAIN_BITS;
	return (uint64_t)(KERF_MIN(KERF_MAX(spread, INT64_MIN), INT64_MAX) + ((wide)1 << 63));
}

static void draw_first(struct linkem_chance *c, const uint32_t u[4], struct linkem_fate *fate)
{
	fate->lost = u[DRAW_LOSS] < c->loss[c->bad];
	fate->duplicate = u[DRAW_DUPLICATION] < c->duplication;
	fate->late = u[DRAW_LATE] < c->late;
	c->bad ^= u[DRAW_STATE] < c->leave[c->bad];
}

static void draw_second(struct linkem_chance *c, const uint32_t u[4], struct linkem_fate *fate)
{
	uint64_t jitter = (uint64_t)u[DRAW_JITTER_HIGH] << 32 | u[DRAW_JITTER_LOW];

	fate->corrupt = u[DRAW_CORRUPTION] < c->corruption;
	fate->bit = u[DRAW_BIT];
	if (c->pull != ONE)
		jitter = correlate(c, jitter);
	fate->jitter_ps = share(c->jitter_ps, jitter);
}

void linkem_chance_draw(struct linkem_chance *c, uint64_t number, struct linkem_fate *fate)
{
	uint32_t u[4];

	*fate = (struct linkem_fate){0};
	if (c->draws_first) {
		kerf_rng_block(c->seed, c->stream, number, u);
		draw_first(c, u, fate);
	}
	if (c->draws_second) {
		kerf_rng_block(c->seed, c->stream + 1, number, u);
		draw_second(c, u, fate);
	}
}
