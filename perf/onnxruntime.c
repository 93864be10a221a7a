#include "onnxruntime.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

/*
 * The C API is a table of functions that only grows: a function keeps its place in every version
 * (onnxruntime_c_api.h, ORT_API_VERSION). These are the places of those that are called here.
 */
enum {
	GET_ERROR_MESSAGE = 2,
	CREATE_ENV = 3,
	CREATE_SESSION = 7,
	RUN = 9,
	CREATE_SESSION_OPTIONS = 10,
	SET_EXECUTION_MODE = 13,
	SET_OPTIMIZATION_LEVEL = 23,
	SET_INTRA_OP_THREADS = 24,
	GET_OUTPUT_COUNT = 31,
	GET_INPUT_NAME = 36,
	GET_OUTPUT_NAME = 37,
	CREATE_TENSOR_WITH_DATA = 49,
	GET_TENSOR_DATA = 51,
	GET_ELEMENT_TYPE = 60,
	GET_ELEMENT_COUNT = 64,
	GET_TYPE_AND_SHAPE = 65,
	CREATE_CPU_MEMORY_INFO = 69,
	GET_DEFAULT_ALLOCATOR = 78,
	RELEASE_ENV = 92,
	RELEASE_STATUS = 93,
	RELEASE_MEMORY_INFO = 94,
	RELEASE_SESSION = 95,
	RELEASE_VALUE = 96,
	RELEASE_TYPE_AND_SHAPE = 99,
	RELEASE_SESSION_OPTIONS = 100,
	ADD_CONFIG_ENTRY = 130,
};

#define API_VERSION 11
#define ELEMENT_FLOAT 1
#define SEQUENTIAL 0
#define ALL_OPTIMISATIONS 99
#define LOG_ERROR 3
#define MAX_OUTPUTS 32

typedef void *handle;
typedef void (*any)(void);

struct api_base {
	const any *(*get_api)(uint32_t version);
	const char *(*get_version)(void);
};

struct ort {
	void *library;
	const struct api_base *base;
	const any *api;
	handle env, memory, allocator;
};

struct ort_network {
	struct ort *o;
	handle session, input;
	char *input_name, *output_names[MAX_OUTPUTS]; /* the default allocator's, kept to the end */
	handle outputs[MAX_OUTPUTS];
	size_t n_outputs;
};

/* Calls the function at a place as one of the type given. */
#define CALL(o, place, type, ...) (((type)(o)->api[place])(__VA_ARGS__))

static void release(const struct ort *o, int place, handle h)
{
	if (h)
		CALL(o, place, void (*)(handle), h);
}

static int check(const struct ort *o, handle status, struct kerf_err *err)
{
	if (!status)
		return 0;
	kerf_err_set(err, -EIO, "ONNX Runtime: %.300s", CALL(o, GET_ERROR_MESSAGE, const char *(*)(handle), status));
	release(o, RELEASE_STATUS, status);
	return -EIO;
}

static int start(struct ort *o, const char *library, struct kerf_err *err)
{
	o->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
	if (!o->library)
		return kerf_err_set(err, -ENOENT, "%s", dlerror());
	const struct api_base *(*get_base)(void) = (const struct api_base *(*)(void))dlsym(o->library, "OrtGetApiBase");
	if (!get_base)
		return kerf_err_set(err, -ENOENT, "%s is not ONNX Runtime", library);
	o->base = get_base();
	o->api = o->base->get_api(API_VERSION);
	if (!o->api)
		return kerf_err_set(err, -ENOENT, "ONNX Runtime %s has no API %d", o->base->get_version(), API_VERSION);
	if (check(o, CALL(o, CREATE_ENV, handle(*)(int, const char *, handle *), LOG_ERROR, "kerf", &o->env), err) < 0 ||
		check(o, CALL(o, CREATE_CPU_MEMORY_INFO, handle(*)(int, int, handle *), 0, 0, &o->memory), err) < 0)
		return -EIO;
	return check(o, CALL(o, GET_DEFAULT_ALLOCATOR, handle(*)(handle *), &o->allocator), err);
}

struct ort *ort_open(const char *library, struct kerf_err *err)
{
	struct ort *o = calloc(1, sizeof(*o));

	if (!o) {
		kerf_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	if (start(o, library, err) == 0)
		return o;
	ort_close(o);
	return NULL;
}

void ort_close(struct ort *o)
{
	if (!o)
		return;
	if (o->api) {
		release(o, RELEASE_MEMORY_INFO, o->memory);
		release(o, RELEASE_ENV, o->env);
	}
	/* The library stays open: its threads end with the process. */
	free(o);
}

const char *ort_version(const struct ort *o)
{
	return o->base->get_version();
}

static int create_session(struct ort_network *n, const char *path, unsigned threads, struct kerf_err *err)
{
	const struct ort *o = n->o;
	handle options = NULL;
	int rc = check(o, CALL(o, CREATE_SESSION_OPTIONS, handle(*)(handle *), &options), err);

	if (rc == 0)
		rc = check(o, CALL(o, SET_EXECUTION_MODE, handle(*)(handle, int), options, SEQUENTIAL), err);
	if (rc == 0)
		rc = check(o, CALL(o, SET_OPTIMIZATION_LEVEL, handle(*)(handle, int), options, ALL_OPTIMISATIONS), err);
	if (rc == 0)
		rc = check(o, CALL(o, SET_INTRA_OP_THREADS, handle(*)(handle, int), options, (int)threads), err);
	/* Its threads may spin while they wait for work within a run, not while somebody else runs. */
	if (rc == 0)
		rc = check(o,
			CALL(o, ADD_CONFIG_ENTRY, handle(*)(handle, const char *, const char *), options,
				"session.force_spinning_stop", "1"),
			err);
	if (rc == 0)
		rc = check(o,
			CALL(o, CREATE_SESSION, handle(*)(handle, const char *, handle, handle *), o->env, path, options,
				&n->session),
			err);
	release(o, RELEASE_SESSION_OPTIONS, options);
	return rc;
}

static int name_ends(struct ort_network *n, struct kerf_err *err)
{
	typedef handle (*get_name)(handle, size_t, handle, char **);
	const struct ort *o = n->o;
	int rc = check(o, CALL(o, GET_OUTPUT_COUNT, handle(*)(handle, size_t *), n->session, &n->n_outputs), err);

	if (rc == 0 && n->n_outputs > MAX_OUTPUTS)
		rc = kerf_err_set(err, -E2BIG, "%zu outputs, expected at most %d", n->n_outputs, MAX_OUTPUTS);
	if (rc == 0)
		rc = check(o, CALL(o, GET_INPUT_NAME, get_name, n->session, 0, o->allocator, &n->input_name), err);
	for (size_t i = 0; i < n->n_outputs && rc == 0; i++)
		rc = check(o, CALL(o, GET_OUTPUT_NAME, get_name, n->session, i, o->allocator, &n->output_names[i]), err);
	return rc;
}

static int bind_input(struct ort_network *n, int n_dims, const int64_t *dims, float *input, struct kerf_err *err)
{
	typedef handle (*create)(handle, void *, size_t, const int64_t *, size_t, int, handle *);
	size_t bytes = sizeof(float);

	for (int i = 0; i < n_dims; i++)
		bytes *= (size_t)dims[i];
	return check(n->o,
		CALL(n->o, CREATE_TENSOR_WITH_DATA, create, n->o->memory, input, bytes, dims, (size_t)n_dims, ELEMENT_FLOAT,
			&n->input),
		err);
}

struct ort_network *ort_load(struct ort *o, const char *path, unsigned threads, int n_dims, const int64_t *dims,
	float *input, struct kerf_err *err)
{
	struct ort_network *n = calloc(1, sizeof(*n));

	if (!n) {
		kerf_err_set(err, -ENOMEM, "out of memory");
		return NULL;
	}
	n->o = o;
	if (create_session(n, path, threads, err) == 0 && name_ends(n, err) == 0 &&
		bind_input(n, n_dims, dims, input, err) == 0)
		return n;
	ort_unload(n);
	return NULL;
}

static void drop_outputs(struct ort_network *n)
{
	for (size_t i = 0; i < n->n_outputs; i++) {
		release(n->o, RELEASE_VALUE, n->outputs[i]);
		n->outputs[i] = NULL;
	}
}

void ort_unload(struct ort_network *n)
{
	if (!n)
		return;
	drop_outputs(n);
	release(n->o, RELEASE_VALUE, n->input);
	release(n->o, RELEASE_SESSION, n->session);
	free(n);
}

int ort_run(struct ort_network *n, struct kerf_err *err)
{
	typedef handle (*run)(handle, handle, const char *const *, const handle *, size_t, const char *const *, size_t,
		handle *);

	drop_outputs(n);
	return check(n->o,
		CALL(n->o, RUN, run, n->session, NULL, (const char *const *)&n->input_name, &n->input, 1,
			(const char *const *)n->output_names, n->n_outputs, n->outputs),
		err);
}

unsigned ort_outputs(const struct ort_network *n)
{
	return (unsigned)n->n_outputs;
}

const float *ort_output(const struct ort_network *n, unsigned i, size_t *elements)
{
	const struct ort *o = n->o;
	handle info = NULL;
	void *data = NULL;
	int type = 0;
	bool good = check(o, CALL(o, GET_TYPE_AND_SHAPE, handle(*)(handle, handle *), n->outputs[i], &info), NULL) == 0 &&
		check(o, CALL(o, GET_ELEMENT_TYPE, handle(*)(handle, int *), info, &type), NULL) == 0 &&
		check(o, CALL(o, GET_ELEMENT_COUNT, handle(*)(handle, size_t *), info, elements), NULL) == 0 &&
		check(o, CALL(o, GET_TENSOR_DATA, handle(*)(handle, void **), n->outputs[i], &data), NULL) == 0;

	release(o, RELEASE_TYPE_AND_SHAPE, info);
	return good && type == ELEMENT_FLOAT ? data : NULL;
}
