// SPDX-License-Identifier: GPL-2.0
/* Guest-physical memory: all that is not in a slot is out of reach, also above 4 GiB. */
#include <stdlib.h>
#include <string.h>

#include "kselftest_harness.h"
#include "guest.h"
#include "selftest.h"

#define WINDOW 0x40000000ull	/* 1 GiB: one large page that points anywhere */
#define HIGH (5ull << 30)

GUEST(read, 64, "mov %cr3, %rax; mov %rax, %cr3; mov (%rbx), %rax; hlt");
GUEST(write, 64, "mov %cr3, %rax; mov %rax, %cr3; mov %rcx, (%rbx); hlt");

static struct mote_info info;

static void start(struct guest *guest)
{
	guest_create(guest);
	if (mote_get_info(guest->fd, &info))
		abort();
	guest_start(guest, GUEST_LONG, &guest_read);
}

/* Touch a guest-physical address by the window: the exit's reason. */
static int touch(struct guest *guest, const struct guest_code *code, __u64 gpa, __u64 value)
{
	__u64 *pd = (__u64 *)(guest->ram + GUEST_TABLES + 0x3000);
	struct mote_run *run = guest->run;

	pd[WINDOW >> 21] = (gpa & ~0x1fffffull) | 0xe7;
	memcpy(guest->ram + GUEST_CODE, code->code, code->size);
	run->rip = GUEST_CODE;
	run->gpr[MOTE_RBX] = WINDOW + (gpa & 0x1fffff);
	run->gpr[MOTE_RCX] = value;
	run->set = MOTE_SET_RIP | 1u << MOTE_RBX | 1u << MOTE_RCX;
	run->reason = MOTE_EXIT_NONE;
	return guest_run(guest);
}

/* Memory at 5 GiB, and right below the end of what there can be, is like any other. */
TEST(memory_above_4_gib)
{
	struct guest guest;
	__u64 *high, *top, end;

	start(&guest);
	end = 1ull << info.gpa_bits;
	high = guest_add_memory(&guest, 1, HIGH, 0x200000, NULL, 0);
	top = guest_add_memory(&guest, 2, end - 0x200000, 0x200000, NULL, 0);
	high[3] = 0x1234;
	ASSERT_EQ(MOTE_EXIT_HLT, touch(&guest, &guest_read, HIGH + 24, 0));
	EXPECT_EQ(0x1234, guest.run->gpr[MOTE_RAX]);
	ASSERT_EQ(MOTE_EXIT_HLT, touch(&guest, &guest_write, HIGH + 0x1ffff8, 0x5678));
	EXPECT_EQ(0x5678, high[0x1ffff8 / 8]);
	ASSERT_EQ(MOTE_EXIT_HLT, touch(&guest, &guest_write, end - 8, 0x9abc));
	EXPECT_EQ(0x9abc, top[0x1ffff8 / 8]);
	/* Not the low memory under another name. */
	EXPECT_EQ(0, *(__u64 *)(guest.ram + (HIGH & (GUEST_SIZE - 1)) + 24));
	guest_destroy(&guest);
}

static bool is_memory(__u64 gpa)
{
	return gpa < GUEST_SIZE || gpa - HIGH < 0x200000;
}

/* One address, read and written: memory, or an exit that says just this address. */
static void probe(struct __test_metadata *_metadata, struct guest *guest, __u64 gpa)
{
	struct mote_run *run = guest->run;
	int reason;

	gpa &= ~7ull;
	if (gpa >= 1ull << info.gpa_bits)
		return;
	reason = touch(guest, &guest_read, gpa, 0);
	EXPECT_EQ(is_memory(gpa) ? MOTE_EXIT_HLT : MOTE_EXIT_MMIO, reason) {
		TH_LOG("%s at %#llx", guest_exit_name(reason), gpa);
	}
	if (is_memory(gpa))
		return;
	EXPECT_EQ(gpa, run->memory.gpa);
	EXPECT_EQ(MOTE_ACCESS_READ, run->memory.access);
	ASSERT_EQ(MOTE_EXIT_MMIO, touch(guest, &guest_write, gpa, 0x600dbadull));
	EXPECT_EQ(gpa, run->memory.gpa);
	EXPECT_NE(0, run->memory.access & MOTE_ACCESS_WRITE);
}

/* Both sides of each power of two and of each slot, and addresses at random. */
TEST(nothing_but_its_slots)
{
	unsigned int seed = 1;
	struct guest guest;

	start(&guest);
	guest_add_memory(&guest, 1, HIGH, 0x200000, NULL, 0);
	for (unsigned int bit = 22; bit < info.gpa_bits; bit++) {
		probe(_metadata, &guest, 1ull << bit);
		probe(_metadata, &guest, (1ull << bit) - 8);
		probe(_metadata, &guest, (1ull << bit) + 0x1000);
		probe(_metadata, &guest, (1ull << bit) | 1ull << (info.gpa_bits - 1));
	}
	for (int i = -2; i < 3; i++) {
		probe(_metadata, &guest, HIGH + i * 8);
		probe(_metadata, &guest, HIGH + 0x200000 + i * 8);
		probe(_metadata, &guest, GUEST_SIZE + i * 8);
		probe(_metadata, &guest, 0xfee00000 + i * 8);
		probe(_metadata, &guest, (1ull << info.gpa_bits) + i * 8);
	}
	for (long i = 0; i < guest_scale(500); i++)
		probe(_metadata, &guest, ((__u64)rand_r(&seed) << 32 | (__u64)rand_r(&seed) << 1) &
		      ((1ull << info.gpa_bits) - 1));
	guest_destroy(&guest);
}

/* The guest's own page tables outside of memory: an exit, or a fault, and no more. */
TEST(page_tables_nowhere)
{
	struct mote_state state;
	struct guest guest;
	int reason;

	start(&guest);
	for (int bit = 22; bit < 36; bit++) {
		guest_start(&guest, GUEST_LONG, &guest_read);
		guest_get(&guest, &state, MOTE_STATE_CRS);
		state.crs.cr3 = 1ull << bit;
		guest_set(&guest, &state);
		reason = guest_run(&guest);
		EXPECT_EQ(true, reason == MOTE_EXIT_MMIO || reason == MOTE_EXIT_SHUTDOWN) {
			TH_LOG("%s", guest_exit_name(reason));
		}
	}
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
