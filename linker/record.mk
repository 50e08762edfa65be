# SPDX-License-Identifier: BSD-2-Clause-Patent
# What time stamps do not tell: with which compiler and options a file was built, or from which choice of inputs.
# Included by each fragment that needs it.

ifndef record
# A word for the shell, whatever it holds.
quoted = '$(subst ','\'',$(1))'

# $(eval $(call record,FILE,VARIABLE)): a rule for FILE, which holds VARIABLE's value. What depends on it is built again when the
# value is another one than last time. That is found out here, while make reads its files, so that `make -n` tells the truth.
define record
ifneq ($$(strip $$(file <$(1))),$$(strip $$($(2))))
$$(shell rm -f $(1))
endif
$(1):
	@mkdir -p $$(@D)
	@printf '%s\n' $$(call quoted,$$(strip $$($(2)))) > $$@
endef

# The compiler and its version: $(call version_of,gcc).
version_of = $(1) $(shell $(1) --version 2>/dev/null | head -n 1)
ifeq ($(origin CC),default)
CC := gcc
endif
CC_VERSION := $(call version_of,$(CC))

# A prerequisite of what is always made; the recipe leaves its file alone when nothing changed.
.PHONY: always
endif
