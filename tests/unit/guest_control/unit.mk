# SPDX-License-Identifier: BSD-2-Clause-Patent
# The control guest without its hardware, under AddressSanitizer and UBSan.
#   make -f tests/unit/guest_control/unit.mk unit-guest-control
# $(CONTROL_HOST): it as a program on stdin and stdout, for gdb.

BUILD ?= .build
include linker/record.mk

unit-guest-control-out := $(BUILD)/unit/guest_control
unit-guest-control-in := tests/unit/guest_control
unit-guest-control-cflags := -iquote . -std=gnu17 -D_GNU_SOURCE -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all \
	-Wall -Wextra -Wshadow -Wcast-qual -Wundef -Wvla -Werror
unit-guest-control-built-with = $(CC_VERSION) $(unit-guest-control-cflags)
$(eval $(call record,$(unit-guest-control-out)/built-with,unit-guest-control-built-with))
unit-guest-control-tests := rsp memory server objects moves bulk leave
CONTROL_HOST := $(unit-guest-control-out)/control-host

unit-guest-control-guest := $(filter-out guest/control/main.c guest/control/string.c,$(sort $(wildcard guest/control/*.c))) guest/crc32.c
unit-guest-control-common := $(unit-guest-control-guest) $(unit-guest-control-in)/fake_hv.c $(unit-guest-control-in)/fake_moves.c $(unit-guest-control-in)/fake_lab.c

.PHONY: unit-guest-control
unit-guest-control: $(unit-guest-control-tests:%=$(unit-guest-control-out)/%.passed) $(CONTROL_HOST)

$(unit-guest-control-out)/%.o: %.c $(unit-guest-control-out)/built-with
	@mkdir -p $(@D)
	$(CC) $(unit-guest-control-cflags) $(DEPENDS) -c $< -o $@

$(CONTROL_HOST): $(patsubst %.c,$(unit-guest-control-out)/%.o,$(unit-guest-control-common) $(unit-guest-control-in)/host.c)
	$(CC) $(unit-guest-control-cflags) $^ -o $@

define unit-guest-control-program
$(unit-guest-control-out)/test_$(1): $(patsubst %.c,$(unit-guest-control-out)/%.o,$(unit-guest-control-in)/test_$(1).c $(unit-guest-control-in)/line.c $(unit-guest-control-in)/files.c $(unit-guest-control-common))
	$$(CC) $$(unit-guest-control-cflags) $$^ -lcmocka -o $$@

$(unit-guest-control-out)/$(1).passed: $(unit-guest-control-out)/test_$(1)
	$$<
	@touch $$@
endef
$(foreach t,$(unit-guest-control-tests),$(eval $(call unit-guest-control-program,$(t))))

-include $(call dependencies,$(unit-guest-control-out))
