// SPDX-License-Identifier: GPL-2.0
/*
 * A guest: an ELF image of 32 bits that writes to the serial port what it was
 * told, a line each: command line, then the string and the content of each
 * module; and ends by the debug-exit port.  Built with -DPVH for a PVH entry, or
 * with -DMULTIBOOT for a multiboot header.
 */
typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#ifdef PVH
#define EAX 0
#define MAGIC 0x336ec578

struct info {
	u32 magic, version, flags, nr_modules;
	u64 modules, command_line, rsdp, memory;
	u32 nr_memory;
};

struct module {
	u64 start, size, string, reserved;
};

#define END(module) ((module)->start + (module)->size)

struct memory {
	u64 first, size;
	u32 type, reserved;
};

asm(".pushsection .note.pvh, \"a\", @note\n"
    ".balign 4; .long 4, 4, 18; .asciz \"Xen\"; .long start\n"
    ".popsection");
#else
#define EAX 0x2badb002

struct info {
	u32 flags, lower, upper, boot_device, command_line, nr_modules, modules, symbols[4],
	    memory_size, memory;
};

struct module {
	u32 start, end, string, reserved;
};

#define END(module) ((module)->end)

struct memory {
	u32 row_size;
	u64 first, size;
	u32 type;
} __attribute__((packed));

asm(".pushsection .text.unlikely\n"
    ".balign 4; .long 0x1badb002, 0, -0x1badb002\n"
    ".popsection");
#endif

asm(".globl start\n"
    "start: mov $stack_end, %esp; push %ebx; push %eax; call main\n"
    "1: hlt; jmp 1b\n"
    ".pushsection .bss; .balign 16; .skip 4096; stack_end: .popsection");

static u32 zero[1024];
static u32 one = 1;

static void out(unsigned short port, u8 data)
{
	asm volatile("outb %0, %1" : : "a"(data), "Nd"(port));
}

static void print(u32 from, u32 to)
{
	while (from < to && *(u8 *)from)
		out(0x3f8, *(u8 *)from++);
	out(0x3f8, '\n');
}

static void finish(u8 code)
{
	out(0xf4, code);
}

/* All of the memory, in MiB, as far as it can be used. */
static u32 memory_size(const struct info *info)
{
	const struct memory *row = (const void *)(u32)info->memory;
	u64 sum = 0;
#ifdef PVH
	u32 nr = info->nr_memory;
#else
	u32 nr = info->memory_size / sizeof(*row);
#endif

	for (; nr; nr--, row++)
		if (row->type == 1)
			sum += row->size;
	return sum >> 20;
}

void main(u32 eax, const struct info *info);

void main(u32 eax, const struct info *info)
{
	const struct module *module = (const void *)(u32)info->modules;

	if (eax != EAX || !one || zero[1023])
		finish(1);
#ifdef PVH
	if (info->magic != MAGIC || *(u64 *)(u32)info->rsdp != 0x2052545020445352ull)
		finish(2);
#endif
	/* Nearly 64 MiB: conventional memory has holes. */
	if (memory_size(info) != 63)
		finish(3);
	print(info->command_line, -1);
	for (u32 i = 0; i < info->nr_modules; i++, module++) {
		if (module->start % 4096)
			finish(4);
		print(module->string, -1);
		print(module->start, END(module));
	}
	finish(0x2a);
}
