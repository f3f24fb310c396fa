// SPDX-License-Identifier: GPL-2.0
/* Watched memory: what is watched for whom, and how it is told of hits: see watch.h. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <debug.h>

#include "device.h"
#include "runner.h"
#include "vm.h"
#include "watch.h"

#define PAGE_SIZE 4096ull
#define PAGES_MOST (WATCH_SIZE_MOST / PAGE_SIZE + 1)
#define HITS_MOST 256
/* An access of so many bytes from where it begins may be what is watched: its size is not known. */
#define ACCESS_MOST 8

/**
 * struct watch - what one connection is told of
 * @source: it
 * @wanted: as it was asked for
 * @nr_pages: in which that is
 * @gpa: of each page
 * @first: the hit that is sent next, in @hits
 * @nr_hits: how many wait
 * @hits: in turn
 * @lost: there was no room for so many
 */
struct watch {
	struct source source;
	struct watch_wanted wanted;
	unsigned int nr_pages;
	__u64 gpa[PAGES_MOST];
	unsigned int first;
	unsigned int nr_hits;
	struct watch_hit hits[HITS_MOST];
	__u64 lost;
};

/**
 * struct watches - those of a machine
 * @job: there are hits to be sent
 * @lock: over all that follows
 * @nr: how many there are
 * @list: each
 */
struct watches {
	struct job job;
	pthread_mutex_t lock;
	unsigned int nr;
	struct watch *list[WATCHES_MOST];
};

static __u64 page_of(__u64 address)
{
	return address & ~(PAGE_SIZE - 1);
}

/* ---- what the module is told ------------------------------------------------------------- */

/* All that is watched of a page, for whomever. */
static int apply(struct vm *vm, __u64 gpa)
{
	struct mote_watch set = { .gpa = gpa, .size = PAGE_SIZE };
	struct watches *all = vm->watches;

	for (unsigned int i = 0; i < all->nr; i++)
		for (unsigned int j = 0; j < all->list[i]->nr_pages; j++)
			if (all->list[i]->gpa[j] == gpa)
				set.access |= all->list[i]->wanted.access;
	return mote_set_watch(vm->machine.fd, &set);
}

static int apply_all(struct vm *vm, const struct watch *watch)
{
	int err = 0;

	for (unsigned int i = 0; i < watch->nr_pages && !err; i++)
		err = apply(vm, watch->gpa[i]);
	return err;
}

/* Where it is in the guest's memory, by the tables that vCPU 0 has now; false: not all of it is. */
static bool find_pages(struct vm *vm, struct watch *watch)
{
	struct mote_state state = { .mask = MOTE_STATE_CRS | MOTE_STATE_MSRS };
	const __u64 last = page_of(watch->wanted.address + watch->wanted.size - 1);
	struct mote_paging paging;

	if (mote_debug_get(vm->vcpus[0].cpu.fd, &state))
		return false;
	paging = mote_debug_paging(&state);
	for (__u64 page = page_of(watch->wanted.address);; page += PAGE_SIZE) {
		__u64 *gpa = &watch->gpa[watch->nr_pages++];

		*gpa = page;
		if (!watch->wanted.is_physical &&
		    mote_walk(&vm->machine, &paging, page, MOTE_ACCESS_PEEK, gpa, NULL))
			return false;
		if (page == last)
			return true;
	}
}

/* ---- one of them -------------------------------------------------------------------------- */

static void forget(struct vm *vm, struct watch *watch)
{
	struct watches *all = vm->watches;

	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; i < all->nr; i++)
		if (all->list[i] == watch)
			all->list[i] = all->list[--all->nr];
	apply_all(vm, watch);
	pthread_mutex_unlock(&all->lock);
	source_remove(&watch->source);
	close(watch->source.fd);
	free(watch);
}

/* As many as the connection takes; false: nobody listens any more. */
static bool send_hits(struct watch *watch)
{
	while (watch->nr_hits) {
		if (send(watch->source.fd, &watch->hits[watch->first], sizeof(watch->hits[0]),
			 MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return errno == EAGAIN || errno == EINTR;
		watch->first = (watch->first + 1) % HITS_MOST;
		watch->nr_hits--;
	}
	return true;
}

static bool serve(struct vm *vm, struct watch *watch)
{
	bool goes_on;

	pthread_mutex_lock(&vm->watches->lock);
	goes_on = send_hits(watch);
	source_change(&watch->source, EPOLLIN | (watch->nr_hits ? EPOLLOUT : 0));
	pthread_mutex_unlock(&vm->watches->lock);
	if (!goes_on)
		forget(vm, watch);
	return goes_on;
}

/* It says nothing: what comes is its end. */
static void ready(struct vm *vm, struct source *source, __u32 events)
{
	struct watch *watch = container_of(source, struct watch, source);

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		forget(vm, watch);
	else
		serve(vm, watch);
}

/* The I/O thread: who has hits is told, and who has just come is waited for. */
static void do_job(struct vm *vm, struct job *job)
{
	struct watches *all = container_of(job, struct watches, job);

	for (unsigned int i = 0; i < all->nr; i++) {
		struct watch *watch = all->list[i];

		if (!watch->source.loop && source_add(&vm->io, &watch->source, EPOLLIN)) {
			forget(vm, watch);
			i--;
			continue;
		}
		/* It has to do with no device. */
		watch->source.lock = NULL;
		if (!serve(vm, watch))
			i--;
	}
}

/* ---- for the supervisor ---------------------------------------------------------------------- */

static struct watches *create(struct vm *vm)
{
	struct watches *all = vm->watches;

	if (all)
		return all;
	all = calloc(1, sizeof(*all));
	if (all) {
		pthread_mutex_init(&all->lock, NULL);
		all->job.run = do_job;
	}
	vm->watches = all;
	return all;
}

/* It is among them, and the module knows; or a negative errno, and nothing has changed. */
static int add(struct vm *vm, struct watch *watch)
{
	struct watches *all = vm->watches;
	int err = -E2BIG;

	pthread_mutex_lock(&all->lock);
	if (all->nr < WATCHES_MOST) {
		all->list[all->nr++] = watch;
		err = apply_all(vm, watch);
		if (err) {
			all->nr--;
			apply_all(vm, watch);
		}
	}
	pthread_mutex_unlock(&all->lock);
	return err;
}

static const char *refuse(struct watch *watch, int fd, const char *why)
{
	free(watch);
	close(fd);
	return why;
}

const char *watch_begin(struct vm *vm, const struct watch_wanted *wanted, int fd)
{
	struct watch *watch = create(vm) ? calloc(1, sizeof(*watch)) : NULL;
	int err;

	if (!watch)
		return refuse(NULL, fd, "the runner has no memory");
	watch->wanted = *wanted;
	watch->source = (struct source) { .fd = fd, .ready = ready };
	if (!find_pages(vm, watch))
		return refuse(watch, fd, "there is no memory at that address (by the page tables of vCPU 0)");
	err = add(vm, watch);
	if (err)
		return refuse(watch, fd, err == -E2BIG ? "the VM has as many watches as there can be" :
							 strerror(-err));
	io_post(vm, &vm->watches->job);
	return NULL;
}

bool watch_is_any(struct vm *vm)
{
	return vm->watches && __atomic_load_n(&vm->watches->nr, __ATOMIC_RELAXED);
}

void watches_destroy(struct vm *vm)
{
	struct watches *all = vm->watches;

	while (all && all->nr) {
		send_hits(all->list[0]);
		forget(vm, all->list[0]);
	}
}

/* ---- hits -------------------------------------------------------------------------------------- */

/* Does what was accessed from @gpa on concern it?  Then *address: as it calls it. */
static bool concerns(const struct watch *watch, __u64 gpa, __u32 access, __u64 *address)
{
	const struct watch_wanted *wanted = &watch->wanted;
	__u64 most = access & MOTE_ACCESS_EXEC ? 1 : ACCESS_MOST;

	if (!(access & wanted->access))
		return false;
	for (unsigned int i = 0; i < watch->nr_pages; i++) {
		if (watch->gpa[i] != page_of(gpa))
			continue;
		*address = page_of(wanted->address) + i * PAGE_SIZE + gpa % PAGE_SIZE;
		/* Also one that begins before it. */
		if (*address + most - 1 - wanted->address < wanted->size + most - 1)
			return true;
	}
	return false;
}

static void add_hit(struct watch *watch, const struct watch_hit *hit)
{
	struct watch_hit *new = &watch->hits[(watch->first + watch->nr_hits) % HITS_MOST];

	if (watch->nr_hits == HITS_MOST) {
		watch->lost++;
		return;
	}
	*new = *hit;
	new->lost = watch->lost;
	watch->lost = 0;
	watch->nr_hits++;
}

/* Whom it concerns; true: the machine is to wait. */
static bool tell(struct vcpu *vcpu)
{
	const struct mote_run *run = vcpu->cpu.run;
	struct watch_hit hit = {
		.gpa = run->memory.gpa, .rip = run->rip, .vcpu = vcpu->cpu.id,
		.access = run->memory.access,
	};
	struct watches *all = vcpu->vm->watches;
	bool pauses = false, any = false;

	pthread_mutex_lock(&all->lock);
	for (unsigned int i = 0; i < all->nr; i++) {
		struct watch *watch = all->list[i];

		if (!concerns(watch, hit.gpa, hit.access, &hit.address))
			continue;
		any = true;
		pauses |= watch->wanted.pauses;
		add_hit(watch, &hit);
	}
	pthread_mutex_unlock(&all->lock);
	if (any)
		io_post(vcpu->vm, &all->job);
	return pauses;
}

int watch_exit(struct vcpu *vcpu)
{
	const struct mote_run *run = vcpu->cpu.run;
	struct mote_debugged *step = &vcpu->watch_step;
	bool is_told = vcpu->is_told && vcpu->told_rip == run->rip;
	int err;

	vcpu->is_told = run->memory.error;
	vcpu->told_rip = run->rip;
	if (run->memory.access && !is_told && tell(vcpu))
		vm_pause(vcpu->vm, "watched memory");
	if (!run->memory.error)
		return 0;
	/* One that the module does not let through. */
	err = mote_debug_begin(step, &vcpu->cpu, 0);
	vcpu->steps = true;
	if (!err)
		err = mote_step_begin(step);
	if (err != MOTE_STEPPED)
		return err;
	watch_leave_step(vcpu);
	return 0;
}

int watch_step(struct vcpu *vcpu)
{
	struct mote_debugged *step = &vcpu->watch_step;
	int err;

	if (vcpu->cpu.run->reason == MOTE_EXIT_DR)
		return mote_debug_mov_dr(step);
	err = mote_step_exit(step);
	if (err != MOTE_STEPPED)
		return err;
	vcpu->is_told = false;
	watch_leave_step(vcpu);
	return 0;
}

void watch_leave_step(struct vcpu *vcpu)
{
	if (!vcpu->watch_step.cpu)
		return;
	mote_debug_end(&vcpu->watch_step);
	vcpu->watch_step.cpu = NULL;
	vcpu->steps = false;
}
