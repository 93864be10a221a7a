/* Codecs against memcpy of the same f32 buffer, on one core, in turn. */
#include <stdlib.h>
#include <string.h>

#include "codec/quant.h"
#include "perf.h"

struct work {
	enum kerf_codec codec;
	float *values, *copy;
	void *wire;
	size_t n;
	unsigned times;
};

static void encode(void *self)
{
	struct work *w = self;

	for (unsigned i = 0; i < w->times; i++)
		kerf_codec_encode(w->codec, w->values, w->n, w->wire);
}

static void decode(void *self)
{
	struct work *w = self;

	for (unsigned i = 0; i < w->times; i++)
		kerf_codec_decode(w->codec, w->wire, w->n, w->values);
}

static void copy(void *self)
{
	struct work *w = self;

	for (unsigned i = 0; i < w->times; i++) {
		memcpy(w->copy, w->values, w->n * sizeof(float));
		__asm__ volatile("" ::: "memory"); /* the next copy is not the same one */
	}
}

struct twin {
	const struct work *work;
	const struct quant_kernel *kernel;
};

static void twin_encode(void *self)
{
	const struct twin *t = self;
	const struct work *w = t->work;

	for (unsigned i = 0; i < w->times; i++)
		t->kernel->q8_encode(w->values, w->n / Q8_VALUES, w->wire);
}

static void *buffer(struct perf *p, size_t bytes)
{
	void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);

	if (!memory)
		perf_fail(p, "no memory for %zu bytes", bytes);
	memset(memory, 0, bytes); /* every page is there */
	return memory;
}

static void add(struct perf *p, const struct work *w, const char *codec, const char *what,
	const char *size, double target, const struct perf_pair *r)
{
	char name[64];
	const double bytes = (double)w->n * sizeof(float) * w->times;

	snprintf(name, sizeof(name), "%s %s, %s", codec, what, size);
	perf_add(p,
		&(struct perf_figure){.name = name,
			.value = bytes / r->a_ns,
			.unit = "GB/s of f32",
			.spread = r->spread,
			.n = r->n,
			.peer = "memcpy",
			.ratio = 1 / r->ratio,
			.bound = target > 0 ? PERF_AT_LEAST : PERF_NO_BOUND,
			.target = target});
}

static void measure(struct perf *p, size_t n, const char *size)
{
	static const struct {
		enum kerf_codec codec;
		double target;
	} all[] = {{KERF_CODEC_F32, 0.9}, {KERF_CODEC_BF16, 0}, {KERF_CODEC_Q8, 0.7},
		{KERF_CODEC_Q4, 0}};
	struct work w = {.n = n,
		.values = buffer(p, n * sizeof(float)),
		.copy = buffer(p, n * sizeof(float)),
		.wire = buffer(p, n * sizeof(float))};
	const unsigned rounds = p->quick ? 15 : 101;

	w.times = (unsigned)(8000000 / n + 1);
	for (size_t i = 0; i < n; i++)
		w.values[i] = (float)((int)(i * 2654435761u) >> 8) * 1e-6f;
	for (unsigned i = 0; i < KERF_ARRAY_LEN(all); i++) {
		struct perf_pair r;

		const char *codec = kerf_codec_info(all[i].codec)->name;
		w.codec = all[i].codec;
		perf_pair_run(encode, &w, copy, &w, rounds, &r);
		add(p, &w, codec, "encode", size, all[i].target, &r);
		perf_pair_run(decode, &w, copy, &w, rounds, &r);
		add(p, &w, codec, "decode", size, all[i].target, &r);
	}
	/* The one that runs is the first; the others tell whether a wider one is worth it here. */
	for (unsigned i = 0; i < kerf_quant_n_kernels; i++) {
		struct twin t = {&w, kerf_quant_kernels[i]};
		struct perf_pair r;

		if (!t.kernel->supported())
			continue;
		perf_pair_run(twin_encode, &t, copy, &w, rounds, &r);
		add(p, &w, "q8 encode by", t.kernel->name, size, 0, &r);
	}
	free(w.values);
	free(w.copy);
	free(w.wire);
}

int main(int argc, char **argv)
{
	static struct perf p;

	perf_begin(&p, "codec", NULL, &argc, argv);
	perf_no_more_options(&p, argc, argv);
	measure(&p, 75264, "300 KB"); /* block 3 of EfficientNet-B0 and like it */
	measure(&p, 16777216, "64 MB");
	return perf_end(&p);
}
