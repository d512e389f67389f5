// The kernels of the cpu device once more, in the build for machines without relaxed SIMD (fused multiply-add).

process.env.DETR_KERNELS = 'plain';
process.env.DETR_TEST_DEVICES = 'cpu:1';

await import('./kernels.test.ts');
