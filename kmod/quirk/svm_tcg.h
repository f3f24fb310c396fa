/* SPDX-License-Identifier: GPL-2.0 */
/* QEMU's translator as an AMD CPU: see svm_tcg.c. */
#ifndef MOTE_SVM_TCG_H
#define MOTE_SVM_TCG_H

#include "../svm.h"

/* Inject an interrupt as a virtual one; take it back after the exit if it still pends. */
void svm_inject_virtual(struct svm_vcpu *svm, u8 vector);
void svm_take_virtual_back(struct svm_vcpu *svm);

/* Before an entry with RARE_SHADOW: step over the instruction in the shadow. */
void svm_keep_shadow(struct svm_vcpu *svm);

/* After whatever may have left the vCPU in a shadow. */
static inline void svm_notice_shadow(struct svm_vcpu *svm)
{
	if (svm_host_extras & EXTRA_TCG && svm_in_shadow(svm))
		svm->rare |= RARE_SHADOW;
}

#endif /* MOTE_SVM_TCG_H */
