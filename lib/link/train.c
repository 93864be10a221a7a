#include "link/link.h"

#include <math.h>

#define TX_BITS 48
#define TX_MASK ((1ull << TX_BITS) - 1)

/* Bursts from which half-split slopes beat the burst edges; both rules, and the error bound below,
 * are from simulated trains on quiet and noisy hosts (see tests/unit/link). */
#define HALF_SPLIT_BURSTS 8
#define ERROR_FLOOR 0.02
#define ERROR_PER_SQRT_PACKET 0.3
#define STALL_GAPS 5 /* a spacing longer than this many medians is a stall */

/* WebRTC's rules for probe clusters: receiving near the send rate means that the sender was the
 * limit; receiving far above it, or too few of the packets, means nothing. */
#define SENDER_SHARE 0.9
#define INVALID_SHARE 2.0
#define MIN_ARRIVED_PERCENT 80

/* a - b of two 48-bit times that may have wrapped in between. */
static int64_t tx_diff(uint64_t a, uint64_t b)
{
	uint64_t diff = (a - b) & TX_MASK;

	return diff >> (TX_BITS - 1) ? (int64_t)diff - (1ll << TX_BITS) : (int64_t)diff;
}

static void add_tx(struct kerf_train *t, uint64_t tx_ns, uint32_t wire_bytes)
{
	int64_t ahead = tx_diff(tx_ns, t->newest_tx_ns);

	if (t->packets == 0) {
		t->first_tx_ns = tx_ns;
		ahead = 1;
	}
	if (ahead > 0) {
		t->newest_tx_ns = tx_ns;
		t->newest_tx_bytes = wire_bytes;
	} else if (ahead == 0) {
		t->newest_tx_bytes += wire_bytes;
	}
	if (tx_diff(tx_ns, t->first_tx_ns) < 0)
		t->reordered = true;
	t->last_tx_ns = tx_ns;
}

/* Keeps every second point; the first one always stays. */
static void halve_points(struct kerf_train *t)
{
	for (uint32_t i = 0; i < KERF_TRAIN_POINTS / 2; i++)
		t->points[i] = t->points[2 * i];
	t->n_points = KERF_TRAIN_POINTS / 2;
	t->stride *= 2;
}

/* Burst number `burst` begins: it becomes a point when its turn has come. */
static void add_point(struct kerf_train *t, uint32_t burst, uint64_t rx_ns)
{
	if (t->stride == 0)
		t->stride = 1;
	if (burst % t->stride != 0)
		return;
	if (t->n_points == KERF_TRAIN_POINTS)
		halve_points(t);
	t->points[t->n_points++].rx_ns = rx_ns;
}

void kerf_train_add(struct kerf_train *t, uint64_t rx_ns, uint64_t tx_ns, uint32_t wire_bytes)
{
	add_tx(t, tx_ns & TX_MASK, wire_bytes);
	if (t->packets == 0)
		t->first_rx_ns = t->last_rx_ns = rx_ns;
	/* A receive time that runs backwards belongs to the burst that is already known. */
	if (t->packets == 0 || rx_ns > t->last_rx_ns) {
		add_point(t, t->bursts, rx_ns);
		t->bursts++;
		t->last_rx_ns = rx_ns;
	}
	t->packets++;
	t->bytes += wire_bytes;
	if (t->points[t->n_points - 1].rx_ns == t->last_rx_ns)
		t->points[t->n_points - 1].bytes = t->bytes;
}

void kerf_train_burst(struct kerf_train *t)
{
	t->full_bursts++;
}

/* The k-th smallest (Hoare's find). Values change places; qsort might take memory from the heap. */
static double select_kth(double *v, int n, int k)
{
	int low = 0, high = n - 1;

	while (low < high) {
		double pivot = v[k];
		int i = low, j = high;

		while (i <= j) {
			while (v[i] < pivot)
				i++;
			while (pivot < v[j])
				j--;
			if (i <= j) {
				double swap = v[i];
				v[i++] = v[j];
				v[j--] = swap;
			}
		}
		if (j < k)
			low = i;
		if (k < i)
			high = j;
	}
	return v[k];
}

static double median(double *values, unsigned n)
{
	double upper = select_kth(values, (int)n, (int)n / 2), lower = values[0];

	if (n % 2)
		return upper;
	for (unsigned i = 1; i < n / 2; i++)
		lower = fmax(lower, values[i]);
	return (lower + upper) / 2;
}

/* Seconds per byte between two points: the bytes that came after the first one, over the time. */
static double slope(const struct kerf_train *t, unsigned from, unsigned to)
{
	double ns = (double)(t->points[to].rx_ns - t->points[from].rx_ns);
	double bytes = (double)(t->points[to].bytes - t->points[from].bytes);

	return ns / bytes / (double)KERF_NS_PER_S;
}

/* Points that were thinned out are at least 64: what came after the last one can be left out. */
static double fit_tau(const struct kerf_train *t)
{
	double slopes[KERF_TRAIN_POINTS];
	unsigned n = t->n_points, half = n / 2;

	if (n < HALF_SPLIT_BURSTS)
		return slope(t, 0, n - 1);
	for (unsigned i = 0; i + half < n; i++)
		slopes[i] = slope(t, i, i + half);
	return median(slopes, n - half);
}

/*
 * Relative bound of tau. Every time is late by at most one polling interval, which is at most the
 * usual spacing of the bursts; a stall moves bytes by its own length; and few packets prove little.
 */
static double fit_error(const struct kerf_train *t)
{
	double spacings[KERF_TRAIN_POINTS], sum = 0, stalls = 0;
	unsigned n = t->n_points - 1;

	for (unsigned i = 0; i < n; i++) {
		spacings[i] = (double)(t->points[i + 1].rx_ns - t->points[i].rx_ns);
		sum += spacings[i];
	}
	double usual = median(spacings, n);
	for (unsigned i = 0; i < n; i++)
		if (spacings[i] > STALL_GAPS * usual)
			stalls += spacings[i];
	double late = (usual / t->stride + stalls) / sum;
	double few = ERROR_PER_SQRT_PACKET / sqrt(t->packets);
	return fmax(ERROR_FLOOR, fmax(late, few));
}

/* Bytes per second at which the train was sent; infinite when it left all at once. */
static double send_rate(const struct kerf_train *t)
{
	double ns = (double)tx_diff(t->newest_tx_ns, t->first_tx_ns);

	return ns > 0 ? (double)(t->bytes - t->newest_tx_bytes) * (double)KERF_NS_PER_S / ns :
			INFINITY;
}

static enum kerf_link_label label_of(const struct kerf_train *t, uint32_t expected, double tau)
{
	double sent = send_rate(t), received = 1 / tau;

	if ((uint64_t)t->packets * 100 < (uint64_t)expected * MIN_ARRIVED_PERCENT ||
		t->reordered || tx_diff(t->last_tx_ns, t->newest_tx_ns) < 0 ||
		received > INVALID_SHARE * sent)
		return KERF_LABEL_INVALID;
	if (2 * (uint64_t)t->full_bursts > t->bursts)
		return KERF_LABEL_RECEIVER;
	return received >= SENDER_SHARE * sent ? KERF_LABEL_SENDER : KERF_LABEL_BOTTLENECK;
}

bool kerf_train_sample(const struct kerf_train *t, uint32_t expected, struct kerf_sample *s)
{
	*s = (struct kerf_sample){.label = KERF_LABEL_NONE, .packets = t->packets};
	if (t->n_points < 2)
		return false;

	double tau = fit_tau(t);
	if (!isfinite(tau) || tau <= 0)
		return false;
	s->label = label_of(t, expected, tau);
	if (s->label != KERF_LABEL_INVALID) {
		s->tau = tau;
		s->error = fit_error(t);
	}
	return true;
}
