// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/quirk/insn.c, under sanitizers. */
#include "../kmod/tests/insn_test.c"
