/* The plan: who connects where and says what.
 *
 * One connection a line, fields name=value parted by tabs; connection i uses
 * line i modulo the number of lines.  Fields: wire (ws, http), path, method,
 * header (repeatable), beside (repeatable: a header of the next body alone),
 * body (repeatable), expect, greeted (yes), say (repeatable), key, stall,
 * topic, issue, finish, publish, replied (no).
 *
 * In what is said, @id@ @key@ @stall@ @ticket@ @number@ @seq@ @nonce@ and
 * @since@ are filled in; any other @ stands for itself. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "load.h"

static uint64_t stalls[STALLS_MAX];
static uint32_t stalls_count;

static uint32_t slot_of(uint64_t stall)
{
    for (uint32_t i = 0; i < stalls_count; i++)
        if (stalls[i] == stall)
            return i;
    if (stalls_count == STALLS_MAX)
        die("more than %u stalls in the plan", STALLS_MAX);
    stalls[stalls_count] = stall;
    return stalls_count++;
}

static char *copy(const char *text)
{
    char *made = strdup(text);
    if (!made)
        die("out of memory");
    return made;
}

static void add_header(char **headers, const char *header)
{
    size_t before = *headers ? strlen(*headers) : 0;
    size_t needed = before + strlen(header) + 3;
    *headers = realloc(*headers, needed);
    if (!*headers)
        die("out of memory");
    snprintf(*headers + before, needed - before, "%s\r\n", header);
}

static void add_body(struct plan_line *line, const char *body)
{
    /* Doubled whenever the count is a power of two. */
    uint32_t count = line->bodies_count;
    if (!(count & (count - 1))) {
        uint32_t room = count ? count * 2 : 1;
        line->bodies = realloc(line->bodies, room * sizeof *line->bodies);
        line->besides = realloc(line->besides, room * sizeof *line->besides);
        if (!line->bodies || !line->besides)
            die("out of memory");
    }
    line->besides[count] = line->beside;
    line->beside = NULL;
    line->bodies[line->bodies_count++] = copy(body);
}

static void add_say(struct plan_line *line, const char *frame)
{
    if (line->says_count == SAYS_MAX)
        die("more than %u frames in a script", SAYS_MAX);
    line->says[line->says_count++] = copy(frame);
}

static void set_field(struct plan_line *line, const char *name, const char *value)
{
    if (!strcmp(name, "wire"))
        line->wire = strcmp(value, "http") ? WIRE_WS : WIRE_HTTP;
    else if (!strcmp(name, "path"))
        line->path = copy(value);
    else if (!strcmp(name, "method"))
        line->method = copy(value);
    else if (!strcmp(name, "header"))
        add_header(&line->headers, value);
    else if (!strcmp(name, "beside"))
        add_header(&line->beside, value);
    else if (!strcmp(name, "body"))
        add_body(line, value);
    else if (!strcmp(name, "expect"))
        line->expect = copy(value);
    else if (!strcmp(name, "greeted"))
        line->greeted = !strcmp(value, "yes");
    else if (!strcmp(name, "say"))
        add_say(line, value);
    else if (!strcmp(name, "key"))
        line->key = copy(value);
    else if (!strcmp(name, "stall"))
        line->stall = strtoull(value, NULL, 10);
    else if (!strcmp(name, "topic"))
        line->topic = (uint32_t)strtoul(value, NULL, 10);
    else if (!strcmp(name, "issue"))
        line->issue = copy(value);
    else if (!strcmp(name, "finish"))
        line->finish = copy(value);
    else if (!strcmp(name, "publish"))
        line->publish = copy(value);
    else if (!strcmp(name, "replied"))
        line->replied = strcmp(value, "no") != 0;
    else
        die("unknown plan field: %s", name);
}

static void read_line(struct plan_line *line, char *text)
{
    char *rest = text;
    char *field;
    *line = (struct plan_line){.wire = WIRE_WS, .replied = true};
    while ((field = strsep(&rest, "\t"))) {
        char *equals = strchr(field, '=');
        if (!equals)
            die("plan field without '=': %s", field);
        *equals = 0;
        set_field(line, field, equals + 1);
    }
    if (!line->path)
        line->path = copy("/");
    if (!line->method)
        line->method = copy("POST");
    line->stall_slot = slot_of(line->stall);
}

void plan_read(struct plan *plan, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        die("cannot read the plan %s", path);
    plan->lines = calloc(PLAN_LINES_MAX, sizeof *plan->lines);
    if (!plan->lines)
        die("out of memory");
    char *text = NULL;
    size_t cap = 0;
    ssize_t len;
    while ((len = getline(&text, &cap, file)) > 0) {
        if (text[len - 1] == '\n')
            text[len - 1] = 0;
        if (!text[0])
            continue;
        if (plan->count == PLAN_LINES_MAX)
            die("more than %u lines in the plan", PLAN_LINES_MAX);
        struct plan_line *line = &plan->lines[plan->count++];
        read_line(line, text);
        if (line->topic >= plan->topics)
            plan->topics = line->topic + 1;
    }
    free(text);
    fclose(file);
    if (!plan->count)
        die("the plan %s is empty", path);
}

const struct plan_line *plan_line(const struct plan *plan, uint32_t index)
{
    return &plan->lines[index % plan->count];
}

/* Writes the value of a name that was between two @; returns -1 for none. */
static int value_of(char *out, size_t cap, const char *name, size_t len, const struct conn *c)
{
    static uint64_t nonce;
#define IS(word) (len == sizeof word - 1 && !memcmp(name, word, len))
    if (IS("id"))
        return snprintf(out, cap, "%" PRIu64, c->request_id);
    if (IS("key"))
        return snprintf(out, cap, "%s", c->plan->key ? c->plan->key : "");
    if (IS("stall"))
        return snprintf(out, cap, "%" PRIu64, c->plan->stall);
    if (IS("ticket"))
        return snprintf(out, cap, "%" PRIu64, c->ticket);
    if (IS("number"))
        return snprintf(out, cap, "%" PRIu32, c->number);
    if (IS("seq"))
        return snprintf(out, cap, "%" PRIu64, c->seq);
    if (IS("nonce"))
        return snprintf(out, cap, "%ld-%" PRIu64, (long)getpid(), ++nonce);
    if (IS("since") && !c->epoch[0])
        return snprintf(out, cap, "%s", "");
    if (IS("since"))
        return snprintf(out, cap, ",\"since\":{\"epoch\":%s,\"seq\":%" PRIu64 "}", c->epoch,
                        c->seq);
#undef IS
    return -1;
}

size_t expand(char *out, size_t cap, const char *template, const struct conn *c)
{
    size_t n = 0;
    const char *at = template;
    while (*at && n + 1 < cap) {
        const char *end = *at == '@' ? strchr(at + 1, '@') : NULL;
        int wrote = end ? value_of(out + n, cap - n, at + 1, (size_t)(end - at - 1), c) : -1;
        if (wrote >= 0) {
            n += (size_t)wrote;
            at = end + 1;
        } else {
            out[n++] = *at++;
        }
    }
    if (n + 1 >= cap)
        die("a request is longer than %zu bytes", cap);
    out[n] = 0;
    return n;
}
