/*
 * media: JPEG pictures for the source tests, encoded on the spot (FFmpeg's mjpeg encoder).
 *
 * Planes are given as they are stored, full range, so a test knows what a decoder must make of
 * them. JPEGs one after the other are a motion JPEG video.
 */
#pragma once

#include <libavcodec/avcodec.h>

#include "unit.h"

/* A 4:2:0 frame whose planes are flat. */
static inline AVFrame *media_flat(int width, int height, uint8_t y, uint8_t u, uint8_t v)
{
	const uint8_t levels[3] = {y, u, v};
	AVFrame *frame = av_frame_alloc();

	CU_ASSERT_PTR_NOT_NULL_FATAL(frame);
	frame->format = AV_PIX_FMT_YUVJ420P;
	frame->color_range = AVCOL_RANGE_JPEG;
	frame->width = width;
	frame->height = height;
	CU_ASSERT_EQUAL_FATAL(av_frame_get_buffer(frame, 0), 0);
	for (int p = 0; p < 3; p++)
		memset(frame->data[p], levels[p],
			(size_t)frame->linesize[p] * (size_t)(p ? (height + 1) / 2 : height));
	return frame;
}

/* Appends the frame as a JPEG to file and frees it. */
static inline void media_put_jpeg(FILE *file, AVFrame *frame)
{
	AVCodecContext *c = avcodec_alloc_context3(avcodec_find_encoder(AV_CODEC_ID_MJPEG));
	AVPacket *packet = av_packet_alloc();

	CU_ASSERT_FATAL(c && packet);
	c->width = frame->width;
	c->height = frame->height;
	c->pix_fmt = AV_PIX_FMT_YUVJ420P;
	c->color_range = AVCOL_RANGE_JPEG;
	c->time_base = (AVRational){1, 25};
	c->flags |= AV_CODEC_FLAG_QSCALE;
	c->global_quality = FF_QP2LAMBDA;
	CU_ASSERT_EQUAL_FATAL(avcodec_open2(c, NULL, NULL), 0);
	frame->quality = c->global_quality;
	CU_ASSERT_EQUAL_FATAL(avcodec_send_frame(c, frame), 0);
	CU_ASSERT_EQUAL_FATAL(avcodec_receive_packet(c, packet), 0);
	CU_ASSERT_EQUAL_FATAL(fwrite(packet->data, 1, (size_t)packet->size, file),
		(size_t)packet->size);
	av_packet_free(&packet);
	avcodec_free_context(&c);
	av_frame_free(&frame);
}
