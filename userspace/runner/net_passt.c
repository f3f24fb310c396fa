// SPDX-License-Identifier: GPL-2.0
/*
 * A network in user space, by passt, which is started for the card: the guest has the addresses of
 * the host, by IPv4 and IPv6, and what it connects to passt connects to.  No privilege is
 * needed, and nobody can connect to the guest but by the ports that are forwarded; nor it to
 * the host's loopback, unless that was asked for.
 *
 * Frames go over a stream, each behind its length: QEMU, docs/system/devices/net.rst, "stream".
 * A frame for which there is no room is lost, as on any wire; a beginning is not left without its end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon.h"
#include "keep.h"
#include "net.h"
#include "runner.h"

#define MTU "1500"
#define HEADER sizeof(__u32)
#define AT_ONCE 16384
#define SYNS_MOST 64

/**
 * struct passt - the network
 * @net: as the card sees it
 * @name: of its card
 * @source: the connection
 * @daemon: passt
 * @is_gone: it has ended
 * @nr_in: how much has come, of frames that are not whole
 * @in: this
 * @nr_out: how much is to be sent of a frame that has begun; 0: none has
 * @nr_sent: and how much of that has been
 * @out: this
 * @nr_syns: how many connections begin with what passt may not have read yet
 * @syns: what tells these from others
 */
struct passt {
	struct net net;
	char name[24];
	struct source source;
	struct daemon daemon;
	bool is_gone;
	size_t nr_in;
	unsigned char in[AT_ONCE];
	size_t nr_out;
	size_t nr_sent;
	unsigned char out[HEADER + FRAME_MOST];
	unsigned int nr_syns;
	__u64 syns[SYNS_MOST];
};

static struct passt *passt_of(struct net *net)
{
	return container_of(net, struct passt, net);
}

static void give_up(struct passt *passt, const char *why)
{
	complain("--net " NET_PASST ": passt %s: nothing is at the other end any more", why);
	source_remove(&passt->source);
	passt->is_gone = true;
}

/* ---- to the guest ------------------------------------------------------------------- */

/* All frames that are whole; false if there is something else. */
static bool deliver(struct passt *passt)
{
	size_t at = 0, size;
	__u32 length;

	while (passt->nr_in - at >= HEADER) {
		memcpy(&length, passt->in + at, HEADER);
		size = ntohl(length);
		if (size > FRAME_MOST)
			return false;
		if (passt->nr_in - at - HEADER < size)
			break;
		passt->net.receive(passt->net.card, passt->in + at + HEADER, size);
		at += HEADER + size;
	}
	passt->nr_in -= at;
	memmove(passt->in, passt->in + at, passt->nr_in);
	return true;
}

static void receive(struct passt *passt)
{
	ssize_t nr = recv(passt->source.fd, passt->in + passt->nr_in, AT_ONCE - passt->nr_in, MSG_DONTWAIT);

	if (nr < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (nr <= 0) {
		give_up(passt, "has ended");
		return;
	}
	passt->nr_in += nr;
	if (!deliver(passt))
		give_up(passt, "sends what is no frame");
}

/* ---- from the guest ----------------------------------------------------------------- */

/* The rest of a frame, when there is room for it. */
static void send_rest(struct passt *passt)
{
	const void *rest = passt->out + passt->nr_sent;
	size_t size = passt->nr_out - passt->nr_sent;
	bool was_waiting = passt->nr_sent;
	ssize_t nr = send(passt->source.fd, rest, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	passt->nr_sent += nr > 0 ? nr : 0;
	/* One of which nothing has gone is lost. */
	if (passt->nr_sent == passt->nr_out || !passt->nr_sent)
		passt->nr_out = passt->nr_sent = 0;
	if (was_waiting != !!passt->nr_sent)
		source_change(&passt->source, EPOLLIN | (passt->nr_sent ? EPOLLOUT : 0));
}

/* Ports and sequence number of a segment that has SYN; 0: it is none. */
static __u64 find_syn(const unsigned char *frame, size_t size)
{
	size_t at = sizeof(struct ether_header);
	struct ether_header ether;
	struct tcphdr tcp;

	if (size < at + sizeof(struct ip6_hdr))
		return 0;
	memcpy(&ether, frame, sizeof(ether));
	if (ether.ether_type == htons(ETHERTYPE_IP) &&
	    frame[at + offsetof(struct ip, ip_p)] == IPPROTO_TCP)
		at += (frame[at] & 0xf) * 4;
	else if (ether.ether_type == htons(ETHERTYPE_IPV6) &&
		 frame[at + offsetof(struct ip6_hdr, ip6_nxt)] == IPPROTO_TCP)
		at += sizeof(struct ip6_hdr);
	else
		return 0;
	if (size < at + sizeof(tcp))
		return 0;
	memcpy(&tcp, frame + at, sizeof(tcp));
	return tcp.th_flags & TH_SYN ? (__u64)tcp.th_sport << 48 | (__u64)tcp.th_dport << 32 | tcp.th_seq : 0;
}

/*
 * QUIRK(passt 2023_03_09, as in Debian 12): passt loops for ever when it reads a SYN twice at once.  A guest
 * sends it again when passt has had no processor for a second.  So it is lost while the first one is
 * not read yet, which any passt may be spared.
 */
static bool is_repeated_syn(struct passt *passt, const void *frame, size_t size)
{
	__u64 syn = find_syn(frame, size);
	int unread;

	if (!syn)
		return false;
	if (passt->nr_syns && !ioctl(passt->source.fd, SIOCOUTQ, &unread) && !unread)
		passt->nr_syns = 0;
	for (unsigned int i = 0; i < passt->nr_syns; i++)
		if (passt->syns[i] == syn)
			return true;
	if (passt->nr_syns == SYNS_MOST)
		return true;
	passt->syns[passt->nr_syns++] = syn;
	return false;
}

static void transmit(struct net *net, const void *frame, size_t size)
{
	struct passt *passt = passt_of(net);
	const __u32 length = htonl(size);

	if (passt->is_gone || passt->nr_out || size > FRAME_MOST || is_repeated_syn(passt, frame, size))
		return;
	memcpy(passt->out, &length, HEADER);
	memcpy(passt->out + HEADER, frame, size);
	passt->nr_out = HEADER + size;
	send_rest(passt);
}

static void ready(struct vm *vm, struct source *source, __u32 events)
{
	struct passt *passt = container_of(source, struct passt, source);

	(void)vm;
	if (events & EPOLLOUT)
		send_rest(passt);
	if (events & ~EPOLLOUT)
		receive(passt);
}

/* ---- beginning and end ---------------------------------------------------------------- */

static void end(void *thing)
{
	struct passt *passt = *(struct passt **)thing;

	close(passt->source.fd);
	daemon_end(&passt->daemon);
	free(passt);
}

/* Connections do not notice that the machine begins again. */
static void destroy(struct net *net)
{
	struct passt *passt = passt_of(net);

	source_remove(&passt->source);
	daemon_leave(&passt->daemon);
	keep(NET_PASST, passt->name, &passt, sizeof(passt), end);
}

static const struct net_ops ops = { .transmit = transmit, .destroy = destroy };

static int start_daemon(struct vm *vm, struct passt *passt, const struct nic *nic)
{
	char fd[12], forwards[FORWARDS_MOST][32];
	char *arguments[10 + 2 * FORWARDS_MOST] = {
		"passt", "--foreground", "--quiet", "--fd", fd, "--mtu", MTU,
	};
	unsigned int nr = 7;

	snprintf(fd, sizeof(fd), "%d", DAEMON_SOCKET);
	if (!nic->host_loopback)
		arguments[nr++] = "--no-map-gw";
	for (unsigned int i = 0; i < nic->nr_forwards; i++) {
		const struct forward *forward = &nic->forwards[i];

		snprintf(forwards[i], sizeof(forwards[i]), "127.0.0.1/%u:%u", forward->port,
			 forward->guest_port);
		arguments[nr++] = forward->is_udp ? "--udp-ports" : "--tcp-ports";
		arguments[nr++] = forwards[i];
	}
	passt->daemon.is_connected = true;
	passt->source.fd = daemon_start(vm, &passt->daemon, "--net " NET_PASST, daemon_for_networks, "passt",
					arguments);
	return passt->source.fd < 0 ? -1 : 0;
}

static struct passt *make(struct vm *vm, const struct nic *nic)
{
	struct passt *passt = calloc(1, sizeof(*passt));

	if (!passt) {
		complain("no memory for the network");
		return NULL;
	}
	if (!start_daemon(vm, passt, nic))
		return passt;
	free(passt);
	return NULL;
}

struct net *net_passt_create(struct vm *vm, const struct nic *nic, const struct net *card)
{
	char name[sizeof(((struct passt *)0)->name)];
	struct passt *passt;

	snprintf(name, sizeof(name), "%td", nic - vm->options->nics);
	if (keep_take(NET_PASST, name, &passt, sizeof(passt)))
		daemon_hear(vm, &passt->daemon);
	else
		passt = make(vm, nic);
	if (!passt)
		return NULL;
	memcpy(passt->name, name, sizeof(name));
	passt->net = *card;
	passt->net.ops = &ops;
	passt->source.lock = card->lock;
	passt->source.ready = ready;
	if (passt->is_gone ||
	    !source_add(&vm->io, &passt->source, EPOLLIN | (passt->nr_sent ? EPOLLOUT : 0)))
		return &passt->net;
	complain("--net " NET_PASST ": %m");
	end(&passt);
	return NULL;
}
