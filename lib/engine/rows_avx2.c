/* rows.inc in 8 lanes. */
#include "engine/rows.h"

#include <immintrin.h>

#define VFN __attribute__((target("avx2,fma")))
#define VW 8
typedef __m256 V;

#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, v) _mm256_storeu_ps(p, v)
#define v_load_part(p, n) _mm256_maskload_ps(p, lanes(n))
#define v_store_part(p, v, n) _mm256_maskstore_ps(p, lanes(n), v)
#define v_set1(a) _mm256_set1_ps(a)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_div(a, b) _mm256_div_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_max(a, b) _mm256_max_ps(a, b)

/* A window of this table is the mask of the first n lanes. */
static const int32_t lane_masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

static inline VFN __m256i lanes(size_t n)
{
	return _mm256_loadu_si256((const __m256i *)(lane_masks + VW - n));
}

/* 2^n from the low bits of n + 1.5*2^23 */
static inline VFN V v_exp2i(V z)
{
	__m256i bits = _mm256_add_epi32(_mm256_castps_si256(z), _mm256_set1_epi32(127));

	return _mm256_castsi256_ps(_mm256_slli_epi32(bits, 23));
}

static bool is_supported(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#include "engine/rows.inc"

const struct kerf_rows kerf_rows_avx2 = ROWS_TABLE("avx2", is_supported);
