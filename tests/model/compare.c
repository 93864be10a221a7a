/*
 * compare A.npy B TOLERANCE: B (.npy, or raw .f32) holds the same numbers, relative to its largest.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "source/npy.h"

static float *read_values(const char *path, size_t *n)
{
	size_t len = strlen(path);
	struct kerf_npy npy;
	struct kerf_err err = {0};
	float *values;
	FILE *f;

	if (len > 4 && strcmp(path + len - 4, ".npy") == 0) {
		if (kerf_npy_read(path, &npy, &err) < 0) {
			fprintf(stderr, "%s\n", err.text);
			exit(2);
		}
		*n = npy.elements;
		return npy.data;
	}
	f = fopen(path, "rb");
	values = malloc(64 << 20);
	if (!f || !values) {
		perror(path);
		exit(2);
	}
	*n = fread(values, sizeof(*values), (64 << 20) / sizeof(*values), f);
	fclose(f);
	return values;
}

int main(int argc, char **argv)
{
	double difference = 0, largest = 0, tolerance;
	size_t n_a, n_b;
	float *a, *b;

	if (argc != 4)
		return 2;
	a = read_values(argv[1], &n_a);
	b = read_values(argv[2], &n_b);
	tolerance = atof(argv[3]);
	if (n_a != n_b || n_a == 0) {
		printf("%s has %zu values, %s has %zu\n", argv[1], n_a, argv[2], n_b);
		return 1;
	}
	for (size_t i = 0; i < n_a; i++) {
		double d = fabs((double)a[i] - (double)b[i]);

		difference = isnan(d) ? INFINITY : fmax(difference, d);
		largest = fmax(largest, fabs((double)b[i]));
	}
	printf("largest difference %.3g of %.3g\n", difference, largest);
	free(a);
	free(b);
	return difference <= tolerance * largest ? 0 : 1;
}
