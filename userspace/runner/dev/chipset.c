// SPDX-License-Identifier: GPL-2.0
/*
 * The chipset, an Intel 440FX with a PIIX: by it firmware knows what machine this
 * is.  SeaBIOS and OVMF look for these functions and set up their registers; the
 * machine is set up already and stays as it is.  Data sheets of the 82441FX, the
 * 82371SB (PIIX3) and the 82371AB (PIIX4), "PCI Configuration Registers".
 */
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#include "acpi.h"
#include "pci.h"
#include "runner.h"

#define INTEL 0x8086
/* By which SeaBIOS knows that there is fw_cfg. */
#define BOARD_VENDOR 0x1af4
#define BOARD 0x1100

#define MULTIFUNCTION 0x80

/* What is below 1 MiB: memory, whatever is said here. */
#define HOST_PAM 0x59
#define HOST_PAM_SIZE 7
/* The lines of the interrupt pins, which no function has. */
#define ISA_PIRQ 0x60
#define ISA_PIRQ_SIZE 4
/* Where ACPI's registers are; and system management mode has been seen to: there is none. */
#define PM_BASE 0x40
#define PM_DEVACTB 0x58
#define PM_DEVACTB_APMC (1u << 25)
#define PM_MISC 0x80
#define PM_MISC_IO 1

/* Below this revision guests read the PM timer of a PIIX4 three times, as it may change meanwhile. */
#define PM_TIMER_IS_RIGHT 3

static void init_host(struct pci_device *pci)
{
	memset(pci->writable + HOST_PAM, 0xff, HOST_PAM_SIZE);
}

static void init_isa(struct pci_device *pci)
{
	pci->config[PCI_HEADER_TYPE] = MULTIFUNCTION;
	memset(pci->writable + ISA_PIRQ, 0xff, ISA_PIRQ_SIZE);
}

static void init_pm(struct pci_device *pci)
{
	pci_put(pci, PM_BASE, 4, ACPI_PM_EVENT | PCI_BASE_ADDRESS_SPACE_IO);
	pci_put(pci, PM_DEVACTB, 4, PM_DEVACTB_APMC);
	pci_put(pci, PM_MISC, 4, PM_MISC_IO);
}

static const struct {
	unsigned int devfn;
	__u16 device;
	__u32 class;
	__u8 revision;
	void (*init)(struct pci_device *pci);
} functions[] = {
	{ PCI_DEVFN(0, 0), 0x1237, 0x060000, 0, init_host },
	{ PCI_DEVFN(1, 0), 0x7000, 0x060100, 0, init_isa },
	{ PCI_DEVFN(1, 3), 0x7113, 0x068000, PM_TIMER_IS_RIGHT, init_pm },
};

static void function_destroy(struct device *device)
{
	free(container_of(device, struct pci_device, device));
}

static const struct device_ops ops = {
	.name = "chipset", .state = pci_device_state, .destroy = function_destroy,
};

int chipset_create(struct vm *vm)
{
	for (size_t i = 0; i < ARRAY_SIZE(functions); i++) {
		const struct pci_identity identity = {
			.vendor = INTEL, .device = functions[i].device, .class = functions[i].class,
			.revision = functions[i].revision,
			.subsystem_vendor = BOARD_VENDOR, .subsystem = BOARD,
		};
		struct pci_device *pci = calloc(1, sizeof(*pci));

		if (!pci) {
			complain("no memory for the chipset");
			return -1;
		}
		pci_add_at(vm, pci, &ops, &identity, functions[i].devfn);
		functions[i].init(pci);
	}
	return 0;
}
