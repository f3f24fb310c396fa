// SPDX-License-Identifier: GPL-2.0
/*
 * What the tests trace: a guest that makes the same exits in the same order, again and again.
 * usage: sequence ROUNDS | sequence cpuid ROUNDS
 * Prints how many ticks of the TSC it took, and the exits that the run page has counted.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <x86intrin.h>

#include "guest.h"
#include "libmote.h"
#include "trace.h"

/* RBX: where there is no memory; VMCALL and VMMCALL are the same to mote on its vendor's CPUs. */
#define ROUND(hypercall)							\
	"mov $0x800000, %ebx; mov $0x12345678, %r8d\n"				\
	"1: mov $0x80000000, %eax; xor %ecx, %ecx; cpuid\n"			\
	"mov $0x277, %ecx; rdmsr; wrmsr\n"					\
	"mov $0x42, %eax; out %al, $0x80\n"					\
	"in $0x81, %ax\n"							\
	"mov $0x800000, %ebx; movl (%rbx), %eax\n"				\
	"mov $0x4d000000, %eax; xor %ebx, %ebx; mov $0x33, %ecx; " hypercall "\n" \
	"hlt\n"									\
	"dec %edi; jnz 1b; out %al, $0x82\n"

GUEST(vmx, 64, ROUND("vmcall"));
GUEST(svm, 64, ROUND("vmmcall"));
GUEST(cpuid, 64, "1: xor %eax, %eax; xor %ecx, %ecx; cpuid; dec %edi; jnz 1b; out %al, $0x82\n");

/* User space's part: an answer, and RIP behind the access, which is two bytes long. */
static void answer(struct mote_run *run, int reason)
{
	run->gpr[MOTE_RAX] = reason == MOTE_EXIT_PIO ? SEQUENCE_IN : 0;
	if (reason == MOTE_EXIT_MMIO) {
		run->rip += 2;
		run->set = 1 << MOTE_RAX | MOTE_SET_RIP | MOTE_SET_COMPLETE;
	} else if (reason == MOTE_EXIT_PIO && run->pio.flags & MOTE_PIO_IN) {
		run->set |= 1 << MOTE_RAX;
	} else if (reason == MOTE_EXIT_HLT) {
		run->set = MOTE_SET_COMPLETE;
	}
}

int main(int argc, char **argv)
{
	bool only_cpuid = argc == 3 && !strcmp(argv[1], "cpuid");
	struct mote_state state;
	struct guest guest;
	unsigned long long start;
	int reason;

	if (argc != 2 && !only_cpuid) {
		fprintf(stderr, "usage: sequence [cpuid] ROUNDS\n");
		return 2;
	}
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, only_cpuid ? &guest_cpuid :
		    mote_cpuid_vendor() == MOTE_VENDOR_VMX ? &guest_vmx : &guest_svm);
	guest_get(&guest, &state, MOTE_STATE_GPRS);
	state.gprs.gpr[MOTE_RDI] = atol(argv[argc - 1]);
	guest_set(&guest, &state);
	start = __rdtsc();
	do {
		reason = guest_run(&guest);
		answer(guest.run, reason);
	} while (reason == MOTE_EXIT_MMIO || reason == MOTE_EXIT_HLT ||
		 (reason == MOTE_EXIT_PIO && guest.run->pio.port != SEQUENCE_END));
	printf("ticks %llu\n", __rdtsc() - start);
	for (int i = 0; i < MOTE_NR_EXITS; i++)
		if (guest.run->exits[i])
			printf("%s %llu\n", mote_exit_name(i), guest.run->exits[i]);
	if (reason != MOTE_EXIT_PIO)
		fprintf(stderr, "sequence: ended by %s\n", guest_exit_name(reason));
	guest_destroy(&guest);
	return reason != MOTE_EXIT_PIO;
}
