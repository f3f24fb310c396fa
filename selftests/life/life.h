/* SPDX-License-Identifier: GPL-2.0 */
/* What the tests of running VMs share: VMs in the background, and what is said of them. */
#ifndef LIFE_H
#define LIFE_H

#include <json-c/json.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "boot.h"

#define STATUS_STOPPED 10

/* Of these tests alone, so that no other VM is in the way. */
#define RUNTIME_DIR "/tmp/life-test"

/* How often something is looked for, ten times a second of the host's at most; and without machines. */
#define PATIENCE 72000
#define PATIENCE_ALONE 100

/* A host on which Linux takes its time; in the long run there is some. */
static inline bool is_slow(void)
{
	const char *host = getenv("MOTE_LAB"), *kernel = getenv("MOTE_LAB_KERNEL");

	return host && !getenv("MOTE_LONG") &&
	       (strcmp(host, "svm") || !kernel || strcmp(kernel, "distro"));
}

static inline void life_begin(void)
{
	sh("rm -rf " RUNTIME_DIR);
	mkdir(RUNTIME_DIR, 0700);
	setenv("XDG_RUNTIME_DIR", RUNTIME_DIR, 1);
}

/* Whatever still runs. */
static inline void life_end(void)
{
	sh("for file in " RUNTIME_DIR "/*.pid; do kill -9 $(cat $file); done");
	sh("rm -rf " RUNTIME_DIR);
}

/* Of the machines that VM() has started none is there any more. */
static inline bool all_are_gone(void)
{
	return !sh("for file in " RUNTIME_DIR "/*.pid; do kill -0 $(cat $file) && exit 1; done; "
		   "ls " RUNTIME_DIR "/*.pid");
}

/* Does a shell command succeed sooner or later? */
static inline bool comes_true(const char *command)
{
	int alone = 0;

	for (int i = 0; i < PATIENCE && alone < PATIENCE_ALONE; i++) {
		if (!sh("%s", command))
			return true;
		/* On a slow host who looks takes the time of whom he waits for. */
		usleep(i < 20 ? 100000 : 1000000);
		alone = i < 20 || !all_are_gone() ? 0 : alone + 1;
	}
	return false;
}

/* The value of a key in what `mote ps --json` says of a VM, as text; "" if there is none. */
static inline void vm_value(const char *name, const char *key, char *text, size_t size)
{
	struct command command;
	struct json_object *list, *value;

	command_run(&command, "mote ps --json");
	list = json_tokener_parse(command.out);
	text[0] = '\0';
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *vm = json_object_array_get_idx(list, i);

		if (json_object_object_get_ex(vm, "name", &value) &&
		    !strcmp(json_object_get_string(value), name) &&
		    json_object_object_get_ex(vm, key, &value))
			snprintf(text, size, "%s", json_object_get_string(value));
	}
	json_object_put(list);
}

static inline bool vm_is(const char *name, const char *state)
{
	char text[64];

	vm_value(name, "state", text, sizeof(text));
	return !strcmp(text, state);
}

/* A VM in the background: NAME.out and .err, .pid, and .status when it has ended. */
#define VM(name, options, image)							\
	"cd " RUNTIME_DIR " && { mote run --name " name " --timeout 7000 " options " " image	\
	" < /dev/null > " name ".out 2> " name ".err & echo $! > " name ".pid; wait $!;"	\
	" echo $? > " name ".status; } > /dev/null 2>&1 &"

/* Start it and wait until it runs. */
#define vm_start(name, options, image)							\
	(!sh(VM(name, options, image)) && comes_true("mote ps | grep -q '^" name " '"))

#define vm_start_flat(name, code, options)						\
	(sh("rm -f " FLAT_IMAGE), write_flat(code),					\
	 vm_start(name, "--memory 2M --flat " options, "$OLDPWD/" FLAT_IMAGE))

/* Its exit status, as soon as there is one; -1: not so soon. */
static inline int vm_status(const char *name)
{
	struct command command;
	char text[128];

	snprintf(text, sizeof(text), "test -s " RUNTIME_DIR "/%s.status", name);
	if (!comes_true(text))
		return -1;
	command_run(&command, "cat " RUNTIME_DIR "/%s.status", name);
	return atoi(command.out);
}

/* A connection to its control socket, or -1. */
static inline int vm_dial(const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), RUNTIME_DIR "/mote/%s.sock", name);
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return fd;
	close(fd);
	return -1;
}

/* In a guest of 16 bits: write a character when the serial port takes it. */
#define PUT(character)									\
	"mov $0x3fd, %dx; 8: in %dx, %al; test $0x20, %al; jz 8b\n"			\
	"mov $0x3f8, %dx; mov $" character ", %al; out %al, %dx\n"

/* Likewise: enable the power button, wait for it in the status register, say B, power off. */
#define POWER_BUTTON									\
	"mov $0x602, %dx; mov $0x100, %ax; out %ax, %dx; sti\n"				\
	"1: mov $0x600, %dx; in %dx, %ax; test $0x100, %ax; jz 1b\n"			\
	"mov $0x100, %ax; out %ax, %dx; in %dx, %ax; test $0x100, %ax; jnz 1b\n"	\
	PUT("0x42") "mov $0x604, %dx; mov $0x3400, %ax; out %ax, %dx; hlt"

/* Read from a terminal until there is @text. */
static inline bool shows(int fd, const char *text)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char seen[4096];
	size_t nr = 0;

	while (nr < sizeof(seen) - 1 && poll(&poll_fd, 1, PATIENCE * 100) == 1) {
		ssize_t done = read(fd, seen + nr, sizeof(seen) - 1 - nr);

		if (done <= 0)
			return false;
		nr += done;
		seen[nr] = '\0';
		if (strstr(seen, text))
			return true;
	}
	return false;
}

#define is_one_line(text) ((text)[0] && strcspn(text, "\n") == strlen(text) - 1)

/* One line that says so. */
#define EXPECT_COMPLAINT(wanted, say, ...)						\
	do {										\
		struct command complaint;						\
											\
		command_run(&complaint, __VA_ARGS__);					\
		EXPECT_EQ(wanted, complaint.status);					\
		EXPECT_STREQ("", complaint.out);					\
		EXPECT_TRUE(is_one_line(complaint.err)) TH_LOG("%s", complaint.err);	\
		EXPECT_NE(NULL, strstr(complaint.err, say))				\
			TH_LOG("no \"%s\" in %s", say, complaint.err);			\
	} while (0)

#endif /* LIFE_H */
