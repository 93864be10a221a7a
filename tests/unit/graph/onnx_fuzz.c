/*
 * The ONNX reader and the optimiser on damaged files, for so many seconds (30): bits flipped, bytes changed, parts cut
 * out, doubled, or taken from another file. What counts is what the sanitizers see; besides, a refusal has to say
 * something and a graph has to keep its promises.
 *
 *	test_graph_onnx_fuzz [SECONDS [SEED]]
 */
#include "onnx_seeds.h"

#include <time.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* A place in a file of len bytes, and how much from there on, at most 64 bytes. */
static size_t part(struct kerf_rng *rng, size_t len, size_t *count)
{
	const size_t at = kerf_rng_u32(rng) % len, wanted = 1 + kerf_rng_u32(rng) % 64;

	*count = KERF_MIN(wanted, len - at);
	return at;
}

/* One change; b has room for 64 bytes more. */
static void damage(struct kerf_rng *rng, struct bytes *b, const struct bytes *other)
{
	size_t count, from, at = kerf_rng_u32(rng) % b->len;

	switch (kerf_rng_u32(rng) % 6) {
	case 0:
	case 1: b->data[at] ^= (uint8_t)(1u << kerf_rng_u32(rng) % 8); break;
	case 2: b->data[at] = (uint8_t)kerf_rng_u32(rng); break;
	case 3: /* cut out */
		at = part(rng, b->len, &count);
		memmove(b->data + at, b->data + at + count, b->len - at - count);
		b->len -= count;
		break;
	case 4: /* twice */
		from = part(rng, b->len, &count);
		memmove(b->data + from + count, b->data + from, b->len - from);
		b->len += count;
		break;
	default: /* over it */
		from = part(rng, other->len, &count);
		count = KERF_MIN(count, b->len - at);
		memcpy(b->data + at, other->data + from, count);
	}
}

int main(int argc, char **argv)
{
	const double end = now() + (argc > 1 ? strtod(argv[1], NULL) : 30);
	const uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 20261127;
	const struct bytes seeds[] = {text_model(sound), text_model(later)};
	struct bytes b = {.data = malloc(seeds[0].len + seeds[1].len + 8 * 64)};
	struct kerf_rng rng = {.seed = seed};
	unsigned long rounds = 0, loaded = 0, optimised = 0, broken = 0;

	for (; now() < end && !broken; rounds++) {
		const struct bytes *from = &seeds[rounds % 2];
		struct kerf_err err = {0};

		memcpy(b.data, from->data, from->len);
		b.len = from->len;
		for (unsigned n = 1 + kerf_rng_u32(&rng) % 4; n && b.len > 64; n--)
			damage(&rng, &b, &seeds[kerf_rng_u32(&rng) % 2]);
		struct kerf_graph *g = load_bytes(b.data, b.len, &err);
		loaded += g != NULL;
		broken += g ? !keeps_promises(g) : !err.text[0];
		if (g && kerf_graph_optimize(g, &err) == 0) {
			optimised++;
			broken += !keeps_promises(g);
		}
		kerf_graph_free(g);
	}
	printf("seed %llu: %lu files, %lu load, %lu optimise, %lu broken\n", (unsigned long long)seed, rounds, loaded,
		optimised, broken);
	free(b.data);
	free(seeds[0].data);
	free(seeds[1].data);
	return broken || loaded == 0 || loaded == rounds;
}
