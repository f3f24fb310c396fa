// SPDX-License-Identifier: GPL-2.0
/*
 * The network in user space, with a guest of a few frames: what it reaches of the host, and that
 * it cannot have more of its file descriptors than it should.
 */
#include <dirent.h>
#include <net/if_arp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "../userspace/runner/net_user.c"
#include "tests.h"

#define PATIENCE_MS 5000

static struct options options = { .nr_nics = 1, .nics = { { .where = NET_USER } } };
static struct vm vm = { .options = &options, .name = "test", .lock = PTHREAD_MUTEX_INITIALIZER };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void complain(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

int sandbox_enter(enum sandbox_thread kind)
{
	(void)kind;
	return 0;
}

int sandbox_make_thread(pthread_t *thread, void *(*run)(void *data), void *data)
{
	return pthread_create(thread, NULL, run, data);
}

void vm_end(struct vm *which, enum ending end, int detail)
{
	(void)which;
	(void)end;
	(void)detail;
}

/* ---- the guest ----------------------------------------------------------------------- */

static const unsigned char mac[6] = { 2, 0, 0, 0, 0, 1 };
static unsigned int nr_answers;

struct segment {
	struct ether_header ether;
	struct ip ip;
	struct tcphdr tcp;
} __attribute__((packed));

static void receive(void *card, const void *frame, size_t size)
{
	const struct segment *segment = frame;

	(void)card;
	if (size < sizeof(*segment) || segment->ether.ether_type != htons(ETHERTYPE_IP) ||
	    segment->ip.ip_p != IPPROTO_TCP)
		return;
	nr_answers += (segment->tcp.th_flags & (TH_SYN | TH_ACK)) == (TH_SYN | TH_ACK);
}

static __u16 checksum(__u32 sum, const void *data, size_t size)
{
	const __u8 *byte = data;

	for (size_t i = 0; i < size; i++)
		sum += byte[i] << (i & 1 ? 0 : 8);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons(~sum);
}

static void send_frame(struct net *net, const void *frame, size_t size)
{
	pthread_mutex_lock(&lock);
	transmit(net, frame, size);
	pthread_mutex_unlock(&lock);
}

static void begin_ip(struct segment *segment, __u8 protocol, __u32 to, size_t payload)
{
	*segment = (struct segment) {
		.ether = { { 0x52, 0x55, 10, 0, 2, 2 }, { 2, 0, 0, 0, 0, 1 }, htons(ETHERTYPE_IP) },
		.ip = {
			.ip_v = 4, .ip_hl = 5, .ip_len = htons(sizeof(struct ip) + payload), .ip_ttl = 64,
			.ip_p = protocol, .ip_src = address(GUEST), .ip_dst = address(to),
		},
	};
	segment->ip.ip_sum = checksum(0, &segment->ip, sizeof(segment->ip));
}

static void send_syn(struct net *net, __u32 to, __u16 from_port, __u16 port)
{
	struct segment segment;
	__u32 sum = IPPROTO_TCP + sizeof(struct tcphdr);

	begin_ip(&segment, IPPROTO_TCP, to, sizeof(struct tcphdr));
	segment.tcp = (struct tcphdr) {
		.th_sport = htons(from_port), .th_dport = htons(port), .th_seq = htonl(1000), .th_off = 5,
		.th_flags = TH_SYN, .th_win = htons(8192),
	};
	sum += (GUEST >> 16) + (GUEST & 0xffff) + (to >> 16) + (to & 0xffff);
	segment.tcp.th_sum = checksum(sum, &segment.tcp, sizeof(segment.tcp));
	send_frame(net, &segment, sizeof(segment));
}

static void send_udp(struct net *net, __u32 to, __u16 from_port)
{
	const __u16 udp[] = { htons(from_port), htons(9), htons(8), 0 };
	struct segment segment;

	begin_ip(&segment, IPPROTO_UDP, to, sizeof(udp));
	memcpy(&segment.tcp, udp, sizeof(udp));
	send_frame(net, &segment, sizeof(struct ether_header) + sizeof(struct ip) + sizeof(udp));
}

/* Who asks for an address is known from then on. */
static void send_arp(struct net *net)
{
	struct {
		struct ether_header ether;
		struct ether_arp arp;
	} __attribute__((packed)) frame = {
		.ether = {
			{ 0xff, 0xff, 0xff, 0xff, 0xff, 0xff }, { 2, 0, 0, 0, 0, 1 }, htons(ETHERTYPE_ARP),
		},
		.arp = {
			.ea_hdr = { htons(ARPHRD_ETHER), htons(ETHERTYPE_IP), 6, 4, htons(ARPOP_REQUEST) },
			.arp_spa = { 10, 0, 2, 15 }, .arp_tpa = { 10, 0, 2, 2 },
		},
	};
	memcpy(frame.arp.arp_sha, mac, sizeof(mac));
	send_frame(net, &frame, sizeof(frame));
}

static struct net *connect_guest(void)
{
	const struct net card = { .receive = receive, .lock = &lock };
	struct net *net;

	nr_answers = 0;
	net = net_user_create(&vm, &options.nics[0], &card);
	if (net)
		send_arp(net);
	return net;
}

static bool wait_for(const unsigned int *number, unsigned int least)
{
	for (int ms = 0; ms < PATIENCE_MS; ms += 10) {
		pthread_mutex_lock(&lock);
		if (*number >= least) {
			pthread_mutex_unlock(&lock);
			return true;
		}
		pthread_mutex_unlock(&lock);
		usleep(10000);
	}
	return false;
}

/* ---- the tests ------------------------------------------------------------------------- */

static int nr_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	int nr = 0;

	while (directory && readdir(directory))
		nr++;
	closedir(directory);
	return nr;
}

/* A port of 127.0.0.1 where somebody listens. */
static int listen_here(__u16 *port)
{
	struct sockaddr_in name = { .sin_family = AF_INET, .sin_addr = address(LOOPBACK) };
	socklen_t size = sizeof(name);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, (struct sockaddr *)&name, size) || listen(fd, 1024) ||
	    getsockname(fd, (struct sockaddr *)&name, &size))
		return -1;
	*port = ntohs(name.sin_port);
	return fd;
}

static bool loopback(bool is_open)
{
	__u16 port;
	int fd = listen_here(&port);
	struct net *net;
	bool good;

	options.nics[0].host_loopback = is_open;
	net = connect_guest();
	if (fd < 0 || !net)
		return false;
	send_syn(net, HOST, 40000, port);
	/* libslirp says nothing where it does not connect: nobody comes. */
	good = is_open ? wait_for(&nr_answers, 1) :
			 !poll(&(struct pollfd) { fd, POLLIN }, 1, 1000) && !nr_answers;
	destroy(net);
	close(fd);
	return good;
}

static bool loopback_is_closed(void)
{
	return loopback(false);
}

static bool loopback_is_open(void)
{
	return loopback(true);
}

/* Connections by TCP that stay, and then others: neither takes all that there are. */
static bool descriptors(void)
{
	struct rlimit limit = { 2 * SOCKETS_MOST + 200, 2 * SOCKETS_MOST + 200 };
	__u16 port;
	int fd = listen_here(&port), before, by_tcp, all;
	struct net *net;

	setrlimit(RLIMIT_NOFILE, &limit);
	options.nics[0].host_loopback = true;
	net = connect_guest();
	before = nr_fds();
	if (fd < 0 || !net)
		return false;
	for (unsigned int i = 0; i < 2 * SOCKETS_MOST; i++) {
		send_syn(net, HOST, 20000 + i, port);
		usleep(500);
	}
	for (int ms = 0; ms < PATIENCE_MS && nr_fds() - before <= SOCKETS_MOST / 2; ms += 10)
		usleep(10000);
	by_tcp = nr_fds() - before;
	for (unsigned int i = 0; i < 2 * SOCKETS_MOST; i++)
		send_udp(net, HOST, 30000 + i);
	all = nr_fds() - before;
	destroy(net);
	close(fd);
	printf("# %d by TCP, %d in all, %d left behind\n", by_tcp, all, nr_fds() - before);
	return by_tcp > SOCKETS_MOST / 2 && by_tcp <= SOCKETS_MOST && all > by_tcp &&
	       all <= SOCKETS_MOST + 10;
}

/* With --restart: another card, with a lock of its own, finds the connections of the first one. */
static bool begins_again(void)
{
	static pthread_mutex_t other = PTHREAD_MUTEX_INITIALIZER;
	const struct net card = { .receive = receive, .lock = &other };
	struct net *net, *again;
	int before, kept;
	bool good;

	keep_begin();
	net = connect_guest();
	before = nr_fds();
	if (!net)
		return false;
	destroy(net);
	kept = nr_fds();
	again = net_user_create(&vm, &options.nics[0], &card);
	good = again == net && kept == before && nr_fds() == before && again->lock == &other;
	if (again)
		destroy(again);
	keep_end();
	return good && nr_fds() < before;
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "the host's loopback is not reached", .is_good = loopback_is_closed },
		{ "unless that is asked for", .is_good = loopback_is_open },
		{ "a guest does not have all descriptors", .is_good = descriptors },
		{ "a machine that begins again finds its network", .is_good = begins_again },
	};
	int status;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (loop_create(&vm.io, &vm, &vm.lock))
		return 1;
	status = run_all(tests, ARRAY_SIZE(tests));
	loop_destroy(&vm.io);
	return status;
}
