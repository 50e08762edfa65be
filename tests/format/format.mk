# SPDX-License-Identifier: BSD-2-Clause-Patent
# The layout of the code is the tools' work.

.PHONY: do-format
do-format:
	@$(PYTHON) tests/format/layout.py
