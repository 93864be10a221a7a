/* kerf-lab: device and server in one process over an emulated link, in real or virtual time. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_mbuf.h>

#include "lab.h"

static const char help[] = "usage: kerf-lab [EAL options --] -c FILE [options]\n"
			   "\n"
			   "Runs both ends of kerf in this process over an emulated link. Needs no "
			   "root, no huge pages\n"
			   "and no NIC.\n"
			   "\n"
			   "  -c, --config FILE          settings, see conf/lab/\n"
			   "  -s, --set SECTION.KEY=VAL  override one setting\n"
			   "      --json FILE            write the results as JSON\n"
			   "      --frames FILE          write one CSV line a frame\n"
			   "      --truth FILE           write one CSV line a packet: its times on the "
			   "link, and its end\n"
			   "      --explain FRAME        print what the frame's cut was chosen from, and "
			   "why\n"
			   "  -h, --help, --version\n";

#define MBUFS 32768
#define SHOW_EVERY_NS (100 * 1000000ull)
#define LOG_EVERY_NS (2 * KERF_NS_PER_S)

static bool is_virtual(const struct lab *lab)
{
	return lab->settings.lab.time == APP_TIME_VIRTUAL;
}

/* ---- what the device asks for and tells ---- */

static void give_input(void *user, uint32_t frame, struct kerf_frame_input *in)
{
	app_source_input(((struct lab *)user)->source, frame, in);
}

/* One line that is written over on a terminal; elsewhere a line every few seconds. */
static void show_progress(struct lab *lab, uint64_t due_ns, const struct kerf_frame_record *r)
{
	const uint64_t now = app_clock_ns();
	const double true_rate = (double)kerf_linkem_rate_at(lab->up,
		(due_ns - lab->epoch_ns) * KERF_PS_PER_NS);
	char cut[64], rate[32], truth[32];

	if (is_virtual(lab) ||
		now - lab->shown_ns < (lab->terminal ? SHOW_EVERY_NS : LOG_EVERY_NS))
		return;
	lab->shown_ns = now;
	fprintf(stderr, "%s%6.1f s  frame %u  link %s, estimate %s  cut %s  %.1f ms%s%s",
		lab->terminal ? "\r\033[K" : "", (double)r->due_ns * 1e-9, r->frame,
		kerf_format_rate(true_rate, truth, sizeof(truth)),
		r->rate_bps > 0 ? kerf_format_rate(r->rate_bps, rate, sizeof(rate)) : "unknown",
		app_cut_text(&lab->model.model, r->cut, r->codec, cut, sizeof(cut)),
		(double)r->latency_ns * 1e-6, r->hedged ? "  hedged" : "",
		lab->terminal ? "" : "\n");
}

static void frame_planned(void *user, uint32_t frame, const struct kerf_plan *plan,
	const struct kerf_plan_input *in, const struct kerf_plan_choice *choice)
{
	struct lab *lab = user;

	if (frame != lab->explain)
		return;
	lab->explained = true;
	lab_explain_plan(lab, frame, plan, in, choice);
}

static void frame_done(void *user, const struct kerf_frame_record *r, const float *output)
{
	struct lab *lab = user;
	const uint64_t due_ns = kerf_device_start_ns(lab->device) + r->due_ns;

	(void)output;
	app_results_add(&lab->results, lab_phase(lab, due_ns), r);
	if (r->frame == lab->explain)
		lab_explain_end(r);
	show_progress(lab, due_ns, r);
}

/* ---- start ---- */

/* Twice what the packets take: pools want large pieces. */
static unsigned megabytes(const struct app_settings *s, unsigned mbufs)
{
	return 128 + (unsigned)(2 * (uint64_t)mbufs * (s->port.mtu + 512) / 1000000);
}

static int start_eal(struct lab *lab, const struct app_options *o, struct kerf_err *err)
{
	const struct app_settings *s = &lab->settings;
	const unsigned mbufs = s->port.mbufs ? (unsigned)s->port.mbufs : MBUFS;
	char args[8][256];
	unsigned n = 0;
	int rc;

	if (is_virtual(lab))
		snprintf(args[n++], 256, "--lcores=0@%u", app_cpu(0));
	else
		snprintf(args[n++], 256, "--lcores=0@%u,1@%u", app_cpu(0), app_cpu(1));
	snprintf(args[n++], 256, "--no-huge");
	snprintf(args[n++], 256, "-m%u", megabytes(s, mbufs));
	snprintf(args[n++], 256, "--no-shconf");
	snprintf(args[n++], 256, "--no-telemetry");
	rc = app_eal_init("kerf-lab", o, args, n, err);
	if (rc < 0)
		return rc;
	if (!is_virtual(lab)) {
		const struct kerf_port_options p = {.kind = "ring",
			.mtu = (unsigned)s->port.mtu, .mbufs = mbufs, .rx_ring = 8192,
			.tx_ring = 8192};

		rc = kerf_port_open_ring_pair(&lab->device_port, &lab->server_port, &p, err);
		lab->pool = lab->device_port.pool;
		return rc;
	}
	lab->pool = rte_pktmbuf_pool_create("lab", mbufs, 256, 0,
		RTE_PKTMBUF_HEADROOM + (uint16_t)s->port.mtu + 14 + 64, SOCKET_ID_ANY);
	return lab->pool ? 0 : kerf_err_set(err, -ENOMEM, "no memory for %u packets", mbufs);
}

static struct kerf_net make_net(const struct lab *lab, uint32_t ip, uint8_t last)
{
	struct kerf_net net = {
		.self = {.mac = {2, 0x6b, 0x65, 0x72, 0x66, last}, .ip = ip,
			.port = (uint16_t)lab->settings.port.udp_port},
		.pool = lab->pool,
		.payload_bytes = (uint32_t)(lab->settings.port.mtu + 14 -
			sizeof(struct kerf_wire_packet)),
		.overhead_bytes = (uint32_t)lab->settings.port.overhead,
	};

	if (lab->settings.lab.timestamps == APP_TIMESTAMPS_POLL ||
		kerf_linkem_timestamp_field(&net.timestamp_offset, &net.timestamp_flag) < 0)
		net.timestamp_offset = -1;
	return net;
}

#define DEVICE_IP 0x0a2f0001u /* 10.47.0.1 */
#define SERVER_IP 0x0a2f0002u

static struct kerf_compute *make_compute(struct lab *lab, struct kerf_compute_options *o,
	struct kerf_err *err)
{
	o->clock_ns = app_clock_ns;
	o->cpu_clock_ns = app_cpu_clock_ns;
	if (is_virtual(lab))
		return kerf_compute_profile(&lab->model.profile, &lab->model.model, o, err);
	return kerf_compute_engine(lab->model.engine, &lab->model.model, o, err);
}

static double server_slowdown(void *user, uint64_t now)
{
	const struct lab *lab = user;
	const struct app_steps *s = &lab->server_slowdown;

	return s->value[app_step_at(s, now - lab->epoch_ns)];
}

static int make_server(struct lab *lab, struct kerf_err *err)
{
	const struct app_settings *s = &lab->settings;
	struct kerf_compute_options c = {.slots = (unsigned)s->server.contexts,
		.slowdown_at = server_slowdown, .user = lab};
	struct kerf_server_options o = {
		.model = &lab->model.model,
		.net = make_net(lab, SERVER_IP, 2),
		.fingerprint = app_fingerprint(s),
		.whole_ns = lab->model.whole_ns * lab->server_slowdown.value[0],
		.profile = &lab->model.profile,
		.decode = app_jpeg_decode,
		.user = &lab->jpeg,
		.picture = lab->jpeg.key,
		.max_sessions = (unsigned)s->server.sessions,
	};
	size_t mean_bytes;

	if (is_virtual(lab))
		app_source_jpegs(lab->source, s, &lab->model, &mean_bytes, &o.decode_byte_ns);
	lab->server_compute = make_compute(lab, &c, err);
	if (!lab->server_compute)
		return -ENOMEM;
	o.compute = lab->server_compute;
	lab->server = kerf_server_create(&o, err);
	return lab->server ? 0 : -ENOMEM;
}

static int make_device(struct lab *lab, struct kerf_err *err)
{
	const struct app_settings *s = &lab->settings;
	struct kerf_compute_options c = {.slots = (unsigned)s->device.in_flight + 1,
		.slowdown = s->device.slowdown};
	struct kerf_device_options o = {
		.net = make_net(lab, DEVICE_IP, 1),
		.server = {.ip = SERVER_IP, .port = (uint16_t)s->port.udp_port},
		.nonce = (uint32_t)s->lab.seed,
		.input = give_input,
		.planned = frame_planned,
		.done = frame_done,
		.user = lab,
	};

	lab->device_compute = make_compute(lab, &c, err);
	if (!lab->device_compute)
		return -ENOMEM;
	o.compute = lab->device_compute;
	lab->device = app_make_device(&o, s, &lab->model, lab->source, err);
	return lab->device ? 0 : -EINVAL;
}

static int make_links(struct lab *lab, const struct app_options *o, struct kerf_err *err)
{
	const struct app_settings *s = &lab->settings;
	struct kerf_linkem_config c = {.overhead_bytes = (uint32_t)s->port.overhead,
		.seed = s->lab.seed, .pool = lab->pool};
	int rc = app_parse_rate(s->up.rate, "link.up.rate", &lab->up_rate, err);

	if (rc == 0)
		rc = app_parse_rate(s->down.rate, "link.down.rate", &lab->down_rate, err);
	if (rc == 0 && o->truth) {
		lab->truth = app_truth_open(o->truth, !is_virtual(lab), err);
		rc = lab->truth ? 0 : -EIO;
	}
	if (rc < 0)
		return rc;
	app_truth_log(lab->truth, 0, &c);
	lab->up = app_make_link(&s->up, &lab->up_rate, &c, err);
	app_truth_log(lab->truth, c.direction = 1, &c);
	lab->down = app_make_link(&s->down, &lab->down_rate, &c, err);
	return lab->up && lab->down ? 0 : -EINVAL;
}

static int open_results(struct lab *lab, const struct app_options *o, struct kerf_err *err)
{
	/* A trace has no phases that a table could have rows for. */
	const unsigned n_phases = lab->settings.up.trace[0] ? 0 : lab->up_rate.n;
	int rc = app_results_open(&lab->results, &lab->model.model, &lab->settings, n_phases, o, err);

	for (unsigned i = 0; rc == 0 && i < n_phases; i++)
		lab->results.phases[i].true_rate_bps = (uint64_t)lab->up_rate.value[i];
	return rc;
}

static int open_all(struct lab *lab, const struct app_options *o, struct kerf_err *err)
{
	const struct app_settings *s = &lab->settings;
	const bool compile = !is_virtual(lab) || (!s->model.profile[0] && !s->lab.analytic);
	int rc = app_parse_slowdown(s->server.slowdown, "server.slowdown", &lab->server_slowdown, err);

	if (rc == 0)
		rc = app_model_open(&lab->model, s, compile, err);
	if (rc == 0)
		rc = app_source_open(&lab->source, s, lab->model.graph, err);
	if (rc == 0)
		rc = app_jpeg_open(&lab->jpeg, s, &lab->model, err);
	if (rc == 0)
		rc = start_eal(lab, o, err);
	if (rc == 0)
		rc = make_links(lab, o, err);
	if (rc == 0)
		rc = open_results(lab, o, err);
	if (rc == 0)
		rc = make_server(lab, err);
	if (rc == 0)
		rc = make_device(lab, err);
	return rc;
}

/* ---- end ---- */

/* How fast virtual time went, the start left out. */
static void print_speed(const struct lab *lab)
{
	if (is_virtual(lab) && lab->took_ns)
		printf("%.1f s of virtual time in %.2f s: %.0f times real time\n",
			(double)lab->virtual_ns * 1e-9, (double)lab->took_ns * 1e-9,
			(double)lab->virtual_ns / (double)lab->took_ns);
}

static void print_lateness(const struct lab *lab)
{
	const struct kerf_linkem_stats *up = kerf_linkem_stats(lab->up);

	printf("link up: %lu packets, %lu dropped by its queue", up->delivered,
		up->dropped_queue + up->dropped_room);
	if (!is_virtual(lab))
		printf("; handed out late by p50 %.1f us, p99 %.1f us",
			(double)kerf_hist_quantile(&up->lateness_ns, .5) * 1e-3,
			(double)kerf_hist_quantile(&up->lateness_ns, .99) * 1e-3);
	printf("\n");
}

static int report(struct lab *lab, const struct app_options *o, struct kerf_err *err)
{
	char title[512];
	const struct app_run run = {.title = title, .device = lab->device, .server = lab->server,
		.device_slowdown = lab->settings.device.slowdown,
		.server_slowdown = lab->server_slowdown.value[0],
		.start_ns = kerf_device_start_ns(lab->device) - lab->epoch_ns};

	if (lab->terminal && !is_virtual(lab))
		fprintf(stderr, "\r\033[K");
	snprintf(title, sizeof(title), "kerf-lab: %s, %s, %s time", lab->model.graph->name,
		lab->settings.input.path, is_virtual(lab) ? "virtual" : "real");
	if (lab->explain >= 0 && !lab->explained)
		printf("\nframe %ld was never planned: skipped, or not among the %lu that ran\n", lab->explain,
			kerf_device_stats(lab->device)->frames);
	app_print_table(&lab->results, &run);
	print_lateness(lab);
	print_speed(lab);
	return app_results_write(&lab->results, &run, o->json, err);
}

static void close_all(struct lab *lab)
{
	kerf_linkem_destroy(lab->up);
	kerf_linkem_destroy(lab->down);
	kerf_device_destroy(lab->device);
	kerf_server_destroy(lab->server);
	kerf_compute_free(lab->device_compute);
	kerf_compute_free(lab->server_compute);
	kerf_source_close(lab->source);
	app_jpeg_close(&lab->jpeg);
	app_results_close(&lab->results);
	app_model_close(&lab->model);
	if (lab->device_port.pool) {
		kerf_port_close(&lab->device_port);
		kerf_port_close(&lab->server_port);
	} else if (lab->pool) {
		rte_mempool_free(lab->pool);
	}
	app_eal_cleanup();
}

int main(int argc, char **argv)
{
	static struct lab lab;
	struct app_options o;
	struct kerf_err err = {0};
	int rc;

	app_begin();
	app_parse(&o, argc, argv, APP_LAB, help);
	rc = app_load_settings(&lab.settings, &o, APP_LAB, &err);
	if (rc < 0)
		return app_fail("kerf-lab", &err, rc);
	lab.explain = o.explain;
	lab.terminal = isatty(STDERR_FILENO);
	rc = open_all(&lab, &o, &err);
	if (rc == 0)
		rc = is_virtual(&lab) ? lab_run_virtual(&lab, &err) : lab_run_real(&lab, &err);
	if (rc == 0)
		rc = report(&lab, &o, &err);
	if (app_truth_close(lab.truth, rc < 0 ? &(struct kerf_err){0} : &err) < 0 && rc == 0)
		rc = -EIO;
	close_all(&lab);
	return rc < 0 ? app_fail("kerf-lab", &err, rc) : 0;
}
