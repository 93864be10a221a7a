/* The SIMD variants of the row kernels against their scalar twin, bit for bit, and against libm. */
#include "engine/rows.h"
#include "reference.h"
#include "unit.h"

#define N 1111 /* not a multiple of any vector */
#define KINDS KERF_ACT_COUNT

static float x[N], b[N], c[N];

/* Small, large, special: everything an activation may meet. */
static void fill(void)
{
	static const float special[] = {0.0f, -0.0f, 1e-40f, -1e-40f, 1e30f, -1e30f, -3e38f, 87.0f,
		-87.0f, 88.5f, -88.5f, 104.0f, -104.0f, INFINITY, -INFINITY, NAN, 3.0f, -3.0f,
		6.0f};
	uint64_t seed = 7;

	for (int i = 0; i < N; i++) {
		float scale = i % 3 == 0 ? 1.0f : i % 3 == 1 ? 10.0f : 100.0f;
		x[i] = ref_random(&seed) * scale;
		b[i] = ref_random(&seed);
		c[i] = ref_random(&seed);
	}
	memcpy(x + 100, special, sizeof(special));
}

static struct kerf_act act_of(int kind)
{
	return (struct kerf_act){.kind = (enum kerf_act_kind)kind,
		.lo = kind == KERF_ACT_HARD_SIGMOID ? 0.2f
		      : kind == KERF_ACT_CLIP       ? -0.5f
						    : 0.1f,
		.hi = kind == KERF_ACT_CLIP ? 6.0f : 0.5f};
}

/* Equal bits, except that one NaN is as good as another. */
static bool same_bits(const float *p, const float *q, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&p[i], &q[i], sizeof(*p)) != 0 && !(isnan(p[i]) && isnan(q[i])))
			return false;
	return true;
}

typedef void (*apply_fn)(const struct kerf_rows *r, int kind, const float *in, float *y, size_t n);

static void apply_act(const struct kerf_rows *r, int kind, const float *in, float *y, size_t n)
{
	struct kerf_act act = act_of(kind);

	r->act(&act, in, y, n);
}

static void apply_binary(const struct kerf_rows *r, int kind, const float *in, float *y, size_t n)
{
	switch (kind) {
	case 0: r->add(in, b, y, n); break;
	case 1: r->mul(in, b, y, n); break;
	case 2: r->add_one(in, b[5], y, n); break;
	case 3: r->mul_one(in, b[5], y, n); break;
	case 4: r->scale_shift(in, b, c, -INFINITY, y, n); break;
	case 5: r->scale_shift(in, b, c, 0, y, n); break;
	case 6: r->to_bf16(in, (uint16_t *)(void *)y, n); break;
	case 7: r->to_int8(in, 1.7f, 0, 255, (uint8_t *)(void *)y, n); break;
	case 8: r->to_int8(in, 0.9f, -127, 127, (uint8_t *)(void *)y, n); break;
	case 9: r->mul_rows(in, b, y, 3, n / 3); break;
	}
}

/* Every length up to 70 so that every tail is met, from an odd address, and one long run. */
static void compare(apply_fn apply, int kinds)
{
	static float want[N + 8], got[N + 8];
	const struct kerf_rows *simd;

	for (unsigned v = 0; (simd = kerf_rows_variant(v)) != NULL; v++)
		for (int kind = 0; kind < kinds; kind++)
			for (size_t n = 0; n <= 71; n++) {
				size_t len = n < 71 ? n : N - 1;
				memset(want, 0x55, sizeof(want));
				memset(got, 0x55, sizeof(got));
				apply(&kerf_rows_scalar, kind, x + 1, want, len);
				apply(simd, kind, x + 1, got, len);
				/* eight more: nothing is written behind the row */
				if (!same_bits(want, got, len + 8))
					printf("%s kind %d n %zu\n", simd->isa, kind, len);
				CU_ASSERT(same_bits(want, got, len + 8));
			}
}

static void test_act_has_same_bits_everywhere(void)
{
	fill();
	compare(apply_act, KINDS);
}

static void test_binary_has_same_bits_everywhere(void)
{
	fill();
	compare(apply_binary, 10);
}

static void test_in_place(void)
{
	static float want[N], got[N];
	struct kerf_act silu = {.kind = KERF_ACT_SILU};

	fill();
	kerf_rows()->act(&silu, x, want, N);
	memcpy(got, x, sizeof(got));
	kerf_rows()->act(&silu, got, got, N);
	CU_ASSERT(same_bits(want, got, N));
}

/* Against double arithmetic: 1e-6 of the result, or 2e-7 absolute where it goes to zero (GELU: 2.5e-7). */
static void test_act_is_accurate(void)
{
	static float y[N];

	fill();
	for (int kind = 0; kind < KINDS; kind++) {
		struct kerf_act act = act_of(kind);
		const double floor = kind == KERF_ACT_GELU ? 2.5e-7 : 2e-7;
		kerf_rows()->act(&act, x, y, N);
		for (int i = 0; i < N; i++) {
			double want = ref_act(act, (double)x[i]);
			if (isnan(x[i]) || isnan(want) || y[i] == (float)want)
				continue;
			if (!(fabs((double)y[i] - want) <= 1e-6 * fabs(want) + floor))
				printf("kind %d x %g: %g, expected %g\n", kind, (double)x[i],
					(double)y[i], want);
			CU_ASSERT(fabs((double)y[i] - want) <= 1e-6 * fabs(want) + floor);
		}
	}
}

/* A broken activation upstream must stay visible. */
static void test_nan_stays_nan(void)
{
	float in[2] = {NAN, 1.0f}, out[2];

	for (int kind = 0; kind < KINDS; kind++) {
		struct kerf_act act = act_of(kind);
		for (unsigned v = 0; kerf_rows_variant(v); v++) {
			kerf_rows_variant(v)->act(&act, in, out, 2);
			CU_ASSERT(isnan(out[0]) && !isnan(out[1]));
		}
	}
}

/* The scalar twin is the reference; one value is checked against a plain sum. */
static void test_windows(void)
{
	struct kerf_window w = {
		.rows = 3, .columns = 4, .row_step = 300, .column_step = 71, .scale = 1.0f / 12};
	float want[2][72], got[2][72];

	fill();
	for (size_t n = 1; n <= 70; n++)
		for (unsigned v = 0; kerf_rows_variant(v); v++) {
			memset(want, 0, sizeof(want));
			memset(got, 0, sizeof(got));
			kerf_rows_scalar.average(&w, b, want[0], n);
			kerf_rows_variant(v)->average(&w, b, got[0], n);
			kerf_rows_scalar.maximum(&w, b, want[1], n);
			kerf_rows_variant(v)->maximum(&w, b, got[1], n);
			CU_ASSERT(same_bits(want[0], got[0], 2 * 72));
		}
	double sum = 0, top = -2;
	for (int r = 0; r < 3; r++)
		for (int k = 0; k < 4; k++) {
			sum += (double)b[r * 300 + k * 71 + 9];
			top = fmax(top, (double)b[r * 300 + k * 71 + 9]);
		}
	CU_ASSERT_DOUBLE_EQUAL((double)got[0][9], sum / 12, 1e-6);
	CU_ASSERT_EQUAL((double)got[1][9], top);
}

static void test_blend_has_same_bits_everywhere(void)
{
	static const int32_t indices[] = {3, -1, 0, 2};
	static const float weights[] = {0.25f, 1.5f, -0.75f, 0.1f};
	float in[4 * 70], want[70], got[70];

	for (int i = 0; i < 4 * 70; i++)
		in[i] = cosf((float)i);
	for (size_t n = 1; n <= 70; n++) {
		kerf_rows_scalar.blend(in, indices, weights, 4, 2, want, n);
		for (size_t k = 0; k < n; k++)
			CU_ASSERT_DOUBLE_EQUAL((double)want[k],
				0.25 * (double)in[3 * n + k] + 1.5 * 2 - 0.75 * (double)in[k] + 0.1 * (double)in[2 * n + k], 1e-6);
		for (unsigned v = 0; kerf_rows_variant(v); v++) {
			memset(got, 0, sizeof(got));
			kerf_rows_variant(v)->blend(in, indices, weights, 4, 2, got, n);
			CU_ASSERT(same_bits(want, got, n));
		}
	}
}

static void test_normalise(void)
{
	float in[300], scale[300], bias[300], want[300], got[300];

	for (int i = 0; i < 300; i++) {
		in[i] = 5 + sinf((float)i * 1.7f);
		scale[i] = 1 + (float)(i % 7) / 8;
		bias[i] = (float)(i % 5) - 2;
	}
	for (size_t n = 1; n <= 300; n++) {
		const bool has_scale = n % 3 > 0, has_bias = n % 2;
		double mean = 0, variance = 0;

		for (size_t i = 0; i < n; i++)
			mean += (double)in[i] / (double)n;
		for (size_t i = 0; i < n; i++)
			variance += ((double)in[i] - mean) * ((double)in[i] - mean) / (double)n;
		kerf_rows_scalar.normalise(in, has_scale ? scale : NULL, has_bias ? bias : NULL, 1e-3f, want, n);
		for (size_t i = 0; i < n; i++) {
			const double out = ((double)in[i] - mean) / sqrt(variance + 1e-3);
			const double factor = has_scale ? (double)scale[i] : 1, shift = has_bias ? (double)bias[i] : 0;

			CU_ASSERT_DOUBLE_EQUAL((double)want[i], out * factor + shift, 3e-5);
		}
		for (unsigned v = 0; kerf_rows_variant(v); v++) {
			memset(got, 0, sizeof(got));
			kerf_rows_variant(v)->normalise(in, has_scale ? scale : NULL, has_bias ? bias : NULL, 1e-3f, got, n);
			CU_ASSERT(same_bits(want, got, n));
		}
	}
}

UNIT_MAIN("engine.rows", UNIT(test_act_has_same_bits_everywhere),
	UNIT(test_binary_has_same_bits_everywhere), UNIT(test_in_place), UNIT(test_act_is_accurate),
	UNIT(test_nan_stays_nan), UNIT(test_windows), UNIT(test_blend_has_same_bits_everywhere),
	UNIT(test_normalise))
