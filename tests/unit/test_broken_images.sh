#!/bin/sh
# A picture that cannot be read, which `data.broken: skip` lets a training pass, ends no study, report or preview either.
# usage: test_broken_images.sh BUILD SOURCE
set -eu
. "$2/tests/unit/commands.sh"

idx idx 60 12 8 8
"$vistill" data pack idx -o shards > /dev/null
mkdir x
for split in train test; do
    tar -C x -xf shards/$split-000000.tar
    for file in x/*.cls; do
        key=${file%.cls}
        mkdir -p "data/$split/$(cat "$file")"
        mv "$key.png" "data/$split/$(cat "$file")"
    done
    rm x/*
done
first=$(find data/test/0 -name '*.png' | sort | head -n 1) # the first of the pictures on a page
head -c 20 "$first" > cut
mv cut "$first"
cat > recipe.yaml <<'YAML'
data: {path: data, broken: skip, broken_limit: 0.2}
model: {name: deit_mini_distilled_patch4_28, dim: 8, depth: 1, heads: 2, image: 8, classes: 3}
optim: {batch: 12, warmup_epochs: 0}
run: {epochs: 1, threads: 1, eval_batch: 12, output: run}
YAML
printf 'output: all\nruns:\n  - {name: one, recipe: recipe.yaml}\n' > study.yaml
expect 0 "test top-1" "$vistill" train recipe.yaml
expect 0 "left out, the next readable sample takes its place" "$vistill" report run -o page.html
grep -q "<img" page.html || fail "no pictures on the page"
expect 0 "report: all/report.html" "$vistill" study study.yaml
grep -q "^one " out || fail "no table: $(cat out)"
expect 0 "preview.png" "$vistill" data preview data --split test --count 12
