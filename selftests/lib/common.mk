# SPDX-License-Identifier: GPL-2.0
# Included at the end of each collection's Makefile: the flags that all tests
# share, then the kernel's own rules.

LIBMOTE := $(TOP)/build/lib/libmote.a
SHARED  := $(TOP)/selftests/lib/selftest.c $(TOP)/selftests/lib/guest.c
HEADERS := $(wildcard $(TOP)/selftests/lib/*.h $(TOP)/uapi/*/*.h $(TOP)/userspace/libmote/*.h)

# Static, so that a test runs wherever it is carried to.
CFLAGS  += -std=gnu11 -O2 -g -Wall $(if $(CI),-Werror) -D_GNU_SOURCE \
	-DMOTE_VERSION='"$(shell cat $(TOP)/VERSION)"' \
	-I$(KSFT) -I$(TOP)/selftests/lib -I$(TOP)/uapi -I$(TOP)/userspace/libmote
LDFLAGS += -static -pthread

ifeq ($(OUTPUT),)
$(error run make in $(TOP)/selftests)
endif

include $(KSFT)/lib.mk

LOCAL_HDRS += $(HEADERS)
$(TEST_GEN_PROGS) $(TEST_GEN_PROGS_EXTENDED): $(SHARED) $(LIBMOTE)

$(LIBMOTE):
	@$(MAKE) --no-print-directory -C $(TOP)/userspace $(LIBMOTE)
