/* Load of the benchmarks, closed loop or open loop, over keep-alive connections.
 *
 * Closed loop (rate 0): every connection sends its next request when the answer has arrived: throughput.
 * Open loop (rate > 0): requests are due at fixed times whatever the answers do, and latency counts from the time a
 * request was due, so that a stall is charged to every request it delayed (no coordinated omission).
 * A request that says `Connection: close` gets a new connection each time.
 *
 * With DIRECTORY (see tls.h) it speaks mutual TLS; a handshake begins when the connection's first request is due.
 *
 * Usage: load PORT CONNECTIONS SECONDS RATE REQUEST_FILE [DIRECTORY]   (the file holds one whole request)
 * Prints JSON: requests, errors, reconnects, seconds, and latency percentiles in microseconds. */
#include "tls.h"

enum { BUFFER = 131072, MAX_CONNECTIONS = 20000 };

struct connection {
    int fd, busy, unsent; /* unsent: the handshake comes first */
    SSL *tls;
    int64_t due;       /* when the request under way, or the next one, is due */
    size_t used, left; /* bytes in the buffer; body bytes still to come */
    int in_body;
    char *buffer;
};

static struct connection *connections;
static struct sockaddr_in target = {.sin_family = AF_INET};
static char request[65536];
static size_t request_size;
static int one_each; /* the request says close: every one has a connection of its own */
static SSL_CTX *context;
static int epoll_fd;
static long done, errors, reconnects;
static float *latencies;
static size_t latencies_used, latencies_room;

static void note(int64_t ns) {
    if (latencies_used == latencies_room) {
        latencies_room = latencies_room ? latencies_room * 2 : 1 << 20;
        if (!(latencies = realloc(latencies, latencies_room * sizeof *latencies))) die("realloc");
    }
    latencies[latencies_used++] = (float)ns / 1000;
}

static void open_connection(int i) {
    struct connection *c = &connections[i];
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (void *)&target, sizeof target)) die("connect");
    no_delay(c->fd);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
    c->tls = context ? tls_on(context, c->fd) : NULL;
    if (c->tls) SSL_set_connect_state(c->tls);
    c->used = c->left = 0;
    c->busy = c->in_body = c->unsent = 0;
}

static void reopen(int i) {
    hang_up(connections[i].fd, connections[i].tls);
    reconnects++;
    errors += connections[i].busy;
    open_connection(i);
}

static void send_request(int i) {
    struct connection *c = &connections[i];
    c->busy = 1;
    ssize_t sent = put(c->fd, c->tls, request, request_size);
    c->unsent = c->tls && sent < 0 && errno == EAGAIN;
    if (!c->unsent && sent != (ssize_t)request_size) reopen(i);
}

/* One whole answer has arrived at the front of the buffer: 1. Not yet: 0. */
static int take_answer(struct connection *c) {
    if (!c->in_body) {
        size_t head = head_length(c->buffer, c->used);
        const char *length;
        if (!head) return 0;
        if (strncmp(c->buffer + 8, " 200", 4)) errors++;
        length = header(c->buffer, head, "content-length:");
        if (!length) {
            fprintf(stderr, "an answer without Content-Length: %.*s\n", (int)head, c->buffer);
            exit(1);
        }
        c->left = strtoul(length, NULL, 10);
        c->in_body = 1;
        memmove(c->buffer, c->buffer + head, c->used - head);
        c->used -= head;
    }
    size_t take = c->used < c->left ? c->used : c->left;
    c->left -= take;
    memmove(c->buffer, c->buffer + take, c->used - take);
    c->used -= take;
    if (c->left) return 0;
    c->in_body = 0;
    return 1;
}

static int compare(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(double p) {
    return latencies_used ? latencies[(size_t)(p * (double)(latencies_used - 1))] : 0;
}

int main(int argc, char **argv) {
    if (argc != 6 && argc != 7) return fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS RATE REQUEST_FILE [DIRECTORY]\n"), 2;
    int count = atoi(argv[2]);
    double seconds = atof(argv[3]), rate = atof(argv[4]);
    FILE *file = fopen(argv[5], "rb");
    if (!file) die(argv[5]);
    request_size = fread(request, 1, sizeof request, file);
    fclose(file);
    one_each = header(request, head_length(request, request_size), "connection: close") != NULL;
    if (count < 1 || count > MAX_CONNECTIONS || !request_size) return fprintf(stderr, "bad arguments\n"), 2;
    target.sin_port = htons((uint16_t)atoi(argv[1]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    prctl(PR_SET_TIMERSLACK, 1);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (argc == 7) context = tls_context(argv[6], "load", TLS_client_method());
    epoll_fd = epoll_create1(0);
    connections = calloc((size_t)count, sizeof *connections);
    for (int i = 0; i < count; i++) {
        connections[i].buffer = malloc(BUFFER);
        open_connection(i);
    }
    int64_t start = now_ns(), end = start + (int64_t)(seconds * 1e9);
    int64_t interval = rate > 0 ? (int64_t)(1e9 / rate) : 0, period = interval * count;
    for (int i = 0; i < count; i++) {
        connections[i].due = start + interval * i;
        if (!interval) send_request(i);
    }
    int next = 0; /* open loop: connections are due in turn */
    int64_t next_due = start;
    struct epoll_event events[512];
    for (;;) {
        int64_t now = now_ns();
        if (now >= end) break;
        while (interval && next_due <= now) {
            if (!connections[next].busy && connections[next].due <= now) send_request(next);
            next = (next + 1) % count;
            next_due += interval;
        }
        int64_t wait = interval ? (next_due < end ? next_due : end) - now : end - now;
        if (wait < 0) wait = 0;
        struct timespec timeout = {wait / 1000000000, wait % 1000000000};
        int n = epoll_pwait2(epoll_fd, events, 512, &timeout, NULL);
        for (int e = 0; e < n; e++) {
            int i = (int)events[e].data.u32;
            struct connection *c = &connections[i];
            if (c->unsent) {
                send_request(i);
                continue;
            }
            ssize_t got = get(c->fd, c->tls, c->buffer + c->used, BUFFER - c->used);
            if (got <= 0) {
                if (got == 0 || errno != EAGAIN) {
                    int was_busy = c->busy;
                    reopen(i);
                    if (!interval || was_busy) send_request(i);
                }
                continue;
            }
            c->used += (size_t)got;
            if (!take_answer(c)) continue;
            c->busy = 0;
            done++;
            int64_t at = now_ns();
            note(at - c->due);
            if (one_each) {
                hang_up(c->fd, c->tls);
                open_connection(i);
            }
            c->due = interval ? c->due + period : at;
            if (!interval || c->due <= at) send_request(i);
        }
    }
    double took = (double)(now_ns() - start) / 1e9;
    long behind = 0; /* open loop: due and unanswered at the end, charged with what they have waited already */
    for (int i = 0; interval && i < count; i++)
        for (; connections[i].due < end - 1000000000; connections[i].due += period, behind++) note(end - connections[i].due);
    qsort(latencies, latencies_used, sizeof *latencies, compare);
    printf("{\"requests\": %ld, \"errors\": %ld, \"reconnects\": %ld, \"behind\": %ld, \"seconds\": %.6f, "
           "\"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, \"max_us\": %.1f}\n",
           done, errors, reconnects, behind, took, percentile(.5), percentile(.9), percentile(.99), percentile(.999), percentile(1));
    return 0;
}
