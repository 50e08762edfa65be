# SPDX-License-Identifier: BSD-2-Clause-Patent
# What the benchmarks need besides the referee's programs: their guest, a flat binary as guest/hello is.

BENCH_GUEST := $(BUILD)/bench/bench.bin

.PHONY: bench-guest
bench-guest: $(BENCH_GUEST)

$(BUILD)/bench/bench.o: tests/bench/guest/bench.c $(GUEST_DIR)/built-with
	@mkdir -p $(@D)
	$(CC) $(GUEST_HELLO_CFLAGS) -O2 $(DEPENDS) -c $< -o $@

$(BUILD)/bench/ap.o: tests/bench/guest/ap.asm
	@mkdir -p $(@D)
	$(NASM) -f elf64 -MD $(@:.o=.d) -MT $@ -MP $< -o $@

$(BUILD)/bench/bench.elf: $(BUILD)/bench/bench.o $(BUILD)/bench/ap.o tests/bench/guest/bench.ld
	$(LD) -nostdlib -static --build-id=none --no-warn-rwx-segments -z noexecstack -T tests/bench/guest/bench.ld \
		$(filter %.o,$^) -o $@

$(BENCH_GUEST): $(BUILD)/bench/bench.elf
	$(OBJCOPY) -O binary $< $@

-include $(call dependencies,$(BUILD)/bench)
