#include <libavformat/avformat.h>
#include <stdlib.h>
#include <string.h>

#include "source/decoder.h"
#include "source/frames.h"
#include "source/scale.h"

struct media {
	AVFormatContext *format;
	AVCodecContext *codec;
	AVPacket *packet;
	AVFrame *frame;
	int stream;
	int64_t packets; /* read of our stream */
	bool is_picture, at_end;
	struct scaler scaler;
	/* Of Motion JPEG, whose packets are files: the newest one, and what decodes it alone. */
	struct kerf_jpeg *jpeg;
	uint8_t *file, *again; /* again: its pixels by that way */
	size_t file_bytes;
};

static void close_media(struct media *m)
{
	kerf_scaler_release(&m->scaler);
	kerf_jpeg_close(m->jpeg);
	free(m->file);
	free(m->again);
	av_frame_free(&m->frame);
	av_packet_free(&m->packet);
	avcodec_free_context(&m->codec);
	avformat_close_input(&m->format);
}

/* ---- opening ---- */

/*
 * The path is a file and nothing else: without "file:" FFmpeg would take "http://..." or
 * "concat:..." for a protocol, and without pattern_type "%d" for a sequence of pictures.
 */
static int open_container(struct media *m, const char *path)
{
	AVDictionary *options = NULL;
	char *url = NULL;
	int rc = AVERROR(ENOMEM);

	if (asprintf(&url, "file:%s", path) < 0)
		return rc;
	if (av_dict_set(&options, "protocol_whitelist", "file", 0) >= 0 &&
		av_dict_set(&options, "pattern_type", "none", 0) >= 0)
		rc = avformat_open_input(&m->format, url, NULL, &options);
	av_dict_free(&options);
	free(url);
	if (rc < 0)
		return rc;
	const char *name = m->format->iformat->name;
	m->is_picture = strstr(name, "_pipe") || !strcmp(name, "image2");
	return avformat_find_stream_info(m->format, NULL);
}

static int open_decoder(struct media *m)
{
	const AVCodec *decoder;
	int rc = av_find_best_stream(m->format, AVMEDIA_TYPE_VIDEO, -1, -1, &decoder, 0);

	if (rc < 0)
		return rc;
	m->stream = rc;
	m->codec = avcodec_alloc_context3(decoder);
	if (!m->codec)
		return AVERROR(ENOMEM);
	rc = avcodec_parameters_to_context(m->codec, m->format->streams[m->stream]->codecpar);
	if (rc < 0)
		return rc;
	return kerf_decoder_open(m->codec, decoder, m->is_picture);
}

static int open_media(struct media *m, const char *path)
{
	int rc = open_container(m, path);

	if (rc < 0)
		return rc;
	m->packet = av_packet_alloc();
	m->frame = av_frame_alloc();
	if (!m->packet || !m->frame)
		return AVERROR(ENOMEM);
	rc = open_decoder(m);
	if (rc < 0 || m->codec->codec_id != AV_CODEC_ID_MJPEG)
		return rc;
	m->jpeg = kerf_jpeg_open(m->scaler.options, NULL);
	m->again = malloc((size_t)m->scaler.options->width * m->scaler.options->height * m->scaler.options->channels);
	return m->jpeg && m->again ? 0 : AVERROR(ENOMEM);
}

/* ---- decoding ---- */

static int keep_file(struct media *m)
{
	uint8_t *file = realloc(m->file, (size_t)m->packet->size);

	if (!file)
		return AVERROR(ENOMEM);
	memcpy(file, m->packet->data, (size_t)m->packet->size);
	m->file = file;
	m->file_bytes = (size_t)m->packet->size;
	return 0;
}

static int feed_packet(struct media *m)
{
	int rc = 0;

	m->packets++;
	if (m->packet->flags & AV_PKT_FLAG_CORRUPT)
		return AVERROR_INVALIDDATA;
	if (m->jpeg && m->packet->size > 0)
		rc = keep_file(m);
	return rc < 0 ? rc : avcodec_send_packet(m->codec, m->packet);
}

/* Hands the decoder the next packet of our stream, or the end. */
static int feed(struct media *m)
{
	int rc = av_read_frame(m->format, m->packet);

	if (rc == AVERROR_EOF) {
		m->at_end = true;
		return avcodec_send_packet(m->codec, NULL);
	}
	if (rc < 0)
		return rc;
	if (m->packet->stream_index == m->stream)
		rc = feed_packet(m);
	av_packet_unref(m->packet);
	return rc;
}

/* Decodes the next frame into m->frame. 0, AVERROR_EOF behind the last one, or an error. */
static int next_frame(struct media *m)
{
	int rc;

	while ((rc = avcodec_receive_frame(m->codec, m->frame)) == AVERROR(EAGAIN)) {
		if (m->at_end)
			return AVERROR_EOF;
		rc = feed(m);
		if (rc < 0)
			return rc;
	}
	if (rc == 0 && (m->frame->flags & AV_FRAME_FLAG_CORRUPT || m->frame->decode_error_flags))
		return AVERROR_INVALIDDATA;
	return rc;
}

/* With the frame just added, when the file alone gives its pixels: one of two interlaced fields would not. */
static void keep_jpeg(struct kerf_source *s, struct media *m, const uint8_t *pixels)
{
	struct kerf_frame_data *f = &s->frames[s->count - 1];

	if (!m->file || kerf_jpeg_decode(m->jpeg, m->file, m->file_bytes, m->again) < 0 ||
		memcmp(m->again, pixels, kerf_frames_elements(s)))
		return;
	f->jpeg = m->file;
	f->jpeg_bytes = m->file_bytes;
	s->jpeg_bytes += m->file_bytes;
	m->file = NULL;
}

static int keep_frame(struct kerf_source *s, struct media *m, const char *base, long number)
{
	uint8_t *pixels = malloc(kerf_frames_elements(s));

	if (!pixels)
		return AVERROR(ENOMEM);
	int rc = kerf_scaler_run(&m->scaler, m->frame, pixels);
	if (rc < 0) {
		free(pixels);
		return rc;
	}
	rc = kerf_frames_add(s, pixels, NULL, base, number, NULL);
	if (rc == 0 && m->jpeg)
		keep_jpeg(s, m, pixels);
	return rc;
}

/* All frames, up to the limit. 0, or why it broke off. */
static int decode_all(struct kerf_source *s, struct media *m, const char *base)
{
	int rc = 0;

	for (long number = 0; !kerf_frames_full(s); number++) {
		rc = next_frame(m);
		if (rc < 0)
			break;
		rc = keep_frame(s, m, base, m->is_picture ? -1 : number);
		av_frame_unref(m->frame);
		if (rc < 0)
			break;
	}
	return rc == AVERROR_EOF ? 0 : rc;
}

/* Why a file gave n frames and no more, unless that is all there are. */
static void note_end(struct kerf_source *s, const struct media *m, unsigned n, int rc,
	const char *path)
{
	char cause[AV_ERROR_MAX_STRING_SIZE];
	int64_t promised = m->format->streams[m->stream]->nb_frames; /* 0 = not known */

	if (rc < 0)
		snprintf(s->warning, sizeof(s->warning), "%.150s: breaks off after %u frames: %s",
			path, n, av_make_error_string(cause, sizeof(cause), rc));
	else if (m->at_end && m->packets < promised) /* a file cut short ends without an error */
		snprintf(s->warning, sizeof(s->warning),
			"%.150s: ends after %lld frames, its index lists %lld", path,
			(long long)m->packets, (long long)promised);
}

static int refuse(const char *path, int rc, struct kerf_err *err)
{
	char cause[AV_ERROR_MAX_STRING_SIZE];

	if (rc == AVERROR(ENOMEM))
		return kerf_err_set(err, -ENOMEM, "%s: out of memory", path);
	if (rc == AVERROR_STREAM_NOT_FOUND)
		return kerf_err_set(err, -EINVAL, "%s: neither picture nor video", path);
	if (rc == AVERROR_DECODER_NOT_FOUND)
		return kerf_err_set(err, -EINVAL, "%s: this FFmpeg has no decoder for it", path);
	if (rc == 0 || rc == AVERROR_EOF || rc == AVERROR_INVALIDDATA)
		return kerf_err_set(err, -EINVAL,
			"%s: unknown format, damaged or cut short, expected a picture or a video",
			path);
	return kerf_err_set(err, -EINVAL, "%s: cannot be decoded: %s", path,
		av_make_error_string(cause, sizeof(cause), rc));
}

int kerf_read_media(struct kerf_source *s, const char *path, struct kerf_err *err)
{
	struct media m = {.scaler = {.options = &s->options}};
	unsigned before = s->count;

	if (s->options.channels == 2 || s->options.channels > 4)
		return kerf_err_set(err, -EINVAL,
			"%s: pictures have 1, 3 or 4 channels, the network wants %u", path,
			s->options.channels);
	/* Messages reach people as one line through err; the decoders' own would be many. */
	av_log_set_level(AV_LOG_QUIET);
	int rc = open_media(&m, path);
	if (rc == 0)
		rc = decode_all(s, &m, kerf_path_base(path));
	unsigned n = s->count - before;
	if (n)
		note_end(s, &m, n, rc, path);
	close_media(&m);
	return n ? 0 : refuse(path, rc, err);
}
