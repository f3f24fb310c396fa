/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A machine run exit by exit (`mote step`): who steps asks for the next exit by the control socket, and the
 * vCPU stands at it until he asks again; the others stand at their own next ones meanwhile.
 *
 * The vCPU's thread reads what there is to show, before it handles the exit; the supervisor serves who
 * asks.  What both know is under &vm.life, but for the exit, which is the vCPU's until it has been read.
 */
#ifndef STEP_H
#define STEP_H

#include <stdbool.h>

#include <linux/mote.h>

#include "vm.h"

struct json_object;

/* ---- what there is (step_fields.c) ------------------------------------------------------- */

/**
 * struct step_where - what a vendor's manual says of a field
 * @name: the manual's; NULL: the vendor does not have it
 * @section: which has it
 * @number: encoding, or offset
 * @size: of AMD-V, in bytes
 */
struct step_where {
	const char *name;
	const char *section;
	__u16 number;
	__u8 size;
};

/**
 * struct step_field - a field of the VMCS and the VMCB
 * @name: ours; there is a dot in those of which there are many
 * @vmx: of VT-x
 * @svm: of AMD-V
 */
struct step_field {
	const char *name;
	struct step_where vmx;
	struct step_where svm;
};

/* The last one has no name.  Those of one section are side by side. */
extern const struct step_field step_fields[];
#define STEP_FIELDS_MOST 96

static inline const struct step_where *step_where(const struct step_field *field, unsigned int vendor)
{
	return vendor == MOTE_VENDOR_VMX ? &field->vmx : &field->svm;
}

/* Of this vendor: 0 where a field is the other's. 0 or a negative errno. */
int step_read_fields(int vcpu, unsigned int vendor, __u64 values[STEP_FIELDS_MOST]);

/* What the vendor calls an exit, and the manual's section about such exits. */
void step_exit_name(unsigned int vendor, unsigned int raw, char *name, size_t size);
const char *step_exit_section(unsigned int vendor, unsigned int reason);

/* ---- the runner's end (step.c) --------------------------------------------------------------- */

/* A vCPU's thread, around each MOTE_RUN; what is asked for beside other windows. */
__u8 step_before(struct vcpu *vcpu);
void step_behind(struct vcpu *vcpu);

/**
 * step_ask() - the next exit is wanted; the supervisor's
 * @vm: of this machine, which goes on
 * @client: who wants it
 * @reason: of this name; NULL: any that the guest has caused
 * @skip: but not those that come first
 * Return: NULL, or why not
 */
const char *step_ask(struct vm *vm, const void *client, const char *reason, __u64 skip);
/* It is there; then what it is: see docs/control.schema.json. */
bool step_is_there(const struct vm *vm);
struct json_object *step_answer(struct vm *vm);
/* Whoever this was wants no more: the machine goes on. */
void step_leave(struct vm *vm, const void *client);
/* The machine goes, and another may come. */
void step_end(struct vm *vm);
void step_destroy(struct vm *vm);

#endif /* STEP_H */
