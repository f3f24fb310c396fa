// SPDX-License-Identifier: GPL-2.0
/* VMCOREINFO: see vmcoreinfo.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmcoreinfo.h"

size_t vmcoreinfo_size(const unsigned char *sign)
{
	static const char name[] = "VMCOREINFO\0\0OSRELEASE=";
	Elf64_Nhdr head;

	memcpy(&head, sign, sizeof(head));
	if (head.n_namesz != sizeof("VMCOREINFO") || head.n_type || head.n_descsz > 4096 ||
	    memcmp(sign + sizeof(head), name, sizeof(name) - 1))
		return 0;
	return VMCOREINFO_HEAD + (head.n_descsz + 3) / 4 * 4;
}

const char *vmcoreinfo_value(const char *text, const char *key)
{
	size_t nr = strlen(key);

	for (; text && *text; text = strchr(text, '\n')) {
		text += *text == '\n';
		if (!strncmp(text, key, nr) && text[nr] == '=')
			return text + nr + 1;
	}
	return NULL;
}

__u64 vmcoreinfo_number(const char *text, const char *key, int base)
{
	const char *value = vmcoreinfo_value(text, key);

	return value ? strtoull(value, NULL, base) : 0;
}
