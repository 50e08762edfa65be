# SPDX-License-Identifier: BSD-2-Clause-Patent
# The referee's programs, static: they run in an initramfs without libraries.

REFEREE_PROGRAMS := $(addprefix $(BUILD)/referee/,devsev kvmabuse kvmmove kvmrun mboxabuse)
REFEREE_CFLAGS := -iquote . -std=gnu17 -O2 -Wall -Wextra -Wshadow -Werror -static -pthread

REFEREE_BUILT_WITH = $(CC_VERSION) $(REFEREE_CFLAGS)
$(eval $(call record,$(BUILD)/referee/built-with,REFEREE_BUILT_WITH))

.PHONY: referee-programs
referee-programs: $(REFEREE_PROGRAMS)

KVMRUN := tests/referee/kvmrun.c tests/referee/kvmcarry.c $(GUEST_VALIDATOR_SOURCES)

$(BUILD)/referee/kvmrun: $(KVMRUN) $(BUILD)/referee/built-with
	@mkdir -p $(@D)
	@$(call depend,$(CC) $(REFEREE_CFLAGS),$(KVMRUN))
	$(CC) $(REFEREE_CFLAGS) $(KVMRUN) -o $@

MBOX := $(addprefix tests/referee/,mboxabuse.c mboxsweep.c mboxregs.c mboxrandom.c mboxtable.c mbox.c)

$(BUILD)/referee/mboxabuse: $(MBOX) $(BUILD)/referee/built-with
	@mkdir -p $(@D)
	@$(call depend,$(CC) $(REFEREE_CFLAGS),$(MBOX))
	$(CC) $(REFEREE_CFLAGS) $(MBOX) -o $@

$(BUILD)/referee/%: tests/referee/%.c $(BUILD)/referee/built-with
	@mkdir -p $(@D)
	@$(call depend,$(CC) $(REFEREE_CFLAGS),$<)
	$(CC) $(REFEREE_CFLAGS) $< -o $@

-include $(call dependencies,$(BUILD)/referee)
