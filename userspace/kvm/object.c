// SPDX-License-Identifier: GPL-2.0
/*
 * Which descriptor stands for what.  No lock is taken to look that up, nor to close: a client may
 * do either in a signal handler, or in a child after fork().
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

/* Descriptors are below 2^20, the most that Linux allows by default, in pieces that stay. */
#define PIECE 1024
#define NR_PIECES 1024

static struct object **pieces[NR_PIECES];
static const size_t sizes[NR_KINDS] = {
	[KIND_SYSTEM] = sizeof(struct object), [KIND_VM] = sizeof(struct shim_vm),
	[KIND_VCPU] = sizeof(struct shim_vcpu),
};
static struct object *unused[NR_KINDS];
static pthread_mutex_t unused_lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- fork -------------------------------------------------------------------------- */

/* How many forks there are between the first process and this one. */
static unsigned int process;

static void before_fork(void)
{
	pthread_mutex_lock(&unused_lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&unused_lock);
}

static void in_child(void)
{
	process++;
	pthread_mutex_unlock(&unused_lock);
}

__attribute__((constructor)) static void watch_forks(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

bool object_is_inherited(const struct object *object)
{
	return object->process != process;
}

/* ---- objects --------------------------------------------------------------------- */

struct object *object_create(enum kind kind)
{
	struct object *object;

	pthread_mutex_lock(&unused_lock);
	object = unused[kind];
	if (object)
		unused[kind] = object->next;
	pthread_mutex_unlock(&unused_lock);
	if (!object)
		object = calloc(1, sizes[kind]);
	if (!object)
		return NULL;
	memset(object + 1, 0, sizes[kind] - sizeof(*object));
	object->kind = kind;
	object->process = process;
	__atomic_store_n(&object->refs, 1, __ATOMIC_RELEASE);
	return object;
}

static bool ref(struct object *object)
{
	unsigned int refs = __atomic_load_n(&object->refs, __ATOMIC_ACQUIRE);

	while (refs)
		if (__atomic_compare_exchange_n(&object->refs, &refs, refs + 1, true, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE))
			return true;
	return false;
}

void object_put(struct object *object)
{
	if (!object || __atomic_sub_fetch(&object->refs, 1, __ATOMIC_ACQ_REL) || object_is_inherited(object))
		return;
	if (object->kind == KIND_VM)
		vm_destroy(vm_of(object));
	else if (object->kind == KIND_VCPU)
		vcpu_destroy(vcpu_of(object));
	pthread_mutex_lock(&unused_lock);
	object->next = unused[object->kind];
	unused[object->kind] = object;
	pthread_mutex_unlock(&unused_lock);
}

/* ---- descriptors ----------------------------------------------------------------- */

/* Where a descriptor's object stands; NULL: it has never had one. */
static struct object **place(int fd)
{
	struct object **piece;

	if (fd < 0 || fd >= PIECE * NR_PIECES)
		return NULL;
	piece = __atomic_load_n(&pieces[fd / PIECE], __ATOMIC_ACQUIRE);
	return piece ? &piece[fd % PIECE] : NULL;
}

/* Likewise, and make room. */
static struct object **place_made(int fd)
{
	struct object **made, **none = NULL;

	if (fd < 0 || fd >= PIECE * NR_PIECES)
		return NULL;
	if (place(fd))
		return place(fd);
	made = calloc(PIECE, sizeof(*made));
	if (made && !__atomic_compare_exchange_n(&pieces[fd / PIECE], &none, made, false,
						 __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		free(made);
	return place(fd);
}

void object_bind(int fd, struct object *object)
{
	struct object **at = place_made(fd);

	/* Without room for it, the descriptor is just a file. */
	object_put(at ? __atomic_exchange_n(at, object, __ATOMIC_ACQ_REL) : object);
}

struct object *object_get(int fd)
{
	struct object **at = place(fd), *object;

	for (;;) {
		object = at ? __atomic_load_n(at, __ATOMIC_ACQUIRE) : NULL;
		if (!object)
			return NULL;
		if (!ref(object))
			continue;
		/* It may have become another's meanwhile. */
		if (__atomic_load_n(at, __ATOMIC_ACQUIRE) == object)
			return object;
		object_put(object);
	}
}

void object_forget(int fd)
{
	struct object **at = place(fd);

	if (at && __atomic_load_n(at, __ATOMIC_RELAXED))
		object_put(__atomic_exchange_n(at, NULL, __ATOMIC_ACQ_REL));
}

void object_forget_range(unsigned int first, unsigned int last)
{
	for (unsigned int i = first / PIECE; i < NR_PIECES && i <= last / PIECE; i++)
		for (unsigned int fd = i * PIECE; pieces[i] && fd < (i + 1) * PIECE; fd++)
			if (fd >= first && fd <= last)
				object_forget(fd);
}

void object_copied(int of, int fd)
{
	struct object *object = object_get(of);

	if (object)
		object_bind(fd, object);
	else
		object_forget(fd);
}

/* ---- the client's memory --------------------------------------------------------- */

/* The kernel finds out what is there, so that a bad address is an error and no signal. */
static int copy(void *ours, __u64 theirs, size_t size, bool writes)
{
	const struct iovec local = { .iov_base = ours, .iov_len = size };
	const struct iovec remote = { .iov_base = (void *)(unsigned long)theirs, .iov_len = size };
	ssize_t done;

	if (!size)
		return 0;
	done = writes ? process_vm_writev(getpid(), &local, 1, &remote, 1, 0) :
			process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
	return done == (ssize_t)size ? 0 : -EFAULT;
}

int client_read(void *to, __u64 from, size_t size)
{
	return copy(to, from, size, false);
}

int client_write(__u64 to, const void *from, size_t size)
{
	return copy((void *)from, to, size, true);
}
