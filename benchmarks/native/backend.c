/* Back end of the benchmarks: three listeners in one epoll loop, a fixed answer, counters.
 *
 * Prints its three ports on one line, and with DIRECTORY (see tls.h) three more that speak mutual TLS. GET /_counters on
 * any of them answers with JSON: requests per port (with and without TLS), how many carried x-request-id, x-forwarded-for,
 * traceparent and x-forwarded-client-cert, and TLS connections that sent a request; then the counters start again from 0.
 * Usage: backend [ANSWER_BYTES [DIRECTORY]] */
#include "tls.h"

enum { PORTS = 3, BUFFER = 65536, MAX_FDS = 65536 };

struct connection {
    int port, is_known;
    SSL *tls;
    size_t used;
    size_t body_left;
    char *buffer;
};

static struct connection *connections[MAX_FDS];
static long requests[PORTS], with_id, with_forwarded, with_trace, with_certificate, handshakes;
static char answer[65536];
static size_t answer_size;

static void drop(int fd) {
    hang_up(fd, connections[fd]->tls);
    free(connections[fd]->buffer);
    free(connections[fd]);
    connections[fd] = NULL;
}

static void send_all(int fd, const char *data, size_t size) {
    while (size) {
        ssize_t sent = put(fd, connections[fd]->tls, data, size);
        if (sent < 0) {
            if (errno == EAGAIN) continue; /* answers are far smaller than a socket buffer */
            return;
        }
        data += sent;
        size -= (size_t)sent;
    }
}

static void send_counters(int fd) {
    char body[384], all[512];
    int n = snprintf(body, sizeof body, "{\"requests\": [%ld, %ld, %ld], \"request_id\": %ld, \"forwarded_for\": %ld, \"traceparent\": %ld, \"client_certificate\": %ld, \"handshakes\": %ld}",
                     requests[0], requests[1], requests[2], with_id, with_forwarded, with_trace, with_certificate, handshakes);
    int m = snprintf(all, sizeof all, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", n, body);
    memset(requests, 0, sizeof requests);
    with_id = with_forwarded = with_trace = with_certificate = handshakes = 0;
    send_all(fd, all, (size_t)m);
}

static void serve(int fd, struct connection *c) {
    size_t at = 0;
    for (;;) {
        size_t rest = c->used - at;
        if (c->body_left) {
            size_t take = rest < c->body_left ? rest : c->body_left;
            at += take;
            c->body_left -= take;
            if (c->body_left) break;
            continue;
        }
        size_t head = head_length(c->buffer + at, rest);
        if (!head) break;
        const char *p = c->buffer + at;
        const char *length = header(p, head, "content-length:");
        at += head;
        if (!strncmp(p, "GET /_counters ", 15)) {
            send_counters(fd);
            continue;
        }
        requests[c->port]++;
        with_id += header(p, head, "x-request-id:") != NULL;
        with_forwarded += header(p, head, "x-forwarded-for:") != NULL;
        with_trace += header(p, head, "traceparent:") != NULL;
        with_certificate += header(p, head, "x-forwarded-client-cert:") != NULL;
        handshakes += c->tls && !c->is_known;
        c->is_known = 1;
        c->body_left = length ? strtoul(length, NULL, 10) : 0;
        send_all(fd, answer, answer_size);
    }
    memmove(c->buffer, c->buffer + at, c->used - at);
    c->used -= at;
}

int main(int argc, char **argv) {
    size_t size = argc > 1 ? strtoul(argv[1], NULL, 10) : 100;
    SSL_CTX *context = argc > 2 ? tls_context(argv[2], "backend", TLS_server_method()) : NULL;
    int count = context ? 2 * PORTS : PORTS, listeners[2 * PORTS], epoll = epoll_create1(0);
    if (size > sizeof answer - 512) return fprintf(stderr, "answers of at most %zu bytes\n", sizeof answer - 512), 1;
    answer_size = (size_t)sprintf(answer, "HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", size);
    memset(answer + answer_size, 'x', size);
    answer_size += size;
    for (int i = 0; i < count; i++) {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof address;
        struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)(MAX_FDS + i)};
        listeners[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (listeners[i] < 0 || bind(listeners[i], (void *)&address, length) || listen(listeners[i], 4096)) die("listen");
        if (getsockname(listeners[i], (void *)&address, &length)) die("getsockname");
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, listeners[i], &event)) die("epoll_ctl");
        printf("%d%c", ntohs(address.sin_port), i == count - 1 ? '\n' : ' ');
    }
    fflush(stdout);
    prctl(PR_SET_PDEATHSIG, 9);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    struct epoll_event events[256];
    for (;;) {
        int n = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < n; i++) {
            uint64_t id = events[i].data.u64;
            if (id >= MAX_FDS) {
                int fd;
                while ((fd = accept4(listeners[id - MAX_FDS], NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    struct epoll_event event = {.events = EPOLLIN, .data.u64 = (uint64_t)fd};
                    if (fd >= MAX_FDS) return fprintf(stderr, "too many connections\n"), 1;
                    no_delay(fd);
                    connections[fd] = calloc(1, sizeof *connections[fd]);
                    connections[fd]->port = (int)(id - MAX_FDS) % PORTS;
                    if (id - MAX_FDS >= PORTS) SSL_set_accept_state(connections[fd]->tls = tls_on(context, fd));
                    connections[fd]->buffer = malloc(BUFFER);
                    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
                }
                continue;
            }
            struct connection *c = connections[id];
            ssize_t got = get((int)id, c->tls, c->buffer + c->used, BUFFER - c->used);
            if (got > 0) {
                c->used += (size_t)got;
                serve((int)id, c);
            } else if (got == 0 || errno != EAGAIN)
                drop((int)id);
        }
    }
}
