/*
 * oneDNN 2.x behind onednn.h: memory descriptors are structs, and primitive descriptors are built
 * from operation descriptors.
 */
#pragma once

typedef const dnnl_memory_desc_t *dnn_md_ref;

static inline dnn_md_ref dnn_md_get(const struct dnn_md *m)
{
	return &m->md;
}

static inline dnnl_status_t dnn_md_make_as(struct dnn_md *m, int n_dims, const dnnl_dims_t dims,
	dnnl_data_type_t type, dnnl_format_tag_t tag)
{
	return dnnl_memory_desc_init_by_tag(&m->md, n_dims, dims, type, tag);
}

static inline dnnl_status_t dnn_md_clone(struct dnn_md *m, dnn_md_ref from)
{
	m->md = *from;
	return dnnl_success;
}

static inline void dnn_md_free(struct dnn_md *m)
{
	memset(m, 0, sizeof(*m));
}

static inline dnnl_status_t dnn_append_sum(dnnl_post_ops_t ops)
{
	return dnnl_post_ops_append_sum(ops, 1.0f);
}

static inline dnnl_status_t dnn_append_eltwise(dnnl_post_ops_t ops, dnnl_alg_kind_t alg,
	float alpha, float beta)
{
	return dnnl_post_ops_append_eltwise(ops, 1.0f, alg, alpha, beta);
}

/* Whether weights that do not fill blocks are to be given as HWIO. */
#define DNN_TURNS_WEIGHTS false

/* Whether 1x1 convolutions from 1024 channels on are not to be asked for with AVX2. */
#define DNN_FAILS_AT_1024 false

/* Whether scales are an argument of each run, DNN_ARG_SCALES. */
#define DNN_SCALES_ARE_ARGS false
#define DNN_ARG_SCALES 0

static inline dnnl_status_t dnn_scales_memory_create(dnnl_memory_t *memory, const_dnnl_primitive_desc_t pd,
	dnnl_engine_t engine, void *data)
{
	return dnnl_unimplemented;
}

static inline dnnl_status_t dnn_attr_set_scales(dnnl_primitive_attr_t attr, const struct dnn_op *op)
{
	return dnnl_primitive_attr_set_output_scales(attr, op->n_scales, op->n_scales > 1 ? 1 << 1 : 0, op->scales);
}

/* A bias in the units that the primitive adds it in: those of a product. */
static inline float dnn_bias(float bias, float product_scale, float dst_scale)
{
	(void)dst_scale;
	return bias / product_scale;
}

union dnn_op_desc {
	dnnl_convolution_desc_t conv;
	dnnl_inner_product_desc_t inner_product;
	dnnl_softmax_v2_desc_t softmax;
	dnnl_matmul_desc_t matmul;
};

static inline dnnl_status_t dnn_op_describe(const struct dnn_op *op, union dnn_op_desc *desc)
{
	dnn_md_ref bias = op->has_bias ? &op->bias.md : NULL;

	switch (op->kind) {
	case DNN_CONV:
		return dnnl_dilated_convolution_forward_desc_init(&desc->conv,
			dnnl_forward_inference, dnnl_convolution_direct, &op->src.md,
			&op->weights.md, bias, &op->dst.md, op->strides, op->dilates, op->pad_begin,
			op->pad_end);
	case DNN_INNER_PRODUCT:
		return dnnl_inner_product_forward_desc_init(&desc->inner_product,
			dnnl_forward_inference, &op->src.md, &op->weights.md, bias, &op->dst.md);
	case DNN_SOFTMAX:
		return dnnl_softmax_v2_forward_desc_init(&desc->softmax, dnnl_forward_inference,
			dnnl_softmax_accurate, &op->src.md, &op->dst.md, op->axis);
	case DNN_MATMUL:
		return dnnl_matmul_desc_init(&desc->matmul, &op->src.md, &op->weights.md, bias, &op->dst.md);
	}
	return dnnl_invalid_arguments;
}

static inline dnnl_status_t dnn_op_search(const struct dnn_op *op, dnnl_primitive_attr_t attr,
	dnnl_engine_t engine, dnn_accept accept, dnnl_primitive_desc_t *chosen,
	struct dnn_impl *first)
{
	union dnn_op_desc desc;
	dnnl_primitive_desc_iterator_t it = NULL;
	dnnl_status_t rc = dnn_op_describe(op, &desc);

	*chosen = NULL;
	if (rc == dnnl_success)
		rc = dnnl_primitive_desc_iterator_create(&it, &desc, attr, engine, NULL);
	for (; rc == dnnl_success; rc = dnnl_primitive_desc_iterator_next(it)) {
		dnnl_primitive_desc_t pd = dnnl_primitive_desc_iterator_fetch(it);
		if (!pd) {
			rc = dnnl_out_of_memory;
			break;
		}
		if (dnn_visit(pd, accept, first)) {
			*chosen = pd;
			break;
		}
		dnnl_primitive_desc_destroy(pd);
	}
	if (it)
		dnnl_primitive_desc_iterator_destroy(it);
	return rc == dnnl_iterator_ends ? dnnl_unimplemented : rc;
}
