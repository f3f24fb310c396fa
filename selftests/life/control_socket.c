// SPDX-License-Identifier: GPL-2.0
/*
 * The control socket against clients that are malformed, slow, rude or many: they get
 * an error or are hung up on, and the VM and other clients do not notice.
 */
#include <errno.h>
#include <poll.h>

#include "kselftest_harness.h"
#include "life.h"
#include "schema.h"

#define CLIENTS_MOST 64

GUEST(flood, 16, "sti; 1: mov $0x3fd, %dx; 2: in %dx, %al; test $0x20, %al; jz 2b\n"
      "mov $0x78, %al; mov $0x3f8, %dx; out %al, %dx; jmp 1b");
/* Never ready for input. */
GUEST(deaf, 16, "sti; jmp .");

FIXTURE(control_socket)
{
	char answer[16384];
};

FIXTURE_SETUP(control_socket)
{
	life_begin();
}

FIXTURE_TEARDOWN(control_socket)
{
	/* It has survived. */
	EXPECT_TRUE(vm_is("victim", "running"));
	EXPECT_EQ(0, sh("timeout 7000 mote pause victim && timeout 7000 mote resume victim"));
	EXPECT_EQ(0, sh("timeout 7000 mote stop --force victim"));
	EXPECT_EQ(STATUS_STOPPED, vm_status("victim"));
	life_end();
	sh("rm -f " FLAT_IMAGE);
}

static void send_all(int fd, const char *data, size_t nr)
{
	while (nr) {
		ssize_t done = send(fd, data, nr, MSG_NOSIGNAL);

		if (done < 0)
			return;
		data += done;
		nr -= done;
	}
}

/* A line, or what came before the end. */
static const char *hear(int fd, char *line, size_t size)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	size_t nr = 0;

	while (nr < size - 1 && poll(&poll_fd, 1, -1) == 1 && read(fd, line + nr, 1) == 1)
		if (line[nr++] == '\n')
			break;
	line[nr] = '\0';
	return line;
}

/* It is answered, with an error that says so, and the next request is, too. */
#define EXPECT_REFUSAL(say, data, nr)								\
	do {											\
		int fd = vm_dial("victim");								\
												\
		ASSERT_LE(0, fd);								\
		send_all(fd, data, nr);								\
		hear(fd, self->answer, sizeof(self->answer));					\
		EXPECT_EQ(0, strncmp(self->answer, "{\"error\":", 9)) TH_LOG("%s", self->answer); \
		EXPECT_NE(NULL, strstr(self->answer, say)) TH_LOG("%s", self->answer);		\
		send_all(fd, "\n", 1);								\
		hear(fd, self->answer, sizeof(self->answer));					\
		send_all(fd, "{\"do\":\"status\"}\n", 16);					\
		hear(fd, self->answer, sizeof(self->answer));					\
		EXPECT_NE(NULL, strstr(self->answer, "\"state\":\"running\""))			\
			TH_LOG("%s", self->answer);						\
		close(fd);									\
	} while (0)

#define MALFORMED "a request is one line"

TEST_F(control_socket, malformed)
{
	static const char *const requests[] = {
		"hello\n", "{\n", "[]\n", "17\n", "null\n", "\"status\"\n", "{}\n", "{\"do\":17}\n",
		"{\"do\":null}\n", "{\"do\":[\"status\"]}\n", "{\"DO\":\"status\"}\n", "{'\n",
		"\xff\xfe\x80\n",
	};
	char deep[2001];

	ASSERT_TRUE(vm_start_flat("victim", &guest_deaf, "--serial socket"));
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++)
		EXPECT_REFUSAL(MALFORMED, requests[i], strlen(requests[i]));
	EXPECT_REFUSAL(MALFORMED, "\0\0{\"do\":\"kill\"}\n", 17);
	EXPECT_REFUSAL("no request that", "{\"do\":\"\"}\n", 10);
	EXPECT_REFUSAL("no request that", "{\"do\":\"halt\"}\n", 14);
	memset(deep, '[', sizeof(deep));
	deep[sizeof(deep) - 1] = '\n';
	EXPECT_REFUSAL(MALFORMED, deep, sizeof(deep));
}

/* What a machine says is what docs/control.schema.json says that it does. */
TEST_F(control_socket, schema)
{
	static const struct {
		const char *what, *request;
	} exchanges[] = {
		{ "status", "{\"version\":1,\"do\":\"status\"}\n" },
		{ "stat", "{\"version\":1,\"do\":\"stat\"}\n" },
		{ "pause", "{\"version\":1,\"do\":\"pause\"}\n" },
		{ "memory", "{\"version\":1,\"do\":\"memory\",\"size\":1048576}\n" },
		{ "power-button", "{\"version\":1,\"do\":\"power-button\"}\n" },
		{ "resume", "{\"version\":1,\"do\":\"resume\"}\n" },
		{ "terminal-size", "{\"version\":1,\"do\":\"terminal-size\",\"columns\":80,\"rows\":25}\n" },
		{ "refusal", "{\"version\":1,\"do\":\"memory\",\"size\":1}\n" },
		{ "refusal", "{\"version\":2,\"do\":\"kill\"}\n" },
		{ "console", "{\"version\":1,\"do\":\"console\",\"columns\":80,\"rows\":25}\n" },
	};
	struct json_object *schema = json_object_from_file("control.schema.json");
	int fd;

	ASSERT_NE(NULL, schema);
	ASSERT_EQ(0, sh("truncate -s 1M disk"));
	ASSERT_TRUE(vm_start_flat("victim", &guest_deaf,
				  "--serial socket --balloon --net user --disk $OLDPWD/disk"));
	fd = vm_dial("victim");
	ASSERT_LE(0, fd);
	for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++) {
		const char *what = exchanges[i].what, *request = exchanges[i].request;

		send_all(fd, request, strlen(request));
		hear(fd, self->answer, sizeof(self->answer));
		EXPECT_TRUE(schema_has_exchange(schema, what, request, self->answer))
			TH_LOG("%s%s", request, self->answer);
	}
	close(fd);
	json_object_put(schema);
	sh("rm disk");
}

TEST_F(control_socket, endless)
{
	static char line[4096];

	ASSERT_TRUE(vm_start_flat("victim", &guest_deaf, "--serial socket"));
	memset(line, 'x', sizeof(line));
	EXPECT_REFUSAL("too long", line, sizeof(line));
}

/* One byte at a time, and two requests at a time. */
TEST_F(control_socket, pieces)
{
	static const char request[] = "{\"do\":\"status\"}\n{\"do\":\"stat\"}\n";
	int fd;

	ASSERT_TRUE(vm_start_flat("victim", &guest_deaf, "--serial socket"));
	fd = vm_dial("victim");
	ASSERT_LE(0, fd);
	for (const char *at = request; *at; at++) {
		send_all(fd, at, 1);
		usleep(1000);
	}
	for (int i = 0; i < 2; i++) {
		EXPECT_NE(NULL, strstr(hear(fd, self->answer, sizeof(self->answer)), "\"name\":\"victim\""));
		EXPECT_EQ(i ? 1 : 0, !!strstr(self->answer, "\"vcpus\""));
	}
	send_all(fd, request, strlen(request));
	for (int i = 0; i < 2; i++)
		EXPECT_NE(NULL, strstr(hear(fd, self->answer, sizeof(self->answer)), "\"name\":\"victim\""));
	close(fd);
}

/* Who asks and does not listen, and who leaves in the middle of everything. */
TEST_F(control_socket, rude)
{
	static const char request[] = "{\"do\":\"stat\"}\n";
	long nr = guest_rounds(20000, 100000);
	int fd;

	ASSERT_TRUE(vm_start_flat("victim", &guest_flood, "--serial socket"));
	fd = vm_dial("victim");
	ASSERT_LE(0, fd);
	for (int i = 0; i < 20000; i++)
		if (send(fd, request, strlen(request), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
	EXPECT_TRUE(vm_is("victim", "running"));
	close(fd);
	for (int i = 0; i < 50; i++) {
		fd = vm_dial("victim");
		ASSERT_LE(0, fd);
		send_all(fd, i % 2 ? "{\"do\":\"console\"}\n" : "{\"do\":\"st", i % 2 ? 17 : 9);
		close(fd);
	}
	/* One that hears of a flood and does not read it. */
	fd = vm_dial("victim");
	ASSERT_LE(0, fd);
	send_all(fd, "{\"do\":\"console\"}\n", 17);
	EXPECT_EQ(0, sh("mote console victim < /dev/null | head -c %ld | wc -c | grep -q '^%ld$'", nr, nr));
	close(fd);
}

/* To a guest that does not read: what does not fit is not taken. */
TEST_F(control_socket, typed)
{
	char data[1000];
	ssize_t done;
	int fd;

	ASSERT_TRUE(vm_start_flat("victim", &guest_deaf, "--serial socket"));
	fd = vm_dial("victim");
	ASSERT_LE(0, fd);
	send_all(fd, "{\"do\":\"console\"}\n", 17);
	hear(fd, self->answer, sizeof(self->answer));
	memset(data, 'x', sizeof(data));
	for (int i = 0; i < 10000; i++) {
		done = send(fd, data, sizeof(data), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (done < 0)
			break;
	}
	EXPECT_EQ(-1, done);
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_TRUE(vm_is("victim", "running"));
	close(fd);
}

TEST_F(control_socket, many)
{
	int fds[CLIENTS_MOST], more;

	ASSERT_TRUE(vm_start_flat("victim", &guest_deaf, "--serial socket"));
	for (int i = 0; i < CLIENTS_MOST; i++) {
		fds[i] = vm_dial("victim");
		ASSERT_LE(0, fds[i]);
		/* It has been accepted. */
		send_all(fds[i], "{\"do\":\"status\"}\n", 16);
		hear(fds[i], self->answer, sizeof(self->answer));
		EXPECT_NE(NULL, strstr(self->answer, "running")) TH_LOG("%d: %s", i, self->answer);
	}
	more = vm_dial("victim");
	ASSERT_LE(0, more);
	EXPECT_STREQ("{\"error\":\"the VM has too many clients\"}\n",
		     hear(more, self->answer, sizeof(self->answer)));
	EXPECT_EQ(0, read(more, self->answer, 1));
	close(more);
	for (int i = 0; i < CLIENTS_MOST; i++)
		close(fds[i]);
}

MOTE_TEST_MAIN
