/* What the files of this module share. */
#pragma once

#include "transport/transport.h"

/* Transmit times have 48 bits on the wire and wrap after 78 hours. */
#define TX_TIME_MASK ((1ull << 48) - 1)

#define MIN_PAYLOAD_BYTES 128 /* a report with 16 ranges; a descriptor and a block */

/* As kerf_net_packet, but not counted as sent: a sender builds packets ahead of sending them. */
struct rte_mbuf *kerf_net_build(struct kerf_net *net, const struct kerf_address *to,
	const struct kerf_header *h, size_t payload_len, void **payload);
void kerf_net_count_tx(struct kerf_net *net, const struct rte_mbuf *m);

/* Every part holds what the codec encodes: pixels for u8, values for the others. */
bool kerf_parts_fit_codec(const struct kerf_part *parts, unsigned n_parts, unsigned codec);
uint64_t kerf_parts_values(const struct kerf_part *parts, unsigned n_parts);
/* Bytes of blocks [first, first+n), or UINT64_MAX when they are not all there. */
uint64_t kerf_parts_range_bytes(const struct kerf_part *parts, unsigned n_parts,
	enum kerf_codec codec, uint64_t first, uint64_t n);

static inline bool bit_is_set(const uint64_t *bits, uint32_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static inline void bit_set(uint64_t *bits, uint32_t i)
{
	bits[i / 64] |= 1ull << (i % 64);
}

static inline void bit_clear(uint64_t *bits, uint32_t i)
{
	bits[i / 64] &= ~(1ull << (i % 64));
}

/* First bit at or behind `from` that equals value; n when there is none. */
static inline uint32_t bit_find(const uint64_t *bits, uint32_t from, uint32_t n, bool value)
{
	while (from < n) {
		uint64_t word = (value ? bits[from / 64] : ~bits[from / 64]) >> (from % 64);

		if (word)
			return KERF_MIN(n, from + (uint32_t)__builtin_ctzll(word));
		from = (from / 64 + 1) * 64;
	}
	return n;
}
