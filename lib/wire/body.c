#include "wire/wire.h"

#include <endian.h>
#include <math.h>
#include <string.h>

#define TX_MASK ((1ull << 48) - 1)
/* Largest message: every packet of the 16-bit index full. */
#define MAX_MESSAGE_BYTES ((uint64_t)UINT16_MAX * KERF_PAYLOAD_MAX)

static uint32_t float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return htole32(bits);
}

static float bits_float(uint32_t wire)
{
	uint32_t bits = le32toh(wire);
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static uint64_t double_bits(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return htole64(bits);
}

static double bits_double(uint64_t wire)
{
	uint64_t bits = le64toh(wire);
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* Text is cut to fit, ends in a zero, and zeros fill the rest: no stale memory travels. */
static void put_text(char *dst, size_t size, const char *text)
{
	memset(dst, 0, size);
	memcpy(dst, text, strnlen(text, size - 1));
}

/* The text of a peer goes to a terminal: control characters in it must not. */
static int get_text(char *dst, size_t size, const char *src)
{
	size_t n = strnlen(src, size);

	if (n == size)
		return -EBADMSG;
	memset(dst, 0, size);
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] >= ' ' && src[i] <= '~' ? src[i] : '?';
	return 0;
}

size_t kerf_wire_put_hello(void *dst, const struct kerf_hello *h)
{
	struct kerf_wire_hello *w = dst;

	*w = (struct kerf_wire_hello){
		.fingerprint = htole64(h->fingerprint),
		.whole_ns = htole64(h->whole_ns),
		.nonce = htole32(h->nonce),
		.codecs = htole32(h->codecs),
		.payload_bytes = htole32(h->payload_bytes),
		.pixel_channels = htole32(h->pixel_channels),
		.picture = htole64(h->picture),
	};
	memcpy(w->digest, h->digest, sizeof(w->digest));
	for (unsigned i = 0; i < 4; i++) {
		w->pixel_scale[i] = float_bits(h->pixel_scale[i]);
		w->pixel_bias[i] = float_bits(h->pixel_bias[i]);
	}
	put_text(w->fingerprint_text, sizeof(w->fingerprint_text), h->fingerprint_text);
	return sizeof(*w);
}

static bool hello_is_sane(const struct kerf_hello *h)
{
	for (unsigned i = 0; i < 4; i++)
		if (!isfinite(h->pixel_scale[i]) || !isfinite(h->pixel_bias[i]))
			return false;
	return h->pixel_channels <= 4 && h->payload_bytes <= KERF_PAYLOAD_MAX &&
		h->payload_bytes >= sizeof(struct kerf_wire_descriptor);
}

int kerf_wire_get_hello(const void *src, size_t len, struct kerf_hello *h)
{
	const struct kerf_wire_hello *w = src;

	if (len != sizeof(*w))
		return -EBADMSG;
	*h = (struct kerf_hello){
		.fingerprint = le64toh(w->fingerprint),
		.whole_ns = le64toh(w->whole_ns),
		.nonce = le32toh(w->nonce),
		.codecs = le32toh(w->codecs),
		.payload_bytes = le32toh(w->payload_bytes),
		.pixel_channels = le32toh(w->pixel_channels),
		.picture = le64toh(w->picture),
	};
	memcpy(h->digest, w->digest, sizeof(h->digest));
	for (unsigned i = 0; i < 4; i++) {
		h->pixel_scale[i] = bits_float(w->pixel_scale[i]);
		h->pixel_bias[i] = bits_float(w->pixel_bias[i]);
	}
	if (get_text(h->fingerprint_text, sizeof(h->fingerprint_text), w->fingerprint_text) < 0)
		return -EBADMSG;
	return hello_is_sane(h) ? 0 : -EBADMSG;
}

size_t kerf_wire_put_error(void *dst, enum kerf_wire_error_code code, const char *text)
{
	struct kerf_wire_error *w = dst;

	w->code = htole16((uint16_t)code);
	put_text(w->text, sizeof(w->text), text);
	return sizeof(*w);
}

/* A code that is not known yet passes: its text still tells a person why. */
int kerf_wire_get_error(const void *src, size_t len, uint16_t *code, char text[126])
{
	const struct kerf_wire_error *w = src;

	if (len != sizeof(*w) || w->code == 0)
		return -EBADMSG;
	*code = le16toh(w->code);
	return get_text(text, sizeof(w->text), w->text);
}

size_t kerf_wire_put_report(void *dst, const struct kerf_report *r)
{
	struct kerf_wire_report *w = dst;
	struct kerf_wire_range *ranges = (void *)(w + 1);

	assert(r->n_ranges <= KERF_REPORT_MAX_RANGES);
	*w = (struct kerf_wire_report){
		.of_type = (uint8_t)r->of_type,
		.label = r->label,
		.flags = r->flags,
		.received = htole16(r->received),
		.n_ranges = htole16(r->n_ranges),
		.first_delay_ns = htole64((uint64_t)r->first_delay_ns),
		.duration_ns = htole64(r->duration_ns),
		.echo_tx_ns = htole64(r->echo_tx_ns & TX_MASK),
		.hold_ns = htole32(r->hold_ns),
		.wire_bytes = htole32(r->wire_bytes),
		.tau = double_bits(r->tau),
		.tau_error = float_bits(r->tau_error),
		.work_us = htole32(r->work_us),
		.slowdown = float_bits(r->slowdown),
	};
	for (unsigned i = 0; i < r->n_ranges; i++)
		ranges[i] = (struct kerf_wire_range){
			.first = htole16(r->ranges[i].first),
			.count = htole16(r->ranges[i].count),
		};
	return sizeof(*w) + r->n_ranges * sizeof(*ranges);
}

static int get_ranges(const struct kerf_wire_range *ranges, struct kerf_report *r)
{
	uint32_t end = 0; /* of the range before */

	for (unsigned i = 0; i < r->n_ranges; i++) {
		uint16_t first = le16toh(ranges[i].first), count = le16toh(ranges[i].count);

		/* The last index a packet can have is 65534. */
		if (count == 0 || first < end || (uint32_t)first + count > UINT16_MAX)
			return -EBADMSG;
		r->ranges[i].first = first;
		r->ranges[i].count = count;
		end = (uint32_t)first + count;
	}
	return 0;
}

static bool report_is_sane(const struct kerf_report *r)
{
	return (r->of_type == KERF_MSG_DATA || r->of_type == KERF_MSG_RESULT ||
		       r->of_type == KERF_MSG_PROBE) &&
		!(r->flags & ~KERF_REPORT_ALL) && r->echo_tx_ns <= TX_MASK && isfinite(r->tau) &&
		r->tau >= 0 && isfinite(r->tau_error) && r->tau_error >= 0 &&
		isfinite(r->slowdown) && r->slowdown >= 0;
}

int kerf_wire_get_report(const void *src, size_t len, struct kerf_report *r)
{
	const struct kerf_wire_report *w = src;

	if (len < sizeof(*w) || w->reserved != 0 || w->reserved2 != 0)
		return -EBADMSG;
	r->of_type = w->of_type;
	r->label = w->label;
	r->flags = w->flags;
	r->received = le16toh(w->received);
	r->n_ranges = le16toh(w->n_ranges);
	r->first_delay_ns = (int64_t)le64toh(w->first_delay_ns);
	r->duration_ns = le64toh(w->duration_ns);
	r->echo_tx_ns = le64toh(w->echo_tx_ns);
	r->hold_ns = le32toh(w->hold_ns);
	r->wire_bytes = le32toh(w->wire_bytes);
	r->tau = bits_double(w->tau);
	r->tau_error = bits_float(w->tau_error);
	r->work_us = le32toh(w->work_us);
	r->slowdown = bits_float(w->slowdown);
	if (!report_is_sane(r) || r->n_ranges > KERF_REPORT_MAX_RANGES ||
		len != sizeof(*w) + r->n_ranges * sizeof(struct kerf_wire_range))
		return -EBADMSG;
	return get_ranges((const void *)(w + 1), r);
}

size_t kerf_wire_put_descriptor(void *dst, const struct kerf_descriptor *d)
{
	struct kerf_wire_descriptor *w = dst;

	*w = (struct kerf_wire_descriptor){
		.values = htole64(d->values),
		.bytes = htole64(d->bytes),
		.payload_bytes = htole32(d->payload_bytes),
		.cut = htole16(d->cut),
		.codec = d->codec,
		.n_tensors = d->n_tensors,
		.deadline_ns = htole64(d->deadline_ns),
		.queue_ns = htole64(d->queue_ns),
		.tail_ns = htole64(d->tail_ns),
	};
	for (unsigned i = 0; i < 4; i++)
		w->dims[i] = htole32(d->dims[i]);
	return sizeof(*w);
}

/* The first tensor is one of the message's: its elements are at most all values. */
static bool dims_fit(const uint32_t dims[4], uint64_t values)
{
	for (unsigned i = 0; i < 4; i++) {
		if (dims[i] == 0)
			return false;
		values /= dims[i];
	}
	return values > 0;
}

/* No codec packs more than eight values into a byte. */
static bool descriptor_is_sane(const struct kerf_descriptor *d)
{
	return d->n_tensors > 0 && d->bytes > 0 && d->bytes <= MAX_MESSAGE_BYTES &&
		d->values <= 8 * d->bytes && dims_fit(d->dims, d->values) &&
		d->payload_bytes >= sizeof(struct kerf_wire_descriptor) &&
		d->payload_bytes <= KERF_PAYLOAD_MAX;
}

int kerf_wire_get_descriptor(const void *src, size_t len, struct kerf_descriptor *d)
{
	const struct kerf_wire_descriptor *w = src;

	if (len < sizeof(*w))
		return -EBADMSG;
	*d = (struct kerf_descriptor){
		.values = le64toh(w->values),
		.bytes = le64toh(w->bytes),
		.deadline_ns = le64toh(w->deadline_ns),
		.queue_ns = le64toh(w->queue_ns),
		.tail_ns = le64toh(w->tail_ns),
		.payload_bytes = le32toh(w->payload_bytes),
		.cut = le16toh(w->cut),
		.codec = w->codec,
		.n_tensors = w->n_tensors,
	};
	for (unsigned i = 0; i < 4; i++)
		d->dims[i] = le32toh(w->dims[i]);
	return descriptor_is_sane(d) ? 0 : -EBADMSG;
}
