# SPDX-License-Identifier: GPL-2.0
# Included at the end of each collection's Makefile: the flags that all tests
# share, then the kernel's own rules.

LIBMOTE := $(TOP)/build/lib/libmote.a
# What all programs share, compiled once: the Makefile of all collections sees to it.
SHARED  := $(dir $(OUTPUT))lib/selftest.o $(dir $(OUTPUT))lib/guest.o
HEADERS := $(wildcard $(TOP)/selftests/lib/*.h $(TOP)/uapi/*/*.h $(TOP)/userspace/libmote/*.h)

# Static, so that a test runs wherever it is carried to.
CFLAGS  += -std=gnu11 -O2 -g -Wall $(if $(CI),-Werror) -D_GNU_SOURCE \
	-DMOTE_VERSION='"$(shell cat $(TOP)/VERSION)"' \
	-I$(KSFT) -I$(TOP)/selftests/lib -I$(TOP)/uapi -I$(TOP)/userspace/libmote
# Whoever debugs one finds its names; lines are in objects, which no host has to carry.
LDFLAGS += -static -pthread -Wl,--strip-debug

ifeq ($(OUTPUT),)
$(error run make in $(TOP)/selftests)
endif

include $(KSFT)/lib.mk

LOCAL_HDRS += $(HEADERS) $(wildcard *.h)
$(TEST_GEN_PROGS) $(TEST_GEN_PROGS_EXTENDED): $(SHARED) $(LIBMOTE)

$(SHARED): $(dir $(OUTPUT))lib/%.o: $(TOP)/selftests/lib/%.c $(HEADERS)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(CPPFLAGS) -c -o $@ $<

.PHONY: shared
shared: $(SHARED) $(LIBMOTE)

$(LIBMOTE):
	@$(MAKE) --no-print-directory -C $(TOP)/userspace $(LIBMOTE)
