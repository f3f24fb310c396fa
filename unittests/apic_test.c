// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/apic/apic.c, under sanitizers. */
#define RANDOM_WRITES 1000000
#include "../kmod/tests/apic_test.c"
