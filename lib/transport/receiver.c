/*
 * The receiving half: checks a packet against its message before anything is written, decodes it to
 * its place, and knows when a report is due and what it says.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "transport/transport_internal.h"

/* So few packets show that the link is much slower than the sender believed. */
#define SLOW_PACKETS 6
#define SLOW_FACTOR 2
#define SLOW_NS 2000000
#define MIN_SILENCE_NS 2000000
#define FIRST_SILENCE_NS 20000000 /* until a second burst tells how far apart they come */
#define SILENCE_BURSTS 4
#define MAX_SILENCE_SHIFT 3
#define MAX_SILENT_REPORTS 16 /* then the sender has to ask */

int kerf_receiver_create(struct kerf_receiver *r, uint32_t max_packets)
{
	*r = (struct kerf_receiver){.capacity = max_packets};
	r->bitmap = calloc(max_packets / 64 + 1, sizeof(*r->bitmap));
	return r->bitmap ? 0 : -ENOMEM;
}

void kerf_receiver_destroy(struct kerf_receiver *r)
{
	free(r->bitmap);
	*r = (struct kerf_receiver){0};
}

void kerf_receiver_finish(struct kerf_receiver *r)
{
	*r = (struct kerf_receiver){.bitmap = r->bitmap, .capacity = r->capacity};
}

/* ---- start ---- */

/* Bytes of whole packets, of which the last may turn out not to be full; at most the room that there is. */
static size_t own_length_at_most(const struct kerf_header *h, size_t room, unsigned block_bytes, uint32_t payload_bytes)
{
	const size_t first = (payload_bytes - sizeof(struct kerf_wire_descriptor)) / block_bytes;
	const size_t others = (size_t)(h->count - 1) * (payload_bytes / block_bytes);

	return KERF_MIN((first + others) * block_bytes, room);
}

static int make_layout(struct kerf_layout *l, const struct kerf_header *h, struct kerf_part *parts,
	unsigned n_parts, uint32_t payload_bytes)
{
	if (h->type == KERF_MSG_PROBE) {
		*l = (struct kerf_layout){.n_packets = h->count};
		return n_parts == 0 ? 0 : -EBADMSG;
	}
	if ((h->type != KERF_MSG_DATA && h->type != KERF_MSG_RESULT) ||
		n_parts > KERF_MAX_PARTS || !kerf_parts_fit_codec(parts, n_parts, h->codec))
		return -EBADMSG;
	if (kerf_codec_info(h->codec)->own_length)
		parts[0].n = own_length_at_most(h, parts[0].n, kerf_codec_info(h->codec)->block_bytes,
			payload_bytes);
	return kerf_layout_make(l, kerf_parts_blocks(parts, n_parts, h->codec),
		kerf_codec_info(h->codec)->block_bytes, payload_bytes);
}

static uint32_t progress_step(const struct kerf_receiver *r)
{
	return KERF_MAX(r->layout.n_packets / KERF_RECEIVER_PROGRESS_PARTS, KERF_RECEIVER_PROGRESS_PACKETS);
}

int kerf_receiver_start(struct kerf_receiver *r, const struct kerf_header *h,
	const struct kerf_part *parts, unsigned n_parts, uint32_t payload_bytes, uint64_t now)
{
	struct kerf_part copy[KERF_MAX_PARTS] = {{0}};
	struct kerf_layout layout;

	if (payload_bytes < MIN_PAYLOAD_BYTES)
		return -EMSGSIZE;
	if (n_parts > 0 && n_parts <= KERF_MAX_PARTS)
		memcpy(copy, parts, n_parts * sizeof(*parts));
	int rc = make_layout(&layout, h, copy, n_parts, payload_bytes);
	if (rc < 0)
		return rc;
	if (h->count != layout.n_packets || h->index >= h->count)
		return -EBADMSG;
	if (layout.n_packets > r->capacity)
		return -EMSGSIZE;

	size_t ranges = (payload_bytes - sizeof(struct kerf_wire_report)) /
			sizeof(struct kerf_wire_range);
	kerf_receiver_finish(r);
	r->active = true;
	r->type = h->type;
	r->session = h->session;
	r->frame = h->frame;
	r->cut = h->cut;
	r->codec = h->codec;
	r->n_parts = n_parts;
	memcpy(r->parts, copy, sizeof(copy));
	r->layout = layout;
	r->payload_bytes = payload_bytes;
	r->max_ranges = (unsigned)KERF_MIN(ranges, KERF_REPORT_MAX_RANGES);
	r->silence_ns = FIRST_SILENCE_NS;
	r->progress_due = progress_step(r);
	r->started_ns = r->last_rx_ns = now;
	memset(r->bitmap, 0, (layout.n_packets / 64 + 1) * sizeof(*r->bitmap));
	return 0;
}

/* ---- packets ---- */

static bool belongs(const struct kerf_receiver *r, const struct kerf_header *h)
{
	return r->active && h->type == r->type && h->session == r->session &&
	       h->frame == r->frame && h->cut == r->cut && h->codec == r->codec &&
	       h->count == r->layout.n_packets && h->index < h->count;
}

/* The message turns out to have so many bytes: told by its descriptor or its last packet, whichever comes first. */
static int learn_length(struct kerf_receiver *r, uint64_t bytes)
{
	const struct kerf_part part = {.pixels = r->parts[0].pixels, .n = (size_t)bytes};
	struct kerf_layout l;

	if (r->sized || !kerf_codec_info(r->codec)->own_length)
		return 0;
	if (bytes > r->parts[0].n ||
		kerf_layout_make(&l, kerf_parts_blocks(&part, 1, r->codec), kerf_codec_info(r->codec)->block_bytes,
			r->payload_bytes) < 0 ||
		l.n_packets != r->layout.n_packets)
		return -EBADMSG;
	r->parts[0] = part;
	r->layout = l;
	r->sized = true;
	return 0;
}

static int read_descriptor(struct kerf_receiver *r, const uint8_t *payload, size_t len,
	struct kerf_descriptor *d)
{
	if (kerf_wire_get_descriptor(payload, len, d) < 0)
		return -EBADMSG;
	if (d->payload_bytes != r->payload_bytes || d->cut != r->cut || d->codec != r->codec ||
		d->n_tensors != r->n_parts || learn_length(r, d->bytes) < 0)
		return -EBADMSG;
	if (d->values != kerf_parts_values(r->parts, r->n_parts) ||
		d->bytes != kerf_parts_bytes(r->parts, r->n_parts, r->codec))
		return -EBADMSG;
	return 0;
}

static int decode(struct kerf_receiver *r, uint32_t index, const uint8_t *payload, size_t len)
{
	struct kerf_descriptor d;
	uint32_t first, n, offset;

	if (r->type == KERF_MSG_PROBE)
		return 0;
	if (index == 0 && read_descriptor(r, payload, len, &d) < 0)
		return -EBADMSG;
	kerf_layout_packet(&r->layout, index, &first, &n, &offset);
	if (len < offset)
		return -EBADMSG;
	if (index + 1 == r->layout.n_packets && !r->sized) {
		const uint64_t before = (uint64_t)first * r->layout.block_bytes;

		if (learn_length(r, before + len - offset) < 0)
			return -EBADMSG;
		kerf_layout_packet(&r->layout, index, &first, &n, &offset);
	}
	int rc = kerf_parts_decode(r->parts, r->n_parts, r->codec, first, n, payload + offset,
		len - offset);
	if (rc == 0 && index == 0) {
		r->descriptor = d;
		r->have_descriptor = true;
	}
	return rc;
}

/* Repeats tell nothing about the link's rate: they come a round trip later. */
static void note_train(struct kerf_receiver *r, const struct kerf_header *h, uint32_t wire_len,
	uint64_t rx_ns)
{
	if (h->try_no > 0)
		return;
	kerf_train_add(&r->train, rx_ns, h->tx_ns, wire_len);
	r->train_end = KERF_MAX(r->train_end, h->index + 1u);
	if (r->train.bursts > 1) {
		uint64_t gap_ns = (r->train.last_rx_ns - r->train.first_rx_ns) /
				  (r->train.bursts - 1);
		r->silence_ns = KERF_MAX(SILENCE_BURSTS * gap_ns, MIN_SILENCE_NS);
	}
}

/* Clocks of the two ends differ by anything: only the 48 bits that both have are compared. */
static int64_t delay_ns(uint64_t rx_ns, uint64_t tx_ns)
{
	return (int64_t)((rx_ns - tx_ns) << 16) >> 16;
}

static void note_arrival(struct kerf_receiver *r, const struct kerf_header *h, uint32_t wire_len,
	uint64_t rx_ns)
{
	uint64_t ahead_ns = (h->tx_ns - r->newest_tx_ns) & TX_TIME_MASK;

	if (r->wire_bytes == 0)
		r->first_delay_ns = delay_ns(rx_ns, h->tx_ns);
	if (r->wire_bytes == 0 || ahead_ns <= TX_TIME_MASK / 2) {
		r->newest_tx_ns = h->tx_ns;
		r->newest_rx_ns = rx_ns;
	}
	r->wire_bytes += wire_len;
	r->last_rx_ns = KERF_MAX(r->last_rx_ns, rx_ns);
	r->silent_reports = 0;
	if (h->flags & KERF_FLAG_REPORT_NOW)
		r->report_asked = true;
}

int kerf_receiver_packet(struct kerf_receiver *r, const struct kerf_header *h,
	const uint8_t *payload, size_t payload_len, uint32_t wire_len, uint64_t rx_ns)
{
	if (!belongs(r, h))
		return -EBADMSG;
	if (bit_is_set(r->bitmap, h->index)) {
		note_arrival(r, h, wire_len, rx_ns);
		return -EALREADY;
	}
	int rc = decode(r, h->index, payload, payload_len);
	if (rc < 0)
		return rc;

	note_arrival(r, h, wire_len, rx_ns);
	note_train(r, h, wire_len, rx_ns);
	bit_set(r->bitmap, h->index);
	r->received++;
	if (r->received == r->layout.n_packets) {
		r->complete = true;
		r->completed_ns = rx_ns;
	}
	/* Behind the last packet nothing comes by itself: what is missing now is lost or late. */
	if (r->complete || h->index == h->count - 1)
		r->report_asked = true;
	return 0;
}

void kerf_receiver_taken(struct kerf_receiver *r, uint64_t now)
{
	r->taken_ns = now;
}

/* ---- reports ---- */

static bool is_slow(const struct kerf_train *t)
{
	const uint64_t received_ns = t->last_rx_ns - t->first_rx_ns;
	const uint64_t sent_ns = (t->newest_tx_ns - t->first_tx_ns) & TX_TIME_MASK;

	return t->packets >= SLOW_PACKETS && received_ns >= SLOW_NS &&
	       received_ns / SLOW_FACTOR > sent_ns;
}

static bool progress_is_due(const struct kerf_receiver *r)
{
	if (r->type != KERF_MSG_DATA || r->complete)
		return false;
	return r->received >= r->progress_due || (r->reported_ns == 0 && is_slow(&r->train));
}

static uint64_t silence_end(const struct kerf_receiver *r)
{
	uint64_t heard_ns = KERF_MAX(r->last_rx_ns, r->taken_ns);
	uint64_t from_ns = r->silent_reports ? r->reported_ns : heard_ns;

	return from_ns + (r->silence_ns << KERF_MIN(r->silent_reports, MAX_SILENCE_SHIFT));
}

bool kerf_receiver_report_due(const struct kerf_receiver *r, uint64_t now)
{
	return kerf_receiver_next(r) <= now;
}

uint64_t kerf_receiver_next(const struct kerf_receiver *r)
{
	if (!r->active)
		return UINT64_MAX;
	if (r->report_asked || progress_is_due(r))
		return 0;
	if (r->complete || r->silent_reports == MAX_SILENT_REPORTS)
		return UINT64_MAX;
	return silence_end(r);
}

/* Everything that is not here, the tail that was never seen included. When there are more gaps than
 * ranges, the last range reaches to the end: nothing is ever confirmed that is not here. */
static void fill_ranges(const struct kerf_receiver *r, struct kerf_report *report)
{
	uint32_t n = r->layout.n_packets;
	uint32_t first = bit_find(r->bitmap, 0, n, false);

	while (first < n) {
		uint32_t end = bit_find(r->bitmap, first, n, true);

		if (report->n_ranges == r->max_ranges - 1u)
			end = bit_find(r->bitmap, end, n, false) < n ? n : end;
		report->ranges[report->n_ranges].first = (uint16_t)first;
		report->ranges[report->n_ranges].count = (uint16_t)(end - first);
		report->n_ranges++;
		first = bit_find(r->bitmap, end, n, false);
	}
}

/* A message under way is judged by what was to be here by now. */
static void fill_sample(const struct kerf_receiver *r, struct kerf_report *report)
{
	uint32_t expected = r->complete ? r->layout.n_packets : r->train_end;
	struct kerf_sample sample = {0};

	if (r->train.packets == 0 || !kerf_train_sample(&r->train, expected, &sample))
		return;
	report->label = (uint8_t)sample.label;
	report->tau = sample.tau;
	report->tau_error = (float)sample.error;
}

void kerf_receiver_report(struct kerf_receiver *r, struct kerf_report *report, uint64_t now)
{
	uint64_t hold_ns = now > r->newest_rx_ns ? now - r->newest_rx_ns : 0;

	memset(report, 0, offsetof(struct kerf_report, ranges));
	report->of_type = r->type;
	report->flags = r->complete ? KERF_REPORT_COMPLETE : 0;
	report->received = (uint16_t)r->received;
	report->first_delay_ns = r->first_delay_ns;
	report->duration_ns = r->train.last_rx_ns - r->train.first_rx_ns;
	report->echo_tx_ns = r->newest_tx_ns;
	report->hold_ns = (uint32_t)KERF_MIN(hold_ns, UINT32_MAX);
	report->wire_bytes = (uint32_t)KERF_MIN(r->wire_bytes, UINT32_MAX);
	fill_sample(r, report);
	fill_ranges(r, report);

	if (!r->complete && !r->report_asked && !progress_is_due(r) && now >= silence_end(r))
		r->silent_reports++;
	r->progress_due = r->received + progress_step(r);
	r->report_asked = false;
	r->reported_ns = now;
	r->reported_received = r->received;
}

struct rte_mbuf *kerf_report_packet(struct kerf_net *net, const struct kerf_address *to,
	uint16_t session, uint32_t frame, const struct kerf_report *report, uint64_t now)
{
	const struct kerf_header h = {
		.type = KERF_MSG_REPORT,
		.session = session,
		.frame = frame,
		.count = 1,
		.tx_ns = now,
	};
	size_t len = sizeof(struct kerf_wire_report) +
		     report->n_ranges * sizeof(struct kerf_wire_range);
	void *payload;
	struct rte_mbuf *m = kerf_net_packet(net, to, &h, len, &payload);

	if (!m)
		return NULL;
	size_t written = kerf_wire_put_report(payload, report);
	assert(written == len);
	return m;
}
