/* What other programs call the keys of a recipe: for messages about unknown keys. */
#ifndef VISTILL_RECIPES_CONFIG_SYNONYMS_H
#define VISTILL_RECIPES_CONFIG_SYNONYMS_H

/* "model.image" for "img_size", "--img-size", "input_size" …: our key of what timm, DeiT's main.py, torchvision,
 * Hugging Face or Lightning call `word`, perhaps with a remark behind it. NULL: no such word is known. */
const char *vsti_synonym(const char *word);

#endif
