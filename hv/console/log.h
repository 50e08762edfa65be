/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's log. The level says where the fault lies. */
#ifndef SEVISOR_LOG_H
#define SEVISOR_LOG_H

#include "hv/lib/text.h"
#include "hv/lib/types.h"

enum log_level {
    LOG_FATAL,      /* our own broken invariant */
    LOG_ERROR,      /* the platform */
    LOG_NOTICE,     /* the operator's business */
    LOG_GUEST,      /* a guest misbehaved: rate-limited, never an error of ours */
    LOG_DEBUG,
    LOG_GUEST_COUNTED,  /* as LOG_GUEST, but all of it is printed: the caller counts, and has a limit */
};

/* Conversions as in text_format(). One call writes one line "[   seconds.micros] level: text" to the console. */
void log_print(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What is printed: a level more or less, in the list's order; at first all but LOG_DEBUG. Returns the level's name; *left_out:
 * lines that were not printed for their level. */
const char *log_change_level(bool more, uint64_t *left_out);

#endif
