/* Products of bytes, for AVX-512 with VNNI. */
#pragma once

#include <immintrin.h>

/*
 * sum + four products, unsigned by signed, in each dword. With the intrinsic, GCC 12 copies every
 * sum, and to memory too.
 */
__attribute__((target("avx512f,avx512vnni"), no_sanitize("address", "undefined"),
	always_inline)) static inline __m512i
vnni_add(__m512i sum, __m512i x, __m512i weights)
{
	__asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(weights));
	return sum;
}
