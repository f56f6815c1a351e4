/* The connections and the one loop they live in. */

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"

#define SCRATCH_BYTES (1u << 20)
#define EVENTS_AT_ONCE 512
/* One loopback address has some 28,000 ports; this stays well below. */
#define CONNECTIONS_PER_ADDRESS 5000u
/* What a server may leave unread of ours before we call it stuck. */
#define OUT_BYTES_MAX (1u << 20)

uint64_t closed_by_server;
uint64_t last_close_code;

static int epoll_fd;
static char scratch[SCRATCH_BYTES];
static uint32_t opening;
static bool word_came;

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void net_start(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        die("epoll_create1: %s", strerror(errno));
}

struct conn *conns_make(uint32_t count, const struct plan *plan)
{
    struct conn *conns = calloc(count, sizeof *conns);
    if (!conns)
        die("out of memory");
    for (uint32_t i = 0; i < count; i++) {
        conns[i].fd = -1;
        conns[i].index = i;
        conns[i].plan = plan_line(plan, i);
        conns[i].mask = 2654435761u * (i + 1);
    }
    return conns;
}

static void watch(struct conn *c, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = c};
    if (epoll_ctl(epoll_fd, operation, c->fd, &event))
        die("epoll_ctl: %s", strerror(errno));
}

static void forget(struct conn *c)
{
    if (c->phase != PHASE_CLOSED && c->phase != PHASE_OPEN)
        opening--;
    c->phase = PHASE_CLOSED;
    close(c->fd);
    c->fd = -1;
    free(c->in.at);
    free(c->out.at);
    c->in = c->out = (struct bytes){0};
}

void conn_cut(struct conn *c)
{
    if (c->fd >= 0)
        forget(c);
}

/* A connection that cannot even be opened leaves nothing to measure. */
static void lost(struct conn *c, const char *why)
{
    if (c->phase != PHASE_OPEN)
        die("connection %" PRIu32 " was lost while signing in (step %" PRIu32 "): %s", c->index,
            c->said, why);
    closed_by_server++;
    if (c->on_lost)
        c->on_lost(c);
    forget(c);
}

static void bytes_add(struct bytes *bytes, const char *data, size_t len)
{
    if (bytes->len + len > bytes->cap) {
        bytes->cap = (bytes->len + len) * 2;
        bytes->at = realloc(bytes->at, bytes->cap);
        if (!bytes->at)
            die("out of memory");
    }
    memcpy(bytes->at + bytes->len, data, len);
    bytes->len += len;
}

static void send_bytes(struct conn *c, const char *data, size_t len)
{
    if (c->fd < 0)
        return;
    if (c->out.len == 0) {
        ssize_t sent = send(c->fd, data, len, MSG_NOSIGNAL);
        if (sent == (ssize_t)len)
            return;
        if (sent < 0 && errno != EAGAIN) {
            lost(c, strerror(errno));
            return;
        }
        size_t taken = sent > 0 ? (size_t)sent : 0;
        data += taken;
        len -= taken;
        watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    if (c->out.len + len > OUT_BYTES_MAX)
        die("the server has stopped reading connection %" PRIu32, c->index);
    bytes_add(&c->out, data, len);
}

static void writable(struct conn *c)
{
    ssize_t sent = send(c->fd, c->out.at, c->out.len, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN)
            lost(c, strerror(errno));
        return;
    }
    c->out.len -= (size_t)sent;
    memmove(c->out.at, c->out.at + sent, c->out.len);
    if (c->out.len == 0)
        watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

void conn_say(struct conn *c, const char *template)
{
    static char body[REQUEST_BYTES_MAX];
    static char request[REQUEST_BYTES_MAX * 2];
    size_t len = expand(body, sizeof body, template ? template : "", c);
    if (c->plan->wire == WIRE_WS)
        len = ws_frame(request, sizeof request, OP_TEXT, c->mask, body, len);
    else
        len = http_request(request, sizeof request, c, template ? body : NULL);
    send_bytes(c, request, len);
}

static void opened(struct conn *c)
{
    c->phase = PHASE_OPEN;
    opening--;
    c->request_id = FIRST_WORK_ID;
}

static void say_next(struct conn *c)
{
    if (c->plan->greeted && !c->greeted)
        return;
    if (c->said == c->plan->says_count) {
        opened(c);
        return;
    }
    c->request_id = c->said + 1;
    conn_say(c, c->plan->says[c->said++]);
}

static void script_heard(struct conn *c, const struct message *message)
{
    uint64_t id;
    if (c->plan->greeted && !c->greeted) {
        c->greeted = true;
        say_next(c);
        return;
    }
    /* Events of what is already subscribed may come between; only the answer counts. */
    if (!json_u64(message->body, "id", &id) || id != c->said)
        return;
    if (json_is(message->body, "ok", "false"))
        die("a scripted frame was refused: %.*s", (int)message->body.len, message->body.at);
    if (c->on_script)
        c->on_script(c, message);
    say_next(c);
}

static void heard(struct conn *c, const struct message *message)
{
    if (c->phase == PHASE_SCRIPT)
        script_heard(c, message);
    else if (c->on_message)
        c->on_message(c, message);
}

/* Each of these takes one whole thing off the front: bytes used, 0 = not whole. */

static ssize_t take_upgrade(struct conn *c, const char *at, size_t len)
{
    const char *end = memmem(at, len, "\r\n\r\n", 4);
    if (!end)
        return 0;
    size_t head = (size_t)(end - at) + 4;
    if (!ws_accepted(at, head))
        die("the upgrade was refused: %.*s", (int)(head > 300 ? 300 : head), at);
    c->phase = PHASE_SCRIPT;
    say_next(c);
    return (ssize_t)head;
}

static void control_frame(struct conn *c, const struct frame *frame)
{
    char out[256];
    if (frame->opcode == OP_PING) {
        size_t len = frame->payload.len > 125 ? 125 : frame->payload.len;
        send_bytes(c, out, ws_frame(out, sizeof out, OP_PONG, c->mask, frame->payload.at, len));
    } else if (frame->opcode == OP_CLOSE) {
        const unsigned char *code = (const unsigned char *)frame->payload.at;
        if (frame->payload.len >= 2)
            last_close_code = (uint64_t)code[0] << 8 | code[1];
        lost(c, "closed by the server");
    }
}

static ssize_t take_frame(struct conn *c, const char *at, size_t len, uint64_t at_ns)
{
    struct frame frame;
    ssize_t used = ws_parse(at, len, &frame);
    if (used < 0)
        die("connection %" PRIu32 " received no frame we know", c->index);
    if (used == 0)
        return 0;
    if (frame.opcode >= OP_CLOSE)
        control_frame(c, &frame);
    else
        heard(c, &(struct message){0, frame.payload, at_ns});
    return used;
}

static ssize_t take_answer(struct conn *c, const char *at, size_t len, uint64_t at_ns)
{
    struct message answer = {.at_ns = at_ns};
    ssize_t used = http_parse(at, len, &answer);
    if (used < 0)
        die("connection %" PRIu32 " received no HTTP answer with a length: %.200s", c->index, at);
    if (used > 0)
        heard(c, &answer);
    return used;
}

/* Takes everything whole out of the scratch buffer; keeps the beginning of the rest. */
static void parse(struct conn *c, size_t len)
{
    uint64_t at_ns = now_ns();
    size_t begin = 0;
    while (begin < len && c->fd >= 0) {
        const char *at = scratch + begin;
        ssize_t used;
        if (c->plan->wire == WIRE_HTTP)
            used = take_answer(c, at, len - begin, at_ns);
        else if (c->phase == PHASE_UPGRADING)
            used = take_upgrade(c, at, len - begin);
        else
            used = take_frame(c, at, len - begin, at_ns);
        if (used == 0)
            break;
        begin += (size_t)used;
    }
    if (c->fd >= 0 && begin < len)
        bytes_add(&c->in, scratch + begin, len - begin);
}

static void readable(struct conn *c)
{
    size_t kept = c->in.len;
    if (kept >= SCRATCH_BYTES)
        die("a message is longer than %u bytes", SCRATCH_BYTES);
    ssize_t came = recv(c->fd, scratch + kept, SCRATCH_BYTES - kept, 0);
    if (came < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (came <= 0) {
        lost(c, came < 0 ? strerror(errno) : "end of stream");
        return;
    }
    if (kept) {
        memcpy(scratch, c->in.at, kept);
        c->in.len = 0;
    }
    parse(c, kept + (size_t)came);
}

static void connected(struct conn *c)
{
    int error = 0;
    socklen_t len = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
    if (error)
        die("cannot connect to port %u: %s", options.port, strerror(error));
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
    if (c->plan->wire == WIRE_HTTP) {
        opened(c);
        return;
    }
    static char request[REQUEST_BYTES_MAX];
    c->phase = PHASE_UPGRADING;
    send_bytes(c, request, ws_upgrade(request, sizeof request, c));
}

static void conn_open(struct conn *c)
{
    int one = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->index / CONNECTIONS_PER_ADDRESS);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from))
        die("bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    c->phase = PHASE_CONNECTING;
    c->said = 0;
    c->greeted = false;
    opening++;
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Opens and signs in all of them, never more at once than --opening-max: a
 * listen queue that overflows would measure the kernel's retry timer. */
void conns_open(struct conn *conns, uint32_t count)
{
    uint64_t deadline = now_ns() + (uint64_t)(options.open_timeout_s * NS_PER_S);
    uint32_t next = 0;
    while (next < count || opening) {
        while (next < count && opening < options.opening_max)
            conn_open(&conns[next++]);
        net_poll(50);
        if (now_ns() > deadline)
            die("%" PRIu32 " of %" PRIu32 " connections did not finish signing in", opening,
                count);
    }
}

static void handle(struct epoll_event *event)
{
    struct conn *c = event->data.ptr;
    if (!c) {
        /* A line came on standard input, or its end: the driver's word. */
        char line[64];
        if (read(STDIN_FILENO, line, sizeof line) <= 0)
            epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
        word_came = true;
        return;
    }
    if (c->fd < 0)
        return;
    if (c->phase == PHASE_CONNECTING) {
        connected(c);
        return;
    }
    if (event->events & EPOLLOUT)
        writable(c);
    if (c->fd >= 0 && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        readable(c);
}

void net_poll(int timeout_ms)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int count = epoll_wait(epoll_fd, events, EVENTS_AT_ONCE, timeout_ms);
    if (count < 0 && errno != EINTR)
        die("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++)
        handle(&events[i]);
}

bool net_until(bool (*done)(void), uint64_t deadline_ns)
{
    while (!done()) {
        if (now_ns() >= deadline_ns)
            return false;
        net_poll(1);
    }
    return true;
}

bool net_within(bool (*done)(void), double seconds)
{
    return net_until(done, now_ns() + (uint64_t)(seconds * NS_PER_S));
}

static bool never(void)
{
    return false;
}

void net_for(double seconds)
{
    net_within(never, seconds);
}

static bool word_has_come(void)
{
    return word_came;
}

void announce_ready(uint32_t connections, double opened_s)
{
    printf("{\"phase\":\"ready\",\"connections\":%" PRIu32 ",\"opened_s\":%.3f}\n", connections,
           opened_s);
    fflush(stdout);
    if (!options.hold)
        return;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event))
        die("standard input cannot be watched: %s", strerror(errno));
    if (!net_within(word_has_come, 600))
        die("nobody said go on");
}
