/* kerf-linkem: bridges two ports through emulated links, one each way. */
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app_link.h"

static const char help[] =
	"usage: kerf-linkem [EAL options] -- --ports A,B -c FILE [options]\n"
	"\n"
	"Stands between two ethdev ports of EAL (NICs, or --vdev=...): what one receives the "
	"other\n"
	"sends, behind an emulated link each way. Runs until SIGINT.\n"
	"\n"
	"      --ports A,B            numbers of the ports; [link.up] leads from A to B\n"
	"  -c, --config FILE          settings, see conf/links/\n"
	"  -s, --set SECTION.KEY=VAL  override one setting\n"
	"  -t, --time TIME            end after this time, as 10s\n"
	"      --json FILE            write the statistics as JSON\n"
	"      --truth FILE           write one CSV line a packet: its times on the link, and its "
	"end\n"
	"  -h, --help, --version\n";

#define MAX_PORT 1023
#define SHOW_EVERY_NS KERF_NS_PER_S

/* One direction. */
struct way {
	const char *name;
	struct kerf_port *in, *out;
	struct kerf_linkem *link; /* hangs in `in` */
	struct app_unsent unsent;
	uint64_t
		unsendable; /* packets that `out` did not take: its ring stayed full, or it is down */
};

struct bridge {
	struct app_settings settings;
	struct app_steps rates[2];
	struct kerf_port ports[2];
	struct app_truth *truth;
	struct way ways[2];
	uint64_t begin_ns, shown_ns;
};

static int parse_ports(const char *text, uint16_t ids[2], struct kerf_err *err)
{
	unsigned a, b;
	char rest;

	if (!text || sscanf(text, "%u,%u%c", &a, &b, &rest) != 2 || a > MAX_PORT || b > MAX_PORT ||
		a == b)
		return kerf_err_set(err, -EINVAL,
			"--ports %s: expected two different port numbers such as 0,1",
			text ? text : "is missing");
	ids[0] = (uint16_t)a;
	ids[1] = (uint16_t)b;
	return 0;
}

static int open_ports(struct bridge *b, const uint16_t ids[2], struct kerf_err *err)
{
	const struct kerf_port_options o = {
		.mtu = (unsigned)b->settings.port.mtu, .mbufs = (unsigned)b->settings.port.mbufs};
	int rc = kerf_port_open_ethdev(&b->ports[0], ids[0], &o, err);

	return rc < 0 ? rc : kerf_port_open_ethdev(&b->ports[1], ids[1], &o, err);
}

static int make_way(struct bridge *b, unsigned i, const struct app_link *l, struct kerf_err *err)
{
	struct way *w = &b->ways[i];
	struct kerf_linkem_config c = {.overhead_bytes = (uint32_t)b->settings.port.overhead,
		.seed = b->settings.lab.seed,
		.direction = i,
		.pool = b->ports[i].pool};

	*w = (struct way){.name = i ? "down" : "up", .in = &b->ports[i], .out = &b->ports[!i]};
	app_truth_log(b->truth, i, &c);
	w->link = app_make_link(l, &b->rates[i], &c, err);
	if (!w->link)
		return -EINVAL;
	return kerf_linkem_attach(w->link, w->in->id, 0, app_clock_ns, b->begin_ns, err);
}

static int open_all(struct bridge *b, const struct app_options *o, struct kerf_err *err)
{
	const struct app_settings *s = &b->settings;
	char args[1][256];
	uint16_t ids[2] = {0};
	int rc = parse_ports(o->ports, ids, err);

	if (rc == 0)
		rc = app_parse_rate(s->up.rate, "link.up.rate", &b->rates[0], err);
	if (rc == 0)
		rc = app_parse_rate(s->down.rate, "link.down.rate", &b->rates[1], err);
	if (rc < 0)
		return rc;
	snprintf(args[0], sizeof(args[0]), "--lcores=0@%u", app_cpu(-1));
	rc = app_eal_init("kerf-linkem", o, args, 1, err);
	if (rc == 0)
		rc = open_ports(b, ids, err);
	if (rc == 0 && o->truth) {
		b->truth = app_truth_open(o->truth, true, err);
		rc = b->truth ? 0 : -EIO;
	}
	b->begin_ns = app_clock_ns();
	if (rc == 0)
		rc = make_way(b, 0, &s->up, err);
	return rc < 0 ? rc : make_way(b, 1, &s->down, err);
}

/* A port that does not take packets must not keep the others waiting: they are given up. */
static void give_up(struct way *w)
{
	w->unsendable += w->unsent.n;
	app_drop_unsent(&w->unsent);
}

static void turn(struct way *w)
{
	struct app_unsent *u = &w->unsent;

	if (u->n == APP_BURST)
		give_up(w);
	u->n += kerf_port_rx(w->in, u->pkts + u->n, APP_BURST - u->n);
	app_transmit(w->out, u);
}

static void show(struct bridge *b, uint64_t now)
{
	if (now - b->shown_ns < SHOW_EVERY_NS)
		return;
	b->shown_ns = now;
	fprintf(stderr, "\r\033[K%6.0f s", (double)(now - b->begin_ns) * 1e-9);
	for (unsigned i = 0; i < 2; i++) {
		const struct kerf_linkem_stats *s = kerf_linkem_stats(b->ways[i].link);
		char rate[32];

		fprintf(stderr, "  %s: %s now, %" PRIu64 " in, %" PRIu64 " out", b->ways[i].name,
			kerf_format_rate((double)kerf_linkem_rate_at(b->ways[i].link,
						 (now - b->begin_ns) * KERF_PS_PER_NS),
				rate, sizeof(rate)),
			s->arrived, s->delivered);
	}
}

static void run(struct bridge *b, double seconds)
{
	const bool terminal = isatty(STDERR_FILENO);
	const uint64_t end_ns = seconds > 0 ? b->begin_ns + (uint64_t)(seconds * 1e9) : UINT64_MAX;
	uint64_t now;

	fprintf(stderr, "kerf-linkem: port %u <-> port %u ready\n", b->ports[0].id, b->ports[1].id);
	while (!app_stop && (now = app_clock_ns()) < end_ns) {
		turn(&b->ways[0]);
		turn(&b->ways[1]);
		if (terminal)
			show(b, now);
	}
	if (terminal)
		fprintf(stderr, "\r\033[K");
}

/* ---- end ---- */

static uint64_t dropped(const struct kerf_linkem_stats *s)
{
	return s->dropped_queue + s->dropped_codel + s->dropped_room;
}

static void print_way(const struct way *w, double seconds)
{
	const struct kerf_linkem_stats *s = kerf_linkem_stats(w->link);
	char rate[32];

	printf("%-5s %10" PRIu64 " %10" PRIu64 " %9s %8" PRIu64 " %8" PRIu64 " %8" PRIu64
	       " %8" PRIu64 " %8" PRIu64 " %8" PRIu64 " %10" PRIu64 "\n",
		w->name, s->arrived, s->delivered,
		kerf_format_rate((double)s->bytes * 8 / seconds, rate, sizeof(rate)), s->lost,
		s->dropped_queue + s->dropped_room, s->dropped_codel, s->duplicated, s->corrupted,
		s->late, w->unsendable);
}

/* How late packets were handed out, as shares of them. */
static void print_lateness(const struct way *w)
{
	static const unsigned bounds_us[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000};
	const struct kerf_hist *h = &kerf_linkem_stats(w->link)->lateness_ns;

	if (!h->count)
		return;
	printf("%s: handed out late by p50 %.1f us, p99 %.1f us, at most %.1f us\n ", w->name,
		(double)kerf_hist_quantile(h, .5) * 1e-3, (double)kerf_hist_quantile(h, .99) * 1e-3,
		(double)h->max * 1e-3);
	for (unsigned i = 0; i < KERF_ARRAY_LEN(bounds_us); i++)
		printf(" <=%uus %.2f%%", bounds_us[i],
			100 * kerf_hist_share(h, bounds_us[i] * 1000ull));
	printf("\n");
}

static void report(const struct bridge *b, double seconds)
{
	printf("kerf-linkem: port %u <-> port %u, %.1f s\n", b->ports[0].id, b->ports[1].id,
		seconds);
	printf("%-5s %10s %10s %9s %8s %8s %8s %8s %8s %8s %10s\n", "link", "arrived", "delivered",
		"rate", "lost", "queue", "codel", "twice", "corrupt", "late", "unsendable");
	for (unsigned i = 0; i < 2; i++)
		print_way(&b->ways[i], seconds);
	for (unsigned i = 0; i < 2; i++)
		print_lateness(&b->ways[i]);
}

static json_t *way_json(const struct way *w)
{
	const struct kerf_linkem_stats *s = kerf_linkem_stats(w->link);
	const struct kerf_hist *h = &s->lateness_ns;

	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:{s:f,s:f,s:f}}", "arrived",
		(json_int_t)s->arrived, "delivered", (json_int_t)s->delivered, "bytes",
		(json_int_t)s->bytes, "lost", (json_int_t)s->lost, "dropped_queue",
		(json_int_t)(s->dropped_queue + s->dropped_room), "dropped_codel",
		(json_int_t)s->dropped_codel, "duplicated", (json_int_t)s->duplicated, "corrupted",
		(json_int_t)s->corrupted, "late", (json_int_t)s->late, "unsendable",
		(json_int_t)w->unsendable, "waiting",
		(json_int_t)(s->arrived + s->duplicated - s->delivered - s->lost - dropped(s)),
		"lateness_us", "p50", (double)kerf_hist_quantile(h, .5) * 1e-3, "p99",
		(double)kerf_hist_quantile(h, .99) * 1e-3, "max", (double)h->max * 1e-3);
}

static int write_json(const struct bridge *b, double seconds, const char *path,
	struct kerf_err *err)
{
	json_t *root;
	int rc;

	if (!path)
		return 0;
	root = json_pack("{s:f,s:o,s:o}", "seconds", seconds, "up", way_json(&b->ways[0]), "down",
		way_json(&b->ways[1]));
	if (!root)
		return kerf_err_set(err, -ENOMEM, "%s: no memory for the statistics", path);
	rc = json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	json_decref(root);
	return rc < 0 ? kerf_err_set(err, -EIO, "%s: cannot be written", path) : 0;
}

static void close_all(struct bridge *b)
{
	for (unsigned i = 0; i < 2; i++) {
		kerf_linkem_destroy(b->ways[i].link);
		app_drop_unsent(&b->ways[i].unsent);
	}
	for (unsigned i = 0; i < 2; i++)
		if (b->ports[i].pool)
			kerf_port_close(&b->ports[i]);
	app_eal_cleanup();
}

int main(int argc, char **argv)
{
	static struct bridge b;
	struct app_options o;
	struct kerf_err err = {0};
	int rc;

	app_begin();
	app_parse(&o, argc, argv, APP_LINKEM, help);
	rc = app_load_settings(&b.settings, &o, APP_LINKEM, &err);
	if (rc == 0)
		rc = open_all(&b, &o, &err);
	if (rc == 0) {
		run(&b, o.seconds);
		const double seconds = (double)(app_clock_ns() - b.begin_ns) * 1e-9;
		report(&b, seconds);
		rc = write_json(&b, seconds, o.json, &err);
	}
	if (rc == 0)
		rc = app_check_stdout(&err);
	for (unsigned i = 0; i < 2; i++)
		if (b.ways[i].link)
			kerf_linkem_detach(b.ways[i].link);
	if (app_truth_close(b.truth, rc < 0 ? &(struct kerf_err){0} : &err) < 0 && rc == 0)
		rc = -EIO;
	close_all(&b);
	return rc < 0 ? app_fail("kerf-linkem", &err, rc) : 0;
}
