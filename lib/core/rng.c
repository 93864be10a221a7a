#include "core/core.h"

#include <math.h>
#include <string.h>

/* Philox4x32: multipliers and Weyl increments of Salmon et al., SC'11, table 2 and section 4. */
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u
#define PHILOX_ROUNDS 10

static void philox_round(uint32_t x[4], const uint32_t key[2])
{
	uint64_t p0 = (uint64_t)PHILOX_M0 * x[0];
	uint64_t p1 = (uint64_t)PHILOX_M1 * x[2];
	uint32_t y[4] = {
		(uint32_t)(p1 >> 32) ^ x[1] ^ key[0],
		(uint32_t)p1,
		(uint32_t)(p0 >> 32) ^ x[3] ^ key[1],
		(uint32_t)p0,
	};

	memcpy(x, y, sizeof(y));
}

/* The 128-bit counter is stream:counter, the 64-bit key is the seed. */
void kerf_rng_block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4])
{
	uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};

	out[0] = (uint32_t)counter;
	out[1] = (uint32_t)(counter >> 32);
	out[2] = (uint32_t)stream;
	out[3] = (uint32_t)(stream >> 32);
	for (int round = 0; round < PHILOX_ROUNDS; round++) {
		philox_round(out, key);
		key[0] += PHILOX_W0;
		key[1] += PHILOX_W1;
	}
}

uint32_t kerf_rng_u32(struct kerf_rng *r)
{
	if (!r->left) {
		kerf_rng_block(r->seed, r->stream, r->counter++, r->block);
		r->left = 4;
	}
	return r->block[4 - r->left--];
}

uint64_t kerf_rng_u64(struct kerf_rng *r)
{
	uint64_t low = kerf_rng_u32(r);

	return (uint64_t)kerf_rng_u32(r) << 32 | low;
}

double kerf_rng_uniform(struct kerf_rng *r)
{
	return (double)(kerf_rng_u64(r) >> 11) * 0x1p-53;
}

double kerf_rng_normal(struct kerf_rng *r)
{
	/* 1 - u lies in (0,1]: the logarithm is finite. The sine half is dropped, so that the
	 * state is the counter alone. */
	double radius = sqrt(-2 * log(1 - kerf_rng_uniform(r)));

	return radius * cos(2 * M_PI * kerf_rng_uniform(r));
}
