// SPDX-License-Identifier: GPL-2.0
/*
 * Virtqueues that another process serves: QEMU, docs/interop/vhost-user.rst.
 * Messages of a few numbers over a socket, some with file descriptors.  The other
 * side is the owner's own and is given all of the guest's memory, but it may die or
 * fall silent: the device is stopped then, and the machine goes on.  Only before that runs are
 * answers waited for; later they are taken as they come, in the I/O thread.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "keep.h"
#include "runner.h"
#include "vhost.h"

enum {
	GET_FEATURES = 1, SET_FEATURES = 2, SET_OWNER = 3, SET_MEM_TABLE = 5, SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9, SET_VRING_BASE = 10, GET_VRING_BASE = 11, SET_VRING_KICK = 12,
	SET_VRING_CALL = 13, GET_PROTOCOL_FEATURES = 15, SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

#define VERSION 1
#define FLAG_REPLY (1u << 2)
#define FLAG_NEED_REPLY (1u << 3)
#define FEATURE_PROTOCOL (1ull << 30)
#define PROTOCOL_REPLY_ACK (1ull << 3)

/* Low and high memory. */
#define REGIONS_MOST 2
/* A daemon that says nothing for so long is taken for dead. */
#define PATIENCE_S 10

struct ring_state {
	__u32 index, num;
};

struct parts {
	__u32 index, flags;
	__u64 desc, used, avail, log;
};

struct memory_region {
	__u64 gpa, size, hva, offset;
};

struct memory {
	__u32 nr, pad;
	struct memory_region regions[REGIONS_MOST];
};

/**
 * struct message - what is sent and answered
 * @request: what it is about
 * @flags: VERSION and FLAG_*
 * @size: of what follows
 */
struct message {
	__u32 request, flags, size;
	union {
		__u64 number;
		struct ring_state state;
		struct parts parts;
		struct memory memory;
	};
} __attribute__((packed));

#define HEADER offsetof(struct message, number)

_Static_assert(HEADER + sizeof(__u64) == VHOST_USER_ANSWER, "an answer is a header and a number");

/* ---- talking -------------------------------------------------------------------- */

/* It is not to be spoken to any more; the I/O thread will hear of it (ready). */
static int give_up(struct vhost_user *user, const char *why)
{
	if (!user->is_gone)
		complain("%s: the daemon %s: the device is gone", user->name, why);
	user->is_gone = true;
	shutdown(user->source.fd, SHUT_RDWR);
	return -1;
}

/* Signals have handlers here that do not restart calls. */
#define RETRY(call) ({ ssize_t nr_; do nr_ = (call); while (nr_ < 0 && errno == EINTR); nr_; })

static bool send_message(const struct vhost_user *user, const struct message *message,
			 const int *fds, unsigned int nr_fds)
{
	struct iovec iov = { .iov_base = (void *)message, .iov_len = HEADER + message->size };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int) * REGIONS_MOST)];
	} control = { .header = {
		.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		.cmsg_len = CMSG_LEN(sizeof(int) * nr_fds),
	} };
	const struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = nr_fds ? &control : NULL,
		.msg_controllen = nr_fds ? CMSG_SPACE(sizeof(int) * nr_fds) : 0,
	};

	if (nr_fds)
		memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * nr_fds);
	return RETRY(sendmsg(user->source.fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT)) == (ssize_t)iov.iov_len;
}

/* All of an answer; false: some of it has yet to come, or the daemon is given up. */
static bool receive(struct vhost_user *user, void *data, size_t size, int flags)
{
	/* A signal may also have cut one short. */
	while (user->nr_answer < size) {
		ssize_t nr = RETRY(recv(user->source.fd, (char *)data + user->nr_answer,
					size - user->nr_answer, flags));

		if (nr < 0 && errno == EAGAIN && flags & MSG_DONTWAIT)
			return false;
		if (nr <= 0) {
			give_up(user, nr ? "does not answer" : "has ended");
			return false;
		}
		user->nr_answer += nr;
	}
	user->nr_answer = 0;
	return true;
}

static bool is_question(__u32 request)
{
	return request == GET_FEATURES || request == GET_PROTOCOL_FEATURES || request == GET_VRING_BASE;
}

/* As long as something is expected, the daemon has so long. Not before the I/O thread hears of it. */
static void be_patient(struct vhost_user *user)
{
	if (user->source.loop)
		timer_set(&user->patience, user->nr_expected ? clock_ns() + PATIENCE_S * NS_PER_S : 0, 0);
}

/* Take an answer, which is there; @number: of one to a question. */
static int take_answer(struct vhost_user *user, __u64 *number)
{
	struct message answer;
	__u32 request = user->expected[0];

	memcpy(&answer, user->answer, sizeof(user->answer));
	if (!user->nr_expected || answer.request != request || !(answer.flags & FLAG_REPLY) ||
	    answer.size != sizeof(answer.number))
		return give_up(user, "answers what nobody has asked");
	memmove(user->expected, user->expected + 1, --user->nr_expected * sizeof(user->expected[0]));
	be_patient(user);
	if (!is_question(request) && answer.number)
		return give_up(user, "refuses the guest's memory or queues");
	*number = answer.number;
	return 0;
}

/*
 * Say something, with file descriptors.  Answers come in the order of what was said: more can be
 * said before they have.
 */
static int talk(struct vhost_user *user, struct message *message, const int *fds, unsigned int nr_fds)
{
	bool is_answered = user->acknowledges || is_question(message->request);

	if (user->is_gone)
		return -1;
	message->flags = VERSION | (is_answered && !is_question(message->request) ? FLAG_NEED_REPLY : 0);
	if (user->nr_expected == VHOST_USER_EXPECTED_MOST || !send_message(user, message, fds, nr_fds))
		return give_up(user, "does not listen");
	if (is_answered)
		user->expected[user->nr_expected++] = message->request;
	be_patient(user);
	return 0;
}

/* Wait for all answers, before the machine runs; @number: of the last one. */
static int wait_for_answers(struct vhost_user *user, __u64 *number)
{
	while (user->nr_expected)
		if (!receive(user, user->answer, sizeof(user->answer), MSG_WAITALL) ||
		    take_answer(user, number))
			return -1;
	return 0;
}

static int ask(struct vhost_user *user, __u32 request, __u64 *answer)
{
	struct message message = { .request = request };
	__u64 number = 0;

	if (talk(user, &message, NULL, 0) || wait_for_answers(user, &number))
		return -1;
	if (answer)
		*answer = number;
	return 0;
}

static int tell(struct vhost_user *user, __u32 request, __u64 number)
{
	struct message message = { .request = request, .size = sizeof(number), .number = number };

	return talk(user, &message, NULL, 0);
}

static int tell_state(struct vhost_user *user, __u32 request, __u32 index, __u32 num)
{
	return tell(user, request, index | (__u64)num << 32);
}

static int tell_fd(struct vhost_user *user, __u32 request, __u32 index, int fd)
{
	struct message message = { .request = request, .size = sizeof(__u64), .number = index };

	return talk(user, &message, &fd, 1);
}

/* ---- starting and stopping ---------------------------------------------------------- */

static int set_memory(struct vhost_user *user, const struct vm *vm)
{
	struct message message = { .request = SET_MEM_TABLE, .size = sizeof(message.memory) };
	const struct memory_region regions[] = {
		{ 0, vm->low, (unsigned long)vm->ram, 0 },
		{ HIGH_MEMORY, vm->high, (unsigned long)vm->ram + vm->low, vm->low },
	};
	const int fds[] = { vm->memory_fd, vm->memory_fd };
	unsigned int nr = vm->high ? 2 : 1;

	message.memory.nr = nr;
	memcpy(message.memory.regions, regions, nr * sizeof(regions[0]));
	message.size -= (REGIONS_MOST - nr) * sizeof(regions[0]);
	return talk(user, &message, fds, nr);
}

static int set_queue(struct vhost_user *user, const struct virtqueue *queue, __u32 index)
{
	struct message parts = {
		.request = SET_VRING_ADDR, .size = sizeof(parts.parts), .parts = {
			.index = index, .desc = (unsigned long)queue->desc_hva,
			.used = (unsigned long)queue->used_hva,
			.avail = (unsigned long)queue->avail_hva,
		},
	};

	if (tell_state(user, SET_VRING_NUM, index, queue->size) ||
	    tell_state(user, SET_VRING_BASE, index, 0) || talk(user, &parts, NULL, 0) ||
	    tell_fd(user, SET_VRING_CALL, index, queue->call) ||
	    tell_fd(user, SET_VRING_KICK, index, queue->notify.fd))
		return -1;
	user->queues |= 1u << index;
	return user->features & FEATURE_PROTOCOL ? tell_state(user, SET_VRING_ENABLE, index, 1) : 0;
}

int vhost_user_start(struct vhost_user *user)
{
	const struct virtio *virtio = user->virtio;

	user->is_running = true;
	if (tell(user, SET_FEATURES, virtio->driver_features | (user->features & FEATURE_PROTOCOL)) ||
	    set_memory(user, virtio->pci.device.vm))
		return -1;
	for (unsigned int i = 0; i < virtio->nr_outside; i++)
		if (virtio->queues[i].enabled && set_queue(user, &virtio->queues[i], i))
			return -1;
	return 0;
}

/* To ask a queue how far it has got is to stop it: with all answers the memory is the driver's again. */
bool vhost_user_stop(struct vhost_user *user)
{
	for (__u32 i = 0; i < user->virtio->nr_outside; i++)
		if (user->queues >> i & 1)
			tell_state(user, GET_VRING_BASE, i, 0);
	user->queues = 0;
	user->is_running = false;
	return user->is_gone || !user->nr_expected;
}

/* ---- the daemon's end of it, in the I/O thread --------------------------------------------- */

static void hang_up(struct vhost_user *user)
{
	source_remove(&user->source);
	give_up(user, "has ended");
	timer_set(&user->patience, 0, 0);
	if (user->is_running)
		virtio_break(user->virtio);
	user->is_running = false;
}

static void ready(struct vm *vm, struct source *source, __u32 events)
{
	struct vhost_user *user = container_of(source, struct vhost_user, source);
	__u64 number;

	(void)vm;
	while (!user->is_gone && receive(user, user->answer, sizeof(user->answer), MSG_DONTWAIT))
		take_answer(user, &number);
	/* Also when it is given up. */
	if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		hang_up(user);
	if (user->is_gone || !user->nr_expected)
		virtio_settled(user->virtio);
}

static void lose_patience(struct vm *vm, struct timer *timer)
{
	(void)vm;
	give_up(container_of(timer, struct vhost_user, patience), "does not answer");
}

/* ---- beginning and end ----------------------------------------------------------------- */

static int agree(struct vhost_user *user)
{
	__u64 protocol = 0;

	if (ask(user, GET_FEATURES, &user->features))
		return -1;
	if (user->features & FEATURE_PROTOCOL) {
		if (ask(user, GET_PROTOCOL_FEATURES, &protocol) ||
		    tell(user, SET_PROTOCOL_FEATURES, protocol & PROTOCOL_REPLY_ACK))
			return -1;
		user->acknowledges = protocol & PROTOCOL_REPLY_ACK;
	}
	if ((user->features & VIRTIO_FEATURES) != VIRTIO_FEATURES)
		return give_up(user, "does not know virtio 1.0");
	return ask(user, SET_OWNER, NULL);
}

int vhost_user_create(struct vm *vm, struct vhost_user *user)
{
	const struct timeval patience = { .tv_sec = PATIENCE_S };
	int fd = user->source.fd;

	user->source.ready = ready;
	user->source.lock = &user->virtio->pci.lock;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	if (user->is_gone) {
		complain("%s: its daemon has ended, which a machine that begins again does not start",
			 user->name);
		return -1;
	}
	if (!user->is_known && agree(user))
		return -1;
	user->patience.source.lock = user->source.lock;
	if (!timer_create_fd(&vm->io, &user->patience, lose_patience) &&
	    !source_add(&vm->io, &user->source, EPOLLIN | EPOLLRDHUP))
		return 0;
	complain("%s: cannot wait for the daemon", user->name);
	return -1;
}

/* What is left of a daemon when the machine is not there. */
struct served {
	int fd;
	struct daemon daemon;
	__u64 features;
	bool acknowledges;
	bool is_gone;
};

static void end(void *thing)
{
	struct served *served = thing;

	close(served->fd);
	daemon_end(&served->daemon);
}

bool vhost_user_take(struct vm *vm, struct vhost_user *user)
{
	struct served served;

	user->is_known = keep_take("daemon", user->name, &served, sizeof(served));
	if (!user->is_known)
		return false;
	user->source.fd = served.fd;
	user->daemon = served.daemon;
	daemon_hear(vm, &user->daemon);
	user->features = served.features;
	user->acknowledges = served.acknowledges;
	user->is_gone = served.is_gone;
	return true;
}

void vhost_user_destroy(struct vhost_user *user)
{
	struct served served;
	__u64 number;

	if (user->source.fd < 0)
		return;
	if (user->patience.source.loop)
		timer_destroy(&user->patience);
	source_remove(&user->source);
	daemon_leave(&user->daemon);
	/* The next machine is not to hear what this one has asked. */
	if (keeps_things() && !user->is_gone)
		wait_for_answers(user, &number);
	served = (struct served) {
		.fd = user->source.fd, .daemon = user->daemon, .features = user->features,
		.acknowledges = user->acknowledges, .is_gone = user->is_gone,
	};
	keep("daemon", user->name, &served, sizeof(served), end);
}
