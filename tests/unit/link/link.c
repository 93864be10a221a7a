#include "link/link.h"
#include "unit.h"

#include <math.h>
#include <string.h>

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

static void test_harmonic_mean_of_three(void)
{
	struct kerf_link l = {0};

	update(&l, KERF_LABEL_BOTTLENECK, 8e-9);
	CU_ASSERT(kerf_link_known(&l));
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_rate_bps(&l), 1e9, 1);
	update(&l, KERF_LABEL_BOTTLENECK, 16e-9);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 12e-9, 1e-18);
	update(&l, KERF_LABEL_BOTTLENECK, 24e-9);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 16e-9, 1e-18);
	/* The oldest goes: of 1, 1/2, 1/3 and 1/12 Gbit/s the last three; 3/(2+3+12) = 3/17. */
	update(&l, KERF_LABEL_BOTTLENECK, 96e-9);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_rate_bps(&l), 3e9 / 17, 1);
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

static void test_sender_and_receiver_only_raise_the_rate(void)
{
	static const enum kerf_link_label labels[] = {KERF_LABEL_SENDER, KERF_LABEL_RECEIVER};

	for (unsigned i = 0; i < 2; i++) {
		struct kerf_link l = link_of(8e-9, 8e-9, 8e-9);
		for (unsigned k = 0; k < 10; k++)
			update(&l, labels[i], 100e-9);
		CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 8e-9, 1e-18);
		update(&l, labels[i], 4e-9);
		CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 4e-9, 1e-18);
		CU_ASSERT_EQUAL(l.samples[labels[i]], 11);

		/* A bound must not push a good sample out: 2 ns stays, only 8 ns is refuted. */
		l = link_of(2e-9, 8e-9, 8e-9);
		update(&l, labels[i], 5e-9);
		CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 4e-9, 1e-18);

		/* The first of all is better than nothing. */
		l = (struct kerf_link){0};
		update(&l, labels[i], 8e-9);
		CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 8e-9, 1e-18);
	}
}

static void test_timed_out_only_lowers_the_rate(void)
{
	struct kerf_link l = link_of(8e-9, 8e-9, 8e-9);

	update(&l, KERF_LABEL_TIMED_OUT, 1e-9);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 8e-9, 1e-18);
	update(&l, KERF_LABEL_TIMED_OUT, 80e-9);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 80e-9, 1e-18);
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
	CU_ASSERT(l.refused == 2 && l.n_taus == 2);
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

static void test_rtt_is_the_smallest_of_sixteen(void)
{
	struct kerf_link l = {0};

	kerf_link_update_rtt(&l, 500);
	for (unsigned i = 0; i < 15; i++)
		kerf_link_update_rtt(&l, 1000 + i);
	CU_ASSERT_EQUAL(kerf_link_base_rtt_ns(&l), 500);
	kerf_link_update_rtt(&l, 2000); /* the 500 is the seventeenth now */
	CU_ASSERT_EQUAL(kerf_link_base_rtt_ns(&l), 1000);
	kerf_link_update_rtt(&l, 0);
	kerf_link_update_rtt(&l, UINT64_MAX); /* a hold time longer than the round trip */
	CU_ASSERT_EQUAL(kerf_link_base_rtt_ns(&l), 1000);
	CU_ASSERT_EQUAL(l.refused, 2);
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

	kerf_link_update_rtt(&l, 500);
	kerf_link_update_loss(&l, 10, 5);
	update(&l, KERF_LABEL_BOTTLENECK, NAN);
	kerf_link_reset(&l);
	CU_ASSERT_FALSE(kerf_link_known(&l));
	CU_ASSERT(kerf_link_tau(&l) == 0 && kerf_link_base_rtt_ns(&l) == 0 && l.loss == 0);
	CU_ASSERT_EQUAL(l.samples[KERF_LABEL_BOTTLENECK], 3);
	CU_ASSERT_EQUAL(l.refused, 1);
	update(&l, KERF_LABEL_BOTTLENECK, 2e-9);
	CU_ASSERT_DOUBLE_EQUAL(kerf_link_tau(&l), 2e-9, 1e-18);
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

UNIT_MAIN("link.link", UNIT(test_unknown_at_first), UNIT(test_harmonic_mean_of_three),
	UNIT(test_sampled_time), UNIT(test_sender_and_receiver_only_raise_the_rate),
	UNIT(test_timed_out_only_lowers_the_rate), UNIT(test_range_of_tau),
	UNIT(test_hostile_samples_change_nothing), UNIT(test_rtt_is_the_smallest_of_sixteen),
	UNIT(test_loss), UNIT(test_reset_keeps_only_the_counters), UNIT(test_names))
