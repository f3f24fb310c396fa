/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What ACPI cannot find out by itself: the devices that a guest would not
 * probe for, and how it is switched off.  The fixed hardware is in acpi.c.
 */
DefinitionBlock ("", "DSDT", 2, "MOTE", "MOTE", 1)
{
	/* SLP_TYP of power-off: ACPI_S5 in acpi.h. */
	Name (\_S5, Package () { 5, 0, 0, 0 })

	/* The I/O APIC is used; pins are in the order of the lines. */
	Method (\_PIC, 1) { }

	/* GPE_GENERATION of acpi.h. */
	Scope (\_GPE)
	{
		Method (_E00) { Notify (\_SB.VGEN, 0x80) }
	}

	Scope (\_SB)
	{
		/* Windows as in pci.h; interrupts are messages, so there is no _PRT. */
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_BBN, 0)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0xcf8, 0xcf8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0000, 0x0cf7, 0, 0x0cf8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0d00, 0xffff, 0, 0xf300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0x80000000, 0xfebfffff, 0, 0x7ec00000)
			})
		}

		Device (RTC0)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x70, 0x70, 1, 2)
				IRQNoFlags () { 8 }
			})
		}

		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x3f8, 0x3f8, 1, 8)
				IRQNoFlags () { 4 }
			})
		}

		/* The panic port: there, but nothing to be shown to a user. */
		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_STA, 0x0b)
			Name (_CRS, ResourceTemplate ()
			{
				IO (Decode16, 0x505, 0x505, 1, 1)
			})
		}

		/* ACPI_GENERATION of acpi.h: "Virtual Machine Generation ID", by Microsoft. */
		Device (VGEN)
		{
			Name (_HID, "MOTE0001")
			Name (_CID, "VM_Gen_Counter")
			Name (_DDN, "VM_Gen_Counter")
			Name (ADDR, Package () { 0xfed30000, 0 })
		}
	}
}
