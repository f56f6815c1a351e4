/* Taking numbers and giving them back, and distrusting every one of them.
 *
 * Each connection takes a number at its stall, takes the next, finishes the one
 * before, and so on: every number is held for a while, so that a second caller
 * can be caught with it.  A number that comes while its stall still has it live,
 * or an id that came before, is counted as a duplicate.  A number counts as live
 * from the answer that brought it until its finish is sent, so nothing is called
 * a duplicate that a correct server could do.
 *
 * With --apart all take until LIVE_PER_STALL are out, the clock stops, all is
 * finished, the clock goes on: takes alone are measured. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define NUMBERS 1000u
/* 99 numbers make a pool; those under way must fit as well. */
#define LIVE_PER_STALL 80u

struct held {
    uint64_t ticket;
    uint32_t number;
};

static struct plan plan;
static struct conn *conns;
static struct stats takes;
static struct stats finishes;
static uint64_t duplicates;
static uint64_t refusals;
static char first_refusal[300];
static bool stopped;

static bool live[STALLS_MAX][NUMBERS];

/* Ids seen, in an open-addressed table that doubles; 0 is no id. */
static struct {
    uint64_t *at;
    size_t cap;
    size_t count;
} seen;

static bool see(uint64_t id);

static void grow(void)
{
    uint64_t *old = seen.at;
    size_t old_cap = seen.cap;
    seen.cap = old_cap ? old_cap * 2 : 1u << 16;
    seen.at = calloc(seen.cap, sizeof *seen.at);
    if (!seen.at)
        die("out of memory");
    seen.count = 0;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i])
            see(old[i]);
    free(old);
}

/* Remembers an id; false when it was there already. */
static bool see(uint64_t id)
{
    if (seen.count * 2 >= seen.cap)
        grow();
    size_t i = (id * 0x9e3779b97f4a7c15ull >> 20) & (seen.cap - 1);
    while (seen.at[i]) {
        if (seen.at[i] == id)
            return false;
        i = (i + 1) & (seen.cap - 1);
    }
    seen.at[i] = id;
    seen.count++;
    return true;
}

/* Reads number and id from an answer of either dialect; false for a refusal. */
static bool read_ticket(struct conn *c, const struct message *message)
{
    uint64_t number;
    if (c->plan->wire == WIRE_WS) {
        if (!json_is(message->body, "ok", "true") ||
            !json_u64(message->body, "data.id", &c->ticket) ||
            !json_u64(message->body, "data.number", &number))
            return false;
    } else {
        c->ticket = 0;
        if (!json_u64(message->body, "marchSn", &number))
            return false;
    }
    c->number = (uint32_t)number;
    return number > 0 && number < NUMBERS;
}

static bool finished_well(const struct conn *c, const struct message *message)
{
    if (c->plan->wire == WIRE_WS)
        return json_is(message->body, "ok", "true");
    return json_is(message->body, "doneSuccess", "\"success\"");
}

static void take(struct conn *c)
{
    c->finishing = false;
    c->request_id++;
    c->unanswered = 1;
    c->sent_ns = now_ns();
    conn_say(c, c->plan->issue);
}

static void finish(struct conn *c)
{
    live[c->plan->stall_slot][c->number] = false;
    c->finishing = true;
    c->request_id++;
    c->unanswered = 1;
    c->sent_ns = now_ns();
    conn_say(c, c->plan->finish);
}

static void check(const struct conn *c)
{
    bool *is_live = &live[c->plan->stall_slot][c->number];
    if (*is_live || (c->ticket && !see(c->ticket)))
        duplicates++;
    *is_live = true;
}

static void refused(const struct message *message)
{
    if (!refusals++)
        snprintf(first_refusal, sizeof first_refusal, "%.*s", (int)message->body.len,
                 message->body.at);
}

/* Whether an answer belongs to what was asked (frames of events may come between). */
static bool is_answer(const struct conn *c, const struct message *message)
{
    uint64_t id;
    return c->plan->wire == WIRE_HTTP ||
           (json_u64(message->body, "id", &id) && id == c->request_id);
}

/* Keeps the ticket just taken and finishes the one kept before; false without one. */
static bool finish_kept(struct conn *c)
{
    struct held before = {c->kept_ticket, c->kept_number};
    c->kept_ticket = c->ticket;
    c->kept_number = c->number;
    if (!before.number)
        return false;
    c->ticket = before.ticket;
    c->number = before.number;
    finish(c);
    return true;
}

static void answered_in_turn(struct conn *c, const struct message *message)
{
    if (!is_answer(c, message))
        return;
    c->unanswered = 0;
    uint64_t latency = message->at_ns - c->sent_ns;
    if (c->finishing) {
        if (finished_well(c, message))
            stats_add(&finishes, latency);
        else
            refused(message);
        if (!stopped)
            take(c);
        return;
    }
    if (read_ticket(c, message)) {
        stats_add(&takes, latency);
        check(c);
        if (finish_kept(c))
            return;
    } else {
        refused(message);
    }
    if (!stopped)
        take(c);
}

static bool none_unanswered(void)
{
    for (uint32_t i = 0; i < options.connections; i++)
        if (conns[i].fd >= 0 && conns[i].unanswered)
            return false;
    return true;
}

static void await_all(void)
{
    if (!net_within(none_unanswered, 30))
        die("answers are missing after 30 s");
}

static double measure_in_turn(void)
{
    for (uint32_t i = 0; i < options.connections; i++)
        take(&conns[i]);
    net_for(options.warmup_s);
    stats_reset(&takes);
    stats_reset(&finishes);
    uint64_t begun = now_ns();
    net_for(options.seconds);
    double took_s = (double)(now_ns() - begun) / NS_PER_S;
    struct stats measured = takes;
    struct stats measured_finishes = finishes;
    stopped = true;
    await_all();
    for (uint32_t i = 0; i < options.connections; i++) {
        conns[i].ticket = conns[i].kept_ticket;
        conns[i].number = conns[i].kept_number;
        if (conns[i].number)
            finish(&conns[i]);
    }
    await_all();
    takes = measured;
    finishes = measured_finishes;
    return took_s;
}

/* Takes alone: what was taken in this round is kept to be finished after it. */
static struct held (*held)[LIVE_PER_STALL];
static uint32_t *held_count;
static uint32_t quota;

static void answered_apart(struct conn *c, const struct message *message)
{
    if (!is_answer(c, message))
        return;
    c->unanswered = 0;
    uint32_t *count = &held_count[c->index];
    if (c->finishing) {
        if (!finished_well(c, message))
            refused(message);
    } else if (read_ticket(c, message)) {
        stats_add(&takes, message->at_ns - c->sent_ns);
        check(c);
        held[c->index][(*count)++] = (struct held){c->ticket, c->number};
        if (*count < quota)
            take(c);
        return;
    } else {
        refused(message);
        return;
    }
    if (*count) {
        (*count)--;
        c->ticket = held[c->index][*count].ticket;
        c->number = held[c->index][*count].number;
        finish(c);
    }
}

static void finish_all(void)
{
    for (uint32_t i = 0; i < options.connections; i++) {
        struct conn *c = &conns[i];
        if (!held_count[i])
            continue;
        held_count[i]--;
        c->ticket = held[i][held_count[i]].ticket;
        c->number = held[i][held_count[i]].number;
        finish(c);
    }
    await_all();
}

static double round_of_takes(void)
{
    uint64_t begun = now_ns();
    for (uint32_t i = 0; i < options.connections; i++)
        take(&conns[i]);
    await_all();
    double took_s = (double)(now_ns() - begun) / NS_PER_S;
    finish_all();
    return took_s;
}

static double measure_apart(void)
{
    uint32_t distinct = 0;
    for (uint32_t i = 0; i < plan.count; i++)
        if (plan.lines[i].stall_slot >= distinct)
            distinct = plan.lines[i].stall_slot + 1;
    uint32_t callers_per_stall = (options.connections + distinct - 1) / distinct;
    quota = LIVE_PER_STALL / callers_per_stall;
    if (!quota)
        die("too many callers for %u stalls", distinct);
    held = calloc(options.connections, sizeof *held);
    held_count = calloc(options.connections, sizeof *held_count);
    if (!held || !held_count)
        die("out of memory");
    double warm_s = 0;
    while (warm_s < options.warmup_s && !refusals)
        warm_s += round_of_takes();
    stats_reset(&takes);
    double took_s = 0;
    while (took_s < options.seconds && !refusals)
        took_s += round_of_takes();
    return took_s;
}

void run_take(void)
{
    uint64_t begun = now_ns();
    plan_read(&plan, options.plan_path);
    conns = conns_make(options.connections, &plan);
    for (uint32_t i = 0; i < options.connections; i++) {
        if (!conns[i].plan->issue || !conns[i].plan->finish)
            die("the plan has no issue or finish");
        conns[i].on_message = options.apart ? answered_apart : answered_in_turn;
    }
    conns_open(conns, options.connections);
    announce_ready(options.connections, (double)(now_ns() - begun) / NS_PER_S);
    double took_s = options.apart ? measure_apart() : measure_in_turn();
    if (!takes.count)
        die("no number was taken: %s", first_refusal);
    if (refusals)
        fprintf(stderr, "load: the first refusal: %s\n", first_refusal);
    printf("{\"phase\":\"result\",\"count\":%" PRIu64 ",\"finishes\":%" PRIu64
           ",\"duplicates\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"closed\":%" PRIu64
           ",\"close_code\":%" PRIu64 ",\"seconds\":%.3f,\"rate\":%.1f,",
           takes.count, finishes.count, duplicates, refusals, closed_by_server, last_close_code, took_s,
           (double)takes.count / took_s);
    stats_print(&takes, "");
    printf(",");
    stats_print(&finishes, "finish_");
    puts("}");
}
