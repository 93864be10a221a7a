/* kerf-lab: both ends in one process over an emulated link. kerf-lab.c sets up and reports,
 * lab_run.c lets time pass. */
#pragma once

#include "app_link.h"

struct lab {
	struct app_settings settings;
	struct app_model model;
	struct kerf_source *source;
	struct app_jpeg jpeg; /* the server's */
	struct rte_mempool *pool;         /* of both ends */
	struct kerf_port device_port, server_port; /* real time */
	struct kerf_compute *device_compute, *server_compute;
	struct kerf_device *device;
	struct kerf_server *server;
	struct app_steps up_rate, down_rate, server_slowdown;
	struct kerf_linkem *up, *down;
	struct app_truth *truth;
	uint64_t epoch_ns; /* when step 0 of the links began */
	struct app_results results;
	int64_t explain; /* this frame; negative = none */
	bool explained;
	uint64_t shown_ns;
	uint64_t virtual_ns, took_ns; /* the length of a virtual run, and how long it took */
	bool terminal;
	bool server_stop;
};

/* Step in force at a time of the run. */
unsigned lab_phase(const struct lab *lab, uint64_t now_ns);

/* --explain: at its planning, and when it is done. */
void lab_explain_plan(const struct lab *lab, uint32_t frame, const struct kerf_plan *plan,
	const struct kerf_plan_input *in, const struct kerf_plan_choice *choice);
void lab_explain_end(const struct kerf_frame_record *r);

/* Time goes from event to event. */
int lab_run_virtual(struct lab *lab, struct kerf_err *err);
/* Device and server poll on a CPU each, joined by ring ports with emulators hung in. */
int lab_run_real(struct lab *lab, struct kerf_err *err);
