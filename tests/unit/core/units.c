#include "core/core.h"
#include "unit.h"

static void test_size(void)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t bytes;
	} cases[] = {
		{"0", 0, 0}, {"1500", 0, 1500}, {"2K", 0, 2000}, {"2Ki", 0, 2048},
		{"1.5M", 0, 1500000}, {"1.5Ki", 0, 1536}, {"3G", 0, 3000000000},
		{"1Ti", 0, 1ull << 40}, {"2T", 0, 2000000000000}, {"64KiB", 0, 65536},
		{"18446744073709551615", 0, UINT64_MAX}, {"18446744073709551616", -ERANGE, 0},
		{"18446744073709551615K", -ERANGE, 0}, {"99999999999999999999999", -ERANGE, 0},
		{"", -EINVAL, 0}, {"K", -EINVAL, 0}, {"-1", -EINVAL, 0}, {"+1", -EINVAL, 0},
		{" 1", -EINVAL, 0}, {"1 ", -EINVAL, 0}, {"1k", -EINVAL, 0}, {"1Kx", -EINVAL, 0},
		{"0x10", -EINVAL, 0}, {"1.", -EINVAL, 0}, {".", -EINVAL, 0}, {"1.2.3", -EINVAL, 0},
		{"0.5", -EINVAL, 0}, {"1.0001K", -EINVAL, 0}, {"1i", -EINVAL, 0},
		{"1e3", -EINVAL, 0},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		uint64_t bytes = 0;
		CU_ASSERT_EQUAL(kerf_parse_size(cases[i].text, &bytes), cases[i].rc);
		CU_ASSERT_EQUAL(bytes, cases[i].bytes);
	}
}

static void test_rate(void)
{
	static const struct {
		const char *text;
		int rc;
		double bps;
	} cases[] = {
		{"0", 0, 0}, {"9600", 0, 9600}, {"200M", 0, 200e6}, {"1.5G", 0, 1.5e9},
		{"50Mbit/s", 0, 50e6}, {"64Kbps", 0, 64e3}, {"100bit/s", 0, 100}, {"0.1", 0, 0.1},
		{"1Mi", -EINVAL, 0}, {"fast", -EINVAL, 0}, {"-5M", -EINVAL, 0}, {"5MB", -EINVAL, 0},
		{"5M bit/s", -EINVAL, 0}, {"nan", -EINVAL, 0}, {"1e6", -EINVAL, 0},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		double bps = 0;
		CU_ASSERT_EQUAL(kerf_parse_rate(cases[i].text, &bps), cases[i].rc);
		CU_ASSERT_EQUAL(bps, cases[i].bps);
	}
}

static void test_time(void)
{
	static const struct {
		const char *text;
		int rc;
		uint64_t ns;
	} cases[] = {
		{"0", 0, 0}, {"0ms", 0, 0}, {"100ns", 0, 100}, {"2us", 0, 2000},
		{"10ms", 0, 10000000}, {"1.5s", 0, 1500000000}, {"0.000000001s", 0, 1},
		{"3600s", 0, 3600000000000}, {"10", -EINVAL, 0}, {"10 ms", -EINVAL, 0},
		{"0.1ns", -EINVAL, 0}, {"1m", -EINVAL, 0}, {"1sec", -EINVAL, 0}, {"s", -EINVAL, 0},
		{"-1ms", -EINVAL, 0}, {"18446744074s", -ERANGE, 0},
		{"0.0000000000000000001s", -ERANGE, 0},
	};

	for (size_t i = 0; i < KERF_ARRAY_LEN(cases); i++) {
		uint64_t ns = 0;
		CU_ASSERT_EQUAL(kerf_parse_time(cases[i].text, &ns), cases[i].rc);
		CU_ASSERT_EQUAL(ns, cases[i].ns);
	}
}

static void test_numbers(void)
{
	uint64_t u;
	double d;

	CU_ASSERT(kerf_parse_u64("18446744073709551615", &u) == 0 && u == UINT64_MAX);
	CU_ASSERT_EQUAL(kerf_parse_u64("18446744073709551616", &u), -ERANGE);
	CU_ASSERT_EQUAL(kerf_parse_u64("1.0", &u), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_u64("", &u), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_u64("12a", &u), -EINVAL);
	CU_ASSERT(kerf_parse_double("-2.5e-3", &d) == 0 && d == -2.5e-3);
	CU_ASSERT(kerf_parse_double("7", &d) == 0 && d == 7);
	CU_ASSERT_EQUAL(kerf_parse_double("1e999", &d), -ERANGE);
	CU_ASSERT_EQUAL(kerf_parse_double("nan", &d), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_double("inf", &d), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_double("0x1p3", &d), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_double(" 1", &d), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_double("1-", &d), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_double("e", &d), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_double("", &d), -EINVAL);
}

static void test_bool_and_ipv4(void)
{
	bool b = false;
	uint32_t a = 0;

	CU_ASSERT(kerf_parse_bool("yes", &b) == 0 && b);
	CU_ASSERT(kerf_parse_bool("off", &b) == 0 && !b);
	CU_ASSERT(kerf_parse_bool("TRUE", &b) == 0 && b);
	CU_ASSERT(kerf_parse_bool("0", &b) == 0 && !b);
	CU_ASSERT_EQUAL(kerf_parse_bool("2", &b), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_bool("", &b), -EINVAL);
	CU_ASSERT(kerf_parse_ipv4("10.0.0.1", &a) == 0 && a == 0x0a000001);
	CU_ASSERT(kerf_parse_ipv4("255.255.255.255", &a) == 0 && a == UINT32_MAX);
	CU_ASSERT_EQUAL(kerf_parse_ipv4("10.0.0", &a), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_ipv4("10.0.0.256", &a), -EINVAL);
	CU_ASSERT_EQUAL(kerf_parse_ipv4("10.0.0.1 ", &a), -EINVAL);
}

static void test_format(void)
{
	char buf[32];

	CU_ASSERT_STRING_EQUAL(kerf_format_rate(200e6, buf, sizeof(buf)), "200.0M");
	CU_ASSERT_STRING_EQUAL(kerf_format_rate(0, buf, sizeof(buf)), "0");
	CU_ASSERT_STRING_EQUAL(kerf_format_rate(999960, buf, sizeof(buf)), "1.0M");
	CU_ASSERT_STRING_EQUAL(kerf_format_rate(5e15, buf, sizeof(buf)), "5000.0T");
	CU_ASSERT_STRING_EQUAL(kerf_format_time(1234567, buf, sizeof(buf)), "1.23 ms");
	CU_ASSERT_STRING_EQUAL(kerf_format_time(999600, buf, sizeof(buf)), "1.00 ms");
	CU_ASSERT_STRING_EQUAL(kerf_format_time(9996e3, buf, sizeof(buf)), "10.0 ms");
	CU_ASSERT_STRING_EQUAL(kerf_format_time(99960, buf, sizeof(buf)), "100 us");
	CU_ASSERT_STRING_EQUAL(kerf_format_time(999, buf, sizeof(buf)), "999 ns");
	CU_ASSERT_STRING_EQUAL(kerf_format_time(-2500, buf, sizeof(buf)), "-2.50 us");
	CU_ASSERT_STRING_EQUAL(kerf_format_time(12e12, buf, sizeof(buf)), "12000 s");
	CU_ASSERT_STRING_EQUAL(kerf_format_size(62720, buf, sizeof(buf)), "62.7 KB");
	CU_ASSERT_STRING_EQUAL(kerf_format_size(512, buf, sizeof(buf)), "512 B");
	CU_ASSERT_STRING_EQUAL(kerf_format_size(62720, buf, 5), "62.7");
}

UNIT_MAIN("core.units", UNIT(test_size), UNIT(test_rate), UNIT(test_time), UNIT(test_numbers),
	UNIT(test_bool_and_ipv4), UNIT(test_format))
