/* kerf-lab: both ends in one process over an emulated link. kerf-lab.c sets up and reports,
 * lab_link.c reads link settings, lab_run.c lets time pass. */
#pragma once

#include "app.h"
#include "linkem/linkem.h"

#define LAB_MAX_STEPS 64

struct lab {
	struct app_settings settings;
	struct app_model model;
	struct kerf_source *source;
	struct rte_mempool *pool;         /* of both ends */
	struct kerf_port device_port, server_port; /* real time */
	struct kerf_compute *device_compute, *server_compute;
	struct kerf_device *device;
	struct kerf_server *server;
	struct kerf_linkem_step up_steps[LAB_MAX_STEPS], down_steps[LAB_MAX_STEPS];
	unsigned n_up_steps, n_down_steps;
	struct kerf_linkem *up, *down;
	uint64_t epoch_ns; /* when step 0 of the links began */
	struct app_results results;
	uint64_t shown_ns;
	bool terminal;
	bool server_stop;
};

/* "200M" or "0s:200M 5s:30M ..." -> steps, ascending from 0. */
int lab_parse_rate(const char *text, const char *key, struct kerf_linkem_step *steps, unsigned *n,
	struct kerf_err *err);
/* The emulator of one direction (0 up, 1 down); its trace, if it has one, takes the steps' place. */
struct kerf_linkem *lab_make_link(const struct lab *lab, const struct app_link *l,
	uint32_t direction, const struct kerf_linkem_step *steps, unsigned n, struct kerf_err *err);
/* Step in force at a time of the run. */
unsigned lab_phase(const struct lab *lab, uint64_t now_ns);

/* Time goes from event to event. */
int lab_run_virtual(struct lab *lab, struct kerf_err *err);
/* Device and server poll on a CPU each, joined by ring ports with emulators hung in. */
int lab_run_real(struct lab *lab, struct kerf_err *err);
