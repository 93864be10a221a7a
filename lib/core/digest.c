#include "core/core.h"

#include <assert.h>
#include <openssl/evp.h>

void kerf_digest_begin(struct kerf_digest_state *s)
{
	s->context = EVP_MD_CTX_new();
	assert(s->context && EVP_DigestInit_ex(s->context, EVP_sha256(), NULL));
}

void kerf_digest_add(struct kerf_digest_state *s, const void *data, size_t len)
{
	if (len)
		EVP_DigestUpdate(s->context, data, len);
}

void kerf_digest_end(struct kerf_digest_state *s, uint8_t digest[KERF_DIGEST_LEN])
{
	EVP_DigestFinal_ex(s->context, digest, NULL);
	EVP_MD_CTX_free(s->context);
	s->context = NULL;
}

void kerf_digest(const void *data, size_t len, uint8_t digest[KERF_DIGEST_LEN])
{
	struct kerf_digest_state s;

	kerf_digest_begin(&s);
	kerf_digest_add(&s, data, len);
	kerf_digest_end(&s, digest);
}
