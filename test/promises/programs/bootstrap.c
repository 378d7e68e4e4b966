/* The smallest honest program of its kind: answers each event with itself. Without AWS_LAMBDA_RUNTIME_API it is a web server on PORT (contract http), else it polls Lambda's Runtime API. One
 * connection at a time, kept alive; no threads, no allocation, no parser beyond what it needs. Prints why and ends with 1 when it meets anything else.
 * Built as `cc -Os -static -s`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BYTES_MAX = 1 << 20 };
static char received[BYTES_MAX];
static char sent[BYTES_MAX + 1024];

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void write_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t written = write(fd, bytes, length);
        if (written <= 0) fail("write");
        bytes += written;
        length -= (size_t)written;
    }
}

/* The value of a header, up to its line's end; NULL when the head has none of that name. */
static const char *header(const char *name) {
    const char *found = strcasestr(received, name);
    return found == NULL ? NULL : found + strlen(name);
}

/* Reads one message into `received`; gives its body and sets `length`. NULL when the other side closed before it began. */
static const char *read_message(int fd, size_t *length) {
    size_t have = 0;
    for (;;) {
        ssize_t got = read(fd, received + have, BYTES_MAX - 1 - have);
        if (got == 0 && have == 0) return NULL;
        if (got <= 0) fail("read");
        have += (size_t)got;
        received[have] = 0;
        char *end = strstr(received, "\r\n\r\n");
        if (end == NULL) continue;
        *end = 0;
        const char *value = header("\r\ncontent-length:");
        *length = value == NULL ? 0 : strtoul(value, NULL, 10);
        *end = '\r';
        char *body = end + 4;
        while ((size_t)(received + have - body) < *length) {
            got = read(fd, received + have, BYTES_MAX - 1 - have);
            if (got <= 0) fail("read of a body");
            have += (size_t)got;
        }
        return body;
    }
}

static void set_no_delay(int fd) {
    int one = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) fail("TCP_NODELAY");
}

static void serve(int port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 16) != 0) fail("listen");
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) fail("accept");
        set_no_delay(client);
        size_t length;
        const char *body;
        while ((body = read_message(client, &length)) != NULL) {
            int head = sprintf(sent, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n", length);
            memcpy(sent + head, body, length);
            write_all(client, sent, (size_t)head + length);
        }
        close(client);
    }
}

static void poll_runtime_api(const char *api) {
    char host[64];
    const char *colon = strchr(api, ':');
    if (colon == NULL || colon - api >= (long)sizeof host) fail("AWS_LAMBDA_RUNTIME_API");
    memcpy(host, api, (size_t)(colon - api));
    host[colon - api] = 0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(colon + 1))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("inet_pton");
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) fail("connect");
    set_no_delay(fd);
    int next_length = sprintf(sent, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: %s\r\n\r\n", api);
    write_all(fd, sent, (size_t)next_length);
    for (;;) {
        size_t length;
        const char *body = read_message(fd, &length);
        const char *id = header("\r\nlambda-runtime-aws-request-id:");
        if (body == NULL || id == NULL) fail("next");
        id += strspn(id, " ");
        int head = sprintf(sent, "POST /2018-06-01/runtime/invocation/%.*s/response HTTP/1.1\r\nhost: %s\r\ncontent-length: %zu\r\n\r\n",
                           (int)strcspn(id, "\r"), id, api, length);
        memcpy(sent + head, body, length);
        write_all(fd, sent, (size_t)head + length);
        if (read_message(fd, &length) == NULL || strncmp(received, "HTTP/1.1 202", 12) != 0) fail("response");
        next_length = sprintf(sent, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: %s\r\n\r\n", api);
        write_all(fd, sent, (size_t)next_length);
    }
}

int main(void) {
    const char *api = getenv("AWS_LAMBDA_RUNTIME_API");
    if (api != NULL) poll_runtime_api(api);
    const char *port = getenv("PORT");
    if (port == NULL) fail("neither AWS_LAMBDA_RUNTIME_API nor PORT is set");
    serve(atoi(port));
}
