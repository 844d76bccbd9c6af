/* Parked threads keep the others from spinning, come and go, and change no result. */
#include <check.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/unit/suite.h"
#include "vision/base/clock.h"
#include "vision/base/threads.h"

static double cpu_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Processor time that goes into waiting 0.1 s for one of two threads. */
static double cost_of_waiting(void) {
    const double begin = cpu_seconds();
#pragma omp parallel num_threads(2)
    if (omp_get_thread_num() == 0) nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    return cpu_seconds() - begin;
}

static double least_of(int times) {
    double least = cost_of_waiting();
    for (int i = 1; i < times; i++) {
        const double cost = cost_of_waiting();
        if (cost < least) least = cost;
    }
    return least;
}

START_TEST(parking_ends_spinning) {
    omp_set_num_threads(omp_get_num_procs() < 2 ? 2 : omp_get_num_procs());
    cost_of_waiting(); /* starts the team */
    const double alone = least_of(5);
    vsti_threads_park(true);
    ck_assert(vsti_threads_are_parked());
    const double parked = least_of(5);
    vsti_threads_park(false);
    ck_assert(!vsti_threads_are_parked());
    printf("waiting 100 ms costs %.3f ms of processor time, with parked threads %.3f ms\n", 1e3 * alone, 1e3 * parked);
    fflush(stdout);
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT") || alone < 1e-3) {
        printf("skipped: this OpenMP library does not spin here\n");
        return;
    }
    ck_assert_double_lt(parked, alone / 2);
}
END_TEST

START_TEST(parking_comes_and_goes) {
    long sum = 0;
    for (int i = 0; i < 200; i++) {
        vsti_threads_park(i % 3 != 0); /* also twice the same */
        ck_assert(vsti_threads_are_parked() == (i % 3 != 0));
#pragma omp parallel for reduction(+ : sum)
        for (int k = 0; k < 100; k++) sum += k;
    }
    ck_assert_int_eq(sum, 200 * 4950);
    vsti_threads_park(false);
    vsti_threads_park(false);
    ck_assert(!vsti_threads_are_parked());
}
END_TEST

static void *park_and_release(void *unused) {
    (void)unused;
    for (int i = 0; i < 100; i++) {
        vsti_threads_park(i % 2 == 0);
        const vsti_threads_clock begin = vsti_threads_run_begins();
        vsti_threads_run_ends(&begin);
    }
    return NULL;
}

/* Threads that run contexts at once may all decide, and each something else. */
START_TEST(parking_from_many_threads) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, park_and_release, NULL), 0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    vsti_threads_park(true);
    ck_assert(vsti_threads_are_parked());
    vsti_threads_park(false);
    ck_assert(!vsti_threads_are_parked());
}
END_TEST

START_TEST(thread_counts_are_put_back) {
    vsti_team two, same, four;
    omp_set_num_threads(3);
    omp_set_dynamic(1);
    ck_assert_int_eq(vsti_team_begin(&two, 2), VST_OK);
    ck_assert_int_eq(two.threads, 2);
    ck_assert_int_eq(vsti_team_begin(&same, 0), VST_OK);
    ck_assert_int_eq(same.threads, 2);
    ck_assert_int_eq(vsti_team_begin(&four, 4), VST_OK);
    ck_assert_int_eq(omp_get_max_threads(), 4);
    ck_assert_int_eq(omp_get_dynamic(), 0);
    vsti_team_end(&four);
    vsti_team_end(&same);
    vsti_team_end(&two);
    ck_assert_int_eq(omp_get_max_threads(), 3);
    ck_assert_int_eq(omp_get_dynamic(), 1);
    vsti_team_end(&(vsti_team){0});
    ck_assert_int_eq(omp_get_max_threads(), 3);
}
END_TEST

/* A smaller team than requested is detected. */
START_TEST(smaller_teams_are_seen) {
    vsti_team team;
    const int levels = omp_get_max_active_levels();
    omp_set_num_threads(3);
    omp_set_max_active_levels(0);
    ck_assert_int_eq(vsti_team_begin(&team, 0), VST_OK);
    ck_assert_int_eq(team.threads, 1);
    ck_assert_int_eq(omp_get_max_threads(), 1);
    vsti_team_end(&team);
    ck_assert_int_eq(vsti_team_begin(&team, 2), VST_ERROR_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(vst_error_message(), "2 threads are needed to compute, and OpenMP gives 1"));
    ck_assert_int_eq(omp_get_max_threads(), 3);
    omp_set_max_active_levels(levels);
    int within = 0, refused = 0;
#pragma omp parallel num_threads(2) reduction(+ : within, refused)
    {
        vsti_team own;
        within += vsti_team_begin(&own, 0) == VST_OK ? own.threads : 100;
        vsti_team_end(&own);
        refused += vsti_team_begin(&own, 2) == VST_ERROR_UNSUPPORTED;
    }
    ck_assert_int_eq(within, 2);
    ck_assert_int_eq(refused, 2);
}
END_TEST

/* A run of `seconds` in which the team of 2 got all processors that it can use except `denied`. */
static void run_for(double seconds, double denied) {
    const int processors = omp_get_num_procs() < 2 ? 1 : 2;
    vsti_threads_clock begin = vsti_threads_run_begins();
    begin.time -= seconds;
    begin.used -= (processors - denied) * seconds;
    vsti_threads_run_ends(&begin);
}

static void begin_adapting(void) {
    unsetenv("OMP_WAIT_POLICY");
    unsetenv("GOMP_SPINCOUNT");
    unsetenv("OMP_THREAD_LIMIT");
    omp_set_num_threads(2);
    vsti_threads_park(false);
}

START_TEST(denied_teams_park) {
    begin_adapting();
    run_for(1, 0);
    ck_assert(!vsti_threads_are_parked());
    run_for(1, 0.1); /* the machine's own work */
    ck_assert(!vsti_threads_are_parked());
    for (int i = 0; i < 100; i++) run_for(0.002, 0.5); /* short runs are judged together */
    ck_assert(vsti_threads_are_parked());
    vsti_threads_park(false);
    run_for(1, 0.5);
    ck_assert(vsti_threads_are_parked());
    vsti_threads_park(false);
}
END_TEST

/* Each of these variables decides in place of the measurement. */
START_TEST(users_settings_win) {
    static const char *const names[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT"};
    static const vsti_waiting expected[] = {VSTI_WAITING_CHOSEN, VSTI_WAITING_CHOSEN, VSTI_WAITING_LIMITED};
    begin_adapting();
    ck_assert_int_eq(vsti_waiting_policy(), VSTI_WAITING_ADAPTS);
    setenv(names[_i], "1000", 1);
    ck_assert_int_eq(vsti_waiting_policy(), expected[_i]);
    run_for(1, 0.9);
    ck_assert(!vsti_threads_are_parked());
}
END_TEST

/* What /proc/stat says of the first processors, each of which has been busy so many hundredths of a second. */
static void write_stat(const char *path, long busy) {
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    for (int i = 0; i < CPU_SETSIZE; i++) fprintf(file, "cpu%d 0 %ld 0 5 0 0 0 0 0 0\n", i, busy);
    ck_assert_int_eq(fclose(file), 0);
}

/* Runs for at most `seconds`, until the team is released; whether it was. `speed`: busy processors of others. */
static bool is_released_within(double seconds, double speed) {
    const double begin = vst_seconds();
    do {
        if (speed >= 0) write_stat("stat", (long)(100 * speed * vst_seconds()));
        const vsti_threads_clock run = vsti_threads_run_begins();
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        vsti_threads_run_ends(&run);
    } while (vsti_threads_are_parked() && vst_seconds() - begin < seconds);
    return !vsti_threads_are_parked();
}

START_TEST(free_processors_release) {
    begin_adapting();
    vsti_threads_stat = "stat";
    run_for(1, 0.5);
    ck_assert(!is_released_within(1, 4)); /* others are busy */
    ck_assert(is_released_within(30, 0));
    vsti_threads_stat = "no such file"; /* then it is tried, ever more rarely */
    run_for(1, 0.5);
    ck_assert(is_released_within(30, -1));
    remove("stat");
}
END_TEST

/* Long runs count, though a measurement is made only at their ends. */
START_TEST(long_runs_release) {
    begin_adapting();
    vsti_threads_stat = "no such file";
    run_for(1, 0.5);
    for (int i = 0; i < 4 && vsti_threads_are_parked(); i++) {
        const vsti_threads_clock run = vsti_threads_run_begins();
        nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
        vsti_threads_run_ends(&run);
    }
    ck_assert(!vsti_threads_are_parked());
}
END_TEST

int main(void) {
    TCase *cases = tcase_create("threads");
    tcase_set_timeout(cases, 60);
    tcase_add_test(cases, parking_ends_spinning);
    tcase_add_test(cases, parking_comes_and_goes);
    tcase_add_test(cases, parking_from_many_threads);
    tcase_add_test(cases, thread_counts_are_put_back);
    tcase_add_test(cases, smaller_teams_are_seen);
    tcase_add_test(cases, denied_teams_park);
    tcase_add_loop_test(cases, users_settings_win, 0, 3);
    tcase_add_test(cases, free_processors_release);
    tcase_add_test(cases, long_runs_release);
    return run_suite("threads", cases);
}
