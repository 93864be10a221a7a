/* Pictures that travel as the JPEG they come from, and are decoded by the server. */
#include "node/world.h"

#define PERIOD_NS (100 * MS)
#define FRAMES 60

static const struct kerf_linkem_step steps[] = {{0, 20000000}};

static struct world *make(struct world_options o)
{
	struct world *w;

	o.frames = FRAMES;
	o.period_ns = PERIOD_NS;
	o.steps = steps;
	o.n_steps = 1;
	o.delay_ns = 500000;
	o.jpeg_bytes = 15000;
	w = world_create(o);
	CU_ASSERT_TRUE(world_run(w, UINT64_MAX));
	CU_ASSERT_EQUAL_FATAL(w->n_records, FRAMES);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->mismatches, 0);
	return w;
}

static unsigned with_codec(const struct world *w, int codec)
{
	unsigned n = 0;

	for (unsigned i = 0; i < w->n_records; i++)
		n += w->records[i].codec == codec;
	return n;
}

/* The smallest by far: it is what goes, each time as large as it is, and predicted so. */
static void test_it_is_chosen_and_arrives(void)
{
	struct world *w = make((struct world_options){0});

	CU_ASSERT(with_codec(w, KERF_CODEC_JPEG) > FRAMES - 10);
	for (unsigned i = 20; i < FRAMES; i++) {
		const struct kerf_frame_record *r = &w->records[i];
		const uint64_t bytes = 15000 + i * 37 % 1000;

		CU_ASSERT_EQUAL(r->where, KERF_WHERE_REMOTE);
		CU_ASSERT(r->bytes > bytes && r->bytes < bytes + 64 + 13 * 88);
		CU_ASSERT_DOUBLE_EQUAL((double)r->predicted_ns, (double)r->latency_ns, .03 * (double)r->latency_ns);
	}
	CU_ASSERT(kerf_device_stats(w->device)->verified > FRAMES - 10);
	world_destroy(w);
}

/* Decoding is a part of the tail. */
static void test_decoding_takes_time(void)
{
	struct world *w = make((struct world_options){0});
	const double tail_ns = kerf_profile_range_ns(&w->profile, 0, (unsigned)w->graph->n_nodes);

	CU_ASSERT_DOUBLE_EQUAL((double)w->records[40].tail_ns, tail_ns + WORLD_JPEG_BYTE_NS * (15000 + 40 * 37 % 1000), 1000);
	world_destroy(w);
}

/* Whichever packet comes first: the length is known by the last one or the descriptor. */
static void test_links_that_lose_and_reorder(void)
{
	for (uint64_t seed = 1; seed <= 10; seed++) {
		struct world *w = make((struct world_options){.seed = seed, .loss = .05, .duplication = .05,
			.reordering = .2, .reorder_ns = 5 * MS, .inputs_differ = false});

		CU_ASSERT(with_codec(w, KERF_CODEC_JPEG) > 10);
		world_destroy(w);
	}
}

static void test_frames_without_one(void)
{
	struct world *w = make((struct world_options){.jpeg_every = 3});

	for (unsigned i = 0; i < FRAMES; i++)
		CU_ASSERT(w->records[i].codec != KERF_CODEC_JPEG || i % 3 == 0);
	CU_ASSERT(with_codec(w, KERF_CODEC_JPEG) > 10);
	world_destroy(w);
}

/* A server whose decoder differs: a plan that may choose does without, one that may not is refused. */
static void test_other_decoders(void)
{
	struct world *w = make((struct world_options){.other_pictures = true});

	CU_ASSERT_EQUAL(with_codec(w, KERF_CODEC_JPEG), 0);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->sessions, 1);
	world_destroy(w);
	w = make((struct world_options){.other_pictures = true,
		.policy = {.mode = KERF_PLAN_OFFLOAD, .fixed_codec = KERF_CODEC_JPEG}});
	CU_ASSERT_EQUAL(kerf_device_session(w->device), KERF_SESSION_REFUSED);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->local, FRAMES);
	world_destroy(w);
}

/* What the server cannot decode it says at once, and the device goes on. */
static void test_what_is_no_picture(void)
{
	struct world *w = make((struct world_options){.bad_jpegs = true,
		.policy = {.mode = KERF_PLAN_OFFLOAD, .fixed_codec = KERF_CODEC_JPEG, .hedge_factor = 10}});

	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->completed, FRAMES);
	CU_ASSERT_EQUAL(kerf_device_stats(w->device)->remote, 0);
	CU_ASSERT(kerf_server_stats(w->server)->abandoned > FRAMES - 10);
	CU_ASSERT((double)kerf_device_link(w->device)->srtt < 2e6);
	for (unsigned i = 20; i < FRAMES; i++)
		CU_ASSERT((double)w->records[i].latency_ns < 1.3e6 * LOCAL_MS(w));
	world_destroy(w);
}

UNIT_MAIN("node.jpeg", UNIT(test_it_is_chosen_and_arrives), UNIT(test_decoding_takes_time),
	UNIT(test_links_that_lose_and_reorder), UNIT(test_frames_without_one), UNIT(test_other_decoders),
	UNIT(test_what_is_no_picture))
