/*
 * The CNI program `underlay`: hands one CNI call to the resident agent and prints its answer.
 *
 *   runtime --exec--> underlay --one frame over a unix socket--> agent
 *
 * Frame to the agent: u32 length of the rest; u8 version 1; u8 x 3 reserved; u32 deadline in ms; KEY=VALUE\0 ... \0; stdin bytes.
 * Answer: u32 length of the rest; u8 version 1; u8 exit status; u8 x 2 reserved; bytes for stdout. All integers big-endian.
 *
 * Without the agent: VERSION is answered here; ADD and CHECK fail with CNI code 11 (try again later), STATUS and GC with 50;
 * a DEL is kept durably in the spool, which the agent replays before it serves any ADD, and succeeds.
 *
 * No buffered output: a static binary of a few pages starts in a fraction of a millisecond.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h> /* renameat */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/underlay/agent.sock"
#define DEFAULT_SPOOL "/var/lib/underlay/spool"
#define DEFAULT_DEADLINE_MS 110000
#define FRAME_VERSION 1
#define MAX_INPUT (4u << 20)
#define MAX_ANSWER (4u << 20)
#define SUPPORTED "[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]"

enum { CODE_ENVIRONMENT = 4, CODE_IO = 5, CODE_TRY_AGAIN = 11, CODE_NOT_AVAILABLE = 50 };

extern char **environ;

struct buffer {
    char *bytes;
    size_t length, room;
};

static void die(int code, const char *message, const char *subject);

static void put(struct buffer *into, const void *bytes, size_t length) {
    if (into->length + length > into->room) {
        size_t room = into->room ? into->room : 8192;
        while (room < into->length + length)
            room *= 2;
        char *larger = realloc(into->bytes, room);
        if (!larger)
            _exit(1);
        into->bytes = larger;
        into->room = room;
    }
    memcpy(into->bytes + into->length, bytes, length);
    into->length += length;
}

static void put_text(struct buffer *into, const char *text) { put(into, text, strlen(text)); }

static void put_u32(struct buffer *into, uint32_t value) {
    unsigned char bytes[4] = {value >> 24, value >> 16, value >> 8, value};
    put(into, bytes, 4);
}

static uint32_t get_u32(const unsigned char *from) {
    return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

static void put_decimal(struct buffer *into, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do
        digits[--at] = '0' + value % 10;
    while (value /= 10);
    put(into, digits + at, sizeof digits - at);
}

/* As the inside of a JSON string. Bytes above ASCII are passed on: an environment that is not UTF-8 is the caller's. */
static void put_json(struct buffer *into, const char *text) {
    static const char hex[] = "0123456789abcdef";
    for (; *text; text++) {
        unsigned char c = *text;
        if (c == '"' || c == '\\')
            put(into, "\\", 1);
        if (c < 0x20) {
            char escaped[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
            put(into, escaped, 6);
        } else
            put(into, text, 1);
    }
}

static int write_all(int fd, const char *bytes, size_t length) {
    while (length) {
        ssize_t written = write(fd, bytes, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        bytes += written;
        length -= written;
    }
    return 0;
}

/* CNI 1.1 "Error": the object on stdout, non-zero exit. */
static void die(int code, const char *message, const char *subject) {
    struct buffer out = {0};
    put_text(&out, "{\"cniVersion\":\"1.1.0\",\"code\":");
    put_decimal(&out, code);
    put_text(&out, ",\"msg\":\"");
    put_json(&out, message);
    put_json(&out, subject);
    put_text(&out, "\"}\n");
    write_all(1, out.bytes, out.length);
    _exit(1);
}

static const char *variable(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static uint64_t milliseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Which variables a command cannot do without; the reference skeleton demands CNI_PATH too. All missing ones are named at once. */
static void require(const char *command) {
    static const struct {
        const char *command;
        const char *names[5];
    } needs[] = {
        {"ADD", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}},
        {"CHECK", {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"}},
        {"DEL", {"CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"}},
        {"GC", {"CNI_PATH"}},
        {"STATUS", {"CNI_PATH"}},
    };
    for (size_t i = 0; i < sizeof needs / sizeof *needs; i++) {
        if (strcmp(needs[i].command, command))
            continue;
        struct buffer missing = {0};
        for (const char *const *name = needs[i].names; *name; name++) {
            if (variable(*name))
                continue;
            if (missing.length)
                put_text(&missing, ",");
            put_text(&missing, *name);
        }
        if (missing.length) {
            put_text(&missing, "] missing");
            put(&missing, "", 1);
            die(CODE_ENVIRONMENT, "required env variables [", missing.bytes);
        }
        return;
    }
    die(CODE_ENVIRONMENT, "unknown CNI_COMMAND: ", command);
}

static int passed_on(const char *entry) {
    return !strncmp(entry, "CNI_", 4) || !strncmp(entry, "UNDERLAY_", 9) || !strncmp(entry, "TRACEPARENT=", 12) ||
           !strncmp(entry, "TRACESTATE=", 11) || !strncmp(entry, "BAGGAGE=", 8);
}

static void read_input(struct buffer *into) {
    size_t start = into->length;
    char chunk[8192];
    for (;;) {
        ssize_t got = read(0, chunk, sizeof chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            die(CODE_IO, "stdin: cannot be read: ", strerror(errno));
        if (got == 0)
            return;
        put(into, chunk, got);
        if (into->length - start > MAX_INPUT)
            die(CODE_IO, "stdin: network configuration is larger than 4 MiB", "");
    }
}

static struct buffer request(uint32_t deadline) {
    struct buffer frame = {0};
    static const char head[4] = {FRAME_VERSION, 0, 0, 0};
    put_u32(&frame, 0);
    put(&frame, head, 4);
    put_u32(&frame, deadline);
    for (char **entry = environ; *entry; entry++)
        if (passed_on(*entry))
            put(&frame, *entry, strlen(*entry) + 1);
    put(&frame, "", 1);
    read_input(&frame);
    uint32_t length = frame.length - 4;
    unsigned char prefix[4] = {length >> 24, length >> 16, length >> 8, length};
    memcpy(frame.bytes, prefix, 4);
    return frame;
}

static int await(int fd, short events, uint64_t until) {
    for (;;) {
        uint64_t now = milliseconds();
        if (now >= until)
            return -1;
        struct pollfd one = {.fd = fd, .events = events};
        int ready = poll(&one, 1, (int)(until - now));
        if (ready > 0)
            return 0;
        if (ready == 0 || errno != EINTR)
            return -1;
    }
}

static int receive(int fd, char *into, size_t length, uint64_t until) {
    while (length) {
        ssize_t got = read(fd, into, length);
        if (got > 0) {
            into += got;
            length -= got;
        } else if (got == 0 || (errno != EAGAIN && errno != EINTR) || await(fd, POLLIN, until))
            return -1;
    }
    return 0;
}

/* The agent's answer printed, or return: it is unreachable, too slow, or its answer cannot be understood. */
static void ask(const char *path, const struct buffer *frame, uint64_t until) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unsigned char head[8];
    if (strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    /* connect waits while the agent's queue is full; on a unix socket the send time-out bounds it. */
    uint64_t left = until - milliseconds();
    struct timeval bound = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        goto lost;
    for (size_t sent = 0; sent < frame->length;) {
        ssize_t written = send(fd, frame->bytes + sent, frame->length - sent, MSG_NOSIGNAL);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            goto lost;
        sent += written;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    if (await(fd, POLLIN, until) || receive(fd, (char *)head, sizeof head, until))
        goto lost;
    uint32_t length = get_u32(head);
    if (head[4] != FRAME_VERSION || head[5] > 1 || length < 4 || length - 4 > MAX_ANSWER)
        goto lost;
    char *answer = malloc(length);
    if (!answer || receive(fd, answer, length - 4, until))
        goto lost;
    _exit(write_all(1, answer, length - 4) ? 1 : head[5]);
lost:
    close(fd);
}

static void make_directories(const char *path) {
    char partial[4096];
    size_t length = strlen(path);
    if (length >= sizeof partial)
        return;
    for (size_t i = 1; i <= length; i++)
        if (path[i] == '/' || path[i] == 0) {
            memcpy(partial, path, i);
            partial[i] = 0;
            mkdir(partial, 0700);
        }
}

/* A name made of the caller's text must stay within the spool. */
static void put_name(struct buffer *into, const char *text) {
    for (size_t i = 0; text[i] && i < 100; i++) {
        char c = text[i];
        int plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
        put(into, plain ? &c : "_", 1);
    }
}

/* Durable: the file is whole and on disk before it has its name, and the name is on disk before we say so. */
static int spool(const char *folder, const struct buffer *frame) {
    struct timespec now;
    struct buffer name = {0}, temporary = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    put_decimal(&name, (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec);
    put_text(&name, "-");
    put_name(&name, getenv("CNI_CONTAINERID"));
    put_text(&name, "-");
    put_name(&name, getenv("CNI_IFNAME"));
    put(&temporary, ".", 1);
    put(&temporary, name.bytes, name.length);
    put_text(&temporary, ".tmp-");
    put_decimal(&temporary, getpid());
    put(&temporary, "", 1);
    put(&name, ".del", 5);

    int directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
        make_directories(folder);
        directory = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (directory < 0)
        return -1;
    int file = openat(directory, temporary.bytes, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0)
        return -1;
    if (write_all(file, frame->bytes, frame->length) || fsync(file) || close(file) ||
        renameat(directory, temporary.bytes, directory, name.bytes) || fsync(directory)) {
        int reason = errno;
        unlinkat(directory, temporary.bytes, 0);
        errno = reason;
        return -1;
    }
    return 0;
}

int main(void) {
    const char *command = variable("CNI_COMMAND");
    if (!command) {
        static const char about[] = "CNI plugin underlay: pods on the network under them, served by the agent of this node\n"
                                    "CNI protocol versions supported: 0.3.1, 0.4.0, 1.0.0, 1.1.0\n";
        write_all(2, about, sizeof about - 1);
        return 0;
    }
    if (!strcmp(command, "VERSION")) {
        static const char versions[] = "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":" SUPPORTED "}\n";
        return write_all(1, versions, sizeof versions - 1) ? 1 : 0;
    }
    require(command);

    const char *path = variable("UNDERLAY_SOCKET"), *folder = variable("UNDERLAY_SPOOL"), *wanted = variable("UNDERLAY_DEADLINE_MS");
    uint32_t deadline = wanted ? (uint32_t)strtoul(wanted, NULL, 10) : 0;
    if (!deadline || deadline > INT32_MAX)
        deadline = DEFAULT_DEADLINE_MS;
    uint64_t until = milliseconds() + deadline;
    struct buffer frame = request(deadline);
    ask(path ? path : DEFAULT_SOCKET, &frame, until);

    if (!strcmp(command, "DEL")) {
        if (spool(folder ? folder : DEFAULT_SPOOL, &frame))
            die(CODE_IO, "underlay agent does not answer and the DEL could not be kept in its spool: ", strerror(errno));
        return 0;
    }
    int later = !strcmp(command, "ADD") || !strcmp(command, "CHECK");
    die(later ? CODE_TRY_AGAIN : CODE_NOT_AVAILABLE, "underlay agent of this node does not answer at ", path ? path : DEFAULT_SOCKET);
}
