// SPDX-License-Identifier: GPL-2.0
/*
 * QUIRK(bochs 2.7): a guest that VMRUN enters with IF clear holds the host's interrupts back
 * until it exits or sets IF, whatever the host's own IF says.
 *
 * Its VMRUN masks interrupts by the guest's flags before it notes that a guest runs.  VT-x
 * has the preemption timer against that; on AMD-V nothing ends such a guest but an NMI.  So
 * the HPET's third timer, which Linux leaves alone, sends one through the I/O APIC while a
 * CPU is in virtualization operation.
 */
#include <linux/dmi.h>
#include <linux/io.h>
#include <asm/apicdef.h>
#include <asm/hpet.h>
#include <asm/nmi.h>

#include "svm_quirk.h"

#define HPET_PHYS 0xfed00000
#define IOAPIC_PHYS 0xfec00000
#define HPET_TN_ROUTE_SHIFT 9
#define TIMER 2
#define PIN 22 /* of the I/O APIC; nothing is connected to it */
#define PERIOD_FS (20 * 1000000000000ull) /* 20 ms */

#define RTE_LOW (0x10 + 2 * PIN)
#define RTE_MASKED BIT(16)
#define RTE_ALL_CPUS (0xffu << 24)

static void __iomem *hpet, *ioapic;
static atomic_t users;

bool mote_is_bochs(void)
{
	return dmi_match(DMI_BIOS_VENDOR, "The Bochs Project");
}

static void bochs_write_rte(u32 index, u32 value)
{
	writel(index, ioapic);
	writel(value, ioapic + 0x10);
}

static int bochs_take_nmi(unsigned int cmd, struct pt_regs *regs)
{
	return atomic_read(&users) ? NMI_HANDLED : NMI_DONE;
}

int mote_bochs_clock_setup(void)
{
	int err = -ENOMEM;

	hpet = ioremap(HPET_PHYS, PAGE_SIZE);
	ioapic = ioremap(IOAPIC_PHYS, PAGE_SIZE);
	if (hpet && ioapic)
		err = register_nmi_handler(NMI_LOCAL, bochs_take_nmi, 0, "mote");
	if (!err)
		return 0;
	iounmap(hpet);
	iounmap(ioapic);
	hpet = NULL;
	return err;
}

void mote_bochs_clock_teardown(void)
{
	if (!hpet)
		return;
	unregister_nmi_handler(NMI_LOCAL, "mote");
	iounmap(hpet);
	iounmap(ioapic);
	hpet = NULL;
}

/* IA-PC HPET, "Timer N Configuration and Capabilities Register" and "Periodic Mode". */
static void bochs_start(void)
{
	u32 period = div_u64(PERIOD_FS, readl(hpet + HPET_PERIOD));

	writel(HPET_TN_PERIODIC | HPET_TN_SETVAL | HPET_TN_32BIT | PIN << HPET_TN_ROUTE_SHIFT,
	       hpet + HPET_Tn_CFG(TIMER));
	writel(readl(hpet + HPET_COUNTER) + period, hpet + HPET_Tn_CMP(TIMER));
	writel(period, hpet + HPET_Tn_CMP(TIMER));
	bochs_write_rte(RTE_LOW + 1, RTE_ALL_CPUS);
	bochs_write_rte(RTE_LOW, APIC_DM_NMI);
	writel(readl(hpet + HPET_Tn_CFG(TIMER)) | HPET_TN_ENABLE, hpet + HPET_Tn_CFG(TIMER));
}

void mote_bochs_clock(bool on)
{
	if (!hpet)
		return;
	if (on && atomic_inc_return(&users) == 1) {
		bochs_start();
	} else if (!on && atomic_dec_and_test(&users)) {
		writel(0, hpet + HPET_Tn_CFG(TIMER));
		bochs_write_rte(RTE_LOW, RTE_MASKED);
	}
}
