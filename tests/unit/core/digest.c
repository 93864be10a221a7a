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

/* What xxh128sum of xxHash 0.8.1 prints. */
static void test_known_answers(void)
{
	expect("", 0, "99aa06d3014798d86001c324468d497f");
	expect("abc", 3, "06b05ab6733a618578af5f94892f3950");
	expect("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, "3d62d22a5169b016c0d894fd4828a1a7");
}

static void test_million_a(void)
{
	static char a[1000000];

	memset(a, 'a', sizeof(a));
	expect(a, sizeof(a), "a545df8e384a9579b1fd6fae5285c4eb");
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
