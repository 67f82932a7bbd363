/* Kills the process at a given step of writing a file whose path holds CRASH_NAME, in the directory CRASH_IN: tests load it
   into the gateway. A step is a call of open for writing, fchmod, write, fsync, or rename, and each can end before the
   call, after it, or, a write, in the middle of it. CRASH_AT is the number of the point, from 1; points beyond the last one change nothing. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int point;
static int is_ours[4096];

static void reach(void) {
    const char *at = getenv("CRASH_AT");
    if (at && ++point == atoi(at)) kill(getpid(), SIGKILL);
}

static int is_named(const char *path) {
    const char *name = getenv("CRASH_NAME");
    return name && strstr(path, name);
}

static int opened(const char *path, int flags, int fd) {
    const char *folder = getenv("CRASH_IN");
    int is_file = is_named(path) && (flags & O_ACCMODE) != O_RDONLY;
    /* The directory is opened to be forced to the disk. */
    int is_folder = folder && !strcmp(path, folder);
    if (fd >= 0 && fd < 4096) is_ours[fd] = is_file || is_folder;
    if (is_file) reach();
    return fd;
}

#define OPEN(name)                                                              \
    int name(const char *path, int flags, ...) {                                \
        static int (*real)(const char *, int, ...);                             \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        int mode = va_arg(rest, int);                                           \
        va_end(rest);                                                           \
        if (!real) real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        if (is_named(path) && (flags & O_ACCMODE) != O_RDONLY) reach();          \
        return opened(path, flags, real(path, flags, mode));                    \
    }
OPEN(open)
OPEN(open64)

ssize_t write(int fd, const void *bytes, size_t count) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    if (fd < 0 || fd >= 4096 || !is_ours[fd]) return real(fd, bytes, count);
    reach();
    ssize_t half = real(fd, bytes, count / 2);
    reach();
    if (half < 0) return half;
    ssize_t rest = real(fd, (const char *)bytes + half, count - half);
    reach();
    return rest < 0 ? rest : half + rest;
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    if (fd < 0 || fd >= 4096 || !is_ours[fd]) return real(fd);
    reach();
    int done = real(fd);
    reach();
    return done;
}

int fchmod(int fd, mode_t mode) {
    static int (*real)(int, mode_t);
    if (!real) real = (int (*)(int, mode_t))dlsym(RTLD_NEXT, "fchmod");
    if (fd < 0 || fd >= 4096 || !is_ours[fd]) return real(fd, mode);
    reach();
    int done = real(fd, mode);
    reach();
    return done;
}

int close(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd < 4096) is_ours[fd] = 0;
    return real(fd);
}

int rename(const char *from, const char *to) {
    static int (*real)(const char *, const char *);
    if (!real) real = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    if (!is_named(to)) return real(from, to);
    reach();
    int done = real(from, to);
    reach();
    return done;
}
