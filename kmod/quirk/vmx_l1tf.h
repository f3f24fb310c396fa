/* SPDX-License-Identifier: GPL-2.0 */
/* The L1 data cache is emptied before an entry, where the host wants that. */
#ifndef MOTE_VMX_L1TF_H
#define MOTE_VMX_L1TF_H

#include <linux/jump_label.h>

DECLARE_STATIC_KEY_FALSE(vmx_l1d_flush_key);

int vmx_l1d_setup(void);
void vmx_l1d_teardown(void);
/* @after_host: more of the host ran since the last exit than its handling by mote. */
void vmx_l1d_flush(bool after_host);

#endif /* MOTE_VMX_L1TF_H */
