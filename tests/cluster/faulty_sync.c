// Preloaded into a server by sync_fault_test.py: fdatasync does what the file named by FAULTY_SYNC
// says, each time it is called. "fail": input/output error. "hang": waits until the file says
// something else. "slow": some milliseconds more. Else: the real one.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int says(const char* word) {
    const char* path = getenv("FAULTY_SYNC");
    const int file = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return 0;
    }
    char text[16] = {0};
    const ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    return got > 0 && strncmp(text, word, strlen(word)) == 0;
}

int fdatasync(int file) {
    while (says("hang")) {
        const struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
    }
    if (says("slow")) {
        const struct timespec pause = {0, 30000000};
        nanosleep(&pause, NULL);
    }
    if (says("fail")) {
        errno = EIO;
        return -1;
    }
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return real(file);
}
