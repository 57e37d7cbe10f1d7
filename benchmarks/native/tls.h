/* Mutual TLS 1.3 of load and backend, and one way to read and write with and without it.
 *
 * No session is ever resumed: the server sends no tickets, the client offers no session. Every handshake is a full one. */
#ifndef TRIOMESH_BENCH_TLS_H
#define TRIOMESH_BENCH_TLS_H

#include "http.h"
#include <openssl/err.h>
#include <openssl/ssl.h>

static inline void die_tls(const char *what) {
    fprintf(stderr, "%s\n", what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* directory holds roots.pem, and NAME.pem: certificate and key. */
static inline SSL_CTX *tls_context(const char *directory, const char *name, const SSL_METHOD *method) {
    static const unsigned char alpn[] = "\016istio-http/1.1";
    char own[4096], roots[4096];
    SSL_CTX *context = SSL_CTX_new(method);
    snprintf(own, sizeof own, "%s/%s.pem", directory, name);
    snprintf(roots, sizeof roots, "%s/roots.pem", directory);
    if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) || !SSL_CTX_set_num_tickets(context, 0)) die_tls("TLS");
    if (SSL_CTX_use_certificate_chain_file(context, own) != 1 || SSL_CTX_use_PrivateKey_file(context, own, SSL_FILETYPE_PEM) != 1) die_tls(own);
    if (SSL_CTX_load_verify_locations(context, roots, NULL) != 1) die_tls(roots);
    if (SSL_CTX_set_alpn_protos(context, alpn, sizeof alpn - 1)) die_tls("ALPN");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    return context;
}

/* For a connected socket; the handshake is part of the first get or put. */
static inline SSL *tls_on(SSL_CTX *context, int fd) {
    SSL *tls = SSL_new(context);
    if (!tls || !SSL_set_fd(tls, fd)) die_tls("SSL_new");
    return tls;
}

/* As recv and send say it. A broken connection is EIO. */
static inline ssize_t tls_result(SSL *tls, int n) {
    int why = n > 0 ? SSL_ERROR_NONE : SSL_get_error(tls, n);
    if (why == SSL_ERROR_NONE) return n;
    if (why == SSL_ERROR_ZERO_RETURN) return 0;
    errno = why == SSL_ERROR_WANT_READ ? EAGAIN : EIO;
    return -1;
}

static inline ssize_t get(int fd, SSL *tls, char *data, size_t size) {
    if (!tls) return recv(fd, data, size, 0);
    ERR_clear_error();
    return tls_result(tls, SSL_read(tls, data, (int)size));
}

static inline ssize_t put(int fd, SSL *tls, const char *data, size_t size) {
    if (!tls) return send(fd, data, size, MSG_NOSIGNAL);
    ERR_clear_error();
    return tls_result(tls, SSL_write(tls, data, (int)size));
}

static inline void hang_up(int fd, SSL *tls) {
    if (tls) {
        SSL_shutdown(tls); /* close_notify, if there is room; the peer's is not waited for */
        ERR_clear_error();
        SSL_free(tls);
    }
    close(fd);
}

#endif
