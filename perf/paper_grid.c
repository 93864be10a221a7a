/*
 * The paper's study (Bakhtiarnia et al. 2022) for any known network: which choice is best at 1 to 127 MB/s and for
 * batches of 1 to 62 pictures, and what it gains over computing everything here, over sending the pictures (8 bits a
 * value) and over every useful cut as the only choice. Once by the paper's arithmetic, T = head + bytes / rate + tail;
 * once with the transfers emulated: packets with their headers through a link with delay, and the results' way back.
 *
 * Gain over X: (T_X - T_best) / T_X. Times are measured here at some batches, between them a straight line; the device
 * is `--slowdown` times slower.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <rte_eal.h>

#include "linkem/linkem.h"
#include "node/node.h"
#include "perf.h"

#define RATES 127
#define BATCHES 62
#define MAX_CHOICES 16
#define PAYLOAD 1450
#define OVERHEAD 24
#define CLASSES 1000
#define FLOPS 50e9
#define BYTES_PER_S 10e9

static const char usage[] =
	"  --network NAME   kerf-model make lists them (default: efficientnet-b0)\n"
	"  --slowdown X     of the device (default: 10)\n"
	"  --codec NAME     of the tensors: f32, bf16, q8 or q4 (default: f32)\n"
	"  --delay T        of the emulated link, one way (default: 500us)\n"
	"  --analytic       times from arithmetic (50 GFLOP/s, 10 GB/s) instead of measuring\n"
	"  --grid F.json    every cell: best choice and gains\n"
	"  --svg PREFIX     heat maps: PREFIX-paper.svg, PREFIX-emulated.svg (gnuplot)\n";

static const unsigned measured_batches[] = {1, 2, 4, 8, 16, 32, 62};
#define N_MEASURED KERF_ARRAY_LEN(measured_batches)

struct choice {
	char name[32];
	bool local, offload;
	unsigned cut; /* of the optimised graph, the same at every batch */
	double bytes; /* a picture */
	double head_ms[BATCHES + 1], tail_ms[BATCHES + 1];
};

struct study {
	const char *network;
	double slowdown;
	enum kerf_codec codec;
	uint64_t delay_ns;
	bool analytic;
	struct choice choices[MAX_CHOICES];
	unsigned n;
	double times[MAX_CHOICES][BATCHES + 1][RATES + 1]; /* ms, of one way of reckoning */
};

/* ---- choices and their times ---- */

static struct kerf_graph *build(const struct perf *p, const struct study *s, unsigned batch)
{
	struct kerf_err err = {0};
	struct kerf_graph *g = kerf_zoo_build(s->network, &(struct kerf_zoo_options){.batch = batch}, &err);

	if (!g || kerf_graph_optimize(g, &err) < 0)
		perf_fail(p, "%s", err.text);
	return g;
}

static void find_choices(const struct perf *p, struct study *s)
{
	struct kerf_graph *g = build(p, s, 1);
	const double pixels = (double)kerf_tensor_elements(&g->tensors[g->input]);
	struct kerf_err err = {0};
	struct kerf_cut *cuts;
	unsigned n;

	if (kerf_graph_find_cuts(g, &cuts, &n, &err) < 0)
		perf_fail(p, "%s", err.text);
	kerf_cuts_by_block(cuts, n);
	s->choices[s->n++] = (struct choice){.name = "local", .local = true, .cut = n - 1};
	s->choices[s->n++] = (struct choice){.name = "offload u8", .offload = true, .bytes = pixels};
	for (unsigned k = 0; k < n; k++) {
		struct choice *c = &s->choices[s->n];

		if (!cuts[k].useful || s->n == MAX_CHOICES)
			continue;
		*c = (struct choice){.cut = k, .bytes = (double)kerf_codec_bytes(s->codec, (size_t)cuts[k].elements)};
		snprintf(c->name, sizeof(c->name), "%s", cuts[k].block);
		s->n++;
	}
	free(cuts);
	kerf_graph_free(g);
}

static void measure_batch(const struct perf *p, const struct study *s, unsigned batch, struct kerf_profile *profile)
{
	struct kerf_graph *g = build(p, s, s->analytic ? 1 : batch);
	struct kerf_err err = {0};
	struct kerf_engine *e = NULL;
	struct kerf_context *c = NULL;
	int rc;

	if (s->analytic) {
		rc = kerf_profile_analytic(profile, g, FLOPS / batch, BYTES_PER_S / batch, &err);
	} else {
		e = kerf_engine_compile(g, &(struct kerf_engine_options){0}, &err);
		c = e ? kerf_context_create(e, &err) : NULL;
		if (c)
			perf_fill(kerf_context_tensor(c, g->input), kerf_tensor_elements(&g->tensors[g->input]));
		rc = c ? kerf_profile_measure(profile, g, c, p->quick ? 3 : 10, perf_clock_ns, &err) : -EINVAL;
	}
	if (rc < 0)
		perf_fail(p, "%s", err.text);
	kerf_context_free(c);
	kerf_engine_free(e);
	kerf_graph_free(g);
}

static void take_times(struct study *s, unsigned batch, const struct kerf_profile *profile)
{
	for (unsigned i = 0; i < s->n; i++) {
		struct choice *c = &s->choices[i];

		c->head_ms[batch] = c->offload ? 0
			: s->slowdown * kerf_profile_range_ns(profile, 0, c->cut) * 1e-6;
		c->tail_ms[batch] = c->local ? 0
			: kerf_profile_range_ns(profile, c->cut, profile->n_nodes) * 1e-6;
	}
}

static void fill_between(double *values, unsigned a, unsigned b)
{
	for (unsigned i = a + 1; i < b; i++)
		values[i] = values[a] + (values[b] - values[a]) * (i - a) / (b - a);
}

static void measure_times(const struct perf *p, struct study *s)
{
	for (unsigned m = 0; m < N_MEASURED; m++) {
		struct kerf_profile profile = {0};

		fprintf(stderr, "\rbatch %u of %d ", measured_batches[m], BATCHES);
		measure_batch(p, s, measured_batches[m], &profile);
		take_times(s, measured_batches[m], &profile);
		kerf_profile_free(&profile);
		for (unsigned i = 0; m > 0 && i < s->n; i++) {
			fill_between(s->choices[i].head_ms, measured_batches[m - 1], measured_batches[m]);
			fill_between(s->choices[i].tail_ms, measured_batches[m - 1], measured_batches[m]);
		}
	}
	fprintf(stderr, "\r\033[K");
}

/* ---- transfers ---- */

static void by_arithmetic(struct study *s)
{
	for (unsigned i = 0; i < s->n; i++)
		for (unsigned b = 1; b <= BATCHES; b++)
			for (unsigned r = 1; r <= RATES; r++)
				s->times[i][b][r] = s->choices[i].head_ms[b] + s->choices[i].tail_ms[b] +
					1e3 * b * s->choices[i].bytes / (r * 1e6);
}

struct wire {
	struct kerf_linkem *e;
	struct rte_mempool *pool;
	uint64_t now_ps;
};

/* ms from the first packet's arrival at the link to the last one's delivery. */
static double transfer_ms(const struct perf *p, struct wire *w, double bytes)
{
	const uint64_t start_ps = w->now_ps;
	uint64_t left = (uint64_t)bytes;

	while (left) {
		struct rte_mbuf *pkts[32];
		unsigned n = 0;

		for (; n < 32 && left; n++) {
			const uint32_t payload = (uint32_t)KERF_MIN(left, (uint64_t)PAYLOAD);

			pkts[n] = rte_pktmbuf_alloc(w->pool);
			if (!pkts[n])
				perf_fail(p, "no packet left");
			pkts[n]->pkt_len = pkts[n]->data_len =
				(uint16_t)(sizeof(struct kerf_wire_packet) + payload);
			left -= payload;
		}
		kerf_linkem_push(w->e, start_ps, pkts, n);
		for (uint64_t next; (next = kerf_linkem_next(w->e)) != UINT64_MAX;) {
			w->now_ps = next;
			n = kerf_linkem_pull(w->e, next, pkts, 32);
			rte_pktmbuf_free_bulk(pkts, n);
		}
	}
	return (double)(w->now_ps - start_ps) / (double)KERF_PS_PER_NS * 1e-6;
}

static void by_emulation(const struct perf *p, struct study *s, struct rte_mempool *pool)
{
	for (unsigned r = 1; r <= RATES; r++) {
		const struct kerf_linkem_step step = {0, r * 8000000ull};
		const struct kerf_linkem_config c = {.steps = &step, .n_steps = 1, .delay_ps = s->delay_ns * KERF_PS_PER_NS,
			.overhead_bytes = OVERHEAD};
		struct kerf_err err = {0};
		struct wire w = {.e = kerf_linkem_create(&c, &err), .pool = pool};

		if (!w.e)
			perf_fail(p, "%s", err.text);
		if (r % 8 == 0)
			fprintf(stderr, "\rrate %u of %d ", r, RATES);
		for (unsigned b = 1; b <= BATCHES; b++) {
			const double back_ms = transfer_ms(p, &w, (double)b * CLASSES * sizeof(float));

			for (unsigned i = 0; i < s->n; i++) {
				const struct choice *k = &s->choices[i];

				s->times[i][b][r] = k->head_ms[b] + k->tail_ms[b];
				if (!k->local)
					s->times[i][b][r] += transfer_ms(p, &w, b * k->bytes) + back_ms;
			}
		}
		kerf_linkem_destroy(w.e);
	}
	fprintf(stderr, "\r\033[K");
}

/* ---- what is best ---- */

static unsigned best_at(const struct study *s, unsigned b, unsigned r)
{
	unsigned best = 0;

	for (unsigned i = 1; i < s->n; i++)
		if (s->times[i][b][r] < s->times[best][b][r])
			best = i;
	return best;
}

static double gain(const struct study *s, unsigned over, unsigned b, unsigned r)
{
	return 1 - s->times[best_at(s, b, r)][b][r] / s->times[over][b][r];
}

static void add(struct perf *p, const char *how, const char *what, const char *name, double percent)
{
	char text[96];

	snprintf(text, sizeof(text), "%s: %s%s", how, what, name);
	perf_add(p, &(struct perf_figure){.name = text, .value = percent, .unit = "%", .n = BATCHES * RATES});
}

static void summarise(struct perf *p, const struct study *s, const char *how)
{
	double wins = 0, without_offload = 0, mean[MAX_CHOICES] = {0};

	for (unsigned b = 1; b <= BATCHES; b++)
		for (unsigned r = 1; r <= RATES; r++) {
			const unsigned best = best_at(s, b, r);
			unsigned split = 2;

			wins += best >= 2;
			for (unsigned i = 3; i < s->n; i++)
				split = s->times[i][b][r] < s->times[split][b][r] ? i : split;
			without_offload += s->n > 2 && s->times[split][b][r] < s->times[0][b][r];
			for (unsigned i = 0; i < s->n; i++)
				mean[i] += gain(s, i, b, r) / (BATCHES * RATES);
		}
	add(p, how, "cells where a split is best", "", 100 * wins / (BATCHES * RATES));
	add(p, how, "the same if pictures could not be sent", "", 100 * without_offload / (BATCHES * RATES));
	for (unsigned i = 0; i < s->n; i++)
		add(p, how, "mean gain over ", s->choices[i].name, 100 * mean[i]);
}

/* ---- files ---- */

static json_t *cells(const struct study *s, int over)
{
	json_t *rows = json_array();

	for (unsigned b = 1; b <= BATCHES; b++) {
		json_t *row = json_array();

		for (unsigned r = 1; r <= RATES; r++)
			json_array_append_new(row, over < 0 ? json_string(s->choices[best_at(s, b, r)].name)
							    : json_real(gain(s, (unsigned)over, b, r)));
		json_array_append_new(rows, row);
	}
	return rows;
}

static json_t *grid_json(const struct study *s)
{
	json_t *grid = json_object(), *gains = json_object();

	for (unsigned i = 0; i < s->n; i++)
		json_object_set_new(gains, s->choices[i].name, cells(s, (int)i));
	json_object_set_new(grid, "best", cells(s, -1));
	json_object_set_new(grid, "gain_over", gains);
	return grid;
}

static void write_grid(const struct perf *p, const struct study *s, json_t *root, const char *path)
{
	json_object_set_new(root, "network", json_string(s->network));
	json_object_set_new(root, "codec", json_string(kerf_codec_info(s->codec)->name));
	json_object_set_new(root, "slowdown", json_real(s->slowdown));
	json_object_set_new(root, "rows", json_string("batch 1 to 62"));
	json_object_set_new(root, "columns", json_string("1 to 127 MB/s"));
	if (json_dump_file(root, path, JSON_REAL_PRECISION(6)) < 0)
		perf_fail(p, "%s: cannot be written", path);
}

static void plot_map(FILE *g, const struct study *s, int over)
{
	fprintf(g, "$map << EOD\n");
	for (unsigned b = 1; b <= BATCHES; b++)
		for (unsigned r = 1; r <= RATES; r++)
			fprintf(g, "%u %u %g\n", r, b,
				over < 0 ? (double)best_at(s, b, r) : 100 * gain(s, (unsigned)over, b, r));
	fprintf(g, "EOD\n");
	if (over < 0) {
		fprintf(g, "set title 'best choice'\nset cbrange [-0.5:%g]\nset palette maxcolors %u\nset cbtics (",
			s->n - 0.5, s->n);
		for (unsigned i = 0; i < s->n; i++)
			fprintf(g, "%s'%s' %u", i ? ", " : "", s->choices[i].name, i);
		fprintf(g, ")\n");
	} else {
		fprintf(g, "set title 'gain over %s, %%'\nset cbrange [0:100]\nset palette maxcolors 0\n"
			   "set cbtics auto\n",
			s->choices[over].name);
	}
	fprintf(g, "plot $map using 1:2:3 with image notitle\n");
}

static void plot(const struct perf *p, const struct study *s, const char *prefix, const char *how)
{
	FILE *g = popen("gnuplot", "w");

	if (!g)
		perf_fail(p, "gnuplot does not run");
	fprintf(g, "set terminal svg size 1400,%u background rgb 'white' noenhanced\nset output '%s-%s.svg'\n"
		   "set xrange [0.5:%d.5]\nset yrange [0.5:%d.5]\nset xlabel 'MB/s'\nset ylabel 'batch'\n"
		   "set multiplot layout %u,2 title '%s, device %g times slower, %s'\n",
		400 * ((s->n + 2) / 2), prefix, how, RATES, BATCHES, (s->n + 2) / 2, s->network, s->slowdown, how);
	for (int i = -1; i < (int)s->n; i++)
		plot_map(g, s, i);
	fprintf(g, "unset multiplot\n");
	if (pclose(g))
		perf_fail(p, "%s-%s.svg: gnuplot failed", prefix, how);
}

static struct rte_mempool *start_eal(const struct perf *p)
{
	char *argv[] = {"kerf-perf-paper-grid", "--no-huge", "-m128", "--no-shconf", "--no-telemetry", "--no-pci",
		"--lcores=0", "--log-level=*:error", NULL};
	struct rte_mempool *pool;

	if (rte_eal_init((int)KERF_ARRAY_LEN(argv) - 1, argv) < 0)
		perf_fail(p, "EAL does not start");
	pool = rte_pktmbuf_pool_create("grid", 255, 0, 0, 2048, SOCKET_ID_ANY);
	if (!pool)
		perf_fail(p, "no memory for packets");
	return pool;
}

static double positive(const struct perf *p, const char *name, const char *text)
{
	char *end;
	const double v = strtod(text, &end);

	if (*end || !(v > 0 && v < 1e6))
		perf_usage(p, name, "needs a number above 0");
	return v;
}

int main(int argc, char **argv)
{
	static struct perf p;
	static struct study s = {.network = "efficientnet-b0", .slowdown = 10, .codec = KERF_CODEC_F32, .delay_ns = 500000};
	static const char *const hows[] = {"paper", "emulated"};
	const char *grid = NULL, *svg = NULL, *text;
	json_t *root = json_object();

	perf_begin(&p, "paper-grid", usage, &argc, argv);
	perf_take_option(&p, &argc, argv, "--network", &s.network);
	if (perf_take_option(&p, &argc, argv, "--slowdown", &text))
		s.slowdown = positive(&p, "--slowdown", text);
	if (perf_take_option(&p, &argc, argv, "--codec", &text)) {
		const int codec = kerf_codec_by_name(text);

		if (codec < 0 || kerf_codec_info((unsigned)codec)->is_bytes)
			perf_usage(&p, "--codec", "needs f32, bf16, q8 or q4");
		s.codec = (enum kerf_codec)codec;
	}
	if (perf_take_option(&p, &argc, argv, "--delay", &text) && kerf_parse_time(text, &s.delay_ns) < 0)
		perf_usage(&p, "--delay", "needs a time such as 500us");
	perf_take_option(&p, &argc, argv, "--grid", &grid);
	perf_take_option(&p, &argc, argv, "--svg", &svg);
	s.analytic = perf_take_flag(&argc, argv, "--analytic");
	perf_no_more_options(&p, argc, argv);
	find_choices(&p, &s);
	measure_times(&p, &s);
	struct rte_mempool *pool = start_eal(&p);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(hows); i++) {
		if (i == 0)
			by_arithmetic(&s);
		else
			by_emulation(&p, &s, pool);
		summarise(&p, &s, hows[i]);
		json_object_set_new(root, hows[i], grid_json(&s));
		if (svg)
			plot(&p, &s, svg, hows[i]);
	}
	if (grid)
		write_grid(&p, &s, root, grid);
	json_decref(root);
	return perf_end(&p);
}
