#!/bin/sh
# vistill report: usage: test_report_command.sh BUILD SOURCE. A tiny run becomes a page, also beside itself and without its data.
set -eu
. "$2/tests/unit/commands.sh"

idx idx 20 10 8 8
cat > tiny.yaml <<'YAML'
model: {name: resnet8_cifar, width: 4, image: 8, channels: 1, classes: 3}
data: {path: idx, workers: 0}
optim: {batch: 10, warmup_epochs: 0}
run: {epochs: 1, threads: 1, output: one}
YAML
expect 0 'test top-1' "$vistill" train tiny.yaml
top1=$(sed -n '2s/\([^,]*,\)\{5\}\([^,]*\).*/\2/p' one/summary.csv)
top1=$(printf %.2f "$top1")

expect 0 'report: one/report.html' "$vistill" report one
grep -qF "It is right about $top1 % of the test images" one/report.html || fail "the page does not tell of $top1 %"
grep -qF 'idx, 10 test images' one/report.html || fail "the page does not tell the data"
! grep -qF 'What is missing' one/report.html || fail "something is missing: $(grep -A3 'What is missing' one/report.html)"
cp -r one two
expect 0 'report: both.html' "$vistill" report one two/ -o both.html
grep -qF '<h1>2 runs beside each other</h1>' both.html || fail "no page about both"
[ "$(grep -c "<td class=name>.*>$top1<span" both.html)" = 2 ] || fail "not two rows with $top1 %"

mv idx elsewhere
expect 0 'not tested' "$vistill" report one
grep -qF 'not tested, so no accuracy, matrix, pictures' one/report.html || fail "the page does not say that the data is gone"
expect 0 'report: one/report.html' "$vistill" report one --data elsewhere
! grep -qF 'What is missing' one/report.html || fail "--data was not used"

rm one/summary.csv one/log.txt one/*.safetensors
expect 1 'nothing can be shown of this run' "$vistill" report one
expect 1 'no such run folder' "$vistill" report two gone
expect 1 'cannot be written' "$vistill" report two -o no/folder.html
expect 1 'cannot be written' "$vistill" report two gone -o no/folder.html
echo "runs become pages"
