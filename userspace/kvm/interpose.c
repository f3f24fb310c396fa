// SPDX-License-Identifier: GPL-2.0
/* What of the C library is seen first by this one: descriptors as they come and go, and ioctl(). */
#include <errno.h>
#include <fcntl.h>
#include <linux/ioctl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "interpose.h"
#include "shim.h"

/* With large files, the functions have two names; with _FORTIFY_SOURCE, four. */
int __open_2(const char *path, int flags);
int __open64_2(const char *path, int flags);
int __openat_2(int directory, const char *path, int flags);
int __openat64_2(int directory, const char *path, int flags);

static bool is_kvm(const char *path)
{
	return path && !strcmp(path, "/dev/kvm");
}

/* ---- open ------------------------------------------------------------------------ */

/* The mode is there only when a file may be made. */
#define MODE(flags)								\
	({									\
		mode_t mode_ = 0;						\
		va_list args_;							\
		if ((flags) & (O_CREAT | __O_TMPFILE)) {				\
			va_start(args_, flags);					\
			mode_ = va_arg(args_, mode_t);				\
			va_end(args_);						\
		}								\
		mode_;								\
	})

EXPORT int open(const char *path, int flags, ...)
{
	return is_kvm(path) ? system_open(flags) : NEXT(open)(path, flags, MODE(flags));
}

EXPORT int open64(const char *path, int flags, ...)
{
	return is_kvm(path) ? system_open(flags) : NEXT(open64)(path, flags, MODE(flags));
}

EXPORT int openat(int directory, const char *path, int flags, ...)
{
	return is_kvm(path) ? system_open(flags) : NEXT(openat)(directory, path, flags, MODE(flags));
}

EXPORT int openat64(int directory, const char *path, int flags, ...)
{
	return is_kvm(path) ? system_open(flags) : NEXT(openat64)(directory, path, flags, MODE(flags));
}

EXPORT int __open_2(const char *path, int flags)
{
	return is_kvm(path) ? system_open(flags) : NEXT(__open_2)(path, flags);
}

EXPORT int __open64_2(const char *path, int flags)
{
	return is_kvm(path) ? system_open(flags) : NEXT(__open64_2)(path, flags);
}

EXPORT int __openat_2(int directory, const char *path, int flags)
{
	return is_kvm(path) ? system_open(flags) : NEXT(__openat_2)(directory, path, flags);
}

EXPORT int __openat64_2(int directory, const char *path, int flags)
{
	return is_kvm(path) ? system_open(flags) : NEXT(__openat64_2)(directory, path, flags);
}

/* ---- ioctl ----------------------------------------------------------------------- */

EXPORT int ioctl(int fd, unsigned long request, ...)
{
	struct object *object;
	unsigned long argument;
	va_list args;
	int ret;

	va_start(args, request);
	argument = va_arg(args, unsigned long);
	va_end(args);
	object = _IOC_TYPE(request) == KVMIO ? object_get(fd) : NULL;
	if (!object)
		return NEXT(ioctl)(fd, request, argument);
	/* As an int of a client's may have become it. */
	ret = shim_ioctl(object, (__u32)request, argument);
	object_put(object);
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

/* ---- copies, and the end --------------------------------------------------------- */

EXPORT int close(int fd)
{
	object_forget(fd);
	return NEXT(close)(fd);
}

EXPORT int close_range(unsigned int first, unsigned int last, int flags)
{
	if (!(flags & CLOSE_RANGE_CLOEXEC) && first <= last)
		object_forget_range(first, last);
	return NEXT(close_range)(first, last, flags);
}

EXPORT void closefrom(int first)
{
	object_forget_range(first < 0 ? 0 : first, ~0u);
	NEXT(closefrom)(first);
}

static int copied(int of, int fd)
{
	if (fd >= 0 && fd != of)
		object_copied(of, fd);
	return fd;
}

EXPORT int dup(int fd)
{
	return copied(fd, NEXT(dup)(fd));
}

EXPORT int dup2(int fd, int to)
{
	return copied(fd, NEXT(dup2)(fd, to));
}

EXPORT int dup3(int fd, int to, int flags)
{
	return copied(fd, NEXT(dup3)(fd, to, flags));
}

static int after_fcntl(int fd, int command, int ret)
{
	return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? copied(fd, ret) : ret;
}

EXPORT int fcntl(int fd, int command, ...)
{
	void *argument;
	va_list args;

	va_start(args, command);
	argument = va_arg(args, void *);
	va_end(args);
	return after_fcntl(fd, command, NEXT(fcntl)(fd, command, argument));
}

EXPORT int fcntl64(int fd, int command, ...)
{
	void *argument;
	va_list args;

	va_start(args, command);
	argument = va_arg(args, void *);
	va_end(args);
	return after_fcntl(fd, command, NEXT(fcntl64)(fd, command, argument));
}
