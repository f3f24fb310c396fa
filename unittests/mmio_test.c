// SPDX-License-Identifier: GPL-2.0
/*
 * Completing MMIO accesses, with this machine's processor as the judge.
 *
 * Each instruction is run three times with the same random registers and
 * memory: natively with the "device" pages not accessible, which yields the
 * address and the state of an MMIO exit; by libmote from there; and natively
 * to its end. Registers, flags, vector registers and memory must agree.
 *
 * The guest's linear, the guest-physical and this process's addresses are the
 * same; pages 1 and 2 of the four are the device's.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "complete.h"

#define PAGE 4096ul
#define CODE 0x20000000ul
#define BUFFER 0x30000000ul
#define STACK 0x40000000ul
#define PAGES 4
#define FLAGS 0x8d5ul

/* ---- the instructions ------------------------------------------------------- */

/*
 * What a row needs: undefined flags, a count in RCX, a small offset in RDX, matches,
 * DF, high bits in RBX that do not count, RSP among the data.
 */
#define UNDEF_AF 0x10u
#define COUNT 0x10000u
#define BIT 0x20000u
#define MATCH 0x40000u
#define BACK 0x80000u
#define HIGH 0x100000u
#define STACK_HERE 0x200000u

struct row {
	const char *text;
	const unsigned char *start, *end;
	unsigned long what;
};

#define I(text, what)				\
	".pushsection .rodata\n"		\
	"1: .string \"" text "\"\n"		\
	"2: " text "\n"				\
	"3: .popsection\n"			\
	".quad 1b, 2b, 3b, " #what "\n"
#define EACH(f, what)							\
	I(f "b %al, (%rbx)", what) I(f "w %cx, 2(%rbx)", what)		\
	I(f "l %edx, (%rbx)", what) I(f "q %r9, (%rbx)", what)		\
	I(f "b (%rbx), %ah", what) I(f "w (%rbx), %bp", what)		\
	I(f "l (%rbx), %r12d", what) I(f "q 8(%rbx), %rdi", what)	\
	I(f "b $0x9c, (%rbx)", what) I(f "w $0x1234, (%rbx)", what)	\
	I(f "w $-5, (%rbx)", what) I(f "l $-5, (%rbx)", what)		\
	I(f "l $0x87654321, (%rbx)", what) I(f "q $-0x12345678, (%rbx)", what)
#define UNARY(f)							\
	I(f "b (%rbx)", 0) I(f "w (%rbx)", 0) I(f "l (%rbx)", 0) I(f "q (%rbx)", 0)
#define BITS(f)								\
	I(f "w $5, (%rbx)", 0) I(f "l $37, (%rbx)", 0) I(f "q $63, (%rbx)", 0)	\
	I(f "w %dx, (%rbx)", 0x20000) I(f "l %edx, (%rbx)", 0x20000)	\
	I(f "q %rdx, (%rbx)", 0x20000)
#define STRINGS(f, what)						\
	I(f "b", what) I(f "w", what) I(f "l", what) I(f "q", what)
#define VECTORS(f)							\
	I(f " (%rbx), %xmm3", 0) I(f " %xmm14, (%rbx)", 0)

extern const struct row rows[], rows_end[];
asm(".pushsection .data.rel.ro\n.balign 8\nrows:\n"
    /* moves: every width and source, extensions, addressing */
    I("movb %al, (%rbx)", 0) I("movb %ah, (%rbx)", 0) I("movb %sil, (%rbx)", 0)
    I("movb %r15b, (%rbx)", 0) I("movw %dx, (%rbx)", 0) I("movl %r11d, (%rbx)", 0)
    I("movq %r8, (%rbx)", 0) I("movb (%rbx), %bh", 0) I("movb (%rbx), %dil", 0)
    I("movw (%rbx), %r10w", 0) I("movl (%rbx), %ecx", 0) I("movq (%rbx), %rbx", 0)
    I("movb $0x81, (%rbx)", 0) I("movw $0x8182, (%rbx)", 0) I("movl $0x81828384, (%rbx)", 0)
    I("movq $-7, 16(%rbx)", 0) I("movl %eax, 8(%rbx,%rdx,4)", 0x20000)
    I("movl %eax, (%ebx)", 0) I("addr32 movq 4(%ebx,%edx,2), %rax", 0x20000)
    I("movl %eax, (%ebx)", 0x100000) I("movq 8(%ebx), %rdx", 0x100000)
    I("movl %eax, 0x10001ff8(%rip)", 0) I("movq 0x10001ff4(%rip), %rax", 0)
    I("movl $0x12345678, 0x10001ff3(%rip)", 0)
    I("movw %ds, (%rbx)", 0) I("movw %ss, (%rbx)", 0)
    I("movabsb %al, 0x30001100", 0) I("movabsw %ax, 0x30001102", 0)
    I("movabsl %eax, 0x30001104", 0) I("movabsq %rax, 0x30001ffd", 0)
    I("movabsb 0x30001101, %al", 0) I("movabsw 0x30001ffe, %ax", 0)
    I("movabsl 0x30001fff, %eax", 0) I("movabsq 0x30002000, %rax", 0)
    I("movl 0x30001234, %eax", 0) I("movzbw (%rbx), %ax", 0) I("movzbl (%rbx), %eax", 0)
    I("movzbq (%rbx), %r9", 0) I("movzwl (%rbx), %eax", 0) I("movzwq (%rbx), %rdx", 0)
    I("movsbw (%rbx), %ax", 0) I("movsbl (%rbx), %eax", 0) I("movsbq (%rbx), %rcx", 0)
    I("movswl (%rbx), %r13d", 0) I("movswq (%rbx), %rax", 0) I("movslq (%rbx), %rsi", 0)
    I("movbe (%rbx), %ax", 0) I("movbe (%rbx), %ecx", 0) I("movbe (%rbx), %r14", 0)
    I("movbe %dx, (%rbx)", 0) I("movbe %esi, (%rbx)", 0) I("movbe %rdi, (%rbx)", 0)
    I("movnti %eax, (%rbx)", 0) I("movnti %rax, (%rbx)", 0)
    /* arithmetic */
    EACH("add", 0) EACH("or", 0x10) EACH("adc", 0) EACH("sbb", 0)
    EACH("and", 0x10) EACH("sub", 0) EACH("xor", 0x10) EACH("cmp", 0)
    I("lock addl %eax, (%rbx)", 0) I("testb %al, (%rbx)", 0x10) I("testw %r8w, (%rbx)", 0x10)
    I("testl $0x80000001, (%rbx)", 0x10) I("testq %rcx, (%rbx)", 0x10)
    UNARY("not") UNARY("neg") UNARY("inc") UNARY("dec")
    I("xchgb %cl, (%rbx)", 0) I("xchgb %dh, (%rbx)", 0) I("xchgw %bp, (%rbx)", 0)
    I("xchgl %eax, (%rbx)", 0) I("xchgq %rsi, (%rbx)", 0)
    I("xaddb %ch, (%rbx)", 0) I("xaddw %ax, (%rbx)", 0) I("lock xaddl %edx, (%rbx)", 0)
    I("xaddq %r15, (%rbx)", 0)
    I("cmpxchgb %cl, (%rbx)", 0x40000) I("cmpxchgw %dx, (%rbx)", 0x40000)
    I("lock cmpxchgl %ecx, (%rbx)", 0x40000) I("cmpxchgq %r9, (%rbx)", 0x40000)
    BITS("bt") BITS("bts") BITS("btr") BITS("btc")
    /* strings: plain, repeated, backwards, with a segment and a short address */
    STRINGS("movs", 0) STRINGS("stos", 0) STRINGS("lods", 0) STRINGS("cmps", 0)
    STRINGS("scas", 0) STRINGS("movs", 0x80000) STRINGS("cmps", 0x80000)
    STRINGS("rep movs", 0x10000) STRINGS("rep stos", 0x10000) STRINGS("rep lods", 0x10000)
    STRINGS("repe cmps", 0x50000) STRINGS("repne cmps", 0x50000)
    STRINGS("repe scas", 0x50000) STRINGS("repne scas", 0x50000)
    STRINGS("rep movs", 0x90000) STRINGS("rep stos", 0x90000)
    I("rep movsb (%esi), (%edi)", 0x10000) I(".byte 0x26; rep movsl", 0x10000)
    /* stack */
    I("pushw (%rbx)", 0) I("pushq (%rbx)", 0) I("popw (%rbx)", 0) I("popq (%rbx)", 0)
    I("popq 4(%rsp)", 0x200000) I("popw 16(%rsp)", 0x200000) I("pushq 12(%rsp)", 0x200000)
    /* vector registers */
    VECTORS("movups") VECTORS("movdqu") VECTORS("movupd") VECTORS("movss") VECTORS("movsd")
    VECTORS("movd") VECTORS("movq") VECTORS("movlps") VECTORS("movhps") VECTORS("movhpd")
    I("lddqu (%rbx), %xmm1", 0) VECTORS("vmovups") VECTORS("vmovdqu") VECTORS("vmovd")
    VECTORS("vmovq") VECTORS("vmovss") VECTORS("vmovsd")
    I("vmovups (%rbx), %ymm5", 0) I("vmovdqu %ymm9, (%rbx)", 0)
    I("movaps (%rbp), %xmm0", 0) I("movntdq %xmm7, (%rbp)", 0) I("movntdqa (%rbp), %xmm2", 0)
    I("movntps %xmm7, (%rbp)", 0) I("vmovdqa (%rbp), %ymm2", 0) I("vmovntdq %ymm3, (%rbp)", 0)
    "rows_end:\n.popsection\n");

/* ---- running an instruction on this processor -------------------------------- */

struct context {
	unsigned long gpr[MOTE_NR_GPRS];
	unsigned long rflags;
	unsigned long host_rsp;
	unsigned char ymm[16][32];
} context __attribute__((aligned(64)));

const unsigned long code = CODE;
void run_native(void);
void back(void);
#define GPRS(o)								\
	o(0, rax) o(1, rcx) o(2, rdx) o(3, rbx) o(5, rbp) o(6, rsi) o(7, rdi) o(8, r8)	\
	o(9, r9) o(10, r10) o(11, r11) o(12, r12) o(13, r13) o(14, r14) o(15, r15)
#define LOAD(n, r) "mov context + 8 * " #n "(%rip), %" #r "\n"
#define SAVE(n, r) "mov %" #r ", context + 8 * " #n "(%rip)\n"
#define YMMS(o) o(0) o(1) o(2) o(3) o(4) o(5) o(6) o(7) o(8) o(9) o(10) o(11) o(12) o(13) o(14) o(15)
#define VLOAD(n) "vmovdqu context + 144 + 32 * " #n "(%rip), %ymm" #n "\n"
#define VSAVE(n) "vmovdqu %ymm" #n ", context + 144 + 32 * " #n "(%rip)\n"
asm(".global run_native\nrun_native:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    YMMS(VLOAD)
    "pushq context + 128(%rip); popfq\n"
    "mov %rsp, context + 136(%rip)\n"
    GPRS(LOAD)
    "mov context + 32(%rip), %rsp\n"
    "jmp *code(%rip)\n"
    ".global back\nback:\n"
    GPRS(SAVE)
    "mov %rsp, context + 32(%rip)\n"
    "mov context + 136(%rip), %rsp\n"
    "pushfq; popq context + 128(%rip)\n"
    YMMS(VSAVE)
    "cld; vzeroupper\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "ret\n");

static sigjmp_buf fault;
static unsigned long fault_address;

static void on_fault(int sig, siginfo_t *info, void *data)
{
	static const int order[MOTE_NR_GPRS] = {
		REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
		REG_R8, REG_R9, REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15,
	};
	ucontext_t *at = data;

	(void)sig;
	if (at->uc_mcontext.gregs[REG_RIP] != (long)CODE)
		_exit(100); /* a bug of the test */
	for (int i = 0; i < MOTE_NR_GPRS; i++)
		context.gpr[i] = at->uc_mcontext.gregs[order[i]];
	context.rflags = at->uc_mcontext.gregs[REG_EFL];
	fault_address = (unsigned long)info->si_addr;
	siglongjmp(fault, 1);
}

/* ---- what libmote sees ----------------------------------------------------------- */

static unsigned char tables[5 * PAGE] __attribute__((aligned(4096)));
static unsigned char image_ram[2][PAGE], image_device[2 * PAGE], image_stack[PAGE];
static unsigned char ymm[16][32];
static struct mote_run run;
static struct mote_event injected;
static bool stray;	/* an access beyond the device */

int mote_get_state(int vcpu, struct mote_state *state)
{
	if (state->mask & MOTE_STATE_XSAVE) {
		unsigned char *to = (unsigned char *)state->xsave;
		__u64 bv = 7;

		memset(to, 0, 1024);
		memcpy(to + 512, &bv, 8);
		for (int i = 0; i < 16; i++) {
			memcpy(to + 160 + 16 * i, ymm[i], 16);
			memcpy(to + 576 + 16 * i, ymm[i] + 16, 16);
		}
		state->xsave_size = 832;
	}
	for (int i = 0; state->mask & MOTE_STATE_SEGS && i < MOTE_NR_SEGS; i++)
		state->segs.seg[i] = (struct mote_segment) { .limit = ~0u, .attr = 0xc093 };
	if (state->mask & MOTE_STATE_SEGS) {
		asm("mov %%ds, %0" : "=r"(state->segs.seg[MOTE_DS].selector));
		asm("mov %%ss, %0" : "=r"(state->segs.seg[MOTE_SS].selector));
	}
	return vcpu;
}

int mote_set_state(int vcpu, const struct mote_state *state)
{
	const unsigned char *from = (const unsigned char *)state->xsave;

	for (int i = 0; state->mask & MOTE_STATE_XSAVE && i < 16; i++) {
		memcpy(ymm[i], from + 160 + 16 * i, 16);
		memcpy(ymm[i] + 16, from + 576 + 16 * i, 16);
	}
	return vcpu;
}

int mote_inject(int vcpu, const struct mote_event *event)
{
	injected = *event;
	return vcpu;
}

int mote_create_vm(int fd, const struct mote_vm_config *config) { (void)config; return fd; }
int mote_create_vcpu(int vm, const struct mote_vcpu_config *config) { (void)config; return vm; }
int mote_set_slot(int vm, const struct mote_slot *slot) { (void)vm; (void)slot; return 0; }

static __u64 device_read(void *data, __u64 gpa, unsigned int size)
{
	__u64 value = 0;

	(void)data;
	if (gpa < BUFFER + PAGE || gpa + size > BUFFER + 3 * PAGE)
		stray = true;
	else
		memcpy(&value, image_device + (gpa - BUFFER - PAGE), size);
	return value;
}

static void device_write(void *data, __u64 gpa, unsigned int size, __u64 value)
{
	(void)data;
	if (gpa < BUFFER + PAGE || gpa + size > BUFFER + 3 * PAGE)
		stray = true;
	else if (size < 8 && value >> 8 * size)
		stray = true;
	else
		memcpy(image_device + (gpa - BUFFER - PAGE), &value, size);
}

static const struct mote_bus bus = { .mmio_read = device_read, .mmio_write = device_write };

static void add_area(struct mote_machine *machine, __u64 gpa, void *hva, __u64 size)
{
	struct mote_slot slot = {
		.slot = machine->nr_areas, .gpa = gpa, .size = size, .hva = (unsigned long)hva,
	};

	if (mote_machine_set_slot(machine, &slot))
		abort();
}

/* Identity for the first GiB but 4 KiB pages for nothing: 2 MiB pages do. */
static void make_tables(void)
{
	__u64 *pml4 = (__u64 *)tables, *pdpt = pml4 + 512, *pd = pml4 + 1024;

	pml4[0] = 0x1000 | 7;
	pdpt[0] = 0x2000 | 7;
	pdpt[1] = 0x3000 | 7;
	for (int i = 0; i < 1024; i++)
		pd[i] = (__u64)i << 21 | 0xe7;
}

/* ---- one trial --------------------------------------------------------------------- */

static unsigned long seed = 88172645463325252ul;

static unsigned long any(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static unsigned char *const buffer = (unsigned char *)BUFFER, *const stack = (unsigned char *)STACK;

/* An address near a page's edge as often as not; beyond the first page and before the end. */
static unsigned long address(int pages)
{
	unsigned long at = BUFFER + any() % (PAGES * PAGE - 512) + 128;

	if (any() & 1)
		at = (BUFFER + PAGE * (1 + any() % pages)) + any() % 40 - 20;
	return at;
}

static void setup(const struct row *row)
{
	for (unsigned int i = 0; i < sizeof(context.gpr) / 8; i++)
		context.gpr[i] = any() & 1 ? any() : any() % 5 - 2;
	for (unsigned int i = 0; i < sizeof(context.ymm); i++)
		((unsigned char *)context.ymm)[i] = any();
	for (unsigned int i = 0; i < PAGES * PAGE / 8; i++)
		((unsigned long *)buffer)[i] = row->what & MATCH ? 0x0101010101010101 : any();
	if (row->what & MATCH) {
		for (int i = 0; i < 30; i++)
			buffer[any() % (PAGES * PAGE)] = any();
		context.gpr[MOTE_RAX] = any() & 1 ? 0x0101010101010101 : any();
	}
	for (unsigned int i = 0; i < PAGE / 8; i++)
		((unsigned long *)stack)[i] = any();
	context.gpr[MOTE_RBX] = address(3);
	context.gpr[MOTE_RBP] = address(2) & ~31ul;
	context.gpr[MOTE_RSI] = address(3);
	context.gpr[MOTE_RDI] = address(3);
	context.gpr[MOTE_RSP] = STACK + 1024 + any() % 1024;
	if (row->what & COUNT)
		context.gpr[MOTE_RCX] = any() % 15 + 1;
	if (row->what & BIT)
		context.gpr[MOTE_RDX] = any() % 800 - 400;
	if (row->what & BIT && !strncmp(row->text, "bt", 2))
		context.gpr[MOTE_RDX] += any() << 32 & (row->text[strcspn(row->text, " ") - 1] ==
							'q' ? 0 : ~0ul);
	if (row->what & HIGH)
		context.gpr[MOTE_RBX] |= any() << 32;
	if (row->what & STACK_HERE)
		context.gpr[MOTE_RSP] = BUFFER + PAGE - 16 + any() % 40;
	context.rflags = 0x202 | (any() & FLAGS) | (row->what & BACK ? 0x400 : 0);
}

/* Stop with all that differs. */
static int compare(const struct row *row, int err)
{
	unsigned long flags = FLAGS & ~(row->what & UNDEF_AF);
	int bad = 0;

	/* The manuals leave these open; processors differ from each other. */
	if (!strncmp(row->text, "bt", 2))
		flags = 1 | 0x40;
	bad |= err ? 1 : 0;
	bad |= (run.rip != CODE + (row->end - row->start)) << 1;
	bad |= !!memcmp(run.gpr, context.gpr, sizeof(run.gpr)) << 2;
	bad |= !!((run.rflags ^ context.rflags) & flags) << 3;
	bad |= !!memcmp(ymm, context.ymm, sizeof(ymm)) << 4;
	bad |= !!memcmp(image_device, buffer + PAGE, 2 * PAGE) << 5;
	bad |= !!memcmp(image_ram[0], buffer, PAGE) << 6;
	bad |= !!memcmp(image_ram[1], buffer + 3 * PAGE, PAGE) << 6;
	bad |= !!memcmp(image_stack, stack, PAGE) << 7;
	bad |= injected.valid << 8 | stray << 9;
	if (!bad)
		return 0;
	printf("# %s: mask %#x, error %d, address %#lx, flags %#llx, not %#lx\n", row->text, bad, err,
	       fault_address, run.rflags & FLAGS, context.rflags & FLAGS);
	for (int i = 0; i < MOTE_NR_GPRS; i++)
		if (run.gpr[i] != context.gpr[i])
			printf("#   gpr %d is %#llx, not %#lx\n", i, run.gpr[i], context.gpr[i]);
	return 1;
}

/* Returns 0 if all is well, 1 if not, 2 if the device was not touched. */
static int trial(struct mote_cpu *cpu, const struct row *row)
{
	struct context start;
	int err, length = row->end - row->start;
	static const unsigned char jump[6] = { 0xff, 0x25 };
	void *to = back;

	setup(row);
	memcpy((void *)CODE, row->start, length);
	memcpy((void *)CODE + length, jump, sizeof(jump));
	memcpy((void *)CODE + length + sizeof(jump), &to, sizeof(to));

	mprotect(buffer + PAGE, 2 * PAGE, PROT_NONE);
	if (!sigsetjmp(fault, 1)) {
		run_native();
		mprotect(buffer + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE);
		return 2;
	}
	mprotect(buffer + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE);
	if (fault_address < BUFFER + PAGE || fault_address >= BUFFER + 3 * PAGE)
		return 2;

	start = context;
	memcpy(run.gpr, context.gpr, sizeof(run.gpr));
	run.rflags = context.rflags;
	run.rip = CODE;
	run.set = 0;
	run.memory.gpa = fault_address;
	run.mode = (struct mote_cpu_mode) {
		.cr0 = 0x80050033, .cr3 = 0, .cr4 = 0x20, .efer = 0xd01, .cs_attr = 0xa0fb, .cpl = 3,
	};
	memcpy(ymm, context.ymm, sizeof(ymm));
	memcpy(image_ram[0], buffer, PAGE);
	memcpy(image_device, buffer + PAGE, 2 * PAGE);
	memcpy(image_ram[1], buffer + 3 * PAGE, PAGE);
	memcpy(image_stack, stack, PAGE);
	injected.valid = 0;
	stray = false;
	err = mote_complete_mmio(cpu, &bus);

	context = start;
	context.rflags |= 0x202;
	if (sigsetjmp(fault, 1)) {
		printf("# %s: faults at %#lx\n", row->text, fault_address);
		return 1;
	}
	run_native();
	return compare(row, err);
}

static void *fixed(unsigned long at, unsigned long size)
{
	void *got = mmap((void *)at, size, PROT_READ | PROT_WRITE | PROT_EXEC,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (got != (void *)at) {
		perror("mmap");
		exit(1);
	}
	return got;
}

int main(void)
{
	static char alternate[65536];
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	struct mote_machine machine = { 0 };
	struct mote_cpu cpu = { .run = &run, .machine = &machine };
	int failed = 0, rounds = getenv("ROUNDS") ? atoi(getenv("ROUNDS")) : 300;

	sigaltstack(&(stack_t) { .ss_sp = alternate, .ss_size = sizeof(alternate) }, NULL);
	sigaction(SIGSEGV, &action, NULL);
	fixed(CODE, PAGE);
	fixed(BUFFER, PAGES * PAGE);
	fixed(STACK, PAGE);
	make_tables();
	add_area(&machine, 0, tables, sizeof(tables));
	add_area(&machine, CODE, (void *)CODE, PAGE);
	add_area(&machine, BUFFER, image_ram[0], PAGE);
	add_area(&machine, BUFFER + 3 * PAGE, image_ram[1], PAGE);
	add_area(&machine, STACK, image_stack, PAGE);

	printf("TAP version 13\n1..%zu\n", rows_end - rows);
	for (const struct row *row = rows; row < rows_end; row++) {
		int bad = 0, done = 0;

		for (int i = 0; i < rounds && !bad; i++) {
			int result = trial(&cpu, row);

			bad |= result == 1;
			done += result == 0;
		}
		bad |= !done;
		failed += bad;
		printf("%s %zu %s\n", bad ? "not ok" : "ok", row - rows + 1, row->text);
	}
	free(machine.areas);
	free(cpu.insns);
	return failed ? 1 : 0;
}
