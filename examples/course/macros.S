/* SPDX-License-Identifier: GPL-2.0 */
/* What the guests of docs/course.md share. */

/* ACPI's PM1 control register, and S5 there: power off. */
#define PM1_CONTROL 0x604
#define S5 0x3400

/* SDM 3A, "Extended XAPIC (x2APIC)" */
#define IA32_APIC_BASE 0x1b
#define X2APIC_ENABLE 0x400
#define X2APIC_EOI 0x80b
#define X2APIC_SVR 0x80f
#define X2APIC_ICR 0x830
#define X2APIC_SELF_IPI 0x83f

.macro wrmsr_to msr, value
	mov $\msr, %ecx
	mov $\value, %eax
	xor %edx, %edx
	wrmsr
.endm

/* The local APIC, in x2APIC mode and on. */
.macro x2apic_on
	mov $IA32_APIC_BASE, %ecx
	rdmsr
	or $X2APIC_ENABLE, %eax
	wrmsr
	wrmsr_to X2APIC_SVR, 0x1ff
.endm

.macro end
	mov $PM1_CONTROL, %dx
	mov $S5, %ax
	out %ax, %dx
1:	hlt
	jmp 1b
.endm
