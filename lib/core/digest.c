#include "core/core.h"

#include <assert.h>
#include <string.h>
#include <xxhash.h>

static void put(XXH128_hash_t hash, uint8_t digest[KERF_DIGEST_LEN])
{
	XXH128_canonical_t bytes;

	static_assert(sizeof(bytes) == KERF_DIGEST_LEN, "digest");
	XXH128_canonicalFromHash(&bytes, hash);
	memcpy(digest, bytes.digest, KERF_DIGEST_LEN);
}

void kerf_digest_begin(struct kerf_digest_state *s)
{
	s->context = XXH3_createState();
	assert(s->context);
	XXH3_128bits_reset(s->context);
}

void kerf_digest_add(struct kerf_digest_state *s, const void *data, size_t len)
{
	if (len)
		XXH3_128bits_update(s->context, data, len);
}

void kerf_digest_end(struct kerf_digest_state *s, uint8_t digest[KERF_DIGEST_LEN])
{
	put(XXH3_128bits_digest(s->context), digest);
	XXH3_freeState(s->context);
	s->context = NULL;
}

void kerf_digest(const void *data, size_t len, uint8_t digest[KERF_DIGEST_LEN])
{
	put(XXH3_128bits(data, len), digest);
}
