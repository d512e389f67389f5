import { Device } from '../../../dist/engine/index.js';
import { conv2d, linear, packConv2d, packLinear } from '../../../dist/kernels/index.js';

/** Wants `{ device, threads }`; returns `prepare(case)`, which returns `run()`. */
export async function start({ device: kind, threads }) {
  const device = await Device.create(kind === 'cpu' ? { device: kind, threads, revectorize: true } : { device: kind });
  return {
    name: `detr-webgpu, ${device.name}`,
    async prepare({ kind: task, input, weight, padding }) {
      if (task === 'detr') {
        const { syntheticModel } = await import('../../../dist/models/published.js');
        const model = await syntheticModel('facebook/detr-resnet-50', { device });
        return async () => {
          const { logits } = await model.forward({ pixelValues: input });
          return logits.data;
        };
      }
      const packed =
        task === 'matmul' ? packLinear(device, transposed(weight)) : packConv2d(device, weight, undefined, { padding });
      const apply = task === 'matmul' ? linear : conv2d;
      return async () => {
        const output = device.scope(() => apply(device.tensor(input), packed));
        const { data } = await output.read();
        output.dispose();
        return data;
      };
    },
  };
}

function transposed({ shape: [rows, columns], data }) {
  const result = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = data[row * columns + column];
  }
  return { shape: [columns, rows], data: result };
}
