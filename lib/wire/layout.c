#include "wire/wire.h"

#define MAX_PACKETS UINT16_MAX

int kerf_layout_make(struct kerf_layout *l, uint64_t n_blocks, uint32_t block_bytes,
	uint32_t payload_bytes)
{
	const uint32_t descriptor = sizeof(struct kerf_wire_descriptor);

	if (block_bytes == 0)
		return -EINVAL;
	if (payload_bytes < descriptor || payload_bytes > KERF_PAYLOAD_MAX ||
		payload_bytes < block_bytes)
		return -EMSGSIZE;

	uint64_t per_packet = payload_bytes / block_bytes;
	uint64_t first = KERF_MIN((payload_bytes - descriptor) / block_bytes, n_blocks);
	uint64_t rest = n_blocks - first;
	uint64_t others = rest / per_packet + (rest % per_packet != 0);
	if (others > MAX_PACKETS - 1)
		return -EMSGSIZE;
	/* 65535 packets of at most KERF_PAYLOAD_MAX one-byte blocks: n_blocks fits 32 bits. */
	*l = (struct kerf_layout){
		.n_blocks = (uint32_t)n_blocks,
		.block_bytes = block_bytes,
		.first_blocks = (uint32_t)first,
		.per_packet = (uint32_t)per_packet,
		.n_packets = (uint32_t)(1 + others),
	};
	return 0;
}

void kerf_layout_packet(const struct kerf_layout *l, uint32_t index, uint32_t *first, uint32_t *n,
	uint32_t *offset)
{
	assert(index < l->n_packets);
	if (index == 0) {
		*first = 0;
		*n = l->first_blocks;
		*offset = sizeof(struct kerf_wire_descriptor);
		return;
	}
	*first = l->first_blocks + (index - 1) * l->per_packet;
	*n = KERF_MIN(l->per_packet, l->n_blocks - *first);
	*offset = 0;
}

uint64_t kerf_layout_wire_bytes(const struct kerf_layout *l, uint64_t data_bytes, uint32_t overhead)
{
	uint64_t headers = sizeof(struct kerf_wire_packet) + (uint64_t)overhead;

	return data_bytes + sizeof(struct kerf_wire_descriptor) + l->n_packets * headers;
}
