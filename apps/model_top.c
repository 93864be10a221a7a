#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model_run.h"

#define MAX_LABEL_FILE_BYTES (64l << 20)

/* ---- labels: one class name a line ---- */

static int read_whole(const char *path, char **text, size_t *len, struct kerf_err *err)
{
	FILE *f = fopen(path, "rb");
	long size;
	int rc = 0;

	if (!f)
		return kerf_err_set(err, -errno, "%s: %s", path, strerror(errno));
	if (fseek(f, 0, SEEK_END) != 0 || (size = ftell(f)) < 0 || size > MAX_LABEL_FILE_BYTES) {
		rc = kerf_err_set(err, -EINVAL, "%s: not a file of at most 64 MiB", path);
		goto out;
	}
	rewind(f);
	*text = malloc((size_t)size + 1);
	if (!*text) {
		rc = kerf_err_set(err, -ENOMEM, "%s: no memory for %ld bytes", path, size);
		goto out;
	}
	*len = fread(*text, 1, (size_t)size, f);
	(*text)[*len] = '\0';
	if (ferror(f)) {
		rc = kerf_err_set(err, -EIO, "%s: cannot read", path);
		free(*text);
		*text = NULL;
	}
out:
	fclose(f);
	return rc;
}

int run_labels_read(struct run_labels *l, const char *path, struct kerf_err *err)
{
	size_t len = 0, lines = 1;
	int rc;

	*l = (struct run_labels){0};
	rc = read_whole(path, &l->text, &len, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < len; i++)
		lines += l->text[i] == '\n';
	l->lines = calloc(lines, sizeof(*l->lines));
	if (!l->lines) {
		run_labels_free(l);
		return kerf_err_set(err, -ENOMEM, "%s: no memory for %zu labels", path, lines);
	}
	for (char *at = l->text; at < l->text + len;) {
		size_t n = strcspn(at, "\n");
		char *next = at + n + 1;

		at[n] = '\0';
		if (n > 0 && at[n - 1] == '\r')
			at[n - 1] = '\0';
		l->lines[l->n++] = at;
		at = next;
	}
	return 0;
}

void run_labels_free(struct run_labels *l)
{
	free(l->lines);
	free(l->text);
	*l = (struct run_labels){0};
}

/* ---- top classes ---- */

/* Logits do not happen to lie in [0,1] and to add up to 1. */
static bool are_probabilities(const float *values, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		if (!(values[i] >= 0 && values[i] <= 1))
			return false;
		sum += (double)values[i];
	}
	return fabs(sum - 1) < 1e-3;
}

static void softmax(const float *values, size_t n, double *p)
{
	double largest = -INFINITY, sum = 0;

	for (size_t i = 0; i < n; i++)
		largest = fmax(largest, (double)values[i]);
	for (size_t i = 0; i < n; i++) {
		p[i] = exp((double)values[i] - largest);
		sum += p[i];
	}
	for (size_t i = 0; i < n; i++)
		p[i] /= sum;
}

static bool all_finite(const float *values, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isfinite(values[i]))
			return false;
	return true;
}

/* Takes the largest out `top` times; equal ones by class number. p is used up. */
static void print_largest(double *p, size_t n, unsigned top, const struct run_labels *labels)
{
	for (unsigned rank = 1; rank <= KERF_MIN(top, n); rank++) {
		size_t best = 0;

		for (size_t i = 1; i < n; i++)
			if (p[i] > p[best])
				best = i;
		printf("%6u  %5zu  %11.4f  %s\n", rank, best, p[best],
			best < labels->n ? labels->lines[best] : "");
		p[best] = -1;
	}
}

static void print_range(const char *name, const float *values, size_t n)
{
	double least = INFINITY, largest = -INFINITY, sum = 0;

	for (size_t i = 0; i < n; i++) {
		least = fmin(least, (double)values[i]);
		largest = fmax(largest, (double)values[i]);
		sum += (double)values[i];
	}
	printf("%s: %zu values from %g to %g, mean %g\n", name, n, least, largest, sum / (double)n);
}

int run_print_top(const char *name, const float *values, size_t n, bool classes, unsigned top,
	const struct run_labels *labels, struct kerf_err *err)
{
	double *p;

	if (!all_finite(values, n))
		return kerf_err_set(err, -ERANGE, "%s: the network's output is not finite", name);
	if (!classes) {
		print_range(name, values, n);
		return 0;
	}
	p = malloc(n * sizeof(*p));
	if (!p)
		return kerf_err_set(err, -ENOMEM, "%s: no memory for %zu classes", name, n);
	if (are_probabilities(values, n)) {
		for (size_t i = 0; i < n; i++)
			p[i] = (double)values[i];
		printf("%s: top %u of %zu classes, probabilities as the network gives them\n", name,
			(unsigned)KERF_MIN(top, n), n);
	} else {
		softmax(values, n, p);
		printf("%s: top %u of %zu classes, softmax of the network's outputs\n", name,
			(unsigned)KERF_MIN(top, n), n);
	}
	printf("%6s  %5s  %11s  %s\n", "rank", "class", "probability", labels->n ? "label" : "");
	print_largest(p, n, top, labels);
	free(p);
	return 0;
}

/* ---- values ---- */

double run_max_relative_error(const float *a, const float *b, size_t n)
{
	double difference = 0, largest = 0;

	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)a[i] - (double)b[i]);

		if (isnan(d))
			return INFINITY;
		difference = fmax(difference, d);
		largest = fmax(largest, fabs((double)b[i]));
	}
	return difference > 0 ? difference / largest : 0;
}

void run_to_onnx_order(const struct kerf_tensor *t, const float *src, float *dst)
{
	size_t n = (size_t)kerf_tensor_elements(t), channels, pixels;

	if (t->n_dims != 4) {
		memcpy(dst, src, n * sizeof(*dst));
		return;
	}
	channels = (size_t)t->dims[1];
	pixels = (size_t)t->dims[2] * (size_t)t->dims[3];
	for (size_t i = 0; i < n; i++) {
		size_t pixel = i % pixels, channel = i / pixels % channels;

		dst[i] = src[i / (pixels * channels) * pixels * channels + pixel * channels +
			     channel];
	}
}
