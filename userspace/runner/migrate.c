// SPDX-License-Identifier: GPL-2.0
/* Letting a machine go: see migrate.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migrate.h"
#include "runner.h"

#define PAGE_SIZE 4096
#define PAGES_AT_ONCE (WIRE_PAGES_MOST / PAGE_SIZE)
/* What is sent between two looks at what else there is. */
#define TURN (4u << 20)
/* Over the memory, before the guest has to wait. */
#define ROUNDS_MOST 8
/* Pages that a vCPU may write in a round whatever else it does. */
#define GRANT_LEAST 64

enum phase {
	STARTS,		/* the VM pauses, so that nothing is under way when the log begins */
	COPIES,		/* rounds */
	PAUSES,		/* for the last one */
	LAST,		/* it */
	ASKS,		/* the state is sent: can the destination go on? */
	GOES,		/* it is told to */
	FAILS,		/* the VM pauses, so that the log can end */
	ENDED,
};

struct migration {
	struct job job;
	struct source source;
	struct timer patience;
	struct vm *vm;
	enum phase phase;
	bool is_busy;		/* it has begun, and nobody has been told of its end */
	bool was_paused;	/* by somebody else, so it is there */
	bool copies;		/* it goes on here, too */
	bool is_cancelled;
	__u64 downtime;		/* ns that the guest may stand still */
	__u64 paused_at;
	struct mote_written written;
	__u64 *todo;		/* pages of this round, a bit each */
	__u64 at;		/* the next one to be looked at */
	__u64 round_at;		/* when the round began, */
	__u64 round_sent;	/* and what had been sent then, in bytes */
	__u64 round_pages;	/* and in pages */
	unsigned char *out;	/* messages */
	size_t out_size;
	size_t out_at;
	struct state state;	/* that will be sent */
	struct wire in;		/* the answer, */
	char text[WIRE_TEXT_MOST + 1];
	size_t nr_in;		/* as much of it as has come */
	struct progress progress;
	char why[300];
	void (*done)(struct vm *vm, void *data);
	void *data;
};

static __u64 nr_words(const struct migration *m)
{
	return (m->written.nr + 63) / 64;
}

/* ---- ends ------------------------------------------------------------------------------ */

static void note_failure(struct migration *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void note_failure(struct migration *m, const char *format, ...)
{
	va_list args;

	if (m->why[0])
		return;
	va_start(args, format);
	vsnprintf(m->why, sizeof(m->why), format, args);
	va_end(args);
}

static void release(struct migration *m)
{
	free(m->written.bits);
	free(m->todo);
	free(m->out);
	state_free(&m->state);
	m->written.bits = m->todo = NULL;
	m->out = NULL;
}

static void end(struct migration *m)
{
	struct vm *vm = m->vm;

	timer_destroy(&m->patience);
	source_remove(&m->source);
	close(m->source.fd);
	m->phase = ENDED;
	vcpus_grant(vm, false, UNLIMITED);
	mote_machine_unwatch(&vm->machine, &m->written);
	pthread_mutex_lock(&vm->life);
	vm->when_paused = NULL;
	vm->holder = m->why[0] || m->copies ? NULL : vm->holder;
	pthread_mutex_unlock(&vm->life);
	release(m);
}

/* The last that is done for it: who is told may begin another one. */
static void tell_end(struct vm *vm, struct migration *m)
{
	void (*done)(struct vm *vm, void *data) = m->done;
	void *data = m->data;

	if (m->phase != ENDED || !m->is_busy)
		return;
	if (!m->why[0] && !m->copies)
		vm_end(vm, END_MIGRATED, 0);
	__atomic_store_n(&m->is_busy, false, __ATOMIC_RELEASE);
	done(vm, data);
}

/* It goes on here, and all that was changed for it is as before. */
static void end_here(struct migration *m)
{
	struct vm *vm = m->vm;

	memory_log(vm, false);
	end(m);
	if (!m->was_paused)
		vm_resume(vm);
}

static void fail(struct migration *m)
{
	if (m->phase == GOES) {
		note_failure(m, "the connection ended");
		snprintf(m->why + strlen(m->why), sizeof(m->why) - strlen(m->why),
			 ": whether %s runs there now is not known, so it does not here: look there, and "
			 "then mote resume or mote stop --force", m->vm->name);
		memory_log(m->vm, false);
		end(m);
		return;
	}
	if (m->phase == COPIES) {
		m->was_paused = vm_is_wanted_paused(m->vm);
		vm_pause(m->vm, NULL);
	}
	if (m->phase == COPIES || m->phase == STARTS || m->phase == PAUSES)
		m->phase = FAILS;
	else
		end_here(m);
}

/* ---- what is sent ------------------------------------------------------------------------ */

static void put(struct migration *m, enum wire_kind kind, __u64 at, const void *data, size_t size)
{
	struct wire wire = { .kind = kind, .size = size, .at = at };
	size_t needed = m->out_size + sizeof(wire) + size;
	unsigned char *grown = realloc(m->out, needed), *to;

	if (!grown) {
		note_failure(m, "there is no memory for it");
		return;
	}
	m->out = grown;
	to = grown + m->out_size;
	/* The guest may write to it meanwhile: what counts is what is sent. */
	if (size)
		memcpy(to + sizeof(wire), data, size);
	wire.sum = wire_sum(&wire, to + sizeof(wire));
	memcpy(to, &wire, sizeof(wire));
	m->out_size = needed;
}

/* False: the connection takes no more for now, or there is none any more. */
static bool send_out(struct migration *m)
{
	while (m->out_at < m->out_size) {
		ssize_t nr = send(m->source.fd, m->out + m->out_at, m->out_size - m->out_at,
				  MSG_DONTWAIT | MSG_NOSIGNAL);

		if (nr < 0 && errno == EINTR)
			continue;
		if (nr < 0 && errno != EAGAIN)
			note_failure(m, "the connection ended: %s", strerror(errno));
		if (nr < 0)
			return false;
		m->out_at += nr;
		m->progress.sent += nr;
	}
	m->out_at = m->out_size = 0;
	return true;
}

/* What there is to say of the machine; with all of it when it is paused. */
static void make_state(struct migration *m, bool is_whole)
{
	struct snapshot_memory memory = { .size = m->vm->options->memory };

	state_begin_save(&m->state);
	snapshot_memory_state(&memory, &m->state);
	machine_state(m->vm, &m->state);
	if (is_whole) {
		state_flag(&m->state, "paused", &m->was_paused, sizeof(m->was_paused));
		vm_state(m->vm, &m->state);
	}
	if (state_end(&m->state))
		note_failure(m, "%s", m->state.why);
}

static void put_state(struct migration *m, enum wire_kind kind, __u64 at)
{
	if (!state_has_failed(&m->state))
		put(m, kind, at, m->state.data, m->state.size);
	state_free(&m->state);
}

/* ---- memory ------------------------------------------------------------------------------- */

static bool is_due(const struct migration *m, __u64 page)
{
	return page < m->written.nr && m->todo[page / 64] >> page % 64 & 1;
}

/* The next page of this round, or the number of all. */
static __u64 next_page(const struct migration *m, __u64 page)
{
	while (page < m->written.nr) {
		__u64 word = m->todo[page / 64] >> page % 64;

		if (word)
			return page + __builtin_ctzll(word);
		page = (page / 64 + 1) * 64;
	}
	return m->written.nr;
}

/* How many there are; most words have none. */
static __u64 nr_due(const struct migration *m)
{
	__u64 pages = 0;

	for (__u64 i = 0; i < nr_words(m); i++)
		if (m->todo[i])
			pages += __builtin_popcountll(m->todo[i]);
	return pages;
}

/*
 * The same, but for memory that nobody has touched: in the first round it is zeros there, too, and what the
 * guest writes to it from now on is in its log.
 */
static __u64 next_touched(struct migration *m)
{
	__u64 page = next_page(m, m->at), before = ~0ull, left;

	if (m->progress.rounds > 1)
		return page;
	while (page < m->written.nr && page % MEMORY_LOOK_MOST == 0 && page != before) {
		left = m->written.nr - page;
		memory_skip_untouched(m->vm, page, left < MEMORY_LOOK_MOST ? left : MEMORY_LOOK_MOST,
				      &m->todo[page / 64]);
		before = page;
		page = next_page(m, page);
	}
	return page;
}

/* Pages that are all zeros, or none of which is, as a message; false: the round is over. */
static bool put_pages(struct migration *m)
{
	__u64 first = next_touched(m), nr, size;
	unsigned char *hva = m->written.hva + first * PAGE_SIZE;
	bool zero = first < m->written.nr && is_zero(hva, PAGE_SIZE);
	__u64 most = zero ? 64 * PAGES_AT_ONCE : PAGES_AT_ONCE;

	if (first == m->written.nr)
		return false;
	for (nr = 1; nr < most && is_due(m, first + nr) && (first + nr) % MEMORY_LOOK_MOST &&
	     is_zero(hva + nr * PAGE_SIZE, PAGE_SIZE) == zero; nr++)
		;
	size = nr * PAGE_SIZE;
	if (zero)
		put(m, WIRE_ZEROS, first * PAGE_SIZE, &size, sizeof(size));
	else
		put(m, WIRE_PAGES, first * PAGE_SIZE, hva, size);
	m->progress.pages += zero ? 0 : nr;
	m->at = first + nr;
	return true;
}

/* What the guest has written since the last time, and what was written for it. */
static void collect(struct migration *m)
{
	int err = memory_get_dirty(m->vm, m->todo);

	for (__u64 i = 0; i < nr_words(m); i++)
		if (__atomic_load_n(&m->written.bits[i], __ATOMIC_RELAXED))
			m->todo[i] |= __atomic_exchange_n(&m->written.bits[i], 0, __ATOMIC_ACQ_REL);
	if (err)
		note_failure(m, "what the guest writes cannot be seen: %s", strerror(-err));
}

/*
 * In each round all vCPUs together may write half as many pages as it has: a quarter at once, and another one
 * as the round goes on.  So each round is half as long as the one before, and who writes less is not held up.
 */
static void grant(struct migration *m, bool anew)
{
	__u64 pages = m->progress.left / PAGE_SIZE + m->progress.pages - m->round_pages;

	vcpus_grant(m->vm, anew, GRANT_LEAST + pages / 4 / m->vm->nr_vcpus);
}

static void begin_round(struct migration *m)
{
	m->progress.left = nr_due(m) * PAGE_SIZE;
	m->progress.rounds++;
	m->at = 0;
	m->round_at = clock_ns();
	m->round_sent = m->progress.sent;
	m->round_pages = m->progress.pages;
	grant(m, true);
}

/* As fast as in the round that is over, how long would the rest take? */
static bool fits_downtime(const struct migration *m, __u64 left)
{
	__u64 took = clock_ns() - m->round_at, sent = m->progress.sent - m->round_sent;

	return (double)left * took <= (double)m->downtime * (sent ? sent : 1);
}

static void end_round(struct migration *m)
{
	memset(m->todo, 0, nr_words(m) * sizeof(m->todo[0]));
	collect(m);
	if (m->progress.rounds < ROUNDS_MOST && !fits_downtime(m, nr_due(m) * PAGE_SIZE)) {
		begin_round(m);
		return;
	}
	m->was_paused = vm_is_wanted_paused(m->vm);
	m->paused_at = clock_ns();
	vm_pause(m->vm, m->copies ? "it is being copied" : "it is being migrated");
	m->phase = PAUSES;
}

/* ---- phases -------------------------------------------------------------------------------- */

/* Nothing is under way: from here on all that is written is noted. */
static void start(struct migration *m)
{
	int err = memory_log(m->vm, true);

	if (err)
		note_failure(m, "what the guest writes cannot be seen: %s", strerror(-err));
	mote_machine_watch(&m->vm->machine, &m->written);
	memset(m->todo, 0xff, nr_words(m) * sizeof(m->todo[0]));
	if (m->written.nr % 64)
		m->todo[nr_words(m) - 1] = (1ull << m->written.nr % 64) - 1;
	make_state(m, false);
	put_state(m, WIRE_HELLO, WIRE_VERSION);
	begin_round(m);
	m->phase = COPIES;
	if (!m->was_paused)
		vm_resume(m->vm);
}

/* Do what is next; false: something has to come first. */
static bool advance(struct migration *m)
{
	struct vm *vm = m->vm;

	switch (m->phase) {
	case STARTS:
	case FAILS:
		/* Somebody may have resumed it. */
		vm_pause(vm, NULL);
		if (!vm_is_paused(vm))
			return false;
		if (m->phase == STARTS)
			start(m);
		else
			end_here(m);
		return m->phase != ENDED;
	case COPIES:
		if (put_pages(m))
			grant(m, false);
		else
			end_round(m);
		return true;
	case PAUSES:
		vm_pause(vm, NULL);
		if (!vm_hold_for(vm, m))
			return false;
		/* Reading the registers may write to memory. */
		make_state(m, true);
		collect(m);
		begin_round(m);
		m->phase = LAST;
		return true;
	case LAST:
		if (put_pages(m))
			return true;
		put_state(m, WIRE_STATE, 0);
		m->phase = ASKS;
		return true;
	default:
		return false;
	}
}

/* While the guest stands still for it. */
static void wait_for(struct migration *m)
{
	bool is_patient = m->phase < LAST || m->phase > GOES;

	timer_set(&m->patience, is_patient ? 0 : clock_ns() + MIGRATION_PATIENCE_MS * 1000000ull, 0);
	source_change(&m->source, EPOLLIN | (m->out_at < m->out_size ? EPOLLOUT : 0));
}

/* Until the connection is full, or something has to come first, or others are to have their turn. */
static void go_on(struct migration *m)
{
	__u64 until = m->progress.sent + TURN;
	bool advances = true;

	while (advances && m->phase != ENDED && !m->why[0] && m->progress.sent < until)
		advances = send_out(m) && (m->why[0] || advance(m));
	if (m->phase == ENDED)
		return;
	if (m->why[0] && m->phase != FAILS)
		fail(m);
	if (m->phase == FAILS)
		advance(m);
	if (m->phase == ENDED)
		return;
	wait_for(m);
	if (advances)
		io_post(m->vm, &m->job);
}

static void do_job(struct vm *vm, struct job *job)
{
	struct migration *m = container_of(job, struct migration, job);

	if (m->phase == ENDED)
		return;
	if (__atomic_load_n(&m->is_cancelled, __ATOMIC_ACQUIRE) && m->phase != GOES)
		note_failure(m, "it was cancelled");
	go_on(m);
	tell_end(vm, m);
}

/* ---- answers -------------------------------------------------------------------------------- */

/* The next piece of the answer; false: it is not whole yet. */
static bool read_answer(struct migration *m)
{
	bool has_head = m->nr_in >= sizeof(m->in);
	size_t in_text = has_head ? m->nr_in - sizeof(m->in) : 0;
	void *to = has_head ? (void *)(m->text + in_text) : (char *)&m->in + m->nr_in;
	size_t wanted = has_head ? m->in.size - in_text : sizeof(m->in) - m->nr_in;
	ssize_t nr = wanted ? recv(m->source.fd, to, wanted, MSG_DONTWAIT) : 0;

	if (wanted && nr <= 0) {
		if (!nr || (errno != EAGAIN && errno != EINTR))
			note_failure(m, "the other end is gone");
		return false;
	}
	m->nr_in += nr;
	if (m->nr_in < sizeof(m->in))
		return false;
	if (m->in.size > WIRE_TEXT_MOST) {
		note_failure(m, "the other end speaks another language");
		return false;
	}
	return m->nr_in == sizeof(m->in) + m->in.size;
}

static void take_answer(struct migration *m)
{
	m->nr_in = 0;
	m->text[m->in.size] = '\0';
	if (m->in.kind == WIRE_READY && m->phase == ASKS && m->copies) {
		m->progress.downtime_ns = clock_ns() - m->paused_at;
		end_here(m);
	} else if (m->in.kind == WIRE_READY && m->phase == ASKS) {
		put(m, WIRE_GO, 0, NULL, 0);
		m->phase = m->why[0] ? ASKS : GOES;
	} else if (m->in.kind == WIRE_RUNS && m->phase == GOES) {
		m->progress.downtime_ns = clock_ns() - m->paused_at;
		end(m);
	} else if (m->in.kind == WIRE_REFUSED) {
		note_failure(m, "the other end refuses it: %s", m->text);
	} else {
		note_failure(m, "the other end speaks another language");
	}
}

static void ready(struct vm *vm, struct source *source, __u32 events)
{
	struct migration *m = container_of(source, struct migration, source);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		while (m->phase != ENDED && !m->why[0] && read_answer(m))
			take_answer(m);
	if (m->phase != ENDED)
		go_on(m);
	tell_end(vm, m);
}

static void has_waited(struct vm *vm, struct timer *timer)
{
	struct migration *m = container_of(timer, struct migration, patience);

	note_failure(m, "the other end has said nothing for %d seconds", MIGRATION_PATIENCE_MS / 1000);
	go_on(m);
	tell_end(vm, m);
}

/* ---- the whole of it -------------------------------------------------------------------------- */

static bool allocate(struct migration *m)
{
	m->written.hva = m->vm->ram;
	m->written.nr = m->vm->options->memory / PAGE_SIZE;
	m->written.bits = calloc(nr_words(m), sizeof(m->written.bits[0]));
	m->todo = calloc(nr_words(m), sizeof(m->todo[0]));
	return m->written.bits && m->todo;
}

/* The one that the VM has, and that is used again; a job of the last one may be on its way yet. */
static struct migration *renew(struct vm *vm)
{
	struct migration *m = vm->migration ? vm->migration : calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	vm->migration = m;
	memset(&m->source, 0, sizeof(*m) - offsetof(struct migration, source));
	m->vm = vm;
	m->job.run = do_job;
	return m;
}

static bool watch(struct vm *vm, struct migration *m)
{
	if (source_add(&vm->io, &m->source, 0))
		return false;
	if (timer_create_fd(&vm->io, &m->patience, has_waited)) {
		source_remove(&m->source);
		return false;
	}
	/* They take the locks that they need. */
	m->source.lock = m->patience.source.lock = NULL;
	return true;
}

struct migration *migration_begin(struct vm *vm, int fd, bool copies, __u64 downtime_ns,
				  void (*done)(struct vm *vm, void *data), void *data)
{
	struct migration *m = renew(vm);

	if (!m) {
		close(fd);
		return NULL;
	}
	m->source = (struct source) { .fd = fd, .ready = ready };
	m->copies = copies;
	m->downtime = downtime_ns;
	m->was_paused = vm_is_wanted_paused(vm);
	m->done = done;
	m->data = data;
	if (!allocate(m) || !watch(vm, m)) {
		release(m);
		close(fd);
		return NULL;
	}
	m->is_busy = true;
	pthread_mutex_lock(&vm->life);
	vm->when_paused = &m->job;
	pthread_mutex_unlock(&vm->life);
	io_post(vm, &m->job);
	return m;
}

bool migration_is_under_way(const struct vm *vm)
{
	return vm->migration && __atomic_load_n(&vm->migration->is_busy, __ATOMIC_ACQUIRE);
}

void migration_cancel(struct vm *vm)
{
	__atomic_store_n(&vm->migration->is_cancelled, true, __ATOMIC_RELEASE);
	io_post(vm, &vm->migration->job);
}

const char *migration_failure(const struct vm *vm)
{
	return vm->migration->why[0] ? vm->migration->why : NULL;
}

void migration_progress(const struct vm *vm, struct progress *progress)
{
	*progress = vm->migration->progress;
}

void migration_end(struct vm *vm)
{
	struct migration *m = vm->migration;

	if (!m || !m->is_busy)
		return;
	note_failure(m, "the machine has come to an end meanwhile");
	end(m);
	tell_end(vm, m);
}

void migration_destroy(struct vm *vm)
{
	free(vm->migration);
	vm->migration = NULL;
}
