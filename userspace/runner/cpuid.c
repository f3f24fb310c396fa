// SPDX-License-Identifier: GPL-2.0
/*
 * What a vCPU's CPUID says: what the module offers, and the topology, which is
 * ours: one package of as many cores as there are vCPUs, one thread each.
 */
#include <asm/kvm_para.h>
#include <string.h>

#include "runner.h"
#include "vm.h"

#define FEATURE_HTT (1u << 28)		/* leaf 1 EDX: more than one APIC id in a package */
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

int vcpu_set_cpuid(struct vcpu *vcpu)
{
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)rows };
	struct vm *vm = vcpu->vm;
	int err = mote_get_cpuid(vm->fd, &table);
	__u32 kept = 0;

	for (__u32 i = 0; !err && i < table.nr; i++) {
		if (rows[i].leaf == 0xb)
			continue;
		rows[kept] = rows[i];
		adjust(&rows[kept++], vcpu->cpu.id, vm->options->cpus);
	}
	if (!err && cpu_features_apply(&vm->options->features, rows, kept))
		return -1;
	if (!err && kept + 2 <= MOTE_MAX_CPUID) {
		add_topology(rows + kept, vcpu->cpu.id, vm->options->cpus);
		table.nr = kept + 2;
		err = mote_set_cpuid(vcpu->cpu.fd, &table);
	}
	if (err)
		complain("cannot set the CPUID of vCPU %u: %s", vcpu->cpu.id, strerror(-err));
	return err ? -1 : 0;
}
