import { copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import {
  ConfigError,
  type Device,
  DeviceError,
  FileError,
  type HostTensor,
  OptionError,
  OutOfMemoryError,
  ShapeError,
} from '../../engine/index.ts';
import { Random } from '../../kernels/index.ts';
import { AutoModelForObjectDetection } from '../../models/auto.ts';
import {
  ConditionalDetrForObjectDetection,
  ConditionalDetrForSegmentation,
  ConditionalDetrModel,
} from '../../models/conditional-detr.ts';
import { DetrConfig, type RawConfig } from '../../models/configuration.ts';
import { DeformableDetrForObjectDetection, DeformableDetrModel } from '../../models/deformable-detr.ts';
import type { PredictInputs } from '../../models/detection.ts';
import { DetrForObjectDetection, DetrForSegmentation, DetrModel } from '../../models/detr.ts';
import { upload } from '../../models/inputs.ts';
import { openSafetensors, syntheticSource, writeSafetensors } from '../../weights/index.ts';
import { modelDeviceNames, openDevice } from '../kernels/devices.ts';
import { testData } from '../support/data.ts';
import { smallBackbone } from '../support/small-backbone.ts';
import { temporaryFolder } from '../support/temporary.ts';
import { tensorBytes } from '../support/tensor-bytes.ts';
import { rejectsWith } from '../support/throws.ts';

// What holds of every model: loading, inputs, memory, concurrency. Numbers are held to PyTorch's by parity.test.ts.

const small: RawConfig = {
  model_type: 'detr',
  backbone_config: smallBackbone,
  d_model: 32,
  encoder_layers: 2,
  decoder_layers: 2,
  encoder_ffn_dim: 48,
  decoder_ffn_dim: 48,
  num_queries: 7,
  num_labels: 5,
};
const smallDeformable: RawConfig = {
  ...small,
  model_type: 'deformable_detr',
  backbone_config: { ...(small.backbone_config as object), out_features: ['stage2', 'stage3', 'stage4'] },
};

const picture = (height: number, width: number, batch = 1) =>
  new Random(height * width).tensor([batch, 3, height, width]);

function assertClose(actual: HostTensor, expected: HostTensor, tolerance: number): void {
  assert.equal(actual.shape, expected.shape);
  actual.data.forEach((value, index) => {
    const difference = Math.abs(value - expected.data[index]!);
    assert.ok(difference <= tolerance, `element ${index}: expected ${expected.data[index]}, got ${value}`);
  });
}

for (const name of modelDeviceNames) {
  const test = suite(`models on ${name}`);
  let device: Device;
  test.before(async () => {
    device = await openDevice(name);
  });
  test.after(() => device.destroy());

  test('a seed gives the same random model again, another seed another', async () => {
    const inputs = { pixelValues: picture(65, 97) };
    const outputs = [];
    for (const seed of [1, 1, 2]) {
      const model = await DetrForObjectDetection.fromConfig(small, { device, seed });
      outputs.push(await model.forward(inputs));
      model.dispose();
    }
    assert.equal(outputs[0]!.logits.data, outputs[1]!.logits.data);
    assert.not.equal(outputs[0]!.logits.data, outputs[2]!.logits.data);
    assert.equal(outputs[0]!.logits.shape, [1, 7, 6]);
  });

  test('forward passes at the same time give what they give one after the other', async () => {
    const detr = await DetrForObjectDetection.fromConfig(small, { device });
    const deformable = await DeformableDetrForObjectDetection.fromConfig(smallDeformable, { device });
    const pictures = [picture(64, 64), picture(65, 97), picture(33, 129)];
    const alone: HostTensor[] = [];
    for (const pixelValues of pictures) {
      alone.push((await detr.forward({ pixelValues })).logits, (await deformable.forward({ pixelValues })).logits);
    }
    const together = await Promise.all(
      pictures.flatMap(pixelValues => [detr.forward({ pixelValues }), deformable.forward({ pixelValues })]),
    );
    assert.equal(
      together.map(({ logits }) => logits),
      alone,
    );
    detr.dispose();
    deformable.dispose();
  });

  test('the mask of one picture of a padded batch does not matter to the others', async () => {
    const model = await DetrForObjectDetection.fromConfig(small, { device });
    const [a, b] = [picture(64, 96), picture(96, 64)];
    const pixelValues = { shape: [2, 3, 96, 96], data: new Float32Array(2 * 3 * 96 * 96) };
    const pixelMask = { shape: [2, 96, 96], data: new Int32Array(2 * 96 * 96) };
    for (const [image, { shape, data }] of [a, b].entries()) {
      const [, , height, width] = shape as [number, number, number, number];
      for (let row = 0; row < 3 * height; row++) {
        const plane = image * 3 + Math.floor(row / height);
        pixelValues.data.set(data.subarray(row * width, (row + 1) * width), (plane * 96 + (row % height)) * 96);
      }
      for (let row = 0; row < height; row++) {
        pixelMask.data.fill(1, (image * 96 + row) * 96, (image * 96 + row) * 96 + width);
      }
    }
    const batch = await model.forward({ pixelValues, pixelMask });
    const unmasked = await model.forward({ pixelValues });
    assert.not.equal(batch.logits.data, unmasked.logits.data, 'the mask must matter');
    pixelMask.data.fill(1, 96 * 96);
    const other = await model.forward({ pixelValues, pixelMask });
    const half = 7 * 6;
    assertClose(
      { shape: [half], data: other.logits.data.slice(0, half) },
      { shape: [half], data: batch.logits.data.slice(0, half) },
      1e-6,
    );
    model.dispose();
  });

  test('the encoder’s result can be given back, and takes the encoder’s place', async () => {
    const model = await DetrForObjectDetection.fromConfig(small, { device });
    const pixelValues = picture(65, 97);
    const first = await model.forward({ pixelValues, outputHiddenStates: true, outputAttentions: true });
    const encoderOutputs = { last_hidden_state: first.encoder_last_hidden_state };
    const second = await model.forward({ pixelValues, encoderOutputs, outputHiddenStates: true });
    assertClose(second.logits, first.logits, 1e-6);
    assert.is(second.encoder_hidden_states, undefined);
    assert.is(first.encoder_hidden_states!.length, 3);
    assert.is(first.decoder_hidden_states!.length, 3);
    assert.is(first.cross_attentions!.length, 2);
    model.dispose();
  });

  test('predict gives the predictions of forward, alone, whatever the configuration asks of forward', async () => {
    const asks = { output_hidden_states: true, output_attentions: true, auxiliary_loss: true };
    const models = [
      await DetrForObjectDetection.fromConfig({ ...small, ...asks }, { device }),
      await ConditionalDetrForSegmentation.fromConfig(
        { ...small, ...asks, model_type: 'conditional_detr' },
        { device },
      ),
      await DeformableDetrForObjectDetection.fromConfig(
        { ...smallDeformable, ...asks, with_box_refine: true, two_stage: true, two_stage_num_proposals: 7 },
        { device },
      ),
    ] as const;
    for (const model of models) {
      const inputs = { pixelValues: picture(65, 97, 2) };
      const all: Record<string, unknown> = { ...(await model.forward(inputs)) };
      const live = tensorBytes(device);
      const predictions = await model.predict(inputs);
      assert.is(tensorBytes(device), live);
      const names = ['logits', 'pred_boxes', 'pred_masks'].filter(name => name in all);
      assert.equal(Object.keys(predictions).sort(), names);
      for (const [name, tensor] of Object.entries(predictions)) assertClose(tensor, all[name] as HostTensor, 1e-6);
      const ask = { ...inputs, outputAttentions: true } as PredictInputs;
      await rejectsWith(() => model.predict(ask), OptionError, /predict: unknown option outputAttentions/);
      model.dispose();
    }
  });

  test('DETR takes embeddings in place of pixels and of zero queries, and masks queries', async () => {
    const model = await DetrForObjectDetection.fromConfig(small, { device });
    const random = new Random(5);
    const inputsEmbeds = random.tensor([2, 9, 32]);
    const decoderInputsEmbeds = random.tensor([2, 7, 32]);
    const plain = await model.forward({ inputsEmbeds });
    assert.equal(plain.logits.shape, [2, 7, 6]);
    const started = await model.forward({ inputsEmbeds, decoderInputsEmbeds });
    assert.not.equal(started.logits.data, plain.logits.data);
    const mask = { shape: [2, 7], data: new Int32Array(14).fill(1) };
    assertClose((await model.forward({ inputsEmbeds, decoderAttentionMask: mask })).logits, plain.logits, 1e-6);
    mask.data[3] = 0;
    const masked = await model.forward({ inputsEmbeds, decoderInputsEmbeds, decoderAttentionMask: mask });
    assert.not.equal(masked.logits.data, started.logits.data);
    model.dispose();
  });

  test('many passes and many models leave nothing behind', async () => {
    const before = tensorBytes(device);
    const model = await DetrForSegmentation.fromConfig(small, { device });
    await model.forward({ pixelValues: picture(65, 97) });
    const live = tensorBytes(device);
    const weights = [...model.tensors()].reduce((sum, { byteLength }) => sum + byteLength, 0);
    assert.is(weights, live - before, 'all of its weights');
    for (let pass = 0; pass < 10; pass++) await model.forward({ pixelValues: picture(33 + pass, 97) });
    assert.is(tensorBytes(device), live);
    model.dispose();
    assert.is(tensorBytes(device), before);
    for (let round = 0; round < 3; round++) {
      const again = await DetrForSegmentation.fromConfig(small, { device });
      await again.forward({ pixelValues: picture(65, 97) });
      assert.is(tensorBytes(device), live);
      again.dispose();
    }
  });

  test('a model whose weights found no memory is not loaded, whoever else was told first', async () => {
    const before = tensorBytes(device);
    const { tensor } = device;
    let count = 0;
    device.tensor = host => {
      const made = tensor.call(device, host) as ReturnType<typeof device.tensor<typeof host.data>>;
      count += 1;
      if (count === 7) made.storage.failure = new OutOfMemoryError('no memory left');
      return made;
    };
    try {
      await rejectsWith(() => DetrForObjectDetection.fromConfig(small, { device }), OutOfMemoryError, /no memory left/);
    } finally {
      device.tensor = tensor;
    }
    assert.ok(count > 7);
    assert.is(tensorBytes(device), before);
  });

  test('a pass that is refused halfway leaves no work behind', async () => {
    const model = await DetrForObjectDetection.fromConfig(small, { device });
    const width = model.config.d_model;
    const encoderOutputs = { last_hidden_state: { shape: [1, 5, width], data: new Float32Array(5 * width) } };
    await model.forward({ pixelValues: picture(65, 97) });
    const { drain } = device;
    let waits = 0;
    device.drain = () => {
      waits += 1;
      return drain.call(device);
    };
    try {
      await rejectsWith(() => model.forward({ pixelValues: picture(65, 97), encoderOutputs }), ShapeError, /./);
    } finally {
      device.drain = drain;
    }
    assert.is(waits, 1);
    const { timings } = await device.profile(() => device.finish());
    assert.equal(timings, []);
    model.dispose();
  });

  test('without encoder layers the memory is the projected map', async () => {
    const model = await DetrModel.fromConfig({ ...small, encoder_layers: 0 }, { device });
    const outputs = await model.forward({ pixelValues: picture(65, 97), outputHiddenStates: true });
    assert.is(outputs.encoder_hidden_states?.length, 1);
    assert.equal(outputs.encoder_hidden_states![0], outputs.encoder_last_hidden_state);
    model.dispose();
  });

  test('states of the encoder are kept only for those who ask', async () => {
    const models = [
      await DetrModel.fromConfig({ ...small, encoder_layers: 5 }, { device }),
      await DeformableDetrModel.fromConfig({ ...smallDeformable, encoder_layers: 5 }, { device }),
    ];
    for (const model of models) {
      const heldBytes = (outputHiddenStates: boolean) =>
        device.scope(() => {
          const before = tensorBytes(device);
          model.record(upload(device, model.config, { pixelValues: picture(128, 128), outputHiddenStates }, false));
          return tensorBytes(device) - before;
        });
      // Four states of at least 16 cells: the last one is the result.
      const states = 4 * 16 * 32 * Float32Array.BYTES_PER_ELEMENT;
      assert.ok(heldBytes(true) - heldBytes(false) >= states, model.constructor.name);
      model.dispose();
    }
  });

  test('inputs that do not fit are refused by name, and the device still works', async () => {
    const model = await DetrForObjectDetection.fromConfig(small, { device });
    const floats = (...shape: number[]) => ({ shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
    const ints = (...shape: number[]) => ({ shape, data: new Int32Array(shape.reduce((a, b) => a * b, 1)).fill(1) });
    const pixelValues = picture(32, 32);
    const before = await model.forward({ pixelValues });
    const refusals: [inputs: object, message: RegExp][] = [
      [{}, /forward: expected pixelValues or inputsEmbeds, got neither/],
      [{ pixelValues: floats(1, 4, 8, 8) }, /pixelValues: expected \[B, 3, H, W\], got \[1, 4, 8, 8\]/],
      [{ pixelValues: floats(3, 8, 8) }, /pixelValues: expected \[B, 3, H, W\], got \[3, 8, 8\]/],
      [{ pixelValues: floats(1, 3, 0, 8) }, /pixelValues: expected whole sizes above 0, got \[1, 3, 0, 8\]/],
      [{ pixelValues: floats(1, 3, 8.5, 16) }, /pixelValues: expected whole sizes above 0, got \[1, 3, 8.5, 16\]/],
      [{ pixelValues: { ...pixelValues, shape: [1, 3, Number.NaN, 8] } }, /pixelValues: expected whole sizes above 0/],
      [{ pixelValues: { shape: [1, 3, 8, 8], data: new Float32Array(5) } }, /expected 192 values .*, got 5 values/],
      [{ pixelValues: ints(1, 3, 8, 8) }, /pixelValues: expected data of Float32Array, got Int32Array/],
      [{ pixelValues: { shape: [1, 3, 1, 1], data: [0, 0, 0] } }, /expected data of Float32Array, got Array/],
      [{ pixelValues: new Float32Array(192) }, /pixelValues: expected a tensor \[B, 3, H, W\]/],
      [
        { pixelValues, pixelMask: ints(1, 32, 31) },
        /pixelMask: expected \[B, H, W\] = \[1, 32, 32\], got \[1, 32, 31\]/,
      ],
      [
        { pixelValues, pixelMask: ints(2, 32, 32) },
        /pixelMask: expected \[B, H, W\] = \[1, 32, 32\], got \[2, 32, 32\]/,
      ],
      [{ pixelValues, pixelMask: { shape: [1, 32, 32], data: new Array(1024).fill(1) } }, /pixelMask: .* got Array/],
      [{ pixelValues, decoderAttentionMask: ints(1, 8) }, /decoderAttentionMask: expected \[B, 7\] = \[1, 7\]/],
      [{ pixelValues, decoderInputsEmbeds: floats(2, 7, 32) }, /decoderInputsEmbeds: expected .* = \[1, 7, 32\]/],
      [{ pixelValues, encoderOutputs: {} }, /encoderOutputs.last_hidden_state: expected a tensor \[B, S, 32\]/],
      [
        { pixelValues, encoderOutputs: { last_hidden_state: floats(1, 5, 32) } },
        /encoderOutputs: expected last_hidden_state \[B, S, D\] = \[1, 1, 32\], got \[1, 5, 32\]/,
      ],
      [{ inputsEmbeds: floats(9, 32) }, /inputsEmbeds: expected \[B, S, 32\], got \[9, 32\]/],
      [{ inputsEmbeds: floats(1, 10, 32) }, /inputsEmbeds: .* square number, got S = 10/],
      [{ inputsEmbeds: floats(2, 9, 32), pixelMask: ints(1, 9, 9) }, /pixelMask: expected \[B, H, W\] = \[2, H, W\]/],
    ];
    for (const [inputs, message] of refusals) await rejectsWith(() => model.forward(inputs), ShapeError, message);
    assert.equal((await model.forward({ pixelValues })).logits, before.logits);
    model.dispose();
    await rejectsWith(
      () => model.forward({ pixelValues }),
      DeviceError,
      /expected a model with its weights, got one that was disposed/,
    );
    const deformable = await DeformableDetrForObjectDetection.fromConfig(smallDeformable, { device });
    await rejectsWith(
      () => deformable.forward({ inputsEmbeds: floats(1, 9, 32) }),
      ShapeError,
      /forward: expected pixelValues, got only inputsEmbeds/,
    );
    deformable.dispose();
  });

  test('a model that cannot be read to its end leaves nothing behind', async () => {
    const before = tensorBytes(device);
    const shapes = new Map(new DetrForSegmentation(DetrConfig.from(small)).parameters());
    const source = {
      name: 'broken',
      tensors: new Map([...shapes].map(([name, shape]) => [name, { shape, dtype: 'F32' }])),
      read: async (name: string) => {
        if (name === 'mask_head.lay3.bias') throw new FileError({ file: 'broken', tensor: name }, 'the disk is gone');
        return new Random(1).tensor(shapes.get(name)!);
      },
      close: async () => {},
    };
    await rejectsWith(() => DetrForSegmentation.fromSource(small, source, { device }), FileError, /the disk is gone/);
    assert.is(tensorBytes(device), before);
  });

  test.run();
}

const loading = suite('loading');

loading('everything wrong with a checkpoint is reported at once', async () => {
  const folder = temporaryFolder('checkpoint');
  const source = await openSafetensors(testData('dumps', 'detr-small', 'model.safetensors'));
  const tensors = new Map<string, HostTensor>();
  for (const name of source.tensors.keys()) tensors.set(name, await source.read(name));
  await source.close();
  tensors.delete('class_labels_classifier.bias');
  tensors.set('bbox_predictor.layers.0.bias', { shape: [3], data: new Float32Array(3) });
  tensors.set('surplus.weight', { shape: [1], data: new Float32Array(1) });
  await writeSafetensors(join(folder, 'model.safetensors'), tensors);
  copyFileSync(testData('dumps', 'detr-small', 'config.json'), join(folder, 'config.json'));
  const error = await rejectsWith(
    () => DetrForObjectDetection.fromPretrained(folder),
    FileError,
    /class_labels_classifier\.bias/,
  );
  assert.match(error.message, /bbox_predictor\.layers\.0\.bias.*\[32\].*\[3\]/);
  assert.match(error.message, /surplus\.weight/);
});

loading('a model without heads loads from a checkpoint with heads', async () => {
  const folder = testData('dumps', 'detr-small');
  const device = await openDevice('cpu:1');
  const bare = await DetrModel.fromPretrained(folder, { device });
  const whole = await DetrForObjectDetection.fromPretrained(folder, { device });
  const inputs = { pixelValues: picture(64, 64) };
  assert.equal((await bare.forward(inputs)).last_hidden_state, (await whole.forward(inputs)).last_hidden_state);
  await device.destroy();
});

const families = [
  [DetrModel, DetrForObjectDetection, small],
  [ConditionalDetrModel, ConditionalDetrForObjectDetection, { ...small, model_type: 'conditional_detr' }],
  [DeformableDetrModel, DeformableDetrForObjectDetection, smallDeformable],
] as const;

loading('a model without heads gives what one with heads has inside, and every layer’s state', async () => {
  const device = await openDevice('cpu:1');
  const one = picture(64, 96);
  const twice = { shape: [2, 3, 64, 96], data: Float32Array.of(...one.data, ...one.data) };
  for (const [Bare, Whole, raw] of families) {
    const config = { ...raw, auxiliary_loss: true };
    const source = syntheticSource((await Whole.fromConfig(config, { device })).parameters());
    const whole = await (await Whole.fromSource(config, source, { device })).forward({ pixelValues: twice });
    const outputs = await (await Bare.fromSource(config, source, { device })).forward({ pixelValues: twice });
    assert.equal(outputs.last_hidden_state, whole.last_hidden_state, Bare.name);
    assert.equal(outputs.encoder_last_hidden_state, whole.encoder_last_hidden_state, Bare.name);

    // [L, B, Q, D], but for Deformable DETR [B, L, Q, D]: pictures are alike, layers are not.
    const { shape, data } = outputs.intermediate_hidden_states!;
    assert.equal(shape, [2, 2, 7, 32]);
    const [first, second, third, fourth] = [0, 1, 2, 3].map(index => data.slice(index * 7 * 32, (index + 1) * 7 * 32));
    const [layer, image] = raw === smallDeformable ? [second, third] : [third, second];
    assert.equal(image, first, Bare.name);
    assert.equal(fourth, layer, Bare.name);
    assert.not.equal(layer, first, Bare.name);
    if (!('reference_points' in outputs)) continue;
    // [Q, B, 2]: where queries look first does not depend on the picture.
    const points = outputs.reference_points as HostTensor;
    assert.equal(points.shape, [7, 2, 2]);
    for (let at = 0; at < points.data.length; at += 4) {
      assert.equal(points.data.slice(at, at + 2), points.data.slice(at + 2, at + 4));
    }
    assert.is(new Set(points.data).size, 14);
    assert.ok(points.data.every(value => value > 0 && value < 1));
  }
  await device.destroy();
});

loading('a seed is a whole number', async () => {
  const seed = 0.5;
  await rejectsWith(
    () => DetrModel.fromConfig(small, { device: 'cpu', seed }),
    OptionError,
    /a whole number as seed, got 0.5/,
  );
});

loading('a model that was not loaded has no device', () => {
  const model = new DetrModel(DetrConfig.from(small));
  assert.throws(
    () => model.device,
    (error: Error) =>
      error instanceof DeviceError &&
      /DetrModel: expected a model of fromPretrained, .* without weights/.test(error.message),
  );
});

loading('a model without heads lets no other surplus through', async () => {
  const device = await openDevice('cpu:1');
  const larger = new DetrForObjectDetection(DetrConfig.from({ ...small, encoder_layers: 3 }));
  const source = syntheticSource(larger.parameters());
  const bare = DetrModel.fromSource({ ...small, encoder_layers: 3 }, source, { device });
  assert.is((await bare).config.encoder_layers, 3);
  const error = await rejectsWith(
    () => DetrModel.fromSource(small, source, { device }),
    FileError,
    /"model\.encoder\.layers\.2\.fc1\.bias": F32 \[48\] is not part of the model/,
  );
  assert.not.match(error.message, /bbox_predictor/);
  await device.destroy();
});

loading('without box refinement the heads of all layers are one in a random model too', async () => {
  const device = await openDevice('cpu:1');
  const random = await DeformableDetrForObjectDetection.fromConfig(smallDeformable, { device });
  const [first, last] = [random.class_embed[0]!, random.class_embed[1]!];
  const state = new Random(3).tensor([1, 7, 32]);
  const read = (head: typeof first) => device.scope(() => head.forward(device.tensor(state))).read();
  assert.equal(await read(first), await read(last));
  await device.destroy();
});

loading('a two-stage model without its heads says why it cannot run', async () => {
  const device = await openDevice('cpu:1');
  const raw = { ...smallDeformable, two_stage: true, with_box_refine: true, two_stage_num_proposals: 5 };
  const model = await DeformableDetrModel.fromConfig(raw, { device });
  await rejectsWith(() => model.forward({ pixelValues: picture(64, 64) }), ConfigError, /two_stage.*heads/);
  const whole = await DeformableDetrForObjectDetection.fromConfig(
    { ...raw, two_stage_num_proposals: 5000 },
    { device },
  );
  await rejectsWith(() => whole.forward({ pixelValues: picture(64, 64) }), ConfigError, /two_stage_num_proposals/);
  await device.destroy();
});

loading('a backbone’s own file fills the backbone, the rest is random', async () => {
  const device = await openDevice('cpu:1');
  const folder = temporaryFolder('backbone');
  const donor = await DetrForObjectDetection.fromConfig(small, { device, seed: 9 });
  const names = [...donor.parameters()].filter(([name]) => name.includes('conv_encoder.model.'));
  const tensors = new Map<string, HostTensor>(
    names.map(([name, shape], index) => [
      name.replace('model.backbone.conv_encoder.model.', ''),
      new Random(index).tensor(shape, 0.1, 1),
    ]),
  );
  tensors.set('fc.weight', { shape: [2, 64], data: new Float32Array(128) });
  const backboneWeights = join(folder, 'backbone.safetensors');
  await writeSafetensors(backboneWeights, tensors);
  const filled = await DetrForObjectDetection.fromConfig(small, { device, seed: 9, backboneWeights });
  const inputs = { pixelValues: picture(64, 64) };
  assert.not.equal((await filled.forward(inputs)).logits.data, (await donor.forward(inputs)).logits.data);
  tensors.delete('layer1.0.conv1.weight');
  await writeSafetensors(backboneWeights, tensors);
  await rejectsWith(
    () => DetrForObjectDetection.fromConfig(small, { device, backboneWeights }),
    FileError,
    /layer1\.0\.conv1\.weight/,
  );
  tensors.set('layer1.0.conv1.weight', { shape: [16, 8, 3, 3], data: new Float32Array(1152) });
  tensors.set('layer3.1.conv1.weight', { shape: [48, 48, 3, 3], data: new Float32Array(20736) });
  await writeSafetensors(backboneWeights, tensors);
  await rejectsWith(
    () => DetrForObjectDetection.fromConfig(small, { device, backboneWeights }),
    FileError,
    /"layer3\.1\.conv1\.weight": F32 \[48, 48, 3, 3\] is not part of the model/,
  );
  await device.destroy();
});

loading('a configuration that the mask head cannot follow is refused', () => {
  const refused = (raw: RawConfig, message: RegExp) =>
    assert.throws(
      () => new DetrForSegmentation(DetrConfig.from({ ...small, ...raw })),
      (error: Error) => error instanceof ConfigError && message.test(error.message),
    );
  refused({ d_model: 8 }, /segmentation: expected a d_model whose .*, got 8/);
  refused({ d_model: 48 }, /segmentation: expected a d_model whose .*, got 48/);
  refused({ encoder_attention_heads: 4 }, /d_model \+ encoder_attention_heads to be a multiple of 8, got 36/);
  refused({ backbone_config: { model_type: 'resnet' } }, /at least 3 maps, got 1/);
});

loading('an unknown model type is refused with the known ones', async () => {
  const folder = temporaryFolder('unknown');
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: 'yolos' }));
  await rejectsWith(
    () => AutoModelForObjectDetection.fromPretrained(folder),
    ConfigError,
    /detr, conditional_detr, deformable_detr.*"yolos"/,
  );
  writeFileSync(join(folder, 'config.json'), JSON.stringify({ model_type: 'constructor' }));
  await rejectsWith(() => AutoModelForObjectDetection.fromPretrained(folder), ConfigError, /"constructor"/);
});

loading.run();
