// SPDX-License-Identifier: GPL-2.0
/* Model-specific registers by their numbers, as KVM_GET_MSRS and KVM_SET_MSRS have them. */
#include <errno.h>
#include <string.h>

#include "shim.h"

#define MSR_TSC 0x10
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_MTRR_CAP 0xfe
/* As many as KVM takes. */
#define MAX_MSRS 256

/* Those that are in struct mote_msrs; those of KVM's clock have two numbers. */
#define FIELD(index, name) { index, offsetof(struct mote_msrs, name) }
static const struct {
	__u32 index;
	size_t offset;
} fields[] = {
	FIELD(0x11, pv_wall_clock), FIELD(0x12, pv_system_time), FIELD(0x1b, apic_base),
	FIELD(0x3b, tsc_adjust), FIELD(0x174, sysenter_cs), FIELD(0x175, sysenter_esp),
	FIELD(0x176, sysenter_eip), FIELD(0x1a0, misc_enable), FIELD(0x277, pat),
	FIELD(0x2ff, mtrr_def_type), FIELD(0x4b564d00, pv_wall_clock), FIELD(0x4b564d01, pv_system_time),
	FIELD(0x4b564d03, pv_steal_time), FIELD(0x4b564d04, pv_eoi), FIELD(0xc0000080, efer),
	FIELD(0xc0000081, star), FIELD(0xc0000082, lstar), FIELD(0xc0000083, cstar),
	FIELD(0xc0000084, sfmask), FIELD(0xc0000102, kernel_gs_base),
};

static __u64 *field(struct mote_state *state, __u32 index)
{
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		if (fields[i].index == index)
			return (__u64 *)((char *)&state->msrs + fields[i].offset);
	return NULL;
}

/*
 * Variable and fixed MTRRs, and the banks of machine checks.  mote's guests have none (MTRRcap,
 * MCG_CAP), but clients set them whatever these say: they are kept, for who reads them again.
 */
static int own_place(__u32 index)
{
	if (index >= 0x200 && index <= 0x20f)
		return index - 0x200;
	if (index == 0x250)
		return 16;
	if (index == 0x258 || index == 0x259)
		return 17 + index - 0x258;
	if (index >= 0x268 && index <= 0x26f)
		return 19 + index - 0x268;
	if (index == 0x17a || index == 0x17b)
		return 27 + index - 0x17a;
	if (index >= 0x400 && index < 0x400 + 4 * NR_BANKS)
		return 29 + index - 0x400;
	return -1;
}

bool own_msr_read(const struct shim_vcpu *vcpu, __u32 index, __u64 *value)
{
	int place = own_place(index);

	if (place >= 0)
		*value = vcpu->own[place];
	return place >= 0;
}

bool own_msr_write(struct shim_vcpu *vcpu, __u32 index, __u64 value)
{
	int place = own_place(index);

	if (place >= 0)
		vcpu->own[place] = value;
	return place >= 0;
}

/* Of a client's own APIC nothing is known here: as in KVM it is 0, and stays that. */
static bool is_deadline_elsewhere(const struct shim_vcpu *vcpu, __u32 index)
{
	return index == MSR_TSC_DEADLINE && !vcpu->vm->irqchip;
}

static int read_msr(struct shim_vcpu *vcpu, __u32 index, __u64 *value)
{
	struct mote_state state = { .mask = MOTE_STATE_MSRS };
	__u64 *at = field(&state, index);
	int err;

	if (own_msr_read(vcpu, index, value))
		return 0;
	if (is_deadline_elsewhere(vcpu, index)) {
		*value = 0;
		return 0;
	}
	if (index == MSR_TSC)
		state.mask = MOTE_STATE_TSC;
	else if (index == MSR_TSC_DEADLINE)
		state.mask = MOTE_STATE_APIC;
	else if (!at)
		return -EINVAL;
	err = mote_get_state(vcpu->cpu.fd, &state);
	*value = index == MSR_TSC ? state.tsc.value : at ? *at : state.apic.deadline;
	return err;
}

/*
 * A client sets the TSC of each vCPU in turn, and time passes between two: as in KVM, vCPUs that are
 * set to what the last one has now, a second more or less, or to 0 as at a reset, get the same.
 */
int tsc_write(struct shim_vcpu *vcpu, __u64 value)
{
	struct mote_state state = { .mask = MOTE_STATE_TSC };
	struct shim_vm *vm = vcpu->vm;
	__u64 offset, away;
	int err = mote_get_state(vcpu->cpu.fd, &state);

	if (err)
		return err;
	pthread_mutex_lock(&vm->lock);
	offset = state.tsc.offset + value - state.tsc.value;
	away = offset - vm->tsc_offset;
	if (away >> 63)
		away = -away;
	if (!vm->has_tsc || (value && away > vm->info.tsc_khz * 1000ull))
		vm->tsc_offset = offset;
	vm->has_tsc = true;
	state.tsc.offset = vm->tsc_offset;
	pthread_mutex_unlock(&vm->lock);
	return mote_set_state(vcpu->cpu.fd, &state);
}

static int write_msr(struct shim_vcpu *vcpu, __u32 index, __u64 value)
{
	struct mote_state state = { .mask = MOTE_STATE_MSRS };
	__u64 *at = field(&state, index);
	int err;

	if (own_msr_write(vcpu, index, value) || is_deadline_elsewhere(vcpu, index))
		return 0;
	if (index == MSR_TSC)
		return tsc_write(vcpu, value);
	if (index == MSR_TSC_DEADLINE)
		state.mask = MOTE_STATE_APIC;
	else if (!at)
		return -EINVAL;
	err = mote_get_state(vcpu->cpu.fd, &state);
	if (err)
		return err;
	if (at)
		*at = value;
	else
		state.apic.deadline = value;
	return mote_set_state(vcpu->cpu.fd, &state);
}

/* Both stop at the first that is not there, and say how many there were before. */
static int for_each(struct shim_vcpu *vcpu, unsigned long argument, bool writes)
{
	struct kvm_msr_entry entries[MAX_MSRS];
	struct kvm_msrs head;
	__u64 at = argument + sizeof(head);
	__u32 i;

	if (client_read(&head, argument, sizeof(head)))
		return -EFAULT;
	if (head.nmsrs >= MAX_MSRS)
		return -E2BIG;
	if (client_read(entries, at, head.nmsrs * sizeof(entries[0])))
		return -EFAULT;
	for (i = 0; i < head.nmsrs; i++)
		if (writes ? write_msr(vcpu, entries[i].index, entries[i].data) :
			     read_msr(vcpu, entries[i].index, &entries[i].data))
			break;
	if (!writes && client_write(at, entries, i * sizeof(entries[0])))
		return -EFAULT;
	return i;
}

int call_get_msrs(struct object *object, void *data, unsigned long argument)
{
	(void)data;
	return for_each(vcpu_of(object), argument, false);
}

int call_set_msrs(struct object *object, void *data, unsigned long argument)
{
	(void)data;
	return for_each(vcpu_of(object), argument, true);
}
