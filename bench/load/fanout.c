/* Fan-out: many subscribers, few publishers, every delivery checked.
 *
 * With --rate, that many messages a second go out, topic after topic, and the
 * latency is from sending to hearing.  Without it each topic has --window
 * messages under way, which finds the most deliveries a second. */

#include <inttypes.h>
#include <stdlib.h>

#include "load.h"

static struct plan plan;
static struct conn *conns;
static struct stats latencies;
static uint64_t gaps;
static uint64_t unexpected;
static bool stopped;

static void fill_window(uint32_t index)
{
    struct topic *topic = &topics[index];
    if (stopped || options.rate > 0 || !topic->subscribers)
        return;
    while (topic->published - topic->heard / topic->subscribers < options.window)
        if (!publish(index, false))
            return;
}

static void a_publisher_is_free(struct conn *c)
{
    fill_window(c->plan->topic);
}

static void heard(struct conn *c, const struct message *message)
{
    uint64_t seq;
    if (!json_u64(message->body, "seq", &seq))
        return;
    struct topic *topic = &topics[c->plan->topic];
    if (c->seq && seq != c->seq + 1)
        gaps++;
    c->seq = seq;
    if (c->heard >= topic->published) {
        unexpected++;
        return;
    }
    if (topic->published - c->heard > SENT_KEPT)
        die("a subscriber is more than %u messages behind", SENT_KEPT);
    stats_add(&latencies, message->at_ns - topic->sent_ns[c->heard++ % SENT_KEPT]);
    topic->heard++;
    if (topic->heard % topic->subscribers == 0)
        fill_window(c->plan->topic);
}

static void lost(struct conn *c)
{
    struct topic *topic = &topics[c->plan->topic];
    topic->subscribers--;
    topic->heard -= c->heard;
    fill_window(c->plan->topic);
}

static void publish_at_rate(double seconds)
{
    uint64_t begun = now_ns();
    uint64_t end = begun + (uint64_t)(seconds * NS_PER_S);
    static uint32_t turn;
    for (uint64_t sent = 0; now_ns() < end;) {
        uint64_t due = (uint64_t)((double)(now_ns() - begun) / NS_PER_S * options.rate);
        while (sent < due) {
            publish(turn++ % topics_count, true);
            sent++;
        }
        net_poll(1);
    }
}

static void run_seconds(double seconds)
{
    if (options.rate > 0)
        publish_at_rate(seconds);
    else
        net_for(seconds);
}

static bool all_heard(void)
{
    for (uint32_t i = 0; i < topics_count; i++)
        if (topics[i].heard != topics[i].published * topics[i].subscribers)
            return false;
    return true;
}

static uint64_t missing(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < topics_count; i++)
        sum += topics[i].published * topics[i].subscribers - topics[i].heard;
    return sum;
}

static uint64_t published(void)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < topics_count; i++)
        sum += topics[i].published;
    return sum;
}

static void subscribe_all(void)
{
    plan_read(&plan, options.plan_path);
    topics_make(plan.topics);
    conns = conns_make(options.connections, &plan);
    for (uint32_t i = 0; i < options.connections; i++) {
        conns[i].on_message = heard;
        conns[i].on_lost = lost;
        topics[conns[i].plan->topic].subscribers++;
    }
    conns_open(conns, options.connections);
}

void run_fanout(void)
{
    uint64_t begun = now_ns();
    subscribe_all();
    double opened_s = (double)(now_ns() - begun) / NS_PER_S;
    publisher_free = a_publisher_is_free;
    publishers_open();
    announce_ready(options.connections, opened_s);

    for (uint32_t i = 0; i < topics_count; i++)
        fill_window(i);
    run_seconds(options.warmup_s);
    stats_reset(&latencies);
    uint64_t published_before = published();
    uint64_t closed_before = closed_by_server;
    begun = now_ns();
    run_seconds(options.seconds);
    double took_s = (double)(now_ns() - begun) / NS_PER_S;
    struct stats measured = latencies;
    uint64_t messages = published() - published_before;
    stopped = true;
    net_within(all_heard, 20);

    printf("{\"phase\":\"result\",\"count\":%" PRIu64 ",\"messages\":%" PRIu64 ",\"gaps\":%" PRIu64
           ",\"missing\":%" PRIu64 ",\"unexpected\":%" PRIu64 ",\"closed\":%" PRIu64
           ",\"close_code\":%" PRIu64 ",\"seconds\":%.3f,\"rate\":%.1f,",
           measured.count, messages, gaps, missing(), unexpected,
           closed_by_server - closed_before, last_close_code, took_s,
           (double)measured.count / took_s);
    stats_print(&measured, "");
    puts("}");
}
