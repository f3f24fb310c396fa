// SPDX-License-Identifier: GPL-2.0
/* State: set and get, from one vCPU to another, and what no CPU enters. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "mode_fixture.h"

#define XSAVE_ROOM 16384

static unsigned char images[3][XSAVE_ROOM] __attribute__((aligned(64)));

static void get_all(struct guest *guest, struct mote_state *state, unsigned char *image)
{
	memset(state, 0, sizeof(*state));
	memset(image, 0, XSAVE_ROOM);
	state->mask = MOTE_STATE_ALL;
	state->xsave = (unsigned long)image;
	state->xsave_size = XSAVE_ROOM;
	if (mote_get_state(guest->cpu.fd, state))
		abort();
}

GUEST_ALL(counting, "mov $7, %ecx; 1: inc %eax; out %al, $0x80; dec %ecx; jnz 1b; hlt");

/*
 * What is got in the middle of a run is set into a vCPU of another VM, is got
 * there again without a difference, and the guest goes on.
 */
TEST_MODE(round_trip)
{
	static struct mote_state first, second;
	struct guest other;
	int left = 0;

	guest_start(&self->guest, variant->mode, GUEST_FOR(counting, variant->mode));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	/* Complete the OUT without running on. */
	self->guest.run->immediate_exit = 1;
	ASSERT_EQ(-EINTR, guest_run(&self->guest));
	self->guest.run->immediate_exit = 0;
	self->guest.run->reason = MOTE_EXIT_NONE;

	get_all(&self->guest, &first, images[0]);
	first.drs.dr[0] = 0x1234;
	first.drs.dr[3] = 0xffff800000001000;
	first.crs.cr2 = 0xabcdef;
	first.crs.cr8 = 5;
	first.msrs.lstar = 0xffffffff81000000;
	first.msrs.kernel_gs_base = 0xffff888000000000;
	first.tsc.offset = 0x123456789abc;
	ASSERT_EQ(0, mote_set_state(self->guest.cpu.fd, &first));
	get_all(&self->guest, &first, images[0]);

	guest_create(&other);
	memcpy(other.ram, self->guest.ram, GUEST_SIZE);
	ASSERT_EQ(0, mote_set_state(other.cpu.fd, &first));
	get_all(&other, &second, images[1]);
	EXPECT_EQ(0x1234, second.drs.dr[0]);
	EXPECT_EQ(5, second.crs.cr8);
	EXPECT_EQ(0x123456789abc, second.tsc.offset);
	EXPECT_LT(first.tsc.value, second.tsc.value);
	second.tsc.value = first.tsc.value;
	second.xsave = first.xsave;
	EXPECT_EQ(0, memcmp(&first, &second, sizeof(first)));
	EXPECT_EQ(0, memcmp(images[0], images[1], first.xsave_size));

	while (guest_run(&other) == MOTE_EXIT_PIO && !mode_is_over(&other, variant->mode))
		left++;
	EXPECT_EQ(4, left);
	EXPECT_TRUE(mode_is_over(&other, variant->mode));
	EXPECT_EQ(7, other.run->gpr[MOTE_RAX]);
	guest_destroy(&other);
}

/* A vCPU begins as a processor after RESET. */
TEST_MODE(after_creation)
{
	static struct mote_state state;

	get_all(&self->guest, &state, images[0]);
	EXPECT_EQ(0xfff0, state.gprs.rip);
	EXPECT_EQ(2, state.gprs.rflags);
	EXPECT_EQ(0xf000, state.segs.seg[MOTE_CS].selector);
	EXPECT_EQ(0xffff0000, state.segs.seg[MOTE_CS].base);
	EXPECT_EQ(0x60000010, state.crs.cr0);
	EXPECT_EQ(0, state.crs.cr3 | state.crs.cr4 | state.msrs.efer);
	EXPECT_EQ(0x0007040600070406, state.msrs.pat);
	EXPECT_EQ(0xfee00900, state.msrs.apic_base);
	EXPECT_EQ(0xffff0ff0, state.drs.dr6);
	EXPECT_EQ(0x400, state.drs.dr7);
	EXPECT_EQ(1, state.crs.xcr0);
	EXPECT_EQ(0, state.events.injected.valid | state.events.nmi_pending | state.events.halted);
}

/* Parts that are not asked for stay as they are. */
TEST_MODE(parts)
{
	struct mote_state state;

	guest_start(&self->guest, variant->mode, GUEST_FOR(counting, variant->mode));
	for (int part = 0; part < 7; part++) {
		struct mote_state one = { .mask = 1u << part }, all;

		guest_get(&self->guest, &state, 0x7f);
		ASSERT_EQ(0, mote_get_state(self->guest.cpu.fd, &one));
		ASSERT_EQ(0, mote_set_state(self->guest.cpu.fd, &one));
		guest_get(&self->guest, &all, 0x7f);
		state.tsc.value = all.tsc.value;
		EXPECT_EQ(0, memcmp(&state, &all, sizeof(all))) TH_LOG("part %d", part);
	}
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
}

/* Parts that were not asked for are zero in the answer, and so is all padding. */
TEST_MODE(nothing_but_what_was_asked_for)
{
	static const struct {
		size_t from, to;
	} parts[] = {
#define PART(member) { offsetof(struct mote_state, member),	\
		       offsetof(struct mote_state, member) + sizeof(((struct mote_state *)0)->member) }
		PART(gprs), PART(segs), PART(crs), PART(drs), PART(msrs), PART(events), PART(tsc),
	};

	guest_start(&self->guest, variant->mode, GUEST_FOR(counting, variant->mode));
	for (int part = 0; part < 7; part++) {
		struct mote_state state;
		unsigned char *bytes = (unsigned char *)&state;

		memset(&state, 0xa5, sizeof(state));
		memset(state.reserved, 0, sizeof(state.reserved));
		state.mask = 1u << part;
		ASSERT_EQ(0, mote_get_state(self->guest.cpu.fd, &state));
		for (size_t i = offsetof(struct mote_state, gprs);
		     i < offsetof(struct mote_state, xsave); i++) {
			if (i < parts[part].from || i >= parts[part].to) {
				ASSERT_EQ(0, bytes[i]) TH_LOG("part %d, byte %zu", part, i);
			}
		}
		EXPECT_EQ(0, state.events.pad | state.segs.gdt.pad[0] | state.segs.idt.pad[2]);
	}
}

/* Is every byte from @from to @to @value? */
static bool all_bytes(const void *data, size_t from, size_t to, unsigned char value)
{
	const unsigned char *bytes = data;

	while (from < to && bytes[from] == value)
		from++;
	return from == to;
}

/* The same for MOTE_GET_INFO and mote_get_cpuid(), and rows that are not there stay as they were. */
TEST(information_without_leftovers)
{
	static struct mote_cpuid_entry rows[MOTE_MAX_CPUID];
	struct mote_cpuid_table table = { .nr = MOTE_MAX_CPUID, .entries = (unsigned long)rows };
	struct mote_info info;
	int fd = mote_open();
	size_t used;

	memset(&info, 0xa5, sizeof(info));
	ASSERT_EQ(0, mote_get_info(fd, &info));
	ASSERT_GE(MOTE_MAX_OBSTACLES, info.nr_obstacles);
	used = strnlen((char *)info.version, sizeof(info.version));
	EXPECT_EQ(0, info.pad);
	EXPECT_TRUE(all_bytes(info.version, used, sizeof(info.version), 0));
	EXPECT_TRUE(all_bytes(info.reserved, 0, sizeof(info.reserved), 0));
	EXPECT_TRUE(all_bytes(info.obstacles, info.nr_obstacles * sizeof(info.obstacles[0]),
			      sizeof(info.obstacles), 0));

	memset(rows, 0xa5, sizeof(rows));
	ASSERT_EQ(0, mote_get_cpuid(fd, &table));
	ASSERT_GE(MOTE_MAX_CPUID, table.nr);
	EXPECT_EQ(0, table.pad);
	for (__u32 i = 0; i < table.nr; i++)
		EXPECT_EQ(0, rows[i].pad | (rows[i].flags & ~MOTE_CPUID_SUBLEAF));
	EXPECT_TRUE(all_bytes(rows, table.nr * sizeof(rows[0]), sizeof(rows), 0xa5));
}

GUEST(exits, 64, "out %al, $0x80; mov 0x80000000, %eax; hlt");

/* The run page: each exit writes its own fields, and nothing beyond them. */
TEST(exits_without_leftovers)
{
	static const struct {
		int reason;
		bool mode;
		size_t size;	/* of its part of the union */
	} exits[] = {
		{ MOTE_EXIT_PIO, false, sizeof(((struct mote_run *)0)->pio) },
		{ MOTE_EXIT_MMIO, true, sizeof(((struct mote_run *)0)->memory) },
		{ MOTE_EXIT_HLT, false, 0 },
		{ MOTE_EXIT_FAIL_ENTRY, false, sizeof(((struct mote_run *)0)->fail) },
	};
	struct mote_run *run;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_exits);
	run = guest.run;
	for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
		struct mote_state state;

		memset(&run->mode, 0xa5, MOTE_RUN_SIZE - offsetof(struct mote_run, mode));
		switch (exits[i].reason) {
		case MOTE_EXIT_HLT: /* past the MOV, of seven bytes */
			run->rip += 7;
			run->set = MOTE_SET_RIP | MOTE_SET_COMPLETE;
			break;
		case MOTE_EXIT_FAIL_ENTRY:
			guest_get(&guest, &state, MOTE_STATE_GPRS);
			state.gprs.rflags = 0;
			guest_set(&guest, &state);
			break;
		}
		ASSERT_EQ(exits[i].reason, guest_run(&guest));
		if (exits[i].mode) {
			EXPECT_TRUE(all_bytes(run->mode.pad, 0, sizeof(run->mode.pad), 0));
		} else {
			EXPECT_TRUE(all_bytes(&run->mode, 0, sizeof(run->mode), 0xa5));
		}
		EXPECT_TRUE(all_bytes(run, offsetof(struct mote_run, reserved) + exits[i].size,
				      offsetof(struct mote_run, exits), 0xa5)) {
			TH_LOG("%s", guest_exit_name(exits[i].reason));
		}
		/* Of the counters, those of what has happened. */
		EXPECT_TRUE(all_bytes(run->exits, MOTE_NR_EXITS * sizeof(run->exits[0]),
				      MOTE_RUN_SIZE - offsetof(struct mote_run, exits), 0xa5));
	}
	guest_destroy(&guest);
}

/* ---- states that no CPU enters ------------------------------------------------- */

#define WRONG(name, mode_, what)				\
	static void wrong_##name(struct mote_state *s) { what; }
#define EACH_WRONG(f)								\
	f(pg_without_pe, GUEST_PAE, s->crs.cr0 &= ~1ull)			\
	f(nw_without_cd, GUEST_LONG, s->crs.cr0 |= 1ull << 29)			\
	f(cr0_high, GUEST_LONG, s->crs.cr0 |= 1ull << 32)			\
	f(cr3_high, GUEST_LONG, s->crs.cr3 |= 1ull << 62)			\
	f(cr4_vmxe, GUEST_LONG, s->crs.cr4 |= 1ull << 13)			\
	f(cr4_high, GUEST_LONG, s->crs.cr4 |= 1ull << 32)			\
	f(lma_without_lme, GUEST_LONG, s->msrs.efer &= ~(1ull << 8))		\
	f(lma_without_paging, GUEST_LONG, s->crs.cr0 &= ~(1ull << 31))		\
	f(long_without_pae, GUEST_LONG, s->crs.cr4 &= ~(1ull << 5))		\
	f(cs_l_and_d, GUEST_LONG, s->segs.seg[MOTE_CS].attr |= 0x4000)		\
	f(rflags_bit_1, GUEST_LONG, s->gprs.rflags = 0)				\
	f(rflags_reserved, GUEST_LONG, s->gprs.rflags |= 1ull << 3)		\
	f(vm_in_long_mode, GUEST_LONG, s->gprs.rflags |= 1ull << 17)		\
	f(rip, GUEST_LONG, s->gprs.rip = 0x8000000000000000)			\
	f(rip_high, GUEST_PROT32, s->gprs.rip = 0x100000000)			\
	f(dr7_high, GUEST_LONG, s->drs.dr7 |= 1ull << 32)			\
	f(tr_unusable, GUEST_LONG, s->segs.seg[MOTE_TR].attr &= ~0x80)		\
	f(tr_type, GUEST_LONG, s->segs.seg[MOTE_TR].attr = 0x82)		\
	f(tr_base, GUEST_LONG, s->segs.seg[MOTE_TR].base = 1ull << 63)		\
	f(gdt_base, GUEST_LONG, s->segs.gdt.base = 1ull << 63)			\
	f(v8086_limit, GUEST_V8086, s->segs.seg[MOTE_DS].limit = 0x1ffff)	\
	f(v8086_base, GUEST_V8086, s->segs.seg[MOTE_ES].base = 0x123456)	\
	f(interrupt_if, GUEST_LONG, s->events.injected = ((struct mote_event)	\
		{ .valid = 1, .type = MOTE_EVENT_INTERRUPT, .vector = 0x42 }))	\
	f(shadow_sti, GUEST_LONG, s->events.shadow = MOTE_SHADOW_STI)
EACH_WRONG(WRONG)

/* Each is refused at the run (or when it is set), by name and section, and mended it runs. */
TEST(wrong_states)
{
	static const struct {
		const char *name;
		enum guest_mode mode;
		void (*make)(struct mote_state *state);
	} rows[] = {
#define ROW(name, mode_, what) { #name, mode_, wrong_##name },
		EACH_WRONG(ROW)
	};
	struct mote_state good, bad;
	struct guest guest;
	int named = 0;

	guest_create(&guest);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct guest_code *code = GUEST_FOR(counting, rows[i].mode);
		int err, reason;

		if (rows[i].mode == GUEST_V8086 && host_is_trinity())
			continue;
		guest_start(&guest, rows[i].mode, code);
		guest_get(&guest, &good, 0x7f);
		bad = good;
		rows[i].make(&bad);
		err = mote_set_state(guest.cpu.fd, &bad);
		if (err) {
			EXPECT_EQ(-EINVAL, err) TH_LOG("%s", rows[i].name);
			continue;
		}
		reason = guest_run(&guest);
		EXPECT_EQ(MOTE_EXIT_FAIL_ENTRY, reason) {
			TH_LOG("%s: %s", rows[i].name, guest_exit_name(reason));
		}
		if (reason == MOTE_EXIT_FAIL_ENTRY) {
			const char *text = mote_check_text(guest.run->fail.check);

			EXPECT_LT(8, strlen(text));
			EXPECT_LT(8, strlen(mote_check_section(guest.run->fail.check)));
			EXPECT_EQ(NULL, strstr(text, "does not know")) {
				TH_LOG("%s: %s", rows[i].name, text);
			}
			named++;
		}
		EXPECT_EQ(0, mote_set_state(guest.cpu.fd, &good));
		EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&guest)) TH_LOG("after %s", rows[i].name);
	}
	EXPECT_LT(10, named);
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
