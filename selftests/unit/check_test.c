// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/check.c, under sanitizers. */
#include "../../kmod/tests/check_test.c"
#include "../../kmod/msr.c"
