// SPDX-License-Identifier: GPL-2.0
/*
 * mote kvm: run a program that was written for KVM, with a library before all others that answers
 * the KVM ABI (userspace/kvm/).  What cannot work, as a program without a dynamic linker, is said
 * before it is started.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "libmote.h"
#include "runner.h"

#define LIBRARY "libmote-kvm.so"
#define NR_HEADERS 64

const char kvm_usage[] =
	"usage: mote kvm [--] COMMAND [ARGUMENT]...\n"
	"\n"
	"Run a program that drives virtual machines by /dev/kvm, as QEMU does, on mote instead.\n"
	"It is not changed, and need not be built for it, but has to be linked dynamically:\n"
	"\n"
	"  mote kvm -- qemu-system-x86_64 -accel kvm ...\n"
	"\n"
	"docs/kvm-clients.md has what of KVM is there.  Exit status: the program's.\n";

/* The library's directory is a neighbour of the command's, as built or as installed. */
static bool find_library(char *path, size_t size)
{
	static const char *const places[] = { "lib", "libexec/mote" };
	char self[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (length < 0)
		return false;
	self[length] = 0;
	for (int i = 0; i < 2; i++) {
		slash = strrchr(self, '/');
		if (!slash)
			return false;
		*slash = 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(places); i++)
		if (snprintf(path, size, "%s/%s/" LIBRARY, self, places[i]) < (int)size &&
		    !access(path, R_OK))
			return true;
	return false;
}

/* As execvp() would; false: there is none. */
static bool find_program(const char *name, char *path, size_t size)
{
	const char *from = getenv("PATH"), *end;

	if (strchr(name, '/'))
		return snprintf(path, size, "%s", name) < (int)size && !access(path, X_OK);
	for (from = from ? from : "/usr/bin:/bin"; *from; from = *end ? end + 1 : end) {
		end = strchrnul(from, ':');
		if (snprintf(path, size, "%.*s/%s", (int)(end - from), from, name) < (int)size &&
		    !access(path, X_OK))
			return true;
	}
	return false;
}

/* Does a dynamic linker, which knows LD_PRELOAD, start a program of 64 bits? */
static bool has_interpreter(int fd, const Elf64_Ehdr *header)
{
	Elf64_Phdr headers[NR_HEADERS];
	ssize_t size = header->e_phnum * sizeof(headers[0]);

	if (header->e_phnum > NR_HEADERS || header->e_phentsize != sizeof(headers[0]) ||
	    pread(fd, headers, size, header->e_phoff) != size)
		return false;
	for (int i = 0; i < header->e_phnum; i++)
		if (headers[i].p_type == PT_INTERP)
			return true;
	return false;
}

/* What stands in the way of a library before all others; NULL: nothing. */
static const char *look_at(const char *path)
{
	const char *why = NULL;
	Elf64_Ehdr header;
	struct stat stat;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	/* What cannot be read, but run, is the kernel's to judge. */
	if (fd < 0 || fstat(fd, &stat))
		return NULL;
	if (S_ISDIR(stat.st_mode))
		why = "it is a directory";
	else if (stat.st_mode & (S_ISUID | S_ISGID))
		why = "it runs as another user, who does not take libraries from us";
	else if (pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
		 memcmp(header.e_ident, ELFMAG, SELFMAG))
		why = NULL; /* a script, as a rule */
	else if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)
		why = "it is not a program of 64 bits for x86";
	else if (!has_interpreter(fd, &header))
		why = "it is linked statically, so that nothing can be put before it";
	close(fd);
	return why;
}

/* The library is of the same source as this command. */
static bool has_other_module(void)
{
	struct mote_info info;
	int fd = mote_open();
	bool other = fd >= 0 && !mote_get_info(fd, &info) && is_other_abi(&info);

	/* Who may not open it hears that from the program. */
	if (fd >= 0)
		close(fd);
	return other;
}

static int start(char **argv)
{
	const char *others = getenv("LD_PRELOAD");
	char library[PATH_MAX], path[PATH_MAX], *preload;
	const char *why;

	if (!find_program(argv[0], path, sizeof(path))) {
		complain("kvm: there is no program %s", argv[0]);
		return EXIT_USAGE;
	}
	why = look_at(path);
	if (why) {
		complain("kvm: %s cannot be run like this: %s", path, why);
		return EXIT_USAGE;
	}
	if (access(MOTE_DEVICE, F_OK)) {
		complain("kvm: there is no " MOTE_DEVICE " (try mote doctor)");
		return EXIT_PROBLEM;
	}
	if (has_other_module())
		return EXIT_PROBLEM;
	if (!find_library(library, sizeof(library))) {
		complain("kvm: there is no " LIBRARY " beside this command, in ../lib or ../libexec/mote");
		return EXIT_PROBLEM;
	}
	if (asprintf(&preload, "%s%s%s", library, others ? ":" : "", others ? others : "") < 0 ||
	    setenv("LD_PRELOAD", preload, 1)) {
		complain("kvm: no memory");
		return EXIT_PROBLEM;
	}
	execv(path, argv);
	complain("kvm: cannot run %s: %m", path);
	return EXIT_USAGE;
}

int kvm_run(const struct verb *verb, int argc, char **argv)
{
	int first = 1;

	if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		fputs(verb->usage, stdout);
		return EXIT_OK;
	}
	if (argc > 1 && !strcmp(argv[1], "--")) {
		first = 2;
	} else if (argc > 1 && argv[1][0] == '-') {
		complain("kvm: unknown option %s (try mote kvm --help)", argv[1]);
		return EXIT_USAGE;
	}
	if (first >= argc) {
		complain("kvm: which program? (try mote kvm --help)");
		return EXIT_USAGE;
	}
	return start(argv + first);
}
