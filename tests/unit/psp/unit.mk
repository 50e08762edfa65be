# SPDX-License-Identifier: BSD-2-Clause-Patent
# Unit tests of psp/, with the firmware and mailbox models behind it.
# Included from the top Makefile; also: make -f tests/unit/psp/unit.mk unit-psp

BUILD ?= .build
include linker/record.mk
include linker/flags.mk
include tests/unit/boards/boards.mk

unit-psp-out := $(BUILD)/unit/psp
unit-psp-cflags := -iquote . -std=gnu17 -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wmissing-prototypes -Werror
unit-psp-libs := -lcmocka -lnettle -lhogweed -lgmp

unit-psp-driver := $(sort $(wildcard psp/*.c))
unit-psp-models := $(addprefix tests/machine/firmware/,$(shell cat tests/machine/firmware/sources.txt))
unit-psp-built-with = $(CC_VERSION) $(unit-psp-cflags)
$(eval $(call record,$(unit-psp-out)/built-with,unit-psp-built-with))
unit-psp-tests := discover status abi launch faults boards

unit-psp-objects = $(patsubst %.c,$(unit-psp-out)/%.o,$(1))

# What each program links; discovery alone, as boot/ does.
unit-psp-discover := psp/discover.c psp/generation.c tests/unit/psp/fake_pci.c
unit-psp-status := psp/status.c $(filter-out psp/status.c,$(unit-psp-driver)) hv/lib/text.c tests/unit/psp/fake_pci.c \
	tests/unit/psp/fake_platform.c $(unit-psp-models)
unit-psp-boards := $(unit-psp-status)
unit-psp-abi := $(unit-psp-status)
unit-psp-launch := $(unit-psp-status) tests/unit/psp/launch.c
unit-psp-faults := $(unit-psp-launch)

.PHONY: unit-psp unit-psp-freestanding

unit-psp: unit-psp-freestanding $(unit-psp-tests:%=$(unit-psp-out)/%.passed)

$(unit-psp-out)/%.o: %.c $(unit-psp-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-psp-cflags) $(DEPENDS) -c $< -o $@

define unit-psp-program
$(unit-psp-out)/test_$(1): $(call unit-psp-objects,tests/unit/psp/test_$(1).c $(unit-psp-$(1)))
	$$(CC) $$(unit-psp-cflags) $$^ $$(unit-psp-libs) -o $$@

$(unit-psp-out)/$(1).passed: $(unit-psp-out)/test_$(1) tests/unit/psp/abi_facts.txt
	$$< $(if $(filter abi,$(1)),tests/unit/psp/abi_facts.txt)
	@touch $$@
endef
$(foreach t,$(unit-psp-tests),$(eval $(call unit-psp-program,$(t))))

$(unit-psp-out)/test_boards: $(unit-psp-out)/boards.o

$(unit-psp-out)/boards.o: $(BOARDS_C) $(unit-psp-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-psp-cflags) $(DEPENDS) -c $< -o $@

# The driver as hv/ compiles it, with each compiler that is there; it may call
# its platform, the four memory functions, text_format() and the two of mmio.h, nothing else.
unit-psp-strict := -iquote . -std=c17 -ffreestanding -O2 $(WARNINGS) -mgeneral-regs-only -mno-red-zone
unit-psp-compilers := $(foreach c,gcc clang,$(if $(shell command -v $(c)),$(c)))

unit-psp-freestanding: $(unit-psp-compilers:%=$(unit-psp-out)/freestanding-%.passed)

$(unit-psp-out)/freestanding-%.passed: $(unit-psp-driver) tests/unit/psp/unit.mk
	@mkdir -p $(unit-psp-out)/$*
	@$(call depend,$* $(unit-psp-strict),$(unit-psp-driver))
	for f in $(unit-psp-driver); do \
		$* $(unit-psp-strict) -c $$f -o $(unit-psp-out)/$*/$$(basename $$f .c).o || exit 1; done
	$(LD) -r $(unit-psp-driver:psp/%.c=$(unit-psp-out)/$*/%.o) -o $(unit-psp-out)/$*/psp.o
	@! nm -u $(unit-psp-out)/$*/psp.o | grep -vE ' (psp_platform_[a-z0-9_]+|memcpy|memmove|memset|memcmp|text_format|mmio_(read|write)32)$$'
	@touch $@

-include $(call dependencies,$(unit-psp-out))
