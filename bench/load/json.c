/* Finding values in JSON without building anything.
 *
 * Only well-formed JSON is expected (it comes from the server under test); on
 * anything else a value is simply not found. */

#include <stdlib.h>
#include <string.h>

#include "load.h"

static size_t skip_blank(struct slice text, size_t i)
{
    while (i < text.len && (text.at[i] == ' ' || text.at[i] == '\n' || text.at[i] == '\r' ||
                            text.at[i] == '\t'))
        i++;
    return i;
}

/* The position after the string that begins at i. */
static size_t skip_string(struct slice text, size_t i)
{
    for (i++; i < text.len; i++) {
        if (text.at[i] == '\\')
            i++;
        else if (text.at[i] == '"')
            return i + 1;
    }
    return text.len;
}

/* The position after the value that begins at i. */
static size_t skip_value(struct slice text, size_t i)
{
    int depth = 0;
    while (i < text.len) {
        char c = text.at[i];
        if (c == '"') {
            i = skip_string(text, i);
            if (depth == 0)
                return i;
            continue;
        }
        if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth == 0)
                return i;
            if (--depth == 0)
                return i + 1;
        } else if (c == ',' && depth == 0) {
            return i;
        }
        i++;
    }
    return text.len;
}

static bool find_member(struct slice object, const char *name, size_t name_len,
                        struct slice *value)
{
    size_t i = skip_blank(object, 0);
    if (i >= object.len || object.at[i] != '{')
        return false;
    i++;
    while ((i = skip_blank(object, i)) < object.len && object.at[i] == '"') {
        size_t key = i + 1;
        i = skip_string(object, i);
        bool same = i - key - 1 == name_len && memcmp(object.at + key, name, name_len) == 0;
        i = skip_blank(object, i);
        if (i >= object.len || object.at[i] != ':')
            return false;
        size_t begin = skip_blank(object, i + 1);
        i = skip_value(object, begin);
        if (same) {
            *value = (struct slice){object.at + begin, i - begin};
            return true;
        }
        i = skip_blank(object, i);
        if (i < object.len && object.at[i] == ',')
            i++;
    }
    return false;
}

bool json_find(struct slice object, const char *dotted, struct slice *value)
{
    while (true) {
        const char *dot = strchr(dotted, '.');
        size_t len = dot ? (size_t)(dot - dotted) : strlen(dotted);
        if (!find_member(object, dotted, len, value))
            return false;
        if (!dot)
            return true;
        object = *value;
        dotted = dot + 1;
    }
}

/* Steps through an array; *position is 0 before the first element. */
bool json_next(struct slice array, size_t *position, struct slice *element)
{
    size_t i = *position;
    if (i == 0) {
        i = skip_blank(array, 0);
        if (i >= array.len || array.at[i] != '[')
            return false;
        i++;
    }
    i = skip_blank(array, i);
    if (i < array.len && array.at[i] == ',')
        i = skip_blank(array, i + 1);
    if (i >= array.len || array.at[i] == ']')
        return false;
    size_t end = skip_value(array, i);
    *element = (struct slice){array.at + i, end - i};
    *position = end;
    return true;
}

bool json_u64(struct slice object, const char *dotted, uint64_t *value)
{
    struct slice found;
    if (!json_find(object, dotted, &found) || found.len == 0)
        return false;
    /* The old dialect writes some numbers as strings. */
    size_t i = found.at[0] == '"' ? 1 : 0;
    if (i >= found.len || found.at[i] < '0' || found.at[i] > '9')
        return false;
    uint64_t sum = 0;
    for (; i < found.len && found.at[i] >= '0' && found.at[i] <= '9'; i++)
        sum = sum * 10 + (uint64_t)(found.at[i] - '0');
    *value = sum;
    return true;
}

bool json_is(struct slice object, const char *dotted, const char *expected)
{
    struct slice found;
    size_t len = strlen(expected);
    return json_find(object, dotted, &found) && found.len == len &&
           memcmp(found.at, expected, len) == 0;
}
