/* Convolution by tiles (direct.h): bands of rows, padding, and which tiles a part goes through. */
#include "engine/internal.h"

#include <math.h>
#include <omp.h>
#include <xmmintrin.h>

const struct kerf_direct_code *kerf_direct_code(void)
{
	if (dnn_isa_has(dnnl_cpu_isa_avx512_core) && __builtin_cpu_supports("avx512f"))
		return &kerf_direct_avx512;
	return dnn_isa_has(dnnl_cpu_isa_avx2) && __builtin_cpu_supports("fma") ? &kerf_direct_avx2 : NULL;
}

bool kerf_direct_is_amd(void)
{
	return __builtin_cpu_is("amd");
}

bool kerf_direct_takes_along(enum kerf_act_kind act)
{
	return act == KERF_ACT_SILU || act == KERF_ACT_HARD_SWISH;
}

static int64_t ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

static int64_t bands(const struct kerf_direct *d)
{
	return ceil_div(d->out_h, d->band);
}

int64_t kerf_direct_divide(const struct kerf_direct *d, unsigned team)
{
	const int64_t parts = d->apart ? 1 : d->in_row / d->ic; /* that a tile cannot cross */
	const int64_t vectors = ceil_div(d->oc, d->code->lanes);
	const int64_t groups = parts * ceil_div(vectors, parts * d->code->vectors);

	if (parts > 1 || d->n * bands(d) * groups % team == 0)
		return groups;
	return KERF_MIN(ceil_div(groups, team) * team, vectors);
}

int64_t kerf_direct_first(const struct kerf_direct *d, int64_t group)
{
	const int lanes = d->code->lanes;

	return ceil_div(d->oc, lanes) * group / d->groups * lanes;
}

struct kerf_direct kerf_direct_product(int64_t ic, int64_t oc)
{
	struct kerf_direct d = {
		.code = kerf_direct_code(),
		.n = 1,
		.h = 1,
		.w = 1,
		.ic = ic,
		.in_row = ic,
		.x_row = ic,
		.out_h = 1,
		.out_w = INT64_MAX,
		.oc = oc,
		.block = ic,
		.band = 1,
		.kernel = {1, 1},
		.strides = {1, 1},
		.dilations = {1, 1},
		.lo = -INFINITY,
		.hi = INFINITY,
	};

	d.groups = kerf_direct_divide(&d, 1);
	d.y_row = kerf_direct_first(&d, d.groups);
	return d;
}

/* n values of as many lines as there are lanes, `row` apart: the lanes of each value side by side. */
static void transpose(const float *from, int64_t row, int64_t n_lanes, int64_t n, float *to[DIRECT_PACK])
{
	const int64_t whole_lanes = n_lanes / 4 * 4, whole = n / 4 * 4;

	for (int64_t lane = 0; lane < whole_lanes; lane += 4) {
		for (int64_t i = 0; i < whole; i += 4) {
			__m128 a[4];

			for (int k = 0; k < 4; k++)
				a[k] = _mm_loadu_ps(from + (lane + k) * row + i);
			_MM_TRANSPOSE4_PS(a[0], a[1], a[2], a[3]);
			for (int k = 0; k < 4; k++)
				_mm_storeu_ps(to[i + k] + lane, a[k]);
		}
	}
	for (int64_t i = 0; i < n; i++)
		for (int64_t lane = i < whole ? whole_lanes : 0; lane < n_lanes; lane++)
			to[i][lane] = from[lane * row + i];
}

void kerf_direct_pack_lanes(const struct kerf_direct *d, const float *from, int64_t lane, int64_t n_lanes, int64_t first,
	int64_t nc, int64_t width, float *to)
{
	const int64_t area = (int64_t)d->kernel[0] * d->kernel[1], row = d->ic * area;
	const int64_t real = KERF_MAX(KERF_MIN(n_lanes, d->oc - lane), 0); /* the others are zero */
	int64_t k = 0, c = 0;                                              /* place in the window, input channel */

	from += lane * row + first * area;
	for (int64_t at = 0; at < nc * area; at += DIRECT_PACK) {
		const int64_t n = KERF_MIN(nc * area - at, DIRECT_PACK);
		float *lines[DIRECT_PACK];

		for (int64_t i = 0; i < n; i++) {
			lines[i] = to + (k * nc + c) * width;
			for (int64_t l = real; l < n_lanes; l++)
				lines[i][l] = 0;
			if (++k == area) {
				k = 0;
				c++;
			}
		}
		transpose(from + at, row, real, n, lines);
	}
}

void kerf_direct_pack(const struct kerf_direct *d, const float *from, float *to)
{
	const int64_t area = (int64_t)d->kernel[0] * d->kernel[1];

	for (int64_t group = 0; group < d->groups; group++) {
		const int64_t start = kerf_direct_first(d, group), width = kerf_direct_first(d, group + 1) - start;

		for (int64_t first = 0; first < d->ic; first += d->block) {
			const int64_t nc = KERF_MIN(d->ic - first, d->block);

			for (int64_t at = 0; at < width; at += DIRECT_PACK)
				kerf_direct_pack_lanes(d, from, start + at, KERF_MIN(width - at, DIRECT_PACK), first, nc, width, to + at);
			to += nc * area * width;
		}
	}
}

/* Whether outputs first to last of a dimension see the image through this tap. */
static bool sees(int64_t first, int64_t last, int tap, int stride, int dilation, int pad, int64_t size)
{
	const int64_t at = (int64_t)tap * dilation - pad;

	return last * stride + at >= 0 && first * stride + at < size;
}

/* The taps that see only pads from all output places of these rows and columns. */
static uint64_t find_skip(const struct kerf_direct *d, const int64_t rows[2], const int64_t columns[2])
{
	uint64_t skip = 0;

	for (int ky = 0, tap = 0; ky < d->kernel[0]; ky++) {
		const bool row = sees(rows[0], rows[1], ky, d->strides[0], d->dilations[0], d->pads[0], d->h);

		for (int kx = 0; kx < d->kernel[1] && tap < 64; kx++, tap++)
			if (!row || !sees(columns[0], columns[1], kx, d->strides[1], d->dilations[1], d->pads[1], d->w))
				skip |= (uint64_t)1 << tap;
	}
	return skip;
}

/* The largest tiles need one register more than there are. AMD's cores do not notice, on Intel's it costs a twelfth. */
static int64_t most_places(const struct kerf_direct *d, int channels)
{
	const struct kerf_direct_code *code = d->code;
	const bool largest = channels > (code->vectors - 1) * code->lanes;

	return code == &kerf_direct_avx512 && largest && !kerf_direct_is_amd() ? code->places - 1 : code->places;
}

/* Whether windows are one place, and so many places from there on all the same distance from one another. */
static bool is_line(const struct kerf_direct *d, int64_t count)
{
	return d->kernel[0] == 1 && d->kernel[1] == 1 && !d->padded && d->strides[1] == 1 &&
		(count <= d->out_w || (d->strides[0] == 1 && d->row == d->out_w * d->x_row));
}

/* The longer tiles first. */
static void run_line(const struct kerf_direct *d, struct kerf_direct_tile *t, const float *x, float *y, int64_t count,
	int64_t tiles, const char *next)
{
	const int64_t longer = count % tiles;

	t->x[0] = x;
	t->y[0] = y;
	t->fetch = next;
	t->places = (int)(count / tiles + 1);
	if (longer)
		d->code->run_line(d, t, longer);
	t->x[0] += longer * t->places * d->x_row;
	t->y[0] += longer * t->places * d->y_row;
	t->fetch += longer * t->n_inputs * t->fetch_step;
	t->places--;
	d->code->run_line(d, t, tiles - longer);
}

void kerf_direct_run(const struct kerf_direct *d, struct kerf_direct_tile *t, const float *x, int64_t row, float *y,
	int64_t count, const char *next, int64_t next_bytes)
{
	const int64_t tiles = ceil_div(count, most_places(d, t->channels)), window = t->n_inputs * d->kernel[0] * d->kernel[1];
	int64_t ox = 0, oy = row;

	t->fetch_step = ceil_div(next_bytes, tiles * window);
	if (is_line(d, count)) {
		run_line(d, t, x, y, count, tiles, next);
		return;
	}
	for (int64_t i = 0; i < tiles; i++) {
		t->places = (int)(count * (i + 1) / tiles - count * i / tiles);
		t->fetch = next + i * window * t->fetch_step;
		int64_t rows[2] = {oy, oy}, columns[2] = {ox, ox + t->places - 1};
		for (int p = 0; p < t->places; p++, y += d->y_row) {
			t->x[p] = x + ox * d->strides[1] * d->x_row;
			t->y[p] = y;
			if (++ox == d->out_w) {
				ox = 0;
				x += d->strides[0] * d->row;
				oy++;
			}
		}
		if (d->padded && !d->apart) {
			if (columns[1] >= d->out_w) {
				rows[1] = rows[0] + columns[1] / d->out_w;
				columns[0] = 0;
				columns[1] = d->out_w - 1;
			}
			t->skip = find_skip(d, rows, columns);
		}
		d->code->run(d, t);
	}
}

/* Of as many values as a cache line has, mostly: those without a call. */
static void copy_line(float *to, const float *from, int64_t n)
{
	if (n == 16)
		memcpy(to, from, 16 * sizeof(float));
	else
		memcpy(to, from, (size_t)n * sizeof(float));
}

/*
 * Input rows that output rows [from, to) of an image read, with zeros around them, into the thread's own room. Of a
 * convolution of groups the channels from x on that one group of tiles reads.
 */
static void pad_band(const struct kerf_direct *d, const float *x, int64_t channels, int64_t from, int64_t to, float *room)
{
	const int64_t left = d->pads[1] * d->x_row, middle = d->w * d->x_row, right = d->row - left - middle;
	const int64_t first = from * d->strides[0] - d->pads[0];
	const int64_t count = (to - from - 1) * d->strides[0] + (d->kernel[0] - 1) * d->dilations[0] + 1;

	for (int64_t y = first; y < first + count; y++, room += d->row) {
		if (y < 0 || y >= d->h) {
			memset(room, 0, (size_t)d->row * sizeof(*room));
			continue;
		}
		memset(room, 0, (size_t)left * sizeof(*room));
		if (d->x_row == d->in_row)
			memcpy(room + left, x + y * middle, (size_t)middle * sizeof(*room));
		else
			for (int64_t i = 0; i < d->w; i++)
				copy_line(room + left + i * d->x_row, x + (y * d->w + i) * d->in_row, channels);
		memset(room + left + middle, 0, (size_t)right * sizeof(*room));
	}
}

/* Where the input channels begin that output channels from this one on read. */
static int64_t first_input(const struct kerf_direct *d, int64_t channel)
{
	return channel * d->in_row / d->oc / d->ic * d->ic;
}

/* While `length` floats of weights from `at` on are used: as many behind them, and a share of what later steps wait for. */
static const char *find_next(
	const struct kerf_direct *d, const float *weights, const float *at, int64_t length, bool last_band, int64_t *bytes)
{
	const int64_t total = kerf_direct_first(d, d->groups) * d->ic * d->kernel[0] * d->kernel[1];
	const int64_t ahead = last_band ? d->ahead : 0, share = ahead * (at - weights) / total;

	*bytes = length * (int64_t)sizeof(float) + ahead * (at + length - weights) / total - share;
	return (const char *)(at + length) + share;
}

/*
 * A part is a band of rows of one image, for one group of output channels; a thread has all those of a band one after
 * another. A sum is taken in the same order by any number of threads: same bits.
 */
static void direct_part(const struct step *s, float *const *data, int64_t from, int64_t to)
{
	const struct kerf_direct *d = &s->direct;
	const int64_t n_groups = d->groups, n_bands = bands(d);
	const int64_t area = (int64_t)d->kernel[0] * d->kernel[1];
	float *room = d->padded ? data[4] + omp_get_thread_num() * d->room : NULL;
	int64_t there = -1; /* what lies in room: a band, from that input channel on */

	for (int64_t i = from; i < to; i++) {
		const int64_t group = i % n_groups, band = i / n_groups % n_bands, image = i / (n_groups * n_bands);
		const int64_t top = band * d->band, end = KERF_MIN(top + d->band, d->out_h);
		const int64_t channel = kerf_direct_first(d, group), next = kerf_direct_first(d, group + 1);
		const int64_t inputs = first_input(d, channel), key = i / n_groups * d->in_row + inputs;
		const float *x = data[1] + image * d->h * d->w * d->in_row + inputs;
		float *y = data[0] + image * d->out_h * d->out_w * d->y_row + d->y_first + channel;
		struct kerf_direct_tile t = {
			.weights = data[2] + channel * d->ic * area,
			.channels = (int)(KERF_MIN(next, d->oc) - channel),
		};

		if (room && there != key)
			pad_band(d, x, KERF_MIN(d->x_row, d->in_row - inputs), top, end, room);
		there = key;
		x = room ? room : x + top * d->strides[0] * d->row;
		for (int64_t c = 0; c < d->ic; c += d->block) {
			t.n_inputs = (int)KERF_MIN(d->ic - c, d->block);
			t.first = c == 0;
			t.bias = t.first ? data[3] + channel : NULL;
			t.last = c + t.n_inputs == d->ic;
			const int64_t length = t.n_inputs * (next - channel) * area;
			int64_t bytes;
			const char *fetch = find_next(d, data[2], t.weights, length, end == d->out_h, &bytes);
			kerf_direct_run(d, &t, x + c, top, y + top * d->out_w * d->y_row, (end - top) * d->out_w, fetch, bytes);
			t.weights += length;
		}
	}
}

void kerf_step_direct(const struct step *s, float *const *data, unsigned team)
{
	const struct kerf_direct *d = &s->direct;

	kerf_step_split(s, data, team, d->n * bands(d) * d->groups, direct_part);
}

/* Up to so many places the weights are most of what is read, and oneDNN takes 1.2 to 1.5 times as long. */
#define SMALL_IMAGE 64
#define MIDDLE_IMAGE 300 /* 17x17 */
#define LARGE_IMAGE 1300 /* 36x36; from there on oneDNN is as good or better, but for few outputs or few inputs */

/* Output channels of one tile; with so few oneDNN gains nothing on AMD's cores in any image, and each shape is code to be generated. */
#define FEW_CHANNELS 48
#define FEW_PRODUCTS 1536 /* for a place: with fewer, what is read and written is most of the time */

/* With so many products for a value oneDNN gains no more than a copy of the value costs. */
#define JOIN_PRODUCTS 576

static bool suits_pointwise(int64_t ic, int64_t oc, int64_t places)
{
	if (kerf_direct_is_amd())
		return ic >= 64 && ((oc >= 16 && oc <= FEW_CHANNELS) || (oc >= 32 && places <= SMALL_IMAGE) ||
					   (oc >= 32 && places <= MIDDLE_IMAGE && (ic >= 240 || oc <= 256)));
	if (places <= LARGE_IMAGE)
		return ic >= 24 && oc >= 24;
	return (ic >= 96 && oc > 16 && oc <= FEW_CHANNELS) ||
		(ic >= 16 && ic < 160 && oc >= 24 && oc <= 200 && ic * oc >= FEW_PRODUCTS);
}

static bool suits_window(int64_t area, int64_t ic, int64_t oc, int64_t places)
{
	const int64_t most = kerf_direct_is_amd() ? 200 : MIDDLE_IMAGE;

	return ic * area >= 64 && oc >= 32 && (places <= SMALL_IMAGE || (places <= most && ic >= 96 && oc >= 64));
}

static bool suits_avx512(int64_t area, int64_t ic, int64_t oc, int64_t places, bool joins)
{
	if (joins && ic >= 16 && oc >= 32 && ic * area <= JOIN_PRODUCTS)
		return true;
	if (places <= kerf_direct_avx512.places)
		return false;
	return area == 1 ? suits_pointwise(ic, oc, places) : suits_window(area, ic, oc, places);
}

/* oneDNN's 1x1 is as good until only weights are read, its others take up to 1.7 times as long. */
static bool suits_avx2(int64_t area, int64_t ic, int64_t oc, int64_t places)
{
	const struct kerf_direct_code *code = &kerf_direct_avx2;

	if (ic < 16 || oc < code->vectors * code->lanes || oc % code->lanes != 0)
		return false;
	return area > 1 || (ic >= 64 && places <= SMALL_IMAGE && places > code->places);
}

static bool suits(int64_t area, int64_t ic, int64_t oc, int64_t places, bool joins)
{
	const struct kerf_direct_code *code = kerf_direct_code();

	if (code && area == 1 && places == 1) /* as squeeze-and-excite has: oneDNN's take 1.1 to 5 times as long */
		return true;
	return code == &kerf_direct_avx512 ? suits_avx512(area, ic, oc, places, joins)
	     : code			   ? suits_avx2(area, ic, oc, places)
					   : false;
}

/* oneDNN's AVX2 code for groups of channels reaches a third of the peak. */
static bool suits_grouped(int64_t area, int64_t ic, int64_t oc)
{
	const struct kerf_direct_code *code = kerf_direct_code();

	return code == &kerf_direct_avx2 && area > 1 && ic >= code->lanes && oc % code->lanes == 0;
}

/* brgemm (with AVX2 from oneDNN 3 on) divides longer sums among threads: then ours, which are the same for any team. */
#define LONG_SUM 1024

/* With more weights than half a second cache brgemm waits for them, whatever the number of rows. */
#define LARGE_WEIGHTS (256 << 10)

bool kerf_direct_suits_gemm(const struct kerf_tensor *x, const struct kerf_tensor *y)
{
	const struct kerf_direct_code *code = kerf_direct_code();
	const int64_t rows = x->dims[0], ic = x->dims[1], oc = y->dims[1];

	if (!code || x->n_dims != 2)
		return false;
	if (rows <= code->places)
		return oc >= code->lanes || ic > LONG_SUM;
	return suits(1, ic, oc, rows, false) || ic > LONG_SUM ||
		(code == &kerf_direct_avx512 && ic * oc > LARGE_WEIGHTS);
}

bool kerf_direct_suits(const struct kerf_node *n, const struct kerf_tensor *x, const struct kerf_tensor *y, bool joins)
{
	const int64_t area = (int64_t)n->kernel[0] * n->kernel[1];

	if (n->groups > 1)
		return suits_grouped(area, x->dims[1] / n->groups, y->dims[1] / n->groups);
	if (DNN_FAILS_AT_1024 && kerf_direct_code() == &kerf_direct_avx2 && area == 1 && (x->dims[1] >= 1024 || y->dims[1] >= 1024))
		return true;
	return suits(area, x->dims[1], y->dims[1], y->dims[2] * y->dims[3], joins);
}
