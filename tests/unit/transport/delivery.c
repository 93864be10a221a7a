/* Whole messages over a bad link in virtual time: bit-exact or FAILED, nothing leaked. */
#include "harness.h"

#define PER_PACKET (BENCH_PAYLOAD / 64 * 16) /* f32 values in a packet other than the first */
#define IN_FIRST ((BENCH_PAYLOAD - 64) / 64 * 16)

static size_t values_of(uint32_t packets)
{
	return IN_FIRST + (size_t)(packets - 1) * PER_PACKET;
}

struct conditions {
	double loss, duplicate, reorder;
};

static void impair(struct bench *b, const struct conditions *c)
{
	b->up = (struct lane){.delay_ns = 5000000, .tau = 8e-8, .loss = c->loss,
		.duplicate = c->duplicate, .reorder = c->reorder};
	b->down = (struct lane){.delay_ns = 5000000, .loss = c->loss, .duplicate = c->duplicate,
		.reorder = c->reorder};
	b->poll_ns = 10000;
}

/* One message of one tensor; everything about it is checked. */
static void deliver(enum kerf_msg_type type, uint32_t packets, const struct conditions *c)
{
	size_t n = values_of(packets);
	float *sent = bench_values(n), *got = bench_values(n);
	struct kerf_message msg = bench_message(type);
	const struct kerf_part to = {.values = got, .n = n};
	struct bench b;

	bench_open(&b, 8192, BENCH_PAYLOAD);
	bench_fill(sent, n, packets);
	impair(&b, c);
	msg.parts[0] = (struct kerf_part){.values = sent, .n = n};
	msg.n_parts = 1;
	msg.tau = 8e-8;
	msg.descriptor.deadline_ns = 123;
	bench_run(&b, &msg, &to, 1);
	CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_DONE);
	CU_ASSERT_EQUAL(b.receiver.layout.n_packets, packets);
	CU_ASSERT(b.receiver.complete);
	CU_ASSERT_EQUAL(b.receiver.descriptor.deadline_ns, 123);
	CU_ASSERT_EQUAL(b.receiver.descriptor.values, n);
	CU_ASSERT_EQUAL(memcmp(sent, got, n * sizeof(*sent)), 0);
	CU_ASSERT_EQUAL(b.net.retransmits, b.sender.repeats);
	CU_ASSERT_EQUAL(b.net.tx_packets, packets + b.net.retransmits);
	CU_ASSERT_EQUAL(b.net.drops[KERF_DROP_UNEXPECTED], 0);
	if (c->loss == 0 && c->reorder == 0)
		CU_ASSERT_EQUAL(b.sender.repeats, 0);
	bench_close(&b);
	free(sent);
	free(got);
}

static void test_every_size_and_loss_arrives(void)
{
	static const uint32_t packets[] = {1, 2, 3, 16, 17, 64, 65, 300, 5000};
	static const double losses[] = {0, 0.01, 0.1, 0.4};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(packets); i++)
		for (unsigned j = 0; j < KERF_ARRAY_LEN(losses); j++)
			deliver(KERF_MSG_DATA, packets[i], &(struct conditions){.loss = losses[j]});
}

static void test_reordering_and_duplicates_do_no_harm(void)
{
	static const struct conditions all[] = {
		{.duplicate = 0.2},
		{.reorder = 0.2},
		{.loss = 0.1, .duplicate = 0.1, .reorder = 0.1},
	};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(all); i++) {
		deliver(KERF_MSG_DATA, 1, &all[i]);
		deliver(KERF_MSG_DATA, 200, &all[i]);
		deliver(KERF_MSG_RESULT, 3, &all[i]);
	}
}

/* What is repeated is what was lost, and little else: no storm, no go-back-N. */
static void test_repairs_are_selective(void)
{
	static const double losses[] = {0.01, 0.1, 0.4};
	const uint32_t packets = 2000;
	size_t n = values_of(packets);
	float *sent = bench_values(n), *got = bench_values(n);
	const struct kerf_part to = {.values = got, .n = n};

	bench_fill(sent, n, 9);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(losses); i++) {
		struct kerf_message msg = bench_message(KERF_MSG_DATA);
		struct bench b;

		bench_open(&b, 4096, BENCH_PAYLOAD);
		impair(&b, &(struct conditions){.loss = losses[i]});
		msg.parts[0] = (struct kerf_part){.values = sent, .n = n};
		msg.n_parts = 1;
		msg.tau = 8e-8;
		bench_run(&b, &msg, &to, 1);
		CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_DONE);
		CU_ASSERT(b.sender.repeats >= b.up.lost);
		CU_ASSERT(b.sender.repeats <= b.up.lost + b.up.lost / 10 + 16);
		bench_close(&b);
	}
	free(sent);
	free(got);
}

static void test_dead_link_fails_cleanly(void)
{
	for (unsigned dead_way = 0; dead_way < 2; dead_way++) {
		size_t n = values_of(50);
		float *sent = bench_values(n), *got = bench_values(n);
		const struct kerf_part to = {.values = got, .n = n};
		struct kerf_message msg = bench_message(KERF_MSG_DATA);
		struct bench b;

		bench_open(&b, 256, BENCH_PAYLOAD);
		(dead_way ? &b.down : &b.up)->loss = 1;
		msg.parts[0] = (struct kerf_part){.values = sent, .n = n};
		msg.n_parts = 1;
		msg.max_tries = 5;
		uint64_t began = b.now;
		bench_run(&b, &msg, &to, 1);
		CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_FAILED);
		/* rto x (1 + 2 + 4 + 8 + 8 + 8): five repeats, then a last silence. */
		CU_ASSERT_EQUAL(b.sender.repeats, 5);
		CU_ASSERT_EQUAL(b.sender.finished_ns - began, 31 * msg.rto_ns);
		CU_ASSERT_EQUAL(b.receiver.complete, dead_way == 1);
		bench_close(&b);
		free(sent);
		free(got);
	}
}

static void test_two_tensors_of_odd_sizes(void)
{
	static const size_t sizes[][2] = {{1, 1}, {17, 15}, {16, 1}, {1000, 1}, {12345, 6789}};

	for (unsigned i = 0; i < KERF_ARRAY_LEN(sizes); i++) {
		size_t na = sizes[i][0], nb = sizes[i][1];
		float *a = bench_values(na), *b_values = bench_values(nb);
		float *to_a = bench_values(na), *to_b = bench_values(nb);
		const struct kerf_part to[] = {
			{.values = to_a, .n = na}, {.values = to_b, .n = nb}};
		struct kerf_message msg = bench_message(KERF_MSG_DATA);
		struct bench b;

		bench_open(&b, 1024, BENCH_PAYLOAD);
		impair(&b, &(struct conditions){.loss = 0.2, .duplicate = 0.1, .reorder = 0.1});
		bench_fill(a, na, 1);
		bench_fill(b_values, nb, 2);
		msg.parts[0] = (struct kerf_part){.values = a, .n = na};
		msg.parts[1] = (struct kerf_part){.values = b_values, .n = nb};
		msg.n_parts = 2;
		bench_run(&b, &msg, to, 2);
		CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_DONE);
		CU_ASSERT_EQUAL(memcmp(a, to_a, na * sizeof(*a)), 0);
		CU_ASSERT_EQUAL(memcmp(b_values, to_b, nb * sizeof(*a)), 0);
		CU_ASSERT_EQUAL(b.receiver.descriptor.n_tensors, 2);
		bench_close(&b);
		free(a);
		free(b_values);
		free(to_a);
		free(to_b);
	}
}

static void test_pixels(void)
{
	const size_t n = 224 * 224 * 3 + 5;
	uint8_t *sent = malloc(n), *got = calloc(n, 1);
	const struct kerf_part to = {.pixels = got, .n = n};
	struct kerf_message msg = bench_message(KERF_MSG_DATA);
	struct bench b;

	bench_open(&b, 1024, BENCH_PAYLOAD);
	impair(&b, &(struct conditions){.loss = 0.1});
	for (size_t i = 0; i < n; i++)
		sent[i] = (uint8_t)(i * 31 + i / 251);
	msg.codec = KERF_CODEC_U8;
	msg.cut = 0;
	msg.parts[0] = (struct kerf_part){.pixels = sent, .n = n};
	msg.n_parts = 1;
	bench_run(&b, &msg, &to, 1);
	CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_DONE);
	CU_ASSERT_EQUAL(b.receiver.descriptor.bytes, n);
	CU_ASSERT_EQUAL(memcmp(sent, got, n), 0);
	bench_close(&b);
	free(sent);
	free(got);
}

/* Reports of a session with tiny packets hold 16 ranges: more gaps are repaired in turns. */
static void test_more_gaps_than_ranges(void)
{
	const size_t n = 16 + 31 * 400;
	float *sent = bench_values(n), *got = bench_values(n);
	const struct kerf_part to = {.values = got, .n = n};
	struct kerf_message msg = bench_message(KERF_MSG_DATA);
	struct bench b;

	bench_open(&b, 1024, 128);
	impair(&b, &(struct conditions){.loss = 0.4});
	bench_fill(sent, n, 3);
	msg.parts[0] = (struct kerf_part){.values = sent, .n = n};
	msg.n_parts = 1;
	bench_run(&b, &msg, &to, 1);
	CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_DONE);
	CU_ASSERT(b.receiver.layout.n_packets > 300);
	CU_ASSERT_EQUAL(memcmp(sent, got, n * sizeof(*sent)), 0);
	CU_ASSERT(b.sender.repeats <= b.up.lost + b.up.lost / 5 + 16);
	bench_close(&b);
	free(sent);
	free(got);
}

/* A pool smaller than the message: the sender goes on as confirmations free its packets. */
static void test_small_pool_recovers(void)
{
	const uint32_t packets = 400;
	size_t n = values_of(packets);
	float *sent = bench_values(n), *got = bench_values(n);
	const struct kerf_part to = {.values = got, .n = n};
	struct kerf_message msg = bench_message(KERF_MSG_DATA);
	struct bench b;

	bench_open(&b, 100, BENCH_PAYLOAD);
	impair(&b, &(struct conditions){.loss = 0.1});
	bench_fill(sent, n, 4);
	msg.parts[0] = (struct kerf_part){.values = sent, .n = n};
	msg.n_parts = 1;
	bench_run(&b, &msg, &to, 1);
	CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_DONE);
	CU_ASSERT(b.net.drops[KERF_DROP_NO_MBUF] > 0);
	CU_ASSERT_EQUAL(memcmp(sent, got, n * sizeof(*sent)), 0);
	bench_close(&b);
	free(sent);
	free(got);
}

static void test_small_pool_and_dead_link_fails(void)
{
	size_t n = values_of(400);
	float *sent = bench_values(n), *got = bench_values(n);
	const struct kerf_part to = {.values = got, .n = n};
	struct kerf_message msg = bench_message(KERF_MSG_DATA);
	struct bench b;

	bench_open(&b, 100, BENCH_PAYLOAD);
	b.up.loss = 1;
	msg.parts[0] = (struct kerf_part){.values = sent, .n = n};
	msg.n_parts = 1;
	msg.max_tries = 4;
	bench_run(&b, &msg, &to, 1);
	CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_FAILED);
	bench_close(&b);
	free(sent);
	free(got);
}

static void probe(double loss, uint64_t *repeats, struct kerf_receiver *seen, uint64_t *bytes)
{
	struct kerf_message msg = bench_message(KERF_MSG_PROBE);
	struct bench b;

	bench_open(&b, 64, BENCH_PAYLOAD);
	impair(&b, &(struct conditions){.loss = loss});
	msg.probe_packets = 16;
	msg.tau = 1; /* ignored: a train leaves back to back */
	bench_run(&b, &msg, NULL, 0);
	CU_ASSERT_EQUAL(b.sender.state, KERF_SENDER_DONE);
	*repeats = b.sender.repeats;
	*seen = b.receiver;
	*bytes = b.net.probe_bytes;
	bench_close(&b);
}

static void test_probe_train(void)
{
	struct kerf_receiver r;
	uint64_t repeats, bytes;

	probe(0, &repeats, &r, &bytes);
	CU_ASSERT(r.complete);
	CU_ASSERT_EQUAL(r.received, 16);
	CU_ASSERT_EQUAL(repeats, 0);
	CU_ASSERT_EQUAL(bytes, 16 * (64 + BENCH_PAYLOAD));
	CU_ASSERT(r.train.last_tx_ns - r.train.first_tx_ns < 16);
	/* 15 packets of 1538 wire bytes at 8e-8 s each, give or take a poll. */
	double train_ns = (double)(r.train.last_rx_ns - r.train.first_rx_ns);
	CU_ASSERT_DOUBLE_EQUAL(train_ns, 15 * 1538 * 80.0, 20000);

	probe(0.4, &repeats, &r, &bytes);
	CU_ASSERT(!r.complete);
	CU_ASSERT(repeats <= 4); /* only to ask for the report: a train is not repaired */
}

UNIT_MAIN("transport.delivery", UNIT(test_every_size_and_loss_arrives),
	UNIT(test_reordering_and_duplicates_do_no_harm), UNIT(test_repairs_are_selective),
	UNIT(test_dead_link_fails_cleanly), UNIT(test_two_tensors_of_odd_sizes), UNIT(test_pixels),
	UNIT(test_more_gaps_than_ranges), UNIT(test_small_pool_recovers),
	UNIT(test_small_pool_and_dead_link_fails), UNIT(test_probe_train))
