/* The emulator: what a packet costs, how late and how fast real time is, how fast virtual time goes. */
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include <rte_eal.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_mbuf_dyn.h>

#include "link/link.h"
#include "linkem/linkem.h"
#include "perf.h"
#include "port/port.h"

#define BURST 32
#define BYTES 1514
#define OVERHEAD 24
#define POOL 65535

static const char usage[] =
	"  --lab FILE    kerf-lab, for the speed of virtual time; without: left out\n"
	"  --conf FILE   its scenario\n";

/* ---- one packet through the emulator, a burst at a time ---- */

struct world {
	struct kerf_linkem *e;
	struct rte_mempool *pool;
	uint64_t now_ps;
	unsigned bursts;
};

/* Pushes and takes out again; frees and takes mbufs too, which `nothing` times alone. */
static void push_and_pull(void *self)
{
	struct world *w = self;
	struct rte_mbuf *pkts[BURST];

	for (unsigned i = 0; i < w->bursts; i++) {
		if (rte_pktmbuf_alloc_bulk(w->pool, pkts, BURST))
			abort();
		for (unsigned k = 0; k < BURST; k++)
			pkts[k]->pkt_len = pkts[k]->data_len = BYTES;
		w->now_ps += BURST * 1230ull * KERF_PS_PER_NS;
		kerf_linkem_push(w->e, w->now_ps, pkts, BURST);
		unsigned n = kerf_linkem_pull(w->e, w->now_ps, pkts, BURST);
		rte_pktmbuf_free_bulk(pkts, n);
	}
}

static void only_mbufs(void *self)
{
	struct world *w = self;
	struct rte_mbuf *pkts[BURST];

	for (unsigned i = 0; i < w->bursts; i++) {
		if (rte_pktmbuf_alloc_bulk(w->pool, pkts, BURST))
			abort();
		for (unsigned k = 0; k < BURST; k++)
			pkts[k]->pkt_len = pkts[k]->data_len = BYTES;
		rte_pktmbuf_free_bulk(pkts, BURST);
	}
}

static void measure_cost(struct perf *p, struct rte_mempool *pool, const char *name,
	struct kerf_linkem_config c, double target)
{
	const struct kerf_linkem_step rate = {0, 10000000000ull};
	struct kerf_err err = {0};
	struct world w = {.pool = pool, .bursts = p->quick ? 300 : 3000};
	struct perf_pair r;

	if (c.n_steps)
		c.steps = &rate;
	c.overhead_bytes = OVERHEAD;
	w.e = kerf_linkem_create(&c, &err);
	if (!w.e)
		perf_fail(p, "%s", err.text);
	perf_pair_run(push_and_pull, &w, only_mbufs, &w, p->quick ? 11 : 51, &r);
	perf_add(p,
		&(struct perf_figure){.name = name,
			.unit = "ns/packet",
			.value = (r.a_ns - r.b_ns) / (w.bursts * BURST),
			.spread = r.spread,
			.n = r.n,
			.bound = target > 0 ? PERF_AT_MOST : PERF_NO_BOUND,
			.target = target});
	kerf_linkem_destroy(w.e);
}

static void measure_costs(struct perf *p, struct rte_mempool *pool)
{
	struct kerf_linkem_config c = {.seed = 1};

	measure_cost(p, pool, "cost: nothing on", c, 0);
	c.n_steps = 1;
	c.delay_ps = 100000000;
	measure_cost(p, pool, "cost: rate, delay", c, 0);
	c.loss = 0.01;
	measure_cost(p, pool, "cost: rate, delay, loss", c, 100);
	c.jitter_ps = 1000000;
	measure_cost(p, pool, "cost: rate, delay, loss, jitter", c, 0);
}

/* ---- real time: a sender that keeps the link busy, and a receiver on a core of its own ---- */

struct traffic {
	struct kerf_port a, b; /* a sends, b receives through the emulator */
	struct kerf_linkem *e;
	uint64_t end_ns, gap_ns;
	uint64_t first_ns, last_ns, bytes; /* bytes: of the wire, after the first packet */
	bool stop;
	struct watch *watch; /* looks at packets; NULL = nobody does */
	int offset; /* of their timestamps */
	double bps;
};

static void watch_packet(struct watch *w, const struct rte_mbuf *m, int offset, double bps);

/* Bursts of one packet at even distances: what is late is the emulator's release. */
static int send_all(void *self)
{
	struct traffic *t = self;
	uint64_t due = perf_clock_ns();

	while (perf_clock_ns() < t->end_ns) {
		struct rte_mbuf *m;

		if (perf_clock_ns() < due)
			continue;
		due += t->gap_ns;
		m = rte_pktmbuf_alloc(t->a.pool);
		if (!m)
			continue;
		m->pkt_len = m->data_len = BYTES;
		if (!kerf_port_tx(&t->a, &m, 1))
			rte_pktmbuf_free(m);
	}
	__atomic_store_n(&t->stop, true, __ATOMIC_RELEASE);
	return 0;
}

static void receive_all(struct traffic *t)
{
	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		struct rte_mbuf *pkts[BURST];
		unsigned n = kerf_port_rx(&t->b, pkts, BURST);

		if (!n)
			continue;
		t->last_ns = perf_clock_ns();
		if (!t->first_ns)
			t->first_ns = t->last_ns;
		else
			t->bytes += n * (BYTES + OVERHEAD);
		for (unsigned i = 0; t->watch && i < n; i++)
			watch_packet(t->watch, pkts[i], t->offset, t->bps);
		rte_pktmbuf_free_bulk(pkts, n);
	}
}

/* share: of the link's rate that is sent; 1.2 = more than it takes. */
static void run_traffic(struct perf *p, struct traffic *t, uint64_t bps, double share,
	double seconds, struct kerf_linkem_stats *stats)
{
	const struct kerf_linkem_step rate = {0, bps};
	const struct kerf_linkem_config c = {.steps = &rate,
		.n_steps = 1,
		.delay_ps = 100000000,
		.queue_bytes = KERF_MAX(20 * BYTES, bps / 8 / 500),
		.overhead_bytes = OVERHEAD};
	struct kerf_err err = {0};
	const uint64_t begin = perf_clock_ns();

	t->e = kerf_linkem_create(&c, &err);
	if (!t->e || kerf_linkem_attach(t->e, t->b.id, 0, perf_clock_ns, begin, &err) < 0)
		perf_fail(p, "%s", err.text);
	t->end_ns = begin + (uint64_t)(seconds * 1e9);
	t->gap_ns = (uint64_t)((BYTES + OVERHEAD) * 8e9 / ((double)bps * share));
	t->bps = (double)bps;
	t->first_ns = t->bytes = 0;
	t->stop = false;
	rte_eal_remote_launch(send_all, t, rte_get_next_lcore(-1, 1, 0));
	receive_all(t);
	rte_eal_mp_wait_lcore();
	*stats = *kerf_linkem_stats(t->e);
	kerf_linkem_destroy(t->e);
}

static void measure_rate(struct perf *p, struct traffic *t, const char *name, uint64_t bps)
{
	const double seconds = bps < 10000000 ? 8 : p->quick ? 0.7 : 2;
	struct kerf_linkem_stats s;

	run_traffic(p, t, bps, 1.2, seconds, &s);
	const double got = (double)t->bytes * 8e9 / (double)(t->last_ns - t->first_ns);
	perf_add(p,
		&(struct perf_figure){.name = name,
			.unit = "% error",
			.n = 1,
			.value = 100 *
				(got > (double)bps ? got / (double)bps - 1 : 1 - got / (double)bps),
			.bound = PERF_AT_MOST,
			.target = 1});
}

/* Shares of packets by how late they were handed out. */
static void print_histogram(const struct kerf_hist *h)
{
	static const unsigned bounds_us[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10000};

	printf("  handed out late by at most");
	for (unsigned i = 0; i < KERF_ARRAY_LEN(bounds_us); i++)
		printf(" %u us: %.2f%%", bounds_us[i],
			100 * kerf_hist_share(h, bounds_us[i] * 1000ull));
	printf("\n");
}

static void measure_lateness(struct perf *p, struct traffic *t)
{
	struct kerf_linkem_stats s;

	run_traffic(p, t, 1000000000, 0.5, p->quick ? 2 : 10, &s);
	const struct kerf_hist *h = &s.lateness_ns;
	print_histogram(h);
	const struct {
		const char *name;
		double q, target;
	} figures[] = {{"release lateness p50", .5, 20}, {"release lateness p99", .99, 500}};
	for (unsigned i = 0; i < KERF_ARRAY_LEN(figures); i++)
		perf_add(p,
			&(struct perf_figure){.name = figures[i].name,
				.unit = "us",
				.value = (double)kerf_hist_quantile(h, figures[i].q) * 1e-3,
				.n = (unsigned)h->count,
				.bound = PERF_AT_MOST,
				.target = figures[i].target});
}

static void measure_timestamps(struct perf *p, struct traffic *t);

static void measure_real_time(struct perf *p)
{
	static const struct {
		const char *name;
		uint64_t bps;
	} rates[] = {{"rate 1 Mbit/s", 1000000}, {"rate 10 Mbit/s", 10000000},
		{"rate 100 Mbit/s", 100000000}, {"rate 1 Gbit/s", 1000000000},
		{"rate 5 Gbit/s", 5000000000}};
	const struct kerf_port_options o = {
		.kind = "ring", .mbufs = 32768, .rx_ring = 8192, .tx_ring = 8192};
	struct traffic t = {0};
	struct kerf_err err = {0};

	if (kerf_port_open_ring_pair(&t.a, &t.b, &o, &err) < 0 ||
		kerf_linkem_stamp_tx(t.a.id, 0, perf_clock_ns, &err) < 0)
		perf_fail(p, "%s", err.text);
	measure_lateness(p, &t);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(rates); i++)
		measure_rate(p, &t, rates[i].name, rates[i].bps);
	measure_timestamps(p, &t);
	kerf_port_close(&t.a);
	kerf_port_close(&t.b);
}

/* ---- hardware and software timestamps on one run ---- */

#define TRAIN 64
#define MAX_TRAINS 512

struct watch {
	struct kerf_train exact, poll;
	double exact_error[MAX_TRAINS], poll_error[MAX_TRAINS];
	unsigned n;
};

static double rate_error(const struct kerf_train *t, double bps)
{
	struct kerf_sample s;

	return kerf_train_sample(t, TRAIN, &s) ? 100 * fabs(8 / s.tau / bps - 1) : 100;
}

/* The same packets by their delivery times and by the times of the polls that returned them. */
static void watch_packet(struct watch *w, const struct rte_mbuf *m, int offset, double bps)
{
	const uint64_t stamp = *RTE_MBUF_DYNFIELD(m, offset, rte_mbuf_timestamp_t *);

	kerf_train_add(&w->exact, stamp, 0, BYTES + OVERHEAD);
	kerf_train_add(&w->poll, perf_clock_ns(), 0, BYTES + OVERHEAD);
	if (w->exact.packets < TRAIN)
		return;
	if (w->n < MAX_TRAINS) {
		w->exact_error[w->n] = rate_error(&w->exact, bps);
		w->poll_error[w->n++] = rate_error(&w->poll, bps);
	}
	w->exact = w->poll = (struct kerf_train){0};
}

static void measure_timestamps(struct perf *p, struct traffic *t)
{
	const uint64_t bps = 200000000;
	static struct watch w;
	int offset;
	uint64_t flag;

	if (kerf_linkem_timestamp_field(&offset, &flag) < 0)
		perf_fail(p, "no timestamp field");
	t->watch = &w;
	t->offset = offset;
	run_traffic(p, t, bps, 1.2, p->quick ? 1 : 3, &(struct kerf_linkem_stats){0});
	t->watch = NULL;
	if (!w.n)
		perf_fail(p, "no train of %d packets arrived", TRAIN);
	perf_add(p,
		&(struct perf_figure){.name = "rate of 64 packets, exact stamps, p95",
			.unit = "% error",
			.n = w.n,
			.value = perf_quantile(w.exact_error, w.n, .95)});
	perf_add(p,
		&(struct perf_figure){.name = "rate of the same packets, poll times, p95",
			.unit = "% error",
			.n = w.n,
			.value = perf_quantile(w.poll_error, w.n, .95)});
}

/* ---- virtual time ---- */

static void measure_virtual_time(struct perf *p, const char *lab, const char *conf)
{
	double times[5], took, length;
	const unsigned n = p->quick ? 3 : 5;
	char command[1024], line[512];

	snprintf(command, sizeof(command),
		"%s -c %s -s device.fps=30 -s device.frames=%u 2>/dev/null", lab, conf,
		p->quick ? 900u : 9000u);
	for (unsigned i = 0; i < n; i++) {
		FILE *f = popen(command, "r");

		times[i] = 0;
		while (f && fgets(line, sizeof(line), f))
			if (sscanf(line, "%lf s of virtual time in %lf s: %lf times", &length,
				    &took, &times[i]) != 3)
				continue;
		if (!f || pclose(f) || times[i] <= 0)
			perf_fail(p, "%s: does not run", command);
	}
	double spread = perf_spread(times, n);
	perf_add(p,
		&(struct perf_figure){.name = "virtual time, 30 frames/s",
			.unit = "x real",
			.value = perf_quantile(times, n, .5),
			.spread = spread,
			.n = n,
			.bound = PERF_AT_LEAST,
			.target = 100});
}

/* The first two CPUs that this process may use. */
static void start_eal(struct perf *p)
{
	char cores[64],
		*argv[] = {"kerf-perf-linkem", "--no-huge", "-m256", "--no-shconf",
			"--no-telemetry", "--no-pci", "--log-level=*:error", cores, NULL};
	cpu_set_t set;
	int found[2] = {0, 0}, n = 0;

	sched_getaffinity(0, sizeof(set), &set);
	for (int i = 0; i < CPU_SETSIZE && n < 2; i++)
		if (CPU_ISSET(i, &set))
			found[n++] = i;
	if (n < 2)
		perf_fail(p, "two CPUs are needed");
	snprintf(cores, sizeof(cores), "--lcores=0@%d,1@%d", found[0], found[1]);
	if (rte_eal_init((int)KERF_ARRAY_LEN(argv) - 1, argv) < 0)
		perf_fail(p, "EAL does not start");
}

int main(int argc, char **argv)
{
	static struct perf p;
	const char *lab = NULL, *conf = "conf/lab/step.ini";
	struct rte_mempool *pool;

	perf_begin(&p, "linkem", usage, &argc, argv);
	perf_take_option(&p, &argc, argv, "--lab", &lab);
	perf_take_option(&p, &argc, argv, "--conf", &conf);
	perf_no_more_options(&p, argc, argv);
	start_eal(&p);
	pool = rte_pktmbuf_pool_create("cost", POOL, 256, 0, 128, SOCKET_ID_ANY);
	if (!pool)
		perf_fail(&p, "no memory for %d mbufs", POOL);
	measure_costs(&p, pool);
	measure_real_time(&p);
	if (lab)
		measure_virtual_time(&p, lab, conf);
	return perf_end(&p);
}
