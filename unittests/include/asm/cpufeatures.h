/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's own: see Makefile. */
#define _ASM_X86_REQUIRED_FEATURES_H
#define _ASM_X86_DISABLED_FEATURES_H
#include <kernel/asm/cpufeatures.h>
