#include "core/core.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* digits[.digits] as mantissa / 10^places, exactly and whatever the locale. */
struct decimal {
	uint64_t mantissa;
	unsigned places;
};

#define MAX_PLACES 18

static uint64_t power_of_10(unsigned n)
{
	uint64_t p = 1;

	while (n--)
		p *= 10;
	return p;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads the number at the start of text; *end is what follows. 0, -EINVAL or -ERANGE. */
static int scan_decimal(const char *text, struct decimal *d, const char **end)
{
	bool in_fraction = false;
	unsigned digits = 0;

	*d = (struct decimal){0};
	for (; is_digit(*text) || (*text == '.' && !in_fraction); text++) {
		if (*text == '.') {
			in_fraction = true;
			continue;
		}
		if (__builtin_mul_overflow(d->mantissa, 10, &d->mantissa) ||
			__builtin_add_overflow(d->mantissa, *text - '0', &d->mantissa))
			return -ERANGE;
		digits++;
		d->places += in_fraction;
	}
	if (!digits || text[-1] == '.')
		return -EINVAL;
	*end = text;
	return d->places > MAX_PLACES ? -ERANGE : 0;
}

/* value = d * unit, which must be a whole number: half a byte is a mistake, not a rounding. */
static int to_whole(const struct decimal *d, uint64_t unit, uint64_t *value)
{
	unsigned __int128 product = (unsigned __int128)d->mantissa * unit;
	uint64_t divisor = power_of_10(d->places);

	if (product % divisor)
		return -EINVAL;
	product /= divisor;
	if (product > UINT64_MAX)
		return -ERANGE;
	*value = (uint64_t)product;
	return 0;
}

/* Factor of a size suffix at *text, which moves behind it; 1 when there is none. */
static uint64_t scan_prefix(const char **text, bool binary_allowed)
{
	static const char letters[] = "KMGT";
	const char *letter = **text ? strchr(letters, **text) : NULL;
	uint64_t factor = 1;

	if (!letter)
		return 1;
	(*text)++;
	bool binary = binary_allowed && **text == 'i';
	if (binary)
		(*text)++;
	for (long i = 0; i <= letter - letters; i++)
		factor *= binary ? 1024 : 1000;
	return factor;
}

int kerf_parse_size(const char *text, uint64_t *bytes)
{
	struct decimal d;
	const char *end;
	int rc = scan_decimal(text, &d, &end);

	if (rc < 0)
		return rc;
	uint64_t unit = scan_prefix(&end, true);
	if (*end == 'B')
		end++;
	return *end ? -EINVAL : to_whole(&d, unit, bytes);
}

int kerf_parse_rate(const char *text, double *bps)
{
	struct decimal d;
	const char *end;
	int rc = scan_decimal(text, &d, &end);

	if (rc < 0)
		return rc;
	double unit = (double)scan_prefix(&end, false);
	if (*end && strcmp(end, "bit/s") && strcmp(end, "bps"))
		return -EINVAL;
	*bps = (double)d.mantissa * unit / (double)power_of_10(d.places);
	return 0;
}

int kerf_parse_time(const char *text, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", KERF_NS_PER_S}};
	struct decimal d;
	const char *end;
	int rc = scan_decimal(text, &d, &end);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < KERF_ARRAY_LEN(units); i++)
		if (!strcmp(end, units[i].name))
			return to_whole(&d, units[i].ns, ns);
	if (*end || d.mantissa)
		return -EINVAL;
	*ns = 0;
	return 0;
}

int kerf_parse_u64(const char *text, uint64_t *value)
{
	struct decimal d;
	const char *end;
	int rc = scan_decimal(text, &d, &end);

	if (rc < 0)
		return rc;
	if (*end || d.places)
		return -EINVAL;
	*value = d.mantissa;
	return 0;
}

int kerf_parse_double(const char *text, double *value)
{
	size_t len = strlen(text);
	char *end;

	/* strtod alone would take blanks, "nan", "inf" and hexadecimal as well. */
	if (!len || strspn(text, "0123456789.eE+-") != len)
		return -EINVAL;
	double parsed = strtod(text, &end);
	if (*end || end == text)
		return -EINVAL;
	if (!isfinite(parsed))
		return -ERANGE;
	*value = parsed;
	return 0;
}

int kerf_parse_bool(const char *text, bool *value)
{
	/* Even places are true. */
	static const char *const words[] = {"yes", "no", "true", "false", "on", "off", "1", "0"};

	for (size_t i = 0; i < KERF_ARRAY_LEN(words); i++)
		if (!strcasecmp(text, words[i])) {
			*value = i % 2 == 0;
			return 0;
		}
	return -EINVAL;
}

int kerf_parse_ipv4(const char *text, uint32_t *addr)
{
	struct in_addr in;

	if (inet_pton(AF_INET, text, &in) != 1)
		return -EINVAL;
	*addr = ntohl(in.s_addr);
	return 0;
}

/* Divides *value until it prints below 1000: `limit` is where rounding would carry to 1000. */
static unsigned pick_unit(double *value, double limit, unsigned n_units)
{
	unsigned unit = 0;

	while (fabs(*value) >= limit && unit + 1 < n_units) {
		*value /= 1000;
		unit++;
	}
	return unit;
}

const char *kerf_format_rate(double bps, char *buf, size_t len)
{
	static const char *const units[] = {"", "K", "M", "G", "T"};
	unsigned unit = pick_unit(&bps, 999.95, KERF_ARRAY_LEN(units));

	snprintf(buf, len, "%.*f%s", unit ? 1 : 0, bps, units[unit]);
	return buf;
}

const char *kerf_format_time(double ns, char *buf, size_t len)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	unsigned unit = pick_unit(&ns, 999.5, KERF_ARRAY_LEN(units));
	double size = fabs(ns);

	/* Three digits; a time is never measured finer than 1 ns. */
	int places = unit == 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
	snprintf(buf, len, "%.*f %s", places, ns, units[unit]);
	return buf;
}

const char *kerf_format_size(double bytes, char *buf, size_t len)
{
	static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
	unsigned unit = pick_unit(&bytes, 999.95, KERF_ARRAY_LEN(units));

	snprintf(buf, len, "%.*f %s", unit ? 1 : 0, bytes, units[unit]);
	return buf;
}
