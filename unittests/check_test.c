// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/guest/check.c, under sanitizers. */
#include "../kmod/tests/check_test.c"
#include "../kmod/guest/msr.c"
