/* Topics, who publishes on them, and when each message was sent.
 *
 * Messages need no time of their own: the n-th event a subscriber hears on a
 * topic is the n-th that was published there, so its latency is known for any
 * server, whatever its frames look like. */

#include <stdlib.h>
#include <string.h>

#include "load.h"

struct topic *topics;
uint32_t topics_count;
on_conn_fn *publisher_free;

static struct plan plan;
static struct conn *publishers;

void topics_make(uint32_t count)
{
    topics_count = count;
    topics = calloc(count, sizeof *topics);
    if (!topics)
        die("out of memory");
    for (uint32_t i = 0; i < count; i++) {
        topics[i].sent_ns = calloc(SENT_KEPT, sizeof *topics[i].sent_ns);
        if (!topics[i].sent_ns)
            die("out of memory");
    }
}

static void answered(struct conn *c, const struct message *message)
{
    uint64_t id;
    bool is_http = c->plan->wire == WIRE_HTTP;
    if (!is_http && !json_u64(message->body, "id", &id))
        return;
    if (is_http ? message->status >= 300 : json_is(message->body, "ok", "false"))
        die("a message was refused: %.*s", (int)message->body.len, message->body.at);
    if (c->unanswered)
        c->unanswered--;
    if (publisher_free)
        publisher_free(c);
}

static void lost(struct conn *c)
{
    die("the server closed a publisher of topic %u", c->plan->topic);
}

static void add_publisher(struct conn *c)
{
    if (c->plan->topic >= topics_count)
        die("a publisher of topic %u, which nobody listens to", c->plan->topic);
    if (!c->plan->publish)
        die("a publisher without publish");
    struct topic *topic = &topics[c->plan->topic];
    size_t size = (topic->publishers_count + 1) * sizeof *topic->publishers;
    topic->publishers = realloc(topic->publishers, size);
    if (!topic->publishers)
        die("out of memory");
    topic->publishers[topic->publishers_count++] = c;
    c->on_message = answered;
    c->on_lost = lost;
}

void publishers_open(void)
{
    if (!options.publishers_path)
        return;
    plan_read(&plan, options.publishers_path);
    publishers = conns_make(plan.count, &plan);
    for (uint32_t i = 0; i < plan.count; i++)
        add_publisher(&publishers[i]);
    conns_open(publishers, plan.count);
}

static bool is_free(const struct conn *c)
{
    return !c->plan->replied || c->unanswered < options.pipeline;
}

bool publish(uint32_t index, bool must)
{
    struct topic *topic = &topics[index];
    for (uint32_t i = 0; i < topic->publishers_count; i++) {
        struct conn *c = topic->publishers[topic->turn++ % topic->publishers_count];
        if (!must && !is_free(c))
            continue;
        topic->sent_ns[topic->published++ % SENT_KEPT] = now_ns();
        c->request_id++;
        c->seq = topic->published;
        if (c->plan->replied)
            c->unanswered++;
        conn_say(c, c->plan->publish);
        return true;
    }
    return false;
}

bool all_published(void)
{
    for (uint32_t i = 0; i < plan.count; i++)
        if (publishers[i].unanswered)
            return false;
    return true;
}
