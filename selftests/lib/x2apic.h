/* SPDX-License-Identifier: GPL-2.0 */
/* Code for guests with a local APIC, by its MSRs: SDM 3A, "Extended XAPIC (x2APIC)". */
#ifndef X2APIC_H
#define X2APIC_H

#define WRMSR(index, value) "mov $" #index ", %ecx; mov $" #value ", %eax; xor %edx, %edx; wrmsr\n"

/* To the register that has offset @reg in units of 16 bytes; bits 63:32 become 0. */
#define X2APIC_WRITE(reg, value) WRMSR(0x800 + reg, value)
#define X2APIC_ON "mov $0x1b, %ecx; rdmsr; or $0x400, %eax; wrmsr\n" X2APIC_WRITE(0xf, 0x1ff)
#define EOI X2APIC_WRITE(0xb, 0)
#define SELF(vector) X2APIC_WRITE(0x3f, vector)

#endif /* X2APIC_H */
