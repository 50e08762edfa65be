# SPDX-License-Identifier: BSD-2-Clause-Patent
# Sevisor. `make` alone lists what can be made; each room's own rules are in its *.mk.
#
# What a person calls (help lists it) first makes sure of the packages, then
# calls this file again: the second time around, all tools that the rooms'
# fragments ask for are there.

BUILD ?= .build
PYTHON ?= /usr/bin/python3
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
ifeq ($(origin CC),default)
CC := gcc
endif
export BUILD PYTHON
# The project's Python leaves no droppings in the tree.
export PYTHONDONTWRITEBYTECODE = 1

# What the guests of `make image` and `make run` are; see guest/pack.py --help.
GUESTS ?= guest/guests.toml
# More words for tests/system/run.py, e.g. RUN="--stock --memory 4G".
RUN ?=
# More words for pytest, e.g. PYTEST="-k privacy -x".
PYTEST ?=
# With all other tests the fuzzers run for less than the minute that they have alone, if nobody chose.
ifeq ($(origin FUZZ_SECONDS),undefined)
do-test: export FUZZ_SECONDS = 20
endif
# Tests at a time. Each keeps about one CPU busy, and takes up to 5 GiB of memory.
AT_ONCE ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

ifneq ($(words $(BUILD)),1)
$(error BUILD="$(BUILD)": the folder of what is built must have a name without spaces)
endif

EFI := $(BUILD)/BOOTX64.EFI
IMAGE := $(BUILD)/sevisor.img

.PHONY: help
help:
	@echo "Sevisor: a type-1 hypervisor for SEV-encrypted guests, in one UEFI file."
	@echo
	@echo "  make run         set up, build, and boot the default guests in the emulated SEV machine"
	@echo "  make test        set up, build, and run all tests"
	@echo
	@echo "  make all         everything but running it"
	@echo "  make machine     the emulated SEV machine (QEMU; built once, then cached outside the tree)"
	@echo "  make image       $(IMAGE): the bootable disk, for dd to a USB stick; the EFI file for PXE"
	@echo "                   is $(EFI)"
	@echo "  make setup       the packages of tests/setup/packages.txt"
	@echo "  make clean       delete $(BUILD)"
	@echo
	@echo "  one tier of the tests alone:"
	@echo "  make test-unit   every pure module, on this machine, under sanitizers"
	@echo "  make test-pack   the packer, the guest owner's and the operator's tools"
	@echo "  make test-fuzz   the fuzzers, a minute each (FUZZ_SECONDS=...)"
	@echo "  make test-stock  boots in Debian's own QEMU, which has no SEV"
	@echo "  make test-sev    launches encrypted guests in the SEV machine"
	@echo "  make test-bench  counts what exits cost, and compares with before and with KVM"
	@echo "  make test-referee  lets Debian's own Linux judge the SEV machine"
	@echo
	@echo "  make test-distro  builds and tests in fresh Debian 12 and 13 (root; no part of make test; DISTRO=--help)"
	@echo "  make format      lays out the code, as test-unit checks it"
	@echo "  make mutate      breaks the product in one place at a time: would the tests notice? (an hour; MUTATE=--help)"
	@echo
	@echo "  GUESTS=FILE      other guests than $(GUESTS)"
	@echo "  RUN=WORDS        options for tests/system/run.py (RUN=--help lists them)"
	@echo "  PYTEST=WORDS     options for pytest, e.g. PYTEST='-k privacy'"
	@echo "  AT_ONCE=NUMBER   tests at a time ($(AT_ONCE))"
	@echo "  V=1              show every command"

# ---------------------------------------------------------------- set-up, then the work

PUBLIC := all machine image run test test-unit test-pack test-fuzz test-stock test-sev test-bench \
	test-referee mutate format
# Quiet but for progress, unless V=1; as many jobs as there are CPUs, unless somebody chose.
AGAIN = $(MAKE) --no-print-directory $(if $(V),,-s) $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

.PHONY: setup $(PUBLIC) $(PUBLIC:%=do-%)
setup:
	@tests/setup/install

$(PUBLIC): | setup
	@+$(AGAIN) do-$@

include guest/guest.mk hv/hv.mk boot/boot.mk
include $(sort $(wildcard tests/*/*.mk tests/unit/*/unit.mk))

# ---------------------------------------------------------------- the product

progress = @printf '== %s\n' "$(1)"

do-machine:
	$(call progress,SEV machine: QEMU with an AMD Secure Processor (minutes the first time; then cached))
	@tests/machine/build

# For the shell: fails if no guest in a file of guests has the kernel that GUEST_KERNEL names.
names_kernel = [ ! -f $(1) ] || grep -q '^[^\#]*kernel[^\#]*[$$]{BUILD}/vmlinuz"' $(1) || \
	{ echo "GUEST_KERNEL is given, but in "$(1)' no guest has kernel = "$${BUILD}/vmlinuz": name your kernel there' >&2; exit 1; }

# Packed: the hypervisor with its guests, one file. Always packed, since no time stamp says which guests are in it; the
# file is replaced if its bytes differ.
$(EFI): $(BUILD)/boot/sevisor.efi $(GUEST_PARTS) always
	$(if $(strip $(value GUESTS)),,$(error GUESTS is empty: give a file of guests, or leave GUESTS out for guest/guests.toml))
	$(if $(strip $(value GUEST_KERNEL)),@$(call names_kernel,$(call quoted,$(value GUESTS))))
	$(PYTHON) guest/pack.py $(call quoted,$(value GUESTS)) --set BUILD=$(BUILD)/guest --efi $< -o $@ --changes

$(IMAGE): efi
	$(call progress,disk image)
	$(PYTHON) tests/system/image.py $@ --boot $(EFI)

.PHONY: efi
efi:
	$(call progress,hypervisor and guests)
	@+$(AGAIN) $(EFI)

do-image: $(IMAGE)

# In this order: two makes at a time would build the same files.
do-all:
	@+$(AGAIN) do-machine
	@+$(AGAIN) do-image
	@+$(AGAIN) tests-parts

# In this order, so that what is shown can be read; each step is quick when nothing changed.
do-run:
	@+$(AGAIN) do-machine
	@+$(AGAIN) do-image
	$(call progress,power on)
	@$(PYTHON) tests/system/run.py --image $(IMAGE) $(RUN)

# ---------------------------------------------------------------- the tests

# What tests need besides the product.
.PHONY: tests-parts
tests-parts: $(SYSTEM_EFI) $(SYSTEM_GUESTS) $(SEVFW_TOOL) $(MANIFEST_CHECK) $(GUEST_PARTS) \
	$(BUILD)/boot/sevisor.efi $(HOSTILE_BIN) $(SMPTEST_INITRAMFS) bench-guest referee-programs $(CONTROL_HOST) \
	$(GUEST_LOCKED)/initramfs.cpio.gz

pytest = $(PYTHON) -m pytest -c tests/pytest.ini --rootdir=. -n $(AT_ONCE) --dist loadgroup $(1) $(PYTEST) tests

do-test:
	@+$(AGAIN) do-machine
	@+$(AGAIN) do-image
	@+$(AGAIN) tests-parts
	$(call progress,tests)
	@$(call pytest,)

do-test-unit do-test-pack do-test-fuzz:
	@+$(AGAIN) tests-parts
	@$(call pytest,-m $(@:do-test-%=%))

do-test-stock:
	@+$(AGAIN) do-image
	@+$(AGAIN) tests-parts
	@$(call pytest,-m stock)

do-test-sev do-test-bench do-test-referee:
	@+$(AGAIN) do-machine
	@+$(AGAIN) do-image
	@+$(AGAIN) tests-parts
	@$(call pytest,-m $(@:do-test-%=%))

.PHONY: clean
clean:
	rm -rf $(BUILD)
