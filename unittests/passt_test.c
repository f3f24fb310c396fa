// SPDX-License-Identifier: GPL-2.0
/*
 * The network by passt, which is the test: how frames come and go over a stream, whole or in any
 * pieces, and what is done with what is none.  boot/linux has the real one.
 */
#include <poll.h>

#include "../userspace/runner/net_passt.c"
#include "complaints.h"

#define FRAME 1514

static struct options options = { .nr_nics = 1, .nics = { { .where = NET_PASST } } };
static struct vm vm = { .options = &options, .name = "test", .lock = PTHREAD_MUTEX_INITIALIZER };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct net *net;
static int far_end = -1;

/* What the card has got. */
static unsigned int nr_frames;
static unsigned char last[FRAME_MOST];
static size_t last_size;

static void take_frame(void *card, const void *frame, size_t size)
{
	(void)card;
	memcpy(last, frame, size);
	last_size = size;
	nr_frames++;
}

static void handle_events(void)
{
	struct pollfd some = { .fd = vm.io.epoll, .events = POLLIN };

	while (poll(&some, 1, 0) == 1)
		loop_run_once(&vm.io);
}

/* As a machine that begins again finds it. */
static void begin(void)
{
	const struct net card = { .receive = take_frame, .lock = &lock };
	struct passt *passt = calloc(1, sizeof(*passt));
	int ends[2];

	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends));
	far_end = ends[1];
	passt->source.fd = ends[0];
	keep(NET_PASST, "0", &passt, sizeof(passt), end);
	net = net_passt_create(&vm, &options.nics[0], &card);
	CHECK(net);
	nr_frames = 0;
}

static void finish(void)
{
	net->ops->destroy(net);
	close(far_end);
	keep_end();
	keep_begin();
}

/* A frame of this size as it goes over the stream; its bytes say which one it is. */
static size_t write_frame(unsigned char *data, size_t size, unsigned char which)
{
	const __u32 length = htonl(size);

	memcpy(data, &length, HEADER);
	memset(data + HEADER, which, size);
	return HEADER + size;
}

static void send_frame(size_t size, unsigned char which)
{
	unsigned char frame[FRAME_MOST];

	memset(frame, which, size);
	pthread_mutex_lock(&lock);
	transmit(net, frame, size);
	pthread_mutex_unlock(&lock);
}

/* One that is cut anywhere, and many at once. */
static void comes_in_pieces(void)
{
	unsigned char data[64 * (HEADER + 60)];
	size_t size = 0;

	begin();
	for (size_t cut = 1; cut < HEADER + 60; cut++) {
		size = write_frame(data, 60, cut);
		EQ(cut, write(far_end, data, cut));
		handle_events();
		EQ(cut - 1, nr_frames);
		EQ(size - cut, write(far_end, data + cut, size - cut));
		handle_events();
		EQ(cut, nr_frames);
		EQ(60, last_size);
		CHECK(last[0] == cut && last[59] == cut);
	}
	nr_frames = 0;
	size = 0;
	for (unsigned int i = 0; i < 64; i++)
		size += write_frame(data + size, i % 61, i);
	EQ(size, write(far_end, data, size));
	handle_events();
	EQ(64, nr_frames);
	EQ(2, last_size);
	finish();
}

/* The end of a frame is not lost, whoever has to wait; those for which there is no room are. */
static void goes_when_there_is_room(void)
{
	unsigned char data[HEADER + FRAME_MOST];
	unsigned int nr = 0;
	__u32 length;

	begin();
	for (unsigned int i = 0; i < 4000; i++)
		send_frame(FRAME, i);
	for (;;) {
		handle_events();
		if (recv(far_end, &length, HEADER, MSG_DONTWAIT | MSG_PEEK) != HEADER)
			break;
		EQ(HEADER + FRAME, recv(far_end, data, HEADER + FRAME, MSG_WAITALL));
		memcpy(&length, data, HEADER);
		EQ(FRAME, ntohl(length));
		CHECK(data[HEADER] == (unsigned char)nr && data[HEADER + FRAME - 1] == (unsigned char)nr);
		nr++;
	}
	CHECK(nr > 10 && nr < 4000);
	send_frame(42, 7);
	EQ(HEADER + 42, recv(far_end, data, sizeof(data), MSG_DONTWAIT));
	EQ(7, data[HEADER]);
	finish();
}

/* A segment of TCP, by IPv4 or IPv6, that tells its sequence number. */
static void send_segment(bool is_ipv6, unsigned char flags, unsigned char sequence)
{
	const struct tcphdr tcp = { .th_sport = htons(40000), .th_dport = htons(80),
		.th_seq = htonl(sequence), .th_off = 5, .th_flags = flags };
	unsigned char frame[sizeof(struct ether_header) + sizeof(struct ip6_hdr) + sizeof(tcp)] = "";
	size_t at = sizeof(struct ether_header);

	frame[at - 2] = is_ipv6 ? 0x86 : 0x08;
	frame[at - 1] = is_ipv6 ? 0xdd : 0x00;
	frame[at] = is_ipv6 ? 0x60 : 0x45;
	frame[at + (is_ipv6 ? 6 : 9)] = IPPROTO_TCP;
	at += is_ipv6 ? 40 : 20;
	memcpy(frame + at, &tcp, sizeof(tcp));
	pthread_mutex_lock(&lock);
	transmit(net, frame, at + sizeof(tcp));
	pthread_mutex_unlock(&lock);
}

/* How many segments there are to read; they are read then. */
static unsigned int count_segments(void)
{
	unsigned char data[HEADER + FRAME_MOST];
	unsigned int nr = 0;
	__u32 length;

	for (; recv(far_end, &length, HEADER, MSG_DONTWAIT) == HEADER; nr++)
		EQ(ntohl(length), recv(far_end, data, ntohl(length), MSG_DONTWAIT));
	return nr;
}

/* Not the same beginning of a connection twice, before the first is read. */
static void begins_once(void)
{
	begin();
	for (int is_ipv6 = 0; is_ipv6 < 2; is_ipv6++) {
		for (int i = 0; i < 3; i++)
			send_segment(is_ipv6, TH_SYN, 1 + is_ipv6);
		EQ(1, count_segments());
		send_segment(is_ipv6, TH_SYN, 1 + is_ipv6);
		send_segment(is_ipv6, TH_SYN | TH_ACK, 7);
		send_segment(is_ipv6, TH_SYN | TH_ACK, 7);
		send_segment(is_ipv6, TH_SYN, 9);
		EQ(3, count_segments());
		send_segment(is_ipv6, TH_ACK, 9);
		send_segment(is_ipv6, TH_ACK, 9);
		EQ(2, count_segments());
	}
	/* There may be more that begin than it remembers. */
	for (unsigned int i = 0; i < 2 * SYNS_MOST; i++)
		send_segment(false, TH_SYN, i);
	EQ(SYNS_MOST, count_segments());
	send_segment(false, TH_SYN, 0);
	EQ(1, count_segments());
	finish();
}

static void no_frames(void)
{
	static const __u32 sizes[] = { FRAME_MOST + 1, 65521, 0x80000000, 0xffffffff };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		const __u32 length = htonl(sizes[i]);

		begin();
		said[0] = '\0';
		EQ(HEADER, write(far_end, &length, HEADER));
		handle_events();
		CHECK(strstr(said, "no frame"));
		EQ(0, nr_frames);
		send_frame(60, 1);
		finish();
	}
}

/* It has ended: once said, nothing more is sent or awaited, and a machine that begins again knows. */
static void ends(void)
{
	const struct net card = { .receive = take_frame, .lock = &lock };

	begin();
	nr_complaints = 0;
	shutdown(far_end, SHUT_RDWR);
	send_frame(60, 1);
	handle_events();
	CHECK(strstr(said, "has ended"));
	send_frame(60, 1);
	handle_events();
	EQ(1, nr_complaints);
	net->ops->destroy(net);
	net = net_passt_create(&vm, &options.nics[0], &card);
	CHECK(net);
	send_frame(60, 1);
	handle_events();
	EQ(1, nr_complaints);
	finish();
}

int main(void)
{
	static const struct unit_test all[] = {
		{ "frames that come in pieces", comes_in_pieces },
		{ "frames that go when there is room", goes_when_there_is_room },
		{ "what begins a connection goes once", begins_once },
		{ "what is no frame", no_frames },
		{ "the end of it", ends },
	};

	if (loop_create(&vm.io, &vm, NULL))
		return 1;
	keep_begin();
	return run_all(all, ARRAY_SIZE(all));
}
