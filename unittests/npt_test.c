// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of the nested page tables, under sanitizers. */
#include "../kmod/tests/npt_test.c"
