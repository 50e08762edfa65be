# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The guest owner's side of a SEV launch; owner.py is the command."""
