// SPDX-License-Identifier: GPL-2.0
/* What a vCPU was at when its VM ended: its registers, and the instructions at RIP. */
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <Zydis/Zydis.h>

#include <debug.h>

#include "runner.h"
#include "vm.h"

#define CR0_PE (1u << 0)

#define NR_INSTRUCTIONS 4
#define LONGEST 15

static const char gpr_names[MOTE_NR_GPRS][4] = {
	"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
	"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
};

static const char seg_names[MOTE_NR_SEGS][4] = {
	"es", "cs", "ss", "ds", "fs", "gs", "ldt", "tr",
};

static ZydisMachineMode machine_mode(const struct mote_state *state)
{
	unsigned int bits = mote_debug_bits(state);

	if (!(state->crs.cr0 & CR0_PE))
		return ZYDIS_MACHINE_MODE_REAL_16;
	return bits == 64 ? ZYDIS_MACHINE_MODE_LONG_64 :
	       bits == 32 ? ZYDIS_MACHINE_MODE_LEGACY_32 : ZYDIS_MACHINE_MODE_LEGACY_16;
}

/**
 * struct line - an instruction of the guest's
 * @rip: where it is
 * @bytes: of it, in hexadecimal
 * @text: in Intel's notation, or that it is none
 */
struct line {
	__u64 rip;
	char bytes[3 * LONGEST];
	char text[96];
};

static void write_bytes(char *text, const unsigned char *bytes, unsigned int nr)
{
	for (unsigned int i = 0; i < nr; i++)
		text += sprintf(text, i ? " %02x" : "%02x", bytes[i]);
}

/* Those at RIP; returns how many can be read, of NR_INSTRUCTIONS. */
static unsigned int disassemble(struct vm *vm, const struct mote_state *state, struct line *lines)
{
	unsigned char bytes[NR_INSTRUCTIONS * LONGEST];
	const struct mote_paging paging = mote_debug_paging(state);
	size_t at = 0, nr = mote_debug_read(&vm->machine, &paging, mote_debug_rip(state), bytes,
					    sizeof(bytes));
	unsigned int nr_lines = 0;

	while (nr_lines < NR_INSTRUCTIONS && at < nr) {
		struct line *line = &lines[nr_lines++];
		ZydisDisassembledInstruction insn;

		line->rip = state->gprs.rip + at;
		if (ZYAN_FAILED(ZydisDisassembleIntel(machine_mode(state), line->rip, bytes + at,
						      nr - at, &insn))) {
			write_bytes(line->bytes, bytes + at, 1);
			strcpy(line->text, "no instruction");
			break;
		}
		write_bytes(line->bytes, bytes + at, insn.info.length);
		snprintf(line->text, sizeof(line->text), "%s", insn.text);
		at += insn.info.length;
	}
	return nr_lines;
}

/* ---- as text ------------------------------------------------------------------------- */

static void write_state(FILE *out, const struct mote_state *state)
{
	const struct mote_crs *crs = &state->crs;

	for (int i = 0; i < MOTE_NR_GPRS; i++)
		fprintf(out, "  %-3s %016llx%s", gpr_names[i], state->gprs.gpr[i],
			i % 4 == 3 ? "\n" : "");
	fprintf(out, "  rip %016llx  rflags %08llx\n", state->gprs.rip, state->gprs.rflags);
	fprintf(out, "  cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %04llx\n",
		crs->cr0, crs->cr2, crs->cr3, crs->cr4, state->msrs.efer);
	for (int i = 0; i < MOTE_NR_SEGS; i++) {
		const struct mote_segment *seg = &state->segs.seg[i];

		fprintf(out, "  %-3s %04x base %016llx limit %08x attr %04x\n", seg_names[i],
			seg->selector, seg->base, seg->limit, seg->attr);
	}
	fprintf(out, "  gdt %016llx limit %04x  idt %016llx limit %04x\n",
		state->segs.gdt.base, state->segs.gdt.limit, state->segs.idt.base,
		state->segs.idt.limit);
}

static void write_code(FILE *out, struct vm *vm, const struct mote_state *state)
{
	struct line lines[NR_INSTRUCTIONS];
	unsigned int nr = disassemble(vm, state, lines);

	if (!nr)
		fprintf(out, "  rip is not in memory\n");
	for (unsigned int i = 0; i < nr; i++)
		fprintf(out, "%s %016llx  %-42s ; %s\n", i ? "  " : "=>", lines[i].rip, lines[i].text,
			lines[i].bytes);
}

static int get_registers(struct vcpu *vcpu, struct mote_state *state)
{
	*state = (struct mote_state) {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS,
	};
	return mote_get_state(vcpu->cpu.fd, state);
}

/* In one piece, whoever else may have something to say. */
void print_registers(struct vcpu *vcpu)
{
	struct mote_state state;
	int err = get_registers(vcpu, &state);
	char *text = NULL;
	size_t size;
	FILE *out = err ? NULL : open_memstream(&text, &size);

	if (!out) {
		complain("cannot read the registers of vCPU %u: %s", vcpu->cpu.id,
			 err ? strerror(-err) : "no memory");
		return;
	}
	write_state(out, &state);
	write_code(out, vcpu->vm, &state);
	fclose(out);
	if (text)
		say_text(text);
	free(text);
}

/* ---- as JSON, whose numbers have too few bits for many ---------------------------------- */

void json_add_hex(struct json_object *object, const char *name, __u64 value)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%llx", value);
	json_object_object_add(object, name, json_object_new_string(text));
}

static void add_segments(struct json_object *object, const struct mote_segs *segs)
{
	const struct {
		const char *name;
		const struct mote_table *table;
	} tables[] = { { "gdt", &segs->gdt }, { "idt", &segs->idt } };

	for (int i = 0; i < MOTE_NR_SEGS; i++) {
		struct json_object *segment = json_object_new_object();

		json_add_hex(segment, "selector", segs->seg[i].selector);
		json_add_hex(segment, "base", segs->seg[i].base);
		json_add_hex(segment, "limit", segs->seg[i].limit);
		json_add_hex(segment, "attr", segs->seg[i].attr);
		json_object_object_add(object, seg_names[i], segment);
	}
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		struct json_object *table = json_object_new_object();

		json_add_hex(table, "base", tables[i].table->base);
		json_add_hex(table, "limit", tables[i].table->limit);
		json_object_object_add(object, tables[i].name, table);
	}
}

struct json_object *json_registers(const struct mote_state *state)
{
	struct json_object *object = json_object_new_object();

	for (int i = 0; i < MOTE_NR_GPRS; i++)
		json_add_hex(object, gpr_names[i], state->gprs.gpr[i]);
	json_add_hex(object, "rip", state->gprs.rip);
	json_add_hex(object, "rflags", state->gprs.rflags);
	json_add_hex(object, "cr0", state->crs.cr0);
	json_add_hex(object, "cr2", state->crs.cr2);
	json_add_hex(object, "cr3", state->crs.cr3);
	json_add_hex(object, "cr4", state->crs.cr4);
	json_add_hex(object, "efer", state->msrs.efer);
	add_segments(object, &state->segs);
	return object;
}

struct json_object *json_code(struct vm *vm, const struct mote_state *state, unsigned int most)
{
	struct json_object *code = json_object_new_array();
	struct line lines[NR_INSTRUCTIONS];
	unsigned int nr = disassemble(vm, state, lines);

	for (unsigned int i = 0; i < nr && i < most; i++) {
		struct json_object *line = json_object_new_object();

		json_add_hex(line, "rip", lines[i].rip);
		json_object_object_add(line, "bytes", json_object_new_string(lines[i].bytes));
		json_object_object_add(line, "text", json_object_new_string(lines[i].text));
		json_object_array_add(code, line);
	}
	return code;
}

void json_add_registers(struct json_object *root, struct vcpu *vcpu)
{
	struct mote_state state;
	int err = get_registers(vcpu, &state);

	json_object_object_add(root, "vcpu", json_object_new_int(vcpu->cpu.id));
	if (err) {
		json_object_object_add(root, "registers_error", json_object_new_string(strerror(-err)));
		return;
	}
	json_object_object_add(root, "registers", json_registers(&state));
	json_object_object_add(root, "code", json_code(vcpu->vm, &state, NR_INSTRUCTIONS));
}
