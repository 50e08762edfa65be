/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The hypervisor's own validator as a command, for the packer's tests:
 *   manifest-check FILE...
 * prints one line per file, `FILE: MANIFEST_OK` or the error's name, where it
 * is, and its sentence; returns 0 when all are sound.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "guest/manifest.h"

static void *read_file(const char *path, uint64_t *size)
{
    FILE *file = fopen(path, "rb");
    void *bytes = NULL;
    long length;

    if (file == NULL)
        return NULL;
    if (fseek(file, 0, SEEK_END) == 0 && (length = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        bytes = malloc(length > 0 ? (size_t)length : 1);
        *size = (uint64_t)length;
        if (bytes != NULL && fread(bytes, 1, (size_t)length, file) != (size_t)length) {
            free(bytes);
            bytes = NULL;
        }
    }
    fclose(file);
    return bytes;
}

int main(int argc, char **argv)
{
    int status = 0;

    if (argc < 2) {
        fputs("usage: manifest-check FILE...\n", stderr);
        return 2;
    }
    for (int i = 1; i < argc; i++) {
        struct manifest_where where;
        enum manifest_error error;
        uint64_t size = 0;
        void *bytes = read_file(argv[i], &size);

        if (bytes == NULL) {
            perror(argv[i]);
            return 2;
        }
        error = manifest_check(bytes, size, &where);
        printf("%s: %s", argv[i], manifest_error_name(error));
        if (error != MANIFEST_OK) {
            printf(" guest %d step %d: %s", where.guest, where.step, manifest_error_text(error));
            status = 1;
        }
        putchar('\n');
        free(bytes);
    }
    return status;
}
