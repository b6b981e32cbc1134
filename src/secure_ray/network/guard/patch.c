/* Puts the guard into a process that runs already.
 *
 * A loaded object (the program, a library, an extension module) calls the functions of others
 * through a table of addresses that the loader has filled in. Here the entries of that table for
 * the guarded functions are overwritten, in each object. Objects that Python loads later get the
 * same: its call of dlopen is overwritten too, with one that patches what has come.
 */

#define _GNU_SOURCE

#include "guard.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
#define SLOT_FOR_CALL R_X86_64_JUMP_SLOT
#define SLOT_FOR_ADDRESS R_X86_64_GLOB_DAT
#define ADDRESS_IN_DATA R_X86_64_64
#elif defined(__aarch64__)
#define SLOT_FOR_CALL R_AARCH64_JUMP_SLOT
#define SLOT_FOR_ADDRESS R_AARCH64_GLOB_DAT
#define ADDRESS_IN_DATA R_AARCH64_ABS64
#endif

void *next_definition(const char *name)
{
    void *next = dlsym(RTLD_NEXT, name);
    /* musl finds nothing after a library that was loaded last; then libc's is the first. */
    return next != NULL ? next : dlsym(RTLD_DEFAULT, name);
}

#ifdef SLOT_FOR_CALL

/* What one walk over the loaded objects is to do, and what it has found. */
struct walk {
    bool writes;      /* patch, or only look */
    void *import;     /* a function of Python's, to know the object that loads modules */
    size_t unpatched; /* slots that call past the guard */
    char *names;      /* of the objects that have such slots, a line each */
    size_t room;
};

/* What is needed of one loaded object. */
struct object {
    const struct dl_phdr_info *info;
    const ElfW(Sym) *symbols;
    const char *strings;
    const ElfW(Rela) *calls, *others;
    size_t size_of_calls, size_of_others;
    bool loads_modules; /* Python's own import calls dlopen from it */
};

static void *dlopen_and_patch(const char *path, int flags);

static const struct {
    const char *name;
    void *guarded;
} REPLACEMENTS[] = {
    {"bind", (void *)guarded_bind},       {"connect", (void *)guarded_connect},
    {"listen", (void *)guarded_listen},   {"sendto", (void *)guarded_sendto},
    {"sendmsg", (void *)guarded_sendmsg},
    {"sendmmsg", (void *)guarded_sendmmsg},
};

static void *replacement(const struct object *object, const char *name)
{
    for (size_t at = 0; at < sizeof REPLACEMENTS / sizeof *REPLACEMENTS; at++)
        if (strcmp(name, REPLACEMENTS[at].name) == 0)
            return REPLACEMENTS[at].guarded;
    return object->loads_modules && strcmp(name, "dlopen") == 0 ? (void *)dlopen_and_patch : NULL;
}

/* Whether `address` lies in a segment of that type, both ends of which are rounded down to `page`,
 * as the loader does when it protects RELRO. */
static bool contains(const struct dl_phdr_info *info, ElfW(Word) type, const void *address,
                     uintptr_t page)
{
    for (int at = 0; at < info->dlpi_phnum; at++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[at];
        uintptr_t from = info->dlpi_addr + segment->p_vaddr;
        uintptr_t to = from + segment->p_memsz;
        if (segment->p_type == type && (uintptr_t)address >= (from & -page) &&
            (uintptr_t)address < (to & -page))
            return true;
    }
    return false;
}

/* The loader has made the page read-only if it is one of the RELRO segment. Others may read it
 * meanwhile; nobody else writes, for dl_iterate_phdr lets one in at a time. */
static bool write_slot(const struct dl_phdr_info *info, void **slot, void *value)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *start = (void *)((uintptr_t)slot & -page);
    bool read_only = contains(info, PT_GNU_RELRO, slot, page);
    if (read_only && mprotect(start, page, PROT_READ | PROT_WRITE) != 0)
        return false;
    __atomic_store_n(slot, value, __ATOMIC_RELEASE);
    if (read_only)
        mprotect(start, page, PROT_READ);
    return true;
}

static void note(struct walk *walk, const char *name)
{
    size_t length = strlen(name);
    walk->unpatched++;
    if (walk->names == NULL || length + 2 > walk->room)
        return;
    memcpy(walk->names, name, length);
    memcpy(walk->names + length, "\n", 2);
    walk->names += length + 1;
    walk->room -= length + 1;
}

static void visit_slots(const struct object *object, const ElfW(Rela) *entry, size_t size,
                        struct walk *walk)
{
    for (const ElfW(Rela) *end = entry + size / sizeof *entry; entry < end; entry++) {
        ElfW(Xword) type = ELF64_R_TYPE(entry->r_info);
        if (type != SLOT_FOR_CALL && type != SLOT_FOR_ADDRESS && type != ADDRESS_IN_DATA)
            continue;
        const ElfW(Sym) *symbol = &object->symbols[ELF64_R_SYM(entry->r_info)];
        void *wanted = replacement(object, object->strings + symbol->st_name);
        void **slot = (void **)(object->info->dlpi_addr + entry->r_offset);
        if (symbol->st_shndx != SHN_UNDEF || wanted == NULL || *slot == wanted)
            continue;
        if (!walk->writes || !write_slot(object->info, slot, wanted))
            note(walk, object->info->dlpi_name);
    }
}

/* Where the object's own description (PT_DYNAMIC) says that its tables are. */
static void read_tables(struct object *object)
{
    const struct dl_phdr_info *info = object->info;
    const ElfW(Dyn) *entry = NULL;
    for (int at = 0; at < info->dlpi_phnum; at++)
        if (info->dlpi_phdr[at].p_type == PT_DYNAMIC)
            entry = (const ElfW(Dyn) *)(info->dlpi_addr + info->dlpi_phdr[at].p_vaddr);
    for (; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        /* glibc has turned offsets into addresses; musl, and the kernel in its vDSO, have not. */
        ElfW(Addr) base = entry->d_un.d_ptr < info->dlpi_addr ? info->dlpi_addr : 0;
        const void *table = (const void *)(base + entry->d_un.d_ptr);
        switch (entry->d_tag) {
        case DT_SYMTAB: object->symbols = table; break;
        case DT_STRTAB: object->strings = table; break;
        case DT_JMPREL: object->calls = table; break;
        case DT_RELA: object->others = table; break;
        case DT_PLTRELSZ: object->size_of_calls = entry->d_un.d_val; break;
        case DT_RELASZ: object->size_of_others = entry->d_un.d_val; break;
        default: break;
        }
    }
}

static int visit_object(struct dl_phdr_info *info, size_t size, void *data)
{
    struct walk *walk = data;
    struct object object = {.info = info};
    (void)size;
    if (contains(info, PT_LOAD, (const void *)guarded_bind, 1)) /* calls libc's, of course */
        return 0;
    object.loads_modules = contains(info, PT_LOAD, walk->import, 1);
    read_tables(&object);
    if (object.symbols == NULL || object.strings == NULL)
        return 0;
    if (object.calls != NULL)
        visit_slots(&object, object.calls, object.size_of_calls, walk);
    if (object.others != NULL)
        visit_slots(&object, object.others, object.size_of_others, walk);
    return 0;
}

/* dlsym takes a lock of the loader's that must come before the one held during the walk. */
static void walk_objects(struct walk *walk)
{
    walk->import = dlsym(RTLD_DEFAULT, "PyImport_ImportModule");
    dl_iterate_phdr(visit_object, walk);
}

/* Patches what is loaded. Returns the number of slots that could not be. */
EXPORTED size_t secure_ray_guard_patch(void)
{
    struct walk walk = {.writes = true};
    walk_objects(&walk);
    return walk.unpatched;
}

/* Returns how many slots call past the guard and writes the names of their objects to `names`. */
EXPORTED size_t secure_ray_guard_unpatched(char *names, size_t room)
{
    struct walk walk = {.names = names, .room = room};
    if (room > 0)
        *names = '\0';
    walk_objects(&walk);
    return walk.unpatched;
}

/* An extension module can open no socket before this returns, save in a constructor. */
static void *dlopen_and_patch(const char *path, int flags)
{
    void *handle = dlopen(path, flags);
    if (handle != NULL)
        secure_ray_guard_patch();
    return handle;
}

#endif
