// SPDX-License-Identifier: GPL-2.0
/* What a VM costs: its life, the kernel's memory for it, and its runner. */
#include <asm/bootparam.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

/* ---- a life ----------------------------------------------------------------------- */

#define LIVES 8

static double nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * 1e9 + now.tv_nsec;
}

/* Ticks of the TSC in a nanosecond. */
static double ticks_per_ns(void)
{
	double from = nanoseconds(CLOCK_MONOTONIC_RAW), to;
	uint64_t began = ticks(), ended;

	do {
		ended = ticks();
		to = nanoseconds(CLOCK_MONOTONIC_RAW);
	} while (to - from < 2e6);
	return (ended - began) / (to - from);
}

/* Create it, run it once, destroy it: what this thread executes, and what it waits for. */
static void measure_lives(const struct hypervisor *hypervisor, result_fn result)
{
	double rate = ticks_per_ns(), least_busy = 0, least_idle = 0;

	for (int i = 0; i < LIVES; i++) {
		struct vm vm = { .hypervisor = hypervisor, .ram = allocate(RAM_SIZE) };
		const struct guest_args begin = { .rip = PAYLOAD(payload_begin) };
		double cpu, all, busy, idle;

		vm_fill(&vm);
		all = nanoseconds(CLOCK_MONOTONIC_RAW);
		cpu = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
		hypervisor->create(&vm);
		hypervisor->start(&vm, &begin);
		hypervisor->run(&vm);
		hypervisor->destroy(&vm);
		busy = (nanoseconds(CLOCK_THREAD_CPUTIME_ID) - cpu) * rate;
		idle = (nanoseconds(CLOCK_MONOTONIC_RAW) - all) * rate - busy;
		least_busy = !i || busy < least_busy ? busy : least_busy;
		least_idle = !i || idle < least_idle ? idle : least_idle;
		munmap(vm.ram, RAM_SIZE);
	}
	result("life", least_busy);
	result("life_waiting_us", least_idle / rate / 1000);
}

/* ---- memory of the kernel ------------------------------------------------------------ */

#define CROWD 64

/* What /proc/meminfo says of free memory, in KiB. */
static double free_memory(void)
{
	unsigned long kib = 0;
	char line[128];
	FILE *file;

	sync();
	file = fopen("/proc/meminfo", "r");
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemFree: %lu", &kib) == 1)
			break;
	if (!kib)
		fail("/proc/meminfo");
	fclose(file);
	return kib;
}

/* VMs with one vCPU each that have run once, all with the same memory. */
static void measure_memory(const struct hypervisor *hypervisor, result_fn result)
{
	static struct vm crowd[CROWD];
	struct vm first;
	double before;

	vm_create(&first, hypervisor);
	before = free_memory();
	for (int i = 0; i < CROWD; i++) {
		const struct guest_args begin = { .rip = PAYLOAD(payload_begin) };

		crowd[i] = (struct vm){ .hypervisor = hypervisor, .ram = first.ram };
		hypervisor->create(&crowd[i]);
		hypervisor->start(&crowd[i], &begin);
		hypervisor->run(&crowd[i]);
	}
	result("idle_vm_kib", (before - free_memory()) / CROWD);
	for (int i = 0; i < CROWD; i++)
		hypervisor->destroy(&crowd[i]);
	vm_destroy(&first);
}

void measure_life(const struct hypervisor *hypervisor, result_fn result)
{
	if (is_wanted("life"))
		measure_lives(hypervisor, result);
	if (is_wanted("idle_vm"))
		measure_memory(hypervisor, result);
}

/* ---- mote run -------------------------------------------------------------------------- */

#define IMAGE_SIZE (8 << 20)
#define INITRD_SIZE (12 << 20)
#define BIGGEST_OF_RUNNER (128 << 10) /* KiB: larger mappings are the guest's memory */

/* At the 64-bit entry: tell the TSC on the serial port, and sleep for ever. */
asm(".pushsection .rodata\n"
    "first_code: rdtsc; shl $32, %rdx; or %rdx, %rax; mov %rax, %rbx; mov $0x3f8, %edx\n"
    "mov $8, %ecx; 1: mov %bl, %al; out %al, %dx; shr $8, %rbx; dec %ecx; jnz 1b\n"
    "2: cli; hlt; jmp 2b\n"
    "first_code_end: .popsection\n");
extern const unsigned char first_code[], first_code_end[];

static void write_file(const char *name, const void *data, size_t size)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		fail(name);
	close(fd);
}

/* A bzImage (Documentation/x86/boot.rst) of one setup sector, and an initrd. */
static void write_images(void)
{
	unsigned char *image = allocate(INITRD_SIZE);
	struct setup_header *header = (void *)(image + 0x1f1);

	memset(image, 0xf4, INITRD_SIZE);
	write_file("bench.initrd", image, INITRD_SIZE);
	memset(image, 0, 1024);
	*header = (struct setup_header){
		.setup_sects = 1, .syssize = (IMAGE_SIZE - 1024) / 16, .boot_flag = 0xaa55,
		.jump = 0x66eb, .header = 0x53726448, .version = 0x020f, .loadflags = LOADED_HIGH,
		.code32_start = 0x100000, .initrd_addr_max = 0x7fffffff,
		.kernel_alignment = 0x200000, .relocatable_kernel = 1, .min_alignment = 21,
		.xloadflags = XLF_KERNEL_64 | XLF_CAN_BE_LOADED_ABOVE_4G, .cmdline_size = 2047,
		.pref_address = 0x1000000, .init_size = IMAGE_SIZE,
	};
	memcpy(image + 1024 + 0x200, first_code, first_code_end - first_code);
	write_file("bench.image", image, IMAGE_SIZE);
	munmap(image, INITRD_SIZE);
}

static pid_t start_runner(int out)
{
	pid_t child = vfork();

	if (child)
		return child;
	dup2(out, 1);
	execlp("mote", "mote", "run", "--memory", "256M", "--initrd", "bench.initrd", "bench.image",
	       (char *)NULL);
	_exit(127);
}

/* KiB in memory of a process, but for its largest mappings. */
static double memory_of_runner(pid_t pid)
{
	unsigned long size = 0, pss, sum = 0;
	char line[256];
	FILE *file;

	snprintf(line, sizeof(line), "/proc/%d/smaps", pid);
	file = fopen(line, "r");
	if (!file)
		fail(line);
	while (fgets(line, sizeof(line), file)) {
		sscanf(line, "Size: %lu", &size);
		if (sscanf(line, "Pss: %lu", &pss) == 1 && size < BIGGEST_OF_RUNNER)
			sum += pss;
	}
	fclose(file);
	return sum;
}

/* The guest writes them one at a time. */
static uint64_t read_stamp(int fd)
{
	unsigned char stamp[8];
	uint64_t value = 0;

	for (int i = 0; i < 8; i++) {
		if (read(fd, &stamp[i], 1) != 1)
			fail("mote run");
		value |= (uint64_t)stamp[i] << 8 * i;
	}
	return value;
}

void measure_runner(result_fn result)
{
	uint64_t began, first, least = UINT64_MAX;
	double memory = 0;

	write_images();
	for (int i = 0; i < 3; i++) {
		int pipes[2];
		pid_t child;

		if (pipe2(pipes, O_CLOEXEC))
			fail("pipe2");
		began = ticks();
		child = start_runner(pipes[1]);
		close(pipes[1]);
		if (child < 0)
			fail("vfork");
		first = read_stamp(pipes[0]);
		memory = memory_of_runner(child);
		kill(child, SIGTERM);
		waitpid(child, NULL, 0);
		close(pipes[0]);
		least = first - began < least ? first - began : least;
	}
	unlink("bench.image");
	unlink("bench.initrd");
	result("runner_start", least);
	result("runner_kib", memory);
}
