/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#ifndef SEVISOR_VERSION_H
#define SEVISOR_VERSION_H

#define SEVISOR_VERSION "0.1"

#endif
