/* What the parts of the bind guard share. */

#ifndef SECURE_RAY_GUARD_H
#define SECURE_RAY_GUARD_H

#include <sys/socket.h>
#include <sys/types.h>

/* For what other objects and Python may see; all else is hidden by -fvisibility=hidden. */
#define EXPORTED __attribute__((visibility("default")))

/* The guarded forms. Under LD_PRELOAD they stand in for the functions of libc by name; in a process
 * that runs already their addresses are written into the tables through which those are called. */
int guarded_bind(int descriptor, const struct sockaddr *given, socklen_t length);
int guarded_connect(int descriptor, const struct sockaddr *given, socklen_t length);
int guarded_listen(int descriptor, int backlog);
ssize_t guarded_sendto(int descriptor, const void *data, size_t size, int flags,
                       const struct sockaddr *given, socklen_t length);
ssize_t guarded_sendmsg(int descriptor, const struct msghdr *message, int flags);
struct mmsghdr;
int guarded_sendmmsg(int descriptor, struct mmsghdr *messages, unsigned count, int flags);

/* The definition of a function that comes after the guard's own. */
void *next_definition(const char *name);

#endif
