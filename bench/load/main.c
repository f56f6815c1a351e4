/* The command line of the load generator. */

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "load.h"

struct options options = {
    .request = "{\"id\":@id@,\"type\":\"ping\"}",
    .connections = 1,
    .window = 32,
    .pipeline = 1,
    .status = 200,
    .warmup_s = 1,
    .seconds = 3,
    .open_timeout_s = 120,
    .opening_max = 100,
};

static const struct {
    const char *name;
    void (*run)(void);
} modes[] = {
    {"http", run_http},     {"ws-roundtrip", run_roundtrip}, {"take", run_take},
    {"fanout", run_fanout}, {"idle", run_idle},              {"resume", run_resume},
};

static const struct option names[] = {
    {"port", required_argument, NULL, 'p'},
    {"plan", required_argument, NULL, 'l'},
    {"publishers", required_argument, NULL, 'P'},
    {"request", required_argument, NULL, 'r'},
    {"connections", required_argument, NULL, 'n'},
    {"window", required_argument, NULL, 'w'},
    {"pipeline", required_argument, NULL, 'i'},
    {"status", required_argument, NULL, 's'},
    {"missed", required_argument, NULL, 'm'},
    {"rate", required_argument, NULL, 'R'},
    {"warmup", required_argument, NULL, 'u'},
    {"seconds", required_argument, NULL, 't'},
    {"open-timeout", required_argument, NULL, 'o'},
    {"opening-max", required_argument, NULL, 'x'},
    {"apart", no_argument, NULL, 'a'},
    {"hold", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

static uint32_t count_within(const char *text, uint32_t max)
{
    unsigned long value = strtoul(text, NULL, 10);
    if (value > max)
        die("%s is more than %u", text, max);
    return (uint32_t)value;
}

static double seconds_within(const char *text, double max)
{
    double value = strtod(text, NULL);
    if (!(value >= 0 && value <= max))
        die("%s is not between 0 and %g", text, max);
    return value;
}

static void set_option(int letter)
{
    switch (letter) {
    case 'p': options.port = (uint16_t)count_within(optarg, 65535); break;
    case 'l': options.plan_path = optarg; break;
    case 'P': options.publishers_path = optarg; break;
    case 'r': options.request = optarg; break;
    case 'n': options.connections = count_within(optarg, CONNECTIONS_MAX); break;
    case 'w': options.window = count_within(optarg, 100000); break;
    case 'i': options.pipeline = count_within(optarg, 1000); break;
    case 's': options.status = count_within(optarg, 599); break;
    case 'm': options.missed = count_within(optarg, 1000); break;
    case 'R': options.rate = seconds_within(optarg, 1e6); break;
    case 'u': options.warmup_s = seconds_within(optarg, 60); break;
    case 't': options.seconds = seconds_within(optarg, 600); break;
    case 'o': options.open_timeout_s = seconds_within(optarg, 600); break;
    case 'x': options.opening_max = count_within(optarg, CONNECTIONS_MAX); break;
    case 'a': options.apart = true; break;
    case 'h': options.hold = true; break;
    default: die("usage: load MODE --port N --plan FILE [options]; see bench/README.md");
    }
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit))
        die("cannot read the limit of open files");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < options.connections + 100)
        die("%lu open files are allowed, %u connections asked for",
            (unsigned long)limit.rlim_cur, options.connections);
}

int main(int argc, char **argv)
{
    int letter;
    while ((letter = getopt_long(argc, argv, "", names, NULL)) != -1)
        set_option(letter);
    if (optind + 1 != argc || !options.port || !options.plan_path || !options.connections)
        set_option('?');
    options.mode = argv[optind];
    raise_file_limit();
    net_start();
    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++) {
        if (!strcmp(modes[i].name, options.mode)) {
            modes[i].run();
            return 0;
        }
    }
    die("no such mode: %s", options.mode);
}
