# SPDX-License-Identifier: GPL-2.0
# For a program by libmote as it is installed (libmote-dev, make install), and Zydis: included at the top.

OUT        ?= .
PKG_CONFIG ?= pkg-config
CFLAGS     ?= -O2 -g
LIBMOTE    := $(or $(shell $(PKG_CONFIG) --cflags libmote),$(error libmote-dev is not installed)) \
	-L$(shell $(PKG_CONFIG) --variable=libdir libmote)
COMPILE    := $(CC) $(CFLAGS) -std=gnu11 -D_GNU_SOURCE -Wall $(if $(CI),-Werror)

# With the static library, it runs wherever it is carried to.
define link
	@mkdir -p $(@D)
	$(COMPILE) -o $@ $(filter %.c,$^) $(LIBMOTE) -l:libmote.a -lZydis
endef

# $(call initrd,WHAT): an initramfs of the program and of WHAT; /dev/console is in the one that the kernel has.
define initrd
	$(COMPILE) -static -s -o $@.d/init $<
	cd $@.d && printf '%s\n' init $(1) | cpio --quiet -o -H newc > ../$(@F)
endef
