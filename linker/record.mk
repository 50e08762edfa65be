# SPDX-License-Identifier: BSD-2-Clause-Patent
# What makes a file out of date: all that the compiler read for it, which it tells itself, and what time stamps do not tell, as
# which compiler and options it was built with. Included by each fragment that compiles something.

ifndef record
# A word for the shell, whatever it holds.
quoted = '$(subst ','\'',$(1))'

# $(eval $(call record,FILE,VARIABLE)): a rule for FILE, which holds VARIABLE's value. What depends on it is built again when the
# value is another one than last time. That is found out here, while make reads its files, so that `make -n` tells the truth.
define record
ifneq ($$(strip $$(file <$(1))),$$(strip $$($(2))))
$(1): always
endif
$(1):
	@mkdir -p $$(@D)
	@printf '%s\n' $$(call quoted,$$(strip $$($(2)))) > $$@
endef

# Rules for $(DEPENDS), which each compilation has among its options: $(call dependencies,FOLDER) are the files with rules that
# it wrote below FOLDER. Where one command compiles and links several sources, `$(call depend,COMMAND,SOURCES)` stands before it.
# A file that has gone since is no error, sources included.
DEPENDS := -MMD -MP
dependencies = $(wildcard $(addprefix $(1)/,*.d */*.d */*/*.d */*/*/*.d))
depend = $(1) -MM -MP -MT $@ $(2) > $@.d $(patsubst %.c,&& echo %.c: >> $@.d,$(filter %.c,$(2)))

# The compiler and its version: $(call version_of,gcc).
version_of = $(1) $(shell $(1) --version 2>/dev/null | head -n 1)
ifeq ($(origin CC),default)
CC := gcc
endif
CC_VERSION := $(call version_of,$(CC)) $(DEPENDS)

# A prerequisite of what is always made; the recipe leaves its file alone when nothing changed.
.PHONY: always
endif
