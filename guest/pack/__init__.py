# SPDX-License-Identifier: BSD-2-Clause-Patent
"""The packer: guests.toml -> launch program. One job per module; pack.py is the command."""
