/* Which values of which tensor a range of blocks is. Each tensor begins on a block of its own, so
 * the last block of each one may be short. */
#include <assert.h>
#include <string.h>

#include "transport/transport_internal.h"

static uint64_t part_blocks(const struct kerf_part *p, unsigned block_values)
{
	return p->n / block_values + (p->n % block_values != 0);
}

uint64_t kerf_parts_blocks(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec)
{
	const struct kerf_codec_info *info = kerf_codec_info(codec);
	uint64_t blocks = 0;

	assert(info);
	for (unsigned i = 0; i < n_parts; i++)
		blocks += part_blocks(&parts[i], info->block_values);
	return blocks;
}

uint64_t kerf_parts_bytes(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < n_parts; i++)
		bytes += kerf_codec_bytes(codec, parts[i].n);
	return bytes;
}

uint64_t kerf_parts_values(const struct kerf_part *parts, unsigned n_parts)
{
	uint64_t values = 0;

	for (unsigned i = 0; i < n_parts; i++)
		values += parts[i].n;
	return values;
}

bool kerf_parts_fit_codec(const struct kerf_part *parts, unsigned n_parts, unsigned codec)
{
	const struct kerf_codec_info *info = kerf_codec_info(codec);
	const bool wants_pixels = info && info->is_bytes;

	if (!info || (info->own_length && n_parts != 1))
		return false;
	for (unsigned i = 0; i < n_parts; i++)
		if ((parts[i].pixels != NULL) != wants_pixels ||
			(parts[i].values != NULL) == wants_pixels)
			return false;
	return true;
}

/* A run of values inside one tensor. */
struct run {
	const struct kerf_part *part;
	size_t first, n;
};

/*
 * Takes the first run off blocks [*first, *first + *n), where *first counts from the start of
 * parts[*next], and moves all three on. False when there is none left.
 */
static bool next_run(const struct kerf_part *parts, unsigned n_parts, unsigned block_values,
	unsigned *next, uint64_t *first, uint64_t *n, struct run *run)
{
	for (; *n > 0 && *next < n_parts; (*next)++) {
		const struct kerf_part *p = &parts[*next];
		uint64_t blocks = part_blocks(p, block_values);

		if (*first >= blocks) {
			*first -= blocks;
			continue;
		}
		uint64_t take = KERF_MIN(*n, blocks - *first);
		run->part = p;
		run->first = *first * block_values;
		run->n = *first + take == blocks ? p->n - run->first : take * block_values;
		*first += take;
		*n -= take;
		return true;
	}
	return false;
}

uint64_t kerf_parts_range_bytes(const struct kerf_part *parts, unsigned n_parts,
	enum kerf_codec codec, uint64_t first, uint64_t n)
{
	const struct kerf_codec_info *info = kerf_codec_info(codec);
	unsigned next = 0;
	uint64_t bytes = 0;
	struct run run;

	assert(info);
	while (next_run(parts, n_parts, info->block_values, &next, &first, &n, &run))
		bytes += kerf_codec_bytes(codec, run.n);
	return n == 0 ? bytes : UINT64_MAX;
}

size_t kerf_parts_encode(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec,
	uint64_t first, uint64_t n, void *dst)
{
	const struct kerf_codec_info *info = kerf_codec_info(codec);
	unsigned next = 0;
	uint8_t *out = dst;
	struct run run;

	assert(info);
	while (next_run(parts, n_parts, info->block_values, &next, &first, &n, &run)) {
		if (info->is_bytes)
			memcpy(out, run.part->pixels + run.first, run.n);
		else
			kerf_codec_encode(codec, run.part->values + run.first, run.n, out);
		out += kerf_codec_bytes(codec, run.n);
	}
	assert(n == 0);
	return (size_t)(out - (uint8_t *)dst);
}

int kerf_parts_decode(const struct kerf_part *parts, unsigned n_parts, enum kerf_codec codec,
	uint64_t first, uint64_t n, const void *src, size_t len)
{
	const struct kerf_codec_info *info = kerf_codec_info(codec);
	unsigned next = 0;
	const uint8_t *in = src;
	struct run run;

	if (!info || kerf_parts_range_bytes(parts, n_parts, codec, first, n) != len)
		return -EBADMSG;
	while (next_run(parts, n_parts, info->block_values, &next, &first, &n, &run)) {
		if (info->is_bytes)
			memcpy(run.part->pixels + run.first, in, run.n);
		else
			kerf_codec_decode(codec, in, run.n, run.part->values + run.first);
		in += kerf_codec_bytes(codec, run.n);
	}
	return 0;
}
