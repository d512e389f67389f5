// The WebAssembly kernels of all families: one module, compiled by the build with and without fused multiply-add.
export * from './elementwise/elementwise.assembly';
