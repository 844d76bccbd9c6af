/* vision/base/memory_room: what /proc and control groups of both versions say, in files of the test's own. */
#include <check.h>
#include <inttypes.h>

#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/log.h"
#include "vision/base/memory_room.h"

static const uint64_t MIB = 1024 * 1024;

static void write_file(const char *path, const char *text) {
    char folder[256];
    for (const char *slash = path; (slash = strchr(slash + 1, '/'));) {
        snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
        mkdir(folder, 0777);
    }
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    fclose(file);
}

static void set_up(void) {
    enter_own_folder("memory");
    write_file("./proc/meminfo",
               "MemTotal:       8388608 kB\nMemFree:  1 kB\nMemAvailable:    4194304 kB\n"
               "SwapTotal:       1048576 kB\n");
    write_file("./proc/self/status", "Name:\tx\nRssAnon:\t  102400 kB\n");
}

static void expect(uint64_t most, uint64_t free) {
    vsti_memory_room room;
    ck_assert(vsti_memory_room_read(".", &room));
    ck_assert_uint_eq(room.most / MIB, most);
    ck_assert_uint_eq(room.free / MIB, free);
}

START_TEST(the_machine) {
    expect(8192 + 1024, 4096 + 100);
    write_file("./proc/self/cgroup", "0::/user\n"); /* of which nothing is to be seen */
    expect(8192 + 1024, 4096 + 100);
    remove("./proc/meminfo");
    vsti_memory_room room;
    ck_assert(!vsti_memory_room_read(".", &room));
}
END_TEST

START_TEST(groups_of_version_2) {
    write_file("./proc/self/cgroup", "0::/a/b\n");
    write_file("./sys/fs/cgroup/a/memory.max", "1073741824\n"); /* the group above counts as well */
    write_file("./sys/fs/cgroup/a/memory.current", "536870912\n");
    write_file("./sys/fs/cgroup/a/memory.stat", "anon 5\ninactive_file 104857600\n");
    write_file("./sys/fs/cgroup/a/b/memory.max", "max\n");
    expect(1024 + 1024, 512 + 100 + 100);
    write_file("./sys/fs/cgroup/a/b/memory.max", "104857600\n");
    write_file("./sys/fs/cgroup/a/b/memory.current", "204857600\n"); /* over its limit */
    expect(100 + 1024, 100);
}
END_TEST

START_TEST(groups_of_version_1) {
    write_file("./proc/self/cgroup", "9:name=systemd:/x\n4:cpu,memory:/outside/box\n0::/\n");
    write_file("./sys/fs/cgroup/memory/memory.limit_in_bytes",
               "2147483648\n"); /* a container sees its own as the root */
    write_file("./sys/fs/cgroup/memory/memory.usage_in_bytes", "1073741824\n");
    write_file("./sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 209715200\n");
    expect(2048 + 1024, 1024 + 200 + 100);
    write_file("./sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"); /* none */
    expect(8192 + 1024, 4096 + 100);
}
END_TEST

static int warnings;

static void count_warnings(vst_log_level level, const char *text, void *user) {
    (void)user;
    warnings += level == VST_LOG_WARNING && strstr(text, "a smaller batch") && strstr(text, "the test needs");
}

START_TEST(what_is_too_much) {
    vsti_memory_room room;
    ck_assert(vsti_memory_room_read("", &room));
    vst_log_set(count_warnings, NULL);
    ck_ok(vsti_memory_check(room.free / 2, "the test", "a smaller batch"));
    ck_assert_int_eq(warnings, 0);
    ck_ok(vsti_memory_check(room.most, "the test", "a smaller batch"));
    ck_assert_int_eq(warnings, 1);
    ck_fails(vsti_memory_check(room.most + 1, "the test", "a smaller batch"), VST_ERROR_LIMIT, "a smaller batch");
    ck_assert_uint_gt(vsti_memory_used(), 0);
}
END_TEST

int main(void) {
    const TTest *const tests[] = {the_machine, groups_of_version_2, groups_of_version_1, what_is_too_much};
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, set_up, leave_own_folder);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) tcase_add_test(all, tests[i]);
    return run_suite("memory_room", all);
}
