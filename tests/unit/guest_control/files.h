/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Objects as files, by vFile packets on the line. */
#ifndef TESTS_UNIT_GUEST_CONTROL_FILES_H
#define TESTS_UNIT_GUEST_CONTROL_FILES_H

#include <stddef.h>
#include <stdint.h>

#define FILES_READ 0
#define FILES_WRITE 0x601 /* O_WRONLY, O_CREAT, O_TRUNC, as gdb puts files */
#define FILES_READ_WRITE 2

extern char files_content[0x8000];

/* All return a number from 0, or -errno. What follows F: */
int files_result(const char *reply);
int files_open(const char *path, int flags);
int files_close(int number);
/* Into files_content, from `offset` of the object on. */
int files_read(int number, size_t count, uint64_t offset);
int files_write(int number, uint64_t offset, const void *bytes, size_t size);
/* All of it; its length. */
int files_get(const char *path);
int files_put(const char *path, const void *bytes, size_t size);

#endif
