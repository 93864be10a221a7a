/* What kerf-device, kerf-server and kerf-lab share: settings, start-up, the model, results. */
#pragma once

#include "app_calibration.h"
#include "node/node.h"
#include "port/port.h"
#include "source/source.h"

/* ---- settings: every key of every ini file, documented in conf/ ---- */

struct app_settings {
	struct {
		char file[KERF_INI_TEXT_LEN]; /* ONNX file or zoo name */
		char input_shape[KERF_INI_TEXT_LEN]; /* where the file leaves it open; empty */
		uint64_t seed;                /* of a zoo network's weights */
		uint64_t threads;
		int precision; /* enum kerf_precision */
		char calibration[KERF_INI_TEXT_LEN];
		char profile[KERF_INI_TEXT_LEN];
		uint64_t rounds;
	} model;
	struct {
		char path[KERF_INI_TEXT_LEN];
		char mean[KERF_INI_TEXT_LEN], std[KERF_INI_TEXT_LEN];
		int channels, resize;
		double crop;
		uint64_t limit, seed, jpeg_decode_ns;
	} input;
	struct {
		double slowdown, fps;
		uint64_t frames, in_flight, cpu;
		bool verify, wait_for_server;
	} device;
	struct {
		char slowdown[KERF_INI_TEXT_LEN]; /* app_parse_slowdown */
		uint64_t contexts, sessions, cpu;
	} server;
	struct {
		int mode, codec, objective;
		uint64_t cut, deadline_ns, hedge_min_ns, probe_every;
		double hysteresis, hedge_factor, pace_gain, race_share, min_agreement;
		bool pace_dither;
		char codecs[KERF_INI_TEXT_LEN];
	} policy;
	struct {
		char kind[KERF_INI_TEXT_LEN], socket[KERF_INI_TEXT_LEN], iface[KERF_INI_TEXT_LEN];
		uint64_t mtu, mbufs, udp_port, overhead;
		uint32_t ip, server_ip;
		int huge;
	} port;
	struct {
		int time, timestamps;
		uint64_t seed;
		bool analytic;
	} lab;
	struct app_link {
		char rate[KERF_INI_TEXT_LEN], trace[KERF_INI_TEXT_LEN];
		bool trace_loop, codel, jitter_reorders;
		uint64_t delay_ns, jitter_ns, late_ns, slot_ns;
		uint64_t queue_bytes, queue_packets, cross_bytes;
		double jitter_half_life, cross_bps;
		double loss, loss_bad, good_to_bad, bad_to_good, duplication, corruption, late;
	} up, down;
};

enum { APP_CPU_AUTO = UINT32_MAX };
enum { APP_HUGE_AUTO, APP_HUGE_YES, APP_HUGE_NO };
enum { APP_TIME_REAL, APP_TIME_VIRTUAL };
enum { APP_TIMESTAMPS_EXACT, APP_TIMESTAMPS_POLL };

enum app_kind { APP_DEVICE = 1, APP_SERVER = 2, APP_LAB = 4, APP_LINKEM = 8 };

/* The command line behind EAL's "--". */
struct app_options {
	const char *config, *json, *frames, *truth, *ports;
	int64_t explain; /* the frame of --explain; negative = none */
	double seconds; /* --time: to run; 0 = until SIGINT */
	const char *overrides[64];
	unsigned n_overrides;
	char **eal; /* arguments before "--" */
	int n_eal;
};

/* Parses, prints help or version (and exits 0), or says what is wrong and exits 2. */
void app_parse(struct app_options *o, int argc, char **argv, enum app_kind kind, const char *help);

#define APP_MAX_KEYS 128
/* The keys that a program knows; returns how many. */
unsigned app_keys(enum app_kind kind, struct kerf_ini_key keys[APP_MAX_KEYS]);
/* Presets, then the file, then the -s overrides. */
int app_load_settings(struct app_settings *s, const struct app_options *o, enum app_kind kind,
	struct kerf_err *err);

/* Prints "program: line" on stderr and returns the exit code: 2 for what the person wrote (-EINVAL
 * and -ERANGE of settings), 1 otherwise. */
int app_fail(const char *program, const struct kerf_err *err, int code);

/* ---- settings that change with time: "VALUE" or "0s:VALUE 5s:VALUE ..." ---- */

#define APP_MAX_STEPS 64

struct app_steps {
	uint64_t at_ns[APP_MAX_STEPS]; /* ascending from 0 */
	double value[APP_MAX_STEPS];
	unsigned n;
};

struct app_steps_type {
	int (*parse)(const char *text, double *value);
	double min, max;
	const char *expected, *example; /* for people */
};

int app_parse_steps(const char *text, const char *key, const struct app_steps_type *t,
	struct app_steps *s, struct kerf_err *err);
/* Index of the step in force. */
unsigned app_step_at(const struct app_steps *s, uint64_t ns);
/* How many times slower than it is a machine is to be. */
int app_parse_slowdown(const char *text, const char *key, struct app_steps *s,
	struct kerf_err *err);

/* ---- start-up ---- */

/* Nanoseconds of CLOCK_MONOTONIC: the clock of every program. */
uint64_t app_clock_ns(void);
/* CPU time of the calling thread. */
uint64_t app_cpu_clock_ns(void);

/* The i-th CPU this process may use, counted from the end when negative. */
unsigned app_cpu(int i);
/* rte_eal_init with our arguments, then the person's, which choose the cores if they name any. */
int app_eal_init(const char *program, const struct app_options *o, char args[][256],
	unsigned n_args, struct kerf_err *err);
/* EAL on one CPU, with huge pages or none, and the port of [port], as the server's or device's end. */
int app_open_port(struct kerf_port *port, const char *program, const struct app_options *o,
	const struct app_settings *s, bool server, struct kerf_err *err);
/* What the nodes need to know of it. */
struct kerf_net app_net(const struct kerf_port *port, const struct app_settings *s);
/* Nothing when it was never started. */
void app_eal_cleanup(void);
/* SIGINT and SIGTERM set this; a second one ends the program at once. */
extern volatile bool app_stop;
/* Signals, and no file but the standard ones gets their numbers: the first thing in main(). */
void app_begin(void);

/* ---- the poll loop ---- */

#define APP_BURST 32

/* What a full TX ring did not take: it goes out at the next turn. */
struct app_unsent {
	struct rte_mbuf *pkts[APP_BURST];
	unsigned n;
};

void app_transmit(struct kerf_port *port, struct app_unsent *u);
void app_drop_unsent(struct app_unsent *u);

/* ---- the model, compiled and measured ---- */

struct app_model {
	struct kerf_graph *graph;
	struct kerf_model model;
	struct kerf_engine *engine; /* NULL in virtual time */
	struct app_calibration calibration; /* empty without a file */
	struct kerf_profile profile;
	double whole_ns;
};

/* Loads, optimises, compiles, and measures (or reads) the profile. */
int app_model_open(struct app_model *m, const struct app_settings *s, bool compile,
	struct kerf_err *err);
void app_model_close(struct app_model *m);

/* Outputs are equal bit for bit where this is: engine, ISA, and the size of the team. */
uint64_t app_fingerprint(const struct app_settings *s);

/*
 * A device with all that settings and model say; the caller has filled in net, server, compute, nonce
 * and the callbacks. NULL with -EINVAL's kind of error: the settings do not fit the network.
 */
struct kerf_device *app_make_device(struct kerf_device_options *o, const struct app_settings *s,
	const struct app_model *m, const struct kerf_source *source, struct kerf_err *err);

/* Frames for the device; the model's input decides their size. */
int app_source_open(struct kerf_source **source, const struct app_settings *s,
	const struct kerf_graph *g, struct kerf_err *err);
void app_source_input(const struct kerf_source *s, uint32_t frame, struct kerf_frame_input *in);

/* JPEGs as a server takes them. Zero when the network's input is no picture. */
struct app_jpeg {
	struct kerf_jpeg *decoder;
	uint64_t key;
};

int app_jpeg_open(struct app_jpeg *j, const struct app_settings *s, const struct app_model *m, struct kerf_err *err);
void app_jpeg_close(struct app_jpeg *j);
/* For kerf_server_options; user is the struct app_jpeg. */
int app_jpeg_decode(void *user, const uint8_t *jpeg, size_t n, uint8_t *pixels);
/* The key that a device says, 0 when no frame has a JPEG that may travel. *mean_bytes: of those that may; *byte_ns:
 * what decoding takes a byte, as set or as measured here. */
uint64_t app_source_jpegs(const struct kerf_source *source, const struct app_settings *s, const struct app_model *m,
	size_t *mean_bytes, double *byte_ns);
/* What turns pixels into inputs; channels 0 when the input is no picture. */
int app_pixel_format(const struct app_settings *s, const struct kerf_graph *g,
	struct kerf_pixel_format *f, struct kerf_err *err);

/* ---- results ---- */

#define APP_MAX_CUTS 4096

/* Frames of one phase of a run (all of them, or those under one rate of the lab's link). */
struct app_tally {
	uint64_t frames, remote, local, hedged;
	struct kerf_hist latency, predicted, rate; /* ns, ns, bit/s */
	uint64_t true_rate_bps;                    /* of the link; 0 = not known */
	uint32_t cut_frames[APP_MAX_CUTS];         /* frames by cut; local ones at the last cut */
	uint8_t cut_codec[APP_MAX_CUTS];
};

struct app_results {
	const struct kerf_model *model;
	struct app_tally all;
	struct app_tally *phases; /* n_phases */
	unsigned n_phases;
	uint64_t codecs[KERF_CODEC_COUNT];
	uint64_t deadline_ns, missed; /* policy.deadline with that objective, else 0; frames that took longer */
	uint64_t end_ns;              /* when the last frame was done, from the run's start */
	FILE *csv;
	const char *csv_path;
};

/* Begins the CSV of --frames; the file of --json, written at the end, must be writable. */
int app_results_open(struct app_results *r, const struct kerf_model *m, const struct app_settings *s,
	unsigned n_phases, const struct app_options *o, struct kerf_err *err);
void app_results_add(struct app_results *r, unsigned phase, const struct kerf_frame_record *f);
void app_results_close(struct app_results *r);

/* What ran where, for the head of the table and for JSON. */
struct app_run {
	const char *title; /* "kerf-lab: efficientnet-b0, real time, ..." */
	const struct kerf_device *device;
	const struct kerf_server *server; /* lab only, else NULL */
	double device_slowdown, server_slowdown; /* the latter lab only */
	uint64_t start_ns; /* lab only: of frame 0, since the links began */
};

void app_print_table(const struct app_results *r, const struct app_run *run);
/* JSON to a file, unless it is NULL; fails too when the CSV or standard output are incomplete. */
int app_results_write(const struct app_results *r, const struct app_run *run, const char *json,
	struct kerf_err *err);
int app_check_stdout(struct kerf_err *err);
/* Cut and codec as people read them: "#12 block5 f32", "#0 input u8", "local". */
const char *app_cut_text(const struct kerf_model *m, unsigned cut, int codec, char *buf,
	size_t len);
