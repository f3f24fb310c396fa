// SPDX-License-Identifier: GPL-2.0
/*
 * In a guest: connect to a port of the host's, send it a megabyte of numbers, and
 * see whether the same comes back.
 */
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define NR 262144

static unsigned int numbers[NR], back[NR];

/* Both directions at once: neither side can hold all of it. */
static int send_numbers(int fd)
{
	const char *at = (const char *)numbers, *end = (const char *)(numbers + NR);

	while (at < end) {
		ssize_t nr = write(fd, at, end - at);

		if (nr <= 0)
			return 1;
		at += nr;
	}
	return shutdown(fd, SHUT_WR) != 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm host = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0);
	size_t size = 0;
	ssize_t nr;
	int status;

	host.svm_port = argc > 1 ? atoi(argv[1]) : 0;
	if (fd < 0 || connect(fd, (const struct sockaddr *)&host, sizeof(host))) {
		perror("vsock");
		return 1;
	}
	for (unsigned int i = 0; i < NR; i++)
		numbers[i] = i * 2654435761u;
	if (!fork())
		_exit(send_numbers(fd));
	while (size < sizeof(back) &&
	       (nr = read(fd, (char *)back + size, sizeof(back) - size)) > 0)
		size += nr;
	return wait(&status) < 0 || status || memcmp(numbers, back, sizeof(back));
}
