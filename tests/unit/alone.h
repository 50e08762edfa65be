/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* For what happens once in a machine's life: each test in a process of its own, so that static variables are fresh, and
 * longjmp() out of the product does no harm. After cmocka.h. */
#ifndef TESTS_UNIT_ALONE_H
#define TESTS_UNIT_ALONE_H

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* For main() to return. */
static inline int run_each_alone(const struct CMUnitTest *tests, size_t count)
{
    int failures = 0;
    for (size_t i = 0; i < count; i++) {
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            int failed = _cmocka_run_group_tests(tests[i].name, &tests[i], 1, NULL, NULL);
            fflush(NULL);
            _exit(failed != 0);
        }
        int status;
        waitpid(child, &status, 0);
        failures += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }
    return failures != 0;
}

#endif
