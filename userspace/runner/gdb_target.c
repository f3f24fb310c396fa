// SPDX-License-Identifier: GPL-2.0
/* A vCPU's registers for gdb: see gdb_target.h. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <debug.h>

#include "gdb_target.h"
#include "runner.h"

#define EFER_LMA (1u << 10)
#define RFLAGS_WRITABLE 0x254dd5u	/* all but VM, RF, VIF, VIP and what is reserved */

/* In an XSAVE image (SDM 1, "Legacy Region of an XSAVE Area"). */
#define FX_FCW 0
#define FX_FSW 2
#define FX_FTW 4
#define FX_FOP 6
#define FX_FIP 8
#define FX_FDP 16
#define FX_MXCSR 24
#define FX_ST 32
#define FX_XMM 160
#define XSTATE_BV 512

enum kind {
	GPR,		/* @at: &enum mote_gpr */
	RIP, FLAGS,
	SELECTOR,	/* &enum mote_seg */
	BASE,
	CR,		/* an offset into &struct mote_crs */
	MSR,		/* into &struct mote_msrs */
	FX,		/* into the image */
	FTAG,
	ZERO,		/* there is no such thing */
};

/**
 * struct reg - a register
 * @name: gdb's
 * @type: likewise
 * @kind: where it is
 * @at: and where there
 * @size: in bytes, of i386 and of x86-64; 0: it has none
 */
struct reg {
	const char *name;
	const char *type;
	enum kind kind;
	unsigned int at;
	__u8 size[2];
};

#define GENERAL(name, type, at) { name, type, GPR, at, { 0, 8 } }
#define GENERAL32(name, type, at) { name, type, GPR, at, { 4, 0 } }
#define SEGMENT(name, at) { name, "int32", SELECTOR, at, { 4, 4 } }
#define STACK(n) { "st" #n, "i387_ext", FX, FX_ST + 16 * (n), { 10, 10 } }
#define FPU(name, kind, at) { name, "int", kind, at, { 4, 4 } }
#define XMM(n) { "xmm" #n, "vec128", FX, FX_XMM + 16 * (n), { 16, 16 } }
#define XMM64(n) { "xmm" #n, "vec128", FX, FX_XMM + 16 * (n), { 0, 16 } }
#define SYSTEM(name, kind, at) { name, "int", kind, at, { 4, 8 } }
#define IN_CRS(field) SYSTEM(#field, CR, offsetof(struct mote_crs, field))
#define IN_MSRS(name, field) SYSTEM(name, MSR, offsetof(struct mote_msrs, field))

/* In gdb's order. */
static const struct reg core[] = {
	GENERAL("rax", "int64", MOTE_RAX), GENERAL("rbx", "int64", MOTE_RBX),
	GENERAL("rcx", "int64", MOTE_RCX), GENERAL("rdx", "int64", MOTE_RDX),
	GENERAL("rsi", "int64", MOTE_RSI), GENERAL("rdi", "int64", MOTE_RDI),
	GENERAL("rbp", "data_ptr", MOTE_RBP), GENERAL("rsp", "data_ptr", MOTE_RSP),
	GENERAL("r8", "int64", MOTE_R8), GENERAL("r9", "int64", MOTE_R9),
	GENERAL("r10", "int64", MOTE_R10), GENERAL("r11", "int64", MOTE_R11),
	GENERAL("r12", "int64", MOTE_R12), GENERAL("r13", "int64", MOTE_R13),
	GENERAL("r14", "int64", MOTE_R14), GENERAL("r15", "int64", MOTE_R15),
	{ "rip", "code_ptr", RIP, 0, { 0, 8 } },
	GENERAL32("eax", "int32", MOTE_RAX), GENERAL32("ecx", "int32", MOTE_RCX),
	GENERAL32("edx", "int32", MOTE_RDX), GENERAL32("ebx", "int32", MOTE_RBX),
	GENERAL32("esp", "data_ptr", MOTE_RSP), GENERAL32("ebp", "data_ptr", MOTE_RBP),
	GENERAL32("esi", "int32", MOTE_RSI), GENERAL32("edi", "int32", MOTE_RDI),
	{ "eip", "code_ptr", RIP, 0, { 4, 0 } },
	{ "eflags", "i386_eflags", FLAGS, 0, { 4, 4 } },
	SEGMENT("cs", MOTE_CS), SEGMENT("ss", MOTE_SS), SEGMENT("ds", MOTE_DS), SEGMENT("es", MOTE_ES),
	SEGMENT("fs", MOTE_FS), SEGMENT("gs", MOTE_GS),
	STACK(0), STACK(1), STACK(2), STACK(3), STACK(4), STACK(5), STACK(6), STACK(7),
	FPU("fctrl", FX, FX_FCW), FPU("fstat", FX, FX_FSW), FPU("ftag", FTAG, FX_FTW),
	FPU("fiseg", ZERO, 0), FPU("fioff", FX, FX_FIP), FPU("foseg", ZERO, 0), FPU("fooff", FX, FX_FDP),
	FPU("fop", FX, FX_FOP),
};

static const struct reg sse[] = {
	XMM(0), XMM(1), XMM(2), XMM(3), XMM(4), XMM(5), XMM(6), XMM(7),
	XMM64(8), XMM64(9), XMM64(10), XMM64(11), XMM64(12), XMM64(13), XMM64(14), XMM64(15),
	{ "mxcsr", "i386_mxcsr", FX, FX_MXCSR, { 4, 4 } },
};

static const struct reg segments[] = {
	SYSTEM("fs_base", BASE, MOTE_FS), SYSTEM("gs_base", BASE, MOTE_GS),
};

static const struct reg control[] = {
	IN_MSRS("k_gs_base", kernel_gs_base), IN_CRS(cr0), IN_CRS(cr2), IN_CRS(cr3), IN_CRS(cr4), IN_CRS(cr8),
	IN_MSRS("efer", efer),
};

/* What gdb has types of its own for. */
static const char core_types[] =
	"<flags id=\"i386_eflags\" size=\"4\">"
	"<field name=\"\" start=\"22\" end=\"31\"/><field name=\"ID\" start=\"21\" end=\"21\"/>"
	"<field name=\"VIP\" start=\"20\" end=\"20\"/><field name=\"VIF\" start=\"19\" end=\"19\"/>"
	"<field name=\"AC\" start=\"18\" end=\"18\"/><field name=\"VM\" start=\"17\" end=\"17\"/>"
	"<field name=\"RF\" start=\"16\" end=\"16\"/><field name=\"NT\" start=\"14\" end=\"14\"/>"
	"<field name=\"OF\" start=\"11\" end=\"11\"/><field name=\"DF\" start=\"10\" end=\"10\"/>"
	"<field name=\"IF\" start=\"9\" end=\"9\"/><field name=\"TF\" start=\"8\" end=\"8\"/>"
	"<field name=\"SF\" start=\"7\" end=\"7\"/><field name=\"ZF\" start=\"6\" end=\"6\"/>"
	"<field name=\"AF\" start=\"4\" end=\"4\"/><field name=\"PF\" start=\"2\" end=\"2\"/>"
	"<field name=\"CF\" start=\"0\" end=\"0\"/></flags>";
static const char sse_types[] =
	"<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/><vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
	"<vector id=\"v16i8\" type=\"int8\" count=\"16\"/><vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
	"<vector id=\"v4i32\" type=\"int32\" count=\"4\"/><vector id=\"v2i64\" type=\"int64\" count=\"2\"/>"
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/><field name=\"v2_double\" type=\"v2d\"/>"
	"<field name=\"v16_int8\" type=\"v16i8\"/><field name=\"v8_int16\" type=\"v8i16\"/>"
	"<field name=\"v4_int32\" type=\"v4i32\"/><field name=\"v2_int64\" type=\"v2i64\"/>"
	"<field name=\"uint128\" type=\"uint128\"/></union>"
	"<flags id=\"i386_mxcsr\" size=\"4\"><field name=\"IE\" start=\"0\" end=\"0\"/>"
	"<field name=\"DE\" start=\"1\" end=\"1\"/><field name=\"ZE\" start=\"2\" end=\"2\"/>"
	"<field name=\"OE\" start=\"3\" end=\"3\"/><field name=\"UE\" start=\"4\" end=\"4\"/>"
	"<field name=\"PE\" start=\"5\" end=\"5\"/><field name=\"DAZ\" start=\"6\" end=\"6\"/>"
	"<field name=\"IM\" start=\"7\" end=\"7\"/><field name=\"DM\" start=\"8\" end=\"8\"/>"
	"<field name=\"ZM\" start=\"9\" end=\"9\"/><field name=\"OM\" start=\"10\" end=\"10\"/>"
	"<field name=\"UM\" start=\"11\" end=\"11\"/><field name=\"PM\" start=\"12\" end=\"12\"/>"
	"<field name=\"FZ\" start=\"15\" end=\"15\"/></flags>";

static const struct {
	const char *name;
	const char *types;
	const struct reg *regs;
	size_t nr;
} features[] = {
	{ "org.gnu.gdb.i386.core", core_types, core, ARRAY_SIZE(core) },
	{ "org.gnu.gdb.i386.sse", sse_types, sse, ARRAY_SIZE(sse) },
	{ "org.gnu.gdb.i386.segments", "", segments, ARRAY_SIZE(segments) },
	{ "org.mote.i386.system", "", control, ARRAY_SIZE(control) },
};

/* ---- values ------------------------------------------------------------------------ */

/* Where the bytes of a register are. */
static void *find(struct gdb_registers *registers, const struct reg *reg)
{
	struct mote_state *state = &registers->state;

	switch (reg->kind) {
	case GPR:
		return &state->gprs.gpr[reg->at];
	case RIP:
		return &state->gprs.rip;
	case FLAGS:
		return &state->gprs.rflags;
	case SELECTOR:
		return &state->segs.seg[reg->at].selector;
	case BASE:
		return &state->segs.seg[reg->at].base;
	case CR:
		return (char *)&state->crs + reg->at;
	case MSR:
		return (char *)&state->msrs + reg->at;
	default:
		return registers->xsave + reg->at;
	}
}

/* How many bytes there are of it, beyond which it is 0. */
static size_t width(const struct reg *reg, size_t size)
{
	if (reg->kind == ZERO)
		return 0;
	if (reg->kind == SELECTOR || (reg->kind == FX && reg->at < FX_FIP))
		return 2;
	return size;
}

/* Two bits a register, where the image has one (SDM 1, "x87 FPU Tag Word"). */
static __u16 full_tags(__u8 tags)
{
	__u16 full = 0;

	for (int i = 0; i < 8; i++)
		if (!(tags >> i & 1))
			full |= 3 << 2 * i;
	return full;
}

static __u8 short_tags(__u16 full)
{
	__u8 tags = 0;

	for (int i = 0; i < 8; i++)
		if ((full >> 2 * i & 3) != 3)
			tags |= 1 << i;
	return tags;
}

static void write_reg(const struct gdb_registers *registers, const struct reg *reg, struct gdb_out *out)
{
	const void *from = find((struct gdb_registers *)registers, reg);
	size_t size = reg->size[registers->is_64bit];
	__u8 bytes[16] = { 0 };
	__u16 tags;

	memcpy(bytes, from, width(reg, size));
	if (reg->kind == FTAG) {
		tags = full_tags(*(const __u8 *)from);
		memcpy(bytes, &tags, sizeof(tags));
		memset(bytes + sizeof(tags), 0, sizeof(bytes) - sizeof(tags));
	}
	gdb_bytes(out, bytes, size);
}

/* Does the address, as far as it has 64 bits, exist? */
static bool is_canonical(const struct gdb_registers *registers, __u64 rip)
{
	return gdb_is_long(registers) ? (__u64)((__s64)(rip << 7) >> 7) == rip : !(rip >> 32);
}

/* What a register gets, if it can be written. */
static bool take(struct gdb_registers *registers, const struct reg *reg, const __u8 *bytes, size_t size)
{
	__u64 value = 0, old = registers->state.gprs.rflags;
	void *to = find(registers, reg);

	memcpy(&value, bytes, size < sizeof(value) ? size : sizeof(value));
	switch (reg->kind) {
	case RIP:
		if (!is_canonical(registers, value))
			return false;
		registers->state.gprs.rip = value;
		return true;
	case FLAGS:
		registers->state.gprs.rflags = (old & ~(__u64)RFLAGS_WRITABLE) | (value & RFLAGS_WRITABLE);
		return true;
	case GPR:
		registers->state.gprs.gpr[reg->at] = value;
		return true;
	case FTAG:
		registers->xsave[reg->at] = short_tags(value);
		return true;
	case FX:
		memcpy(to, bytes, width(reg, size));
		return true;
	default:
		/* A segment is more than its selector, and what rules the mode is the guest's to change. */
		return !memcmp(to, bytes, width(reg, size));
	}
}

static bool read_reg(struct gdb_registers *registers, const struct reg *reg, const char **text,
		     bool *is_taken)
{
	size_t size = reg->size[registers->is_64bit];
	__u8 bytes[16];

	if (!gdb_hex(text, bytes, size))
		return false;
	*is_taken = take(registers, reg, bytes, size);
	return true;
}

/* ---- packets ----------------------------------------------------------------------- */

/* By its number, or NULL. */
static const struct reg *reg_by_number(bool is_64bit, unsigned int nr)
{
	for (size_t i = 0; i < ARRAY_SIZE(features); i++)
		for (size_t j = 0; j < features[i].nr; j++)
			if (features[i].regs[j].size[is_64bit] && !nr--)
				return &features[i].regs[j];
	return NULL;
}

void gdb_registers_write(const struct gdb_registers *registers, struct gdb_out *out)
{
	const struct reg *reg;

	for (unsigned int nr = 0; (reg = reg_by_number(registers->is_64bit, nr)); nr++)
		write_reg(registers, reg, out);
}

bool gdb_register_write(const struct gdb_registers *registers, unsigned int nr, struct gdb_out *out)
{
	const struct reg *reg = reg_by_number(registers->is_64bit, nr);

	if (reg)
		write_reg(registers, reg, out);
	return reg;
}

/* gdb writes all to change one: what cannot be written stays as it is. */
bool gdb_registers_read(struct gdb_registers *registers, const char *text)
{
	const struct reg *reg;
	bool is_taken = true;

	for (unsigned int nr = 0; (reg = reg_by_number(registers->is_64bit, nr)); nr++)
		if (!read_reg(registers, reg, &text, &is_taken))
			return false;
	return !*text;
}

bool gdb_register_read(struct gdb_registers *registers, unsigned int nr, const char *text)
{
	const struct reg *reg = reg_by_number(registers->is_64bit, nr);
	bool is_taken = false;

	return reg && read_reg(registers, reg, &text, &is_taken) && is_taken && !*text;
}

bool gdb_is_long(const struct gdb_registers *registers)
{
	return registers->state.msrs.efer & EFER_LMA;
}

int gdb_registers_get(struct gdb_registers *registers, int vcpu)
{
	registers->state = (struct mote_state) {
		.mask = MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS | MOTE_STATE_MSRS |
			MOTE_STATE_XSAVE,
		.xsave_size = sizeof(registers->xsave), .xsave = (unsigned long)registers->xsave,
	};
	return mote_debug_get(vcpu, &registers->state);
}

int gdb_registers_put(struct gdb_registers *registers, int vcpu)
{
	/* Those of x87 and SSE are there now. */
	registers->xsave[XSTATE_BV] |= 3;
	registers->state.mask = MOTE_STATE_GPRS | MOTE_STATE_XSAVE;
	return mote_set_state(vcpu, &registers->state);
}

/* ---- the description ----------------------------------------------------------------- */

static void describe(FILE *out, bool is_64bit)
{
	fprintf(out, "<?xml version=\"1.0\"?><!DOCTYPE target SYSTEM \"gdb-target.dtd\"><target>"
		"<architecture>%s</architecture>", is_64bit ? "i386:x86-64" : "i386");
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		fprintf(out, "<feature name=\"%s\">%s", features[i].name, features[i].types);
		for (size_t j = 0; j < features[i].nr; j++) {
			const struct reg *reg = &features[i].regs[j];

			if (reg->size[is_64bit])
				fprintf(out, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\"/>", reg->name,
					reg->size[is_64bit] * 8, reg->type);
		}
		fputs("</feature>", out);
	}
	fputs("</target>", out);
}

void gdb_target_write(bool is_64bit, __u64 offset, __u64 size, struct gdb_out *out)
{
	char *text = NULL;
	size_t all = 0;
	FILE *file = open_memstream(&text, &all);

	if (file) {
		describe(file, is_64bit);
		fclose(file);
	}
	if (!text || offset > all) {
		gdb_text(out, "E01");
		free(text);
		return;
	}
	if (size > GDB_PACKET_MOST / 2 - 1)
		size = GDB_PACKET_MOST / 2 - 1;
	gdb_text(out, size < all - offset ? "m" : "l");
	gdb_binary(out, text + offset, size < all - offset ? size : all - offset);
	free(text);
}
