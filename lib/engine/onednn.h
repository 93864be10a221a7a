/*
 * onednn: the few oneDNN calls that differ between versions, under names of our own.
 *
 * Nothing else in lib/engine looks at the version. The types that are the same handles in 2.6 and
 * 3.x (engine, stream, memory, primitive, primitive descriptor, exec_arg) are used as they are.
 * What differs is in onednn_v2.h and onednn_v3.h, function by function
 * (https://oneapi-src.github.io/oneDNN/dev_guide_transition_to_v3.html).
 *
 * A struct dnn_md has one owner, who frees it; zeroed it is empty, and freeing it does nothing.
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

/* A memory descriptor: a struct in 2.x, a handle in 3.x. */
struct dnn_md {
	dnnl_memory_desc_t md;
};

/* What follows the operation itself: dst = eltwise(op + dst if sum). */
struct dnn_tail {
	bool sum;
	bool eltwise;
	dnnl_alg_kind_t alg;
	float alpha, beta;
};

enum dnn_kind { DNN_CONV, DNN_INNER_PRODUCT, DNN_SOFTMAX, DNN_MATMUL };

/* An operation by its operands; unused fields stay zero. */
struct dnn_op {
	enum dnn_kind kind;
	struct dnn_md src, weights, bias, dst;
	bool has_bias;
	dnnl_dims_t strides, dilates, pad_begin, pad_end; /* dilates: 0 = dense */
	int axis;
	struct dnn_tail tail;
	/* Integers: what a product of each output channel stands for, in units of dst; NULL = 1. */
	const float *scales;
	int n_scales;
	bool grouped; /* weights have a dimension of groups first */
};

/* A visit to each implementation in oneDNN's order of preference; true ends it and keeps the pd. */
typedef bool (*dnn_accept)(const char *impl_name);

struct dnn_impl {
	char name[64];
};

static inline const char *dnn_impl_name(const_dnnl_primitive_desc_t pd)
{
	const char *name = "";

	dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name);
	return name;
}

/* Notes the name of the first implementation; whether accept() takes this one. */
static inline bool dnn_visit(const_dnnl_primitive_desc_t pd, dnn_accept accept,
	struct dnn_impl *first)
{
	const char *name = dnn_impl_name(pd);

	if (!first->name[0])
		snprintf(first->name, sizeof(first->name), "%s", name);
	return accept(name);
}

#if DNNL_VERSION_MAJOR == 2
#include "engine/onednn_v2.h"
#elif DNNL_VERSION_MAJOR == 3
#include "engine/onednn_v3.h"
#else
#error "lib/engine/onednn.h knows oneDNN 2.x and 3.x"
#endif

/* ---- memory ---- */

static inline dnnl_status_t dnn_md_make(struct dnn_md *m, int n_dims, const dnnl_dims_t dims, dnnl_format_tag_t tag)
{
	return dnn_md_make_as(m, n_dims, dims, dnnl_f32, tag);
}

static inline dnnl_status_t dnn_md_copy(struct dnn_md *m, const struct dnn_md *from)
{
	return dnn_md_clone(m, dnn_md_get(from));
}

static inline size_t dnn_md_bytes(const struct dnn_md *m)
{
	return dnnl_memory_desc_get_size(dnn_md_get(m));
}

static inline dnnl_status_t dnn_memory_create(dnnl_memory_t *memory, const struct dnn_md *m,
	dnnl_engine_t engine, void *data)
{
	return dnnl_memory_create(memory, dnn_md_get(m), engine, data);
}

/* Memory for one argument of a primitive's runs, described as the primitive has it (dnnl_query_exec_arg_md). */
static inline dnnl_status_t dnn_arg_memory_create(dnnl_memory_t *memory, const_dnnl_primitive_t primitive, int arg,
	dnnl_engine_t engine, void *data)
{
	const_dnnl_primitive_desc_t pd;
	dnnl_status_t rc = dnnl_primitive_get_primitive_desc(primitive, &pd);

	if (rc != dnnl_success)
		return rc;
	if (DNN_SCALES_ARE_ARGS && arg == DNN_ARG_SCALES) /* it does not describe these */
		return dnn_scales_memory_create(memory, pd, engine, data);
	dnn_md_ref md = dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, arg);

	return md ? dnnl_memory_create(memory, md, engine, data) : dnnl_invalid_arguments;
}

static inline void dnn_op_free(struct dnn_op *op)
{
	dnn_md_free(&op->src);
	dnn_md_free(&op->weights);
	dnn_md_free(&op->bias);
	dnn_md_free(&op->dst);
}

/* ---- attributes ---- */

static inline dnnl_status_t dnn_append_tail(dnnl_post_ops_t ops, const struct dnn_tail *tail)
{
	dnnl_status_t rc = dnnl_success;

	if (tail->sum)
		rc = dnn_append_sum(ops);
	if (rc == dnnl_success && tail->eltwise)
		rc = dnn_append_eltwise(ops, tail->alg, tail->alpha, tail->beta);
	return rc;
}

/* Scratchpads come from the caller: that keeps execution free of allocation. */
static inline dnnl_status_t dnn_attr_create(dnnl_primitive_attr_t *attr, const struct dnn_op *op)
{
	dnnl_post_ops_t ops = NULL;
	dnnl_status_t rc = dnnl_primitive_attr_create(attr);

	if (rc != dnnl_success)
		return rc;
	rc = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
	if (rc == dnnl_success)
		rc = dnnl_post_ops_create(&ops);
	if (rc == dnnl_success)
		rc = dnn_append_tail(ops, &op->tail);
	if (rc == dnnl_success)
		rc = dnnl_primitive_attr_set_post_ops(*attr, ops);
	if (rc == dnnl_success && op->scales)
		rc = dnn_attr_set_scales(*attr, op);
	if (ops)
		dnnl_post_ops_destroy(ops);
	if (rc != dnnl_success) {
		dnnl_primitive_attr_destroy(*attr);
		*attr = NULL;
	}
	return rc;
}

/* ---- primitive descriptors ---- */

/*
 * The first implementation that accept() takes. dnnl_unimplemented when there is none; then
 * `first` names the one that oneDNN would have chosen (empty when it has none at all).
 */
static inline dnnl_status_t dnn_op_choose(const struct dnn_op *op, dnnl_engine_t engine,
	dnn_accept accept, dnnl_primitive_desc_t *chosen, struct dnn_impl *first)
{
	dnnl_primitive_attr_t attr;
	dnnl_status_t rc = dnn_attr_create(&attr, op);

	*chosen = NULL;
	first->name[0] = '\0';
	if (rc != dnnl_success)
		return rc;
	rc = dnn_op_search(op, attr, engine, accept, chosen, first);
	dnnl_primitive_attr_destroy(attr);
	return rc;
}

/* A copy of the descriptor that the implementation chose for an `any` operand. */
static inline dnnl_status_t dnn_pd_query_md(const_dnnl_primitive_desc_t pd, dnnl_query_t what,
	struct dnn_md *m)
{
	dnn_md_ref md = dnnl_primitive_desc_query_md(pd, what, 0);

	return md ? dnn_md_clone(m, md) : dnnl_invalid_arguments;
}

static inline dnnl_status_t dnn_reorder_create(dnnl_primitive_t *primitive,
	const struct dnn_md *from, const struct dnn_md *to, dnnl_engine_t engine)
{
	dnnl_primitive_desc_t pd;
	dnnl_status_t rc = dnnl_reorder_primitive_desc_create(&pd, dnn_md_get(from), engine,
		dnn_md_get(to), engine, NULL);

	if (rc != dnnl_success)
		return rc;
	rc = dnnl_primitive_create(primitive, pd);
	dnnl_primitive_desc_destroy(pd);
	return rc;
}

/* What uses a primitive keeps it; in oneDNN's cache those of the reorders would stay as well (dev_guide_primitive_cache). */
static inline void dnn_cache_clear(void)
{
	int capacity;

	if (dnnl_get_primitive_cache_capacity(&capacity) == dnnl_success &&
		dnnl_set_primitive_cache_capacity(0) == dnnl_success)
		dnnl_set_primitive_cache_capacity(capacity);
}

/* ---- what the CPU has, unless ONEDNN_MAX_CPU_ISA says less: each of oneDNN's values has the bits of those below it ---- */

static inline bool dnn_isa_has(dnnl_cpu_isa_t wanted)
{
	return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)wanted) == (unsigned)wanted;
}

/* ---- names ---- */

static inline const char *dnn_isa_name(void)
{
	dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();

	switch ((unsigned)isa) {
	case dnnl_cpu_isa_sse41: return "sse41";
	case dnnl_cpu_isa_avx: return "avx";
	case dnnl_cpu_isa_avx2: return "avx2";
	case dnnl_cpu_isa_avx2_vnni: return "avx2_vnni";
	case dnnl_cpu_isa_avx512_core: return "avx512_core";
	case dnnl_cpu_isa_avx512_core_vnni: return "avx512_core_vnni";
	case dnnl_cpu_isa_avx512_core_bf16: return "avx512_core_bf16";
	case dnnl_cpu_isa_avx512_core_amx: return "avx512_core_amx";
#if DNNL_VERSION_MAJOR == 2
	case dnnl_cpu_isa_all: return "all";
#else
	case dnnl_cpu_isa_avx2_vnni_2: return "avx2_vnni_2";
	case dnnl_cpu_isa_avx512_core_fp16: return "avx512_core_fp16";
	case dnnl_cpu_isa_avx512_core_amx_fp16: return "avx512_core_amx_fp16";
#endif
	}
	return "unknown";
}

static inline const char *dnn_status_name(dnnl_status_t status)
{
	return dnnl_status2str(status);
}
