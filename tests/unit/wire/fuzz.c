/*
 * Hostile bytes through every parser: random ones, truncations and bit flips of valid packets. Each
 * input lies in a heap block of exactly its size, so that AddressSanitizer sees any read beyond it;
 * what is accepted must hold to the ranges that the header promises.
 */
#include "golden.h"
#include "unit.h"
#include "wire/wire.h"

#include <math.h>
#include <string.h>

#define SEED 20220523
#define ROUNDS 60000

static const struct kerf_address self = {{2, 0, 0, 0, 0, 2}, 0x0a000002, 4748};
static unsigned broken_promises, accepted;

static void promise(bool kept)
{
	broken_promises += !kept;
}

static void try_packet(const uint8_t *bytes, size_t len)
{
	struct kerf_header h;
	struct kerf_address from, to;
	size_t payload_len;
	int rc = kerf_wire_parse(bytes, len, &h, &payload_len);

	promise(rc == 0 || rc == -EPROTO || rc == -EPROTONOSUPPORT || rc == -EBADMSG);
	if (rc != 0)
		return;
	accepted++;
	promise(payload_len <= len - sizeof(struct kerf_wire_packet) && h.index < h.count);
	promise(h.type >= KERF_MSG_HELLO && h.type <= KERF_MSG_ERROR && h.tx_ns >> 48 == 0);
	promise(h.try_no <= 15 && (h.flags & ~KERF_FLAG_ALL) == 0);
	kerf_wire_source(bytes, &from);
	promise(kerf_wire_destination(bytes, len, &to) == 0);

	/* Built anew from what was read, it is the same packet (fields that kerf ignores aside). */
	struct kerf_wire_packet again;
	const struct kerf_wire_packet *was = (const void *)bytes;
	kerf_wire_build(&again, &from, &to, &h, payload_len);
	promise(memcmp(&again.kerf, &was->kerf, sizeof(again.kerf)) == 0);
}

static void try_hello(const uint8_t *bytes, size_t len)
{
	struct kerf_hello h;

	if (kerf_wire_get_hello(bytes, len, &h) < 0)
		return;
	accepted++;
	promise(h.payload_bytes <= KERF_PAYLOAD_MAX && h.pixel_channels <= 4);
	promise(memchr(h.fingerprint_text, 0, sizeof(h.fingerprint_text)) != NULL);
	for (unsigned i = 0; i < 4; i++)
		promise(isfinite(h.pixel_scale[i]) && isfinite(h.pixel_bias[i]));
}

static void try_error(const uint8_t *bytes, size_t len)
{
	uint16_t code;
	char text[126];

	if (kerf_wire_get_error(bytes, len, &code, text) < 0)
		return;
	accepted++;
	promise(code != 0 && memchr(text, 0, sizeof(text)) != NULL);
}

static void try_report(const uint8_t *bytes, size_t len)
{
	struct kerf_report r;
	uint32_t end = 0;

	if (kerf_wire_get_report(bytes, len, &r) < 0)
		return;
	accepted++;
	promise(isfinite(r.tau) && r.tau >= 0 && isfinite(r.tau_error));
	promise(r.n_ranges <= KERF_REPORT_MAX_RANGES);
	for (unsigned i = 0; i < r.n_ranges; i++) {
		promise(r.ranges[i].count > 0 && r.ranges[i].first >= end);
		end = (uint32_t)r.ranges[i].first + r.ranges[i].count;
		promise(end <= 65535);
	}
}

static void try_descriptor(const uint8_t *bytes, size_t len)
{
	struct kerf_descriptor d;
	uint64_t product = 1;

	if (kerf_wire_get_descriptor(bytes, len, &d) < 0)
		return;
	accepted++;
	for (unsigned i = 0; i < 4; i++)
		promise(!__builtin_mul_overflow(product, d.dims[i], &product));
	promise(product > 0 && product <= d.values && d.bytes <= 65535ull * KERF_PAYLOAD_MAX);
}

static void try_answer(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1), mac[6];

	memcpy(copy, bytes, len);
	kerf_wire_arp_learn(copy, len, 0x0a000001, mac);
	size_t n = kerf_wire_answer(copy, len, &self);
	accepted += n > 0;
	promise(n <= len && (n == 0 || n >= 42));
	free(copy);
}

typedef void (*parser)(const uint8_t *bytes, size_t len);

/* One input: a copy of `valid`, maybe cut or lengthened, with some bits flipped, or mere noise. */
static void one(struct kerf_rng *rng, const uint8_t *valid, size_t valid_len, parser parse)
{
	bool noise = kerf_rng_u32(rng) % 8 == 0;
	uint32_t cut = kerf_rng_u32(rng) % 4;
	size_t len = cut == 0 ? kerf_rng_u32(rng) % (valid_len + 40) : valid_len;
	uint8_t *bytes = malloc(len ? len : 1);

	for (size_t i = 0; i < len; i++)
		bytes[i] = noise || i >= valid_len ? (uint8_t)kerf_rng_u32(rng) : valid[i];
	for (uint32_t n = kerf_rng_u32(rng) % 4; n > 0 && len > 0; n--)
		bytes[kerf_rng_u32(rng) % len] ^= (uint8_t)(1 << kerf_rng_u32(rng) % 8);
	parse(bytes, len);
	free(bytes);
}

static void fuzz(const uint8_t *valid, size_t len, parser parse)
{
	struct kerf_rng rng = {.seed = SEED, .stream = len};

	broken_promises = accepted = 0;
	for (unsigned i = 0; i < ROUNDS; i++)
		one(&rng, valid, len, parse);
	if (broken_promises)
		printf("seed %d, length %zu: %u of %d\n", SEED, len, broken_promises, ROUNDS);
	CU_ASSERT_EQUAL(broken_promises, 0);
	/* Neither everything nor nothing passes: the inputs reach the last check. */
	CU_ASSERT(accepted > ROUNDS / 20 && accepted < ROUNDS * 9 / 10);
}

static void test_packets(void)
{
	uint8_t whole[64 + 96] = {0};

	memcpy(whole, golden_packet, sizeof(golden_packet));
	fuzz(whole, sizeof(whole), try_packet);
}

/* Damage below the IPv4 checksum hides what comes after it: here only the rest is hit. */
static void test_kerf_headers(void)
{
	struct kerf_rng rng = {.seed = SEED};
	uint8_t whole[64 + 96] = {0};

	broken_promises = accepted = 0;
	for (unsigned i = 0; i < ROUNDS; i++) {
		memcpy(whole, golden_packet, sizeof(golden_packet));
		for (unsigned k = 0; k < 22; k++)
			if (kerf_rng_u32(&rng) % 4 == 0)
				whole[42 + k] = (uint8_t)kerf_rng_u32(&rng);
		try_packet(whole, sizeof(whole));
	}
	CU_ASSERT_EQUAL(broken_promises, 0);
	CU_ASSERT(accepted > ROUNDS / 20);
}

static void test_hellos(void)
{
	fuzz(golden_hello, sizeof(golden_hello), try_hello);
}

static void test_errors(void)
{
	fuzz(golden_error, sizeof(golden_error), try_error);
}

static void test_reports(void)
{
	fuzz(golden_report, sizeof(golden_report), try_report);
}

static void test_descriptors(void)
{
	fuzz(golden_descriptor, sizeof(golden_descriptor), try_descriptor);
}

static void test_arp(void)
{
	fuzz(golden_arp, sizeof(golden_arp), try_answer);
}

static void test_ping(void)
{
	fuzz(golden_ping, sizeof(golden_ping), try_answer);
}

UNIT_MAIN("wire.fuzz", UNIT(test_packets), UNIT(test_kerf_headers), UNIT(test_hellos),
	UNIT(test_errors), UNIT(test_reports), UNIT(test_descriptors), UNIT(test_arp),
	UNIT(test_ping))
