/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote: a thin function for each call of the ABI in uapi/linux/mote.h.
 *
 * Functions return 0 or a non-negative value, or a negative errno.  None
 * prints, none keeps state: a file descriptor is all there is.  Objects that
 * make more of it are in machine.h, the completion of exits is in complete.h.
 */
#ifndef LIBMOTE_H
#define LIBMOTE_H

#include <linux/mote.h>

#define MOTE_DEVICE "/dev/mote"

/**
 * mote_open() - open /dev/mote
 * Return: a file descriptor (close-on-exec), or a negative errno: -ENOENT if
 * the module is not loaded, -EACCES if the caller may not use it
 */
int mote_open(void);

/**
 * mote_get_info() - what this host can do, probed now
 * @fd: from mote_open()
 * @info: filled in
 * Return: 0 or a negative errno
 */
int mote_get_info(int fd, struct mote_info *info);

/*
 * The calls of uapi/linux/mote.h, one by one: @vm and @vcpu are file descriptors, and
 * what the kernel returns as errno comes back as its negative.
 */
int mote_create_vm(int fd, const struct mote_vm_config *config);
int mote_set_slot(int vm, const struct mote_slot *slot);
int mote_get_dirty(int vm, const struct mote_dirty *dirty);
int mote_set_filter(int vm, const struct mote_filter *filter);
int mote_create_vcpu(int vm, const struct mote_vcpu_config *config);
int mote_run(int vcpu);
int mote_get_state(int vcpu, struct mote_state *state);
int mote_set_state(int vcpu, const struct mote_state *state);
int mote_set_cpuid(int vcpu, const struct mote_cpuid_table *table);
int mote_inject(int vcpu, const struct mote_event *event);
int mote_msi(int vm, const struct mote_msi *msi);
int mote_irqfd(int vm, const struct mote_irqfd *irqfd);
int mote_ioeventfd(int vm, const struct mote_ioeventfd *ioeventfd);
int mote_get_clock(int vm, struct mote_clock_value *value);
int mote_set_clock(int vm, const struct mote_clock_value *value);
int mote_set_watch(int vm, const struct mote_watch *watch);
int mote_apic_access(int vcpu, struct mote_apic_access *access);
int mote_set_debug(int vcpu, const struct mote_debug *debug);
int mote_get_field(int vcpu, struct mote_field *field);

/**
 * mote_get_cpuid() - what a guest may be told by CPUID: a proposal for mote_set_cpuid()
 * @fd: from mote_open()
 * @table: in: room, out: the rows that there are; no more are written than there is room for
 * Return: 0 or a negative errno
 */
int mote_get_cpuid(int fd, struct mote_cpuid_table *table);

/* The extension that CPUID reports on this CPU: &enum mote_vendor. */
unsigned int mote_cpuid_vendor(void);

/*
 * Short lower-case words for the numbers of &enum mote_vendor, &enum
 * mote_feature (a bit number), &enum mote_obstacle_code and &enum
 * mote_exit_reason; "unknown" for numbers that are newer than this library.
 */
const char *mote_vendor_name(unsigned int vendor);
const char *mote_feature_name(unsigned int feature);
const char *mote_obstacle_name(unsigned int code);
const char *mote_exit_name(unsigned int reason);
/* The reason of an exit that has this name, or -1. */
int mote_exit_reason(const char *name);

/* A check of &enum mote_check in words, and the manual's section that has it ("" for none). */
const char *mote_check_text(unsigned int check);
const char *mote_check_section(unsigned int check);

#endif /* LIBMOTE_H */
