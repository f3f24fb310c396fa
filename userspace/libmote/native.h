/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libmote, internal: executing an instruction of the guest's on this machine's own
 * CPU, with a copy of its memory operand.
 */
#ifndef LIBMOTE_NATIVE_H
#define LIBMOTE_NATIVE_H

#include <stdbool.h>
#include <linux/types.h>

#define MOTE_NATIVE_NR_GPRS 16
/* The largest operand, that of FXSAVE, and room for it at any alignment. */
#define MOTE_NATIVE_OPERAND 512
#define MOTE_NATIVE_BUFFER 576
#define MOTE_NATIVE_XSAVE 16384
#define MOTE_NATIVE_ALIGN 64

/**
 * struct mote_native - an instruction, and the state in which it is executed
 * @gpr: registers, RSP apart, which stays the host's
 * @rflags: of which the arithmetic flags count
 * @code: where the instruction is executed
 * @image: &mote_native.xsave, or NULL: no FPU register is concerned
 * @host: &mote_native.host_xsave, for what the FPU holds meanwhile
 * @features: of XSAVE, which are kept, 0: FXSAVE has all; the layout up to here is native.c's
 * @draft: where the same page can be written
 * @next: another one that no vCPU has
 * @length: of the instruction, in bytes
 * @vector: out: the exception that it raised, or -1; then the registers are as before
 * @xsave: FPU registers, in and out, as XSAVE's standard form
 * @host_xsave: likewise, this process's own
 * @buffer: what holds the memory operand
 */
struct mote_native {
	__u64 gpr[MOTE_NATIVE_NR_GPRS];
	__u64 rflags;
	__u8 *code;
	__u8 *image;
	__u8 *host;
	__u64 features;
	__u8 *draft;
	struct mote_native *next;
	unsigned int length;
	volatile int vector;
	__u8 xsave[MOTE_NATIVE_XSAVE] __attribute__((aligned(MOTE_NATIVE_ALIGN)));
	__u8 host_xsave[MOTE_NATIVE_XSAVE] __attribute__((aligned(MOTE_NATIVE_ALIGN)));
	__u8 buffer[MOTE_NATIVE_BUFFER] __attribute__((aligned(MOTE_NATIVE_ALIGN)));
};

/*
 * For a vCPU; NULL: there is no memory, or none that can be executed.  The first call takes the
 * signals of exceptions, and passes on those that are not ours to whoever had them before.
 */
struct mote_native *mote_native_create(void);
void mote_native_destroy(struct mote_native *native);

/**
 * mote_native_load() - put an instruction where it can be executed
 * @native: there
 * @code: the instruction, position-independent; its memory operand is in @native's buffer
 * @length: in bytes, 15 at most
 */
void mote_native_load(struct mote_native *native, const __u8 *code, unsigned int length);

/* Execute it once. */
void mote_native_run(struct mote_native *native);

/*
 * A signal has come, with @context: was it an exception of an instruction that is executed here?
 * Then it is dealt with.  For who takes these signals from us, after mote_native_create().
 */
bool mote_native_caught(void *context);

#endif /* LIBMOTE_NATIVE_H */
