/*
 * What decides the bits of a result: the instruction set that oneDNN generates code for, its
 * version and build, and the size of the L2 cache, by which it blocks sums over channels. Our own
 * kernels give the same bits on every CPU (rows.h) of one instruction set (direct.h), but AMD's take other
 * nodes to them (direct.c, depthwise.c).
 */
#include "engine/internal.h"

#include <unistd.h>

const char *kerf_engine_fingerprint_text(char *buf, size_t len)
{
	const dnnl_version_t *v = dnnl_version();
	long l2_bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);

	snprintf(buf, len, "%s oneDNN %d.%d.%d L2 %ldK%s", dnn_isa_name(), v->major, v->minor, v->patch,
		l2_bytes > 0 ? l2_bytes / 1024 : 0, kerf_direct_is_amd() ? " AMD" : "");
	return buf;
}

/* FNV-1a, 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/). */
static uint64_t hash_text(uint64_t hash, const char *text)
{
	for (; *text; text++)
		hash = (hash ^ (unsigned char)*text) * 0x100000001b3ull;
	return hash;
}

uint64_t kerf_engine_fingerprint(void)
{
	char text[128];
	uint64_t hash = 0xcbf29ce484222325ull;

	hash = hash_text(hash, kerf_engine_fingerprint_text(text, sizeof(text)));
	hash = hash_text(hash, dnnl_version()->hash);
	/* Raised when our own kernels change their arithmetic, or which nodes are theirs. */
	return hash_text(hash, "kerf kernels 10");
}
