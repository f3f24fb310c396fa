/* SPDX-License-Identifier: GPL-2.0 */
/*
 * boot - an option ROM that enters a Linux kernel which is in memory already
 *
 * Bochs can preload memory from a file, so no emulated disk is read and no
 * kernel is decompressed by an emulated processor. The BIOS calls this ROM
 * when its own tables are made, and it never returns: it asks for the memory
 * map, switches to long mode and jumps to the kernel ("The Linux/x86 Boot
 * Protocol", "64-bit Boot Protocol"). lab/preload.py makes the image, which
 * begins with the header below.
 *
 * Bochs backs memory with blocks of 128 KiB that it hands out in the order of
 * first use, but it fills them from the file as if that were the order of
 * addresses. The BIOS has used blocks 0, 1, 4, 5 (SMRAM), 7 (its shadow) and
 * the very last one. With 2 and 3 those are eight, so block 8, at 1 MiB, gets
 * what is at 1 MiB in the file, if the image is now touched from its first
 * page to its last. The words at both its ends tell whether that went well.
 */

#define IMAGE		0x100000	/* where the image begins */
#define MAGIC		0x65746f6d	/* "mote" */
#define ROM		0xd0000
#define E820_BUFFER	0x10000
#define E820_MAX	128

/* The image's header. */
#define HDR_MAGIC	0
#define HDR_END		4	/* the address after the image; the word before it is MAGIC */
#define HDR_PARAMS	8	/* struct boot_params */
#define HDR_CR3		12	/* page tables that map the first 4 GiB to themselves */
#define HDR_ENTRY	16	/* the kernel's startup_64 */

/* struct boot_params */
#define PARAMS_E820_ENTRIES	0x1e8
#define PARAMS_E820_TABLE	0x2d0

	.code16
	.globl	_start
_start:
	.byte	0x55, 0xaa, 1
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds

	/* The memory map, as the BIOS tells it: 20 bytes an entry. */
	movw	$(E820_BUFFER >> 4), %ax
	movw	%ax, %es
	xorl	%ebx, %ebx
	xorl	%edi, %edi
	xorl	%ebp, %ebp
next_range:
	movl	$0xe820, %eax
	movl	$0x534d4150, %edx
	movl	$20, %ecx
	int	$0x15
	jc	have_map
	incl	%ebp
	addw	$20, %di
	cmpl	$E820_MAX, %ebp
	jae	have_map
	testl	%ebx, %ebx
	jnz	next_range
have_map:
	cli
	inb	$0x92, %al
	orb	$2, %al			/* the A20 gate */
	andb	$0xfe, %al
	outb	%al, $0x92
	lgdtl	gdt_pointer - _start
	movl	%cr0, %eax
	orb	$1, %al
	movl	%eax, %cr0
	ljmpl	$0x10, $(ROM + protected - _start)

	.code32
protected:
	movw	$0x18, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	$0x7c00, %esp

	movl	0x40000, %eax
	movl	0x60000, %eax
	movl	$IMAGE, %ebx
	cmpl	$MAGIC, HDR_MAGIC(%ebx)
	jne	broken
	movl	HDR_END(%ebx), %edx
	movl	%ebx, %esi
touch:
	movl	(%esi), %eax
	addl	$4096, %esi
	cmpl	%edx, %esi
	jb	touch
	cmpl	$MAGIC, -4(%edx)
	jne	broken

	movl	HDR_PARAMS(%ebx), %edx
	movl	%ebp, %eax
	movb	%al, PARAMS_E820_ENTRIES(%edx)
	imull	$20, %ebp, %ecx
	movl	$E820_BUFFER, %esi
	leal	PARAMS_E820_TABLE(%edx), %edi
	rep movsb

	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	HDR_CR3(%ebx), %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80000000, %eax
	movl	%eax, %cr0
	ljmpl	$0x20, $(ROM + long_mode - _start)

	/* Say so and end the machine. */
broken:
	movl	$(ROM + message - _start), %esi
	movl	$(message_end - message), %ecx
	movw	$0xe9, %dx
	rep outsb
	movl	$(ROM + shutdown - _start), %esi
	movl	$8, %ecx
	movw	$0x8900, %dx
	rep outsb
halt:
	hlt
	jmp	halt

	.code64
long_mode:
	movl	$0x18, %eax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movl	HDR_PARAMS(%ebx), %esi
	movl	HDR_ENTRY(%ebx), %eax
	jmp	*%rax

message:
	.byte	0xe9, 0x6d, 'B', message_end - message_text, 0
message_text:
	.ascii	"the memory image is not whole: this version of Bochs lays memory out in another way"
message_end:
shutdown:
	.ascii	"Shutdown"

	.balign	8
gdt:
	.quad	0
	.quad	0
	.quad	0x00cf9a000000ffff	/* 0x10: 32-bit code, and __BOOT_CS's place */
	.quad	0x00cf92000000ffff	/* 0x18: data, __BOOT_DS */
	.quad	0x00af9a000000ffff	/* 0x20: 64-bit code */
gdt_pointer:
	.word	gdt_pointer - gdt - 1
	.long	ROM + gdt - _start

	.org	511
	.byte	0			/* makes the sum of all bytes zero: set by lab/preload.py */
