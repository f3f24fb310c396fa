// SPDX-License-Identifier: GPL-2.0
/* Finding the VMs that run, and asking them: the other end of control.c. */
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "client.h"
#include "requests.h"
#include "runner.h"

/* ---- which there are ------------------------------------------------------------ */

/* The name in NAME.sock, or false. */
static bool name_of_file(const char *file, char *name)
{
	size_t nr = strlen(file), suffix = strlen(".sock");

	if (nr <= suffix || nr - suffix > NAME_MOST || strcmp(file + nr - suffix, ".sock"))
		return false;
	memcpy(name, file, nr - suffix);
	name[nr - suffix] = '\0';
	return is_name(name);
}

/* Is somebody there?  What a runner that was killed has left goes. */
static bool is_alive(const char *directory, const char *name)
{
	char path[512];
	int fd = rundir_connect(directory, name);

	if (fd >= 0) {
		close(fd);
		return true;
	}
	if (fd == -ECONNREFUSED && rundir_socket(path, sizeof(path), directory, name))
		unlink(path);
	return fd != -ECONNREFUSED && fd != -ENOENT;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static int add_vm(struct vms *vms, const char *name, unsigned int place)
{
	struct vm_found *grown = realloc(vms->vm, (vms->nr + 1) * sizeof(*vms->vm));

	if (!grown) {
		complain("no memory for the list of VMs");
		return -1;
	}
	vms->vm = grown;
	strcpy(grown[vms->nr].name, name);
	grown[vms->nr++].place = place;
	return 0;
}

/* Two variables may name one place. */
static bool is_seen(unsigned int place, const char *directory)
{
	char other[256];

	while (place--)
		if (!rundir_get(place, other, sizeof(other), false) && !strcmp(other, directory))
			return true;
	return false;
}

static int find_in(struct vms *vms, unsigned int place)
{
	char directory[256], name[NAME_MOST + 1];
	struct dirent *entry;
	int lock, err = 0;
	DIR *dir;

	if (rundir_get(place, directory, sizeof(directory), false)) {
		if (errno != EPERM)
			return 0;
		complain("cannot use the directory of control sockets: others can reach it: %s", directory);
		return -1;
	}
	if (is_seen(place, directory))
		return 0;
	lock = rundir_lock(directory);
	dir = opendir(directory);
	while (dir && !err && (entry = readdir(dir)))
		if (name_of_file(entry->d_name, name) && is_alive(directory, name))
			err = add_vm(vms, name, place);
	if (dir)
		closedir(dir);
	if (lock >= 0)
		close(lock);
	return err;
}

int vms_find(struct vms *vms)
{
	int err = 0;

	*vms = (struct vms) { 0 };
	for (unsigned int place = 0; place < RUNDIR_PLACES && !err; place++)
		err = find_in(vms, place);
	if (vms->nr)
		qsort(vms->vm, vms->nr, sizeof(*vms->vm), by_name);
	return err;
}

int vm_connect(const struct vm_found *vm)
{
	char directory[256];

	return rundir_get(vm->place, directory, sizeof(directory), false) ? -ENOENT :
									  rundir_connect(directory, vm->name);
}

/* ---- the one that is meant --------------------------------------------------------- */

/* NULL after a complaint. */
static const struct vm_found *choose(const struct vms *vms, const char *name, bool is_whole)
{
	const struct vm_found *found = NULL;
	unsigned int nr = 0;

	for (unsigned int i = 0; i < vms->nr; i++) {
		if (!strcmp(vms->vm[i].name, name))
			return &vms->vm[i];
		if (!strncmp(vms->vm[i].name, name, strlen(name))) {
			found = &vms->vm[i];
			nr++;
		}
	}
	if (nr == 1 && !is_whole)
		return found;
	if (nr == 1)
		complain("no VM of yours is called %s: %s? (the whole name is wanted here)", name,
			 found->name);
	else if (nr && !is_whole)
		complain("%u VMs have names that begin with %s (mote ps)", nr, name);
	else
		complain("no VM of yours is called %s (mote ps)", name);
	return NULL;
}

int client_open(const char *name, bool is_whole, char *found)
{
	const struct vm_found *vm;
	struct vms vms;
	int fd = -1;

	vm = vms_find(&vms) ? NULL : choose(&vms, name, is_whole);
	if (vm) {
		strcpy(found, vm->name);
		fd = vm_connect(vm);
		if (fd < 0)
			complain("%s cannot be reached: %s", found, strerror(-fd));
	}
	free(vms.vm);
	return fd < 0 ? -1 : fd;
}

/* ---- asking ------------------------------------------------------------------------- */

/* Up to the end of the line and no further: what follows may be the console's. */
static char *read_line(int fd)
{
	size_t nr = 0, size = 0;
	char *line = NULL;

	for (;;) {
		ssize_t done;

		if (nr + 1 >= size) {
			char *grown = realloc(line, size = 2 * size + 256);

			if (!grown)
				break;
			line = grown;
		}
		done = recv(fd, line + nr, 1, 0);
		if (done < 0 && errno == EINTR)
			continue;
		if (done != 1)
			break;
		if (line[nr] == '\n') {
			line[nr] = '\0';
			return line;
		}
		nr++;
	}
	free(line);
	return NULL;
}

/* Files go with the first byte. */
static ssize_t send_some(int fd, const char *line, size_t nr, const int *files, unsigned int nr_files)
{
	char control[CMSG_SPACE(REQUEST_FILES * sizeof(int))] __attribute__((aligned(8))) = { 0 };
	struct iovec iov = { (char *)line, nr };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header = (struct cmsghdr *)control;

	if (nr_files) {
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(nr_files * sizeof(int));
		memcpy(CMSG_DATA(header), files, nr_files * sizeof(int));
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(nr_files * sizeof(int));
	}
	return sendmsg(fd, &message, MSG_NOSIGNAL);
}

/* All of it: it is short, but the other end may take it in pieces. */
static bool send_line(int fd, const char *line, size_t nr, const int *files, unsigned int nr_files)
{
	while (nr) {
		ssize_t done = send_some(fd, line, nr, files, nr_files);

		if (done < 0 && errno != EINTR)
			return false;
		if (done > 0) {
			line += done;
			nr -= done;
			nr_files = 0;
		}
	}
	return true;
}

static bool send_request(int fd, const char *what, struct json_object *request, const int *files,
			 unsigned int nr_files)
{
	const char *text;
	bool is_sent;

	json_object_object_add(request, "version", json_object_new_int(CONTROL_VERSION));
	json_object_object_add(request, "do", json_object_new_string(what));
	text = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	is_sent = send_line(fd, text, strlen(text), files, nr_files) && send_line(fd, "\n", 1, NULL, 0);
	json_object_put(request);
	return is_sent;
}

bool client_send(int fd, const char *what, struct json_object *arguments, const int *files, unsigned int nr)
{
	return send_request(fd, what, arguments ? arguments : json_object_new_object(), files, nr);
}

void client_is_patient(int fd)
{
	const struct timeval never = { 0 };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &never, sizeof(never));
}

static struct json_object *hear(int fd)
{
	char *line = read_line(fd);
	struct json_object *answer = line ? json_tokener_parse(line) : NULL;

	free(line);
	return answer;
}

struct json_object *client_request(int fd, const char *what, struct json_object *arguments)
{
	return client_send(fd, what, arguments, NULL, 0) ? hear(fd) : NULL;
}

/* What is no refusal. */
static struct json_object *judge(struct json_object *answer)
{
	const char *error = answer ? answer_text(answer, "error") : "the VM has ended, or does not answer";

	if (!error[0])
		return answer;
	complain("%s", error);
	json_object_put(answer);
	return NULL;
}

struct json_object *client_hear(int fd)
{
	return judge(hear(fd));
}

struct json_object *client_ask_with(int fd, const char *what, struct json_object *arguments, const int *files,
				    unsigned int nr)
{
	return judge(client_send(fd, what, arguments, files, nr) ? hear(fd) : NULL);
}

struct json_object *client_ask(int fd, const char *what, struct json_object *arguments)
{
	return client_ask_with(fd, what, arguments, NULL, 0);
}

bool client_let(int fd, const char *what)
{
	struct json_object *answer = client_ask(fd, what, NULL);

	json_object_put(answer);
	return answer;
}

const char *answer_text(struct json_object *answer, const char *key)
{
	struct json_object *value;
	const char *text = json_object_object_get_ex(answer, key, &value) ?
			   json_object_get_string(value) : NULL;

	return text ? text : "";
}

unsigned long long answer_number(struct json_object *answer, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(answer, key, &value) ? json_object_get_uint64(value) : 0;
}

int client_tell(const char *name, const char *what, struct json_object *arguments)
{
	struct json_object *answer;
	char found[NAME_MOST + 1];
	int fd = client_open(name, true, found);

	if (fd < 0) {
		json_object_put(arguments);
		return EXIT_USAGE;
	}
	answer = client_ask(fd, what, arguments);
	close(fd);
	json_object_put(answer);
	return answer ? EXIT_OK : EXIT_PROBLEM;
}

/* ---- the end of one ------------------------------------------------------------------- */

pid_t client_runner(int fd)
{
	struct ucred peer = { 0 };
	socklen_t size = sizeof(peer);

	getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size);
	return peer.pid;
}

int client_process(int fd)
{
	return syscall(SYS_pidfd_open, client_runner(fd), 0);
}

bool client_sees_end(int fd, int process, int timeout_ms)
{
	struct pollfd connection = { .fd = fd, .events = POLLIN };
	struct pollfd exit = { .fd = process, .events = POLLIN };
	char byte;

	/* It hangs up, whatever it may say before.  Its process is still about to end then. */
	do {
		if (poll(&connection, 1, timeout_ms) <= 0)
			return false;
	} while (recv(fd, &byte, 1, 0) > 0);
	return process < 0 || poll(&exit, 1, timeout_ms) > 0;
}

/* ---- all of them --------------------------------------------------------------------- */

/* Somebody listens, but does not answer: a runner that is stopped, or has too many clients. */
static struct json_object *silent(int fd, const char *name)
{
	struct json_object *row = json_object_new_object();

	json_object_object_add(row, "name", json_object_new_string(name));
	json_object_object_add(row, "pid", json_object_new_int(client_runner(fd)));
	json_object_object_add(row, "state", json_object_new_string("silent"));
	return row;
}

/* One that has ended since is no VM any more. */
static void ask(struct json_object *list, const struct vm_found *vm, const char *what)
{
	int fd = vm_connect(vm);
	struct json_object *answer = fd < 0 ? NULL : client_request(fd, what, NULL);

	bool is_busy = answer && !json_object_object_get_ex(answer, "name", NULL);

	if (is_busy || (!answer && (fd == -EAGAIN || (fd >= 0 && errno == EAGAIN)))) {
		json_object_put(answer);
		answer = silent(fd, vm->name);
	}
	if (fd >= 0)
		close(fd);
	if (answer)
		json_object_array_add(list, answer);
}

struct json_object *vms_ask(const char *what)
{
	struct json_object *list = json_object_new_array();
	struct vms vms;

	if (vms_find(&vms)) {
		json_object_put(list);
		return NULL;
	}
	for (unsigned int i = 0; i < vms.nr; i++)
		ask(list, &vms.vm[i], what);
	free(vms.vm);
	return list;
}

int vms_ask_those(const char *what, const char *name, struct json_object **answers)
{
	char found[NAME_MOST + 1];
	struct json_object *answer;
	int fd;

	*answers = name ? NULL : vms_ask(what);
	if (!name)
		return *answers ? EXIT_OK : EXIT_PROBLEM;
	fd = client_open(name, false, found);
	if (fd < 0)
		return EXIT_USAGE;
	answer = client_ask(fd, what, NULL);
	close(fd);
	if (!answer)
		return EXIT_PROBLEM;
	*answers = json_object_new_array();
	json_object_array_add(*answers, answer);
	return EXIT_OK;
}

/* ---- the command line ----------------------------------------------------------------- */

enum { OPTION_JSON = 256, OPTION_VALUE, OPTION_FLAG };

static int check_names(const struct verb *verb, int argc, char **argv, const struct vm_arguments *arguments)
{
	int nr = argc - optind, most = arguments->operand ? 2 : 1;
	int least = arguments->may_lack_operand ? 1 : most;

	if ((nr >= least && nr <= most) || (!nr && arguments->is_optional && *arguments->is_optional))
		return -1;
	if (!nr)
		complain("%s: which VM? (mote ps lists them; mote %s --help)", verb->name, verb->name);
	else if (nr < least)
		complain("%s: %s? (try mote %s --help)", verb->name, arguments->operand, verb->name);
	else
		complain("%s takes one VM%s%s: %s (try mote %s --help)", verb->name,
			 arguments->operand ? " and " : "", arguments->operand ? arguments->operand : "",
			 argv[optind + most], verb->name);
	return EXIT_USAGE;
}

int parse_period(const char *option, const char *text, double *period)
{
	char *end;

	*period = strtod(text, &end);
	if (!*end && end != text && *period >= 0.1 && *period <= 1e6)
		return 0;
	complain("%s: not a number of seconds from 0.1 to 1000000: %s", option, text);
	return -1;
}

void wait_period(double period)
{
	const struct timespec time = {
		.tv_sec = period, .tv_nsec = (period - (time_t)period) * NS_PER_S,
	};

	nanosleep(&time, NULL);
}

int parse_vm(const struct verb *verb, int argc, char **argv, const struct vm_arguments *arguments)
{
	struct option options[5] = { { "help", no_argument, NULL, 'h' } };
	char unknown[3] = "";
	int nr = 1, option;

	if (arguments->json)
		options[nr++] = (struct option) { "json", no_argument, NULL, OPTION_JSON };
	if (arguments->value_option)
		options[nr++] = (struct option) { arguments->value_option, required_argument, NULL,
						  OPTION_VALUE };
	if (arguments->flag_option)
		options[nr++] = (struct option) { arguments->flag_option, no_argument, NULL,
						  OPTION_FLAG };
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			fputs(verb->usage, stdout);
			return EXIT_OK;
		case OPTION_JSON:
			*arguments->json = true;
			break;
		case OPTION_VALUE:
			*arguments->value = optarg;
			break;
		case OPTION_FLAG:
			*arguments->flag = true;
			break;
		case ':':
			complain("%s: %s wants a value (try mote %s --help)", verb->name,
				 argv[optind - 1], verb->name);
			return EXIT_USAGE;
		default:
			/* getopt moves names behind the options: the letter, or the word. */
			if (optopt > 0 && optopt < OPTION_JSON)
				snprintf(unknown, sizeof(unknown), "-%c", optopt);
			complain("%s: unknown option %s (try mote %s --help)", verb->name,
				 unknown[0] ? unknown : argv[optind - 1], verb->name);
			return EXIT_USAGE;
		}
	}
	return check_names(verb, argc, argv, arguments);
}
