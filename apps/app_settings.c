#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "app.h"

#define KEY(sec, key, t, field, def, ...)                                                          \
	{                                                                                          \
		.section = sec, .name = key, .type = t,                                            \
		.offset = offsetof(struct app_settings, field), .preset = def, __VA_ARGS__         \
	}

static const struct kerf_ini_key model_keys[] = {
	KEY("model", "file", KERF_INI_TEXT, model.file, "efficientnet-b0"),
	KEY("model", "input_shape", KERF_INI_TEXT, model.input_shape, ""),
	KEY("model", "seed", KERF_INI_COUNT, model.seed, "0"),
	KEY("model", "threads", KERF_INI_COUNT, model.threads, "1", .min = 1, .max = 1024),
	KEY("model", "precision", KERF_INI_ENUM, model.precision, "f32", .choices = "f32|bf16|int8"),
	KEY("model", "calibration", KERF_INI_TEXT, model.calibration, ""),
	KEY("model", "profile", KERF_INI_TEXT, model.profile, ""),
	KEY("model", "rounds", KERF_INI_COUNT, model.rounds, "20", .min = 1, .max = 10000),
	KEY("input", "mean", KERF_INI_TEXT, input.mean, "123.675 116.28 103.53"),
	KEY("input", "std", KERF_INI_TEXT, input.std, "58.395 57.12 57.375"),
};

/* How a picture becomes pixels: both ends' affair where JPEGs travel. */
static const struct kerf_ini_key picture_keys[] = {
	KEY("input", "channels", KERF_INI_ENUM, input.channels, "rgb", .choices = "rgb|bgr"),
	KEY("input", "resize", KERF_INI_ENUM, input.resize, "crop", .choices = "stretch|crop"),
	KEY("input", "crop", KERF_INI_REAL, input.crop, "0.875", .min = 0.01, .max = 1),
};

static const struct kerf_ini_key input_keys[] = {
	KEY("input", "path", KERF_INI_TEXT, input.path, "synthetic"),
	KEY("input", "jpeg_decode", KERF_INI_TIME, input.jpeg_decode_ns, "0"),
	KEY("input", "limit", KERF_INI_COUNT, input.limit, "0", .min = 0, .max = 1e6),
	KEY("input", "seed", KERF_INI_COUNT, input.seed, "1"),
};

static const struct kerf_ini_key device_keys[] = {
	KEY("device", "slowdown", KERF_INI_REAL, device.slowdown, "1", .min = 1, .max = 1e6),
	KEY("device", "fps", KERF_INI_REAL, device.fps, "0", .min = 0, .max = 1e6),
	KEY("device", "frames", KERF_INI_COUNT, device.frames, "100", .min = 0,
		.max = 4294967295.0),
	KEY("device", "in_flight", KERF_INI_COUNT, device.in_flight, "1", .min = 1, .max = 64),
	KEY("device", "verify", KERF_INI_BOOL, device.verify, "yes"),
	KEY("device", "wait_for_server", KERF_INI_BOOL, device.wait_for_server, "yes"),
	KEY("policy", "mode", KERF_INI_ENUM, policy.mode, "dynamic",
		.choices = "dynamic|fixed|local|offload"),
	KEY("policy", "objective", KERF_INI_ENUM, policy.objective, "latency",
		.choices = "latency|deadline|throughput"),
	KEY("policy", "deadline", KERF_INI_TIME, policy.deadline_ns, "100ms"),
	KEY("policy", "cut", KERF_INI_COUNT, policy.cut, "0", .min = 0, .max = APP_MAX_CUTS - 1),
	KEY("policy", "codec", KERF_INI_ENUM, policy.codec, "auto", 
		.choices = "auto|f32|u8|bf16|q8|q4|jpeg"),
	KEY("policy", "codecs", KERF_INI_TEXT, policy.codecs, "f32 u8 jpeg"),
	KEY("policy", "min_agreement", KERF_INI_REAL, policy.min_agreement, "0.99", .min = 0,
		.max = 1),
	KEY("policy", "hysteresis", KERF_INI_REAL, policy.hysteresis, "0.05", .min = 0, .max = 1),
	KEY("policy", "hedge_factor", KERF_INI_REAL, policy.hedge_factor, "1.3", .min = 1,
		.max = 1000),
	KEY("policy", "hedge_min", KERF_INI_TIME, policy.hedge_min_ns, "2ms"),
	KEY("policy", "probe_every", KERF_INI_COUNT, policy.probe_every, "2", .min = 0, .max = 1e6),
	KEY("policy", "race_share", KERF_INI_REAL, policy.race_share, "0.2", .min = 0.01, .max = 1),
	KEY("policy", "pace_dither", KERF_INI_BOOL, policy.pace_dither, "no"),
	KEY("policy", "pace_gain", KERF_INI_REAL, policy.pace_gain, "3", .min = 1, .max = 100),
};

static const struct kerf_ini_key server_keys[] = {
	KEY("server", "slowdown", KERF_INI_TEXT, server.slowdown, "1"),
	KEY("server", "contexts", KERF_INI_COUNT, server.contexts, "4", .min = 1, .max = 1024),
	KEY("server", "sessions", KERF_INI_COUNT, server.sessions, "16", .min = 1, .max = 4096),
};

static const struct kerf_ini_key port_keys[] = {
	KEY("port", "kind", KERF_INI_TEXT, port.kind, "memif"),
	KEY("port", "socket", KERF_INI_TEXT, port.socket, "/run/kerf-memif.sock"),
	KEY("port", "iface", KERF_INI_TEXT, port.iface, ""),
	KEY("port", "huge", KERF_INI_ENUM, port.huge, "auto", .choices = "auto|yes|no"),
};

static const struct kerf_ini_key device_port_keys[] = {
	KEY("device", "cpu", KERF_INI_COUNT, device.cpu, NULL, .min = 0, .max = 4095),
	KEY("port", "ip", KERF_INI_IPV4, port.ip, "10.47.0.1"),
	KEY("port", "server_ip", KERF_INI_IPV4, port.server_ip, "10.47.0.2"),
};

static const struct kerf_ini_key server_port_keys[] = {
	KEY("server", "cpu", KERF_INI_COUNT, server.cpu, NULL, .min = 0, .max = 4095),
	KEY("port", "ip", KERF_INI_IPV4, port.ip, "10.47.0.2"),
};

static const struct kerf_ini_key wire_keys[] = {
	KEY("port", "mtu", KERF_INI_COUNT, port.mtu, "1500", .min = 576, .max = 9000),
	KEY("port", "mbufs", KERF_INI_COUNT, port.mbufs, "0", .min = 0, .max = 1 << 22),
	KEY("port", "overhead", KERF_INI_SIZE, port.overhead, "24", .min = 0, .max = 1000),
};

static const struct kerf_ini_key udp_keys[] = {
	KEY("port", "udp_port", KERF_INI_COUNT, port.udp_port, "4747", .min = 1, .max = 65535),
};

#define CHANCE(sec, key, field) KEY(sec, key, KERF_INI_REAL, field, "0", .min = 0, .max = 1)
#define LINK_KEYS(sec, way)                                                                        \
	KEY(sec, "rate", KERF_INI_TEXT, way.rate, "1G"),                                           \
		KEY(sec, "trace", KERF_INI_TEXT, way.trace, ""),                                   \
		KEY(sec, "trace_loop", KERF_INI_BOOL, way.trace_loop, "yes"),                      \
		KEY(sec, "delay", KERF_INI_TIME, way.delay_ns, "200us"),                           \
		KEY(sec, "queue", KERF_INI_SIZE, way.queue_bytes, "256K"),                         \
		KEY(sec, "queue_packets", KERF_INI_COUNT, way.queue_packets, "0"),                 \
		KEY(sec, "codel", KERF_INI_BOOL, way.codel, "no"),                                 \
		CHANCE(sec, "loss", way.loss), CHANCE(sec, "loss_bad", way.loss_bad),              \
		CHANCE(sec, "good_to_bad", way.good_to_bad),                                       \
		CHANCE(sec, "bad_to_good", way.bad_to_good),                                       \
		CHANCE(sec, "duplication", way.duplication),                                       \
		CHANCE(sec, "corruption", way.corruption), CHANCE(sec, "late", way.late),          \
		KEY(sec, "late_by", KERF_INI_TIME, way.late_ns, "0"),                              \
		KEY(sec, "jitter", KERF_INI_TIME, way.jitter_ns, "0"),                             \
		KEY(sec, "jitter_half_life", KERF_INI_REAL, way.jitter_half_life, "0", .min = 0,   \
			.max = 1e6),                                                               \
		KEY(sec, "jitter_reorders", KERF_INI_BOOL, way.jitter_reorders, "no"),             \
		KEY(sec, "slot", KERF_INI_TIME, way.slot_ns, "0"),                                 \
		KEY(sec, "cross_rate", KERF_INI_RATE, way.cross_bps, "0", .min = 0, .max = 400e9), \
		KEY(sec, "cross_bytes", KERF_INI_SIZE, way.cross_bytes, "1514", .min = 60,         \
			.max = 65535)

static const struct kerf_ini_key lab_keys[] = {
	KEY("lab", "time", KERF_INI_ENUM, lab.time, "real", .choices = "real|virtual"),
	KEY("lab", "timestamps", KERF_INI_ENUM, lab.timestamps, "exact", .choices = "exact|poll"),
	KEY("lab", "seed", KERF_INI_COUNT, lab.seed, "1"),
	KEY("lab", "analytic", KERF_INI_BOOL, lab.analytic, "no"),
};

static const struct kerf_ini_key linkem_keys[] = {
	KEY("link", "seed", KERF_INI_COUNT, lab.seed, "1"),
};

static const struct kerf_ini_key link_keys[] = {
	LINK_KEYS("link.up", up),
	LINK_KEYS("link.down", down),
};

struct key_group {
	const struct kerf_ini_key *keys;
	unsigned n;
	unsigned programs; /* bits of enum app_kind */
};

#define GROUP(keys, programs) {keys, KERF_ARRAY_LEN(keys), programs}

static const struct key_group groups[] = {
	GROUP(model_keys, APP_DEVICE | APP_SERVER | APP_LAB),
	GROUP(picture_keys, APP_DEVICE | APP_SERVER | APP_LAB),
	GROUP(input_keys, APP_DEVICE | APP_LAB),
	GROUP(device_keys, APP_DEVICE | APP_LAB),
	GROUP(server_keys, APP_SERVER | APP_LAB),
	GROUP(port_keys, APP_DEVICE | APP_SERVER),
	GROUP(wire_keys, APP_DEVICE | APP_SERVER | APP_LAB | APP_LINKEM),
	GROUP(udp_keys, APP_DEVICE | APP_SERVER | APP_LAB),
	GROUP(device_port_keys, APP_DEVICE),
	GROUP(server_port_keys, APP_SERVER),
	GROUP(lab_keys, APP_LAB),
	GROUP(linkem_keys, APP_LINKEM),
	GROUP(link_keys, APP_LAB | APP_LINKEM),
};

unsigned app_keys(enum app_kind kind, struct kerf_ini_key keys[APP_MAX_KEYS])
{
	unsigned n = 0;

	for (unsigned g = 0; g < KERF_ARRAY_LEN(groups); g++)
		for (unsigned i = 0; (groups[g].programs & kind) && i < groups[g].n; i++)
			keys[n++] = groups[g].keys[i];
	return n;
}

int app_load_settings(struct app_settings *s, const struct app_options *o, enum app_kind kind,
	struct kerf_err *err)
{
	struct kerf_ini_key keys[APP_MAX_KEYS];
	const unsigned n = app_keys(kind, keys);

	memset(s, 0, sizeof(*s));
	s->device.cpu = s->server.cpu = APP_CPU_AUTO;
	return kerf_ini_load(o->config, o->overrides, o->n_overrides, keys, n, s, err);
}

static _Noreturn void wrong_usage(const char *program, const char *what, const char *value)
{
	fprintf(stderr, "%s: %s%s; see %s --help\n", program, what, value, program);
	exit(2);
}

/* Where the program's own arguments begin: behind "--", or at once when there is none. */
static int split_eal(struct app_options *o, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--"))
			continue;
		o->eal = argv + 1;
		o->n_eal = i - 1;
		return i;
	}
	return 0;
}

static double parse_seconds(const char *program, const char *text)
{
	uint64_t ns;

	if (kerf_parse_time(text, &ns) < 0 || ns == 0)
		wrong_usage(program, "not a time such as 10s: ", text);
	return (double)ns * 1e-9;
}

static int64_t parse_frame(const char *program, const char *text)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text < '0' || *text > '9' || v > UINT32_MAX)
		wrong_usage(program, "not the number of a frame: ", text);
	return (int64_t)v;
}

/* What not every program takes. */
static bool is_taken(int opt, enum app_kind kind)
{
	switch (opt) {
	case 'j': return kind != APP_SERVER;
	case 'f': return kind == APP_DEVICE || kind == APP_LAB;
	case 'T': return kind == APP_LAB || kind == APP_LINKEM;
	case 'x': return kind == APP_LAB;
	case 'p':
	case 't': return kind == APP_LINKEM;
	default: return true;
	}
}

void app_parse(struct app_options *o, int argc, char **argv, enum app_kind kind, const char *help)
{
	static const struct option longs[] = {
		{"config", required_argument, NULL, 'c'}, {"set", required_argument, NULL, 's'},
		{"json", required_argument, NULL, 'j'}, {"frames", required_argument, NULL, 'f'},
		{"truth", required_argument, NULL, 'T'}, {"explain", required_argument, NULL, 'x'},
		 {"ports", required_argument, NULL, 'p'},
		{"time", required_argument, NULL, 't'}, {"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'}, {0}};
	const char *program = strrchr(argv[0], '/') ? strrchr(argv[0], '/') + 1 : argv[0];
	int skip, opt;

	*o = (struct app_options){.explain = -1};
	skip = split_eal(o, argc, argv);
	argv[skip] = (char *)(uintptr_t)program;
	opterr = 0;
	while ((opt = getopt_long(argc - skip, argv + skip, ":c:s:t:h", longs, NULL)) != -1) {
		if (!is_taken(opt, kind))
			wrong_usage(program, "no option of this program: ", argv[skip + optind - 2]);
		switch (opt) {
		case 'c': o->config = optarg; break;
		case 's':
			if (o->n_overrides == KERF_ARRAY_LEN(o->overrides))
				wrong_usage(program, "too many -s: ", optarg);
			o->overrides[o->n_overrides++] = optarg;
			break;
		case 'j': o->json = optarg; break;
		case 'f': o->frames = optarg; break;
		case 'T': o->truth = optarg; break;
		case 'x': o->explain = parse_frame(program, optarg); break;
		case 'p': o->ports = optarg; break;
		case 't': o->seconds = parse_seconds(program, optarg); break;
		case 'h':
			fputs(help, stdout);
			exit(0);
		case 'V':
			printf("%s %s\n", program, KERF_VERSION);
			exit(0);
		case ':': wrong_usage(program, "value missing behind ", argv[skip + optind - 1]);
		default: wrong_usage(program, "unknown option ", argv[skip + optind - 1]);
		}
	}
	if (optind < argc - skip)
		wrong_usage(program, "unexpected argument ", argv[skip + optind]);
}

int app_fail(const char *program, const struct kerf_err *err, int code)
{
	fprintf(stderr, "%s: %s\n", program, err->text[0] ? err->text : strerror(-code));
	return code == -EINVAL || code == -ERANGE ? 2 : 1;
}
