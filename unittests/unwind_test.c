// SPDX-License-Identifier: GPL-2.0
/*
 * Call chains by ORC and by frame pointers: of stacks and tables as Linux has them, in both formats, and of
 * any bytes at all, of which nothing outside is read (the sanitizers see it).
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../userspace/trace/event.h"
#include "../userspace/trace/unwind.h"
#include "tests.h"

#define ROUNDS (getenv("MOTE_LONG") ? 2000000 : 20000)

#define TEXT 0xffffffff81000000ull
#define STACK 0xffffc90000001000ull
#define TASK 0xffffc90000101000ull	/* the stack below an interrupt's */

static uint64_t seed = 88172645463325252ul;

static uint64_t any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* ---- tables ------------------------------------------------------------------------------- */

enum { UNDEFINED, PREV_SP, BP = 4, SP, R10, BP_INDIRECT = 8, SP_INDIRECT };
enum { CALL, REGS, REGS_PARTIAL, LAST };

/* A function of 0x100 bytes after another: where its caller's frame is. */
static const struct {
	int16_t sp_offset, bp_offset;
	unsigned int sp_reg, bp_reg, type;
} functions[] = {
	{ 8, 0, SP, UNDEFINED, CALL },			/* leaf: has pushed nothing */
	{ 32, -16, SP, PREV_SP, CALL },			/* saves: RBP is on its stack */
	{ 16, -16, BP, PREV_SP, CALL },			/* framed: by RBP */
	{ 8, 0, SP_INDIRECT, UNDEFINED, CALL },		/* switches: the old stack's place is on top */
	{ 0, 0, SP, UNDEFINED, REGS },			/* entry: all registers are on the stack */
	{ 0, 0, SP, UNDEFINED, REGS_PARTIAL },		/* early entry: what the processor pushes */
	{ 0, 0, R10, UNDEFINED, CALL },			/* odd: by a register that is not known */
	{ 0, 0, UNDEFINED, UNDEFINED, LAST },		/* first: nobody has called it */
	{ 0, 0, BP_INDIRECT, UNDEFINED, CALL },
	{ 0, 0, UNDEFINED, UNDEFINED, CALL },		/* behind all of them */
};

enum { LEAF, SAVES, FRAMED, SWITCHES, ENTRY, EARLY_ENTRY, ODD, FIRST, INDIRECT, BEHIND, NR_FUNCTIONS };

#define AT(function) (TEXT + (function) * 0x100 + 0x10)

static int32_t ips[NR_FUNCTIONS];
static struct orc_entry entries[NR_FUNCTIONS];

static struct orc_table table;

static void make_table(bool has_signal)
{
	table = (struct orc_table) {
		.gva = TEXT + 0x10000, .ips = ips, .entries = entries, .nr = NR_FUNCTIONS,
		.has_signal = has_signal,
	};

	for (int i = 0; i < NR_FUNCTIONS; i++) {
		unsigned int type = functions[i].type;
		unsigned int kind = has_signal ? (type == LAST ? 1 : type + 2) << 8 :
				    type == LAST ? 1 << 10 : type << 8;

		ips[i] = (int32_t)(TEXT + i * 0x100 - (table.gva + i * sizeof(ips[0])));
		entries[i] = (struct orc_entry) {
			functions[i].sp_offset, functions[i].bp_offset,
			functions[i].sp_reg | functions[i].bp_reg << 4 | kind,
		};
	}
}

/* ---- stacks ---------------------------------------------------------------------------------- */

static struct trace_sample sample;

static void begin(uint64_t rip, uint64_t rbp)
{
	memset(&sample, 0, sizeof(sample));
	sample.rip = rip;
	sample.rsp = sample.span[0].gva = STACK;
	sample.rbp = rbp;
}

/* Words, from a span's beginning on. */
static void put(int span, uint64_t gva, const uint64_t *words, size_t nr)
{
	size_t at = span ? sample.span[0].size : 0;

	sample.span[span] = (struct trace_span) { gva, nr * 8 };
	memcpy(sample.stack + at, words, nr * 8);
}

/* Is this the chain? */
static bool is_chain(const struct orc_table *tables, bool is_whole, const uint64_t *wanted, size_t nr)
{
	struct chain chain;
	size_t same = 0;

	unwind(&sample, tables, tables ? 1 : 0, &chain);
	while (same < nr && same < chain.nr && chain.frames[same].ip == wanted[same])
		same++;
	snprintf(said, sizeof(said), "%zu frames of %zu, whole %d, and then 0x%llx", same, chain.nr,
		 chain.is_whole, same < chain.nr ? (unsigned long long)chain.frames[same].ip : 0);
	return same == nr && chain.nr == nr && chain.is_whole == is_whole;
}

#define WORDS(...) (const uint64_t[]) { __VA_ARGS__ }, sizeof((const uint64_t[]) { __VA_ARGS__ }) / 8

static void test_calls(void)
{
	/* What saves has kept of RBP is where framed's frame is. */
	begin(AT(LEAF), 0xbad);
	put(0, STACK, WORDS(AT(SAVES), 1, 2, STACK + 48, AT(FRAMED), 3, 0x77, AT(FIRST)));
	CHECK(is_chain(&table, true, WORDS(AT(LEAF), AT(SAVES), AT(FRAMED), AT(FIRST))));
	/* Where the stack is not there any more the chain is cut. */
	sample.span[0].size = 4 * 8;
	CHECK(is_chain(&table, false, WORDS(AT(LEAF), AT(SAVES))));
}

/* Registers as Linux keeps them, from R15 to SS. */
#define KEPT(bp, ip, cs, sp) 15, 14, 13, 12, bp, 3, 11, 10, 9, 8, 0, 1, 2, 6, 7, -1, ip, cs, 0x202, sp, 0x18

static void test_interrupts(void)
{
	/* An interrupt of framed, whose RBP is among the registers. */
	begin(AT(ENTRY), 0xbad);
	put(0, STACK, WORDS(KEPT(STACK + 22 * 8, AT(FRAMED), 0x10, STACK + 21 * 8), 5, 0x77, AT(FIRST)));
	CHECK(is_chain(&table, true, WORDS(AT(ENTRY), AT(FRAMED), AT(FIRST))));
	/* One of user space, of which nothing more is said. */
	put(0, STACK, WORDS(KEPT(0, 0x401000, 0x33, 0x7ffc0000)));
	CHECK(is_chain(&table, true, WORDS(AT(ENTRY), 0x401000)));
	/* And before more than the processor's part is kept. */
	begin(AT(EARLY_ENTRY), 0);
	put(0, STACK, WORDS(0x401000, 0x33, 0x202, 0x7ffc0000, 0x2b));
	CHECK(is_chain(&table, true, WORDS(AT(EARLY_ENTRY), 0x401000)));
	put(0, STACK, WORDS(AT(LEAF), 0x10, 0x202, STACK + 5 * 8, 0x18, AT(FIRST)));
	CHECK(is_chain(&table, true, WORDS(AT(EARLY_ENTRY), AT(LEAF), AT(FIRST))));
}

static void test_stacks(void)
{
	/* On the interrupt's stack's top is where the task's goes on. */
	begin(AT(LEAF), 0);
	put(0, STACK, WORDS(AT(SWITCHES), TASK));
	put(1, TASK, WORDS(AT(LEAF), AT(FIRST)));
	CHECK(is_chain(&table, true, WORDS(AT(LEAF), AT(SWITCHES), AT(LEAF), AT(FIRST))));
	sample.span[1].size = 0;
	CHECK(is_chain(&table, false, WORDS(AT(LEAF), AT(SWITCHES))));
}

static void test_ends(void)
{
	begin(AT(ODD), 0);
	put(0, STACK, WORDS(AT(FIRST)));
	CHECK(is_chain(&table, false, WORDS(AT(ODD))));
	/* A return address is that of the call, though another function begins there. */
	begin(AT(LEAF), 0);
	put(0, STACK, WORDS(TEXT + (FIRST + 1) * 0x100));
	CHECK(is_chain(&table, true, WORDS(AT(LEAF), TEXT + (FIRST + 1) * 0x100)));
	/* Nobody comes back into what has no caller by itself: Linux says no more of its thunks. */
	begin(AT(FIRST), 0);
	put(0, STACK, WORDS(AT(LEAF)));
	CHECK(is_chain(&table, false, WORDS(AT(FIRST))));
	/* User space is one. */
	begin(0x401000, STACK);
	sample.cpl = 3;
	put(0, STACK, WORDS(STACK + 16, 0x402000, 0, 0));
	CHECK(is_chain(&table, true, WORDS(0x401000)));
}

/* The nearest entry, of any table. */
static void test_tables(void)
{
	struct orc_table tables[2] = { table, table };
	const struct orc_table *from = NULL;

	CHECK(!orc_find(tables, 1, TEXT - 1, &from) && orc_find(tables, 1, TEXT, &from) == &entries[LEAF]);
	CHECK(orc_find(tables, 1, AT(INDIRECT), &from) == &entries[INDIRECT] && from == &tables[0]);
	CHECK(!orc_find(tables, 1, AT(BEHIND), &from));
	CHECK(orc_reaches(tables, TEXT) && orc_reaches(tables, AT(INDIRECT)) &&
	      !orc_reaches(tables, TEXT - 1) && !orc_reaches(tables, AT(BEHIND)));
	/* The same functions 0x80 bytes further on, between those of the first. */
	tables[1].gva += 0x80;
	CHECK(orc_find(tables, 2, TEXT + 0x7f, &from) == &entries[LEAF] && from == &tables[0]);
	CHECK(orc_find(tables, 2, TEXT + 0x80, &from) == &entries[LEAF] && from == &tables[1]);
	CHECK(orc_find(tables, 2, TEXT + 0x100, &from) == &entries[SAVES] && from == &tables[0]);
}

/* Code that no table has. */
static void test_frame_pointers(void)
{
	begin(0x200010, STACK + 8);
	put(0, STACK, WORDS(1, STACK + 32, 0x200110, 2, 0, 0x200210, 3));
	CHECK(is_chain(NULL, false, WORDS(0x200010, 0x200110, 0x200210)));
	/* The first function returns to nowhere. */
	put(0, STACK, WORDS(1, STACK + 32, 0x200110, 2, 0x77, 0));
	CHECK(is_chain(NULL, true, WORDS(0x200010, 0x200110)));
	/* Not down the stack, and not out of it. */
	put(0, STACK, WORDS(STACK + 8, STACK, 0x200110, 2));
	CHECK(is_chain(NULL, false, WORDS(0x200010, 0x200110)));
	/* An interrupt's registers are where RBP is odd. */
	begin(0x200010, STACK + 1);
	put(0, STACK, WORDS(KEPT(STACK + 22 * 8, 0x200310, 0x10, STACK + 21 * 8), 5, 0, 0x200410));
	CHECK(is_chain(NULL, false, WORDS(0x200010, 0x200310, 0x200410)));
}

/* ---- any bytes --------------------------------------------------------------------------------- */

/* Words that lead somewhere, more often than not. */
static uint64_t any_word(void)
{
	switch (any() % 4) {
	case 0:
		return TEXT + any() % (NR_FUNCTIONS * 0x100);
	case 1:
		return STACK + any() % 256;
	case 2:
		return TASK + any() % 256;
	default:
		return any();
	}
}

static void round_of_any(void)
{
	size_t sizes[] = { any() % 200, any() % 200 }, nr = any() % 20;
	struct trace_sample *one = malloc(offsetof(struct trace_sample, stack) + sizes[0] + sizes[1]);
	int32_t *own_ips = malloc(nr * sizeof(*own_ips));
	struct orc_entry *own_entries = malloc(nr * sizeof(*own_entries));
	const struct orc_table one_table = {
		TEXT + any() % 0x1000, own_ips, own_entries, nr, any() & 1,
	};
	struct chain chain;

	memset(one, 0, offsetof(struct trace_sample, stack));
	one->rip = any_word();
	one->rsp = any_word();
	one->rbp = any_word();
	one->span[0] = (struct trace_span) { STACK + any() % 8, sizes[0] };
	one->span[1] = (struct trace_span) { TASK + any() % 8, sizes[1] };
	for (size_t i = 0; i < sizes[0] + sizes[1]; i++)
		one->stack[i] = any_word() >> i % 8 * 8;
	for (size_t i = 0; i < nr; i++) {
		own_ips[i] = any() % 4 ? (int32_t)(i * 0x100 - 0x1000) : (int32_t)any();
		own_entries[i] = (struct orc_entry) { any() % 64 - 16, any() % 64 - 32, any() };
	}
	unwind(one, &one_table, 1, &chain);
	CHECK(chain.nr >= 1 && chain.nr <= FRAMES_MOST);
	free(own_entries);
	free(own_ips);
	free(one);
}

static void test_any(void)
{
	for (int i = 0; i < ROUNDS; i++)
		round_of_any();
}

int main(void)
{
	static const struct unit_test by_orc[] = {
		{ .name = "calls", .run = test_calls }, { .name = "interrupts", .run = test_interrupts },
		{ .name = "one stack upon another", .run = test_stacks },
		{ .name = "ends", .run = test_ends }, { .name = "tables", .run = test_tables },
	}, others[] = {
		{ .name = "frame pointers", .run = test_frame_pointers },
		{ .name = "any bytes", .run = test_any },
	};

	printf("TAP version 13\n1..12\n");
	make_table(false);
	run_each(by_orc, 5, ", Linux 6.1");
	make_table(true);
	run_each(by_orc, 5, ", Linux 6.4");
	run_each(others, 2, "");
	return nr_failed ? 1 : 0;
}
