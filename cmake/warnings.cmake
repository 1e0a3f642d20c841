# The warning set of every target of ours (docs/HACKING.md, "Warnings").
add_library(nornic_warnings INTERFACE)
target_compile_options(nornic_warnings INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Woverloaded-virtual -Wold-style-cast -Wcast-align -Wformat=2 -Wundef -Wsuggest-override
    -Wimplicit-fallthrough -Wthread-safety
    # fmt and Outcome trip over these in clang, in code that is not ours.
    -Wno-gnu-zero-variadic-macro-arguments -Wno-gnu-statement-expression-from-macro-expansion
    -Wno-gnu-statement-expression -Wno-missing-field-initializers -Wno-missing-designated-field-initializers)
if(NORNIC_WERROR)
    target_compile_options(nornic_warnings INTERFACE -Werror)
endif()
