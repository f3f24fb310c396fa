// SPDX-License-Identifier: GPL-2.0
/* Small guests for the tests. SDM 3A, "Protected-Mode Memory Management". */
#include <cpuid.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "guest.h"
#include "selftest.h"

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define CR0_PE 1ul
#define CR0_ET (1ul << 4)
#define CR0_NE (1ul << 5)
#define CR0_PG (1ul << 31)
#define CR4_PSE (1ul << 4)
#define CR4_PAE (1ul << 5)
#define CR4_OSFXSR (1ul << 9)
#define EFER_LME (1ul << 8)
#define EFER_LMA (1ul << 10)
#define RFLAGS_VM (1ul << 17)

/* Selectors; rows of gdt[] below. */
#define CODE64 0x08
#define DATA 0x10
#define CODE32 0x18
#define CODE16 0x20
#define DATA16 0x28
#define CODE64_3 0x33
#define DATA_3 0x3b
#define TSS 0x40

#define PML4 (GUEST_TABLES + 0x1000)
#define PDPT (GUEST_TABLES + 0x2000)
#define PD (GUEST_TABLES + 0x3000)	/* four of them */
#define PD32 (GUEST_TABLES + 0x7000)

static const __u64 gdt[] = {
	[CODE64 / 8] = 0x00af9b000000ffff,
	[DATA / 8] = 0x00cf93000000ffff,
	[CODE32 / 8] = 0x00cf9b000000ffff,
	[CODE16 / 8] = 0x00009b000000ffff,
	[DATA16 / 8] = 0x000093000000ffff,
	[CODE64_3 / 8] = 0x00affb000000ffff,
	[DATA_3 / 8] = 0x00cff3000000ffff,
	[TSS / 8] = 0x00008b0000002069 | GUEST_TSS << 16,
	[TSS / 8 + 1] = 0,
};

const char *const guest_mode_names[GUEST_NR_MODES] = {
	"real", "v8086", "prot16", "prot32", "page32", "pae", "long", "compat", "long3",
};

static const struct {
	int bits;
	__u16 cs;
	__u16 data;
	__u64 cr0;
	__u64 cr3;
	__u64 cr4;
	__u64 efer;
} modes[GUEST_NR_MODES] = {
	[GUEST_REAL] = { 16, 0, 0 },
	[GUEST_V8086] = { 16, 0, 0, CR0_PE },
	[GUEST_PROT16] = { 16, CODE16, DATA16, CR0_PE },
	[GUEST_PROT32] = { 32, CODE32, DATA, CR0_PE },
	[GUEST_PAGE32] = { 32, CODE32, DATA, CR0_PE | CR0_PG, PD32, CR4_PSE },
	[GUEST_PAE] = { 32, CODE32, DATA, CR0_PE | CR0_PG, PDPT, CR4_PAE },
	[GUEST_LONG] = { 64, CODE64, DATA, CR0_PE | CR0_PG, PML4, CR4_PAE, EFER_LME | EFER_LMA },
	[GUEST_COMPAT] = { 32, CODE32, DATA, CR0_PE | CR0_PG, PML4, CR4_PAE, EFER_LME | EFER_LMA },
	[GUEST_LONG3] = { 64, CODE64_3, DATA_3, CR0_PE | CR0_PG, PML4, CR4_PAE,
			  EFER_LME | EFER_LMA },
};

static const char *const exit_names[MOTE_NR_EXITS] = {
	"NONE", "INTERRUPT", "NMI", "EXCEPTION", "INTERRUPT_WINDOW", "NMI_WINDOW", "CPUID", "HLT",
	"PIO", "RDMSR", "WRMSR", "HYPERCALL", "MMIO", "NPF", "XSETBV", "CR", "DR", "CACHE", "PMC",
	"MWAIT", "PAUSE", "UNDEFINED", "SHUTDOWN", "FAIL_ENTRY", "MEMORY", "INIT", "TIMER",
	"UNKNOWN", "EOI", "TASK_SWITCH", "WATCH", "RDTSC",
};

static void check(int ret, const char *what)
{
	if (ret >= 0)
		return;
	printf("# %s: %s\n", what, strerror(-ret));
	fflush(stdout);
	abort();
}

const char *guest_exit_name(int reason)
{
	if (reason < 0)
		return strerror(-reason);
	return reason < MOTE_NR_EXITS ? exit_names[reason] : "(no such reason)";
}

int guest_mode_bits(enum guest_mode mode)
{
	return modes[mode].bits;
}

bool host_is_tcg(void)
{
	unsigned int eax, name[3];

	__cpuid(0x40000000, eax, name[0], name[1], name[2]);
	return eax >= 0x40000000 && !memcmp(name, "TCGTCGTCGTCG", 12);
}

bool host_is_trinity(void)
{
	unsigned int eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	return (eax & 0x0fff0ff0) == 0x00610f00 && !host_is_tcg();
}

static long divide(long count, const char *variable)
{
	const char *value = getenv(variable);
	long by = value ? atol(value) : 1;

	return by > 1 ? (count + by - 1) / by : count;
}

long guest_scale(long count)
{
	return divide(count, "MOTE_SCALE");
}

long guest_rounds(long count, long in_the_long_run)
{
	long most = divide(in_the_long_run, "MOTE_LONG"), least = guest_scale(count);

	return is_long_run() && most > least ? most : least;
}

/* ---- machine --------------------------------------------------------------- */

void *guest_add_memory(struct guest *guest, __u32 slot, __u64 gpa, __u64 size, void *hva, __u32 flags)
{
	struct mote_slot memory = { .slot = slot, .flags = flags, .gpa = gpa, .size = size };

	if (!hva)
		hva = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (hva == MAP_FAILED)
		check(-errno, "mmap");
	memory.hva = (unsigned long)hva;
	check(mote_machine_set_slot(&guest->machine, &memory), "MOTE_SET_SLOT");
	return hva;
}

void guest_create_vm(struct guest *guest, __u32 flags)
{
	const struct mote_vm_config config = { .flags = flags };

	guest_create_vm_with(guest, &config);
}

void guest_create_vm_with(struct guest *guest, const struct mote_vm_config *config)
{
	memset(guest, 0, sizeof(*guest));
	guest->fd = mote_open();
	check(guest->fd, MOTE_DEVICE);
	check(mote_machine_create_with(&guest->machine, guest->fd, config), "MOTE_CREATE_VM");
	guest->ram = guest_add_memory(guest, 0, 0, GUEST_SIZE, NULL, 0);
}

__u32 guest_tsc_khz(__u32 mul, __u32 div)
{
	struct mote_info info = {};
	int fd = mote_open();

	check(fd, MOTE_DEVICE);
	check(mote_get_info(fd, &info), "MOTE_GET_INFO");
	close(fd);
	return info.features & 1ull << MOTE_FEATURE_TSC_SCALING ?
	       (__u64)info.tsc_khz * mul / div : 0;
}

void guest_create_cpu(struct guest *guest, __u32 id)
{
	check(mote_cpu_create(&guest->cpu, &guest->machine, id), "MOTE_CREATE_VCPU");
	guest->run = guest->cpu.run;
}

void guest_create(struct guest *guest)
{
	guest_create_vm(guest, MOTE_VM_HLT_EXIT);
	guest_create_cpu(guest, 0);
}

/* Whom guest_interrupt_in() interrupts. */
static struct guest *interrupted;

void guest_destroy(struct guest *guest)
{
	/* No alarm finds a guest that is no more. */
	if (interrupted) {
		setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
		interrupted = NULL;
	}
	mote_cpu_destroy(&guest->cpu);
	mote_machine_destroy(&guest->machine);
	munmap(guest->ram, GUEST_SIZE);
	close(guest->fd);
}

/* ---- tables ----------------------------------------------------------------- */

/* Out to the port, then return; four bytes, as many as a handler has. */
static void write_handlers(struct guest *guest, bool lma)
{
	static const unsigned char iret32[] = { 0xe6, GUEST_FAULT, 0xcf, 0x90 };
	static const unsigned char iret64[] = { 0xe6, GUEST_FAULT, 0x48, 0xcf };

	for (int vector = 0; vector < 256; vector++)
		memcpy(guest->ram + GUEST_HANDLERS + 4 * vector, lma ? iret64 : iret32, 4);
}

static void write_idt(struct guest *guest, enum guest_mode mode)
{
	__u32 *ivt = (__u32 *)guest->ram;
	__u64 *idt = (__u64 *)(guest->ram + GUEST_IDT);

	for (int vector = 0; vector < 256; vector++) {
		__u64 handler = GUEST_HANDLERS + 4 * vector;

		if (mode == GUEST_REAL) {
			ivt[vector] = handler;
		} else if (modes[mode].efer) {
			idt[2 * vector] = handler | CODE64 << 16 | 0xee00ull << 32;
			idt[2 * vector + 1] = 0;
		} else {
			idt[vector] = handler | CODE32 << 16 | 0xee00ull << 32;
		}
	}
}

static void write_tss(struct guest *guest, enum guest_mode mode)
{
	__u32 *tss = (__u32 *)(guest->ram + GUEST_TSS);

	tss[1] = GUEST_STACK0;			/* esp0, rsp0 */
	tss[2] = modes[mode].efer ? 0 : DATA;	/* ss0, high half of rsp0 */
	tss[25] = 0x68 << 16;			/* I/O map base */
	memset(guest->ram + GUEST_TSS + 0x2068, 0xff, 2);
}

static void write_page_tables(struct guest *guest, bool lma)
{
	__u64 *pml4 = (__u64 *)(guest->ram + PML4), *pdpt = (__u64 *)(guest->ram + PDPT);
	__u64 *pd = (__u64 *)(guest->ram + PD);
	__u32 *pd32 = (__u32 *)(guest->ram + PD32);

	pml4[0] = PDPT | 7;
	/* The same table serves PAE, whose entries here have no rights. */
	for (int i = 0; i < 4; i++)
		pdpt[i] = (PD + i * 0x1000) | (lma ? 7 : 1);
	for (int i = 0; i < 2048; i++)
		pd[i] = (__u64)i << 21 | 0xe7;
	for (int i = 0; i < 1024; i++)
		pd32[i] = (__u32)i << 22 | 0xe7;
}

void guest_prepare(struct guest *guest, enum guest_mode mode)
{
	memcpy(guest->ram + GUEST_GDT, gdt, sizeof(gdt));
	write_handlers(guest, modes[mode].efer);
	write_idt(guest, mode);
	write_tss(guest, mode);
	write_page_tables(guest, modes[mode].efer);
}

void guest_unmap(struct guest *guest, __u32 gva)
{
	__u64 *pd = (__u64 *)(guest->ram + PD);
	__u32 *pd32 = (__u32 *)(guest->ram + PD32);
	__u32 page = gva >> 22;

	pd[2 * page] = pd[2 * page + 1] = pd32[page] = 0;
}

/* A segment register as loading it from the table would make it. */
static struct mote_segment segment(__u16 selector)
{
	__u64 descriptor = gdt[selector / 8];
	__u32 limit = (descriptor & 0xffff) | (descriptor >> 32 & 0xf0000);

	return (struct mote_segment) {
		.base = (descriptor >> 16 & 0xffffff) | (descriptor >> 32 & 0xff000000),
		.limit = descriptor >> 55 & 1 ? limit << 12 | 0xfff : limit,
		.selector = selector,
		.attr = descriptor >> 40 & 0xf0ff,
	};
}

static void set_segments(struct mote_segs *segs, enum guest_mode mode)
{
	static const struct mote_segment real = { .limit = 0xffff, .attr = 0x93 };
	static const struct mote_segment v8086 = { .limit = 0xffff, .attr = 0xf3 };

	for (int i = MOTE_ES; i <= MOTE_GS; i++)
		segs->seg[i] = mode == GUEST_REAL ? real : mode == GUEST_V8086 ? v8086 :
			       segment(i == MOTE_CS ? modes[mode].cs : modes[mode].data);
	if (mode == GUEST_REAL)
		segs->seg[MOTE_CS].attr = 0x9b;
	segs->seg[MOTE_LDTR] = (struct mote_segment) { 0 };
	segs->seg[MOTE_TR] = segment(TSS);
	segs->gdt = (struct mote_table) { .base = GUEST_GDT, .limit = sizeof(gdt) - 1 };
	segs->idt = (struct mote_table) { .base = GUEST_IDT, .limit = 0xfff };
	if (mode == GUEST_REAL)
		segs->idt = (struct mote_table) { .base = 0, .limit = 0x3ff };
}

void guest_start(struct guest *guest, enum guest_mode mode, const struct guest_code *code)
{
	struct mote_state state;

	guest_prepare(guest, mode);
	memset(guest->ram + GUEST_CODE, 0xf4, GUEST_DATA - GUEST_CODE); /* HLT */
	memcpy(guest->ram + GUEST_CODE, code->code, code->size);

	guest_get(guest, &state, MOTE_STATE_GPRS | MOTE_STATE_SEGS | MOTE_STATE_CRS |
		  MOTE_STATE_MSRS | MOTE_STATE_EVENTS);
	memset(&state.gprs, 0, sizeof(state.gprs));
	state.gprs.rip = GUEST_CODE;
	state.gprs.gpr[MOTE_RSP] = GUEST_STACK;
	state.gprs.rflags = mode == GUEST_V8086 ? 2 | RFLAGS_VM : 2;
	set_segments(&state.segs, mode);
	state.crs.cr0 = modes[mode].cr0 | CR0_ET | CR0_NE;
	state.crs.cr3 = modes[mode].cr3;
	state.crs.cr4 = modes[mode].cr4 | CR4_OSFXSR;
	state.crs.flags = 0;
	/* What an earlier guest left may be what only its hardware allows: not canonical. */
	state.msrs = (struct mote_msrs) {
		.efer = modes[mode].efer, .pat = 0x0007040600070406,
		.apic_base = state.msrs.apic_base,
	};
	memset(&state.events, 0, sizeof(state.events));
	guest_set(guest, &state);
	guest->run->set = 0;
	guest->run->reason = MOTE_EXIT_NONE;
}

/* ---- running ----------------------------------------------------------------- */

void guest_get(struct guest *guest, struct mote_state *state, __u32 mask)
{
	memset(state, 0, sizeof(*state));
	state->mask = mask;
	check(mote_get_state(guest->cpu.fd, state), "MOTE_GET_STATE");
}

void guest_set(struct guest *guest, const struct mote_state *state)
{
	check(mote_set_state(guest->cpu.fd, state), "MOTE_SET_STATE");
}

int guest_cpl(struct guest *guest)
{
	struct mote_state state;

	guest_get(guest, &state, MOTE_STATE_SEGS);
	return state.segs.seg[MOTE_SS].attr >> 5 & 3;
}

int guest_run(struct guest *guest)
{
	struct mote_run *run = guest->run;
	int err;

	if (run->reason == MOTE_EXIT_PIO)
		run->set |= MOTE_SET_COMPLETE;
	do {
		err = mote_run(guest->cpu.fd);
	} while (err == -EINTR && !run->immediate_exit && !guest->stop);
	return err ? err : (int)run->reason;
}

/* ---- exceptions ---------------------------------------------------------------- */

static bool has_error(int vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21;
}

/* Where the handler's stack is: flat but in real mode, whose SS base may be anything. */
static unsigned char *frame_address(struct guest *guest)
{
	return guest->ram + (guest->run->gpr[MOTE_RSP] & (GUEST_SIZE - 1));
}

static int frame_width(enum guest_mode mode)
{
	return mode == GUEST_REAL ? 2 : modes[mode].efer ? 8 : 4;
}

static __u64 frame_word(const unsigned char *stack, int width, int n)
{
	__u64 word = 0;

	memcpy(&word, stack + n * width, width);
	return word;
}

bool guest_frame(struct guest *guest, enum guest_mode mode, struct guest_frame *frame)
{
	const unsigned char *stack = frame_address(guest);
	struct mote_run *run = guest->run;
	int width = frame_width(mode), n = 0;

	if (run->reason != MOTE_EXIT_PIO || run->pio.port != GUEST_FAULT ||
	    run->rip < GUEST_HANDLERS || run->rip >= GUEST_HANDLERS + 4 * 256)
		return false;
	frame->vector = (run->rip - GUEST_HANDLERS) / 4;
	frame->error = 0;
	if (mode != GUEST_REAL && has_error(frame->vector))
		frame->error = frame_word(stack, width, n++);
	frame->rip = frame_word(stack, width, n);
	frame->cs = frame_word(stack, width, n + 1);
	frame->rflags = frame_word(stack, width, n + 2);
	return true;
}

void guest_set_gpr(struct guest *guest, int reg, __u64 value)
{
	guest->run->gpr[reg] = value;
	guest->run->set |= 1u << reg;
}

int guest_run_or_vector(struct guest *guest, enum guest_mode mode)
{
	struct guest_frame frame;
	int reason = guest_run(guest);

	return guest_frame(guest, mode, &frame) ? 100 + frame.vector : reason;
}

void guest_resume(struct guest *guest, enum guest_mode mode, __u64 rip)
{
	struct mote_run *run = guest->run;
	int width = frame_width(mode);

	if (mode != GUEST_REAL && has_error((run->rip - GUEST_HANDLERS) / 4)) {
		run->gpr[MOTE_RSP] += width;
		run->set |= 1u << MOTE_RSP;
	}
	memcpy(frame_address(guest), &rip, width);
}

static void on_alarm(int sig)
{
	interrupted->stop = true;
	interrupted->run->immediate_exit = 1;
}

void guest_interrupt_in(struct guest *guest, long usec)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval timer = { .it_value = { .tv_usec = usec } };

	interrupted = guest;
	guest->stop = false;
	guest->run->immediate_exit = 0;
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

long count_vms(void)
{
	struct mote_info info = { 0 };
	int fd = mote_open();
	int err = mote_get_info(fd, &info);

	close(fd);
	return err ? err : (long)info.nr_vms;
}

void *use_fpu(void *over)
{
	volatile double x = 1;

	while (!*(volatile bool *)over) {
		for (int i = 0; i < 1000; i++)
			x = x * 1.0000001 + 0.1;
		sched_yield();
	}
	return NULL;
}
