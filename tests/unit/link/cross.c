/* What others leave of a link, from paces that differ. */
#include <math.h>

#include "link/link.h"
#include "unit.h"

/* A train that goes in at sent s/byte, through a FIFO of capacity C beside others' l, in byte/s. */
static double comes_out(double sent, double c, double l)
{
	return l / c * sent + 1 / c;
}

static void test_known_links(void)
{
	static const struct { double c, l; } links[] = {{25e6, 0}, {25e6, 10e6}, {25e6, 20e6}, {12.5e9, 1e9}, {1e5, 9e4}};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(links); i++) {
		const double left = links[i].c - links[i].l;
		struct kerf_rng rng = {.seed = i};
		struct kerf_cross exact = {0}, noisy = {0};

		for (unsigned k = 0; k < 50; k++) {
			const double sent = 1 / left / (k % 2 ? 3 : 1.3), out = comes_out(sent, links[i].c, links[i].l);

			CU_ASSERT(k >= 16 || kerf_cross_available_bps(&exact) == 0);
			kerf_cross_update(&exact, sent, out);
			kerf_cross_update(&noisy, sent, out * (1 + .01 * kerf_rng_normal(&rng)));
		}
		CU_ASSERT_DOUBLE_EQUAL(kerf_cross_available_bps(&exact), 8 * left, 8e-6 * left);
		CU_ASSERT_DOUBLE_EQUAL(kerf_cross_available_bps(&noisy), 8 * left, .8 * left);
	}
}

/* One pace tells nothing; what is no number changes nothing; what is out of any sense gives none. */
static void test_not_known(void)
{
	static const double bad[] = {0, -1, NAN, INFINITY};
	struct kerf_cross c = {0};

	for (unsigned k = 0; k < 64; k++)
		kerf_cross_update(&c, 1e-8, 4e-8);
	CU_ASSERT_EQUAL(kerf_cross_available_bps(&c), 0);
	c = (struct kerf_cross){0};
	for (unsigned i = 0; i < KERF_ARRAY_LEN(bad); i++) {
		kerf_cross_update(&c, bad[i], 1e-8);
		kerf_cross_update(&c, 1e-8, bad[i]);
	}
	CU_ASSERT_EQUAL(c.n, 0);
	for (unsigned k = 0; k < 64; k++) /* as fast as they go in: nothing limits them */
		kerf_cross_update(&c, k % 2 ? 1e-8 : 2e-8, k % 2 ? 1e-8 : 2e-8);
	CU_ASSERT_EQUAL(kerf_cross_available_bps(&c), 0);
	c = (struct kerf_cross){0};
	for (unsigned k = 0; k < 64; k++)
		kerf_cross_update(&c, k % 2 ? 1e-300 : 1e300, k % 2 ? 1e300 : 1e-300);
	CU_ASSERT(isfinite(kerf_cross_available_bps(&c)));
}

/* It follows: what is older than 64 trains is forgotten. */
static void test_window(void)
{
	struct kerf_cross c = {0};

	for (unsigned k = 0; k < 200; k++)
		kerf_cross_update(&c, k % 2 ? 1e-8 : 2e-8, comes_out(k % 2 ? 1e-8 : 2e-8, 25e6, k < 100 ? 2e6 : 15e6));
	CU_ASSERT_DOUBLE_EQUAL(kerf_cross_available_bps(&c), 8 * 10e6, 100);
}

UNIT_MAIN("link.cross", UNIT(test_known_links), UNIT(test_not_known), UNIT(test_window))
