# SPDX-License-Identifier: BSD-2-Clause-Patent
# The guest that means harm, into $(BUILD)/guest/hostile.bin: one flat image, whose command line names the attacks.
#   make -f guest/guest.mk -f tests/hostile/hostile.mk .build/guest/hostile.bin

NASM ?= nasm
HOSTILE_DIR := tests/hostile/guest
HOSTILE_OUT := $(GUEST_DIR)/hostile
HOSTILE_BIN := $(GUEST_DIR)/hostile.bin
HOSTILE_OBJECTS := $(addprefix $(HOSTILE_OUT)/,hostile.o probes.o control.o storms.o tables.o ends.o crowd.o \
	faults.o modes.o traps.o ap.o)

$(HOSTILE_OUT):
	mkdir -p $@

$(HOSTILE_OUT)/%.o: $(HOSTILE_DIR)/%.c $(GUEST_DIR)/built-with | $(HOSTILE_OUT)
	$(CC) $(GUEST_HELLO_CFLAGS) $(DEPENDS) -c $< -o $@

$(HOSTILE_OUT)/%.o: $(HOSTILE_DIR)/%.asm tests/hostile/hostile.mk | $(HOSTILE_OUT)
	$(NASM) -f elf64 -Werror -MD $(@:.o=.d) -MT $@ -MP $< -o $@

# Where vCPUs begin is the same for all flat guests.
$(HOSTILE_OUT)/ap.o: tests/bench/guest/ap.asm tests/hostile/hostile.mk | $(HOSTILE_OUT)
	$(NASM) -f elf64 -Werror $< -o $@

$(HOSTILE_OUT)/hostile.elf: $(HOSTILE_OBJECTS) $(HOSTILE_DIR)/hostile.ld
	$(LD) -nostdlib -static --build-id=none --no-warn-rwx-segments -z noexecstack -T $(HOSTILE_DIR)/hostile.ld \
		$(HOSTILE_OBJECTS) -o $@

$(HOSTILE_BIN): $(HOSTILE_OUT)/hostile.elf
	$(OBJCOPY) -O binary $< $@

-include $(call dependencies,$(HOSTILE_OUT))
