// SPDX-License-Identifier: GPL-2.0
/*
 * What can be seen of the host without mote's module: CPUID, /proc and /sys.
 * Everything here is a best effort; where the module is loaded, it knows better.
 */
#include <cpuid.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "libmote.h"
#include "runner.h"

bool host_is_guest(void)
{
	unsigned int eax, ebx, ecx, edx;

	/* Reserved for software: a hypervisor sets it for its guests. */
	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 31));
}

/* Is @word one of the space-separated words of @text? */
static bool has_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += length) {
		bool starts = at == text || at[-1] == ' ' || at[-1] == '\t';

		if (starts && strchr(" \n", at[length]))
			return true;
	}
	return false;
}

bool host_has_flag(const char *line, const char *flag)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char text[8192];
	bool found = false;

	if (!file)
		return false;
	while (!found && fgets(text, sizeof(text), file)) {
		size_t length = strlen(line);

		found = !strncmp(text, line, length) && strchr("\t :", text[length]) &&
			has_word(text + length, flag);
	}
	fclose(file);
	return found;
}

bool host_module(const char *name, int *users)
{
	FILE *file = fopen("/proc/modules", "re");
	char text[4096], path[128];
	struct stat st;

	while (file && fgets(text, sizeof(text), file)) {
		char module[64];

		if (sscanf(text, "%63s %*s %d", module, users) == 2 && !strcmp(module, name)) {
			fclose(file);
			return true;
		}
	}
	if (file)
		fclose(file);
	*users = -1;
	snprintf(path, sizeof(path), "/sys/module/%s", name);
	return !stat(path, &st);
}

bool host_module_file(const char *name, char *path, size_t size)
{
	char list[256], text[8192], wanted[64];
	struct utsname uts;
	bool found = false;
	FILE *file;

	uname(&uts);
	snprintf(list, sizeof(list), "/lib/modules/%s/modules.dep", uts.release);
	snprintf(wanted, sizeof(wanted), "/%s.ko", name);
	file = fopen(list, "re");
	while (file && !found && fgets(text, sizeof(text), file)) {
		text[strcspn(text, ":")] = '\0';
		found = strstr(text, wanted);
	}
	if (file)
		fclose(file);
	if (found)
		snprintf(path, size, "/lib/modules/%s/%s", uts.release, text);
	return found;
}

bool host_module_kernel(const char *path, char *release, size_t size)
{
	static const char tag[] = "vermagic=";
	FILE *file = fopen(path, "re");
	size_t matched = 0;
	int c = 0;

	/* .modinfo is a section of NUL-terminated strings; none of ours are compressed. */
	while (file && matched < sizeof(tag) - 1 && (c = getc(file)) != EOF)
		matched = c == tag[matched] ? matched + 1 : c == tag[0];
	if (file && matched == sizeof(tag) - 1) {
		size_t length = fread(release, 1, size - 1, file);

		release[length] = '\0';
		release[strcspn(release, " ")] = '\0';
	}
	if (file)
		fclose(file);
	return matched == sizeof(tag) - 1;
}

bool host_read_line(const char *path, char *line, int size)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(line, size, file);

	if (file)
		fclose(file);
	if (ok)
		line[strcspn(line, "\n")] = '\0';
	return ok;
}

/* The name, which is the second field, may hold anything. */
unsigned long long host_stat_field(const char *path, unsigned int field)
{
	char line[1024];
	const char *at = host_read_line(path, line, sizeof(line)) ? strrchr(line, ')') : NULL;

	for (unsigned int i = 2; at && i < field; i++)
		at = strchr(at + 1, ' ');
	return at ? strtoull(at, NULL, 10) : 0;
}

FILE *host_open_children(int process)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", process, process);
	return fopen(path, "re");
}

bool host_read_msr(unsigned int msr, unsigned long long *value)
{
	int fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	bool ok = fd >= 0 && pread(fd, value, sizeof(*value), msr) == sizeof(*value);

	if (fd >= 0)
		close(fd);
	return ok;
}
