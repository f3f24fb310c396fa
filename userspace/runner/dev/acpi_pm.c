// SPDX-License-Identifier: GPL-2.0
/*
 * ACPI's fixed hardware: power-off by the sleep control register, the power
 * button, general-purpose events, and the power-management timer.  ACPI mode is always on.  ACPI 6.4,
 * "ACPI Hardware Specification"; acpi.c tells the guest where it is.
 */
#include <stdlib.h>

#include "acpi.h"
#include "runner.h"
#include "state.h"
#include "vm.h"

#define HZ 3579545

#define EN_POWER_BUTTON 0x0100	/* in the status register, too */
#define CNT_SCI_EN 0x0001
#define CNT_SLP_TYP 0x1c00
#define CNT_SLP_EN 0x2000

struct acpi_pm {
	struct device device;
	__u16 status;
	__u16 enable;
	__u16 control;
	__u8 gpe_status;
	__u8 gpe_enable;
	__u64 started;		/* the timer, by clock_ns() */
};

static struct acpi_pm *pm_of(struct device *device)
{
	return container_of(device, struct acpi_pm, device);
}

/* Registers of 16 bits, of which a byte may be accessed alone. */
static __u16 merge(__u16 old, __u64 offset, unsigned int size, __u64 data)
{
	__u16 mask = size == 1 ? 0xff << 8 * (offset & 1) : 0xffff;

	return (old & ~mask) | (data << 8 * (offset & 1) & mask);
}

static void update(struct acpi_pm *pm)
{
	line_set(pm->device.vm, LINE_ACPI,
		 pm->status & pm->enable & EN_POWER_BUTTON || pm->gpe_status & pm->gpe_enable);
}

static __u64 pm_read(struct device *device, const struct region *region, __u64 offset,
		     unsigned int size)
{
	struct acpi_pm *pm = pm_of(device);
	__u16 value;

	(void)size;
	if (region->id == ACPI_PM_TIMER)
		return (__u32)scale(clock_ns() - pm->started, HZ, NS_PER_S) >> 8 * offset;
	if (region->id == ACPI_GPE)
		return offset ? pm->gpe_enable : pm->gpe_status;
	if (region->id == ACPI_PM_CONTROL)
		value = pm->control | CNT_SCI_EN;
	else
		value = offset < 2 ? pm->status : pm->enable;
	return value >> 8 * (offset & 1);
}

static void write_control(struct acpi_pm *pm, __u16 value)
{
	pm->control = value & ~CNT_SLP_EN;
	if (value & CNT_SLP_EN && (value & CNT_SLP_TYP) == ACPI_S5 << 10)
		vm_end(pm->device.vm, END_POWER_OFF, 0);
}

static void pm_write(struct device *device, const struct region *region, __u64 offset,
		     unsigned int size, __u64 data)
{
	struct acpi_pm *pm = pm_of(device);

	if (region->id == ACPI_GPE && offset)
		pm->gpe_enable = data;
	else if (region->id == ACPI_GPE)
		pm->gpe_status &= ~data;
	else if (region->id == ACPI_PM_CONTROL)
		write_control(pm, merge(pm->control, offset, size, data));
	else if (region->id == ACPI_PM_EVENT && offset < 2)
		pm->status &= ~merge(0, offset, size, data);
	else if (region->id == ACPI_PM_EVENT)
		pm->enable = merge(pm->enable, offset, size, data);
	update(pm);
}

void acpi_power_button(struct vm *vm)
{
	struct acpi_pm *pm = pm_of(vm->acpi_pm);

	pthread_mutex_lock(&vm->lock);
	pm->status |= EN_POWER_BUTTON;
	update(pm);
	pthread_mutex_unlock(&vm->lock);
	say_event(vm, "power-button", NULL);
}

void acpi_event(struct vm *vm, unsigned int gpe)
{
	struct acpi_pm *pm = pm_of(vm->acpi_pm);

	pm->gpe_status |= 1u << gpe;
	update(pm);
}

static void pm_state(struct device *device, struct state *state)
{
	struct acpi_pm *pm = pm_of(device);

	STATE(state, pm, status);
	STATE(state, pm, enable);
	STATE(state, pm, control);
	STATE(state, pm, gpe_status);
	STATE(state, pm, gpe_enable);
	state_time(state, "started", &pm->started);
	state_require(state, !(pm->status & ~EN_POWER_BUTTON) && !(pm->control & CNT_SLP_EN),
		      "there is no such register");
}

static void pm_destroy(struct device *device)
{
	free(pm_of(device));
}

static const struct device_ops ops = {
	.name = "acpi-pm", .read = pm_read, .write = pm_write, .state = pm_state, .destroy = pm_destroy,
};

int acpi_pm_create(struct vm *vm)
{
	struct acpi_pm *pm = calloc(1, sizeof(*pm));

	if (!pm) {
		complain("no memory for ACPI's registers");
		return -1;
	}
	pm->started = clock_ns();
	device_add(vm, &pm->device, &ops);
	vm->acpi_pm = &pm->device;
	if (device_ports(&pm->device, ACPI_PM_EVENT, 4, 2, ACPI_PM_EVENT) ||
	    device_ports(&pm->device, ACPI_PM_CONTROL, 2, 2, ACPI_PM_CONTROL) ||
	    device_ports(&pm->device, ACPI_GPE, 2, 1, ACPI_GPE))
		return -1;
	return device_ports(&pm->device, ACPI_PM_TIMER, 4, 4, ACPI_PM_TIMER);
}
