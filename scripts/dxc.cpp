// Compiles HLSL files with the DirectX Shader Compiler, loaded from a library, with the arguments that wgpu gives it.
// Prints a line for each file: its name, and "ok" or the compiler's first error, separated by a tab.
//
// usage: dxc LIBRARY PROFILE FILE...      (headers: dxcapi.h and WinAdapter.h, which come with the library)
#include <cstdio>
#include <dlfcn.h>
#include <fstream>
#include <iterator>
#include <string>

#include "WinAdapter.h"
#include "dxcapi.h"

static std::wstring wide(const std::string &text) { return std::wstring(text.begin(), text.end()); }

/// The compiler's first error, empty if it took the text.
static std::string compile(IDxcCompiler3 *compiler, const std::wstring &profile, const std::string &text) {
    const wchar_t *arguments[] = {L"-E", L"main", L"-T", profile.c_str(), L"-HV", L"2018", L"-no-warnings", L"-Ges"};
    DxcBuffer source = {text.data(), text.size(), DXC_CP_UTF8};
    CComPtr<IDxcResult> result;
    HRESULT called = compiler->Compile(&source, arguments, sizeof arguments / sizeof *arguments, nullptr,
                                       IID_PPV_ARGS(&result));
    HRESULT status = E_FAIL;
    if (FAILED(called) || FAILED(result->GetStatus(&status)))
        return "the compiler could not be called";
    CComPtr<IDxcBlob> object;
    if (SUCCEEDED(status) && SUCCEEDED(result->GetOutput(DXC_OUT_OBJECT, IID_PPV_ARGS(&object), nullptr)) && object &&
        object->GetBufferSize() > 0)
        return "";
    CComPtr<IDxcBlobUtf8> errors;
    result->GetOutput(DXC_OUT_ERRORS, IID_PPV_ARGS(&errors), nullptr);
    std::string message = errors && errors->GetStringLength() ? errors->GetStringPointer() : "no object and no message";
    return message.substr(0, message.find('\n'));
}

int main(int count, char **arguments) {
    if (count < 4) {
        std::fprintf(stderr, "usage: dxc LIBRARY PROFILE FILE...\n");
        return 2;
    }
    void *library = dlopen(arguments[1], RTLD_NOW);
    auto create = library ? reinterpret_cast<DxcCreateInstanceProc>(dlsym(library, "DxcCreateInstance")) : nullptr;
    CComPtr<IDxcCompiler3> compiler;
    if (!create || FAILED(create(CLSID_DxcCompiler, IID_PPV_ARGS(&compiler)))) {
        const char *why = dlerror();
        std::fprintf(stderr, "%s cannot be used: %s\n", arguments[1], why ? why : "it has no compiler");
        return 2;
    }
    int failed = 0;
    for (int i = 3; i < count; i++) {
        std::ifstream file(arguments[i], std::ios::binary);
        std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
        std::string error = text.empty() ? "the file is empty or missing" : compile(compiler, wide(arguments[2]), text);
        failed += !error.empty();
        std::printf("%s\t%s\n", arguments[i], error.empty() ? "ok" : error.c_str());
    }
    return failed ? 1 : 0;
}
