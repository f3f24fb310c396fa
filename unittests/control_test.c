// SPDX-License-Identifier: GPL-2.0
/*
 * The control socket, over real connections, of a machine without a guest: each request and answer is
 * what docs/control.schema.json says, bad ones change nothing, and what takes its time is answered later.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../selftests/lib/schema.h"
#include "../userspace/runner/requests.c"
#include "../userspace/runner/step.h"
#include "complaints.h"
#include "loops.h"

#define ANSWER_MOST 16384
#define MEBIBYTE (1ull << 20)
#define PAGE_SIZE 4096

static struct options options = {
	.name = "unit", .is_named = true, .image = "an \"image\"", .memory = 512 * MEBIBYTE, .cpus = 1,
	.balloon = 512 * MEBIBYTE,
};
static struct mote_run run_page = { .exits = { [MOTE_EXIT_CPUID] = 3, [MOTE_EXIT_PIO] = 5 } };
static struct vcpu vcpu = { .cpu = { .run = &run_page }, .exits = { [MOTE_EXIT_PIO] = 5 } };
static struct vm vm = {
	.options = &options, .vendor = MOTE_VENDOR_SVM, .name = "unit", .nr_vcpus = 1, .vcpus = &vcpu,
	.lock = PTHREAD_MUTEX_INITIALIZER,
};
static struct json_object *schema;

/* ---- what else the runner has -------------------------------------------------------------- */

static unsigned int nr_done, nr_pressed, nr_ended;
static __u64 left;
static struct job *posted;
static bool has_drained, logs;

void vm_pause(struct vm *which, const char *why)
{
	(void)why;
	which->paused = true;
	which->is_brief = false;
	nr_done++;
}

void vm_stop_briefly(struct vm *which)
{
	if (!which->paused)
		which->paused = which->is_brief = true;
}

void vm_go_on(struct vm *which)
{
	if (which->is_brief)
		which->paused = which->is_brief = false;
}

bool vm_is_wanted_paused(const struct vm *which)
{
	return which->paused && !which->is_brief;
}

bool vm_stop(struct vm *which)
{
	which->paused = true;
	if (which->when_paused)
		posted = which->when_paused;
	return true;
}

bool vm_go(struct vm *which, const void *holder)
{
	if (which->holder != holder)
		return false;
	which->paused = false;
	which->holder = NULL;
	return true;
}

/* The module's end of libmote, as far as a debugger wants it. */
static bool has_registers = true;

int ioctl(int fd, unsigned long request, ...)
{
	(void)fd;
	if (!has_registers) {
		errno = EBADF;
		return -1;
	}
	/* Of a field the low bits say which one it is. */
	if (request == MOTE_GET_FIELD) {
		va_list arguments;
		struct mote_field *field;

		va_start(arguments, request);
		field = va_arg(arguments, struct mote_field *);
		field->value = field->number;
		va_end(arguments);
		return 0;
	}
	if (request == MOTE_GET_STATE || request == MOTE_SET_STATE || request == MOTE_SET_DEBUG ||
	    request == MOTE_SET_WATCH)
		return 0;
	errno = ENOTTY;
	return -1;
}

void vm_resume(struct vm *which)
{
	which->paused = which->is_brief;
	nr_done++;
}

void vcpu_kick(struct vcpu *which)
{
	(void)which;
}

static __u64 granted;

void vcpus_grant(struct vm *which, bool anew, __u64 pages)
{
	(void)which;
	(void)anew;
	granted = pages;
}

bool vm_is_paused(struct vm *which)
{
	return which->paused && has_drained;
}

void vm_end(struct vm *which, enum ending end, int detail)
{
	(void)which;
	(void)detail;
	nr_done++;
	nr_ended += end == END_MIGRATED;
}

void vm_quit(struct vm *which)
{
	(void)which;
}

void io_post(struct vm *which, struct job *job)
{
	(void)which;
	CHECK(!posted || posted == job);
	posted = job;
}

void say_event(struct vm *which, const char *event, const char *why)
{
	(void)which;
	(void)event;
	(void)why;
}

bool vm_hold_for(struct vm *which, const void *holder)
{
	if (!which->paused || which->holder)
		return false;
	which->holder = holder;
	return true;
}

void vm_state(struct vm *which, struct state *state)
{
	STATE(state, which, paused);
}

int memory_undo(struct vm *which, int fd)
{
	(void)which;
	(void)fd;
	return 0;
}

void memory_forget(struct vm *which)
{
	(void)which;
}

int memory_log(struct vm *which, bool is_on)
{
	(void)which;
	logs = is_on;
	return 0;
}

int memory_get_dirty(struct vm *which, __u64 *bits)
{
	(void)which;
	bits[0] |= 1;
	return 0;
}

void cpuid_state(struct vm *which, struct state *state)
{
	(void)which;
	(void)state;
}

void acpi_power_button(struct vm *which)
{
	(void)which;
	nr_pressed++;
}

int balloon_leave(struct vm *which, __u64 memory)
{
	(void)which;
	left = memory;
	return 0;
}

/* ---- the device of the console ----------------------------------------------------------------- */

static struct device lines[3];
static struct tty_size size;
static size_t nr_wanted, nr_typed;
static const void *typed_at;

static size_t room(void *device)
{
	(void)device;
	return nr_wanted;
}

static void take_input(void *device, const void *data, size_t nr)
{
	(void)data;
	typed_at = device;
	nr_typed += nr;
}

static void resized(void *device, const struct tty_size *now)
{
	(void)device;
	size = *now;
}

static const struct console_ops console_ops = {
	.room = room, .input = take_input, .resized = resized,
};

/* ---- clients ------------------------------------------------------------------------------------- */

static void do_job(void)
{
	struct job *job = posted;

	CHECK(job);
	posted = NULL;
	if (job)
		job->run(&vm, job);
	settle(&vm);
}

static int dial(void)
{
	char directory[256];
	int fd = rundir_get(0, directory, sizeof(directory), false) ? -1 : rundir_connect(directory, "unit");

	CHECK(fd >= 0);
	settle(&vm);
	return fd;
}

static void say(int fd, const char *text)
{
	EQ(strlen(text), send(fd, text, strlen(text), MSG_NOSIGNAL));
	settle(&vm);
}

/* What has come by now, once all that can be done has been. */
static const char *hear(int fd)
{
	static char answer[ANSWER_MOST];
	ssize_t nr;

	settle(&vm);
	nr = recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT);
	answer[nr > 0 ? nr : 0] = '\0';
	return answer;
}

static bool is_line(const char *text)
{
	const char *end = strchr(text, '\n');

	return end && !end[1];
}

/* A request on a connection of its own; with a job that is done at once. */
static const char *ask(const char *request)
{
	int fd = dial();
	const char *answer;

	say(fd, request);
	say(fd, "\n");
	while (posted)
		do_job();
	answer = hear(fd);
	CHECK(is_line(answer));
	close(fd);
	settle(&vm);
	return answer;
}

static void begin(void)
{
	nr_done = nr_pressed = nr_ended = 0;
	left = 0;
	posted = NULL;
	has_drained = true;
	vm.paused = false;
	vcpu.tid = getpid();
	vcpu.vm = &vm;
	CHECK(!loop_create(&vm.supervisor, &vm, NULL) && !loop_create(&vm.io, &vm, &vm.lock));
	CHECK(console_open(&vm, &console_ops, &lines[0], "serial", "none"));
	CHECK(console_open(&vm, &console_ops, &lines[1], "hvc0", "socket"));
	CHECK(console_open(&vm, &console_ops, &lines[2], "hvc1", "socket"));
	CHECK(!control_create(&vm));
}

static void end(void)
{
	control_destroy(&vm);
	consoles_destroy(&vm);
	loop_destroy(&vm.supervisor);
	loop_destroy(&vm.io);
}

/* ---- the schema ------------------------------------------------------------------------------------- */

/* One of each, with all that they may have. */
static const struct {
	const char *what, *request;
} exchanges[] = {
	{ "status", "{\"version\":1,\"do\":\"status\"}" },
	{ "stat", "{\"version\":1,\"do\":\"stat\"}" },
	{ "slots", "{\"version\":1,\"do\":\"slots\"}" },
	{ "power-button", "{\"version\":1,\"do\":\"power-button\"}" },
	{ "pause", "{\"version\":1,\"do\":\"pause\"}" },
	{ "resume", "{\"version\":1,\"do\":\"resume\"}" },
	{ "console", "{\"version\":1,\"do\":\"console\"}" },
	{ "console", "{\"version\":1,\"do\":\"console\",\"columns\":132,\"rows\":43}" },
	{ "console", "{\"version\":1,\"do\":\"console\",\"which\":\"hvc1\"}" },
	{ "terminal-size", "{\"version\":1,\"do\":\"terminal-size\",\"columns\":65535,\"rows\":1}" },
	{ "terminal-size", "{\"version\":1,\"do\":\"terminal-size\",\"columns\":65535,\"rows\":1,"
			   "\"which\":\"hvc0\"}" },
	{ "memory", "{\"version\":1,\"do\":\"memory\",\"size\":268435456}" },
	{ "kill", "{\"version\":1,\"do\":\"kill\"}" },
};

#define NR_EXCHANGES (sizeof(exchanges) / sizeof(exchanges[0]))

static void test_schema(void)
{
	begin();
	vm.low = vm.high = 256 * MEBIBYTE;
	vm.ram = (unsigned char *)&run_page;
	for (size_t i = 0; i < NR_EXCHANGES; i++) {
		const char *answer = ask(exchanges[i].request);
		struct json_object *more = json_tokener_parse(answer);

		snprintf(said, sizeof(said), "%s", answer);
		CHECK(schema_has_exchange(schema, exchanges[i].what, exchanges[i].request, answer));
		CHECK(!schema_has_exchange(schema, "refusal", exchanges[i].request, answer));
		/* Nothing may be added to it. */
		json_object_object_add(more, "more", json_object_new_int(1));
		CHECK(!schema_has_exchange(schema, exchanges[i].what, exchanges[i].request,
					   json_object_to_json_string(more)));
		json_object_put(more);
	}
	vm.low = vm.high = 0;
	EQ(3, nr_done);
	EQ(1, nr_pressed);
	EQ(256 * MEBIBYTE, left);
	CHECK(size.columns == 65535 && size.rows == 1);
	end();
}

/* What there is in the table is in the schema, with the same arguments, and there is nothing else. */
static void test_table(void)
{
	struct json_object *any, *properties, *property;
	char path[96];

	json_object_object_get_ex(schema, "anyOf", &any);
	EQ(ARRAY_SIZE(requests) + 1, json_object_array_length(any));
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const struct request *request = &requests[i];
		unsigned int nr = 2;

		snprintf(path, sizeof(path), "#/$defs/%s/properties/request/properties", request->name);
		properties = schema_find(schema, path);
		snprintf(said, sizeof(said), "%s", request->name);
		CHECK(json_object_object_get_ex(properties, "do", &property) &&
		      json_object_object_get_ex(property, "const", &property) &&
		      !strcmp(json_object_get_string(property), request->name));
		for (unsigned int at = 0; at < ARGUMENTS_MOST && request->arguments[at].name; at++, nr++) {
			struct json_object *least, *most, *type;

			if (!request->arguments[at].most) {
				CHECK(json_object_object_get_ex(properties, request->arguments[at].name,
								&property) &&
				      json_object_object_get_ex(property, "type", &type) &&
				      !strcmp(json_object_get_string(type), "string"));
				continue;
			}
			CHECK(json_object_object_get_ex(properties, request->arguments[at].name, &property) &&
			      json_object_object_get_ex(property, "minimum", &least) &&
			      json_object_object_get_ex(property, "maximum", &most) &&
			      json_object_get_uint64(least) == request->arguments[at].least &&
			      json_object_get_uint64(most) == request->arguments[at].most);
		}
		EQ(nr, json_object_object_length(properties));
	}
}

/* ---- what is refused ---------------------------------------------------------------------------------- */

static void test_refused(void)
{
	static const struct {
		const char *request, *why;
	} cases[] = {
		{ "{\"version\":2,\"do\":\"kill\"}", "requests of version 1 alone" },
		{ "{\"version\":0,\"do\":\"kill\"}", "requests of version 1 alone" },
		{ "{\"version\":-1,\"do\":\"kill\"}", "requests of version 1 alone" },
		{ "{\"version\":\"1\",\"do\":\"kill\"}", "requests of version 1 alone" },
		{ "{\"version\":1.0,\"do\":\"kill\"}", "requests of version 1 alone" },
		{ "{\"version\":null,\"do\":\"kill\"}", "requests of version 1 alone" },
		{ "{\"version\":1}", "a request is one line" },
		{ "{\"version\":1,\"do\":\"halt\"}", "no request that the runner knows" },
		{ "{\"version\":1,\"do\":\"kill\",\"now\":true}", "kill has no \"now\"" },
		{ "{\"version\":1,\"do\":\"kill\",\"size\":1048576}", "kill has no \"size\"" },
		{ "{\"version\":1,\"do\":\"kill\",\"a\\nb\":1}", "kill has no" },
		{ "{\"version\":1,\"do\":\"memory\"}", "memory wants \"size\"" },
		{ "{\"version\":1,\"do\":\"memory\",\"size\":1048575}", "is no number from 1048576 to" },
		{ "{\"version\":1,\"do\":\"memory\",\"size\":-1}", "is no number from" },
		{ "{\"version\":1,\"do\":\"memory\",\"size\":99999999999999999999}", "is no number from" },
		{ "{\"version\":1,\"do\":\"memory\",\"size\":\"512M\"}", "is no number from" },
		{ "{\"version\":1,\"do\":\"memory\",\"size\":2097152.5}", "is no number from" },
		{ "{\"version\":1,\"do\":\"memory\",\"size\":536870913}", "the VM has 512M in all" },
		{ "{\"version\":1,\"do\":\"terminal-size\",\"columns\":80}", "terminal-size wants \"rows\"" },
		{ "{\"version\":1,\"do\":\"terminal-size\",\"columns\":80,\"rows\":0}", "from 1 to 65535" },
		{ "{\"version\":1,\"do\":\"console\",\"columns\":65536}", "is no number from 1 to 65535" },
		{ "{\"do\":\"terminal-size\"}", "terminal-size wants \"columns\"" },
		{ "{\"version\":1,\"do\":\"console\",\"which\":1}", "\"which\" is no name" },
		{ "{\"version\":1,\"do\":\"console\",\"which\":\"hvc2\"}", "no console hvc2" },
		{ "{\"version\":1,\"do\":\"console\",\"which\":\"serial\"}", "no console serial" },
		{ "{\"version\":1,\"do\":\"terminal-size\",\"columns\":80,\"rows\":25,\"which\":\"\"}",
		  "no console " },
	};

	begin();
	size = (struct tty_size) { 0 };
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *answer = ask(cases[i].request);
		struct json_object *parsed = json_tokener_parse(answer), *why = NULL;

		snprintf(said, sizeof(said), "%s: %s", cases[i].request, answer);
		CHECK(schema_has_exchange(schema, "refusal", cases[i].request, answer));
		json_object_object_get_ex(parsed, "error", &why);
		CHECK(why && strstr(json_object_get_string(why), cases[i].why));
		json_object_put(parsed);
	}
	options.balloon = 0;
	CHECK(strstr(ask("{\"version\":1,\"do\":\"memory\",\"size\":1048576}"), "no balloon"));
	options.balloon = 512 * MEBIBYTE;
	EQ(0, nr_done + nr_pressed + left + size.columns + size.rows);
	end();
}

/* What was done at the very end is answered, though nobody waits for events any more. */
static void test_last_answer(void)
{
	char answer[ANSWER_MOST] = "";
	struct job *job;
	int fd;

	begin();
	fd = dial();
	say(fd, "{\"version\":1,\"do\":\"power-button\"}\n");
	job = posted;
	posted = NULL;
	CHECK(job);
	job->run(&vm, job);
	control_answer(&vm);
	end();
	CHECK(recv(fd, answer, sizeof(answer) - 1, MSG_DONTWAIT) > 0 && is_line(answer));
	CHECK(strstr(answer, "\"state\":\"running\"") && !strstr(answer, "error"));
	close(fd);
}

/* Who asks for one of several consoles gets what is written there, and types there alone. */
static void test_consoles(void)
{
	static const char *const requests[] = {
		"{\"version\":1,\"do\":\"console\"}\n",
		"{\"version\":1,\"do\":\"console\",\"which\":\"hvc1\"}\n",
	};
	int fds[2];

	begin();
	console_write(console_find(&vm, "hvc0"), "to the first", 12);
	console_write(console_find(&vm, "hvc1"), "to the second", 13);
	for (unsigned int i = 0; i < 2; i++) {
		const char *answer;

		fds[i] = dial();
		say(fds[i], requests[i]);
		answer = strchr(hear(fds[i]), '\n');
		CHECK(answer && !strcmp(answer + 1, i ? "to the second" : "to the first"));
	}
	console_write(console_find(&vm, "hvc1"), "more", 4);
	settle(&vm);
	CHECK(!hear(fds[0])[0]);
	CHECK(!strcmp(hear(fds[1]), "more"));
	nr_wanted = 10;
	console_wants_more(console_find(&vm, "hvc0"));
	console_wants_more(console_find(&vm, "hvc1"));
	say(fds[1], "typed");
	EQ(5, nr_typed);
	CHECK(typed_at == &lines[2]);
	for (unsigned int i = 0; i < 2; i++)
		close(fds[i]);
	settle(&vm);
	nr_wanted = 0;
	end();
}

/* The directory may have gone meanwhile, and another machine have come: what is there then is that one's. */
static void test_own_socket(void)
{
	char directory[256], path[320];
	int fd;

	begin();
	CHECK(!rundir_get(0, directory, sizeof(directory), false));
	snprintf(path, sizeof(path), "%s/unit.sock", directory);
	CHECK(!access(path, F_OK) && !unlink(path));
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	CHECK(fd >= 0);
	close(fd);
	end();
	CHECK(!unlink(path));
	begin();
	end();
	CHECK(access(path, F_OK));
}

/* As before there were versions: more than is known is no mistake, and the answer has none. */
static void test_without_version(void)
{
	const char *answer;

	begin();
	answer = ask("{\"do\":\"status\",\"colour\":\"red\"}");
	CHECK(strstr(answer, "\"state\":\"running\"") && !strstr(answer, "version"));
	answer = ask("{\"do\":\"halt\"}");
	CHECK(!strncmp(answer, "{\"error\":", 9) && !strstr(answer, "version"));
	answer = ask("{\"do\":\"memory\",\"size\":1048576}");
	CHECK(strstr(answer, "\"state\":\"running\""));
	EQ(MEBIBYTE, left);
	end();
}

/* ---- answers that come later --------------------------------------------------------------- */

#define BUTTON "{\"version\":1,\"do\":\"power-button\"}\n"
#define STATUS "{\"version\":1,\"do\":\"status\"}\n"
#define PAUSE "{\"version\":1,\"do\":\"pause\"}\n"
#define MEMORY "{\"version\":1,\"do\":\"memory\",\"size\":1048576}\n"

static void test_later(void)
{
	int fd, other;

	begin();
	fd = dial();
	other = dial();
	/* The second request waits behind the first, and other clients for neither. */
	say(fd, BUTTON STATUS);
	CHECK(!hear(fd)[0]);
	say(other, STATUS);
	CHECK(is_line(hear(other)));
	do_job();
	EQ(1, nr_pressed);
	CHECK(strchr(hear(fd), '\n'));
	/* A pause is one when all have stopped. */
	has_drained = false;
	say(fd, PAUSE);
	CHECK(!hear(fd)[0]);
	say(other, STATUS);
	CHECK(strstr(hear(other), "\"pausing\""));
	control_wake(&vm);
	CHECK(!hear(fd)[0]);
	has_drained = true;
	control_wake(&vm);
	CHECK(strstr(hear(fd), "\"paused\""));
	/* Who does not wait has asked nevertheless. */
	say(fd, MEMORY);
	close(fd);
	settle(&vm);
	EQ(0, left);
	do_job();
	EQ(MEBIBYTE, left);
	close(other);
	end();
}

/* The VM ends before its devices have come to it: what was to end it is done, a change is not. */
static void test_ends_before(void)
{
	int button, memory, gone;

	begin();
	button = dial();
	memory = dial();
	gone = dial();
	say(button, BUTTON);
	posted = NULL;
	say(memory, MEMORY);
	posted = NULL;
	say(gone, MEMORY);
	close(gone);
	settle(&vm);
	posted = NULL;
	control_destroy(&vm);
	CHECK(schema_has_exchange(schema, "power-button", BUTTON, hear(button)));
	CHECK(schema_has_exchange(schema, "refusal", MEMORY, hear(memory)));
	close(button);
	close(memory);
	end();
}

/* Whoever ends what he says without a newline has said it. */
static void test_half_closed(void)
{
	int fd;

	begin();
	fd = dial();
	say(fd, "{\"do\":\"status\"}");
	CHECK(!hear(fd)[0]);
	shutdown(fd, SHUT_WR);
	CHECK(is_line(hear(fd)));
	errno = 0;
	EQ(0, recv(fd, said, 1, MSG_DONTWAIT));
	EQ(0, errno);
	close(fd);
	end();
}

/* ---- files that come with a request ------------------------------------------------------------ */

#define SAVE "{\"version\":1,\"do\":\"save\",\"file\":9223372036854775807}"
#define RESET "{\"version\":1,\"do\":\"reset\"}"

static void send_files(int fd, const char *text, const int *files, unsigned int nr)
{
	char control[CMSG_SPACE(8 * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (char *)text, strlen(text) };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = CMSG_SPACE(nr * sizeof(int)),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	*header = (struct cmsghdr) {
		.cmsg_len = CMSG_LEN(nr * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
	};
	memcpy(CMSG_DATA(header), files, nr * sizeof(int));
	EQ(iov.iov_len, sendmsg(fd, &message, MSG_NOSIGNAL));
	settle(&vm);
}

/* How many this process has open. */
static unsigned int nr_open(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 256; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* The machine is written, once it is paused, and no file stays open, however many came. */
static void test_save(void)
{
	static unsigned char memory[2 * MEBIBYTE] __attribute__((aligned(4096))) = { [1000000] = 1 };
	int files[8], fd;
	unsigned int nr;

	begin();
	options.memory = sizeof(memory);
	vm.ram = memory;
	vm.pagemap = -1;
	vm.memory_fd = -1;
	for (int i = 0; i < 8; i++)
		files[i] = memfd_create("file", 0);
	fd = dial();
	nr = nr_open();
	send_files(fd, SAVE "\n", files, 2);
	CHECK(schema_has_exchange(schema, "refusal", SAVE, hear(fd)));
	vm.paused = true;
	say(fd, SAVE "\n");
	CHECK(schema_has_exchange(schema, "refusal", SAVE, hear(fd)));
	send_files(fd, SAVE "\n", files, 1);
	CHECK(schema_has_exchange(schema, "refusal", SAVE, hear(fd)));
	send_files(fd, STATUS, files, 8);
	CHECK(schema_has_exchange(schema, "status", STATUS, hear(fd)));
	EQ(nr, nr_open());
	send_files(fd, SAVE "\n", files, 2);
	CHECK(!hear(fd)[0]);
	while (posted)
		do_job();
	CHECK(schema_has_exchange(schema, "save", SAVE, hear(fd)));
	/* Its memory stays open, as it may go back there. */
	EQ(nr + 1, nr_open());
	EQ(sizeof(memory) + sizeof(memory) / SNAPSHOT_CHUNK * sizeof(__u64), lseek(files[1], 0, SEEK_END));
	CHECK(lseek(files[0], 0, SEEK_END) > (off_t)sizeof(struct snapshot_head));
	/* It goes back there, while it is paused. */
	say(fd, RESET "\n");
	CHECK(!hear(fd)[0]);
	while (posted)
		do_job();
	CHECK(schema_has_exchange(schema, "reset", RESET, hear(fd)));
	CHECK(!vm.holder);
	vm.paused = false;
	say(fd, RESET "\n");
	CHECK(schema_has_exchange(schema, "refusal", RESET, hear(fd)));
	vm.paused = true;
	base_destroy(&vm);
	say(fd, RESET "\n");
	while (posted)
		do_job();
	CHECK(schema_has_exchange(schema, "refusal", RESET, hear(fd)));
	/* Who does not wait is not written to, nor is a machine that has ended saved. */
	send_files(fd, SAVE "\n", files, 2);
	close(fd);
	settle(&vm);
	while (posted)
		do_job();
	fd = dial();
	send_files(fd, SAVE "\n", files + 2, 2);
	posted = NULL;
	control_destroy(&vm);
	CHECK(schema_has_exchange(schema, "refusal", SAVE, hear(fd)));
	close(fd);
	vm.holder = NULL;
	base_destroy(&vm);
	for (int i = 0; i < 8; i++)
		close(files[i]);
	options.memory = 512 * MEBIBYTE;
	end();
}

#define POLICY_ADD(name) "{\"version\":1,\"do\":\"policy-add\",\"name\":\"" name "\"}"
#define POLICY_REMOVE(name) "{\"version\":1,\"do\":\"policy-remove\",\"name\":\"" name "\"}"

/* Each is held until it is removed, or the machine ends; what is refused is closed. */
static void test_policies(void)
{
	int fd, file = memfd_create("link", 0);
	char request[128];
	unsigned int nr;

	begin();
	fd = dial();
	nr = nr_open();
	say(fd, POLICY_ADD("one") "\n");
	CHECK(schema_has_exchange(schema, "refusal", POLICY_ADD("one"), hear(fd)));
	send_files(fd, POLICY_ADD("../one") "\n", &file, 1);
	CHECK(schema_has_exchange(schema, "refusal", POLICY_ADD("../one"), hear(fd)));
	EQ(nr, nr_open());
	send_files(fd, POLICY_ADD("one") "\n", &file, 1);
	CHECK(schema_has_exchange(schema, "policy-add", POLICY_ADD("one"), hear(fd)));
	send_files(fd, POLICY_ADD("one") "\n", &file, 1);
	CHECK(schema_has_exchange(schema, "refusal", POLICY_ADD("one"), hear(fd)));
	send_files(fd, POLICY_ADD("two") "\n", &file, 1);
	CHECK(strstr(hear(fd), "[\"one\",\"two\"]"));
	EQ(nr + 2, nr_open());
	say(fd, POLICY_REMOVE("three") "\n");
	CHECK(schema_has_exchange(schema, "refusal", POLICY_REMOVE("three"), hear(fd)));
	say(fd, POLICY_REMOVE("one") "\n");
	CHECK(schema_has_exchange(schema, "policy-remove", POLICY_REMOVE("one"), hear(fd)));
	EQ(nr + 1, nr_open());
	for (unsigned int i = 1; i <= POLICIES_MOST; i++) {
		snprintf(request, sizeof(request), POLICY_ADD("more%u") "\n", i);
		send_files(fd, request, &file, 1);
		EQ(i == POLICIES_MOST, !!strstr(hear(fd), "as many policies as there can be"));
	}
	EQ(nr + POLICIES_MOST, nr_open());
	say(fd, POLICY_REMOVE("two") "\n");
	CHECK(!strstr(hear(fd), "\"two\""));
	policies_destroy(&vm);
	EQ(nr, nr_open());
	close(file);
	close(fd);
	end();
}

#define DUMP "{\"version\":1,\"do\":\"dump\"}"

/* With the registers of so many vCPUs. */
static const char *dump(int fd, int file, unsigned int nr)
{
	static char answer[ANSWER_MOST];
	char *cpus;

	CHECK(!ftruncate(file, 0));
	send_files(fd, DUMP "\n", &file, 1);
	CHECK(!hear(fd)[0]);
	vm.nr_vcpus = nr;
	while (posted)
		do_job();
	vm.nr_vcpus = 1;
	snprintf(answer, sizeof(answer), "%s", hear(fd));
	cpus = strstr(answer, "\"cpus\":0");
	if (cpus)
		cpus[strlen("\"cpus\":")] = '1';
	return answer;
}

/* A note of a kernel that says what @text has, of @size bytes, at the beginning of a page. */
static void put_vmcoreinfo(unsigned char *page, const char *text, __u32 size)
{
	const __u32 head[] = { sizeof("VMCOREINFO"), size, 0 };

	memset(page, 0, PAGE_SIZE);
	memcpy(page, head, sizeof(head));
	strcpy((char *)page + sizeof(head), "VMCOREINFO");
	strcpy((char *)page + sizeof(head) + 12, text);
}

/* A core is none as long as it is not whole; what a guest has put there for a note is no longer than one. */
static void test_dump(void)
{
	static unsigned char memory[4 * SNAPSHOT_CHUNK] __attribute__((aligned(4096)));
	static unsigned char seen[sizeof(memory)];
	int file = memfd_create("core", 0), fd;
	Elf64_Phdr headers[2];
	Elf64_Ehdr head;

	begin();
	options.memory = vm.low = sizeof(memory);
	vm.ram = memory;
	vm.pagemap = vm.memory_fd = -1;
	fd = dial();
	say(fd, DUMP "\n");
	CHECK(schema_has_exchange(schema, "refusal", DUMP, hear(fd)));
	send_files(fd, DUMP "\n", &file, 1);
	CHECK(schema_has_exchange(schema, "refusal", DUMP, hear(fd)));
	vm.paused = true;
	memory[PAGE_SIZE] = 1;
	has_registers = false;
	CHECK(schema_has_exchange(schema, "refusal", DUMP, dump(fd, file, 1)));
	has_registers = true;
	CHECK(!vm.holder);
	CHECK(pread(file, &head, sizeof(head), 0) == sizeof(head) && !head.e_ident[EI_MAG0]);
	CHECK(strstr(dump(fd, file, 0), "\"saved_bytes\":8192,\"vmcoreinfo\":false"));
	CHECK(pread(file, &head, sizeof(head), 0) == sizeof(head) && !memcmp(head.e_ident, ELFMAG, SELFMAG));
	CHECK(pread(file, headers, sizeof(headers), head.e_phoff) == sizeof(headers));
	EQ(2, head.e_phnum);
	EQ(sizeof(memory), headers[1].p_filesz);
	CHECK(pread(file, seen, sizeof(seen), headers[1].p_offset) == sizeof(seen));
	CHECK(!memcmp(seen, memory, sizeof(memory)));
	/* Too long, beyond the end of memory, of something else; and a good one, which is kept as it is. */
	put_vmcoreinfo(memory, "OSRELEASE=1\n", PAGE_SIZE + 1);
	put_vmcoreinfo(memory + sizeof(memory) - PAGE_SIZE, "OSRELEASE=2\n", PAGE_SIZE - 23);
	put_vmcoreinfo(memory + PAGE_SIZE, "osrelease=3\n", 12);
	CHECK(strstr(dump(fd, file, 0), "\"vmcoreinfo\":false"));
	put_vmcoreinfo(memory + 5 * PAGE_SIZE, "OSRELEASE=4\nSYMBOL(swapper_pg_dir)=ffffffff80000000\n",
		       PAGE_SIZE);
	CHECK(schema_has_exchange(schema, "dump", DUMP, dump(fd, file, 0)));
	CHECK(pread(file, headers, sizeof(headers), head.e_phoff) == sizeof(headers));
	EQ(24 + PAGE_SIZE, headers[0].p_filesz);
	CHECK(pread(file, seen, headers[0].p_filesz, headers[0].p_offset) == (ssize_t)headers[0].p_filesz);
	CHECK(!memcmp(seen, memory + 5 * PAGE_SIZE, headers[0].p_filesz));
	close(fd);
	close(file);
	vm.low = 0;
	options.memory = 512 * MEBIBYTE;
	end();
}

/* Into a file that has what was saved before: what is the same is not written again. */
#define GDB "{\"version\":1,\"do\":\"gdb\"}"

/* One debugger at a time, beside whom nothing is saved or moved; answered when it is gone. */
static void test_gdb(void)
{
	int ends[2], others[2], fd, other;

	begin();
	fd = dial();
	other = dial();
	say(fd, GDB "\n");
	CHECK(schema_has_exchange(schema, "refusal", GDB, hear(fd)));
	for (int i = 0; i < 2; i++) {
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
		CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, others));
		send_files(fd, GDB "\n", &ends[1], 1);
		close(ends[1]);
		while (posted)
			do_job();
		CHECK(!hear(fd)[0] && vm.paused && vm.holder);
		send_files(other, GDB "\n", &others[1], 1);
		CHECK(schema_has_exchange(schema, "refusal", GDB, hear(other)));
		say(other, RESET "\n");
		CHECK(schema_has_exchange(schema, "refusal", RESET, hear(other)));
		send_files(other, SAVE "\n", others, 2);
		CHECK(schema_has_exchange(schema, "refusal", SAVE, hear(other)));
		EQ(1, send(ends[0], "$", 1, MSG_NOSIGNAL));
		close(ends[0]);
		settle(&vm);
		while (posted)
			do_job();
		CHECK(schema_has_exchange(schema, "gdb", GDB, hear(fd)));
		CHECK(!vm.paused && !vm.holder);
		close(others[0]);
		close(others[1]);
	}
	/* Whoever has asked for it is gone: so is the debugger. */
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends));
	send_files(fd, GDB "\n", &ends[1], 1);
	close(ends[1]);
	while (posted)
		do_job();
	close(fd);
	settle(&vm);
	while (posted)
		do_job();
	CHECK(!gdb_is_attached(&vm) && !vm.paused);
	EQ(0, recv(ends[0], &fd, 1, MSG_DONTWAIT));
	close(ends[0]);
	close(other);
	end();
	gdb_destroy(&vm);
}

#define WATCH "{\"version\":1,\"do\":\"watch\",\"address\":36864,\"size\":8,\"access\":2,\"physical\":1}"

/* The end that is told of hits. */
static int ask_to_watch(int fd)
{
	int ends[2];

	CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends));
	send_files(fd, WATCH "\n", &ends[1], 1);
	close(ends[1]);
	return ends[0];
}

static void watch_ends(int end)
{
	close(end);
	settle(&vm);
}

/* Any number at once, while it stands still for that alone; then it goes on, unless somebody pauses it. */
static void test_watch(void)
{
	int fds[3], ends[3];

	begin();
	fds[0] = dial();
	say(fds[0], WATCH "\n");
	CHECK(schema_has_exchange(schema, "refusal", WATCH, hear(fds[0])));
	close(fds[0]);
	for (int pauses = 0; pauses < 2; pauses++) {
		has_drained = false;
		for (int i = 0; i < 3; i++) {
			fds[i] = dial();
			ends[i] = ask_to_watch(fds[i]);
			CHECK(!hear(fds[i])[0] && vm.paused && !vm_is_wanted_paused(&vm));
		}
		EQ(3, vm.nr_watching);
		CHECK(strstr(ask("{\"do\":\"status\"}"), "\"running\""));
		/* One does not wait for it; and it begins anew, and has to stand still once more. */
		close(fds[2]);
		settle(&vm);
		EQ(2, vm.nr_watching);
		EQ(0, recv(ends[2], &fds[2], 1, MSG_DONTWAIT));
		CHECK(strstr(ask("{\"do\":\"resume\"}"), "\"running\"") && vm.paused);
		vm.paused = vm.is_brief = false;
		control_wake(&vm);
		settle(&vm);
		CHECK(vm.paused && !vm_is_wanted_paused(&vm) && !hear(fds[0])[0]);
		if (pauses)
			vm_pause(&vm, NULL);
		has_drained = true;
		control_wake(&vm);
		for (int i = 0; i < 2; i++)
			CHECK(schema_has_exchange(schema, "watch", WATCH, hear(fds[i])));
		CHECK(watch_is_any(&vm) && !vm.nr_watching && vm.paused == pauses);
		while (posted)
			do_job();
		for (int i = 0; i < 3; i++)
			watch_ends(ends[i]);
		CHECK(!watch_is_any(&vm));
		close(fds[0]);
		close(fds[1]);
		vm.paused = false;
	}
	/* Of a machine that is at its end. */
	has_drained = false;
	fds[0] = dial();
	ends[0] = ask_to_watch(fds[0]);
	end();
	CHECK(!vm.nr_watching && strstr(hear(fds[0]), "the VM has ended"));
	EQ(0, recv(ends[0], &fds[1], 1, MSG_DONTWAIT));
	close(fds[0]);
	close(ends[0]);
	free(vm.watches);
	vm.watches = NULL;
}

/* The vCPU's thread: it runs, and comes back with an exit of the module's, or one for the runner. */
static void exit_once(unsigned int reason, bool is_handled)
{
	EQ(MOTE_WINDOW_EXIT, step_before(&vcpu));
	run_page.exits[reason]++;
	run_page.reason = is_handled ? MOTE_EXIT_NONE : reason;
	step_behind(&vcpu);
}

static bool says(const char *answer, const char *words)
{
	return is_line(answer) && strstr(answer, words);
}

#define STEP "{\"version\":1,\"do\":\"step\"}"
#define STEP_FAR "{\"version\":1,\"do\":\"step\",\"skip\":1,\"reason\":\"pio\"}"

/* The answer is the next exit, or the next that is wanted; one alone asks, and when he is gone it is over. */
static void test_step(void)
{
	static const char *const bad[] = {
		"{\"version\":1,\"do\":\"step\",\"reason\":\"sleep\"}",
		"{\"version\":1,\"do\":\"step\",\"reason\":1}",
		"{\"version\":1,\"do\":\"step\",\"skip\":0}",
		"{\"version\":1,\"do\":\"step\",\"skip\":-1}",
	};
	const char *answer;
	int fd, other;

	begin();
	EQ(0, step_before(&vcpu));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK(schema_has_exchange(schema, "refusal", bad[i], ask(bad[i])));
	EQ(0, step_before(&vcpu));
	vm.paused = true;
	fd = dial();
	say(fd, STEP "\n");
	CHECK(!hear(fd)[0] && !vm.paused);
	CHECK(schema_has_exchange(schema, "refusal", STEP, ask(STEP)));
	exit_once(MOTE_EXIT_CPUID, true);
	answer = hear(fd);
	CHECK(schema_has_exchange(schema, "step", STEP, answer));
	CHECK(says(answer, "\"exit\":1,") && says(answer, "\"reason\":\"cpuid\",\"by\":\"module\""));
	CHECK(says(answer, "\"cs.base\":\"0x418\"") && !strstr(answer, "exit-linear"));
	/* It stands until the next is wanted, but for a pause. */
	vm.paused = true;
	EQ(MOTE_WINDOW_EXIT, step_before(&vcpu));
	vm.paused = false;
	say(fd, STEP_FAR "\n");
	exit_once(MOTE_EXIT_PIO, false);
	exit_once(MOTE_EXIT_HLT, true);
	exit_once(MOTE_EXIT_INTERRUPT, true);
	CHECK(!hear(fd)[0]);
	run_page.exits[MOTE_EXIT_DR]++;
	exit_once(MOTE_EXIT_PIO, false);
	answer = hear(fd);
	CHECK(schema_has_exchange(schema, "step", STEP_FAR, answer));
	CHECK(says(answer, "\"exit\":4,") && says(answer, "\"reason\":\"pio\",\"by\":\"runner\""));
	/* A nested fault that was one of a device, and no exit at all. */
	say(fd, STEP "\n");
	EQ(MOTE_WINDOW_EXIT, step_before(&vcpu));
	step_behind(&vcpu);
	CHECK(!hear(fd)[0]);
	exit_once(MOTE_EXIT_INTERRUPT, true);
	run_page.exits[MOTE_EXIT_NPF]++;
	exit_once(MOTE_EXIT_MMIO, false);
	CHECK(says(hear(fd), "\"exit\":5,\"vcpu\":0,\"reason\":\"mmio\""));
	close(fd);
	settle(&vm);
	EQ(0, step_before(&vcpu));
	/* The next one begins anew. */
	other = dial();
	say(other, STEP "\n");
	exit_once(MOTE_EXIT_HLT, true);
	CHECK(says(hear(other), "\"exit\":1,"));
	close(other);
	end();
	step_destroy(&vm);
	/* Others count on these. */
	run_page = (struct mote_run) { .exits = { [MOTE_EXIT_CPUID] = 3, [MOTE_EXIT_PIO] = 5 } };
}

static void test_save_what_differs(void)
{
	static unsigned char memory[8 * SNAPSHOT_CHUNK] __attribute__((aligned(4096)));
	static unsigned char seen[sizeof(memory)];
	int files[2] = { memfd_create("state", 0), memfd_create("memory", 0) }, fd;
	__u64 sums[8];

	begin();
	options.memory = sizeof(memory);
	vm.ram = memory;
	vm.pagemap = vm.memory_fd = -1;
	vm.paused = true;
	fd = dial();
	/* A chunk stays, one changes, one becomes zeros, and one ceases to be. */
	for (int i = 0; i < 2; i++) {
		memory[0] = 1;
		memory[SNAPSHOT_CHUNK + 5] = 2 + i;
		memory[2 * SNAPSHOT_CHUNK + 5] = !i;
		memory[7 * SNAPSHOT_CHUNK + 5] = i;
		send_files(fd, SAVE "\n", files, 2);
		CHECK(!hear(fd)[0]);
		while (posted)
			do_job();
		CHECK(strstr(hear(fd), "\"saved_bytes\":196608"));
		CHECK(pread(files[1], seen, sizeof(seen), 0) == sizeof(seen));
		CHECK(!memcmp(seen, memory, sizeof(memory)));
		CHECK(pread(files[1], sums, sizeof(sums), sizeof(memory)) == sizeof(sums));
		CHECK(sums[0] && sums[1] && !!sums[2] == !i && !sums[3] && !!sums[7] == i);
	}
	CHECK(!ftruncate(files[1], sizeof(memory)));
	send_files(fd, SAVE "\n", files, 2);
	while (posted)
		do_job();
	CHECK(schema_has_exchange(schema, "refusal", SAVE, hear(fd)));
	close(fd);
	settle(&vm);
	posted = NULL;
	vm.holder = NULL;
	base_destroy(&vm);
	for (int i = 0; i < 2; i++)
		close(files[i]);
	options.memory = 512 * MEBIBYTE;
	end();
}

/* ---- migrations ----------------------------------------------------------------------------- */

#define MIGRATE "{\"version\":1,\"do\":\"migrate\",\"downtime_ms\":0}"
#define COPY "{\"version\":1,\"do\":\"copy\",\"downtime_ms\":0}"

/* All that the machine sends, until it waits; the kinds of the messages, in their order. */
static size_t read_stream(int peer, char *kinds, size_t most, __u64 *bytes)
{
	static unsigned char stream[8 * MEBIBYTE];
	size_t nr = 0, nr_kinds = 0;
	struct wire wire;
	ssize_t done = 1;

	while (done > 0 || posted) {
		if (posted)
			do_job();
		settle(&vm);
		done = recv(peer, stream + nr, sizeof(stream) - nr, MSG_DONTWAIT);
		nr += done > 0 ? done : 0;
	}
	for (size_t at = 0; at < nr; at += sizeof(wire) + wire.size) {
		memcpy(&wire, stream + at, sizeof(wire));
		CHECK(nr_kinds < most && at + sizeof(wire) + wire.size <= nr);
		kinds[nr_kinds++] = wire.kind == WIRE_HELLO ? 'H' : " PZSG"[wire.kind];
		*bytes += wire.kind == WIRE_PAGES ? wire.size : 0;
	}
	kinds[nr_kinds] = 0;
	return nr;
}

static void reply(int peer, enum wire_kind kind, const char *text)
{
	const struct wire wire = { .kind = kind, .size = strlen(text) };

	EQ(sizeof(wire), send(peer, &wire, sizeof(wire), MSG_NOSIGNAL));
	EQ(wire.size, send(peer, text, wire.size, MSG_NOSIGNAL));
	settle(&vm);
}

static unsigned char *ask_with_peer(int *fd, int *peer, const char *request)
{
	static unsigned char memory[2 * MEBIBYTE] __attribute__((aligned(4096)));
	int ends[2];

	begin();
	memset(memory + 4096, 1, 4 * 65536);
	options.memory = sizeof(memory);
	vm.ram = memory;
	vm.memory_fd = vm.pagemap = -1;
	EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	*fd = dial();
	*peer = ends[1];
	send_files(*fd, request, ends, 1);
	close(ends[0]);
	return memory;
}

static unsigned char *begin_migration(int *fd, int *peer)
{
	return ask_with_peer(fd, peer, MIGRATE "\n");
}

static void end_migration(int fd, int peer)
{
	close(fd);
	if (peer >= 0)
		close(peer);
	settle(&vm);
	posted = NULL;
	options.memory = 512 * MEBIBYTE;
	vm.holder = NULL;
	end();
	EQ(UNLIMITED, granted);
	migration_destroy(&vm);
}

/* The whole memory, then what was written meanwhile, then the state; and then it is gone. */
static void test_migrate(void)
{
	char kinds[256];
	__u64 bytes = 0;
	int fd, peer;

	begin_migration(&fd, &peer);
	read_stream(peer, kinds, sizeof(kinds) - 1, &bytes);
	snprintf(said, sizeof(said), "%s", kinds);
	CHECK(!strncmp(kinds, "HZPPPPZ", 7) && !strcmp(kinds + strlen(kinds) - 2, "ZS"));
	EQ(4 * 65536, bytes);
	CHECK(granted && granted < UNLIMITED);
	CHECK(logs && vm.paused && !hear(fd)[0]);
	reply(peer, WIRE_READY, "");
	read_stream(peer, kinds, sizeof(kinds) - 1, &bytes);
	CHECK(!strcmp(kinds, "G"));
	EQ(0, nr_ended);
	reply(peer, WIRE_RUNS, "");
	EQ(1, nr_ended);
	CHECK(schema_has_exchange(schema, "migrate", MIGRATE, hear(fd)));
	end_migration(fd, peer);
}

/* All of it is sent, and then it goes on here. */
static void test_copy(void)
{
	char kinds[256];
	__u64 bytes = 0;
	int fd, peer;

	ask_with_peer(&fd, &peer, COPY "\n");
	read_stream(peer, kinds, sizeof(kinds) - 1, &bytes);
	CHECK(kinds[0] == 'H' && kinds[strlen(kinds) - 1] == 'S');
	CHECK(logs && vm.paused && vm.holder && !hear(fd)[0]);
	reply(peer, WIRE_READY, "");
	EQ(0, read_stream(peer, kinds, sizeof(kinds) - 1, &bytes));
	CHECK(!logs && !vm.paused && !vm.holder);
	EQ(0, nr_ended);
	CHECK(schema_has_exchange(schema, "copy", COPY, hear(fd)));
	end_migration(fd, peer);
}

/* What the other end says or does, at each moment before the last word: the machine is here. */
static void test_migrate_fails(void)
{
	static const struct {
		enum wire_kind kind;
		const char *text, *why;
	} answers[] = {
		{ WIRE_REFUSED, "it has no disk", "refuses it: it has no disk" },
		{ WIRE_RUNS, "", "another language" },
		{ 77, "", "another language" },
		{ 0, NULL, "gone" },
	};
	char kinds[256];
	__u64 bytes = 0;
	int fd, peer;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(answers); i++) {
		const char *answer, *text = answers[i / 2].text;

		begin_migration(&fd, &peer);
		if (i % 2)
			read_stream(peer, kinds, sizeof(kinds) - 1, &bytes);
		if (text)
			reply(peer, answers[i / 2].kind, text);
		else
			close(peer);
		settle(&vm);
		while (posted)
			do_job();
		answer = hear(fd);
		snprintf(said, sizeof(said), "%s", answer);
		CHECK(schema_has_exchange(schema, "refusal", MIGRATE, answer) &&
		      (strstr(answer, answers[i / 2].why) || (!text && strstr(answer, "ended"))));
		CHECK(!vm.paused && !vm.holder && !vm.machine.written && !logs);
		EQ(0, nr_ended);
		end_migration(fd, text ? peer : -1);
	}
}

/* The moment itself: whoever hears nothing more does not go on. */
static void test_migrate_unknown(void)
{
	char kinds[256];
	__u64 bytes = 0;
	int fd, peer;

	begin_migration(&fd, &peer);
	read_stream(peer, kinds, sizeof(kinds) - 1, &bytes);
	reply(peer, WIRE_READY, "");
	close(peer);
	settle(&vm);
	while (posted)
		do_job();
	CHECK(strstr(hear(fd), "is not known"));
	CHECK(vm.paused && !vm.holder);
	EQ(0, nr_ended);
	end_migration(fd, -1);
}

/* The other end takes all, and says nothing. */
static void test_migrate_silence(void)
{
	const char *answer;
	char kinds[256];
	__u64 bytes = 0;
	int fd, peer;

	begin_migration(&fd, &peer);
	read_stream(peer, kinds, sizeof(kinds) - 1, &bytes);
	for (answer = hear(fd); !answer[0]; answer = hear(fd))
		if (posted)
			do_job();
	CHECK(strstr(answer, "has said nothing"));
	CHECK(!vm.paused && !vm.holder && !logs);
	end_migration(fd, peer);
}

/* The machine ends, or begins again, meanwhile. */
static void test_migrate_ends(void)
{
	int fd, peer;

	begin_migration(&fd, &peer);
	do_job();
	posted = NULL;
	migration_end(&vm);
	CHECK(!migration_is_under_way(&vm) && !vm.machine.written);
	settle(&vm);
	CHECK(strstr(hear(fd), "come to an end"));
	end_migration(fd, peer);
}

/* Who has asked hangs up. */
static void test_migrate_cancelled(void)
{
	int fd, peer;

	begin_migration(&fd, &peer);
	do_job();
	close(fd);
	settle(&vm);
	while (posted)
		do_job();
	CHECK(!vm.paused && !vm.holder && !logs && !migration_is_under_way(&vm));
	end_migration(dial(), peer);
}

int main(int argc, char **argv)
{
	static const struct unit_test tests[] = {
		{ "each request and answer is what the schema says", test_schema },
		{ "the schema has all requests", test_table },
		{ "what is refused changes nothing", test_refused },
		{ "what was done last is answered", test_last_answer },
		{ "several consoles", test_consoles },
		{ "a socket that is another's is left alone", test_own_socket },
		{ "requests without a version", test_without_version },
		{ "answers that come later", test_later },
		{ "a machine that ends before the answer", test_ends_before },
		{ "a last line without a newline", test_half_closed },
		{ "files that come with a request", test_save },
		{ "a debugger, and one alone", test_gdb },
		{ "watches, several at once", test_watch },
		{ "exit by exit", test_step },
		{ "a file that has something already", test_save_what_differs },
		{ "policies, which are files", test_policies },
		{ "a core", test_dump },
		{ "a migration", test_migrate },
		{ "a copy", test_copy },
		{ "a migration that fails", test_migrate_fails },
		{ "a migration of which nothing more is heard", test_migrate_unknown },
		{ "a migration of a machine that ends", test_migrate_ends },
		{ "a migration to one who says nothing", test_migrate_silence },
		{ "a migration that is cancelled", test_migrate_cancelled },
	};
	char directory[] = "/tmp/control_test.XXXXXX", command[64];
	int status;

	(void)argc;
	(void)argv;
	schema = json_object_from_file(SCHEMA);
	if (!schema || !mkdtemp(directory))
		return 1;
	setenv("XDG_RUNTIME_DIR", directory, 1);
	status = run_all(tests, sizeof(tests) / sizeof(tests[0]));
	json_object_put(schema);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command) ? 1 : status;
}
