import { Device } from '../../../dist/engine/index.js';
import { conv2d, linear, packConv2d, packLinear } from '../../../dist/kernels/index.js';

/**
 * Wants `{ device, threads, resident }`; returns `prepare(case)`, which returns `run()`. Resident operators find their input
 * on the device and leave their output there, as they do between the layers of a model.
 */
export async function start({ device: kind, threads, resident = false }) {
  const device = await Device.create(kind === 'cpu' ? { device: kind, threads, revectorize: true } : { device: kind });
  return {
    name: resident ? 'detr-webgpu, tensors stay on the device' : `detr-webgpu, ${device.name}`,
    async prepare({ kind: task, input, weight, padding }) {
      if (task === 'detr') {
        const { syntheticModel } = await import('../../../dist/models/published.js');
        const model = await syntheticModel('facebook/detr-resnet-50', { device });
        return async () => (await model.predict({ pixelValues: input })).logits.data;
      }
      const packed =
        task === 'matmul' ? packLinear(device, transposed(weight)) : packConv2d(device, weight, undefined, { padding });
      const apply = task === 'matmul' ? linear : conv2d;
      if (!resident) return () => read(device.scope(() => apply(device.tensor(input), packed)));
      const onDevice = device.tensor(input);
      return async () => {
        const output = apply(onDevice, packed);
        await device.finish();
        return () => read(output);
      };
    },
  };
}

async function read(output) {
  const { data } = await output.read();
  output.dispose();
  return data;
}

function transposed({ shape: [rows, columns], data }) {
  const result = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) result[column * rows + row] = data[row * columns + column];
  }
  return { shape: [columns, rows], data: result };
}
