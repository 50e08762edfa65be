/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The control interface (guest/control.h): the control guest's window, its requests, and what it is told. On the boot CPU. */
#ifndef SEVISOR_CONTROL_H
#define SEVISOR_CONTROL_H

#include "hv/control/job.h"

/* Allocates, clears and maps the window, at the control guest's launch. False: no memory; control_close() frees the rest. */
bool control_open(struct guest *guest);
/* Scrubs and frees it, if there is one, and lets guests go on that the control guest has paused. False: a request is under way, or a
 * guest is not paused yet; to be called again. */
bool control_close(struct guest *guest);
/* Often: begins the request whose doorbell was rung, as a job, and writes events. */
void control_poll(void);
struct job *control_job(void);
enum job_verdict control_step(struct job *job);

#endif
