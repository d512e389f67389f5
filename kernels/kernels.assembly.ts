// The WebAssembly kernels of all families: one module, compiled by the build with and without fused multiply-add.
export * from './attention/attention.assembly';
export * from './conv2d/conv2d.assembly';
export * from './conv2d/winograd.assembly';
export * from './deformable/deformable.assembly';
export * from './elementwise/elementwise.assembly';
export * from './linear/linear.assembly';
export * from './matmul/matmul.assembly';
// Not called from outside; what is exported is not inlined, and V8 compiles these loops best on their own.
export { tile4, tile6 } from './matrix-product.assembly';
export * from './multi-scale-deformable-attention/multi-scale-deformable-attention.assembly';
export * from './normalization/normalization.assembly';
export * from './pooling/pooling.assembly';
export * from './positions/positions.assembly';
export * from './resize/resize.assembly';
export * from './shape/shape.assembly';
export * from './softmax/softmax.assembly';
export * from './top-k/top-k.assembly';
