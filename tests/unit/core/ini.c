#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/core.h"
#include "unit.h"

struct settings {
	char input[KERF_INI_TEXT_LEN];
	uint64_t queue_bytes, delay_ns, frames;
	double rate_bps, gain;
	bool hedge;
	uint32_t address;
	int mode;
	double untouched;
};

#define AT(field) offsetof(struct settings, field)

static const struct kerf_ini_key keys[] = {
	{"source", "input", KERF_INI_TEXT, AT(input), "synthetic"},
	{"source", "frames", KERF_INI_COUNT, AT(frames), "100", NULL, 1, 1e6},
	{"link", "rate", KERF_INI_RATE, AT(rate_bps), "200M", NULL, 0, 1e12},
	{"link", "delay", KERF_INI_TIME, AT(delay_ns), "1ms"},
	{"link", "queue", KERF_INI_SIZE, AT(queue_bytes), "64Ki"},
	{"policy", "mode", KERF_INI_ENUM, AT(mode), "dynamic", "dynamic|fixed|local|offload"},
	{"policy", "gain", KERF_INI_REAL, AT(gain), "1.25", NULL, 0.5, 4},
	{"policy", "hedge", KERF_INI_BOOL, AT(hedge), "yes"},
	{"link", "address", KERF_INI_IPV4, AT(address), "10.0.0.2"},
	{"link", "untouched", KERF_INI_REAL, AT(untouched), NULL},
	{"link.up", "frames", KERF_INI_COUNT, AT(frames), "100"},
};

static struct settings s;
static struct kerf_err err;

static int load_path(const char *path, const char *const *overrides, unsigned n)
{
	memset(&s, 0, sizeof(s));
	s.untouched = 7;
	err = (struct kerf_err){0};
	return kerf_ini_load(path, overrides, n, keys, KERF_ARRAY_LEN(keys), &s, &err);
}

/* Loads len bytes as a file. What it is called is cut out of err, to leave ":line: ...". */
static int load_bytes(const char *text, size_t len)
{
	char path[] = "/tmp/kerf-ini-XXXXXX";
	int fd = mkstemp(path);

	CU_ASSERT_FATAL(fd >= 0);
	CU_ASSERT_FATAL(write(fd, text, len) == (ssize_t)len);
	close(fd);
	int rc = load_path(path, NULL, 0);
	unlink(path);
	if (!strncmp(err.text, path, strlen(path)))
		memmove(err.text, err.text + strlen(path), strlen(err.text + strlen(path)) + 1);
	return rc;
}

static int load_text(const char *text)
{
	return load_bytes(text, strlen(text));
}

static void expect_refused(const char *text, const char *message)
{
	CU_ASSERT(load_text(text) < 0);
	CU_ASSERT_STRING_EQUAL(err.text, message);
	if (strcmp(err.text, message))
		printf("\n  found    %s\n  expected %s\n", err.text, message);
}

static void test_presets(void)
{
	CU_ASSERT_EQUAL(load_path(NULL, NULL, 0), 0);
	CU_ASSERT_STRING_EQUAL(s.input, "synthetic");
	CU_ASSERT_EQUAL(s.frames, 100);
	CU_ASSERT_EQUAL(s.rate_bps, 200e6);
	CU_ASSERT_EQUAL(s.delay_ns, 1000000);
	CU_ASSERT_EQUAL(s.queue_bytes, 65536);
	CU_ASSERT_EQUAL(s.mode, 0);
	CU_ASSERT_EQUAL(s.gain, 1.25);
	CU_ASSERT_TRUE(s.hedge);
	CU_ASSERT_EQUAL(s.address, 0x0a000002);
	CU_ASSERT_EQUAL(s.untouched, 7);
}

static void test_file_over_presets(void)
{
	CU_ASSERT_EQUAL(load_text("# a comment = with an equals sign\n"
				  "[link]\n"
				  "rate = 5M   # trailing\n"
				  "  delay=20ms\n\n"
				  "address = 192.168.1.9\n"
				  "[policy]\n"
				  "mode = offload\n"
				  "hedge = off\n"
				  "[source]\n"
				  "input = a b.png"), /* no newline at the end */
		0);
	CU_ASSERT_EQUAL(s.rate_bps, 5e6);
	CU_ASSERT_EQUAL(s.delay_ns, 20000000);
	CU_ASSERT_EQUAL(s.address, 0xc0a80109);
	CU_ASSERT_EQUAL(s.mode, 3);
	CU_ASSERT_FALSE(s.hedge);
	CU_ASSERT_STRING_EQUAL(s.input, "a b.png");
	CU_ASSERT_EQUAL(s.frames, 100);
}

static void test_harmless_files(void)
{
	CU_ASSERT_EQUAL(load_text(""), 0);
	CU_ASSERT_EQUAL(load_text("\n\n# nothing\n"), 0);
	CU_ASSERT_EQUAL(load_text("[link]\r\nrate = 5M\r\n"), 0);
	CU_ASSERT_EQUAL(s.rate_bps, 5e6);
	CU_ASSERT_EQUAL(load_text("[source]\ninput = \n"), 0);
	CU_ASSERT_STRING_EQUAL(s.input, "");
	CU_ASSERT_EQUAL(load_text("[source]\ninput = a\\#b=c\n"), 0);
	CU_ASSERT_STRING_EQUAL(s.input, "a#b=c");
}

static void test_unknown_names(void)
{
	expect_refused("\n[lnik]\n", ":2: unknown section [lnik]; did you mean link?");
	expect_refused("[camera]\n",
		":1: unknown section [camera]; known are source link policy link.up");
	expect_refused("[link]\nrat = 5M\n", ":2: unknown key rat in [link]; did you mean rate?");
	expect_refused("[policy]\nlink = 5\n",
		":2: unknown key link in [policy]; known are mode gain hedge");
	/* A key of another section is unknown here. */
	expect_refused("[link]\nmode = local\n",
		":2: unknown key mode in [link]; known are rate delay queue address untouched");
}

static void test_what_rte_cfgfile_would_pass_over(void)
{
	expect_refused("[link]\nrate 5M\n",
		":2: found \"rate 5M\", expected [section] or key = value");
	expect_refused("rate = 5M\n", ":1: key = value before the first [section]");
	expect_refused("[link]\nrate = 5M\n\nrate = 6M\n",
		":4: [link] rate again, first in line 2");
	expect_refused("[link]\n[policy]\n[link]\n", ":3: section [link] again, first in line 1");
	expect_refused("[link\nrate = 5M\n", ":1: '[' without ']', expected [section]");
	expect_refused("[link] rate = 5M\n",
		":1: text after ']', expected [section] alone on its line");
	expect_refused("[ ]\n", ":1: empty section name");
	expect_refused("[link]\n= 5M\n", ":2: no key before '='");
}

static void test_too_long(void)
{
	char text[600], name[300];

	memset(name, 'n', sizeof(name));
	snprintf(text, sizeof(text), "[link]\n%.64s = 1\n", name);
	expect_refused(text, ":2: key is longer than 63 characters");
	snprintf(text, sizeof(text), "[%.64s]\n", name);
	expect_refused(text, ":1: section name is longer than 63 characters");
	snprintf(text, sizeof(text), "[source]\ninput = %.256s\n", name);
	expect_refused(text, ":2: value is longer than 255 characters");
	snprintf(text, sizeof(text), "[source]\ninput = %.255s\n", name);
	CU_ASSERT_EQUAL(load_text(text), 0);
	CU_ASSERT_EQUAL(strlen(s.input), 255);
	/* A line of 322 characters is the longest that rte_cfgfile reads. */
	snprintf(text, sizeof(text), "[link]\nrate = 5M # %.290s%.20s", name, name);
	CU_ASSERT_EQUAL(strlen(text), 7 + 322);
	CU_ASSERT_EQUAL(load_text(text), 0);
	strcat(text, "\n");
	CU_ASSERT_EQUAL(load_text(text), 0);
	CU_ASSERT_EQUAL(s.rate_bps, 5e6);
	snprintf(text, sizeof(text), "[link]\nrate = 5M # %.290s%.21s", name, name);
	expect_refused(text, ":2: line is longer than 322 characters");
}

static void test_binary(void)
{
	CU_ASSERT_EQUAL(load_bytes("[link]\nra\0te = 5M\n", 17), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.text, ":2: binary data, expected an ini file");
}

static void test_bad_values(void)
{
	expect_refused("[link]\n\nrate = fast\n",
		":3: [link] rate = \"fast\": expected a rate in bit/s such as 9600, 50M or 1.5G, "
		"from 0 to 1.0T");
	expect_refused("[link]\ndelay = 10\n",
		":2: [link] delay = \"10\": expected a time with its unit such as 100ns, 2us, "
		"10ms or 1.5s");
	expect_refused("[policy]\nmode = dyn\n",
		":2: [policy] mode = \"dyn\": expected dynamic|fixed|local|offload");
	expect_refused("[policy]\nmode = \n",
		":2: [policy] mode = \"\": expected dynamic|fixed|local|offload");
	expect_refused("[policy]\nmode = fixed|local\n",
		":2: [policy] mode = \"fixed|local\": expected dynamic|fixed|local|offload");
	expect_refused("[policy]\ngain = 4.5\n",
		":2: [policy] gain = \"4.5\": expected a number, from 0.5 to 4");
	expect_refused("[source]\nframes = 0\n",
		":2: [source] frames = \"0\": expected a whole number, from 1 to 1000000");
	expect_refused("[policy]\nhedge = maybe\n",
		":2: [policy] hedge = \"maybe\": expected yes or no");
}

static void test_overrides(void)
{
	static const char *const good[] = {"link.rate=1M", "source.input=a.b=c", "link.rate=2M",
		"link.up.frames=7"};
	static const struct {
		const char *text, *message;
	} bad[] = {
		{"link.rate", "-s link.rate: expected section.key=value"},
		{"rate=5M", "-s rate=5M: expected section.key=value"},
		{"=5", "-s =5: expected section.key=value"},
		{"", "-s : expected section.key=value"},
		{"link.rate=x", "-s link.rate=x: expected a rate in bit/s such as 9600, 50M or "
				"1.5G, from 0 to 1.0T"},
		{"linc.rate=1", "-s linc.rate=1: unknown section linc; did you mean link?"},
		{"policy.modes=1", "-s policy.modes=1: unknown key modes in [policy]; did you "
				   "mean mode?"},
	};

	CU_ASSERT_EQUAL(load_path(NULL, good, KERF_ARRAY_LEN(good)), 0);
	CU_ASSERT_EQUAL(s.rate_bps, 2e6);
	CU_ASSERT_STRING_EQUAL(s.input, "a.b=c");
	CU_ASSERT_EQUAL(s.frames, 7);
	for (size_t i = 0; i < KERF_ARRAY_LEN(bad); i++) {
		CU_ASSERT(load_path(NULL, &bad[i].text, 1) < 0);
		CU_ASSERT_STRING_EQUAL(err.text, bad[i].message);
	}
}

static void test_not_a_file(void)
{
	CU_ASSERT_EQUAL(load_path("/tmp", NULL, 0), -EINVAL);
	CU_ASSERT_STRING_EQUAL(err.text, "/tmp: found a directory, expected an ini file");
	CU_ASSERT_EQUAL(load_path("/nonexistent/kerf.ini", NULL, 0), -ENOENT);
	CU_ASSERT_STRING_EQUAL(err.text, "/nonexistent/kerf.ini: No such file or directory");
}

UNIT_MAIN("core.ini", UNIT(test_presets), UNIT(test_file_over_presets), UNIT(test_harmless_files),
	UNIT(test_unknown_names), UNIT(test_what_rte_cfgfile_would_pass_over), UNIT(test_too_long),
	UNIT(test_binary), UNIT(test_bad_values), UNIT(test_overrides), UNIT(test_not_a_file))
