/*
 * oneDNN 3.x behind onednn.h: memory descriptors are handles with an owner, and a primitive
 * descriptor steps through the implementations itself.
 */
#pragma once

typedef const_dnnl_memory_desc_t dnn_md_ref;

static inline dnn_md_ref dnn_md_get(const struct dnn_md *m)
{
	return m->md;
}

static inline dnnl_status_t dnn_md_make_as(struct dnn_md *m, int n_dims, const dnnl_dims_t dims,
	dnnl_data_type_t type, dnnl_format_tag_t tag)
{
	return dnnl_memory_desc_create_with_tag(&m->md, n_dims, dims, type, tag);
}

static inline dnnl_status_t dnn_md_clone(struct dnn_md *m, dnn_md_ref from)
{
	return dnnl_memory_desc_clone(&m->md, from);
}

static inline void dnn_md_free(struct dnn_md *m)
{
	if (m->md)
		dnnl_memory_desc_destroy(m->md);
	m->md = NULL;
}

static inline dnnl_status_t dnn_append_sum(dnnl_post_ops_t ops)
{
	return dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
}

static inline dnnl_status_t dnn_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg,
	float alpha, float beta)
{
	return dnnl_post_ops_append_eltwise(ops, alg, alpha, beta);
}

/*
 * Whether weights that do not fill blocks are to be given as HWIO: 3.7.2's reorder of them from OIHW is wrong on some CPUs (Zen 5:
 * 345 of 675 shapes in f32; not on Zen 4). From HWIO it is not, but for bf16 with an odd number of inputs.
 */
#define DNN_TURNS_WEIGHTS true

/*
 * Whether 1x1 convolutions from 1024 channels on are not to be asked for with AVX2: 3.7.2 divides by zero while it chooses blocks
 * for some (256 to 1024 and 512 to 2048, at 14x14), on some CPUs (with an L2 of 1 MB, not with 2 MB).
 */
#define DNN_FAILS_AT_1024 true

/* Whether scales are an argument of each run, DNN_ARG_SCALES. */
#define DNN_SCALES_ARE_ARGS true
#define DNN_ARG_SCALES (DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS)

/* One for each output channel. */
static inline dnnl_status_t dnn_scales_memory_create(dnnl_memory_t *memory, const_dnnl_primitive_desc_t pd,
	dnnl_engine_t engine, void *data)
{
	const dnnl_dims_t *dims;
	struct dnn_md md;
	dnnl_status_t rc = dnnl_memory_desc_query(
		dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, DNNL_ARG_DST), dnnl_query_dims, &dims);

	if (rc == dnnl_success)
		rc = dnn_md_make_as(&md, 1, (const dnnl_dims_t){(*dims)[1]}, dnnl_f32, dnnl_a);
	if (rc != dnnl_success)
		return rc;
	rc = dnnl_memory_create(memory, md.md, engine, data);
	dnn_md_free(&md);
	return rc;
}

static inline dnnl_status_t dnn_attr_set_scales(dnnl_primitive_attr_t attr, const struct dnn_op *op)
{
	const int per_channel = op->grouped ? 1 << 0 | 1 << 1 : 1 << 0;

	return dnnl_primitive_attr_set_scales_mask(attr, DNNL_ARG_WEIGHTS, op->n_scales > 1 ? per_channel : 0);
}

/* A bias in the units that the primitive adds it in: those of dst. */
static inline float dnn_bias(float bias, float product_scale, float dst_scale)
{
	(void)product_scale;
	return bias / dst_scale;
}

static inline dnnl_status_t dnn_op_describe(const struct dnn_op *op, dnnl_primitive_attr_t attr,
	dnnl_engine_t engine, dnnl_primitive_desc_t *pd)
{
	dnn_md_ref bias = op->has_bias ? op->bias.md : NULL;

	switch (op->kind) {
	case DNN_CONV:
		return dnnl_convolution_forward_primitive_desc_create(pd, engine,
			dnnl_forward_inference, dnnl_convolution_direct, op->src.md, op->weights.md,
			bias, op->dst.md, op->strides, op->dilates, op->pad_begin, op->pad_end,
			attr);
	case DNN_INNER_PRODUCT:
		return dnnl_inner_product_forward_primitive_desc_create(pd, engine,
			dnnl_forward_inference, op->src.md, op->weights.md, bias, op->dst.md, attr);
	case DNN_SOFTMAX:
		return dnnl_softmax_forward_primitive_desc_create(pd, engine,
			dnnl_forward_inference, dnnl_softmax_accurate, op->src.md, op->dst.md,
			op->axis, attr);
	case DNN_MATMUL:
		return dnnl_matmul_primitive_desc_create(
			pd, engine, op->src.md, op->weights.md, bias, op->dst.md, attr);
	}
	return dnnl_invalid_arguments;
}

static inline dnnl_status_t dnn_op_search(const struct dnn_op *op, dnnl_primitive_attr_t attr,
	dnnl_engine_t engine, dnn_accept accept, dnnl_primitive_desc_t *chosen,
	struct dnn_impl *first)
{
	dnnl_primitive_desc_t pd = NULL;
	dnnl_status_t rc = dnn_op_describe(op, attr, engine, &pd);

	*chosen = NULL;
	for (; rc == dnnl_success; rc = dnnl_primitive_desc_next_impl(pd)) {
		if (dnn_visit(pd, accept, first)) {
			*chosen = pd;
			return dnnl_success;
		}
	}
	if (pd)
		dnnl_primitive_desc_destroy(pd);
	return rc == dnnl_last_impl_reached ? dnnl_unimplemented : rc;
}
