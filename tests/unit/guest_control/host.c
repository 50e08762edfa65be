/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The control guest as a program: its line is stdin and stdout, its hypervisor a model. gdb: target extended-remote | control-host
 * An argument is a file of its platform's certificates: PDH, PEK, OCA, CEK. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "guest/control/ask.h"
#include "guest/control/machine.h"
#include "guest/control/server.h"
#include "tests/unit/guest_control/fake_hv.h"

void machine_sleep(void)
{
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};

    poll(&line, 1, 20);
    fake_time();
}

uint64_t machine_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int machine_receive(void)
{
    struct pollfd line = {.fd = STDIN_FILENO, .events = POLLIN};
    uint8_t byte;
    ssize_t got;

    if (poll(&line, 1, 0) <= 0)
        return -1;
    got = read(STDIN_FILENO, &byte, 1);
    if (got == 0)
        exit(0); /* the client has gone */
    return got == 1 ? byte : -1;
}

void machine_send(const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t sent = write(STDOUT_FILENO, bytes, size);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            exit(0);
        bytes += sent;
        size -= (size_t)sent;
    }
}

static void read_certificates(const char *path)
{
    FILE *file = fopen(path, "rb");

    if (file == NULL || fread(fake_hv.certificates, sizeof(fake_hv.certificates), 1, file) != 1) {
        perror(path);
        exit(1);
    }
    fclose(file);
}

int main(int argc, char **argv)
{
    fake_start();
    if (argc > 1)
        read_certificates(argv[1]);
    ask_start();
    for (;;) {
        int byte;

        while ((byte = machine_receive()) >= 0)
            server_byte((uint8_t)byte);
        server_poll();
        machine_sleep();
    }
}
