/* Everybody is cut and comes back with the last seq heard.
 *
 * All connections subscribe and hear one message on their topic; all are cut;
 * --missed messages are made on every other topic; all come back.  The time is
 * from the first new connection to the last catching up.  Each must be given
 * exactly what it missed, and then hear the next message as the next seq.
 *
 * A server without sequences is only measured coming back. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static struct plan plan;
static struct conn *conns;
static bool is_resuming;
static bool is_sequenced;
static uint64_t wrong;
static uint64_t snapshots;
static uint64_t recovered;
static uint64_t heard_count;

static uint64_t missed_by(const struct conn *c)
{
    return c->plan->topic % 2 == 0 ? options.missed : 0;
}

static void complain(const char *what, const struct conn *c, const struct message *message)
{
    if (!wrong++)
        fprintf(stderr, "load: connection %" PRIu32 " at seq %" PRIu64 ": %s: %.*s\n", c->index,
                c->seq, what, (int)(message->body.len > 400 ? 400 : message->body.len),
                message->body.at);
}

/* The seq of an event in an answer: a member of it, or the bare number. */
static bool event_seq(struct slice event, uint64_t *seq)
{
    if (json_u64(event, "seq", seq))
        return true;
    char digits[24] = {0};
    if (!event.len || event.len >= sizeof digits || event.at[0] < '0' || event.at[0] > '9')
        return false;
    memcpy(digits, event.at, event.len);
    *seq = strtoull(digits, NULL, 10);
    return true;
}

static void check_recovered(struct conn *c, const struct message *message, uint64_t seq)
{
    struct slice events;
    struct slice event;
    size_t position = 0;
    uint64_t last = c->seq;
    uint64_t next;
    if (json_find(message->body, "data.events", &events)) {
        while (json_next(events, &position, &event)) {
            if (!event_seq(event, &next) || next != last + 1)
                complain("an event out of order", c, message);
            last++;
            recovered++;
        }
    }
    if (last != seq)
        complain("events are missing", c, message);
}

static void subscribed(struct conn *c, const struct message *message)
{
    struct slice epoch;
    uint64_t seq;
    if (!json_find(message->body, "data.epoch", &epoch) ||
        !json_u64(message->body, "data.seq", &seq))
        return; /* The answer to the sign-in. */
    is_sequenced = true;
    if (is_resuming) {
        if (seq != c->seq + missed_by(c))
            complain("another seq than expected", c, message);
        if (json_is(message->body, "data.recovered", "true"))
            check_recovered(c, message, seq);
        else
            snapshots++;
    }
    if (epoch.len >= sizeof c->epoch)
        die("an epoch is longer than %zu bytes", sizeof c->epoch);
    memcpy(c->epoch, epoch.at, epoch.len);
    c->epoch[epoch.len] = 0;
    c->seq = seq;
}

static void heard(struct conn *c, const struct message *message)
{
    uint64_t seq;
    if (!json_u64(message->body, "seq", &seq))
        return;
    if (is_sequenced && seq != c->seq + 1)
        complain("a gap or a repeat", c, message);
    c->seq = seq;
    heard_count++;
}

static bool all_heard(void)
{
    return heard_count >= options.connections;
}

/* One message on each topic, heard by everyone; returns how many did not. */
static uint64_t everyone_hears_one(void)
{
    heard_count = 0;
    if (!options.publishers_path)
        return 0;
    for (uint32_t i = 0; i < topics_count; i++)
        publish(i, true);
    net_within(all_heard, 30);
    net_within(all_published, 30);
    return options.connections - heard_count;
}

static void cut_all(void)
{
    for (uint32_t i = 0; i < options.connections; i++)
        conn_cut(&conns[i]);
    /* The server is given the time to notice, as it has in real life. */
    net_for(1);
}

static void make_missed(void)
{
    if (!options.publishers_path)
        return;
    for (uint32_t k = 0; k < options.missed; k++)
        for (uint32_t i = 0; i < topics_count; i += 2)
            publish(i, true);
    if (!net_within(all_published, 60))
        die("the messages to be missed were not all answered");
}

void run_resume(void)
{
    plan_read(&plan, options.plan_path);
    topics_make(plan.topics);
    conns = conns_make(options.connections, &plan);
    for (uint32_t i = 0; i < options.connections; i++) {
        conns[i].on_script = subscribed;
        conns[i].on_message = heard;
    }
    uint64_t begun = now_ns();
    conns_open(conns, options.connections);
    double opened_s = (double)(now_ns() - begun) / NS_PER_S;
    publishers_open();
    announce_ready(options.connections, opened_s);

    uint64_t deaf_before = everyone_hears_one();
    cut_all();
    make_missed();
    is_resuming = true;
    begun = now_ns();
    conns_open(conns, options.connections);
    double back_s = (double)(now_ns() - begun) / NS_PER_S;
    uint64_t deaf_after = everyone_hears_one();

    printf("{\"phase\":\"result\",\"opened_s\":%.3f,\"back_s\":%.3f,\"recovered\":%" PRIu64
           ",\"snapshots\":%" PRIu64 ",\"wrong\":%" PRIu64 ",\"missing\":%" PRIu64
           ",\"closed\":%" PRIu64 "}\n",
           opened_s, back_s, recovered, snapshots, wrong, deaf_before + deaf_after,
           closed_by_server);
}
