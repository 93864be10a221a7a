/* kerf-server: the server end. Options, EAL, the poll loop, printing. */
#include <stdlib.h>

#include "app.h"

static const char help[] =
	"usage: kerf-server [EAL options] -- -c FILE [options]\n"
	"\n"
	"Computes the last layers of a network for kerf-devices, from wherever they cut it.\n"
	"\n"
	"  -c, --config FILE          settings, see conf/server.ini\n"
	"  -s, --set SECTION.KEY=VAL  override one setting\n"
	"  -h, --help, --version\n";

struct server_app {
	struct app_settings settings;
	struct app_steps slowdown;
	uint64_t begin_ns;
	struct app_model model;
	struct app_jpeg jpeg;
	struct kerf_port port;
	struct kerf_compute *compute;
	struct kerf_server *server;
	struct app_unsent out;
};

static double slowdown_at(void *user, uint64_t now)
{
	const struct server_app *a = user;

	return a->slowdown.value[app_step_at(&a->slowdown, now - a->begin_ns)];
}

static int make_server(struct server_app *a, struct kerf_err *err)
{
	const struct app_settings *s = &a->settings;
	const struct kerf_compute_options compute = {
		.slots = (unsigned)s->server.contexts, .slowdown_at = slowdown_at, .user = a,
		.clock_ns = app_clock_ns, .cpu_clock_ns = app_cpu_clock_ns};
	struct kerf_server_options o = {
		.model = &a->model.model,
		.net = app_net(&a->port, s),
		.fingerprint = app_fingerprint(s),
		.whole_ns = a->model.whole_ns * a->slowdown.value[0],
		.profile = &a->model.profile,
		.decode = app_jpeg_decode,
		.user = &a->jpeg,
		.picture = a->jpeg.key,
		.max_sessions = (unsigned)s->server.sessions,
	};

	a->compute = kerf_compute_engine(a->model.engine, &a->model.model, &compute, err);
	if (!a->compute)
		return -ENOMEM;
	o.compute = a->compute;
	a->server = kerf_server_create(&o, err);
	return a->server ? 0 : -ENOMEM;
}

static void turn(struct server_app *a)
{
	struct rte_mbuf *pkts[APP_BURST];
	const unsigned n = kerf_port_rx(&a->port, pkts, APP_BURST);

	if (n)
		kerf_server_receive(a->server, pkts, n, app_clock_ns());
	a->out.n += kerf_server_poll(a->server, app_clock_ns(), a->out.pkts + a->out.n,
		APP_BURST - a->out.n);
	app_transmit(&a->port, &a->out);
}

static void run(struct server_app *a)
{
	fprintf(stderr, "kerf-server: %s ready on %s\n", a->model.graph->name, a->port.kind);
	while (!app_stop)
		turn(a);
	kerf_server_drain(a->server);
	for (int i = 0; i < 100; i++)
		turn(a);
}

static void report(const struct server_app *a)
{
	const struct kerf_server_stats *s = kerf_server_stats(a->server);
	const struct kerf_net *net = kerf_server_net(a->server);
	uint64_t dropped = 0;
	char rx[32], tx[32];

	printf("\nkerf-server: %s, %s\n", a->model.graph->name, a->port.kind);
	if (a->slowdown.n > 1 || a->slowdown.value[0] > 1)
		printf("emulated: %s times slower than this machine\n",
			a->settings.server.slowdown);
	printf("sessions %lu, refused %lu; frames %lu, results %lu, cancelled %lu, abandoned %lu, "
	       "turned away %lu\n",
		s->sessions, s->refused, s->frames, s->results, s->cancelled, s->abandoned,
		s->busy);
	printf("received %s, sent %s, %lu retransmits\ndropped:",
		kerf_format_size((double)net->rx_bytes, rx, sizeof(rx)),
		kerf_format_size((double)net->tx_bytes, tx, sizeof(tx)), net->retransmits);
	for (int i = 0; i < KERF_DROP_COUNT; i++) {
		if (net->drops[i])
			printf(" %s %lu", kerf_drop_name(i), net->drops[i]);
		dropped += net->drops[i];
	}
	printf("%s\n", dropped ? "" : " none");
}

int main(int argc, char **argv)
{
	static struct server_app a;
	struct app_options o;
	struct kerf_err err = {0};
	int rc;

	app_begin();
	app_parse(&o, argc, argv, APP_SERVER, help);
	rc = app_load_settings(&a.settings, &o, APP_SERVER, &err);
	if (rc < 0)
		return app_fail("kerf-server", &err, rc);
	rc = app_parse_slowdown(a.settings.server.slowdown, "server.slowdown", &a.slowdown, &err);
	if (rc == 0)
		rc = app_model_open(&a.model, &a.settings, true, &err);
	if (rc == 0)
		rc = app_jpeg_open(&a.jpeg, &a.settings, &a.model, &err);
	a.begin_ns = app_clock_ns();
	if (rc == 0)
		rc = app_open_port(&a.port, "kerf-server", &o, &a.settings, true, &err);
	if (rc == 0)
		rc = make_server(&a, &err);
	if (rc == 0) {
		run(&a);
		report(&a);
		rc = app_check_stdout(&err);
	}
	app_drop_unsent(&a.out);
	kerf_server_destroy(a.server);
	kerf_compute_free(a.compute);
	app_jpeg_close(&a.jpeg);
	app_model_close(&a.model);
	if (a.port.pool)
		kerf_port_close(&a.port);
	app_eal_cleanup();
	return rc < 0 ? app_fail("kerf-server", &err, rc) : 0;
}
