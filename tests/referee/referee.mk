# SPDX-License-Identifier: BSD-2-Clause-Patent
# The referee's programs, static: they run in an initramfs without libraries.

REFEREE_PROGRAMS := $(addprefix $(BUILD)/referee/,devsev kvmabuse kvmrun mboxabuse)
REFEREE_CFLAGS := -std=gnu17 -O2 -Wall -Wextra -Wshadow -Werror -static -pthread

.PHONY: referee-programs
referee-programs: $(REFEREE_PROGRAMS)

$(BUILD)/referee/kvmrun: tests/referee/kvmrun.c $(GUEST_VALIDATOR_SOURCES) $(GUEST_VALIDATOR_HEADERS)
	@mkdir -p $(@D)
	$(CC) $(REFEREE_CFLAGS) -Iguest $(filter %.c,$^) -o $@

MBOX := $(addprefix tests/referee/,mboxabuse.c mboxsweep.c mboxregs.c mboxrandom.c mboxtable.c mbox.c)

$(BUILD)/referee/mboxabuse: $(MBOX) tests/referee/mbox.h
	@mkdir -p $(@D)
	$(CC) $(REFEREE_CFLAGS) $(MBOX) -o $@

$(BUILD)/referee/%: tests/referee/%.c
	@mkdir -p $(@D)
	$(CC) $(REFEREE_CFLAGS) $< -o $@
