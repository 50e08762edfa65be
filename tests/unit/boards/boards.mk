# SPDX-License-Identifier: BSD-2-Clause-Patent
# Values of real boards as C. Included by the fragments whose programs take them as input: $(BOARDS_C).

ifndef BOARDS_C
BOARDS_IN := tests/unit/boards
BOARDS_C := $(BUILD)/unit/boards/boards.c
# A file that is added or taken away makes it out of date, too.
BOARDS_FILES := $(sort $(wildcard $(BOARDS_IN)/*.toml))
$(eval $(call record,$(BUILD)/unit/boards/files,BOARDS_FILES))

$(BOARDS_C): $(BOARDS_IN)/boards.py $(BOARDS_FILES) $(BUILD)/unit/boards/files
	@mkdir -p $(@D)
	python3 $< $@
endif
