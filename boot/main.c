/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* BOOTX64.EFI: runs the preflight, then leaves boot services and enters hv; or returns to the boot order. */
#include "boot/boot.h"

#define EXIT_ATTEMPTS 8u
#define READ_SECONDS 15u        /* that a refusal stays on the screen */
#define KEYS_BEFORE 64u         /* pending keys to discard */

struct boot boot;
struct handoff handoff;

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system);

/* Returns to the boot order; by Exit(), since crt0 does not preserve all registers for a return. */
static _Noreturn void main_refuse(EFI_STATUS status)
{
    memory_free();
    boot.services->Exit(boot.handle, status, 0, NULL);
    __builtin_trap();
}

static bool main_key(void)
{
    EFI_INPUT_KEY key;
    return boot.system->ConIn != NULL && !EFI_ERROR(boot.system->ConIn->ReadKeyStroke(boot.system->ConIn, &key));
}

/* Waits for a key or READ_SECONDS: the next boot option clears the screen. */
static void main_let_read(const char *next)
{
    for (uint32_t i = 0; i < KEYS_BEFORE && main_key(); i++)
        continue;
    text_print("\nSevisor cannot run here; %s in %u seconds, or at a key.\n", next, READ_SECONDS);
    for (uint32_t i = 0; i < READ_SECONDS * 10 && !main_key(); i++)
        boot.services->Stall(100000);
}

/* After a failed ExitBootServices() only memory allocation and runtime services are guaranteed to work (UEFI 2.9, 7.4):
 * reset, and let the boot order continue through BootNext. */
static _Noreturn void main_reset(void)
{
    text_print("\nSevisor: the UEFI firmware does not let go of the machine (GetMemoryMap or\n"
               "ExitBootServices failed). Update the BIOS, or start Sevisor right after power-on,\n"
               "before other boot programs.\n");
    main_let_read("the machine is reset, into the boot option that follows if there is one,");
    bootnext_set();
    boot.system->RuntimeServices->ResetSystem(EfiResetCold, EFI_SUCCESS, 0, NULL);
    main_refuse(EFI_ABORTED);
}

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *system)
{
    boot.handle = handle;
    boot.system = system;
    boot.services = system->BootServices;
    boot.services->SetWatchdogTimer(0, 0, 0, NULL);
    EFI_GUID guid = LOADED_IMAGE_PROTOCOL;
    EFI_LOADED_IMAGE *loaded;
    if (!EFI_ERROR(boot.services->HandleProtocol(handle, &guid, (void **)&loaded))) {
        section_find(loaded->ImageBase, loaded->ImageSize, ".hv", &boot.hv);
        section_find(loaded->ImageBase, loaded->ImageSize, ".manifest", &boot.manifest);
    }

    handoff.magic = HANDOFF_MAGIC;
    handoff.version = HANDOFF_VERSION;
    handoff.size = sizeof(handoff);
    handoff.reset_system = (uintptr_t)system->RuntimeServices->ResetSystem;
    handoff.set_variable = (uintptr_t)system->RuntimeServices->SetVariable;
    if (!preflight_run()) {
        table_refusals();
        main_let_read("back to the UEFI firmware's boot order");
        main_refuse(EFI_UNSUPPORTED);
    }
    text_print("\n");

    bootnext_find();
    cpus_wbinvd();
    /* Any other call may change the memory map. */
    for (uint32_t i = 0; i < EXIT_ATTEMPTS; i++) {
        UINTN key;
        if (memory_map_read(&key) && !EFI_ERROR(boot.services->ExitBootServices(handle, key)))
            load_enter();
    }
    main_reset();
}
