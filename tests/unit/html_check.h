/* Checks of HTML pages: balanced tags, number of occurrences of a text. Include after <check.h>. */
#ifndef VISTILL_TESTS_UNIT_HTML_CHECK_H
#define VISTILL_TESTS_UNIT_HTML_CHECK_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static inline int occurrences(const char *text, const char *what) {
    int count = 0;
    for (; (text = strstr(text, what)); text += strlen(what)) count++;
    return count;
}

static inline bool is_void_tag(const char *name) {
    static const char *const names[] = {"meta", "img", "br", "link", "hr", NULL};
    for (int i = 0; names[i]; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* Checks that every element is closed in the right order, quotes in tags are closed, and the text has no bare < or &.
 */
static inline void check_html(const char *html) {
    enum { DEPTH = 64 };
    char open[DEPTH][24];
    int depth = 0;
    for (const char *at = html; *at; at++) {
        if (*at == '&') ck_assert_msg(strcspn(at, ";") < 8, "a bare &: %.40s", at);
        if (*at != '<' || strncmp(at, "<!DOCTYPE", 9) == 0) continue;
        char name[24];
        int length = 0;
        const bool end = at[1] == '/';
        ck_assert_msg(sscanf(at + 1 + end, "%23[a-zA-Z0-9:]%n", name, &length) == 1, "no tag: %.40s", at);
        const char *tag = at, *last = at;
        for (char quote = 0; *at && (quote || *at != '>'); last = at++) {
            if (quote ? *at == quote : *at == '"' || *at == '\'') quote = quote ? 0 : *at;
        }
        ck_assert_msg(*at == '>', "a tag without end: %.60s", tag);
        if (end) {
            ck_assert_msg(depth > 0 && strcmp(open[depth - 1], name) == 0, "</%s> ends <%s>: %.60s", name,
                          depth ? open[depth - 1] : "", tag);
            depth--;
        } else if (!is_void_tag(name) && *last != '/') {
            ck_assert_int_lt(depth, DEPTH);
            strcpy(open[depth++], name);
        }
        if (!end && strcmp(name, "style") == 0) at = strstr(at, "</style>") - 1;
    }
    ck_assert_msg(depth == 0, "<%s> does not end", depth ? open[depth - 1] : "");
}

#endif
