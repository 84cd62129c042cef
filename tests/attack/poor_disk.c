/* Makes the files below $POOR_DISK those of a network mount: preloaded, it has calls there answer an error.
 *
 * $POOR_CALLS lists which, as in "flock=37 fcntl=37 fsyncdir=22": flock, fcntl (locks of byte ranges), fsyncdir,
 * mmap, link.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int error_of(const char *call)
{
    const char *calls = getenv("POOR_CALLS");
    size_t length = strlen(call);
    for (const char *at = calls; at && (at = strstr(at, call)); at += length)
        if ((at == calls || at[-1] == ' ') && at[length] == '=')
            return atoi(at + length + 1);
    return 0;
}

static int is_below(const char *path)
{
    const char *root = getenv("POOR_DISK");
    return root && strncmp(path, root, strlen(root)) == 0;
}

static int is_there(int descriptor)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

static int fails(const char *call, int descriptor)
{
    int error = error_of(call);
    if (!error || !is_there(descriptor))
        return 0;
    errno = error;
    return 1;
}

int flock(int descriptor, int operation)
{
    static int (*real)(int, int);
    if (fails("flock", descriptor))
        return -1;
    if (!real)
        real = dlsym(RTLD_NEXT, "flock");
    return real(descriptor, operation);
}

static int is_lock(int command)
{
    return command == F_SETLK || command == F_SETLKW || command == F_GETLK || command == F_OFD_SETLK ||
           command == F_OFD_SETLKW || command == F_OFD_GETLK;
}

int fcntl(int descriptor, int command, ...)
{
    static int (*real)(int, int, ...);
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (is_lock(command) && fails("fcntl", descriptor))
        return -1;
    if (!real)
        real = dlsym(RTLD_NEXT, "fcntl");
    return real(descriptor, command, argument);
}

int fcntl64(int descriptor, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    return fcntl(descriptor, command, argument);
}

int fsync(int descriptor)
{
    static int (*real)(int);
    struct stat status;
    if (!fstat(descriptor, &status) && S_ISDIR(status.st_mode) && fails("fsyncdir", descriptor))
        return -1;
    if (!real)
        real = dlsym(RTLD_NEXT, "fsync");
    return real(descriptor);
}

void *mmap(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (descriptor >= 0 && fails("mmap", descriptor))
        return MAP_FAILED;
    if (!real)
        real = dlsym(RTLD_NEXT, "mmap");
    return real(address, length, protection, flags, descriptor, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int descriptor, off_t offset)
{
    return mmap(address, length, protection, flags, descriptor, offset);
}

int link(const char *old, const char *new)
{
    static int (*real)(const char *, const char *);
    int error = error_of("link");
    if (error && is_below(new)) {
        errno = error;
        return -1;
    }
    if (!real)
        real = dlsym(RTLD_NEXT, "link");
    return real(old, new);
}

int linkat(int old_folder, const char *old, int new_folder, const char *new, int flags)
{
    static int (*real)(int, const char *, int, const char *, int);
    int error = error_of("link");
    if (error && (is_below(new) || new[0] != '/')) {
        errno = error;
        return -1;
    }
    if (!real)
        real = dlsym(RTLD_NEXT, "linkat");
    return real(old_folder, old, new_folder, new, flags);
}
