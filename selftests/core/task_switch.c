// SPDX-License-Identifier: GPL-2.0
/*
 * Hardware task switches: SDM 3A, "Task Management".
 *
 * On AMD-V the CPU makes them in the guest, on VT-x it leaves them to user space: the
 * same expectations for both show that libmote does what a CPU does.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "kselftest_harness.h"
#include "complete.h"
#include "guest.h"
#include "selftest.h"

#define NT 0x4000u
#define RF 0x10000u
#define VM 0x20000u
#define IOPL3 0x3000u
#define CR0_TS 8u

/* Selectors of guest.c's table; */
#define DATA 0x10
#define CODE32 0x18
#define DATA_3 0x3b
#define MAIN 0x40	/* the TSS in which a guest starts */
/* and what is added to it, the new task last so that the table can end before it. */
#define HANDLER(vector) (0x50 + 8 * ((vector) - 10))	/* TSS of #TS, #NP, #SS and #GP */
#define LDT 0x70
#define ABSENT 0x78	/* data that is not present */
#define ABSENT_CODE 0x80
#define READ_ONLY 0x88
#define EXEC_ONLY 0x90
#define CODE32_3 0x9b
#define ABSENT_LDT 0xa0
#define GATE 0xa8	/* a task gate to: */
#define TASK 0xb0

#define MAIN_TSS GUEST_TSS
#define TASK_TSS GUEST_FREE
#define HANDLER_TSS(vector) (GUEST_FREE + 0x1000 + 0x400 * ((vector) - 10))
#define TASK_STACK 0x6000
#define HANDLER_STACK 0x6800
#define OTHER_TABLES (GUEST_FREE + 0x4000)

/* The main task, the other one and the handlers each say so on a port. */
#define AT_MAIN 0x81
#define AT_TASK 0x82
#define AT_HANDLER 0x83
#define MAIN_CODE GUEST_CODE
#define TASK_CODE (GUEST_CODE + 0x100)
#define HANDLER_CODE (GUEST_CODE + 0x200)

#define TASKS(name, main, task)						\
	GUEST(name, 32, main "\n out %al, $0x81; hlt\n"			\
	      ".org 9001b + 0x100; out %al, $0x82\n" task "\n"		\
	      "out %al, $0x82; hlt\n"					\
	      ".org 9001b + 0x200; out %al, $0x83; iret; out %al, $0x83; hlt")

struct tss32 {
	__u32 link, stack0, ss0, stacks[4], cr3, eip, eflags, reg[8], seg[6], ldt;
	__u16 trap, io_map;
	__u8 bitmap[0x98];
};

struct tss16 {
	__u16 link, stacks[6], ip, flags, reg[8], seg[4], ldt;
};

FIXTURE(task_switch)
{
	struct guest guest;
	struct tss32 *main, *task;
	int exits;		/* task switches that were left to us */
};

FIXTURE_VARIANT(task_switch)
{
	enum guest_mode mode;
};

FIXTURE_VARIANT_ADD(task_switch, prot32) { .mode = GUEST_PROT32 };
FIXTURE_VARIANT_ADD(task_switch, page32) { .mode = GUEST_PAGE32 };
FIXTURE_VARIANT_ADD(task_switch, pae) { .mode = GUEST_PAE };

GUEST(touch, 32, "1: orb $0, (%ebx); add $0x1000, %ebx; cmp $GUEST_FREE + 0x10000, %ebx; jb 1b; hlt");

/*
 * On AMD-V a nested page fault in the midst of a task switch that is itself the delivery
 * of an event, as when an error code is pushed, leaves the event to be delivered again, to
 * a task that is busy now: so all of the memory is there before.
 */
FIXTURE_SETUP(task_switch)
{
	guest_create(&self->guest);
	guest_start(&self->guest, GUEST_PROT32, &guest_touch);
	ASSERT_EQ(MOTE_EXIT_HLT, guest_run(&self->guest));
	self->main = (struct tss32 *)(self->guest.ram + MAIN_TSS);
	self->task = (struct tss32 *)(self->guest.ram + TASK_TSS);
}

FIXTURE_TEARDOWN(task_switch)
{
	guest_destroy(&self->guest);
}

/* ---- set-up ------------------------------------------------------------------ */

static __u64 *descriptor(struct guest *guest, __u16 selector)
{
	return (__u64 *)(guest->ram + GUEST_GDT + (selector & ~7));
}

static void put_tss(struct guest *guest, __u16 selector, __u32 base, __u16 limit, __u8 access)
{
	*descriptor(guest, selector) = (__u64)access << 40 | (__u64)base << 16 | limit;
}

static __u8 type_of(struct guest *guest, __u16 selector)
{
	return *descriptor(guest, selector) >> 40 & 0xf;
}

static void task_gate(struct guest *guest, int vector, __u16 selector)
{
	__u64 *idt = (__u64 *)(guest->ram + GUEST_IDT);

	idt[vector] = 0xe500ull << 32 | (__u64)selector << 16;
}

static void fill_tss(struct tss32 *tss, __u32 cr3, __u32 eip, __u32 esp)
{
	memset(tss, 0, offsetof(struct tss32, bitmap));
	tss->stack0 = GUEST_STACK0;
	tss->ss0 = DATA;
	tss->cr3 = cr3;
	tss->eip = eip;
	tss->eflags = 2;
	for (int i = 0; i < 8; i++)
		tss->reg[i] = 0x12340000 + eip + i;
	tss->reg[MOTE_RSP] = esp;
	for (int i = 0; i < 6; i++)
		tss->seg[i] = i == MOTE_CS ? CODE32 : DATA;
	tss->io_map = 0x68;
}

static void start(struct guest *guest, enum guest_mode mode, const struct guest_code *code)
{
	struct mote_state state;

	guest_start(guest, mode, code);
	guest_get(guest, &state, MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS |
		  MOTE_STATE_DRS);
	fill_tss((void *)(guest->ram + MAIN_TSS), state.crs.cr3, 0xdead, 0);
	fill_tss((void *)(guest->ram + TASK_TSS), state.crs.cr3, TASK_CODE, TASK_STACK);
	for (int vector = 10; vector <= 13; vector++) {
		fill_tss((void *)(guest->ram + HANDLER_TSS(vector)), state.crs.cr3, HANDLER_CODE,
			 HANDLER_STACK);
		put_tss(guest, HANDLER(vector), HANDLER_TSS(vector), 0xff, 0x89);
		task_gate(guest, vector, HANDLER(vector));
	}
	put_tss(guest, TASK, TASK_TSS, 0xff, 0x89);
	*descriptor(guest, LDT) = 0x0000820000000007 | (__u64)(GUEST_FREE + 0x3000) << 16;
	*descriptor(guest, ABSENT_LDT) = 0x0000020000000007;
	*descriptor(guest, ABSENT) = 0x00cf13000000ffff;
	*descriptor(guest, ABSENT_CODE) = 0x00cf1b000000ffff;
	*descriptor(guest, READ_ONLY) = 0x00cf91000000ffff;
	*descriptor(guest, EXEC_ONLY) = 0x00cf99000000ffff;
	*descriptor(guest, CODE32_3) = 0x00cffa000000ffff; /* and not yet accessed */
	*descriptor(guest, GATE) = 0x0000e50000000000 | TASK << 16;

	for (int i = 0; i < 8; i++)
		if (i != MOTE_RSP)
			state.gprs.gpr[i] = 0xaaaa0000 + i;
	state.segs.gdt.limit = TASK + 7;
	state.drs.dr7 |= 0x3; /* of a breakpoint at 0: L0 ends with the task, G0 does not */
	guest_set(guest, &state);
}

/* Run, making the task switches that are left to us: the port that was written, or -1. */
static int run_tasks(struct guest *guest, int *exits)
{
	for (;;) {
		int reason = guest_run(guest), err;

		if (reason == MOTE_EXIT_PIO)
			return guest->run->pio.port;
		if (reason != MOTE_EXIT_TASK_SWITCH) {
			fprintf(stderr, "# %s at 0x%llx %s\n", guest_exit_name(reason),
				(unsigned long long)guest->run->rip,
				reason == MOTE_EXIT_FAIL_ENTRY ?
					mote_check_text(guest->run->fail.check) : "");
			return -1;
		}
		++*exits;
		err = mote_complete_task_switch(&guest->cpu);
		if (err) {
			fprintf(stderr, "# task switch: %s\n", strerror(-err));
			return -1;
		}
	}
}

#define EXPECT_AT(port) EXPECT_EQ(port, run_tasks(&self->guest, &self->exits))
#define ASSERT_AT(port) ASSERT_EQ(port, run_tasks(&self->guest, &self->exits))

/* Are task switches left to us if and only if this is VT-x? */
static bool is_where_it_should_be(int exits)
{
	return !exits == (mote_cpuid_vendor() == MOTE_VENDOR_SVM);
}

/* Does the TSS have these registers? */
#define EXPECT_SAVED(tss, at, flags, gprs, data)	do {		\
	EXPECT_EQ(at, (tss)->eip);					\
	EXPECT_EQ(flags, (tss)->eflags);				\
	for (int r = 0; r < 8; r++) {					\
		EXPECT_EQ((__u32)(gprs)[r], (tss)->reg[r]) TH_LOG("register %d", r);	\
	}								\
	for (int s = 0; s < 6; s++) {					\
		EXPECT_EQ(s == MOTE_CS ? CODE32 : (data), (tss)->seg[s]);	\
	}								\
} while (0)

/* Has the new task what its TSS says? */
#define EXPECT_LOADED(tss, nested, tr)	do {				\
	struct mote_state _state;					\
	guest_get(&self->guest, &_state, MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS); \
	EXPECT_EQ((tss)->eflags | ((nested) ? NT : 0), _state.gprs.rflags);	\
	for (int r = 0; r < 8; r++) {					\
		EXPECT_EQ((tss)->reg[r], _state.gprs.gpr[r]) TH_LOG("register %d", r);	\
	}								\
	for (int s = 0; s < 6; s++) {					\
		EXPECT_EQ((tss)->seg[s], _state.segs.seg[s].selector);	\
	}								\
	EXPECT_EQ((tss)->ldt, _state.segs.seg[MOTE_LDTR].selector);	\
	EXPECT_EQ(tr, _state.segs.seg[MOTE_TR].selector);		\
	EXPECT_EQ(0xb, _state.segs.seg[MOTE_TR].attr & 0x1f);		\
	EXPECT_EQ(CR0_TS, _state.crs.cr0 & CR0_TS);			\
} while (0)

/* ---- by instructions ------------------------------------------------------------- */

TASKS(jmp, "ljmp $0xb0, $0", "ljmp $0x40, $0");
TASKS(call, "lcall $0xb0, $0", "iret");
TASKS(gate, "lcall $0xa8, $0", "iret");
TASKS(in, "int $0x50", "iret");

/* JMP to a TSS and back: neither is linked, and the one that is left is free again. */
TEST_F(task_switch, jmp)
{
	struct mote_state before, state;

	start(&self->guest, variant->mode, &guest_jmp);
	guest_get(&self->guest, &before, MOTE_STATE_GPRS | MOTE_STATE_CRS);
	self->task->ldt = LDT;
	ASSERT_AT(AT_TASK);
	EXPECT_TRUE(is_where_it_should_be(self->exits));
	EXPECT_EQ(TASK_CODE, self->guest.run->rip);
	EXPECT_LOADED(self->task, false, TASK);
	EXPECT_SAVED(self->main, MAIN_CODE + 7, 2, before.gprs.gpr, DATA);
	EXPECT_EQ(0, self->task->link);
	EXPECT_EQ(9, type_of(&self->guest, MAIN));
	EXPECT_EQ(0xb, type_of(&self->guest, TASK));
	guest_get(&self->guest, &state, MOTE_STATE_SEGS | MOTE_STATE_DRS);
	EXPECT_EQ(TASK_TSS, state.segs.seg[MOTE_TR].base);
	EXPECT_EQ(0xff, state.segs.seg[MOTE_TR].limit);
	EXPECT_EQ(GUEST_FREE + 0x3000, state.segs.seg[MOTE_LDTR].base);
	EXPECT_EQ(0xc09b, state.segs.seg[MOTE_CS].attr);
	EXPECT_EQ(0xffffffff, state.segs.seg[MOTE_SS].limit);
	EXPECT_EQ(2, state.drs.dr7 & 3);

	ASSERT_AT(AT_MAIN);
	EXPECT_EQ(MAIN_CODE + 7, self->guest.run->rip);
	EXPECT_LOADED(self->main, false, MAIN);
	EXPECT_EQ(TASK_CODE + 9, self->task->eip);
	EXPECT_EQ(0xb, type_of(&self->guest, MAIN));
	EXPECT_EQ(9, type_of(&self->guest, TASK));
	guest_get(&self->guest, &state, MOTE_STATE_GPRS | MOTE_STATE_CRS);
	EXPECT_EQ(0, memcmp(before.gprs.gpr, state.gprs.gpr, sizeof(state.gprs.gpr)));
	EXPECT_EQ(before.crs.cr3, state.crs.cr3);
}

/* CALL to a TSS, to a task gate and INT through one: nested; IRET goes back. */
TEST_F(task_switch, call_and_iret)
{
	static const struct {
		const struct guest_code *code;
		int length;
	} rows[] = { { &guest_call, 7 }, { &guest_gate, 7 }, { &guest_in, 2 } };

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mote_state before, state;

		start(&self->guest, variant->mode, rows[i].code);
		task_gate(&self->guest, 0x50, TASK);
		guest_get(&self->guest, &before, MOTE_STATE_GPRS);
		ASSERT_AT(AT_TASK);
		EXPECT_EQ(TASK_CODE, self->guest.run->rip);
		EXPECT_LOADED(self->task, true, TASK);
		EXPECT_SAVED(self->main, MAIN_CODE + rows[i].length, 2, before.gprs.gpr, DATA);
		EXPECT_EQ(MAIN, self->task->link);
		EXPECT_EQ(0xb, type_of(&self->guest, MAIN));
		EXPECT_EQ(0xb, type_of(&self->guest, TASK));
		/* It may not be entered again, and leaves NT behind. */
		guest_get(&self->guest, &state, MOTE_STATE_GPRS);
		ASSERT_AT(AT_MAIN);
		EXPECT_LOADED(self->main, false, MAIN);
		EXPECT_SAVED(self->task, TASK_CODE + 3, 2, state.gprs.gpr, DATA);
		EXPECT_EQ(0xb, type_of(&self->guest, MAIN));
		EXPECT_EQ(9, type_of(&self->guest, TASK));
	}
	EXPECT_TRUE(is_where_it_should_be(self->exits));
}

/* A task of ring 3, whose segments have not been used before. */
TEST_F(task_switch, ring3)
{
	start(&self->guest, variant->mode, &guest_call);
	for (int i = 0; i < 6; i++)
		self->task->seg[i] = i == MOTE_CS ? CODE32_3 : i == MOTE_GS ? 0 : DATA_3;
	self->task->eflags |= IOPL3;
	ASSERT_AT(AT_TASK);
	EXPECT_EQ(3, guest_cpl(&self->guest));
	EXPECT_LOADED(self->task, true, TASK);
	/* QEMU's task switch does not mark segments as accessed. */
	EXPECT_EQ(host_is_tcg() ? 0xa : 0xb, type_of(&self->guest, CODE32_3));
	ASSERT_AT(AT_MAIN);
	EXPECT_EQ(0, guest_cpl(&self->guest));
}

/* The new task has page tables of its own. */
TEST_F(task_switch, cr3)
{
	struct mote_state state;
	__u32 cr3;

	if (variant->mode == GUEST_PROT32)
		return;
	start(&self->guest, variant->mode, &guest_jmp);
	cr3 = self->main->cr3;
	memcpy(self->guest.ram + OTHER_TABLES, self->guest.ram + cr3, 0x1000);
	self->task->cr3 = OTHER_TABLES;
	ASSERT_AT(AT_TASK);
	guest_get(&self->guest, &state, MOTE_STATE_CRS);
	EXPECT_EQ(OTHER_TABLES, state.crs.cr3);
	ASSERT_AT(AT_MAIN);
	guest_get(&self->guest, &state, MOTE_STATE_CRS);
	EXPECT_EQ(cr3, state.crs.cr3);
}

/* A 16-bit TSS has the low halves only. */
TEST_F(task_switch, tss16)
{
	struct tss16 *tss = (struct tss16 *)(self->guest.ram + TASK_TSS);
	struct mote_state state;

	start(&self->guest, variant->mode, &guest_jmp);
	memset(tss, 0, sizeof(*tss));
	*tss = (struct tss16) { .link = 0x9999, .ip = TASK_CODE, .flags = 2,
		.reg = { 1, 2, 3, 4, TASK_STACK, 6, 7, 8 }, .seg = { DATA, CODE32, DATA, DATA } };
	put_tss(&self->guest, TASK, TASK_TSS, sizeof(*tss) - 1, 0x81);
	ASSERT_AT(AT_TASK);
	guest_get(&self->guest, &state, MOTE_STATE_GPRS | MOTE_STATE_SEGS);
	EXPECT_EQ(TASK_CODE, state.gprs.rip);
	EXPECT_EQ(2, state.gprs.rflags);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(tss->reg[i], state.gprs.gpr[i] & 0xffff);
	}
	EXPECT_EQ(TASK, state.segs.seg[MOTE_TR].selector);
	EXPECT_EQ(3, state.segs.seg[MOTE_TR].attr & 0x1f);
	EXPECT_EQ(0, state.segs.seg[MOTE_FS].selector);
	EXPECT_EQ(3, type_of(&self->guest, TASK));
	tss->ip = 0;
	ASSERT_AT(AT_MAIN);
	EXPECT_EQ(TASK_CODE + 9, tss->ip);
	EXPECT_EQ(8, tss->reg[MOTE_RDI]);
	EXPECT_EQ(CODE32, tss->seg[MOTE_CS]);
	EXPECT_EQ(0x9999, tss->link);
	EXPECT_EQ(1, type_of(&self->guest, TASK));
}

TASKS(in_v8086, "lcall $0xb0, $0", "int $0x50");

/* To a task in virtual-8086 mode, from it through a task gate, and back with IRET. */
TEST_F(task_switch, v8086)
{
	struct tss32 *handler = (struct tss32 *)(self->guest.ram + HANDLER_TSS(10));
	struct mote_state state;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs panics at VMRUN into virtual-8086 mode");
	start(&self->guest, variant->mode, &guest_in_v8086);
	task_gate(&self->guest, 0x50, HANDLER(10));
	((__u64 *)(self->guest.ram + GUEST_IDT))[0x50] |= 0x6000ull << 32; /* DPL 3 */
	self->task->eflags = 2 | VM | IOPL3;
	self->task->eip = 0x100;
	for (int i = 0; i < 6; i++)
		self->task->seg[i] = i == MOTE_CS ? GUEST_CODE >> 4 : 0x100 + i;
	ASSERT_AT(AT_TASK);
	EXPECT_LOADED(self->task, true, TASK);
	guest_get(&self->guest, &state, MOTE_STATE_SEGS);
	for (int i = 0; i < 6; i++) {
		EXPECT_EQ(self->task->seg[i] << 4, state.segs.seg[i].base);
		EXPECT_EQ(0xffff, state.segs.seg[i].limit);
		EXPECT_EQ(0xf3, state.segs.seg[i].attr);
	}
	ASSERT_AT(AT_HANDLER);
	EXPECT_LOADED(handler, true, HANDLER(10));
	EXPECT_EQ(TASK, handler->link);
	EXPECT_EQ(0x104, self->task->eip);
	EXPECT_EQ(2 | VM | IOPL3 | NT, self->task->eflags);
	EXPECT_EQ(GUEST_CODE >> 4, self->task->seg[MOTE_CS]);
	EXPECT_EQ(0x103, self->task->seg[MOTE_DS]);
	ASSERT_AT(AT_TASK);
	EXPECT_EQ(0x104, self->guest.run->rip);
	EXPECT_EQ(2 | VM | IOPL3 | NT, self->guest.run->rflags);
}

/* ---- by events ----------------------------------------------------------------------- */

TASKS(ud, "ud2", "iret");
TASKS(gp, "mov $0xfff8, %eax; mov %eax, %ds", "pop %eax; iret");
TASKS(bp, "int3", "iret");
TASKS(spin, "sti; 1: jmp 1b", "iret");

/* A task gate for an exception: its error code is on the new stack, RIP is at the instruction. */
TEST_F(task_switch, exceptions)
{
	static const struct {
		const struct guest_code *code;
		int vector, at;
		__u32 error;
		bool has_error, trap;
	} rows[] = {
		{ &guest_ud, 6, 0 },
		{ &guest_bp, 3, 1, .trap = true },
		{ &guest_gp, 13, 5, 0xfff8, true },
		{ &guest_gp, 8, 5, 0, true },	/* #NP while #GP is delivered */
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct mote_state before, state;
		__u32 flags = rows[i].trap ? 2 : 2 | RF;

		start(&self->guest, variant->mode, rows[i].code);
		if (rows[i].vector == 8) {
			((__u64 *)(self->guest.ram + GUEST_IDT))[13] = 0;
			((__u64 *)(self->guest.ram + GUEST_IDT))[11] = 0;
		}
		task_gate(&self->guest, rows[i].vector, TASK);
		guest_get(&self->guest, &before, MOTE_STATE_GPRS);
		if (rows[i].code == &guest_gp)
			before.gprs.gpr[MOTE_RAX] = 0xfff8;
		ASSERT_AT(AT_TASK) TH_LOG("row %zu", i);
		/* QEMU sets RF for no fault; Bochs has it for the double fault, too. */
		if (host_is_tcg())
			flags &= ~RF;
		EXPECT_SAVED(self->main, MAIN_CODE + rows[i].at, flags, before.gprs.gpr, DATA);
		EXPECT_EQ(MAIN, self->task->link);
		guest_get(&self->guest, &state, MOTE_STATE_GPRS);
		EXPECT_EQ(TASK_STACK - 4 * rows[i].has_error, state.gprs.gpr[MOTE_RSP]);
		if (rows[i].has_error)
			EXPECT_EQ(rows[i].error, *(__u32 *)(self->guest.ram + TASK_STACK - 4));
		if (rows[i].trap)
			ASSERT_AT(AT_MAIN);
	}
}

/* An interrupt and an NMI through a task gate; NMIs are blocked until its IRET. */
TEST_F(task_switch, injected)
{
	struct mote_event events[] = {
		{ .valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = 0x50 },
		{ .valid = 1, .type = MOTE_EVENT_NMI, .vector = 2 },
		{ .valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = 13, .has_error = 1,
		  .error = 0x4321 },
	};

	for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
		bool nmi = events[i].type == MOTE_EVENT_NMI, error = events[i].has_error;
		struct mote_state before, state;

		start(&self->guest, variant->mode, &guest_spin);
		guest_get(&self->guest, &before, MOTE_STATE_GPRS);
		before.gprs.rflags |= 0x200;
		before.gprs.rip = MAIN_CODE + 1;
		guest_set(&self->guest, &before);
		memset(self->guest.ram + MAIN_CODE + 1, 0x90, 2); /* NOP: on to the port */
		task_gate(&self->guest, events[i].vector, TASK);
		ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &events[i]));
		ASSERT_AT(AT_TASK) TH_LOG("row %zu", i);
		/* Of the three the exception is a fault. */
		EXPECT_SAVED(self->main, MAIN_CODE + 1, error ? 0x202 | RF : 0x202, before.gprs.gpr, DATA);
		EXPECT_EQ(MAIN, self->task->link);
		guest_get(&self->guest, &state, MOTE_STATE_EVENTS | MOTE_STATE_GPRS);
		EXPECT_EQ(nmi, state.events.nmi_blocked);
		EXPECT_EQ(0, state.events.injected.valid);
		EXPECT_EQ(TASK_STACK - 4 * error, state.gprs.gpr[MOTE_RSP]);
		EXPECT_EQ(2 | NT, state.gprs.rflags);
		if (error) {
			EXPECT_EQ(0x4321, *(__u32 *)(self->guest.ram + TASK_STACK - 4));
		}
		/* Once, not twice. */
		ASSERT_AT(AT_MAIN);
		guest_get(&self->guest, &state, MOTE_STATE_EVENTS | MOTE_STATE_GPRS);
		EXPECT_EQ(0, state.events.nmi_blocked);
		/* QEMU keeps an RF that IRET has loaded. */
		EXPECT_EQ(0x202, state.gprs.rflags & ~(error && host_is_tcg() ? RF : 0));
	}
}

/* ---- faults ---------------------------------------------------------------------------- */

TASKS(wrong, "ljmp $0x10, $0", "");
TASKS(local, "ljmp $0xb4, $0", "");
TASKS(iret, "iret", "");

enum { IN_OLD, IN_NEW };

/* What is wrong, and the fault; each handler is a task, which sees where it came from. */
static const struct fault {
	const char *name;
	const struct guest_code *code;	/* NULL: jmp */
	__u16 vector, error, where;
	__u8 access;			/* of the TSS's descriptor */
	__u16 limit;			/* of the TSS */
	__u16 gdt;			/* size of the table */
	__u16 seg[6], ldt;		/* in the TSS, ~0: null */
	__u32 eip;
} faults[] = {
	{ "the TSS is not present", .vector = 11, .error = TASK, .access = 0x09 },
	{ "the TSS is busy", .vector = 13, .error = TASK, .access = 0x8b },
	{ "the TSS is too small", .vector = 10, .error = TASK, .limit = 0x66 },
	{ "a 16-bit TSS is too small", .vector = 10, .error = TASK, .limit = 0x2a,
	  .access = 0x81 },
	{ "the TSS is beyond the table", .vector = 13, .error = TASK, .gdt = TASK },
	{ "a gate's TSS is busy", &guest_gate, .vector = 13, .error = TASK, .access = 0x8b },
	{ "a gate's TSS is not present", &guest_gate, .vector = 11, .error = TASK,
	  .access = 0x09 },
	{ "INT to a busy TSS", &guest_in, .vector = 13, .error = TASK, .access = 0x8b },
	{ "an exception's TSS is busy", &guest_ud, .vector = 13, .error = TASK | 1,
	  .access = 0x8b },
	{ "the link of IRET is not busy", &guest_iret, .vector = 10, .error = TASK },
	{ "the link of IRET is not present", &guest_iret, .vector = 11, .error = TASK,
	  .access = 0x0b },
	{ "no LDT", .vector = 10, .error = DATA, .where = IN_NEW, .ldt = DATA },
	{ "an absent LDT", .vector = 10, .error = ABSENT_LDT, .where = IN_NEW,
	  .ldt = ABSENT_LDT },
	{ "CS is null", .vector = 10, .where = IN_NEW, .seg[MOTE_CS] = ~0 },
	{ "CS is data", .vector = 10, .error = DATA, .where = IN_NEW, .seg[MOTE_CS] = DATA },
	{ "CS is absent", .vector = 11, .error = ABSENT_CODE, .where = IN_NEW,
	  .seg[MOTE_CS] = ABSENT_CODE },
	{ "CS has another RPL", .vector = 10, .error = CODE32, .where = IN_NEW,
	  .seg = { DATA_3, CODE32 | 3, DATA_3, DATA_3, DATA_3, DATA_3 } },
	{ "SS is null", .vector = 10, .where = IN_NEW, .seg[MOTE_SS] = ~0 },
	{ "SS is read-only", .vector = 10, .error = READ_ONLY, .where = IN_NEW,
	  .seg[MOTE_SS] = READ_ONLY },
	{ "SS is absent", .vector = 12, .error = ABSENT, .where = IN_NEW,
	  .seg[MOTE_SS] = ABSENT },
	{ "SS is of ring 3", .vector = 10, .error = DATA_3 & ~3, .where = IN_NEW,
	  .seg[MOTE_SS] = DATA_3 },
	{ "DS is absent", .vector = 11, .error = ABSENT, .where = IN_NEW,
	  .seg[MOTE_DS] = ABSENT },
	{ "ES cannot be read", .vector = 10, .error = EXEC_ONLY, .where = IN_NEW,
	  .seg[MOTE_ES] = EXEC_ONLY },
	{ "FS is beyond the table", .vector = 10, .error = 0xff0, .where = IN_NEW,
	  .seg[MOTE_FS] = 0xff0 },
	{ "GS is a TSS", .vector = 10, .error = MAIN, .where = IN_NEW, .seg[MOTE_GS] = MAIN },
	{ "CALL with GS absent", &guest_call, .vector = 11, .error = ABSENT, .where = IN_NEW,
	  .seg[MOTE_GS] = ABSENT },
	{ "an exception with DS absent", &guest_ud, .vector = 11, .error = ABSENT | 1,
	  .where = IN_NEW, .seg[MOTE_DS] = ABSENT },
	{ "a TSS's selector means data", &guest_wrong, .vector = 13, .error = DATA },
	{ "a TSS in the LDT", &guest_local, .vector = 13, .error = TASK | 4 },
};

static void prepare_fault(struct guest *guest, enum guest_mode mode, const struct fault *row)
{
	struct tss32 *tss = (struct tss32 *)(guest->ram + TASK_TSS);
	struct mote_state state;

	start(guest, mode, row->code ? row->code : &guest_jmp);
	put_tss(guest, TASK, TASK_TSS, row->limit ? row->limit : 0xff,
		row->access ? row->access : 0x89);
	for (int i = 0; i < 6; i++)
		if (row->seg[i])
			tss->seg[i] = row->seg[i] == 0xffff ? 0 : row->seg[i];
	tss->ldt = row->ldt;
	task_gate(guest, 0x50, TASK);
	task_gate(guest, 6, TASK);
	guest_get(guest, &state, MOTE_STATE_SEGS | MOTE_STATE_GPRS);
	if (row->gdt)
		state.segs.gdt.limit = row->gdt - 1;
	if (row->code == &guest_iret) {
		state.gprs.rflags |= NT;
		((struct tss32 *)(guest->ram + MAIN_TSS))->link = TASK;
	}
	guest_set(guest, &state);
}

/*
 * Each fault, with its error code, in the old task or in the new one.  QEMU sets EXT in
 * no error code of a task switch, has #NP for a stack that is not present, and
 * saves the old RIP for what goes wrong in the new task, if an instruction has begun it.
 */
TEST_F(task_switch, faults)
{
	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		const struct fault *row = &faults[i];
		__u16 from = row->where == IN_NEW ? TASK : MAIN;
		bool tcg = host_is_tcg();
		int vector = tcg && row->vector == 12 ? 11 : row->vector;
		struct tss32 *handler = (void *)(self->guest.ram + HANDLER_TSS(vector));
		struct mote_state state;
		__u32 error;

		prepare_fault(&self->guest, variant->mode, row);
		ASSERT_AT(AT_HANDLER) TH_LOG("%s", row->name);
		guest_get(&self->guest, &state, MOTE_STATE_SEGS | MOTE_STATE_GPRS);
		EXPECT_EQ(HANDLER(vector), state.segs.seg[MOTE_TR].selector) {
			TH_LOG("%s", row->name);
		}
		EXPECT_EQ(HANDLER_STACK - 4, state.gprs.gpr[MOTE_RSP]);
		memcpy(&error, self->guest.ram + HANDLER_STACK - 4, 4);
		EXPECT_EQ(tcg ? row->error & ~1 : row->error, error) TH_LOG("%s", row->name);
		EXPECT_EQ(from, handler->link) TH_LOG("%s", row->name);
		if (row->where == IN_NEW) {
			EXPECT_EQ(tcg && row->code != &guest_ud ? MAIN_CODE : TASK_CODE,
				  self->task->eip);
			EXPECT_EQ(0xb, type_of(&self->guest, TASK)) TH_LOG("%s", row->name);
			EXPECT_EQ(row->code ? 0xb : 9, type_of(&self->guest, MAIN));
		} else {
			EXPECT_EQ(MAIN_CODE, self->main->eip) TH_LOG("%s", row->name);
			EXPECT_EQ(0xb, type_of(&self->guest, MAIN)) TH_LOG("%s", row->name);
		}
		EXPECT_EQ(0xb, type_of(&self->guest, HANDLER(vector)));
	}
}

/* A TSS that is not mapped is a page fault of the old task. */
TEST_F(task_switch, page_fault)
{
	struct guest_frame frame;
	struct mote_state state;

	if (variant->mode == GUEST_PROT32)
		return;
	start(&self->guest, variant->mode, &guest_jmp);
	*descriptor(&self->guest, TASK) = 0x00008900000000ff | 0x123ull << 16 | 0x40ull << 32;
	guest_unmap(&self->guest, 0x400000);
	ASSERT_AT(GUEST_FAULT);
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	EXPECT_EQ(14, frame.vector);
	EXPECT_EQ(0, frame.error);
	EXPECT_EQ(MAIN_CODE, frame.rip);
	guest_get(&self->guest, &state, MOTE_STATE_SEGS | MOTE_STATE_CRS);
	EXPECT_EQ(MAIN, state.segs.seg[MOTE_TR].selector);
	EXPECT_EQ(0x400000, state.crs.cr2 & ~0x1ffull);
}

/* The T bit: a debug exception before the new task's first instruction. */
TEST_F(task_switch, trap_bit)
{
	struct guest_frame frame;
	struct mote_state state;

	if (host_is_tcg())
		SKIP(return, "not on this hardware: QEMU knows no T bit");
	start(&self->guest, variant->mode, &guest_jmp);
	self->task->trap = 1;
	ASSERT_AT(GUEST_FAULT);
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	EXPECT_EQ(1, frame.vector);
	EXPECT_EQ(TASK_CODE, frame.rip);
	guest_get(&self->guest, &state, MOTE_STATE_DRS);
	/* Bochs's AMD processor tells of no #DB that is intercepted what it is about. */
	if (!host_is_trinity())
		EXPECT_EQ(0x8000, state.drs.dr6 & 0xe00f);
	ASSERT_AT(AT_TASK);
}

MOTE_TEST_MAIN
