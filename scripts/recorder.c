/* Records what a process does to the files below one directory; preloaded by scripts/powercut.
 *
 * RECORDER_ROOT is that directory, RECORDER_FILE takes the records. One record is one write with
 * O_APPEND, so that records of several threads and processes keep their order. A change is recorded
 * after it was made, under one lock for all threads; a sync before and after, since others write
 * meanwhile. A rename needs no lock of its own for that.
 *
 * All integers little-endian: "R", kind (1), unused (2), pid (4), inode (8), offset (8), then the sizes
 * (8 each) of path, second path and data, then these.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAX_DESCRIPTORS = 1 << 16 };
struct record {
    char magic, kind;
    uint16_t unused;
    uint32_t pid;
    uint64_t inode;
    int64_t offset;
    uint64_t path_size, other_size, data_size;
};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int record_file = -1;
static char root[PATH_MAX];
static size_t root_size;
static char is_recorded[MAX_DESCRIPTORS];

#define REAL(name) ((typeof(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("RECORDER_FILE"), *directory = getenv("RECORDER_ROOT");
    if (!file || !directory || !realpath(directory, root)) return;
    root_size = strlen(root);
    int descriptor = REAL(open)(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    /* Out of the way of programs that close all low descriptors. */
    record_file = fcntl(descriptor, F_DUPFD_CLOEXEC, 900);
    if (record_file < 0) record_file = descriptor; else REAL(close)(descriptor);
}

static void note(char kind, uint64_t inode, int64_t offset, const char *path, const char *other,
                 const void *data, size_t data_size) {
    struct record record = {'R', kind, 0, getpid(), inode, offset,
                            path ? strlen(path) : 0, other ? strlen(other) : 0, data_size};
    struct iovec parts[] = {{&record, sizeof record},
                            {(void *)path, record.path_size},
                            {(void *)other, record.other_size},
                            {(void *)data, data_size}};
    ssize_t size = sizeof record + record.path_size + record.other_size + data_size;
    if (REAL(writev)(record_file, parts, 4) != size) abort(); /* a record with holes proves nothing */
}

/* The path below the root, in `full`; NULL if it is somewhere else. */
static const char *below(int directory, const char *path, char *full) {
    if (record_file < 0) return NULL;
    char base[PATH_MAX] = "", joined[2 * PATH_MAX];
    if (path[0] != '/') {
        char link[64];
        if (directory == AT_FDCWD) strcpy(link, "/proc/self/cwd");
        else snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        ssize_t size = readlink(link, base, sizeof base - 1);
        if (size < 0) return NULL;
        base[size] = 0;
        snprintf(joined, sizeof joined, *path ? "%s/%s" : "%s%s", base, path);
    } else snprintf(joined, sizeof joined, "%s", path);
    if (strncmp(joined, root, root_size) || (joined[root_size] && joined[root_size] != '/')) return NULL;
    const char *rest = joined + root_size + (joined[root_size] == '/');
    while (!strncmp(rest, "./", 2)) rest += 2;
    snprintf(full, PATH_MAX, "%s", strcmp(rest, ".") ? rest : "");
    return full;
}

static uint64_t inode_of(int descriptor) {
    struct stat status;
    return fstat(descriptor, &status) ? 0 : status.st_ino;
}

static int is_ours(int descriptor) {
    return record_file >= 0 && descriptor >= 0 && descriptor < MAX_DESCRIPTORS && is_recorded[descriptor];
}

static int open_any(int (*call)(int, const char *, int, ...), int directory, const char *path, int flags,
                    mode_t mode) {
    char full[PATH_MAX];
    const char *ours = below(directory, path, full);
    if (!ours) {
        int other = call(directory, path, flags, mode);
        if (other >= 0 && other < MAX_DESCRIPTORS) is_recorded[other] = 0;
        return other;
    }
    pthread_mutex_lock(&lock);
    struct stat before;
    int is_new = (flags & O_CREAT) && fstatat(directory, path, &before, AT_SYMLINK_NOFOLLOW);
    int descriptor = call(directory, path, flags, mode);
    int number = errno;
    if (descriptor >= 0 && descriptor < MAX_DESCRIPTORS) {
        is_recorded[descriptor] = 1;
        if (is_new) note('c', inode_of(descriptor), 0, ours, NULL, NULL, 0);
        if (flags & O_TRUNC) note('t', inode_of(descriptor), 0, NULL, NULL, NULL, 0);
    }
    pthread_mutex_unlock(&lock);
    errno = number;
    return descriptor;
}

static mode_t mode_of(int flags, va_list list) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, mode_t) : 0;
}
#define OPEN(name)                                                                                  \
    int name(const char *path, int flags, ...) {                                                    \
        va_list list;                                                                               \
        va_start(list, flags);                                                                      \
        mode_t mode = mode_of(flags, list);                                                         \
        va_end(list);                                                                               \
        return open_any(REAL(openat), AT_FDCWD, path, flags, mode);                                 \
    }
#define OPENAT(name)                                                                                \
    int name(int directory, const char *path, int flags, ...) {                                     \
        va_list list;                                                                               \
        va_start(list, flags);                                                                      \
        mode_t mode = mode_of(flags, list);                                                         \
        va_end(list);                                                                               \
        return open_any(REAL(openat), directory, path, flags, mode);                                \
    }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

/* The C library has no function of its own for openat2(2): it is called by its number. */
static __thread const struct open_how *how_to_open;
static int openat2_as_told(int directory, const char *path, int flags, ...) {
    (void)flags;
    return (int)REAL(syscall)(SYS_openat2, directory, path, how_to_open, sizeof *how_to_open);
}
long syscall(long number, ...) {
    va_list list;
    long a[6];
    va_start(list, number);
    for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
    va_end(list);
    if (number != SYS_openat2) return REAL(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    how_to_open = (const struct open_how *)a[2];
    return open_any(openat2_as_told, (int)a[0], (const char *)a[1], (int)how_to_open->flags,
                    (mode_t)how_to_open->mode);
}

int close(int descriptor) {
    if (descriptor >= 0 && descriptor == record_file) return 0; /* not ours to close */
    if (descriptor >= 0 && descriptor < MAX_DESCRIPTORS) is_recorded[descriptor] = 0;
    return REAL(close)(descriptor);
}

#define AFTER(descriptor, call, good, kind, offset, data, size)                                     \
    if (!is_ours(descriptor)) return call;                                                          \
    pthread_mutex_lock(&lock);                                                                      \
    typeof(call) result = call;                                                                     \
    int number = errno;                                                                             \
    if (good) note(kind, inode_of(descriptor), offset, NULL, NULL, data, size);                     \
    pthread_mutex_unlock(&lock);                                                                    \
    errno = number;                                                                                 \
    return result;

ssize_t pwrite(int file, const void *data, size_t size, off_t at) {
    AFTER(file, REAL(pwrite)(file, data, size, at), result > 0, 'w', at, data, result)
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t at) { return pwrite(file, data, size, at); }
ssize_t write(int file, const void *data, size_t size) {
    if (!is_ours(file)) return REAL(write)(file, data, size);
    off_t at = lseek(file, 0, fcntl(file, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    AFTER(file, REAL(write)(file, data, size), result > 0, 'w', at, data, result)
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    if (!is_ours(file)) return REAL(pwritev)(file, parts, count, at);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) { /* each part is a write of its own: that tears no less */
        ssize_t done = pwrite(file, parts[i].iov_base, parts[i].iov_len, at + all);
        if (done < 0) return all ? all : done;
        all += done;
        if ((size_t)done < parts[i].iov_len) break;
    }
    return all;
}
ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t at) {
    return pwritev(file, parts, count, at);
}
ssize_t pwritev2(int file, const struct iovec *parts, int count, off_t at, int flags) {
    if (!is_ours(file)) return REAL(pwritev2)(file, parts, count, at, flags);
    return pwritev(file, parts, count, at);
}
ssize_t pwritev64v2(int file, const struct iovec *parts, int count, off64_t at, int flags) {
    return pwritev2(file, parts, count, at, flags);
}
int ftruncate(int file, off_t size) { AFTER(file, REAL(ftruncate)(file, size), !result, 't', size, NULL, 0) }
int ftruncate64(int file, off64_t size) { return ftruncate(file, size); }
int fallocate(int file, int mode, off_t at, off_t size) {
    char *zeros = is_ours(file) && mode & FALLOC_FL_PUNCH_HOLE ? calloc(1, sizeof(int64_t)) : NULL;
    if (zeros) memcpy(zeros, &size, sizeof(int64_t)); /* the data of a hole is its size */
    if (!zeros) return REAL(fallocate)(file, mode, at, size);
    pthread_mutex_lock(&lock);
    int result = REAL(fallocate)(file, mode, at, size), number = errno;
    if (!result) note('h', inode_of(file), at, NULL, NULL, zeros, sizeof(int64_t));
    pthread_mutex_unlock(&lock);
    free(zeros);
    errno = number;
    return result;
}
int fallocate64(int file, int mode, off64_t at, off64_t size) { return fallocate(file, mode, at, size); }

static int sync_any(int (*call)(int), int file) {
    if (!is_ours(file)) return call(file);
    struct stat status;
    char full[PATH_MAX];
    const char *path = !fstat(file, &status) && S_ISDIR(status.st_mode) ? below(file, "", full) : NULL;
    pthread_mutex_lock(&lock);
    note(path ? 'D' : 'S', inode_of(file), 0, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    int result = call(file), number = errno;
    pthread_mutex_lock(&lock);
    if (!result) note(path ? 'd' : 's', inode_of(file), 0, path, NULL, NULL, 0);
    pthread_mutex_unlock(&lock);
    errno = number;
    return result;
}
int fsync(int file) { return sync_any(REAL(fsync), file); }
int fdatasync(int file) { return sync_any(REAL(fdatasync), file); }

#define NAMED(call, kind, first, path, second, other)                                               \
    char full[PATH_MAX], full_other[PATH_MAX];                                                      \
    const char *ours = below(first, path, full), *to = other ? below(second, other, full_other) : NULL; \
    if (!ours) return call;                                                                         \
    pthread_mutex_lock(&lock);                                                                      \
    int result = call, number = errno;                                                              \
    if (!result) note(kind, 0, 0, ours, to, NULL, 0);                                               \
    pthread_mutex_unlock(&lock);                                                                    \
    errno = number;                                                                                 \
    return result;
#define NO_PATH (const char *)NULL

int renameat(int from, const char *old, int to_directory, const char *new) {
    NAMED(REAL(renameat)(from, old, to_directory, new), 'r', from, old, to_directory, new)
}
int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }
int unlinkat(int directory, const char *path, int flags) {
    NAMED(REAL(unlinkat)(directory, path, flags), flags & AT_REMOVEDIR ? 'x' : 'u', directory, path, 0, NO_PATH)
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
int mkdirat(int directory, const char *path, mode_t mode) {
    NAMED(REAL(mkdirat)(directory, path, mode), 'm', directory, path, 0, NO_PATH)
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int linkat(int from, const char *old, int to_directory, const char *new, int flags) {
    NAMED(REAL(linkat)(from, old, to_directory, new, flags), 'l', from, old, to_directory, new)
}
int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }
