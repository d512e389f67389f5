// DETR with ResNet-50 as an ONNX graph of fixed input size, batch 1: batch norm folded into the convolutions, sine positions
// as constants, weights synthetic under their HuggingFace names, the same as those of `synthetic:facebook/detr-resnet-50`.
import { syntheticTensor } from '../../dist/weights/synthetic.js';
import * as onnx from './onnx.mjs';

const width = 256;
const heads = 8;
const headWidth = width / heads;
const feedForwardWidth = 2048;
const layers = 6;
const queries = 100;
const classes = 92;
const normEpsilon = 1e-5;
const backbone = 'model.backbone.conv_encoder.model.';

/** @returns {{ bytes: Uint8Array, flops: number }} */
export function detrGraph(imageHeight, imageWidth) {
  const builder = new GraphBuilder();
  const { features, height, rowWidth } = addBackbone(builder, imageHeight, imageWidth);
  const tokens = height * rowWidth;

  const projected = builder.convolve(features, 2048, width, 1, 1, [height, rowWidth], {
    weight: builder.weight('model.input_projection.weight', [width, 2048, 1, 1]),
    bias: builder.weight('model.input_projection.bias', [width]),
  });
  const flat = builder.reshape(projected.value, [1, width, tokens]);
  let memory = builder.add('Transpose', [flat], [onnx.integersAttribute('perm', [0, 2, 1])]);
  const positions = builder.constant([1, tokens, width], sinePositions(height, rowWidth));
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.encoder.layers.${layer}`;
    const query = builder.add('Add', [memory, positions]);
    const attended = builder.attention(query, query, memory, `${name}.self_attn`, tokens, tokens);
    memory = builder.norm(builder.add('Add', [memory, attended]), `${name}.self_attn_layer_norm`);
    memory = builder.norm(
      builder.add('Add', [memory, builder.feedForward(memory, name, tokens)]),
      `${name}.final_layer_norm`,
    );
  }

  const keys = builder.add('Add', [memory, positions]);
  const queryPositions = builder.constant(
    [1, queries, width],
    builder.weight('model.query_position_embeddings.weight', [queries, width]),
  );
  let state = builder.constant([1, queries, width], new Float32Array(queries * width));
  for (let layer = 0; layer < layers; layer++) {
    const name = `model.decoder.layers.${layer}`;
    let query = builder.add('Add', [state, queryPositions]);
    const self = builder.attention(query, query, state, `${name}.self_attn`, queries, queries);
    state = builder.norm(builder.add('Add', [state, self]), `${name}.self_attn_layer_norm`);
    query = builder.add('Add', [state, queryPositions]);
    const cross = builder.attention(query, keys, memory, `${name}.encoder_attn`, queries, tokens);
    state = builder.norm(builder.add('Add', [state, cross]), `${name}.encoder_attn_layer_norm`);
    state = builder.norm(
      builder.add('Add', [state, builder.feedForward(state, name, queries)]),
      `${name}.final_layer_norm`,
    );
  }
  state = builder.norm(state, 'model.decoder.layernorm');

  const logits = builder.linear(state, 'class_labels_classifier', width, classes, queries);
  let box = builder.add('Relu', [builder.linear(state, 'bbox_predictor.layers.0', width, width, queries)]);
  box = builder.add('Relu', [builder.linear(box, 'bbox_predictor.layers.1', width, width, queries)]);
  box = builder.add('Sigmoid', [builder.linear(box, 'bbox_predictor.layers.2', width, 4, queries)]);
  return builder.finish({
    inputs: { pixel_values: [1, 3, imageHeight, imageWidth] },
    outputs: { logits: [logits, [1, queries, classes]], pred_boxes: [box, [1, queries, 4]] },
  });
}

function addBackbone(builder, imageHeight, imageWidth) {
  let size = [imageHeight, imageWidth];
  const convolve = (value, inChannels, outChannels, kernel, stride, name, norm) => {
    const folded = builder.foldedWeights(name, norm, [outChannels, inChannels, kernel, kernel]);
    return builder.convolve(value, inChannels, outChannels, kernel, stride, size, folded);
  };
  const stem = convolve('pixel_values', 3, 64, 7, 2, `${backbone}conv1`, `${backbone}bn1`);
  let features = builder.add(
    'MaxPool',
    [builder.add('Relu', [stem.value])],
    [
      onnx.integersAttribute('kernel_shape', [3, 3]),
      onnx.integersAttribute('pads', [1, 1, 1, 1]),
      onnx.integersAttribute('strides', [2, 2]),
    ],
  );
  size = stem.size.map(length => outLength(length, 3, 2));

  let channels = 64;
  for (const [stage, [inner, blocks]] of [
    [64, 3],
    [128, 4],
    [256, 6],
    [512, 3],
  ].entries()) {
    for (let block = 0; block < blocks; block++) {
      const name = `${backbone}layer${stage + 1}.${block}.`;
      const stride = block === 0 && stage > 0 ? 2 : 1;
      const shortcut =
        block === 0
          ? convolve(features, channels, 4 * inner, 1, stride, `${name}downsample.0`, `${name}downsample.1`).value
          : features;
      const reduced = convolve(features, channels, inner, 1, 1, `${name}conv1`, `${name}bn1`);
      const spatial = convolve(
        builder.add('Relu', [reduced.value]),
        inner,
        inner,
        3,
        stride,
        `${name}conv2`,
        `${name}bn2`,
      );
      size = spatial.size;
      const expanded = convolve(
        builder.add('Relu', [spatial.value]),
        inner,
        4 * inner,
        1,
        1,
        `${name}conv3`,
        `${name}bn3`,
      );
      features = builder.add('Relu', [builder.add('Add', [expanded.value, shortcut])]);
      channels = 4 * inner;
    }
  }
  return { features, height: size[0], rowWidth: size[1] };
}

const outLength = (length, kernel, stride) => Math.floor((length + 2 * ((kernel - 1) >> 1) - kernel) / stride) + 1;

/** [height · width, 256]: y in the first half of the channels, x in the second, sine and cosine in turn. */
function sinePositions(height, rowWidth) {
  const half = width / 2;
  const positions = new Float32Array(height * rowWidth * width);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < rowWidth; x++) {
      for (let channel = 0; channel < half; channel++) {
        const frequency = 10_000 ** (-(2 * Math.floor(channel / 2)) / half);
        const wave = channel % 2 === 0 ? Math.sin : Math.cos;
        const at = (y * rowWidth + x) * width + channel;
        positions[at] = wave(((y + 1) / (height + 1e-6)) * 2 * Math.PI * frequency);
        positions[at + half] = wave(((x + 1) / (rowWidth + 1e-6)) * 2 * Math.PI * frequency);
      }
    }
  }
  return positions;
}

class GraphBuilder {
  #nodes = [];
  #constants = [];
  #names = 0;
  #flops = 0;

  #name(prefix) {
    return `${prefix}_${this.#names++}`;
  }

  add(type, inputs, attributes) {
    const output = this.#name(type.toLowerCase());
    this.#nodes.push(onnx.node(type, inputs, [output], attributes));
    return output;
  }

  constant(shape, data) {
    const name = this.#name('constant');
    this.#constants.push(onnx.constant(name, shape, data));
    return name;
  }

  weight(name, shape) {
    return syntheticTensor(name, shape).data;
  }

  reshape(value, shape) {
    return this.add('Reshape', [value, this.constant([shape.length], BigInt64Array.from(shape, BigInt))]);
  }

  /** A convolution's weights with the frozen batch norm after it. */
  foldedWeights(name, norm, shape) {
    const weight = this.weight(`${name}.weight`, shape).slice();
    const channels = shape[0];
    const [scale, shift, mean, variance] = ['weight', 'bias', 'running_mean', 'running_var'].map(part =>
      this.weight(`${norm}.${part}`, [channels]),
    );
    const bias = new Float32Array(channels);
    const filter = weight.length / channels;
    for (let channel = 0; channel < channels; channel++) {
      const factor = scale[channel] / Math.sqrt(variance[channel] + normEpsilon);
      for (let index = 0; index < filter; index++) weight[channel * filter + index] *= factor;
      bias[channel] = shift[channel] - mean[channel] * factor;
    }
    return { weight, bias };
  }

  convolve(value, inChannels, outChannels, kernel, stride, [height, rowWidth], { weight, bias }) {
    const size = [outLength(height, kernel, stride), outLength(rowWidth, kernel, stride)];
    const padding = (kernel - 1) >> 1;
    this.#flops += 2 * weight.length * size[0] * size[1];
    const inputs = [
      value,
      this.constant([outChannels, inChannels, kernel, kernel], weight),
      this.constant([outChannels], bias),
    ];
    const output = this.add('Conv', inputs, [
      onnx.integersAttribute('kernel_shape', [kernel, kernel]),
      onnx.integersAttribute('pads', [padding, padding, padding, padding]),
      onnx.integersAttribute('strides', [stride, stride]),
    ]);
    return { value: output, size };
  }

  linear(value, name, inFeatures, outFeatures, rows) {
    const weight = this.weight(`${name}.weight`, [outFeatures, inFeatures]);
    const transposed = new Float32Array(weight.length);
    for (let out = 0; out < outFeatures; out++) {
      for (let from = 0; from < inFeatures; from++)
        transposed[from * outFeatures + out] = weight[out * inFeatures + from];
    }
    this.#flops += 2 * weight.length * rows;
    const multiplied = this.add('MatMul', [value, this.constant([inFeatures, outFeatures], transposed)]);
    return this.add('Add', [multiplied, this.constant([outFeatures], this.weight(`${name}.bias`, [outFeatures]))]);
  }

  norm(value, name) {
    const scale = this.constant([width], this.weight(`${name}.weight`, [width]));
    const shift = this.constant([width], this.weight(`${name}.bias`, [width]));
    const attributes = [onnx.integerAttribute('axis', -1), onnx.floatAttribute('epsilon', normEpsilon)];
    return this.add('LayerNormalization', [value, scale, shift], attributes);
  }

  feedForward(value, name, rows) {
    const hidden = this.add('Relu', [this.linear(value, `${name}.fc1`, width, feedForwardWidth, rows)]);
    return this.linear(hidden, `${name}.fc2`, feedForwardWidth, width, rows);
  }

  attention(query, key, value, name, queryRows, keyRows) {
    const split = (projected, rows, order) =>
      this.add(
        'Transpose',
        [this.reshape(projected, [1, rows, heads, headWidth])],
        [onnx.integersAttribute('perm', order)],
      );
    const scale = this.constant([1], Float32Array.of(1 / Math.sqrt(headWidth)));
    const scaled = this.add('Mul', [this.linear(query, `${name}.q_proj`, width, width, queryRows), scale]);
    const q = split(scaled, queryRows, [0, 2, 1, 3]);
    const k = split(this.linear(key, `${name}.k_proj`, width, width, keyRows), keyRows, [0, 2, 3, 1]);
    const v = split(this.linear(value, `${name}.v_proj`, width, width, keyRows), keyRows, [0, 2, 1, 3]);
    this.#flops += 4 * queryRows * keyRows * width;
    const weights = this.add('Softmax', [this.add('MatMul', [q, k])], [onnx.integerAttribute('axis', -1)]);
    const attended = this.add(
      'Transpose',
      [this.add('MatMul', [weights, v])],
      [onnx.integersAttribute('perm', [0, 2, 1, 3])],
    );
    return this.linear(this.reshape(attended, [1, queryRows, width]), `${name}.out_proj`, width, width, queryRows);
  }

  finish({ inputs, outputs }) {
    for (const [name, [value]] of Object.entries(outputs)) this.#nodes.push(onnx.node('Identity', [value], [name]));
    const bytes = onnx.model({
      nodes: this.#nodes,
      constants: this.#constants,
      inputs: Object.entries(inputs).map(([name, shape]) => onnx.valueInfo(name, shape)),
      outputs: Object.entries(outputs).map(([name, [, shape]]) => onnx.valueInfo(name, shape)),
    });
    return { bytes, flops: this.#flops };
  }
}
