// SPDX-License-Identifier: GPL-2.0
/* The cgroup of a machine: see cgroup.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "cgroup.h"
#include "runner.h"

/* A machine's are called so, and end with the number of its runner's process. */
#define PREFIX "mote-"

#define FILE_MOST (PATH_MAX + 64)

/* systemd does what it is asked for when it comes to it. */
#define LOOKS 200
#define LOOK_NS 50000000

static const char *path_of(const struct cgroup *group, const char *file, char path[FILE_MOST])
{
	snprintf(path, FILE_MOST, CGROUPS "%s/%s", group->path, file);
	return path;
}

FILE *cgroup_open(const struct cgroup *group, const char *file)
{
	char path[FILE_MOST];

	return fopen(path_of(group, file, path), "re");
}

/* Is it one of the words of a file? */
static bool says(const struct cgroup *group, const char *file, const char *word)
{
	FILE *words = cgroup_open(group, file);
	bool is_there = false;
	char each[64];

	while (words && !is_there && fscanf(words, "%63s", each) == 1)
		is_there = !strcmp(each, word);
	if (words)
		fclose(words);
	return is_there;
}

/* 0, or an errno. */
static int put(const struct cgroup *group, const char *file, const char *value)
{
	char path[FILE_MOST];
	int fd = open(path_of(group, file, path), O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		err = errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* ---- which one it is ------------------------------------------------------------------- */

static bool systemd_runs(void)
{
	struct stat stat;

	return !lstat("/run/systemd/system", &stat) && S_ISDIR(stat.st_mode);
}

/* Where a process is; false: there is no such process, or no cgroup v2. */
static bool find_group(struct cgroup *group, pid_t process)
{
	char path[64], line[PATH_MAX];
	FILE *file;
	bool found = false;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", process);
	file = fopen(path, "re");
	while (file && !found && fgets(line, sizeof(line), file))
		found = !strncmp(line, "0::/", 4);
	if (file)
		fclose(file);
	if (!found)
		return false;
	line[strcspn(line, "\n")] = '\0';
	snprintf(group->path, sizeof(group->path), "%s", line + 3);
	group->is_units = systemd_runs() &&
			  (has_suffix(group->path, ".scope") || has_suffix(group->path, ".service"));
	return true;
}

static bool is_root(const struct cgroup *group)
{
	return !strcmp(group->path, "/");
}

static struct cgroup parent_group(const struct cgroup *group)
{
	struct cgroup parent = *group;
	char *slash = strrchr(parent.path, '/');

	slash[slash == parent.path] = '\0';
	return parent;
}

static pid_t parent_of(pid_t process)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/stat", process);
	return host_stat_field(path, 4);
}

/* Is nobody in there but the runner, and what it has started? */
static bool is_own(const struct cgroup *group, pid_t runner)
{
	FILE *file = is_root(group) ? NULL : cgroup_open(group, "cgroup.procs");
	bool is_alone = false, goes_on = file;
	int process;

	while (goes_on && fscanf(file, "%d", &process) == 1)
		goes_on = is_alone = process == runner || parent_of(process) == runner;
	if (file)
		fclose(file);
	return is_alone;
}

int cgroup_find(struct cgroup *group, pid_t runner)
{
	struct statfs statfs_;

	if (statfs(CGROUPS, &statfs_) || statfs_.f_type != CGROUP2_SUPER_MAGIC) {
		complain("limits want cgroups of version 2 at " CGROUPS ", where there are none");
		return -1;
	}
	if (!find_group(group, runner)) {
		complain("cannot find the cgroup of process %d", runner);
		return -1;
	}
	return is_own(group, runner);
}

/* ---- one of systemd's ---------------------------------------------------------------------- */

/* Ask systemd, by its own programs; what it has to say against it is a complaint. */
static int ask_systemd(const char *option, char *const *arguments)
{
	int messages = memfd_create("messages", MFD_CLOEXEC);
	int err = messages < 0 ? errno : program_run(arguments, -1, messages);
	char why[256] = "";

	if (err < 0 && pread(messages, why, sizeof(why) - 1, 0) > 0)
		why[strcspn(why, "\n")] = '\0';
	if (err)
		complain("%s: %s: %s", option, arguments[0], err > 0 ? strerror(err) : why);
	if (messages >= 0)
		close(messages);
	return err ? -1 : 0;
}

/* Root's machines are the system's, others the user's. */
static char *whose(void)
{
	return geteuid() ? "--user" : "--system";
}

static int set_properties(const struct cgroup *group, const struct setting *settings, unsigned int nr)
{
	char *arguments[nr + 6], **argument = arguments;

	*argument++ = "systemctl";
	*argument++ = strstr(group->path, "/user@") ? "--user" : "--system";
	*argument++ = "set-property";
	*argument++ = "--runtime";
	*argument++ = strrchr(group->path, '/') + 1;
	for (unsigned int i = 0; i < nr; i++)
		*argument++ = (char *)settings[i].property;
	*argument = NULL;
	return ask_systemd(settings[0].option, arguments);
}

/* Who of them is in which group is to be seen when systemd has done it. */
static int wait_for_scope(struct cgroup *group, pid_t runner, const char *option, const char *unit)
{
	const struct timespec moment = { .tv_nsec = LOOK_NS };

	for (int i = 0; i < LOOKS; i++) {
		if (find_group(group, runner) && has_suffix(group->path, unit))
			return 0;
		nanosleep(&moment, NULL);
	}
	complain("%s: systemd has not made %s", option, unit);
	return -1;
}

#define PROCESSES_MOST 64
#define NUMBER_MOST 12

static int make_scope(struct cgroup *group, const char *name, const pid_t *processes, unsigned int nr,
		      const char *option)
{
	char numbers[PROCESSES_MOST + 1][NUMBER_MOST], unit[NAME_MAX + sizeof(".scope")];
	char *arguments[PROCESSES_MOST + 20] = {
		"busctl", whose(), "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
		"org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail",
		"2", "Slice", "s", "mote.slice", "PIDs", "au", numbers[0],
	}, **argument = arguments;

	snprintf(unit, sizeof(unit), "%s.scope", name);
	while (*argument)
		argument++;
	snprintf(numbers[0], NUMBER_MOST, "%u", nr);
	for (unsigned int i = 0; i < nr; i++) {
		snprintf(numbers[i + 1], NUMBER_MOST, "%d", processes[i]);
		*argument++ = numbers[i + 1];
	}
	*argument++ = "0";
	return ask_systemd(option, arguments) ? -1 : wait_for_scope(group, processes[0], option, unit);
}

/* ---- one of our own -------------------------------------------------------------------------- */

/* Runners that were killed, with those who were to remove their groups, leave them behind. */
static void remove_stale(const struct cgroup *parent)
{
	char path[FILE_MOST];
	DIR *dir = opendir(path_of(parent, "", path));
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		const char *number = strrchr(entry->d_name, '-');

		if (!strncmp(entry->d_name, PREFIX, strlen(PREFIX)) && kill(atoi(number + 1), 0) &&
		    errno == ESRCH)
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
	}
	if (dir)
		closedir(dir);
}

/* Somebody is in there, then nobody is any more; or it has gone. */
static void wait_until_empty(int events)
{
	struct pollfd changed = { .fd = events, .events = POLLPRI };
	bool was_populated = false, is_populated = true;
	char text[256];

	while (is_populated || !was_populated) {
		ssize_t nr = pread(events, text, sizeof(text) - 1, 0);

		if (nr <= 0)
			return;
		text[nr] = '\0';
		is_populated = strstr(text, "populated 1");
		was_populated |= is_populated;
		if (is_populated || !was_populated)
			poll(&changed, 1, -1);
	}
}

/*
 * Whatever ends a machine, its group goes: a process outside of it sees to that, which has nothing
 * open but the group's events.
 */
static int see_to_end(const struct cgroup *group)
{
	char path[FILE_MOST];
	int events = open(path_of(group, "cgroup.events", path), O_RDONLY | O_CLOEXEC);
	pid_t child = events < 0 ? -1 : fork();

	if (child) {
		close(events);
		return child < 0 ? -1 : 0;
	}
	dup2(events, STDIN_FILENO);
	close_range(STDOUT_FILENO, ~0u, 0);
	setsid();
	if (!chdir("/"))
		wait_until_empty(STDIN_FILENO);
	rmdir(path_of(group, "", path));
	_exit(0);
}

/* What a group gives to those below it has to be said. */
static int enable(const struct cgroup *parent, const struct setting *setting)
{
	char word[32];
	int err;

	if (!says(parent, "cgroup.controllers", setting->controller)) {
		complain("%s: the cgroup %s has no controller \"%s\"", setting->option, parent->path,
			 setting->controller);
		return -1;
	}
	if (says(parent, "cgroup.subtree_control", setting->controller))
		return 0;
	snprintf(word, sizeof(word), "+%s", setting->controller);
	err = put(parent, "cgroup.subtree_control", word);
	if (err)
		complain("%s: the cgroup %s does not give its controller \"%s\" on: %s", setting->option,
			 parent->path, setting->controller,
			 err == EBUSY ? "it has processes of its own" : strerror(err));
	return err ? -1 : 0;
}

static int enable_all(const struct cgroup *group, const struct setting *settings, unsigned int nr)
{
	const struct cgroup parent = parent_group(group);

	for (unsigned int i = 0; i < nr; i++)
		if (enable(&parent, &settings[i]))
			return -1;
	return 0;
}

static int join(const struct cgroup *group, const pid_t *processes, unsigned int nr)
{
	char number[NUMBER_MOST];
	int err = 0;

	for (unsigned int i = 0; i < nr && !err; i++) {
		snprintf(number, sizeof(number), "%d", processes[i]);
		err = put(group, "cgroup.procs", number);
		/* One that has ended meanwhile need not. */
		if (err == ESRCH && i)
			err = 0;
	}
	return err;
}

/* Below the root, or beside the one where the runner is, in which there are others. */
static int make_group(struct cgroup *group, const char *name, const pid_t *processes, unsigned int nr,
		      const struct setting *settings, unsigned int nr_settings)
{
	const char *option = settings[0].option;
	struct cgroup parent = parent_group(group);
	char path[FILE_MOST];
	size_t length;
	int err;

	remove_stale(&parent);
	length = is_root(&parent) ? 0 : strlen(parent.path);
	snprintf(group->path + length, sizeof(group->path) - length, "/%s", name);
	if (enable_all(group, settings, nr_settings))
		return -1;
	/* Nobody else has that number. */
	if (mkdir(path_of(group, "", path), 0755) && errno != EEXIST) {
		complain("%s: cannot make the cgroup %s: %m", option, group->path);
		return -1;
	}
	err = see_to_end(group) ? errno : join(group, processes, nr);
	if (!err)
		return 0;
	complain("%s: cannot move the machine to the cgroup %s: %s", option, group->path, strerror(err));
	rmdir(path);
	return -1;
}

/* ---- either ---------------------------------------------------------------------------------- */

/* The runner, and what it has started: its main thread does. */
static unsigned int find_processes(pid_t runner, pid_t processes[PROCESSES_MOST])
{
	FILE *file = host_open_children(runner);
	unsigned int nr = 1;

	processes[0] = runner;
	while (file && nr < PROCESSES_MOST && fscanf(file, "%d", &processes[nr]) == 1)
		nr++;
	if (file)
		fclose(file);
	return nr;
}

int cgroup_make(struct cgroup *group, const char *name, pid_t runner, const struct setting *settings,
		unsigned int nr)
{
	pid_t processes[PROCESSES_MOST];
	unsigned int nr_processes = find_processes(runner, processes);
	char unique[NAME_MAX];

	snprintf(unique, sizeof(unique), PREFIX "%s-%d", name, runner);
	if (systemd_runs())
		return make_scope(group, unique, processes, nr_processes, settings[0].option);
	return make_group(group, unique, processes, nr_processes, settings, nr);
}

int cgroup_set(const struct cgroup *group, const struct setting *settings, unsigned int nr)
{
	if (group->is_units)
		return set_properties(group, settings, nr);
	if (enable_all(group, settings, nr))
		return -1;
	for (unsigned int i = 0; i < nr; i++) {
		int err = put(group, settings[i].file, settings[i].value);

		if (!err)
			continue;
		complain("%s: %s of the cgroup %s cannot be \"%s\": %s", settings[i].option, settings[i].file,
			 group->path, settings[i].value,
			 err == ENODEV ? "that is no whole disk" : strerror(err));
		return -1;
	}
	return 0;
}
