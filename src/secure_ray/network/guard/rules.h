/* The rules that the guard judges by. */

#ifndef SECURE_RAY_RULES_H
#define SECURE_RAY_RULES_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define PORTS 65536

/* An IPv4 address in its mapped form (RFC 4291, 2.5.5.2). All addresses stand in it here, so that
 * 0.0.0.0 and ::ffff:0.0.0.0 are one thing. */
#define MAPPED(a, b, c, d) {{{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d}}}

struct rules {
    struct in6_addr node;
    bool local;     /* the node's address is 127.0.0.1: a cluster of this host alone */
    uint32_t scope; /* index of the interface of a link-local address, else 0 */
    /* By port. Most pages of these are never touched, and so take no memory. */
    bool is_loopback_port[PORTS];
    bool is_node_port[PORTS];
    uint16_t relay_of[PORTS]; /* 0: none */
};

/* From the variables SECURE_RAY_GUARD_*; false when one is missing or cannot be understood. */
bool read_rules(struct rules *rules);

#endif
