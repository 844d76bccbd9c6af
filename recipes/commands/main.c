/* The program: finds the subcommand, reads its arguments, runs it. */
#include "recipes/commands/main.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "recipes/commands/output.h"
#include "recipes/commands/progress.h"
#include "recipes/commands/table.h"
#include "vision/base/log.h"
#include "vision/base/option.h"
#include "vision/base/version.h"

static volatile sig_atomic_t interrupted;
static const char *first_text, *second_text; /* of vst_catch_interrupt */

/* write is one of the few functions that a signal handler may call. */
static void say(const char *text) {
    if (write(STDERR_FILENO, text, strlen(text)) < 0) return; /* nothing else can be done */
}

/* Whether Ctrl-C was pressed again. One event may send a signal twice: kernel and shell when a terminal is closed, or a
 * wrapper that forwards Ctrl-C. */
static bool is_pressed_again(int number) {
    static const double same_press = 0.5; /* seconds */
    static double first;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    const double now = (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
    if (!interrupted) first = now;
    return number == SIGINT && now - first > same_press;
}

static void on_signal(int number) {
    if (is_pressed_again(number)) {
        say(second_text);
        signal(number, SIG_DFL);
        raise(number); /* ends the program when the handler returns */
        return;
    }
    if (!interrupted) say(first_text);
    interrupted = 1;
}

const volatile sig_atomic_t *vst_catch_interrupt(const char *first, const char *second) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction old;
    first_text = first;
    second_text = second;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (signals[i] != SIGHUP || (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN)) /* nohup */
            sigaction(signals[i], &action, NULL);
    return &interrupted;
}

/* A failed write is an error with a message, whereas these signals would end the program silently. */
static void ignore_write_signals(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
}

/* Opens closed standard streams as /dev/null: otherwise the next opened file would get their number, and messages. */
static void open_standard_streams(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) _exit(VST_EXIT_ERROR);
}

int vst_command_exit(vst_status status) {
    if (status == VST_OK) return VST_EXIT_OK;
    vst_progress_hide();
    if (status == VST_ERROR_IO && vst_output_is_closed()) return VST_EXIT_PIPE;
    if (status == VST_ERROR_INTERRUPTED) {
        vst_print_line(stderr, "vistill: interrupted%s%s", *vst_error_message() ? ": " : "", vst_error_message());
        return VST_EXIT_INTERRUPTED;
    }
    vst_print_line(stderr, "vistill: error: %s", vst_error_message());
    return VST_EXIT_ERROR;
}

int vst_command_usage(const vst_command *command, const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    vst_print_line(stderr, "vistill %s: %s", command->name, text);
    fprintf(stderr, "Usage: vistill %s %s\nTry `vistill help %s`.\n", command->name, command->words, command->name);
    return VST_EXIT_USAGE;
}

static void show_log(vst_log_level level, const char *text, void *user) {
    (void)user;
    vst_progress_hide();
    vst_print_line(stderr, "%s%s", level == VST_LOG_WARNING ? "warning: " : "", text);
}

/* ---- Help ---- */

/* The width of help: that of the terminal, or 80 columns. */
static int help_columns(void) {
    const int columns = vst_terminal_width(stdout);
    return columns > 0 ? columns : 80;
}

static int help_all(void) {
    vst_table *table = NULL;
    vst_status status = VST_OK;
    printf(
        "Vistill %s: vision distillation on CPUs. A trained CNN teaches a Vision Transformer.\n\n"
        "Usage: vistill COMMAND …\n\n",
        VST_VERSION);
    VST_TRY(vst_table_create(&table, (const char *[]){"command", "what it does", NULL}));
    vst_table_wrap(table, help_columns());
    for (size_t i = 0; i < vsti_command_count; i++) {
        vst_table_cell(table, "  %s", vsti_command_table[i]->name);
        vst_table_cell(table, "%s", vsti_command_table[i]->summary);
    }
    vst_table_cell(table, "  help");
    vst_table_cell(table, "this text; `vistill help COMMAND` says more of one");
    VST_TRY(vst_table_write(table, stdout));
    printf(
        "\nExit codes: 0 done, 1 error, 2 wrong usage, 130 interrupted,\n141 standard output closed by its reader.\n");
out:
    vst_table_destroy(table);
    return vst_command_exit(status);
}

static void flag_row(vst_table *table, const vst_flag *flag) {
    char letter[8] = "    ";
    if (flag->letter) snprintf(letter, sizeof letter, "-%c, ", flag->letter);
    vst_table_cell(table, "  %s--%s%s%s", letter, flag->name, flag->value ? " " : "", flag->value ? flag->value : "");
    vst_table_cell(table, "%s", flag->help);
}

/* The column of the text in a list item "name  text", which may continue in indented lines; 0 in prose. */
static size_t hanging(const char *line) {
    const size_t bytes = strcspn(line, "\n"), below = line[bytes] ? strspn(line + bytes + 1, " ") : 0;
    if (*line != ' ' && below > 0 && below < bytes) return below;
    for (size_t i = 0; i + 1 < bytes; i++)
        if (line[i] == ' ' && line[i + 1] == ' ') return i + strspn(line + i, " ");
    return 0;
}

/* Prints the text with prose reflowed and list items wrapped. */
static void write_help(const char *help) {
    const int columns = help_columns();
    char text[4096];
    while (*help) {
        const size_t indent = hanging(help);
        size_t used = 0;
        for (bool more = true; more;) {
            const size_t bytes = strcspn(help, "\n"), blank = used ? strspn(help, " ") : 0;
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%.*s", used ? " " : "", (int)(bytes - blank),
                                     help + blank);
            if (used >= sizeof text) used = sizeof text - 1;
            help += bytes + (help[bytes] == '\n');
            more = bytes > 0 && *help && *help != '\n' && (indent ? *help == ' ' && *text != ' ' : hanging(help) == 0);
        }
        printf("%.*s", (int)indent, text);
        vst_text_write(stdout, text + indent, (int)indent, columns - (int)indent);
    }
}

static int help_one(const vst_command *command) {
    vst_table *table = NULL;
    vst_status status = VST_OK;
    printf("Usage: vistill %s %s%s[OPTION]…\n\n%c%s.\n", command->name, command->words, *command->words ? " " : "",
           toupper((unsigned char)*command->summary), command->summary + 1);
    printf("\n");
    if (command->help) {
        write_help(command->help);
        printf("\n");
    }
    VST_TRY(vst_table_create(&table, (const char *[]){"Options", "", NULL}));
    vst_table_wrap(table, help_columns());
    for (const vst_flag *flag = command->flags; flag && flag->name; flag++) flag_row(table, flag);
    flag_row(table, &vst_help_flag);
    VST_TRY(vst_table_write(table, stdout));
out:
    vst_table_destroy(table);
    return vst_command_exit(status);
}

/* ---- Dispatch ---- */

static const vst_command *find(const char *name) {
    for (size_t i = 0; i < vsti_command_count; i++)
        if (strcmp(vsti_command_table[i]->name, name) == 0) return vsti_command_table[i];
    return NULL;
}

/* The option tables suggest similar names, so the names of the commands are made such a table. */
static int unknown_command(const char *name) {
    enum { MOST = 64 };
    vst_option names[MOST] = {{0}};
    for (size_t i = 0; i < vsti_command_count && i + 2 < MOST; i++)
        names[i] = (vst_option){.name = vsti_command_table[i]->name, .type = VST_TYPE_BOOL};
    if (vst_options_set(names, NULL, name, "") == VST_OK)
        return VST_EXIT_USAGE; /* not possible, because the name is unknown */
    const char *rest = strchr(vst_error_message(), ';');
    vst_print_line(stderr, "vistill: unknown command \"%.100s\"%s", name, rest ? rest : "");
    fprintf(stderr, "Try `vistill help`.\n");
    return VST_EXIT_USAGE;
}

static int run(const vst_command *command, int argc, char **argv) {
    vst_arguments arguments;
    const vst_status status =
        vst_arguments_parse(&arguments, command->flags, command->minimum, command->maximum, argc, argv);
    if (status == VST_ERROR_MEMORY) return vst_command_exit(status);
    if (status != VST_OK) return vst_command_usage(command, "%s", vst_error_message());
    const int code = vst_flag_given(&arguments, "help") ? help_one(command) : command->run(&arguments);
    vst_arguments_clear(&arguments);
    return code;
}

/* A failed write to standard output, such as on a full disk, is an error. */
static int close_output(int code) {
    if (code != VST_EXIT_OK) return code;
    return vst_command_exit(vst_output_flush());
}

int main(int argc, char **argv) {
    open_standard_streams();
    ignore_write_signals();
    vst_log_set(show_log, NULL);
    vst_progress_show();
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
        printf("vistill %s\n", VST_VERSION);
        return close_output(VST_EXIT_OK);
    }
    const bool help = strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (help && argc > 2) {
        const vst_command *command = find(argv[2]);
        return command ? close_output(help_one(command)) : unknown_command(argv[2]);
    }
    if (help) return close_output(help_all());
    if (argc < 2) {
        help_all();
        return close_output(VST_EXIT_USAGE);
    }
    const vst_command *command = find(name);
    return command ? close_output(run(command, argc - 2, argv + 2)) : unknown_command(name);
}
