/* A deterministic counter of AArch64 work, a plugin for qemu-aarch64 (TCG plugin API 1, QEMU 6 to 8).
 *
 * Instructions are sorted into classes once, when QEMU translates a block; from then on a block costs a few additions, so
 * whole programs are counted at nearly the full speed of emulation. With `l1=` every load and store of the region is
 * looked at as well: bytes, and misses in a model of the board's caches (least recently used goes, 64-byte lines).
 *
 *   gcc -O2 -shared -fPIC -o libcounter.so counter.c
 *   qemu-aarch64 -plugin libcounter.so[,region=later][,l1=KIB:WAYS,l2=KIB:WAYS] ...
 *
 * The region is all code; with region=later none, until the guest names it. The guest (counter.py) talks to the plugin by a
 * system call that does not exist, COUNTER_CALL(what, a, b), which returns ENOSYS:
 *   0, low, high   the region is [low, high): for code that was not executed before
 *   1, array       store the counters, in the order of `enum counter`
 *   2              empty the modelled caches
 * Counters are not atomic: one running thread is counted exactly, several are not.
 *
 * Debian ships qemu-user without qemu-plugin.h, so what is used of it is declared here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define COUNTER_CALL 0x7a11
#define LINE 64

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { INLINE_ADD_U64 = 0, NO_REGISTERS = 0, MEMORY_READ_WRITE = 3 };
typedef void on_block(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void on_memory(unsigned, qemu_plugin_meminfo_t, uint64_t, void *);
typedef void on_syscall(qemu_plugin_id_t, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t);

extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, on_block *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *, on_memory *, int, int, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, on_syscall *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
extern unsigned qemu_plugin_mem_size_shift(qemu_plugin_meminfo_t);
extern bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
EXPORT int qemu_plugin_version = 1;

enum counter {
    PROCESS,                                                /* instructions of the whole process */
    ALL, LOADS, STORES, SIMD, MULTIPLY_ADD, BRANCHES,       /* instructions of the region */
    LOAD_BYTES, STORE_BYTES, L1_MISSES, L2_MISSES,          /* of the region, with l1= */
    N_COUNTERS
};
static uint64_t counts[N_COUNTERS];
static uint64_t region_low, region_high = UINT64_MAX;
static bool watch_memory;

/* ---- classes ("Arm Architecture Reference Manual", C4.1: encoding by group, then by instruction) ---- */

/* What multiplies and adds, or is the dot product of a quantised or binary layer */
static const struct { uint32_t mask, bits; } MULTIPLY_ADDS[] = {
    { 0xbf20fc00, 0x0e20cc00 }, /* fmla, fmls: vectors */
    { 0xbf60fc00, 0x0e400c00 }, /* fmla, fmls: half precision (a = 0 or 1) */
    { 0xbf80b400, 0x0f801000 }, /* fmla, fmls by element, single and double */
    { 0xbfc0b400, 0x0f001000 }, /* fmla, fmls by element, half */
    { 0x9f20fc00, 0x0e209400 }, /* mla, mls */
    { 0x9f20dc00, 0x0e208000 }, /* smlal, umlal, smlsl, umlsl */
    { 0x9f20fc00, 0x0e20c000 }, /* smull, umull */
    { 0xbf00b400, 0x2f000000 }, /* mla, mls by element */
    { 0x9f00b400, 0x0f002000 }, /* smlal, smlsl by element, signed and unsigned */
    { 0x9f00f400, 0x0f00a000 }, /* smull, umull by element */
    { 0x9f20fc00, 0x0e009400 }, /* sdot, udot */
    { 0x9f00f400, 0x0f00e000 }, /* sdot, udot by element */
    { 0x9f3ffc00, 0x0e206800 }, /* sadalp, uadalp */
    { 0x9f20fc00, 0x0e207c00 }, /* saba, uaba */
    { 0x9f20fc00, 0x0e205000 }, /* sabal, uabal */
    { 0xbf3ffc00, 0x0e205800 }, /* cnt */
    { 0xff200000, 0x1f000000 }, /* fmadd, fmsub: scalar */
};

static bool is_multiply_add(uint32_t code) {
    for (size_t i = 0; i < sizeof MULTIPLY_ADDS / sizeof *MULTIPLY_ADDS; i++)
        if ((code & MULTIPLY_ADDS[i].mask) == MULTIPLY_ADDS[i].bits) return true;
    return false;
}

static bool is_load(uint32_t code) {
    bool vector = code >> 26 & 1;
    unsigned kind = code >> 22 & 3;
    if ((code & 0x3b000000) == 0x18000000) return true; /* from beside the code */
    if ((code >> 27 & 7) == 7)                          /* one register: opc; 128-bit vectors have their own */
        return vector ? kind & 1 : kind != 0;
    return code >> 22 & 1; /* pairs, structures, exclusive */
}

static bool is_memory_access(uint32_t code) { return (code >> 25 & 5) == 4; }

static void classify(uint32_t code, uint64_t *found) {
    unsigned group = code >> 25 & 15;
    found[ALL]++;
    if (is_memory_access(code)) found[is_load(code) ? LOADS : STORES]++;
    else if ((group & 7) == 7) {
        found[SIMD]++;
        if (is_multiply_add(code)) found[MULTIPLY_ADD]++;
    } else if ((group & 14) == 10) found[BRANCHES]++;
}

/* ---- caches ---- */

struct cache {
    uint64_t sets, ways, clock;
    uint64_t *lines, *used; /* (sets, ways): the line held, plus one; when it was used last */
};
static struct cache l1, l2;

static bool make_cache(struct cache *cache, const char *text) {
    uint64_t kib;
    if (sscanf(text, "%lu:%lu", &kib, &cache->ways) != 2 || !cache->ways || !(kib * 1024 / LINE / cache->ways)) return false;
    cache->sets = kib * 1024 / LINE / cache->ways;
    cache->lines = calloc(cache->sets * cache->ways, sizeof *cache->lines);
    cache->used = calloc(cache->sets * cache->ways, sizeof *cache->used);
    return cache->lines && cache->used;
}

static void empty_cache(struct cache *cache) {
    if (!cache->sets) return;
    memset(cache->lines, 0, cache->sets * cache->ways * sizeof *cache->lines);
    memset(cache->used, 0, cache->sets * cache->ways * sizeof *cache->used);
}

static bool hit(struct cache *cache, uint64_t line) {
    uint64_t set = line % cache->sets, oldest = 0;
    uint64_t *lines = cache->lines + set * cache->ways, *used = cache->used + set * cache->ways;
    for (uint64_t way = 0; way < cache->ways; way++) {
        if (lines[way] == line + 1) {
            used[way] = ++cache->clock;
            return true;
        }
        if (used[way] < used[oldest]) oldest = way;
    }
    lines[oldest] = line + 1;
    used[oldest] = ++cache->clock;
    return false;
}

/* QEMU tells a 16-byte access as two of 8: bytes and lines are exact, calls are not instructions */
static void access(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void *unused) {
    uint64_t bytes = 1u << qemu_plugin_mem_size_shift(info);
    counts[qemu_plugin_mem_is_store(info) ? STORE_BYTES : LOAD_BYTES] += bytes;
    for (uint64_t line = address / LINE; line <= (address + bytes - 1) / LINE; line++)
        if (!hit(&l1, line)) {
            counts[L1_MISSES]++;
            if (l2.sets && !hit(&l2, line)) counts[L2_MISSES]++;
        }
}

/* ---- QEMU's calls ---- */

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    uint64_t found[N_COUNTERS] = { 0 };
    size_t n = qemu_plugin_tb_n_insns(block);
    found[PROCESS] = n;
    for (size_t i = 0; i < n; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint64_t address = qemu_plugin_insn_vaddr(instruction);
        if (address < region_low || address >= region_high) continue;
        uint32_t code;
        memcpy(&code, qemu_plugin_insn_data(instruction), sizeof code);
        classify(code, found);
        if (watch_memory && is_memory_access(code))
            qemu_plugin_register_vcpu_mem_cb(instruction, access, NO_REGISTERS, MEMORY_READ_WRITE, NULL);
    }
    for (int k = 0; k < N_COUNTERS; k++)
        if (found[k]) qemu_plugin_register_vcpu_tb_exec_inline(block, INLINE_ADD_U64, &counts[k], found[k]);
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t what, uint64_t a, uint64_t b, uint64_t c,
                   uint64_t d, uint64_t e, uint64_t f, uint64_t g) {
    if (number != COUNTER_CALL) return;
    if (what == 0) region_low = a, region_high = b;
    if (what == 1) memcpy((void *)a, counts, sizeof counts); /* guest addresses are the host's: both have 64 bits */
    if (what == 2) empty_cache(&l1), empty_cache(&l2);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        bool known = true;
        if (!strcmp(argv[i], "region=later")) region_low = region_high = 0;
        else if (!strncmp(argv[i], "l1=", 3)) known = watch_memory = make_cache(&l1, argv[i] + 3);
        else if (!strncmp(argv[i], "l2=", 3)) known = make_cache(&l2, argv[i] + 3);
        else known = false;
        if (!known) {
            fprintf(stderr, "counter: expected region=later, l1=KIB:WAYS or l2=KIB:WAYS, got %s\n", argv[i]);
            return 1;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
