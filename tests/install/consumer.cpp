// A user of the installed library, in C++: a ResNet for CIFAR's images with random weights, run once.
#include <cstdio>
#include <memory>
#include <stdexcept>

#include "backbones/backbone.h"
#include "vision/plan/program.h"
#include "vistill.h"

static void check(vst_status status) {
    if (status != VST_OK) throw std::runtime_error(vst_error_message());
}

template <typename T, void (*destroy)(T *), typename Create>
static auto make(Create create) {
    T *made = nullptr;
    check(create(&made));
    return std::unique_ptr<T, decltype(destroy)>(made, destroy);
}

int main() {
    auto model = make<vst_model_config, vst_model_config_destroy>(
        [](auto m) { return vst_model_config_create(m, "resnet20_cifar"); });
    auto params = make<vst_params, vst_params_destroy>(vst_params_create);
    auto graph = make<vst_graph, vst_graph_destroy>([&](auto out) { return vst_graph_create(out, params.get()); });
    vst_model_build(graph.get(), model.get(), 1);
    const vst_value logits = vst_find(graph.get(), "logits");
    check(vst_graph_finish(graph.get()));
    check(vst_params_allocate(params.get(), false, 1));
    const vst_program_options infer{};
    auto program = make<vst_program, vst_program_destroy>(
        [&](auto p) { return vst_program_create(p, graph.get(), &logits, 1, &infer); });
    auto context =
        make<vst_context, vst_context_destroy>([&](auto c) { return vst_context_create(c, program.get(), nullptr); });
    for (int i = 0; i < 3 * 32 * 32; i++) vst_context_input(context.get(), "image")[i] = 0.5f;
    check(vst_context_run(context.get(), 0));
    std::printf("Vistill %s in C++: %g\n", vst_version(), vst_context_output(context.get(), 0)[0]);
}
