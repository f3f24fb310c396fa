// SPDX-License-Identifier: GPL-2.0
/*
 * libmote: an instruction of the guest's on this machine's own CPU.
 *
 * The instruction comes from insn.c, which has encoded it anew: it has no operand in
 * memory but one in our buffer, does not name RSP and does not branch.  It is followed by
 * a RET, in a page that is mapped twice, once to be written and once to be executed: so
 * nothing needs to become executable once the vCPU has been made, which a sandbox may forbid.
 * If the CPU raises an exception, the signal handler notes its vector and skips the
 * instruction.
 */
#include <cpuid.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "native.h"

#define PAGE_SIZE 4096
#define RET 0xc3
#define CPUID_OSXSAVE (1u << 27)
/* x87, SSE, AVX, AVX-512: what instructions with an operand in memory may change. */
#define FEATURES 0xe7

_Static_assert(offsetof(struct mote_native, rflags) == 128 &&
	       offsetof(struct mote_native, code) == 136 &&
	       offsetof(struct mote_native, image) == 144 &&
	       offsetof(struct mote_native, host) == 152 &&
	       offsetof(struct mote_native, features) == 160, "as execute() has them");

/*
 * FNINIT clears what some CPUs leave of the host's last x87 instruction when they load
 * an image in which no exception waits.  The stack: the instruction, the struct.
 */
void mote_native_execute(struct mote_native *native);
asm(".pushsection .text\n"
    ".globl mote_native_execute\n"
    ".hidden mote_native_execute\n"
    ".type mote_native_execute, @function\n"
    "mote_native_execute:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	push %rdi; pushq 136(%rdi)\n"
    "	mov 144(%rdi), %rsi; test %rsi, %rsi; jz 1f\n"
    "	mov 152(%rdi), %rbx; mov 160(%rdi), %eax; xor %edx, %edx\n"
    "	test %eax, %eax; jz 3f\n"
    "	xsave64 (%rbx); fninit; xrstor64 (%rsi); jmp 1f\n"
    "3:	fxsave64 (%rbx); fninit; fxrstor64 (%rsi)\n"
    "1:	pushq 128(%rdi); popfq\n"
    "	mov (%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
    "	mov 40(%rdi), %rbp; mov 48(%rdi), %rsi\n"
    "	mov 64(%rdi), %r8; mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11\n"
    "	mov 96(%rdi), %r12; mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
    "	mov 56(%rdi), %rdi\n"
    "	notrack call *(%rsp)\n"
    "	push %rdi; mov 16(%rsp), %rdi; popq 56(%rdi)\n"
    "	mov %rax, (%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
    "	mov %rbp, 40(%rdi); mov %rsi, 48(%rdi)\n"
    "	mov %r8, 64(%rdi); mov %r9, 72(%rdi); mov %r10, 80(%rdi); mov %r11, 88(%rdi)\n"
    "	mov %r12, 96(%rdi); mov %r13, 104(%rdi); mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
    "	pushfq; popq 128(%rdi)\n"
    "	mov 144(%rdi), %rsi; test %rsi, %rsi; jz 2f\n"
    "	mov 152(%rdi), %rbx; mov 160(%rdi), %eax; xor %edx, %edx\n"
    "	test %eax, %eax; jz 4f\n"
    "	xsave64 (%rsi); xrstor64 (%rbx); jmp 2f\n"
    "4:	fxsave64 (%rsi); fxrstor64 (%rbx)\n"
    "2:	add $16, %rsp\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n"
    ".size mote_native_execute, . - mote_native_execute\n"
    ".popsection\n");

/* ---- exceptions ------------------------------------------------------------------ */

static const int signals[] = { SIGILL, SIGFPE, SIGSEGV, SIGBUS };
#define NR_SIGNALS (sizeof(signals) / sizeof(signals[0]))

static struct sigaction others[NR_SIGNALS];
/* What this thread executes. */
static __thread struct mote_native *volatile current;

/* What is not ours goes to whoever had the signal before. */
static void pass_on(int number, siginfo_t *info, void *context)
{
	size_t n = 0;

	while (n < NR_SIGNALS - 1 && signals[n] != number)
		n++;
	if (others[n].sa_flags & SA_SIGINFO)
		others[n].sa_sigaction(number, info, context);
	else if (others[n].sa_handler != SIG_DFL && others[n].sa_handler != SIG_IGN)
		others[n].sa_handler(number);
	else
		sigaction(number, &others[n], NULL);
}

bool mote_native_caught(void *context)
{
	greg_t *gregs = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct mote_native *native = current;

	if (!native || gregs[REG_RIP] != (greg_t)native->code)
		return false;
	native->vector = gregs[REG_TRAPNO];
	gregs[REG_RIP] += native->length;
	return true;
}

static void on_exception(int number, siginfo_t *info, void *context)
{
	if (!mote_native_caught(context))
		pass_on(number, info, context);
}

static void watch(void)
{
	struct sigaction action = {
		.sa_sigaction = on_exception, .sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	for (size_t i = 0; i < NR_SIGNALS; i++)
		sigaction(signals[i], &action, &others[i]);
}

/* ---- entry points ------------------------------------------------------------------- */

/*
 * Those of vCPUs that are no more, for others: who has made vCPUs once may have given away
 * the right to make memory executable.
 */
static struct mote_native *idle;
static pthread_mutex_t idle_lock = PTHREAD_MUTEX_INITIALIZER;

static struct mote_native *take_idle(void)
{
	struct mote_native *native;

	pthread_mutex_lock(&idle_lock);
	native = idle;
	if (native)
		idle = native->next;
	pthread_mutex_unlock(&idle_lock);
	return native;
}

static bool has_xsave(void)
{
	__u32 eax, ebx, ecx, edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx & CPUID_OSXSAVE;
}

static __u64 enabled_features(void)
{
	__u32 eax, edx;

	asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax & FEATURES;
}

/* The same page twice; false if there is none. */
static bool map_code(struct mote_native *native)
{
	native->draft = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (native->draft == MAP_FAILED)
		return false;
	/* Of a shared mapping an old size of 0 makes another one. */
	native->code = mremap(native->draft, 0, PAGE_SIZE, MREMAP_MAYMOVE);
	if (native->code != MAP_FAILED && !mprotect(native->code, PAGE_SIZE, PROT_READ | PROT_EXEC))
		return true;
	if (native->code != MAP_FAILED)
		munmap(native->code, PAGE_SIZE);
	munmap(native->draft, PAGE_SIZE);
	return false;
}

struct mote_native *mote_native_create(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const size_t size = sizeof(struct mote_native);
	struct mote_native *native = take_idle();

	if (native)
		return native;
	native = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (native == MAP_FAILED)
		return NULL;
	if (!map_code(native)) {
		munmap(native, size);
		return NULL;
	}
	native->host = native->host_xsave;
	native->features = has_xsave() ? enabled_features() : 0;
	pthread_once(&once, watch);
	return native;
}

void mote_native_destroy(struct mote_native *native)
{
	if (!native)
		return;
	pthread_mutex_lock(&idle_lock);
	native->next = idle;
	idle = native;
	pthread_mutex_unlock(&idle_lock);
}

void mote_native_load(struct mote_native *native, const __u8 *code, unsigned int length)
{
	__u32 eax, ebx, ecx, edx;

	if (native->length == length && !memcmp(native->draft, code, length))
		return;
	memcpy(native->draft, code, length);
	native->draft[length] = RET;
	native->length = length;
	/*
	 * It is written at another address than it is executed at: SDM 3A, "Handling Self- and
	 * Cross-Modifying Code".
	 */
	__cpuid(0, eax, ebx, ecx, edx);
}

void mote_native_run(struct mote_native *native)
{
	native->vector = -1;
	current = native;
	mote_native_execute(native);
	current = NULL;
}
