# SPDX-License-Identifier: GPL-2.0
# mote's front door.  `make help` lists what there is; README.md says more.

# The kernel that `make` and `make install` build the module for.
KDIR    ?= /lib/modules/$(shell uname -r)/build
# Where `make install` puts things; modules go where the kernel looks for them.
PREFIX  ?= /usr
LIBDIR  ?= $(PREFIX)/lib
DESTDIR ?=
# Where shells look for it, below PREFIX.
BASH_COMPLETION := share/bash-completion/completions/mote
ZSH_COMPLETION  := share/zsh/vendor-completions/_mote
# The kernels of the emulated hosts: see lab/kernel.
KERNELS := distro next debug

# Whoever installs as root leaves nothing of root's in somebody's tree: it is built as by whom it belongs to.
OWNER   := $(shell stat -c %u:%g .)
BUILDER := $(if $(filter-out 0:%,$(OWNER)),$(if $(filter 0,$(shell id -u)),\
	setpriv --reuid=$(firstword $(subst :, ,$(OWNER))) --regid=$(lastword $(subst :, ,$(OWNER))) --clear-groups))

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.PHONY: all
all: module user ## build the module for KDIR, and user space

.PHONY: help
help: ## this list
	@sed -n -e 's/^##\( \|$$\)//p' -e 's/^\([a-z][a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 21

##
## Building: KDIR=TREE is the kernel to build the module for

.PHONY: module
ifneq ($(wildcard $(KDIR)/Makefile),)
module: ## build mote.ko for KDIR (default: the running kernel)
	+$(BUILDER) $(MAKE) -C $(KDIR) M=$(CURDIR) modules
else ifeq ($(origin KDIR), file)
module: build/distro/mote.ko
	@echo "There are no headers of the running kernel in $(KDIR):" \
		"built the module for the emulated hosts' kernel, build/distro/mote.ko"
else
module:
	@echo "KDIR=$(KDIR) is not a kernel build tree" >&2; exit 1
endif

# The module for the emulated hosts; warnings are errors there.
KERNEL_MODULES := $(KERNELS:%=build/%/mote.ko)
$(KERNEL_MODULES): build/%/mote.ko: FORCE
	+@packaging/build-module $*

.PHONY: user
user: ## build the mote command and libmote, in build/
	+@$(BUILDER) $(MAKE) -C userspace

.PHONY: selftests
selftests: user ## build the kselftests, in build/selftests (KSFT=DIR: with that harness)
	@rm -rf build/selftests
	+@$(MAKE) -s -C selftests install INSTALL_PATH=$(CURDIR)/build/selftests

# What is there is installed.
ifneq ($(filter images,$(MAKECMDGOALS)),)
selftests: images
endif

.PHONY: images
images: ## build what guests boot in the selftests, from Debian's packages
	+@$(MAKE) -s -C selftests images

.PHONY: unit
unit: ## build unit tests and fuzzers for this machine, in build/unit; make -C unittests run
	+@$(MAKE) -s -C unittests

# As somebody else builds them, who has libmote installed.
INSTALLED := $(CURDIR)/build/examples/installed
.PHONY: examples
examples: user ## build examples/ with what `make install-headers` installs, in build/examples
	+@$(MAKE) -s install-headers PREFIX=$(INSTALLED) DESTDIR=
	+@for example in fuzz replay policy course; do PKG_CONFIG_PATH=$(INSTALLED)/lib/pkgconfig \
		$(MAKE) -C examples/$$example OUT=$(CURDIR)/build/examples/$$example || exit; done

.PHONY: bench-program
bench-program: user ## build the benchmark, in build/bench
	+@$(MAKE) -s -C bench

.PHONY: clean
clean: ## remove what was built (the cache of kernels stays)
	rm -rf build
	find . -name .git -prune -o \( -name '*.o' -o -name '*.ko' -o -name '*.mod' -o -name '*.mod.c' \
		-o -name '.*.cmd' -o -name modules.order -o -name Module.symvers \) -exec rm -f {} +

##
## Trying and testing: on a fresh Debian 12 these install what they need

.PHONY: packages
packages: ## install the Debian packages that building and testing need
	@packaging/install-packages packaging/packages lab/packages

.PHONY: demo demo-migrate check check-long bench lint
demo: packages ## see Debian run as a guest of mote, on an emulated AMD machine
	+@tools/demo

demo-migrate: packages images build/distro/mote.ko ## see a machine go from an emulated AMD machine to an Intel one and back
	+@tools/move svm vmx svm

check: packages ## test on emulated machines of both vendors
	+@tools/check

check-long: packages ## the same, and the tests that take longer
	+@tools/check --long

bench: packages build/distro/mote.ko bench-program ## price exits on emulated hosts, beside KVM
	@bench/run

lint: packages ## read the sources with every tool that helps
	@packaging/install-packages packaging/packages-lint
	+@tools/lint/lint

##
## A part of check: CHECK_HOSTS="svm/distro,vmx" CHECK_TESTS="info core:nmi kexec_crash bench"
##
## Installing: PREFIX=, DESTDIR=, KDIR=; headers, man, module, service, udev and user also alone, as install-module

.PHONY: install install-module install-user install-headers install-man install-udev install-service
install: install-module install-user install-headers install-man install-udev install-service ## install all of it
	@echo "Installed. Next: modprobe mote && mote doctor"

install-module: headers-of-kernel module
	+$(MAKE) -C $(KDIR) M=$(CURDIR) INSTALL_MOD_DIR=extra \
		$(if $(DESTDIR),INSTALL_MOD_PATH=$(DESTDIR)) modules_install
	$(if $(DESTDIR),,depmod $$($(MAKE) -s -C $(KDIR) kernelrelease))

.PHONY: headers-of-kernel
headers-of-kernel:
	@[ -e $(KDIR)/Makefile ] || { echo "There are no headers of the running kernel:" \
		"apt-get install linux-headers-$$(uname -r), or name a kernel with KDIR=" >&2; exit 1; }

install-user: user
	install -D -m 755 build/bin/mote $(DESTDIR)$(PREFIX)/bin/mote
	install -D -m 755 build/bin/mote-trace $(DESTDIR)$(PREFIX)/libexec/mote/mote-trace
	install -D -m 644 build/lib/libmote.so $(DESTDIR)$(LIBDIR)/libmote.so.0
	install -D -m 644 build/lib/libmote-kvm.so $(DESTDIR)$(PREFIX)/libexec/mote/libmote-kvm.so
	install -D -m 644 build/completion/mote.bash $(DESTDIR)$(PREFIX)/$(BASH_COMPLETION)
	install -D -m 644 build/completion/mote.zsh $(DESTDIR)$(PREFIX)/$(ZSH_COMPLETION)
	$(if $(DESTDIR),,ldconfig)

# What programs that use libmote are built with.
LIBMOTE_HEADERS := $(addprefix userspace/libmote/,libmote.h machine.h complete.h debug.h reset.h undo.h) \
	userspace/trace/policy.bpf.h
install-headers: user
	install -D -m 644 -t $(DESTDIR)$(PREFIX)/include/linux uapi/linux/mote.h uapi/linux/mote_policy.h
	install -d $(DESTDIR)$(PREFIX)/include/libmote $(DESTDIR)$(LIBDIR)/pkgconfig
	install -m 644 $(LIBMOTE_HEADERS) $(DESTDIR)$(PREFIX)/include/libmote
	install -m 644 build/lib/libmote.a $(DESTDIR)$(LIBDIR)/libmote.a
	ln -sf libmote.so.0 $(DESTDIR)$(LIBDIR)/libmote.so
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(shell cat VERSION)|' \
		userspace/libmote/libmote.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/libmote.pc

install-man:
	install -d $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1

install-udev:
	install -D -m 644 packaging/60-mote.rules $(DESTDIR)/lib/udev/rules.d/60-mote.rules
	$(if $(DESTDIR),,-udevadm control --reload)

UNITS := $(DESTDIR)/lib/systemd/system
install-service:
	install -d $(UNITS) $(DESTDIR)/etc/mote
	sed 's|@PREFIX@|$(PREFIX)|' packaging/mote@.service.in > $(UNITS)/mote@.service
	install -m 644 packaging/mote.slice $(UNITS)/mote.slice
	$(if $(DESTDIR),,-systemctl daemon-reload)

.PHONY: uninstall
uninstall: ## undo make install, and make install-dkms
	rm -f $(DESTDIR)$(PREFIX)/bin/mote $(addprefix $(DESTDIR)$(PREFIX)/include/linux/,mote.h mote_policy.h) \
		$(addprefix $(DESTDIR)$(LIBDIR)/,libmote.a libmote.so libmote.so.0 pkgconfig/libmote.pc) \
		$(DESTDIR)$(PREFIX)/$(BASH_COMPLETION) $(DESTDIR)$(PREFIX)/$(ZSH_COMPLETION) \
		$(patsubst man/%,$(DESTDIR)$(PREFIX)/share/man/man1/%,$(wildcard man/*.1)) \
		$(DESTDIR)/lib/udev/rules.d/60-mote.rules $(UNITS)/mote@.service $(UNITS)/mote.slice
	rm -rf $(DESTDIR)$(PREFIX)/include/libmote $(DESTDIR)$(PREFIX)/libexec/mote
	$(if $(DESTDIR),,[ ! -e $(DKMS) ] || [ -z "$$(dkms status $(DKMS_NAME))" ] || dkms remove $(DKMS_NAME) --all)
	rm -rf $(DKMS)
	rm -f $(DESTDIR)/lib/modules/*/extra/mote.ko
	$(if $(DESTDIR),,depmod)

DKMS_NAME := mote/$(shell cat VERSION)
DKMS := $(DESTDIR)/usr/src/$(subst /,-,$(DKMS_NAME))
.PHONY: install-dkms
install-dkms: ## hand the module's source to DKMS instead of installing the module
	install -d $(DKMS)
	cp -r Kbuild VERSION kmod uapi $(DKMS)
	sed 's/@VERSION@/$(shell cat VERSION)/' packaging/dkms.conf.in > $(DKMS)/dkms.conf
	@echo "Next: dkms install $(DKMS_NAME)"

.PHONY: deb
deb: ## build Debian's packages, in build/deb
	@packaging/build-deb

##
## Tools, each with --help
##   tools/check        the driver behind make check: --jobs, --long, --hosts, --tests
##   tools/lint/lint    some tools of lint alone: tools/lint/lint rules checkpatch
##   bench/run          prices of exits: some hosts, a gate, a new record
##   bench/growth       how prices grow with VMs, vCPUs, memory, slots
##   bench/answers      how soon mote run answers, whatever its guest does
##   bench/starts       what it takes to restore and to copy a machine
##   bench/boots        what whole boots take
##   bench/paths        one exit, instruction by instruction
##   lab/host           a shell or a command in an emulated host
##   lab/kernel         a kernel of the hosts, fetched or built, and where it is
##   lab/fetch          a Debian package, unpacked into the cache
##   lab/debian         a Debian system for guests
##   lab/check-cache    compare the cache with its hashes

FORCE:
