// SPDX-License-Identifier: GPL-2.0
/* libmote: the calls. */
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "libmote.h"

int mote_open(void)
{
	int fd = open(MOTE_DEVICE, O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* Those that create return a file descriptor, the others 0. */
static int call(int fd, unsigned long request, const void *argument)
{
	int ret = ioctl(fd, request, argument);

	return ret < 0 ? -errno : ret;
}

int mote_get_info(int fd, struct mote_info *info)
{
	return call(fd, MOTE_GET_INFO, info);
}

int mote_create_vm(int fd, const struct mote_vm_config *config)
{
	return call(fd, MOTE_CREATE_VM, config);
}

int mote_set_slot(int vm, const struct mote_slot *slot)
{
	return call(vm, MOTE_SET_SLOT, slot);
}

int mote_get_dirty(int vm, const struct mote_dirty *dirty)
{
	return call(vm, MOTE_GET_DIRTY, dirty);
}

int mote_set_filter(int vm, const struct mote_filter *filter)
{
	return call(vm, MOTE_SET_FILTER, filter);
}

int mote_create_vcpu(int vm, const struct mote_vcpu_config *config)
{
	return call(vm, MOTE_CREATE_VCPU, config);
}

int mote_run(int vcpu)
{
	return call(vcpu, MOTE_RUN, NULL);
}

int mote_get_state(int vcpu, struct mote_state *state)
{
	return call(vcpu, MOTE_GET_STATE, state);
}

int mote_set_state(int vcpu, const struct mote_state *state)
{
	return call(vcpu, MOTE_SET_STATE, state);
}

int mote_set_cpuid(int vcpu, const struct mote_cpuid_table *table)
{
	return call(vcpu, MOTE_SET_CPUID, table);
}

int mote_inject(int vcpu, const struct mote_event *event)
{
	return call(vcpu, MOTE_INJECT, event);
}

int mote_msi(int vm, const struct mote_msi *msi)
{
	return call(vm, MOTE_MSI, msi);
}

int mote_irqfd(int vm, const struct mote_irqfd *irqfd)
{
	return call(vm, MOTE_IRQFD, irqfd);
}

int mote_ioeventfd(int vm, const struct mote_ioeventfd *ioeventfd)
{
	return call(vm, MOTE_IOEVENTFD, ioeventfd);
}

int mote_get_clock(int vm, struct mote_clock_value *value)
{
	return call(vm, MOTE_GET_CLOCK, value);
}

int mote_set_clock(int vm, const struct mote_clock_value *value)
{
	return call(vm, MOTE_SET_CLOCK, value);
}

int mote_set_watch(int vm, const struct mote_watch *watch)
{
	return call(vm, MOTE_SET_WATCH, watch);
}

int mote_apic_access(int vcpu, struct mote_apic_access *access)
{
	return call(vcpu, MOTE_APIC_ACCESS, access);
}

int mote_set_debug(int vcpu, const struct mote_debug *debug)
{
	return call(vcpu, MOTE_SET_DEBUG, debug);
}

int mote_get_field(int vcpu, struct mote_field *field)
{
	return call(vcpu, MOTE_GET_FIELD, field);
}

unsigned int mote_cpuid_vendor(void)
{
	unsigned int eax, ebx, ecx, edx;

	/* SDM 3C, "Discovering Support for VMX"; APM 2, "Determining Support for SVM" */
	if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 5)))
		return MOTE_VENDOR_VMX;
	if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && (ecx & (1u << 2)))
		return MOTE_VENDOR_SVM;
	return MOTE_VENDOR_NONE;
}

/* ---- the ABI's layout, which is the same for 32- and 64-bit callers ---------------- */

#define SIZE(name, size) _Static_assert(sizeof(struct name) == (size), #name)

SIZE(mote_obstacle, 24);
SIZE(mote_info, 360);
SIZE(mote_cpuid_entry, 32);
SIZE(mote_cpuid_table, 16);
SIZE(mote_vm_config, 64);
SIZE(mote_slot, 32);
SIZE(mote_dirty, 32);
SIZE(mote_filter_rule, 16);
SIZE(mote_filter, 16);
SIZE(mote_vcpu_config, 32);
SIZE(mote_msi, 16);
SIZE(mote_irqfd, 24);
SIZE(mote_ioeventfd, 24);
SIZE(mote_clock_value, 16);
SIZE(mote_segment, 16);
SIZE(mote_table, 16);
SIZE(mote_gprs, 144);
SIZE(mote_segs, 160);
SIZE(mote_crs, 88);
SIZE(mote_drs, 48);
SIZE(mote_msrs, 160);
SIZE(mote_event, 8);
SIZE(mote_events, 24);
SIZE(mote_tsc, 16);
SIZE(mote_apic, 272);
SIZE(mote_state, 992);
SIZE(mote_cpu_mode, 48);
SIZE(mote_task_switch, 16);
SIZE(mote_pio, 4);
SIZE(mote_memory, 24);
SIZE(mote_run, 1256);
SIZE(mote_apic_access, 16);
SIZE(mote_debug, 8);
SIZE(mote_field, 16);
SIZE(mote_watch, 24);
