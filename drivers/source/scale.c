#include "source/scale.h"

#include <libavutil/error.h>
#include <stdlib.h>

/* Chroma at full width, and the same result whatever SIMD the CPU has. */
#define CONVERT_FLAGS                                                                              \
	(SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP)

void kerf_scaler_release(struct scaler *z)
{
	sws_freeContext(z->to_packed);
	av_frame_free(&z->packed);
	kerf_resample_release(&z->x);
	kerf_resample_release(&z->y);
	free(z->scratch);
}

/* A frame with a buffer of this format and size, kept if it is one already. */
static int shape_frame(AVFrame **frame, enum AVPixelFormat format, int width, int height)
{
	if (*frame && (*frame)->format == format && (*frame)->width == width &&
		(*frame)->height == height)
		return 0;
	av_frame_free(frame);
	*frame = av_frame_alloc();
	if (!*frame)
		return AVERROR(ENOMEM);
	(*frame)->format = format;
	(*frame)->width = width;
	(*frame)->height = height;
	return av_frame_get_buffer(*frame, 0);
}

/* JPEG's full-range formats have names of their own, which swscale takes but complains about. */
static enum AVPixelFormat plain_format(enum AVPixelFormat format, bool *full_range)
{
	switch (format) {
	case AV_PIX_FMT_YUVJ420P: *full_range = true; return AV_PIX_FMT_YUV420P;
	case AV_PIX_FMT_YUVJ422P: *full_range = true; return AV_PIX_FMT_YUV422P;
	case AV_PIX_FMT_YUVJ444P: *full_range = true; return AV_PIX_FMT_YUV444P;
	case AV_PIX_FMT_YUVJ440P: *full_range = true; return AV_PIX_FMT_YUV440P;
	case AV_PIX_FMT_YUVJ411P: *full_range = true; return AV_PIX_FMT_YUV411P;
	default: return format;
	}
}

static enum AVPixelFormat packed_format(const struct kerf_source_options *o)
{
	switch (o->channels) {
	case 1: return AV_PIX_FMT_GRAY8;
	case 3: return o->bgr ? AV_PIX_FMT_BGR24 : AV_PIX_FMT_RGB24;
	case 4: return o->bgr ? AV_PIX_FMT_BGRA : AV_PIX_FMT_RGBA;
	}
	return AV_PIX_FMT_NONE;
}

static int convert(struct scaler *z, const AVFrame *picture)
{
	const int unity = 1 << 16;
	bool full_range = picture->color_range == AVCOL_RANGE_JPEG;
	enum AVPixelFormat from = plain_format(picture->format, &full_range);
	enum AVPixelFormat to = packed_format(z->options);
	int rc = shape_frame(&z->packed, to, picture->width, picture->height);

	if (rc < 0)
		return rc;
	z->to_packed = sws_getCachedContext(z->to_packed, picture->width, picture->height, from,
		picture->width, picture->height, to, CONVERT_FLAGS, NULL, NULL, NULL);
	if (!z->to_packed)
		return AVERROR(ENOTSUP);
	const int *matrix = sws_getCoefficients(picture->colorspace);
	/* Says no for formats without a colour matrix, which need none. */
	sws_setColorspaceDetails(z->to_packed, matrix, full_range, matrix, 1, 0, unity, unity);
	rc = sws_scale(z->to_packed, (const uint8_t *const *)picture->data, picture->linesize, 0,
		picture->height, z->packed->data, z->packed->linesize);
	return rc < 0 ? rc : 0;
}

/* Chooses what of the picture becomes the frame. */
static int plan(struct scaler *z, unsigned width, unsigned height)
{
	const struct kerf_source_options *o = z->options;
	double x_side = width, y_side = height;

	if (o->resize == KERF_RESIZE_CROP)
		x_side = y_side = KERF_MIN(width, height) * o->crop;
	double x = (width - x_side) / 2, y = (height - y_side) / 2;
	int rc = kerf_resample_plan(&z->x, width, o->width, x, x + x_side);
	return rc < 0 ? rc : kerf_resample_plan(&z->y, height, o->height, y, y + y_side);
}

static int reserve_scratch(struct scaler *z)
{
	size_t len = kerf_resample_scratch(&z->x, &z->y, z->options->channels);

	if (len <= z->scratch_len)
		return 0;
	free(z->scratch);
	z->scratch = malloc(len * sizeof(*z->scratch));
	z->scratch_len = z->scratch ? len : 0;
	return z->scratch ? 0 : AVERROR(ENOMEM);
}

int kerf_scaler_run(struct scaler *z, const AVFrame *picture, uint8_t *pixels)
{
	int rc = convert(z, picture);

	if (rc == 0)
		rc = plan(z, (unsigned)picture->width, (unsigned)picture->height);
	if (rc == 0)
		rc = reserve_scratch(z);
	if (rc < 0)
		return rc;
	kerf_resample(&z->x, &z->y, z->packed->data[0], z->packed->linesize[0],
		z->options->channels, z->scratch, pixels);
	return 0;
}
