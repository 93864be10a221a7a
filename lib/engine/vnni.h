/* Products of bytes, for AVX-512 with VNNI. */
#pragma once

#include <immintrin.h>
#include <stdbool.h>

#include "engine/onednn.h"

static inline bool vnni_supported(void)
{
	return dnn_isa_has(dnnl_cpu_isa_avx512_core_vnni) && __builtin_cpu_supports("avx512vnni") &&
		__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

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
