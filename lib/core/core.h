/*
 * core: what every module needs and no module owns.
 *
 *	struct kerf_err err = {0};
 *	double rate;
 *	if (kerf_parse_rate("200M", &rate) < 0)
 *		return kerf_err_set(&err, -EINVAL, "%s: not a rate", "200M");
 *
 * Errors that a person caused travel as one line of text in struct kerf_err beside a negative
 * errno; who prints them is the program. Nothing here keeps global state or reads a clock.
 */
#pragma once

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define KERF_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define KERF_MIN(a, b) ((a) < (b) ? (a) : (b))
#define KERF_MAX(a, b) ((a) > (b) ? (a) : (b))

#define KERF_NS_PER_S 1000000000ull
#define KERF_PS_PER_NS 1000ull

/* ---- errors ---- */

/* One line for a person: what, where, what was found, what was expected. Empty = no error. */
struct kerf_err {
	char text[512];
};

/* Writes the line (a NULL err is allowed) and returns code, which is a negative errno. */
int kerf_err_set(struct kerf_err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "what: " before the line that err already holds. */
void kerf_err_prefix(struct kerf_err *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- quantities as people write them ---- */

/* "1500", "2K" = 2000, "2Ki" = 2048, up to T. 0 or -EINVAL/-ERANGE. */
int kerf_parse_size(const char *text, uint64_t *bytes);
/* bit/s: "200M", "1.5G", "0", "9600"; an optional "bit/s" or "bps" may follow. */
int kerf_parse_rate(const char *text, double *bps);
/* "10ms", "2us", "1.5s", "100ns", "0"; a bare number other than 0 is refused. */
int kerf_parse_time(const char *text, uint64_t *ns);
/* Strict whole-string numbers. */
int kerf_parse_u64(const char *text, uint64_t *value);
int kerf_parse_double(const char *text, double *value);
int kerf_parse_bool(const char *text, bool *value); /* yes no true false on off 1 0 */
int kerf_parse_ipv4(const char *text, uint32_t *addr); /* host byte order */

/* Prints into buf and returns buf: "200.0M", "1.23 ms", "62.7 KB". */
const char *kerf_format_rate(double bps, char *buf, size_t len);
const char *kerf_format_time(double ns, char *buf, size_t len);
const char *kerf_format_size(double bytes, char *buf, size_t len);

/* ---- settings: ini files (rte_cfgfile) checked against a table ---- */

enum kerf_ini_type {
	KERF_INI_TEXT,  /* char[KERF_INI_TEXT_LEN] */
	KERF_INI_SIZE,  /* uint64_t, bytes */
	KERF_INI_RATE,  /* double, bit/s */
	KERF_INI_TIME,  /* uint64_t, ns */
	KERF_INI_COUNT, /* uint64_t */
	KERF_INI_REAL,  /* double */
	KERF_INI_BOOL,  /* bool */
	KERF_INI_IPV4,  /* uint32_t, host order */
	KERF_INI_ENUM,  /* int, index into the '|' separated list in .choices */
};

#define KERF_INI_TEXT_LEN 256

/* One key that a program knows; .offset is where its value lies in the settings struct. */
struct kerf_ini_key {
	const char *section;
	const char *name;
	enum kerf_ini_type type;
	size_t offset;
	const char *preset;  /* the default, written as in a file; NULL leaves the field alone */
	const char *choices; /* KERF_INI_ENUM only: "dynamic|fixed|local|offload" */
	double min, max;     /* numbers: refused outside when max > min */
};

/*
 * Fills `settings` with every preset, then with the file (NULL = none), then with each
 * override "section.key=value". An unknown section, key or a bad value is one line naming
 * file, line, key, value and what was expected. 0 or -errno.
 */
int kerf_ini_load(const char *path, const char *const *overrides, unsigned n_overrides,
	const struct kerf_ini_key *keys, unsigned n_keys, void *settings, struct kerf_err *err);

/* ---- histogram of times: log-linear, 1/64 relative resolution, no allocation ---- */

#define KERF_HIST_SUB 64
#define KERF_HIST_SLOTS ((64 - 6 + 1) * KERF_HIST_SUB)

struct kerf_hist {
	uint64_t count;
	double sum;
	uint64_t min, max;
	uint32_t slots[KERF_HIST_SLOTS];
};

void kerf_hist_add(struct kerf_hist *h, uint64_t value);
void kerf_hist_merge(struct kerf_hist *to, const struct kerf_hist *from);
/* Value at quantile q in [0,1] (nearest rank); exact at the ends, 0 when empty. */
uint64_t kerf_hist_quantile(const struct kerf_hist *h, double q);
double kerf_hist_mean(const struct kerf_hist *h);
/* Share of the values that are at most `value`, to the histogram's resolution; 0 when empty. */
double kerf_hist_share(const struct kerf_hist *h, uint64_t value);

/* ---- counter-based random numbers: Philox4x32-10 (Salmon et al., SC'11) ---- */

/* The same (seed, stream, counter) gives the same 128 bits, whatever was drawn before. */
void kerf_rng_block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]);

/* A sequence over it. Zero-initialise, set seed and stream. */
struct kerf_rng {
	uint64_t seed, stream, counter;
	uint32_t block[4];
	unsigned left;
};

uint32_t kerf_rng_u32(struct kerf_rng *r);
uint64_t kerf_rng_u64(struct kerf_rng *r);
double kerf_rng_uniform(struct kerf_rng *r); /* [0,1), 53 bits */
double kerf_rng_normal(struct kerf_rng *r);  /* mean 0, deviation 1 (Box-Muller) */

/* ---- digests ---- */

#define KERF_DIGEST_LEN 16

/*
 * XXH3 of 128 bits (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md) of len bytes, as `xxh128sum` prints it. It
 * tells models apart that differ by accident; whoever wants to can make two that do not.
 */
void kerf_digest(const void *data, size_t len, uint8_t digest[KERF_DIGEST_LEN]);

/* Incremental form of the same; begin allocates what end frees. */
struct kerf_digest_state {
	void *context; /* xxHash's */
};
void kerf_digest_begin(struct kerf_digest_state *s);
void kerf_digest_add(struct kerf_digest_state *s, const void *data, size_t len);
void kerf_digest_end(struct kerf_digest_state *s, uint8_t digest[KERF_DIGEST_LEN]);
