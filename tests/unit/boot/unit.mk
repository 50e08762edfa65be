# SPDX-License-Identifier: BSD-2-Clause-Patent
# boot/ as a whole, on a fake of UEFI and of the processor, under AddressSanitizer and UBSan.
#   make -f tests/unit/boot/unit.mk unit-boot

BUILD ?= .build
include linker/record.mk
include tests/unit/boards/boards.mk
GNU_EFI_INCLUDE ?= /usr/include/efi

unit-boot-out := $(BUILD)/unit/boot
unit-boot-in := tests/unit/boot
unit-boot-cflags := -iquote . -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-sanitize=alignment \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror -fshort-wchar -DGNU_EFI_USE_MS_ABI \
	-isystem $(GNU_EFI_INCLUDE) -isystem $(GNU_EFI_INCLUDE)/x86_64
unit-boot-built-with = $(CC_VERSION) $(unit-boot-cflags)
$(eval $(call record,$(unit-boot-out)/built-with,unit-boot-built-with))
unit-boot-libs-start := -Wl,--wrap=manifest_check
unit-boot-tests := start preflight tables devices console power boards
# The application, as boot/boot.mk links it, but for the C library's part.
unit-boot-sources := $(sort $(wildcard boot/*.c)) hv/lib/text.c hv/lib/pagetable.c hv/lib/runs.c hv/lib/pci.c \
	$(addprefix psp/,attach.c command.c discover.c generation.c mailbox.c status.c) \
	guest/manifest.c guest/manifest_registers.c guest/crc32.c
unit-boot-rig := $(unit-boot-in)/machine.c $(unit-boot-in)/uefi.c tests/unit/manifest/good.c
unit-boot-objects := $(patsubst %.c,$(unit-boot-out)/%.o,$(unit-boot-sources) $(unit-boot-rig))

.PHONY: unit-boot
unit-boot: $(unit-boot-tests:%=$(unit-boot-out)/%.passed)

.PRECIOUS: $(unit-boot-out)/%.o $(unit-boot-out)/test_%

$(unit-boot-out)/%.o: %.c $(unit-boot-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-boot-cflags) $(DEPENDS) -include $(unit-boot-in)/fake_x86.h -c $< -o $@

$(unit-boot-out)/test_%: $(unit-boot-out)/$(unit-boot-in)/test_%.o $(unit-boot-objects)
	$(CC) $(unit-boot-cflags) $^ $(unit-boot-libs-$*) -lcmocka -o $@

$(unit-boot-out)/test_boards: $(unit-boot-out)/boards.o

$(unit-boot-out)/boards.o: $(BOARDS_C) $(unit-boot-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-boot-cflags) $(DEPENDS) -c $< -o $@

$(unit-boot-out)/%.passed: $(unit-boot-out)/test_%
	$<
	@touch $@

-include $(call dependencies,$(unit-boot-out))
