// SPDX-License-Identifier: GPL-2.0
/*
 * The control socket: see control.h.  The supervisor serves all clients, and never
 * waits for one: what a client does not read waits in a buffer of its own that does not
 * grow, and the console's output in a ring of which the slow lose the oldest.  What
 * is the devices' to do is done by their thread, and answered when that says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <libmote.h>

#include "acpi.h"
#include "console.h"
#include "control.h"
#include "runner.h"
#include "vm.h"

#define CLIENTS_MOST 64
#define REQUEST_MOST 4096

/* What an answer waits for: vCPUs and devices to have stopped, or a job of the I/O thread's. */
enum waiting { NOTHING, PAUSE, JOB };

/**
 * struct client - somebody who is connected
 * @source: the connection
 * @next: another one
 * @nr_in: how many bytes are in @in
 * @in: what came and has not been dealt with
 * @out: the answer, or NULL
 * @sent: how much of that is out
 * @is_console: behind the answer the connection is the console
 * @has_ended: it asks for nothing more, but still reads
 * @is_gone: it has hung up; what is left of it waits for its job
 * @waits: what the answer waits for
 * @job: what the I/O thread does for it
 * @is_done: it has been
 * @position: of the console's bytes, the first one that it has not got
 */
struct client {
	struct source source;
	struct client *next;
	size_t nr_in;
	char in[REQUEST_MOST];
	char *out;
	size_t sent;
	bool is_console;
	bool has_ended;
	bool is_gone;
	enum waiting waits;
	struct job job;
	bool is_done;
	__u64 position;
};

/**
 * struct control - a VM's control socket
 * @listener: the socket
 * @wake: an eventfd: there is something to do for the clients
 * @spare: a file descriptor for when there are no others
 * @path: of the socket; empty if there is none
 * @is: what that was at first
 * @clients: who is connected
 * @nr_clients: how many
 */
struct control {
	struct source listener;
	struct source wake;
	int spare;
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
	struct stat is;
	struct client *clients;
	unsigned int nr_clients;
};

/* ---- answers ------------------------------------------------------------------------- */

static const char *state(struct vm *vm)
{
	if (!vm->paused)
		return "running";
	return vm_is_paused(vm) ? "paused" : "pausing";
}

static void add_text(struct json_object *object, const char *key, const char *text)
{
	json_object_object_add(object, key, json_object_new_string(text));
}

static void add_number(struct json_object *object, const char *key, __u64 value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

/* Of this process, in bytes. */
static __u64 resident(void)
{
	unsigned long long pages = 0;
	FILE *statm = fopen("/proc/self/statm", "re");

	if (statm) {
		if (fscanf(statm, "%*u %llu", &pages) != 1)
			pages = 0;
		fclose(statm);
	}
	return pages * sysconf(_SC_PAGESIZE);
}

static struct json_object *status(struct vm *vm)
{
	struct json_object *answer = json_object_new_object();

	add_text(answer, "name", vm->name);
	add_number(answer, "pid", getpid());
	add_text(answer, "state", state(vm));
	add_number(answer, "memory", vm->options->memory);
	add_number(answer, "resident", resident());
	add_number(answer, "cpus", vm->nr_vcpus);
	add_number(answer, "uptime_ns", clock_ns() - vm->started);
	add_text(answer, "image", vm->options->image ? vm->options->image : vm->options->firmware);
	return answer;
}

/* A field of proc_pid_stat(5); @line begins where the second one ends: the name may hold anything. */
static __u64 stat_field(const char *line, unsigned int field)
{
	for (unsigned int i = 2; line && i < field; i++)
		line = strchr(line + 1, ' ');
	return line ? strtoull(line, NULL, 10) : 0;
}

/* What a thread has spent in the guest, in ns, as ticks have found it. */
static __u64 guest_time(int tid)
{
	char path[64], line[1024];
	__u64 ticks = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	stat = fopen(path, "re");
	if (!stat)
		return 0;
	if (fgets(line, sizeof(line), stat))
		ticks = stat_field(strrchr(line, ')'), 43);
	fclose(stat);
	return ticks * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

/* The clocks of a thread, as the kernel numbers them. */
enum thread_clock { CLOCK_TICKS, CLOCK_USER_TICKS, CLOCK_EXACT };

static __u64 thread_clock(int tid, enum thread_clock which)
{
	struct timespec time = { 0 };

	clock_gettime(~(clockid_t)tid * 8 | 4 | which, &time);
	return time.tv_sec * NS_PER_S + time.tv_nsec;
}

/**
 * struct times - what a thread has spent, in ns
 * @guest: in the guest
 * @kernel: in the kernel, which is mostly the module
 * @runner: in this process
 */
struct times {
	__u64 guest;
	__u64 kernel;
	__u64 runner;
};

/* The sum is exact, its parts are as ticks have found them: a busy host may lose many. */
static struct times thread_times(int tid)
{
	__u64 all = thread_clock(tid, CLOCK_TICKS), user = thread_clock(tid, CLOCK_USER_TICKS);
	__u64 guest = guest_time(tid);
	double weight = all ? (double)thread_clock(tid, CLOCK_EXACT) / all : 0;

	/* The guest's time counts as the user's, too. */
	if (user < guest)
		user = guest;
	if (all < user)
		all = user;
	return (struct times) {
		.guest = guest * weight, .kernel = (all - user) * weight, .runner = (user - guest) * weight,
	};
}

void json_add_exits(struct json_object *object, const struct vcpu *vcpus, unsigned int nr)
{
	struct json_object *exits = json_object_new_object();
	struct json_object *user_exits = json_object_new_object();

	for (unsigned int reason = 0; reason < MOTE_NR_EXITS; reason++) {
		__u64 all = 0, user = 0;

		for (unsigned int i = 0; i < nr; i++) {
			all += vcpus[i].cpu.run->exits[reason];
			user += vcpus[i].exits[reason];
		}
		if (all)
			add_number(exits, mote_exit_name(reason), all);
		if (user)
			add_number(user_exits, mote_exit_name(reason), user);
	}
	json_object_object_add(object, "exits", exits);
	json_object_object_add(object, "exits_to_runner", user_exits);
}

static struct json_object *vcpu_stat(const struct vcpu *vcpu)
{
	struct json_object *row = json_object_new_object();
	const struct times times = thread_times(vcpu->tid);

	add_number(row, "id", vcpu->cpu.id);
	add_number(row, "guest_ns", times.guest);
	add_number(row, "kernel_ns", times.kernel);
	add_number(row, "runner_ns", times.runner);
	json_add_exits(row, vcpu, 1);
	return row;
}

static struct json_object *stat_of(struct vm *vm)
{
	struct json_object *answer = status(vm), *vcpus = json_object_new_array();

	for (unsigned int i = 0; i < vm->nr_vcpus; i++)
		json_object_array_add(vcpus, vcpu_stat(&vm->vcpus[i]));
	json_object_object_add(answer, "vcpus", vcpus);
	return answer;
}

static struct json_object *refuse(const char *why)
{
	struct json_object *answer = json_object_new_object();

	add_text(answer, "error", why);
	return answer;
}

/* ---- what is asked for --------------------------------------------------------------- */

static void notify(struct vm *vm)
{
	/* It cannot be full: the supervisor reads it. */
	eventfd_write(vm->control->wake.fd, 1);
}

static struct json_object *pause_vm(struct vm *vm, struct client *client)
{
	vm_pause(vm, NULL);
	client->waits = vm_is_paused(vm) ? NOTHING : PAUSE;
	return status(vm);
}

static void press_power_button(struct vm *vm, struct job *job)
{
	struct client *client = container_of(job, struct client, job);

	acpi_power_button(vm);
	__atomic_store_n(&client->is_done, true, __ATOMIC_RELEASE);
	notify(vm);
}

/* The answer that is made now is of use where the VM ends before the job is done. */
static struct json_object *let_devices(struct vm *vm, struct client *client,
				       void (*run)(struct vm *vm, struct job *job))
{
	client->waits = JOB;
	client->is_done = false;
	client->job.run = run;
	io_post(vm, &client->job);
	return status(vm);
}

static struct json_object *do_request(struct vm *vm, struct client *client, const char *what)
{
	if (!strcmp(what, "status"))
		return status(vm);
	if (!strcmp(what, "stat"))
		return stat_of(vm);
	if (!strcmp(what, "pause"))
		return pause_vm(vm, client);
	if (!strcmp(what, "resume"))
		vm_resume(vm);
	else if (!strcmp(what, "power-button"))
		return let_devices(vm, client, press_power_button);
	else if (!strcmp(what, "kill"))
		vm_end(vm, END_STOPPED, 0);
	else if (!strcmp(what, "console") && vm->console)
		client->is_console = true;
	else if (!strcmp(what, "console"))
		return refuse("the VM has no console (--serial none)");
	else
		return refuse("this is no request that the runner knows");
	return status(vm);
}

static struct json_object *answer_line(struct vm *vm, struct client *client, const char *line)
{
	struct json_object *request = json_tokener_parse(line), *what = NULL, *answer;

	if (request && json_object_is_type(request, json_type_object))
		json_object_object_get_ex(request, "do", &what);
	answer = what && json_object_is_type(what, json_type_string) ?
		 do_request(vm, client, json_object_get_string(what)) :
		 refuse("a request is one line: a JSON object with \"do\"");
	json_object_put(request);
	return answer;
}

static void set_answer(struct client *client, struct json_object *answer)
{
	const char *text = json_object_to_json_string_ext(answer, JSON_C_TO_STRING_PLAIN |
							  JSON_C_TO_STRING_NOSLASHESCAPE);

	client->sent = 0;
	if (asprintf(&client->out, "%s\n", text) < 0)
		client->out = NULL;
	json_object_put(answer);
}

/* ---- connections ---------------------------------------------------------------------- */

static void forget(struct vm *vm, struct client *client)
{
	struct client **link = &vm->control->clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	vm->control->nr_clients--;
	free(client->out);
	free(client);
}

static void drop(struct vm *vm, struct client *client)
{
	source_remove(&client->source);
	close(client->source.fd);
	client->is_gone = true;
	if (client->waits != JOB)
		forget(vm, client);
}

/* False: the client is gone. */
static bool send_some(struct client *client, const void *data, size_t nr, size_t *done)
{
	ssize_t sent = send(client->source.fd, data, nr, MSG_DONTWAIT | MSG_NOSIGNAL);

	*done = sent > 0 ? sent : 0;
	return sent >= 0 || errno == EAGAIN || errno == EINTR;
}

/* What there is of an answer; true if nothing of it is left. */
static bool send_answer(struct client *client, bool *is_gone)
{
	size_t nr, done;

	if (!client->out)
		return true;
	if (client->waits)
		return false;
	nr = strlen(client->out + client->sent);
	*is_gone = !send_some(client, client->out + client->sent, nr, &done);
	client->sent += done;
	if (done < nr)
		return false;
	free(client->out);
	client->out = NULL;
	return true;
}

static bool send_pending(struct vm *vm, struct client *client)
{
	bool is_gone = false;
	char data[4096];
	size_t nr, done;

	if (!send_answer(client, &is_gone) || !client->is_console)
		return !is_gone;
	do {
		nr = console_read(vm->console, &client->position, data, sizeof(data));
		if (!send_some(client, data, nr, &done))
			return false;
		client->position += done;
	} while (nr && done == nr);
	return true;
}

/* What was typed goes to the device as far as that wants it. */
static void feed_console(struct vm *vm, struct client *client)
{
	size_t nr = console_type(vm->console, client->in, client->nr_in);

	client->nr_in -= nr;
	memmove(client->in, client->in + nr, client->nr_in);
}

static void take_requests(struct vm *vm, struct client *client)
{
	char *end;

	while (!client->out && !client->is_console &&
	       (end = memchr(client->in, '\n', client->nr_in))) {
		*end++ = '\0';
		set_answer(client, answer_line(vm, client, client->in));
		client->nr_in -= end - client->in;
		memmove(client->in, end, client->nr_in);
	}
	if (!client->out && client->is_console)
		feed_console(vm, client);
}

/* What the client is waited for: room to read into, or to send something. */
static void watch(struct vm *vm, struct client *client)
{
	__u32 events = client->nr_in < sizeof(client->in) && !client->has_ended ? EPOLLIN : 0;

	if (client->out ? !client->waits :
			  client->is_console && client->position != console_end(vm->console))
		events |= EPOLLOUT;
	source_change(&client->source, events);
}

/* Go on with a client; it may be gone after this. */
static void serve(struct vm *vm, struct client *client)
{
	do {
		take_requests(vm, client);
		if (!send_pending(vm, client)) {
			drop(vm, client);
			return;
		}
	} while (!client->out && !client->is_console &&
		 memchr(client->in, '\n', client->nr_in));
	if (client->nr_in == sizeof(client->in) && !client->out && !client->is_console) {
		set_answer(client, refuse("the request is too long"));
		client->nr_in = 0;
		send_pending(vm, client);
	}
	if (client->has_ended && !client->out && !client->is_console)
		drop(vm, client);
	else
		watch(vm, client);
}

/* False: the client is gone. Who has said all that he had to say may still want to hear. */
static bool receive(struct client *client)
{
	size_t room = sizeof(client->in) - client->nr_in;
	ssize_t nr;

	if (!room || client->has_ended)
		return true;
	nr = recv(client->source.fd, client->in + client->nr_in, room, MSG_DONTWAIT);
	if (nr < 0)
		return errno == EAGAIN || errno == EINTR;
	client->has_ended = !nr;
	client->nr_in += nr;
	return true;
}

static void client_ready(struct vm *vm, struct source *source, __u32 events)
{
	struct client *client = container_of(source, struct client, source);

	/* One who hangs up wants no more, whatever there is to read. */
	if (events & (EPOLLHUP | EPOLLERR) || !receive(client))
		drop(vm, client);
	else
		serve(vm, client);
}

/* There is no descriptor left for who waits, who would be looked at for ever: the spare one. */
static void turn_away(struct control *control)
{
	close(control->spare);
	control->spare = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	close(control->spare);
	control->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void accept_client(struct vm *vm, struct source *source, __u32 events)
{
	struct control *control = vm->control;
	static const char busy[] = "{\"error\":\"the VM has too many clients\"}\n";
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *client;

	(void)events;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			turn_away(control);
		return;
	}
	client = control->nr_clients < CLIENTS_MOST ? calloc(1, sizeof(*client)) : NULL;
	if (!client) {
		send(fd, busy, strlen(busy), MSG_DONTWAIT | MSG_NOSIGNAL);
		close(fd);
		return;
	}
	client->source = (struct source) { .fd = fd, .ready = client_ready };
	if (source_add(&vm->supervisor, &client->source, EPOLLIN)) {
		close(fd);
		free(client);
		return;
	}
	client->next = control->clients;
	control->clients = client;
	control->nr_clients++;
}

/* ---- what others have to say ------------------------------------------------------------- */

static bool is_ready(struct vm *vm, const struct client *client)
{
	switch (client->waits) {
	case PAUSE:
		/* Or it was resumed by somebody else, or is at an end. */
		return !vm->paused || vm_has_ended(vm) || vm_is_paused(vm);
	case JOB:
		return __atomic_load_n(&client->is_done, __ATOMIC_ACQUIRE);
	default:
		return false;
	}
}

static void answer_now(struct vm *vm, struct client *client)
{
	client->waits = NOTHING;
	free(client->out);
	set_answer(client, status(vm));
}

static void woken(struct vm *vm, struct source *source, __u32 events)
{
	struct client *client, *next;
	eventfd_t times;

	(void)events;
	eventfd_read(source->fd, &times);
	for (client = vm->control->clients; client; client = next) {
		next = client->next;
		if (!is_ready(vm, client))
			continue;
		if (client->is_gone) {
			forget(vm, client);
			continue;
		}
		answer_now(vm, client);
		serve(vm, client);
	}
}

void control_console(struct vm *vm)
{
	struct client *client, *next;

	for (client = vm->control ? vm->control->clients : NULL; client; client = next) {
		next = client->next;
		if (client->is_console && !client->is_gone)
			serve(vm, client);
	}
}

void control_paused(struct vm *vm)
{
	notify(vm);
}

/* ---- beginning and end --------------------------------------------------------------------- */

/* A socket that nobody answers is what a runner that was killed has left. */
static int listen_as(struct control *control, const char *directory, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = rundir_connect(directory, name);

	if (fd == -ENAMETOOLONG)
		return fd;
	if (fd >= 0)
		close(fd);
	if (fd != -ENOENT && fd != -ECONNREFUSED)
		return -EADDRINUSE;
	rundir_socket(address.sun_path, sizeof(address.sun_path), directory, name);
	unlink(address.sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    chmod(address.sun_path, 0600) || listen(fd, CLIENTS_MOST)) {
		int err = -errno;

		close(fd);
		return err;
	}
	if (!stat(address.sun_path, &control->is))
		memcpy(control->path, address.sun_path, sizeof(control->path));
	control->listener.fd = fd;
	return 0;
}

/* A name that was not asked for gets a number if it is in use. */
static int choose_name(struct vm *vm, const char *directory)
{
	int err = -EADDRINUSE;

	if (vm->options->is_named)
		return listen_as(vm->control, directory, vm->name);
	for (unsigned int i = 1; i < 1000 && err == -EADDRINUSE; i++) {
		if (i > 1)
			snprintf(vm->name, sizeof(vm->name), "%.*s-%u", NAME_MOST - 4,
				 vm->options->name, i);
		err = listen_as(vm->control, directory, vm->name);
	}
	return err;
}

static int listen_somewhere(struct vm *vm)
{
	char directory[256];
	int lock, err;

	if (rundir_make(directory, sizeof(directory))) {
		complain("no control socket, so that mote ps does not see the VM: %s",
			 errno == EPERM ? "its directory can be reached by others" :
			 errno == ENOENT ? "neither XDG_RUNTIME_DIR nor HOME is a place of this user's" :
			 strerror(errno));
		return vm->options->is_named ? -1 : 0;
	}
	lock = rundir_lock(directory);
	err = lock < 0 ? -errno : choose_name(vm, directory);
	if (lock >= 0)
		close(lock);
	if (err == -EADDRINUSE)
		complain("--name: there is a VM called %s (mote ps)", vm->name);
	else if (err)
		complain("no control socket in %s: %s", directory, strerror(-err));
	return err;
}

int control_create(struct vm *vm)
{
	struct control *control = calloc(1, sizeof(*control));

	vm->control = control;
	if (!control) {
		complain("no memory for the control socket");
		return -1;
	}
	control->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	control->listener = (struct source) { .fd = -1, .ready = accept_client };
	control->wake = (struct source) { .fd = -1, .ready = woken };
	if (source_add_eventfd(&vm->supervisor, &control->wake)) {
		complain("no control socket: %m");
		return -1;
	}
	if (listen_somewhere(vm))
		return -1;
	if (control->listener.fd >= 0 && source_add(&vm->supervisor, &control->listener, EPOLLIN)) {
		complain("no control socket: %m");
		return -1;
	}
	return 0;
}

void control_unlink(struct vm *vm)
{
	struct control *control = vm->control;
	struct stat there;

	/* The directory may have gone with the last log-out, and another machine have come. */
	if (control && control->path[0] && !stat(control->path, &there) &&
	    there.st_dev == control->is.st_dev && there.st_ino == control->is.st_ino)
		unlink(control->path);
}

void control_destroy(struct vm *vm)
{
	struct control *control = vm->control;

	if (!control)
		return;
	control_unlink(vm);
	/* Who waits for an answer gets it: that of "kill" is one. Jobs are not done any more. */
	for (struct client *client = control->clients, *next; client; client = next) {
		next = client->next;
		client->waits = NOTHING;
		if (client->is_gone) {
			forget(vm, client);
			continue;
		}
		send_pending(vm, client);
		drop(vm, client);
	}
	if (control->listener.fd >= 0)
		close(control->listener.fd);
	if (control->wake.fd >= 0)
		close(control->wake.fd);
	if (control->spare >= 0)
		close(control->spare);
	free(control);
	vm->control = NULL;
}
