/* WebSocket frames as RFC 6455 has them: ours masked, theirs plain and whole. */

#include <string.h>

#include "load.h"

size_t ws_frame(char *out, size_t cap, int opcode, uint32_t mask, const char *payload, size_t len)
{
    if (len > 65535 || len + 8 > cap)
        die("a frame of %zu bytes is too long", len);
    size_t n = 0;
    out[n++] = (char)(0x80 | opcode);
    if (len < 126) {
        out[n++] = (char)(0x80 | len);
    } else {
        out[n++] = (char)(0x80 | 126);
        out[n++] = (char)(len >> 8);
        out[n++] = (char)(len & 255);
    }
    char key[4];
    memcpy(key, &mask, 4);
    memcpy(out + n, key, 4);
    n += 4;
    for (size_t i = 0; i < len; i++)
        out[n + i] = (char)(payload[i] ^ key[i & 3]);
    return n + len;
}

/* Returns the bytes of the first frame, 0 when it is not whole, -1 when it is
 * masked or a fragment (no server measured here sends either). */
ssize_t ws_parse(const char *at, size_t len, struct frame *frame)
{
    if (len < 2)
        return 0;
    const unsigned char *byte = (const unsigned char *)at;
    bool is_final = byte[0] & 0x80;
    bool is_masked = byte[1] & 0x80;
    if (!is_final || is_masked || (byte[0] & 0x0f) == 0)
        return -1;
    size_t head = 2;
    uint64_t body = byte[1] & 0x7f;
    if (body == 126) {
        head = 4;
        if (len < head)
            return 0;
        body = (uint64_t)byte[2] << 8 | byte[3];
    } else if (body == 127) {
        head = 10;
        if (len < head)
            return 0;
        body = 0;
        for (int i = 2; i < 10; i++)
            body = body << 8 | byte[i];
    }
    if (len - head < body)
        return 0;
    *frame = (struct frame){byte[0] & 0x0f, {at + head, (size_t)body}};
    return (ssize_t)(head + (size_t)body);
}
