/* What load and backend share: sizes, and where a message head ends. */
#ifndef TRIOMESH_BENCH_HTTP_H
#define TRIOMESH_BENCH_HTTP_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what) {
    perror(what);
    exit(1);
}

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Length of the head at p including its blank line, 0 while it is incomplete. */
static inline size_t head_length(const char *p, size_t n) {
    const char *end = memmem(p, n, "\r\n\r\n", 4);
    return end ? (size_t)(end - p) + 4 : 0;
}

/* Value of a header inside a whole head, NULL when there is none. name has its colon and is in lower case. */
static inline const char *header(const char *p, size_t n, const char *name) {
    size_t length = strlen(name);
    const char *end = p + n;
    while ((p = memchr(p, '\n', (size_t)(end - p))) && (size_t)(end - ++p) > length)
        if (!strncasecmp(p, name, length)) {
            for (p += length; *p == ' '; p++) {}
            return p;
        }
    return NULL;
}

static inline void no_delay(int fd) {
    int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one)) die("TCP_NODELAY");
}

#endif
