// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/guest/msr.c, under sanitizers. */
#include "../kmod/tests/msr_test.c"
