// SPDX-License-Identifier: GPL-2.0
/*
 * A network in user space, by libslirp: the guest is 10.0.2.15, asks DHCP and DNS
 * of 10.0.2.2 and 10.0.2.3, and what it connects to the host's user connects to.
 * No privilege is needed, and nobody can connect to the guest but by the ports
 * that are forwarded; nor it to the host's loopback, unless that was asked for.
 *
 * Each of its connections is a file descriptor here. There is a limit: beyond that
 * frames that may begin another one are lost, and nobody from outside is accepted.
 *
 * libslirp wants to poll for itself, each time for other descriptors, so it has a
 * thread for that; it works with the card's lock held like everyone else.  It is loaded when a
 * machine has such a network, for it brings glib along, which weighs more than the rest of us.
 *
 * Not here: IPv6.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "keep.h"
#include "net.h"
#include "runner.h"
#include "sandbox.h"

#define NETWORK 0x0a000200	/* 10.0.2.0 */
#define NETMASK 0xffffff00
#define HOST 0x0a000202
#define NAMESERVER 0x0a000203
#define GUEST 0x0a00020f
#define LOOPBACK 0x7f000001

#define LIBRARY "libslirp.so.0"
#define MS_PER_S 1000
#define POLLFDS_MOST 1024
/* Connections; those by TCP, which may last for ever, leave some to others, as to DNS. */
#define SOCKETS_MOST 512
#define MOST_BY_TCP(most) ((most) / 4 * 3)

/* What is needed of it. */
static struct {
	__typeof__(slirp_new) *new;
	__typeof__(slirp_cleanup) *cleanup;
	__typeof__(slirp_input) *input;
	__typeof__(slirp_pollfds_fill) *pollfds_fill;
	__typeof__(slirp_pollfds_poll) *pollfds_poll;
	__typeof__(slirp_add_hostfwd) *add_hostfwd;
} libslirp;

struct user {
	struct net net;
	struct vm *vm;
	char name[24];		/* of its card */
	Slirp *slirp;
	struct user_timer *timers;
	pthread_t thread;
	bool ending;
	int wake;
	unsigned int nr_sockets;
	unsigned int most_sockets;
	unsigned int nr;
	struct pollfd fds[POLLFDS_MOST];
};

static struct user *user_of(struct net *net)
{
	return container_of(net, struct user, net);
}

/* ---- what libslirp asks for -------------------------------------------------------- */

static ssize_t send_packet(const void *data, size_t size, void *opaque)
{
	struct user *user = opaque;

	user->net.receive(user->net.card, data, size);
	return size;
}

static void guest_error(const char *message, void *opaque)
{
	(void)message;
	(void)opaque;
}

static int64_t get_clock(void *opaque)
{
	(void)opaque;
	return clock_ns();
}

/* A timer of libslirp's. */
struct user_timer {
	struct timer timer;
	struct user_timer *next;
	SlirpTimerCb fire;
	void *argument;
};

static void fire(struct vm *vm, struct timer *timer)
{
	struct user_timer *user_timer = container_of(timer, struct user_timer, timer);

	(void)vm;
	user_timer->fire(user_timer->argument);
}

static void *new_timer(SlirpTimerCb callback, void *argument, void *opaque)
{
	struct user_timer *timer = calloc(1, sizeof(*timer));
	struct user *user = opaque;

	if (timer)
		timer->timer.source.lock = user->net.lock;
	if (!timer || timer_create_fd(&user->vm->io, &timer->timer, fire)) {
		free(timer);
		return NULL;
	}
	timer->fire = callback;
	timer->argument = argument;
	timer->next = user->timers;
	user->timers = timer;
	return timer;
}

static void free_timer(void *timer, void *opaque)
{
	struct user *user = opaque;
	struct user_timer **link = &user->timers;

	if (!timer)
		return;
	while (*link != timer)
		link = &(*link)->next;
	*link = (*link)->next;
	timer_destroy(&((struct user_timer *)timer)->timer);
	free(timer);
}

static void set_timer(void *timer, int64_t at, void *opaque)
{
	(void)opaque;
	if (timer)
		timer_set(&((struct user_timer *)timer)->timer, at * (NS_PER_S / MS_PER_S), 0);
}

/* Descriptors are asked for anew each time: they are only counted. */
static void add_socket(int fd, void *opaque)
{
	struct user *user = opaque;

	(void)fd;
	user->nr_sockets++;
}

static void remove_socket(int fd, void *opaque)
{
	struct user *user = opaque;

	(void)fd;
	user->nr_sockets -= !!user->nr_sockets;
}

static void wake(void *opaque)
{
	const __u64 one = 1;
	struct user *user = opaque;

	/* It cannot fail but when it is awake already. */
	if (write(user->wake, &one, sizeof(one)) < 0)
		return;
}

static const SlirpCb callbacks = {
	.send_packet = send_packet, .guest_error = guest_error, .clock_get_ns = get_clock,
	.timer_new = new_timer, .timer_free = free_timer, .timer_mod = set_timer,
	.register_poll_fd = add_socket, .unregister_poll_fd = remove_socket, .notify = wake,
};

/* ---- the thread ---------------------------------------------------------------------- */

/* libslirp's flags and those of poll(), in the same order. */
static const struct {
	int slirp;
	short poll;
} flags[] = {
	{ SLIRP_POLL_IN, POLLIN }, { SLIRP_POLL_OUT, POLLOUT }, { SLIRP_POLL_PRI, POLLPRI },
	{ SLIRP_POLL_ERR, POLLERR }, { SLIRP_POLL_HUP, POLLHUP },
};

static bool is_listening(int fd)
{
	socklen_t size = sizeof(int);
	int is_listening = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) && is_listening;
}

static int add_poll(int fd, int events, void *opaque)
{
	struct user *user = opaque;
	short wanted = 0;

	if (user->nr == POLLFDS_MOST ||
	    (user->nr_sockets >= MOST_BY_TCP(user->most_sockets) && is_listening(fd)))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (events & flags[i].slirp)
			wanted |= flags[i].poll;
	user->fds[user->nr] = (struct pollfd) { .fd = fd, .events = wanted };
	return user->nr++;
}

static int get_revents(int index, void *opaque)
{
	struct user *user = opaque;
	int events = 0;

	if (index < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		if (user->fds[index].revents & flags[i].poll)
			events |= flags[i].slirp;
	return events;
}

static void *run(void *data)
{
	struct user *user = data;
	__u64 times;

	prctl(PR_SET_NAME, "net");
	if (sandbox_enter(SANDBOX_NET))
		vm_end(user->vm, END_ERROR, 0);
	pthread_mutex_lock(user->net.lock);
	while (!user->ending) {
		__u32 timeout = MS_PER_S;
		int nr;

		user->fds[0] = (struct pollfd) { .fd = user->wake, .events = POLLIN };
		user->nr = 1;
		libslirp.pollfds_fill(user->slirp, &timeout, add_poll, user);
		pthread_mutex_unlock(user->net.lock);
		nr = poll(user->fds, user->nr, timeout);
		pthread_mutex_lock(user->net.lock);
		if (user->fds[0].revents && read(user->wake, &times, sizeof(times)) < 0)
			user->fds[0].revents = 0;
		libslirp.pollfds_poll(user->slirp, nr < 0, get_revents, user);
	}
	pthread_mutex_unlock(user->net.lock);
	return NULL;
}

/* May it begin a connection, for which there is no room? Of fragments nobody knows. */
static bool is_too_many(const struct user *user, const void *frame, size_t size)
{
	struct {
		struct ether_header ether;
		struct ip ip;
	} __attribute__((packed)) head;
	struct tcphdr tcp;
	size_t at;

	if (user->nr_sockets < MOST_BY_TCP(user->most_sockets) || size < sizeof(head))
		return false;
	memcpy(&head, frame, sizeof(head));
	if (head.ether.ether_type != htons(ETHERTYPE_IP))
		return false;
	if (ntohs(head.ip.ip_off) & (IP_MF | IP_OFFMASK))
		return true;
	if (head.ip.ip_p != IPPROTO_TCP)
		return user->nr_sockets >= user->most_sockets;
	at = sizeof(head.ether) + head.ip.ip_hl * 4;
	if (size < at + sizeof(tcp))
		return true;
	memcpy(&tcp, (const char *)frame + at, sizeof(tcp));
	return tcp.th_flags & TH_SYN;
}

static void transmit(struct net *net, const void *frame, size_t size)
{
	struct user *user = user_of(net);

	if (is_too_many(user, frame, size))
		return;
	libslirp.input(user->slirp, frame, size);
	/* There may be new descriptors, and less time to wait. */
	wake(user);
}

/* ---- beginning and end ---------------------------------------------------------------- */

/* For a card, which says whose lock its thread and timers have. */
static int start(struct user *user, const struct net *card)
{
	const struct net_ops *ops = user->net.ops;
	int err;

	user->net = *card;
	user->net.ops = ops;
	user->ending = false;
	for (struct user_timer *timer = user->timers; timer; timer = timer->next)
		timer->timer.source.lock = card->lock;
	err = sandbox_make_thread(&user->thread, run, user);
	if (err)
		complain("cannot start a thread for the network: %s", strerror(err));
	return err ? -1 : 0;
}

static void stop(struct user *user)
{
	pthread_mutex_lock(user->net.lock);
	user->ending = true;
	pthread_mutex_unlock(user->net.lock);
	wake(user);
	pthread_join(user->thread, NULL);
}

static void end(void *thing)
{
	struct user *user = *(struct user **)thing;

	if (user->slirp)
		libslirp.cleanup(user->slirp);
	if (user->wake >= 0)
		close(user->wake);
	free(user);
}

/* Connections and forwards do not notice that the machine begins again. */
static void destroy(struct net *net)
{
	struct user *user = user_of(net);

	stop(user);
	keep("net", user->name, &user, sizeof(user), end);
}

static const struct net_ops ops = { .transmit = transmit, .destroy = destroy };

static struct in_addr address(__u32 number)
{
	return (struct in_addr) { .s_addr = htonl(number) };
}

static int add_forwards(struct user *user, const struct nic *nic)
{
	for (unsigned int i = 0; i < nic->nr_forwards; i++) {
		const struct forward *forward = &nic->forwards[i];

		if (!libslirp.add_hostfwd(user->slirp, forward->is_udp, address(LOOPBACK),
					  forward->port, address(GUEST), forward->guest_port))
			continue;
		complain("--forward: cannot listen at port %u: %s", forward->port, strerror(errno));
		return -1;
	}
	return 0;
}

/* Once; false after a complaint. */
static bool load(void)
{
	static const struct {
		const char *name;
		void *function;
	} functions[] = {
#define FUNCTION(name) { "slirp_" #name, &libslirp.name }
		FUNCTION(cleanup), FUNCTION(input), FUNCTION(pollfds_fill), FUNCTION(pollfds_poll),
		FUNCTION(add_hostfwd), FUNCTION(new),
#undef FUNCTION
	};
	void *library, *function;

	if (libslirp.new)
		return true;
	library = dlopen(LIBRARY, RTLD_NOW);
	for (size_t i = 0; library && i < ARRAY_SIZE(functions); i++) {
		function = dlsym(library, functions[i].name);
		if (function)
			memcpy(functions[i].function, &function, sizeof(function));
		else
			library = NULL;
	}
	if (!library)
		complain("--net " NET_USER ": %s (Debian's package libslirp0)", dlerror());
	return library;
}

/* Not all that this process may have. */
static unsigned int most_sockets(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 2 > SOCKETS_MOST)
		return SOCKETS_MOST;
	return limit.rlim_cur / 2;
}

static struct user *make(struct vm *vm, const struct nic *nic)
{
	const SlirpConfig config = {
		.version = 1, .in_enabled = true, .vnetwork = address(NETWORK),
		.vnetmask = address(NETMASK), .vhost = address(HOST),
		.vdhcp_start = address(GUEST), .vnameserver = address(NAMESERVER),
		.vhostname = vm->name, .disable_host_loopback = !nic->host_loopback,
	};
	struct user *user = calloc(1, sizeof(*user));

	if (!user) {
		complain("no memory for the network");
		return NULL;
	}
	user->vm = vm;
	user->net.ops = &ops;
	user->most_sockets = most_sockets();
	user->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	user->slirp = user->wake >= 0 ? libslirp.new(&config, &callbacks, user) : NULL;
	if (!user->slirp)
		complain("cannot make a network: %m");
	else if (!add_forwards(user, nic))
		return user;
	end(&user);
	return NULL;
}

struct net *net_user_create(struct vm *vm, const struct nic *nic, const struct net *card)
{
	struct user *user;
	char name[sizeof(user->name)];

	snprintf(name, sizeof(name), "%td", nic - vm->options->nics);
	if (!keep_take("net", name, &user, sizeof(user)))
		user = load() ? make(vm, nic) : NULL;
	if (!user)
		return NULL;
	memcpy(user->name, name, sizeof(name));
	if (!start(user, card))
		return &user->net;
	end(&user);
	return NULL;
}
