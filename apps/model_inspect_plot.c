/* inspect --plot: bytes per cut by codec, and head and tail time along the network, as SVG by gnuplot. */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "model_inspect.h"

#define MS 1e-6

/* One line a cut that is shown: cut, head ms, tail ms, then KB by codec; NaN = none. */
static void write_cuts(FILE *g, const struct inspection *in)
{
	const struct kerf_model *m = &in->m->base;
	const unsigned nodes = m->n_cuts - 1;

	fprintf(g, "$cuts << EOD\n");
	for (unsigned k = 0; k < m->n_cuts; k++) {
		if (!inspect_shows(in, k))
			continue;
		fprintf(g, "%u %.9g %.9g", k, kerf_profile_range_ns(in->times, 0, k) * MS,
			kerf_profile_range_ns(in->times, k, nodes) * MS);
		for (unsigned c = 0; model_codec(c); c++) {
			const size_t bytes = model_cut_bytes(in->m, k, c);

			if (bytes)
				fprintf(g, " %.9g", (double)bytes / 1e3);
			else
				fprintf(g, " NaN");
		}
		fprintf(g, "\n");
	}
	fprintf(g, "EOD\n$natural << EOD\n");
	for (unsigned k = 0; k < m->n_cuts; k++)
		if (m->cuts[k].natural)
			fprintf(g, "%u %.9g %d\n", k, (double)model_cut_bytes(in->m, k, KERF_CODEC_F32) / 1e3,
				m->cuts[k].useful);
	fprintf(g, "-1 NaN 0\nEOD\n"); /* a plot of nothing is an error */
}

static void write_plots(FILE *g, const struct inspection *in, const char *path)
{
	fprintf(g, "set terminal svg size 1200,900 background rgb 'white' noenhanced\nset output '");
	for (const char *c = path; *c; c++)
		fprintf(g, *c == '\'' ? "''" : "%c", *c);
	fprintf(g, "'\nset multiplot layout 2,1 title \"%s, input %.9g KB as f32\"\nset xrange [0:%u]\nset grid\n"
		   "set key outside\nset ylabel 'KB'\nset logscale y\nplot ",
		in->m->graph->name, (double)model_cut_bytes(in->m, 0, KERF_CODEC_F32) / 1e3,
		in->m->base.n_cuts - 1);
	for (unsigned c = 0; model_codec(c); c++)
		fprintf(g, "$cuts using 1:%u with linespoints pt 7 ps 0.4 title '%s', ", c + 4,
			model_codec(c)->name);
	fprintf(g, "$natural using 1:2 with points pt 6 ps 1.2 lc 'black' title 'natural bottleneck', "
		   "$natural using 1:($3 > 0 ? $2 : NaN) with points pt 7 ps 1.2 lc 'black' title 'useful'\n"
		   "unset logscale y\nset yrange [0:*]\nset ylabel 'ms'\nset xlabel 'cut after node'\n"
		   "plot $cuts using 1:2 with lines lw 2 title 'head', $cuts using 1:3 with lines lw 2 title 'tail'\n"
		   "unset multiplot\n");
}

int inspect_plot(const struct inspection *in, const char *path, struct kerf_err *err)
{
	FILE *f = fopen(path, "w"), *g;

	if (!f)
		return kerf_err_set(err, -EIO, "%s: cannot be written: %s", path, strerror(errno));
	fclose(f);
	signal(SIGPIPE, SIG_IGN);
	g = popen("gnuplot", "w");
	if (!g)
		return kerf_err_set(err, -EIO, "gnuplot cannot be started: %s", strerror(errno));
	write_cuts(g, in);
	write_plots(g, in, path);
	if (pclose(g) != 0) {
		unlink(path);
		return kerf_err_set(err, -EIO, "%s: gnuplot failed or is not installed", path);
	}
	return 0;
}
