// SPDX-License-Identifier: GPL-2.0
/* Slots: what is refused, what the guest sees of each, and of each change. */
#include "kselftest_harness.h"
#include "mem.h"
#include "selftest.h"

#define SIZE (4 * MIB)

FIXTURE(slots)
{
	struct guest guest;
	unsigned char *a;
	unsigned char *b;
};

FIXTURE_SETUP(slots)
{
	ASSERT_TRUE(server_start(&self->guest));
	self->a = memory_get(SIZE);
	self->b = memory_get(SIZE);
	ASSERT_NE(NULL, self->a);
	ASSERT_NE(NULL, self->b);
	memset(self->a, 'a', SIZE);
	memset(self->b, 'b', SIZE);
}

FIXTURE_TEARDOWN(slots)
{
	guest_destroy(&self->guest);
	munmap(self->a, SIZE);
	munmap(self->b, SIZE);
}

#define AAAA 0x6161616161616161ul
#define BBBB 0x6262626262626262ul

/* ---- refusal ------------------------------------------------------------------ */

/* Each line that validates, once; nothing changes. */
TEST_F(slots, refused)
{
	struct guest *guest = &self->guest;
	struct mote_info info;
	__u64 limit;

	ASSERT_EQ(0, mote_get_info(guest->fd, &info));
	limit = 1ul << (info.gpa_bits < 48 ? info.gpa_bits : 48);
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->a));

	EXPECT_EQ(-EINVAL, slot_set(guest, info.max_slots, 0, 2 * REGION, SIZE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, ~0u, 0, 2 * REGION, SIZE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 4, 2 * REGION, SIZE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 1u << 31, 2 * REGION, SIZE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION + 1, SIZE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION + 2048, SIZE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, SIZE + 1, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, PAGE - 1, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, SIZE, self->a + 8));

	/* Beyond the guest's physical addresses, or around their end. */
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, limit, PAGE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, limit - PAGE, 2 * PAGE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, -PAGE, PAGE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, -PAGE, 2 * PAGE, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, -PAGE, self->a));
	EXPECT_EQ(0, slot_set(guest, 2, 0, limit - PAGE, PAGE, self->a));
	EXPECT_EQ(0, slot_set(guest, 2, 0, 0, 0, NULL));

	/* What its owner may not touch: the kernel's half, and around its end. */
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, PAGE, (void *)-PAGE));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, PAGE, (void *)0xffff888000000000ul));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, 1ul << 47, self->a));
	EXPECT_EQ(-EINVAL, slot_set(guest, 2, 0, 2 * REGION, PAGE, (void *)(1ul << 47)));

	/* Overlap by one page at each end, inside, around. */
	EXPECT_EQ(-EEXIST, slot_set(guest, 2, 0, REGION, SIZE, self->b));
	EXPECT_EQ(-EEXIST, slot_set(guest, 2, 0, REGION - SIZE + PAGE, SIZE, self->b));
	EXPECT_EQ(-EEXIST, slot_set(guest, 2, 0, REGION + SIZE - PAGE, SIZE, self->b));
	EXPECT_EQ(-EEXIST, slot_set(guest, 2, 0, REGION + PAGE, PAGE, self->b));
	EXPECT_EQ(-EEXIST, slot_set(guest, 2, 0, REGION - PAGE, SIZE, self->b));
	EXPECT_EQ(-EEXIST, slot_set(guest, 1, 0, 0, SIZE, self->a));

	/* Removal. */
	EXPECT_EQ(-ENOENT, slot_set(guest, 2, 0, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, slot_set(guest, 1, 1, 0, 0, NULL));
	EXPECT_EQ(-EINVAL, slot_set(guest, 1, 0, REGION, 0, NULL));
	EXPECT_EQ(-EINVAL, slot_set(guest, 1, 0, 0, 0, self->a));

	EXPECT_EQ(AAAA, guest_peek(guest, REGION));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION + SIZE - 8));
}

/* All numbers can be in use at once, and are found. */
TEST_F(slots, as_many_as_there_can_be)
{
	struct guest *guest = &self->guest;
	struct mote_info info;
	__u32 i;

	ASSERT_EQ(0, mote_get_info(guest->fd, &info));
	ASSERT_GE(SIZE / PAGE, info.max_slots);
	/* In an order that is neither ascending nor descending. */
	for (i = 1; i < info.max_slots; i++) {
		__u32 n = i * 7 % info.max_slots ?: i;

		((__u64 *)(self->a + n * PAGE))[0] = n;
		ASSERT_EQ(0, slot_set(guest, n, 0, REGION + 2 * n * PAGE, PAGE,
				      self->a + n * PAGE));
	}
	for (i = 1; i < info.max_slots; i += 13) {
		EXPECT_EQ(i, guest_peek(guest, REGION + 2 * i * PAGE));
		EXPECT_EQ(MOTE_EXIT_MMIO,
			  guest_try(guest, JOB_READ, REGION + (2 * i + 1) * PAGE, NULL));
	}
	for (i = 1; i < info.max_slots; i++)
		ASSERT_EQ(0, slot_set(guest, i, 0, 0, 0, NULL));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION + 2 * PAGE, NULL));
}

/* ---- what the guest sees --------------------------------------------------------- */

TEST_F(slots, nothing_there)
{
	struct mote_run exit;

	ASSERT_EQ(MOTE_EXIT_MMIO, guest_try(&self->guest, JOB_READ, REGION + 0x123, &exit));
	EXPECT_EQ(REGION + 0x123, exit.memory.gpa);
	EXPECT_EQ(MOTE_ACCESS_READ, exit.memory.access);
	EXPECT_EQ(0, exit.next_rip);
	ASSERT_EQ(MOTE_EXIT_MMIO, guest_try(&self->guest, JOB_WRITE, REGION + 0x456, &exit));
	EXPECT_EQ(REGION + 0x456, exit.memory.gpa);
	EXPECT_TRUE(exit.memory.access & MOTE_ACCESS_WRITE);
	ASSERT_EQ(MOTE_EXIT_MMIO, guest_try(&self->guest, JOB_EXEC, REGION, &exit));
	EXPECT_EQ(REGION, exit.memory.gpa);
	EXPECT_TRUE(exit.memory.access & MOTE_ACCESS_EXEC);
}

TEST_F(slots, add_use_remove)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->a));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION));
	EXPECT_EQ(0, guest_poke(guest, REGION + SIZE - 8, 42));
	EXPECT_EQ(42, *(__u64 *)(self->a + SIZE - 8));
	self->a[0] = 0xc3; /* RET */
	EXPECT_EQ(0, guest_try(guest, JOB_EXEC, REGION, NULL));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION - PAGE, NULL));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION + SIZE, NULL));
	ASSERT_EQ(0, slot_set(guest, 1, 0, 0, 0, NULL));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION, NULL));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION + SIZE - 8, NULL));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_EXEC, REGION, NULL));
}

GUEST(read_zero, 64, "mov 0, %rax; hlt");

/* The CPU cannot set the accessed bit of an entry: the exit says that it walked. */
TEST(page_tables_in_a_read_only_slot)
{
	struct mote_state state;
	struct guest guest;
	void *tables;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_read_zero);
	guest_get(&guest, &state, MOTE_STATE_CRS);
	tables = guest_add_memory(&guest, 1, REGION, PAGE, NULL, MOTE_SLOT_READONLY);
	memcpy(tables, guest.ram + state.crs.cr3, PAGE);
	state.crs.cr3 = REGION;
	guest_set(&guest, &state);
	ASSERT_EQ(MOTE_EXIT_MMIO, guest_run(&guest));
	EXPECT_EQ(REGION, guest.run->memory.gpa);
	EXPECT_EQ(MOTE_ACCESS_WALK, guest.run->memory.access & MOTE_ACCESS_WALK);
	guest_destroy(&guest);
}

TEST_F(slots, read_only)
{
	struct guest *guest = &self->guest;
	struct mote_run exit;

	ASSERT_EQ(0, slot_set(guest, 1, MOTE_SLOT_READONLY, REGION, SIZE, self->a));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION));
	ASSERT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_WRITE, REGION + 8, &exit));
	EXPECT_EQ(REGION + 8, exit.memory.gpa);
	EXPECT_TRUE(exit.memory.access & MOTE_ACCESS_WRITE);
	EXPECT_EQ(AAAA, guest_peek(guest, REGION + 8));

	/* Writable while it is, and no longer. */
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->a));
	EXPECT_EQ(0, guest_poke(guest, REGION + 8, 1));
	EXPECT_EQ(1, guest_peek(guest, REGION + 8));
	ASSERT_EQ(0, slot_set(guest, 1, MOTE_SLOT_READONLY, REGION, SIZE, self->a));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_WRITE, REGION + 8, NULL));
	EXPECT_EQ(1, guest_peek(guest, REGION + 8));
	/* The owner may write it. */
	self->a[8] = 2;
	EXPECT_EQ(2, guest_peek(guest, REGION + 8));
}

TEST_F(slots, move)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->a));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION + SIZE - 8));
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION + SIZE / 2, SIZE, self->a));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION, NULL));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION + SIZE));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION + SIZE + SIZE / 2 - 8));
	/* By a page: large pages of the host cannot be used as such. */
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION + PAGE, SIZE, self->a));
	((__u64 *)self->a)[0] = 1;
	EXPECT_EQ(1, guest_peek(guest, REGION + PAGE));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION, NULL));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION + SIZE + PAGE, NULL));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION + SIZE));
}

TEST_F(slots, other_memory_and_size)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->a));
	EXPECT_EQ(AAAA, guest_peek(guest, REGION));
	EXPECT_EQ(0, guest_poke(guest, REGION + PAGE, 7));
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->b));
	EXPECT_EQ(BBBB, guest_peek(guest, REGION));
	EXPECT_EQ(BBBB, guest_peek(guest, REGION + PAGE));
	EXPECT_EQ(0, guest_poke(guest, REGION + PAGE, 8));
	EXPECT_EQ(7, *(__u64 *)(self->a + PAGE));
	EXPECT_EQ(8, *(__u64 *)(self->b + PAGE));
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, PAGE, self->b));
	EXPECT_EQ(BBBB, guest_peek(guest, REGION));
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, REGION + PAGE, NULL));
	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->b));
	EXPECT_EQ(8, guest_peek(guest, REGION + PAGE));
}

/* Two slots may show the same memory. */
TEST_F(slots, alias)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->a));
	ASSERT_EQ(0, slot_set(guest, 2, 0, 2 * REGION, SIZE, self->a));
	EXPECT_EQ(0, guest_poke(guest, REGION, 5));
	EXPECT_EQ(5, guest_peek(guest, 2 * REGION));
	ASSERT_EQ(0, madvise(self->a, SIZE, MADV_DONTNEED));
	EXPECT_EQ(0, guest_peek(guest, REGION));
	EXPECT_EQ(0, guest_peek(guest, 2 * REGION));
}

/* Memory above 4 GiB, through page tables of the guest's own. */
TEST_F(slots, above_4g)
{
	struct guest *guest = &self->guest;
	__u64 *pdpt = (__u64 *)(guest->ram + GUEST_TABLES + 0x2000);
	__u64 *pd = (__u64 *)(guest->ram + GUEST_FREE);
	const __u64 gpa = 34ul << 30;
	int i;

	for (i = 0; i < 512; i++)
		pd[i] = (gpa + i * 2 * MIB) | 0xe7;
	pdpt[5] = GUEST_FREE | 7;
	ASSERT_EQ(0, slot_set(guest, 1, 0, gpa, SIZE, self->a));
	EXPECT_EQ(AAAA, guest_peek(guest, 5ul << 30));
	EXPECT_EQ(0, guest_poke(guest, (5ul << 30) + SIZE - 8, 1));
	EXPECT_EQ(1, self->a[SIZE - 8]);
	EXPECT_EQ(MOTE_EXIT_MMIO, guest_try(guest, JOB_READ, (5ul << 30) + SIZE, NULL));
}

/* A guest that looks everywhere finds its slots and nothing else. */
TEST_F(slots, probe_everything)
{
	struct guest *guest = &self->guest;
	__u64 gpa, value, step = 2048 / guest_scale(2048) * 2 * MIB;
	struct mote_run exit;

	ASSERT_EQ(0, slot_set(guest, 1, 0, REGION, SIZE, self->a));
	for (gpa = 0; gpa < 4ul << 30; gpa += step) {
		int reason;

		value = 0;
		reason = guest_access(guest, JOB_READ, gpa + 0x10, &value, &exit);
		if (gpa < GUEST_SIZE) {
			EXPECT_EQ(0, reason);
		} else if (gpa >= REGION && gpa < REGION + SIZE) {
			EXPECT_EQ(0, reason);
			EXPECT_EQ(AAAA, value);
		} else {
			EXPECT_EQ(MOTE_EXIT_MMIO, reason);
			EXPECT_EQ(gpa + 0x10, exit.memory.gpa);
		}
	}
}

MOTE_TEST_MAIN
