// SPDX-License-Identifier: GPL-2.0
/*
 * The control socket: see control.h.  The supervisor serves all clients, and never
 * waits for one: what a client does not read waits in a buffer of its own that does not
 * grow, and the console's output in a ring of which the slow lose the oldest.  What they
 * ask for is done by requests.c, and may be answered later.
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
#include <unistd.h>

#include "console.h"
#include "requests.h"
#include "runner.h"
#include "sandbox.h"

#define CLIENTS_MOST 64
#define REQUEST_MOST 4096

/**
 * struct client - somebody who is connected
 * @source: the connection
 * @next: another one
 * @nr_in: how many bytes are in @in
 * @in: what came and has not been dealt with
 * @files: what came with that, -1 for none
 * @out: the answer, or NULL
 * @sent: how much of that is out
 * @has_ended: it asks for nothing more, but still reads
 * @is_gone: it has hung up; what is left of it waits for its job
 * @reply: how the answer comes about
 * @position: of the console's bytes, the first one that it has not got
 */
struct client {
	struct source source;
	struct client *next;
	size_t nr_in;
	char in[REQUEST_MOST];
	int files[REQUEST_FILES];
	char *out;
	size_t sent;
	bool has_ended;
	bool is_gone;
	struct reply reply;
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

/* ---- requests ------------------------------------------------------------------------- */

void control_wake(struct vm *vm)
{
	/* It cannot be full: the supervisor reads it. */
	eventfd_write(vm->control->wake.fd, 1);
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

static void close_files(struct client *client)
{
	for (unsigned int i = 0; i < REQUEST_FILES; i++) {
		if (client->files[i] >= 0)
			close(client->files[i]);
		client->files[i] = -1;
	}
}

static void drop(struct vm *vm, struct client *client)
{
	close_files(client);
	source_remove(&client->source);
	close(client->source.fd);
	client->is_gone = true;
	if (!request_abandon(vm, &client->reply))
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
	if (client->reply.is_due)
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

static bool send_pending(struct client *client)
{
	bool is_gone = false;
	char data[4096];
	size_t nr, done;

	if (!send_answer(client, &is_gone) || !client->reply.console)
		return !is_gone;
	do {
		nr = console_read(client->reply.console, &client->position, data, sizeof(data));
		if (!send_some(client, data, nr, &done))
			return false;
		client->position += done;
	} while (nr && done == nr);
	return true;
}

/* What was typed goes to the device as far as that wants it. */
static void feed_console(struct client *client)
{
	size_t nr = console_type(client->reply.console, client->in, client->nr_in);

	client->nr_in -= nr;
	memmove(client->in, client->in + nr, client->nr_in);
}

/* Where the first line ends, or NULL; the last one may do without its newline. */
static char *line_end(struct client *client)
{
	char *end = memchr(client->in, '\n', client->nr_in);

	if (end || !client->has_ended || !client->nr_in || client->nr_in == sizeof(client->in))
		return end;
	end = client->in + client->nr_in++;
	*end = '\n';
	return end;
}

static void take_requests(struct vm *vm, struct client *client)
{
	char *end;

	while (!client->out && !client->reply.console && (end = line_end(client))) {
		*end++ = '\0';
		set_answer(client, request_do(vm, client->in, client->files, &client->reply));
		close_files(client);
		client->nr_in -= end - client->in;
		memmove(client->in, end, client->nr_in);
	}
	if (!client->out && client->reply.console)
		feed_console(client);
}

/* What the client is waited for: room to read into, or to send something. */
static void watch(struct client *client)
{
	__u32 events = client->nr_in < sizeof(client->in) && !client->has_ended ? EPOLLIN : 0;

	if (client->out ? !client->reply.is_due :
			  client->reply.console && client->position != console_end(client->reply.console))
		events |= EPOLLOUT;
	source_change(&client->source, events);
}

/* Go on with a client; it may be gone after this. */
static void serve(struct vm *vm, struct client *client)
{
	do {
		take_requests(vm, client);
		if (!send_pending(client)) {
			drop(vm, client);
			return;
		}
	} while (!client->out && !client->reply.console && line_end(client));
	if (client->nr_in == sizeof(client->in) && !client->out && !client->reply.console) {
		set_answer(client, json_refusal("the request is too long"));
		client->nr_in = 0;
		send_pending(client);
	}
	if (client->has_ended && !client->out && !client->reply.console)
		drop(vm, client);
	else
		watch(client);
}

/* What is sent with a request; what is too much is closed by the kernel, or here. */
static void take_files(struct client *client, struct msghdr *message)
{
	for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
		if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
			continue;
		close_files(client);
		memcpy(client->files, CMSG_DATA(header), header->cmsg_len - CMSG_LEN(0));
	}
}

/* False: the client is gone. Who has said all that he had to say may still want to hear. */
static bool receive(struct client *client)
{
	char files[CMSG_SPACE(sizeof(client->files))] __attribute__((aligned(8)));
	struct iovec iov = { client->in + client->nr_in, sizeof(client->in) - client->nr_in };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = files, .msg_controllen = sizeof(files),
	};
	ssize_t nr;

	if (!iov.iov_len || client->has_ended)
		return true;
	nr = recvmsg(client->source.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (nr < 0)
		return errno == EAGAIN || errno == EINTR;
	take_files(client, &message);
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

static int spare_fd(const struct control *control)
{
	return fcntl(control->wake.fd, F_DUPFD_CLOEXEC, 0);
}

/* There is no descriptor left for who waits, who would be looked at for ever: the spare one. */
static void turn_away(struct control *control)
{
	close(control->spare);
	control->spare = accept4(control->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	close(control->spare);
	control->spare = spare_fd(control);
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
	memset(client->files, -1, sizeof(client->files));
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

void control_answer(struct vm *vm)
{
	struct client *client, *next;

	for (client = vm->control->clients; client; client = next) {
		struct json_object *answer = request_finish(vm, &client->reply);

		next = client->next;
		if (!answer)
			continue;
		if (client->is_gone) {
			json_object_put(answer);
			forget(vm, client);
			continue;
		}
		free(client->out);
		set_answer(client, answer);
		serve(vm, client);
	}
}

static void woken(struct vm *vm, struct source *source, __u32 events)
{
	eventfd_t times;

	(void)events;
	eventfd_read(source->fd, &times);
	control_answer(vm);
}

void control_console(struct vm *vm, const struct console *console)
{
	struct client *client, *next;

	for (client = vm->control ? vm->control->clients : NULL; client; client = next) {
		next = client->next;
		if (client->reply.console == console && !client->is_gone)
			serve(vm, client);
	}
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
	if (!stat(address.sun_path, &control->is)) {
		memcpy(control->path, address.sun_path, sizeof(control->path));
		sandbox_set_directory(directory);
	}
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
	control->spare = -1;
	control->listener = (struct source) { .fd = -1, .ready = accept_client };
	control->wake = (struct source) { .fd = -1, .ready = woken };
	if (source_add_eventfd(&vm->supervisor, &control->wake)) {
		complain("no control socket: %m");
		return -1;
	}
	control->spare = spare_fd(control);
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
		request_forget(vm, &client->reply);
		if (client->is_gone) {
			forget(vm, client);
			continue;
		}
		send_pending(client);
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
