// SPDX-License-Identifier: GPL-2.0
/* What exits cost: one row an operation. */
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <policy.h>
#include <reset.h>

#include "bench.h"

#define PAGES (TOUCHED_SIZE / PAGE_SIZE)
#define ROUNDS 3

extern const unsigned char payload_empty[], payload_cpuid[], payload_rdmsr[], payload_wrmsr[],
	payload_vmcall[], payload_vmmcall[], payload_port_out[], payload_port_in[], payload_mmio_write[],
	payload_mmio_read[], payload_self_ipi[], payload_self_ipi_halted[], payload_woken[],
	payload_eventfd[], payload_touch[];

/* Those that need nothing but the guest; a batch is shorter than a tick of the host's timer. */
static const struct row {
	const char *name;
	const unsigned char *entry;
	uint64_t operations;
} rows[] = {
	{ "cpuid", payload_cpuid, 64 },
	{ "rdmsr", payload_rdmsr, 64 },
	{ "wrmsr", payload_wrmsr, 64 },
	{ "port_out", payload_port_out, 32 },
	{ "port_in", payload_port_in, 32 },
	{ "mmio_write", payload_mmio_write, 16 },
	{ "mmio_read", payload_mmio_read, 16 },
	{ "self_ipi", payload_self_ipi, 16 },
	{ "self_ipi_halted", payload_self_ipi_halted, 16 },
};

double vm_price(struct vm *vm, const unsigned char *entry, uint64_t operations)
{
	struct guest_args args = {
		.rip = PAYLOAD(payload_empty), .batches = BATCHES, .operations = operations,
		.rbx = GPA_MMIO, .rax = vm->hypervisor->hypercall,
	};
	uint64_t loop = vm_measure(vm, &args);

	args.rip = PAYLOAD(entry);
	return (double)(vm_measure(vm, &args) - loop) / operations;
}

/* ---- woken by another thread ---------------------------------------------------- */

static volatile bool stop;

static void *wake(void *vm)
{
	while (!stop)
		((struct vm *)vm)->hypervisor->interrupt(vm);
	return NULL;
}

/*
 * The guest's thread comes first on the CPU that both have, so the other one runs,
 * and sends an interrupt, whenever the guest sleeps in HLT: a round trip.
 */
static double price_woken(struct vm *vm)
{
	const struct sched_param first = { .sched_priority = 1 }, usual = { 0 };
	pthread_t thread;
	cpu_set_t cpu;
	double ticks;

	CPU_ZERO(&cpu);
	CPU_SET(0, &cpu);
	if (sched_setaffinity(0, sizeof(cpu), &cpu))
		fail("sched_setaffinity");
	stop = false;
	if (pthread_create(&thread, NULL, wake, vm))
		fail("pthread_create");
	if (sched_setscheduler(0, SCHED_FIFO, &first))
		fail("sched_setscheduler");
	ticks = vm_price(vm, payload_woken, 8);
	sched_setscheduler(0, SCHED_OTHER, &usual);
	stop = true;
	pthread_join(thread, NULL);
	return ticks;
}

/* ---- an eventfd ------------------------------------------------------------------- */

static double price_eventfd(struct vm *vm)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	double ticks;

	if (fd < 0)
		fail("eventfd");
	vm->hypervisor->eventfd(vm, fd);
	ticks = vm_price(vm, payload_eventfd, 64);
	close(fd);
	return ticks;
}

/* ---- memory ----------------------------------------------------------------------- */

static double touch(struct vm *vm)
{
	const struct guest_args args = {
		.rip = PAYLOAD(payload_touch), .batches = 1, .operations = PAGES,
		.rbx = GPA_TOUCHED,
	};

	return (double)vm_measure(vm, &args) / PAGES;
}

/* The least of a few times that the guest writes to pages of a new slot. */
static double price_touch(struct vm *vm, bool present)
{
	void *memory = allocate(TOUCHED_SIZE);
	double least = 0;

	for (int i = 0; i < ROUNDS; i++) {
		double ticks;

		if (present)
			for (uint64_t at = 0; at < TOUCHED_SIZE; at += PAGE_SIZE)
				((volatile char *)memory)[at] = 1;
		else
			madvise(memory, TOUCHED_SIZE, MADV_DONTNEED);
		vm->hypervisor->memory(vm, GPA_TOUCHED, TOUCHED_SIZE, memory, false);
		ticks = touch(vm);
		least = !i || ticks < least ? ticks : least;
		vm->hypervisor->memory(vm, GPA_TOUCHED, 0, memory, false);
	}
	munmap(memory, TOUCHED_SIZE);
	return least;
}

/* Writes to pages that are logged, and reading such a log in which each page is. */
static void measure_dirty(struct vm *vm, result_fn result)
{
	void *memory = allocate(TOUCHED_SIZE);
	double page = 0, round = 0;

	vm->hypervisor->memory(vm, GPA_TOUCHED, TOUCHED_SIZE, memory, true);
	touch(vm);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t began = ticks();
		double took;

		vm->hypervisor->dirty(vm, TOUCHED_SIZE);
		took = (double)(ticks() - began) / PAGES;
		round = !i || took < round ? took : round;
		took = touch(vm);
		page = !i || took < page ? took : page;
	}
	vm->hypervisor->memory(vm, GPA_TOUCHED, 0, memory, false);
	munmap(memory, TOUCHED_SIZE);
	result("dirty_page", page);
	result("dirty_round", round);
}

/* ---- reset --------------------------------------------------------------------------- */

#define PAGES_RESET 1024

/* The least of a few times that a machine goes back, of which the guest has written so many pages. */
static double price_reset(struct vm *vm, uint64_t pages)
{
	const struct guest_args args = {
		.rip = PAYLOAD(payload_touch), .batches = 1, .operations = pages, .rbx = GPA_TOUCHED,
	};
	double least = 0;

	for (int i = 0; i < 2 * ROUNDS; i++) {
		uint64_t began, took;

		if (pages)
			vm_measure(vm, &args);
		began = ticks();
		if (mote_machine_reset(mote_machine_of(vm)) < (long)pages)
			fail("mote_machine_reset");
		took = ticks() - began;
		least = !i || took < least ? took : least;
	}
	return least;
}

static void measure_reset(struct vm *vm, result_fn result)
{
	struct mote_cpu *cpu = mote_cpu_of(vm);
	void *memory = allocate(TOUCHED_SIZE);
	double none;

	vm->hypervisor->memory(vm, GPA_TOUCHED, TOUCHED_SIZE, memory, false);
	touch(vm);
	if (mote_machine_keep(mote_machine_of(vm), &cpu, 1))
		fail("mote_machine_keep");
	none = price_reset(vm, 0);
	result("reset", none);
	result("reset_page", (price_reset(vm, PAGES_RESET) - none) / PAGES_RESET);
	mote_machine_forget(mote_machine_of(vm));
	vm->hypervisor->memory(vm, GPA_TOUCHED, 0, memory, false);
	munmap(memory, TOUCHED_SIZE);
}

/* ---- answered by a BPF program ------------------------------------------------------ */

#define NR(array) (sizeof(array) / sizeof((array)[0]))

/* As one of a compiler's would be: it looks whose exit it is, and of which kind. */
#define POLICY(of_kind, ...) {								\
	POLICY_BEGIN,									\
	BPF_INSN(BPF_LDX | BPF_MEM | BPF_W, 1, 6, FIELD(kind), 0),			\
	BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, 1, 0, POLICY_LEAVE, of_kind),		\
	__VA_ARGS__,									\
	POLICY_SET(BPF_W, action, MOTE_POLICY_COMPLETE),				\
	POLICY_END,									\
}

static double price_policy(struct vm *vm, struct bpf_insn *insns, unsigned int nr,
			   const unsigned char *entry)
{
	int link = policy_attach(insns, nr);
	double price;

	if (link < 0)
		fail("a policy");
	price = vm_price(vm, entry, 32);
	close(link);
	return price;
}

static void measure_policies(struct vm *vm, result_fn result)
{
	struct bpf_insn cpuid[] = POLICY(MOTE_FILTER_CPUID,
		POLICY_SET(BPF_DW, gpr[MOTE_RAX], 1), POLICY_SET(BPF_DW, gpr[MOTE_RBX], 2),
		POLICY_SET(BPF_DW, gpr[MOTE_RCX], 3), POLICY_SET(BPF_DW, gpr[MOTE_RDX], 4));
	struct bpf_insn port[] = POLICY(MOTE_FILTER_PORT,
		BPF_INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 6, FIELD(number), 0),
		BPF_INSN(BPF_JMP | BPF_JNE | BPF_K, 1, 0, POLICY_LEAVE, PORT_USER));

	if (is_wanted("cpuid_policy"))
		result("cpuid_policy", price_policy(vm, cpuid, NR(cpuid), payload_cpuid));
	if (is_wanted("port_policy"))
		result("port_policy", price_policy(vm, port, NR(port), payload_port_out));
}

/* ---- watched memory ------------------------------------------------------------------ */

/* Writes to a page that is watched, each told to user space, or answered by a BPF program. */
static void measure_watches(struct vm *vm, result_fn result)
{
	struct mote_watch watch = { .gpa = GPA_MMIO, .size = PAGE_SIZE, .access = MOTE_ACCESS_WRITE };
	struct bpf_insn pass[] = POLICY(MOTE_POLICY_WATCH, POLICY_SET(BPF_W, length, 0));
	void *memory = allocate(PAGE_SIZE);

	vm->hypervisor->memory(vm, GPA_MMIO, PAGE_SIZE, memory, false);
	if (mote_set_watch(mote_machine_of(vm)->fd, &watch))
		fail("MOTE_SET_WATCH");
	if (is_wanted("watch"))
		result("watch", vm_price(vm, payload_mmio_write, 16));
	if (is_wanted("watch_policy"))
		result("watch_policy", price_policy(vm, pass, NR(pass), payload_mmio_write));
	watch.access = 0;
	mote_set_watch(mote_machine_of(vm)->fd, &watch);
	vm->hypervisor->memory(vm, GPA_MMIO, 0, memory, false);
	munmap(memory, PAGE_SIZE);
}

/* ---- the guest's own code ---------------------------------------------------------- */

/* Two instructions a turn, and what the host's timer interrupts take from them. */
#define TURNS 20000000

static double price_code(struct vm *vm)
{
	const struct guest_args args = {
		.rip = PAYLOAD(payload_empty), .batches = 1, .operations = TURNS,
	};

	return (double)vm_measure(vm, &args) / (2.0 * TURNS);
}

/* What is not a mere operation. */
static void measure_memory_rows(struct vm *vm, result_fn result)
{
	if (is_wanted("touch_present"))
		result("touch_present", price_touch(vm, true));
	if (is_wanted("touch_absent"))
		result("touch_absent", price_touch(vm, false));
	if (is_wanted("dirty"))
		measure_dirty(vm, result);
	if (is_wanted("reset") && vm->hypervisor == &hypervisor_mote)
		measure_reset(vm, result);
}

void measure_rows(const struct hypervisor *hypervisor, result_fn result)
{
	bool is_vmx = mote_cpuid_vendor() == MOTE_VENDOR_VMX;
	struct vm vm;

	vm_create(&vm, hypervisor);
	for (unsigned int i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (is_wanted(rows[i].name))
			result(rows[i].name, vm_price(&vm, rows[i].entry, rows[i].operations));
	if (is_wanted("hypercall"))
		result("hypercall", vm_price(&vm, is_vmx ? payload_vmcall : payload_vmmcall, 64));
	/* The host's kernel executes more for some exits once there was another thread. */
	if (hypervisor == &hypervisor_mote) {
		measure_policies(&vm, result);
		measure_watches(&vm, result);
	}
	if (is_wanted("woken"))
		result("woken", price_woken(&vm));
	if (is_wanted("eventfd"))
		result("eventfd", price_eventfd(&vm));
	measure_memory_rows(&vm, result);
	if (is_wanted("code"))
		result("code", price_code(&vm));
	vm_destroy(&vm);
}
