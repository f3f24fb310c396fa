// SPDX-License-Identifier: GPL-2.0
/*
 * A client of the KVM ABI, and of nothing else.  It says what it sees, which is the same on KVM and
 * on mote: kvm_clients.c runs it on both and compares.  What a host has more or less of is not said.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/kvm.h>

#define MEMORY 0x20000
#define CODE 0x1000
#define DEVICE 0x40000		/* no memory */
#define ROM 0x30000
#define PORT 0x3f0
#define VECTOR 0x40
#define VECTOR_DB 1
#define VECTOR_BP 3
#define DR7_GD (1u << 13)
#define CR0_PE 1u

static int kvm, vm, cpu, run_size;
static struct kvm_run *run;
static unsigned char *memory;
static volatile sig_atomic_t nr_signals;

static void fail(const char *what)
{
	printf("cannot %s: %s\n", what, strerror(errno));
	exit(1);
}

static int call(int fd, unsigned long request, void *argument, const char *what)
{
	int ret = ioctl(fd, request, argument);

	if (ret < 0)
		fail(what);
	return ret;
}

#define CALL(fd, request, argument) call(fd, request, (void *)(argument), #request)

/* What a call answers, where it may be an error. */
#define SHOW(fd, request, argument) show(ioctl(fd, request, argument), #request ", " #argument)
static void show(int ret, const char *what)
{
	printf("%s: %s\n", what, ret < 0 ? strerror(errno) : ret ? "more than 0" : "0");
}

/* ---- guests, in real mode at CODE ------------------------------------------------ */

#define GUEST(name, text)								\
	extern const unsigned char name[], name##_end[];				\
	asm(".pushsection .rodata\n" #name ": .code16\n" text "\n.code64\n" #name "_end:\n.popsection\n")

GUEST(guest_ports,
      "mov $0x3f0, %dx; mov $0x11223344, %eax; out %al, %dx; out %ax, %dx; out %eax, %dx\n"
      "mov $-1, %eax; in %dx, %al; mov %eax, %ebx; in %dx, %ax; mov %eax, %ecx; in %dx, %eax\n"
      "mov %eax, %esi; mov $0x2000, %di; push %cx; mov $3, %cx; cld; rep insb\n"
      "mov $0x2000, %si; mov $3, %cx; rep outsb; pop %cx; hlt; mov $0x77, %al; hlt");
GUEST(guest_memory,
      "mov $0x4000, %ax; mov %ax, %ds; mov $0x55, %al; mov %al, 0x10; mov 0x20, %ebx\n"
      "movl $0x12345678, 0x30; addw $3, 0x40; xor %eax, %eax; mov %ax, %es; mov $0x50, %si\n"
      "mov $0x3000, %di; mov $4, %cx; cld; rep movsb; mov $0x3000, %ax; mov %ax, %ds; mov 0, %dl\n"
      "movb $9, 1; hlt");
GUEST(guest_loop, "1: incl 0x3000; jmp 1b");
GUEST(guest_sti, "sti; 1: incl 0x3000; jmp 1b");
GUEST(guest_halts, "sti; 1: hlt; jmp 1b");
GUEST(guest_triple, "lidt 0x3000; int3");
GUEST(guest_says,
      "push %ax; mov $0x99, %al; out %al, $0x80; mov $0x20, %al; out %al, $0x20; pop %ax; iret");
GUEST(guest_ticks,
      "mov $0x11, %al; out %al, $0x20; mov $0x40, %al; out %al, $0x21; mov $4, %al; out %al, $0x21\n"
      "mov $1, %al; out %al, $0x21; mov $0xfe, %al; out %al, $0x21\n"
      "mov $0x34, %al; out %al, $0x43; mov $0, %al; out %al, $0x40; mov $0x10, %al; out %al, $0x40\n"
      "sti; 1: hlt; jmp 1b");
GUEST(guest_wrmsr,
      "mov $0xc0000102, %ecx; mov $0x1234, %eax; mov $0x5678, %edx; wrmsr\n"
      "mov $0x174, %ecx; rdmsr; mov $0x40000000, %eax; cpuid; hlt");
GUEST(guest_debugged,
      "nop; movb $0x55, 0x3000; cld; mov $0x3f0, %dx; in %dx, %al; mov $0x4000, %bx; mov %bx, %ds\n"
      "mov %al, 0x10; mov 0x10, %cl; xor %eax, %eax; cpuid; cli; mov %dr0, %esi; hlt; hlt");
GUEST(guest_int3, "int3; hlt");
GUEST(guest_dirty, "movb $1, 0x5000; movb $1, 0x9000; hlt");

#define LOAD(name) load(name, name##_end - name)
static void load(const unsigned char *code, size_t size)
{
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rsp = 0x800 };
	struct kvm_sregs sregs;

	memset(memory, 0, MEMORY);
	memcpy(memory + CODE, code, size);
	/* A handler, and the table's entries. */
	memcpy(memory + 0x1800, guest_says, guest_says_end - guest_says);
	memcpy(memory + 4 * VECTOR, (uint16_t[2]) { 0x1800, 0 }, 4);
	memcpy(memory + 4 * VECTOR_DB, (uint16_t[2]) { 0x1800, 0 }, 4);
	memcpy(memory + 4 * VECTOR_BP, (uint16_t[2]) { 0x1800, 0 }, 4);
	CALL(cpu, KVM_GET_SREGS, &sregs);
	sregs.cs.selector = sregs.cs.base = 0;
	sregs.ds = sregs.es = sregs.ss;
	CALL(cpu, KVM_SET_SREGS, &sregs);
	CALL(cpu, KVM_SET_REGS, &regs);
}

static void set_region(unsigned int slot, unsigned int flags, uint64_t gpa, uint64_t size, void *hva)
{
	const struct kvm_userspace_memory_region region = {
		.slot = slot, .flags = flags, .guest_phys_addr = gpa, .memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};

	CALL(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

static void make_vm(void)
{
	vm = CALL(kvm, KVM_CREATE_VM, 0);
	memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fail("have memory");
	set_region(0, 0, 0, MEMORY, memory);
}

static void set_cpuid(void)
{
	static struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} table;

	table.head.nent = 256;
	CALL(kvm, KVM_GET_SUPPORTED_CPUID, &table);
	CALL(cpu, KVM_SET_CPUID2, &table);
}

static void make_cpu(void)
{
	cpu = CALL(vm, KVM_CREATE_VCPU, 0);
	run = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	if (run == MAP_FAILED)
		fail("map a vCPU");
	set_cpuid();
}

static void end_vm(void)
{
	munmap(run, run_size);
	munmap(memory, MEMORY);
	close(cpu);
	close(vm);
}

/* ---- running --------------------------------------------------------------------- */

static void *io_data(void)
{
	return (char *)run + run->io.data_offset;
}

static void say_io(void)
{
	uint32_t data = 0;

	for (uint32_t i = 0; i < run->io.count; i++) {
		unsigned char *at = (unsigned char *)io_data() + i * run->io.size;

		if (run->io.direction == KVM_EXIT_IO_IN) {
			memcpy(at, "\x81\x82\x83\x84", run->io.size);
			printf("in 0x%x, %u\n", run->io.port, run->io.size);
		} else {
			memcpy(&data, at, run->io.size);
			printf("out 0x%x, %u: 0x%x\n", run->io.port, run->io.size, data);
		}
	}
}

static void say_mmio(void)
{
	printf("%s 0x%llx, %u:", run->mmio.is_write ? "write" : "read", run->mmio.phys_addr, run->mmio.len);
	for (uint32_t i = 0; i < run->mmio.len && run->mmio.is_write; i++)
		printf(" %02x", run->mmio.data[i]);
	putchar('\n');
	if (!run->mmio.is_write)
		for (uint32_t i = 0; i < run->mmio.len; i++)
			run->mmio.data[i] = 0xa0 + i;
}

/* Until the guest halts, or something ends it. */
static void go(void)
{
	for (;;) {
		if (ioctl(cpu, KVM_RUN, 0) < 0) {
			printf("KVM_RUN: %s\n", strerror(errno));
			return;
		}
		switch (run->exit_reason) {
		case KVM_EXIT_IO:
			say_io();
			break;
		case KVM_EXIT_MMIO:
			say_mmio();
			break;
		case KVM_EXIT_DEBUG:
			printf("debug %u at 0x%llx, dr6 0x%llx\n", run->debug.arch.exception,
			       run->debug.arch.pc, run->debug.arch.dr6);
			return;
		default:
			printf("exit %u\n", run->exit_reason);
			return;
		}
	}
}

static void say_registers(void)
{
	struct kvm_regs regs;

	CALL(cpu, KVM_GET_REGS, &regs);
	printf("rax %llx rbx %llx rcx %llx rdx %llx rsi %llx rdi %llx rip %llx rflags %llx\n", regs.rax,
	       regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rip, regs.rflags);
}

static void on_signal(int number)
{
	(void)number;
	nr_signals++;
	run->immediate_exit = 1;
}

/* ---- what is looked at ----------------------------------------------------------- */

static void test_ports(void)
{
	LOAD(guest_ports);
	go();
	say_registers();
	/* Behind the HLT. */
	go();
	say_registers();
}

static void test_memory(void)
{
	unsigned char *rom = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	rom[0] = 0x42;
	set_region(1, KVM_MEM_READONLY, ROM, 4096, rom);
	LOAD(guest_memory);
	go();
	say_registers();
	printf("%02x%02x%02x%02x, rom %02x %02x\n", memory[0x3000], memory[0x3001], memory[0x3002],
	       memory[0x3003], rom[0], rom[1]);
	set_region(1, 0, ROM, 0, rom);
	munmap(rom, 4096);
}

static void test_registers(void)
{
	struct kvm_debugregs debug;
	struct kvm_sregs sregs, again;
	struct kvm_xcrs xcrs;
	struct kvm_fpu fpu;

	LOAD(guest_wrmsr);
	CALL(cpu, KVM_GET_SREGS, &sregs);
	sregs.ds.base = 0x12340;
	sregs.ds.selector = 0x1234;
	sregs.cr2 = 0xabc;
	CALL(cpu, KVM_SET_SREGS, &sregs);
	CALL(cpu, KVM_GET_SREGS, &again);
	printf("sregs %s, cs %x %llx ds %x %llx limit %x type %u p %u, cr0 %llx\n",
	       memcmp(&sregs, &again, sizeof(sregs)) ? "differ" : "are the same", again.cs.selector,
	       again.cs.base, again.ds.selector, again.ds.base, again.ds.limit, again.ds.type,
	       again.ds.present, again.cr0);
	CALL(cpu, KVM_GET_FPU, &fpu);
	printf("fcw %x mxcsr %x\n", fpu.fcw, fpu.mxcsr);
	memset(fpu.xmm[3], 0x5a, 16);
	fpu.fcw = 0x27f;
	CALL(cpu, KVM_SET_FPU, &fpu);
	memset(&fpu, 0, sizeof(fpu));
	CALL(cpu, KVM_GET_FPU, &fpu);
	printf("fcw %x xmm3 %02x xmm4 %02x\n", fpu.fcw, fpu.xmm[3][15], fpu.xmm[4][0]);
	CALL(cpu, KVM_GET_XCRS, &xcrs);
	printf("xcrs %u: %llx\n", xcrs.nr_xcrs, xcrs.xcrs[0].value);
	CALL(cpu, KVM_GET_DEBUGREGS, &debug);
	debug.db[1] = 0x1000;
	CALL(cpu, KVM_SET_DEBUGREGS, &debug);
	CALL(cpu, KVM_GET_DEBUGREGS, &debug);
	printf("dr1 %llx dr6 %llx dr7 %llx\n", debug.db[1], debug.dr6, debug.dr7);
}

static void test_msrs(void)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[5];
	} msrs = { .head.nmsrs = 4, .entries = {
		{ .index = 0x174, .data = 0x8 }, { .index = 0x277, .data = 0x0007040600070406 },
		{ .index = 0xc0000081, .data = 0x23001000000000 }, { .index = 0x200, .data = 6 } } };

	LOAD(guest_wrmsr);
	printf("set %d\n", CALL(cpu, KVM_SET_MSRS, &msrs));
	go();
	say_registers();
	msrs.entries[3].index = 0xc0000102;
	msrs.entries[4].index = 0xdead;
	msrs.head.nmsrs = 5;
	printf("got %d of 5: %llx %llx %llx %llx\n", CALL(cpu, KVM_GET_MSRS, &msrs), msrs.entries[0].data,
	       msrs.entries[1].data, msrs.entries[2].data, msrs.entries[3].data);
	/* Of an APIC that is not there nothing is kept. */
	msrs.head.nmsrs = 1;
	msrs.entries[0] = (struct kvm_msr_entry) { .index = 0x6e0, .data = 1 };
	printf("set the deadline %d\n", CALL(cpu, KVM_SET_MSRS, &msrs));
	printf("got the deadline %d: %llx\n", CALL(cpu, KVM_GET_MSRS, &msrs), msrs.entries[0].data);
}

static void test_shutdown(void)
{
	LOAD(guest_triple);
	go();
}

static void test_dirty(void)
{
	uint64_t bitmap = 0;
	struct kvm_dirty_log log = { .slot = 0, .dirty_bitmap = &bitmap };

	set_region(0, KVM_MEM_LOG_DIRTY_PAGES, 0, MEMORY, memory);
	LOAD(guest_dirty);
	CALL(vm, KVM_GET_DIRTY_LOG, &log);
	go();
	CALL(vm, KVM_GET_DIRTY_LOG, &log);
	printf("dirty %llx\n", (unsigned long long)bitmap & 0x220);
	CALL(vm, KVM_GET_DIRTY_LOG, &log);
	printf("dirty %llx\n", (unsigned long long)bitmap);
	set_region(0, 0, 0, MEMORY, memory);
}

static void test_interrupt(void)
{
	const struct kvm_interrupt interrupt = { .irq = VECTOR };

	LOAD(guest_sti);
	run->request_interrupt_window = 1;
	go();
	printf("ready %u if %u\n", run->ready_for_interrupt_injection, run->if_flag);
	run->request_interrupt_window = 0;
	CALL(cpu, KVM_INTERRUPT, &interrupt);
	CALL(cpu, KVM_RUN, 0);
	printf("exit %u port 0x%x\n", run->exit_reason, run->io.port);
}

static void *send_signal(void *argument)
{
	/* The guest counts: it is there. */
	while (!*(volatile uint32_t *)(memory + 0x3000))
		;
	pthread_kill(*(pthread_t *)argument, SIGUSR1);
	return NULL;
}

static void test_signals(void)
{
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t thread, self = pthread_self();

	LOAD(guest_loop);
	run->immediate_exit = 1;
	go();
	run->immediate_exit = 0;
	sigaction(SIGUSR1, &action, NULL);
	pthread_create(&thread, NULL, send_signal, &self);
	go();
	pthread_join(thread, NULL);
	run->immediate_exit = 0;
	printf("signals: %d, the guest has counted: %d\n", (int)nr_signals,
	       *(uint32_t *)(memory + 0x3000) > 0);
}

/* A mask of the run's own: the signal ends it, and stays pending. */
static void test_signal_mask(void)
{
	struct {
		struct kvm_signal_mask head;
		uint64_t set;
	} mask = { .head.len = 8 };
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	LOAD(guest_loop);
	nr_signals = 0;
	CALL(cpu, KVM_SET_SIGNAL_MASK, &mask);
	raise(SIGUSR1);
	go();
	printf("handlers: %d, waited for: %d\n", (int)nr_signals, sigwaitinfo(&set, &info) == SIGUSR1);
	CALL(cpu, KVM_SET_SIGNAL_MASK, 0);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	run->immediate_exit = 0;
}

static void test_events(void)
{
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;

	LOAD(guest_halts);
	CALL(cpu, KVM_GET_VCPU_EVENTS, &events);
	printf("events %u %u %u %u\n", events.exception.injected, events.interrupt.injected,
	       events.nmi.injected, events.nmi.masked);
	events.nmi.masked = 1;
	CALL(cpu, KVM_SET_VCPU_EVENTS, &events);
	CALL(cpu, KVM_GET_VCPU_EVENTS, &events);
	printf("masked %u\n", events.nmi.masked);
	events.nmi.masked = 0;
	CALL(cpu, KVM_SET_VCPU_EVENTS, &events);
	CALL(cpu, KVM_GET_MP_STATE, &mp_state);
	printf("mp state %u\n", mp_state.mp_state);
}

static void test_errors(void)
{
	struct kvm_userspace_memory_region region = { .slot = 5, .memory_size = 4095 };

	SHOW(vm, KVM_SET_USER_MEMORY_REGION, &region);
	SHOW(vm, KVM_SET_USER_MEMORY_REGION, (void *)8);
	SHOW(vm, KVM_CREATE_VCPU, 0);
	SHOW(vm, KVM_CREATE_VM, 0);
	SHOW(cpu, KVM_SET_REGS, NULL);
	SHOW(cpu, _IO(KVMIO, 0xee), 0);
	SHOW(kvm, KVM_RUN, 0);
	SHOW(kvm, KVM_CREATE_VM, 77);
	SHOW(kvm, KVM_CHECK_EXTENSION, 9999);
	SHOW(kvm, KVM_CHECK_EXTENSION, KVM_CAP_USER_MEMORY);
}

static void test_descriptors(void)
{
	struct kvm_regs regs;
	int copy = dup(cpu), other = fcntl(cpu, F_DUPFD_CLOEXEC, 100);

	printf("dup: %d, fcntl: %d, ", ioctl(copy, KVM_GET_REGS, &regs), ioctl(other, KVM_GET_REGS, &regs));
	close(copy);
	printf("closed: %d, ", ioctl(copy, KVM_GET_REGS, &regs));
	copy = dup2(0, other);
	printf("another's: %d\n", ioctl(copy, KVM_GET_REGS, &regs));
	close(copy);
}

/* What a child inherits is of no use to it, and it can let go of it. */
static void test_fork(void)
{
	struct kvm_regs regs;
	int status = 0;
	pid_t child = fork();

	if (!child) {
		SHOW(cpu, KVM_GET_REGS, &regs);
		SHOW(vm, KVM_CREATE_VCPU, 3);
		printf("closed %d %d\n", close(cpu), close(vm));
		_exit(3);
	}
	waitpid(child, &status, 0);
	printf("the child's status: %d, ", WEXITSTATUS(status));
	SHOW(cpu, KVM_GET_REGS, &regs);
}

/* ---- interrupt controllers ------------------------------------------------------- */

/* An APIC that is on, in virtual wire mode. */
static void enable_apic(void)
{
	struct kvm_lapic_state lapic;

	CALL(cpu, KVM_GET_LAPIC, &lapic);
	memcpy(lapic.regs + 0xf0, &(uint32_t) { 0x1ff }, 4);
	memcpy(lapic.regs + 0x350, &(uint32_t) { 0x700 }, 4);
	CALL(cpu, KVM_SET_LAPIC, &lapic);
	memset(&lapic, 0, sizeof(lapic));
	CALL(cpu, KVM_GET_LAPIC, &lapic);
	printf("svr %x lvt0 %x\n", *(uint32_t *)(lapic.regs + 0xf0), *(uint32_t *)(lapic.regs + 0x350));
}

static void test_split(void)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry;
	} routing = { .head.nr = 1, .entry = { .gsi = 30, .type = KVM_IRQ_ROUTING_MSI } };
	struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = 24 };
	struct kvm_msi msi = { .address_lo = 0xfee00000, .data = VECTOR };
	int fd = eventfd(0, EFD_NONBLOCK);
	struct kvm_irqfd irqfd = { .fd = fd, .gsi = 30 };
	struct kvm_ioeventfd io = {
		.addr = 0x80, .len = 1, .fd = eventfd(0, EFD_NONBLOCK), .flags = KVM_IOEVENTFD_FLAG_PIO,
	};
	eventfd_t times = 0;

	make_vm();
	CALL(vm, KVM_ENABLE_CAP, &cap);
	make_cpu();
	LOAD(guest_halts);
	enable_apic();
	printf("msi %d\n", CALL(vm, KVM_SIGNAL_MSI, &msi));
	CALL(cpu, KVM_RUN, 0);
	printf("exit %u port 0x%x\n", run->exit_reason, run->io.port);
	routing.entry.u.msi.address_lo = 0xfee00000;
	routing.entry.u.msi.data = VECTOR;
	CALL(vm, KVM_SET_GSI_ROUTING, &routing);
	CALL(vm, KVM_IRQFD, &irqfd);
	end_vm();

	/* A VM for each: what has come before is not ended. */
	make_vm();
	CALL(vm, KVM_ENABLE_CAP, &cap);
	make_cpu();
	LOAD(guest_halts);
	enable_apic();
	CALL(vm, KVM_SET_GSI_ROUTING, &routing);
	CALL(vm, KVM_IRQFD, &irqfd);
	SHOW(vm, KVM_IRQFD, &irqfd);
	eventfd_write(fd, 1);
	CALL(cpu, KVM_RUN, 0);
	printf("exit %u port 0x%x\n", run->exit_reason, run->io.port);
	irqfd.flags = KVM_IRQFD_FLAG_DEASSIGN;
	CALL(vm, KVM_IRQFD, &irqfd);
	CALL(vm, KVM_IOEVENTFD, &io);
	LOAD(guest_ports);
	memcpy(memory + CODE, "\xe6\x80\xe6\x81", 4);	/* out %al, $0x80; out %al, $0x81 */
	CALL(cpu, KVM_RUN, 0);
	printf("exit %u port 0x%x, told %d", run->exit_reason, run->io.port, eventfd_read(io.fd, &times));
	printf(" %d\n", (int)times);
	close(fd);
	close(io.fd);
	end_vm();
}

static void test_full(void)
{
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	int nr = 0;

	make_vm();
	CALL(vm, KVM_CREATE_IRQCHIP, 0);
	SHOW(vm, KVM_CREATE_IRQCHIP, 0);
	CALL(vm, KVM_CREATE_PIT2, &pit);
	make_cpu();
	LOAD(guest_ticks);
	enable_apic();
	while (nr < 5) {
		CALL(cpu, KVM_RUN, 0);
		if (run->exit_reason != KVM_EXIT_IO || run->io.port != 0x80)
			break;
		nr++;
	}
	printf("ticks %d\n", nr);
	CALL(vm, KVM_GET_IRQCHIP, &chip);
	printf("pic: imr %x base %x elcr mask %x\n", chip.chip.pic.imr, chip.chip.pic.irq_base,
	       chip.chip.pic.elcr_mask);
	chip.chip.pic.imr = 0xfd;
	CALL(vm, KVM_SET_IRQCHIP, &chip);
	memset(&chip.chip, 0, sizeof(chip.chip));
	CALL(vm, KVM_GET_IRQCHIP, &chip);
	printf("pic: imr %x\n", chip.chip.pic.imr);
	chip.chip_id = KVM_IRQCHIP_IOAPIC;
	CALL(vm, KVM_GET_IRQCHIP, &chip);
	printf("ioapic at %llx, entry %llx\n", chip.chip.ioapic.base_address,
	       chip.chip.ioapic.redirtbl[5].bits);
	chip.chip.ioapic.redirtbl[5].bits = VECTOR;
	CALL(vm, KVM_SET_IRQCHIP, &chip);
	LOAD(guest_halts);
	CALL(vm, KVM_IRQ_LINE, (&(struct kvm_irq_level) { .irq = 5, .level = 1 }));
	CALL(cpu, KVM_RUN, 0);
	printf("exit %u port 0x%x\n", run->exit_reason, run->io.port);
	test_fork();
	end_vm();
}

static void debug(uint32_t control, uint64_t dr0, uint64_t dr7)
{
	const struct kvm_guest_debug debug = {
		.control = control, .arch.debugreg = { [0] = dr0, [7] = dr7 },
	};

	CALL(cpu, KVM_SET_GUEST_DEBUG, &debug);
}

#define BREAK(dr0, dr7) debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP, dr0, dr7)

static void with_debugger(void)
{
	struct kvm_debugregs own = { .db[0] = 0x1234, .dr6 = 0xffff0ff0, .dr7 = 0x400 };
	struct kvm_regs regs;

	make_vm();
	make_cpu();
	LOAD(guest_debugged);
	CALL(cpu, KVM_SET_DEBUGREGS, &own);
	BREAK(CODE + 1, 0x402);
	go();
	CALL(cpu, KVM_GET_DEBUGREGS, &own);
	printf("the guest's: %llx %llx %llx\n", own.db[0], own.dr6, own.dr7);
	BREAK(0x3000, 0x10402);
	go();
	/* Up to MOV from DR0; some need the client in their middle. */
	for (int i = 0; i < 10; i++) {
		debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP | KVM_GUESTDBG_BLOCKIRQ, 0, 0);
		go();
	}
	BREAK(0, 0x400 | DR7_GD);
	go();
	debug(0, 0, 0);
	go();
	CALL(cpu, KVM_GET_REGS, &regs);
	printf("its DR0: %llx\n", regs.rsi);
	debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP, 0, 0);
	go();
	LOAD(guest_dirty);
	debug(KVM_GUESTDBG_INJECT_DB, 0, 0);
	go();
	end_vm();
}

/* An INT3 that is the debugger's, and then the guest's own. */
static void with_int3(void)
{
	make_vm();
	make_cpu();
	LOAD(guest_int3);
	debug(KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP, 0, 0);
	go();
	debug(KVM_GUESTDBG_INJECT_BP, 0, 0);
	go();
	end_vm();
}

/* General registers by struct kvm_run. */
static void test_sync(void)
{
	LOAD(guest_wrmsr);
	run->kvm_valid_regs = KVM_SYNC_X86_REGS | KVM_SYNC_X86_SREGS;
	CALL(cpu, KVM_GET_REGS, &run->s.regs.regs);
	run->s.regs.regs.rbx = 0x5151;
	run->s.regs.regs.rip = CODE + guest_wrmsr_end - guest_wrmsr - 1;
	run->kvm_dirty_regs = KVM_SYNC_X86_REGS;
	go();
	say_registers();
	printf("synced: rbx %llx rip %llx cs %x\n", run->s.regs.regs.rbx, run->s.regs.regs.rip,
	       run->s.regs.sregs.cs.selector);
	run->kvm_valid_regs = 0x80;
	SHOW(cpu, KVM_RUN, 0);
	run->kvm_valid_regs = 0;
}

/* Of a guest that has run. */
static void test_cpuid_stays(void)
{
	struct {
		struct kvm_cpuid2 head;
		struct kvm_cpuid_entry2 entries[256];
	} table = { .head.nent = 256 };

	CALL(cpu, KVM_GET_CPUID2, &table);
	table.entries[0].ebx++;
	SHOW(cpu, KVM_SET_CPUID2, &table);
}

static void test_limits(void)
{
	struct kvm_enable_cap cap = { .cap = KVM_CAP_MAX_VCPU_ID, .args[0] = 2 };
	struct kvm_sregs sregs;

	make_vm();
	CALL(vm, KVM_ENABLE_CAP, &cap);
	SHOW(vm, KVM_CREATE_VCPU, 2);
	make_cpu();
	cap.args[0] = 3;
	SHOW(vm, KVM_ENABLE_CAP, &cap);
	CALL(cpu, KVM_GET_SREGS, &sregs);
	/* Nobody has this bit. */
	sregs.cr4 |= 1u << 31;
	SHOW(cpu, KVM_SET_SREGS, &sregs);
	end_vm();
}

static void with_client_apic(void)
{
	make_vm();
	make_cpu();
	test_ports();
	test_memory();
	test_registers();
	test_msrs();
	test_dirty();
	test_interrupt();
	test_signals();
	test_signal_mask();
	test_events();
	test_errors();
	test_descriptors();
	test_sync();
	test_cpuid_stays();
	test_fork();
	/* Of which Bochs panics on the hardware that it shows as svm-full. */
	if (!getenv("NO_TRIPLE_FAULT"))
		test_shutdown();
	end_vm();
}

/* What mote has not, and KVM may have. */
static void want(void)
{
	make_vm();
	make_cpu();
	SHOW(cpu, KVM_SMI, 0);
	SHOW(cpu, KVM_SMI, 0);
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		fail("open /dev/kvm");
	run_size = CALL(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (argc > 1) {
		if (!strcmp(argv[1], "debugger"))
			with_debugger();
		else if (!strcmp(argv[1], "int3"))
			with_int3();
		else
			want();
		return 0;
	}
	printf("version %d\n", CALL(kvm, KVM_GET_API_VERSION, 0));
	with_client_apic();
	test_limits();
	test_split();
	test_full();
	puts("end");
	return 0;
}
