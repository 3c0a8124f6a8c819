/*
 * Makes file operations fail in a process, loaded by LD_PRELOAD.
 *
 * While $FAULTS_BY contains a link with the name of an operation (write, sync, truncate, open,
 * read), that operation fails for every file below $FAULTS_IN, with the error number that the link
 * points to. "open" means opening to write.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int is_below(const char *path) {
    const char *in = getenv("FAULTS_IN");
    return in != NULL && strncmp(path, in, strlen(in)) == 0;
}

/* The error with which an operation must fail; 0 for none. */
static int error_of(const char *operation) {
    char link[PATH_MAX], target[16];
    const char *by = getenv("FAULTS_BY");
    int kept = errno;
    if (by == NULL || snprintf(link, sizeof link, "%s/%s", by, operation) >= (int)sizeof link) return 0;
    ssize_t length = readlink(link, target, sizeof target - 1);
    errno = kept;
    if (length <= 0) return 0;
    target[length] = '\0';
    return atoi(target);
}

static int fails(const char *operation, int descriptor) {
    char link[64], path[PATH_MAX];
    int error = error_of(operation);
    if (error == 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = '\0';
    if (!is_below(path)) return 0;
    errno = error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define FAILING(operation, type, name, parameters, arguments) \
    type name parameters {                                    \
        if (fails(operation, descriptor)) return -1;          \
        return REAL(name) arguments;                          \
    }

FAILING("write", ssize_t, write, (int descriptor, const void *from, size_t size), (descriptor, from, size))
FAILING("write", ssize_t, pwrite, (int descriptor, const void *from, size_t size, off_t at),
        (descriptor, from, size, at))
FAILING("write", ssize_t, pwrite64, (int descriptor, const void *from, size_t size, off64_t at),
        (descriptor, from, size, at))
FAILING("write", ssize_t, writev, (int descriptor, const struct iovec *from, int count), (descriptor, from, count))
FAILING("write", int, fallocate, (int descriptor, int mode, off_t at, off_t size), (descriptor, mode, at, size))
FAILING("read", ssize_t, read, (int descriptor, void *to, size_t size), (descriptor, to, size))
FAILING("read", ssize_t, pread, (int descriptor, void *to, size_t size, off_t at), (descriptor, to, size, at))
FAILING("read", ssize_t, pread64, (int descriptor, void *to, size_t size, off64_t at), (descriptor, to, size, at))
FAILING("truncate", int, ftruncate, (int descriptor, off_t size), (descriptor, size))
FAILING("truncate", int, ftruncate64, (int descriptor, off64_t size), (descriptor, size))
FAILING("sync", int, fsync, (int descriptor), (descriptor))
FAILING("sync", int, fdatasync, (int descriptor), (descriptor))

static int fails_to_open(const char *path, int flags) {
    int error;
    if ((flags & O_ACCMODE) == O_RDONLY || !is_below(path) || (error = error_of("open")) == 0) return 0;
    errno = error;
    return 1;
}

#define MODE                                         \
    mode_t mode = 0;                                 \
    if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))) { \
        va_list rest;                                \
        va_start(rest, flags);                       \
        mode = va_arg(rest, mode_t);                 \
        va_end(rest);                                \
    }

int open(const char *path, int flags, ...) {
    MODE
    if (fails_to_open(path, flags)) return -1;
    return REAL(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE
    if (fails_to_open(path, flags)) return -1;
    return REAL(open64)(path, flags, mode);
}
