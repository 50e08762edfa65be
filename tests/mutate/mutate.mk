# SPDX-License-Identifier: BSD-2-Clause-Patent
# Would the tests notice? MUTATE has options for mutate.py, e.g. MUTATE="--files 'psp/*.c' --each 20 --seed 7".

MUTATE ?= --total 300

.PHONY: do-mutate
do-mutate:
	@+$(AGAIN) do-image
	@+$(AGAIN) tests-parts
	@$(PYTHON) tests/mutate/mutate.py --build $(BUILD) --carry $(addprefix $(BUILD)/,guest unit boot hv) $(MUTATE)
