# SPDX-License-Identifier: BSD-2-Clause-Patent
# What vmrun.asm and confine.asm must know of C structures, taken from the compiler (included by hv.mk).
HV_OFFSETS := $(BUILD)/hv/svm/offsets.inc

$(HV_OFFSETS): hv/svm/offsets.h $(HV_DIR)/built-with
	@mkdir -p $(@D)
	$(CC) $(HV_CFLAGS) -MMD -MP -MT $@ -MF $(@:.inc=.d) -x c -S -o $@.s $<
	sed -n 's/^.*@@ \([A-Za-z0-9_]*\) \([0-9]*\)".*$$/%define \1 \2/p' $@.s > $@.new
	mv $@.new $@

-include $(HV_OFFSETS:.inc=.d)

$(HV_DIR)/hv/svm/vmrun.asm.o $(HV_DIR)/hv/svm/confine.asm.o: $(HV_OFFSETS)
