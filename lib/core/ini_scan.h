/*
 * ini_scan: looks over an ini file line by line, before rte_cfgfile reads it.
 *
 * rte_cfgfile (DPDK programmer's guide, "Configuration File Library") passes silently over what
 * people get wrong: a line without '=', text after ']', names cut at 63 characters, a second value
 * for a key (the first one counts), and it gives no line numbers. This scanner sees lines exactly
 * as rte_cfgfile does, refuses those, and knows where everything was. Values are rte_cfgfile's.
 */
#pragma once

#include <rte_cfgfile.h>

#include "core/core.h"

#define INI_COMMENT '#'

enum ini_line {
	INI_END,     /* no more lines */
	INI_SECTION, /* .section is new */
	INI_ENTRY,   /* .name = .value in .section */
};

struct ini_scan {
	const char *path;
	FILE *file;
	unsigned line; /* number of the current line, from 1 */
	char section[CFG_NAME_LEN]; /* "" before the first one */
	char name[CFG_NAME_LEN];
	char value[CFG_VALUE_LEN];
	char *text; /* getline's buffer */
	size_t text_size;
};

/* 0 or -errno. The path must stay valid until kerf_ini_scan_close, which takes a failed one too. */
int kerf_ini_scan_open(struct ini_scan *s, const char *path, struct kerf_err *err);
/* Moves to the next section or entry: an enum ini_line, or -EINVAL with file and line in err. */
int kerf_ini_scan_next(struct ini_scan *s, struct kerf_err *err);
void kerf_ini_scan_close(struct ini_scan *s);
