#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app_link.h"

#define LINKS 2
#define RING (1u << 16) /* records; at 1 Mpps the writer has 65 ms */
#define WRITER_SLEEP_US 2000

/* One producer, the link's thread, and one consumer. Head and tail only grow. */
struct truth_ring {
	struct app_truth *log;
	const char *name;
	_Atomic uint64_t head, tail;
	uint64_t missed; /* the producer's, read when it has ended */
	struct kerf_linkem_truth records[RING];
};

struct app_truth {
	FILE *file;
	char path[KERF_INI_TEXT_LEN];
	bool threaded;
	atomic_bool stop;
	pthread_t writer;
	struct truth_ring rings[LINKS];
};

static void write_time(FILE *f, uint64_t ps, bool exists)
{
	if (!exists)
		fputs(",", f);
	else if (ps == UINT64_MAX)
		fputs(",never", f);
	else
		fprintf(f, ",%" PRIu64, ps);
}

static void write_record(FILE *f, const char *link, const struct kerf_linkem_truth *t)
{
	const bool served = t->end == KERF_LINKEM_DELIVERED || t->end == KERF_LINKEM_LOST;

	fprintf(f, "%s,%" PRIu64 ",%" PRIu64, link, t->number, t->arrival_ps);
	write_time(f, t->start_ps, served);
	write_time(f, t->finish_ps, served || t->end == KERF_LINKEM_DROPPED_CODEL);
	write_time(f, t->deliver_ps, t->end == KERF_LINKEM_DELIVERED);
	fprintf(f, ",%u,%s,%d,%d,%d\n", t->bytes, kerf_linkem_end_name(t->end), t->corrupted,
		t->duplicated, t->late);
}

static void drain(struct truth_ring *r)
{
	/* Acquire and release: a record is whole when the head that counts it is seen, and its
	 * place is free when the tail says so. */
	const uint64_t head = atomic_load_explicit(&r->head, memory_order_acquire);
	uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);

	for (; tail != head; tail++)
		write_record(r->log->file, r->name, &r->records[tail % RING]);
	atomic_store_explicit(&r->tail, tail, memory_order_release);
}

static void *write_all(void *self)
{
	struct app_truth *t = self;

	while (!atomic_load(&t->stop)) {
		for (unsigned i = 0; i < LINKS; i++)
			drain(&t->rings[i]);
		usleep(WRITER_SLEEP_US);
	}
	return NULL;
}

static void note(void *user, const struct kerf_linkem_truth *record)
{
	struct truth_ring *r = user;
	const uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);

	if (!r->log->threaded) {
		write_record(r->log->file, r->name, record);
		return;
	}
	if (head - atomic_load_explicit(&r->tail, memory_order_acquire) == RING) {
		r->missed++;
		return;
	}
	r->records[head % RING] = *record;
	atomic_store_explicit(&r->head, head + 1, memory_order_release);
}

struct app_truth *app_truth_open(const char *path, bool threaded, struct kerf_err *err)
{
	struct app_truth *t = calloc(1, sizeof(*t));

	if (!t) {
		kerf_err_set(err, -ENOMEM, "%s: no memory for the log", path);
		return NULL;
	}
	snprintf(t->path, sizeof(t->path), "%s", path);
	t->threaded = threaded;
	for (unsigned i = 0; i < LINKS; i++) {
		t->rings[i].log = t;
		t->rings[i].name = i ? "down" : "up";
	}
	t->file = fopen(path, "w");
	if (!t->file) {
		kerf_err_set(err, -errno, "%s: cannot be written: %s", path, strerror(errno));
		free(t);
		return NULL;
	}
	fputs("link,number,arrival_ps,start_ps,finish_ps,deliver_ps,bytes,end,corrupted,"
	      "duplicated,late\n",
		t->file);
	if (threaded && pthread_create(&t->writer, NULL, write_all, t)) {
		kerf_err_set(err, -EAGAIN, "%s: no thread to write it", path);
		fclose(t->file);
		free(t);
		return NULL;
	}
	return t;
}

void app_truth_log(struct app_truth *t, unsigned link, struct kerf_linkem_config *c)
{
	if (!t)
		return;
	c->truth = note;
	c->truth_user = &t->rings[link];
}

int app_truth_close(struct app_truth *t, struct kerf_err *err)
{
	uint64_t missed = 0;
	int rc = 0;

	if (!t)
		return 0;
	if (t->threaded) {
		atomic_store(&t->stop, true);
		pthread_join(t->writer, NULL);
	}
	for (unsigned i = 0; i < LINKS; i++) {
		drain(&t->rings[i]);
		missed += t->rings[i].missed;
	}
	const bool failed = ferror(t->file) != 0;
	if (fclose(t->file) || failed)
		rc = kerf_err_set(err, -EIO, "%s: cannot be written", t->path);
	else if (missed)
		rc = kerf_err_set(err, -EIO,
			"%s: %" PRIu64 " packets are missing: they came "
			"faster than the disk takes them",
			t->path, missed);
	free(t);
	return rc;
}
