// SPDX-License-Identifier: GPL-2.0
/* What /dev/kvm says of itself: capabilities, CPUID, MSRs. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

#define KVM_SIGNATURE_LEAF 0x40000000
#define KVM_FEATURES_LEAF 0x40000001
#define MOTE_FEATURES_LEAF 0x40000101
#define LEAF1_ECX_TSC_DEADLINE (1u << 24)

static int get_info(struct mote_info *info)
{
	return mote_get_info(mote_fd, info);
}

/* ---- capabilities ---------------------------------------------------------------- */

static const struct {
	unsigned int capability;
	int value;
} capabilities[] = {
	{ KVM_CAP_IRQCHIP, 1 },
	{ KVM_CAP_HLT, 1 },
	{ KVM_CAP_USER_MEMORY, 1 },
	{ KVM_CAP_SET_TSS_ADDR, 1 },
	{ KVM_CAP_EXT_CPUID, 1 },
	{ KVM_CAP_CLOCKSOURCE, 1 },
	{ KVM_CAP_NOP_IO_DELAY, 1 },
	{ KVM_CAP_MP_STATE, 1 },
	{ KVM_CAP_SYNC_MMU, 1 },
	{ KVM_CAP_DESTROY_MEMORY_REGION_WORKS, 1 },
	{ KVM_CAP_USER_NMI, 1 },
	{ KVM_CAP_JOIN_MEMORY_REGIONS_WORKS, 1 },
	{ KVM_CAP_IRQ_ROUTING, MAX_ROUTES },
	{ KVM_CAP_IRQFD, 1 },
	{ KVM_CAP_IOEVENTFD, 1 },
	{ KVM_CAP_IOEVENTFD_NO_LENGTH, 1 },
	{ KVM_CAP_IOEVENTFD_ANY_LENGTH, 1 },
	{ KVM_CAP_PIT2, 1 },
	{ KVM_CAP_PIT_STATE2, 1 },
	{ KVM_CAP_SET_IDENTITY_MAP_ADDR, 1 },
	{ KVM_CAP_ADJUST_CLOCK, KVM_CLOCK_TSC_STABLE },
	{ KVM_CAP_INTERNAL_ERROR_DATA, 1 },
	{ KVM_CAP_VCPU_EVENTS, 1 },
	{ KVM_CAP_INTR_SHADOW, 1 },
	{ KVM_CAP_DEBUGREGS, 1 },
	{ KVM_CAP_X86_ROBUST_SINGLESTEP, 1 },
	{ KVM_CAP_XSAVE, 1 },
	{ KVM_CAP_XCRS, 1 },
	{ KVM_CAP_GET_TSC_KHZ, 1 },
	{ KVM_CAP_TSC_DEADLINE_TIMER, 1 },
	{ KVM_CAP_SIGNAL_MSI, 1 },
	{ KVM_CAP_READONLY_MEM, 1 },
	{ KVM_CAP_ENABLE_CAP_VM, 1 },
	{ KVM_CAP_CHECK_EXTENSION_VM, 1 },
	{ KVM_CAP_SPLIT_IRQCHIP, 1 },
	{ KVM_CAP_X2APIC_API, KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK },
	{ KVM_CAP_IMMEDIATE_EXIT, 1 },
	{ KVM_CAP_SREGS2, 1 },
	{ KVM_CAP_SYNC_REGS, KVM_SYNC_X86_VALID_FIELDS },
	{ KVM_CAP_SET_GUEST_DEBUG, 1 },
	{ KVM_CAP_SET_GUEST_DEBUG2, DEBUG_CONTROLS },
	{ KVM_CAP_MMU_SHADOW_CACHE_CONTROL, 1 },
};

int call_check_extension(struct object *object, void *data, unsigned long argument)
{
	struct mote_info info;
	int err = get_info(&info);

	(void)object;
	(void)data;
	if (err)
		return err;
	switch (argument) {
	case KVM_CAP_NR_VCPUS:
	case KVM_CAP_MAX_VCPUS:
	case KVM_CAP_MAX_VCPU_ID:
		return info.max_vcpus;
	case KVM_CAP_NR_MEMSLOTS:
		return info.max_slots;
	}
	for (size_t i = 0; i < ARRAY_SIZE(capabilities); i++)
		if (capabilities[i].capability == argument)
			return capabilities[i].value;
	return 0;
}

/* ---- MSRs ------------------------------------------------------------------------ */

/* Those to be saved, as KVM lists them: EFER and APIC_BASE are in struct kvm_sregs. */
static const __u32 saved_msrs[] = {
	0x10, 0x11, 0x12, 0x3b, 0x174, 0x175, 0x176, 0x1a0, 0x277, 0x6e0,
	0x4b564d00, 0x4b564d01, 0x4b564d03, 0x4b564d04,
	0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102,
};

int call_msr_index_list(struct object *object, void *data, unsigned long argument)
{
	const __u32 nr = ARRAY_SIZE(saved_msrs);
	__u32 room;

	(void)object;
	(void)data;
	if (client_read(&room, argument, sizeof(room)) || client_write(argument, &nr, sizeof(nr)))
		return -EFAULT;
	if (room < nr)
		return -E2BIG;
	return client_write(argument + sizeof(nr), saved_msrs, sizeof(saved_msrs));
}

/* ---- CPUID ----------------------------------------------------------------------- */

/* What mote proposes, with KVM's leaves where KVM's clients expect them. */
static bool translate(const struct mote_cpuid_entry *from, struct kvm_cpuid_entry2 *to)
{
	*to = (struct kvm_cpuid_entry2) {
		.function = from->leaf, .index = from->subleaf,
		.flags = from->flags & MOTE_CPUID_SUBLEAF ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
		.eax = from->eax, .ebx = from->ebx, .ecx = from->ecx, .edx = from->edx,
	};
	switch (from->leaf) {
	case 1:
		/* There is a capability of its own for it. */
		to->ecx &= ~LEAF1_ECX_TSC_DEADLINE;
		return true;
	case KVM_SIGNATURE_LEAF:
		to->eax = KVM_FEATURES_LEAF;
		memcpy(&to->ebx, "KVMKVMKVM\0\0\0", 12);
		return true;
	case MOTE_FEATURES_LEAF:
		to->function = KVM_FEATURES_LEAF;
		return true;
	}
	return from->leaf < KVM_SIGNATURE_LEAF || from->leaf >= 0x80000000;
}

int call_supported_cpuid(struct object *object, void *data, unsigned long argument)
{
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = {
		.nr = ARRAY_SIZE(rows), .entries = (__u64)(unsigned long)rows,
	};
	struct kvm_cpuid_entry2 entries[MOTE_MAX_CPUID];
	struct kvm_cpuid2 head;
	__u32 room, nr = 0;
	int err;

	(void)object;
	(void)data;
	if (client_read(&head, argument, sizeof(head)))
		return -EFAULT;
	err = mote_get_cpuid(mote_fd, &table);
	if (err)
		return err;
	for (__u32 i = 0; i < table.nr && i < ARRAY_SIZE(rows); i++)
		nr += translate(&rows[i], &entries[nr]);
	room = head.nent;
	if (room < nr)
		return -E2BIG;
	head.nent = nr;
	if (client_write(argument, &head, sizeof(head)))
		return -EFAULT;
	return client_write(argument + sizeof(head), entries, nr * sizeof(entries[0]));
}

/* A row of the client's as one of mote's; leaves have subleaves all or none. */
static void make_row(const struct kvm_cpuid_entry2 *entries, __u32 nr, __u32 i,
		     struct mote_cpuid_entry *row, __u32 hidden_pv)
{
	const struct kvm_cpuid_entry2 *from = &entries[i];
	bool has_subleaves = false;

	for (__u32 j = 0; j < nr; j++)
		has_subleaves |= entries[j].function == from->function &&
				 entries[j].flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	*row = (struct mote_cpuid_entry) {
		.leaf = from->function, .subleaf = has_subleaves ? from->index : 0,
		.flags = has_subleaves ? MOTE_CPUID_SUBLEAF : 0,
		.eax = from->eax, .ebx = from->ebx, .ecx = from->ecx, .edx = from->edx,
	};
	if (row->leaf == KVM_FEATURES_LEAF)
		row->eax &= ~hidden_pv;
}

/* Of rows that say the same, KVM believes the first. */
static bool is_repeated(const struct mote_cpuid_entry *rows, __u32 nr, const struct mote_cpuid_entry *row)
{
	for (__u32 i = 0; i < nr; i++)
		if (rows[i].leaf == row->leaf && rows[i].subleaf == row->subleaf)
			return true;
	return false;
}

static int set_cpuid(struct shim_vcpu *vcpu, struct kvm_cpuid_entry2 *entries, __u32 nr)
{
	/* What needs a local APIC that the client keeps is not for the guest: KVM_FEATURE_PV_EOI. */
	__u32 hidden_pv = vcpu->vm->irqchip ? 0 : 1u << 6;
	struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .entries = (__u64)(unsigned long)rows };
	int err;

	for (__u32 i = 0; i < nr; i++) {
		make_row(entries, nr, i, &rows[table.nr], hidden_pv);
		table.nr += !is_repeated(rows, table.nr, &rows[table.nr]);
	}
	err = mote_set_cpuid(vcpu->cpu.fd, &table);
	if (err)
		return err;
	free(vcpu->cpuid);
	vcpu->cpuid = entries;
	vcpu->nr_cpuid = nr;
	return 0;
}

static bool is_same_cpuid(const struct shim_vcpu *vcpu, const struct kvm_cpuid_entry2 *entries, __u32 nr)
{
	return nr == vcpu->nr_cpuid && (!nr || !memcmp(entries, vcpu->cpuid, nr * sizeof(entries[0])));
}

int call_set_cpuid2(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct kvm_cpuid_entry2 *entries;
	struct kvm_cpuid2 head;
	int err;

	(void)data;
	if (client_read(&head, argument, sizeof(head)))
		return -EFAULT;
	if (head.nent > MOTE_MAX_CPUID)
		return -E2BIG;
	entries = calloc(head.nent + 1, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	err = client_read(entries, argument + sizeof(head), head.nent * sizeof(*entries));
	if (!err && vcpu->has_run) {
		/* A guest that has seen it finds the same ever after. */
		err = is_same_cpuid(vcpu, entries, head.nent) ? 0 : -EINVAL;
		free(entries);
		return err;
	}
	if (!err)
		err = set_cpuid(vcpu, entries, head.nent);
	if (err)
		free(entries);
	return err;
}

int call_get_cpuid2(struct object *object, void *data, unsigned long argument)
{
	struct shim_vcpu *vcpu = vcpu_of(object);
	struct kvm_cpuid2 head;
	__u32 room;

	(void)data;
	if (client_read(&head, argument, sizeof(head)))
		return -EFAULT;
	room = head.nent;
	head.nent = vcpu->nr_cpuid;
	if (client_write(argument, &head, sizeof(head)))
		return -EFAULT;
	if (room < vcpu->nr_cpuid)
		return -E2BIG;
	return client_write(argument + sizeof(head), vcpu->cpuid, vcpu->nr_cpuid * sizeof(vcpu->cpuid[0]));
}
