# SPDX-License-Identifier: BSD-2-Clause-Patent
# The hypervisor: $(HV_IMAGE), a flat image that boot/ carries as PE section `.hv`, and $(HV_ELF), the same with symbols.

BUILD ?= .build
LD ?= ld
OBJCOPY ?= objcopy
NASM ?= nasm

include linker/record.mk
include linker/flags.mk

HV_DIR := $(BUILD)/hv
HV_ELF := $(HV_DIR)/hv.elf
HV_IMAGE := $(HV_DIR)/hv.bin

# The preflight has discovered the Secure Processor.
HV_SOURCES := $(sort $(wildcard hv/*/*.c) $(filter-out psp/discover.c,$(wildcard psp/*.c)))
HV_ASSEMBLY := $(sort $(wildcard hv/*/*.asm))
HV_OBJECTS := $(HV_SOURCES:%.c=$(HV_DIR)/%.o) $(HV_ASSEMBLY:%.asm=$(HV_DIR)/%.asm.o)

HV_CFLAGS := $(PRODUCT_CFLAGS) -fno-pic -mcmodel=kernel
HV_LDFLAGS := $(PRODUCT_LDFLAGS) -static --no-dynamic-linker

HV_BUILT_WITH = $(CC_VERSION) $(subst $(CURDIR),,$(HV_CFLAGS)) $(LD) $(HV_LDFLAGS) $(OBJCOPY) $(NASM) $(HV_SOURCES) $(HV_ASSEMBLY)
$(eval $(call record,$(HV_DIR)/built-with,HV_BUILT_WITH))

.PHONY: hv
hv: $(HV_IMAGE)

$(HV_DIR)/%.o: %.c $(HV_DIR)/built-with
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) $(DEPENDS) -c $< -o $@

$(HV_DIR)/%.asm.o: %.asm $(HV_DIR)/built-with
	@mkdir -p $(@D)
	$(NASM) -f elf64 -I $(HV_DIR)/svm/ -MD $(@:.o=.d) -MT $@ -MP $< -o $@

$(HV_ELF): $(HV_OBJECTS) linker/hv.ld $(HV_DIR)/built-with
	$(LD) $(HV_LDFLAGS) -T linker/hv.ld $(HV_OBJECTS) -o $@

$(HV_IMAGE): $(HV_ELF)
	$(OBJCOPY) -O binary $< $@

include hv/svm/offsets.mk
-include $(HV_OBJECTS:.o=.d)
