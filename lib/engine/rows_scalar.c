/* rows.inc one value at a time: the twin that says what the SIMD variants have to give. */
#include "engine/rows.h"

#include <math.h>
#include <string.h>

#define VFN
#define VW 1
typedef float V;

#define v_load(p) (*(p))
#define v_store(p, v) (*(p) = (v))
#define v_load_part(p, n) ((void)(n), *(p))
#define v_store_part(p, v, n) ((void)(n), *(p) = (v))
#define v_set1(a) (a)
#define v_add(a, b) ((a) + (b))
#define v_sub(a, b) ((a) - (b))
#define v_mul(a, b) ((a) * (b))
#define v_div(a, b) ((a) / (b))
#define v_fma(a, b, c) fmaf(a, b, c)

static inline V v_min(V a, V b)
{
	return a < b ? a : b;
}

static inline V v_max(V a, V b)
{
	return a > b ? a : b;
}

/* 2^n from the low bits of n + 1.5*2^23 */
static inline V v_exp2i(V z)
{
	uint32_t bits;

	memcpy(&bits, &z, sizeof(bits));
	bits = (bits + 127) << 23;
	memcpy(&z, &bits, sizeof(z));
	return z;
}

/* 2^(k/8), a normal number, from the low bits of k + 1.5*2^20 */
static inline V v_eighths(V z, const uint32_t table[8])
{
	uint32_t k;

	memcpy(&k, &z, sizeof(k));
	k = table[k % 8] + (k << 20);
	memcpy(&z, &k, sizeof(z));
	return z;
}

/* Rounding adds half of what falls away, a little less to an even number; a NaN stays one. */
static inline void v_store_bf16(uint16_t *p, V v)
{
	uint32_t bits;

	memcpy(&bits, &v, sizeof(bits));
	bits = v != v ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
	*p = (uint16_t)(bits >> 16);
}

static inline void v_store_bytes(uint8_t *p, V v)
{
	*p = (uint8_t)(int)v;
}

static bool is_supported(void)
{
	return true;
}

#include "engine/rows.inc"

const struct kerf_rows kerf_rows_scalar = ROWS_TABLE("scalar", is_supported);
