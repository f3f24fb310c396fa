// SPDX-License-Identifier: GPL-2.0
/*
 * mote_walk(): each paging mode and page size, then rights at random against a
 * second opinion, written down from SDM 3A, "Determination of Access Rights".
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "machine.h"

#define PG (1ull << 31)
#define WP (1ull << 16)
#define PSE (1ull << 4)
#define PAE (1ull << 5)
#define LA57 (1ull << 12)
#define SMEP (1ull << 20)
#define SMAP (1ull << 21)
#define LONG (1ull << 10)
#define NXE (1ull << 11)
#define NX (1ull << 63)

#define TABLES 0x10000ul

static unsigned char memory[0x10000] __attribute__((aligned(4096)));
static struct mote_area area = { .gpa = TABLES, .size = sizeof(memory), .hva = memory };
static struct mote_machine machine = { .nr_areas = 1, .areas = &area };
static int nr, failed;

static void result(bool good, const char *name)
{
	printf("%s %d %s\n", good ? "ok" : "not ok", ++nr, name);
	failed += !good;
}

static __u64 *entry(int table, int index)
{
	return (__u64 *)(memory + table * 4096) + index;
}

static __u32 *entry32(int table, int index)
{
	return (__u32 *)(memory + table * 4096) + index;
}

static __u64 table(int n)
{
	return TABLES + n * 4096ul;
}

/* Does a supervisor's read at @gva come out at @gpa? */
static bool leads_to(const struct mote_paging *paging, __u64 gva, __u64 gpa)
{
	__u32 error = 0x1234;
	__u64 found = 0;

	return !mote_walk(&machine, paging, gva, MOTE_ACCESS_READ, &found, &error) && found == gpa &&
	       error == 0x1234;
}

static bool faults(const struct mote_paging *paging, __u64 gva, unsigned int access, __u32 error)
{
	__u32 got = 0x1234;
	__u64 gpa;

	return mote_walk(&machine, paging, gva, access, &gpa, &got) == -EFAULT && got == error;
}

static void modes(void)
{
	struct mote_paging none = { .cr0 = 1 };
	struct mote_paging small = { .cr0 = PG, .cr3 = table(0) | 0x18, .cr4 = PSE };
	struct mote_paging no_pse = { .cr0 = PG, .cr3 = table(0) };
	struct mote_paging pae = { .cr0 = PG, .cr3 = table(1) + 0x20, .cr4 = PAE };
	struct mote_paging four = { .cr0 = PG, .cr3 = table(2) | 0xfff, .cr4 = PAE, .efer = LONG };
	struct mote_paging five = { .cr0 = PG, .cr3 = table(6), .cr4 = PAE | LA57, .efer = LONG };

	result(leads_to(&none, 0x123456789abc, 0x56789abc), "no paging: 32 bits");

	*entry32(0, 0x3ff) = table(7) | 3;
	*entry32(7, 0x155) = 0xabcde000 | 3;
	*entry32(0, 0x200) = 0x7fc00000 | 0xaa << 13 | 0x83;
	*entry32(0, 0x201) = 0x80000000 | 1 << 21 | 0x83;
	result(leads_to(&small, 0xffd55123, 0xabcde123), "32-bit: 4 KiB");
	result(leads_to(&small, 0x80312345, 0xaa7ff12345), "32-bit: 4 MiB, PSE-36");
	result(faults(&small, 0x80400000, MOTE_ACCESS_READ, 9), "32-bit: reserved bit 21");
	result(faults(&small, 0x80800000, MOTE_ACCESS_WRITE, 2), "32-bit: not present");
	result(!leads_to(&no_pse, 0x80312345, 0xaa7ff12345), "32-bit: without CR4.PSE no large page");

	*entry(1, 4 + 2) = table(8) | 1;
	*entry(8, 3) = 0x1234600000 | 0x83;
	*entry(8, 4) = table(9) | 3;
	*entry(9, 511) = 0xfedcba9876000 | 3;
	result(leads_to(&pae, 0x80654321, 0x1234654321), "PAE: 2 MiB");
	result(leads_to(&pae, 0x809ff123, 0xfedcba9876123), "PAE: 4 KiB");
	result(faults(&pae, 0x40000000, MOTE_ACCESS_READ | MOTE_ACCESS_USER, 4), "PAE: no PDPTE");
	pae.gpa_bits = 40;
	result(faults(&pae, 0x809ff123, MOTE_ACCESS_READ, 9), "PAE: address beyond the width");

	*entry(2, 256) = table(3) | 3;
	*entry(3, 5) = (0x123400000000 & ~0x3fffffffull) | 0x83;
	*entry(3, 6) = table(4) | 3;
	*entry(4, 7) = 0xabcde00000 | 0x83;
	*entry(4, 8) = table(5) | 3;
	*entry(5, 9) = 0x7654321000 | 3;
	*entry(3, 7) = 0x40002000 | 0x83;
	result(leads_to(&four, 0xffff800155555555, 0x123415555555), "4-level: 1 GiB");
	result(leads_to(&four, 0xffff800180f12345, 0xabcdf12345), "4-level: 2 MiB");
	result(leads_to(&four, 0xffff800181009abc, 0x7654321abc), "4-level: 4 KiB");
	result(faults(&four, 0xffff8001c0000000, MOTE_ACCESS_READ, 9), "4-level: misaligned 1 GiB");
	result(faults(&four, 0, MOTE_ACCESS_EXEC, 0), "4-level: a fetch is not told without NXE");

	*entry(6, 511) = table(2) | 3;
	*entry(6, 510) = 0x100000;
	result(leads_to(&five, 0xffff800181009abc, 0x7654321abc), "5-level");
	*entry(6, 3) = 0x900000 | 3;
	result(faults(&five, 0x0003000000000000, MOTE_ACCESS_READ, 0), "a table that is not memory");
}

static void marks(void)
{
	struct mote_paging four = { .cr0 = PG, .cr3 = table(2), .cr4 = PAE, .efer = LONG };
	__u64 gva = 0xffff800181009abc, gpa;
	bool good;

	*entry(2, 256) &= ~0x60ull;
	*entry(5, 9) &= ~0x60ull;
	mote_walk(&machine, &four, gva, MOTE_ACCESS_WRITE | MOTE_ACCESS_PEEK, &gpa, NULL);
	good = !(*entry(2, 256) & 0x60) && !(*entry(5, 9) & 0x60);
	mote_walk(&machine, &four, gva, MOTE_ACCESS_READ, &gpa, NULL);
	good &= (*entry(2, 256) & 0x60) == 0x20 && (*entry(5, 9) & 0x60) == 0x20;
	mote_walk(&machine, &four, gva, MOTE_ACCESS_WRITE, &gpa, NULL);
	good &= (*entry(2, 256) & 0x60) == 0x20 && (*entry(5, 9) & 0x60) == 0x60;
	result(good, "accessed and dirty bits");
	area.flags = MOTE_SLOT_READONLY;
	*entry(5, 9) &= ~0x60ull;
	mote_walk(&machine, &four, gva, MOTE_ACCESS_WRITE, &gpa, NULL);
	result(!(*entry(5, 9) & 0x60), "none in read-only memory");
	area.flags = 0;
}

/* The error code of an access, or -1: what the manual says, in its order. */
static int opinion(const __u64 *entries, const struct mote_paging *p, unsigned int access)
{
	bool user = access & MOTE_ACCESS_USER, write = access & MOTE_ACCESS_WRITE;
	bool fetch = access & MOTE_ACCESS_EXEC, u = true, w = true, x = true, bad = false;
	int code = write * 2 + user * 4 + (fetch && (p->efer & NXE || p->cr4 & SMEP)) * 16;

	for (int i = 0; i < 4; i++) {
		if (!(entries[i] & 1))
			return code;
		if (entries[i] & NX && !(p->efer & NXE))
			return code | 9;
		w &= entries[i] >> 1 & 1;
		u &= entries[i] >> 2 & 1;
		x &= !(entries[i] >> 63);
	}
	if (user && !u)
		bad = true;
	if (write && !w && (user || p->cr0 & WP))
		bad = true;
	if (fetch && (!x || (!user && u && p->cr4 & SMEP)))
		bad = true;
	if (!fetch && !user && u && p->cr4 & SMAP && !(p->rflags & 1 << 18))
		bad = true;
	return bad ? code | 1 : -1;
}

static __u64 random_bits(__u64 of)
{
	return ((__u64)rand() << 62 ^ (__u64)rand() << 31 ^ rand()) & of;
}

static void rights(void)
{
	static const unsigned int kinds[] = { MOTE_ACCESS_READ, MOTE_ACCESS_WRITE, MOTE_ACCESS_EXEC };
	int wrong = 0, allowed = 0;

	for (int i = 0; i < 300000; i++) {
		unsigned int access = kinds[rand() % 3] | (rand() & 1 ? MOTE_ACCESS_USER : 0);
		struct mote_paging paging = {
			.cr0 = PG | random_bits(WP), .cr3 = table(10), .efer = LONG | random_bits(NXE),
			.cr4 = PAE | random_bits(SMEP | SMAP), .rflags = random_bits(1 << 18),
		};
		__u64 entries[4], gpa;
		__u32 error = 0;
		int expected, err;

		for (int level = 0; level < 4; level++) {
			__u64 to = level == 3 ? 0x5000 : table(11 + level);

			entries[level] = to | 7;
			if (rand() % 3 == 0)
				entries[level] ^= random_bits(rand() % 4 ? 6 : 7 | NX);
			*entry(10 + level, 0) = entries[level];
		}
		expected = opinion(entries, &paging, access);
		err = mote_walk(&machine, &paging, 0x123, access, &gpa, &error);
		allowed += !err;
		wrong += expected < 0 ? err || gpa != 0x5123 : err != -EFAULT || error != (__u32)expected;
	}
	result(!wrong && allowed > 1000, "rights at random");
}

int main(void)
{
	printf("TAP version 13\n1..%d\n", 20);
	modes();
	marks();
	rights();
	return failed || nr != 20;
}
