/* The vector words that rows.inc, direct.inc and winograd.inc are written in, in 8 lanes. */
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define VFN __attribute__((target("avx2,fma")))
#define VW 8
#define V_REGISTERS 16
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
#define v_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c) /* c - a * b */
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_max(a, b) _mm256_max_ps(a, b)

/* A window of this table is the mask of the first n lanes. */
static const int32_t lane_masks[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

static inline VFN __m256i lanes(size_t n)
{
	return _mm256_loadu_si256((const __m256i *)(lane_masks + VW - n));
}

/* 2^(k/8), a normal number, from the low bits of k + 1.5*2^20 (swish.inc) */
static inline VFN V v_eighths(V z, const uint32_t table[8])
{
	const __m256i k = _mm256_castps_si256(z), low = _mm256_load_si256((const __m256i *)(const void *)table);

	return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_permutevar8x32_epi32(low, k), _mm256_slli_epi32(k, 20)));
}
