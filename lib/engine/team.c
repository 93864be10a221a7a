/*
 * The OpenMP team of one frame. Two facts shape this file: oneDNN puts the number of threads into
 * its kernels when they are made, so they must run with the same number; and every thread that
 * opens a parallel region gets a team of its own, whose workers inherit the CPU mask of that
 * thread - a DPDK lcore has one CPU in it - so binding is done per running thread.
 */
#include "engine/internal.h"

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
#include <xmmintrin.h>

#define MAX_THREADS 256
#define FLUSH_DENORMALS 0x8040u /* of MXCSR: results to zero, operands as zero */

/* Which team the calling thread's workers are bound as; 0 = none yet. */
static _Thread_local uint64_t bound_id;
/* So many of its workers flush denormals. */
static _Thread_local unsigned flushing;

static int check_cpus(const struct kerf_engine_options *o, struct kerf_err *err)
{
	long configured = sysconf(_SC_NPROCESSORS_CONF);

	for (unsigned i = 0; i < o->threads; i++)
		if (o->cpus[i] < 0 || o->cpus[i] >= configured || o->cpus[i] >= CPU_SETSIZE)
			return kerf_err_set(err, -EINVAL,
				"CPU %d for compute thread %u: this machine has 0 to %ld",
				o->cpus[i], i, configured - 1);
	return 0;
}

int kerf_team_init(struct team *t, const struct kerf_engine_options *o, struct kerf_err *err)
{
	static atomic_uint_least64_t last_id;

	*t = (struct team){.threads = o->threads ? o->threads : 1};
	if (t->threads > MAX_THREADS)
		return kerf_err_set(err, -EINVAL, "%u compute threads, expected at most %d",
			t->threads, MAX_THREADS);
	if (!o->cpus || !o->threads)
		return 0;
	if (check_cpus(o, err) < 0)
		return -EINVAL;
	t->cpus = malloc(t->threads * sizeof(*t->cpus));
	if (!t->cpus)
		return kerf_err_set(err, -ENOMEM, "out of memory");
	memcpy(t->cpus, o->cpus, t->threads * sizeof(*t->cpus));
	/* Relaxed: only uniqueness counts. */
	t->id = atomic_fetch_add_explicit(&last_id, 1, memory_order_relaxed) + 1;
	return 0;
}

static int bind_workers(const struct team *t)
{
	int failed = 0;

#pragma omp parallel num_threads(t->threads) reduction(+ : failed)
	{
		cpu_set_t mask;
		CPU_ZERO(&mask);
		CPU_SET(t->cpus[omp_get_thread_num()], &mask);
		failed += sched_setaffinity(0, sizeof(mask), &mask) != 0;
	}
	return failed ? -EINVAL : 0;
}

static void flush_in_workers(const struct team *t)
{
#pragma omp parallel num_threads(t->threads)
	_mm_setcsr(_mm_getcsr() | FLUSH_DENORMALS);
	flushing = t->threads;
}

unsigned kerf_flush_denormals(void)
{
	const unsigned before = _mm_getcsr();

	_mm_setcsr(before | FLUSH_DENORMALS);
	return before;
}

void kerf_restore_denormals(unsigned before)
{
	_mm_setcsr(before);
}

int kerf_team_enter(const struct team *t)
{
	if ((unsigned)omp_get_max_threads() != t->threads)
		omp_set_num_threads((int)t->threads);
	if (t->threads > flushing)
		flush_in_workers(t);
	if (!t->cpus || bound_id == t->id)
		return 0;
	int rc = bind_workers(t);
	if (rc == 0)
		bound_id = t->id;
	return rc;
}
