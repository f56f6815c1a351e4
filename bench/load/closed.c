/* Closed loops: each connection asks, waits for its answer, asks again.
 *
 * http          the plan's method, path and body, over and over; of several
 *               bodies each once, and then no more
 * ws-roundtrip  the frame of --request, until the answer with its id
 * idle          asks nothing: opens, signs in and holds */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static struct plan plan;
static struct conn *conns;
static struct stats latencies;
static uint64_t failures;
static uint64_t answers; /* Right ones, those of the warm-up too. */
static uint64_t starved; /* Connections that had said all there was to say. */
static bool stopped;

/* What to post next, NULL when there is no more. */
static const char *next_body(struct conn *c)
{
    const struct plan_line *line = c->plan;
    if (!line->bodies_count)
        return "";
    if (c->bodies_said == line->bodies_count && line->bodies_count > 1)
        return NULL;
    uint32_t next = line->bodies_count > 1 ? c->bodies_said++ : 0;
    c->beside = line->besides[next];
    return line->bodies[next];
}

static void ask(struct conn *c)
{
    if (stopped)
        return;
    const char *said = c->plan->wire == WIRE_WS ? options.request : next_body(c);
    if (!said) {
        starved++;
        return;
    }
    c->request_id++;
    c->sent_ns = now_ns();
    conn_say(c, said);
}

static bool is_expected(const struct conn *c, const struct message *message)
{
    const char *expect = c->plan->expect;
    if ((uint32_t)message->status != options.status)
        return false;
    return !expect || memmem(message->body.at, message->body.len, expect, strlen(expect));
}

static void answered(struct conn *c, const struct message *message)
{
    uint64_t id;
    if (c->plan->wire == WIRE_WS) {
        if (!json_u64(message->body, "id", &id) || id != c->request_id)
            return;
        if (json_is(message->body, "ok", "false"))
            failures++;
    } else if (is_expected(c, message)) {
        answers++;
    } else {
        failures++;
    }
    stats_add(&latencies, message->at_ns - c->sent_ns);
    ask(c);
}

static double open_all(void)
{
    uint64_t begun = now_ns();
    plan_read(&plan, options.plan_path);
    conns = conns_make(options.connections, &plan);
    for (uint32_t i = 0; i < options.connections; i++)
        conns[i].on_message = answered;
    conns_open(conns, options.connections);
    return (double)(now_ns() - begun) / NS_PER_S;
}

static void run_closed_loop(void)
{
    announce_ready(options.connections, open_all());
    for (uint32_t i = 0; i < options.connections; i++)
        ask(&conns[i]);
    net_for(options.warmup_s);
    stats_reset(&latencies);
    failures = 0;
    uint64_t begun = now_ns();
    net_for(options.seconds);
    double took_s = (double)(now_ns() - begun) / NS_PER_S;
    stopped = true;
    printf("{\"phase\":\"result\",\"count\":%" PRIu64 ",\"failures\":%" PRIu64
           ",\"answers\":%" PRIu64 ",\"starved\":%" PRIu64 ",\"closed\":%" PRIu64
           ",\"seconds\":%.3f,\"rate\":%.1f,",
           latencies.count, failures, answers, starved, closed_by_server, took_s,
           (double)latencies.count / took_s);
    stats_print(&latencies, "");
    puts("}");
}

void run_http(void)
{
    run_closed_loop();
}

void run_roundtrip(void)
{
    run_closed_loop();
}

void run_idle(void)
{
    announce_ready(options.connections, open_all());
    if (!options.hold)
        net_for(options.seconds);
    printf("{\"phase\":\"result\",\"closed\":%" PRIu64 ",\"close_code\":%" PRIu64 "}\n",
           closed_by_server, last_close_code);
}
