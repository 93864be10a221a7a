/* The vector words that rows.inc, direct.inc and winograd.inc are written in, in 16 lanes. */
#pragma once

#include <immintrin.h>
#include <stddef.h>

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
