/* The innermost loop of the measuring client: nap, wait, read and stamp, until a read is worth a look.
 *
 * What receiver.py does in `Interpreted`, for the 99 events in 100 of which nothing follows: there the interpreter
 * costs more than the system calls. It is called through ctypes (compiled.py has the same structures), so it knows
 * nothing of Python, and the interpreter's lock is free meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define MS_NS INT64_C(1000000)
#define S_NS INT64_C(1000000000)
#define TAIL "\r\n\r\n"

enum { TAIL_BYTES = sizeof TAIL - 1, EVENTS = 1024 };

enum kind { READ, LOOK, WRITABLE, FAILED };

struct reading {
    int64_t taken_ns;      /* monotonic clock */
    int64_t since_ns;      /* since when the bytes may have waited unread */
    struct timespec stamp; /* the kernel's, by the wall clock; 0 if there is none */
    int32_t fd;
    int32_t kind;
    int64_t size; /* of the bytes, which follow those of the reading before; of a failure, its errno */
};

struct batch {
    int64_t until_ns;   /* return by then */
    int64_t nap_ns;     /* how far wake-ups should be apart; 0 to read at once */
    int64_t woke_ns;    /* the last wake-up; kept from call to call */
    int64_t blocked_ns; /* a wait longer than this was one: what ended it had not waited before */
    int64_t once;       /* whether to return after one wake-up */
    int64_t epoll;
    int64_t read_bytes; /* the most that is read at once */
    int64_t readings_room;
    int64_t bytes_room;
    struct reading *readings;
    char *bytes;
    const uint8_t *quiet; /* by descriptor: whether a read that does not end with TAIL ends nothing */
};

const char source_sha256[] = SOURCE_SHA256; /* of this file: compiled.py refuses a library that was made of another */

static int64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * S_NS + now.tv_nsec;
}

/* Sleep until the next wake-up. Returns whether a signal came. */
static int nap(const struct batch *batch)
{
    int64_t now_ns = clock_ns(), left_ns = batch->until_ns - now_ns;
    if (!batch->nap_ns || left_ns <= 0)
        return 0;
    int64_t nap_ns = batch->nap_ns - (now_ns - batch->woke_ns);
    if (left_ns < batch->nap_ns + MS_NS)
        nap_ns = left_ns; /* epoll_wait knows whole milliseconds only */
    if (nap_ns <= 0)
        return 0;
    struct timespec span = {nap_ns / S_NS, nap_ns % S_NS};
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL) == EINTR;
}

/* Read once from a connection. Returns whether there was something. */
static int read_into(struct reading *reading, char *bytes, const struct batch *batch)
{
    union {
        struct cmsghdr aligned;
        char space[CMSG_SPACE(sizeof(struct timespec))];
    } ancillary;
    struct iovec part = {bytes, batch->read_bytes};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = &ancillary, .msg_controllen = sizeof ancillary};
    ssize_t size = recvmsg(reading->fd, &message, 0);
    reading->taken_ns = clock_ns();
    if (size < 0) {
        reading->kind = FAILED;
        reading->size = errno;
        return errno != EAGAIN;
    }
    /* The stamp is the only ancillary message that was asked for. */
    const struct cmsghdr *stamp = CMSG_FIRSTHDR(&message);
    if (stamp)
        memcpy(&reading->stamp, CMSG_DATA(stamp), sizeof reading->stamp);
    int quiet = batch->quiet[reading->fd] && size >= TAIL_BYTES && memcmp(bytes + size - TAIL_BYTES, TAIL, TAIL_BYTES);
    reading->kind = quiet ? READ : LOOK;
    reading->size = size;
    return 1;
}

/* Receive until something wants a look, less than a millisecond is left, a signal has come, or the room may not be
 * enough for another wake-up. Returns the number of readings; -errno if epoll fails.
 */
int64_t receive(struct batch *batch)
{
    struct epoll_event events[EVENTS];
    int64_t count = 0, used = 0;
    int noticed = 0;
    do {
        if (nap(batch))
            break;
        int64_t entered_ns = clock_ns(), left_ns = batch->until_ns - entered_ns;
        int ready = epoll_wait(batch->epoll, events, EVENTS, left_ns > 0 ? left_ns / MS_NS : 0);
        if (ready < 0 && errno != EINTR)
            return -errno;
        if (ready < 0)
            break;
        int64_t woke_ns = clock_ns();
        int64_t since_ns = woke_ns - entered_ns > batch->blocked_ns ? woke_ns : batch->woke_ns;
        batch->woke_ns = woke_ns;
        for (int n = 0; n < ready; n++) {
            struct reading reading = {.since_ns = since_ns, .fd = events[n].data.fd};
            if (events[n].events & ~EPOLLOUT && read_into(&reading, batch->bytes + used, batch)) {
                batch->readings[count++] = reading;
                used += reading.kind == FAILED ? 0 : reading.size;
                noticed |= reading.kind != READ;
            }
            if (events[n].events & EPOLLOUT) {
                reading.kind = WRITABLE;
                batch->readings[count++] = reading;
                noticed = 1;
            }
        }
    } while (!noticed && !batch->once && batch->until_ns - batch->woke_ns >= MS_NS &&
             count + 2 * EVENTS <= batch->readings_room && used + EVENTS * batch->read_bytes <= batch->bytes_room);
    return count;
}
