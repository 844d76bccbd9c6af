/* The function table of one instruction set. */
#include "vision/kernels/isa.h"

#define TEXT2(name) #name
#define TEXT(name) TEXT2(name)
#define ENTRY(name) .name = K(name),

extern const vsti_kernels K(table);
const vsti_kernels K(table) = {
    .isa = TEXT(VSTI_ISA), .name = "vistill:" TEXT(VSTI_ISA), .level = VSTI_LEVEL, VSTI_FUNCTIONS(ENTRY)};
