/*
 * Precision: which convolutions and inner products multiply in bf16 or int8, and how tensors lie between them.
 *
 * Sums, activations of our own and everything else stay f32: a convolution reads f32 through a step that narrows it and
 * writes f32, unless its result goes to nothing but other such convolutions. So a residual is added in full precision, and
 * where a graph is cut tensors are f32, whatever precision the two sides multiply in.
 *
 * int8: weights are symmetric by output channel, activations by tensor, unsigned where nothing is below 0 (Jacob et al. 2018).
 */
#include "engine/internal.h"

#include <math.h>
#include <stdlib.h>

const char *kerf_precision_name(unsigned precision)
{
	static const char *const names[] = {"f32", "bf16", "int8"};

	return precision < KERF_ARRAY_LEN(names) ? names[precision] : NULL;
}

float kerf_precision_scale(float largest, int most)
{
	/* Zeros, what is no number, and sizes whose products would leave f32: no scale would do, and 1 does no harm. */
	return largest > 1e-15f && largest < 1e15f ? largest / (float)most : 1;
}

#define SIGNED_MAX 127
#define UNSIGNED_MAX 255

static struct kerf_range range_of(const struct builder *b, int id)
{
	return b->ranges ? b->ranges[id] : b->g->tensors[id].range;
}

/* There are values, and not zeros alone. */
static bool is_known(struct kerf_range r)
{
	return r.lo <= r.hi && isfinite(r.lo) && isfinite(r.hi) && (r.lo < 0 || r.hi > 0);
}

struct storage kerf_precision_read_as(const struct builder *b, int id)
{
	const struct storage stored = b->e->storage[id];

	if (stored.type != dnnl_f32)
		return stored;
	if (b->precision == KERF_PRECISION_BF16)
		return (struct storage){dnnl_bf16, 1};
	const struct kerf_range r = range_of(b, id);
	const bool is_unsigned = r.lo >= 0;

	return (struct storage){is_unsigned ? dnnl_u8 : dnnl_s8,
		kerf_precision_scale(fmaxf(fabsf(r.lo), fabsf(r.hi)), is_unsigned ? UNSIGNED_MAX : SIGNED_MAX)};
}

/* ---- which ---- */

static bool is_product(const struct builder *b, const struct kerf_node *n)
{
	const struct kerf_tensor *w = n->n_inputs > 1 ? &b->g->tensors[n->inputs[1]] : NULL;

	return (n->op == KERF_OP_CONV || n->op == KERF_OP_GEMM) && w->data && w->dtype == KERF_F32 &&
		!b->g->tensors[n->inputs[0]].data;
}

static struct storage f32(void)
{
	return (struct storage){dnnl_f32, 1};
}

static bool has_range(const struct builder *b, int id)
{
	return b->precision == KERF_PRECISION_BF16 || is_known(range_of(b, id));
}

static void choose_nodes(struct builder *b)
{
	for (b->node = 0; b->node < b->g->n_nodes; b->node++) {
		const struct kerf_node *n = &b->g->nodes[b->node];

		b->narrow[b->node] = is_product(b, n) && has_range(b, n->inputs[0]) &&
			!kerf_winograd_beats_narrow(b, b->node) &&
			kerf_dnn_suits(b, n, kerf_precision_read_as(b, n->inputs[0]), f32());
	}
}

/* Read by nothing but narrow convolutions, as what they convolve. */
static bool all_readers_narrow(const struct builder *b, int id)
{
	for (int i = 0; i < b->g->n_nodes; i++) {
		const struct kerf_node *n = &b->g->nodes[i];

		if (n->residual == id)
			return false;
		for (int k = 0; k < n->n_inputs; k++)
			if (n->inputs[k] == id && (k > 0 || n->op != KERF_OP_CONV || !b->narrow[i]))
				return false;
	}
	return true;
}

static bool may_be_stored_narrow(struct builder *b, const bool *crosses)
{
	const struct kerf_node *n = &b->g->nodes[b->node];
	struct dnn_tail tail = {0};
	const bool takes_act = n->act.kind == KERF_ACT_NONE || kerf_tail_eltwise(n->act, &tail);

	return b->narrow[b->node] && n->op == KERF_OP_CONV && takes_act && n->residual < 0 && n->n_inputs < 4 &&
		n->output != b->g->output && !crosses[n->output] && has_range(b, n->output) && all_readers_narrow(b, n->output) &&
		kerf_dnn_suits(b, n, kerf_precision_read_as(b, n->inputs[0]), kerf_precision_read_as(b, n->output));
}

/*
 * Tensors that alone cross a cut and are no larger than the smallest that did before: a device that sends more than it could
 * have sent earlier gains nothing by the work.
 */
static int find_crossings(struct builder *b, bool *crosses)
{
	struct kerf_cut *cuts;
	int64_t least = INT64_MAX;
	unsigned n;

	if (kerf_graph_find_cuts(b->g, &cuts, &n, b->err) < 0)
		return -ENOMEM;
	for (unsigned k = 0; k < n; k++)
		if (cuts[k].natural && cuts[k].elements <= least) {
			least = cuts[k].elements;
			crosses[cuts[k].tensors[0]] = true;
		}
	free(cuts);
	return 0;
}

int kerf_precision_decide(struct builder *b)
{
	bool *crosses;

	/* Elsewhere oneDNN emulates bf16, which is slower than f32. */
	if (b->precision == KERF_PRECISION_F32 ||
		(b->precision == KERF_PRECISION_BF16 && !dnn_isa_has(dnnl_cpu_isa_avx512_core_bf16)))
		return 0;
	crosses = calloc((size_t)b->g->n_tensors, sizeof(*crosses));
	if (!crosses)
		return kerf_err_set(b->err, -ENOMEM, "out of memory");
	const int rc = find_crossings(b, crosses);
	if (rc == 0) {
		choose_nodes(b);
		for (b->node = 0; b->node < b->g->n_nodes; b->node++)
			if (may_be_stored_narrow(b, crosses)) {
				const int id = b->g->nodes[b->node].output;
				b->e->storage[id] = kerf_precision_read_as(b, id);
			}
	}
	free(crosses);
	return rc;
}

/* ---- narrowing ---- */

int kerf_precision_input(struct builder *b, int id, struct operand *o)
{
	const struct storage as = kerf_precision_read_as(b, id);
	const int64_t elements = kerf_tensor_elements(&b->g->tensors[id]);
	struct operand x;

	if (b->e->storage[id].type != dnnl_f32) {
		*o = (struct operand){IN_ARENA, b->e->tensor_place[id]};
		return 0;
	}
	int rc = kerf_lower_input(b, id, &x);
	if (rc < 0)
		return rc;
	const int place = kerf_lower_new_place(b, (size_t)elements * dnnl_data_type_size(as.type));
	if (place < 0)
		return place;
	*o = (struct operand){IN_ARENA, place};
	struct step *s = kerf_lower_step(b, as.type == dnnl_bf16 ? "to_bf16" : "to_int8", kerf_step_narrow);
	if (!s)
		return -ENOMEM;
	s->elements = elements;
	s->narrow = (struct narrow){
		.bf16 = as.type == dnnl_bf16,
		.inverse = 1 / as.scale,
		.lo = as.type == dnnl_u8 ? 0 : -SIGNED_MAX,
		.hi = as.type == dnnl_u8 ? UNSIGNED_MAX : SIGNED_MAX,
	};
	kerf_lower_operand(s, *o);
	kerf_lower_operand(s, x);
	return 0;
}

/* ---- weights ---- */

#define WEIGHT_MAX 127

float kerf_precision_weight_scale(const struct kerf_tensor *w, int64_t oc)
{
	const int64_t row = kerf_tensor_elements(w) / w->dims[0];
	const float *v = (const float *)w->data + oc * row;
	float largest = 0;

	for (int64_t i = 0; i < row; i++)
		largest = fmaxf(largest, fabsf(v[i]));
	return kerf_precision_scale(largest, WEIGHT_MAX);
}

void kerf_precision_quantise(const struct kerf_tensor *w, int8_t *to)
{
	const int64_t row = kerf_tensor_elements(w) / w->dims[0];

	for (int64_t oc = 0; oc < w->dims[0]; oc++) {
		const float scale = kerf_precision_weight_scale(w, oc);

		for (int64_t i = oc * row; i < (oc + 1) * row; i++)
			to[i] = (int8_t)lrintf(fminf(fmaxf(((const float *)w->data)[i] / scale, -WEIGHT_MAX), WEIGHT_MAX));
	}
}
