// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: completing MMIO and port I/O.
 *
 * The common case, one operand in memory that does not cross a page, costs
 * one walk of the page tables, to read the instruction: where the operand is
 * the exit has said.  Decoded instructions are kept; the bytes are compared
 * each time, since neither RIP nor CR3 says what they are now.
 *
 * What the guest did not yet prove that it may do, as the second operand of a
 * MOVS, is checked here: segment limits, canonical addresses, rights of pages.
 * All operands are found before the first is accessed.
 *
 * Not here: loading SS and descriptor tables, IRET and POPF, far branches, XSAVE,
 * gathers and scatters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "complete.h"
#include "insn.h"
#include "native.h"

#define CR0_PE (1u << 0)
#define CR4_OSXMMEXCPT (1u << 10)
#define CR4_LA57 (1u << 12)
#define EFER_LMA (1u << 10)
#define RFLAGS_CF (1u << 0)
#define RFLAGS_ZF (1u << 6)
#define RFLAGS_TF (1u << 8)
#define RFLAGS_DF (1u << 10)
#define RFLAGS_VM (1u << 17)
#define RFLAGS_ARITHMETIC 0x8d5u
#define RFLAGS_PUSHED 0xfcffffu	/* RF and VM are not */

#define ATTR_ACCESSED (1u << 0)
#define ATTR_CODE (1u << 3)
#define ATTR_DOWN (1u << 2)	/* of data: expands down; of code: conforming */
#define ATTR_WRITE (1u << 1)	/* of data; of code: may be read */
#define ATTR_S (1u << 4)
#define ATTR_P (1u << 7)
#define ATTR_L (1u << 13)
#define ATTR_DB (1u << 14)

#define SELECTOR_TI 4u

#define VECTOR_UD 6
#define VECTOR_NP 11
#define VECTOR_SS 12
#define VECTOR_GP 13
#define VECTOR_PF 14
#define VECTOR_XM 19

#define PAGE_SIZE 4096u
#define CACHE_SIZE 64
/* Repetitions in one go: between them the guest takes its interrupts. */
#define MAX_REPEAT 1024
/* x87's registers in an XSAVE image: SDM 1, "Layout of the XSAVE Area". */
#define XSAVE_FOP 6
#define XSAVE_FIP 8
#define XSAVE_FDP 16
/* FXSAVE's image, of which what is behind XMM7 is there in 64-bit mode alone. */
#define FXSAVE_SIZE MOTE_NATIVE_OPERAND
#define FXSAVE_XMM8 288
#define FSTENV_LEAST 14

/* Not an error: an exception has been injected, or the guest is to try again. */
#define TO_GUEST 1

/* Guest-physical memory behind an operand: in one or two pages. */
struct span {
	__u64 gpa[2];
	unsigned int len[2];
};

/* An instruction that is being completed. */
struct job {
	struct mote_cpu *cpu;
	const struct mote_bus *bus;
	struct mote_run *run;
	const struct mote_insn *insn;
	bool has_segs;
	struct mote_segs segs;
};

/* A copy of few bytes without a call, where their number is one of the usual. */
static inline void copy_bytes(void *to, const void *from, unsigned int len)
{
	switch (len) {
	case 1:
		memcpy(to, from, 1);
		break;
	case 2:
		memcpy(to, from, 2);
		break;
	case 4:
		memcpy(to, from, 4);
		break;
	case 8:
		memcpy(to, from, 8);
		break;
	default:
		memcpy(to, from, len);
	}
}

/* ---- exceptions ------------------------------------------------------------- */

static int inject(struct job *job, __u8 vector, __u32 error)
{
	struct mote_event event = {
		.valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = vector,
		.has_error = vector >= VECTOR_NP && vector <= VECTOR_PF, .error = error,
	};
	int err = mote_inject(job->cpu->fd, &event);

	return err ? err : TO_GUEST;
}

static int inject_page_fault(struct job *job, __u64 gva, __u32 error)
{
	struct mote_state state = { .mask = MOTE_STATE_CRS };
	int err = mote_get_state(job->cpu->fd, &state);

	if (err)
		return err;
	state.mask = MOTE_STATE_CRS;
	state.crs.cr2 = gva;
	err = mote_set_state(job->cpu->fd, &state);
	return err ? err : inject(job, VECTOR_PF, error);
}

/* ---- registers --------------------------------------------------------------- */

static __u64 size_mask(unsigned int size)
{
	return size >= 8 ? ~0ull : (1ull << 8 * size) - 1;
}

static __u64 gpr_get(const struct job *job, unsigned int reg, unsigned int size)
{
	return job->run->gpr[reg] & size_mask(size);
}

/* 32 bits clear the upper half, fewer leave the rest: SDM 1, "General-Purpose Registers". */
static void gpr_set(struct job *job, unsigned int reg, unsigned int size, __u64 value)
{
	__u64 mask = size == 4 ? ~0ull : size_mask(size);

	job->run->gpr[reg] = (job->run->gpr[reg] & ~mask) | (value & size_mask(size));
	job->run->set |= 1u << reg;
}

static void set_rflags(struct job *job, __u64 rflags)
{
	job->run->rflags = rflags;
	job->run->set |= MOTE_SET_RFLAGS;
}

static int get_segs(struct job *job)
{
	struct mote_state state = { .mask = MOTE_STATE_SEGS };
	int err;

	if (job->has_segs)
		return 0;
	err = mote_get_state(job->cpu->fd, &state);
	if (err)
		return err;
	job->segs = state.segs;
	job->has_segs = true;
	return 0;
}

static void finish(struct job *job)
{
	__u64 rip = job->run->rip + job->insn->length;

	job->run->rip = job->insn->bits == 64 ? rip : (__u32)rip;
	job->run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
}

/* ---- linear addresses ---------------------------------------------------------- */

static unsigned int code_bits(const struct mote_cpu_mode *mode)
{
	if (mode->efer & EFER_LMA && mode->cs_attr & ATTR_L)
		return 64;
	return mode->cs_attr & ATTR_DB ? 32 : 16;
}

static struct mote_paging paging_of(const struct mote_run *run)
{
	return (struct mote_paging) {
		.cr0 = run->mode.cr0, .cr3 = run->mode.cr3, .cr4 = run->mode.cr4,
		.efer = run->mode.efer, .rflags = run->rflags,
	};
}

/* Real mode, or virtual-8086: segments have no descriptors. */
static bool is_real(const struct job *job)
{
	return !(job->run->mode.cr0 & CR0_PE) || job->run->rflags & RFLAGS_VM;
}

/* Does a segment allow the access? SDM 3A, "Limit Checking" and "Type Checking". */
static bool segment_allows(const struct job *job, const struct mote_segment *segment,
			   __u64 offset, unsigned int size, bool write)
{
	__u32 last = (__u32)offset + size - 1;
	bool code = segment->attr & ATTR_CODE;

	if (is_real(job))
		return last >= (__u32)offset && last <= segment->limit;
	if (!(segment->attr & ATTR_P) || (write && (code || !(segment->attr & ATTR_WRITE))) ||
	    (!write && code && !(segment->attr & ATTR_WRITE)) || last < (__u32)offset)
		return false;
	if (!code && segment->attr & ATTR_DOWN)
		return (__u32)offset > segment->limit &&
		       last <= (segment->attr & ATTR_DB ? 0xffffffff : 0xffff);
	return last <= segment->limit;
}

static bool is_canonical(const struct job *job, __u64 gva)
{
	int shift = job->run->mode.cr4 & CR4_LA57 ? 7 : 16;

	return (__u64)((__s64)(gva << shift) >> shift) == gva;
}

/* From segment and offset to a linear address: 0, TO_GUEST or an error. */
static int linear(struct job *job, unsigned int segment, __u64 offset, unsigned int size,
		  bool write, __u64 *gva)
{
	bool based = job->insn->bits != 64 || segment == MOTE_FS || segment == MOTE_GS;
	int err = based ? get_segs(job) : 0;
	bool good;

	if (err)
		return err;
	*gva = offset + (based ? job->segs.seg[segment].base : 0);
	if (job->insn->bits == 64) {
		good = is_canonical(job, *gva) && is_canonical(job, *gva + size - 1);
	} else {
		*gva = (__u32)*gva;
		good = segment_allows(job, &job->segs.seg[segment], offset, size, write);
	}
	return good ? 0 : inject(job, segment == MOTE_SS ? VECTOR_SS : VECTOR_GP, 0);
}

/* ---- memory --------------------------------------------------------------------- */

/* Find what is behind a linear address: 0, TO_GUEST or an error. */
static int span_walk(struct job *job, struct span *span, __u64 gva, unsigned int size, unsigned int access)
{
	struct mote_paging paging = paging_of(job->run);
	__u32 error;

	for (int i = 0; i < 2; i++) {
		unsigned int here = PAGE_SIZE - (gva & (PAGE_SIZE - 1));

		span->len[i] = here < size ? here : size;
		if (!span->len[i])
			break;
		if (mote_walk(job->cpu->machine, &paging, gva, access, &span->gpa[i], &error))
			return inject_page_fault(job, gva, error);
		gva += span->len[i];
		size -= span->len[i];
	}
	return 0;
}

static int span_find(struct job *job, struct span *span, __u64 gva, unsigned int size, bool write)
{
	unsigned int access = write ? MOTE_ACCESS_WRITE : MOTE_ACCESS_READ;

	if (job->run->mode.cpl == 3)
		access |= MOTE_ACCESS_USER;
	return span_walk(job, span, gva, size, access);
}

static int span_at(struct job *job, struct span *span, unsigned int segment, __u64 offset,
		   unsigned int size, bool write)
{
	__u64 gva;
	int err = linear(job, segment, offset, size, write, &gva);

	return err ? err : span_find(job, span, gva, size, write);
}

/* The largest power of two that the bus takes. */
static unsigned int part_size(unsigned int len)
{
	return len >= 8 ? 8 : len >= 4 ? 4 : len >= 2 ? 2 : 1;
}

static void read_part(struct job *job, __u64 gpa, __u8 *data, unsigned int len)
{
	const void *hva = mote_machine_hva(job->cpu->machine, gpa, len);

	if (hva) {
		copy_bytes(data, hva, len);
		return;
	}
	while (len) {
		unsigned int size = part_size(len);
		__u64 value = job->bus->mmio_read(job->bus->context, gpa, size);

		copy_bytes(data, &value, size);
		data += size;
		gpa += size;
		len -= size;
	}
}

static void write_part(struct job *job, __u64 gpa, const __u8 *data, unsigned int len)
{
	const struct mote_area *area = mote_machine_area(job->cpu->machine, gpa);

	if (area && !(area->flags & MOTE_SLOT_READONLY)) {
		copy_bytes(area->hva + (gpa - area->gpa), data, len);
		mote_machine_wrote(job->cpu->machine, area->hva + (gpa - area->gpa), len);
		return;
	}
	while (len) {
		unsigned int size = part_size(len);
		__u64 value = 0;

		copy_bytes(&value, data, size);
		if (!mote_machine_ring(job->cpu->machine, gpa, size, value))
			job->bus->mmio_write(job->bus->context, gpa, size, value);
		data += size;
		gpa += size;
		len -= size;
	}
}

static void span_read(struct job *job, const struct span *span, void *data)
{
	read_part(job, span->gpa[0], data, span->len[0]);
	if (span->len[1])
		read_part(job, span->gpa[1], (__u8 *)data + span->len[0], span->len[1]);
}

static void span_write(struct job *job, const struct span *span, const void *data)
{
	write_part(job, span->gpa[0], data, span->len[0]);
	if (span->len[1])
		write_part(job, span->gpa[1], (const __u8 *)data + span->len[0], span->len[1]);
}

/* ---- the instruction --------------------------------------------------------------- */

/* Its bytes, the rest zero: how many, 0 if the page has gone, or -EFAULT (no memory there). */
static int fetch_bytes(struct mote_cpu *cpu, unsigned int bits, __u8 *bytes)
{
	const struct mote_run *run = cpu->run;
	struct mote_paging paging = paging_of(run);
	__u64 gva = bits == 64 ? run->rip : (__u32)(run->mode.cs_base + run->rip);
	unsigned int done = 0;

	while (done < 15) {
		unsigned int here = PAGE_SIZE - (gva & (PAGE_SIZE - 1));
		unsigned int len = here < 15 - done ? here : 15 - done;
		const void *hva;
		__u64 gpa;

		if (mote_walk(cpu->machine, &paging, gva, MOTE_ACCESS_PEEK, &gpa, NULL))
			break;
		hva = mote_machine_hva(cpu->machine, gpa, len);
		if (!hva)
			return done ? (int)done : -EFAULT;
		if (here > 15 && !done) /* and the byte behind, which is in the page and looked at by none */
			memcpy(bytes, hva, 16);
		else
			memcpy(bytes + done, hva, len);
		done += len;
		gva += len;
	}
	return done;
}

/* Are these the bytes that were decoded? */
static bool is_same(const struct mote_insn *insn, const __u8 *bytes, unsigned int len)
{
	__u64 a[2], b[2], mask = size_mask(insn->length & 7 ? insn->length & 7 : 8);

	if (!insn->length || insn->length > len)
		return false;
	memcpy(a, insn->bytes, 16);
	memcpy(b, bytes, 16);
	if (insn->length <= 8)
		return !((a[0] ^ b[0]) & mask);
	return a[0] == b[0] && !((a[1] ^ b[1]) & mask);
}

/* The instruction at RIP: 0, TO_GUEST (try again) or an error. */
static int fetch(struct mote_cpu *cpu, const struct mote_insn **found)
{
	unsigned int bits = code_bits(&cpu->run->mode);
	__u64 rip = cpu->run->rip;
	struct mote_insn *insn;
	__u8 bytes[16] = { 0 };
	int len, err;

	if (!cpu->insns)
		cpu->insns = calloc(CACHE_SIZE, sizeof(*cpu->insns));
	if (!cpu->insns)
		return -ENOMEM;
	len = fetch_bytes(cpu, bits, bytes);
	if (len <= 0)
		return len ? len : TO_GUEST;
	insn = &cpu->insns[(rip ^ rip >> 6) % CACHE_SIZE];
	*found = insn;
	if (insn->rip == rip && insn->bits == bits && is_same(insn, bytes, len))
		return 0;
	err = mote_decode(insn, bytes, len, bits);
	if (err)
		insn->length = 0;
	insn->rip = rip;
	return err;
}

/* ---- operands ------------------------------------------------------------------------ */

/* Offset of the memory operand in its segment. */
static __u64 operand_offset(const struct job *job)
{
	const struct mote_insn *insn = job->insn;
	__u64 offset = insn->displacement;

	if (insn->base == MOTE_REG_RIP)
		offset += job->run->rip + insn->length;
	else if (insn->base != MOTE_REG_NONE)
		offset += job->run->gpr[insn->base];
	if (insn->index == MOTE_REG_AL)
		offset += job->run->gpr[MOTE_RAX] & 0xff;
	else if (insn->index != MOTE_REG_NONE)
		offset += job->run->gpr[insn->index] * insn->scale;
	/* BT with a register: any bit of a string of bits. SDM 2A, "Bit(BitBase, BitOffset)". */
	if (insn->op >= MOTE_OP_BT && insn->op <= MOTE_OP_BTC &&
	    insn->operands[1].kind == MOTE_OPERAND_GPR) {
		int shift = 64 - 8 * insn->operands[1].size, size = insn->operands[0].size;
		__s64 bit = (__s64)(job->run->gpr[insn->operands[1].reg] << shift) >> shift;

		offset += (bit >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * size;
	}
	/* POP [RSP + n] counts from RSP after the pop. */
	if (insn->op == MOTE_OP_POP && insn->base == MOTE_RSP)
		offset += insn->stack_size;
	return offset & size_mask(insn->address_size);
}

/*
 * Find the memory operand. Where the exit says at which byte of a page the
 * access was, and it ends in that page, this is it: the CPU has checked all
 * there is to check. Byte 0 may also be the second page of one that crosses.
 */
static int operand_find(struct job *job, struct span *span, unsigned int size)
{
	const struct mote_insn *insn = job->insn;
	__u64 gpa = job->run->memory.gpa, offset;
	unsigned int byte = gpa & (PAGE_SIZE - 1);

	if (byte && byte + size <= PAGE_SIZE) {
		*span = (struct span) { .gpa = { gpa }, .len = { size } };
		return 0;
	}
	offset = operand_offset(job);
	if (!byte && !(offset & (PAGE_SIZE - 1)) && insn->bits == 64 &&
	    insn->segment != MOTE_FS && insn->segment != MOTE_GS) {
		*span = (struct span) { .gpa = { gpa }, .len = { size } };
		return 0;
	}
	return span_at(job, span, insn->segment, offset, size, insn->writes);
}

static __u64 operand_get(struct job *job, const struct mote_operand *operand)
{
	switch (operand->kind) {
	case MOTE_OPERAND_GPR:
		return gpr_get(job, operand->reg, operand->size);
	case MOTE_OPERAND_GPR_HIGH:
		return gpr_get(job, operand->reg, 2) >> 8;
	case MOTE_OPERAND_SEGMENT:
		return job->segs.seg[operand->reg].selector;
	default:
		return job->insn->immediate;
	}
}

static void operand_set(struct job *job, const struct mote_operand *operand, __u64 value)
{
	if (operand->kind == MOTE_OPERAND_GPR_HIGH)
		gpr_set(job, operand->reg, 2,
			gpr_get(job, operand->reg, 1) | (value & 0xff) << 8);
	else
		gpr_set(job, operand->reg, operand->size, value);
}

/* ---- segment registers --------------------------------------------------------------------- */

/* Find a descriptor, which is read whatever the privilege: 0, TO_GUEST or an error. */
static int find_descriptor(struct job *job, __u16 selector, struct span *span)
{
	const struct mote_segment *ldt = &job->segs.seg[MOTE_LDTR];
	bool local = selector & SELECTOR_TI;
	__u64 gva = (local ? ldt->base : job->segs.gdt.base) + (selector & ~7u);

	if ((local && !(ldt->attr & ATTR_P)) || (selector | 7u) > (local ? ldt->limit : job->segs.gdt.limit))
		return inject(job, VECTOR_GP, selector & ~3u);
	return span_walk(job, span, job->run->mode.efer & EFER_LMA ? gva : (__u32)gva, sizeof(__u64),
			 MOTE_ACCESS_READ);
}

/* May a program have it in DS, ES, FS or GS? SDM 3A, "Loading Segment Registers". */
static bool fits(const struct job *job, const struct mote_segment *segment)
{
	unsigned int attr = segment->attr, dpl = attr >> 5 & 3, rpl = segment->selector & 3;
	bool code = attr & ATTR_CODE;

	if (!(attr & ATTR_S) || (code && !(attr & ATTR_WRITE)))
		return false;
	return (code && attr & ATTR_DOWN) || (dpl >= job->run->mode.cpl && dpl >= rpl);
}

/* By its descriptor, which is accessed then. */
static int read_segment(struct job *job, struct mote_segment *segment)
{
	__u16 selector = segment->selector;
	__u64 descriptor;
	struct span span;
	__u32 limit;
	int err = find_descriptor(job, selector, &span);

	if (err)
		return err;
	span_read(job, &span, &descriptor);
	limit = (descriptor & 0xffff) | (descriptor >> 32 & 0xf0000);
	segment->base = (descriptor >> 16 & 0xffffff) | (descriptor >> 32 & 0xff000000);
	segment->limit = descriptor >> 55 & 1 ? limit << 12 | 0xfff : limit;
	segment->attr = descriptor >> 40 & 0xf0ff;
	if (!fits(job, segment))
		return inject(job, VECTOR_GP, selector & ~3u);
	if (!(segment->attr & ATTR_P))
		return inject(job, VECTOR_NP, selector & ~3u);
	if (!(segment->attr & ATTR_ACCESSED)) {
		descriptor |= (__u64)ATTR_ACCESSED << 40;
		span_write(job, &span, &descriptor);
	}
	segment->attr |= ATTR_ACCESSED;
	return 0;
}

/* DS, ES, FS or GS; one that is null cannot be used. */
static int load_segment(struct job *job, unsigned int reg, __u16 selector)
{
	struct mote_state state = { .mask = MOTE_STATE_SEGS };
	struct mote_segment segment = { .selector = selector };
	int err = get_segs(job);

	if (!err && is_real(job)) {
		segment = job->segs.seg[reg];
		segment.selector = selector;
		segment.base = selector << 4;
	} else if (!err && selector & ~3u) {
		err = read_segment(job, &segment);
	}
	if (err)
		return err;
	job->segs.seg[reg] = segment;
	state.segs = job->segs;
	return mote_set_state(job->cpu->fd, &state);
}

/* LDS and its like: an offset, and a selector behind it. */
static int do_far_pointer(struct job *job)
{
	const struct mote_insn *insn = job->insn;
	unsigned int size = insn->operands[0].size;
	__u64 offset = 0;
	__u16 selector;
	__u8 data[10];
	struct span span;
	int err = span_at(job, &span, insn->segment, operand_offset(job), size + 2, false);

	if (err)
		return err;
	span_read(job, &span, data);
	memcpy(&offset, data, size);
	memcpy(&selector, data + size, sizeof(selector));
	err = load_segment(job, insn->op == MOTE_OP_LES ? MOTE_ES : insn->op - MOTE_OP_LDS + MOTE_DS,
			   selector);
	if (err)
		return err;
	operand_set(job, &insn->operands[0], offset);
	finish(job);
	return 0;
}

/* ---- plain instructions ------------------------------------------------------------------ */

static __u64 sign_extend(__u64 value, unsigned int size)
{
	int shift = 64 - 8 * size;

	return (__u64)((__s64)(value << shift) >> shift);
}

static __u64 swap_bytes(__u64 value, unsigned int size)
{
	return __builtin_bswap64(value) >> (64 - 8 * size);
}

static __u64 move(const struct mote_insn *insn, __u64 value, unsigned int size)
{
	return insn->op == MOTE_OP_MOVSX ? sign_extend(value, size) :
	       insn->op == MOTE_OP_MOVBE ? swap_bytes(value, size) : value;
}

/* Memory to register, register or immediate to memory. */
static int do_move(struct job *job)
{
	const struct mote_operand *to = &job->insn->operands[0], *from = &job->insn->operands[1];
	bool load = from->kind == MOTE_OPERAND_MEMORY;
	unsigned int size = load ? from->size : to->size;
	struct span span;
	__u64 value = 0;
	int err;

	err = operand_find(job, &span, size);
	if (!err && from->kind == MOTE_OPERAND_SEGMENT)
		err = get_segs(job);
	if (err)
		return err;
	if (load) {
		span_read(job, &span, &value);
		if (to->kind == MOTE_OPERAND_SEGMENT)
			err = load_segment(job, to->reg, value);
		else
			operand_set(job, to, move(job->insn, value, size));
	} else {
		value = move(job->insn, operand_get(job, from) & size_mask(size), size);
		span_write(job, &span, &value);
	}
	if (!err)
		finish(job);
	return err;
}

/* CMPXCHG: the accumulator is compared, then one of both sides is written. */
static void do_cmpxchg(struct job *job, const struct span *span, __u64 memory)
{
	const struct mote_operand *from = &job->insn->operands[1];
	unsigned int size = job->insn->operands[0].size;
	__u64 rflags = job->run->rflags, value = memory;

	mote_alu(MOTE_OP_CMP, size, gpr_get(job, MOTE_RAX, size), memory, &rflags);
	if (rflags & RFLAGS_ZF)
		value = operand_get(job, from);
	else
		gpr_set(job, MOTE_RAX, size, memory);
	span_write(job, span, &value);
	set_rflags(job, rflags);
}

/* Exchange: the register gets what was in memory; XADD writes the sum there. */
static void do_exchange(struct job *job, const struct span *span, __u64 memory)
{
	const struct mote_insn *insn = job->insn;
	const struct mote_operand *reg = &insn->operands[insn->operands[0].kind ==
							 MOTE_OPERAND_MEMORY];
	__u64 rflags = job->run->rflags, value = operand_get(job, reg);

	if (insn->op == MOTE_OP_XADD) {
		value = mote_alu(MOTE_OP_XADD, reg->size, memory, value, &rflags);
		set_rflags(job, rflags);
	}
	span_write(job, span, &value);
	operand_set(job, reg, memory);
}

/* op memory, source or op register, memory. */
static int do_alu(struct job *job)
{
	const struct mote_insn *insn = job->insn;
	const struct mote_operand *to = &insn->operands[0], *from = &insn->operands[1];
	__u64 rflags = job->run->rflags, memory = 0, value;
	bool to_memory = to->kind == MOTE_OPERAND_MEMORY;
	struct span span;
	int err = operand_find(job, &span, to->size);

	if (err)
		return err;
	span_read(job, &span, &memory);
	if (insn->op == MOTE_OP_CMPXCHG) {
		do_cmpxchg(job, &span, memory);
	} else if (insn->op == MOTE_OP_XCHG || insn->op == MOTE_OP_XADD) {
		do_exchange(job, &span, memory);
	} else {
		value = mote_alu(insn->op, to->size, to_memory ? memory : operand_get(job, to),
				 to_memory ? operand_get(job, from) : memory, &rflags);
		if (to_memory && insn->writes)
			span_write(job, &span, &value);
		else if (!to_memory && insn->op != MOTE_OP_CMP && insn->op != MOTE_OP_TEST)
			operand_set(job, to, value);
		set_rflags(job, rflags);
	}
	finish(job);
	return 0;
}

/* What SGDT and its like store: a limit or selector, and a base of 4 or 8 bytes. */
static int do_store_system(struct job *job)
{
	unsigned int op = job->insn->op, size = job->insn->operands[0].size;
	const struct mote_table *table;
	struct span span;
	__u8 data[10] = { 0 };
	int err = get_segs(job);

	if (!err)
		err = span_at(job, &span, job->insn->segment, operand_offset(job), size, true);
	if (err)
		return err;
	table = op == MOTE_OP_SGDT ? &job->segs.gdt : &job->segs.idt;
	if (op == MOTE_OP_SMSW) {
		memcpy(data, &job->run->mode.cr0, 2);
	} else if (op == MOTE_OP_SLDT || op == MOTE_OP_STR) {
		memcpy(data, &job->segs.seg[op == MOTE_OP_STR ? MOTE_TR : MOTE_LDTR].selector, 2);
	} else {
		memcpy(data, &table->limit, 2);
		memcpy(data + 2, &table->base, sizeof(table->base));
	}
	span_write(job, &span, data);
	finish(job);
	return 0;
}

/* ---- the stack ----------------------------------------------------------------------------- */

static unsigned int stack_width(const struct job *job)
{
	if (job->insn->bits == 64)
		return 8;
	return job->segs.seg[MOTE_SS].attr & ATTR_DB ? 4 : 2;
}

/* Go on at @target: 0, or TO_GUEST where no code can be. */
static int branch(struct job *job, __u64 target)
{
	target &= size_mask(job->insn->stack_size);
	if (job->insn->bits == 64 ? !is_canonical(job, target) : target > job->segs.seg[MOTE_CS].limit)
		return inject(job, VECTOR_GP, 0);
	job->run->rip = target;
	job->run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
	return 0;
}

/* All general registers, RAX first and downwards; the RSP that is pushed is the old one. */
static int do_stack_all(struct job *job)
{
	unsigned int size = job->insn->stack_size, width = stack_width(job), all = 8 * size;
	bool push = job->insn->op == MOTE_OP_PUSHA;
	__u64 rsp = gpr_get(job, MOTE_RSP, width);
	struct span stack;
	__u8 data[32];
	int err = span_at(job, &stack, MOTE_SS, (push ? rsp - all : rsp) & size_mask(width), all, push);

	if (err)
		return err;
	if (!push)
		span_read(job, &stack, data);
	for (unsigned int reg = 0; reg < 8; reg++) {
		__u8 *at = data + (7 - reg) * size;
		__u64 value = push ? job->run->gpr[reg] : 0;

		memcpy(push ? (void *)at : &value, push ? (void *)&value : at, size);
		if (!push && reg != MOTE_RSP)
			gpr_set(job, reg, size, value);
	}
	if (push)
		span_write(job, &stack, data);
	gpr_set(job, MOTE_RSP, width, push ? rsp - all : rsp + all);
	finish(job);
	return 0;
}

/* What an instruction pushes, other than its operand. */
static __u64 implied(const struct job *job, __u64 operand)
{
	switch (job->insn->op) {
	case MOTE_OP_CALL:
		return job->run->rip + job->insn->length;
	case MOTE_OP_ENTER:
		return job->run->gpr[MOTE_RBP];
	case MOTE_OP_PUSHF:
		return job->run->rflags & RFLAGS_PUSHED;
	default:
		return operand;
	}
}

/* The stack pointer behind it. */
static __u64 stack_pointer(const struct job *job, __u64 rsp)
{
	unsigned int op = job->insn->op, size = job->insn->stack_size;

	if (op == MOTE_OP_JMP)
		return rsp;
	if (op == MOTE_OP_ENTER)
		return rsp - size - job->insn->immediate;
	if (op == MOTE_OP_RET)
		return rsp + size + (job->insn->operands[0].kind ? job->insn->immediate : 0);
	return MOTE_OP_IS_PUSH(op) ? rsp - size : rsp + size;
}

/* With all that is read: write, and change registers. */
static int stack_commit(struct job *job, __u64 rsp, __u64 value, const struct span *operand)
{
	const struct mote_insn *insn = job->insn;
	unsigned int width = stack_width(job);
	bool branches = insn->op == MOTE_OP_CALL || insn->op == MOTE_OP_JMP || insn->op == MOTE_OP_RET;
	bool is_segment = insn->op == MOTE_OP_POP && insn->operands[0].kind == MOTE_OPERAND_SEGMENT;
	int err = branches ? branch(job, value) :
		  is_segment ? load_segment(job, insn->operands[0].reg, value) : 0;

	if (err)
		return err;
	if (insn->op == MOTE_OP_ENTER)
		gpr_set(job, MOTE_RBP, width, rsp - insn->stack_size);
	if (insn->op == MOTE_OP_LEAVE)
		gpr_set(job, MOTE_RBP, insn->stack_size, value);
	gpr_set(job, MOTE_RSP, width, stack_pointer(job, rsp));
	if (insn->op == MOTE_OP_POP && insn->operands[0].kind == MOTE_OPERAND_MEMORY)
		span_write(job, operand, &value);
	else if (insn->op == MOTE_OP_POP && !is_segment)
		operand_set(job, &insn->operands[0], value);
	if (!branches)
		finish(job);
	return 0;
}

/* The exit may have been for the operand or for the stack: its address says nothing. */
static int do_stack(struct job *job)
{
	const struct mote_insn *insn = job->insn;
	const struct mote_operand *operand = &insn->operands[0];
	bool push = MOTE_OP_IS_PUSH(insn->op), in_memory = operand->kind == MOTE_OPERAND_MEMORY;
	unsigned int size = insn->stack_size, width;
	struct span span = { 0 }, stack = { 0 };
	__u64 rsp, value = 0, pushed;
	int err = get_segs(job);

	if (err)
		return err;
	if (insn->op == MOTE_OP_PUSHA || insn->op == MOTE_OP_POPA)
		return do_stack_all(job);
	width = stack_width(job);
	rsp = gpr_get(job, insn->op == MOTE_OP_LEAVE ? MOTE_RBP : MOTE_RSP, width);
	if (in_memory)
		err = span_at(job, &span, insn->segment, operand_offset(job), operand->size, insn->writes);
	if (!err && insn->op != MOTE_OP_JMP)
		err = span_at(job, &stack, MOTE_SS, (push ? rsp - size : rsp) & size_mask(width), size,
			      push);
	if (err)
		return err;
	if (in_memory && insn->op != MOTE_OP_POP)
		span_read(job, &span, &value);
	else if (push || insn->op == MOTE_OP_JMP)
		value = operand_get(job, operand);
	else
		span_read(job, &stack, &value);
	if (operand->kind == MOTE_OPERAND_IMMEDIATE && insn->op == MOTE_OP_CALL)
		value += job->run->rip + insn->length;
	pushed = implied(job, value);
	err = stack_commit(job, rsp, value, &span);
	if (!err && push)
		span_write(job, &stack, &pushed);
	return err;
}

/* ---- by this machine's CPU ------------------------------------------------------------------ */

/* A part of a span. */
static struct span span_cut(const struct span *span, unsigned int first, unsigned int len)
{
	struct span part = { 0 };

	for (int i = 0, n = 0; i < 2 && len; i++) {
		unsigned int here = first < span->len[i] ? span->len[i] - first : 0;

		here = here < len ? here : len;
		if (here) {
			part.gpa[n] = span->gpa[i] + first;
			part.len[n++] = here;
		}
		first -= first < span->len[i] ? first : span->len[i];
		len -= here;
	}
	return part;
}

/* Write the bytes that are the same in both: what was written, whatever was there before. */
static void write_same(struct job *job, const struct span *span, const __u8 *a, const __u8 *b,
		       unsigned int size)
{
	for (unsigned int first = 0, end; first < size; first = end + 1) {
		struct span part;

		for (end = first; end < size && a[end] == b[end]; end++)
			;
		part = span_cut(span, first, end - first);
		if (end > first)
			span_write(job, &part, a + first);
	}
}

/* Registers for the CPU: the base is the buffer's address, and another one may stand for RSP. */
static void native_load_gprs(const struct job *job, struct mote_native *native, const __u8 *buffer)
{
	const struct mote_native_insn *insn = &job->insn->native;

	memcpy(native->gpr, job->run->gpr, sizeof(native->gpr));
	if (insn->rsp != MOTE_REG_NONE)
		native->gpr[insn->rsp] = native->gpr[MOTE_RSP];
	native->gpr[insn->base] = (unsigned long)buffer;
	native->rflags = job->run->rflags & RFLAGS_ARITHMETIC;
}

static void native_save_gprs(struct job *job, struct mote_native *native)
{
	const struct mote_native_insn *insn = &job->insn->native;

	if (insn->rsp != MOTE_REG_NONE) {
		native->gpr[MOTE_RSP] = native->gpr[insn->rsp];
		native->gpr[insn->rsp] = job->run->gpr[insn->rsp];
	}
	native->gpr[insn->base] = job->run->gpr[insn->base];
	for (int reg = 0; reg < MOTE_NR_GPRS; reg++)
		if (native->gpr[reg] != job->run->gpr[reg])
			gpr_set(job, reg, 8, native->gpr[reg]);
	set_rflags(job, (job->run->rflags & ~(__u64)RFLAGS_ARITHMETIC) |
			(native->rflags & RFLAGS_ARITHMETIC));
}

static void replace(__u8 *image, unsigned int at, __u64 old, __u64 new)
{
	__u64 value;

	memcpy(&value, image + at, sizeof(value));
	if (value == old)
		memcpy(image + at, &new, sizeof(new));
}

/* The FPU notes where its last instruction and operand were: not where ours are. */
static void native_fix_pointers(const struct job *job, struct mote_native *native, const __u8 *buffer)
{
	__u8 *image = native->xsave;
	__u64 fip;

	memcpy(&fip, image + XSAVE_FIP, sizeof(fip));
	if (fip == (unsigned long)native->code)
		memcpy(image + XSAVE_FOP, &job->insn->native.fop, sizeof(job->insn->native.fop));
	replace(image, XSAVE_FIP, (unsigned long)native->code, job->run->rip);
	replace(image, XSAVE_FDP, (unsigned long)buffer, operand_offset(job));
}

/* What hardware raises for the guest, that is what it has raised here; flags of SSE are set. */
static int native_fault(struct job *job, struct mote_native *native, const struct mote_state *state)
{
	int vector = native->vector, err = 0;

	if (vector == VECTOR_PF)
		return -EOPNOTSUPP;
	if (vector == VECTOR_XM && !(job->run->mode.cr4 & CR4_OSXMMEXCPT))
		vector = VECTOR_UD;
	if (native->image)
		err = mote_set_state(job->cpu->fd, state);
	return err ? err : inject(job, vector, 0);
}

/* Execute it with the buffer as it is; the FPU's registers come from @before. */
static void native_execute(const struct job *job, struct mote_native *native, __u8 *buffer,
			   const __u8 *before)
{
	if (before)
		memcpy(native->xsave, before, sizeof(native->xsave));
	native_load_gprs(job, native, buffer);
	mote_native_run(native);
	if (before && native->vector < 0)
		native_fix_pointers(job, native, buffer);
}

/* Formats that depend on the guest's mode in ways that this one's cannot have. */
static bool is_foreign(const struct job *job)
{
	const struct mote_native_insn *native = &job->insn->native;

	if (native->size == FXSAVE_SIZE)
		return native->reads && job->insn->bits != 64;
	return native->size >= FSTENV_LEAST && native->x87 && is_real(job);
}

/* The native state of a vCPU, with this instruction in it and the FPU's registers in @before. */
static int native_prepare(struct job *job, struct mote_state *state)
{
	const struct mote_native_insn *insn = &job->insn->native;
	struct mote_cpu *cpu = job->cpu;

	if (!cpu->native || is_foreign(job))
		return -EOPNOTSUPP;
	*state = (struct mote_state) {
		.mask = MOTE_STATE_XSAVE, .xsave_size = MOTE_NATIVE_XSAVE, .xsave = state->xsave,
	};
	cpu->native->image = insn->fpu ? cpu->native->xsave : NULL;
	mote_native_load(cpu->native, insn->code, insn->length);
	return insn->fpu ? mote_get_state(cpu->fd, state) : 0;
}

static int do_native(struct job *job)
{
	const struct mote_native_insn *insn = &job->insn->native;
	__u8 before[MOTE_NATIVE_XSAVE] = { 0 }, first[MOTE_NATIVE_BUFFER], *buffer;
	struct mote_state state = { .xsave = (unsigned long)before };
	struct mote_native *native;
	struct span span;
	int err = span_at(job, &span, job->insn->segment, operand_offset(job), insn->size,
			  job->insn->writes);

	if (!err)
		err = native_prepare(job, &state);
	if (err)
		return err;
	native = job->cpu->native;
	buffer = native->buffer + span.gpa[0] % MOTE_NATIVE_ALIGN;
	state.xsave = (unsigned long)native->xsave;
	memset(native->buffer, 0, sizeof(native->buffer));
	if (insn->reads)
		span_read(job, &span, buffer);
	native_execute(job, native, buffer, insn->fpu ? before : NULL);
	if (native->vector >= 0)
		return native_fault(job, native, &state);
	memcpy(first, buffer, insn->size);
	if (job->insn->writes && !insn->reads) {
		/* Once more, over other bytes: those that differ have not been written. */
		memset(native->buffer, 0xff, sizeof(native->buffer));
		native_execute(job, native, buffer, insn->fpu ? before : NULL);
		if (insn->size == FXSAVE_SIZE && job->insn->bits != 64)
			memset(buffer + FXSAVE_XMM8, ~first[FXSAVE_XMM8], FXSAVE_SIZE - FXSAVE_XMM8);
	}
	if (insn->fpu)
		err = mote_set_state(job->cpu->fd, &state);
	if (err)
		return err;
	if (job->insn->writes)
		write_same(job, &span, first, buffer, insn->size);
	native_save_gprs(job, native);
	finish(job);
	return 0;
}

/* ---- strings ------------------------------------------------------------------------------ */

static bool reads_source(unsigned int op)
{
	return op == MOTE_OP_MOVS || op == MOTE_OP_CMPS || op == MOTE_OP_LODS || op == MOTE_OP_OUTS;
}

static bool has_destination(unsigned int op)
{
	return op != MOTE_OP_LODS && op != MOTE_OP_OUTS;
}

static bool writes_destination(unsigned int op)
{
	return op == MOTE_OP_MOVS || op == MOTE_OP_STOS || op == MOTE_OP_INS;
}

/* One repetition: what is moved or compared. */
static void string_step(struct job *job, const struct span *source, const struct span *destination)
{
	unsigned int op = job->insn->op, size = job->insn->operands[0].size;
	__u64 rflags = job->run->rflags, from = 0, to = 0;
	__u16 port = gpr_get(job, MOTE_RDX, 2);

	if (op == MOTE_OP_INS)
		from = job->bus->port_in(job->bus->context, port, size);
	else if (op == MOTE_OP_STOS || op == MOTE_OP_SCAS)
		from = gpr_get(job, MOTE_RAX, size);
	else
		span_read(job, source, &from);

	if (writes_destination(op)) {
		span_write(job, destination, &from);
	} else if (op == MOTE_OP_LODS) {
		gpr_set(job, MOTE_RAX, size, from);
	} else if (op == MOTE_OP_OUTS) {
		job->bus->port_out(job->bus->context, port, size, from);
	} else {
		span_read(job, destination, &to);
		mote_alu(MOTE_OP_CMP, size, from, to, &rflags);
		set_rflags(job, rflags);
	}
}

/* Find the operands, do one repetition, move the index registers: 0, TO_GUEST or an error. */
static int string_once(struct job *job)
{
	const struct mote_insn *insn = job->insn;
	unsigned int op = insn->op, size = insn->operands[0].size, width = insn->address_size;
	__u64 step = job->run->rflags & RFLAGS_DF ? -(__u64)size : size;
	__u64 rsi = gpr_get(job, MOTE_RSI, width), rdi = gpr_get(job, MOTE_RDI, width);
	struct span source = { 0 }, destination = { 0 };
	int err = 0;

	if (reads_source(op))
		err = span_at(job, &source, insn->segment, rsi, size, false);
	if (!err && has_destination(op))
		err = span_at(job, &destination, MOTE_ES, rdi, size, writes_destination(op));
	if (err)
		return err;
	string_step(job, &source, &destination);
	if (reads_source(op))
		gpr_set(job, MOTE_RSI, width, rsi + step);
	if (has_destination(op))
		gpr_set(job, MOTE_RDI, width, rdi + step);
	return 0;
}

/* Is it over after this repetition? SDM 2B, "REP/REPE/REPZ/REPNE/REPNZ". */
static bool string_ends(const struct job *job)
{
	bool zero = job->run->rflags & RFLAGS_ZF;
	unsigned int op = job->insn->op;

	if (!gpr_get(job, MOTE_RCX, job->insn->address_size))
		return true;
	return (op == MOTE_OP_CMPS || op == MOTE_OP_SCAS) && zero == job->insn->repne;
}

static int do_string(struct job *job)
{
	unsigned int width = job->insn->address_size;
	int most = job->run->rflags & RFLAGS_TF ? 1 : MAX_REPEAT;
	bool over = false;
	int err = 0;

	if (!job->insn->rep) {
		err = string_once(job);
		over = true;
	} else if (!gpr_get(job, MOTE_RCX, width)) {
		over = true;
	}
	for (int i = 0; i < most && !err && !over; i++) {
		err = string_once(job);
		if (err)
			break;
		gpr_set(job, MOTE_RCX, width, gpr_get(job, MOTE_RCX, width) - 1);
		over = string_ends(job);
	}
	if (err)
		return err;
	if (over)
		finish(job);
	else if (job->run->rflags & RFLAGS_TF) /* a trap after each repetition, RIP stays */
		job->run->set |= MOTE_SET_RIP | MOTE_SET_COMPLETE;
	return 0;
}

/* ---- entry points ----------------------------------------------------------------------------- */

static int execute(struct job *job)
{
	unsigned int op = job->insn->op;

	if (op <= MOTE_OP_MOVBE)
		return do_move(job);
	if (op == MOTE_OP_NATIVE)
		return do_native(job);
	if (op == MOTE_OP_NOTHING) {
		finish(job);
		return 0;
	}
	if (op >= MOTE_OP_SGDT && op <= MOTE_OP_SMSW)
		return do_store_system(job);
	if (op >= MOTE_OP_LES && op <= MOTE_OP_LGS)
		return do_far_pointer(job);
	if (MOTE_OP_IS_STACK(op))
		return do_stack(job);
	return MOTE_OP_IS_STRING(op) ? do_string(job) : do_alu(job);
}

static int complete(struct mote_cpu *cpu, const struct mote_bus *bus, bool pio)
{
	struct job job;
	bool string_io;
	int err;

	job.cpu = cpu;
	job.bus = bus;
	job.run = cpu->run;
	job.has_segs = false;
	err = fetch(cpu, &job.insn);
	/* Where no memory is a bus reads as ones, and FF FF is no instruction. */
	if (err == -EFAULT)
		err = inject(&job, VECTOR_UD, 0);
	if (err)
		return err == TO_GUEST ? 0 : err;
	string_io = job.insn->op == MOTE_OP_INS || job.insn->op == MOTE_OP_OUTS;
	/* Port I/O is reported before memory is touched, so INS meets MMIO only in here. */
	if (pio != string_io)
		return -EOPNOTSUPP;
	err = execute(&job);
	return err == TO_GUEST ? 0 : err;
}

int mote_complete_mmio(struct mote_cpu *cpu, const struct mote_bus *bus)
{
	if (cpu->run->memory.access & MOTE_ACCESS_WALK)
		return -EADDRNOTAVAIL;
	return complete(cpu, bus, false);
}

void mote_complete_name(struct mote_cpu *cpu, char *text, unsigned int size)
{
	unsigned int bits = code_bits(&cpu->run->mode);
	__u8 bytes[16] = { 0 };
	int len = fetch_bytes(cpu, bits, bytes);

	mote_insn_name(bytes, len > 0 ? len : 0, bits, text, size);
}

int mote_complete_pio(struct mote_cpu *cpu, const struct mote_bus *bus)
{
	struct mote_run *run = cpu->run;
	struct job job = { .run = run };

	if (run->pio.flags & MOTE_PIO_STRING)
		return complete(cpu, bus, true);
	if (run->pio.flags & MOTE_PIO_IN)
		gpr_set(&job, MOTE_RAX, run->pio.size,
			bus->port_in(bus->context, run->pio.port, run->pio.size));
	else
		bus->port_out(bus->context, run->pio.port, run->pio.size,
			      gpr_get(&job, MOTE_RAX, run->pio.size));
	run->set |= MOTE_SET_COMPLETE;
	return 0;
}
