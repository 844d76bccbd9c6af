/* Names of other programs' options and what a recipe calls them. timm's and DeiT's options come first, then those of
 * torchvision's references, Hugging Face and Lightning. A key of the model that somebody gives in another section is
 * here as well; those of the other sections are found in their tables. */
#include "recipes/config/synonyms.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

static const struct synonym {
    const char *words; /* with spaces between; lower case, underscores */
    const char *key;
} synonyms[] = {
    {"image img_size input_size image_size resolution size train_crop_size", "model.image"},
    {"classes num_classes nb_classes num_labels", "model.classes"},
    {"channels in_chans in_channels num_channels", "model.channels"},
    {"arch variant backbone model_name architecture", "model.name"},
    {"dim embed_dim hidden_size", "model.dim"},
    {"num_heads num_attention_heads", "model.heads"},
    {"patch_size", "model.patch"},
    {"num_hidden_layers num_layers", "model.depth"},
    {"drop_path drop_path_rate stochastic_depth", "model.drop_path"},
    {"data_dir data_path root dataset_path train_dir", "data.path"},
    {"val_dir test_dir valid_dir eval_data val_data", "data.test"},
    {"val_split validation_split valid_pct val_size num_val", "data.validation"},
    {"num_workers dataloader_num_workers", "data.workers"},
    {"hflip random_horizontal_flip", "augment.train: \"…, flip\""},
    {"vflip random_vertical_flip", "augment.train: \"…, vertical_flip\""},
    {"aa auto_augment autoaugment randaugment", "augment.train: \"…, rand_augment:policy=rand-m9-mstd0.5-inc1\""},
    {"color_jitter jitter", "augment.train: \"…, color_jitter\""},
    {"reprob random_erase random_erasing erasing", "augment.train: \"…, random_erasing:probability=0.25\""},
    {"transform transforms train_transform scale ratio train_interpolation random_resized_crop rrc",
     "augment.train: \"random_resized_crop:size=224, flip\""},
    {"mixup_alpha", "augment.mixup"},
    {"cutmix_alpha", "augment.cutmix"},
    {"aug_repeats repeated_aug ra_reps ra_sampler", "augment.repeats"},
    {"batch_size train_batch_size per_device_train_batch_size bs", "optim.batch"},
    {"val_batch_size validation_batch_size eval_batch_size per_device_eval_batch_size", "run.eval_batch"},
    {"learning_rate base_lr blr lr_base", "optim.lr"},
    {"lr_min eta_min", "optim.min_lr"},
    {"opt optimizer optimiser", "optim.name"},
    {"wd", "optim.weight_decay"},
    {"opt_eps eps", "optim.epsilon"},
    {"opt_betas betas adam_beta1", "optim.beta1 and optim.beta2"},
    {"grad_accum_steps gradient_accumulation_steps accumulate_grad_batches accum_iter", "optim.accumulate"},
    {"clip_grad grad_clip max_grad_norm gradient_clip_val clip_grad_norm", "optim.clip_norm"},
    {"warmup warmup_ratio warmup_steps lr_warmup_epochs num_warmup_steps", "optim.warmup_epochs"},
    {"label_smoothing label_smoothing_factor", "optim.smoothing"},
    {"model_ema model_ema_decay ema", "optim.ema_decay"},
    {"bce_loss bce", "optim.loss: bce"},
    {"teacher_path teacher_model", "distill.teacher"},
    {"distillation_alpha alpha", "distill.label_weight"},
    {"distillation_type", "distill.preset: deit-hard"},
    {"distillation_tau tau temperature kd_temperature", "distill.terms.0.temperature"},
    {"num_epochs max_epochs num_train_epochs nb_epochs", "run.epochs"},
    {"output_dir save_dir out_dir default_root_dir", "run.output"},
    {"random_seed", "run.seed"},
    {"pretrained finetune initial_checkpoint pretrained_path checkpoint weights",
     "run.start: FILE, what `vistill import` reads (run.new_head: true for other classes)"},
    {"resume auto_resume", "`vistill train RECIPE --resume`"},
    {"save_every checkpoint_interval save_steps save_freq", "run.save_minutes"},
    {"val_interval eval_interval eval_freq check_val_every_n_epoch eval_steps", "run.eval_every"},
    {"optimizers optimization", "optim"},
    {"training train trainer", "run"},
    {"dataset datasets", "data"},
    {"augmentation augmentations", "augment"},
    {"distillation kd", "distill"},
};

enum { WORD = 64 };

static bool is_among(const char *words, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at++)
        if ((at == words || at[-1] == ' ') && (at[length] == ' ' || !at[length])) return true;
    return false;
}

const char *vsti_synonym(const char *word) {
    char plain[WORD];
    size_t length = 0;
    while (*word == '-') word++;
    for (; *word && length + 1 < WORD; word++)
        plain[length++] = *word == '-' ? '_' : (char)tolower((unsigned char)*word);
    plain[length] = 0;
    if (!length || *word || strchr(plain, ' ')) return NULL;
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++)
        if (is_among(synonyms[i].words, plain)) return synonyms[i].key;
    return NULL;
}
