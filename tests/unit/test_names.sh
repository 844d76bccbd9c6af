#!/bin/sh
# Names of others: classes in another order or only some of them, strange files beside the images, and names that would steer the
# terminal or break JSON. usage: test_names.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"
photo=$2/tests/unit/pixels/noise.jpg
import="$vistill import $2/tests/unit/import/tiny.pth --model vit_mini_patch4_28 --set image=8 --set dim=8 --set depth=1 --set heads=2"
import="$import --set classes=2"

# A list of names as editors write it: a byte order mark, CR LF, blank lines at the end.
printf '\357\273\277cat\r\ndog\r\n\r\n\n' > names.txt
expect 0 written $import --classes names.txt -o model.safetensors
expect 0 '2: cat, dog' "$vistill" info model.safetensors
expect 0 'classes     2 without names, matched with data by position' $import -o unnamed.safetensors

# The model's classes in another order, beside another system's files, and splits in capitals.
mkdir -p data/Train/cat data/Train/dog data/VAL/dog data/VAL/__MACOSX/dog
cp "$photo" data/Train/cat/a.jpg
cp "$photo" data/Train/dog/a.jpg
cp "$photo" data/VAL/dog/a.jpg
echo junk > data/VAL/dog/._a.jpg
echo junk > data/VAL/__MACOSX/dog/._a.jpg
echo junk > data/VAL/dog/Thumbs.db
expect 0 'samples  1' "$vistill" eval model.safetensors data
expect 0 '2 files of other systems' "$vistill" eval model.safetensors data

# Only some of the model's classes; a class that it does not have; one tar for each class.
mkdir -p some/dog other/dog other/yak tars
cp "$photo" some/dog/a.jpg
expect 0 'classes  1 of 2, matched by name; the scores are over all 2' "$vistill" eval model.safetensors some
"$vistill" eval model.safetensors some --json 2> /dev/null | grep -qF '"classes":2,"data_classes":1,"classes_by":"name"' || fail "json of eval"
expect 1 'has the 1 classes "dog", but unnamed.safetensors has 2 without names' "$vistill" eval unnamed.safetensors some
cp "$photo" other/dog/a.jpg
cp "$photo" other/yak/a.jpg
expect 1 'other: "yak" not among the 2 classes of model.safetensors: "cat", "dog"' "$vistill" eval model.safetensors other
for class in cat dog; do tar -cf tars/$class.tar -C data/Train/$class a.jpg; done
expect 0 'samples  2' "$vistill" eval model.safetensors tars
gzip -k tars/cat.tar
mkdir packed
mv tars/cat.tar.gz packed
expect 1 'packed is compressed' "$vistill" eval model.safetensors packed
expect 1 'cat.tar.gz is compressed' "$vistill" eval model.safetensors packed/cat.tar.gz

# A folder of pictures.
expect 0 'some/dog/a.jpg' "$vistill" classify model.safetensors some/
expect 0 'no image files' sh -c "\"$vistill\" classify model.safetensors tars || true"

# Names that steer a terminal: C0, C1 (also as a bare byte), bidirectional overrides. "c<ESC>[31m<CSI>2J<RLO>" is the class.
printf 'c\033[31m\302\2332J\342\200\256t\n\342\202\254uro\n' > names.txt
expect 0 written $import --classes names.txt -o evil.safetensors
steers() { LC_ALL=C grep -q "$(printf '[\001-\010\013-\037\177]\|\302[\200-\237]\|\342\200\256')" "$1"; }
for command in "classify evil.safetensors $photo" "info evil.safetensors" "eval evil.safetensors some"; do
    "$vistill" $command > shown 2>&1 || true
    ! steers shown || fail "$command: $(od -c shown)"
done
"$vistill" classify evil.safetensors "$photo" > shown
grep -qF 'c?[31m?2J?t' shown && grep -qF '€uro' shown || fail "$(cat shown)"
"$vistill" classify evil.safetensors "$photo" --json > shown
grep -qF '"name":"c\u001B[31m\u009B2J\u202Et"' shown || fail "$(cat shown)"
! "$vistill" classify model.safetensors "$(printf 'no\033[2J\233file')" > shown 2>&1 && ! steers shown || fail "$(od -c shown)"
odd=$(printf 'caf\351.jpg')
cp "$photo" "$odd"
"$vistill" classify model.safetensors "$odd" --json > shown
grep -q '^{"image":"caf\\uFFFD.jpg","top":\[{.*}\]}$' shown || fail "$(cat shown)"
