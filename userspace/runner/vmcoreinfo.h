/* SPDX-License-Identifier: GPL-2.0 */
/* VMCOREINFO: what a Linux kernel says of itself, in its memory (include/linux/vmcore_info.h). */
#ifndef VMCOREINFO_H
#define VMCOREINFO_H

#include <elf.h>
#include <linux/types.h>
#include <stddef.h>

/* A note at the beginning of a page, whose text has a page at most. */
#define VMCOREINFO_NAME 12
#define VMCOREINFO_HEAD (sizeof(Elf64_Nhdr) + VMCOREINFO_NAME)
#define VMCOREINFO_MOST (VMCOREINFO_HEAD + 4096)
/* So much of a page tells whether there is one. */
#define VMCOREINFO_SIGN (VMCOREINFO_HEAD + sizeof("OSRELEASE=") - 1)

/* How long the note is, which has this beginning; 0: it is none. */
size_t vmcoreinfo_size(const unsigned char *sign);

/* What its text has behind "@key=", or NULL; the text is a string. */
const char *vmcoreinfo_value(const char *text, const char *key);
/* A number there; 0: it is not there. */
__u64 vmcoreinfo_number(const char *text, const char *key, int base);

/* What Linux's image is mapped from, but for phys_base: Documentation/x86/x86_64/mm.rst. */
#define START_KERNEL_MAP 0xffffffff80000000ull

#endif /* VMCOREINFO_H */
