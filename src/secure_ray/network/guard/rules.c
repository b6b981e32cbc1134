/* Reads the guard's rules from the environment, as rules.py writes them. Allocates nothing. */

#define _DEFAULT_SOURCE

#include "rules.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

/* Reads a port and moves `text` behind it. 0: there is none. */
static uint16_t read_port(const char **text)
{
    unsigned port = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        port = port * 10 + (unsigned)(**text - '0');
        if (port >= PORTS)
            return 0;
    }
    return (uint16_t)port;
}

/* Moves `text` behind a comma that has something after it; false where there is none. */
static bool skip_comma(const char **text)
{
    return *(*text)++ == ',' && **text != '\0';
}

/* "8000,8001" */
static bool read_ports(const char *text, bool ports[PORTS])
{
    if (text == NULL)
        return false;
    while (*text != '\0') {
        uint16_t port = read_port(&text);
        if (port == 0)
            return false;
        ports[port] = true;
        if (*text != '\0' && !skip_comma(&text))
            return false;
    }
    return true;
}

/* "8000:9000,8001:9001" */
static bool read_relays(const char *text, uint16_t relays[PORTS])
{
    if (text == NULL)
        return false;
    while (*text != '\0') {
        uint16_t port = read_port(&text);
        if (port == 0 || *text++ != ':')
            return false;
        relays[port] = read_port(&text);
        if (relays[port] == 0 || (*text != '\0' && !skip_comma(&text)))
            return false;
    }
    return true;
}

/* "10.0.0.1", "fd00::1", "fe80::1%eth0", "127.0.0.1" */
static bool read_node(const char *text, struct rules *rules)
{
    static const struct in6_addr any_4 = MAPPED(0, 0, 0, 0), loopback_4 = MAPPED(127, 0, 0, 1);
    char address[INET6_ADDRSTRLEN];
    struct in_addr four;
    size_t length = text == NULL ? 0 : strcspn(text, "%");
    if (length == 0 || length >= sizeof address)
        return false;
    memcpy(address, text, length);
    address[length] = '\0';
    if (text[length] == '%' && (rules->scope = if_nametoindex(text + length + 1)) == 0)
        return false;
    if (inet_pton(AF_INET, address, &four) == 1) {
        rules->node = any_4;
        memcpy(&rules->node.s6_addr[12], &four, sizeof four);
    } else if (inet_pton(AF_INET6, address, &rules->node) != 1) {
        return false;
    }
    rules->local = IN6_ARE_ADDR_EQUAL(&rules->node, &loopback_4);
    return !IN6_IS_ADDR_UNSPECIFIED(&rules->node) && !IN6_ARE_ADDR_EQUAL(&rules->node, &any_4);
}

bool read_rules(struct rules *rules)
{
    return read_node(getenv("SECURE_RAY_GUARD_NODE"), rules) &&
           read_ports(getenv("SECURE_RAY_GUARD_LOOPBACK_PORTS"), rules->is_loopback_port) &&
           read_ports(getenv("SECURE_RAY_GUARD_NODE_PORTS"), rules->is_node_port) &&
           read_relays(getenv("SECURE_RAY_GUARD_RELAYED"), rules->relay_of);
}
