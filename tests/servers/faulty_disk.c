/* A disk that fails at times: preloaded into a process, it lets some writes and syncs of a database end with an error.
 *
 * STEPFLOW_FAULTY_DISK names a file. While it exists, it says "PERCENT ERRNO", and so many of the calls on files whose
 * path contains STEPFLOW_FAULTY_FILES (".db" if nothing is said) fail with that error, without having done anything. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int fails(int fd) {
    const char *control = getenv("STEPFLOW_FAULTY_DISK");
    if (control == NULL || access(control, F_OK) != 0) return 0;
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    const char *files = getenv("STEPFLOW_FAULTY_FILES");
    if (strstr(path, files == NULL ? ".db" : files) == NULL) return 0;
    int percent = 0, error = EIO;
    FILE *file = fopen(control, "r");
    if (file == NULL) return 0;
    int read = fscanf(file, "%d %d", &percent, &error);
    fclose(file);
    if (read < 1 || random() % 100 >= percent) return 0;
    errno = error;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails(fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(fd) ? -1 : REAL(fdatasync)(fd); }
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return fails(fd) ? -1 : REAL(pwrite)(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    return fails(fd) ? -1 : REAL(pwrite64)(fd, data, size, at);
}
ssize_t write(int fd, const void *data, size_t size) { return fails(fd) ? -1 : REAL(write)(fd, data, size); }
int ftruncate64(int fd, off64_t size) { return fails(fd) ? -1 : REAL(ftruncate64)(fd, size); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return fails(fd) ? -1 : REAL(pwritev)(fd, parts, count, at);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    return fails(fd) ? -1 : REAL(pwritev64)(fd, parts, count, at);
}
int posix_fallocate(int fd, off_t at, off_t size) { return fails(fd) ? errno : REAL(posix_fallocate)(fd, at, size); }
int posix_fallocate64(int fd, off64_t at, off64_t size) {
    return fails(fd) ? errno : REAL(posix_fallocate64)(fd, at, size);
}
