// SPDX-License-Identifier: GPL-2.0
/*
 * Completing MMIO accesses, with this machine's processor as the judge.
 *
 * Each instruction is run three times with the same random registers and
 * memory: natively with the "device" pages not accessible, which yields the
 * address and the state of an MMIO exit; by libmote from there; and natively
 * to its end. Registers, flags, vector registers and memory must agree.
 *
 * So it goes for rows written by hand, and for all that Zydis decodes and that has an
 * operand in memory, which is found by trying every opcode; what libmote refuses there
 * has to be of a kind that it says it refuses.
 *
 * The guest's linear, the guest-physical and this process's addresses are the
 * same; pages 1 and 2 of the four are the device's.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <cpuid.h>

#include <Zydis/Zydis.h>

#include "complete.h"
#include "insn.h"
#include "native.h"

#define PAGE 4096ul
#define CODE 0x20000000ul
#define BUFFER 0x30000000ul
#define STACK 0x40000000ul
#define PAGES 4
#define FLAGS 0x8d5ul
#define HOST_FLAGS 0x44500ul	/* AC, NT, DF, TF */
#define VECTOR_UD 6
#define VECTOR_PF 14
#define XSAVE_SIZE 4096

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
/* Of the rows that are found: aligned, and with exceptions that are not masked. */
#define ALIGNED 0x400000u
#define UNMASKED 0x800000u

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
    I("maskmovdqu %xmm3, %xmm5", 0) I("maskmovq %mm1, %mm2", 0) I("xlatb", 0)
    I("imulq (%rbx), %rsp", 0) I("cmovcl (%rbx), %esp", 0) I("fxsave (%rbx)", 0x400000)
    "rows_end:\n.popsection\n");

/* ---- running an instruction on this processor -------------------------------- */

struct context {
	unsigned long gpr[MOTE_NR_GPRS];
	unsigned long rflags;
	unsigned long host_rsp;
	unsigned long features, unused[5];
	unsigned char xsave[XSAVE_SIZE];
} context __attribute__((aligned(64)));

const unsigned long code = CODE;
const unsigned int usual = 0x1f80;
void run_native(void);
void back(void);
#define GPRS(o)								\
	o(0, rax) o(1, rcx) o(2, rdx) o(3, rbx) o(5, rbp) o(6, rsi) o(7, rdi) o(8, r8)	\
	o(9, r9) o(10, r10) o(11, r11) o(12, r12) o(13, r13) o(14, r14) o(15, r15)
#define LOAD(n, r) "mov context + 8 * " #n "(%rip), %" #r "\n"
#define SAVE(n, r) "mov %" #r ", context + 8 * " #n "(%rip)\n"
asm(".global run_native\nrun_native:\n"
    "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "mov context + 144(%rip), %eax; xor %edx, %edx; fninit; xrstor64 context + 192(%rip)\n"
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
    "mov context + 144(%rip), %eax; xor %edx, %edx; xsave64 context + 192(%rip)\n"
    "fninit; ldmxcsr usual(%rip); cld; vzeroupper\n"
    "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "ret\n");

/* What it has raised: the exception's vector, or -1, and the address of a page fault. */
static int trap;
static unsigned long fault_address;

/* Go on behind the instruction, with the registers as they are. */
static void on_fault(int sig, siginfo_t *info, void *data)
{
	greg_t *gregs = ((ucontext_t *)data)->uc_mcontext.gregs;

	(void)sig;
	if (gregs[REG_RIP] != CODE)
		_exit(100);
	fault_address = (unsigned long)info->si_addr;
	trap = gregs[REG_TRAPNO];
	gregs[REG_RIP] = (greg_t)back;
}

static void run_here(void)
{
	trap = -1;
	run_native();
}

/* ---- what libmote sees ----------------------------------------------------------- */

static unsigned char tables[5 * PAGE] __attribute__((aligned(4096)));
static unsigned char image_ram[2][PAGE], image_device[2 * PAGE], image_stack[PAGE];
static unsigned char xsave[XSAVE_SIZE];
static struct mote_run run;
static struct mote_event injected;
static bool stray;	/* an access beyond the device */

int mote_get_state(int vcpu, struct mote_state *state)
{
	if (state->mask & MOTE_STATE_XSAVE) {
		memcpy((void *)state->xsave, xsave, XSAVE_SIZE);
		state->xsave_size = XSAVE_SIZE;
	}
	for (int i = 0; state->mask & MOTE_STATE_SEGS && i < MOTE_NR_SEGS; i++)
		state->segs.seg[i] = (struct mote_segment) { .limit = ~0u, .attr = 0xc093 };
	if (state->mask & MOTE_STATE_SEGS) {
		asm("mov %%es, %0" : "=r"(state->segs.seg[MOTE_ES].selector));
		asm("mov %%cs, %0" : "=r"(state->segs.seg[MOTE_CS].selector));
		asm("mov %%ss, %0" : "=r"(state->segs.seg[MOTE_SS].selector));
		asm("mov %%ds, %0" : "=r"(state->segs.seg[MOTE_DS].selector));
		asm("mov %%fs, %0" : "=r"(state->segs.seg[MOTE_FS].selector));
		asm("mov %%gs, %0" : "=r"(state->segs.seg[MOTE_GS].selector));
	}
	return vcpu;
}

int mote_set_state(int vcpu, const struct mote_state *state)
{
	if (state->mask & MOTE_STATE_XSAVE)
		memcpy(xsave, (const void *)state->xsave, XSAVE_SIZE);
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

/* Where XSAVE's standard form has this CPU's components: CPUID leaf 0xd, which hypervisors make slow. */
static struct {
	unsigned int at, size;
} components[8];

static void find_components(void)
{
	unsigned int ecx, edx;

	asm("xgetbv" : "=a"(context.features) : "c"(0) : "rdx");
	context.features &= 0xe7;
	for (int n = 2; n < 8; n++)
		if (context.features & 1ul << n)
			__get_cpuid_count(0xd, n, &components[n].size, &components[n].at, &ecx, &edx);
}

/* All registers at random, but for control words; x87 has values that are numbers. */
static void setup_fpu(bool unmasked)
{
	memset(context.xsave, 0, XSAVE_SIZE);
	context.xsave[0] = 0x7f;
	context.xsave[1] = 3;
	memcpy(context.xsave + 24, unmasked ? (unsigned int[]) { any() & 0xff80 } : &usual, 4);
	for (int i = 0; i < 5; i++) {
		unsigned long mantissa = any() | 1ul << 63;

		memcpy(context.xsave + 32 + 16 * i, &mantissa, 8);
		context.xsave[32 + 16 * i + 8] = any();
		context.xsave[32 + 16 * i + 9] = 0x3f | (any() & 0x80);
	}
	context.xsave[4] = 0x1f;
	context.xsave[3] = 3 << 3; /* TOP */
	for (int i = 160; i < 416; i++)
		context.xsave[i] = any();
	for (int n = 2; n < 8; n++)
		for (unsigned int i = 0; i < components[n].size; i++)
			context.xsave[components[n].at + i] = any();
	memcpy(context.xsave + 512, &context.features, 8);
}

/* Components in their initial state need not be in the image: put them there. */
static void complete_image(unsigned char *image)
{
	unsigned long has;

	memcpy(&has, image + 512, 8);
	if (!(has & 1)) {
		memset(image, 0, 24);
		memset(image + 32, 0, 128);
		image[0] = 0x7f;
		image[1] = 3;
	}
	if (!(has & 2))
		memset(image + 160, 0, 256);
	for (int n = 2; n < 8; n++)
		if (!(has & 1ul << n))
			memset(image + components[n].at, 0, components[n].size);
	memset(image + 28, 0, 4); /* MXCSR_MASK */
	memset(image + 416, 0, 576 - 416);
}

static void setup(const struct row *row)
{
	for (unsigned int i = 0; i < sizeof(context.gpr) / 8; i++)
		context.gpr[i] = any() & 1 ? any() : any() % 5 - 2;
	setup_fpu(row->what & UNMASKED);
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
	if (row->what & ALIGNED) {
		context.gpr[MOTE_RBX] = BUFFER + PAGE + any() % (2 * PAGE / 64 - 9) * 64;
		context.gpr[MOTE_RDI] = context.gpr[MOTE_RBX];
	}
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
	complete_image(xsave);
	complete_image(context.xsave);
	bad |= !!memcmp(xsave, context.xsave, XSAVE_SIZE) << 4;
	bad |= !!memcmp(image_device, buffer + PAGE, 2 * PAGE) << 5;
	bad |= !!memcmp(image_ram[0], buffer, PAGE) << 6;
	bad |= !!memcmp(image_ram[1], buffer + 3 * PAGE, PAGE) << 6;
	bad |= !!memcmp(image_stack, stack, PAGE) << 7;
	bad |= injected.valid << 8 | stray << 9;
	if (!bad)
		return 0;
	for (int i = 0; i < XSAVE_SIZE; i++)
		if (xsave[i] != context.xsave[i])
			printf("#   xsave[%d] is %#x, not %#x\n", i, xsave[i], context.xsave[i]);
	printf("# %s: mask %#x, error %d, address %#lx, flags %#llx, not %#lx\n", row->text, bad, err,
	       fault_address, run.rflags & FLAGS, context.rflags & FLAGS);
	for (int i = 0; i < MOTE_NR_GPRS; i++)
		if (run.gpr[i] != context.gpr[i])
			printf("#   gpr %d is %#llx, not %#lx\n", i, run.gpr[i], context.gpr[i]);
	return 1;
}

/* What the instruction was executed with is not this process's. */
static bool host_is_unchanged(void)
{
	unsigned short control;
	unsigned long rflags;
	unsigned int mxcsr;

	asm volatile("fnstcw %0; stmxcsr %1; pushfq; popq %2" : "=m"(control), "=m"(mxcsr), "=r"(rflags));
	if (control == 0x37f && mxcsr == usual && !(rflags & HOST_FLAGS))
		return true;
	printf("# left behind: control word %#x, MXCSR %#x, flags %#lx\n", control, mxcsr, rflags);
	return false;
}

/* Returns 0 if all is well, 1 if not, 2 if the device was not touched, 3 if there is no such instruction. */
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

	start = context;
	mprotect(buffer + PAGE, 2 * PAGE, PROT_NONE);
	run_here();
	mprotect(buffer + PAGE, 2 * PAGE, PROT_READ | PROT_WRITE);
	if (trap != VECTOR_PF || fault_address < BUFFER + PAGE || fault_address >= BUFFER + 3 * PAGE)
		return trap == VECTOR_UD ? 3 : 2;

	/* As far as a string instruction has come. */
	memcpy(start.gpr, context.gpr, sizeof(start.gpr));
	start.rflags = context.rflags;
	context = start;
	memcpy(run.gpr, context.gpr, sizeof(run.gpr));
	run.rflags = context.rflags;
	run.rip = CODE;
	run.set = 0;
	run.memory.gpa = fault_address;
	run.mode = (struct mote_cpu_mode) {
		.cr0 = 0x80050033, .cr3 = 0, .cr4 = 0x620, .efer = 0xd01, .cs_attr = 0xa0fb, .cpl = 3,
	};
	memcpy(xsave, context.xsave, XSAVE_SIZE);
	memcpy(image_ram[0], buffer, PAGE);
	memcpy(image_device, buffer + PAGE, 2 * PAGE);
	memcpy(image_ram[1], buffer + 3 * PAGE, PAGE);
	memcpy(image_stack, stack, PAGE);
	injected.valid = 0;
	stray = false;
	err = mote_complete_mmio(cpu, &bus);

	if (!host_is_unchanged())
		return 1;

	context.rflags |= 0x202;
	run_here();
	if (trap < 0)
		return compare(row, err);
	if (!err && injected.valid && injected.vector == trap && !run.set)
		return 0;
	printf("# %s: raises %d at %#lx, not %d (error %d)\n", row->text, trap, fault_address,
	       injected.valid ? injected.vector : -1, err);
	return 1;
}

/* ---- all that Zydis knows ------------------------------------------------------------- */

/* What libmote says that it does not do: no other kind may be refused. */
static bool may_be_refused(const ZydisDecodedInstruction *insn)
{
	switch (insn->meta.category) {
	case ZYDIS_CATEGORY_SYSTEM: case ZYDIS_CATEGORY_VTX: case ZYDIS_CATEGORY_XSAVE:
	case ZYDIS_CATEGORY_XSAVEOPT: case ZYDIS_CATEGORY_MPX: case ZYDIS_CATEGORY_CET:
	case ZYDIS_CATEGORY_KEYLOCKER: case ZYDIS_CATEGORY_KEYLOCKER_WIDE:
	case ZYDIS_CATEGORY_AMX_TILE: case ZYDIS_CATEGORY_ENQCMD: case ZYDIS_CATEGORY_PT:
	case ZYDIS_CATEGORY_AVX512_4FMAPS: case ZYDIS_CATEGORY_AVX512_4VNNIW:
	case ZYDIS_CATEGORY_AVX2GATHER: case ZYDIS_CATEGORY_GATHER: case ZYDIS_CATEGORY_SCATTER:
	case ZYDIS_CATEGORY_XOP: case ZYDIS_CATEGORY_UFMA:
	case ZYDIS_CATEGORY_KNC: case ZYDIS_CATEGORY_KNCMASK: case ZYDIS_CATEGORY_KNCSCALAR:
		return true;
	default:
		break;
	}
	switch (insn->mnemonic) {
	case ZYDIS_MNEMONIC_LEA: case ZYDIS_MNEMONIC_UD0: case ZYDIS_MNEMONIC_UD1:
	case ZYDIS_MNEMONIC_INVPCID: case ZYDIS_MNEMONIC_MOVDIR64B: case ZYDIS_MNEMONIC_BOUND:
	case ZYDIS_MNEMONIC_IRET: case ZYDIS_MNEMONIC_IRETD: case ZYDIS_MNEMONIC_IRETQ:
	case ZYDIS_MNEMONIC_POPF: case ZYDIS_MNEMONIC_POPFD: case ZYDIS_MNEMONIC_POPFQ:
	case ZYDIS_MNEMONIC_ARPL: case ZYDIS_MNEMONIC_LSS: case ZYDIS_MNEMONIC_ENTER: /* with levels */
		return true;
	default:
		return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR;
	}
}

/* MOV and POP. */
static bool loads_ss(const ZydisDecodedOperand *operand)
{
	return operand->type == ZYDIS_OPERAND_TYPE_REGISTER &&
	       operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE && operand->reg.value == ZYDIS_REGISTER_SS;
}

/* What came of the walk. */
static struct {
	unsigned int known, tried, here, refused, bad;
} walk;

/* Can the host execute it as the guest would, in the middle of this program? */
static bool can_be_judged(const struct mote_insn *insn)
{
	return insn->op == MOTE_OP_NATIVE || insn->op <= MOTE_OP_BTC;
}

static void judge(struct mote_cpu *cpu, const char *name, const unsigned char *bytes, int length)
{
	static const unsigned long what[] = { ALIGNED, ALIGNED | UNMASKED };
	bool here = false;

	walk.tried++;
	for (int i = 0; i < 2; i++) {
		const struct row row = { name, bytes, bytes + length, what[i] };
		int result = trial(cpu, &row);

		if (result == 3)
			return;
		here |= result == 0;
		if (result != 1)
			continue;
		walk.bad++;
		printf("#  ");
		for (int n = 0; n < length; n++)
			printf(" %02x", bytes[n]);
		printf("\n");
		return;
	}
	walk.here += here;
}

/* Returns the mnemonic; one that is @before, with another register, is not judged again. */
static ZydisMnemonic consider(struct mote_cpu *cpu, ZydisDecoder *decoder, const unsigned char *bytes,
			      unsigned int bits, ZydisMnemonic before)
{
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction from;
	struct mote_insn insn;
	bool memory = false, stack_segment = false;
	const char *name;

	if (ZYAN_FAILED(ZydisDecoderDecodeFull(decoder, bytes, 15, &from, operands)))
		return ZYDIS_MNEMONIC_INVALID;
	for (int i = 0; i < from.operand_count; i++) {
		memory |= operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY;
		stack_segment |= loads_ss(&operands[i]);
	}
	if (!memory)
		return ZYDIS_MNEMONIC_INVALID;
	walk.known++;
	name = ZydisMnemonicGetString(from.mnemonic);
	if (mote_decode(&insn, bytes, from.length, bits)) {
		walk.refused++;
		if (!may_be_refused(&from) && !stack_segment) {
			walk.bad++;
			printf("# %s is refused in %u-bit mode\n", name, bits);
		}
	} else if (bits == 64 && from.mnemonic != before && can_be_judged(&insn)) {
		judge(cpu, name, bytes, from.length);
	}
	return from.mnemonic;
}

/* An opcode behind a prefix of @nr bytes; the operand is at RBX, and immediates are something. */
static void opcodes(struct mote_cpu *cpu, ZydisDecoder *decoder, unsigned int bits,
		    const unsigned char *prefix, int nr)
{
	unsigned char bytes[16] = { 0 };

	memcpy(bytes, prefix, nr);
	for (int opcode = 0; opcode < 256; opcode++) {
		ZydisMnemonic before = ZYDIS_MNEMONIC_INVALID;

		for (int reg = 0; reg < 8; reg++) {
			memset(bytes + nr + 2, 0x35, 16 - nr - 2);
			bytes[nr] = opcode;
			bytes[nr + 1] = reg << 3 | 3;
			before = consider(cpu, decoder, bytes, bits, before);
		}
	}
}

static void walk_legacy(struct mote_cpu *cpu, ZydisDecoder *decoder, unsigned int bits)
{
	static const unsigned char prefixes[] = { 0, 0x66, 0xf2, 0xf3 };
	static const unsigned char maps[][3] = { { 0 }, { 1, 0x0f }, { 2, 0x0f, 0x38 }, { 2, 0x0f, 0x3a } };

	for (int i = 0; i < 4 * 4 * 2; i++) {
		const unsigned char *map = maps[i & 3];
		unsigned char bytes[8], prefix = prefixes[i >> 2 & 3];
		int nr = 0;

		if (prefix)
			bytes[nr++] = prefix;
		if (i >> 4 && bits == 64)
			bytes[nr++] = 0x48;
		memcpy(bytes + nr, map + 1, map[0]);
		opcodes(cpu, decoder, bits, bytes, nr + map[0]);
	}
}

static void walk_vex(struct mote_cpu *cpu, ZydisDecoder *decoder, unsigned int bits)
{
	for (int i = 0; i < 3 * 2 * 2 * 4 * 2; i++) {
		/* Map, W, vvvv (none or a register), L, pp. */
		unsigned char bytes[3] = {
			0xc4, 0xe0 | (i % 3 + 1),
			(i / 3 & 1) << 7 | (i / 6 & 1 ? 0x78 : 0x68) | (i / 12 & 1) << 2 | (i / 24 & 3),
		};

		opcodes(cpu, decoder, bits, bytes, 3);
	}
}

static void walk_evex(struct mote_cpu *cpu, ZydisDecoder *decoder, unsigned int bits)
{
	for (int i = 0; i < 6 * 2 * 2 * 4 * 4 * 2; i++) {
		/* Map, W, vvvv, pp; L'L, mask register 1 and broadcast, or neither. */
		unsigned char bytes[4] = {
			0x62, 0xf0 | (i % 6 + 1),
			(i / 6 & 1) << 7 | (i / 12 & 1 ? 0x78 : 0x68) | 4 | (i / 24 & 3),
			(i / 96 & 3) << 5 | 8 | (i / 384 & 1 ? 0x11 : 0),
		};

		opcodes(cpu, decoder, bits, bytes, 4);
	}
}

static bool walk_all(struct mote_cpu *cpu, unsigned int bits)
{
	static const ZydisMachineMode modes[] = {
		ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_MACHINE_MODE_LONG_64,
	};
	static const ZydisStackWidth widths[] = {
		ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32, ZYDIS_STACK_WIDTH_64,
	};
	ZydisDecoder decoder;

	memset(&walk, 0, sizeof(walk));
	ZydisDecoderInit(&decoder, modes[bits / 32], widths[bits / 32]);
	walk_legacy(cpu, &decoder, bits);
	walk_vex(cpu, &decoder, bits);
	walk_evex(cpu, &decoder, bits);
	printf("# %u bits: %u encodings with an operand in memory, %u refused, %u compared with this CPU "
	       "(of %u that it may have)\n", bits, walk.known, walk.refused, walk.here, walk.tried);
	return !walk.bad && walk.known && (bits != 64 || walk.here);
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
	int failed = 0, rounds = getenv("ROUNDS") ? atoi(getenv("ROUNDS")) : 40;

	sigaltstack(&(stack_t) { .ss_sp = alternate, .ss_size = sizeof(alternate) }, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	cpu.native = mote_native_create();
	find_components();
	fixed(CODE, PAGE);
	fixed(BUFFER, PAGES * PAGE);
	fixed(STACK, PAGE);
	make_tables();
	add_area(&machine, 0, tables, sizeof(tables));
	add_area(&machine, CODE, (void *)CODE, PAGE);
	add_area(&machine, BUFFER, image_ram[0], PAGE);
	add_area(&machine, BUFFER + 3 * PAGE, image_ram[1], PAGE);
	add_area(&machine, STACK, image_stack, PAGE);

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%zu\n", rows_end - rows + 3);
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
	for (unsigned int bits = 16; bits <= 64; bits *= 2) {
		bool good = walk_all(&cpu, bits);

		failed += !good;
		printf("%s %zu all instructions with an operand in memory, %u bits\n", good ? "ok" : "not ok",
		       rows_end - rows + 1 + bits / 32, bits);
	}
	free(machine.areas);
	free(cpu.insns);
	mote_native_destroy(cpu.native);
	return failed ? 1 : 0;
}
