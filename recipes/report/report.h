/* report.html: one run, or several beside each other, as one self-contained page that needs no network and no script.
 * It does not depend on training: everything comes from the caller and from each run folder's summary.csv. Figures are
 * drawn by gnuplot; without it the page says so and keeps its tables. */
#ifndef VISTILL_RECIPES_REPORT_REPORT_H
#define VISTILL_RECIPES_REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "recipes/infer/confusion.h"
#include "vision/image/image.h"

/* Up to four sources of predictions: teacher, class head, distillation head and their mean, or teacher and model. */
enum { VST_REPORT_ANSWERS = 4 };
typedef struct vst_report_agreement {
    int count; /* fewer than 2: nothing to compare */
    const char *names[VST_REPORT_ANSWERS];
    double right[VST_REPORT_ANSWERS];                    /* per cent of the labelled test images */
    double same[VST_REPORT_ANSWERS][VST_REPORT_ANSWERS]; /* per cent of the test images with the same prediction */
} vst_report_agreement;

/* One run. Unknown numbers are NAN; all pointers remain owned by the caller. */
typedef struct vst_report_run {
    const char *name;
    const char *model;  /* "vit_tiny_patch4_28" …; NULL: unknown */
    const char *folder; /* holds summary.csv (epoch,lr,train_loss,train_top1,eval_loss,eval_top1,seconds) or log.txt,
                           may    lack them; NULL: no curves */
    double parameters;  /* trained parameters */
    double megabytes;   /* of the model file */
    double latency_ms;  /* of one image: the median */
    double latency_low, latency_high;      /* 10th and 90th percentile */
    double top1;                           /* percent, on the test split; the mean if there are several seeds */
    double top1_deviation;                 /* between seeds, in points */
    double teacher_agreement;              /* per cent of test images with the teacher's prediction; NAN: no teacher */
    double float_agreement;                /* percent of test images with the answer of `exact`; NAN: without it */
    double minutes;                        /* of training */
    const vst_confusion *confusion;        /* of the report's classes; NULL: none */
    const int *predictions;                /* predicted class for each image and mistake of the report; NULL: none */
    const float *probabilities;            /* of these predictions; NULL: not known */
    const char *file;                      /* the measured model file, "best.safetensors"; NULL: not shown */
    const char *seeds;                     /* "0" or "0, 1, 2"; NULL: not known */
    double last_top1;                      /* after the last epoch, per cent, on the test split */
    int epochs;                            /* completed; 0: not known */
    const vst_report_agreement *agreement; /* NULL: none */
    const vst_image *attention; /* (views of the report, 1 + attention_tokens): the input of the model, and the input
                                   with the attention of each token; NULL: none */
    int attention_tokens;       /* 1: class token, 2: and distillation token */
    const char *recipe;         /* lines "key: value"; NULL: not known */
    const char *notes;          /* lines about missing parts; NULL: none */
    const struct vst_report_run *teacher; /* the run of the teacher, if it is in the report; else NULL */
    const struct vst_report_run
        *plain; /* the same model trained without a teacher, if it is in the report; else NULL */
    const struct vst_report_run *exact; /* the float32 model that this one has on 8-bit integers, likewise; NULL */
} vst_report_run;

typedef struct vst_report {
    const char *title;
    const char *subtitle; /* one line below it, such as the data set and date; NULL: none */
    const vst_report_run *runs;
    int run_count; /* at least 1 */
    const char *const *class_names;
    int class_count;
    const vst_image *pictures; /* test images to show with the predictions, followed by the mistakes */
    const int *labels;         /* their classes, -1 unknown */
    int picture_count;
    int mistake_count, mistaken; /* wrong answers with the highest probabilities of the run `mistaken` */
    const int *views;            /* indices of the images with attention maps */
    int view_count;
    const char *recipe; /* the resolved recipe of the (last) run, shown folded at the end; NULL: none */
} vst_report;

/* A run with only its name; everything else is unknown. */
vst_report_run vst_report_unknown(const char *name);

/* The gain of distillation over the same model without a teacher, and the savings of the student compared with its
 * teacher, in two or three sentences of plain text, to be freed with vst_free. Of several students, the one with the
 * highest accuracy; *text is NULL if no run has `teacher` or `plain`. */
VST_NODISCARD vst_status vst_report_verdict(const vst_report *report, char **text);

/* Writes the page through a temporary file beside `path`. *figures (may be NULL): whether gnuplot drew the figures.
 */
VST_NODISCARD vst_status vst_report_write(const char *path, const vst_report *report, bool *figures);
/* The page as text, to be vst_free'd. */
VST_NODISCARD vst_status vst_report_html(const vst_report *report, char **html, bool *figures);

#endif
