/* Tries the guard's rules from C, so that it can be tried for a processor that has no Python here.
 *
 *   try_guard preload          the guard was preloaded
 *   try_guard patch LIBRARY    it is loaded now, and put into the program that runs
 *
 * Prints a line for each that does not hold; ends with 0 when all do. The node is 127.0.0.5, 18265
 * a loopback port, 18266 a node port. */

#define _GNU_SOURCE

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int failures;

static void expect(const char *what, const char *got, const char *expected)
{
    if (strcmp(got, expected) == 0)
        return;
    printf("%s: %s instead of %s\n", what, got, expected);
    failures++;
}

static struct sockaddr_in at(const char *address, int port)
{
    struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, address, &made.sin_addr);
    return made;
}

static const char *local(int descriptor)
{
    static char text[INET_ADDRSTRLEN];
    struct sockaddr_in found;
    socklen_t length = sizeof found;
    getsockname(descriptor, (struct sockaddr *)&found, &length);
    return inet_ntop(AF_INET, &found.sin_addr, text, sizeof text);
}

static const char *bound(int *descriptor, const char *address, int port)
{
    struct sockaddr_in wanted = at(address, port);
    int on = 1;
    *descriptor = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(*descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(*descriptor, (struct sockaddr *)&wanted, sizeof wanted) != 0)
        return errno == EACCES ? "refused" : strerror(errno);
    return local(*descriptor);
}

static void try_senders(void)
{
    struct sockaddr_in target = at("127.0.0.1", 9);
    struct iovec part = {"-", 1};
    struct mmsghdr many = {.msg_hdr = {&target, sizeof target, &part, 1, NULL, 0, 0}};
    int sender = socket(AF_INET, SOCK_DGRAM, 0);
    sendto(sender, "-", 1, 0, (struct sockaddr *)&target, sizeof target);
    expect("sendto", local(sender), "127.0.0.5");
    sender = socket(AF_INET, SOCK_DGRAM, 0);
    sendmsg(sender, &many.msg_hdr, 0);
    expect("sendmsg", local(sender), "127.0.0.5");
    sender = socket(AF_INET, SOCK_DGRAM, 0);
    sendmmsg(sender, &many, 1, 0);
    expect("sendmmsg", local(sender), "127.0.0.5");
}

int main(int count, char **arguments)
{
    int made, server;
    if (count == 3) {
        void *guard = dlopen(arguments[2], RTLD_NOW | RTLD_GLOBAL);
        size_t (*patch)(void) = NULL;
        if (guard != NULL)
            *(void **)&patch = dlsym(guard, "secure_ray_guard_patch");
        if (patch == NULL || patch() != 0) {
            printf("patch: %s\n", guard == NULL ? dlerror() : "a call goes past the guard");
            return 1;
        }
    }
    expect("bind to 0.0.0.0", bound(&made, "0.0.0.0", 0), "127.0.0.5");
    expect("bind to another", bound(&made, "192.0.2.1", 0), "refused");
    expect("bind to loopback", bound(&made, "127.0.0.1", 0), "127.0.0.1");
    expect("bind of a loopback port", bound(&made, "0.0.0.0", 18265), "127.0.0.1");
    expect("the same at the node", bound(&made, "127.0.0.5", 18265), "127.0.0.2");
    made = socket(AF_INET, SOCK_STREAM, 0);
    listen(made, 1);
    expect("listen", local(made), "127.0.0.5");
    expect("bind of a node port", bound(&server, "0.0.0.0", 18266), "127.0.0.5");
    listen(server, 1);
    struct sockaddr_in loopback = at("127.0.0.1", 18266);
    made = socket(AF_INET, SOCK_STREAM, 0);
    int connected = connect(made, (struct sockaddr *)&loopback, sizeof loopback);
    expect("connect to a node port", connected == 0 ? "connected" : strerror(errno), "connected");
    try_senders();
    return failures != 0;
}
