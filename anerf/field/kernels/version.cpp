// The number that anerf/field/kernels/variants.py expects (KERNELS_ABI): raise both whenever an exported
// function changes its meaning or its arguments, so that an old library is refused instead of misread.
extern "C" __attribute__((visibility("default"))) int anerf_kernels_abi() { return 4; }
