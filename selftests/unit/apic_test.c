// SPDX-License-Identifier: GPL-2.0
/* The KUnit suite of kmod/apic.c, under sanitizers. */
#include "../../kmod/tests/apic_test.c"
