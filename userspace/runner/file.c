// SPDX-License-Identifier: GPL-2.0
/* Reading and writing all of a piece of a file, or of what comes: see device.h. */
#include <errno.h>
#include <unistd.h>

#include "device.h"

bool read_fully(int fd, void *data, size_t size)
{
	while (size) {
		ssize_t nr = read(fd, data, size);

		if (nr < 0 && errno == EINTR)
			continue;
		if (nr <= 0)
			return false;
		data = (char *)data + nr;
		size -= nr;
	}
	return true;
}

bool read_at(int fd, void *data, size_t size, __u64 at)
{
	while (size) {
		ssize_t nr = pread(fd, data, size, at);

		if (nr < 0 && errno == EINTR)
			continue;
		if (nr <= 0)
			return false;
		data = (char *)data + nr;
		at += nr;
		size -= nr;
	}
	return true;
}

int write_at(int fd, const void *data, size_t size, __u64 at)
{
	while (size) {
		ssize_t nr = pwrite(fd, data, size, at);

		if (nr < 0 && errno == EINTR)
			continue;
		if (nr <= 0)
			return nr ? -errno : -ENOSPC;
		data = (const char *)data + nr;
		at += nr;
		size -= nr;
	}
	return 0;
}
