// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of the mm's changes, under sanitizers. */
#include "../kmod/tests/range_test.c"
