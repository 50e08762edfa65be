/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The part of C's <string.h> that a freestanding program must bring along. */
#ifndef SEVISOR_STRING_H
#define SEVISOR_STRING_H

#include <stddef.h>

void *memcpy(void *to, const void *from, size_t count);
void *memmove(void *to, const void *from, size_t count);
void *memset(void *to, int byte, size_t count);
int memcmp(const void *a, const void *b, size_t count);
size_t strlen(const char *text);

#endif
