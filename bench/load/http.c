/* HTTP/1.1: requests with keep-alive, answers with a length, the upgrade. */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "load.h"

/* The sample key of RFC 6455 and the answer it must get. */
#define SAMPLE_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define SAMPLE_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

size_t http_request(char *out, size_t cap, const struct conn *c, const char *body)
{
    size_t body_len = body ? strlen(body) : 0;
    int n = snprintf(out, cap,
                     "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\n%s%sContent-Length: %zu\r\n\r\n%s",
                     c->plan->method, c->plan->path, options.port,
                     c->plan->headers ? c->plan->headers : "", c->beside ? c->beside : "",
                     body_len, body ? body : "");
    if (n < 0 || (size_t)n >= cap)
        die("a request is longer than %zu bytes", cap);
    return (size_t)n;
}

/* The value of a header field within an answer's head, or NULL. */
static const char *field(const char *head, size_t len, const char *name)
{
    size_t name_len = strlen(name);
    const char *end = head + len;
    for (const char *line = head; line && line < end;) {
        if ((size_t)(end - line) > name_len && line[name_len] == ':' &&
            !strncasecmp(line, name, name_len)) {
            line += name_len + 1;
            while (line < end && *line == ' ')
                line++;
            return line;
        }
        line = memchr(line, '\n', (size_t)(end - line));
        if (line)
            line++;
    }
    return NULL;
}

/* Returns the bytes one answer takes, 0 when it is not whole yet, -1 when it
 * is none.  Answers must carry a length: all servers measured here do. */
ssize_t http_parse(const char *at, size_t len, struct message *answer)
{
    const char *end = memmem(at, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - at) + 4;
    if (len < 12 || memcmp(at, "HTTP/1.1 ", 9))
        return -1;
    answer->status = atoi(at + 9);
    const char *length = field(at, head, "Content-Length");
    bool bodiless = answer->status == 304 || answer->status == 204;
    if (!length && !bodiless)
        return -1;
    size_t body = bodiless ? 0 : strtoul(length, NULL, 10);
    if (len < head + body)
        return 0;
    answer->body = (struct slice){at + head, body};
    return (ssize_t)(head + body);
}

size_t ws_upgrade(char *out, size_t cap, const struct conn *c)
{
    int n = snprintf(out, cap,
                     "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nConnection: Upgrade\r\n"
                     "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                     "Sec-WebSocket-Key: " SAMPLE_KEY "\r\n%s\r\n",
                     c->plan->path, options.port, c->plan->headers ? c->plan->headers : "");
    if (n < 0 || (size_t)n >= cap)
        die("an upgrade is longer than %zu bytes", cap);
    return (size_t)n;
}

bool ws_accepted(const char *at, size_t len)
{
    if (len < 12 || memcmp(at, "HTTP/1.1 101", 12))
        return false;
    const char *accept = field(at, len, "Sec-WebSocket-Accept");
    return accept && !strncmp(accept, SAMPLE_ACCEPT, strlen(SAMPLE_ACCEPT));
}
