/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The registers of a vCPU as gdb numbers them. */
#ifndef SEVISOR_CONTROL_REGISTERS_H
#define SEVISOR_CONTROL_REGISTERS_H

#include "guest/control.h"
#include "guest/control/text.h"

/* The target's description (target.xml). */
void registers_describe(struct text *text);
/* All of them, in order; those that are not to be had as x. `vcpu` NULL: none is. */
void registers_add_all(struct text *text, const struct control_vcpu *vcpu);
/* False: no such register, or too few digits. What cannot be changed is skipped. */
bool registers_set_all(struct control_vcpu *vcpu, struct cursor *cursor);
bool registers_add(struct text *text, const struct control_vcpu *vcpu, uint64_t number);
bool registers_set(struct control_vcpu *vcpu, uint64_t number, struct cursor *cursor);

#endif
