/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The DSDT of Linux guests: sleep state S5 and one serial port. */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "SEVSOR", "SEVISOR ", 1)
{
    /* SLP_TYP 5 for the sleep control register (ACPI 6.3, 4.8.3.7). */
    Name (\_S5, Package () { 5, 5, 0, 0 })

    Scope (\_SB)
    {
        /* No interrupt: there is no IOAPIC to route one, and a driver that
         * finds none polls. */
        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, One)
            Name (_DDN, "COM1")
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
            })
        }
    }
}
