# SPDX-License-Identifier: BSD-2-Clause-Patent
"""Errors that are meant for the person who packs."""


class PackError(Exception):
    """Something that a person can correct; the text says where and what."""
