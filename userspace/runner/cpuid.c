// SPDX-License-Identifier: GPL-2.0
/*
 * What a vCPU's CPUID says: what the module offers, and the topology, which is
 * ours: one package of as many cores as there are vCPUs, one thread each.
 */
#include <asm/kvm_para.h>
#include <string.h>

#include "runner.h"
#include "snapshot.h"

#define FEATURE_HTT (1u << 28)		/* leaf 1 EDX: more than one APIC id in a package */
#define INVARIANT_TSC (1u << 8)		/* leaf 0x80000007 EDX */
#define LEVEL_SMT (1u << 8)		/* leaf 0xb ECX: SDM 2A, "CPUID" */
#define LEVEL_CORE (2u << 8)
#define KVM_LEAF_FEATURES 0x40000101	/* see docs/guest-abi.md */

/* Bits of an APIC id that it takes to count to @nr. */
static unsigned int id_bits(unsigned int nr)
{
	unsigned int bits = 0;

	while (1u << bits < nr)
		bits++;
	return bits;
}

static void add_topology(struct mote_cpuid_entry *row, unsigned int id, unsigned int nr)
{
	row[0] = (struct mote_cpuid_entry) {
		.leaf = 0xb, .flags = MOTE_CPUID_SUBLEAF, .ebx = 1, .ecx = LEVEL_SMT, .edx = id,
	};
	row[1] = (struct mote_cpuid_entry) {
		.leaf = 0xb, .subleaf = 1, .flags = MOTE_CPUID_SUBLEAF, .eax = id_bits(nr),
		.ebx = nr, .ecx = LEVEL_CORE | 1, .edx = id,
	};
}

static void adjust(struct mote_cpuid_entry *row, unsigned int id, unsigned int nr)
{
	unsigned int bits = id_bits(nr), ids = 1u << bits;

	/* Counts that do not fit into their fields are as large as these can tell. */
	switch (row->leaf) {
	case 0:
		if (row->eax < 0xb)
			row->eax = 0xb;
		break;
	case 1:
		row->ebx = (row->ebx & 0xffff) | (ids < 255 ? ids : 255) << 16 | id << 24;
		row->edx = (row->edx & ~FEATURE_HTT) | (nr > 1 ? FEATURE_HTT : 0);
		break;
	case 4:
		/* Cores in the package; the caches are each core's own. */
		if (row->eax & 0x1f)
			row->eax = (row->eax & 0x3ffffff) | (ids < 64 ? ids - 1 : 63) << 26;
		break;
	case KVM_LEAF_FEATURES:
		row->eax |= 1u << KVM_FEATURE_MSI_EXT_DEST_ID;
		break;
	case 0x80000008:
		row->ecx = (nr < 256 ? nr - 1 : 255) | bits << 12;
		break;
	}
}

/* Of another host's guest: what it may use is here, too. */
static void check(const struct mote_cpuid_entry *rows, unsigned int nr, const struct mote_cpuid_entry *host,
		  unsigned int nr_host, struct state *state)
{
	char missing[64];

	if (cpu_features_missing(rows, nr, host, nr_host, missing))
		state_fail(state, "this host has no %s for guests (mote info --portable: what hosts share)",
			   missing);
}

/* Rows that were saved take the place of the host's. */
static void rows_state(struct vm *vm, struct state *state)
{
	struct mote_cpuid_entry host[MOTE_MAX_CPUID];
	size_t size = vm->nr_cpuid * sizeof(vm->cpuid[0]);
	const void *rows = vm->cpuid;
	unsigned int nr_host = vm->nr_cpuid;

	if (!state_block(state, "rows", &rows, &size) || !state->loads)
		return;
	state_require(state, !(size % sizeof(vm->cpuid[0])) && size <= sizeof(vm->cpuid),
		      "there are no such rows");
	if (state_has_failed(state))
		return;
	memcpy(host, vm->cpuid, sizeof(host));
	memcpy(vm->cpuid, rows, size);
	vm->nr_cpuid = size / sizeof(vm->cpuid[0]);
	check(vm->cpuid, vm->nr_cpuid, host, nr_host, state);
}

void cpuid_state(struct vm *vm, struct state *state)
{
	if (!state_enter(state, "cpuid"))
		return;
	rows_state(vm, state);
	state_leave(state);
}

int cpuid_create(struct vm *vm)
{
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)vm->cpuid };
	int err = mote_get_cpuid(vm->fd, &table);

	vm->nr_cpuid = table.nr;
	if (err)
		complain("cannot learn what CPUID may say here: %s", strerror(-err));
	return err ? -1 : 0;
}

int vcpu_set_cpuid(struct vcpu *vcpu)
{
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID + 2];
	struct mote_cpuid_table table = { .entries = (unsigned long)rows };
	const struct vm *vm = vcpu->vm;
	int err;

	for (unsigned int i = 0; i < vm->nr_cpuid; i++) {
		if (vm->cpuid[i].leaf == 0xb)
			continue;
		rows[table.nr] = vm->cpuid[i];
		adjust(&rows[table.nr++], vcpu->cpu.id, vm->options->cpus);
	}
	add_topology(rows + table.nr, vcpu->cpu.id, vm->options->cpus);
	table.nr += 2;
	err = mote_set_cpuid(vcpu->cpu.fd, &table);
	if (err)
		complain("cannot set the CPUID of vCPU %u: %s", vcpu->cpu.id, strerror(-err));
	return err ? -1 : 0;
}

bool cpuid_has_steady_tsc(const struct vm *vm)
{
	for (unsigned int i = 0; i < vm->nr_cpuid; i++)
		if (vm->cpuid[i].leaf == 0x80000007)
			return vm->cpuid[i].edx & INVARIANT_TSC;
	return false;
}
