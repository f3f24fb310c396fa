// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/guest/cpuid.c, under sanitizers. */
#include "../kmod/tests/cpuid_test.c"
