#include "link/link.h"
#include "unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FRAME 33333333ull /* ns: 30 a second */

static void update(struct kerf_link *l, enum kerf_link_label label, double tau)
{
	kerf_link_update(l, &(struct kerf_sample){.label = label, .tau = tau, .packets = 64}, 1);
}

static struct kerf_link link_of(double a, double b, double c)
{
	struct kerf_link l = {0};

	update(&l, KERF_LABEL_BOTTLENECK, a);
	update(&l, KERF_LABEL_BOTTLENECK, b);
	update(&l, KERF_LABEL_BOTTLENECK, c);
	return l;
}

static void test_unknown_at_first(void)
{
	struct kerf_link l = {0};

	CU_ASSERT_FALSE(kerf_link_known(&l));
	CU_ASSERT_EQUAL(kerf_link_tau(&l), 0);
	CU_ASSERT_EQUAL(kerf_link_rate_bps(&l), 0);
	CU_ASSERT_EQUAL(kerf_link_base_rtt_ns(&l), 0);
}

/* Samples of the same rate: that rate, to the last bits, and ever surer. */
static void test_constant_rate_is_kept(void)
{
	static const double rates[] = {1e6, 1e7, 1e8, 1e9, 1e10, 1e11};

	for (unsigned r = 0; r < KERF_ARRAY_LEN(rates); r++) {
		struct kerf_link l = {0};

		for (unsigned i = 0; i < 100; i++)
			kerf_link_update(&l,
				&(struct kerf_sample){
					KERF_LABEL_BOTTLENECK, 8 / rates[r], 0.02, 64},
				i * FRAME);
		CU_ASSERT_DOUBLE_EQUAL(kerf_link_rate_bps(&l) / rates[r], 1, 1e-12);
		CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l) * rates[r] / 8, 1, 0.005);
		CU_ASSERT(kerf_link_sigma(&l) < 0.05);
		CU_ASSERT_FALSE(kerf_link_uncertain(&l));
		CU_ASSERT_EQUAL(l.alarms, 0);
	}
}

static double gaussian(struct kerf_rng *rng)
{
	double sum = 0;

	for (int i = 0; i < 12; i++)
		sum += kerf_rng_uniform(rng);
	return sum - 6;
}

static void noisy(struct kerf_link *l, double rate, double noise, struct kerf_rng *rng, uint64_t at)
{
	const double tau = 8 / rate * exp(noise * gaussian(rng));

	kerf_link_update(
		l, &(struct kerf_sample){KERF_LABEL_BOTTLENECK, tau, 0.02, 64}, at * FRAME);
}

/* 10^4 frames at a steady rate with 2% noise: mean error below 3%, at most 1 false alarm in 1000. */
static void test_steady_with_noise(void)
{
	struct kerf_rng rng = {.seed = 4};
	struct kerf_link l = {0};
	double error = 0;

	for (unsigned i = 0; i < 10000; i++) {
		noisy(&l, 5e7, 0.02, &rng, i);
		error += fabs(kerf_link_rate_bps(&l) / 5e7 - 1) / 10000;
	}
	printf(" seed 4: mean error %.2f%%, %lu alarms;", 100 * error, l.alarms);
	CU_ASSERT(error < 0.03);
	CU_ASSERT(l.alarms <= 10);
}

static int by_number(const void *a, const void *b)
{
	return *(const unsigned *)a < *(const unsigned *)b ? -1 : 1;
}

/* Frames until the estimate is within 20% of the new rate and stays so for that frame: p95. */
static unsigned frames_to_follow(double factor, double noise)
{
	enum { RUNS = 400, MOST = 60 };
	static unsigned took[RUNS];

	for (unsigned run = 0; run < RUNS; run++) {
		struct kerf_rng rng = {.seed = run, .stream = 7};
		struct kerf_link l = {0};
		unsigned n = 0;

		for (unsigned i = 0; i < 200; i++)
			noisy(&l, 1e8, noise, &rng, i);
		do
			noisy(&l, 1e8 * factor, noise, &rng, 200 + n++);
		while (fabs(kerf_link_rate_bps(&l) / (1e8 * factor) - 1) > 0.2 && n < MOST);
		took[run] = n;
	}
	qsort(took, RUNS, sizeof(took[0]), by_number);
	return took[RUNS * 95 / 100];
}

static void test_steps_are_followed(void)
{
	static const struct {
		double factor, noise;
		unsigned most;
	} all[] = {{0.05, 0.02, 1}, {0.25, 0.02, 1}, {0.5, 0.02, 1}, {2, 0.02, 1}, {4, 0.02, 1},
		{0.05, 0.1, 2}, {0.25, 0.1, 2}, {4, 0.1, 2}, {0.05, 0.2, 3}, {0.5, 0.2, 5},
		{2, 0.2, 6}, {4, 0.2, 4}};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(all); i++) {
		unsigned n = frames_to_follow(all[i].factor, all[i].noise);

		if (n > all[i].most)
			printf("x%g with noise %g: %u frames, expected %u\n", all[i].factor,
				all[i].noise, n, all[i].most);
		CU_ASSERT(n <= all[i].most);
	}
}

/* A fall of the rate raises the alarm once, and says that more samples are wanted. */
static void test_alarm(void)
{
	struct kerf_rng rng = {.seed = 9};
	struct kerf_link l = {0};

	for (unsigned i = 0; i < 100; i++)
		noisy(&l, 1e9, 0.05, &rng, i);
	kerf_link_take_alarm(&l);
	noisy(&l, 5e7, 0.05, &rng, 100);
	CU_ASSERT_TRUE(kerf_link_uncertain(&l));
	CU_ASSERT_TRUE(kerf_link_take_alarm(&l));
	CU_ASSERT_FALSE(kerf_link_take_alarm(&l));
	for (unsigned i = 101; i < 110; i++)
		noisy(&l, 5e7, 0.05, &rng, i);
	CU_ASSERT_FALSE(kerf_link_uncertain(&l));
}

/* Short trains that see 3/4 of the rate: each kind gets its own. */
static void test_short_trains(void)
{
	struct kerf_link l = {0};

	for (unsigned i = 0; i < 400; i++)
		kerf_link_update(&l,
			&(struct kerf_sample){KERF_LABEL_BOTTLENECK, i % 4 ? 8e-8 : 8e-8 / 0.75,
				0.02, i % 4 ? 100 : 16},
			i * FRAME);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau_for(&l, 100) / 8e-8, 1, 0.03);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau_for(&l, 16) / (8e-8 / 0.75), 1, 0.03);
}

static void test_sampled_time(void)
{
	struct kerf_link l = {0};

	kerf_link_update(&l, &(struct kerf_sample){KERF_LABEL_NONE, 0, 0, 9}, 5);
	CU_ASSERT_EQUAL(l.sampled_ns, 0);
	kerf_link_update(&l, &(struct kerf_sample){KERF_LABEL_BOTTLENECK, 1e-9, 0.1, 9}, 7);
	CU_ASSERT_EQUAL(l.sampled_ns, 7);
	kerf_link_update(&l, &(struct kerf_sample){KERF_LABEL_INVALID, 0, 0, 9}, 8);
	CU_ASSERT_EQUAL(l.sampled_ns, 7);
}

/* 10 small packets at 100 Gbit/s prove that the link is at least as fast as the sender, no more. */
static void test_sender_and_receiver_only_raise_the_rate(void)
{
	static const enum kerf_link_label labels[] = {KERF_LABEL_SENDER, KERF_LABEL_RECEIVER};

	for (unsigned i = 0; i < 2; i++) {
		struct kerf_link l = link_of(8e-9, 8e-9, 8e-9);
		const double before = kerf_link_rate_bps(&l);
		for (unsigned k = 0; k < 1000; k++)
			update(&l, labels[i], 100e-9);
		CU_ASSERT_EQUAL(kerf_link_rate_bps(&l), before);
		for (unsigned k = 0; k < 4; k++)
			update(&l, labels[i], 4e-9);
		CU_ASSERT(kerf_link_rate_bps(&l) > 1.8 * before);
		CU_ASSERT_EQUAL(l.samples[labels[i]], 1004);

		/* The first of all is better than nothing. */
		l = (struct kerf_link){0};
		update(&l, labels[i], 8e-9);
		CU_ASSERT_DOUBLE_EQUAL(kerf_link_rate_bps(&l), 1e9, 1);
		CU_ASSERT_TRUE(kerf_link_uncertain(&l));
	}
}

static void test_timed_out_only_lowers_the_rate(void)
{
	struct kerf_link l = link_of(8e-9, 8e-9, 8e-9);
	const double before = kerf_link_rate_bps(&l);

	update(&l, KERF_LABEL_TIMED_OUT, 1e-9);
	CU_ASSERT_EQUAL(kerf_link_rate_bps(&l), before);
	update(&l, KERF_LABEL_TIMED_OUT, 80e-9);
	CU_ASSERT(kerf_link_rate_bps(&l) < before / 8 && kerf_link_rate_bps(&l) > before / 10.5);
	l = (struct kerf_link){0};
	update(&l, KERF_LABEL_TIMED_OUT, 80e-9);
	CU_ASSERT_FALSE(kerf_link_known(&l)); /* at most this fast: says nothing of how slow */
}

static void test_range_of_tau(void)
{
	struct kerf_link l = {0};

	update(&l, KERF_LABEL_BOTTLENECK, 0.99e-13);
	update(&l, KERF_LABEL_BOTTLENECK, 10.1);
	CU_ASSERT_EQUAL(l.refused, 2);
	CU_ASSERT_FALSE(kerf_link_known(&l));
	update(&l, KERF_LABEL_BOTTLENECK, 1e-13);
	update(&l, KERF_LABEL_BOTTLENECK, 10);
	CU_ASSERT(l.refused == 2 && l.samples[KERF_LABEL_BOTTLENECK] == 2);
}

/* Hostile samples among good ones: the estimate is what the good ones alone would give. */
static void test_hostile_samples_change_nothing(void)
{
	const double bad[] = {NAN, INFINITY, -INFINITY, 0, -0.0, -1e-9, 1e30, 1e-30, 11};
	struct kerf_rng rng = {.seed = 21};
	struct kerf_link with = {0}, without = {0};
	uint64_t n_bad = 0;

	for (unsigned i = 0; i < 20000; i++) {
		struct kerf_sample s = {
			.label = KERF_LABEL_BOTTLENECK + kerf_rng_u32(&rng) % 4,
			.tau = exp(log(1e-12) * kerf_rng_uniform(&rng)),
		};
		if (kerf_rng_u32(&rng) % 2) {
			kerf_link_update(&with, &s, i);
			kerf_link_update(&without, &s, i);
			continue;
		}
		s.tau = bad[kerf_rng_u32(&rng) % KERF_ARRAY_LEN(bad)];
		if (kerf_rng_u32(&rng) % 5 == 0) {
			s.label = KERF_LABEL_COUNT + kerf_rng_u32(&rng) % 250;
			s.tau = 1e-9;
		}
		kerf_link_update(&with, &s, i);
		n_bad++;
		if (kerf_link_tau(&with) != kerf_link_tau(&without) ||
			!isfinite(kerf_link_rate_bps(&with)))
			CU_FAIL_FATAL("a hostile sample moved the estimate");
	}
	CU_ASSERT_EQUAL(with.refused, n_bad);
	CU_ASSERT_EQUAL(without.refused, 0);
	CU_ASSERT_EQUAL(memcmp(with.samples, without.samples, sizeof(with.samples)), 0);
}

static void test_base_rtt_is_the_smallest_of_ten_seconds(void)
{
	struct kerf_link l = {0};

	kerf_link_update_rtt(&l, 500, 1);
	for (unsigned i = 1; i <= 90; i++)
		kerf_link_update_rtt(&l, 1000 + i, i * KERF_NS_PER_S / 10);
	CU_ASSERT_EQUAL(kerf_link_base_rtt_ns(&l), 500);
	for (unsigned i = 91; i <= 300; i++)
		kerf_link_update_rtt(&l, 1000 + i, i * KERF_NS_PER_S / 10);
	CU_ASSERT(kerf_link_base_rtt_ns(&l) >= 1195 && kerf_link_base_rtt_ns(&l) <= 1205);
	/* After a long silence the old ones are forgotten. */
	kerf_link_update_rtt(&l, 9000, 100 * KERF_NS_PER_S);
	CU_ASSERT_EQUAL(kerf_link_base_rtt_ns(&l), 9000);
	kerf_link_update_rtt(&l, 0, 101 * KERF_NS_PER_S);
	/* A hold time longer than the round trip; a time before the last one. */
	kerf_link_update_rtt(&l, UINT64_MAX, 101 * KERF_NS_PER_S);
	kerf_link_update_rtt(&l, 700, 3);
	CU_ASSERT_EQUAL(kerf_link_base_rtt_ns(&l), 9000);
	CU_ASSERT_EQUAL(l.refused, 3);
}

/* RFC 6298: a first measurement R gives R + 4 R/2; equal ones bring it down to R. */
static void test_rto(void)
{
	struct kerf_link l = {0};

	CU_ASSERT_EQUAL(kerf_link_rto_ns(&l), 0);
	kerf_link_update_rtt(&l, 1000, 1);
	CU_ASSERT_EQUAL(kerf_link_rto_ns(&l), 3000);
	kerf_link_update_rtt(&l, 2000, 2);
	/* rttvar = 3/4 x 500 + 1/4 x 1000, srtt = 7/8 x 1000 + 1/8 x 2000 */
	CU_ASSERT_EQUAL(kerf_link_rto_ns(&l), 1125 + 4 * 625);
}

static void test_loss(void)
{
	struct kerf_link one = {0}, many = {0};

	/* One report of 100 packets is what 100 reports of one packet are, the loss spread. */
	kerf_link_update_loss(&many, 100, 100);
	for (unsigned i = 0; i < 100; i++)
		kerf_link_update_loss(&one, 1, 1);
	CU_ASSERT_DOUBLE_EQUAL(one.loss, many.loss, 1e-12);
	CU_ASSERT_DOUBLE_EQUAL(one.loss, 1 - pow(255.0 / 256, 100), 1e-12);
	for (unsigned i = 0; i < 100; i++)
		kerf_link_update_loss(&many, 1000, 30);
	CU_ASSERT_DOUBLE_EQUAL(many.loss, 0.03, 1e-6);

	struct kerf_link before = many;
	kerf_link_update_loss(&many, 0, 0);
	kerf_link_update_loss(&many, 5, 6);
	CU_ASSERT_EQUAL(many.loss, before.loss);
	CU_ASSERT_EQUAL(many.refused, 1);
}

static void test_reset_keeps_only_the_counters(void)
{
	struct kerf_link l = link_of(8e-9, 8e-9, 8e-9);

	kerf_link_update_rtt(&l, 500, 1);
	kerf_link_update_loss(&l, 10, 5);
	update(&l, KERF_LABEL_BOTTLENECK, NAN);
	kerf_link_reset(&l);
	CU_ASSERT_FALSE(kerf_link_known(&l));
	CU_ASSERT(kerf_link_tau(&l) == 0 && kerf_link_base_rtt_ns(&l) == 0 && l.loss == 0);
	CU_ASSERT_EQUAL(l.samples[KERF_LABEL_BOTTLENECK], 3);
	CU_ASSERT_EQUAL(l.refused, 1);
	update(&l, KERF_LABEL_BOTTLENECK, 2e-9);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_rate_bps(&l), 4e9, 1);
}

static void test_names(void)
{
	for (unsigned i = 0; i < KERF_LABEL_COUNT; i++)
		for (unsigned k = 0; k < i; k++)
			CU_ASSERT_STRING_NOT_EQUAL(kerf_link_label_name((enum kerf_link_label)i),
				kerf_link_label_name((enum kerf_link_label)k));
	CU_ASSERT_STRING_EQUAL(kerf_link_label_name(KERF_LABEL_BOTTLENECK), "bottleneck");
	CU_ASSERT_STRING_EQUAL(kerf_link_label_name(KERF_LABEL_COUNT), "unknown");
}

UNIT_MAIN("link.link", UNIT(test_unknown_at_first), UNIT(test_constant_rate_is_kept),
	UNIT(test_steady_with_noise), UNIT(test_steps_are_followed), UNIT(test_alarm),
	UNIT(test_short_trains),
	UNIT(test_sampled_time), UNIT(test_sender_and_receiver_only_raise_the_rate),
	UNIT(test_timed_out_only_lowers_the_rate), UNIT(test_range_of_tau),
	UNIT(test_hostile_samples_change_nothing), UNIT(test_base_rtt_is_the_smallest_of_ten_seconds), UNIT(test_rto),
	UNIT(test_loss), UNIT(test_reset_keeps_only_the_counters), UNIT(test_names))
