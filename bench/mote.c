// SPDX-License-Identifier: GPL-2.0
/* The benchmark's guest under mote: by libmote, as a runner uses it. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include <complete.h>

#include "bench.h"

/**
 * struct mote - what it takes
 * @fd: /dev/mote
 * @machine: the VM
 * @cpu: the vCPU
 * @done: an OUT at PORT_DONE
 */
struct mote {
	int fd;
	struct mote_machine machine;
	struct mote_cpu cpu;
	bool done;
};

static void check(int err, const char *what)
{
	if (err >= 0)
		return;
	errno = -err;
	fail(what);
}

struct mote_machine *mote_machine_of(struct vm *vm)
{
	return &((struct mote *)vm->own)->machine;
}

struct mote_cpu *mote_cpu_of(struct vm *vm)
{
	return &((struct mote *)vm->own)->cpu;
}

static void set_cpuid(struct mote *mote)
{
	struct mote_cpuid_entry entries[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (uintptr_t)entries };

	check(mote_get_cpuid(mote->fd, &table), "mote_get_cpuid");
	check(mote_set_cpuid(mote->cpu.fd, &table), "MOTE_SET_CPUID");
}

static void create(struct vm *vm)
{
	struct mote *mote = calloc(1, sizeof(*mote));
	struct mote_slot slot = { .size = RAM_SIZE, .hva = (uintptr_t)vm->ram };

	vm->own = mote;
	if (!mote)
		fail("no memory");
	mote->fd = mote_open();
	check(mote->fd, MOTE_DEVICE);
	check(mote_machine_create(&mote->machine, mote->fd, MOTE_VM_LAPIC), "MOTE_CREATE_VM");
	check(mote_machine_set_slot(&mote->machine, &slot), "MOTE_SET_SLOT");
	check(mote_cpu_create(&mote->cpu, &mote->machine, 0), "MOTE_CREATE_VCPU");
	set_cpuid(mote);
}

static void destroy(struct vm *vm)
{
	struct mote *mote = vm->own;

	mote_cpu_destroy(&mote->cpu);
	mote_machine_destroy(&mote->machine);
	close(mote->fd);
	free(mote);
}

/* The guest has all state components, as an operating system's; see kvm.c. */
static void set_mode(struct mote *mote, struct mote_state *state)
{
	const struct mote_segment data = { .limit = ~0u, .selector = DATA, .attr = 0xc093 };
	struct mote_info info;

	for (int i = MOTE_ES; i <= MOTE_GS; i++)
		state->segs.seg[i] = data;
	state->segs.seg[MOTE_CS] = (struct mote_segment){
		.limit = ~0u, .selector = CODE64, .attr = 0xa09b,
	};
	state->segs.gdt = (struct mote_table){ .base = GPA_GDT, .limit = 0x17 };
	state->segs.idt = (struct mote_table){ .base = GPA_IDT, .limit = 0xfff };
	state->crs.cr0 = CR0;
	state->crs.cr3 = GPA_PML4;
	state->crs.cr4 = CR4;
	check(mote_get_info(mote->fd, &info), "MOTE_GET_INFO");
	if (info.xcr0 > 1)
		state->crs.cr4 |= CR4_OSXSAVE;
	state->crs.xcr0 = info.xcr0;
	state->crs.flags = 0;
	state->msrs.efer = EFER;
}

static void start(struct vm *vm, const struct guest_args *args)
{
	struct mote_state state = {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS,
	};
	struct mote *mote = vm->own;

	check(mote_get_state(mote->cpu.fd, &state), "MOTE_GET_STATE");
	state.gprs = (struct mote_gprs){
		.gpr = {
			[MOTE_RSP] = GPA_STACK, [MOTE_RBX] = args->rbx,
			[MOTE_R9] = args->operations, [MOTE_R10] = args->rax,
			[MOTE_R12] = GPA_RESULTS, [MOTE_R15] = args->batches,
		},
		.rip = args->rip, .rflags = 2,
	};
	set_mode(mote, &state);
	check(mote_set_state(mote->cpu.fd, &state), "MOTE_SET_STATE");
	mote->cpu.run->set = 0;
}

static uint64_t mmio_read(void *context, uint64_t gpa, unsigned int size)
{
	(void)context; (void)gpa; (void)size;
	return 0;
}

static void mmio_write(void *context, uint64_t gpa, unsigned int size, uint64_t data)
{
	(void)context; (void)gpa; (void)size; (void)data;
}

static uint32_t port_in(void *context, uint16_t port, unsigned int size)
{
	(void)context; (void)port; (void)size;
	return 0;
}

static void port_out(void *context, uint16_t port, unsigned int size, uint32_t data)
{
	struct mote *mote = context;

	(void)size; (void)data;
	mote->done = port == PORT_DONE;
}

static void run(struct vm *vm)
{
	struct mote *mote = vm->own;
	const struct mote_bus bus = { mote, (void *)mmio_read, (void *)mmio_write, port_in, port_out };

	mote->done = false;
	while (!mote->done) {
		int err = mote_run(mote->cpu.fd);

		if (err == -EINTR)
			continue;
		check(err, "MOTE_RUN");
		switch (mote->cpu.run->reason) {
		case MOTE_EXIT_PIO:
			check(mote_complete_pio(&mote->cpu, &bus), "completing port I/O");
			break;
		case MOTE_EXIT_MMIO:
			check(mote_complete_mmio(&mote->cpu, &bus), "completing MMIO");
			break;
		case MOTE_EXIT_WATCH:
			break;
		default:
			errno = 0;
			fail("the guest's exit");
		}
	}
}

static void memory(struct vm *vm, uint64_t gpa, uint64_t size, void *hva, bool log)
{
	struct mote_slot slot = { .slot = 1 };
	struct mote *mote = vm->own;

	if (size)
		slot = (struct mote_slot){
			.slot = 1, .flags = log ? MOTE_SLOT_LOG_DIRTY : 0, .gpa = gpa,
			.size = size, .hva = (uintptr_t)hva,
		};
	check(mote_machine_set_slot(&mote->machine, &slot), "MOTE_SET_SLOT");
}

static void dirty(struct vm *vm, uint64_t size)
{
	static uint64_t bitmap[TOUCHED_SIZE / PAGE_SIZE / 64];
	const struct mote_dirty arg = {
		.slot = 1, .nr = size / PAGE_SIZE, .bitmap = (uintptr_t)bitmap,
	};
	struct mote *mote = vm->own;

	check(mote_get_dirty(mote->machine.fd, &arg), "MOTE_GET_DIRTY");
}

static void doorbell(struct vm *vm, int fd)
{
	const struct mote_ioeventfd arg = { .fd = fd, .port = PORT_EVENTFD };
	struct mote *mote = vm->own;

	check(mote_ioeventfd(mote->machine.fd, &arg), "MOTE_IOEVENTFD");
}

static void interrupt(struct vm *vm)
{
	const struct mote_msi msi = { .address = 0xfee00000, .data = VECTOR };
	struct mote *mote = vm->own;

	check(mote_msi(mote->machine.fd, &msi), "MOTE_MSI");
}

const struct hypervisor hypervisor_mote = {
	.name = "mote", .hypercall = MOTE_HYPERCALL_NOP, .create = create, .destroy = destroy,
	.start = start, .run = run, .memory = memory, .dirty = dirty, .eventfd = doorbell,
	.interrupt = interrupt,
};
