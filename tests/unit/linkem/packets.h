/* Packets with data and the emulator driven by a list of arrivals, for the tests of linkem. */
#pragma once

#include "unit.h"
#include "linkem/linkem.h"
#include "port/eal.h"

#include <inttypes.h>
#include <math.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>
#include <string.h>

#define POOL_MBUFS 32767
#define DATA_BYTES 256
#define US 1000000ull /* ps */
#define MS 1000000000ull /* ps */

static struct rte_mempool *pool;
static int ts_offset;
static uint64_t ts_flag;

static inline void set_up(void)
{
	unit_eal_init();
	if (pool)
		return;
	pool = rte_pktmbuf_pool_create("linkem", POOL_MBUFS, 0, 0,
		RTE_PKTMBUF_HEADROOM + DATA_BYTES, SOCKET_ID_ANY);
	if (!pool || kerf_linkem_timestamp_field(&ts_offset, &ts_flag) < 0) {
		printf("no pool of %u mbufs\n", POOL_MBUFS);
		exit(1);
	}
}

static inline uint8_t pattern(uint32_t index, uint32_t offset)
{
	return (uint8_t)(index * 7 + offset * 31 + (offset >> 8));
}

/* The index tells packets apart and goes with a copy, as do all fields of the mbuf. */
static inline struct rte_mbuf *packet(uint32_t index, uint32_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(pool);

	if (!m)
		abort();
	uint8_t *data = (uint8_t *)rte_pktmbuf_append(m, (uint16_t)len);
	for (uint32_t i = 0; i < len; i++)
		data[i] = pattern(index, i);
	m->hash.usr = index;
	return m;
}

static inline uint8_t byte_of(const struct rte_mbuf *m, uint32_t offset)
{
	uint8_t b;

	return *(const uint8_t *)rte_pktmbuf_read(m, offset, 1, &b);
}

/* The one bit in which the packet differs from what was sent; -1 = none, -2 = several. */
static inline int flipped_bit(const struct rte_mbuf *m)
{
	int found = -1;

	for (uint32_t i = 0; i < m->pkt_len; i++) {
		uint8_t differ = byte_of(m, i) ^ pattern(m->hash.usr, i);

		if (!differ)
			continue;
		if (found != -1 || (differ & (differ - 1)))
			return -2;
		found = (int)(8 * i + (unsigned)__builtin_ctz(differ));
	}
	return found;
}

struct arrival {
	uint64_t at_ps;
	uint32_t len;
};

/* One packet that came out. */
struct taken {
	uint64_t deliver_ps;
	uint32_t index;
	int bit; /* flipped */
};

struct outcome {
	struct taken *taken;
	unsigned n;
	struct kerf_linkem_stats stats;
};

static inline struct kerf_linkem *create(const struct kerf_linkem_config *c)
{
	struct kerf_err err = {0};
	struct kerf_linkem *e = kerf_linkem_create(c, &err);

	if (!e)
		printf("%s\n", err.text);
	CU_ASSERT_PTR_NOT_NULL_FATAL(e);
	return e;
}

static inline void take(struct kerf_linkem *e, uint64_t now, unsigned most, struct outcome *out)
{
	struct rte_mbuf *m;

	for (; most; most--) {
		uint64_t next = kerf_linkem_next(e);
		if (kerf_linkem_pull(e, now, &m, 1) == 0)
			return;
		uint64_t stamp = *RTE_MBUF_DYNFIELD(m, ts_offset, uint64_t *);
		CU_ASSERT(m->ol_flags & ts_flag);
		CU_ASSERT(next / 1000 <= stamp); /* CoDel judges before it delivers */
		out->taken[out->n++] = (struct taken){
			next / 1000 == stamp ? next : stamp * 1000, m->hash.usr, flipped_bit(m)};
		rte_pktmbuf_free(m);
	}
}

/* At every arrival, hardly ever, at random, or ahead of the next stamp. */
enum polling { EVERY, RARE, RANDOM, AHEAD };

/* Pushes all n arrivals and takes everything out again. */
static inline struct outcome run(const struct kerf_linkem_config *c, const struct arrival *a,
	unsigned n, enum polling polling)
{
	struct outcome out = {.taken = calloc(2 * (size_t)n + 1, sizeof(*out.taken))};
	struct kerf_rng rng = {.seed = 77, .stream = polling};
	struct kerf_linkem *e = create(c);
	const unsigned before = rte_mempool_avail_count(pool);

	for (unsigned i = 0; i < n; i++) {
		struct rte_mbuf *m = packet(i, a[i].len);
		kerf_linkem_push(e, a[i].at_ps, &m, 1);
		if (polling == EVERY || (polling == RANDOM && kerf_rng_u32(&rng) % 8 == 0))
			take(e, a[i].at_ps, 1 + kerf_rng_u32(&rng) % 64, &out);
		if (polling == AHEAD && i % 5 == 0)
			take(e, a[i].at_ps + kerf_rng_u64(&rng) % (50 * US), UINT32_MAX, &out);
	}
	take(e, UINT64_MAX, UINT32_MAX, &out);
	out.stats = *kerf_linkem_stats(e);
	kerf_linkem_destroy(e);
	CU_ASSERT_EQUAL(rte_mempool_avail_count(pool), before);
	return out;
}

/* Our arrivals and the cross traffic's up to the last of them in one list; index[i] = number of
 * ours, UINT32_MAX = cross traffic. Returns how many. */
static inline unsigned merge(const struct kerf_linkem_config *c, const struct arrival *a,
	unsigned n, struct arrival **all, uint32_t **index)
{
	unsigned __int128 ps = (unsigned __int128)(c->cross_bytes + c->overhead_bytes) * 8 *
		1000000000000ull;
	uint64_t crossed = (uint64_t)((unsigned __int128)a[n - 1].at_ps * c->cross_bps / ps) + 2;
	unsigned m = 0;

	*all = calloc(n + crossed, sizeof(**all));
	*index = calloc(n + crossed, sizeof(**index));
	for (uint64_t i = 0, k = 0; i < n;) {
		uint64_t at = (uint64_t)(ps * k / c->cross_bps);
		bool own = at > a[i].at_ps;
		(*all)[m] = own ? a[i] : (struct arrival){at, c->cross_bytes};
		(*index)[m++] = own ? (uint32_t)i : UINT32_MAX;
		i += own;
		k += !own;
	}
	return m;
}

/* A random word as a number in [0, 1). */
static inline double fraction(uint32_t u)
{
	return (double)u / 4294967296.0;
}

static inline void within_3_sigma(const char *what, uint64_t count, uint64_t of, double p)
{
	double sigma = sqrt(p * (1 - p) * (double)of);

	if (fabs((double)count - p * (double)of) > 3 * sigma)
		printf("%s: %" PRIu64 " of %" PRIu64 ", expected %g\n", what, count, of, p);
	CU_ASSERT(fabs((double)count - p * (double)of) <= 3 * sigma);
}

static inline void refused(const struct kerf_linkem_config *c, const char *expected)
{
	struct kerf_err err = {0};

	CU_ASSERT_PTR_NULL(kerf_linkem_create(c, &err));
	if (!strstr(err.text, expected))
		printf("\"%s\" lacks \"%s\"\n", err.text, expected);
	CU_ASSERT_PTR_NOT_NULL(strstr(err.text, expected));
}
