# SPDX-License-Identifier: BSD-2-Clause-Patent
# Fresh Debian releases, in which the set-up installs what it needs: nothing is installed here. No part of `make test`, since it
# takes root, a mirror, and some ten minutes for each release. DISTRO has options for distro.py, e.g. DISTRO="trixie --run".

DISTRO ?=

.PHONY: test-distro
test-distro:
	@$(PYTHON) tests/distro/distro.py $(DISTRO)
