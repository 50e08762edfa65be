/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What README.md lists as objects, as files. */
#ifndef SEVISOR_CONTROL_OBJECTS_H
#define SEVISOR_CONTROL_OBJECTS_H

#include <stddef.h>
#include <stdint.h>

/* gdb's numbers (GDB manual, appendix E.15.8.4). */
enum objects_errno {
    OBJECTS_ENOENT = 2,
    OBJECTS_EIO = 5,
    OBJECTS_EBADF = 9,
    OBJECTS_EACCES = 13,
    OBJECTS_EBUSY = 16,
    OBJECTS_ENODEV = 19,
    OBJECTS_EINVAL = 22,
    OBJECTS_EMFILE = 24,
    OBJECTS_EFBIG = 27,
    OBJECTS_ENOSPC = 28,
};

/* gdb's flags of open(). */
#define OBJECTS_READ 0u
#define OBJECTS_WRITE 1u
#define OBJECTS_READ_WRITE 2u

/* All return a number from 0, or -errno, and ask_why() has the words. */
int objects_open(const char *path, size_t length, uint64_t flags);
int objects_read(uint64_t number, uint64_t offset, void *bytes, size_t size);
int objects_write(uint64_t number, uint64_t offset, const void *bytes, size_t size);
int objects_size(uint64_t number);
int objects_close(uint64_t number);
int objects_unlink(void);
/* Without carrying anything out. */
void objects_close_all(void);

#endif
