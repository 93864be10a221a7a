/* decoder: how FFmpeg is set up to decode, wherever a picture comes from. */
#pragma once

#include <stdbool.h>

#include <libavcodec/avcodec.h>

/*
 * Opens a context whose parameters are set. is_picture: damaged data is an error; in a video the decoder may carry on.
 * 0 or a negative AVERROR.
 */
int kerf_decoder_open(AVCodecContext *c, const AVCodec *decoder, bool is_picture);
