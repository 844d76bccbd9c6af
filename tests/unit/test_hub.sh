#!/bin/sh
# What Hugging Face's libraries write beside weights is taken: classes' names, sizes, what images become; and what is wrong there is
# passed over with a warning. usage: test_hub.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

mkdir hub plain
cp "$2/tests/unit/import/transformers-vit.safetensors" hub/model.safetensors
cp hub/model.safetensors plain
cat > hub/config.json <<'END'
{"architectures": ["ViTForImageClassification"], "model_type": "vit", "image_size": 8, "patch_size": 4, "num_channels": 1,
 "id2label": {"0": "tabby, cat", "2": "sea lion", "1": "Hund"}}
END
cat > hub/preprocessor_config.json <<'END'
{"do_normalize": true, "do_resize": true, "image_mean": [0.25], "image_std": [0.75], "resample": 2, "rescale_factor": 0.00392156862745098,
 "size": {"shortest_edge": 10}, "crop_size": {"height": 8, "width": 8}, "do_center_crop": true}
END
options="--model vit_mini_patch4_28 -s dim=16 -s depth=2 -s heads=2 -s mlp_ratio=2"
import() { # CODE TEXT FOLDER OPTION…
    code=$1 text=$2 folder=$3
    shift 3
    expect "$code" "$text" "$vistill" import $folder/model.safetensors $options "$@" -o out.safetensors
}
# Without the files sizes and names have to be said.
import 0 "classes     3 without names" plain -s channels=1 -s image=8
import 0 "beside      config.json: names of 3 classes, image 8" hub
for text in "shorter side to 10, bilinear; the middle 8" "mean [0.25]; std [0.75]" "as preprocessor_config.json"; do
    tr -s ' \n' ' ' < out | grep -qF "$text" || fail "\"$text\" is not in: $(cat out)"
done
expect 0 "3: tabby, cat, Hund, sea lion" "$vistill" info out.safetensors
# What is said goes first.
import 0 "mean [0.5]" hub -s mean=0.5 -s std=0.5
! grep -q "as preprocessor_config" out || fail "mean and std are the user's: $(cat out)"
printf 'a\nb\nc\n' > names
import 0 "written" hub --classes names
expect 0 "3: a, b, c" "$vistill" info out.safetensors
# Files of another model, of none, broken or endless ones.
sed 's/"image_size": 8/"image_size": 40/; s/, "1": "Hund"//' hub/config.json > other && cp other hub/config.json
import 0 "classes     3 without names" hub -s image=8
cat > hub/config.json <<'END'
{"id2label": {"0": "LABEL_0", "1": "LABEL_1", "2": "LABEL_2"}, "image_size": "large", "patch_size": {"height": 4}}
END
import 0 "classes     3 without names" hub -s image=8
printf '{"id2label": ' > hub/config.json
import 0 "hub/config.json is passed over: line 1" hub -s image=8
rm hub/config.json
mkfifo hub/config.json
import 0 "config.json is passed over" hub -s image=8
rm hub/config.json
printf '{"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 1, 1]}' > hub/preprocessor_config.json
import 0 "its mean has 3 values, the model's images 1 channel" hub -s image=8
printf '{"image_mean": [0.1], "image_std": [0]}' > hub/preprocessor_config.json
import 0 "preprocessor_config.json is passed over: " hub -s image=8
printf '{"image_mean": [0.5], "image_std": [0.5], "rescale_factor": 0.0078125}' > hub/preprocessor_config.json
import 0 "mean and std are not taken" hub -s image=8
# timm's: the architecture, of models with the same tensors, and its preprocessing.
cat > hub/config.json <<'END'
{"architecture": "vit_mini_patch4_28", "num_classes": 3, "label_names": ["x", "y", "z"],
 "pretrained_cfg": {"input_size": [1, 8, 8], "mean": [0.5], "std": [0.25], "interpolation": "bicubic", "crop_pct": 0.9}}
END
import 0 "beside      config.json: names of 3 classes, image 8" hub
tr -s ' \n' ' ' < out | grep -qF "mean [0.5]; std [0.25]" || fail "$(cat out)"
grep -qF "as config.json" out || fail "$(cat out)"
