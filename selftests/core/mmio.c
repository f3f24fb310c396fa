// SPDX-License-Identifier: GPL-2.0
/*
 * MMIO in each mode. The judge is the guest itself: the same code runs with
 * memory and with a device at 0xa0000, and must end with the same registers,
 * flags and bytes.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "complete.h"
#include "mode_fixture.h"

#define HOLE 0xa0000
#define HOLE_SIZE 0x20000

static unsigned char device[HOLE_SIZE];
static int reads, writes, widths;

static __u64 mmio_read(void *context, __u64 gpa, unsigned int size)
{
	__u64 value = 0;

	if (gpa < HOLE || gpa + size > HOLE + HOLE_SIZE)
		return 0xbadbadbadbadbad;
	memcpy(&value, device + (gpa - HOLE), size);
	reads++;
	widths |= size;
	return value;
}

static void mmio_write(void *context, __u64 gpa, unsigned int size, __u64 data)
{
	if (gpa >= HOLE && gpa + size <= HOLE + HOLE_SIZE)
		memcpy(device + (gpa - HOLE), &data, size);
	writes++;
	widths |= size;
}

static const struct mote_bus bus = { .mmio_read = mmio_read, .mmio_write = mmio_write };

static void remove_slots(struct guest *guest)
{
	for (__u32 n = 0; n < 2; n++) {
		struct mote_slot slot = { .slot = n };

		mote_machine_set_slot(&guest->machine, &slot);
	}
}

static void fill_hole(struct guest *guest)
{
	remove_slots(guest);
	guest_add_memory(guest, 0, 0, GUEST_SIZE, guest->ram, 0);
}

/* Memory, but for the hole. */
static void punch_hole(struct guest *guest)
{
	remove_slots(guest);
	guest_add_memory(guest, 0, 0, HOLE, guest->ram, 0);
	guest_add_memory(guest, 1, HOLE + HOLE_SIZE, GUEST_SIZE - HOLE - HOLE_SIZE,
			 guest->ram + HOLE + HOLE_SIZE, 0);
}

/* ES and FS reach the hole at EBX, also where segments are small. */
static void aim(struct guest *guest, enum guest_mode mode, __u32 offset)
{
	struct mote_state state;
	bool small = guest_mode_bits(mode) == 16;

	guest_get(guest, &state, MOTE_STATE_SEGS | MOTE_STATE_GPRS | MOTE_STATE_CRS);
	if (small) {
		for (int i = MOTE_ES; i <= MOTE_GS; i++) {
			if (i != MOTE_ES && i != MOTE_FS)
				continue;
			state.segs.seg[i].base = HOLE;
			if (mode != GUEST_PROT16)
				state.segs.seg[i].selector = HOLE >> 4;
		}
	}
	state.gprs.gpr[MOTE_RBX] = (small ? 0 : HOLE) + offset;
	state.gprs.gpr[MOTE_RSI] = GUEST_DATA;
	for (int i = MOTE_R8; i <= MOTE_R15; i++)
		state.gprs.gpr[i] = 0x0101010101010101ull * i;
	guest_set(guest, &state);
}

struct outcome {
	__u64 gpr[MOTE_NR_GPRS];
	__u64 rflags;
	unsigned char hole[HOLE_SIZE];
	unsigned char data[0x2000];
};

static int play(struct guest *guest, enum guest_mode mode, const struct guest_code *code,
		__u32 offset, bool with_device, struct outcome *outcome)
{
	unsigned char *hole = with_device ? device : guest->ram + HOLE;
	int reason;

	guest_start(guest, mode, code);
	aim(guest, mode, offset);
	for (int i = 0; i < HOLE_SIZE; i++)
		hole[i] = i * 13 + (i >> 8) + 0x81;
	for (int i = 0; i < 0x2000; i++)
		guest->ram[GUEST_DATA + i] = i * 5 + (i >> 8) + 3;
	if (with_device)
		punch_hole(guest);
	else
		fill_hole(guest);
	reads = writes = widths = 0;
	while ((reason = guest_run(guest)) == MOTE_EXIT_MMIO)
		if ((reason = mote_complete_mmio(&guest->cpu, &bus)))
			return reason;
	memcpy(outcome->gpr, guest->run->gpr, sizeof(outcome->gpr));
	outcome->rflags = guest->run->rflags;
	memcpy(outcome->hole, hole, HOLE_SIZE);
	memcpy(outcome->data, guest->ram + GUEST_DATA, sizeof(outcome->data));
	return reason;
}

static void say_where(struct __test_metadata *_metadata, struct guest *guest)
{
	struct mote_run *run = guest->run;

	TH_LOG("%s at rip %#llx, rsp %#llx, gpa %#llx, top of stack %#llx",
	       guest_exit_name(run->reason), run->rip, run->gpr[MOTE_RSP], run->memory.gpa,
	       *(__u64 *)(guest->ram + (run->gpr[MOTE_RSP] & 0x3ffff8)));
}

/* Both ways; what differs is said. */
static void compare(struct __test_metadata *_metadata, struct guest *guest, enum guest_mode mode,
		    const struct guest_code *code, __u32 offset)
{
	static struct outcome memory, device;
	int err;

	play(guest, mode, code, offset, false, &memory);
	ASSERT_TRUE(mode_is_over(guest, mode)) say_where(_metadata, guest);
	err = play(guest, mode, code, offset, true, &device);
	EXPECT_LE(0, err);
	ASSERT_TRUE(mode_is_over(guest, mode)) say_where(_metadata, guest);
	for (int i = 0; i < MOTE_NR_GPRS; i++) {
		EXPECT_EQ(memory.gpr[i], device.gpr[i]) TH_LOG("register %d", i);
	}
	EXPECT_EQ(memory.rflags, device.rflags);
	EXPECT_EQ(0, memcmp(memory.hole, device.hole, HOLE_SIZE));
	EXPECT_EQ(0, memcmp(memory.data, device.data, sizeof(memory.data)));
	EXPECT_NE(0, reads + writes);
}

GUEST_ALL(moves,
	  "mov $0x81828384, %eax; mov $0x71727374, %edx\n"
	  "mov %ah, %es:(%ebx); mov %dx, %es:2(%ebx); mov %eax, %es:4(%ebx)\n"
	  "movb $0x91, %es:8(%ebx); movw $0x9293, %es:10(%ebx); movl $0x94959697, %es:12(%ebx)\n"
	  "mov %es:16(%ebx), %dl; mov %es:17(%ebx), %dh; mov %es:18(%ebx), %cx\n"
	  "mov %es:20(%ebx), %eax; movzbl %es:24(%ebx), %ebp; movsbw %es:25(%ebx), %di\n"
	  "movzwl %es:26(%ebx), %eax; add %eax, %edx; movswl %es:28(%ebx), %eax\n"
	  "mov %ds, %es:30(%ebx); hlt");

/* Loads and stores of each width, from registers, halves, immediates and segments. */
TEST_MODE(moves)
{
	compare(_metadata, &self->guest, variant->mode, GUEST_FOR(moves, variant->mode), 0x40);
	EXPECT_EQ(7, widths);
}

/* The same across the pages of the device, and from memory into it. */
TEST_MODE(moves_across_pages)
{
	bool small = guest_mode_bits(variant->mode) == 16;

	for (int i = 0; i < 36; i += 5)
		compare(_metadata, &self->guest, variant->mode, GUEST_FOR(moves, variant->mode),
			0x1000 - i);
	if (!small) {
		compare(_metadata, &self->guest, variant->mode, GUEST_FOR(moves, variant->mode), -6);
		compare(_metadata, &self->guest, variant->mode, GUEST_FOR(moves, variant->mode),
			HOLE_SIZE - 7);
	}
}

GUEST_ALL(alu,
	  "mov $0x81828384, %eax; mov $0x71727374, %edx; mov $3, %ecx\n"
	  "add %al, %es:(%ebx); adc %dx, %es:2(%ebx); sub %eax, %es:4(%ebx); sbb %es:8(%ebx), %ecx\n"
	  "andw $0x0ff0, %es:12(%ebx); orl $-2, %es:16(%ebx); xor %es:20(%ebx), %dx\n"
	  "incb %es:24(%ebx); decl %es:28(%ebx); notw %es:32(%ebx); negl %es:36(%ebx)\n"
	  "xchg %dl, %es:40(%ebx); lock xadd %eax, %es:44(%ebx); lock cmpxchg %edx, %es:48(%ebx)\n"
	  "lock cmpxchg %edx, %es:48(%ebx); btsl $37, %es:52(%ebx); movzbl %cl, %ecx; btr %ecx, %es:56(%ebx)\n"
	  "btcw $2, %es:60(%ebx); setc %ch; cmp %al, %es:64(%ebx); hlt");

/* Arithmetic on a device's registers, flags and all. */
TEST_MODE(arithmetic)
{
	compare(_metadata, &self->guest, variant->mode, GUEST_FOR(alu, variant->mode), 0x80);
	compare(_metadata, &self->guest, variant->mode, GUEST_FOR(alu, variant->mode), 0xfe9);
}

GUEST_ALL(strings,
	  "cld; lea 0x100(%ebx), %edi; mov $0x52535455, %eax; mov $9, %ecx; rep stosb\n"
	  "stosw; stosl; mov $700, %ecx; rep movsl\n"
	  "lea 0x20(%ebx), %esi; mov $3, %ecx; rep lodsb %fs:(%esi), %al; lodsl %fs:(%esi), %eax\n"
	  "std; lea 0x400(%ebx), %edi; mov $5, %ecx; rep stosw; cld\n"
	  "lea 0x40(%ebx), %esi; lea 0x600(%ebx), %edi; mov $6, %ecx\n"
	  "rep movsw %fs:(%esi), %es:(%edi)\n"
	  "lea 0x40(%ebx), %esi; lea 0x600(%ebx), %edi; mov $60, %ecx\n"
	  "repe cmpsb %es:(%edi), %fs:(%esi); mov $200, %ecx; repne scasb; hlt");

/* Strings: counts above what is done in one go, both directions, device to device. */
TEST_MODE(strings)
{
	struct guest_code code = *GUEST_FOR(strings, variant->mode);

	compare(_metadata, &self->guest, variant->mode, &code, 0x10);
	compare(_metadata, &self->guest, variant->mode, &code, 0xe34);
}

GUEST(quad, 64,
      "mov $0x8182838485868788, %rax; mov %rax, (%rbx); mov 8(%rbx), %rdx; movslq 16(%rbx), %r9\n"
      "xchg %r8, 24(%rbx); add %r9, 32(%rbx); movq $-3, 40(%rbx); cmpq $5, 48(%rbx)\n"
      "mov 56(%rbx), %r10d; mov 60(%rbx), %r11w; lea 64(%rbx), %rdi; mov $3, %ecx; rep stosq\n"
      "mov 4(%rbx), %sil; mov %r12b, 5(%rbx); mov $-77, %ecx; movslq %ecx, %rcx; bts %rcx, 128(%rbx)\n"
      "pushq 88(%rbx); popq 96(%rbx); hlt");
GUEST(vector, 64,
      "movdqu (%rbx), %xmm3; movdqu %xmm3, 16(%rbx); movq 32(%rbx), %xmm4; movd 40(%rbx), %xmm5\n"
      "movhps 44(%rbx), %xmm4; movq %xmm4, %rax; movups %xmm4, GUEST_DATA; movss %xmm5, 52(%rbx)\n"
      "movaps %xmm5, GUEST_DATA + 16; mov $5, %edx; movnti %edx, 60(%rbx); hlt");

/* 64-bit operands, extended registers, and XMM registers through the XSAVE image. */
TEST_MODE(long_mode_operands)
{
	if (guest_mode_bits(variant->mode) != 64)
		return;
	compare(_metadata, &self->guest, variant->mode, &guest_quad, 0x40);
	EXPECT_EQ(15, widths);
	compare(_metadata, &self->guest, variant->mode, &guest_quad, 0xffc);
	compare(_metadata, &self->guest, variant->mode, &guest_vector, 0x40);
	compare(_metadata, &self->guest, variant->mode, &guest_vector, 0xff5);
}

GUEST_ALL(half, "cld; mov $0x3ffffc, %edi; mov %ebx, %esi; mov $8, %ecx; rep movsb; hlt");

/* A page fault at the other operand of a MOVS: what was done before it is seen. */
TEST_MODE(page_fault_at_memory)
{
	struct guest_frame frame;
	struct mote_state state;

	if (variant->mode < GUEST_PAGE32)
		return;
	guest_prepare(&self->guest, variant->mode);
	guest_start(&self->guest, variant->mode, GUEST_FOR(half, variant->mode));
	guest_unmap(&self->guest, 0x400000);
	aim(&self->guest, variant->mode, 0x40);
	punch_hole(&self->guest);
	while (guest_run(&self->guest) == MOTE_EXIT_MMIO)
		ASSERT_EQ(0, mote_complete_mmio(&self->guest.cpu, &bus));
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	guest_get(&self->guest, &state, MOTE_STATE_CRS);
	EXPECT_EQ(14, frame.vector);
	EXPECT_EQ(variant->mode == GUEST_LONG3 ? 6 : 2, frame.error);
	EXPECT_EQ(0x400000, state.crs.cr2);
	EXPECT_EQ(4, self->guest.run->gpr[MOTE_RCX]);
	EXPECT_EQ(0x400000, self->guest.run->gpr[MOTE_RDI]);
}

GUEST_ALL(ring, "mov $100, %cx; 1: mov %cl, 8(%ebx); movw $7, 8(%ebx); mov %cx, 8(%ebx)\n"
		"dec %cx; jnz 1b; hlt");

/* How many of the writes came to the bus. */
static int rung(struct guest *guest, enum guest_mode mode)
{
	guest_start(guest, mode, GUEST_FOR(ring, mode));
	aim(guest, mode, 0x40);
	punch_hole(guest);
	writes = 0;
	while (guest_run(guest) == MOTE_EXIT_MMIO)
		if (mote_complete_mmio(&guest->cpu, &bus))
			return -1;
	return writes;
}

static int told(int fd)
{
	eventfd_t count = 0;

	return eventfd_read(fd, &count) ? 0 : count;
}

/* Writes to a doorbell go to its eventfd, any of them or those of one value. */
TEST_MODE(doorbells)
{
	struct mote_machine *machine = &self->guest.machine;
	int fd = eventfd(0, EFD_NONBLOCK);
	struct mote_doorbell any = { .gpa = HOLE + 0x48, .fd = fd };
	struct mote_doorbell seven = {
		.gpa = HOLE + 0x48, .fd = fd, .flags = MOTE_IOEVENTFD_MATCH, .size = 2, .value = 7,
	};
	struct mote_doorbell bad = any;

	if (guest_mode_bits(variant->mode) == 16)
		return;
	guest_prepare(&self->guest, variant->mode);
	EXPECT_EQ(300, rung(&self->guest, variant->mode));
	ASSERT_EQ(0, mote_machine_add_doorbell(machine, &any));
	EXPECT_EQ(-EEXIST, mote_machine_add_doorbell(machine, &seven));
	EXPECT_EQ(0, rung(&self->guest, variant->mode));
	EXPECT_EQ(300, told(fd));
	ASSERT_EQ(0, mote_machine_remove_doorbell(machine, &any));
	EXPECT_EQ(-ENOENT, mote_machine_remove_doorbell(machine, &any));
	ASSERT_EQ(0, mote_machine_add_doorbell(machine, &seven));
	EXPECT_EQ(300 - 101, rung(&self->guest, variant->mode));
	EXPECT_EQ(101, told(fd));
	bad.size = 3;
	EXPECT_EQ(-EINVAL, mote_machine_add_doorbell(machine, &bad));
	bad = seven;
	bad.value = 0x10000;
	EXPECT_EQ(-EINVAL, mote_machine_add_doorbell(machine, &bad));
	close(fd);
}

MOTE_TEST_MAIN
