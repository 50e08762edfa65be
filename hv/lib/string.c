/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The compiler calls these by name. The string instructions are as fast as
 * anything on Zen (CPUID 7 EBX[9], ERMS), and a loop in C would be turned into
 * a call of the function that it stands in. By eights as far as it goes: to
 * Zen it is the same, to software emulation an eighth of the work. */
#include "hv/lib/string.h"

#include <stdint.h>

void *memcpy(void *to, const void *from, size_t count)
{
    void *d = to;
    size_t words = count / 8, bytes = count % 8;
    __asm__ volatile("rep movsq" : "+D"(d), "+S"(from), "+c"(words) : : "memory");
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(from), "+c"(bytes) : : "memory");
    return to;
}

void *memmove(void *to, const void *from, size_t count)
{
    if ((uintptr_t)to - (uintptr_t)from >= count)
        return memcpy(to, from, count);
    /* `to` lies inside [from, from + count): from the end. */
    const char *s = (const char *)from + count - 1;
    char *d = (char *)to + count - 1;
    __asm__ volatile("std; rep movsb; cld" : "+D"(d), "+S"(s), "+c"(count) : : "memory");
    return to;
}

void *memset(void *to, int byte, size_t count)
{
    void *d = to;
    size_t words = count / 8, bytes = count % 8;
    uint64_t pattern = (uint8_t)byte * UINT64_C(0x0101010101010101);
    __asm__ volatile("rep stosq" : "+D"(d), "+c"(words) : "a"(pattern) : "memory");
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(bytes) : "a"(pattern) : "memory");
    return to;
}

int memcmp(const void *a, const void *b, size_t count)
{
    const uint8_t *x = a, *y = b;
    for (; count > 0; count--, x++, y++)
        if (*x != *y)
            return *x - *y;
    return 0;
}

size_t strlen(const char *text)
{
    const char *end = text;
    while (*end != '\0')
        end++;
    return (size_t)(end - text);
}
