// SPDX-License-Identifier: GPL-2.0
/*
 * mote doctor: can virtual machines run here, and if not, what is to be done?  And what of
 * that which some options of mote run want is there?
 *
 * Each check is a function that adds one line.  Where the module is loaded its
 * probe is the truth; without it the checks say what /proc, /sys and CPUID show.
 */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <liburing.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "daemon.h"
#include "libmote.h"
#include "loader.h"
#include "runner.h"
#include "sandbox.h"

const char doctor_usage[] =
	"usage: mote doctor [--json]\n"
	"\n"
	"Says whether virtual machines can run on this host and, for each thing that\n"
	"stands in the way, what to do about it; likewise for what is there for the\n"
	"options of mote run that want more than the module.\n"
	"\n"
	"  --json  the same as JSON\n"
	"  --help  this text\n"
	"\n"
	"Exit status: 0 if virtual machines can be created, 1 if something stands in\n"
	"the way, 2 if the command was used wrongly.\n";

enum verdict { OK, WARN, PROBLEM };

static const char *const state_names[] = { "ok", "warn", "problem" };

struct finding {
	const char *check;
	enum verdict state;
	char found[256];
	char advice[256];
};

/**
 * struct report - the findings, and what they were made from
 * @err: of opening /dev/mote and asking it, 0 if @info is valid
 * @info: from the module
 * @vendor: from the module if it can be asked, else from CPUID
 * @findings: one a line
 * @nr: valid entries of @findings
 */
struct report {
	int err;
	struct mote_info info;
	unsigned int vendor;
	struct finding findings[32];
	unsigned int nr;
};

/* A new line in the report; returns it so that advice can be added. */
__attribute__((format(printf, 4, 5)))
static struct finding *add(struct report *report, const char *check, enum verdict state,
			   const char *format, ...)
{
	struct finding *finding = &report->findings[report->nr++];
	va_list args;

	finding->check = check;
	finding->state = state;
	finding->advice[0] = '\0';
	va_start(args, format);
	vsnprintf(finding->found, sizeof(finding->found), format, args);
	va_end(args);
	return finding;
}

__attribute__((format(printf, 2, 3)))
static void advise(struct finding *finding, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(finding->advice, sizeof(finding->advice), format, args);
	va_end(args);
}

/* What the module says about one code, or NULL. */
static const struct mote_obstacle *obstacle(const struct report *report, unsigned int code)
{
	for (unsigned int i = 0; !report->err && i < report->info.nr_obstacles; i++)
		if (report->info.obstacles[i].code == code)
			return &report->info.obstacles[i];
	return NULL;
}

static const char *extension(const struct report *report)
{
	return report->vendor == MOTE_VENDOR_VMX ? "VT-x" : "AMD-V";
}

static void check_extension(struct report *report)
{
	const char *check = "CPU extension";

	if (report->vendor != MOTE_VENDOR_NONE && !obstacle(report, MOTE_OBSTACLE_NO_EXTENSION)) {
		add(report, check, OK, "%s%s", extension(report),
		    host_is_guest() ? ", inside a virtual machine" : "");
	} else if (host_is_guest()) {
		advise(add(report, check, PROBLEM,
			   "this is a virtual machine that was given neither VT-x nor AMD-V"),
		       "enable nested virtualization in the hypervisor that runs it");
	} else {
		advise(add(report, check, PROBLEM, "the processor has neither VT-x nor AMD-V"),
		       "use another machine, or an emulated one: lab/host in mote's source");
	}
}

/* Without the module: the lock bits if /dev/cpu/0/msr is there, else what the kernel thinks. */
static bool firmware_forbids(const struct report *report)
{
	unsigned long long value;

	if (report->vendor == MOTE_VENDOR_VMX) {
		/* IA32_FEATURE_CONTROL: locked, and VMX outside SMX not enabled */
		if (host_read_msr(0x3a, &value))
			return (value & 1) && !(value & 4);
		return !host_has_flag("flags", "vmx");
	}
	if (host_read_msr(0xc0010114, &value)) /* VM_CR.SVMDIS */
		return value & (1 << 4);
	return !host_has_flag("flags", "svm");
}

static void check_firmware(struct report *report)
{
	const struct mote_obstacle *locked = obstacle(report, MOTE_OBSTACLE_FIRMWARE);
	const char *check = "Firmware";

	if (report->vendor == MOTE_VENDOR_NONE)
		return;
	if (locked || (report->err && firmware_forbids(report)))
		advise(add(report, check, PROBLEM, "has switched %s off and locked it",
			   extension(report)),
		       "switch on %s in the firmware's set-up, then power the machine off and on",
		       report->vendor == MOTE_VENDOR_VMX ? "\"Intel Virtualization Technology\"" :
							   "\"SVM mode\"");
	else
		add(report, check, OK, "leaves %s on", extension(report));
}

/* The words for the bits of a mask of features, separated by commas. */
static void name_features(char *text, size_t size, uint64_t mask)
{
	size_t used = 0;

	text[0] = '\0';
	for (unsigned int bit = 0; bit < 64 && used < size; bit++)
		if (mask & (1ull << bit))
			used += snprintf(text + used, size - used, "%s%s", used ? ", " : "",
					 mote_feature_name(bit));
}

static uint64_t missing_without_module(const struct report *report)
{
	uint64_t missing = 0;

	if (report->vendor == MOTE_VENDOR_VMX) {
		if (!host_has_flag("vmx flags", "ept") && !host_has_flag("flags", "ept"))
			missing |= 1ull << MOTE_FEATURE_NPT;
		if (!host_has_flag("vmx flags", "unrestricted_guest"))
			missing |= 1ull << MOTE_FEATURE_UNRESTRICTED;
	} else if (!host_has_flag("flags", "npt")) {
		missing |= 1ull << MOTE_FEATURE_NPT;
	}
	return missing;
}

static void check_features(struct report *report)
{
	const struct mote_obstacle *lacks = obstacle(report, MOTE_OBSTACLE_FEATURE);
	const char *check = "Needed features";
	uint64_t missing = lacks ? lacks->detail : 0;
	char names[128];

	if (report->vendor == MOTE_VENDOR_NONE)
		return;
	/* The kernel's list is empty when firmware has switched the extension off. */
	if (report->err && !firmware_forbids(report))
		missing = missing_without_module(report);
	if (missing) {
		name_features(names, sizeof(names), missing);
		advise(add(report, check, PROBLEM, "missing: %s", names), "%s", host_is_guest() ?
		       "let the hypervisor beneath offer them" : "use a newer processor");
	} else {
		add(report, check, OK, "nested paging and unrestricted guests");
	}
}

/* Controls of VT-x that mote cannot do without: capability MSR, or its "true" one, and bit. */
static const struct {
	uint32_t msr, true_msr, bit;
	const char *name;
} controls[] = {
	{ 0x481, 0x48d, 0, "external-interrupt exiting" },
	{ 0x481, 0x48d, 3, "NMI exiting" },
	{ 0x481, 0x48d, 5, "virtual NMIs" },
	{ 0x482, 0x48e, 3, "TSC offsetting" },
	{ 0x482, 0x48e, 7, "HLT exiting" },
	{ 0x482, 0x48e, 10, "MWAIT exiting" },
	{ 0x482, 0x48e, 11, "RDPMC exiting" },
	{ 0x482, 0x48e, 12, "RDTSC exiting" },
	{ 0x482, 0x48e, 15, "CR3-load exiting off" },
	{ 0x482, 0x48e, 16, "CR3-store exiting off" },
	{ 0x482, 0x48e, 21, "TPR shadow" },
	{ 0x482, 0x48e, 23, "MOV-DR exiting" },
	{ 0x482, 0x48e, 24, "unconditional I/O exiting" },
	{ 0x482, 0x48e, 28, "MSR bitmaps" },
	{ 0x482, 0x48e, 29, "MONITOR exiting" },
	{ 0x482, 0x48e, 31, "secondary controls" },
	{ 0x48b, 0x48b, 6, "WBINVD exiting" },
	{ 0x483, 0x48f, 2, "saving of debug controls" },
	{ 0x483, 0x48f, 9, "64-bit host" },
	{ 0x483, 0x48f, 18, "saving of PAT" },
	{ 0x483, 0x48f, 19, "loading of the host's PAT" },
	{ 0x483, 0x48f, 20, "saving of EFER" },
	{ 0x483, 0x48f, 21, "loading of the host's EFER" },
	{ 0x484, 0x490, 2, "loading of debug controls" },
	{ 0x484, 0x490, 14, "loading of PAT" },
	{ 0x484, 0x490, 15, "loading of EFER" },
};

static void name_controls(char *text, size_t size, uint64_t detail)
{
	uint32_t msr = detail >> 32, bits = detail;
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(controls) && used < size; i++)
		if ((msr == controls[i].msr || msr == controls[i].true_msr) &&
		    bits & 1u << controls[i].bit) {
			bits &= ~(1u << controls[i].bit);
			used += snprintf(text + used, size - used, "%s%s", used ? ", " : "",
					 controls[i].name);
		}
	if (bits && used < size)
		snprintf(text + used, size - used, "%sbits %#" PRIx32 " of MSR %#" PRIx32,
			 used ? ", " : "", bits, msr);
}

static void check_controls(struct report *report)
{
	const struct mote_obstacle *lacks = obstacle(report, MOTE_OBSTACLE_CONTROL);
	char names[192];

	if (!lacks)
		return;
	name_controls(names, sizeof(names), lacks->detail);
	advise(add(report, "Needed controls", PROBLEM, "missing: %s", names), "%s",
	       host_is_guest() ? "let the hypervisor beneath offer them" : "use a newer processor");
}

/* Modules that take the extension, for the sentence that names whom to unload. */
static const char *const rivals[] = { "kvm_intel", "kvm_amd", "vboxdrv", "vmmon" };

static const char *find_rival(int *users)
{
	for (size_t i = 0; i < ARRAY_SIZE(rivals); i++)
		if (host_module(rivals[i], users))
			return rivals[i];
	return NULL;
}

static void advise_eviction(struct finding *finding, const char *rival, int users)
{
	if (!rival)
		advise(finding, "find what uses it: another hypervisor, or one beneath this system");
	else if (users < 0)
		advise(finding, "%s is built into this kernel: stop its virtual machines", rival);
	else
		advise(finding, "stop its virtual machines, then run `rmmod %s`", rival);
}

static void check_holder(struct report *report)
{
	const struct mote_obstacle *held = obstacle(report, MOTE_OBSTACLE_HELD);
	const char *check = "Held by others";
	const char *rival, *name;
	int users = 0;

	if (report->vendor == MOTE_VENDOR_NONE)
		return;
	rival = find_rival(&users);
	name = rival ? rival : "another hypervisor";
	if (held)
		advise_eviction(add(report, check, PROBLEM, "%s holds %s", name, extension(report)),
				rival, users);
	else if (report->err && users > 0)
		advise_eviction(add(report, check, WARN, "%s is in use and may hold %s", name,
				    extension(report)), rival, users);
	else if (rival)
		add(report, check, OK, "no (%s is loaded, but idle)", rival);
	else
		add(report, check, OK, "no");
}

static void check_lockdown(struct report *report)
{
	const char *check = "Lockdown";
	char line[128] = "";

	host_read_line("/sys/kernel/security/lockdown", line, sizeof(line));
	if (obstacle(report, MOTE_OBSTACLE_LOCKDOWN))
		advise(add(report, check, PROBLEM, "the kernel is locked down"),
		       "switch off Secure Boot, or boot without lockdown=");
	else if (line[0] && !strstr(line, "[none]"))
		advise(add(report, check, WARN, "the kernel is locked down: %s", line),
		       report->err ? "only a signed mote.ko can be loaded" : "");
	else
		add(report, check, OK, "no");
}

static void check_alike(struct report *report)
{
	const struct mote_obstacle *odd = obstacle(report, MOTE_OBSTACLE_ASYMMETRIC);
	const char *check = "CPUs alike";
	char names[128];

	if (report->err || report->vendor == MOTE_VENDOR_NONE)
		return;
	if (odd) {
		name_features(names, sizeof(names), odd->detail);
		advise(add(report, check, PROBLEM, "CPU %u differs from the first: %s", odd->cpu,
			   names),
		       "update firmware and microcode, or take it offline: "
		       "echo 0 > /sys/devices/system/cpu/cpu%u/online", odd->cpu);
	} else {
		add(report, check, OK, "%u of %u", report->info.cpus_online,
		    report->info.cpus_online);
	}
}

static void check_enable(struct report *report)
{
	const struct mote_obstacle *refused = obstacle(report, MOTE_OBSTACLE_ENABLE);

	if (refused)
		advise(add(report, "Switching on", PROBLEM, "CPU %u refused: %s", refused->cpu,
			   strerror((int)refused->detail)),
		       "look at the kernel log: dmesg | grep mote");
}

static void check_kernel(struct report *report)
{
	static const struct { const char *what, *advice; } reasons[] = {
		[MOTE_KERNEL_RT] = { "it is a real-time one", "boot one without PREEMPT_RT" },
		[MOTE_KERNEL_FRED] = { "it takes events by FRED", "boot it with fred=off" },
		[MOTE_KERNEL_TSC] = { "it does not know the frequency of the TSC",
				      "boot it without notsc; look at: dmesg | grep -i tsc" },
	};
	const struct mote_obstacle *refused = obstacle(report, MOTE_OBSTACLE_KERNEL);
	unsigned long long why = refused ? refused->detail : 0;

	if (why >= MOTE_KERNEL_RT && why < ARRAY_SIZE(reasons))
		advise(add(report, "Running kernel", PROBLEM, "%s", reasons[why].what), "%s",
		       reasons[why].advice);
	else if (refused)
		advise(add(report, "Running kernel", PROBLEM, "reason %llu, unknown to this program",
			   why), "update the mote command");
}

/* An obstacle that this program does not know must not pass for none. */
static void check_unknown(struct report *report)
{
	for (unsigned int i = 0; !report->err && i < report->info.nr_obstacles; i++) {
		unsigned int code = report->info.obstacles[i].code;

		if (code < MOTE_OBSTACLE_NO_EXTENSION || code > MOTE_OBSTACLE_KERNEL)
			advise(add(report, "Obstacle", PROBLEM, "number %u, unknown to this program",
				   code),
			       "update the mote command");
	}
}

/* The module is not loaded: is it there to be loaded? */
static void check_module_file(struct report *report, const char *check)
{
	char path[512], release[128];
	struct utsname uts;

	uname(&uts);
	if (!host_module_file("mote", path, sizeof(path)))
		advise(add(report, check, PROBLEM, "not installed for the running kernel"),
		       "run `make install` in mote's source, then `modprobe mote`");
	else if (host_module_kernel(path, release, sizeof(release)) &&
		 strcmp(release, uts.release))
		advise(add(report, check, PROBLEM, "%s was built for kernel %s, this is %s", path,
			   release, uts.release),
		       "run `make clean install` in mote's source, then `modprobe mote`");
	else
		advise(add(report, check, PROBLEM, "not loaded"), "run `modprobe mote`");
}

static void check_module(struct report *report)
{
	const char *check = "Module";
	int users;

	if (!report->err && report->info.abi_version != MOTE_ABI_VERSION)
		advise(add(report, check, PROBLEM, "speaks ABI %u, this program ABI %d",
			   report->info.abi_version, MOTE_ABI_VERSION),
		       "install both from the same source, then: rmmod mote && modprobe mote");
	else if (!report->err && strcmp((const char *)report->info.version, MOTE_VERSION))
		add(report, check, WARN, "version %s, this program is %s", report->info.version,
		    MOTE_VERSION);
	else if (!report->err)
		add(report, check, OK, "version %s, ABI %u", report->info.version,
		    report->info.abi_version);
	else if (host_module("mote", &users))
		add(report, check, OK, "loaded");
	else
		check_module_file(report, check);
}

static void check_device(struct report *report)
{
	const char *check = MOTE_DEVICE;
	struct group *group;
	struct stat st;

	if (!report->err) {
		add(report, check, OK, "may be used");
	} else if (stat(MOTE_DEVICE, &st)) {
		if (host_module("mote", &(int){ 0 }))
			advise(add(report, check, PROBLEM, "does not exist"),
			       "run `modprobe -r mote && modprobe mote`, and look at dmesg");
	} else if (report->err == -EACCES || report->err == -EPERM) {
		group = getgrgid(st.st_gid);
		if (st.st_mode & S_IWGRP && st.st_gid && group)
			advise(add(report, check, PROBLEM, "you may not use it"),
			       "join its group: `usermod -aG %s USER`, then log in again",
			       group->gr_name);
		else
			advise(add(report, check, PROBLEM, "you may not use it"), "become root");
	} else {
		advise(add(report, check, PROBLEM, "cannot be used: %s", strerror(-report->err)),
		       "look at the kernel log: dmesg | grep mote");
	}
}

/* A machine runs without, but a guest that has taken the runner over has more then. */
static void check_sandbox(struct report *report)
{
	const char *check = "Sandbox";
	int landlock = sandbox_landlock();

	if (!sandbox_has_filters())
		advise(add(report, check, WARN, "this kernel does not filter system calls"),
		       "boot one with CONFIG_SECCOMP_FILTER");
	else if (!landlock)
		advise(add(report, check, WARN, "this kernel has no Landlock"),
		       "boot it with lsm=landlock,... (CONFIG_SECURITY_LANDLOCK)");
	else
		add(report, check, OK, "seccomp, and version %d of Landlock", landlock);
}

/* ---- what options of mote run want ------------------------------------------------------ */

/**
 * struct want - what an option wants
 * @option: it
 * @files: one of these, a device, or a program where there is no directory; the last one is NULL
 * @mode: what may be done to it, for access()
 * @advice: if that is not to be had
 */
static const struct want {
	const char *option;
	const char *const *files;
	int mode;
	const char *advice;
} wants[] = {
	{ "--firmware", (const char *const[]) { SEABIOS, NULL }, R_OK, "apt-get install seabios" },
	{ "--firmware=uefi", (const char *const[]) { OVMF, NULL }, R_OK, "apt-get install ovmf" },
	{ "--cloud-init", (const char *const[]) { "genisoimage", "xorriso", NULL }, X_OK,
	  "apt-get install genisoimage" },
	{ "--disk A.qcow2", daemon_for_disks, X_OK, "apt-get install qemu-system-common" },
	{ "--net passt", daemon_for_networks, X_OK, "apt-get install passt" },
	{ "--share", daemon_for_shares, X_OK, "apt-get install qemu-system-common" },
	{ "--net tap:", (const char *const[]) { "/dev/net/tun", NULL }, R_OK | W_OK, "modprobe tun" },
	{ "--net vhost:", (const char *const[]) { "/dev/vhost-net", NULL }, R_OK | W_OK,
	  "modprobe vhost_net, and be root or in the group kvm" },
	{ "--vsock", (const char *const[]) { "/dev/vhost-vsock", NULL }, R_OK | W_OK,
	  "modprobe vhost_vsock, and be root or in the group kvm" },
};

/* Where a program is, as execvp() finds it. */
static bool find_program(const char *name, char *path, size_t size)
{
	const char *directory = getenv("PATH");

	while (directory && *directory) {
		size_t length = strcspn(directory, ":");

		snprintf(path, size, "%.*s/%s", (int)length, directory, name);
		if (!access(path, X_OK))
			return true;
		directory += length + !!directory[length];
	}
	return false;
}

static void check_want(struct report *report, const struct want *want)
{
	char path[PATH_MAX];

	for (const char *const *file = want->files; *file; file++) {
		bool has_directory = strchr(*file, '/');

		snprintf(path, sizeof(path), "%s", *file);
		if (has_directory ? !access(path, want->mode) : find_program(*file, path, sizeof(path))) {
			add(report, want->option, OK, "%s", path);
			return;
		}
	}
	advise(add(report, want->option, WARN, "%s: %s", *want->files, strerror(errno)), "%s", want->advice);
}

/* Disks do without, a thread each. */
static void check_io_uring(struct report *report)
{
	struct io_uring ring;
	int err = io_uring_queue_init(1, &ring, 0);

	if (err) {
		advise(add(report, "io_uring", WARN, "%s: disks have a thread each", strerror(-err)),
		       "sysctl kernel.io_uring_disabled=0, or what forbids it in this container");
		return;
	}
	io_uring_queue_exit(&ring);
	add(report, "io_uring", OK, "for disks");
}

static void check_wants(struct report *report)
{
	check_io_uring(report);
	for (size_t i = 0; i < ARRAY_SIZE(wants); i++)
		check_want(report, &wants[i]);
}

static void examine(struct report *report)
{
	int fd = mote_open();

	report->err = fd < 0 ? fd : mote_get_info(fd, &report->info);
	if (fd >= 0)
		close(fd);
	report->vendor = report->err ? mote_cpuid_vendor() : report->info.vendor;

	check_extension(report);
	check_firmware(report);
	check_features(report);
	check_controls(report);
	check_holder(report);
	check_lockdown(report);
	check_alike(report);
	check_enable(report);
	check_kernel(report);
	check_unknown(report);
	check_module(report);
	check_device(report);
	check_sandbox(report);
	check_wants(report);
}

static unsigned int count_problems(const struct report *report)
{
	unsigned int problems = 0;

	for (unsigned int i = 0; i < report->nr; i++)
		problems += report->findings[i].state == PROBLEM;
	return problems;
}

static void print_table(const struct report *report)
{
	static const enum colour colours[] = { GREEN, YELLOW, RED };
	unsigned int problems = count_problems(report);

	for (unsigned int i = 0; i < report->nr; i++) {
		const struct finding *finding = &report->findings[i];

		paint(PLAIN, 17, finding->check);
		paint(colours[finding->state], 9, state_names[finding->state]);
		puts(finding->found);
		if (finding->advice[0]) {
			paint(PLAIN, 26, "");
			paint(BOLD, 0, finding->advice);
			putchar('\n');
		}
	}
	putchar('\n');
	if (problems)
		printf("Virtual machines cannot be created: %u problem%s.\n", problems,
		       problems == 1 ? "" : "s");
	else
		puts("Virtual machines can be created.");
}

static void print_report_json(const struct report *report)
{
	struct json_object *root = json_object_new_object();
	struct json_object *checks = json_object_new_array();

	json_object_object_add(root, "ok", json_object_new_boolean(!count_problems(report)));
	json_object_object_add(root, "vendor",
			       json_object_new_string(mote_vendor_name(report->vendor)));
	for (unsigned int i = 0; i < report->nr; i++) {
		const struct finding *finding = &report->findings[i];
		struct json_object *row = json_object_new_object();

		json_object_object_add(row, "check", json_object_new_string(finding->check));
		json_object_object_add(row, "state",
				       json_object_new_string(state_names[finding->state]));
		json_object_object_add(row, "found", json_object_new_string(finding->found));
		if (finding->advice[0])
			json_object_object_add(row, "advice",
					       json_object_new_string(finding->advice));
		json_object_array_add(checks, row);
	}
	json_object_object_add(root, "checks", checks);
	print_json(root);
}

int doctor_run(const struct verb *verb, int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { 0 },
	};
	struct report report = { 0 };
	unsigned int json = 0;
	int status = parse_flags(verb, argc, argv, options, false, &json);

	if (status >= 0)
		return status;
	examine(&report);
	if (json)
		print_report_json(&report);
	else
		print_table(&report);
	return count_problems(&report) ? EXIT_PROBLEM : EXIT_OK;
}
