// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/guest/filter.c, under sanitizers. */
#include "../kmod/tests/filter_test.c"
