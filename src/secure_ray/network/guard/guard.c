/* The bind guard: no socket of a process under it listens on a wildcard address.
 *
 * Ray listens on every interface and has no option for another address (ray#1677, ray#7418). So the
 * calls by which a socket gets its address are judged here, by the rules in SECURE_RAY_GUARD_*:
 *
 *   bind     wildcard            -> the node's address; loopback for a loopback port
 *            the node's address  -> as it is; 127.0.0.2 for a loopback port
 *            loopback            -> as it is
 *            anything else       -> refused
 *   listen   unbound             -> bound to the node's address first, where the kernel would take
 *   send     unbound               the wildcard; to loopback of the other family: that loopback
 *   connect  loopback, node port            -> the node's address, where the listener went
 *            the node, loopback port        -> 127.0.0.2, where the listener went
 *            another host, relayed port     -> the relay on 127.0.0.1
 *
 * In local mode the node's address is 127.0.0.1. Then every port is a loopback port, and nothing is
 * connected elsewhere. A datagram goes out as it would without the guard: from loopback it could
 * reach no other host, and who sends waits for an answer, not for strangers.
 *
 * Without sound rules every bind is refused. The wrappers take no lock, allocate nothing and share
 * nothing that changes after start(), so threads, forks and signal handlers may use them as they
 * would libc's. They leave errno as libc would.
 *
 * _GNU_SOURCE stays undefined: with it glibc declares these functions with a transparent union,
 * which only some compilers let a definition match.
 */

#define _DEFAULT_SOURCE

#include "guard.h"
#include "rules.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

/* As in <sys/socket.h>, which shows it with _GNU_SOURCE only (sendmmsg(2)). */
struct mmsghdr {
    struct msghdr msg_hdr;
    unsigned msg_len;
};

/* sockaddr_in6 without its scope, which Linux takes too (SIN6_LEN_RFC2133). */
#define SHORT_IN6 24

struct endpoint {
    struct in6_addr ip;
    uint32_t scope;
    uint16_t port;
};

static const struct in6_addr ANY_4 = MAPPED(0, 0, 0, 0);
static const struct in6_addr LOOPBACK_4 = MAPPED(127, 0, 0, 1);
/* Ray's agent binds its HTTP port on the node's address and then on 127.0.0.1 as well (2.60.0,
 * dashboard/http_server_agent.py); the first may not take the second's place. Every Linux has all
 * of 127.0.0.0/8. */
static const struct in6_addr NODE_ON_LOOPBACK = MAPPED(127, 0, 0, 2);

static bool ready;
static struct rules rules;

static int (*real_bind)(int, const struct sockaddr *, socklen_t);
static int (*real_connect)(int, const struct sockaddr *, socklen_t);
static int (*real_listen)(int, int);
static ssize_t (*real_sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
static ssize_t (*real_sendmsg)(int, const struct msghdr *, int);
static int (*real_sendmmsg)(int, struct mmsghdr *, unsigned, int);

/* Also called by a wrapper that another library's constructor calls before this one ran; doing it
 * twice gives the same. */
__attribute__((constructor)) static void start(void)
{
    int saved = errno;
    *(void **)&real_connect = next_definition("connect");
    *(void **)&real_listen = next_definition("listen");
    *(void **)&real_sendto = next_definition("sendto");
    *(void **)&real_sendmsg = next_definition("sendmsg");
    *(void **)&real_sendmmsg = next_definition("sendmmsg");
    *(void **)&real_bind = next_definition("bind");
    ready = read_rules(&rules);
    errno = saved;
}

/* Whether the guard goes by the rules that the environment holds now. */
EXPORTED int secure_ray_guard_agrees(void)
{
    static struct rules now;
    memset(&now, 0, sizeof now);
    return ready && read_rules(&now) && memcmp(&now, &rules, sizeof now) == 0;
}

/* ---- Addresses ------------------------------------------------------------------------------- */

static int socket_option(int descriptor, int level, int option)
{
    int value = 0;
    socklen_t size = sizeof value;
    return getsockopt(descriptor, level, option, &value, &size) == 0 ? value : 0;
}

/* False for what is no IP address, or too short to be one; that is left to the kernel. */
static bool read_endpoint(const struct sockaddr *given, socklen_t length, struct endpoint *read)
{
    if (given == NULL || length < sizeof(struct sockaddr_in))
        return false;
    if (given->sa_family == AF_INET6 && length >= SHORT_IN6) {
        struct sockaddr_in6 six = {0};
        memcpy(&six, given, length < sizeof six ? length : sizeof six);
        *read = (struct endpoint){six.sin6_addr, six.sin6_scope_id, ntohs(six.sin6_port)};
        return true;
    }
    if (given->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, given, sizeof four);
        *read = (struct endpoint){ANY_4, 0, ntohs(four.sin_port)};
        memcpy(&read->ip.s6_addr[12], &four.sin_addr, sizeof four.sin_addr);
        return true;
    }
    return false;
}

/* The length of what was written; 0 when an IPv6 address would have to go into an IPv4 socket. */
static socklen_t write_endpoint(const struct endpoint *from, int family, struct sockaddr_storage *to)
{
    memset(to, 0, sizeof *to);
    if (family == AF_INET6) {
        struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
        six->sin6_family = AF_INET6;
        six->sin6_port = htons(from->port);
        six->sin6_addr = from->ip;
        six->sin6_scope_id = from->scope;
        return sizeof *six;
    }
    struct sockaddr_in *four = (struct sockaddr_in *)to;
    four->sin_family = AF_INET;
    four->sin_port = htons(from->port);
    memcpy(&four->sin_addr, &from->ip.s6_addr[12], sizeof four->sin_addr);
    return IN6_IS_ADDR_V4MAPPED(&from->ip) ? sizeof *four : 0;
}

static bool is_wildcard(const struct endpoint *at)
{
    return IN6_IS_ADDR_UNSPECIFIED(&at->ip) || IN6_ARE_ADDR_EQUAL(&at->ip, &ANY_4);
}

static bool is_loopback(const struct endpoint *at)
{
    return IN6_IS_ADDR_LOOPBACK(&at->ip) ||
           (IN6_IS_ADDR_V4MAPPED(&at->ip) && at->ip.s6_addr[12] == 127);
}

/* A link-local address is one only together with its interface. In local mode there is none: what
 * asks for loopback by address stays where it asks. */
static bool is_node(const struct endpoint *at)
{
    return !rules.local && IN6_ARE_ADDR_EQUAL(&at->ip, &rules.node) &&
           (at->scope == rules.scope || rules.scope == 0);
}

/* ---- Refusals -------------------------------------------------------------------------------- */

struct line {
    char text[256];
    size_t length;
};

static void add_text(struct line *line, const char *text)
{
    while (*text != '\0' && line->length < sizeof line->text)
        line->text[line->length++] = *text++;
}

static void add_number(struct line *line, unsigned number, unsigned base)
{
    char digits[12];
    char *digit = &digits[sizeof digits - 1];
    *digit = '\0';
    do
        *--digit = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    add_text(line, digit);
}

/* By hand: inet_ntop and stdio need not be safe in a signal handler or between fork and exec. */
static void add_address(struct line *line, const struct in6_addr *ip)
{
    bool four = IN6_IS_ADDR_V4MAPPED(ip);
    for (int at = four ? 12 : 0; at < 16; at += four ? 1 : 2) {
        unsigned part = four ? ip->s6_addr[at] : ip->s6_addr[at] * 256u + ip->s6_addr[at + 1];
        add_number(line, part, four ? 10 : 16);
        if (at < (four ? 15 : 14))
            add_text(line, four ? "." : ":");
    }
}

static int refuse(const struct endpoint *asked, const char *why)
{
    struct line line = {.length = 0};
    add_text(&line, "secure-ray guard: pid ");
    add_number(&line, (unsigned)getpid(), 10);
    add_text(&line, ": refused to be bound to ");
    add_address(&line, &asked->ip);
    add_text(&line, " port ");
    add_number(&line, asked->port, 10);
    add_text(&line, ": ");
    add_text(&line, why);
    add_text(&line, "\n");
    ssize_t written = write(STDERR_FILENO, line.text, line.length);
    (void)written; /* there is nobody else to tell */
    errno = EACCES;
    return -1;
}

/* ---- The rules ------------------------------------------------------------------------------- */

/* Where a socket that asks for `asked` may be bound; false: nowhere. */
static bool place(const struct endpoint *asked, bool only_six, struct endpoint *placed)
{
    bool stays_inside = rules.local || rules.is_loopback_port[asked->port];
    *placed = *asked;
    if (is_node(asked)) {
        placed->ip = stays_inside ? NODE_ON_LOOPBACK : rules.node;
    } else if (is_wildcard(asked)) {
        placed->ip = !stays_inside ? rules.node : only_six ? in6addr_loopback : LOOPBACK_4;
    } else {
        return is_loopback(asked);
    }
    placed->scope = stays_inside ? 0 : rules.scope;
    return true;
}

static int bind_guarded(int descriptor, int family, const struct endpoint *asked)
{
    bool only_six = family == AF_INET6 && socket_option(descriptor, IPPROTO_IPV6, IPV6_V6ONLY);
    struct endpoint placed;
    struct sockaddr_storage address;
    if (!ready)
        return refuse(asked, "the guard has no sound rules (SECURE_RAY_GUARD_*)");
    if (!place(asked, only_six, &placed))
        return refuse(asked, "neither the node's address nor loopback");
    if (only_six && IN6_IS_ADDR_V4MAPPED(&placed.ip)) {
        int off = 0;
        if (!IN6_ARE_ADDR_EQUAL(&placed.ip, &NODE_ON_LOOPBACK))
            return refuse(asked, "the socket is for IPv6 only, the node's address is IPv4");
        if (setsockopt(descriptor, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) != 0)
            return -1;
    }
    socklen_t length = write_endpoint(&placed, family, &address);
    if (length == 0)
        return refuse(asked, "the socket is for IPv4, the node's address is IPv6");
    return real_bind(descriptor, (const struct sockaddr *)&address, length);
}

/* Where a connection to `asked` finds what was moved by place(); false: where it says. */
static bool redirect(const struct endpoint *asked, struct endpoint *redirected)
{
    *redirected = *asked;
    if (is_node(asked)) {
        redirected->ip = NODE_ON_LOOPBACK;
        redirected->scope = 0;
        return rules.is_loopback_port[asked->port];
    }
    if (is_loopback(asked) || is_wildcard(asked)) { /* Linux connects the wildcard to loopback */
        redirected->ip = rules.node;
        redirected->scope = rules.scope;
        return rules.is_node_port[asked->port];
    }
    redirected->ip = LOOPBACK_4;
    redirected->scope = 0;
    redirected->port = rules.relay_of[asked->port];
    return redirected->port != 0;
}

/* Binds an unbound socket that is about to get the wildcard from the kernel, to the node's address
 * or to `inside`, a loopback address. `keep` is for one that was bound to the wildcard before the
 * guard came. */
static int name_socket(int descriptor, bool keep, const struct in6_addr *inside)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    struct endpoint now;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0 ||
        !read_endpoint((struct sockaddr *)&address, length, &now) || !is_wildcard(&now))
        return 0;
    if (now.port != 0)
        return keep ? 0 : refuse(&now, "it was bound before the guard came");
    if (inside != NULL)
        now.ip = *inside;
    return bind_guarded(descriptor, address.ss_family, &now);
}

/* The same for one that sends to `to`. Loopback of the family that the node's address is not of can
 * be reached from that loopback alone. */
static int name_sender(int descriptor, const struct sockaddr *to, socklen_t length)
{
    struct endpoint target;
    bool crosses = read_endpoint(to, length, &target) && is_loopback(&target) &&
                   !IN6_IS_ADDR_V4MAPPED(&target.ip) != !IN6_IS_ADDR_V4MAPPED(&rules.node);
    return name_socket(descriptor, true, crosses ? &target.ip : NULL);
}

/* ---- What stands in for libc ----------------------------------------------------------------- */

int guarded_bind(int descriptor, const struct sockaddr *given, socklen_t length)
{
    struct endpoint asked;
    struct sockaddr_in four;
    int saved = errno;
    if (real_bind == NULL)
        start();
    /* Linux takes AF_UNSPEC with 0.0.0.0 for AF_INET (inet_bind). */
    if (given != NULL && length >= sizeof four && given->sa_family == AF_UNSPEC &&
        socket_option(descriptor, SOL_SOCKET, SO_DOMAIN) == AF_INET) {
        memcpy(&four, given, sizeof four);
        four.sin_family = AF_INET;
        given = (const struct sockaddr *)&four;
    }
    int result = read_endpoint(given, length, &asked)
                     ? bind_guarded(descriptor, given->sa_family, &asked)
                     : real_bind(descriptor, given, length);
    if (result == 0)
        errno = saved;
    return result;
}

int guarded_listen(int descriptor, int backlog)
{
    int saved = errno;
    if (real_bind == NULL)
        start();
    if (name_socket(descriptor, false, NULL) != 0)
        return -1;
    errno = saved;
    return real_listen(descriptor, backlog);
}

int guarded_connect(int descriptor, const struct sockaddr *given, socklen_t length)
{
    struct endpoint asked, redirected;
    struct sockaddr_storage address;
    if (real_bind == NULL)
        start();
    /* Only streams: Ray finds out its own address by connecting a datagram socket to another. */
    if (ready && read_endpoint(given, length, &asked) && redirect(&asked, &redirected)) {
        int saved = errno;
        bool is_stream = socket_option(descriptor, SOL_SOCKET, SO_TYPE) == SOCK_STREAM;
        socklen_t size = write_endpoint(&redirected, given->sa_family, &address);
        errno = saved;
        if (is_stream && size != 0)
            return real_connect(descriptor, (const struct sockaddr *)&address, size);
    }
    return real_connect(descriptor, given, length);
}

ssize_t guarded_sendto(int descriptor, const void *data, size_t size, int flags,
                       const struct sockaddr *given, socklen_t length)
{
    int saved = errno;
    if (real_bind == NULL)
        start();
    if (given != NULL && !rules.local && name_sender(descriptor, given, length) != 0)
        return -1;
    errno = saved;
    return real_sendto(descriptor, data, size, flags, given, length);
}

ssize_t guarded_sendmsg(int descriptor, const struct msghdr *message, int flags)
{
    int saved = errno;
    if (real_bind == NULL)
        start();
    if (message != NULL && message->msg_name != NULL && !rules.local &&
        name_sender(descriptor, message->msg_name, message->msg_namelen) != 0)
        return -1;
    errno = saved;
    return real_sendmsg(descriptor, message, flags);
}

int guarded_sendmmsg(int descriptor, struct mmsghdr *messages, unsigned count, int flags)
{
    int saved = errno;
    if (real_bind == NULL)
        start();
    for (unsigned at = 0; messages != NULL && !rules.local && at < count; at++) {
        const struct msghdr *message = &messages[at].msg_hdr;
        if (message->msg_name == NULL)
            continue;
        if (name_sender(descriptor, message->msg_name, message->msg_namelen) != 0)
            return -1;
        break; /* from here on the socket has a name */
    }
    errno = saved;
    return real_sendmmsg(descriptor, messages, count, flags);
}

EXPORTED int bind(int, const struct sockaddr *, socklen_t) __attribute__((alias("guarded_bind")));
EXPORTED int connect(int, const struct sockaddr *, socklen_t)
    __attribute__((alias("guarded_connect")));
EXPORTED int listen(int, int) __attribute__((alias("guarded_listen")));
EXPORTED ssize_t sendto(int, const void *, size_t, int, const struct sockaddr *, socklen_t)
    __attribute__((alias("guarded_sendto")));
EXPORTED ssize_t sendmsg(int, const struct msghdr *, int) __attribute__((alias("guarded_sendmsg")));
EXPORTED int sendmmsg(int, struct mmsghdr *, unsigned, int)
    __attribute__((alias("guarded_sendmmsg")));
