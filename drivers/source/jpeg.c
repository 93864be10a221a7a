#include <stdlib.h>
#include <string.h>

#include "source/decoder.h"
#include "source/scale.h"

/* 8192 x 8192: a header of a few bytes must not make the decoder ask for gigabytes. */
#define MAX_PIXELS "67108864"

struct kerf_jpeg {
	struct kerf_source_options options;
	AVCodecContext *codec;
	AVPacket *packet;
	AVFrame *frame;
	struct scaler scaler;
};

int kerf_decoder_open(AVCodecContext *c, const AVCodec *decoder, bool is_picture)
{
	AVDictionary *options = NULL;
	int rc;

	c->thread_count = 1;
	c->flags |= AV_CODEC_FLAG_BITEXACT; /* the same pixels on every CPU */
	if (is_picture) /* half a picture is no picture; a video's frame is marked */
		c->err_recognition = AV_EF_CRCCHECK | AV_EF_BUFFER | AV_EF_EXPLODE;
	rc = av_dict_set(&options, "max_pixels", MAX_PIXELS, 0);
	if (rc >= 0)
		rc = avcodec_open2(c, decoder, &options);
	av_dict_free(&options);
	return rc;
}

struct kerf_jpeg *kerf_jpeg_open(const struct kerf_source_options *options, struct kerf_err *err)
{
	const AVCodec *decoder = avcodec_find_decoder(AV_CODEC_ID_MJPEG);
	struct kerf_jpeg *j = calloc(1, sizeof(*j));

	if (!decoder) {
		kerf_err_set(err, -ENOTSUP, "this FFmpeg has no decoder for JPEG");
		goto fail;
	}
	av_log_set_level(AV_LOG_QUIET);
	if (j) {
		j->options = *options;
		if (j->options.crop == 0)
			j->options.crop = KERF_SOURCE_DEFAULT_CROP;
		j->scaler.options = &j->options;
		j->codec = avcodec_alloc_context3(decoder);
		j->packet = av_packet_alloc();
		j->frame = av_frame_alloc();
	}
	if (j && j->codec && j->packet && j->frame && kerf_decoder_open(j->codec, decoder, true) >= 0)
		return j;
	kerf_err_set(err, -ENOMEM, "no memory for a JPEG decoder");
fail:
	kerf_jpeg_close(j);
	return NULL;
}

void kerf_jpeg_close(struct kerf_jpeg *j)
{
	if (!j)
		return;
	kerf_scaler_release(&j->scaler);
	av_frame_free(&j->frame);
	av_packet_free(&j->packet);
	avcodec_free_context(&j->codec);
	free(j);
}

static int decode(struct kerf_jpeg *j, const uint8_t *jpeg, size_t n, uint8_t *pixels)
{
	int rc;

	if (n == 0 || n > INT32_MAX)
		return AVERROR_INVALIDDATA;
	/* Not reference-counted: the decoder copies it, with the padding that it wants. */
	j->packet->data = (uint8_t *)(uintptr_t)jpeg;
	j->packet->size = (int)n;
	rc = avcodec_send_packet(j->codec, j->packet);
	j->packet->data = NULL;
	j->packet->size = 0;
	if (rc >= 0)
		rc = avcodec_receive_frame(j->codec, j->frame);
	if (rc >= 0 && (j->frame->flags & AV_FRAME_FLAG_CORRUPT || j->frame->decode_error_flags))
		rc = AVERROR_INVALIDDATA;
	if (rc >= 0)
		rc = kerf_scaler_run(&j->scaler, j->frame, pixels);
	av_frame_unref(j->frame);
	return rc;
}

int kerf_jpeg_decode(struct kerf_jpeg *j, const uint8_t *jpeg, size_t n, uint8_t *pixels)
{
	if (decode(j, jpeg, n, pixels) >= 0)
		return 0;
	avcodec_flush_buffers(j->codec);
	return -EBADMSG;
}

/* FNV-1a over what decides the pixels. */
uint64_t kerf_jpeg_key(const struct kerf_source_options *o)
{
	const double crop = o->resize == KERF_RESIZE_CROP ? (o->crop > 0 ? o->crop : KERF_SOURCE_DEFAULT_CROP) : 0;
	const uint64_t values[] = {avcodec_version(), swscale_version(), o->width, o->height, o->channels,
		(uint64_t)o->resize, o->bgr, (uint64_t)(1e9 * crop)};
	uint64_t h = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < KERF_ARRAY_LEN(values); i++)
		for (unsigned shift = 0; shift < 64; shift += 8)
			h = (h ^ (values[i] >> shift & 0xff)) * 0x100000001b3ull;
	return h ? h : 1;
}
