/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* IN and OUT. */
#ifndef SEVISOR_EXIT_IO_H
#define SEVISOR_EXIT_IO_H

#include "hv/vm/vcpu.h"

void exit_ioio(struct vcpu *vcpu);

#endif
