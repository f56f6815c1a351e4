/* The load generator: many HTTP/1.1 and WebSocket clients in one epoll loop.
 *
 * It is written in C so that one core of callers outruns any server measured
 * with it.  Only loopback is ever contacted, every wait has an end, and what
 * was heard is checked (numbers, ids, sequences), not only counted.
 *
 * A run is described by a plan file; see plan.c for its form. */

#ifndef CALLME_BENCH_LOAD_H
#define CALLME_BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define CONNECTIONS_MAX 12000u
#define PLAN_LINES_MAX 12000u
#define SAYS_MAX 8u
#define STALLS_MAX 4096u
#define REQUEST_BYTES_MAX 8192u
/* Scripted frames carry ids 1, 2, 3 …; those of the measured work start above. */
#define FIRST_WORK_ID 100u

/* A stretch of bytes somewhere else; not terminated. */
struct slice {
    const char *at;
    size_t len;
};

struct bytes {
    char *at;
    size_t len;
    size_t cap;
};

enum wire { WIRE_WS, WIRE_HTTP };

/* One line of a plan: where a connection goes and what it says. */
struct plan_line {
    enum wire wire;
    char *path;
    char *method;
    char *headers; /* "Name: value\r\n" for each header field. */
    char **bodies; /* One is said over and over; of several each is said once. */
    char **besides; /* The header fields of each body alone; NULL for none. */
    char *beside;   /* Of the body to come. */
    uint32_t bodies_count;
    char *expect; /* What the body of an answer must contain; may be NULL. */
    char *says[SAYS_MAX]; /* Frames of the sign-in, each answered before the next. */
    uint32_t says_count;
    bool greeted; /* The server speaks first; wait for that before the first frame. */
    char *key;    /* Fills @key@: a session key, a name. */
    char *issue;  /* Request that takes a number. */
    char *finish; /* Request that gives it back. */
    char *publish; /* Request that makes one message on the topic. */
    bool replied;  /* Whether a publish is answered on its own connection. */
    uint32_t topic;
    uint64_t stall;
    uint32_t stall_slot; /* A small index of the stall, for tables. */
};

struct plan {
    struct plan_line *lines;
    uint32_t count;
    uint32_t topics; /* Highest topic + 1. */
};

/* What a connection heard: one text frame, or one HTTP answer. */
struct message {
    int status; /* HTTP status; 0 for a frame. */
    struct slice body;
    uint64_t at_ns;
};

enum phase { PHASE_CLOSED, PHASE_CONNECTING, PHASE_UPGRADING, PHASE_SCRIPT, PHASE_OPEN };

struct conn;
typedef void on_conn_fn(struct conn *);
typedef void on_message_fn(struct conn *, const struct message *);

struct conn {
    int fd;
    enum phase phase;
    uint32_t index;
    const struct plan_line *plan;
    on_conn_fn *on_lost;       /* The server closed it after sign-in; may be NULL. */
    on_message_fn *on_script;  /* Sees the answers to scripted frames; may be NULL. */
    on_message_fn *on_message; /* Sees everything after that; may be NULL. */
    struct bytes in;           /* The beginning of a message not yet whole. */
    struct bytes out;          /* What the socket would not take yet. */
    bool greeted;
    uint32_t said;
    uint32_t mask;

    /* The work in hand; each mode uses what it needs. */
    uint64_t request_id;
    uint64_t sent_ns;
    uint32_t bodies_said;
    const char *beside; /* Header fields of what is said next. */
    uint64_t ticket;
    uint32_t number;
    uint64_t kept_ticket;
    uint32_t kept_number;
    bool finishing;
    uint32_t unanswered;
    uint64_t seq;
    uint64_t heard;
    char epoch[64];
};

struct options {
    const char *mode;
    const char *plan_path;
    const char *publishers_path;
    const char *request; /* Template of a round trip's frame. */
    uint16_t port;
    uint32_t connections;
    uint32_t window;   /* Messages of one topic under way, fan-out without a rate. */
    uint32_t pipeline; /* Unanswered publishes on one publisher's connection. */
    uint32_t status;   /* The HTTP status that counts as done. */
    uint32_t missed;   /* Messages made on every other topic while all are cut. */
    double rate;       /* Messages a second over all topics; 0 = as the window allows. */
    double warmup_s;
    double seconds;
    double open_timeout_s;
    uint32_t opening_max; /* Sign-ins under way at once. */
    bool apart;           /* Finish taken numbers outside of the measured time. */
    bool hold;            /* After "ready", wait for a line on standard input. */
};

extern struct options options;

/* stats.c: the clock. */
uint64_t now_ns(void);

/* stats.c: latencies of the measured time. */
struct stats {
    uint64_t buckets[64 * 64];
    uint64_t count;
    uint64_t max_ns;
    double sum_ns;
};
void stats_reset(struct stats *);
void stats_add(struct stats *, uint64_t latency_ns);
double stats_quantile_ms(const struct stats *, double quantile);
/* Writes "name_p50_ms", "name_p99_ms" … as JSON members. */
void stats_print(const struct stats *, const char *prefix);

/* json.c: finding values in JSON without building anything. */
bool json_find(struct slice object, const char *dotted, struct slice *value);
bool json_next(struct slice array, size_t *position, struct slice *element);
bool json_u64(struct slice object, const char *dotted, uint64_t *value);
bool json_is(struct slice object, const char *dotted, const char *expected);

/* plan.c */
void plan_read(struct plan *, const char *path);
const struct plan_line *plan_line(const struct plan *, uint32_t index);
size_t expand(char *out, size_t cap, const char *template, const struct conn *);

/* http.c */
size_t http_request(char *out, size_t cap, const struct conn *, const char *body);
ssize_t http_parse(const char *at, size_t len, struct message *);
size_t ws_upgrade(char *out, size_t cap, const struct conn *);
bool ws_accepted(const char *at, size_t len);

/* ws.c */
enum opcode { OP_TEXT = 1, OP_BINARY = 2, OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };
struct frame {
    int opcode;
    struct slice payload;
};
size_t ws_frame(char *out, size_t cap, int opcode, uint32_t mask, const char *payload, size_t len);
ssize_t ws_parse(const char *at, size_t len, struct frame *);

/* net.c: the connections and the loop. */
extern uint64_t closed_by_server;
extern uint64_t last_close_code;
void net_start(void);
struct conn *conns_make(uint32_t count, const struct plan *);
void conns_open(struct conn *, uint32_t count);
void conn_cut(struct conn *);
/* Sends a template as a frame, or as an HTTP request with that body. */
void conn_say(struct conn *, const char *template);
void net_poll(int timeout_ms);
/* Polls until done() says so; false when the deadline came first. */
bool net_until(bool (*done)(void), uint64_t deadline_ns);
bool net_within(bool (*done)(void), double seconds);
void net_for(double seconds);
/* Tells the driver that all is connected, and waits for its word when asked to. */
void announce_ready(uint32_t connections, double opened_s);
void die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* topics.c: publishers, and what was published on each topic. */
struct topic {
    struct conn **publishers;
    uint32_t publishers_count;
    uint32_t turn;
    uint32_t subscribers;
    uint64_t published;
    uint64_t heard; /* Deliveries to those still subscribed. */
    uint64_t *sent_ns; /* When each of the last SENT_KEPT messages was sent. */
};
#define SENT_KEPT 16384u
extern struct topic *topics;
extern uint32_t topics_count;
extern on_conn_fn *publisher_free; /* Called when a publish was answered; may be NULL. */
void topics_make(uint32_t count);
void publishers_open(void);
/* Publishes on a topic unless all its publishers wait for answers and must. */
bool publish(uint32_t topic, bool must);
bool all_published(void);

/* The modes; each prints one JSON line and returns. */
void run_http(void);
void run_roundtrip(void);
void run_take(void);
void run_fanout(void);
void run_idle(void);
void run_resume(void);

#endif
