/* The vector words that rows.inc, direct.inc and winograd.inc are written in, in 16 lanes. */
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define VFN __attribute__((target("avx512f")))
#define VW 16
#define V_REGISTERS 32
typedef __m512 V;

#define v_load(p) _mm512_loadu_ps(p)
#define v_store(p, v) _mm512_storeu_ps(p, v)
#define v_load_part(p, n) _mm512_maskz_loadu_ps(lanes(n), p)
#define v_store_part(p, v, n) _mm512_mask_storeu_ps(p, lanes(n), v)
#define v_set1(a) _mm512_set1_ps(a)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_div(a, b) _mm512_div_ps(a, b)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)
#define v_fnma(a, b, c) _mm512_fnmadd_ps(a, b, c) /* c - a * b */
#define v_min(a, b) _mm512_min_ps(a, b)
#define v_max(a, b) _mm512_max_ps(a, b)

static inline __mmask16 lanes(size_t n)
{
	return (__mmask16)((1u << n) - 1);
}

/* 2^(k/8), a normal number, from the low bits of k + 1.5*2^20 (swish.inc) */
static inline VFN V v_eighths(V z, const uint32_t table[8])
{
	const __m512i k = _mm512_castps_si512(z), low = _mm512_broadcast_i64x4(_mm256_load_si256((const __m256i *)(const void *)table));

	return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_permutexvar_epi32(k, low), _mm512_slli_epi32(k, 20)));
}
