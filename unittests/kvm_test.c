// SPDX-License-Identifier: GPL-2.0
/*
 * The KVM ABI's hostile clients: every call, with any argument, in any order, on descriptors that
 * come and go, over a module that answers anything.  What they get is a result or an errno.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests.h"
#include "../userspace/kvm/shim.h"
#include "../userspace/kvm/interpose.h"

#define ARENA (256 * 1024)
#define NR_FDS 8
#define ROUNDS 200000

static unsigned char *arena, *edge;
static uint64_t seed = 1;
__thread struct shim_vcpu *current_vcpu;

static uint32_t chance(uint32_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % below;
}

/* Numbers as those who look for holes choose them. */
static uint64_t number(void)
{
	static const uint64_t edges[] = {
		0, 1, 2, 24, 31, 0x10, 0x1b, 0x200, 255, 256, 4095, 4096, 0x10000, 0xfee00000, 0xfec00000,
		0x7fffffff, 0x80000000, 0xffffffff, 1ull << 32, 1ull << 47, 1ull << 63, ~0ull,
		0xfffffffffffff000,
	};

	return chance(4) ? edges[chance(ARRAY_SIZE(edges))] : (uint64_t)chance(~0u) << 32 | chance(~0u);
}

static void fill(void *to, size_t size)
{
	for (size_t i = 0; i + 8 <= size; i += 8)
		memcpy((char *)to + i, &(uint64_t) { chance(3) ? number() : 0 }, 8);
}

/* ---- a module that answers anything ---------------------------------------------- */

/* But what a test has it do. */
static void (*script)(struct mote_run *run);
static bool answers_well;

static int any_error(void)
{
	static const int errors[] = { -EINVAL, -ENOMEM, -EINTR, -EIO, -EBUSY, -EAGAIN, -ENOENT, -ENOSPC };

	return answers_well || chance(8) ? 0 : errors[chance(ARRAY_SIZE(errors))];
}

int mote_open(void)
{
	return memfd_create("mote", MFD_CLOEXEC);
}

int mote_get_info(int fd, struct mote_info *info)
{
	(void)fd;
	*info = (struct mote_info) {
		.max_vcpus = 1024, .max_slots = 1024, .tsc_khz = 1000000, .xcr0 = 7, .cr4 = 0x370fff,
		.efer = 0xd01,
	};
	return any_error();
}

int mote_create_vm(int fd, const struct mote_vm_config *config)
{
	int err = any_error();

	(void)fd;
	(void)config;
	return err ? err : memfd_create("vm", MFD_CLOEXEC);
}

int mote_set_slot(int vm, const struct mote_slot *slot)
{
	uint64_t from = slot->hva - (uintptr_t)arena;

	(void)vm;
	if (slot->size && (from >= ARENA || slot->size > ARENA - from || slot->size % 4096 ||
			   slot->gpa % 4096 || slot->gpa >> 40))
		return -EINVAL;
	return any_error();
}

int mote_get_dirty(int vm, const struct mote_dirty *dirty)
{
	(void)vm;
	fill((void *)(uintptr_t)dirty->bitmap, (dirty->nr + 63) / 64 * 8);
	return any_error();
}

int mote_set_filter(int vm, const struct mote_filter *filter)
{
	(void)vm;
	(void)filter;
	return 0;
}

int mote_create_vcpu(int vm, const struct mote_vcpu_config *config)
{
	int fd = memfd_create("vcpu", MFD_CLOEXEC);

	(void)vm;
	if (config->id > 1023 || ftruncate(fd, MOTE_RUN_SIZE)) {
		close(fd);
		return -EINVAL;
	}
	return fd;
}

/* The exits are those that there can be; what is in them is anything. */
int mote_run(int vcpu)
{
	static const unsigned int sizes[] = { 1, 2, 4 };
	struct mote_run *run = current_vcpu->cpu.run;

	(void)vcpu;
	if (script) {
		script(run);
		run->set = 0;
		return 0;
	}
	run->set = 0;
	if (run->immediate_exit || !chance(4)) {
		current_vcpu->interrupted = true;
		return -EINTR;
	}
	fill(run->gpr, sizeof(run->gpr));
	run->reason = chance(MOTE_NR_EXITS + 2);
	if (!current_vcpu->guest_debug.control &&
	    (run->reason == MOTE_EXIT_EXCEPTION || run->reason == MOTE_EXIT_DR))
		run->reason = MOTE_EXIT_HLT;
	run->rip = chance(ARENA);
	run->next_rip = run->rip + 2;
	run->rflags = chance(2) ? 2 : number();
	run->mode = (struct mote_cpu_mode) { .cr0 = chance(2), .cs_attr = 0x9b };
	if (run->reason == MOTE_EXIT_PIO)
		run->pio = (struct mote_pio) {
			.port = chance(0x500), .size = sizes[chance(3)], .flags = chance(8),
		};
	else if (run->reason == MOTE_EXIT_MMIO)
		run->memory = (struct mote_memory) { .gpa = number(), .access = 1 + chance(2) };
	else
		fill(run->reserved, sizeof(run->reserved));
	return any_error();
}

int mote_get_state(int vcpu, struct mote_state *state)
{
	uint32_t mask = state->mask, size = state->xsave_size;
	uint64_t xsave = state->xsave;

	(void)vcpu;
	fill(state, sizeof(*state));
	if (mask & MOTE_STATE_XSAVE)
		fill((void *)(uintptr_t)xsave, size);
	state->mask = mask;
	state->xsave_size = 832;
	return any_error();
}

int mote_set_state(int vcpu, const struct mote_state *state)
{
	(void)vcpu;
	(void)state;
	return any_error();
}

int mote_set_debug(int vcpu, const struct mote_debug *debug)
{
	(void)vcpu;
	CHECK(!(debug->exceptions & MOTE_DEBUG_NEVER));
	return any_error();
}

int mote_set_cpuid(int vcpu, const struct mote_cpuid_table *table)
{
	(void)vcpu;
	CHECK(table->nr <= MOTE_MAX_CPUID);
	return any_error();
}

int mote_get_cpuid(int fd, struct mote_cpuid_table *table)
{
	(void)fd;
	table->nr = chance(table->nr + 2);
	return any_error();
}

int mote_inject(int vcpu, const struct mote_event *event)
{
	(void)vcpu;
	(void)event;
	return any_error();
}

int mote_msi(int vm, const struct mote_msi *msi)
{
	(void)vm;
	(void)msi;
	return chance(2) ? (int)chance(2) : any_error();
}

int mote_irqfd(int vm, const struct mote_irqfd *irqfd)
{
	(void)vm;
	(void)irqfd;
	return any_error();
}

int mote_ioeventfd(int vm, const struct mote_ioeventfd *ioeventfd)
{
	(void)vm;
	(void)ioeventfd;
	return any_error();
}

int mote_get_clock(int vm, struct mote_clock_value *value)
{
	(void)vm;
	*value = (struct mote_clock_value) { .ns = number() };
	return any_error();
}

int mote_set_clock(int vm, const struct mote_clock_value *value)
{
	(void)vm;
	(void)value;
	return any_error();
}

int mote_apic_access(int vcpu, struct mote_apic_access *access)
{
	(void)vcpu;
	access->value = number();
	access->eoi = chance(3) ? -1 : (int)chance(256);
	return any_error();
}

unsigned int mote_cpuid_vendor(void)
{
	return MOTE_VENDOR_SVM;
}

/* ---- what interpose.c and signals.c are for a client ----------------------------- */

void signals_take(void)
{
}

void signals_open(void)
{
}

static int fds[NR_FDS];

static int call(int fd, unsigned long request, unsigned long argument)
{
	struct object *object = object_get(fd);
	int ret = -EBADF;

	if (!object)
		return ret;
	ret = shim_ioctl(object, request, argument);
	object_put(object);
	return ret;
}

static void end(int which)
{
	if (fds[which] < 0)
		return;
	object_forget(fds[which]);
	close(fds[which]);
	fds[which] = -1;
}

/* Keep a new descriptor, in the place of one of the others; the first is /dev/kvm. */
static int keep(int fd)
{
	int which = 1 + chance(NR_FDS - 1);

	if (fd < 0)
		return fd;
	end(which);
	fds[which] = fd;
	return 0;
}

/* ---- clients --------------------------------------------------------------------- */

static int any_fd(void)
{
	return fds[chance(NR_FDS)];
}

/* Where an argument is: on the last bytes of a page, in the middle of memory, nowhere. */
static unsigned long any_argument(size_t size)
{
	switch (chance(8)) {
	case 0:
		return number();
	case 1:
		return (uintptr_t)edge - chance(size + 16);
	}
	fill(arena, 8192);
	/* Counts are what they have to be, as a rule: else none gets further. */
	if (chance(2))
		memcpy(arena, (uint32_t[]) { chance(40), 0 }, 8);
	return (uintptr_t)arena;
}

static int good_region(void)
{
	struct kvm_userspace_memory_region region = {
		.slot = chance(4), .flags = chance(4), .guest_phys_addr = chance(64) * 4096,
		.memory_size = chance(4) ? ARENA : 0, .userspace_addr = (uintptr_t)arena,
	};

	return call(any_fd(), KVM_SET_USER_MEMORY_REGION, (uintptr_t)&region);
}

static int good_eventfd(int fd)
{
	const struct kvm_irqfd irqfd = { .fd = fd, .gsi = chance(32), .flags = chance(2) };
	const struct kvm_ioeventfd io = {
		.fd = fd, .addr = chance(8), .len = 1 << chance(3), .flags = chance(8),
	};

	eventfd_write(fd, 1);
	return chance(2) ? call(any_fd(), KVM_IRQFD, (uintptr_t)&irqfd) :
			   call(any_fd(), KVM_IOEVENTFD, (uintptr_t)&io);
}

static int good_split(void)
{
	const struct kvm_enable_cap cap = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = 24 };

	return call(any_fd(), KVM_ENABLE_CAP, (uintptr_t)&cap);
}

/* A call of the table, or anything with KVM's type. */
static unsigned long any_request(void)
{
	if (chance(16))
		return shim_call(chance(shim_nr_calls()));
	return _IOC(chance(4), KVMIO, chance(256), chance(1 << 14));
}

static int any_call(int event)
{
	unsigned long request;

	switch (chance(16)) {
	case 0:
		return keep(call(fds[0], KVM_CREATE_VM, 0));
	case 1:
		return keep(call(any_fd(), KVM_CREATE_VCPU, chance(4)));
	case 2:
		return good_region();
	case 3:
		return good_eventfd(event);
	case 4:
		return good_split();
	case 5:
		return call(any_fd(), KVM_CREATE_IRQCHIP, 0);
	case 6:
		end(1 + chance(NR_FDS - 1));
		return 0;
	case 7:
	case 8:
		return call(any_fd(), KVM_RUN, 0);
	}
	request = any_request();
	if (request == KVM_CREATE_VM || request == KVM_CREATE_VCPU)
		return 0;
	return call(any_fd(), request, any_argument(_IOC_SIZE(request)));
}

static unsigned int count_fds(void)
{
	unsigned int nr = 0;

	for (int fd = 0; fd < 2048; fd++)
		nr += fcntl(fd, F_GETFD) >= 0;
	return nr;
}

/* open() of /dev/kvm, where there is no /dev/mote. */
static void open_kvm(void)
{
	end(0);
	fds[0] = mote_open();
	object_bind(fds[0], object_create(KIND_SYSTEM));
}

/* ---- clients that do what they should -------------------------------------------- */

static struct {
	unsigned int size;
	bool in;
	uint64_t rax, rip;
	uint32_t set;
} port;

/* It notes what has been completed, and does the next access. */
static void access_port(struct mote_run *run)
{
	port.rax = run->gpr[MOTE_RAX];
	port.rip = run->rip;
	port.set = run->set;
	run->reason = MOTE_EXIT_PIO;
	run->pio = (struct mote_pio) { .port = 0x70, .size = port.size, .flags = port.in ? MOTE_PIO_IN : 0 };
	run->gpr[MOTE_RAX] = 0x1122334455667788;
	run->rip = 0x100;
	run->next_rip = 0x102;
}

/* A port's data goes where the instruction says, and the guest goes on behind it, or elsewhere. */
static void ports(void)
{
	static const uint64_t loaded[] = {
		[1] = 0x11223344556677aa, [2] = 0x112233445566bbaa, [4] = 0xddccbbaa,
	};
	struct kvm_regs regs = { .rip = 0x2000 };
	struct kvm_run *run;
	int vm, cpu;

	open_kvm();
	answers_well = true;
	script = access_port;
	vm = call(fds[0], KVM_CREATE_VM, 0);
	cpu = call(vm, KVM_CREATE_VCPU, 0);
	run = mmap(NULL, RUN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
	for (port.size = 1; port.size <= 4; port.size *= 2) {
		port.in = true;
		EQ(0, call(cpu, KVM_RUN, 0));
		EQ(KVM_EXIT_IO, run->exit_reason);
		EQ(KVM_EXIT_IO_IN, run->io.direction);
		EQ(0x70, run->io.port);
		memcpy((char *)run + run->io.data_offset, "\xaa\xbb\xcc\xdd", 4);
		port.in = false;
		EQ(0, call(cpu, KVM_RUN, 0));
		EQ(loaded[port.size], port.rax);
		EQ(0x102, port.rip);
		EQ(1u << MOTE_RAX | MOTE_SET_RIP | MOTE_SET_COMPLETE, port.set);
		EQ(KVM_EXIT_IO_OUT, run->io.direction);
		CHECK(!memcmp((char *)run + run->io.data_offset, "\x88\x77\x66\x55", port.size));
	}
	/* A reset: the instruction counts no more. */
	EQ(0, call(cpu, KVM_SET_REGS, (uintptr_t)&regs));
	EQ(0, call(cpu, KVM_RUN, 0));
	EQ(0, port.set);
	script = NULL;
	answers_well = false;
	munmap(run, RUN_SIZE);
	object_forget(cpu);
	close(cpu);
	object_forget(vm);
	close(vm);
}

/* ---- and those that do not ------------------------------------------------------- */

/* Silent: what is not there would be said. */
static void hostile(void)
{
	int event = eventfd(0, EFD_NONBLOCK), error = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
	unsigned int before;

	dup2(null, STDERR_FILENO);
	open_kvm();
	/* What is there for good. */
	call(fds[0], KVM_CHECK_EXTENSION, 0);
	before = count_fds();
	for (int i = 0; i < ROUNDS; i++) {
		int ret = any_call(event);

		CHECK(ret > -4096);
	}
	for (int i = 1; i < NR_FDS; i++)
		end(i);
	EQ(before, count_fds());
	dup2(error, STDERR_FILENO);
	close(error);
	close(null);
	close(event);
}

/* Every row is refused, or answered, on each kind of descriptor, without any memory behind it. */
static void nowhere(void)
{
	int vm = -1;

	open_kvm();
	for (int i = 0; vm < 0 && i < 100; i++)
		vm = call(fds[0], KVM_CREATE_VM, 0);
	CHECK(vm >= 0);
	for (size_t i = 0; i < shim_nr_calls(); i++) {
		int on_kvm, on_vm;

		if (!_IOC_SIZE(shim_call(i)))
			continue;
		on_kvm = call(fds[0], shim_call(i), 8);
		on_vm = call(vm, shim_call(i), 8);
		CHECK(on_kvm < 0 && on_vm < 0);
	}
	object_forget(vm);
	close(vm);
}

static int nr_answers;

static void waits(void *argument)
{
	struct fiber *fiber = argument;

	for (int i = 0; i < 3; i++) {
		nr_answers++;
		fiber_wait(fiber);
	}
}

/* It goes on where it waited, ends once, and may begin anew in its middle. */
static void fibers(void)
{
	struct fiber fiber = { 0 };

	for (int round = 0; round < 3; round++) {
		EQ(0, fiber_start(&fiber, waits, &fiber));
		nr_answers = 0;
		for (int i = 1; i <= 3; i++) {
			fiber_enter(&fiber);
			EQ(i, nr_answers);
			CHECK(fiber.waits);
		}
		fiber_enter(&fiber);
		CHECK(!fiber.waits);
		EQ(0, fiber_start(&fiber, waits, &fiber));
		fiber_enter(&fiber);
		fiber_destroy(&fiber);
	}
}

/* A descriptor is what it was made, or copied; and nothing after its end. */
static void descriptors(void)
{
	struct object *object = object_create(KIND_SYSTEM), *got;

	object_bind(700, object);
	got = object_get(700);
	CHECK(got == object);
	object_put(got);
	object_copied(700, 5000);
	object_forget(700);
	CHECK(!object_get(700));
	got = object_get(5000);
	CHECK(got == object);
	object_put(got);
	object_forget_range(0, ~0u);
	CHECK(!object_get(5000) && !object_get(-1) && !object_get(1 << 20) && !object_get(1 << 30));
}

int main(void)
{
	static const struct unit_test tests[] = {
		{ "descriptors", descriptors },
		{ "fibers", fibers },
		{ "ports", ports },
		{ "arguments that are nowhere", nowhere },
		{ "hostile clients", hostile },
	};

	arena = mmap(NULL, ARENA + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	edge = arena + ARENA;
	mprotect(edge, 4096, PROT_NONE);
	memset(fds, -1, sizeof(fds));
	mote_fd = mote_open();
	return run_all(tests, ARRAY_SIZE(tests));
}
