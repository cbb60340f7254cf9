// A library that is no backend.
extern "C" __attribute__((visibility("default"))) int bogus() { return 0; }
