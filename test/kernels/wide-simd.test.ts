// The kernels of the cpu device that multiply panels once more, in the build whose tiles are made for joined vectors. They are
// right, if slow, where V8 joins none.

process.env.DETR_KERNELS = 'wide';
process.env.DETR_TEST_KERNEL = 'attention,conv2d,linear,matmul';
process.env.DETR_TEST_DEVICES = 'cpu:1';

await import('./kernels.test.ts');
