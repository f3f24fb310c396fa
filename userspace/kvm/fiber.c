// SPDX-License-Identifier: GPL-2.0
/*
 * Functions that wait in their middle.  libmote completes an instruction in one go and asks the
 * bus for each access, while KVM's ABI returns to the client for it: so the completion has a stack
 * of its own, and waits there until the client comes back, whichever thread that is.
 */
#include <errno.h>
#include <stdint.h>
#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include "shim.h"

/* Enough for a decoder and for the client's signal handlers; the lowest page is a guard. */
#define STACK_SIZE (256 * 1024)

/*
 * Save what a function has to preserve, and go on with another stack.  The signal mask, unlike
 * with swapcontext(), is the thread's and stays.
 */
void fiber_switch(void **save, void *load);
void fiber_begin(void);
asm(".pushsection .text\n"
    ".hidden fiber_switch, fiber_begin\n"
    ".globl fiber_switch, fiber_begin\n"
    ".type fiber_switch, @function\n"
    "fiber_switch:\n"
    "	push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
    "	mov %rsp, (%rdi); mov %rsi, %rsp\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
    "	ret\n"
    ".size fiber_switch, . - fiber_switch\n"
    ".type fiber_begin, @function\n"
    "fiber_begin:\n"
    "	mov %rbx, %rdi; call fiber_main; ud2\n"
    ".size fiber_begin, . - fiber_begin\n"
    ".popsection\n");

__attribute__((used, visibility("hidden"))) void fiber_main(struct fiber *fiber);
void fiber_main(struct fiber *fiber)
{
	fiber->run(fiber->argument);
	fiber->waits = false;
	fiber_switch(&fiber->inside, fiber->outside);
}

int fiber_start(struct fiber *fiber, void (*run)(void *argument), void *argument)
{
	void **top;

	if (!fiber->stack) {
		void *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

		if (stack == MAP_FAILED)
			return -ENOMEM;
		mprotect(stack, PAGE_SIZE, PROT_NONE);
		fiber->stack = stack;
	}
	fiber->run = run;
	fiber->argument = argument;
	/* As fiber_switch() leaves it: r15 to r12, rbx, rbp, where to go on; aligned there. */
	top = (void **)((char *)fiber->stack + STACK_SIZE);
	*--top = (void *)fiber_begin;
	*--top = NULL;
	*--top = fiber;
	for (int i = 0; i < 4; i++)
		*--top = NULL;
	fiber->inside = top;
	fiber->waits = true;
	return 0;
}

void fiber_enter(struct fiber *fiber)
{
	fiber_switch(&fiber->outside, fiber->inside);
}

void fiber_wait(struct fiber *fiber)
{
	fiber_switch(&fiber->inside, fiber->outside);
}

void fiber_destroy(struct fiber *fiber)
{
	if (fiber->stack) {
		/* Functions in their middle have not done so. */
		ASAN_UNPOISON_MEMORY_REGION(fiber->stack, STACK_SIZE);
		munmap(fiber->stack, STACK_SIZE);
	}
	fiber->stack = NULL;
	fiber->waits = false;
}
