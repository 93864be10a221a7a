#include <string.h>

#include "core/core.h"
#include "unit.h"

static void to_hex(const uint8_t digest[KERF_DIGEST_LEN], char *hex)
{
	for (unsigned i = 0; i < KERF_DIGEST_LEN; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
}

static void expect(const void *data, size_t len, const char *hex)
{
	uint8_t digest[KERF_DIGEST_LEN];
	char found[2 * KERF_DIGEST_LEN + 1];

	kerf_digest(data, len, digest);
	to_hex(digest, found);
	CU_ASSERT_STRING_EQUAL(found, hex);
}

/* Examples of FIPS 180-2, appendix B, and the empty message of NIST's CAVP. */
static void test_known_answers(void)
{
	expect("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	expect("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void test_million_a(void)
{
	static char a[1000000];

	memset(a, 'a', sizeof(a));
	expect(a, sizeof(a), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void test_pieces_equal_the_whole(void)
{
	uint8_t data[1000], whole[KERF_DIGEST_LEN], pieces[KERF_DIGEST_LEN];
	struct kerf_digest_state s;

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7);
	kerf_digest(data, sizeof(data), whole);
	kerf_digest_begin(&s);
	for (size_t at = 0, step = 1; at < sizeof(data); at += step, step += 13) {
		step = KERF_MIN(step, sizeof(data) - at);
		kerf_digest_add(&s, data + at, step);
		kerf_digest_add(&s, NULL, 0);
	}
	kerf_digest_end(&s, pieces);
	CU_ASSERT_EQUAL(memcmp(whole, pieces, sizeof(whole)), 0);
}

UNIT_MAIN("core.digest", UNIT(test_known_answers), UNIT(test_million_a),
	UNIT(test_pieces_equal_the_whole))
