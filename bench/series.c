// SPDX-License-Identifier: GPL-2.0
/*
 * How cost grows under mote: the price of one operation while there is more and more of
 * something.  A result's name is WHAT.OPERATION.NUMBER; bench/growth draws them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libmote.h>
#include <machine.h>

#include "bench.h"

#define ROUNDS 8
#define MOST_VMS 64
#define MOST_VCPUS 16
#define MOST_MIB 8192
#define MOST_ROWS 1000
#define CROWD_PORT 0	/* of the other ioeventfds: they sort before what is looked for */
#define CROWD_SLOT 2		/* 1 is hypervisor->memory()'s */

extern const unsigned char payload_empty[], payload_touch[], payload_cpuid[], payload_mmio_write[],
	payload_eventfd[], payload_port_out[];

static result_fn tell;

static void result(const char *what, unsigned int number, double value)
{
	char name[64];

	snprintf(name, sizeof(name), "%s.%u", what, number);
	tell(name, value);
}

static void check(int err, const char *what)
{
	errno = -err;
	if (err < 0)
		fail(what);
}

static double least(double a, double b)
{
	return a && a < b ? a : b;
}

/* The next number of some: twice as many, but no more than @most; after that, none. */
static unsigned int more(unsigned int number, unsigned int most)
{
	return number == most ? most + 1 : 2 * number < most ? 2 * number : most;
}

/* ---- VMs, vCPUs -------------------------------------------------------------------- */

/* Up to @number of them, each of which has run; the price of creating the last. */
static double create_vms(struct vm *crowd, unsigned int from, unsigned int number)
{
	double price = 0;

	for (unsigned int i = from; i < number; i++) {
		uint64_t began = ticks();

		vm_create(&crowd[i], &hypervisor_mote);
		price = least(price, ticks() - began);
	}
	return price;
}

static void grow_vms(void)
{
	static struct vm crowd[MOST_VMS + 1];
	unsigned int have = 0;

	for (unsigned int number = 1; number <= MOST_VMS; number = more(number, MOST_VMS)) {
		double create = 0;

		create_vms(crowd, have, number);
		have = number;
		result("vms.cpuid", number, vm_price(&crowd[0], payload_cpuid, 64));
		for (int i = 0; i < ROUNDS; i++) {
			create = least(create, create_vms(crowd, number, number + 1));
			vm_destroy(&crowd[number]);
		}
		result("vms.create", number, create);
	}
	while (have--)
		vm_destroy(&crowd[have]);
}

/* An interrupt for the vCPU that was created last. */
static double price_msi(const struct mote_machine *machine, unsigned int id)
{
	const struct mote_msi msi = { .address = 0xfee00000 | id << 12, .data = VECTOR };
	double price = 0;

	for (int i = 0; i < 8 * ROUNDS; i++) {
		uint64_t began = ticks();

		check(mote_msi(machine->fd, &msi), "MOTE_MSI");
		price = least(price, ticks() - began);
	}
	return price;
}

static void grow_vcpus(void)
{
	struct mote_cpu cpus[MOST_VCPUS];
	struct mote_machine *machine;
	unsigned int have = 1;
	struct vm vm;

	vm_create(&vm, &hypervisor_mote);
	machine = mote_machine_of(&vm);
	for (unsigned int number = 1; number <= MOST_VCPUS; number = more(number, MOST_VCPUS)) {
		for (; have < number; have++)
			check(mote_cpu_create(&cpus[have], machine, have), "MOTE_CREATE_VCPU");
		result("vcpus.cpuid", number, vm_price(&vm, payload_cpuid, 64));
		result("vcpus.msi", number, price_msi(machine, number - 1));
	}
	while (--have)
		mote_cpu_destroy(&cpus[have]);
	vm_destroy(&vm);
}

/* ---- memory ----------------------------------------------------------------------- */

/* The first write to one page. */
static double price_page(struct vm *vm, uint64_t gpa)
{
	struct guest_args args = {
		.rip = PAYLOAD(payload_empty), .batches = 1, .operations = 1, .rbx = gpa,
	};
	double loop = vm_measure(vm, &args);

	args.rip = PAYLOAD(payload_touch);
	return vm_measure(vm, &args) - loop;
}

/*
 * A slot of so much, of which there is one page: setting it, and the first write to that,
 * which takes three nested page tables, too.
 */
static void measure_memory(struct vm *vm, unsigned int mib)
{
	uint64_t size = (uint64_t)mib << 20;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	double set = 0, page = 0;

	if (memory == MAP_FAILED)
		fail("mmap");
	madvise(memory, size, MADV_NOHUGEPAGE);
	memory[0] = 1;
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t began = ticks();

		vm->hypervisor->memory(vm, GPA_TOUCHED, size, memory, false);
		set = least(set, ticks() - began);
		page = least(page, price_page(vm, GPA_TOUCHED));
		vm->hypervisor->memory(vm, GPA_TOUCHED, 0, memory, false);
	}
	result("memory.slot", mib, set);
	result("memory.touch", mib, page);
	munmap(memory, size);
}

static void grow_memory(void)
{
	struct vm vm;

	vm_create(&vm, &hypervisor_mote);
	for (unsigned int mib = 64; mib <= MOST_MIB; mib = more(mib, MOST_MIB))
		measure_memory(&vm, mib);
	vm_destroy(&vm);
}

/* Of one page each, side by side. */
static void set_slot(struct mote_machine *machine, char *memory, unsigned int i, uint64_t size)
{
	const struct mote_slot slot = {
		.slot = CROWD_SLOT + i, .gpa = size ? GPA_TOUCHED + i * PAGE_SIZE : 0, .size = size,
		.hva = size ? (uintptr_t)memory + i * PAGE_SIZE : 0,
	};

	check(mote_machine_set_slot(machine, &slot), "MOTE_SET_SLOT");
}

/* The first write to the page of the slot in the middle, and a write to where there is none. */
static void measure_slots(struct vm *vm, char *memory, unsigned int number)
{
	struct mote_machine *machine = mote_machine_of(vm);
	unsigned int middle = number / 2;
	double page = 0;

	for (int i = 0; i < ROUNDS; i++) {
		set_slot(machine, memory, middle, 0);
		set_slot(machine, memory, middle, PAGE_SIZE);
		page = least(page, price_page(vm, GPA_TOUCHED + middle * PAGE_SIZE));
	}
	result("slots.touch", number, page);
	result("slots.miss", number, vm_price(vm, payload_mmio_write, 16));
}

static void grow_slots(void)
{
	char *memory = allocate(MOST_ROWS * PAGE_SIZE);
	unsigned int have = 0;
	struct vm vm;

	vm_create(&vm, &hypervisor_mote);
	for (unsigned int number = 1; number <= MOST_ROWS; number = more(number, MOST_ROWS)) {
		for (; have < number; have++) {
			memory[have * PAGE_SIZE] = 1;
			set_slot(mote_machine_of(&vm), memory, have, PAGE_SIZE);
		}
		/* The first one keeps the nested page tables there. */
		if (number == 1)
			price_page(&vm, GPA_TOUCHED);
		else
			measure_slots(&vm, memory, number);
	}
	vm_destroy(&vm);
	munmap(memory, MOST_ROWS * PAGE_SIZE);
}

/* ---- ioeventfds -------------------------------------------------------------------- */

static void grow_ioeventfds(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct vm vm;

	if (fd < 0)
		fail("eventfd");
	vm_create(&vm, &hypervisor_mote);
	vm.hypervisor->eventfd(&vm, fd);
	for (unsigned int number = 1, have = 1; number <= MOST_ROWS; number = more(number, MOST_ROWS)) {
		for (; have < number; have++) {
			const struct mote_ioeventfd arg = {
				.fd = fd, .port = CROWD_PORT, .size = 4,
				.flags = MOTE_IOEVENTFD_MATCH, .value = have,
			};

			check(mote_ioeventfd(mote_machine_of(&vm)->fd, &arg), "MOTE_IOEVENTFD");
		}
		result("ioeventfds.hit", number, vm_price(&vm, payload_eventfd, 64));
		result("ioeventfds.miss", number, vm_price(&vm, payload_port_out, 32));
	}
	vm_destroy(&vm);
	close(fd);
}

void measure_growth(result_fn print)
{
	tell = print;
	grow_vms();
	grow_vcpus();
	grow_memory();
	grow_slots();
	grow_ioeventfds();
}
