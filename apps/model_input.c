#include <stdlib.h>
#include <string.h>

#include "model_run.h"

/* ImageNet's mean and deviation of red, green and blue: torchvision's defaults times 255. */
static const float imagenet_mean[3] = {123.675f, 116.28f, 103.53f};
static const float imagenet_std[3] = {58.395f, 57.12f, 57.375f};

/* `given` holds one number for all channels or one each, in the network's channel order. */
static int channel_values(float *values, unsigned channels, const float *given, unsigned n_given,
	const float *preset, bool bgr, const char *option, struct kerf_err *err)
{
	if (n_given == 0 && channels != 3)
		return kerf_err_set(err, -EINVAL,
			"pictures of %u channels have no usual %s: give it", channels, option);
	if (n_given > 1 && n_given != channels)
		return kerf_err_set(err, -EINVAL, "%s has %u numbers, 1 or %u expected", option,
			n_given, channels);
	for (unsigned c = 0; c < channels; c++)
		if (n_given == 0)
			values[c] = preset[bgr ? 2 - c : c];
		else
			values[c] = given[n_given == 1 ? 0 : c];
	return 0;
}

static int make_pixel_format(struct kerf_pixel_format *f, const struct run_options *o,
	unsigned channels, struct kerf_err *err)
{
	float mean[RUN_MAX_CHANNELS], std[RUN_MAX_CHANNELS];

	if (channel_values(
		    mean, channels, o->mean, o->n_mean, imagenet_mean, o->bgr, "--mean", err) < 0 ||
		channel_values(
			std, channels, o->std, o->n_std, imagenet_std, o->bgr, "--std", err) < 0)
		return -EINVAL;
	f->channels = channels;
	for (unsigned c = 0; c < channels; c++) {
		f->scale[c] = 1 / std[c];
		f->bias[c] = -mean[c] / std[c];
	}
	return 0;
}

static int check_network(const struct kerf_graph *g, struct kerf_err *err)
{
	const struct kerf_tensor *t = &g->tensors[g->input];
	char shape[128];

	if (t->n_dims != 4)
		return kerf_err_set(err, -EINVAL,
			"%s: input %s is %s, kerf-model run feeds inputs of four dimensions",
			g->name, t->name, model_shape_text(t, shape, sizeof(shape)));
	for (int i = 0; i < 4; i++)
		if (t->dims[i] > UINT32_MAX)
			return kerf_err_set(err, -EINVAL, "%s: input %s is too large: %s", g->name,
				t->name, model_shape_text(t, shape, sizeof(shape)));
	return 0;
}

static int open_source(struct run_inputs *in, const char *path, const struct run_options *o,
	const struct kerf_tensor *t, struct kerf_err *err)
{
	const struct kerf_source_options options = {
		.path = path,
		.width = (unsigned)t->dims[3],
		.height = (unsigned)t->dims[2],
		.channels = (unsigned)t->dims[1],
		.resize = o->resize,
		.crop = o->crop,
		.bgr = o->bgr,
	};
	struct kerf_source *s = kerf_source_open(&options, err);

	if (!s)
		return -EINVAL;
	in->sources[in->n_sources++] = s;
	in->n_frames += kerf_source_count(s);
	if (kerf_source_warning(s))
		fprintf(stderr, "kerf-model run: warning: %s\n", kerf_source_warning(s));
	return 0;
}

static int list_frames(struct run_inputs *in, struct kerf_err *err)
{
	unsigned n = 0;

	in->frames = calloc(in->n_frames, sizeof(*in->frames));
	if (!in->frames)
		return kerf_err_set(err, -ENOMEM, "no memory for %u frames", in->n_frames);
	for (unsigned i = 0; i < in->n_sources; i++)
		for (unsigned j = 0; j < kerf_source_count(in->sources[i]); j++)
			in->frames[n++] = kerf_source_frame(in->sources[i], j);
	return 0;
}

static bool any_pixels(const struct run_inputs *in)
{
	for (unsigned i = 0; i < in->n_frames; i++)
		if (in->frames[i]->pixels)
			return true;
	return false;
}

int run_inputs_open(struct run_inputs *in, const struct run_options *o, const struct kerf_graph *g,
	struct kerf_err *err)
{
	const struct kerf_tensor *t = &g->tensors[g->input];
	int rc = check_network(g, err);

	*in = (struct run_inputs){0};
	if (rc < 0)
		return rc;
	in->batch = (unsigned)t->dims[0];
	in->frame_values = (size_t)(kerf_tensor_elements(t) / t->dims[0]);
	for (unsigned i = 0; i < o->n_inputs && rc == 0; i++)
		rc = open_source(in, o->inputs[i], o, t, err);
	if (rc == 0)
		rc = list_frames(in, err);
	if (rc == 0 && any_pixels(in))
		rc = make_pixel_format(&in->pixels, o, (unsigned)t->dims[1], err);
	if (rc < 0)
		run_inputs_close(in);
	return rc;
}

void run_inputs_close(struct run_inputs *in)
{
	for (unsigned i = 0; i < in->n_sources; i++)
		kerf_source_close(in->sources[i]);
	free(in->frames);
	*in = (struct run_inputs){0};
}

unsigned run_inputs_batches(const struct run_inputs *in)
{
	return in->n_frames / in->batch + (in->n_frames % in->batch != 0);
}

const struct kerf_frame_data *run_inputs_frame(
	const struct run_inputs *in, unsigned batch, unsigned row)
{
	size_t i = (size_t)batch * in->batch + row;

	return in->frames[KERF_MIN(i, (size_t)in->n_frames - 1)];
}

void run_inputs_fill(const struct run_inputs *in, unsigned batch, float *values)
{
	for (unsigned row = 0; row < in->batch; row++) {
		const struct kerf_frame_data *f = run_inputs_frame(in, batch, row);
		float *dst = values + row * in->frame_values;

		if (f->pixels)
			kerf_pixels_to_f32(&in->pixels, f->pixels, 0, in->frame_values, dst);
		else
			memcpy(dst, f->values, in->frame_values * sizeof(*dst));
	}
}
