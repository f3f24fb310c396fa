// SPDX-License-Identifier: GPL-2.0
/* Exceptions: those of the guest stay in the guest; those without end leave the host alone. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "mode_fixture.h"

/* ---- the guest's own handlers --------------------------------------------- */

GUEST_ALL(de, "xor %ecx, %ecx; div %ecx; hlt");
GUEST_ALL(bp, "int3; hlt");
GUEST_ALL(ud, "ud2; hlt");
GUEST_ALL(in, "int $0x42; hlt");
GUEST_ALL(hb, "pushf; hlt");
GUEST_ALL(ib, ".byte 0xf1; hlt");

#define RF (1u << 16)

/*
 * A fault, a trap, an undefined instruction and INT n reach the guest's handler
 * with the right frame, and nothing but the handler's own port is an exit.
 */
TEST_MODE(handled_by_the_guest)
{
	static const struct {
		const struct guest_code *code[3];
		int vector, before;
	} rows[] = {
#define ROW(name, ...) { { &guest_##name##16, &guest_##name##32, &guest_##name##64 }, __VA_ARGS__ }
		ROW(de, 0, 3), ROW(bp, 3, 1), ROW(ud, 6, 2), ROW(in, 0x42, 2),
	};
	struct guest_frame frame;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct guest_code *code = rows[i].code[guest_mode_bits(variant->mode) / 32];
		bool trap = rows[i].vector == 3 || rows[i].vector == 0x42;
		__u64 rip = GUEST_CODE + code->size - 1 - (trap ? 0 : rows[i].before);

		guest_start(&self->guest, variant->mode, code);
		if (rows[i].vector == 0) /* after the XOR */
			rip = GUEST_CODE + (guest_mode_bits(variant->mode) == 16 ? 3 : 2);
		/* INT n in virtual-8086 mode asks for IOPL 3: #GP. */
		if (variant->mode == GUEST_V8086 && trap) {
			ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
			ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
			EXPECT_EQ(rows[i].vector == 3 ? 3 : 13, frame.vector);
			continue;
		}
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest)) {
			TH_LOG("row %zu: %s", i, guest_exit_name(self->guest.run->reason));
		}
		ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
		EXPECT_EQ(rows[i].vector, frame.vector);
		EXPECT_EQ(0, frame.error);
		EXPECT_EQ(rip, frame.rip) TH_LOG("row %zu", i);
		/* And back: the handler returns, behind a trap or where we say. */
		guest_resume(&self->guest, variant->mode, GUEST_CODE + code->size - 1);
		guest_run(&self->guest);
		EXPECT_TRUE(mode_is_over(&self->guest, variant->mode));
	}
}

/* INT1 is a trap like INT3, and the guest goes on behind it. */
TEST_MODE(int1)
{
	struct guest_frame frame;

	guest_start(&self->guest, variant->mode, GUEST_FOR(ib, variant->mode));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	if (host_is_tcg() && frame.vector == 6)
		SKIP(return, "not on this hardware: QEMU does not know INT1");
	if (host_is_trinity() && frame.vector != 1)
		SKIP(return, "not on this hardware: Bochs does not know INT1 in guests");
	EXPECT_EQ(1, frame.vector);
	EXPECT_EQ(GUEST_CODE + 1, frame.rip);
	EXPECT_EQ(0, frame.rflags & RF);
	guest_run(&self->guest);
	EXPECT_TRUE(mode_is_over(&self->guest, variant->mode)) {
		TH_LOG("%s at %llx", guest_exit_name(self->guest.run->reason),
		       self->guest.run->rip);
	}
}

GUEST(rf, 64, "pushf; orl $0x100, (%rsp); popf; cpuid; nop");

/* RF is set in the flags that a fault pushes, and not in a trap's: here both are of mote's making. */
TEST(resume_flag)
{
	struct mote_state state;
	struct guest_frame frame;
	struct guest guest;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs ends when a guest is stepped with RF");
	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_rf);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(1, frame.vector);
	EXPECT_EQ(GUEST_CODE + guest_rf.size - 1, frame.rip);
	EXPECT_EQ(0, frame.rflags & RF);

	/* An instruction that is complete takes RF with it, as any does. */
	guest_start(&guest, GUEST_LONG, &guest_rf);
	guest_get(&guest, &state, MOTE_STATE_GPRS);
	state.gprs.rip = GUEST_CODE + guest_rf.size - 3;
	state.gprs.rflags |= RF | 0x100;
	guest_set(&guest, &state);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(1, frame.vector);
	EXPECT_EQ(0, frame.rflags & RF);
	guest_destroy(&guest);
}

GUEST(gp, 64, "mov $0x277, %ecx; mov $0x55, %eax; xor %edx, %edx; wrmsr");

TEST(resume_flag_of_a_fault)
{
	struct guest_frame frame;
	struct guest guest;

	guest_create(&guest);
	guest_start(&guest, GUEST_LONG, &guest_gp);
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	ASSERT_TRUE(guest_frame(&guest, GUEST_LONG, &frame));
	EXPECT_EQ(13, frame.vector);
	EXPECT_EQ(RF, frame.rflags & RF);
	guest_destroy(&guest);
}

GUEST_ALL(pf, "mov $0x12345678, %eax; movl $1, 0x5000(%ebx); hlt");

/* A page fault has its address in CR2 and its error code on the stack. */
TEST_MODE(page_fault)
{
	struct guest_frame frame;
	struct mote_state state;

	if (variant->mode < GUEST_PAGE32)
		return;
	guest_start(&self->guest, variant->mode, GUEST_FOR(pf, variant->mode));
	guest_unmap(&self->guest, 0x400000);
	self->guest.run->gpr[MOTE_RBX] = 0x400123;
	self->guest.run->set = 1u << MOTE_RBX;
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	guest_get(&self->guest, &state, MOTE_STATE_CRS);
	EXPECT_EQ(14, frame.vector);
	EXPECT_EQ(variant->mode == GUEST_LONG3 ? 6 : 2, frame.error);
	EXPECT_EQ(0x405123, state.crs.cr2);
}

/* Without handlers a fault is fatal: the run ends with a shutdown, in every mode. */
TEST_MODE(triple_fault)
{
	struct mote_state state;

	if (host_is_trinity())
		SKIP(return, "not on this hardware: Bochs panics at a guest's triple fault");
	guest_start(&self->guest, variant->mode, GUEST_FOR(ud, variant->mode));
	guest_get(&self->guest, &state, MOTE_STATE_SEGS);
	state.segs.idt.limit = 0;
	state.segs.idt.base = GUEST_DATA;
	guest_set(&self->guest, &state);
	ASSERT_EQ(MOTE_EXIT_SHUTDOWN, guest_run(&self->guest)) {
		TH_LOG("%s", guest_exit_name(self->guest.run->reason));
	}
	/* It stays so, or starts over; it does not run on. */
	EXPECT_EQ(MOTE_EXIT_SHUTDOWN, guest_run(&self->guest));
}

/* An exception that user space injects arrives like one of the CPU's. */
TEST_MODE(injected)
{
	struct mote_event event = { .valid = 1, .type = MOTE_EVENT_EXCEPTION, .vector = 13,
				    .has_error = variant->mode != GUEST_REAL,
				    .error = variant->mode != GUEST_REAL ? 0x1234 : 0 };
	struct guest_frame frame;

	guest_start(&self->guest, variant->mode, GUEST_FOR(ud, variant->mode));
	ASSERT_EQ(0, mote_inject(self->guest.cpu.fd, &event));
	EXPECT_EQ(-EBUSY, mote_inject(self->guest.cpu.fd, &event));
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	EXPECT_EQ(13, frame.vector);
	EXPECT_EQ(event.error, frame.error);
	EXPECT_EQ(GUEST_CODE, frame.rip);
	if (guest_mode_bits(variant->mode) != 16)
		EXPECT_EQ(RF, frame.rflags & RF);
}

/* ZE is unmasked, 1 is divided by 0, and the next x87 instruction waits. */
GUEST(mf, 32, "fninit; fldcw GUEST_DATA; fld1; fldz; fdivrp; fwait; hlt");

/*
 * An x87 exception is #MF with CR0.NE set.  Without it AMD-V stops the guest, which
 * QEMU and Bochs do not; they raise IRQ 13 of the host.  On VT-x it is #MF all the same.
 */
TEST_MODE(x87_exceptions)
{
	struct guest_frame frame;
	struct mote_state state;

	if (variant->mode != GUEST_PROT32)
		return;
	for (int ne = 1; ne >= 0; ne--) {
		if (!ne && mote_cpuid_vendor() == MOTE_VENDOR_SVM)
			SKIP(return, "not on this hardware: FERR# would interrupt the host");
		guest_start(&self->guest, variant->mode, &guest_mf);
		*(__u16 *)(self->guest.ram + GUEST_DATA) = 0x37b;
		guest_get(&self->guest, &state, MOTE_STATE_CRS);
		state.crs.cr0 = ne ? state.crs.cr0 : state.crs.cr0 & ~0x20ull;
		guest_set(&self->guest, &state);
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest)) {
			TH_LOG("%s", guest_exit_name(self->guest.run->reason));
		}
		ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
		EXPECT_EQ(16, frame.vector);
		EXPECT_EQ(GUEST_CODE + guest_mf.size - 2, frame.rip);
	}
}

/* ---- instructions that no guest has ---------------------------------------------- */

#define NO_SUCH(f)							\
	f(vmrun, "vmrun %rax") f(vmload, "vmload %rax") f(vmsave, "vmsave %rax")	\
	f(stgi, "stgi") f(clgi, "clgi") f(skinit, "skinit %eax")	\
	f(invlpga, "invlpga %rax, %ecx") f(vmxon, "vmxon GUEST_DATA")	\
	f(vmptrld, "vmptrld GUEST_DATA") f(vmptrst, "vmptrst GUEST_DATA")	\
	f(vmclear, "vmclear GUEST_DATA") f(vmlaunch, "vmlaunch") f(vmresume, "vmresume")	\
	f(vmxoff, "vmxoff") f(vmread, "vmread %rax, %rbx") f(vmwrite, "vmwrite %rax, %rbx")	\
	f(invept, "invept GUEST_DATA, %rax") f(invvpid, "invvpid GUEST_DATA, %rax")	\
	f(vmfunc, "vmfunc") f(getsec, "getsec") f(rsm, "rsm")		\
	f(monitor, "monitor") f(mwait, "mwait")				\
	f(encls, ".byte 0x0f, 0x01, 0xcf")
#define DEFINE(name, text) GUEST(no_##name, 64, text "; hlt");
NO_SUCH(DEFINE)

/* Virtualization, SMX, SMM and monitor instructions are undefined, in ring 0 and in ring 3. */
TEST_MODE(instructions_that_do_not_exist)
{
	static const struct {
		const struct guest_code *code;
		const char *name;
	} rows[] = {
#define ROW_NO(name, text) { &guest_no_##name, #name },
		NO_SUCH(ROW_NO)
	};
	struct guest_frame frame;

	if (guest_mode_bits(variant->mode) != 64)
		return;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		guest_start(&self->guest, variant->mode, rows[i].code);
		/* An address of the host's, should it come to that; Bochs reads MONITOR's first. */
		self->guest.run->gpr[MOTE_RAX] = strcmp(rows[i].name, "monitor") ? 0x1000000 :
						 GUEST_FREE;
		self->guest.run->set = 1u << MOTE_RAX;
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest)) {
			TH_LOG("%s: %s", rows[i].name,
			       guest_exit_name(self->guest.run->reason));
		}
		ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
		EXPECT_EQ(true, frame.vector == 6 || (variant->mode == GUEST_LONG3 &&
						      frame.vector == 13)) {
			TH_LOG("%s: vector %d", rows[i].name, frame.vector);
		}
		EXPECT_EQ(GUEST_CODE, frame.rip);
	}
}

#define PAGE 4096ul
#define CANARIES 1000

/* The host's physical address of a page of ours, 0 if it is not told. */
static __u64 physical(const void *page)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	__u64 entry = 0;

	pread(fd, &entry, sizeof(entry), (unsigned long)page / PAGE * sizeof(entry));
	close(fd);
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

/* VMSAVE and VMLOAD at addresses of the host's, a thousand each: CVE-2021-3656. */
TEST_MODE(vmsave_everywhere)
{
	unsigned char *canaries = mmap(NULL, CANARIES * PAGE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	struct guest_frame frame;

	if (variant->mode != GUEST_LONG)
		return;
	ASSERT_NE(MAP_FAILED, (void *)canaries);
	ASSERT_EQ(0, mlock(canaries, CANARIES * PAGE));
	memset(canaries, 0xca, CANARIES * PAGE);
	for (int i = 0; i < 2 * CANARIES; i++) {
		if (i % CANARIES == 0)
			guest_start(&self->guest, GUEST_LONG,
				    i ? &guest_no_vmload : &guest_no_vmsave);
		self->guest.run->gpr[MOTE_RAX] = physical(canaries + i % CANARIES * PAGE);
		self->guest.run->set |= 1u << MOTE_RAX;
		ASSERT_NE(0, self->guest.run->gpr[MOTE_RAX]);
		ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
		ASSERT_TRUE(guest_frame(&self->guest, GUEST_LONG, &frame));
		ASSERT_EQ(6, frame.vector);
		ASSERT_EQ(GUEST_CODE, frame.rip);
	}
	for (size_t i = 0; i < CANARIES * PAGE; i++)
		ASSERT_EQ(0xca, canaries[i]);
	munmap(canaries, CANARIES * PAGE);
}

GUEST(vmcall, 64, "mov $0x4242, %eax; vmcall; hlt");
GUEST(vmmcall, 64, "mov $0x4242, %eax; vmmcall; hlt");

/* A hypercall of the vendor's kind is an exit in ring 0 and undefined in ring 3. */
TEST_MODE(hypercalls)
{
	bool svm = mote_cpuid_vendor() == MOTE_VENDOR_SVM;
	struct guest_frame frame;

	if (guest_mode_bits(variant->mode) != 64)
		return;
	guest_start(&self->guest, variant->mode, svm ? &guest_vmmcall : &guest_vmcall);
	if (variant->mode == GUEST_LONG) {
		ASSERT_EQ(MOTE_EXIT_HYPERCALL, guest_run(&self->guest));
		EXPECT_EQ(0x4242, self->guest.run->gpr[MOTE_RAX]);
		EXPECT_EQ(self->guest.run->rip + 3, self->guest.run->next_rip);
		self->guest.run->set = MOTE_SET_COMPLETE;
		EXPECT_EQ(MOTE_EXIT_HLT, guest_run(&self->guest));
		return;
	}
	ASSERT_EQ(MOTE_EXIT_PIO, guest_run(&self->guest));
	ASSERT_TRUE(guest_frame(&self->guest, variant->mode, &frame));
	EXPECT_EQ(6, frame.vector);
}

/* ---- without end -------------------------------------------------------------------- */

static struct guest *alarmed;

static void on_alarm(int sig)
{
	alarmed->stop = true;
}

/* Run until the signal gets through, whatever the guest has done to IF.  Return: as guest_run(). */
static int run_until_alarm(struct guest *guest)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = { .it_value = { .tv_usec = 50000 } };

	alarmed = guest;
	guest->stop = false;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
	return guest_run(guest);
}

GUEST_ALL(spin, "1: jmp 1b");
GUEST(step, 64, "pushf; orl $0x100, (%rsp); popf; 1: jmp 1b");
GUEST(align, 64, "pushf; orl $0x40000, (%rsp); popf; mov %eax, GUEST_DATA + 1; hlt");

/* A guest that never exits is interrupted by a signal, and could go on. */
TEST_MODE(endless_loop)
{
	guest_start(&self->guest, variant->mode, GUEST_FOR(spin, variant->mode));
	EXPECT_EQ(-EINTR, run_until_alarm(&self->guest));
	EXPECT_EQ(MOTE_EXIT_INTERRUPT, self->guest.run->reason);
	EXPECT_EQ(GUEST_CODE, self->guest.run->rip);
	EXPECT_EQ(-EINTR, run_until_alarm(&self->guest));
}

/* In place of the handlers: IRETQ alone, so that nothing is an exit. */
static void silence_handlers(struct guest *guest)
{
	static const unsigned char iretq[4] = { 0x48, 0xcf, 0x90, 0x90 };

	for (int vector = 0; vector < 256; vector++)
		memcpy(guest->ram + GUEST_HANDLERS + 4 * vector, iretq, 4);
}

/* CVE-2015-8104: a data breakpoint on the stack onto which #DB itself is delivered. */
TEST_MODE(endless_debug_exceptions)
{
	struct mote_state state;

	if (variant->mode != GUEST_LONG)
		return;
	guest_start(&self->guest, variant->mode, &guest_step);
	silence_handlers(&self->guest);
	guest_get(&self->guest, &state, MOTE_STATE_DRS);
	for (int i = 0; i < 4; i++)
		state.drs.dr[i] = GUEST_STACK - 8 * (i + 2);
	state.drs.dr7 = 0xbbbb0455; /* on writes of 8 bytes */
	for (int i = 0; i < 4; i++)
		state.drs.dr7 = (state.drs.dr7 & ~(0xfull << (16 + 4 * i))) | 9ull << (16 + 4 * i);
	guest_set(&self->guest, &state);
	EXPECT_EQ(-EINTR, run_until_alarm(&self->guest));
}

/* CVE-2015-5307: #AC again and again, in ring 3, with a handler that only returns. */
TEST_MODE(endless_alignment_checks)
{
	struct mote_state state;
	int reason;

	if (variant->mode != GUEST_LONG3)
		return;
	guest_start(&self->guest, variant->mode, &guest_align);
	/* A handler of #AC: drop the error code, return to the same instruction. */
	static const unsigned char handler[] = { 0x48, 0x83, 0xc4, 0x08, 0x48, 0xcf };
	__u64 *gate = (__u64 *)(self->guest.ram + GUEST_IDT) + 2 * 17;

	memcpy(self->guest.ram + GUEST_HANDLERS + 0x400, handler, sizeof(handler));
	*gate = (*gate & ~0xffffull) | (GUEST_HANDLERS + 0x400);
	guest_get(&self->guest, &state, MOTE_STATE_CRS);
	state.crs.cr0 |= 1u << 18; /* AM */
	guest_set(&self->guest, &state);
	reason = run_until_alarm(&self->guest);
	/* An emulator may not know #AC: then the guest has come to its HLT. */
	if (reason == MOTE_EXIT_PIO)
		SKIP(return, "not on this hardware: no alignment checks");
	EXPECT_EQ(-EINTR, reason);
}

GUEST(at_zero, 16, "wbinvd; cpuid; wbinvd; out %al, $0x80");

/* Where a CPU saves no next RIP, the one that it has not saved is 0, as RIP is here. */
TEST(instructions_at_address_zero)
{
	struct mote_state state;
	struct guest guest;
	__u64 start;

	guest_create(&guest);
	guest_start(&guest, GUEST_REAL, &guest_at_zero);
	guest_get(&guest, &state, MOTE_STATE_GPRS | MOTE_STATE_SEGS);
	start = state.segs.seg[MOTE_CS].base + state.gprs.rip;
	state.segs.seg[MOTE_CS].base = start;
	state.segs.seg[MOTE_CS].selector = start >> 4;
	state.gprs.rip = 0;
	guest_set(&guest, &state);
	EXPECT_EQ(MOTE_EXIT_PIO, guest_run(&guest));
	EXPECT_EQ(0x80, guest.run->pio.port);
	guest_destroy(&guest);
}

MOTE_TEST_MAIN
