// SPDX-License-Identifier: GPL-2.0
/* What a vCPU was at when its VM ended: its registers, and the instructions at RIP. */
#include <stdio.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include "runner.h"
#include "vm.h"

#define CR0_PE (1u << 0)
#define EFER_LMA (1u << 10)
#define RFLAGS_VM (1u << 17)
#define ATTR_L (1u << 13)
#define ATTR_DB (1u << 14)

#define NR_INSTRUCTIONS 4
#define LONGEST 15
#define PAGE_SIZE 4096

static const char gpr_names[MOTE_NR_GPRS][4] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
};

static const char seg_names[MOTE_NR_SEGS][4] = {
	"es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr",
};

static void print_state(const struct mote_state *state)
{
	const struct mote_crs *crs = &state->crs;

	for (int i = 0; i < MOTE_NR_GPRS; i++)
		fprintf(stderr, "  %-3s %016llx%s", gpr_names[i], state->gprs.gpr[i],
			i % 4 == 3 ? "\n" : "");
	fprintf(stderr, "  rip %016llx  rflags %08llx\n", state->gprs.rip, state->gprs.rflags);
	fprintf(stderr, "  cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx\n",
		crs->cr0, crs->cr2, crs->cr3, crs->cr4, state->msrs.efer);
	for (int i = 0; i < MOTE_NR_SEGS; i++) {
		const struct mote_segment *seg = &state->segs.seg[i];

		fprintf(stderr, "  %-3s %04x base %016llx limit %08x attr %04x\n", seg_names[i],
			seg->selector, seg->base, seg->limit, seg->attr);
	}
	fprintf(stderr, "  gdt %016llx limit %04x  idt %016llx limit %04x\n",
		state->segs.gdt.base, state->segs.gdt.limit, state->segs.idt.base,
		state->segs.idt.limit);
}

static ZydisMachineMode machine_mode(const struct mote_state *state)
{
	__u16 attr = state->segs.seg[MOTE_CS].attr;

	if (!(state->crs.cr0 & CR0_PE))
		return ZYDIS_MACHINE_MODE_REAL_16;
	if (state->msrs.efer & EFER_LMA && attr & ATTR_L)
		return ZYDIS_MACHINE_MODE_LONG_64;
	if (!(attr & ATTR_DB) || state->gprs.rflags & RFLAGS_VM)
		return ZYDIS_MACHINE_MODE_LEGACY_16;
	return ZYDIS_MACHINE_MODE_LEGACY_32;
}

/* As many bytes from a linear address on as there are; returns how many. */
static size_t fetch(struct vm *vm, const struct mote_state *state, __u64 gva,
		    unsigned char *bytes, size_t nr)
{
	const struct mote_paging paging = {
		.cr0 = state->crs.cr0, .cr3 = state->crs.cr3, .cr4 = state->crs.cr4,
		.efer = state->msrs.efer,
	};
	size_t done = 0;

	while (done < nr) {
		size_t here = PAGE_SIZE - (gva + done) % PAGE_SIZE;
		__u64 gpa;

		if (here > nr - done)
			here = nr - done;
		if (mote_walk(&vm->machine, &paging, gva + done, MOTE_ACCESS_PEEK, &gpa, NULL) ||
		    mote_machine_read(&vm->machine, gpa, bytes + done, here))
			break;
		done += here;
	}
	return done;
}

static void print_code(struct vm *vm, const struct mote_state *state)
{
	unsigned char bytes[NR_INSTRUCTIONS * LONGEST];
	__u64 base = machine_mode(state) == ZYDIS_MACHINE_MODE_LONG_64 ?
		     0 : state->segs.seg[MOTE_CS].base;
	size_t nr = fetch(vm, state, base + state->gprs.rip, bytes, sizeof(bytes)), at = 0;
	ZydisDisassembledInstruction insn;

	if (!nr)
		fprintf(stderr, "  rip is not in memory\n");
	for (int i = 0; i < NR_INSTRUCTIONS && at < nr; i++) {
		__u64 rip = state->gprs.rip + at;

		if (ZYAN_FAILED(ZydisDisassembleIntel(machine_mode(state), rip, bytes + at,
						      nr - at, &insn))) {
			fprintf(stderr, "%s %016llx  %02x: no instruction\n", i ? "  " : "=>",
				rip, bytes[at]);
			break;
		}
		fprintf(stderr, "%s %016llx  %-42s ;", i ? "  " : "=>", rip, insn.text);
		for (int byte = 0; byte < insn.info.length; byte++)
			fprintf(stderr, " %02x", bytes[at + byte]);
		fputc('\n', stderr);
		at += insn.info.length;
	}
}

void print_registers(struct vcpu *vcpu)
{
	struct mote_state state = {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS,
	};
	int err = mote_get_state(vcpu->cpu.fd, &state);

	if (err) {
		complain("cannot read the registers of vCPU %u: %s", vcpu->cpu.id, strerror(-err));
		return;
	}
	print_state(&state);
	print_code(vcpu->vm, &state);
}
