/* Options that say how pixels become inputs, the same in every subcommand that reads pictures. */
#include <math.h>
#include <string.h>

#include "model_run.h"

/* "a" or "a,b,c": one number for all channels, or up to four. */
static bool parse_channels(const char *command, const char *name, const char *text, float *values,
	unsigned *n)
{
	const char *at = text;

	*n = 0;
	for (;;) {
		char one[32];
		double value;
		size_t len = strcspn(at, ",");

		if (*n == RUN_MAX_CHANNELS || len >= sizeof(one))
			break;
		memcpy(one, at, len);
		one[len] = '\0';
		if (kerf_parse_double(one, &value) < 0 || !isfinite((float)value))
			break;
		values[(*n)++] = (float)value;
		if (!at[len])
			return true;
		at += len + 1;
	}
	model_usage(command, "%s %s: one to four numbers with commas between expected", name, text);
	return false;
}

static bool parse_std(const char *command, const char *text, struct run_options *o)
{
	if (!parse_channels(command, "--std", text, o->std, &o->n_std))
		return false;
	for (unsigned i = 0; i < o->n_std; i++)
		if (!(o->std[i] > 0) || !isfinite(1 / o->std[i])) {
			model_usage(command, "--std %s: positive numbers expected", text);
			return false;
		}
	return true;
}

static bool parse_resize(const char *command, const char *text, struct run_options *o)
{
	o->resize = strcmp(text, "stretch") == 0 ? KERF_RESIZE_STRETCH : KERF_RESIZE_CROP;
	o->crop = 0; /* the source's default */
	if (o->resize == KERF_RESIZE_STRETCH || strcmp(text, "crop") == 0)
		return true;
	if (strncmp(text, "crop:", 5) == 0 && kerf_parse_double(text + 5, &o->crop) == 0 &&
		o->crop > 0 && o->crop <= 1)
		return true;
	model_usage(command, "--resize %s: stretch, crop or crop:F with 0 < F <= 1 expected", text);
	return false;
}

static bool parse_order(const char *command, const char *text, struct run_options *o)
{
	o->bgr = strcmp(text, "bgr") == 0;
	if (o->bgr || strcmp(text, "rgb") == 0)
		return true;
	model_usage(command, "--channels %s: rgb or bgr expected", text);
	return false;
}

bool run_pixel_option(const char *command, int c, const char *value, struct run_options *o)
{
	switch (c) {
	case RUN_OPT_MEAN: return parse_channels(command, "--mean", value, o->mean, &o->n_mean);
	case RUN_OPT_STD: return parse_std(command, value, o);
	case RUN_OPT_CHANNELS: return parse_order(command, value, o);
	case RUN_OPT_RESIZE: return parse_resize(command, value, o);
	default: return false; /* getopt has said why */
	}
}
