/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Between the vCPUs of a guest: interrupts, NMI, INIT, startup. */
#ifndef SEVISOR_IPI_H
#define SEVISOR_IPI_H

#include "hv/vm/vcpu.h"

/* An ICR that `vcpu` wrote, to the vCPUs that it addresses; without itself where vlapic_write() has done that. */
void ipi_send(struct vcpu *vcpu, uint64_t icr);
/* An interrupt from hv itself, to a vCPU whose guest is not ending. On the boot CPU. */
void ipi_raise(struct vcpu *vcpu, uint8_t vector);
/* What others sent to it, into its vlapic and its state. On its own CPU. */
void ipi_take(struct vcpu *vcpu);
/* A vCPU that sleeps with interrupts off: only an IPI can wake it. When all vCPUs of its guest wait so, the guest ends. On its
 * own CPU, after ipi_take(). */
void ipi_await(struct vcpu *vcpu);

#endif
