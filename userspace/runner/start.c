// SPDX-License-Identifier: GPL-2.0
/* The state in which vCPUs begin, where there is no firmware that the first would begin in. */
#include <string.h>

#include "loader.h"
#include "runner.h"

#define CR0_PE (1u << 0)
#define CR0_ET (1u << 4)
#define CR0_PG (1u << 31)
#define CR4_PAE (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)
#define RFLAGS_FIXED 2

/* Descriptors: flat, DPL 0, accessed. */
#define CODE_32 0x00cf9b000000ffffull
#define CODE_64 0x00af9b000000ffffull
#define DATA 0x00cf93000000ffffull
#define TSS_BUSY 0x00008b0000000067ull
/* Selectors, as the Linux boot protocol wants them; the TSS is for the CPU alone. */
#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS 0x20

/* The local APIC's registers, by their place in struct mote_apic. */
#define APIC_SVR 0x0f
#define APIC_LVT0 0x35
#define APIC_LVT1 0x36
#define SVR_ENABLED 0x1ff
#define LVT_EXTINT 0x700
#define LVT_NMI 0x400

/* MTRRs are on: memory is write-back, as what is none is mapped otherwise by the guest's page tables. */
#define MTRR_WRITE_BACK 0x806

#define PAGE_SIZE 4096
#define PRESENT_WRITABLE 3
#define LARGE 0x83
#define NR_GIB 4

static void set_gprs(struct mote_state *state, const struct mote_gprs *gprs)
{
	state->gprs = *gprs;
	state->gprs.rflags = RFLAGS_FIXED;
}

/* The state after RESET, and what firmware does to it: virtual wire mode (MP spec 1.4, 3.6.2.2). */
static int get(struct vm *vm, struct mote_state *state)
{
	static const struct mote_gprs none;
	int err;

	memset(state, 0, sizeof(*state));
	state->mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS |
		      MOTE_STATE_APIC;
	err = mote_get_state(vm->vcpus[0].cpu.fd, state);
	if (err)
		complain("cannot read the registers of vCPU 0: %s", strerror(-err));
	set_gprs(state, &none);
	state->apic.reg[APIC_SVR] = SVR_ENABLED;
	state->apic.reg[APIC_LVT0] = LVT_EXTINT;
	state->apic.reg[APIC_LVT1] = LVT_NMI;
	return err ? -1 : 0;
}

static int set(struct vm *vm, const struct mote_state *state)
{
	struct mote_state other = { .mask = MOTE_STATE_MSRS };
	int err = mote_set_state(vm->vcpus[0].cpu.fd, state);

	for (unsigned int i = 0; !err && i < vm->nr_vcpus; i++) {
		int fd = vm->vcpus[i].cpu.fd;

		err = mote_get_state(fd, &other);
		other.msrs.mtrr_def_type = MTRR_WRITE_BACK;
		if (!err)
			err = mote_set_state(fd, &other);
	}
	if (err)
		complain("cannot set the registers of the vCPUs: %s", strerror(-err));
	return err ? -1 : 0;
}

int start_real(struct vm *vm, __u16 ip)
{
	struct mote_state state;

	if (get(vm, &state))
		return -1;
	state.gprs.rip = ip;
	state.gprs.gpr[MOTE_RSP] = ip;
	state.segs.seg[MOTE_CS].selector = 0;
	state.segs.seg[MOTE_CS].base = 0;
	return set(vm, &state);
}

static struct mote_segment flat(__u16 selector, __u64 descriptor)
{
	return (struct mote_segment) {
		.selector = selector, .limit = 0xffffffff, .attr = descriptor >> 40 & 0xf0ff,
	};
}

/* Flat segments, with a code segment of the given kind, and their descriptors. */
static int set_segments(struct vm *vm, struct mote_state *state, __u64 gpa, __u64 code)
{
	const __u64 gdt[] = { 0, 0, code, DATA, TSS_BUSY, 0 };

	for (int i = MOTE_ES; i <= MOTE_GS; i++)
		state->segs.seg[i] = i == MOTE_CS ? flat(SEL_CODE, code) : flat(SEL_DATA, DATA);
	state->segs.seg[MOTE_TR] = (struct mote_segment) {
		.selector = SEL_TSS, .limit = 0x67, .attr = 0x8b,
	};
	state->segs.gdt = (struct mote_table) { .base = gpa, .limit = sizeof(gdt) - 1 };
	state->segs.idt = (struct mote_table) { 0 };
	return load_bytes(vm, gpa, gdt, sizeof(gdt));
}

int start_protected(struct vm *vm, __u64 tables, const struct mote_gprs *gprs)
{
	struct mote_state state;

	if (get(vm, &state) || set_segments(vm, &state, tables, CODE_32))
		return -1;
	set_gprs(&state, gprs);
	state.crs.cr0 = CR0_PE | CR0_ET;
	return set(vm, &state);
}

/* Tables that map the first 4 GiB by pages of 2 MiB. */
static int write_page_tables(struct vm *vm, __u64 pml4)
{
	__u64 pdpt = pml4 + PAGE_SIZE, pd = pdpt + PAGE_SIZE;
	__u64 table[PAGE_SIZE / 8] = { pdpt | PRESENT_WRITABLE };

	if (load_bytes(vm, pml4, table, sizeof(table)))
		return -1;
	for (__u64 gib = 0; gib < NR_GIB; gib++)
		table[gib] = (pd + gib * PAGE_SIZE) | PRESENT_WRITABLE;
	if (load_bytes(vm, pdpt, table, sizeof(table)))
		return -1;
	for (__u64 gib = 0; gib < NR_GIB; gib++) {
		for (__u64 i = 0; i < PAGE_SIZE / 8; i++)
			table[i] = gib << 30 | i << 21 | LARGE;
		if (load_bytes(vm, pd + gib * PAGE_SIZE, table, sizeof(table)))
			return -1;
	}
	return 0;
}

int start_long(struct vm *vm, __u64 tables, const struct mote_gprs *gprs)
{
	struct mote_state state;
	__u64 pml4 = tables + PAGE_SIZE;

	if (get(vm, &state) || set_segments(vm, &state, tables, CODE_64) ||
	    write_page_tables(vm, pml4))
		return -1;
	set_gprs(&state, gprs);
	state.crs.cr0 = CR0_PE | CR0_ET | CR0_PG;
	state.crs.cr3 = pml4;
	state.crs.cr4 = CR4_PAE;
	state.crs.flags = 0;
	state.msrs.efer = EFER_LME | EFER_LMA;
	return set(vm, &state);
}
