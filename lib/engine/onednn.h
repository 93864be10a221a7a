/*
 * onednn: the few oneDNN calls that differ between versions, under names of our own.
 *
 * Nothing else in lib/engine looks at the version. The types that are the same handles in 2.6 and
 * 3.x (engine, stream, memory, primitive, primitive descriptor, exec_arg) are used as they are.
 * What differs: 2.6 passes memory descriptors as structs by value and builds primitive descriptors
 * from operation descriptors; 3.x has opaque descriptors and no operation descriptors
 * (https://oneapi-src.github.io/oneDNN/dev_guide_transition_to_v3.html).
 *
 * Every function returns oneDNN's status. Dimensions travel as dnnl_dims_t (12 entries): oneDNN's
 * prototypes say so, and gcc warns about shorter arrays.
 */
#pragma once

#include <oneapi/dnnl/dnnl.h>
#include <oneapi/dnnl/dnnl_debug.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#if DNNL_VERSION_MAJOR != 2
#error "lib/engine/onednn.h knows oneDNN 2.x only"
#endif

/* ---- memory descriptors ---- */

struct dnn_md {
	dnnl_memory_desc_t md;
};

static inline dnnl_status_t dnn_md_make(
	struct dnn_md *m, int n_dims, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
	return dnnl_memory_desc_init_by_tag(&m->md, n_dims, dims, dnnl_f32, tag);
}

static inline void dnn_md_free(struct dnn_md *m)
{
	memset(m, 0, sizeof(*m));
}

static inline size_t dnn_md_bytes(const struct dnn_md *m)
{
	return dnnl_memory_desc_get_size(&m->md);
}

static inline dnnl_status_t dnn_memory_create(
	dnnl_memory_t *memory, const struct dnn_md *m, dnnl_engine_t engine, void *data)
{
	return dnnl_memory_create(memory, &m->md, engine, data);
}

/* ---- attributes ---- */

/* What follows the operation itself: dst = eltwise(op + dst if sum). */
struct dnn_tail {
	bool sum;
	bool eltwise;
	dnnl_alg_kind_t alg;
	float alpha, beta;
};

static inline dnnl_status_t dnn_append_tail(dnnl_post_ops_t ops, const struct dnn_tail *tail)
{
	dnnl_status_t rc = dnnl_success;

	if (tail->sum)
		rc = dnnl_post_ops_append_sum(ops, 1.0f);
	if (rc == dnnl_success && tail->eltwise)
		rc = dnnl_post_ops_append_eltwise(ops, 1.0f, tail->alg, tail->alpha, tail->beta);
	return rc;
}

/* Scratchpads come from the caller: that keeps execution free of allocation. */
static inline dnnl_status_t dnn_attr_create(
	dnnl_primitive_attr_t *attr, const struct dnn_tail *tail)
{
	dnnl_post_ops_t ops = NULL;
	dnnl_status_t rc = dnnl_primitive_attr_create(attr);

	if (rc != dnnl_success)
		return rc;
	rc = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
	if (rc == dnnl_success)
		rc = dnnl_post_ops_create(&ops);
	if (rc == dnnl_success)
		rc = dnn_append_tail(ops, tail);
	if (rc == dnnl_success)
		rc = dnnl_primitive_attr_set_post_ops(*attr, ops);
	if (ops)
		dnnl_post_ops_destroy(ops);
	if (rc != dnnl_success) {
		dnnl_primitive_attr_destroy(*attr);
		*attr = NULL;
	}
	return rc;
}

/* ---- primitive descriptors ---- */

enum dnn_kind { DNN_CONV, DNN_INNER_PRODUCT, DNN_MAX_POOL, DNN_SOFTMAX };

/* An operation by its operands; unused fields stay zero. */
struct dnn_op {
	enum dnn_kind kind;
	struct dnn_md src, weights, bias, dst;
	bool has_bias;
	dnnl_dims_t strides, dilates, kernel, pad_begin, pad_end; /* dilates: 0 = dense */
	int axis;
	struct dnn_tail tail;
};

/* 2.6's operation descriptor of any kind. */
union dnn_op_desc {
	dnnl_convolution_desc_t conv;
	dnnl_inner_product_desc_t inner_product;
	dnnl_pooling_v2_desc_t pool;
	dnnl_softmax_v2_desc_t softmax;
};

static inline dnnl_status_t dnn_op_describe(const struct dnn_op *op, union dnn_op_desc *desc)
{
	const dnnl_memory_desc_t *bias = op->has_bias ? &op->bias.md : NULL;

	switch (op->kind) {
	case DNN_CONV:
		return dnnl_dilated_convolution_forward_desc_init(&desc->conv,
			dnnl_forward_inference, dnnl_convolution_direct, &op->src.md,
			&op->weights.md, bias, &op->dst.md, op->strides, op->dilates, op->pad_begin,
			op->pad_end);
	case DNN_INNER_PRODUCT:
		return dnnl_inner_product_forward_desc_init(&desc->inner_product,
			dnnl_forward_inference, &op->src.md, &op->weights.md, bias, &op->dst.md);
	case DNN_MAX_POOL:
		return dnnl_pooling_v2_forward_desc_init(&desc->pool, dnnl_forward_inference,
			dnnl_pooling_max, &op->src.md, &op->dst.md, op->strides, op->kernel,
			op->dilates, op->pad_begin, op->pad_end);
	case DNN_SOFTMAX:
		return dnnl_softmax_v2_forward_desc_init(&desc->softmax, dnnl_forward_inference,
			dnnl_softmax_accurate, &op->src.md, &op->dst.md, op->axis);
	}
	return dnnl_invalid_arguments;
}

/* A visit to each implementation in oneDNN's order of preference; true ends it and keeps the pd. */
typedef bool (*dnn_accept)(const char *impl_name);

static inline const char *dnn_impl_name(const_dnnl_primitive_desc_t pd)
{
	const char *name = "";

	dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
	return name;
}

/*
 * The first implementation that accept() takes. dnnl_unimplemented when there is none; then
 * `first` (len bytes) names the one that oneDNN would have chosen.
 */
static inline dnnl_status_t dnn_op_choose(const struct dnn_op *op, dnnl_engine_t engine,
	dnn_accept accept, dnnl_primitive_desc_t *chosen, char *first, size_t len)
{
	union dnn_op_desc desc;
	dnnl_primitive_attr_t attr;
	dnnl_primitive_desc_iterator_t it = NULL;
	dnnl_status_t rc = dnn_op_describe(op, &desc);

	*chosen = NULL;
	first[0] = '\0';
	if (rc == dnnl_success)
		rc = dnn_attr_create(&attr, &op->tail);
	if (rc != dnnl_success)
		return rc;
	rc = dnnl_primitive_desc_iterator_create(&it, &desc, attr, engine, NULL);
	for (; rc == dnnl_success; rc = dnnl_primitive_desc_iterator_next(it)) {
		dnnl_primitive_desc_t pd = dnnl_primitive_desc_iterator_fetch(it);
		if (!pd) {
			rc = dnnl_out_of_memory;
			break;
		}
		if (!first[0])
			snprintf(first, len, "%s", dnn_impl_name(pd));
		if (accept(dnn_impl_name(pd))) {
			*chosen = pd;
			break;
		}
		dnnl_primitive_desc_destroy(pd);
	}
	if (it)
		dnnl_primitive_desc_iterator_destroy(it);
	dnnl_primitive_attr_destroy(attr);
	return rc == dnnl_iterator_ends ? dnnl_unimplemented : rc;
}

/* A copy of the descriptor that the implementation chose for an `any` operand. */
static inline dnnl_status_t dnn_pd_query_md(
	const_dnnl_primitive_desc_t pd, dnnl_query_t what, struct dnn_md *m)
{
	const dnnl_memory_desc_t *md = dnnl_primitive_desc_query_md(pd, what, 0);

	if (!md)
		return dnnl_invalid_arguments;
	m->md = *md;
	return dnnl_success;
}

static inline dnnl_status_t dnn_reorder_create(dnnl_primitive_t *primitive,
	const struct dnn_md *from, const struct dnn_md *to, dnnl_engine_t engine)
{
	dnnl_primitive_desc_t pd;
	dnnl_status_t rc =
		dnnl_reorder_primitive_desc_create(&pd, &from->md, engine, &to->md, engine, NULL);

	if (rc != dnnl_success)
		return rc;
	rc = dnnl_primitive_create(primitive, pd);
	dnnl_primitive_desc_destroy(pd);
	return rc;
}

/* ---- names ---- */

static inline const char *dnn_isa_name(void)
{
	dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();

	switch ((unsigned)isa) {
	case dnnl_cpu_isa_all: return "all";
	case dnnl_cpu_isa_sse41: return "sse41";
	case dnnl_cpu_isa_avx: return "avx";
	case dnnl_cpu_isa_avx2: return "avx2";
	case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
	case dnnl_cpu_isa_avx512_core: return "avx512_core";
	case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
	case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
	case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
	}
	return "unknown";
}

static inline const char *dnn_status_name(dnnl_status_t status)
{
	return dnnl_status2str(status);
}
