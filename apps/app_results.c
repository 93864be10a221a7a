#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "app.h"

#define MS 1e-6

/* Known before the run, not after it; what is there already stays as it is. */
static int check_writable(const char *path, struct kerf_err *err)
{
	const bool is_new = access(path, F_OK) < 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);

	if (fd < 0 && errno != ENXIO) /* a pipe that nobody reads yet */
		return kerf_err_set(err, -EIO, "%s: cannot be written: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	if (is_new)
		unlink(path);
	return 0;
}

int app_results_open(struct app_results *r, const struct kerf_model *m, const struct app_settings *s,
	unsigned n_phases, const struct app_options *o, struct kerf_err *err)
{
	int rc = o->json ? check_writable(o->json, err) : 0;

	*r = (struct app_results){.model = m, .n_phases = n_phases, .csv_path = o->frames};
	if (s->policy.objective == KERF_PLAN_DEADLINE)
		r->deadline_ns = s->policy.deadline_ns;
	if (rc < 0)
		return rc;
	r->phases = calloc(n_phases ? n_phases : 1, sizeof(r->phases[0]));
	if (!r->phases)
		return kerf_err_set(err, -ENOMEM, "no memory for results");
	if (!o->frames)
		return 0;
	r->csv = fopen(o->frames, "w");
	if (!r->csv)
		return kerf_err_set(err, -EIO, "%s: cannot be written: %s", o->frames,
			strerror(errno));
	fprintf(r->csv, "frame,t_ns,cut,codec,bytes,pred_ms,latency_ms,head_ms,net_ms,queue_ms,"
			"tail_ms,rate_bps,rtt_us,loss,hedged,where,pred_head_ms,pred_net_ms,pred_queue_ms,"
			"pred_tail_ms,link_queue_us\n");
	return 0;
}

/* What a full disk swallowed must not look like success. */
static int check_stream(FILE *f, const char *name, struct kerf_err *err)
{
	errno = 0;
	if (fflush(f) == 0 && !ferror(f))
		return 0;
	return kerf_err_set(err, -EIO, "%s: cannot be written: %s", name,
		errno ? strerror(errno) : "an earlier write failed");
}

int app_check_stdout(struct kerf_err *err)
{
	return check_stream(stdout, "standard output", err);
}

void app_results_close(struct app_results *r)
{
	if (r->csv)
		fclose(r->csv);
	free(r->phases);
	*r = (struct app_results){0};
}

static const char *codec_text(int codec)
{
	const struct kerf_codec_info *info = codec < 0 ? NULL : kerf_codec_info((unsigned)codec);

	return info ? info->name : "none";
}

static void write_line(FILE *csv, const struct kerf_frame_record *f)
{
	static const char *const where[] = {"local", "remote", "hedged"};

	fprintf(csv, "%u,%lu,%u,%s,%lu,%.6f,%.6f,%.6f,%.6f,%.6f,%.6f,%.0f,%.3f,%.6f,%d,%s,%.6f,%.6f,%.6f,"
		     "%.6f,%.3f\n",
		f->frame, f->due_ns, f->cut, codec_text(f->codec), f->bytes, f->predicted_ns * MS,
		f->latency_ns * MS, f->head_ns * MS, f->net_ns * MS, f->queue_ns * MS,
		f->tail_ns * MS, f->rate_bps, f->rtt_ns * 1e-3, f->loss, f->hedged,
		where[f->where], f->predicted_head_ns * MS, f->predicted_net_ns * MS,
		f->predicted_queue_ns * MS, f->predicted_tail_ns * MS,
		(double)f->link_queue_ns * 1e-3);
}

static void tally(struct app_tally *t, const struct kerf_frame_record *f)
{
	t->frames++;
	t->remote += f->where == KERF_WHERE_REMOTE;
	t->local += f->where == KERF_WHERE_LOCAL;
	t->hedged += f->hedged;
	t->cut_frames[f->cut]++;
	t->cut_codec[f->cut] = f->codec < 0 ? KERF_CODEC_COUNT : (uint8_t)f->codec;
	kerf_hist_add(&t->latency, f->latency_ns);
	if (f->predicted_ns)
		kerf_hist_add(&t->predicted, f->predicted_ns);
	if (f->rate_bps > 0)
		kerf_hist_add(&t->rate, (uint64_t)f->rate_bps);
}

void app_results_add(struct app_results *r, unsigned phase, const struct kerf_frame_record *f)
{
	tally(&r->all, f);
	r->missed += r->deadline_ns && f->latency_ns > r->deadline_ns;
	r->end_ns = KERF_MAX(r->end_ns, f->due_ns + f->latency_ns);
	if (phase < r->n_phases)
		tally(&r->phases[phase], f);
	if (f->codec >= 0)
		r->codecs[f->codec]++;
	if (r->csv)
		write_line(r->csv, f);
}

const char *app_cut_text(const struct kerf_model *m, unsigned cut, int codec, char *buf, size_t len)
{
	const struct kerf_graph *g = m->graph;

	if (codec < 0 || cut + 1 >= m->n_cuts)
		snprintf(buf, len, "local");
	else if (cut == 0)
		snprintf(buf, len, "#0 input %s", codec_text(codec));
	else
		snprintf(buf, len, "#%u %s %s", cut,
			m->cuts[cut].block ? m->cuts[cut].block : g->nodes[cut - 1].name,
			codec_text(codec));
	return buf;
}

/* ---- for people ---- */

static unsigned favourite(const struct app_tally *t, const struct kerf_model *m)
{
	unsigned best = 0;

	for (unsigned k = 1; k < m->n_cuts; k++)
		if (t->cut_frames[k] > t->cut_frames[best])
			best = k;
	return best;
}

static void print_row(const struct app_results *r, const struct app_tally *t, const char *name)
{
	const unsigned cut = favourite(t, r->model);
	const int codec = t->cut_codec[cut] == KERF_CODEC_COUNT ? -1 : t->cut_codec[cut];
	char text[64], rate[32], truth[32];

	if (!t->frames) {
		printf("%-10s %6d\n", name, 0);
		return;
	}
	printf("%-10s %6lu  %-22.22s %3.0f%% %9.2f %9.2f %9.2f %9.2f %9s %9s %7lu\n", name,
		t->frames, app_cut_text(r->model, cut, codec, text, sizeof(text)),
		100.0 * t->cut_frames[cut] / (double)t->frames,
		kerf_hist_quantile(&t->predicted, .5) * MS,
		kerf_hist_quantile(&t->predicted, .99) * MS,
		kerf_hist_quantile(&t->latency, .5) * MS, kerf_hist_quantile(&t->latency, .99) * MS,
		t->rate.count ? kerf_format_rate((double)kerf_hist_quantile(&t->rate, .5), rate,
					sizeof(rate))
			      : "-",
		t->true_rate_bps ? kerf_format_rate((double)t->true_rate_bps, truth, sizeof(truth))
				 : "-",
		t->hedged);
}

static void print_drops(const char *who, const struct kerf_net *net)
{
	bool any = false;

	for (int i = 0; i < KERF_DROP_COUNT; i++) {
		if (!net->drops[i])
			continue;
		printf("%s%s %lu", any ? ", " : "", kerf_drop_name(i), net->drops[i]);
		any = true;
	}
	printf("%s at the %s\n", any ? "" : "none", who);
}

static double frames_per_s(const struct app_results *r)
{
	return r->end_ns ? 1e9 * (double)r->all.frames / (double)r->end_ns : 0;
}

void app_print_table(const struct app_results *r, const struct app_run *run)
{
	const struct kerf_device_stats *s = kerf_device_stats(run->device);
	const struct kerf_net *net = kerf_device_net(run->device);
	char a[32], b[32];

	printf("\n%s\n", run->title);
	if (!run->server && run->device_slowdown > 1)
		printf("emulated: device %.2f times slower than this machine\n",
			run->device_slowdown);
	else if (run->device_slowdown > 1 || run->server_slowdown > 1)
		printf("emulated: device %.2f times, server %.2f times slower than this machine\n",
			run->device_slowdown, run->server_slowdown);
	printf("%-10s %6s  %-22s %4s %9s %9s %9s %9s %9s %9s %7s\n", "link", "frames",
		"cut chosen most", "", "pred p50", "pred p99", "p50 ms", "p99 ms", "estimate",
		"true", "hedged");
	for (unsigned i = 0; i < r->n_phases; i++)
		print_row(r, &r->phases[i],
			kerf_format_rate((double)r->phases[i].true_rate_bps, a, sizeof(a)));
	print_row(r, &r->all, "all");
	printf("frames %lu (%.1f/s): %lu remote, %lu local, %lu hedged (%lu of them finished here first), "
	       "%lu skipped, %lu lost; %lu switches of the cut\n",
		s->frames, frames_per_s(r), s->remote, s->local, s->hedged, s->hedge_won, s->skipped,
		s->frames - s->completed, kerf_device_plan(run->device)->switches);
	if (r->deadline_ns)
		printf("deadline %.1f ms: missed by %lu of %lu frames (%.2f%%)\n", (double)r->deadline_ns * MS,
			r->missed, r->all.frames, 100. * (double)r->missed / (double)KERF_MAX(r->all.frames, 1ul));
	printf("sent %s, received %s, %lu retransmits, %lu probe trains; sessions %lu, lost %lu\n",
		kerf_format_size((double)net->tx_bytes, a, sizeof(a)),
		kerf_format_size((double)net->rx_bytes, b, sizeof(b)), net->retransmits, s->probes,
		s->sessions, s->sessions_lost);
	printf("dropped: ");
	print_drops("device", net);
	if (run->server) {
		printf("dropped: ");
		print_drops("server", kerf_server_net(run->server));
	}
	printf("verified %lu/%lu\n", s->verified, s->verified + s->mismatches);
}

/* ---- for programs ---- */

static json_t *times(const struct kerf_hist *h)
{
	return json_pack("{s:f, s:f, s:f, s:f, s:f}", "mean", kerf_hist_mean(h) * MS, "p50",
		kerf_hist_quantile(h, .5) * MS, "p95", kerf_hist_quantile(h, .95) * MS, "p99",
		kerf_hist_quantile(h, .99) * MS, "max", (double)h->max * MS);
}

static json_t *cut_counts(const struct app_tally *t, const struct kerf_model *m)
{
	json_t *cuts = json_object();

	for (unsigned k = 0; k < m->n_cuts; k++) {
		char name[16];

		if (!t->cut_frames[k])
			continue;
		snprintf(name, sizeof(name), "%u", k);
		json_object_set_new(cuts, name, json_integer(t->cut_frames[k]));
	}
	return cuts;
}

static json_t *tally_json(const struct app_tally *t, const struct kerf_model *m)
{
	return json_pack("{s:I, s:I, s:I, s:o, s:o, s:o, s:{s:f}, s:I}", "frames",
		(json_int_t)t->frames, "local", (json_int_t)t->local, "hedged",
		(json_int_t)t->hedged, "latency_ms", times(&t->latency), "predicted_ms",
		times(&t->predicted), "cuts", cut_counts(t, m), "rate_bps_est", "p50",
		(double)kerf_hist_quantile(&t->rate, .5), "rate_bps_true",
		(json_int_t)t->true_rate_bps);
}

static json_t *drops_json(const struct kerf_net *net)
{
	json_t *drops = json_object();

	for (int i = 0; i < KERF_DROP_COUNT; i++)
		json_object_set_new(drops, kerf_drop_name(i),
			json_integer((json_int_t)net->drops[i]));
	return drops;
}

static void add_codecs(json_t *root, const struct app_results *r)
{
	json_t *codecs = json_object();

	for (unsigned i = 0; i < KERF_CODEC_COUNT; i++)
		if (r->codecs[i])
			json_object_set_new(codecs, kerf_codec_info(i)->name,
				json_integer((json_int_t)r->codecs[i]));
	json_object_set_new(root, "codecs", codecs);
}

/* Not finite: cannot be predicted. */
static json_t *time_json(double ns)
{
	return isfinite(ns) ? json_real(ns * MS) : json_null();
}

/* What the plan chose from: enough to tell afterwards what another choice would have cost. */
static json_t *candidates_json(const struct kerf_plan *p)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < p->n; i++) {
		const struct kerf_plan_candidate *c = &p->candidates[i];

		json_array_append_new(list,
			json_pack("{s:i, s:s, s:b, s:I, s:o, s:o}", "cut", c->cut, "codec",
				c->local ? "none" : codec_text(c->codec), "local", c->local,
				"wire_bytes", (json_int_t)c->wire_bytes, "head_ms",
				time_json(c->head_ns), "tail_ms",
				time_json(c->local ? 0 : c->tail_ns)));
	}
	return list;
}

static json_t *results_json(const struct app_results *r, const struct app_run *run)
{
	const struct kerf_device_stats *s = kerf_device_stats(run->device);
	const struct kerf_net *net = kerf_device_net(run->device);
	json_t *root = tally_json(&r->all, r->model), *phases = json_array();

	for (unsigned i = 0; i < r->n_phases; i++)
		json_array_append_new(phases, tally_json(&r->phases[i], r->model));
	add_codecs(root, r);
	json_object_set_new(root, "frames", json_integer((json_int_t)s->frames));
	json_object_set_new(root, "frames_per_s", json_real(frames_per_s(r)));
	if (r->deadline_ns)
		json_object_set_new(root, "deadline",
			json_pack("{s:f, s:I}", "ms", (double)r->deadline_ns * MS, "missed",
				(json_int_t)r->missed));
	json_object_set_new(root, "completed", json_integer((json_int_t)s->completed));
	json_object_set_new(root, "lost", json_integer((json_int_t)(s->frames - s->completed)));
	json_object_set_new(root, "skipped", json_integer((json_int_t)s->skipped));
	json_object_set_new(root, "hedge_won", json_integer((json_int_t)s->hedge_won));
	json_object_set_new(root, "switches",
		json_integer((json_int_t)kerf_device_plan(run->device)->switches));
	json_object_set_new(root, "bytes_up", json_integer((json_int_t)net->tx_bytes));
	json_object_set_new(root, "bytes_down", json_integer((json_int_t)net->rx_bytes));
	json_object_set_new(root, "probe_bytes", json_integer((json_int_t)net->probe_bytes));
	json_object_set_new(root, "available_bps",
		json_real(kerf_cross_available_bps(&kerf_device_link(run->device)->cross)));
	json_object_set_new(root, "delay_up",
		json_pack("{s:f, s:f}", "skew_ppm", 1e6 * kerf_device_link(run->device)->delay.skew, "jitter_us",
			1e-3 * kerf_device_link(run->device)->delay.jitter_ns));
	json_object_set_new(root, "retransmits", json_integer((json_int_t)net->retransmits));
	json_object_set_new(root, "drops", drops_json(net));
	if (run->server)
		json_object_set_new(root, "server_drops", drops_json(kerf_server_net(run->server)));
	json_object_set_new(root, "sessions", json_integer((json_int_t)s->sessions));
	json_object_set_new(root, "sessions_lost", json_integer((json_int_t)s->sessions_lost));
	json_object_set_new(root, "verified",
		json_pack("{s:I, s:I}", "frames", (json_int_t)(s->verified + s->mismatches),
			"mismatches", (json_int_t)s->mismatches));
	json_object_set_new(root, "slowdown", json_pack("{s:f}", "device", run->device_slowdown));
	if (run->server)
		json_object_set_new(json_object_get(root, "slowdown"), "server",
			json_real(run->server_slowdown));
	json_object_set_new(root, "phases", phases);
	if (run->server)
		json_object_set_new(root, "start_ms", json_real((double)run->start_ns * MS));
	json_object_set_new(root, "candidates", candidates_json(kerf_device_plan(run->device)));
	return root;
}

static int write_json(const struct app_results *r, const struct app_run *run, const char *path,
	struct kerf_err *err)
{
	json_t *root;
	int rc;

	if (!path)
		return 0;
	root = results_json(r, run);
	if (!root)
		return kerf_err_set(err, -ENOMEM, "%s: no memory for the results", path);
	rc = json_dump_file(root, path, JSON_INDENT(1) | JSON_REAL_PRECISION(15));
	json_decref(root);
	if (rc < 0)
		return kerf_err_set(err, -EIO, "%s: cannot be written", path);
	return 0;
}

int app_results_write(const struct app_results *r, const struct app_run *run, const char *json,
	struct kerf_err *err)
{
	int rc = write_json(r, run, json, err);

	if (rc == 0 && r->csv)
		rc = check_stream(r->csv, r->csv_path, err);
	return rc < 0 ? rc : app_check_stdout(err);
}
