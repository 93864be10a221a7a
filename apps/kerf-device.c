/* kerf-device: the device end. Options, EAL, the poll loop, printing. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app.h"

static const char help[] = "usage: kerf-device [EAL options] -- -c FILE [options]\n"
			   "\n"
			   "Runs the first layers of a network here and the rest on a kerf-server, "
			   "cut anew for every\n"
			   "frame; finishes frames itself when the server or the link does not.\n"
			   "\n"
			   "  -c, --config FILE          settings, see conf/device.ini\n"
			   "  -s, --set SECTION.KEY=VAL  override one setting\n"
			   "      --json FILE            write the results as JSON\n"
			   "      --frames FILE          write one CSV line a frame\n"
			   "  -h, --help, --version\n";

struct device_app {
	struct app_settings settings;
	struct app_model model;
	struct kerf_source *source;
	struct kerf_port port;
	struct kerf_compute *compute;
	struct kerf_device *device;
	struct app_results results;
	struct app_unsent out;
	enum kerf_session_state shown;
};

static void give_input(void *user, uint32_t frame, struct kerf_frame_input *in)
{
	app_source_input(((struct device_app *)user)->source, frame, in);
}

static void frame_done(void *user, const struct kerf_frame_record *r, const float *output)
{
	(void)output;
	app_results_add(&((struct device_app *)user)->results, 0, r);
}

/* ---- start ---- */

static int make_device(struct device_app *a, struct kerf_err *err)
{
	const struct app_settings *s = &a->settings;
	const struct kerf_compute_options compute = {
		.slots = (unsigned)s->device.in_flight + 1, .slowdown = s->device.slowdown,
		.clock_ns = app_clock_ns, .cpu_clock_ns = app_cpu_clock_ns};
	struct kerf_device_options o = {
		.net = app_net(&a->port, s),
		.server = {.ip = s->port.server_ip, .port = (uint16_t)s->port.udp_port},
		.nonce = (uint32_t)app_clock_ns() ^ (uint32_t)getpid() << 16,
		.input = give_input,
		.done = frame_done,
		.user = a,
	};

	a->compute = kerf_compute_engine(a->model.engine, &a->model.model, &compute, err);
	if (!a->compute)
		return -ENOMEM;
	o.compute = a->compute;
	a->device = app_make_device(&o, s, &a->model, a->source, err);
	return a->device ? 0 : -EINVAL;
}

/* ---- the loop ---- */

static void show_session(struct device_app *a)
{
	const enum kerf_session_state now = kerf_device_session(a->device);
	const bool up = now == KERF_SESSION_READY, was = a->shown == KERF_SESSION_READY;

	if (up && !was)
		fprintf(stderr, "kerf-device: the server is there\n");
	else if (!up && was)
		fprintf(stderr, "kerf-device: the server is gone, frames are finished here\n");
	a->shown = now;
}

static void turn(struct device_app *a)
{
	struct rte_mbuf *pkts[APP_BURST];
	const unsigned n = kerf_port_rx(&a->port, pkts, APP_BURST);

	if (n)
		kerf_device_receive(a->device, pkts, n, app_clock_ns());
	a->out.n += kerf_device_poll(a->device, app_clock_ns(), a->out.pkts + a->out.n,
		APP_BURST - a->out.n);
	app_transmit(&a->port, &a->out);
	if (kerf_device_session(a->device) != a->shown)
		show_session(a);
}

static bool refused(const struct device_app *a)
{
	return kerf_device_session(a->device) == KERF_SESSION_REFUSED &&
		kerf_device_stats(a->device)->sessions == 0;
}

static int run(struct device_app *a, struct kerf_err *err)
{
	while (!kerf_device_finished(a->device) && !refused(a)) {
		if (app_stop)
			kerf_device_drain(a->device);
		turn(a);
	}
	if (refused(a))
		return kerf_err_set(err, -ECONNREFUSED, "the server refused: %s",
			kerf_device_refusal(a->device));
	kerf_device_bye(a->device, app_clock_ns());
	for (int i = 0; i < 100; i++)
		turn(a);
	return 0;
}

static int report(struct device_app *a, const struct app_options *o, struct kerf_err *err)
{
	char title[256];
	const struct app_run run = {.title = title, .device = a->device,
		.device_slowdown = a->settings.device.slowdown};

	snprintf(title, sizeof(title), "kerf-device: %s, %s", a->model.graph->name, a->port.kind);
	app_print_table(&a->results, &run);
	return app_results_write(&a->results, &run, o->json, err);
}

static void close_all(struct device_app *a)
{
	app_drop_unsent(&a->out);
	kerf_device_destroy(a->device);
	kerf_compute_free(a->compute);
	kerf_source_close(a->source);
	app_results_close(&a->results);
	app_model_close(&a->model);
}

int main(int argc, char **argv)
{
	static struct device_app a;
	struct app_options o;
	struct kerf_err err = {0};
	int rc;

	app_begin();
	app_parse(&o, argc, argv, APP_DEVICE, help);
	rc = app_load_settings(&a.settings, &o, APP_DEVICE, &err);
	if (rc < 0)
		return app_fail("kerf-device", &err, rc);
	rc = app_model_open(&a.model, &a.settings, true, &err);
	if (rc == 0)
		rc = app_source_open(&a.source, &a.settings, a.model.graph, &err);
	if (rc == 0)
		rc = app_results_open(&a.results, &a.model.model, &a.settings, 0, &o, &err);
	if (rc == 0)
		rc = app_open_port(&a.port, "kerf-device", &o, &a.settings, false, &err);
	if (rc == 0)
		rc = make_device(&a, &err);
	if (rc == 0)
		rc = run(&a, &err);
	if (rc == 0)
		rc = report(&a, &o, &err);
	close_all(&a);
	if (a.port.pool)
		kerf_port_close(&a.port);
	app_eal_cleanup();
	return rc < 0 ? app_fail("kerf-device", &err, rc) : 0;
}
