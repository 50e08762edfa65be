/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Tests of the SEV machine from the inside, without any of Sevisor. Each check
 * prints "ok NAME" or "FAIL NAME ..."; test_machine.py reads that. The kernel
 * command line names the tests to run.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define PAGE 4096ul
#define PTE_P 1ul
#define PTE_W 2ul
#define PTE_U 4ul
#define PTE_PS 0x80ul
#define MSR_EFER 0xc0000080
#define MSR_SYSCFG 0xc0010010
#define MSR_HWCR 0xc0010015
#define MSR_VM_CR 0xc0010114
#define MSR_VM_HSAVE_PA 0xc0010117
#define MSR_SEV_STATUS 0xc0010131

/* Where things lie; the payload itself is at 1 MiB. */
#define AREA 0x1000000ul         /* pages of the SME tests */
#define VMCB 0x1800000ul
#define HSAVE 0x1801000ul
#define IOPM 0x1802000ul
#define MSRPM 0x1806000ul
#define NPT 0x180a000ul          /* 3 pages */
#define TABLES 0x180e000ul       /* of the C-bit alias */
#define COMMAND 0x1812000ul      /* PSP command buffer */
#define GUEST 0x2000000ul        /* guest memory: identity-mapped */
#define ALIAS (1ul << 39)        /* our own memory again, with C = 1 */

extern u64 pml4[512], caught_vector, caught_error, caught_cr2, caught_at;
extern u64 gdt[];
extern u8 guest_basic[], guest_basic_end[], guest_sev[], guest_sev_end[];
extern u8 guest_events[], guest_events_end[], guest_handler[], guest_slow_handler[];
int try_rdmsr(u32 msr, u64 *value);
int try_wrmsr(u32 msr, u64 value);
int try_read(const volatile void *at, u64 *value);
int run_guest(u64 vmcb, u64 gprs[2]);
void payload_main(const u32 *multiboot);
void unexpected(void);

static u64 c_bit;
static const char *command_line;

/* ---------------------------------------------------------------- basics */

static void out8(u16 port, u8 v)
{
    __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static void out32(u16 port, u32 v)
{
    __asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

static u8 in8(u16 port)
{
    u8 v;
    __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static u32 in32(u16 port)
{
    u32 v;
    __asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
    return v;
}

static void put(const char *s)
{
    for (; *s; s++) {
        out8(0x3f8, (u8)*s);
    }
}

static void put_hex(u64 v)
{
    put("0x");
    for (int shift = 60; shift >= 0; shift -= 4) {
        out8(0x3f8, (u8) "0123456789abcdef"[v >> shift & 15]);
    }
}

static void check(const char *name, bool good, u64 a, u64 b)
{
    put(good ? "ok " : "FAIL ");
    put(name);
    if (!good) {
        put(" got ");
        put_hex(a);
        put(" wanted ");
        put_hex(b);
    }
    put("\n");
}

#define EQ(name, got, wanted)                           \
    do {                                                \
        u64 got_ = (u64)(got), wanted_ = (u64)(wanted); \
        check(name, got_ == wanted_, got_, wanted_);    \
    } while (0)
#define TRUE(name, condition) check(name, (condition), 0, 1)

__attribute__((noreturn)) static void stop(void)
{
    put("done\n");
    out8(0xf4, 0);
    for (;;) {
        __asm__ volatile("cli; hlt");
    }
}

void unexpected(void)
{
    put("FAIL unexpected exception ");
    put_hex(caught_vector);
    put(" error ");
    put_hex(caught_error);
    put(" at ");
    put_hex(caught_at);
    put(" cr2 ");
    put_hex(caught_cr2);
    put("\n");
    stop();
}

void *memset(void *p, int c, size_t n)
{
    u8 *b = p;
    while (n--) {
        *b++ = (u8)c;
    }
    return p;
}

void *memcpy(void *d, const void *s, size_t n)
{
    u8 *to = d;
    const u8 *from = s;
    while (n--) {
        *to++ = *from++;
    }
    return d;
}

static bool asked_for(const char *word)
{
    for (const char *at = command_line; *at; at++) {
        size_t i = 0;
        while (word[i] && at[i] == word[i]) {
            i++;
        }
        if (!word[i] && (at == command_line || at[-1] == ' ') && (!at[i] || at[i] == ' ')) {
            return true;
        }
    }
    return false;
}

static void cpuid(u32 leaf, u32 r[4])
{
    __asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

static u64 rdmsr(u32 msr)
{
    u64 v = 0;
    try_rdmsr(msr, &v);
    return v;
}

static void wbinvd(void)
{
    __asm__ volatile("wbinvd" ::: "memory");
}

static void clflush_page(const volatile void *page)
{
    for (size_t i = 0; i < PAGE; i += 64) {
        __asm__ volatile("clflush (%0)" : : "r"((const volatile u8 *)page + i) : "memory");
    }
}

static void flush_tlb(void)
{
    u64 cr3;
    __asm__ volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(cr3) : : "memory");
}

/* Maps the first GiB again, through C-bit entries, at ALIAS. */
static void map_alias(void)
{
    u64 *pdpt = (u64 *)TABLES, *pd = (u64 *)(TABLES + PAGE);

    memset(pdpt, 0, 2 * PAGE);
    pdpt[0] = (u64)pd | PTE_P | PTE_W;
    for (u64 i = 0; i < 512; i++) {
        pd[i] = i << 21 | c_bit | PTE_PS | PTE_P | PTE_W;
    }
    pml4[ALIAS >> 39] = (u64)pdpt | PTE_P | PTE_W;
    flush_tlb();
}

static volatile u64 *enc(u64 pa)
{
    return (volatile u64 *)(ALIAS + pa);
}

static volatile u64 *plain(u64 pa)
{
    return (volatile u64 *)pa;
}

/* ------------------------------------------------------------- identity */

static void test_identity(void)
{
    u32 r[4];
    u64 v;

    cpuid(0x80000000, r);
    TRUE("xlevel", r[0] >= 0x8000001f);
    cpuid(0x8000001f, r);
    EQ("cpuid-sme-sev", r[0] & 3, 3);
    EQ("cpuid-no-coherency", r[0] >> 10 & 1, 0);
    EQ("cpuid-cbit", r[1] & 63, 51);
    EQ("cpuid-reduction", r[1] >> 6 & 63, 5);
    EQ("cpuid-asids", r[2], 15);
    EQ("cpuid-min-asid", r[3], 1);
    cpuid(0x80000008, r);
    EQ("cpuid-phys-bits", r[0] & 255, 48);
    cpuid(0x8000000a, r);
    EQ("cpuid-svm-features", r[3] & 0xec, 0xec);
    EQ("syscfg-meme", rdmsr(MSR_SYSCFG) >> 23 & 1, 1);
    EQ("hwcr-smmlock", rdmsr(MSR_HWCR) & 1, 1);
    try_wrmsr(MSR_HWCR, 0);
    EQ("hwcr-smmlock-stays", rdmsr(MSR_HWCR) & 1, 1);
    EQ("sev-status-on-host", try_rdmsr(MSR_SEV_STATUS, &v) ? 1 : v, 0);
    EQ("sev-status-read-only", try_wrmsr(MSR_SEV_STATUS, 1), 1);
}

static void test_svm_locked(void)
{
    EQ("vm-cr", rdmsr(MSR_VM_CR), 0x18);
    EQ("svme-refused", try_wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 << 12), 1);
    try_wrmsr(MSR_VM_CR, 0);
    EQ("vm-cr-stays", rdmsr(MSR_VM_CR), 0x18);
}

/* With SYSCFG.MEME = 0 (sev-smee=off), then switched on. */
static void test_reserved(void)
{
    u64 v;

    EQ("meme-off", rdmsr(MSR_SYSCFG) >> 23 & 1, 0);
    map_alias();
    EQ("c-bit-reserved", try_read(enc(AREA), &v), 1);
    EQ("c-bit-reserved-vector", caught_vector, 14);
    EQ("c-bit-reserved-error", caught_error, 9);
    EQ("meme-on", try_wrmsr(MSR_SYSCFG, rdmsr(MSR_SYSCFG) | 1 << 23), 0);
    EQ("c-bit-allowed", try_read(enc(AREA), &v), 0);
    /* The width shrinks: bit 43 of an address is now reserved, the C-bit not. */
    ((u64 *)(TABLES + PAGE))[511] |= 1ul << 43;
    flush_tlb();
    EQ("reduced-width", try_read(enc(511ul << 21), &v), 1);
    EQ("reduced-width-error", caught_error, 9);
    ((u64 *)(TABLES + PAGE))[511] &= ~(1ul << 43);
    flush_tlb();
}

/* ------------------------------------------------------------------ SME */

static void test_sme(void)
{
    map_alias();
    memset((void *)AREA, 0, 8 * PAGE);
    wbinvd();
    memset((void *)(ALIAS + AREA), 0x5a, 2 * PAGE);
    EQ("read-back", *enc(AREA), 0x5a5a5a5a5a5a5a5a);
    wbinvd();
    u64 a = *plain(AREA), b = *plain(AREA + 16), c = *plain(AREA + PAGE);
    TRUE("is-ciphertext", a != 0x5a5a5a5a5a5a5a5a && a != 0);
    TRUE("differs-by-address", a != b && a != c);
    EQ("next-page-still", *enc(AREA + PAGE + 8), 0x5a5a5a5a5a5a5a5a);
    /* A change of one plain block of ciphertext spoils that block alone. */
    wbinvd();
    *plain(AREA + 32) ^= 1;
    wbinvd();
    TRUE("block-spoilt", *enc(AREA + 32) != 0x5a5a5a5a5a5a5a5a);
    EQ("block-before", *enc(AREA + 24), 0x5a5a5a5a5a5a5a5a);
    EQ("block-after", *enc(AREA + 48), 0x5a5a5a5a5a5a5a5a);
    /* The same plaintext at the same place is the same ciphertext. */
    memset((void *)(ALIAS + AREA), 0x5a, PAGE);
    wbinvd();
    EQ("deterministic", *plain(AREA), a);
    wbinvd();
    /* CLFLUSH instead of WBINVD. */
    *enc(AREA) = 1;
    clflush_page(enc(AREA));
    TRUE("after-clflush", *plain(AREA) != 1);
    clflush_page(plain(AREA));
    EQ("after-clflush-back", *enc(AREA), 1);

    /* Page tables behind the C-bit. */
    u64 *pd = (u64 *)(TABLES + 2 * PAGE), *pt = (u64 *)(TABLES + 3 * PAGE);
    wbinvd();
    memset((void *)(ALIAS + (u64)pd), 0, 2 * PAGE);
    *enc((u64)pd) = (u64)pt | c_bit | PTE_P | PTE_W;
    *enc((u64)pt) = (AREA + 4 * PAGE) | c_bit | PTE_P | PTE_W;
    *enc((u64)pt + 8) = (AREA + 4 * PAGE) | PTE_P | PTE_W;
    ((u64 *)TABLES)[1] = (u64)pd | c_bit | PTE_P | PTE_W;
    flush_tlb();
    volatile u64 *e = (volatile u64 *)(ALIAS + (1ul << 30));
    volatile u64 *p = (volatile u64 *)(ALIAS + (1ul << 30) + PAGE);
    wbinvd();
    *e = 0x1122334455667788;
    EQ("encrypted-tables", *enc(AREA + 4 * PAGE), 0x1122334455667788);
    wbinvd();
    TRUE("4k-plain-alias", *p != 0x1122334455667788);
    EQ("4k-plain-alias-same", *p, *plain(AREA + 4 * PAGE));

    /* Code: the translator's cache must follow the key. */
    static const u8 code[] = {0xb8, 1, 0, 0, 0, 0xc3};    /* mov eax, 1; ret */
    static const u8 code2[] = {0xb8, 2, 0, 0, 0, 0xc3};
    int (*in_plain)(void) = (int (*)(void))(AREA + 5 * PAGE);
    int (*in_enc)(void) = (int (*)(void))(ALIAS + AREA + 6 * PAGE);
    memcpy((void *)(AREA + 5 * PAGE), code, sizeof(code));
    memcpy((void *)(ALIAS + AREA + 6 * PAGE), code2, sizeof(code2));
    EQ("code-plain", in_plain(), 1);
    EQ("code-encrypted", in_enc(), 2);
    wbinvd();
    memcpy((void *)(ALIAS + AREA + 5 * PAGE), code2, sizeof(code2));
    memcpy((void *)(AREA + 6 * PAGE), code, sizeof(code));
    in_plain = (int (*)(void))(AREA + 6 * PAGE);
    in_enc = (int (*)(void))(ALIAS + AREA + 5 * PAGE);
    EQ("code-plain-again", in_plain(), 1);
    EQ("code-encrypted-again", in_enc(), 2);
}

/* Leaves a marker behind for QMP to look for, and stays. */
static void test_marker(void)
{
    map_alias();
    wbinvd();
    for (u64 i = 0; i < 64 * PAGE; i += 16) {
        *enc(AREA + i) = 0x4b52414d45544953;        /* "SITEMARK" */
        *enc(AREA + i + 8) = 0x44454b52414d5045;    /* "EPMARKED" */
    }
    put("waiting\n");
    while (!(in8(0x3fd) & 1)) {
    }
    in8(0x3f8);
    EQ("marker-still-there", *enc(AREA + 8), 0x44454b52414d5045);
}

/* Each of these is wrong by one coherency fault, exactly. */
static void test_coherency_bad(void)
{
    u64 v;

    map_alias();
    wbinvd();
    *enc(AREA) = 1;
    try_read(plain(AREA), &v);             /* dirty under the key, read plain */
    wbinvd();
    try_read(plain(AREA + PAGE), &v);
    *enc(AREA + PAGE) = 2;                 /* harmless as yet ... */
    clflush_page(enc(AREA + PAGE));
    try_read(plain(AREA + PAGE), &v);      /* ... the plain lines are stale */
    wbinvd();
    *plain(AREA + 2 * PAGE) = 3;
    *enc(AREA + 2 * PAGE) = 3;             /* two dirty copies */
    wbinvd();
    *enc(AREA + 3 * PAGE) = 4;
    clflush_page(plain(AREA + 3 * PAGE));  /* the other key's lines: no help */
    try_read(plain(AREA + 3 * PAGE), &v);
    wbinvd();
    put("ok four faults made\n");
}

/* ------------------------------------------------------------------ SVM */

static void vmcb64(u32 offset, u64 v)
{
    *(volatile u64 *)(VMCB + offset) = v;
}

static u64 vmcb(u32 offset)
{
    return *(volatile u64 *)(VMCB + offset);
}

static void vmcb32(u32 offset, u32 v)
{
    *(volatile u32 *)(VMCB + offset) = v;
}

static void vmcb_segment(u32 offset, u16 selector, u16 attributes)
{
    *(volatile u16 *)(VMCB + 0x400 + offset) = selector;
    *(volatile u16 *)(VMCB + 0x400 + offset + 2) = attributes;
    *(volatile u32 *)(VMCB + 0x400 + offset + 4) = 0xffffffff;
    vmcb64(0x400 + offset + 8, 0);
}

#define SAVE_RAX 0x5f8
#define SAVE_RIP 0x578
#define SAVE_RSP 0x5d8
#define SAVE_CR3 0x550
#define SAVE_CR4 0x548
#define EXITCODE() ((u32)vmcb(0x70))

/* A guest in long mode with nested paging, 1 GiB in one entry or 2 MiB pages. */
static void svm_prepare(u64 rip, u64 cr3, u64 nested_ctl, bool big)
{
    u64 *npt = (u64 *)NPT;

    try_wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1 << 12);
    try_wrmsr(MSR_VM_HSAVE_PA, HSAVE);
    memset((void *)VMCB, 0, 2 * PAGE);
    memset((void *)IOPM, 0xff, 3 * PAGE);
    memset((void *)MSRPM, 0xff, 2 * PAGE);
    memset(npt, 0, 3 * PAGE);
    npt[0] = (NPT + PAGE) | PTE_P | PTE_W | PTE_U;
    if (big) {
        npt[512] = PTE_PS | PTE_P | PTE_W | PTE_U;
    } else {
        npt[512] = (NPT + 2 * PAGE) | PTE_P | PTE_W | PTE_U;
        for (u64 i = 0; i < 512; i++) {
            npt[1024 + i] = i << 21 | PTE_PS | PTE_P | PTE_W | PTE_U;
        }
    }
    vmcb32(0x00, 1 | 1 << 4 | 1 << 19);           /* read CR0, CR4; write CR3 */
    vmcb32(0x0c, 1 << 5 | 1 << 18 | 1 << 21 | 1 << 24 | 1 << 25 | 1 << 27 | 1 << 28 | 1u << 31);
    vmcb32(0x10, 1 | 1 << 1 | 1 << 9);            /* VMRUN VMMCALL WBINVD */
    vmcb64(0x40, IOPM);
    vmcb64(0x48, MSRPM);
    vmcb32(0x58, 1);
    vmcb64(0x90, nested_ctl);
    vmcb64(0xb0, NPT);
    vmcb_segment(0x00, 16, 0xc93);
    vmcb_segment(0x10, 8, 0xa9b);
    vmcb_segment(0x20, 16, 0xc93);
    vmcb_segment(0x30, 16, 0xc93);
    vmcb64(0x400 + 0xd0, 1 << 12 | 1 << 11 | 1 << 10 | 1 << 8);
    vmcb64(0x400 + 0x148, 1 << 5);
    vmcb64(SAVE_CR3, cr3);
    vmcb64(0x400 + 0x158, 0x80010033);
    vmcb64(0x400 + 0x160, 0x400);
    vmcb64(0x400 + 0x168, 0xffff0ff0);
    vmcb64(0x400 + 0x170, 2);
    vmcb64(SAVE_RIP, rip);
    vmcb64(SAVE_RSP, GUEST + 5 * PAGE);
    vmcb64(0x400 + 0x268, 0x0007040600070406);
}

/* Identity tables at `tables` for 1 GiB, and again at ALIAS without C-bit. */
static void guest_tables(u64 tables, u64 c)
{
    u64 *t = (u64 *)tables;

    memset(t, 0, 4 * PAGE);
    t[0] = (tables + PAGE) | c | 7;
    t[1] = (tables + 2 * PAGE) | c | 7;
    t[512] = c | PTE_PS | 7;
    t[1024] = PTE_PS | 7;
    /* As a loader would: no A and D bits to be set in private memory. */
    t[512] |= 0x60;
    t[1024] |= 0x60;
}

static void expect_exit(const char *name, u32 code, unsigned len, u64 gprs[2])
{
    u64 rip = vmcb(SAVE_RIP);

    EQ(name, run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), code);
    rip = vmcb(SAVE_RIP);
    EQ(name, vmcb(0xc8), len ? rip + len : 0);
    vmcb64(SAVE_RIP, rip + len);
}

static void test_svm(void)
{
    u64 gprs[2] = {0, 2};

    memcpy((void *)GUEST, guest_basic, (size_t)(guest_basic_end - guest_basic));
    guest_tables(GUEST + PAGE, 0);
    svm_prepare(GUEST, GUEST + PAGE, 1, true);
    gprs[0] = 0x7000;
    expect_exit("exit-cpuid", 0x72, 2, gprs);
    expect_exit("exit-write-cr3", 0x13, 3, gprs);
    EQ("assist-mov-cr3-rax", vmcb(0x78), 1ul << 63 | 0);
    expect_exit("exit-read-cr0", 0x00, 4, gprs);
    EQ("assist-mov-cr0-r9", vmcb(0x78), 1ul << 63 | 9);
    expect_exit("exit-read-cr4", 0x04, 4, gprs);
    EQ("assist-mov-cr4-r10", vmcb(0x78), 1ul << 63 | 10);
    vmcb64(SAVE_RAX, 0x80010033 | 1 << 30);
    expect_exit("exit-cr0-sel-write", 0x65, 3, gprs);
    EQ("assist-mov-rax-cr0", vmcb(0x78), 1ul << 63 | 0);
    expect_exit("exit-int", 0x75, 2, gprs);
    EQ("assist-int", vmcb(0x78), 0x42);
    expect_exit("exit-io", 0x7b, 2, gprs);
    EQ("io-next-rip", vmcb(0x80), vmcb(0xc8));
    gprs[0] = 0x7000;
    gprs[1] = 2;
    expect_exit("exit-invlpg", 0x79, 6, gprs);
    EQ("assist-invlpg", vmcb(0x78), 0x7000 + 2 * 8 + 0x10);
    vmcb64(SAVE_RIP, vmcb(SAVE_RIP));
    expect_exit("exit-msr", 0x7c, 2, gprs);
    expect_exit("exit-wbinvd", 0x89, 2, gprs);
    gprs[0] = 0x50000000;       /* beyond the nested tables' GiB */
    ((u64 *)(GUEST + 2 * PAGE))[1] = 1ul << 30 | PTE_PS | 0x67;
    EQ("exit-npf", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x400);
    EQ("npf-address", vmcb(0x80), 0x50000000);
    EQ("npf-info", vmcb(0x78), 1ul << 32 | 4);
    EQ("npf-bytes", *(u32 *)(VMCB + 0xd1) & 0xffffff, 0x038b48);
    EQ("npf-byte-count", *(u8 *)(VMCB + 0xd0), 15);
    vmcb64(SAVE_RIP, vmcb(SAVE_RIP) + 3);
    *(u8 *)(VMCB + 0x5c) = 3;
    expect_exit("exit-vmmcall-tlb-control-3", 0x81, 3, gprs);
    *(u8 *)(VMCB + 0x5c) = 7;
    vmcb64(0x60, 1ul << 24 | 0x40ul << 32 | 4 << 16 | 1 << 8 | 0xf);    /* held back by V_TPR 15 */
    expect_exit("exit-cpuid-tlb-control-7", 0x72, 2, gprs);
    EQ("virtual-interrupt-still-pending", vmcb(0x60) & (1 << 8 | 0xf), 1 << 8);

    /* Refusals. */
    vmcb32(0x58, 0);
    EQ("asid-0", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0xffffffff);
    svm_prepare(GUEST, GUEST + PAGE, 3, true);
    EQ("sev-without-key", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0xffffffff);
    svm_prepare(GUEST, GUEST + PAGE, 3, true);
    vmcb32(0x58, 16);
    EQ("sev-asid-above-limit", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0xffffffff);
    svm_prepare(GUEST, GUEST + PAGE, 2, true);
    EQ("sev-without-np", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0xffffffff);

    /* The hypervisor's own structures behind the C-bit. */
    svm_prepare(GUEST, GUEST + PAGE, 1, true);
    u8 copy[PAGE];
    static const u64 structures[] = {VMCB,  HSAVE,        IOPM, IOPM + PAGE, IOPM + 2 * PAGE,
                                     MSRPM, MSRPM + PAGE, NPT,  NPT + PAGE};
    map_alias();
    vmcb64(0x40, IOPM | c_bit);
    vmcb64(0x48, MSRPM | c_bit);
    vmcb64(0xb0, NPT | c_bit);
    *(u64 *)NPT |= c_bit;
    for (size_t i = 0; i < sizeof(structures) / sizeof(structures[0]); i++) {
        memcpy(copy, (void *)structures[i], PAGE);
        wbinvd();
        memcpy((void *)(ALIAS + structures[i]), copy, PAGE);
    }
    EQ("hsave-with-c-bit", try_wrmsr(MSR_VM_HSAVE_PA, HSAVE | c_bit), 0);
    gprs[0] = 0;
    EQ("vmcb-with-c-bit", run_guest(VMCB | c_bit, gprs), 0);
    EQ("vmcb-with-c-bit-exit", (u32)*enc(VMCB + 0x70), 0x72);
    wbinvd();
}

#define VECTOR_INTN 0x42
#define VECTOR_INTERRUPT 0x43
#define VECTOR_BP 3
#define VECTOR_DF 8
#define VECTOR_SS 12
#define VECTOR_GP 13
#define INJECT_INTERRUPT (1ul << 31)
#define INJECT_EXCEPTION (1ul << 31 | 3 << 8)
#define INJECT_INTN (1ul << 31 | 4 << 8)
#define INJECT_ERROR_CODE (1ul << 11)
#define GDTR_LIMIT 0x464
#define GDTR_BASE 0x468
#define IDTR_LIMIT 0x484
#define IDTR_BASE 0x488
#define EXITINTINFO 0x88
#define EVENTINJ 0xa8
#define NEXT_RIP 0xc8

static u64 idt = GUEST + 6 * PAGE;

/* A guest that starts at guest_events, or wherever VMRUN's injected event leads it. */
static u32 run_event(u64 event, u64 next_rip, u32 intercepted_exceptions, u32 idt_limit, u64 gprs[2])
{
    svm_prepare(GUEST, GUEST + PAGE, 1, true);
    *(volatile u32 *)(VMCB + GDTR_LIMIT) = 3 * 8 - 1;
    vmcb64(GDTR_BASE, (u64)gdt);
    *(volatile u32 *)(VMCB + IDTR_LIMIT) = idt_limit;
    vmcb64(IDTR_BASE, idt);
    vmcb32(0x08, intercepted_exceptions);
    vmcb64(EVENTINJ, event);
    vmcb64(NEXT_RIP, next_rip);
    gprs[0] = 0;
    return run_guest(VMCB, gprs) ? 0xdead : EXITCODE();
}

static void guest_gate(u32 vector, const u8 *handler)
{
    u64 *gate = (u64 *)idt + 2 * vector;
    u64 to = GUEST + (u64)(handler - guest_events);

    gate[0] = (to & 0xffff) | 8 << 16 | 0x8e00ul << 32 | to >> 16 << 48;
    gate[1] = to >> 32;
}

/* Software interrupts and exceptions: intercepted, injected, and one upon another. */
static void test_events(void)
{
    const u32 with_idt = PAGE - 1, without_idt = 0;
    u64 gprs[2] = {0, 0};

    memcpy((void *)GUEST, guest_events, (size_t)(guest_events_end - guest_events));
    guest_tables(GUEST + PAGE, 0);
    memset((void *)idt, 0, PAGE);
    guest_gate(VECTOR_INTN, guest_handler);
    guest_gate(VECTOR_BP, guest_handler);
    guest_gate(VECTOR_INTERRUPT, guest_slow_handler);

    /* APM2 15.12: INT3 is the exception's intercept, INT 3 is INTn's. */
    EQ("int3-exit", run_event(0, 0, 1 << VECTOR_BP, with_idt, gprs), 0x40 + VECTOR_BP);
    EQ("int3-rip", vmcb(SAVE_RIP), GUEST);
    EQ("int3-next-rip", vmcb(NEXT_RIP), GUEST + 1);
    vmcb64(SAVE_RIP, GUEST + 1);
    EQ("int-3-exit", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x75);
    EQ("int-3-next-rip", vmcb(NEXT_RIP), GUEST + 3);
    EQ("int3-not-intercepted", run_event(0, 0, 0, with_idt, gprs), 0x81);
    EQ("int3-returns-behind-itself", gprs[0], GUEST + 1);

    /* The same two, as EXITINTINFO has them: the IDT is beyond the nested tables. */
    ((u64 *)(GUEST + 2 * PAGE))[1] = 1ul << 30 | PTE_PS | 0x67;
    idt = 1ul << 30;
    EQ("int3-npf", run_event(0, 0, 0, with_idt, gprs), 0x400);
    EQ("int3-exitintinfo", vmcb(EXITINTINFO), INJECT_EXCEPTION | VECTOR_BP);
    EQ("int3-npf-rip", vmcb(SAVE_RIP), GUEST);
    *(u8 *)GUEST = 0x90; /* no INT3, but what follows it */
    vmcb32(0x0c, 0);
    EQ("int-3-npf", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x400);
    EQ("int-3-exitintinfo", vmcb(EXITINTINFO), INJECT_INTN | VECTOR_BP);
    EQ("int-3-npf-rip", vmcb(SAVE_RIP), GUEST + 1);
    idt = GUEST + 6 * PAGE;

    /* APM2 15.20: the return address of injected software interrupts is the VMCB's next RIP. */
    EQ("inject-intn", run_event(INJECT_INTN | VECTOR_INTN, GUEST + 0x123, 0, with_idt, gprs), 0x81);
    EQ("inject-intn-returns", gprs[0], GUEST + 0x123);
    EQ("inject-bp", run_event(INJECT_EXCEPTION | VECTOR_BP, GUEST + 0x123, 0, with_idt, gprs), 0x81);
    EQ("inject-bp-returns", gprs[0], GUEST + 0x123);

    /* An interrupt comes once, however long its handler takes. */
    EQ("inject-interrupt", run_event(INJECT_INTERRUPT | VECTOR_INTERRUPT, 0, 0, with_idt, gprs), 0x81);
    EQ("inject-interrupt-once", gprs[0], 1);

    /* No IDT: delivering #SS raises #GP, both make #DF, which makes a shutdown. */
    u64 ss = INJECT_EXCEPTION | INJECT_ERROR_CODE | VECTOR_SS;
    EQ("ss-gp", run_event(ss, 0, 1 << VECTOR_GP | 1 << VECTOR_DF, without_idt, gprs), 0x40 + VECTOR_GP);
    EQ("ss-gp-error", vmcb(0x78), VECTOR_SS * 8 | 2);
    EQ("ss-gp-df", run_event(ss, 0, 1 << VECTOR_DF, without_idt, gprs), 0x40 + VECTOR_DF);
    EQ("ss-gp-df-error", vmcb(0x78), 0);
    EQ("ss-gp-df-shutdown", run_event(ss, 0, 0, without_idt, gprs), 0x7f);
}

/* Machine check banks as a reset leaves them, their registers; then a guest that loops while the monitor injects
 * an error, with #MC intercepted. The whole is done by test_machine.py. */
#define MCA(bank, reg) (0xc0002000u + (bank) * 16 + (reg))
static void test_machine_check(void)
{
    u64 gprs[2] = {0, 0}, value;
    u32 r[4];

    cpuid(0x80000007, r);
    EQ("cpuid-mca", r[1] & 0xb, 0x9);     /* McaOverflowRecov, ScalableMca; without SUCCOR */
    EQ("mcg-cap", rdmsr(0x179) & 0x1ff, 0x10a);
    EQ("mcg-ctl-at-reset", rdmsr(0x17b), 0);
    for (u32 i = 0; i < 10; i++) {
        EQ("bank-ctl-at-reset", rdmsr(MCA(i, 0)), 0);
        EQ("bank-config-at-reset", rdmsr(MCA(i, 4)), 1);
        try_wrmsr(MCA(i, 0), ~0ul);
        EQ("bank-ctl-legacy", rdmsr(0x400 + i * 4), ~0ul);
        try_wrmsr(MCA(i, 4), ~0ul);
        EQ("bank-config", rdmsr(MCA(i, 4)), 1ul << 32 | 1);
    }
    try_wrmsr(0x17b, ~0ul);
    EQ("ipid-of-memory-controller", rdmsr(MCA(8, 5)) >> 32, 0x96);
    TRUE("status-is-cleared-only",
         try_wrmsr(MCA(3, 1), 1ul << 63) != 0 && try_rdmsr(MCA(3, 1), &value) == 0 && value == 0);

    svm_prepare(GUEST, GUEST + PAGE, 1, true);
    guest_tables(GUEST + PAGE, 0);
    *(volatile u8 *)GUEST = 0xeb;       /* jmp $ */
    *(volatile u8 *)(GUEST + 1) = 0xfe;
    vmcb32(0x08, 1 << 18);
    vmcb64(SAVE_CR4, vmcb(SAVE_CR4) | 1 << 6);
    put("in the guest\n");
    EQ("mc-exit", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x40 + 18);
    EQ("mc-rip", vmcb(SAVE_RIP), GUEST);
    EQ("mc-status", rdmsr(MCA(2, 1)), 1ul << 63 | 1ul << 61 | 1ul << 60 | 0x135);
    EQ("mcg-status", rdmsr(0x17a), 5);
    try_wrmsr(MCA(2, 1), 0);
    EQ("mc-status-cleared", rdmsr(0x409), 0);
    try_wrmsr(0x17a, 0);
}

static void test_poison(void)
{
    u64 gprs[2] = {0, 0};

    memcpy((void *)GUEST, guest_basic, (size_t)(guest_basic_end - guest_basic));
    guest_tables(GUEST + PAGE, 0);
    svm_prepare(GUEST, GUEST + PAGE, 1, false);
    vmcb32(0xc0, 0);
    EQ("first", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x72);
    /* No more CPUID intercept, says memory; nothing changed, says the clean bit. */
    vmcb32(0xc0, 1);
    vmcb32(0x0c, 1 << 24);
    EQ("old-intercepts", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x72);
    EQ("memory-keeps-what-was-written", *(u32 *)(VMCB + 0x0c), 1 << 24);
    vmcb32(0xc0, 0);
    vmcb32(0x00, 0);
    TRUE("new-intercepts", !run_guest(VMCB, gprs) && EXITCODE() != 0x72);
    put("ok poison\n");
}

/* ------------------------------------------------------------------ SEV */

static volatile u32 *psp;

static u32 pci_read(u32 devfn, u32 offset)
{
    out32(0xcf8, 0x80000000 | devfn << 8 | offset);
    return in32(0xcfc);
}

static bool psp_find(void)
{
    for (u32 devfn = 0; devfn < 256; devfn++) {
        if (pci_read(devfn, 0) == 0x14861022) {
            EQ("psp-class", pci_read(devfn, 8) >> 16, 0x1080);
            /* Firmware may have put it anywhere; we want it below 4 GiB. */
            out32(0xcf8, 0x80000000 | devfn << 8 | 0x18);
            out32(0xcfc, 0xe0000000);
            out32(0xcf8, 0x80000000 | devfn << 8 | 0x1c);
            out32(0xcfc, 0);
            out32(0xcf8, 0x80000000 | devfn << 8 | 0x04);
            out32(0xcfc, pci_read(devfn, 4) | 6);
            psp = (volatile u32 *)0xe0000000;
            return true;
        }
    }
    return false;
}

static u32 psp_command(u32 id, void *buffer, size_t len)
{
    volatile u8 *b = (volatile u8 *)COMMAND;
    u32 r;

    memset((void *)COMMAND, 0, PAGE);
    memcpy((void *)COMMAND, buffer, len);
    psp[0x109e0 / 4] = len ? COMMAND : 0;
    psp[0x109e4 / 4] = 0;
    psp[0x10980 / 4] = id << 16;
    while (!((r = psp[0x10980 / 4]) >> 31)) {
    }
    for (size_t i = 0; i < len; i++) {
        ((u8 *)buffer)[i] = b[i];
    }
    return r & 0xffff;
}

static void test_sev(void)
{
    struct {
        u8 major, minor, state, owner;
        u32 config, guests;
    } status = {0};
    struct {
        u32 flags, rsvd;
        u64 tmr;
        u32 tmr_len;
    } init = {0};
    struct {
        u32 handle, policy;
        u64 cert;
        u32 cert_len, rsvd;
        u64 session;
        u32 session_len;
    } start = {0};
    struct {
        u32 handle, asid;
    } activate = {0};
    struct {
        u32 handle, rsvd;
        u64 paddr;
        u32 len;
    } update = {0};
    struct {
        u32 handle;
    } finish = {0};
    u64 gprs[2] = {0, 0};

    TRUE("psp-found", psp_find());
    EQ("platform-status", psp_command(0x04, &status, 12), 0);
    EQ("api-major", status.major, 1);
    EQ("init", psp_command(0x01, &init, 20), 0);
    wbinvd();
    EQ("df-flush", psp_command(0x0a, 0, 0), 0);
    EQ("launch-start", psp_command(0x30, &start, 36), 0);
    activate.handle = update.handle = finish.handle = start.handle;
    activate.asid = 3;
    EQ("activate", psp_command(0x21, &activate, 8), 0);

    /* The guest: code, tables, a page of private data and a shared one. */
    memset((void *)GUEST, 0, 8 * PAGE);
    memcpy((void *)GUEST, guest_sev, (size_t)(guest_sev_end - guest_sev));
    *(u64 *)(GUEST + 0x800) = 0x123;
    guest_tables(GUEST + PAGE, c_bit);
    ((u64 *)(GUEST + 2 * PAGE))[1] = 1ul << 30 | PTE_PS | 0x67;     /* beyond the nested tables */
    for (u64 p = 0; p < 8; p++) {
        clflush_page(plain(GUEST + p * PAGE));
    }
    update.paddr = GUEST;
    update.len = 6 * PAGE;
    EQ("launch-update", psp_command(0x31, &update, 20), 0);
    TRUE("guest-is-ciphertext", *plain(GUEST + 0x800) != 0x123);
    clflush_page(plain(GUEST));
    struct {
        u32 handle, rsvd;
        u64 paddr;
        u32 len;
    } measure = {start.handle, 0, COMMAND + 0x800, 48};
    EQ("measure", psp_command(0x33, &measure, 20), 0);
    EQ("finish", psp_command(0x35, &finish, 4), 0);

    svm_prepare(GUEST, (GUEST + PAGE) | c_bit, 3, asked_for("big"));
    vmcb32(0x58, 3);
    gprs[0] = 0;
    /* rsi, rdi come from run_guest()'s registers: reload them by hand. */
    extern u64 guest_rsi, guest_rdi;
    guest_rsi = GUEST + 6 * PAGE;
    guest_rdi = ALIAS + GUEST + 7 * PAGE;
    EQ("sev-runs", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x81);
    EQ("shared-seen", *plain(GUEST + 7 * PAGE), 0x4445524148535345);
    wbinvd();
    TRUE("private-not-seen", *plain(GUEST + 6 * PAGE) != 0x5345564953455456);
    TRUE("sev-status-not-seen", *plain(GUEST + 6 * PAGE + 8) != 1);
    *plain(GUEST + 7 * PAGE + 8) = 0x77;
    wbinvd();
    vmcb64(SAVE_RIP, vmcb(SAVE_RIP) + 3);
    EQ("sev-runs-on", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x81);
    EQ("guest-saw-answer", gprs[0], 0x77);
    vmcb64(SAVE_RIP, vmcb(SAVE_RIP) + 3);
    EQ("sev-halts", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x78);
    EQ("private-intact", gprs[0], 0x5345564953455456);
    vmcb64(SAVE_RIP, vmcb(SAVE_RIP) + 1);
    gprs[1] = 0x50000000;
    EQ("sev-npf", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0x400);
    EQ("sev-npf-address", vmcb(0x80), 0x50000000);
    EQ("sev-npf-bytes", *(u32 *)(VMCB + 0xd1) & 0xffffff, 0x018b48);
    *(u8 *)(VMCB + 0xd0) = 0;
    wbinvd();
    EQ("deactivate", psp_command(0x22, &finish, 4), 0);
    EQ("no-key-any-more", run_guest(VMCB, gprs) ? 0xdead : EXITCODE(), 0xffffffff);
    EQ("decommission", psp_command(0x20, &finish, 4), 0);
}

/* ----------------------------------------------------------------- main */

void payload_main(const u32 *multiboot)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } tests[] = {
        {"identity", test_identity},
        {"svm-locked", test_svm_locked},
        {"reserved", test_reserved},
        {"sme", test_sme},
        {"marker", test_marker},
        {"coherency-bad", test_coherency_bad},
        {"svm", test_svm},
        {"events", test_events},
        {"machine-check", test_machine_check},
        {"poison", test_poison},
        {"sev", test_sev},
    };
    u32 r[4];

    command_line = multiboot[0] & 4 ? (const char *)(u64)multiboot[4] : "";
    cpuid(0x8000001f, r);
    c_bit = 1ul << (r[1] & 63);
    put("payload\n");
    for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        if (asked_for(tests[i].name)) {
            tests[i].run();
        }
    }
    if (asked_for("wait")) {
        put("waiting\n");
        while (!(in8(0x3fd) & 1)) {
        }
    }
    stop();
}
