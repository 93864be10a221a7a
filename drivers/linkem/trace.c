/*
 * Link rates from files: `t_us,rate_bps` and mahimahi packet-delivery opportunities.
 */
#include "linkem/linkem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEADING "t_us,rate_bps"
#define PS_PER_US 1000000ull
#define PS_PER_MS 1000000000ull
#define MAX_PS (1ull << 63)
/* The packet of mahimahi (link_queue.cc), 1504 bytes, in a millisecond. */
#define BPS_PER_OPPORTUNITY 12032000ull

struct reader {
	const char *path;
	FILE *file;
	unsigned line;
	char *text; /* getline's */
	size_t text_size;
	struct kerf_linkem_trace *t;
	size_t room; /* in t->steps */
	struct kerf_err *err;
};

/* Without blanks around it. */
static char *trim(char *s)
{
	size_t n;

	s += strspn(s, " \t\r\n");
	for (n = strlen(s); n && strchr(" \t\r\n", s[n - 1]);)
		s[--n] = 0;
	return s;
}

/* The next line that says something: 1, 0 at the end, or -errno. */
static int next_line(struct reader *r, char **line)
{
	for (;;) {
		errno = 0;
		ssize_t n = getline(&r->text, &r->text_size, r->file);
		if (n < 0 && feof(r->file))
			return 0;
		if (n < 0)
			return kerf_err_set(r->err, errno ? -errno : -EIO, "%s: %s", r->path,
				strerror(errno ? errno : EIO));
		r->line++;
		if ((size_t)n != strlen(r->text))
			return kerf_err_set(r->err, -EINVAL, "%s:%u: a byte 0: expected text",
				r->path, r->line);
		*line = trim(r->text);
		if (**line && **line != '#')
			return 1;
	}
}

/* A whole number of `unit` ps, at most MAX_PS. */
static int parse_time(struct reader *r, const char *text, uint64_t unit, uint64_t *ps)
{
	uint64_t value;

	if (kerf_parse_u64(text, &value) < 0)
		return kerf_err_set(r->err, -EINVAL,
			"%s:%u: time \"%s\": expected a whole number of %s", r->path, r->line, text,
			unit == PS_PER_US ? "us" : "ms");
	if (value > MAX_PS / unit)
		return kerf_err_set(r->err, -ERANGE, "%s:%u: time %s: expected at most %llu",
			r->path, r->line, text, MAX_PS / unit);
	*ps = value * unit;
	return 0;
}

/* From then on this rate. */
static int add_step(struct reader *r, uint64_t at_ps, uint64_t bps)
{
	struct kerf_linkem_trace *t = r->t;

	if (t->n_steps && t->steps[t->n_steps - 1].bps == bps)
		return 0;
	if (t->n_steps == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		void *steps = room <= UINT32_MAX ? realloc(t->steps, room * sizeof(t->steps[0]))
						 : NULL;
		if (!steps)
			return kerf_err_set(r->err, -ENOMEM, "%s:%u: no memory for %zu steps",
				r->path, r->line, room);
		t->steps = steps;
		r->room = room;
	}
	t->steps[t->n_steps++] = (struct kerf_linkem_step){at_ps, bps};
	return 0;
}

static int parse_csv(struct reader *r, char *line, uint64_t *at_ps, uint64_t *bps)
{
	char *comma = strchr(line, ','), *rate;
	int ret;

	if (!comma)
		return kerf_err_set(r->err, -EINVAL, "%s:%u: \"%s\": expected " HEADING, r->path,
			r->line, line);
	*comma = 0;
	rate = trim(comma + 1);
	ret = parse_time(r, trim(line), PS_PER_US, at_ps);
	if (ret < 0)
		return ret;
	if (kerf_parse_u64(rate, bps) < 0 || *bps > KERF_LINKEM_MAX_BPS)
		return kerf_err_set(r->err, -EINVAL,
			"%s:%u: rate \"%s\": expected a whole number of bit/s, at most %llu",
			r->path, r->line, rate, KERF_LINKEM_MAX_BPS);
	return 0;
}

static int read_csv(struct reader *r, char *line)
{
	uint64_t at, bps, last_at = 0, last_bps = 0;
	int ret = strcmp(line, HEADING) ? 1 : next_line(r, &line);

	for (unsigned n = 0; ret > 0; n++, ret = next_line(r, &line)) {
		ret = parse_csv(r, line, &at, &bps);
		if (ret < 0)
			return ret;
		if (n == 0 && at != 0)
			return kerf_err_set(r->err, -EINVAL,
				"%s:%u: first time %llu us: expected 0", r->path, r->line,
				at / PS_PER_US);
		if (n && at <= last_at)
			return kerf_err_set(r->err, -EINVAL,
				"%s:%u: time %llu us: expected more than %llu", r->path, r->line,
				at / PS_PER_US, last_at / PS_PER_US);
		/* Only now is it known that the line before was not the end. */
		ret = n ? add_step(r, last_at, last_bps) : 0;
		if (ret < 0)
			return ret;
		last_at = at;
		last_bps = bps;
	}
	r->t->end_ps = last_at;
	if (ret == 0 && !last_at)
		return kerf_err_set(r->err, -EINVAL,
			"%s: no end: expected at least two lines, the last one is the end",
			r->path);
	return ret;
}

/* k opportunities in the millisecond that ends at end_ps, none between from_ps and there. */
static int add_millisecond(struct reader *r, uint64_t from_ps, uint64_t end_ps, uint64_t k)
{
	int ret = 0;

	if (k > KERF_LINKEM_MAX_BPS / BPS_PER_OPPORTUNITY)
		return kerf_err_set(r->err, -ERANGE,
			"%s:%u: %" PRIu64 " packets in 1 ms: expected at most %llu", r->path,
			r->line, k, KERF_LINKEM_MAX_BPS / BPS_PER_OPPORTUNITY);
	if (from_ps < end_ps - PS_PER_MS)
		ret = add_step(r, from_ps, 0);
	return ret < 0 ? ret : add_step(r, end_ps - PS_PER_MS, k * BPS_PER_OPPORTUNITY);
}

static int read_mahimahi(struct reader *r, char *line)
{
	uint64_t at, last = 0, millisecond = PS_PER_MS, done = 0, k = 0;
	int ret = 1;

	for (; ret > 0; ret = next_line(r, &line)) {
		ret = parse_time(r, line, PS_PER_MS, &at);
		if (ret < 0)
			return ret;
		if (at < last)
			return kerf_err_set(r->err, -EINVAL,
				"%s:%u: time %llu ms: expected at least %llu", r->path, r->line,
				at / PS_PER_MS, last / PS_PER_MS);
		last = at;
		at = KERF_MAX(at, PS_PER_MS);
		if (at != millisecond && k) {
			ret = add_millisecond(r, done, millisecond, k);
			if (ret < 0)
				return ret;
			done = millisecond;
			k = 0;
		}
		millisecond = at;
		k++;
	}
	r->t->end_ps = last;
	if (ret == 0 && !last)
		return kerf_err_set(r->err, -EINVAL,
			"%s: no end: expected a last time of more than 0 ms", r->path);
	return ret < 0 ? ret : add_millisecond(r, done, millisecond, k);
}

static int read_any(struct reader *r)
{
	char *line;
	int ret = next_line(r, &line);

	if (ret == 0)
		return kerf_err_set(r->err, -EINVAL,
			"%s: empty: expected lines " HEADING " or packet-delivery times in ms",
			r->path);
	if (ret < 0)
		return ret;
	return strchr(line, ',') ? read_csv(r, line) : read_mahimahi(r, line);
}

int kerf_linkem_trace_load(const char *path, bool loop, struct kerf_linkem_trace *t,
	struct kerf_err *err)
{
	struct reader r = {.path = path, .t = t, .err = err};
	int ret;

	*t = (struct kerf_linkem_trace){0};
	r.file = fopen(path, "r");
	if (!r.file)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	ret = read_any(&r);
	if (ret == 0 && !loop)
		ret = add_step(&r, t->end_ps, 0);
	fclose(r.file);
	free(r.text);
	if (ret < 0)
		kerf_linkem_trace_free(t);
	return ret;
}

void kerf_linkem_trace_free(struct kerf_linkem_trace *t)
{
	free(t->steps);
	*t = (struct kerf_linkem_trace){0};
}
