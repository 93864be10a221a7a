/* Which depthwise convolutions depthwise.inc is for, and their constants. */
#include "engine/depthwise.h"

#include "engine/internal.h"

/* Every other place of an image that the second cache does not hold: on AMD's cores oneDNN's, which reads it row by row, is faster. */
#define LARGE_IMAGE (512 << 10)

bool kerf_depthwise_is_wide(const struct kerf_depthwise *d)
{
	const int64_t pad = d->kernel / 2, right = (d->out_w - 1) * d->stride + d->kernel - d->pads[1] - d->w;

	return d->out_w >= KERF_DEPTHWISE_PLACES && d->pads[1] <= pad && right <= pad;
}

bool kerf_depthwise_f32_suits(const struct kerf_depthwise *d)
{
	return kerf_direct_code() == &kerf_direct_avx512 && kerf_depthwise_is_wide(d) && d->out_h >= KERF_DEPTHWISE_ROWS &&
		(d->width > 1 ? d->kernel == 3
			      : d->stride == 1 || d->h * d->w * d->c <= LARGE_IMAGE || !kerf_direct_is_amd());
}

bool kerf_depthwise_bf16_supported(void)
{
	return dnn_isa_has(dnnl_cpu_isa_avx512_core_bf16) && __builtin_cpu_supports("avx512bf16") &&
		__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

int64_t kerf_depthwise_block_floats(const struct kerf_depthwise *d)
{
	return (int64_t)(1 + d->width * d->kernel * d->kernel) * KERF_DEPTHWISE_BLOCK;
}

size_t kerf_depthwise_bytes(const struct kerf_depthwise *d)
{
	const int64_t blocks = (d->c + KERF_DEPTHWISE_BLOCK - 1) / KERF_DEPTHWISE_BLOCK;

	return (size_t)(blocks * kerf_depthwise_block_floats(d)) * sizeof(float);
}

static float rounded(float v)
{
	uint16_t bf16;
	float back;

	kerf_rows()->to_bf16(&v, &bf16, 1);
	const uint32_t bits = (uint32_t)bf16 << 16;
	memcpy(&back, &bits, sizeof(back));
	return back;
}

void kerf_depthwise_pack(const struct kerf_depthwise *d, const float *weights, const float *bias, float *to)
{
	const int products = d->width * d->kernel * d->kernel;

	for (int64_t c = 0; c < d->c; c++, weights += products) {
		float *at = to + c / KERF_DEPTHWISE_BLOCK * kerf_depthwise_block_floats(d) + c % KERF_DEPTHWISE_BLOCK;

		at[0] = bias ? bias[c] : 0;
		for (int i = 0; i < products; i++)
			at[(1 + i) * KERF_DEPTHWISE_BLOCK] = d->from == KERF_DEPTHWISE_BF16 ? rounded(weights[i]) : weights[i];
	}
}
