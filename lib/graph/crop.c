/*
 * Cropping: taps of a convolution that see nothing but pads go away. Of DeepLab's windows that reach 36 places beyond an image
 * of 14 only the middle is left.
 */
#include "graph/rewrite.h"

#include <stdlib.h>
#include <string.h>

/* The taps of one dimension to keep. */
struct span {
	int first, count;
};

/* Whether any output sees the image through this tap. */
static bool sees(int tap, int64_t in, int64_t out, int stride, int dilation, int pad)
{
	const int64_t first = (int64_t)tap * dilation - pad, last = first + (out - 1) * stride;

	if (last < 0 || first >= in)
		return false;
	/* the first place that is not in front of the image */
	const int64_t place = first >= 0 ? first : first + (-first + stride - 1) / stride * stride;
	return place < in;
}

/* Pads lose what the taps do, and never become negative: then the tap stays. */
static struct span find_span(int64_t in, int64_t out, int taps, int stride, int dilation, int before, int behind)
{
	struct span s = {0, taps};

	while (s.count > 1 && (s.first + 1) * (int64_t)dilation <= before && !sees(s.first, in, out, stride, dilation, before)) {
		s.first++;
		s.count--;
	}
	while (s.count > 1 && (taps - s.first - s.count + 1) * (int64_t)dilation <= behind &&
		!sees(s.first + s.count - 1, in, out, stride, dilation, before))
		s.count--;
	return s;
}

static float *crop(const struct kerf_tensor *w, const struct span s[2])
{
	const int64_t filters = w->dims[0] * w->dims[1];
	float *cropped = malloc((size_t)(filters * s[0].count * s[1].count) * sizeof(*cropped)), *to = cropped;

	for (int64_t f = 0; cropped && f < filters; f++)
		for (int y = s[0].first; y < s[0].first + s[0].count; y++, to += s[1].count)
			memcpy(to, (const float *)w->data + (f * w->dims[2] + y) * w->dims[3] + s[1].first,
				(size_t)s[1].count * sizeof(*to));
	return cropped;
}

static int crop_node(struct rewrite *r, struct kerf_node *n)
{
	const struct kerf_tensor *x = &r->g->tensors[n->inputs[0]], *y = &r->g->tensors[n->output];
	const struct kerf_tensor *w = &r->g->tensors[n->inputs[1]];
	struct span s[2];
	char name[256];

	if (!w->data || w->dtype != KERF_F32)
		return 0;
	for (int i = 0; i < 2; i++)
		s[i] = find_span(x->dims[2 + i], y->dims[2 + i], n->kernel[i], n->strides[i], n->dilations[i], n->pads[i],
			n->pads[i + 2]);
	if (s[0].count == n->kernel[0] && s[1].count == n->kernel[1])
		return 0;
	float *data = crop(w, s);
	if (!data)
		return kerf_err_set(r->err, -ENOMEM, "node %s: out of memory", n->name);
	const int64_t dims[4] = {w->dims[0], w->dims[1], s[0].count, s[1].count};
	snprintf(name, sizeof(name), "%.200s/cropped_weights", n->name);
	const int id = rewrite_add_constant(r, name, KERF_F32, 4, dims, data);
	if (id < 0)
		return id;
	for (int i = 0; i < 2; i++) {
		n->pads[i] -= s[i].first * n->dilations[i];
		n->pads[i + 2] -= (n->kernel[i] - s[i].first - s[i].count) * n->dilations[i];
		n->kernel[i] = s[i].count;
	}
	rewrite_drop_use(r, n->inputs[1]);
	n->inputs[1] = id;
	return 0;
}

int rewrite_crop_windows(struct rewrite *r)
{
	int rc = 0;

	for (int i = 0; i < r->g->n_nodes && rc == 0; i++)
		if (rewrite_enter_node(r, i) && r->g->nodes[i].op == KERF_OP_CONV)
			rc = crop_node(r, &r->g->nodes[i]);
	return rc;
}
