/* Emulated links from settings, and the ground truth of their packets, for kerf-lab and kerf-linkem. */
#pragma once

#include "app.h"
#include "linkem/linkem.h"

/* bit/s: "200M" or "0s:200M 5s:30M ..." */
int app_parse_rate(const char *text, const char *key, struct app_steps *s, struct kerf_err *err);
/* The emulator of one direction; its trace, if it has one, takes the rate's place. common: what the
 * program sets: seed, direction, overhead_bytes, pool, truth. */
struct kerf_linkem *app_make_link(const struct app_link *l, const struct app_steps *rate,
	const struct kerf_linkem_config *common, struct kerf_err *err);

/*
 * --truth: a CSV line for each packet of each link,
 *
 *	link,number,arrival_ps,start_ps,finish_ps,deliver_ps,bytes,end,corrupted,duplicated,late
 *
 * in the order in which their ends were computed, link by link. Times that do not exist are empty,
 * "never" is what a dead link never sends.
 */
struct app_truth;

/* threaded: links belong to threads that must not wait; a thread of the log's own writes the file.
 * Else the link's own thread does. NULL on error. */
struct app_truth *app_truth_open(const char *path, bool threaded, struct kerf_err *err);
/* Sets c->truth. link: 0 = up, 1 = down. Harmless when t is NULL. */
void app_truth_log(struct app_truth *t, unsigned link, struct kerf_linkem_config *c);
/* Writes the rest; fails when the file is incomplete: disk full, or packets came faster than the
 * thread could write. Harmless when t is NULL. */
int app_truth_close(struct app_truth *t, struct kerf_err *err);
