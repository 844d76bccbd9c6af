/* The one comparison of floats in tests: |got - want| <= absolute + relative * |want|, element by element. A NaN never
 * passes, on either side. An infinity passes only where both sides are the same infinity and the tolerance says so. */
#ifndef VISTILL_TESTS_UNIT_COMPARE_H
#define VISTILL_TESTS_UNIT_COMPARE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef struct tolerance {
    double absolute, relative;
    bool infinities; /* the same infinity on both sides is equal */
} tolerance;

/* Floats or doubles, depending on the type of the pointer. */
typedef struct number_array {
    const void *data;
    bool wide;
} number_array;
#define NUMBERS(pointer)       \
    ((number_array){(pointer), \
                    _Generic((pointer), double *: true, const double *: true, float *: false, const float *: false)})

static inline double number_at(number_array x, int64_t i) {
    return x.wide ? ((const double *)x.data)[i] : (double)((const float *)x.data)[i];
}

/* |got - want|; infinite if one of them is not finite. */
static inline double difference_of(double got, double want, bool infinities) {
    if (infinities && isinf(got) && got == want) return 0;
    return isfinite(got) && isfinite(want) ? fabs(got - want) : (double)INFINITY;
}

static inline bool is_close(double got, double want, tolerance t) {
    const double off = difference_of(got, want, t.infinities);
    return off == 0 || (isfinite(off) && off <= t.absolute + t.relative * fabs(want));
}

/* The index of the first element that is not close, or -1. */
static inline int64_t first_difference_of(number_array got, number_array want, int64_t count, tolerance t) {
    for (int64_t i = 0; i < count; i++)
        if (!is_close(number_at(got, i), number_at(want, i), t)) return i;
    return -1;
}

/* The largest |got - want|; infinite if any element is not finite, 0 without elements. */
static inline double largest_difference_of(number_array got, number_array want, int64_t count) {
    double largest = 0;
    for (int64_t i = 0; i < count; i++) {
        const double off = difference_of(number_at(got, i), number_at(want, i), false);
        if (off > largest) largest = off; /* never a NaN */
    }
    return largest;
}

/* The root mean square; infinite if any element is not finite, 0 without elements. */
static inline double rms_of(number_array x, int64_t count) {
    double squares = 0;
    for (int64_t i = 0; i < count; i++) squares += number_at(x, i) * number_at(x, i);
    return count == 0 ? 0 : isfinite(squares) ? sqrt(squares / (double)count) : (double)INFINITY;
}

/* The largest difference divided by the root mean square of `want`, or by `least` if that is larger. */
static inline double relative_difference_of(number_array got, number_array want, int64_t count, double least) {
    const double largest = largest_difference_of(got, want, count), scale = rms_of(want, count);
    return largest == 0 || isinf(largest) ? largest : largest / (scale > least ? scale : least);
}

/* "element 3 of 8 is nan, expected 1, allowed difference 1e-05" */
static inline const char *describe_difference(char text[192], number_array got, number_array want, int64_t count,
                                              int64_t i, tolerance t) {
    snprintf(text, 192, "element %lld of %lld is %.9g, expected %.9g, allowed difference %.3g", (long long)i,
             (long long)count, number_at(got, i), number_at(want, i),
             t.absolute + t.relative * fabs(number_at(want, i)));
    return text;
}

/* Each side: a pointer to floats or to doubles. */
#define first_difference(got, want, count, tolerance) \
    first_difference_of(NUMBERS(got), NUMBERS(want), (int64_t)(count), tolerance)
#define largest_difference(got, want, count) largest_difference_of(NUMBERS(got), NUMBERS(want), (int64_t)(count))
#define rms(x, count) rms_of(NUMBERS(x), (int64_t)(count))
#define relative_difference(got, want, count, least) \
    relative_difference_of(NUMBERS(got), NUMBERS(want), (int64_t)(count), least)

/* Assertions of Check; `what` is said first in the message. The tolerance is written (tolerance){...}. */
#define ck_assert_all_close(what, got, want, count, ...)                                                \
    do {                                                                                                \
        const number_array got_ = NUMBERS(got), want_ = NUMBERS(want);                                  \
        const int64_t count_ = (int64_t)(count);                                                        \
        const tolerance tolerance_ = __VA_ARGS__;                                                       \
        const int64_t at_ = first_difference_of(got_, want_, count_, tolerance_);                       \
        char text_[192];                                                                                \
        ck_assert_msg(at_ < 0, "%s: %s", what,                                                          \
                      at_ < 0 ? "" : describe_difference(text_, got_, want_, count_, at_, tolerance_)); \
    } while (0)
#define ck_assert_close(what, got, want, ...)                      \
    do {                                                           \
        const double one_ = (got), other_ = (want);                \
        ck_assert_all_close(what, &one_, &other_, 1, __VA_ARGS__); \
    } while (0)

#endif
