/* SPDX-License-Identifier: GPL-2.0 */
/* Lesson 1, trap and emulate: what needs the hypervisor, and a privileged instruction that does not. */
#include "macros.S"

	.code16
	xor %eax, %eax
	cpuid			/* answered from a table, in the module */
	mov $0x41, %al
	out %al, $0x80		/* a device: the runner's */
	mov %cr0, %eax		/* none of these two: the hardware has a copy of its own */
	mov %eax, %cr0
	mov $0x10, %ecx
	rdmsr			/* the guest's own TSC, by MSR */
	end
