// The WebAssembly kernels of all families: one module, built three times (engine/cpu/module.ts says how).
export * from './attention/attention.assembly';
export * from './conv2d/conv2d.assembly';
export * from './conv2d/winograd.assembly';
export * from './deformable/deformable.assembly';
export * from './elementwise/elementwise.assembly';
export * from './linear/linear.assembly';
export * from './matmul/matmul.assembly';
// Exported so that they are not inlined: V8 compiles these loops best on their own. The probe of revectorization calls them.
export { tile4, tile4Wide, tile6, tile6Wide } from './matrix-product.assembly';
export * from './multi-scale-deformable-attention/multi-scale-deformable-attention.assembly';
export * from './normalization/normalization.assembly';
export * from './pooling/pooling.assembly';
export * from './positions/positions.assembly';
export * from './resize/resize.assembly';
export * from './shape/shape.assembly';
export * from './softmax/softmax.assembly';
export * from './top-k/top-k.assembly';
