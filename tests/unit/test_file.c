/* vision/base/file: opening, reading, and atomic writing. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/disk.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

/* ---- The system's calls, which fail when told to ---- */

static int fsync_fails_at, fsyncs; /* the n-th from now on; 0: none */
static bool rename_fails;

int fsync(int fd) {
    if (fsync_fails_at && ++fsyncs == fsync_fails_at) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    if (rename_fails) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

/* ---- Helpers ---- */

static void enter(void) {
    enter_own_folder("file");
    fsync_fails_at = fsyncs = 0;
    rename_fails = false;
}

static int count_files(void) {
    int count = 0;
    DIR *stream = opendir(".");
    ck_assert_ptr_nonnull(stream);
    for (struct dirent *entry; (entry = readdir(stream));) count += entry->d_name[0] != '.';
    closedir(stream);
    return count;
}

static void put(const char *path, const char *text) { ck_ok(vsti_file_write(path, text, strlen(text))); }

static void holds(const char *path, const char *text) {
    char *bytes;
    size_t size;
    ck_ok(vsti_file_read(path, 1 << 20, "a test's file", &bytes, &size));
    ck_assert_str_eq(bytes, text);
    ck_assert_uint_eq(size, strlen(text));
    vst_free(bytes);
}

static unsigned mode_of(const char *path) {
    struct stat info;
    ck_assert_int_eq(lstat(path, &info), 0);
    return info.st_mode & 07777;
}

static void make_socket(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, path);
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

/* ---- Reading ---- */

START_TEST(reads) {
    char *bytes;
    size_t size;
    put("a", "text");
    holds("a", "text");
    put("empty", "");
    holds("empty", "");
    ck_assert_int_eq(symlink("a", "link"), 0);
    holds("link", "text");
    ck_ok(vsti_file_read("a", 4, "a word", &bytes, NULL)); /* exactly the limit */
    vst_free(bytes);
    ck_fails(vsti_file_read("a", 3, "a word", &bytes, &size), VST_ERROR_LIMIT, "a: 4 bytes, and a word has at most 3");
    ck_assert_ptr_null(bytes);
    ck_fails(vsti_file_read("none", 3, "a word", &bytes, &size), VST_ERROR_NOT_FOUND, "none: cannot be opened");
    put("huge", "");
    ck_assert_int_eq(truncate("huge", (off_t)1 << 40), 0); /* refused before memory is allocated */
    const uint64_t allocations = vst_memory_count();
    ck_fails(vsti_file_read("huge", 1 << 20, "a word", &bytes, &size), VST_ERROR_LIMIT, "huge: 1099511627776 bytes");
    ck_assert_uint_eq(vst_memory_count(), allocations);
    vst_memory_fail_at(1);
    ck_fails(vsti_file_read("a", 4, "a word", &bytes, &size), VST_ERROR_MEMORY, "out of memory");
}
END_TEST

/* If one of them blocks, Check ends the test after its time limit. */
START_TEST(refuses_at_once) {
    static const struct {
        const char *path, *text;
    } cases[] = {{".", "not a regular file, but a folder"},
                 {"pipe", "not a regular file, but a pipe"},
                 {"link", "not a regular file, but a pipe"},
                 {"/dev/null", "not a regular file, but a device"},
                 {"/dev/zero", "not a regular file, but a device"}};
    static const int flags[] = {O_RDONLY, O_WRONLY | O_APPEND, O_RDWR | O_CREAT};
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    ck_assert_int_eq(symlink("pipe", "link"), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *bytes;
        int fd;
        uint64_t size;
        ck_fails(vsti_file_read(cases[i].path, 100, "a test's file", &bytes, NULL), VST_ERROR_FORMAT, cases[i].text);
        ck_assert_int_eq(strncmp(vst_error_message(), cases[i].path, strlen(cases[i].path)), 0);
        for (int f = 0; f < 3; f++) {
            ck_fails(vsti_file_open(cases[i].path, flags[f], &fd, &size), VST_ERROR_FORMAT, cases[i].text);
            ck_assert_int_eq(fd, -1);
        }
    }
    int fd;
    make_socket("socket");
    ck_assert_int_eq(vsti_file_open("socket", O_RDONLY, &fd, NULL) != VST_OK, 1);
}
END_TEST

START_TEST(reads_parts) {
    int fd;
    uint64_t size;
    char bytes[8] = {0};
    put("a", "0123456789");
    const int folder = open(".", O_RDONLY | O_DIRECTORY);
    ck_ok(vsti_file_open_at(folder, "a", O_RDONLY, &fd, &size));
    ck_assert_uint_eq(size, 10);
    ck_ok(vsti_file_read_at(fd, 3, bytes, 4));
    ck_assert_str_eq(bytes, "3456");
    ck_fails(vsti_file_read_at(fd, 8, bytes, 4), VST_ERROR_FORMAT, "cut off at byte 10");
    close(fd);
    ck_fails(vsti_file_read_at(fd, 2, bytes, 4), VST_ERROR_IO, "reading at byte 2 failed: Bad file descriptor");
    ck_fails(vsti_file_open_at(folder, "b", O_RDONLY, &fd, &size), VST_ERROR_NOT_FOUND, "cannot be opened");
    ck_assert_int_eq(fcntl(folder, F_GETFD) & FD_CLOEXEC, 0);
    ck_ok(vsti_file_open("a", O_RDONLY, &fd, NULL));
    ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(fd);
    close(folder);
}
END_TEST

/* ---- Writing ---- */

START_TEST(writes) {
    vsti_file_writer writer;
    put("a", "old");
    ck_ok(vsti_file_create(&writer, "a"));
    fprintf(writer.stream, "%s", "new");
    fflush(writer.stream);
    holds("a", "old"); /* unchanged until commit */
    ck_assert_int_eq(count_files(), 2);
    ck_ok(vsti_file_commit(&writer));
    holds("a", "new");
    vsti_file_discard(&writer); /* no effect */
    ck_ok(vsti_file_create(&writer, "a"));
    fprintf(writer.stream, "given up");
    vsti_file_discard(&writer);
    holds("a", "new");
    ck_assert_int_eq(count_files(), 1);
    ck_assert_int_eq(mkdir("folder", 0700), 0);
    char path[300];
    snprintf(path, sizeof path, "%s/folder/b", own_folder);
    put(path, "absolute");
    holds("folder/b", "absolute");
}
END_TEST

/* A check before the work changes nothing. */
START_TEST(checks_before_writing) {
    put("a", "old");
    ck_ok(vsti_file_check_writable("a"));
    ck_ok(vsti_file_check_writable("b"));
    holds("a", "old");
    ck_assert_int_eq(count_files(), 1);
    ck_assert_int_eq(vsti_file_check_writable("nowhere/a"), VST_ERROR_IO);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "nowhere/a cannot be written"));
    ck_assert_int_eq(mkdir("folder", 0700), 0);
    ck_assert_int_eq(vsti_file_check_writable("folder"), VST_ERROR_IO);
}
END_TEST

/* Larger than any buffer, in pieces of many sizes. */
START_TEST(writes_all) {
    enum { SIZE = 3000001 };
    char *bytes = malloc(SIZE), *back;
    size_t size;
    vsti_file_writer writer;
    for (int i = 0; i < SIZE; i++) bytes[i] = (char)(i * 31 + i / 977);
    ck_ok(vsti_file_create(&writer, "a"));
    for (size_t at = 0, step = 1; at < SIZE; at += step, step = step * 7 % 100003) {
        if (step > SIZE - at) step = SIZE - at;
        ck_assert_uint_eq(fwrite(bytes + at, 1, step, writer.stream), step);
    }
    ck_ok(vsti_file_commit(&writer));
    ck_ok(vsti_file_read("a", SIZE, "a test's file", &back, &size));
    ck_assert_uint_eq(size, SIZE);
    ck_assert_mem_eq(bytes, back, SIZE);
    vst_free(back);
    free(bytes);
}
END_TEST

START_TEST(modes) {
    umask(027);
    put("new", "x");
    ck_assert_uint_eq(mode_of("new"), 0640);
    ck_assert_int_eq(chmod("new", 0604), 0);
    put("new", "y");
    ck_assert_uint_eq(mode_of("new"), 0604);
}
END_TEST

START_TEST(links_are_followed) {
    ck_assert_int_eq(mkdir("there", 0700), 0);
    put("there/target", "old");
    ck_assert_int_eq(symlink("there/target", "one"), 0);
    ck_assert_int_eq(symlink("one", "two"), 0);
    put("two", "new");
    holds("there/target", "new");
    struct stat info;
    ck_assert(lstat("one", &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert(lstat("two", &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert_int_eq(symlink("there/fresh", "dangling"), 0);
    put("dangling", "made");
    holds("there/fresh", "made");
    ck_assert_int_eq(symlink("round", "round"), 0);
    ck_fails(vsti_file_write("round", "x", 1), VST_ERROR_IO, "too many symbolic links");
}
END_TEST

/* Even as root: /dev/null is not replaced by a file. */
START_TEST(special_files_stay) {
    static const char *const paths[] = {"folder", "pipe", "socket", "link", "/dev/null"};
    /* first a device that we create, if permitted */
    if (mknod("device", S_IFCHR | 0666, makedev(1, 3)) == 0) {
        struct stat info;
        ck_fails(vsti_file_write("device", "x", 1), VST_ERROR_IO, "device cannot be replaced");
        ck_assert(lstat("device", &info) == 0 && S_ISCHR(info.st_mode));
        unlink("device");
    }
    ck_assert_int_eq(mkdir("folder", 0700), 0);
    ck_assert_int_eq(mkfifo("pipe", 0600), 0);
    ck_assert_int_eq(symlink("/dev/null", "link"), 0);
    make_socket("socket");
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        struct stat before, after;
        ck_assert_int_eq(lstat(paths[i], &before), 0);
        ck_fails(vsti_file_write(paths[i], "x", 1), VST_ERROR_IO, "cannot be replaced: not a regular file");
        ck_assert_int_eq(lstat(paths[i], &after), 0);
        ck_assert(before.st_mode == after.st_mode && before.st_ino == after.st_ino);
    }
    ck_assert_int_eq(count_files(), 4);
}
END_TEST

START_TEST(failures_keep_the_old_file) {
    static char bytes[100000];
    put("a", "old");
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 0; room < sizeof bytes; room += 9999) { /* the disk is full after this many bytes */
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){room, RLIM_INFINITY}), 0);
        ck_fails(vsti_file_write("a", bytes, sizeof bytes), VST_ERROR_IO, "writing failed: File too large");
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){RLIM_INFINITY, RLIM_INFINITY}), 0);
        holds("a", "old");
        ck_assert_int_eq(count_files(), 1);
    }
    fsync_fails_at = 1;
    ck_fails(vsti_file_write("a", "new", 3), VST_ERROR_IO, "syncing failed: Input/output error");
    holds("a", "old");
    rename_fails = true;
    ck_fails(vsti_file_write("a", "new", 3), VST_ERROR_IO, "a cannot be replaced by a.tmp.");
    rename_fails = false;
    holds("a", "old");
    ck_assert_int_eq(count_files(), 1);
    fsyncs = 0;
    fsync_fails_at = 2; /* syncing the folder: the file is in place, but the error is reported */
    ck_fails(vsti_file_write("a", "new", 3), VST_ERROR_IO, "a is written, but syncing its folder failed");
    holds("a", "new");
    ck_assert_int_eq(count_files(), 1);
    ck_fails(vsti_file_write("no/a", "new", 3), VST_ERROR_IO, "no/: the folder cannot be opened");
    ck_fails(vsti_file_write("", "new", 3), VST_ERROR_IO, "cannot be");
}
END_TEST

/* Free bytes of the simulated disk. */
static uint64_t free_bytes;
int statvfs(const char *restrict path, struct statvfs *restrict disk) {
    struct stat info;
    if (stat(path, &info) != 0) return -1;
    *disk = (struct statvfs){.f_bavail = (fsblkcnt_t)(free_bytes / 500), .f_frsize = 500};
    return 0;
}

START_TEST(room_on_the_disk) {
    char text[32];
    free_bytes = 1500000;
    ck_ok(vsti_disk_check(".", 1500000, "go on"));
    ck_ok(vsti_disk_check("", 0, "go on"));
    ck_fails(vsti_disk_check("a", 1500001, "make room"), VST_ERROR_IO,
             "a: 1.5 MB are needed and 1.5 MB are free on its disk: make room");
    ck_ok(vsti_disk_check("not/yet/there", 1500000, "go on"));
    ck_ok(vsti_disk_check("/not/yet/there", 1500000, "go on"));
    ck_fails(vsti_disk_check("not/yet/there", 2000000000, "make room"), VST_ERROR_IO,
             "not/yet/there: 2.00 GB are needed and 1.5 MB are free on its disk: make room");
    put("a", "x");
    ck_fails(vsti_disk_check("a/b", 1, "make room"), VST_ERROR_IO,
             "a/b: its disk's room is not known: Not a directory");
    ck_assert_str_eq(vsti_bytes_text(999, text), "1.0 kB");
    ck_assert_str_eq(vsti_bytes_text(999999, text), "1000.0 kB");
}
END_TEST

START_TEST(memory_fails) {
    vst_status status = VST_ERROR_MEMORY;
    put("a", "old");
    for (uint64_t n = 1; status != VST_OK; n++) {
        vst_memory_fail_at(n);
        status = vsti_file_write("a", "new", 3);
        vst_memory_fail_at(0);
        ck_assert(status == VST_OK || status == VST_ERROR_MEMORY);
        ck_assert_int_eq(count_files(), 1);
        holds("a", status == VST_OK ? "new" : "old");
    }
}
END_TEST

/* ---- Several writers ---- */

static void touch(const char *path) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
}

/* The next writer of a path removes temporary files of killed processes, but not those of running ones or other files.
 */
START_TEST(strays_are_removed) {
    vsti_file_writer writer;
    int ready[2];
    char byte;
    ck_assert_int_eq(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        ck_ok(vsti_file_create(&writer, "a"));
        if (write(ready[1], "x", 1) == 1) pause();
        _exit(1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(count_files(), 1);
    put("a", "first"); /* while another writer is running */
    ck_assert_int_eq(count_files(), 2);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    touch("a.tmp.4711"); /* as earlier versions named them */
    touch("a.tmp.1.2");
    static const char *const others[] = {"a.tmp.", "a.tmp.x1", "a.tmp.12.txt", "b.tmp.12", "aa.tmp.12", "a.tmp"};
    for (size_t i = 0; i < 6; i++) touch(others[i]);
    ck_assert_int_eq(symlink("b.tmp.12", "a.tmp.13"), 0);
    ck_assert_int_eq(mkdir("a.tmp.14", 0700), 0);
    put("a", "second");
    ck_assert_int_eq(count_files(), 1 + 6 + 2);
    for (size_t i = 0; i < 6; i++) ck_assert_int_eq(access(others[i], F_OK), 0);
    holds("a", "second");
    touch("a.tmp.4711");
    vsti_file_remove_strays("./a");
    ck_assert_int_ne(access("a.tmp.4711", F_OK), 0);
    vsti_file_remove_strays("none/a"); /* no effect */
}
END_TEST

enum { WRITERS = 4, ROUNDS = 20, LENGTH = 20000 };

static void write_rounds(int writer) {
    char *bytes = malloc(LENGTH);
    for (int round = 0; round < ROUNDS; round++) {
        memset(bytes, 'a' + writer, LENGTH);
        ck_ok(vsti_file_write("shared", bytes, LENGTH));
    }
    free(bytes);
}

static void *write_in_thread(void *number) {
    write_rounds(*(int *)number);
    return NULL;
}

static void check_whole(void) {
    char *bytes;
    size_t size;
    ck_ok(vsti_file_read("shared", LENGTH, "a test's file", &bytes, &size));
    ck_assert_uint_eq(size, LENGTH);
    ck_assert(memcmp(bytes, bytes + 1, size - 1) == 0);
    vst_free(bytes);
}

/* In threads (0) and in processes (1): all succeed, readers see the content of one writer, and no file is left. */
START_TEST(concurrent_writers) {
    pthread_t threads[WRITERS];
    pid_t children[WRITERS];
    int numbers[WRITERS], result = 0;
    write_rounds(0);
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        if (_i == 0) ck_assert_int_eq(pthread_create(&threads[i], NULL, write_in_thread, &numbers[i]), 0);
        else if ((children[i] = fork()) == 0) {
            write_rounds(i);
            _exit(0);
        }
    }
    for (int i = 0; i < 200; i++) check_whole();
    for (int i = 0; i < WRITERS; i++) {
        if (_i == 0) pthread_join(threads[i], NULL);
        else ck_assert(waitpid(children[i], &result, 0) == children[i] && result == 0);
    }
    check_whole();
    ck_assert_int_eq(count_files(), 1);
}
END_TEST

int main(void) {
    const TTest *const all[] = {reads,
                                refuses_at_once,
                                reads_parts,
                                writes,
                                checks_before_writing,
                                writes_all,
                                modes,
                                links_are_followed,
                                special_files_stay,
                                failures_keep_the_old_file,
                                room_on_the_disk,
                                memory_fails,
                                strays_are_removed};
    TCase *tests = tcase_create("file");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, enter, leave_own_folder);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) tcase_add_test(tests, all[i]);
    tcase_add_loop_test(tests, concurrent_writers, 0, 2);
    return run_suite("file", tests);
}
